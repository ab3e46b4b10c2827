// SPDX-License-Identifier: GPL-2.0-or-later
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "job.h"
#include "mapper.h"
#include "reducer.h"
#include "words.h"

#define PER_NODE	2	/* mappers, and by default reducers */
#define PROGRESS_MS	500

struct feeder {
	struct job *job;
	unsigned int mapper;
	pthread_t thread;
	char *piece;
};

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000UL + ts.tv_nsec;
}

/*
 * What went wrong
 */

static bool job_failed(struct job *job)
{
	bool failed;

	pthread_mutex_lock(&job->lock);
	failed = job->failed;
	pthread_mutex_unlock(&job->lock);
	return failed;
}

/* Marks the run as failed. True: it was not yet, so there should be a message. */
static bool job_fail(struct job *job)
{
	bool first;

	pthread_mutex_lock(&job->lock);
	first = !job->failed;
	job->failed = true;
	pthread_mutex_unlock(&job->lock);
	return first;
}

static const char *consequence(int error)
{
	switch (error) {
	case -EHOSTUNREACH:
		return " (its node cannot be reached; it was not executed)";
	case -ECONNRESET:
		return " (its node was lost; it may have been executed)";
	case -ENOMEM:
		return " (the heap is full, or its node's memory budget)";
	default:
		return "";
	}
}

/* @i: index in job->ids */
static void call_failed(struct job *job, const char *method, unsigned int i,
			int error)
{
	bool mapper = i < job->mappers;

	if (job_fail(job))
		warnx("%s() of %s %u, proclet %#llx: %s%s", method,
		      mapper ? "mapper" : "reducer",
		      mapper ? i : i - job->mappers,
		      (unsigned long long)job->ids[i], strerror(-error),
		      consequence(error));
}

/* A call of a mapper that answers with a struct mapper_report. */
static int call_mapper(struct job *job, unsigned int i, proclet_method_t method,
		       const char *name, const void *in, size_t in_len)
{
	struct mapper_report r = { 0 };
	ssize_t ret;

	ret = proclet_call(job->ids[i], method, in, in_len, &r, sizeof(r));
	if (ret >= 0 && ret != sizeof(r))
		ret = -EPROTO;
	if (ret < 0) {
		call_failed(job, name, i, ret);
		return -1;
	}
	if (!r.error)
		return 0;
	if (r.shard < 0)
		call_failed(job, name, i, r.error);
	else
		call_failed(job, "reducer_add", job->mappers + r.shard, r.error);
	return -1;
}

/*
 * Mappers and reducers
 */

static int create(struct job *job, unsigned int i, int node, size_t capacity,
		  size_t root_size)
{
	struct proclet_attr attr = {
		.capacity = capacity,
		.node = node,
		.root_size = root_size,
	};
	int err;

	err = proclet_create(&job->ids[i], &attr);
	if (err) {
		warnx("cannot create a proclet on node %d: %s", node,
		      strerror(-err));
		return -1;
	}
	++job->created;
	return 0;
}

/* Text has a new word in less than a KiB, the longer it is the less often. */
static __u32 buckets(const struct job *job)
{
	__u64 words = job->reader.total / 1024 / job->shards;
	__u32 n = REDUCER_BUCKETS_MIN;

	while (n < words && n < REDUCER_BUCKETS_MAX)
		n *= 2;
	return n;
}

static int init(struct job *job, unsigned int i)
{
	__u32 n = buckets(job);
	ssize_t ret;

	if (i < job->mappers)
		ret = proclet_call(job->ids[i], mapper_init,
				   job->ids + job->mappers,
				   job->shards * sizeof(*job->ids), NULL, 0);
	else
		ret = proclet_call(job->ids[i], reducer_init, &n, sizeof(n),
				   NULL, 0);
	if (ret < 0) {
		call_failed(job, i < job->mappers ? "mapper_init" : "reducer_init",
			    i, ret);
		return -1;
	}
	return 0;
}

static int create_all(struct job *job)
{
	unsigned int i, all = job->mappers + job->shards;

	job->ids = calloc(all, sizeof(*job->ids));
	if (!job->ids) {
		warnx("out of memory");
		return -1;
	}
	for (i = 0; i < all; ++i) {
		bool mapper = i < job->mappers;
		unsigned int k = mapper ? i : i - job->mappers;

		if (create(job, i, job->nodes[k % job->node_count],
			   mapper ? MAPPER_CAPACITY : REDUCER_CAPACITY,
			   mapper ? MAPPER_ROOT_SIZE : REDUCER_ROOT_SIZE))
			return -1;
	}
	for (i = 0; i < all; ++i)
		if (init(job, i))
			return -1;
	return 0;
}

static void destroy_all(struct job *job)
{
	unsigned int i;

	for (i = 0; i < job->created; ++i) {
		int err = proclet_destroy(job->ids[i]);

		if (err)
			warnx("cannot destroy proclet %#llx: %s",
			      (unsigned long long)job->ids[i], strerror(-err));
	}
	job->created = 0;
}

/*
 * Text goes in
 */

static ssize_t next_piece(struct job *job, char *piece)
{
	ssize_t len = 0;

	pthread_mutex_lock(&job->lock);
	if (!job->failed) {
		len = reader_next(&job->reader, piece);
		if (len > 0)
			++job->pieces;
		if (len < 0)
			job->failed = true;
	}
	pthread_mutex_unlock(&job->lock);
	return len;
}

static void *feed(void *arg)
{
	struct feeder *f = arg;
	struct job *job = f->job;
	ssize_t len;

	while ((len = next_piece(job, f->piece)) > 0)
		if (call_mapper(job, f->mapper, mapper_count, "mapper_count",
				f->piece, len))
			break;
	if (!job_failed(job))
		call_mapper(job, f->mapper, mapper_finish, "mapper_finish",
			    NULL, 0);
	pthread_mutex_lock(&job->lock);
	--job->feeding;
	pthread_cond_signal(&job->changed);
	pthread_mutex_unlock(&job->lock);
	return NULL;
}

static void progress(struct job *job, __u64 start)
{
	double s = (now_ns() - start) / 1e9;
	double mb = job->reader.done / 1e6;
	unsigned long moved;

	pthread_mutex_lock(&job->mover.lock);
	moved = job->mover.done;
	pthread_mutex_unlock(&job->mover.lock);
	fprintf(stderr, "\r%.1f of %.1f MB, %.1f MB/s, %lu migrations\033[K",
		mb, job->reader.total / 1e6, mb / s, moved);
}

/* Until all feeders have ended. */
static void watch(struct job *job, __u64 start)
{
	bool terminal = isatty(STDERR_FILENO);
	struct timespec ts;

	pthread_mutex_lock(&job->lock);
	while (job->feeding) {
		if (terminal && !job->failed)
			progress(job, start);
		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_nsec += PROGRESS_MS * 1000000L;
		ts.tv_sec += ts.tv_nsec / 1000000000L;
		ts.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&job->changed, &job->lock, &ts);
	}
	if (terminal && !job->failed)
		fputs("\r\033[K", stderr);
	pthread_mutex_unlock(&job->lock);
}

static int feed_all(struct job *job, __u64 start)
{
	struct feeder *feeders;
	unsigned int i, n;
	int err = 0;

	feeders = calloc(job->mappers, sizeof(*feeders));
	if (!feeders) {
		warnx("out of memory");
		return -1;
	}
	for (n = 0; n < job->mappers; ++n) {
		struct feeder *f = &feeders[n];

		f->job = job;
		f->mapper = n;
		f->piece = malloc(PIECE_MAX);
		pthread_mutex_lock(&job->lock);
		++job->feeding;
		pthread_mutex_unlock(&job->lock);
		err = f->piece ? pthread_create(&f->thread, NULL, feed, f) :
				 ENOMEM;
		if (err) {
			free(f->piece);
			pthread_mutex_lock(&job->lock);
			--job->feeding;
			pthread_mutex_unlock(&job->lock);
			if (job_fail(job))
				warnx("cannot start a feeder: %s",
				      strerror(err));
			break;
		}
	}
	watch(job, start);
	for (i = 0; i < n; ++i) {
		pthread_join(feeders[i].thread, NULL);
		free(feeders[i].piece);
	}
	free(feeders);
	return job->failed ? -1 : 0;
}

/*
 * The result comes out
 */

static int get_shard(struct job *job, unsigned int i, char *answer)
{
	struct reducer_cursor c = { 0 };

	while (!c.end) {
		const char *p, *end;
		ssize_t ret;

		ret = proclet_call(job->ids[i], reducer_get, &c, sizeof(c),
				   answer, ANSWER_MAX);
		if (ret >= 0 && (size_t)ret < sizeof(c))
			ret = -EPROTO;
		if (ret < 0) {
			call_failed(job, "reducer_get", i, ret);
			return -1;
		}
		memcpy(&c, answer, sizeof(c));
		end = answer + ret;
		for (p = answer + sizeof(c); p < end;) {
			const struct word *w = word_at(p, end - p);

			if (!w) {
				call_failed(job, "reducer_get", i, -EBADMSG);
				return -1;
			}
			if (table_add(&job->result, w->count, w->text, w->len))
				return -1;
			p += word_size(w->len);
		}
	}
	return 0;
}

static int get_all(struct job *job)
{
	struct table *more = &job->reader.long_words;
	unsigned int i;
	char *answer;
	int ret = 0;

	answer = malloc(ANSWER_MAX);
	if (!answer) {
		warnx("out of memory");
		return -1;
	}
	for (i = 0; i < job->shards && !ret; ++i)
		ret = get_shard(job, job->mappers + i, answer);
	free(answer);
	for (i = 0; i < more->count && !ret; ++i)
		ret = table_add(&job->result, more->entries[i].count,
				more->entries[i].text, more->entries[i].len);
	if (!ret)
		table_sort(&job->result);
	return ret;
}

int job_run(struct job *job, const struct options *opt)
{
	__u64 start;
	int ret;

	memset(job, 0, sizeof(*job));
	job->opt = opt;
	pthread_mutex_init(&job->lock, NULL);
	pthread_cond_init(&job->changed, NULL);
	if (reader_open(&job->reader, opt->paths))
		return -1;
	job->node_count = lproc_nodes(job->nodes, PROCLET_MAX_NODES);
	if (job->node_count <= 0) {
		warnx("cannot list the nodes: %s", strerror(-job->node_count));
		return -1;
	}
	job->mappers = job->node_count * PER_NODE;
	job->shards = opt->shards ? opt->shards : job->mappers;
	ret = create_all(job);
	if (!ret)
		ret = mover_start(&job->mover, opt->migrate_ms, job->ids,
				  job->created, job->nodes, job->node_count);
	start = now_ns();
	if (!ret)
		ret = feed_all(job, start);
	if (!ret)
		ret = get_all(job);
	job->elapsed_ns = now_ns() - start;
	mover_stop(&job->mover);
	/* After a failure the end of the logical process does it. */
	if (!ret)
		destroy_all(job);
	return ret;
}

void job_free(struct job *job)
{
	mover_free(&job->mover);
	reader_close(&job->reader);
	table_free(&job->result);
	free(job->ids);
}
