// SPDX-License-Identifier: GPL-2.0
/*
 * Payloads too large for a message: the sender of an operation or a reply keeps
 * its pages readable, and the receiver reads them before it goes on with it.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "lproc.h"

/*
 * A payload that a peer is reading from our pages. In lproc.pulls until the
 * peer says that it is done, or is lost.
 */
struct pull {
	struct work_struct work;
	refcount_t ref;		/* lproc.pulls, op_transmit() */
	struct lproc *lproc;
	struct peer *peer;
	struct proclet_token token;
	u32 number;
	struct xport_mem mem;
	struct payload payload;
};

static void pull_end(struct work_struct *work)
{
	struct pull *pull = container_of(work, struct pull, work);

	pull->peer->node->ops->unexpose(&pull->mem);
	payload_free(&pull->payload);
	peer_put(pull->peer);
	lproc_put(pull->lproc);
	kfree(pull);
}

static void pull_put(struct pull *pull)
{
	if (refcount_dec_and_test(&pull->ref))
		queue_work(pull->lproc->node->wq, &pull->work);	/* may sleep */
}

/*
 * Have @peer read the payload of @op. *@tail: bytes that pull_fill() will add to
 * the message. To be ended with pull_sent().
 */
int pull_begin(struct op *op, struct peer *peer, struct pull **pullp, u32 *tail)
{
	struct lproc *lproc = op->lproc;
	struct pull *pull;
	int err;

	pull = kzalloc(sizeof(*pull), GFP_MEMBER);
	if (!pull)
		return -ENOMEM;
	INIT_WORK(&pull->work, pull_end);
	refcount_set(&pull->ref, 2);
	err = peer->node->ops->expose(peer, op->payload.pages, op->payload.npages,
				      &pull->mem);
	if (err)
		goto free;
	pull->lproc = lproc;
	kref_get(&lproc->ref);
	pull->peer = peer;
	kref_get(&peer->ref);
	pull->token = op->token;
	pull->payload = op->payload;
	memset(&op->payload, 0, sizeof(op->payload));
	*pullp = pull;
	*tail = pull->mem.ndescs * sizeof(struct wire_desc);
	if (pull->mem.ndescs > WIRE_DESCS_MAX)
		err = -EMSGSIZE;
	else
		err = xa_alloc_bh(&lproc->pulls, &pull->number, pull, xa_limit_32b,
				  GFP_MEMBER);
	if (err) {
		pull_put(pull);
		pull_put(pull);
	}
	return err;
free:
	kfree(pull);
	return err;
}

static void pull_done(struct lproc *lproc, const struct peer *peer, u32 number)
{
	struct pull *pull;

	xa_lock_bh(&lproc->pulls);
	pull = xa_load(&lproc->pulls, number);
	if (pull && pull->peer == peer)
		__xa_erase(&lproc->pulls, number);
	else
		pull = NULL;
	xa_unlock_bh(&lproc->pulls);
	if (pull)
		pull_put(pull);
}

/* In any context; true, as it needs no other. */
bool pull_recv_done(struct lproc *lproc, struct peer *peer, const struct wire_pulled *m)
{
	u64 number = le64_to_cpu(m->pull);

	if (number <= U32_MAX)
		pull_done(lproc, peer, number);
	return true;
}

/* The message that tells of it is on its way, or (@err) is not. */
void pull_sent(struct pull *pull, int err)
{
	if (err)
		pull_done(pull->lproc, pull->peer, pull->number);
	pull_put(pull);
}

void pulls_lost(struct lproc *lproc, u32 node)
{
	unsigned long number;
	struct pull *pull;

	xa_lock_bh(&lproc->pulls);
	xa_for_each(&lproc->pulls, number, pull) {
		if (node && pull->peer->id != node)
			continue;
		__xa_erase(&lproc->pulls, number);
		pull_put(pull);
	}
	xa_unlock_bh(&lproc->pulls);
}

/* Whose operations or replies have a payload that is still being read. */
void pulls_for_each(struct lproc *lproc,
		    void (*fn)(const struct proclet_token *token, void *arg), void *arg)
{
	unsigned long number;
	struct pull *pull;

	xa_lock_bh(&lproc->pulls);
	xa_for_each(&lproc->pulls, number, pull)
		fn(&pull->token, arg);
	xa_unlock_bh(&lproc->pulls);
}

void pull_fill(struct wire_payload *pl, u32 len, const struct op *op,
	       const struct pull *pull)
{
	pl->len = cpu_to_le32(len);
	if (pull) {
		pl->ndescs = cpu_to_le32(pull->mem.ndescs);
		pl->pull = cpu_to_le64(pull->number);
		memcpy(pl + 1, pull->mem.descs,
		       pull->mem.ndescs * sizeof(struct wire_desc));
	} else {
		payload_read(&op->payload, pl + 1, len);
	}
}

/* A payload that we read from a peer's pages. */
struct pulling {
	struct xport_read rd;
	struct work_struct work;
	int status;
	struct lproc *lproc;
	struct op *op;		/* NULL: it has gone on already */
	__le64 number;
	struct xport_desc descs[];
};

/* It cannot be had: a request is answered, a reply goes on without its bytes. */
static void pulling_failed(struct op *op, int err)
{
	if (!op->is_reply) {
		op_reply(op, err == -ENOMEM ? err : -EHOSTUNREACH, NULL, 0);
		return;
	}
	op_lose_bytes(op);
	op_route(op);
}

/* We do not read it, or not any more: its owner may have it back. */
static void pulled(struct lproc *lproc, struct peer *peer, __le64 number)
{
	struct wire_pulled *m;
	struct xport_msg *msg;

	m = msg_new(&msg, WIRE_PULLED, lproc->key, sizeof(*m));
	if (!m)
		return;
	m->pull = number;
	msg->lazy = true;
	msg_send(lproc->node, peer->id, msg);
}

static void pulling_go_on(struct op *op, int status)
{
	struct lproc *lproc = op->lproc;

	spin_lock_bh(&lproc->lock);
	list_del_init(&op->entry);
	spin_unlock_bh(&lproc->lock);
	if (op->cancelled)
		op_free(op);
	else if (status)
		pulling_failed(op, status == -ECONNRESET ? status : -EIO);
	else
		op_route(op);
}

static void pulling_end(struct work_struct *work)
{
	struct pulling *in = container_of(work, struct pulling, work);
	struct lproc *lproc = in->lproc;
	struct charge charge;

	kref_get(&lproc->ref);
	charge_begin(&charge, lproc);
	if (in->op)
		pulling_go_on(in->op, in->status);
	charge_end(&charge);
	/* Nobody waits for that. */
	pulled(lproc, in->rd.peer, in->number);
	peer_put(in->rd.peer);
	kfree(in);
	lproc_moves_put(lproc);
}

static void pulling_done(struct xport_read *rd, int status)
{
	struct pulling *in = container_of(rd, struct pulling, rd);
	struct lproc *lproc = in->lproc;

	in->status = status;
	spin_lock_bh(&lproc->lock);
	if (!status && !in->op->cancelled) {
		list_del_init(&in->op->entry);
		if (op_route_now(in->op))
			in->op = NULL;
		else
			list_add_tail(&in->op->entry, &lproc->pulling);
	}
	spin_unlock_bh(&lproc->lock);
	queue_work(lproc->node->wq, &in->work);
}

/* Get the payload, then route @op. An error means: the message was bad. */
int pull_payload(struct op *op, struct peer *peer, const struct wire_payload *pl)
{
	u32 len = le32_to_cpu(pl->len), n = le32_to_cpu(pl->ndescs);
	struct lproc *lproc = op->lproc;
	struct pulling *in;
	int err;

	op->from = peer->id;
	/* The bytes of a reply are lost only if they are many: it may be an id. */
	if (op->is_reply && !n)
		err = payload_alloc_short(&op->payload, len, GFP_KERNEL | __GFP_NOFAIL);
	else
		err = payload_alloc(&op->payload, len);
	if (err)
		goto fail;
	if (!n) {
		payload_fill(&op->payload, pl + 1, len);
		op_route(op);
		return 0;
	}
	if (!op->payload.npages) {
		op_free(op);
		return -EPROTO;
	}
	in = kzalloc(struct_size(in, descs, n), GFP_MEMBER);
	if (!in) {
		err = -ENOMEM;
		goto fail;
	}
	memcpy(in->descs, pl + 1, n * sizeof(in->descs[0]));
	in->lproc = lproc;
	in->op = op;
	in->number = pl->pull;
	in->rd.peer = peer;
	in->rd.pages = op->payload.pages;
	in->rd.npages = op->payload.npages;
	in->rd.descs = in->descs;
	in->rd.ndescs = n;
	in->rd.done = pulling_done;
	INIT_WORK(&in->work, pulling_end);
	kref_get(&peer->ref);
	atomic_inc(&lproc->moves);	/* release waits for it; dropped with a ref */
	spin_lock_bh(&lproc->lock);
	list_add_tail(&op->entry, &lproc->pulling);
	spin_unlock_bh(&lproc->lock);
	err = peer->node->ops->read(&in->rd);
	if (!err)
		return 0;
	spin_lock_bh(&lproc->lock);
	list_del_init(&op->entry);
	spin_unlock_bh(&lproc->lock);
	kref_get(&lproc->ref);
	lproc_moves_put(lproc);
	peer_put(peer);
	kfree(in);
	if (err == -EINVAL) {
		op_free(op);
		return -EPROTO;
	}
fail:
	if (n)
		pulled(lproc, peer, pl->pull);
	pulling_failed(op, err);
	return 0;
}
