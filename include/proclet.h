/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Proclets for Linux: the library API.
 *
 * A program calls lproc_main() from main(). Its root function then runs in
 * one member, in a pinned root proclet; the other members serve. Errors are
 * negative errno values, never errno. Lengths are bytes.
 */
#ifndef _PROCLET_H
#define _PROCLET_H

#include <linux/types.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef __u64 proclet_t;		/* 0: none */

/**
 * proclet_method_t - what runs in a proclet
 * @root: the proclet's root object
 * @in: argument bytes, at most 1 MiB
 * @in_len: how many
 * @out: where to write results
 * @out_cap: at most so many
 *
 * Returns the number of bytes written to @out, or a negative errno value.
 */
typedef ssize_t (*proclet_method_t)(void *root, const void *in, size_t in_len,
				    void *out, size_t out_cap);

/**
 * PROCLET_METHOD() - register a method, at file scope
 * @fn: the function
 *
 * Calls name a method by its index among the registered ones, which is the
 * same in all members because they are the same binary.
 */
#define PROCLET_METHOD(fn)						\
	static const proclet_method_t proclet_method_##fn		\
	__attribute__((used, section("proclet_methods"))) = (fn)

/**
 * lproc_main() - run this program as a member of a logical process
 * @name: of the logical process
 * @root: run by the root member only; its return value is the exit status
 * @argc: passed to @root
 * @argv: passed to @root; argv of main(), needed if the program must be
 *        executed again without address randomisation
 *
 * The environment says which member this is (set by procletctl and vcluster):
 * PROCLET_NODE (node id; default: the only node), PROCLET_MEMBERS (wait for so
 * many before @root starts; default 1), PROCLET_ROOT (node id of the root
 * member; default: this one), PROCLET_RUN (16 hex digits; default 0),
 * PROCLET_POLICY ("end" or "survive", see lproc_set_flags()).
 *
 * Returns the root's exit status in every member, or a negative errno value
 * after a message on stderr.
 */
static inline int lproc_main(const char *name, int (*root)(int argc, char **argv),
			     int argc, char **argv);

/* The same, with the program's methods: where PROCLET_METHOD() puts them. */
int lproc_main_methods(const char *name, int (*root)(int argc, char **argv),
		       int argc, char **argv, const proclet_method_t *first,
		       const proclet_method_t *last);

extern const proclet_method_t __start_proclet_methods[]
	__attribute__((weak, visibility("hidden")));
extern const proclet_method_t __stop_proclet_methods[]
	__attribute__((weak, visibility("hidden")));

static inline int lproc_main(const char *name, int (*root)(int argc, char **argv),
			     int argc, char **argv)
{
	return lproc_main_methods(name, root, argc, argv, __start_proclet_methods,
				  __stop_proclet_methods);
}

/**
 * lproc_set_flags() - how the logical process is to be, before lproc_main()
 * @flags: LPROC_SURVIVE or 0, the same in all members
 *
 * The loss of a member (it crashes, is killed, executes another program, or its
 * node is lost) ends the logical process: lproc_main() returns -ECONNRESET in all
 * others, after a message that names the node and the reason. With LPROC_SURVIVE
 * they go on, callers of what was there get errors, and only the loss of the
 * root's member is the end. PROCLET_POLICY in the environment has precedence.
 * Documentation/process.rst has more.
 */
void lproc_set_flags(unsigned int flags);
#define LPROC_SURVIVE		1	/* lose members, not all */

/* lproc_node() - id of the node that the caller runs on now */
int lproc_node(void);

/**
 * lproc_nodes() - ids of the members' nodes, ascending
 * @ids: where to
 * @cap: at most so many
 *
 * Returns their number, which may be larger than @cap.
 */
int lproc_nodes(int *ids, int cap);

/**
 * struct proclet_attr - of a new proclet
 * @capacity: largest size of its heap, 1 MiB to 64 GiB, rounded up to a power
 *            of two; memory is used only as it is touched
 * @node: where; 0: the library chooses (nodes in turn)
 * @flags: 0, PROCLET_PINNED, PROCLET_DURABLE_MOVE
 * @root_size: bytes of the root object
 */
struct proclet_attr {
	size_t capacity;
	int node;
	unsigned int flags;
	size_t root_size;
};

#define PROCLET_PINNED		1	/* never moves */
#define PROCLET_DURABLE_MOVE	2	/* by post-copy only if proclet_migrate() asks for that */
#define PROCLET_ATTR_INIT	{ .capacity = (size_t)64 << 20 }

/**
 * proclet_create() - make a proclet
 * @p: out: its id
 * @attr: its attributes, NULL: PROCLET_ATTR_INIT
 *
 * Returns 0, -EINVAL (an attribute is out of range), -ENOMEM (the node's
 * budget or address space is used up), -EHOSTUNREACH (no member on the node),
 * -ECONNRESET (perhaps made, and its id was lost).
 */
int proclet_create(proclet_t *p, const struct proclet_attr *attr);

/*
 * A proclet_t is a number. It can be copied, sent in arguments and kept in heaps,
 * and means the same proclet on every node, wherever that moves. After the
 * proclet's end it is never another one's: everything gets -ESTALE.
 */

/*
 * proclet_destroy() - end a proclet, whatever references to it there are
 *
 * New calls get -ESTALE from now on. Methods and threads that run in it go on to
 * their end; if there are none its memory is free on return. When only threads are
 * left that wait for locks of the proclet, nobody can wake them: they end with
 * it, where they are, and those who called them get -ECONNRESET. Returns 0 or
 * -ESTALE.
 */
int proclet_destroy(proclet_t p);

/**
 * proclet_get() - one reference more to a proclet
 * @p: the proclet; whoever calls must have a reference or know that it lives
 *
 * References are counted for the whole cluster; who has them is the program's
 * affair. A new proclet has one, its creator's. Those of a member that is lost are
 * not given back.
 *
 * Returns 0, -ESTALE (no such proclet), -EOVERFLOW (2^31 - 1 references),
 * -EHOSTUNREACH (not done), -ECONNRESET (perhaps done).
 */
int proclet_get(proclet_t p);

/* proclet_put() - one reference less; the last one's end is proclet_destroy() */
int proclet_put(proclet_t p);

/**
 * proclet_publish() - give a proclet a name in this logical process
 * @name: 1 to 63 bytes, as a C string
 * @p: the proclet; it may have several names
 *
 * All members find it, also those that join later. The root's member keeps the
 * names, 65536 at most. A name is no reference: it does not keep its proclet
 * alive. After the proclet's end nobody finds it and it can be given again, but
 * it counts until somebody looks it up. Only the name of a proclet that was lost
 * with its member stays until proclet_unpublish().
 *
 * Returns 0, -EEXIST (the name is taken), -EINVAL (not a name), -ESTALE (no such
 * proclet), -ENOSPC (too many names), -ENOMEM, -EHOSTUNREACH (the root's member
 * or the proclet cannot be reached; not done), -ECONNRESET (perhaps done).
 */
int proclet_publish(const char *name, proclet_t p);

/**
 * proclet_lookup() - find a proclet by its name
 * @name: as published
 * @p: out: the proclet. It can end at any time, as one found otherwise
 *
 * Returns 0, -ENOENT (no proclet has the name), -EINVAL, -EHOSTUNREACH,
 * -ECONNRESET.
 */
int proclet_lookup(const char *name, proclet_t *p);

/* proclet_unpublish() - take a name away, from whatever proclet; the same errors */
int proclet_unpublish(const char *name);

/**
 * proclet_call() - run a method in a proclet, wherever it is
 * @p: the proclet
 * @m: a registered method
 * @in: argument bytes, copied
 * @in_len: how many, at most 1 MiB
 * @out: where to put result bytes
 * @out_cap: at most so many, at most 1 MiB
 *
 * Returns what the method returned (at most @out_cap bytes are copied), or
 * -ESTALE (no such proclet), -EINVAL (not registered), -EMSGSIZE (too
 * long), -EHOSTUNREACH, -ENOMEM (no memory to send the arguments; both:
 * certainly not executed), -ECONNRESET (the callee's node or member was lost, or
 * there is no memory to bring the result: perhaps executed).
 */
ssize_t proclet_call(proclet_t p, proclet_method_t m, const void *in,
		     size_t in_len, void *out, size_t out_cap);

/**
 * proclet_call_timeout() - the same, but wait no longer than some time
 * @p: the proclet
 * @m: a registered method
 * @in: argument bytes, copied
 * @in_len: how many, at most 1 MiB
 * @out: where to put result bytes
 * @out_cap: at most so many, at most 1 MiB
 * @rel: how long to wait, by proclet_clock_ns(); NULL: for ever
 *
 * Returns what proclet_call() does, or -EINVAL (@rel is not a time), -ETIMEDOUT
 * (time is up, and the method was certainly not executed), -ECONNRESET (also: time
 * is up, and it is or was perhaps executed). A method that has begun runs on to its
 * end; its result is dropped. It can take up to the module's parameter cancel_ms (1 s)
 * longer, namely when the node that has the call does not say which it is.
 */
ssize_t proclet_call_timeout(proclet_t p, proclet_method_t m, const void *in,
			     size_t in_len, void *out, size_t out_cap,
			     const struct timespec *rel);

/* proclet_locate() - id of the node where the proclet is, or -ESTALE, ... */
int proclet_locate(proclet_t p);

/**
 * proclet_migrate() - move a proclet with its threads
 * @p: the proclet, also the caller's own
 * @node: where to; where it is already: 0
 * @flags: how: PROCLET_MOVE_AUTO (0), or
 *         PROCLET_MOVE_STOP: stopped until all its memory is there;
 *         PROCLET_MOVE_PRECOPY: its memory is copied while it runs, and what it
 *         writes meanwhile again. It is stopped for what is left then, which is
 *         everything if it writes faster than the network takes it;
 *         PROCLET_MOVE_POSTCOPY: stopped only until its threads are there; its heap
 *         follows, what is touched first. If the node that it came from is lost before
 *         all has come, the proclet is, too: its callers get -ECONNRESET
 *
 * By itself it stops a proclet of up to 1 MiB, and copies a larger one before, but goes by
 * post-copy if more would be written meanwhile than is worth it, and the proclet has not
 * PROCLET_DURABLE_MOVE (parameters stop_pages, write_percent and move_mode of the module).
 *
 * Returns 0, -EBUSY (pinned, about to move already, memory pinned by a device or
 * system call, or a thread could not be parked in time), -ENOMEM (refused by
 * the destination), -EHOSTUNREACH (no member there), -ESTALE, -ETIMEDOUT. After
 * an error it runs on where it was, but for -ECONNRESET: the destination was lost
 * while it took the proclet over, and where it runs is known when it is back.
 */
int proclet_migrate(proclet_t p, int node, unsigned int flags);

/**
 * proclet_read() - copy bytes out of a proclet's heap, wherever it is
 * @p: the proclet
 * @off: from here on: 0 is the first byte of its root object, and what lies d bytes
 *       behind that has offset d, so a program that knows the address of the root
 *       object can compute offsets of pointers into the heap
 * @buf: where to, in the caller's memory
 * @len: how many
 *
 * No thread runs in the proclet for it, and it may move meanwhile. Memory that
 * was never touched reads as zeroes, and is not allotted.
 *
 * Not atomic but for this: if @off is a multiple of 8, so is each 8-byte word at
 * such an offset. Up to 1 MiB is copied before or after a migration, not partly
 * before and partly after; more than that is copied in pieces of 1 MiB, one after
 * the other, and after an error some of them may have been copied.
 *
 * Returns @len, -ESTALE (no such proclet), -ERANGE (beyond the reserved part
 * of the heap: that of the root object and of what was allotted, in whole
 * pages), -ENOMEM, -EHOSTUNREACH, -ECONNRESET, -EFAULT (@buf).
 */
ssize_t proclet_read(proclet_t p, size_t off, void *buf, size_t len);

/**
 * proclet_write() - copy bytes into a proclet's heap, wherever it is
 * @p: the proclet
 * @off: as above
 * @buf: from where
 * @len: how many
 *
 * As proclet_read(). Only the root object and allotted memory may be written: the
 * allocator's own data lies in between. A piece that fails is not written at all,
 * but for -ECONNRESET: perhaps.
 */
ssize_t proclet_write(proclet_t p, size_t off, const void *buf, size_t len);

/*
 * proclet_strerror() - what a negative errno value of a function here means: a
 * constant string. What no function here returns is as with strerror().
 */
const char *proclet_strerror(int err);

struct proclet_move;	/* <linux/proclet.h> */
struct proclet_stats;

/* proclet_migrate_stat() - the same, and says how it went (zeroes: no move) */
int proclet_migrate_stat(proclet_t p, int node, unsigned int flags,
			 struct proclet_move *move);

/* lproc_stats() - counters of the member on a node; 0: this one */
int lproc_stats(int node, struct proclet_stats *stats);

/**
 * proclet_clock_ns() - the logical process's clock, in ns
 *
 * It runs like CLOCK_MONOTONIC and is the same in all members, up to the time that
 * messages take. It does not go back for a thread, wherever that moves, nor from a
 * call to the method that it runs, nor from there to the result. It begins anywhere;
 * when members meet that did not know of each other, it can leap forward.
 *
 * For all threads; outside of a logical process it is CLOCK_MONOTONIC.
 */
__u64 proclet_clock_ns(void);

/**
 * proclet_sleep_until() - wait until proclet_clock_ns() has reached a value
 * @ns: that value; what has passed already: do not wait
 *
 * A thread that sleeps moves with its proclet. Returns 0, never early; -ESHUTDOWN
 * to a thread that is not in a proclet, when the logical process has ended.
 */
int proclet_sleep_until(__u64 ns);

/*
 * In a method.
 *
 * A method may be stopped between any two instructions of the program's own
 * text and continue on another node. So it must not keep across such a point what
 * belongs to the process: pointers to static or thread-local data (errno
 * included), file descriptors, memory from malloc(). proclet_pin() prevents it
 * for a stretch. Inside libc it is never stopped.
 */

/* proclet_self() - the proclet that the caller executes in; 0: none */
proclet_t proclet_self(void);

/* Memory in the caller's proclet. NULL when the heap is full. */
void *proclet_malloc(size_t n);
void *proclet_calloc(size_t n, size_t size);
void *proclet_realloc(void *q, size_t n);
void proclet_free(void *q);

/* The caller's proclet does not move between these two; they nest. */
void proclet_pin(void);
void proclet_unpin(void);

/*
 * Threads and locks, for the methods and threads of one proclet.
 *
 * Threads move with their proclet, running or waiting. Who waits goes on
 * waiting after a move; no wake-up is lost.
 *
 * An object lies in the proclet: in its heap, or on the stack of one of its
 * threads. All zeroes is an initialised object, but for barriers, so those in a
 * new root object are ready. An object that nobody uses may be
 * freed or forgotten. Locking and unlocking what nobody else wants is a few
 * instructions and no system call. Who waits does not hold up a thread of the
 * system.
 *
 * Functions return 0 or a negative errno value:
 *
 *   -EPERM   not called in a proclet, or unlocking what is not locked
 *   -EINVAL  the caller would have to wait, and the object is not in its proclet
 *   -ENOMEM  the caller would have to wait, and there is no memory for that
 *
 * After an error the caller does not wait, and is not counted as if it did.
 *
 * The functions with a time wait until proclet_clock_ns() has reached it, and then return
 * -ETIMEDOUT. What they can have without waiting they take, whatever the time.
 */

/*
 * A thread of a proclet; a plain value, valid in this proclet until the thread is
 * joined, or detached and at its end. NULL: none.
 */
typedef struct proclet_thread *proclet_thread_t;

/**
 * proclet_thread_create() - let a function run in the caller's proclet
 * @t: out: the thread, also before it begins; NULL: it is detached from the beginning
 * @fn: the function; what is said above of methods is true of it
 * @arg: its argument
 *
 * The thread may outlive the method that creates it. A proclet that is destroyed lives
 * on until its threads have ended, see proclet_destroy().
 *
 * Returns 0, -EPERM, -ENOMEM (the heap is full, or no memory for a stack).
 */
int proclet_thread_create(proclet_thread_t *t, void *(*fn)(void *arg), void *arg);

/**
 * proclet_thread_join() - wait for a thread's end, and free it
 * @t: the thread
 * @ret: out: what its function returned; may be NULL
 *
 * Returns 0, -EINVAL (it is detached, or another thread joins it), -EDEADLK (the
 * caller itself), -ESRCH (none), -EPERM.
 */
int proclet_thread_join(proclet_thread_t t, void **ret);

/* proclet_thread_detach() - nobody will join it; errors as for joining */
int proclet_thread_detach(proclet_thread_t t);

/* proclet_thread_self() - the caller; NULL: it is a method, or not in a proclet */
proclet_thread_t proclet_thread_self(void);

/*
 * proclet_thread_exit() - end the calling thread, as if its function returned @ret
 *
 * What it has locked stays locked. In a method the program ends with SIGILL: its
 * caller could get no result.
 */
void proclet_thread_exit(void *ret) __attribute__((noreturn));

/*
 * Mutex. Who has it is not recorded: locking it twice is waiting for ever.
 * proclet_mutex_trylock() returns -EBUSY if it is locked.
 */
typedef struct {
	__u32 state;
} proclet_mutex_t;

#define PROCLET_MUTEX_INIT	{ 0 }

int proclet_mutex_init(proclet_mutex_t *m);
int proclet_mutex_lock(proclet_mutex_t *m);
int proclet_mutex_timedlock(proclet_mutex_t *m, __u64 ns);
int proclet_mutex_trylock(proclet_mutex_t *m);
int proclet_mutex_unlock(proclet_mutex_t *m);

/*
 * Condition variable. proclet_cond_wait() unlocks the mutex, waits to be
 * signalled (or the time), and locks it again, also when it returns -ETIMEDOUT. It
 * may return without a signal: look at the condition again. A signal wakes at least
 * one of those that wait, a broadcast all.
 */
typedef struct {
	__u64 state;
} proclet_cond_t;

#define PROCLET_COND_INIT	{ 0 }

int proclet_cond_init(proclet_cond_t *c);
int proclet_cond_wait(proclet_cond_t *c, proclet_mutex_t *m);
int proclet_cond_timedwait(proclet_cond_t *c, proclet_mutex_t *m, __u64 ns);
int proclet_cond_signal(proclet_cond_t *c);
int proclet_cond_broadcast(proclet_cond_t *c);

/*
 * Semaphore. proclet_sem_trywait() returns -EAGAIN if the value is 0,
 * proclet_sem_post() -EOVERFLOW if it is PROCLET_SEM_MAX, which is also the largest to
 * begin with (else -EINVAL). proclet_sem_value() returns the value.
 */
typedef struct {
	__u64 state;
} proclet_sem_t;

#define PROCLET_SEM_MAX		0x7fffffff
#define PROCLET_SEM_INIT(value)	{ (value) }

int proclet_sem_init(proclet_sem_t *sem, unsigned int value);
int proclet_sem_wait(proclet_sem_t *sem);
int proclet_sem_timedwait(proclet_sem_t *sem, __u64 ns);
int proclet_sem_trywait(proclet_sem_t *sem);
int proclet_sem_post(proclet_sem_t *sem);
int proclet_sem_value(proclet_sem_t *sem);

/*
 * Reader-writer lock. Readers wait while a writer has it or waits for it; after a
 * writer, the readers that wait come first. So neither starves, and a thread that reads
 * must not lock it for reading again. The two that try return -EBUSY; -EAGAIN: more
 * than two million readers.
 */
typedef struct {
	__u64 state;
	proclet_sem_t readers;
	proclet_sem_t writers;
} proclet_rwlock_t;

#define PROCLET_RWLOCK_INIT	{ 0, { 0 }, { 0 } }

int proclet_rwlock_init(proclet_rwlock_t *rw);
int proclet_rwlock_rdlock(proclet_rwlock_t *rw);
int proclet_rwlock_tryrdlock(proclet_rwlock_t *rw);
int proclet_rwlock_wrlock(proclet_rwlock_t *rw);
int proclet_rwlock_trywrlock(proclet_rwlock_t *rw);
int proclet_rwlock_unlock(proclet_rwlock_t *rw);

/*
 * proclet_once() - the first call calls @fn with @arg; it has ended when any returns
 *
 * -EINVAL: the object is not in the caller's proclet, and @fn has not ended.
 */
typedef struct {
	__u32 state;
} proclet_once_t;

#define PROCLET_ONCE_INIT	{ 0 }

int proclet_once(proclet_once_t *once, void (*fn)(void *arg), void *arg);

/*
 * Barrier. proclet_barrier_wait() returns when @count threads have called it,
 * PROCLET_BARRIER_SERIAL in one of them, 0 in the others. Then it can be used again;
 * it may be freed when all have returned. -EINVAL: it has no count.
 */
typedef struct {
	__u64 state;
	__u32 count;
	__u32 reserved;
} proclet_barrier_t;

#define PROCLET_BARRIER_SERIAL	1

int proclet_barrier_init(proclet_barrier_t *b, unsigned int count);
int proclet_barrier_wait(proclet_barrier_t *b);

#ifdef __cplusplus
}
#endif

#endif /* _PROCLET_H */
