// SPDX-License-Identifier: GPL-2.0-or-later
/* Remote calls per second from one thread, by io_uring, with many in flight. */
#include <errno.h>
#include <proclet.h>

#include "bench.h"
#include "callee.h"
#include "ring.h"

#define DEPTH	64
#define BATCH	256	/* calls that a sample counts */

static proclet_t callee;

struct job {
	const struct pace *pace;
	struct results *results;
};

static int pipeline_begin(const struct options *opt, int node)
{
	(void)opt;
	callee = 0;
	return bench_proclet("pipeline", &callee, node, MIB, 0, 0);
}

/* Until @count more have ended; as soon as one has, another begins. */
static int flow(struct call_ring *r, unsigned int count)
{
	unsigned int done = 0;
	int n;

	while (done < count) {
		while (r->flying < DEPTH && ring_call(r))
			;
		n = ring_wait(r, 0, NULL, NULL);
		if (n < 0)
			return n;
		done += n;
	}
	return 0;
}

static int measure(void *arg)
{
	const struct job *job = arg;
	__u64 start, before, i;
	struct call_ring r;
	int err;

	err = ring_open(&r, callee, DEPTH);
	if (err) {
		complain("pipeline: no io_uring: %s", error_text(err));
		return err;
	}
	err = flow(&r, BATCH);
	start = now_ns();
	for (i = 0; !err && pace_more(job->pace, start, i); i++) {
		before = now_ns();
		err = flow(&r, BATCH);
		if (!err)
			err = results_add(job->results, "call_pipelined", RING_PAYLOAD,
					  UNIT_PER_SECOND, BATCH * 1e9 / (now_ns() - before));
	}
	ring_close(&r);
	if (err)
		complain("pipeline: a call: %s", error_text(err));
	return err;
}

static int pipeline_round(const struct pace *pace, struct results *r)
{
	struct job job = { .pace = pace, .results = r };

	return bench_native("pipeline", measure, &job);
}

static void pipeline_end(void)
{
	bench_destroy(&callee);
}

const struct subject pipeline_subject = {
	.name = "pipeline",
	.bit = BENCH_PIPELINE,
	.begin = pipeline_begin,
	.round = pipeline_round,
	.end = pipeline_end,
};
