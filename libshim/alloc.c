// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory of the caller's proclet. Migratable like heap.c and built like it:
 * these frames are beneath the allocator's.
 */
#include "heap.h"
#include "internal.h"

static inline struct proclet_heap *heap_self(void)
{
	struct proclet_tcb *tcb = tcb_self();

	return tcb ? (struct proclet_heap *)PROCLET_ID_HEAP(tcb->proclet) : NULL;
}

PUBLIC void *proclet_malloc(size_t n)
{
	struct proclet_heap *h = heap_self();

	return h ? heap_malloc(h, n) : NULL;
}

PUBLIC void *proclet_calloc(size_t n, size_t size)
{
	struct proclet_heap *h = heap_self();

	return h ? heap_calloc(h, n, size) : NULL;
}

PUBLIC void *proclet_realloc(void *q, size_t n)
{
	struct proclet_heap *h = heap_self();

	return h ? heap_realloc(h, q, n) : NULL;
}

PUBLIC void proclet_free(void *q)
{
	struct proclet_heap *h = heap_self();

	if (h)
		heap_free(h, q);
}
