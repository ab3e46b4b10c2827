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
	struct thread *t = kzalloc(sizeof(*t), GFP_KERNEL_ACCOUNT);

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
	return t;
}

/* Under RCU, or under lproc.lock while the kernel holds the thread. */
struct thread *thread_at(struct lproc *lproc, u64 stack)
{
	struct segment *seg;

	if (!wire_stack_ok(stack))
		return NULL;
	seg = mtree_load(&lproc->segments, stack >> PAGE_SHIFT);
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

static int stack_alloc(struct lproc *lproc, u64 *stack)
{
	struct thread *t;
	u64 at;
	int err;

	at = stack_slot_alloc(lproc);
	if (!at)
		return -ENOMEM;
	t = thread_create(lproc, at);
	if (!t) {
		stack_slot_free(lproc, at);
		return -ENOMEM;
	}
	err = segment_publish(t->seg);
	if (err) {
		segment_put(t->seg);
		stack_slot_free(lproc, at);
		return err;
	}
	*stack = at;
	return 0;
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
	spin_lock(&lproc->lock);
	if (t->state != THREAD_USER || seg->gone || worker_has_stack(lproc, s->stack)) {
		err = -EBUSY;
	} else if (s->op == PROCLET_STACK_FREE) {
		/* Two threads may try: the first wins. */
		seg->gone = true;
	}
	spin_unlock(&lproc->lock);
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
