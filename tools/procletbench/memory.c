// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory that an idle proclet takes on its node beside its own pages: by how much
 * what the kernel has for others shrinks when many are made, less the pages that the
 * module counts as theirs. Each is called once, and uses its heap. So tables of the module and of the processor, and what
 * libshim has in the process, are in it.
 */
#include <errno.h>
#include <linux/proclet.h>
#include <proclet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "callee.h"

#define PROCLETS	2048U
#define PART		512	/* proclets of a sample */

static proclet_t *proclets;
static bool done;

/* In bytes. @free: available, or on the lists of processors */
struct usage {
	__u64 free;
	__u64 slab;
	__u64 pages;		/* of proclets */
};

/* Pages that each processor has for itself count as used elsewhere. */
static __u64 processors_pages(void)
{
	FILE *f = fopen("/proc/zoneinfo", "r");
	unsigned long long n, sum = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " count: %llu", &n) == 1)
			sum += n;
	if (f)
		fclose(f);
	return sum * sysconf(_SC_PAGESIZE);
}

/* Let processors add what they have counted; who may not do that gets no error. */
static void refresh(void)
{
	FILE *f = fopen("/proc/sys/vm/stat_refresh", "w");

	if (f) {
		fputs("1", f);
		fclose(f);
	}
}

/* Root object. */
struct idle {
	void *something;
};

static ssize_t use(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct idle *idle = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	idle->something = proclet_calloc(1, 64);
	return idle->something ? 0 : -ENOMEM;
}
PROCLET_METHOD(use);

static int make(proclet_t *p)
{
	int err;

	err = bench_proclet("memory", p, lproc_node(), MIB, sizeof(struct idle), 0);
	return err ? err : (int)proclet_call(*p, use, NULL, 0, NULL, 0);
}

static int look(struct usage *u)
{
	struct proclet_stats stats;
	unsigned long long kib;
	char line[128];
	FILE *f;
	int err;

	memset(u, 0, sizeof(*u));
	err = lproc_stats(0, &stats);
	if (err)
		return err;
	u->pages = stats.memory;
	refresh();
	f = fopen("/proc/meminfo", "r");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			u->free = kib * KIB;
		if (sscanf(line, "Slab: %llu", &kib) == 1)
			u->slab = kib * KIB;
	}
	fclose(f);
	if (!u->free)
		return -EPROTO;
	u->free += processors_pages();
	return 0;
}

static int memory_begin(const struct options *opt, int node)
{
	(void)opt;
	(void)node;
	done = false;
	proclets = calloc(PROCLETS, sizeof(*proclets));
	return proclets ? 0 : -ENOMEM;
}

static int make_some(struct results *r, unsigned int first)
{
	struct usage before, after;
	struct row *row;
	unsigned int i;
	double taken;
	int err;

	err = look(&before);
	for (i = 0; i < PART && !err; i++)
		err = make(&proclets[first + i]);
	if (!err)
		err = look(&after);
	if (err)
		return err;
	taken = (double)before.free - after.free;
	taken -= (double)after.pages - before.pages;
	err = results_add(r, "memory_per_proclet", 0, UNIT_BYTES, taken / PART);
	row = results_row(r, "memory_per_proclet", 0);
	if (row)
		snprintf(row->note, sizeof(row->note),
			 "of %u idle; slab %.0f B, own pages %.0f B each", PROCLETS,
			 ((double)after.slab - before.slab) / PART,
			 ((double)after.pages - before.pages) / PART);
	return err;
}

static int measure(void *arg)
{
	proclet_t warm_up;
	unsigned int first;
	int err;

	/* So that there is a worker, with a stack. */
	err = make(&warm_up);
	bench_destroy(&warm_up);
	for (first = 0; first < PROCLETS && !err; first += PART)
		err = make_some(arg, first);
	if (err)
		complain("memory: %s", error_text(err));
	return err;
}

/* Once: what was used and is free again would hide what a second try takes. */
static int memory_round(const struct pace *pace, struct results *r)
{
	unsigned int i;
	int err;

	(void)pace;
	if (done)
		return 0;
	done = true;
	err = bench_native("memory", measure, r);
	for (i = 0; i < PROCLETS; i++)
		bench_destroy(&proclets[i]);
	return err;
}

static void memory_end(void)
{
	free(proclets);
}

const struct subject memory_subject = {
	.name = "memory",
	.bit = BENCH_MEMORY,
	.begin = memory_begin,
	.round = memory_round,
	.end = memory_end,
};
