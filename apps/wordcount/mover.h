/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mover: migrates a random one of some proclets to a random other node,
 * again and again.
 */
#ifndef _WORDCOUNT_MOVER_H
#define _WORDCOUNT_MOVER_H

#include <linux/types.h>
#include <pthread.h>
#include <proclet.h>
#include <stdbool.h>
#include <stddef.h>

#define MOVER_ERRNOS	256

/**
 * struct mover - its orders and what has come of them
 * @interval_ms: time between two migrations' starts
 * @ids: the proclets
 * @count: how many
 * @nodes: where they may be
 * @node_count: how many
 * @thread: runs it
 * @lock: protects what follows
 * @wake: @stop has been set
 * @stop: end
 * @blackouts: in ns, of the migrations that were completed
 * @done: how many these are
 * @cap: how many fit into @blackouts
 * @bytes: of pages moved
 * @aborted: migrations that were given up, by errno value
 */
struct mover {
	unsigned int interval_ms;
	const proclet_t *ids;
	size_t count;
	const int *nodes;
	int node_count;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	__u64 *blackouts;
	size_t done;
	size_t cap;
	__u64 bytes;
	unsigned long aborted[MOVER_ERRNOS];
};

/* mover_start() - returns 0, or -1 after a message */
int mover_start(struct mover *mv, unsigned int interval_ms,
		const proclet_t *ids, size_t count, const int *nodes,
		int node_count);

/* mover_stop() - and wait until it has ended; the results remain */
void mover_stop(struct mover *mv);

void mover_free(struct mover *mv);

#endif /* _WORDCOUNT_MOVER_H */
