/* SPDX-License-Identifier: GPL-2.0 */
/* Proclets on nodes whose clocks begin an hour apart, and methods about time. */
#ifndef PROCLET_SELFTEST_SKEW_H
#define PROCLET_SELFTEST_SKEW_H

#include "mover.h"

#include <fcntl.h>
#include <stdlib.h>

#define MIB ((size_t)1 << 20)
#define MS 1000000ULL
#define SECOND (1000 * MS)
#define PARAMETERS "/sys/module/proclet/parameters/"

/* Later than this is not on time, even in an emulator with everything checked. */
#define SLACK (20 * SECOND)

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

static inline void stop_all(proclet_t p)
{
	proclet_call(p, stop, NULL, 0, NULL, 0);
}

static inline int setup(void)
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

static inline int see(proclet_t p)
{
	CHECK_EQ(proclet_call(p, look, NULL, 0, &seen, sizeof(seen)), sizeof(seen));
	return KSFT_PASS;
}

/* Until so many methods have begun, or ended, there. */
static inline int wait_for(proclet_t p, __u32 started, __u32 ended)
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

static inline void set_parameter(const char *name, const char *value)
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

/* All members do the same, on one machine or several. */
static inline void set_parameters(void)
{
	set_parameter("clock_skew_ms", "0,3600000,60000");
	set_parameter("probe_ms", "1000");
	set_parameter("cancel_ms", "60000");
}

#endif /* PROCLET_SELFTEST_SKEW_H */
