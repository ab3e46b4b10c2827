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

#include "tap.h"

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

/*
 * Go on in a child of this process; another one follows to one that ends as @again says.
 * Before lproc_main(), which may execute the program once more.
 */
static inline void go_on_in_child(bool (*again)(int status))
{
	static const char *const marker = "PROCLET_TEST_CHILD";
	int status;
	pid_t pid;

	if (getenv(marker))
		return;
	do {
		pid = fork();
		if (!pid) {
			setenv(marker, "1", 1);
			return;
		}
		waitpid(pid, &status, 0);
	} while (again(status));
	exit(WIFEXITED(status) ? WEXITSTATUS(status) : KSFT_FAIL);
}

/**
 * struct supervised - scenarios, each with members of its own
 * @name: of scenario @i
 * @run: it, on this node: @is_root: reports the result. 0, or how to exit at once
 * @count: of scenarios
 */
struct supervised {
	const char *(*name)(size_t i);
	int (*run)(const char *program, size_t i, __u64 run, bool is_root);
	size_t count;
};

/* The selected ones, on all nodes in the same order and with the same numbers. */
static inline int supervise_all(const struct supervised *s, bool is_root, int argc, char **argv)
{
	const char *env = getenv("PROCLET_RUN");
	__u64 run = env ? strtoull(env, NULL, 16) : 0;
	unsigned int planned = 0;
	char program[4096];
	ssize_t n;
	int ret;

	n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	if (n < 0)
		return KSFT_FAIL;
	program[n] = 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < s->count; i++) {
		struct tap_test t = { .name = s->name(i) };

		planned += tap_selected(&t, argc, argv);
	}
	if (is_root) {
		ksft_print_header();
		ksft_set_plan(planned);
	}
	for (size_t i = 0; i < s->count; i++) {
		struct tap_test t = { .name = s->name(i) };

		if (!tap_selected(&t, argc, argv))
			continue;
		ret = s->run(program, i, run + 1 + i, is_root);
		if (ret)
			return ret;
	}
	if (!is_root)
		return 0;
	ksft_print_cnts();
	return ksft_get_fail_cnt() ? KSFT_FAIL : KSFT_PASS;
}

#endif /* PROCLET_SELFTEST_SUPERVISE_H */
