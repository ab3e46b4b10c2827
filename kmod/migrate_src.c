// SPDX-License-Identifier: GPL-2.0
/*
 * Migration, the source's side (DESIGN section 6): one work item drives one
 * migration from PREPARE to ACTIVE or back. Until COMMIT is sent everything can
 * be taken back.
 */
#include <linux/list_sort.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include "compat.h"
#include "lproc.h"
#include "trace.h"

static unsigned int freeze_ms = 1000;
module_param(freeze_ms, uint, 0644);
MODULE_PARM_DESC(freeze_ms, "longest time to wait for a proclet's threads to park (ms)");

static unsigned int answer_ms = 30000;
module_param(answer_ms, uint, 0644);
MODULE_PARM_DESC(answer_ms, "longest time to wait for the destination's answers (ms)");

/* What the destination, or its loss, has told us: bits of migration.events. */
#define EV_ACCEPT	BIT(0)
#define EV_REFUSE	BIT(1)
#define EV_READY	BIT(2)
#define EV_ACTIVE	BIT(3)
#define EV_STATUS	BIT(4)
#define EV_LOST		BIT(5)
#define EV_UP		BIT(6)	/* the peer is connected again */
#define EV_END		BIT(7)	/* our own member goes */
#define EV_DOWN		BIT(9)	/* the connection, not only the member, was lost */
#define EV_DYING	BIT(8)	/* the proclet has been destroyed meanwhile */

/**
 * struct migration - one at work
 * @work: migrate_fn()
 * @p: what moves; has a reference
 * @op: the request, to answer
 * @token: whose request it is; 0: answered
 * @peer: the destination
 * @incarnation: of the destination, at the beginning
 * @id: number of the migration
 * @events: EV_*, under lproc.lock
 * @status: that came with EV_REFUSE or EV_STATUS
 * @wait: woken when @events changes
 * @pages: that travel, in the order of the blob's extents
 * @npages: .
 * @exposed: @mem is valid
 * @mem: they, readable for the destination
 * @blob: what the proclet consists of
 * @blob_len: bytes
 * @blob_pages: a copy, when it does not fit into the message
 * @blob_exposed: @blob_mem is valid
 * @blob_mem: that, readable for the destination
 * @move: how it went
 */
struct migration {
	struct work_struct work;
	struct proclet *p;
	struct op *op;
	struct proclet_token token;
	struct peer *peer;
	u64 incarnation;
	u64 id;
	u32 events;
	s32 status;
	wait_queue_head_t wait;
	struct page **pages;
	u32 npages;
	bool exposed;
	struct xport_mem mem;
	void *blob;
	u32 blob_len;
	struct payload blob_pages;
	bool blob_exposed;
	struct xport_mem blob_mem;
	struct proclet_move move;
};

static atomic64_t mig_ids;

static void mig_event(struct migration *m, u32 event, s32 status)
{
	lockdep_assert_held(&m->p->lproc->lock);
	m->events |= event;
	if (event & (EV_REFUSE | EV_STATUS))
		m->status = status;
	wake_up(&m->wait);
}

/* The destination's answer; false: no migration of ours waits for it. */
bool migrate_src_hear(struct lproc *lproc, struct peer *peer, u32 type,
		      const struct wire_mig *w)
{
	static const u32 events[WIRE_TYPES] = {
		[WIRE_ACCEPT] = EV_ACCEPT,
		[WIRE_REFUSE] = EV_REFUSE,
		[WIRE_READY] = EV_READY,
		[WIRE_ACTIVE] = EV_ACTIVE,
		[WIRE_STATUS] = EV_STATUS,
	};
	bool known = false;
	struct proclet *p;

	spin_lock_bh(&lproc->lock);
	p = proclet_here(lproc, le64_to_cpu(w->proclet));
	if (p && p->mig && p->mig->peer->id == peer->id &&
	    p->mig->id == le64_to_cpu(w->mig)) {
		known = true;
		if (type == WIRE_ACTIVE)
			p->mig->move.resume_ns = le64_to_cpu(w->ns);
		mig_event(p->mig, events[type], (s32)le32_to_cpu(w->status));
	}
	spin_unlock_bh(&lproc->lock);
	return known;
}

void migrate_src_recv(struct lproc *lproc, struct peer *peer, u32 type,
		      const struct wire_mig *w)
{
	bool known = migrate_src_hear(lproc, peer, type, w);

	/* It was given up before the answer came: let go of it. */
	if (!known && (type == WIRE_ACCEPT || type == WIRE_READY))
		migrate_send(peer, WIRE_ABORT, lproc->key, le64_to_cpu(w->proclet),
			     le64_to_cpu(w->mig), 0, -ECANCELED, 0);
}

/* The member on @node has gone; 0: our own goes. */
void migrate_src_lost(struct lproc *lproc, u32 node)
{
	unsigned long index;
	struct proclet *p;

	spin_lock_bh(&lproc->lock);
	xa_for_each(&lproc->proclets, index, p)
		if (p->mig && (!node || p->mig->peer->id == node))
			mig_event(p->mig, node ? EV_LOST : EV_END, 0);
	spin_unlock_bh(&lproc->lock);
}

void migrate_src_dying(struct proclet *p)
{
	if (p->mig)
		mig_event(p->mig, EV_DYING, 0);
}

/* Who waits for the migration of @p; false: nobody. */
bool migrate_src_token(struct proclet *p, struct proclet_token *token)
{
	if (!p->mig || !p->mig->token.node)
		return false;
	*token = p->mig->token;
	return true;
}

static void peer_event(struct lproc *lproc, struct peer *peer, u32 event)
{
	unsigned long index;
	struct proclet *p;

	spin_lock_bh(&lproc->lock);
	xa_for_each(&lproc->proclets, index, p)
		if (p->mig && p->mig->peer->id == peer->id)
			mig_event(p->mig, event, 0);
	spin_unlock_bh(&lproc->lock);
}

void migrate_peer_down(struct lproc *lproc, struct peer *peer)
{
	peer_event(lproc, peer, EV_DOWN);
}

void migrate_peer_up(struct lproc *lproc, struct peer *peer)
{
	peer_event(lproc, peer, EV_UP);
}

void migrate_send(struct peer *peer, u32 type, u64 lproc, u64 proclet, u64 mig,
		  u64 epoch, s32 status, u64 ns)
{
	struct wire_mig *w;
	struct xport_msg *msg;

	w = msg_new(&msg, type, lproc, sizeof(*w));
	if (!w)
		return;
	w->proclet = cpu_to_le64(proclet);
	w->mig = cpu_to_le64(mig);
	w->epoch = cpu_to_le64(epoch);
	w->status = cpu_to_le32(status);
	w->ns = cpu_to_le64(ns);
	peer->node->ops->send(peer, msg);
}

static void mig_send(struct migration *m, u32 type, s32 status)
{
	migrate_send(m->peer, type, m->p->lproc->key, m->p->id, m->id,
		     m->p->epoch + 1, status, 0);
}

/* Errors that a destination may give as its reason. */
static int refusal(s32 status)
{
	switch (status) {
	case -ENOMEM:
	case -EBUSY:
	case -EHOSTUNREACH:
	case -EPROTO:
		return status;
	default:
		return -EREMOTEIO;
	}
}

/* Wait for one of @events; 0: it came, else why it will not. */
static int mig_wait(struct migration *m, u32 events)
{
	u32 got;

	events |= EV_REFUSE | EV_LOST | EV_END | EV_DYING;
	wait_event_timeout(m->wait, READ_ONCE(m->events) & events,
			   msecs_to_jiffies(answer_ms));
	got = READ_ONCE(m->events) & events;
	if (got & EV_END)
		return -ESHUTDOWN;
	if (got & EV_LOST)
		return -EHOSTUNREACH;
	if (got & EV_REFUSE)
		return refusal(READ_ONCE(m->status));
	if (got & EV_DYING)
		return -ESTALE;
	return got ? 0 : -ETIMEDOUT;
}

/* Ask the destination; nothing here has changed yet. */
static int mig_prepare(struct migration *m)
{
	struct proclet *p = m->p;
	u64 brk = READ_ONCE(p->heap->limit), npages;
	struct wire_prepare *w;
	struct xport_msg *msg;
	struct thread *t;
	u32 nthreads = 0;
	int err;

	w = msg_new(&msg, WIRE_PREPARE, p->lproc->key, sizeof(*w));
	if (!w)
		return -ENOMEM;
	/* It may be shrinking: not more pages than fit. */
	npages = min_t(u64, atomic_long_read(&p->heap->npages), brk >> PAGE_SHIFT);
	spin_lock_bh(&p->lproc->lock);
	list_for_each_entry(t, &p->threads, entry) {
		nthreads++;
		npages += atomic_long_read(&t->seg->npages);
	}
	spin_unlock_bh(&p->lproc->lock);
	w->proclet = cpu_to_le64(p->id);
	w->mig = cpu_to_le64(m->id);
	w->epoch = cpu_to_le64(p->epoch + 1);
	w->capacity = cpu_to_le64(p->capacity);
	w->brk = cpu_to_le64(brk);
	w->npages = cpu_to_le64(npages);
	w->flags = cpu_to_le32(p->flags);
	w->nthreads = cpu_to_le32(nthreads);
	err = m->peer->node->ops->send(m->peer, msg);
	if (err)
		return -EHOSTUNREACH;
	return mig_wait(m, EV_ACCEPT);
}

/* Off the ready list: calls wait in the inbox, threads stay with the proclet. */
static void unqueue_items(struct proclet *p)
{
	struct work_item *item, *tmp;

	list_for_each_entry_safe(item, tmp, &p->lproc->ready, entry) {
		if (item->proclet != p)
			continue;
		list_del_init(&item->entry);
		if (item->is_call)
			list_add_tail(&container_of(item, struct op, item)->entry,
				      &p->inbox);
	}
}

/* A page that somebody else holds must stay where it is. */
static bool pages_pinned(struct segment *seg)
{
	unsigned long index;
	struct page *page;

	xa_for_each(&seg->pages, index, page)
		if (page_count(page) != 1)
			return true;
	return false;
}

static int mig_freeze(struct migration *m)
{
	struct proclet *p = m->p;
	struct lproc *lproc = p->lproc;
	struct thread *t;
	int err;

	spin_lock_bh(&lproc->lock);
	if (p->state != PROCLET_PRESENT) {
		spin_unlock_bh(&lproc->lock);
		return -ESTALE;
	}
	proclet_set_state(p, PROCLET_FREEZING);
	unqueue_items(p);
	spin_unlock_bh(&lproc->lock);

	err = worker_freeze(p, ktime_add_ms(ktime_get(), READ_ONCE(freeze_ms)),
			    &m->move.parked);
	if (err)
		return err;
	segment_hide(p->heap);
	/* Nobody but us changes the list now: all its threads are stopped. */
	list_for_each_entry(t, &p->threads, entry) {
		segment_hide(t->seg);
		m->move.threads++;
	}
	if (pages_pinned(p->heap))
		return -EBUSY;
	list_for_each_entry(t, &p->threads, entry)
		if (pages_pinned(t->seg))
			return -EBUSY;

	spin_lock_bh(&lproc->lock);
	if (lproc->dying)
		err = -ESHUTDOWN;
	else
		proclet_set_state(p, PROCLET_MOVING);
	/*
	 * A reply that its thread has not seen yet goes after it if it has bytes,
	 * else with it.
	 */
	list_for_each_entry(t, &p->threads, entry) {
		if (err)
			continue;
		/* What the list says of it holds until it goes on, there or here. */
		waiter_disarm(lproc, &t->waiter);
		if (t->state != THREAD_REPLIED || !t->reply->payload.len)
			continue;
		waiter_postpone(lproc, &t->waiter);
		t->state = THREAD_WAITING;
		list_add_tail(&t->reply->entry, &p->inbox);
		t->reply = NULL;
	}
	spin_unlock_bh(&lproc->lock);
	return err;
}

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

/* Does this page of @seg travel? */
static bool page_travels(struct segment *seg, unsigned long index, unsigned long bottom)
{
	if (!seg->thread)
		return index < seg->limit >> PAGE_SHIFT;
	return index < PROCLET_STACK_GUARD >> PAGE_SHIFT || index >= bottom;
}

/* Add the pages of @seg to @m, and its extents at @ext if that is not NULL. */
static u32 list_pages(struct migration *m, struct segment *seg, struct wire_extent *ext)
{
	unsigned long bottom = seg->thread ? stack_bottom(seg->thread) : 0;
	unsigned long index, next = ULONG_MAX;
	struct page *page;
	u32 n = 0;

	xa_for_each(&seg->pages, index, page) {
		if (!page_travels(seg, index, bottom))
			continue;
		if (index != next) {
			if (ext) {
				ext[n].first = cpu_to_le32(index);
				ext[n].count = 0;
			}
			n++;
		}
		if (ext) {
			le32_add_cpu(&ext[n - 1].count, 1);
			m->pages[m->npages] = page;
		}
		m->npages++;
		next = index + 1;
	}
	return n;
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

static int by_address(void *priv, const struct list_head *a, const struct list_head *b)
{
	return list_entry(a, struct thread, entry)->seg->start >
	       list_entry(b, struct thread, entry)->seg->start;
}

/* Expose the pages and describe them; the order is that of struct wire_blob. */
static int mig_offer_build(struct migration *m)
{
	u32 nsegs = 1 + m->move.threads, nextents, n, i = 1;
	struct proclet *p = m->p;
	struct wire_extent *exts;
	struct wire_thread *wts;
	struct wire_blob *blob;
	struct wire_seg *segs;
	struct thread *t;
	u64 len;
	int err;

	/* In order: the destination can see that none comes twice. */
	spin_lock_bh(&p->lproc->lock);
	list_sort(NULL, &p->threads, by_address);
	spin_unlock_bh(&p->lproc->lock);
	nextents = list_pages(m, p->heap, NULL);
	list_for_each_entry(t, &p->threads, entry)
		nextents += list_pages(m, t->seg, NULL);
	m->pages = kvmalloc_array(m->npages, sizeof(*m->pages), GFP_KERNEL);
	len = sizeof(*blob) + (u64)nsegs * sizeof(*segs) + (u64)nextents * sizeof(*exts) +
	      (u64)(nsegs - 1) * sizeof(*wts);
	/* A descriptor is for at least one page. */
	if (len + (u64)m->npages / 64 * sizeof(struct wire_desc) > WIRE_BLOB_MAX)
		return -E2BIG;
	m->blob = kvzalloc(len + (m->npages + 1) * sizeof(struct wire_desc), GFP_KERNEL);
	if (!m->pages || !m->blob)
		return -ENOMEM;
	blob = m->blob;
	segs = (void *)(blob + 1);
	exts = (void *)(segs + nsegs);
	wts = (void *)(exts + nextents);

	m->npages = 0;
	n = list_pages(m, p->heap, exts);
	fill_seg(&segs[0], p->heap, n);
	list_for_each_entry(t, &p->threads, entry) {
		u32 more = list_pages(m, t->seg, exts + n);

		fill_seg(&segs[i], t->seg, more);
		fill_thread(&wts[i - 1], t);
		n += more;
		i++;
	}
	err = m->peer->node->ops->expose(m->peer, m->pages, m->npages, &m->mem);
	if (err)
		return err;
	m->exposed = true;
	if (m->mem.ndescs > m->npages)
		return -EINVAL;
	memcpy(wts + nsegs - 1, m->mem.descs, m->mem.ndescs * sizeof(struct wire_desc));
	m->blob_len = len + m->mem.ndescs * sizeof(struct wire_desc);
	blob->nsegs = cpu_to_le32(nsegs);
	blob->nextents = cpu_to_le32(nextents);
	blob->nthreads = cpu_to_le32(nsegs - 1);
	blob->ndescs = cpu_to_le32(m->mem.ndescs);
	m->move.bytes = (u64)m->npages << PAGE_SHIFT;
	return m->blob_len > WIRE_BLOB_MAX ? -E2BIG : 0;
}

static int mig_offer_send(struct migration *m)
{
	u32 tail = m->blob_len, ndescs = 0;
	struct wire_offer *w;
	struct xport_msg *msg;
	int err;

	if (m->blob_len > WIRE_MSG_MAX - sizeof(*w)) {
		err = payload_alloc(&m->blob_pages, m->blob_len);
		if (err)
			return err;
		if (!m->blob_pages.npages)
			return -EINVAL;
		payload_fill(&m->blob_pages, m->blob, m->blob_len);
		err = m->peer->node->ops->expose(m->peer, m->blob_pages.pages,
						 m->blob_pages.npages, &m->blob_mem);
		if (err)
			return err;
		m->blob_exposed = true;
		ndescs = m->blob_mem.ndescs;
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
	w->blob_len = cpu_to_le32(m->blob_len);
	w->ndescs = cpu_to_le32(ndescs);
	/* What would change it waits in the inbox since the freeze. */
	w->refs = cpu_to_le32(m->p->refs);
	memcpy(w + 1, ndescs ? (void *)m->blob_mem.descs : m->blob, tail);
	return m->peer->node->ops->send(m->peer, msg) ? -EHOSTUNREACH : 0;
}

static void mig_unexpose(struct migration *m)
{
	if (m->exposed)
		m->peer->node->ops->unexpose(&m->mem);
	if (m->blob_exposed)
		m->peer->node->ops->unexpose(&m->blob_mem);
	m->exposed = false;
	m->blob_exposed = false;
}

/* The proclet runs on here. */
static void mig_undo(struct migration *m)
{
	struct proclet *p = m->p;
	struct lproc *lproc = p->lproc;
	LIST_HEAD(inbox);
	struct thread *t;

	if (p->state != PROCLET_FREEZING && p->state != PROCLET_MOVING &&
	    p->state != PROCLET_INDOUBT)
		return;		/* it was never stopped */
	segment_show(p->heap);
	list_for_each_entry(t, &p->threads, entry) {
		WRITE_ONCE(t->seg->left, false);
		segment_show(t->seg);
	}
	spin_lock_bh(&lproc->lock);
	proclet_set_state(p, PROCLET_PRESENT);
	list_for_each_entry(t, &p->threads, entry) {
		if (t->state == THREAD_WAITING)
			waiter_arm(lproc, &t->waiter);
		else
			ready_add(lproc, &t->item);
	}
	list_splice_init(&p->inbox, &inbox);
	spin_unlock_bh(&lproc->lock);
	op_flush(lproc, &inbox);
}

/* Forget it: it runs at the destination, or nowhere (@to 0). */
static void mig_forget(struct migration *m, u32 to)
{
	struct proclet *p = m->p;
	struct lproc *lproc = p->lproc;
	u64 id = p->id, epoch = p->epoch + 1, start = p->heap->start, size = p->heap->size;
	bool home = PROCLET_ID_HOME(id) == lproc->node->id, ended;
	struct thread *t, *tmp;
	LIST_HEAD(threads);

	/* First, so that what waits for it here finds the way. */
	if (to && !READ_ONCE(p->ended))
		location_set(lproc, id, epoch, to, lproc->node->id);
	spin_lock_bh(&lproc->lock);
	list_splice_init(&p->threads, &threads);
	list_for_each_entry(t, &threads, entry)
		futex_forget(t);
	spin_unlock_bh(&lproc->lock);
	list_for_each_entry_safe(t, tmp, &threads, entry) {
		list_del_init(&t->entry);
		if (t->reply)
			op_free(t->reply);
		segment_remove(t->seg);
	}
	spin_lock_bh(&lproc->lock);
	proclet_set_state(p, PROCLET_ABSENT);
	p->mig = NULL;
	if (to) {
		lproc->stats.moved_out++;
		event_add(lproc, PROCLET_EVENT_MOVED_OUT, to, id);
		lproc->stats.bytes_out += m->move.bytes;
	}
	ended = !to || p->ended;
	spin_unlock_bh(&lproc->lock);
	if (ended)
		location_erase(lproc, id);
	proclet_discard(p);
	if (ended && home)
		heap_slot_free(lproc, start, size);
	else if (!to)
		proclet_announce(lproc, id, epoch, 0, 0);
}

/*
 * COMMIT is out and the connection is gone: the destination may run it, so we
 * do not. When it is connected again it knows.
 */
static int mig_in_doubt(struct migration *m)
{
	struct proclet *p = m->p;
	struct lproc *lproc = p->lproc;
	struct op *op, *tmp;
	LIST_HEAD(requests);
	u32 events;

	spin_lock_bh(&lproc->lock);
	proclet_set_state(p, PROCLET_INDOUBT);
	m->events &= ~(EV_LOST | EV_STATUS);
	memset(&m->token, 0, sizeof(m->token));
	list_for_each_entry_safe(op, tmp, &p->inbox, entry)
		if (!op->is_reply)
			list_move_tail(&op->entry, &requests);
	spin_unlock_bh(&lproc->lock);
	pr_warn("proclet: node %u: proclet %llx: node %u was lost while it took it over; in doubt until it is back\n",
		lproc->node->id, p->id, m->peer->id);
	op_flush(lproc, &requests);
	if (m->op) {
		op_reply(m->op, -ECONNRESET, NULL, 0);
		m->op = NULL;
	}
	/* If only its member was lost, it can tell at once. */
	if (READ_ONCE(m->peer->up) && m->peer->incarnation == m->incarnation)
		mig_send(m, WIRE_QUERY, 0);
	for (;;) {
		wait_event(m->wait, READ_ONCE(m->events) &
			   (EV_UP | EV_STATUS | EV_ACTIVE | EV_END));
		spin_lock_bh(&lproc->lock);
		events = m->events;
		m->events &= ~(EV_UP | EV_LOST);
		spin_unlock_bh(&lproc->lock);
		if (events & EV_END)
			return -ESHUTDOWN;
		if (events & EV_ACTIVE)
			return 0;
		if (events & EV_STATUS)
			return m->status == 1 ? 0 :
			       m->status == 0 ? -EHOSTUNREACH : -ENOENT;
		/* Another incarnation does not know of it: it died with the old. */
		if (m->peer->incarnation != m->incarnation)
			return -ENOENT;
		mig_send(m, WIRE_QUERY, 0);
	}
}

static u64 since(ktime_t *t)
{
	ktime_t now = ktime_get(), start = *t;

	*t = now;
	return ktime_to_ns(ktime_sub(now, start));
}

#define mig_trace(m, phase, ns, err)						\
	trace_proclet_migrate((m)->p->lproc->node->id, (m)->p->id, (m)->id,	\
			      (m)->peer->id, MIGRATE_##phase, ns, err)

static int mig_run(struct migration *m)
{
	struct proclet_move *move = &m->move;
	ktime_t start, t = ktime_get();
	struct thread *thread;
	int err;

	err = mig_prepare(m);
	move->prepare_ns = since(&t);
	mig_trace(m, PREPARE, move->prepare_ns, err);
	if (err)
		return err;
	start = t;
	err = mig_freeze(m);
	move->freeze_ns = since(&t);
	mig_trace(m, FREEZE, move->freeze_ns, err);
	if (err)
		return err;
	err = mig_offer_build(m);
	move->offer_ns = since(&t);
	mig_trace(m, OFFER, move->offer_ns, err);
	if (err)
		return err;
	err = mig_offer_send(m);
	if (!err)
		err = mig_wait(m, EV_READY);
	move->pull_ns = since(&t);
	mig_trace(m, PULL, move->pull_ns, err);
	if (err)
		return err;
	list_for_each_entry(thread, &m->p->threads, entry)
		WRITE_ONCE(thread->seg->left, true);
	mig_send(m, WIRE_COMMIT, 0);
	/* The point of no return. */
	wait_event(m->wait, READ_ONCE(m->events) & (EV_ACTIVE | EV_LOST | EV_END));
	move->commit_ns = since(&t);
	move->blackout_ns = ktime_to_ns(ktime_sub(t, start));
	if (!(READ_ONCE(m->events) & EV_ACTIVE))
		err = READ_ONCE(m->events) & EV_END ? -ESHUTDOWN : mig_in_doubt(m);
	mig_trace(m, COMMIT, move->commit_ns, err);
	return err;
}

static void mig_free(struct migration *m)
{
	kvfree(m->pages);
	kvfree(m->blob);
	payload_free(&m->blob_pages);
	peer_put(m->peer);
	proclet_put(m->p);
	kfree(m);
}

static void migrate_fn(struct work_struct *work)
{
	struct migration *m = container_of(work, struct migration, work);
	struct proclet *p = m->p;
	struct lproc *lproc = p->lproc;
	bool told, empty;
	struct op *op;
	int err;

	err = mig_run(m);
	if (err == -ENOTCONN)
		err = -EHOSTUNREACH;	/* lost before anybody told us */
	told = !m->op;		/* in doubt, and now decided */
	op = m->op;
	if (err) {
		if (!told)
			mig_send(m, WIRE_ABORT, err);
		/*
		 * The destination may be reading still, even if one of the members
		 * has gone: it answers when it no longer is. Pages taken away from
		 * a READ would cost the connection, and all that use it.
		 */
		if (m->exposed)
			wait_event(m->wait, READ_ONCE(m->events) &
				   (EV_REFUSE | EV_READY | EV_DOWN));
	}
	mig_unexpose(m);
	mig_trace(m, DONE, m->move.blackout_ns, err);
	if (!err || err == -ENOENT) {
		mig_forget(m, err ? 0 : m->peer->id);
	} else {
		if (err != -ESHUTDOWN)
			mig_undo(m);
		spin_lock_bh(&lproc->lock);
		p->mig = NULL;
		lproc->stats.aborted++;
		/* Destroyed meanwhile: we kept it from being freed. */
		empty = err != -ESHUTDOWN && worker_check_dying(p);
		spin_unlock_bh(&lproc->lock);
		if (empty)
			proclet_free(p);
	}
	if (op) {
		if (err == -ESHUTDOWN)
			op_free(op);
		else
			op_reply(op, err, &m->move, err ? 0 : sizeof(m->move));
	}
	kref_get(&lproc->ref);
	mig_free(m);
	lproc_moves_put(lproc);
}

static int migrate_begin(struct op *op, struct proclet *p, u32 to)
{
	struct lproc *lproc = p->lproc;
	struct migration *m;
	int err = 0;

	if (to < 1 || to > PROCLET_MAX_NODES)
		return -EHOSTUNREACH;
	m = kzalloc(sizeof(*m), GFP_KERNEL_ACCOUNT);
	if (!m)
		return -ENOMEM;
	INIT_WORK(&m->work, migrate_fn);
	init_waitqueue_head(&m->wait);
	m->p = p;
	m->op = op;
	m->token = op->token;
	m->id = (u64)atomic64_inc_return(&mig_ids) << 8 | lproc->node->id;
	m->peer = peer_get(lproc->node, to);
	if (!m->peer) {
		kfree(m);
		return -EHOSTUNREACH;
	}
	m->incarnation = m->peer->incarnation;
	spin_lock_bh(&lproc->lock);
	if (lproc->dying)
		err = -ESHUTDOWN;
	else if (p->flags & PROCLET_CREATE_PINNED || p->mig)
		err = -EBUSY;
	else if (!(lproc->members & node_bit(to)))
		err = -EHOSTUNREACH;
	else if (p->state != PROCLET_PRESENT)
		err = -ESTALE;
	if (!err) {
		p->mig = m;
		atomic_inc(&lproc->moves);
	}
	spin_unlock_bh(&lproc->lock);
	if (err) {
		peer_put(m->peer);
		kfree(m);
		return err;
	}
	/* It waits for answers: not on the queue of those who give them. */
	queue_work(lproc->node->move_wq, &m->work);
	return 0;
}

/* A request to move @p arrived where it is. Takes over both references. */
void migrate_request(struct op *op, struct proclet *p)
{
	struct proclet_migrate_args args;
	struct proclet_move none = {};
	int err = -EINVAL;

	if (op->payload.len == sizeof(args)) {
		payload_read(&op->payload, &args, sizeof(args));
		if (!args.flags)
			err = 0;
	}
	if (!err && args.node == p->lproc->node->id) {
		op_reply(op, 0, &none, sizeof(none));
		proclet_put(p);
		return;
	}
	if (!err)
		err = migrate_begin(op, p, args.node);
	if (!err)
		return;
	op_reply(op, err, NULL, 0);
	proclet_put(p);
}
