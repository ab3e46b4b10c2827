// SPDX-License-Identifier: GPL-2.0
/* Threads that proclets create: their ends, and those of their proclets. */
#include "mover.h"

#define BULK		1000
#define DEPTH		50

/**
 * struct shared - root object
 * @stop: whoever lingers is to end
 * @started: threads that have begun
 * @ended: threads that are about to end
 * @wrong: something that must not be was seen
 * @gate: threads wait here
 * @mutex: .
 * @cond: .
 * @thread: for others to join
 */
struct shared {
	volatile __u32 stop;
	__u32 started;
	__u32 ended;
	__u32 wrong;
	proclet_sem_t gate;
	proclet_mutex_t mutex;
	proclet_cond_t cond;
	proclet_thread_t thread;
};

#define ADD(x, n) __atomic_add_fetch(&(x), n, __ATOMIC_SEQ_CST)
#define EXPECT(what, value) do { if ((what) != (value)) return -__LINE__; } while (0)

/* The arguments that most of these methods ignore. */
#define METHOD(name)								\
	static ssize_t name(void *root, const void *in, size_t in_len, void *out, size_t out_cap)

static inline void ignore(const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
}

METHOD(stop)
{
	struct shared *s = root;

	ignore(in, in_len, out, out_cap);
	s->stop = 1;
	return 0;
}
PROCLET_METHOD(stop);

METHOD(look)
{
	ignore(in, in_len, out, out_cap);
	if (out_cap != sizeof(struct shared))
		return -EINVAL;
	memcpy(out, root, out_cap);
	return out_cap;
}
PROCLET_METHOD(look);

/* In: how often. */
METHOD(open_gate)
{
	struct shared *s = root;

	ignore(in, in_len, out, out_cap);
	if (in_len != sizeof(int))
		return -EINVAL;
	for (int i = 0; i < *(const int *)in; i++)
		proclet_sem_post(&s->gate);
	return 0;
}
PROCLET_METHOD(open_gate);

/* ---- creating and joining ---- */

struct number {
	struct shared *s;
	__u64 n;
};

static void *twice(void *arg)
{
	struct number *a = arg;

	ADD(a->s->started, 1);
	a->n *= 2;
	return a;
}

/* Many at once, each with an argument and a result of its own. */
METHOD(bulk)
{
	struct number *numbers = proclet_calloc(BULK, sizeof(*numbers));
	proclet_thread_t *t = proclet_calloc(BULK, sizeof(*t));
	void *ret;

	ignore(in, in_len, out, out_cap);
	if (!numbers || !t)
		return -ENOMEM;
	for (int i = 0; i < BULK; i++) {
		numbers[i] = (struct number) { root, i };
		EXPECT(proclet_thread_create(&t[i], twice, &numbers[i]), 0);
	}
	/* Not in the order of their creation. */
	for (int i = 0; i < BULK; i++) {
		int k = i * 7 % BULK;

		EXPECT(proclet_thread_join(t[k], &ret), 0);
		EXPECT(ret, &numbers[k]);
		EXPECT(numbers[k].n, 2ULL * k);
	}
	proclet_free(t);
	proclet_free(numbers);
	return 0;
}
PROCLET_METHOD(bulk);

static void *through_gate(void *arg)
{
	struct shared *s = arg;

	ADD(s->started, 1);
	if (proclet_sem_wait(&s->gate))
		ADD(s->wrong, 1);
	ADD(s->ended, 1);
	return (void *)0x1234;
}

/* Joined before its end, by a thread that waits; and after it. */
METHOD(join_late)
{
	struct shared *s = root;
	proclet_thread_t t;
	void *ret = NULL;

	ignore(in, in_len, out, out_cap);
	EXPECT(proclet_thread_create(&t, through_gate, s), 0);
	EXPECT(proclet_sem_post(&s->gate), 0);
	while (!__atomic_load_n(&s->ended, __ATOMIC_SEQ_CST))
		;
	EXPECT(proclet_thread_join(t, &ret), 0);
	EXPECT(ret, (void *)0x1234);
	EXPECT(proclet_thread_create(&t, through_gate, s), 0);
	EXPECT(proclet_sem_post(&s->gate), 0);
	EXPECT(proclet_thread_join(t, NULL), 0);
	return 0;
}
PROCLET_METHOD(join_late);

METHOD(join_early)
{
	struct shared *s = root;
	proclet_thread_t t;
	void *ret = NULL;

	ignore(in, in_len, out, out_cap);
	EXPECT(proclet_thread_create(&t, through_gate, s), 0);
	EXPECT(proclet_thread_join(t, &ret), 0);
	EXPECT(ret, (void *)0x1234);
	EXPECT(s->ended, 1);
	return 0;
}
PROCLET_METHOD(join_early);

/* Left alone by the method that creates them; in: how many. */
METHOD(leave_behind)
{
	proclet_thread_t t;

	ignore(in, in_len, out, out_cap);
	if (in_len != sizeof(int))
		return -EINVAL;
	for (int i = 0; i < *(const int *)in; i++) {
		switch (i % 3) {
		case 0:
			EXPECT(proclet_thread_create(NULL, through_gate, root), 0);
			break;
		case 1:
			EXPECT(proclet_thread_create(&t, through_gate, root), 0);
			EXPECT(proclet_thread_detach(t), 0);
			break;
		case 2:
			EXPECT(proclet_thread_create(&((struct shared *)root)->thread,
						     through_gate, root), 0);
			break;
		}
	}
	return 0;
}
PROCLET_METHOD(leave_behind);

/* Another method joins it. */
METHOD(join_other)
{
	struct shared *s = root;
	void *ret = NULL;

	ignore(in, in_len, out, out_cap);
	EXPECT(proclet_thread_join(s->thread, &ret), 0);
	EXPECT(ret, (void *)0x1234);
	return 0;
}
PROCLET_METHOD(join_other);

static void *look_at_self(void *arg)
{
	struct shared *s = arg;
	proclet_thread_t self = proclet_thread_self();

	if (self != s->thread || proclet_thread_join(self, NULL) != -EDEADLK)
		ADD(s->wrong, 1);
	return NULL;
}

METHOD(joining_errors)
{
	struct shared *s = root;
	proclet_thread_t t;

	ignore(in, in_len, out, out_cap);
	EXPECT(proclet_thread_self(), NULL);
	EXPECT(proclet_thread_join(NULL, NULL), -ESRCH);
	EXPECT(proclet_thread_detach(NULL), -ESRCH);
	EXPECT(proclet_thread_create(&s->thread, look_at_self, s), 0);
	EXPECT(proclet_thread_join(s->thread, NULL), 0);
	EXPECT(s->wrong, 0);
	EXPECT(proclet_thread_join(s->thread, NULL), -ESRCH);
	EXPECT(proclet_thread_create(&t, through_gate, s), 0);
	EXPECT(proclet_thread_detach(t), 0);
	EXPECT(proclet_thread_detach(t), -EINVAL);
	EXPECT(proclet_thread_join(t, NULL), -EINVAL);
	EXPECT(proclet_sem_post(&s->gate), 0);
	while (__atomic_load_n(&s->ended, __ATOMIC_SEQ_CST) != 1)
		;
	return 0;
}
PROCLET_METHOD(joining_errors);

/* ---- what threads do ---- */

static __attribute__((noinline)) void end_deep(int depth)
{
	volatile char frame[200];

	memset((void *)frame, depth, sizeof(frame));
	if (!depth)
		proclet_thread_exit((void *)0x77);
	if (frame[0] == depth)
		end_deep(depth - 1);
}

static void *never_returns(void *arg)
{
	struct shared *s = arg;

	proclet_pin();		/* ends with the thread */
	end_deep(DEPTH);
	ADD(s->wrong, 1);
	return NULL;
}

METHOD(exits)
{
	struct shared *s = root;
	proclet_thread_t t;
	void *ret;

	ignore(in, in_len, out, out_cap);
	for (int i = 0; i < 20; i++) {
		EXPECT(proclet_thread_create(&t, never_returns, s), 0);
		EXPECT(proclet_thread_join(t, &ret), 0);
		EXPECT(ret, (void *)0x77);
	}
	EXPECT(s->wrong, 0);
	return 0;
}
PROCLET_METHOD(exits);

struct errand {
	proclet_t other;
	int to;
	int where;
	ssize_t ret;
	struct shared seen;
	double d;
};

/* Calls another proclet, moves its own, calls again; and computes. */
static void *run_errand(void *arg)
{
	struct errand *e = arg;
	double d = 1.5;

	e->ret = proclet_call(e->other, look, NULL, 0, &e->seen, sizeof(e->seen));
	if (e->ret == sizeof(e->seen))
		e->ret = proclet_migrate(proclet_self(), e->to, 0);
	e->where = lproc_node();
	for (int i = 0; i < 10; i++)
		d = d * 2 + 0.25;
	e->d = d;
	if (!e->ret)
		e->ret = proclet_call(e->other, look, NULL, 0, &e->seen, sizeof(e->seen));
	return e;
}

/* In: struct errand. Returns where the thread was. */
METHOD(errand)
{
	(void)root;
	struct errand *e = proclet_malloc(sizeof(*e));
	proclet_thread_t t;
	void *ret;
	int where;

	ignore(in, in_len, out, out_cap);
	if (!e || in_len != sizeof(*e))
		return -ENOMEM;
	memcpy(e, in, sizeof(*e));
	EXPECT(proclet_thread_create(&t, run_errand, e), 0);
	EXPECT(proclet_thread_join(t, &ret), 0);
	EXPECT(ret, e);
	if (e->ret != sizeof(e->seen))
		return e->ret < 0 ? e->ret : -EIO;
	EXPECT(e->d, 1791.75);
	where = e->where;
	proclet_free(e);
	return where == lproc_node() ? where : -EIO;
}
PROCLET_METHOD(errand);

static void *spin(void *arg)
{
	struct number *a = arg;

	a->n++;
	ADD(a->s->started, 1);
	while (!a->s->stop)
		a->n++;
	return NULL;
}

/* Running threads, until stopped: each one's count goes on; in: how many. */
METHOD(spinners)
{
	struct number numbers[16] = {};
	proclet_thread_t t[16];
	int n;

	ignore(in, in_len, out, out_cap);
	if (in_len != sizeof(n))
		return -EINVAL;
	memcpy(&n, in, sizeof(n));
	for (int i = 0; i < n; i++) {
		numbers[i].s = root;
		EXPECT(proclet_thread_create(&t[i], spin, &numbers[i]), 0);
	}
	for (int i = 0; i < n; i++) {
		EXPECT(proclet_thread_join(t[i], NULL), 0);
		if (!numbers[i].n)
			return -__LINE__;
	}
	return 0;
}
PROCLET_METHOD(spinners);

/* Each creates two more, and waits for them. */
struct tree {
	struct shared *s;
	int depth;
};

static void *grow(void *arg)
{
	struct tree *tree = arg;
	proclet_thread_t t[2];
	struct tree below = { tree->s, tree->depth - 1 };

	ADD(tree->s->started, 1);
	if (!tree->depth)
		return NULL;
	for (int i = 0; i < 2; i++)
		if (proclet_thread_create(&t[i], grow, &below))
			ADD(tree->s->wrong, 1);
	for (int i = 0; i < 2; i++)
		if (proclet_thread_join(t[i], NULL))
			ADD(tree->s->wrong, 1);
	return NULL;
}

METHOD(plant)
{
	struct tree tree = { root, 6 };

	ignore(in, in_len, out, out_cap);
	grow(&tree);
	return tree.s->started;
}
PROCLET_METHOD(plant);

/* ---- the proclet's end ---- */

static void *linger(void *arg)
{
	proclet_t *flag = arg;
	struct shared s = { .stop = 0 };
	ssize_t ret;

	do {
		ret = proclet_call(*flag, look, NULL, 0, &s, sizeof(s));
	} while (ret == sizeof(s) && !s.stop);
	return NULL;
}

/* In: the proclet to look at. */
METHOD(leave_lingering)
{
	(void)root;
	proclet_t *flag = proclet_malloc(sizeof(*flag));

	ignore(in, in_len, out, out_cap);
	if (!flag || in_len != sizeof(*flag))
		return -ENOMEM;
	memcpy(flag, in, sizeof(*flag));
	EXPECT(proclet_thread_create(NULL, linger, flag), 0);
	return 0;
}
PROCLET_METHOD(leave_lingering);

/* Waits for ever. */
METHOD(wait_cond)
{
	struct shared *s = root;

	ignore(in, in_len, out, out_cap);
	proclet_mutex_lock(&s->mutex);
	ADD(s->started, 1);
	while (!s->stop)
		proclet_cond_wait(&s->cond, &s->mutex);
	return 0;
}
PROCLET_METHOD(wait_cond);

/* ---- the root's part ---- */

static struct shared seen;

static int setup(proclet_t *p, int node)
{
	return make(p, node, 4 << 20, sizeof(struct shared));
}

static int peek(proclet_t p)
{
	CHECK_EQ(proclet_call(p, look, NULL, 0, &seen, sizeof(seen)), sizeof(seen));
	return KSFT_PASS;
}

static int everywhere(proclet_method_t m, ssize_t expected)
{
	proclet_t p;

	TRY(tap_nodes(2));
	for (int i = 0; i < node_count; i++) {
		TRY(setup(&p, nodes[i]));
		CHECK_EQ(proclet_call(p, m, NULL, 0, NULL, 0), expected);
		CHECK_EQ(proclet_destroy(p), 0);
	}
	return KSFT_PASS;
}

static int while_moving(proclet_method_t m, ssize_t expected)
{
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(setup(&p, nodes[1]));
	TRY(mover_start(p));
	CHECK_EQ(proclet_call(p, m, NULL, 0, NULL, 0), expected);
	return movers_end();
}

static int create_and_join(void)
{
	return everywhere(bulk, 0);
}

static int create_and_join_moving(void)
{
	TRY(while_moving(bulk, 0));
	CHECK_GE(movers_moved(), 1);
	return KSFT_PASS;
}

static int join_after_the_end(void)
{
	return everywhere(join_late, 0);
}

static int join_before_the_end(void)
{
	struct caller *c;
	proclet_t p;
	int one = 1;

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		TRY(setup(&p, nodes[i]));
		c = caller_start(p, join_early, NULL, 0, NULL, 0);
		do {
			TRY(peek(p));
		} while (!seen.started);
		CHECK_EQ(proclet_migrate(p, nodes[!i], 0), 0);
		CHECK_EQ(seen.ended, 0);
		CHECK_EQ(proclet_call(p, open_gate, &one, sizeof(one), NULL, 0), 0);
		CHECK_EQ(caller_wait(c), 0);
	}
	return KSFT_PASS;
}

static int outlive_their_creator(void)
{
	int three = 3;
	proclet_t p;

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		TRY(setup(&p, nodes[i]));
		CHECK_EQ(proclet_call(p, leave_behind, &three, sizeof(three), NULL, 0), 0);
		CHECK_EQ(proclet_migrate(p, nodes[!i], 0), 0);
		TRY(peek(p));
		CHECK_EQ(seen.ended, 0);
		CHECK_EQ(proclet_call(p, open_gate, &three, sizeof(three), NULL, 0), 0);
		do {
			TRY(peek(p));
		} while (seen.ended != 3);
		CHECK_EQ(seen.started, 3);
		CHECK_EQ(seen.wrong, 0);
		CHECK_EQ(proclet_call(p, join_other, NULL, 0, NULL, 0), 0);
	}
	return KSFT_PASS;
}

static int errors_of_joining(void)
{
	return everywhere(joining_errors, 0);
}

static int thread_exit(void)
{
	return everywhere(exits, 0);
}

static int call_and_move(void)
{
	struct errand e = { 0 };
	proclet_t p;

	TRY(tap_nodes(2));
	for (int i = 0; i < node_count; i++) {
		TRY(setup(&p, nodes[i]));
		TRY(setup(&e.other, nodes[0]));
		e.to = nodes[(i + 1) % node_count];
		CHECK_EQ(proclet_call(p, errand, &e, sizeof(e), NULL, 0), e.to);
	}
	return KSFT_PASS;
}

static int running_threads_move(void)
{
	struct caller *c;
	proclet_t p;
	int n = 8;

	TRY(tap_nodes(2));
	TRY(setup(&p, nodes[1]));
	c = caller_start(p, spinners, &n, sizeof(n), NULL, 0);
	TRY(mover_start(p));
	do {
		TRY(peek(p));
	} while ((int)seen.started < n);
	movers_wait(10);
	CHECK_EQ(proclet_call(p, stop, NULL, 0, NULL, 0), 0);
	CHECK_EQ(caller_wait(c), 0);
	return movers_end();
}

static int threads_create_threads(void)
{
	TRY(everywhere(plant, 127));
	return while_moving(plant, 127);
}

/* The module on @node knows of the proclet, in whatever state. */
static bool known(int node, proclet_t p)
{
	static char text[1 << 20];
	struct proclet_attr attr = { 1 << 20, node, PROCLET_PINNED, 8 };
	proclet_t helper;
	ssize_t len = 0;
	char id[20];

	snprintf(id, sizeof(id), "%016llx", (unsigned long long)p);
	if (proclet_create(&helper, &attr))
		return true;
	len = proclet_call(helper, tap_look, NULL, 0, text, sizeof(text) - 1);
	proclet_destroy(helper);
	if (len <= 0)
		return true;
	text[len] = 0;
	return strstr(text, id);
}

static int destroy_waits_for_threads(void)
{
	proclet_t p, flag;
	ssize_t ret;

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		TRY(setup(&p, nodes[i]));
		TRY(setup(&flag, nodes[0]));
		CHECK_EQ(proclet_call(p, leave_lingering, &flag, sizeof(flag), NULL, 0), 0);
		CHECK_EQ(proclet_migrate(p, nodes[!i], 0), 0);
		CHECK_EQ(proclet_destroy(p), 0);
		ret = proclet_call(p, look, NULL, 0, &seen, sizeof(seen));
		CHECK_EQ(ret, -ESTALE);
		CHECK(known(nodes[!i], p));
		CHECK_EQ(proclet_call(flag, stop, NULL, 0, NULL, 0), 0);
		while (known(nodes[!i], p))
			;
	}
	return KSFT_PASS;
}

/* Nobody can wake those who wait: they end with their proclet. */
static int destroy_ends_those_who_wait(void)
{
	struct caller *c[2];
	int three = 3;
	proclet_t p;

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		TRY(setup(&p, nodes[i]));
		CHECK_EQ(proclet_call(p, leave_behind, &three, sizeof(three), NULL, 0), 0);
		c[0] = caller_start(p, wait_cond, NULL, 0, NULL, 0);
		c[1] = caller_start(p, join_other, NULL, 0, NULL, 0);
		do {
			TRY(peek(p));
		} while (seen.started != 4);
		CHECK_EQ(proclet_migrate(p, nodes[!i], 0), 0);
		CHECK_EQ(proclet_destroy(p), 0);
		CHECK_EQ(caller_wait(c[0]), -ECONNRESET);
		/* It may have come too late to begin. */
		CHECK(caller_wait(c[1]) == -ECONNRESET || c[1]->ret == -ESTALE);
		while (known(nodes[!i], p))
			;
	}
	return KSFT_PASS;
}

/* Stacks are given back and used again. */
static int many_generations(void)
{
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(setup(&p, nodes[0]));
	for (int i = 0; i < 20; i++) {
		CHECK_EQ(proclet_call(p, plant, NULL, 0, NULL, 0), 127 * (i + 1));
		CHECK_EQ(proclet_migrate(p, nodes[i % node_count], 0), 0);
	}
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	LONG_TEST(create_and_join),
	LONG_TEST(join_after_the_end),
	LONG_TEST(join_before_the_end),
	LONG_TEST(outlive_their_creator),
	LONG_TEST(errors_of_joining),
	LONG_TEST(thread_exit),
	LONG_TEST(call_and_move),
	LONG_TEST(running_threads_move),
	LONG_TEST(threads_create_threads),
	LONG_TEST(create_and_join_moving),
	LONG_TEST(many_generations),
	LONG_TEST(destroy_waits_for_threads),
	LONG_TEST(destroy_ends_those_who_wait),
};

static void end_threads(proclet_t p)
{
	proclet_call(p, stop, NULL, 0, NULL, 0);
}

static int root(int argc, char **argv)
{
	tap_stop = end_threads;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("threads", root, argc, argv);
}
