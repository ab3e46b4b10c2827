// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a move costs a proclet that computes: words are counted for a while with nobody
 * who moves the proclet, and then with a mover. What is counted less is time lost.
 */
#include <errno.h>
#include <linux/proclet.h>
#include <proclet.h>
#include <pthread.h>
#include <string.h>

#include "bench.h"
#include "callee.h"

#define TEXT		(64 * KIB)
#define PIECE		(4 * KIB)	/* counted between looks at the clock */
#define STILL_NS	300000000ULL	/* how long without a mover, on either node */
#define MOVING_NS	800000000ULL	/* and with one */
#define REST		3		/* between moves, in blackouts of the last */

static proclet_t counter;
static int here, there;

/* Root object. @words: so that nothing of the work can be left out */
struct text {
	char *text;
	__u64 words;
};

/* What a stretch of work came to. @ns: by the logical process's clock */
struct stretch {
	__u64 pieces;
	__u64 ns;
};

static void write_text(char *text)
{
	__u64 x = 88172645463325252ULL;
	size_t i;

	for (i = 0; i < TEXT; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		text[i] = x % 6 ? 'a' + x % 26 : ' ';
	}
}

/* In: for how many ns; out: a struct stretch. */
static ssize_t count_words(void *root, const void *in, size_t in_len,
			   void *out, size_t out_cap)
{
	struct stretch done = { 0, 0 };
	__u64 duration, start, now;
	struct text *t = root;
	bool space = true;
	size_t at = 0, i;

	if (in_len != sizeof(duration) || out_cap < sizeof(done))
		return -EINVAL;
	memcpy(&duration, in, sizeof(duration));
	if (!t->text) {
		t->text = proclet_malloc(TEXT);
		if (!t->text)
			return -ENOMEM;
		write_text(t->text);
	}
	start = proclet_clock_ns();
	do {
		for (i = at; i < at + PIECE; i++) {
			t->words += space && t->text[i] != ' ';
			space = t->text[i] == ' ';
		}
		at = (at + PIECE) % TEXT;
		done.pieces++;
		now = proclet_clock_ns();
	} while (now - start < duration);
	done.ns = now - start;
	memcpy(out, &done, sizeof(done));
	return sizeof(done);
}
PROCLET_METHOD(count_words);

static int work_begin(const struct options *opt, int node)
{
	(void)opt;
	here = lproc_node();
	there = node;
	return bench_proclet("work", &counter, here, MIB, sizeof(struct text), 0);
}

static int count(__u64 duration, struct stretch *done)
{
	ssize_t n = proclet_call(counter, count_words, &duration, sizeof(duration), done,
				 sizeof(*done));

	return n == sizeof(*done) ? 0 : n < 0 ? (int)n : -EPROTO;
}

struct moving {
	struct stretch done;
	int err;
};

static void *count_moving(void *arg)
{
	struct moving *m = arg;

	m->err = count(MOVING_NS, &m->done);
	return NULL;
}

/*
 * Move the proclet to and fro while it counts. The last move ends before the counting
 * does, but for a machine that is far too slow.
 */
static int move_about(__u64 *moves, __u64 *blackout)
{
	__u64 start = now_ns();
	int err = 0;

	*moves = 0;
	*blackout = 0;
	while (!err && now_ns() - start < MOVING_NS * 9 / 10) {
		struct proclet_move move;
		struct timespec rest;

		memset(&move, 0, sizeof(move));
		err = proclet_migrate_stat(counter, *moves % 2 ? here : there, 0, &move);
		if (err == -EBUSY) {
			err = 0;
			continue;
		}
		*moves += 1;
		*blackout += move.blackout_ns;
		rest.tv_sec = REST * move.blackout_ns / 1000000000;
		rest.tv_nsec = REST * move.blackout_ns % 1000000000;
		nanosleep(&rest, NULL);
	}
	return err;
}

/* One comparison. The still stretches are before and after the moving one. */
static int compare(struct results *r)
{
	struct stretch still[2];
	struct moving moving;
	__u64 moves, blackout;
	double rate, lost;
	pthread_t thread;
	int err;

	err = count(STILL_NS, &still[0]);
	if (err)
		return err;
	err = -pthread_create(&thread, NULL, count_moving, &moving);
	if (err)
		return err;
	err = move_about(&moves, &blackout);
	pthread_join(thread, NULL);
	if (!err)
		err = moving.err;
	if (!err)
		err = proclet_migrate(counter, there, 0);
	if (!err)
		err = count(STILL_NS, &still[1]);
	if (!err)
		err = proclet_migrate(counter, here, 0);
	if (err || !moves)
		return err;
	/* It is on either node about half of the time. */
	rate = ((double)still[0].pieces / still[0].ns +
		(double)still[1].pieces / still[1].ns) / 2;
	lost = moving.done.ns - moving.done.pieces / rate;
	err = results_add(r, "work_lost_per_move", TEXT, UNIT_NS, lost / moves);
	if (!err)
		err = results_add(r, "work_blackout", TEXT, UNIT_NS, (double)blackout / moves);
	if (!err)
		err = results_add(r, "work_moves", TEXT, UNIT_COUNT, moves);
	return err;
}

struct job {
	const struct pace *pace;
	struct results *results;
};

static int measure(void *arg)
{
	const struct job *job = arg;
	__u64 start = now_ns(), i;
	int err = 0;

	for (i = 0; !err && pace_more(job->pace, start, i); i++)
		err = compare(job->results);
	if (err)
		complain("work: %s", error_text(err));
	return err;
}

static int work_round(const struct pace *pace, struct results *r)
{
	struct job job = { .pace = pace, .results = r };

	return bench_native("work", measure, &job);
}

static void work_end(void)
{
	bench_destroy(&counter);
}

const struct subject work_subject = {
	.name = "work",
	.bit = BENCH_WORK,
	.begin = work_begin,
	.round = work_round,
	.end = work_end,
};
