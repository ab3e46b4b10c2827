// SPDX-License-Identifier: GPL-2.0
/*
 * Members that are killed: the others get errors in bounded time, and their
 * nodes can have members again.
 *
 * On every node, the program is a supervisor that runs one member after another
 * in processes of their own, a logical process for each scenario. On the root's
 * node it reports how they went. A member that does not end is a failure.
 */
#include "supervise.h"
#include "tap.h"

#include <linux/proclet.h>
#include <signal.h>
#include <stdint.h>

#define MIB ((size_t)1 << 20)
#define BOUND SUPERVISE_BOUND	/* seconds in which errors must come */

struct victim {
	volatile __u32 started;
	volatile __u32 stop;
	__u64 *data;
	__u64 words;
};

/* ---- methods ---- */

static ssize_t where(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return lproc_node();
}
PROCLET_METHOD(where);

static ssize_t die(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return kill(getpid(), SIGKILL);
}
PROCLET_METHOD(die);

static ssize_t crash(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	volatile int *nowhere = NULL;

	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	__asm__("" : "+r" (nowhere));
	*nowhere = 1;
	return 0;
}
PROCLET_METHOD(crash);

static ssize_t linger(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct victim *v = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	__atomic_add_fetch(&v->started, 1, __ATOMIC_RELAXED);
	while (!v->stop)
		;
	return 77;
}
PROCLET_METHOD(linger);

static ssize_t started(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return ((struct victim *)root)->started;
}
PROCLET_METHOD(started);

static ssize_t stop(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	((struct victim *)root)->stop = 1;
	return 0;
}
PROCLET_METHOD(stop);

/* Have linger() called in another proclet; its result is ours. */
static ssize_t relay_linger(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	proclet_t p;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(p))
		return -EINVAL;
	memcpy(&p, in, sizeof(p));
	return proclet_call(p, linger, NULL, 0, NULL, 0);
}
PROCLET_METHOD(relay_linger);

static ssize_t relay_where(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	proclet_t p;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(p))
		return -EINVAL;
	memcpy(&p, in, sizeof(p));
	return proclet_call(p, where, NULL, 0, NULL, 0);
}
PROCLET_METHOD(relay_where);

static ssize_t fill(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct victim *v = root;
	__u64 state = 1, sum;

	if (in_len != sizeof(__u64) || out_cap != sizeof(sum))
		return -EINVAL;
	v->words = *(const __u64 *)in / 8;
	v->data = proclet_malloc(v->words * 8);
	if (!v->data)
		return -ENOMEM;
	for (__u64 i = 0; i < v->words; i++)
		v->data[i] = next_random(&state);
	return answer_checksum(v->data, v->words * 8, out, out_cap);
}
PROCLET_METHOD(fill);

static ssize_t check(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct victim *v = root;

	(void)in;
	(void)in_len;
	return answer_checksum(v->data, v->words * 8, out, out_cap);
}
PROCLET_METHOD(check);

/* A child that has the member's file, and outlives it for a while. */
static void *fork_child(void *unused)
{
	pid_t pid = fork();

	(void)unused;
	if (!pid) {
		/* Whoever reads the test's output need not wait for this. */
		close(0);
		close(1);
		close(2);
		alarm(3 * BOUND);
		for (;;)
			pause();
	}
	return (void *)(intptr_t)pid;
}

static ssize_t have_child(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	pthread_t t;
	void *pid;

	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	/* The stack of a method is not in the child. */
	if (pthread_create(&t, NULL, fork_child, NULL))
		return -EAGAIN;
	pthread_join(t, &pid);
	return (intptr_t)pid > 0 ? 0 : -EAGAIN;
}
PROCLET_METHOD(have_child);

/* ---- scenarios, run by the root ---- */

static int victim_node(void)
{
	return nodes[1];
}

static int pinned(proclet_t *p, int node)
{
	struct proclet_attr attr = { MIB, node, PROCLET_PINNED, sizeof(struct victim) };

	CHECK_EQ(proclet_create(p, &attr), 0);
	return KSFT_PASS;
}

static int created(proclet_t *p, int node)
{
	struct proclet_attr attr = { 64 * MIB, node, 0, sizeof(struct victim) };

	CHECK_EQ(proclet_create(p, &attr), 0);
	return KSFT_PASS;
}

static int filled(proclet_t *p, int node, __u64 bytes, __u64 *sum)
{
	TRY(created(p, node));
	CHECK_EQ(proclet_call(*p, fill, &bytes, sizeof(bytes), sum, sizeof(*sum)), sizeof(*sum));
	return KSFT_PASS;
}

static int wait_started(proclet_t p, int n)
{
	ssize_t ret;

	do {
		ret = proclet_call(p, started, NULL, 0, NULL, 0);
		CHECK_GE(ret, 0);
	} while (ret < n);
	return KSFT_PASS;
}

static struct timespec began;

static void begin(void)
{
	clock_gettime(CLOCK_MONOTONIC, &began);
}

static int in_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	CHECK_GE(BOUND, now.tv_sec - began.tv_sec);
	return KSFT_PASS;
}

/* The member on the victim's node is known to be gone. */
static int all_know(proclet_t there)
{
	struct proclet_attr attr = { MIB, victim_node(), 0, 0 };
	struct proclet_stats s;
	proclet_t p, here;
	int ids[32], n;

	begin();
	CHECK_EQ(proclet_call(there, where, NULL, 0, NULL, 0), -EHOSTUNREACH);
	CHECK_EQ(proclet_locate(there), -EHOSTUNREACH);
	CHECK_EQ(proclet_create(&p, &attr), -EHOSTUNREACH);
	CHECK_EQ(lproc_stats(victim_node(), &s), -EHOSTUNREACH);
	CHECK(proclet_destroy(there) < 0);
	CHECK(proclet_migrate(there, nodes[0], 0) < 0);
	n = lproc_nodes(ids, 32);
	CHECK_EQ(n, node_count - 1);
	for (int i = 0; i < n; i++)
		CHECK(ids[i] != victim_node());
	/* Life goes on here, and on the others. */
	for (int i = 0; i < node_count; i++) {
		if (nodes[i] == victim_node())
			continue;
		TRY(created(&here, nodes[i]));
		CHECK_EQ(proclet_call(here, where, NULL, 0, NULL, 0), nodes[i]);
		CHECK_EQ(proclet_migrate(here, victim_node(), 0), -EHOSTUNREACH);
		CHECK_EQ(proclet_migrate(here, nodes[0], 0), 0);
		CHECK_EQ(proclet_call(here, where, NULL, 0, NULL, 0), nodes[0]);
		CHECK_EQ(proclet_destroy(here), 0);
	}
	return in_time();
}

static int during_calls(void)
{
	proclet_t v, killer, relay[32], back, w;
	struct caller *c[8], *r[32], *b;
	int n = 0;

	TRY(tap_nodes(2));
	TRY(created(&v, victim_node()));
	TRY(pinned(&killer, victim_node()));
	for (int i = 0; i < 4; i++)
		c[n++] = caller_start(v, linger, NULL, 0, NULL, 0);
	for (int i = 0; i < node_count; i++) {
		TRY(created(&relay[i], nodes[i]));
		r[i] = caller_start(relay[i], relay_linger, &v, sizeof(v), NULL, 0);
	}
	/* And one from there, whose callee outlives it. */
	TRY(created(&w, nodes[0]));
	TRY(created(&back, victim_node()));
	b = caller_start(back, relay_linger, &w, sizeof(w), NULL, 0);
	TRY(wait_started(v, n + node_count));
	TRY(wait_started(w, 1));

	begin();
	CHECK_EQ(proclet_call(killer, die, NULL, 0, NULL, 0), -ECONNRESET);
	for (int i = 0; i < n; i++)
		CHECK_EQ(caller_wait(c[i]), -ECONNRESET);
	for (int i = 0; i < node_count; i++)
		CHECK_EQ(caller_wait(r[i]), -ECONNRESET);
	CHECK_EQ(caller_wait(b), -ECONNRESET);
	TRY(in_time());
	TRY(all_know(v));
	/* The callee that nobody waits for any more is as good as any. */
	CHECK_EQ(proclet_call(w, started, NULL, 0, NULL, 0), 1);
	CHECK_EQ(proclet_call(w, stop, NULL, 0, NULL, 0), 0);
	CHECK_EQ(proclet_call(w, linger, NULL, 0, NULL, 0), 77);
	CHECK_EQ(proclet_destroy(w), 0);
	return KSFT_PASS;
}

/* Proclets that go to and fro until a move fails. */
struct shuttle {
	pthread_t thread;
	proclet_t p;
	__u64 sum;
	int ret;
};
static struct shuttle shuttles[8];
static unsigned int moves;

static void *shuttle_run(void *arg)
{
	struct shuttle *s = arg;

	for (int i = 1; !s->ret; i++) {
		s->ret = proclet_migrate(s->p, nodes[i % 2], 0);
		if (!s->ret)
			__atomic_add_fetch(&moves, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/*
 * After the loss of a node: a proclet is whole, or it is not. In between it may
 * be in doubt, but not for long.
 */
static int whole_or_lost(const struct shuttle *s, int *whole)
{
	struct timespec ms = { 0, 1000000 };
	__u64 sum = 0;
	ssize_t ret;
	int node;

	for (;;) {
		node = proclet_locate(s->p);
		ret = proclet_call(s->p, check, NULL, 0, &sum, sizeof(sum));
		if (node < 0 || ret >= 0)
			break;
		if (in_time() != KSFT_PASS) {
			CHECK_EQ(ret, sizeof(sum));
			break;
		}
		nanosleep(&ms, NULL);
	}
	if (node < 0) {
		CHECK(node == -EHOSTUNREACH || node == -ESTALE);
		CHECK(proclet_call(s->p, where, NULL, 0, NULL, 0) < 0);
		return KSFT_PASS;
	}
	CHECK(node != victim_node());
	CHECK_EQ(ret, sizeof(sum));
	CHECK_EQ(sum, s->sum);
	++*whole;
	return KSFT_PASS;
}

/* Killed when about @after migrations to and from it have been made. */
static int during_moves(unsigned int after, __u64 bytes)
{
	proclet_t killer, v;
	int whole = 0;

	TRY(tap_nodes(2));
	TRY(created(&v, victim_node()));
	TRY(pinned(&killer, victim_node()));
	for (size_t i = 0; i < ARRAY_SIZE(shuttles); i++)
		TRY(filled(&shuttles[i].p, nodes[0], bytes, &shuttles[i].sum));
	for (size_t i = 0; i < ARRAY_SIZE(shuttles); i++)
		CHECK_EQ(pthread_create(&shuttles[i].thread, NULL, shuttle_run, &shuttles[i]), 0);
	while (__atomic_load_n(&moves, __ATOMIC_RELAXED) < after)
		CHECK_EQ(proclet_call(v, where, NULL, 0, NULL, 0), victim_node());
	begin();
	CHECK_EQ(proclet_call(killer, die, NULL, 0, NULL, 0), -ECONNRESET);
	for (size_t i = 0; i < ARRAY_SIZE(shuttles); i++)
		pthread_join(shuttles[i].thread, NULL);
	TRY(in_time());
	for (size_t i = 0; i < ARRAY_SIZE(shuttles); i++)
		TRY(whole_or_lost(&shuttles[i], &whole));
	diag("%u moves; %d of %zu proclets survived", moves, whole, ARRAY_SIZE(shuttles));
	TRY(all_know(v));
	return in_time();
}

static int during_first_moves(void)
{
	return during_moves(0, 8 * MIB);
}

static int during_many_moves(void)
{
	return during_moves(40, 256 << 10);
}

static int during_large_moves(void)
{
	return during_moves(3, 16 * MIB);
}

/* At home on the lost node, but elsewhere at that time. */
static int away_from_home(void)
{
	struct shuttle s = { .ret = 0 };
	proclet_t killer, v, relay = 0;
	struct caller *c;
	int whole = 0;
	ssize_t ret;

	TRY(tap_nodes(2));
	TRY(created(&v, victim_node()));
	TRY(pinned(&killer, victim_node()));
	TRY(filled(&s.p, victim_node(), MIB, &s.sum));
	CHECK_EQ(proclet_migrate(s.p, nodes[0], 0), 0);
	c = caller_start(s.p, linger, NULL, 0, NULL, 0);
	TRY(wait_started(s.p, 1));
	if (node_count > 2) {
		TRY(created(&relay, nodes[2]));
		CHECK_EQ(proclet_call(relay, relay_where, &s.p, sizeof(s.p), NULL, 0), nodes[0]);
	}
	begin();
	CHECK_EQ(proclet_call(killer, die, NULL, 0, NULL, 0), -ECONNRESET);
	TRY(in_time());
	CHECK_EQ(proclet_call(s.p, where, NULL, 0, NULL, 0), nodes[0]);
	TRY(whole_or_lost(&s, &whole));
	CHECK_EQ(whole, 1);
	if (relay) {
		ret = proclet_call(relay, relay_where, &s.p, sizeof(s.p), NULL, 0);
		CHECK(ret == nodes[0] || ret == -EHOSTUNREACH);
	}
	CHECK_EQ(proclet_call(s.p, stop, NULL, 0, NULL, 0), 0);
	CHECK_EQ(caller_wait(c), 77);
	TRY(all_know(v));
	return in_time();
}

static void *create_run(void *arg)
{
	struct proclet_attr attr = { MIB, victim_node(), 0, 4096 };
	int *ret = arg;
	proclet_t p;

	do {
		*ret = proclet_create(&p, &attr);
		if (!*ret) {
			__atomic_add_fetch(&moves, 1, __ATOMIC_RELAXED);
			*ret = proclet_destroy(p);
		}
	} while (!*ret);
	return NULL;
}

static int during_creations(void)
{
	proclet_t killer, v;
	static int rets[4];
	pthread_t t[4];

	TRY(tap_nodes(2));
	TRY(created(&v, victim_node()));
	TRY(pinned(&killer, victim_node()));
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, create_run, &rets[i]), 0);
	while (__atomic_load_n(&moves, __ATOMIC_RELAXED) < 50)
		CHECK_EQ(proclet_call(v, where, NULL, 0, NULL, 0), victim_node());
	begin();
	CHECK_EQ(proclet_call(killer, die, NULL, 0, NULL, 0), -ECONNRESET);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		CHECK(rets[i] == -ECONNRESET || rets[i] == -EHOSTUNREACH);
	}
	TRY(in_time());
	return all_know(v);
}

/* A method that faults ends its member as kill does. */
static int crashed(void)
{
	proclet_t v;

	TRY(tap_nodes(2));
	TRY(created(&v, victim_node()));
	begin();
	CHECK_EQ(proclet_call(v, crash, NULL, 0, NULL, 0), -ECONNRESET);
	TRY(in_time());
	return all_know(v);
}

/* The member's file is still open in its child. */
static int with_a_child(void)
{
	proclet_t killer, v;
	struct caller *c;

	TRY(tap_nodes(2));
	TRY(created(&v, victim_node()));
	TRY(pinned(&killer, victim_node()));
	CHECK_EQ(proclet_call(killer, have_child, NULL, 0, NULL, 0), 0);
	c = caller_start(v, linger, NULL, 0, NULL, 0);
	TRY(wait_started(v, 1));
	begin();
	CHECK_EQ(proclet_call(killer, die, NULL, 0, NULL, 0), -ECONNRESET);
	CHECK_EQ(caller_wait(c), -ECONNRESET);
	TRY(in_time());
	return all_know(v);
}

/* The root itself: the others end, which the next scenario needs. */
static int the_root(void)
{
	proclet_t v, w;

	TRY(tap_nodes(2));
	TRY(created(&v, victim_node()));
	TRY(created(&w, nodes[0]));
	caller_start(v, relay_linger, &w, sizeof(w), NULL, 0);
	caller_start(v, linger, NULL, 0, NULL, 0);
	TRY(wait_started(w, 1));
	TRY(wait_started(v, 1));
	kill(getpid(), SIGKILL);
	return KSFT_FAIL;
}

static int all_are_back(void)
{
	proclet_t p;

	TRY(tap_nodes(2));
	CHECK_EQ(node_count, env_number("PROCLET_MEMBERS", 0));
	for (int i = 0; i < node_count; i++) {
		TRY(created(&p, nodes[i]));
		CHECK_EQ(proclet_call(p, where, NULL, 0, NULL, 0), nodes[i]);
		CHECK_EQ(proclet_migrate(p, nodes[(i + 1) % node_count], 0), 0);
		CHECK_EQ(proclet_destroy(p), 0);
	}
	return KSFT_PASS;
}

static const struct scenario {
	const char *name;
	int (*fn)(void);
	bool root_dies;
} scenarios[] = {
	{ "during_calls", during_calls, false },
	{ "during_first_moves", during_first_moves, false },
	{ "during_many_moves", during_many_moves, false },
	{ "during_large_moves", during_large_moves, false },
	{ "during_creations", during_creations, false },
	{ "away_from_home", away_from_home, false },
	{ "crashed", crashed, false },
	{ "with_a_child", with_a_child, false },
	{ "the_root", the_root, true },
	{ "all_are_back", all_are_back, false },
};

/* ---- members and their supervisor ---- */

#define LIMIT 60	/* seconds for a scenario */

static const struct scenario *chosen;

static int root(int argc, char **argv)
{
	int ret;

	(void)argc;
	(void)argv;
	setvbuf(stdout, NULL, _IOLBF, 0);
	ret = chosen->fn();
	fflush(stdout);
	/* Threads that still wait for something would keep exit() from ending. */
	if (ret != KSFT_PASS && ret != KSFT_SKIP)
		_exit(ret);
	return ret;
}

static pid_t start_member(const char *program, const struct scenario *s, __u64 run)
{
	char text[32];
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid)
		return pid;
	snprintf(text, sizeof(text), "%016llx", (unsigned long long)run);
	setenv("PROCLET_RUN", text, 1);
	execl(program, program, "member", s->name, NULL);
	_exit(127);
}

static const char *scenario_name(size_t i)
{
	return scenarios[i].name;
}

static int run_scenario(const char *program, size_t i, __u64 run, bool is_root)
{
	const struct scenario *s = &scenarios[i];
	pid_t pid = start_member(program, s, run);
	int status = supervise(pid, is_root ? LIMIT : 2 * LIMIT);

	if (status == -2) {
		printf("Bail out! %s: the member cannot be killed\n", s->name);
		return KSFT_FAIL;
	}
	if (!is_root) {
		if (status == -1)
			fprintf(stderr, "%s: the member did not end\n", s->name);
		return 0;
	}
	if (status == -1)
		diag("%s: expected to end in %d s, did not", s->name, LIMIT);
	if (status > 0 && WIFEXITED(status) && WEXITSTATUS(status) == KSFT_SKIP)
		ksft_test_result_skip("%s\n", s->name);
	else if (s->root_dies)
		ksft_test_result(status == SIGKILL, "%s\n", s->name);
	else
		ksft_test_result(!status, "%s\n", s->name);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct supervised all = {
		scenario_name, run_scenario, ARRAY_SIZE(scenarios)
	};
	unsigned int node = env_number("PROCLET_NODE", 1);

	if (argc > 2 && !strcmp(argv[1], "member")) {
		for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++)
			if (!strcmp(argv[2], scenarios[i].name))
				chosen = &scenarios[i];
		lproc_set_flags(LPROC_SURVIVE);
		return chosen ? lproc_main("kill", root, argc, argv) & 0xff : KSFT_FAIL;
	}
	return supervise_all(&all, node == env_number("PROCLET_ROOT", node), argc, argv);
}
