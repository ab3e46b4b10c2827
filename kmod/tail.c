// SPDX-License-Identifier: GPL-2.0
/*
 * The tail of a post-copy migration: pages of a heap that lives here already, while
 * they are still at the node that it came from (DESIGN section 6).
 *
 * They stream in, a few with each read. Who touches one that is not here has it read at
 * once, and the stream goes on behind it, where the next ones are likely to be wanted.
 * The proclet does not move again before all are here. If the source is lost before
 * that, so is the proclet, and nothing else.
 */
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "lproc.h"
#include "steps.h"
#include "trace.h"

static unsigned int tail_pages = 16;
module_param(tail_pages, uint, 0644);
MODULE_PARM_DESC(tail_pages, "post-copy: pages of each read of what was not touched yet, up to 64; 0: only what is touched is read");

#define TAIL_CHUNK_MAX	64
#define TAIL_READS	2	/* at most so many at once, but for those that are wanted */
#define RETRY_MS	100

/**
 * struct tail - pages of a heap that are still elsewhere; segment.tail
 * @entry: in lproc.tails, until the stream has ended
 * @ref: the segment, who waits for a page, reads, and the stream until it has ended
 * @lproc: .
 * @peer: where they are
 * @disconnects: of it: what it told us is of no use with another connection
 * @heap: as long as the stream has not ended
 * @proclet: whose heap
 * @mig: number of the migration
 * @began: at COMMIT
 * @set: the pages, and where to read them; its pages go into the heap
 * @first: of each descriptor, the number of its first page
 * @check_work: tail_check_end()
 * @wait: woken when pages have come, and at the end
 * @lock: protects all below
 * @begun: pages that are being read, or are here; bits
 * @here: pages that are in the heap, bits
 * @cursor: where the stream goes on
 * @reads: under way
 * @status: why some will not come
 * @ended: nothing is read any more
 * @hurry: it shall move on
 * @hopeless: who needs a lost page must not wait to be stopped
 */
struct tail {
	struct list_head entry;
	refcount_t ref;
	struct lproc *lproc;
	struct peer *peer;
	s64 disconnects;
	struct segment *heap;
	u64 proclet;
	u64 mig;
	ktime_t began;
	struct tail_set set;
	u32 *first;
	struct work_struct check_work;
	wait_queue_head_t wait;

	spinlock_t lock;
	unsigned long *begun;
	unsigned long *here;
	u32 cursor;
	u32 reads;
	int status;
	bool ended;
	bool hurry;
	bool hopeless;
};

static void tail_check_fn(struct work_struct *work);

struct tail_read {
	struct xport_read rd;
	struct work_struct work;
	struct tail *tail;
	u32 first;
	int status;
	struct page *pages[TAIL_CHUNK_MAX];
	struct xport_desc descs[TAIL_CHUNK_MAX];
};

void tail_set_free(struct tail_set *set)
{
	u32 i;

	for (i = 0; set->pages && i < set->n; i++)
		if (set->pages[i])
			put_page(set->pages[i]);
	kvfree(set->pages);
	kvfree(set->index);
	kvfree(set->descs);
	memset(set, 0, sizeof(*set));
}

void tail_put(struct tail *t)
{
	if (!refcount_dec_and_test(&t->ref))
		return;
	tail_set_free(&t->set);
	kvfree(t->first);
	kvfree(t->begun);
	kvfree(t->here);
	peer_put(t->peer);
	lproc_put(t->lproc);
	kfree(t);
}

/* Takes @set over, if it succeeds. */
struct tail *tail_alloc(struct lproc *lproc, struct peer *peer, u64 proclet, u64 mig,
			struct tail_set *set)
{
	struct tail *t = kzalloc(sizeof(*t), GFP_MEMBER);
	u32 i, n = 0;

	if (!t)
		return NULL;
	t->first = kvmalloc_array(set->ndescs + 1, sizeof(*t->first), GFP_MEMBER);
	t->begun = kvcalloc(BITS_TO_LONGS(set->n) + 1, sizeof(long), GFP_MEMBER);
	t->here = kvcalloc(BITS_TO_LONGS(set->n) + 1, sizeof(long), GFP_MEMBER);
	if (!t->first || !t->begun || !t->here) {
		kvfree(t->first);
		kvfree(t->begun);
		kvfree(t->here);
		kfree(t);
		return NULL;
	}
	for (i = 0; i < set->ndescs; i++) {
		t->first[i] = n;
		n += le32_to_cpu(set->descs[i].len) >> PAGE_SHIFT;
	}
	refcount_set(&t->ref, 1);
	t->lproc = lproc;
	kref_get(&lproc->ref);
	t->peer = peer;
	kref_get(&peer->ref);
	t->disconnects = atomic64_read(&peer->disconnects);
	t->proclet = proclet;
	t->mig = mig;
	t->set = *set;
	memset(set, 0, sizeof(*set));
	INIT_WORK(&t->check_work, tail_check_fn);
	init_waitqueue_head(&t->wait);
	spin_lock_init(&t->lock);
	return t;
}

/* The number of the first page at @index of the heap or behind; set.n: none. */
static u32 tail_find(const struct tail *t, unsigned long index)
{
	u32 low = 0, high = t->set.n, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (t->set.index[mid] < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Is the page at @index not here? */
bool tail_lacks(const struct tail *t, unsigned long index)
{
	u32 i = tail_find(t, index);

	return i < t->set.n && t->set.index[i] == index && !test_bit(i, t->here);
}

/* Nothing shall be read any more. */
static bool tail_stops(struct tail *t)
{
	lockdep_assert_held(&t->lock);
	if (!t->status && atomic64_read(&t->peer->disconnects) != t->disconnects)
		t->status = -ECONNRESET;
	return t->status || t->ended || READ_ONCE(t->heap->gone) ||
	       READ_ONCE(t->lproc->dying);
}

/* Where to read @n pages from number @first on; returns the number of descriptors. */
static u32 tail_descs(const struct tail *t, u32 first, u32 n, struct xport_desc *descs)
{
	u32 low = 0, high = t->set.ndescs, mid, k = 0, skip, pages;
	const struct xport_desc *d;

	/* The last one that begins at @first or before. */
	while (high - low > 1) {
		mid = low + (high - low) / 2;
		if (t->first[mid] <= first)
			low = mid;
		else
			high = mid;
	}
	for (; n; low++, k++) {
		d = &t->set.descs[low];
		skip = first - t->first[low];
		pages = min(n, (le32_to_cpu(d->len) >> PAGE_SHIFT) - skip);
		descs[k].addr = cpu_to_le64(le64_to_cpu(d->addr) + ((u64)skip << PAGE_SHIFT));
		descs[k].rkey = d->rkey;
		descs[k].len = cpu_to_le32(pages << PAGE_SHIFT);
		first += pages;
		n -= pages;
	}
	return k;
}

static void tail_read_end(struct work_struct *work);
static void tail_check_fn(struct work_struct *work);

static void tail_read_done(struct xport_read *rd, int status)
{
	struct tail_read *r = container_of(rd, struct tail_read, rd);

	r->status = status;
	queue_work(r->tail->lproc->node->tail_wq, &r->work);
}

static void tail_read_begin(struct tail_read *r)
{
	int err = r->rd.peer->node->ops->read(&r->rd);

	if (err)
		tail_read_done(&r->rd, err);
}

/* Read what was taken by tail_take(). */
static void tail_read(struct tail *t, u32 first, u32 n)
{
	struct tail_read *r = kzalloc(sizeof(*r), GFP_KERNEL | __GFP_NOFAIL);

	INIT_WORK(&r->work, tail_read_end);
	refcount_inc(&t->ref);
	r->tail = t;
	r->first = first;
	memcpy(r->pages, t->set.pages + first, n * sizeof(r->pages[0]));
	r->rd.peer = t->peer;
	r->rd.pages = r->pages;
	r->rd.npages = n;
	r->rd.descs = r->descs;
	r->rd.ndescs = tail_descs(t, first, n, r->descs);
	r->rd.done = tail_read_done;
	tail_read_begin(r);
}

/* Take pages to be read, up to @max from number @at on that nobody has taken. */
static u32 tail_take(struct tail *t, u32 at, u32 max)
{
	u32 n = 0;

	lockdep_assert_held(&t->lock);
	while (n < max && at + n < t->set.n && !test_bit(at + n, t->begun))
		__set_bit(at + n++, t->begun);
	if (n) {
		t->cursor = at + n;
		t->reads++;
	}
	return n;
}

static u32 tail_chunk(const struct tail *t)
{
	u32 n = min_t(u32, READ_ONCE(tail_pages), TAIL_CHUNK_MAX);

	return n ?: t->hurry ? TAIL_CHUNK_MAX : 0;
}

static void tail_stream(struct tail *t)
{
	u32 at, n;

	do {
		n = 0;
		spin_lock(&t->lock);
		if (t->reads < TAIL_READS && !tail_stops(t)) {
			at = find_next_zero_bit(t->begun, t->set.n, t->cursor);
			if (at >= t->set.n)
				at = find_first_zero_bit(t->begun, t->set.n);
			n = tail_take(t, at, tail_chunk(t));
		}
		spin_unlock(&t->lock);
		if (n)
			tail_read(t, at, n);
	} while (n);
}

/* Pages are lost: the proclet ends, with those of its threads that wait for them. */
static void tail_kill(struct tail *t)
{
	struct lproc *lproc = t->lproc;
	struct proclet *p;
	int err;

	do {
		spin_lock_bh(&lproc->lock);
		p = lproc->dying ? NULL : proclet_here(lproc, t->proclet);
		if (p && p->heap == t->heap)
			refcount_inc(&p->ref);
		else
			p = NULL;
		spin_unlock_bh(&lproc->lock);
		if (!p)
			return;
		err = migrate_kill(p, t->peer);
		proclet_put(p);
		if (!err)
			pr_warn("proclet: node %u: proclet %llx has died: node %u was lost before all of its memory had come from there (post-copy)\n",
				lproc->node->id, t->proclet, t->peer->id);
		/* It is pinned, or ends already: whoever needs a lost page crashes. */
		WRITE_ONCE(t->hopeless, true);
		wake_up_all(&t->wait);
		if (err == -EBUSY)
			msleep(RETRY_MS);
	} while (err == -EBUSY);
}

/* Pages that are waiting for what they will hold are memory, too. */
static void tail_account(struct tail *t, s64 pages)
{
	atomic64_add(pages * (s64)PAGE_SIZE, (atomic64_t *)&t->lproc->stats.memory);
}

/* Is that all? Then the source may have its pages back. */
static void tail_check_end(struct tail *t)
{
	struct segment *heap = t->heap;
	struct lproc *lproc = t->lproc;
	bool ended = false, whole;

	spin_lock(&t->lock);
	if (!t->reads && !t->ended)
		ended = tail_stops(t) || bitmap_full(t->begun, t->set.n);
	whole = ended && bitmap_full(t->here, t->set.n);
	if (ended)
		t->ended = true;
	spin_unlock(&t->lock);
	if (!ended)
		return;
	tail_account(t, (s64)bitmap_weight(t->here, t->set.n) - t->set.n);
	spin_lock_bh(&lproc->lock);
	list_del(&t->entry);
	spin_unlock_bh(&lproc->lock);
	step_reach(lproc->node, STEP_DST_FETCHED);
	migrate_send(t->peer, WIRE_FETCHED, lproc->key, t->proclet, t->mig, 0, 0, 0);
	trace_proclet_migrate(lproc->node->id, t->proclet, t->mig, lproc->node->id,
			      MIGRATE_TAIL, ktime_to_ns(ktime_sub(ktime_get(), t->began)),
			      t->status);
	if (whole) {
		down_write(&heap->sem);
		heap->tail = NULL;
		huge_find(heap);
		up_write(&heap->sem);
		tail_put(t);
	}
	wake_up_all(&t->wait);
	migrate_tail_ended(lproc, t->proclet, whole);
	if (t->status)
		tail_kill(t);
	t->heap = NULL;
	segment_put(heap);
	kref_get(&lproc->ref);
	tail_put(t);
	lproc_moves_put(lproc);
}

static void tail_read_end(struct work_struct *work)
{
	struct tail_read *r = container_of(work, struct tail_read, work);
	struct tail *t = r->tail;
	struct segment *heap = t->heap;
	bool again;
	u32 i;

	step_reach(t->lproc->node, STEP_DST_TAIL);
	spin_lock(&t->lock);
	again = r->status == -ENOMEM && !tail_stops(t);
	spin_unlock(&t->lock);
	if (again) {
		/* There will be memory for a read again; the proclet's would be lost. */
		msleep(RETRY_MS);
		tail_read_begin(r);
		return;
	}
	down_read(&heap->sem);
	for (i = 0; !r->status && !heap->gone && i < r->rd.npages; i++) {
		segment_add_page(heap, t->set.index[r->first + i], r->pages[i],
				 GFP_KERNEL_ACCOUNT | __GFP_NOFAIL);
		t->set.pages[r->first + i] = NULL;
	}
	up_read(&heap->sem);
	if (!r->status)
		tail_account(t, -(s64)r->rd.npages);
	spin_lock(&t->lock);
	if (!r->status)
		bitmap_set(t->here, r->first, r->rd.npages);
	else if (!t->status)
		t->status = r->status;
	t->reads--;
	spin_unlock(&t->lock);
	wake_up_all(&t->wait);
	kfree(r);
	tail_stream(t);
	tail_check_end(t);
	tail_put(t);
}

/* The heap lives here from now on; it takes @t over. tail_begin() must follow. */
void tail_attach(struct tail *t, struct segment *heap)
{
	/* Of the stream, and the caller's. */
	refcount_add(2, &t->ref);
	refcount_inc(&heap->ref);
	t->heap = heap;
	t->began = ktime_get();
	atomic_inc(&t->lproc->moves);
	tail_account(t, t->set.n);
	spin_lock_bh(&t->lproc->lock);
	list_add_tail(&t->entry, &t->lproc->tails);
	spin_unlock_bh(&t->lproc->lock);
	down_write(&heap->sem);
	heap->tail = t;
	up_write(&heap->sem);
}

/* And it has been said so. */
void tail_begin(struct tail *t)
{
	tail_stream(t);
	tail_check_end(t);
	tail_put(t);
}

static bool tail_over(struct tail *t, u32 i, bool until_hopeless)
{
	if (test_bit(i, t->here))
		return true;
	return until_hopeless ? READ_ONCE(t->hopeless) : READ_ONCE(t->ended) || READ_ONCE(t->status);
}

/*
 * Have page @i read, and wait for that in @state. -EINTR: for a signal; -EIO: it will not
 * come.
 */
static int tail_wait(struct tail *t, u32 i, unsigned int state)
{
	bool user = state == TASK_INTERRUPTIBLE;
	u32 n = 0;
	int err;

	spin_lock(&t->lock);
	if (!t->ended && !tail_stops(t))
		n = tail_take(t, i, 1);
	spin_unlock(&t->lock);
	if (n)
		tail_read(t, i, 1);
	err = user ? wait_event_interruptible(t->wait, tail_over(t, i, user)) :
		     wait_event_killable(t->wait, tail_over(t, i, user));
	if (err)
		return -EINTR;
	return test_bit(i, t->here) ? 0 : -EIO;
}

static struct tail *tail_get(struct segment *seg)
{
	struct tail *t;

	down_read(&seg->sem);
	t = seg->tail;
	if (t)
		refcount_inc(&t->ref);
	up_read(&seg->sem);
	return t;
}

/* The heap is gone: nothing will be read any more. */
void tail_detach(struct segment *heap)
{
	struct tail *t = tail_get(heap);

	if (!t)
		return;
	tail_check_end(t);
	tail_put(t);
}

static void tail_check_fn(struct work_struct *work)
{
	struct tail *t = container_of(work, struct tail, check_work);

	tail_check_end(t);
	tail_put(t);
}

/*
 * A peer, or our own member, has gone. A tail of which nothing is being read would not
 * hear of it.
 */
void tails_check(struct lproc *lproc)
{
	struct tail *t;

	spin_lock_bh(&lproc->lock);
	list_for_each_entry(t, &lproc->tails, entry) {
		refcount_inc(&t->ref);
		if (!queue_work(lproc->node->tail_wq, &t->check_work))
			refcount_dec(&t->ref);
	}
	spin_unlock_bh(&lproc->lock);
}

/*
 * Have all pages read, also if only those that are touched would be. false: they are here;
 * else migrate_tail_ended() follows.
 */
bool tail_hurry(struct segment *seg)
{
	struct tail *t = tail_get(seg);
	bool coming;

	if (!t)
		return false;
	spin_lock(&t->lock);
	t->hurry = true;
	coming = !t->ended;
	spin_unlock(&t->lock);
	if (coming)
		tail_stream(t);
	tail_put(t);
	return coming;
}

/* Wait until all pages of @seg from offset @from to @to are here; killable. */
int tail_need(struct segment *seg, u64 from, u64 to)
{
	struct tail *t;
	int err = 0;
	u32 i;

	if (from >= to || !READ_ONCE(seg->tail))
		return 0;
	t = tail_get(seg);
	if (!t)
		return 0;
	for (i = tail_find(t, from >> PAGE_SHIFT); !err && i < t->set.n; i++) {
		if (t->set.index[i] > (to - 1) >> PAGE_SHIFT)
			break;
		if (!test_bit(i, t->here))
			err = tail_wait(t, i, TASK_KILLABLE);
	}
	tail_put(t);
	return err;
}

/*
 * A fault on page @index of @seg, which tail_lacks(); seg->sem is held, and given up. A
 * program's thread can be stopped while it waits; the kernel itself, copying, gets an
 * error for a page that is lost.
 */
vm_fault_t tail_fault(struct segment *seg, unsigned long index, struct vm_fault *vmf)
{
	bool user = vmf->flags & FAULT_FLAG_INTERRUPTIBLE && vmf->flags & FAULT_FLAG_USER;
	struct mm_struct *mm = vmf->vma->vm_mm;
	vm_fault_t ret = VM_FAULT_RETRY;
	struct tail *t = seg->tail;
	struct file *file;
	u32 i;

	refcount_inc(&t->ref);
	up_read(&seg->sem);
	i = tail_find(t, index);
	if (!(vmf->flags & FAULT_FLAG_ALLOW_RETRY)) {
		ret = tail_wait(t, i, TASK_KILLABLE) ? VM_FAULT_SIGBUS : VM_FAULT_NOPAGE;
	} else if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT) {
		;
	} else if (tail_over(t, i, user)) {
		ret = test_bit(i, t->here) ? VM_FAULT_NOPAGE : VM_FAULT_SIGBUS;
	} else {
		file = get_file(vmf->vma->vm_file);
		mmap_read_unlock(mm);
		tail_wait(t, i, user ? TASK_INTERRUPTIBLE : TASK_KILLABLE);
		fput(file);
	}
	tail_put(t);
	return ret;
}
