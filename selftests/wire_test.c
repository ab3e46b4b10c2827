// SPDX-License-Identifier: GPL-2.0
/*
 * Validation of messages (kmod/wire.c), in user space and with the compiler's
 * sanitizers: every message lies in an allocation of exactly its size.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kselftest.h>

#include "../kmod/hello.h"
#include "fuzz/wire_fuzz.h"
#include "random.h"

#define HEAP_GRANULE	(3u << 21)	/* the first granule of node 4's slice */
#define ID		PROCLET_ID(HEAP_GRANULE, 7)
#define STACK		(PROCLET_REGION_BASE + PROCLET_STACKS_OFF)
#define CAPACITY	(16ULL << 20)

static int bad;	/* checks of the running test that failed */

#define EXPECT(cond, ...) do {						\
	if (!(cond)) {							\
		bad++;							\
		ksft_print_msg("%s:%d: expected %s", __FILE__, __LINE__, #cond); \
		printf(" " __VA_ARGS__);				\
		printf("\n");						\
	}								\
} while (0)

/* The message under test. */
static __u8 msg[WIRE_MSG_MAX + 4096];
static __u32 msg_len;

/* Checks a copy of the first @len bytes of it. */
static const char *check_as(__u32 len)
{
	void *copy = malloc(len ?: 1);
	const char *why;

	memcpy(copy, msg, len);
	why = wire_check(copy, len);
	free(copy);
	return why;
}

static const char *check(void)
{
	return check_as(msg_len);
}

static void set_len(__u32 len)
{
	((struct wire_hdr *)msg)->len = htole32(len);
	msg_len = len;
}

static void *begin(__u32 type, __u32 len)
{
	struct wire_hdr *hdr = (void *)msg;

	memset(msg, 0, sizeof(msg));
	hdr->type = htole16(type);
	hdr->lproc = htole64(0x1234567890abcdefULL);
	set_len(len);
	return msg;
}

static void fill_token(struct wire_token *token)
{
	token->proclet = htole64(ID);
	token->stack = htole64(STACK);
	token->seq = htole64(5);
	token->node = htole32(4);
}

static void make_join(void)
{
	struct wire_join *m = begin(WIRE_JOIN, sizeof(*m));

	m->run = htole64(1);
	strcpy(m->name, "wordcount");
	m->ident.build_id_len = htole32(20);
	m->ident.page_size = htole32(4096);
}

static void make_join_ack(void)
{
	struct wire_join_ack *m = begin(WIRE_JOIN_ACK, sizeof(*m));

	m->status = htole32(-18);
	strcpy(m->reason, "the build ids differ");
}

static void make_leave(void)
{
	struct wire_leave *m = begin(WIRE_LEAVE, sizeof(*m));

	strcpy(m->reason, "killed by signal 9");
}

static void make_exit(void)
{
	struct wire_exit *m = begin(WIRE_EXIT, sizeof(*m));

	m->status = htole32(1);
	m->node = htole32(32);
	m->event = htole32(PROCLET_EVENT_EXIT);
}

static void make_op_code(__u32 code, __u64 target)
{
	struct wire_op *m = begin(WIRE_OP, sizeof(*m) + 100);

	m->op = htole32(code);
	m->method = htole32(3);
	m->target = htole64(target);
	fill_token(&m->token);
	m->out_cap = htole64(PROCLET_PAYLOAD_MAX);
	m->payload.len = htole32(100);
}

static void make_op(void)
{
	make_op_code(PROCLET_OP_CALL, ID);
}

/* Arguments of @in bytes, results of @out. */
static void make_op_lens(__u32 code, __u64 target, __u32 in, __u64 out)
{
	struct wire_op *m = (void *)msg;

	make_op_code(code, target);
	m->payload.len = htole32(in);
	m->out_cap = htole64(out);
	set_len(sizeof(*m) + in);
}

static void make_get(void) { make_op_lens(PROCLET_OP_GET, ID, 0, 0); }
static void make_put(void) { make_op_lens(PROCLET_OP_PUT, ID, 0, 0); }
static void make_read(void) { make_op_lens(PROCLET_OP_READ, ID, 0, PROCLET_PAYLOAD_MAX); }
static void make_write(void) { make_op_lens(PROCLET_OP_WRITE, ID, 3000, 0); }

static void make_publish(void)
{
	make_op_lens(PROCLET_OP_PUBLISH, 4, sizeof(struct proclet_name), 0);
}

static void make_unpublish(void)
{
	make_op_lens(PROCLET_OP_UNPUBLISH, 4, sizeof(struct proclet_name), 0);
}

static void make_lookup(void)
{
	make_op_lens(PROCLET_OP_LOOKUP, 4, sizeof(struct proclet_name), 8);
}

/* @count descriptors of @pages pages each. */
static void fill_descs(struct wire_payload *pl, __u32 count, __u32 pages)
{
	struct wire_desc *desc = (void *)(pl + 1);

	pl->len = htole32(count * pages * WIRE_PAGE_SIZE);
	pl->ndescs = htole32(count);
	pl->pull = htole64(9);
	for (__u32 i = 0; i < count; i++) {
		desc[i].addr = htole64(0x1000 * i);
		desc[i].rkey = htole32(i);
		desc[i].len = htole32(pages * WIRE_PAGE_SIZE);
	}
	set_len((__u8 *)(desc + count) - msg);
}

static void make_op_descs(void)
{
	struct wire_op *m = (void *)msg;

	make_op();
	fill_descs(&m->payload, 8, 16);
}

static void make_write_descs(void)
{
	struct wire_op *m = (void *)msg;

	make_write();
	fill_descs(&m->payload, 4, 64);
}

static void make_reply(void)
{
	struct wire_reply *m = begin(WIRE_REPLY, sizeof(*m) + 64);

	fill_token(&m->token);
	m->result = htole64(64);
	m->from = htole32(1);
	m->payload.len = htole32(64);
}

static void make_reply_descs(void)
{
	struct wire_reply *m = (void *)msg;

	make_reply();
	fill_descs(&m->payload, 2, 1);
	m->payload.len = htole32(WIRE_PAGE_SIZE + 1);
}

static void make_pulled(void)
{
	begin(WIRE_PULLED, sizeof(struct wire_pulled));
}

static void make_call_at(void)
{
	struct wire_call_at *m = begin(WIRE_CALL_AT, sizeof(*m));

	fill_token(&m->token);
	m->node = htole32(2);
}

static void make_probes(__u32 type, __u32 n)
{
	struct wire_probe *m = begin(type, sizeof(*m) + n * sizeof(m->tokens[0]));

	m->count = htole32(n);
	for (__u32 i = 0; i < n && i < WIRE_PROBE_MAX; i++)
		fill_token(&m->tokens[i]);
}

static void make_probe(void) { make_probes(WIRE_PROBE, 3); }
static void make_probed(void) { make_probes(WIRE_PROBED, 3); }

static void make_cancel(void)
{
	struct wire_cancel *m = begin(WIRE_CANCEL, sizeof(*m));

	fill_token(&m->token);
	m->target = htole64(ID);
	m->hdr.clock = htole64(1ULL << 40);
}

static void make_moved(void)
{
	struct wire_moved *m = begin(WIRE_MOVED, sizeof(*m));

	m->proclet = htole64(ID);
	m->epoch = htole64(2);
	m->node = htole32(0);
}

static void make_stack_free(void)
{
	struct wire_stack_free *m = begin(WIRE_STACK_FREE, sizeof(*m));

	m->stack = htole64(STACK + 5 * PROCLET_STACK_SIZE);
}

static void make_prepare(void)
{
	struct wire_prepare *m = begin(WIRE_PREPARE, sizeof(*m));

	m->proclet = htole64(ID);
	m->mig = htole64(11);
	m->epoch = htole64(1);
	m->capacity = htole64(CAPACITY);
	m->brk = htole64(1 << 20);
	m->npages = htole64(256 + 2 * 1024);
	m->nthreads = htole32(2);
}

static void make_mig(__u32 type)
{
	struct wire_mig *m = begin(type, sizeof(*m));

	m->proclet = htole64(ID);
	m->mig = htole64(11);
	m->epoch = htole64(1);
}

static void make_accept(void) { make_mig(WIRE_ACCEPT); }
static void make_refuse(void) { make_mig(WIRE_REFUSE); }
static void make_copied(void) { make_mig(WIRE_COPIED); }
static void make_ready(void) { make_mig(WIRE_READY); }
static void make_commit(void) { make_mig(WIRE_COMMIT); }
static void make_active(void) { make_mig(WIRE_ACTIVE); }
static void make_fetched(void) { make_mig(WIRE_FETCHED); }
static void make_abort(void) { make_mig(WIRE_ABORT); }
static void make_query(void) { make_mig(WIRE_QUERY); }
static void make_status(void) { make_mig(WIRE_STATUS); }

static void make_offer(void)
{
	struct wire_offer *m = begin(WIRE_OFFER, sizeof(*m) + 200);

	m->proclet = htole64(ID);
	m->mig = htole64(11);
	m->keep = htole64(CAPACITY);
	m->blob_len = htole32(200);
	m->refs = htole32(1);
}

static void make_early_offer(void)
{
	struct wire_offer *m = (void *)msg;

	make_offer();
	m->refs = 0;
	m->flags = htole32(WIRE_OFFER_EARLY | WIRE_OFFER_READ);
}

static void make_offer_descs(void)
{
	struct wire_offer *m = begin(WIRE_OFFER, sizeof(*m) + 2 * sizeof(struct wire_desc));
	struct wire_desc *desc = (void *)(m + 1);

	m->proclet = htole64(ID);
	m->mig = htole64(11);
	m->blob_len = htole32(5000);
	m->ndescs = htole32(2);
	m->refs = htole32(PROCLET_REFS_MAX);
	desc[0].len = htole32(4096);
	desc[1].len = htole32(4096);
}

static void make_open_challenge(void)
{
	struct wire_challenge *m = begin(WIRE_CHALLENGE, sizeof(*m));

	m->hdr.lproc = 0;
	m->version = htole32(WIRE_VERSION);
	m->from = htole32(1);
	m->to = htole32(2);
	m->incarnation = htole64(77);
	memset(m->nonce, 0xa5, sizeof(m->nonce));
}

/* From a node with the keys 100, 101... */
static void make_challenge(void)
{
	struct wire_challenge *m = (void *)msg;

	make_open_challenge();
	m->flags = htole32(WIRE_AUTHENTICATES);
	m->nkeys = htole32(2);
	m->keys[0] = 100;
	m->keys[1] = 101;
}

static void make_proof(void)
{
	struct wire_proof *m = begin(WIRE_PROOF, sizeof(*m));

	m->hdr.lproc = 0;
	memset(m->mac, 0x5a, sizeof(m->mac));
}

static const struct {
	const char *name;
	void (*make)(void);
} messages[] = {
	{ "join", make_join },
	{ "join_ack", make_join_ack },
	{ "leave", make_leave },
	{ "exit", make_exit },
	{ "op", make_op },
	{ "op_descs", make_op_descs },
	{ "get", make_get },
	{ "put", make_put },
	{ "publish", make_publish },
	{ "unpublish", make_unpublish },
	{ "lookup", make_lookup },
	{ "read", make_read },
	{ "write", make_write },
	{ "write_descs", make_write_descs },
	{ "reply", make_reply },
	{ "reply_descs", make_reply_descs },
	{ "pulled", make_pulled },
	{ "call_at", make_call_at },
	{ "probe", make_probe },
	{ "probed", make_probed },
	{ "cancel", make_cancel },
	{ "moved", make_moved },
	{ "stack_free", make_stack_free },
	{ "prepare", make_prepare },
	{ "accept", make_accept },
	{ "refuse", make_refuse },
	{ "offer", make_offer },
	{ "early_offer", make_early_offer },
	{ "offer_descs", make_offer_descs },
	{ "copied", make_copied },
	{ "ready", make_ready },
	{ "commit", make_commit },
	{ "active", make_active },
	{ "fetched", make_fetched },
	{ "abort", make_abort },
	{ "query", make_query },
	{ "status", make_status },
	{ "open_challenge", make_open_challenge },
	{ "challenge", make_challenge },
	{ "proof", make_proof },
};

static void every_type_is_covered(void)
{
	bool seen[WIRE_TYPES] = { false };

	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		messages[i].make();
		seen[le16toh(((struct wire_hdr *)msg)->type)] = true;
	}
	for (__u32 type = 1; type < WIRE_TYPES; type++)
		EXPECT(seen[type], "for type %u", type);
}

static void well_formed(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		const char *why;

		messages[i].make();
		why = check();
		EXPECT(!why, "of %s, saw \"%s\"", messages[i].name, why);
	}
}

/* Cut short at any byte, whatever the header claims. */
static void truncated(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		__u32 whole;

		messages[i].make();
		whole = msg_len;
		for (__u32 len = 0; len < whole; len++) {
			messages[i].make();
			EXPECT(check_as(len), "of %s cut to %u", messages[i].name, len);
			set_len(len);
			EXPECT(check(), "of %s cut to %u, header too", messages[i].name, len);
		}
	}
}

static void oversized(void)
{
	static const __u32 more[] = { 1, 2, 4, 8, 15, 16, 17, 64, 1000 };

	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(more); j++) {
			messages[i].make();
			EXPECT(check_as(msg_len + more[j]), "of %s with %u more",
			       messages[i].name, more[j]);
			set_len(msg_len + more[j]);
			EXPECT(check(), "of %s with %u more, header too",
			       messages[i].name, more[j]);
		}
		messages[i].make();
		set_len(WIRE_MSG_MAX + 1);
		EXPECT(check(), "of %s longer than any", messages[i].name);
	}
}

static void header(void)
{
	struct wire_hdr *hdr = (void *)msg;

	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		messages[i].make();
		hdr->reserved = htole16(1);
		EXPECT(check(), "of %s with a reserved field", messages[i].name);
		messages[i].make();
		hdr->len = htole32(msg_len - 1);
		EXPECT(check(), "of %s", messages[i].name);
		hdr->len = htole32(msg_len + 1);
		EXPECT(check(), "of %s", messages[i].name);
		hdr->len = htole32(0xffffffff);
		EXPECT(check(), "of %s", messages[i].name);
	}
	for (__u32 type = 0; type <= 0xffff; type = type ? type + 1 : WIRE_TYPES)
		for (__u32 len = sizeof(*hdr); len < 200; len += 8) {
			begin(type, len);
			EXPECT(check(), "of type %u", type);
		}
}

/* Write @value into a field of the message, in the width of the field. */
#define put(field, value) do {						\
	if (sizeof(field) == 8)						\
		*(__le64 *)&(field) = htole64(value);			\
	else								\
		*(__le32 *)&(field) = htole32((__u32)(value));		\
} while (0)

/* A well-formed message but for one field. */
#define REFUSED(make, type, field, value) do {				\
	struct type *m = (void *)msg;					\
									\
	make();								\
	put(m->field, value);						\
	EXPECT(check(), "when " #field " of " #make " is " #value);	\
} while (0)

#define ACCEPTED(make, type, field, value) do {				\
	struct type *m = (void *)msg;					\
	const char *why;						\
									\
	make();								\
	put(m->field, value);						\
	why = check();							\
	EXPECT(!why, "when " #field " of " #make " is " #value		\
	       ", saw \"%s\"", why);					\
} while (0)

static void ids_and_stacks(void)
{
	EXPECT(wire_id_ok(ID));
	EXPECT(wire_id_ok(PROCLET_ID(0, 1)));
	EXPECT(!wire_id_ok(0));
	EXPECT(!wire_id_ok(PROCLET_ID(HEAP_GRANULE, 0)));
	EXPECT(!wire_id_ok(PROCLET_ID(0xffffffff, 1)));
	EXPECT(!wire_id_ok(PROCLET_ID(PROCLET_REGION_SIZE >> PROCLET_GRANULE_SHIFT, 1)));
	EXPECT(!wire_id_ok(PROCLET_ID(PROCLET_STACKS_OFF >> PROCLET_GRANULE_SHIFT, 1)));
	EXPECT(wire_id_ok(PROCLET_ID((PROCLET_STACKS_OFF >> PROCLET_GRANULE_SHIFT) - 1, 1)));

	EXPECT(wire_stack_ok(STACK));
	EXPECT(!wire_stack_ok(0));
	EXPECT(!wire_stack_ok(~0ULL));
	EXPECT(!wire_stack_ok(STACK + 4096));
	EXPECT(!wire_stack_ok(STACK - PROCLET_STACK_SIZE));
	EXPECT(!wire_stack_ok(PROCLET_REGION_BASE));
	EXPECT(!wire_stack_ok(PROCLET_REGION_BASE - PROCLET_STACK_SIZE));
	EXPECT(!wire_stack_ok(PROCLET_REGION_BASE + PROCLET_REGION_SIZE));
	EXPECT(wire_stack_ok(PROCLET_REGION_BASE + PROCLET_REGION_SIZE - PROCLET_STACK_SIZE));
	EXPECT(!wire_stack_ok(STACK | 1ULL << 63));
}

static void joins(void)
{
	struct wire_join *m = (void *)msg;
	struct wire_join_ack *ack = (void *)msg;
	struct wire_leave *leave = (void *)msg;
	struct wire_exit *end = (void *)msg;

	make_join();
	m->name[0] = 0;
	EXPECT(check(), "of a join without name");
	make_join();
	memset(m->name, 'x', sizeof(m->name));
	EXPECT(check(), "of a join whose name does not end");
	m->name[sizeof(m->name) - 1] = 0;
	EXPECT(!check(), "of a join with the longest name");
	ACCEPTED(make_join, wire_join, ident.build_id_len, 32);
	REFUSED(make_join, wire_join, ident.build_id_len, 33);
	REFUSED(make_join, wire_join, ident.build_id_len, 0xffffffff);
	make_join_ack();
	memset(ack->reason, 'x', sizeof(ack->reason));
	EXPECT(check(), "of a reason that does not end");
	ack->reason[sizeof(ack->reason) - 1] = 0;
	EXPECT(!check(), "of an answer with the longest reason");
	ack->reason[5] = '\n';
	EXPECT(check(), "of an answer whose reason has two lines");
	ack->reason[5] = 27;
	EXPECT(check(), "of an answer whose reason is not printable");
	ACCEPTED(make_leave, wire_leave, refused, 1);
	REFUSED(make_leave, wire_leave, refused, 2);
	make_leave();
	memset(leave->reason, 'x', sizeof(leave->reason));
	EXPECT(check(), "of a leave whose reason does not end");
	leave->reason[sizeof(leave->reason) - 1] = 0;
	EXPECT(!check(), "of a leave with the longest reason");
	leave->reason[3] = '\n';
	EXPECT(check(), "of a leave whose reason has two lines");
	leave->reason[3] = (char)0xe9;
	EXPECT(check(), "of a leave whose reason is not ASCII");
	make_exit();
	memset(end->reason, 'x', sizeof(end->reason));
	EXPECT(check(), "of an exit whose reason does not end");
	end->reason[0] = 27;
	end->reason[1] = 0;
	EXPECT(check(), "of an exit whose reason is not printable");
	ACCEPTED(make_exit, wire_exit, event, PROCLET_EVENT_LOST);
	REFUSED(make_exit, wire_exit, event, 0);
	REFUSED(make_exit, wire_exit, event, PROCLET_EVENT_SPAWN);
	REFUSED(make_exit, wire_exit, event, 4);
	REFUSED(make_exit, wire_exit, node, 0);
	REFUSED(make_exit, wire_exit, node, 33);
	REFUSED(make_exit, wire_exit, node, 0xffffffff);
}

#define REFUSED_TOKENS(make, type) do {					\
	REFUSED(make, type, token.node, 0);				\
	REFUSED(make, type, token.node, 33);				\
	REFUSED(make, type, token.node, 0x80000001);			\
	REFUSED(make, type, token.proclet, 0);				\
	REFUSED(make, type, token.proclet, PROCLET_ID(HEAP_GRANULE, 0)); \
	REFUSED(make, type, token.proclet, ~0ULL);			\
	REFUSED(make, type, token.stack, 0);				\
	REFUSED(make, type, token.stack, STACK + 8);			\
	REFUSED(make, type, token.stack, PROCLET_REGION_BASE);		\
	REFUSED(make, type, token.stack, ~0ULL);			\
	ACCEPTED(make, type, token.seq, ~0ULL);				\
} while (0)

static void make_native_op(void)
{
	struct wire_op *m = (void *)msg;

	make_op();
	m->token.proclet = 0;
	m->token.stack = 0;
}

static void operations(void)
{
	static const __u32 on_nodes[] = { PROCLET_OP_CREATE, PROCLET_OP_STATS };
	static const __u32 on_proclets[] = { PROCLET_OP_CALL, PROCLET_OP_DESTROY,
					     PROCLET_OP_LOCATE, PROCLET_OP_MIGRATE };

	REFUSED_TOKENS(make_op, wire_op);
	REFUSED_TOKENS(make_reply, wire_reply);
	REFUSED_TOKENS(make_call_at, wire_call_at);
	REFUSED_TOKENS(make_cancel, wire_cancel);
	make_native_op();
	EXPECT(!check(), "of a native thread's operation");
	REFUSED(make_native_op, wire_op, token.stack, STACK);

	for (size_t i = 0; i < ARRAY_SIZE(on_nodes); i++) {
		for (__u64 node = 1; node <= 32; node++) {
			make_op_code(on_nodes[i], node);
			EXPECT(!check(), "of operation %u on node %llu", on_nodes[i], node);
		}
		make_op_code(on_nodes[i], 0);
		EXPECT(check(), "of operation %u on node 0", on_nodes[i]);
		make_op_code(on_nodes[i], 33);
		EXPECT(check(), "of operation %u on node 33", on_nodes[i]);
		make_op_code(on_nodes[i], 1ULL << 32 | 1);
		EXPECT(check(), "of operation %u on a node of 33 bits", on_nodes[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(on_proclets); i++) {
		make_op_code(on_proclets[i], ID);
		EXPECT(!check(), "of operation %u", on_proclets[i]);
		make_op_code(on_proclets[i], 0);
		EXPECT(check(), "of operation %u on no proclet", on_proclets[i]);
		make_op_code(on_proclets[i], 1);
		EXPECT(check(), "of operation %u on no id", on_proclets[i]);
	}
	REFUSED(make_op, wire_op, op, 0);
	/* What concerns only the caller's own proclet never goes on the wire. */
	REFUSED(make_op, wire_op, op, PROCLET_OP_WAIT);
	REFUSED(make_op, wire_op, op, PROCLET_OP_WAKE);
	REFUSED(make_op, wire_op, op, PROCLET_OP_SPAWN);
	REFUSED(make_op, wire_op, op, 100);
	REFUSED(make_op, wire_op, op, 0xffffffff);
	ACCEPTED(make_op, wire_op, out_cap, 0);
	REFUSED(make_op, wire_op, out_cap, PROCLET_PAYLOAD_MAX + 1);
	REFUSED(make_op, wire_op, out_cap, ~0ULL);
	ACCEPTED(make_op, wire_op, hops, WIRE_HOPS_MAX);
	REFUSED(make_op, wire_op, hops, WIRE_HOPS_MAX + 1);
	REFUSED(make_op, wire_op, hops, 0xffffffff);
	REFUSED(make_reply, wire_reply, hops, 0xffffffff);
	REFUSED(make_reply, wire_reply, from, 0);
	REFUSED(make_reply, wire_reply, from, 33);
	REFUSED(make_call_at, wire_call_at, hops, 0xffffffff);
	REFUSED(make_call_at, wire_call_at, node, 0);
	REFUSED(make_call_at, wire_call_at, node, 33);
	REFUSED(make_probe, wire_probe, count, 0);
	REFUSED(make_probe, wire_probe, count, 2);
	REFUSED(make_probe, wire_probe, count, 4);
	REFUSED(make_probe, wire_probe, count, 0xffffffff);
	REFUSED(make_probed, wire_probe, count, 0);
	REFUSED(make_probe, wire_probe, tokens[2].node, 0);
	REFUSED(make_probed, wire_probe, tokens[1].node, 33);
	make_probes(WIRE_PROBE, WIRE_PROBE_MAX);
	EXPECT(!check(), "of %d tokens", WIRE_PROBE_MAX);
	make_probes(WIRE_PROBE, 0);
	EXPECT(check(), "of no tokens");
	ACCEPTED(make_cancel, wire_cancel, target, 32);
	REFUSED(make_cancel, wire_cancel, target, 0);
	REFUSED(make_cancel, wire_cancel, target, 33);
	REFUSED(make_cancel, wire_cancel, target, ~0ULL);
	ACCEPTED(make_cancel, wire_cancel, hops, WIRE_HOPS_MAX);
	REFUSED(make_cancel, wire_cancel, hops, WIRE_HOPS_MAX + 1);
	REFUSED(make_cancel, wire_cancel, reserved, 1);
	/* Any clock: it is judged by who knows the time. */
	ACCEPTED(make_cancel, wire_cancel, hdr.clock, 0);
	ACCEPTED(make_cancel, wire_cancel, hdr.clock, ~0ULL);
	/* This never leaves its node. */
	REFUSED(make_op, wire_op, op, PROCLET_OP_SLEEP);
	REFUSED(make_moved, wire_moved, proclet, 0);
	REFUSED(make_moved, wire_moved, node, 33);
	ACCEPTED(make_moved, wire_moved, order, 0);
	ACCEPTED(make_moved, wire_moved, order, 20);
	ACCEPTED(make_moved, wire_moved, order, 36);
	REFUSED(make_moved, wire_moved, order, 19);
	REFUSED(make_moved, wire_moved, order, 37);
	REFUSED(make_moved, wire_moved, order, 64 + 20);
	REFUSED(make_moved, wire_moved, order, ~0U);
	REFUSED(make_stack_free, wire_stack_free, stack, 0);
	REFUSED(make_stack_free, wire_stack_free, stack, STACK + 4096);
	REFUSED(make_stack_free, wire_stack_free, stack, ~0ULL);
}

/* Operations whose arguments have one length, or none, and those with an offset. */
static void arguments(void)
{
	static const __u32 on_nodes[] = { PROCLET_OP_PUBLISH, PROCLET_OP_UNPUBLISH,
					  PROCLET_OP_LOOKUP };
	static const __u32 on_proclets[] = { PROCLET_OP_GET, PROCLET_OP_PUT,
					     PROCLET_OP_READ, PROCLET_OP_WRITE };
	const __u64 most = PROCLET_CAPACITY_MAX - PROCLET_ROOT_OFF;
	const __u32 name = sizeof(struct proclet_name);

	for (size_t i = 0; i < ARRAY_SIZE(on_nodes); i++) {
		__u32 lens[] = { 0, 1, 8, name - 1, name + 1, 3000 };

		for (__u64 node = 0; node <= 33; node++) {
			make_op_lens(on_nodes[i], node, name, 8);
			EXPECT(!check() == (node >= 1 && node <= 32), "of operation %u on node %llu",
			       on_nodes[i], node);
		}
		make_op_lens(on_nodes[i], ID, name, 8);
		EXPECT(check(), "of operation %u on a proclet", on_nodes[i]);
		for (size_t j = 0; j < ARRAY_SIZE(lens); j++) {
			make_op_lens(on_nodes[i], 4, lens[j], 8);
			EXPECT(check(), "of operation %u with %u bytes", on_nodes[i], lens[j]);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(on_proclets); i++) {
		make_op_lens(on_proclets[i], ID, 0, 0);
		EXPECT(!check(), "of operation %u", on_proclets[i]);
		make_op_lens(on_proclets[i], 4, 0, 0);
		EXPECT(check(), "of operation %u on a node", on_proclets[i]);
		make_op_lens(on_proclets[i], ID, 1, 0);
		EXPECT(!check() == (on_proclets[i] == PROCLET_OP_WRITE),
		       "of operation %u with a byte", on_proclets[i]);
	}
	ACCEPTED(make_write, wire_op, out_cap, 0);
	REFUSED(make_write, wire_op, out_cap, 1);
	REFUSED(make_write_descs, wire_op, out_cap, 1);
	REFUSED(make_read, wire_op, out_cap, PROCLET_PAYLOAD_MAX + 1);

	REFUSED(make_op, wire_op, off, 1);
	REFUSED(make_get, wire_op, off, 1);
	REFUSED(make_put, wire_op, off, ~0ULL);
	REFUSED(make_publish, wire_op, off, 1);
	REFUSED(make_lookup, wire_op, off, 8);
	ACCEPTED(make_read, wire_op, off, 0);
	ACCEPTED(make_read, wire_op, off, most - PROCLET_PAYLOAD_MAX);
	REFUSED(make_read, wire_op, off, most - PROCLET_PAYLOAD_MAX + 1);
	REFUSED(make_read, wire_op, off, most + 1);
	REFUSED(make_read, wire_op, off, ~0ULL);
	ACCEPTED(make_write, wire_op, off, most - 3000);
	REFUSED(make_write, wire_op, off, most - 2999);
	REFUSED(make_write, wire_op, off, ~0ULL - 2999);
	ACCEPTED(make_write_descs, wire_op, off, most - PROCLET_PAYLOAD_MAX);
	REFUSED(make_write_descs, wire_op, off, most);

	EXPECT(wire_range_ok(0, 0));
	EXPECT(wire_range_ok(most, 0));
	EXPECT(wire_range_ok(0, most));
	EXPECT(!wire_range_ok(1, most));
	EXPECT(!wire_range_ok(most + 1, 0));
	EXPECT(!wire_range_ok(8, ~0ULL));
	EXPECT(!wire_range_ok(~0ULL, 8));
}

#define REFUSED_PAYLOADS(make, make_descs, type) do {			\
	struct type *p = (void *)msg;					\
	struct wire_desc *desc = (void *)(p + 1);			\
									\
	REFUSED(make, type, payload.len, 0);				\
	REFUSED(make, type, payload.len, 0xffffffff);			\
	REFUSED(make, type, payload.len, PROCLET_PAYLOAD_MAX + 1);	\
	REFUSED(make, type, payload.ndescs, 1);				\
	REFUSED(make, type, payload.ndescs, 0xffffffff);		\
	REFUSED(make, type, payload.ndescs, 0x10000000);		\
	REFUSED(make_descs, type, payload.ndescs, 0);			\
	REFUSED(make_descs, type, payload.ndescs, 1);			\
	REFUSED(make_descs, type, payload.ndescs, 0xffffffff);		\
	REFUSED(make_descs, type, payload.ndescs, 0x10000002);		\
	REFUSED(make_descs, type, payload.len, 0);			\
	REFUSED(make_descs, type, payload.len, PROCLET_PAYLOAD_MAX);	\
	REFUSED(make_descs, type, payload.len, PROCLET_PAYLOAD_MAX + 1);	\
	REFUSED(make_descs, type, payload.len, 0xfffff000);		\
	make_descs();							\
	desc[1].len = 0;						\
	EXPECT(check(), "of an empty descriptor");			\
	make_descs();							\
	desc[1].len = htole32(4095);					\
	EXPECT(check(), "of a part of a page");			\
	make_descs();							\
	desc[1].len = htole32(0xfffff000);				\
	EXPECT(check(), "of a descriptor of 4 GiB");			\
	make_descs();							\
	desc[0].len = htole32(le32toh(desc[0].len) + 4096);		\
	EXPECT(check(), "of descriptors for more than the payload");	\
} while (0)

static void payloads(void)
{
	struct wire_op *m = (void *)msg;

	REFUSED_PAYLOADS(make_op, make_op_descs, wire_op);
	REFUSED_PAYLOADS(make_reply, make_reply_descs, wire_reply);
	/* As many descriptors as there may be, and one more. */
	make_op();
	fill_descs(&m->payload, WIRE_DESCS_MAX, 1);
	EXPECT(!check(), "saw \"%s\"", check());
	make_op();
	fill_descs(&m->payload, WIRE_DESCS_MAX + 1, 1);
	EXPECT(check());
	make_op();
	m->payload.len = htole32(0);
	set_len(sizeof(*m));
	EXPECT(!check(), "of an empty payload");
	make_op();
	m->payload.len = htole32(WIRE_INLINE_MAX);
	set_len(WIRE_MSG_MAX);
	EXPECT(!check(), "of the longest inline payload");
}

static void migrations(void)
{
	static const __u32 types[] = { WIRE_ACCEPT, WIRE_REFUSE, WIRE_COPIED, WIRE_READY, WIRE_COMMIT,
				       WIRE_ACTIVE, WIRE_FETCHED, WIRE_ABORT, WIRE_QUERY, WIRE_STATUS };
	struct wire_mig *m = (void *)msg;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		make_mig(types[i]);
		m->proclet = 0;
		EXPECT(check(), "of type %u", types[i]);
		m->proclet = htole64(PROCLET_ID(0xffffffff, 1));
		EXPECT(check(), "of type %u", types[i]);
	}
	REFUSED(make_prepare, wire_prepare, proclet, 0);
	REFUSED(make_prepare, wire_prepare, epoch, 0);
	REFUSED(make_prepare, wire_prepare, epoch, WIRE_EPOCH_MAX + 1);
	ACCEPTED(make_prepare, wire_prepare, epoch, WIRE_EPOCH_MAX);
	REFUSED(make_prepare, wire_prepare, capacity, 0);
	REFUSED(make_prepare, wire_prepare, capacity, 4096);
	REFUSED(make_prepare, wire_prepare, capacity, CAPACITY + 4096);
	REFUSED(make_prepare, wire_prepare, capacity, PROCLET_CAPACITY_MAX * 2);
	REFUSED(make_prepare, wire_prepare, capacity, 1ULL << 63);
	REFUSED(make_prepare, wire_prepare, brk, CAPACITY + 4096);
	REFUSED(make_prepare, wire_prepare, brk, 4097);
	REFUSED(make_prepare, wire_prepare, brk, ~0ULL << 12);
	REFUSED(make_prepare, wire_prepare, npages, 256 + 2 * 1024 + 1);
	REFUSED(make_prepare, wire_prepare, npages, ~0ULL);
	REFUSED(make_prepare, wire_prepare, nthreads, 0);
	REFUSED(make_prepare, wire_prepare, nthreads, 0xffffffff);
	REFUSED(make_offer, wire_offer, proclet, 0);
	REFUSED(make_offer, wire_offer, blob_len, 0);
	REFUSED(make_offer, wire_offer, blob_len, 15);
	REFUSED(make_offer, wire_offer, blob_len, 201);
	REFUSED(make_offer, wire_offer, blob_len, WIRE_BLOB_MAX + 1);
	REFUSED(make_offer, wire_offer, blob_len, 0xffffffff);
	ACCEPTED(make_offer, wire_offer, refs, PROCLET_REFS_MAX);
	REFUSED(make_offer, wire_offer, refs, 0);
	REFUSED(make_offer, wire_offer, refs, PROCLET_REFS_MAX + 1);
	REFUSED(make_offer, wire_offer, refs, 0xffffffff);
	ACCEPTED(make_offer, wire_offer, keep, 0);
	ACCEPTED(make_offer, wire_offer, keep, PROCLET_CAPACITY_MAX);
	REFUSED(make_offer, wire_offer, keep, 4095);
	REFUSED(make_offer, wire_offer, keep, PROCLET_CAPACITY_MAX + 4096);
	REFUSED(make_offer, wire_offer, flags, WIRE_OFFER_EARLY);
	REFUSED(make_offer, wire_offer, flags, WIRE_OFFER_READ);
	REFUSED(make_offer, wire_offer, flags, WIRE_OFFER_READ | WIRE_OFFER_TAIL);
	ACCEPTED(make_offer, wire_offer, flags, WIRE_OFFER_TAIL);
	REFUSED(make_offer, wire_offer, flags, 8);
	ACCEPTED(make_early_offer, wire_offer, flags, WIRE_OFFER_EARLY);
	ACCEPTED(make_early_offer, wire_offer, flags, WIRE_OFFER_EARLY | WIRE_OFFER_READ);
	ACCEPTED(make_early_offer, wire_offer, flags, WIRE_OFFER_EARLY | WIRE_OFFER_TAIL);
	REFUSED(make_early_offer, wire_offer, flags,
		WIRE_OFFER_EARLY | WIRE_OFFER_READ | WIRE_OFFER_TAIL);
	REFUSED(make_early_offer, wire_offer, flags, 0);
	REFUSED(make_early_offer, wire_offer, refs, 1);
	REFUSED(make_offer_descs, wire_offer, ndescs, 0);
	REFUSED(make_offer_descs, wire_offer, ndescs, 1);
	REFUSED(make_offer_descs, wire_offer, ndescs, 3);
	REFUSED(make_offer_descs, wire_offer, ndescs, 0x10000002);
	REFUSED(make_offer_descs, wire_offer, blob_len, WIRE_BLOB_MAX + 1);
	/* A heap at a place where no heap of its capacity can be. */
	REFUSED(make_prepare, wire_prepare, proclet, PROCLET_ID(HEAP_GRANULE + 1, 7));
	REFUSED(make_prepare, wire_prepare, proclet,
		PROCLET_ID((PROCLET_STACKS_OFF >> PROCLET_GRANULE_SHIFT) - 1, 7));
}

/* A blob of a heap and two threads: one waits at a word, the other is parked. */
static struct blob {
	struct wire_blob head;
	struct wire_seg seg[3];
	struct wire_extent ext[5];
	struct wire_thread thread[2];
	struct wire_desc desc[2];
} __attribute__((packed)) blob;

static void make_blob(void)
{
	static const struct { __u32 first, count; } ext[5] = {
		{ 0, 10 }, { 20, 5 }, { 25, 1 }, { 0, 1 }, { 1000, 24 },
	};

	memset(&blob, 0, sizeof(blob));
	blob.head.nsegs = htole32(3);
	blob.head.nextents = htole32(5);
	blob.head.nthreads = htole32(2);
	blob.head.ndescs = htole32(2);
	blob.seg[0].start = htole64(PROCLET_ID_HEAP(ID));
	blob.seg[0].limit = htole64(1 << 20);
	blob.seg[0].nextents = htole32(3);
	for (int i = 0; i < 2; i++) {
		blob.seg[i + 1].start = htole64(STACK + i * PROCLET_STACK_SIZE);
		blob.seg[i + 1].limit = htole64(PROCLET_STACK_SIZE);
		blob.seg[i + 1].nextents = htole32(1);
		blob.thread[i].stack = blob.seg[i + 1].start;
		blob.thread[i].state = htole32(i);
		blob.thread[i].deadline = htole64(~0ULL);
	}
	blob.thread[0].wait_addr = htole64(PROCLET_ID_HEAP(ID) + 256);
	blob.thread[0].wait_no = htole64(77);
	for (int i = 0; i < 5; i++) {
		blob.ext[i].first = htole32(ext[i].first);
		blob.ext[i].count = htole32(ext[i].count);
	}
	blob.desc[0].len = htole32(40 * 4096);
	blob.desc[1].len = htole32(4096);
}

static const char *check_blob_as(__u32 len, __u64 *npages)
{
	void *copy = malloc(len ?: 1);
	const char *why;

	memset(copy, 0, len);
	memcpy(copy, &blob, len < sizeof(blob) ? len : sizeof(blob));
	why = wire_check_blob(copy, len, ID, CAPACITY, npages);
	free(copy);
	return why;
}

static const char *check_blob(void)
{
	__u64 npages;

	return check_blob_as(sizeof(blob), &npages);
}

#define BLOB_REFUSED(field, value) do {					\
	make_blob();							\
	put(blob.field, value);						\
	EXPECT(check_blob(), "when " #field " is " #value);		\
} while (0)

static void blobs(void)
{
	__u64 npages = 0;

	make_blob();
	EXPECT(!check_blob_as(sizeof(blob), &npages), "saw \"%s\"", check_blob());
	EXPECT(npages == 41, "saw %llu", npages);
	for (__u32 len = 0; len < sizeof(blob); len++)
		EXPECT(check_blob_as(len, &npages), "cut to %u", len);
	for (__u32 more = 1; more < 50; more++)
		EXPECT(check_blob_as(sizeof(blob) + more, &npages), "with %u more", more);

	BLOB_REFUSED(head.nsegs, 0);
	BLOB_REFUSED(head.nsegs, 2);
	BLOB_REFUSED(head.nsegs, 0xffffffff);
	BLOB_REFUSED(head.nextents, 4);
	BLOB_REFUSED(head.nextents, 0xffffffff);
	BLOB_REFUSED(head.nthreads, 0);
	BLOB_REFUSED(head.nthreads, 0xffffffff);
	BLOB_REFUSED(head.ndescs, 0);
	BLOB_REFUSED(head.ndescs, 0xffffffff);
	BLOB_REFUSED(seg[0].start, PROCLET_REGION_BASE);
	BLOB_REFUSED(seg[0].start, PROCLET_ID_HEAP(ID) + 4096);
	BLOB_REFUSED(seg[0].limit, CAPACITY + 4096);
	BLOB_REFUSED(seg[0].limit, 4097);
	BLOB_REFUSED(seg[0].limit, 0);
	BLOB_REFUSED(seg[0].limit, ~0ULL);
	BLOB_REFUSED(seg[0].nextents, 2);
	BLOB_REFUSED(seg[0].nextents, 4);
	BLOB_REFUSED(seg[0].nextents, 0xffffffff);
	BLOB_REFUSED(seg[1].start, 0);
	BLOB_REFUSED(seg[1].start, STACK + 4096);
	BLOB_REFUSED(seg[1].start, PROCLET_ID_HEAP(ID));
	BLOB_REFUSED(seg[1].limit, 4096);
	BLOB_REFUSED(seg[1].limit, 2 * PROCLET_STACK_SIZE);
	BLOB_REFUSED(seg[2].nextents, 0);
	BLOB_REFUSED(ext[0].count, 0);
	BLOB_REFUSED(ext[0].count, 21);		/* into the next */
	BLOB_REFUSED(ext[0].count, 0xffffffff);
	BLOB_REFUSED(ext[1].first, 9);
	BLOB_REFUSED(ext[2].first, 256);	/* beyond the reserved part */
	BLOB_REFUSED(ext[2].first, 0xffffffff);
	BLOB_REFUSED(ext[4].count, 25);
	BLOB_REFUSED(thread[0].stack, 0);
	BLOB_REFUSED(thread[0].stack, STACK + PROCLET_STACK_SIZE);
	BLOB_REFUSED(thread[0].state, WIRE_THREAD_PARKED);
	BLOB_REFUSED(thread[0].state, WIRE_THREAD_REPLIED);
	BLOB_REFUSED(thread[0].state, 3);
	BLOB_REFUSED(thread[0].state, 0xffffffff);
	BLOB_REFUSED(thread[0].sent_to, 33);
	BLOB_REFUSED(thread[0].target, 33);
	BLOB_REFUSED(thread[0].target, ~0ULL);
	BLOB_REFUSED(thread[1].cancelled, 2);
	BLOB_REFUSED(thread[0].wait_addr, 0);	/* with a number */
	BLOB_REFUSED(thread[0].wait_addr, 4);
	BLOB_REFUSED(thread[0].wait_addr, PROCLET_ID_HEAP(ID) + 257);
	BLOB_REFUSED(thread[0].wait_addr, PROCLET_REGION_BASE + PROCLET_REGION_SIZE);
	BLOB_REFUSED(thread[0].wait_addr, PROCLET_ID_HEAP(ID) + CAPACITY);
	BLOB_REFUSED(thread[0].wait_addr, ~0ULL - 3);
	BLOB_REFUSED(thread[0].result, 1);
	BLOB_REFUSED(thread[1].result, 1);
	BLOB_REFUSED(thread[1].wait_no, 1);
	BLOB_REFUSED(thread[1].wait_addr, PROCLET_ID_HEAP(ID) + 256);
	BLOB_REFUSED(desc[0].len, 0);
	BLOB_REFUSED(desc[0].len, 4095);
	BLOB_REFUSED(desc[0].len, 41 * 4096);
	BLOB_REFUSED(desc[0].len, 0xfffff000);

	/* A thread that waits for a reply, waits on a stack, goes on with a result. */
	make_blob();
	blob.thread[0].wait_addr = 0;
	blob.thread[0].wait_no = 0;
	EXPECT(!check_blob(), "saw \"%s\"", check_blob());
	blob.thread[0].wait_addr = htole64(STACK + 2 * PROCLET_STACK_SIZE - 4);
	blob.thread[0].wait_no = htole64(1);
	EXPECT(!check_blob(), "saw \"%s\"", check_blob());
	make_blob();
	blob.thread[1].state = htole32(WIRE_THREAD_REPLIED);
	blob.thread[1].result = htole64(-ECONNRESET);
	EXPECT(!check_blob(), "saw \"%s\"", check_blob());

	/* The same thread twice. */
	make_blob();
	blob.seg[2].start = blob.seg[1].start;
	blob.thread[1].stack = blob.seg[1].start;
	EXPECT(check_blob(), "with one thread segment twice");
}

static void challenges(void)
{
	REFUSED(make_challenge, wire_challenge, hdr.lproc, 1);
	REFUSED(make_challenge, wire_challenge, hdr.clock, 1);
	REFUSED(make_challenge, wire_challenge, reserved, 1);
	REFUSED(make_challenge, wire_challenge, version, WIRE_VERSION - 1);
	REFUSED(make_challenge, wire_challenge, version, WIRE_VERSION + 1);
	REFUSED(make_challenge, wire_challenge, flags, 2);
	REFUSED(make_challenge, wire_challenge, flags, 0);
	REFUSED(make_challenge, wire_challenge, from, 0);
	REFUSED(make_challenge, wire_challenge, from, 33);
	REFUSED(make_challenge, wire_challenge, from, 2);
	ACCEPTED(make_challenge, wire_challenge, from, 32);
	REFUSED(make_challenge, wire_challenge, to, 0);
	REFUSED(make_challenge, wire_challenge, to, 0xffffffff);
	REFUSED(make_challenge, wire_challenge, incarnation, 0);
	REFUSED(make_challenge, wire_challenge, nkeys, 0);
	REFUSED(make_challenge, wire_challenge, nkeys, 1);
	ACCEPTED(make_challenge, wire_challenge, nkeys, WIRE_KEYS_MAX);
	REFUSED(make_challenge, wire_challenge, nkeys, WIRE_KEYS_MAX + 1);
	REFUSED(make_challenge, wire_challenge, nkeys, 0xffffffff);
	/* None that can be used is not the same as none. */
	ACCEPTED(make_open_challenge, wire_challenge, flags, WIRE_AUTHENTICATES);
	REFUSED(make_open_challenge, wire_challenge, nkeys, 1);
	REFUSED(make_open_challenge, wire_challenge, keys[3], 1);
	REFUSED(make_proof, wire_proof, hdr.lproc, 1);
	REFUSED(make_proof, wire_proof, hdr.clock, 1);
}

static void fill_keys(struct wire_challenge *c, const __u64 *keys)
{
	memset(c, 0, sizeof(*c));
	c->flags = htole32(WIRE_AUTHENTICATES);
	for (__u32 n = 0; n < WIRE_KEYS_MAX && keys[n]; n++) {
		c->keys[n] = keys[n];
		c->nkeys = htole32(n + 1);
	}
}

/* Both sides must find the same, the first key of the lower one that both have. */
static void common_keys(void)
{
	static const struct {
		__u64 lower[WIRE_KEYS_MAX], higher[WIRE_KEYS_MAX];
		__u32 why, in_lower, in_higher;
	} cases[] = {
		{ { 1 }, { 1 }, AUTH_OK, 0, 0 },
		{ { 1 }, { 2 }, AUTH_NO_COMMON, AUTH_NO_KEY, AUTH_NO_KEY },
		/* As they are replaced, in any order of the nodes. */
		{ { 2, 1 }, { 1 }, AUTH_OK, 1, 0 },
		{ { 1 }, { 2, 1 }, AUTH_OK, 0, 1 },
		{ { 2, 1 }, { 2, 1 }, AUTH_OK, 0, 0 },
		{ { 2 }, { 2, 1 }, AUTH_OK, 0, 0 },
		{ { 2, 1 }, { 2 }, AUTH_OK, 0, 0 },
		{ { 2 }, { 1 }, AUTH_NO_COMMON, AUTH_NO_KEY, AUTH_NO_KEY },
		{ { 1, 2, 3, 4 }, { 8, 7, 6, 4 }, AUTH_OK, 3, 3 },
		{ { 1, 2, 3, 4 }, { 4, 3, 2, 1 }, AUTH_OK, 0, 3 },
		{ { 1, 2, 3, 4 }, { 5, 6, 7, 8 }, AUTH_NO_COMMON, AUTH_NO_KEY, AUTH_NO_KEY },
	};
	struct wire_challenge a, b, open;
	__u32 key;

	memset(&open, 0, sizeof(open));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fill_keys(&a, cases[i].lower);
		fill_keys(&b, cases[i].higher);
		EXPECT(auth_judge(&a, &b, true, &key) == (int)cases[i].why, "%zu", i);
		EXPECT(key == cases[i].in_lower, "%zu", i);
		EXPECT(auth_judge(&b, &a, false, &key) == (int)cases[i].why, "%zu", i);
		EXPECT(key == cases[i].in_higher, "%zu", i);
	}
	EXPECT(auth_judge(&open, &open, true, &key) == AUTH_OK && key == AUTH_NO_KEY);
	EXPECT(auth_judge(&open, &open, false, &key) == AUTH_OK && key == AUTH_NO_KEY);
	EXPECT(auth_judge(&a, &open, true, &key) == AUTH_IT_HAS_NONE && key == AUTH_NO_KEY);
	EXPECT(auth_judge(&open, &a, true, &key) == AUTH_WE_HAVE_NONE && key == AUTH_NO_KEY);
	b.nkeys = 0;
	EXPECT(auth_judge(&a, &b, true, &key) == AUTH_ITS_ENDED && key == AUTH_NO_KEY);
	EXPECT(auth_judge(&b, &a, true, &key) == AUTH_OURS_ENDED && key == AUTH_NO_KEY);
	EXPECT(auth_judge(&b, &b, true, &key) == AUTH_OURS_ENDED && key == AUTH_NO_KEY);
	EXPECT(auth_judge(&b, &open, true, &key) == AUTH_IT_HAS_NONE && key == AUTH_NO_KEY);
	for (__u32 why = 0; why < AUTH_REFUSALS + 2; why++)
		EXPECT(strlen(auth_text(why)) > 5, "%u", why);
}

static __u64 random_state;

static __u64 rnd(void)
{
	return next_random(&random_state);
}

static unsigned long rounds = 1000000;

static void random_bytes(void)
{
	struct wire_hdr *hdr = (void *)msg;
	unsigned long accepted = 0;

	for (unsigned long i = 0; i < rounds; i++) {
		__u32 len = rnd() % 8 ? rnd() % 256 : rnd() % (WIRE_MSG_MAX + 8);

		for (__u32 at = 0; at < len; at += 8) {
			__u64 word = rnd();

			memcpy(msg + at, &word, 8);
		}
		/* Past the header most of the time. */
		if (rnd() % 16) {
			hdr->type = htole16(rnd() % (WIRE_TYPES + 1));
			hdr->reserved = 0;
			hdr->len = htole32(len);
		}
		accepted += !check_as(len);
	}
	ksft_print_msg("%lu of %lu accepted\n", accepted, rounds);
}

/* What is accepted must keep the promises that handlers rely on. */
static void check_promises(void)
{
	const struct wire_hdr *hdr = (void *)msg;
	const struct wire_op *op = (void *)msg;
	const struct wire_prepare *prep = (void *)msg;

	EXPECT(le32toh(hdr->len) == msg_len);
	switch (le16toh(hdr->type)) {
	case WIRE_OP:
		EXPECT(le32toh(op->payload.len) <= PROCLET_PAYLOAD_MAX);
		EXPECT(le32toh(op->payload.ndescs) <= WIRE_DESCS_MAX);
		EXPECT(msg_len == sizeof(*op) + (op->payload.ndescs ?
		       le32toh(op->payload.ndescs) * sizeof(struct wire_desc) :
		       le32toh(op->payload.len)));
		break;
	case WIRE_PREPARE:
		EXPECT(le64toh(prep->brk) <= le64toh(prep->capacity));
		EXPECT(le64toh(prep->capacity) <= PROCLET_CAPACITY_MAX);
		break;
	}
}

static __u64 interesting(void)
{
	static const __u64 values[] = { 0, 1, 2, 15, 16, 32, 33, 127, 255, 4095, 4096, 4097,
					0x7fffffff, 0x80000000, 0xffffffff, 1ULL << 20,
					(1ULL << 20) + 1, 1ULL << 32, 1ULL << 46, 1ULL << 63,
					~0ULL, ~0ULL - 4095, ID, STACK };

	return rnd() % 4 ? values[rnd() % ARRAY_SIZE(values)] : rnd();
}

static void altered_messages(void)
{
	unsigned long accepted = 0;

	for (unsigned long i = 0; i < rounds; i++) {
		unsigned int changes = 1 + rnd() % 3;

		messages[rnd() % ARRAY_SIZE(messages)].make();
		while (changes--) {
			__u64 value = interesting();
			__u32 width = 1 << rnd() % 4;

			memcpy(msg + rnd() % (msg_len / width) * width, &value, width);
		}
		if (!check()) {
			accepted++;
			check_promises();
		}
	}
	ksft_print_msg("%lu of %lu accepted\n", accepted, rounds);
}

static void altered_blobs(void)
{
	unsigned long accepted = 0;

	for (unsigned long i = 0; i < rounds; i++) {
		unsigned int changes = 1 + rnd() % 3;
		__u32 len = sizeof(blob);
		__u64 npages;

		make_blob();
		while (changes--) {
			__u64 value = interesting();
			__u32 width = rnd() % 2 ? 4 : 8;

			memcpy((__u8 *)&blob + rnd() % (sizeof(blob) / width) * width,
			       &value, width);
		}
		if (!(rnd() % 8))
			len = rnd() % (sizeof(blob) + 100);
		if (!check_blob_as(len, &npages)) {
			accepted++;
			EXPECT(npages <= CAPACITY / 4096 + 2 * 1024, "saw %llu", npages);
		}
	}
	ksft_print_msg("%lu of %lu accepted\n", accepted, rounds);
}

static int hello_as(__u32 len, const struct rdma_hello *hello)
{
	void *copy = malloc(len ?: 1);
	int ret;

	memcpy(copy, hello, len);
	ret = hello_check(copy, len, 2);
	free(copy);
	return ret;
}

/* Another version is refused, whatever its hello is like, in words with both numbers. */
static void hellos(void)
{
	static const __u16 versions[] = { 0, WIRE_VERSION - 1, WIRE_VERSION + 1, 0xffff };
	const struct rdma_hello good = {
		.magic = htole32(HELLO_MAGIC),
		.version = htole16(WIRE_VERSION),
		.page_shift = htole16(HELLO_PAGE_SHIFT),
		.from = htole16(1),
		.to = htole16(2),
		.depth = htole16(128),
		.qp = 1,
		.qps = 3,
	};
	char text[HELLO_TEXT_MAX], theirs[32], ours[32];
	struct rdma_hello hello = good;

	EXPECT(hello_as(sizeof(hello), &hello) == REFUSE_NONE);
	for (__u32 len = 0; len < sizeof(hello); len++)
		EXPECT(hello_as(len, &hello) == REFUSE_MALFORMED, "%u bytes", len);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		memset(&hello, 0xff, sizeof(hello));
		hello.magic = good.magic;
		hello.version = htole16(versions[i]);
		EXPECT(hello_as(sizeof(hello), &hello) == REFUSE_VERSION, "%u", versions[i]);
		EXPECT(hello_as(6, &hello) == REFUSE_VERSION, "%u", versions[i]);
		snprintf(theirs, sizeof(theirs), "it has version %u ", versions[i]);
		snprintf(ours, sizeof(ours), "this node has version %d", WIRE_VERSION);
		hello_text(text, REFUSE_VERSION, versions[i]);
		EXPECT(strstr(text, theirs), "%s", text);
		EXPECT(strstr(text, ours), "%s", text);
	}
#define HELLO(field, value, reason) do {				\
	hello = good;							\
	hello.field = value;						\
	EXPECT(hello_as(sizeof(hello), &hello) == (reason), #field);	\
} while (0)
	HELLO(magic, 0, REFUSE_MALFORMED);
	HELLO(page_shift, htole16(16), REFUSE_PAGE_SIZE);
	HELLO(to, htole16(1), REFUSE_WRONG_NODE);
	HELLO(depth, htole16(HELLO_DEPTH_MIN - 1), REFUSE_MALFORMED);
	HELLO(depth, htole16(HELLO_DEPTH_MIN), REFUSE_NONE);
	HELLO(depth, htole16(HELLO_DEPTH_MAX), REFUSE_NONE);
	HELLO(depth, htole16(HELLO_DEPTH_MAX + 1), REFUSE_MALFORMED);
	HELLO(qp, 2, REFUSE_NONE);
	HELLO(qp, 3, REFUSE_QPS);
	HELLO(qp, 255, REFUSE_QPS);
	HELLO(qps, 0, REFUSE_QPS);
	HELLO(qps, HELLO_QPS_MIN, REFUSE_NONE);
	HELLO(qps, HELLO_QPS_MAX, REFUSE_NONE);
	HELLO(qps, HELLO_QPS_MAX + 1, REFUSE_QPS);
	hello.qp = 0;
	hello.qps = HELLO_QPS_MIN - 1;
	EXPECT(hello_as(sizeof(hello), &hello) == REFUSE_QPS);
	/* Reasons of other versions are words, too. */
	for (__u32 reason = 0; reason < REFUSALS + 2; reason++)
		EXPECT(strlen(hello_text(text, reason, 1)) > 5, "%u", reason);
}

/* A file for the fuzzer to begin with; what it is made of: fuzz/wire_fuzz.h. */
static void write_seed(const char *dir, const char *name, int kind, const void *head,
		       __u32 head_len, const void *data, __u32 len)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "wb");
	if (!f || fputc(kind, f) == EOF || fwrite(head, 1, head_len, f) != head_len ||
	    fwrite(data, 1, len, f) != len || fclose(f))
		ksft_exit_fail_msg("%s cannot be written\n", path);
}

/* Every message, two blobs, a hello. */
static int write_seeds(const char *dir)
{
	const struct rdma_hello hello = {
		.magic = htole32(HELLO_MAGIC),
		.version = htole16(WIRE_VERSION),
		.page_shift = htole16(HELLO_PAGE_SHIFT),
		.from = htole16(1),
		.to = htole16(2),
		.depth = htole16(128),
		.qp = 1,
		.qps = 3,
	};
	const __le32 self = htole32(2);
	__u32 early_len = offsetof(struct blob, thread) - 2 * sizeof(struct wire_seg);
	struct {
		struct wire_prepare prepare;
		struct wire_offer offer;
	} head;

	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		messages[i].make();
		write_seed(dir, messages[i].name, FUZZ_MESSAGE, "", 0, msg, msg_len);
	}
	make_prepare();
	memcpy(&head.prepare, msg, sizeof(head.prepare));
	make_offer();
	memcpy(&head.offer, msg, sizeof(head.offer));
	make_blob();
	write_seed(dir, "blob", FUZZ_BLOB, &head, sizeof(head), &blob, sizeof(blob));
	/* The first offer of another: of pages of the heap, in five extents. */
	make_early_offer();
	memcpy(&head.offer, msg, sizeof(head.offer));
	blob.head.nsegs = htole32(1);
	blob.head.nextents = htole32(5);
	blob.head.nthreads = 0;
	blob.head.ndescs = htole32(2);
	blob.seg[0].nextents = htole32(5);
	for (__u32 i = 0; i < 5; i++) {
		struct wire_extent ext = { htole32(10 * i), htole32(i + 1) };

		memcpy((__u8 *)&blob.seg[1] + i * sizeof(ext), &ext, sizeof(ext));
	}
	blob.desc[0].len = htole32(8 * WIRE_PAGE_SIZE);
	blob.desc[1].len = htole32(7 * WIRE_PAGE_SIZE);
	memmove((__u8 *)&blob + early_len, blob.desc, sizeof(blob.desc));
	write_seed(dir, "early_blob", FUZZ_BLOB, &head, sizeof(head), &blob,
		   early_len + sizeof(blob.desc));
	write_seed(dir, "hello", FUZZ_HELLO, &self, sizeof(self), &hello, sizeof(hello));
	return 0;
}

static __u32 first_of(__u32 len)
{
	void *copy = malloc(len);
	__u32 first;

	memcpy(copy, msg, len);
	first = wire_first(copy, len);
	free(copy);
	return first;
}

/* Several messages in one SEND: where the first ends. */
static void sent_together(void)
{
	const __u32 hdr = sizeof(struct wire_hdr);

	begin(WIRE_PULLED, hdr + 8);
	EXPECT(first_of(hdr + 8) == hdr + 8);
	EXPECT(first_of(2 * hdr + 8) == hdr + 8);
	EXPECT(first_of(hdr + 9) == hdr + 8);
	/* The next begins at a multiple of 8, or there is none. */
	set_len(hdr + 3);
	EXPECT(first_of(hdr + 3) == hdr + 3);
	EXPECT(first_of(hdr + 4) == hdr + 4);
	EXPECT(first_of(hdr + 8) == hdr + 8);
	EXPECT(first_of(hdr + 9) == hdr + 3);
	/* What cannot be a message is all that there is. */
	set_len(hdr - 1);
	EXPECT(first_of(2 * hdr) == 2 * hdr);
	set_len(2 * hdr + 1);
	EXPECT(first_of(2 * hdr) == 2 * hdr);
	set_len(0);
	EXPECT(first_of(2 * hdr) == 2 * hdr);
	set_len(~0U);
	EXPECT(first_of(2 * hdr) == 2 * hdr);
	set_len(hdr);
	for (__u32 len = 1; len < hdr; len++)
		EXPECT(first_of(len) == len);
}

static const struct {
	const char *name;
	void (*fn)(void);
} tests[] = {
	{ "hellos", hellos },
	{ "every_type_is_covered", every_type_is_covered },
	{ "well_formed", well_formed },
	{ "truncated", truncated },
	{ "oversized", oversized },
	{ "header", header },
	{ "sent_together", sent_together },
	{ "ids_and_stacks", ids_and_stacks },
	{ "joins", joins },
	{ "operations", operations },
	{ "arguments", arguments },
	{ "payloads", payloads },
	{ "migrations", migrations },
	{ "blobs", blobs },
	{ "challenges", challenges },
	{ "common_keys", common_keys },
	{ "random_bytes", random_bytes },
	{ "altered_messages", altered_messages },
	{ "altered_blobs", altered_blobs },
};

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "seeds"))
		return write_seeds(argv[2]);
	if (argc > 1)
		rounds = strtoul(argv[1], NULL, 10);
	setvbuf(stdout, NULL, _IOLBF, 0);
	ksft_print_header();
	ksft_set_plan(ARRAY_SIZE(tests));
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
		bad = 0;
		tests[i].fn();
		ksft_test_result(!bad, "%s\n", tests[i].name);
	}
	ksft_finished();
}
