// SPDX-License-Identifier: GPL-2.0-or-later
/* What the errors of this library mean. */
#include <errno.h>
#include <string.h>

#include "internal.h"

static const struct {
	int err;
	const char *text;
} texts[] = {
	{ E2BIG, "too large: an argument is longer than this kernel knows, or the proclet has too many pieces to move" },
	{ EAGAIN, "not without waiting, or the lock has as many readers as it can have" },
	{ EALREADY, "done already" },
	{ EBUSY, "the proclet cannot be moved now: it is pinned, moving already, its memory is held, or a thread could not be stopped; or the lock is taken" },
	{ ECANCELED, "cancelled by the caller: perhaps executed" },
	{ ECONNRESET, "perhaps executed: the node or member was lost, the time was up, or the result could not be brought" },
	{ EDEADLK, "the thread would wait for its own end" },
	{ EEXIST, "it exists already" },
	{ EFAULT, "an address of the caller's is not accessible" },
	{ EHOSTUNREACH, "no member there, or not reachable: certainly not executed" },
	{ EINTR, "interrupted: the caller is being killed" },
	{ EINVAL, "an argument is out of range, or the method is not registered" },
	{ EMSGSIZE, "the argument or the result is longer than 1 MiB" },
	{ ENODEV, "no such node here, or it is not enabled" },
	{ ENOENT, "nothing has this name or number" },
	{ ENOEXEC, "the program cannot be a member: it is linked statically, or has no build id" },
	{ ENOMEM, "no memory: the node's budget, its address space or the heap is used up" },
	{ ENOSPC, "there are as many names as there can be" },
	{ ENOTCONN, "this file has not joined a logical process" },
	{ ENOTTY, "no such request: the kernel module is older or newer than the program" },
	{ ENXIO, "no memory in use from there on" },
	{ EOPNOTSUPP, "not with this kind of io_uring" },
	{ EOVERFLOW, "too many to count: references, a semaphore's value, events that are not kept, or a result of more than 32 bits" },
	{ EPERM, "not allowed to this process or thread; a child of a member is no member; or the lock is not locked" },
	{ EPROTO, "another node sent what it must not send" },
	{ ERANGE, "beyond the reserved part of the proclet's heap" },
	{ EREMOTEIO, "the migration's destination could not take the proclet" },
	{ ESHUTDOWN, "the logical process has ended" },
	{ ESRCH, "no such thread" },
	{ ESTALE, "no such proclet" },
	{ ETIMEDOUT, "not done in time" },
	{ EXDEV, "a member is of another build, on another kind of machine, of another user, or has another policy" },
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
