// SPDX-License-Identifier: GPL-2.0
/* Calls with a timeout, on nodes whose clocks begin an hour apart. */
#include "command.h"
#include "skew.h"

static ssize_t bump(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return ADD(((struct object *)root)->count, 1);
}
PROCLET_METHOD(bump);

/* Until told to stop. Its thread runs. */
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
	TRY(mover_start(on[n]));
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
	TRY(movers_end());
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
	TRY(mover_start(on[1]));
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
	TRY(movers_end());
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
		TRY(mover_start(on[0]));
		CHECK_EQ(caller_wait(c), 0);
		TRY(movers_end());
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
	TRY(mover_start(on[1]));
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
	TRY(movers_end());
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
	tap_stop = stop_all;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	set_parameters();
	lproc_set_flags(LPROC_SURVIVE);	/* a link is cut */
	return lproc_main("timeout", root, argc, argv);
}
