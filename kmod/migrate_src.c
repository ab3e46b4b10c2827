// SPDX-License-Identifier: GPL-2.0
/*
 * Migration, the source's side (DESIGN section 6): one work item drives one
 * migration from PREPARE to ACTIVE or back. Until COMMIT is sent, or the last offer of
 * a post-copy, everything can be taken back.
 */
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include "compat.h"
#include "migrate.h"
#include "trace.h"

static unsigned int freeze_ms = 1000;
module_param(freeze_ms, uint, 0644);
MODULE_PARM_DESC(freeze_ms, "longest time to wait for a proclet's threads to park (ms)");

static unsigned int answer_ms = 30000;
module_param(answer_ms, uint, 0644);
MODULE_PARM_DESC(answer_ms, "longest time to wait for the destination's answers (ms)");

static unsigned int move_mode;
module_param(move_mode, uint, 0644);
MODULE_PARM_DESC(move_mode, "how proclets move if no mode is asked for: 1: stop-and-copy, 2: pre-copy, 3: post-copy; 0: as stop_pages says");

static unsigned int stop_pages = 256;
module_param(stop_pages, uint, 0644);
MODULE_PARM_DESC(stop_pages, "a heap of up to so many pages moves by stop-and-copy, a larger one by pre-copy, or post-copy if write_percent says so");

static unsigned int write_percent = 50;
module_param(write_percent, uint, 0644);
MODULE_PARM_DESC(write_percent, "a heap moves by post-copy rather than pre-copy if more than so much of it would be written while it is copied");

#define PRECOPY_ROUNDS	5
#define EARLY_FEW	64	/* pages not worth being offered early to be read later */
#define PRECOPY_FEW	16	/* pages not worth a round */
#define PERCENT_MAX	10000U
#define PAGE_NS		1000U	/* to copy a page, as long as nothing is known */
#define PAGE_NS_MAX	100000U
#define LEARN_PAGES	64	/* of fewer, the time is that of messages */

/* What the destination, or its loss, has told us: bits of migration.events. */
#define EV_ACCEPT	BIT(0)
#define EV_REFUSE	BIT(1)
#define EV_READY	BIT(2)
#define EV_ACTIVE	BIT(3)
#define EV_STATUS	BIT(4)
#define EV_LOST		BIT(5)
#define EV_UP		BIT(6)	/* the peer is connected again */
#define EV_END		BIT(7)	/* our own member goes */
#define EV_DYING	BIT(8)	/* the proclet has been destroyed meanwhile */
#define EV_DOWN		BIT(9)	/* the connection, not only the member, was lost */
#define EV_COPIED	BIT(10)
#define EV_FETCHED	BIT(11)	/* the tail of a post-copy */
#define EV_WHOLE	BIT(12)	/* so has the one that brought the proclet here */

#define mig_step(m, step)	step_reach((m)->p->lproc->node, STEP_SRC_##step)

static atomic64_t mig_ids;

static void mig_event(struct migration *m, u32 event, s32 status)
{
	lockdep_assert_held(&m->p->lproc->lock);
	m->events |= event;
	if (event & (EV_REFUSE | EV_STATUS))
		m->status = status;
	wake_up(&m->wait);
}

/* The one to @peer under this number, at work or with pages still to be read. */
static struct migration *mig_find(struct lproc *lproc, struct peer *peer, u64 id, u64 mig)
{
	struct proclet *p = proclet_here(lproc, id);
	struct migration *m;

	if (p && p->mig && p->mig->peer->id == peer->id && p->mig->id == mig)
		return p->mig;
	list_for_each_entry(m, &lproc->donors, donor)
		if (m->id == mig && m->peer->id == peer->id)
			return m;
	return NULL;
}

/* The destination's answer; false: no migration of ours waits for it. */
bool migrate_src_hear(struct lproc *lproc, struct peer *peer, u32 type,
		      const struct wire_mig *w)
{
	static const u32 events[WIRE_TYPES] = {
		[WIRE_ACCEPT] = EV_ACCEPT,
		[WIRE_REFUSE] = EV_REFUSE,
		[WIRE_COPIED] = EV_COPIED,
		[WIRE_READY] = EV_READY,
		[WIRE_ACTIVE] = EV_ACTIVE,
		[WIRE_FETCHED] = EV_FETCHED,
		[WIRE_STATUS] = EV_STATUS,
	};
	struct migration *m;

	spin_lock_bh(&lproc->lock);
	m = mig_find(lproc, peer, le64_to_cpu(w->proclet), le64_to_cpu(w->mig));
	if (m) {
		if (type == WIRE_ACTIVE)
			m->move.resume_ns = le64_to_cpu(w->ns);
		mig_event(m, events[type], (s32)le32_to_cpu(w->status));
	}
	spin_unlock_bh(&lproc->lock);
	return m;
}

void migrate_src_recv(struct lproc *lproc, struct peer *peer, u32 type,
		      const struct wire_mig *w)
{
	bool known = migrate_src_hear(lproc, peer, type, w);

	/* It was given up before the answer came: let go of it. */
	if (!known && (type == WIRE_ACCEPT || type == WIRE_COPIED || type == WIRE_READY))
		migrate_send(peer, WIRE_ABORT, lproc->key, le64_to_cpu(w->proclet),
			     le64_to_cpu(w->mig), 0, -ECANCELED, 0);
}

/* The member on @node has gone; 0: our own goes. */
void migrate_src_lost(struct lproc *lproc, u32 node)
{
	struct migration *m;
	unsigned long index;
	struct proclet *p;

	spin_lock_bh(&lproc->lock);
	xa_for_each(&lproc->proclets, index, p)
		if (p->mig && (!node || p->mig->peer->id == node))
			mig_event(p->mig, node ? EV_LOST : EV_END, 0);
	list_for_each_entry(m, &lproc->donors, donor)
		if (!node)
			mig_event(m, EV_END, 0);
	spin_unlock_bh(&lproc->lock);
}

void migrate_src_dying(struct proclet *p)
{
	if (p->mig)
		mig_event(p->mig, EV_DYING, 0);
}

/* It has moved on from where we have sent it, so it arrived there. */
void migrate_src_news(struct proclet *p)
{
	if (p->mig && p->mig->given)
		mig_event(p->mig, EV_ACTIVE, 0);
}

/* The memory of @id is here now, or what is not here has been lost. */
void migrate_tail_ended(struct lproc *lproc, u64 id, bool whole)
{
	struct proclet *p;

	spin_lock_bh(&lproc->lock);
	p = proclet_here(lproc, id);
	if (p && p->mig)
		mig_event(p->mig, whole ? EV_WHOLE : EV_DYING, 0);
	spin_unlock_bh(&lproc->lock);
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
	struct migration *m;
	struct proclet *p;

	spin_lock_bh(&lproc->lock);
	xa_for_each(&lproc->proclets, index, p)
		if (p->mig && p->mig->peer->id == peer->id)
			mig_event(p->mig, event, 0);
	list_for_each_entry(m, &lproc->donors, donor)
		if (m->peer->id == peer->id)
			mig_event(m, event, 0);
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

/* Has something come between? */
static int mig_failed(struct migration *m)
{
	u32 got = READ_ONCE(m->events);

	if (got & EV_END)
		return -ESHUTDOWN;
	if (got & EV_LOST)
		return -EHOSTUNREACH;
	if (got & EV_REFUSE)
		return refusal(READ_ONCE(m->status));
	return got & EV_DYING ? -ESTALE : 0;
}

/* Wait for one of @events; 0: it came, else why it will not. */
static int mig_wait(struct migration *m, u32 events)
{
	int err;

	wait_event_timeout(m->wait, READ_ONCE(m->events) &
			   (events | EV_REFUSE | EV_LOST | EV_END | EV_DYING),
			   msecs_to_jiffies(answer_ms));
	err = mig_failed(m);
	if (err)
		return err;
	return READ_ONCE(m->events) & events ? 0 : -ETIMEDOUT;
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
	mig_step(m, PREPARE);
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

/* No thread of it runs, and nothing reaches its memory. */
static int mig_stop(struct migration *m)
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

	mig_step(m, FREEZE);
	err = worker_freeze(p, ktime_add_ms(ktime_get(), READ_ONCE(freeze_ms)),
			    &m->move.parked);
	if (err)
		return err;
	if (m->dirty)
		mig_early_written(m);	/* before it is unmapped */
	segment_hide(p->heap);
	/* Nobody but us changes the list now: all its threads are stopped. */
	list_for_each_entry(t, &p->threads, entry) {
		segment_hide(t->seg);
		m->move.threads++;
	}
	return 0;
}

static int mig_freeze(struct migration *m)
{
	struct proclet *p = m->p;
	struct lproc *lproc = p->lproc;
	struct thread *t;
	int err;

	err = mig_stop(m);
	if (err)
		return err;
	if (mig_pages_pinned(m))
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
	if (!err)
		mig_step(m, MOVING);
	return err;
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

/* It came to nothing: @err says why. */
static void mig_give_up(struct migration *m, int err)
{
	struct proclet *p = m->p;
	struct lproc *lproc = p->lproc;
	bool empty;

	segment_unwatch(p->heap);
	if (err != -ESHUTDOWN)
		mig_undo(m);
	spin_lock_bh(&lproc->lock);
	p->mig = NULL;
	/* Destroyed meanwhile: we kept it from being freed. */
	empty = err != -ESHUTDOWN && worker_check_dying(p);
	spin_unlock_bh(&lproc->lock);
	if (empty)
		proclet_free(p);
}

/*
 * It is no more here, but at the destination; or lost with that (@lost), unless it has moved
 * on before: as nobody can know that, its home goes on looking for it there, gives its
 * addresses to nobody, and believes who says that he has it.
 */
static void mig_forget(struct migration *m, bool lost)
{
	struct proclet *p = m->p;
	struct lproc *lproc = p->lproc;
	u64 id = p->id, epoch = p->epoch + 1, start = p->heap->start, size = p->heap->size;
	bool home = PROCLET_ID_HOME(id) == lproc->node->id, ended;
	struct thread *t, *tmp;
	LIST_HEAD(threads);

	/* First, so that what waits for it here finds the way. */
	if ((!lost || home) && !READ_ONCE(p->ended))
		location_set(lproc, id, epoch, m->peer->id, 0, lproc->node->id);
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
	if (m->tail)
		list_add_tail(&m->donor, &lproc->donors);
	if (!lost) {
		lproc->stats.moved_out++;
		event_add(lproc, PROCLET_EVENT_MOVED_OUT, m->peer->id, id);
		lproc->stats.bytes_out += m->move.bytes;
	}
	ended = p->ended;
	spin_unlock_bh(&lproc->lock);
	if (ended)
		location_erase(lproc, id);
	proclet_discard(p);
	if (ended && home)
		heap_slot_free(lproc, start, size);
	else if (ended)
		proclet_announce(lproc, id, epoch, 0, 0);
}

/*
 * It was given away and the connection is gone: the destination may run it, so we
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
	mig_step(m, DOUBT);
	if (m->op) {
		op_reply(m->op, -ECONNRESET, NULL, 0);
		m->op = NULL;
	}
	/* If only its member was lost, it can tell at once. */
	if (READ_ONCE(m->peer->up) && m->peer->incarnation == m->incarnation)
		mig_send(m, WIRE_QUERY, 0);
	for (;;) {
		wait_event(m->wait, READ_ONCE(m->events) &
			   (EV_UP | EV_STATUS | EV_ACTIVE | EV_REFUSE | EV_END));
		spin_lock_bh(&lproc->lock);
		events = m->events;
		m->events &= ~(EV_UP | EV_LOST);
		spin_unlock_bh(&lproc->lock);
		if (events & EV_END)
			return -ESHUTDOWN;
		if (events & EV_ACTIVE)
			return 0;
		if (events & EV_REFUSE)
			return -EHOSTUNREACH;
		if (events & EV_STATUS)
			return m->status == 1 ? 0 :
			       m->status == 0 ? -EHOSTUNREACH : -ENOENT;
		/* Another incarnation does not know of it: it died with the old. */
		if (m->peer->incarnation != m->incarnation)
			return -ENOENT;
		mig_send(m, WIRE_QUERY, 0);
	}
}

/* It was given away: from here on only the destination knows whether it runs there. */
static int mig_given(struct migration *m)
{
	u32 got;

	wait_event(m->wait, (got = READ_ONCE(m->events)) &
		   (EV_ACTIVE | EV_REFUSE | EV_LOST | EV_END));
	if (got & EV_ACTIVE)
		return 0;
	if (got & EV_END)
		return -ESHUTDOWN;
	return got & EV_REFUSE ? refusal(READ_ONCE(m->status)) : mig_in_doubt(m);
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

static void mig_chosen(struct migration *m, u32 mode, u32 why)
{
	m->move.mode = mode;
	m->move.why = why;
	trace_proclet_migrate_mode(m->p->lproc->node->id, m->p->id, m->id, mode, why,
				   atomic_long_read(&m->p->heap->npages));
}

static bool mig_durable(const struct migration *m)
{
	return m->p->flags & PROCLET_CREATE_DURABLE_MOVE;
}

/* Choose, if the request does not. */
static void mig_choose(struct migration *m)
{
	u32 param = READ_ONCE(move_mode);

	if (m->move.mode != PROCLET_MOVE_AUTO)
		mig_chosen(m, m->move.mode, PROCLET_WHY_ASKED);
	else if (param == PROCLET_MOVE_POSTCOPY && mig_durable(m))
		mig_chosen(m, PROCLET_MOVE_PRECOPY, PROCLET_WHY_DURABLE);
	else if (param && param <= PROCLET_MOVE_POSTCOPY)
		mig_chosen(m, param, PROCLET_WHY_PARAMETER);
	else if (atomic_long_read(&m->p->heap->npages) <= READ_ONCE(stop_pages))
		mig_chosen(m, PROCLET_MOVE_STOP, PROCLET_WHY_SIZE);
	else
		m->weigh = true;	/* mig_weigh() decides */
}

/* The destination has read so many pages in @ns. */
static void mig_learn(struct migration *m, u64 pages, u64 ns)
{
	u32 old = READ_ONCE(m->peer->page_ns), new;

	if (pages < LEARN_PAGES)
		return;
	new = min_t(u64, div64_u64(ns, pages), PAGE_NS_MAX);
	WRITE_ONCE(m->peer->page_ns, old ? (3 * old + new) / 4 : new);
}

/*
 * What was written while the destination was asked, in @ns, tells how much will be while
 * the heap is copied: pre-copy is of no use if that is too much.
 */
static void mig_weigh(struct migration *m, u64 ns)
{
	u64 copy = (u64)m->early.n * (READ_ONCE(m->peer->page_ns) ?: PAGE_NS) / 1000 + 1;
	u32 percent = min(READ_ONCE(write_percent), PERCENT_MAX);
	u64 dirty = mig_early_dirty(m);

	/* All in us: no product is larger than 64 bits. */
	if (100 * dirty * copy <= (u64)m->early.n * percent * div_u64(ns, 1000)) {
		mig_chosen(m, PROCLET_MOVE_PRECOPY, PROCLET_WHY_SIZE);
	} else if (mig_durable(m)) {
		mig_chosen(m, PROCLET_MOVE_PRECOPY, PROCLET_WHY_DURABLE);
	} else {
		mig_early_untrack(m);
		mig_chosen(m, PROCLET_MOVE_POSTCOPY, PROCLET_WHY_WRITES);
	}
}

/* Tell the destination of the early pages, and wait until it has them. */
static int mig_early_round(struct migration *m, bool all)
{
	int err = mig_offer_early(m, all);

	if (err <= 0)
		return err;
	spin_lock_bh(&m->p->lproc->lock);
	m->events &= ~EV_COPIED;
	spin_unlock_bh(&m->p->lproc->lock);
	err = mig_offer_send(m, WIRE_OFFER_EARLY | (m->dirty ? WIRE_OFFER_READ : 0) |
				(m->tail ? WIRE_OFFER_TAIL : 0));
	if (err)
		return err;
	mig_step(m, EARLY);
	return mig_wait(m, EV_COPIED);
}

/*
 * What can be done while the proclet runs: for stop-and-copy and post-copy, the
 * destination learns where the heap's pages will be, if they are many; for pre-copy, it
 * reads them, and what was written meanwhile, as long as that becomes less.
 */
static int mig_early(struct migration *m)
{
	u32 before, dirty;
	u64 bytes;
	ktime_t t;
	int err;

	err = m->early.pages ? 0 : mig_early_list(m);
	if (err || !m->early.n)
		return err;
	err = mig_early_expose(m);
	if (err)
		return err;
	if (m->move.mode == PROCLET_MOVE_STOP && m->early.n <= EARLY_FEW)
		return 0;
	m->told = true;
	m->tail = m->move.mode == PROCLET_MOVE_POSTCOPY;
	if (m->move.mode == PROCLET_MOVE_PRECOPY && !m->dirty) {
		err = mig_early_track(m);
		if (err)
			return err;
	}
	before = m->early.n;
	for (;;) {
		bytes = m->move.bytes;
		t = ktime_get();
		err = mig_early_round(m, !m->move.rounds);
		if (err || !m->dirty)
			return err;
		mig_learn(m, (m->move.bytes - bytes) >> PAGE_SHIFT, since(&t));
		m->move.rounds++;
		dirty = mig_early_dirty(m);
		if (dirty <= PRECOPY_FEW || dirty > before / 2 ||
		    m->move.rounds == PRECOPY_ROUNDS)
			return 0;
		before = dirty;
	}
}

/* The point of no return: their addresses can come back before we have forgotten them. */
static void mig_give(struct migration *m)
{
	struct thread *t;

	list_for_each_entry(t, &m->p->threads, entry)
		WRITE_ONCE(t->seg->left, true);
	spin_lock_bh(&m->p->lproc->lock);
	m->given = true;
	spin_unlock_bh(&m->p->lproc->lock);
}

static int mig_run(struct migration *m)
{
	struct proclet_move *move = &m->move;
	ktime_t start, t;
	int err;

	/* It moves on when all of it is here. */
	err = tail_hurry(m->p->heap) ? mig_wait(m, EV_WHOLE) : 0;
	if (err)
		return err;
	mig_choose(m);
	if (m->weigh)
		err = mig_early_list(m) ?: mig_early_track(m);
	if (err)
		return err;
	t = ktime_get();
	err = mig_prepare(m);
	move->prepare_ns = since(&t);
	mig_trace(m, PREPARE, move->prepare_ns, err);
	if (err)
		return err;
	if (m->weigh)
		mig_weigh(m, move->prepare_ns);
	err = mig_early(m) ?: mig_stacks_expose(m) ?: mig_offer_reserve(m);
	move->early_ns = since(&t);
	mig_trace(m, EARLY, move->early_ns, err);
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
	err = mig_failed(m);
	if (err)
		return err;
	/* A proclet that leaves its memory behind is given away with the offer. */
	if (m->tail)
		mig_give(m);
	err = mig_offer_send(m, m->tail ? WIRE_OFFER_TAIL : 0);
	if (!err)
		mig_step(m, OFFER);
	if (!err)
		err = m->tail ? mig_given(m) : mig_wait(m, EV_READY);
	move->pull_ns = since(&t);
	mig_trace(m, PULL, move->pull_ns, err);
	if (!err && !m->tail) {
		mig_learn(m, move->late_bytes >> PAGE_SHIFT, move->pull_ns);
		mig_give(m);
		mig_step(m, READY);
		mig_send(m, WIRE_COMMIT, 0);
		mig_step(m, COMMIT);
		err = mig_given(m);
		move->commit_ns = since(&t);
		mig_trace(m, COMMIT, move->commit_ns, err);
	}
	move->blackout_ns = ktime_to_ns(ktime_sub(t, start));
	return err;
}

/* For debugfs: how a migration went that succeeded. */
static void mig_measure(struct migration *m)
{
	struct pnode *node = m->p->lproc->node;
	struct proclet_move *move = &m->move;

	hist_add(node, HIST_PREPARE, move->prepare_ns);
	hist_add(node, HIST_EARLY, move->early_ns);
	hist_add(node, HIST_FREEZE, move->freeze_ns);
	hist_add(node, HIST_OFFER, move->offer_ns);
	hist_add(node, HIST_PULL, move->pull_ns);
	if (!m->tail)
		hist_add(node, HIST_COMMIT, move->commit_ns);
	hist_add(node, HIST_RESUME, move->resume_ns);
	hist_add(node, HIST_BLACKOUT, move->blackout_ns);
}

static void mig_free(struct migration *m)
{
	peer_put(m->peer);
	proclet_put(m->p);
	kfree(m);
}

/*
 * Wait until the destination has said that it no longer reads. When our own member goes,
 * whose end waits for that, it does not have for ever: then its connection is lost.
 */
static void mig_let_go(struct migration *m, u32 said)
{
	said |= EV_DOWN;
	wait_event(m->wait, READ_ONCE(m->events) & (said | EV_END));
	if (wait_event_timeout(m->wait, READ_ONCE(m->events) & said,
			       msecs_to_jiffies(READ_ONCE(answer_ms))))
		return;
	pr_warn("proclet: node %u: node %u does not let go of proclet %llx, dropping the connection\n",
		m->p->lproc->node->id, m->peer->id, m->p->id);
	m->peer->node->ops->peer_kick(m->peer);
	wait_event(m->wait, READ_ONCE(m->events) & said);
}

/* It runs at the destination, which still reads pages of its heap here. */
static void mig_donate(struct migration *m)
{
	struct lproc *lproc = m->p->lproc;
	ktime_t start = ktime_get();

	/* It says so also when it does not want them any more. */
	mig_let_go(m, EV_FETCHED);
	spin_lock_bh(&lproc->lock);
	list_del(&m->donor);
	spin_unlock_bh(&lproc->lock);
	hist_add(lproc->node, HIST_TAIL, since(&start));
	mig_pages_end(m);
}

static void migrate_fn(struct work_struct *work)
{
	struct migration *m = container_of(work, struct migration, work);
	struct proclet *p = m->p;
	struct lproc *lproc = p->lproc;
	struct charge charge;
	bool told;
	struct op *op;
	int err;

	charge_begin(&charge, lproc);
	err = mig_run(m);
	charge_end(&charge);
	if (err == -ENOTCONN)
		err = -EHOSTUNREACH;	/* lost before anybody told us */
	told = !m->op;		/* in doubt, and now decided */
	op = m->op;
	if (!err) {
		mig_step(m, ACTIVE);
	} else {
		mig_step(m, ABORT);
		if (!told)
			mig_send(m, WIRE_ABORT, err);
		/*
		 * The destination may be reading still, even if one of the members
		 * has gone: it answers when it no longer is (EV_FETCHED: what was
		 * given away before we knew). Pages taken away from a READ would cost
		 * the connection, and all that use it.
		 */
		if (mig_readable(m))
			mig_let_go(m, EV_REFUSE | EV_READY | EV_FETCHED);
		m->tail = false;
	}
	if (m->tail)
		mig_pages_taken(m);
	else
		mig_pages_end(m);
	mig_trace(m, DONE, m->move.blackout_ns, err);
	trace_proclet_migrated(lproc->node->id, p->id, m->id, m->peer->id, &m->move, err);
	/* After doubt, nobody knows when it went on. */
	if (!err && !told)
		mig_measure(m);
	if (!err || err == -ENOENT) {
		mig_forget(m, err);
		mig_step(m, ABSENT);
	} else {
		spin_lock_bh(&lproc->lock);
		lproc->stats.aborted++;
		spin_unlock_bh(&lproc->lock);
		mig_give_up(m, err);
	}
	if (op) {
		if (err == -ESHUTDOWN)
			op_free(op);
		else
			op_reply(op, err, &m->move, err ? 0 : sizeof(m->move));
	}
	if (m->tail)
		mig_donate(m);
	kref_get(&lproc->ref);
	mig_free(m);
	lproc_moves_put(lproc);
}

/*
 * @p cannot go on: part of its memory has been lost with @peer, where it was. Who has
 * called it learns that it may have been executed. -EBUSY: a thread cannot be stopped now.
 */
int migrate_kill(struct proclet *p, struct peer *peer)
{
	struct lproc *lproc = p->lproc;
	struct proclet_token caller;
	struct proclet_tcb *tcb;
	struct migration *m;
	struct thread *t;
	struct op *op;
	int err = 0;

	m = kzalloc(sizeof(*m), GFP_KERNEL | __GFP_NOFAIL);
	init_waitqueue_head(&m->wait);
	m->p = p;
	m->peer = peer;
	spin_lock_bh(&lproc->lock);
	if (lproc->dying || p->state != PROCLET_PRESENT)
		err = -ESTALE;
	else if (p->mig)
		err = -EBUSY;
	else
		p->mig = m;
	spin_unlock_bh(&lproc->lock);
	if (err)
		goto free;
	err = mig_stop(m);
	if (err) {
		mig_give_up(m, err);
		goto free;
	}
	spin_lock_bh(&lproc->lock);
	proclet_set_state(p, PROCLET_MOVING);
	p->ended = true;
	list_for_each_entry(t, &p->threads, entry)
		waiter_disarm(lproc, &t->waiter);
	spin_unlock_bh(&lproc->lock);
	list_for_each_entry(t, &p->threads, entry) {
		tcb = thread_tcb(t);
		if (tcb)
			caller = tcb->caller;
		if (!tcb || !token_ok(&caller))
			continue;
		op = op_alloc(lproc, GFP_KERNEL | __GFP_NOFAIL);
		op->is_reply = true;
		op->token = caller;
		op->result = -ECONNRESET;
		op_route(op);
	}
	mig_forget(m, true);
free:
	kfree(m);
	return err;
}

static int migrate_begin(struct op *op, struct proclet *p, u32 to, u32 mode)
{
	struct lproc *lproc = p->lproc;
	struct migration *m;
	int err = 0;

	if (to < 1 || to > PROCLET_MAX_NODES)
		return -EHOSTUNREACH;
	m = kzalloc(sizeof(*m), GFP_MEMBER);
	if (!m)
		return -ENOMEM;
	INIT_WORK(&m->work, migrate_fn);
	INIT_LIST_HEAD(&m->donor);
	init_waitqueue_head(&m->wait);
	m->p = p;
	m->op = op;
	m->token = op->token;
	m->move.mode = mode;
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
	else if (p->flags & PROCLET_CREATE_PINNED || p->mig || p->epoch >= WIRE_EPOCH_MAX)
		err = -EBUSY;
	else if (!(lproc->members & node_bit(to)))
		err = -EHOSTUNREACH;
	else if (p->state != PROCLET_PRESENT)
		err = -EAGAIN;	/* has just left, or ends */
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
		if (args.flags <= PROCLET_MOVE_POSTCOPY)
			err = 0;
	}
	if (!err && args.node == p->lproc->node->id) {
		op_reply(op, 0, &none, sizeof(none));
		proclet_put(p);
		return;
	}
	if (!err)
		err = migrate_begin(op, p, args.node, args.flags);
	if (!err)
		return;
	if (err == -EAGAIN)
		op_route(op);
	else
		op_reply(op, err, NULL, 0);
	proclet_put(p);
}
