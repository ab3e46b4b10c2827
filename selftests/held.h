/* SPDX-License-Identifier: GPL-2.0 */
/* Methods of a pinned helper: a page is held by somebody else, as by a device. */
#ifndef PROCLET_SELFTEST_HELD_H
#define PROCLET_SELFTEST_HELD_H

#include <errno.h>
#include <fcntl.h>
#include <proclet.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define HELD_BYTES 4096		/* of a page */

/* A page of a proclet on this node goes into a pipe, which keeps hold of it. */
static int page_pipe[2] = { -1, -1 };

static ssize_t hold_page(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct iovec iov = { .iov_len = HELD_BYTES };
	ssize_t n;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(iov.iov_base))
		return -EINVAL;
	memcpy(&iov.iov_base, in, sizeof(iov.iov_base));
	if (page_pipe[0] < 0 && pipe(page_pipe))
		return -errno;
	n = vmsplice(page_pipe[1], &iov, 1, 0);
	return n < 0 ? -errno : n;
}
PROCLET_METHOD(hold_page);

static ssize_t release_page(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	char buf[HELD_BYTES];
	ssize_t n;

	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	n = read(page_pipe[0], buf, sizeof(buf));
	return n < 0 ? -errno : n;
}
PROCLET_METHOD(release_page);

#endif /* PROCLET_SELFTEST_HELD_H */
