// SPDX-License-Identifier: GPL-2.0
/*
 * Deadlines of those who wait for an operation, by the logical process's clock. They
 * are in one queue for each member, under lproc.lock; a timer and a work item of
 * the member's serve it.
 *
 * When one passes, an operation that never leaves the waiter's node has its result.
 * Any other may be anywhere: WIRE_CANCEL goes after it. Who has it and has not begun
 * it drops it (-ETIMEDOUT); where it should be and is not, it may have been executed
 * (-ECONNRESET). Without an answer it is the latter after cancel_ms.
 *
 * All of this ends in a reply like any other, for whichever comes first: it waits for
 * a proclet on its way, and follows it. The deadlines of its threads rest meanwhile.
 */
#include <linux/hrtimer.h>
#include <linux/module.h>

#include "compat.h"
#include "lproc.h"

static unsigned int cancel_ms = 1000;
module_param(cancel_ms, uint, 0644);
MODULE_PARM_DESC(cancel_ms, "longest wait for news of an operation after its deadline (ms)");

/* Sums with any offset of a clock are in range. */
#define DEADLINE_MAX	((u64)S64_MAX / 2)

static u64 cancel_ns(void)
{
	return (u64)READ_ONCE(cancel_ms) * NSEC_PER_MSEC;
}

/* Is such an operation never sent? Nobody needs to be asked for it. */
bool op_stays(u32 code)
{
	return code == PROCLET_OP_SLEEP || code == PROCLET_OP_WAIT;
}

void waiter_init(struct waiter *w, bool native)
{
	*w = (struct waiter){ .since = jiffies, .native = native };
	timerqueue_init(&w->timer);
}

static void start_timer(struct lproc *lproc)
{
	struct timerqueue_node *first = timerqueue_getnext(&lproc->deadlines);
	s64 at;

	lockdep_assert_held(&lproc->lock);
	/* Pairs with deadlines_stop(). */
	if (!first || lproc->dying)
		return;
	/* The machine may not have been up at that time. */
	at = max_t(s64, first->expires - READ_ONCE(lproc->clock_offset), 0);
	hrtimer_start(&lproc->deadlines_timer, ns_to_ktime(at), HRTIMER_MODE_ABS);
}

void waiter_disarm(struct lproc *lproc, struct waiter *w)
{
	lockdep_assert_held(&lproc->lock);
	if (!RB_EMPTY_NODE(&w->timer.node))
		timerqueue_del(&lproc->deadlines, &w->timer);
}

/* From now on its deadline counts, if it has one. */
void waiter_arm(struct lproc *lproc, struct waiter *w)
{
	waiter_disarm(lproc, w);
	if (!w->deadline)
		return;
	w->timer.expires = min(w->deadline, DEADLINE_MAX);
	if (timerqueue_add(&lproc->deadlines, &w->timer))
		start_timer(lproc);
}

/* It waits for @uop, which op_submit() has accepted. */
void waiter_begin(struct lproc *lproc, struct waiter *w, const struct proclet_op *uop)
{
	w->code = uop->op;
	if (!op_stays(w->code))
		w->target = uop->target ?: lproc->node->id;
	w->deadline = uop->deadline;
	waiter_arm(lproc, w);
}

/*
 * It has its reply, but that must go after it to another node: time enough for that. A
 * sleeper does not care where its wakening comes from.
 */
void waiter_postpone(struct lproc *lproc, struct waiter *w)
{
	if (w->deadline && w->code != PROCLET_OP_SLEEP)
		w->deadline = max(w->deadline, lproc_clock(lproc) + cancel_ns());
}

static void waiter_answer(struct lproc *lproc, const struct proclet_token *token, s64 result)
{
	struct op *op = op_alloc(lproc, GFP_KERNEL | __GFP_NOFAIL);

	op->is_reply = true;
	op->result = result;
	op->token = *token;
	op_route(op);
}

static bool token_same(const struct proclet_token *a, const struct proclet_token *b)
{
	/* A thread may have been elsewhere when it called. */
	return a->proclet == b->proclet && a->stack == b->stack && a->seq == b->seq &&
	       (a->proclet || a->node == b->node);
}

/* The operation, taken from where it waits to be executed; NULL: it does not. */
static struct op *take_waiting(struct lproc *lproc, const struct proclet_token *token,
			       u64 target)
{
	struct work_item *item;
	struct proclet *p;
	struct op *op;

	p = wire_id_ok(target) ? proclet_here(lproc, target) : NULL;
	if (!p)
		return NULL;
	list_for_each_entry(op, &p->inbox, entry) {
		if (!op->is_reply && token_same(&op->token, token)) {
			list_del_init(&op->entry);
			return op;
		}
	}
	list_for_each_entry(item, &lproc->ready, entry) {
		if (item->proclet != p || !item->is_call)
			continue;
		op = container_of(item, struct op, item);
		if (token_same(&op->token, token)) {
			list_del_init(&item->entry);
			return op;
		}
	}
	return NULL;
}

/* Is it one whose arguments are still being read? Then it is dropped after that. */
static bool drop_pulling(struct lproc *lproc, const struct proclet_token *token)
{
	struct op *op;

	list_for_each_entry(op, &lproc->pulling, entry) {
		if (op->is_reply || op->cancelled || !token_same(&op->token, token))
			continue;
		op->cancelled = true;
		return true;
	}
	return false;
}

/* Where else can an operation be? 0: only here. */
static u32 cancel_next(struct lproc *lproc, u64 target, u32 sent_to, u32 from)
{
	u32 self = lproc->node->id, node;
	struct proclet *p;
	bool known;

	if (sent_to && sent_to != self)
		return sent_to;
	if (target <= PROCLET_MAX_NODES)
		return target == self ? 0 : target;
	p = proclet_here(lproc, target);
	node = location_get(lproc, target, &known);
	/* Until COMMIT the source may have it. */
	if (p && (p->state != PROCLET_INCOMING || !known || node == from))
		return 0;
	return node == self ? 0 : node;
}

static int cancel_send(struct lproc *lproc, const struct proclet_token *token, u64 target,
		       u32 to, u32 hops)
{
	struct wire_cancel *m;
	struct xport_msg *msg;

	if (hops >= WIRE_HOPS_MAX)
		return -ELOOP;
	m = msg_new(&msg, WIRE_CANCEL, lproc->key, sizeof(*m));
	if (!m)
		return -ENOMEM;
	token_to_wire(&m->token, token);
	m->target = cpu_to_le64(target);
	m->hops = cpu_to_le32(hops);
	return msg_send(lproc->node, to, msg);
}

static void cancel_route(struct lproc *lproc, const struct proclet_token *token, u64 target,
			 u32 sent_to, u32 from, u32 hops)
{
	bool pulling = false;
	struct op *op;
	u32 to = 0;

	spin_lock_bh(&lproc->lock);
	op = take_waiting(lproc, token, target);
	if (!op)
		pulling = drop_pulling(lproc, token);
	if (!op && !pulling)
		to = cancel_next(lproc, target, sent_to, from);
	spin_unlock_bh(&lproc->lock);
	if (op)
		op_reply(op, -ETIMEDOUT, NULL, 0);
	else if (pulling)
		waiter_answer(lproc, token, -ETIMEDOUT);
	else if (!to || cancel_send(lproc, token, target, to, hops))
		waiter_answer(lproc, token, -ECONNRESET);
}

void cancel_recv(struct lproc *lproc, struct peer *peer, const struct wire_cancel *m)
{
	struct proclet_token token;

	token_from_wire(&token, &m->token);
	cancel_route(lproc, &token, le64_to_cpu(m->target), 0, peer->id,
		     le32_to_cpu(m->hops) + 1);
}

/* What is to be done for one whose deadline has passed. */
struct expired {
	struct proclet_token token;
	bool cancel;
	u64 target;
	u32 sent_to;
	s64 result;
};

static void expire(struct lproc *lproc, struct waiter *w, struct expired *e)
{
	struct native_wait *n = container_of(w, struct native_wait, waiter);
	struct thread *t = container_of(w, struct thread, waiter);

	waiter_disarm(lproc, w);
	memset(e, 0, sizeof(*e));
	e->token.node = lproc->node->id;
	if (w->native) {
		e->token.seq = n->seq;
	} else {
		e->token.proclet = t->item.proclet->id;
		e->token.stack = t->seg->start;
		e->token.seq = t->seq;
	}
	if (!w->target) {
		e->result = w->code == PROCLET_OP_SLEEP ? 0 : -ETIMEDOUT;
	} else if (w->cancelled) {
		e->result = -ECONNRESET;
	} else {
		e->cancel = true;
		e->target = w->target;
		e->sent_to = w->sent_to;
		w->cancelled = true;
		w->deadline = lproc_clock(lproc) + cancel_ns();
		waiter_arm(lproc, w);
	}
}

static void deadlines_fn(struct work_struct *work)
{
	struct lproc *lproc = container_of(work, struct lproc, deadlines_work);
	struct timerqueue_node *node;
	struct expired expired[8];
	u32 n, i;
	u64 now;

	do {
		n = 0;
		spin_lock_bh(&lproc->lock);
		now = lproc_clock(lproc);
		while (n < ARRAY_SIZE(expired)) {
			node = timerqueue_getnext(&lproc->deadlines);
			if (!node || node->expires > now)
				break;
			expire(lproc, container_of(node, struct waiter, timer), &expired[n]);
			n++;
		}
		if (n < ARRAY_SIZE(expired))
			start_timer(lproc);
		spin_unlock_bh(&lproc->lock);
		for (i = 0; i < n; i++) {
			if (expired[i].cancel)
				cancel_route(lproc, &expired[i].token, expired[i].target,
					     expired[i].sent_to, lproc->node->id, 0);
			else
				waiter_answer(lproc, &expired[i].token, expired[i].result);
		}
		cond_resched();
	} while (n == ARRAY_SIZE(expired));
}

/* lproc.lock is not for interrupts. */
static enum hrtimer_restart deadlines_fire(struct hrtimer *timer)
{
	struct lproc *lproc = container_of(timer, struct lproc, deadlines_timer);

	queue_work(lproc->node->wq, &lproc->deadlines_work);
	return HRTIMER_NORESTART;
}

/* The clock was set forward. */
void deadlines_changed(struct lproc *lproc)
{
	spin_lock_bh(&lproc->lock);
	/* Pairs with deadlines_stop(). */
	if (!lproc->dying && timerqueue_getnext(&lproc->deadlines))
		queue_work(lproc->node->wq, &lproc->deadlines_work);
	spin_unlock_bh(&lproc->lock);
}

void deadlines_init(struct lproc *lproc)
{
	timerqueue_init_head(&lproc->deadlines);
	hrtimer_init(&lproc->deadlines_timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	lproc->deadlines_timer.function = deadlines_fire;
	INIT_WORK(&lproc->deadlines_work, deadlines_fn);
	INIT_LIST_HEAD(&lproc->pulling);
}

/* The member is dying, so neither is started again. */
void deadlines_stop(struct lproc *lproc)
{
	hrtimer_cancel(&lproc->deadlines_timer);
	cancel_work_sync(&lproc->deadlines_work);
}
