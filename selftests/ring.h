/* SPDX-License-Identifier: GPL-2.0 */
/* Rings in tests, and methods that they call. */
#ifndef PROCLET_SELFTEST_RING_H
#define PROCLET_SELFTEST_RING_H

#include "tap.h"

#include <liburing.h>
#include <proclet_uring.h>

#ifndef MIB
#define MIB ((size_t)1 << 20)
#endif
#define BOUND 30	/* seconds in which what must come has to */

struct object {
	volatile __u32 started;
	volatile __u32 stop;
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

/* Until it is told to end. */
static ssize_t linger(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	/* Hundreds may be at it, and leave a slow machine time for the rest. */
	const struct timespec pause = { 0, 200000000 };
	struct object *o = root;

	(void)in;
	(void)in_len;
	__atomic_add_fetch(&o->started, 1, __ATOMIC_RELAXED);
	while (!o->stop)
		nanosleep(&pause, NULL);
	memset(out, 'x', out_cap);
	return 77;
}
PROCLET_METHOD(linger);

static ssize_t started(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return ((struct object *)root)->started;
}
PROCLET_METHOD(started);

static ssize_t stop(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	((struct object *)root)->stop = 1;
	return 0;
}
PROCLET_METHOD(stop);

/* ---- rings ---- */

static inline int ring_open(struct io_uring *r, unsigned int entries, unsigned int flags)
{
	CHECK_EQ(io_uring_queue_init(entries, r, flags), 0);
	return KSFT_PASS;
}

static inline struct io_uring_sqe *entry(struct io_uring *r, __u64 user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(r);

	if (!sqe)
		ksft_exit_fail_msg("the submission queue is full\n");
	sqe->user_data = user_data;
	return sqe;
}

/* The next result; its user_data. */
static inline int reap(struct io_uring *r, __u64 *user_data, int *res)
{
	struct __kernel_timespec limit = { .tv_sec = BOUND };
	struct io_uring_cqe *cqe;

	CHECK_EQ(io_uring_wait_cqe_timeout(r, &cqe, &limit), 0);
	*user_data = cqe->user_data;
	*res = cqe->res;
	io_uring_cqe_seen(r, cqe);
	return KSFT_PASS;
}

/* Submit, and the result must be that of @user_data. */
static inline int result_of(struct io_uring *r, __u64 user_data, int *res)
{
	__u64 seen;

	CHECK_GE(io_uring_submit(r), 0);
	TRY(reap(r, &seen, res));
	CHECK_EQ(seen, user_data);
	return KSFT_PASS;
}

#define CHECK_RESULT(r, user_data, expected) do {			\
	int res_;							\
									\
	TRY(result_of(r, user_data, &res_));				\
	CHECK_EQ(res_, expected);					\
} while (0)

/* Commands of this program that wait in the module here. */
static inline int waiting(const char *name)
{
	char line[256], lproc[64], state[16];
	FILE *f = fopen("/proc/proclet/threads", "r");
	unsigned int node;
	int n = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%u %63s %*s %*s %15s", &node, lproc, state) == 3 &&
		    node == (unsigned int)lproc_node() && !strcmp(lproc, name) &&
		    (!strcmp(state, "uring") || !strcmp(state, "event")))
			n++;
	if (f)
		fclose(f);
	return f ? n : -errno;
}

static struct timespec began;

static inline void begin(void)
{
	clock_gettime(CLOCK_MONOTONIC, &began);
}

static inline int in_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	CHECK_GE(BOUND, now.tv_sec - began.tv_sec);
	return KSFT_PASS;
}

static inline int none_waits(const char *name)
{
	const struct timespec ms = { 0, 1000000 };

	begin();
	while (waiting(name)) {
		TRY(in_time());
		nanosleep(&ms, NULL);
	}
	return KSFT_PASS;
}

static inline int wait_started(proclet_t p, int n)
{
	ssize_t ret;

	do {
		ret = proclet_call(p, started, NULL, 0, NULL, 0);
		CHECK_GE(ret, 0);
	} while (ret < n);
	return KSFT_PASS;
}

static inline int object(proclet_t *p, int node)
{
	return make(p, node, MIB, sizeof(struct object));
}

/* Tests are in threads of the C library, whom this is for. */
static int (*native_fn)(void);

static inline void *native_run(void *ret)
{
	*(int *)ret = native_fn();
	return NULL;
}

static inline int native(int (*fn)(void))
{
	int ret = KSFT_FAIL;
	pthread_t t;

	TRY(tap_nodes(2));
	native_fn = fn;
	CHECK_EQ(pthread_create(&t, NULL, native_run, &ret), 0);
	pthread_join(t, NULL);
	return ret;
}

#define NATIVE_TEST(fn) static int fn(void) { return native(do_##fn); }

static inline void stop_methods(proclet_t p)
{
	proclet_call(p, stop, NULL, 0, NULL, 0);
}

#endif /* PROCLET_SELFTEST_RING_H */
