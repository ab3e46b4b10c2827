// SPDX-License-Identifier: GPL-2.0-or-later
/* Calls by io_uring. */
#include <errno.h>
#include <proclet_uring.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "callee.h"
#include "ring.h"

int ring_open(struct call_ring *r, proclet_t callee, unsigned int depth)
{
	unsigned int i;
	int err;

	memset(r, 0, sizeof(*r));
	r->callee = callee;
	r->slots = calloc(depth, sizeof(*r->slots));
	if (!r->slots)
		return -ENOMEM;
	for (i = 0; i < depth; i++) {
		r->slots[i].next = r->free;
		r->free = &r->slots[i];
	}
	err = io_uring_queue_init(depth, &r->uring, IORING_SETUP_SQE128 |
				  IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	if (err) {
		free(r->slots);
		r->slots = NULL;
	}
	return err;
}

struct ring_slot *ring_call(struct call_ring *r)
{
	struct ring_slot *slot = r->free;
	struct io_uring_sqe *sqe;

	sqe = slot ? io_uring_get_sqe(&r->uring) : NULL;
	if (!sqe)
		return NULL;
	r->free = slot->next;
	r->flying++;
	slot->number = ++r->number;
	memcpy(slot->in, &slot->number, sizeof(slot->number));
	proclet_prep_call(sqe, r->callee, bench_answer, slot->in, sizeof(slot->in),
			  slot->out, sizeof(slot->out));
	io_uring_sqe_set_data(sqe, slot);
	return slot;
}

static int check(const struct ring_slot *slot, int res)
{
	__u64 number;

	if (res < 0)
		return res;
	memcpy(&number, slot->out, sizeof(number));
	return res == RING_PAYLOAD && number == slot->number + 1 ? 0 : -EBADMSG;
}

int ring_wait(struct call_ring *r, __u64 limit_ns,
	      int (*ended)(const struct ring_slot *slot, void *arg), void *arg)
{
	struct __kernel_timespec limit = {
		.tv_sec = limit_ns / 1000000000,
		.tv_nsec = limit_ns % 1000000000,
	};
	struct io_uring_cqe *cqe;
	unsigned int head, n = 0;
	int err;

	if (limit_ns)
		err = io_uring_submit_and_wait_timeout(&r->uring, &cqe, 1, &limit, NULL);
	else
		err = io_uring_submit_and_wait(&r->uring, 1);
	if (err < 0 && err != -ETIME && err != -EINTR)
		return err;
	err = 0;
	io_uring_for_each_cqe(&r->uring, head, cqe) {
		struct ring_slot *slot = io_uring_cqe_get_data(cqe);

		if (!err)
			err = check(slot, cqe->res);
		if (!err && ended)
			err = ended(slot, arg);
		slot->next = r->free;
		r->free = slot;
		n++;
	}
	io_uring_cq_advance(&r->uring, n);
	r->flying -= n;
	return err ? err : (int)n;
}

/* Waits for all calls, as they write to the slots. */
void ring_close(struct call_ring *r)
{
	if (!r->slots)
		return;
	while (r->flying)
		if (ring_wait(r, 0, NULL, NULL) < 0)
			break;
	io_uring_queue_exit(&r->uring);
	free(r->slots);
}
