// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The allocator of a proclet's heap: two-level segregated fit.
 *
 *   0     256    256 + root_size                          top       brk
 *   +------+------+-------------+-------+-------+--------+-----------+-------
 *   | head | root | struct      | block | block | ...    | tail      | not
 *   |      |      | heap_ctl    |       |       |        |           | reserved
 *   +------+------+-------------+-------+-------+--------+-----------+-------
 *
 * A block is a word, its head, and then what the caller gets. The head holds
 * the block's size, two flags, and a mark made from its place, so that neither
 * a stray pointer nor an overwritten head passes for a block. A free block has
 * its links behind the head and its size in its last word, where the next
 * block, which is told so by a flag, finds it; two free blocks are never
 * neighbours. Free blocks are in lists by size, each power of two being cut
 * into 16 classes, and bitmaps tell which lists are not empty: finding, taking
 * and merging takes constant time.
 *
 * What lies between the last block and brk is no block and is never written,
 * and of that, what lies above the mark "high" is zero: a page that no
 * block has used yet does not exist and does not travel.
 *
 * A thread may be stopped at any instruction of this file and go on in another
 * process on another machine. So nothing here calls the C library, uses
 * thread-local storage (build it without the stack protector) or goes through
 * the PLT. Copying and zeroing are single instructions, because the compiler
 * likes to turn loops into calls. The lock is a private futex in the heap: all
 * threads that could hold it or wait for it move together, and the waiters
 * look again at its value whenever the system call returns.
 */
#include <linux/futex.h>
#include <linux/proclet.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "heap.h"

#define HEAP_PAGE	4096UL
#define HEAP_ALIGN	16UL
#define HEAP_HEAD	8UL		/* bytes of a block's head */
#define HEAP_MIN	32UL		/* smallest block: head, links, size */

#define HEAP_SL_SHIFT	4		/* classes per power of two, as a power of two */
#define HEAP_SL		(1U << HEAP_SL_SHIFT)
#define HEAP_FL_SHIFT	8		/* below this power of two, classes are 16 bytes */

#define HEAP_LOOK	4		/* blocks of the own class to look at */
#define HEAP_SPIN	64

#define HEAP_STEP_MIN	(64UL << 10)	/* brk grows by a part of its value, */
#define HEAP_STEP_MAX	(4UL << 20)	/* between these two */
#define HEAP_TRIM_MIN	(256UL << 10)	/* a tail that is longer is given back */
#define HEAP_TRIM_MAX	(16UL << 20)
#define HEAP_HUGE	(2UL << 20)	/* brk of a heap of twice this is a multiple: huge pages */

#define HEAP_FREE	1UL		/* this block is free */
#define HEAP_PREV_FREE	2UL		/* and so is the one before it */
#define HEAP_SIZE_MASK	0xfffffffff0UL
#define HEAP_MARK_MASK	(~0UL << 40)
#define HEAP_DEAD	0xdeadUL	/* head of what has become part of a block */

typedef __u64 __attribute__((may_alias)) heap_word;

/* A free block's neighbours in its list; offsets in units of HEAP_ALIGN. */
struct heap_links {
	__u32 next;
	__u32 prev;
} __attribute__((may_alias));

/**
 * struct heap_ctl - the allocator's state; offsets are from the heap's start
 * @first: offset of the first block's payload
 * @top: offset of the payload of a block that would begin at the tail
 * @brk: end of what may be touched
 * @high: all bytes from here to @brk are zero
 * @trim: how long a tail has to be to be given back
 * @shrunk: @brk was lowered since it was last raised
 * @fl_map: bit set: @sl_map of this power of two is not 0
 * @sl_map: bit set: the list is not empty
 * @list: first free block of each class, in units of HEAP_ALIGN. Only as many
 *        rows as the capacity can need.
 */
struct heap_ctl {
	__u64 first;
	__u64 top;
	__u64 brk;
	__u64 high;
	__u64 trim;
	__u32 shrunk;
	__u32 fl_map;
	__u16 sl_map[32];
	__u32 list[][HEAP_SL];
};

_Static_assert(PROCLET_CAPACITY_MAX / HEAP_ALIGN - 1 <= 0xffffffffUL,
	       "links have 32 bits");
_Static_assert(PROCLET_CAPACITY_MAX - 1 <= HEAP_SIZE_MASK + HEAP_ALIGN - 1,
	       "a size must fit into its field");

static inline __u64 round_up_to(__u64 n, __u64 align)
{
	return (n + align - 1) & ~(align - 1);
}

static inline __u64 clamp_to(__u64 n, __u64 low, __u64 high)
{
	return n < low ? low : n > high ? high : n;
}

static inline unsigned int log2_of(__u64 n)
{
	return 63 - __builtin_clzl(n);
}

static inline void copy_bytes(void *to, const void *from, size_t n)
{
	asm volatile("rep movsb" : "+D" (to), "+S" (from), "+c" (n) : : "memory");
}

static inline void zero_bytes(void *to, size_t n)
{
	asm volatile("rep stosb" : "+D" (to), "+c" (n) : "a" (0) : "memory");
}

static inline long raw_syscall(long nr, long a, long b, long c)
{
	register long d asm("r10") = 0;
	long ret;

	asm volatile("syscall"
		     : "=a" (ret)
		     : "0" (nr), "D" (a), "S" (b), "d" (c), "r" (d)
		     : "rcx", "r11", "memory");
	return ret;
}

/*
 * The lock: 0 free, 1 held, 2 held and someone may wait
 */

static inline __u32 *heap_lock_word(struct proclet_heap *h)
{
	return (__u32 *)&h->reserved[0];
}

static void heap_lock_slow(__u32 *word)
{
	int i;

	for (i = 0; i < HEAP_SPIN; ++i) {
		__u32 old = 0;

		__builtin_ia32_pause();
		if (__atomic_load_n(word, __ATOMIC_RELAXED) == 0 &&
		    __atomic_compare_exchange_n(word, &old, 1, false,
						__ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return;
	}
	while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE))
		raw_syscall(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, 2);
}

static void heap_lock(struct proclet_heap *h)
{
	__u32 *word = heap_lock_word(h);
	__u32 old = 0;

	if (!__atomic_compare_exchange_n(word, &old, 1, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		heap_lock_slow(word);
}

static void heap_unlock(struct proclet_heap *h)
{
	__u32 *word = heap_lock_word(h);

	if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) == 2)
		raw_syscall(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, 1);
}

/*
 * Misuse ends the process
 */

static char *put_hex(char *s, __u64 n)
{
	int shift;

	for (shift = 60; shift >= 0; shift -= 4)
		*s++ = "0123456789abcdef"[(n >> shift) & 15];
	return s;
}

static char *put_text(char *s, const char *text)
{
	while (*text)
		*s++ = *text++;
	return s;
}

/* One write and a trap: nothing that depends on which process this is. */
static void __attribute__((noreturn, noinline, cold))
heap_die(struct proclet_heap *h, const char *what, __u64 off)
{
	char line[160], *s = line;

	s = put_text(s, "libshim: heap of proclet ");
	s = put_hex(s, h->id);
	s = put_text(s, ": ");
	s = put_text(s, what);
	s = put_text(s, " at ");
	s = put_hex(s, (__u64)h + off);
	*s++ = '\n';
	raw_syscall(SYS_write, 2, (long)line, s - line);
	__builtin_trap();
}

/*
 * Blocks, each named by the offset of its payload
 */

static inline heap_word *block_head(struct proclet_heap *h, __u64 at)
{
	return (heap_word *)((char *)h + at - HEAP_HEAD);
}

static inline struct heap_links *block_links(struct proclet_heap *h, __u64 at)
{
	return (struct heap_links *)((char *)h + at);
}

/* Of a free block: its last word, just before the next one's head. */
static inline heap_word *block_foot(struct proclet_heap *h, __u64 next)
{
	return (heap_word *)((char *)h + next - 2 * HEAP_HEAD);
}

static inline __u64 block_mark(__u64 at)
{
	return (at * 0x9e3779b97f4a7c15UL) & HEAP_MARK_MASK;
}

static inline void block_set(struct proclet_heap *h, __u64 at, __u64 size,
			     __u64 flags)
{
	*block_head(h, at) = block_mark(at) | size | flags;
}

static inline bool block_valid(struct proclet_heap *h, struct heap_ctl *c,
			       __u64 at)
{
	__u64 head = *block_head(h, at);
	__u64 size = head & HEAP_SIZE_MASK;

	return (head & HEAP_MARK_MASK) == block_mark(at) &&
	       size >= HEAP_MIN && size <= c->top - at;
}

static inline __u64 block_size(struct proclet_heap *h, struct heap_ctl *c,
			       __u64 at)
{
	if (__builtin_expect(!block_valid(h, c, at), 0))
		heap_die(h, "block overwritten", at);
	return *block_head(h, at) & HEAP_SIZE_MASK;
}

static inline __u64 block_flags(struct proclet_heap *h, __u64 at)
{
	return *block_head(h, at) & (HEAP_FREE | HEAP_PREV_FREE);
}

/* The block that a caller's pointer stands for. */
static __u64 block_used(struct proclet_heap *h, struct heap_ctl *c, void *q)
{
	__u64 at = (__u64)q - (__u64)h;

	if (!h->alloc || (__u64)q < (__u64)h || at >= h->capacity ||
	    at < c->first || at % HEAP_ALIGN)
		heap_die(h, "not memory of this heap", at);
	if (at >= c->top || *block_head(h, at) == HEAP_DEAD)
		heap_die(h, "double free", at);
	block_size(h, c, at);
	if (block_flags(h, at) & HEAP_FREE)
		heap_die(h, "double free", at);
	return at;
}

/*
 * Lists of free blocks
 */

struct heap_class {
	unsigned int fl;
	unsigned int sl;
};

static inline struct heap_class class_of(__u64 size)
{
	unsigned int log;

	if (size < 1UL << HEAP_FL_SHIFT)
		return (struct heap_class){ 0, size / HEAP_ALIGN };
	log = log2_of(size);
	return (struct heap_class){
		log - HEAP_FL_SHIFT + 1,
		(size >> (log - HEAP_SL_SHIFT)) & (HEAP_SL - 1)
	};
}

static inline unsigned int class_rows(__u64 capacity)
{
	return class_of(capacity - 1).fl + 1;
}

static void list_add(struct proclet_heap *h, struct heap_ctl *c, __u64 at,
		     __u64 size)
{
	struct heap_class k = class_of(size);
	__u32 *list = &c->list[k.fl][k.sl];
	struct heap_links *links = block_links(h, at);
	__u32 next = *list;

	links->next = next;
	links->prev = 0;
	if (next)
		block_links(h, next * HEAP_ALIGN)->prev = at / HEAP_ALIGN;
	*list = at / HEAP_ALIGN;
	c->sl_map[k.fl] |= 1U << k.sl;
	c->fl_map |= 1U << k.fl;
}

static inline bool link_valid(struct heap_ctl *c, __u64 at)
{
	return at >= c->first && at < c->top;
}

static void list_del(struct proclet_heap *h, struct heap_ctl *c, __u64 at,
		     __u64 size)
{
	struct heap_class k = class_of(size);
	__u32 *list = &c->list[k.fl][k.sl];
	struct heap_links links = *block_links(h, at);
	__u64 next = links.next * HEAP_ALIGN;
	__u64 prev = links.prev * HEAP_ALIGN;

	if (next) {
		struct heap_links *n = block_links(h, next);

		if (!link_valid(c, next) || n->prev != at / HEAP_ALIGN)
			heap_die(h, "free block overwritten", at);
		n->prev = links.prev;
	}
	if (prev) {
		struct heap_links *p = block_links(h, prev);

		if (!link_valid(c, prev) || p->next != at / HEAP_ALIGN)
			heap_die(h, "free block overwritten", at);
		p->next = links.next;
	} else {
		if (*list != at / HEAP_ALIGN)
			heap_die(h, "free block overwritten", at);
		*list = links.next;
	}
	if (!*list) {
		c->sl_map[k.fl] &= ~(1U << k.sl);
		if (!c->sl_map[k.fl])
			c->fl_map &= ~(1U << k.fl);
	}
}

/* A block of at least @size among the first @look of its own class, or 0. */
static __u64 list_look(struct proclet_heap *h, struct heap_ctl *c, __u64 size,
		       unsigned long look)
{
	struct heap_class k = class_of(size);
	__u64 at = c->list[k.fl][k.sl] * HEAP_ALIGN;

	for (; at && look; --look) {
		if (block_size(h, c, at) >= size)
			return at;
		at = block_links(h, at)->next * HEAP_ALIGN;
		if (at && !link_valid(c, at))
			heap_die(h, "free block overwritten", at);
	}
	return 0;
}

/* A block of the smallest class all of whose blocks have @size, or 0. */
static __u64 list_find(struct heap_ctl *c, __u64 capacity, __u64 size)
{
	struct heap_class k;
	__u32 map;

	if (size >= 1UL << HEAP_FL_SHIFT)
		size += (1UL << (log2_of(size) - HEAP_SL_SHIFT)) - 1;
	if (size >= capacity)
		return 0;
	k = class_of(size);
	map = c->sl_map[k.fl] & (~0U << k.sl);
	if (!map) {
		map = c->fl_map & (~0U << k.fl << 1);
		if (!map)
			return 0;
		k.fl = __builtin_ctz(map);
		map = c->sl_map[k.fl];
	}
	return c->list[k.fl][__builtin_ctz(map)] * HEAP_ALIGN;
}

/*
 * The tail
 */

static inline __u64 tail_size(struct heap_ctl *c)
{
	return c->brk - (c->top - HEAP_HEAD);
}

static __u64 brk_for(__u64 brk)
{
	return round_up_to(brk, brk < 2 * HEAP_HUGE ? HEAP_PAGE : HEAP_HUGE);
}

/* Make the tail @size bytes long at least. */
static bool tail_grow(struct proclet_heap *h, struct heap_ctl *c, __u64 size)
{
	__u64 step = clamp_to(c->brk / 8, HEAP_STEP_MIN, HEAP_STEP_MAX);
	__u64 need = round_up_to(c->top - HEAP_HEAD + size, HEAP_PAGE);
	__u64 brk;

	if (need <= c->brk)
		return true;
	if (need > h->capacity)
		return false;
	brk = clamp_to(brk_for(c->brk + step), brk_for(need), h->capacity);
	if (heap_grow(h, brk)) {
		if (brk == need)
			return false;
		brk = need;
		if (heap_grow(h, brk))
			return false;
	}
	c->brk = brk;
	/* Given back too early? */
	if (c->shrunk) {
		c->shrunk = 0;
		c->trim = clamp_to(c->trim * 2, 0, HEAP_TRIM_MAX);
	}
	return true;
}

static void tail_trim(struct proclet_heap *h, struct heap_ctl *c)
{
	__u64 brk;

	if (tail_size(c) <= c->trim)
		return;
	brk = brk_for(c->top + HEAP_STEP_MIN);
	if (brk >= c->brk || heap_grow(h, brk))
		return;
	c->brk = brk;
	c->shrunk = 1;
	if (c->high > brk)
		c->high = brk;
}

/* The block at @at now ends at the tail's beginning and has @size bytes. */
static void tail_take(struct heap_ctl *c, __u64 at, __u64 size)
{
	c->top = at + size;
	if (c->high < c->top)
		c->high = c->top;
}

/*
 * Taking and giving
 */

static struct heap_ctl *heap_ctl(struct proclet_heap *h)
{
	__u64 end = PROCLET_ROOT_OFF + h->root_size;
	__u64 brk = round_up_to(end, HEAP_PAGE);
	__u64 at = round_up_to(end, HEAP_ALIGN);
	struct heap_ctl *c;

	if (__builtin_expect(h->alloc != 0, 1))
		return (struct heap_ctl *)((char *)h + h->alloc);

	/* The root object may leave no room. Nothing here has been written. */
	c = (struct heap_ctl *)((char *)h + at);
	end = at + sizeof(*c) + class_rows(h->capacity) * sizeof(c->list[0]);
	end = round_up_to(end + HEAP_HEAD, HEAP_ALIGN);
	if (end > brk) {
		brk = round_up_to(end, HEAP_PAGE);
		if (brk > h->capacity || heap_grow(h, brk))
			return NULL;
	}
	c->first = end;
	c->top = end;
	c->brk = brk;
	c->high = end;
	c->trim = HEAP_TRIM_MIN;
	h->alloc = at;
	return c;
}

/* Bytes of a block for @n bytes, or 0: more than there can be. */
static inline __u64 size_for(struct proclet_heap *h, size_t n)
{
	if (n >= h->capacity)
		return 0;
	if (n <= HEAP_MIN - HEAP_HEAD)
		return HEAP_MIN;
	return round_up_to(n + HEAP_HEAD, HEAP_ALIGN);
}

/* Make a free block, in no list, of what may have free neighbours. */
static void block_release(struct proclet_heap *h, struct heap_ctl *c, __u64 at,
			  __u64 size)
{
	__u64 next = at + size;

	if (block_flags(h, at) & HEAP_PREV_FREE) {
		__u64 prev_size = *block_foot(h, at);
		__u64 prev = at - prev_size;

		if (prev_size > at - c->first || prev_size % HEAP_ALIGN ||
		    block_size(h, c, prev) != prev_size ||
		    !(block_flags(h, prev) & HEAP_FREE))
			heap_die(h, "free block overwritten", at);
		list_del(h, c, prev, prev_size);
		*block_head(h, at) = HEAP_DEAD;
		at = prev;
		size += prev_size;
	}
	if (next == c->top) {
		c->top = at;
		tail_trim(h, c);
		return;
	}
	if (block_valid(h, c, next)) {
		__u64 next_size = block_size(h, c, next);

		if (block_flags(h, next) & HEAP_FREE) {
			list_del(h, c, next, next_size);
			*block_head(h, next) = HEAP_DEAD;
			size += next_size;
		} else {
			*block_head(h, next) |= HEAP_PREV_FREE;
		}
	} else {
		heap_die(h, "written beyond the end of a block", at);
	}
	block_set(h, at, size, HEAP_FREE);
	*block_foot(h, at + size) = size;
	list_add(h, c, at, size);
}

/* Keep the first @want bytes of an allocated block that has @size. */
static void block_cut(struct proclet_heap *h, struct heap_ctl *c, __u64 at,
		      __u64 size, __u64 want)
{
	__u64 flags = block_flags(h, at) & HEAP_PREV_FREE;

	if (size - want < HEAP_MIN) {
		block_set(h, at, size, flags);
		return;
	}
	block_set(h, at, want, flags);
	block_set(h, at + want, size - want, 0);
	block_release(h, c, at + want, size - want);
}

/* Make an allocated block out of a free one, which is in a list. */
static void block_take(struct proclet_heap *h, struct heap_ctl *c, __u64 at,
		       __u64 size, __u64 want)
{
	__u64 next = at + size;

	list_del(h, c, at, size);
	block_size(h, c, next);
	*block_head(h, next) &= ~HEAP_PREV_FREE;
	block_set(h, at, size, 0);
	block_cut(h, c, at, size, want);
}

/**
 * heap_take() - allocate a block
 * @h: the heap, locked
 * @size: of the block
 * @dirty: out: offset up to which it may hold something else than zeroes
 *
 * Returns the offset of its payload, or 0.
 */
static __u64 heap_take(struct proclet_heap *h, __u64 size, __u64 *dirty)
{
	struct heap_ctl *c = heap_ctl(h);
	__u64 at;

	if (!c)
		return 0;
	*dirty = h->capacity;
	at = list_look(h, c, size, HEAP_LOOK);
	if (!at)
		at = list_find(c, h->capacity, size);
	if (!at && tail_grow(h, c, size)) {
		*dirty = c->high;
		at = c->top;
		tail_take(c, at, size);
		block_set(h, at, size, 0);
		return at;
	}
	/* Better slow than without success. */
	if (!at)
		at = list_look(h, c, size, ~0UL);
	if (at)
		block_take(h, c, at, block_size(h, c, at), size);
	return at;
}

void *heap_malloc(struct proclet_heap *h, size_t n)
{
	__u64 size = size_for(h, n);
	__u64 at, dirty;

	if (!size)
		return NULL;
	heap_lock(h);
	at = heap_take(h, size, &dirty);
	heap_unlock(h);
	return at ? (char *)h + at : NULL;
}

void *heap_calloc(struct proclet_heap *h, size_t n, size_t size)
{
	__u64 at, dirty;
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return NULL;
	size = size_for(h, bytes);
	if (!size)
		return NULL;
	heap_lock(h);
	at = heap_take(h, size, &dirty);
	heap_unlock(h);
	if (!at)
		return NULL;
	if (dirty > at + bytes)
		dirty = at + bytes;
	if (dirty > at)
		zero_bytes((char *)h + at, dirty - at);
	return (char *)h + at;
}

void heap_free(struct proclet_heap *h, void *q)
{
	struct heap_ctl *c;
	__u64 at;

	if (!q)
		return;
	heap_lock(h);
	c = (struct heap_ctl *)((char *)h + h->alloc);
	at = block_used(h, c, q);
	block_release(h, c, at, block_size(h, c, at));
	heap_unlock(h);
}

/* Make an allocated block longer where it is. */
static bool block_extend(struct proclet_heap *h, struct heap_ctl *c, __u64 at,
			 __u64 size, __u64 want)
{
	__u64 flags = block_flags(h, at);
	__u64 next = at + size;
	__u64 next_size;

	if (next == c->top) {
		if (!tail_grow(h, c, want - size))
			return false;
		tail_take(c, at, want);
		block_set(h, at, want, flags);
		return true;
	}
	if (!block_valid(h, c, next))
		heap_die(h, "written beyond the end of a block", at);
	next_size = block_size(h, c, next);
	if (!(block_flags(h, next) & HEAP_FREE) || size + next_size < want)
		return false;
	block_take(h, c, next, next_size, next_size);
	*block_head(h, next) = HEAP_DEAD;
	block_set(h, at, size + next_size, flags);
	block_cut(h, c, at, size + next_size, want);
	return true;
}

void *heap_realloc(struct proclet_heap *h, void *q, size_t n)
{
	__u64 want = size_for(h, n);
	struct heap_ctl *c;
	__u64 at, size;
	bool done = true;
	void *new;

	if (!q)
		return heap_malloc(h, n);
	if (!want)
		return NULL;
	heap_lock(h);
	c = (struct heap_ctl *)((char *)h + h->alloc);
	at = block_used(h, c, q);
	size = block_size(h, c, at);
	if (want <= size)
		block_cut(h, c, at, size, want);
	else
		done = block_extend(h, c, at, size, want);
	heap_unlock(h);
	if (done)
		return q;
	new = heap_malloc(h, n);
	if (new) {
		copy_bytes(new, q, size - HEAP_HEAD);
		heap_free(h, q);
	}
	return new;
}

/*
 * For tests and debuggers
 */

static __u64 check_lists(struct proclet_heap *h, struct heap_ctl *c,
			 __u64 *count)
{
	unsigned int rows = class_rows(h->capacity);
	unsigned int fl, sl;

	for (fl = 0; fl < rows; ++fl) {
		if (!(c->fl_map & 1U << fl) != !c->sl_map[fl])
			return h->alloc;
		for (sl = 0; sl < HEAP_SL; ++sl) {
			__u64 at = c->list[fl][sl] * HEAP_ALIGN;
			__u64 prev = 0;

			if (!(c->sl_map[fl] & 1U << sl) != !at)
				return h->alloc;
			while (at) {
				struct heap_class k;

				if (!link_valid(c, at) ||
				    !block_valid(h, c, at) ||
				    !(block_flags(h, at) & HEAP_FREE) ||
				    block_links(h, at)->prev != prev / HEAP_ALIGN)
					return at;
				k = class_of(block_size(h, c, at));
				if (k.fl != fl || k.sl != sl)
					return at;
				++*count;
				prev = at;
				at = block_links(h, at)->next * HEAP_ALIGN;
			}
		}
	}
	return 0;
}

static __u64 check_blocks(struct proclet_heap *h, struct heap_ctl *c,
			  struct heap_usage *u)
{
	__u64 at, size, flags;
	__u64 prev_free = 0;

	for (at = c->first; at < c->top; at += size) {
		if (!block_valid(h, c, at))
			return at;
		size = block_size(h, c, at);
		flags = block_flags(h, at);
		if ((flags & HEAP_PREV_FREE) != prev_free)
			return at;
		if (flags & HEAP_FREE) {
			if (prev_free || *block_foot(h, at + size) != size)
				return at;
			u->free += size;
			++u->free_blocks;
			prev_free = HEAP_PREV_FREE;
		} else {
			u->used += size;
			++u->used_blocks;
			prev_free = 0;
		}
	}
	return at != c->top || prev_free ? at : 0;
}

__u64 heap_check(struct proclet_heap *h, struct heap_usage *usage)
{
	struct heap_usage u = { 0 };
	struct heap_ctl *c;
	__u64 listed = 0;
	__u64 bad = 0;

	heap_lock(h);
	if (h->alloc) {
		c = (struct heap_ctl *)((char *)h + h->alloc);
		u.brk = c->brk;
		u.tail = tail_size(c);
		bad = check_blocks(h, c, &u);
		if (!bad)
			bad = check_lists(h, c, &listed);
		if (!bad && listed != u.free_blocks)
			bad = h->alloc;
	}
	heap_unlock(h);
	if (usage)
		*usage = u;
	return bad;
}
