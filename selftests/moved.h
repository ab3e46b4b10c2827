/* SPDX-License-Identifier: GPL-2.0 */
/* Proclets that are moved, and whether they are still the same. */
#ifndef PROCLET_SELFTEST_MOVED_H
#define PROCLET_SELFTEST_MOVED_H

#include "tap.h"
#include "move.h"

#include <stdint.h>

static ssize_t peek(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	if (out_cap < sizeof(struct mover))
		return -EMSGSIZE;
	memcpy(out, root, sizeof(struct mover));
	((struct mover *)out)->node = lproc_node();
	return sizeof(struct mover);
}
PROCLET_METHOD(peek);

/* In: the number of the phase to end; none: all. */
static ssize_t stop(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;

	(void)out;
	(void)out_cap;
	m->stop = in_len == sizeof(__u32) ? *(const __u32 *)in : 1000;
	return 0;
}
PROCLET_METHOD(stop);

static ssize_t where(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return lproc_node();
}
PROCLET_METHOD(where);

static inline __u64 heap_checksum(struct mover *m)
{
	__u64 sum = checksum(m->data, m->words * sizeof(__u64));

	for (__u64 *p = m->list; p; p = *(__u64 **)p)
		sum = sum * 31 + p[1] + (uintptr_t)p;
	return sum;
}

/* In: bytes. Random words in one block and a list of small ones. */
static ssize_t fill(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	__u64 state = 42, sum;

	if (in_len != sizeof(__u64) || out_cap != sizeof(__u64))
		return -EINVAL;
	m->words = *(const __u64 *)in / sizeof(__u64);
	m->data = proclet_malloc(m->words * sizeof(__u64));
	if (!m->data)
		return -ENOMEM;
	for (__u64 i = 0; i < m->words; i++)
		m->data[i] = next_random(&state);
	for (int i = 0; i < 100; i++) {
		__u64 *block = proclet_malloc(16 + i * 8);

		if (!block)
			return -ENOMEM;
		block[0] = (uintptr_t)m->list;
		block[1] = next_random(&state);
		m->list = block;
	}
	sum = heap_checksum(m);
	memcpy(out, &sum, sizeof(sum));
	return sizeof(sum);
}
PROCLET_METHOD(fill);

static ssize_t check(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	__u64 sum = heap_checksum(root);

	(void)in;
	(void)in_len;
	if (out_cap < sizeof(sum))
		return -EMSGSIZE;
	memcpy(out, &sum, sizeof(sum));
	return sizeof(sum);
}
PROCLET_METHOD(check);

static inline int mover(proclet_t *p, int node)
{
	return make(p, node, 16 << 20, sizeof(struct mover));
}

static inline int filled(proclet_t *p, int node, __u64 bytes, __u64 *sum)
{
	TRY(make(p, node, 64 << 20, sizeof(struct mover)));
	CHECK_EQ(proclet_call(*p, fill, &bytes, sizeof(bytes), sum, sizeof(*sum)), sizeof(*sum));
	return KSFT_PASS;
}

static inline int unchanged(proclet_t p, __u64 sum)
{
	__u64 now = 0;

	CHECK_EQ(proclet_call(p, check, NULL, 0, &now, sizeof(now)), sizeof(now));
	CHECK_EQ(now, sum);
	return KSFT_PASS;
}

static inline int is_on(proclet_t p, int node)
{
	CHECK_EQ(proclet_locate(p), node);
	CHECK_EQ(proclet_call(p, where, NULL, 0, NULL, 0), node);
	return KSFT_PASS;
}

static inline int move(proclet_t p, int node)
{
	int err, tries = 0;

	/* A slow machine may need longer to park a thread than a migration waits for it. */
	do {
		err = proclet_migrate(p, node, 0);
	} while (err == -EBUSY && ++tries < 3);
	CHECK_EQ(err, 0);
	return is_on(p, node);
}

static inline int look(proclet_t p, struct mover *m)
{
	CHECK_EQ(proclet_call(p, peek, NULL, 0, m, sizeof(*m)), sizeof(*m));
	return KSFT_PASS;
}

static inline int wait_started(proclet_t p, __u32 phase)
{
	struct mover m;

	do {
		TRY(look(p, &m));
	} while (m.started < phase);
	return KSFT_PASS;
}

/* It counts on. */
static inline int alive(proclet_t p)
{
	struct mover before, after;

	TRY(look(p, &before));
	do {
		TRY(look(p, &after));
	} while (after.count == before.count);
	return KSFT_PASS;
}

static inline int end_phase(proclet_t p, __u32 phase)
{
	CHECK_EQ(proclet_call(p, stop, &phase, sizeof(phase), NULL, 0), 0);
	return KSFT_PASS;
}

static inline void stop_proclet(proclet_t p)
{
	proclet_call(p, stop, NULL, 0, NULL, 0);
}

#endif /* PROCLET_SELFTEST_MOVED_H */
