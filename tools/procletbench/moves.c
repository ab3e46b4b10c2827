// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Migration there and back, phase by phase. Before each move every byte of the
 * heap is checked and written anew.
 */
#include <errno.h>
#include <linux/proclet.h>
#include <proclet.h>
#include <string.h>

#include "bench.h"
#include "callee.h"

#define BUSY_MAX	20	/* refusals in a round that are not an error */

/**
 * struct mode - a way to move
 * @name: the rows begin with it
 * @flags: of proclet_migrate()
 * @largest: heap that is moved so
 */
static const struct mode {
	const char *name;
	unsigned int flags;
	size_t largest;
} modes[] = {
	{ "move", PROCLET_MOVE_STOP, 16 * MIB },
	{ "precopy", PROCLET_MOVE_PRECOPY, 16 * MIB },
	{ "postcopy", PROCLET_MOVE_POSTCOPY, 64 * MIB },
};

static struct heap {
	size_t size;
	proclet_t proclet;
} heaps[] = {
	{ .size = 64 * KIB }, { .size = MIB }, { .size = 16 * MIB }, { .size = 64 * MIB },
};

static int here, there;

static int failed(const struct heap *h, const char *what, long err)
{
	char size[24];

	complain("moves: %s of %s: %s", what, size_text(size, h->size), error_text(err));
	return err;
}

static int moves_begin(const struct options *opt, int node)
{
	unsigned int i;
	int err = 0;

	(void)opt;
	here = lproc_node();
	there = node;
	for (i = 0; i < ARRAY_SIZE(heaps); i++)
		heaps[i].proclet = 0;
	for (i = 0; i < ARRAY_SIZE(heaps) && !err; i++)
		err = heap_create("moves", &heaps[i].proclet, here, heaps[i].size);
	return err;
}

static int add_move(struct results *r, const struct mode *mode, const struct heap *h,
		    const struct proclet_move *m, __u64 total)
{
	const struct {
		const char *metric;
		__u64 ns;
	} phases[] = {
		{ "prepare", m->prepare_ns }, { "freeze", m->freeze_ns },
		{ "offer", m->offer_ns }, { "pull", m->pull_ns },
		{ "commit", m->commit_ns }, { "resume", m->resume_ns },
		{ "blackout", m->blackout_ns }, { "total", total },
	};
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(phases); i++) {
		char metric[32];

		snprintf(metric, sizeof(metric), "%s_%s", mode->name, phases[i].metric);
		err = results_add(r, metric, h->size, UNIT_NS, phases[i].ns);
		if (err)
			return failed(h, "cannot note a move", err);
	}
	return 0;
}

static int measure(const struct mode *mode, struct heap *h, const struct pace *pace,
		   struct results *r)
{
	__u64 start = now_ns(), before, total, n = 0;
	unsigned int busy = 0;
	char size[24];
	int err = 0;

	/* An even number, so that each round begins at home. */
	while (!err && (n % 2 || pace_more(pace, start, n))) {
		struct proclet_move move;

		err = heap_write("moves", h->proclet, h->size);
		if (err)
			return err;
		memset(&move, 0, sizeof(move));
		before = now_ns();
		err = proclet_migrate_stat(h->proclet, n % 2 ? here : there, mode->flags,
					   &move);
		total = now_ns() - before;
		if (err == -EBUSY && ++busy < BUSY_MAX) {
			err = 0;
			continue;
		}
		if (err)
			return failed(h, "cannot move a heap", err);
		if (!move.blackout_ns || move.bytes < h->size) {
			complain("moves: a move of %s says blackout %llu ns, %llu bytes",
				 size_text(size, h->size), move.blackout_ns, move.bytes);
			return -EPROTO;
		}
		err = add_move(r, mode, h, &move, total);
		n++;
	}
	if (busy)
		complain("moves: %u attempts of %s were refused as busy and repeated",
			 busy, size_text(size, h->size));
	return err ? err : heap_write("moves", h->proclet, h->size);
}

static int moves_round(const struct pace *pace, struct results *r)
{
	unsigned int m, i;
	int err = 0;

	for (m = 0; m < ARRAY_SIZE(modes); m++)
		for (i = 0; i < ARRAY_SIZE(heaps) && !err; i++)
			if (heaps[i].size <= modes[m].largest)
				err = measure(&modes[m], &heaps[i], pace, r);
	return err;
}

static void moves_end(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(heaps); i++)
		bench_destroy(&heaps[i].proclet);
}

const struct subject moves_subject = {
	.name = "moves",
	.bit = BENCH_MOVES,
	.begin = moves_begin,
	.round = moves_round,
	.end = moves_end,
};
