// SPDX-License-Identifier: GPL-2.0
/*
 * Commands of io_uring on a member's file: operations like those of native
 * threads, and waiting for events.
 *
 * Each command is a struct native_wait until it has been answered or ended,
 * and who takes it out of lproc.natives completes it, once. The result
 * is written in the context of the thread that submitted the command: only there
 * is the program's memory. The command holds the member's file, so the lproc
 * stays.
 *
 * While a command waits, nothing of it but that entry is left here. io_uring
 * waits for its commands when a ring is closed, and in execve(): then they are
 * ended, at its word (IO_URING_F_CANCEL) or, where it does not give that,
 * when the waiters' tick finds it so. When the member's memory goes, lproc_end()
 * ends them all.
 */
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "lproc.h"

/**
 * struct uring_wait - a command that waits
 * @native: .
 * @cmd: .
 * @addr: where the result goes: bytes, or a struct proclet_event
 * @cap: at most so many
 * @after: number of the last event that the program knows
 * @event: the one that it gets
 */
struct uring_wait {
	struct native_wait native;
	struct io_uring_cmd *cmd;
	u64 addr;
	u64 cap;
	u64 after;
	struct proclet_event event;
};

/* What we keep in the command. @seq: of @wait, which may be freed; 0: none yet. */
struct uring_pdu {
	struct uring_wait *wait;
	u32 seq;
};

static struct uring_pdu *uring_pdu(struct io_uring_cmd *cmd)
{
	BUILD_BUG_ON(sizeof(struct uring_pdu) > sizeof(cmd->pdu));
	return (struct uring_pdu *)cmd->pdu;
}

/* Bytes of the SQE's command area; the program can change them at any time. */
static void uring_args(struct io_uring_cmd *cmd, void *args, size_t size)
{
	const u64 *from = compat_uring_sqe_cmd(cmd);
	u64 *to = args;
	size_t i;

	for (i = 0; i < size / sizeof(u64); i++)
		to[i] = READ_ONCE(from[i]);
}

static s64 uring_copy(const struct uring_wait *u)
{
	const struct native_wait *n = &u->native;
	u32 len;
	int err;

	if (n->is_event) {
		if (!u->event.seq)
			return n->result;
		err = copy_to_user(u64_to_user_ptr(u->addr), &u->event, sizeof(u->event)) ?
			-EFAULT : 0;
	} else {
		if (!n->reply)
			return n->result;
		len = min_t(u64, n->reply->payload.len, u->cap);
		err = payload_to_user(&n->reply->payload, u->addr, len);
	}
	return err ? err : n->result;
}

/* The last step, by the thread that submitted the command if that still runs. */
static void uring_done(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	/* Pairs with lproc_join(). */
	struct lproc *lproc = smp_load_acquire(&cmd->file->private_data);
	struct uring_wait *u = uring_pdu(cmd)->wait;
	struct op *reply = u->native.reply;
	s64 result = u->native.result;

	if (current->mm == lproc->mm)
		result = uring_copy(u);
	else if (u->event.seq || (reply && reply->payload.len && u->cap))
		result = -ECANCELED;
	if (reply)
		op_free(reply);
	kfree(u);
	io_uring_cmd_done(cmd, (s32)result == result ? result : -EOVERFLOW, result,
			  issue_flags);
}

static void uring_wake(struct native_wait *w)
{
	struct uring_wait *u = container_of(w, struct uring_wait, native);

	io_uring_cmd_complete_in_task(u->cmd, uring_done);
}

/* Likewise, for who waits in uring_queued(). */
static void uring_wake_worker(struct native_wait *w)
{
	complete(&w->done);
}

/* Does io_uring run the command in a worker of its own, which may sleep? */
static bool in_worker(unsigned int issue_flags)
{
	return !(issue_flags & IO_URING_F_NONBLOCK);
}

static struct uring_wait *uring_alloc(struct io_uring_cmd *cmd, unsigned int issue_flags,
				      u64 addr, u64 cap)
{
	struct uring_wait *u = kzalloc(sizeof(*u), GFP_MEMBER);

	if (!u)
		return NULL;
	u->native.wake = in_worker(issue_flags) ? uring_wake_worker : uring_wake;
	init_completion(&u->native.done);
	u->native.pid = current->pid;
	u->native.is_uring = true;
	u->cmd = cmd;
	u->addr = addr;
	u->cap = cap;
	return u;
}

/*
 * Let it wait. From here on errors go the way of results: the ring has the command
 * in a list, and only completing it takes it out. Returns whether it waits.
 */
static bool uring_wait(struct lproc *lproc, struct uring_wait *u,
		       const struct proclet_op *uop, unsigned int issue_flags)
{
	struct uring_pdu *pdu = uring_pdu(u->cmd);
	int err;

	pdu->wait = u;
	pdu->seq = 0;
	compat_uring_mark_cancelable(u->cmd, issue_flags);
	err = native_add(lproc, &u->native, uop, &pdu->seq);
	if (!err)
		return true;
	u->native.result = err;
	u->native.wake(&u->native);
	return false;
}

/* The ring or its thread goes: @cmd may have ended already. */
static int uring_drop(struct lproc *lproc, struct io_uring_cmd *cmd)
{
	struct native_wait *n;

	spin_lock_bh(&lproc->lock);
	n = xa_load(&lproc->natives, uring_pdu(cmd)->seq);
	if (n && n->is_uring && container_of(n, struct uring_wait, native)->cmd == cmd)
		native_end(lproc, n, -ECANCELED);
	spin_unlock_bh(&lproc->lock);
	return 0;
}

/*
 * It is on its way. In a worker of io_uring it is waited for there: its own
 * cancellation signals that worker.
 */
static int uring_queued(struct lproc *lproc, struct io_uring_cmd *cmd,
			unsigned int issue_flags)
{
	struct native_wait *n;

	if (in_worker(issue_flags)) {
		n = &uring_pdu(cmd)->wait->native;
		if (wait_for_completion_interruptible(&n->done)) {
			uring_drop(lproc, cmd);
			wait_for_completion(&n->done);	/* by us, or who was faster */
		}
		uring_done(cmd, issue_flags);
	}
	return -EIOCBQUEUED;
}

static int uring_op(struct lproc *lproc, struct io_uring_cmd *cmd, unsigned int issue_flags,
		    const struct proclet_op *uop, const void *data)
{
	struct proclet_token token = { .node = lproc->node->id };
	struct uring_wait *u;
	struct op *op;
	int err;

	if (uop->seq)
		return -EINVAL;
	if (READ_ONCE(lproc->ended))
		return -ESHUTDOWN;
	err = op_submit_data(lproc, uop, data, &token, &op);
	if (err)
		return err;
	u = uring_alloc(cmd, issue_flags, uop->out, uop->out_cap);
	if (!u) {
		op_free(op);
		return -ENOMEM;
	}
	if (uring_wait(lproc, u, uop, issue_flags)) {
		/* @u may have been ended, and freed, already. */
		op->token.seq = uring_pdu(cmd)->seq;
		op_route(op);
	} else {
		op_free(op);
	}
	return uring_queued(lproc, cmd, issue_flags);
}

static int uring_op_at(struct lproc *lproc, struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct proclet_native_op n;
	struct proclet_uring_op args;
	u32 size;
	int err;

	uring_args(cmd, &args, sizeof(args));
	if (args.reserved)
		return -EINVAL;
	if (get_user(size, (u32 __user *)u64_to_user_ptr(args.op)))
		return -EFAULT;
	if (size < sizeof(n) || size > PAGE_SIZE)
		return -EINVAL;
	err = copy_struct_from_user(&n, sizeof(n), u64_to_user_ptr(args.op), size);
	if (err)
		return err;
	if (n.reserved)
		return -EINVAL;
	return uring_op(lproc, cmd, issue_flags, &n.op, NULL);
}

static int uring_op128(struct lproc *lproc, struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct proclet_uring_op128 args;
	bool inside;

	BUILD_BUG_ON(sizeof(args) > 80);
	if (!(issue_flags & IO_URING_F_SQE128))
		return -EINVAL;
	uring_args(cmd, &args, sizeof(args));
	if (args.flags & ~PROCLET_URING_DATA || args.reserved)
		return -EINVAL;
	inside = args.flags & PROCLET_URING_DATA;
	if (inside ? args.op.in || args.op.in_len > sizeof(args.data) : args.data)
		return -EINVAL;
	return uring_op(lproc, cmd, issue_flags, &args.op, inside ? &args.data : NULL);
}

/* What follows on event @after: its kind, 0: nothing yet, or -errno. */
static int event_next(struct lproc *lproc, u64 after, struct proclet_event *event)
{
	lockdep_assert_held(&lproc->lock);
	if (after > lproc->last_event)
		return -EINVAL;
	if (after == lproc->last_event)
		return 0;
	if (lproc->last_event - after > PROCLET_EVENTS) {
		memset(event, 0, sizeof(*event));
		event->seq = lproc->last_event;
		return -EOVERFLOW;
	}
	*event = lproc->events[(after + 1) % PROCLET_EVENTS];
	return event->kind;
}

/* It has happened: all that wait for an event learn it. */
void event_add(struct lproc *lproc, u32 kind, u32 node, u64 proclet)
{
	struct proclet_event *event;
	struct native_wait *n;
	struct uring_wait *u;
	unsigned long index;

	lockdep_assert_held(&lproc->lock);
	event = &lproc->events[++lproc->last_event % PROCLET_EVENTS];
	event->seq = lproc->last_event;
	event->proclet = proclet;
	event->kind = kind;
	event->node = node;
	xa_for_each_marked(&lproc->natives, index, n, NATIVE_EVENT) {
		u = container_of(n, struct uring_wait, native);
		native_end(lproc, n, event_next(lproc, u->after, &u->event));
	}
}

static int uring_event(struct lproc *lproc, struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct proclet_event event = {};
	struct proclet_uring_event args;
	struct uring_wait *u;
	int ret;

	uring_args(cmd, &args, sizeof(args));
	spin_lock_bh(&lproc->lock);
	if (args.after)
		ret = event_next(lproc, args.after, &event);
	else
		event.seq = lproc->last_event;
	spin_unlock_bh(&lproc->lock);
	if (event.seq) {
		if (copy_to_user(u64_to_user_ptr(args.event), &event, sizeof(event)))
			return -EFAULT;
		if (!args.after || ret < 0)
			return args.after ? ret : 0;
		/* A worker of io_uring (6.1) forgets a command that returns more than 0. */
		io_uring_cmd_done(cmd, ret, ret, issue_flags);
		return -EIOCBQUEUED;
	}
	if (ret)
		return ret;
	u = uring_alloc(cmd, issue_flags, args.event, sizeof(event));
	if (!u)
		return -ENOMEM;
	u->native.is_event = true;
	u->after = args.after;
	if (!uring_wait(lproc, u, NULL, issue_flags))
		return uring_queued(lproc, cmd, issue_flags);
	spin_lock_bh(&lproc->lock);
	/* One that came before it waited has not ended it, but a later one may have. */
	if (xa_load(&lproc->natives, uring_pdu(cmd)->seq) == &u->native &&
	    args.after != lproc->last_event)
		native_end(lproc, &u->native, event_next(lproc, args.after, &u->event));
	spin_unlock_bh(&lproc->lock);
	return uring_queued(lproc, cmd, issue_flags);
}

static int uring_cancel(struct lproc *lproc, struct io_uring_cmd *cmd)
{
	const void *ring = compat_uring_ring(cmd);
	struct proclet_uring_cancel args;
	struct io_uring_cmd *other;
	struct native_wait *n;
	unsigned long index;
	int ret = -ENOENT;

	uring_args(cmd, &args, sizeof(args));
	if (args.reserved)
		return -EINVAL;
	spin_lock_bh(&lproc->lock);
	xa_for_each(&lproc->natives, index, n) {
		if (!n->is_uring)
			continue;
		other = container_of(n, struct uring_wait, native)->cmd;
		if (compat_uring_ring(other) != ring ||
		    compat_uring_user_data(other) != args.user_data)
			continue;
		native_end(lproc, n, -ECANCELED);
		ret = 0;
		break;
	}
	spin_unlock_bh(&lproc->lock);
	return ret;
}

/* Where io_uring does not say so. */
void uring_tick(struct lproc *lproc)
{
	struct native_wait *n;
	unsigned long index;

	spin_lock_bh(&lproc->lock);
	xa_for_each(&lproc->natives, index, n)
		if (n->is_uring &&
		    compat_uring_gone(container_of(n, struct uring_wait, native)->cmd))
			native_end(lproc, n, -ECANCELED);
	spin_unlock_bh(&lproc->lock);
}

/*
 * file_operations.uring_cmd. The ring's lock is held, and we sleep for memory, as
 * all commands that copy may, never for the network; or it is a worker of io_uring.
 */
int uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	/* Pairs with lproc_join(). */
	struct lproc *lproc = smp_load_acquire(&cmd->file->private_data);

	if (issue_flags & IO_URING_F_CANCEL)
		return uring_drop(lproc, cmd);
	if (cmd->flags & IORING_URING_CMD_FIXED)
		return -EINVAL;
	if (!lproc)
		return -ENOTCONN;
	if (current->mm != lproc->mm)
		return -EPERM;
	switch (cmd->cmd_op) {
	case PROCLET_URING_OP:
		return uring_op_at(lproc, cmd, issue_flags);
	case PROCLET_URING_OP128:
		return uring_op128(lproc, cmd, issue_flags);
	case PROCLET_URING_EVENT:
		return uring_event(lproc, cmd, issue_flags);
	case PROCLET_URING_CANCEL:
		return uring_cancel(lproc, cmd);
	default:
		return -ENOTTY;
	}
}
