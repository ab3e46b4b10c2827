// SPDX-License-Identifier: GPL-2.0
/*
 * Very many small proclets, created on all nodes, called once each, destroyed:
 * every one answers for itself, and the memory is back where it was.
 *
 * PROCLET_TEST_MANY: how many (100000).
 */
#include "tap.h"

#include <dirent.h>
#include <stdint.h>

#define MIB ((size_t)1 << 20)
#define THREADS 16
#define SLAB_TELLS 5000
/* Free segments that a worker keeps, and pages of each. */
#define SEGMENTS_KEPT 17
#define SEGMENT_PAGES 8

struct small {
	__u64 value;
	__u64 calls;
};

static __u64 mix(__u64 a, __u64 b)
{
	a = (a ^ b) * 0x9e3779b97f4a7c15ULL;
	return a ^ a >> 29;
}

static ssize_t once(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct small *s = root;
	__u64 answer;

	if (in_len != sizeof(s->value) || out_cap != sizeof(answer))
		return -EINVAL;
	if (s->value || s->calls++)
		return -EEXIST;
	memcpy(&s->value, in, sizeof(s->value));
	answer = mix(s->value, proclet_self());
	memcpy(out, &answer, sizeof(answer));
	return sizeof(answer);
}
PROCLET_METHOD(once);

/* ---- what a machine has ---- */

struct machine {
	__u64 reserved;		/* bytes of the node's budget */
	__u64 slab;		/* KiB, as the following */
	__u64 available;
	__u64 tables;
};

static __u64 number_in(const char *path)
{
	FILE *f = fopen(path, "r");
	unsigned long long n = 0;

	if (f && fscanf(f, "%llu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

static __u64 reserved_here(void)
{
	DIR *dir = opendir("/sys/class/proclet");
	char path[512];
	struct dirent *d;
	__u64 n = 0;

	while (dir && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "/sys/class/proclet/%s/id", d->d_name);
		if (d->d_name[0] == '.' || number_in(path) != (__u64)lproc_node())
			continue;
		snprintf(path, sizeof(path), "/sys/class/proclet/%s/reserved", d->d_name);
		n = number_in(path);
	}
	if (dir)
		closedir(dir);
	return n;
}

static ssize_t look(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct machine m = { .reserved = reserved_here() };
	char line[128];
	FILE *f;

	(void)root;
	(void)in;
	(void)in_len;
	if (out_cap != sizeof(m))
		return -EINVAL;
	f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof(line), f)) {
		unsigned long long n;

		if (sscanf(line, "Slab: %llu", &n) == 1)
			m.slab = n;
		else if (sscanf(line, "MemAvailable: %llu", &n) == 1)
			m.available = n;
		else if (sscanf(line, "PageTables: %llu", &n) == 1)
			m.tables = n;
	}
	if (f)
		fclose(f);
	memcpy(out, &m, sizeof(m));
	return sizeof(m);
}
PROCLET_METHOD(look);

/* ---- the root's part ---- */

static proclet_t *ids;
static unsigned int total;
static proclet_t lookers[32];

struct snapshot {
	struct proclet_stats stats[32];
	struct machine machine[32];
};

static int take(struct snapshot *s)
{
	for (int i = 0; i < node_count; i++) {
		CHECK_EQ(lproc_stats(nodes[i], &s->stats[i]), 0);
		CHECK_EQ(proclet_call(lookers[i], look, NULL, 0, &s->machine[i],
				      sizeof(s->machine[i])), sizeof(s->machine[i]));
	}
	return KSFT_PASS;
}

struct hand {
	pthread_t thread;
	unsigned int first;
	unsigned int end;
	unsigned int at;
	ssize_t error;
};

static ssize_t create_one(unsigned int i)
{
	struct proclet_attr attr = { MIB, nodes[i % node_count], 0, sizeof(struct small) };

	return proclet_create(&ids[i], &attr);
}

static ssize_t call_one(unsigned int i)
{
	__u64 in = i + 1, out = 0;
	ssize_t ret;

	ret = proclet_call(ids[i], once, &in, sizeof(in), &out, sizeof(out));
	if (ret != sizeof(out))
		return ret < 0 ? ret : -EPROTO;
	return out == mix(in, ids[i]) ? 0 : -EBADMSG;
}

static ssize_t destroy_one(unsigned int i)
{
	return proclet_destroy(ids[i]);
}

static ssize_t (*job)(unsigned int i);

static void *work(void *arg)
{
	struct hand *h = arg;

	for (h->at = h->first; h->at < h->end && !h->error; h->at++)
		h->error = job(h->at);
	return NULL;
}

/* Do it to all of the first @n, several at once; in ns. */
static int each(const char *what, ssize_t (*fn)(unsigned int i), unsigned int n)
{
	struct hand hands[THREADS] = { 0 };
	struct timespec from, to;
	__u64 us;

	job = fn;
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (unsigned int i = 0; i < THREADS; i++) {
		hands[i].first = (__u64)n * i / THREADS;
		hands[i].end = (__u64)n * (i + 1) / THREADS;
		CHECK_EQ(pthread_create(&hands[i].thread, NULL, work, &hands[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(hands[i].thread, NULL);
	clock_gettime(CLOCK_MONOTONIC, &to);
	us = (to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000;
	diag("%s %u: %llu ms, %llu us each", what, n, us / 1000, us / n);
	for (unsigned int i = 0; i < THREADS; i++) {
		if (hands[i].error)
			diag("number %u:", hands[i].at - 1);
		CHECK_EQ(hands[i].error, 0);
	}
	return KSFT_PASS;
}

/* The same number on each node as before, and of those the root's and ours. */
static int all_gone(const struct snapshot *before, const struct snapshot *after)
{
	for (int i = 0; i < node_count; i++) {
		__u64 kept = after->stats[i].workers * SEGMENTS_KEPT * SEGMENT_PAGES * 4096;

		CHECK_EQ(after->stats[i].proclets, before->stats[i].proclets);
		CHECK_EQ(after->machine[i].reserved, before->machine[i].reserved);
		CHECK_GE(before->stats[i].memory + kept, after->stats[i].memory);
	}
	return KSFT_PASS;
}

/*
 * The kernel frees some of it later (RCU), and keeps slabs that are not quite
 * empty. A leak of one of the objects of each proclet would be more.
 */
static int slab_is_back(const struct snapshot *before, const struct snapshot *peak,
			struct snapshot *after)
{
	const struct timespec tick = { 0, 100000000 };
	bool back;
	int tries = 0;

	do {
		TRY(take(after));
		back = true;
		for (int i = 0; i < node_count; i++) {
			__s64 grown = peak->machine[i].slab - before->machine[i].slab;
			__s64 left = after->machine[i].slab - before->machine[i].slab;

			back = back && left <= grown / 10 + 4096;
		}
		if (!back)
			nanosleep(&tick, NULL);
	} while (!back && ++tries < 300);
	CHECK(back);
	return KSFT_PASS;
}

static void show(const char *when, const struct snapshot *s)
{
	for (int i = 0; i < node_count; i++)
		diag("%s: node %d: %llu proclets, %llu KiB, %llu workers; slab %llu, page tables %llu, available %llu KiB",
		     when, nodes[i], s->stats[i].proclets, s->stats[i].memory >> 10,
		     s->stats[i].workers, s->machine[i].slab, s->machine[i].tables,
		     s->machine[i].available);
}

static int created_called_destroyed(void)
{
	static struct snapshot start, before, peak, after;

	TRY(tap_nodes(2));
	total = env_number("PROCLET_TEST_MANY", 100000);
	ids = calloc(total, sizeof(*ids));
	CHECK(ids);
	for (int i = 0; i < node_count; i++) {
		struct proclet_attr attr = { MIB, nodes[i], PROCLET_PINNED, 8 };

		CHECK_EQ(proclet_create(&lookers[i], &attr), 0);
	}
	/* Some first: tables grow, workers start. */
	TRY(take(&start));
	TRY(each("create", create_one, total / 10));
	TRY(each("call", call_one, total / 10));
	TRY(each("destroy", destroy_one, total / 10));
	TRY(take(&before));
	TRY(all_gone(&start, &before));

	TRY(each("create", create_one, total));
	TRY(each("call", call_one, total));
	TRY(take(&peak));
	for (int i = 0; i < node_count; i++) {
		__u64 mine = total / node_count + ((unsigned int)i < total % node_count);

		CHECK_EQ(peak.stats[i].proclets, before.stats[i].proclets + mine);
		CHECK_EQ(peak.machine[i].reserved, before.machine[i].reserved + mine * 4096);
		CHECK_GE(peak.stats[i].memory, mine * 4096);
	}
	TRY(each("destroy", destroy_one, total));
	TRY(take(&after));
	TRY(all_gone(&before, &after));
	for (unsigned int i = 0; i < total; i += total / 100 + 1)
		CHECK_EQ(proclet_locate(ids[i]), -ESTALE);
	/* Of fewer it could not be told from what the kernel keeps anyway. */
	if (total >= SLAB_TELLS)
		TRY(slab_is_back(&before, &peak, &after));
	show("before", &before);
	show("peak", &peak);
	show("after", &after);
	free(ids);
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	{ "created_called_destroyed", created_called_destroyed, 1500 },
};

static int root(int argc, char **argv)
{
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("many", root, argc, argv);
}
