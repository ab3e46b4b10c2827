// SPDX-License-Identifier: GPL-2.0
/*
 * Reading and writing the heap of a proclet that is here, for somebody who may
 * be anywhere. The bytes go between the operation's payload and the heap's pages;
 * whether the program has mapped those does not matter.
 *
 * The heap's lock, held for reading as by a fault, keeps a migration from taking
 * the pages: it hides the heap under that lock before it looks at them. So either
 * it hides the heap after us, and what we have written travels; or we find the
 * heap gone, and the operation goes the way of those that came too late.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "lproc.h"

/*
 * The program looks at these words while we copy: whole aligned words at once.
 * Only the heap's side is shared, and the other one may be unaligned.
 */
static void copy_to_heap(u8 *to, const u8 *from, u32 n)
{
	u64 word;

	for (; n && !IS_ALIGNED((unsigned long)to, sizeof(word)); n--)
		WRITE_ONCE(*to++, *from++);
	for (; n >= sizeof(word); n -= sizeof(word)) {
		memcpy(&word, from, sizeof(word));
		WRITE_ONCE(*(u64 *)to, word);
		to += sizeof(word);
		from += sizeof(word);
	}
	for (; n; n--)
		WRITE_ONCE(*to++, *from++);
}

static void copy_from_heap(u8 *to, const u8 *from, u32 n)
{
	u64 word;

	for (; n && !IS_ALIGNED((unsigned long)from, sizeof(word)); n--)
		*to++ = READ_ONCE(*from++);
	for (; n >= sizeof(word); n -= sizeof(word)) {
		word = READ_ONCE(*(const u64 *)from);
		memcpy(to, &word, sizeof(word));
		to += sizeof(word);
		from += sizeof(word);
	}
	for (; n; n--)
		*to++ = READ_ONCE(*from++);
}

static void heap_read(struct segment *heap, u64 off, const struct payload *pl)
{
	struct page *page;
	u32 done, run;
	void *at;

	for (done = 0; done < pl->len; done += run, off += run) {
		at = payload_at(pl, done, &run);
		run = min_t(u32, run, PAGE_SIZE - offset_in_page(off));
		page = xa_load(&heap->pages, off >> PAGE_SHIFT);
		if (page)
			copy_from_heap(at, page_address(page) + offset_in_page(off), run);
		else
			memset(at, 0, run);
	}
}

static int heap_write(struct segment *heap, u64 off, const struct payload *pl)
{
	struct page *page;
	u32 done, run;
	void *from;

	if (!pl->len)
		return 0;
	/* All pages first: all or nothing. */
	if (segment_populate(heap, off, pl->len))
		return -ENOMEM;
	for (done = 0; done < pl->len; done += run, off += run) {
		from = payload_at(pl, done, &run);
		run = min_t(u32, run, PAGE_SIZE - offset_in_page(off));
		page = xa_load(&heap->pages, off >> PAGE_SHIFT);
		segment_touch(heap, off >> PAGE_SHIFT);
		copy_to_heap(page_address(page) + offset_in_page(off), from, run);
		SetPageDirty(page);	/* for a migration, see migrate_pages.c */
	}
	return 0;
}

static void memory_do(struct op *op, struct proclet *p)
{
	bool write = op->code == PROCLET_OP_WRITE, gone;
	u32 len = write ? op->payload.len : op->out_cap;
	u64 off = PROCLET_ROOT_OFF + op->off;
	struct segment *heap = p->heap;
	int err = 0;

	if (!write)
		err = payload_alloc(&op->payload, len);
	/* Lost: as if it had been destroyed, which it will be. */
	if (!err && len && tail_need(heap, off, off + len))
		err = -ECONNRESET;
	down_read(&heap->sem);
	gone = heap->gone;
	if (!gone && !err && off + len > heap->limit)
		err = -ERANGE;
	if (!gone && !err && write)
		err = heap_write(heap, off, &op->payload);
	else if (!gone && !err)
		heap_read(heap, off, &op->payload);
	up_read(&heap->sem);
	proclet_put(p);
	if (gone) {
		/* It is on its way, or was destroyed: no longer PRESENT. */
		if (!write)
			payload_free(&op->payload);
		op_route(op);
	} else if (err) {
		op_reply(op, err, NULL, 0);
	} else if (write) {
		op_reply(op, len, NULL, 0);
	} else {
		op_reply_payload(op, len);
	}
}

/* An operation that may have to wait for pages. */
struct memory_work {
	struct work_struct work;
	struct op *op;
	struct proclet *p;
};

static void memory_fn(struct work_struct *work)
{
	struct memory_work *m = container_of(work, struct memory_work, work);
	struct charge charge;

	charge_begin(&charge, m->op->lproc);
	memory_do(m->op, m->p);
	charge_end(&charge);
	kfree(m);
}

/* PROCLET_OP_READ or _WRITE has come to @p, which was PRESENT a moment ago. */
void memory_op(struct op *op, struct proclet *p)
{
	struct memory_work *m;

	if (!READ_ONCE(p->heap->tail)) {
		memory_do(op, p);
		return;
	}
	/* Messages of the peer that has sent it do not wait for another one's pages. */
	m = kmalloc(sizeof(*m), GFP_KERNEL | __GFP_NOFAIL);
	INIT_WORK(&m->work, memory_fn);
	m->op = op;
	m->p = p;
	queue_work(p->lproc->node->wq, &m->work);
}
