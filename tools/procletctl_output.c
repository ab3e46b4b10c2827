// SPDX-License-Identifier: GPL-2.0
/* What procletctl says: messages and tables. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "procletctl.h"

static void __printf(1, 0) vcomplain(const char *fmt, va_list ap)
{
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vcomplain(fmt, ap);
	va_end(ap);
}

void die(enum status status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vcomplain(fmt, ap);
	va_end(ap);
	exit(status);
}

void *must_alloc(void *p)
{
	if (!p)
		die(STATUS_FAILED, "out of memory");
	return p;
}

char *format(const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	return must_alloc(n < 0 ? NULL : s);
}

static bool is_number(const char *s)
{
	return isdigit((unsigned char)*s) && strspn(s, "0123456789.") +
		strspn(s + strspn(s, "0123456789."), "KMGTP") == strlen(s);
}

void table_row(struct table *t, char **cells)
{
	t->cells = must_alloc(realloc(t->cells, (t->rows + 1) * t->columns *
						sizeof(*t->cells)));
	memcpy(t->cells + t->rows * t->columns, cells,
	       t->columns * sizeof(*cells));
	t->rows++;
}

void table_print(struct table *t)
{
	size_t *width = must_alloc(calloc(t->columns, sizeof(*width)));
	bool *right = must_alloc(calloc(t->columns, sizeof(*right)));
	size_t row, col;

	for (col = 0; col < t->columns; col++) {
		right[col] = t->rows > 1;
		for (row = 0; row < t->rows; row++) {
			const char *cell = t->cells[row * t->columns + col];

			if (strlen(cell) > width[col])
				width[col] = strlen(cell);
			if (row && !is_number(cell))
				right[col] = false;
		}
	}
	for (row = 0; row < t->rows; row++) {
		for (col = 0; col < t->columns; col++) {
			char *cell = t->cells[row * t->columns + col];

			if (col)
				fputs("  ", stdout);
			if (right[col])
				printf("%*s", (int)width[col], cell);
			else if (col + 1 < t->columns)
				printf("%-*s", (int)width[col], cell);
			else
				fputs(cell, stdout);
			free(cell);
		}
		putchar('\n');
	}
	free(t->cells);
	free(right);
	free(width);
}
