/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What several subjects use: proclets to call, heaps to move, native threads. */
#ifndef _PROCLETBENCH_CALLEE_H
#define _PROCLETBENCH_CALLEE_H

#include <proclet.h>
#include <stddef.h>

/* Gives back its argument, as much as is wanted of it, its first number plus 1. */
ssize_t bench_answer(void *root, const void *in, size_t in_len, void *out, size_t out_cap);

/*
 * A proclet on a node, for subject @who; @flags: PROCLET_PINNED or 0. After an error,
 * which it tells, @p is 0.
 */
int bench_proclet(const char *who, proclet_t *p, int node, size_t capacity,
		  size_t root_size, unsigned int flags);

/* Destroy it, if it is one, and set it to 0. */
void bench_destroy(proclet_t *p);

/* What @fn(@arg) returns in a thread of the C library, which may own descriptors. */
int bench_native(const char *who, int (*fn)(void *arg), void *arg);

/* heap.c: a proclet with @size bytes on its heap, all written. They tell errors. */
int heap_create(const char *who, proclet_t *p, int node, size_t size);
/* Check every byte and write it anew. */
int heap_write(const char *who, proclet_t p, size_t size);

#endif /* _PROCLETBENCH_CALLEE_H */
