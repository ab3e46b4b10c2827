// SPDX-License-Identifier: GPL-2.0-or-later
/* procletbench: the command line. */
#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

/* In the order of the rows. Those with a bit of BENCH_DEFAULT need not be asked for. */
const struct subject *const subjects[] = {
	&raw_subject, &calls_subject, &pipeline_subject, &tcp_subject, &memcached_subject,
	&moves_subject, &touch_subject, &criu_subject, &evacuate_subject, &work_subject,
	&memory_subject, &open_loop_subject,
};

const unsigned int subject_count = ARRAY_SIZE(subjects);

struct options options = {
	.iterations = 1000,
	.seconds = 2,
	.rounds = 3,
};

static unsigned long number(struct argp_state *state, const char *text,
			    const char *what, unsigned long max)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || !n || n > max)
		argp_error(state, "%s: %s must be from 1 to %lu", text, what, max);
	return n;
}

static void add_subjects(struct argp_state *state, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, ","), i;

		for (i = 0; i < ARRAY_SIZE(subjects); i++)
			if (strlen(subjects[i]->name) == len &&
			    !strncmp(text, subjects[i]->name, len))
				break;
		if (i == ARRAY_SIZE(subjects))
			argp_error(state, "%s: not a subject", text);
		else
			options.what |= subjects[i]->bit;
		text += len + (text[len] == ',');
	}
}

/* What was asked for by options of its own. */
static unsigned int more;

static error_t parse(int key, char *arg, struct argp_state *state)
{
	char *end;

	switch (key) {
	case 'c':
		options.csv = arg;
		return 0;
	case 'i':
		options.iterations = number(state, arg, "the number of samples", 1000000);
		return 0;
	case 's':
		options.seconds = strtod(arg, &end);
		if (end == arg || *end || !isfinite(options.seconds) || options.seconds < 0 ||
		    options.seconds > 86400)
			argp_error(state, "%s: must be seconds", arg);
		return 0;
	case 'r':
		options.rounds = number(state, arg, "the number of rounds", 1000);
		return 0;
	case 'o':
		add_subjects(state, arg);
		return 0;
	case 'n':
		options.node = number(state, arg, "a node", 32);
		return 0;
	case 'a':
		options.address = arg;
		return 0;
	case 'b':
		more |= BENCH_BASELINE;
		return 0;
	case 'l':
		options.rate = strtod(arg, &end);
		options.fixed = !strcmp(end, ",fixed");
		if (end == arg || (*end && !options.fixed) || !(options.rate > 0) ||
		    options.rate > 1e7)
			argp_error(state, "%s: must be calls per second, or that and ',fixed'",
				   arg);
		more |= BENCH_OPEN_LOOP;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "%s: no arguments are taken", arg);
		return 0;
	case ARGP_KEY_END:
		if (!options.what)
			options.what = BENCH_DEFAULT;
		options.what |= more;
		if ((options.what & BENCH_OPEN_LOOP) && !options.rate)
			argp_error(state, "open-loop needs its rate: --open-loop=RATE");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option argp_options[] = {
	{ "csv", 'c', "FILE", 0,
	  "Also write CSV to FILE on the root's node; -: to stdout, the table to stderr", 0 },
	{ "iterations", 'i', "N", 0,
	  "Take N samples of each row (default 1000), or fewer: see --seconds", 0 },
	{ "seconds", 's', "S", 0,
	  "Give a row no more than S seconds (default 2), but ten samples", 0 },
	{ "rounds", 'r', "N", 0,
	  "Take the samples in N rounds over all rows (default 3)", 0 },
	{ "only", 'o', "WHAT", 0,
	  "Measure only some of raw, calls, pipeline, moves, touch, evacuate, work, memory", 0 },
	{ "baseline", 'b', NULL, 0,
	  "Also measure tcp, memcached and criu, for comparison", 0 },
	{ "open-loop", 'l', "RATE[,fixed]", 0,
	  "Also make RATE calls per second, timed from when they ought to start", 0 },
	{ "node", 'n', "ID", 0,
	  "Measure against this node (default: the lowest id that is not the root's)", 0 },
	{ "address", 'a', "ADDR", 0,
	  "IPv4 address of that node's RDMA device (default: the node says it)", 0 },
	{ 0 }
};

static const struct argp argp = {
	.options = argp_options,
	.parser = parse,
	.doc = "Measure calls and moves of proclets beside raw verbs, in one run.\n"
	       "\vA program of a logical process, to be started on two or more nodes:\n"
	       "  tools/vcluster run -n 2 -- tools/procletbench/procletbench --csv -\n"
	       "\n"
	       "The manual page procletbench(1) says what the rows are.\n",
};

void parse_options(int argc, char **argv)
{
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
}
