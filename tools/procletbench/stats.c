// SPDX-License-Identifier: GPL-2.0-or-later
/* Samples, and the rows that are made of them. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

int samples_add(struct samples *s, double value)
{
	if (s->count == s->room) {
		size_t room = s->room ? 2 * s->room : 1024;
		double *p = realloc(s->values, room * sizeof(*p));

		if (!p)
			return -ENOMEM;
		s->values = p;
		s->room = room;
	}
	s->values[s->count++] = value;
	s->sorted = false;
	return 0;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The smallest sample that a share @q of them does not exceed. */
double samples_quantile(struct samples *s, double q)
{
	size_t rank;

	if (!s->count)
		return 0;
	if (!s->sorted)
		qsort(s->values, s->count, sizeof(*s->values), compare);
	s->sorted = true;
	rank = ceil(q * s->count);
	return s->values[rank ? rank - 1 : 0];
}

void samples_free(struct samples *s)
{
	free(s->values);
	memset(s, 0, sizeof(*s));
}

/* The row of that name, a new one if there is none; NULL: no room. */
struct row *results_row(struct results *r, const char *metric, size_t param)
{
	struct row *row = (struct row *)results_find(r, metric, param);

	if (row || r->count == BENCH_MAX_ROWS)
		return row;
	row = &r->rows[r->count++];
	snprintf(row->metric, sizeof(row->metric), "%s", metric);
	row->param = param;
	return row;
}

/* One sample more of a row. */
int results_add(struct results *r, const char *metric, size_t param, enum unit unit,
		double value)
{
	struct row *row = results_row(r, metric, param);

	if (!row)
		return -ENOSPC;
	row->unit = unit;
	return samples_add(&row->samples, value);
}

const struct row *results_find(const struct results *r, const char *metric,
			       size_t param)
{
	size_t i;

	for (i = 0; i < r->count; i++)
		if (r->rows[i].param == param && !strcmp(r->rows[i].metric, metric))
			return &r->rows[i];
	return NULL;
}

/* The best of the rows that say how long so many bytes take, in bytes per second. */
double results_bandwidth(const struct results *r, const char *metric)
{
	double best = 0, rate;
	size_t i;

	for (i = 0; i < r->count; i++) {
		if (strcmp(r->rows[i].metric, metric) || !r->rows[i].median)
			continue;
		rate = r->rows[i].param / r->rows[i].median * 1e9;
		if (rate > best)
			best = rate;
	}
	return best;
}

void results_finish(struct results *r)
{
	size_t i;

	for (i = 0; i < r->count; i++) {
		struct row *row = &r->rows[i];

		row->min = samples_quantile(&row->samples, 0);
		row->median = samples_quantile(&row->samples, 0.5);
		row->p90 = samples_quantile(&row->samples, 0.9);
		row->p99 = samples_quantile(&row->samples, 0.99);
		row->p999 = samples_quantile(&row->samples, 0.999);
		row->max = samples_quantile(&row->samples, 1);
	}
}

void results_free(struct results *r)
{
	while (r->count)
		samples_free(&r->rows[--r->count].samples);
}
