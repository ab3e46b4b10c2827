// SPDX-License-Identifier: GPL-2.0
/*
 * stress: references and names. Each worker has names of its own, so it knows what
 * each must be; only the proclet may end at any time.
 */
#include "stress.h"

/* ---- from inside a proclet ---- */

enum what { GET, PUT, PUBLISH, LOOKUP, UNPUBLISH };

struct errand {
	__u32 what;
	char name[28];
	proclet_t p;
};

struct errand_result {
	int ret;
	proclet_t found;
};

static void carry_out(const struct errand *e, struct errand_result *r)
{
	switch (e->what) {
	case GET:
		r->ret = proclet_get(e->p);
		break;
	case PUT:
		r->ret = proclet_put(e->p);
		break;
	case PUBLISH:
		r->ret = proclet_publish(e->name, e->p);
		break;
	case LOOKUP:
		r->ret = proclet_lookup(e->name, &r->found);
		break;
	case UNPUBLISH:
		r->ret = proclet_unpublish(e->name);
		break;
	default:
		r->ret = -EINVAL;
	}
}

METHOD(errand)
{
	struct errand_result r = { 0, 0 };
	struct errand e;

	(void)root;
	if (in_len != sizeof(e) || out_cap != sizeof(r))
		return -EINVAL;
	memcpy(&e, in, sizeof(e));
	carry_out(&e, &r);
	memcpy(out, &r, sizeof(r));
	return sizeof(r);
}
PROCLET_METHOD(errand);

/* By the worker's own thread, or by a proclet somewhere. */
static int send_on(const struct errand *e, struct errand_result *r, __u64 *state)
{
	struct life *by = next_random(state) % 2 ? life_lasting(state) : NULL;
	ssize_t n;

	if (!by) {
		carry_out(e, r);
		return KSFT_PASS;
	}
	n = proclet_call(by->id, errand, e, sizeof(*e), r, sizeof(*r));
	if (excused(by, n)) {
		r->ret = n;
		n = sizeof(*r);
	}
	life_put(by);
	CHECK_EQ(n, sizeof(*r));
	return KSFT_PASS;
}

/* ---- references ---- */

/* One of those that are not the first. */
static bool take_reference(struct life *l)
{
	__u64 n = __atomic_load_n(&l->references, __ATOMIC_RELAXED);

	while (n && !__atomic_compare_exchange_n(&l->references, &n, n - 1, false,
						 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	return n;
}

int do_references(struct stress_worker *w, __u64 *state)
{
	unsigned int times = 1 + next_random(state) % 6;
	struct life *l = life_any(state);
	int ret = KSFT_PASS;

	(void)w;
	for (unsigned int i = 0; l && ret == KSFT_PASS && i < times; i++) {
		bool put = next_random(state) % 2 && take_reference(l);
		struct errand e = { .what = put ? PUT : GET, .p = l->id };
		struct errand_result r = { -EPROTO, 0 };

		ret = send_on(&e, &r, state);
		if (ret != KSFT_PASS)
			break;
		if (!r.ret) {
			ADD(l->references, !put);
		} else if (!excused(l, r.ret)) {
			diag("a reference %s %llx: expected 0, saw %d", put ? "less to" : "more to",
			     l->id, r.ret);
			ret = KSFT_FAIL;
		}
	}
	if (l)
		life_put(l);
	return ret;
}

/* Nothing finds it any more. */
static int no_more(struct life *l)
{
	__u64 word = 0;
	const ssize_t seen[] = {
		proclet_call(l->id, exchange, &word, sizeof(word), NULL, 0),
		proclet_read(l->id, 0, &word, sizeof(word)),
		proclet_get(l->id),
		proclet_put(l->id),
		proclet_locate(l->id),
		proclet_destroy(l->id),
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(seen); i++)
		if (!struck(seen[i]))
			CHECK_EQ(seen[i], -ESTALE);
	return KSFT_PASS;
}

/* With the last reference. */
static int last_put(struct life *l)
{
	ssize_t ret;

	for (__u64 i = 0; i < l->references; i++) {
		ret = proclet_put(l->id);
		if (excused(l, ret))
			return KSFT_PASS;
		CHECK_EQ(ret, 0);
	}
	ret = proclet_locate(l->id);
	if (!excused(l, ret))
		CHECK_GE(ret, 1);
	ret = proclet_put(l->id);
	if (!excused(l, ret))
		CHECK_EQ(ret, 0);
	return KSFT_PASS;
}

/* It is destroyed, or ends with the last reference. */
int refs_end(struct life *l, __u64 *state)
{
	int err;

	if (next_random(state) % 2 && !l->unsure) {
		TRY(last_put(l));
	} else {
		err = proclet_destroy(l->id);
		if (!excused(l, err))
			CHECK_EQ(err, 0);
	}
	/* A fault may have left it where nobody reaches it. */
	return l->unsure && stormy() ? KSFT_PASS : no_more(l);
}

/* ---- names ---- */

/*
 * Functions return as tests do, or the error with which a fault has left it open who
 * has the name. Whether a name's proclet lives, before something and after it:
 */
enum state { LIVES, ENDS, ENDED };

static enum state state_of(struct life *l, bool gone_before)
{
	if (!l || gone_before)
		return ENDED;
	/* Who cannot find it takes it for dead. */
	return is_dead(l) || stormy() ? ENDS : LIVES;
}

static int name_differs(const struct errand *e, struct life *old, const char *expected,
			const struct errand_result *r)
{
	static const char *const verbs[] = {
		[PUBLISH] = "publishing", [LOOKUP] = "looking up", [UNPUBLISH] = "unpublishing",
	};

	diag("%s %s (of %llx%s): expected %s, saw %d, %llx", verbs[e->what], e->name,
	     old ? old->id : 0, old && is_dead(old) ? ", dead" : "", expected, r->ret, r->found);
	return KSFT_FAIL;
}

static void name_is(struct life **name, struct life *l)
{
	if (*name)
		life_drop(*name);
	if (l)
		life_hold(l);
	*name = l;
}

static int do_publish(struct errand *e, struct life **name, __u64 *state)
{
	bool gone = *name && is_gone(*name);
	struct errand_result r = { -EPROTO, 0 };
	struct life *l = life_any(state), *old = *name;
	enum state was;
	int ret;

	if (!l)
		return KSFT_PASS;
	e->p = l->id;
	ret = send_on(e, &r, state);
	was = state_of(old, gone);
	if (struck(r.ret))
		ret = r.ret;
	if (ret == KSFT_PASS && !(r.ret == -ESTALE && is_dead(l))) {
		if (r.ret != (was == LIVES ? -EEXIST : 0) && !(was == ENDS && r.ret == -EEXIST))
			ret = name_differs(e, old, was == LIVES ? "-EEXIST" : "0", &r);
		if (!r.ret)
			name_is(name, l);
	}
	life_put(l);
	return ret;
}

static int do_lookup(struct errand *e, struct life **name, __u64 *state)
{
	bool gone = *name && is_gone(*name);
	struct errand_result r = { -EPROTO, 0 };
	struct life *old = *name;
	enum state was;

	TRY(send_on(e, &r, state));
	if (struck(r.ret))
		return r.ret;
	was = state_of(old, gone);
	if (was != ENDED && !r.ret && r.found == old->id)
		return KSFT_PASS;
	if (was != LIVES && r.ret == -ENOENT) {
		name_is(name, NULL);
		return KSFT_PASS;
	}
	return name_differs(e, old, was == ENDED ? "-ENOENT" : "its proclet", &r);
}

static int do_unpublish(struct errand *e, struct life **name, __u64 *state)
{
	struct errand_result r = { -EPROTO, 0 };
	struct life *old = *name;
	enum state was;

	TRY(send_on(e, &r, state));
	if (struck(r.ret))
		return r.ret;
	was = state_of(old, false);
	if (r.ret != (old ? 0 : -ENOENT) && !(old && was != LIVES && r.ret == -ENOENT))
		return name_differs(e, old, old ? "0" : "-ENOENT", &r);
	name_is(name, NULL);
	return KSFT_PASS;
}

int do_names(struct stress_worker *w, __u64 *state)
{
	unsigned int k = next_random(state) % NAMES;
	struct errand e = { .what = PUBLISH + next_random(state) % 3 };
	int ret;

	snprintf(e.name, sizeof(e.name), "stress %u.%u.%u", w->number, k, w->renamed[k]);
	ret = (e.what == PUBLISH ? do_publish : e.what == LOOKUP ? do_lookup : do_unpublish)
		(&e, &w->names[k], state);
	if (ret >= 0)
		return ret;
	name_is(&w->names[k], NULL);
	w->renamed[k]++;
	return KSFT_PASS;
}

void refs_worker_end(struct stress_worker *w)
{
	for (unsigned int k = 0; k < NAMES; k++)
		name_is(&w->names[k], NULL);
}
