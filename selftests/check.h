/* SPDX-License-Identifier: GPL-2.0 */
/* What a test expects and what it saw, in results of kselftest. */
#ifndef PROCLET_SELFTEST_CHECK_H
#define PROCLET_SELFTEST_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <kselftest.h>

#define diag(fmt, ...) ksft_print_msg(fmt "\n", ##__VA_ARGS__)

static inline void tap_value(char *buf, size_t size, long long v)
{
	const char *name = v < 0 && v > -4096 ? strerrorname_np(-v) : NULL;

	if (name)
		snprintf(buf, size, "%lld (-%s)", v, name);
	else
		snprintf(buf, size, "%lld", v);
}

static inline void tap_differs(const char *file, int line, const char *what,
			       const char *relation, long long expected, long long seen)
{
	char e[48], s[48];

	tap_value(e, sizeof(e), expected);
	tap_value(s, sizeof(s), seen);
	diag("%s:%d: %s: expected %s%s, saw %s", file, line, what, relation, e, s);
}

/* In a test, or in what it calls by TRY(): fail unless it is so. */
#define CHECK_RELATION(what, relation, text, expected) do {		\
	long long seen_ = (long long)(what);				\
	long long expected_ = (long long)(expected);			\
									\
	if (!(seen_ relation expected_)) {				\
		tap_differs(__FILE__, __LINE__, #what, text, expected_, seen_); \
		return KSFT_FAIL;					\
	}								\
} while (0)

#define CHECK_EQ(what, expected) CHECK_RELATION(what, ==, "", expected)
#define CHECK_GE(what, expected) CHECK_RELATION(what, >=, "at least ", expected)

#define CHECK(what) do {						\
	if (!(what)) {							\
		diag("%s:%d: expected %s, saw otherwise", __FILE__, __LINE__, #what); \
		return KSFT_FAIL;					\
	}								\
} while (0)

#define TRY(call) do {							\
	int ret_ = (call);						\
									\
	if (ret_ != KSFT_PASS)						\
		return ret_;						\
} while (0)

#define SKIP(fmt, ...) do {						\
	diag("skipped: " fmt, ##__VA_ARGS__);				\
	return KSFT_SKIP;						\
} while (0)

static inline unsigned int env_number(const char *name, unsigned int otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoul(value, NULL, 10) : otherwise;
}

#endif /* PROCLET_SELFTEST_CHECK_H */
