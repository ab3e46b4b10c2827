// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of a member is charged to its memory control group, wherever it is allocated:
 * heaps that move in, arguments that arrive, writes from afar. At the group's limit
 * operations fail, and nobody is killed.
 */
#include "command.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define MIB	(1L << 20)
#define ROOT	"/tmp/cgroup"
#define BYTES	(8 * MIB)
#define SLACK	(BYTES / 4)

struct block {
	__u64 *words;
	__u64 bytes;
};

static ssize_t fill(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;
	__u64 state = 11;

	if (in_len != sizeof(b->bytes))
		return -EINVAL;
	memcpy(&b->bytes, in, sizeof(b->bytes));
	b->words = proclet_malloc(b->bytes);
	if (!b->words)
		return -ENOMEM;
	for (__u64 i = 0; i < b->bytes / 8; i++)
		b->words[i] = next_random(&state);
	return answer_checksum(b->words, b->bytes, out, out_cap);
}
PROCLET_METHOD(fill);

static ssize_t sum_of(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct block *b = root;

	(void)in;
	(void)in_len;
	return answer_checksum(b->words, b->bytes, out, out_cap);
}
PROCLET_METHOD(sum_of);

static ssize_t swallow(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)out;
	(void)out_cap;
	return in_len;
}
PROCLET_METHOD(swallow);

static void group_file(char *path, size_t size, const char *name)
{
	snprintf(path, size, ROOT "/m%d/%s", lproc_node(), name);
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* This member into a group of its own. */
static ssize_t enter(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	char path[64], pid[16];

	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	mkdir(ROOT, 0755);
	if (access(ROOT "/cgroup.procs", F_OK) && mount("none", ROOT, "cgroup2", 0, NULL))
		return -errno;
	if (!write_file(ROOT "/cgroup.subtree_control", "+memory"))
		return -ENODEV;
	snprintf(path, sizeof(path), ROOT "/m%d", lproc_node());
	if (mkdir(path, 0755) && errno != EEXIST)
		return -errno;
	group_file(path, sizeof(path), "cgroup.procs");
	snprintf(pid, sizeof(pid), "%d", getpid());
	return write_file(path, pid) ? 0 : -EIO;
}
PROCLET_METHOD(enter);

/* The number in a file of the group, or behind a word in it. */
static ssize_t number(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	char path[64], line[128], format[64];
	const char *name = in, *word = name + strlen(name) + 1;
	ssize_t n = -ENOENT;
	FILE *f;

	(void)root;
	(void)in_len;
	(void)out;
	(void)out_cap;
	group_file(path, sizeof(path), name);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	snprintf(format, sizeof(format), "%s %%zd", word);
	while (n < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, format, &n) != 1)
			n = -ENOENT;
	fclose(f);
	return n;
}
PROCLET_METHOD(number);

static ssize_t limit(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	char path[64];

	(void)root;
	(void)in_len;
	(void)out;
	(void)out_cap;
	group_file(path, sizeof(path), "memory.max");
	return write_file(path, in) ? 0 : -EIO;
}
PROCLET_METHOD(limit);

static proclet_t homes[2];	/* pinned, one on each node */

static ssize_t current_of(int i)
{
	static const char name[] = "memory.current\0";

	return proclet_call(homes[i], number, name, sizeof(name), NULL, 0);
}

static ssize_t killed_in(int i)
{
	static const char name[] = "memory.events\0oom_kill";

	return proclet_call(homes[i], number, name, sizeof(name), NULL, 0);
}

/* So many bytes more than now, or (-1) no limit. */
static int set_limit(int i, ssize_t more)
{
	char text[32] = "max";

	if (more >= 0)
		snprintf(text, sizeof(text), "%zd", current_of(i) + more);
	CHECK_EQ(proclet_call(homes[i], limit, text, strlen(text) + 1, NULL, 0), 0);
	return KSFT_PASS;
}

/* What has gone is given back in the background, and counted in batches. */
static int shrinks(int i, ssize_t most)
{
	ssize_t now;
	int tries = 0;

	do {
		now = current_of(i);
		CHECK_GE(now, 0);
		if (now > most)
			usleep(10000);
	} while (now > most && ++tries < 1000);
	CHECK_GE(most, now);
	return KSFT_PASS;
}

static int setup(void)
{
	ssize_t ret;

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		struct proclet_attr attr = { 1 << 20, nodes[i], PROCLET_PINNED, 8 };

		if (homes[i])
			continue;
		CHECK_EQ(proclet_create(&homes[i], &attr), 0);
		ret = proclet_call(homes[i], enter, NULL, 0, NULL, 0);
		if (ret == -ENODEV || ret == -EBUSY)
			SKIP("there is no memory controller for version 2 groups");
		CHECK_EQ(ret, 0);
	}
	return set_limit(0, -1) ?: set_limit(1, -1);
}

static int filled(proclet_t *p, int i, __u64 *sum)
{
	__u64 bytes = BYTES;

	TRY(make(p, nodes[i], 4 * BYTES, sizeof(struct block)));
	CHECK_EQ(proclet_call(*p, fill, &bytes, sizeof(bytes), sum, sizeof(*sum)), sizeof(*sum));
	return KSFT_PASS;
}

static const unsigned int modes[] = {
	PROCLET_MOVE_STOP, PROCLET_MOVE_PRECOPY, PROCLET_MOVE_POSTCOPY,
};

static int moves_are_charged(void)
{
	ssize_t from, to;
	__u64 sum, again;
	proclet_t p;

	TRY(setup());
	for (unsigned int k = 0; k < ARRAY_SIZE(modes); k++) {
		from = current_of(0);
		TRY(filled(&p, 0, &sum));
		CHECK_GE(current_of(0), from + BYTES - SLACK);
		to = current_of(1);
		CHECK_EQ(proclet_migrate(p, nodes[1], modes[k]), 0);
		CHECK_EQ(proclet_call(p, sum_of, NULL, 0, &again, sizeof(again)),
			 sizeof(again));
		CHECK_EQ(again, sum);
		CHECK_GE(current_of(1), to + BYTES - SLACK);
		TRY(shrinks(0, from + SLACK));
		CHECK_EQ(proclet_destroy(p), 0);
		made_count--;
		TRY(shrinks(1, to + SLACK));
	}
	return KSFT_PASS;
}

/* A write from afar allocates the pages of the heap. */
static int writes_are_charged(void)
{
	static char bytes[MIB];
	ssize_t before;
	proclet_t p;

	TRY(setup());
	TRY(make(&p, nodes[1], 4 * BYTES, BYTES + 64));
	before = current_of(1);
	memset(bytes, 1, sizeof(bytes));
	for (ssize_t at = 0; at < BYTES; at += MIB)
		CHECK_EQ(proclet_write(p, at, bytes, MIB), MIB);
	CHECK_GE(current_of(1), before + BYTES - SLACK);
	TRY(set_limit(1, MIB));
	CHECK_EQ(proclet_destroy(p), 0);
	made_count--;
	return KSFT_PASS;
}

static int limit_refuses_moves(void)
{
	__u64 sum, again;
	ssize_t killed;
	proclet_t p;

	TRY(setup());
	killed = killed_in(1);
	CHECK_GE(killed, 0);
	TRY(filled(&p, 0, &sum));
	for (unsigned int k = 0; k < ARRAY_SIZE(modes); k++) {
		TRY(set_limit(1, 2 * MIB));
		CHECK_EQ(proclet_migrate(p, nodes[1], modes[k]), -ENOMEM);
		CHECK_EQ(proclet_locate(p), nodes[0]);
		CHECK_EQ(proclet_call(p, sum_of, NULL, 0, &again, sizeof(again)),
			 sizeof(again));
		CHECK_EQ(again, sum);
	}
	CHECK_EQ(killed_in(1), killed);
	TRY(set_limit(1, -1));
	CHECK_EQ(proclet_migrate(p, nodes[1], 0), 0);
	CHECK_EQ(proclet_call(p, sum_of, NULL, 0, &again, sizeof(again)), sizeof(again));
	CHECK_EQ(again, sum);
	return KSFT_PASS;
}

/* Arguments, and heaps written from afar. */
static int limit_refuses_bytes(void)
{
	static char bytes[MIB];
	ssize_t killed, ret;
	int refused = 0;
	proclet_t p;

	TRY(setup());
	TRY(make(&p, nodes[1], 16 * BYTES, BYTES + 64));
	killed = killed_in(1);
	TRY(set_limit(1, MIB / 2));
	CHECK_EQ(proclet_call(p, swallow, bytes, sizeof(bytes), NULL, 0), -ENOMEM);
	for (ssize_t at = 0; at < BYTES; at += MIB / 8) {
		ret = proclet_write(p, at, bytes, MIB / 8);
		if (ret == -ENOMEM)
			refused++;
		else
			CHECK_EQ(ret, MIB / 8);
	}
	CHECK_GE(refused, 1);
	CHECK_EQ(killed_in(1), killed);
	TRY(set_limit(1, -1));
	CHECK_EQ(proclet_call(p, swallow, bytes, sizeof(bytes), NULL, 0), sizeof(bytes));
	CHECK_EQ(proclet_write(p, BYTES - MIB, bytes, MIB), MIB);
	return KSFT_PASS;
}

/* ---- a slow callee ---- */

#define CALLERS		32
#define CALLS		4	/* of each, one after the other */

struct gate {
	volatile __u32 open;
	__u32 inside;
	__u32 passed;
};

static ssize_t pass(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct timespec ms = { 0, 5000000 };
	struct gate *g = root;

	__atomic_add_fetch(&g->inside, 1, __ATOMIC_RELAXED);
	while (!__atomic_load_n(&g->open, __ATOMIC_RELAXED))
		nanosleep(&ms, NULL);
	__atomic_add_fetch(&g->passed, 1, __ATOMIC_RELAXED);
	return answer_checksum(in, in_len, out, out_cap);
}
PROCLET_METHOD(pass);

static proclet_t slow;
static unsigned char argument[MIB];
static __u64 argument_sum;
static unsigned int right_answers;

static void *call_slow(void *unused)
{
	__u64 sum;

	(void)unused;
	for (int i = 0; i < CALLS; i++) {
		sum = 0;
		if (proclet_call(slow, pass, argument, sizeof(argument), &sum, sizeof(sum)) ==
		    sizeof(sum) && sum == argument_sum)
			__atomic_add_fetch(&right_answers, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/*
 * A caller has one call under way, so those of a callee that stands still take what their
 * number says, and no more, however long it stands: here the bytes on their way, there
 * these and the stacks that they go to.
 */
static int slow_callee(void)
{
	pthread_t threads[CALLERS];
	ssize_t before[2], most[2] = {}, now;
	struct gate g;
	__u32 one = 1;

	TRY(setup());
	memset(argument, 7, sizeof(argument));
	argument_sum = checksum(argument, sizeof(argument));
	TRY(make(&slow, nodes[1], 1 << 20, sizeof(struct gate)));
	for (int i = 0; i < 2; i++)
		before[i] = current_of(i);
	right_answers = 0;
	for (int i = 0; i < CALLERS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, call_slow, NULL), 0);
	/* All are there, and a while longer. */
	for (int tries = 0, more = 100; more && tries < 3000; tries++) {
		CHECK_EQ(proclet_read(slow, 0, &g, sizeof(g)), sizeof(g));
		more -= g.inside == CALLERS;
		for (int i = 0; i < 2; i++) {
			now = current_of(i);
			if (now > most[i])
				most[i] = now;
		}
		usleep(5000);
	}
	CHECK_EQ(proclet_write(slow, offsetof(struct gate, open), &one, sizeof(one)),
		 sizeof(one));
	for (int i = 0; i < CALLERS; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(g.inside, CALLERS);
	CHECK_EQ(right_answers, CALLERS * CALLS);
	for (int i = 0; i < 2; i++) {
		diag("node %d: %zd KiB more for %d calls of %ld KiB", nodes[i],
		     (most[i] - before[i]) / 1024, CALLERS, MIB / 1024);
		CHECK_GE(before[i] + 2 * CALLERS * MIB + BYTES, most[i]);
	}
	CHECK_EQ(proclet_read(slow, 0, &g, sizeof(g)), sizeof(g));
	CHECK_EQ(g.passed, CALLERS * CALLS);
	TRY(shrinks(0, before[0] + BYTES));
	return KSFT_PASS;
}

/* ---- budgets ---- */

static int set_member(const char *name, unsigned long value)
{
	char text[120];

	snprintf(text, sizeof(text), "echo %lu >/sys/kernel/config/proclet/n%d/%s", value,
		 nodes[1], name);
	return run_on(nodes[1], text);
}

/* Those of a member refuse what would move in, too. */
static int budgets_refuse_moves(void)
{
	struct proclet_attr attr = { 1 << 20, 0, PROCLET_PINNED, 8 };
	struct proclet_stats s;
	__u64 sum, again;
	proclet_t p, one_more;

	TRY(tap_nodes(2));
	attr.node = nodes[1];
	TRY(filled(&p, 0, &sum));
	TRY(set_member("member_budget", BYTES / 2));
	CHECK_EQ(proclet_migrate(p, nodes[1], 0), -ENOMEM);
	TRY(set_member("member_budget", 0));
	CHECK_EQ(lproc_stats(nodes[1], &s), 0);
	/* One more; that of the command may just be about to go. */
	TRY(set_member("member_proclets", s.proclets + 1));
	for (int tries = 0; tries < 1000 && proclet_create(&one_more, &attr); tries++)
		usleep(10000);
	CHECK_EQ(proclet_migrate(p, nodes[1], 0), -ENOMEM);
	CHECK_EQ(proclet_locate(p), nodes[0]);
	CHECK_EQ(proclet_destroy(one_more), 0);
	TRY(set_member("member_proclets", 0));
	CHECK_EQ(proclet_migrate(p, nodes[1], 0), 0);
	CHECK_EQ(proclet_call(p, sum_of, NULL, 0, &again, sizeof(again)), sizeof(again));
	CHECK_EQ(again, sum);
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	LONG_TEST(moves_are_charged),
	LONG_TEST(writes_are_charged),
	LONG_TEST(limit_refuses_moves),
	LONG_TEST(limit_refuses_bytes),
	LONG_TEST(slow_callee),
	LONG_TEST(budgets_refuse_moves),
};

static int root(int argc, char **argv)
{
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("cgroup", root, argc, argv) & 0xff;
}
