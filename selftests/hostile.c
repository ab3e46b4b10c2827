// SPDX-License-Identifier: GPL-2.0
/*
 * A peer that knows the key and does not do what the protocol says: node 2's member, in
 * the name of its node, to node 3 (transport rdma). It loses its connection, or is not
 * listened to; node 3, its link to node 1 and everybody's proclets go on.
 *
 * PROCLET_TEST_SEED and PROCLET_TEST_SECONDS are for the random part.
 */
#include "impostor.h"
#include "three.h"

#include <signal.h>

#define IT 3			/* whom it talks to */
#define MIG 0x4d494702		/* of its migrations */
#define HEAP (1ULL << 20)
#define FLOOD 3000		/* proclets that it announces */
#define FLOOD_MAX 1024		/* and that IT prepares for at most */

/* A proclet, or where one could be, of a node's slice. */
static __u64 id_of(int node, __u32 n)
{
	return PROCLET_ID((node - 1) * (PROCLET_SLICE_SIZE >> PROCLET_GRANULE_SHIFT) + n, 77);
}

static __u64 stack_of(int node, __u32 n)
{
	return PROCLET_REGION_BASE + (node - 1) * PROCLET_SLICE_SIZE + PROCLET_STACKS_OFF +
	       n * PROCLET_STACK_SIZE;
}

/* ---- node 2: the connection ---- */

union msg {
	struct wire_hdr hdr;
	struct wire_challenge challenge;
	struct wire_proof proof;
	struct wire_join join;
	struct wire_join_ack join_ack;
	struct wire_leave leave;
	struct wire_exit exit;
	struct wire_op op;
	struct wire_reply reply;
	struct wire_pulled pulled;
	struct wire_call_at call_at;
	struct wire_probe probe;
	struct wire_cancel cancel;
	struct wire_moved moved;
	struct wire_stack_free stack_free;
	struct wire_prepare prepare;
	struct wire_offer offer;
	struct wire_mig mig;
	unsigned char bytes[WIRE_MSG_MAX + 64];
};

static struct impostor me;
static bool connected;
static struct thing *own;		/* what node 2's proclet has */
static struct wire_join our_join;	/* as IT has introduced itself */
static union msg heard;
static struct wire_mig query;		/* the last one */
static unsigned int joins;		/* that have not been answered yet */

static void hang_up(void)
{
	if (connected)
		impostor_end(&me);
	connected = false;
	joins = 0;
}

/* The next of that type; a QUERY does not wait for that. */
static int await(__u32 type)
{
	int ret;

	do {
		ret = impostor_hear(&me, &heard, sizeof(heard), 10000);
		if (ret > 0 && heard.hdr.type == htole16(WIRE_QUERY))
			query = heard.mig;
		joins -= ret > 0 && heard.hdr.type == htole16(WIRE_JOIN_ACK);
	} while (ret > 0 && heard.hdr.type != htole16(type));
	return ret;
}

static int say(const void *msg)
{
	const struct wire_hdr *hdr = msg;

	joins += hdr->type == htole16(WIRE_JOIN);
	return impostor_say(&me, msg, le32toh(hdr->len));
}

/* Does IT still listen? All that was said before has been handled then. */
static int alive(void)
{
	int ret = say(&our_join);

	while (ret >= 0 && joins)
		ret = await(WIRE_JOIN_ACK);
	if (ret < 0) {
		hang_up();
		return -ECONNRESET;
	}
	return heard.join_ack.status ? -EBADE : 0;
}

static int call_up(void)
{
	int ret;

	if (connected)
		return 0;
	connected = true;
	ret = impostor_of_node2(&me, PORT) ?: impostor_shake(&me, SECRET) ?: await(WIRE_JOIN);
	if (ret > 0) {
		our_join = heard.join;
		our_join.hdr.clock = 0;
		ret = alive() ? -EPROTO : 0;
	}
	if (ret < 0)
		hang_up();
	return ret;
}

/* ---- node 2: messages that could be right ---- */

static __u32 begin(union msg *m, __u32 type, __u32 len)
{
	memset(m, 0, sizeof(*m));
	m->hdr.type = htole16(type);
	m->hdr.len = htole32(len);
	m->hdr.lproc = our_join.hdr.lproc;
	return len;
}

static void token(struct wire_token *t)
{
	t->seq = htole64(0x5e9);
	t->node = htole32(2);
}

static void begin_op(union msg *m, __u32 op, __u64 target, __u32 extra)
{
	begin(m, WIRE_OP, sizeof(m->op) + extra);
	m->op.op = htole32(op);
	m->op.target = htole64(target);
	token(&m->op.token);
}

static void begin_mig(union msg *m, __u32 type, __u64 id)
{
	begin(m, type, sizeof(m->mig));
	m->mig.proclet = htole64(id);
	m->mig.mig = htole64(MIG);
}

static void begin_prepare(union msg *m, __u64 id)
{
	begin(m, WIRE_PREPARE, sizeof(m->prepare));
	m->prepare.proclet = htole64(id);
	m->prepare.mig = htole64(MIG);
	m->prepare.epoch = htole64(1);
	m->prepare.capacity = htole64(HEAP);
	m->prepare.brk = htole64(2 * WIRE_PAGE_SIZE);
	m->prepare.npages = htole64(1);
}

/* A heap, with a page if wanted, and perhaps a thread; they are where impostor_got() is. */
static __u32 make_blob(void *to, __u64 id, bool thread, bool page)
{
	struct wire_extent *e;
	struct wire_thread *t;
	struct wire_blob *head = to;
	struct wire_seg *s = (void *)(head + 1);
	struct wire_desc *d;

	head->nsegs = htole32(1 + thread);
	head->nextents = htole32(page + thread);
	head->nthreads = htole32(thread);
	head->ndescs = htole32(page || thread);
	s->start = htole64(PROCLET_ID_HEAP(id));
	s->limit = htole64(2 * WIRE_PAGE_SIZE);
	s->nextents = htole32(page);
	s++;
	if (thread) {
		s->start = htole64(stack_of(2, 1000));
		s->limit = htole64(PROCLET_STACK_SIZE);
		s->nextents = htole32(1);
		s++;
	}
	e = (void *)s;
	for (int i = 0; i < page + thread; i++, e++)
		e->count = htole32(1);
	t = (void *)e;
	if (thread) {
		t->stack = htole64(stack_of(2, 1000));
		t->seq = htole64(1);
		t++;
	}
	d = (void *)t;
	if (page || thread) {
		d->addr = htole64((uintptr_t)impostor_got(&me));
		d->rkey = htole32(me.mr->rkey);
		d->len = htole32((page + thread) * WIRE_PAGE_SIZE);
		d++;
	}
	return (void *)d - to;
}

static void begin_offer(union msg *m, __u64 id, bool thread, bool page)
{
	__u32 len;

	begin(m, WIRE_OFFER, 0);
	len = make_blob(&m->offer + 1, id, thread, page);
	m->hdr.len = htole32(sizeof(m->offer) + len);
	m->offer.proclet = htole64(id);
	m->offer.mig = htole64(MIG);
	m->offer.keep = htole64(HEAP);
	m->offer.blob_len = htole32(len);
	m->offer.refs = htole32(1);
}

/* One of each type that could be right, and has no effect. */
static __u32 make_msg(union msg *m, __u32 type)
{
	__u64 id = id_of(2, 500);

	switch (type) {
	case WIRE_JOIN:
		begin(m, type, sizeof(m->join));
		m->join = our_join;
		break;
	case WIRE_LEAVE:
		begin(m, type, sizeof(m->leave));
		m->leave.refused = htole32(1);
		break;
	case WIRE_EXIT:
		begin(m, type, sizeof(m->exit));
		m->exit.node = htole32(2);
		m->exit.event = htole32(PROCLET_EVENT_EXIT);
		break;
	case WIRE_OP:
		begin_op(m, PROCLET_OP_STATS, IT, 0);
		break;
	case WIRE_REPLY:
		begin(m, type, sizeof(m->reply));
		token(&m->reply.token);
		m->reply.token.node = htole32(IT);
		m->reply.from = htole32(2);
		break;
	case WIRE_CALL_AT:
		begin(m, type, sizeof(m->call_at));
		token(&m->call_at.token);
		m->call_at.token.node = htole32(IT);
		m->call_at.node = htole32(2);
		break;
	case WIRE_PROBE:
	case WIRE_PROBED:
		begin(m, type, sizeof(m->probe) + sizeof(m->probe.tokens[0]));
		m->probe.count = htole32(1);
		token(&m->probe.tokens[0]);
		break;
	case WIRE_CANCEL:
		begin(m, type, sizeof(m->cancel));
		token(&m->cancel.token);
		m->cancel.target = htole64(IT);
		break;
	case WIRE_MOVED:
		begin(m, type, sizeof(m->moved));
		m->moved.proclet = htole64(id);
		m->moved.epoch = htole64(1);
		m->moved.node = htole32(2);
		break;
	case WIRE_STACK_FREE:
		begin(m, type, sizeof(m->stack_free));
		m->stack_free.stack = htole64(stack_of(2, 5));
		break;
	case WIRE_PREPARE:
		begin_prepare(m, id);
		break;
	case WIRE_OFFER:
		begin_offer(m, id, false, true);
		break;
	case WIRE_CHALLENGE:
		begin(m, type, sizeof(m->challenge));
		m->challenge = me.ours;
		break;
	case WIRE_PROOF:
		begin(m, type, sizeof(m->proof));
		m->hdr.lproc = 0;
		break;
	case WIRE_JOIN_ACK:
		begin(m, type, sizeof(m->join_ack));
		m->join_ack.status = htole32(-ENOENT);
		break;
	case WIRE_PULLED:
		begin(m, type, sizeof(m->pulled));
		m->pulled.pull = htole64(12345);
		break;
	default:
		begin_mig(m, type, id);
	}
	return le32toh(m->hdr.len);
}

/* One with a field that has another value. */
struct poke {
	const char *name;
	__u32 type;
	__u32 off;
	__u32 size;
	__u64 value;
};

#define POKE(t, member, field, v) { #member "." #field " = " #v, t, offsetof(union msg, member.field), \
				    sizeof(((union msg *)0)->member.field), v }

/* What is not well formed: IT ends the connection. */
static const struct poke bad[] = {
	POKE(WIRE_JOIN, hdr, type, 0),
	POKE(WIRE_JOIN, hdr, type, WIRE_TYPES),
	POKE(WIRE_JOIN, hdr, type, 0xffff),
	POKE(WIRE_JOIN, hdr, reserved, 1),
	POKE(WIRE_JOIN, hdr, len, 0),
	POKE(WIRE_JOIN, hdr, len, sizeof(struct wire_join) + 8),
	POKE(WIRE_JOIN, hdr, len, 0xffffffff),
	POKE(WIRE_JOIN, join, name[0], 0),
	POKE(WIRE_JOIN, join, ident.build_id_len, 33),
	POKE(WIRE_JOIN_ACK, join_ack, reason[0], '\n'),
	POKE(WIRE_LEAVE, leave, refused, 2),
	POKE(WIRE_LEAVE, leave, reason[0], 0x1b),
	POKE(WIRE_EXIT, exit, node, 0),
	POKE(WIRE_EXIT, exit, node, 33),
	POKE(WIRE_EXIT, exit, event, PROCLET_EVENT_SPAWN),
	POKE(WIRE_OP, op, op, 0),
	POKE(WIRE_OP, op, op, 0xffffffff),
	POKE(WIRE_OP, op, op, PROCLET_OP_WAIT),
	POKE(WIRE_OP, op, target, 0),
	POKE(WIRE_OP, op, target, ~0ULL),
	POKE(WIRE_OP, op, token.node, 0),
	POKE(WIRE_OP, op, token.node, 0xffffffff),
	POKE(WIRE_OP, op, token.stack, PROCLET_REGION_BASE),
	POKE(WIRE_OP, op, token.proclet, 1ULL << 32),
	POKE(WIRE_OP, op, out_cap, PROCLET_PAYLOAD_MAX + 1),
	POKE(WIRE_OP, op, out_cap, ~0ULL),
	POKE(WIRE_OP, op, off, 8),
	POKE(WIRE_OP, op, hops, WIRE_HOPS_MAX + 1),
	POKE(WIRE_OP, op, payload.len, 8),
	POKE(WIRE_OP, op, payload.len, 0xffffffff),
	POKE(WIRE_OP, op, payload.ndescs, 1),
	POKE(WIRE_OP, op, payload.ndescs, 0xffffffff),
	POKE(WIRE_REPLY, reply, from, 0),
	POKE(WIRE_REPLY, reply, hops, 0xffffffff),
	POKE(WIRE_REPLY, reply, payload.ndescs, WIRE_DESCS_MAX + 1),
	POKE(WIRE_CALL_AT, call_at, node, 33),
	POKE(WIRE_CALL_AT, call_at, hops, WIRE_HOPS_MAX + 1),
	POKE(WIRE_PROBE, probe, count, 0),
	POKE(WIRE_PROBE, probe, count, 2),
	POKE(WIRE_PROBE, probe, count, 0xffffffff),
	POKE(WIRE_PROBED, probe, tokens[0].node, 0),
	POKE(WIRE_CANCEL, cancel, target, 0),
	POKE(WIRE_CANCEL, cancel, hops, 0xffffffff),
	POKE(WIRE_MOVED, moved, proclet, 0),
	POKE(WIRE_MOVED, moved, node, 33),
	POKE(WIRE_STACK_FREE, stack_free, stack, PROCLET_REGION_BASE),
	POKE(WIRE_STACK_FREE, stack_free, stack, ~0ULL),
	POKE(WIRE_PREPARE, prepare, proclet, 0),
	POKE(WIRE_PREPARE, prepare, epoch, 0),
	POKE(WIRE_PREPARE, prepare, epoch, ~0ULL),
	POKE(WIRE_PREPARE, prepare, capacity, 0),
	POKE(WIRE_PREPARE, prepare, capacity, HEAP + 1),
	POKE(WIRE_PREPARE, prepare, capacity, ~0ULL),
	POKE(WIRE_PREPARE, prepare, brk, HEAP + WIRE_PAGE_SIZE),
	POKE(WIRE_PREPARE, prepare, npages, 3),
	POKE(WIRE_PREPARE, prepare, npages, ~0ULL),
	POKE(WIRE_PREPARE, prepare, nthreads, 0xffffffff),
	POKE(WIRE_OFFER, offer, blob_len, 0),
	POKE(WIRE_OFFER, offer, blob_len, WIRE_BLOB_MAX + 1),
	POKE(WIRE_OFFER, offer, ndescs, 0xffffffff),
	POKE(WIRE_OFFER, offer, keep, 1),
	POKE(WIRE_OFFER, offer, keep, ~0ULL << 12),
	POKE(WIRE_OFFER, offer, refs, 0),
	POKE(WIRE_OFFER, offer, refs, 0xffffffff),
	POKE(WIRE_OFFER, offer, flags, WIRE_OFFER_READ | WIRE_OFFER_TAIL),
	POKE(WIRE_OFFER, offer, flags, 0xffffffff),
	POKE(WIRE_QUERY, mig, proclet, 0),
	/* Well formed, but not of this part of a connection. */
	POKE(WIRE_CHALLENGE, challenge, reserved, 0),
	POKE(WIRE_PROOF, proof, mac[0], 1),
};

/* What is nobody's, comes twice, or at the wrong time: it is not listened to. */
static const struct poke odd[] = {
	POKE(WIRE_JOIN, join, uid, 12345),
	POKE(WIRE_JOIN, join, ident.page_size, 1),
	POKE(WIRE_JOIN, join, run, 1),
	POKE(WIRE_JOIN, hdr, lproc, 1),
	POKE(WIRE_JOIN_ACK, join_ack, status, -EXDEV),
	POKE(WIRE_JOIN_ACK, join_ack, status, 0x7fffffff),
	POKE(WIRE_LEAVE, hdr, lproc, 1),
	POKE(WIRE_EXIT, hdr, lproc, 1),
	POKE(WIRE_OP, hdr, clock, ~0ULL),
	POKE(WIRE_OP, hdr, clock, 1),
	POKE(WIRE_OP, hdr, lproc, 1),
	POKE(WIRE_OP, op, target, 32),
	POKE(WIRE_OP, op, token.node, 32),
	POKE(WIRE_OP, op, hops, WIRE_HOPS_MAX),
	POKE(WIRE_REPLY, reply, token.seq, ~0ULL),
	POKE(WIRE_REPLY, reply, token.node, 1),
	POKE(WIRE_REPLY, reply, hops, WIRE_HOPS_MAX),
	POKE(WIRE_PULLED, pulled, pull, 0),
	POKE(WIRE_PULLED, pulled, pull, ~0ULL),
	POKE(WIRE_CALL_AT, call_at, node, 32),
	POKE(WIRE_CALL_AT, call_at, hops, WIRE_HOPS_MAX),
	POKE(WIRE_PROBE, probe, tokens[0].seq, ~0ULL),
	POKE(WIRE_PROBED, probe, tokens[0].held, ~0U),
	POKE(WIRE_CANCEL, cancel, target, 1),
	POKE(WIRE_CANCEL, cancel, hops, WIRE_HOPS_MAX),
	POKE(WIRE_MOVED, moved, node, 0),
	POKE(WIRE_MOVED, moved, epoch, ~0ULL),
	POKE(WIRE_PREPARE, hdr, lproc, 1),
	POKE(WIRE_PREPARE, prepare, flags, ~0U),
	POKE(WIRE_PREPARE, prepare, nthreads, 1 << 20),
	POKE(WIRE_OFFER, offer, flags, WIRE_OFFER_TAIL),
	POKE(WIRE_OFFER, hdr, lproc, 1),
	POKE(WIRE_ACCEPT, mig, epoch, ~0ULL),
	POKE(WIRE_REFUSE, mig, status, 1),
	POKE(WIRE_COPIED, mig, mig, 0),
	POKE(WIRE_READY, mig, mig, ~0ULL),
	POKE(WIRE_COMMIT, mig, epoch, ~0ULL),
	POKE(WIRE_ACTIVE, mig, ns, ~0ULL),
	POKE(WIRE_FETCHED, mig, mig, 0),
	POKE(WIRE_ABORT, mig, status, 0x7fffffff),
	POKE(WIRE_QUERY, mig, epoch, ~0ULL),
	POKE(WIRE_STATUS, mig, status, 1),
};

static void make_poke(union msg *m, const struct poke *p)
{
	__u64 value = htole64(p->value);

	make_msg(m, p->type);
	memcpy(m->bytes + p->off, &value, p->size);
}

/* ---- node 2: what it does, until a method's end ---- */

struct order {
	int (*deed)(const struct order *o);	/* the same in all members */
	__u32 arg;
	__u32 seconds;
	__u64 seed;
	proclet_t victim;
};

/* 0: IT goes on listening; -ECONNRESET: it has ended the connection. */
static int do_poke_bad(const struct order *o)
{
	union msg m;
	__u32 len;

	make_poke(&m, &bad[o->arg]);
	len = bad[o->arg].off == offsetof(union msg, hdr.len) ? sizeof(m.join) :
								le32toh(m.hdr.len);
	return impostor_say(&me, &m, len) ?: alive();
}

static int do_poke_odd(const struct order *o)
{
	union msg m;

	make_poke(&m, &odd[o->arg]);
	/* Twice: replayed. */
	return say(&m) ?: say(&m) ?: alive();
}

/* All types, too short and too long; @arg: type, and bit 8: which. */
static int do_cut(const struct order *o)
{
	__u32 type = o->arg & 0xff, len;
	union msg m;

	len = make_msg(&m, type);
	len = o->arg & 0x100 ? len + 8 : len - 8;
	m.hdr.len = htole32(len);
	return impostor_say(&me, &m, len) ?: alive();
}

/* In a packet: its header. */
enum packet { CREDITS, FLAGS, SHORT, LONG, EMPTY, HUGE, SECOND_CUT, SECOND_BAD, PACKETS };

static int do_packet(const struct order *o)
{
	struct rdma_hdr *hdr = (void *)impostor_tx(&me);
	union msg *m = (void *)(hdr + 1);
	__u32 len = make_msg(m, WIRE_PULLED), sent;

	hdr->credits = htole16(o->arg == CREDITS ? 0xffff : 0);
	hdr->flags = htole16(o->arg == FLAGS ? 0x8000 : 0);
	switch (o->arg) {
	case EMPTY:
		len = 0;
		break;
	case SECOND_CUT:
		len += 4;
		break;
	case SECOND_BAD:
		m->bytes[len] = 0xff;
		len += sizeof(m->hdr);
		break;
	}
	sent = sizeof(*hdr) + len;
	hdr->len = htole32(len + (o->arg == LONG ? 8 : o->arg == SHORT ? -8 : 0));
	if (o->arg == HUGE) {
		sent = IMPOSTOR_ROOM + 4096;
		hdr->len = htole32(sent - sizeof(*hdr));
	}
	return impostor_send(&me, sent) ?: alive();
}

/* A key that is none: IT cannot read, and ends the connection. @arg: in what */
static int do_bad_rkey(const struct order *o)
{
	struct wire_desc desc = {
		.addr = htole64(o->arg & 1 ? ~0ULL << 12 : (uintptr_t)impostor_got(&me)),
		.rkey = htole32(me.mr->rkey ^ (o->arg & 1 ? 0 : 0x5a5a00)),
		.len = htole32(WIRE_PAGE_SIZE),
	};
	struct wire_payload pl = { .len = htole32(WIRE_PAGE_SIZE), .ndescs = htole32(1) };
	union msg m;
	__u32 len;

	if (o->arg & 2)
		make_msg(&m, WIRE_REPLY);
	else
		begin_op(&m, PROCLET_OP_CALL, o->victim, 0);
	len = le32toh(m.hdr.len);
	memcpy(m.bytes + len - sizeof(pl), &pl, sizeof(pl));
	memcpy(m.bytes + len, &desc, sizeof(desc));
	m.hdr.len = htole32(len + sizeof(desc));
	return say(&m) ?: impostor_is_lost(&me, BOUND * 1000) ? -ECONNRESET : -ETIMEDOUT;
}

static int answer_is(__u32 type, int status)
{
	int ret = await(type);

	if (ret < 0)
		return ret;
	return status && (int)le32toh(heard.mig.status) != status ? -EBADMSG : 0;
}

/* Bring a proclet: up to that message of ours. */
static int bring(__u64 id, __u64 epoch, __u32 until)
{
	union msg m;
	int ret;

	begin_prepare(&m, id);
	m.prepare.epoch = htole64(epoch);
	ret = say(&m) ?: answer_is(WIRE_ACCEPT, 0);
	if (ret || until == WIRE_PREPARE)
		return ret;
	begin_offer(&m, id, false, true);
	ret = say(&m) ?: answer_is(WIRE_READY, 0);
	if (ret || until == WIRE_OFFER)
		return ret;
	begin_mig(&m, WIRE_COMMIT, id);
	return say(&m) ?: answer_is(WIRE_ACTIVE, 0);
}

/* Proclets that IT cannot take: its own ones that are there, or never were. */
static int do_false_prepare(const struct order *o)
{
	union msg m;

	begin_prepare(&m, o->arg ? id_of(IT, 4321) : o->victim);
	return say(&m) ?: answer_is(WIRE_REFUSE, o->arg ? -EHOSTUNREACH : -EBUSY) ?: alive();
}

/* More than there can be in any budget. */
static int do_huge_prepare(const struct order *o)
{
	union msg m;

	begin_prepare(&m, id_of(2, 1 << 16));
	if (o->arg) {
		m.prepare.capacity = htole64(PROCLET_CAPACITY_MAX);
		m.prepare.brk = htole64(PROCLET_CAPACITY_MAX);
	} else {
		m.prepare.nthreads = htole32(1 << 20);
		m.prepare.npages = htole64(1 << 30);
	}
	return say(&m) ?: answer_is(WIRE_REFUSE, -ENOMEM) ?: alive();
}

/* COMMIT and OFFER when they are not expected. */
static int do_wrong_order(const struct order *o)
{
	__u64 id = id_of(2, 501);
	union msg m;
	int ret;

	(void)o;
	ret = bring(id, 1, WIRE_PREPARE);
	begin_mig(&m, WIRE_COMMIT, id);
	ret = ret ?: say(&m);
	begin_prepare(&m, id);
	ret = ret ?: say(&m) ?: answer_is(WIRE_REFUSE, -EBUSY);
	begin_offer(&m, id, false, true);
	ret = ret ?: say(&m) ?: say(&m) ?: answer_is(WIRE_READY, 0) ?: say(&m);
	begin_mig(&m, WIRE_ABORT, id);
	ret = ret ?: say(&m) ?: say(&m) ?: answer_is(WIRE_REFUSE, 0);
	begin_mig(&m, WIRE_COMMIT, id);
	ret = ret ?: say(&m);
	begin_mig(&m, WIRE_QUERY, id);
	ret = ret ?: say(&m) ?: await(WIRE_STATUS);
	if (ret < 0)
		return ret;
	return heard.mig.status ? -EBADMSG : alive();
}

/* An offer that is read from where nothing is; @arg: by post-copy, when it runs there. */
static int do_bad_offer(const struct order *o)
{
	__u64 id = id_of(2, 502);
	struct wire_desc *desc;
	union msg m;
	int ret = bring(id, 1, WIRE_PREPARE);

	begin_offer(&m, id, false, true);
	desc = (void *)(m.bytes + le32toh(m.hdr.len) - sizeof(*desc));
	desc->rkey = htole32(me.mr->rkey ^ 0x5a5a00);
	if (o->arg) {
		m.offer.refs = 0;
		m.offer.flags = htole32(WIRE_OFFER_EARLY | WIRE_OFFER_TAIL);
		ret = ret ?: say(&m) ?: answer_is(WIRE_COPIED, 0);
		begin_offer(&m, id, false, false);
		m.offer.flags = htole32(WIRE_OFFER_TAIL);
	}
	ret = ret ?: say(&m);
	return ret ?: impostor_is_lost(&me, BOUND * 1000) ? -ECONNRESET : -ETIMEDOUT;
}

/* A proclet of its own, which is IT's from now on. */
static int do_bring(const struct order *o)
{
	return bring(o->victim, o->seed, WIRE_COMMIT) ?: alive();
}

/* It says of IT's proclet, and of one's there, that they are elsewhere, or are no more. */
static int do_false_news(const struct order *o)
{
	static const __u32 nodes[] = { 2, 0, 1, 31 };
	union msg m;
	int ret = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(nodes) && !ret; i++) {
		make_msg(&m, WIRE_MOVED);
		m.moved.proclet = htole64(o->victim);
		m.moved.epoch = htole64(1ULL << 40);
		m.moved.node = htole32(nodes[i]);
		ret = say(&m);
	}
	return ret ?: alive();
}

static int write_byte(const struct order *o)
{
	union msg m;

	begin_op(&m, PROCLET_OP_WRITE, o->victim, 1);
	m.op.off = htole64(offsetof(struct thing, data));
	m.op.payload.len = htole32(1);
	*(char *)(&m.op + 1) = 0x55;
	return say(&m);
}

/* Who has left is no member. */
static int do_after_leave(const struct order *o)
{
	union msg m;
	int ret;

	make_msg(&m, WIRE_LEAVE);
	m.leave.refused = 0;
	ret = say(&m) ?: write_byte(o);
	make_msg(&m, WIRE_EXIT);
	ret = ret ?: say(&m);
	begin_prepare(&m, id_of(2, 505));
	return ret ?: say(&m) ?: answer_is(WIRE_REFUSE, -EHOSTUNREACH) ?: alive();
}

/* All segments that IT has given out are free, it says. */
static int do_free_stacks(const struct order *o)
{
	union msg m;
	int ret = 0;

	for (__u32 n = 0; n < 64 && !ret; n++) {
		make_msg(&m, WIRE_STACK_FREE);
		m.stack_free.stack = htole64(stack_of(IT, n));
		ret = say(&m);
		if (n % 8 == 7)
			ret = ret ?: alive();
	}
	(void)o;
	return ret;
}

/* Announce many proclets; how many IT prepares for. */
static int do_flood(const struct order *o)
{
	int accepted = 0, answers = 0, ret = 0;
	union msg m;

	(void)o;
	for (__u32 n = 0; n < FLOOD && !ret; n++) {
		begin_prepare(&m, id_of(2, 1000 + n));
		m.prepare.mig = htole64(MIG + n);
		ret = say(&m);
		while (!ret && answers < (int)n - 8) {
			ret = impostor_hear(&me, &heard, sizeof(heard), BOUND * 1000);
			if (ret < 0)
				return ret;
			ret = 0;
			accepted += heard.hdr.type == htole16(WIRE_ACCEPT);
			answers += heard.hdr.type == htole16(WIRE_ACCEPT) ||
				   heard.hdr.type == htole16(WIRE_REFUSE);
		}
	}
	ret = ret ?: alive();
	return ret ?: accepted;
}

/* Flip some of @len bytes. */
static void mutate(__u64 *state, void *data, __u32 len)
{
	static const __u8 values[] = { 0, 1, 0x7f, 0x80, 0xff, 0x10, 0x20 };
	__u8 *bytes = data;
	__u64 r;

	for (__u32 n = 1 + next_random(state) % 3; n; n--) {
		r = next_random(state);
		bytes[r % len] = r >> 62 ? (__u8)(r >> 32) : values[(r >> 40) % sizeof(values)];
	}
}

/* A blob that is almost right; nothing of it is to run there. */
static int mutate_blob(__u64 *state, __u32 n)
{
	__u64 id = id_of(2, 600 + n % 100);
	struct wire_blob *blob;
	union msg m;
	__u32 len;
	int ret;

	begin_prepare(&m, id);
	m.prepare.nthreads = htole32(1);
	m.prepare.mig = htole64(MIG + n);
	ret = say(&m) ?: answer_is(WIRE_ACCEPT, 0);
	if (ret)
		return ret;
	begin_offer(&m, id, true, true);
	m.offer.mig = htole64(MIG + n);
	blob = (void *)(&m.offer + 1);
	len = le32toh(m.offer.blob_len);
	if (next_random(state) % 4 == 0) {
		m.offer.refs = 0;
		m.offer.flags = htole32(next_random(state) % 8 | WIRE_OFFER_EARLY);
	}
	mutate(state, blob, len);
	m.offer.flags &= ~htole32(m.offer.refs ? WIRE_OFFER_TAIL : 0);
	ret = say(&m);
	begin_mig(&m, WIRE_ABORT, id);
	m.mig.mig = htole64(MIG + n);
	return ret ?: say(&m) ?: answer_is(WIRE_REFUSE, 0);
}

/* Messages that are almost right, at random. How many; -errno: it was not let in again. */
static int do_random(const struct order *o)
{
	double end = seconds() + o->seconds;
	__u32 n, type, lost = 0;
	__u64 state = o->seed;
	union msg m;
	int ret;

	for (n = 0; seconds() < end; n++) {
		ret = call_up();
		if (ret)
			return ret;
		if (next_random(&state) % 4 == 0) {
			ret = mutate_blob(&state, n);
		} else {
			do {
				type = 1 + next_random(&state) % (WIRE_CHALLENGE - 1);
			} while (type == WIRE_EXIT);
			make_msg(&m, type);
			mutate(&state, &m.hdr + 1, le32toh(m.hdr.len) - sizeof(m.hdr));
			ret = say(&m);
		}
		if (ret || alive()) {
			hang_up();
			lost++;
		}
	}
	diag("%u messages, %u connections lost", n, lost);
	return n;
}

/* As the destination of a migration. */
enum lie { STRANGE_REFUSAL, ALL_AT_ONCE, IN_DOUBT, LIES, SILENCE };

static int await_type_of(__u32 type, struct wire_mig *m)
{
	int ret = await(type);

	if (ret < 0)
		return ret;
	/* PREPARE and OFFER begin like it. */
	memcpy(m, &heard, sizeof(*m));
	m->hdr.len = htole32(sizeof(*m));
	m->hdr.clock = 0;
	m->epoch = 0;
	m->status = 0;
	m->reserved = 0;
	m->ns = 0;
	return 0;
}

static int say_mig(struct wire_mig *m, __u32 type, int status)
{
	m->hdr.type = htole16(type);
	m->status = htole32(status);
	return say(m);
}

static int do_lie(const struct order *o)
{
	struct proclet_migrate_args args = { .node = 2, .flags = PROCLET_MOVE_STOP };
	struct wire_mig mig;
	union msg m;
	int ret;

	begin_op(&m, PROCLET_OP_MIGRATE, o->victim, sizeof(args));
	m.op.payload.len = htole32(sizeof(args));
	m.op.out_cap = htole64(sizeof(struct proclet_move));
	memcpy(&m.op + 1, &args, sizeof(args));
	ret = say(&m) ?: await_type_of(WIRE_PREPARE, &mig);
	if (ret)
		return ret;
	if (o->arg == STRANGE_REFUSAL) {
		ret = say_mig(&mig, WIRE_REFUSE, 0x7fffffff) ?: await(WIRE_REPLY);
		return ret < 0 ? ret : (__s64)le64toh(heard.reply.result) == -EREMOTEIO ?
			alive() : -EBADMSG;
	}
	ret = say_mig(&mig, WIRE_ACCEPT, 0) ?: say_mig(&mig, WIRE_ACCEPT, 0) ?:
	      await_type_of(WIRE_OFFER, &mig);
	if (ret)
		return ret;
	if (o->arg == ALL_AT_ONCE) {
		mig.mig ^= htole64(1);
		ret = say_mig(&mig, WIRE_READY, 0) ?: say_mig(&mig, WIRE_ACTIVE, 0) ?:
		      say_mig(&mig, WIRE_FETCHED, 0) ?: say_mig(&mig, WIRE_STATUS, 1);
		mig.mig ^= htole64(1);
		return ret ?: say_mig(&mig, WIRE_REFUSE, -ENOMEM) ?: alive();
	}
	if (o->arg == SILENCE) {
		/* It lives, but does not say what IT waits for. */
		own->counter = 1;
		make_msg(&m, WIRE_PULLED);
		for (int i = 0; i < 2 * BOUND; i++) {
			ret = say(&m) ?: impostor_hear(&me, &heard, sizeof(heard), 1000);
			if (ret < 0 && ret != -ETIMEDOUT)
				return -ECONNRESET;
		}
		return -ETIMEDOUT;
	}
	ret = say_mig(&mig, WIRE_READY, 0) ?: await_type_of(WIRE_COMMIT, &mig);
	if (ret)
		return ret;
	hang_up();
	memset(&query, 0, sizeof(query));
	ret = call_up();
	if (!ret && !query.hdr.len)
		ret = await(WIRE_QUERY);
	return ret < 0 ? ret : say_mig(&query, WIRE_STATUS, 0) ?: alive();
}

/* What that deed comes to. */
static ssize_t visit(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct order *o = in;
	int ret;

	own = root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(*o))
		return -EINVAL;
	ret = call_up();
	if (ret)
		return ret == -ECONNRESET ? -EACCES : ret;
	ret = o->deed(o);
	if (ret < 0)
		hang_up();
	return ret;
}
PROCLET_METHOD(visit);

static ssize_t leave(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	hang_up();
	return 0;
}
PROCLET_METHOD(leave);

/* ---- node 3 ---- */

/* Move a proclet from here to node 1, for the errno. */
static ssize_t pass_on(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	proclet_t p;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(p))
		return -EINVAL;
	memcpy(&p, in, sizeof(p));
	return proclet_migrate(p, 1, 0);
}
PROCLET_METHOD(pass_on);

/* ---- the root, on node 1 ---- */

static __u64 increments, connects;

static void end_all_visits(void)
{
	proclet_call(on[2], leave, NULL, 0, NULL, 0);
	if (*status(2, "n3"))
		return;
	give_node2_back();
}

static int begin_visits(void)
{
	TRY(take_node2());
	tap_end = end_all_visits;
	connects = counter(1, "n3", CONNECTS);
	CHECK_EQ(proclet_read(on[3], offsetof(struct thing, counter), &increments,
			      sizeof(increments)), sizeof(increments));
	return KSFT_PASS;
}

/* All is well with the others. */
static int nothing_happened(void)
{
	__u64 count;

	CHECK_EQ(proclet_call(on[3], increment, NULL, 0, NULL, 0), 0);
	CHECK_EQ(proclet_call(on[3], relay, &on[1], sizeof(on[1]), NULL, 0), 0);
	CHECK_EQ(proclet_read(on[3], offsetof(struct thing, counter), &count, sizeof(count)),
		 sizeof(count));
	CHECK_EQ(count, ++increments);
	CHECK_EQ(counter(1, "n3", CONNECTS), connects);
	return KSFT_PASS;
}

static ssize_t send_to_visit(int (*deed)(const struct order *o), __u32 arg, __u64 seed,
			     __u32 how_long, proclet_t victim)
{
	struct order o = { deed, arg, how_long, seed, victim };

	return proclet_call(on[2], visit, &o, sizeof(o), NULL, 0);
}

static int expect(int (*deed)(const struct order *o), __u32 arg, int fate, const char *name)
{
	ssize_t ret = send_to_visit(deed, arg, 0, 0, on[3]);

	if (ret != fate)
		diag("%s %u", name, arg);
	CHECK_EQ(ret, fate);
	return KSFT_PASS;
}

static int end_visits(void)
{
	CHECK_EQ(proclet_call(on[2], leave, NULL, 0, NULL, 0), 0);
	TRY(nothing_happened());
	return give_node2_back();
}

static int malformed_end_the_connection(void)
{
	TRY(begin_visits());
	for (__u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		TRY(expect(do_poke_bad, i, -ECONNRESET, bad[i].name));
		TRY(nothing_happened());
	}
	return end_visits();
}

static int cut_and_stretched_end_it(void)
{
	TRY(begin_visits());
	for (__u32 type = WIRE_JOIN; type < WIRE_TYPES; type++)
		for (__u32 longer = 0; longer < 2; longer++)
			TRY(expect(do_cut, type | longer << 8, -ECONNRESET, "type"));
	TRY(nothing_happened());
	for (__u32 i = 0; i < PACKETS; i++) {
		TRY(expect(do_packet, i, -ECONNRESET, "packet"));
		TRY(nothing_happened());
	}
	return end_visits();
}

static int strange_is_not_listened_to(void)
{
	TRY(begin_visits());
	for (__u32 i = 0; i < ARRAY_SIZE(odd); i++) {
		TRY(expect(do_poke_odd, i, 0, odd[i].name));
		TRY(nothing_happened());
	}
	TRY(expect(do_wrong_order, 0, 0, "wrong order"));
	TRY(expect(do_false_prepare, 0, 0, "what is here"));
	TRY(expect(do_false_prepare, 1, 0, "what never was"));
	TRY(expect(do_huge_prepare, 0, 0, "pages"));
	TRY(expect(do_huge_prepare, 1, 0, "heap"));
	return end_visits();
}

static int bad_keys_end_the_connection(void)
{
	TRY(begin_visits());
	for (__u32 i = 0; i < 4; i++) {
		TRY(expect(do_bad_rkey, i, -ECONNRESET, "payload"));
		TRY(nothing_happened());
	}
	for (__u32 i = 0; i < 2; i++) {
		TRY(expect(do_bad_offer, i, -ECONNRESET, "offer"));
		TRY(nothing_happened());
	}
	return end_visits();
}

/* A home does not believe that what it has is elsewhere. */
static int home_is_not_misled(void)
{
	proclet_t p;

	TRY(begin_visits());
	TRY(make(&p, IT, 1 << 20, sizeof(struct thing)));
	CHECK_EQ(send_to_visit(do_false_news, 0, 0, 0, p), 0);
	CHECK_EQ(proclet_call(p, increment, NULL, 0, NULL, 0), 0);
	CHECK_EQ(proclet_migrate(p, 1, 0), 0);
	CHECK_EQ(proclet_call(p, increment, NULL, 0, NULL, 0), 0);
	/* From its home, which must know. */
	CHECK_EQ(proclet_call(on[3], relay, &p, sizeof(p), NULL, 0), 0);
	TRY(nothing_happened());
	return end_visits();
}

static int who_left_is_not_listened_to(void)
{
	unsigned char byte = 0x11;

	TRY(begin_visits());
	CHECK_EQ(proclet_write(on[3], offsetof(struct thing, data), &byte, 1), 1);
	TRY(expect(do_after_leave, 0, 0, "LEAVE"));
	CHECK_EQ(proclet_read(on[3], offsetof(struct thing, data), &byte, 1), 1);
	CHECK_EQ(byte, 0x11);
	TRY(nothing_happened());
	return end_visits();
}

/* What a proclet of its says of itself is nobody's harm but its own. */
static int its_epoch_harms_nobody(void)
{
	__u64 id = id_of(2, 503);

	TRY(begin_visits());
	CHECK_EQ(send_to_visit(do_bring, 0, ~0ULL, 0, id), -ECONNRESET);
	TRY(nothing_happened());
	CHECK_EQ(send_to_visit(do_bring, 0, WIRE_EPOCH_MAX, 0, id), 0);
	CHECK_EQ(proclet_call(on[3], pass_on, &id, sizeof(id), NULL, 0), -EBUSY);
	TRY(nothing_happened());
	id = id_of(2, 504);
	CHECK_EQ(send_to_visit(do_bring, 0, WIRE_EPOCH_MAX - 1, 0, id), 0);
	CHECK_EQ(proclet_call(on[3], pass_on, &id, sizeof(id), NULL, 0), 0);
	TRY(nothing_happened());
	return end_visits();
}

static int free_segments_are_not_used(void)
{
	TRY(begin_visits());
	TRY(expect(do_free_stacks, 0, 0, "STACK_FREE"));
	/* More at once than there are workers now. */
	for (int i = 0; i < 32; i++)
		caller_start(on[3], relay, &on[1], sizeof(on[1]), NULL, 0);
	for (int i = 0; i < 32; i++)
		CHECK_EQ(caller_wait(&callers[i]), 0);
	TRY(nothing_happened());
	return end_visits();
}

static long long reserved(int node)
{
	char path[64], text[32] = "";

	snprintf(path, sizeof(path), "/sys/class/proclet/n%d/reserved", node);
	proclet_call(on[node], look, path, strlen(path) + 1, text, sizeof(text) - 1);
	return atoll(text);
}

static int a_flood_is_bounded(void)
{
	struct timespec ms = { 0, 20000000 };
	double end;
	long long before;
	ssize_t n;

	TRY(begin_visits());
	before = reserved(3);
	n = send_to_visit(do_flood, 0, 0, 0, on[3]);
	diag("%zd of %d accepted, %lld bytes reserved", n, FLOOD, reserved(3) - before);
	CHECK_GE(n, 1);
	CHECK_GE(FLOOD_MAX, n);
	TRY(nothing_happened());
	CHECK_EQ(proclet_call(on[2], leave, NULL, 0, NULL, 0), 0);
	/* All is given back. */
	for (end = seconds() + BOUND; reserved(3) != before && seconds() < end;)
		nanosleep(&ms, NULL);
	CHECK_EQ(reserved(3), before);
	return end_visits();
}

static int lying_destinations(void)
{
	proclet_t p;

	TRY(begin_visits());
	for (__u32 i = 0; i < LIES; i++) {
		TRY(make(&p, IT, 1 << 20, sizeof(struct thing)));
		diag("lie %u", i);
		CHECK_EQ(send_to_visit(do_lie, i, 0, 0, p), 0);
		CHECK_EQ(proclet_call(p, increment, NULL, 0, NULL, 0), 0);
		CHECK_EQ(proclet_destroy(p), 0);
		TRY(nothing_happened());
	}
	return end_visits();
}

static int random_messages(void)
{
	__u64 seed = env_number("PROCLET_TEST_SEED", time(NULL));
	ssize_t n;

	TRY(begin_visits());
	diag("PROCLET_TEST_SEED=%llu", (unsigned long long)seed);
	n = send_to_visit(do_random, 0, seed, env_number("PROCLET_TEST_SECONDS", 20), on[3]);
	diag("%zd messages", n);
	CHECK_GE(n, 1);
	TRY(nothing_happened());
	return end_visits();
}

/* In a method of a proclet on its node. */
static ssize_t die(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	kill(getpid(), SIGKILL);
	return 0;
}
PROCLET_METHOD(die);

/* Who does not let go of memory does not keep a member from ending. The last test. */
static int a_member_can_end(void)
{
	struct order o = { do_lie, SILENCE, 0, 0, 0 };
	struct timespec ms = { 0, 20000000 };
	struct caller *c;
	__u64 offered = 0;

	TRY(begin_visits());
	CHECK_EQ(run(3, "echo 2000 >/sys/module/proclet/parameters/answer_ms"), 0);
	CHECK_EQ(proclet_write(on[2], offsetof(struct thing, counter), &offered,
			       sizeof(offered)), sizeof(offered));
	TRY(make(&o.victim, IT, 1 << 20, sizeof(struct thing)));
	c = caller_start(on[2], visit, &o, sizeof(o), NULL, 0);
	while (!offered && c->started) {
		CHECK_EQ(proclet_read(on[2], offsetof(struct thing, counter), &offered,
				      sizeof(offered)), sizeof(offered));
		nanosleep(&ms, NULL);
	}
	CHECK_EQ(proclet_call(on[3], die, NULL, 0, NULL, 0), -ECONNRESET);
	CHECK_EQ(caller_wait(c), -ECONNRESET);
	tap_end = NULL;
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	LONG_TEST(malformed_end_the_connection),
	LONG_TEST(cut_and_stretched_end_it),
	LONG_TEST(strange_is_not_listened_to),
	LONG_TEST(bad_keys_end_the_connection),
	LONG_TEST(home_is_not_misled),
	LONG_TEST(who_left_is_not_listened_to),
	LONG_TEST(its_epoch_harms_nobody),
	LONG_TEST(free_segments_are_not_used),
	LONG_TEST(a_flood_is_bounded),
	LONG_TEST(lying_destinations),
	LONG_TEST(random_messages),
	LONG_TEST(a_member_can_end),
};

static int root(int argc, char **argv)
{
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	lproc_set_flags(LPROC_SURVIVE);
	return lproc_main("hostile", root, argc, argv);
}
