// SPDX-License-Identifier: GPL-2.0
/*
 * What can be seen of migrations: the histograms in debugfs and procletctl trace. The
 * root looks at its own machine, so what moves from its node is there.
 */
#include "moved.h"

#include <dirent.h>
#include <limits.h>
#include <signal.h>

#define INSTANCES "/sys/kernel/tracing/instances"
#define PARAMETER "/sys/module/proclet/parameters/move_mode"
#define MOVES 5
#define SLEEP_NS 50000000ULL

static const char *const phases[] = {
	"prepare", "early", "freeze", "offer", "pull", "commit", "resume", "blackout",
};

static ssize_t sleep_some(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return proclet_sleep_until(proclet_clock_ns() + SLEEP_NS);
}
PROCLET_METHOD(sleep_some);

static ssize_t run_pinned(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	proclet_pin();
	m->started = 1;
	while (!m->stop)
		;
	proclet_unpin();
	return 0;
}
PROCLET_METHOD(run_pinned);

/* ---- histograms ---- */

struct hist {
	unsigned long long count, sum, max;
	unsigned int lines;
};

static int hist_path(char *path, size_t size, const char *name)
{
	int n = snprintf(path, size, "/sys/kernel/debug/proclet/n%d/%s", nodes[0], name);

	CHECK(n > 0 && (size_t)n < size);
	return KSFT_PASS;
}

/* The file has the form that it should have. */
static int hist_read(const char *name, struct hist *h)
{
	unsigned long long from, to, n, last = 0, counted = 0;
	char path[128];
	FILE *f;
	int got;

	TRY(hist_path(path, sizeof(path), name));
	memset(h, 0, sizeof(*h));
	f = fopen(path, "r");
	if (!f)
		diag("%s: %s", path, strerror(errno));
	CHECK(f);
	got = fscanf(f, "count %llu sum %llu max %llu", &h->count, &h->sum, &h->max);
	while (got == 3 && fscanf(f, "%llu %llu %llu", &from, &to, &n) == 3) {
		h->lines++;
		counted += n;
		if (!n || from < last || to != (from ? 2 * from : 1))
			got = -1;
		/* The longest is in the last bucket. */
		last = to;
	}
	if (!feof(f))
		got = -1;
	fclose(f);
	diag("%s: count %llu sum %llu max %llu, %u lines", name, h->count, h->sum, h->max,
	     h->lines);
	CHECK_EQ(got, 3);
	CHECK_EQ(counted, h->count);
	CHECK_GE(h->sum, h->max);
	CHECK_GE(h->max * h->count + h->count, h->sum);
	if (h->count)
		CHECK(h->max < last && h->max >= last / 2);
	return KSFT_PASS;
}

static int hist_reset(void)
{
	char path[128];
	FILE *f;

	TRY(hist_path(path, sizeof(path), "reset"));
	f = fopen(path, "w");
	CHECK(f);
	fputs("1\n", f);
	CHECK_EQ(fclose(f), 0);
	return KSFT_PASS;
}

static int hist_counts(unsigned long long count)
{
	struct hist h;

	for (size_t i = 0; i < ARRAY_SIZE(phases); i++) {
		TRY(hist_read(phases[i], &h));
		CHECK_EQ(h.count, count);
	}
	return KSFT_PASS;
}

static int histograms(void)
{
	unsigned long long sum = 0;
	struct hist h, blackout;
	struct caller *c;
	proclet_t p;
	__u64 data;

	TRY(tap_nodes(2));
	TRY(filled(&p, nodes[0], 256 << 10, &data));
	TRY(hist_reset());
	TRY(hist_counts(0));
	/* Only what leaves counts. */
	for (int i = 0; i < MOVES; i++) {
		TRY(move(p, nodes[1]));
		TRY(move(p, nodes[0]));
	}
	TRY(hist_counts(MOVES));
	/* The blackout is made up of these. */
	for (size_t i = 2; i < 6; i++) {
		TRY(hist_read(phases[i], &h));
		CHECK_GE(h.sum, 1);
		sum += h.sum;
	}
	TRY(hist_read("blackout", &blackout));
	CHECK_GE(blackout.sum + 4, sum);
	CHECK_GE(sum + 4, blackout.sum);
	TRY(hist_read("commit", &h));
	CHECK_GE(blackout.max, h.max);

	/* Nor does one that comes to nothing. */
	TRY(mover(&p, nodes[0]));
	c = caller_start(p, run_pinned, NULL, 0, NULL, 0);
	TRY(wait_started(p, 1));
	CHECK_EQ(proclet_migrate(p, nodes[1], 0), -EBUSY);
	TRY(hist_counts(MOVES));
	stop_proclet(p);
	CHECK_EQ(caller_wait(c), 0);

	TRY(hist_reset());
	return hist_counts(0);
}

static int calls_histogram(void)
{
	struct caller *c[3];
	struct hist h;
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(mover(&p, nodes[1]));
	TRY(hist_reset());
	/* Those of threads of proclets are not in it. */
	CHECK_EQ(proclet_call(p, sleep_some, NULL, 0, NULL, 0), 0);
	TRY(hist_read("call", &h));
	CHECK_EQ(h.count, 0);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++)
		c[i] = caller_start(p, sleep_some, NULL, 0, NULL, 0);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++)
		CHECK_EQ(caller_wait(c[i]), 0);
	TRY(hist_read("call", &h));
	CHECK_EQ(h.count, ARRAY_SIZE(c));
	CHECK_GE(h.sum, ARRAY_SIZE(c) * SLEEP_NS / 1000);
	return hist_reset();
}

/* ---- procletctl trace ---- */

/**
 * struct line - of the table
 * @cells: its words
 * @n: how many
 */
struct line {
	char text[512];
	char *cells[32];
	int n;
};

static const char *const heads[] = {
	"TIME", "NODE", "PROCLET", "TO", "MODE", "WHY", "PREPARE", "EARLY", "FREEZE", "OFFER",
	"PULL", "COMMIT", "RESUME", "BLACKOUT", "BYTES", "RESULT",
};

static int read_line(FILE *f, struct line *l)
{
	char *save, *word;

	CHECK(fgets(l->text, sizeof(l->text), f));
	diag("%.*s", (int)strcspn(l->text, "\n"), l->text);
	l->n = 0;
	for (word = strtok_r(l->text, "\n ", &save); word && l->n < (int)ARRAY_SIZE(l->cells);
	     word = strtok_r(NULL, "\n ", &save))
		l->cells[l->n++] = word;
	CHECK_EQ(l->n, ARRAY_SIZE(heads));
	return KSFT_PASS;
}

static const char *cell(const struct line *l, const char *head)
{
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
		if (!strcmp(heads[i], head))
			return l->cells[i];
	return "";
}

/* -1: it is no number. */
static long long cell_number(const struct line *l, const char *head)
{
	const char *text = cell(l, head);
	char *end;
	long long n = strtoll(text, &end, 10);

	return *end || end == text ? -1 : n;
}

#define CHECK_CELL(l, head, want) do {						\
	if (strcmp(cell(l, head), want)) {					\
		diag("%s:%d: column %s: expected %s, saw %s", __FILE__, __LINE__, head, want, \
		     cell(l, head));						\
		return KSFT_FAIL;						\
	}									\
} while (0)

/* Starts it; when its head has come, it sees what happens. */
static int start_trace(FILE **f, const char *options)
{
	char command[128];
	struct line l;

	snprintf(command, sizeof(command), "exec procletctl trace %s", options);
	*f = popen(command, "r");
	CHECK(*f);
	TRY(read_line(*f, &l));
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
		CHECK_CELL(&l, heads[i], heads[i]);
	return KSFT_PASS;
}

static int count_instances(void)
{
	DIR *dir = opendir(INSTANCES);
	struct dirent *d;
	int n = 0;

	CHECK(dir);
	while ((d = readdir(dir)))
		n += !strncmp(d->d_name, "procletctl-", 11);
	closedir(dir);
	return n;
}

static int shows_move(FILE *f, proclet_t p, const char *mode, const char *why)
{
	char id[20], node[12], to[12];
	long long sum = 0, blackout;
	struct line l;

	TRY(read_line(f, &l));
	snprintf(id, sizeof(id), "%016llx", (unsigned long long)p);
	snprintf(node, sizeof(node), "%d", nodes[0]);
	snprintf(to, sizeof(to), "%d", nodes[1]);
	CHECK_CELL(&l, "NODE", node);
	CHECK_CELL(&l, "PROCLET", id);
	CHECK_CELL(&l, "TO", to);
	CHECK_CELL(&l, "MODE", mode);
	CHECK_CELL(&l, "WHY", why);
	CHECK_CELL(&l, "RESULT", "ok");
	CHECK_GE(cell_number(&l, "PREPARE"), 0);
	CHECK_GE(cell_number(&l, "EARLY"), 0);
	CHECK_GE(cell_number(&l, "RESUME"), 0);
	CHECK_GE(cell_number(&l, "BYTES"), 256 << 10);
	for (int i = 2; i < 6; i++) {
		long long us = cell_number(&l, heads[6 + i]);

		CHECK_GE(us, 0);
		sum += us;
	}
	blackout = cell_number(&l, "BLACKOUT");
	CHECK_GE(blackout, sum);
	CHECK_GE(sum + 4, blackout);
	return KSFT_PASS;
}

static int set_move_mode(const char *value, char *old, size_t size)
{
	FILE *f = fopen(PARAMETER, "r+");

	CHECK(f);
	if (old)
		CHECK(fgets(old, size, f));
	rewind(f);
	fputs(value, f);
	CHECK_EQ(fclose(f), 0);
	return KSFT_PASS;
}

static int modes_shown(FILE *f, proclet_t p)
{
	CHECK_EQ(proclet_migrate(p, nodes[1], PROCLET_MOVE_STOP), 0);
	TRY(shows_move(f, p, "stop", "asked"));
	/* It comes back from another node: not shown. */
	TRY(move(p, nodes[0]));
	CHECK_EQ(proclet_migrate(p, nodes[1], PROCLET_MOVE_PRECOPY), 0);
	TRY(shows_move(f, p, "precopy", "asked"));
	TRY(move(p, nodes[0]));
	TRY(set_move_mode("2", NULL, 0));
	TRY(move(p, nodes[1]));
	TRY(shows_move(f, p, "precopy", "parameter"));
	TRY(move(p, nodes[0]));
	TRY(set_move_mode("0", NULL, 0));
	TRY(move(p, nodes[1]));
	return shows_move(f, p, "stop", "size");
}

static int live_table(void)
{
	struct caller *c;
	struct line l;
	char old[16];
	proclet_t p;
	__u64 sum;
	FILE *f;
	int ret;

	TRY(tap_nodes(2));
	CHECK_EQ(count_instances(), 0);
	TRY(filled(&p, nodes[0], 256 << 10, &sum));
	snprintf(old, sizeof(old), "-n n%d -c 5", nodes[0]);
	TRY(start_trace(&f, old));
	CHECK_EQ(count_instances(), 1);

	TRY(set_move_mode("0", old, sizeof(old)));
	ret = modes_shown(f, p);
	TRY(set_move_mode(old, NULL, 0));
	TRY(ret);

	/* One that is given up ends in the phase that it has come to. */
	TRY(mover(&p, nodes[0]));
	c = caller_start(p, run_pinned, NULL, 0, NULL, 0);
	TRY(wait_started(p, 1));
	CHECK_EQ(proclet_migrate(p, nodes[1], PROCLET_MOVE_STOP), -EBUSY);
	TRY(read_line(f, &l));
	CHECK_CELL(&l, "RESULT", "EBUSY");
	CHECK_CELL(&l, "MODE", "stop");
	CHECK_GE(cell_number(&l, "PREPARE"), 0);
	CHECK_GE(cell_number(&l, "FREEZE"), 0);
	CHECK_CELL(&l, "OFFER", "-");
	CHECK_CELL(&l, "COMMIT", "-");
	CHECK_CELL(&l, "BLACKOUT", "-");
	stop_proclet(p);
	CHECK_EQ(caller_wait(c), 0);

	/* It was the fifth. */
	CHECK(!fgets(l.text, sizeof(l.text), f));
	CHECK_EQ(pclose(f), 0);
	CHECK_EQ(count_instances(), 0);
	return KSFT_PASS;
}

/* However it is ended, it cleans up, or the next one does. */
static int table_ends(void)
{
	static const struct {
		int signal;
		int status;
		int left;
	} ends[] = {
		{ SIGKILL, SIGKILL, 1 },
		{ SIGINT, 0, 0 },
		{ SIGTERM, 0, 0 },
	};
	DIR *dir;
	struct dirent *d;
	FILE *f;

	TRY(tap_nodes(1));
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		int pid = 0;

		TRY(start_trace(&f, ""));
		/* The only instance is named after its process. */
		CHECK_EQ(count_instances(), 1);
		dir = opendir(INSTANCES);
		CHECK(dir);
		while (!pid && (d = readdir(dir)))
			if (sscanf(d->d_name, "procletctl-%d", &pid) != 1)
				pid = 0;
		closedir(dir);
		CHECK_GE(pid, 2);
		CHECK_EQ(kill(pid, ends[i].signal), 0);
		CHECK_EQ(pclose(f), ends[i].status);
		CHECK_EQ(count_instances(), ends[i].left);
	}
	/* Nobody reads it any more. */
	TRY(start_trace(&f, ""));
	CHECK_EQ(pclose(f), 0);
	CHECK_EQ(count_instances(), 0);
	CHECK_EQ(WEXITSTATUS(system("procletctl trace -n 77 2>/dev/null")), 2);
	CHECK_EQ(WEXITSTATUS(system("procletctl trace -c 0 2>/dev/null")), 2);
	CHECK_EQ(WEXITSTATUS(system("procletctl trace -n nowhere 2>/dev/null")), 1);
	CHECK_EQ(count_instances(), 0);
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	TAP_TEST(histograms),
	TAP_TEST(calls_histogram),
	TAP_TEST(live_table),
	TAP_TEST(table_ends),
};

static int root(int argc, char **argv)
{
	tap_stop = stop_proclet;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("trace", root, argc, argv);
}
