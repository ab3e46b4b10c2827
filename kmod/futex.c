// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that wait for one another, by words in their proclet's memory.
 *
 * Everything here concerns the caller's own proclet, which is on this node when
 * the thread reports. So it is done at once, with the lock that the report is
 * accepted under: looking at a word and beginning to wait are one step for who
 * wakes. A thread that waits so is held like any other, and moves with its
 * proclet. It has its reply with it from the beginning: nothing has to be
 * allocated to wake it, and no message can be lost.
 */
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "lproc.h"

static struct list_head *bucket(struct lproc *lproc, u64 addr)
{
	return &lproc->waits[hash_64(addr, WAITS_BITS)];
}

void futex_init(struct lproc *lproc)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(lproc->waits); i++)
		INIT_LIST_HEAD(&lproc->waits[i]);
}

/* @t, which is held and has its reply, waits at @addr behind all others. */
void futex_wait(struct thread *t, u64 addr)
{
	struct lproc *lproc = t->seg->lproc;

	lockdep_assert_held(&lproc->lock);
	t->wait_addr = addr;
	t->wait_no = ++lproc->wait_no;
	list_add_tail(&t->wait_entry, bucket(lproc, addr));
}

/* It waits no longer, or no longer here. */
void futex_forget(struct thread *t)
{
	t->wait_addr = 0;
	list_del_init(&t->wait_entry);
}

static s64 futex_wake(struct proclet *p, u64 addr, u32 count)
{
	struct thread *t, *tmp;
	u32 n = 0;

	list_for_each_entry_safe(t, tmp, bucket(p->lproc, addr), wait_entry) {
		if (n == count)
			break;
		if (t->wait_addr != addr || t->item.proclet != p)
			continue;
		futex_forget(t);
		thread_replied(t, t->reply);
		n++;
	}
	return n;
}

/* Is the word in memory of @p: its heap, or a thread in it? */
static bool word_of(const struct own_op *own, const struct proclet *p)
{
	struct segment *seg = own->seg;
	struct proclet_tcb *tcb;

	if (!segment_accessible(seg, own->addr - seg->start))
		return false;
	if (!seg->thread)
		return seg == p->heap;
	tcb = thread_tcb(seg->thread);
	return tcb && READ_ONCE(tcb->proclet) == p->id;
}

/* What was never touched is in no page, and 0. The segment's sem is held. */
static u32 word_read(const struct own_op *own)
{
	u64 off = own->addr - own->seg->start;
	struct page *page = xa_load(&own->seg->pages, off >> PAGE_SHIFT);

	return page ? READ_ONCE(*(u32 *)(page_address(page) + offset_in_page(off))) : 0;
}

bool own_op_code(u32 code)
{
	return code == PROCLET_OP_WAIT || code == PROCLET_OP_WAKE ||
	       code == PROCLET_OP_SPAWN;
}

static int read_args(struct own_op *own, const struct op *op)
{
	struct proclet_wait_args wait;
	struct proclet_wake_args wake;

	if (op->code == PROCLET_OP_WAIT) {
		if (op->payload.len != sizeof(wait))
			return -EINVAL;
		payload_read(&op->payload, &wait, sizeof(wait));
		if (wait.flags)
			return -EINVAL;
		own->addr = wait.addr;
		own->value = wait.value;
	} else {
		if (op->payload.len != sizeof(wake))
			return -EINVAL;
		payload_read(&op->payload, &wake, sizeof(wake));
		if (wake.reserved)
			return -EINVAL;
		own->addr = wake.addr;
		own->count = wake.count;
	}
	return own->addr % sizeof(u32) ? -EINVAL : 0;
}

/*
 * All of it that can sleep. On success own_op_end() must follow, and @op becomes
 * its own reply in own_op_run().
 */
int own_op_prepare(struct own_op *own, struct op *op)
{
	int err;

	if (op->code == PROCLET_OP_SPAWN) {
		if (op->payload.len || !wire_stack_ok(op->target))
			return -EINVAL;
		own->addr = op->target;
		own->child = op_alloc(op->lproc, GFP_MEMBER);
		if (!own->child)
			return -ENOMEM;
		own->child->is_reply = true;
	} else {
		err = read_args(own, op);
		if (err)
			return err;
		own->seg = segment_get(op->lproc, own->addr);
		if (!own->seg)
			return -EINVAL;
		err = tail_need(own->seg, own->addr - own->seg->start,
				own->addr - own->seg->start + sizeof(u32));
		if (err) {
			segment_put(own->seg);
			own->seg = NULL;
			return err;
		}
		/* Its pages stay until we have looked. */
		down_read(&own->seg->sem);
		payload_free(&op->payload);
	}
	own->op = op;
	op->is_reply = true;
	return 0;
}

/* @t, which is held and in @p, has asked for it, by @uop. */
void own_op_run(struct own_op *own, struct thread *t, struct proclet *p,
		const struct proclet_op *uop)
{
	struct op *op = own->op;

	lockdep_assert_held(&p->lproc->lock);
	own->op = NULL;
	if (op->code == PROCLET_OP_SPAWN) {
		op->result = thread_spawn(p, own->addr, own->child);
		if (!op->result)
			own->child = NULL;
	} else if (!word_of(own, p)) {
		op->result = -EINVAL;
	} else if (op->code == PROCLET_OP_WAKE) {
		op->result = futex_wake(p, own->addr, own->count);
	} else if (word_read(own) != own->value) {
		op->result = -EAGAIN;
	} else {
		t->reply = op;
		futex_wait(t, own->addr);
		waiter_begin(p->lproc, &t->waiter, uop);
		return;
	}
	thread_replied(t, op);
}

void own_op_end(struct own_op *own)
{
	if (own->seg) {
		up_read(&own->seg->sem);
		segment_put(own->seg);
	}
	if (own->child)
		op_free(own->child);
	if (own->op)
		op_free(own->op);
}
