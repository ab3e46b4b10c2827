// SPDX-License-Identifier: GPL-2.0-or-later
/* What the errors of this library mean. */
#include <errno.h>
#include <string.h>

#include "internal.h"

static const struct {
	int err;
	const char *text;
} texts[] = {
	{ EALREADY, "done already" },
	{ EBUSY, "the proclet cannot be moved now: it is pinned, moving already, its memory is held, or a thread could not be stopped" },
	{ ECONNRESET, "the node or member was lost: perhaps executed" },
	{ EEXIST, "it exists already" },
	{ EHOSTUNREACH, "no member there, or not reachable: certainly not executed" },
	{ EINVAL, "an argument is out of range, or the method is not registered" },
	{ EMSGSIZE, "the argument or the result is longer than 1 MiB" },
	{ ENODEV, "no such node here, or it is not enabled" },
	{ ENOMEM, "no memory: the node's budget, its address space or the heap is used up" },
	{ EPERM, "not allowed to this process or thread; a child of a member is no member" },
	{ ESHUTDOWN, "the logical process has ended" },
	{ ESTALE, "no such proclet" },
	{ ETIMEDOUT, "not done in time" },
	{ EXDEV, "a member is of another build, on another kind of machine, or has another policy" },
};

PUBLIC const char *proclet_strerror(int err)
{
	const char *text;
	size_t i;

	if (err >= 0)
		return "no error";
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].err == -err)
			return texts[i].text;
	text = err > -METHOD_ERRNO_MAX ? strerrordesc_np(-err) : NULL;
	return text ? text : "unknown error";
}
