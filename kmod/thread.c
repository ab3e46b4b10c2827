// SPDX-License-Identifier: GPL-2.0
/* Thread segments: given to the library, taken over by the kernel, given back. */
#include <linux/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "lproc.h"

/* What PROCLET_STACK_TRIM leaves of the argument and result buffers. */
#define TRIM_KEEP	(64 * 1024)

struct thread *thread_create(struct lproc *lproc, u64 stack)
{
	struct thread *t = kzalloc(sizeof(*t), GFP_MEMBER);

	if (!t)
		return NULL;
	t->seg = segment_alloc(lproc, stack, PROCLET_STACK_SIZE, PROCLET_STACK_SIZE);
	if (!t->seg) {
		kfree(t);
		return NULL;
	}
	t->seg->thread = t;
	INIT_LIST_HEAD(&t->entry);
	INIT_LIST_HEAD(&t->item.entry);
	waiter_init(&t->waiter, false);
	INIT_LIST_HEAD(&t->wait_entry);
	return t;
}

/* Under RCU, or under lproc.lock while the kernel holds the thread. */
struct thread *thread_at(struct lproc *lproc, u64 stack)
{
	struct segment *seg;

	if (!wire_stack_ok(stack))
		return NULL;
	seg = stack_segment(lproc, stack);
	return seg ? seg->thread : NULL;
}

/* The kernel takes the thread over from the library; it belongs to @p. */
void thread_hold(struct thread *t, struct proclet *p, enum thread_state state)
{
	lockdep_assert_held(&p->lproc->lock);
	t->state = state;
	t->item.proclet = p;
	waiter_init(&t->waiter, false);
	t->held = ktime_get();
	list_add_tail(&t->entry, &p->threads);
}

/*
 * @t, which waits, has its reply. While its proclet is being stopped that stays
 * with it.
 */
void thread_replied(struct thread *t, struct op *op)
{
	struct proclet *p = t->item.proclet;

	lockdep_assert_held(&p->lproc->lock);
	waiter_disarm(p->lproc, &t->waiter);
	t->reply = op;
	t->state = THREAD_REPLIED;
	if (p->state == PROCLET_PRESENT || p->state == PROCLET_DYING)
		ready_add(p->lproc, &t->item);
}

/* A new thread of @p, suspended by the library, goes on with the reply @op. */
int thread_spawn(struct proclet *p, u64 stack, struct op *op)
{
	struct lproc *lproc = p->lproc;
	struct thread *t = thread_at(lproc, stack);
	struct proclet_tcb *tcb;

	lockdep_assert_held(&lproc->lock);
	if (!t || t->state != THREAD_USER || t->seg->gone || worker_has_stack(lproc, stack))
		return -EINVAL;
	tcb = thread_tcb(t);
	if (!tcb || READ_ONCE(tcb->proclet) != p->id)
		return -EINVAL;
	t->seq = 0;
	t->out = 0;
	t->out_cap = 0;
	thread_hold(t, p, THREAD_WAITING);
	thread_replied(t, op);
	return 0;
}

/*
 * Can none of the threads that are held go on? Only one of them could wake another.
 */
bool threads_stuck(struct proclet *p)
{
	struct thread *t;

	lockdep_assert_held(&p->lproc->lock);
	list_for_each_entry(t, &p->threads, entry)
		if (!t->wait_addr || t->waiter.deadline)
			return false;
	return true;
}

static int stack_alloc(struct lproc *lproc, u64 *stack)
{
	struct thread *t;
	u64 at;
	int err;

	do {
		at = stack_slot_alloc(lproc);
		if (!at)
			return -ENOMEM;
		t = thread_create(lproc, at);
		err = t ? segment_publish(t->seg) : -ENOMEM;
		if (err && t)
			segment_put(t->seg);
		/* In use, whatever a peer has said: its place is taken again now. */
	} while (err == -EBUSY);
	if (err)
		stack_slot_free(lproc, at);
	else
		*stack = at;
	return err;
}

/* Its addresses can be used again, by the node whose slice they are of. */
static void stack_return(struct lproc *lproc, u64 stack)
{
	u32 home = (stack - PROCLET_REGION_BASE) / PROCLET_SLICE_SIZE + 1;
	struct wire_stack_free *m;
	struct xport_msg *msg;

	if (home == lproc->node->id) {
		stack_slot_free(lproc, stack);
		return;
	}
	m = msg_new(&msg, WIRE_STACK_FREE, lproc->key, sizeof(*m));
	if (!m)
		return;
	m->stack = cpu_to_le64(stack);
	msg_send(lproc->node, home, msg);
}

/* The threads that were stuck end with their proclet, which is ABSENT. */
void threads_end(struct proclet *p)
{
	struct lproc *lproc = p->lproc;
	struct proclet_tcb *tcb;
	struct thread *t, *tmp;
	LIST_HEAD(threads);
	u64 stack;

	spin_lock_bh(&lproc->lock);
	list_splice_init(&p->threads, &threads);
	list_for_each_entry(t, &threads, entry)
		futex_forget(t);
	spin_unlock_bh(&lproc->lock);
	list_for_each_entry_safe(t, tmp, &threads, entry) {
		list_del_init(&t->entry);
		tcb = thread_tcb(t);
		t->reply->token = (struct proclet_token){};
		if (tcb)
			t->reply->token = tcb->caller;
		t->reply->result = -ECONNRESET;
		stack = t->seg->start;
		if (token_ok(&t->reply->token))
			op_route(t->reply);
		else
			op_free(t->reply);
		segment_remove(t->seg);
		stack_return(lproc, stack);
	}
}

int thread_ioctl(struct lproc *lproc, struct proclet_stack *s)
{
	struct segment *seg;
	struct thread *t;
	int err = 0;

	if (s->op == PROCLET_STACK_ALLOC)
		return s->stack ? -EINVAL : stack_alloc(lproc, &s->stack);
	if (s->op != PROCLET_STACK_FREE && s->op != PROCLET_STACK_TRIM)
		return -EINVAL;
	if (!wire_stack_ok(s->stack))
		return -EINVAL;
	seg = segment_get(lproc, s->stack);
	if (!seg)
		return -EINVAL;
	t = seg->thread;
	spin_lock_bh(&lproc->lock);
	if (t->state != THREAD_USER || seg->gone || worker_has_stack(lproc, s->stack)) {
		err = -EBUSY;
	} else if (s->op == PROCLET_STACK_FREE) {
		/* Two threads may try: the first wins. */
		seg->gone = true;
	}
	spin_unlock_bh(&lproc->lock);
	if (err)
		goto out;
	if (s->op == PROCLET_STACK_FREE) {
		segment_remove(seg);
		stack_return(lproc, s->stack);
	} else {
		err = segment_drop_pages(seg, PROCLET_STACK_IN + TRIM_KEEP,
					 PROCLET_STACK_OUT);
		if (!err)
			err = segment_drop_pages(seg, PROCLET_STACK_OUT + TRIM_KEEP,
						 PROCLET_STACK_GUARD);
	}
out:
	segment_put(seg);
	return err;
}
