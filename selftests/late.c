// SPDX-License-Identifier: GPL-2.0
/*
 * A member that joins late: the logical process is at work when the last node
 * gets its member, which then is one like the others.
 *
 * The late one waits at a gate, a logical process of another name: it is there
 * with a file of its own, and goes on as soon as the root comes, too.
 */
#include "tap.h"
#include "raw.h"

#include <stdint.h>

#define GATE "late-gate"
#define WORDS 50000

struct box {
	__u64 calls;
	__u64 *data;
};

static ssize_t fill(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct box *b = root;
	__u64 state = 5, sum;

	(void)in;
	(void)in_len;
	if (out_cap != sizeof(sum))
		return -EINVAL;
	b->data = proclet_malloc(WORDS * sizeof(__u64));
	if (!b->data)
		return -ENOMEM;
	for (int i = 0; i < WORDS; i++)
		b->data[i] = next_random(&state);
	return answer_checksum(b->data, WORDS * sizeof(__u64), out, out_cap);
}
PROCLET_METHOD(fill);

static ssize_t sum(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct box *b = root;
	__u64 value = checksum(b->data, WORDS * sizeof(__u64));

	(void)in;
	(void)in_len;
	if (out_cap != sizeof(value))
		return -EINVAL;
	memcpy(out, &value, sizeof(value));
	return sizeof(value);
}
PROCLET_METHOD(sum);

/* Counts, and says where. */
static ssize_t count(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	__u64 n = __atomic_add_fetch(&((struct box *)root)->calls, 1, __ATOMIC_RELAXED);

	(void)in;
	(void)in_len;
	if (out_cap != sizeof(n))
		return -EINVAL;
	memcpy(out, &n, sizeof(n));
	return lproc_node();
}
PROCLET_METHOD(count);

/* In: a proclet; calls count() there. Returns node * 100 + the node of that. */
static ssize_t count_there(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	proclet_t p;
	ssize_t ret;

	(void)root;
	if (in_len != sizeof(p))
		return -EINVAL;
	memcpy(&p, in, sizeof(p));
	/* Only as many bytes come back as the node's number says. */
	memset(out, 0, out_cap);
	ret = proclet_call(p, count, NULL, 0, out, out_cap);
	return ret < 0 ? ret : lproc_node() * 100 + ret;
}
PROCLET_METHOD(count_there);

static int late_node;
static bool enough;

static struct {
	pthread_t thread;
	proclet_t p;
	__u64 calls;
	ssize_t error;
} worker;

/* Calls go on all the time. */
static void *call_on(void *unused)
{
	(void)unused;
	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		__u64 n = 0;
		ssize_t ret = proclet_call(worker.p, count, NULL, 0, &n, sizeof(n));

		worker.calls++;
		if (ret < 1 || n != worker.calls) {
			worker.error = ret < 0 ? ret : -EBADMSG;
			break;
		}
	}
	return NULL;
}

/* Lets the late member in, and waits until it is one. */
static int open_gate(void)
{
	const struct timespec tick = { 0, 5000000 };
	int fd = raw_open(), all = env_number("PROCLET_TEST_ALL", 0), ids[32];

	CHECK_GE(fd, 0);
	CHECK_EQ(raw_join(fd, GATE, strtoull(getenv("PROCLET_RUN") ?: "0", NULL, 16)), 0);
	/* The test's own limit of time ends this, should it not come. */
	while (lproc_nodes(ids, 32) < all)
		nanosleep(&tick, NULL);
	close(fd);
	TRY(tap_nodes(all));
	CHECK_EQ(node_count, all);
	return KSFT_PASS;
}

static int call_counts(proclet_t p, int node, __u64 expected)
{
	__u64 n = 0;

	CHECK_EQ(proclet_call(p, count, NULL, 0, &n, sizeof(n)), node);
	CHECK_EQ(n, expected);
	return KSFT_PASS;
}

static int calls_from(proclet_t from, int at, proclet_t to, int there, __u64 expected)
{
	__u64 n = 0;

	CHECK_EQ(proclet_call(from, count_there, &to, sizeof(to), &n, sizeof(n)),
		 at * 100 + there);
	CHECK_EQ(n, expected);
	return KSFT_PASS;
}

static int joins_late(void)
{
	struct proclet_attr attr = { 1 << 20, late_node, 0, sizeof(struct box) };
	proclet_t here, there, roamer, filled, born, none;
	struct proclet_stats stats;
	__u64 before = 0, after = 0;
	ssize_t error;

	if (late_node < 3)
		SKIP("needs 3 nodes, there are %d", late_node);
	TRY(tap_nodes(2));
	CHECK_EQ(node_count, env_number("PROCLET_TEST_ALL", 0) - 1);
	TRY(make(&worker.p, nodes[1], MIB, sizeof(struct box)));
	TRY(make(&here, nodes[0], MIB, sizeof(struct box)));
	TRY(make(&there, nodes[1], MIB, sizeof(struct box)));
	TRY(make(&roamer, nodes[0], MIB, sizeof(struct box)));
	TRY(make(&filled, nodes[1], 4 * MIB, sizeof(struct box)));
	CHECK_EQ(proclet_call(filled, fill, NULL, 0, &before, sizeof(before)), sizeof(before));
	/* Away from its home before the late one could have heard of it. */
	CHECK_EQ(proclet_migrate(roamer, nodes[1], 0), 0);
	CHECK_EQ(proclet_create(&none, &attr), -EHOSTUNREACH);
	CHECK_EQ(proclet_migrate(filled, late_node, 0), -EHOSTUNREACH);
	CHECK_EQ(lproc_stats(late_node, &stats), -EHOSTUNREACH);
	CHECK_EQ(pthread_create(&worker.thread, NULL, call_on, NULL), 0);

	error = open_gate();
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	pthread_join(worker.thread, NULL);
	diag("%llu calls while it joined", worker.calls);
	TRY(error);
	CHECK_EQ(worker.error, 0);

	/* Calls reach it, from native threads, from here and from another node. */
	TRY(make(&born, late_node, MIB, sizeof(struct box)));
	CHECK_EQ(proclet_locate(born), late_node);
	TRY(call_counts(born, late_node, 1));
	TRY(calls_from(here, nodes[0], born, late_node, 2));
	TRY(calls_from(there, nodes[1], born, late_node, 3));
	/* It reaches the others, also who has moved before it came. */
	TRY(calls_from(born, late_node, here, nodes[0], 1));
	TRY(calls_from(born, late_node, there, nodes[1], 1));
	TRY(calls_from(born, late_node, roamer, nodes[1], 1));
	/* Proclets move to it and away again. */
	CHECK_EQ(proclet_migrate(filled, late_node, 0), 0);
	CHECK_EQ(proclet_migrate(roamer, late_node, 0), 0);
	CHECK_EQ(proclet_call(filled, sum, NULL, 0, &after, sizeof(after)), sizeof(after));
	CHECK_EQ(after, before);
	TRY(calls_from(born, late_node, roamer, late_node, 2));
	TRY(calls_from(there, nodes[1], roamer, late_node, 3));
	TRY(calls_from(roamer, late_node, worker.p, nodes[1], worker.calls + 1));
	CHECK_EQ(lproc_stats(late_node, &stats), 0);
	CHECK_EQ(stats.moved_in, 2);
	CHECK_EQ(stats.proclets, 3);
	CHECK_EQ(proclet_migrate(born, nodes[1], 0), 0);
	CHECK_EQ(proclet_migrate(roamer, nodes[0], 0), 0);
	TRY(call_counts(born, nodes[1], 4));
	TRY(call_counts(roamer, nodes[0], 4));
	CHECK_EQ(proclet_destroy(filled), 0);
	CHECK_EQ(lproc_stats(late_node, &stats), 0);
	CHECK_EQ(stats.proclets, 0);
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	TAP_TEST(joins_late),
};

static int root(int argc, char **argv)
{
	late_node = env_number("PROCLET_TEST_ALL", 0);
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

/* The last node's process, until the root lets it in. */
static int wait_at_gate(void)
{
	int fd = raw_open(), ret;

	if (fd < 0)
		return fd;
	ret = raw_join(fd, GATE, strtoull(getenv("PROCLET_RUN") ?: "0", NULL, 16));
	if (!ret)
		ret = raw_members(fd, 2, 120000, NULL);
	close(fd);
	return ret;
}

int main(int argc, char **argv)
{
	/* lproc_main() may execute the program again: this is done once. */
	if (!getenv("PROCLET_TEST_ALL")) {
		unsigned int all = env_number("PROCLET_MEMBERS", 1);
		char text[12];
		int err;

		if (all > 2 && env_number("PROCLET_NODE", 0) == all) {
			err = wait_at_gate();
			if (err) {
				fprintf(stderr, "late: at the gate: %s\n", strerror(-err));
				return 1;
			}
		}
		snprintf(text, sizeof(text), "%u", all);
		setenv("PROCLET_TEST_ALL", text, 1);
		snprintf(text, sizeof(text), "%u", all > 2 ? all - 1 : all);
		setenv("PROCLET_MEMBERS", text, 1);
	}
	return lproc_main("late", root, argc, argv);
}
