// SPDX-License-Identifier: GPL-2.0-or-later
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

int table_add(struct table *t, __u64 count, const char *text, size_t len)
{
	struct entry *e;

	if (t->count == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 1024;
		struct entry *entries;

		entries = reallocarray(t->entries, cap, sizeof(*entries));
		if (!entries)
			goto no_memory;
		t->entries = entries;
		t->cap = cap;
	}
	e = &t->entries[t->count];
	e->text = malloc(len);
	if (!e->text)
		goto no_memory;
	memcpy(e->text, text, len);
	e->len = len;
	e->count = count;
	++t->count;
	return 0;

no_memory:
	warnx("out of memory for the result");
	return -1;
}

static int text_order(const void *a, const void *b)
{
	const struct entry *x = a;
	const struct entry *y = b;
	int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);

	if (order)
		return order;
	return x->len < y->len ? -1 : x->len > y->len;
}

static int result_order(const void *a, const void *b)
{
	const struct entry *x = a;
	const struct entry *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return text_order(a, b);
}

/* Only a word that is too long for the mappers can be there more than once. */
static void merge(struct table *t)
{
	size_t i, n = 0;

	qsort(t->entries, t->count, sizeof(*t->entries), text_order);
	for (i = 0; i < t->count; ++i) {
		if (n && !text_order(&t->entries[n - 1], &t->entries[i])) {
			t->entries[n - 1].count += t->entries[i].count;
			free(t->entries[i].text);
		} else {
			t->entries[n++] = t->entries[i];
		}
	}
	t->count = n;
}

void table_sort(struct table *t)
{
	if (!t->count)
		return;
	merge(t);
	qsort(t->entries, t->count, sizeof(*t->entries), result_order);
}

int table_print(const struct table *t, FILE *f)
{
	size_t i;

	for (i = 0; i < t->count; ++i) {
		const struct entry *e = &t->entries[i];

		fprintf(f, "%llu ", (unsigned long long)e->count);
		fwrite(e->text, 1, e->len, f);
		putc('\n', f);
	}
	if (fflush(f) || ferror(f)) {
		warn("cannot write the result");
		return -1;
	}
	return 0;
}

void table_free(struct table *t)
{
	size_t i;

	for (i = 0; i < t->count; ++i)
		free(t->entries[i].text);
	free(t->entries);
	memset(t, 0, sizeof(*t));
}
