// SPDX-License-Identifier: GPL-2.0-or-later
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job.h"

static int number_order(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a;
	__u64 y = *(const __u64 *)b;

	return x < y ? -1 : x > y;
}

/* The smallest of @n sorted values that @percent of them do not exceed. */
static __u64 percentile(const __u64 *sorted, size_t n, unsigned int percent)
{
	return sorted[(n * percent + 99) / 100 - 1];
}

static void print_text(const struct job *job)
{
	const struct table *t = &job->result;
	double s = job->elapsed_ns / 1e9;
	double mb = job->reader.done / 1e6;
	__u64 words = 0;
	size_t i;

	for (i = 0; i < t->count; ++i)
		words += t->entries[i].count;
	fprintf(stderr, "text:       %.1f MB in %.1f s: %.0f bytes/s\n", mb, s,
		job->reader.done / s);
	fprintf(stderr, "words:      %llu, %zu different\n",
		(unsigned long long)words, t->count);
	fprintf(stderr,
		"proclets:   %u mappers, %u reducers, on %d nodes; %lu pieces\n",
		job->mappers, job->shards, job->node_count, job->pieces);
}

static void print_calls(const struct job *job)
{
	__u64 local = 0, remote = 0, forwarded = 0;
	int i;

	for (i = 0; i < job->node_count; ++i) {
		struct proclet_stats st;
		int err = lproc_stats(job->nodes[i], &st);

		if (err) {
			warnx("no statistics of node %d: %s", job->nodes[i],
			      strerror(-err));
			continue;
		}
		local += st.calls_local + st.calls_kernel;
		remote += st.calls_remote;
		forwarded += st.forwarded;
	}
	fprintf(stderr, "calls:      %llu local, %llu remote, %llu forwarded\n",
		(unsigned long long)local, (unsigned long long)remote,
		(unsigned long long)forwarded);
}

static void print_moves(const struct job *job)
{
	const struct mover *mv = &job->mover;
	unsigned long aborted = 0;
	__u64 *b = mv->blackouts;
	size_t n = mv->done;
	int i;

	for (i = 0; i < MOVER_ERRNOS; ++i)
		aborted += mv->aborted[i];
	fprintf(stderr, "migrations: %zu done, %lu aborted\n", n, aborted);
	for (i = 0; i < MOVER_ERRNOS; ++i)
		if (mv->aborted[i])
			fprintf(stderr, "            %lu: %s\n", mv->aborted[i],
				i ? strerror(i) : "unknown error");
	if (!n)
		return;
	qsort(b, n, sizeof(*b), number_order);
	fprintf(stderr,
		"blackout:   median %.0f us, p99 %.0f us, max %.0f us\n",
		percentile(b, n, 50) / 1e3, percentile(b, n, 99) / 1e3,
		b[n - 1] / 1e3);
	fprintf(stderr, "moved:      %.1f MB\n", mv->bytes / 1e6);
}

void job_summary(const struct job *job)
{
	print_text(job);
	print_calls(job);
	print_moves(job);
}
