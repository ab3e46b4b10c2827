/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of move share. */
#ifndef PROCLET_SELFTEST_MOVE_H
#define PROCLET_SELFTEST_MOVE_H

#include <proclet.h>
#include <stddef.h>

/**
 * struct mover - root object of the proclets that are moved
 * @started: a method runs: 1, or more by its own counting
 * @stop: it is to end, or go on to its next phase
 * @count: it is alive: counts on
 * @wrong: errors that it found
 * @node: where it last was
 * @counter: for exact counting
 * @data: words of @words
 * @words: their number
 * @list: of blocks, linked through the heap
 */
struct mover {
	volatile __u32 started;
	volatile __u32 stop;
	volatile __u64 count;
	volatile __u64 wrong;
	volatile int node;
	__u64 counter;
	__u64 *data;
	__u64 words;
	void *list;
};

/* The compiler knows nothing of the memory afterwards. */
#define keep(p) __asm__ volatile("" : : "r" (p) : "memory")

/* Until told to stop: the tightest loop there is. */
static inline long spin(struct mover *m)
{
	long n = 0;

	m->started = 1;
	while (!m->stop)
		m->count = ++n;
	return n;
}

ssize_t spin_protected(void *root, const void *in, size_t in_len, void *out, size_t out_cap);

#endif /* PROCLET_SELFTEST_MOVE_H */
