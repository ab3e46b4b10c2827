// SPDX-License-Identifier: GPL-2.0
/* Validation of messages: nothing from the wire is used before it passed here. */
#ifdef __KERNEL__
#include <linux/kernel.h>
#include <linux/overflow.h>
#include <linux/string.h>
#endif
#include "wire.h"

int wire_id_ok(u64 id)
{
	u64 off = (u64)PROCLET_ID_GRANULE(id) << PROCLET_GRANULE_SHIFT;

	return PROCLET_ID_GEN(id) && off < PROCLET_REGION_SIZE &&
	       off % PROCLET_SLICE_SIZE < PROCLET_STACKS_OFF;
}

int wire_stack_ok(u64 stack)
{
	u64 off = stack - PROCLET_REGION_BASE;

	return off < PROCLET_REGION_SIZE && !(off % PROCLET_STACK_SIZE) &&
	       off % PROCLET_SLICE_SIZE >= PROCLET_STACKS_OFF;
}

int wire_range_ok(u64 off, u64 len)
{
	u64 max = PROCLET_CAPACITY_MAX - PROCLET_ROOT_OFF;

	return off <= max && len <= max - off;
}

static bool node_ok(u64 node)
{
	return node >= 1 && node <= PROCLET_MAX_NODES;
}

/* A proclet or a node, as the operations have it. */
static bool target_ok(u64 target)
{
	return node_ok(target) || wire_id_ok(target);
}

static bool token_ok(const struct wire_token *token)
{
	u64 proclet = le64_to_cpu(token->proclet);
	u64 stack = le64_to_cpu(token->stack);

	if (!node_ok(le32_to_cpu(token->node)))
		return false;
	if (!proclet)
		return !stack;
	return wire_id_ok(proclet) && wire_stack_ok(stack);
}

/* The payload's bytes or descriptors must end exactly where the message ends. */
static const char *check_payload(const struct wire_payload *pl, u32 rest)
{
	u32 len = le32_to_cpu(pl->len), n = le32_to_cpu(pl->ndescs), i;
	const struct wire_desc *desc = (const void *)(pl + 1);
	u64 sum = 0;

	if (len > PROCLET_PAYLOAD_MAX)
		return "payload too long";
	if (!n)
		return rest == len ? NULL : "length of inline payload";
	if (n > WIRE_DESCS_MAX || rest != n * sizeof(*desc))
		return "number of payload descriptors";
	for (i = 0; i < n; i++) {
		u32 part = le32_to_cpu(desc[i].len);

		if (!part || part % WIRE_PAGE_SIZE)
			return "length of payload descriptor";
		sum += part;
	}
	if (sum != (u64)(len + WIRE_PAGE_SIZE - 1) / WIRE_PAGE_SIZE * WIRE_PAGE_SIZE)
		return "sum of payload descriptors";
	return NULL;
}

static bool order_ok(u32 order)
{
	return !order || (order < 64 && 1ULL << order >= PROCLET_CAPACITY_MIN &&
			  1ULL << order <= PROCLET_CAPACITY_MAX);
}

/* What an operation's arguments and results can be by their length. */
static const char *check_args(const struct wire_op *op)
{
	u64 in = le32_to_cpu(op->payload.len), out = le64_to_cpu(op->out_cap);
	u64 off = le64_to_cpu(op->off);

	switch (le32_to_cpu(op->op)) {
	case PROCLET_OP_READ:
		if (in)
			return "length of arguments";
		return wire_range_ok(off, out) ? NULL : "offset";
	case PROCLET_OP_WRITE:
		if (out)
			return "result size";
		return wire_range_ok(off, in) ? NULL : "offset";
	case PROCLET_OP_GET:
	case PROCLET_OP_PUT:
		if (in)
			return "length of arguments";
		break;
	case PROCLET_OP_PUBLISH:
	case PROCLET_OP_UNPUBLISH:
	case PROCLET_OP_LOOKUP:
		if (in != sizeof(struct proclet_name))
			return "length of arguments";
		break;
	}
	return off ? "offset" : NULL;
}

static const char *check_op(const struct wire_op *op, u32 len)
{
	u32 code = le32_to_cpu(op->op);
	const char *why;

	if (!token_ok(&op->token))
		return "token";
	if (le32_to_cpu(op->hops) > WIRE_HOPS_MAX)
		return "hops";
	if (le64_to_cpu(op->out_cap) > PROCLET_PAYLOAD_MAX)
		return "result size";
	switch (code) {
	case PROCLET_OP_CREATE:
	case PROCLET_OP_STATS:
	case PROCLET_OP_PUBLISH:
	case PROCLET_OP_UNPUBLISH:
	case PROCLET_OP_LOOKUP:
		if (!node_ok(le64_to_cpu(op->target)))
			return "target node";
		break;
	case PROCLET_OP_CALL:
	case PROCLET_OP_DESTROY:
	case PROCLET_OP_LOCATE:
	case PROCLET_OP_MIGRATE:
	case PROCLET_OP_GET:
	case PROCLET_OP_PUT:
	case PROCLET_OP_READ:
	case PROCLET_OP_WRITE:
		if (!wire_id_ok(le64_to_cpu(op->target)))
			return "target proclet";
		break;
	default:
		return "operation";
	}
	why = check_args(op);
	if (why)
		return why;
	return check_payload(&op->payload, len - sizeof(*op));
}

static const char *check_reply(const struct wire_reply *reply, u32 len)
{
	if (!token_ok(&reply->token))
		return "token";
	if (le32_to_cpu(reply->hops) > WIRE_HOPS_MAX)
		return "hops";
	if (!node_ok(le32_to_cpu(reply->from)))
		return "replying node";
	return check_payload(&reply->payload, len - sizeof(*reply));
}

static const char *check_probe(const struct wire_probe *probe, u32 len)
{
	u32 n = le32_to_cpu(probe->count), i;

	if (!n || n > WIRE_PROBE_MAX || len != sizeof(*probe) + n * sizeof(struct wire_token))
		return "number of tokens";
	for (i = 0; i < n; i++)
		if (!token_ok(&probe->tokens[i]))
			return "token";
	return NULL;
}

static const char *check_cancel(const struct wire_cancel *cancel)
{
	if (!token_ok(&cancel->token))
		return "token";
	if (!target_ok(le64_to_cpu(cancel->target)))
		return "target";
	return le32_to_cpu(cancel->hops) > WIRE_HOPS_MAX || cancel->reserved ?
		"hops or reserved field" : NULL;
}

/* It is shown to people, and to whatever reads a log. */
static bool reason_ok(const char *reason)
{
	u32 i;

	for (i = 0; i < PROCLET_REASON_MAX && reason[i]; i++)
		if (reason[i] < ' ' || reason[i] > '~')
			return false;
	return i < PROCLET_REASON_MAX;
}

static const char *check_leave(const struct wire_leave *leave)
{
	if (le32_to_cpu(leave->refused) > 1)
		return "refused";
	return reason_ok(leave->reason) ? NULL : "reason";
}

static const char *check_exit(const struct wire_exit *m)
{
	u32 event = le32_to_cpu(m->event);

	if (!node_ok(le32_to_cpu(m->node)))
		return "node";
	if (event != PROCLET_EVENT_EXIT && event != PROCLET_EVENT_LOST)
		return "event";
	return reason_ok(m->reason) ? NULL : "reason";
}

static const char *check_join(const struct wire_join *join)
{
	if (!join->name[0] ||
	    strnlen(join->name, sizeof(join->name)) == sizeof(join->name))
		return "name";
	if (le32_to_cpu(join->ident.build_id_len) > sizeof(join->ident.build_id))
		return "length of build id";
	return NULL;
}

static const char *check_prepare(const struct wire_prepare *prep)
{
	u64 capacity = le64_to_cpu(prep->capacity), brk = le64_to_cpu(prep->brk);
	u64 heap;

	if (!wire_id_ok(le64_to_cpu(prep->proclet)))
		return "proclet";
	if (capacity < PROCLET_CAPACITY_MIN || capacity > PROCLET_CAPACITY_MAX ||
	    capacity & (capacity - 1))
		return "capacity";
	/* A segment is aligned to its size, and ends before the thread segments. */
	heap = PROCLET_ID_HEAP(le64_to_cpu(prep->proclet)) - PROCLET_REGION_BASE;
	if (heap % capacity || heap % PROCLET_SLICE_SIZE + capacity > PROCLET_STACKS_OFF)
		return "heap segment";
	if (brk > capacity || brk % WIRE_PAGE_SIZE)
		return "reserved size";
	if (!prep->epoch || le64_to_cpu(prep->epoch) > WIRE_EPOCH_MAX)
		return "epoch";
	/* Each thread brings at most its whole segment. */
	if (le32_to_cpu(prep->nthreads) > (1u << 20) ||
	    le64_to_cpu(prep->npages) > brk / WIRE_PAGE_SIZE +
	    (u64)le32_to_cpu(prep->nthreads) * (PROCLET_STACK_SIZE / WIRE_PAGE_SIZE))
		return "number of pages";
	return NULL;
}

static const char *check_offer(const struct wire_offer *offer, u32 len)
{
	u32 blob = le32_to_cpu(offer->blob_len), n = le32_to_cpu(offer->ndescs);
	u32 rest = len - sizeof(*offer), flags = le32_to_cpu(offer->flags);
	u32 refs = le32_to_cpu(offer->refs);

	if (!wire_id_ok(le64_to_cpu(offer->proclet)))
		return "proclet";
	if (blob < sizeof(struct wire_blob) || blob > WIRE_BLOB_MAX)
		return "length of blob";
	if (flags & WIRE_OFFER_EARLY ? refs : !refs || refs > PROCLET_REFS_MAX)
		return "references";
	if (le64_to_cpu(offer->keep) > PROCLET_CAPACITY_MAX ||
	    le64_to_cpu(offer->keep) % WIRE_PAGE_SIZE)
		return "size of what is kept";
	if (flags & ~(WIRE_OFFER_EARLY | WIRE_OFFER_READ | WIRE_OFFER_TAIL) ||
	    (flags & WIRE_OFFER_READ && flags != (WIRE_OFFER_EARLY | WIRE_OFFER_READ)))
		return "flags";
	if (!n)
		return rest == blob ? NULL : "length of inline blob";
	return rest == (u64)n * sizeof(struct wire_desc) ? NULL :
		"number of blob descriptors";
}

static const char *check_challenge(const struct wire_challenge *m)
{
	u32 from = le32_to_cpu(m->from), to = le32_to_cpu(m->to);
	u32 flags = le32_to_cpu(m->flags), n = le32_to_cpu(m->nkeys), i;

	if (m->hdr.lproc || m->hdr.clock || m->reserved)
		return "fields that must be 0";
	if (le32_to_cpu(m->version) != WIRE_VERSION)
		return "version";
	if (!node_ok(from) || !node_ok(to) || from == to)
		return "nodes";
	if (!m->incarnation)
		return "incarnation";
	if (flags & ~WIRE_AUTHENTICATES)
		return "flags";
	if (n > (flags ? WIRE_KEYS_MAX : 0))
		return "number of keys";
	for (i = n; i < WIRE_KEYS_MAX; i++)
		if (m->keys[i])
			return "keys";
	return NULL;
}

static const char *check_body(u32 type, const void *data, u32 len)
{
	switch (type) {
	case WIRE_JOIN:
		return check_join(data);
	case WIRE_JOIN_ACK:
		return reason_ok(((const struct wire_join_ack *)data)->reason) ?
			NULL : "reason";
	case WIRE_LEAVE:
		return check_leave(data);
	case WIRE_EXIT:
		return check_exit(data);
	case WIRE_OP:
		return check_op(data, len);
	case WIRE_REPLY:
		return check_reply(data, len);
	case WIRE_CALL_AT: {
		const struct wire_call_at *at = data;

		if (!token_ok(&at->token) || !node_ok(le32_to_cpu(at->node)) ||
		    le32_to_cpu(at->hops) > WIRE_HOPS_MAX)
			return "token, node or hops";
		return NULL;
	}
	case WIRE_PROBE:
	case WIRE_PROBED:
		return check_probe(data, len);
	case WIRE_CANCEL:
		return check_cancel(data);
	case WIRE_MOVED: {
		const struct wire_moved *moved = data;

		if (!wire_id_ok(le64_to_cpu(moved->proclet)) ||
		    le32_to_cpu(moved->node) > PROCLET_MAX_NODES)
			return "proclet or node";
		return order_ok(le32_to_cpu(moved->order)) ? NULL : "order";
	}
	case WIRE_STACK_FREE:
		return wire_stack_ok(le64_to_cpu(((const struct wire_stack_free *)
						  data)->stack)) ? NULL : "stack";
	case WIRE_PREPARE:
		return check_prepare(data);
	case WIRE_OFFER:
		return check_offer(data, len);
	case WIRE_ACCEPT:
	case WIRE_REFUSE:
	case WIRE_COPIED:
	case WIRE_READY:
	case WIRE_COMMIT:
	case WIRE_ACTIVE:
	case WIRE_FETCHED:
	case WIRE_ABORT:
	case WIRE_QUERY:
	case WIRE_STATUS:
		return wire_id_ok(le64_to_cpu(((const struct wire_mig *)data)->proclet)) ?
			NULL : "proclet";
	case WIRE_CHALLENGE:
		return check_challenge(data);
	case WIRE_PROOF: {
		const struct wire_hdr *hdr = data;

		return hdr->lproc || hdr->clock ? "fields that must be 0" : NULL;
	}
	default:
		return NULL;
	}
}

u32 wire_type_len(u32 type, bool *exact)
{
	*exact = true;
	switch (type) {
	case WIRE_JOIN:
		return sizeof(struct wire_join);
	case WIRE_JOIN_ACK:
		return sizeof(struct wire_join_ack);
	case WIRE_LEAVE:
		return sizeof(struct wire_leave);
	case WIRE_EXIT:
		return sizeof(struct wire_exit);
	case WIRE_OP:
		*exact = false;
		return sizeof(struct wire_op);
	case WIRE_REPLY:
		*exact = false;
		return sizeof(struct wire_reply);
	case WIRE_PULLED:
		return sizeof(struct wire_pulled);
	case WIRE_CALL_AT:
		return sizeof(struct wire_call_at);
	case WIRE_PROBE:
	case WIRE_PROBED:
		*exact = false;
		return sizeof(struct wire_probe);
	case WIRE_CANCEL:
		return sizeof(struct wire_cancel);
	case WIRE_MOVED:
		return sizeof(struct wire_moved);
	case WIRE_STACK_FREE:
		return sizeof(struct wire_stack_free);
	case WIRE_PREPARE:
		return sizeof(struct wire_prepare);
	case WIRE_OFFER:
		*exact = false;
		return sizeof(struct wire_offer);
	case WIRE_ACCEPT:
	case WIRE_REFUSE:
	case WIRE_COPIED:
	case WIRE_READY:
	case WIRE_COMMIT:
	case WIRE_ACTIVE:
	case WIRE_FETCHED:
	case WIRE_ABORT:
	case WIRE_QUERY:
	case WIRE_STATUS:
		return sizeof(struct wire_mig);
	case WIRE_CHALLENGE:
		return sizeof(struct wire_challenge);
	case WIRE_PROOF:
		return sizeof(struct wire_proof);
	default:
		return 0;
	}
}

u32 wire_first(const void *data, u32 len)
{
	const struct wire_hdr *hdr = data;
	u32 first, next;

	if (len < sizeof(*hdr))
		return len;
	first = le32_to_cpu(hdr->len);
	if (first < sizeof(*hdr) || first > len)
		return len;
	next = (first + WIRE_ALIGN - 1) / WIRE_ALIGN * WIRE_ALIGN;
	if (first < len && next >= len)
		return len;	/* there is something, but not a message */
	return first;
}

const char *wire_check(const void *data, u32 len)
{
	const struct wire_hdr *hdr = data;
	u32 want, type;
	bool exact;

	if (len < sizeof(*hdr) || len > WIRE_MSG_MAX)
		return "length";
	if (le32_to_cpu(hdr->len) != len)
		return "length in header";
	if (hdr->reserved)
		return "reserved field in header";
	type = le16_to_cpu(hdr->type);
	want = wire_type_len(type, &exact);
	if (!want)
		return "type";
	if (len < want || (exact && len != want))
		return "length for its type";
	return check_body(type, data, len);
}

/* Extents of one segment: ascending, not empty, below its limit. */
static const char *check_extents(const struct wire_extent *ext, u32 n, u64 limit,
				 u64 *npages)
{
	u64 next = 0, pages = limit / WIRE_PAGE_SIZE;
	u32 i;

	for (i = 0; i < n; i++) {
		u64 first = le32_to_cpu(ext[i].first), count = le32_to_cpu(ext[i].count);

		if (!count || first < next || first + count > pages)
			return "extent";
		next = first + count;
		*npages += count;
	}
	return NULL;
}

/* What is not of its state must be 0; a word to wait at is of heap or thread. */
static bool thread_ok(const struct wire_thread *t, u64 start, u64 proclet, u64 capacity)
{
	u64 target = le64_to_cpu(t->target), addr = le64_to_cpu(t->wait_addr);
	u32 state = le32_to_cpu(t->state);

	if (le64_to_cpu(t->stack) != start || state > WIRE_THREAD_REPLIED ||
	    le32_to_cpu(t->sent_to) > PROCLET_MAX_NODES ||
	    (target && !target_ok(target)) || le32_to_cpu(t->cancelled) > 1)
		return false;
	if (state != WIRE_THREAD_REPLIED && t->result)
		return false;
	if (!addr)
		return !t->wait_no;
	return state == WIRE_THREAD_WAITING && !(addr % sizeof(u32)) &&
	       (addr - PROCLET_ID_HEAP(proclet) < capacity ||
		wire_stack_ok(addr & PROCLET_STACK_MASK));
}

const char *wire_check_blob(const void *data, u32 len, u64 proclet, u64 capacity,
			    u64 *npages)
{
	const struct wire_blob *blob = data;
	u32 nsegs, nextents, nthreads, ndescs, i, left;
	const struct wire_thread *threads;
	const struct wire_extent *exts;
	const struct wire_desc *descs;
	const struct wire_seg *segs;
	const char *why;
	u64 want, sum;

	*npages = 0;
	if (len < sizeof(*blob))
		return "length of blob";
	nsegs = le32_to_cpu(blob->nsegs);
	nextents = le32_to_cpu(blob->nextents);
	nthreads = le32_to_cpu(blob->nthreads);
	ndescs = le32_to_cpu(blob->ndescs);
	want = sizeof(*blob) + (u64)nsegs * sizeof(*segs) +
	       (u64)nextents * sizeof(*exts) + (u64)nthreads * sizeof(*threads) +
	       (u64)ndescs * sizeof(*descs);
	if (want != len || !nsegs || nthreads != nsegs - 1)
		return "counts in blob";
	segs = (const void *)(blob + 1);
	exts = (const void *)(segs + nsegs);
	threads = (const void *)(exts + nextents);
	descs = (const void *)(threads + nthreads);

	for (i = 0, left = nextents; i < nsegs; i++) {
		u64 start = le64_to_cpu(segs[i].start);
		u64 limit = le64_to_cpu(segs[i].limit);
		u32 n = le32_to_cpu(segs[i].nextents);

		if (n > left || limit % WIRE_PAGE_SIZE)
			return "segment";
		if (!i && (start != PROCLET_ID_HEAP(proclet) || limit > capacity))
			return "heap segment";
		if (i && (!wire_stack_ok(start) || limit != PROCLET_STACK_SIZE ||
			  (i > 1 && start <= le64_to_cpu(segs[i - 1].start)) ||
			  !thread_ok(&threads[i - 1], start, proclet, capacity)))
			return "thread segment";
		why = check_extents(exts + nextents - left, n, limit, npages);
		if (why)
			return why;
		left -= n;
	}
	if (left)
		return "extents left over";
	for (i = 0, sum = 0; i < ndescs; i++) {
		u32 part = le32_to_cpu(descs[i].len);

		if (!part || part % WIRE_PAGE_SIZE)
			return "length of descriptor";
		sum += part / WIRE_PAGE_SIZE;
	}
	return sum == *npages ? NULL : "sum of descriptors";
}
