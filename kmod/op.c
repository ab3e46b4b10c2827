// SPDX-License-Identifier: GPL-2.0
/*
 * Operations and their replies on the way to where they belong. Each is one
 * struct op with one owner at a time: op_route() hands it to a proclet here, to
 * a waiting thread, or to the next node. Requests and replies are routed alike,
 * by the proclet they are for. pull.c has payloads that do not fit into a
 * message, waiter.c those who wait for a reply.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "lproc.h"
#include "trace.h"

struct op *op_alloc(struct lproc *lproc, gfp_t gfp)
{
	struct op *op = kzalloc(sizeof(*op), gfp);

	if (!op)
		return NULL;
	op->lproc = lproc;
	kref_get(&lproc->ref);
	INIT_LIST_HEAD(&op->item.entry);
	INIT_LIST_HEAD(&op->entry);
	op->item.is_call = true;
	op->from = lproc->node->id;
	return op;
}

void op_free(struct op *op)
{
	struct lproc *lproc = op->lproc;

	payload_free(&op->payload);
	kfree(op);
	lproc_put(lproc);
}

/* Answer @op, which becomes its own reply; its payload is the result's. */
void op_reply_payload(struct op *op, s64 result)
{
	op->is_reply = true;
	op->result = result;
	op->hops = 0;
	op->from = op->lproc->node->id;
	op_route(op);
}

/*
 * The bytes of a reply cannot be had. What was asked for has been done, so its caller
 * must not take it for something that was not: there is one error for that.
 */
void op_lose_bytes(struct op *op)
{
	payload_free(&op->payload);
	if (op->result >= 0)
		op->result = -ECONNRESET;
}

/* Answer it with a copy of @data, which is short, and so is not lost for want of memory. */
void op_reply(struct op *op, s64 result, const void *data, u32 len)
{
	len = min_t(u64, len, op->out_cap);
	payload_free(&op->payload);
	if (len && !payload_alloc_short(&op->payload, len, GFP_KERNEL | __GFP_NOFAIL))
		payload_fill(&op->payload, data, len);
	op_reply_payload(op, result);
}

static void op_fail(struct op *op, int err)
{
	if (op->is_reply)
		op_free(op);	/* its caller is no more */
	else
		op_reply(op, err, NULL, 0);
}

void op_flush(struct lproc *lproc, struct list_head *ops)
{
	struct op *op, *tmp;

	list_for_each_entry_safe(op, tmp, ops, entry) {
		list_del_init(&op->entry);
		op_route(op);
	}
}

static int op_transmit(struct op *op, struct peer *peer)
{
	struct lproc *lproc = op->lproc;
	u32 len = op->payload.len, tail = len;
	struct pull *pull = NULL;
	struct wire_reply *reply;
	struct xport_msg *msg;
	struct wire_op *req;
	int err;

	if (op->payload.npages) {
		err = pull_begin(op, peer, &pull, &tail);
		if (err)
			return err;
	}
	if (op->is_reply) {
		reply = msg_new(&msg, WIRE_REPLY, lproc->key, sizeof(*reply) + tail);
		if (!reply)
			goto nomem;
		clock_stamp(lproc, &reply->hdr);
		token_to_wire(&reply->token, &op->token);
		reply->result = cpu_to_le64(op->result);
		reply->hops = cpu_to_le32(op->hops);
		reply->from = cpu_to_le32(op->from);
		pull_fill(&reply->payload, len, op, pull);
	} else {
		req = msg_new(&msg, WIRE_OP, lproc->key, sizeof(*req) + tail);
		if (!req)
			goto nomem;
		clock_stamp(lproc, &req->hdr);
		req->op = cpu_to_le32(op->code);
		req->method = cpu_to_le32(op->method);
		req->target = cpu_to_le64(op->target);
		token_to_wire(&req->token, &op->token);
		req->out_cap = cpu_to_le64(op->out_cap);
		req->off = cpu_to_le64(op->off);
		req->hops = cpu_to_le32(op->hops);
		pull_fill(&req->payload, len, op, pull);
	}
	err = peer->node->ops->send(peer, msg);
	goto out;
nomem:
	err = -ENOMEM;
out:
	if (pull)
		pull_sent(pull, err);
	return err;
}

/* Pass @op on to @node. */
static void op_send(struct op *op, u32 node)
{
	struct lproc *lproc = op->lproc;
	bool bytes = op->payload.len;
	struct peer *peer = NULL;
	int err = -EHOSTUNREACH;

	if (op->from != lproc->node->id)
		op->hops++;
	if (op->hops >= WIRE_HOPS_MAX || node > PROCLET_MAX_NODES)
		goto fail;
	spin_lock_bh(&lproc->lock);
	if (!(lproc->members & node_bit(node))) {
		spin_unlock_bh(&lproc->lock);
		goto fail;
	}
	if (op->hops)
		lproc->stats.forwarded++;
	else if (!op->is_reply && op->code == PROCLET_OP_CALL)
		lproc->stats.calls_remote++;
	spin_unlock_bh(&lproc->lock);

	peer = peer_get(lproc->node, node);
	if (!peer)
		goto fail;
	/* Before sending: the node may be lost right after. */
	if (!op->is_reply)
		waiter_tell(lproc, &op->token, node, 0);
	err = op_transmit(op, peer);
	if (err && err != -ENOTCONN && op->is_reply && bytes) {
		/* Rather no bytes than a caller that waits for ever. */
		op_lose_bytes(op);
		err = op_transmit(op, peer);
	}
	peer_put(peer);
	if (!err) {
		op_free(op);
		return;
	}
	if (err == -ENOTCONN)
		err = -EHOSTUNREACH;
fail:
	op_fail(op, err);
}

static void op_stats(struct op *op)
{
	struct lproc *lproc = op->lproc;
	struct proclet_stats stats;
	unsigned long index;
	struct worker *w;

	spin_lock_bh(&lproc->lock);
	stats = lproc->stats;
	stats.workers = lproc->nworkers;
	xa_for_each(&lproc->workers, index, w)
		stats.calls_local += READ_ONCE(w->shared->calls_local);
	spin_unlock_bh(&lproc->lock);
	op_reply(op, 0, &stats, sizeof(stats));
}

static void op_create(struct op *op)
{
	struct proclet_create_args args;
	s64 result = -EINVAL;
	u64 id = 0;

	if (op->payload.len == sizeof(args)) {
		payload_read(&op->payload, &args, sizeof(args));
		result = proclet_create(op->lproc, &args, &id);
	}
	op_reply(op, result, &id, result ? 0 : sizeof(id));
}

/* Is its target a node? */
static bool op_for_node(const struct op *op)
{
	switch (op->code) {
	case PROCLET_OP_CREATE:
	case PROCLET_OP_STATS:
	case PROCLET_OP_PUBLISH:
	case PROCLET_OP_UNPUBLISH:
	case PROCLET_OP_LOOKUP:
		return true;
	default:
		return false;
	}
}

static void op_at_node(struct op *op)
{
	if (op->target != op->lproc->node->id)
		op_send(op, op->target);
	else if (op->code == PROCLET_OP_CREATE)
		op_create(op);
	else if (op->code == PROCLET_OP_STATS)
		op_stats(op);
	else
		names_op(op);
}

/* A reply for a native thread, or a command of io_uring; false: nobody took it. */
static bool native_reply(struct lproc *lproc, struct op *op)
{
	struct native_wait *w = xa_load(&lproc->natives, op->token.seq);

	lockdep_assert_held(&lproc->lock);
	if (!w || w->is_event)
		return false;
	w->reply = op;
	if (w->waiter.code == PROCLET_OP_CALL)
		hist_add(lproc->node, HIST_CALL, ktime_to_ns(ktime_sub(ktime_get(), w->began)));
	native_end(lproc, w, op->result);
	return true;
}

/* A reply for a thread of @p; false: nobody took it. */
static bool thread_reply(struct proclet *p, struct op *op)
{
	struct thread *t = thread_at(p->lproc, op->token.stack);

	if (!t || t->state != THREAD_WAITING || t->item.proclet != p ||
	    t->seq != op->token.seq)
		return false;
	if (t->wait_addr) {
		/* It has one already, all but the result. */
		t->reply->result = op->result;
		futex_forget(t);
		thread_replied(t, t->reply);
		return false;
	}
	op->hops = 0;
	thread_replied(t, op);
	return true;
}

static void call_ready(struct op *op, struct proclet *p)
{
	struct lproc *lproc = p->lproc;

	op->item.proclet = p;
	op->hops = 0;
	if (op->token.node == lproc->node->id)
		lproc->stats.calls_kernel++;
	ready_add(lproc, &op->item);
}

/* @p is PRESENT or DYING. Drops lproc.lock. */
static void op_deliver(struct op *op, struct proclet *p) __releases(&p->lproc->lock)
{
	struct lproc *lproc = p->lproc;
	bool full;

	if (op->is_reply) {
		bool taken = thread_reply(p, op);

		spin_unlock_bh(&lproc->lock);
		if (!taken)
			op_free(op);
		return;
	}
	if (p->state == PROCLET_DYING) {
		spin_unlock_bh(&lproc->lock);
		op_reply(op, -ESTALE, NULL, 0);
		return;
	}
	switch (op->code) {
	case PROCLET_OP_CALL:
		call_ready(op, p);
		spin_unlock_bh(&lproc->lock);
		return;
	case PROCLET_OP_GET:
		full = p->refs == PROCLET_REFS_MAX;
		if (!full)
			p->refs++;
		spin_unlock_bh(&lproc->lock);
		op_reply(op, full ? -EOVERFLOW : 0, NULL, 0);
		return;
	case PROCLET_OP_PUT:
		if (--p->refs) {
			spin_unlock_bh(&lproc->lock);
			op_reply(op, 0, NULL, 0);
			return;
		}
		fallthrough;
	case PROCLET_OP_DESTROY:
		proclet_set_state(p, PROCLET_DYING);
		migrate_src_dying(p);
		worker_drain(p, op);
		spin_unlock_bh(&lproc->lock);
		return;
	case PROCLET_OP_READ:
	case PROCLET_OP_WRITE:
		refcount_inc(&p->ref);
		spin_unlock_bh(&lproc->lock);
		memory_op(op, p);
		return;
	default:	/* PROCLET_OP_MIGRATE, as op_check() and wire_check() know */
		refcount_inc(&p->ref);
		spin_unlock_bh(&lproc->lock);
		migrate_request(op, p);
	}
}

void op_route(struct op *op)
{
	struct lproc *lproc = op->lproc;
	u32 self = lproc->node->id, node;
	struct proclet *p;
	bool known, dead;
	u64 id;
	int err;

	if (READ_ONCE(lproc->dying)) {
		op_free(op);
		return;
	}
	if (!op->is_reply && op->code == PROCLET_OP_SLEEP) {
		op_free(op);	/* the waiter's deadline is all of it */
		return;
	}
	if (!op->is_reply && op_for_node(op)) {
		op_at_node(op);
		return;
	}
	if (op->is_reply && !op->token.proclet) {
		bool taken;

		if (op->token.node != self) {
			op_send(op, op->token.node);
			return;
		}
		spin_lock_bh(&lproc->lock);
		taken = native_reply(lproc, op);
		spin_unlock_bh(&lproc->lock);
		if (!taken)
			op_free(op);
		return;
	}
	id = op->is_reply ? op->token.proclet : op->target;

	spin_lock_bh(&lproc->lock);
	if (lproc->dying) {
		spin_unlock_bh(&lproc->lock);
		op_free(op);
		return;
	}
	p = proclet_here(lproc, id);
	if (!p) {
		dead = proclet_dead(lproc, id);
		node = location_get(lproc, id, &known);
		/* If its home has a new member, others may still know where a caller went. */
		if (op->is_reply && !known && op->token.node != self &&
		    lproc->members & node_bit(op->token.node))
			node = op->token.node;
		err = dead ? -ESTALE : node == self ? proclet_unknown(lproc, id) : 0;
		spin_unlock_bh(&lproc->lock);
		if (err) {
			op_fail(op, err);
			return;
		}
		if (known && op->from != self)
			location_hint(lproc, id, op->from);
		op_send(op, node);
		return;
	}
	if (!op->is_reply && op->code == PROCLET_OP_LOCATE &&
	    p->state != PROCLET_INCOMING) {
		bool gone = p->state == PROCLET_DYING;

		spin_unlock_bh(&lproc->lock);
		op_reply(op, gone ? -ESTALE : self, NULL, 0);
		return;
	}
	if (p->state == PROCLET_PRESENT || p->state == PROCLET_DYING) {
		op_deliver(op, p);
		return;
	}
	if (p->state == PROCLET_INDOUBT && !op->is_reply) {
		spin_unlock_bh(&lproc->lock);
		op_fail(op, -EHOSTUNREACH);
		return;
	}
	/* Still elsewhere, unless it is COMMITted: the source keeps or sends it on. */
	if (p->state == PROCLET_INCOMING && !op->is_reply) {
		node = location_get(lproc, id, &known);
		if (known && node != self && node != op->from) {
			spin_unlock_bh(&lproc->lock);
			op_send(op, node);
			return;
		}
	}
	/*
	 * Found: what follows a proclet from here on is not lost. Only those that
	 * look for it are counted, or a busy one could outrun its callers.
	 */
	if (p->state != PROCLET_INCOMING)
		op->hops = 0;
	list_add_tail(&op->entry, &p->inbox);
	spin_unlock_bh(&lproc->lock);
}

/* What wire_check() would refuse, and drop the connection for. */
static int op_check_args(const struct proclet_op *uop)
{
	switch (uop->op) {
	case PROCLET_OP_GET:
	case PROCLET_OP_PUT:
		return uop->in_len ? -EINVAL : 0;
	case PROCLET_OP_PUBLISH:
	case PROCLET_OP_UNPUBLISH:
	case PROCLET_OP_LOOKUP:
		return uop->in_len == sizeof(struct proclet_name) ? 0 : -EINVAL;
	case PROCLET_OP_READ:
		if (uop->in_len)
			return -EINVAL;
		return wire_range_ok(uop->in, uop->out_cap) ? 0 : -ERANGE;
	case PROCLET_OP_WRITE:
		if (uop->out_cap)
			return -EINVAL;
		return wire_range_ok(uop->out, uop->in_len) ? 0 : -ERANGE;
	default:
		return 0;
	}
}

static int op_check(const struct proclet_op *uop)
{
	switch (uop->op) {
	case PROCLET_OP_CALL:
	case PROCLET_OP_DESTROY:
	case PROCLET_OP_LOCATE:
	case PROCLET_OP_MIGRATE:
	case PROCLET_OP_GET:
	case PROCLET_OP_PUT:
	case PROCLET_OP_READ:
	case PROCLET_OP_WRITE:
		if (!wire_id_ok(uop->target))
			return -ESTALE;
		break;
	case PROCLET_OP_CREATE:
	case PROCLET_OP_STATS:
	case PROCLET_OP_PUBLISH:
	case PROCLET_OP_UNPUBLISH:
	case PROCLET_OP_LOOKUP:
		if (uop->target > PROCLET_MAX_NODES)
			return -EHOSTUNREACH;
		break;
	case PROCLET_OP_SLEEP:
		if (!uop->deadline || uop->target || uop->in_len || uop->out_cap)
			return -EINVAL;
		break;
	case PROCLET_OP_WAIT:
	case PROCLET_OP_WAKE:
	case PROCLET_OP_SPAWN:
		break;
	default:
		return -EINVAL;
	}
	if (uop->in_len > PROCLET_PAYLOAD_MAX || uop->out_cap > PROCLET_PAYLOAD_MAX)
		return -EMSGSIZE;
	if (uop->op == PROCLET_OP_MIGRATE &&
	    uop->in_len != sizeof(struct proclet_migrate_args))
		return -EINVAL;
	return op_check_args(uop);
}

/* op_submit() with the argument bytes at @data; NULL: with the program's. */
int op_submit_data(struct lproc *lproc, const struct proclet_op *uop, const void *data,
		   const struct proclet_token *token, struct op **opp)
{
	struct op *op;
	int err;

	err = op_check(uop);
	if (err)
		return err;
	if (uop->deadline && !op_stays(uop->op) && uop->deadline <= lproc_clock(lproc))
		return -ETIMEDOUT;
	if (own_op_code(uop->op) && !token->proclet)
		return -EPERM;
	op = op_alloc(lproc, GFP_MEMBER);
	if (!op)
		return -ENOMEM;
	op->code = uop->op;
	op->method = uop->method;
	op->target = uop->target;
	if (!op->target)
		op->target = lproc->node->id;
	op->out_cap = uop->out_cap;
	if (op->code == PROCLET_OP_READ)
		op->off = uop->in;
	else if (op->code == PROCLET_OP_WRITE)
		op->off = uop->out;
	op->token = *token;
	if (data) {
		err = payload_alloc(&op->payload, uop->in_len);
		if (!err)
			payload_fill(&op->payload, data, uop->in_len);
	} else {
		err = payload_from_user(&op->payload, uop->in, uop->in_len);
	}
	if (err) {
		op_free(op);
		return err;
	}
	*opp = op;
	return 0;
}

/* Make an op of what the program asked for. */
int op_submit(struct lproc *lproc, const struct proclet_op *uop,
	      const struct proclet_token *token, struct op **opp)
{
	return op_submit_data(lproc, uop, NULL, token, opp);
}

/*
 * @w waits for @uop, or (NULL) for an event. Unless this fails, it can be answered or
 * ended from now on. @seq, its number, is
 * for who may not look at @w any more.
 */
int native_add(struct lproc *lproc, struct native_wait *w, const struct proclet_op *uop,
	       u32 *seq)
{
	int err;

	w->began = ktime_get();
	waiter_init(&w->waiter, true);
	/* In turn: a late reply must not find the next operation. */
	err = xa_alloc_cyclic_bh(&lproc->natives, &w->seq, NULL, XA_LIMIT(1, U32_MAX),
				 &lproc->next_native, GFP_KERNEL);
	if (err < 0)
		return err;
	*seq = w->seq;
	spin_lock_bh(&lproc->lock);
	/* Either lproc_end() finds it, or we find that it has been. */
	if (!lproc->ended) {
		/* The place is reserved: this allocates nothing. */
		xa_store(&lproc->natives, w->seq, w, GFP_ATOMIC);
		if (uop)
			waiter_begin(lproc, &w->waiter, uop);
		if (w->is_event)
			xa_set_mark(&lproc->natives, w->seq, NATIVE_EVENT);
		spin_unlock_bh(&lproc->lock);
		return 0;
	}
	spin_unlock_bh(&lproc->lock);
	xa_erase_bh(&lproc->natives, w->seq);
	return -ESHUTDOWN;
}

/* @w waits no longer. */
void native_end(struct lproc *lproc, struct native_wait *w, s64 result)
{
	lockdep_assert_held(&lproc->lock);
	waiter_disarm(lproc, &w->waiter);
	xa_erase(&lproc->natives, w->seq);
	w->result = result;
	w->wake(w);
}

static void native_wake(struct native_wait *w)
{
	complete(&w->done);
}

static bool native_woken(void *arg)
{
	return completion_done(arg);
}

int op_native(struct lproc *lproc, struct proclet_native_op *n)
{
	struct proclet_token token = { .node = lproc->node->id };
	struct native_wait w = { .wake = native_wake, .pid = current->pid };
	struct op *op;
	u32 len, seq;
	int err;

	if (n->reserved || n->op.seq)
		return -EINVAL;
	if (READ_ONCE(lproc->ended))
		return -ESHUTDOWN;
	init_completion(&w.done);
	err = op_submit(lproc, &n->op, &token, &op);
	if (err)
		return err;
	err = native_add(lproc, &w, &n->op, &seq);
	if (err) {
		op_free(op);
		return err;
	}
	op->token.seq = seq;
	op_route(op);
	if (!op_stays(n->op.op))
		node_spin(lproc->node, native_woken, &w.done);
	err = wait_for_completion_killable(&w.done);
	spin_lock_bh(&lproc->lock);
	if (xa_load(&lproc->natives, seq) == &w)
		native_end(lproc, &w, -EINTR);
	spin_unlock_bh(&lproc->lock);
	if (!w.reply)
		return err ? err : w.result;
	if (!err) {
		n->result = w.result;
		len = min_t(u64, w.reply->payload.len, n->op.out_cap);
		err = payload_to_user(&w.reply->payload, n->op.out, len);
	}
	op_free(w.reply);
	return err;
}

static void op_read(struct op *op, const struct wire_op *m)
{
	op->code = le32_to_cpu(m->op);
	op->method = le32_to_cpu(m->method);
	op->target = le64_to_cpu(m->target);
	op->out_cap = le64_to_cpu(m->out_cap);
	op->off = le64_to_cpu(m->off);
	op->hops = le32_to_cpu(m->hops);
	token_from_wire(&op->token, &m->token);
}

static void op_read_reply(struct op *op, const struct wire_reply *m)
{
	op->is_reply = true;
	op->result = le64_to_cpu(m->result);
	op->hops = le32_to_cpu(m->hops);
	token_from_wire(&op->token, &m->token);
}

/* Who sent it waits for an answer: without memory for this there would be none. */
static struct op *op_alloc_anyway(struct lproc *lproc)
{
	return op_alloc(lproc, GFP_MEMBER) ?: op_alloc(lproc, GFP_KERNEL | __GFP_NOFAIL);
}

int op_recv(struct lproc *lproc, struct peer *peer, const struct wire_op *m)
{
	struct op *op = op_alloc_anyway(lproc);

	op_read(op, m);
	return pull_payload(op, peer, &m->payload);
}

int op_recv_reply(struct lproc *lproc, struct peer *peer, const struct wire_reply *m)
{
	struct op *op = op_alloc_anyway(lproc);

	op_read_reply(op, m);
	return pull_payload(op, peer, &m->payload);
}

/* An operation or a reply from @peer, with its payload, without waiting for memory. */
static struct op *op_alloc_now(struct lproc *lproc, struct peer *peer,
			       const struct wire_payload *pl)
{
	gfp_t gfp = GFP_NOWAIT | __GFP_ACCOUNT | __GFP_NOWARN;
	u32 len = le32_to_cpu(pl->len);
	struct op *op;

	if (pl->ndescs)
		return NULL;
	op = op_alloc(lproc, gfp);
	if (!op)
		return NULL;
	op->from = peer->id;
	if (payload_alloc_short(&op->payload, len, gfp)) {
		op_free(op);
		return NULL;
	}
	payload_fill(&op->payload, pl + 1, len);
	return op;
}

/* Who waits for the reply is here, and takes it. */
static bool reply_here(struct lproc *lproc, struct op *op)
{
	struct proclet *p;

	if (!op->token.proclet)
		return op->token.node == lproc->node->id && native_reply(lproc, op);
	p = proclet_here(lproc, op->token.proclet);
	return p && (p->state == PROCLET_PRESENT || p->state == PROCLET_DYING) &&
	       thread_reply(p, op);
}

/*
 * op_route() for the usual cases, in any context: a call of a proclet that is here, a
 * reply to who waits here. Returns whether it was one.
 */
bool op_route_now(struct op *op)
{
	struct lproc *lproc = op->lproc;
	struct proclet *p;

	lockdep_assert_held(&lproc->lock);
	if (lproc->dying)
		return false;
	if (op->is_reply)
		return reply_here(lproc, op);
	p = op->code == PROCLET_OP_CALL ? proclet_here(lproc, op->target) : NULL;
	if (!p || p->state != PROCLET_PRESENT)
		return false;
	call_ready(op, p);
	return true;
}

static bool op_recv_routed(struct op *op)
{
	struct lproc *lproc = op->lproc;
	bool taken;

	spin_lock_bh(&lproc->lock);
	taken = op_route_now(op);
	spin_unlock_bh(&lproc->lock);
	if (!taken)
		op_free(op);
	return taken;
}

/* In a softirq. Returns whether it could be done there. */
bool op_recv_now(struct lproc *lproc, struct peer *peer, const struct wire_op *m)
{
	struct op *op;

	if (le32_to_cpu(m->op) != PROCLET_OP_CALL)
		return false;
	op = op_alloc_now(lproc, peer, &m->payload);
	if (!op)
		return false;
	op_read(op, m);
	return op_recv_routed(op);
}

/* Likewise. */
bool op_recv_reply_now(struct lproc *lproc, struct peer *peer, const struct wire_reply *m)
{
	struct op *op = op_alloc_now(lproc, peer, &m->payload);

	if (!op)
		return false;
	op_read_reply(op, m);
	return op_recv_routed(op);
}
