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

#define BUSY_MAX	20	/* refusals in a round that are not an error */

static struct heap {
	size_t size;
	proclet_t proclet;
} heaps[] = {
	{ .size = 64 * KIB }, { .size = MIB }, { .size = 16 * MIB },
};

static int here, there;

/* Root object of a proclet that is moved. */
struct block {
	__u64 *words;
	__u64 count;
	__u64 seed;
};

static ssize_t rewrite(void *root, const void *in, size_t in_len,
		       void *out, size_t out_cap)
{
	struct block *b = root;
	__u64 size, i;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(size))
		return -EINVAL;
	memcpy(&size, in, sizeof(size));
	if (!b->words) {
		b->words = proclet_malloc(size);
		if (!b->words)
			return -ENOMEM;
		b->count = size / sizeof(*b->words);
	} else {
		for (i = 0; i < b->count; i++)
			if (b->words[i] != b->seed + i)
				return -EBADMSG;
	}
	b->seed += 0x9e3779b97f4a7c15ULL;
	for (i = 0; i < b->count; i++)
		b->words[i] = b->seed + i;
	return 0;
}
PROCLET_METHOD(rewrite);

static int failed(const struct heap *h, const char *what, long err)
{
	char size[24];

	complain("moves: %s of %s: %s", what, size_text(size, h->size), error_text(err));
	return err;
}

static int write_heap(const struct heap *h)
{
	__u64 size = h->size;
	ssize_t err;

	err = proclet_call(h->proclet, rewrite, &size, sizeof(size), NULL, 0);
	if (err == -EBADMSG)
		return failed(h, "wrong bytes after a move in a heap", err);
	return err < 0 ? failed(h, "cannot write a heap", err) : 0;
}

static int moves_begin(const struct options *opt, int node)
{
	struct proclet_attr attr = PROCLET_ATTR_INIT;
	unsigned int i;
	int err;

	(void)opt;
	here = lproc_node();
	there = node;
	for (i = 0; i < ARRAY_SIZE(heaps); i++)
		heaps[i].proclet = 0;
	for (i = 0; i < ARRAY_SIZE(heaps); i++) {
		attr.node = here;
		/* With room for the allocator's own. */
		attr.capacity = heaps[i].size < MIB ? MIB : 2 * heaps[i].size;
		attr.root_size = sizeof(struct block);
		err = proclet_create(&heaps[i].proclet, &attr);
		if (err) {
			heaps[i].proclet = 0;
			return failed(&heaps[i], "cannot create a proclet", err);
		}
		err = write_heap(&heaps[i]);
		if (err)
			return err;
	}
	return 0;
}

static int add_move(struct results *r, const struct heap *h,
		    const struct proclet_move *m, __u64 total)
{
	const struct {
		const char *metric;
		__u64 ns;
	} phases[] = {
		{ "move_prepare", m->prepare_ns }, { "move_freeze", m->freeze_ns },
		{ "move_offer", m->offer_ns }, { "move_pull", m->pull_ns },
		{ "move_commit", m->commit_ns }, { "move_resume", m->resume_ns },
		{ "move_blackout", m->blackout_ns }, { "move_total", total },
	};
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(phases); i++) {
		struct row *row = results_row(r, phases[i].metric, h->size);

		err = row ? samples_add(&row->samples, phases[i].ns) : -ENOSPC;
		if (err)
			return failed(h, "cannot note a move", err);
	}
	return 0;
}

static int measure(struct heap *h, const struct pace *pace, struct results *r)
{
	__u64 start = now_ns(), before, total, n = 0;
	unsigned int busy = 0;
	char size[24];
	int err = 0;

	/* An even number, so that each round begins at home. */
	while (!err && (n % 2 || pace_more(pace, start, n))) {
		struct proclet_move move;

		err = write_heap(h);
		if (err)
			return err;
		memset(&move, 0, sizeof(move));
		before = now_ns();
		err = proclet_migrate_stat(h->proclet, n % 2 ? here : there, 0, &move);
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
		err = add_move(r, h, &move, total);
		n++;
	}
	if (busy)
		complain("moves: %u attempts of %s were refused as busy and repeated",
			 busy, size_text(size, h->size));
	return err ? err : write_heap(h);
}

static int moves_round(const struct pace *pace, struct results *r)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < ARRAY_SIZE(heaps) && !err; i++)
		err = measure(&heaps[i], pace, r);
	return err;
}

static void moves_end(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(heaps); i++)
		if (heaps[i].proclet)
			proclet_destroy(heaps[i].proclet);
}

const struct subject moves_subject = {
	.name = "moves",
	.bit = BENCH_MOVES,
	.begin = moves_begin,
	.round = moves_round,
	.end = moves_end,
};
