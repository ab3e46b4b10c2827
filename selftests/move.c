// SPDX-License-Identifier: GPL-2.0
/* Migration: what a proclet and its threads are before, they are afterwards. */
#include "held.h"
#include "moved.h"
#include "raw.h"

#include <stdint.h>

/* ---- methods of what is moved ---- */

static ssize_t run_spin(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return spin(m) == (long)m->count ? lproc_node() : -EIO;
}
PROCLET_METHOD(run_spin);

/* As run_spin, many in one proclet: each has a counter of its own. */
static ssize_t run_spin_many(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	__u64 mine = 0;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	__atomic_add_fetch(&m->started, 1, __ATOMIC_RELAXED);
	while (!m->stop)
		mine++;
	__atomic_add_fetch(&m->count, 1, __ATOMIC_RELAXED);
	return mine > 0;
}
PROCLET_METHOD(run_spin_many);

/* ---- registers (move_regs.S) ---- */

#define GENERAL 13

struct fpu {
	__u8 xmm[16][16];
	__u32 mxcsr;
	__u16 cw;
	__u16 pad[5];
	__u8 st[8][16];
};

_Static_assert(offsetof(struct fpu, cw) == 260 && offsetof(struct fpu, st) == 272,
	       "as in move_regs.S");

void hold_general(const __u64 *want, __u64 *got, volatile __u32 *stop, volatile __u64 *count);
void hold_fpu(const struct fpu *want, struct fpu *got, volatile __u32 *stop,
	      volatile __u64 *count);
void hold_avx(const __u8 *want, __u8 *got, volatile __u32 *stop, volatile __u64 *count);

/* These return how many registers have changed. */
static ssize_t run_general(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	__u64 want[GENERAL], got[GENERAL + 1];
	ssize_t wrong = 0;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	for (int i = 0; i < GENERAL; i++)
		want[i] = 0x0123456789abcdefULL * (i + 1);
	m->started = 1;
	hold_general(want, got, &m->stop, &m->count);
	for (int i = 0; i < GENERAL; i++)
		wrong += got[i] != want[i];
	return wrong + !(got[GENERAL] & 0x400);		/* the direction flag */
}
PROCLET_METHOD(run_general);

static ssize_t run_fpu(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	struct fpu want = { .mxcsr = 0x7fa0, .cw = 0xf7f }, got = { .cw = 0 };
	ssize_t wrong = 0;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < 16; j++)
			want.xmm[i][j] = i * 16 + j + 1;
	for (int i = 0; i < 8; i++) {
		long double v = 3.14159265358979323846L * (i + 1);

		for (int j = 0; j < 10; j++)
			want.st[i][j] = ((__u8 *)&v)[j];
	}
	m->started = 1;
	hold_fpu(&want, &got, &m->stop, &m->count);
	for (int i = 0; i < 16; i++)
		wrong += !!memcmp(want.xmm[i], got.xmm[i], 16);
	for (int i = 0; i < 8; i++)
		wrong += !!memcmp(want.st[i], got.st[i], 10);
	return wrong + (want.mxcsr != got.mxcsr) + (want.cw != got.cw);
}
PROCLET_METHOD(run_fpu);

static ssize_t run_avx(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	__u8 want[16][32], got[16][32];
	ssize_t wrong = 0;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < 32; j++)
			want[i][j] = i * 32 + j + 3;
	m->started = 1;
	hold_avx(want[0], got[0], &m->stop, &m->count);
	for (int i = 0; i < 16; i++)
		wrong += !!memcmp(want[i], got[i], 32);
	return wrong;
}
PROCLET_METHOD(run_avx);

/* ---- in the C library ---- */

static int compare_words(const void *a, const void *b)
{
	__u32 x = *(const __u32 *)a, y = *(const __u32 *)b;

	return x < y ? -1 : x > y;
}

static ssize_t run_libc(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	__u64 state = 7;
	__u32 *words = proclet_malloc(40000);
	char *bytes = proclet_malloc(65536), *copy = proclet_malloc(65536);

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	if (!words || !bytes || !copy)
		return -ENOMEM;
	while (!m->stop) {
		/* Small: sorted on the stack. Large: in memory from malloc(). */
		int n = m->count % 4 ? 100 : 10000, at;
		__u64 sum = 0;
		char text[64];

		for (int i = 0; i < n; i++) {
			words[i] = next_random(&state);
			sum += words[i];
		}
		qsort(words, n, sizeof(*words), compare_words);
		for (int i = 0; i < n; i++) {
			m->wrong += i && words[i - 1] > words[i];
			sum -= words[i];
		}
		m->wrong += !!sum;

		memset(bytes, m->count, 65536);
		memcpy(copy, bytes, 65536);
		m->wrong += !!memcmp(bytes, copy, 65536);
		at = next_random(&state) % 65536;
		copy[at] = ~copy[at];
		m->wrong += memchr(copy, copy[at], 65536) != copy + at;
		copy[65535] = 0;

		at = snprintf(text, sizeof(text), "%llu %s", (unsigned long long)m->count, "x");
		m->wrong += at != (int)strlen(text);
		m->wrong += strtoull(text, NULL, 10) != m->count;
		m->count++;
		m->started = 1;
	}
	proclet_free(copy);
	proclet_free(bytes);
	proclet_free(words);
	return lproc_node();
}
PROCLET_METHOD(run_libc);

/* Blocked in a system call of the C library: in: a file descriptor. */
static ssize_t run_read(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	char c = 0;
	ssize_t n;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(int))
		return -EINVAL;
	m->started = 1;
	n = read(*(const int *)in, &c, 1);
	return n == 1 ? c : -EBADF;
}
PROCLET_METHOD(run_read);

/* ---- calls ---- */

/* Calls run_spin in another proclet, and says where that and this ended. */
static ssize_t call_spin(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	proclet_t p;
	ssize_t ret;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(p))
		return -EINVAL;
	memcpy(&p, in, sizeof(p));
	m->started = 1;
	ret = proclet_call(p, run_spin, NULL, 0, NULL, 0);
	return ret < 0 ? ret : ret * 100 + lproc_node();
}
PROCLET_METHOD(call_spin);

/* Moves itself along a list of nodes; returns how often it is not there. */
static ssize_t move_self(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	int to[64], n = in_len / sizeof(int), ret;
	ssize_t wrong = 0;
	__u64 local = 0x1122334455667788ULL;

	(void)out;
	(void)out_cap;
	memcpy(to, in, n * sizeof(int));
	for (int i = 0; i < n; i++) {
		m->count++;
		ret = proclet_migrate(proclet_self(), to[i], 0);
		if (ret)
			return ret;
		wrong += lproc_node() != to[i];
		local += i;
		keep(&local);
	}
	return wrong + (local != 0x1122334455667788ULL + n * (n - 1) / 2) + (m->count != (__u64)n);
}
PROCLET_METHOD(move_self);

static ssize_t run_pinned(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	proclet_pin();
	proclet_pin();
	m->started = 1;
	while (m->stop < 1)
		;
	proclet_unpin();
	m->started = 2;
	while (m->stop < 2)
		;
	proclet_unpin();
	m->started = 3;
	while (m->stop < 3)
		;
	return lproc_node();
}
PROCLET_METHOD(run_pinned);

/* ---- helpers: pinned proclets that do something to their node ---- */

static ssize_t set_budget(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	char old[32];
	int ret;

	(void)root;
	if (in_len != 32 || out_cap != 32)
		return -EINVAL;
	ret = node_set(lproc_node(), "budget", in, old);
	memcpy(out, old, 32);
	return ret ? ret : 32;
}
PROCLET_METHOD(set_budget);

/* A pipe on this node for run_read; out: its end to read. */
static int block_pipe[2] = { -1, -1 };

static ssize_t open_block(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	if (out_cap != sizeof(int))
		return -EINVAL;
	if (block_pipe[0] < 0 && pipe(block_pipe))
		return -errno;
	memcpy(out, &block_pipe[0], sizeof(int));
	return sizeof(int);
}
PROCLET_METHOD(open_block);

static ssize_t end_block(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return write(block_pipe[1], "r", 1) == 1 ? 0 : -errno;
}
PROCLET_METHOD(end_block);

/* ---- the root's part ---- */

static int helper(proclet_t *p, int node)
{
	struct proclet_attr attr = { 1 << 20, node, PROCLET_PINNED, 0 };

	CHECK_EQ(proclet_create(p, &attr), 0);
	made[made_count++] = *p;
	return KSFT_PASS;
}

static int idle(void)
{
	__u64 sum;
	proclet_t p;

	TRY(tap_nodes(2));
	for (int home = 0; home < node_count; home++) {
		TRY(filled(&p, nodes[home], 1 << 20, &sum));
		TRY(is_on(p, nodes[home]));
		for (int i = 1; i <= node_count; i++) {
			TRY(move(p, nodes[(home + i) % node_count]));
			TRY(unchanged(p, sum));
		}
	}
	return KSFT_PASS;
}

/* Nothing but the header; a large heap; memory with holes. */
static int sizes(void)
{
	static const __u64 bytes[] = { 0, 4096, 65536, 1 << 20, 24 << 20 };
	proclet_t p;
	__u64 sum;

	TRY(tap_nodes(2));
	TRY(make(&p, nodes[0], 1 << 20, 0));
	TRY(move(p, nodes[1]));
	TRY(move(p, nodes[0]));
	for (size_t i = 0; i < ARRAY_SIZE(bytes); i++) {
		TRY(filled(&p, nodes[i % 2], bytes[i], &sum));
		TRY(move(p, nodes[!(i % 2)]));
		TRY(unchanged(p, sum));
		TRY(move(p, nodes[i % 2]));
		TRY(unchanged(p, sum));
		CHECK_EQ(proclet_destroy(p), 0);
	}
	return KSFT_PASS;
}

static int already_there(void)
{
	struct proclet_move mv;
	proclet_t p;

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		TRY(mover(&p, nodes[i]));
		memset(&mv, 0xee, sizeof(mv));
		CHECK_EQ(proclet_migrate_stat(p, nodes[i], 0, &mv), 0);
		CHECK_EQ(mv.blackout_ns, 0);
		CHECK_EQ(mv.bytes, 0);
		TRY(move(p, nodes[!i]));
		CHECK_EQ(proclet_migrate(p, nodes[!i], 0), 0);
		TRY(is_on(p, nodes[!i]));
	}
	return KSFT_PASS;
}

static int says_how_it_went(void)
{
	struct proclet_move mv;
	struct caller *c;
	__u32 registered = 0;
	proclet_t p;
	__u64 sum;

	TRY(tap_nodes(2));
	TRY(filled(&p, nodes[0], 1 << 20, &sum));
	c = caller_start(p, run_spin, NULL, 0, NULL, 0);
	TRY(wait_started(p, 1));
	for (int i = 1; i < 5; i++) {
		memset(&mv, 0, sizeof(mv));
		CHECK_EQ(proclet_migrate_stat(p, nodes[i % 2], 0, &mv), 0);
		CHECK_GE(mv.bytes, 1 << 20);
		CHECK_GE(8 << 20, mv.bytes);
		CHECK_EQ(mv.threads, 1);
		CHECK_EQ(mv.parked, 1);
		registered += mv.registered;
		CHECK_GE(mv.blackout_ns, mv.freeze_ns + mv.offer_ns + mv.pull_ns);
		/* By post-copy there is no COMMIT. */
		CHECK_GE(mv.mode == PROCLET_MOVE_POSTCOPY ? mv.pull_ns : mv.commit_ns,
			 mv.resume_ns);
		CHECK_GE(mv.prepare_ns, 1);
	}
	/* Its stack was there before it was stopped: but for a page that it has just begun. */
	CHECK_GE(2, registered);
	TRY(end_phase(p, 1));
	CHECK_EQ(caller_wait(c), nodes[0]);
	return KSFT_PASS;
}

static int bad_destinations(void)
{
	proclet_t p;
	__u64 sum;

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		TRY(filled(&p, nodes[i], 65536, &sum));
		CHECK_EQ(proclet_migrate(p, 31, 0), -EHOSTUNREACH);
		CHECK(proclet_migrate(p, 0, 0) < 0);
		CHECK(proclet_migrate(p, -1, 0) < 0);
		CHECK(proclet_migrate(p, 33, 0) < 0);
		CHECK_EQ(proclet_migrate(p, nodes[!i], 99), -EINVAL);
		TRY(is_on(p, nodes[i]));
		TRY(unchanged(p, sum));
		TRY(move(p, nodes[!i]));
	}
	return KSFT_PASS;
}

static int pinned_at_creation(void)
{
	proclet_t p;

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		TRY(helper(&p, nodes[i]));
		CHECK_EQ(proclet_migrate(p, nodes[!i], 0), -EBUSY);
		CHECK_EQ(proclet_migrate(p, nodes[i], 0), 0);
		TRY(is_on(p, nodes[i]));
	}
	return KSFT_PASS;
}

/* A method that runs while its proclet moves, ten times. */
static int while_running(proclet_method_t method)
{
	proclet_t p;

	TRY(tap_nodes(2));
	for (int home = 0; home < 2; home++) {
		struct caller *c;

		TRY(mover(&p, nodes[home]));
		c = caller_start(p, method, NULL, 0, NULL, 0);
		TRY(wait_started(p, 1));
		for (int i = 1; i <= 10; i++) {
			TRY(move(p, nodes[(home + i) % node_count]));
			TRY(alive(p));
		}
		TRY(end_phase(p, 1));
		CHECK_EQ(caller_wait(c), method == run_spin ?
			 nodes[(home + 10) % node_count] : 0);
	}
	return KSFT_PASS;
}

static int tight_loop(void)
{
	return while_running(run_spin);
}

static int general_registers(void)
{
	return while_running(run_general);
}

static int floating_point_registers(void)
{
	return while_running(run_fpu);
}

static int avx_registers(void)
{
	if (!__builtin_cpu_supports("avx"))
		SKIP("the processor has no AVX");
	return while_running(run_avx);
}

static int many_threads(void)
{
	const int n = 8;
	struct caller *c[8];
	struct mover m;
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(mover(&p, nodes[0]));
	for (int i = 0; i < n; i++)
		c[i] = caller_start(p, run_spin_many, NULL, 0, NULL, 0);
	do {
		TRY(look(p, &m));
	} while (m.started < (__u32)n);
	for (int i = 1; i <= 10; i++)
		TRY(move(p, nodes[i % node_count]));
	TRY(end_phase(p, 1));
	for (int i = 0; i < n; i++)
		CHECK_EQ(caller_wait(c[i]), 1);
	TRY(look(p, &m));
	CHECK_EQ(m.count, n);
	return KSFT_PASS;
}

static int stack_protector(void)
{
	struct caller *c;
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(mover(&p, nodes[0]));
	c = caller_start(p, spin_protected, NULL, 0, NULL, 0);
	TRY(wait_started(p, 1));
	TRY(move(p, nodes[1]));
	TRY(alive(p));
	/* Its hundred frames are left on another node than they were entered. */
	TRY(end_phase(p, 1));
	TRY(wait_started(p, 2));
	for (int i = 0; i < 20; i++)
		TRY(move(p, nodes[i % node_count]));
	TRY(end_phase(p, 2));
	CHECK_EQ(caller_wait(c), 0);
	return KSFT_PASS;
}

/* Stopped between its calls of the C library, never in them. */
static int in_the_c_library(void)
{
	int moved = 0, busy = 0, at = 0;
	struct caller *c;
	struct mover m;
	proclet_t p;

	TRY(tap_nodes(2));
	TRY(mover(&p, nodes[0]));
	c = caller_start(p, run_libc, NULL, 0, NULL, 0);
	TRY(wait_started(p, 1));
	for (int i = 0; i < 50; i++) {
		int to = (at + 1) % node_count;
		int ret = proclet_migrate(p, nodes[to], 0);

		if (ret)
			CHECK_EQ(ret, -EBUSY);
		else
			at = to;
		moved += !ret;
		busy += !!ret;
		TRY(is_on(p, nodes[at]));
		TRY(alive(p));
	}
	diag("moved %d times, busy %d times", moved, busy);
	CHECK_GE(moved, 1);
	TRY(look(p, &m));
	CHECK_EQ(m.wrong, 0);
	TRY(end_phase(p, 1));
	CHECK_EQ(caller_wait(c), nodes[at]);
	TRY(look(p, &m));
	CHECK_EQ(m.wrong, 0);
	return KSFT_PASS;
}

/* Blocked there: given up in bounded time, and nothing has happened to it. */
static int blocked_in_the_c_library(void)
{
	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		struct caller *c;
		proclet_t p, h;
		int fd;

		TRY(mover(&p, nodes[i]));
		TRY(helper(&h, nodes[i]));
		CHECK_EQ(proclet_call(h, open_block, NULL, 0, &fd, sizeof(fd)), sizeof(fd));
		c = caller_start(p, run_read, &fd, sizeof(fd), NULL, 0);
		TRY(wait_started(p, 1));
		CHECK_EQ(proclet_migrate(p, nodes[!i], 0), -EBUSY);
		TRY(is_on(p, nodes[i]));
		CHECK_EQ(proclet_call(h, end_block, NULL, 0, NULL, 0), 0);
		CHECK_EQ(caller_wait(c), 'r');
		TRY(move(p, nodes[!i]));
	}
	return KSFT_PASS;
}

static int pinned_for_a_while(void)
{
	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		struct caller *c;
		proclet_t p;

		TRY(mover(&p, nodes[i]));
		c = caller_start(p, run_pinned, NULL, 0, NULL, 0);
		TRY(wait_started(p, 1));
		CHECK_EQ(proclet_migrate(p, nodes[!i], 0), -EBUSY);
		TRY(is_on(p, nodes[i]));
		/* Pinned twice, released once. */
		TRY(end_phase(p, 1));
		TRY(wait_started(p, 2));
		CHECK_EQ(proclet_migrate(p, nodes[!i], 0), -EBUSY);
		TRY(is_on(p, nodes[i]));
		TRY(end_phase(p, 2));
		TRY(wait_started(p, 3));
		TRY(move(p, nodes[!i]));
		TRY(end_phase(p, 3));
		CHECK_EQ(caller_wait(c), nodes[!i]);
	}
	return KSFT_PASS;
}

/* Caller and callee move while one waits for the other. */
static int caller_and_callee_move(void)
{
	TRY(tap_nodes(2));
	for (int from = 0; from < 2; from++) {
		for (int to = 0; to < 2; to++) {
			int last = node_count - 1;
			proclet_t a, b;
			struct caller *c;

			TRY(mover(&a, nodes[from]));
			TRY(mover(&b, nodes[to]));
			c = caller_start(a, call_spin, &b, sizeof(b), NULL, 0);
			TRY(wait_started(b, 1));
			/* The callee, the caller, both, the callee to the caller. */
			TRY(move(b, nodes[!to]));
			TRY(alive(b));
			TRY(move(a, nodes[!from]));
			TRY(move(b, nodes[last]));
			TRY(move(a, nodes[0]));
			TRY(move(b, nodes[0]));
			TRY(move(a, nodes[last]));
			TRY(move(b, nodes[1]));
			TRY(alive(b));
			TRY(end_phase(b, 1));
			CHECK_EQ(caller_wait(c), nodes[1] * 100 + nodes[last]);
		}
	}
	return KSFT_PASS;
}

/* The reply finds a caller that has just moved, again and again. */
static int reply_to_a_moved_caller(void)
{
	TRY(tap_nodes(2));
	for (int i = 0; i < 20; i++) {
		proclet_t a, b;
		struct caller *c;

		TRY(mover(&a, nodes[i % 2]));
		TRY(mover(&b, nodes[i / 2 % 2]));
		c = caller_start(a, call_spin, &b, sizeof(b), NULL, 0);
		TRY(wait_started(b, 1));
		TRY(move(a, nodes[!(i % 2)]));
		TRY(end_phase(b, 1));
		CHECK_EQ(caller_wait(c), nodes[i / 2 % 2] * 100 + nodes[!(i % 2)]);
		CHECK_EQ(proclet_destroy(a), 0);
		CHECK_EQ(proclet_destroy(b), 0);
	}
	return KSFT_PASS;
}

static int moves_itself(void)
{
	int to[40];
	proclet_t p;

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		TRY(mover(&p, nodes[i]));
		for (int j = 0; j < 40; j++)
			to[j] = nodes[(i + j) % node_count];
		CHECK_EQ(proclet_call(p, move_self, to, sizeof(to), NULL, 0), 0);
		TRY(is_on(p, to[39]));
	}
	return KSFT_PASS;
}

static int no_memory_there(void)
{
	static const char little[32] = "65536";

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		char old[32];
		proclet_t p, h;
		struct caller *c;
		__u64 sum;
		int ret;

		TRY(filled(&p, nodes[i], 4 << 20, &sum));
		TRY(helper(&h, nodes[!i]));
		c = caller_start(p, run_spin, NULL, 0, NULL, 0);
		TRY(wait_started(p, 1));
		CHECK_EQ(proclet_call(h, set_budget, little, 32, old, 32), 32);
		ret = proclet_migrate(p, nodes[!i], 0);
		CHECK_EQ(proclet_call(h, set_budget, old, 32, old, 32), 32);
		CHECK_EQ(ret, -ENOMEM);
		TRY(is_on(p, nodes[i]));
		TRY(alive(p));
		TRY(unchanged(p, sum));
		/* When there is room again, it goes. */
		TRY(move(p, nodes[!i]));
		TRY(unchanged(p, sum));
		TRY(end_phase(p, 1));
		CHECK_EQ(caller_wait(c), nodes[!i]);
	}
	return KSFT_PASS;
}

static int page_in_use(void)
{
	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		struct caller *c;
		struct mover m;
		proclet_t p, h;
		void *page;
		__u64 sum;

		TRY(filled(&p, nodes[i], 1 << 20, &sum));
		TRY(helper(&h, nodes[i]));
		c = caller_start(p, run_spin, NULL, 0, NULL, 0);
		TRY(wait_started(p, 1));
		TRY(look(p, &m));
		page = (void *)(((uintptr_t)m.data + 8 * PAGE) & ~(PAGE - 1));
		CHECK_EQ(proclet_call(h, hold_page, &page, sizeof(page), NULL, 0), PAGE);
		for (int n = 0; n < 3; n++) {
			CHECK_EQ(proclet_migrate(p, nodes[!i], 0), -EBUSY);
			TRY(is_on(p, nodes[i]));
			TRY(alive(p));
			TRY(unchanged(p, sum));
		}
		CHECK_EQ(proclet_call(h, release_page, NULL, 0, NULL, 0), PAGE);
		TRY(move(p, nodes[!i]));
		TRY(alive(p));
		TRY(unchanged(p, sum));
		TRY(end_phase(p, 1));
		CHECK_EQ(caller_wait(c), nodes[!i]);
	}
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	TAP_TEST(idle),
	TAP_TEST(sizes),
	TAP_TEST(already_there),
	TAP_TEST(bad_destinations),
	TAP_TEST(pinned_at_creation),
	TAP_TEST(tight_loop),
	TAP_TEST(says_how_it_went),
	TAP_TEST(many_threads),
	TAP_TEST(general_registers),
	TAP_TEST(floating_point_registers),
	TAP_TEST(avx_registers),
	TAP_TEST(stack_protector),
	TAP_TEST(in_the_c_library),
	TAP_TEST(blocked_in_the_c_library),
	TAP_TEST(pinned_for_a_while),
	TAP_TEST(caller_and_callee_move),
	TAP_TEST(reply_to_a_moved_caller),
	TAP_TEST(moves_itself),
	TAP_TEST(no_memory_there),
	TAP_TEST(page_in_use),
};

static int root(int argc, char **argv)
{
	tap_stop = stop_proclet;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("move", root, argc, argv);
}
