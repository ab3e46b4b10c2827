// SPDX-License-Identifier: GPL-2.0
/* stress: proclets that move, are moved, or must not be; and where they are. */
#include "stress.h"

/* Pinned, it stays where it is. Returns how often it did not. */
static ssize_t stay(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct order *o = order_of(in, in_len);
	struct inhabitant *h = root;
	ssize_t moved = 0;
	int node;

	(void)out;
	(void)out_cap;
	if (!o)
		return -EINVAL;
	__atomic_add_fetch(&h->visits, 1, __ATOMIC_RELAXED);
	proclet_pin();
	node = lproc_node();
	for (__u64 i = 0; i < 16; i++) {
		burn(o->seed, o->n / 16);
		moved += lproc_node() != node;
	}
	proclet_unpin();
	return moved;
}
PROCLET_METHOD(stay);

/* Moves itself; returns whether it is where it wanted to be, or could not. */
static ssize_t go(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct order *o = order_of(in, in_len);
	struct inhabitant *h = root;
	int ret;

	(void)out;
	(void)out_cap;
	if (!o)
		return -EINVAL;
	__atomic_add_fetch(&h->visits, 1, __ATOMIC_RELAXED);
	ret = proclet_migrate(proclet_self(), o->node, 0);
	__atomic_add_fetch(&h->added, o->n, __ATOMIC_RELAXED);
	return ret;
}
PROCLET_METHOD(go);

/* ---- actions ---- */

int do_stay(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_any(state);
	struct order *o = order_new(w, state);
	int ret = KSFT_PASS;
	ssize_t n;

	o->n *= 100;
	if (!l)
		return KSFT_PASS;
	n = proclet_call(l->id, stay, o, sizeof(*o), NULL, 0);
	if (!n) {
		counted(l, 0, 1);
	} else if (!excused(l, n)) {
		diag("pinned: expected not to move, saw %zd", n);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}

int do_go(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_any(state);
	struct order *o = order_new(w, state);
	int ret = KSFT_PASS;
	ssize_t n;

	o->node = any_node(state);
	if (!l)
		return KSFT_PASS;
	n = proclet_call(l->id, go, o, sizeof(*o), NULL, 0);
	if (may_stay(n)) {
		counted(l, o->n, 1);
	} else if (!excused(l, n)) {
		diag("moving itself to %u: expected 0 or %d, saw %zd", o->node, -EBUSY, n);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}

static int migrate(struct life *l, int node, __u32 mode)
{
	int err = proclet_migrate(l->id, node, mode);

	if (may_stay(err) || excused(l, err))
		return KSFT_PASS;
	diag("moving %llx to %d: expected 0 or %d, saw %d", l->id, node, -EBUSY, err);
	return KSFT_FAIL;
}

int do_migrate(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_any(state);
	int node = any_node(state), ret;

	(void)w;
	if (!l)
		return KSFT_PASS;
	ret = migrate(l, node, next_random(state) % 3);
	life_put(l);
	return ret;
}

/* Several, to the same node. */
int do_gather(struct stress_worker *w, __u64 *state)
{
	unsigned int first = next_random(state) % SLOTS, n = 2 + next_random(state) % 6;
	int node = any_node(state), ret = KSFT_PASS;

	(void)w;
	for (unsigned int i = 0; ret == KSFT_PASS && i < n; i++) {
		struct life *l = life_get((first + i) % SLOTS);

		if (!l)
			continue;
		ret = migrate(l, node, next_random(state) % 3);
		life_put(l);
	}
	return ret;
}

int do_locate(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_any(state);
	int ret = KSFT_PASS, at;

	(void)w;
	if (!l)
		return KSFT_PASS;
	at = proclet_locate(l->id);
	if (!excused(l, at)) {
		if (!is_node(at)) {
			diag("%llx: expected a node, saw %d", l->id, at);
			ret = KSFT_FAIL;
		}
	}
	life_put(l);
	return ret;
}
