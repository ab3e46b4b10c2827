// SPDX-License-Identifier: GPL-2.0-or-later
/* The table, the CSV, and how values are written. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

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

/* The unit's name for people; @scale: what values are to be multiplied with. */
const char *unit_text(enum unit unit, double *scale)
{
	*scale = 1;
	switch (unit) {
	case UNIT_NS:
		*scale = 1e-3;
		return "us";
	case UNIT_PER_SECOND:
		return "1/s";
	case UNIT_BYTES_PER_SECOND:
		*scale = 1e-6;
		return "MB/s";
	case UNIT_BYTES:
		return "B";
	case UNIT_COUNT:
		break;
	}
	return "";
}

int report_table(const struct results *r, FILE *to)
{
	size_t i;

	fprintf(to, "%-18s %7s %4s %11s %11s %11s %11s %11s %7s %7s  %s\n", "metric",
		"bytes", "", "median", "p90", "p99", "p99.9", "max", "samples", "ratio", "to");
	for (i = 0; i < r->count; i++) {
		const struct row *row = &r->rows[i];
		char size[24], ratio[16] = "-";
		bool self = !strncmp(row->base, row->metric, strlen(row->metric)) &&
			    row->base[strlen(row->metric)] == '(';
		const char *unit;
		double scale;

		if (!row->samples.count)
			continue;
		unit = unit_text(row->unit, &scale);
		if (row->raw)
			snprintf(ratio, sizeof(ratio), "%.2f", row->median / row->raw);
		fprintf(to, "%-18s %7s %4s %11.3f %11.3f %11.3f %11.3f %11.3f %7zu %7s  %s%s%s%s\n",
			row->metric, size_text(size, row->param), unit, row->median * scale,
			row->p90 * scale, row->p99 * scale, row->p999 * scale, row->max * scale,
			row->samples.count, ratio, row->raw && !self ? row->base : "",
			*row->note ? "[" : "", row->note, *row->note ? "]" : "");
	}
	return fflush(to) || ferror(to) ? -EIO : 0;
}

/* A text between commas. None of ours has quotes. */
static void csv_text(FILE *to, const char *text)
{
	fprintf(to, strchr(text, ',') ? ",\"%s\"" : ",%s", text);
}

int report_csv(const struct results *r, FILE *to)
{
	static const char *const units[] = {
		[UNIT_NS] = "ns", [UNIT_PER_SECOND] = "1/s", [UNIT_BYTES_PER_SECOND] = "B/s",
		[UNIT_BYTES] = "B", [UNIT_COUNT] = "1",
	};
	size_t i;

	fputs("metric,param,value,unit,ratio_to_raw,target,met,formula,min,p90,p99,p999,max,samples,to,note\n",
	      to);
	for (i = 0; i < r->count; i++) {
		const struct row *row = &r->rows[i];

		if (!row->samples.count)
			continue;
		fprintf(to, "%s,%zu,%.1f,%s,", row->metric, row->param, row->median,
			units[row->unit]);
		if (row->raw)
			fprintf(to, "%.3f", row->median / row->raw);
		if (row->met == MET_NO_TARGET)
			fputs(",,,", to);
		else
			fprintf(to, ",%.1f,%s,%s", row->target, row->met == MET ? "met" : "not met",
				row->aim);
		fprintf(to, ",%.1f,%.1f,%.1f,%.1f,%.1f,%zu", row->min, row->p90, row->p99,
			row->p999, row->max, row->samples.count);
		csv_text(to, row->raw ? row->base : "");
		csv_text(to, row->note);
		fputs("\n", to);
		if (row->unit == UNIT_NS)
			fprintf(to, "%s_p99,%zu,%.1f,ns,,,,,,,,,,%zu,,\n", row->metric,
				row->param, row->p99, row->samples.count);
	}
	return fflush(to) || ferror(to) ? -EIO : 0;
}
