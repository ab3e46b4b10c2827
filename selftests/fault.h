/* SPDX-License-Identifier: GPL-2.0 */
/* Faults of other guests, by vcluster; see its usage. For the root. */
#ifndef PROCLET_SELFTEST_FAULT_H
#define PROCLET_SELFTEST_FAULT_H

#include <fcntl.h>
#include <stdarg.h>

#include "check.h"

#define FAULT_BOUND 120	/* seconds in which a guest has booted */

/* Have it done, and wait until it has been. */
static inline int fault(const char *format, ...)
{
	static int fd = -1;
	char line[64];
	int n, len = 0;
	va_list ap;

	if (fd < 0)
		fd = open(getenv("PROCLET_FAULTS"), O_RDWR | O_CLOEXEC);
	CHECK_GE(fd, 0);
	va_start(ap, format);
	n = vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	line[n++] = '\n';
	CHECK_EQ(write(fd, line, n), n);
	do {
		n = read(fd, line + len, sizeof(line) - 1 - len);
		CHECK_GE(n, 1);
		len += n;
	} while (line[len - 1] != '\n' && len < (int)sizeof(line) - 1);
	line[len - 1] = 0;
	if (strcmp(line, "done"))
		diag("fault: %s", line);
	CHECK(!strcmp(line, "done"));
	return KSFT_PASS;
}

#endif /* PROCLET_SELFTEST_FAULT_H */
