// SPDX-License-Identifier: GPL-2.0-or-later
/* The device: /dev/proclet, and what is mapped from it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

/*
 * No errno: it is the worker's, and the caller may be a thread that goes on in
 * another one.
 */
int dev_ioctl(unsigned long cmd, void *arg)
{
	long ret;

	__asm__ volatile("syscall"
			 : "=a" (ret)
			 : "0" (SYS_ioctl), "D" ((long)shim.fd), "S" (cmd), "d" (arg)
			 : "rcx", "r11", "memory");
	return ret;
}

int dev_join(struct proclet_join *join)
{
	int err;

	shim.fd = open("/dev/proclet", O_RDWR | O_CLOEXEC);
	if (shim.fd < 0) {
		err = -errno;
		shim_error("/dev/proclet: %s", strerror(-err));
		return err;
	}
	join->size = sizeof(*join);
	err = dev_ioctl(PROCLET_IOC_JOIN, join);
	if (!err)
		return 0;
	join->reason[sizeof(join->reason) - 1] = 0;
	shim_error("cannot join %s: %s%s%s%s", join->name, strerror(-err),
		   *join->reason ? " (" : "", join->reason,
		   *join->reason ? ")" : "");
	close(shim.fd);
	return err;
}

/* The areas stay mapped for the process's life. */
int dev_map(void)
{
	void *region, *presence, *workers, *clock;
	int err;

	region = mmap((void *)PROCLET_REGION_BASE, PROCLET_REGION_SIZE,
		      PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE, shim.fd,
		      PROCLET_MMAP_REGION);
	if (region == MAP_FAILED)
		goto fail;
	presence = mmap(NULL, PROCLET_PRESENCE_SIZE, PROT_READ, MAP_SHARED,
			shim.fd, PROCLET_MMAP_PRESENCE);
	if (presence == MAP_FAILED)
		goto fail;
	workers = mmap(NULL, PROCLET_MAX_WORKERS * PROCLET_WORKER_SIZE,
		       PROT_READ | PROT_WRITE, MAP_SHARED, shim.fd,
		       PROCLET_MMAP_WORKERS);
	if (workers == MAP_FAILED)
		goto fail;
	clock = mmap(NULL, PROCLET_CLOCK_SIZE, PROT_READ, MAP_SHARED, shim.fd,
		     PROCLET_MMAP_CLOCK);
	if (clock == MAP_FAILED)
		goto fail;
	shim.presence = presence;
	shim.workers = workers;
	shim.clock = clock;
	return 0;
fail:
	err = -errno;
	shim_error("cannot map the region: %s", strerror(-err));
	return err;
}

int dev_members(struct proclet_members *m, unsigned int wait_for,
		unsigned int timeout_ms, __u32 flags)
{
	int err;

	do {
		memset(m, 0, sizeof(*m));
		m->size = sizeof(*m);
		m->wait_for = wait_for;
		m->timeout_ms = timeout_ms;
		m->flags = flags;
		err = dev_ioctl(PROCLET_IOC_MEMBERS, m);
	} while (err == -EINTR);
	if (m->count > PROCLET_MAX_NODES)
		m->count = PROCLET_MAX_NODES;
	return err;
}
