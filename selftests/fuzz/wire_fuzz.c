// SPDX-License-Identifier: GPL-2.0
/*
 * Fuzz target of kmod/wire.c and kmod/hello.c. What they accept is walked as the
 * kernel's receivers do it, from an allocation of exactly its size and into others of
 * the sizes that the kernel would take; and everything that receivers take for granted
 * is asserted, with the receiver that does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire_fuzz.h"

struct fuzz_accepted fuzz_accepted;

/* An accepted input does not keep it: a finding. */
#define PROMISE(cond) do {						\
	if (!(cond)) {							\
		fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #cond); \
		abort();						\
	}								\
} while (0)

#define PAGE_SHIFT	12
#define PAGES_OF_STACK	(PROCLET_STACK_SIZE / WIRE_PAGE_SIZE)

/* Results of reads that have to happen. */
static volatile u64 sink;

static void *copy_of(const void *data, size_t len)
{
	void *copy = malloc(len ?: 1);

	if (!copy)
		abort();
	memcpy(copy, data, len);
	return copy;
}

static void read_all(const void *data, size_t len)
{
	const u8 *at = data;
	u64 sum = 0;

	while (len--)
		sum += *at++;
	sink = sum;
}

static bool node_good(u64 node)
{
	return node >= 1 && node <= PROCLET_MAX_NODES;	/* node_bit() */
}

/* Of a granule that the tables of region.c and proclets.c have, below the stacks. */
static bool id_good(u64 id)
{
	u64 heap = PROCLET_ID_HEAP(id) - PROCLET_REGION_BASE;

	return PROCLET_ID_GEN(id) && heap < PROCLET_REGION_SIZE &&
	       heap % PROCLET_SLICE_SIZE < PROCLET_STACKS_OFF &&
	       node_good(PROCLET_ID_HOME(id));
}

/* Not outside the bitmap of stack_slot_free(), at its home. */
static bool stack_good(u64 stack)
{
	u64 home = (stack - PROCLET_REGION_BASE) / PROCLET_SLICE_SIZE + 1;
	u64 first;

	if (stack < PROCLET_REGION_BASE || !node_good(home))
		return false;
	first = PROCLET_REGION_BASE + (home - 1) * PROCLET_SLICE_SIZE + PROCLET_STACKS_OFF;
	return stack >= first && !((stack - first) % PROCLET_STACK_SIZE) &&
	       (stack - first) / PROCLET_STACK_SIZE <
	       (PROCLET_SLICE_SIZE - PROCLET_STACKS_OFF) / PROCLET_STACK_SIZE;
}

/* waiter_find(), op_route(), thread_reply() */
static void walk_token(const struct wire_token *token)
{
	u64 proclet = le64_to_cpu(token->proclet), stack = le64_to_cpu(token->stack);

	read_all(token, sizeof(*token));
	PROMISE(node_good(le32_to_cpu(token->node)));
	if (!proclet)
		PROMISE(!stack);
	else
		PROMISE(id_good(proclet) && stack_good(stack));
}

/* pr_err(), events, sysfs; strscpy() to an array of the same size */
static void walk_reason(const char *reason)
{
	size_t len = strnlen(reason, PROCLET_REASON_MAX);

	PROMISE(len < PROCLET_REASON_MAX);
	for (size_t i = 0; i < len; i++)
		PROMISE(reason[i] >= ' ' && reason[i] <= '~');
}

/*
 * xport_read_valid(), but for addresses that wrap around; and loop and rdma's reads,
 * which fill pages by the lengths: @npages is what there is room for.
 */
static void walk_descs(const struct wire_desc *descs, u32 n, u64 npages)
{
	u64 sum = 0;

	for (u32 i = 0; i < n; i++) {
		u32 len = le32_to_cpu(descs[i].len);

		read_all(&descs[i], sizeof(descs[i]));
		PROMISE(len && !(len % WIRE_PAGE_SIZE));
		sum += len >> PAGE_SHIFT;
		PROMISE(sum <= npages);
	}
	PROMISE(sum == npages);
}

/* pull_payload(), op_alloc_now(), payload_fill(); msg_unread() */
static void walk_payload(const struct wire_payload *pl, u32 rest)
{
	u32 len = le32_to_cpu(pl->len), n = le32_to_cpu(pl->ndescs);

	read_all(pl, sizeof(*pl));
	PROMISE(len <= PROCLET_PAYLOAD_MAX);
	if (!n) {
		PROMISE(len == rest);
		free(copy_of(pl + 1, len));
		return;
	}
	/* struct_size() of one allocation */
	PROMISE(n <= WIRE_DESCS_MAX && (u64)n * sizeof(struct wire_desc) == rest);
	struct wire_desc *descs = copy_of(pl + 1, n * sizeof(*descs));

	walk_descs(descs, n, (len + WIRE_PAGE_SIZE - 1) / WIRE_PAGE_SIZE);
	free(descs);
}

/* op_read(), op_route(), op_at_node(), op_deliver(), memory_op(), names_op() */
static void walk_op(const struct wire_op *m, u32 len)
{
	u64 target = le64_to_cpu(m->target), off = le64_to_cpu(m->off);
	u64 out = le64_to_cpu(m->out_cap), in = le32_to_cpu(m->payload.len);
	u64 most = PROCLET_CAPACITY_MAX - PROCLET_ROOT_OFF;
	bool node = false, name = false;

	walk_token(&m->token);
	PROMISE(le32_to_cpu(m->hops) <= WIRE_HOPS_MAX);
	PROMISE(out <= PROCLET_PAYLOAD_MAX);	/* op.out_cap has 32 bits */
	switch (le32_to_cpu(m->op)) {
	case PROCLET_OP_PUBLISH:
	case PROCLET_OP_UNPUBLISH:
	case PROCLET_OP_LOOKUP:
		name = true;
		/* fall through */
	case PROCLET_OP_CREATE:
	case PROCLET_OP_STATS:
		node = true;
		break;
	case PROCLET_OP_READ:
		PROMISE(off <= most && out <= most - off && !in);
		break;
	case PROCLET_OP_WRITE:
		PROMISE(off <= most && in <= most - off && !out);
		break;
	case PROCLET_OP_GET:
	case PROCLET_OP_PUT:
		PROMISE(!in);
		break;
	case PROCLET_OP_CALL:
	case PROCLET_OP_DESTROY:
	case PROCLET_OP_LOCATE:
	case PROCLET_OP_MIGRATE:
		break;
	default:
		PROMISE(!"an operation that op_deliver() knows");
	}
	PROMISE(node ? node_good(target) : id_good(target));
	PROMISE(!name || in == sizeof(struct proclet_name));
	walk_payload(&m->payload, len - sizeof(*m));
}

/* cmp_token() */
static int cmp_token(const void *a, const void *b)
{
	const struct wire_token *x = a, *y = b;
	int ret = memcmp(x, y, offsetof(struct wire_token, node));

	return ret || x->proclet ? ret : memcmp(&x->node, &y->node, sizeof(x->node));
}

/* waiter_recv_probe(), find_held(); waiter_recv_probed(), take_answer() */
static void walk_probe(const struct wire_probe *m)
{
	u32 n = le32_to_cpu(m->count);
	struct wire_token *tokens;

	/* The answer has the same tokens. */
	PROMISE(n && n <= WIRE_PROBE_MAX);
	PROMISE(sizeof(*m) + n * sizeof(m->tokens[0]) <= WIRE_MSG_MAX);
	for (u32 i = 0; i < n; i++)
		walk_token(&m->tokens[i]);
	tokens = copy_of(m->tokens, n * sizeof(*tokens));
	qsort(tokens, n, sizeof(*tokens), cmp_token);
	for (u32 i = 0; i < n; i++)
		PROMISE(bsearch(&m->tokens[i], tokens, n, sizeof(*tokens), cmp_token));
	free(tokens);
}

/* lproc_handle_join(), join_differs() */
static void walk_join(const struct wire_join *m)
{
	u32 len = le32_to_cpu(m->ident.build_id_len);

	PROMISE(m->name[0] && memchr(m->name, 0, sizeof(m->name)));
	PROMISE(len <= sizeof(m->ident.build_id));
	read_all(m->ident.build_id, len);
}

/* migrate_dst_prepare(), in_prepare(), proclet_alloc() */
static void walk_prepare(const struct wire_prepare *m)
{
	u64 id = le64_to_cpu(m->proclet), capacity = le64_to_cpu(m->capacity);
	u64 brk = le64_to_cpu(m->brk), npages = le64_to_cpu(m->npages);
	u64 threads = le32_to_cpu(m->nthreads), heap, extra, bytes;

	PROMISE(id_good(id));
	PROMISE(capacity >= PROCLET_CAPACITY_MIN && capacity <= PROCLET_CAPACITY_MAX);
	PROMISE(!(capacity & (capacity - 1)));
	heap = PROCLET_ID_HEAP(id) - PROCLET_REGION_BASE;
	PROMISE(!(heap % capacity));
	PROMISE(heap / PROCLET_SLICE_SIZE == (heap + capacity - 1) / PROCLET_SLICE_SIZE);
	PROMISE(heap % PROCLET_SLICE_SIZE + capacity <= PROCLET_STACKS_OFF);
	PROMISE(brk <= capacity && !(brk % WIRE_PAGE_SIZE));
	PROMISE(le64_to_cpu(m->epoch));
	/* Sums of in_begin() and in_read_offer() have 32 bits. */
	PROMISE(threads + 4096 <= UINT32_MAX);
	PROMISE(npages <= brk / WIRE_PAGE_SIZE + threads * PAGES_OF_STACK);
	PROMISE(2 * (npages + (capacity >> PAGE_SHIFT) + 4096) <= UINT32_MAX);
	/* What is charged for the threads. */
	PROMISE(!__builtin_mul_overflow(npages, (u64)WIRE_PAGE_SIZE, &bytes));
	extra = bytes - (bytes < brk ? bytes : brk);
	PROMISE(extra <= threads * PROCLET_STACK_SIZE);
}

/* migrate_dst_offer(), in_offer(), early_cut(), in_commit() */
static void walk_offer(const struct wire_offer *m, u32 len)
{
	u32 blob = le32_to_cpu(m->blob_len), n = le32_to_cpu(m->ndescs);
	u32 flags = le32_to_cpu(m->flags), refs = le32_to_cpu(m->refs);
	u64 keep = le64_to_cpu(m->keep);

	PROMISE(id_good(le64_to_cpu(m->proclet)));
	PROMISE(blob >= sizeof(struct wire_blob) && blob <= WIRE_BLOB_MAX);
	PROMISE(!(keep % WIRE_PAGE_SIZE) && keep <= PROCLET_CAPACITY_MAX);
	PROMISE(!(flags & ~(WIRE_OFFER_EARLY | WIRE_OFFER_READ | WIRE_OFFER_TAIL)));
	PROMISE(!(flags & WIRE_OFFER_READ) || flags == (WIRE_OFFER_EARLY | WIRE_OFFER_READ));
	/* A proclet that is installed has a reference, and another can be added. */
	if (!(flags & WIRE_OFFER_EARLY))
		PROMISE(!(flags & ~WIRE_OFFER_TAIL) && refs && refs <= PROCLET_REFS_MAX);
	if (!n) {
		PROMISE(sizeof(*m) + (u64)blob == len);
		free(copy_of(m + 1, blob));
	} else {
		PROMISE(sizeof(*m) + (u64)n * sizeof(struct wire_desc) == len);
		free(copy_of(m + 1, n * sizeof(struct wire_desc)));
	}
}

/* auth_recv_challenge() */
static void walk_challenge(const struct wire_challenge *m)
{
	u32 n = le32_to_cpu(m->nkeys), key;
	struct wire_challenge ours = *m;

	PROMISE(!m->hdr.lproc && !m->hdr.clock);
	PROMISE(node_good(le32_to_cpu(m->from)) && node_good(le32_to_cpu(m->to)));
	PROMISE(n <= WIRE_KEYS_MAX && (!n || m->flags));
	/* What we have and it has not is never the key; of us it is one that we have. */
	for (u32 i = 0; i < WIRE_KEYS_MAX; i++)
		ours.keys[i] = i % 2 ? m->keys[WIRE_KEYS_MAX - 1 - i] : ~m->keys[i];
	ours.flags = htole32(WIRE_AUTHENTICATES);
	for (u32 have = 0; have <= WIRE_KEYS_MAX; have++) {
		ours.nkeys = htole32(have);
		for (int lower = 0; lower < 2; lower++) {
			if (auth_judge(&ours, m, lower, &key)) {
				PROMISE(key == AUTH_NO_KEY);
				continue;
			}
			PROMISE(m->flags && key < have);
			while (n && m->keys[n - 1] != ours.keys[key])
				n--;
			PROMISE(n);
			n = le32_to_cpu(m->nkeys);
		}
	}
}

/* What msg_dispatch() and xport_recv() do with an accepted message. */
static void walk_message(const void *data, u32 len)
{
	const struct wire_hdr *hdr = data;
	const struct wire_exit *end = data;
	const struct wire_reply *reply = data;
	const struct wire_call_at *at = data;
	const struct wire_cancel *cancel = data;
	const struct wire_moved *moved = data;
	u32 type = le16_to_cpu(hdr->type);
	u64 target;

	PROMISE(le32_to_cpu(hdr->len) == len && !hdr->reserved);
	PROMISE(len <= WIRE_MSG_MAX);
	PROMISE(type && type < WIRE_TYPES);
	fuzz_accepted.message[type]++;
	switch (type) {
	case WIRE_JOIN:
		PROMISE(len == sizeof(struct wire_join));
		walk_join(data);
		break;
	case WIRE_JOIN_ACK:
		PROMISE(len == sizeof(struct wire_join_ack));
		walk_reason(((const struct wire_join_ack *)data)->reason);
		break;
	case WIRE_LEAVE:
		PROMISE(len == sizeof(struct wire_leave));
		PROMISE(le32_to_cpu(((const struct wire_leave *)data)->refused) <= 1);
		walk_reason(((const struct wire_leave *)data)->reason);
		break;
	case WIRE_EXIT:
		PROMISE(len == sizeof(*end));
		PROMISE(node_good(le32_to_cpu(end->node)));
		PROMISE(le32_to_cpu(end->event) == PROCLET_EVENT_EXIT ||
			le32_to_cpu(end->event) == PROCLET_EVENT_LOST);
		walk_reason(end->reason);
		break;
	case WIRE_OP:
		walk_op(data, len);
		break;
	case WIRE_REPLY:
		walk_token(&reply->token);
		PROMISE(le32_to_cpu(reply->hops) <= WIRE_HOPS_MAX);
		PROMISE(node_good(le32_to_cpu(reply->from)));
		walk_payload(&reply->payload, len - sizeof(*reply));
		break;
	case WIRE_PULLED:
		PROMISE(len == sizeof(struct wire_pulled));
		break;
	case WIRE_CALL_AT:
		PROMISE(len == sizeof(*at));
		walk_token(&at->token);
		PROMISE(node_good(le32_to_cpu(at->node)));
		PROMISE(le32_to_cpu(at->hops) <= WIRE_HOPS_MAX);
		break;
	case WIRE_PROBE:
	case WIRE_PROBED:
		walk_probe(data);
		break;
	case WIRE_CANCEL:
		PROMISE(len == sizeof(*cancel));
		walk_token(&cancel->token);
		target = le64_to_cpu(cancel->target);
		/* cancel_next() tells them apart by this */
		PROMISE(target <= PROCLET_MAX_NODES ? node_good(target) : id_good(target));
		PROMISE(le32_to_cpu(cancel->hops) <= WIRE_HOPS_MAX);
		break;
	case WIRE_MOVED:
		PROMISE(len == sizeof(*moved));
		PROMISE(id_good(le64_to_cpu(moved->proclet)));
		PROMISE(le32_to_cpu(moved->node) <= PROCLET_MAX_NODES);
		PROMISE(!moved->order || (le32_to_cpu(moved->order) >= 20 &&
					  le32_to_cpu(moved->order) <= 36));
		break;
	case WIRE_STACK_FREE:
		PROMISE(len == sizeof(struct wire_stack_free));
		PROMISE(stack_good(le64_to_cpu(((const struct wire_stack_free *)data)->stack)));
		break;
	case WIRE_PREPARE:
		PROMISE(len == sizeof(struct wire_prepare));
		walk_prepare(data);
		break;
	case WIRE_OFFER:
		walk_offer(data, len);
		break;
	case WIRE_CHALLENGE:
		PROMISE(len == sizeof(struct wire_challenge));
		walk_challenge(data);
		break;
	case WIRE_PROOF:
		PROMISE(len == sizeof(struct wire_proof));
		break;
	default:
		PROMISE(len == sizeof(struct wire_mig));
		PROMISE(id_good(le64_to_cpu(((const struct wire_mig *)data)->proclet)));
	}
	read_all(data, len);
}

/* A SEND, of one message or several: rx_next_msg(). */
static void fuzz_message(const u8 *data, size_t size)
{
	size_t at = 0;
	void *msg;
	u32 len;

	while (at < size) {
		msg = copy_of(data + at, size - at);
		len = wire_first(msg, size - at);
		free(msg);
		PROMISE(len && len <= size - at);
		msg = copy_of(data + at, len);
		if (!wire_check(msg, len))
			walk_message(msg, len);
		free(msg);
		at += (len + WIRE_ALIGN - 1) / WIRE_ALIGN * WIRE_ALIGN;
	}
}

/* Begins with the arrays of a blob, which its counts say are there. */
struct blob_parts {
	u32 nsegs;
	u32 nextents;
	u32 ndescs;
	const struct wire_seg *segs;
	const struct wire_extent *exts;
	const struct wire_thread *threads;
	const struct wire_desc *descs;
};

/* in_thread(), in_commit() */
static void walk_thread(const struct wire_thread *t, u64 stack, u64 id, u64 capacity)
{
	u64 target = le64_to_cpu(t->target), addr = le64_to_cpu(t->wait_addr);
	u32 state = le32_to_cpu(t->state);

	read_all(t, sizeof(*t));
	PROMISE(le64_to_cpu(t->stack) == stack);
	PROMISE(state <= WIRE_THREAD_REPLIED);	/* an index */
	PROMISE(le32_to_cpu(t->sent_to) <= PROCLET_MAX_NODES);
	PROMISE(le32_to_cpu(t->cancelled) <= 1);
	PROMISE(!target || node_good(target) || id_good(target));
	/* Of what is not REPLIED, the result would be that of a wakening. */
	PROMISE(state == WIRE_THREAD_REPLIED || !t->result);
	if (!addr) {
		PROMISE(!t->wait_no);
		return;
	}
	PROMISE(state == WIRE_THREAD_WAITING && !(addr % sizeof(u32)));
	if (addr - PROCLET_ID_HEAP(id) >= capacity)
		PROMISE(stack_good(addr & PROCLET_STACK_MASK));
}

/* fill_segment(), place_page(): all indices within the segment, each one once. */
static void walk_extents(const struct wire_extent *ext, u32 n, u64 limit, u64 *at)
{
	u64 next = 0;

	for (u32 i = 0; i < n; i++) {
		u64 first = le32_to_cpu(ext[i].first), count = le32_to_cpu(ext[i].count);

		PROMISE(count && first >= next);
		next = first + count;
		PROMISE(next <= limit >> PAGE_SHIFT && next <= UINT32_MAX);
		*at += count;
	}
}

/* More pages than that are not worth the time. */
#define EARLY_MAX	(1u << 16)

/* early_keep(), early_cut(): the last offer has @keep and so cuts the first one. */
static void walk_early(const struct blob_parts *b, u32 npages, u64 keep)
{
	struct wire_desc *descs;
	u32 *index, at = 0, n, d;

	if (npages > EARLY_MAX)
		return;
	index = malloc(npages * sizeof(*index) ?: 1);
	if (!index)
		abort();
	descs = copy_of(b->descs, b->ndescs * sizeof(*descs));
	for (u32 i = 0; i < b->nextents; i++)
		for (u32 j = 0; j < le32_to_cpu(b->exts[i].count); j++)
			index[at++] = le32_to_cpu(b->exts[i].first) + j;
	PROMISE(at == npages);
	n = npages;
	while (n && index[n - 1] >= keep >> PAGE_SHIFT)
		n--;
	at = n;
	for (d = 0; n; d++) {
		u32 len = le32_to_cpu(descs[d].len) >> PAGE_SHIFT;

		if (len > n)
			descs[d].len = htole32(n << PAGE_SHIFT);
		n -= len < n ? len : n;
	}
	/* What is left is to be read with the last offer. */
	PROMISE(d <= b->ndescs);
	walk_descs(descs, d, at);
	free(descs);
	free(index);
}

/* in_begin() */
static void walk_blob(const void *data, u32 len, const struct wire_prepare *prep,
		      const struct wire_offer *offer, u64 npages)
{
	u64 id = le64_to_cpu(prep->proclet), capacity = le64_to_cpu(prep->capacity);
	bool early = le32_to_cpu(offer->flags) & WIRE_OFFER_EARLY;
	const struct wire_blob *blob = data;
	const struct wire_extent *exts;
	struct blob_parts b;
	u64 at = 0, left, limit, start, last = 0;

	b.nsegs = le32_to_cpu(blob->nsegs);
	b.nextents = le32_to_cpu(blob->nextents);
	b.ndescs = le32_to_cpu(blob->ndescs);
	b.segs = (const void *)(blob + 1);
	PROMISE(b.nsegs && le32_to_cpu(blob->nthreads) == b.nsegs - 1);
	PROMISE((u64)b.nsegs * sizeof(*b.segs) <= len);
	b.exts = (const void *)(b.segs + b.nsegs);
	PROMISE((u64)b.nextents * sizeof(*b.exts) <= len);
	b.threads = (const void *)(b.exts + b.nextents);
	b.descs = (const void *)(b.threads + b.nsegs - 1);
	PROMISE((const u8 *)(b.descs + b.ndescs) == (const u8 *)data + len);

	PROMISE(npages <= (capacity >> PAGE_SHIFT) + (u64)(b.nsegs - 1) * PAGES_OF_STACK);
	if (npages > le64_to_cpu(prep->npages) + (capacity >> PAGE_SHIFT) + 4096 ||
	    b.nsegs > le32_to_cpu(prep->nthreads) + 4096 || (early && (b.nsegs > 1 || !npages)))
		return;		/* refused */
	PROMISE(npages < UINT32_MAX);
	exts = b.exts;
	left = b.nextents;
	for (u32 i = 0; i < b.nsegs; i++) {
		read_all(&b.segs[i], sizeof(b.segs[i]));
		start = le64_to_cpu(b.segs[i].start);
		limit = le64_to_cpu(b.segs[i].limit);
		if (!i) {
			/* node_charge(), segment.limit */
			PROMISE(start == PROCLET_ID_HEAP(id));
			PROMISE(limit <= capacity && !(limit % WIRE_PAGE_SIZE));
		} else {
			PROMISE(stack_good(start) && start > last);
			PROMISE(limit == PROCLET_STACK_SIZE);
			walk_thread(&b.threads[i - 1], start, id, capacity);
			last = start;
		}
		PROMISE(le32_to_cpu(b.segs[i].nextents) <= left);
		left -= le32_to_cpu(b.segs[i].nextents);
		walk_extents(exts, le32_to_cpu(b.segs[i].nextents), limit, &at);
		/* Into incoming.pages, which has npages + 1 */
		PROMISE(at <= npages);
		exts += le32_to_cpu(b.segs[i].nextents);
	}
	PROMISE(!left && at == npages);
	walk_descs(b.descs, b.ndescs, npages);
	fuzz_accepted.blob++;
	if (early) {
		fuzz_accepted.early_blob++;
		walk_early(&b, npages, le64_to_cpu(offer->keep));
	}
}

static void fuzz_blob(const u8 *data, size_t size)
{
	u32 len, msg_len, ndescs = 0;
	struct wire_prepare *prep;
	struct wire_offer *offer;
	struct wire_desc *desc;
	void *blob;
	u64 npages;
	bool good;

	if (size < sizeof(*prep) + sizeof(*offer))
		return;
	prep = copy_of(data, sizeof(*prep));
	data += sizeof(*prep);
	len = size - sizeof(*prep) - sizeof(*offer);
	/* One that does not fit would be read from a page or two. */
	if (sizeof(*offer) + len > WIRE_MSG_MAX)
		ndescs = 1;
	msg_len = sizeof(*offer) + (ndescs ? sizeof(*desc) : len);
	offer = calloc(1, msg_len);
	if (!offer)
		abort();
	memcpy(offer, data, sizeof(*offer));
	data += sizeof(*offer);
	blob = copy_of(data, len);
	if (!ndescs)
		memcpy(offer + 1, blob, len);
	offer->hdr.type = htole16(WIRE_OFFER);
	offer->hdr.reserved = 0;
	offer->hdr.len = htole32(msg_len);
	offer->proclet = prep->proclet;
	offer->blob_len = htole32(len);
	offer->ndescs = htole32(ndescs);

	/* Whatever the arguments are, it reads no more than there is. */
	good = !wire_check_blob(blob, len, le64_to_cpu(prep->proclet),
				le64_to_cpu(prep->capacity), &npages);
	/* But its promises are for those that were accepted before. */
	if (le16_to_cpu(prep->hdr.type) != WIRE_PREPARE || wire_check(prep, sizeof(*prep)) ||
	    wire_check(offer, msg_len))
		good = false;
	if (good)
		walk_blob(blob, len, prep, offer, npages);
	free(blob);
	free(offer);
	free(prep);
}

/* hello_parse(), pair_established() and who listens; pair_rejected() */
static void fuzz_hello(const u8 *data, size_t size)
{
	char *text = malloc(HELLO_TEXT_MAX);
	struct rdma_hello *hello;
	__le32 self;
	u32 len;
	int why;

	if (!text)
		abort();
	if (size < sizeof(self)) {
		free(text);
		return;
	}
	memcpy(&self, data, sizeof(self));
	len = size - sizeof(self);
	hello = copy_of(data + sizeof(self), len);
	why = hello_check(hello, len, le32_to_cpu(self));
	PROMISE(why >= REFUSE_NONE && why < REFUSALS);
	if (!why) {
		fuzz_accepted.hello++;
		PROMISE(len >= sizeof(*hello));
		read_all(hello, sizeof(*hello));
		PROMISE(le32_to_cpu(hello->magic) == HELLO_MAGIC);
		PROMISE(le16_to_cpu(hello->version) == WIRE_VERSION);
		PROMISE(1u << le16_to_cpu(hello->page_shift) == WIRE_PAGE_SIZE);
		PROMISE(le16_to_cpu(hello->to) == le32_to_cpu(self));
		/* Credits: as many receive buffers as may be announced. */
		PROMISE(le16_to_cpu(hello->depth) >= HELLO_DEPTH_MIN &&
			le16_to_cpu(hello->depth) <= HELLO_DEPTH_MAX);
		/* The size of an array, and an index of it. */
		PROMISE(hello->qps >= HELLO_QPS_MIN && hello->qps <= HELLO_QPS_MAX);
		PROMISE(hello->qp < hello->qps);
	} else if (why == REFUSE_VERSION) {
		/* Whose version is told. */
		PROMISE(len >= offsetof(struct rdma_hello, page_shift));
		PROMISE(le16_to_cpu(hello->version) != WIRE_VERSION);
	}
	/* A reason comes from the peer, too: any number. */
	hello_text(text, why, le32_to_cpu(self) & 0xffff);
	PROMISE(memchr(text, 0, HELLO_TEXT_MAX) && text[0]);
	hello_text(text, le32_to_cpu(self), len);
	PROMISE(memchr(text, 0, HELLO_TEXT_MAX) && text[0]);
	free(hello);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	switch (data[0] % FUZZ_KINDS) {
	case FUZZ_MESSAGE:
		fuzz_message(data + 1, size - 1);
		break;
	case FUZZ_BLOB:
		fuzz_blob(data + 1, size - 1);
		break;
	case FUZZ_HELLO:
		fuzz_hello(data + 1, size - 1);
		break;
	}
	return 0;
}
