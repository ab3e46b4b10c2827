// SPDX-License-Identifier: GPL-2.0
/*
 * stress: locks of all kinds, contended by threads of the proclet and by callers.
 * Each protects a count; callers know how often they have been alone with it.
 */
#include "stress.h"

#define LABORERS_MAX 4
#define STEPS_MAX 16

static const char *const guard_names[GUARDS] = {
	"mutex", "semaphore", "rwlock", "condition variable", "tickets",
};

/**
 * struct step - one time with a lock
 * @guard: which
 * @way: 0, 1: wait for it; 2: not for ever; 3: not at all. An rwlock's: 0: write,
 *       1: read, 2: try to write, 3: try to read
 * @ns: how long to wait
 * @asleep: so long, having it
 */
struct step {
	enum guard guard;
	unsigned int way;
	__u64 ns;
	__u64 asleep;
};

static struct step step_choose(__u64 *seed)
{
	__u64 x = next_random(seed);

	return (struct step) {
		.guard = x % GUARDS,
		.way = (x >> 8) % 4,
		.ns = (x >> 16) % (3 * MS),
		.asleep = (x >> 40) % 32 ? 0 : (x >> 48) % (2 * MS) + 1,
	};
}

/* Alone with what is protected: surely, or perhaps? */
static bool surely_alone(const struct step *s)
{
	return s->guard == TICKETS || (s->guard == RWLOCK ? !s->way :
	       s->guard == COND ? s->way != 2 : s->way < 2);
}

static bool perhaps_alone(const struct step *s)
{
	return s->guard != RWLOCK || s->way % 2 == 0;
}

static void alone(struct inhabitant *h, const struct step *s)
{
	struct guarded *g = &h->locks.guarded[s->guard];
	__u64 v;

	if (ADD(g->inside, 1) != 1 || __atomic_load_n(&g->readers, __ATOMIC_SEQ_CST))
		WRONG(h);
	v = g->value;
	if (s->asleep && proclet_sleep_until(proclet_clock_ns() + s->asleep))
		WRONG(h);
	g->value = v + 1;
	g->twin = v + 1;
	ADD(g->inside, -1);
}

static void among_readers(struct inhabitant *h, const struct step *s)
{
	struct guarded *g = &h->locks.guarded[s->guard];

	ADD(g->readers, 1);
	for (volatile int i = 0; i < 20; i++)
		if (g->value != g->twin || __atomic_load_n(&g->inside, __ATOMIC_SEQ_CST))
			WRONG(h);
	ADD(g->readers, -1);
}

/* What waiting has returned: 1: we have it, 0: we do not. */
static int got(struct inhabitant *h, int err, int refusal, __u64 until)
{
	if (!err)
		return 1;
	if (err != refusal || (err == -ETIMEDOUT && proclet_clock_ns() < until))
		WRONG(h);
	return 0;
}

static int step_mutex(struct inhabitant *h, const struct step *s)
{
	proclet_mutex_t *m = &h->locks.mutex;
	__u64 until = proclet_clock_ns() + s->ns;

	if (s->way == 3 ? !got(h, proclet_mutex_trylock(m), -EBUSY, 0) :
	    s->way == 2 ? !got(h, proclet_mutex_timedlock(m, until), -ETIMEDOUT, until) :
			  !got(h, proclet_mutex_lock(m), 0, 0))
		return 0;
	alone(h, s);
	if (proclet_mutex_unlock(m))
		WRONG(h);
	return 1;
}

static int step_sem(struct inhabitant *h, const struct step *s)
{
	proclet_sem_t *sem = &h->locks.sem;
	__u64 until = proclet_clock_ns() + s->ns;

	if (s->way == 3 ? !got(h, proclet_sem_trywait(sem), -EAGAIN, 0) :
	    s->way == 2 ? !got(h, proclet_sem_timedwait(sem, until), -ETIMEDOUT, until) :
			  !got(h, proclet_sem_wait(sem), 0, 0))
		return 0;
	alone(h, s);
	if (proclet_sem_post(sem))
		WRONG(h);
	return 1;
}

static int step_rwlock(struct inhabitant *h, const struct step *s)
{
	proclet_rwlock_t *rw = &h->locks.rwlock;
	bool reads = s->way % 2;

	if (s->way == 3 ? !got(h, proclet_rwlock_tryrdlock(rw), -EBUSY, 0) :
	    s->way == 2 ? !got(h, proclet_rwlock_trywrlock(rw), -EBUSY, 0) :
	    s->way == 1 ? !got(h, proclet_rwlock_rdlock(rw), 0, 0) :
			  !got(h, proclet_rwlock_wrlock(rw), 0, 0))
		return 0;
	if (reads)
		among_readers(h, s);
	else
		alone(h, s);
	if (proclet_rwlock_unlock(rw))
		WRONG(h);
	return !reads;
}

/* One who waits in vain goes away. */
static int step_cond(struct inhabitant *h, const struct step *s)
{
	struct locks_part *k = &h->locks;
	__u64 until = proclet_clock_ns() + s->ns;
	bool have = true;

	if (proclet_mutex_lock(&k->cond_mutex))
		WRONG(h);
	while (k->busy && have) {
		if (s->way == 2)
			have = got(h, proclet_cond_timedwait(&k->cond, &k->cond_mutex, until),
				   -ETIMEDOUT, until);
		else
			have = got(h, proclet_cond_wait(&k->cond, &k->cond_mutex), 0, 0);
	}
	have = !k->busy;
	if (have)
		k->busy = 1;
	if (proclet_mutex_unlock(&k->cond_mutex))
		WRONG(h);
	if (!have)
		return 0;
	alone(h, s);
	proclet_mutex_lock(&k->cond_mutex);
	k->busy = 0;
	proclet_mutex_unlock(&k->cond_mutex);
	if (proclet_cond_signal(&k->cond))
		WRONG(h);
	return 1;
}

static int step_tickets(struct inhabitant *h, const struct step *s)
{
	struct locks_part *k = &h->locks;
	__u64 ticket;

	proclet_mutex_lock(&k->tickets_mutex);
	ticket = k->next++;
	while (k->serving != ticket && got(h, proclet_cond_wait(&k->tickets_cond,
								 &k->tickets_mutex), 0, 0))
		;
	proclet_mutex_unlock(&k->tickets_mutex);
	alone(h, s);
	proclet_mutex_lock(&k->tickets_mutex);
	k->serving++;
	if (proclet_cond_broadcast(&k->tickets_cond))
		WRONG(h);
	proclet_mutex_unlock(&k->tickets_mutex);
	return 1;
}

/* ---- those who contend ---- */

struct labor {
	struct inhabitant *h;
	__u64 seed;
	__u64 steps;
	__u64 alone[GUARDS];
};

static void *labor_run(void *arg)
{
	static int (*const steps[GUARDS])(struct inhabitant *h, const struct step *s) = {
		step_mutex, step_sem, step_rwlock, step_cond, step_tickets,
	};
	struct labor *labor = arg;

	for (__u64 i = 0; i < labor->steps; i++) {
		struct step s = step_choose(&labor->seed);

		labor->alone[s.guard] += steps[s.guard](labor->h, &s);
	}
	return labor;
}

/* In: @count threads, @n steps of each; out: how often they were alone, by guard. */
METHOD(labors)
{
	const struct order *o = order_of(in, in_len);
	struct labor labor[LABORERS_MAX];
	proclet_thread_t t[LABORERS_MAX];
	__u64 sums[GUARDS] = { 0 };
	struct inhabitant *h = root;
	__u64 seed;
	void *ret;

	if (!o || o->count > LABORERS_MAX || out_cap != sizeof(sums))
		return -EINVAL;
	ADD(h->visits, 1);
	seed = o->seed;
	for (__u32 i = 0; i < o->count; i++) {
		int err = -ENOMEM;

		labor[i] = (struct labor) { .h = h, .seed = next_random(&seed), .steps = o->n };
		/* The last is the method's own thread. */
		if (i < o->count - 1)
			err = proclet_thread_create(&t[i], labor_run, &labor[i]);
		if (err) {
			t[i] = NULL;
			labor_run(&labor[i]);
			if (err != -ENOMEM)
				WRONG(h);
		}
	}
	for (__u32 i = 0; i < o->count; i++) {
		if (t[i] && (proclet_thread_join(t[i], &ret) || ret != &labor[i]))
			WRONG(h);
		for (int g = 0; g < GUARDS; g++)
			sums[g] += labor[i].alone[g];
	}
	memcpy(out, sums, sizeof(sums));
	return sizeof(sums);
}
PROCLET_METHOD(labors);

METHOD(locks_init)
{
	struct inhabitant *h = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return proclet_sem_init(&h->locks.sem, 1);
}
PROCLET_METHOD(locks_init);

int locks_begin(struct life *l)
{
	CHECK_EQ(proclet_call(l->id, locks_init, NULL, 0, NULL, 0), 0);
	return KSFT_PASS;
}

int do_locks(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_crowded(state);
	struct order *o = order_new(w, state);
	__u64 least[GUARDS] = { 0 }, most[GUARDS] = { 0 }, seen[GUARDS] = { 0 };
	int ret = KSFT_PASS;
	__u64 seed = o->seed;
	ssize_t n;

	o->count = 1 + next_random(state) % LABORERS_MAX;
	o->n = 1 + next_random(state) % STEPS_MAX;
	if (!l)
		return KSFT_PASS;
	for (__u32 i = 0; i < o->count; i++) {
		__u64 its = next_random(&seed);

		for (__u64 k = 0; k < o->n; k++) {
			struct step s = step_choose(&its);

			least[s.guard] += surely_alone(&s);
			most[s.guard] += perhaps_alone(&s);
		}
	}
	n = proclet_call(l->id, labors, o, sizeof(*o), seen, sizeof(seen));
	if (n == sizeof(seen)) {
		counted(l, 0, 1);
		for (int g = 0; g < GUARDS; g++) {
			ADD(l->alone[g], seen[g]);
			if (seen[g] >= least[g] && seen[g] <= most[g])
				continue;
			diag("%s: expected to be alone %llu to %llu times, saw %llu",
			     guard_names[g], least[g], most[g], seen[g]);
			ret = KSFT_FAIL;
		}
	} else if (!excused(l, n)) {
		diag("locks: expected %zu bytes, saw %zd", sizeof(seen), n);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}

/* ---- a buffer, filled by some calls and emptied by others ---- */

struct goods {
	__u64 count;
	__u64 sum;
};

/* In: @n items; out: those for which there was room. */
METHOD(give)
{
	const struct order *o = order_of(in, in_len);
	struct inhabitant *h = root;
	struct goods g = { 0 };
	__u64 seed;

	if (!o || out_cap != sizeof(g))
		return -EINVAL;
	ADD(h->visits, 1);
	seed = o->seed;
	for (__u64 i = 0; i < o->n; i++) {
		__u64 item = next_random(&seed);
		int at = 0;

		if (proclet_mutex_lock(&h->locks.buffer_mutex))
			WRONG(h);
		while (at < BUFFER && h->locks.buffer[at])
			at++;
		if (at < BUFFER) {
			h->locks.buffer[at] = item;
			g.count++;
			g.sum += item;
		}
		proclet_mutex_unlock(&h->locks.buffer_mutex);
		if (at < BUFFER && proclet_sem_post(&h->locks.items))
			WRONG(h);
	}
	memcpy(out, &g, sizeof(g));
	return sizeof(g);
}
PROCLET_METHOD(give);

/* In: @n items, no longer than @left ns for each; out: those that came. */
METHOD(take)
{
	const struct order *o = order_of(in, in_len);
	struct inhabitant *h = root;
	struct goods g = { 0 };

	if (!o || out_cap != sizeof(g))
		return -EINVAL;
	ADD(h->visits, 1);
	for (__u64 i = 0; i < o->n; i++) {
		__u64 until = proclet_clock_ns() + o->left;
		int at = 0;

		if (!got(h, proclet_sem_timedwait(&h->locks.items, until), -ETIMEDOUT, until))
			continue;
		proclet_mutex_lock(&h->locks.buffer_mutex);
		while (at < BUFFER && !h->locks.buffer[at])
			at++;
		if (at < BUFFER) {
			g.count++;
			g.sum += h->locks.buffer[at];
			h->locks.buffer[at] = 0;
		} else {
			WRONG(h);
		}
		proclet_mutex_unlock(&h->locks.buffer_mutex);
	}
	memcpy(out, &g, sizeof(g));
	return sizeof(g);
}
PROCLET_METHOD(take);

METHOD(items_left)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return proclet_sem_value(&((struct inhabitant *)root)->locks.items);
}
PROCLET_METHOD(items_left);

static int trade(struct life *l, proclet_method_t method, struct order *o, __u64 *count,
		 __u64 *sum)
{
	struct goods g = { 0 };
	int ret = KSFT_PASS;
	ssize_t n;

	n = proclet_call(l->id, method, o, sizeof(*o), &g, sizeof(g));
	if (n == sizeof(g) && g.count <= o->n) {
		counted(l, 0, 1);
		__atomic_add_fetch(count, g.count, __ATOMIC_RELAXED);
		__atomic_add_fetch(sum, g.sum, __ATOMIC_RELAXED);
	} else if (!excused(l, n)) {
		diag("%llu items: expected no more, saw %zd, %llu", o->n, n, g.count);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}

int do_give(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_crowded(state);
	struct order *o = order_new(w, state);

	o->n = 1 + o->n % 20;
	return l ? trade(l, give, o, &l->given, &l->given_sum) : KSFT_PASS;
}

int do_take(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_crowded(state);
	struct order *o = order_new(w, state);

	o->n = 1 + o->n % 20;
	o->left = next_random(state) % (5 * MS);
	return l ? trade(l, take, o, &l->taken, &l->taken_sum) : KSFT_PASS;
}

int locks_went_well(struct life *l, const struct inhabitant *h)
{
	__u64 left = 0, sum = 0;
	ssize_t n;

	for (int g = 0; g < GUARDS; g++) {
		if (h->locks.guarded[g].value != l->alone[g])
			diag("%s:", guard_names[g]);
		CHECK_EQ(h->locks.guarded[g].value, l->alone[g]);
		CHECK_EQ(h->locks.guarded[g].twin, l->alone[g]);
		CHECK_EQ(h->locks.guarded[g].inside, 0);
	}
	CHECK_EQ(h->locks.next, h->locks.serving);
	for (int i = 0; i < BUFFER; i++) {
		left += !!h->locks.buffer[i];
		sum += h->locks.buffer[i];
	}
	CHECK_EQ(left, l->given - l->taken);
	CHECK_EQ(sum, l->given_sum - l->taken_sum);
	n = proclet_call(l->id, items_left, NULL, 0, NULL, 0);
	if (!excused(l, n))
		CHECK_EQ(n, left);
	return KSFT_PASS;
}
