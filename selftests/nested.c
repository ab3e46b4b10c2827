// SPDX-License-Identifier: GPL-2.0
/*
 * Chains of calls, each from within the one before, while the proclets of the
 * chain move: a thread goes with the proclet that it executes in, and its result
 * finds the caller wherever that is by then. Every result and every counter has
 * one right value, which the root works out without any call.
 */
#include "mover.h"

#include <fcntl.h>
#include <stdint.h>

#define MIB ((size_t)1 << 20)
#define LINKS_MAX 16
#define DEPTH_MAX 400
#define PAD_MAX 100000

/* A proclet that chains go through. */
struct link {
	__u64 entered;
	__u64 left;
	__u64 wrong;		/* locals that changed during a call */
	__u64 went;		/* returned on another node than entered */
};

/**
 * struct step - argument: the rest of a chain
 * @left: calls still to make
 * @count: of @ids
 * @at: of them, the one that is called
 * @flags: STEP_*
 * @burn: work before and after each call
 * @pad: bytes that follow and are returned, changed
 * @walk: random numbers that choose the way
 * @acc: what the chain has come to
 */
struct step {
	__u32 left;
	__u32 count;
	__u32 at;
	__u32 flags;
	__u32 burn;
	__u32 pad;
	__u64 walk;
	__u64 acc;
	proclet_t ids[LINKS_MAX];
	unsigned char bytes[];
};

#define STEP_IN_ORDER	1	/* else at random */
#define STEP_MOVES	2	/* the methods move proclets of the chain, too */

static __u64 mix(__u64 a, __u64 b)
{
	a = (a ^ b) * 0x9e3779b97f4a7c15ULL;
	return a ^ a >> 29;
}

static __u64 burn(__u64 state, __u32 n)
{
	while (n--)
		next_random(&state);
	return state;
}

static void go_on(struct step *s)
{
	s->left--;
	if (s->flags & STEP_IN_ORDER)
		s->at = (s->at + 1) % s->count;
	else
		s->at = next_random(&s->walk) % s->count;
}

static unsigned char pad_byte(__u64 acc, __u32 i)
{
	return acc + i * 3;
}

/* Move a proclet of the chain, perhaps this one; somebody else may be at it. */
static int move_one(const struct step *s, __u64 *random)
{
	int ids[32], n, ret;

	n = lproc_nodes(ids, 32);
	if (n < 1)
		return -EIO;
	ret = proclet_migrate(s->ids[next_random(random) % s->count],
			      ids[next_random(random) % n], 0);
	return ret == -EBUSY ? 0 : ret;
}

static ssize_t step(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct step *arg = in;
	struct link *l = root;
	struct step *s = NULL;
	__u64 acc, value = 0, random, *answer = NULL;
	int node = lproc_node(), err;
	proclet_t self = proclet_self();
	double third;
	size_t len;
	ssize_t ret;

	if (in_len < sizeof(*arg) || in_len != sizeof(*arg) + arg->pad)
		return -EINVAL;
	len = sizeof(value) + arg->pad;
	if (out_cap < len || arg->ids[arg->at] != self)
		return -EINVAL;
	__atomic_add_fetch(&l->entered, 1, __ATOMIC_RELAXED);
	for (__u32 i = 0; i < arg->pad; i++)
		if (arg->bytes[i] != pad_byte(arg->acc, i))
			return -EBADMSG;
	acc = burn(mix(arg->acc, arg->at), arg->burn);
	third = (double)(acc >> 11) / 3;
	__asm__("" : "+x" (third));
	random = acc;
	if (arg->flags & STEP_MOVES) {
		err = move_one(arg, &random);
		if (err)
			return err;
	}
	if (arg->left) {
		s = proclet_malloc(in_len);
		answer = proclet_malloc(len);
		if (!s || !answer)
			return -ENOMEM;
		memcpy(s, arg, sizeof(*s));
		s->acc = acc;
		for (__u32 i = 0; i < arg->pad; i++)
			s->bytes[i] = pad_byte(acc, i);
		go_on(s);
		ret = proclet_call(s->ids[s->at], step, s, in_len, answer, len);
		if (ret < 0)
			return ret;
		if ((size_t)ret != len)
			return -EPROTO;
		value = *answer;
		for (__u32 i = 0; i < arg->pad; i++)
			if (((unsigned char *)(answer + 1))[i] != pad_byte(value, i))
				return -EBADMSG;
		proclet_free(s);
		proclet_free(answer);
	}
	if (arg->flags & STEP_MOVES) {
		err = move_one(arg, &random);
		if (err)
			return err;
	}
	if (third != (double)(acc >> 11) / 3 || proclet_self() != self ||
	    arg->ids[arg->at] != self || root != l)
		__atomic_add_fetch(&l->wrong, 1, __ATOMIC_RELAXED);
	value = mix(burn(value, arg->burn), acc);
	memcpy(out, &value, sizeof(value));
	for (__u32 i = 0; i < arg->pad; i++)
		((unsigned char *)out)[sizeof(value) + i] = pad_byte(value, i);
	if (lproc_node() != node)
		__atomic_add_fetch(&l->went, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&l->left, 1, __ATOMIC_RELAXED);
	return len;
}
PROCLET_METHOD(step);

static ssize_t report(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	if (out_cap != sizeof(struct link))
		return -EINVAL;
	memcpy(out, root, sizeof(struct link));
	return sizeof(struct link);
}
PROCLET_METHOD(report);

struct hog {
	volatile __u32 stop;
	volatile __u32 runs;
};

static ssize_t run_hog(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct hog *h = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	h->runs = 1;
	while (!h->stop)
		;
	return 0;
}
PROCLET_METHOD(run_hog);

static ssize_t hog_runs(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return ((struct hog *)root)->runs;
}
PROCLET_METHOD(hog_runs);

/* In: a hog to call. */
static ssize_t call_hog(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	proclet_t hog;
	ssize_t ret;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(hog))
		return -EINVAL;
	memcpy(&hog, in, sizeof(hog));
	ret = proclet_call(hog, run_hog, NULL, 0, NULL, 0);
	return ret < 0 ? ret : 55 + ret;
}
PROCLET_METHOD(call_hog);

/* How soon waiters ask for their operations on this node, in ms; in: text. */
static ssize_t set_probe_ms(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	int fd = open("/sys/module/proclet/parameters/probe_ms", O_WRONLY | O_CLOEXEC);
	ssize_t ret;

	(void)root;
	(void)out;
	(void)out_cap;
	if (fd < 0)
		return -errno;
	ret = write(fd, in, in_len) == (ssize_t)in_len ? 0 : -errno;
	close(fd);
	return ret;
}
PROCLET_METHOD(set_probe_ms);

static ssize_t end_hog(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	((struct hog *)root)->stop = 1;
	return 0;
}
PROCLET_METHOD(end_hog);

static void end_hogs(proclet_t p)
{
	proclet_call(p, end_hog, NULL, 0, NULL, 0);
}

/* ---- the root's part ---- */

/**
 * struct plan - of a test
 * @proclets: in its chains
 * @least, @most: calls in a chain
 * @pad: most bytes of payload
 * @flags: STEP_*
 * @callers: at once; the first is the root itself
 * @movers: threads that move them
 * @spread: over all nodes at first; else all here
 * @chains: at least so many of each caller
 * @hogs: methods on each node that do nothing but run; the movers do not pause
 */
struct plan {
	unsigned int proclets;
	unsigned int least;
	unsigned int most;
	unsigned int pad;
	unsigned int flags;
	unsigned int callers;
	unsigned int movers;
	bool spread;
	unsigned int chains;
	unsigned int hogs;
};

static proclet_t links[LINKS_MAX];
static __u64 visits[LINKS_MAX];
static bool enough;

#define CALLERS_MAX 32

static struct chain_caller {
	pthread_t thread;
	bool started;
	const struct plan *plan;
	__u64 state;
	unsigned int chains;
	__u64 steps;
	ssize_t ret;
	__u64 value;
	__u64 expected;
	struct step failed;
	unsigned char in[sizeof(struct step) + PAD_MAX];
	unsigned char out[sizeof(__u64) + PAD_MAX];
} chain_callers[CALLERS_MAX];

/* The value of a chain, and which proclets it enters. */
static __u64 expect(const struct step *from)
{
	__u64 accs[DEPTH_MAX + 1], value = 0;
	struct step s = *from;
	unsigned int n = 0;

	for (;;) {
		s.acc = burn(mix(s.acc, s.at), s.burn);
		accs[n++] = s.acc;
		__atomic_add_fetch(&visits[s.at], 1, __ATOMIC_RELAXED);
		if (!s.left)
			break;
		go_on(&s);
	}
	while (n)
		value = mix(burn(value, s.burn), accs[--n]);
	return value;
}

static bool one_chain(struct chain_caller *c)
{
	const struct plan *plan = c->plan;
	struct step *s = (struct step *)c->in;
	size_t len;

	*s = (struct step) {
		.left = plan->least + next_random(&c->state) % (plan->most - plan->least + 1) - 1,
		.count = plan->proclets,
		.at = plan->flags & STEP_IN_ORDER ? 0 :
			next_random(&c->state) % plan->proclets,
		.flags = plan->flags,
		.burn = next_random(&c->state) % 400,
		.pad = plan->pad ? next_random(&c->state) % (plan->pad + 1) : 0,
		.walk = next_random(&c->state),
		.acc = next_random(&c->state),
	};
	memcpy(s->ids, links, sizeof(links));
	for (__u32 i = 0; i < s->pad; i++)
		s->bytes[i] = pad_byte(s->acc, i);
	c->failed = *s;
	c->steps += s->left + 1;
	c->expected = expect(s);
	len = sizeof(__u64) + s->pad;
	c->ret = proclet_call(links[s->at], step, s, sizeof(*s) + s->pad, c->out, len);
	memcpy(&c->value, c->out, sizeof(c->value));
	c->chains++;
	if (c->ret != (ssize_t)len || c->value != c->expected)
		return false;
	c->ret = 0;
	return true;
}

static void *chains_run(void *arg)
{
	struct chain_caller *c = arg;

	while (one_chain(c) && (c->chains < c->plan->chains ||
				!__atomic_load_n(&enough, __ATOMIC_RELAXED)))
		;
	return NULL;
}

static int chains_went_well(const struct plan *plan)
{
	__u64 steps = 0, entered = 0, went = 0;
	unsigned int chains = 0;

	for (unsigned int i = 0; i < plan->callers; i++) {
		struct chain_caller *c = &chain_callers[i];

		steps += c->steps;
		chains += c->chains;
		if (!c->ret)
			continue;
		diag("caller %u, chain %u: %u calls, %u proclets, first %u, walk %llx, acc %llx, pad %u",
		     i, c->chains, c->failed.left + 1, c->failed.count, c->failed.at,
		     c->failed.walk, c->failed.acc, c->failed.pad);
		CHECK_GE(c->ret, 0);
		CHECK_EQ(c->value, c->expected);
		CHECK_EQ(c->ret, sizeof(__u64) + c->failed.pad);
	}
	for (unsigned int i = 0; i < plan->proclets; i++) {
		struct link l;

		CHECK_EQ(proclet_call(links[i], report, NULL, 0, &l, sizeof(l)), sizeof(l));
		CHECK_EQ(l.entered, visits[i]);
		CHECK_EQ(l.left, visits[i]);
		CHECK_EQ(l.wrong, 0);
		entered += l.entered;
		went += l.went;
	}
	CHECK_EQ(entered, steps);
	diag("%u chains, %llu calls, %llu of them moved", chains, steps, went);
	if (plan->movers)
		CHECK_GE(went, 1);
	return KSFT_PASS;
}

static int run(const struct plan *plan)
{
	unsigned int wanted = plan->movers ? env_number("PROCLET_TEST_MOVES", 1000) / 5 : 0;
	struct chain_caller *mine = &chain_callers[0];
	int ret;

	TRY(tap_nodes(2));
	memset(visits, 0, sizeof(visits));
	memset(links, 0, sizeof(links));
	enough = false;
	tap_stop = plan->hogs ? end_hogs : NULL;
	for (unsigned int i = 0; i < plan->proclets; i++)
		TRY(make(&links[i], nodes[plan->spread ? i % node_count : 0], 64 * MIB,
			 sizeof(struct link)));
	for (unsigned int i = 0; i < plan->hogs * node_count; i++) {
		proclet_t hog;

		TRY(make(&hog, nodes[i % node_count], MIB, sizeof(struct hog)));
		caller_start(hog, run_hog, NULL, 0, NULL, 0);
	}
	for (unsigned int i = 0; i < plan->callers; i++) {
		struct chain_caller *c = &chain_callers[i];

		memset(c, 0, offsetof(struct chain_caller, failed));
		c->plan = plan;
		c->state = (i + 1) * 0x9e3779b97f4a7c15ULL + plan->proclets;
		if (i)
			CHECK_EQ(pthread_create(&c->thread, NULL, chains_run, c), 0);
	}
	ret = movers_start(plan->movers, links, plan->proclets,
			   plan->hogs ? 0 : 3000, 0, plan->most);
	/* The root takes part, and says when it has been enough. */
	while (ret == KSFT_PASS && one_chain(mine) && !movers_failed())
		if (mine->chains >= plan->chains && movers_moved() >= wanted)
			break;
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	for (unsigned int i = 1; i < plan->callers; i++)
		pthread_join(chain_callers[i].thread, NULL);
	TRY(ret);
	TRY(movers_end());
	return chains_went_well(plan);
}

#define CHAINS env_number("PROCLET_TEST_CHAINS", 100)

/* A calls B, B calls C; nothing moves. */
static int three_that_rest(void)
{
	return run(&(struct plan) { 3, 3, 3, 0, STEP_IN_ORDER, 1, 0, false, CHAINS, 0 });
}

static int three_that_move(void)
{
	return run(&(struct plan) { 3, 3, 3, 0, STEP_IN_ORDER, 1, 1, false, CHAINS, 0 });
}

static int sixteen_deep(void)
{
	return run(&(struct plan) { 16, 16, 16, 0, STEP_IN_ORDER, 1, 1, false, CHAINS, 0 });
}

/* A, B, C, A, B, C, ... */
static int entered_again(void)
{
	return run(&(struct plan) { 3, 16, 31, 0, STEP_IN_ORDER, 1, 1, false, CHAINS, 0 });
}

static int entered_again_by_many(void)
{
	return run(&(struct plan) { 3, 4, 24, 0, STEP_IN_ORDER, 8, 2, false, CHAINS / 4, 0 });
}

static int recursion(void)
{
	return run(&(struct plan) { 1, 1, 60, 0, 0, 2, 1, false, CHAINS, 0 });
}

/* More calls within each other than a worker can hold. */
static int deeper_than_a_worker(void)
{
	TRY(run(&(struct plan) { 4, 120, 140, 0, STEP_IN_ORDER, 1, 0, false, CHAINS / 10, 0 }));
	tap_cleanup();
	TRY(run(&(struct plan) { 4, 250, DEPTH_MAX, 0, 0, 1, 0, false, CHAINS / 10, 0 }));
	tap_cleanup();
	return run(&(struct plan) { 4, 200, DEPTH_MAX, 0, 0, 2, 1, false, CHAINS / 20, 0 });
}

static int local_and_remote(void)
{
	return run(&(struct plan) { 8, 1, 32, 0, 0, 4, 2, true, CHAINS / 2, 0 });
}

static int with_payload(void)
{
	return run(&(struct plan) { 6, 1, 12, 20000, 0, 3, 1, true, CHAINS / 5, 0 });
}

static int with_large_payload(void)
{
	return run(&(struct plan) { 4, 1, 6, PAD_MAX, 0, 2, 1, true, CHAINS / 10, 0 });
}

static int many_at_once(void)
{
	return run(&(struct plan) { 16, 1, 24, 0, 0, CALLERS_MAX, 4, true, CHAINS / 10, 0 });
}

/* Always on the move, and slow to answer: who follows it must not give up. */
static int never_at_rest(void)
{
	return run(&(struct plan) { 2, 1, 4, 0, 0, 24, 2, true, 10, 4 });
}

/* The methods move the proclets of their own chain, at every step of it. */
static int moved_from_within(void)
{
	TRY(run(&(struct plan) { 4, 8, 16, 0, STEP_MOVES, 1, 0, false, CHAINS / 10, 0 }));
	tap_cleanup();
	return run(&(struct plan) { 6, 1, 16, 0, STEP_MOVES, 4, 1, true, CHAINS / 10, 0 });
}

/* ---- a call that takes long ---- */

static int probe_everywhere(const char *ms)
{
	for (int i = 0; i < node_count; i++) {
		struct proclet_attr attr = { MIB, nodes[i], PROCLET_PINNED, 8 };
		proclet_t p;

		CHECK_EQ(proclet_create(&p, &attr), 0);
		CHECK_EQ(proclet_call(p, set_probe_ms, ms, strlen(ms), NULL, 0), 0);
		CHECK_EQ(proclet_destroy(p), 0);
	}
	return KSFT_PASS;
}

/* Waiters ask for their operations, and find them wherever both have gone. */
static int asked_for_while_moving(void)
{
	/* Caller and callee: where they are at first, and where they go. */
	static const int ways[][4] = { { 0, 0, 1, 0 }, { 0, 1, 2, 1 }, { 1, 0, 2, 2 } };
	/* So long that a waiter would have given up, had nobody its operation. */
	const struct timespec patience = { 5, 0 };
	proclet_t a[ARRAY_SIZE(ways)], hogs[ARRAY_SIZE(ways)];
	struct caller *c[ARRAY_SIZE(ways)];

	TRY(tap_nodes(2));
	TRY(probe_everywhere("100"));
	tap_stop = end_hogs;
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		const int *way = ways[i];

		TRY(make(&a[i], nodes[way[0] % node_count], MIB, sizeof(struct hog)));
		TRY(make(&hogs[i], nodes[way[1] % node_count], MIB, sizeof(struct hog)));
		c[i] = caller_start(a[i], call_hog, &hogs[i], sizeof(hogs[i]), NULL, 0);
		while (proclet_call(hogs[i], hog_runs, NULL, 0, NULL, 0) != 1)
			;
		CHECK_EQ(proclet_migrate(a[i], nodes[way[2] % node_count], 0), 0);
		CHECK_EQ(proclet_migrate(hogs[i], nodes[way[3] % node_count], 0), 0);
	}
	nanosleep(&patience, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		CHECK_EQ(proclet_call(hogs[i], end_hog, NULL, 0, NULL, 0), 0);
		CHECK_EQ(caller_wait(c[i]), 55);
	}
	return probe_everywhere("2000");
}

/* ---- ids as values ---- */

#define SHELVES 64

/* Ids in the heap: an array that grows, and a list that goes with it. */
struct shelf {
	proclet_t *ids;
	__u64 n;
	struct held {
		struct held *next;
		proclet_t id;
	} *list;
	__u64 value;
};

/* In: ids to keep. */
static ssize_t keep_ids(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	size_t n = in_len / sizeof(proclet_t);
	struct shelf *s = root;
	proclet_t *ids;

	(void)out;
	(void)out_cap;
	ids = proclet_realloc(s->ids, (s->n + n) * sizeof(*ids));
	if (!ids)
		return -ENOMEM;
	s->ids = ids;
	for (size_t i = 0; i < n; i++) {
		struct held *h = proclet_malloc(sizeof(*h));

		if (!h)
			return -ENOMEM;
		memcpy(&ids[s->n + i], (const proclet_t *)in + i, sizeof(proclet_t));
		h->id = ids[s->n + i];
		h->next = s->list;
		s->list = h;
	}
	s->n += n;
	return s->n;
}
PROCLET_METHOD(keep_ids);

/* Out: an id that is kept here; in: which. */
static ssize_t give_id(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct shelf *s = root;
	__u64 i;

	if (in_len != sizeof(i) || out_cap != sizeof(proclet_t))
		return -EINVAL;
	memcpy(&i, in, sizeof(i));
	if (i >= s->n)
		return -ENOENT;
	memcpy(out, &s->ids[i], sizeof(proclet_t));
	return sizeof(proclet_t);
}
PROCLET_METHOD(give_id);

static ssize_t value_add(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct shelf *s = root;
	__u64 n;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(n))
		return -EINVAL;
	memcpy(&n, in, sizeof(n));
	return __atomic_add_fetch(&s->value, n, __ATOMIC_RELAXED);
}
PROCLET_METHOD(value_add);

/* Call all that are kept here, by both ways; in: what to add. Returns the sum. */
static ssize_t call_kept(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct shelf *s = root;
	ssize_t sum = 0, ret;

	(void)out;
	(void)out_cap;
	for (__u64 i = 0; i < s->n; i++) {
		ret = proclet_call(s->ids[i], value_add, in, in_len, NULL, 0);
		if (ret < 0)
			return ret;
		sum += ret;
	}
	for (struct held *h = s->list; h; h = h->next) {
		ret = proclet_call(h->id, value_add, in, in_len, NULL, 0);
		if (ret < 0)
			return ret;
		sum += ret;
	}
	return sum;
}
PROCLET_METHOD(call_kept);

/* A proclet on each node keeps ids of all; they and what they name move round. */
static int ids_in_heaps(void)
{
	proclet_t shelves[3], targets[SHELVES], got;
	__u64 one = 1, value = 0;

	TRY(tap_nodes(2));
	for (int i = 0; i < SHELVES; i++)
		TRY(make(&targets[i], nodes[i % node_count], MIB, sizeof(struct shelf)));
	for (int i = 0; i < 3; i++) {
		TRY(make(&shelves[i], nodes[i % node_count], 4 * MIB, sizeof(struct shelf)));
		for (int j = 0; j < SHELVES; j += 16)
			CHECK_EQ(proclet_call(shelves[i], keep_ids, targets + j,
					      16 * sizeof(proclet_t), NULL, 0), j + 16);
	}
	/* Each on each node, with the targets in other places every time. */
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 3; i++) {
			ssize_t expected = 0;

			CHECK_EQ(proclet_migrate(shelves[i], nodes[(i + round) % node_count],
						 0), 0);
			for (int j = round + i; j < SHELVES; j += 5)
				CHECK_EQ(proclet_migrate(targets[j], nodes[(j + i) % node_count],
							 0), 0);
			for (int way = 0; way < 2; way++)
				expected += ++value * SHELVES;
			CHECK_EQ(proclet_call(shelves[i], call_kept, &one, sizeof(one), NULL, 0),
				 expected);
		}
	}
	/* Out of one heap, into another one's, and called from there. */
	for (__u64 i = 0; i < SHELVES; i++) {
		CHECK_EQ(proclet_call(shelves[0], give_id, &i, sizeof(i), &got, sizeof(got)),
			 sizeof(got));
		CHECK_EQ(got, targets[i]);
		CHECK_EQ(proclet_call(targets[(i + 1) % SHELVES], keep_ids, &got, sizeof(got),
				      NULL, 0), 1);
	}
	for (int i = 0; i < SHELVES; i++)
		CHECK_EQ(proclet_call(targets[(i + 1) % SHELVES], call_kept, &one, sizeof(one),
				      NULL, 0), 2 * value + 3);
	/* One that is no more is an error, wherever its id was kept. */
	CHECK_EQ(proclet_destroy(targets[5]), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(proclet_call(shelves[i], call_kept, &one, sizeof(one), NULL, 0), -ESTALE);
	CHECK_EQ(proclet_call(targets[6], call_kept, &one, sizeof(one), NULL, 0), -ESTALE);
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	TAP_TEST(three_that_rest),
	{ "three_that_move", three_that_move, 300 },
	{ "sixteen_deep", sixteen_deep, 300 },
	{ "entered_again", entered_again, 300 },
	{ "entered_again_by_many", entered_again_by_many, 300 },
	{ "recursion", recursion, 300 },
	{ "deeper_than_a_worker", deeper_than_a_worker, 600 },
	{ "local_and_remote", local_and_remote, 300 },
	{ "with_payload", with_payload, 300 },
	{ "with_large_payload", with_large_payload, 300 },
	{ "many_at_once", many_at_once, 600 },
	{ "never_at_rest", never_at_rest, 600 },
	{ "moved_from_within", moved_from_within, 600 },
	TAP_TEST(asked_for_while_moving),
	TAP_TEST(ids_in_heaps),
};

static int root(int argc, char **argv)
{
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("nested", root, argc, argv);
}
