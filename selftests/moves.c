// SPDX-License-Identifier: GPL-2.0
/* Many migrations, at once, one after the other, and while the proclet is called. */
#include "moved.h"

#define MANY env_number("PROCLET_TEST_MOVES", 1000)
#define BREATHS		4
#define BREATH_WORDS	(100000 / 8)

static ssize_t increment(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	__u64 n = __atomic_add_fetch(&m->counter, 1, __ATOMIC_RELAXED);

	(void)in;
	(void)in_len;
	if (out_cap < sizeof(n))
		return -EMSGSIZE;
	memcpy(out, &n, sizeof(n));
	return sizeof(n);
}
PROCLET_METHOD(increment);

/* In: a seed. Takes memory, uses it and frees it, so that the heap grows and shrinks. */
static ssize_t breathe(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	__u64 *blocks[BREATHS], seed;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(seed))
		return -EINVAL;
	memcpy(&seed, in, sizeof(seed));
	for (int i = 0; i < BREATHS; i++) {
		blocks[i] = proclet_malloc(BREATH_WORDS * 8);
		if (!blocks[i])
			return -ENOMEM;
		for (__u64 j = 0; j < BREATH_WORDS; j++)
			blocks[i][j] = seed * (i + 1) + j;
	}
	for (int i = BREATHS - 1; i >= 0; i--) {
		for (__u64 j = 0; j < BREATH_WORDS; j++)
			if (blocks[i][j] != seed * (i + 1) + j)
				return -EBADMSG;
		proclet_free(blocks[i]);
	}
	return 0;
}
PROCLET_METHOD(breathe);

struct call_args {
	proclet_t p;
	__u64 calls;
};

/* Runs in another proclet: many calls of @p, and the sum of their results. */
static ssize_t call_increment(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	struct call_args a;
	__u64 n, sum = 0;
	ssize_t ret;

	if (in_len != sizeof(a) || out_cap < sizeof(sum))
		return -EINVAL;
	memcpy(&a, in, sizeof(a));
	for (__u64 i = 0; a.calls ? i < a.calls : !m->stop; i++) {
		ret = proclet_call(a.p, increment, NULL, 0, &n, sizeof(n));
		if (ret != sizeof(n))
			return ret < 0 ? ret : -EIO;
		sum += n;
		m->count = i + 1;
	}
	memcpy(out, &sum, sizeof(sum));
	return sizeof(sum);
}
PROCLET_METHOD(call_increment);

/* ---- the root's part ---- */

static int there_and_back(void)
{
	unsigned int many = MANY;
	proclet_t p;
	__u64 sum;

	TRY(tap_nodes(2));
	TRY(filled(&p, nodes[0], 256 << 10, &sum));
	for (unsigned int i = 0; i < many; i++) {
		for (int j = 1; j >= 0; j--) {
			int ret = proclet_migrate(p, nodes[j], 0);

			if (ret)
				diag("move %u to node %d:", i, nodes[j]);
			CHECK_EQ(ret, 0);
			if (i % 10 == 0 || many - i < 10)
				TRY(unchanged(p, sum));
		}
	}
	TRY(is_on(p, nodes[0]));
	TRY(unchanged(p, sum));
	return KSFT_PASS;
}

struct shuttle {
	pthread_t thread;
	proclet_t p;
	int from, to;
	unsigned int times;
	int ret;
};

static void *shuttle_run(void *arg)
{
	struct shuttle *s = arg;

	for (unsigned int i = 0; i < s->times && !s->ret; i++) {
		s->ret = proclet_migrate(s->p, s->to, 0);
		if (!s->ret)
			s->ret = proclet_migrate(s->p, s->from, 0);
	}
	return NULL;
}

static int both_directions(void)
{
	static struct shuttle s[2];
	__u64 sum[2];

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		s[i] = (struct shuttle) { .from = nodes[i], .to = nodes[!i], .times = 100 };
		TRY(filled(&s[i].p, nodes[i], 256 << 10, &sum[i]));
	}
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&s[i].thread, NULL, shuttle_run, &s[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(s[i].thread, NULL);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(s[i].ret, 0);
		TRY(is_on(s[i].p, nodes[i]));
		TRY(unchanged(s[i].p, sum[i]));
	}
	return KSFT_PASS;
}

/* Two who want the same proclet elsewhere: one has to wait or is refused. */
static struct {
	pthread_t thread;
	int node;
	int ok, busy, other;
} tug[2];
static proclet_t rope;

static void *tug_run(void *arg)
{
	__typeof__(&tug[0]) t = arg;

	for (int i = 0; i < 100; i++) {
		int ret = proclet_migrate(rope, t->node, 0);

		if (!ret)
			t->ok++;
		else if (ret == -EBUSY)
			t->busy++;
		else
			t->other = ret;
	}
	return NULL;
}

static int tug_of_war(void)
{
	__u64 sum;

	TRY(tap_nodes(2));
	TRY(filled(&rope, nodes[0], 65536, &sum));
	memset(tug, 0, sizeof(tug));
	for (int i = 0; i < 2; i++) {
		tug[i].node = nodes[i];
		CHECK_EQ(pthread_create(&tug[i].thread, NULL, tug_run, &tug[i]), 0);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(tug[i].thread, NULL);
	for (int i = 0; i < 2; i++) {
		diag("to node %d: %d, busy %d", tug[i].node, tug[i].ok, tug[i].busy);
		CHECK_EQ(tug[i].other, 0);
		CHECK_GE(tug[i].ok, 1);
	}
	TRY(unchanged(rope, sum));
	TRY(move(rope, nodes[1]));
	return KSFT_PASS;
}

/* The callers are done: each number was given out once. */
static int counted_once(const struct call_args *a, const proclet_t *from, struct caller *const *c,
			const __u64 *sums, int count)
{
	__u64 total = 0, calls = 0, n;

	for (int i = 0; i < count; i++)
		TRY(alive(from[i]));
	for (int i = 0; i < count; i++)
		TRY(end_phase(from[i], 1));
	for (int i = 0; i < count; i++) {
		struct mover m;

		CHECK_EQ(caller_wait(c[i]), sizeof(__u64));
		TRY(look(from[i], &m));
		calls += m.count;
		total += sums[i];
	}
	CHECK_EQ(proclet_call(a->p, increment, NULL, 0, &n, sizeof(n)), sizeof(n));
	CHECK_EQ(n, calls + 1);
	CHECK_EQ(total, calls * (calls + 1) / 2);
	diag("%llu calls", calls);
	return KSFT_PASS;
}

static int under_calls(void)
{
	unsigned int moves = MANY / 5, busy = 0, at = 0;
	static struct call_args a;
	static __u64 sums[32];
	struct caller *c[32];
	proclet_t from[32];

	TRY(tap_nodes(2));
	TRY(mover(&a.p, nodes[0]));
	a.calls = 0;
	for (int i = 0; i < node_count; i++) {
		TRY(mover(&from[i], nodes[i]));
		c[i] = caller_start(from[i], call_increment, &a, sizeof(a),
				    &sums[i], sizeof(sums[i]));
	}
	for (unsigned int i = 0; i < moves; i++) {
		int to = (at + 1) % node_count;
		int ret = proclet_migrate(a.p, nodes[to], 0);

		if (ret == -EBUSY) {
			busy++;
			continue;
		}
		CHECK_EQ(ret, 0);
		at = to;
	}
	TRY(counted_once(&a, from, c, sums, node_count));
	diag("during %u moves, %u busy", moves, busy);
	CHECK_GE(moves / 2, busy);
	return KSFT_PASS;
}

/* The caller moves too, to the callee and away from it. */
static int under_calls_of_movers(void)
{
	unsigned int moves = MANY / 10, busy = 0;
	static struct call_args a;
	static __u64 sums[4];
	struct caller *c[4];
	__u64 state = 5;
	proclet_t all[5];

	TRY(tap_nodes(2));
	TRY(mover(&a.p, nodes[0]));
	all[4] = a.p;
	a.calls = 0;
	for (int i = 0; i < 4; i++) {
		TRY(mover(&all[i], nodes[i % node_count]));
		c[i] = caller_start(all[i], call_increment, &a, sizeof(a),
				    &sums[i], sizeof(sums[i]));
	}
	for (unsigned int i = 0; i < moves; i++) {
		int ret = proclet_migrate(all[next_random(&state) % 5],
					  nodes[next_random(&state) % node_count], 0);

		if (ret)
			CHECK_EQ(ret, -EBUSY);
		busy += !!ret;
	}
	TRY(counted_once(&a, all, c, sums, 4));
	diag("during %u moves, %u busy", moves, busy);
	CHECK_GE(moves / 2, busy);
	return KSFT_PASS;
}

static struct breather {
	pthread_t thread;
	proclet_t p;
	__u64 seed;
	bool enough;
	ssize_t ret;
} breathers[2];

static void *breathe_on(void *arg)
{
	struct breather *b = arg;

	while (!b->ret && !__atomic_load_n(&b->enough, __ATOMIC_RELAXED)) {
		b->seed++;
		b->ret = proclet_call(b->p, breathe, &b->seed, sizeof(b->seed), NULL, 0);
	}
	return NULL;
}

/*
 * Memory is given back and taken again at each stage of a migration. A new heap for some moves
 * each, as one that has shrunk too early a few times does not do it any more.
 */
static int shrinks_meanwhile(void)
{
	static const int modes[] = { PROCLET_MOVE_PRECOPY, 0, PROCLET_MOVE_POSTCOPY };
	unsigned int moves = MANY / 20;
	proclet_t p;
	int ret;

	TRY(tap_nodes(2));
	for (unsigned int i = 0; i < moves; i++) {
		TRY(make(&p, nodes[i % 2], 4 << 20, 0));
		for (int k = 0; k < 2; k++) {
			breathers[k] = (struct breather) { .p = p, .seed = i };
			CHECK_EQ(pthread_create(&breathers[k].thread, NULL, breathe_on,
						&breathers[k]), 0);
		}
		for (int k = 0; k < 6; k++) {
			ret = proclet_migrate(p, nodes[(i + k + 1) % 2],
					      modes[i % ARRAY_SIZE(modes)]);
			if (ret)
				CHECK_EQ(ret, -EBUSY);
		}
		for (int k = 0; k < 2; k++) {
			__atomic_store_n(&breathers[k].enough, true, __ATOMIC_RELAXED);
			pthread_join(breathers[k].thread, NULL);
			CHECK_EQ(breathers[k].ret, 0);
		}
		tap_cleanup();
	}
	return KSFT_PASS;
}

/* Destroyed while it goes to and fro: it ends once, and moves end then. */
static int destroyed_on_the_way(void)
{
	TRY(tap_nodes(2));
	for (int i = 0; i < 20; i++) {
		static struct shuttle s;
		__u64 sum;
		int ret;

		s = (struct shuttle) { .from = nodes[i % 2], .to = nodes[!(i % 2)],
				       .times = 1000000 };
		TRY(filled(&s.p, s.from, 65536, &sum));
		CHECK_EQ(pthread_create(&s.thread, NULL, shuttle_run, &s), 0);
		/* Some while later: after so many calls. */
		for (int n = 0; n < i; n++)
			TRY(unchanged(s.p, sum));
		do {
			ret = proclet_destroy(s.p);
		} while (ret == -EBUSY);
		CHECK_EQ(ret, 0);
		pthread_join(s.thread, NULL);
		CHECK_EQ(s.ret, -ESTALE);
		CHECK_EQ(proclet_call(s.p, where, NULL, 0, NULL, 0), -ESTALE);
	}
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	LONG_TEST(both_directions),
	LONG_TEST(tug_of_war),
	LONG_TEST(under_calls),
	LONG_TEST(under_calls_of_movers),
	LONG_TEST(shrinks_meanwhile),
	LONG_TEST(destroyed_on_the_way),
	{ "there_and_back", there_and_back, 600 },
};

static int root(int argc, char **argv)
{
	tap_stop = stop_proclet;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("moves", root, argc, argv);
}
