/* SPDX-License-Identifier: GPL-2.0 */
/* A member without the library, with one proclet. */
#ifndef PROCLET_SELFTEST_MEMBER_H
#define PROCLET_SELFTEST_MEMBER_H

#include "harness.h"
#include "raw.h"

#include <signal.h>

FIXTURE(member) {
	int fd;
	__u64 p;
};

FIXTURE_SETUP(member)
{
	self->fd = raw_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, raw_join(self->fd, "abi", raw_own_run()));
	self->p = raw_proclet(self->fd, MIB);
	ASSERT_NE(0, self->p);
}

FIXTURE_TEARDOWN(member)
{
	close(self->fd);
}

static inline void on_signal(int sig)
{
	(void)sig;
}

/* Without SA_RESTART: an ioctl that waits ends with -EINTR. */
static inline void catch_signal(int sig)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(sig, &sa, NULL);
}

#endif /* PROCLET_SELFTEST_MEMBER_H */
