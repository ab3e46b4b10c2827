/* SPDX-License-Identifier: GPL-2.0 */
/* Members in processes of their own, whose end is what is tested. */
#ifndef PROCLET_SELFTEST_SUPERVISE_H
#define PROCLET_SELFTEST_SUPERVISE_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SUPERVISE_BOUND 30	/* seconds in which who was killed is gone */

static inline bool ends(pid_t pid, int seconds)
{
	int fd = syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	bool ended = poll(&p, 1, seconds * 1000) == 1;

	close(fd);
	return ended;
}

/* Its wait status; -1: had to be killed, -2: cannot be. */
static inline int supervise(pid_t pid, int seconds)
{
	int status, ret = 0;

	if (!ends(pid, seconds)) {
		ret = -1;
		kill(pid, SIGKILL);
		if (!ends(pid, SUPERVISE_BOUND))
			return -2;
	}
	waitpid(pid, &status, 0);
	return ret ?: status;
}

#endif /* PROCLET_SELFTEST_SUPERVISE_H */
