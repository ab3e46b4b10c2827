// SPDX-License-Identifier: GPL-2.0
/*
 * Other proclets' heaps, read and written from outside: bounds, sizes, memory
 * that was never touched; nothing is lost or torn while they move.
 */
#include "tap.h"
#include "mover.h"

#include <limits.h>
#include <stdint.h>

#define MIB ((size_t)1 << 20)
#define PAGE 4096
#define ROOT PROCLET_ROOT_OFF	/* of the first page, before offset 0 */

/* ---- methods ---- */

/* In: how many bytes, and where from; out: their checksum. */
static ssize_t sum(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	__u64 arg[2], s;

	if (in_len != sizeof(arg) || out_cap < sizeof(s))
		return -EINVAL;
	memcpy(arg, in, sizeof(arg));
	s = checksum((char *)root + arg[1], arg[0]);
	memcpy(out, &s, sizeof(s));
	return sizeof(s);
}
PROCLET_METHOD(sum);

/* In: bytes to allot; result: their offset. */
static ssize_t allot(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	__u64 size;
	char *p;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(size))
		return -EINVAL;
	memcpy(&size, in, sizeof(size));
	p = proclet_malloc(size);
	return p ? p - (char *)root : -ENOMEM;
}
PROCLET_METHOD(allot);

/* Set each of so many words to one of two values in turn, until the first is 0. */
static ssize_t flip(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	volatile __u64 *words = root;
	__u64 n, v = 0x1111111111111111ULL;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(n))
		return -EINVAL;
	memcpy(&n, in, sizeof(n));
	while (words[0]) {
		for (__u64 i = 1; i < n; i++)
			words[i] = v;
		v ^= 0x3333333333333333ULL;
	}
	return 0;
}
PROCLET_METHOD(flip);

static ssize_t wait_word(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	volatile __u64 *words = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	words[1] = 1;
	while (words[0])
		;
	return 5;
}
PROCLET_METHOD(wait_word);

/*
 * Writer @number of @writers: in each round it changes some of its words and its
 * region in @p, and reads them back.
 */
struct job {
	proclet_t p;
	__u32 number;
	__u32 writers;
	__u64 rounds;
	__u64 words;		/* of all writers, at offset 0 */
	__u64 regions;		/* offset of theirs */
	__u64 region;		/* bytes of one */
};

static __u64 word_of(const struct job *j, __u64 i, __u64 round)
{
	return (round << 32 | i << 8 | j->number) * 0x9e3779b97f4a7c15ULL;
}

static void fill_region(const struct job *j, unsigned char *to, __u64 round)
{
	__u64 state = j->number * 1000 + round + 1;

	for (__u64 i = 0; i < j->region; i++)
		to[i] = next_random(&state);
}

/* Returns a negative errno value, or the line that saw something wrong. */
static ssize_t do_job(const struct job *j, unsigned char *buf, unsigned char *back)
{
	__u64 at = j->regions + j->number * j->region;

	for (__u64 r = 0; r < j->rounds; r++) {
		for (__u64 i = j->number; i < j->words; i += 37 * j->writers) {
			__u64 w = word_of(j, i, r), seen = 0;
			ssize_t ret = proclet_write(j->p, i * 8, &w, 8);

			if (ret == 8)
				ret = proclet_read(j->p, i * 8, &seen, 8);
			if (ret != 8)
				return ret < 0 ? ret : __LINE__;
			if (seen != w)
				return __LINE__;
		}
		fill_region(j, buf, r);
		if (proclet_write(j->p, at, buf, j->region) != (ssize_t)j->region)
			return __LINE__;
		memset(back, 0, j->region);
		if (proclet_read(j->p, at, back, j->region) != (ssize_t)j->region)
			return __LINE__;
		for (__u64 i = 0; i < j->region; i++)
			if (buf[i] != back[i])
				return __LINE__;
	}
	return 0;
}

static ssize_t work(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	unsigned char *buf, *back;
	struct job j;
	ssize_t ret = -ENOMEM;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(j))
		return -EINVAL;
	memcpy(&j, in, sizeof(j));
	buf = proclet_malloc(j.region);
	back = proclet_malloc(j.region);
	if (buf && back)
		ret = do_job(&j, buf, back);
	proclet_free(back);
	proclet_free(buf);
	return ret;
}
PROCLET_METHOD(work);

/* A method's own buffers: on its stack, in its heap, and its own heap as target. */
static ssize_t buffers(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	unsigned char stack[6000], *heap = proclet_malloc(sizeof(stack));
	proclet_t p, self = proclet_self();

	(void)out_cap;
	if (in_len != sizeof(p) || !heap)
		return -EINVAL;
	memcpy(&p, in, sizeof(p));
	for (size_t i = 0; i < sizeof(stack); i++)
		stack[i] = i * 7;
	if (proclet_write(p, 99, stack, sizeof(stack)) != sizeof(stack))
		return __LINE__;
	if (proclet_read(p, 99, heap, sizeof(stack)) != sizeof(stack))
		return __LINE__;
	if (memcmp(stack, heap, sizeof(stack)))
		return __LINE__;
	heap[0]++;
	if (proclet_write(p, 99, heap, sizeof(stack)) != sizeof(stack))
		return __LINE__;
	if (proclet_read(p, 99, stack, 1) != 1 || stack[0] != heap[0])
		return __LINE__;
	/* The result's place, and its own heap. */
	if (proclet_read(p, 99, out, 1000) != 1000 || memcmp(out, heap, 1000))
		return __LINE__;
	if (proclet_write(self, 17, heap, 5000) != 5000 ||
	    memcmp((char *)root + 17, heap, 5000))
		return __LINE__;
	if (proclet_read(self, heap - (unsigned char *)root, stack, 5000) != 5000 ||
	    memcmp(stack, heap, 5000))
		return __LINE__;
	if (proclet_read(self, 64 * MIB, stack, 1) != -ERANGE)
		return __LINE__;
	proclet_free(heap);
	return 0;
}
PROCLET_METHOD(buffers);

/* ---- the root's part ---- */

static __u64 sum_of(proclet_t p, __u64 off, __u64 len)
{
	__u64 arg[2] = { len, off }, s = 0;
	ssize_t ret = proclet_call(p, sum, arg, sizeof(arg), &s, sizeof(s));

	return ret == sizeof(s) ? s : ~0ULL;
}

static unsigned char *noise(size_t size, __u64 seed)
{
	unsigned char *b = malloc(size);

	for (size_t i = 0; i < size; i++)
		b[i] = next_random(&seed);
	return b;
}

#define CHECK_RANGE(p, off, len, ret) do {				\
	CHECK_EQ(proclet_read(p, off, buf, len), ret);			\
	CHECK_EQ(proclet_write(p, off, buf, len), ret);			\
} while (0)

static int bounds(void)
{
	static unsigned char buf[2 * MIB];
	__u64 size = 100000, end;
	unsigned char c;
	ssize_t off;
	proclet_t p;

	TRY(tap_nodes(2));
	for (int n = 0; n < node_count; n++) {
		memset(buf, 0, sizeof(buf));
		TRY(make(&p, nodes[n], 8 * MIB, 1000));
		/* The root object in whole pages, with what comes before it. */
		end = PAGE - ROOT;
		CHECK_RANGE(p, 0, 0, 0);
		CHECK_RANGE(p, 0, 1, 1);
		CHECK_RANGE(p, end - 1, 1, 1);
		CHECK_RANGE(p, end, 0, 0);
		CHECK_RANGE(p, 0, end, end);
		CHECK_RANGE(p, end, 1, -ERANGE);
		CHECK_RANGE(p, end - 1, 2, -ERANGE);
		CHECK_RANGE(p, end + 1, 0, -ERANGE);
		CHECK_RANGE(p, 0, end + 1, -ERANGE);
		CHECK_RANGE(p, 8 * MIB, 1, -ERANGE);
		CHECK_RANGE(p, PROCLET_CAPACITY_MAX, 1, -ERANGE);
		CHECK_RANGE(p, SIZE_MAX, 1, -ERANGE);
		CHECK_RANGE(p, SIZE_MAX - 4095, 4096, -ERANGE);
		CHECK_RANGE(p, -1ULL << 12, 8, -ERANGE);
		CHECK_RANGE(p, 0, SIZE_MAX, -ERANGE);
		CHECK_RANGE(p, 0, SSIZE_MAX, -ERANGE);
		CHECK_RANGE(p, 8, SIZE_MAX - 7, -ERANGE);
		CHECK_RANGE(p, 0, 2 * MIB, -ERANGE);
		/* What was refused has changed nothing. */
		memset(buf, 0xee, sizeof(buf));
		CHECK_EQ(proclet_write(p, end - 10, buf, 20), -ERANGE);
		CHECK_EQ(proclet_read(p, end - 1, &c, 1), 1);
		CHECK_EQ(c, 0);
		/* It grows with what is allotted. */
		off = proclet_call(p, allot, &size, sizeof(size), NULL, 0);
		CHECK_GE(off, 1000);
		CHECK_RANGE(p, off, size, size);
		CHECK_EQ(sum_of(p, off, size), checksum(buf, size));
		CHECK_RANGE(p, 8 * MIB - ROOT, 1, -ERANGE);
	}
	return KSFT_PASS;
}

static const struct {
	size_t off, len;
} pieces[] = {
	{ 0, 0 }, { 0, 1 }, { 1, 1 }, { 7, 2 }, { 8, 8 }, { 3, 7 }, { 3, 8 }, { 5, 9 }, { 1, 63 },
	{ PAGE - ROOT - 1, 1 }, { PAGE - ROOT - 1, 2 }, { PAGE - ROOT, 1 }, { PAGE - ROOT - 4, 8 },
	{ PAGE - ROOT, PAGE }, { PAGE - ROOT - 1, PAGE + 2 }, { 100, 3992 }, { 100, 3993 },
	{ 101, 4096 }, { 1000, 10000 }, { 1001, 99999 }, { 0, MIB - 1 }, { 0, MIB }, { 0, MIB + 1 },
	{ 13, MIB - 1 }, { 13, MIB }, { 13, MIB + 1 }, { PAGE - ROOT, MIB }, { 77, 2 * MIB },
	{ 4093, 5 * MIB }, { 0, 5 * MIB },
};

static int one_piece(proclet_t p, size_t off, size_t len, const unsigned char *from,
		     unsigned char *to)
{
	CHECK_EQ(proclet_write(p, off, from, len), len);
	memset(to, 0xee, len + 2);
	CHECK_EQ(proclet_read(p, off, to + 1, len), len);
	CHECK_EQ(to[0], 0xee);
	CHECK_EQ(to[len + 1], 0xee);
	CHECK(!memcmp(to + 1, from, len));
	return KSFT_PASS;
}

static int all_pieces(proclet_t p, const unsigned char *from, unsigned char *to,
		      unsigned char *model, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		size_t off = pieces[i].off, len = pieces[i].len, at = i * 31;
		int ret = one_piece(p, off, len, from + at, to);

		if (ret != KSFT_PASS)
			diag("with %zu bytes at %zu", len, off);
		TRY(ret);
		memcpy(model + off, from + at, len);
	}
	CHECK_EQ(sum_of(p, 0, size), checksum(model, size));
	CHECK_EQ(proclet_read(p, 0, to, size), size);
	CHECK(!memcmp(to, model, size));
	return KSFT_PASS;
}

static int sizes(void)
{
	size_t size = 6 * MIB;
	unsigned char *from = noise(size, 5), *to = malloc(size), *model = malloc(size);
	proclet_t p;

	TRY(tap_nodes(2));
	for (int n = 0; n < 2; n++) {
		memset(model, 0, size);
		TRY(make(&p, nodes[n], 8 * MIB, size));
		TRY(all_pieces(p, from, to, model, size));
	}
	free(from);
	free(to);
	free(model);
	return KSFT_PASS;
}

static __s64 memory_of_all(void)
{
	struct proclet_stats s;
	__s64 total = 0;

	for (int n = 0; n < node_count; n++)
		total += lproc_stats(nodes[n], &s) ? INT64_MIN / 64 : (__s64)s.memory;
	return total;
}

/* Reads as zeroes, and is still not there. */
static int untouched(void)
{
	size_t size = 5 * MIB;
	unsigned char *buf = malloc(size), one = 1;
	__s64 before, slack = 64 * 1024;
	proclet_t p;

	TRY(tap_nodes(2));
	for (int n = 0; n < node_count; n++) {
		TRY(make(&p, nodes[n], 8 * MIB, size));
		before = memory_of_all();
		for (int round = 0; round < 2; round++) {
			memset(buf, 0xee, size);
			CHECK_EQ(proclet_read(p, 0, buf, size), size);
			for (size_t i = 0; i < size; i++)
				if (buf[i])
					CHECK_EQ(buf[i], 0);
			CHECK_EQ(proclet_migrate(p, nodes[(n + 1) % node_count], 0), 0);
		}
		CHECK_GE(before + slack, memory_of_all());
		/* Only the pages that are written come. */
		for (size_t off = 50000; off < size; off += 100 * PAGE)
			CHECK_EQ(proclet_write(p, off, &one, 1), 1);
		CHECK_GE(before + size / 100 + slack, memory_of_all());
		CHECK_EQ(proclet_read(p, 0, buf, size), size);
		for (size_t i = 0; i < size; i++) {
			int expected = i >= 50000 && !((i - 50000) % (100 * PAGE));

			if (buf[i] != expected)
				CHECK_EQ(buf[i], expected);
		}
		CHECK_GE(before + size / 100 + slack, memory_of_all());
		CHECK_EQ(proclet_destroy(p), 0);
	}
	free(buf);
	return KSFT_PASS;
}

static int stale(void)
{
	unsigned char buf[16] = { 0 };
	proclet_t p, q, live;

	TRY(tap_nodes(2));
	TRY(make(&live, nodes[1], MIB, 100));
	for (int n = 0; n < node_count; n++) {
		TRY(make(&p, nodes[n], MIB, 100));
		CHECK_RANGE(p, 0, 16, 16);
		if (n)
			CHECK_EQ(proclet_migrate(p, nodes[0], 0), 0);
		CHECK_EQ(proclet_destroy(p), 0);
		TRY(make(&q, nodes[n], MIB, 100));
		CHECK_RANGE(p, 0, 16, -ESTALE);
		CHECK_RANGE(p, 0, 0, -ESTALE);
		CHECK_RANGE(q, 0, 16, 16);
	}
	CHECK_RANGE(0, 0, 16, -ESTALE);
	CHECK_RANGE(1, 0, 16, -ESTALE);
	CHECK_RANGE(live + (1ULL << 32), 0, 16, -ESTALE);
	CHECK_RANGE(live + 1, 0, 16, -ESTALE);
	CHECK(proclet_read(~0ULL, 0, buf, 1) < 0);
	return KSFT_PASS;
}

/* It sees what is written, also after a move, and we what it writes. */
static int while_a_method_runs(void)
{
	__u64 word = 1, zero = 0, seen;
	proclet_t p;

	TRY(tap_nodes(2));
	for (int n = 0; n < node_count; n++) {
		struct caller *c;

		TRY(make(&p, nodes[n], MIB, 4096));
		CHECK_EQ(proclet_write(p, 0, &word, 8), 8);
		c = caller_start(p, wait_word, NULL, 0, NULL, 0);
		do {
			CHECK_EQ(proclet_read(p, 8, &seen, 8), 8);
		} while (!seen);
		CHECK_EQ(proclet_migrate(p, nodes[(n + 1) % node_count], 0), 0);
		CHECK_EQ(proclet_write(p, 0, &zero, 8), 8);
		CHECK_EQ(caller_wait(c), 5);
	}
	return KSFT_PASS;
}

static int bad_buffers(void)
{
	unsigned char *from = noise(2 * MIB, 3);
	char *hole = (char *)16;
	__u64 before;
	proclet_t p;

	TRY(tap_nodes(2));
	for (int n = 0; n < 2; n++) {
		TRY(make(&p, nodes[n], 8 * MIB, 2 * MIB));
		CHECK_EQ(proclet_write(p, 0, from, 2 * MIB), 2 * MIB);
		before = sum_of(p, 0, 2 * MIB);
		CHECK_EQ(proclet_write(p, 0, hole, 8), -EFAULT);
		CHECK_EQ(proclet_write(p, 0, hole, 10000), -EFAULT);
		CHECK_EQ(proclet_read(p, 0, hole, 8), -EFAULT);
		CHECK_EQ(proclet_read(p, 0, hole, MIB), -EFAULT);
		CHECK_EQ(sum_of(p, 0, 2 * MIB), before);
		CHECK_EQ(proclet_read(p, 0, NULL, 0), 0);
		CHECK_EQ(proclet_write(p, 0, NULL, 0), 0);
	}
	free(from);
	return KSFT_PASS;
}

static int native_ret;

static void *native_bounds(void *unused)
{
	(void)unused;
	native_ret = bounds();
	if (native_ret == KSFT_PASS)
		native_ret = sizes();
	return NULL;
}

static int from_a_native_thread(void)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, native_bounds, NULL), 0);
	pthread_join(t, NULL);
	return native_ret;
}

static proclet_t both[2];

static int call_buffers(void)
{
	static unsigned char out[1000];

	do {
		for (int i = 0; i < 2; i++)
			CHECK_EQ(proclet_call(both[i], buffers, &both[!i], sizeof(both[!i]), out,
					      sizeof(out)), 0);
	} while (!movers_enough());
	return KSFT_PASS;
}

/* The caller's memory moves as well as the target's. */
static int from_methods(void)
{
	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++)
		TRY(make(&both[i], nodes[i], 8 * MIB, 20000));
	return moving(both, 2, call_buffers);
}

/* ---- concurrently ---- */

#define WRITERS 8
#define NATIVES 3	/* of them */
#define WORDS 10000
#define REGION 150001

static proclet_t target, workers[WRITERS];
static struct job jobs[WRITERS];
static __u64 rounds_done;

struct native {
	pthread_t thread;
	struct job *job;
	ssize_t ret;
};

static void *native_work(void *arg)
{
	struct native *n = arg;
	unsigned char *buf = malloc(n->job->region), *back = malloc(n->job->region);

	n->ret = do_job(n->job, buf, back);
	free(buf);
	free(back);
	return NULL;
}

static int write_all(void)
{
	static struct native native[NATIVES];
	struct caller *c[WRITERS];

	rounds_done = 0;
	do {
		for (int i = 0; i < WRITERS; i++) {
			jobs[i] = (struct job) {
				.p = target, .number = i, .writers = WRITERS, .rounds = 3,
				.words = WORDS, .regions = WORDS * 8 + 3,
				.region = REGION,
			};
			if (i >= NATIVES) {
				c[i] = caller_start(workers[i], work, &jobs[i], sizeof(jobs[i]),
						    NULL, 0);
				continue;
			}
			native[i].job = &jobs[i];
			CHECK_EQ(pthread_create(&native[i].thread, NULL, native_work,
						&native[i]), 0);
		}
		for (int i = 0; i < NATIVES; i++)
			pthread_join(native[i].thread, NULL);
		for (int i = NATIVES; i < WRITERS; i++)
			CHECK_EQ(caller_wait(c[i]), 0);
		for (int i = 0; i < NATIVES; i++)
			CHECK_EQ(native[i].ret, 0);
		rounds_done++;
	} while (!movers_enough());
	diag("%llu rounds, %llu moves", rounds_done, movers_moved());
	return KSFT_PASS;
}

/* All of what they have written last is there, and nothing else. */
static int writers(void)
{
	size_t size = WORDS * 8 + 3 + WRITERS * REGION;
	unsigned char *model = calloc(1, size);
	proclet_t ids[WRITERS + 4];
	int n = 1;

	TRY(tap_nodes(2));
	TRY(make(&target, nodes[1], 8 * MIB, size));
	ids[0] = target;
	for (int i = NATIVES; i < WRITERS; i++) {
		TRY(make(&workers[i], nodes[i % node_count], 4 * MIB, 64));
		ids[n++] = workers[i];
	}
	/* The target more often than any other. */
	for (int i = 0; i < 4; i++)
		ids[n++] = target;
	TRY(moving(ids, n, write_all));
	for (int i = 0; i < WRITERS; i++) {
		const struct job *j = &jobs[i];

		for (__u64 w = i; w < WORDS; w += 37 * WRITERS) {
			__u64 v = word_of(j, w, j->rounds - 1);

			memcpy(model + w * 8, &v, 8);
		}
		fill_region(j, model + j->regions + i * j->region, j->rounds - 1);
	}
	CHECK_EQ(sum_of(target, 0, size), checksum(model, size));
	free(model);
	return KSFT_PASS;
}

/* A piece is before or after a move, and of words half is never seen. */
#define FLIPS 20000

static struct {
	pthread_t thread;
	bool stop;
	ssize_t ret;
} writer;

static void *write_flips(void *unused)
{
	__u64 *words = calloc(FLIPS, 8), v = 0x1111111111111111ULL;

	(void)unused;
	writer.ret = FLIPS * 8;
	while (!__atomic_load_n(&writer.stop, __ATOMIC_RELAXED) && writer.ret == FLIPS * 8) {
		for (int i = 0; i < FLIPS; i++)
			words[i] = v;
		writer.ret = proclet_write(target, 8, words, FLIPS * 8);
		v ^= 0x3333333333333333ULL;
	}
	free(words);
	return NULL;
}

static int read_flips(void)
{
	static __u64 words[FLIPS];
	unsigned int seen[2] = { 0, 0 }, reads = 0;

	do {
		CHECK_EQ(proclet_read(target, 8, words, sizeof(words)), sizeof(words));
		for (int i = 0; i < FLIPS; i++) {
			bool one = words[i] == 0x1111111111111111ULL;

			if (!one && words[i])
				CHECK_EQ(words[i], 0x2222222222222222ULL);
			seen[one]++;
		}
		reads++;
	} while (!movers_enough() || !seen[0] || !seen[1]);
	diag("%u reads", reads);
	return KSFT_PASS;
}

static int whole_words(void)
{
	__u64 word = 1, n = FLIPS + 1, zero = 0;
	struct caller *c;
	int ret;

	TRY(tap_nodes(2));
	TRY(make(&target, nodes[1], 8 * MIB, (FLIPS + 1) * 8));
	/* Others' writes. */
	writer.stop = false;
	CHECK_EQ(pthread_create(&writer.thread, NULL, write_flips, NULL), 0);
	ret = moving(&target, 1, read_flips);
	__atomic_store_n(&writer.stop, true, __ATOMIC_RELAXED);
	pthread_join(writer.thread, NULL);
	TRY(ret);
	CHECK_EQ(writer.ret, FLIPS * 8);
	/* Its own. */
	CHECK_EQ(proclet_write(target, 0, &word, 8), 8);
	c = caller_start(target, flip, &n, sizeof(n), NULL, 0);
	ret = moving(&target, 1, read_flips);
	CHECK_EQ(proclet_write(target, 0, &zero, 8), 8);
	CHECK_EQ(caller_wait(c), 0);
	return ret;
}

static const struct tap_test tests[] = {
	TAP_TEST(bounds),
	TAP_TEST(sizes),
	TAP_TEST(from_a_native_thread),
	TAP_TEST(untouched),
	TAP_TEST(stale),
	TAP_TEST(while_a_method_runs),
	TAP_TEST(bad_buffers),
	{ "from_methods", from_methods, 600 },
	{ "writers", writers, 900 },
	{ "whole_words", whole_words, 600 },
};

/* Methods that run until the first word is 0 end. */
static void end_lingering(proclet_t p)
{
	__u64 zero = 0;

	proclet_write(p, 0, &zero, sizeof(zero));
}

static int root(int argc, char **argv)
{
	tap_stop = end_lingering;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("memory", root, argc, argv);
}
