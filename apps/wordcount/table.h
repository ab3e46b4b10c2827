/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The result: words with their counts, in the memory of the root's process.
 */
#ifndef _WORDCOUNT_TABLE_H
#define _WORDCOUNT_TABLE_H

#include <linux/types.h>
#include <stddef.h>
#include <stdio.h>

struct entry {
	__u64 count;
	size_t len;
	char *text;
};

/* All zeroes: empty. */
struct table {
	struct entry *entries;
	size_t count;
	size_t cap;
};

/* table_add() - add a word, lower case; copied. 0, or -1 after a message. */
int table_add(struct table *t, __u64 count, const char *text, size_t len);

/* table_sort() - highest count first, ties by the words' bytes; each word once */
void table_sort(struct table *t);

/* table_print() - as lines COUNT WORD. Returns 0, or -1 after a message. */
int table_print(const struct table *t, FILE *f);

void table_free(struct table *t);

#endif /* _WORDCOUNT_TABLE_H */
