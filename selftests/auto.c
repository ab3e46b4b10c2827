// SPDX-License-Identifier: GPL-2.0
/*
 * How a proclet moves if nobody says how: by the size of its heap, by how much it
 * writes, by the module's parameter; and not by post-copy if it is not to.
 */
#include "command.h"
#include "tap.h"

#include <linux/proclet.h>
#include <proclet.h>

#define MIB	((__u64)1 << 20)
#define PAGE	4096
#define BYTES	(2 * MIB)
#define WRONG	~(__u64)0

struct writer {
	__u64 *words;
	__u64 rounds;
	__u32 stop;
};

static ssize_t fill(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct writer *w = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	w->words = proclet_malloc(BYTES);
	if (!w->words)
		return -ENOMEM;
	memset(w->words, 0, BYTES);
	return 0;
}
PROCLET_METHOD(fill);

/* Writes one page after another until it is told not to; no count is lost on the way. */
static ssize_t scribble(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct writer *w = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		for (__u64 i = 0; i < BYTES / PAGE; i++) {
			if (w->words[i * PAGE / 8]++ == w->rounds)
				continue;
			__atomic_store_n(&w->rounds, WRONG, __ATOMIC_RELAXED);
			return -EILSEQ;
		}
		__atomic_store_n(&w->rounds, w->rounds + 1, __ATOMIC_RELAXED);
	}
	return 0;
}
PROCLET_METHOD(scribble);

static int made_as(proclet_t *p, unsigned int flags)
{
	struct proclet_attr attr = { 4 * BYTES, nodes[0], flags, sizeof(struct writer) };

	CHECK_EQ(proclet_create(p, &attr), 0);
	CHECK_EQ(proclet_call(*p, fill, NULL, 0, NULL, 0), 0);
	return KSFT_PASS;
}

static int moves_so(proclet_t p, int node, unsigned int flags, __u32 mode, __u32 why)
{
	struct proclet_move move = {};

	CHECK_EQ(proclet_migrate_stat(p, node, flags, &move), 0);
	CHECK_EQ(proclet_locate(p), node);
	CHECK_EQ(move.mode, mode);
	CHECK_EQ(move.why, why);
	return KSFT_PASS;
}

static int defaults(void)
{
	TRY(tap_nodes(2));
	TRY(set_everywhere("move_mode", 0));
	TRY(set_everywhere("stop_pages", 256));
	return set_everywhere("write_percent", 50);
}

static int by_size(void)
{
	proclet_t large, small;

	TRY(defaults());
	TRY(make(&small, nodes[0], MIB, 8));
	TRY(made_as(&large, 0));
	TRY(moves_so(small, nodes[1], 0, PROCLET_MOVE_STOP, PROCLET_WHY_SIZE));
	TRY(moves_so(large, nodes[1], 0, PROCLET_MOVE_PRECOPY, PROCLET_WHY_SIZE));
	TRY(moves_so(large, nodes[0], PROCLET_MOVE_STOP, PROCLET_MOVE_STOP, PROCLET_WHY_ASKED));
	TRY(set_everywhere("stop_pages", 100000));
	TRY(moves_so(large, nodes[1], 0, PROCLET_MOVE_STOP, PROCLET_WHY_SIZE));
	CHECK_EQ(proclet_destroy(large), 0);
	return defaults();
}

#define WANTED		3	/* moves of that kind */
#define ATTEMPTS	200	/* it may just have been given no processor */

/* More than @percent is too much. */
static int writing(unsigned int flags, unsigned int percent, __u32 mode, __u32 why)
{
	struct proclet_move move = {};
	__u64 begun = 0, rounds = 0;
	int seen = 0, err = 0;
	__u32 stop = 1;
	struct caller *c;
	proclet_t p;

	TRY(defaults());
	TRY(set_everywhere("write_percent", percent));
	TRY(made_as(&p, flags));
	c = caller_start(p, scribble, NULL, 0, NULL, 0);
	for (int i = 1; i < ATTEMPTS && seen < WANTED && !err; i++) {
		/* It does write. */
		while (rounds <= begun && err >= 0)
			err = proclet_read(p, offsetof(struct writer, rounds), &rounds,
					   sizeof(rounds));
		if (rounds == WRONG)
			break;
		begun = rounds;
		err = err < 0 ? err : proclet_migrate_stat(p, nodes[i % node_count], 0, &move);
		seen += !err && move.mode == mode && move.why == why;
	}
	CHECK_EQ(proclet_write(p, offsetof(struct writer, stop), &stop, sizeof(stop)),
		 sizeof(stop));
	CHECK_EQ(caller_wait(c), 0);
	CHECK_EQ(err, 0);
	CHECK_EQ(seen, WANTED);
	CHECK_EQ(proclet_destroy(p), 0);
	return defaults();
}

static int by_writes(void)
{
	TRY(writing(0, 0, PROCLET_MOVE_POSTCOPY, PROCLET_WHY_WRITES));
	return writing(0, 10000, PROCLET_MOVE_PRECOPY, PROCLET_WHY_SIZE);
}

static int durable(void)
{
	return writing(PROCLET_DURABLE_MOVE, 0, PROCLET_MOVE_PRECOPY, PROCLET_WHY_DURABLE);
}

static int by_parameter(void)
{
	proclet_t p, d;

	TRY(defaults());
	TRY(made_as(&p, 0));
	TRY(made_as(&d, PROCLET_DURABLE_MOVE));
	TRY(set_everywhere("move_mode", PROCLET_MOVE_POSTCOPY));
	TRY(moves_so(p, nodes[1], 0, PROCLET_MOVE_POSTCOPY, PROCLET_WHY_PARAMETER));
	/* On its way back it is as durable as it was. */
	for (int i = 1; i < 4; i++)
		TRY(moves_so(d, nodes[i % 2], 0, PROCLET_MOVE_PRECOPY, PROCLET_WHY_DURABLE));
	TRY(moves_so(d, nodes[0], PROCLET_MOVE_POSTCOPY, PROCLET_MOVE_POSTCOPY,
		     PROCLET_WHY_ASKED));
	CHECK_EQ(proclet_destroy(p), 0);
	CHECK_EQ(proclet_destroy(d), 0);
	return defaults();
}

static const struct tap_test tests[] = {
	LONG_TEST(by_size),
	LONG_TEST(by_writes),
	LONG_TEST(durable),
	LONG_TEST(by_parameter),
};

static int root(int argc, char **argv)
{
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("auto", root, argc, argv) & 0xff;
}
