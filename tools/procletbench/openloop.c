// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Calls at a given rate, whatever becomes of those before. Each is timed from when it
 * ought to start: what starts late because others are slow has waited for them, as
 * users would. What could not start before the end is counted.
 */
#include <errno.h>
#include <math.h>
#include <proclet.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "bench.h"
#include "callee.h"
#include "ring.h"

#define DEPTH		1024
#define MIN_NS		100000000ULL	/* a round */

static proclet_t callee;
static const struct options *opt;

struct job {
	const struct pace *pace;
	struct results *results;
	unsigned short seed[3];
};

static int open_loop_begin(const struct options *options, int node)
{
	opt = options;
	callee = 0;
	return bench_proclet("open loop", &callee, node, MIB, 0, 0);
}

/* From one start to the next, in ns. */
static double gap(struct job *job)
{
	double mean = 1e9 / opt->rate;

	return opt->fixed ? mean : -log(1 - erand48(job->seed)) * mean;
}

static int note(const struct ring_slot *slot, void *arg)
{
	struct job *job = arg;

	return results_add(job->results, "open_loop", RING_PAYLOAD, UNIT_NS,
			   now_ns() - slot->start);
}

static int generate(struct call_ring *r, struct job *job)
{
	__u64 now = now_ns(), end, wait, sent = 0, unsent = 0;
	double next = now;
	int err = 0;

	end = now + (job->pace->limit_ns < MIN_NS ? MIN_NS : job->pace->limit_ns);
	while (err >= 0 && now < end) {
		struct ring_slot *slot;

		while (next <= now && next < end) {
			slot = ring_call(r);
			if (!slot)
				break;
			slot->start = next;
			next += gap(job);
			sent++;
		}
		/* With all slots in use only a call's end helps. */
		wait = next > now && next < end ? next - now : end - now;
		err = ring_wait(r, wait ? wait : 1, note, job);
		now = now_ns();
	}
	/* Also when it was we who came late. */
	while (err >= 0 && next < end) {
		next += gap(job);
		unsent++;
	}
	while (err >= 0 && r->flying)
		err = ring_wait(r, 0, note, job);
	if (err >= 0)
		err = results_add(job->results, "open_loop_sent", RING_PAYLOAD, UNIT_COUNT, sent);
	if (!err)
		err = results_add(job->results, "open_loop_not_sent", RING_PAYLOAD, UNIT_COUNT,
				  unsent);
	return err;
}

static int measure(void *arg)
{
	struct job *job = arg;
	struct call_ring r;
	struct row *row;
	int err;

	/* Else the kernel wakes us up to 50 us late. */
	prctl(PR_SET_TIMERSLACK, 1UL);
	err = ring_open(&r, callee, DEPTH);
	if (err) {
		complain("open loop: no io_uring: %s", error_text(err));
		return err;
	}
	err = generate(&r, job);
	ring_close(&r);
	if (err < 0)
		complain("open loop: a call: %s", error_text(err));
	row = results_row(job->results, "open_loop", RING_PAYLOAD);
	if (row)
		snprintf(row->note, sizeof(row->note), "%.0f/s, %s", opt->rate,
			 opt->fixed ? "fixed distances" : "Poisson");
	return err;
}

static int open_loop_round(const struct pace *pace, struct results *r)
{
	static unsigned short round;
	struct job job = { .pace = pace, .results = r, .seed = { 1, 2, round++ } };

	return bench_native("open loop", measure, &job);
}

static void open_loop_end(void)
{
	bench_destroy(&callee);
}

const struct subject open_loop_subject = {
	.name = "open-loop",
	.bit = BENCH_OPEN_LOOP,
	.begin = open_loop_begin,
	.round = open_loop_round,
	.end = open_loop_end,
};
