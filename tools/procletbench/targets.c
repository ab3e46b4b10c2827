// SPDX-License-Identifier: GPL-2.0-or-later
/* What the medians ought to be, as sums of what was measured in the same run. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

#define SEND		"raw_send_event"	/* always of 64 bytes */

/**
 * struct target - @factor x @metric + @sends x raw_send
 * @row: metric of the rows
 * @from: least number of bytes
 * @to: largest
 * @at_least: the median is to reach it; else, not to exceed it
 * @factor: of the first term; without @metric it is the term
 * @metric: of as many bytes as the row; @bandwidth: the best of all its rows
 * @sends: factor of a SEND's one-way time
 * @aim: the same, in words
 */
static const struct target {
	const char *row;
	size_t from;
	size_t to;
	bool at_least;
	double factor;
	const char *metric;
	bool bandwidth;
	double sends;
	const char *aim;
} targets[] = {
	{ .row = "call_remote", .from = 64, .to = 64, .sends = 3,
	  .aim = "1.5 x (2 x raw_send)" },
	{ .row = "call_remote", .from = 64 * KIB, .to = 64 * KIB, .factor = 1.3,
	  .metric = "raw_read", .sends = 2, .aim = "1.3 x raw_read + 2 x raw_send" },
	{ .row = "call_pipelined", .from = 64, .to = 64, .at_least = true, .factor = 0.7,
	  .metric = "raw_send_rate", .aim = "0.7 x raw_send_rate" },
	{ .row = "call_local", .from = 8, .to = 8, .factor = 4, .metric = "call_c",
	  .aim = "4 x call_c" },
	{ .row = "move_blackout", .to = 16 * MIB, .factor = 1.2, .metric = "raw_read",
	  .sends = 5, .aim = "1.2 x raw_read + 5 x raw_send" },
	{ .row = "postcopy_blackout", .to = 64 * MIB, .sends = 6, .aim = "6 x raw_send" },
	{ .row = "first_touch", .from = 4 * KIB, .to = 4 * KIB, .factor = 1.5,
	  .metric = "raw_read", .sends = 1, .aim = "1.5 x raw_read + raw_send" },
	{ .row = "evacuate", .to = -1, .at_least = true, .factor = 0.85, .metric = "raw_read",
	  .bandwidth = true, .aim = "0.85 x bandwidth of raw_read" },
	{ .row = "work_lost_per_move", .to = -1, .factor = 2, .metric = "work_blackout",
	  .aim = "2 x work_blackout" },
	{ .row = "memory_per_proclet", .to = -1, .factor = 12 * KIB, .aim = "12 KiB" },
};

/* 0: what it is made of was not measured. */
static double value(const struct results *r, const struct target *t, const struct row *row)
{
	const struct row *send = results_find(r, SEND, 64), *first;
	double sum = t->factor;

	if (t->bandwidth) {
		sum *= results_bandwidth(r, t->metric);
	} else if (t->metric) {
		first = results_find(r, t->metric, row->param);
		sum *= first ? first->median : 0;
	}
	if (t->factor && !sum)
		return 0;
	if (t->sends && !send)
		return 0;
	return sum + (t->sends ? t->sends * send->median : 0);
}

void find_targets(struct results *r)
{
	const struct target *t, *end = targets + ARRAY_SIZE(targets);
	size_t i;

	for (i = 0; i < r->count; i++) {
		struct row *row = &r->rows[i];
		bool met;

		for (t = targets; t < end; t++)
			if (!strcmp(t->row, row->metric) && row->param >= t->from &&
			    row->param <= t->to)
				break;
		if (t == end || !row->samples.count)
			continue;
		row->target = value(r, t, row);
		if (!row->target)
			continue;
		met = t->at_least ? row->median >= row->target : row->median <= row->target;
		row->met = met ? MET : MET_NOT;
		row->aim = t->aim;
	}
}

int report_targets(const struct results *r, FILE *to)
{
	bool head = false;
	size_t i;

	for (i = 0; i < r->count; i++) {
		const struct row *row = &r->rows[i];
		const char *unit;
		char size[24];
		double scale;

		if (row->met == MET_NO_TARGET)
			continue;
		if (!head)
			fprintf(to, "\n%-18s %7s %4s %12s %12s  %-7s  %s\n", "metric", "bytes",
				"", "target", "figure", "", "target is");
		head = true;
		unit = unit_text(row->unit, &scale);
		fprintf(to, "%-18s %7s %4s %12.3f %12.3f  %-7s  %s\n", row->metric,
			size_text(size, row->param), unit, row->target * scale,
			row->median * scale, row->met == MET ? "met" : "not met", row->aim);
	}
	return fflush(to) || ferror(to) ? -EIO : 0;
}
