// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Unit test of the allocator, on any Linux machine and without the module.
 *
 * The heap is an anonymous mapping of which heap_grow() makes the part below
 * brk accessible, so that touching what is not reserved is a fault. Output is
 * TAP. An argument is the seed of the random operations.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"

#define PAGE		4096UL
#define KIB(n)		((size_t)(n) << 10)
#define MIB(n)		((size_t)(n) << 20)
#define GIB(n)		((size_t)(n) << 30)
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

static uint64_t seed = 1;

/*
 * The heap's other half
 */

static size_t budget = SIZE_MAX;	/* heap_grow() refuses to go above */
static unsigned long grow_calls;

static size_t page_up(size_t n)
{
	return (n + PAGE - 1) & ~(PAGE - 1);
}

int heap_grow(struct proclet_heap *h, size_t brk)
{
	char *base = (char *)h;

	++grow_calls;
	if (brk % PAGE || brk > h->capacity) {
		printf("# heap_grow(%#zx) of a heap of %#llx\n", brk,
		       (unsigned long long)h->capacity);
		abort();
	}
	if (brk > budget)
		return -ENOMEM;
	if (mprotect(base, brk, PROT_READ | PROT_WRITE))
		return -ENOMEM;
	if (brk < h->capacity) {
		madvise(base + brk, h->capacity - brk, MADV_DONTNEED);
		mprotect(base + brk, h->capacity - brk, PROT_NONE);
	}
	return 0;
}

static void *map_at(void *where, size_t size)
{
	void *p = mmap(where, size, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
		       MAP_FIXED_NOREPLACE, -1, 0);

	if (p != where) {
		perror("# mmap");
		exit(1);
	}
	return p;
}

static struct proclet_heap *heap_new(size_t capacity, size_t root_size)
{
	struct proclet_heap *h;

	h = map_at((void *)PROCLET_REGION_BASE, capacity);
	mprotect(h, page_up(PROCLET_ROOT_OFF + root_size),
		 PROT_READ | PROT_WRITE);
	h->id = 0x100000001;
	h->capacity = capacity;
	h->root_size = root_size;
	budget = SIZE_MAX;
	grow_calls = 0;
	return h;
}

static void heap_end(struct proclet_heap *h)
{
	munmap(h, h->capacity);
}

static size_t resident(struct proclet_heap *h)
{
	static unsigned char present[GIB(1) / PAGE];
	size_t i, pages = h->capacity / PAGE;
	size_t n = 0;

	if (pages > sizeof(present) || mincore(h, h->capacity, present))
		return SIZE_MAX;
	for (i = 0; i < pages; ++i)
		n += present[i] & 1;
	return n * PAGE;
}

/*
 * Checking
 */

static bool test_failed;

#define CHECK(cond) check_that(cond, #cond, __LINE__)

static bool check_that(bool ok, const char *what, int line)
{
	if (!ok) {
		printf("# line %d: %s\n", line, what);
		test_failed = true;
	}
	return ok;
}

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* Mostly small, now and then large. */
static size_t random_size(uint64_t *state, size_t max)
{
	uint64_t r = next_random(state);
	unsigned int bits = r % 100 < 90 ? 1 + r / 100 % 10 : 1 + r / 100 % 18;
	size_t n = next_random(state) & ((1UL << bits) - 1);

	return n < max ? n : max;
}

static bool all_free(struct proclet_heap *h)
{
	struct heap_usage u;

	return CHECK(heap_check(h, &u) == 0) & CHECK(u.used_blocks == 0) &
	       CHECK(u.free_blocks == 0) & CHECK(u.used == 0);
}

/*
 * A model of the heap: what is allocated and what is in it
 */

#define SLOTS	4096

struct slot {
	unsigned char *p;
	size_t n;
	unsigned char fill;
};

struct model {
	struct proclet_heap *h;
	struct slot slots[SLOTS];
	size_t slots_used;	/* only the first so many are in use */
	uint64_t random;
	unsigned char fill;
	unsigned long refused;
	unsigned long bad;
};

static bool filled(const unsigned char *p, size_t n, unsigned char fill)
{
	size_t i;

	for (i = 0; i < n; ++i)
		if (p[i] != fill)
			return false;
	return true;
}

static void model_set(struct model *m, struct slot *s, void *p, size_t n)
{
	s->p = p;
	s->n = n;
	s->fill = ++m->fill;
	memset(p, s->fill, n);
	if ((uintptr_t)p % 16 || (char *)p < (char *)m->h + PROCLET_ROOT_OFF +
	    m->h->root_size || (char *)p + n > (char *)m->h + m->h->capacity)
		++m->bad;
}

static void model_step(struct model *m)
{
	struct slot *s = &m->slots[next_random(&m->random) % m->slots_used];
	size_t n = random_size(&m->random, KIB(256));
	unsigned int what = next_random(&m->random) % 8;
	void *p;

	if (!s->p) {
		if (what & 1) {
			p = heap_malloc(m->h, n);
		} else {
			p = heap_calloc(m->h, n, 1);
			if (p && !filled(p, n, 0))
				++m->bad;
		}
		if (p)
			model_set(m, s, p, n);
		else
			++m->refused;
		return;
	}
	if (!filled(s->p, s->n, s->fill))
		++m->bad;
	if (what < 3) {
		p = heap_realloc(m->h, s->p, n);
		if (!p) {
			++m->refused;
			return;
		}
		if (!filled(p, n < s->n ? n : s->n, s->fill))
			++m->bad;
		model_set(m, s, p, n);
	} else {
		heap_free(m->h, s->p);
		s->p = NULL;
	}
}

static void model_run(struct model *m, unsigned long steps)
{
	while (steps--)
		model_step(m);
}

static void model_clear(struct model *m)
{
	size_t i;

	for (i = 0; i < m->slots_used; ++i) {
		struct slot *s = &m->slots[i];

		if (s->p && !filled(s->p, s->n, s->fill))
			++m->bad;
		heap_free(m->h, s->p);
		s->p = NULL;
	}
}

static int slot_order(const void *a, const void *b)
{
	const struct slot *x = *(struct slot * const *)a;
	const struct slot *y = *(struct slot * const *)b;

	return x->p < y->p ? -1 : x->p > y->p;
}

static bool model_disjoint(struct model *m)
{
	static struct slot *sorted[SLOTS];
	size_t i, n = 0;

	for (i = 0; i < m->slots_used; ++i)
		if (m->slots[i].p)
			sorted[n++] = &m->slots[i];
	qsort(sorted, n, sizeof(sorted[0]), slot_order);
	for (i = 1; i < n; ++i)
		if (sorted[i - 1]->p + sorted[i - 1]->n > sorted[i]->p)
			return false;
	return true;
}

static struct model *model_new(struct proclet_heap *h, size_t slots,
			       uint64_t random)
{
	struct model *m = calloc(1, sizeof(*m));

	if (!m)
		exit(1);
	m->h = h;
	m->slots_used = slots;
	m->random = random;
	return m;
}

/*
 * The tests
 */

static void small_proclet_is_one_page(void)
{
	struct proclet_heap *h = heap_new(MIB(64), 64);
	char *p = heap_malloc(h, 1000);

	CHECK(p != NULL);
	memset(p, 1, 1000);
	CHECK(grow_calls == 0);
	CHECK(resident(h) == PAGE);
	heap_free(h, p);
	all_free(h);
	heap_end(h);
}

static void untouched_pages_stay_away(void)
{
	struct proclet_heap *h = heap_new(MIB(64), 64);
	char *p;

	p = heap_calloc(h, 16, MIB(1));
	CHECK(p != NULL);
	CHECK(resident(h) <= 2 * PAGE);
	heap_free(h, p);
	CHECK(resident(h) <= 2 * PAGE);
	all_free(h);
	heap_end(h);
}

static void calloc_zeroes_what_was_used(void)
{
	struct proclet_heap *h = heap_new(MIB(8), 0);
	size_t sizes[] = { 1, 100, PAGE, KIB(100), MIB(1), MIB(4) };
	char *p, *before;
	size_t i;

	for (i = 0; i < 4 * ARRAY_SIZE(sizes); ++i) {
		size_t n = sizes[i * 7 % ARRAY_SIZE(sizes)];

		before = heap_malloc(h, i * 40);
		p = heap_malloc(h, n);
		if (!CHECK(p && before))
			break;
		memset(p, 0xaa, n);
		heap_free(h, i & 1 ? p : before);
		heap_free(h, i & 1 ? before : p);
		p = heap_calloc(h, n, 1);
		if (!CHECK(p && filled((unsigned char *)p, n, 0)))
			break;
		memset(p, 0x55, n);
		heap_free(h, p);
	}
	CHECK(heap_calloc(h, SIZE_MAX / 2, 3) == NULL);
	CHECK(heap_calloc(h, (size_t)1 << 32, (size_t)1 << 32) == NULL);
	all_free(h);
	heap_end(h);
}

static void every_size_is_usable(void)
{
	struct proclet_heap *h = heap_new(MIB(64), 24);
	unsigned char *p, *guard;
	size_t n;

	for (n = 0; n < MIB(8); n += n / 50 + 1) {
		p = heap_malloc(h, n);
		guard = heap_malloc(h, 32);
		if (!CHECK(p && guard && (uintptr_t)p % 16 == 0))
			break;
		memset(guard, 1, 32);
		memset(p, 2, n);
		if (!CHECK(filled(guard, 32, 1) && heap_check(h, NULL) == 0))
			break;
		if (n & 1)
			heap_free(h, p);
		heap_free(h, guard);
		if (!(n & 1))
			heap_free(h, p);
	}
	all_free(h);
	heap_end(h);
}

static void random_operations(void)
{
	struct proclet_heap *h = heap_new(MIB(256), 1000);
	struct model *m = model_new(h, SLOTS, seed);
	int round;

	for (round = 0; round < 40; ++round) {
		model_run(m, 20000);
		if (!CHECK(heap_check(h, NULL) == 0) ||
		    !CHECK(model_disjoint(m)))
			break;
	}
	model_clear(m);
	CHECK(m->bad == 0);
	CHECK(m->refused == 0);
	all_free(h);
	free(m);
	heap_end(h);
}

static void random_operations_in_a_full_heap(void)
{
	struct proclet_heap *h = heap_new(MIB(1), 16);
	struct model *m = model_new(h, SLOTS, seed + 1);
	int round;

	for (round = 0; round < 40; ++round) {
		model_run(m, 10000);
		if (!CHECK(heap_check(h, NULL) == 0) ||
		    !CHECK(model_disjoint(m)))
			break;
	}
	model_clear(m);
	CHECK(m->bad == 0);
	CHECK(m->refused > 1000);
	all_free(h);
	free(m);
	heap_end(h);
}

static void full_heap_says_null_and_recovers(void)
{
	static const size_t sizes[] = { 1, 24, 25, 1000, KIB(10), KIB(300) };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); ++i) {
		struct proclet_heap *h = heap_new(MIB(2), 100);
		struct heap_usage u;
		void **last = NULL;
		void **p;
		size_t n = 0;

		while ((p = heap_malloc(h, sizes[i] < 8 ? 8 : sizes[i]))) {
			*p = last;
			last = p;
			++n;
		}
		CHECK(n >= (MIB(2) - 2 * PAGE) / (sizes[i] + 40));
		CHECK(heap_check(h, &u) == 0);
		CHECK(u.used_blocks == n);
		CHECK(u.brk == MIB(2) || sizes[i] >= PAGE);
		CHECK(heap_malloc(h, sizes[i]) == NULL);
		p = last;
		last = *p;
		heap_free(h, p);
		p = heap_malloc(h, sizes[i]);
		CHECK(p != NULL);
		heap_free(h, p);
		while (last) {
			p = last;
			last = *p;
			heap_free(h, p);
		}
		all_free(h);
		heap_end(h);
	}
}

static void largest_block_is_the_whole_heap(void)
{
	struct proclet_heap *h = heap_new(MIB(4), 16);
	size_t low = MIB(3), high = MIB(4);
	char *p;

	CHECK(heap_malloc(h, MIB(4)) == NULL);
	CHECK(heap_malloc(h, SIZE_MAX) == NULL);
	CHECK(heap_malloc(h, SIZE_MAX - 15) == NULL);
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		p = heap_malloc(h, mid);
		if (p) {
			p[mid - 1] = 1;
			low = mid;
		} else {
			high = mid;
		}
		heap_free(h, p);
	}
	CHECK(low > MIB(4) - PAGE);
	/* Twice, also after the heap was in pieces. */
	p = heap_malloc(h, low);
	CHECK(p != NULL);
	CHECK(heap_malloc(h, 1) == NULL);
	heap_free(h, p);
	all_free(h);
	heap_end(h);
}

static void block_that_just_fits_is_found(void)
{
	struct proclet_heap *h = heap_new(MIB(1), 16);
	char *hole, *rest;
	void *p;

	/* A hole at the lower end of its class, behind five that are smaller. */
	p = heap_malloc(h, 24);
	hole = heap_malloc(h, 4000);
	CHECK(p && hole);
	CHECK(heap_malloc(h, 24) != NULL);
	do {
		rest = heap_malloc(h, KIB(1));
	} while (rest);
	while (heap_malloc(h, 24))
		;
	heap_free(h, hole);
	CHECK(heap_malloc(h, 4040) == NULL);
	CHECK(heap_malloc(h, 4000) == hole);
	CHECK(heap_check(h, NULL) == 0);
	heap_end(h);
}

static void neighbours_merge_in_every_order(void)
{
	static const int orders[][3] = {
		{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
		{ 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
	};
	size_t i, k;

	for (i = 0; i < ARRAY_SIZE(orders); ++i) {
		struct proclet_heap *h = heap_new(MIB(1), 0);
		struct heap_usage u;
		void *p[3], *end;

		for (k = 0; k < 3; ++k)
			p[k] = heap_malloc(h, 200 * (k + 1));
		end = heap_malloc(h, 1);
		for (k = 0; k < 3; ++k)
			heap_free(h, p[orders[i][k]]);
		CHECK(heap_check(h, &u) == 0);
		CHECK(u.free_blocks == 1);
		CHECK(u.used_blocks == 1);
		CHECK(heap_malloc(h, 1200) == p[0]);
		heap_free(h, p[0]);
		heap_free(h, end);
		all_free(h);
		heap_end(h);
	}
}

static void realloc_keeps_the_contents(void)
{
	struct proclet_heap *h = heap_new(MIB(16), 0);
	unsigned char *p, *q, *other;
	struct heap_usage u;
	size_t n;

	/* NULL is malloc, 0 does not free. */
	p = heap_realloc(h, NULL, 100);
	CHECK(p != NULL);
	p = heap_realloc(h, p, 0);
	CHECK(p != NULL);
	heap_free(h, p);
	all_free(h);

	/* At the tail: in place. */
	p = heap_malloc(h, 10);
	memset(p, 3, 10);
	CHECK(heap_realloc(h, p, MIB(4)) == p);
	CHECK(filled(p, 10, 3));
	memset(p, 4, MIB(4));

	/* Shorter: in place, and the rest is free again. */
	other = heap_malloc(h, 10);
	CHECK(heap_realloc(h, p, 5000) == p);
	CHECK(filled(p, 5000, 4));
	CHECK(heap_check(h, &u) == 0);
	CHECK(u.free_blocks == 1 && u.free > MIB(3));

	/* Into a free neighbour: in place. */
	CHECK(heap_realloc(h, p, MIB(3)) == p);
	CHECK(filled(p, 5000, 4));
	memset(p, 5, MIB(3));

	/* No room: elsewhere, the old place is free. */
	q = heap_realloc(h, p, MIB(5));
	CHECK(q && q != p && filled(q, MIB(3), 5));
	CHECK(heap_malloc(h, MIB(3)) == p);
	heap_free(h, p);

	/* Not at all: the block remains. */
	CHECK(heap_realloc(h, q, MIB(15)) == NULL);
	CHECK(heap_realloc(h, q, SIZE_MAX) == NULL);
	CHECK(filled(q, MIB(3), 5));
	heap_free(h, q);
	heap_free(h, other);
	all_free(h);

	/* A table that doubles. */
	p = NULL;
	for (n = 16; n <= MIB(8); n *= 2) {
		p = heap_realloc(h, p, n);
		if (!CHECK(p && (n == 16 || filled(p, n / 4, 6))))
			break;
		memset(p, 6, n / 2);
	}
	heap_free(h, p);
	all_free(h);
	heap_end(h);
}

static void refused_growth_uses_what_there_is(void)
{
	struct proclet_heap *h = heap_new(MIB(16), 0);
	struct heap_usage u;
	void *p, *q;

	/* A step of 64 KiB is refused, the page that is needed is not. */
	budget = 3 * PAGE;
	p = heap_malloc(h, 2 * PAGE);
	CHECK(p != NULL);
	CHECK(heap_check(h, &u) == 0);
	CHECK(u.brk == 3 * PAGE);
	CHECK(heap_malloc(h, PAGE) == NULL);
	budget = MIB(1);
	q = heap_malloc(h, KIB(500));
	CHECK(q != NULL);
	heap_free(h, p);
	heap_free(h, q);
	all_free(h);
	heap_end(h);
}

static void no_room_for_the_allocator(void)
{
	struct proclet_heap *h = heap_new(MIB(1), MIB(1) - PROCLET_ROOT_OFF);

	CHECK(heap_malloc(h, 1) == NULL);
	CHECK(heap_calloc(h, 1, 1) == NULL);
	CHECK(heap_realloc(h, NULL, 1) == NULL);
	heap_free(h, NULL);
	heap_end(h);

	/* The root object ends with its page: the control block needs one. */
	h = heap_new(MIB(1), 2 * PAGE - PROCLET_ROOT_OFF);
	budget = 2 * PAGE;
	CHECK(heap_malloc(h, 1) == NULL);
	CHECK(h->alloc == 0);
	budget = 3 * PAGE;
	CHECK(heap_malloc(h, 1) != NULL);
	CHECK(heap_check(h, NULL) == 0);
	heap_end(h);
}

static void memory_returns_and_does_not_flutter(void)
{
	struct proclet_heap *h = heap_new(MIB(256), 0);
	unsigned long calls;
	struct heap_usage u;
	void *p;
	int i;

	p = heap_malloc(h, MIB(100));
	CHECK(p != NULL);
	memset(p, 1, MIB(100));
	heap_free(h, p);
	CHECK(heap_check(h, &u) == 0);
	CHECK(u.brk <= KIB(512));
	CHECK(resident(h) <= KIB(512));

	for (i = 0; i < 20; ++i)
		heap_free(h, heap_malloc(h, MIB(2)));
	calls = grow_calls;
	for (i = 0; i < 1000; ++i)
		heap_free(h, heap_malloc(h, MIB(2)));
	CHECK(grow_calls == calls);

	/* Growing in small steps takes few calls. */
	calls = grow_calls;
	for (i = 0; i < 1000000; ++i)
		if (!CHECK(heap_malloc(h, 100) != NULL))
			break;
	CHECK(grow_calls - calls < 100);
	CHECK(heap_check(h, &u) == 0);
	CHECK(u.used_blocks == 1000000);
	heap_end(h);
}

static void survives_a_move(void)
{
	struct proclet_heap *h = heap_new(MIB(64), 32);
	struct model *m = model_new(h, 1000, seed + 2);
	int round;

	for (round = 0; round < 20; ++round) {
		struct heap_usage u;
		char *copy;

		model_run(m, 3000);
		CHECK(heap_check(h, &u) == 0);
		if (!CHECK(u.brk > 0))
			break;
		copy = malloc(u.brk);
		if (!copy)
			exit(1);
		memcpy(copy, h, u.brk);
		munmap(h, MIB(64));
		map_at(h, MIB(64));
		mprotect(h, u.brk, PROT_READ | PROT_WRITE);
		memcpy(h, copy, u.brk);
		free(copy);
		if (!CHECK(heap_check(h, NULL) == 0))
			break;
	}
	model_clear(m);
	CHECK(m->bad == 0);
	all_free(h);
	free(m);
	heap_end(h);
}

static void largest_capacity(void)
{
	struct proclet_heap *h = heap_new(GIB(64), 0);
	struct heap_usage u;
	char *p[8];
	size_t i;

	for (i = 0; i < 7; ++i) {
		p[i] = heap_malloc(h, GIB(9));
		if (!CHECK(p[i] != NULL))
			break;
		p[i][GIB(9) - 1] = 1;
	}
	CHECK(heap_malloc(h, GIB(9)) == NULL);
	p[7] = heap_malloc(h, MIB(1000));
	CHECK(p[7] != NULL);
	heap_free(h, p[2]);
	heap_free(h, p[4]);
	heap_free(h, p[3]);
	CHECK(heap_check(h, &u) == 0);
	CHECK(u.free_blocks == 1 && u.free >= GIB(27));
	CHECK(heap_malloc(h, GIB(27)) == p[2]);
	CHECK(heap_check(h, NULL) == 0);
	heap_end(h);
}

#define THREADS	4

struct worker {
	pthread_t thread;
	struct model *model;
};

static void *run_worker(void *arg)
{
	struct worker *w = arg;

	model_run(w->model, 300000);
	return NULL;
}

static void several_threads(void)
{
	struct proclet_heap *h = heap_new(MIB(256), 0);
	struct worker w[THREADS];
	int i;

	for (i = 0; i < THREADS; ++i) {
		w[i].model = model_new(h, 500, seed + 10 + i);
		if (pthread_create(&w[i].thread, NULL, run_worker, &w[i]))
			exit(1);
	}
	for (i = 0; i < THREADS; ++i)
		pthread_join(w[i].thread, NULL);
	CHECK(heap_check(h, NULL) == 0);
	for (i = 0; i < THREADS; ++i) {
		model_clear(w[i].model);
		CHECK(w[i].model->bad == 0);
		CHECK(w[i].model->refused == 0);
		free(w[i].model);
	}
	CHECK((__u32)h->reserved[0] == 0);
	all_free(h);
	heap_end(h);
}

/* A signal at any instruction makes waiters in futexes look again. */
static void *run_under_signals(void *arg)
{
	struct worker *w = arg;

	model_run(w->model, 100000);
	return NULL;
}

static void ignore_signal(int sig)
{
	(void)sig;
}

static void several_threads_under_signals(void)
{
	struct proclet_heap *h = heap_new(MIB(64), 0);
	struct sigaction sa = { .sa_handler = ignore_signal };
	struct worker w[THREADS];
	int i, k;

	sigaction(SIGUSR1, &sa, NULL);
	for (i = 0; i < THREADS; ++i) {
		w[i].model = model_new(h, 200, seed + 20 + i);
		if (pthread_create(&w[i].thread, NULL, run_under_signals, &w[i]))
			exit(1);
	}
	for (k = 0; k < 2000; ++k) {
		pthread_kill(w[k % THREADS].thread, SIGUSR1);
		usleep(50);
	}
	for (i = 0; i < THREADS; ++i)
		pthread_join(w[i].thread, NULL);
	for (i = 0; i < THREADS; ++i) {
		model_clear(w[i].model);
		CHECK(w[i].model->bad == 0);
		free(w[i].model);
	}
	all_free(h);
	heap_end(h);
}

/*
 * Misuse, each in a process of its own
 */

static void free_twice(struct proclet_heap *h)
{
	void *p = heap_malloc(h, 100);

	CHECK(heap_malloc(h, 100) != NULL);
	heap_free(h, p);
	heap_free(h, p);
}

static void free_twice_at_tail(struct proclet_heap *h)
{
	void *p = heap_malloc(h, 100);

	heap_free(h, p);
	heap_free(h, p);
}

static void free_twice_merged(struct proclet_heap *h)
{
	void *p = heap_malloc(h, 100);
	void *q = heap_malloc(h, 100);

	CHECK(heap_malloc(h, 100) != NULL);
	heap_free(h, p);
	heap_free(h, q);
	heap_free(h, q);
}

static void free_inside(struct proclet_heap *h)
{
	char *p = heap_calloc(h, 1, 100);

	heap_free(h, p + 16);
}

static void free_unaligned(struct proclet_heap *h)
{
	char *p = heap_malloc(h, 100);

	heap_free(h, p + 1);
}

static void free_root(struct proclet_heap *h)
{
	CHECK(heap_malloc(h, 100) != NULL);
	heap_free(h, (char *)h + PROCLET_ROOT_OFF);
}

static void free_foreign(struct proclet_heap *h)
{
	int local;

	heap_free(h, &local);
}

static void realloc_freed(struct proclet_heap *h)
{
	void *p = heap_malloc(h, 100);

	CHECK(heap_malloc(h, 100) != NULL);
	heap_free(h, p);
	p = heap_realloc(h, p, 50);
}

static void write_beyond_end(struct proclet_heap *h)
{
	char *p = heap_malloc(h, 104);

	CHECK(heap_malloc(h, 100) != NULL);
	memset(p, 'x', 112);
	heap_free(h, p);
}

static void write_after_free(struct proclet_heap *h)
{
	char *p = heap_malloc(h, 100);
	char *q = heap_malloc(h, 100);

	CHECK(heap_malloc(h, 100) != NULL);
	heap_free(h, p);
	memset(p, 'x', 104);
	heap_free(h, q);
}

static void write_to_links(struct proclet_heap *h)
{
	char *p = heap_malloc(h, 100);

	CHECK(heap_malloc(h, 100) != NULL);
	heap_free(h, p);
	memset(p, 'x', 8);
	p = heap_malloc(h, 100);
}

static const struct misuse {
	void (*run)(struct proclet_heap *h);
	const char *message;
} misuses[] = {
	{ free_twice, "double free" },
	{ free_twice_at_tail, "double free" },
	{ free_twice_merged, "double free" },
	{ free_inside, "block overwritten" },
	{ free_unaligned, "not memory of this heap" },
	{ free_root, "not memory of this heap" },
	{ free_foreign, "not memory of this heap" },
	{ realloc_freed, "double free" },
	{ write_beyond_end, "written beyond the end of a block" },
	{ write_after_free, "free block overwritten" },
	{ write_to_links, "free block overwritten" },
};

static void misuse_ends_the_process(void)
{
	size_t i;

	fflush(stdout);
	for (i = 0; i < ARRAY_SIZE(misuses); ++i) {
		char said[256] = "";
		int status, fds[2];
		ssize_t len;
		pid_t pid;

		if (pipe(fds))
			exit(1);
		pid = fork();
		if (pid == 0) {
			dup2(fds[1], 2);
			close(fds[0]);
			close(fds[1]);
			misuses[i].run(heap_new(MIB(1), 64));
			_exit(0);
		}
		close(fds[1]);
		len = read(fds[0], said, sizeof(said) - 1);
		close(fds[0]);
		waitpid(pid, &status, 0);
		if (!CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGILL) |
		    !CHECK(len > 0 && strstr(said, misuses[i].message)))
			printf("# misuse %zu: status %#x, said: %s\n", i,
			       status, said);
	}
}

static const struct test {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "small proclet is one page", small_proclet_is_one_page },
	{ "untouched pages stay away", untouched_pages_stay_away },
	{ "calloc zeroes what was used", calloc_zeroes_what_was_used },
	{ "every size is usable", every_size_is_usable },
	{ "random operations", random_operations },
	{ "random operations in a full heap", random_operations_in_a_full_heap },
	{ "full heap says NULL and recovers", full_heap_says_null_and_recovers },
	{ "largest block is the whole heap", largest_block_is_the_whole_heap },
	{ "block that just fits is found", block_that_just_fits_is_found },
	{ "neighbours merge in every order", neighbours_merge_in_every_order },
	{ "realloc keeps the contents", realloc_keeps_the_contents },
	{ "refused growth uses what there is", refused_growth_uses_what_there_is },
	{ "no room for the allocator", no_room_for_the_allocator },
	{ "memory returns and does not flutter", memory_returns_and_does_not_flutter },
	{ "survives a move", survives_a_move },
	{ "largest capacity", largest_capacity },
	{ "several threads", several_threads },
	{ "several threads under signals", several_threads_under_signals },
	{ "misuse ends the process", misuse_ends_the_process },
};

int main(int argc, char **argv)
{
	int failed = 0;
	size_t i;

	if (argc > 1)
		seed = strtoull(argv[1], NULL, 0);
	printf("TAP version 13\n1..%zu\n", ARRAY_SIZE(tests));
	for (i = 0; i < ARRAY_SIZE(tests); ++i) {
		test_failed = false;
		tests[i].run();
		printf("%s %zu %s\n", test_failed ? "not ok" : "ok", i + 1,
		       tests[i].name);
		fflush(stdout);
		failed += test_failed;
	}
	return failed ? 1 : 0;
}
