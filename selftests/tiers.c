// SPDX-License-Identifier: GPL-2.0
/*
 * Three tiers of proclets under continuous migration: each root calls two in the
 * middle, and each of those two leaves. All have a full heap, part of which each
 * call reads. Movers go round all of them without a pause. No call may fail, and
 * every result and counter has one right value.
 *
 * PROCLET_TEST_SECONDS: how long (60); PROCLET_TEST_ROOTS: how many roots (64).
 */
#include "mover.h"

#include <stdint.h>

#define FAN_OUT 2
#define ROOTS_MAX 64
#define MIDDLES_MAX (ROOTS_MAX * FAN_OUT)
#define LEAVES_MAX (MIDDLES_MAX * FAN_OUT)
#define ALL_MAX (ROOTS_MAX + MIDDLES_MAX + LEAVES_MAX)
#define HEAP ((size_t)2 << 20)
#define SAMPLE 64		/* words that a call reads */
#define CALLERS 16
#define MOVERS 2

struct member {
	proclet_t below[FAN_OUT];
	__u64 secret;
	__u64 *data;
	__u64 words;
	__u64 calls;
};

struct question {
	__u64 seed;
	__u64 per_us;		/* iterations of burn() in a microsecond */
};

static __u64 mix(__u64 a, __u64 b)
{
	a = (a ^ b) * 0x9e3779b97f4a7c15ULL;
	return a ^ a >> 29;
}

static __u64 burn(__u64 state, __u64 n)
{
	while (n--)
		next_random(&state);
	return state;
}

/* The body of a call takes 10 to 200 us, half of it before the calls of others. */
static __u64 body(__u64 seed, __u64 per_us)
{
	return burn(seed, (10 + seed % 191) * per_us / 2);
}

static __u64 sample_at(__u64 seed, __u64 words)
{
	return mix(seed, 1) % (words - SAMPLE);
}

static ssize_t ask(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct member *m = root;
	struct question q;
	__u64 value, sum = 0, at;

	if (in_len != sizeof(q) || out_cap != sizeof(value))
		return -EINVAL;
	memcpy(&q, in, sizeof(q));
	__atomic_add_fetch(&m->calls, 1, __ATOMIC_RELAXED);
	value = body(mix(q.seed, m->secret), q.per_us);
	at = sample_at(q.seed, m->words);
	for (__u64 i = at; i < at + SAMPLE; i++)
		sum += m->data[i];
	for (int i = 0; i < FAN_OUT && m->below[i]; i++) {
		struct question next = { mix(q.seed, i), q.per_us };
		__u64 answer;
		ssize_t ret;

		ret = proclet_call(m->below[i], ask, &next, sizeof(next), &answer,
				   sizeof(answer));
		if (ret != sizeof(answer))
			return ret < 0 ? ret : -EPROTO;
		value = mix(value, answer);
	}
	value = mix(body(value, q.per_us), sum);
	memcpy(out, &value, sizeof(value));
	return sizeof(value);
}
PROCLET_METHOD(ask);

/* In: secret and those below; out: how many words the heap had room for. */
static ssize_t fill(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct member *m = root;
	size_t bytes = HEAP;

	if (in_len != offsetof(struct member, data) || out_cap != sizeof(m->words))
		return -EINVAL;
	memcpy(m, in, in_len);
	while (!m->data && bytes > HEAP / 4) {
		bytes -= 64 << 10;
		m->data = proclet_malloc(bytes);
	}
	if (!m->data)
		return -ENOMEM;
	m->words = bytes / sizeof(*m->data);
	for (__u64 i = 0; i < m->words; i++)
		m->data[i] = mix(m->secret, i);
	memcpy(out, &m->words, sizeof(m->words));
	return sizeof(m->words);
}
PROCLET_METHOD(fill);

/* Words that are not what fill() wrote. Out: the number of calls. */
static ssize_t verify(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct member *m = root;
	ssize_t wrong = 0;

	(void)in;
	(void)in_len;
	if (out_cap != sizeof(m->calls))
		return -EINVAL;
	for (__u64 i = 0; i < m->words; i++)
		wrong += m->data[i] != mix(m->secret, i);
	if (wrong)
		return -EBADMSG;
	memcpy(out, &m->calls, sizeof(m->calls));
	return sizeof(m->calls);
}
PROCLET_METHOD(verify);

/* ---- the root's part ---- */

static proclet_t all[ALL_MAX];		/* the roots, the middle, the leaves */
static __u64 visits[ALL_MAX];
static unsigned int roots, total;
static __u64 words;
static __u64 per_us;
static bool enough;

static __u64 secret_of(unsigned int i)
{
	return mix(i + 1, 0x5eed);
}

/* First of those below number @i; 0: it is a leaf. */
static unsigned int below(unsigned int i)
{
	unsigned int first = roots + i * FAN_OUT;

	return first < total ? first : 0;
}

static __u64 expect(unsigned int i, __u64 seed)
{
	__u64 value = body(mix(seed, secret_of(i)), per_us), sum = 0;
	__u64 at = sample_at(seed, words);
	unsigned int first = below(i);

	__atomic_add_fetch(&visits[i], 1, __ATOMIC_RELAXED);
	for (__u64 k = at; k < at + SAMPLE; k++)
		sum += mix(secret_of(i), k);
	for (int k = 0; first && k < FAN_OUT; k++)
		value = mix(value, expect(first + k, mix(seed, k)));
	return mix(body(value, per_us), sum);
}

static struct asker {
	pthread_t thread;
	__u64 state;
	__u64 asked;
	__u64 longest_ns;
	unsigned int whom;
	ssize_t ret;
	__u64 value;
	__u64 expected;
	bool failed;
} askers[CALLERS];

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static void *ask_on(void *arg)
{
	struct asker *a = arg;

	while (!a->failed && !__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		struct question q = { next_random(&a->state), per_us };
		__u64 start = now_ns(), ns;

		a->whom = next_random(&a->state) % roots;
		a->ret = proclet_call(all[a->whom], ask, &q, sizeof(q), &a->value,
				      sizeof(a->value));
		ns = now_ns() - start;
		if (ns > a->longest_ns)
			a->longest_ns = ns;
		a->expected = expect(a->whom, q.seed);
		a->failed = a->ret != sizeof(a->value) || a->value != a->expected;
		a->asked++;
	}
	return NULL;
}

static void calibrate(void)
{
	__u64 n = 100000, best = UINT64_MAX;
	volatile __u64 sink;

	for (int i = 0; i < 5; i++) {
		__u64 start = now_ns();

		sink = burn(i + 1, n);
		start = now_ns() - start;
		if (start < best)
			best = start;
	}
	(void)sink;
	per_us = n * 1000 / best ?: 1;
}

static int build(void)
{
	roots = env_number("PROCLET_TEST_ROOTS", ROOTS_MAX);
	if (roots > ROOTS_MAX)
		roots = ROOTS_MAX;
	total = roots * (1 + FAN_OUT + FAN_OUT * FAN_OUT);
	calibrate();
	/* From below, so that each knows those that it calls. */
	for (unsigned int i = total; i-- > 0;) {
		struct member m = { .secret = secret_of(i) };
		unsigned int first = below(i);

		for (int k = 0; first && k < FAN_OUT; k++)
			m.below[k] = all[first + k];
		TRY(make(&all[i], nodes[i % node_count], HEAP, sizeof(m)));
		CHECK_EQ(proclet_call(all[i], fill, &m, offsetof(struct member, data), &words,
				      sizeof(words)), sizeof(words));
	}
	diag("%u proclets with %llu KiB of data each, %llu iterations/us", total,
	     words * sizeof(__u64) >> 10, per_us);
	return KSFT_PASS;
}

/* Whether somebody has failed, looked at while the time passes. */
static bool any_failed(void)
{
	for (int i = 0; i < CALLERS; i++)
		if (__atomic_load_n(&askers[i].failed, __ATOMIC_RELAXED))
			return true;
	return movers_failed();
}

static int continuous_migration(void)
{
	unsigned int seconds = env_number("PROCLET_TEST_SECONDS", 60);
	__u64 start, end, asked = 0, longest = 0, moved, calls;
	const struct timespec tick = { 0, 20000000 };
	int ret = KSFT_PASS;

	TRY(tap_nodes(2));
	TRY(build());
	start = now_ns();
	end = start + seconds * 1000000000ULL;
	for (int i = 0; i < CALLERS; i++) {
		askers[i].state = (i + 1) * 0x9e3779b97f4a7c15ULL;
		CHECK_EQ(pthread_create(&askers[i].thread, NULL, ask_on, &askers[i]), 0);
	}
	for (int i = 0; ret == KSFT_PASS && i < MOVERS; i++)
		ret = movers_start(1, all + total / MOVERS * i, total / MOVERS, 0,
				   MOVE_IN_TURN, i);
	/* At least once round, however slow the machine is. */
	while (ret == KSFT_PASS && !any_failed() &&
	       (now_ns() < end || movers_moved() < total))
		nanosleep(&tick, NULL);
	start = now_ns() - start;
	moved = movers_moved();
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	for (int i = 0; i < CALLERS; i++) {
		pthread_join(askers[i].thread, NULL);
		asked += askers[i].asked;
		if (askers[i].longest_ns > longest)
			longest = askers[i].longest_ns;
	}
	diag("%llu calls of roots in %llu s, longest %llu ms; all moved every %llu ms", asked,
	     start / 1000000000, longest / 1000000,
	     moved ? start / 1000000 * total / moved : 0);
	TRY(ret);
	TRY(movers_end());
	for (int i = 0; i < CALLERS; i++) {
		struct asker *a = &askers[i];

		if (a->failed)
			diag("caller %d, call %llu, of root %u:", i, a->asked, a->whom);
		CHECK_EQ(a->ret, sizeof(a->value));
		CHECK_EQ(a->value, a->expected);
		CHECK_GE(a->asked, 1);
	}
	for (unsigned int i = 0; i < total; i++) {
		CHECK_EQ(proclet_call(all[i], verify, NULL, 0, &calls, sizeof(calls)),
			 sizeof(calls));
		CHECK_EQ(calls, visits[i]);
	}
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	{ "continuous_migration", continuous_migration, 800 },
};

static int root(int argc, char **argv)
{
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("tiers", root, argc, argv);
}
