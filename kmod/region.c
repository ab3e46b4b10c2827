// SPDX-License-Identifier: GPL-2.0
/*
 * The region: segments of address space and their pages, faults on them, the
 * presence table, the workers' pages and the clock.
 */
#include <linux/bitmap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "compat.h"
#include "lproc.h"

/* Pages after the one that faulted which are mapped with it, if they exist. */
#define FAULT_AROUND		15
/* Pages without memory that PROCLET_IOC_EXTENT counts in. */
#define EXTENT_GAP		256

#define HEAP_SLOTS	(PROCLET_STACKS_OFF >> PROCLET_GRANULE_SHIFT)
#define STACK_SLOTS	((PROCLET_SLICE_SIZE - PROCLET_STACKS_OFF) / PROCLET_STACK_SIZE)
#define PRESENCE_PER_PAGE	(PAGE_SIZE / sizeof(u32))

/* An inode for each region, so that unmap_mapping_range() finds its mappings. */
static struct vfsmount *region_mnt;
static int region_mnt_count;

static int region_fs_init(struct fs_context *fc)
{
	return init_pseudo(fc, 0x70726f63) ? 0 : -ENOMEM;
}

static struct file_system_type region_fs = {
	.name = "proclet",
	.owner = THIS_MODULE,
	.init_fs_context = region_fs_init,
	.kill_sb = kill_anon_super,
};

static u64 slice_base(struct lproc *lproc)
{
	return PROCLET_REGION_BASE + (u64)(lproc->node->id - 1) * PROCLET_SLICE_SIZE;
}

int region_setup(struct lproc *lproc)
{
	mt_init_flags(&lproc->segments, MT_FLAGS_USE_RCU);
	xa_init_flags(&lproc->stacks, XA_FLAGS_LOCK_BH);
	xa_init(&lproc->presence);
	xa_init(&lproc->worker_pages);
	lproc->heap_slots = kvcalloc(BITS_TO_LONGS(HEAP_SLOTS), sizeof(long),
				     GFP_MEMBER);
	lproc->stack_slots = kvcalloc(BITS_TO_LONGS(STACK_SLOTS), sizeof(long),
				      GFP_MEMBER);
	if (!lproc->heap_slots || !lproc->stack_slots)
		goto free_slots;
	/* What a forerunner of this member has given out may still be in use elsewhere. */
	lproc->heap_first = get_random_u32() % HEAP_SLOTS;
	lproc->stack_first = get_random_u32() % STACK_SLOTS;
	/* Mounted only while in use: the mount holds a reference to the module. */
	if (simple_pin_fs(&region_fs, &region_mnt, &region_mnt_count))
		goto free_slots;
	lproc->inode = alloc_anon_inode(region_mnt->mnt_sb);
	if (IS_ERR(lproc->inode))
		goto release_fs;
	lproc->mapping = lproc->inode->i_mapping;
	return 0;

release_fs:
	simple_release_fs(&region_mnt, &region_mnt_count);
	lproc->inode = NULL;
free_slots:
	kvfree(lproc->heap_slots);
	kvfree(lproc->stack_slots);
	lproc->heap_slots = NULL;
	lproc->stack_slots = NULL;
	return -ENOMEM;
}

static void free_pages_of(struct xarray *xa)
{
	unsigned long index;
	struct page *page;

	xa_for_each(xa, index, page)
		put_page(page);
	xa_destroy(xa);
}

/* All segments but the threads' are removed already, and nothing is mapped. */
void region_teardown(struct lproc *lproc)
{
	struct segment *seg;
	unsigned long index = 0;

	if (!lproc->inode)
		return;
	mt_for_each(&lproc->segments, seg, index, ULONG_MAX)
		segment_remove(seg);
	mtree_destroy(&lproc->segments);
	xa_destroy(&lproc->stacks);
	free_pages_of(&lproc->presence);
	free_pages_of(&lproc->worker_pages);
	kvfree(lproc->heap_slots);
	kvfree(lproc->stack_slots);
	iput(lproc->inode);
	simple_release_fs(&region_mnt, &region_mnt_count);
}

struct segment *segment_alloc(struct lproc *lproc, u64 start, u64 size, u64 limit)
{
	struct segment *seg = kzalloc(sizeof(*seg), GFP_MEMBER);

	if (!seg)
		return NULL;
	seg->lproc = lproc;
	seg->start = start;
	seg->size = size;
	seg->limit = limit;
	init_rwsem(&seg->sem);
	xa_init_flags(&seg->pages, XA_FLAGS_ACCOUNT);
	refcount_set(&seg->ref, 1);
	return seg;
}

/* Of a thread segment, in lproc.stacks. */
static unsigned long stack_index(u64 stack)
{
	return (stack - PROCLET_REGION_BASE) / PROCLET_STACK_SIZE;
}

struct segment *stack_segment(struct lproc *lproc, u64 stack)
{
	return xa_load(&lproc->stacks, stack_index(stack));
}

/* Out of the tables, unless another has taken its place there. */
static void segment_withdraw(struct segment *seg)
{
	unsigned long index = seg->start >> PAGE_SHIFT;

	MA_STATE(mas, &seg->lproc->segments, index, index);

	if (seg->thread)
		xa_cmpxchg_bh(&seg->lproc->stacks, stack_index(seg->start), seg, NULL,
			      GFP_KERNEL);
	mas_lock(&mas);
	/* Without memory for a node it stays, and nobody says so. */
	while (mas_walk(&mas) == seg) {
		mas_erase(&mas);
		mas_set(&mas, index);
	}
	mas_unlock(&mas);
}

/*
 * From now on faults find it. A thread that has left us may have ended elsewhere,
 * and its addresses be another's, before we are done with forgetting it.
 */
int segment_publish(struct segment *seg)
{
	struct segment *old;
	int err;

	for (;;) {
		err = mtree_insert_range(&seg->lproc->segments, seg->start >> PAGE_SHIFT,
					 (seg->start + seg->size - 1) >> PAGE_SHIFT, seg,
					 GFP_MEMBER);
		if (!err && seg->thread) {
			err = xa_insert_bh(&seg->lproc->stacks, stack_index(seg->start), seg,
					   GFP_MEMBER);
			if (err)
				segment_withdraw(seg);
			return err;
		}
		if (err != -EEXIST)
			return err;
		if (!seg->thread)
			return -EBUSY;
		old = segment_get(seg->lproc, seg->start);
		if (!old)
			continue;
		if (READ_ONCE(old->left))
			segment_withdraw(old);
		else
			err = -EBUSY;
		segment_put(old);
		if (err == -EBUSY)
			return err;
	}
}

struct segment *segment_get(struct lproc *lproc, u64 addr)
{
	struct segment *seg;

	rcu_read_lock();
	seg = mtree_load(&lproc->segments, addr >> PAGE_SHIFT);
	if (seg && !refcount_inc_not_zero(&seg->ref))
		seg = NULL;
	rcu_read_unlock();
	return seg;
}

void segment_put(struct segment *seg)
{
	if (!refcount_dec_and_test(&seg->ref))
		return;
	free_pages_of(&seg->pages);
	if (seg->tail)
		tail_put(seg->tail);
	if (seg->thread)
		kfree_rcu(seg->thread, rcu);
	kfree_rcu(seg, rcu);
}

static void segment_unmap(struct segment *seg, u64 from, u64 to)
{
	unmap_mapping_range(seg->lproc->mapping,
			    seg->start - PROCLET_REGION_BASE + from, to - from, 1);
}

void segment_hide(struct segment *seg)
{
	down_write(&seg->sem);
	seg->gone = true;
	segment_unmap(seg, 0, seg->size);
	up_write(&seg->sem);
}

void segment_zap(struct segment *seg)
{
	segment_unmap(seg, 0, seg->size);
}

/* From now on mark what is touched; nothing is mapped. */
void segment_watch(struct segment *seg)
{
	unsigned long index;
	struct page *page;

	down_write(&seg->sem);
	xa_for_each_marked(&seg->pages, index, page, SEGMENT_TOUCHED)
		xa_clear_mark(&seg->pages, index, SEGMENT_TOUCHED);
	seg->watched = true;
	segment_unmap(seg, 0, seg->size);
	huge_touch_held(seg);
	up_write(&seg->sem);
}

void segment_unwatch(struct segment *seg)
{
	down_write(&seg->sem);
	seg->watched = false;
	up_write(&seg->sem);
}

/* Before the page at @index is mapped or written. */
void segment_touch(struct segment *seg, unsigned long index)
{
	lockdep_assert_held(&seg->sem);
	if (seg->watched)
		xa_set_mark(&seg->pages, index, SEGMENT_TOUCHED);
}

void segment_show(struct segment *seg)
{
	down_write(&seg->sem);
	seg->gone = false;
	up_write(&seg->sem);
}

static void erase_pages(struct segment *seg, u64 from, u64 to)
{
	struct lproc *lproc = seg->lproc;
	unsigned long index, n = 0;
	struct page *page;

	if (from >= to)
		return;
	xa_for_each_range(&seg->pages, index, page, from >> PAGE_SHIFT,
			  (to - 1) >> PAGE_SHIFT) {
		xa_erase(&seg->pages, index);
		huge_break(seg, page);
		put_page(page);
		n++;
	}
	atomic_long_sub(n, &seg->npages);
	atomic64_sub(n << PAGE_SHIFT, (atomic64_t *)&lproc->stats.memory);
}

void segment_forget_pages(struct segment *seg, u64 from, u64 to)
{
	lockdep_assert_held_write(&seg->sem);
	segment_unmap(seg, from, to);
	erase_pages(seg, from, to);
}

int segment_drop_pages(struct segment *seg, u64 from, u64 to)
{
	int err = 0;

	down_write(&seg->sem);
	if (seg->gone)
		err = -EBUSY;
	else
		segment_forget_pages(seg, from, to);
	up_write(&seg->sem);
	return err;
}

void segment_remove(struct segment *seg)
{
	down_write(&seg->sem);
	seg->gone = true;
	segment_unmap(seg, 0, seg->size);
	erase_pages(seg, 0, seg->size);
	up_write(&seg->sem);
	segment_withdraw(seg);
	segment_put(seg);
}

/*
 * Put @page, whose reference it takes over, at @index, if there is none. Returns the one
 * that is there then; NULL: no memory.
 */
struct page *segment_add_page(struct segment *seg, unsigned long index, struct page *page,
			      gfp_t gfp)
{
	struct page *old = xa_cmpxchg(&seg->pages, index, NULL, page, gfp);

	if (old) {
		put_page(page);
		return xa_is_err(old) ? NULL : old;
	}
	atomic_long_inc(&seg->npages);
	atomic64_add(PAGE_SIZE, (atomic64_t *)&seg->lproc->stats.memory);
	return page;
}

/* The page at @index, a zeroed one if there was none. */
struct page *segment_page(struct segment *seg, unsigned long index, gfp_t gfp)
{
	struct page *page = xa_load(&seg->pages, index);

	if (page)
		return page;
	page = alloc_page(gfp | __GFP_ZERO);
	return page ? segment_add_page(seg, index, page, gfp) : NULL;
}

/* Its pages, so that touching them needs no memory that may not be there. */
int segment_populate(struct segment *seg, u64 off, u32 len)
{
	u64 at;

	for (at = off & PAGE_MASK; at < off + len; at += PAGE_SIZE)
		if (!segment_page(seg, at >> PAGE_SHIFT, GFP_MEMBER))
			return -ENOMEM;
	return 0;
}

/* May the program touch this offset? */
bool segment_accessible(const struct segment *seg, u64 off)
{
	if (seg->gone || off >= seg->limit)
		return false;
	return !seg->thread || off < PROCLET_STACK_GUARD ||
		off >= PROCLET_STACK_GUARD + PAGE_SIZE;
}

static vm_fault_t region_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct lproc *lproc = vma->vm_file->private_data;
	unsigned long addr = vmf->address & PAGE_MASK, index;
	vm_fault_t ret = VM_FAULT_SIGSEGV;
	bool tried_huge = false;
	struct segment *seg;
	struct page *page;
	int err, i;

	/* A child can get the mapping with MADV_DOFORK, but nothing in it. */
	if (vma->vm_mm != lproc->mm)
		return ret;
	seg = segment_get(lproc, addr);
	if (!seg)
		return ret;
	index = (addr - seg->start) >> PAGE_SHIFT;
again:
	down_read(&seg->sem);
	if (!segment_accessible(seg, addr - seg->start))
		goto out;
	/* A hole in the core dump, rather than memory. */
	if ((current->flags & PF_DUMPCORE) && !xa_load(&seg->pages, index)) {
		ret = VM_FAULT_SIGBUS;
		goto out;
	}
	if (seg->tail && tail_lacks(seg->tail, index)) {
		ret = tail_fault(seg, index, vmf);
		goto put;
	}
	if (!tried_huge && huge_wanted(seg, index)) {
		up_read(&seg->sem);
		huge_make(seg, index);
		tried_huge = true;
		goto again;
	}
	page = segment_page(seg, index, GFP_KERNEL_ACCOUNT);
	if (!page) {
		ret = VM_FAULT_OOM;
		goto out;
	}
	segment_touch(seg, index);
	ret = huge_map(seg, page, vmf);
	if (ret != VM_FAULT_FALLBACK)
		goto out;
	err = vm_insert_page(vma, addr, page);
	if (err && err != -EBUSY) {	/* -EBUSY: another thread's fault was faster */
		ret = err == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
		goto out;
	}
	ret = VM_FAULT_NOPAGE;
	/* After a move all pages are there but none is mapped. The next extent may be huge. */
	for (i = 0; i < FAULT_AROUND; i++) {
		addr += PAGE_SIZE;
		if (!(addr & ~PMD_MASK) || addr >= vma->vm_end || addr - seg->start >= seg->size ||
		    !segment_accessible(seg, addr - seg->start))
			break;
		page = xa_load(&seg->pages, ++index);
		if (!page)
			break;
		segment_touch(seg, index);
		if (vm_insert_page(vma, addr, page))
			break;
	}
out:
	up_read(&seg->sem);
put:
	segment_put(seg);
	return ret;
}

static struct page *table_page(struct xarray *xa, unsigned long index)
{
	struct page *page = xa_load(xa, index), *old;

	if (page)
		return page;
	page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!page)
		return NULL;
	old = xa_cmpxchg(xa, index, NULL, page, GFP_KERNEL_ACCOUNT);
	if (!old)
		return page;
	put_page(page);
	return xa_is_err(old) ? NULL : old;
}

static vm_fault_t table_fault(struct vm_fault *vmf, struct xarray *xa, u64 off)
{
	struct lproc *lproc = vmf->vma->vm_file->private_data;
	struct page *page;
	int err;

	if (vmf->vma->vm_mm != lproc->mm)
		return VM_FAULT_SIGSEGV;
	if ((current->flags & PF_DUMPCORE) && !xa_load(xa, vmf->pgoff - (off >> PAGE_SHIFT)))
		return VM_FAULT_SIGBUS;
	page = table_page(xa, vmf->pgoff - (off >> PAGE_SHIFT));
	if (!page)
		return VM_FAULT_OOM;
	err = vm_insert_page(vmf->vma, vmf->address & PAGE_MASK, page);
	if (err && err != -EBUSY)
		return err == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
	return VM_FAULT_NOPAGE;
}

static vm_fault_t presence_fault(struct vm_fault *vmf)
{
	struct lproc *lproc = vmf->vma->vm_file->private_data;

	return table_fault(vmf, &lproc->presence, PROCLET_MMAP_PRESENCE);
}

static vm_fault_t clock_fault(struct vm_fault *vmf)
{
	struct lproc *lproc = vmf->vma->vm_file->private_data;
	int err;

	if (vmf->vma->vm_mm != lproc->mm)
		return VM_FAULT_SIGSEGV;
	err = vm_insert_page(vmf->vma, vmf->address & PAGE_MASK, lproc->clock_page);
	if (err && err != -EBUSY)
		return err == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
	return VM_FAULT_NOPAGE;
}

static vm_fault_t workers_fault(struct vm_fault *vmf)
{
	struct lproc *lproc = vmf->vma->vm_file->private_data;

	return table_fault(vmf, &lproc->worker_pages, PROCLET_MMAP_WORKERS);
}

static int may_not_split(struct vm_area_struct *vma, unsigned long addr)
{
	return -EINVAL;
}

/* A part of the region must not move or be split from the rest, but for a dump. */
static int region_may_split(struct vm_area_struct *vma, unsigned long addr)
{
	struct lproc *lproc = vma->vm_file->private_data;

	return READ_ONCE(lproc->dumping) ? 0 : -EINVAL;
}

static int region_mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

/* The member's memory goes: it ends now, whoever else has its file open. */
static void region_close(struct vm_area_struct *vma)
{
	struct lproc *lproc = vma->vm_file->private_data;

	/* Only unmapped by its program, it can be mapped again. */
	if (vma->vm_mm == lproc->mm && !atomic_read(&vma->vm_mm->mm_users))
		lproc_process_gone(lproc);
}

/* What has a name is dumped, whatever its flags and the user's filter say. */
static const char *dump_name(struct vm_area_struct *vma)
{
	return "[proclet]";
}

static const struct vm_operations_struct region_vm_ops = {
	.fault = region_fault,
	.close = region_close,
	.may_split = region_may_split,
	.mremap = region_mremap,
};

/* A part in use, mapped for the core dump. */
static const struct vm_operations_struct dump_vm_ops = {
	.fault = region_fault,
	.close = region_close,
	.may_split = region_may_split,
	.mremap = region_mremap,
	.name = dump_name,
};

static const struct vm_operations_struct presence_vm_ops = {
	.fault = presence_fault,
	.may_split = may_not_split,
	.mremap = region_mremap,
};

static const struct vm_operations_struct workers_vm_ops = {
	.fault = workers_fault,
	.may_split = may_not_split,
	.mremap = region_mremap,
	.name = dump_name,
};

static const struct vm_operations_struct clock_vm_ops = {
	.fault = clock_fault,
	.may_split = region_may_split,
	.mremap = region_mremap,
};

int region_mmap(struct file *file, struct vm_area_struct *vma)
{
	/* Pairs with lproc_join(). */
	struct lproc *lproc = smp_load_acquire(&file->private_data);
	u64 off = (u64)vma->vm_pgoff << PAGE_SHIFT, size = vma->vm_end - vma->vm_start;

	if (!lproc)
		return -ENOTCONN;
	if (current->mm != lproc->mm)
		return -EPERM;
	if (!(vma->vm_flags & VM_SHARED) || (vma->vm_flags & VM_EXEC))
		return -EINVAL;
	if (READ_ONCE(lproc->dumping)) {
		if (vma->vm_start < PROCLET_REGION_BASE || off >= PROCLET_REGION_SIZE ||
		    size > PROCLET_REGION_SIZE - off ||
		    vma->vm_start != PROCLET_REGION_BASE + off)
			return -EINVAL;
		vma->vm_ops = &dump_vm_ops;
	} else if (off == PROCLET_MMAP_REGION) {
		if (vma->vm_start != PROCLET_REGION_BASE || size != PROCLET_REGION_SIZE)
			return -EINVAL;
		vma->vm_ops = &region_vm_ops;
	} else if (off == PROCLET_MMAP_PRESENCE) {
		if (size != PROCLET_PRESENCE_SIZE || (vma->vm_flags & VM_WRITE))
			return -EINVAL;
		vm_flags_clear(vma, VM_MAYWRITE);
		vma->vm_ops = &presence_vm_ops;
	} else if (off == PROCLET_MMAP_WORKERS) {
		if (size != PROCLET_MAX_WORKERS * PAGE_SIZE)
			return -EINVAL;
		vma->vm_ops = &workers_vm_ops;
	} else if (off == PROCLET_MMAP_CLOCK) {
		if (size != PAGE_SIZE || (vma->vm_flags & VM_WRITE))
			return -EINVAL;
		vm_flags_clear(vma, VM_MAYWRITE);
		vma->vm_ops = &clock_vm_ops;
	} else {
		return -EINVAL;
	}
	vm_flags_set(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP | VM_MIXEDMAP);
	vm_flags_clear(vma, VM_MAYEXEC);
	return 0;
}

/* Pages of @seg from @index on: the next that exists, and as far as they go. */
static bool segment_extent(struct segment *seg, unsigned long index, struct proclet_extent *e)
{
	unsigned long end;

	if (!xa_find(&seg->pages, &index, ULONG_MAX, XA_PRESENT))
		return false;
	e->start = seg->start + ((u64)index << PAGE_SHIFT);
	do {
		end = index;
		cond_resched();
	} while (xa_find_after(&seg->pages, &index, end + EXTENT_GAP, XA_PRESENT));
	e->len = seg->start + ((u64)(end + 1) << PAGE_SHIFT) - e->start;
	return true;
}

int region_extent(struct lproc *lproc, struct proclet_extent *e)
{
	unsigned long at = e->start >> PAGE_SHIFT, first;
	struct segment *seg;
	bool found = false;

	if (e->reserved)
		return -EINVAL;
	while (!found) {
		rcu_read_lock();
		do {
			seg = mt_find(&lproc->segments, &at, ULONG_MAX);
		} while (seg && !refcount_inc_not_zero(&seg->ref));
		rcu_read_unlock();
		if (!seg)
			return -ENXIO;
		first = max_t(u64, e->start, seg->start) >> PAGE_SHIFT;
		down_read(&seg->sem);
		if (!seg->gone)
			found = segment_extent(seg, first - (seg->start >> PAGE_SHIFT), e);
		up_read(&seg->sem);
		segment_put(seg);
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

u64 heap_slot_alloc(struct lproc *lproc, u64 size)
{
	unsigned long n = size >> PROCLET_GRANULE_SHIFT, at;

	spin_lock_bh(&lproc->lock);
	at = bitmap_find_next_zero_area(lproc->heap_slots, HEAP_SLOTS, lproc->heap_first, n,
					n - 1);
	if (at >= HEAP_SLOTS)
		at = bitmap_find_next_zero_area(lproc->heap_slots, HEAP_SLOTS, 0, n, n - 1);
	if (at < HEAP_SLOTS)
		bitmap_set(lproc->heap_slots, at, n);
	spin_unlock_bh(&lproc->lock);
	if (at >= HEAP_SLOTS)
		return 0;
	return slice_base(lproc) + ((u64)at << PROCLET_GRANULE_SHIFT);
}

/*
 * An earlier member of this node has given it out, and the proclet lives. There is a limit,
 * as others say so.
 */
bool heap_slot_adopt(struct lproc *lproc, u64 start, u64 size)
{
	unsigned long n = size >> PROCLET_GRANULE_SHIFT;
	unsigned long at = (start - slice_base(lproc)) >> PROCLET_GRANULE_SHIFT;

	lockdep_assert_held(&lproc->lock);
	if (!n || (start & (size - 1)) || at + n > HEAP_SLOTS ||
	    lproc->heap_adopted + n > HEAP_SLOTS / 2 ||
	    find_next_bit(lproc->heap_slots, at + n, at) < at + n)
		return false;
	lproc->heap_adopted += n;
	bitmap_set(lproc->heap_slots, at, n);
	return true;
}

void heap_slot_free(struct lproc *lproc, u64 start, u64 size)
{
	spin_lock_bh(&lproc->lock);
	bitmap_clear(lproc->heap_slots,
		     (start - slice_base(lproc)) >> PROCLET_GRANULE_SHIFT,
		     size >> PROCLET_GRANULE_SHIFT);
	spin_unlock_bh(&lproc->lock);
}

u64 stack_slot_alloc(struct lproc *lproc)
{
	unsigned long at;

	spin_lock_bh(&lproc->lock);
	at = find_next_zero_bit(lproc->stack_slots, STACK_SLOTS, lproc->stack_first);
	if (at >= STACK_SLOTS)
		at = find_first_zero_bit(lproc->stack_slots, STACK_SLOTS);
	if (at < STACK_SLOTS)
		__set_bit(at, lproc->stack_slots);
	spin_unlock_bh(&lproc->lock);
	if (at >= STACK_SLOTS)
		return 0;
	return slice_base(lproc) + PROCLET_STACKS_OFF + (u64)at * PROCLET_STACK_SIZE;
}

/* @stack may come from a peer: only what is ours and in use is freed. */
void stack_slot_free(struct lproc *lproc, u64 stack)
{
	u64 first = slice_base(lproc) + PROCLET_STACKS_OFF;

	if (stack < first || stack >= slice_base(lproc) + PROCLET_SLICE_SIZE)
		return;
	spin_lock_bh(&lproc->lock);
	__clear_bit((stack - first) / PROCLET_STACK_SIZE, lproc->stack_slots);
	spin_unlock_bh(&lproc->lock);
}

/* The table's page must exist before presence_set(), which cannot sleep. */
int presence_prepare(struct lproc *lproc, u64 id)
{
	return table_page(&lproc->presence,
			  PROCLET_ID_GRANULE(id) / PRESENCE_PER_PAGE) ? 0 : -ENOMEM;
}

void presence_set(struct lproc *lproc, u64 id, bool here)
{
	u32 granule = PROCLET_ID_GRANULE(id);
	struct page *page = xa_load(&lproc->presence, granule / PRESENCE_PER_PAGE);
	u32 *words = page_address(page);

	WRITE_ONCE(words[granule % PRESENCE_PER_PAGE], here ? PROCLET_ID_GEN(id) : 0);
}

struct page *worker_page(struct lproc *lproc, u32 index)
{
	return table_page(&lproc->worker_pages, index);
}
