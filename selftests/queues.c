// SPDX-License-Identifier: GPL-2.0
/*
 * The queue pairs of a connection: as many as are asked for, messages and small reads
 * do not wait for bulk, and what is no part of a connection is refused. Only for the
 * transport rdma: nodes 2 and 3, not the root's.
 */
#include "command.h"
#include "drop_reads.h"
#include "knock.h"
#include "tap.h"

#include <linux/proclet.h>

#define BOUND 30	/* seconds */
#define PORT 7471
#define LARGE (32 << 10)	/* a READ for so many bytes is part of a bulk one */
#define NONE (~0ULL)

struct speaker {
	__u64 *data;
	__u64 words;
};

static ssize_t fill(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct speaker *s = root;
	__u64 state = 5;

	if (in_len != sizeof(__u64))
		return -EINVAL;
	s->words = *(const __u64 *)in / 8;
	s->data = proclet_malloc(s->words * 8);
	if (!s->data)
		return -ENOMEM;
	for (__u64 i = 0; i < s->words; i++)
		s->data[i] = next_random(&state);
	return answer_checksum(s->data, s->words * 8, out, out_cap);
}
PROCLET_METHOD(fill);

static ssize_t check(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct speaker *s = root;

	(void)in;
	(void)in_len;
	return answer_checksum(s->data, s->words * 8, out, out_cap);
}
PROCLET_METHOD(check);

static ssize_t echo(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	if (out_cap < in_len)
		return -EMSGSIZE;
	memcpy(out, in, in_len);
	return in_len;
}
PROCLET_METHOD(echo);

struct talk {
	proclet_t to;
	unsigned int size, count;
};

/* From this node to another and back. */
static ssize_t talk(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static unsigned char said[1 << 16], heard[1 << 16];
	const struct talk *t = in;
	ssize_t n;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(*t) || t->size > sizeof(said))
		return -EINVAL;
	for (unsigned int i = 0; i < t->count; i++) {
		memset(said, i + 1, t->size);
		n = proclet_call(t->to, echo, said, t->size, heard, t->size);
		if (n < 0)
			return n;
		if (n != t->size || memcmp(said, heard, t->size))
			return -EIO;
	}
	return 0;
}
PROCLET_METHOD(talk);

/* Requests for so many bytes do not arrive here. How many have not. */
static ssize_t drop_from(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static struct drop_reads *shared;
	int ret;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(__u64))
		return -EINVAL;
	if (!shared) {
		ret = drop_reads_start("eth0", &shared);
		if (ret) {
			shared = NULL;
			return ret;
		}
	}
	__atomic_store_n(&shared->from, *(const __u64 *)in, __ATOMIC_RELAXED);
	return __atomic_load_n(&shared->dropped, __ATOMIC_RELAXED);
}
PROCLET_METHOD(drop_from);

static ssize_t queue_pairs(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	FILE *f = popen("rdma res show qp | grep -c 'type RC'", "r");
	int n;

	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	if (!f || fscanf(f, "%d", &n) != 1)
		n = -EIO;
	if (f)
		pclose(f);
	return n;
}
PROCLET_METHOD(queue_pairs);

/* How often this node has been connected to peer n2. */
static ssize_t connects(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	FILE *f = fopen("/proc/proclet/peers", "r");
	char line[512], peer[64];
	int n = -ENOENT, count;

	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %63s %*d %*s %*x %*d %*d %*d %*d %d", peer, &count) == 2 &&
		    !strcmp(peer, "n2"))
			n = count;
	if (f)
		fclose(f);
	return n;
}
PROCLET_METHOD(connects);

#define KNOCKS	4

/* A visit to node 3 in the name of node 2, one queue pair after the other. */
struct visit {
	__u32 count;
	bool wait;		/* until it has ended all that were established */
	struct {
		__u8 qp, qps;
		bool other_nonce, other_incarnation;
		int answer;	/* REFUSE_*, or -errno */
	} knocks[KNOCKS];
};

static ssize_t visit(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct rdma_event_channel *channel = rdma_create_event_channel();
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	struct rdma_cm_id *ids[KNOCKS] = { NULL };
	struct visit *v = out;
	int established = 0, ret = 0;

	(void)root;
	if (in_len != sizeof(*v) || out_cap != sizeof(*v) || !channel)
		return -EINVAL;
	memcpy(v, in, sizeof(*v));
	addr.sin_addr.s_addr = inet_addr("10.77.0.3");
	for (unsigned int i = 0; i < v->count && i < ARRAY_SIZE(ids); i++) {
		struct rdma_hello hello = {
			.magic = htole32(HELLO_MAGIC),
			.version = htole16(WIRE_VERSION),
			.page_shift = htole16(HELLO_PAGE_SHIFT),
			.from = htole16(2),
			.to = htole16(3),
			.depth = htole16(HELLO_DEPTH_MIN),
			.qp = v->knocks[i].qp,
			.qps = v->knocks[i].qps,
			.incarnation = htole64(v->knocks[i].other_incarnation ? 5 : 4),
			.nonce = htole64(v->knocks[i].other_nonce ? 7 : 6),
		};

		ret = knock(channel, &addr, &hello, &ids[i]);
		established += !ret;
		v->knocks[i].answer = ret <= -1000 ? -1000 - ret : ret;
	}
	for (ret = 0; v->wait && established && !ret; established--)
		ret = knock_event(channel, RDMA_CM_EVENT_DISCONNECTED);
	for (unsigned int i = 0; i < ARRAY_SIZE(ids); i++)
		knock_end(ids[i]);
	rdma_destroy_event_channel(channel);
	return ret ?: (ssize_t)sizeof(*v);
}
PROCLET_METHOD(visit);

static proclet_t near, far;	/* pinned, on nodes 2 and 3 */

static int run(proclet_t p, const char *text)
{
	return proclet_call(p, command, text, strlen(text) + 1, NULL, 0);
}

/* Until calls from node 2 to node 3 succeed. */
static int wait_link(void)
{
	const struct talk once = { far, 64, 1 };
	struct timespec began, now, ms = { 0, 5000000 };

	clock_gettime(CLOCK_MONOTONIC, &began);
	while (proclet_call(near, talk, &once, sizeof(once), NULL, 0)) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		CHECK_GE(BOUND, now.tv_sec - began.tv_sec);
		nanosleep(&ms, NULL);
	}
	return KSFT_PASS;
}

static int disconnect(void)
{
	CHECK_EQ(run(near, "procletctl peer del n2 n3"), 0);
	return KSFT_PASS;
}

static int connect_again(void)
{
	CHECK_EQ(run(near, "procletctl peer add n2 n3 id=3 addr=10.77.0.3"), 0);
	return wait_link();
}

/* The node with the lower id connects, and asks for so many. */
static int reconnect(const char *read_qps)
{
	char text[128];

	TRY(disconnect());
	snprintf(text, sizeof(text), "echo %s >/sys/module/proclet/parameters/read_qps", read_qps);
	CHECK_EQ(run(near, text), 0);
	return connect_again();
}

static int setup(void)
{
	struct proclet_attr attr = { 1 << 20, 0, PROCLET_PINNED, sizeof(struct speaker) };

	TRY(tap_nodes(3));
	attr.node = nodes[1];
	CHECK_EQ(proclet_create(&near, &attr), 0);
	made[made_count++] = near;
	attr.node = nodes[2];
	CHECK_EQ(proclet_create(&far, &attr), 0);
	made[made_count++] = far;
	return wait_link();
}

static int count_is(proclet_t p, int wanted)
{
	struct timespec began, now, ms = { 0, 50000000 };
	ssize_t n;

	/* Those of the last connection are still on their way out. */
	clock_gettime(CLOCK_MONOTONIC, &began);
	for (;;) {
		n = proclet_call(p, queue_pairs, NULL, 0, NULL, 0);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (n == wanted || now.tv_sec - began.tv_sec > BOUND)
			break;
		nanosleep(&ms, NULL);
	}
	CHECK_EQ(n, wanted);
	return KSFT_PASS;
}

/* One for messages, and for reads as many as whoever connects wants, within bounds. */
static int as_many_as_asked(void)
{
	static const struct {
		const char *asked;
		int reads;
	} cases[] = { { "1", 1 }, { "4", 4 }, { "0", 1 }, { "100", 4 }, { "2", 2 } };

	TRY(setup());
	/* Each has two connections, as many as asked by default. */
	TRY(count_is(near, 2 * 3));
	TRY(count_is(far, 2 * 3));
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct talk large = { far, 1 << 16, 20 };

		TRY(reconnect(cases[i].asked));
		TRY(count_is(near, 3 + 1 + cases[i].reads));
		TRY(count_is(far, 3 + 1 + cases[i].reads));
		CHECK_EQ(proclet_call(near, talk, &large, sizeof(large), NULL, 0), 0);
	}
	return KSFT_PASS;
}

static struct {
	pthread_t thread;
	proclet_t p;
	__u64 sum;
	bool over;
	int ret;
} journey;

static void *travel(void *unused)
{
	(void)unused;
	journey.ret = proclet_migrate(journey.p, nodes[2], 0);
	__atomic_store_n(&journey.over, true, __ATOMIC_RELAXED);
	return NULL;
}

static ssize_t set_drop(__u64 from)
{
	return proclet_call(near, drop_from, &from, sizeof(from), NULL, 0);
}

/* Node 3 reads a heap from node 2, but its large READs do not arrive. */
static int journey_begin(void)
{
	__u64 bytes = 8 << 20;
	ssize_t n;

	TRY(setup());
	if (run(near, "test -e /sys/class/infiniband/rxe0"))
		SKIP("no soft-RoCE here");
	n = set_drop(NONE);
	if (n == -ENOSYS)
		SKIP("a kernel without bpf()");
	CHECK_GE(n, 0);
	TRY(make(&journey.p, nodes[1], 16 << 20, sizeof(struct speaker)));
	CHECK_EQ(proclet_call(journey.p, fill, &bytes, sizeof(bytes), &journey.sum,
			      sizeof(journey.sum)), sizeof(journey.sum));
	journey.over = false;
	CHECK_EQ(set_drop(LARGE), n);
	CHECK_EQ(pthread_create(&journey.thread, NULL, travel, NULL), 0);
	return KSFT_PASS;
}

/* One READ at least has been lost. */
static int journey_stands(void)
{
	struct timespec ms = { 0, 5000000 };
	ssize_t before = set_drop(LARGE);

	while (set_drop(LARGE) == before) {
		CHECK(!__atomic_load_n(&journey.over, __ATOMIC_RELAXED));
		nanosleep(&ms, NULL);
	}
	return KSFT_PASS;
}

static int journey_end(int ret)
{
	__u64 sum;

	set_drop(NONE);
	pthread_join(journey.thread, NULL);
	TRY(ret);
	TRY(wait_link());
	CHECK_EQ(proclet_call(journey.p, check, NULL, 0, &sum, sizeof(sum)), sizeof(sum));
	CHECK_EQ(sum, journey.sum);
	return KSFT_PASS;
}

/* What is behind a lost READ in a queue pair waits until the adapter repeats it. */
static int others_go_on(void)
{
	const struct talk calls = { far, 64, 20 }, reads = { far, 16 << 10, 5 };

	TRY(journey_stands());
	CHECK_EQ(proclet_call(near, talk, &calls, sizeof(calls), NULL, 0), 0);
	CHECK_EQ(proclet_call(near, talk, &reads, sizeof(reads), NULL, 0), 0);
	CHECK(!__atomic_load_n(&journey.over, __ATOMIC_RELAXED));
	return KSFT_PASS;
}

static int bulk_holds_up_nobody(void)
{
	TRY(journey_begin());
	TRY(journey_end(others_go_on()));
	CHECK_EQ(journey.ret, 0);
	CHECK_EQ(proclet_locate(journey.p), nodes[2]);
	return KSFT_PASS;
}

static int new_connection(void)
{
	ssize_t before = proclet_call(far, connects, NULL, 0, NULL, 0);
	struct timespec began, now, ms = { 0, 50000000 };

	CHECK_GE(before, 1);
	TRY(journey_stands());
	clock_gettime(CLOCK_MONOTONIC, &began);
	while (proclet_call(far, connects, NULL, 0, NULL, 0) == before) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		CHECK_GE(BOUND, now.tv_sec - began.tv_sec);
		nanosleep(&ms, NULL);
	}
	return KSFT_PASS;
}

/* Messages arrive, but nothing that is read: that is no connection, either. */
static int lost_reads_end_it(void)
{
	TRY(journey_begin());
	TRY(journey_end(new_connection()));
	CHECK(journey.ret < 0);
	CHECK_EQ(proclet_locate(journey.p), nodes[1]);
	return KSFT_PASS;
}

static int strangers_are_refused(void)
{
	static const struct {
		__u8 qp, qps;
		int answer;
	} cases[] = {
		{ 1, 3, REFUSE_STALE }, { 4, 5, REFUSE_STALE }, { 3, 3, REFUSE_QPS },
		{ 0, 0, REFUSE_QPS }, { 0, 1, REFUSE_QPS }, { 0, 6, REFUSE_QPS },
		{ 1, 255, REFUSE_QPS },
	};
	struct talk calls = { .size = 64, .count = 20 };
	ssize_t before;

	TRY(setup());
	calls.to = far;
	before = proclet_call(far, connects, NULL, 0, NULL, 0);
	CHECK_GE(before, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct visit v = { .count = 1, .knocks = { { cases[i].qp, cases[i].qps } } };

		CHECK_EQ(proclet_call(near, visit, &v, sizeof(v), &v, sizeof(v)), sizeof(v));
		CHECK_EQ(v.knocks[0].answer, cases[i].answer);
	}
	CHECK_EQ(proclet_call(near, talk, &calls, sizeof(calls), NULL, 0), 0);
	CHECK_EQ(proclet_call(far, connects, NULL, 0, NULL, 0), before);
	return count_is(far, 2 * 3);
}

/* A connection whose last queue pair does not come is none, and ends. */
static int half_made_ends(void)
{
	struct visit v = {
		.count = 4,
		.wait = true,
		.knocks = {
			{ .qp = 0, .qps = 3 },
			{ .qp = 1, .qps = 3 },
			{ .qp = 1, .qps = 3 },
			{ .qp = 2, .qps = 3, .other_nonce = true },
		},
	};
	ssize_t before;

	TRY(setup());
	TRY(disconnect());
	before = proclet_call(far, connects, NULL, 0, NULL, 0);
	CHECK_GE(before, 1);
	CHECK_EQ(proclet_call(near, visit, &v, sizeof(v), &v, sizeof(v)), sizeof(v));
	CHECK_EQ(v.knocks[0].answer, 0);
	CHECK_EQ(v.knocks[1].answer, 0);
	CHECK_EQ(v.knocks[2].answer, REFUSE_STALE);
	CHECK_EQ(v.knocks[3].answer, REFUSE_STALE);
	/* The same, of a node that has been started again meanwhile. */
	v = (struct visit) {
		.count = 3,
		.wait = true,
		.knocks = {
			{ .qp = 0, .qps = 2 },
			{ .qp = 1, .qps = 2, .other_incarnation = true },
			{ .qp = 1, .qps = 3 },
		},
	};
	CHECK_EQ(proclet_call(near, visit, &v, sizeof(v), &v, sizeof(v)), sizeof(v));
	CHECK_EQ(v.knocks[0].answer, 0);
	CHECK_EQ(v.knocks[1].answer, REFUSE_STALE);
	CHECK_EQ(v.knocks[2].answer, REFUSE_STALE);
	TRY(count_is(far, 3));
	CHECK_EQ(proclet_call(far, connects, NULL, 0, NULL, 0), before);
	TRY(connect_again());
	CHECK_EQ(proclet_call(far, connects, NULL, 0, NULL, 0), before + 1);
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	LONG_TEST(as_many_as_asked),
	LONG_TEST(bulk_holds_up_nobody),
	LONG_TEST(lost_reads_end_it),
	LONG_TEST(strangers_are_refused),
	LONG_TEST(half_made_ends),
};

static int root(int argc, char **argv)
{
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	lproc_set_flags(LPROC_SURVIVE);
	return lproc_main("queues", root, argc, argv);
}
