/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The allocator of a proclet's heap.
 *
 * All of its state lies in the heap and moves with it. Every function may be
 * called by several threads of the proclet at once, and may be stopped at any
 * instruction and go on in another process: see heap.c for the rules that
 * this puts on the code.
 */
#ifndef _LIBSHIM_HEAP_H
#define _LIBSHIM_HEAP_H

#include <linux/proclet.h>
#include <linux/types.h>
#include <stddef.h>

/* No detour through the dynamic linker, which could not be migrated. */
#pragma GCC visibility push(hidden)

/**
 * heap_malloc() - allocate memory in a proclet's heap
 * @h: the heap
 * @n: bytes; 0 is as good as 1
 *
 * Returns memory aligned to 16 bytes, or NULL when the heap is full.
 */
void *heap_malloc(struct proclet_heap *h, size_t n);

/* heap_calloc() - the same for @n objects of @size bytes, zeroed */
void *heap_calloc(struct proclet_heap *h, size_t n, size_t size);

/**
 * heap_realloc() - change the size of an allocation
 * @h: the heap
 * @q: from one of these functions; NULL: allocate
 * @n: bytes; 0 is as good as 1 (it does not free)
 *
 * Returns the memory, which may have moved within the heap, or NULL when the
 * heap is full; then @q remains as it was.
 */
void *heap_realloc(struct proclet_heap *h, void *q, size_t n);

/* heap_free() - give memory back; NULL is ignored */
void heap_free(struct proclet_heap *h, void *q);

/**
 * heap_grow() - set how much of a heap may be touched; not part of heap.c
 * @h: the heap
 * @brk: bytes from its start, a multiple of the page size, at most its
 *       capacity; pages above are freed
 *
 * Called with the heap's lock held. Pages that are added read as zeroes.
 * Returns 0, or a negative errno value and nothing has changed.
 */
int heap_grow(struct proclet_heap *h, size_t brk);

/**
 * struct heap_usage - what heap_check() counts
 * @brk: bytes of the heap that may be touched
 * @used: bytes of the allocated blocks, with their headers
 * @free: bytes of the free blocks
 * @tail: bytes between the last block and @brk
 * @used_blocks: number of allocated blocks
 * @free_blocks: number of free blocks
 */
struct heap_usage {
	__u64 brk;
	__u64 used;
	__u64 free;
	__u64 tail;
	__u64 used_blocks;
	__u64 free_blocks;
};

/**
 * heap_check() - walk through the whole heap
 * @h: the heap
 * @usage: out: what it found, may be NULL
 *
 * Returns 0, or the offset of a block that is not as it should be.
 */
__u64 heap_check(struct proclet_heap *h, struct heap_usage *usage);

#pragma GCC visibility pop

#endif /* _LIBSHIM_HEAP_H */
