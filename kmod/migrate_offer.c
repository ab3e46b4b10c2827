// SPDX-License-Identifier: GPL-2.0
/*
 * Migration, the source's side: how the destination is told which pages there are, and
 * where to read them. What that takes is ready before the freeze, unless the proclet has
 * grown a lot meanwhile.
 */
#include <linux/bitmap.h>
#include <linux/list_sort.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "migrate.h"

#define ROOM_MORE	256	/* pages, and extents, that may be new at the freeze */
#define ROOM_THREADS	16

/* Where a page is readable: number in the early set, in that of stacks, or the next late one. */
#define FROM_STACKS	BIT(31)
#define FROM_LATE	U32_MAX

/* Index of the first page of a thread's stack that is in use. */
static unsigned long stack_bottom(struct thread *t)
{
	struct proclet_tcb *tcb = thread_tcb(t);
	u64 sp;

	if (!tcb)
		return PROCLET_STACK_GUARD >> PAGE_SHIFT;
	sp = t->state == THREAD_PARKED ? READ_ONCE(tcb->frame) : READ_ONCE(tcb->sp);
	/* A little below: the parked frame begins before its ucontext. */
	sp -= t->seg->start + 256;
	if (sp >= PROCLET_STACK_SIZE || sp < PROCLET_STACK_GUARD)
		sp = PROCLET_STACK_GUARD;	/* not believable: take all */
	return sp >> PAGE_SHIFT;
}

/**
 * struct listing - pages being listed for an offer
 * @m: .
 * @blob: where they are listed; NULL: they are only counted
 * @segs: in it, as all below
 * @exts: .
 * @threads: .
 * @descs: .
 * @nexts: number of @exts
 * @n: pages
 * @nlate: of them late
 * @next: index that goes on with the last extent
 */
struct listing {
	struct migration *m;
	struct wire_blob *blob;
	struct wire_seg *segs;
	struct wire_extent *exts;
	struct wire_thread *threads;
	struct wire_desc *descs;
	u32 nexts;
	u32 n;
	u32 nlate;
	unsigned long next;
};

static void list_page(struct listing *l, unsigned long index, struct page *page, u32 from)
{
	if (index != l->next) {
		if (l->blob) {
			l->exts[l->nexts].first = cpu_to_le32(index);
			l->exts[l->nexts].count = 0;
		}
		l->nexts++;
	}
	if (l->blob) {
		le32_add_cpu(&l->exts[l->nexts - 1].count, 1);
		l->m->room.from[l->n] = from;
		if (from == FROM_LATE)
			l->m->room.late[l->nlate] = page;
	}
	l->n++;
	l->nlate += from == FROM_LATE;
	l->next = index + 1;
}

/* What the destination does not have of the heap; returns its number of extents. */
static u32 list_heap(struct listing *l)
{
	struct migration *m = l->m;
	struct segment *heap = m->p->heap;
	xa_mark_t which = m->told ? SEGMENT_TOUCHED : XA_PRESENT;
	u32 before = l->nexts, early;
	unsigned long index;
	struct page *page;

	l->next = ULONG_MAX;
	xa_for_each_marked(&heap->pages, index, page, which) {
		if (index >= heap->limit >> PAGE_SHIFT)
			break;
		early = mig_early_find(m, index, page);
		if (early == NOT_THERE || !m->told || (m->dirty && test_bit(early, m->dirty)))
			list_page(l, index, page, early == NOT_THERE ? FROM_LATE : early);
	}
	return l->nexts - before;
}

/* The part of a thread's segment that is in use; likewise. */
static u32 list_thread(struct listing *l, struct thread *t)
{
	unsigned long bottom = stack_bottom(t), index;
	u32 before = l->nexts, at;
	struct page *page;

	l->next = ULONG_MAX;
	xa_for_each(&t->seg->pages, index, page) {
		if (index >= PROCLET_STACK_GUARD >> PAGE_SHIFT && index < bottom)
			continue;
		at = mig_stacks_find(l->m, segment_at(t->seg, index), page);
		list_page(l, index, page, at == NOT_THERE ? FROM_LATE : at | FROM_STACKS);
	}
	return l->nexts - before;
}

/* The early pages below @end, or those of them that have been written. */
static void list_early(struct listing *l, bool all, unsigned long end)
{
	struct migration *m = l->m;
	u32 i;

	l->next = ULONG_MAX;
	for (i = 0; i < m->early.n && m->index[i] < end; i++)
		if (all || test_bit(i, m->dirty))
			list_page(l, m->index[i], m->early.pages[i], i);
}

/* Where the peer reads page @at of @set; @at ascends. */
static void page_desc(struct page_set *set, u32 at, u64 *addr, u32 *rkey)
{
	const struct xport_desc *d = &set->mem.descs[set->desc];

	while (at - set->first >= le32_to_cpu(d->len) >> PAGE_SHIFT) {
		set->first += le32_to_cpu(d->len) >> PAGE_SHIFT;
		set->desc++;
		d++;
	}
	*addr = le64_to_cpu(d->addr) + ((u64)(at - set->first) << PAGE_SHIFT);
	*rkey = le32_to_cpu(d->rkey);
}

static u32 fill_descs(const struct listing *l)
{
	struct wire_desc *descs = l->descs;
	struct migration *m = l->m;
	u32 i, n = 0, late = 0, rkey, from;
	u64 addr;

	m->early.desc = m->early.first = 0;
	m->stacks.desc = m->stacks.first = 0;
	m->late.desc = m->late.first = 0;
	for (i = 0; i < l->n; i++) {
		from = m->room.from[i];
		if (from == FROM_LATE)
			page_desc(&m->late, late++, &addr, &rkey);
		else if (from & FROM_STACKS)
			page_desc(&m->stacks, from & ~FROM_STACKS, &addr, &rkey);
		else
			page_desc(&m->early, from, &addr, &rkey);
		if (n && le32_to_cpu(descs[n - 1].rkey) == rkey &&
		    le64_to_cpu(descs[n - 1].addr) + le32_to_cpu(descs[n - 1].len) == addr) {
			le32_add_cpu(&descs[n - 1].len, PAGE_SIZE);
			continue;
		}
		descs[n].addr = cpu_to_le64(addr);
		descs[n].rkey = cpu_to_le32(rkey);
		descs[n].len = cpu_to_le32(PAGE_SIZE);
		n++;
	}
	return n;
}

/* The destination has read it. */
static void offer_done(struct migration *m)
{
	struct mig_offer *o = &m->offer;

	if (o->exposed)
		m->peer->node->ops->unexpose(&o->mem);
	payload_free(&o->pages);
	memset(o, 0, sizeof(*o));
}

void mig_offer_end(struct migration *m)
{
	struct mig_room *room = &m->room;

	offer_done(m);
	kvfree(room->blob);
	kvfree(room->from);
	kvfree(room->late);
	memset(room, 0, sizeof(*room));
}

/* Room for a blob of @size bytes, about @pages, of which @late are. */
static int room_for(struct migration *m, u64 size, u32 pages, u32 late)
{
	struct mig_room *room = &m->room;

	if (size > room->size) {
		kvfree(room->blob);
		room->blob = kvmalloc(size, GFP_KERNEL);
		room->size = room->blob ? size : 0;
	}
	if (pages > room->pages) {
		kvfree(room->from);
		room->from = kvmalloc_array(pages, sizeof(*room->from), GFP_KERNEL);
		room->pages = room->from ? pages : 0;
	}
	if (late > room->nlate) {
		kvfree(room->late);
		room->late = kvmalloc_array(late, sizeof(*room->late), GFP_KERNEL);
		room->nlate = room->late ? late : 0;
	}
	return size > room->size || pages > room->pages || late > room->nlate ? -ENOMEM : 0;
}

/* Bytes of a blob, without descriptors. */
static u64 blob_len(u32 nsegs, u64 nexts)
{
	return sizeof(struct wire_blob) + (u64)nsegs * sizeof(struct wire_seg) +
	       nexts * sizeof(struct wire_extent) +
	       (u64)(nsegs - 1) * sizeof(struct wire_thread);
}

/* For the offer of the proclet as it is now, and a little more. */
int mig_offer_reserve(struct migration *m)
{
	u32 nthreads = worker_segments(m->p, NULL, 0) + ROOM_THREADS;
	struct listing l = { .m = m };
	u64 exts, pages;

	list_heap(&l);
	/* Of a stack, the control block, and one piece or two. */
	exts = l.nexts + 3 * nthreads + ROOM_MORE;
	pages = l.n + m->stacks.n + ROOM_MORE;
	return room_for(m, blob_len(1 + nthreads, exts) + pages * sizeof(struct wire_desc),
			pages, l.nlate + ROOM_MORE);
}

/* What has been counted is to be listed. */
static int listing_begin(struct listing *l, u32 nsegs)
{
	struct migration *m = l->m;
	u64 len = blob_len(nsegs, l->nexts);
	int err;

	/* A descriptor is for at least one page. */
	if (len + (u64)l->n / 64 * sizeof(*l->descs) > WIRE_BLOB_MAX)
		return -E2BIG;
	offer_done(m);
	err = room_for(m, len + (u64)l->n * sizeof(*l->descs), l->n, l->nlate);
	if (err)
		return err;
	l->blob = m->room.blob;
	memset(l->blob, 0, len);
	l->blob->nsegs = cpu_to_le32(nsegs);
	l->blob->nextents = cpu_to_le32(l->nexts);
	l->blob->nthreads = cpu_to_le32(nsegs - 1);
	l->segs = (void *)(l->blob + 1);
	l->exts = (void *)(l->segs + nsegs);
	l->threads = (void *)(l->exts + l->nexts);
	l->descs = (void *)(l->threads + nsegs - 1);
	m->offer.len = len;
	l->nexts = 0;
	l->n = 0;
	l->nlate = 0;
	return 0;
}

/* All is listed, and exposed. */
static int listing_end(struct listing *l)
{
	struct mig_offer *o = &l->m->offer;
	u32 ndescs = fill_descs(l);

	l->blob->ndescs = cpu_to_le32(ndescs);
	o->len += ndescs * sizeof(*l->descs);
	return o->len > WIRE_BLOB_MAX ? -E2BIG : 0;
}

static void fill_seg(struct wire_seg *ws, struct segment *seg, u32 nextents)
{
	ws->start = cpu_to_le64(seg->start);
	ws->limit = cpu_to_le64(seg->limit);
	ws->nextents = cpu_to_le32(nextents);
}

static void fill_thread(struct wire_thread *wt, struct thread *t)
{
	wt->stack = cpu_to_le64(t->seg->start);
	wt->seq = cpu_to_le64(t->seq);
	wt->out = cpu_to_le64(t->out);
	wt->out_cap = cpu_to_le64(t->out_cap);
	wt->deadline = cpu_to_le64(t->waiter.deadline);
	wt->target = cpu_to_le64(t->waiter.target);
	wt->sent_to = cpu_to_le32(t->waiter.sent_to);
	wt->op = cpu_to_le32(t->waiter.code);
	wt->cancelled = cpu_to_le32(t->waiter.cancelled);
	if (t->state == THREAD_PARKED) {
		wt->state = cpu_to_le32(WIRE_THREAD_PARKED);
	} else if (t->state == THREAD_REPLIED) {
		wt->state = cpu_to_le32(WIRE_THREAD_REPLIED);
		wt->result = cpu_to_le64(t->reply->result);
	} else if (t->wait_addr) {
		wt->wait_addr = cpu_to_le64(t->wait_addr);
		wt->wait_no = cpu_to_le64(t->wait_no);
	}
}

/*
 * Make an offer of the early pages, all or those that have been written since they
 * were read. Returns how many they are. What has been freed is not among them; what will be
 * is void with the last offer (wire_offer.keep).
 */
int mig_offer_early(struct migration *m, bool all)
{
	struct segment *heap = m->p->heap;
	u64 keep = READ_ONCE(heap->lowest);
	struct listing l = { .m = m };
	int err;

	list_early(&l, all, keep >> PAGE_SHIFT);
	if (!l.n)
		return 0;
	err = listing_begin(&l, 1);
	if (err)
		return err;
	list_early(&l, all, keep >> PAGE_SHIFT);
	fill_seg(l.segs, heap, l.nexts);
	l.segs->limit = cpu_to_le64(max(READ_ONCE(heap->limit), keep));
	/* The destination reads them later than this. */
	if (m->dirty) {
		bitmap_zero(m->dirty, m->early.n);
		m->move.bytes += (u64)l.n << PAGE_SHIFT;
	}
	return listing_end(&l) ?: l.n;
}

static int by_address(void *priv, const struct list_head *a, const struct list_head *b)
{
	return list_entry(a, struct thread, entry)->seg->start >
	       list_entry(b, struct thread, entry)->seg->start;
}

/* The frozen proclet: what the destination has not been offered, or must read again. */
int mig_offer_build(struct migration *m)
{
	struct listing l = { .m = m };
	struct proclet *p = m->p;
	struct thread *t;
	u32 i = 0;
	int err;

	/* In order: the destination can see that none comes twice. */
	spin_lock_bh(&p->lproc->lock);
	list_sort(NULL, &p->threads, by_address);
	spin_unlock_bh(&p->lproc->lock);
	if (m->dirty)
		mig_early_collect(m);
	list_heap(&l);
	list_for_each_entry(t, &p->threads, entry)
		list_thread(&l, t);
	err = listing_begin(&l, 1 + m->move.threads);
	if (err)
		return err;
	fill_seg(l.segs, p->heap, list_heap(&l));
	list_for_each_entry(t, &p->threads, entry) {
		fill_seg(&l.segs[i + 1], t->seg, list_thread(&l, t));
		fill_thread(&l.threads[i], t);
		i++;
	}
	m->late.pages = m->room.late;
	m->late.n = l.nlate;
	m->move.registered = l.nlate;
	if (m->late.n)
		err = mig_expose(m, &m->late);
	if (!err)
		err = listing_end(&l);
	m->move.late_bytes = (u64)l.n << PAGE_SHIFT;
	if (m->told && !m->dirty && !m->tail)
		m->move.late_bytes += (u64)m->early.n << PAGE_SHIFT;
	m->move.bytes += m->tail ? (u64)(l.n + m->early.n) << PAGE_SHIFT : m->move.late_bytes;
	return err;
}

int mig_offer_send(struct migration *m, u32 flags)
{
	const struct xport_ops *ops = m->peer->node->ops;
	struct mig_offer *o = &m->offer;
	u32 tail = o->len, ndescs = 0;
	struct wire_offer *w;
	struct xport_msg *msg;
	int err;

	if (o->len > WIRE_MSG_MAX - sizeof(*w)) {
		err = payload_alloc(&o->pages, o->len);
		if (err)
			return err;
		if (!o->pages.npages)
			return -EINVAL;
		payload_fill(&o->pages, m->room.blob, o->len);
		err = ops->expose(m->peer, o->pages.pages, o->pages.npages, &o->mem);
		if (err)
			return err;
		o->exposed = true;
		ndescs = o->mem.ndescs;
		tail = ndescs * sizeof(struct wire_desc);
	}
	if (tail > WIRE_MSG_MAX - sizeof(*w))
		return -E2BIG;
	w = msg_new(&msg, WIRE_OFFER, m->p->lproc->key, sizeof(*w) + tail);
	if (!w)
		return -ENOMEM;
	clock_stamp(m->p->lproc, &w->hdr);
	w->proclet = cpu_to_le64(m->p->id);
	w->mig = cpu_to_le64(m->id);
	w->keep = cpu_to_le64(m->p->heap->lowest);
	w->blob_len = cpu_to_le32(o->len);
	w->ndescs = cpu_to_le32(ndescs);
	/* What would change it waits in the inbox since the freeze. */
	if (!(flags & WIRE_OFFER_EARLY))
		w->refs = cpu_to_le32(m->p->refs);
	w->flags = cpu_to_le32(flags);
	memcpy(w + 1, ndescs ? (void *)o->mem.descs : m->room.blob, tail);
	return ops->send(m->peer, msg) ? -EHOSTUNREACH : 0;
}
