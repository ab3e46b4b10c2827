/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libshim's own declarations.
 *
 * Every entry into a proclet runs on a thread segment of its own. Code on it
 * finds its thread control block by masking the stack pointer, never through
 * thread-local storage: a function that suspends its thread may go on in
 * another worker, or in another process. So such a function keeps across
 * the suspension only what lies in the region, and reads everything else
 * (tcb->worker, struct shim) again.
 */
#ifndef _SHIM_INTERNAL_H
#define _SHIM_INTERNAL_H

#if !defined(__x86_64__) || defined(__ILP32__)
#error "libshim: only x86-64 is supported"
#endif

/* For switch.S; checked against the structs below. */
#define TCB_PROCLET	0
#define TCB_WORKER	8
#define TCB_SP		16
#define TCB_SEQ		32
#define TCB_OUT		40
#define TCB_OUT_CAP	48
#define TCB_RESULT	56
#define TCB_PIN		64
#define TCB_IN_LEN	72
#define TCB_RES_CAP	80
#define TCB_CALLER	88
#define TCB_FN		120
#define TCB_ROOT	128
#define TCB_LAST_SEQ	136
#define TCB_THREAD	144
#define TCB_RESULTS	152
#define PAGE_DEPTH	0
#define PAGE_ATTN	4
#define PAGE_PARK	16
#define PAGE_CALLS	24
#define PAGE_CHAIN	40
#define WORKER_OFF	2048	/* of the library's part of a worker's page */
#define WORKER_NSEGS	(WORKER_OFF + 28)
#define WORKER_SEGS	(WORKER_OFF + 32)
#define SHIM_NODE	4
#define SHIM_PRESENCE	16
#define SHIM_SLOTS	48
#define SHIM_MASK	56
#define CHAIN_MAX	128
#define MAX_NODES	32
#define PAYLOAD_MAX	0x100000
#define GRANULE_SHIFT	20
#define GRANULES	(1 << 26)
#define FIRST_ROOT	0x100000000100
#define SEG_SIZE	0x400000
#define SEG_MASK	(-SEG_SIZE)
#define SEG_IN		0x1000
#define SEG_OUT		0x101000
#define SEG_DIRTY	1
#define SEG_BIG		(64 << 10)

/*
 * Where a local call has its arguments, and its results, if there is room for no more
 * than SHORT_MAX bytes of them: two pages less to be touched, and to be moved.
 */
#define SHORT_IN	0x400
#define SHORT_OUT	0x800
#define SHORT_MAX	0x400

/* Control words of a new thread, as the ABI has them: MXCSR, and above it x87's. */
#define FPU_DEFAULT	0x37f00001f80

/* Kept free at the top, so that the first stack pointer is in the segment. */
#define SEG_TOP		(SEG_SIZE - 16)

/*
 * A slice's quarters are 1 << QUARTER_SHIFT bytes, and its last one has the threads'
 * segments: those of the first slice are quarter FIRST_STACKS of the address space.
 */
#define QUARTER_SHIFT	39
#define FIRST_STACKS	35

#define CALL_AGAIN_BITS	0x8000000000000000
#define METHOD_ERRNO_MAX	4095

/* Of the hash table of methods: of its slots' offsets. */
#define METHOD_HASH	0x61c88647
#define METHOD_SHIFT	28
#define METHOD_SLOT	16

#ifndef __ASSEMBLER__

#include <linux/proclet.h>
#include <proclet.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

/*
 * tcb->lib[]: what shim_method needs, the number of the segment's last operation,
 * which thread of proclet_thread_create() this is, and where a method's results are.
 * The kernel clears tcb->seq with each new thread; that number goes on, so that a late
 * reply finds no new owner.
 */
#define LIB_FN			0
#define LIB_ROOT		1
#define LIB_SEQ			2
#define LIB_THREAD		3	/* struct proclet_thread; 0: a method */
#define LIB_RESULTS		4

_Static_assert(offsetof(struct proclet_tcb, proclet) == TCB_PROCLET, "tcb");
_Static_assert(offsetof(struct proclet_tcb, worker) == TCB_WORKER, "tcb");
_Static_assert(offsetof(struct proclet_tcb, sp) == TCB_SP, "tcb");
_Static_assert(offsetof(struct proclet_tcb, seq) == TCB_SEQ, "tcb");
_Static_assert(offsetof(struct proclet_tcb, out) == TCB_OUT, "tcb");
_Static_assert(offsetof(struct proclet_tcb, out_cap) == TCB_OUT_CAP, "tcb");
_Static_assert(offsetof(struct proclet_tcb, result) == TCB_RESULT, "tcb");
_Static_assert(offsetof(struct proclet_tcb, pin) == TCB_PIN, "tcb");
_Static_assert(offsetof(struct proclet_tcb, method) == TCB_PIN + 4, "tcb");
_Static_assert(offsetof(struct proclet_tcb, in_len) == TCB_IN_LEN, "tcb");
_Static_assert(offsetof(struct proclet_tcb, res_cap) == TCB_RES_CAP, "tcb");
_Static_assert(offsetof(struct proclet_tcb, caller.proclet) == TCB_CALLER, "tcb");
_Static_assert(offsetof(struct proclet_tcb, caller.stack) == TCB_CALLER + 8, "tcb");
_Static_assert(offsetof(struct proclet_tcb, caller.seq) == TCB_CALLER + 16, "tcb");
_Static_assert(offsetof(struct proclet_tcb, caller.node) == TCB_CALLER + 24, "tcb");
_Static_assert(offsetof(struct proclet_tcb, lib[LIB_FN]) == TCB_FN, "tcb");
_Static_assert(offsetof(struct proclet_tcb, lib[LIB_ROOT]) == TCB_ROOT, "tcb");
_Static_assert(offsetof(struct proclet_tcb, lib[LIB_SEQ]) == TCB_LAST_SEQ, "tcb");
_Static_assert(offsetof(struct proclet_tcb, lib[LIB_THREAD]) == TCB_THREAD, "tcb");
_Static_assert(offsetof(struct proclet_tcb, lib[LIB_RESULTS]) == TCB_RESULTS, "tcb");
_Static_assert(PROCLET_STACK_SIZE == SEG_SIZE, "segment");
_Static_assert(PROCLET_SLICE_SIZE == 4ULL << QUARTER_SHIFT, "slice");
_Static_assert(PROCLET_REGION_BASE + PROCLET_STACKS_OFF ==
	       (__u64)FIRST_STACKS << QUARTER_SHIFT, "slice");
_Static_assert(PROCLET_STACKS_OFF == 3ULL << QUARTER_SHIFT, "slice");
_Static_assert(PROCLET_STACK_IN == SEG_IN, "segment");
_Static_assert(PROCLET_STACK_OUT == SEG_OUT, "segment");
_Static_assert(sizeof(struct proclet_tcb) <= SHORT_IN, "tcb");
_Static_assert(sizeof(struct proclet_worker) <= WORKER_OFF, "page");
_Static_assert(offsetof(struct proclet_worker, depth) == PAGE_DEPTH, "page");
_Static_assert(offsetof(struct proclet_worker, attn) == PAGE_ATTN, "page");
_Static_assert(offsetof(struct proclet_worker, park) == PAGE_PARK, "page");
_Static_assert(offsetof(struct proclet_worker, calls_local) == PAGE_CALLS, "page");
_Static_assert(offsetof(struct proclet_worker, chain) == PAGE_CHAIN, "page");
_Static_assert(PROCLET_CHAIN_MAX == CHAIN_MAX, "page");
_Static_assert(PROCLET_MAX_NODES == MAX_NODES, "nodes");
_Static_assert(PROCLET_PAYLOAD_MAX == PAYLOAD_MAX, "payload");
_Static_assert(PROCLET_GRANULE_SHIFT == GRANULE_SHIFT, "granule");
_Static_assert(PROCLET_REGION_SIZE >> GRANULE_SHIFT == GRANULES, "granule");
_Static_assert(PROCLET_REGION_BASE + PROCLET_ROOT_OFF == FIRST_ROOT, "root");

#define READ_ONCE(x)		(*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v)	(*(volatile __typeof__(x) *)&(x) = (v))
#define likely(x)		__builtin_expect(!!(x), 1)
#define unlikely(x)		__builtin_expect(!!(x), 0)

#define noinline		__attribute__((noinline))
#define PUBLIC			__attribute__((visibility("default")))

#define METHOD_ROOT		0xffffffffU
#define METHOD_THREAD		0xfffffffeU	/* in tcb->method; nobody can call it */

/*
 * A local call that found its callee gone: it has not been executed, the
 * caller takes it through the kernel. No method can return this.
 */
#define CALL_AGAIN		((__s64)CALL_AGAIN_BITS)

/**
 * struct shim - this member
 * @fd: its file
 * @node: its node's id
 * @root_node: that of the root member, which keeps the names
 * @presence: generation of the proclet that begins in a granule and is here
 * @workers: the workers' pages
 * @clock: how its logical process's clock differs from the machine's
 * @canary: stack protector's value in lproc threads, the same in all members
 * @slots: hash table of methods by address, at most half full; method.c
 * @mask: of its slots' offsets
 */
struct shim {
	int fd;
	__u32 node;
	__u32 root_node;
	const __u32 *presence;
	char *workers;
	const struct proclet_clock *clock;
	unsigned long canary;
	char *slots;
	unsigned long mask;
};
extern struct shim shim;

_Static_assert(offsetof(struct shim, node) == SHIM_NODE, "shim");
_Static_assert(offsetof(struct shim, presence) == SHIM_PRESENCE, "shim");
_Static_assert(offsetof(struct shim, slots) == SHIM_SLOTS, "shim");
_Static_assert(offsetof(struct shim, mask) == SHIM_MASK, "shim");

#define SEGS_KEEP		16
#define SEGS_MAX		(SEGS_KEEP + PROCLET_CHAIN_MAX)

/**
 * struct worker - what only the worker itself uses; on its page
 * @native_sp: its native loop's stack pointer while it runs a thread
 * @page: what it shares with the kernel
 * @done: segment of the method that returned, until that is reported
 * @done_dirty: it holds pages worth giving back
 * @nsegs: number of @segs
 * @segs: free segments, the last used last; bit 0: holds pages worth giving
 *        back
 * @altstack: its signal stack, which sigreturn must not replace
 * @work: argument of PROCLET_IOC_WORK
 */
struct worker {
	__u64 native_sp;
	struct proclet_worker *page;
	struct proclet_tcb *done;
	bool done_dirty;
	unsigned int nsegs;
	__u64 segs[SEGS_MAX];
	stack_t altstack;
	struct proclet_work work;
};

_Static_assert(WORKER_OFF + offsetof(struct worker, nsegs) == WORKER_NSEGS, "worker");
_Static_assert(WORKER_OFF + offsetof(struct worker, segs) == WORKER_SEGS, "worker");
_Static_assert(WORKER_OFF + sizeof(struct worker) <= PROCLET_WORKER_SIZE, "worker");

/* The segment that an address lies in; NULL: not a thread's. */
static inline struct proclet_tcb *tcb_of(unsigned long addr)
{
	unsigned int quarter = (addr >> QUARTER_SHIFT) - FIRST_STACKS;

	/* Rotated: the other three of a slice become big. */
	if ((quarter >> 2 | quarter << 30) >= PROCLET_MAX_NODES)
		return NULL;
	return (struct proclet_tcb *)(addr & PROCLET_STACK_MASK);
}

/* The caller's thread; NULL: a native one. */
static inline struct proclet_tcb *tcb_self(void)
{
	unsigned long sp;

	__asm__ volatile("mov %%rsp, %0" : "=r" (sp));
	return tcb_of(sp);
}

static inline struct proclet_worker *tcb_page(const struct proclet_tcb *tcb)
{
	return (struct proclet_worker *)READ_ONCE(tcb->worker);
}

static inline struct worker *page_worker(const struct proclet_worker *page)
{
	return (struct worker *)((char *)page + WORKER_OFF);
}

static inline bool proclet_valid(proclet_t p)
{
	return PROCLET_ID_GEN(p) && PROCLET_ID_GRANULE(p) <
		PROCLET_REGION_SIZE / PROCLET_GRANULE_SIZE;
}

/* Is it here? Only for valid ids. */
static inline bool proclet_here(proclet_t p)
{
	return READ_ONCE(shim.presence[PROCLET_ID_GRANULE(p)]) ==
		PROCLET_ID_GEN(p);
}

static inline void *seg_out(struct proclet_tcb *tcb)
{
	return (char *)tcb + PROCLET_STACK_OUT;
}

static inline __u64 tcb_next_seq(struct proclet_tcb *tcb)
{
	return tcb->seq = ++tcb->lib[LIB_SEQ];
}

/* Do these many bytes make a segment's buffers worth trimming? */
static inline bool seg_big(__u64 len)
{
	return len > SEG_BIG;
}

static inline __u64 proclet_root(proclet_t p)
{
	return PROCLET_ID_HEAP(p) + PROCLET_ROOT_OFF;
}

/* dev.c */
int dev_join(struct proclet_join *join);
int dev_map(void);
int dev_ioctl(unsigned long cmd, void *arg);	/* -errno */
int dev_members(struct proclet_members *m, unsigned int wait_for,
		unsigned int timeout_ms, __u32 flags);

/* Registers in the order of the frame information. */
enum {
	REGS_AX, REGS_DX, REGS_CX, REGS_BX, REGS_SI, REGS_DI, REGS_BP, REGS_SP,
	REGS_R8, REGS_R9, REGS_R10, REGS_R11, REGS_R12, REGS_R13, REGS_R14,
	REGS_R15, REGS_IP, NREGS
};

/**
 * struct unwind - a frame on a thread's stack
 * @reg: its registers
 * @is_return: the instruction pointer is a return address
 * @low: stack that may be read
 * @high: end of it
 */
struct unwind {
	unsigned long reg[NREGS];
	bool is_return;
	unsigned long low, high;
};

/* unwind.c */
void unwind_init(void);
bool unwind_step(struct unwind *u);

/* text.c: whose code is an address */
int text_init(struct proclet_ident *ident);	/* after a message: -errno */
bool text_migratable(unsigned long ip);
bool text_parkable(unsigned long ip);
bool text_native_on_stack(struct proclet_tcb *tcb, struct unwind *u);

/* method.c */
struct method_slot {
	proclet_method_t fn;	/* NULL: empty; never the first, where NULL would be */
	unsigned long index;
};
_Static_assert(sizeof(struct method_slot) == METHOD_SLOT, "method");
_Static_assert(offsetof(struct method_slot, index) == 8, "method");

int method_init(const proclet_method_t *first, const proclet_method_t *last);
proclet_method_t method_get(__u32 index);

int method_index(proclet_method_t fn, __u32 *index);

/* lproc.c */
proclet_method_t lproc_root_method(void);	/* NULL: not here, or not now */
void shim_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* worker.c */
int worker_start(void);
struct proclet_tcb *seg_get(struct worker *w);	/* NULL: no memory */
void seg_free(struct proclet_tcb *tcb);		/* to the kernel */

/* Never too many: what a chain gives back it has taken here, or allocated. */
static inline void seg_put(struct worker *w, struct proclet_tcb *tcb, bool dirty)
{
	w->segs[w->nsegs++] = (__u64)tcb | (dirty ? SEG_DIRTY : 0);
}

/* park.c */
extern __thread struct proclet_worker *park_self
	__attribute__((tls_model("initial-exec")));
int park_init(void);

/* clock.c */
struct timespec;
int clock_deadline(const struct timespec *rel, __u64 *deadline);	/* -EINVAL */
/* symbol.c: names of the program's functions; async-signal-safe */
void symbol_init(void);
bool symbol_name(unsigned long addr, char *name, size_t size, unsigned long *off);

/* crash.c: fatal signals, fork() */
int crash_init(void);
void crash_worker_init(void);
void crash_wait(void);	/* does not return when the process is about to be killed */

/* call.c */
__s64 shim_op(const struct proclet_op *op);
int shim_spawn(proclet_method_t fn, void *root);	/* in the caller's proclet */
void call_prepare(struct proclet_tcb *tcb, proclet_method_t fn);

/*
 * sync.c: a thread waits at a word of its proclet while that has a value, and
 * wakes others. 0: woken, or the word is another already. @deadline: by
 * proclet_clock_ns(), 0: none; -ETIMEDOUT.
 */
int word_wait(const void *word, __u32 value, __u64 deadline);
void word_wake(const void *word, __u32 count);

/* For proclet_call in switch.S. */
void shim_report(struct proclet_tcb *tcb, __s64 ret) __attribute__((noreturn));
ssize_t shim_call_slow(proclet_t p, proclet_method_t m, const void *in, size_t in_len,
		       void *out, size_t out_cap);

/* switch.S */
extern const char shim_method[], shim_method_ret[];
__u64 shim_switch(__u64 *save, __u64 to, __u64 val);
__u64 shim_run(__u64 *save, struct proclet_tcb *tcb);
__u64 shim_sigreturn(__u64 *save, __u64 frame);
void shim_jump(__u64 to, __u64 val) __attribute__((noreturn));
void shim_thread_exit(struct proclet_tcb *tcb) __attribute__((noreturn));
void shim_registers(unsigned long reg[NREGS]);	/* the caller's, callee-saved */

#pragma GCC visibility pop

#endif /* __ASSEMBLER__ */
#endif /* _SHIM_INTERNAL_H */
