/* SPDX-License-Identifier: GPL-2.0 */
/* A method that runs a command of the shell on its node. */
#ifndef PROCLET_SELFTEST_COMMAND_H
#define PROCLET_SELFTEST_COMMAND_H

#include <errno.h>
#include <proclet.h>
#include <stdlib.h>

static ssize_t command(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return system(in) ? -EIO : 0;
}
PROCLET_METHOD(command);

#endif /* PROCLET_SELFTEST_COMMAND_H */
