// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Threads that a proclet's own code creates. Each begins like a method that
 * nobody waits for. Migratable like heap.c and built like it: these frames are
 * beneath the program's.
 */
#include <errno.h>

#include "heap.h"
#include "internal.h"

#define MAGIC		0x70726f7468726431UL

/* Bits of proclet_thread.state; all but the first may be set by others. */
#define ENDED		1U
#define JOINED		2U	/* somebody waits for it, and will free it */
#define DETACHED	4U	/* nobody will: it frees itself */

/**
 * struct proclet_thread - one of them, in the proclet's heap
 * @magic: MAGIC, until it is freed
 * @state: bits above; who joins waits at it
 * @fn: what it runs
 * @arg: argument of that
 * @ret: its result
 */
struct proclet_thread {
	__u64 magic;
	__u32 state;
	void *(*fn)(void *arg);
	void *arg;
	void *ret;
};

static struct proclet_heap *heap_of(struct proclet_tcb *tcb)
{
	return (struct proclet_heap *)PROCLET_ID_HEAP(tcb->proclet);
}

static void thread_free(struct proclet_thread *t)
{
	t->magic = 0;
	heap_free(heap_of(tcb_self()), t);
}

/* From here on it may be joined, and freed by who does that. */
static void thread_end(struct proclet_thread *t, void *ret)
{
	__u32 old;

	t->ret = ret;
	old = __atomic_fetch_or(&t->state, ENDED, __ATOMIC_ACQ_REL);
	if (old & DETACHED)
		thread_free(t);
	else if (old & JOINED)
		word_wake(&t->state, 1);
}

static ssize_t thread_main(void *root, const void *in, size_t in_len, void *out,
			   size_t out_cap)
{
	struct proclet_thread *t = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	thread_end(t, t->fn(t->arg));
	return 0;
}

PUBLIC int proclet_thread_create(proclet_thread_t *t, void *(*fn)(void *arg), void *arg)
{
	struct proclet_tcb *tcb = tcb_self();
	struct proclet_thread *new;
	int err;

	if (!tcb)
		return -EPERM;
	new = heap_malloc(heap_of(tcb), sizeof(*new));
	if (!new)
		return -ENOMEM;
	new->magic = MAGIC;
	new->state = t ? 0 : DETACHED;
	new->fn = fn;
	new->arg = arg;
	new->ret = NULL;
	if (t)
		*t = new;
	err = shim_spawn(thread_main, new);
	if (err) {
		if (t)
			*t = NULL;
		thread_free(new);
	}
	return err;
}

static inline proclet_thread_t thread_self(void)
{
	struct proclet_tcb *tcb = tcb_self();

	return tcb ? (proclet_thread_t)tcb->lib[LIB_THREAD] : NULL;
}

PUBLIC proclet_thread_t proclet_thread_self(void)
{
	return thread_self();
}

/* Claim the thread's end, by @how; 0 if nobody else has. */
static int thread_claim(proclet_thread_t t, __u32 how, __u32 *old)
{
	if (!tcb_self())
		return -EPERM;
	if (!t || t->magic != MAGIC)
		return -ESRCH;
	*old = __atomic_load_n(&t->state, __ATOMIC_ACQUIRE);
	do {
		if (*old & (JOINED | DETACHED))
			return -EINVAL;
	} while (!__atomic_compare_exchange_n(&t->state, old, *old | how, false,
					      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	return 0;
}

PUBLIC int proclet_thread_join(proclet_thread_t t, void **ret)
{
	__u32 state;
	int err;

	if (t && t == thread_self())
		return -EDEADLK;
	err = thread_claim(t, JOINED, &state);
	if (err)
		return err;
	while (!((state = __atomic_load_n(&t->state, __ATOMIC_ACQUIRE)) & ENDED)) {
		err = word_wait(&t->state, state, 0);
		if (err) {
			__atomic_fetch_and(&t->state, ~JOINED, __ATOMIC_RELAXED);
			return err;
		}
	}
	if (ret)
		*ret = t->ret;
	thread_free(t);
	return 0;
}

PUBLIC int proclet_thread_detach(proclet_thread_t t)
{
	__u32 state;
	int err;

	err = thread_claim(t, DETACHED, &state);
	if (!err && state & ENDED)
		thread_free(t);
	return err;
}

PUBLIC void proclet_thread_exit(void *ret)
{
	struct proclet_tcb *tcb = tcb_self();
	proclet_thread_t self = thread_self();

	/* A method has a caller, who wants a result. */
	if (!self)
		__builtin_trap();
	thread_end(self, ret);
	shim_thread_exit(tcb);
}
