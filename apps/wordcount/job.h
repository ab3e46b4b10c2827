/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The job: runs in the root's member, creates the mappers and reducers, feeds
 * the text to the mappers and gets the result from the reducers.
 */
#ifndef _WORDCOUNT_JOB_H
#define _WORDCOUNT_JOB_H

#include <linux/proclet.h>
#include <pthread.h>
#include <proclet.h>
#include <stdbool.h>

#include "mover.h"
#include "reader.h"
#include "table.h"

/**
 * struct options - the command line
 * @shards: number of reducers; 0: two for each node
 * @migrate_ms: migrate one proclet every so many milliseconds; 0: none
 * @paths: files and directories, ends with NULL
 */
struct options {
	unsigned int shards;
	unsigned int migrate_ms;
	char **paths;
};

/**
 * struct job - a run
 * @opt: the command line
 * @nodes: the members' nodes
 * @node_count: how many
 * @ids: the mappers, then the reducers
 * @mappers: how many mappers
 * @shards: how many reducers
 * @created: how many of @ids exist
 * @mover: migrates them
 * @lock: protects what follows
 * @changed: @feeding has
 * @reader: where the text comes from
 * @feeding: feeders that have not ended
 * @pieces: that were fed
 * @failed: a message has been printed, everyone stops
 * @result: the words and their counts
 * @elapsed_ns: from the first piece to the last word
 */
struct job {
	const struct options *opt;
	int nodes[PROCLET_MAX_NODES];
	int node_count;
	proclet_t *ids;
	unsigned int mappers;
	unsigned int shards;
	unsigned int created;
	struct mover mover;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct reader reader;
	unsigned int feeding;
	unsigned long pieces;
	bool failed;
	struct table result;
	__u64 elapsed_ns;
};

/* job_run() - all of it, but for the output. Returns 0, or -1 after a message. */
int job_run(struct job *job, const struct options *opt);
void job_free(struct job *job);

/* job_summary() - of a run that succeeded, to stderr */
void job_summary(const struct job *job);

#endif /* _WORDCOUNT_JOB_H */
