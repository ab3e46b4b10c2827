// SPDX-License-Identifier: GPL-2.0
/*
 * Migration, the source's side: which pages travel, and how the destination is
 * told where to read them.
 *
 * The heap's pages are exposed before the freeze, so that only what is new then has
 * to be registered in the blackout. From then on it is watched: only what was touched
 * is looked at again, so that the blackout does not depend on the size of the heap.
 * Pre-copy has the pages read before the freeze, too: what is written meanwhile is read
 * again. What the program writes is in the page tables; where the kernel has nothing to
 * take it from there, taking out the pages leaves PG_dirty on those that were written. What
 * the kernel or a device writes has that in any case.
 */
#include <linux/bitmap.h>
#include <linux/list_sort.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "migrate.h"

#define NOT_EARLY	U32_MAX

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

static int expose(struct migration *m, struct page_set *set)
{
	int err = m->peer->node->ops->expose(m->peer, set->pages, set->n, &set->mem);

	set->exposed = !err;
	return err;
}

/* Have the destination able to read the early pages. */
int mig_early_expose(struct migration *m)
{
	return expose(m, &m->early);
}

/* The heap as it is now, to be told of what is touched from here on. */
int mig_early_list(struct migration *m)
{
	struct segment *heap = m->p->heap;
	struct page_set *set = &m->early;
	unsigned long index, max;
	struct page *page;

	segment_watch(heap);
	max = atomic_long_read(&heap->npages);
	if (!max)
		return 0;
	set->pages = kvmalloc_array(max, sizeof(*set->pages), GFP_KERNEL);
	m->index = kvmalloc_array(max, sizeof(*m->index), GFP_KERNEL);
	if (!set->pages || !m->index)
		return -ENOMEM;
	down_read(&heap->sem);
	xa_for_each(&heap->pages, index, page) {
		if (index >= heap->limit >> PAGE_SHIFT)
			break;
		/*
		 * Somebody else holds it, and may write it without mapping it again. Huge
		 * pages were looked at by segment_watch().
		 */
		if ((!PageCompound(page) && page_count(page) != 1) || set->n == max)
			segment_touch(heap, index);
		if (set->n == max)
			continue;	/* others are new */
		get_page(page);
		set->pages[set->n] = page;
		m->index[set->n++] = index;
	}
	up_read(&heap->sem);
	return 0;
}

/* The number in the early set of the first page at @index or behind. */
static u32 early_from(const struct migration *m, unsigned long index)
{
	u32 low = 0, high = m->early.n, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (m->index[mid] < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The number in the early set of the page at @index, if it is still the same. */
static u32 early_find(const struct migration *m, unsigned long index,
		      const struct page *page)
{
	u32 low = early_from(m, index);

	if (low < m->early.n && m->index[low] == index && m->early.pages[low] == page)
		return low;
	return NOT_EARLY;
}

static unsigned long written_max(const struct migration *m)
{
	return m->early.n ? m->index[m->early.n - 1] + 1 : 0;
}

/* From now on note which of the early pages are written. */
int mig_early_track(struct migration *m)
{
	u32 i;

	m->dirty = kvcalloc(BITS_TO_LONGS(m->early.n), sizeof(long), GFP_KERNEL);
	m->written = kvcalloc(BITS_TO_LONGS(written_max(m)), sizeof(long), GFP_KERNEL);
	if (!m->dirty || !m->written)
		return -ENOMEM;
	segment_zap(m->p->heap);
	/* Written between the two: still in the page table, for the next look. */
	for (i = 0; i < m->early.n; i++)
		ClearPageDirty(m->early.pages[i]);
	return 0;
}

void mig_early_untrack(struct migration *m)
{
	kvfree(m->dirty);
	kvfree(m->written);
	m->dirty = NULL;
	m->written = NULL;
}

/* Of the huge page at @first, is the @i-th early page a part? Another one may follow. */
static bool early_of_huge(const struct migration *m, u32 i, unsigned long first,
			  const struct page *head)
{
	return m->early.pages[i] == head + (m->index[i] - first);
}

#define for_each_early_in(m, i, first)						\
	for (i = early_from(m, first);						\
	     i < (m)->early.n && (m)->index[i] - (first) < HUGE_PAGES; i++)

/* The kernel does not know which part was written: all that was touched may have been. */
static void huge_dirty(struct migration *m, unsigned long index, const struct page *page)
{
	unsigned long first = round_down(index, HUGE_PAGES);
	const struct page *head = page - (index - first);
	u32 i;

	for_each_early_in(m, i, first)
		if (early_of_huge(m, i, first, head) &&
		    xa_get_mark(&m->p->heap->pages, m->index[i], SEGMENT_TOUCHED))
			__set_bit(i, m->dirty);
}

/*
 * What the program has written since the last look. Unmapping would tell the same of single
 * pages, but only the whole of huge ones. false: the kernel cannot do that.
 */
bool mig_early_written(struct migration *m)
{
	struct segment *heap = m->p->heap;
	unsigned long index, n = written_max(m);
	u32 i;

	if (!n || !compat_take_dirty(heap->lproc->mapping,
			       (heap->start - PROCLET_REGION_BASE) >> PAGE_SHIFT, n, m->written))
		return false;
	for_each_set_bit(index, m->written, n) {
		i = early_from(m, index);
		if (m->index[i] == index)
			__set_bit(i, m->dirty);
	}
	bitmap_zero(m->written, n);
	return true;
}

/* The heap is not mapped, or mig_early_written() has looked at it: what has PG_dirty? */
static void early_collect(struct migration *m)
{
	struct segment *heap = m->p->heap;
	unsigned long index;
	struct page *page;
	u32 early;

	xa_for_each_marked(&heap->pages, index, page, SEGMENT_TOUCHED) {
		early = early_find(m, index, page);
		if (early != NOT_EARLY && TestClearPageDirty(page)) {
			if (PageCompound(page))
				huge_dirty(m, index, page);
			else
				__set_bit(early, m->dirty);
		}
		cond_resched();
	}
}

/* How many have been written since the last look, or the tracking began? */
u32 mig_early_dirty(struct migration *m)
{
	if (!mig_early_written(m))
		segment_zap(m->p->heap);
	early_collect(m);
	return bitmap_weight(m->dirty, m->early.n);
}

/* Does somebody else hold a part of the huge page that has @page at @index? */
static bool huge_pinned(struct migration *m, unsigned long index, struct page *page)
{
	unsigned long first = round_down(index, HUGE_PAGES);
	int ours = huge_slots(m->p->heap, index, page);
	u32 i;

	for_each_early_in(m, i, first)
		ours += early_of_huge(m, i, first, page - (index - first));
	return page_count(page) != ours;
}

/* A page that somebody else holds must stay where it is. */
bool mig_pages_pinned(struct migration *m)
{
	const struct page *last = NULL;
	struct proclet *p = m->p;
	unsigned long index;
	struct page *page;
	struct thread *t;

	xa_for_each_marked(&p->heap->pages, index, page, SEGMENT_TOUCHED) {
		if (!PageCompound(page)) {
			if (page_count(page) !=
			    1 + (early_find(m, index, page) != NOT_EARLY))
				return true;
		} else if (compound_head(page) != last) {
			if (huge_pinned(m, index, page))
				return true;
			last = compound_head(page);
		}
	}
	list_for_each_entry(t, &p->threads, entry)
		xa_for_each(&t->seg->pages, index, page)
			if (page_count(page) != 1)
				return true;
	return false;
}

/**
 * struct listing - pages being listed for an offer
 * @m: .
 * @blob: where they are listed; NULL: they are only counted
 * @segs: in it, as all below
 * @exts: .
 * @threads: .
 * @descs: .
 * @from: of each page the number in the early set, or NOT_EARLY: the next late one
 * @nexts: number of @exts
 * @n: pages
 * @nlate: of them not early
 * @next: index that goes on with the last extent
 */
struct listing {
	struct migration *m;
	struct wire_blob *blob;
	struct wire_seg *segs;
	struct wire_extent *exts;
	struct wire_thread *threads;
	struct wire_desc *descs;
	u32 *from;
	u32 nexts;
	u32 n;
	u32 nlate;
	unsigned long next;
};

static void list_page(struct listing *l, unsigned long index, struct page *page, u32 early)
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
		l->from[l->n] = early;
		if (early == NOT_EARLY)
			l->m->late.pages[l->nlate] = page;
	}
	l->n++;
	l->nlate += early == NOT_EARLY;
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
		early = early_find(m, index, page);
		if (early == NOT_EARLY || !m->told || (m->dirty && test_bit(early, m->dirty)))
			list_page(l, index, page, early);
	}
	return l->nexts - before;
}

/* The part of a thread's segment that is in use; likewise. */
static u32 list_thread(struct listing *l, struct thread *t)
{
	unsigned long bottom = stack_bottom(t), index;
	u32 before = l->nexts;
	struct page *page;

	l->next = ULONG_MAX;
	xa_for_each(&t->seg->pages, index, page)
		if (index < PROCLET_STACK_GUARD >> PAGE_SHIFT || index >= bottom)
			list_page(l, index, page, NOT_EARLY);
	return l->nexts - before;
}

/* The early pages, or those of them that have been written. */
static void list_early(struct listing *l, bool all)
{
	struct migration *m = l->m;
	u32 i;

	l->next = ULONG_MAX;
	for (i = 0; i < m->early.n; i++)
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
	u32 i, n = 0, late = 0, rkey;
	u64 addr;

	m->early.desc = m->early.first = 0;
	m->late.desc = m->late.first = 0;
	for (i = 0; i < l->n; i++) {
		if (l->from[i] == NOT_EARLY)
			page_desc(&m->late, late++, &addr, &rkey);
		else
			page_desc(&m->early, l->from[i], &addr, &rkey);
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

static void offer_free(struct migration *m)
{
	struct mig_offer *o = &m->offer;

	if (o->exposed)
		m->peer->node->ops->unexpose(&o->mem);
	payload_free(&o->pages);
	kvfree(o->blob);
	memset(o, 0, sizeof(*o));
}

/* Room for what has been counted; now it is to be listed. */
static int listing_begin(struct listing *l, u32 nsegs)
{
	struct migration *m = l->m;
	u64 len = sizeof(*l->blob) + (u64)nsegs * sizeof(*l->segs) +
		  (u64)l->nexts * sizeof(*l->exts) + (u64)(nsegs - 1) * sizeof(*l->threads);

	/* A descriptor is for at least one page. */
	if (len + (u64)l->n / 64 * sizeof(*l->descs) > WIRE_BLOB_MAX)
		return -E2BIG;
	offer_free(m);
	l->blob = kvzalloc(len + (u64)l->n * sizeof(*l->descs), GFP_KERNEL);
	l->from = kvmalloc_array(l->n + 1, sizeof(*l->from), GFP_KERNEL);
	m->offer.blob = l->blob;
	if (!l->blob || !l->from)
		return -ENOMEM;
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
 * were read.
 */
int mig_early_offer(struct migration *m, bool all)
{
	struct listing l = { .m = m };
	int err;

	list_early(&l, all);
	err = listing_begin(&l, 1);
	if (!err) {
		list_early(&l, all);
		fill_seg(l.segs, m->p->heap, l.nexts);
		/* The destination reads them later than this. */
		if (m->dirty)
			bitmap_zero(m->dirty, m->early.n);
		if (m->dirty)
			m->move.bytes += (u64)l.n << PAGE_SHIFT;
		err = listing_end(&l);
	}
	kvfree(l.from);
	return err;
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
		early_collect(m);
	list_heap(&l);
	list_for_each_entry(t, &p->threads, entry)
		list_thread(&l, t);
	if (l.nlate) {
		m->late.pages = kvmalloc_array(l.nlate, sizeof(*m->late.pages), GFP_KERNEL);
		if (!m->late.pages)
			return -ENOMEM;
		m->late.n = l.nlate;
	}
	err = listing_begin(&l, 1 + m->move.threads);
	if (err)
		goto out;
	fill_seg(l.segs, p->heap, list_heap(&l));
	list_for_each_entry(t, &p->threads, entry) {
		fill_seg(&l.segs[i + 1], t->seg, list_thread(&l, t));
		fill_thread(&l.threads[i], t);
		i++;
	}
	if (m->late.n)
		err = expose(m, &m->late);
	if (!err)
		err = listing_end(&l);
	m->move.late_bytes = (u64)l.n << PAGE_SHIFT;
	if (m->told && !m->dirty && !m->tail)
		m->move.late_bytes += (u64)m->early.n << PAGE_SHIFT;
	m->move.bytes += m->tail ? (u64)(l.n + m->early.n) << PAGE_SHIFT : m->move.late_bytes;
out:
	kvfree(l.from);
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
		payload_fill(&o->pages, o->blob, o->len);
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
	memcpy(w + 1, ndescs ? (void *)o->mem.descs : o->blob, tail);
	return ops->send(m->peer, msg) ? -EHOSTUNREACH : 0;
}

/* Can the destination be reading? */
bool mig_readable(const struct migration *m)
{
	return m->early.exposed || m->late.exposed || m->offer.exposed;
}

static void unexpose(struct migration *m, struct page_set *set)
{
	if (set->exposed)
		m->peer->node->ops->unexpose(&set->mem);
	set->exposed = false;
}

/* The destination reads no more. */
void mig_pages_end(struct migration *m)
{
	u32 i;

	unexpose(m, &m->early);
	unexpose(m, &m->late);
	offer_free(m);
	for (i = 0; i < m->early.n; i++)
		put_page(m->early.pages[i]);
	kvfree(m->early.pages);
	kvfree(m->index);
	mig_early_untrack(m);
	kvfree(m->late.pages);
	memset(&m->early, 0, sizeof(m->early));
	memset(&m->late, 0, sizeof(m->late));
	m->index = NULL;
}
