// SPDX-License-Identifier: GPL-2.0-or-later
#include <err.h>
#include <errno.h>
#include <linux/proclet.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mover.h"

static void count_done(struct mover *mv, const struct proclet_move *move)
{
	if (mv->done == mv->cap) {
		size_t cap = mv->cap ? mv->cap * 2 : 1024;
		__u64 *p = reallocarray(mv->blackouts, cap, sizeof(*p));

		if (!p)
			return;
		mv->blackouts = p;
		mv->cap = cap;
	}
	mv->blackouts[mv->done++] = move->blackout_ns;
	mv->bytes += move->bytes;
}

static void count_aborted(struct mover *mv, int err)
{
	if (err < 0 || err >= MOVER_ERRNOS)
		err = 0;
	++mv->aborted[err];
}

/* A node other than @here, each with the same probability. */
static int other_node(struct mover *mv, int here)
{
	int i = rand() % (mv->node_count - 1);

	return mv->nodes[i] == here ? mv->nodes[mv->node_count - 1] :
				      mv->nodes[i];
}

static void move_one(struct mover *mv)
{
	proclet_t p = mv->ids[rand() % mv->count];
	struct proclet_move move = { 0 };
	int node;
	int ret;

	node = proclet_locate(p);
	ret = node < 0 ? node :
	      proclet_migrate_stat(p, other_node(mv, node), 0, &move);
	pthread_mutex_lock(&mv->lock);
	if (ret)
		count_aborted(mv, -ret);
	else if (move.blackout_ns)
		count_done(mv, &move);
	pthread_mutex_unlock(&mv->lock);
}

static void add_ms(struct timespec *ts, unsigned int ms)
{
	ts->tv_sec += ms / 1000;
	ts->tv_nsec += ms % 1000 * 1000000L;
	if (ts->tv_nsec >= 1000000000L) {
		ts->tv_nsec -= 1000000000L;
		++ts->tv_sec;
	}
}

static bool before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec :
					a->tv_nsec < b->tv_nsec;
}

/* True: the time has come; false: stop. */
static bool wait_until(struct mover *mv, const struct timespec *when)
{
	bool stop;
	int err = 0;

	pthread_mutex_lock(&mv->lock);
	while (!mv->stop && err != ETIMEDOUT)
		err = pthread_cond_timedwait(&mv->wake, &mv->lock, when);
	stop = mv->stop;
	pthread_mutex_unlock(&mv->lock);
	return !stop;
}

static void *run(void *arg)
{
	struct mover *mv = arg;
	struct timespec now, next;

	clock_gettime(CLOCK_MONOTONIC, &next);
	for (;;) {
		/* One that takes longer than the interval makes no backlog. */
		add_ms(&next, mv->interval_ms);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (before(&next, &now))
			next = now;
		if (!wait_until(mv, &next))
			return NULL;
		move_one(mv);
	}
}

int mover_start(struct mover *mv, unsigned int interval_ms,
		const proclet_t *ids, size_t count, const int *nodes,
		int node_count)
{
	pthread_condattr_t attr;
	int err;

	memset(mv, 0, sizeof(*mv));
	if (!interval_ms)
		return 0;
	if (node_count < 2) {
		warnx("there is only one node: nothing will be migrated");
		return 0;
	}
	mv->interval_ms = interval_ms;
	mv->ids = ids;
	mv->count = count;
	mv->nodes = nodes;
	mv->node_count = node_count;
	pthread_mutex_init(&mv->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&mv->wake, &attr);
	pthread_condattr_destroy(&attr);
	err = pthread_create(&mv->thread, NULL, run, mv);
	if (err) {
		mv->count = 0;
		warnx("cannot start the mover: %s", strerror(err));
		return -1;
	}
	return 0;
}

void mover_stop(struct mover *mv)
{
	if (!mv->count)
		return;
	pthread_mutex_lock(&mv->lock);
	mv->stop = true;
	pthread_cond_signal(&mv->wake);
	pthread_mutex_unlock(&mv->lock);
	pthread_join(mv->thread, NULL);
	mv->count = 0;
}

void mover_free(struct mover *mv)
{
	free(mv->blackouts);
	memset(mv, 0, sizeof(*mv));
}
