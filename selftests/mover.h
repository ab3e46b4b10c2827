/* SPDX-License-Identifier: GPL-2.0 */
/* Threads that move proclets about while a test goes on. */
#ifndef PROCLET_SELFTEST_MOVER_H
#define PROCLET_SELFTEST_MOVER_H

#include "tap.h"

#define MOVE_IN_TURN	1	/* one after the other, not at random */
#define MOVE_MORTALS	2	/* they may end meanwhile */

/**
 * struct mover_thread - one of them
 * @ids: what it moves
 * @n: how many
 * @pause_us: longest time between two moves; 0: none
 * @flags: MOVE_IN_TURN, ...
 * @state: of its random numbers
 * @moved: by it
 * @busy: attempts that ended with -EBUSY
 * @longest_ns: blackout
 * @sum: of how they went
 * @error: what no migration should end with; 0: none
 * @failed: the proclet that it happened to
 */
struct mover_thread {
	pthread_t thread;
	proclet_t *ids;
	unsigned int n;
	unsigned int pause_us;
	unsigned int flags;
	__u64 state;
	__u64 moved;
	__u64 busy;
	__u64 longest_ns;
	struct proclet_move sum;
	int error;
	proclet_t failed;
};

#define MOVERS_MAX 8

static struct mover_thread movers[MOVERS_MAX];
static unsigned int movers_started;
static bool movers_ended;	/* all of them; what they have done can still be seen */
static bool movers_stop;

static inline void pause_up_to(__u64 *state, unsigned int us)
{
	struct timespec ts = { 0, 0 };

	if (!us)
		return;
	ts.tv_nsec = next_random(state) % us * 1000;
	nanosleep(&ts, NULL);
}

/* A node that it is not on: any, or that of another one, so that they meet. */
static inline int mover_choose(struct mover_thread *m, proclet_t p)
{
	int at = proclet_locate(p), to;

	if (at < 0)
		return at;
	if (!(m->flags & MOVE_IN_TURN) && next_random(&m->state) % 2) {
		to = proclet_locate(m->ids[next_random(&m->state) % m->n]);
		if (to != at)
			return to;
	}
	do {
		to = nodes[next_random(&m->state) % node_count];
	} while (to == at);
	return to;
}

static inline void mover_sum(struct proclet_move *sum, const struct proclet_move *move)
{
	sum->prepare_ns += move->prepare_ns;
	sum->freeze_ns += move->freeze_ns;
	sum->offer_ns += move->offer_ns;
	sum->pull_ns += move->pull_ns;
	sum->commit_ns += move->commit_ns;
	sum->blackout_ns += move->blackout_ns;
	sum->bytes += move->bytes;
	sum->threads += move->threads;
	sum->parked += move->parked;
}

static inline void *mover_run(void *arg)
{
	struct mover_thread *m = arg;
	unsigned int turn = 0;

	while (!__atomic_load_n(&movers_stop, __ATOMIC_RELAXED)) {
		struct proclet_move move = { 0 };
		proclet_t p;
		int ret;

		p = m->ids[(m->flags & MOVE_IN_TURN ? turn++ : next_random(&m->state)) % m->n];
		ret = mover_choose(m, p);
		if (ret > 0)
			ret = proclet_migrate_stat(p, ret, next_random(&m->state) % 4, &move);
		if (!ret) {
			/* No move: somebody else has just brought it there. */
			if (move.blackout_ns)
				__atomic_add_fetch(&m->moved, 1, __ATOMIC_RELAXED);
			if (move.blackout_ns > m->longest_ns)
				m->longest_ns = move.blackout_ns;
			mover_sum(&m->sum, &move);
		} else if (ret == -EBUSY) {
			m->busy++;
		} else if (ret != -ESTALE || !(m->flags & MOVE_MORTALS)) {
			m->failed = p;
			__atomic_store_n(&m->error, ret, __ATOMIC_RELAXED);
			break;
		}
		pause_up_to(&m->state, m->pause_us);
	}
	return NULL;
}

/* Moves made so far, or until the last movers_end(). */
static inline __u64 movers_moved(void)
{
	__u64 n = 0;

	for (unsigned int i = 0; i < movers_started; i++)
		n += __atomic_load_n(&movers[i].moved, __ATOMIC_RELAXED);
	return n;
}

static inline bool movers_failed(void)
{
	for (unsigned int i = 0; i < movers_started; i++)
		if (__atomic_load_n(&movers[i].error, __ATOMIC_RELAXED))
			return true;
	return false;
}

/* Wait for so many, unless one of them fails. */
static inline void movers_wait(__u64 moves)
{
	while (movers_moved() < moves && !movers_failed())
		usleep(1000);
}

static inline void movers_join(void)
{
	__atomic_store_n(&movers_stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; !movers_ended && i < movers_started; i++) {
		pthread_join(movers[i].thread, NULL);
		free(movers[i].ids);
	}
	movers_ended = true;
}

/* Move @ids about, starting @count threads more, until movers_end(). */
static inline int movers_start(unsigned int count, const proclet_t *ids, unsigned int n,
			       unsigned int pause_us, unsigned int flags, __u64 seed)
{
	if (movers_ended)
		movers_started = 0;
	movers_ended = false;
	movers_stop = false;
	tap_end = movers_join;
	for (unsigned int i = 0; i < count; i++) {
		struct mover_thread *m = &movers[movers_started];

		CHECK(movers_started < MOVERS_MAX);
		*m = (struct mover_thread) {
			.ids = malloc(n * sizeof(*ids)),
			.n = n,
			.pause_us = pause_us,
			.flags = flags,
			.state = (seed + i + 1) * 0x9e3779b97f4a7c15ULL,
		};
		CHECK(m->ids);
		memcpy(m->ids, ids, n * sizeof(*ids));
		CHECK_EQ(pthread_create(&m->thread, NULL, mover_run, m), 0);
		movers_started++;
	}
	return KSFT_PASS;
}

/* Stop them; a failure if one of them had one. */
static inline int movers_end(void)
{
	__u64 moved, busy = 0, longest = 0;
	struct proclet_move sum = { 0 };
	int error = 0;

	movers_join();
	moved = movers_moved();
	for (unsigned int i = 0; i < movers_started; i++) {
		busy += movers[i].busy;
		mover_sum(&sum, &movers[i].sum);
		if (movers[i].longest_ns > longest)
			longest = movers[i].longest_ns;
		if (movers[i].error) {
			error = movers[i].error;
			diag("moving %llx: %d (-%s)", movers[i].failed, error,
			     strerrorname_np(-error));
		}
	}
	if (movers_started)
		diag("%llu moves, %llu busy, longest blackout %llu us", moved, busy,
		     longest / 1000);
	if (moved)
		diag("on average: prepare %llu, freeze %llu, offer %llu, pull %llu, commit %llu us, %llu KiB, %u threads in 100",
		     sum.prepare_ns / 1000 / moved, sum.freeze_ns / 1000 / moved,
		     sum.offer_ns / 1000 / moved, sum.pull_ns / 1000 / moved,
		     sum.commit_ns / 1000 / moved, sum.bytes / 1024 / moved,
		     (unsigned int)(sum.threads * 100 / moved));
	CHECK_EQ(error, 0);
	return KSFT_PASS;
}

/* One proclet, with pauses. */
static inline int mover_start(proclet_t p)
{
	return movers_start(1, &p, 1, 2000, 0, p);
}

/* Tests that use moving() go on at least until so many. */
static inline unsigned int movers_wanted(void)
{
	unsigned int n = env_number("PROCLET_TEST_MOVES", 1000) / 10;

	return n < 10 ? 10 : n;
}

static inline bool movers_enough(void)
{
	return movers_moved() >= movers_wanted() || movers_failed();
}

/* Run a part of a test while these proclets move; at least two nodes. */
static inline int moving(const proclet_t *ids, unsigned int count, int (*fn)(void))
{
	int ret;

	TRY(movers_start(1, ids, count, 0, MOVE_MORTALS, 0x5eed));
	ret = fn();
	if (ret != KSFT_PASS) {
		movers_join();
		return ret;
	}
	TRY(movers_end());
	CHECK_GE(movers_moved(), movers_wanted());
	return KSFT_PASS;
}

#endif /* PROCLET_SELFTEST_MOVER_H */
