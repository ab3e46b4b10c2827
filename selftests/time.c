// SPDX-License-Identifier: GPL-2.0
/* The logical process's clock, and sleeping, on nodes whose clocks begin an hour apart. */
#include "skew.h"

/* An operation that nobody has is lost earlier: probe_ms is 1000. */
#define LONG (8 * SECOND)

static ssize_t clock_here(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	__u64 now = proclet_clock_ns();

	(void)root;
	(void)in;
	(void)in_len;
	if (out_cap != sizeof(now))
		return -EINVAL;
	memcpy(out, &now, sizeof(now));
	return sizeof(now);
}
PROCLET_METHOD(clock_here);

static ssize_t watch(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct object *o = root;
	__u64 now, other, last = 0;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	ADD(o->started, 1);
	while (!LOAD(o->stop)) {
		/* What another thread has seen counts, too. */
		other = LOAD(o->last);
		now = proclet_clock_ns();
		o->back += now < last || now < other;
		last = now;
		__atomic_store_n(&o->last, now, __ATOMIC_RELAXED);
		o->reads++;
	}
	return 0;
}
PROCLET_METHOD(watch);

/* Sleep so long after a time, and say how late it is then; negative: early. */
struct doze_args {
	__u64 start, ns;
};

static ssize_t doze(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct object *o = root;
	struct doze_args a;
	__s64 late;
	int err;

	if (in_len != sizeof(a) || out_cap != sizeof(late))
		return -EINVAL;
	memcpy(&a, in, sizeof(a));
	ADD(o->started, 1);
	err = proclet_sleep_until(a.start + a.ns);
	late = proclet_clock_ns() - (a.start + a.ns);
	if (err)
		return err;
	ADD(o->ended, 1);
	memcpy(out, &late, sizeof(late));
	return sizeof(late);
}
PROCLET_METHOD(doze);

static __u64 monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

/* At the rate of the machine's, and the same for all threads. */
static void *read_clock(void *arg)
{
	*(__u64 *)arg = proclet_clock_ns();
	return NULL;
}

static int clock_advances(void)
{
	__u64 offset, before, native, after;
	pthread_t thread;

	before = monotonic();
	offset = proclet_clock_ns() - before;
	for (int i = 0; i < 20; i++) {
		struct timespec ms = { 0, MS };
		__u64 mono1, clock, mono2;

		nanosleep(&ms, NULL);
		mono1 = monotonic();
		clock = proclet_clock_ns();
		mono2 = monotonic();
		CHECK_GE(clock, mono1 + offset - SECOND);
		CHECK_GE(mono2 + offset + SECOND, clock);
	}
	before = proclet_clock_ns();
	CHECK_EQ(pthread_create(&thread, NULL, read_clock, &native), 0);
	pthread_join(thread, NULL);
	after = proclet_clock_ns();
	CHECK_GE(native, before);
	CHECK_GE(after, native);
	return KSFT_PASS;
}

struct order_args {
	int rounds, ret;
};

/* What comes later is not earlier by the clock. */
static int one_order(int rounds)
{
	__u64 before = 0, there, after;

	for (int i = 0; i < rounds; i++) {
		for (int n = 0; n < node_count; n++) {
			before = proclet_clock_ns();
			CHECK_EQ(proclet_call(on[n], clock_here, NULL, 0, &there, sizeof(there)),
				 sizeof(there));
			after = proclet_clock_ns();
			CHECK_GE(there, before);
			CHECK_GE(after, there);
		}
	}
	return KSFT_PASS;
}

static void *native_order(void *arg)
{
	struct order_args *a = arg;

	a->ret = one_order(a->rounds);
	return NULL;
}

static int clock_follows_calls(void)
{
	static struct order_args a = { 200, 0 };
	char text[64] = "";
	pthread_t thread;
	int fd;

	TRY(setup());
	/* The clocks did begin differently. */
	fd = open(PARAMETERS "clock_skew_ms", O_RDONLY);
	CHECK_GE(fd, 0);
	CHECK_GE(read(fd, text, sizeof(text) - 1), 1);
	close(fd);
	CHECK_EQ(strncmp(text, "0,3600000,60000", 15), 0);
	TRY(one_order(a.rounds));
	CHECK_EQ(pthread_create(&thread, NULL, native_order, &a), 0);
	pthread_join(thread, NULL);
	return a.ret;
}

static int clock_follows_moves(void)
{
	unsigned int moves = env_number("PROCLET_TEST_MOVES", 1000) / 10;
	struct caller *c[2];

	TRY(setup());
	for (int i = 0; i < 2; i++)
		c[i] = caller_start(on[0], watch, NULL, 0, NULL, 0);
	TRY(wait_for(on[0], 1, 0));
	TRY(mover_start(on[0]));
	movers_wait(moves);
	TRY(movers_end());
	stop_all(on[0]);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(caller_wait(c[i]), 0);
	TRY(see(on[0]));
	diag("%llu reads", seen.reads);
	CHECK_GE(seen.reads, moves);
	CHECK_EQ(seen.back, 0);
	return KSFT_PASS;
}

static int on_time(__u64 target)
{
	__u64 now = proclet_clock_ns();

	CHECK_GE(now, target);
	CHECK_GE(target + SLACK, now);
	return KSFT_PASS;
}

static int one_sleep(__u64 target)
{
	CHECK_EQ(proclet_sleep_until(target), 0);
	return on_time(target);
}

static int some_sleeps(void)
{
	static const __u64 times[] = { 1, 1000, 100000, MS, 3 * MS, 20 * MS, 100 * MS };
	__u64 now;

	for (unsigned int i = 0; i < ARRAY_SIZE(times); i++)
		TRY(one_sleep(proclet_clock_ns() + times[i]));
	now = proclet_clock_ns();
	CHECK_EQ(proclet_sleep_until(0), 0);
	CHECK_EQ(proclet_sleep_until(1), 0);
	CHECK_EQ(proclet_sleep_until(now), 0);
	TRY(on_time(now));
	return KSFT_PASS;
}

static void *native_sleeps(void *arg)
{
	*(int *)arg = some_sleeps();
	return NULL;
}

static int sleeps(void)
{
	pthread_t thread;
	static int ret;

	TRY(some_sleeps());
	CHECK_EQ(pthread_create(&thread, NULL, native_sleeps, &ret), 0);
	pthread_join(thread, NULL);
	return ret;
}

#define DOZERS 48

static int dozers(proclet_t (*where)(int i))
{
	static struct doze_args args[DOZERS];
	static struct caller *c[DOZERS];
	static __s64 late[DOZERS];
	__s64 latest = 0;

	for (int i = 0; i < DOZERS; i++) {
		args[i].start = proclet_clock_ns();
		args[i].ns = i * 40 * MS + MS;
		c[i] = caller_start(where(i), doze, &args[i], sizeof(args[i]), &late[i],
				    sizeof(late[i]));
	}
	for (int i = 0; i < DOZERS; i++) {
		CHECK_EQ(caller_wait(c[i]), sizeof(late[i]));
		CHECK_GE(late[i], 0);
		CHECK_GE(SLACK, late[i]);
		latest = late[i] > latest ? late[i] : latest;
	}
	diag("at most %lld us late", latest / 1000);
	return KSFT_PASS;
}

static proclet_t everywhere(int i)
{
	return on[i % node_count];
}

static proclet_t in_first(int i)
{
	(void)i;
	return on[0];
}

static int many_sleep(void)
{
	TRY(setup());
	TRY(dozers(everywhere));
	for (int i = 0; i < node_count; i++) {
		TRY(see(on[i]));
		CHECK_EQ(seen.ended, seen.started);
	}
	return KSFT_PASS;
}

static int sleepers_move(void)
{
	int ret;

	TRY(setup());
	TRY(mover_start(on[0]));
	ret = dozers(in_first);
	TRY(movers_end());
	TRY(ret);
	CHECK_GE(movers_moved(), 2);
	TRY(see(on[0]));
	CHECK_EQ(seen.started, DOZERS);
	CHECK_EQ(seen.ended, DOZERS);	/* each woke once */
	return KSFT_PASS;
}

/* Moves that fail in the middle do not wake anybody, nor keep anybody asleep. */
static int sleepers_stay(void)
{
	struct doze_args args[2];
	__s64 late[2];
	struct caller *c[3];

	TRY(setup());
	for (int i = 0; i < 2; i++) {
		args[i].start = proclet_clock_ns();
		args[i].ns = i ? 3 * SECOND : 1500 * MS;
		c[i] = caller_start(on[1], doze, &args[i], sizeof(args[i]), &late[i],
				    sizeof(late[i]));
	}
	TRY(wait_for(on[1], 2, 0));
	for (int i = 0; i < 3; i++) {
		c[2] = caller_start(on[1], be_in_libc, NULL, 0, NULL, 0);
		TRY(wait_for(on[1], 3 + i, 0));
		CHECK_EQ(proclet_migrate(on[1], nodes[2], 0), -EBUSY);
		stop_all(on[1]);
		CHECK_EQ(caller_wait(c[2]), 1);
	}
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(caller_wait(c[i]), sizeof(late[i]));
		CHECK_GE(late[i], 0);
		CHECK_GE(SLACK, late[i]);
	}
	return KSFT_PASS;
}

/* Longer than what would make an ordinary operation count as lost. */
static int sleeps_are_not_lost(void)
{
	struct doze_args args = { 0, LONG };
	__s64 late;

	TRY(setup());
	TRY(one_sleep(proclet_clock_ns() + LONG));
	args.start = proclet_clock_ns();
	CHECK_EQ(proclet_call(on[1], doze, &args, sizeof(args), &late, sizeof(late)),
		 sizeof(late));
	CHECK_GE(late, 0);
	return KSFT_PASS;
}

/* A caller that has moved is found by those who have its operation. */
static int moved_caller_is_not_lost(void)
{
	struct call_args args = { 0, hang, 0 };
	struct caller *c;

	TRY(setup());
	args.p = on[2];
	c = caller_start(on[0], call_from, &args, sizeof(args), NULL, 0);
	TRY(wait_for(on[2], 1, 0));
	CHECK_EQ(proclet_migrate(on[0], nodes[1], 0), 0);
	TRY(one_sleep(proclet_clock_ns() + LONG));
	stop_all(on[2]);
	CHECK_EQ(caller_wait(c), 0);
	TRY(see(on[0]));
	CHECK_EQ(seen.result, 0);
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	TAP_TEST(clock_advances),
	TAP_TEST(clock_follows_calls),
	{ "clock_follows_moves", clock_follows_moves, 300 },
	TAP_TEST(sleeps),
	TAP_TEST(many_sleep),
	TAP_TEST(sleepers_move),
	TAP_TEST(sleepers_stay),
	TAP_TEST(sleeps_are_not_lost),
	TAP_TEST(moved_caller_is_not_lost),
};

static int root(int argc, char **argv)
{
	tap_stop = stop_all;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	set_parameters();
	return lproc_main("time", root, argc, argv);
}
