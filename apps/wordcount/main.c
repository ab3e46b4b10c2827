// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * wordcount: how often each word occurs, counted by proclets.
 *
 *   files -> reader -> feeders -> mappers -> reducers -> table -> stdout
 *            (root's process)     (proclets on all nodes) (root's process)
 *
 * There are some mappers and reducers on each node. A feeder is a thread that
 * hands one piece of text after the other to its mapper. The mapper counts the
 * words in its heap and sends the counts, a batch at a time, to the reducers,
 * each of which has a share of the words.
 */
#include <argp.h>
#include <errno.h>
#include <proclet.h>
#include <stdlib.h>

#include "job.h"

#define SHARDS_MAX	1024
#define INTERVAL_MAX	3600000

static const struct argp_option option_list[] = {
	{ "shards", 's', "SHARDS", 0,
	  "Number of reducers (default: two for each node)", 0 },
	{ "migrate", 'm', "MIGRATE_MS", 0,
	  "Migrate a random mapper or reducer to a random other node every MIGRATE_MS milliseconds (default: never)",
	  0 },
	{ NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0 },
	{ 0 }
};

static unsigned int number(struct argp_state *state, const char *arg,
			   unsigned long max)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(arg, &end, 10);
	if (errno || end == arg || *end || *arg == '-' || !n || n > max)
		argp_error(state, "%s: not a number from 1 to %lu", arg, max);
	return n;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *opt = state->input;

	switch (key) {
	case 's':
		opt->shards = number(state, arg, SHARDS_MAX);
		return 0;
	case 'm':
		opt->migrate_ms = number(state, arg, INTERVAL_MAX);
		return 0;
	case 'h':
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		return 0;
	case ARGP_KEY_ARGS:
		opt->paths = state->argv + state->next;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "no file given");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = option_list,
	.parser = parse_option,
	.args_doc = "FILE|DIR...",
	.doc = "Count the words in files and in all files below directories. Words are runs of ASCII letters, in lower case. Prints lines COUNT WORD, highest count first.",
};

static struct options options;

static int root(int argc, char **argv)
{
	struct job job;
	int ret;

	(void)argc;
	(void)argv;
	ret = job_run(&job, &options);
	if (!ret)
		ret = table_print(&job.result, stdout);
	if (!ret)
		job_summary(&job);
	job_free(&job);
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	int ret;

	argp_err_exit_status = EXIT_FAILURE;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	ret = lproc_main("wordcount", root, argc, argv);
	return ret < 0 ? EXIT_FAILURE : ret;
}
