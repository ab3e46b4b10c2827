// SPDX-License-Identifier: GPL-2.0-or-later
/* What the rows are compared with. */
#include <stdio.h>
#include <string.h>

#include "bench.h"

/* How a term of a row's base is parametrised. */
enum of {
	OF_NOTHING,
	OF_PARAM,	/* the row's own number of bytes */
	OF_64,
	OF_BANDWIDTH,	/* of all rows of that name, the best */
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
	{ "raw_echo_rate", 0, 1, "raw_send_rate", OF_64, 0, NULL },
	{ "call_pipelined", 0, 1, "raw_send_rate", OF_64, 0, NULL },
	{ "tcp_echo", 0, 2, "raw_send_event", OF_64, 0, NULL },
	{ "memcached_get", 0, 2, "raw_send_event", OF_64, 0, NULL },
	{ "open_loop", 0, 2, "raw_send_event", OF_64, 0, NULL },
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
	{ "postcopy_blackout", 0, 1, "raw_send_event", OF_64, 0, NULL },
	{ "first_touch", 0, 1, "raw_read", OF_PARAM, 0, NULL },
	{ "criu_blackout", 0, 1, "raw_read", OF_PARAM, 0, NULL },
	{ "evacuate", 0, 1, "raw_read", OF_BANDWIDTH, 0, NULL },
	{ "work_lost_per_move", 0, 1, "work_blackout", OF_PARAM, 0, NULL },
};

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

void find_ratios(struct results *r)
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
		if (fit->of == OF_BANDWIDTH) {
			row->raw = results_bandwidth(r, fit->metric);
			snprintf(row->base, sizeof(row->base), "bandwidth of %s", fit->metric);
			continue;
		}
		first = term(r, row, fit->factor, fit->metric,
			     fit->of == OF_64 ? 64 : row->param);
		if (fit->to)
			second = term(r, row, fit->plus, fit->to, 64);
		row->raw = first && (second || !fit->to) ? first + second : 0;
	}
}
