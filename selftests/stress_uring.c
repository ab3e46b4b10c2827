// SPDX-License-Identifier: GPL-2.0
/*
 * stress: io_uring. Each worker has a ring, with many operations under way at once,
 * some of them taken back; and waits for events.
 */
#include "stress.h"

#include <liburing.h>
#include <proclet_uring.h>

#define JOBS_MAX 12
#define ENTRIES 64
#define CANCEL 0x100	/* in user_data: of a cancellation */
#define BYTES_MAX 4096

static struct {
	struct io_uring ring;
	bool open;
} rings[WORKERS_MAX];

static struct io_uring *ring_of(struct stress_worker *w)
{
	struct io_uring *ring = &rings[w->number].ring;
	int err;

	if (rings[w->number].open)
		return ring;
	err = io_uring_queue_init(ENTRIES, ring, IORING_SETUP_SQE128);
	if (err) {
		diag("a ring: expected 0, saw %d", err);
		return NULL;
	}
	rings[w->number].open = true;
	return ring;
}

void uring_worker_end(struct stress_worker *w)
{
	if (rings[w->number].open)
		io_uring_queue_exit(&rings[w->number].ring);
	rings[w->number].open = false;
}

static struct io_uring_sqe *entry(struct io_uring *r, __u64 user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(r);

	if (!sqe)
		ksft_exit_fail_msg("the submission queue is full\n");
	sqe->user_data = user_data;
	return sqe;
}

static int reap(struct io_uring *r, __u64 *user_data, int *res)
{
	struct __kernel_timespec limit = { .tv_sec = ACTION_SECONDS / 2 };
	struct io_uring_cqe *cqe;

	CHECK_EQ(io_uring_wait_cqe_timeout(r, &cqe, &limit), 0);
	*user_data = cqe->user_data;
	*res = cqe->res;
	io_uring_cqe_seen(r, cqe);
	return KSFT_PASS;
}

/* The one result that is to come. */
static int result(struct io_uring *r, int *res)
{
	__u64 user_data;

	CHECK_GE(io_uring_submit(r), 0);
	return reap(r, &user_data, res);
}

/* ---- many at once ---- */

enum kind { EXCHANGE, TICK, MIGRATE, KINDS };

struct job {
	enum kind kind;
	struct life *l;
	struct order *o;
	size_t len;
	unsigned char *out;
	__u64 seed;
	__u64 n;
	__u64 out_len;
	bool cancel;
	bool cancelled;
	bool ended;
	int node;
	int res;
};

static void job_prepare(struct io_uring *r, struct job *j, unsigned int i, __u64 *state)
{
	struct tick_args a = { .ns = next_random(state) % (1ULL << next_random(state) % 24) };
	struct order *o = j->o;

	switch (j->kind) {
	case EXCHANGE:
		memset(o, 0, sizeof(*o));
		o->seed = j->seed;
		o->n = j->n;
		o->out_len = j->out_len;
		exchange_order(o, j->len);
		proclet_prep_call(entry(r, i), j->l->id, exchange, o, sizeof(*o) + j->len, j->out,
				  j->out_len);
		break;
	case TICK:
		memcpy(o, &a, sizeof(a));
		j->len = 0;
		proclet_prep_call(entry(r, i), j->l->id, tick, o, sizeof(a), NULL, 0);
		break;
	default:
		j->len = 0;
		proclet_prep_migrate(entry(r, i), j->l->id, j->node, 0);
	}
}

/* Fails unless the result is a possible one. */
static int job_check(struct job *j)
{
	static const char *const names[KINDS] = { "exchange", "tick", "migration" };

	if (j->cancelled != (j->res == -ECANCELED))
		goto differs;
	if (j->cancelled) {
		ADD(j->l->perhaps, 1);
		return KSFT_PASS;
	}
	if (excused(j->l, j->res))
		return KSFT_PASS;
	switch (j->kind) {
	case EXCHANGE:
		if (j->res != (int)j->out_len || !has_pattern(j->out, j->out_len, j->seed + 1))
			goto differs;
		counted(j->l, j->n, 1);
		return KSFT_PASS;
	case TICK:
		if (j->res != 1)
			goto differs;
		ADD(j->l->ticks, 1);
		return KSFT_PASS;
	default:
		if (!may_stay(j->res))
			goto differs;
		return KSFT_PASS;
	}
differs:
	diag("by io_uring, %s of %llx%s: expected %d%s, saw %d", names[j->kind], j->l->id,
	     j->cancelled ? ", cancelled" : "", j->cancelled ? -ECANCELED :
	     j->kind == EXCHANGE ? (int)j->out_len : j->kind == TICK,
	     j->kind == EXCHANGE ? " right bytes" : "", j->res);
	return KSFT_FAIL;
}

static int collect(struct io_uring *r, struct job *jobs, unsigned int results)
{
	__u64 i;
	int res;

	while (results--) {
		TRY(reap(r, &i, &res));
		if (i & CANCEL) {
			if (res != -ENOENT)
				CHECK_EQ(res, 0);
			jobs[i & ~CANCEL].cancelled = !res;
			continue;
		}
		CHECK(i < JOBS_MAX && !jobs[i].ended);
		jobs[i].ended = true;
		jobs[i].res = res;
	}
	return KSFT_PASS;
}

int do_async(struct stress_worker *w, __u64 *state)
{
	unsigned int n = 1 + next_random(state) % JOBS_MAX, jobs_n = 0, results;
	struct io_uring *r = ring_of(w);
	struct job jobs[JOBS_MAX] = { 0 };
	int ret;

	CHECK(r);
	for (unsigned int i = 0; i < n; i++) {
		struct job *j = &jobs[jobs_n];

		j->kind = next_random(state) % 8 ? next_random(state) % 2 : MIGRATE;
		j->o = (struct order *)(w->in + i * 2 * BYTES_MAX);
		j->out = w->out + i * BYTES_MAX;
		j->seed = next_random(state);
		j->n = next_random(state) % 1000;
		j->len = any_size(state, BYTES_MAX);
		j->out_len = j->kind == EXCHANGE ? any_size(state, BYTES_MAX) : 0;
		j->cancel = j->kind == TICK && next_random(state) % 4 == 0;
		j->node = any_node(state);
		j->l = life_any(state);
		if (!j->l)
			continue;
		job_prepare(r, j, jobs_n, state);
		jobs_n++;
	}
	if (!jobs_n)
		return KSFT_PASS;
	CHECK_EQ(io_uring_submit(r), jobs_n);
	results = jobs_n;
	/* All have been read. */
	for (unsigned int i = 0; i < jobs_n; i++) {
		memset(jobs[i].o, 0xee, sizeof(*jobs[i].o) + jobs[i].len);
		if (jobs[i].cancel) {
			proclet_prep_cancel(entry(r, CANCEL | i), i);
			results++;
		}
	}
	CHECK_GE(io_uring_submit(r), 0);
	TRY(collect(r, jobs, results));
	ret = KSFT_PASS;
	for (unsigned int i = 0; i < jobs_n; i++) {
		if (job_check(&jobs[i]) != KSFT_PASS)
			ret = KSFT_FAIL;
		life_put(jobs[i].l);
	}
	return ret;
}

/* ---- calls that wait, in a proclet of this action alone ---- */

struct patient {
	volatile __u64 begun;
	proclet_sem_t sem;
};

METHOD(wait_there)
{
	struct patient *s = root;
	int err;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	ADD(s->begun, 1);
	err = proclet_sem_wait(&s->sem);
	return err ?: 7;
}
PROCLET_METHOD(wait_there);

METHOD(wake_there)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return proclet_sem_post(&((struct patient *)root)->sem);
}
PROCLET_METHOD(wake_there);

static int own_proclet(proclet_t *p, int node)
{
	struct proclet_attr attr = {
		.capacity = MIB, .node = node, .root_size = sizeof(struct patient),
	};

	int err = proclet_create(p, &attr);

	/* Here there is always a member. */
	if (struck(err)) {
		attr.node = lproc_node();
		err = proclet_create(p, &attr);
	}
	CHECK_EQ(err, 0);
	return KSFT_PASS;
}

static int own_move(proclet_t p, int node)
{
	int err = proclet_migrate(p, node, 0);

	if (!may_stay(err) && !struck(err))
		CHECK_EQ(err, 0);
	return KSFT_PASS;
}

enum ending { WOKEN, DESTROYED, LAST_PUT, CANCELLED, ENDINGS };

/* Both results, in any order. After a fault the call may have ended before. */
static int cancel_call(struct io_uring *r, proclet_t p)
{
	int call = 0, cancel = -1, res, err;
	__u64 i;

	proclet_prep_cancel(entry(r, CANCEL), 1);
	CHECK_EQ(io_uring_submit(r), 1);
	for (int n = 0; n < 2; n++) {
		TRY(reap(r, &i, &res));
		*(i == 1 ? &call : &cancel) = res;
	}
	err = proclet_destroy(p);
	if (stormy())
		return KSFT_PASS;
	CHECK_EQ(cancel, 0);
	CHECK_EQ(call, -ECANCELED);
	CHECK_EQ(err, 0);
	return KSFT_PASS;
}

/* How the method's wait is ended; it may be that a fault has done so already. */
static int end_wait(proclet_t p, enum ending ending)
{
	int err = ending == WOKEN ? proclet_call(p, wake_there, NULL, 0, NULL, 0) :
		  ending == DESTROYED ? proclet_destroy(p) : proclet_put(p);

	if (!struck(err))
		CHECK_EQ(err, 0);
	return KSFT_PASS;
}

/* A method waits for ever; woken, at its proclet's end, or left alone by its caller. */
int do_patience(struct stress_worker *w, __u64 *state)
{
	enum ending ending = next_random(state) % ENDINGS;
	unsigned int moves = next_random(state) % 4;
	struct io_uring *r = ring_of(w);
	__u64 begun = 0;
	int res, err;
	proclet_t p;
	ssize_t n;

	CHECK(r);
	TRY(own_proclet(&p, any_node(state)));
	proclet_prep_call(entry(r, 1), p, wait_there, NULL, 0, NULL, 0);
	CHECK_EQ(io_uring_submit(r), 1);
	while (!begun) {
		n = proclet_read(p, offsetof(struct patient, begun), &begun, sizeof(begun));
		if (struck(n))
			break;
		CHECK_EQ(n, sizeof(begun));
	}
	for (unsigned int i = 0; i < moves; i++)
		TRY(own_move(p, any_node(state)));
	if (!stormy())
		CHECK_EQ(io_uring_cq_ready(r), 0);
	if (ending != CANCELLED && !stormy())
		TRY(end_wait(p, ending));
	/* If a fault has taken it away, it is not known whether it waits. */
	if (ending == CANCELLED || stormy())
		return cancel_call(r, p);
	TRY(result(r, &res));
	if (!struck(res))
		CHECK_EQ(res, ending == WOKEN ? 7 : -ECONNRESET);
	err = proclet_destroy(p);
	if (!struck(err))
		CHECK_EQ(err, ending == WOKEN ? 0 : -ESTALE);
	return KSFT_PASS;
}

/* ---- events ---- */

static int event_after(struct io_uring *r, __u64 seq, struct proclet_event *e, int *res)
{
	memset(e, 0, sizeof(*e));
	proclet_prep_event(entry(r, 1), seq, e);
	return result(r, res);
}

/* Of what happens here, the moves of a proclet that nobody else moves, in order. */
int do_events(struct stress_worker *w, __u64 *state)
{
	int here = lproc_node(), at = any_node(state), res, err;
	unsigned int moves = 1 + next_random(state) % 5;
	struct io_uring *r = ring_of(w);
	struct proclet_event e;
	proclet_t p;
	__u64 seq;

	CHECK(r);
	TRY(own_proclet(&p, at));
	at = proclet_locate(p);
	if (struck(at))
		return KSFT_PASS;
	TRY(event_after(r, 0, &e, &res));
	CHECK_EQ(res, 0);
	seq = e.seq;
	while (moves--) {
		int to = any_node(state);

		err = proclet_migrate(p, to, 0);
		if (struck(err))
			break;
		if (err)
			CHECK_EQ(err, -EBUSY);
		if (err || to == at || (to != here && at != here)) {
			at = err ? at : to;
			continue;
		}
		do {
			TRY(event_after(r, seq, &e, &res));
			if (res == -EOVERFLOW)	/* others have moved too much */
				goto out;
			CHECK_GE(res, PROCLET_EVENT_JOINED);
			CHECK_EQ(e.kind, res);
			CHECK_EQ(e.seq, seq + 1);
			seq = e.seq;
		} while (e.proclet != p);
		CHECK_EQ(e.kind, to == here ? PROCLET_EVENT_MOVED_IN : PROCLET_EVENT_MOVED_OUT);
		CHECK_EQ(e.node, to == here ? at : to);
		at = to;
	}
out:
	err = proclet_destroy(p);
	if (!struck(err))
		CHECK_EQ(err, 0);
	return KSFT_PASS;
}
