// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of 2 MiB: large dense heaps have them, keep them when they move, and are otherwise
 * as they would be without: given back in parts, held by somebody else, zapped, looked at.
 */
#include "command.h"
#include "held.h"
#include "tap.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#define PAGE 4096UL
#define MIB (1UL << 20)
#define HUGE (2 * MIB)
#define DENSE (16 * MIB)

/**
 * struct block - root object
 * @words: memory
 * @bytes: of it
 * @more: a second block behind it
 * @stop: scatter() is to end
 * @count: what it has written
 */
struct block {
	volatile __u64 *words;
	__u64 bytes;
	__u64 *more;
	volatile __u64 stop;
	volatile __u64 count;
};

/* In: bytes. One random word after another. */
static ssize_t fill(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;
	__u64 state = 42;

	if (in_len != sizeof(b->bytes))
		return -EINVAL;
	memcpy(&b->bytes, in, sizeof(b->bytes));
	if (!b->words)
		b->words = proclet_malloc(b->bytes);
	if (!b->words)
		return -ENOMEM;
	for (__u64 i = 0; i < b->bytes / 8; i++)
		b->words[i] = next_random(&state);
	return answer_checksum((void *)b->words, b->bytes, out, out_cap);
}
PROCLET_METHOD(fill);

/* The same in many small blocks, of which only the last is remembered. */
static ssize_t fill_small(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	for (__u64 n = 0; n < DENSE; n += 1024) {
		void *p = proclet_malloc(1000);

		if (!p)
			return -ENOMEM;
		memset(p, 0x5a, 1000);
	}
	return 0;
}
PROCLET_METHOD(fill_small);

static ssize_t sum_of(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;

	(void)in;
	(void)in_len;
	return answer_checksum((void *)b->words, b->bytes, out, out_cap);
}
PROCLET_METHOD(sum_of);

/* In: bytes. One word of each MiB. */
static ssize_t fill_thinly(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(b->bytes))
		return -EINVAL;
	memcpy(&b->bytes, in, sizeof(b->bytes));
	b->words = proclet_malloc(b->bytes);
	if (!b->words)
		return -ENOMEM;
	for (__u64 i = 0; i < b->bytes / 8; i += MIB / 8)
		b->words[i] = i;
	return 0;
}
PROCLET_METHOD(fill_thinly);

/* A block behind the first, which is given back: what comes there next is zero. */
static ssize_t fill_twice(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	for (int i = 0; i < 2; i++) {
		b->more = i ? proclet_calloc(1, DENSE / 2) : proclet_malloc(DENSE / 2);
		if (!b->more)
			return -ENOMEM;
		for (__u64 j = 0; i && j < DENSE / 16; j++)
			if (b->more[j])
				return -EILSEQ;
		memset(b->more, 0x5a, DENSE / 2);
		if (!i)
			proclet_free(b->more);
	}
	return 0;
}
PROCLET_METHOD(fill_twice);

/* Words are counted up here and there, until stopped; the sum is known. */
static ssize_t scatter(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;
	__u64 state = 7;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	b->bytes = DENSE;
	b->words = proclet_malloc(b->bytes);
	if (!b->words)
		return -ENOMEM;
	for (__u64 i = 0; i < b->bytes / 8; i++)
		b->words[i] = 0;
	while (!b->stop) {
		b->words[next_random(&state) % (b->bytes / 8)]++;
		b->count++;
		for (int i = 0; i < 1000; i++)
			__asm__ volatile("pause");
	}
	return 0;
}
PROCLET_METHOD(scatter);

/* One word of each 2 MiB is written, and all are read, until stopped. */
static ssize_t write_few(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	for (b->count = 0; !b->stop; b->count++)
		for (__u64 i = 0; i < b->bytes / 8; i += PAGE / 8) {
			if (i % (HUGE / 8) == 0)
				b->words[i] = b->count;
			if (b->words[i / (HUGE / 8) * (HUGE / 8)] != b->count)
				return -EILSEQ;
			(void)b->words[i];
		}
	return 0;
}
PROCLET_METHOD(write_few);

static ssize_t stop(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	((struct block *)root)->stop = 1;
	return 0;
}
PROCLET_METHOD(stop);

static ssize_t add_up(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;
	__u64 sum = 0;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	for (__u64 i = 0; i < b->bytes / 8; i++)
		sum += b->words[i];
	return sum == b->count ? 0 : -EILSEQ;
}
PROCLET_METHOD(add_up);

static ssize_t address(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;

	(void)in;
	(void)in_len;
	if (out_cap != sizeof(b->words))
		return -EINVAL;
	memcpy(out, &b->words, sizeof(b->words));
	return sizeof(b->words);
}
PROCLET_METHOD(address);

/* In: a proclet on this node. KiB of its huge pages. */
static ssize_t huge_kb(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	FILE *f = fopen("/proc/proclet/proclets", "r");
	char line[256], id[20];
	ssize_t kb = -ENOENT;
	proclet_t p;

	(void)root;
	(void)out;
	(void)out_cap;
	if (!f)
		return -errno;
	if (in_len == sizeof(p)) {
		memcpy(&p, in, sizeof(p));
		snprintf(id, sizeof(id), " %016llx ", (unsigned long long)p);
		while (fgets(line, sizeof(line), f))
			if (strstr(line, id))
				kb = strtol(strrchr(strtok(line, "\n"), ' '), NULL, 10);
	}
	fclose(f);
	return kb;
}
PROCLET_METHOD(huge_kb);

/* KiB that this process has mapped by entries of 2 MiB. */
static ssize_t mapped_kb(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	ssize_t kb = 0, n;
	char line[256];

	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "FilePmdMapped: %zd kB", &n) == 1)
			kb += n;
	fclose(f);
	return kb;
}
PROCLET_METHOD(mapped_kb);

/* In: where. Taken out of the page tables in pieces, and read and written by the kernel. */
static ssize_t zap(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static char buf[64 * PAGE];
	struct iovec here = { buf, sizeof(buf) }, there = { NULL, sizeof(buf) };
	__u64 state = 3;
	char *at;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(at))
		return -EINVAL;
	memcpy(&at, in, sizeof(at));
	at = (char *)(((uintptr_t)at + HUGE - 1) & ~(HUGE - 1));
	for (int i = 0; i < 2000; i++) {
		__u64 off = next_random(&state) % (DENSE - HUGE - sizeof(buf)) & ~(PAGE - 1);
		__u64 len = i % 4 ? sizeof(buf) : HUGE;

		if (i % 2 && off + len <= DENSE - HUGE &&
		    madvise(at + off, len, MADV_DONTNEED))
			return -errno;
		there.iov_base = at + off;
		if (i % 3 == 0 && process_vm_readv(getpid(), &here, 1, &there, 1, 0) < 0)
			return -errno;
		/* As it was, so it is right whoever else reads it. */
		if (i % 3 == 0 && process_vm_writev(getpid(), &here, 1, &there, 1, 0) < 0)
			return -errno;
	}
	return 0;
}
PROCLET_METHOD(zap);

/* Everything that walks the page tables of a process. */
static ssize_t walk(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static const char *const files[] = { "smaps", "smaps_rollup", "numa_maps", "maps" };
	static char buf[1 << 16];
	__u64 entries[HUGE / PAGE];
	char name[40], *at;
	int fd;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(at))
		return -EINVAL;
	memcpy(&at, in, sizeof(at));
	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(name, sizeof(name), "/proc/self/%s", files[i]);
		fd = open(name, O_RDONLY);
		while (fd >= 0 && read(fd, buf, sizeof(buf)) > 0)
			;
		if (fd >= 0)
			close(fd);
	}
	fd = open("/proc/self/pagemap", O_RDONLY);
	for (__u64 off = 0; fd >= 0 && off < DENSE; off += HUGE)
		if (pread(fd, entries, sizeof(entries), ((uintptr_t)at + off) / PAGE * 8) < 0)
			return -errno;
	if (fd >= 0)
		close(fd);
	for (int i = 1; i <= 4; i += 3) {
		fd = open("/proc/self/clear_refs", O_WRONLY);
		if (fd >= 0 && write(fd, i == 1 ? "1" : "4", 1) < 0 && errno != EINVAL)
			return -errno;
		if (fd >= 0)
			close(fd);
	}
	/* None of it is of use here. */
	madvise(at, DENSE, MADV_COLD);
	madvise(at + PAGE, PAGE, MADV_PAGEOUT);
	return 0;
}
PROCLET_METHOD(walk);

static int helper(proclet_t *p, int node)
{
	struct proclet_attr attr = { 1 << 20, node, PROCLET_PINNED, sizeof(struct block) };

	CHECK_EQ(proclet_create(p, &attr), 0);
	if (made_count < ARRAY_SIZE(made))
		made[made_count++] = *p;
	return KSFT_PASS;
}

static int huge_is(proclet_t p, __u64 kb)
{
	CHECK_EQ(proclet_call(p, huge_kb, &p, sizeof(p), NULL, 0), kb);
	return KSFT_PASS;
}

static int huge_at_least(proclet_t p, __u64 kb)
{
	CHECK_GE(proclet_call(p, huge_kb, &p, sizeof(p), NULL, 0), kb);
	return KSFT_PASS;
}

static int dense(proclet_t *p, int node, __u64 *sum)
{
	__u64 bytes = DENSE;

	TRY(make(p, node, 4 * DENSE, sizeof(struct block)));
	CHECK_EQ(proclet_call(*p, fill, &bytes, sizeof(bytes), sum, sizeof(*sum)), sizeof(*sum));
	return huge_at_least(*p, (DENSE - 2 * HUGE) / 1024);
}

static int same(proclet_t p, __u64 sum)
{
	__u64 now = 0;

	CHECK_EQ(proclet_call(p, sum_of, NULL, 0, &now, sizeof(now)), sizeof(now));
	CHECK_EQ(now, sum);
	return KSFT_PASS;
}

static int moved(__u32 mode)
{
	__u64 bytes = DENSE, sum;
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(dense(&p, nodes[0], &sum));
	for (int i = 1; i < 4; i++) {
		CHECK_EQ(proclet_migrate(p, nodes[i % 2], mode), 0);
		TRY(same(p, sum));
		/* All of it that can be, however it began; with post-copy, when all has come. */
		while (mode == PROCLET_MOVE_POSTCOPY &&
		       proclet_call(p, huge_kb, &p, sizeof(p), NULL, 0) == 0)
			usleep(1000);
		TRY(huge_at_least(p, (DENSE - HUGE) / 1024));
		CHECK_EQ(proclet_call(p, fill, &bytes, sizeof(bytes), &sum, sizeof(sum)),
			 sizeof(sum));
	}
	return KSFT_PASS;
}

static int by_stop(void)
{
	return moved(PROCLET_MOVE_STOP);
}

static int by_precopy(void)
{
	return moved(PROCLET_MOVE_PRECOPY);
}

static int by_postcopy(void)
{
	return moved(PROCLET_MOVE_POSTCOPY);
}

/* With one fault each, until the kernel makes such entries useless for devices. */
static int mapped_at_once(void)
{
	unsigned int major, minor;
	struct utsname u;
	proclet_t p;
	__u64 sum;

	TRY(tap_nodes(2));
	CHECK(!uname(&u) && sscanf(u.release, "%u.%u", &major, &minor) == 2);
	if (major > 6 || minor >= 12)
		SKIP("Linux %s", u.release);
	TRY(dense(&p, nodes[0], &sum));
	CHECK_GE(proclet_call(p, mapped_kb, NULL, 0, NULL, 0), (DENSE - 2 * HUGE) / 1024);
	CHECK_EQ(proclet_migrate(p, nodes[1], PROCLET_MOVE_STOP), 0);
	CHECK_EQ(proclet_call(p, mapped_kb, NULL, 0, NULL, 0), 0);
	TRY(same(p, sum));
	CHECK_GE(proclet_call(p, mapped_kb, NULL, 0, NULL, 0), (DENSE - HUGE) / 1024);
	return KSFT_PASS;
}

static int from_small_blocks(void)
{
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(make(&p, nodes[0], 4 * DENSE, sizeof(struct block)));
	CHECK_EQ(proclet_call(p, fill_small, NULL, 0, NULL, 0), 0);
	TRY(huge_at_least(p, DENSE / 2048));
	CHECK_EQ(proclet_migrate(p, nodes[1], 0), 0);
	TRY(huge_at_least(p, (DENSE - HUGE) / 1024));
	return KSFT_PASS;
}

static int not_if_sparse(void)
{
	__u64 bytes = 2 * DENSE;
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(make(&p, nodes[0], 4 * DENSE, sizeof(struct block)));
	CHECK_EQ(proclet_call(p, fill_thinly, &bytes, sizeof(bytes), NULL, 0), 0);
	TRY(huge_is(p, 0));
	CHECK_EQ(proclet_migrate(p, nodes[1], 0), 0);
	TRY(huge_is(p, 0));
	return KSFT_PASS;
}

static int not_if_off(void)
{
	__u64 bytes = DENSE, sum;
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(set_everywhere("huge_pages", 0));
	TRY(make(&p, nodes[0], 4 * DENSE, sizeof(struct block)));
	CHECK_EQ(proclet_call(p, fill, &bytes, sizeof(bytes), &sum, sizeof(sum)), sizeof(sum));
	TRY(huge_is(p, 0));
	CHECK_EQ(proclet_migrate(p, nodes[1], 0), 0);
	TRY(huge_is(p, 0));
	TRY(set_everywhere("huge_pages", 1));
	CHECK_EQ(proclet_migrate(p, nodes[0], 0), 0);
	TRY(huge_at_least(p, (DENSE - HUGE) / 1024));
	return same(p, sum);
}

static int given_back_in_part(void)
{
	proclet_t p;
	__u64 sum;

	TRY(tap_nodes(2));
	for (__u32 mode = PROCLET_MOVE_STOP; mode <= PROCLET_MOVE_POSTCOPY; mode++) {
		TRY(dense(&p, nodes[0], &sum));
		CHECK_EQ(proclet_call(p, fill_twice, NULL, 0, NULL, 0), 0);
		TRY(same(p, sum));
		CHECK_EQ(proclet_migrate(p, nodes[1], mode), 0);
		TRY(same(p, sum));
		CHECK_EQ(proclet_call(p, fill_twice, NULL, 0, NULL, 0), 0);
		CHECK_EQ(proclet_migrate(p, nodes[0], mode), 0);
		TRY(same(p, sum));
		CHECK_EQ(proclet_destroy(p), 0);
	}
	return KSFT_PASS;
}

static int held(void)
{
	proclet_t p, h;
	char *at;
	__u64 sum;

	TRY(tap_nodes(2));
	TRY(dense(&p, nodes[0], &sum));
	TRY(helper(&h, nodes[0]));
	CHECK_EQ(proclet_call(p, address, NULL, 0, &at, sizeof(at)), sizeof(at));
	at += 3 * HUGE + 5 * PAGE;
	for (__u32 mode = PROCLET_MOVE_STOP; mode <= PROCLET_MOVE_POSTCOPY; mode++) {
		CHECK_EQ(proclet_call(h, hold_page, &at, sizeof(at), NULL, 0), PAGE);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(proclet_migrate(p, nodes[1], mode), -EBUSY);
		TRY(same(p, sum));
		CHECK_EQ(proclet_call(h, release_page, NULL, 0, NULL, 0), PAGE);
		CHECK_EQ(proclet_migrate(p, nodes[1], mode), 0);
		TRY(same(p, sum));
		CHECK_EQ(proclet_migrate(p, nodes[0], PROCLET_MOVE_STOP), 0);
		TRY(same(p, sum));
		TRY(huge_at_least(p, (DENSE - HUGE) / 1024));
	}
	return KSFT_PASS;
}

/* Two look at the memory while somebody takes it out of the page tables. */
static int zapped(void)
{
	proclet_t p, h;
	__u64 sum;
	char *at;

	TRY(tap_nodes(2));
	TRY(dense(&p, nodes[0], &sum));
	for (int i = 0; i < 2; i++) {
		__u64 sums[2] = { 0, 0 };
		struct caller *z, *c[2];

		TRY(helper(&h, nodes[i]));
		CHECK_EQ(proclet_call(p, address, NULL, 0, &at, sizeof(at)), sizeof(at));
		z = caller_start(h, zap, &at, sizeof(at), NULL, 0);
		for (int j = 0; j < 2; j++)
			c[j] = caller_start(p, sum_of, NULL, 0, &sums[j], sizeof(sums[j]));
		for (int j = 0; j < 2; j++) {
			CHECK_EQ(caller_wait(c[j]), sizeof(sum));
			CHECK_EQ(sums[j], sum);
		}
		CHECK_EQ(caller_wait(z), 0);
		TRY(same(p, sum));
		CHECK_EQ(proclet_migrate(p, nodes[!i], 0), 0);
		TRY(same(p, sum));
	}
	return KSFT_PASS;
}

static int looked_at(void)
{
	__u64 bytes = DENSE, sum;
	proclet_t p, h;
	char *at;

	TRY(tap_nodes(2));
	TRY(dense(&p, nodes[0], &sum));
	for (int i = 0; i < 2; i++) {
		TRY(helper(&h, nodes[i]));
		CHECK_EQ(proclet_call(p, address, NULL, 0, &at, sizeof(at)), sizeof(at));
		CHECK_EQ(proclet_call(h, walk, &at, sizeof(at), NULL, 0), 0);
		TRY(run_on(nodes[i], "true"));	/* a child */
		TRY(same(p, sum));
		CHECK_EQ(proclet_call(p, fill, &bytes, sizeof(bytes), &sum, sizeof(sum)),
			 sizeof(sum));
		CHECK_EQ(proclet_migrate(p, nodes[!i], 0), 0);
		TRY(same(p, sum));
	}
	return KSFT_PASS;
}

/* Is there what tells pages that were written from others of the same huge page? */
static bool exact_kernel(void)
{
	FILE *f = fopen("/proc/kallsyms", "r");
	bool found = false;
	char line[256];

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, " clean_record_shared_mapping_range");
	if (f)
		fclose(f);
	return found;
}

static int read_meanwhile(void)
{
	struct proclet_move move;
	__u64 sum, count;
	struct caller *c;
	proclet_t p;
	int ret;

	TRY(tap_nodes(2));
	if (!exact_kernel())
		SKIP("the kernel tells only which huge pages were written");
	TRY(dense(&p, nodes[0], &sum));
	c = caller_start(p, write_few, NULL, 0, NULL, 0);
	for (int i = 1; i < 4; i++) {
		do {
			CHECK_EQ(proclet_read(p, offsetof(struct block, count), &count,
					      sizeof(count)), sizeof(count));
		} while (!count);
		do {
			move = (struct proclet_move){};
			ret = proclet_migrate_stat(p, nodes[i % 2], PROCLET_MOVE_PRECOPY,
						   &move);
		} while (ret == -EBUSY);
		CHECK_EQ(ret, 0);
		CHECK_GE(DENSE / 8, move.late_bytes);
	}
	CHECK_EQ(proclet_call(p, stop, NULL, 0, NULL, 0), 0);
	CHECK_EQ(caller_wait(c), 0);
	return KSFT_PASS;
}

/* Nothing of what is written meanwhile is lost, wherever it is. */
static int written_meanwhile(void)
{
	__u64 before, now;
	struct caller *c;
	proclet_t p;
	int ret;

	TRY(tap_nodes(2));
	TRY(make(&p, nodes[0], 4 * DENSE, sizeof(struct block)));
	c = caller_start(p, scatter, NULL, 0, NULL, 0);
	for (int i = 1; i < 13; i++) {
		before = now = 0;
		while (!now || now < before + 1000) {
			CHECK_EQ(proclet_read(p, offsetof(struct block, count), &now,
					      sizeof(now)), sizeof(now));
			before = before ?: now;
		}
		do {
			ret = proclet_migrate(p, nodes[i % 2], PROCLET_MOVE_STOP + i % 3);
		} while (ret == -EBUSY);
		CHECK_EQ(ret, 0);
	}
	CHECK_EQ(proclet_call(p, stop, NULL, 0, NULL, 0), 0);
	CHECK_EQ(caller_wait(c), 0);
	CHECK_EQ(proclet_call(p, add_up, NULL, 0, NULL, 0), 0);
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	LONG_TEST(mapped_at_once),	/* nothing is mapped page by page yet */
	LONG_TEST(by_stop),
	LONG_TEST(by_precopy),
	LONG_TEST(by_postcopy),
	LONG_TEST(from_small_blocks),
	LONG_TEST(not_if_sparse),
	LONG_TEST(not_if_off),
	LONG_TEST(given_back_in_part),
	LONG_TEST(held),
	LONG_TEST(zapped),
	LONG_TEST(read_meanwhile),
	/* From here on the kernel marks pages dirty itself: they are tracked (clear_refs). */
	LONG_TEST(looked_at),
	LONG_TEST(written_meanwhile),
};

static void stop_proclet(proclet_t p)
{
	proclet_call(p, stop, NULL, 0, NULL, 0);
}

static int root(int argc, char **argv)
{
	tap_stop = stop_proclet;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("huge", root, argc, argv);
}
