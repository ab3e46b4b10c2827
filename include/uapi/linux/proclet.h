/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Proclets for Linux: the ABI of /dev/proclet.
 *
 * A program opens /dev/proclet, joins a logical process with
 * PROCLET_IOC_JOIN, maps the areas below from the same file, and starts
 * workers: threads that wait for work in PROCLET_IOC_WORK. The file is then
 * the member: closing its last reference ends it.
 *
 * Every struct begins with its size, as the caller knows it; fields may be
 * added at the end. All reserved fields and unknown flags must be zero.
 * Errors that every ioctl can return:
 *
 *   -EFAULT  an address in the struct is not accessible
 *   -EINVAL  a size, flag or field is out of its range
 *   -E2BIG   the struct is longer than the kernel's and the rest is not zero
 *   -EPERM   called from another process than the one that joined
 *   -ENOTCONN the file has not joined a logical process
 *   -ESHUTDOWN the logical process has ended (PROCLET_IOC_OP, and waiting in
 *            PROCLET_IOC_MEMBERS; the others say so in their results)
 *   -EINTR   a signal arrived; see each ioctl for what to do
 */
#ifndef _UAPI_LINUX_PROCLET_H
#define _UAPI_LINUX_PROCLET_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * Address space. The region lies at the same address in every member. Each
 * node allots from its own slice: heaps from the bottom, thread stacks from
 * PROCLET_STACKS_OFF on. So an address tells its node of origin ("home") and
 * its kind.
 */
#define PROCLET_REGION_BASE	0x100000000000ULL
#define PROCLET_REGION_SIZE	(1ULL << 46)
#define PROCLET_GRANULE_SHIFT	20
#define PROCLET_GRANULE_SIZE	(1ULL << PROCLET_GRANULE_SHIFT)
#define PROCLET_MAX_NODES	32	/* node ids are 1..32 */
#define PROCLET_SLICE_SIZE	(PROCLET_REGION_SIZE / PROCLET_MAX_NODES)
#define PROCLET_STACKS_OFF	(PROCLET_SLICE_SIZE / 4 * 3)
#define PROCLET_CAPACITY_MIN	PROCLET_GRANULE_SIZE
#define PROCLET_CAPACITY_MAX	(64ULL << 30)

/*
 * A proclet's id: granule number of its heap, and a generation that is never
 * used twice for the same granule. 0 is no proclet.
 */
#define PROCLET_ID(granule, gen)	(((__u64)(gen) << 32) | (__u32)(granule))
#define PROCLET_ID_GRANULE(id)		((__u32)(id))
#define PROCLET_ID_GEN(id)		((__u32)((id) >> 32))
#define PROCLET_ID_HEAP(id)	(PROCLET_REGION_BASE + \
		((__u64)PROCLET_ID_GRANULE(id) << PROCLET_GRANULE_SHIFT))
#define PROCLET_ID_HOME(id)	((__u32)(((__u64)PROCLET_ID_GRANULE(id) << \
		PROCLET_GRANULE_SHIFT) / PROCLET_SLICE_SIZE) + 1)

/* What can be mapped from a member's file, by offset. */
#define PROCLET_MMAP_REGION	0ULL		/* at PROCLET_REGION_BASE only */
#define PROCLET_MMAP_PRESENCE	(1ULL << 46)	/* __u32 per granule, read only */
#define PROCLET_PRESENCE_SIZE \
	(PROCLET_REGION_SIZE / PROCLET_GRANULE_SIZE * sizeof(__u32))
#define PROCLET_MMAP_WORKERS	(PROCLET_MMAP_PRESENCE + (1ULL << 32))
#define PROCLET_MAX_WORKERS	1024
#define PROCLET_WORKER_SIZE	4096	/* bytes of one worker's page */
#define PROCLET_MMAP_CLOCK	(PROCLET_MMAP_WORKERS + (1ULL << 32))	/* read only */
#define PROCLET_CLOCK_SIZE	4096

/**
 * struct proclet_heap - start of every heap, written by the kernel at creation
 * @id: the proclet
 * @capacity: bytes of the whole segment, this header included
 * @root_size: bytes of the root object, which begins at PROCLET_ROOT_OFF
 * @alloc: zero at creation; offset of the library's allocator state
 * @reserved: zero at creation; the library's own
 */
struct proclet_heap {
	__u64 id;
	__u64 capacity;
	__u64 root_size;
	__u64 alloc;
	__u64 reserved[28];
};
#define PROCLET_ROOT_OFF	256

/*
 * A thread's segment. The address masked with PROCLET_STACK_SIZE is its
 * thread control block, wherever the code on the stack runs. The page at
 * PROCLET_STACK_GUARD is never mapped.
 */
#define PROCLET_STACK_SIZE	(4ULL << 20)
#define PROCLET_STACK_MASK	(~(PROCLET_STACK_SIZE - 1))
#define PROCLET_STACK_IN	0x1000ULL	/* arguments of a call that the kernel gives */
#define PROCLET_STACK_OUT	0x101000ULL	/* results for PROCLET_DONE_REPLY */
#define PROCLET_STACK_GUARD	0x201000ULL
#define PROCLET_PAYLOAD_MAX	(1ULL << 20)	/* bytes each way */

/**
 * struct proclet_token - where the reply of an operation goes
 * @proclet: the caller's proclet; 0: a native thread
 * @stack: the caller's thread segment; 0: a native thread
 * @seq: the operation's number in that thread (native: in that member)
 * @node: the caller's node when it called (native: its node)
 */
struct proclet_token {
	__u64 proclet;
	__u64 stack;
	__u64 seq;
	__u32 node;
	__u32 reserved;
};

/**
 * struct proclet_tcb - thread control block, at the start of the segment
 * @proclet: the proclet this thread executes in; 0: the segment is free
 * @worker: address of the page of the worker that runs it; changes with moves
 * @sp: stack pointer of a thread that suspended itself (callee-saved registers
 *      are on its stack, laid out by the library)
 * @frame: address of the ucontext of a parked thread, for rt_sigreturn
 * @seq: number of the thread's last operation (local calls count)
 * @out: where the operation in progress wants its result
 * @out_cap: and how much of it
 * @result: result of the last operation
 * @pin: not 0: the proclet must not move (proclet_pin)
 * @method: index of the method that runs
 * @in_len: bytes at PROCLET_STACK_IN
 * @res_cap: bytes the caller takes of PROCLET_STACK_OUT
 * @caller: who waits for this thread's result
 * @lib: the library's own
 */
struct proclet_tcb {
	__u64 proclet;
	__u64 worker;
	__u64 sp;
	__u64 frame;
	__u64 seq;
	__u64 out;
	__u64 out_cap;
	__s64 result;
	__u32 pin;
	__u32 method;
	__u64 in_len;
	__u64 res_cap;
	struct proclet_token caller;
	__u64 lib[16];
};

/**
 * struct proclet_worker - the page that a worker and the kernel share
 * @depth: entries in use of @chain
 * @attn: the kernel wants this worker in PROCLET_IOC_WORK: after leaving a
 *        proclet, or when @park is set, as soon as it can park
 * @sig_pending: a park signal is on its way; the handler clears it
 * @park: thread segment to park, 0: none. Only valid while it is the innermost
 * @calls_local: local calls made, counted by the library
 * @lib: the library's own, as is what follows @chain on the page
 * @chain: segments of the threads that run on this worker, each (but the first)
 *         in a local call from the one before. The kernel takes a suspended
 *         thread away by writing 0 to its entry.
 *
 * To enter a proclet: write the new thread's tcb, chain[depth] = its segment,
 * ++depth, then (compiler barrier) read the presence word: when it is not the
 * proclet's generation, go back as below and use PROCLET_DONE_OP. As soon as
 * depth includes the new thread the kernel may take the caller's away.
 * To return from it: --depth, (compiler barrier), then read the presence word of
 * the caller's proclet, and after that the caller's entry in chain: when the
 * proclet is not here, the entry is 0 or @attn is set, ++depth and use
 * PROCLET_DONE_REPLY. The kernel first clears the presence word, then sends a
 * barrier interrupt to all CPUs that run the process, and only then reads depth
 * and chain; so neither side needs a lock.
 */
#define PROCLET_CHAIN_MAX	128
struct proclet_worker {
	__u32 depth;
	__u32 attn;
	__u32 sig_pending;
	__u32 reserved;
	__u64 park;
	__u64 calls_local;
	__u64 lib;
	__u64 chain[PROCLET_CHAIN_MAX];
};

/**
 * struct proclet_clock - at PROCLET_MMAP_CLOCK: the logical process's clock
 * @offset: it is CLOCK_MONOTONIC, as the member sees it, plus this, in ns
 *
 * The offset only grows while the program can see it. Members hear each other's
 * clocks with each operation, reply and thread, so the clock does not go back for
 * a thread, nor from a call to its callee and back, wherever they execute. Read it
 * before CLOCK_MONOTONIC, and do not move in between.
 */
struct proclet_clock {
	__s64 offset;
};

/* The signal that asks a worker to park. The library handles it. */
#define PROCLET_SIGPARK		63

/**
 * struct proclet_ident - what must be the same in all members
 * @build_id: of the program, zero padded
 * @build_id_len: bytes of it, at most 32
 * @page_size: bytes
 * @text: start and end of the program's text
 * @shim: start and end of the library's text
 * @xfeatures: XCR0: the extended processor states in use
 */
struct proclet_ident {
	__u8 build_id[32];
	__u32 build_id_len;
	__u32 page_size;
	__u64 text[2];
	__u64 shim[2];
	__u64 xfeatures;
};

#define PROCLET_NAME_MAX	64	/* with the terminating 0 */
#define PROCLET_REASON_MAX	160

/**
 * struct proclet_join - PROCLET_IOC_JOIN: become a member
 * @size: of this struct
 * @node: id of the node on this machine; 0: the only one
 * @name: of the logical process, 0-terminated, printable ASCII without spaces,
 *        not empty
 * @run: number of this run of it: members of other runs are strangers
 * @ident: compared with that of the other members
 * @reason: out: a sentence that says why joining failed, else empty
 * @flags: PROCLET_JOIN_*, the same in all members
 * @reserved: 0
 *
 * Errors: -ENODEV no such node, or it is not enabled (several nodes and
 * @node is 0: -EINVAL); -EEXIST the node has a member of this run;
 * -EALREADY this file has joined; -EXDEV a member's ident, flags or user differ;
 * -ETIMEDOUT a connected node did not answer.
 */
struct proclet_join {
	__u32 size;
	__u32 node;
	char name[PROCLET_NAME_MAX];
	__u64 run;
	struct proclet_ident ident;
	char reason[PROCLET_REASON_MAX];
	__u32 flags;
	__u32 reserved;
};
/* The loss of a member does not end the logical process. */
#define PROCLET_JOIN_SURVIVE	1

/**
 * struct proclet_members - PROCLET_IOC_MEMBERS: who is in
 * @size: of this struct
 * @wait_for: wait (killably) until there are so many members; 0: do not
 * @timeout_ms: longest wait; 0: for ever
 * @count: out: members, this one included
 * @node: out: this member's node
 * @flags: PROCLET_MEMBERS_*
 * @ids: out: their nodes' ids, ascending
 *
 * Errors: -ETIMEDOUT, with @count filled in. -ESHUTDOWN the logical process has ended.
 * -ECONNRESET with PROCLET_MEMBERS_LOST.
 */
struct proclet_members {
	__u32 size;
	__u32 wait_for;
	__u32 timeout_ms;
	__u32 count;
	__u32 node;
	__u32 flags;
	__u32 ids[PROCLET_MAX_NODES];
};
/* Nor wait any longer when one has gone: PROCLET_IOC_MANAGE says which. */
#define PROCLET_MEMBERS_LOST	1

/**
 * struct proclet_manage - PROCLET_IOC_MANAGE: the main thread's wait
 * @size: of this struct
 * @event: out: PROCLET_EVENT_*
 * @status: out: exit status (PROCLET_EVENT_EXIT); number of workers to start
 *          (PROCLET_EVENT_SPAWN)
 * @node: out: the node that ended the logical process, or was lost
 * @reason: out: why it was lost, printable ASCII, 0-terminated; empty: not known
 *
 * After PROCLET_EVENT_EXIT the logical process is over. After
 * PROCLET_EVENT_LOST too, unless it was joined with PROCLET_JOIN_SURVIVE.
 * -EINTR: call again.
 */
struct proclet_manage {
	__u32 size;
	__u32 event;
	__s32 status;
	__u32 node;
	char reason[PROCLET_REASON_MAX];
};
#define PROCLET_EVENT_SPAWN	1
#define PROCLET_EVENT_EXIT	2	/* PROCLET_IOC_EXIT, or a member's process has exited */
#define PROCLET_EVENT_LOST	3	/* the member on @node has gone */
/* 4 to 7: struct proclet_event */

/**
 * struct proclet_exit - PROCLET_IOC_EXIT: end the logical process everywhere
 * @size: of this struct
 * @status: given to every member's PROCLET_IOC_MANAGE
 */
struct proclet_exit {
	__u32 size;
	__s32 status;
};

/**
 * struct proclet_dying - PROCLET_IOC_DYING: a signal is about to end the process
 * @size: of this struct
 * @reserved: 0
 * @reason: what happened, printable ASCII, 0-terminated; the other members'
 *          PROCLET_IOC_MANAGE gets it
 *
 * For the handler of a fatal signal, and for a process that gives up and whose
 * exit is not to end the others. The member leaves at once: the others need not
 * wait for a core dump to be written. Its memory stays until the process has
 * ended, and parts of PROCLET_MMAP_REGION can be mapped over the region now, at
 * their own addresses: those are in the core dump, the rest is not. PROCLET_IOC_EXTENT
 * says where there is something. Can be called again.
 */
struct proclet_dying {
	__u32 size;
	__u32 reserved;
	char reason[PROCLET_REASON_MAX];
};

/**
 * struct proclet_extent - PROCLET_IOC_EXTENT: memory of the region in use
 * @size: of this struct
 * @reserved: 0
 * @start: in: where to look; out: first byte of the next pages that exist, all
 *         of one segment
 * @len: out: their bytes; short gaps without pages are counted in
 *
 * Error: -ENXIO there are none from @start on.
 */
struct proclet_extent {
	__u32 size;
	__u32 reserved;
	__u64 start;
	__u64 len;
};

/* Operations. Each takes bytes in, gives bytes out and a result >= 0 or -errno. */
enum proclet_op_code {
	/*
	 * Run method @method in proclet @target with @in; result: bytes of @out
	 * that the method wrote, or its own error. -EMSGSIZE: @in_len or
	 * @out_cap above PROCLET_PAYLOAD_MAX. -ESTALE: no such proclet.
	 * -EHOSTUNREACH: not executed. -ECONNRESET: perhaps executed.
	 */
	PROCLET_OP_CALL		= 1,
	/* in: struct proclet_create_args, out: __u64 id. @target: node, 0: here */
	PROCLET_OP_CREATE	= 2,
	/*
	 * New calls get -ESTALE from now on; methods and threads that run in it
	 * go on to their end, and the last one's end frees it. Threads that wait
	 * at words (PROCLET_OP_WAIT) when nothing else is left in it can never
	 * go on: they end with it, and their callers get -ECONNRESET.
	 */
	PROCLET_OP_DESTROY	= 3,
	/* result: id of the node where the proclet is */
	PROCLET_OP_LOCATE	= 4,
	/*
	 * in: struct proclet_migrate_args, out: struct proclet_move (may be cut
	 * short). -EBUSY: pinned, already moving, memory pinned, or a thread
	 * that could not be parked before the deadline. -ENOMEM: refused by
	 * the destination. -EHOSTUNREACH: no member there. In each case
	 * the proclet runs on where it was. -ECONNRESET: the destination was
	 * lost while it took the proclet over; who has it is known when it is
	 * back.
	 */
	PROCLET_OP_MIGRATE	= 5,
	/* out: struct proclet_stats. @target: node, 0: here */
	PROCLET_OP_STATS	= 6,
	/*
	 * The following are for threads of proclets (native ones get -EPERM),
	 * and concern the caller's own proclet.
	 *
	 * in: struct proclet_wait_args. Wait until another thread of the proclet
	 * wakes the caller, if the word has the value; else -EAGAIN. A word must be
	 * in the proclet's reserved heap or in a segment of one of its threads,
	 * and be aligned; else -EINVAL. Looking and beginning to wait are one
	 * step. The wait goes on when the proclet moves. -ETIMEDOUT: @deadline.
	 */
	PROCLET_OP_WAIT		= 7,
	/*
	 * in: struct proclet_wake_args. Threads that wait at the word go on with
	 * result 0, who has waited longest first. Result: how many.
	 */
	PROCLET_OP_WAKE		= 8,
	/*
	 * A new thread in the proclet. @target: a free segment, prepared as if
	 * its thread had suspended itself (tcb->proclet, tcb->sp); tcb->caller
	 * is 0 as nobody waits for its result. -EINVAL: it is in use, or of
	 * another proclet.
	 */
	PROCLET_OP_SPAWN	= 10,
	/* Result 0 when @deadline has passed, which it must have. @target: 0 */
	PROCLET_OP_SLEEP	= 9,
	/*
	 * One reference more or less to the proclet @target, which has one when
	 * it is created. The last PUT is a DESTROY; that does not look at the
	 * count. Result: 0. -EOVERFLOW: it has PROCLET_REFS_MAX.
	 */
	PROCLET_OP_GET		= 11,
	PROCLET_OP_PUT		= 12,
	/*
	 * Names of proclets, in a table of the member on node @target (0: here);
	 * by convention of the library that is the root's. in: struct
	 * proclet_name. LOOKUP: out: __u64 id. The table does not know whether
	 * a proclet lives. -EEXIST: the name is taken; -ENOENT: there is no such
	 * name, or UNPUBLISH gave an id and it is another one's; -ENOSPC: there
	 * are PROCLET_NAMES_MAX; -ESTALE: PUBLISH of what is no id.
	 */
	PROCLET_OP_PUBLISH	= 13,
	PROCLET_OP_UNPUBLISH	= 14,
	PROCLET_OP_LOOKUP	= 15,
	/*
	 * Copy bytes of @target's heap; no thread runs there for it. An offset
	 * counts from the root object. READ: @out_cap bytes from offset @in on
	 * to @out; @in_len: 0. What was never touched reads as zeroes. WRITE:
	 * @in_len bytes at @in to offset @out on; @out_cap: 0. Either all is
	 * copied or nothing; if the offset is a multiple of 8, each such word
	 * at once. Result: the number of bytes. -ERANGE: not in the reserved
	 * part of the heap.
	 */
	PROCLET_OP_READ		= 16,
	PROCLET_OP_WRITE	= 17,
};

#define PROCLET_REFS_MAX	0x7fffffffU
#define PROCLET_NAMES_MAX	65536

/**
 * struct proclet_op - an operation
 * @op: enum proclet_op_code
 * @method: index of the method (PROCLET_OP_CALL)
 * @target: proclet or node, see enum proclet_op_code
 * @in: address of the argument bytes, copied before the ioctl waits
 *      (PROCLET_OP_READ: offset)
 * @in_len: how many
 * @out: where the result goes (PROCLET_OP_WRITE: offset)
 * @out_cap: at most so many
 * @seq: number of the operation: the thread's tcb->seq (native threads: 0)
 * @deadline: by the logical process's clock in ns; 0: none
 *
 * When the deadline passes before the result is there, the operation is cancelled.
 * Result -ETIMEDOUT: it was certainly not executed; -ECONNRESET: perhaps executed,
 * or still being executed, and its result will be dropped. Whoever has the operation
 * gets cancel_ms (module parameter) to say which.
 */
struct proclet_op {
	__u32 op;
	__u32 method;
	__u64 target;
	__u64 in;
	__u64 in_len;
	__u64 out;
	__u64 out_cap;
	__u64 seq;
	__u64 deadline;
};

/**
 * struct proclet_create_args - of PROCLET_OP_CREATE
 * @capacity: bytes of the heap's segment, rounded up to a power of two
 * @root_size: bytes of the zeroed root object
 * @flags: PROCLET_CREATE_*
 * @reserved: 0
 */
struct proclet_create_args {
	__u64 capacity;
	__u64 root_size;
	__u32 flags;
	__u32 reserved;
};
#define PROCLET_CREATE_PINNED		1	/* never moves */
#define PROCLET_CREATE_DURABLE_MOVE	2	/* by post-copy only if that is asked for */
#define PROCLET_CREATE_FLAGS		3	/* all of them */

/**
 * struct proclet_name - of PROCLET_OP_PUBLISH, _UNPUBLISH and _LOOKUP
 * @id: PUBLISH: the proclet. UNPUBLISH: only if the name is this one's; 0:
 *      whosever it is. LOOKUP: 0
 * @name: 1 to 63 bytes, filled up with zeroes
 */
struct proclet_name {
	__u64 id;
	char name[PROCLET_NAME_MAX];
};

/**
 * struct proclet_wait_args - of PROCLET_OP_WAIT
 * @addr: address of a __u32
 * @value: that it must have
 * @flags: 0
 */
struct proclet_wait_args {
	__u64 addr;
	__u32 value;
	__u32 flags;
};

/**
 * struct proclet_wake_args - of PROCLET_OP_WAKE
 * @addr: address of a __u32
 * @count: wake at most so many threads
 * @reserved: 0
 */
struct proclet_wake_args {
	__u64 addr;
	__u32 count;
	__u32 reserved;
};

/* How a proclet is moved; see proclet_migrate() in proclet.h. */
enum proclet_move_mode {
	PROCLET_MOVE_AUTO	= 0,
	PROCLET_MOVE_STOP	= 1,
	PROCLET_MOVE_PRECOPY	= 2,
	PROCLET_MOVE_POSTCOPY	= 3,
};

/* Why it was moved so. */
enum proclet_move_why {
	PROCLET_WHY_ASKED	= 1,
	PROCLET_WHY_PARAMETER	= 2,	/* the module's move_mode */
	PROCLET_WHY_SIZE	= 3,	/* of its heap, and it does not write much */
	PROCLET_WHY_WRITES	= 4,	/* pre-copy would leave too much of it written */
	PROCLET_WHY_DURABLE	= 5,	/* likewise, but it has PROCLET_CREATE_DURABLE_MOVE */
};

struct proclet_migrate_args {
	__u32 node;
	__u32 flags;	/* enum proclet_move_mode */
};

/**
 * struct proclet_move - how a migration went; times in ns by the source's clock
 * @freeze_ns: presence off, threads parked, memory unmapped
 * @offer_ns: new pages registered and the offer built
 * @pull_ns: from sending OFFER to READY: the destination read the pages; by post-copy
 *           to ACTIVE
 * @commit_ns: from sending COMMIT to ACTIVE: the destination runs it; by post-copy 0
 * @resume_ns: the part of that which the destination spent before its threads could
 *             run (by its own clock)
 * @blackout_ns: from the start of the freeze to ACTIVE
 * @prepare_ns: before the freeze, not part of the blackout: asking the destination
 * @early_ns: likewise: pages registered, and read by pre-copy
 * @bytes: of all pages that the destination read, also more than once
 * @late_bytes: of them in the blackout
 * @threads: threads moved
 * @parked: of them, those that had to be interrupted
 * @mode: enum proclet_move_mode, as it was moved
 * @rounds: of pre-copy
 * @why: enum proclet_move_why
 * @registered: pages made readable for the destination in the blackout: new since shortly
 *              before it. All others are so before it begins
 *
 * By post-copy, @bytes includes what the destination is still to read.
 */
struct proclet_move {
	__u64 freeze_ns;
	__u64 offer_ns;
	__u64 pull_ns;
	__u64 commit_ns;
	__u64 resume_ns;
	__u64 blackout_ns;
	__u64 prepare_ns;
	__u64 early_ns;
	__u64 bytes;
	__u64 late_bytes;
	__u32 threads;
	__u32 parked;
	__u32 mode;
	__u32 rounds;
	__u32 why;
	__u32 registered;
};

/* Counters of one member since it joined. */
struct proclet_stats {
	__u64 calls_local;	/* direct, without the kernel */
	__u64 calls_kernel;	/* to a proclet here, through the kernel */
	__u64 calls_remote;	/* sent to another node */
	__u64 forwarded;	/* calls and replies passed on to another node */
	__u64 moved_out;	/* migrations completed, as source */
	__u64 moved_in;		/* and as destination */
	__u64 aborted;		/* migrations given up, as source */
	__u64 bytes_out;
	__u64 proclets;		/* here now */
	__u64 workers;
	__u64 memory;		/* bytes of pages here now */
	__u64 ops;		/* operations of proclets' threads */
};

/**
 * struct proclet_native_op - PROCLET_IOC_OP: an operation of a native thread
 * @size: of this struct
 * @reserved: 0
 * @op: the operation
 * @result: out: its result
 *
 * Waits (killably) until it has ended. The ioctl returns 0 whenever @result is
 * valid.
 */
struct proclet_native_op {
	__u32 size;
	__u32 reserved;
	struct proclet_op op;
	__s64 result;
};

/**
 * struct proclet_work - PROCLET_IOC_WORK: a worker says what it did, and waits
 * @size: of this struct
 * @worker: index of the worker's page, below PROCLET_MAX_WORKERS; the first
 *          call registers the calling thread there
 * @done: PROCLET_DONE_*, about the innermost thread of the chain. Threads
 *        below it are taken over by the kernel as waiting.
 * @todo: out: PROCLET_TODO_*
 * @status: PROCLET_DONE_REPLY: the method's return value
 * @spare: a free segment for a new call; must not be in use
 * @op: PROCLET_DONE_OP: the operation that the innermost thread waits for
 * @stack: out: segment of the thread to run, now chain[0]
 * @result: out: PROCLET_TODO_RESUME: the operation's result. Result bytes are
 *          already at the thread's tcb->out.
 *
 * -EINTR: the report in @done has been accepted; call again with
 * PROCLET_DONE_NONE. Any other error: see the list at the top; @done was not
 * accepted.
 */
struct proclet_work {
	__u32 size;
	__u32 worker;
	__u32 done;
	__u32 todo;
	__s64 status;
	__u64 spare;
	struct proclet_op op;
	__u64 stack;
	__s64 result;
};

/* Nothing; the chain is empty. */
#define PROCLET_DONE_NONE	0
/*
 * The innermost method returned @status; its bytes are at PROCLET_STACK_OUT, for
 * tcb->caller. The segment is free again.
 */
#define PROCLET_DONE_REPLY	1
/* The innermost thread suspended itself (tcb->sp) and waits for @op. */
#define PROCLET_DONE_OP		2
/* It was parked by the signal (tcb->frame). */
#define PROCLET_DONE_PARKED	3

/* @stack is @spare; its tcb says what to run: proclet, method, in_len, res_cap */
#define PROCLET_TODO_CALL	1
#define PROCLET_TODO_RESUME	2	/* go on at tcb->sp with @result */
#define PROCLET_TODO_SIGRETURN	3	/* go on by rt_sigreturn with tcb->frame */
#define PROCLET_TODO_EXIT	4	/* the logical process has ended */

/**
 * struct proclet_brk - PROCLET_IOC_BRK: reserve memory of a heap
 * @size: of this struct
 * @reserved: 0
 * @proclet: a proclet on this node
 * @brk: bytes from the heap's start that may be touched; rounded up to pages
 *
 * Errors: -ENOMEM beyond the capacity or the node's budget; -ESTALE the
 * proclet is not here (any more). Lowering it frees the pages above.
 */
struct proclet_brk {
	__u32 size;
	__u32 reserved;
	__u64 proclet;
	__u64 brk;
};

/**
 * struct proclet_stack - PROCLET_IOC_STACK: thread segments
 * @size: of this struct
 * @op: PROCLET_STACK_*
 * @stack: out (ALLOC) or in (FREE, TRIM: give back pages, keep the segment)
 *
 * Errors: -ENOMEM none left; -EBUSY the segment is in use; -EINVAL not a
 * segment of this member.
 */
struct proclet_stack {
	__u32 size;
	__u32 op;
	__u64 stack;
};
#define PROCLET_STACK_ALLOC	1
#define PROCLET_STACK_FREE	2
#define PROCLET_STACK_TRIM	3

/**
 * struct proclet_event - something that happened, as this member saw it
 * @seq: its number: one more than that of the event before
 * @proclet: that moved; 0: none
 * @kind: PROCLET_EVENT_JOINED, ...
 * @node: who joined or left; where the proclet came from or went to
 */
struct proclet_event {
	__u64 seq;
	__u64 proclet;
	__u32 kind;
	__u32 node;
};
#define PROCLET_EVENT_JOINED	4	/* there is a member on @node */
#define PROCLET_EVENT_LEFT	5	/* there is none any more */
#define PROCLET_EVENT_MOVED_IN	6	/* @proclet is here now */
#define PROCLET_EVENT_MOVED_OUT	7	/* @proclet was here, and is on @node */
#define PROCLET_EVENTS		512	/* so many are kept */

#define PROCLET_IOC_MAGIC	0xB8
#define PROCLET_IOC_JOIN	_IOWR(PROCLET_IOC_MAGIC, 0, struct proclet_join)
#define PROCLET_IOC_MEMBERS	_IOWR(PROCLET_IOC_MAGIC, 1, struct proclet_members)
#define PROCLET_IOC_MANAGE	_IOWR(PROCLET_IOC_MAGIC, 2, struct proclet_manage)
#define PROCLET_IOC_EXIT	_IOW(PROCLET_IOC_MAGIC, 3, struct proclet_exit)
#define PROCLET_IOC_OP		_IOWR(PROCLET_IOC_MAGIC, 4, struct proclet_native_op)
#define PROCLET_IOC_WORK	_IOWR(PROCLET_IOC_MAGIC, 5, struct proclet_work)
#define PROCLET_IOC_BRK		_IOW(PROCLET_IOC_MAGIC, 6, struct proclet_brk)
#define PROCLET_IOC_STACK	_IOWR(PROCLET_IOC_MAGIC, 7, struct proclet_stack)
#define PROCLET_IOC_DYING	_IOW(PROCLET_IOC_MAGIC, 16, struct proclet_dying)
#define PROCLET_IOC_EXTENT	_IOWR(PROCLET_IOC_MAGIC, 17, struct proclet_extent)

/*
 * io_uring: IORING_OP_URING_CMD on the member's file, with one of these as
 * sqe->cmd_op and its struct in sqe->cmd. Bytes of arguments are copied when the
 * SQE is submitted; result bytes are written before the CQE comes, by the thread
 * that submitted. cqe->res is the result, or -errno:
 *
 *   -ENOTCONN, -EPERM, -EINVAL, -EFAULT, -E2BIG, -ESHUTDOWN: as for ioctls
 *   -ENOTTY     cmd_op is none of these
 *   -ECANCELED  by PROCLET_URING_CANCEL; or its ring was closed, or who submitted
 *               it has ended or executes another program. The operation may have
 *               been or be executed, nothing will be written to @out.
 *   -EOVERFLOW  the result is not within 32 bits. The operation has ended, its
 *               bytes are at @out, and a ring with IORING_SETUP_CQE32 has the
 *               result in big_cqe[0].
 *   -EOPNOTSUPP the ring has IORING_SETUP_IOPOLL
 *
 * io_uring's own IORING_OP_ASYNC_CANCEL does not find these commands.
 */

/**
 * struct proclet_uring_op - an operation as that of a native thread
 * @op: address of a struct proclet_native_op, read at submission; its @result is
 *      not used
 * @reserved: 0
 */
struct proclet_uring_op {
	__u64 op;
	__u64 reserved;
};

/**
 * struct proclet_uring_op128 - the same, all in the SQE
 * @op: the operation
 * @flags: PROCLET_URING_DATA or 0
 * @reserved: 0
 * @data: PROCLET_URING_DATA: the argument bytes, at most 8; then @op.in is 0
 *
 * The ring must have IORING_SETUP_SQE128, else -EINVAL.
 */
struct proclet_uring_op128 {
	struct proclet_op op;
	__u32 flags;
	__u32 reserved;
	__u64 data;
};
#define PROCLET_URING_DATA	1

/**
 * struct proclet_uring_event - wait for the event that follows on another
 * @after: number of that; 0: do not wait, but say the newest's number
 * @event: address of a struct proclet_event; out
 *
 * Result: the kind of the event; 0 if @after was 0, with only the event's @seq
 * valid. -EOVERFLOW: the event is not kept any more; the event's @seq is the
 * newest's number, to go on with. -EINVAL: @after is of no event yet.
 */
struct proclet_uring_event {
	__u64 after;
	__u64 event;
};

/**
 * struct proclet_uring_cancel - wait no longer for a command of the same ring
 * @user_data: of its SQE; if there are several, one of them
 * @reserved: 0
 *
 * Result: 0, or -ENOENT: there is none (any more). The other's CQE has -ECANCELED
 * and comes after or before this one's.
 */
struct proclet_uring_cancel {
	__u64 user_data;
	__u64 reserved;
};

#define PROCLET_URING_OP	_IOW(PROCLET_IOC_MAGIC, 64, struct proclet_uring_op)
#define PROCLET_URING_OP128	_IOW(PROCLET_IOC_MAGIC, 65, struct proclet_uring_op128)
#define PROCLET_URING_EVENT	_IOW(PROCLET_IOC_MAGIC, 66, struct proclet_uring_event)
#define PROCLET_URING_CANCEL	_IOW(PROCLET_IOC_MAGIC, 67, struct proclet_uring_cancel)

#endif /* _UAPI_LINUX_PROCLET_H */
