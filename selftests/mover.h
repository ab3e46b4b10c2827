/* SPDX-License-Identifier: GPL-2.0 */
/* A native thread that moves a test's proclets about until the test ends. */
#ifndef PROCLET_SELFTEST_MOVER_H
#define PROCLET_SELFTEST_MOVER_H

#include "tap.h"

/**
 * struct mover - what it does
 * @ids: proclets to move
 * @count: of them
 * @moved: migrations so far
 * @error: a migration's, that should not be
 */
static struct {
	proclet_t ids[64];
	unsigned int count;
	unsigned int moved;
	int error;
	bool stop;
	pthread_t thread;
} mover;

/* Tests go on at least until so many. */
static inline unsigned int mover_wanted(void)
{
	unsigned int n = env_number("PROCLET_TEST_MOVES", 1000) / 10;

	return n < 10 ? 10 : n;
}

static inline bool mover_enough(void)
{
	return __atomic_load_n(&mover.moved, __ATOMIC_RELAXED) >= mover_wanted() ||
	       __atomic_load_n(&mover.error, __ATOMIC_RELAXED);
}

static inline void *mover_run(void *unused)
{
	__u64 state = 0x5eed;

	(void)unused;
	while (!__atomic_load_n(&mover.stop, __ATOMIC_RELAXED)) {
		proclet_t p = mover.ids[next_random(&state) % mover.count];
		int from = proclet_locate(p), to, ret;

		do {
			to = nodes[next_random(&state) % node_count];
		} while (to == from);
		ret = proclet_migrate(p, to, 0);
		if (!ret)
			__atomic_add_fetch(&mover.moved, 1, __ATOMIC_RELAXED);
		else if (ret != -EBUSY && ret != -ESTALE)	/* it may end meanwhile */
			__atomic_store_n(&mover.error, ret, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Run a part of a test while these proclets move; at least two nodes. */
static inline int moving(const proclet_t *ids, unsigned int count, int (*fn)(void))
{
	int ret;

	memcpy(mover.ids, ids, count * sizeof(*ids));
	mover.count = count;
	mover.moved = 0;
	mover.error = 0;
	mover.stop = false;
	CHECK_EQ(pthread_create(&mover.thread, NULL, mover_run, NULL), 0);
	ret = fn();
	__atomic_store_n(&mover.stop, true, __ATOMIC_RELAXED);
	pthread_join(mover.thread, NULL);
	TRY(ret);
	CHECK_EQ(mover.error, 0);
	CHECK_GE(mover.moved, mover_wanted());
	return KSFT_PASS;
}

#endif /* PROCLET_SELFTEST_MOVER_H */
