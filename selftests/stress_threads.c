// SPDX-License-Identifier: GPL-2.0
/*
 * stress: threads that proclets create: joined in any order, detached, ended early;
 * and those that meet at a barrier.
 */
#include "stress.h"

#define HANDS_MAX 8
#define DEPTH_MAX 3

static unsigned int created;	/* threads; the rest there was no memory for */

/* ---- threads with values ---- */

/**
 * struct hand - what a thread is to do
 * @h: where
 * @seed: of its value
 * @value: out
 * @depth: it may create others, so deep
 * @own: it is a thread of its own, and may end as such
 * @leave: nobody waits: count the value, and free this
 */
struct hand {
	struct inhabitant *h;
	__u64 seed;
	__u64 value;
	__u32 depth;
	bool own;
	bool leave;
};

/* The same number whether there are threads for it or not. */
static __u64 hand_value(__u64 seed, __u32 depth)
{
	__u64 value = burn(mix(seed, depth), seed % 500);

	return depth && seed % 4 == 2 ? mix(value, hand_value(value, depth - 1)) : value;
}

static void *hand_run(void *arg);

/* 0: there is no memory for a thread, and the caller has done its work itself. */
static int hand_start(struct hand *hand, proclet_thread_t *t)
{
	int err;

	hand->own = true;
	err = proclet_thread_create(t, hand_run, hand);
	if (!err)
		return 1;
	if (err != -ENOMEM)
		WRONG(hand->h);
	hand->own = false;
	hand_run(hand);
	return 0;
}

static __attribute__((noinline)) void end_deep(struct hand *hand, int depth)
{
	volatile char frame[100];

	memset((void *)frame, depth, sizeof(frame));
	if (!depth)
		proclet_thread_exit(hand);
	if (frame[1] == depth)
		end_deep(hand, depth - 1);
}

static void *hand_run(void *arg)
{
	struct hand *hand = arg, below;
	proclet_thread_t t;
	void *ret;

	hand->value = burn(mix(hand->seed, hand->depth), hand->seed % 500);
	if (hand->seed % 4 == 1 &&
	    proclet_sleep_until(proclet_clock_ns() + (hand->seed >> 8) % (3 * MS)))
		WRONG(hand->h);
	if (hand->depth && hand->seed % 4 == 2) {
		below = (struct hand) { hand->h, hand->value, 0, hand->depth - 1, false, false };
		if (hand_start(&below, &t) &&
		    (proclet_thread_join(t, &ret) || ret != &below))
			WRONG(hand->h);
		hand->value = mix(hand->value, below.value);
	}
	if (hand->leave) {
		ADD(hand->h->left_sum, hand->value);
		ADD(hand->h->left, 1);
		proclet_free(hand);
		return NULL;
	}
	if (hand->own && hand->seed % 4 == 3)
		end_deep(hand, hand->seed % 20);
	return hand;
}

static void leave_behind(struct inhabitant *h, __u64 seed, __u32 depth)
{
	struct hand *hand = proclet_malloc(sizeof(*hand));
	proclet_thread_t t;

	if (!hand) {
		ADD(h->left_sum, hand_value(seed, depth));
		ADD(h->left, 1);
		return;
	}
	*hand = (struct hand) { h, seed, 0, depth, false, true };
	if (seed % 2)
		hand_start(hand, NULL);
	else if (hand_start(hand, &t) && proclet_thread_detach(t))
		WRONG(h);
}

struct hands_result {
	__u64 value;
	__u32 created;
	__u32 reserved;
};

/* In: @count threads, of them those whose bit is set in @left detached; @n: how deep. */
METHOD(hands)
{
	const struct order *o = order_of(in, in_len);
	struct hands_result r = { 0 };
	struct inhabitant *h = root;
	struct hand hand[HANDS_MAX];
	proclet_thread_t t[HANDS_MAX];
	bool joined[HANDS_MAX] = { false };
	__u64 seed;
	void *ret;

	if (!o || o->count > HANDS_MAX || out_cap != sizeof(r))
		return -EINVAL;
	ADD(h->visits, 1);
	seed = o->seed;
	for (__u32 i = 0; i < o->count; i++) {
		__u64 its = next_random(&seed);

		if (o->left >> i & 1) {
			leave_behind(h, its, o->n);
			continue;
		}
		hand[i] = (struct hand) { h, its, 0, o->n, false, false };
		joined[i] = hand_start(&hand[i], &t[i]);
		r.created += joined[i];
	}
	/* Not in the order of their creation. */
	for (__u32 k = 0; k < o->count; k++) {
		__u32 i = (k + o->at) % o->count;

		if (joined[i] && (proclet_thread_join(t[i], &ret) || ret != &hand[i]))
			WRONG(h);
	}
	for (__u32 i = 0; i < o->count; i++)
		if (!(o->left >> i & 1))
			r.value = mix(r.value, hand[i].value);
	memcpy(out, &r, sizeof(r));
	return sizeof(r);
}
PROCLET_METHOD(hands);

int do_threads(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_any(state);
	struct order *o = order_new(w, state);
	__u64 value = 0, left = 0, left_sum = 0, seed = o->seed;
	struct hands_result r = { 0 };
	int ret = KSFT_PASS;
	ssize_t n;

	o->count = 1 + next_random(state) % HANDS_MAX;
	o->left = next_random(state) & next_random(state);
	o->at = next_random(state) % o->count;
	o->n = next_random(state) % (DEPTH_MAX + 1);
	if (!l)
		return KSFT_PASS;
	for (__u32 i = 0; i < o->count; i++) {
		__u64 its = hand_value(next_random(&seed), o->n);

		if (o->left >> i & 1)
			left++, left_sum += its;
		else
			value = mix(value, its);
	}
	n = proclet_call(l->id, hands, o, sizeof(*o), &r, sizeof(r));
	if (n == sizeof(r) && r.value == value) {
		ADD(created, r.created);
		counted(l, 0, 1);
		ADD(l->left, left);
		ADD(l->left_sum, left_sum);
	} else if (!excused(l, n)) {
		diag("%u threads of %llx: expected value %llx, saw %zd, %llx", o->count, l->id,
		     value, n, r.value);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}

/* ---- those who meet ---- */

#define MEETING_MAX 5

/**
 * struct meeting - on the stack of the method that calls it
 * @h: where
 * @barrier: .
 * @gate: nobody begins before all have been created
 * @cancelled: not all could be
 * @rounds: .
 * @count: of threads
 * @arrivals: in all rounds
 * @serial: times that a thread was the last
 * @once: .
 * @calls: of what is to be called once
 */
struct meeting {
	struct inhabitant *h;
	proclet_barrier_t barrier;
	proclet_sem_t gate;
	bool cancelled;
	__u32 rounds;
	__u32 count;
	__u32 arrivals;
	__u32 serial;
	proclet_once_t once;
	volatile __u32 calls;
};

static void only_once(void *arg)
{
	struct meeting *m = arg;

	burn(1, 2000);
	m->calls++;
}

static void *meeting_run(void *arg)
{
	struct meeting *m = arg;
	int ret;

	if (proclet_sem_wait(&m->gate))
		WRONG(m->h);
	if (m->cancelled)
		return m;
	if (proclet_once(&m->once, only_once, m) || m->calls != 1)
		WRONG(m->h);
	for (__u32 i = 1; i <= m->rounds; i++) {
		ADD(m->arrivals, 1);
		ret = proclet_barrier_wait(&m->barrier);
		if (ret == PROCLET_BARRIER_SERIAL)
			ADD(m->serial, 1);
		else if (ret)
			WRONG(m->h);
		if (__atomic_load_n(&m->arrivals, __ATOMIC_SEQ_CST) < i * m->count)
			WRONG(m->h);
	}
	return m;
}

/* In: @count threads, @left rounds. Returns how often one was the last. */
METHOD(meet)
{
	const struct order *o = order_of(in, in_len);
	proclet_thread_t t[MEETING_MAX];
	struct meeting m = { .h = root };
	__u32 made = 0;
	void *ret;

	(void)out;
	(void)out_cap;
	if (!o || o->count > MEETING_MAX || proclet_barrier_init(&m.barrier, o->count))
		return -EINVAL;
	ADD(m.h->visits, 1);
	m.count = o->count;
	m.rounds = o->left;
	while (made < o->count && !m.cancelled) {
		int err = proclet_thread_create(&t[made], meeting_run, &m);

		if (err && err != -ENOMEM)
			WRONG(m.h);
		m.cancelled = err;
		made += !err;
	}
	for (__u32 i = 0; i < made; i++)
		if (proclet_sem_post(&m.gate))
			WRONG(m.h);
	for (__u32 i = 0; i < made; i++)
		if (proclet_thread_join(t[i], &ret) || ret != &m)
			WRONG(m.h);
	if (m.cancelled)
		return -ENOMEM;
	if (m.arrivals != m.count * m.rounds)
		WRONG(m.h);
	return m.serial;
}
PROCLET_METHOD(meet);

int do_meet(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_any(state);
	struct order *o = order_new(w, state);
	int ret = KSFT_PASS;
	ssize_t n;

	o->count = 1 + next_random(state) % MEETING_MAX;
	o->left = 1 + next_random(state) % 6;
	if (!l)
		return KSFT_PASS;
	n = proclet_call(l->id, meet, o, sizeof(*o), NULL, 0);
	if (n == o->left || n == -ENOMEM) {
		counted(l, 0, 1);
	} else if (!excused(l, n)) {
		diag("%u threads that meet: expected %u rounds, saw %zd", o->count, o->left, n);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}

/* Those that were detached have ended, or will: see life_account(). */
int threads_went_well(struct life *l, const struct inhabitant *h)
{
	CHECK_EQ(h->left, l->left);
	CHECK_EQ(h->left_sum, l->left_sum);
	return KSFT_PASS;
}

int threads_were_created(void)
{
	diag("%u threads created and joined", created);
	CHECK_GE(created, 1);
	return KSFT_PASS;
}
