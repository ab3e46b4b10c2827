// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Calls, local and remote, made by a method of a proclet on the root's node,
 * and an indirect call of a C function that copies as much as a local one.
 */
#include <errno.h>
#include <proclet.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "callee.h"

#define PAYLOAD_MAX	MIB	/* bytes each way of a call */
#define SAMPLES_MAX	(PAYLOAD_MAX / sizeof(__u64))

static proclet_t caller, local_callee, remote_callee;
static __u64 *times;

/**
 * struct job - what the caller shall do; it returns an array of __u64, ns each
 * @callee: 0: the C function
 * @in_len: argument bytes
 * @out_cap: result bytes wanted
 * @warm_up: calls that are not timed
 * @batch: calls per sample
 * @pace: of the samples
 */
struct job {
	proclet_t callee;
	__u64 in_len;
	__u64 out_cap;
	__u64 warm_up;
	__u64 batch;
	struct pace pace;
};

/* The caller's root object. */
struct caller {
	char *payload;
};

/* A call that stays in the program, with a local call's copies. */
static inline ssize_t call_c(const void *in, size_t in_len, void *out, size_t out_cap)
{
	char arguments[64], results[64];
	proclet_method_t method = bench_answer;
	ssize_t n;

	if (in_len > sizeof(arguments) || out_cap > sizeof(results))
		return -EMSGSIZE;
	memcpy(arguments, in, in_len);
	/* The compiler must not know where it goes. */
	asm volatile("" : "+r" (method));
	n = method(NULL, arguments, in_len, results, out_cap);
	if (n > 0)
		memcpy(out, results, n);
	return n;
}

/* @count calls, which count. */
static ssize_t call_many(const struct job *job, char *payload, __u64 count)
{
	__u64 number = 0, i;
	char out[64];
	ssize_t n;

	memset(payload, 0, sizeof(number));
	for (i = 0; i < count; i++) {
		n = job->callee ?
		    proclet_call(job->callee, bench_answer, payload, job->in_len, out, job->out_cap) :
		    call_c(payload, job->in_len, out, job->out_cap);
		if (n != (ssize_t)job->out_cap)
			return n < 0 ? n : -EBADMSG;
		memcpy(payload, out, sizeof(number));
	}
	memcpy(&number, payload, sizeof(number));
	return number == count ? 0 : -EBADMSG;
}

static ssize_t time_calls(void *root, const void *in, size_t in_len,
			  void *out, size_t out_cap)
{
	struct caller *me = root;
	__u64 start, before, *ns = out, n;
	struct job copy, *job = &copy;
	ssize_t err;

	if (in_len != sizeof(*job))
		return -EINVAL;
	/* Each call looks at it, so it must not lie where that disturbs the C function's. */
	memcpy(job, in, sizeof(*job));
	if (job->out_cap > 64 || job->in_len > PAYLOAD_MAX)
		return -EINVAL;
	if (!me->payload)
		me->payload = proclet_calloc(1, PAYLOAD_MAX);
	if (!me->payload)
		return -ENOMEM;
	err = call_many(job, me->payload, job->warm_up);
	start = now_ns();
	for (n = 0; !err && n < out_cap / sizeof(*ns) && pace_more(&job->pace, start, n); n++) {
		before = now_ns();
		err = call_many(job, me->payload, job->batch);
		ns[n] = now_ns() - before;
	}
	return err ? err : (ssize_t)(n * sizeof(*ns));
}
PROCLET_METHOD(time_calls);

static int calls_begin(const struct options *opt, int node)
{
	int err;

	(void)opt;
	caller = 0;
	local_callee = 0;
	remote_callee = 0;
	times = malloc(SAMPLES_MAX * sizeof(*times));
	if (!times) {
		complain("calls: no memory for the samples");
		return -ENOMEM;
	}
	err = bench_proclet("calls", &caller, lproc_node(), 8 * MIB,
			    sizeof(struct caller), 0);
	if (!err)
		err = bench_proclet("calls", &local_callee, lproc_node(), 8 * MIB, 0, 0);
	if (!err)
		err = bench_proclet("calls", &remote_callee, node, 8 * MIB, 0, 0);
	return err;
}

static int measure(struct results *r, const char *metric, size_t param, struct job *job)
{
	struct row *row = results_row(r, metric, param);
	ssize_t n, i;
	int err = row ? 0 : -ENOSPC;
	char size[24];

	n = err ? err : proclet_call(caller, time_calls, job, sizeof(*job), times,
				     SAMPLES_MAX * sizeof(*times));
	for (i = 0; i < n / (ssize_t)sizeof(*times) && !err; i++)
		err = samples_add(&row->samples, (double)times[i] / job->batch);
	if (n < 0)
		err = n;
	if (err)
		complain("calls: %s with %s: %s", metric, size_text(size, param),
			 error_text(err));
	return err;
}

static int calls_round(const struct pace *pace, struct results *r)
{
	static const size_t sizes[] = { 64, 4 * KIB, 64 * KIB, MIB };
	struct job job = { .pace = *pace };
	unsigned int i;
	int err = 0;

	job.warm_up = 20;
	job.batch = 1;
	job.callee = remote_callee;
	for (i = 0; i < ARRAY_SIZE(sizes) && !err; i++) {
		job.in_len = sizes[i];
		job.out_cap = i ? 8 : 64;
		err = measure(r, "call_remote", sizes[i], &job);
	}
	/* Too short for the clock, one by one. */
	job.warm_up = 1000;
	job.batch = 1000;
	job.in_len = 8;
	job.out_cap = 8;
	job.callee = local_callee;
	if (!err)
		err = measure(r, "call_local", 8, &job);
	job.callee = 0;
	if (!err)
		err = measure(r, "call_c", 8, &job);
	return err;
}

static void calls_end(void)
{
	bench_destroy(&remote_callee);
	bench_destroy(&local_callee);
	bench_destroy(&caller);
	free(times);
}

const struct subject calls_subject = {
	.name = "calls",
	.bit = BENCH_CALLS,
	.begin = calls_begin,
	.round = calls_round,
	.end = calls_end,
};
