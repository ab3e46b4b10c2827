// SPDX-License-Identifier: GPL-2.0-or-later
/* Ratios, the table, the CSV. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

/* How a term of a row's base is parametrised. */
enum of {
	OF_NOTHING,
	OF_PARAM,	/* the row's own number of bytes */
	OF_64,
};

/**
 * struct rule - what rows are compared with: @factor x @metric + @plus x @to
 * @row: metric of the rows
 * @from: least number of bytes
 * @factor: of the first term
 * @metric: first term
 * @of: its parameter
 * @plus: factor of the second term
 * @to: second term
 *
 * Of several rules for a metric the last one that fits counts.
 */
static const struct rule {
	const char *row;
	size_t from;
	int factor;
	const char *metric;
	enum of of;
	int plus;
	const char *to;
} rules[] = {
	{ "raw_send_event", 0, 1, "raw_send_event", OF_PARAM, 0, NULL },
	{ "raw_send_poll", 0, 1, "raw_send_event", OF_PARAM, 0, NULL },
	{ "raw_read", 0, 1, "raw_read", OF_PARAM, 0, NULL },
	{ "raw_read_poll", 0, 1, "raw_read", OF_PARAM, 0, NULL },
	{ "call_remote", 0, 2, "raw_send_event", OF_64, 0, NULL },
	{ "call_remote", 4 * KIB, 1, "raw_send_event", OF_PARAM, 1, "raw_send_event" },
	{ "call_remote", 64 * KIB, 1, "raw_read", OF_PARAM, 2, "raw_send_event" },
	{ "call_c", 0, 1, "call_c", OF_PARAM, 0, NULL },
	{ "call_local", 0, 1, "call_c", OF_PARAM, 0, NULL },
	{ "move_prepare", 0, 1, "raw_send_event", OF_64, 0, NULL },
	{ "move_freeze", 0, 1, "raw_send_event", OF_64, 0, NULL },
	{ "move_offer", 0, 1, "raw_send_event", OF_64, 0, NULL },
	{ "move_pull", 0, 1, "raw_read", OF_PARAM, 0, NULL },
	{ "move_commit", 0, 1, "raw_send_event", OF_64, 0, NULL },
	{ "move_resume", 0, 1, "raw_send_event", OF_64, 0, NULL },
	{ "move_blackout", 0, 1, "raw_read", OF_PARAM, 0, NULL },
	{ "move_total", 0, 1, "raw_read", OF_PARAM, 0, NULL },
};

const char *size_text(char text[24], size_t n)
{
	if (n >= MIB && n % MIB == 0)
		snprintf(text, 24, "%zu MiB", n / MIB);
	else if (n >= KIB && n % KIB == 0)
		snprintf(text, 24, "%zu KiB", n / KIB);
	else
		snprintf(text, 24, "%zu B", n);
	return text;
}

/* "ESTALE (Stale file handle)" from -ESTALE. One at a time. */
const char *error_text(long err)
{
	static char text[96];
	const char *name = strerrorname_np(-err);

	snprintf(text, sizeof(text), "%s (%s)", name ? name : "?", strerror(-err));
	return text;
}

/* One term of a base; adds its name to @row. 0: it was not measured. */
static double term(const struct results *r, struct row *row, int factor,
		   const char *metric, size_t param)
{
	const struct row *raw = results_find(r, metric, param);
	size_t used = strlen(row->base);
	char size[24], times[16] = "";

	if (!raw)
		return 0;
	if (factor != 1)
		snprintf(times, sizeof(times), "%d x ", factor);
	snprintf(row->base + used, sizeof(row->base) - used, "%s%s%s(%s)",
		 used ? " + " : "", times, metric, size_text(size, param));
	return factor * raw->median;
}

void report_ratios(struct results *r)
{
	const struct rule *rule, *end = rules + ARRAY_SIZE(rules);
	size_t i;

	for (i = 0; i < r->count; i++) {
		struct row *row = &r->rows[i];
		const struct rule *fit = NULL;
		double first, second = 0;

		for (rule = rules; rule < end; rule++)
			if (!strcmp(rule->row, row->metric) && row->param >= rule->from)
				fit = rule;
		if (!fit)
			continue;
		row->base[0] = 0;
		first = term(r, row, fit->factor, fit->metric,
			     fit->of == OF_64 ? 64 : row->param);
		if (fit->to)
			second = term(r, row, fit->plus, fit->to, 64);
		row->raw = first && (second || !fit->to) ? first + second : 0;
	}
}

int report_table(const struct results *r, FILE *to)
{
	size_t i;

	fprintf(to, "%-15s %7s %12s %12s %12s %12s %7s %7s  %s\n", "metric", "bytes",
		"median us", "min us", "p99 us", "max us", "samples", "ratio", "to");
	for (i = 0; i < r->count; i++) {
		const struct row *row = &r->rows[i];
		char size[24], ratio[16] = "-";
		bool self = !strncmp(row->base, row->metric, strlen(row->metric)) &&
			    row->base[strlen(row->metric)] == '(';

		if (!row->samples.count)
			continue;
		if (row->raw)
			snprintf(ratio, sizeof(ratio), "%.2f", row->median / row->raw);
		fprintf(to, "%-15s %7s %12.3f %12.3f %12.3f %12.3f %7zu %7s  %s%s%s%s\n",
			row->metric, size_text(size, row->param), row->median / 1e3,
			row->min / 1e3, row->p99 / 1e3, row->max / 1e3,
			row->samples.count, ratio, row->raw && !self ? row->base : "",
			*row->note ? "[" : "", row->note, *row->note ? "]" : "");
	}
	return fflush(to) || ferror(to) ? -EIO : 0;
}

int report_csv(const struct results *r, FILE *to)
{
	size_t i;

	fputs("metric,param,value,unit,ratio_to_raw\n", to);
	for (i = 0; i < r->count; i++) {
		const struct row *row = &r->rows[i];

		if (!row->samples.count)
			continue;
		fprintf(to, "%s,%zu,%.1f,ns,", row->metric, row->param, row->median);
		if (row->raw)
			fprintf(to, "%.3f", row->median / row->raw);
		fprintf(to, "\n%s_p99,%zu,%.1f,ns,\n", row->metric, row->param, row->p99);
	}
	return fflush(to) || ferror(to) ? -EIO : 0;
}
