// SPDX-License-Identifier: GPL-2.0
/*
 * Post-copy: a proclet runs at its destination while its memory is still at its source.
 * The pages follow by themselves, and at once when they are touched, by the program, by the
 * kernel for it, or from afar; if the source is lost before, that proclet dies, and only it.
 */
#include "command.h"
#include "tap.h"

#include <linux/proclet.h>

#define PAGE 4096UL
#define MIB (1UL << 20)

struct block {
	__u64 *words;
	__u64 bytes;
	__u64 touched;		/* pages, by crawl() */
};

static ssize_t fill(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;
	__u64 state, sum;

	if (in_len != sizeof(b->bytes) || out_cap != sizeof(sum))
		return -EINVAL;
	memcpy(&b->bytes, in, sizeof(b->bytes));
	state = b->bytes + b->touched++;
	if (!b->words)
		b->words = proclet_malloc(b->bytes);
	if (!b->words)
		return -ENOMEM;
	for (__u64 i = 0; i < b->bytes / 8; i++)
		b->words[i] = next_random(&state);
	return answer_checksum(b->words, b->bytes, out, out_cap);
}
PROCLET_METHOD(fill);

static ssize_t sum_of(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;

	(void)in;
	(void)in_len;
	return answer_checksum(b->words, b->bytes, out, out_cap);
}
PROCLET_METHOD(sum_of);

/* The words that pages @in begin with. */
static ssize_t look(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;
	const __u32 *pages = in;
	__u64 *words = out;
	size_t n = in_len / sizeof(*pages);

	if (out_cap != n * sizeof(*words))
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		words[i] = b->words[pages[i] * PAGE / 8];
	return out_cap;
}
PROCLET_METHOD(look);

/* The kernel reads and writes pages that the program has not touched. */
static ssize_t by_kernel(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;
	char *at = (char *)b->words + 40 * PAGE, *to = (char *)b->words + 80 * PAGE;
	ssize_t ret = -EIO;
	int ends[2];

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	if (pipe(ends))
		return -errno;
	/* Across the borders of pages, where either side is not here. */
	if (write(ends[1], at + 100, 3 * PAGE) == 3 * PAGE &&
	    read(ends[0], to + 200, 3 * PAGE) == 3 * PAGE)
		ret = memcmp(at + 100, to + 200, 3 * PAGE) ? -EILSEQ : 0;
	close(ends[0]);
	close(ends[1]);
	return ret;
}
PROCLET_METHOD(by_kernel);

/* Memory that has not come is given back, and taken again. */
static ssize_t free_all(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;
	__u64 *again;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	proclet_free(b->words);
	b->words = NULL;
	again = proclet_malloc(b->bytes);
	if (!again)
		return -ENOMEM;
	memset(again, 0x5a, b->bytes);
	for (__u64 i = 0; i < b->bytes / 8; i++)
		if (again[i] != 0x5a5a5a5a5a5a5a5aULL)
			return -EILSEQ;
	proclet_free(again);
	return 0;
}
PROCLET_METHOD(free_all);

/* Touches one page after another. */
static ssize_t crawl(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;
	struct timespec ms = { 0, 1000000 };
	__u64 sum = 0;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	for (__u64 i = 0; i < b->bytes / PAGE; i++) {
		sum += b->words[i * PAGE / 8];
		__atomic_store_n(&b->touched, i + 1, __ATOMIC_RELAXED);
		nanosleep(&ms, NULL);
	}
	return sum & 1;
}
PROCLET_METHOD(crawl);

/* Pages of a read of what is not touched, on all nodes; 0: what is not touched stays. */
static int set_stream(unsigned int pages)
{
	return set_everywhere("tail_pages", pages);
}

static int filled(proclet_t *p, int node, __u64 bytes, __u64 *sum)
{
	TRY(make(p, node, 4 * bytes, sizeof(struct block)));
	CHECK_EQ(proclet_call(*p, fill, &bytes, sizeof(bytes), sum, sizeof(*sum)), sizeof(*sum));
	return KSFT_PASS;
}

static int same(proclet_t p, __u64 sum)
{
	__u64 now = 0;

	CHECK_EQ(proclet_call(p, sum_of, NULL, 0, &now, sizeof(now)), sizeof(now));
	CHECK_EQ(now, sum);
	return KSFT_PASS;
}

/* Moved with its memory behind it. */
static int follow(proclet_t p, int node, __u64 bytes)
{
	struct proclet_move move = {};

	CHECK_EQ(proclet_migrate_stat(p, node, PROCLET_MOVE_POSTCOPY, &move), 0);
	CHECK_EQ(proclet_locate(p), node);
	CHECK_EQ(move.mode, PROCLET_MOVE_POSTCOPY);
	CHECK_GE(move.bytes, bytes);
	CHECK_GE(bytes / 4, move.late_bytes);
	return KSFT_PASS;
}

static int by_themselves(void)
{
	__u64 bytes = 4 * MIB, sum;
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(filled(&p, nodes[0], bytes, &sum));
	for (int i = 1; i < 6; i++) {
		TRY(follow(p, nodes[i % node_count], bytes));
		TRY(same(p, sum));
		CHECK_EQ(proclet_call(p, fill, &bytes, sizeof(bytes), &sum, sizeof(sum)),
			 sizeof(sum));
	}
	return KSFT_PASS;
}

/* At once back and forth: none goes on before all has come. */
static int moves_on(void)
{
	__u64 bytes = 4 * MIB, sum;
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(filled(&p, nodes[0], bytes, &sum));
	for (unsigned int stream = 0; stream < 32; stream += 16) {
		TRY(set_stream(stream));
		for (int i = 1; i < 8; i++)
			TRY(follow(p, nodes[i % node_count], bytes));
		CHECK_EQ(proclet_migrate(p, nodes[0], PROCLET_MOVE_STOP), 0);
		TRY(same(p, sum));
	}
	return KSFT_PASS;
}

static int touched(void)
{
	__u32 pages[] = { 700, 3, 4, 1023, 512, 511, 0, 700 };
	__u64 words[ARRAY_SIZE(pages)], wanted[ARRAY_SIZE(pages)], bytes = 4 * MIB, sum;
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(set_stream(0));
	TRY(filled(&p, nodes[0], bytes, &sum));
	CHECK_EQ(proclet_call(p, look, pages, sizeof(pages), wanted, sizeof(wanted)),
		 sizeof(wanted));
	TRY(follow(p, nodes[1], bytes));
	CHECK_EQ(proclet_call(p, look, pages, sizeof(pages), words, sizeof(words)),
		 sizeof(words));
	CHECK(!memcmp(words, wanted, sizeof(words)));
	TRY(same(p, sum));
	CHECK_EQ(proclet_migrate(p, nodes[0], PROCLET_MOVE_STOP), 0);
	CHECK_EQ(proclet_call(p, by_kernel, NULL, 0, NULL, 0), 0);
	TRY(follow(p, nodes[1], bytes));
	CHECK_EQ(proclet_call(p, by_kernel, NULL, 0, NULL, 0), 0);
	return set_stream(16);
}

static int from_afar(void)
{
	static char there[MIB / 2], here[MIB / 2];
	__u64 bytes = 4 * MIB, sum;
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(set_stream(0));
	TRY(filled(&p, nodes[0], bytes, &sum));
	CHECK_EQ(proclet_read(p, MIB + 5, here, sizeof(here)), sizeof(here));
	TRY(follow(p, nodes[1], bytes));
	CHECK_EQ(proclet_read(p, MIB + 5, there, sizeof(there)), sizeof(there));
	CHECK(!memcmp(here, there, sizeof(here)));
	/* A few bytes into a page that has not come: the others stay as they are. */
	CHECK_EQ(proclet_read(p, 3 * MIB, here, 2 * PAGE), 2 * PAGE);
	CHECK_EQ(proclet_migrate(p, nodes[0], PROCLET_MOVE_STOP), 0);
	TRY(follow(p, nodes[1], bytes));
	CHECK_EQ(proclet_write(p, 3 * MIB + 7, "changed", 7), 7);
	memcpy(here + 7, "changed", 7);
	CHECK_EQ(proclet_read(p, 3 * MIB, there, 2 * PAGE), 2 * PAGE);
	CHECK(!memcmp(here, there, 2 * PAGE));
	return set_stream(16);
}

static int given_back(void)
{
	__u64 bytes = 4 * MIB, sum;
	proclet_t p;

	TRY(tap_nodes(2));
	for (unsigned int stream = 0; stream < 32; stream += 16) {
		TRY(set_stream(stream));
		TRY(filled(&p, nodes[0], bytes, &sum));
		TRY(follow(p, nodes[1], bytes));
		CHECK_EQ(proclet_call(p, free_all, NULL, 0, NULL, 0), 0);
		TRY(filled(&p, nodes[0], bytes, &sum));
		TRY(follow(p, nodes[1], bytes));
		CHECK_EQ(proclet_destroy(p), 0);
		CHECK_EQ(proclet_locate(p), -ESTALE);
	}
	return KSFT_PASS;
}

/* Nodes 2 and 3 lose each other; node 1, where everything is at home, has both. */
static int source_lost(void)
{
	__u64 bytes = 16 * MIB, sum, other_sum, seen = 0;
	struct caller *c;
	proclet_t p, other;
	char text[PEER_ADD_MAX];

	TRY(tap_nodes(3));
	TRY(set_stream(0));
	TRY(filled(&p, nodes[0], bytes, &sum));
	TRY(filled(&other, nodes[1], bytes / 16, &other_sum));
	CHECK_EQ(proclet_migrate(p, nodes[2], PROCLET_MOVE_STOP), 0);
	TRY(follow(p, nodes[1], bytes));
	c = caller_start(p, crawl, NULL, 0, NULL, 0);
	while (seen < 20)
		CHECK_EQ(proclet_read(p, offsetof(struct block, touched), &seen, sizeof(seen)),
			 sizeof(seen));
	snprintf(text, sizeof(text), "procletctl peer del n%d n%d", nodes[1], nodes[2]);
	TRY(run_on(nodes[1], text));
	CHECK_EQ(caller_wait(c), -ECONNRESET);
	CHECK_EQ(proclet_call(p, sum_of, NULL, 0, &sum, sizeof(sum)), -ESTALE);
	CHECK_EQ(proclet_locate(p), -ESTALE);
	TRY(same(other, other_sum));

	/* Whatever runs next on these nodes needs them connected. */
	TRY(run_on(nodes[1], peer_add(text, nodes[1], nodes[2])));
	snprintf(text, sizeof(text), "procletctl wait n%d", nodes[1]);
	TRY(run_on(nodes[1], text));
	return set_stream(16);
}

static const struct tap_test tests[] = {
	LONG_TEST(by_themselves),
	LONG_TEST(moves_on),
	LONG_TEST(touched),
	LONG_TEST(from_afar),
	LONG_TEST(given_back),
	LONG_TEST(source_lost),	/* the last one: each has lost the other's member */
};

static int root(int argc, char **argv)
{
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	lproc_set_flags(LPROC_SURVIVE);
	return lproc_main("postcopy", root, argc, argv) & 0xff;
}
