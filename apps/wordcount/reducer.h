/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A reducer: a proclet that adds up the counts of the words of its shard.
 *
 * Any number of callers at the same time.
 */
#ifndef _WORDCOUNT_REDUCER_H
#define _WORDCOUNT_REDUCER_H

#include <linux/types.h>
#include <proclet.h>
#include <stddef.h>

#define REDUCER_CAPACITY	(1UL << 30)
#define REDUCER_ROOT_SIZE	16
#define REDUCER_BUCKETS_MIN	(1U << 12)
#define REDUCER_BUCKETS_MAX	(1U << 20)

/**
 * struct reducer_cursor - where reducer_get() goes on
 * @bucket: in this bucket of the table
 * @skip: after so many words of it
 * @end: not 0: there is no more
 */
struct reducer_cursor {
	__u32 bucket;
	__u32 skip;
	__u64 end;
};

/* reducer_init() - in: __u32, buckets of the table, a power of two; out: nothing */
ssize_t reducer_init(void *root, const void *in, size_t in_len, void *out,
		     size_t out_cap);

/* reducer_add() - in: struct word after struct word; out: nothing */
ssize_t reducer_add(void *root, const void *in, size_t in_len, void *out,
		    size_t out_cap);

/*
 * reducer_get() - in: struct reducer_cursor, zeroes at first; out: the next
 * one, and then struct word after struct word, as many as there is room for
 */
ssize_t reducer_get(void *root, const void *in, size_t in_len, void *out,
		    size_t out_cap);

#endif /* _WORDCOUNT_REDUCER_H */
