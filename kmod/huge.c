// SPDX-License-Identifier: GPL-2.0
/*
 * 2 MiB pages of heaps. A huge page is a compound page that lies at an aligned extent of
 * a heap; each of the extent's slots has its part of it, and a reference. So slots are
 * emptied one by one as they are with single pages, and the memory is free when the last
 * one is. As long as all slots have it, the huge page is whole, and its page_private() 1.
 *
 * One entry of the page table for all of it is made only if it is whole, not watched, and
 * there is no page table yet (Documentation/locking.rst, segment.sem).
 */
#include <linux/mm.h>
#include <linux/moduleparam.h>

#include "compat.h"
#include "lproc.h"

static bool huge_pages = true;
module_param(huge_pages, bool, 0644);
MODULE_PARM_DESC(huge_pages, "use pages of 2 MiB in large dense heaps, where there are any");

/* One page, or NULL; does not wait for memory to be made free. */
struct page *huge_alloc(gfp_t gfp)
{
	if (!READ_ONCE(huge_pages))
		return NULL;
	gfp |= GFP_KERNEL_ACCOUNT | __GFP_COMP | __GFP_NOWARN;
	return alloc_pages(gfp & ~__GFP_DIRECT_RECLAIM, HUGE_ORDER);
}

/* From a reference to all of it to one for each page. */
void huge_spread(struct page *head)
{
	page_ref_add(head, HUGE_PAGES - 1);
}

static bool extent_empty(struct segment *seg, unsigned long first)
{
	return !xa_find(&seg->pages, &first, first + HUGE_PAGES - 1, XA_PRESENT);
}

static bool extent_full(struct segment *seg, unsigned long first)
{
	unsigned long index, n = 0;
	struct page *page;

	page = xa_load(&seg->pages, first);
	if (page && PageCompound(page) && page_private(compound_head(page)))
		return true;
	xa_for_each_range(&seg->pages, index, page, first, first + HUGE_PAGES - 1)
		n++;
	return n == HUGE_PAGES;
}

/*
 * Put @head, whose one reference it takes over, at @first, if there is no page yet. sem
 * is held for writing.
 */
bool segment_add_huge(struct segment *seg, unsigned long first, struct page *head)
{
	unsigned long i;

	if (!extent_empty(seg, first)) {
		put_page(head);
		return false;
	}
	huge_spread(head);
	for (i = 0; i < HUGE_PAGES; i++) {
		if (!segment_add_page(seg, first + i, head + i, GFP_MEMBER))
			break;
	}
	if (i == HUGE_PAGES) {
		set_page_private(head, 1);
		atomic_long_inc(&seg->nhuge);
		return true;
	}
	/* It has put the reference of that one. */
	page_ref_sub(head, HUGE_PAGES - 1 - i);
	segment_forget_pages(seg, (u64)first << PAGE_SHIFT, (u64)(first + i) << PAGE_SHIFT);
	return false;
}

/*
 * Is a huge page better at @index than a single one? What is never touched shall not
 * exist, and travel, so only behind memory without a hole. sem is held.
 */
bool huge_wanted(struct segment *seg, unsigned long index)
{
	unsigned long first = round_down(index, HUGE_PAGES);

	/* Watched: what is new would have to be marked. */
	if (!READ_ONCE(huge_pages) || seg->thread || seg->watched || seg->tail ||
	    first < HUGE_PAGES || first + HUGE_PAGES > seg->limit >> PAGE_SHIFT)
		return false;
	return extent_empty(seg, first) && extent_full(seg, first - HUGE_PAGES);
}

/* After huge_wanted(), with sem given up; if not, a single page will be taken. */
void huge_make(struct segment *seg, unsigned long index)
{
	struct page *head = huge_alloc(__GFP_ZERO);

	if (!head)
		return;
	down_write(&seg->sem);
	if (!seg->gone && huge_wanted(seg, index))
		segment_add_huge(seg, round_down(index, HUGE_PAGES), head);
	else
		put_page(head);
	up_write(&seg->sem);
}

/* A slot that has @page is being emptied. */
void huge_break(struct segment *seg, struct page *page)
{
	struct page *head = compound_head(page);

	if (!PageCompound(page) || !page_private(head))
		return;
	set_page_private(head, 0);
	atomic_long_dec(&seg->nhuge);
}

/* All pages have come: which of them are whole huge pages? */
void huge_find(struct segment *seg)
{
	unsigned long index = 0;
	struct page *page;
	long n = 0;

	lockdep_assert_held_write(&seg->sem);
	while ((page = xa_find(&seg->pages, &index, ULONG_MAX, XA_PRESENT))) {
		if (PageCompound(page) && !page_private(compound_head(page)) &&
		    huge_slots(seg, index, page) == HUGE_PAGES) {
			set_page_private(compound_head(page), 1);
			n++;
		}
		index = (index | (HUGE_PAGES - 1)) + 1;
		cond_resched();
	}
	/* At once: who waits for them to have come sees all or none. */
	atomic_long_add(n, &seg->nhuge);
}

/* How many slots have a part of the huge page of which @page is at @index? */
unsigned int huge_slots(struct segment *seg, unsigned long index, struct page *page)
{
	unsigned long first = round_down(index, HUGE_PAGES);
	struct page *head = compound_head(page);
	unsigned int n = 0;

	if (page_private(head))
		return HUGE_PAGES;
	xa_for_each_range(&seg->pages, index, page, first, first + HUGE_PAGES - 1)
		n += page == head + (index - first);
	return n;
}

/*
 * Who holds a huge page may write any part of it without mapping it again. The count
 * tells nothing of the part, and nothing if it is mapped.
 */
void huge_touch_held(struct segment *seg)
{
	unsigned long index = 0, i;
	struct page *page;

	lockdep_assert_held_write(&seg->sem);
	while ((page = xa_find(&seg->pages, &index, ULONG_MAX, XA_PRESENT))) {
		i = round_down(index, HUGE_PAGES);
		index = i + HUGE_PAGES;
		if (!PageCompound(page) || page_count(page) == huge_slots(seg, i, page))
			continue;
		for (; i < index; i++)
			segment_touch(seg, i);
		cond_resched();
	}
}

/* Map all of the huge page that has @page. VM_FAULT_FALLBACK: map single pages. */
vm_fault_t huge_map(struct segment *seg, struct page *page, struct vm_fault *vmf)
{
	struct page *head = compound_head(page);
	u64 start = vmf->address & PMD_MASK;

	lockdep_assert_held(&seg->sem);
	if (!PageCompound(page) || !page_private(head) || seg->watched ||
	    start < vmf->vma->vm_start || start + PMD_SIZE > vmf->vma->vm_end)
		return VM_FAULT_FALLBACK;
	return compat_map_huge(vmf, head);
}
