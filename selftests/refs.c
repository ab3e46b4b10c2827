// SPDX-License-Identifier: GPL-2.0
/*
 * References, names, and ids as values: counted exactly from all nodes while
 * everything moves, and the same wherever they are looked at.
 *
 * The member with the highest node id joins only when the root lets it: until then
 * it waits in another logical process, the gate.
 */
#include "tap.h"
#include "mover.h"
#include "raw.h"

#include <stdint.h>

#define GATE "refs-gate"

struct object {
	volatile __u64 value;
	volatile __u64 started;
	void *block;
	proclet_t *kept;
	__u64 nkept;
};

/* One that acts on each node, index as in nodes[]. */
static proclet_t agents[32];

/* ---- methods ---- */

static ssize_t add(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct object *o = root;
	__u64 n = 1;

	if (in_len == sizeof(n))
		memcpy(&n, in, sizeof(n));
	n = __atomic_add_fetch(&o->value, n, __ATOMIC_RELAXED);
	if (out_cap >= sizeof(n))
		memcpy(out, &n, sizeof(n));
	return sizeof(n);
}
PROCLET_METHOD(add);

/* In: bytes to allot and touch. */
static ssize_t fill(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct object *o = root;
	__u64 size;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(size))
		return -EINVAL;
	memcpy(&size, in, sizeof(size));
	o->block = proclet_malloc(size);
	if (!o->block)
		return -ENOMEM;
	memset(o->block, 0x5a, size);
	return 0;
}
PROCLET_METHOD(fill);

/* Until the value of another proclet is not 0. */
static ssize_t linger(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct object *o = root;
	const unsigned char *block = o->block;
	__u64 zero = 0, value = 0;
	proclet_t flag;
	ssize_t ret;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(flag))
		return -EINVAL;
	memcpy(&flag, in, sizeof(flag));
	o->started = 1;
	do {
		ret = proclet_call(flag, add, &zero, sizeof(zero), &value, sizeof(value));
	} while (ret == sizeof(value) && !value);
	if (ret < 0)
		return ret;
	return block[4096] == 0x5a ? 77 : -EIO;
}
PROCLET_METHOD(linger);

/* Give the last reference to itself back, and go on. */
static ssize_t put_self(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct object *o = root;
	proclet_t self = proclet_self();
	int ret = proclet_put(self);

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	if (ret)
		return ret;
	ret = proclet_get(self);
	if (ret != -ESTALE)
		return -EPROTO;
	o->value++;
	o->block = proclet_malloc(1 << 20);
	return o->block ? (ssize_t)o->value : -ENOMEM;
}
PROCLET_METHOD(put_self);

/* What an agent does with the proclet and the name it is given. */
enum what { GET, PUT, CALL, PUBLISH, LOOKUP, UNPUBLISH, HAMMER, LOCATE };

struct order {
	__u32 what;
	__u32 count;
	proclet_t p;
	char name[100];
};

/* @count references more at the end, and many to and fro. */
static int hammer(proclet_t p, unsigned int count)
{
	__u64 state = count + 1, held = 0;
	unsigned int i = 0;
	int ret = 0;

	while (!ret && (i < 20 * count || held != count)) {
		if (i < 20 * count ? held && next_random(&state) % 2 : held > count) {
			ret = proclet_put(p);
			held--;
		} else {
			ret = proclet_get(p);
			held++;
		}
		i++;
	}
	return ret;
}

static ssize_t carry_out(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct order o;
	proclet_t p = 0;
	ssize_t ret;

	(void)root;
	if (in_len != sizeof(o))
		return -EINVAL;
	memcpy(&o, in, sizeof(o));
	switch (o.what) {
	case GET:
		return proclet_get(o.p);
	case PUT:
		return proclet_put(o.p);
	case CALL:
		return proclet_call(o.p, add, NULL, 0, NULL, 0);
	case LOCATE:
		return proclet_locate(o.p);
	case HAMMER:
		return hammer(o.p, o.count);
	case PUBLISH:
		return proclet_publish(o.name, o.p);
	case UNPUBLISH:
		return proclet_unpublish(o.name);
	case LOOKUP:
		ret = proclet_lookup(o.name, &p);
		if (ret || out_cap < sizeof(p))
			return ret;
		memcpy(out, &p, sizeof(p));
		return sizeof(p);
	}
	return -EINVAL;
}
PROCLET_METHOD(carry_out);

static ssize_t order(int node, enum what what, proclet_t p, const char *name, proclet_t *found)
{
	struct order o = { .what = what, .p = p };
	ssize_t ret;

	if (name)
		snprintf(o.name, sizeof(o.name), "%s", name);
	ret = proclet_call(agents[node], carry_out, &o, sizeof(o), found,
			   found ? sizeof(*found) : 0);
	return found && ret == sizeof(*found) ? 0 : ret;
}

/* ---- ids in a heap ---- */

static ssize_t keep(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct object *o = root;
	proclet_t *kept = proclet_malloc(in_len);

	(void)out;
	(void)out_cap;
	if (!kept)
		return -ENOMEM;
	memcpy(kept, in, in_len);
	o->kept = kept;
	o->nkept = in_len / sizeof(*kept);
	return o->nkept;
}
PROCLET_METHOD(keep);

/* Call all that it keeps; its thread and they may move at any time. */
static ssize_t call_kept(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct object *o = root;
	ssize_t ret;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	for (__u64 i = 0; i < o->nkept; i++) {
		ret = proclet_call(o->kept[i], add, NULL, 0, NULL, 0);
		if (ret != sizeof(__u64))
			return ret < 0 ? ret : -EPROTO;
	}
	return o->nkept;
}
PROCLET_METHOD(call_kept);

/* ---- the root's part ---- */

static int gate = -1;

static __u64 run_number(void)
{
	const char *run = getenv("PROCLET_RUN");

	return run ? strtoull(run, NULL, 16) : 0;
}

/* Let the last member in, or send it away. */
static int open_gate(bool come)
{
	if (gate >= 0 || env_number("PROCLET_ALL", 1) < 2)
		return KSFT_PASS;
	gate = raw_open();
	CHECK_GE(gate, 0);
	CHECK_EQ(raw_join(gate, GATE, run_number()), 0);
	CHECK_EQ(raw_members(gate, 2, 60000, NULL), 0);
	CHECK_EQ(raw_exit(gate, come), 0);
	return KSFT_PASS;
}

/* Until all are there. */
static int all_nodes(int wanted)
{
	int all = env_number("PROCLET_ALL", 1);

	TRY(open_gate(true));
	while (lproc_nodes(nodes, ARRAY_SIZE(nodes)) < all)
		usleep(1000);
	return tap_nodes(wanted);
}

static int setup(void)
{
	TRY(all_nodes(2));
	for (int n = 0; n < node_count; n++)
		TRY(make(&agents[n], nodes[n], 4 << 20, sizeof(struct object)));
	return KSFT_PASS;
}

static int gone(proclet_t p)
{
	proclet_t q = 0;
	__u64 word = 0;

	CHECK_EQ(proclet_call(p, add, NULL, 0, NULL, 0), -ESTALE);
	CHECK_EQ(proclet_read(p, 0, &word, sizeof(word)), -ESTALE);
	CHECK_EQ(proclet_write(p, 0, &word, sizeof(word)), -ESTALE);
	CHECK_EQ(proclet_get(p), -ESTALE);
	CHECK_EQ(proclet_put(p), -ESTALE);
	CHECK_EQ(proclet_locate(p), -ESTALE);
	CHECK_EQ(proclet_destroy(p), -ESTALE);
	CHECK_EQ(proclet_publish("gone", p), -ESTALE);
	CHECK_EQ(proclet_lookup("gone", &q), -ENOENT);
	return KSFT_PASS;
}

static int gone_everywhere(proclet_t p)
{
	TRY(gone(p));
	for (int n = 0; n < node_count; n++) {
		CHECK_EQ(order(n, CALL, p, NULL, NULL), -ESTALE);
		CHECK_EQ(order(n, GET, p, NULL, NULL), -ESTALE);
		CHECK_EQ(order(n, PUT, p, NULL, NULL), -ESTALE);
		CHECK_EQ(order(n, LOCATE, p, NULL, NULL), -ESTALE);
	}
	return KSFT_PASS;
}

/* Names given and a proclet moved before a member joined: it finds all. */
static int late_member(void)
{
	proclet_t p, q, found = 0;
	int all = env_number("PROCLET_ALL", 1);
	struct proclet_attr attr = { 1 << 20, lproc_node(), 0, sizeof(struct object) };
	__u64 value;

	if (all < 2)
		SKIP("needs 2 nodes");
	CHECK_EQ(gate, -1);
	CHECK_EQ(lproc_nodes(nodes, ARRAY_SIZE(nodes)), all - 1);
	TRY(tap_nodes(1));
	CHECK_EQ(proclet_create(&p, &attr), 0);
	CHECK_EQ(proclet_create(&q, &attr), 0);
	CHECK_EQ(proclet_publish("early", p), 0);
	CHECK_EQ(proclet_publish("early too", q), 0);
	CHECK_EQ(proclet_publish("short-lived", q), 0);
	CHECK_EQ(proclet_unpublish("short-lived"), 0);
	if (node_count > 1)
		CHECK_EQ(proclet_migrate(p, nodes[1], 0), 0);

	TRY(all_nodes(2));
	for (int n = 0; n < node_count; n++)
		TRY(make(&agents[n], nodes[n], 4 << 20, sizeof(struct object)));
	for (int n = 0; n < node_count; n++) {
		CHECK_EQ(order(n, LOOKUP, 0, "early", &found), 0);
		CHECK_EQ(found, p);
		CHECK_EQ(order(n, CALL, found, NULL, NULL), 8);
		CHECK_EQ(order(n, LOOKUP, 0, "early too", &found), 0);
		CHECK_EQ(found, q);
		CHECK_EQ(order(n, LOOKUP, 0, "short-lived", &found), -ENOENT);
	}
	CHECK_EQ(proclet_call(p, add, NULL, 0, &value, sizeof(value)), 8);
	CHECK_EQ(value, node_count + 1);
	CHECK_EQ(proclet_put(p), 0);
	CHECK_EQ(proclet_put(q), 0);
	for (int n = 0; n < node_count; n++) {
		CHECK_EQ(order(n, LOOKUP, 0, "early", &found), -ENOENT);
		CHECK_EQ(order(n, LOOKUP, 0, "early too", &found), -ENOENT);
	}
	return KSFT_PASS;
}

static int counted(void)
{
	proclet_t p;

	TRY(setup());
	for (int n = 0; n < node_count; n++) {
		TRY(make(&p, nodes[n], 1 << 20, sizeof(struct object)));
		for (int i = 0; i < 5; i++)
			CHECK_EQ(order(i % node_count, GET, p, NULL, NULL), 0);
		for (int i = 0; i < 5; i++) {
			CHECK_EQ(proclet_call(p, add, NULL, 0, NULL, 0), 8);
			CHECK_EQ(proclet_put(p), 0);
		}
		CHECK_EQ(proclet_call(p, add, NULL, 0, NULL, 0), 8);
		CHECK_EQ(order(node_count - 1 - n, PUT, p, NULL, NULL), 0);
		TRY(gone_everywhere(p));
	}
	for (int i = 0; i < 4; i++) {
		proclet_t ids[] = { 0, ~0ULL, 1, agents[0] + (1ULL << 32) };

		CHECK_EQ(proclet_get(ids[i]), -ESTALE);
		CHECK_EQ(proclet_put(ids[i]), -ESTALE);
	}
	return KSFT_PASS;
}

/* The count goes where the proclet goes. */
static int counted_after_moves(void)
{
	proclet_t p;

	TRY(setup());
	TRY(make(&p, nodes[0], 1 << 20, sizeof(struct object)));
	for (int i = 0; i < 6; i++) {
		CHECK_EQ(proclet_get(p), 0);
		CHECK_EQ(proclet_migrate(p, nodes[(i + 1) % node_count], 0), 0);
	}
	for (int i = 0; i < 6; i++) {
		CHECK_EQ(order(i % node_count, PUT, p, NULL, NULL), 0);
		CHECK_EQ(proclet_migrate(p, nodes[i % node_count], 0), 0);
		CHECK_EQ(proclet_call(p, add, NULL, 0, NULL, 0), 8);
	}
	CHECK_EQ(proclet_put(p), 0);
	TRY(gone_everywhere(p));
	return KSFT_PASS;
}

static int destroyed_anyway(void)
{
	proclet_t p;

	TRY(setup());
	for (int n = 0; n < node_count; n++) {
		TRY(make(&p, nodes[n], 1 << 20, sizeof(struct object)));
		for (int i = 0; i < 3; i++)
			CHECK_EQ(proclet_get(p), 0);
		CHECK_EQ(proclet_destroy(p), 0);
		TRY(gone_everywhere(p));
	}
	return KSFT_PASS;
}

/* ---- concurrently ---- */

#define HAMMERS 8

static proclet_t target;
static unsigned int extra;	/* references that the hammers have left */

struct native {
	pthread_t thread;
	unsigned int count;
	int ret;
};

static void *native_hammer(void *arg)
{
	struct native *n = arg;

	n->ret = hammer(target, n->count);
	return NULL;
}

static int hammers(void)
{
	static struct native native[HAMMERS / 4];
	static struct order orders[HAMMERS];
	struct caller *c[HAMMERS];
	unsigned int rounds = 0;

	extra = 0;
	do {
		for (int i = 0; i < HAMMERS; i++) {
			orders[i] = (struct order) { .what = HAMMER, .count = 1 + i % 3,
						     .p = target };
			extra += 1 + i % 3;
			c[i] = caller_start(agents[i % node_count], carry_out, &orders[i],
					    sizeof(orders[i]), NULL, 0);
		}
		for (unsigned int i = 0; i < ARRAY_SIZE(native); i++) {
			native[i].count = 2;
			extra += 2;
			CHECK_EQ(pthread_create(&native[i].thread, NULL, native_hammer,
						&native[i]), 0);
		}
		for (unsigned int i = 0; i < ARRAY_SIZE(native); i++)
			pthread_join(native[i].thread, NULL);
		for (int i = 0; i < HAMMERS; i++)
			CHECK_EQ(caller_wait(c[i]), 0);
		for (unsigned int i = 0; i < ARRAY_SIZE(native); i++)
			CHECK_EQ(native[i].ret, 0);
		rounds++;
	} while (!movers_enough());
	diag("%u rounds, %llu moves, %u references left", rounds, movers_moved(), extra);
	return KSFT_PASS;
}

/* All but the last reference go, from everywhere, and it still lives. */
static int give_back(void)
{
	unsigned int i;

	for (i = 0; i < extra || !movers_enough(); i++) {
		if (i >= extra)
			CHECK_EQ(proclet_get(target), 0);
		CHECK_EQ(i % 4 ? order(i % node_count, PUT, target, NULL, NULL) :
			 proclet_put(target), 0);
		CHECK_EQ(proclet_call(target, add, NULL, 0, NULL, 0), 8);
	}
	return KSFT_PASS;
}

static int exact_end(void)
{
	proclet_t ids[33];

	TRY(setup());
	TRY(make(&target, nodes[1], 1 << 20, sizeof(struct object)));
	memcpy(ids, agents, sizeof(agents));
	ids[node_count] = target;
	TRY(moving(ids, node_count + 1, hammers));
	TRY(moving(ids, node_count + 1, give_back));
	CHECK_EQ(proclet_put(target), 0);
	TRY(gone_everywhere(target));
	return KSFT_PASS;
}

/* As many that take part in its end as there are references: one ends it. */
static int ends_once(void)
{
	unsigned int rounds = movers_wanted();
	static struct order orders[HAMMERS];
	struct caller *c[HAMMERS];

	TRY(setup());
	for (unsigned int round = 0; round < rounds; round++) {
		int done = 0, stale = 0;
		proclet_t p;

		TRY(make(&p, nodes[round % node_count], 1 << 20, sizeof(struct object)));
		for (int i = 0; i < HAMMERS - 3; i++)
			CHECK_EQ(proclet_get(p), 0);
		for (int i = 0; i < HAMMERS; i++) {
			orders[i] = (struct order) { .what = PUT, .p = p };
			c[i] = caller_start(agents[i % node_count], carry_out, &orders[i],
					    sizeof(orders[i]), NULL, 0);
		}
		proclet_migrate(p, nodes[(round + 1) % node_count], 0);
		for (int i = 0; i < HAMMERS; i++) {
			ssize_t ret = caller_wait(c[i]);

			done += !ret;
			stale += ret == -ESTALE;
		}
		CHECK_EQ(done, HAMMERS - 2);
		CHECK_EQ(stale, 2);
		TRY(gone(p));
		made_count--;
	}
	return KSFT_PASS;
}

static __s64 memory_of_all(void)
{
	struct proclet_stats s;
	__s64 sum = 0;

	for (int n = 0; n < node_count; n++)
		sum += lproc_stats(nodes[n], &s) ? INT64_MIN / 64 : (__s64)s.memory;
	return sum;
}

static int wait_started(proclet_t p)
{
	__u64 started = 0;

	while (!started)
		CHECK_EQ(proclet_read(p, offsetof(struct object, started), &started,
				      sizeof(started)), sizeof(started));
	return KSFT_PASS;
}

/* Has the call ended? */
static bool wait_over(struct caller *c)
{
	if (pthread_tryjoin_np(c->thread, NULL))
		return false;
	c->started = false;
	return true;
}

/* The method that runs in it goes on to its end; then the memory is back. */
static int last_put_waits(void)
{
	const __u64 size = 24 << 20, slack = 4 << 20;

	TRY(setup());
	for (int n = 0; n < 2 * node_count; n++) {
		__s64 before = memory_of_all();
		proclet_t p, flag;
		struct caller *c;

		TRY(make(&flag, nodes[0], 1 << 20, sizeof(struct object)));

		TRY(make(&p, nodes[n % node_count], 32 << 20, sizeof(struct object)));
		CHECK_EQ(proclet_get(p), 0);
		CHECK_EQ(proclet_call(p, fill, &size, sizeof(size), NULL, 0), 0);
		CHECK_GE(memory_of_all(), before + size);
		c = caller_start(p, linger, &flag, sizeof(flag), NULL, 0);
		TRY(wait_started(p));
		CHECK_EQ(proclet_put(p), 0);
		if (n >= node_count)
			CHECK_EQ(proclet_migrate(p, nodes[(n + 1) % node_count], 0), 0);
		CHECK_EQ(proclet_call(p, add, NULL, 0, NULL, 0), 8);
		CHECK_EQ(order(1, PUT, p, NULL, NULL), 0);
		TRY(gone_everywhere(p));
		CHECK_EQ(wait_over(c), 0);
		CHECK_GE(memory_of_all(), before + size);
		CHECK_EQ(proclet_call(flag, add, NULL, 0, NULL, 0), 8);
		CHECK_EQ(caller_wait(c), 77);
		TRY(gone_everywhere(p));
		/* Given back behind the reply. */
		while (memory_of_all() > before + (__s64)slack)
			usleep(1000);
		made_count -= 2;
		CHECK_EQ(proclet_put(flag), 0);
	}
	return KSFT_PASS;
}

static int last_put_inside(void)
{
	TRY(setup());
	for (int n = 0; n < 4 * node_count; n++) {
		proclet_t p;

		TRY(make(&p, nodes[n % node_count], 4 << 20, sizeof(struct object)));
		if (n % 2)
			CHECK_EQ(proclet_migrate(p, nodes[(n + 1) % node_count], 0), 0);
		CHECK_EQ(proclet_call(p, put_self, NULL, 0, NULL, 0), 1);
		TRY(gone_everywhere(p));
	}
	return KSFT_PASS;
}

/* ---- ids as values ---- */

#define KEPT 12

static proclet_t kept[KEPT], books[2];
static __u64 calls;

static int call_through_books(void)
{
	calls = 0;
	do {
		for (int b = 0; b < 2; b++) {
			CHECK_EQ(proclet_call(books[b], call_kept, NULL, 0, NULL, 0), KEPT);
			calls++;
		}
		for (int n = 0; n < node_count; n++)
			for (int i = 0; i < KEPT; i++)
				CHECK_EQ(order(n, CALL, kept[i], NULL, NULL), 8);
		calls += node_count;
	} while (!movers_enough());
	return KSFT_PASS;
}

static int ids_are_values(void)
{
	proclet_t ids[KEPT + 2];
	__u64 zero = 0, value;

	TRY(setup());
	for (int i = 0; i < KEPT; i++)
		TRY(make(&kept[i], nodes[i % node_count], 1 << 20, sizeof(struct object)));
	for (int b = 0; b < 2; b++) {
		TRY(make(&books[b], nodes[b], 1 << 20, sizeof(struct object)));
		CHECK_EQ(proclet_call(books[b], keep, kept, sizeof(kept), NULL, 0), KEPT);
	}
	/* The heap that keeps them on each node, and called from there. */
	for (int n = 0; n < node_count; n++) {
		for (int b = 0; b < 2; b++) {
			CHECK_EQ(proclet_migrate(books[b], nodes[n], 0), 0);
			CHECK_EQ(proclet_call(books[b], call_kept, NULL, 0, NULL, 0), KEPT);
		}
	}
	for (int i = 0; i < KEPT; i++) {
		CHECK_EQ(proclet_call(kept[i], add, &zero, sizeof(zero), &value, sizeof(value)),
			 8);
		CHECK_EQ(value, 2 * node_count);
	}
	memcpy(ids, kept, sizeof(kept));
	memcpy(ids + KEPT, books, sizeof(books));
	TRY(moving(ids, KEPT + 2, call_through_books));
	for (int i = 0; i < KEPT; i++) {
		CHECK_EQ(proclet_call(kept[i], add, &zero, sizeof(zero), &value, sizeof(value)),
			 8);
		CHECK_EQ(value, 2 * node_count + calls);
	}
	return KSFT_PASS;
}

/* ---- names ---- */

static int names_everywhere(void)
{
	proclet_t found;
	char name[64];

	do {
		for (int n = 0; n < node_count; n++) {
			snprintf(name, sizeof(name), "of node %d", nodes[n]);
			CHECK_EQ(order(n, PUBLISH, agents[n], name, NULL), 0);
			for (int m = 0; m < node_count; m++) {
				CHECK_EQ(order(m, PUBLISH, agents[m], name, NULL), -EEXIST);
				found = 0;
				CHECK_EQ(order(m, LOOKUP, 0, name, &found), 0);
				CHECK_EQ(found, agents[n]);
			}
			found = 0;
			CHECK_EQ(proclet_lookup(name, &found), 0);
			CHECK_EQ(found, agents[n]);
			CHECK_EQ(order((n + 1) % node_count, UNPUBLISH, 0, name, NULL), 0);
			for (int m = 0; m < node_count; m++) {
				CHECK_EQ(order(m, LOOKUP, 0, name, &found), -ENOENT);
				CHECK_EQ(order(m, UNPUBLISH, 0, name, NULL), -ENOENT);
			}
		}
	} while (!movers_enough());
	return KSFT_PASS;
}

static int names(void)
{
	TRY(setup());
	TRY(moving(agents, node_count, names_everywhere));
	/* Several of one proclet; from a native thread too. */
	CHECK_EQ(proclet_publish("a", agents[1]), 0);
	CHECK_EQ(proclet_publish("b", agents[1]), 0);
	CHECK_EQ(proclet_publish("a", agents[1]), -EEXIST);
	CHECK_EQ(proclet_unpublish("a"), 0);
	CHECK_EQ(proclet_unpublish("a"), -ENOENT);
	CHECK_EQ(proclet_unpublish("b"), 0);
	return KSFT_PASS;
}

static int bad_names(void)
{
	char longest[64], too_long[65], again[64];
	proclet_t p = 7;

	TRY(setup());
	memset(longest, 'x', 63);
	longest[63] = 0;
	memset(too_long, 'x', 64);
	too_long[64] = 0;
	strcpy(again, longest);
	again[62] = 'y';

	CHECK_EQ(proclet_publish("", agents[0]), -EINVAL);
	CHECK_EQ(proclet_publish(NULL, agents[0]), -EINVAL);
	CHECK_EQ(proclet_publish(too_long, agents[0]), -EINVAL);
	CHECK_EQ(proclet_lookup("", &p), -EINVAL);
	CHECK_EQ(proclet_lookup(NULL, &p), -EINVAL);
	CHECK_EQ(proclet_lookup(too_long, &p), -EINVAL);
	CHECK_EQ(proclet_unpublish(""), -EINVAL);
	CHECK_EQ(proclet_unpublish(NULL), -EINVAL);
	CHECK_EQ(proclet_unpublish(too_long), -EINVAL);
	CHECK_EQ(proclet_lookup("nobody's", &p), -ENOENT);
	CHECK_EQ(p, 7);
	CHECK_EQ(proclet_publish("none", 0), -ESTALE);
	CHECK_EQ(proclet_publish("none", ~0ULL), -ESTALE);
	CHECK_EQ(proclet_publish("none", agents[0] + (1ULL << 32)), -ESTALE);
	CHECK_EQ(proclet_lookup("none", &p), -ENOENT);

	CHECK_EQ(proclet_publish(longest, agents[0]), 0);
	CHECK_EQ(proclet_lookup(again, &p), -ENOENT);
	CHECK_EQ(proclet_publish(again, agents[1]), 0);
	CHECK_EQ(proclet_lookup(longest, &p), 0);
	CHECK_EQ(p, agents[0]);
	CHECK_EQ(proclet_lookup(again, &p), 0);
	CHECK_EQ(p, agents[1]);
	CHECK_EQ(proclet_unpublish(longest), 0);
	CHECK_EQ(proclet_unpublish(again), 0);
	/* Any bytes will do. */
	CHECK_EQ(proclet_publish("\xff\x01\n \x7f", agents[0]), 0);
	CHECK_EQ(order(1, LOOKUP, 0, "\xff\x01\n \x7f", &p), 0);
	CHECK_EQ(p, agents[0]);
	CHECK_EQ(proclet_unpublish("\xff\x01\n \x7f"), 0);
	return KSFT_PASS;
}

/* A name is no reference; it ends with its proclet. */
static int names_of_the_dead(void)
{
	proclet_t p, q, found;

	TRY(setup());
	for (int n = 0; n < 2 * node_count; n++) {
		TRY(make(&p, nodes[n % node_count], 1 << 20, sizeof(struct object)));
		TRY(make(&q, nodes[(n + 1) % node_count], 1 << 20, sizeof(struct object)));
		CHECK_EQ(proclet_publish("mortal", p), 0);
		CHECK_EQ(proclet_publish("mortal too", p), 0);
		if (n >= node_count)
			CHECK_EQ(proclet_migrate(p, nodes[(n + 1) % node_count], 0), 0);
		CHECK_EQ(proclet_publish("mortal", q), -EEXIST);
		CHECK_EQ(proclet_put(p), 0);
		TRY(gone(p));
		CHECK_EQ(order(n % node_count, LOOKUP, 0, "mortal too", &found), -ENOENT);
		CHECK_EQ(proclet_unpublish("mortal too"), -ENOENT);
		CHECK_EQ(order(n % node_count, PUBLISH, q, "mortal", NULL), 0);
		CHECK_EQ(proclet_lookup("mortal", &found), 0);
		CHECK_EQ(found, q);
		CHECK_EQ(proclet_unpublish("mortal"), 0);
	}
	return KSFT_PASS;
}

/* Whoever is first has it, and nobody else. */
static int one_name_for_many(void)
{
	unsigned int rounds = 0;
	static struct order orders[HAMMERS];
	struct caller *c[HAMMERS];
	proclet_t found;

	do {
		int won = -1;

		for (int i = 0; i < HAMMERS; i++) {
			orders[i] = (struct order) { .what = PUBLISH, .p = agents[i % node_count],
						     .name = "the one" };
			c[i] = caller_start(orders[i].p, carry_out, &orders[i],
					    sizeof(orders[i]), NULL, 0);
		}
		for (int i = 0; i < HAMMERS; i++) {
			ssize_t ret = caller_wait(c[i]);

			if (ret != -EEXIST) {
				CHECK_EQ(ret, 0);
				CHECK_EQ(won, -1);
				won = i;
			}
		}
		CHECK_GE(won, 0);
		for (int n = 0; n < node_count; n++) {
			CHECK_EQ(order(n, LOOKUP, 0, "the one", &found), 0);
			CHECK_EQ(found, orders[won].p);
		}
		CHECK_EQ(order(rounds % node_count, UNPUBLISH, 0, "the one", NULL), 0);
		rounds++;
	} while (!movers_enough());
	return KSFT_PASS;
}

static int race_for_a_name(void)
{
	TRY(setup());
	return moving(agents, node_count, one_name_for_many);
}

static const char *numbered(unsigned int i)
{
	static char name[64];

	snprintf(name, sizeof(name), "name number %u", i);
	return name;
}

static int many_names(void)
{
	unsigned int had = 0;
	proclet_t found;
	int ret;

	TRY(setup());
	while (!(ret = proclet_publish(numbered(had), agents[had % 16 ? 0 : 1])))
		had++;
	CHECK_EQ(ret, -ENOSPC);
	CHECK_EQ(had, PROCLET_NAMES_MAX);
	CHECK_EQ(order(1, PUBLISH, agents[0], "one more", NULL), -ENOSPC);
	CHECK_EQ(proclet_publish(numbered(5), agents[0]), -EEXIST);
	for (unsigned int i = 0; i < had; i += 63) {
		CHECK_EQ(proclet_lookup(numbered(i), &found), 0);
		CHECK_EQ(found, agents[i % 16 ? 0 : 1]);
	}
	CHECK_EQ(order(1, UNPUBLISH, 0, numbered(had - 1), NULL), 0);
	CHECK_EQ(proclet_publish("one more", agents[0]), 0);
	CHECK_EQ(proclet_publish("and another", agents[0]), -ENOSPC);
	CHECK_EQ(proclet_unpublish("one more"), 0);
	for (unsigned int i = 0; i < had - 1; i += 64) {
		CHECK_EQ(proclet_unpublish(numbered(i)), 0);
		CHECK_EQ(proclet_lookup(numbered(i), &found), -ENOENT);
	}
	/* The others go with the member. */
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	TAP_TEST(late_member),		/* first: before the gate is open */
	TAP_TEST(counted),
	TAP_TEST(counted_after_moves),
	TAP_TEST(destroyed_anyway),
	{ "exact_end", exact_end, 600 },
	{ "ends_once", ends_once, 600 },
	TAP_TEST(last_put_waits),
	TAP_TEST(last_put_inside),
	{ "ids_are_values", ids_are_values, 600 },
	{ "names", names, 600 },
	TAP_TEST(bad_names),
	TAP_TEST(names_of_the_dead),
	{ "race_for_a_name", race_for_a_name, 600 },
	{ "many_names", many_names, 1800 },	/* last: does not tidy up */
};

static void end_lingering(proclet_t p)
{
	proclet_call(p, add, NULL, 0, NULL, 0);
}

static int root(int argc, char **argv)
{
	int ret;

	tap_stop = end_lingering;
	ret = tap_run(tests, ARRAY_SIZE(tests), argc, argv);
	/* Whoever still waits at the gate is not needed any more. */
	open_gate(false);
	return ret;
}

/* The member that comes late; false: it is not wanted. */
static bool wait_at_gate(void)
{
	struct proclet_manage m;
	int fd = raw_open(), ret;

	if (fd < 0 || raw_join(fd, GATE, run_number()))
		return false;
	do {
		memset(&m, 0, sizeof(m));
		m.size = sizeof(m);
		ret = raw_ioctl(fd, PROCLET_IOC_MANAGE, &m);
	} while (ret == -EINTR || (!ret && m.event != PROCLET_EVENT_EXIT));
	close(fd);
	return !ret && m.status;
}

int main(int argc, char **argv)
{
	unsigned int all = env_number("PROCLET_ALL", env_number("PROCLET_MEMBERS", 1));
	unsigned int node = env_number("PROCLET_NODE", 1);
	char number[16];

	/* Before the library executes the program again. */
	if (!getenv("PROCLET_ALL")) {
		snprintf(number, sizeof(number), "%u", all);
		setenv("PROCLET_ALL", number, 1);
		snprintf(number, sizeof(number), "%u", all > 1 ? all - 1 : 1);
		setenv("PROCLET_MEMBERS", number, 1);
		if (all > 1 && node == all && node != env_number("PROCLET_ROOT", 0) &&
		    !wait_at_gate())
			return 0;
	}
	return lproc_main("refs", root, argc, argv);
}
