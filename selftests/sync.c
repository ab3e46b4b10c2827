// SPDX-License-Identifier: GPL-2.0
/* Locks, contended by threads of the proclet and callers elsewhere, while it moves. */
#include "shared.h"

#define CALL_STEPS	3		/* of one call from elsewhere */

enum lock {
	MUTEX, TRYLOCK, SEM, TRYSEM, RWLOCK, TRYRWLOCK, COND_SIGNAL, COND_BROADCAST, BUFFER,
	TIMED_MUTEX, TIMED_SEM, TIMED_COND, KINDS
};

static const char *const kind_names[KINDS] = {
	"mutex", "trylock", "semaphore", "trywait", "rwlock", "tryrwlock", "cond signal",
	"cond broadcast", "buffer", "timed mutex", "timed semaphore", "timed cond",
};

/* For whoever must be alone. Not a few instructions, but some. */
static void alone(struct shared *s)
{
	__u64 v;

	if (ADD(s->inside, 1) != 1 || __atomic_load_n(&s->readers, __ATOMIC_SEQ_CST))
		ADD(s->wrong, 1);
	v = s->value;
	for (volatile int i = 0; i < 20; i++)
		;
	s->value = v + 1;
	s->twin = v + 1;
	ADD(s->inside, -1);
}

static void among_readers(struct shared *s)
{
	ADD(s->readers, 1);
	for (volatile int i = 0; i < 20; i++)
		if (s->value != s->twin || __atomic_load_n(&s->inside, __ATOMIC_SEQ_CST))
			ADD(s->wrong, 1);
	ADD(s->readers, -1);
}

static long step_cond_signal(struct shared *s)
{
	proclet_mutex_lock(&s->mutex);
	while (s->busy)
		if (proclet_cond_wait(&s->cond, &s->mutex))
			return -EIO;
	s->busy = 1;
	proclet_mutex_unlock(&s->mutex);
	alone(s);
	proclet_mutex_lock(&s->mutex);
	s->busy = 0;
	proclet_mutex_unlock(&s->mutex);
	proclet_cond_signal(&s->cond);
	return 1;
}

/* Sometimes too short, sometimes long enough. */
static __u64 soon(__u64 i)
{
	return proclet_clock_ns() + i % 7 * 500000;
}

/* As above, but one who waits in vain goes away. */
static long step_timed_cond(struct shared *s, __u64 i)
{
	__u64 until = soon(i);
	int ret = 0;

	proclet_mutex_lock(&s->mutex);
	while (s->busy && !ret)
		ret = proclet_cond_timedwait(&s->cond, &s->mutex, until);
	if (ret == -ETIMEDOUT && proclet_clock_ns() < until)
		ADD(s->wrong, 1);
	if (s->busy) {
		proclet_mutex_unlock(&s->mutex);
		return ret == -ETIMEDOUT ? 0 : -EIO;
	}
	s->busy = 1;
	proclet_mutex_unlock(&s->mutex);
	alone(s);
	proclet_mutex_lock(&s->mutex);
	s->busy = 0;
	proclet_mutex_unlock(&s->mutex);
	proclet_cond_signal(&s->cond);
	return 1;
}

static long step_cond_broadcast(struct shared *s)
{
	__u64 ticket;

	proclet_mutex_lock(&s->mutex);
	ticket = s->next++;
	while (s->serving != ticket)
		if (proclet_cond_wait(&s->cond, &s->mutex))
			return -EIO;
	proclet_mutex_unlock(&s->mutex);
	alone(s);
	proclet_mutex_lock(&s->mutex);
	s->serving++;
	proclet_cond_broadcast(&s->cond);
	proclet_mutex_unlock(&s->mutex);
	return 1;
}

/* Items are kept by two semaphores; each step puts one in and takes one out. */
static long step_buffer(struct shared *s)
{
	__u64 item = 0;
	int i;

	proclet_sem_wait(&s->sem);
	proclet_mutex_lock(&s->mutex);
	for (i = 0; i < SLOTS - 1 && s->slot[i]; i++)
		;
	if (s->slot[i])
		ADD(s->wrong, 1);
	s->slot[i] = ++s->put;
	proclet_mutex_unlock(&s->mutex);
	proclet_sem_post(&s->sem2);

	proclet_sem_wait(&s->sem2);
	proclet_mutex_lock(&s->mutex);
	for (i = 0; i < SLOTS && !item; i++) {
		item = s->slot[i];
		s->slot[i] = 0;
	}
	if (!item)
		ADD(s->wrong, 1);
	s->got++;
	s->sum += item;
	s->value++;
	s->twin = s->value;
	proclet_mutex_unlock(&s->mutex);
	proclet_sem_post(&s->sem);
	return 1;
}

/* Returns how often it was alone, or an error. */
static long step(struct shared *s, enum lock kind, __u64 i)
{
	int ret = 0;

	switch (kind) {
	case TRYLOCK:
		if (i % 2)
			ret = proclet_mutex_trylock(&s->mutex);
		if (ret == -EBUSY)
			return 0;
		if (ret)
			return ret;
		if (i % 2)
			goto have_mutex;
		/* fallthrough */
	case MUTEX:
		ret = proclet_mutex_lock(&s->mutex);
have_mutex:
		if (ret)
			return ret;
		alone(s);
		return proclet_mutex_unlock(&s->mutex) ?: 1;
	case TRYSEM:
		if (i % 2) {
			ret = proclet_sem_trywait(&s->sem);
			if (ret)
				return ret == -EAGAIN ? 0 : ret;
			goto have_sem;
		}
		/* fallthrough */
	case SEM:
		ret = proclet_sem_wait(&s->sem);
have_sem:
		if (ret)
			return ret;
		alone(s);
		return proclet_sem_post(&s->sem) ?: 1;
	case RWLOCK:
		ret = i % 4 ? proclet_rwlock_rdlock(&s->rwlock) :
			proclet_rwlock_wrlock(&s->rwlock);
		goto have_rwlock;
	case TRYRWLOCK:
		if (i % 8 < 2)
			ret = proclet_rwlock_wrlock(&s->rwlock);
		else
			ret = i % 4 ? proclet_rwlock_tryrdlock(&s->rwlock) :
				proclet_rwlock_trywrlock(&s->rwlock);
		if (ret == -EBUSY)
			return 0;
		i = i % 8 == 1 ? 0 : i;
have_rwlock:
		if (ret)
			return ret;
		if (i % 4)
			among_readers(s);
		else
			alone(s);
		return proclet_rwlock_unlock(&s->rwlock) ?: i % 4 ? 0 : 1;
	case COND_SIGNAL:
		return step_cond_signal(s);
	case COND_BROADCAST:
		return step_cond_broadcast(s);
	case BUFFER:
		return step_buffer(s);
	case TIMED_MUTEX:
		ret = proclet_mutex_timedlock(&s->mutex, soon(i));
		if (ret == -ETIMEDOUT)
			return 0;
		goto have_mutex;
	case TIMED_SEM:
		ret = proclet_sem_timedwait(&s->sem, soon(i));
		if (ret == -ETIMEDOUT)
			return 0;
		goto have_sem;
	case TIMED_COND:
		return step_timed_cond(s, i);
	default:
		return -EINVAL;
	}
}

/* ---- the proclet's methods and threads ---- */

struct job {
	struct shared *s;
	enum lock kind;
	long count;
};

static void *load(void *arg)
{
	struct job *job = arg;
	long ret = 0;

	for (__u64 i = 0; !job->s->stop; i++) {
		ret = step(job->s, job->kind, i);
		if (ret < 0)
			return (void *)ret;
		job->count += ret;
	}
	return NULL;
}

/* In: a kind. THREADS threads until they are stopped; out: how often they were alone. */
static ssize_t crowd(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	proclet_thread_t t[THREADS];
	struct job job[THREADS];
	ssize_t ret = sizeof(long);
	void *result;
	long sum = 0;

	if (in_len != sizeof(enum lock) || out_cap != sizeof(long))
		return -EINVAL;
	for (int i = 0; i < THREADS; i++) {
		job[i] = (struct job) { root, *(const enum lock *)in, 0 };
		if (proclet_thread_create(&t[i], load, &job[i]))
			return -EIO;
	}
	for (int i = 0; i < THREADS; i++) {
		if (proclet_thread_join(t[i], &result))
			return -EIO;
		if (result)
			ret = (long)result;
		sum += job[i].count;
	}
	memcpy(out, &sum, sizeof(sum));
	return ret;
}
PROCLET_METHOD(crowd);

struct few {
	long count;
	long stop;
};

/* In: a kind, out: how often it was alone, and whether that is enough. */
static ssize_t few_steps(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct shared *s = root;
	struct few few = { 0, 0 };
	long ret;

	if (in_len != sizeof(enum lock) || out_cap != sizeof(few))
		return -EINVAL;
	for (__u64 i = 0; i < CALL_STEPS; i++) {
		ret = step(s, *(const enum lock *)in, i);
		if (ret < 0)
			return ret;
		few.count += ret;
	}
	few.stop = s->stop;
	memcpy(out, &few, sizeof(few));
	return sizeof(few);
}
PROCLET_METHOD(few_steps);

/* Runs on another node. */
struct remote_args {
	proclet_t p;
	enum lock kind;
};

static ssize_t call_steps(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct remote_args a;
	struct few few;
	long sum = 0;
	ssize_t ret;

	(void)root;
	if (in_len != sizeof(a) || out_cap != sizeof(sum))
		return -EINVAL;
	memcpy(&a, in, sizeof(a));
	do {
		ret = proclet_call(a.p, few_steps, &a.kind, sizeof(a.kind), &few, sizeof(few));
		if (ret != sizeof(few))
			return ret < 0 ? ret : -EIO;
		sum += few.count;
	} while (!few.stop);
	memcpy(out, &sum, sizeof(sum));
	return sizeof(sum);
}
PROCLET_METHOD(call_steps);

/* ---- the root's part ---- */

/* Threads of the proclet, and a caller on each node, while it moves. */
static int contended(enum lock kind)
{
	static long counts[1 + 32];
	static struct remote_args args;
	struct caller *c[1 + 32];
	long sum = 0;
	proclet_t helper;

	TRY(tap_nodes(2));
	TRY(setup(&args.p, nodes[1], kind == BUFFER ? SLOTS : 1));
	args.kind = kind;
	c[0] = caller_start(args.p, crowd, &args.kind, sizeof(args.kind), &counts[0],
			    sizeof(long));
	for (int i = 0; i < node_count; i++) {
		TRY(make(&helper, nodes[i], 1 << 20, 0));
		c[i + 1] = caller_start(helper, call_steps, &args, sizeof(args), &counts[i + 1],
					sizeof(long));
	}
	TRY(mover_start(args.p));
	movers_wait(MOVES);
	CHECK_EQ(proclet_call(args.p, stop, NULL, 0, NULL, 0), 0);
	for (int i = 0; i <= node_count; i++) {
		CHECK_EQ(caller_wait(c[i]), sizeof(long));
		sum += counts[i];
	}
	TRY(movers_end());
	TRY(peek(args.p, &seen));
	diag("%s: %ld times, %ld by threads, %ld by callers", kind_names[kind], sum, counts[0],
	     sum - counts[0]);
	CHECK_EQ(seen.wrong, 0);
	CHECK_EQ(seen.value, sum);
	CHECK_EQ(seen.twin, sum);
	CHECK_GE(counts[0], 1);
	CHECK_GE(sum - counts[0], 1);
	if (kind == BUFFER) {
		CHECK_EQ(seen.got, seen.put);
		CHECK_EQ(seen.sum, seen.put * (seen.put + 1) / 2);
	}
	return KSFT_PASS;
}

static int mutex(void)
{
	return contended(MUTEX);
}

static int mutex_try(void)
{
	return contended(TRYLOCK);
}

static int semaphore(void)
{
	return contended(SEM);
}

static int semaphore_try(void)
{
	return contended(TRYSEM);
}

static int rwlock(void)
{
	return contended(RWLOCK);
}

static int rwlock_try(void)
{
	return contended(TRYRWLOCK);
}

static int cond_signal(void)
{
	return contended(COND_SIGNAL);
}

static int cond_broadcast(void)
{
	return contended(COND_BROADCAST);
}

static int buffer(void)
{
	return contended(BUFFER);
}

static int timed_mutex(void)
{
	return contended(TIMED_MUTEX);
}

static int timed_semaphore(void)
{
	return contended(TIMED_SEM);
}

static int timed_cond(void)
{
	return contended(TIMED_COND);
}

static const struct tap_test tests[] = {
	LONG_TEST(mutex),
	LONG_TEST(mutex_try),
	LONG_TEST(semaphore),
	LONG_TEST(semaphore_try),
	LONG_TEST(rwlock),
	LONG_TEST(rwlock_try),
	LONG_TEST(cond_signal),
	LONG_TEST(cond_broadcast),
	LONG_TEST(buffer),
	LONG_TEST(timed_mutex),
	LONG_TEST(timed_semaphore),
	LONG_TEST(timed_cond),
};

static int root(int argc, char **argv)
{
	tap_stop = end_load;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("sync", root, argc, argv);
}
