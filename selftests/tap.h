/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tests in a logical process: the root runs a table of them and reports in
 * TAP. The harness cannot be used, as it runs each test in a child, which is
 * not a member.
 *
 * Arguments of the program are the names of the tests to run; none: all.
 */
#ifndef PROCLET_SELFTEST_TAP_H
#define PROCLET_SELFTEST_TAP_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/proclet.h>
#include <proclet.h>

#include "check.h"
#include "random.h"

/**
 * struct tap_test - a test
 * @name: what it proves
 * @fn: returns KSFT_PASS, KSFT_FAIL or KSFT_SKIP
 * @seconds: it must end within so many; 0: TAP_SECONDS
 */
struct tap_test {
	const char *name;
	int (*fn)(void);
	unsigned int seconds;
};

#define TAP_SECONDS 120
#define TAP_TEST(fn) { #fn, fn, 0 }
/* A slow machine, with a kernel that checks everything, must manage it. */
#define LONG_TEST(fn) { #fn, fn, 600 }

/* How proclets move that are not told how, on each machine that has a member. */
static __attribute__((constructor)) inline void tap_mode(void)
{
	const char *mode = getenv("PROCLET_TEST_MODE");
	FILE *f = mode ? fopen("/sys/module/proclet/parameters/move_mode", "w") : NULL;

	if (f) {
		fputs(mode, f);
		fclose(f);
	}
}

/* A call by a thread of the C library, waited for later. */
struct caller {
	proclet_t p;
	proclet_method_t method;
	const void *in;
	size_t in_len;
	void *out;
	size_t out_cap;
	ssize_t ret;
	bool started;
	pthread_t thread;
};

/* What a test has started and made is ended and destroyed after it. */
static struct caller callers[64];
static proclet_t made[1024];
static unsigned int made_count;
static void (*tap_stop)(proclet_t p);	/* make the methods that run in it end */
static void (*tap_end)(void);		/* end what else has been started */

static inline void *caller_run(void *arg)
{
	struct caller *c = arg;

	c->ret = proclet_call(c->p, c->method, c->in, c->in_len, c->out, c->out_cap);
	return NULL;
}

static inline struct caller *caller_start(proclet_t p, proclet_method_t method,
					  const void *in, size_t in_len,
					  void *out, size_t out_cap)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(callers); i++) {
		struct caller *c = &callers[i];

		if (c->started)
			continue;
		*c = (struct caller) { p, method, in, in_len, out, out_cap, 0, true, 0 };
		if (!pthread_create(&c->thread, NULL, caller_run, c))
			return c;
		c->started = false;
		break;
	}
	ksft_exit_fail_msg("no thread for a caller\n");
	return NULL;
}

static inline ssize_t caller_wait(struct caller *c)
{
	if (c->started)
		pthread_join(c->thread, NULL);
	c->started = false;
	return c->ret;
}

static inline int make(proclet_t *p, int node, size_t capacity, size_t root_size)
{
	struct proclet_attr attr = {
		.capacity = capacity,
		.node = node,
		.root_size = root_size,
	};

	CHECK_EQ(proclet_create(p, &attr), 0);
	if (made_count < ARRAY_SIZE(made))
		made[made_count++] = *p;
	return KSFT_PASS;
}

static inline void tap_cleanup(void)
{
	if (tap_end)
		tap_end();
	tap_end = NULL;
	for (unsigned int i = 0; tap_stop && i < made_count; i++)
		tap_stop(made[i]);
	for (unsigned int i = 0; i < ARRAY_SIZE(callers); i++)
		caller_wait(&callers[i]);
	while (made_count)
		proclet_destroy(made[--made_count]);
}

/* A test that hangs ends the program: nothing may wait for ever. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	const struct tap_test *test;
	unsigned int number;
	struct timespec end;
} tap_watch = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, 0, { 0 } };

static const char *const tap_views[] = {
	"/proc/proclet/lprocs", "/proc/proclet/proclets", "/proc/proclet/threads",
};

/* What the module on this node knows, as text. */
static inline ssize_t tap_look(void *root, const void *in, size_t in_len, void *out,
			       size_t out_cap)
{
	size_t n = 0;

	(void)root;
	(void)in;
	(void)in_len;
	for (unsigned int i = 0; i < ARRAY_SIZE(tap_views); i++) {
		FILE *f = fopen(tap_views[i], "r");

		if (!f)
			continue;
		n += fread((char *)out + n, 1, out_cap - n, f);
		fclose(f);
	}
	return n;
}
PROCLET_METHOD(tap_look);

static inline void tap_look_everywhere(void)
{
	static char text[1 << 20];
	int ids[PROCLET_MAX_NODES], n = lproc_nodes(ids, PROCLET_MAX_NODES);

	for (int i = 0; i < n && i < PROCLET_MAX_NODES; i++) {
		struct proclet_attr attr = { 1 << 20, ids[i], PROCLET_PINNED, 8 };
		ssize_t len = -1;
		proclet_t p;

		if (!proclet_create(&p, &attr))
			len = proclet_call(p, tap_look, NULL, 0, text, sizeof(text));
		diag("node %d:", ids[i]);
		printf("%.*s", (int)(len < 0 ? 0 : len), text);
		fflush(stdout);
	}
}

static inline void *tap_watchdog(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&tap_watch.lock);
	for (;;) {
		unsigned int number = tap_watch.number;

		if (!tap_watch.test) {
			pthread_cond_wait(&tap_watch.changed, &tap_watch.lock);
			continue;
		}
		if (pthread_cond_timedwait(&tap_watch.changed, &tap_watch.lock,
					   &tap_watch.end) == ETIMEDOUT &&
		    tap_watch.test && number == tap_watch.number) {
			printf("not ok %u %s\n", number, tap_watch.test->name);
			printf("Bail out! %s: expected to end in %u s, did not\n",
			       tap_watch.test->name, tap_watch.test->seconds ?: TAP_SECONDS);
			fflush(stdout);
			alarm(10);	/* it may be that nothing can be called any more */
			tap_look_everywhere();
			_exit(KSFT_FAIL);
		}
	}
	return NULL;
}

static inline void tap_watch_test(const struct tap_test *test, unsigned int number)
{
	pthread_mutex_lock(&tap_watch.lock);
	tap_watch.test = test;
	tap_watch.number = number;
	clock_gettime(CLOCK_REALTIME, &tap_watch.end);
	if (test)
		tap_watch.end.tv_sec += test->seconds ?: TAP_SECONDS;
	pthread_cond_signal(&tap_watch.changed);
	pthread_mutex_unlock(&tap_watch.lock);
}

static inline bool tap_selected(const struct tap_test *test, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], test->name))
			return true;
	return argc < 2;
}

static inline int tap_run(const struct tap_test *tests, unsigned int n, int argc, char **argv)
{
	unsigned int planned = 0, number = 0;
	pthread_t watchdog;

	setvbuf(stdout, NULL, _IOLBF, 0);
	ksft_print_header();
	for (unsigned int i = 0; i < n; i++)
		planned += tap_selected(&tests[i], argc, argv);
	ksft_set_plan(planned);
	if (pthread_create(&watchdog, NULL, tap_watchdog, NULL))
		ksft_exit_fail_msg("no thread for the watchdog\n");
	pthread_detach(watchdog);
	for (unsigned int i = 0; i < n; i++) {
		const char *name = tests[i].name;
		int ret;

		if (!tap_selected(&tests[i], argc, argv))
			continue;
		tap_watch_test(&tests[i], ++number);
		ret = tests[i].fn();
		tap_cleanup();
		tap_watch_test(NULL, number);
		if (ret == KSFT_SKIP)
			ksft_test_result_skip("%s\n", name);
		else
			ksft_test_result(ret == KSFT_PASS, "%s\n", name);
	}
	ksft_print_cnts();
	if (planned && ksft_get_xskip_cnt() == (int)planned)
		return KSFT_SKIP;
	return ksft_get_fail_cnt() ? KSFT_FAIL : KSFT_PASS;
}

/* The members' nodes; the root's is first. */
static int nodes[32];
static int node_count;

static inline int tap_nodes(int wanted)
{
	int here = lproc_node();

	node_count = lproc_nodes(nodes, ARRAY_SIZE(nodes));
	if (node_count < wanted)
		SKIP("needs %d nodes, there are %d", wanted, node_count);
	for (int i = 0; i < node_count; i++) {
		if (nodes[i] == here) {
			nodes[i] = nodes[0];
			nodes[0] = here;
		}
	}
	CHECK_EQ(nodes[0], here);
	return KSFT_PASS;
}

static inline __u64 checksum(const void *data, size_t len)
{
	const unsigned char *p = data;
	__u64 sum = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ p[i]) * 0x100000001b3ULL;
	return sum;
}

/* What a method answers that is asked for the checksum of @data. */
static inline ssize_t answer_checksum(const void *data, size_t len, void *out, size_t out_cap)
{
	__u64 sum;

	if (out_cap != sizeof(sum))
		return -EINVAL;
	sum = checksum(data, len);
	memcpy(out, &sum, sizeof(sum));
	return sizeof(sum);
}

#endif /* PROCLET_SELFTEST_TAP_H */
