// SPDX-License-Identifier: GPL-2.0
/*
 * io_uring: what ends before its calls: who cancels them, rings, threads, processes.
 * The processes are logical processes of their own.
 */
#include "ring.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>

extern char **environ;

/* ---- cancellation ---- */

static int cancel_on(struct io_uring *r, int node)
{
	char out[64] = "";
	proclet_t p;
	__u64 i;
	int res;

	TRY(object(&p, node));
	proclet_prep_call(entry(r, 1), p, linger, NULL, 0, out, sizeof(out));
	CHECK_EQ(io_uring_submit(r), 1);
	TRY(wait_started(p, 1));
	CHECK_EQ(waiting("uring_end"), 1);

	/* That of io_uring does not reach it. */
	io_uring_prep_cancel64(entry(r, 2), 1, 0);
	io_uring_submit(r);
	TRY(reap(r, &i, &res));
	CHECK(res == -ENOENT || res == -EALREADY);
	CHECK_EQ(waiting("uring_end"), 1);

	proclet_prep_cancel(entry(r, 3), 9);
	CHECK_RESULT(r, 3, -ENOENT);
	proclet_prep_cancel(entry(r, 4), 1);
	CHECK_EQ(io_uring_submit(r), 1);
	for (int n = 0; n < 2; n++) {
		TRY(reap(r, &i, &res));
		CHECK(i == 1 || i == 4);
		CHECK_EQ(res, i == 1 ? -ECANCELED : 0);
	}
	CHECK_EQ(waiting("uring_end"), 0);
	proclet_prep_cancel(entry(r, 5), 1);
	CHECK_RESULT(r, 5, -ENOENT);

	/* Its answer comes, and finds nobody: that of the call after it does. */
	CHECK_EQ(proclet_call(p, stop, NULL, 0, NULL, 0), 0);
	proclet_prep_call(entry(r, 6), p, linger, NULL, 0, NULL, 0);
	CHECK_RESULT(r, 6, 77);
	for (size_t k = 0; k < sizeof(out); k++)
		CHECK_EQ(out[k], 0);
	CHECK_EQ(io_uring_cq_ready(r), 0);
	return KSFT_PASS;
}

static int do_cancel(void)
{
	struct io_uring r, other;
	struct proclet_event e;

	TRY(ring_open(&r, 8, IORING_SETUP_SQE128));
	TRY(cancel_on(&r, nodes[0]));
	TRY(cancel_on(&r, nodes[1]));

	/* Another ring's are not found. */
	TRY(ring_open(&other, 8, 0));
	proclet_prep_event(entry(&r, 1), 0, &e);
	CHECK_RESULT(&r, 1, 0);
	proclet_prep_event(entry(&r, 1), e.seq, &e);
	CHECK_EQ(io_uring_submit(&r), 1);
	proclet_prep_cancel(entry(&other, 2), 1);
	CHECK_RESULT(&other, 2, -ENOENT);
	proclet_prep_cancel(entry(&r, 1), 1);
	CHECK_RESULT(&r, 1, 0);
	CHECK_RESULT(&r, 1, -ECANCELED);
	io_uring_queue_exit(&other);
	io_uring_queue_exit(&r);
	return KSFT_PASS;
}

/* That of io_uring reaches what one of its workers waits for. */
static int cancel_async_on(struct io_uring *r, int node)
{
	struct io_uring_sqe *sqe;
	struct proclet_event e;
	proclet_t p;
	__u64 i;
	int res;

	TRY(object(&p, node));
	sqe = entry(r, 1);
	proclet_prep_call(sqe, p, linger, NULL, 0, NULL, 0);
	sqe->flags |= IOSQE_ASYNC;
	proclet_prep_event(entry(r, 2), 0, &e);
	CHECK_EQ(io_uring_submit(r), 2);
	TRY(reap(r, &i, &res));
	CHECK_EQ(i, 2);
	CHECK_EQ(res, 0);
	sqe = entry(r, 3);
	proclet_prep_event(sqe, e.seq, &e);
	sqe->flags |= IOSQE_ASYNC;
	CHECK_EQ(io_uring_submit(r), 1);
	TRY(wait_started(p, 1));
	while (waiting("uring_end") != 2)
		sched_yield();
	for (int k = 1; k <= 3; k += 2) {
		int call = 0, cancel = 0;

		io_uring_prep_cancel64(entry(r, 4), k, 0);
		CHECK_EQ(io_uring_submit(r), 1);
		for (int n = 0; n < 2; n++) {
			TRY(reap(r, &i, &res));
			CHECK(i == 4 || i == (__u64)k);
			*(i == 4 ? &cancel : &call) = res;
		}
		CHECK_EQ(call, -ECANCELED);
		CHECK_EQ(cancel, -EALREADY);
	}
	CHECK_EQ(waiting("uring_end"), 0);
	/* One that is not cancelled has its result. */
	CHECK_EQ(proclet_call(p, stop, NULL, 0, NULL, 0), 0);
	sqe = entry(r, 5);
	proclet_prep_call(sqe, p, linger, NULL, 0, NULL, 0);
	sqe->flags |= IOSQE_ASYNC;
	CHECK_RESULT(r, 5, 77);
	return KSFT_PASS;
}

static int do_cancel_async(void)
{
	struct io_uring r;

	TRY(ring_open(&r, 8, IORING_SETUP_SQE128));
	TRY(cancel_async_on(&r, nodes[0]));
	TRY(cancel_async_on(&r, nodes[1]));
	io_uring_queue_exit(&r);
	return KSFT_PASS;
}

/* Which of the two results comes first is not said. */
static int do_cancel_race(void)
{
	unsigned int counts[2] = {};
	struct io_uring r;
	proclet_t p[2];
	int res;
	__u64 i;

	TRY(object(&p[0], nodes[0]));
	TRY(object(&p[1], nodes[1]));
	TRY(ring_open(&r, 8, IORING_SETUP_SQE128));
	for (unsigned int n = 0; n < env_number("PROCLET_TEST_RACES", 1000); n++) {
		int call = 0, cancel = 0;

		proclet_prep_call(entry(&r, 1), p[n % 2], where, NULL, 0, NULL, 0);
		CHECK_EQ(io_uring_submit(&r), 1);
		for (unsigned int k = 0; k < n % 16; k++)
			sched_yield();
		proclet_prep_cancel(entry(&r, 2), 1);
		CHECK_EQ(io_uring_submit(&r), 1);
		for (int k = 0; k < 2; k++) {
			TRY(reap(&r, &i, &res));
			*(i == 1 ? &call : &cancel) = res;
		}
		if (!cancel)
			CHECK_EQ(call, -ECANCELED);
		else
			CHECK_EQ(cancel, -ENOENT);
		if (cancel)
			CHECK_EQ(call, nodes[n % 2]);
		counts[!cancel]++;
	}
	diag("%u answered, %u canceled", counts[0], counts[1]);
	CHECK_EQ(waiting("uring_end"), 0);
	io_uring_queue_exit(&r);
	return KSFT_PASS;
}
NATIVE_TEST(cancel)
NATIVE_TEST(cancel_async)
NATIVE_TEST(cancel_race)

/* ---- another process ---- */

/* The member's file belongs to another process. */
static int do_other_process(void)
{
	struct proclet_event e;
	struct io_uring r;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		int res = 0;
		__u64 i;

		if (io_uring_queue_init(4, &r, 0))
			_exit(1);
		proclet_prep_event(entry(&r, 1), 0, &e);
		io_uring_submit(&r);
		if (reap(&r, &i, &res) != KSFT_PASS)
			_exit(2);
		_exit(res == -EPERM ? 0 : 3);
	}
	CHECK_GE(pid, 1);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	return KSFT_PASS;
}
NATIVE_TEST(other_process)

/* ---- rings and threads that end before their calls ---- */

/* Calls that do not end here or there, and an event. */
static int fly(struct io_uring *r, proclet_t *p, int n, int calls, char *out, size_t out_cap,
	       struct proclet_event *e)
{
	proclet_prep_event(entry(r, 1000), 0, e);
	CHECK_RESULT(r, 1000, 0);
	for (int i = 0; i < calls; i++)
		proclet_prep_call(entry(r, i), p[i % n], linger, NULL, 0, out, out_cap);
	proclet_prep_event(entry(r, 1000), e->seq, e);
	/* With SQPOLL it counts again what was not taken before. */
	CHECK_GE(io_uring_submit(r), calls + 1);
	for (int i = 0; i < n; i++)
		TRY(wait_started(p[i], (calls + n - 1 - i) / n));
	return KSFT_PASS;
}

static int do_ring_closed(void)
{
	static struct proclet_event e;
	struct io_uring r;
	char out[8] = "";
	proclet_t p[2];

	for (int round = 0; round < 3; round++) {
		TRY(object(&p[0], nodes[0]));
		TRY(object(&p[1], nodes[1]));
		TRY(ring_open(&r, 32, IORING_SETUP_SQE128 |
			      (round == 1 ? IORING_SETUP_SQPOLL : 0) |
			      (round == 2 ? IORING_SETUP_SINGLE_ISSUER |
					    IORING_SETUP_DEFER_TASKRUN : 0)));
		TRY(fly(&r, p, 2, 16, out, sizeof(out), &e));
		CHECK_EQ(waiting("uring_end"), 17);
		begin();
		io_uring_queue_exit(&r);
		TRY(in_time());
		TRY(none_waits("uring_end"));
		/* Late answers change nothing. */
		CHECK_EQ(proclet_call(p[0], stop, NULL, 0, NULL, 0), 0);
		CHECK_EQ(proclet_call(p[1], stop, NULL, 0, NULL, 0), 0);
		CHECK_EQ(proclet_call(p[0], linger, NULL, 0, NULL, 0), 77);
		CHECK_EQ(proclet_call(p[1], linger, NULL, 0, NULL, 0), 77);
		CHECK_EQ(out[0], 0);
	}
	return KSFT_PASS;
}
NATIVE_TEST(ring_closed)

static struct {
	struct io_uring r;
	proclet_t p;
	char out[8];
} left;

static void *submit_and_leave(void *unused)
{
	(void)unused;
	proclet_prep_call(entry(&left.r, 1), left.p, linger, NULL, 0, NULL, 0);
	proclet_prep_call(entry(&left.r, 2), left.p, linger, NULL, 0, left.out,
			  sizeof(left.out));
	return (void *)(intptr_t)io_uring_submit(&left.r);
}

/* Results of a thread that has ended: the number comes, but nobody to write bytes. */
static int do_thread_ended(void)
{
	pthread_t t;
	void *n;
	__u64 i;
	int res;

	TRY(object(&left.p, nodes[1]));
	TRY(ring_open(&left.r, 8, IORING_SETUP_SQE128));
	CHECK_EQ(pthread_create(&t, NULL, submit_and_leave, NULL), 0);
	CHECK_EQ(pthread_join(t, &n), 0);
	CHECK_EQ((intptr_t)n, 2);
	TRY(wait_started(left.p, 2));
	CHECK_EQ(proclet_call(left.p, stop, NULL, 0, NULL, 0), 0);
	for (int k = 0; k < 2; k++) {
		TRY(reap(&left.r, &i, &res));
		CHECK_EQ(res, i == 1 ? 77 : -ECANCELED);
	}
	CHECK_EQ(left.out[0], 0);
	io_uring_queue_exit(&left.r);
	return KSFT_PASS;
}
NATIVE_TEST(thread_ended)

/* ---- processes that end before their calls ---- */

static const char *ending;

/* The root of another logical process: only its own node. */
static void *end_run(void *unused)
{
	static struct proclet_event e;
	static char out[4096];
	struct io_uring r;
	proclet_t p;
	pid_t pid;
	char *c;

	(void)unused;
	if (tap_nodes(1) || object(&p, nodes[0]) ||
	    ring_open(&r, 32, IORING_SETUP_SQE128 |
		      (strstr(ending, "sqpoll") ? IORING_SETUP_SQPOLL : 0)) ||
	    fly(&r, &p, 1, 16, out, sizeof(out), &e))
		_exit(90);
	if (waiting("ends") != 17)
		_exit(91);
	c = getenv("URING_TEST_PIPE");
	if (strstr(ending, "child")) {
		/* It has the ring and the member's file until the pipe is closed. */
		pid = fork();
		if (!pid) {
			char byte;

			_exit(read(atoi(c), &byte, 1) != 0);
		}
		if (pid < 0)
			_exit(92);
	}
	if (strstr(ending, "kill"))
		kill(getpid(), SIGKILL);
	if (strstr(ending, "exec"))
		execl("/proc/self/exe", "uring_end", "ends", "nothing", NULL);
	if (strstr(ending, "close_exit"))
		io_uring_queue_exit(&r);
	_exit(strstr(ending, "exit") ? 0 : 93);
}

static int end_root(int argc, char **argv)
{
	pthread_t t;

	(void)argc;
	(void)argv;
	if (pthread_create(&t, NULL, end_run, NULL))
		_exit(94);
	pthread_join(t, NULL);
	return 95;
}

/* The module has a member of it here. */
static bool has_member(const char *name)
{
	FILE *f = fopen("/proc/proclet/lprocs", "r");
	char line[256], lproc[64];
	bool found = false;
	unsigned int node;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%u %63s", &node, lproc) == 2 &&
		    node == (unsigned int)lproc_node() && !strcmp(lproc, name))
			found = true;
	if (f)
		fclose(f);
	return found;
}

static int ends(const char *how, int expected)
{
	const struct timespec ms = { 0, 1000000 };
	const char *const argv[] = { "uring_end", "ends", how, NULL };
	char number[16], *env[64];
	int pipes[2], status, n = 0;
	pid_t pid, done;

	CHECK_EQ(pipe(pipes), 0);
	fcntl(pipes[1], F_SETFD, FD_CLOEXEC);
	snprintf(number, sizeof(number), "%d", pipes[0]);
	setenv("URING_TEST_PIPE", number, 1);
	for (char **e = environ; *e && n < 62; e++)
		if (strncmp(*e, "PROCLET_MEMBERS=", 16) && strncmp(*e, "PROCLET_ROOT=", 13))
			env[n++] = *e;
	env[n] = NULL;
	CHECK_EQ(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, (char **)argv, env), 0);
	begin();
	while (!(done = waitpid(pid, &status, WNOHANG))) {
		if (in_time() != KSFT_PASS) {
			kill(pid, SIGKILL);
			CHECK_EQ(done, pid);
		}
		nanosleep(&ms, NULL);
	}
	CHECK_EQ(done, pid);
	CHECK_EQ(status, expected);
	/* The member has ended for the others, whoever has its file. */
	begin();
	while (waiting("ends")) {
		TRY(in_time());
		nanosleep(&ms, NULL);
	}
	close(pipes[0]);
	close(pipes[1]);
	begin();
	while (has_member("ends")) {
		TRY(in_time());
		nanosleep(&ms, NULL);
	}
	return KSFT_PASS;
}

static int do_process_exits(void)
{
	TRY(ends("exit", 0));
	return ends("close_exit", 0);
}
NATIVE_TEST(process_exits)

static int do_process_is_killed(void)
{
	TRY(ends("kill", SIGKILL));
	return ends("kill_sqpoll", SIGKILL);
}
NATIVE_TEST(process_is_killed)

static int do_process_executes(void)
{
	TRY(ends("exec", 0));
	return ends("exec_sqpoll", 0);
}
NATIVE_TEST(process_executes)

static int do_ring_in_child(void)
{
	TRY(ends("exit_child", 0));
	return ends("kill_child", SIGKILL);
}
NATIVE_TEST(ring_in_child)

/* ---- a member that is killed; must be the last ---- */

static struct {
	proclet_t p;
	pthread_t t;
} victim;

static void *victim_run(void *unused)
{
	static struct io_uring r;
	static struct proclet_event e;

	(void)unused;
	if (ring_open(&r, 32, IORING_SETUP_SQE128) || fly(&r, &victim.p, 1, 16, NULL, 0, &e))
		return NULL;
	kill(getpid(), SIGKILL);
	return NULL;
}

/* In: a proclet to call. Its member is killed when it has been called. */
static ssize_t call_and_die(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(victim.p))
		return -EINVAL;
	memcpy(&victim.p, in, sizeof(victim.p));
	proclet_pin();
	if (pthread_create(&victim.t, NULL, victim_run, NULL))
		return -EAGAIN;
	pthread_join(victim.t, NULL);
	return -EPROTO;
}
PROCLET_METHOD(call_and_die);

static int do_member_is_killed(void)
{
	int n = 16, dead = nodes[node_count - 1], res;
	proclet_t here, there, killer;
	struct proclet_event e, e2;
	bool told = false;
	struct io_uring r;
	__u64 i;

	TRY(object(&here, nodes[0]));
	TRY(object(&there, dead));
	TRY(object(&killer, dead));
	TRY(ring_open(&r, 32, IORING_SETUP_SQE128));
	TRY(fly(&r, &there, 1, n, NULL, 0, &e));
	proclet_prep_call(entry(&r, n), killer, call_and_die, &here, sizeof(here), NULL, 0);
	CHECK_EQ(io_uring_submit(&r), 1);
	for (int k = 0; k < n + 2; k++) {
		TRY(reap(&r, &i, &res));
		if (i != 1000) {
			CHECK_EQ(res, -ECONNRESET);
			continue;
		}
		CHECK_EQ(res, PROCLET_EVENT_LEFT);
		CHECK_EQ(e.node, dead);
		told = true;
	}
	CHECK(told);
	proclet_prep_call(entry(&r, 1), there, where, NULL, 0, NULL, 0);
	CHECK_RESULT(&r, 1, -EHOSTUNREACH);
	/* Its calls run on here, for nobody. */
	CHECK_EQ(proclet_call(here, started, NULL, 0, NULL, 0), n);
	CHECK_EQ(proclet_call(here, stop, NULL, 0, NULL, 0), 0);
	proclet_prep_call(entry(&r, 2), here, linger, NULL, 0, NULL, 0);
	CHECK_RESULT(&r, 2, 77);
	proclet_prep_event(entry(&r, 3), 0, &e2);
	CHECK_RESULT(&r, 3, 0);
	CHECK_EQ(e2.seq, e.seq);
	io_uring_queue_exit(&r);
	return KSFT_PASS;
}
NATIVE_TEST(member_is_killed)

static const struct tap_test tests[] = {
	TAP_TEST(cancel),
	TAP_TEST(cancel_async),
	TAP_TEST(cancel_race),
	TAP_TEST(other_process),
	TAP_TEST(ring_closed),
	TAP_TEST(thread_ended),
	TAP_TEST(process_exits),
	TAP_TEST(process_is_killed),
	TAP_TEST(process_executes),
	TAP_TEST(ring_in_child),
	TAP_TEST(member_is_killed),
};

static int root(int argc, char **argv)
{
	tap_stop = stop_methods;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "ends")) {
		ending = argv[2];
		if (!strcmp(ending, "nothing"))
			return 0;
		return lproc_main("ends", end_root, argc, argv) & 0xff;
	}
	lproc_set_flags(LPROC_SURVIVE);	/* a member is killed */
	return lproc_main("uring_end", root, argc, argv) & 0xff;
}
