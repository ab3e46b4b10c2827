// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that the kernel does not get: what is reported must be true. Needs a kernel
 * with CONFIG_FAILSLAB, as that of vcluster -k debug.
 */
#include "tap.h"

#include <fcntl.h>

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define FAILSLAB	"/sys/kernel/debug/failslab/"
#define NTH_MAX		8

struct shared {
	__u32 calls;
	proclet_rwlock_t rwlock;
	proclet_barrier_t barrier;
	proclet_sem_t sem;
};

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* The caller's nth allocation from now on fails; 0: none. */
static bool fail_nth(unsigned int n)
{
	char text[12];

	snprintf(text, sizeof(text), "%u", n);
	/* What the worker's last user has left can fail this, once. */
	return write_file(FAIL_NTH, text) || write_file(FAIL_NTH, text);
}

struct args {
	__u32 nth;
	__u32 len;
};

/* Results whose way back lacks memory. */
static ssize_t answer(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct args *a = in;
	struct shared *s = root;

	if (in_len < sizeof(*a) || out_cap < a->len)
		return -EINVAL;
	s->calls++;
	memset(out, s->calls, a->len);
	if (a->nth && !fail_nth(a->nth))
		return -EIO;
	return a->len;
}
PROCLET_METHOD(answer);

static ssize_t calls(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	/* What the worker's last user has left. */
	fail_nth(0);
	return ((struct shared *)root)->calls;
}
PROCLET_METHOD(calls);

/* Who cannot wait for want of memory is not counted; returns the line of an error. */
static ssize_t cannot_wait(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct shared *s = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
#define EXPECT(what, value) do { if ((what) != (value)) return -__LINE__; } while (0)
/* Once in vain: what is allocated only the first time is not in the way then. */
#define NEXT_WAIT_FAILS() do {						\
	EXPECT(fail_nth(0), true);					\
	EXPECT(proclet_sem_timedwait(&s->sem, 1), -ETIMEDOUT);		\
	EXPECT(fail_nth(1), true);					\
} while (0)
	for (int i = 0; i < 3; i++) {
		EXPECT(proclet_rwlock_rdlock(&s->rwlock), 0);
		NEXT_WAIT_FAILS();
		EXPECT(proclet_rwlock_wrlock(&s->rwlock), -ENOMEM);
		EXPECT(proclet_rwlock_rdlock(&s->rwlock), 0);
		EXPECT(proclet_rwlock_unlock(&s->rwlock), 0);
		EXPECT(proclet_rwlock_unlock(&s->rwlock), 0);
		EXPECT(proclet_rwlock_wrlock(&s->rwlock), 0);
		NEXT_WAIT_FAILS();
		EXPECT(proclet_rwlock_rdlock(&s->rwlock), -ENOMEM);
		EXPECT(proclet_rwlock_unlock(&s->rwlock), 0);
		EXPECT(proclet_rwlock_unlock(&s->rwlock), -EPERM);
		EXPECT(proclet_barrier_init(&s->barrier, 3), 0);
		for (int k = 0; k < 4; k++) {
			NEXT_WAIT_FAILS();
			EXPECT(proclet_barrier_wait(&s->barrier), -ENOMEM);
		}
	}
	return 0;
}
PROCLET_METHOD(cannot_wait);

static int setup(void)
{
	TRY(tap_nodes(2));
	if (access(FAIL_NTH, W_OK))
		SKIP("no " FAIL_NTH ": not a kernel with CONFIG_FAILSLAB");
	return KSFT_PASS;
}

static const __u32 lengths[] = { 8, 200, 3000, 100000 };
static unsigned char result[100000];

/* The method did run, and its caller is not told otherwise. */
static int results_without_memory(void)
{
	unsigned int perhaps = 0, done = 0;
	proclet_t p;

	TRY(setup());
	for (int i = 0; i < 2; i++) {
		TRY(make(&p, nodes[i], 1 << 20, sizeof(struct shared)));
		done = 0;
		for (unsigned int n = 0; n < ARRAY_SIZE(lengths) * NTH_MAX; n++) {
			struct args a = { 1 + n / ARRAY_SIZE(lengths),
					  lengths[n % ARRAY_SIZE(lengths)] };
			ssize_t ret = caller_wait(caller_start(p, answer, &a, sizeof(a), result,
							       a.len));

			done++;
			if (ret == -ECONNRESET) {
				perhaps++;
			} else {
				CHECK_EQ(ret, a.len);
				CHECK_EQ(result[0], done & 0xff);
				CHECK_EQ(result[a.len - 1], done & 0xff);
			}
			CHECK_EQ(caller_wait(caller_start(p, calls, NULL, 0, NULL, 0)), done);
		}
	}
	diag("%u results lost", perhaps);
	CHECK_GE(perhaps, 1);
	return KSFT_PASS;
}

static struct request {
	proclet_t p;
	struct args args[100000 / sizeof(struct args)];
	size_t len;
	unsigned int nth;
	ssize_t ret;
} request;

static void *request_run(void *arg)
{
	struct request *r = arg;

	if (!fail_nth(r->nth)) {
		r->ret = -EIO;
		return NULL;
	}
	r->ret = proclet_call(r->p, answer, r->args, r->len, NULL, 0);
	fail_nth(0);
	return NULL;
}

/* The method ran if its caller has its result, and only then. */
static int requests_without_memory(void)
{
	unsigned int failed = 0, done;
	struct request *r = &request;
	pthread_t thread;

	TRY(setup());
	for (int i = 0; i < 2; i++) {
		TRY(make(&r->p, nodes[i], 1 << 20, sizeof(struct shared)));
		done = 0;
		for (unsigned int n = 0; n < ARRAY_SIZE(lengths) * NTH_MAX; n++) {
			r->nth = 1 + n / ARRAY_SIZE(lengths);
			r->len = lengths[n % ARRAY_SIZE(lengths)];
			CHECK_EQ(pthread_create(&thread, NULL, request_run, r), 0);
			pthread_join(thread, NULL);
			if (r->ret) {
				CHECK_EQ(r->ret, -ENOMEM);
				failed++;
			} else {
				done++;
			}
			CHECK_EQ(caller_wait(caller_start(r->p, calls, NULL, 0, NULL, 0)),
				 done);
		}
	}
	diag("%u requests failed", failed);
	CHECK_GE(failed, 1);
	return KSFT_PASS;
}

static int waits_without_memory(void)
{
	proclet_t p;

	TRY(setup());
	for (int i = 0; i < 2; i++) {
		TRY(make(&p, nodes[i], 1 << 20, sizeof(struct shared)));
		CHECK_EQ(proclet_call(p, cannot_wait, NULL, 0, NULL, 0), 0);
	}
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	TAP_TEST(results_without_memory),
	TAP_TEST(requests_without_memory),
	TAP_TEST(waits_without_memory),
};

static int root(int argc, char **argv)
{
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	/* Also what may sleep can fail, and it is not reported. */
	if (write_file(FAILSLAB "ignore-gfp-wait", "N"))
		write_file(FAILSLAB "verbose", "0");
	return lproc_main("faults", root, argc, argv);
}
