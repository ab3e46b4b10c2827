/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kselftest harness for programs that use /dev/proclet directly. They do
 * their work on one node; the copies on the other nodes end at once.
 */
#ifndef PROCLET_SELFTEST_HARNESS_H
#define PROCLET_SELFTEST_HARNESS_H

/* What failed belongs in the report, and a test ends with _exit(). */
#define TH_LOG_STREAM stdout
#include <kselftest_harness.h>
#include <string.h>

/* Seconds; kernels with all checks on, in emulation, are slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 300

static inline unsigned int env_number(const char *name, unsigned int otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoul(value, NULL, 10) : otherwise;
}

static void __attribute__((constructor)) only_on_root(void)
{
	unsigned int node = env_number("PROCLET_NODE", 0);

	if (node != env_number("PROCLET_ROOT", node))
		_exit(0);
	setvbuf(stdout, NULL, _IOLBF, 0);
}

#endif /* PROCLET_SELFTEST_HARNESS_H */
