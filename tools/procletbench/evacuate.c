// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * All of many proclets to the other node, and back, by several threads at a time: how
 * many bytes of their heaps per second, from the first's start to the last's end.
 */
#include <errno.h>
#include <proclet.h>
#include <pthread.h>

#include "bench.h"
#include "callee.h"

#define PROCLETS	256U
#define HEAP		(128 * KIB)
#define MOVERS		8U
#define BUSY_MAX	1000	/* refusals of one proclet */

static proclet_t proclets[PROCLETS];
static int here, there;

/* A move of all. @next: the first that nobody has taken */
struct job {
	const struct pace *pace;
	struct results *results;
	unsigned int next;
	int to;
	int err;
};

static int evacuate_begin(const struct options *opt, int node)
{
	unsigned int i;
	int err = 0;

	(void)opt;
	here = lproc_node();
	there = node;
	for (i = 0; i < PROCLETS; i++)
		proclets[i] = 0;
	for (i = 0; i < PROCLETS && !err; i++)
		err = heap_create("evacuate", &proclets[i], here, HEAP);
	return err;
}

static void *move_some(void *arg)
{
	struct job *job = arg;
	unsigned int i, busy;
	int err = 0;

	while (!err && (i = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < PROCLETS) {
		busy = 0;
		do {
			err = proclet_migrate(proclets[i], job->to, 0);
		} while (err == -EBUSY && ++busy < BUSY_MAX);
	}
	if (err)
		__atomic_store_n(&job->err, err, __ATOMIC_RELAXED);
	return NULL;
}

static int move_all(struct job *job, int to)
{
	pthread_t threads[MOVERS];
	unsigned int n, i;
	int err = 0;

	job->to = to;
	job->next = 0;
	job->err = 0;
	for (n = 0; n < MOVERS && !err; n++)
		err = pthread_create(&threads[n], NULL, move_some, job);
	if (err)
		n--;
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return err ? -err : job->err;
}

static int measure(void *arg)
{
	struct job *job = arg;
	__u64 start = now_ns(), before, n = 0;
	int err = 0;

	/* An even number, so that each round begins at home. */
	while (!err && (n % 2 || n < 2 || (n < job->pace->want &&
					   now_ns() - start < job->pace->limit_ns))) {
		before = now_ns();
		err = move_all(job, n % 2 ? here : there);
		if (!err)
			err = results_add(job->results, "evacuate", HEAP, UNIT_BYTES_PER_SECOND,
					  PROCLETS * HEAP * 1e9 / (now_ns() - before));
		n++;
	}
	if (err)
		complain("evacuate: cannot move %u proclets: %s", PROCLETS, error_text(err));
	return err;
}

static int evacuate_round(const struct pace *pace, struct results *r)
{
	struct job job = { .pace = pace, .results = r };
	struct row *row;
	unsigned int i;
	int err;

	err = bench_native("evacuate", measure, &job);
	for (i = 0; i < PROCLETS && !err; i++)
		err = heap_write("evacuate", proclets[i], HEAP);
	row = results_row(r, "evacuate", HEAP);
	if (row)
		snprintf(row->note, sizeof(row->note), "%u proclets, %u at a time", PROCLETS,
			 MOVERS);
	return err;
}

static void evacuate_end(void)
{
	unsigned int i;

	for (i = 0; i < PROCLETS; i++)
		bench_destroy(&proclets[i]);
}

const struct subject evacuate_subject = {
	.name = "evacuate",
	.bit = BENCH_EVACUATE,
	.begin = evacuate_begin,
	.round = evacuate_round,
	.end = evacuate_end,
};
