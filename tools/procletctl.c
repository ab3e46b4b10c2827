// SPDX-License-Identifier: GPL-2.0
/*
 * procletctl: configures the nodes of this machine and shows what runs on them.
 * It writes configfs and reads sysfs, /proc/proclet and the kernel's trace; the files
 * are described under Documentation/ABI/testing.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/proclet.h>

#include "procletctl.h"

/**
 * struct command - a subcommand
 * @noun: first word
 * @verb: second word, NULL: there is none
 * @run: does it; gets the words after these
 * @min: number of words it needs
 * @max: and takes; -1: it parses them itself
 * @args: they are
 * @doc: what it does
 */
struct command {
	const char *noun;
	const char *verb;
	enum status (*run)(char **argv);
	int min;
	int max;
	const char *args;
	const char *doc;
};

static const struct command commands[] = {
	{ "node", "add", node_add, 1, INT_MAX,
	  "NAME id=N [transport=rdma|loop] [addr=A] [port=P] [budget=SIZE] [member_budget=SIZE] [member_proclets=N] [spin_us=N] [keys=KEYS]",
	  "create a node of this machine" },
	{ "node", "enable", node_enable, 1, 1, "NAME",
	  "connect it to its peers and let programs join" },
	{ "node", "disable", node_disable, 1, 1, "NAME",
	  "the opposite; refused while programs run on it" },
	{ "node", "del", node_del, 1, 1, "NAME",
	  "disable a node, remove it and its peers" },
	{ "node", "keys", node_keys, 1, INT_MAX, "NAME [KEY]...",
	  "authenticate its peers by these keys from now on; none: do not" },
	{ "key", "add", key_add, 1, 1, "KEY",
	  "put a key, which is read from standard input, into the kernel's keyring" },
	{ "peer", "add", peer_add, 2, INT_MAX,
	  "NODE PEER id=N [addr=A] [port=P]",
	  "tell a node of another" },
	{ "peer", "del", peer_del, 2, 2, "NODE PEER",
	  "disconnect and forget it" },
	{ "wait", NULL, wait_command, 0, -1, "[-t SECONDS] NODE",
	  "wait until all peers of a node are up" },
	{ "show", NULL, show_config, 0, 0, "", "nodes and peers" },
	{ "lprocs", NULL, show_lprocs, 0, -1, "[-l NAME]",
	  "members of logical processes on this machine" },
	{ "ps", NULL, show_proclets, 0, -1, "[-l NAME]", "their proclets" },
	{ "threads", NULL, show_threads, 0, -1, "[-l NAME]",
	  "threads of these, with what they execute and wait for" },
	{ "trace", NULL, trace_command, 0, -1, "[-n NODE] [-c LINES]",
	  "migrations from this machine, live, with their phases" },
	{ "run", NULL, run_command, 0, -1,
	  "[-n MEMBERS] [-r ROOT] [--run ID] NODE -- PROGRAM [ARG...]",
	  "start a program as the member on a node" },
	{ }
};

static char *command_name(const struct command *c)
{
	return format("%s%s%s", c->noun, c->verb ? " " : "", c->verb ?: "");
}

static char *main_help(int key, const char *text, void *input)
{
	const struct command *c;
	size_t len;
	FILE *f;
	char *s;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)text;
	f = must_alloc(open_memstream(&s, &len));
	fputs("Commands:\n", f);
	for (c = commands; c->noun; c++) {
		char *name = command_name(c);

		fprintf(f, "  %s%s%s\n      %s\n", name, *c->args ? " " : "",
			c->args, c->doc);
		free(name);
	}
	fprintf(f, "\nSIZE is in bytes; K, M, G or T may follow. KEY is the description of a key, for instance proclet:cluster, KEYS are several in one word. Peers of one cluster have different ids, from 1 to %d.\n\n"
		"Exit status: 0 done; 1 failed; 2 wrong arguments; 3 proclet.ko is not loaded, or configfs or, for trace, tracefs not mounted; 4 wait: not all peers are up in time; run: the program's own, 126 it cannot be executed, 127 there is no such program.",
		PROCLET_MAX_NODES);
	fclose(f);
	return must_alloc(s);
}

static error_t main_parse(int key, char *arg, struct argp_state *state)
{
	char ***rest = state->input;

	(void)arg;
	switch (key) {
	case ARGP_KEY_ARG:
		*rest = state->argv + state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "COMMAND is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp main_argp = {
	.parser = main_parse,
	.args_doc = "COMMAND [ARG...]",
	.doc = "Operates the nodes of a proclet cluster on this machine.\v",
	.help_filter = main_help,
};

static const struct command *find_command(char **argv)
{
	const struct command *c;
	bool noun = false;

	for (c = commands; c->noun; c++) {
		if (strcmp(c->noun, argv[0]))
			continue;
		if (!c->verb || (argv[1] && !strcmp(c->verb, argv[1])))
			return c;
		noun = true;
	}
	if (!noun)
		die(STATUS_USAGE, "no command '%s'; see 'procletctl --help'",
		    argv[0]);
	die(STATUS_USAGE, "no command '%s %s'; see 'procletctl --help'",
	    argv[0], argv[1] ?: "");
}

int main(int argc, char **argv)
{
	const struct command *c;
	enum status status;
	char **rest;
	int n = 0;

	argp_err_exit_status = STATUS_USAGE;
	argp_parse(&main_argp, argc, argv, ARGP_IN_ORDER, NULL, &rest);
	c = find_command(rest);
	rest += c->verb ? 2 : 1;
	while (rest[n])
		n++;
	if (c->max >= 0 && (n < c->min || n > c->max))
		die(STATUS_USAGE, "usage: procletctl %s %s", command_name(c),
		    c->args);

	status = c->run(rest);
	if (fflush(stdout) || ferror(stdout))
		die(STATUS_FAILED, "cannot write: %m");
	return status;
}
