// SPDX-License-Identifier: GPL-2.0
/* stress: calls, of all sizes, nested, and in floating point. */
#include "stress.h"

/* Takes bytes, gives others back. */
ssize_t exchange(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct order *o = order_of(in, in_len);
	struct inhabitant *h = root;

	if (!o || o->out_len > out_cap)
		return -EINVAL;
	__atomic_add_fetch(&h->visits, 1, __ATOMIC_RELAXED);
	if (!has_pattern(o->bytes, in_len - sizeof(*o), o->seed))
		return -EBADMSG;
	__atomic_add_fetch(&h->added, o->n, __ATOMIC_RELAXED);
	pattern(out, o->out_len, o->seed + 1);
	return o->out_len;
}
PROCLET_METHOD(exchange);

void exchange_order(struct order *o, size_t len)
{
	pattern(o->bytes, len, o->seed);
}

static void chain_next(struct order *o)
{
	o->left--;
	o->at = next_random(&o->seed) % o->count;
}

/* A chain of calls, through any proclet any number of times. */
static ssize_t chain(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct order *o = order_of(in, in_len);
	struct inhabitant *h = root;
	__u64 mine, value = 0;
	struct order next;
	double half;
	ssize_t ret;

	if (!o || out_cap != sizeof(value) || o->ids[o->at] != proclet_self())
		return -EINVAL;
	__atomic_add_fetch(&h->visits, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&h->added, o->n, __ATOMIC_RELAXED);
	mine = burn(mix(o->seed, o->left), o->seed % 200);
	half = (double)(mine >> 12) / 2;
	__asm__("" : "+x" (half));
	if (o->left) {
		memcpy(&next, o, sizeof(next));
		chain_next(&next);
		ret = proclet_call(next.ids[next.at], chain, &next, sizeof(next), &value,
				   sizeof(value));
		if (ret != sizeof(value))
			return ret < 0 ? ret : -EPROTO;
	}
	if (half != (double)(mine >> 12) / 2)
		WRONG(h);
	value = mix(value, mine);
	memcpy(out, &value, sizeof(value));
	return sizeof(value);
}
PROCLET_METHOD(chain);

/* Sums in floating point, the same on every machine. */
static __attribute__((noinline)) double series(__u64 seed, __u64 n)
{
	double x = 1 + (double)(seed % 1000) / 1000, sum = 0, term = 1;
	float small = 1;

	for (__u64 i = 1; i <= n; i++) {
		term = term * x / (i % 17 + 1);
		if (term > 1e6 || term < 1e-6)
			term = x;
		sum += term;
		small = small * 1.0001f + (float)term;
		if (small > 1e6f)
			small = 1;
	}
	return sum + small;
}

static ssize_t compute(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct order *o = order_of(in, in_len);
	struct inhabitant *h = root;
	double value;

	if (!o || out_cap != sizeof(value))
		return -EINVAL;
	__atomic_add_fetch(&h->visits, 1, __ATOMIC_RELAXED);
	value = series(o->seed, o->n);
	memcpy(out, &value, sizeof(value));
	return sizeof(value);
}
PROCLET_METHOD(compute);

/* ---- actions ---- */

int do_exchange(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_any(state);
	struct order *o = order_new(w, state);
	size_t len = any_size(state, MIB - sizeof(*o));
	int ret = KSFT_PASS;
	ssize_t n;

	o->out_len = any_size(state, MIB);
	if (!l)
		return KSFT_PASS;
	exchange_order(o, len);
	n = proclet_call(l->id, exchange, o, sizeof(*o) + len, w->out, o->out_len);
	if (n == (ssize_t)o->out_len) {
		counted(l, o->n, 1);
		if (!has_pattern(w->out, o->out_len, o->seed + 1)) {
			diag("%llu bytes of %llx: expected those of seed %llu, saw others",
			     o->out_len, l->id, o->seed + 1);
			ret = KSFT_FAIL;
		}
	} else if (!excused(l, n)) {
		diag("giving %zu bytes: expected %llu, saw %zd", len, o->out_len, n);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}

int do_chain(struct stress_worker *w, __u64 *state)
{
	struct order *o = order_new(w, state), s;
	struct life *lives[CHAIN_MAX];
	__u64 accs[CHAIN_MAX * 4], value = 0, expected = 0;
	unsigned int n = 0, doomed = next_random(state) % 4 ? DOOMED : 0;
	bool dead = false;
	int ret = KSFT_PASS;
	ssize_t len;

	o->count = 1 + next_random(state) % CHAIN_MAX;
	o->left = next_random(state) % ARRAY_SIZE(accs);
	for (unsigned int i = 0; i < o->count; i++) {
		unsigned int slot = next_random(state) % (SLOTS - doomed);

		lives[n] = life_get(slot);
		if (lives[n])
			o->ids[n] = lives[n]->id, n++;
	}
	o->count = n;
	if (!n)
		return KSFT_PASS;
	s = *o;
	len = proclet_call(o->ids[0], chain, o, sizeof(*o), &value, sizeof(value));
	for (unsigned int i = 0; i < n; i++)
		dead |= is_dead(lives[i]);
	if ((len == -ESTALE && dead) || struck(len)) {
		for (unsigned int i = 0; i < n; i++)
			lives[i]->unsure = true;
		goto out;
	}
	n = 0;
	for (;;) {
		counted(lives[s.at], s.n, 1);
		accs[n++] = burn(mix(s.seed, s.left), s.seed % 200);
		if (!s.left)
			break;
		chain_next(&s);
	}
	while (n)
		expected = mix(expected, accs[--n]);
	if (len != sizeof(value) || value != expected) {
		diag("chain of %u calls through %u proclets: expected %llx, saw %zd, %llx",
		     o->left + 1, o->count, expected, len, value);
		ret = KSFT_FAIL;
	}
out:
	for (unsigned int i = 0; i < o->count; i++)
		life_put(lives[i]);
	return ret;
}

int do_compute(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_any(state);
	struct order *o = order_new(w, state);
	double value = 0, expected;
	int ret = KSFT_PASS;
	ssize_t n;

	o->n *= next_random(state) % 2 ? 10 : 300;
	if (!l)
		return KSFT_PASS;
	n = proclet_call(l->id, compute, o, sizeof(*o), &value, sizeof(value));
	expected = series(o->seed, o->n);
	if (n == sizeof(value) && !memcmp(&value, &expected, sizeof(value))) {
		counted(l, 0, 1);
	} else if (!excused(l, n)) {
		diag("series of %llu: expected %a, saw %zd, %a", o->n, expected, n, value);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}
