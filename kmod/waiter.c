// SPDX-License-Identifier: GPL-2.0
/*
 * Who waits for the reply to an operation: native threads of the member, its
 * commands of io_uring, and proclet threads that the kernel holds. Each knows which node has its operation,
 * and gets -ECONNRESET when that is lost.
 *
 * That node can be wrong, and a message can be lost with a connection between two
 * other nodes. So who has waited for a while asks: first that node, then all,
 * whether they have the operation or its reply. When nobody has it in several
 * rounds, there will be no reply.
 */
#include <linux/bsearch.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "compat.h"
#include "lproc.h"

static unsigned int probe_ms = 2000;
module_param(probe_ms, uint, 0644);
MODULE_PARM_DESC(probe_ms, "how long a caller waits before it asks for its operation, and between such questions (ms)");

/* Rounds: the first asks who should have it, the others ask everybody. */
#define PROBE_ROUNDS	3
/* Waiters that ask in one tick; it is the others' turn in the next. */
#define PROBE_BATCH	512
/* Periods without an answer after which a node is asked again. */
#define PROBE_REPEAT	5

/* May go on the wire: a token can come from the program's memory. */
bool token_ok(const struct proclet_token *token)
{
	if (token->node < 1 || token->node > PROCLET_MAX_NODES)
		return false;
	return token->proclet ? wire_id_ok(token->proclet) && wire_stack_ok(token->stack) :
	       !token->stack;
}

void token_from_wire(struct proclet_token *token, const struct wire_token *w)
{
	token->proclet = le64_to_cpu(w->proclet);
	token->stack = le64_to_cpu(w->stack);
	token->seq = le64_to_cpu(w->seq);
	token->node = le32_to_cpu(w->node);
	token->reserved = 0;
}

void token_to_wire(struct wire_token *w, const struct proclet_token *token)
{
	w->proclet = cpu_to_le64(token->proclet);
	w->stack = cpu_to_le64(token->stack);
	w->seq = cpu_to_le64(token->seq);
	w->node = cpu_to_le32(token->node);
}

/* The waiter with @token, if it is here. *@p: its proclet, if that is. */
static struct waiter *waiter_find(struct lproc *lproc, const struct proclet_token *token,
				  struct proclet **p)
{
	struct native_wait *n;
	struct thread *t;

	lockdep_assert_held(&lproc->lock);
	*p = NULL;
	if (!token->proclet) {
		n = token->node == lproc->node->id ?
			xa_load(&lproc->natives, token->seq) : NULL;
		return n ? &n->waiter : NULL;
	}
	*p = proclet_here(lproc, token->proclet);
	t = *p ? thread_at(lproc, token->stack) : NULL;
	return t && t->state == THREAD_WAITING && t->item.proclet == *p &&
	       t->seq == token->seq ? &t->waiter : NULL;
}

static void waiters_for_each(struct lproc *lproc,
			     void (*fn)(struct lproc *lproc, struct waiter *w,
					const struct proclet_token *token, void *arg),
			     void *arg)
{
	struct proclet_token token = { .node = lproc->node->id };
	struct native_wait *n;
	unsigned long index;
	struct proclet *p;
	struct thread *t;

	lockdep_assert_held(&lproc->lock);
	xa_for_each(&lproc->natives, index, n) {
		if (n->is_event)
			continue;
		token.seq = index;
		fn(lproc, &n->waiter, &token, arg);
	}
	xa_for_each(&lproc->proclets, index, p) {
		list_for_each_entry(t, &p->threads, entry) {
			/* Who waits at a word waits for no node. */
			if (t->state != THREAD_WAITING || t->wait_addr)
				continue;
			token.proclet = p->id;
			token.stack = t->seg->start;
			token.seq = t->seq;
			fn(lproc, &t->waiter, &token, arg);
		}
	}
}

static void heard_of(struct waiter *w, u32 node)
{
	w->sent_to = node;
	w->since = jiffies;
	w->missing = 0;
	w->rounds = 0;
}

/* The operation with @token is with @node now; its waiter must know. */
void waiter_tell(struct lproc *lproc, const struct proclet_token *token, u32 node, u32 hops)
{
	u32 self = lproc->node->id, to = token->node;
	struct wire_call_at *m;
	struct xport_msg *msg;
	struct waiter *w;
	struct proclet *p;
	bool known, lost;

	spin_lock_bh(&lproc->lock);
	lost = node != self && !(lproc->members & node_bit(node));
	w = waiter_find(lproc, token, &p);
	if (w)
		heard_of(w, node);
	if (!p && token->proclet)
		to = location_get(lproc, token->proclet, &known);
	spin_unlock_bh(&lproc->lock);
	/* Its loss was handled before the waiter knew that it waits for it. */
	if (w && lost)
		waiters_lost_node(lproc, 0);
	if (w || p || to == self || hops >= WIRE_HOPS_MAX)
		return;
	m = msg_new(&msg, WIRE_CALL_AT, lproc->key, sizeof(*m));
	if (!m)
		return;
	token_to_wire(&m->token, token);
	m->node = cpu_to_le32(node);
	m->hops = cpu_to_le32(hops + 1);
	msg_send(lproc->node, to, msg);
}

void waiter_recv_call_at(struct lproc *lproc, const struct wire_call_at *m)
{
	struct proclet_token token;

	token_from_wire(&token, &m->token);
	waiter_tell(lproc, &token, le32_to_cpu(m->node), le32_to_cpu(m->hops));
}

/* Waiters that are told that there will be no reply, some at a time. */
struct lost {
	struct proclet_token tokens[16];
	u32 n;
};

static void gather_lost(struct lproc *lproc, struct waiter *w,
			const struct proclet_token *token, void *arg)
{
	struct lost *lost = arg;

	if (!w->lost || lost->n == ARRAY_SIZE(lost->tokens))
		return;
	w->lost = false;
	heard_of(w, 0);
	lost->tokens[lost->n++] = *token;
}

static void waiters_fail(struct lproc *lproc)
{
	struct lost lost;
	struct op *op;
	u32 i;

	do {
		lost.n = 0;
		spin_lock_bh(&lproc->lock);
		waiters_for_each(lproc, gather_lost, &lost);
		spin_unlock_bh(&lproc->lock);
		for (i = 0; i < lost.n; i++) {
			op = op_alloc(lproc, GFP_KERNEL | __GFP_NOFAIL);
			op->is_reply = true;
			op->result = -ECONNRESET;
			op->token = lost.tokens[i];
			op_route(op);
		}
	} while (lost.n == ARRAY_SIZE(lost.tokens));
}

/* Has the node that has its operation no member any more? */
bool waiter_lost(struct lproc *lproc, const struct waiter *w)
{
	u32 alive = lproc->members | node_bit(lproc->node->id);

	lockdep_assert_held(&lproc->lock);
	return w->sent_to && !(alive & node_bit(w->sent_to));
}

static void mark_lost(struct lproc *lproc, struct waiter *w,
		      const struct proclet_token *token, void *arg)
{
	u32 node = *(u32 *)arg;

	if (node ? w->sent_to == node : waiter_lost(lproc, w))
		w->lost = true;
}

/* Operations that are with @node (0: with any that is no member) have no reply. */
void waiters_lost_node(struct lproc *lproc, u32 node)
{
	spin_lock_bh(&lproc->lock);
	waiters_for_each(lproc, mark_lost, &node);
	spin_unlock_bh(&lproc->lock);
	waiters_fail(lproc);
}

/* Tokens in a question, sorted by cmp_token(). */
struct wanted {
	struct wire_token *tokens;
	u32 n;
};

static int cmp_token(const void *a, const void *b)
{
	const struct wire_token *x = a, *y = b;
	int ret = memcmp(x, y, offsetof(struct wire_token, node));

	/* A thread may have been elsewhere when it called. */
	return ret || x->proclet ? ret : memcmp(&x->node, &y->node, sizeof(x->node));
}

static void mark_held(const struct proclet_token *token, void *arg)
{
	struct wire_token key = {}, *found;
	struct wanted *wanted = arg;

	token_to_wire(&key, token);
	found = bsearch(&key, wanted->tokens, wanted->n, sizeof(key), cmp_token);
	if (found)
		found->held = cpu_to_le32(1);
}

static void mark_thread(struct thread *t, struct wanted *wanted)
{
	struct proclet_tcb *tcb = thread_tcb(t);
	struct proclet_token token;

	if (!tcb)
		return;
	/* The program's memory: any value is harmless here. */
	token = tcb->caller;
	mark_held(&token, wanted);
}

static void mark_proclet(struct proclet *p, struct wanted *wanted)
{
	struct proclet_token token;
	struct thread *t;
	struct op *op;

	/* Nobody knows when an answer comes from one in doubt. */
	if (p->state == PROCLET_INDOUBT)
		return;
	list_for_each_entry(t, &p->threads, entry)
		mark_thread(t, wanted);
	list_for_each_entry(op, &p->inbox, entry)
		mark_held(&op->token, wanted);
	if (migrate_src_token(p, &token))
		mark_held(&token, wanted);
}

/*
 * Which of these operations, or their replies, have we? Changes their order.
 *
 * What waits for something to happen is found: it is in a list, on a worker, or in
 * lproc.pulls (where its payload is put before the operation goes). A migration's
 * source has the threads until the destination has them. Not found is what is just
 * being carried: by a kernel thread that took it off a list, or received it, and is
 * about to add it to the next or to send it; or by the network. Nobody can see all
 * nodes at one moment, so to count what is carried here would not make it exact:
 * what is on its way from B to A may be asked for at A before and at B after.
 *
 * So one "no" of all says little. But what is carried arrives, within a time that has
 * nothing to do with the questions, and then is found for as long as it waits; to be
 * missed it must be carried again at the moment of each question. Rounds are at least
 * probe_ms apart, and each is over only when all have answered. Three of them fail
 * together for something that is passed on without end, which WIRE_HOPS_MAX forbids,
 * or that stands still for several seconds in the hands of a kernel thread. Even
 * then nothing untrue is said: the waiter gets -ECONNRESET, perhaps executed, and a
 * reply that comes later finds nobody who waits for it.
 */
static void find_held(struct lproc *lproc, struct wire_token *tokens, u32 n)
{
	struct wanted wanted = { tokens, n };
	struct work_item *item;
	unsigned long index;
	struct proclet *p;
	struct worker *w;
	struct thread *t;
	struct op *op;
	u32 i;

	for (i = 0; i < n; i++)
		tokens[i].held = 0;
	sort(tokens, n, sizeof(*tokens), cmp_token, NULL);
	spin_lock_bh(&lproc->lock);
	list_for_each_entry(item, &lproc->ready, entry)
		if (item->is_call)
			mark_held(&container_of(item, struct op, item)->token, &wanted);
	list_for_each_entry(op, &lproc->drains, entry)
		mark_held(&op->token, &wanted);
	xa_for_each(&lproc->workers, index, w) {
		if (w->starting)
			mark_held(&w->starting->token, &wanted);
		for (i = 0; i < worker_depth(w); i++) {
			t = worker_thread(lproc, w, i);
			if (t)
				mark_thread(t, &wanted);
		}
	}
	xa_for_each(&lproc->proclets, index, p)
		mark_proclet(p, &wanted);
	spin_unlock_bh(&lproc->lock);
	pulls_for_each(lproc, mark_held, &wanted);
}

/* What @node has answered. */
static void take_answer(struct lproc *lproc, const struct wire_token *tokens, u32 n, u32 node)
{
	struct proclet_token token;
	struct proclet *p;
	struct waiter *w;
	u32 i;

	spin_lock_bh(&lproc->lock);
	for (i = 0; i < n; i++) {
		token_from_wire(&token, &tokens[i]);
		w = waiter_find(lproc, &token, &p);
		if (!w)
			continue;
		w->missing &= ~node_bit(node);
		if (tokens[i].held)
			heard_of(w, node);
	}
	spin_unlock_bh(&lproc->lock);
}

static struct wire_probe *probe_new(struct lproc *lproc, struct xport_msg **msg, u32 type,
				    u32 n)
{
	struct wire_probe *m;

	m = msg_new(msg, type, lproc->key, struct_size(m, tokens, n));
	if (m)
		m->count = cpu_to_le32(n);
	return m;
}

void waiter_recv_probe(struct lproc *lproc, struct peer *peer, const struct wire_probe *q)
{
	u32 n = le32_to_cpu(q->count);
	struct xport_msg *msg;
	struct wire_probe *m;

	m = probe_new(lproc, &msg, WIRE_PROBED, n);
	if (!m)
		return;		/* it will be asked again */
	memcpy(m->tokens, q->tokens, n * sizeof(m->tokens[0]));
	find_held(lproc, m->tokens, n);
	peer->node->ops->send(peer, msg);
}

void waiter_recv_probed(struct lproc *lproc, struct peer *peer, const struct wire_probe *m)
{
	take_answer(lproc, m->tokens, le32_to_cpu(m->count), peer->id);
}

/* Who asks in this tick, and whom. */
struct asking {
	struct {
		struct proclet_token token;
		u32 nodes;
	} asks[PROBE_BATCH];
	u32 n;
	u32 skip;
	bool lost;
};

static void gather_asking(struct lproc *lproc, struct waiter *w,
			  const struct proclet_token *token, void *arg)
{
	unsigned long period = msecs_to_jiffies(READ_ONCE(probe_ms));
	u32 self = node_bit(lproc->node->id), all = lproc->members | self;
	bool answered = !(w->missing & all);
	struct asking *a = arg;

	if (op_stays(w->code))
		return;
	if (!time_after_eq(jiffies, w->since + period * (answered ? 1 : PROBE_REPEAT)))
		return;
	if (answered && w->rounds == PROBE_ROUNDS) {
		w->lost = true;
		a->lost = true;
		return;
	}
	if (a->skip) {
		a->skip--;
		return;
	}
	if (a->n == PROBE_BATCH)
		return;
	if (!w->rounds)
		w->missing = w->sent_to ? node_bit(w->sent_to) : self;
	else if (answered)
		w->missing = all;
	if (answered || !w->rounds)
		w->rounds++;
	w->since = jiffies;
	a->asks[a->n].token = *token;
	a->asks[a->n].nodes = w->missing;
	a->n++;
}

/* Ask those who want to ask @node. */
static void ask_node(struct lproc *lproc, const struct asking *a, u32 node)
{
	struct xport_msg *msg;
	struct wire_probe *m;
	u32 i = 0, n;

	while (i < a->n) {
		m = probe_new(lproc, &msg, WIRE_PROBE, WIRE_PROBE_MAX);
		if (!m)
			return;
		for (n = 0; i < a->n && n < WIRE_PROBE_MAX; i++)
			if (a->asks[i].nodes & node_bit(node))
				token_to_wire(&m->tokens[n++], &a->asks[i].token);
		msg->len = struct_size(m, tokens, n);
		m->hdr.len = cpu_to_le32(msg->len);
		m->count = cpu_to_le32(n);
		if (n && node != lproc->node->id) {
			msg_send(lproc->node, node, msg);
			continue;
		}
		find_held(lproc, m->tokens, n);
		take_answer(lproc, m->tokens, n, node);
		kfree(msg);
	}
}

void waiters_tick(struct work_struct *work)
{
	struct lproc *lproc = container_of(work, struct lproc, waiters_work.work);
	struct asking *a = kvzalloc(sizeof(*a), GFP_KERNEL);
	u32 node;

	uring_tick(lproc);
	if (!a)
		goto again;
	spin_lock_bh(&lproc->lock);
	a->skip = lproc->waiters_skip;
	waiters_for_each(lproc, gather_asking, a);
	lproc->waiters_skip = a->n == PROBE_BATCH ? lproc->waiters_skip + PROBE_BATCH : 0;
	spin_unlock_bh(&lproc->lock);
	if (a->lost)
		waiters_fail(lproc);
	for (node = 1; a->n && node <= PROCLET_MAX_NODES; node++)
		ask_node(lproc, a, node);
	kvfree(a);
again:
	queue_delayed_work(lproc->node->wq, &lproc->waiters_work,
			   max(1UL, msecs_to_jiffies(READ_ONCE(probe_ms))));
}
