// SPDX-License-Identifier: GPL-2.0
/* procletctl wait and run: from an enabled node to a running program. */
#define _GNU_SOURCE
#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <linux/proclet.h>

#include "procletctl.h"

#define WAIT_DEFAULT	120	/* seconds */

/* wait */

static int ms_left(const struct timespec *end)
{
	struct timespec now;
	long long ms;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (end->tv_sec - now.tv_sec) * 1000LL +
	     (end->tv_nsec - now.tv_nsec) / 1000000;
	return ms < 0 ? 0 : ms > INT_MAX ? INT_MAX : (int)ms;
}

static unsigned int count_dirs(const char *path)
{
	char **names = list_dirs(path);
	unsigned int n = 0;

	while (names[n])
		n++;
	free_names(names);
	return n;
}

static void complain_of_peers(const char *peers_dir)
{
	char **peers = list_dirs(peers_dir), **peer;

	for (peer = peers; *peer; peer++) {
		char *dir = format("%s/%s", peers_dir, *peer);
		char *status = show_value(dir, "status");

		if (strcmp(status, "up"))
			complain("peer %s is %s", *peer, status);
		free(status);
		free(dir);
	}
	free_names(peers);
}

static enum status wait_for_peers(const char *name, unsigned int seconds)
{
	char *dir = need_node(name), *peers = format("%s/peers", dir);
	char *path = format("%s/%s/peers_up", CLASS, name);
	struct timespec end;
	struct pollfd pfd = { .events = POLLPRI };
	char buf[16];
	ssize_t len;
	int left;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += seconds;

	pfd.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (pfd.fd < 0)
		die(STATUS_FAILED, "node %s: %s: %m", name, path);
	for (;;) {
		/* Reading arms the next poll(). */
		len = pread(pfd.fd, buf, sizeof(buf) - 1, 0);
		if (len < 0)
			die(STATUS_FAILED, "node %s: was removed", name);
		buf[len] = '\0';
		need_enabled(dir, name);
		if (strtoul(buf, NULL, 10) >= count_dirs(peers)) {
			close(pfd.fd);
			return STATUS_OK;
		}
		left = ms_left(&end);
		if (!left)
			break;
		if (poll(&pfd, 1, left) < 0 && errno != EINTR)
			die(STATUS_FAILED, "node %s: %s: %m", name, path);
	}
	close(pfd.fd);
	complain_of_peers(peers);
	complain("node %s: not all peers are up after %u s; are they enabled, and do they have this node as a peer?",
		 name, seconds);
	return STATUS_TIMEOUT;
}

/* run */

/**
 * struct run - how to start a member
 * @node: name of the node
 * @members: number of members that the root waits for
 * @root: name or id of the root's node, NULL: the lowest id
 * @run: number of the run, the same for all members
 * @run_given: there is one
 * @program: and its arguments
 */
struct run {
	const char *node;
	unsigned int members;
	const char *root;
	unsigned long long run;
	bool run_given;
	char **program;
};

/* The id of a node as this one knows it, by its name; 0: not known. */
static unsigned int id_by_name(const char *node, const char *dir,
			       const char *name)
{
	char *peer;
	unsigned int id;

	if (!strcmp(name, node))
		return read_number(dir, "id");
	check_name("node", name);
	peer = format("%s/peers/%s", dir, name);
	id = read_number(peer, "id");
	free(peer);
	return id;
}

static unsigned int lowest_id(const char *node, const char *dir)
{
	char *peers_dir = format("%s/peers", dir);
	char **peers = list_dirs(peers_dir), **peer;
	unsigned int id, lowest = read_number(dir, "id");

	for (peer = peers; *peer; peer++) {
		id = id_by_name(node, dir, *peer);
		if (id && id < lowest)
			lowest = id;
	}
	free_names(peers);
	free(peers_dir);
	return lowest;
}

static unsigned int root_id(const struct run *r, const char *dir)
{
	unsigned long id;
	char *end;

	if (!r->root)
		return r->members == 1 ? read_number(dir, "id") :
					 lowest_id(r->node, dir);
	id = strtoul(r->root, &end, 10);
	if (*end || end == r->root)
		id = id_by_name(r->node, dir, r->root);
	if (id < 1 || id > PROCLET_MAX_NODES)
		die(STATUS_USAGE,
		    "run: root %s: neither an id from 1 to %d nor node %s nor one of its peers; see 'procletctl show'",
		    r->root, PROCLET_MAX_NODES, r->node);
	return id;
}

static void must_setenv(const char *name, char *value)
{
	if (setenv(name, value, 1) < 0)
		die(STATUS_FAILED, "out of memory");
	free(value);
}

static enum status run(struct run *r)
{
	char *dir = need_node(r->node);
	enum status status;

	need_enabled(dir, r->node);
	/* A member alone needs a number that no other run has. */
	if (!r->run_given && r->members == 1 && !getenv("PROCLET_RUN"))
		r->run_given = getrandom(&r->run, sizeof(r->run), 0) ==
			       sizeof(r->run);
	if (r->run_given)
		must_setenv("PROCLET_RUN", format("%016llx", r->run));
	must_setenv("PROCLET_NODE", show_value(dir, "id"));
	must_setenv("PROCLET_MEMBERS", format("%u", r->members));
	must_setenv("PROCLET_ROOT", format("%u", root_id(r, dir)));

	execvp(r->program[0], r->program);
	status = errno == ENOENT ? STATUS_NOPROG : STATUS_NOEXEC;
	complain("%s: cannot be executed: %m", r->program[0]);
	return status;
}

/* Arguments of wait and run. */

static unsigned long long parse_number(struct argp_state *state,
				       const char *what, const char *arg,
				       int base, unsigned long long max)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(arg, &end, base);
	if (errno || !isxdigit((unsigned char)*arg) || *end || n > max)
		argp_error(state, "%s '%s' must be a%s number of at most %llu",
			   what, arg, base == 16 ? " hexadecimal" : "", max);
	return n;
}

static const struct argp_option wait_options[] = {
	{ "timeout", 't', "SECONDS", 0, "Longest wait (default 120)", 0 },
	{ }
};

struct wait_args {
	const char *node;
	unsigned int seconds;
};

static error_t wait_parse(int key, char *arg, struct argp_state *state)
{
	struct wait_args *w = state->input;

	switch (key) {
	case 't':
		w->seconds = parse_number(state, "SECONDS", arg, 10, 1000000);
		return 0;
	case ARGP_KEY_ARG:
		if (w->node)
			argp_error(state, "one NODE only");
		w->node = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "NODE is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp wait_argp = {
	.options = wait_options,
	.parser = wait_parse,
	.args_doc = "NODE",
	.doc = "Waits until all peers of NODE are up. Exit status 4: they are not, in time.",
};

enum { KEY_RUN = 0x100 };

static const struct argp_option run_options[] = {
	{ "members", 'n', "MEMBERS", 0,
	  "Number of members, one on each node, that the root waits for (default 1)", 0 },
	{ "root", 'r', "ROOT", 0,
	  "Name or id of the node whose member is the root (default: the lowest id of NODE and its peers; with one member: NODE)", 0 },
	{ "run", KEY_RUN, "ID", 0,
	  "Up to 16 hex digits that tell this run of the program from others; the same on each machine (default: 0; with one member: random)", 0 },
	{ }
};

static error_t run_parse(int key, char *arg, struct argp_state *state)
{
	struct run *r = state->input;

	switch (key) {
	case 'n':
		r->members = parse_number(state, "MEMBERS", arg, 10,
					  PROCLET_MAX_NODES);
		if (!r->members)
			argp_error(state, "MEMBERS must be at least 1");
		return 0;
	case 'r':
		r->root = arg;
		return 0;
	case KEY_RUN:
		if (!strncmp(arg, "0x", 2))
			arg += 2;
		r->run = parse_number(state, "ID", arg, 16, ULLONG_MAX);
		r->run_given = true;
		return 0;
	case ARGP_KEY_ARG:
		/* The rest is the program and its arguments. */
		r->node = arg;
		r->program = state->argv + state->next;
		if (*r->program && !strcmp(*r->program, "--"))
			r->program++;
		if (!*r->program)
			argp_error(state, "PROGRAM is missing");
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "NODE is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp run_argp = {
	.options = run_options,
	.parser = run_parse,
	.args_doc = "NODE -- PROGRAM [ARG...]",
	.doc = "Executes PROGRAM as the member on NODE of a logical process. Run it on each machine of the cluster with the same MEMBERS, ROOT and ID.",
};

/* argp takes the program's name for messages from argv[0]. */
void parse_options(const struct argp *argp, const char *name, char **argv,
		   void *input)
{
	int argc = 0;
	char *full = format("%s %s", program_invocation_short_name, name);

	while (argv[argc])
		argc++;
	argv[-1] = full;
	argp_parse(argp, argc + 1, argv - 1, ARGP_IN_ORDER, NULL, input);
}

enum status wait_command(char **argv)
{
	struct wait_args w = { .seconds = WAIT_DEFAULT };

	parse_options(&wait_argp, "wait", argv, &w);
	return wait_for_peers(w.node, w.seconds);
}

enum status run_command(char **argv)
{
	struct run r = { .members = 1 };

	parse_options(&run_argp, "run", argv, &r);
	return run(&r);
}
