/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mapper: a proclet that counts the words of the text it is given, and
 * passes the counts on to the reducers, a batch at a time.
 *
 * One caller at a time.
 */
#ifndef _WORDCOUNT_MAPPER_H
#define _WORDCOUNT_MAPPER_H

#include <linux/types.h>
#include <proclet.h>
#include <stddef.h>

#define MAPPER_CAPACITY		(256UL << 20)
#define MAPPER_ROOT_SIZE	16

/**
 * struct mapper_report - result of mapper_count() and mapper_finish()
 * @error: of the call to the reducer, or of the mapper itself (@shard is -1);
 *         0: all is well
 * @shard: which reducer
 */
struct mapper_report {
	__s32 error;
	__s32 shard;
};

/* mapper_init() - in: the reducers' ids, one for each shard; out: nothing */
ssize_t mapper_init(void *root, const void *in, size_t in_len, void *out,
		    size_t out_cap);

/* mapper_count() - in: text; out: struct mapper_report */
ssize_t mapper_count(void *root, const void *in, size_t in_len, void *out,
		     size_t out_cap);

/* mapper_finish() - pass on what is left. out: struct mapper_report */
ssize_t mapper_finish(void *root, const void *in, size_t in_len, void *out,
		      size_t out_cap);

#endif /* _WORDCOUNT_MAPPER_H */
