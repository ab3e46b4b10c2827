/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of wordcount tell each other.
 */
#ifndef _WORDCOUNT_WORDS_H
#define _WORDCOUNT_WORDS_H

#include <linux/types.h>
#include <proclet.h>
#include <stdbool.h>
#include <stddef.h>

/* Text goes to the mappers in pieces, cut between words. */
#define PIECE_MAX	(256UL << 10)

/*
 * Words go to the reducers in batches; one that is longer than this holds a
 * single word. A batch and an answer hold any word that a piece can hold.
 */
#define BATCH_MAX	(32UL << 10)
#define ANSWER_MAX	(1UL << 20)

/**
 * struct word - how often a word was seen; batches and answers are made of it
 * @count: so often
 * @hash: of @text
 * @len: bytes of @text
 * @text: the word, in lower case, then zeroes up to a multiple of 8 bytes
 */
struct word {
	__u64 count;
	__u32 hash;
	__u32 len;
	char text[];
};

static inline size_t word_size(size_t len)
{
	return (sizeof(struct word) + len + 7) & ~(size_t)7;
}

/* word_at() - the word at the start of @size bytes, NULL: they are not one */
static inline const struct word *word_at(const void *p, size_t size)
{
	const struct word *w = p;

	if (size < sizeof(*w) || !w->len || word_size(w->len) > size)
		return NULL;
	return w;
}

static inline bool is_letter(char c)
{
	return (unsigned char)((c | 0x20) - 'a') < 26;
}

#define HASH_INIT	0xcbf29ce484222325UL

static inline __u64 hash_add(__u64 hash, char lower)
{
	return (hash ^ (unsigned char)lower) * 0x100000001b3UL;
}

static inline __u32 hash_end(__u64 hash)
{
	return hash ^ hash >> 32;
}

/* The upper bits of the hash tell the reducer, which uses the lower ones. */
static inline unsigned int hash_shard(__u32 hash, unsigned int shards)
{
	return (__u64)hash * shards >> 32;
}

#endif /* _WORDCOUNT_WORDS_H */
