// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation of the module fails once, on every way to it and in whatever context:
 * fail/proclet_fail.c. Each test is a scenario that is repeated until nothing fails any
 * more. Whatever fails, the operation has its right error or none, what ran is what the
 * caller was told, and afterwards everything works and nothing is left over.
 *
 * Over rdma only the root's node has failures; it is caller and callee, source and
 * destination.
 */
#include "command.h"
#include "raw.h"
#include "ring.h"

#define FAIL		"/sys/module/proclet_fail/parameters/"
#define FAIL_MODULE	"/vc/proclet_fail.ko"
#define BACK		60	/* seconds in which a lost connection is back */

struct place {
	__u64 calls;
	__u64 *words;
	__u64 bytes;
	proclet_sem_t sem;
	volatile __u32 waiting;
};

/* ---- methods ---- */

static ssize_t echo(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct place *s = root;

	__atomic_add_fetch(&s->calls, 1, __ATOMIC_RELAXED);
	if (out_cap < in_len)
		return -EINVAL;
	memcpy(out, in, in_len);
	return in_len;
}
PROCLET_METHOD(echo);

static ssize_t counted(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return __atomic_load_n(&((struct place *)root)->calls, __ATOMIC_RELAXED);
}
PROCLET_METHOD(counted);

struct onward {
	proclet_t to;
	__u64 bytes;
};

static int right(ssize_t ret)
{
	return ret == -ENOMEM || ret == -ECONNRESET || ret == -EHOSTUNREACH;
}

/* From here to another one; fails as that does. */
static ssize_t relay(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct onward *o = in;
	char *bytes;
	ssize_t ret;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(*o))
		return -EINVAL;
	bytes = proclet_malloc(2 * o->bytes);
	if (!bytes)
		return -ENOMEM;
	memset(bytes, 5, o->bytes);
	ret = proclet_call(o->to, echo, bytes, o->bytes, bytes + o->bytes, o->bytes);
	if (ret >= 0 && memcmp(bytes, bytes + o->bytes, o->bytes))
		ret = -EILSEQ;
	proclet_free(bytes);
	return ret;
}
PROCLET_METHOD(relay);

static ssize_t fill(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct place *s = root;
	__u64 state;

	if (in_len != sizeof(s->bytes))
		return -EINVAL;
	if (!s->words) {
		s->bytes = *(const __u64 *)in;
		s->words = proclet_malloc(s->bytes);
	}
	if (!s->words)
		return -ENOMEM;
	state = s->bytes;
	for (__u64 i = 0; i < s->bytes / 8; i++)
		s->words[i] = next_random(&state);
	return answer_checksum(s->words, s->bytes, out, out_cap);
}
PROCLET_METHOD(fill);

static ssize_t sum_of(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct place *s = root;

	(void)in;
	(void)in_len;
	return answer_checksum(s->words, s->bytes, out, out_cap);
}
PROCLET_METHOD(sum_of);

/* A thread that waits while its proclet moves. */
static ssize_t wait_for(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct place *s = root;
	int ret;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	__atomic_store_n(&s->waiting, 1, __ATOMIC_RELEASE);
	do {
		ret = proclet_sem_wait(&s->sem);
	} while (ret == -ENOMEM);
	return ret;
}
PROCLET_METHOD(wait_for);

static ssize_t is_waiting(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return __atomic_load_n(&((struct place *)root)->waiting, __ATOMIC_ACQUIRE);
}
PROCLET_METHOD(is_waiting);

static ssize_t post(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return proclet_sem_post(&((struct place *)root)->sem);
}
PROCLET_METHOD(post);

static void *nothing(void *arg)
{
	return arg;
}

/* What a proclet does within itself. */
static ssize_t within(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct place *s = root;
	proclet_thread_t t;
	__u64 bytes = 300000;
	void *ret = NULL;
	char *more;
	int err;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	more = proclet_malloc(bytes);
	if (!more)
		return -ENOMEM;
	memset(more, 1, bytes);
	proclet_free(more);
	err = proclet_thread_create(&t, nothing, s);
	if (err)
		return err;
	err = proclet_thread_join(t, &ret);
	if (!err && ret != s)
		err = -EILSEQ;
	err = err ?: proclet_sleep_until(proclet_clock_ns() + 1000);
	if (err)
		return err;
	err = proclet_sem_timedwait(&s->sem, 1);
	return err == -ETIMEDOUT ? 0 : err;
}
PROCLET_METHOD(within);

/* ---- failures ---- */

static bool failing;	/* one may happen */

/* In a scenario: it worked, or failed as it may. */
#define GOOD(what, expected) do {					\
	long long good_ = (long long)(what);				\
									\
	if (!failing || !right(good_))					\
		CHECK_EQ(good_, expected);				\
} while (0)

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

static unsigned int failures(char *way, size_t size, unsigned int *ways)
{
	int fd = open(FAIL "arm", O_RDONLY | O_CLOEXEC);
	unsigned int n = 0;
	ssize_t len;

	len = read(fd, way, size - 1);
	close(fd);
	way[len < 0 ? 0 : len] = 0;
	if (sscanf(way, "%u %u", &n, ways) != 2)
		return ~0;
	return n;
}

static void tell_way(char *way)
{
	char *line = strchr(way, '\n');

	for (line = strtok(line ?: way, "\n"); line; line = strtok(NULL, "\n"))
		diag("    %s", line);
}

static int load(void)
{
	unsigned long start;
	unsigned int size;
	char line[512], command[600];
	FILE *f;

	TRY(tap_nodes(2));
	if (!access(FAIL "arm", F_OK))
		return KSFT_PASS;
	if (access(FAIL_MODULE, R_OK))
		SKIP("there is no " FAIL_MODULE);
	f = fopen("/proc/modules", "r");
	CHECK(f);
	*command = 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "proclet %u %*s %*s %*s %lx", &size, &start) == 2)
			snprintf(command, sizeof(command),
				 "insmod " FAIL_MODULE " start=%#lx end=%#lx", start,
				 start + size);
	fclose(f);
	CHECK(*command);
	if (system(command))
		SKIP("the module with the failures cannot be loaded");
	return KSFT_PASS;
}

static proclet_t homes[2];	/* pinned, one on each node */

/* The connection between the two may have been lost. */
static int settle(void)
{
	for (int i = 0; i < BACK * 100; i++) {
		__u64 n = 3;

		if (proclet_call(homes[1], echo, &n, sizeof(n), &n, sizeof(n)) == sizeof(n))
			return KSFT_PASS;
		usleep(10000);
	}
	CHECK(!"the connection is back");
	return KSFT_FAIL;
}

struct left {
	__u64 proclets;
	__u64 memory;
};

static int take_stock(struct left *left)
{
	struct proclet_stats s;

	for (int i = 0; i < 2; i++) {
		CHECK_EQ(lproc_stats(nodes[i], &s), 0);
		left[i].proclets = s.proclets;
		left[i].memory = s.memory;
	}
	return KSFT_PASS;
}

/* What was destroyed goes in the background. */
static int check_stock(const struct left *before)
{
	struct left now[2];

	for (int i = 0; i < 1000; i++) {
		TRY(take_stock(now));
		if (now[0].proclets == before[0].proclets && now[1].proclets == before[1].proclets)
			return KSFT_PASS;
		usleep(10000);
	}
	CHECK_EQ(now[0].proclets, before[0].proclets);
	CHECK_EQ(now[1].proclets, before[1].proclets);
	return KSFT_PASS;
}

/* In the last sweep. */
static unsigned int failed;

/* Repeat a scenario until nothing fails any more. */
static int sweep(int (*scenario)(void))
{
	unsigned int ways = 0, quiet = 0, n;
	static char way[PAGE];
	struct left before[2];
	int ret;

	TRY(load());
	for (int i = 0; i < 2; i++) {
		struct proclet_attr attr = { 1 << 20, nodes[i], PROCLET_PINNED,
					     sizeof(struct place) };

		CHECK_EQ(proclet_create(&homes[i], &attr), 0);
	}
	failed = 0;
	/* What is allocated only once, and that it works. */
	failing = false;
	TRY(scenario());
	tap_cleanup();
	TRY(take_stock(before));
	CHECK(write_file(FAIL "again", "1"));
	snprintf(way, sizeof(way), "%u", env_number("PROCLET_TEST_TURNS", 1));
	CHECK(write_file(FAIL "turns", way));
	while (quiet < 2) {
		failing = true;
		CHECK(write_file(FAIL "arm", "1"));
		ret = scenario();
		CHECK(write_file(FAIL "arm", "0"));
		failing = false;
		n = failures(way, sizeof(way), &ways);
		if (ret != KSFT_PASS) {
			diag("after failure %u:", failed + n);
			tell_way(way);
			return ret;
		}
		if (env_number("PROCLET_TEST_VERBOSE", 0) && n) {
			diag("failure %u:", failed + n);
			tell_way(way);
		}
		quiet = n ? 0 : quiet + 1;
		failed += n;
		ret = settle();
		tap_cleanup();
		if (ret == KSFT_PASS)
			ret = check_stock(before);
		if (ret != KSFT_PASS) {
			diag("left over after failure %u:", failed);
			tell_way(way);
			return ret;
		}
	}
	diag("%u failures, on %u ways", failed, ways);
	TRY(scenario());
	for (int i = 0; i < 2; i++)
		CHECK_EQ(proclet_destroy(homes[i]), 0);
	return KSFT_PASS;
}

#define SWEEP(name) static int name(void) { return sweep(do_##name); }

/* make(), or as it may fail: then *p is 0. */
static int make_or_not(proclet_t *p, int node, size_t capacity)
{
	struct proclet_attr attr = { capacity, node, 0, sizeof(struct place) };
	int ret = proclet_create(p, &attr);

	GOOD(ret, 0);
	if (ret)
		*p = 0;
	else
		made[made_count++] = *p;
	return KSFT_PASS;
}

/* ---- scenarios ---- */

static const __u32 lengths[] = { 8, 200, 3000, 100000 };
static unsigned char sent[100000], got[100000];

/* The callee ran as often as was said. */
static int check_count(proclet_t p, __u64 done, __u64 perhaps)
{
	ssize_t n;
	int tries = 0;

	do {
		n = proclet_call(p, counted, NULL, 0, NULL, 0);
		if (n == -EHOSTUNREACH)
			usleep(10000);
	} while (right(n) && ++tries < BACK * 100);
	CHECK_GE(n, done);
	CHECK_GE(done + perhaps, n);
	return KSFT_PASS;
}

static int do_calls(void)
{
	__u64 done, perhaps;
	struct onward o;
	proclet_t p;
	ssize_t ret;

	memset(sent, 3, sizeof(sent));
	for (int i = 0; i < 2; i++) {
		TRY(make_or_not(&p, nodes[i], 1 << 20));
		if (!p)
			continue;
		done = perhaps = 0;
		for (unsigned int n = 0; n < 3 * ARRAY_SIZE(lengths); n++) {
			__u32 len = lengths[n % ARRAY_SIZE(lengths)];

			got[len - 1] = 0;
			o.to = p;
			o.bytes = len;
			if (n < ARRAY_SIZE(lengths))
				ret = proclet_call(p, echo, sent, len, got, len);
			else if (n < 2 * ARRAY_SIZE(lengths))
				ret = caller_wait(caller_start(p, echo, sent, len, got, len));
			else
				ret = proclet_call(homes[!i], relay, &o, sizeof(o), NULL, 0);
			GOOD(ret, len);
			if (ret == len && n < 2 * ARRAY_SIZE(lengths))
				CHECK_EQ(got[len - 1], sent[len - 1]);
			done += ret == len;
			/* A relay that was not executed, or a call that it made. */
			perhaps += ret == -ECONNRESET;
		}
		TRY(check_count(p, done, perhaps));
	}
	return KSFT_PASS;
}

static int calls(void)
{
	TRY(sweep(do_calls));
	CHECK_GE(failed, 20);
	return KSFT_PASS;
}

static int do_objects(void)
{
	struct timespec no_time = { 0, 1 };
	char name[32];
	proclet_t p, q;
	ssize_t ret;

	for (int i = 0; i < 2; i++) {
		TRY(make_or_not(&p, nodes[i], 1 << 20));
		if (!p)
			continue;
		snprintf(name, sizeof(name), "nomem%d", i);
		ret = proclet_publish(name, p);
		GOOD(ret, 0);
		if (!ret) {
			ret = proclet_lookup(name, &q);
			GOOD(ret, 0);
			if (!ret)
				CHECK_EQ(q, p);
		}
		do {
			ret = proclet_unpublish(name);
		} while (failing && right(ret));
		if (!failing)
			CHECK_EQ(ret, 0);
		ret = proclet_get(p);
		GOOD(ret, 0);
		if (!ret)
			GOOD(proclet_put(p), 0);
		GOOD(proclet_locate(p), nodes[i]);
		GOOD(proclet_call(p, within, NULL, 0, NULL, 0), 0);
		GOOD(caller_wait(caller_start(p, within, NULL, 0, NULL, 0)), 0);
		GOOD(proclet_write(p, offsetof(struct place, bytes), sent, 8), 8);
		GOOD(proclet_read(p, 0, got, 8), 8);
		GOOD(proclet_write(p, 512, sent, 16000), 16000);
		ret = proclet_read(p, 512, got, 16000);
		GOOD(ret, 16000);
		ret = proclet_call_timeout(p, counted, NULL, 0, NULL, 0, &no_time);
		if (ret != -ETIMEDOUT && ret != -ECANCELED)
			GOOD(ret < 0 ? ret : 0, 0);
		ret = proclet_destroy(p);
		GOOD(ret, 0);
		if (!ret)
			made_count--;
	}
	return KSFT_PASS;
}
SWEEP(objects)

/* There, and back. */
static int travel(unsigned int mode, size_t capacity, __u64 bytes)
{
	__u64 sum, again;
	struct caller *c;
	proclet_t p;
	ssize_t ret;

	for (int i = 0; i < 2; i++) {
		TRY(make_or_not(&p, nodes[i], capacity));
		if (!p)
			continue;
		ret = proclet_call(p, fill, &bytes, sizeof(bytes), &sum, sizeof(sum));
		GOOD(ret, sizeof(sum));
		if (ret < 0)
			continue;
		c = caller_start(p, wait_for, NULL, 0, NULL, 0);
		while (!c->ret && !proclet_call(p, is_waiting, NULL, 0, NULL, 0))
			usleep(1000);
		for (int k = 1; k < 3; k++)
			GOOD(proclet_migrate(p, nodes[(i + k) % 2], mode), 0);
		ret = proclet_call(p, sum_of, NULL, 0, &again, sizeof(again));
		/* What was lost with the memory that had not followed is gone. */
		if (!failing || mode != PROCLET_MOVE_POSTCOPY || ret != -ESTALE)
			GOOD(ret, sizeof(again));
		if (ret == sizeof(again))
			CHECK_EQ(again, sum);
		do {
			ret = proclet_call(p, post, NULL, 0, NULL, 0);
			if (ret == -EHOSTUNREACH)
				usleep(10000);
		} while (failing && right(ret));
		if (!failing || mode != PROCLET_MOVE_POSTCOPY || ret != -ESTALE)
			CHECK_EQ(ret, 0);
		GOOD(caller_wait(c), 0);
	}
	return KSFT_PASS;
}

static int do_stop_and_copy(void)
{
	return travel(PROCLET_MOVE_STOP, 1 << 20, 40 * PAGE);
}
SWEEP(stop_and_copy)

static int do_precopy(void)
{
	return travel(PROCLET_MOVE_PRECOPY, 1 << 20, 40 * PAGE);
}
SWEEP(precopy)

static int do_postcopy(void)
{
	return travel(PROCLET_MOVE_POSTCOPY, 1 << 20, 40 * PAGE);
}
SWEEP(postcopy)

static int do_large(void)
{
	return travel(0, 16 << 20, 6 << 20);
}
SWEEP(large)

static int by_ring(struct io_uring *r, proclet_t p, int to)
{
	__u64 n = 7, back = 0;
	int res;

	proclet_prep_call(entry(r, 1), p, echo, &n, sizeof(n), &back, sizeof(back));
	TRY(result_of(r, 1, &res));
	GOOD(res, sizeof(n));
	if (res >= 0)
		CHECK_EQ(back, n);
	proclet_prep_call(entry(r, 2), p, echo, sent, 50000, got, 50000);
	TRY(result_of(r, 2, &res));
	GOOD(res, 50000);
	proclet_prep_migrate(entry(r, 3), p, to, 0);
	TRY(result_of(r, 3, &res));
	GOOD(res, 0);
	return KSFT_PASS;
}

static int ring_scenario(void)
{
	struct io_uring r;
	int ret = KSFT_PASS;
	proclet_t p;

	if (io_uring_queue_init(4, &r, IORING_SETUP_SQE128))
		return failing ? KSFT_PASS : KSFT_FAIL;
	for (int i = 0; i < 2 && ret == KSFT_PASS; i++) {
		ret = make_or_not(&p, nodes[i], 1 << 20);
		if (ret == KSFT_PASS && p)
			ret = by_ring(&r, p, nodes[!i]);
	}
	io_uring_queue_exit(&r);
	return ret;
}

static int do_rings(void)
{
	return native(ring_scenario);
}
SWEEP(rings)

/* ---- nodes and members ---- */

#define CONFIG	"/sys/kernel/config/proclet/"

/* Two nodes more, connected with one another. */
static const char * const configure[] = {
	"echo 0123456789abcdef0123456789abcdef | procletctl key add proclet:nomem",
	"procletctl node add x1 id=30 transport=$T $A keys=proclet:nomem",
	"procletctl node add x2 id=31 transport=$T $B keys=proclet:nomem",
	"procletctl peer add x1 x2 id=31 $B",
	"procletctl peer add x2 x1 id=30 $A",
	"procletctl node enable x1",
	"procletctl node enable x2",
};

static const char unconfigure[] =
	"for n in x1 x2; do [ ! -d " CONFIG "$n ] || procletctl node del $n || exit 1; done";

static int do_configuration(void)
{
	const char *quiet = failing ? "exec 2>/dev/null; " : "";
	char transport[32], text[200];
	int ret = 0;
	bool rdma;

	CHECK_EQ(node_read(NODES_CLASS, nodes[0], "transport", transport), 0);
	rdma = !strncmp(transport, "rdma", 4);
	setenv("T", rdma ? "rdma" : "loop", 1);
	setenv("A", rdma ? "addr=10.77.0.1 port=8001" : "", 1);
	setenv("B", rdma ? "addr=10.77.0.1 port=8002" : "", 1);
	for (size_t i = 0; i < ARRAY_SIZE(configure) && !ret; i++) {
		snprintf(text, sizeof(text), "%s%s", quiet, configure[i]);
		ret = system(text);
	}
	if (!failing)
		CHECK_EQ(ret, 0);
	/* Whoever is configured connects, if not at once. */
	if (!ret)
		CHECK_EQ(system("procletctl wait -t 60 x1 && procletctl wait -t 60 x2"), 0);
	ret = system(unconfigure);
	if (ret && failing)
		ret = system(unconfigure);
	CHECK_EQ(ret, 0);
	CHECK_EQ(access(CONFIG "x1", F_OK), -1);
	CHECK_EQ(access(CONFIG "x2", F_OK), -1);
	return KSFT_PASS;
}
SWEEP(configuration)

#define JOIN_NAME	"nomem-join"

static __u64 join_run(void)
{
	return strtoull(getenv("PROCLET_RUN") ?: "0", NULL, 16) + 1;
}

/* A member on the other node that is there all the time; it goes with the test's. */
static int sit(void)
{
	int fd = raw_open();

	if (fd < 0 || raw_join(fd, JOIN_NAME, join_run()))
		return 1;
	for (;;)
		pause();
}

/* A process of this one: joins it, and leaves. 0: it worked; 1: as it may fail; 2 */
#define JOINED(what) do {						\
	long long joined_ = (long long)(what);				\
									\
	if (joined_ < 0 && right(joined_))				\
		return 1;						\
	if (joined_ < 0) {						\
		fprintf(stderr, "%s: %lld\n", #what, joined_);		\
		return 2;						\
	}								\
} while (0)

static __u64 here, there;

static int join(int fd, __u32 other)
{
	struct proclet_create_args args = { .capacity = MIB, .root_size = 64 };
	volatile struct proclet_heap *heap;
	__u64 stack = 0;

	JOINED(fd);
	JOINED(raw_join(fd, JOIN_NAME, join_run()));
	JOINED(raw_members(fd, 2, 60000, NULL));
	JOINED(raw_map_region(fd));
	if (!raw_map_workers(fd) || !raw_map_presence(fd))
		JOINED(-errno);
	JOINED(raw_create(fd, &args, 0, &here));
	JOINED(raw_create(fd, &args, other, &there));
	JOINED(raw_brk(fd, here, 40 * PAGE));
	heap = (void *)PROCLET_ID_HEAP(here);
	if (heap->id != here)
		return 2;
	JOINED(raw_stack(fd, PROCLET_STACK_ALLOC, &stack));
	*(volatile char *)(stack + PROCLET_STACK_SIZE - 1) = 1;
	JOINED(raw_stack(fd, PROCLET_STACK_FREE, &stack));
	JOINED(raw_migrate(fd, here, other));
	JOINED(raw_locate(fd, here));
	return 0;
}

/* The next one will have the same addresses, so nothing may stay with the other. */
static int join_and_leave(__u32 other)
{
	int fd = raw_open(), ret = join(fd, other);

	while (here && right(raw_destroy(fd, here)))
		;
	while (there && right(raw_destroy(fd, there)))
		;
	return ret;
}

static int do_joining(void)
{
	char program[512], text[600];
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	int ret;

	CHECK_GE(n, 1);
	program[n] = 0;
	snprintf(text, sizeof(text), "timeout 120 %s join %d 1>&2", program, nodes[1]);
	ret = system(text);
	CHECK(WIFEXITED(ret));
	GOOD(WEXITSTATUS(ret) == 1 ? -ENOMEM : WEXITSTATUS(ret), 0);
	return KSFT_PASS;
}

static int joining(void)
{
	char program[512], text[600];
	proclet_t other;
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

	TRY(tap_nodes(2));
	CHECK_GE(n, 1);
	program[n] = 0;
	TRY(make(&other, nodes[1], 1 << 20, 8));
	made_count--;
	snprintf(text, sizeof(text), "PROCLET_NODE=%d %s sit </dev/null 1>&2 &", nodes[1],
		 program);
	CHECK_EQ(proclet_call(other, command, text, strlen(text) + 1, NULL, 0), 0);
	CHECK_EQ(proclet_destroy(other), 0);
	return sweep(do_joining);
}

static int do_views(void)
{
	/* Whoever reads may be told that there is no memory. */
	int ret = system("for f in /proc/proclet/* /sys/class/proclet/*/* /sys/kernel/debug/proclet/*/*; do [ -f $f ] && [ ${f##*/} != reset ] && cat $f; done >/tmp/views 2>&1");

	if (!failing)
		CHECK_EQ(ret, 0);
	return KSFT_PASS;
}
SWEEP(views)

static const struct tap_test tests[] = {
	{ "calls", calls, 1800 },
	{ "objects", objects, 1800 },
	{ "stop_and_copy", stop_and_copy, 1800 },
	{ "precopy", precopy, 1800 },
	{ "postcopy", postcopy, 1800 },
	{ "large", large, 1800 },
	{ "rings", rings, 1800 },
	{ "views", views, 1800 },
	{ "configuration", configuration, 1800 },
	{ "joining", joining, 1800 },
};

static int root(int argc, char **argv)
{
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "sit"))
		return sit();
	if (argc > 2 && !strcmp(argv[1], "join"))
		return join_and_leave(strtoul(argv[2], NULL, 10));
	lproc_set_flags(LPROC_SURVIVE);
	return lproc_main("nomem", root, argc, argv) & 0xff;
}
