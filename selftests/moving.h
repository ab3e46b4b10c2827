/* SPDX-License-Identifier: GPL-2.0 */
/* A native thread that moves a proclet about, at random intervals, all the time. */
#ifndef PROCLET_SELFTEST_MOVING_H
#define PROCLET_SELFTEST_MOVING_H

#include "tap.h"

/* A slow machine, with a kernel that checks everything, must manage it. */
#define LONG_TEST(fn) { #fn, fn, 600 }

#define MOVES (env_number("PROCLET_TEST_MOVES", 1000) / 20)

struct moving {
	proclet_t p;
	pthread_t thread;
	volatile bool stop;
	volatile unsigned int moves;	/* that did move it */
	volatile unsigned int busy;	/* refused: -EBUSY */
	volatile int err;		/* any other error */
};

static struct moving moving;

static inline void *moving_run(void *unused)
{
	__u64 random = moving.p;

	(void)unused;
	while (!moving.stop && !moving.err) {
		int to = nodes[next_random(&random) % node_count], ret;
		struct proclet_move mv;

		ret = proclet_migrate_stat(moving.p, to, 0, &mv);
		if (ret == -EBUSY)
			moving.busy++;
		else if (ret)
			moving.err = ret;
		else if (mv.blackout_ns)
			moving.moves++;
		usleep(next_random(&random) % 2000);
	}
	return NULL;
}

static inline int moving_start(proclet_t p)
{
	moving = (struct moving) { .p = p };
	CHECK_EQ(pthread_create(&moving.thread, NULL, moving_run, NULL), 0);
	return KSFT_PASS;
}

/* Wait until it has moved so often, unless it cannot be moved. */
static inline void moving_wait(unsigned int moves)
{
	while (moving.moves < moves && !moving.err)
		usleep(1000);
}

static inline int moving_stop(void)
{
	moving.stop = true;
	pthread_join(moving.thread, NULL);
	diag("%u moves, %u times busy", moving.moves, moving.busy);
	CHECK_EQ(moving.err, 0);
	return KSFT_PASS;
}

#endif /* PROCLET_SELFTEST_MOVING_H */
