// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Workers: the member's threads that run proclet threads, one after the other.
 * Built without stack protector, whose value this changes.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#include "internal.h"

static unsigned int nworkers;

static int seg_ioctl(__u32 op, __u64 *stack)
{
	struct proclet_stack s = { .size = sizeof(s), .op = op, .stack = *stack };
	int err;

	err = dev_ioctl(PROCLET_IOC_STACK, &s);
	*stack = s.stack;
	return err;
}

static struct proclet_tcb *seg_alloc(void)
{
	struct proclet_tcb *tcb;
	__u64 stack = 0;
	__u32 lo, hi;

	if (seg_ioctl(PROCLET_STACK_ALLOC, &stack))
		return NULL;
	tcb = (struct proclet_tcb *)stack;
	/* No number that the segment's last user may still get a reply for. */
	__asm__ volatile("rdtsc" : "=a" (lo), "=d" (hi));
	tcb->lib[LIB_SEQ] = (__u64)hi << 32 | lo;
	return tcb;
}

struct proclet_tcb *seg_get(struct worker *w)
{
	if (unlikely(!w->nsegs))
		return seg_alloc();
	return (struct proclet_tcb *)(w->segs[--w->nsegs] & ~SEG_DIRTY);
}

void seg_free(struct proclet_tcb *tcb)
{
	__u64 stack = (__u64)tcb;

	seg_ioctl(PROCLET_STACK_FREE, &stack);
}

/* Give back what is not needed soon. Then: at least one free segment. */
static void segs_tidy(struct worker *w)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	unsigned int i, extra = 0;
	struct proclet_tcb *tcb;
	__u64 stack;

	if (w->nsegs > SEGS_KEEP)
		extra = w->nsegs - SEGS_KEEP;
	for (i = 0; i < w->nsegs; i++) {
		stack = w->segs[i] & ~SEG_DIRTY;
		if (i < extra)
			seg_ioctl(PROCLET_STACK_FREE, &stack);
		else if (w->segs[i] & SEG_DIRTY)
			seg_ioctl(PROCLET_STACK_TRIM, &stack);
		if (i >= extra)
			w->segs[i - extra] = w->segs[i] & ~SEG_DIRTY;
	}
	w->nsegs -= extra;
	if (w->nsegs)
		return;
	while (!(tcb = seg_alloc()))
		nanosleep(&ms, NULL);	/* the machine is out of memory */
	seg_put(w, tcb, false);
}

/* Report @done, wait for something to do. -EINTR has been accepted as well. */
static int worker_wait(struct worker *w, __u32 done)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	struct proclet_work *work = &w->work;
	int err;

	segs_tidy(w);
	work->done = done;
	work->todo = 0;
	work->spare = w->segs[w->nsegs - 1] & ~SEG_DIRTY;
	while ((err = dev_ioctl(PROCLET_IOC_WORK, work)) == -ENOMEM)
		nanosleep(&ms, NULL);	/* not accepted: the machine is out of memory */
	if (w->done && (!err || err == -EINTR)) {
		struct proclet_tcb *tcb = w->done;
		__u64 top = w->segs[--w->nsegs];

		/* The spare one, which is in use now or the next time, stays on top. */
		seg_put(w, tcb, w->done_dirty);
		w->segs[w->nsegs++] = top;
		w->done = NULL;
	}
	return err;
}

/* Run what the kernel wants until it ends or waits; returns PROCLET_DONE_*. */
static __u32 worker_run(struct worker *w)
{
	struct proclet_tcb *tcb = (struct proclet_tcb *)w->work.stack;
	proclet_method_t fn;
	__u64 frame;

	tcb->worker = (__u64)w->page;
	switch (w->work.todo) {
	case PROCLET_TODO_CALL:
		w->nsegs--;
		fn = method_get(tcb->method);
		if (!fn) {
			w->done = tcb;
			w->done_dirty = false;
			w->work.status = -EINVAL;
			return PROCLET_DONE_REPLY;
		}
		call_prepare(tcb, fn);
		return shim_run(&w->native_sp, tcb);
	case PROCLET_TODO_RESUME:
		tcb->result = w->work.result;
		return shim_switch(&w->native_sp, tcb->sp, 0);
	default:	/* PROCLET_TODO_SIGRETURN */
		/* Only this of the frame belongs to the worker. */
		frame = tcb->frame;
		((ucontext_t *)frame)->uc_stack = w->altstack;
		tcb->frame = 0;	/* for debuggers: it is not parked any more */
		return shim_sigreturn(&w->native_sp, frame);
	}
}

static unsigned long canary_swap(unsigned long new)
{
	unsigned long old;

	__asm__ volatile("movq %%fs:0x28, %0\n\t"
			 "movq %1, %%fs:0x28"
			 : "=&r" (old) : "r" (new) : "memory");
	return old;
}

/*
 * The stack protector's value is in thread-local storage. A protected function
 * that begins here may return in another process, so it is the same in all
 * workers of all members. The pointer guard, in the same place, is not: what
 * atexit() and setjmp() have stored in this process was made with it. So a
 * thread must not longjmp() back across a move.
 */
static void *worker_main(void *arg)
{
	struct worker *w = arg;
	unsigned long canary = canary_swap(shim.canary);
	__u32 done = PROCLET_DONE_NONE;
	int err;

	crash_worker_init();
	sigaltstack(NULL, &w->altstack);
	park_self = w->page;
	for (;;) {
		err = worker_wait(w, done);
		done = PROCLET_DONE_NONE;
		if (err == -EINTR)
			continue;
		if (err || w->work.todo == PROCLET_TODO_EXIT)
			break;
		done = worker_run(w);
	}
	if (err && err != -ESHUTDOWN) {
		/* A thread is lost: nothing that waits for it could ever go on. */
		shim_error("worker %u: %s", w->work.worker, strerror(-err));
		abort();
	}
	park_self = NULL;
	canary_swap(canary);
	return NULL;
}

/* Signals are for other threads: a handler is native code beneath a method. */
static void block_signals(sigset_t *old)
{
	static const int open[] = {
		PROCLET_SIGPARK, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS,
		SIGABRT, SIGPROF,
	};
	sigset_t set;
	size_t i;

	sigfillset(&set);
	for (i = 0; i < sizeof(open) / sizeof(open[0]); i++)
		sigdelset(&set, open[i]);
	pthread_sigmask(SIG_SETMASK, &set, old);
}

/* Called by the main thread only. */
int worker_start(void)
{
	struct proclet_worker *page;
	pthread_attr_t attr;
	char name[16];
	struct worker *w;
	pthread_t thread;
	sigset_t old;
	int err;

	if (nworkers == PROCLET_MAX_WORKERS)
		return -EAGAIN;
	page = (void *)(shim.workers + (size_t)nworkers * PROCLET_WORKER_SIZE);
	w = page_worker(page);
	memset(w, 0, sizeof(*w));
	w->page = page;
	w->work.size = sizeof(w->work);
	w->work.worker = nworkers;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	block_signals(&old);
	err = pthread_create(&thread, &attr, worker_main, w);
	if (!err) {
		snprintf(name, sizeof(name), "proclet/%u", nworkers);
		pthread_setname_np(thread, name);
		nworkers++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}
