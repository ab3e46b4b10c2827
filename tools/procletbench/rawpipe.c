// SPDX-License-Identifier: GPL-2.0-or-later
/* How many small SENDs per second, with many in flight and waiting asleep. */
#include <errno.h>

#include "bench.h"
#include "raw.h"

#define MESSAGE		64
#define BATCH		1024	/* SENDs that a sample counts */

/**
 * struct pipe - SENDs one after the other
 * @conn: the connection
 * @step: how many a message from the other end confirms
 * @flying: not confirmed
 * @confirmed: all that were
 */
struct pipe {
	struct raw_conn *conn;
	unsigned int step;
	unsigned int flying;
	__u64 confirmed;
};

/* Until @count more have been confirmed; the pipe is kept full. */
static int flow(struct pipe *p, __u64 count)
{
	__u64 until = p->confirmed + count;
	struct ibv_wc wc;
	int err;

	while (p->confirmed < until) {
		while (p->flying < RAW_DEPTH) {
			err = raw_send(p->conn, MESSAGE);
			if (err)
				return err;
			p->flying++;
		}
		err = raw_wait(p->conn, &p->conn->recv, &wc);
		if (!err)
			err = raw_recv(p->conn, wc.wr_id);
		if (err)
			return err;
		p->flying -= p->step;
		p->confirmed += p->step;
	}
	return 0;
}

/* So that the next to use the connection finds it at rest. */
static int drain(struct pipe *p)
{
	struct ibv_wc wc;
	int err = 0;

	while (p->flying >= p->step && !err) {
		err = raw_wait(p->conn, &p->conn->recv, &wc);
		if (!err)
			err = raw_recv(p->conn, wc.wr_id);
		p->flying -= p->step;
	}
	return err;
}

/*
 * To a server that takes the SENDs (@sink), and confirms some at a time, or that sends
 * each back.
 */
int raw_measure_rate(struct raw_conn *c, bool sink, const struct pace *pace,
		     struct results *r)
{
	struct pipe p = { .conn = c, .step = sink ? RAW_CREDITS : 1 };
	const char *metric = sink ? "raw_send_rate" : "raw_echo_rate";
	__u64 start, before, i;
	int err;

	err = flow(&p, BATCH);
	start = now_ns();
	for (i = 0; !err && pace_more(pace, start, i); i++) {
		before = now_ns();
		err = flow(&p, BATCH);
		if (!err)
			err = results_add(r, metric, MESSAGE, UNIT_PER_SECOND,
					  BATCH * 1e9 / (now_ns() - before));
	}
	return err ? err : drain(&p);
}
