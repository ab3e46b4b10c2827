// SPDX-License-Identifier: GPL-2.0
/* Calls: sizes, local and remote, nested, at once; stale ids; creation. */
#include "tap.h"

#include <stdint.h>

#include <linux/proclet.h>

#define MIB ((size_t)1 << 20)
#define MAX_PAYLOAD MIB

struct counter {
	__u64 value;
	__u64 zeroes[7];
	void *blocks;
};

/* One for each node, index as in nodes[]. */
static proclet_t on[32];

static unsigned char mixed(unsigned char c)
{
	return c * 7 + 1;
}

static ssize_t mix(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const unsigned char *from = in;
	unsigned char *to = out;

	(void)root;
	for (size_t i = 0; i < in_len && i < out_cap; i++)
		to[i] = mixed(from[i]);
	return in_len;
}
PROCLET_METHOD(mix);

static ssize_t sum(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	__u64 s = checksum(in, in_len);

	(void)root;
	if (out_cap < sizeof(s))
		return -EMSGSIZE;
	memcpy(out, &s, sizeof(s));
	return sizeof(s);
}
PROCLET_METHOD(sum);

/* In: a length and a seed, out: so many random bytes. */
static ssize_t fill(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const __u64 *arg = in;
	unsigned char *to = out;
	__u64 state;

	(void)root;
	if (in_len != 2 * sizeof(__u64))
		return -EINVAL;
	state = arg[1];
	for (size_t i = 0; i < arg[0] && i < out_cap; i++)
		to[i] = next_random(&state);
	return arg[0];
}
PROCLET_METHOD(fill);

static ssize_t fail(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)out;
	(void)out_cap;
	return in_len == sizeof(int) ? -*(const int *)in : -EINVAL;
}
PROCLET_METHOD(fail);

/* Claims more than there is room for, and writes what there is room for. */
static ssize_t boast(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	memset(out, 'x', out_cap);
	return in_len == sizeof(ssize_t) ? *(const ssize_t *)in : -EINVAL;
}
PROCLET_METHOD(boast);

static ssize_t where(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return lproc_node();
}
PROCLET_METHOD(where);

static ssize_t self(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	proclet_t p = proclet_self();

	(void)root;
	(void)in;
	(void)in_len;
	if (out_cap < sizeof(p))
		return -EMSGSIZE;
	memcpy(out, &p, sizeof(p));
	return sizeof(p);
}
PROCLET_METHOD(self);

static ssize_t add(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct counter *c = root;
	__u64 n = 1;

	if (in_len == sizeof(n))
		memcpy(&n, in, sizeof(n));
	n = __atomic_add_fetch(&c->value, n, __ATOMIC_RELAXED);
	if (out_cap >= sizeof(n))
		memcpy(out, &n, sizeof(n));
	return sizeof(n);
}
PROCLET_METHOD(add);

/* Nonzero bytes of the new root object. */
static ssize_t not_zero(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const unsigned char *p = root;
	ssize_t n = 0;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(size_t))
		return -EINVAL;
	for (size_t i = 0; i < *(const size_t *)in; i++)
		n += !!p[i];
	return n;
}
PROCLET_METHOD(not_zero);

/* Allot blocks of a size until there is none left; free them if told so. */
struct hoard_args {
	__u64 size;
	__u64 release;
};

static ssize_t hoard(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct hoard_args *a = in;
	struct counter *c = root;
	ssize_t n = 0;
	void **block;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(*a) || a->size < sizeof(void *))
		return -EINVAL;
	while ((block = proclet_malloc(a->size))) {
		memset(block, n, a->size);
		*block = c->blocks;
		c->blocks = block;
		n++;
	}
	while (a->release && c->blocks) {
		block = c->blocks;
		c->blocks = *block;
		proclet_free(block);
	}
	return n;
}
PROCLET_METHOD(hoard);

/* The rules of malloc(3) that programs rely on; returns the line that failed. */
static ssize_t heap_rules(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	unsigned char *p, *q;

	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	proclet_free(NULL);
	p = proclet_calloc(100, 10);
	if (!p || (uintptr_t)p % 16)
		return -__LINE__;
	for (int i = 0; i < 1000; i++)
		if (p[i])
			return -__LINE__;
	memset(p, 0x5c, 1000);
	q = proclet_realloc(p, 100000);
	if (!q)
		return -__LINE__;
	for (int i = 0; i < 1000; i++)
		if (q[i] != 0x5c)
			return -__LINE__;
	if (proclet_calloc(SIZE_MAX / 2, 3) || proclet_malloc(SIZE_MAX) ||
	    proclet_malloc(SIZE_MAX - 64) || proclet_malloc((size_t)1 << 40))
		return -__LINE__;
	if (proclet_realloc(q, SIZE_MAX - 8))
		return -__LINE__;
	for (int i = 0; i < 1000; i++)
		if (q[i] != 0x5c)
			return -__LINE__;
	proclet_free(q);
	return 0;
}
PROCLET_METHOD(heap_rules);

/* Call a chain of proclets, each from the one before. */
struct relay_args {
	__u64 left;
	__u64 count;
	proclet_t ids[32];
};

static ssize_t relay(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct relay_args a;
	struct counter *c = root;
	ssize_t ret;

	if (in_len != sizeof(a))
		return -EINVAL;
	memcpy(&a, in, sizeof(a));
	__atomic_add_fetch(&c->value, 1, __ATOMIC_RELAXED);
	if (!a.left)
		return 0;
	a.left--;
	ret = proclet_call(a.ids[a.left % a.count], relay, &a, sizeof(a), out, out_cap);
	return ret < 0 ? ret : ret + 1;
}
PROCLET_METHOD(relay);

/* Sends its argument on and returns what comes back: both copied twice. */
static ssize_t pass_on(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const proclet_t *to = in;

	(void)root;
	if (in_len < sizeof(*to))
		return -EINVAL;
	return proclet_call(*to, mix, to + 1, in_len - sizeof(*to), out, out_cap);
}
PROCLET_METHOD(pass_on);

static __attribute__((noinline)) __u64 descend(__u64 depth)
{
	volatile unsigned char frame[1024];
	__u64 below;

	memset((void *)frame, depth, sizeof(frame));
	below = depth ? descend(depth - 1) : 0;
	return below + frame[depth % sizeof(frame)];
}

/* Uses about @in KiB of its stack. */
static ssize_t deep_stack(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	__u64 n;

	(void)root;
	if (in_len != sizeof(n) || out_cap < sizeof(n))
		return -EINVAL;
	n = descend(*(const __u64 *)in);
	memcpy(out, &n, sizeof(n));
	return sizeof(n);
}
PROCLET_METHOD(deep_stack);

/* MXCSR without its status bits, and x87's control word. */
struct control_words {
	__u32 mxcsr;
	__u16 cw;
};

static struct control_words get_words(void)
{
	struct control_words w;

	asm volatile("stmxcsr %0; fnstcw %1" : "=m" (w.mxcsr), "=m" (w.cw));
	w.mxcsr &= ~0x3f;
	return w;
}

static void set_words(struct control_words w)
{
	asm volatile("ldmxcsr %0; fldcw %1" : : "m" (w.mxcsr), "m" (w.cw));
}

/* As they are when a method begins. */
static ssize_t first_words(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct control_words w = get_words();

	(void)root;
	(void)in;
	(void)in_len;
	if (out_cap < sizeof(w))
		return -EINVAL;
	memcpy(out, &w, sizeof(w));
	return sizeof(w);
}
PROCLET_METHOD(first_words);

static ssize_t unregistered(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return 0;
}

static int setup(void)
{
	TRY(tap_nodes(2));
	for (int i = 0; i < node_count; i++)
		TRY(make(&on[i], nodes[i], 16 * MIB, sizeof(struct counter)));
	return KSFT_PASS;
}

static void *buffer(size_t size, __u64 seed)
{
	unsigned char *b = malloc(size);

	for (size_t i = 0; i < size; i++)
		b[i] = next_random(&seed);
	return b;
}

static int one_size(proclet_t p, const unsigned char *in, unsigned char *out, size_t size)
{
	ssize_t ret;

	memset(out, 0xee, size + 1);
	ret = proclet_call(p, mix, in, size, out, size);
	if (ret != (ssize_t)size)
		diag("%zu bytes:", size);
	CHECK_EQ(ret, size);
	for (size_t i = 0; i < size; i++) {
		if (out[i] != mixed(in[i]))
			diag("byte %zu of %zu:", i, size);
		CHECK_EQ(out[i], mixed(in[i]));
	}
	CHECK_EQ(out[size], 0xee);
	return KSFT_PASS;
}

static const size_t sizes[] = {
	0, 1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000, 1023, 1024, 1025,
	2047, 2048, 2049, 3800, 3900, 3950, 3968, 3969, 3990, 4000, 4010, 4016, 4020, 4024,
	4032, 4040, 4048, 4056, 4064, 4072, 4080, 4088, 4095, 4096, 4097, 4200, 8191, 8192,
	8193, 65535, 65536, 65537, 100001, 524288, MAX_PAYLOAD - 4096, MAX_PAYLOAD - 1,
	MAX_PAYLOAD,
};

struct size_args {
	int node;
	int ret;
};

static int all_sizes(proclet_t p)
{
	unsigned char *in = buffer(MAX_PAYLOAD, 1), *out = malloc(MAX_PAYLOAD + 1);
	int ret = KSFT_PASS;

	for (size_t i = 0; i < ARRAY_SIZE(sizes) && ret == KSFT_PASS; i++)
		ret = one_size(p, in, out, sizes[i]);
	free(in);
	free(out);
	return ret;
}

static int sizes_local(void)
{
	TRY(setup());
	return all_sizes(on[0]);
}

static int sizes_remote(void)
{
	TRY(setup());
	return all_sizes(on[1]);
}

static void *sizes_in_thread(void *arg)
{
	struct size_args *a = arg;

	a->ret = all_sizes(on[a->node]);
	return NULL;
}

static int sizes_from_native_thread(void)
{
	static struct size_args a;

	TRY(setup());
	for (a.node = 0; a.node < 2; a.node++) {
		pthread_t t;

		CHECK_EQ(pthread_create(&t, NULL, sizes_in_thread, &a), 0);
		pthread_join(t, NULL);
		TRY(a.ret);
	}
	return KSFT_PASS;
}

/* A callee does not inherit how its caller calculates, and that goes on as before. */
static int control_words(void)
{
	struct control_words usual = { 0x1f80, 0x37f }, mine[] = {
		{ 0x7f80, 0xf7f }, { 0x1f80, 0xf7f }, { 0x7f80, 0x37f }, usual,
	}, seen, after;

	TRY(setup());
	for (size_t i = 0; i < 2 * ARRAY_SIZE(mine); i++) {
		ssize_t ret;

		set_words(mine[i / 2]);
		ret = proclet_call(on[i % 2], first_words, NULL, 0, &seen, sizeof(seen));
		after = get_words();
		set_words(usual);
		CHECK_EQ(ret, sizeof(seen));
		CHECK_EQ(seen.mxcsr, usual.mxcsr);
		CHECK_EQ(seen.cw, usual.cw);
		CHECK_EQ(after.mxcsr, mine[i / 2].mxcsr);
		CHECK_EQ(after.cw, mine[i / 2].cw);
	}
	return KSFT_PASS;
}

/* Long one way, short the other. */
static int sizes_differ(void)
{
	unsigned char *in = buffer(MAX_PAYLOAD, 2), *out = malloc(MAX_PAYLOAD);

	TRY(setup());
	for (int n = 0; n < 2; n++) {
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			__u64 arg[2] = { sizes[i], 77 + i }, seen, state = arg[1];

			CHECK_EQ(proclet_call(on[n], sum, in, sizes[i], &seen, sizeof(seen)),
				 sizeof(seen));
			CHECK_EQ(seen, checksum(in, sizes[i]));
			CHECK_EQ(proclet_call(on[n], fill, arg, sizeof(arg), out, MAX_PAYLOAD),
				 sizes[i]);
			for (size_t j = 0; j < sizes[i]; j++)
				CHECK_EQ(out[j], (unsigned char)next_random(&state));
		}
	}
	free(in);
	free(out);
	return KSFT_PASS;
}

static int one_byte_more(void)
{
	unsigned char *in = buffer(MAX_PAYLOAD + 1, 3), *out = malloc(MAX_PAYLOAD + 1);

	TRY(setup());
	for (int n = 0; n < 2; n++) {
		CHECK_EQ(proclet_call(on[n], sum, in, MAX_PAYLOAD + 1, out, 8), -EMSGSIZE);
		CHECK_EQ(proclet_call(on[n], sum, in, 8, out, MAX_PAYLOAD + 1), -EMSGSIZE);
		CHECK_EQ(proclet_call(on[n], sum, in, SIZE_MAX, out, 8), -EMSGSIZE);
		CHECK_EQ(proclet_call(on[n], sum, in, 8, out, SIZE_MAX), -EMSGSIZE);
		TRY(one_size(on[n], in, out, 64));
	}
	free(in);
	free(out);
	return KSFT_PASS;
}

static int empty_buffers(void)
{
	TRY(setup());
	for (int n = 0; n < 2; n++) {
		CHECK_EQ(proclet_call(on[n], where, NULL, 0, NULL, 0), nodes[n]);
		CHECK_EQ(proclet_call(on[n], mix, NULL, 0, NULL, 0), 0);
	}
	return KSFT_PASS;
}

static int result_too_large(void)
{
	static const ssize_t claims[] = { 9, 4096, 5000, MAX_PAYLOAD, MAX_PAYLOAD + 1,
					  (ssize_t)1 << 40, INT64_MAX };
	unsigned char out[16];

	TRY(setup());
	for (int n = 0; n < 2; n++) {
		for (size_t i = 0; i < ARRAY_SIZE(claims); i++) {
			memset(out, 0xee, sizeof(out));
			CHECK_EQ(proclet_call(on[n], boast, &claims[i], sizeof(claims[i]), out, 8),
				 claims[i]);
			CHECK_EQ(out[0], 'x');
			CHECK_EQ(out[7], 'x');
			CHECK_EQ(out[8], 0xee);
		}
	}
	return KSFT_PASS;
}

static int method_errors(void)
{
	static const int errors[] = { EPERM, ENOENT, EINTR, EAGAIN, ECONNRESET, ESTALE,
				      EHOSTUNREACH, EMSGSIZE, 4095 };

	TRY(setup());
	for (int n = 0; n < 2; n++)
		for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
			CHECK_EQ(proclet_call(on[n], fail, &errors[i], sizeof(int), NULL, 0),
				 -errors[i]);
	return KSFT_PASS;
}

static int unregistered_method(void)
{
	TRY(setup());
	for (int n = 0; n < 2; n++) {
		CHECK_EQ(proclet_call(on[n], unregistered, NULL, 0, NULL, 0), -EINVAL);
		CHECK_EQ(proclet_call(on[n], NULL, NULL, 0, NULL, 0), -EINVAL);
	}
	return KSFT_PASS;
}

static int runs_in_its_proclet(void)
{
	proclet_t p;

	TRY(setup());
	for (int n = 0; n < node_count; n++) {
		CHECK_EQ(proclet_call(on[n], where, NULL, 0, NULL, 0), nodes[n]);
		CHECK_EQ(proclet_call(on[n], self, NULL, 0, &p, sizeof(p)), sizeof(p));
		CHECK_EQ(p, on[n]);
		CHECK_EQ(proclet_locate(on[n]), nodes[n]);
	}
	CHECK(proclet_self());
	CHECK(proclet_self() != on[0]);
	return KSFT_PASS;
}

static int counters(void)
{
	struct proclet_stats before, after;

	TRY(setup());
	CHECK_EQ(lproc_stats(0, &before), 0);
	for (int i = 0; i < 100; i++) {
		CHECK_GE(proclet_call(on[0], add, NULL, 0, NULL, 0), 0);
		CHECK_GE(proclet_call(on[1], add, NULL, 0, NULL, 0), 0);
	}
	CHECK_EQ(lproc_stats(0, &after), 0);
	CHECK_GE(after.calls_local, before.calls_local + 100);
	CHECK_GE(after.calls_remote, before.calls_remote + 100);
	CHECK_EQ(lproc_stats(nodes[1], &after), 0);
	CHECK_EQ(lproc_stats(31, &after), -EHOSTUNREACH);
	return KSFT_PASS;
}

static int gone(proclet_t p)
{
	CHECK_EQ(proclet_call(p, add, NULL, 0, NULL, 0), -ESTALE);
	CHECK_EQ(proclet_locate(p), -ESTALE);
	CHECK_EQ(proclet_migrate(p, nodes[1], 0), -ESTALE);
	CHECK_EQ(proclet_migrate(p, nodes[0], 0), -ESTALE);
	CHECK_EQ(proclet_destroy(p), -ESTALE);
	return KSFT_PASS;
}

static int stale_ids(void)
{
	TRY(tap_nodes(2));
	for (int n = 0; n < node_count; n++) {
		proclet_t p, q;

		TRY(make(&p, nodes[n], MIB, sizeof(struct counter)));
		CHECK_GE(proclet_call(p, add, NULL, 0, NULL, 0), 0);
		CHECK_EQ(proclet_destroy(p), 0);
		TRY(gone(p));
		/* Perhaps in the same place: still not the old one. */
		TRY(make(&q, nodes[n], MIB, sizeof(struct counter)));
		CHECK(p != q);
		TRY(gone(p));
		CHECK_GE(proclet_call(q, add, NULL, 0, NULL, 0), 0);
	}
	return KSFT_PASS;
}

/* Destroyed where it has moved to, and asked for at home and elsewhere. */
static int stale_after_a_move(void)
{
	proclet_t p;

	TRY(tap_nodes(2));
	for (int n = 0; n < 2; n++) {
		TRY(make(&p, nodes[n], MIB, sizeof(struct counter)));
		CHECK_EQ(proclet_migrate(p, nodes[!n], 0), 0);
		CHECK_EQ(proclet_locate(p), nodes[!n]);
		CHECK_EQ(proclet_destroy(p), 0);
		TRY(gone(p));
	}
	return KSFT_PASS;
}

static int ids_that_never_were(void)
{
	proclet_t p;

	TRY(setup());
	for (int n = 0; n < 2; n++) {
		proclet_t ids[] = {
			on[n] + ((proclet_t)1 << 32),		/* generation */
			on[n] - ((proclet_t)1 << 32),
			on[n] | ((proclet_t)0xffffffff << 32),
			on[n] & 0xffffffff,
			on[n] + 1,				/* inside its heap */
			on[n] + (1 << 20),			/* never allotted */
			on[n] + (3 << 19),			/* among the stacks */
		};

		for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
			CHECK_EQ(proclet_call(ids[i], add, NULL, 0, NULL, 0), -ESTALE);
			CHECK_EQ(proclet_locate(ids[i]), -ESTALE);
			CHECK_EQ(proclet_destroy(ids[i]), -ESTALE);
		}
	}
	/* Outside the region, or at home on a node that is not there. */
	p = on[0] | 0xffffffff;
	CHECK(proclet_call(p, add, NULL, 0, NULL, 0) < 0);
	CHECK(proclet_locate(p) < 0);
	p = on[0] + ((proclet_t)29 << 21);
	CHECK(proclet_call(p, add, NULL, 0, NULL, 0) < 0);
	CHECK(proclet_locate(p) < 0);
	CHECK(proclet_call(0, add, NULL, 0, NULL, 0) < 0);
	CHECK(proclet_locate(0) < 0);
	CHECK(proclet_destroy(0) < 0);
	return KSFT_PASS;
}

struct load {
	pthread_t thread;
	unsigned int seed;
	unsigned int calls;
	unsigned int wrong;
	ssize_t error;
};

static void *load_run(void *arg)
{
	struct load *l = arg;
	unsigned char *in = buffer(8192, l->seed), *out = malloc(8192);
	__u64 state = l->seed * 7919 + 1;

	for (unsigned int i = 0; i < l->calls; i++) {
		size_t len = next_random(&state) % (i % 16 ? 600 : 8192);
		size_t at = next_random(&state) % (8192 - len);
		proclet_t p = on[next_random(&state) % node_count];
		ssize_t ret = proclet_call(p, mix, in + at, len, out, len);

		if (ret != (ssize_t)len) {
			l->error = ret;
			l->wrong++;
			break;
		}
		for (size_t j = 0; j < len; j++)
			if (out[j] != mixed(in[at + j]))
				l->wrong++;
		ret = proclet_call(p, add, NULL, 0, NULL, 0);
		if (ret != 8) {
			l->error = ret;
			l->wrong++;
			break;
		}
	}
	free(in);
	free(out);
	return NULL;
}

static int eight_callers_at_once(void)
{
	static struct load loads[8];
	__u64 total = 0, zero = 0, value;
	unsigned int calls = env_number("PROCLET_TEST_CALLS", 300);

	TRY(setup());
	for (unsigned int i = 0; i < 8; i++) {
		loads[i] = (struct load) { .seed = i + 1, .calls = calls };
		CHECK_EQ(pthread_create(&loads[i].thread, NULL, load_run, &loads[i]), 0);
	}
	for (unsigned int i = 0; i < 8; i++)
		pthread_join(loads[i].thread, NULL);
	for (unsigned int i = 0; i < 8; i++) {
		CHECK_EQ(loads[i].error, 0);
		CHECK_EQ(loads[i].wrong, 0);
	}
	for (int n = 0; n < node_count; n++) {
		CHECK_EQ(proclet_call(on[n], add, &zero, sizeof(zero), &value, sizeof(value)), 8);
		total += value;
	}
	CHECK_EQ(total, 8 * calls);
	return KSFT_PASS;
}

/* One proclet, many threads in it: no call is lost or done twice. */
static int callers_of_one_proclet(void)
{
	__u64 zero = 0, value = 0;

	TRY(setup());
	for (int n = 0; n < 2; n++) {
		proclet_t all[32];

		memcpy(all, on, sizeof(all));
		for (int i = 0; i < node_count; i++)
			on[i] = all[n];
		for (int i = 0; i < 8; i++) {
			static struct load loads[8];

			loads[i] = (struct load) { .seed = i + 100, .calls = 50 };
			CHECK_EQ(pthread_create(&loads[i].thread, NULL, load_run, &loads[i]), 0);
			if (i < 7)
				continue;
			for (int j = 0; j < 8; j++) {
				pthread_join(loads[j].thread, NULL);
				CHECK_EQ(loads[j].error, 0);
				CHECK_EQ(loads[j].wrong, 0);
			}
		}
		memcpy(on, all, sizeof(all));
		CHECK_EQ(proclet_call(on[n], add, &zero, sizeof(zero), &value, sizeof(value)), 8);
		CHECK_EQ(value, 8 * 50);
	}
	return KSFT_PASS;
}

static int nested(const proclet_t *ids, unsigned int count, unsigned int depth)
{
	struct relay_args a = { .left = depth, .count = count };
	__u64 zero = 0, value, total = 0, before = 0;

	memcpy(a.ids, ids, count * sizeof(*ids));
	for (unsigned int i = 0; i < count; i++) {
		CHECK_EQ(proclet_call(ids[i], add, &zero, sizeof(zero), &value, sizeof(value)), 8);
		before += value;
	}
	CHECK_EQ(proclet_call(ids[depth % count], relay, &a, sizeof(a), NULL, 0), depth);
	for (unsigned int i = 0; i < count; i++) {
		CHECK_EQ(proclet_call(ids[i], add, &zero, sizeof(zero), &value, sizeof(value)), 8);
		total += value;
	}
	CHECK_EQ(total - before, depth + 1);
	return KSFT_PASS;
}

static int nested_here(void)
{
	proclet_t ids[3];

	TRY(tap_nodes(2));
	for (int i = 0; i < 3; i++)
		TRY(make(&ids[i], nodes[0], MIB, sizeof(struct counter)));
	TRY(nested(ids, 3, 1));
	TRY(nested(ids, 3, 30));
	/* The same proclet again and again. */
	TRY(nested(ids, 1, 30));
	return KSFT_PASS;
}

static int nested_across_nodes(void)
{
	TRY(setup());
	TRY(nested(on, node_count, 1));
	TRY(nested(on, node_count, 30));
	TRY(nested(on + 1, 1, 10));
	return KSFT_PASS;
}

/* More than a worker's chain holds. */
static int nested_deeply(void)
{
	TRY(setup());
	TRY(nested(on, 1, 200));
	TRY(nested(on, 2, 100));
	return KSFT_PASS;
}

/* A method that has waited for the kernel gives its result to the kernel. */
static int nested_payload(void)
{
	static const size_t few[] = { 9, 16, 24, 25, 1024, 1025, MAX_PAYLOAD };
	unsigned char *in = buffer(MAX_PAYLOAD, 9), *out = malloc(MAX_PAYLOAD);

	TRY(setup());
	for (int route = 0; route < 4; route++) {
		proclet_t target;

		TRY(make(&target, nodes[route / 2], MIB, 0));
		memcpy(in, &target, sizeof(target));
		for (size_t n = 0; n < ARRAY_SIZE(few); n++) {
			ssize_t len = few[n] - sizeof(target);

			/* not what a segment may still have of the last call */
			for (ssize_t i = 0; i < len; i++)
				in[i + sizeof(target)] += 77;
			CHECK_EQ(proclet_call(on[route % 2], pass_on, in, few[n], out, few[n]),
				 len);
			for (ssize_t i = 0; i < len; i++)
				CHECK_EQ(out[i], mixed(in[i + sizeof(target)]));
		}
	}
	free(in);
	free(out);
	return KSFT_PASS;
}

static int stack_depth(void)
{
	__u64 kib = 1500, expected = 0, seen;

	TRY(setup());
	for (__u64 d = 0; d <= kib; d++)
		expected += (unsigned char)d;
	for (int n = 0; n < 2; n++) {
		CHECK_EQ(proclet_call(on[n], deep_stack, &kib, sizeof(kib), &seen, sizeof(seen)), 8);
		CHECK_EQ(seen, expected);
	}
	return KSFT_PASS;
}

static int create_bad(struct proclet_attr attr)
{
	proclet_t p = 0;
	int ret = proclet_create(&p, &attr);

	if (!ret)
		proclet_destroy(p);
	return ret;
}

static int create_attributes(void)
{
	size_t capacity = 2 * MIB;
	proclet_t p;

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		int n = nodes[i];

		CHECK_EQ(create_bad((struct proclet_attr) { 0, n, 0, 0 }), -EINVAL);
		CHECK_EQ(create_bad((struct proclet_attr) { 4096, n, 0, 0 }), -EINVAL);
		CHECK_EQ(create_bad((struct proclet_attr) { MIB - 1, n, 0, 0 }), -EINVAL);
		CHECK_EQ(create_bad((struct proclet_attr) { (64UL << 30) + 1, n, 0, 0 }), -EINVAL);
		CHECK_EQ(create_bad((struct proclet_attr) { SIZE_MAX, n, 0, 0 }), -EINVAL);
		CHECK_EQ(create_bad((struct proclet_attr) { capacity, n, 0x80, 0 }), -EINVAL);
		CHECK_EQ(create_bad((struct proclet_attr) { capacity, n, 0, capacity }), -EINVAL);
		CHECK_EQ(create_bad((struct proclet_attr) { capacity, n, 0, SIZE_MAX }), -EINVAL);
	}
	CHECK_EQ(create_bad((struct proclet_attr) { capacity, 31, 0, 0 }), -EHOSTUNREACH);
	CHECK(create_bad((struct proclet_attr) { capacity, 33, 0, 0 }) < 0);
	CHECK(create_bad((struct proclet_attr) { capacity, -1, 0, 0 }) < 0);
	CHECK_EQ(proclet_create(&p, NULL), 0);
	CHECK_GE(proclet_locate(p), 1);
	CHECK_EQ(proclet_destroy(p), 0);
	return KSFT_PASS;
}

static int create_sizes(void)
{
	static const size_t capacities[] = { MIB, MIB + 1, 3 * MIB, 64 * MIB, (size_t)64 << 30 };
	static const size_t roots[] = { 0, 1, 4096, 100000 };
	proclet_t p;

	TRY(tap_nodes(2));
	for (int n = 0; n < 2; n++) {
		for (size_t i = 0; i < ARRAY_SIZE(capacities); i++) {
			for (size_t j = 0; j < ARRAY_SIZE(roots); j++) {
				TRY(make(&p, nodes[n], capacities[i], roots[j]));
				CHECK_EQ(proclet_locate(p), nodes[n]);
				CHECK_EQ(proclet_call(p, not_zero, &roots[j], sizeof(roots[j]),
						      NULL, 0), 0);
				CHECK_EQ(proclet_destroy(p), 0);
			}
		}
	}
	return KSFT_PASS;
}

/* Memory is given back and addresses are used again. */
static int create_many_times(void)
{
	unsigned int rounds = env_number("PROCLET_TEST_CREATES", 500);
	__u64 one = 1, value;
	proclet_t p;

	TRY(tap_nodes(2));
	for (unsigned int i = 0; i < rounds; i++) {
		struct proclet_attr attr = { MIB << i % 4, nodes[i % 2], 0,
					     sizeof(struct counter) };

		CHECK_EQ(proclet_create(&p, &attr), 0);
		CHECK_EQ(proclet_call(p, add, &one, sizeof(one), &value, sizeof(value)), 8);
		CHECK_EQ(value, 1);
		CHECK_EQ(proclet_destroy(p), 0);
	}
	return KSFT_PASS;
}

static int many_proclets(void)
{
	static proclet_t many[200];
	__u64 value;

	TRY(tap_nodes(2));
	for (__u64 i = 0; i < ARRAY_SIZE(many); i++) {
		TRY(make(&many[i], nodes[i % node_count], MIB, sizeof(struct counter)));
		CHECK_EQ(proclet_call(many[i], add, &i, sizeof(i), &value, sizeof(value)), 8);
	}
	for (__u64 i = 0; i < ARRAY_SIZE(many); i++) {
		__u64 zero = 0;

		for (__u64 j = 0; j < i; j += 17)
			CHECK(many[i] != many[j]);
		CHECK_EQ(proclet_call(many[i], add, &zero, sizeof(zero), &value, sizeof(value)), 8);
		CHECK_EQ(value, i);
	}
	return KSFT_PASS;
}

static int heap_of_a_proclet(void)
{
	TRY(setup());
	for (int n = 0; n < 2; n++)
		CHECK_EQ(proclet_call(on[n], heap_rules, NULL, 0, NULL, 0), 0);
	return KSFT_PASS;
}

static int heap_full(void)
{
	struct hoard_args a = { .size = 10000, .release = 1 };
	proclet_t p;
	ssize_t n;

	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		TRY(make(&p, nodes[i], 4 * MIB, sizeof(struct counter)));
		/* Half or more must be usable, and no more than all. */
		n = proclet_call(p, hoard, &a, sizeof(a), NULL, 0);
		CHECK_GE(n, 2 * MIB / a.size);
		CHECK_GE(4 * MIB / a.size, n);
		/* All of it again after freeing. */
		CHECK_GE(proclet_call(p, hoard, &a, sizeof(a), NULL, 0), n - 1);
		a.release = 0;
		CHECK_GE(proclet_call(p, hoard, &a, sizeof(a), NULL, 0), n - 1);
		CHECK_EQ(proclet_call(p, hoard, &a, sizeof(a), NULL, 0), 0);
		a.release = 1;
		/* A full heap does not keep its methods from running. */
		CHECK_EQ(proclet_call(p, add, NULL, 0, NULL, 0), 8);
	}
	return KSFT_PASS;
}

/* Runs until the value of another proclet is not 0. */
static ssize_t linger(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct counter *c = root;
	__u64 zero = 0, value = 0;
	proclet_t p;
	ssize_t ret;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(p))
		return -EINVAL;
	memcpy(&p, in, sizeof(p));
	__atomic_add_fetch(&c->value, 1, __ATOMIC_RELAXED);
	do {
		ret = proclet_call(p, add, &zero, sizeof(zero), &value, sizeof(value));
	} while (ret == sizeof(value) && !value);
	return ret < 0 ? ret : 123;
}
PROCLET_METHOD(linger);

static struct {
	proclet_t p;
	int ret;
} doomed;

static void *destroy_thread(void *unused)
{
	(void)unused;
	doomed.ret = proclet_destroy(doomed.p);
	return NULL;
}

/* Methods that run end first; new calls are refused from then on. */
static int destroy_waits_for_methods(void)
{
	TRY(tap_nodes(2));
	for (int n = 0; n < 2; n++) {
		__u64 zero = 0, value = 0;
		struct caller *c;
		proclet_t flag;
		pthread_t t;
		ssize_t ret;

		TRY(make(&flag, nodes[0], MIB, sizeof(struct counter)));
		TRY(make(&doomed.p, nodes[n], MIB, sizeof(struct counter)));
		c = caller_start(doomed.p, linger, &flag, sizeof(flag), NULL, 0);
		while (!value)
			CHECK_EQ(proclet_call(doomed.p, add, &zero, sizeof(zero),
					      &value, sizeof(value)), sizeof(value));
		CHECK_EQ(pthread_create(&t, NULL, destroy_thread, NULL), 0);
		/* Calls go through until the destruction has begun. */
		do {
			ret = proclet_call(doomed.p, add, &zero, sizeof(zero), NULL, 0);
		} while (ret == sizeof(value));
		CHECK_EQ(ret, -ESTALE);
		CHECK_EQ(proclet_call(flag, add, NULL, 0, NULL, 0), sizeof(value));
		pthread_join(t, NULL);
		CHECK_EQ(doomed.ret, 0);
		CHECK_EQ(caller_wait(c), 123);
		TRY(gone(doomed.p));
	}
	return KSFT_PASS;
}

static int nodes_of_members(void)
{
	int ids[32];
	int n = lproc_nodes(ids, 32);

	CHECK_EQ(n, env_number("PROCLET_MEMBERS", 1));
	for (int i = 1; i < n; i++)
		CHECK_GE(ids[i], ids[i - 1] + 1);
	ids[1] = -7;
	CHECK_EQ(lproc_nodes(ids, 1), n);
	CHECK_EQ(ids[1], -7);
	CHECK_EQ(lproc_nodes(NULL, 0), n);
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	TAP_TEST(nodes_of_members),
	TAP_TEST(runs_in_its_proclet),
	TAP_TEST(sizes_local),
	TAP_TEST(sizes_remote),
	TAP_TEST(sizes_from_native_thread),
	TAP_TEST(sizes_differ),
	TAP_TEST(control_words),
	TAP_TEST(one_byte_more),
	TAP_TEST(empty_buffers),
	TAP_TEST(result_too_large),
	TAP_TEST(method_errors),
	TAP_TEST(unregistered_method),
	TAP_TEST(counters),
	TAP_TEST(stale_ids),
	TAP_TEST(stale_after_a_move),
	TAP_TEST(ids_that_never_were),
	TAP_TEST(eight_callers_at_once),
	TAP_TEST(callers_of_one_proclet),
	TAP_TEST(nested_here),
	TAP_TEST(nested_across_nodes),
	TAP_TEST(nested_deeply),
	TAP_TEST(nested_payload),
	TAP_TEST(stack_depth),
	TAP_TEST(create_attributes),
	TAP_TEST(create_sizes),
	TAP_TEST(create_many_times),
	TAP_TEST(many_proclets),
	TAP_TEST(heap_of_a_proclet),
	TAP_TEST(heap_full),
	TAP_TEST(destroy_waits_for_methods),
};

/* Whoever lingers until a counter of the test is not 0 goes on. */
static void end_lingering(proclet_t p)
{
	proclet_call(p, add, NULL, 0, NULL, 0);
}

static int root(int argc, char **argv)
{
	tap_stop = end_lingering;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("calls", root, argc, argv);
}
