// SPDX-License-Identifier: GPL-2.0-or-later
/* procletbench: the command line, and the root function. */
#include <argp.h>
#include <errno.h>
#include <math.h>
#include <proclet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

static const struct subject *const subjects[] = {
	&raw_subject, &calls_subject, &moves_subject,
};

static struct options options = {
	.iterations = 1000,
	.seconds = 2,
	.rounds = 3,
};

/* The node to measure against; negative after a message. */
static int choose_node(int root)
{
	int ids[64], n, i;

	n = lproc_nodes(ids, ARRAY_SIZE(ids));
	if (n < 0) {
		complain("cannot list the nodes: %s", error_text(n));
		return n;
	}
	for (i = 0; i < n && i < (int)ARRAY_SIZE(ids); i++)
		if (ids[i] != root && (!options.node || ids[i] == options.node))
			return ids[i];
	if (options.node)
		complain("node %d has no other member than the root", options.node);
	else
		complain("there is no second member: start me on two nodes");
	return -EHOSTUNREACH;
}

/*
 * What changes while the run lasts, changes all rows alike if each is measured
 * a little in every round.
 */
static int measure(int node, struct results *r)
{
	unsigned long least = BENCH_MIN_SAMPLES;
	struct pace pace;
	unsigned int begun = 0, ready = 0, i;
	unsigned long round;
	int err = 0;

	if (least > options.iterations)
		least = options.iterations;
	pace.want = (options.iterations + options.rounds - 1) / options.rounds;
	pace.least = (least + options.rounds - 1) / options.rounds;
	pace.limit_ns = options.seconds * 1e9 / options.rounds;

	for (i = 0; i < ARRAY_SIZE(subjects) && !err; i++) {
		if (!(options.what & subjects[i]->bit))
			continue;
		begun |= subjects[i]->bit;
		err = subjects[i]->begin(&options, node);
		if (!err)
			ready |= subjects[i]->bit;
		if (err == -ENODEV)
			err = 0;
	}
	for (round = 1; round <= options.rounds && !err; round++) {
		if (isatty(STDERR_FILENO))
			complain("round %lu of %lu", round, options.rounds);
		for (i = 0; i < ARRAY_SIZE(subjects) && !err; i++)
			if (ready & subjects[i]->bit)
				err = subjects[i]->round(&pace, r);
	}
	for (i = ARRAY_SIZE(subjects); i-- > 0;)
		if (begun & subjects[i]->bit)
			subjects[i]->end();
	return err;
}

static void head(FILE *to, int root, int node)
{
	__u64 start = now_ns(), i;

	for (i = 1; i < 1000; i++)
		now_ns();
	fprintf(to, "root on node %d, against node %d; %lu rounds; a look at the clock: %.0f ns\n",
		root, node, options.rounds, (now_ns() - start) / 1e3);
}

static int root(int argc, char **argv)
{
	bool csv_alone = options.csv && !strcmp(options.csv, "-");
	FILE *table = csv_alone ? stderr : stdout, *csv = NULL;
	int me = lproc_node(), node, err;
	static struct results results;

	(void)argc;
	(void)argv;
	node = choose_node(me);
	if (node < 0)
		return EXIT_FAILURE;
	/* Before the work, not after it, is the time to find out. */
	if (options.csv) {
		csv = csv_alone ? stdout : fopen(options.csv, "w");
		if (!csv) {
			complain("cannot write %s: %s", options.csv, error_text(-errno));
			return EXIT_FAILURE;
		}
	}
	err = measure(node, &results);
	results_finish(&results);
	report_ratios(&results);
	if (results.count) {
		head(table, me, node);
		if (report_table(&results, table) && !err) {
			complain("cannot write the table");
			err = -EIO;
		}
	}
	if (csv && !err) {
		err = report_csv(&results, csv);
		if (err)
			complain("cannot write %s", options.csv);
	}
	if (csv && csv != stdout && fclose(csv) && !err) {
		complain("cannot write %s: %s", options.csv, error_text(-errno));
		err = -EIO;
	}
	results_free(&results);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

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
			argp_error(state, "%s: must be of raw, calls, moves", text);
		else
			options.what |= subjects[i]->bit;
		text += len + (text[len] == ',');
	}
}

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
	case ARGP_KEY_ARG:
		argp_error(state, "%s: no arguments are taken", arg);
		return 0;
	case ARGP_KEY_END:
		if (!options.what)
			options.what = BENCH_ALL;
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
	  "Measure only raw, calls or moves, or several, with commas between", 0 },
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
	       "CSV lines are metric,param,value,unit,ratio_to_raw with medians in ns and\n"
	       "param in bytes; METRIC_p99 beside each. What the ratios are to needs the\n"
	       "raw rows. The metrics:\n"
	       "\n"
	       "  raw_send_event  one-way time of a SEND, waiting asleep; half a round trip\n"
	       "  raw_send_poll   the same, spinning: to raw_send_event\n"
	       "  raw_read        RDMA READs of so many bytes, best chunking, asleep\n"
	       "  raw_read_poll   the same, spinning: to raw_read\n"
	       "  call_remote     round trip with so many bytes in and 8 out (64: 64 out):\n"
	       "                  64: to 2 x raw_send_event(64)\n"
	       "                  4096: to raw_send_event(4096) + raw_send_event(64)\n"
	       "                  more: to raw_read(n) + 2 x raw_send_event(64)\n"
	       "  call_c          indirect C call that copies as much; batches of 1000\n"
	       "  call_local      call on the same node, 8 bytes each way: to call_c\n"
	       "  move_prepare, move_freeze, move_offer, move_commit, move_resume\n"
	       "                  phases of a migration of a heap of so many bytes, all\n"
	       "                  written: to raw_send_event(64)\n"
	       "  move_pull, move_blackout, move_total\n"
	       "                  to raw_read(n); total: as the caller sees it\n",
};

int main(int argc, char **argv)
{
	int status;

	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	status = lproc_main("procletbench", root, argc, argv);
	return status < 0 ? EXIT_FAILURE : status;
}
