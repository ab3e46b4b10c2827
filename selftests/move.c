// SPDX-License-Identifier: GPL-2.0
/* Migration: what a proclet and its threads are before, they are afterwards. */
#include "tap.h"
#include "raw.h"
#include "move.h"

#include <stdint.h>
#include <sys/uio.h>

#define MANY env_number("PROCLET_TEST_MOVES", 1000)

/* ---- methods of what is moved ---- */

static ssize_t peek(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	if (out_cap < sizeof(struct mover))
		return -EMSGSIZE;
	memcpy(out, root, sizeof(struct mover));
	((struct mover *)out)->node = lproc_node();
	return sizeof(struct mover);
}
PROCLET_METHOD(peek);

/* In: the number of the phase to end; none: all. */
static ssize_t stop(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;

	(void)out;
	(void)out_cap;
	m->stop = in_len == sizeof(__u32) ? *(const __u32 *)in : 1000;
	return 0;
}
PROCLET_METHOD(stop);

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

static __u64 heap_checksum(struct mover *m)
{
	__u64 sum = checksum(m->data, m->words * sizeof(__u64));

	for (__u64 *p = m->list; p; p = *(__u64 **)p)
		sum = sum * 31 + p[1] + (uintptr_t)p;
	return sum;
}

/* In: bytes. Random words in one block and a list of small ones. */
static ssize_t fill(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	__u64 state = 42, sum;

	if (in_len != sizeof(__u64) || out_cap != sizeof(__u64))
		return -EINVAL;
	m->words = *(const __u64 *)in / sizeof(__u64);
	m->data = proclet_malloc(m->words * sizeof(__u64));
	if (!m->data)
		return -ENOMEM;
	for (__u64 i = 0; i < m->words; i++)
		m->data[i] = next_random(&state);
	for (int i = 0; i < 100; i++) {
		__u64 *block = proclet_malloc(16 + i * 8);

		if (!block)
			return -ENOMEM;
		block[0] = (uintptr_t)m->list;
		block[1] = next_random(&state);
		m->list = block;
	}
	sum = heap_checksum(m);
	memcpy(out, &sum, sizeof(sum));
	return sizeof(sum);
}
PROCLET_METHOD(fill);

static ssize_t check(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	__u64 sum = heap_checksum(root);

	(void)in;
	(void)in_len;
	if (out_cap < sizeof(sum))
		return -EMSGSIZE;
	memcpy(out, &sum, sizeof(sum));
	return sizeof(sum);
}
PROCLET_METHOD(check);

static ssize_t increment(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	__u64 n = __atomic_add_fetch(&m->counter, 1, __ATOMIC_RELAXED);

	(void)in;
	(void)in_len;
	if (out_cap < sizeof(n))
		return -EMSGSIZE;
	memcpy(out, &n, sizeof(n));
	return sizeof(n);
}
PROCLET_METHOD(increment);

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

/*
 * Registers: each holds a known value while the loop runs, and is compared
 * afterwards. Returns the number of those that changed.
 */
#define REGISTERS 11

static ssize_t hold_registers(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	__u64 want[REGISTERS], got[REGISTERS];
	__u64 flags;
	ssize_t wrong = 0;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	for (int i = 0; i < REGISTERS; i++)
		want[i] = 0x0123456789abcdefULL * (i + 1);
	m->started = 1;
	__asm__ volatile(
		"push %%rbp\n\t"
		"mov %[want], %%rsi\n\t"
		"mov 0(%%rsi), %%rax\n\t"
		"mov 8(%%rsi), %%rcx\n\t"
		"mov 16(%%rsi), %%rdx\n\t"
		"mov 24(%%rsi), %%r8\n\t"
		"mov 32(%%rsi), %%r9\n\t"
		"mov 40(%%rsi), %%r10\n\t"
		"mov 48(%%rsi), %%r11\n\t"
		"mov 56(%%rsi), %%r13\n\t"
		"mov 64(%%rsi), %%r14\n\t"
		"mov 72(%%rsi), %%r15\n\t"
		"mov 80(%%rsi), %%rbp\n\t"
		"std\n"
		"1:\n\t"
		"incq (%%rbx)\n\t"
		"cmpl $0, (%%r12)\n\t"
		"je 1b\n\t"
		"mov %%rax, 0(%%rdi)\n\t"
		"mov %%rcx, 8(%%rdi)\n\t"
		"mov %%rdx, 16(%%rdi)\n\t"
		"mov %%r8, 24(%%rdi)\n\t"
		"mov %%r9, 32(%%rdi)\n\t"
		"mov %%r10, 40(%%rdi)\n\t"
		"mov %%r11, 48(%%rdi)\n\t"
		"mov %%r13, 56(%%rdi)\n\t"
		"mov %%r14, 64(%%rdi)\n\t"
		"mov %%r15, 72(%%rdi)\n\t"
		"mov %%rbp, 80(%%rdi)\n\t"
		"pushf\n\t"
		"pop %%rsi\n\t"
		"cld\n\t"
		"pop %%rbp"
		: "=&S" (flags), [wantout] "=m" (got)
		: [want] "0" (want), "D" (got), "b" (&m->count), "r" (m)
		: "memory", "cc", "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r13",
		  "r14", "r15");
	for (int i = 0; i < REGISTERS; i++)
		wrong += got[i] != want[i];
	return wrong + !(flags & 0x400);
}
