// SPDX-License-Identifier: GPL-2.0
/*
 * The logical process's clock and deadlines without the library: one process is
 * the member of two nodes of one machine, whose clocks begin at different times.
 */
#include "harness.h"
#include "raw.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define MS 1000000LL
#define SECOND (1000 * MS)
#define SKEWS "/sys/module/proclet/parameters/clock_skew_ms"

/* Between two readings, in an emulator with everything checked. */
#define CLOSE (20 * SECOND)

static __s64 monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

static int skew(const char *text)
{
	int fd = open(SKEWS, O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

struct member {
	int fd;
	const struct proclet_clock *clock;
};

static int join(struct member *m, __u32 node, __u64 run)
{
	struct proclet_join j;
	void *p;
	int ret;

	m->fd = raw_open();
	if (m->fd < 0)
		return m->fd;
	raw_join_fill(&j, "clock", run);
	j.node = node;
	ret = raw_ioctl(m->fd, PROCLET_IOC_JOIN, &j);
	if (ret) {
		close(m->fd);
		return ret;
	}
	p = mmap(NULL, PROCLET_CLOCK_SIZE, PROT_READ, MAP_SHARED, m->fd, PROCLET_MMAP_CLOCK);
	if (p == MAP_FAILED)
		return -errno;
	m->clock = p;
	return 0;
}

static void leave(struct member *m)
{
	munmap((void *)m->clock, PROCLET_CLOCK_SIZE);
	close(m->fd);
}

static __s64 offset(const struct member *m)
{
	return __atomic_load_n(&m->clock->offset, __ATOMIC_RELAXED);
}

static __s64 clock_of(const struct member *m)
{
	__s64 off = offset(m);

	return off + monotonic();
}

static __s64 sleep_until(const struct member *m, __u64 deadline)
{
	struct proclet_op op = { .op = PROCLET_OP_SLEEP, .deadline = deadline };

	return raw_op(m->fd, &op);
}

FIXTURE(clock) {
	struct member a, b;	/* on nodes 1 and 2 */
	__u64 run;
};

FIXTURE_SETUP(clock)
{
	memset(self, 0, sizeof(*self));
	self->run = raw_own_run();
	ASSERT_EQ(0, skew("0,0"));
}

FIXTURE_TEARDOWN(clock)
{
	EXPECT_EQ(0, skew("0,0"));
}

TEST_F(clock, mapping)
{
	const int rw = PROT_READ | PROT_WRITE;

	ASSERT_EQ(0, join(&self->a, 1, self->run));
	EXPECT_EQ(0, offset(&self->a));
	EXPECT_EQ(-EINVAL, raw_mmap(self->a.fd, NULL, PAGE, rw, MAP_SHARED, PROCLET_MMAP_CLOCK));
	EXPECT_EQ(-EINVAL, raw_mmap(self->a.fd, NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED,
				    PROCLET_MMAP_CLOCK));
	EXPECT_EQ(-EINVAL, raw_mmap(self->a.fd, NULL, 2 * PAGE, PROT_READ, MAP_SHARED,
				    PROCLET_MMAP_CLOCK));
	EXPECT_EQ(-EINVAL, raw_mmap(self->a.fd, NULL, PAGE, PROT_READ, MAP_SHARED,
				    PROCLET_MMAP_CLOCK + PAGE));
	EXPECT_EQ(-EINVAL, raw_mmap(self->a.fd, NULL, PAGE, PROT_READ, MAP_PRIVATE,
				    PROCLET_MMAP_CLOCK));
	EXPECT_EQ(-1, mprotect((void *)self->a.clock, PAGE, rw));
	EXPECT_EQ(EACCES, errno);
	leave(&self->a);
}

/* Who comes later takes over the time, be it ahead or behind. */
TEST_F(clock, late_member_is_behind)
{
	ASSERT_EQ(0, skew("0,3600000"));
	ASSERT_EQ(0, join(&self->b, 2, self->run));
	EXPECT_EQ(3600 * SECOND, offset(&self->b));
	ASSERT_EQ(0, join(&self->a, 1, self->run));
	EXPECT_EQ(3600 * SECOND, offset(&self->b));
	EXPECT_GE(3600 * SECOND, offset(&self->a));
	EXPECT_GE(offset(&self->a), 3600 * SECOND - CLOSE);
	leave(&self->a);
	leave(&self->b);
}

TEST_F(clock, late_member_is_ahead)
{
	ASSERT_EQ(0, skew("0,3600000"));
	ASSERT_EQ(0, join(&self->a, 1, self->run));
	ASSERT_EQ(0, join(&self->b, 2, self->run));
	EXPECT_EQ(0, offset(&self->a));
	EXPECT_GE(0, offset(&self->b));
	EXPECT_GE(offset(&self->b), -CLOSE);
	leave(&self->a);
	leave(&self->b);
}

/* More than ten years: that cannot be. */
TEST_F(clock, nonsense_is_ignored)
{
	__s64 years = 20LL * 365 * 24 * 3600 * SECOND;

	ASSERT_EQ(0, skew("0,630720000000"));
	ASSERT_EQ(0, join(&self->b, 2, self->run));
	EXPECT_EQ(years, offset(&self->b));
	ASSERT_EQ(0, join(&self->a, 1, self->run));
	EXPECT_EQ(0, offset(&self->a));
	EXPECT_EQ(years, offset(&self->b));
	/* It can wait for its own time none the less. */
	EXPECT_EQ(0, sleep_until(&self->b, clock_of(&self->b) + MS));
	EXPECT_EQ(0, sleep_until(&self->a, clock_of(&self->a) + MS));
	leave(&self->a);
	leave(&self->b);
}

static int connect_nodes(bool up)
{
	return system(up ? "procletctl peer add n1 n2 id=2 && procletctl peer add n2 n1 id=1 && procletctl wait n1 && procletctl wait n2" :
		      "procletctl peer del n1 n2 && procletctl peer del n2 n1");
}

struct sleeper {
	struct member *m;
	__u64 until;
	__s64 ret, woke;
};

static void *sleep_run(void *arg)
{
	struct sleeper *s = arg;

	s->ret = sleep_until(s->m, s->until);
	s->woke = clock_of(s->m);
	return NULL;
}

/* Two that meet only now: the clock leaps forward, and with it what waits for it. */
TEST_F(clock, strangers_meet)
{
	struct sleeper s = { .m = &self->a };
	__s64 began, now;
	pthread_t thread;

	ASSERT_EQ(0, skew("0,3600000"));
	ASSERT_EQ(0, connect_nodes(false));
	ASSERT_EQ(0, join(&self->a, 1, self->run));
	ASSERT_EQ(0, join(&self->b, 2, self->run));
	EXPECT_EQ(0, offset(&self->a));
	EXPECT_EQ(3600 * SECOND, offset(&self->b));
	began = clock_of(&self->a);
	s.until = began + 1800 * SECOND;
	ASSERT_EQ(0, pthread_create(&thread, NULL, sleep_run, &s));
	ASSERT_EQ(0, connect_nodes(true));
	pthread_join(thread, NULL);	/* in half an hour, else */
	now = clock_of(&self->a);
	EXPECT_EQ(0, s.ret);
	EXPECT_GE(s.woke, (__s64)s.until);
	EXPECT_GE(3600 * SECOND, offset(&self->a));
	EXPECT_GE(offset(&self->a), 3600 * SECOND - CLOSE);
	EXPECT_EQ(3600 * SECOND, offset(&self->b));
	EXPECT_GE(now, began + 3600 * SECOND - CLOSE);
	leave(&self->a);
	leave(&self->b);
}

/* A member in a time namespace reads the same clock. */
TEST_F(clock, time_namespace)
{
	struct { __s64 mono, clock, slept; } says = { 0, 0, 0 };
	const char *text = "monotonic 100000 0";
	__s64 before, after;
	int fds[2], fd, status;
	pid_t child;

	ASSERT_EQ(0, join(&self->a, 1, self->run));
	ASSERT_EQ(0, pipe(fds));
	if (unshare(CLONE_NEWTIME))
		SKIP(return, "no time namespaces");
	fd = open("/proc/self/timens_offsets", O_WRONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(strlen(text), write(fd, text, strlen(text)));
	close(fd);
	before = clock_of(&self->a);
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		struct member b;
		__s64 until;

		if (join(&b, 2, self->run))
			_exit(1);
		says.mono = monotonic();
		says.clock = clock_of(&b);
		until = says.clock + 20 * MS;
		if (sleep_until(&b, until))
			_exit(2);
		says.slept = clock_of(&b) - until;
		_exit(write(fds[1], &says, sizeof(says)) != sizeof(says));
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	after = clock_of(&self->a);
	ASSERT_EQ(0, status);
	ASSERT_EQ(sizeof(says), read(fds[0], &says, sizeof(says)));
	EXPECT_GE(says.mono, before + 100000 * SECOND);
	EXPECT_GE(says.clock, before);
	EXPECT_GE(after, says.clock);
	EXPECT_GE(says.slept, 0);
	EXPECT_GE(CLOSE, says.slept);
	leave(&self->a);
}

TEST_F(clock, bad_sleeps)
{
	struct proclet_op op = { .op = PROCLET_OP_SLEEP };
	char byte = 0;

	ASSERT_EQ(0, join(&self->a, 1, self->run));
	EXPECT_EQ(-EINVAL, raw_op(self->a.fd, &op));
	op.deadline = 1;
	EXPECT_EQ(0, raw_op(self->a.fd, &op));
	op.target = 1;
	EXPECT_EQ(-EINVAL, raw_op(self->a.fd, &op));
	op.target = 0;
	op.in = (uintptr_t)&byte;
	op.in_len = 1;
	EXPECT_EQ(-EINVAL, raw_op(self->a.fd, &op));
	op.in_len = 0;
	op.out_cap = 1;
	EXPECT_EQ(-EINVAL, raw_op(self->a.fd, &op));
	leave(&self->a);
}

/* One that sleeps for ever can be killed. */
TEST_F(clock, killed_in_its_sleep)
{
	static const __u64 ends[] = { ~0ULL, 1ULL << 63, (1ULL << 63) - 1, 1ULL << 62 };
	int status, fds[2];
	struct member m;
	pid_t child;
	char c = 'x';

	for (unsigned int i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		ASSERT_EQ(0, pipe(fds));
		child = fork();
		ASSERT_LE(0, child);
		if (!child) {
			if (join(&m, 1, raw_own_run()) || write(fds[1], &c, 1) != 1)
				_exit(1);
			sleep_until(&m, ends[i]);
			_exit(2);
		}
		close(fds[1]);
		ASSERT_EQ(1, read(fds[0], &c, 1));
		usleep(20000);
		EXPECT_EQ(0, waitpid(child, &status, WNOHANG));
		ASSERT_EQ(0, kill(child, SIGKILL));
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
		close(fds[0]);
	}
}

struct worker {
	int fd;
	struct proclet_work work;
	int ret;
};

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	w->ret = raw_ioctl(w->fd, PROCLET_IOC_WORK, &w->work);
	return NULL;
}

/* Nobody works here: what was called is certainly not executed, and does not stay. */
TEST_F(clock, calls_that_nobody_takes)
{
	static const __u64 sizes[] = { 0, 64, 8000, MIB };
	struct proclet_op op = { .op = PROCLET_OP_CALL };
	struct proclet_create_args args = { .capacity = MIB, .root_size = 64 };
	char *bytes = calloc(1, MIB);
	struct worker w[2] = {};
	pthread_t threads[2];
	__s64 began;
	__u64 p[2];

	ASSERT_EQ(0, join(&self->a, 1, self->run));
	ASSERT_EQ(0, join(&self->b, 2, self->run));
	ASSERT_EQ(0, raw_create(self->a.fd, &args, 1, &p[0]));
	ASSERT_EQ(0, raw_create(self->a.fd, &args, 2, &p[1]));
	op.in = (uintptr_t)bytes;
	for (unsigned int i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		op.in_len = sizes[i / 2];
		op.target = p[i % 2];
		began = clock_of(&self->a);
		op.deadline = began + 50 * MS;
		EXPECT_EQ(-ETIMEDOUT, raw_op(self->a.fd, &op)) {
			TH_LOG("%llu bytes to node %u", op.in_len, i % 2 + 1);
		}
		EXPECT_GE(clock_of(&self->a), (__s64)op.deadline);
		EXPECT_GE(began + CLOSE, clock_of(&self->a));
		/* It was so before the call. */
		EXPECT_EQ(-ETIMEDOUT, raw_op(self->a.fd, &op));
	}
	/* Workers find nothing to do, until the logical process ends. */
	for (int i = 0; i < 2; i++) {
		w[i].fd = i ? self->b.fd : self->a.fd;
		w[i].work.size = sizeof(w[i].work);
		ASSERT_NE(NULL, raw_map_workers(w[i].fd));
		ASSERT_EQ(0, raw_stack(w[i].fd, PROCLET_STACK_ALLOC, &w[i].work.spare));
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, worker_run, &w[i]));
	}
	EXPECT_EQ(0, sleep_until(&self->a, clock_of(&self->a) + 300 * MS));
	ASSERT_EQ(0, raw_exit(self->b.fd, 0));
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, w[i].ret);
		EXPECT_EQ(PROCLET_TODO_EXIT, w[i].work.todo);
	}
	leave(&self->a);
	leave(&self->b);
	free(bytes);
}

TEST_HARNESS_MAIN
