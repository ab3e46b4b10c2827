/* SPDX-License-Identifier: GPL-2.0 */
/* Numbers that look random and are the same everywhere, without the C library. */
#ifndef PROCLET_SELFTEST_RANDOM_H
#define PROCLET_SELFTEST_RANDOM_H

#include <linux/types.h>

static inline __u64 next_random(__u64 *state)
{
	__u64 x = *state ?: 0x9e3779b97f4a7c15ULL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return x;
}

#endif /* PROCLET_SELFTEST_RANDOM_H */
