// SPDX-License-Identifier: GPL-2.0
/*
 * Migration, the destination's side: memory first, then the offer is read, and with
 * COMMIT, or by post-copy at once, the proclet lives here. Whatever happens before, it
 * is dropped.
 */
#include <linux/list_sort.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "lproc.h"
#include "steps.h"
#include "trace.h"

/* At most so many from a peer, which sends up to 512 (see node.move_wq) at a time. */
#define INCOMING_MAX	1024

/**
 * struct incoming - a proclet on its way to us; proclet.in
 * @entry: in lproc.incoming, under lproc.lock; not any more when it is certain to live here
 * @work: what it is about to do: in_prepare(), in_offer(), in_install()
 * @p: INCOMING
 * @lproc: .
 * @peer: the source
 * @id: of the proclet
 * @mig: number of the migration, of the source's choice
 * @epoch: that it has here
 * @flags: PROCLET_CREATE_*
 * @npages: announced
 * @capacity: .
 * @brk: .
 * @spare: pages ready for what will come
 * @spare_huge: and of 2 MiB, for extents of which all pages will
 * @blob: the offer
 * @blob_len: bytes
 * @blob_ndescs: 0: it came inline
 * @blob_pages: where it is read to if it did not come inline
 * @descs: descriptors of the blob
 * @offer_flags: WIRE_OFFER_* of the offer
 * @keep: bytes of the heap of which early pages are still valid
 * @early: pages of the first early offer: in the heap, or (post-copy) not yet, and
 *         then they are our own
 * @later: post-copy: they are read when it runs here
 * @tail: what does that
 * @copied: they have been read
 * @rd: the read
 * @status: of it
 * @pages: where what is offered is read to
 * @read_descs: and from, with the early ones; NULL: as in the blob
 * @threads: that come along
 * @aborted: drop it as soon as no read is on its way, under lproc.lock
 * @busy: work is queued or a read is on its way, under lproc.lock
 * @ready: everything is here; waits for COMMIT, under lproc.lock
 * @may_ask: the source may be in doubt about it: READY was sent, or it is a post-copy
 * @nthreads: announced
 * @refs: to the proclet, as the offer says
 * @charged: bytes for @npages, beyond the heap's, charged to the node
 */
struct incoming {
	struct list_head entry;
	struct work_struct work;
	struct proclet *p;
	struct lproc *lproc;
	struct peer *peer;
	u64 id;
	u64 mig;
	u64 epoch;
	u64 npages;
	u64 capacity;
	u64 brk;
	u32 flags;
	struct list_head spare;
	struct list_head spare_huge;
	void *blob;
	u32 blob_len;
	u32 blob_ndescs;
	struct payload blob_pages;
	struct xport_desc *descs;
	u32 offer_flags;
	u64 keep;
	struct tail_set early;
	bool later;
	struct tail *tail;
	bool copied;
	struct xport_read rd;
	int status;
	struct page **pages;
	struct xport_desc *read_descs;
	struct list_head threads;
	u32 nthreads;
	u32 refs;
	u64 charged;
	bool aborted;
	bool busy;
	bool ready;
	bool may_ask;
};

#define in_step(in, step)	step_reach((in)->lproc->node, STEP_DST_##step)

static void in_answer(struct incoming *in, u32 type, s32 status, u64 ns)
{
	migrate_send(in->peer, type, in->lproc->key, in->id, in->mig, in->epoch, status,
		     ns);
}

/* What came with an offer is not needed any more. */
static void offer_done(struct incoming *in)
{
	kvfree(in->blob);
	in->blob = NULL;
	payload_free(&in->blob_pages);
	kvfree(in->descs);
	in->descs = NULL;
	kvfree(in->pages);
	in->pages = NULL;
	kvfree(in->read_descs);
	in->read_descs = NULL;
}

static void in_free(struct incoming *in)
{
	struct lproc *lproc = in->lproc;
	struct page *page, *tmp;

	list_splice(&in->spare_huge, &in->spare);
	list_for_each_entry_safe(page, tmp, &in->spare, lru) {
		list_del(&page->lru);
		put_page(page);
	}
	offer_done(in);
	if (!in->later)
		in->early.n = 0;	/* the pages are the heap's */
	tail_set_free(&in->early);
	if (in->tail)
		tail_put(in->tail);
	lproc_reserve(lproc, -(s64)in->charged);
	atomic_dec(&in->peer->incoming);
	peer_put(in->peer);
	kfree(in);
	lproc_moves_put(lproc);
}

/* Nothing of it stays; the source goes on with it. */
static void in_drop(struct incoming *in, int err)
{
	struct lproc *lproc = in->lproc;
	struct proclet *p = in->p;
	struct thread *t, *tmp;
	bool ended = false;
	u64 start, size;

	in_step(in, DROP);
	list_for_each_entry_safe(t, tmp, &in->threads, entry) {
		list_del_init(&t->entry);
		if (t->reply)
			op_free(t->reply);
		segment_remove(t->seg);
	}
	/* A source in doubt may ask: only of those it can know that they are off. */
	if (in->may_ask)
		xa_store_bh(&lproc->dropped, in->mig, xa_mk_value(in->peer->id),
			 GFP_KERNEL | __GFP_NOFAIL);
	spin_lock_bh(&lproc->lock);
	list_del(&in->entry);
	if (p) {
		p->in = NULL;
		proclet_set_state(p, PROCLET_ABSENT);
		ended = p->ended;
		start = p->heap->start;
		size = p->heap->size;
	}
	spin_unlock_bh(&lproc->lock);
	if (ended)
		location_erase(lproc, in->id);
	if (p)
		proclet_discard(p);
	if (ended && PROCLET_ID_HOME(in->id) == lproc->node->id)
		heap_slot_free(lproc, start, size);
	trace_proclet_migrate(lproc->node->id, in->id, in->mig, lproc->node->id,
			      MIGRATE_ABORT, 0, err);
	in_answer(in, WIRE_REFUSE, err, 0);
	in_free(in);
}

/* A step is over: say so with @answer, unless it was aborted meanwhile. Ends our use. */
static void in_step_done(struct incoming *in, u32 answer)
{
	u64 key = in->lproc->key, id = in->id, mig = in->mig, epoch = in->epoch;
	struct lproc *lproc = in->lproc;
	struct peer *peer = in->peer;
	bool aborted;

	kref_get(&peer->ref);
	spin_lock_bh(&lproc->lock);
	aborted = in->aborted || lproc->dying;
	in->ready = answer == WIRE_READY && !aborted;
	in->may_ask |= in->ready;
	/* Who drops it stays busy: nobody else does it again. */
	if (!aborted)
		in->busy = false;
	spin_unlock_bh(&lproc->lock);
	/* From here on it can go at any time, unless we drop it. */
	if (aborted)
		in_drop(in, -ECANCELED);
	else
		migrate_send(peer, answer, key, id, mig, epoch, 0, 0);
	peer_put(peer);
}

/*
 * Which pages will come is not known yet. A heap that is half full is taken for dense: all
 * of it, but for its last extent, for huge pages, as long as there are any.
 */
static u64 fill_spare_huge(struct incoming *in)
{
	u64 size = in->brk >> PAGE_SHIFT, n = min(in->npages, size) / HUGE_PAGES, i;
	struct page *page;

	if (in->npages < size / 2)
		return 0;
	for (i = 0; i < n && !READ_ONCE(in->aborted); i++) {
		page = huge_alloc(0);
		if (!page)
			break;
		list_add(&page->lru, &in->spare_huge);
		cond_resched();
	}
	return i * HUGE_PAGES;
}

static int fill_spare(struct incoming *in)
{
	struct page *page;
	u64 i;

	for (i = fill_spare_huge(in); i < in->npages; i++) {
		page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_NORETRY);
		if (!page)
			return -ENOMEM;
		list_add(&page->lru, &in->spare);
		if (READ_ONCE(in->aborted))
			return -ECANCELED;
		cond_resched();
	}
	return 0;
}

/* All that it needs of memory. */
static int in_make(struct incoming *in)
{
	struct lproc *lproc = in->lproc;
	struct proclet *p;
	u64 extra;
	int err;

	in_step(in, PREPARE);
	p = proclet_alloc(lproc, in->id, in->capacity, in->brk);
	if (IS_ERR(p))
		return PTR_ERR(p);
	/* The threads' pages: charged only while we must trust the source. */
	extra = (in->npages << PAGE_SHIFT) - min(in->npages << PAGE_SHIFT, in->brk);
	err = lproc_reserve(lproc, extra);
	if (!err)
		in->charged = extra;
	in->p = p;
	p->flags = in->flags;
	p->epoch = in->epoch;
	p->heap->gone = true;
	spin_lock_bh(&lproc->lock);
	proclet_set_state(p, PROCLET_INCOMING);
	p->in = in;
	spin_unlock_bh(&lproc->lock);
	if (segment_publish(p->heap))
		err = err ? err : -EBUSY;
	return err ? err : fill_spare(in);
}

static void in_prepare(struct work_struct *work)
{
	struct incoming *in = container_of(work, struct incoming, work);
	struct charge charge;
	int err;

	charge_begin(&charge, in->lproc);
	err = in_make(in);
	charge_end(&charge);
	if (err) {
		in_drop(in, err);
		return;
	}
	in_step(in, ACCEPT);
	in_step_done(in, WIRE_ACCEPT);
}

/* A peer cannot bring what our own slice has never given out. */
static bool may_come(struct lproc *lproc, struct incoming *in)
{
	bool known;

	if (PROCLET_ID_HOME(in->id) != lproc->node->id)
		return true;
	spin_lock_bh(&lproc->lock);
	location_get(lproc, in->id, &known);
	/* We may not be done with sending it away. */
	known |= !!proclet_here(lproc, in->id);
	spin_unlock_bh(&lproc->lock);
	return known;
}

void migrate_dst_prepare(struct lproc *lproc, struct peer *peer,
			 const struct wire_prepare *w)
{
	bool many = atomic_inc_return(&peer->incoming) > INCOMING_MAX, member;
	struct incoming *in = many ? NULL : kzalloc(sizeof(*in), GFP_MEMBER);

	if (!in) {
		atomic_dec(&peer->incoming);
		migrate_send(peer, WIRE_REFUSE, lproc->key, le64_to_cpu(w->proclet),
			     le64_to_cpu(w->mig), 0, many ? -EBUSY : -ENOMEM, 0);
		return;
	}
	in->lproc = lproc;
	kref_get(&lproc->ref);
	in->peer = peer;
	kref_get(&peer->ref);
	in->id = le64_to_cpu(w->proclet);
	in->mig = le64_to_cpu(w->mig);
	in->epoch = le64_to_cpu(w->epoch);
	in->npages = le64_to_cpu(w->npages);
	in->capacity = le64_to_cpu(w->capacity);
	in->brk = le64_to_cpu(w->brk);
	in->flags = le32_to_cpu(w->flags) & PROCLET_CREATE_FLAGS;
	INIT_LIST_HEAD(&in->spare);
	INIT_LIST_HEAD(&in->spare_huge);
	INIT_LIST_HEAD(&in->threads);
	in->nthreads = le32_to_cpu(w->nthreads);
	in->busy = true;
	/* The source may count from the beginning again. */
	xa_erase_bh(&lproc->dropped, in->mig);
	atomic_inc(&lproc->moves);
	spin_lock_bh(&lproc->lock);
	list_add_tail(&in->entry, &lproc->incoming);
	member = lproc->members & node_bit(peer->id);
	spin_unlock_bh(&lproc->lock);
	if (!member || !may_come(lproc, in)) {
		in_drop(in, -EHOSTUNREACH);
		return;
	}
	/* Allocating may take long: not in the way of other messages. */
	INIT_WORK(&in->work, in_prepare);
	queue_work(lproc->node->wq, &in->work);
}

/* The one that @peer sends us under this number; takes it for a step. */
static struct incoming *in_find(struct lproc *lproc, struct peer *peer, u64 id, u64 mig)
{
	struct incoming *in;

	lockdep_assert_held(&lproc->lock);
	list_for_each_entry(in, &lproc->incoming, entry)
		if (in->id == id && in->mig == mig && in->peer->id == peer->id)
			return in;
	return NULL;
}

static void in_read_done(struct xport_read *rd, int status)
{
	struct incoming *in = container_of(rd, struct incoming, rd);

	in->status = status;
	queue_work(in->lproc->node->wq, &in->work);
}

static int in_read(struct incoming *in, struct page **pages, u32 npages, const void *descs,
		   u32 ndescs, void (*next)(struct work_struct *work))
{
	in->rd.peer = in->peer;
	in->rd.pages = pages;
	in->rd.npages = npages;
	in->rd.descs = descs;
	in->rd.ndescs = ndescs;
	in->rd.done = in_read_done;
	INIT_WORK(&in->work, next);
	return in->peer->node->ops->read(&in->rd);
}

static void in_commit(struct incoming *in);

/* It was given to us with the offer. */
static void in_take(struct incoming *in)
{
	struct lproc *lproc = in->lproc;
	bool aborted;

	spin_lock_bh(&lproc->lock);
	aborted = in->aborted || lproc->dying;
	if (!aborted)
		list_del(&in->entry);
	spin_unlock_bh(&lproc->lock);
	if (aborted)
		in_drop(in, -ECANCELED);
	else
		in_commit(in);
}

/* All that was offered has arrived. */
static void in_arrived(struct work_struct *work)
{
	struct incoming *in = container_of(work, struct incoming, work);
	bool early = in->offer_flags & WIRE_OFFER_EARLY;

	if (in->status) {
		in_drop(in, in->status);
		return;
	}
	/* Before another offer can come. */
	offer_done(in);
	if (early && in->offer_flags & WIRE_OFFER_READ)
		in->copied = true;
	if (in->tail) {
		in_take(in);
		return;
	}
	step_reach(in->lproc->node, early ? STEP_DST_COPIED : STEP_DST_READY);
	in_step_done(in, early ? WIRE_COPIED : WIRE_READY);
}

static struct page *take_spare(struct list_head *spare)
{
	struct page *page = list_first_entry_or_null(spare, struct page, lru);

	if (page)
		list_del(&page->lru);
	return page;
}

static struct page *take_page(struct incoming *in)
{
	struct page *page = take_spare(&in->spare);

	if (page)
		return page;
	/* It may be that too many huge pages were taken instead. */
	page = take_spare(&in->spare_huge);
	if (page)
		put_page(page);
	return alloc_page(GFP_KERNEL_ACCOUNT | __GFP_NORETRY);
}

/* One for the @n pages from @index on, if it fits; NULL: take single pages. */
static struct page *take_huge(struct incoming *in, u32 index, u32 n)
{
	struct page *page;

	if (!IS_ALIGNED(index, HUGE_PAGES) || n < HUGE_PAGES)
		return NULL;
	page = take_spare(&in->spare_huge);
	/* A frozen proclet does not wait for more. */
	if (!page && in->offer_flags & WIRE_OFFER_EARLY)
		page = huge_alloc(0);
	return page;
}

/* The page at @index, the one that is there or a new one; NULL: no memory. */
static struct page *place_page(struct incoming *in, struct segment *seg, u32 index)
{
	struct page *page = xa_load(&seg->pages, index);

	if (page)
		return page;
	page = take_page(in);
	return page ? segment_add_page(seg, index, page, GFP_MEMBER) : NULL;
}

/* A huge page for what is offered from @index on, if there is nothing yet. */
static void place_huge(struct incoming *in, struct segment *seg, u32 index, u32 n)
{
	struct page *page;

	if (seg->thread || xa_load(&seg->pages, index))
		return;
	page = take_huge(in, index, n);
	if (!page)
		return;
	down_write(&seg->sem);
	segment_add_huge(seg, index, page);
	up_write(&seg->sem);
}

static int fill_segment(struct incoming *in, struct segment *seg,
			const struct wire_extent *ext, u32 n, u32 *at)
{
	u32 i, j, count, index;
	struct page *page;

	for (i = 0; i < n; i++) {
		count = le32_to_cpu(ext[i].count);
		for (j = 0; j < count; j++) {
			index = le32_to_cpu(ext[i].first) + j;
			place_huge(in, seg, index, count - j);
			page = place_page(in, seg, index);
			if (!page)
				return -ENOMEM;
			in->pages[(*at)++] = page;
		}
		cond_resched();
	}
	return 0;
}

/* The first early offer: its pages may be read later. */
static int early_keep(struct incoming *in, const struct wire_extent *ext, u32 n,
		      u32 npages, const void *descs, u32 ndescs)
{
	u32 i, j, at = 0, count, parts = 0;
	struct tail_set *set = &in->early;
	struct page *page = NULL;

	set->pages = kvcalloc(npages, sizeof(*set->pages), GFP_MEMBER);
	set->index = kvmalloc_array(npages, sizeof(*set->index), GFP_MEMBER);
	set->descs = kvmalloc_array(ndescs, sizeof(*set->descs), GFP_MEMBER);
	if (!set->pages || !set->index || !set->descs)
		return -ENOMEM;
	set->n = npages;
	set->ndescs = ndescs;
	memcpy(set->descs, descs, ndescs * sizeof(*set->descs));
	for (i = 0; i < n; i++) {
		count = le32_to_cpu(ext[i].count);
		for (j = 0; j < count; j++, at++) {
			set->index[at] = le32_to_cpu(ext[i].first) + j;
			if (!in->later) {
				set->pages[at] = in->pages[at];
				continue;
			}
			if (!parts) {
				page = take_huge(in, set->index[at], count - j);
				if (page)
					huge_spread(page);
				parts = page ? HUGE_PAGES : 1;
				page = page ?: take_page(in);
			}
			if (!page)
				return -ENOMEM;
			set->pages[at] = page++;
			parts--;
		}
		cond_resched();
	}
	return 0;
}

/* The source has freed part of the heap meanwhile: early pages there are void. */
static void early_cut(struct incoming *in)
{
	struct segment *heap = in->p->heap;
	u64 keep = min(in->keep, heap->limit);
	struct tail_set *set = &in->early;
	u32 n = set->n, d = 0, len;

	while (n && set->index[n - 1] >= keep >> PAGE_SHIFT) {
		n--;
		if (in->later)
			put_page(set->pages[n]);
	}
	if (n == set->n)
		return;
	down_write(&heap->sem);
	segment_forget_pages(heap, keep, heap->size);
	up_write(&heap->sem);
	set->n = n;
	for (; n; d++) {
		len = le32_to_cpu(set->descs[d].len) >> PAGE_SHIFT;
		if (len > n)
			set->descs[d].len = cpu_to_le32(n << PAGE_SHIFT);
		n -= min(n, len);
	}
	set->ndescs = d;
}

/* Read what was offered, and what was not read of what was offered early. */
static int in_read_offer(struct incoming *in, u32 npages, const void *descs, u32 ndescs)
{
	bool early = in->offer_flags & WIRE_OFFER_EARLY;
	u32 n = in->copied || early || in->later ? 0 : in->early.n;
	const struct tail_set *set = &in->early;
	struct page **pages;

	if (early && !(in->offer_flags & WIRE_OFFER_READ))
		npages = 0;
	if (!n && !npages) {
		in->status = 0;
		in_arrived(&in->work);
		return 0;
	}
	if (!n)
		return in_read(in, in->pages, npages, descs, ndescs, in_arrived);
	pages = kvmalloc_array(n + npages, sizeof(*pages), GFP_MEMBER);
	in->read_descs = kvmalloc_array(set->ndescs + ndescs, sizeof(*in->read_descs),
					GFP_MEMBER);
	if (!pages || !in->read_descs) {
		kvfree(pages);
		return -ENOMEM;
	}
	memcpy(pages, set->pages, n * sizeof(*pages));
	memcpy(pages + n, in->pages, npages * sizeof(*pages));
	kvfree(in->pages);
	in->pages = pages;
	memcpy(in->read_descs, set->descs, set->ndescs * sizeof(*in->read_descs));
	memcpy(in->read_descs + set->ndescs, descs, ndescs * sizeof(*in->read_descs));
	return in_read(in, pages, n + npages, in->read_descs, set->ndescs + ndescs,
		       in_arrived);
}

static int in_thread(struct incoming *in, const struct wire_thread *w)
{
	static const enum thread_state states[] = {
		[WIRE_THREAD_WAITING] = THREAD_WAITING,
		[WIRE_THREAD_PARKED] = THREAD_PARKED,
		[WIRE_THREAD_REPLIED] = THREAD_REPLIED,
	};
	struct thread *t = thread_create(in->lproc, le64_to_cpu(w->stack));
	int err;

	if (!t)
		return -ENOMEM;
	t->seg->gone = true;
	err = segment_publish(t->seg);
	if (err) {
		segment_put(t->seg);
		return err;
	}
	t->state = states[le32_to_cpu(w->state)];
	t->wait_addr = le64_to_cpu(w->wait_addr);
	t->wait_no = le64_to_cpu(w->wait_no);
	t->seq = le64_to_cpu(w->seq);
	t->out = le64_to_cpu(w->out);
	t->out_cap = le64_to_cpu(w->out_cap);
	t->waiter.sent_to = le32_to_cpu(w->sent_to);
	t->waiter.code = le32_to_cpu(w->op);
	t->waiter.target = le64_to_cpu(w->target);
	t->waiter.deadline = le64_to_cpu(w->deadline);
	t->waiter.cancelled = le32_to_cpu(w->cancelled);
	t->held = ktime_get();
	t->item.proclet = in->p;
	list_add_tail(&t->entry, &in->threads);
	if (t->state != THREAD_REPLIED && !t->wait_addr)
		return 0;
	t->reply = op_alloc(in->lproc, GFP_MEMBER);
	if (!t->reply)
		return -ENOMEM;
	t->reply->is_reply = true;
	t->reply->result = (s64)le64_to_cpu(w->result);
	return 0;
}

/* The blob is here: make what it describes, and read the pages. */
static int in_begin(struct incoming *in)
{
	bool early = in->offer_flags & WIRE_OFFER_EARLY;
	const struct wire_blob *blob = in->blob;
	const struct wire_extent *exts;
	const struct wire_thread *wts;
	const struct wire_seg *segs;
	u32 i, at = 0, nsegs;
	struct segment *seg;
	struct thread *t;
	const char *why;
	u64 npages;
	int err;

	why = wire_check_blob(in->blob, in->blob_len, in->id, in->capacity, &npages);
	if (why) {
		pr_warn_ratelimited("proclet: node %u: bad offer from node %u (%s)\n",
				    in->lproc->node->id, in->peer->id, why);
		return -EPROTO;
	}
	nsegs = le32_to_cpu(blob->nsegs);
	/* More than announced, but within reason: it ran on meanwhile. */
	if (npages > in->npages + (in->capacity >> PAGE_SHIFT) + 4096 ||
	    nsegs > in->nthreads + 4096)
		return -EPROTO;
	/*
	 * New pages are not cleared, so all must be read before COMMIT: only those of
	 * the first early offer are remembered, as read or not read.
	 */
	if (early && (nsegs > 1 || !npages))
		return -EPROTO;
	if (early && in->early.n && !(in->copied && in->offer_flags & WIRE_OFFER_READ))
		return -EPROTO;
	if (early && !in->early.n)
		in->later = in->offer_flags & WIRE_OFFER_TAIL;
	else if (in->later != !!(in->offer_flags & WIRE_OFFER_TAIL))
		return -EPROTO;
	segs = (const void *)(blob + 1);
	exts = (const void *)(segs + nsegs);
	wts = (const void *)(exts + le32_to_cpu(blob->nextents));
	/* It may have grown since PREPARE. */
	if (le64_to_cpu(segs[0].limit) > in->p->charged) {
		err = lproc_reserve(in->lproc,
				  le64_to_cpu(segs[0].limit) - in->p->charged);
		if (err)
			return err;
		in->p->charged = le64_to_cpu(segs[0].limit);
	}
	in->p->heap->limit = le64_to_cpu(segs[0].limit);
	if (!early)
		early_cut(in);
	for (i = 0; i + 1 < nsegs; i++) {
		err = in_thread(in, &wts[i]);
		if (err)
			return err;
	}
	in->pages = kvmalloc_array(npages + 1, sizeof(*in->pages), GFP_MEMBER);
	if (!in->pages)
		return -ENOMEM;
	t = list_entry(&in->threads, struct thread, entry);
	for (i = 0; i < nsegs; i++) {
		if (early && in->later)
			break;		/* not in the heap before they are read */
		seg = i ? t->seg : in->p->heap;
		err = fill_segment(in, seg, exts, le32_to_cpu(segs[i].nextents), &at);
		if (err)
			return err;
		/* Without its control block no thread could go on. */
		if (i && !xa_load(&seg->pages, 0))
			return -EPROTO;
		exts += le32_to_cpu(segs[i].nextents);
		t = list_next_entry(t, entry);
	}
	if (early && !in->early.n) {
		err = early_keep(in, (const void *)(segs + 1), le32_to_cpu(blob->nextents),
				 npages, wts, le32_to_cpu(blob->ndescs));
		if (err)
			return err;
	}
	if (!early && in->later) {
		in->tail = tail_alloc(in->lproc, in->peer, in->id, in->mig, &in->early);
		if (!in->tail)
			return -ENOMEM;
	}
	return in_read_offer(in, npages, wts + nsegs - 1, le32_to_cpu(blob->ndescs));
}

static void in_blob(struct work_struct *work)
{
	struct incoming *in = container_of(work, struct incoming, work);
	struct charge charge;
	int err = in->status;

	charge_begin(&charge, in->lproc);
	if (!err && in->blob_pages.npages)
		payload_read(&in->blob_pages, in->blob, in->blob_len);
	if (!err)
		err = in_begin(in);
	charge_end(&charge);
	if (err)
		in_drop(in, err);
}

static void in_offer(struct work_struct *work)
{
	struct incoming *in = container_of(work, struct incoming, work);
	struct charge charge;
	int err;

	step_reach(in->lproc->node, in->offer_flags & WIRE_OFFER_EARLY ? STEP_DST_EARLY :
									 STEP_DST_OFFER);
	if (!in->blob_ndescs) {
		in->status = 0;
		in_blob(work);
		return;
	}
	charge_begin(&charge, in->lproc);
	err = payload_alloc(&in->blob_pages, in->blob_len);
	charge_end(&charge);
	if (!err && !in->blob_pages.npages)
		err = -EPROTO;
	if (!err)
		err = in_read(in, in->blob_pages.pages, in->blob_pages.npages, in->descs,
			      in->blob_ndescs, in_blob);
	if (err)
		in_drop(in, err);
}

void migrate_dst_offer(struct lproc *lproc, struct peer *peer, const struct wire_offer *w)
{
	u32 len = le32_to_cpu(w->blob_len), n = le32_to_cpu(w->ndescs);
	u32 flags = le32_to_cpu(w->flags);
	struct xport_desc *descs = NULL;
	struct incoming *in;
	bool known;
	void *blob;

	blob = kvmalloc(len, GFP_MEMBER);
	if (blob && !n)
		memcpy(blob, w + 1, len);
	if (n) {
		descs = kvmalloc_array(n, sizeof(*descs), GFP_MEMBER);
		if (descs)
			memcpy(descs, w + 1, n * sizeof(*descs));
	}
	spin_lock_bh(&lproc->lock);
	in = in_find(lproc, peer, le64_to_cpu(w->proclet), le64_to_cpu(w->mig));
	known = in;
	if (in && (in->busy || in->blob || in->ready || in->aborted))
		in = NULL;	/* offered twice, or not accepted yet */
	if (in) {
		in->busy = true;
		in->blob = blob;
		in->blob_len = len;
		in->descs = descs;
		in->blob_ndescs = n;
		in->refs = le32_to_cpu(w->refs);
		in->offer_flags = flags;
		in->keep = le64_to_cpu(w->keep);
		/* Also if the last offer, which gives it to us, is lost on its way. */
		in->may_ask |= flags & WIRE_OFFER_TAIL;
	}
	spin_unlock_bh(&lproc->lock);
	if (!in) {
		kvfree(blob);
		kvfree(descs);
		if (!known)
			migrate_send(peer, WIRE_REFUSE, lproc->key, le64_to_cpu(w->proclet),
				     le64_to_cpu(w->mig), 0, -EHOSTUNREACH, 0);
		return;
	}
	if (!blob || (n && !descs)) {
		in_drop(in, -ENOMEM);
		return;
	}
	INIT_WORK(&in->work, in_offer);
	/* The last one is short, and its proclet stands still. */
	if (flags & WIRE_OFFER_EARLY)
		queue_work(lproc->node->wq, &in->work);
	else
		in_offer(&in->work);
}

/* They go on waiting in the order in which they began to. */
static int by_wait_no(void *priv, const struct list_head *a, const struct list_head *b)
{
	return list_entry(a, struct thread, entry)->wait_no >
	       list_entry(b, struct thread, entry)->wait_no;
}

/* The point of no return: it lives here. */
static void in_commit(struct incoming *in)
{
	struct lproc *lproc = in->lproc;
	struct proclet *p = in->p;
	struct tail *tail = in->tail;
	ktime_t start = ktime_get();
	struct proclet_token *callers;
	struct proclet_tcb *tcb;
	struct thread *t, *tmp;
	struct location *loc;
	bool lost = false;
	LIST_HEAD(inbox);
	u32 n = 0, i;
	u64 ns;

	in_step(in, COMMIT);
	in->tail = NULL;
	if (tail)
		tail_attach(tail, p->heap);
	segment_show(p->heap);
	list_for_each_entry(t, &in->threads, entry) {
		segment_show(t->seg);
		n++;
	}
	callers = kvcalloc(n, sizeof(*callers), GFP_KERNEL | __GFP_NOFAIL);
	list_sort(NULL, &in->threads, by_wait_no);
	n = 0;
	spin_lock_bh(&lproc->lock);
	p->in = NULL;
	p->ended = false;	/* who said so was wrong */
	p->refs = in->refs;
	proclet_set_state(p, PROCLET_PRESENT);
	/* Now: when the lock is free, it can move on, and be known elsewhere. */
	loc = location_take(lproc, in->id);
	list_for_each_entry_safe(t, tmp, &in->threads, entry) {
		tcb = thread_tcb(t);
		if (tcb)
			callers[n++] = tcb->caller;
		lost |= waiter_lost(lproc, &t->waiter);
		list_move_tail(&t->entry, &p->threads);
		if (t->state != THREAD_WAITING)
			ready_add(lproc, &t->item);
		else
			waiter_arm(lproc, &t->waiter);
		if (t->wait_addr)
			futex_wait(t, t->wait_addr);
	}
	list_splice_init(&p->inbox, &inbox);
	lproc->stats.moved_in++;
	event_add(lproc, PROCLET_EVENT_MOVED_IN, in->peer->id, in->id);
	spin_unlock_bh(&lproc->lock);
	ns = ktime_to_ns(ktime_sub(ktime_get(), start));
	in_step(in, ACTIVE);
	in_answer(in, WIRE_ACTIVE, 0, ns);
	if (tail)
		tail_begin(tail);
	in_step(in, MOVED);
	trace_proclet_migrate(lproc->node->id, in->id, in->mig, lproc->node->id,
			      MIGRATE_INSTALL, ns, 0);

	kfree(loc);
	proclet_announce(lproc, in->id, in->epoch, lproc->node->id, in->capacity);
	for (i = 0; i < n; i++)
		if (token_ok(&callers[i]))
			waiter_tell(lproc, &callers[i], lproc->node->id, 0);
	kvfree(callers);
	op_flush(lproc, &inbox);
	/* A node that a thread waits for may have been lost while it moved. */
	if (lost)
		waiters_lost_node(lproc, 0);
	in_free(in);
}

static void in_query(struct lproc *lproc, struct peer *peer, const struct wire_mig *w)
{
	u64 id = le64_to_cpu(w->proclet), mig = le64_to_cpu(w->mig);
	bool off;

	step_reach(lproc->node, STEP_DST_QUERY);
	/*
	 * What we have not dropped ourselves did run here. What is still incoming
	 * will not: a COMMIT would have come before this, and an offer that gave it to
	 * us was aborted when its connection ended.
	 */
	spin_lock_bh(&lproc->lock);
	off = in_find(lproc, peer, id, mig);
	spin_unlock_bh(&lproc->lock);
	/* Not forgotten: it may ask again, when an answer was lost. */
	if (xa_load(&lproc->dropped, mig) == xa_mk_value(peer->id))
		off = true;
	migrate_send(peer, WIRE_STATUS, lproc->key, id, mig, le64_to_cpu(w->epoch),
		     !off, 0);
}

/* Stop it as soon as it is idle. Returns it if that is now. Under the lock. */
static struct incoming *in_abort(struct incoming *in)
{
	in->aborted = true;
	if (in->busy)
		return NULL;
	in->busy = true;
	return in;
}

void migrate_dst_recv(struct lproc *lproc, struct peer *peer, u32 type,
		      const struct wire_mig *w)
{
	struct incoming *in;

	if (type == WIRE_QUERY) {
		in_query(lproc, peer, w);
		return;
	}
	spin_lock_bh(&lproc->lock);
	in = in_find(lproc, peer, le64_to_cpu(w->proclet), le64_to_cpu(w->mig));
	if (in && type == WIRE_ABORT)
		in = in_abort(in);
	else if (in && (!in->ready || in->aborted))
		in = NULL;
	else if (in)
		list_del(&in->entry);
	spin_unlock_bh(&lproc->lock);
	if (in && type == WIRE_ABORT)
		in_drop(in, (s32)le32_to_cpu(w->status) < 0 ?
			(s32)le32_to_cpu(w->status) : -ECANCELED);
	else if (in)
		in_commit(in);
}

/* The member on @node has gone; 0: our own goes. */
void migrate_dst_lost(struct lproc *lproc, u32 node)
{
	struct incoming *in, *pos;

	do {
		in = NULL;
		spin_lock_bh(&lproc->lock);
		list_for_each_entry(pos, &lproc->incoming, entry) {
			if (pos->aborted || (node && pos->peer->id != node))
				continue;
			in = in_abort(pos);
			if (in)
				break;
		}
		spin_unlock_bh(&lproc->lock);
		if (in)
			in_drop(in, -EHOSTUNREACH);
	} while (in);
}
