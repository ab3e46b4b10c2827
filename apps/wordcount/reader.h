/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files and directories, read as pieces of text that are cut between words.
 */
#ifndef _WORDCOUNT_READER_H
#define _WORDCOUNT_READER_H

#include <linux/types.h>
#include <stddef.h>
#include <sys/types.h>

#include "table.h"

/**
 * struct reader - what is to be read and how far it has been
 * @paths: the files, in order
 * @count: how many
 * @total: bytes of the regular ones
 * @done: bytes read
 * @next: index of the next file to open
 * @fd: the open file, -1: none
 * @carry: start of a word, left over from the last piece
 * @carried: bytes of @carry
 * @long_word: start of a word that is too long for a piece
 * @long_len: bytes of @long_word
 * @long_words: such words, which no mapper gets to see
 */
struct reader {
	char **paths;
	size_t count;
	__u64 total;
	__u64 done;
	size_t next;
	int fd;
	char *carry;
	size_t carried;
	char *long_word;
	size_t long_len;
	struct table long_words;
};

/*
 * reader_open() - find all files below @paths, which ends with NULL
 *
 * Returns 0, or -1 after a message.
 */
int reader_open(struct reader *r, char **paths);
void reader_close(struct reader *r);

/*
 * reader_next() - the next piece of text, at most PIECE_MAX bytes, to @piece
 *
 * Returns its length, 0 at the end, or -1 after a message.
 */
ssize_t reader_next(struct reader *r, char *piece);

#endif /* _WORDCOUNT_READER_H */
