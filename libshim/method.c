// SPDX-License-Identifier: GPL-2.0-or-later
/* Methods: the program's functions that calls name by number. */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

static const proclet_method_t *methods;
static unsigned long nmethods;

/* Where @fn is; an empty slot: it is no method. proclet_call does the same. */
static struct method_slot *method_slot(proclet_method_t fn)
{
	unsigned long off = (unsigned long)fn * METHOD_HASH >> METHOD_SHIFT;
	struct method_slot *slot;

	while ((slot = (void *)(shim.slots + (off & shim.mask)))->fn && slot->fn != fn)
		off += METHOD_SLOT;
	return slot;
}

/* Nobody else knows it. */
static ssize_t no_method(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return -EINVAL;
}

int method_init(const proclet_method_t *first, const proclet_method_t *last)
{
	unsigned long i, n = 2;
	struct method_slot *slot;

	methods = first;
	nmethods = last - first;
	while (n < 2 * nmethods + 2)
		n *= 2;
	if (nmethods >= METHOD_THREAD)
		return -E2BIG;
	shim.mask = (n - 1) * METHOD_SLOT;
	slot = calloc(n, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	shim.slots = (char *)slot;
	slot->fn = no_method;
	for (i = 0; i < nmethods; i++) {
		slot = method_slot(methods[i]);
		if (slot->fn)
			continue;	/* registered twice */
		slot->fn = methods[i];
		slot->index = i;
	}
	return 0;
}

int method_index(proclet_method_t fn, __u32 *index)
{
	struct method_slot *slot = method_slot(fn);

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
