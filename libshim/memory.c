// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Bytes of proclets' heaps. Also of those that are here, and the caller's own: the
 * kernel knows what may be touched, and what may not move meanwhile.
 */
#include <errno.h>

#include "internal.h"

static ssize_t copy(__u32 code, proclet_t p, size_t off, char *buf, size_t len)
{
	struct proclet_op op = { .op = code, .target = p };
	size_t done = 0, n;
	__s64 ret;

	if (!proclet_valid(p))
		return -ESTALE;
	if (off > PROCLET_CAPACITY_MAX || len > PROCLET_CAPACITY_MAX)
		return -ERANGE;
	/* Also when there is nothing to copy: does it live? */
	do {
		n = len - done < PROCLET_PAYLOAD_MAX ? len - done : PROCLET_PAYLOAD_MAX;
		if (code == PROCLET_OP_READ) {
			op.in = off + done;
			op.out = (__u64)(buf + done);
			op.out_cap = n;
		} else {
			op.in = (__u64)(buf + done);
			op.in_len = n;
			op.out = off + done;
		}
		ret = shim_op(&op);
		if (ret < 0)
			return ret;
		done += n;
	} while (done < len);
	return done;
}

PUBLIC ssize_t proclet_read(proclet_t p, size_t off, void *buf, size_t len)
{
	return copy(PROCLET_OP_READ, p, off, buf, len);
}

PUBLIC ssize_t proclet_write(proclet_t p, size_t off, const void *buf, size_t len)
{
	return copy(PROCLET_OP_WRITE, p, off, (char *)buf, len);
}
