/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of stress share. Each part is a file with actions on one subject:
 * methods that run in the proclets, and functions that call them and compare what
 * they see with a model, struct life.
 */
#ifndef PROCLET_SELFTEST_STRESS_H
#define PROCLET_SELFTEST_STRESS_H

#include "check.h"
#include "random.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include <linux/proclet.h>
#include <proclet.h>

#define MIB ((size_t)1 << 20)
#define MS 1000000ULL
#define SECOND (1000 * MS)
#define SLOTS 32
#define DOOMED 8		/* of them, the last: destroyed while they are called */
#define WORKERS_MAX 64
#define CHAIN_MAX 24
#define NAMES 8			/* each worker's */
#define AREA ((size_t)16 << 10)	/* each worker's bytes of each proclet */

/* Seconds in which any action must end, also in an emulator with all checks on. */
#define ACTION_SECONDS 240

/* ---- the proclets' root objects ---- */

struct block;

/**
 * struct heap_part - memory that methods allocate
 * @busy: somebody is at the list
 * @nblocks: in it
 * @sum: of their sums
 * @blocks: the list
 */
struct heap_part {
	__u32 busy;
	__u32 nblocks;
	__u64 sum;
	struct block *blocks;
};

enum guard { MUTEX, SEM, RWLOCK, COND, TICKETS, GUARDS };

/**
 * struct guarded - what one lock protects
 * @value: counted without atomic instructions
 * @twin: the same, to be seen equal
 * @inside: threads that have the lock
 * @readers: threads that have it for reading
 */
struct guarded {
	volatile __u64 value;
	volatile __u64 twin;
	__u32 inside;
	__u32 readers;
};

#define BUFFER 64

/**
 * struct locks_part - locks, and what they protect
 * @mutex: MUTEX
 * @sem: SEM
 * @rwlock: RWLOCK
 * @cond_mutex: COND: of @busy
 * @cond: .
 * @busy: somebody has what COND protects
 * @tickets_mutex: TICKETS: of @next and @serving
 * @tickets_cond: .
 * @next: ticket
 * @serving: whose turn it is
 * @guarded: one for each
 * @buffer_mutex: of the buffer
 * @items: how many there are
 * @buffer: 0: none
 */
struct locks_part {
	proclet_mutex_t mutex;
	proclet_sem_t sem;
	proclet_rwlock_t rwlock;
	proclet_mutex_t cond_mutex;
	proclet_cond_t cond;
	volatile __u32 busy;
	proclet_mutex_t tickets_mutex;
	proclet_cond_t tickets_cond;
	volatile __u64 next;
	volatile __u64 serving;
	struct guarded guarded[GUARDS];
	proclet_mutex_t buffer_mutex;
	proclet_sem_t items;
	volatile __u64 buffer[BUFFER];
};

/**
 * struct inhabitant - root object of the proclets; areas follow, see area_offset()
 * @added: all that methods were given to add
 * @visits: methods that count themselves
 * @wrong: times that something was seen that must not be
 * @wrong_line: the first time
 * @wrong_file: .
 * @heap: .
 * @locks: .
 * @dozed: sleeps that have begun
 * @woken: and ended
 * @ticks: calls with a deadline that were executed
 * @left: detached threads that are at their end
 * @left_sum: of their values
 */
struct inhabitant {
	__u64 added;
	__u64 visits;
	__u32 wrong;
	__u32 wrong_line;
	char wrong_file[24];
	struct heap_part heap;
	struct locks_part locks;
	__u64 dozed;
	__u64 woken;
	__u64 ticks;
	__u64 left;
	__u64 left_sum;
};

static inline size_t area_offset(unsigned int worker)
{
	return ((sizeof(struct inhabitant) + 63) & ~(size_t)63) + worker * AREA;
}

/* Something is wrong, say methods: it is seen when the proclet ends. */
static inline void wrong_at(struct inhabitant *h, const char *file, __u32 line)
{
	if (!__atomic_fetch_add(&h->wrong, 1, __ATOMIC_RELAXED)) {
		strncpy(h->wrong_file, file, sizeof(h->wrong_file) - 1);
		h->wrong_line = line;
	}
}

#define WRONG(h) wrong_at(h, __FILE__, __LINE__)
#define ADD(x, n) __atomic_add_fetch(&(x), n, __ATOMIC_SEQ_CST)

/* Most methods' argument; what each makes of it is its own. */
struct order {
	__u64 seed;
	__u64 n;
	__u64 out_len;
	__u32 node;
	__u32 left;
	__u32 count;
	__u32 at;
	proclet_t ids[CHAIN_MAX];
	unsigned char bytes[];
};

static inline const struct order *order_of(const void *in, size_t in_len)
{
	return in_len < sizeof(struct order) ? NULL : in;
}

#define METHOD(name) \
	static ssize_t name(void *root, const void *in, size_t in_len, void *out, size_t out_cap)

static inline __u64 mix(__u64 a, __u64 b)
{
	a = (a ^ b) * 0x9e3779b97f4a7c15ULL;
	return a ^ a >> 29;
}

static __attribute__((noinline, unused)) __u64 burn(__u64 state, __u64 n)
{
	while (n--)
		next_random(&state);
	return state;
}

static inline void pattern(unsigned char *to, size_t len, __u64 seed)
{
	for (size_t i = 0; i < len; i++)
		to[i] = seed + i * 5 + (i >> 8);
}

static inline bool has_pattern(const unsigned char *from, size_t len, __u64 seed)
{
	for (size_t i = 0; i < len; i++)
		if (from[i] != (unsigned char)(seed + i * 5 + (i >> 8)))
			return false;
	return true;
}

/* ---- what the root knows of them ---- */

/**
 * struct life - of one proclet
 * @id: .
 * @refs: slots, names and actions that use this
 * @in_use: held for reading by actions, for writing by who ends it in peace
 * @dead: it is being destroyed; from now on -ESTALE is right
 * @gone: it has been; from now on nothing else is
 * @unsure: an action on it failed, and may have been counted or not; what succeeded has
 * @added: what it should have counted
 * @visits: the same
 * @alone: how often threads had a lock for themselves
 * @given: items put into the buffer
 * @given_sum: .
 * @taken: items taken out of it
 * @taken_sum: .
 * @dozed: sleeps
 * @ticks: calls with a deadline that were executed
 * @perhaps: and that were perhaps
 * @left: threads that were detached
 * @left_sum: of their values
 * @references: to it, but for the first
 * @areas: their bytes
 */
struct life {
	proclet_t id;
	unsigned int refs;
	pthread_rwlock_t in_use;
	bool dead;
	bool gone;
	bool unsure;
	__u64 added;
	__u64 visits;
	__u64 alone[GUARDS];
	__u64 given;
	__u64 given_sum;
	__u64 taken;
	__u64 taken_sum;
	__u64 dozed;
	__u64 ticks;
	__u64 perhaps;
	__u64 left;
	__u64 left_sum;
	__u64 references;
	unsigned char *areas;
};

/**
 * struct stress_worker - a thread that does actions
 * @thread: .
 * @number: .
 * @done: actions that have ended
 * @action: the one that is under way, an index of actions[]
 * @began: when, in seconds of CLOCK_MONOTONIC
 * @over: it does no more
 * @failed: because an action did
 * @in: MIB bytes and a page more
 * @out: the same
 * @names: the proclets that have them; NULL: none
 * @renamed: how often a fault has left it open who has the name, and another was taken
 */
struct stress_worker {
	pthread_t thread;
	unsigned int number;
	__u64 done;
	unsigned int action;
	time_t began;
	bool over;
	bool failed;
	unsigned char *in;
	unsigned char *out;
	struct life *names[NAMES];
	unsigned int renamed[NAMES];
};

/* Any; one that does not die while it is used; one where others are, too. */
struct life *life_any(__u64 *state);
struct life *life_lasting(__u64 *state);
struct life *life_crowded(__u64 *state);
struct life *life_get(unsigned int slot);
void life_put(struct life *l);
/* Keep what is known, but not the proclet. */
void life_hold(struct life *l);
void life_drop(struct life *l);

/* ---- faults ---- */

bool faults_wanted(void);
/* Before an action of this thread. */
void faults_action_begins(void);
/* Has there been a fault since, or is it not over? */
bool stormy(void);
/* Is this what one may end with then? */
bool struck(ssize_t ret);

static inline bool is_dead(struct life *l)
{
	return __atomic_load_n(&l->dead, __ATOMIC_ACQUIRE);
}

static inline bool is_gone(struct life *l)
{
	return __atomic_load_n(&l->gone, __ATOMIC_ACQUIRE);
}

static inline void counted(struct life *l, __u64 added, __u64 visits)
{
	ADD(l->added, added);
	ADD(l->visits, visits);
}

/* An action that failed because its proclet was destroyed meanwhile, or by a fault? */
static inline bool excused(struct life *l, ssize_t ret)
{
	if (!struck(ret) && (ret != -ESTALE || !is_dead(l)))
		return false;
	l->unsure = true;
	return true;
}

/* Errors that a migration may end with while others are at work. */
static inline bool may_stay(int err)
{
	return !err || err == -EBUSY;
}

/* Sizes of all orders of magnitude. */
static inline size_t any_size(__u64 *state, size_t max)
{
	size_t n = next_random(state) % ((size_t)1 << next_random(state) % 21);

	return n < max ? n : max;
}

/* A fault; in the end all is well again. Then there is peace for a while. */
int do_fault(struct stress_worker *w, __u64 *state);
int faults_went_well(void);
/* In the members but the root's: another one follows to one that ends. */
void faults_supervise(void);
/* Of all that lives: what can be called from everywhere? The others are replaced. */
int lives_review(const proclet_t *observers, int seconds, bool all_live, unsigned int *lost);

time_t seconds_now(void);

int any_node(__u64 *state);
bool is_node(int node);
unsigned int stress_workers(void);

/* In @w->in, with a seed and a number below 1000. */
struct order *order_new(struct stress_worker *w, __u64 *state);

/* ---- the parts ---- */

/*
 * Actions: with results as of a test; @state: the action's own random numbers. What
 * a part counts in a proclet is compared when that ends: *_went_well().
 */
typedef int (*action_fn)(struct stress_worker *w, __u64 *state);

int do_exchange(struct stress_worker *w, __u64 *state);
int do_chain(struct stress_worker *w, __u64 *state);
int do_compute(struct stress_worker *w, __u64 *state);
/* Bytes for exchange(), which gives back pattern(@seed + 1). */
void exchange_order(struct order *o, size_t len);
ssize_t exchange(void *root, const void *in, size_t in_len, void *out, size_t out_cap);

int do_stay(struct stress_worker *w, __u64 *state);
int do_go(struct stress_worker *w, __u64 *state);
int do_migrate(struct stress_worker *w, __u64 *state);
int do_gather(struct stress_worker *w, __u64 *state);
int do_locate(struct stress_worker *w, __u64 *state);

int do_heap_grow(struct stress_worker *w, __u64 *state);
int do_heap_check(struct stress_worker *w, __u64 *state);
int heap_went_well(struct life *l);

int do_memory(struct stress_worker *w, __u64 *state);
int memory_went_well(struct life *l);

int do_threads(struct stress_worker *w, __u64 *state);
int do_meet(struct stress_worker *w, __u64 *state);
/* Was any? Where memory is short, callers do the work themselves. */
int threads_were_created(void);
int threads_went_well(struct life *l, const struct inhabitant *h);

int do_locks(struct stress_worker *w, __u64 *state);
int do_give(struct stress_worker *w, __u64 *state);
int do_take(struct stress_worker *w, __u64 *state);
int locks_begin(struct life *l);
int locks_went_well(struct life *l, const struct inhabitant *h);

int do_sleep(struct stress_worker *w, __u64 *state);
int do_clock(struct stress_worker *w, __u64 *state);
int do_deadline(struct stress_worker *w, __u64 *state);
int time_went_well(struct life *l, const struct inhabitant *h);
/* Sleeps for so long, and counts; returns 1. */
struct tick_args {
	__u64 ns;
};
ssize_t tick(void *root, const void *in, size_t in_len, void *out, size_t out_cap);

int do_references(struct stress_worker *w, __u64 *state);
int do_names(struct stress_worker *w, __u64 *state);
/* Its end, one way or another; nobody else uses it. */
int refs_end(struct life *l, __u64 *state);
void refs_worker_end(struct stress_worker *w);

int do_async(struct stress_worker *w, __u64 *state);
int do_patience(struct stress_worker *w, __u64 *state);
int do_events(struct stress_worker *w, __u64 *state);
void uring_worker_end(struct stress_worker *w);

#endif /* PROCLET_SELFTEST_STRESS_H */
