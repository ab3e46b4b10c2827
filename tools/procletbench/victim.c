// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A process for CRIU: it writes a heap, stops itself to say so, and at SIGUSR1 ends
 * with status 0 if the heap is still right.
 */
#include <linux/types.h>
#include <signal.h>
#include <stdlib.h>

#include "child.h"

int victim(const char *size)
{
	size_t count = strtoul(size, NULL, 10) / sizeof(__u64), i;
	__u64 *words = malloc(count * sizeof(*words));
	sigset_t set;
	int sig;

	if (!words)
		return 2;
	for (i = 0; i < count; i++)
		words[i] = i * 0x9e3779b97f4a7c15ULL + 1;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGSTOP);
	if (sigwait(&set, &sig))
		return 3;
	for (i = 0; i < count; i++)
		if (words[i] != i * 0x9e3779b97f4a7c15ULL + 1)
			return 4;
	return 0;
}
