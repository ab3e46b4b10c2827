// SPDX-License-Identifier: GPL-2.0
/*
 * procletctl trace: migrations as the kernel traces them, a line for each when it has
 * ended. The trace is in an instance of our own, so nobody else's is disturbed.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <linux/proclet.h>

#include "procletctl.h"

#define TRACEFS		"/sys/kernel/tracing"
#define INSTANCES	TRACEFS "/instances"
#define PREFIX		"procletctl-"
#define UNDER_WAY	1024	/* migrations whose end has not been seen */

static const char *const events[] = {
	"proclet_migrate_mode", "proclet_migrate", "proclet_migrated",
};

static const char *const phases[] = {
	"prepare", "early", "freeze", "offer", "pull", "commit", "done",
};

#define PHASES	(sizeof(phases) / sizeof(phases[0]))

/**
 * struct move - a migration under way
 * @id: its number; 0: not in use
 * @age: the one with the lowest began first
 * @mode: and
 * @why: as the kernel names them
 * @seen: phases that have been traced, bits
 * @ns: how long each took; of the last, the blackout
 */
struct move {
	unsigned long long id;
	unsigned long long age;
	char mode[12];
	char why[12];
	unsigned int seen;
	unsigned long long ns[PHASES];
};

/**
 * struct tracer - one run of the command
 * @node: name or id of the only node to be shown, NULL: all
 * @lines: end after so many; 0: never
 * @shown: lines until now
 * @ages: migrations until now
 * @moves: those under way
 */
struct tracer {
	const char *node;
	unsigned long lines;
	unsigned long shown;
	unsigned long long ages;
	struct move moves[UNDER_WAY];
};

/* The instance, for who removes it at the end. */
static char *instance;
static int trace_pipe = -1;
static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
	(void)sig;
	interrupted = 1;
}

/* It cannot be removed while it is read. */
static void remove_instance(void)
{
	if (trace_pipe >= 0)
		close(trace_pipe);
	trace_pipe = -1;
	if (instance && rmdir(instance) < 0 && errno != ENOENT)
		complain("%s: cannot be removed: %m", instance);
	free(instance);
	instance = NULL;
}

/* Those of processes that were killed. One that is read is not removed. */
static void remove_leftovers(void)
{
	char **names = list_dirs(INSTANCES), **name;

	for (name = names; *name; name++) {
		char *path, *end;
		long pid;

		if (strncmp(*name, PREFIX, strlen(PREFIX)))
			continue;
		pid = strtol(*name + strlen(PREFIX), &end, 10);
		if (*end || pid <= 0)
			continue;
		if (pid != getpid() && (kill(pid, 0) == 0 || errno != ESRCH))
			continue;
		path = format("%s/%s", INSTANCES, *name);
		rmdir(path);
		free(path);
	}
	free_names(names);
}

static void need_tracefs(void)
{
	if (access(INSTANCES, F_OK) == 0)
		return;
	if (errno == EACCES)
		die(STATUS_FAILED, "%s: %m%s", TRACEFS, advice(errno));
	if (mount("tracefs", TRACEFS, "tracefs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0 &&
	    exists(INSTANCES))
		return;
	if (!exists(TRACEFS))
		die(STATUS_FAILED, "the kernel has no tracefs: %s is missing", TRACEFS);
	die(STATUS_NOMODULE,
	    "tracefs is not mounted: %s is missing; run 'mount -t tracefs none %s' as root",
	    INSTANCES, TRACEFS);
}

static void set(const char *name, const char *value)
{
	int err = write_value(instance, name, value);

	if (err)
		die(STATUS_FAILED, "%s/%s: %s%s", instance, name, strerror(err),
		    err == EINVAL ? "" : advice(err));
}

static unsigned int node_id(const char *name)
{
	unsigned int id;
	char *end, *dir;

	id = strtoul(name, &end, 10);
	if (*end || end == name) {
		dir = need_node(name);
		id = read_number(dir, "id");
		free(dir);
	}
	if (id < 1 || id > PROCLET_MAX_NODES)
		die(STATUS_USAGE, "trace: node %s: neither an id from 1 to %d nor a node that has one; see 'procletctl show'",
		    name, PROCLET_MAX_NODES);
	return id;
}

static void start_tracing(const struct tracer *t)
{
	char *filter = t->node ? format("node == %u", node_id(t->node)) : NULL, *path;

	need_module();
	need_tracefs();
	remove_leftovers();
	path = format("%s/%s%d", INSTANCES, PREFIX, getpid());
	if (mkdir(path, 0700) < 0)
		die(STATUS_FAILED, "%s: %m%s", path, errno == EEXIST ? "" : advice(errno));
	instance = path;
	atexit(remove_instance);
	/* Comparable between processors, and with the time of day. */
	set("trace_clock", "mono");
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		char *dir = format("events/proclet/%s", events[i]);
		char *enable = format("%s/enable", dir), *name = format("%s/filter", dir);

		if (filter)
			set(name, filter);
		set(enable, "1");
		free(name);
		free(enable);
		free(dir);
	}
	path = format("%s/trace_pipe", instance);
	trace_pipe = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (trace_pipe < 0)
		die(STATUS_FAILED, "%s: %m%s", path, advice(errno));
	free(path);
	free(filter);
}

/* Lines of the trace. */

/* The word behind "name=" up to the next space; false: there is none. */
static bool field(const char *text, const char *name, char *value, size_t size)
{
	size_t len = strlen(name), n;

	for (; text; text = strchr(text, ' ')) {
		text += *text == ' ';
		if (strncmp(text, name, len) || text[len] != '=')
			continue;
		text += len + 1;
		n = strcspn(text, " ");
		if (n >= size)
			n = size - 1;
		memcpy(value, text, n);
		value[n] = '\0';
		return true;
	}
	return false;
}

static unsigned long long number(const char *text, const char *name, int base)
{
	char value[32];

	return field(text, name, value, sizeof(value)) ? strtoull(value, NULL, base) : 0;
}

static struct move *find_move(struct tracer *t, unsigned long long id)
{
	struct move *m, *oldest = &t->moves[0];

	for (m = t->moves; m < t->moves + UNDER_WAY; m++) {
		if (m->id == id)
			return m;
		/* One that is not in use has age 0. */
		if (m->age < oldest->age)
			oldest = m;
	}
	*oldest = (struct move) { .id = id, .age = ++t->ages, .mode = "-", .why = "-" };
	return oldest;
}

/* "early took=12ns": the first word is no field. */
static void take_phase(struct move *m, const char *text)
{
	const char *took = strstr(text, " took="), *word = took;

	if (!took)
		return;
	while (word > text && word[-1] != ' ')
		word--;
	for (size_t i = 0; i < PHASES; i++) {
		if (strlen(phases[i]) != (size_t)(took - word) ||
		    strncmp(word, phases[i], took - word))
			continue;
		m->seen |= 1U << i;
		m->ns[i] = number(took, "took", 10);
	}
}

static void show_head(void)
{
	printf("%-12s %4s %16s %3s %-8s %-9s %8s %8s %8s %8s %8s %8s %8s %8s %10s  %s\n",
	       "TIME", "NODE", "PROCLET", "TO", "MODE", "WHY", "PREPARE", "EARLY", "FREEZE",
	       "OFFER", "PULL", "COMMIT", "RESUME", "BLACKOUT", "BYTES", "RESULT");
}

/* Of the day, from the trace's clock. */
static void show_time(const char *stamp)
{
	struct timespec mono, real;
	long long ms;
	struct tm tm;
	time_t s;

	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &real);
	ms = (real.tv_sec - mono.tv_sec) * 1000LL + (real.tv_nsec - mono.tv_nsec) / 1000000 +
	     (long long)(strtod(stamp, NULL) * 1000);
	s = ms / 1000;
	localtime_r(&s, &tm);
	printf("%02d:%02d:%02d.%03d ", tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ms % 1000));
}

static void show_us(bool known, unsigned long long ns)
{
	if (known)
		printf(" %8llu", ns / 1000);
	else
		printf(" %8s", "-");
}

static void show_move(struct tracer *t, struct move *m, const char *stamp, const char *text)
{
	int err = (int)strtol(strstr(text, " err=") ? strstr(text, " err=") + 5 : "0", NULL, 10);
	size_t done = PHASES - 1, i;

	show_time(stamp);
	printf("%4llu %016llx %3llu %-8s %-9s", number(text, "node", 10),
	       number(text, "proclet", 16), number(text, "to", 10), m->mode, m->why);
	for (i = 0; i < done; i++)
		show_us(m->seen & 1U << i, m->ns[i]);
	show_us(!err, number(text, "resume", 10));
	show_us(!err && m->seen & 1U << done, m->ns[done]);
	printf(" %10llu  %s\n", number(text, "bytes", 10),
	       !err ? "ok" : strerrorname_np(-err) ?: "?");
	t->shown++;
	memset(m, 0, sizeof(*m));
}

/* "task-pid [cpu] flags time: event: fields"; anything can be in the task's name. */
static void take_line(struct tracer *t, char *line)
{
	char *event = strstr(line, ": proclet_migrate"), *text, *stamp;
	struct move *m;

	if (!event) {
		if (strstr(line, "LOST"))
			complain("the kernel lost events, so lines are missing:%s", line);
		return;
	}
	*event = '\0';
	event += 2;
	stamp = strrchr(line, ' ');
	text = strstr(event, ": ");
	if (!stamp || !text || !number(text + 2, "migration", 16))
		return;
	*text = '\0';
	text += 2;
	/* The destination's part has another node's number. */
	if (strstr(text, " install took=") || strstr(text, " abort took="))
		return;
	m = find_move(t, number(text, "migration", 16));
	if (!strcmp(event, "proclet_migrate_mode")) {
		field(text, "mode", m->mode, sizeof(m->mode));
		field(text, "why", m->why, sizeof(m->why));
	} else if (!strcmp(event, "proclet_migrate")) {
		take_phase(m, text);
	} else if (!strcmp(event, "proclet_migrated")) {
		show_move(t, m, stamp, text);
	}
}

/* What trace_pipe gives ends with a whole line, unless one is longer than the buffer. */
static void take_lines(struct tracer *t, char *buf, size_t *len)
{
	char *line = buf, *end;

	while ((!t->lines || t->shown < t->lines) &&
	       (end = memchr(line, '\n', buf + *len - line))) {
		*end = '\0';
		take_line(t, line);
		line = end + 1;
	}
	*len -= line - buf;
	memmove(buf, line, *len);
}

static void follow(struct tracer *t)
{
	struct sigaction sa = { .sa_handler = interrupt }, old;
	struct pollfd fds[] = { { .events = POLLIN }, { .fd = STDOUT_FILENO } };
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	sigset_t block, before;
	static char buf[65536];
	size_t len = 0, i;
	ssize_t n;

	/* They come in ppoll() only. */
	sigemptyset(&block);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&block, signals[i]);
	sigprocmask(SIG_BLOCK, &block, &before);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		sigdelset(&before, signals[i]);
		sigaction(signals[i], NULL, &old);
		if (old.sa_handler != SIG_IGN)
			sigaction(signals[i], &sa, NULL);
	}
	/* Who reads our output may go first; that is an error of write() then. */
	signal(SIGPIPE, SIG_IGN);

	start_tracing(t);
	fds[0].fd = trace_pipe;
	show_head();
	while (!fflush(stdout) && (!t->lines || t->shown < t->lines)) {
		if (ppoll(fds, 2, NULL, &before) < 0 && errno != EINTR)
			die(STATUS_FAILED, "%s: %m", instance);
		if (interrupted || fds[1].revents & (POLLERR | POLLHUP))
			return;
		n = read(trace_pipe, buf + len, sizeof(buf) - len);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			die(STATUS_FAILED, "%s/trace_pipe: %m", instance);
		if (n <= 0)
			continue;
		len += n;
		take_lines(t, buf, &len);
		if (len == sizeof(buf))
			len = 0;	/* no line of ours */
	}
}

static const struct argp_option trace_options[] = {
	{ "node", 'n', "NODE", 0, "Only migrations from this node of this machine, by its name or id", 0 },
	{ "count", 'c', "LINES", 0, "End after so many (default: when interrupted)", 0 },
	{ }
};

static error_t trace_parse(int key, char *arg, struct argp_state *state)
{
	struct tracer *t = state->input;
	char *end;

	switch (key) {
	case 'n':
		t->node = arg;
		return 0;
	case 'c':
		errno = 0;
		t->lines = strtoul(arg, &end, 10);
		if (errno || !isdigit((unsigned char)*arg) || *end || !t->lines)
			argp_error(state, "LINES '%s' must be a number from 1 on", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp trace_argp = {
	.options = trace_options,
	.parser = trace_parse,
	.doc = "Shows migrations from the nodes of this machine as they end, with the microseconds that each phase took, until it is interrupted.",
};

enum status trace_command(char **argv)
{
	static struct tracer t;

	parse_options(&trace_argp, "trace", argv, &t);
	follow(&t);
	remove_instance();
	return STATUS_OK;
}
