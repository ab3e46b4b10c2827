// SPDX-License-Identifier: GPL-2.0-or-later
/* procletbench: the root function. */
#include <errno.h>
#include <proclet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "child.h"

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

	for (i = 0; i < subject_count && !err; i++) {
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
		for (i = 0; i < subject_count && !err; i++)
			if (ready & subjects[i]->bit)
				err = subjects[i]->round(&pace, r);
	}
	for (i = subject_count; i-- > 0;)
		if (begun & subjects[i]->bit)
			subjects[i]->end();
	return err;
}

static void head(FILE *to, int root, int node)
{
	__u64 start = now_ns(), i;
	char machine[160];

	for (i = 1; i < 1000; i++)
		now_ns();
	machine_text(machine, sizeof(machine));
	fprintf(to, "machine: %s\n", machine);
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
	find_ratios(&results);
	find_targets(&results);
	if (results.count) {
		head(table, me, node);
		if ((report_table(&results, table) || report_targets(&results, table)) && !err) {
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

int main(int argc, char **argv)
{
	int status;

	/* The process that CRIU moves is no member. */
	if (argc == 3 && !strcmp(argv[1], VICTIM_OPTION))
		return victim(argv[2]);
	parse_options(argc, argv);
	status = lproc_main("procletbench", root, argc, argv);
	return status < 0 ? EXIT_FAILURE : status;
}
