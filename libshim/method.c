// SPDX-License-Identifier: GPL-2.0-or-later
/* Methods: the program's functions that calls name by number. */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

/* Hash table by address, at most half full; index 0 of an empty slot's @fn. */
struct slot {
	proclet_method_t fn;
	unsigned long index;
};

static const proclet_method_t *methods;
static unsigned long nmethods;
static struct slot *slots;
static unsigned int shift;	/* 64 - log2 of the number of slots */

static struct slot *slot_of(proclet_method_t fn)
{
	unsigned long mask = (1UL << (64 - shift)) - 1;
	unsigned long i = (unsigned long)fn * 0x9e3779b97f4a7c15UL >> shift;

	while (slots[i].fn && slots[i].fn != fn)
		i = (i + 1) & mask;
	return &slots[i];
}

int method_init(const proclet_method_t *first, const proclet_method_t *last)
{
	unsigned long i, bits = 1;
	struct slot *slot;

	methods = first;
	nmethods = last - first;
	while (1UL << bits < 2 * nmethods)
		bits++;
	if (nmethods >= METHOD_THREAD)
		return -E2BIG;
	shift = 64 - bits;
	slots = calloc(1UL << bits, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (i = 0; i < nmethods; i++) {
		slot = slot_of(methods[i]);
		if (slot->fn)
			continue;	/* registered twice */
		slot->fn = methods[i];
		slot->index = i;
	}
	return 0;
}

int method_index(proclet_method_t fn, __u32 *index)
{
	struct slot *slot;

	if (!fn)
		return -EINVAL;
	slot = slot_of(fn);
	if (!slot->fn)
		return -EINVAL;
	*index = slot->index;
	return 0;
}

/* @index may come from another node: NULL if there is no such method. */
proclet_method_t method_get(__u32 index)
{
	if (index == METHOD_ROOT)
		return lproc_root_method();
	return index < nmethods ? methods[index] : NULL;
}
