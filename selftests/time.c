// SPDX-License-Identifier: GPL-2.0
/*
 * The logical process's clock, sleeping, and calls with a timeout, on nodes whose
 * clocks begin an hour apart.
 */
#include "tap.h"

#include <fcntl.h>
#include <stdlib.h>

#include <linux/proclet.h>

#define MIB ((size_t)1 << 20)
#define MS 1000000ULL
#define SECOND (1000 * MS)
#define PARAMETERS "/sys/module/proclet/parameters/"

/* Later than this is not on time, even in an emulator with everything checked. */
#define SLACK (20 * SECOND)

/* An operation that nobody has is lost earlier: probe_ms is 1000. */
#define LONG (8 * SECOND)

/**
 * struct object - root object of the proclets
 * @started: methods that have begun
 * @ended: and ended
 * @stop: they are to end
 * @count: of bump()
 * @reads: of the clock
 * @back: times that it went back
 * @last: what it said
 * @result: of proclet_call_timeout()
 * @took: how long that was, in ns
 */
struct object {
	__u32 started;
	__u32 ended;
	__u32 stop;
	__u64 count;
	__u64 reads;
	__u64 back;
	__u64 last;
	__s64 result;
	__u64 took;
};

static proclet_t on[32];	/* one for each node, index as in nodes[] */
static proclet_t helper[32];	/* the same, pinned */

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define ADD(x, n) __atomic_add_fetch(&(x), n, __ATOMIC_RELAXED)

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

static ssize_t bump(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return ADD(((struct object *)root)->count, 1);
}
PROCLET_METHOD(bump);

static ssize_t look(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	if (out_cap != sizeof(struct object))
		return -EINVAL;
	memcpy(out, root, out_cap);
	return out_cap;
}
PROCLET_METHOD(look);

static ssize_t stop(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	__atomic_store_n(&((struct object *)root)->stop, 1, __ATOMIC_RELAXED);
	return 0;
}
PROCLET_METHOD(stop);

/* Until told to stop. Its thread mostly waits. */
static ssize_t hang(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct object *o = root;

	(void)in;
	(void)in_len;
	memset(out, 0xee, out_cap);
	ADD(o->started, 1);
	while (!LOAD(o->stop))
		proclet_sleep_until(proclet_clock_ns() + 2 * MS);
	ADD(o->ended, 1);
	return out_cap;
}
PROCLET_METHOD(hang);

/* The same, and its thread runs. */
static ssize_t spin(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct object *o = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	ADD(o->started, 1);
	while (!LOAD(o->stop))
		;
	ADD(o->ended, 1);
	return 0;
}
PROCLET_METHOD(spin);

static __u32 *busy_until;

static int compare_late(const void *a, const void *b)
{
	while (!LOAD(*busy_until))
		;
	return *(const int *)a - *(const int *)b;
}

/* Until told to stop, with the C library beneath: it cannot be parked. */
static ssize_t be_in_libc(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct object *o = root;
	int numbers[2] = { 2, 1 };

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	o->stop = 0;
	busy_until = &o->stop;
	ADD(o->started, 1);
	qsort(numbers, 2, sizeof(numbers[0]), compare_late);
	return numbers[0];
}
PROCLET_METHOD(be_in_libc);

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

/* Call a method from here. */
struct call_args {
	proclet_t p;
	proclet_method_t method;
	__u64 timeout;	/* ns; 0: none */
};

static ssize_t call_from(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct object *o = root;
	struct call_args a;
	struct timespec rel;
	__u64 began;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(a))
		return -EINVAL;
	memcpy(&a, in, sizeof(a));
	rel.tv_sec = a.timeout / SECOND;
	rel.tv_nsec = a.timeout % SECOND;
	ADD(o->started, 1);
	began = proclet_clock_ns();
	o->result = proclet_call_timeout(a.p, a.method, NULL, 0, NULL, 0,
					 a.timeout ? &rel : NULL);
	o->took = proclet_clock_ns() - began;
	return 0;
}
PROCLET_METHOD(call_from);

static ssize_t command(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return system(in) ? -EIO : 0;
}
PROCLET_METHOD(command);

static ssize_t pid(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return getpid();
}
PROCLET_METHOD(pid);

static void stop_all(proclet_t p)
{
	proclet_call(p, stop, NULL, 0, NULL, 0);
}

static int setup(void)
{
	struct proclet_attr attr = { MIB, 0, PROCLET_PINNED, sizeof(struct object) };

	TRY(tap_nodes(3));
	for (int i = 0; i < node_count; i++) {
		TRY(make(&on[i], nodes[i], MIB, sizeof(struct object)));
		attr.node = nodes[i];
		CHECK_EQ(proclet_create(&helper[i], &attr), 0);
		made[made_count++] = helper[i];
	}
	return KSFT_PASS;
}

static struct object seen;

static int see(proclet_t p)
{
	CHECK_EQ(proclet_call(p, look, NULL, 0, &seen, sizeof(seen)), sizeof(seen));
	return KSFT_PASS;
}

/* Until so many methods have begun, or ended, there. */
static int wait_for(proclet_t p, __u32 started, __u32 ended)
{
	__u64 began = proclet_clock_ns();

	for (;;) {
		TRY(see(p));
		if (seen.started >= started && seen.ended >= ended)
			return KSFT_PASS;
		CHECK_GE(began + 20 * SECOND, proclet_clock_ns());
		proclet_sleep_until(proclet_clock_ns() + MS);
	}
}

/* Call with a timeout from the root's thread, or from a thread of the C library. */
struct timed {
	proclet_t p;
	proclet_method_t method;
	const void *in;
	size_t in_len;
	__u64 timeout, took;
	ssize_t ret;
};

static void *timed_run(void *arg)
{
	struct timed *t = arg;
	struct timespec rel = { t->timeout / SECOND, t->timeout % SECOND };
	__u64 began = proclet_clock_ns();

	t->ret = proclet_call_timeout(t->p, t->method, t->in, t->in_len, NULL, 0, &rel);
	t->took = proclet_clock_ns() - began;
	return NULL;
}

static void timed_native(struct timed *t)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, timed_run, t))
		ksft_exit_fail_msg("no thread\n");
	pthread_join(thread, NULL);
}

/* A thread that moves a proclet round all nodes. */
static struct {
	proclet_t p;
	unsigned int moves, failed;
	int err;	/* the last */
	bool enough, runs;
	pthread_t thread;
} mover;

static void *keep_moving(void *unused)
{
	(void)unused;
	for (int i = 1; !LOAD(mover.enough); i++) {
		int err = proclet_migrate(mover.p, nodes[i % node_count], 0);

		if (!err) {
			ADD(mover.moves, 1);
			continue;
		}
		mover.failed++;
		mover.err = err;
	}
	return NULL;
}

static void mover_start(proclet_t p)
{
	memset(&mover, 0, sizeof(mover));
	mover.p = p;
	mover.runs = true;
	if (pthread_create(&mover.thread, NULL, keep_moving, NULL))
		ksft_exit_fail_msg("no thread\n");
}

static void mover_end(void)
{
	if (!mover.runs)
		return;
	mover.runs = false;
	__atomic_store_n(&mover.enough, true, __ATOMIC_RELAXED);
	pthread_join(mover.thread, NULL);
	diag("%u moves, %u failed (%d)", mover.moves, mover.failed, mover.err);
}

/* At least so many moves, then go on with the test. */
static int mover_wait(unsigned int moves)
{
	__u64 began = proclet_clock_ns();

	while (LOAD(mover.moves) < moves) {
		CHECK_GE(began + 250 * SECOND, proclet_clock_ns());
		proclet_sleep_until(proclet_clock_ns() + 5 * MS);
	}
	return KSFT_PASS;
}

/* After a test, also one that has failed. */
static void end_all(proclet_t p)
{
	mover_end();
	stop_all(p);
}

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
	mover_start(on[0]);
	TRY(mover_wait(moves));
	mover_end();
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
	mover_start(on[0]);
	ret = dozers(in_first);
	mover_end();
	TRY(ret);
	CHECK_GE(mover.moves, 2);
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

static int timeouts_are_checked(void)
{
	static const struct timespec bad[] = {
		{ -1, 0 }, { 0, -1 }, { 0, SECOND }, { 1, -SECOND },
	};
	static const struct timespec zero = { 0, 0 }, ever = { (1ULL << 63) - 1, 999999999 };

	TRY(setup());
	for (int n = 0; n < 2; n++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
			CHECK_EQ(proclet_call_timeout(on[n], bump, NULL, 0, NULL, 0, &bad[i]),
				 -EINVAL);
		CHECK_EQ(proclet_call_timeout(on[n], bump, NULL, 0, NULL, 0, &zero), -ETIMEDOUT);
		CHECK_EQ(proclet_call_timeout(on[n], bump, NULL, 0, NULL, 0, &ever), 1);
		CHECK_EQ(proclet_call_timeout(on[n], bump, NULL, 0, NULL, 0, NULL), 2);
		CHECK_EQ(proclet_call_timeout(on[n], bump, NULL, MIB + 1, NULL, 0, &ever),
			 -EMSGSIZE);
		CHECK_EQ(proclet_call_timeout(0, bump, NULL, 0, NULL, 0, &ever), -ESTALE);
	}
	return KSFT_PASS;
}

/* Lines of a node's table of threads. */
static int threads_of(int n)
{
	static char text[MIB];
	bool in_threads = false;
	int lines = 0;
	ssize_t len;

	len = proclet_call(helper[n], tap_look, NULL, 0, text, sizeof(text) - 1);
	text[len < 0 ? 0 : len] = 0;
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		if (strstr(line, "sent_to"))
			in_threads = true;
		else if (in_threads && atoi(line) == nodes[n])
			lines++;
	}
	return lines;
}

/* As many as there were, soon. */
static int threads_are_back(const int *before)
{
	__u64 began = proclet_clock_ns();
	int now;

	for (int n = 0; n < node_count; n++) {
		while ((now = threads_of(n)) != before[n]) {
			if (proclet_clock_ns() > began + 10 * SECOND)
				CHECK_EQ(now, before[n]);
			proclet_sleep_until(proclet_clock_ns() + 10 * MS);
		}
	}
	return KSFT_PASS;
}

static const char *way(bool native)
{
	return native ? "from a native thread" : "from the root's thread";
}

/* A method that has begun: perhaps executed, and known at once. */
static int begun(proclet_method_t method)
{
	struct proclet_stats before[3], after;
	int threads[32];

	TRY(setup());
	for (int n = 0; n < node_count; n++)
		threads[n] = threads_of(n);
	for (int n = 0; n < 3; n++)
		CHECK_EQ(lproc_stats(nodes[n], &before[n]), 0);
	for (int n = 0; n < 2; n++) {
		for (int native = 0; native < 2; native++) {
			struct timed t = { on[n], method, NULL, 0, 300 * MS, 0, 0 };
			proclet_t p;

			TRY(make(&p, nodes[n], MIB, sizeof(struct object)));
			t.p = p;
			if (native)
				timed_native(&t);
			else
				timed_run(&t);
			diag("%d, %s: %llu ms", n, way(native), t.took / MS);
			CHECK_EQ(t.ret, -ECONNRESET);
			CHECK_GE(t.took, t.timeout);
			CHECK_GE(t.timeout + SLACK, t.took);	/* cancel_ms is 60000 */
			TRY(see(p));
			CHECK_EQ(seen.started, 1);
			CHECK_EQ(seen.ended, 0);
			stop_all(p);
			TRY(wait_for(p, 1, 1));
			/* The late answer is nobody else's. */
			for (int i = 1; i <= 20; i++)
				CHECK_EQ(proclet_call(p, bump, NULL, 0, NULL, 0), i);
			CHECK_EQ(proclet_destroy(p), 0);
			made_count--;
		}
	}
	TRY(threads_are_back(threads));
	for (int n = 0; n < 3; n++) {
		CHECK_EQ(lproc_stats(nodes[n], &after), 0);
		CHECK_EQ(after.proclets, before[n].proclets);
	}
	return KSFT_PASS;
}

static int timeout_while_it_waits(void)
{
	return begun(hang);
}

static int timeout_while_it_runs(void)
{
	return begun(spin);
}

/* Executed: all that succeeded, none that certainly was not, perhaps the others. */
struct tally {
	__u64 done, not, perhaps, other;
};

static void tally_add(struct tally *y, ssize_t ret)
{
	if (ret >= 0)
		y->done++;
	else if (ret == -ETIMEDOUT)
		y->not++;
	else if (ret == -ECONNRESET)
		y->perhaps++;
	else
		y->other++;
}

static int tally_check(const struct tally *y, proclet_t p)
{
	__u64 last = 0, again = 0;

	/* None is under way any more. */
	for (int i = 0; i < 100 && again < 20; i++) {
		TRY(see(p));
		again = seen.count == last ? again + 1 : 0;
		last = seen.count;
		proclet_sleep_until(proclet_clock_ns() + 5 * MS);
	}
	diag("%llu done, %llu not, %llu perhaps; %llu executed", y->done, y->not, y->perhaps,
	     last);
	CHECK_EQ(y->other, 0);
	CHECK_GE(last, y->done);
	CHECK_GE(y->done + y->perhaps, last);
	return KSFT_PASS;
}

/* The callee's member does nothing for a while. */
static int timeout_in_stopped_member(void)
{
	char text[128];
	struct tally y = { 0, 0, 0, 0 };
	__u64 began;
	ssize_t id;

	TRY(setup());
	id = proclet_call(helper[1], pid, NULL, 0, NULL, 0);
	CHECK_GE(id, 1);
	snprintf(text, sizeof(text), "(sleep 1; kill -STOP %zd; sleep 4; kill -CONT %zd) >/dev/null 2>&1 &",
		 id, id);
	CHECK_EQ(proclet_call(helper[1], command, text, strlen(text) + 1, NULL, 0), 0);
	began = proclet_clock_ns();
	for (unsigned int i = 0; y.not < 6; i++) {
		struct timed t = { on[1], bump, NULL, 0, 200 * MS, 0, 0 };

		CHECK_GE(began + 30 * SECOND, proclet_clock_ns());
		if (i % 2)
			timed_native(&t);
		else
			timed_run(&t);
		CHECK_GE(t.timeout + SLACK, t.took);
		tally_add(&y, t.ret);
		if (t.ret >= 0)
			proclet_sleep_until(proclet_clock_ns() + 20 * MS);
	}
	/* It goes on. */
	TRY(tally_check(&y, on[1]));
	return KSFT_PASS;
}

static void set_parameter(const char *name, const char *value)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		perror(path);
	if (fd >= 0)
		close(fd);
}

/*
 * Who has the call is given no time to say whether it has begun: the callers do not
 * wait for that, and what is said too late does no harm.
 */
static int timeout_without_answer(void)
{
	struct tally y = { 0, 0, 0, 0 };
	char text[128];
	__u64 began;
	ssize_t id;

	TRY(setup());
	id = proclet_call(helper[1], pid, NULL, 0, NULL, 0);
	CHECK_GE(id, 1);
	snprintf(text, sizeof(text), "(sleep 1; kill -STOP %zd; sleep 5; kill -CONT %zd) >/dev/null 2>&1 &",
		 id, id);
	CHECK_EQ(proclet_call(helper[1], command, text, strlen(text) + 1, NULL, 0), 0);
	set_parameter("cancel_ms", "0");
	began = proclet_clock_ns();
	/* No more of its workers than this can have stopped within the method. */
	for (unsigned int i = 0; y.perhaps < 6; i++) {
		struct timed t = { on[1], bump, NULL, 0, 50 * MS, 0, 0 };

		if (i % 2)
			timed_native(&t);
		else
			timed_run(&t);
		tally_add(&y, t.ret);
		if (t.took > t.timeout + SLACK || proclet_clock_ns() > began + 30 * SECOND)
			break;
		if (t.ret >= 0)
			proclet_sleep_until(proclet_clock_ns() + 20 * MS);
	}
	set_parameter("cancel_ms", "60000");
	CHECK_GE(y.perhaps, 6);
	TRY(tally_check(&y, on[1]));
	return KSFT_PASS;
}

/* The callee is being frozen, which takes long. */
static int frozen(int n)
{
	char text[32];
	__u64 began;
	struct tally y = { 0, 0, 0, 0 };
	struct caller *c;
	static char table[MIB];
	ssize_t len;

	snprintf(text, sizeof(text), "%016llx freezing", on[n]);
	c = caller_start(on[n], be_in_libc, NULL, 0, NULL, 0);
	TRY(wait_for(on[n], 1, 0));
	mover_start(on[n]);
	began = proclet_clock_ns();
	do {
		CHECK_GE(began + 20 * SECOND, proclet_clock_ns());
		len = proclet_call(helper[n], tap_look, NULL, 0, table, sizeof(table) - 1);
		table[len < 0 ? 0 : len] = 0;
	} while (!strstr(table, text));
	for (int i = 0; i < 4; i++) {
		struct timed t = { on[n], bump, NULL, 0, 50 * MS, 0, 0 };

		if (i % 2)
			timed_native(&t);
		else
			timed_run(&t);
		tally_add(&y, t.ret);
	}
	mover_end();
	stop_all(on[n]);
	CHECK_EQ(caller_wait(c), 1);
	CHECK_GE(y.not, 1);
	return tally_check(&y, on[n]);
}

static int timeout_while_it_freezes(void)
{
	TRY(setup());
	TRY(frozen(0));
	TRY(frozen(1));
	return KSFT_PASS;
}

/* Callee, and then caller, on their way from node to node. */
static int timeout_of_moving_callee(void)
{
	struct timed t;
	int ret = KSFT_PASS;

	TRY(setup());
	mover_start(on[1]);
	for (int i = 0; i < 6 && ret == KSFT_PASS; i++) {
		t = (struct timed){ on[1], hang, NULL, 0, 200 * MS, 0, 0 };
		if (i % 2)
			timed_native(&t);
		else
			timed_run(&t);
		if (t.ret != -ECONNRESET && t.ret != -ETIMEDOUT) {
			diag("saw %zd", t.ret);
			ret = KSFT_FAIL;
		}
		if (t.took < t.timeout || t.took > t.timeout + SLACK) {
			diag("took %llu ms", t.took / MS);
			ret = KSFT_FAIL;
		}
	}
	mover_end();
	return ret;
}

static int timeout_of_moving_caller(void)
{
	struct call_args args = { 0, hang, 400 * MS };
	struct caller *c;

	TRY(setup());
	for (int i = 0; i < 4; i++) {
		args.p = on[1 + i % 2];
		c = caller_start(on[0], call_from, &args, sizeof(args), NULL, 0);
		TRY(wait_for(on[0], 1 + i, 0));
		mover_start(on[0]);
		CHECK_EQ(caller_wait(c), 0);
		mover_end();
		TRY(see(on[0]));
		diag("%lld after %llu ms", seen.result, seen.took / MS);
		CHECK_EQ(seen.result, -ECONNRESET);
		CHECK_GE(seen.took, args.timeout);
		CHECK_GE(args.timeout + SLACK, seen.took);
	}
	return KSFT_PASS;
}

/* Timeouts at any moment of calls of all sizes, to a proclet that moves. */
static struct racer {
	pthread_t thread;
	struct tally y;
	__u64 state;
	bool started;
} racers[4];
static unsigned char racer_bytes[MIB];

static void *race(void *arg)
{
	struct racer *r = arg;

	for (unsigned int i = env_number("PROCLET_TEST_RACES", 400); i; i--) {
		__u64 x = next_random(&r->state);
		static const size_t sizes[] = { 0, 100, 5000, 200000 };
		struct timed t = { on[1], bump, racer_bytes, sizes[x % 4], 0, 0, 0 };

		t.timeout = (x >> 8) % (x & 4 ? 300000 : 20 * MS);
		timed_run(&t);
		tally_add(&r->y, t.ret);
	}
	return NULL;
}

static int timeouts_at_any_moment(void)
{
	struct tally sum = { 0, 0, 0, 0 };
	int threads[32];

	TRY(setup());
	for (int n = 0; n < node_count; n++)
		threads[n] = threads_of(n);
	mover_start(on[1]);
	for (unsigned int i = 0; i < ARRAY_SIZE(racers); i++) {
		racers[i].state = i + 1;
		memset(&racers[i].y, 0, sizeof(racers[i].y));
		if (pthread_create(&racers[i].thread, NULL, race, &racers[i]))
			ksft_exit_fail_msg("no thread\n");
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(racers); i++) {
		pthread_join(racers[i].thread, NULL);
		sum.done += racers[i].y.done;
		sum.not += racers[i].y.not;
		sum.perhaps += racers[i].y.perhaps;
		sum.other += racers[i].y.other;
	}
	mover_end();
	CHECK_GE(sum.done, 1);
	CHECK_GE(sum.not, 1);
	TRY(tally_check(&sum, on[1]));
	return threads_are_back(threads);
}

/* Neither answer comes: it is perhaps executed, known by the timeout or the link's loss. */
static int timeout_over_cut_link(void)
{
	const char *cut = "/bin/ip neigh replace 10.77.0.%d lladdr 02:00:00:00:00:fe nud permanent dev eth0 && echo 500 >" PARAMETERS "cancel_ms";
	const char *mend = "/bin/ip neigh del 10.77.0.%d dev eth0; echo 60000 >" PARAMETERS "cancel_ms";
	struct call_args args = { 0, hang, SECOND };
	struct caller *c;
	char text[256];
	__u64 began;
	int ret;

	TRY(setup());
	if (proclet_call(helper[1], command, "test -e /sys/class/infiniband/rxe0", 35, NULL, 0))
		SKIP("no soft-RoCE here");
	args.p = on[2];
	c = caller_start(on[1], call_from, &args, sizeof(args), NULL, 0);
	TRY(wait_for(on[2], 1, 0));
	snprintf(text, sizeof(text), cut, nodes[2]);
	CHECK_EQ(proclet_call(helper[1], command, text, strlen(text) + 1, NULL, 0), 0);
	ret = caller_wait(c);
	snprintf(text, sizeof(text), mend, nodes[2]);
	CHECK_EQ(proclet_call(helper[1], command, text, strlen(text) + 1, NULL, 0), 0);
	CHECK_EQ(ret, 0);
	TRY(see(on[1]));
	diag("%lld after %llu ms", seen.result, seen.took / MS);
	CHECK_EQ(seen.result, -ECONNRESET);
	CHECK_GE(args.timeout + SLACK, seen.took);
	/* The others go on, and in the end this link, too. */
	began = proclet_clock_ns();
	args.method = bump;
	args.timeout = 5 * SECOND;
	do {
		CHECK_GE(began + 60 * SECOND, proclet_clock_ns());
		CHECK_EQ(proclet_call(on[1], call_from, &args, sizeof(args), NULL, 0), 0);
		TRY(see(on[1]));
	} while (seen.result < 0);
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
	TAP_TEST(timeouts_are_checked),
	TAP_TEST(timeout_while_it_waits),
	TAP_TEST(timeout_while_it_runs),
	TAP_TEST(timeout_in_stopped_member),
	TAP_TEST(timeout_without_answer),
	TAP_TEST(timeout_while_it_freezes),
	TAP_TEST(timeout_of_moving_callee),
	TAP_TEST(timeout_of_moving_caller),
	{ "timeouts_at_any_moment", timeouts_at_any_moment, 300 },
	{ "timeout_over_cut_link", timeout_over_cut_link, 200 },
};

static int root(int argc, char **argv)
{
	tap_stop = end_all;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	/* All members do the same, on one machine or several. */
	set_parameter("clock_skew_ms", "0,3600000,60000");
	set_parameter("probe_ms", "1000");
	set_parameter("cancel_ms", "60000");
	lproc_set_flags(LPROC_SURVIVE);	/* a link is cut */
	return lproc_main("time", root, argc, argv);
}
