// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The member's last words. When a signal is about to end the process, its handler
 * says on stderr and to the other members where that happened, lets the region
 * into the core dump, and raises the signal again: core dump and exit status are
 * as without it. Only where the program has no handler of its own.
 *
 * Nothing here may need what could be broken or locked: system calls only.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "internal.h"

#define NAME_MAX_SHOWN	48
#define ALTSTACK_SIZE	(64UL << 10)

static const int fatal[] = {
	SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGQUIT,
};
#define NFATAL		(sizeof(fatal) / sizeof(fatal[0]))

static bool installed[NFATAL];
static pid_t member_pid;
static bool crashing;

/* A line of text; what does not fit is left out. */
struct text {
	size_t len;
	char buf[PROCLET_REASON_MAX];
};

static void put(struct text *t, const char *s)
{
	for (; *s && t->len < sizeof(t->buf) - 1; s++)
		t->buf[t->len++] = *s >= ' ' && *s <= '~' ? *s : '?';
	t->buf[t->len] = 0;
}

static void put_number(struct text *t, unsigned long n, unsigned int base, int digits)
{
	char s[24];
	int i = sizeof(s) - 1;

	s[i] = 0;
	do {
		s[--i] = "0123456789abcdef"[n % base];
		n /= base;
	} while (n || (int)sizeof(s) - 1 - i < digits);
	put(t, s + i);
}

static void put_signal(struct text *t, int sig)
{
	const char *name = sigabbrev_np(sig);

	put(t, name ? "SIG" : "signal ");
	if (name)
		put(t, name);
	else
		put_number(t, sig, 10, 1);
}

/* "name", or "name+0x12"; without a name the address, for addr2line. */
static void put_place(struct text *t, unsigned long addr, bool start)
{
	char name[NAME_MAX_SHOWN];
	unsigned long off;

	if (!symbol_name(addr, name, sizeof(name), &off)) {
		put(t, "0x");
		put_number(t, addr, 16, 1);
		return;
	}
	put(t, name);
	if (!start) {
		put(t, "+0x");
		put_number(t, off, 16, 1);
	}
}

/* The thread that this worker runs; NULL: none, or not a worker. */
static struct proclet_tcb *crashed_thread(void)
{
	struct proclet_worker *page = park_self;
	__u32 depth = page ? page->depth : 0;
	__u64 stack;

	if (!depth || depth > PROCLET_CHAIN_MAX)
		return NULL;
	stack = page->chain[depth - 1];
	return tcb_of(stack) == (struct proclet_tcb *)stack ? (void *)stack : NULL;
}

static void put_thread(struct text *t, const struct proclet_tcb *tcb)
{
	if (!tcb) {
		put(t, " outside of proclets");
		return;
	}
	if (tcb->method == METHOD_ROOT) {
		put(t, " in the root function");
	} else {
		put(t, " in method ");
		put_place(t, tcb->lib[LIB_FN], true);
	}
	put(t, " of proclet ");
	put_number(t, tcb->proclet, 16, 16);
}

static void describe(struct text *t, int sig, const siginfo_t *info, const ucontext_t *uc)
{
	struct proclet_tcb *tcb = crashed_thread();
	unsigned long addr = (unsigned long)info->si_addr;
	unsigned long ip = uc->uc_mcontext.gregs[REG_RIP];
	bool fault = info->si_code > 0 && (sig == SIGSEGV || sig == SIGBUS);

	put(t, "killed by ");
	put_signal(t, sig);
	put_thread(t, tcb);
	if (text_migratable(ip)) {
		put(t, ", at ");
		put_place(t, ip, false);
	}
	if (fault && tcb && addr - (unsigned long)tcb - PROCLET_STACK_GUARD < 4096) {
		put(t, ", its stack is full");
	} else if (fault && info->si_code != SI_KERNEL) {
		put(t, ", address 0x");
		put_number(t, addr, 16, 1);
	}
}

static void say(const struct text *t)
{
	struct text line = { 0 };
	ssize_t ret;

	put(&line, "libshim: node ");
	put_number(&line, shim.node, 10, 1);
	put(&line, ": ");
	ret = write(2, line.buf, line.len);
	ret = write(2, t->buf, t->len);
	ret = write(2, "\n", 1);
	(void)ret;
}

/*
 * The region is too large to be dumped as it is; what exists in it is mapped over
 * it. The kernel allows that to who is dying.
 */
static void map_for_dump(void)
{
	struct proclet_extent e = { .size = sizeof(e), .start = PROCLET_REGION_BASE };

	while (!dev_ioctl(PROCLET_IOC_EXTENT, &e)) {
		if (mmap((void *)e.start, e.len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | MAP_NORESERVE, shim.fd,
			 e.start - PROCLET_REGION_BASE) == MAP_FAILED)
			break;
		e.start += e.len;
	}
}

static void last_words(int sig, const siginfo_t *info, const ucontext_t *uc)
{
	struct proclet_dying d = { .size = sizeof(d) };
	struct text t = { 0 };

	describe(&t, sig, info, uc);
	say(&t);
	memcpy(d.reason, t.buf, sizeof(d.reason));
	if (!dev_ioctl(PROCLET_IOC_DYING, &d))
		map_for_dump();
}

/* A child of fork() in a method: the stack that it returns to is not there. */
static void no_stack(void)
{
	struct text t = { 0 };

	put(&t, "fork() in a method: the child has no stack. Use posix_spawn() or system(), or fork() in a thread of pthread_create()");
	say(&t);
}

static void crash(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	if (getpid() != member_pid) {
		if ((unsigned long)uc->uc_mcontext.gregs[REG_RSP] - PROCLET_REGION_BASE <
		    PROCLET_REGION_SIZE)
			no_stack();
	} else if (!__atomic_exchange_n(&crashing, true, __ATOMIC_ACQ_REL)) {
		last_words(sig, info, uc);
	} else {
		crash_wait();	/* another thread is at it, and ends us all */
	}
	signal(sig, SIG_DFL);
	/*
	 * Delivered on return from here, with all registers as they were. Only to
	 * itself can a thread send what looks like from the kernel.
	 */
	if (syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), sig, info))
		raise(sig);
}

/* For whoever sees the end of the member before the signal ends the process. */
void crash_wait(void)
{
	while (__atomic_load_n(&crashing, __ATOMIC_ACQUIRE) && getpid() == member_pid)
		pause();
}

static void in_child(void)
{
	size_t i;

	for (i = 0; i < NFATAL; i++)
		if (installed[i])
			signal(fatal[i], SIG_DFL);
	/* It has no table, which means that no proclet is here. */
	if (shim.presence)
		mmap((void *)shim.presence, PROCLET_PRESENCE_SIZE, PROT_READ,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

int crash_init(void)
{
	struct sigaction sa = {
		.sa_sigaction = crash,
		.sa_flags = SA_SIGINFO | SA_ONSTACK,
	}, old;
	size_t i;

	symbol_init();
	member_pid = getpid();
	sigemptyset(&sa.sa_mask);
	/* A fault in the handler ends the process at once. */
	for (i = 0; i < NFATAL; i++)
		sigaddset(&sa.sa_mask, fatal[i]);
	for (i = 0; i < NFATAL; i++) {
		if (sigaction(fatal[i], NULL, &old) ||
		    (old.sa_flags & SA_SIGINFO) || old.sa_handler != SIG_DFL)
			continue;
		installed[i] = !sigaction(fatal[i], &sa, NULL);
	}
	return -pthread_atfork(NULL, NULL, in_child);
}

/* A worker's: the stack of a thread may be what is broken. */
void crash_worker_init(void)
{
	stack_t ss = { .ss_size = ALTSTACK_SIZE };

	ss.ss_sp = mmap(NULL, ss.ss_size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (ss.ss_sp != MAP_FAILED)
		sigaltstack(&ss, NULL);
}
