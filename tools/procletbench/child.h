/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Other programs. */
#ifndef _PROCLETBENCH_CHILD_H
#define _PROCLETBENCH_CHILD_H

#include <sys/types.h>

/*
 * Start a program, found in PATH, as a session of its own without descriptors but
 * /dev/null. 0 or a negative errno value: -ENOENT, there is none.
 */
int child_start(pid_t *pid, const char *const argv[]);
/* Wait for its end: exit status, 128 + N if signal N ended it. */
int child_wait(pid_t pid);
/* Start it and wait for its end. Negative: it did not start. */
int child_run(const char *const argv[]);

/* victim.c: what procletbench is when it is called with this option and a size. */
#define VICTIM_OPTION	"--victim"
int victim(const char *size);

#endif /* _PROCLETBENCH_CHILD_H */
