// SPDX-License-Identifier: GPL-2.0
/* Messages: made, sent, and given to the part that handles their type. */
#include <linux/slab.h>

#include "lproc.h"
#include "steps.h"

/* Up to this size messages of the protocols, whose loss nobody would notice. */
#define MSG_SHORT	256

/*
 * A zeroed message with its header filled in; returns where it begins. NULL
 * only for one with a payload: no memory.
 */
void *msg_new(struct xport_msg **msgp, u32 type, u64 lproc, u32 len)
{
	gfp_t gfp = len <= MSG_SHORT ? GFP_KERNEL | __GFP_NOFAIL : GFP_MEMBER;
	struct xport_msg *msg = xport_msg_alloc(len, gfp);
	struct wire_hdr *hdr;

	if (!msg)
		return NULL;
	hdr = (struct wire_hdr *)msg->data;
	memset(hdr, 0, len);
	hdr->type = cpu_to_le16(type);
	hdr->len = cpu_to_le32(len);
	hdr->lproc = cpu_to_le64(lproc);
	*msgp = msg;
	return hdr;
}

int msg_send(struct pnode *node, u32 to, struct xport_msg *msg)
{
	struct peer *peer = peer_get(node, to);
	int err;

	if (peer && READ_ONCE(peer->up)) {
		err = node->ops->send(peer, msg);
	} else {
		kfree(msg);
		err = -ENOTCONN;
	}
	if (peer)
		peer_put(peer);
	return err;
}

/* Nobody will read the payload of this message from its sender's pages. */
static void msg_unread(struct peer *peer, const struct wire_hdr *hdr)
{
	const struct wire_payload *pl = NULL;
	struct wire_pulled *pulled;
	struct xport_msg *msg;

	if (le16_to_cpu(hdr->type) == WIRE_OP)
		pl = &((const struct wire_op *)hdr)->payload;
	else if (le16_to_cpu(hdr->type) == WIRE_REPLY)
		pl = &((const struct wire_reply *)hdr)->payload;
	if (!pl || !pl->ndescs)
		return;
	pulled = msg_new(&msg, WIRE_PULLED, le64_to_cpu(hdr->lproc), sizeof(*pulled));
	if (!pulled)
		return;
	pulled->pull = pl->pull;
	msg_send(peer->node, peer->id, msg);
}

/* The sender believes that we have a member: tell those who wait for one. */
static void msg_no_member(struct peer *peer, const struct wire_hdr *hdr)
{
	const struct wire_mig *mig = (const void *)hdr;
	struct xport_msg *msg;
	struct wire_leave *leave;

	/* PREPARE and OFFER begin like it. */
	BUILD_BUG_ON(offsetof(struct wire_prepare, mig) != offsetof(struct wire_mig, mig) ||
		     offsetof(struct wire_offer, mig) != offsetof(struct wire_mig, mig));

	msg_unread(peer, hdr);
	switch (le16_to_cpu(hdr->type)) {
	case WIRE_PREPARE:
	case WIRE_OFFER:
		migrate_send(peer, WIRE_REFUSE, le64_to_cpu(hdr->lproc),
			     le64_to_cpu(mig->proclet), le64_to_cpu(mig->mig), 0,
			     -EHOSTUNREACH, 0);
		break;
	case WIRE_QUERY:
		migrate_send(peer, WIRE_STATUS, le64_to_cpu(hdr->lproc),
			     le64_to_cpu(mig->proclet), le64_to_cpu(mig->mig), 0,
			     -ENOENT, 0);
		break;
	case WIRE_OP:
	case WIRE_PROBE:
	case WIRE_CANCEL:
	case WIRE_ACCEPT:
	case WIRE_COPIED:
	case WIRE_READY:
	case WIRE_COMMIT:
		leave = msg_new(&msg, WIRE_LEAVE, le64_to_cpu(hdr->lproc),
				sizeof(*leave));
		if (leave)
			msg_send(peer->node, peer->id, msg);
		break;
	}
}

/* An answer to the source of a migration. */
static bool for_source(const struct wire_hdr *hdr)
{
	switch (le16_to_cpu(hdr->type)) {
	case WIRE_ACCEPT:
	case WIRE_REFUSE:
	case WIRE_COPIED:
	case WIRE_READY:
	case WIRE_ACTIVE:
	case WIRE_FETCHED:
	case WIRE_STATUS:
		return true;
	default:
		return false;
	}
}

/* What only members say: others have left, or were refused. */
static bool for_members(u32 type)
{
	switch (type) {
	case WIRE_EXIT:
	case WIRE_OP:
	case WIRE_REPLY:
	case WIRE_CALL_AT:
	case WIRE_PROBE:
	case WIRE_PROBED:
	case WIRE_CANCEL:
	case WIRE_MOVED:
	case WIRE_STACK_FREE:
		return true;
	default:
		return false;	/* checked where needed, or for us to let go of something */
	}
}

static bool is_member(const struct lproc *lproc, const struct peer *peer)
{
	return READ_ONCE(lproc->members) & node_bit(peer->id);
}

static bool may_say(const struct lproc *lproc, const struct peer *peer, u32 type)
{
	if (is_member(lproc, peer) || !for_members(type))
		return true;
	/* Before it answers our JOIN it says what it has of our proclets. */
	return type == WIRE_MOVED && READ_ONCE(lproc->join_wait) & node_bit(peer->id);
}

static int msg_dispatch(struct lproc *lproc, struct peer *peer, const void *data, u32 len)
{
	const struct wire_hdr *hdr = data;
	const struct wire_moved *moved = data;
	const struct wire_leave *leave = data;
	const struct wire_exit *end = data;
	u32 type = le16_to_cpu(hdr->type);

	switch (type) {
	case WIRE_LEAVE:
		lproc_lost_member(lproc, peer->id, le32_to_cpu(leave->refused),
				  leave->reason);
		return 0;
	case WIRE_EXIT:
		lproc_exit(lproc, le32_to_cpu(end->event), le32_to_cpu(end->status),
			   le32_to_cpu(end->node), end->reason);
		return 0;
	case WIRE_OP:
		return op_recv(lproc, peer, data);
	case WIRE_REPLY:
		return op_recv_reply(lproc, peer, data);
	case WIRE_PULLED:
		pull_recv_done(lproc, peer, data);
		return 0;
	case WIRE_CALL_AT:
		waiter_recv_call_at(lproc, data);
		return 0;
	case WIRE_PROBE:
		waiter_recv_probe(lproc, peer, data);
		return 0;
	case WIRE_PROBED:
		waiter_recv_probed(lproc, peer, data);
		return 0;
	case WIRE_CANCEL:
		cancel_recv(lproc, peer, data);
		return 0;
	case WIRE_MOVED:
		if (PROCLET_ID_HOME(le64_to_cpu(moved->proclet)) == lproc->node->id)
			step_reach(lproc->node, STEP_HOME_MOVED);
		location_set(lproc, le64_to_cpu(moved->proclet),
			     le64_to_cpu(moved->epoch), le32_to_cpu(moved->node),
			     moved->order ? 1ULL << le32_to_cpu(moved->order) : 0, peer->id);
		return 0;
	case WIRE_STACK_FREE:
		stack_slot_free(lproc, le64_to_cpu(((const struct wire_stack_free *)
						    data)->stack));
		return 0;
	case WIRE_PREPARE:
		migrate_dst_prepare(lproc, peer, data);
		return 0;
	case WIRE_OFFER:
		migrate_dst_offer(lproc, peer, data);
		return 0;
	case WIRE_COMMIT:
	case WIRE_ABORT:
	case WIRE_QUERY:
		migrate_dst_recv(lproc, peer, type, data);
		return 0;
	default:
		if (!for_source(hdr))
			return -EPROTO;
		migrate_src_recv(lproc, peer, type, data);
		return 0;
	}
}

/*
 * In a softirq: what the time of a call or of a migration depends on, and only wakes
 * somebody.
 */
bool xport_recv_now(struct peer *peer, const void *data, u32 len)
{
	const struct wire_hdr *hdr = data;
	struct charge charge;
	struct lproc *lproc;
	bool done = false;
	u32 type;

	if (!READ_ONCE(peer->up) || len < sizeof(*hdr))
		return false;
	type = le16_to_cpu(hdr->type);
	if (type != WIRE_OP && type != WIRE_REPLY && type != WIRE_PULLED && !for_source(hdr))
		return false;
	if (wire_check(data, len))
		return false;	/* xport_recv() says so */
	lproc = lproc_find(peer->node, le64_to_cpu(hdr->lproc), for_source(hdr));
	if (!lproc)
		return false;
	if (!may_say(lproc, peer, type)) {
		lproc_done(lproc);
		return false;
	}
	if (is_member(lproc, peer))
		clock_hear(lproc, hdr);
	charge_begin(&charge, lproc);
	if (type == WIRE_OP)
		done = op_recv_now(lproc, peer, data);
	else if (type == WIRE_REPLY)
		done = op_recv_reply_now(lproc, peer, data);
	else if (type == WIRE_PULLED)
		done = pull_recv_done(lproc, peer, data);
	else
		done = migrate_src_hear(lproc, peer, type, data);
	charge_end(&charge);
	lproc_done(lproc);
	return done;
}

int xport_recv(struct peer *peer, const void *data, u32 len)
{
	const struct wire_hdr *hdr = data;
	struct charge charge;
	struct lproc *lproc;
	const char *why;
	int err;

	if (!READ_ONCE(peer->up))
		return auth_recv(peer, data, len);
	why = wire_check(data, len);
	if (why) {
		pr_warn_ratelimited("proclet: node %s: bad message from peer %s (%s), dropping the connection\n",
				    peer->node->name, peer->name, why);
		return -EPROTO;
	}
	switch (le16_to_cpu(hdr->type)) {
	case WIRE_JOIN:
		lproc_handle_join(peer, data);
		return 0;
	case WIRE_JOIN_ACK:
		lproc_handle_join_ack(peer, data);
		return 0;
	case WIRE_CHALLENGE:
	case WIRE_PROOF:
		return -EPROTO;
	}
	lproc = lproc_find(peer->node, le64_to_cpu(hdr->lproc), for_source(hdr));
	if (!lproc) {
		msg_no_member(peer, hdr);
		return 0;
	}
	if (!may_say(lproc, peer, le16_to_cpu(hdr->type))) {
		msg_unread(peer, hdr);
		lproc_done(lproc);
		return 0;
	}
	if (is_member(lproc, peer))
		clock_hear(lproc, hdr);
	charge_begin(&charge, lproc);
	err = msg_dispatch(lproc, peer, data, len);
	charge_end(&charge);
	lproc_done(lproc);
	return err == -EPROTO ? err : 0;
}
