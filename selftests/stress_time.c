// SPDX-License-Identifier: GPL-2.0
/* stress: the clock along chains of calls, sleeping, and calls with a deadline. */
#include "stress.h"

/* ---- the clock ---- */

#define HOPS_MAX 8

struct hops {
	__u64 last;	/* what the caller has read */
	__u64 seed;
	__u32 left;
	__u32 count;
	proclet_t ids[HOPS_MAX];
};

/* Through some proclets and back: it never goes back. */
METHOD(hop)
{
	struct inhabitant *h = root;
	__u64 now = proclet_clock_ns(), then;
	struct hops a;
	ssize_t ret;

	if (in_len != sizeof(a) || out_cap != sizeof(now))
		return -EINVAL;
	memcpy(&a, in, sizeof(a));
	if (now < a.last)
		WRONG(h);
	if (a.left) {
		proclet_t next = a.ids[next_random(&a.seed) % a.count];

		a.left--;
		a.last = proclet_clock_ns();
		ret = proclet_call(next, hop, &a, sizeof(a), &then, sizeof(then));
		if (ret != sizeof(then))
			return ret < 0 ? ret : -EPROTO;
		now = proclet_clock_ns();
		if (now < then || then < a.last)
			WRONG(h);
	}
	memcpy(out, &now, sizeof(now));
	return sizeof(now);
}
PROCLET_METHOD(hop);

int do_clock(struct stress_worker *w, __u64 *state)
{
	unsigned int wanted = 1 + next_random(state) % HOPS_MAX;
	struct hops a = { .left = next_random(state) % 12 };
	struct life *lives[HOPS_MAX];
	__u64 there = 0, after;
	int ret = KSFT_PASS;
	bool dead = false;
	ssize_t n;

	(void)w;
	a.seed = next_random(state);
	for (unsigned int i = 0; i < wanted; i++) {
		lives[a.count] = life_any(state);
		if (lives[a.count])
			a.ids[a.count] = lives[a.count]->id, a.count++;
	}
	if (!a.count)
		return KSFT_PASS;
	a.last = proclet_clock_ns();
	n = proclet_call(a.ids[0], hop, &a, sizeof(a), &there, sizeof(there));
	after = proclet_clock_ns();
	for (unsigned int i = 0; i < a.count; i++) {
		dead |= is_dead(lives[i]);
		life_put(lives[i]);
	}
	if ((n == -ESTALE && dead) || struck(n))
		return KSFT_PASS;
	if (n != sizeof(there) || there < a.last || after < there) {
		diag("the clock, through %u calls: expected to go on from %llu, saw %zd, %llu, %llu",
		     a.left + 1, a.last, n, there, after);
		ret = KSFT_FAIL;
	}
	return ret;
}

/* ---- sleeping ---- */

METHOD(doze)
{
	struct inhabitant *h = root;
	__u64 ns, until, now;

	if (in_len != sizeof(ns) || out_cap != sizeof(now))
		return -EINVAL;
	memcpy(&ns, in, sizeof(ns));
	ADD(h->dozed, 1);
	until = proclet_clock_ns() + ns;
	if (proclet_sleep_until(until))
		WRONG(h);
	now = proclet_clock_ns();
	if (now < until)
		WRONG(h);
	ADD(h->woken, 1);
	memcpy(out, &now, sizeof(now));
	return sizeof(now);
}
PROCLET_METHOD(doze);

int do_sleep(struct stress_worker *w, __u64 *state)
{
	__u64 ns = next_random(state) % (1ULL << next_random(state) % 26), now = 0, before, after;
	bool native = next_random(state) % 4 == 0;
	struct life *l = native ? NULL : life_any(state);
	int ret = KSFT_PASS;
	ssize_t n;

	(void)w;
	before = proclet_clock_ns();
	if (native) {
		n = proclet_sleep_until(before + ns);
		after = proclet_clock_ns();
		if (!n && after >= before + ns)
			return KSFT_PASS;
		diag("sleeping for %llu ns: expected not less, saw %zd, %llu", ns, n,
		     after - before);
		return KSFT_FAIL;
	}
	if (!l)
		return KSFT_PASS;
	n = proclet_call(l->id, doze, &ns, sizeof(ns), &now, sizeof(now));
	after = proclet_clock_ns();
	if (n == sizeof(now) && now >= before + ns && after >= now) {
		ADD(l->dozed, 1);
	} else if (!excused(l, n)) {
		diag("sleeping for %llu ns from %llu: expected not less, saw %zd, %llu, %llu", ns,
		     before, n, now, after);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}

/* ---- deadlines ---- */

/* Longer than any timeout here has to take, with cancel_ms, in an emulator. */
#define TOOK_MAX (100 * SECOND)

ssize_t tick(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct inhabitant *h = root;
	struct tick_args a;

	(void)out;
	(void)out_cap;
	if (in_len < sizeof(a))
		return -EINVAL;
	memcpy(&a, in, sizeof(a));
	if (a.ns % 2)
		burn(a.ns, a.ns / 1000);
	else if (proclet_sleep_until(proclet_clock_ns() + a.ns))
		WRONG(h);
	ADD(h->ticks, 1);
	return 1;
}
PROCLET_METHOD(tick);

struct timed_args {
	proclet_t p;
	__u64 timeout;
	struct tick_args tick;
};

struct timed_result {
	ssize_t ret;
	__u64 took;
};

static void timed_call(const struct timed_args *a, const void *in, size_t len,
		       struct timed_result *r)
{
	struct timespec rel = { a->timeout / SECOND, a->timeout % SECOND };
	__u64 began = proclet_clock_ns();

	r->ret = proclet_call_timeout(a->p, tick, in, len, NULL, 0, &rel);
	r->took = proclet_clock_ns() - began;
}

/* From a caller that moves. */
METHOD(timed_from)
{
	struct timed_result r;
	struct timed_args a;

	(void)root;
	if (in_len != sizeof(a) || out_cap != sizeof(r))
		return -EINVAL;
	memcpy(&a, in, sizeof(a));
	timed_call(&a, &a.tick, sizeof(a.tick), &r);
	memcpy(out, &r, sizeof(r));
	return sizeof(r);
}
PROCLET_METHOD(timed_from);

int do_deadline(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_any(state), *by = life_lasting(state);
	struct timed_result r = { -EPROTO, 0 };
	struct timed_args a = { 0 };
	size_t len = sizeof(a.tick);
	int ret = KSFT_FAIL;
	ssize_t n = sizeof(r);

	a.timeout = next_random(state) % (1ULL << next_random(state) % 25);
	a.tick.ns = next_random(state) % (1ULL << next_random(state) % 24);
	if (!l || !by) {
		ret = KSFT_PASS;
		goto out;
	}
	a.p = l->id;
	if (next_random(state) % 2) {
		n = proclet_call(by->id, timed_from, &a, sizeof(a), &r, sizeof(r));
	} else {
		/* Long arguments are on their way for a while. */
		len += any_size(state, MIB - len);
		memcpy(w->in, &a.tick, sizeof(a.tick));
		timed_call(&a, w->in, len, &r);
	}
	if (n != sizeof(r) && excused(l, n)) {
		ret = KSFT_PASS;
	} else if (n != sizeof(r)) {
		diag("to wait elsewhere: expected %zu, saw %zd", sizeof(r), n);
	} else if (r.ret == 1) {
		ADD(l->ticks, 1);
		ret = KSFT_PASS;
	} else if (excused(l, r.ret)) {
		ret = KSFT_PASS;
	} else if (r.ret != -ETIMEDOUT && r.ret != -ECONNRESET) {
		diag("a call with a timeout of %llu ns: expected 1, %d or %d, saw %zd", a.timeout,
		     -ETIMEDOUT, -ECONNRESET, r.ret);
	} else if (r.took < a.timeout || r.took > TOOK_MAX) {
		diag("a timeout: expected after %llu to %llu ns, saw it after %llu", a.timeout,
		     TOOK_MAX, r.took);
	} else {
		ADD(l->perhaps, r.ret == -ECONNRESET);
		ret = KSFT_PASS;
	}
out:
	if (by)
		life_put(by);
	if (l)
		life_put(l);
	return ret;
}

int time_went_well(struct life *l, const struct inhabitant *h)
{
	CHECK_EQ(h->dozed, l->dozed);
	CHECK_EQ(h->woken, l->dozed);
	CHECK_GE(h->ticks, l->ticks);
	CHECK_GE(l->ticks + l->perhaps, h->ticks);
	return KSFT_PASS;
}
