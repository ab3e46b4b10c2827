/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The core's objects: logical processes (as one node sees them), proclets,
 * threads, workers, operations. Documentation/locking.rst has the lock order.
 */
#ifndef _PROCLET_LPROC_H
#define _PROCLET_LPROC_H

#include <linux/completion.h>
#include <linux/hrtimer.h>
#include <linux/kref.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/maple_tree.h>
#include <linux/mm.h>
#include <linux/mm_types.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/timerqueue.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "../include/uapi/linux/proclet.h"
#include "node.h"
#include "wire.h"

struct file;
struct incoming;
struct mem_cgroup;
struct migration;
struct names;
struct seq_file;
struct tail;
struct vm_area_struct;

/**
 * struct segment - a heap or a thread's stack: addresses and their pages
 * @lproc: whose region it lies in
 * @start: address
 * @size: bytes of address space
 * @limit: bytes that may be touched; multiple of PAGE_SIZE
 * @watched: a heap's: SEGMENT_TOUCHED is kept up to date, for a migration
 * @lowest: the lowest @limit since a migration has listed the pages
 * @gone: not accessible: being moved or freed
 * @left: a thread's: it has been committed to another node
 * @sem: faults hold it for reading; who changes @limit, @gone, @watched or takes
 *       pages away, for writing
 * @pages: struct page by index
 * @npages: of them
 * @nhuge: huge pages of which all is there
 * @ref: region, whoever found it with segment_get()
 * @thread: the thread on it, if it is a stack
 * @tail: a heap's pages that are still elsewhere; NULL: none
 */
struct segment {
	struct lproc *lproc;
	u64 start;
	u64 size;
	u64 limit;
	bool watched;
	u64 lowest;
	bool gone;
	bool left;
	struct rw_semaphore sem;
	struct xarray pages;
	atomic_long_t npages;
	atomic_long_t nhuge;
	refcount_t ref;
	struct thread *thread;
	struct tail *tail;
	struct rcu_head rcu;
};

/*
 * Mark in segment.pages: since the segment is watched the page was new, mapped, written by
 * us, or somebody else held it. All others are neither written nor held.
 */
#define SEGMENT_TOUCHED		XA_MARK_0

/* Something that a worker can take up: a call to begin or a thread to resume. */
struct work_item {
	struct list_head entry;		/* lproc.ready; empty: not queued */
	struct proclet *proclet;
	bool is_call;
};

/* Of the hash table of threads that wait at words. */
#define WAITS_BITS	8

enum thread_state {
	THREAD_USER,		/* in the library's hands: free, or on a worker */
	THREAD_WAITING,		/* for the reply to its operation @seq */
	THREAD_REPLIED,		/* has it, in @reply */
	THREAD_PARKED,		/* to go on by rt_sigreturn */
};

/**
 * struct waiter - what a waiting thread knows of its operation; waiter.c
 * @sent_to: node that has it; 0: not known, or this one
 * @since: when we last heard of it or asked for it, in jiffies
 * @missing: nodes that have not answered yet, bit set
 * @rounds: of questions without success
 * @lost: there will be no reply
 * @native: it is a native thread's
 * @cancelled: the operation's deadline has passed; @deadline is another now
 * @code: enum proclet_op_code; 0: not known, a local call
 * @target: of the operation; 0: it is not sent
 * @deadline: until when to wait, by lproc_clock(); 0: for ever
 * @timer: in lproc.deadlines, while @deadline counts; deadline.c
 */
struct waiter {
	u32 sent_to;
	unsigned long since;
	u32 missing;
	u8 rounds;
	bool lost;
	bool native;
	bool cancelled;
	u32 code;
	u64 target;
	u64 deadline;
	struct timerqueue_node timer;
};

/**
 * struct thread - a thread segment, and what the kernel knows of its thread
 * @seg: its memory; the first page is its struct proclet_tcb
 * @item: in lproc.ready, when it can go on and its proclet is here
 * @entry: in proclet.threads, unless THREAD_USER
 * @state: under lproc.lock, as all below
 * @seq: of the operation it waits for
 * @out: where that wants its result
 * @out_cap: and how much of it
 * @waiter: where that is
 * @held: since when we have it
 * @wait_addr: THREAD_WAITING: the word that it waits at; 0: for a reply
 * @wait_no: who waits at a word is woken in the order of these numbers
 * @wait_entry: in lproc.waits, if @wait_addr is set
 * @reply: THREAD_REPLIED; also that of a thread that waits at a word
 */
struct thread {
	struct segment *seg;
	struct work_item item;
	struct list_head entry;
	enum thread_state state;
	u64 seq;
	u64 out;
	u64 out_cap;
	struct waiter waiter;
	u64 wait_addr;
	u64 wait_no;
	struct list_head wait_entry;
	struct op *reply;
	ktime_t held;
	struct rcu_head rcu;
};

/*
 * States of a proclet on this node (DESIGN section 6). proclet_set_state() has
 * the transitions.
 */
enum proclet_state {
	PROCLET_ABSENT,
	PROCLET_INCOMING,
	PROCLET_PRESENT,
	PROCLET_FREEZING,
	PROCLET_MOVING,
	PROCLET_INDOUBT,
	PROCLET_DYING,
	PROCLET_STATES
};

/**
 * struct proclet - a proclet that is on this node, or on its way to or from it
 * @id: .
 * @lproc: .
 * @heap: its heap
 * @state: under lproc.lock, as all below
 * @flags: PROCLET_CREATE_*
 * @refs: references that programs have, PROCLET_OP_GET; the last one's end
 *        destroys it
 * @epoch: moves made
 * @capacity: bytes
 * @charged: bytes charged to the node
 * @threads: that the kernel holds
 * @inbox: operations that arrived while it was not PRESENT
 * @mig: the migration that takes it away
 * @in: the migration that brings it
 * @frozen: FREEZING, and all its threads have been stopped
 * @dying: in lproc.dying_proclets, while DYING
 * @drained: DYING, and no worker can enter it or leave it unseen
 * @ended: it was destroyed at its destination before we knew that it is there, or at its
 *         source before we had given up waiting for it
 * @free_work: proclet_free(), where that cannot be called
 * @ref: lproc.proclets, and whoever uses it without the lock
 */
struct proclet {
	u64 id;
	struct lproc *lproc;
	struct segment *heap;
	enum proclet_state state;
	u32 flags;
	u32 refs;
	u64 epoch;
	u64 capacity;
	u64 charged;
	struct list_head threads;
	struct list_head inbox;
	struct migration *mig;
	struct incoming *in;
	bool frozen;
	struct list_head dying;
	bool drained;
	bool ended;
	struct work_struct free_work;
	refcount_t ref;
};

/* What a worker needs of a thread that it resumes, which is not ours any more. */
struct resume {
	u64 stack;
	bool parked;
	u64 out;
	u64 out_cap;
	struct op *reply;
};

/**
 * struct worker - a thread of the member that runs proclet threads
 * @lproc: .
 * @index: its page's
 * @task: who
 * @page: shared with it
 * @shared: the same, mapped
 * @starting: the call that it is being given; its tcb does not say so yet
 * @resume: the thread that it is about to resume
 * @idle: in lproc.idle while it waits
 * @woken: taken off that list, to look for work
 * @wait: where it waits
 */
struct worker {
	struct lproc *lproc;
	u32 index;
	struct task_struct *task;
	struct page *page;
	struct proclet_worker *shared;
	struct op *starting;
	struct resume resume;
	struct list_head idle;
	bool woken;
	wait_queue_head_t wait;
};

/**
 * struct payload - bytes on their way: inline if short, in pages otherwise
 * @len: how many
 * @npages: 0: in @data
 */
struct payload {
	u32 len;
	u32 npages;
	struct page **pages;
	void *data;
};

/**
 * struct op - an operation, or the reply to one (@is_reply)
 * @item: a call that waits for a worker
 * @entry: in proclet.inbox, or lproc.pulling
 * @lproc: .
 * @token: who waits for the reply
 * @code: enum proclet_op_code
 * @method: .
 * @target: proclet or node
 * @out_cap: most bytes of result
 * @off: of PROCLET_OP_READ and _WRITE, from the root object on
 * @hops: times passed on
 * @from: node that it came from, or that made the reply
 * @result: of a reply
 * @cancelled: it has been answered; to be dropped when its payload is here
 * @payload: .
 */
struct op {
	struct work_item item;
	struct list_head entry;
	struct lproc *lproc;
	struct proclet_token token;
	bool is_reply;
	u32 code;
	u32 method;
	u64 target;
	u64 out_cap;
	u64 off;
	u32 hops;
	u32 from;
	s64 result;
	bool cancelled;
	struct payload payload;
};

/**
 * struct own_op - an operation of a thread on its own proclet; futex.c
 * @op: it, until it is its own reply
 * @addr: of the word to wait at or to wake; PROCLET_OP_SPAWN: the new thread's
 *        segment
 * @value: that the word must have
 * @count: most threads to wake
 * @seg: that the word is in; its sem is held for reading
 * @child: PROCLET_OP_SPAWN: the reply that the new thread begins with
 */
struct own_op {
	struct op *op;
	u64 addr;
	u32 value;
	u32 count;
	struct segment *seg;
	struct op *child;
};

/**
 * struct native_wait - who waits and is not a thread of a proclet: a native thread, or a
 *                      command of io_uring (uring.c); in lproc.natives by seq
 * @wake: it has @reply or @result, and is not in lproc.natives any more; lproc.lock is held
 * @done: of a native thread
 * @pid: who made the operation
 * @began: when
 * @is_uring: it is a command of io_uring
 * @is_event: it waits for an event, not for an operation
 * @seq: .
 * @waiter: where its operation is
 * @reply: to it; NULL: there is none
 * @result: what it gets then
 */
struct native_wait {
	void (*wake)(struct native_wait *w);
	struct completion done;
	pid_t pid;
	bool is_uring;
	bool is_event;
	u32 seq;
	ktime_t began;
	struct waiter waiter;
	struct op *reply;
	s64 result;
};

#define NATIVE_EVENT	XA_MARK_1	/* XA_MARK_0 is the xarray's own */

/* Where a proclet is that is not here; in lproc.locations by granule. */
struct location {
	u64 id;
	u64 epoch;
	u64 capacity;	/* at home: of its segment */
	u32 node;
};

/**
 * struct lproc - a logical process's member on a node
 * @name: .
 * @run: number of the run
 * @key: both hashed: its name on the wire
 * @node: .
 * @ident: what the other members' must equal
 * @flags: PROCLET_JOIN_*, likewise
 * @reserved: bytes that its proclets here have reserved
 * @nproclets: that are here, on their way here, or just being freed
 * @uid: of the user who joined: members are of one user
 * @mm: of the member; compared, never dereferenced
 * @tgid: of the member; compared only
 * @mapping: of the region
 * @inode: that has it
 * @clock_page: struct proclet_clock, shared with the program
 * @clock_lock: protects all of the clock; clock.c
 * @clock_offset: of lproc_clock() to the machine's; read without the lock, too
 * @clock_shift: of the program's CLOCK_MONOTONIC to the machine's
 * @clock_settled: the program may have read it
 * @clock_warned: somebody's clock was too far from ours
 * @ref: the file, node.lprocs, migrations, messages in work
 * @entry: in node.lprocs, under node.lprocs_lock
 * @lock: protects everything from @dying on but what says otherwise
 * @dying: the member has gone or is going; also under node.lprocs_lock
 * @users: found by lproc_find(), under node.lprocs_lock
 * @users_wq: woken when that drops to 0
 * @dumping: its process is about to dump core (PROCLET_IOC_DYING)
 * @lost: members that have died, bit id - 1, not yet told to the manager
 * @lost_reason: why, by id - 1
 * @ended: the logical process has ended (@exit_event, @exit_status, @exit_node,
 *         @exit_reason)
 * @joining: JOIN answers are still out, from @join_wait
 * @members: bit set of nodes with a member, bit id - 1
 * @join_wait: bit set of nodes whose answer is missing
 * @refused: a node refused us, @reason says why
 * @members_wq: woken when one of these changes
 * @segments: struct segment by address; its own lock, entries under RCU. Not to be
 *            looked at under @lock: a reader waits for a writer, and that can be
 *            interrupted by a softirq that wants @lock
 * @stacks: the threads' segments once more, for that
 * @heap_slots: granules of our slice in use, bits
 * @stack_slots: the same for thread segments
 * @heap_first: from where on they are given out, at random; then from the beginning
 * @stack_first: likewise
 * @heap_adopted: granules that were in use before this member
 * @presence: pages of the presence table by index; entries stay
 * @worker_pages: by index; entries stay
 * @proclets: struct proclet by granule
 * @dying_proclets: those of them that are DYING: not all need be looked at
 * @drains: operations that have made one of them DYING, to be answered
 * @drain_work: does that: worker_drain_fn()
 * @locations: struct location by granule
 * @next_gen: of the last proclet that was made here
 * @first_gen: of none, before the first
 * @next_native: number of the next native operation
 * @incoming: struct incoming, proclets on their way to us
 * @donors: struct migration, of proclets that have left but for pages that are still to
 *          be read
 * @tails: struct tail, of heaps that are not all here
 * @dropped: migrations to us that were READY and then given up, by number:
 *           the source's id
 * @ready: work_items, oldest first
 * @workers: struct worker by index
 * @nworkers: of them
 * @idle: that wait for work
 * @called: has been woken for the first ready item and not come yet; it wakes the next
 *          one if it leaves some. So many short calls at once do not wake a worker each.
 * @spawn: workers that the manager should start
 * @manager_wq: where the manager waits
 * @park_wq: woken whenever a worker has reported
 * @park_seq: counts that
 * @natives: struct native_wait by seq; NATIVE_EVENT: waits for an event
 * @events: what happened last, by number modulo PROCLET_EVENTS
 * @last_event: number of the newest
 * @pulls: payloads that a peer is reading, by number
 * @pulling: operations and replies whose payload is being read
 * @deadlines: struct waiter.timer, by time
 * @deadlines_timer: fires for the first of them
 * @deadlines_work: and serves those that have passed
 * @names: names of proclets, if this is where they are kept; NULL: none yet
 * @waits: threads that wait at words, hashed by address
 * @wait_no: counts those who began to
 * @waiters_work: asks for operations that have no answer for long
 * @waiters_skip: whose turn it was not in the last tick
 * @stats: the kernel's part
 * @moves: migrations at work, payloads being read
 * @moves_wq: woken when the last has ended
 */
struct lproc {
	char name[PROCLET_NAME_MAX];
	u64 run;
	u64 key;
	struct pnode *node;
	struct proclet_ident ident;
	u32 flags;
	atomic64_t reserved;
	atomic64_t nproclets;
	kuid_t uid;
	struct mm_struct *mm;
	struct pid *tgid;
	struct address_space *mapping;
	struct inode *inode;
	struct page *clock_page;
	spinlock_t clock_lock;		/* of what is named clock_* */
	s64 clock_offset;
	s64 clock_shift;
	bool clock_settled;
	bool clock_warned;
	struct kref ref;
	struct list_head entry;

	spinlock_t lock;
	bool dying;
	u32 users;
	wait_queue_head_t users_wq;
	bool dumping;
	u32 lost;
	char lost_reason[PROCLET_MAX_NODES][PROCLET_REASON_MAX];
	bool ended;
	u32 exit_event;
	s32 exit_status;
	u32 exit_node;
	char exit_reason[PROCLET_REASON_MAX];
	bool joining;
	u32 members;
	u32 join_wait;
	bool refused;
	char reason[PROCLET_REASON_MAX];
	wait_queue_head_t members_wq;

	struct maple_tree segments;
	struct xarray stacks;
	unsigned long *heap_slots;
	unsigned long *stack_slots;
	u32 heap_first;
	u32 stack_first;
	u32 heap_adopted;
	struct xarray presence;
	struct xarray worker_pages;
	struct xarray proclets;
	struct list_head dying_proclets;
	struct list_head drains;
	struct work_struct drain_work;
	struct xarray locations;
	u32 next_gen;
	u32 first_gen;
	u32 next_native;

	struct list_head ready;
	struct xarray workers;
	u32 nworkers;
	struct list_head idle;
	struct worker *called;
	u32 spawn;
	wait_queue_head_t manager_wq;
	wait_queue_head_t park_wq;
	u32 park_seq;
	struct xarray natives;
	struct proclet_event *events;
	u64 last_event;
	struct list_head incoming;
	struct list_head donors;
	struct list_head tails;
	struct xarray dropped;
	struct xarray pulls;
	struct list_head pulling;
	struct timerqueue_head deadlines;
	struct hrtimer deadlines_timer;
	struct work_struct deadlines_work;
	struct names *names;
	struct list_head waits[1 << WAITS_BITS];
	u64 wait_no;
	struct delayed_work waiters_work;
	u32 waiters_skip;
	struct proclet_stats stats;
	atomic_t moves;
	wait_queue_head_t moves_wq;
};

static inline u32 node_bit(u32 id)
{
	return 1u << (id - 1);
}

static inline struct proclet_tcb *thread_tcb(struct thread *t)
{
	struct page *page = xa_load(&t->seg->pages, 0);

	return page ? page_address(page) : NULL;
}

/*
 * For memory of a member. Where its control group has reached its limit the operation
 * fails, rather than somebody else's message have the member killed.
 */
#define GFP_MEMBER	(GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

/* Between charge_begin() and charge_end() memory is charged to a member, whoever we are. */
struct charge {
	struct mem_cgroup *memcg;
	struct mem_cgroup *before;
};

int lproc_reserve(struct lproc *lproc, s64 bytes);	/* -ENOMEM; negative: give back */
void charge_begin(struct charge *c, struct lproc *lproc);
void charge_end(struct charge *c);

/* lproc.c: members and their life */
int lproc_join(struct file *file, struct proclet_join *join);
int lproc_members(struct lproc *lproc, struct proclet_members *m);
int lproc_manage(struct lproc *lproc, struct proclet_manage *m);
void lproc_exit(struct lproc *lproc, u32 event, s32 status, u32 node, const char *reason);
int lproc_dying(struct lproc *lproc, struct proclet_dying *d);
void lproc_process_gone(struct lproc *lproc);	/* it is exiting, or was replaced */
void lproc_release(struct lproc *lproc);
struct lproc *lproc_find(struct pnode *node, u64 key, bool dying);
void lproc_moves_put(struct lproc *lproc);	/* lproc.moves and a reference */
void lproc_done(struct lproc *lproc);	/* what lproc_find() gave */
void lproc_put(struct lproc *lproc);
void lprocs_for_each(struct pnode *node, void (*fn)(struct lproc *lproc, void *arg),
		     void *arg);
void lproc_handle_join(struct peer *peer, const struct wire_join *m);
void lproc_handle_join_ack(struct peer *peer, const struct wire_join_ack *m);
void lproc_peer_up(struct peer *peer);
void lproc_peer_down(struct peer *peer);
void lproc_lost_member(struct lproc *lproc, u32 node, bool refused, const char *reason);

/* region.c: segments, their pages, what can be mapped */
int region_setup(struct lproc *lproc);
void region_teardown(struct lproc *lproc);
int region_mmap(struct file *file, struct vm_area_struct *vma);
int region_extent(struct lproc *lproc, struct proclet_extent *e);
struct segment *segment_alloc(struct lproc *lproc, u64 start, u64 size, u64 limit);
int segment_publish(struct segment *seg);
static inline u64 segment_at(const struct segment *seg, unsigned long index)
{
	return seg->start + ((u64)index << PAGE_SHIFT);
}

struct segment *segment_get(struct lproc *lproc, u64 addr);
struct segment *stack_segment(struct lproc *lproc, u64 stack);	/* RCU, or lproc.lock */
void segment_put(struct segment *seg);
void segment_remove(struct segment *seg);	/* unmap, free pages, forget */
void segment_hide(struct segment *seg);		/* no access until shown again */
void segment_show(struct segment *seg);
void segment_zap(struct segment *seg);		/* out of the page tables */
void segment_watch(struct segment *seg);	/* likewise, and mark what is touched */
void segment_unwatch(struct segment *seg);
void segment_touch(struct segment *seg, unsigned long index);	/* sem held */
int segment_drop_pages(struct segment *seg, u64 from, u64 to);	/* -EBUSY: hidden */
void segment_forget_pages(struct segment *seg, u64 from, u64 to);	/* sem held */
bool segment_accessible(const struct segment *seg, u64 off);	/* sem held */
struct page *segment_page(struct segment *seg, unsigned long index, gfp_t gfp);
int segment_populate(struct segment *seg, u64 off, u32 len);	/* sem held */
struct page *segment_add_page(struct segment *seg, unsigned long index, struct page *page,
			      gfp_t gfp);
u64 heap_slot_alloc(struct lproc *lproc, u64 size);	/* address, 0: none */
bool heap_slot_adopt(struct lproc *lproc, u64 start, u64 size);	/* lproc.lock */
void heap_slot_free(struct lproc *lproc, u64 start, u64 size);
u64 stack_slot_alloc(struct lproc *lproc);		/* the same */
void stack_slot_free(struct lproc *lproc, u64 stack);
int presence_prepare(struct lproc *lproc, u64 id);
void presence_set(struct lproc *lproc, u64 id, bool here);
struct page *worker_page(struct lproc *lproc, u32 index);

/* huge.c: pages of 2 MiB; sem is held, if nothing else is said */
#define HUGE_ORDER	(PMD_SHIFT - PAGE_SHIFT)
#define HUGE_PAGES	(1UL << HUGE_ORDER)
struct page *huge_alloc(gfp_t gfp);
void huge_spread(struct page *head);	/* sem not held, nor above */
bool segment_add_huge(struct segment *seg, unsigned long first, struct page *head);
bool huge_wanted(struct segment *seg, unsigned long index);
void huge_make(struct segment *seg, unsigned long index);	/* sem not held */
void huge_break(struct segment *seg, struct page *page);
void huge_find(struct segment *seg);
unsigned int huge_slots(struct segment *seg, unsigned long index, struct page *page);
void huge_touch_held(struct segment *seg);
vm_fault_t huge_map(struct segment *seg, struct page *page, struct vm_fault *vmf);

/* thread.c: thread segments */
struct thread *thread_create(struct lproc *lproc, u64 stack);	/* not published */
struct thread *thread_at(struct lproc *lproc, u64 stack);	/* lproc.lock or RCU */
int thread_ioctl(struct lproc *lproc, struct proclet_stack *s);
void thread_hold(struct thread *t, struct proclet *p, enum thread_state state);
void thread_replied(struct thread *t, struct op *op);	/* lproc.lock */
int thread_spawn(struct proclet *p, u64 stack, struct op *op);	/* lproc.lock */
bool threads_stuck(struct proclet *p);		/* lproc.lock */
void threads_end(struct proclet *p);

/* worker.c: what runs where */
int worker_ioctl(struct lproc *lproc, struct proclet_work *w);
void worker_exit_all(struct lproc *lproc);
void ready_add(struct lproc *lproc, struct work_item *item);	/* lproc.lock */
u32 worker_segments(struct proclet *p, struct segment **segs, u32 max);
int worker_freeze(struct proclet *p, ktime_t deadline, u32 *parked);
bool worker_check_dying(struct proclet *p);	/* lproc.lock; true: free it now */
u32 worker_depth(const struct worker *w);
struct thread *worker_thread(struct lproc *lproc, const struct worker *w, u32 i);
u64 chain_callee(struct lproc *lproc, const struct worker *w, u32 i);	/* lproc.lock */
bool worker_has_stack(struct lproc *lproc, u64 stack);	/* lproc.lock */
void worker_drain(struct proclet *p, struct op *op);	/* DYING, lproc.lock; takes @op */
void worker_drain_fn(struct work_struct *work);

/* proclets.c: proclets, home directory */
void proclet_set_state(struct proclet *p, enum proclet_state state);
struct proclet *proclet_here(struct lproc *lproc, u64 id);	/* lproc.lock */
bool proclet_dead(struct lproc *lproc, u64 id);	/* lproc.lock */
void proclet_put(struct proclet *p);
struct proclet *proclet_alloc(struct lproc *lproc, u64 id, u64 capacity, u64 brk);
void proclet_discard(struct proclet *p);	/* all of it, after ABSENT */
s64 proclet_create(struct lproc *lproc, const struct proclet_create_args *args, u64 *id);
void proclet_free(struct proclet *p);	/* no thread is in it any more */
void location_hint(struct lproc *lproc, u64 id, u32 to);
int proclet_brk(struct lproc *lproc, struct proclet_brk *b);
u32 location_get(struct lproc *lproc, u64 id, bool *known);	/* lproc.lock */
int proclet_unknown(const struct lproc *lproc, u64 id);		/* lproc.lock */
void location_set(struct lproc *lproc, u64 id, u64 epoch, u32 node, u64 capacity, u32 from);
void location_erase(struct lproc *lproc, u64 id);
struct location *location_take(struct lproc *lproc, u64 id);	/* lproc.lock */
void location_lost(struct lproc *lproc, u32 node);
void proclet_announce(struct lproc *lproc, u64 id, u64 epoch, u32 node, u64 capacity);
void proclets_announce(struct lproc *lproc, u32 home);

/* op.c: operations and replies on their way */
struct op *op_alloc(struct lproc *lproc, gfp_t gfp);
void op_free(struct op *op);
void op_route(struct op *op);			/* takes it over */
bool op_route_now(struct op *op);		/* only if it returns true; under lproc.lock */
void op_reply(struct op *op, s64 result, const void *data, u32 len);	/* frees it */
void op_reply_payload(struct op *op, s64 result);	/* the same, with op->payload */
void op_lose_bytes(struct op *op);		/* a reply's */
void op_flush(struct lproc *lproc, struct list_head *ops);	/* route them again */
int op_submit(struct lproc *lproc, const struct proclet_op *uop,
	      const struct proclet_token *token, struct op **opp);
int op_submit_data(struct lproc *lproc, const struct proclet_op *uop, const void *data,
		   const struct proclet_token *token, struct op **opp);
int op_native(struct lproc *lproc, struct proclet_native_op *n);
int native_add(struct lproc *lproc, struct native_wait *w, const struct proclet_op *uop,
	       u32 *seq);
void native_end(struct lproc *lproc, struct native_wait *w, s64 result);
int op_recv(struct lproc *lproc, struct peer *peer, const struct wire_op *m);
bool op_recv_now(struct lproc *lproc, struct peer *peer, const struct wire_op *m);
bool op_recv_reply_now(struct lproc *lproc, struct peer *peer, const struct wire_reply *m);
int op_recv_reply(struct lproc *lproc, struct peer *peer, const struct wire_reply *m);

/* uring.c: operations and events by io_uring */
struct io_uring_cmd;
int uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags);
void uring_tick(struct lproc *lproc);
void event_add(struct lproc *lproc, u32 kind, u32 node, u64 proclet);	/* lproc.lock */
/* futex.c: operations of a thread on its own proclet */
void futex_init(struct lproc *lproc);
void futex_wait(struct thread *t, u64 addr);	/* lproc.lock */
void futex_forget(struct thread *t);		/* lproc.lock */
bool own_op_code(u32 code);
int own_op_prepare(struct own_op *own, struct op *op);
void own_op_run(struct own_op *own, struct thread *t, struct proclet *p,
		const struct proclet_op *uop);
void own_op_end(struct own_op *own);

/**
 * struct tail_set - pages that are to be read later
 * @pages: where to; NULL: not any more
 * @index: of each in its segment, ascending
 * @n: how many
 * @descs: where from, in order
 * @ndescs: how many
 */
struct tail_set {
	struct page **pages;
	u32 *index;
	u32 n;
	struct xport_desc *descs;
	u32 ndescs;
};

/* tail.c: pages that come after their proclet */
void tail_set_free(struct tail_set *set);
struct tail *tail_alloc(struct lproc *lproc, struct peer *peer, u64 proclet, u64 mig,
			struct tail_set *set);
void tail_put(struct tail *t);
void tail_attach(struct tail *t, struct segment *heap);
void tail_begin(struct tail *t);
bool tail_lacks(const struct tail *t, unsigned long index);
void tail_detach(struct segment *heap);
void tails_check(struct lproc *lproc);
bool tail_hurry(struct segment *seg);
int tail_need(struct segment *seg, u64 from, u64 to);	/* -EINTR, -EIO: lost */
vm_fault_t tail_fault(struct segment *seg, unsigned long index, struct vm_fault *vmf);

/* pull.c: payloads that do not fit into a message */
struct pull;
int pull_begin(struct op *op, struct peer *peer, struct pull **pullp, u32 *tail);
void pull_fill(struct wire_payload *pl, u32 len, const struct op *op,
	       const struct pull *pull);
void pull_sent(struct pull *pull, int err);
bool pull_recv_done(struct lproc *lproc, struct peer *peer, const struct wire_pulled *m);
void pulls_lost(struct lproc *lproc, u32 node);
void pulls_for_each(struct lproc *lproc,
		    void (*fn)(const struct proclet_token *token, void *arg), void *arg);
int pull_payload(struct op *op, struct peer *peer, const struct wire_payload *pl);

/* waiter.c: those who wait for replies */
bool token_ok(const struct proclet_token *token);
void token_from_wire(struct proclet_token *token, const struct wire_token *w);
void token_to_wire(struct wire_token *w, const struct proclet_token *token);
void waiter_tell(struct lproc *lproc, const struct proclet_token *token, u32 node,
		 u32 hops);
void waiter_recv_call_at(struct lproc *lproc, const struct wire_call_at *m);
void waiter_recv_probe(struct lproc *lproc, struct peer *peer, const struct wire_probe *m);
void waiter_recv_probed(struct lproc *lproc, struct peer *peer, const struct wire_probe *m);
bool waiter_lost(struct lproc *lproc, const struct waiter *w);	/* lproc.lock */
void waiters_lost_node(struct lproc *lproc, u32 node);
void waiters_tick(struct work_struct *work);

/* deadline.c: and until when; waiter_*() and op_stays() under lproc.lock */
bool op_stays(u32 code);
void waiter_init(struct waiter *w, bool native);
void waiter_begin(struct lproc *lproc, struct waiter *w, const struct proclet_op *uop);
void waiter_arm(struct lproc *lproc, struct waiter *w);
void waiter_disarm(struct lproc *lproc, struct waiter *w);
void waiter_postpone(struct lproc *lproc, struct waiter *w);
void cancel_recv(struct lproc *lproc, struct peer *peer, const struct wire_cancel *m);
void deadlines_init(struct lproc *lproc);
void deadlines_changed(struct lproc *lproc);
void deadlines_stop(struct lproc *lproc);

/* clock.c: the logical process's clock */
int clock_setup(struct lproc *lproc);
void clock_teardown(struct lproc *lproc);
void clock_settle(struct lproc *lproc);
u64 lproc_clock(struct lproc *lproc);	/* ns */
void clock_stamp(struct lproc *lproc, struct wire_hdr *hdr);
void clock_hear(struct lproc *lproc, const struct wire_hdr *hdr);

/* names.c: names of proclets */
void names_op(struct op *op);				/* takes it over */
void names_free(struct lproc *lproc);

/* memory.c: other proclets' heaps */
void memory_op(struct op *op, struct proclet *p);	/* p PRESENT; takes both over */

/* payload.c */
int payload_alloc(struct payload *pl, u32 len);
int payload_alloc_short(struct payload *pl, u32 len, gfp_t gfp);
void payload_free(struct payload *pl);
int payload_from_user(struct payload *pl, u64 addr, u32 len);
int payload_to_user(const struct payload *pl, u64 addr, u32 len);
void *payload_at(const struct payload *pl, u32 off, u32 *run);
void payload_fill(struct payload *pl, const void *data, u32 len);
void payload_read(const struct payload *pl, void *data, u32 len);

/* migrate_src.c, migrate_dst.c; the source's other file is in migrate.h */
void migrate_request(struct op *op, struct proclet *p);	/* lproc.lock dropped; takes both */
int migrate_kill(struct proclet *p, struct peer *peer);
void migrate_tail_ended(struct lproc *lproc, u64 id, bool whole);
bool migrate_src_hear(struct lproc *lproc, struct peer *peer, u32 type,
		      const struct wire_mig *w);
void migrate_src_recv(struct lproc *lproc, struct peer *peer, u32 type,
		      const struct wire_mig *m);
void migrate_src_lost(struct lproc *lproc, u32 node);
void migrate_dst_prepare(struct lproc *lproc, struct peer *peer,
			 const struct wire_prepare *m);
void migrate_dst_offer(struct lproc *lproc, struct peer *peer,
		       const struct wire_offer *m);
void migrate_dst_recv(struct lproc *lproc, struct peer *peer, u32 type,
		      const struct wire_mig *m);
void migrate_dst_lost(struct lproc *lproc, u32 node);
void migrate_src_dying(struct proclet *p);	/* lproc.lock */
void migrate_src_news(struct proclet *p);	/* the same; it is elsewhere */
bool migrate_src_token(struct proclet *p, struct proclet_token *token);	/* lproc.lock */
void migrate_peer_down(struct lproc *lproc, struct peer *peer);
void migrate_peer_up(struct lproc *lproc, struct peer *peer);
void migrate_send(struct peer *peer, u32 type, u64 lproc, u64 proclet,
		  u64 mig, u64 epoch, s32 status, u64 ns);

/* msg.c; NULL only for a message with a payload or an array at its end */
void *msg_new(struct xport_msg **msg, u32 type, u64 lproc, u32 len);
int msg_send(struct pnode *node, u32 to, struct xport_msg *msg);

/* dev.c */
int dev_init(void);
void dev_exit(void);

/* tables.c */
void lprocs_show(struct seq_file *m);
void proclets_show(struct seq_file *m);
void threads_show(struct seq_file *m);

#endif /* _PROCLET_LPROC_H */
