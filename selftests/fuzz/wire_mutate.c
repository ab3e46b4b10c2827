// SPDX-License-Identifier: GPL-2.0
/*
 * Mutations for the fuzz target that know what inputs are like: bytes changed at random
 * hardly ever leave all lengths, counts and sums as they must be. Most inputs are
 * repaired after they were changed, some but for one field, some not at all.
 */
#include <string.h>

#include "wire_fuzz.h"
#include "../random.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
			       unsigned int seed);

#define SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define GRANULE		(3u << 21)
#define ID		PROCLET_ID(GRANULE, 7)
#define HEAP		PROCLET_ID_HEAP(ID)
#define STACK		(PROCLET_REGION_BASE + PROCLET_STACKS_OFF)

static __u64 state;

static __u32 rnd(__u32 n)
{
	return (next_random(&state) >> 16) % n;
}

/* Of the numbers that limits are made of, or next to one. */
static __u64 interesting(void)
{
	static const __u64 values[] = {
		0, 1, 2, 8, 15, 16, 17, 32, 33, 64, 126, 127, 160, 161, 255, 1023, 1024,
		4095, 4096, 4097, 8192, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff,
		0xfffff000, PROCLET_PAYLOAD_MAX, 1ULL << 22, 1ULL << 24, 1ULL << 32,
		PROCLET_CAPACITY_MAX, PROCLET_CAPACITY_MAX - PROCLET_ROOT_OFF,
		PROCLET_SLICE_SIZE, PROCLET_STACKS_OFF, PROCLET_REGION_BASE,
		PROCLET_REGION_BASE + PROCLET_REGION_SIZE, 1ULL << 63, ~0ULL, ~0ULL << 12,
		ID, PROCLET_ID(0, 1), PROCLET_ID(0xffffffff, 1), HEAP, STACK,
		HEAP + 256, STACK + PROCLET_STACK_SIZE,
		PROCLET_ID(PROCLET_STACKS_OFF >> PROCLET_GRANULE_SHIFT, 1),
	};
	__u64 value = values[rnd(SIZE(values))];

	switch (rnd(8)) {
	case 0:
		return value + 1;
	case 1:
		return value - 1;
	case 2:
		return next_random(&state);
	case 3:
		return rnd(64);
	default:
		return value;
	}
}

static void change_word(__u8 *data, __u32 size)
{
	__u32 width = 1 << (1 + rnd(3)), at, from;
	__u64 value = htole64(interesting());

	if (size < width)
		return;
	at = rnd(size / width) * width;
	if (rnd(4)) {
		memcpy(data + at, &value, width);
	} else {
		from = rnd(size / width) * width;
		memmove(data + at, data + from, width);
	}
}

static void repair_token(struct wire_token *t)
{
	t->node = htole32(1 + le32toh(t->node) % PROCLET_MAX_NODES);
	if (t->proclet && !wire_id_ok(le64toh(t->proclet)))
		t->proclet = htole64(ID);
	if (!t->proclet)
		t->stack = 0;
	else if (!wire_stack_ok(le64toh(t->stack)))
		t->stack = htole64(STACK + rnd(64) * PROCLET_STACK_SIZE);
}

/* Two lengths changed, and not their sum, at least in 32 bits. */
static void shift_descs(struct wire_desc *desc, __u32 n)
{
	static const __u32 by[] = { 1, 512, 0x800, 0x1000, 0x7ffff000, 0x80000000, 0xfffff000 };
	__u32 i = n ? rnd(n) : 0, j = n ? rnd(n) : 0, d = by[rnd(SIZE(by))];

	if (i == j || rnd(4))
		return;
	desc[i].len = htole32(le32toh(desc[i].len) + d);
	desc[j].len = htole32(le32toh(desc[j].len) - d);
}

/* What is behind the @base bytes of the message is inline, or descriptors. */
static __u32 repair_payload(struct wire_payload *pl, __u32 base, __u32 len)
{
	struct wire_desc *desc = (void *)(pl + 1);
	__u32 rest = len - base, n = rest / sizeof(*desc);
	__u64 sum = 0;

	if (!pl->ndescs || !n) {
		pl->ndescs = 0;
		pl->len = htole32(rest);
		return len;
	}
	if (n > WIRE_DESCS_MAX && rnd(4))
		n = WIRE_DESCS_MAX;
	for (__u32 i = 0; i < n; i++) {
		__u32 pages = 1 + (le32toh(desc[i].len) >> 12) % 64;

		if (sum + pages + n - i - 1 > 256)
			pages = 1;
		desc[i].len = htole32(pages << 12);
		sum += pages;
	}
	pl->ndescs = htole32(n);
	/* The last page has at least one byte. */
	pl->len = htole32((sum << 12) - le32toh(pl->len) % 4096);
	shift_descs(desc, n);
	return base + n * sizeof(*desc);
}

static void repair_challenge(struct wire_challenge *m)
{
	m->hdr.lproc = 0;
	m->hdr.clock = 0;
	m->reserved = 0;
	if (rnd(8))
		m->version = htole32(WIRE_VERSION);
	m->from = htole32(1 + le32toh(m->from) % PROCLET_MAX_NODES);
	m->to = htole32(1 + le32toh(m->to) % PROCLET_MAX_NODES);
	m->incarnation = m->incarnation ?: 1;
	m->flags &= htole32(WIRE_AUTHENTICATES);
	m->nkeys = htole32(m->flags ? le32toh(m->nkeys) % (WIRE_KEYS_MAX + 1) : 0);
	for (__u32 i = le32toh(m->nkeys); i < WIRE_KEYS_MAX && rnd(16); i++)
		m->keys[i] = 0;
}

/* Make its counts and lengths fit. Returns the length, at most @max. */
static __u32 repair_message(__u8 *msg, __u32 len, __u32 max)
{
	struct wire_hdr *hdr = (void *)msg;
	struct wire_op *op = (void *)msg;
	struct wire_reply *reply = (void *)msg;
	struct wire_probe *probe = (void *)msg;
	struct wire_offer *offer = (void *)msg;
	__u32 type, want, n;
	bool exact;

	if (max > WIRE_MSG_MAX)
		max = WIRE_MSG_MAX;
	if (max < sizeof(struct wire_join) || max < sizeof(struct wire_exit))
		return len;
	if (len > max)
		len = max;
	type = le16toh(hdr->type);
	if (!type || type >= WIRE_TYPES)
		type = 1 + rnd(WIRE_TYPES - 1);
	hdr->type = htole16(type);
	hdr->reserved = 0;
	want = wire_type_len(type, &exact);
	if (exact)
		len = want;
	switch (type) {
	case WIRE_OP:
		if (len < sizeof(*op))
			len = sizeof(*op);
		if (rnd(8))
			repair_token(&op->token);
		len = repair_payload(&op->payload, sizeof(*op), len);
		break;
	case WIRE_REPLY:
		if (len < sizeof(*reply))
			len = sizeof(*reply);
		if (rnd(8))
			repair_token(&reply->token);
		len = repair_payload(&reply->payload, sizeof(*reply), len);
		break;
	case WIRE_PROBE:
	case WIRE_PROBED:
		n = len > sizeof(*probe) ? (len - sizeof(*probe)) / sizeof(probe->tokens[0]) : 0;
		n = n ?: 1;
		n = n > WIRE_PROBE_MAX ? WIRE_PROBE_MAX : n;
		probe->count = htole32(n);
		for (__u32 i = 0; i < n && rnd(64); i++)
			repair_token(&probe->tokens[i]);
		len = sizeof(*probe) + n * sizeof(probe->tokens[0]);
		break;
	case WIRE_OFFER:
		if (len < sizeof(*offer) + sizeof(struct wire_blob))
			len = sizeof(*offer) + sizeof(struct wire_blob);
		n = (len - sizeof(*offer)) / sizeof(struct wire_desc);
		if (offer->ndescs) {
			offer->ndescs = htole32(n);
			len = sizeof(*offer) + n * sizeof(struct wire_desc);
		} else {
			offer->blob_len = htole32(len - sizeof(*offer));
		}
		break;
	case WIRE_CALL_AT:
		repair_token(&((struct wire_call_at *)msg)->token);
		break;
	case WIRE_CANCEL:
		repair_token(&((struct wire_cancel *)msg)->token);
		break;
	case WIRE_CHALLENGE:
		repair_challenge((struct wire_challenge *)msg);
		break;
	case WIRE_PROOF:
		hdr->lproc = 0;
		hdr->clock = 0;
		break;
	}
	hdr->len = htole32(len);
	return len;
}

/* Counts as in the blob, but small; then all that depends on them. */
static __u32 repair_blob(__u8 *data, __u32 len, __u32 max, const struct wire_prepare *prep)
{
	__u64 capacity = le64toh(prep->capacity), sum = 0;
	struct wire_blob *blob = (void *)data;
	__u32 nsegs, nextents, ndescs, left, size, keep = rnd(64);
	struct wire_thread *threads;
	struct wire_extent *ext;
	struct wire_desc *descs;
	struct wire_seg *segs;

	nsegs = 1 + (le32toh(blob->nsegs) - 1) % 6;
	nextents = le32toh(blob->nextents) % 24;
	ndescs = le32toh(blob->ndescs) % 12;
	if (nextents && !ndescs)
		ndescs = 1;
	if (!nextents)
		ndescs = 0;
	size = sizeof(*blob) + nsegs * sizeof(*segs) + nextents * sizeof(*ext) +
	       (nsegs - 1) * sizeof(*threads) + ndescs * sizeof(*descs);
	if (size > max)
		return len;
	segs = (void *)(blob + 1);
	ext = (void *)(segs + nsegs);
	threads = (void *)(ext + nextents);
	descs = (void *)(threads + nsegs - 1);
	blob->nsegs = htole32(nsegs);
	blob->nextents = htole32(nextents);
	blob->nthreads = htole32(nsegs - 1);
	blob->ndescs = htole32(ndescs);
	left = nextents;
	for (__u32 i = 0; i < nsegs; i++) {
		__u64 limit = le64toh(segs[i].limit) & ~0xfffULL, next = 0;
		__u32 n = le32toh(segs[i].nextents);

		if (i) {
			__u32 slot = rnd(8) ? i * 8 + rnd(8) : rnd(16);

			limit = PROCLET_STACK_SIZE;
			segs[i].start = htole64(STACK + slot * PROCLET_STACK_SIZE);
			threads[i - 1].stack = segs[i].start;
		} else {
			if (limit > capacity)
				limit = capacity;
			segs[i].start = htole64(PROCLET_ID_HEAP(le64toh(prep->proclet)));
		}
		segs[i].limit = htole64(limit);
		if (n > left || i == nsegs - 1)
			n = left;
		segs[i].nextents = htole32(n);
		for (__u32 j = nextents - left; j < nextents - left + n; j++) {
			__u64 first = le32toh(ext[j].first), count = le32toh(ext[j].count);

			if (first < next || first > next + 1000)
				first = next + (first & 7);
			if (!count || count > 0x10000)
				count = 1 + (count & 15);
			if (first + count > limit >> 12) {
				first = next;
				count = (limit >> 12) > next ? 1 : count;
			}
			ext[j].first = htole32(first);
			ext[j].count = htole32(count);
			next = first + count;
			sum += count;
		}
		left -= n;
	}
	for (__u32 i = 0; i + 1 < nsegs; i++) {
		struct wire_thread *t = &threads[i];

		if (i == keep)
			continue;
		t->state = htole32(le32toh(t->state) % 3);
		t->sent_to = htole32(le32toh(t->sent_to) % (PROCLET_MAX_NODES + 1));
		t->cancelled = htole32(le32toh(t->cancelled) & 1);
		if (!wire_id_ok(le64toh(t->target)))
			t->target = htole64(le64toh(t->target) % (PROCLET_MAX_NODES + 1));
		if (le32toh(t->state) != WIRE_THREAD_REPLIED)
			t->result = 0;
		if (le32toh(t->state) != WIRE_THREAD_WAITING)
			t->wait_addr = 0;
		t->wait_addr &= htole64(~3ULL);
		if (!t->wait_addr)
			t->wait_no = 0;
	}
	for (__u32 i = 0; i < ndescs; i++) {
		__u64 pages = le32toh(descs[i].len) >> 12;

		if (!pages || pages > sum || i == ndescs - 1)
			pages = i == ndescs - 1 ? sum : 1;
		sum -= pages;
		descs[i].len = htole32(pages << 12);
	}
	shift_descs(descs, ndescs);
	return size;
}

static void repair_prepare(struct wire_prepare *prep)
{
	__u64 capacity = le64toh(prep->capacity), brk;

	prep->hdr.type = htole16(WIRE_PREPARE);
	prep->hdr.reserved = 0;
	prep->hdr.len = htole32(sizeof(*prep));
	if (capacity < PROCLET_CAPACITY_MIN || capacity > PROCLET_CAPACITY_MAX ||
	    capacity & (capacity - 1))
		capacity = PROCLET_CAPACITY_MIN << rnd(17);
	prep->capacity = htole64(capacity);
	if (!wire_id_ok(le64toh(prep->proclet)) ||
	    (PROCLET_ID_HEAP(le64toh(prep->proclet)) - PROCLET_REGION_BASE) % capacity)
		prep->proclet = htole64(ID);
	prep->epoch = prep->epoch ?: htole64(1);
	brk = (le64toh(prep->brk) & ~0xfffULL) % (capacity + 4096);
	prep->brk = htole64(brk);
	prep->nthreads = htole32(le32toh(prep->nthreads) % ((1 << 20) + 1));
	prep->npages = htole64(le64toh(prep->npages) % (brk / 4096 + 1));
}

static __u32 mutate_blob(__u8 *data, __u32 len, __u32 max)
{
	struct wire_prepare *prep = (void *)data;
	struct wire_offer *offer = (void *)(prep + 1);
	__u32 head = sizeof(*prep) + sizeof(*offer);

	if (max < head + sizeof(struct wire_blob))
		return len;
	if (len < head + sizeof(struct wire_blob))
		len = head + sizeof(struct wire_blob);
	if (rnd(16))
		repair_prepare(prep);
	if (rnd(16)) {
		offer->keep = htole64((le64toh(offer->keep) & ~0xfffULL) %
				      (PROCLET_CAPACITY_MAX + 4096));
		offer->flags = htole32(le32toh(offer->flags) & 7);
		if (offer->flags & htole32(WIRE_OFFER_EARLY)) {
			offer->refs = 0;
			if (offer->flags & htole32(WIRE_OFFER_READ))
				offer->flags &= ~htole32(WIRE_OFFER_TAIL);
		} else {
			offer->flags &= htole32(WIRE_OFFER_TAIL);
			offer->refs = offer->refs && le32toh(offer->refs) <= PROCLET_REFS_MAX ?
				offer->refs : htole32(1);
		}
	}
	if (rnd(16))
		len = head + repair_blob(data + head, len - head, max - head, prep);
	return len;
}

static __u32 mutate_hello(__u8 *data, __u32 len, __u32 max)
{
	struct rdma_hello hello;
	__le32 self;

	if (max < sizeof(self) + sizeof(hello) || rnd(4) == 0)
		return len;
	if (len < sizeof(self) + sizeof(hello))
		len = sizeof(self) + sizeof(hello);
	memcpy(&self, data, sizeof(self));
	memcpy(&hello, data + sizeof(self), sizeof(hello));
	hello.magic = htole32(HELLO_MAGIC);
	if (rnd(4))
		hello.version = htole16(WIRE_VERSION);
	if (rnd(4))
		hello.page_shift = htole16(HELLO_PAGE_SHIFT);
	if (rnd(4))
		hello.to = htole16(le32toh(self));
	if (rnd(4))
		hello.qps = HELLO_QPS_MIN + rnd(HELLO_QPS_MAX - HELLO_QPS_MIN + 1);
	if (rnd(4))
		hello.qp = rnd(HELLO_QPS_MAX);
	memcpy(data + sizeof(self), &hello, sizeof(hello));
	return len;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	static union {
		__u64 aligned;
		__u8 bytes[FUZZ_INPUT_MAX];
	} u;
	__u32 len, max = max_size - 1, changes;

	state = seed * 0x9e3779b97f4a7c15ULL + 1;
	if (max_size < 2 || max_size > FUZZ_INPUT_MAX)
		return LLVMFuzzerMutate(data, size, max_size);
	if (!size) {
		data[0] = rnd(FUZZ_KINDS);
		size = 1;
	} else if (!rnd(256)) {
		data[0] = rnd(FUZZ_KINDS);
	}
	/* What a field has behind the end of the input is zero. */
	memset(&u, 0, sizeof(u));
	len = size - 1;
	memcpy(u.bytes, data + 1, len);
	if (rnd(3) == 0) {
		/* Bytes, its dictionary of compared values, and other lengths. */
		len = LLVMFuzzerMutate(u.bytes, len, max);
		memset(u.bytes + len, 0, sizeof(u.bytes) - len);
	} else {
		/* As long or short as it can be, or any length: zeroes, to be repaired. */
		if (!rnd(16))
			len = rnd(2) ? rnd(max + 1) : max;
		for (changes = 1 + rnd(3); changes; changes--)
			change_word(u.bytes, len);
	}
	if (rnd(8)) {
		switch (data[0] % FUZZ_KINDS) {
		case FUZZ_MESSAGE:
			len = repair_message(u.bytes, len, max);
			break;
		case FUZZ_BLOB:
			len = mutate_blob(u.bytes, len, max);
			break;
		case FUZZ_HELLO:
			len = mutate_hello(u.bytes, len, max);
			break;
		}
		/* All right but for one word. */
		if (!rnd(3))
			change_word(u.bytes, len);
	}
	memcpy(data + 1, u.bytes, len);
	return len + 1;
}
