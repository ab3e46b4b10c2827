/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Proclets for Linux: calls, migrations and events by io_uring.
 *
 * These fill in a submission queue entry in liburing's manner, so that calls are
 * in the same ring as the program's files and sockets. Each sets all of
 * the entry but user_data and, if the ring has entries of 128 bytes, what it does
 * not need of the second half. Flags of the entry can be set afterwards, and also
 * IOSQE_FIXED_FILE with the index of a registered lproc_fd().
 *
 * The result, cqe->res, is what the function of the same name returns, but that
 * it has 32 bits (-EOVERFLOW if it does not fit; PROCLET_URING_OP in
 * <linux/proclet.h>), or -ECANCELED. Argument bytes are copied when the entry is
 * submitted, and can be changed after that (with IORING_SETUP_SQPOLL,
 * IOSQE_ASYNC, or in a chain of links: when the result is there). Result
 * bytes are written before the completion appears: until then their buffer must stay.
 *
 * Threads of the C library are who should use this. A method can, but a ring belongs
 * to the process: it must keep its proclet from moving (PROCLET_PINNED, or
 * proclet_pin()) from making the ring to its end. Whichever thread submits,
 * the call is not that of a proclet, and does not move with one.
 *
 * What is under way when its ring is closed, or when the thread that submitted it
 * ends, is not taken back: it may be executed, but its result bytes are not
 * written any more.
 */
#ifndef _PROCLET_URING_H
#define _PROCLET_URING_H

#include <linux/proclet.h>
#include <proclet.h>

#ifdef __cplusplus
extern "C" {
#endif

struct io_uring_sqe;

/* lproc_fd() - this member's file, to be registered with a ring; -1: no member */
int lproc_fd(void);

/**
 * proclet_prep_call() - run a method in a proclet, wherever it is
 * @sqe: of a ring with IORING_SETUP_SQE128
 * @p: the proclet
 * @m: a registered method
 * @in: argument bytes
 * @in_len: how many, at most 1 MiB
 * @out: where to put result bytes
 * @out_cap: at most so many, at most 1 MiB
 *
 * The result is that of proclet_call(). Also -EINVAL: the ring's entries have
 * 64 bytes; this is not for them, and may have changed the next entry. Use
 * proclet_op_call() and proclet_prep_op() there.
 */
void proclet_prep_call(struct io_uring_sqe *sqe, proclet_t p, proclet_method_t m,
		       const void *in, size_t in_len, void *out, size_t out_cap);

/**
 * proclet_prep_migrate() - move a proclet with its threads
 * @sqe: of a ring with IORING_SETUP_SQE128, as above
 * @p: the proclet
 * @node: where to
 * @flags: 0
 *
 * The result is that of proclet_migrate().
 */
void proclet_prep_migrate(struct io_uring_sqe *sqe, proclet_t p, int node,
			  unsigned int flags);

/**
 * proclet_op_call() - describe a call, for proclet_prep_op()
 * @op: out
 * @p: .
 * @m: .
 * @in: .
 * @in_len: .
 * @out: .
 * @out_cap: as for proclet_prep_call()
 *
 * Returns 0 or -EINVAL (@m is not registered).
 */
int proclet_op_call(struct proclet_native_op *op, proclet_t p, proclet_method_t m,
		    const void *in, size_t in_len, void *out, size_t out_cap);

/**
 * proclet_prep_op() - any operation
 * @sqe: of any ring
 * @op: what; it must stay until it is submitted, like argument bytes
 *
 * The result is that of the operation; op->result is not set.
 */
void proclet_prep_op(struct io_uring_sqe *sqe, const struct proclet_native_op *op);

/**
 * proclet_prep_event() - wait until a member joins or leaves, or a proclet moves
 * @sqe: of any ring
 * @after: number of the last event that the program knows; 0: it knows none
 * @event: out: the next
 *
 * Only proclets that come to or leave this member's node count. The result
 * is the event's kind, PROCLET_EVENT_JOINED, ... When @after is 0 it is 0, at once, and
 * event->seq says where to begin: what happens from then on is not missed. The last 512
 * are kept. -EOVERFLOW: the next is not among them any more; look around, and go on
 * with event->seq. -EINVAL: there was no event @after yet.
 */
void proclet_prep_event(struct io_uring_sqe *sqe, __u64 after,
			struct proclet_event *event);

/**
 * proclet_prep_cancel() - wait no longer for one of the above
 * @sqe: of the same ring
 * @user_data: of its entry; if there are several, one of them
 *
 * Its result becomes -ECANCELED; it may have been executed, or will be. The result
 * of this is 0, or -ENOENT: there is none, or it has its result already.
 *
 * io_uring_prep_cancel() reaches entries with IOSQE_ASYNC: each of those has a thread of
 * the kernel while it is under way, which is interrupted. Their result becomes -ECANCELED,
 * that of the cancellation is -EALREADY. Without that flag it finds only what io_uring has
 * not given to us yet (in a chain of links): the kernel has no way for more.
 */
void proclet_prep_cancel(struct io_uring_sqe *sqe, __u64 user_data);

#ifdef __cplusplus
}
#endif

#endif /* _PROCLET_URING_H */
