// SPDX-License-Identifier: GPL-2.0
/*
 * What tools/gdb/proclet.py has to show, without the kernel module: a suspended and a
 * parked thread on segments of their own, made by the library's own code, and then a
 * trap. gdb_test runs it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "../libshim/internal.h"

static __u64 native_sp;

/* A segment of node 1's, as if it had been allotted. */
static struct proclet_tcb *segment(unsigned int n)
{
	void *at = (void *)(PROCLET_REGION_BASE + PROCLET_STACKS_OFF + n * PROCLET_STACK_SIZE);

	if (mmap(at, PROCLET_STACK_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
		 -1, 0) != at) {
		perror("mmap");
		exit(1);
	}
	return at;
}

static noinline __s64 innermost(struct proclet_tcb *tcb, __s64 depth)
{
	if (depth)
		return innermost(tcb, depth - 1) + depth;
	return shim_switch(&tcb->sp, native_sp, PROCLET_DONE_OP);
}

static ssize_t suspended_method(void *root, const void *in, size_t in_len, void *out,
				size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return innermost(tcb_self(), 2) + 1;
}

static void park(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	tcb_self()->frame = (__u64)context;
	shim_jump(native_sp, PROCLET_DONE_PARKED);
}

static noinline __s64 interrupted(volatile __s64 *p)
{
	for (;;)
		if (*p)
			raise(SIGUSR1);
	return *p;
}

static ssize_t parked_method(void *root, const void *in, size_t in_len, void *out,
			     size_t out_cap)
{
	volatile __s64 one = 1;

	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return interrupted(&one) + one;
}

static void begin(unsigned int n, proclet_method_t fn)
{
	struct proclet_tcb *tcb = segment(n);

	tcb->proclet = PROCLET_ID(16 * n, 0x1234);
	tcb->method = n;
	tcb->lib[LIB_FN] = (__u64)fn;
	shim_run(&native_sp, tcb);
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = park, .sa_flags = SA_SIGINFO | SA_NODEFER };

	shim.workers = calloc(PROCLET_MAX_WORKERS, PROCLET_WORKER_SIZE);
	if (!shim.workers || sigaction(SIGUSR1, &sa, NULL))
		return 1;
	begin(1, suspended_method);
	begin(2, parked_method);
	segment(3);	/* a free one */
	raise(SIGTRAP);
	return 0;
}
