// SPDX-License-Identifier: GPL-2.0
/* stress: memory that methods allocate, in a list that moves with its proclet. */
#include "stress.h"

#define BLOCKS_MAX 16

struct block {
	struct block *next;
	__u64 words;
	__u64 sum;
	__u64 data[];
};

/* The list is one thread's at a time; the others are told to come again. */
static bool heap_take(struct inhabitant *h)
{
	return !__atomic_exchange_n(&h->heap.busy, 1, __ATOMIC_ACQUIRE);
}

static void heap_leave(struct inhabitant *h)
{
	__atomic_store_n(&h->heap.busy, 0, __ATOMIC_RELEASE);
}

static ssize_t heap_grow(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct order *o = order_of(in, in_len);
	struct inhabitant *h = root;
	struct block *b = NULL;
	__u64 state;

	(void)out;
	(void)out_cap;
	if (!o)
		return -EINVAL;
	__atomic_add_fetch(&h->visits, 1, __ATOMIC_RELAXED);
	if (!heap_take(h))
		return -EAGAIN;
	if (h->heap.nblocks < BLOCKS_MAX)
		b = proclet_malloc(sizeof(*b) + o->n * sizeof(b->data[0]));
	if (!b) {
		heap_leave(h);
		return -ENOMEM;
	}
	state = o->seed;
	b->words = o->n;
	b->sum = 0;
	for (__u64 i = 0; i < b->words; i++) {
		b->data[i] = next_random(&state);
		b->sum = mix(b->sum, b->data[i]);
	}
	b->next = h->heap.blocks;
	h->heap.blocks = b;
	h->heap.nblocks++;
	h->heap.sum += b->sum;
	heap_leave(h);
	return 0;
}
PROCLET_METHOD(heap_grow);

/* Check all blocks, and free every second one if told so. */
static ssize_t heap_check(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct order *o = order_of(in, in_len);
	struct inhabitant *h = root;
	struct block **at, *b;
	__u64 all = 0, n = 0;
	bool wrong = false;

	(void)out;
	(void)out_cap;
	if (!o)
		return -EINVAL;
	__atomic_add_fetch(&h->visits, 1, __ATOMIC_RELAXED);
	if (!heap_take(h))
		return -EAGAIN;
	for (b = h->heap.blocks; b; b = b->next) {
		__u64 sum = 0;

		for (__u64 i = 0; i < b->words; i++)
			sum = mix(sum, b->data[i]);
		wrong |= sum != b->sum;
		all += sum;
		n++;
	}
	wrong |= all != h->heap.sum || n != h->heap.nblocks;
	for (at = &h->heap.blocks; o->n && (b = *at);) {
		*at = b->next;
		h->heap.nblocks--;
		h->heap.sum -= b->sum;
		proclet_free(b);
		if (*at)
			at = &(*at)->next;
	}
	heap_leave(h);
	return wrong ? -EBADMSG : 0;
}
PROCLET_METHOD(heap_check);

/* ---- actions ---- */

static int heap_action(struct stress_worker *w, struct life *l, proclet_method_t method,
		       struct order *o)
{
	int ret = KSFT_PASS;
	ssize_t n;

	(void)w;
	if (!l)
		return KSFT_PASS;
	n = proclet_call(l->id, method, o, sizeof(*o), NULL, 0);
	if (!n || n == -EAGAIN || (n == -ENOMEM && method == heap_grow)) {
		counted(l, 0, 1);
	} else if (!excused(l, n)) {
		diag("heap of %llx: expected 0, saw %zd", l->id, n);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}

int do_heap_grow(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_any(state);
	struct order *o = order_new(w, state);

	o->n = any_size(state, MIB) / sizeof(__u64);
	return heap_action(w, l, heap_grow, o);
}

int do_heap_check(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_any(state);
	struct order *o = order_new(w, state);

	o->n = next_random(state) % 3;
	return heap_action(w, l, heap_check, o);
}

int heap_went_well(struct life *l)
{
	struct order o = { 0 };
	ssize_t n = proclet_call(l->id, heap_check, &o, sizeof(o), NULL, 0);

	if (excused(l, n))
		return KSFT_PASS;
	CHECK_EQ(n, 0);
	counted(l, 0, 1);
	return KSFT_PASS;
}
