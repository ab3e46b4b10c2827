// SPDX-License-Identifier: GPL-2.0
/* The protocol of one worker, without the library. */
#include "member.h"

#include <pthread.h>
#include <time.h>

static struct {
	int fd;
	struct proclet_worker *pages;
} rig;

static int work(struct proclet_work *w)
{
	w->size = sizeof(*w);
	return raw_ioctl(rig.fd, PROCLET_IOC_WORK, w);
}

/* Many ways to be wrong as a worker: each fails at once and changes nothing. */
TEST_F(member, work)
{
	__u64 stack = 0, other = 0;
	__u64 bad[] = { 0, 1, 0x1000, PROCLET_REGION_BASE, PROCLET_ID_HEAP(self->p), ~0ULL,
			0xffff888000000000ULL, (uintptr_t)&rig,
			PROCLET_REGION_BASE + PROCLET_REGION_SIZE,
			PROCLET_REGION_BASE + 30 * PROCLET_SLICE_SIZE + PROCLET_STACKS_OFF };
	struct proclet_worker *page;

	rig.fd = self->fd;
	ASSERT_EQ(0, raw_map_region(self->fd));
	rig.pages = raw_map_workers(self->fd);
	ASSERT_NE(NULL, rig.pages);
	page = rig.pages;
	ASSERT_EQ(0, raw_stack(self->fd, PROCLET_STACK_ALLOC, &stack));
	ASSERT_EQ(0, raw_stack(self->fd, PROCLET_STACK_ALLOC, &other));

#define EXPECT_WORK(...) do {						\
	struct proclet_work w_ = { .spare = stack, __VA_ARGS__ };	\
									\
	EXPECT_EQ(-EINVAL, work(&w_))					\
		TH_LOG("work { %s }", #__VA_ARGS__);			\
} while (0)

	EXPECT_WORK(.worker = PROCLET_MAX_WORKERS);
	EXPECT_WORK(.worker = 0x7fffffff);
	EXPECT_WORK(.worker = 0xffffffff);
	EXPECT_WORK(.done = 4);
	EXPECT_WORK(.done = 0xffffffff);
	/* Nothing runs, so nothing can have ended. */
	EXPECT_WORK(.done = PROCLET_DONE_REPLY, .status = 1);
	EXPECT_WORK(.done = PROCLET_DONE_OP);
	EXPECT_WORK(.done = PROCLET_DONE_PARKED);
	/* A chain that says otherwise. */
	for (__u32 done = PROCLET_DONE_NONE; done <= PROCLET_DONE_PARKED; done++) {
		static const __u32 depths[] = { 1, 2, PROCLET_CHAIN_MAX, PROCLET_CHAIN_MAX + 1,
						0x7fffffff, 0xffffffff };

		for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
			for (size_t j = 0; j < ARRAY_SIZE(depths); j++) {
				struct proclet_work w = { .done = done, .status = 1 << 20,
							  .spare = other };

				for (size_t k = 0; k < PROCLET_CHAIN_MAX; k++)
					page->chain[k] = bad[i];
				page->depth = depths[j];
				EXPECT_GT(0, work(&w))
					TH_LOG("done %u, depth %u, chain %llx", done,
					       depths[j], bad[i]);
				page->depth = 0;
			}
		}
	}
	/* A thread segment that runs nothing, with a tcb of garbage. */
	for (int round = 0; round < 3; round++) {
		struct proclet_tcb *tcb = (void *)stack;

		memset(tcb, round ? 0xff : 0x5a, sizeof(*tcb));
		if (round == 2)
			tcb->proclet = PROCLET_ID(PROCLET_ID_GRANULE(self->p), 0x7fffffff);
		for (__u32 done = PROCLET_DONE_REPLY; done <= PROCLET_DONE_PARKED; done++) {
			page->chain[0] = stack;
			page->depth = 1;
			if (done == PROCLET_DONE_REPLY)
				continue;	/* allowed: a reply to nobody */
			EXPECT_WORK(.done = done);
		}
		page->depth = 0;
	}
	EXPECT_EQ(raw_node(), raw_locate(self->fd, self->p));
}

/* What a worker of our own does with calls, and what it was told wrongly. */
static struct {
	__u64 p;
	__u64 stack;
	unsigned int wrong;	/* bit per check that failed */
	int ret;
	int told[2];		/* pipes: "in the method", "go on" */
	int go_on[2];
} served;

static int setup_worker(int fd, __u64 p)
{
	int ret = raw_map_region(fd);

	rig.fd = fd;
	rig.pages = raw_map_workers(fd);
	memset(&served, 0, sizeof(served));
	served.p = p;
	if (pipe(served.told) || pipe(served.go_on))
		return -errno;
	return ret ?: rig.pages ? raw_stack(fd, PROCLET_STACK_ALLOC, &served.stack) : -EFAULT;
}

/* Worker 0, which checks all that it is told about a call, and replies. */
static void *serve(void *unused)
{
	struct proclet_worker *page = rig.pages;
	struct proclet_tcb *tcb = (void *)served.stack;
	struct proclet_work w = { .spare = served.stack };

	(void)unused;
	for (;;) {
		served.ret = work(&w);
		if (served.ret)
			return NULL;
		served.wrong |= (w.todo != PROCLET_TODO_CALL) << 0;
		served.wrong |= (w.stack != served.stack) << 1;
		served.wrong |= (page->depth != 1) << 2;
		served.wrong |= (page->chain[0] != served.stack) << 3;
		served.wrong |= (tcb->proclet != served.p) << 4;
		served.wrong |= (tcb->method != 0xabcd) << 5;
		served.wrong |= (tcb->in_len != 5000) << 6;
		served.wrong |= (tcb->res_cap != 6000) << 7;
		served.wrong |= (tcb->caller.node != raw_node()) << 8;
		served.wrong |= (tcb->caller.proclet || tcb->caller.stack) << 9;
		for (int b = 0; b < 5000; b++)
			served.wrong |= (((__u8 *)tcb)[PROCLET_STACK_IN + b] != (__u8)(b * 3))
				<< 10;
		memset((__u8 *)tcb + PROCLET_STACK_OUT, 0x77, 5500);
		w.done = PROCLET_DONE_REPLY;
		w.status = 5500;
	}
}

TEST_F(member, serve_by_hand)
{
	static __u8 in[5000], out[6001];
	pthread_t t;

	ASSERT_EQ(0, setup_worker(self->fd, self->p));
	for (int b = 0; b < 5000; b++)
		in[b] = b * 3;
	ASSERT_EQ(0, pthread_create(&t, NULL, serve, NULL));
	for (int i = 0; i < 3; i++) {
		memset(out, 0xee, sizeof(out));
		EXPECT_EQ(5500, raw_call(self->fd, self->p, 0xabcd, in, 5000, out, 6000));
		for (int b = 0; b < 6001; b++) {
			ASSERT_EQ(b < 5500 ? 0x77 : 0xee, out[b])
				TH_LOG("byte %d", b);
		}
	}
	EXPECT_EQ(0, served.wrong);
	EXPECT_EQ(0, served.ret);
}

/* Worker 0, which stays in its method until told. */
static void *serve_and_hold(void *unused)
{
	struct proclet_work w = { .spare = served.stack };
	char c;

	(void)unused;
	served.ret = work(&w);
	if (!served.ret && write(served.told[1], "x", 1) == 1 &&
	    read(served.go_on[0], &c, 1) == 1) {
		w.done = PROCLET_DONE_REPLY;
		w.status = 0;
		served.ret = work(&w);
	}
	return NULL;
}

static void *call_and_wait(void *result)
{
	*(__s64 *)result = raw_call(rig.fd, served.p, 1, NULL, 0, NULL, 0);
	return NULL;
}

TEST_F(member, worker_in_a_method)
{
	static __s64 result = -1;
	pthread_t t, caller;
	__u64 s, other = 0;
	char c;

	ASSERT_EQ(0, setup_worker(self->fd, self->p));
	ASSERT_EQ(0, raw_stack(self->fd, PROCLET_STACK_ALLOC, &other));
	ASSERT_EQ(0, pthread_create(&t, NULL, serve_and_hold, NULL));
	ASSERT_EQ(0, pthread_create(&caller, NULL, call_and_wait, &result));
	ASSERT_EQ(1, read(served.told[0], &c, 1));
	EXPECT_EQ(1, rig.pages->depth);

	/* The segment is in use. */
	s = served.stack;
	EXPECT_EQ(-EBUSY, raw_stack(self->fd, PROCLET_STACK_FREE, &s));
	s = served.stack;
	EXPECT_EQ(-EBUSY, raw_stack(self->fd, PROCLET_STACK_TRIM, &s));
	/* Worker 0 is another thread. */
	for (__u32 done = PROCLET_DONE_NONE; done <= PROCLET_DONE_PARKED; done++) {
		struct proclet_work w = { .spare = other, .done = done };

		EXPECT_GT(0, work(&w))
			TH_LOG("done %u", done);
	}
	/* Garbage in its page does no harm when others look at it. */
	for (int i = 0; i < 4; i++) {
		static const __u32 depths[] = { 0x7fffffff, 0xffffffff, 129, 128 };

		for (int k = 1; k < PROCLET_CHAIN_MAX; k++)
			rig.pages->chain[k] = i & 1 ? ~0ULL : PROCLET_REGION_BASE;
		rig.pages->depth = depths[i];
		EXPECT_GT(0, raw_migrate(self->fd, self->p, 31));
		EXPECT_EQ(-ESTALE, raw_destroy(self->fd, self->p + (1ULL << 32)));
		EXPECT_EQ(raw_node(), raw_locate(self->fd, self->p));
	}
	rig.pages->depth = 1;
	ASSERT_EQ(1, write(served.go_on[1], "x", 1));
	pthread_join(caller, NULL);
	EXPECT_EQ(0, result);
}

/*
 * Operations of a thread on its own proclet, by a worker that plays the threads: one
 * in a method of served.p, and later another that it makes.
 */
static struct proclet_work own;

static __s64 own_op(const struct proclet_op *op)
{
	own.done = PROCLET_DONE_OP;
	own.op = *op;
	own.result = -EIO;
	served.ret = work(&own);
	if (served.ret)
		return served.ret;
	return own.todo == PROCLET_TODO_RESUME && own.stack == served.stack ?
		own.result : -EPROTO;
}

static __s64 own_wait(__u64 addr, __u32 value)
{
	struct proclet_wait_args args = { .addr = addr, .value = value };
	struct proclet_op op = { .op = PROCLET_OP_WAIT, .in = (uintptr_t)&args,
				 .in_len = sizeof(args) };

	return own_op(&op);
}

static __s64 own_wake(__u64 addr, __u32 count)
{
	struct proclet_wake_args args = { .addr = addr, .count = count };
	struct proclet_op op = { .op = PROCLET_OP_WAKE, .in = (uintptr_t)&args,
				 .in_len = sizeof(args) };

	return own_op(&op);
}

static __s64 own_spawn(__u64 stack)
{
	struct proclet_op op = { .op = PROCLET_OP_SPAWN, .target = stack };

	return own_op(&op);
}

/* The method's caller. In the end nobody waits but the worker: the member ends. */
static volatile struct {
	__s64 result;
	__s64 located;
} served_call;

static void *call_served(void *unused)
{
	(void)unused;
	served_call.result = raw_call(rig.fd, served.p, 1, NULL, 0, NULL, 0);
	served_call.located = raw_locate(rig.fd, served.p);
	raw_exit(rig.fd, 0);
	return NULL;
}

TEST_F(member, wait_wake_spawn)
{
	__u64 spare = 0, child = 0, next, heap = PROCLET_ID_HEAP(self->p);
	struct proclet_wait_args args = { .addr = heap + 64 };
	struct proclet_op op = { .in = (uintptr_t)&args };
	__u32 *word = (__u32 *)(heap + 64);
	struct proclet_tcb *tcb;
	pthread_t caller;

	/* The next proclet's memory, and a thread segment that is nobody's. */
	ASSERT_EQ(0, setup_worker(self->fd, self->p));
	next = raw_proclet(self->fd, MIB);
	ASSERT_NE(0, next);
	ASSERT_EQ(0, raw_stack(self->fd, PROCLET_STACK_ALLOC, &spare));
	ASSERT_EQ(0, raw_stack(self->fd, PROCLET_STACK_ALLOC, &child));
	*(__u32 *)child = 0;
	served_call.result = -1;
	own = (struct proclet_work) { .spare = served.stack };
	ASSERT_EQ(0, pthread_create(&caller, NULL, call_served, NULL));
	ASSERT_EQ(0, work(&own));
	ASSERT_EQ(PROCLET_TODO_CALL, own.todo);
	own.spare = spare;

	__u64 bad[] = { 0, 4, heap + 65, heap + 66, heap - 4, heap + PAGE, heap + MIB,
			PROCLET_ID_HEAP(next) + 64, PROCLET_REGION_BASE - 4, child + 64,
			served.stack + PROCLET_STACK_GUARD, served.stack + 4097,
			PROCLET_REGION_BASE + PROCLET_REGION_SIZE, (uintptr_t)&own,
			0xffff888000000000ULL, ~0ULL, ~3ULL };

	*word = 5;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, own_wait(bad[i], 0))
			TH_LOG("address %llx", bad[i]);
		EXPECT_EQ(-EINVAL, own_wake(bad[i], 1))
			TH_LOG("address %llx", bad[i]);
	}
	for (op.op = PROCLET_OP_WAIT; op.op <= PROCLET_OP_WAKE; op.op++) {
		for (op.in_len = 0; op.in_len < 32; op.in_len++)
			EXPECT_EQ(op.in_len == sizeof(args) ?
				  op.op == PROCLET_OP_WAIT ? -EAGAIN : 0 : -EINVAL, own_op(&op));
		op.in_len = sizeof(args);
		op.in = 8;
		EXPECT_EQ(-EFAULT, own_op(&op));
		op.in = (uintptr_t)&args;
	}
	args.flags = 1;
	op.op = PROCLET_OP_WAIT;
	EXPECT_EQ(-EINVAL, own_op(&op));
	op.op = PROCLET_OP_WAKE;
	EXPECT_EQ(-EINVAL, own_op(&op));

	/* Nothing is changed, or invented. Memory that nobody has touched is 0. */
	EXPECT_EQ(-EAGAIN, own_wait(heap + 64, 4));
	EXPECT_EQ(-EAGAIN, own_wait(served.stack + PROCLET_STACK_SIZE - MIB, 1));
	EXPECT_EQ(0, own_wake(heap + 64, 1));
	EXPECT_EQ(0, own_wake(heap + 64, 0xffffffff));
	EXPECT_EQ(5, *word);

	/* Segments that cannot become a thread. */
	EXPECT_EQ(-EINVAL, own_spawn(0));
	EXPECT_EQ(-EINVAL, own_spawn(heap));
	EXPECT_EQ(-EINVAL, own_spawn(child + 4096));
	EXPECT_EQ(-EINVAL, own_spawn(served.stack));
	EXPECT_EQ(-EINVAL, own_spawn(child));
	EXPECT_EQ(-EINVAL, own_spawn(child + 64 * PROCLET_STACK_SIZE));
	tcb = (struct proclet_tcb *)child;
	tcb->proclet = next;
	EXPECT_EQ(-EINVAL, own_spawn(child));

	/* One that does. It and its maker are ready, then each waits at a word. */
	memset(tcb, 0, sizeof(*tcb));
	tcb->proclet = self->p;
	own.done = PROCLET_DONE_OP;
	own.op = (struct proclet_op) { .op = PROCLET_OP_SPAWN, .target = child };
	ASSERT_EQ(0, work(&own));
	EXPECT_EQ(PROCLET_TODO_RESUME, own.todo);
	EXPECT_EQ(child, own.stack);
	EXPECT_EQ(0, own.result);
	next = child;
	EXPECT_EQ(-EBUSY, raw_stack(self->fd, PROCLET_STACK_FREE, &next));
	args = (struct proclet_wait_args) { .addr = heap + 64, .value = 5 };
	own.op = (struct proclet_op) { .op = PROCLET_OP_WAIT, .in = (uintptr_t)&args,
				       .in_len = sizeof(args) };
	ASSERT_EQ(0, work(&own));
	EXPECT_EQ(PROCLET_TODO_RESUME, own.todo);
	EXPECT_EQ(served.stack, own.stack);
	EXPECT_EQ(0, own.result);
	next = child;
	EXPECT_EQ(-EBUSY, raw_stack(self->fd, PROCLET_STACK_FREE, &next));
	EXPECT_EQ(0, own_wake(heap + 68, 10));
	EXPECT_EQ(0, own_wake(heap + 64, 0));
	/* Woken, it is the first to go on. */
	EXPECT_EQ(-EPROTO, own_wake(heap + 64, 10));
	EXPECT_EQ(PROCLET_TODO_RESUME, own.todo);
	EXPECT_EQ(child, own.stack);
	EXPECT_EQ(0, own.result);
	own.done = PROCLET_DONE_REPLY;		/* to nobody */
	own.status = 0;
	ASSERT_EQ(0, work(&own));
	EXPECT_EQ(PROCLET_TODO_RESUME, own.todo);
	EXPECT_EQ(served.stack, own.stack);
	EXPECT_EQ(1, own.result);
	EXPECT_EQ(0, raw_stack(self->fd, PROCLET_STACK_FREE, &child));

	/* Destroyed, with a thread that nobody can wake: its caller is told. */
	EXPECT_EQ(0, raw_destroy(self->fd, self->p));
	EXPECT_EQ(-1, served_call.result);
	own.done = PROCLET_DONE_OP;
	args = (struct proclet_wait_args) { .addr = heap + 64, .value = 5 };
	own.op = (struct proclet_op) { .op = PROCLET_OP_WAIT, .in = (uintptr_t)&args,
				       .in_len = sizeof(args) };
	EXPECT_EQ(0, work(&own));
	EXPECT_EQ(PROCLET_TODO_EXIT, own.todo);
	pthread_join(caller, NULL);
	EXPECT_EQ(-ECONNRESET, served_call.result);
	EXPECT_EQ(-ESTALE, served_call.located);
}

/* A signal interrupts what is not only killable. */
TEST_F(member, interrupted)
{
	struct proclet_manage m = { .size = sizeof(m) };
	struct proclet_work w = { .size = sizeof(w) };
	timer_t timer;
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec every = { { 0, 20000000 }, { 0, 20000000 } };

	catch_signal(SIGUSR1);
	ASSERT_EQ(0, setup_worker(self->fd, self->p));
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &ev, &timer));
	ASSERT_EQ(0, timer_settime(timer, 0, &every, NULL));
	EXPECT_EQ(-EINTR, raw_ioctl(self->fd, PROCLET_IOC_MANAGE, &m));
	w.spare = served.stack;
	EXPECT_EQ(-EINTR, raw_ioctl(self->fd, PROCLET_IOC_WORK, &w));
	timer_delete(timer);
}

/* spin_us of the node; the one before is put back. */
FIXTURE(spin) {
	int fd;
	__u64 p;
	char old[32];
};

FIXTURE_SETUP(spin)
{
	self->fd = raw_open();
	ASSERT_LE(0, self->fd);
	if (node_set(raw_node(), "spin_us", "1000", self->old))
		SKIP(return, "the node's spin_us cannot be set here");
	ASSERT_EQ(0, raw_join(self->fd, "spin", raw_own_run()));
	self->p = raw_proclet(self->fd, MIB);
	ASSERT_NE(0, self->p);
	ASSERT_EQ(0, setup_worker(self->fd, self->p));
}

FIXTURE_TEARDOWN(spin)
{
	node_set(raw_node(), "spin_us", self->old, NULL);
	close(self->fd);
}

/* How many waits were spun for, and how many of those in vain. */
static __s64 spins(void)
{
	return node_counter(raw_node(), "spun") + node_counter(raw_node(), "slept");
}

static int serve_calls(__u64 p, int n)
{
	static __u8 in[5000], out[6000];

	for (int b = 0; b < 5000; b++)
		in[b] = b * 3;
	while (n--) {
		memset(out, 0, sizeof(out));
		if (raw_call(rig.fd, p, 0xabcd, in, 5000, out, 6000) != 5500 ||
		    out[0] != 0x77 || out[5499] != 0x77 || out[5500])
			return -1;
	}
	return served.wrong || served.ret;
}

/* Callers and workers wait for each other without sleeping, most of the time. */
TEST_F(spin, spares_sleep)
{
	__s64 spun = node_counter(raw_node(), "spun");
	pthread_t t;

	ASSERT_LE(0, spun);
	ASSERT_EQ(0, pthread_create(&t, NULL, serve, NULL));
	for (int i = 0; i < 1000 && node_counter(raw_node(), "spun") < spun + 100; i++)
		ASSERT_EQ(0, serve_calls(self->p, 10));
	EXPECT_LE(spun + 100, node_counter(raw_node(), "spun"));
}

/* Not any more when it is off. */
TEST_F(spin, off)
{
	struct timespec ms = { .tv_nsec = 10000000 };
	__s64 before;
	pthread_t t;

	ASSERT_EQ(0, pthread_create(&t, NULL, serve, NULL));
	ASSERT_EQ(0, serve_calls(self->p, 10));
	before = spins();
	EXPECT_LT(0, before);
	ASSERT_EQ(0, node_set(raw_node(), "spin_us", "0", NULL));
	/* Who began to spin before sleeps after a millisecond. */
	do {
		before = spins();
		nanosleep(&ms, NULL);
	} while (spins() != before);
	ASSERT_EQ(0, serve_calls(self->p, 100));
	EXPECT_EQ(before, spins());
}

TEST_F(spin, limits)
{
	static const char *const bad[] = { "1001", "-1", "x", " ", "99999999999999999999" };
	char now[32];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, node_set(raw_node(), "spin_us", bad[i], now))
			TH_LOG("%s", bad[i]);
	}
	EXPECT_EQ(1000, atoi(now));
}

static __s64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* A signal does not wait for the end of a spin: some come back before that. */
TEST_F(spin, interrupted)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec every = { { 0, 300000 }, { 0, 300000 } };
	struct proclet_work w = { .spare = served.stack };
	__s64 start, took, best = INT64_MAX;
	timer_t timer;

	catch_signal(SIGUSR1);
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &ev, &timer));
	ASSERT_EQ(0, timer_settime(timer, 0, &every, NULL));
	for (int i = 0; i < 1000 && best > 900000; i++) {
		start = now_ns();
		ASSERT_EQ(-EINTR, work(&w));
		took = now_ns() - start;
		if (took < best)
			best = took;
	}
	timer_delete(timer);
	EXPECT_GE(900000, best);
}

/* A spin in vain ends, and so does what waits. */
TEST_F(spin, in_vain)
{
	struct proclet_op op = { .op = PROCLET_OP_CALL, .target = self->p, .deadline = 1 };
	__s64 slept = node_counter(raw_node(), "slept");

	/* By the logical process's clock, which is ahead of ours by little. */
	EXPECT_EQ(-ETIMEDOUT, raw_op(self->fd, &op));
	op.deadline = now_ns() + 50000000;
	EXPECT_EQ(-ETIMEDOUT, raw_op(self->fd, &op));
	EXPECT_LT(slept, node_counter(raw_node(), "slept"));
}

TEST_HARNESS_MAIN
