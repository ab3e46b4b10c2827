// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Locks. All of their state is in the proclet and moves with it. A thread that
 * has to wait suspends itself until another one of the proclet wakes it
 * (PROCLET_OP_WAIT, PROCLET_OP_WAKE), wherever they are by then.
 *
 * Migratable like heap.c, and built like it. Nobody touches an object after
 * the step that lets another thread go on with it: that one may free it. So what
 * must be known together, such as a semaphore's value and whether somebody
 * waits, is in one word. Waking needs no more than the address; who goes on
 * looks again, as somebody may have been woken who waits there for another object.
 */
#include <errno.h>

#include "heap.h"
#include "internal.h"

#define ALL	0x7fffffffU

static inline bool in_proclet(void)
{
	return likely(tcb_self());
}

/* Is it in the caller's proclet? What the kernel says of words, but for unused memory. */
static bool is_own(const void *object)
{
	struct proclet_tcb *tcb = tcb_self(), *other = tcb_of((unsigned long)object);
	const struct proclet_heap *heap = (void *)PROCLET_ID_HEAP(tcb->proclet);

	if (other)
		return other->proclet == tcb->proclet;
	return (__u64)object - (__u64)heap < heap->capacity;
}

noinline int word_wait(const void *word, __u32 value, __u64 deadline)
{
	struct proclet_wait_args args = { .addr = (__u64)word, .value = value };
	struct proclet_op op = {
		.op = PROCLET_OP_WAIT,
		.in = (__u64)&args,
		.in_len = sizeof(args),
		.deadline = deadline,
	};
	int ret = shim_op(&op);

	return ret == -EAGAIN ? 0 : ret;
}

noinline void word_wake(const void *word, __u32 count)
{
	struct proclet_wake_args args = { .addr = (__u64)word, .count = count };
	struct proclet_op op = {
		.op = PROCLET_OP_WAKE,
		.in = (__u64)&args,
		.in_len = sizeof(args),
	};

	/* An error means that the memory has been given back meanwhile. */
	shim_op(&op);
}

/* The program may give any time; 0 is none for the kernel. */
static inline __u64 deadline_of(__u64 ns)
{
	return ns ? ns : 1;
}

/* Two numbers in one word; threads wait at the low one. */
static inline __u32 low(__u64 s)
{
	return s;
}

static inline __u32 high(__u64 s)
{
	return s >> 32;
}

static inline __u64 pair(__u32 low, __u32 high)
{
	return (__u64)high << 32 | low;
}

static inline __u64 load(const __u64 *state)
{
	return __atomic_load_n(state, __ATOMIC_SEQ_CST);
}

/* On failure *@old is what is there. */
static inline bool replace(__u64 *state, __u64 *old, __u64 new)
{
	return __atomic_compare_exchange_n(state, old, new, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

/*
 * Mutex
 */

enum { FREE, HELD, WANTED /* held, and somebody may wait */ };

PUBLIC int proclet_mutex_init(proclet_mutex_t *m)
{
	m->state = FREE;
	return 0;
}

static inline bool mutex_take(proclet_mutex_t *m)
{
	__u32 old = FREE;

	return likely(__atomic_compare_exchange_n(&m->state, &old, HELD, false,
						  __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
}

/* Others may wait, too, whom only the next to unlock will wake. */
static noinline int mutex_wait(proclet_mutex_t *m, __u64 deadline)
{
	int err;

	while (__atomic_exchange_n(&m->state, WANTED, __ATOMIC_ACQUIRE) != FREE) {
		err = word_wait(&m->state, WANTED, deadline);
		if (err)
			return err;
	}
	return 0;
}

static inline int mutex_lock(proclet_mutex_t *m)
{
	return mutex_take(m) ? 0 : mutex_wait(m, 0);
}

PUBLIC int proclet_mutex_lock(proclet_mutex_t *m)
{
	return in_proclet() ? mutex_lock(m) : -EPERM;
}

PUBLIC int proclet_mutex_timedlock(proclet_mutex_t *m, __u64 ns)
{
	if (!in_proclet())
		return -EPERM;
	return mutex_take(m) ? 0 : mutex_wait(m, deadline_of(ns));
}

PUBLIC int proclet_mutex_trylock(proclet_mutex_t *m)
{
	if (!in_proclet())
		return -EPERM;
	return mutex_take(m) ? 0 : -EBUSY;
}

static inline int mutex_unlock(proclet_mutex_t *m)
{
	__u32 old = __atomic_exchange_n(&m->state, FREE, __ATOMIC_RELEASE);

	if (unlikely(old == FREE))
		return -EPERM;
	if (unlikely(old == WANTED))
		word_wake(&m->state, 1);
	return 0;
}

PUBLIC int proclet_mutex_unlock(proclet_mutex_t *m)
{
	return in_proclet() ? mutex_unlock(m) : -EPERM;
}

/*
 * Condition variable. Low: how often it was signalled. High: threads that wait, or
 * more: who gives up after a signal does not know whether that was counted for
 * it. So it costs a vain wake-up at times, and none is lost.
 */

PUBLIC int proclet_cond_init(proclet_cond_t *c)
{
	c->state = 0;
	return 0;
}

/* The caller does not wait any more, without having been signalled. */
static void cond_leave(proclet_cond_t *c, __u32 seq)
{
	__u64 s = load(&c->state);

	while (low(s) == seq && high(s) && !replace(&c->state, &s, s - pair(0, 1)))
		;
}

static int cond_wait(proclet_cond_t *c, proclet_mutex_t *m, __u64 deadline)
{
	int err, ret;
	__u32 seq;

	/* It is going to wait at one of them, and perhaps at the other. */
	if (!is_own(c) || !is_own(m))
		return -EINVAL;
	/* A signal from now on makes the word another one. */
	seq = low(__atomic_fetch_add(&c->state, pair(0, 1), __ATOMIC_SEQ_CST));
	err = mutex_unlock(m);
	if (err) {
		cond_leave(c, seq);
		return err;
	}
	ret = word_wait(&c->state, seq, deadline);
	if (ret)
		cond_leave(c, seq);
	/* The caller cannot go on without it, so not for want of memory either. */
	do
		err = mutex_lock(m);
	while (err == -ENOMEM);
	return err ? err : ret;
}

PUBLIC int proclet_cond_wait(proclet_cond_t *c, proclet_mutex_t *m)
{
	return in_proclet() ? cond_wait(c, m, 0) : -EPERM;
}

PUBLIC int proclet_cond_timedwait(proclet_cond_t *c, proclet_mutex_t *m, __u64 ns)
{
	return in_proclet() ? cond_wait(c, m, deadline_of(ns)) : -EPERM;
}

PUBLIC int proclet_cond_signal(proclet_cond_t *c)
{
	__u64 s;

	if (!in_proclet())
		return -EPERM;
	s = load(&c->state);
	do {
		if (!high(s))
			return 0;
	} while (!replace(&c->state, &s, pair(low(s) + 1, high(s) - 1)));
	word_wake(&c->state, 1);
	return 0;
}

PUBLIC int proclet_cond_broadcast(proclet_cond_t *c)
{
	__u64 s;

	if (!in_proclet())
		return -EPERM;
	s = load(&c->state);
	do {
		if (!high(s))
			return 0;
	} while (!replace(&c->state, &s, pair(low(s) + 1, 0)));
	word_wake(&c->state, ALL);
	return 0;
}

/*
 * Semaphore. Low: its value. High: threads that wait.
 */

PUBLIC int proclet_sem_init(proclet_sem_t *sem, unsigned int value)
{
	if (value > PROCLET_SEM_MAX)
		return -EINVAL;
	sem->state = value;
	return 0;
}

static bool sem_take(proclet_sem_t *sem)
{
	__u64 s = load(&sem->state);

	while (low(s))
		if (replace(&sem->state, &s, s - 1))
			return true;
	return false;
}

static noinline int sem_wait(proclet_sem_t *sem, __u64 deadline)
{
	__u64 s;
	int err;

	s = __atomic_add_fetch(&sem->state, pair(0, 1), __ATOMIC_SEQ_CST);
	for (;;) {
		while (low(s))
			if (replace(&sem->state, &s, s - pair(1, 1)))
				return 0;
		err = word_wait(&sem->state, 0, deadline);
		if (err) {
			__atomic_fetch_sub(&sem->state, pair(0, 1), __ATOMIC_SEQ_CST);
			return err;
		}
		s = load(&sem->state);
	}
}

/* -EOVERFLOW and nothing has changed */
static int sem_add(proclet_sem_t *sem, __u32 n)
{
	__u64 s = load(&sem->state);

	do {
		if (low(s) > PROCLET_SEM_MAX - n)
			return -EOVERFLOW;
	} while (!replace(&sem->state, &s, s + n));
	if (high(s))
		word_wake(&sem->state, n);
	return 0;
}

PUBLIC int proclet_sem_wait(proclet_sem_t *sem)
{
	if (!in_proclet())
		return -EPERM;
	return sem_take(sem) ? 0 : sem_wait(sem, 0);
}

PUBLIC int proclet_sem_timedwait(proclet_sem_t *sem, __u64 ns)
{
	if (!in_proclet())
		return -EPERM;
	return sem_take(sem) ? 0 : sem_wait(sem, deadline_of(ns));
}

PUBLIC int proclet_sem_trywait(proclet_sem_t *sem)
{
	if (!in_proclet())
		return -EPERM;
	return sem_take(sem) ? 0 : -EAGAIN;
}

PUBLIC int proclet_sem_post(proclet_sem_t *sem)
{
	return in_proclet() ? sem_add(sem, 1) : -EPERM;
}

PUBLIC int proclet_sem_value(proclet_sem_t *sem)
{
	return low(load(&sem->state));
}

/*
 * Reader-writer lock. Four numbers in one word: who has it and who waits for it. Who
 * unlocks it hands it over to those who wait, who then find a token in their
 * semaphore. Readers wait when a writer does; after a writer all readers that
 * wait by then are next. So neither kind starves.
 */

#define RW_BITS		21
#define RW_MAX		((1U << RW_BITS) - 1)
#define RW_READER	(1ULL << 0)
#define RW_READER_WAITS	(1ULL << RW_BITS)
#define RW_WRITER_WAITS	(1ULL << 2 * RW_BITS)
#define RW_WRITER	(1ULL << 3 * RW_BITS)

static inline __u32 rw_count(__u64 s, __u64 what)
{
	return s / what & RW_MAX;
}

PUBLIC int proclet_rwlock_init(proclet_rwlock_t *rw)
{
	*rw = (proclet_rwlock_t)PROCLET_RWLOCK_INIT;
	return 0;
}

/*
 * Somebody who is counted as waiting gives up. False: too late, the lock has been
 * handed over to one more than would then be left.
 */
static bool rw_leave(proclet_rwlock_t *rw, bool writer)
{
	__u64 s = load(&rw->state), new;
	__u32 readers;

	do {
		if (!rw_count(s, writer ? RW_WRITER_WAITS : RW_READER_WAITS))
			return false;
		new = s - (writer ? RW_WRITER_WAITS : RW_READER_WAITS);
		readers = 0;
		/* Readers that waited for this writer alone. */
		if (writer && !(new & RW_WRITER) && !rw_count(new, RW_WRITER_WAITS)) {
			readers = rw_count(new, RW_READER_WAITS);
			new += readers * (RW_READER - RW_READER_WAITS);
		}
	} while (!replace(&rw->state, &s, new));
	if (readers)
		sem_add(&rw->readers, readers);
	return true;
}

static noinline int rw_wait(proclet_rwlock_t *rw, bool writer)
{
	proclet_sem_t *sem = writer ? &rw->writers : &rw->readers;
	int err = sem_wait(sem, 0);

	if (!err || rw_leave(rw, writer))
		return err;
	/* It is ours, so the token is there, or about to be. */
	while (sem_wait(sem, 0))
		;
	return 0;
}

static int rw_lock(proclet_rwlock_t *rw, bool writer, bool try)
{
	__u64 s, busy, take, wait;

	if (!in_proclet())
		return -EPERM;
	take = writer ? RW_WRITER : RW_READER;
	wait = writer ? RW_WRITER_WAITS : RW_READER_WAITS;
	s = load(&rw->state);
	do {
		busy = s & RW_WRITER;
		busy |= writer ? rw_count(s, RW_READER) : rw_count(s, RW_WRITER_WAITS);
		if (busy && try)
			return -EBUSY;
		if (rw_count(s, RW_READER) + rw_count(s, RW_READER_WAITS) >= RW_MAX ||
		    rw_count(s, RW_WRITER_WAITS) == RW_MAX)
			return -EAGAIN;
	} while (!replace(&rw->state, &s, s + (busy ? wait : take)));
	return busy ? rw_wait(rw, writer) : 0;
}

PUBLIC int proclet_rwlock_rdlock(proclet_rwlock_t *rw)
{
	return rw_lock(rw, false, false);
}

PUBLIC int proclet_rwlock_tryrdlock(proclet_rwlock_t *rw)
{
	return rw_lock(rw, false, true);
}

PUBLIC int proclet_rwlock_wrlock(proclet_rwlock_t *rw)
{
	return rw_lock(rw, true, false);
}

PUBLIC int proclet_rwlock_trywrlock(proclet_rwlock_t *rw)
{
	return rw_lock(rw, true, true);
}

/* Readers and writers that have it after one of them has left. */
struct handover {
	__u64 state;
	__u32 readers;
	bool writer;
};

static bool rw_unlocked(__u64 s, struct handover *h)
{
	__u32 waiting = rw_count(s, RW_READER_WAITS);
	__u32 readers = rw_count(s, RW_READER);

	h->readers = 0;
	h->writer = false;
	if (s & RW_WRITER) {
		s -= RW_WRITER;
		h->readers = waiting;
		s += waiting * (RW_READER - RW_READER_WAITS);
	} else if (readers) {
		s -= RW_READER;
	} else {
		return false;
	}
	if (!rw_count(s, RW_READER) && rw_count(s, RW_WRITER_WAITS)) {
		h->writer = true;
		s += RW_WRITER - RW_WRITER_WAITS;
	}
	h->state = s;
	return true;
}

PUBLIC int proclet_rwlock_unlock(proclet_rwlock_t *rw)
{
	struct handover h;
	__u64 s;

	if (!in_proclet())
		return -EPERM;
	s = load(&rw->state);
	do {
		if (!rw_unlocked(s, &h))
			return -EPERM;
	} while (!replace(&rw->state, &s, h.state));
	if (h.readers)
		sem_add(&rw->readers, h.readers);
	if (h.writer)
		sem_add(&rw->writers, 1);
	return 0;
}

/*
 * Once
 */

enum { NEW, RUNNING, AWAITED /* running, and somebody waits */, DONE };

static noinline int once_run(proclet_once_t *once, void (*fn)(void *arg), void *arg)
{
	__u32 s = NEW;
	int err;

	/* Others could not wait for us. */
	if (!is_own(once))
		return -EINVAL;
	if (__atomic_compare_exchange_n(&once->state, &s, RUNNING, false,
					__ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
		fn(arg);
		s = __atomic_exchange_n(&once->state, DONE, __ATOMIC_RELEASE);
		if (s == AWAITED)
			word_wake(&once->state, ALL);
		return 0;
	}
	while (s != DONE) {
		if (s == RUNNING &&
		    !__atomic_compare_exchange_n(&once->state, &s, AWAITED, false,
						 __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
			continue;
		err = word_wait(&once->state, AWAITED, 0);
		if (err)
			return err;
		s = __atomic_load_n(&once->state, __ATOMIC_ACQUIRE);
	}
	return 0;
}

PUBLIC int proclet_once(proclet_once_t *once, void (*fn)(void *arg), void *arg)
{
	if (!in_proclet())
		return -EPERM;
	if (likely(__atomic_load_n(&once->state, __ATOMIC_ACQUIRE) == DONE))
		return 0;
	return once_run(once, fn, arg);
}

/*
 * Barrier. Low: rounds that are over. High: threads that have come in this one.
 */

PUBLIC int proclet_barrier_init(proclet_barrier_t *b, unsigned int count)
{
	if (!count)
		return -EINVAL;
	b->state = 0;
	b->count = count;
	return 0;
}

/* The caller does not wait any more. False: it need not, the round is over. */
static bool barrier_leave(proclet_barrier_t *b, __u32 round)
{
	__u64 s = load(&b->state);

	while (low(s) == round)
		if (replace(&b->state, &s, s - pair(0, 1)))
			return true;
	return false;
}

PUBLIC int proclet_barrier_wait(proclet_barrier_t *b)
{
	__u64 s, new;
	__u32 round;
	int err;

	if (!in_proclet())
		return -EPERM;
	if (!b->count)
		return -EINVAL;
	s = load(&b->state);
	do {
		round = low(s);
		new = s + pair(0, 1);
		if (high(new) == b->count)
			new = pair(round + 1, 0);
	} while (!replace(&b->state, &s, new));
	if (low(new) != round) {
		word_wake(&b->state, ALL);
		return PROCLET_BARRIER_SERIAL;
	}
	do {
		err = word_wait(&b->state, round, 0);
		if (err && barrier_leave(b, round))
			return err;
	} while (low(load(&b->state)) == round);
	return 0;
}
