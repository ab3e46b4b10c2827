// SPDX-License-Identifier: GPL-2.0
/*
 * Migration, the source's side: which pages travel.
 *
 * The heap's pages and those of its threads are exposed before the freeze, so that only
 * what is new then has to be registered in the blackout. From then on the heap is watched: only what was touched
 * is looked at again, so that the blackout does not depend on the size of the heap.
 * Pre-copy has the pages read before the freeze, too: what is written meanwhile is read
 * again. What the program writes is in the page tables; where the kernel has nothing to
 * take it from there, taking out the pages leaves PG_dirty on those that were written. What
 * the kernel or a device writes has that in any case.
 */
#include <linux/bitmap.h>
#include <linux/bsearch.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "compat.h"
#include "migrate.h"

#define STACKS_MORE	16	/* threads that may have begun meanwhile */

int mig_expose(struct migration *m, struct page_set *set)
{
	int err = m->peer->node->ops->expose(m->peer, set->pages, set->n, &set->mem);

	set->exposed = !err;
	return err;
}

/* Have the destination able to read the early pages. */
int mig_early_expose(struct migration *m)
{
	return mig_expose(m, &m->early);
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
	/* From here on: what was freed before, and has pages again, is listed. */
	heap->lowest = heap->limit;
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
u32 mig_early_find(const struct migration *m, unsigned long index,
		      const struct page *page)
{
	u32 low = early_from(m, index);

	if (low < m->early.n && m->index[low] == index && m->early.pages[low] == page)
		return low;
	return NOT_THERE;
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
void mig_early_collect(struct migration *m)
{
	struct segment *heap = m->p->heap;
	unsigned long index;
	struct page *page;
	u32 early;

	xa_for_each_marked(&heap->pages, index, page, SEGMENT_TOUCHED) {
		early = mig_early_find(m, index, page);
		if (early != NOT_THERE && TestClearPageDirty(page)) {
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
	mig_early_collect(m);
	return bitmap_weight(m->dirty, m->early.n);
}

static int by_start(const void *a, const void *b)
{
	const struct segment *x = *(struct segment **)a, *y = *(struct segment **)b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int by_number(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/* What is there of a thread's segment now, of @max pages in all. */
static void stack_list(struct migration *m, struct segment *seg, u32 max)
{
	struct page_set *set = &m->stacks;
	unsigned long index;
	struct page *page;

	down_read(&seg->sem);
	xa_for_each(&seg->pages, index, page) {
		if (set->n == max)
			break;
		get_page(page);
		m->stack_at[set->n] = segment_at(seg, index);
		set->pages[set->n++] = page;
	}
	up_read(&seg->sem);
}

/* Have the destination able to read the stacks, as they are now. */
int mig_stacks_expose(struct migration *m)
{
	u32 n = worker_segments(m->p, NULL, 0) + STACKS_MORE, i, pages = 0;
	struct segment **segs;
	int err = 0;

	segs = kvmalloc_array(n, sizeof(*segs), GFP_KERNEL);
	if (!segs)
		return -ENOMEM;
	n = worker_segments(m->p, segs, n);
	sort(segs, n, sizeof(*segs), by_start, NULL);
	for (i = 0; i < n; i++)
		pages += atomic_long_read(&segs[i]->npages);
	m->stacks.pages = kvmalloc_array(pages, sizeof(*m->stacks.pages), GFP_KERNEL);
	m->stack_at = kvmalloc_array(pages, sizeof(*m->stack_at), GFP_KERNEL);
	if (!m->stacks.pages || !m->stack_at)
		err = -ENOMEM;
	for (i = 0; i < n; i++) {
		/* A program can have it that one is in two chains. */
		if (!err && (!i || segs[i] != segs[i - 1]))
			stack_list(m, segs[i], pages);
		segment_put(segs[i]);
	}
	kvfree(segs);
	return err || !m->stacks.n ? err : mig_expose(m, &m->stacks);
}

/* The number among the exposed pages of stacks, if it is still the same. */
u32 mig_stacks_find(const struct migration *m, u64 addr, const struct page *page)
{
	const u64 *at;

	at = bsearch(&addr, m->stack_at, m->stacks.n, sizeof(addr), by_number);
	return at && m->stacks.pages[at - m->stack_at] == page ? at - m->stack_at : NOT_THERE;
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
			    1 + (mig_early_find(m, index, page) != NOT_THERE))
				return true;
		} else if (compound_head(page) != last) {
			if (huge_pinned(m, index, page))
				return true;
			last = compound_head(page);
		}
	}
	list_for_each_entry(t, &p->threads, entry)
		xa_for_each(&t->seg->pages, index, page)
			if (page_count(page) !=
			    1 + (mig_stacks_find(m, segment_at(t->seg, index), page) != NOT_THERE))
				return true;
	return false;
}

/* Can the destination be reading? */
bool mig_readable(const struct migration *m)
{
	return m->early.exposed || m->stacks.exposed || m->late.exposed || m->offer.exposed;
}

static void unexpose(struct migration *m, struct page_set *set)
{
	if (set->exposed)
		m->peer->node->ops->unexpose(&set->mem);
	set->exposed = false;
}

static void set_free(struct migration *m, struct page_set *set)
{
	u32 i;

	unexpose(m, set);
	for (i = 0; i < set->n; i++)
		put_page(set->pages[i]);
	kvfree(set->pages);
	memset(set, 0, sizeof(*set));
}

/* The destination reads none but early pages from here on. */
void mig_pages_taken(struct migration *m)
{
	unexpose(m, &m->late);
	memset(&m->late, 0, sizeof(m->late));
	mig_offer_end(m);
	set_free(m, &m->stacks);
	kvfree(m->stack_at);
	m->stack_at = NULL;
}

/* Nor those. */
void mig_pages_end(struct migration *m)
{
	mig_pages_taken(m);
	set_free(m, &m->early);
	kvfree(m->index);
	m->index = NULL;
	mig_early_untrack(m);
}
