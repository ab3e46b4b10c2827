/* SPDX-License-Identifier: GPL-2.0 */
/* A proclet with locks of all kinds, and what they protect. */
#ifndef PROCLET_SELFTEST_SHARED_H
#define PROCLET_SELFTEST_SHARED_H

#include "mover.h"

#define MOVES		(env_number("PROCLET_TEST_MOVES", 1000) / 20)
#define THREADS		4
#define ONCES		2000
#define SLOTS		3

/**
 * struct shared - root object; zero, so all locks are initialised
 * @stop: the load is to end
 * @inside: threads that have the lock
 * @readers: threads that have it for reading
 * @wrong: something that must not be was seen
 * @value: counted under the lock, without atomic instructions
 * @twin: the same, to be seen equal
 * @busy: COND_SIGNAL: a lock made of mutex and cond; in others: this is the last round
 * @next: COND_BROADCAST: tickets
 * @serving: and whose turn it is
 * @slot: BUFFER: items; 0: none
 * @put: items put in
 * @got: items taken out
 * @turn: of two threads that play ping-pong
 * @serial: times that a thread was the last one at the barrier
 * @sum: BUFFER: of the items taken out
 * @onces: to be called once, and that it was
 */
struct shared {
	volatile __u32 stop;
	__u32 inside;
	__u32 readers;
	__u32 wrong;
	volatile __u64 value;
	volatile __u64 twin;
	proclet_mutex_t mutex;
	proclet_cond_t cond;
	proclet_cond_t cond2;
	proclet_sem_t sem;
	proclet_sem_t sem2;
	proclet_rwlock_t rwlock;
	proclet_barrier_t barrier;
	volatile __u32 busy;
	volatile __u64 next;
	volatile __u64 serving;
	volatile __u64 slot[SLOTS];
	volatile __u64 put;
	volatile __u64 got;
	volatile __u32 turn;
	__u32 serial;
	__u64 sum;
	struct {
		proclet_once_t once;
		volatile __u32 calls;
		volatile __u32 done;
	} onces[ONCES];
};

#define ADD(x, n) __atomic_add_fetch(&(x), n, __ATOMIC_SEQ_CST)

/* In: nothing, or the value of sem. */
static ssize_t begin(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct shared *s = root;

	(void)out;
	(void)out_cap;
	return proclet_sem_init(&s->sem, in_len == sizeof(int) ? *(const int *)in : 0);
}
PROCLET_METHOD(begin);

static ssize_t stop(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct shared *s = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	s->stop = 1;
	return 0;
}
PROCLET_METHOD(stop);

static ssize_t look(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	if (out_cap != sizeof(struct shared))
		return -EINVAL;
	memcpy(out, root, out_cap);
	return out_cap;
}
PROCLET_METHOD(look);

static inline int setup(proclet_t *p, int node, int sem)
{
	TRY(make(p, node, 4 << 20, sizeof(struct shared)));
	CHECK_EQ(proclet_call(*p, begin, &sem, sizeof(sem), NULL, 0), 0);
	return KSFT_PASS;
}

static inline int peek(proclet_t p, struct shared *s)
{
	CHECK_EQ(proclet_call(p, look, NULL, 0, s, sizeof(*s)), sizeof(*s));
	return KSFT_PASS;
}

static struct shared seen;

static inline void end_load(proclet_t p)
{
	proclet_call(p, stop, NULL, 0, NULL, 0);
}

#endif /* PROCLET_SELFTEST_SHARED_H */
