// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The logical process's clock. Reading it takes two values that belong together
 * only on one node: the whole of it is native code, where no thread is parked.
 */
#include <errno.h>
#include <time.h>

#include "internal.h"

#define NSEC_PER_SEC	1000000000ULL

PUBLIC __u64 proclet_clock_ns(void)
{
	__s64 offset = 0;
	struct timespec ts;

	if (likely(shim.clock))
		offset = READ_ONCE(shim.clock->offset);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec + offset;
}

PUBLIC int proclet_sleep_until(__u64 ns)
{
	struct proclet_op op = { .op = PROCLET_OP_SLEEP, .deadline = ns };

	return ns ? shim_op(&op) : 0;
}

int clock_deadline(const struct timespec *rel, __u64 *deadline)
{
	__u64 now, ns;

	if (rel->tv_sec < 0 || rel->tv_nsec < 0 || rel->tv_nsec >= (long)NSEC_PER_SEC)
		return -EINVAL;
	now = proclet_clock_ns();
	if (__builtin_mul_overflow((__u64)rel->tv_sec, NSEC_PER_SEC, &ns) ||
	    __builtin_add_overflow(ns, (__u64)rel->tv_nsec, &ns) ||
	    __builtin_add_overflow(ns, now, deadline))
		*deadline = ~0ULL;
	return 0;
}
