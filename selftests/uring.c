// SPDX-License-Identifier: GPL-2.0
/* io_uring: calls, migrations and events by commands on the member's file. */
#include "mover.h"
#include "ring.h"

#include <fcntl.h>
#include <sys/socket.h>

#define DEPTH 256	/* calls in flight from one thread */

/* ---- methods ---- */

/* In: any bytes, first those of a number; out: as many, each changed by it. */
static ssize_t mix(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const unsigned char *from = in;
	unsigned char *to = out;

	(void)root;
	for (size_t i = 0; i < in_len && i < out_cap; i++)
		to[i] = from[i] * 7 + 1;
	return in_len;
}
PROCLET_METHOD(mix);

/* In: the result; 64 bits of it. */
static ssize_t result(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)out;
	(void)out_cap;
	return in_len == sizeof(ssize_t) ? *(const ssize_t *)in : -EINVAL;
}
PROCLET_METHOD(result);

static ssize_t unregistered(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	return where(root, in, in_len, out, out_cap);
}

/* ---- calls ---- */

static int call_on(struct io_uring *r, int node)
{
	char in[] = "some bytes", out[sizeof(in)] = "";
	ssize_t big = (ssize_t)1 << 33, bad = -EXDEV;
	proclet_t p;

	TRY(object(&p, node));
	proclet_prep_call(entry(r, 1), p, where, NULL, 0, NULL, 0);
	CHECK_RESULT(r, 1, node);
	proclet_prep_call(entry(r, 2), p, mix, in, sizeof(in), out, sizeof(out));
	CHECK_RESULT(r, 2, sizeof(in));
	for (size_t i = 0; i < sizeof(in); i++)
		CHECK_EQ(out[i], (char)(in[i] * 7 + 1));
	/* No more than there is room for. */
	memset(out, 0, sizeof(out));
	proclet_prep_call(entry(r, 3), p, mix, in, sizeof(in), out, 2);
	CHECK_RESULT(r, 3, sizeof(in));
	CHECK_EQ(out[1], (char)(in[1] * 7 + 1));
	CHECK_EQ(out[2], 0);
	proclet_prep_call(entry(r, 4), p, result, &bad, sizeof(bad), NULL, 0);
	CHECK_RESULT(r, 4, -EXDEV);
	proclet_prep_call(entry(r, 5), p, result, &big, sizeof(big), NULL, 0);
	CHECK_RESULT(r, 5, -EOVERFLOW);
	CHECK_EQ(proclet_destroy(p), 0);
	proclet_prep_call(entry(r, 6), p, where, NULL, 0, NULL, 0);
	CHECK_RESULT(r, 6, -ESTALE);
	return KSFT_PASS;
}

static int do_call(void)
{
	struct io_uring r;

	TRY(ring_open(&r, 4, IORING_SETUP_SQE128));
	TRY(call_on(&r, nodes[0]));
	TRY(call_on(&r, nodes[1]));
	io_uring_queue_exit(&r);
	return KSFT_PASS;
}
NATIVE_TEST(call)

/* The other ways to set up a ring, or to submit. */
static int do_kinds_of_rings(void)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SQE128 | IORING_SETUP_CQE32,
	};
	static const unsigned int kinds[] = {
		IORING_SETUP_SQPOLL,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	};
	ssize_t big = ((ssize_t)1 << 33) + 5;
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	char in[100], out[100];
	struct io_uring r;
	int fd = lproc_fd();
	proclet_t p;

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		TRY(ring_open(&r, 8, kinds[k] | IORING_SETUP_SQE128));
		TRY(call_on(&r, nodes[0]));
		TRY(call_on(&r, nodes[1]));
		io_uring_queue_exit(&r);
	}

	/* All 64 bits of a result. */
	TRY(object(&p, nodes[1]));
	CHECK_EQ(io_uring_queue_init_params(8, &r, &params), 0);
	proclet_prep_call(entry(&r, 1), p, result, &big, sizeof(big), NULL, 0);
	CHECK_EQ(io_uring_submit_and_wait(&r, 1), 1);
	CHECK_EQ(io_uring_peek_cqe(&r, &cqe), 0);
	CHECK_EQ(cqe->res, -EOVERFLOW);
	CHECK_EQ(cqe->big_cqe[0], big);
	io_uring_cqe_seen(&r, cqe);
	io_uring_queue_exit(&r);

	/* From io_uring's own threads, and by a registered file. */
	TRY(ring_open(&r, 8, IORING_SETUP_SQE128));
	CHECK_EQ(io_uring_register_files(&r, &fd, 1), 0);
	memset(in, 3, sizeof(in));
	for (int i = 0; i < 64; i++) {
		sqe = entry(&r, i);
		proclet_prep_call(sqe, p, mix, in, sizeof(in), out, sizeof(out));
		if (i % 2)
			sqe->flags |= IOSQE_ASYNC;
		if (i % 3) {
			sqe->fd = 0;
			sqe->flags |= IOSQE_FIXED_FILE;
		}
		memset(out, 0, sizeof(out));
		CHECK_RESULT(&r, i, sizeof(out));
		for (size_t k = 0; k < sizeof(out); k++)
			CHECK_EQ(out[k], 3 * 7 + 1);
	}
	io_uring_queue_exit(&r);
	return KSFT_PASS;
}
NATIVE_TEST(kinds_of_rings)

/* In rings with entries of 64 bytes, and what is not a call. */
static int do_operations(void)
{
	struct proclet_create_args create = { .capacity = MIB, .root_size = 8 };
	struct proclet_native_op op = { .size = sizeof(op) };
	struct proclet_migrate_args to = { .node = nodes[1] };
	char in[] = "some bytes", out[sizeof(in)] = "";
	struct proclet_stats stats = {};
	struct proclet_move move = {};
	struct io_uring r;
	proclet_t p = 0;

	TRY(ring_open(&r, 4, 0));
	op.op.op = PROCLET_OP_CREATE;
	op.op.target = nodes[0];
	op.op.in = (__u64)&create;
	op.op.in_len = sizeof(create);
	op.op.out = (__u64)&p;
	op.op.out_cap = sizeof(p);
	proclet_prep_op(entry(&r, 1), &op);
	CHECK_RESULT(&r, 1, 0);
	CHECK_EQ(proclet_locate(p), nodes[0]);

	CHECK_EQ(proclet_op_call(&op, p, mix, in, sizeof(in), out, sizeof(out)), 0);
	proclet_prep_op(entry(&r, 2), &op);
	CHECK_GE(io_uring_submit(&r), 1);
	/* Both have been read. */
	memset(&op, 0xff, sizeof(op));
	memset(in, 0, sizeof(in));
	CHECK_RESULT(&r, 2, sizeof(in));
	for (size_t i = 0; i < sizeof(in); i++)
		CHECK_EQ(out[i], (char)("some bytes"[i] * 7 + 1));

	op = (struct proclet_native_op) { .size = sizeof(op), .op.op = PROCLET_OP_MIGRATE };
	op.op.target = p;
	op.op.in = (__u64)&to;
	op.op.in_len = sizeof(to);
	op.op.out = (__u64)&move;
	op.op.out_cap = sizeof(move);
	proclet_prep_op(entry(&r, 3), &op);
	CHECK_RESULT(&r, 3, 0);
	CHECK_GE(move.bytes, 1);

	op = (struct proclet_native_op) { .size = sizeof(op), .op.op = PROCLET_OP_LOCATE };
	op.op.target = p;
	proclet_prep_op(entry(&r, 4), &op);
	CHECK_RESULT(&r, 4, nodes[1]);

	op.op.op = PROCLET_OP_STATS;
	op.op.target = nodes[1];
	op.op.out = (__u64)&stats;
	op.op.out_cap = sizeof(stats);
	proclet_prep_op(entry(&r, 5), &op);
	CHECK_RESULT(&r, 5, 0);
	CHECK_GE(stats.moved_in, 1);

	op = (struct proclet_native_op) { .size = sizeof(op), .op.op = PROCLET_OP_DESTROY };
	op.op.target = p;
	proclet_prep_op(entry(&r, 6), &op);
	CHECK_RESULT(&r, 6, 0);
	CHECK_EQ(proclet_locate(p), -ESTALE);
	io_uring_queue_exit(&r);
	return KSFT_PASS;
}
NATIVE_TEST(operations)

/* One thread, many calls: each slot has one in flight. */
struct slot {
	unsigned char *in;
	unsigned char *out;
	size_t cap;
	size_t len;
	__u64 seed;
};
static struct slot slots[DEPTH];

static void slot_fill(struct slot *s, size_t len, __u64 seed)
{
	s->len = len;
	s->seed = seed;
	for (size_t i = 0; i < len; i++)
		s->in[i] = next_random(&seed);
	memset(s->out, 0, len);
}

static int slot_check(const struct slot *s)
{
	__u64 seed = s->seed;

	for (size_t i = 0; i < s->len; i++)
		CHECK_EQ(s->out[i], (unsigned char)((unsigned char)next_random(&seed) * 7 + 1));
	return KSFT_PASS;
}

/* The arguments are overwritten as soon as they are submitted. */
static int pipeline(proclet_t *targets, size_t ntargets, unsigned int total)
{
	unsigned int submitted = 0, done = 0, most = 0;
	struct io_uring_cqe *cqe;
	struct io_uring r;
	__u64 state = 5;

	TRY(ring_open(&r, DEPTH, IORING_SETUP_SQE128));
	for (unsigned int i = 0; i < DEPTH; i++) {
		struct slot *s = &slots[i];

		/* A few large ones: the guests' network is slow. */
		s->cap = i % 64 == 0 ? MIB : i % 16 == 1 ? 64 << 10 : 4 << 10;
		s->in = malloc(2 * s->cap);
		CHECK(s->in);
		s->out = s->in + s->cap;
	}
	begin();
	while (done < total) {
		while (submitted - done < DEPTH && submitted < total) {
			/* In the beginning all slots are free, then the one that is done. */
			unsigned int i = submitted < DEPTH ? submitted : most;
			struct slot *s = &slots[i];
			size_t len = next_random(&state) % (s->cap + 1);

			slot_fill(s, next_random(&state) % 8 ? len : s->cap, next_random(&state));
			proclet_prep_call(entry(&r, i), targets[next_random(&state) % ntargets],
					  mix, s->in, s->len, s->out, s->cap);
			CHECK_EQ(io_uring_submit(&r), 1);
			memset(s->in, 0xee, s->len);
			submitted++;
		}
		CHECK_EQ(io_uring_wait_cqe(&r, &cqe), 0);
		most = cqe->user_data;
		CHECK(most < DEPTH);
		CHECK_EQ(cqe->res, slots[most].len);
		io_uring_cqe_seen(&r, cqe);
		TRY(slot_check(&slots[most]));
		done++;
	}
	for (unsigned int i = 0; i < DEPTH; i++)
		free(slots[i].in);
	io_uring_queue_exit(&r);
	return KSFT_PASS;
}

/* Messages to @peer from this node, in so many SENDs. */
static int sent(int peer, __u64 *messages, __u64 *sends)
{
	char line[512], node[64], self[16];
	FILE *f = fopen("/proc/proclet/peers", "r");
	int id, n = -ENOENT;

	snprintf(self, sizeof(self), "n%d", lproc_node());
	while (n && f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %*s %d %*s %*x %*u %llu %*u %*u %*u %*u %llu", node, &id,
			   messages, sends) == 4 && id == peer && !strcmp(node, self))
			n = 0;
	if (f)
		fclose(f);
	return n;
}

#define BURSTS	16

/* What is submitted at once is not sent one by one, where sending is dear. */
static int do_together(void)
{
	__u64 messages[2], sends[2], in = 5, user_data;
	char transport[16] = "";
	FILE *f = fopen("/proc/proclet/nodes", "r");
	struct io_uring r;
	proclet_t p;
	int res;

	TRY(object(&p, nodes[1]));
	TRY(ring_open(&r, DEPTH, IORING_SETUP_SQE128));
	proclet_prep_call(entry(&r, 1), p, where, NULL, 0, NULL, 0);
	CHECK_RESULT(&r, 1, nodes[1]);
	CHECK_EQ(sent(nodes[1], &messages[0], &sends[0]), 0);
	for (unsigned int burst = 0; burst < BURSTS; burst++) {
		for (unsigned int i = 0; i < DEPTH; i++)
			proclet_prep_call(entry(&r, i), p, mix, &in, sizeof(in), NULL, 0);
		CHECK_EQ(io_uring_submit(&r), DEPTH);
		for (unsigned int i = 0; i < DEPTH; i++) {
			TRY(reap(&r, &user_data, &res));
			CHECK_EQ(res, sizeof(in));
		}
	}
	CHECK_EQ(sent(nodes[1], &messages[1], &sends[1]), 0);
	CHECK_GE(messages[1] - messages[0], BURSTS * DEPTH);
	CHECK(f);
	CHECK_EQ(fscanf(f, "%*[^\n] %*s %*d %15s", transport), 1);
	fclose(f);
	if (!strcmp(transport, "rdma"))
		CHECK_GE((messages[1] - messages[0]) / 4, sends[1] - sends[0]);
	else
		CHECK_EQ(sends[1] - sends[0], messages[1] - messages[0]);
	io_uring_queue_exit(&r);
	return KSFT_PASS;
}
NATIVE_TEST(together)

static unsigned int pipeline_calls(void)
{
	return env_number("PROCLET_TEST_MOVES", 1000) < 100 ? 600 : 4000;
}

static int do_pipeline_local(void)
{
	proclet_t p[4];

	for (int i = 0; i < 4; i++)
		TRY(object(&p[i], nodes[0]));
	return pipeline(p, 4, pipeline_calls());
}
NATIVE_TEST(pipeline_local)

static int do_pipeline_remote(void)
{
	proclet_t p[4];

	for (int i = 0; i < 4; i++)
		TRY(object(&p[i], nodes[1 + i % (node_count - 1)]));
	return pipeline(p, 4, pipeline_calls());
}
NATIVE_TEST(pipeline_remote)

static int do_pipeline_moving(void)
{
	proclet_t p[8];

	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		TRY(object(&p[i], nodes[i % node_count]));
	TRY(movers_start(1, p, ARRAY_SIZE(p), 0, 0, 11));
	TRY(pipeline(p, ARRAY_SIZE(p), pipeline_calls()));
	TRY(movers_end());
	CHECK_GE(movers_moved(), 1);
	return KSFT_PASS;
}
NATIVE_TEST(pipeline_moving)

/* All @DEPTH are in flight at once: each is answered when all have been sent. */
static int do_all_in_flight(void)
{
	bool seen[DEPTH] = {};
	struct io_uring r;
	proclet_t p[2];
	__u64 i;
	int res;

	TRY(object(&p[0], nodes[0]));
	TRY(object(&p[1], nodes[1]));
	TRY(ring_open(&r, DEPTH, IORING_SETUP_SQE128));
	for (i = 0; i < DEPTH; i++)
		proclet_prep_call(entry(&r, i), p[i % 2], linger, NULL, 0, NULL, 0);
	CHECK_EQ(io_uring_submit(&r), DEPTH);
	CHECK_EQ(waiting("uring"), DEPTH);
	TRY(wait_started(p[0], DEPTH / 2));
	TRY(wait_started(p[1], DEPTH / 2));
	CHECK_EQ(io_uring_cq_ready(&r), 0);
	CHECK_EQ(proclet_call(p[0], stop, NULL, 0, NULL, 0), 0);
	CHECK_EQ(proclet_call(p[1], stop, NULL, 0, NULL, 0), 0);
	for (int n = 0; n < DEPTH; n++) {
		TRY(reap(&r, &i, &res));
		CHECK_EQ(res, 77);
		CHECK(i < DEPTH && !seen[i]);
		seen[i] = true;
	}
	CHECK_EQ(waiting("uring"), 0);
	io_uring_queue_exit(&r);
	return KSFT_PASS;
}
NATIVE_TEST(all_in_flight)

/* Bytes from a pipe are the argument of a call, and its result goes to a socket. */
static int do_with_other_io(void)
{
	unsigned char in[64], out[64], got[64];
	struct io_uring_sqe *sqe;
	struct io_uring r;
	int pipes[2], s[2], res;
	proclet_t p;
	__u64 i;

	TRY(object(&p, nodes[1]));
	CHECK_EQ(pipe(pipes), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	TRY(ring_open(&r, 16, IORING_SETUP_SQE128));
	for (int round = 0; round < 20; round++) {
		sqe = entry(&r, 0);
		io_uring_prep_read(sqe, pipes[0], in, sizeof(in), -1);
		sqe->flags |= IOSQE_IO_LINK;
		sqe->user_data = 0;
		sqe = entry(&r, 1);
		proclet_prep_call(sqe, p, mix, in, sizeof(in), out, sizeof(out));
		sqe->flags |= IOSQE_IO_LINK;
		sqe = entry(&r, 2);
		io_uring_prep_send(sqe, s[0], out, sizeof(out), 0);
		sqe->user_data = 2;
		CHECK_EQ(io_uring_submit(&r), 3);
		CHECK_EQ(io_uring_cq_ready(&r), 0);
		memset(got, round, sizeof(got));
		CHECK_EQ(write(pipes[1], got, sizeof(got)), sizeof(got));
		for (__u64 want = 0; want < 3; want++) {
			TRY(reap(&r, &i, &res));
			CHECK_EQ(i, want);
			CHECK_EQ(res, 64);
		}
		CHECK_EQ(read(s[1], got, sizeof(got)), sizeof(got));
		for (size_t k = 0; k < sizeof(got); k++)
			CHECK_EQ(got[k], (unsigned char)(round * 7 + 1));
	}
	io_uring_queue_exit(&r);
	for (int k = 0; k < 2; k++) {
		close(pipes[k]);
		close(s[k]);
	}
	return KSFT_PASS;
}
NATIVE_TEST(with_other_io)

/* ---- migrations and events ---- */

static int do_migrate(void)
{
	struct io_uring r;
	proclet_t p;

	TRY(object(&p, nodes[0]));
	TRY(ring_open(&r, 4, IORING_SETUP_SQE128));
	for (int i = 1; i <= 10; i++) {
		proclet_prep_migrate(entry(&r, i), p, nodes[i % node_count], 0);
		CHECK_RESULT(&r, i, 0);
		CHECK_EQ(proclet_call(p, where, NULL, 0, NULL, 0), nodes[i % node_count]);
	}
	proclet_prep_migrate(entry(&r, 1), p, 32, 0);
	CHECK_RESULT(&r, 1, -EHOSTUNREACH);
	proclet_prep_migrate(entry(&r, 1), p, 33, 0);
	CHECK_RESULT(&r, 1, -EHOSTUNREACH);
	proclet_prep_migrate(entry(&r, 2), p, nodes[0], 99);
	CHECK_RESULT(&r, 2, -EINVAL);
	io_uring_queue_exit(&r);
	return KSFT_PASS;
}
NATIVE_TEST(migrate)

/* Out and back: events in this order, whether they are waited for or not. */
static int do_events(void)
{
	struct proclet_event e = {};
	struct io_uring r;
	__u64 first, i;
	proclet_t p;
	int res;

	TRY(object(&p, nodes[0]));
	TRY(ring_open(&r, 4, IORING_SETUP_SQE128));
	proclet_prep_event(entry(&r, 1), 0, &e);
	CHECK_RESULT(&r, 1, 0);
	first = e.seq;
	CHECK_GE(first, 1);

	/* Of the future. */
	proclet_prep_event(entry(&r, 2), first + 1, &e);
	CHECK_RESULT(&r, 2, -EINVAL);

	/* One that happens meanwhile. */
	memset(&e, 0, sizeof(e));
	proclet_prep_event(entry(&r, 3), first, &e);
	CHECK_EQ(io_uring_submit(&r), 1);
	CHECK_EQ(waiting("uring"), 1);
	CHECK_EQ(io_uring_cq_ready(&r), 0);
	CHECK_EQ(proclet_migrate(p, nodes[1], 0), 0);
	CHECK_RESULT(&r, 3, PROCLET_EVENT_MOVED_OUT);
	CHECK_EQ(e.seq, first + 1);
	CHECK_EQ(e.kind, PROCLET_EVENT_MOVED_OUT);
	CHECK_EQ(e.proclet, p);
	CHECK_EQ(e.node, nodes[1]);

	/* One that has happened. */
	CHECK_EQ(proclet_migrate(p, nodes[0], 0), 0);
	CHECK_EQ(proclet_migrate(p, nodes[1], 0), 0);
	memset(&e, 0, sizeof(e));
	proclet_prep_event(entry(&r, 4), first + 1, &e);
	CHECK_RESULT(&r, 4, PROCLET_EVENT_MOVED_IN);
	CHECK_EQ(e.seq, first + 2);
	CHECK_EQ(e.kind, PROCLET_EVENT_MOVED_IN);
	CHECK_EQ(e.proclet, p);
	CHECK_EQ(e.node, nodes[1]);
	proclet_prep_event(entry(&r, 5), first + 2, &e);
	CHECK_RESULT(&r, 5, PROCLET_EVENT_MOVED_OUT);
	CHECK_EQ(e.seq, first + 3);

	/* Two that wait for the same, and one of them no longer. */
	for (i = 6; i < 8; i++)
		proclet_prep_event(entry(&r, i), first + 3, &e);
	CHECK_EQ(io_uring_submit(&r), 2);
	CHECK_EQ(waiting("uring"), 2);
	proclet_prep_cancel(entry(&r, 8), 7);
	CHECK_EQ(io_uring_submit(&r), 1);
	for (int n = 0; n < 2; n++) {
		TRY(reap(&r, &i, &res));
		CHECK_EQ(res, i == 7 ? -ECANCELED : i == 8 ? 0 : 1);
	}
	CHECK_EQ(waiting("uring"), 1);
	CHECK_EQ(proclet_migrate(p, nodes[0], 0), 0);
	CHECK_RESULT(&r, 6, PROCLET_EVENT_MOVED_IN);
	CHECK_EQ(e.seq, first + 4);
	io_uring_queue_exit(&r);
	return KSFT_PASS;
}
NATIVE_TEST(events)

/* More than are kept: who comes too late is told, and can go on. */
static int do_too_many_events(void)
{
	enum { N = 32 };
	struct proclet_event e = {};
	__u64 first, last, oldest, i;
	struct io_uring r;
	proclet_t p[N];
	int res;

	TRY(ring_open(&r, 2 * N, IORING_SETUP_SQE128));
	for (int k = 0; k < N; k++)
		TRY(object(&p[k], nodes[0]));
	proclet_prep_event(entry(&r, N), 0, &e);
	CHECK_RESULT(&r, N, 0);
	first = e.seq;
	for (int round = 1; round * N <= PROCLET_EVENTS + 1; round++) {
		for (int k = 0; k < N; k++)
			proclet_prep_migrate(entry(&r, k), p[k], nodes[round % 2], 0);
		CHECK_EQ(io_uring_submit(&r), N);
		for (int k = 0; k < N; k++) {
			TRY(reap(&r, &i, &res));
			CHECK_EQ(res, 0);
		}
	}
	proclet_prep_event(entry(&r, N), 0, &e);
	CHECK_RESULT(&r, N, 0);
	last = e.seq;
	CHECK_EQ(last, first + PROCLET_EVENTS);
	oldest = last - PROCLET_EVENTS;
	proclet_prep_event(entry(&r, N), oldest, &e);
	CHECK_RESULT(&r, N, PROCLET_EVENT_MOVED_OUT);
	CHECK_EQ(e.seq, oldest + 1);

	CHECK_EQ(proclet_migrate(p[0], nodes[1], 0), 0);
	proclet_prep_event(entry(&r, N), oldest, &e);
	CHECK_RESULT(&r, N, -EOVERFLOW);
	CHECK_EQ(e.seq, last + 1);
	CHECK_EQ(e.kind, 0);
	proclet_prep_event(entry(&r, N), oldest + 1, &e);
	CHECK_GE(io_uring_submit(&r), 1);
	TRY(reap(&r, &i, &res));
	CHECK_GE(res, PROCLET_EVENT_MOVED_IN);
	CHECK_EQ(e.seq, oldest + 2);
	io_uring_queue_exit(&r);
	return KSFT_PASS;
}
NATIVE_TEST(too_many_events)

/* ---- what is wrong ---- */

static void raw(struct io_uring_sqe *sqe, int fd, __u32 cmd, const void *args, size_t len)
{
	__u64 user_data = sqe->user_data;

	memset(sqe, 0, 48);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = cmd;
	sqe->user_data = user_data;
	memcpy(sqe->cmd, args, len);
}

#define CHECK_RAW(r, fd, cmd, args, expected) do {			\
	raw(entry(r, 1), fd, cmd, args, sizeof(*(args)));		\
	CHECK_RESULT(r, 1, expected);					\
} while (0)

static int bad_op128(struct io_uring *r, proclet_t p)
{
	const struct proclet_uring_op128 good = {
		.op = { .op = PROCLET_OP_LOCATE, .target = p },
	};
	struct proclet_uring_op128 a = good;
	int fd = lproc_fd();

	CHECK_RAW(r, fd, PROCLET_URING_OP128, &a, nodes[1]);
	a.flags = 2;
	CHECK_RAW(r, fd, PROCLET_URING_OP128, &a, -EINVAL);
	a = good;
	a.reserved = 1;
	CHECK_RAW(r, fd, PROCLET_URING_OP128, &a, -EINVAL);
	a = good;
	a.data = 1;
	CHECK_RAW(r, fd, PROCLET_URING_OP128, &a, -EINVAL);
	a = good;
	a.op.seq = 1;
	CHECK_RAW(r, fd, PROCLET_URING_OP128, &a, -EINVAL);
	a = good;
	a.op.op = 0;
	CHECK_RAW(r, fd, PROCLET_URING_OP128, &a, -EINVAL);
	a.op.op = 0x7fffffff;
	CHECK_RAW(r, fd, PROCLET_URING_OP128, &a, -EINVAL);
	a = good;
	a.op.target = 0;
	CHECK_RAW(r, fd, PROCLET_URING_OP128, &a, -ESTALE);
	a = good;
	a.flags = PROCLET_URING_DATA;
	a.op.in_len = 9;
	CHECK_RAW(r, fd, PROCLET_URING_OP128, &a, -EINVAL);
	a.op.in_len = 8;
	a.op.in = 1;
	CHECK_RAW(r, fd, PROCLET_URING_OP128, &a, -EINVAL);
	return KSFT_PASS;
}

static int bad_calls(struct io_uring *r, proclet_t p)
{
	static unsigned char bytes[MIB + 1];
	void *nowhere = (void *)8;

	proclet_prep_call(entry(r, 1), p, mix, nowhere, 1, NULL, 0);
	CHECK_RESULT(r, 1, -EFAULT);
	proclet_prep_call(entry(r, 1), p, mix, NULL, 1, NULL, 0);
	CHECK_RESULT(r, 1, -EFAULT);
	proclet_prep_call(entry(r, 1), p, mix, bytes, 1, nowhere, 1);
	CHECK_RESULT(r, 1, -EFAULT);
	proclet_prep_call(entry(r, 1), p, mix, bytes, MIB, nowhere, MIB);
	CHECK_RESULT(r, 1, -EFAULT);
	/* Room for nothing need not be anywhere. */
	proclet_prep_call(entry(r, 1), p, mix, bytes, 1, nowhere, 0);
	CHECK_RESULT(r, 1, 1);
	proclet_prep_call(entry(r, 1), p, mix, bytes, MIB + 1, NULL, 0);
	CHECK_RESULT(r, 1, -EMSGSIZE);
	proclet_prep_call(entry(r, 1), p, mix, NULL, 0, bytes, MIB + 1);
	CHECK_RESULT(r, 1, -EMSGSIZE);
	proclet_prep_call(entry(r, 1), p, mix, bytes, ~0UL, bytes, ~0UL);
	CHECK_RESULT(r, 1, -EMSGSIZE);
	proclet_prep_call(entry(r, 1), p, unregistered, NULL, 0, NULL, 0);
	CHECK_RESULT(r, 1, -EINVAL);
	proclet_prep_call(entry(r, 1), 0, mix, NULL, 0, NULL, 0);
	CHECK_RESULT(r, 1, -ESTALE);
	proclet_prep_call(entry(r, 1), ~0ULL, mix, NULL, 0, NULL, 0);
	CHECK_RESULT(r, 1, -ESTALE);
	return KSFT_PASS;
}

static int bad_others(struct io_uring *r, proclet_t p)
{
	struct proclet_native_op op = {
		.size = sizeof(op),
		.op = { .op = PROCLET_OP_LOCATE, .target = p },
	};
	struct { struct proclet_native_op op; __u64 more; } longer = { op, 0 };
	struct proclet_uring_op at = { .op = (__u64)&op };
	struct proclet_uring_event event = { .after = 0, .event = 8 };
	struct proclet_uring_cancel cancel = { .reserved = 1 };
	int fd = lproc_fd(), unjoined = open("/dev/proclet", O_RDWR);
	struct io_uring_sqe *sqe;

	CHECK_GE(unjoined, 0);
	CHECK_RAW(r, fd, PROCLET_URING_OP, &at, nodes[1]);
	CHECK_RAW(r, unjoined, PROCLET_URING_OP, &at, -ENOTCONN);
	close(unjoined);
	at.reserved = 1;
	CHECK_RAW(r, fd, PROCLET_URING_OP, &at, -EINVAL);
	at = (struct proclet_uring_op) { .op = 8 };
	CHECK_RAW(r, fd, PROCLET_URING_OP, &at, -EFAULT);
	at.op = (__u64)&op;
	op.reserved = 1;
	CHECK_RAW(r, fd, PROCLET_URING_OP, &at, -EINVAL);
	op.reserved = 0;
	op.op.seq = 1;
	CHECK_RAW(r, fd, PROCLET_URING_OP, &at, -EINVAL);
	op.op.seq = 0;
	op.size--;
	CHECK_RAW(r, fd, PROCLET_URING_OP, &at, -EINVAL);
	op.size = 1 << 30;
	CHECK_RAW(r, fd, PROCLET_URING_OP, &at, -EINVAL);
	at.op = (__u64)&longer;
	longer.op.size = sizeof(longer);
	CHECK_RAW(r, fd, PROCLET_URING_OP, &at, nodes[1]);
	longer.more = 1;
	CHECK_RAW(r, fd, PROCLET_URING_OP, &at, -E2BIG);

	CHECK_RAW(r, fd, PROCLET_URING_EVENT, &event, -EFAULT);
	event.after = 1;
	CHECK_RAW(r, fd, PROCLET_URING_EVENT, &event, -EFAULT);
	event.after = ~0ULL;
	CHECK_RAW(r, fd, PROCLET_URING_EVENT, &event, -EINVAL);
	CHECK_RAW(r, fd, PROCLET_URING_CANCEL, &cancel, -EINVAL);
	CHECK_RAW(r, fd, 0, &at, -ENOTTY);
	CHECK_RAW(r, fd, PROCLET_IOC_OP, &at, -ENOTTY);
	CHECK_RAW(r, fd, ~0U, &at, -ENOTTY);
	sqe = entry(r, 1);
	raw(sqe, fd, PROCLET_URING_CANCEL, &at, sizeof(at));
	sqe->rw_flags = 1;	/* IORING_URING_CMD_FIXED, without such buffers */
	CHECK_RESULT(r, 1, -EFAULT);
	return KSFT_PASS;
}

static int do_bad(void)
{
	struct io_uring_sqe *sqe;
	struct io_uring r;
	proclet_t p;
	__u64 i;
	int res;

	TRY(object(&p, nodes[1]));
	TRY(ring_open(&r, 8, IORING_SETUP_SQE128));
	TRY(bad_op128(&r, p));
	TRY(bad_calls(&r, p));
	TRY(bad_others(&r, p));
	io_uring_queue_exit(&r);

	/* Entries of 64 bytes: refused, whatever is in the next. */
	TRY(ring_open(&r, 8, 0));
	TRY(bad_others(&r, p));
	for (int n = 0; n < 9; n++) {
		sqe = entry(&r, n);
		if (n % 2)
			proclet_prep_migrate(sqe, p, nodes[0], 0);
		else
			proclet_prep_call(sqe, p, where, NULL, 0, NULL, 0);
		CHECK_EQ(io_uring_submit(&r), 1);
		TRY(reap(&r, &i, &res));
		CHECK_EQ(i, n);
		CHECK_EQ(res, -EINVAL);
	}
	CHECK_EQ(proclet_locate(p), nodes[1]);
	io_uring_queue_exit(&r);
	CHECK_EQ(waiting("uring"), 0);
	return KSFT_PASS;
}
NATIVE_TEST(bad)

static const struct tap_test tests[] = {
	TAP_TEST(call),
	TAP_TEST(kinds_of_rings),
	TAP_TEST(operations),
	{ "all_in_flight", all_in_flight, 600 },
	{ "together", together, 600 },
	{ "pipeline_local", pipeline_local, 600 },
	{ "pipeline_remote", pipeline_remote, 600 },
	{ "pipeline_moving", pipeline_moving, 600 },
	TAP_TEST(with_other_io),
	TAP_TEST(migrate),
	TAP_TEST(events),
	{ "too_many_events", too_many_events, 600 },
	TAP_TEST(bad),
};

static int root(int argc, char **argv)
{
	tap_stop = stop_methods;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("uring", root, argc, argv);
}
