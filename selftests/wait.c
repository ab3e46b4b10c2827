// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that wait for one another: woken, until it is too late, or when their proclet
 * ends. What needs no waiting is no system call, and what is wrong is refused.
 */
#include "shared.h"

#define ROUNDS		20000		/* of one thread alone */

/* ---- ping-pong ---- */

struct player {
	struct shared *s;
	__u32 me;
	bool sem;
};

static void play_cond(struct shared *s, __u32 me)
{
	proclet_cond_t *mine = me ? &s->cond2 : &s->cond;
	bool last;

	do {
		proclet_mutex_lock(&s->mutex);
		while (s->turn != me && !s->busy)
			if (proclet_cond_wait(mine, &s->mutex))
				ADD(s->wrong, 1);
		last = s->busy || s->stop;
		s->busy = last;		/* the other one ends, too */
		s->turn = !me;
		s->value++;
		proclet_mutex_unlock(&s->mutex);
		proclet_cond_signal(me ? &s->cond : &s->cond2);
	} while (!last);
}

static void play_sem(struct shared *s, __u32 me)
{
	proclet_sem_t *mine = me ? &s->sem2 : &s->sem;
	bool last;

	do {
		if (proclet_sem_wait(mine))
			ADD(s->wrong, 1);
		last = s->busy || s->stop;
		s->busy = last;
		s->value++;
		proclet_sem_post(me ? &s->sem : &s->sem2);
	} while (!last);
}

static void *play(void *arg)
{
	struct player *pl = arg;

	if (pl->sem)
		play_sem(pl->s, pl->me);
	else
		play_cond(pl->s, pl->me);
	return NULL;
}

/* In: by semaphores? */
static ssize_t ping_pong(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct player pl[2];
	proclet_thread_t t[2];
	int wrong = 0;

	(void)out;
	(void)out_cap;
	for (int i = 0; i < 2; i++) {
		pl[i] = (struct player) { root, i, in_len && *(const int *)in };
		if (proclet_thread_create(&t[i], play, &pl[i]))
			return -ENOMEM;
	}
	for (int i = 0; i < 2; i++)
		wrong += !!proclet_thread_join(t[i], NULL);
	return wrong;
}
PROCLET_METHOD(ping_pong);

/* ---- barrier and once ---- */

static void *meet(void *arg)
{
	struct shared *s = arg;
	long rounds = 0;
	bool last;
	int ret;

	do {
		ADD(s->value, 1);
		ret = proclet_barrier_wait(&s->barrier);
		rounds++;
		if (ret == PROCLET_BARRIER_SERIAL)
			s->serial++;
		else if (ret)
			return (void *)(long)ret;
		if (s->value != (__u64)rounds * THREADS)
			ADD(s->wrong, 1);
		last = s->stop;
		/* All must have looked before the next round, or decide the same. */
		if (last)
			s->busy = 1;
		ret = proclet_barrier_wait(&s->barrier);
		if (ret == PROCLET_BARRIER_SERIAL)
			s->serial++;
		else if (ret)
			return (void *)(long)ret;
	} while (!s->busy);
	return (void *)rounds;
}

/* Returns rounds. */
static ssize_t meetings(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct shared *s = root;
	proclet_thread_t t[THREADS];
	void *ret;
	long rounds = 0;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	if (proclet_barrier_init(&s->barrier, THREADS))
		return -EIO;
	for (int i = 0; i < THREADS; i++)
		if (proclet_thread_create(&t[i], meet, s))
			return -ENOMEM;
	for (int i = 0; i < THREADS; i++) {
		if (proclet_thread_join(t[i], &ret))
			return -EIO;
		if (i && (long)ret != rounds)
			ADD(s->wrong, 1);
		rounds = (long)ret;
	}
	return rounds;
}
PROCLET_METHOD(meetings);

static void only_once(void *arg)
{
	volatile __u32 *calls = arg;

	++*calls;
	for (volatile int i = 0; i < 1000; i++)
		;
	calls[1] = 1;
}

static void *initialise(void *arg)
{
	struct shared *s = arg;

	for (int i = 0; i < ONCES; i++) {
		if (proclet_once(&s->onces[i].once, only_once, (void *)&s->onces[i].calls))
			ADD(s->wrong, 1);
		if (s->onces[i].calls != 1 || !s->onces[i].done)
			ADD(s->wrong, 1);
	}
	return NULL;
}

static ssize_t all_once(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	proclet_thread_t t[THREADS];

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	for (int i = 0; i < THREADS; i++)
		if (proclet_thread_create(&t[i], initialise, root))
			return -ENOMEM;
	for (int i = 0; i < THREADS; i++)
		proclet_thread_join(t[i], NULL);
	return 0;
}
PROCLET_METHOD(all_once);

/* ---- alone ---- */

static ssize_t uncontended(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct shared *s = root;
	int wrong = 0;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	for (int i = 0; i < ROUNDS; i++) {
		wrong += !!proclet_mutex_lock(&s->mutex);
		wrong += proclet_mutex_trylock(&s->mutex) != -EBUSY;
		wrong += !!proclet_mutex_unlock(&s->mutex);
		wrong += !!proclet_cond_signal(&s->cond);
		wrong += !!proclet_cond_broadcast(&s->cond);
		wrong += !!proclet_sem_post(&s->sem);
		wrong += !!proclet_sem_wait(&s->sem);
		wrong += proclet_sem_trywait(&s->sem) != -EAGAIN;
		wrong += !!proclet_rwlock_rdlock(&s->rwlock);
		wrong += !!proclet_rwlock_rdlock(&s->rwlock);
		wrong += proclet_rwlock_trywrlock(&s->rwlock) != -EBUSY;
		wrong += !!proclet_rwlock_unlock(&s->rwlock);
		wrong += !!proclet_rwlock_unlock(&s->rwlock);
		wrong += !!proclet_rwlock_wrlock(&s->rwlock);
		wrong += proclet_rwlock_tryrdlock(&s->rwlock) != -EBUSY;
		wrong += proclet_rwlock_trywrlock(&s->rwlock) != -EBUSY;
		wrong += !!proclet_rwlock_unlock(&s->rwlock);
		wrong += !!proclet_once(&s->onces[0].once, only_once,
					(void *)&s->onces[0].calls);
	}
	return wrong;
}
PROCLET_METHOD(uncontended);

/* What is wrong is said, and breaks nothing. Returns the line that was surprised. */
static ssize_t misuse(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static proclet_mutex_t outside = { 2 }, held;
	static proclet_rwlock_t rwlock;
	static proclet_once_t once;
	static proclet_barrier_t outsiders;
	static proclet_cond_t cond;
	struct shared *s = root;
	proclet_barrier_t none = { 0 };
	proclet_mutex_t *unaligned = (void *)((char *)&s->sem + 1);

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
#define EXPECT(what, value) do { if ((what) != (value)) return -__LINE__; } while (0)
	EXPECT(proclet_mutex_unlock(&s->mutex), -EPERM);
	EXPECT(proclet_cond_wait(&s->cond, &s->mutex), -EPERM);
	EXPECT(proclet_rwlock_unlock(&s->rwlock), -EPERM);
	EXPECT(proclet_barrier_wait(&none), -EINVAL);
	EXPECT(proclet_barrier_init(&none, 0), -EINVAL);
	EXPECT(proclet_sem_init(&s->sem, PROCLET_SEM_MAX + 1U), -EINVAL);
	EXPECT(proclet_sem_init(&s->sem, PROCLET_SEM_MAX), 0);
	EXPECT(proclet_sem_value(&s->sem), PROCLET_SEM_MAX);
	EXPECT(proclet_sem_post(&s->sem), -EOVERFLOW);
	EXPECT(proclet_sem_wait(&s->sem), 0);
	EXPECT(proclet_sem_value(&s->sem), PROCLET_SEM_MAX - 1);
	EXPECT(proclet_sem_init(&s->sem, 0), 0);
	/* Static memory is not the proclet's: to wait there is refused. */
	EXPECT(proclet_mutex_lock(&outside), -EINVAL);
	/* Who was refused is not counted as waiting. */
	EXPECT(proclet_rwlock_wrlock(&rwlock), 0);
	EXPECT(proclet_rwlock_rdlock(&rwlock), -EINVAL);
	EXPECT(proclet_rwlock_wrlock(&rwlock), -EINVAL);
	EXPECT(proclet_rwlock_unlock(&rwlock), 0);
	EXPECT(proclet_rwlock_rdlock(&rwlock), 0);
	EXPECT(proclet_rwlock_wrlock(&rwlock), -EINVAL);
	EXPECT(proclet_rwlock_rdlock(&rwlock), 0);
	EXPECT(proclet_rwlock_unlock(&rwlock), 0);
	EXPECT(proclet_rwlock_unlock(&rwlock), 0);
	EXPECT(proclet_rwlock_unlock(&rwlock), -EPERM);
	EXPECT(proclet_barrier_init(&outsiders, 2), 0);
	EXPECT(proclet_barrier_wait(&outsiders), -EINVAL);
	EXPECT(proclet_barrier_wait(&outsiders), -EINVAL);
	/* Nor is anything begun that others could not wait for. */
	EXPECT(proclet_once(&once, only_once, (void *)&s->onces[0].calls), -EINVAL);
	EXPECT(s->onces[0].calls, 0);
	EXPECT(proclet_mutex_lock(&held), 0);
	EXPECT(proclet_cond_wait(&s->cond, &held), -EINVAL);
	EXPECT(proclet_mutex_trylock(&held), -EBUSY);
	EXPECT(proclet_mutex_unlock(&held), 0);
	EXPECT(proclet_mutex_lock(&s->mutex), 0);
	EXPECT(proclet_cond_wait(&cond, &s->mutex), -EINVAL);
	EXPECT(proclet_mutex_unlock(&s->mutex), 0);
	s->sem.state = ~0ULL;
	EXPECT(proclet_mutex_lock(unaligned), -EINVAL);
	s->sem.state = 0;
	EXPECT(proclet_mutex_lock(&s->mutex), 0);
	EXPECT(proclet_mutex_unlock(&s->mutex), 0);
	return 0;
}
PROCLET_METHOD(misuse);

/* ---- time ---- */

/* Waits for nothing, each time until it is too late; returns the line of an error. */
static ssize_t too_late(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct shared *s = root;
	__u64 until;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	EXPECT(proclet_mutex_lock(&s->mutex), 0);
	for (int i = 0; i < 20; i++) {
		until = i % 5 ? proclet_clock_ns() + i * 1000000 : (__u64)i;
		EXPECT(proclet_mutex_timedlock(&s->mutex, until), -ETIMEDOUT);
		EXPECT(proclet_clock_ns() < until, 0);
		EXPECT(proclet_sem_timedwait(&s->sem, until + 100), -ETIMEDOUT);
		EXPECT(proclet_clock_ns() < until + 100, 0);
		until = i % 5 ? proclet_clock_ns() + i * 1000000 : (__u64)i;
		EXPECT(proclet_cond_timedwait(&s->cond, &s->mutex, until), -ETIMEDOUT);
		EXPECT(proclet_clock_ns() < until, 0);
		EXPECT(proclet_mutex_trylock(&s->mutex), -EBUSY);
	}
	EXPECT(proclet_mutex_unlock(&s->mutex), 0);
	/* What is free is taken, and nothing is left behind. */
	EXPECT(proclet_mutex_timedlock(&s->mutex, 0), 0);
	EXPECT(proclet_mutex_unlock(&s->mutex), 0);
	EXPECT(proclet_sem_post(&s->sem), 0);
	EXPECT(proclet_sem_timedwait(&s->sem, 0), 0);
	EXPECT(s->sem.state, 0);
	EXPECT(s->cond.state >> 32, 0);
	return 0;
}
PROCLET_METHOD(too_late);

/* Nobody posts, but it ends. */
static ssize_t in_vain(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct shared *s = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	ADD(s->next, 1);
	return proclet_sem_timedwait(&s->sem, proclet_clock_ns() + 1000000000);
}
PROCLET_METHOD(in_vain);

/* ---- waiting ---- */

static void *take_one(void *arg)
{
	struct shared *s = arg;

	ADD(s->next, 1);
	if (proclet_sem_wait(&s->sem))
		ADD(s->wrong, 1);
	ADD(s->got, 1);
	return NULL;
}

/* In: how many threads; they wait for the semaphore. */
static ssize_t take_many(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	proclet_thread_t *t;
	int n, ret = 0;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(n))
		return -EINVAL;
	n = *(const int *)in;
	t = proclet_malloc(n * sizeof(*t));
	if (!t)
		return -ENOMEM;
	for (int i = 0; i < n; i++)
		if (proclet_thread_create(&t[i], take_one, root))
			return -ENOMEM;
	for (int i = 0; i < n; i++)
		ret += !!proclet_thread_join(t[i], NULL);
	proclet_free(t);
	return ret;
}
PROCLET_METHOD(take_many);

/* In: how often. */
static ssize_t post(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct shared *s = root;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(int))
		return -EINVAL;
	for (int i = 0; i < *(const int *)in; i++)
		if (proclet_sem_post(&s->sem))
			return -EIO;
	return 0;
}
PROCLET_METHOD(post);

/* ---- the root's part ---- */

static int time_is_up(void)
{
	proclet_t p;

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		TRY(setup(&p, nodes[i], 0));
		CHECK_EQ(proclet_call(p, too_late, NULL, 0, NULL, 0), 0);
	}
	TRY(setup(&p, nodes[1], 0));
	TRY(mover_start(p));
	CHECK_EQ(proclet_call(p, too_late, NULL, 0, NULL, 0), 0);
	TRY(movers_end());
	CHECK_GE(movers_moved(), 1);
	return KSFT_PASS;
}

/* A thread whose time will come holds its proclet. */
static int destroyed_while_waiting(void)
{
	struct caller *c;
	proclet_t p;

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		TRY(setup(&p, nodes[i], 0));
		c = caller_start(p, in_vain, NULL, 0, NULL, 0);
		do {
			TRY(peek(p, &seen));
		} while (!seen.next);
		CHECK_EQ(proclet_migrate(p, nodes[!i], 0), 0);
		CHECK_EQ(proclet_destroy(p), 0);
		CHECK_EQ(caller_wait(c), -ETIMEDOUT);
	}
	return KSFT_PASS;
}

/* A wake-up that is lost would end it. */
static int ball(int by_sem)
{
	struct caller *c;
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(setup(&p, nodes[1], by_sem));
	c = caller_start(p, ping_pong, &by_sem, sizeof(by_sem), NULL, 0);
	TRY(mover_start(p));
	movers_wait(MOVES);
	do {
		TRY(peek(p, &seen));
	} while (seen.value < 100);
	CHECK_EQ(proclet_call(p, stop, NULL, 0, NULL, 0), 0);
	CHECK_EQ(caller_wait(c), 0);
	TRY(movers_end());
	TRY(peek(p, &seen));
	diag("%llu times", seen.value);
	CHECK_EQ(seen.wrong, 0);
	return KSFT_PASS;
}

static int ping_pong_cond(void)
{
	return ball(0);
}

static int ping_pong_sem(void)
{
	return ball(1);
}

static int barrier(void)
{
	struct caller *c;
	ssize_t rounds;
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(setup(&p, nodes[1], 0));
	c = caller_start(p, meetings, NULL, 0, NULL, 0);
	TRY(mover_start(p));
	movers_wait(MOVES);
	CHECK_EQ(proclet_call(p, stop, NULL, 0, NULL, 0), 0);
	rounds = caller_wait(c);
	TRY(movers_end());
	diag("%zd rounds", rounds);
	CHECK_GE(rounds, 1);
	TRY(peek(p, &seen));
	CHECK_EQ(seen.wrong, 0);
	CHECK_EQ(seen.serial, 2 * rounds);
	CHECK_EQ(seen.value, rounds * THREADS);
	return KSFT_PASS;
}

static int once(void)
{
	unsigned int moves = 0;
	proclet_t p;

	TRY(tap_nodes(2));
	for (int n = 0; moves < 5; n++) {
		TRY(setup(&p, nodes[n % 2], 0));
		TRY(mover_start(p));
		CHECK_EQ(proclet_call(p, all_once, NULL, 0, NULL, 0), 0);
		TRY(movers_end());
		moves += movers_moved();
		TRY(peek(p, &seen));
		CHECK_EQ(seen.wrong, 0);
		for (int i = 0; i < ONCES; i++)
			CHECK_EQ(seen.onces[i].calls, 1);
		CHECK_EQ(proclet_destroy(p), 0);
		made_count--;
	}
	return KSFT_PASS;
}

static int ops_on(int node, __u64 *ops)
{
	struct proclet_stats st;

	CHECK_EQ(lproc_stats(node, &st), 0);
	*ops = st.ops;
	return KSFT_PASS;
}

/* The kernel counts what threads ask of it on the other node: there is nothing. */
static int uncontended_is_no_system_call(void)
{
	__u64 before, after;
	int two = 2;
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(setup(&p, nodes[1], 0));
	TRY(ops_on(nodes[1], &before));
	CHECK_EQ(proclet_call(p, uncontended, NULL, 0, NULL, 0), 0);
	TRY(ops_on(nodes[1], &after));
	CHECK_EQ(after, before);
	/* But to wait is one, and it does count. */
	CHECK_EQ(proclet_call(p, post, &two, sizeof(two), NULL, 0), 0);
	CHECK_EQ(proclet_call(p, take_many, &two, sizeof(two), NULL, 0), 0);
	TRY(ops_on(nodes[1], &after));
	CHECK_GE(after, before + 2);
	return KSFT_PASS;
}

static int misuse_is_refused(void)
{
	static proclet_mutex_t m;
	static proclet_cond_t c;
	static proclet_sem_t sem = PROCLET_SEM_INIT(1);
	proclet_t p;

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		TRY(setup(&p, nodes[i], 0));
		CHECK_EQ(proclet_call(p, misuse, NULL, 0, NULL, 0), 0);
	}
	/* The root function runs in a proclet, too; and may lock what nobody else wants. */
	CHECK_EQ(proclet_mutex_lock(&m), 0);
	CHECK_EQ(proclet_mutex_unlock(&m), 0);
	CHECK_EQ(proclet_cond_signal(&c), 0);
	CHECK_EQ(proclet_sem_wait(&sem), 0);
	return KSFT_PASS;
}

static void *natively(void *arg)
{
	static proclet_rwlock_t rw;
	static proclet_once_t o;
	static proclet_barrier_t b;
	static proclet_cond_t c;
	static proclet_sem_t sem = PROCLET_SEM_INIT(1);
	static proclet_mutex_t m;
	proclet_thread_t t;
	int *refused = arg;

	*refused += proclet_mutex_lock(&m) == -EPERM;
	*refused += proclet_mutex_trylock(&m) == -EPERM;
	*refused += proclet_mutex_unlock(&m) == -EPERM;
	*refused += proclet_cond_wait(&c, &m) == -EPERM;
	*refused += proclet_cond_signal(&c) == -EPERM;
	*refused += proclet_cond_broadcast(&c) == -EPERM;
	*refused += proclet_sem_wait(&sem) == -EPERM;
	*refused += proclet_sem_trywait(&sem) == -EPERM;
	*refused += proclet_sem_post(&sem) == -EPERM;
	*refused += proclet_rwlock_rdlock(&rw) == -EPERM;
	*refused += proclet_rwlock_wrlock(&rw) == -EPERM;
	*refused += proclet_rwlock_unlock(&rw) == -EPERM;
	*refused += proclet_once(&o, only_once, NULL) == -EPERM;
	*refused += !proclet_barrier_init(&b, 1) && proclet_barrier_wait(&b) == -EPERM;
	*refused += proclet_thread_create(&t, take_one, NULL) == -EPERM;
	*refused += !proclet_thread_self();
	return NULL;
}

static int native_threads_are_refused(void)
{
	int refused = 0;
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, natively, &refused), 0);
	pthread_join(t, NULL);
	CHECK_EQ(refused, 16);
	return KSFT_PASS;
}

/* Threads that all wait are moved, and moved back; then some are woken, then all. */
static int waiters_move(void)
{
	/* Fewer when everything is slow. */
	int n = MOVES < 50 ? 20 : 100, some = n / 3, rest = n - some, more = 5;
	struct caller *c;
	proclet_t p;

	TRY(tap_nodes(2));
	for (int home = 0; home < 2; home++) {
		TRY(setup(&p, nodes[home], 0));
		c = caller_start(p, take_many, &n, sizeof(n), NULL, 0);
		do {
			TRY(peek(p, &seen));
		} while (seen.next != (__u64)n);
		for (int i = 1; i <= node_count; i++)
			CHECK_EQ(proclet_migrate(p, nodes[(home + i) % node_count], 0), 0);
		TRY(peek(p, &seen));
		CHECK_EQ(seen.got, 0);
		CHECK_EQ(proclet_call(p, post, &some, sizeof(some), NULL, 0), 0);
		CHECK_EQ(proclet_migrate(p, nodes[!home], 0), 0);
		do {
			TRY(peek(p, &seen));
		} while (seen.got < (__u64)some);
		for (int i = 0; i < 10; i++) {
			CHECK_EQ(proclet_migrate(p, nodes[(home + i) % 2], 0), 0);
			TRY(peek(p, &seen));
			CHECK_EQ(seen.got, some);
		}
		CHECK_EQ(proclet_call(p, post, &rest, sizeof(rest), NULL, 0), 0);
		CHECK_EQ(caller_wait(c), 0);
		TRY(peek(p, &seen));
		CHECK_EQ(seen.got, n);
		CHECK_EQ(seen.wrong, 0);
		/* More than there are to be woken: they stay for those who come. */
		CHECK_EQ(proclet_call(p, post, &more, sizeof(more), NULL, 0), 0);
		CHECK_EQ(proclet_call(p, take_many, &more, sizeof(more), NULL, 0), 0);
		TRY(peek(p, &seen));
		CHECK_EQ(seen.got, n + more);
	}
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	LONG_TEST(uncontended_is_no_system_call),
	LONG_TEST(misuse_is_refused),
	LONG_TEST(native_threads_are_refused),
	LONG_TEST(waiters_move),
	LONG_TEST(ping_pong_cond),
	LONG_TEST(ping_pong_sem),
	LONG_TEST(time_is_up),
	LONG_TEST(destroyed_while_waiting),
	LONG_TEST(barrier),
	LONG_TEST(once),
};

static int root(int argc, char **argv)
{
	tap_stop = end_load;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("wait", root, argc, argv);
}
