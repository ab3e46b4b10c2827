// SPDX-License-Identifier: GPL-2.0
/*
 * All of it at once, from a seed: threads do one action after the other on a
 * population of proclets, and whatever can be known about an action's outcome is
 * checked, at once or when the proclet ends.
 *
 *   stress [SEED] [TEST]...
 *
 * The seed is printed first. The same seed gives every thread the same actions
 * with the same arguments; how the threads interleave is not determined. What
 * failed is told with its thread and the action's number.
 *
 * PROCLET_TEST_SEED: the seed, instead of the argument; PROCLET_TEST_SECONDS: how
 * long (60); PROCLET_TEST_WORKERS: threads (12).
 *
 * A new kind of action is a function and a line in actions[].
 */
#include "movers.h"

#include <stdint.h>

#define MIB ((size_t)1 << 20)
#define SLOTS 32
#define DOOMED 8		/* of them, the last: destroyed while they are called */
#define WORKERS_MAX 64
#define BLOCKS_MAX 16
#define CHAIN_MAX 24

/* ---- the proclets ---- */

struct block {
	struct block *next;
	__u64 words;
	__u64 sum;
	__u64 data[];
};

struct inhabitant {
	__u64 added;		/* all that add() was given */
	__u64 visits;
	__u64 wrong;
	__u32 heap_busy;	/* somebody is at the list of blocks */
	__u32 nblocks;
	__u64 block_sum;	/* of their sums */
	struct block *blocks;
};

static __u64 mix(__u64 a, __u64 b)
{
	a = (a ^ b) * 0x9e3779b97f4a7c15ULL;
	return a ^ a >> 29;
}

static __attribute__((noinline)) __u64 burn(__u64 state, __u64 n)
{
	while (n--)
		next_random(&state);
	return state;
}

static void pattern(unsigned char *to, size_t len, __u64 seed)
{
	for (size_t i = 0; i < len; i++)
		to[i] = seed + i * 5 + (i >> 8);
}

static bool has_pattern(const unsigned char *from, size_t len, __u64 seed)
{
	for (size_t i = 0; i < len; i++)
		if (from[i] != (unsigned char)(seed + i * 5 + (i >> 8)))
			return false;
	return true;
}

/* Every method's argument; what each makes of it is its own. */
struct order {
	__u64 seed;
	__u64 n;
	__u64 out_len;
	__u32 node;
	__u32 left;
	__u32 count;
	__u32 at;
	proclet_t ids[CHAIN_MAX];
	unsigned char bytes[];
};

static const struct order *order_of(const void *in, size_t in_len)
{
	return in_len < sizeof(struct order) ? NULL : in;
}

/* Takes bytes, gives others back. */
static ssize_t exchange(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
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
		__atomic_add_fetch(&h->wrong, 1, __ATOMIC_RELAXED);
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

/* The list is one thread's at a time; the others are told to come again. */
static bool heap_take(struct inhabitant *h)
{
	return !__atomic_exchange_n(&h->heap_busy, 1, __ATOMIC_ACQUIRE);
}

static void heap_leave(struct inhabitant *h)
{
	__atomic_store_n(&h->heap_busy, 0, __ATOMIC_RELEASE);
}

static ssize_t heap_grow(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct order *o = order_of(in, in_len);
	struct inhabitant *h = root;
	struct block *b = NULL;
	__u64 state;

	(void)out;
	(void)out_cap;
	if (!o)
		return -EINVAL;
	__atomic_add_fetch(&h->visits, 1, __ATOMIC_RELAXED);
	if (!heap_take(h))
		return -EAGAIN;
	if (h->nblocks < BLOCKS_MAX)
		b = proclet_malloc(sizeof(*b) + o->n * sizeof(b->data[0]));
	if (!b) {
		heap_leave(h);
		return -ENOMEM;
	}
	state = o->seed;
	b->words = o->n;
	b->sum = 0;
	for (__u64 i = 0; i < b->words; i++) {
		b->data[i] = next_random(&state);
		b->sum = mix(b->sum, b->data[i]);
	}
	b->next = h->blocks;
	h->blocks = b;
	h->nblocks++;
	h->block_sum += b->sum;
	heap_leave(h);
	return 0;
}
PROCLET_METHOD(heap_grow);

/* Check all blocks, and free every second one if told so. */
static ssize_t heap_check(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct order *o = order_of(in, in_len);
	struct inhabitant *h = root;
	struct block **at, *b;
	__u64 all = 0, n = 0;
	bool wrong = false;

	(void)out;
	(void)out_cap;
	if (!o)
		return -EINVAL;
	__atomic_add_fetch(&h->visits, 1, __ATOMIC_RELAXED);
	if (!heap_take(h))
		return -EAGAIN;
	for (b = h->blocks; b; b = b->next) {
		__u64 sum = 0;

		for (__u64 i = 0; i < b->words; i++)
			sum = mix(sum, b->data[i]);
		wrong |= sum != b->sum;
		all += sum;
		n++;
	}
	wrong |= all != h->block_sum || n != h->nblocks;
	for (at = &h->blocks; o->n && (b = *at);) {
		*at = b->next;
		h->nblocks--;
		h->block_sum -= b->sum;
		proclet_free(b);
		if (*at)
			at = &(*at)->next;
	}
	heap_leave(h);
	return wrong ? -EBADMSG : 0;
}
PROCLET_METHOD(heap_check);

static ssize_t account(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	if (out_cap != sizeof(struct inhabitant))
		return -EINVAL;
	memcpy(out, root, sizeof(struct inhabitant));
	return sizeof(struct inhabitant);
}
PROCLET_METHOD(account);

/* ---- what the root knows of them ---- */

/**
 * struct life - of one proclet
 * @id: .
 * @refs: slots and actions that use it
 * @in_use: held for reading by actions, for writing by who ends it in peace
 * @dead: it is being destroyed; from now on -ESTALE is right
 * @unsure: an action on it failed, and may have been counted or not
 * @added: what it should have counted
 * @visits: the same
 */
struct life {
	proclet_t id;
	unsigned int refs;
	pthread_rwlock_t in_use;
	bool dead;
	bool unsure;
	__u64 added;
	__u64 visits;
};

static struct {
	pthread_mutex_t lock;
	struct life *life;
} slots[SLOTS];

static struct stress_worker {
	pthread_t thread;
	unsigned int number;
	__u64 done;
	bool failed;
	unsigned char *in;
	unsigned char *out;
} workers[WORKERS_MAX];

static __u64 seed;
static unsigned int nworkers;
static bool enough;

static struct life *life_get(unsigned int slot)
{
	struct life *l;

	pthread_mutex_lock(&slots[slot].lock);
	l = slots[slot].life;
	if (l)
		__atomic_add_fetch(&l->refs, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&slots[slot].lock);
	if (l)
		pthread_rwlock_rdlock(&l->in_use);
	return l;
}

static void life_drop(struct life *l)
{
	if (__atomic_sub_fetch(&l->refs, 1, __ATOMIC_ACQ_REL))
		return;
	pthread_rwlock_destroy(&l->in_use);
	free(l);
}

static void life_put(struct life *l)
{
	pthread_rwlock_unlock(&l->in_use);
	life_drop(l);
}

static bool is_dead(struct life *l)
{
	return __atomic_load_n(&l->dead, __ATOMIC_ACQUIRE);
}

static void counted(struct life *l, __u64 added, __u64 visits)
{
	__atomic_add_fetch(&l->added, added, __ATOMIC_RELAXED);
	__atomic_add_fetch(&l->visits, visits, __ATOMIC_RELAXED);
}

static int new_life(unsigned int slot, __u64 *state)
{
	struct proclet_attr attr = {
		.capacity = (4 * MIB) << next_random(state) % 3,
		.node = nodes[next_random(state) % node_count],
		.root_size = sizeof(struct inhabitant),
	};
	struct life *l = calloc(1, sizeof(*l));

	CHECK(l);
	CHECK_EQ(proclet_create(&l->id, &attr), 0);
	pthread_rwlock_init(&l->in_use, NULL);
	l->refs = 1;
	pthread_mutex_lock(&slots[slot].lock);
	slots[slot].life = l;
	pthread_mutex_unlock(&slots[slot].lock);
	return KSFT_PASS;
}

/* Nobody else uses it. */
static int life_went_well(struct life *l)
{
	struct inhabitant h;
	struct order o = { 0 };

	CHECK_EQ(proclet_call(l->id, heap_check, &o, sizeof(o), NULL, 0), 0);
	CHECK_EQ(proclet_call(l->id, account, NULL, 0, &h, sizeof(h)), sizeof(h));
	CHECK_EQ(h.wrong, 0);
	if (!l->unsure) {
		CHECK_EQ(h.visits, l->visits + 1);
		CHECK_EQ(h.added, l->added);
	}
	return KSFT_PASS;
}

/* ---- actions ---- */

/* With results as of a test; @state: the action's own random numbers. */
typedef int (*action_fn)(struct stress_worker *w, __u64 *state);

static struct order *order_new(struct stress_worker *w, __u64 *state)
{
	struct order *o = (struct order *)w->in;

	memset(o, 0, sizeof(*o));
	o->seed = next_random(state);
	o->n = next_random(state) % 1000;
	return o;
}

/* An action that failed, because its proclet was destroyed meanwhile? */
static bool excused(struct life *l, ssize_t ret)
{
	if (ret != -ESTALE || !is_dead(l))
		return false;
	l->unsure = true;
	return true;
}

/* Sizes of all orders of magnitude. */
static size_t any_size(__u64 *state, size_t max)
{
	size_t n = next_random(state) % ((size_t)1 << next_random(state) % 21);

	return n < max ? n : max;
}

static int do_exchange(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_get(next_random(state) % SLOTS);
	struct order *o = order_new(w, state);
	size_t len = any_size(state, MIB - sizeof(*o));
	int ret = KSFT_PASS;
	ssize_t n;

	o->out_len = any_size(state, MIB);
	if (!l)
		return KSFT_PASS;
	pattern(o->bytes, len, o->seed);
	n = proclet_call(l->id, exchange, o, sizeof(*o) + len, w->out, o->out_len);
	if (n == (ssize_t)o->out_len) {
		counted(l, o->n, 1);
		if (!has_pattern(w->out, o->out_len, o->seed + 1)) {
			diag("wrong bytes in a result of %llu", o->out_len);
			ret = KSFT_FAIL;
		}
	} else if (!excused(l, n)) {
		diag("exchange of %zu and %llu bytes: %zd", len, o->out_len, n);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}

static int do_chain(struct stress_worker *w, __u64 *state)
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
	if (len == -ESTALE && dead) {
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
		diag("chain of %u calls through %u proclets: %zd, value %llx, expected %llx",
		     o->left + 1, o->count, len, value, expected);
		ret = KSFT_FAIL;
	}
out:
	for (unsigned int i = 0; i < o->count; i++)
		life_put(lives[i]);
	return ret;
}

static int do_compute(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_get(next_random(state) % SLOTS);
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
		diag("series of %llu: %zd, %a, expected %a", o->n, n, value, expected);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}

static int do_stay(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_get(next_random(state) % SLOTS);
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
		diag("pinned: %zd", n);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}

/* Errors that a migration may end with while others are at work. */
static bool may_stay(int err)
{
	return !err || err == -EBUSY;
}

static int do_go(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_get(next_random(state) % SLOTS);
	struct order *o = order_new(w, state);
	int ret = KSFT_PASS;
	ssize_t n;

	o->node = nodes[next_random(state) % node_count];
	if (!l)
		return KSFT_PASS;
	n = proclet_call(l->id, go, o, sizeof(*o), NULL, 0);
	if (may_stay(n)) {
		counted(l, o->n, 1);
	} else if (!excused(l, n)) {
		diag("moving itself to %u: %zd", o->node, n);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}

static int migrate(struct life *l, int node)
{
	int err = proclet_migrate(l->id, node, 0);

	if (may_stay(err) || excused(l, err))
		return KSFT_PASS;
	diag("migration of %llx to %d: %d (-%s)", l->id, node, err, strerrorname_np(-err));
	return KSFT_FAIL;
}

static int do_migrate(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_get(next_random(state) % SLOTS);
	int node = nodes[next_random(state) % node_count], ret;

	(void)w;
	if (!l)
		return KSFT_PASS;
	ret = migrate(l, node);
	life_put(l);
	return ret;
}

/* Several, to the same node. */
static int do_gather(struct stress_worker *w, __u64 *state)
{
	unsigned int first = next_random(state) % SLOTS, n = 2 + next_random(state) % 6;
	int node = nodes[next_random(state) % node_count], ret = KSFT_PASS;

	(void)w;
	for (unsigned int i = 0; ret == KSFT_PASS && i < n; i++) {
		struct life *l = life_get((first + i) % SLOTS);

		if (!l)
			continue;
		ret = migrate(l, node);
		life_put(l);
	}
	return ret;
}

static int do_locate(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_get(next_random(state) % SLOTS);
	int ret = KSFT_PASS, at;

	(void)w;
	if (!l)
		return KSFT_PASS;
	at = proclet_locate(l->id);
	if (!excused(l, at)) {
		ret = KSFT_FAIL;
		for (int i = 0; i < node_count; i++)
			if (nodes[i] == at)
				ret = KSFT_PASS;
	}
	if (ret != KSFT_PASS)
		diag("%llx is on %d", l->id, at);
	life_put(l);
	return ret;
}

static int heap_action(struct stress_worker *w, struct life *l, proclet_method_t method,
		       struct order *o)
{
	int ret = KSFT_PASS;
	ssize_t n;

	(void)w;
	if (!l)
		return KSFT_PASS;
	n = proclet_call(l->id, method, o, sizeof(*o), NULL, 0);
	if (!n || n == -EAGAIN || (n == -ENOMEM && method == heap_grow)) {
		counted(l, 0, 1);
	} else if (!excused(l, n)) {
		diag("heap of %llx: %zd", l->id, n);
		ret = KSFT_FAIL;
	}
	life_put(l);
	return ret;
}

static int do_heap_grow(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_get(next_random(state) % SLOTS);
	struct order *o = order_new(w, state);

	o->n = any_size(state, MIB) / sizeof(__u64);
	return heap_action(w, l, heap_grow, o);
}

static int do_heap_check(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_get(next_random(state) % SLOTS);
	struct order *o = order_new(w, state);

	o->n = next_random(state) % 3;
	return heap_action(w, l, heap_check, o);
}

/* Ended when nobody uses it: then all of it must be right. Another one follows. */
static int do_end(struct stress_worker *w, __u64 *state)
{
	unsigned int slot = next_random(state) % SLOTS;
	struct life *l;
	int ret;

	(void)w;
	pthread_mutex_lock(&slots[slot].lock);
	l = slots[slot].life;
	if (l && pthread_rwlock_trywrlock(&l->in_use))
		l = NULL;
	else
		slots[slot].life = NULL;
	pthread_mutex_unlock(&slots[slot].lock);
	if (!l)
		return KSFT_PASS;
	ret = life_went_well(l);
	if (ret == KSFT_PASS) {
		int err = proclet_destroy(l->id);

		if (err) {
			diag("destroying %llx: %d", l->id, err);
			ret = KSFT_FAIL;
		}
	}
	/* Those who came for it while it ended find this. */
	__atomic_store_n(&l->dead, true, __ATOMIC_RELEASE);
	life_put(l);
	return ret == KSFT_PASS ? new_life(slot, state) : ret;
}

/* Destroyed while others use it; they get the right result or -ESTALE. */
static int do_kill(struct stress_worker *w, __u64 *state)
{
	unsigned int slot = SLOTS - 1 - next_random(state) % DOOMED;
	struct life *l;
	int err;

	(void)w;
	pthread_mutex_lock(&slots[slot].lock);
	l = slots[slot].life;
	slots[slot].life = NULL;
	pthread_mutex_unlock(&slots[slot].lock);
	if (!l)
		return KSFT_PASS;
	__atomic_store_n(&l->dead, true, __ATOMIC_RELEASE);
	err = proclet_destroy(l->id);
	life_drop(l);
	if (err) {
		diag("killing %llx: %d", l->id, err);
		return KSFT_FAIL;
	}
	return new_life(slot, state);
}

static const struct action {
	const char *name;
	action_fn fn;
	unsigned int weight;
} actions[] = {
	{ "exchange", do_exchange, 20 },
	{ "chain", do_chain, 15 },
	{ "compute", do_compute, 10 },
	{ "stay", do_stay, 4 },
	{ "go", do_go, 6 },
	{ "migrate", do_migrate, 12 },
	{ "gather", do_gather, 2 },
	{ "locate", do_locate, 4 },
	{ "heap_grow", do_heap_grow, 10 },
	{ "heap_check", do_heap_check, 8 },
	{ "end", do_end, 3 },
	{ "kill", do_kill, 2 },
};

static __u64 times[ARRAY_SIZE(actions)];

/* ---- the run ---- */

static unsigned int choose(__u64 *state)
{
	unsigned int sum = 0, at;

	for (unsigned int i = 0; i < ARRAY_SIZE(actions); i++)
		sum += actions[i].weight;
	at = next_random(state) % sum;
	for (unsigned int i = 0; i < ARRAY_SIZE(actions); i++) {
		if (at < actions[i].weight)
			return i;
		at -= actions[i].weight;
	}
	return 0;
}

static void *work(void *arg)
{
	struct stress_worker *w = arg;

	while (!w->failed && !__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		/* From the seed alone, whatever came of the actions before. */
		__u64 state = mix(mix(seed, w->number + 1), w->done + 1);
		unsigned int i = choose(&state);

		if (actions[i].fn(w, &state) != KSFT_PASS) {
			diag("seed %llu, thread %u, action %llu: %s", seed, w->number, w->done,
			     actions[i].name);
			w->failed = true;
		}
		__atomic_add_fetch(&times[i], 1, __ATOMIC_RELAXED);
		w->done++;
	}
	return NULL;
}

static int everything(void)
{
	unsigned int seconds = env_number("PROCLET_TEST_SECONDS", 60);
	const struct timespec tick = { 0, 20000000 };
	struct timespec now, end;
	__u64 state = seed, done = 0;
	bool failed = false;

	diag("seed %llu", seed);
	TRY(tap_nodes(2));
	nworkers = env_number("PROCLET_TEST_WORKERS", 12);
	if (nworkers > WORKERS_MAX)
		nworkers = WORKERS_MAX;
	for (unsigned int i = 0; i < SLOTS; i++) {
		pthread_mutex_init(&slots[i].lock, NULL);
		TRY(new_life(i, &state));
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += seconds;
	for (unsigned int i = 0; i < nworkers; i++) {
		struct stress_worker *w = &workers[i];

		w->number = i;
		w->in = malloc(MIB + 4096);
		w->out = malloc(MIB + 4096);
		CHECK(w->in && w->out);
		CHECK_EQ(pthread_create(&w->thread, NULL, work, w), 0);
	}
	do {
		nanosleep(&tick, NULL);
		for (unsigned int i = 0; i < nworkers; i++)
			failed |= __atomic_load_n(&workers[i].failed, __ATOMIC_RELAXED);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (!failed && (now.tv_sec < end.tv_sec ||
			     (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec)));
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < nworkers; i++) {
		pthread_join(workers[i].thread, NULL);
		done += workers[i].done;
	}
	diag("%llu actions by %u threads", done, nworkers);
	for (unsigned int i = 0; i < ARRAY_SIZE(actions); i++)
		diag("%-12s %llu", actions[i].name, times[i]);
	CHECK(!failed);
	for (unsigned int i = 0; i < ARRAY_SIZE(actions); i++)
		CHECK_GE(times[i], 1);
	for (unsigned int i = 0; i < SLOTS; i++) {
		CHECK(slots[i].life);
		TRY(life_went_well(slots[i].life));
		CHECK_EQ(proclet_destroy(slots[i].life->id), 0);
	}
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	{ "everything", everything, 1200 },
};

static int root(int argc, char **argv)
{
	const char *given = getenv("PROCLET_TEST_SEED");
	struct timespec ts;
	char *end;

	if (argc > 1 && *argv[1]) {
		strtoull(argv[1], &end, 0);
		if (!*end) {
			given = argv[1];
			argv++;
			argc--;
		}
	}
	if (given && *given) {
		seed = strtoull(given, NULL, 0);
	} else {
		clock_gettime(CLOCK_REALTIME, &ts);
		seed = mix(ts.tv_sec, ts.tv_nsec) % 1000000000;
	}
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("stress", root, argc, argv);
}
