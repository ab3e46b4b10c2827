// SPDX-License-Identifier: GPL-2.0-or-later
/* Proclets to call, and native threads. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "bench.h"
#include "callee.h"

ssize_t bench_answer(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	size_t len = in_len < out_cap ? in_len : out_cap;
	__u64 number;

	(void)root;
	if (len < sizeof(number))
		return -EINVAL;
	memcpy(out, in, len);
	memcpy(&number, out, sizeof(number));
	number++;
	memcpy(out, &number, sizeof(number));
	return len;
}
PROCLET_METHOD(bench_answer);

int bench_proclet(const char *who, proclet_t *p, int node, size_t capacity,
		  size_t root_size, unsigned int flags)
{
	struct proclet_attr attr = PROCLET_ATTR_INIT;
	int err;

	attr.node = node;
	attr.capacity = capacity;
	attr.root_size = root_size;
	attr.flags = flags;
	err = proclet_create(p, &attr);
	if (err) {
		*p = 0;
		complain("%s: no proclet on node %d: %s", who, node, error_text(err));
	}
	return err;
}

void bench_destroy(proclet_t *p)
{
	if (*p)
		proclet_destroy(*p);
	*p = 0;
}

struct native {
	int (*fn)(void *arg);
	void *arg;
	int result;
};

static void *run_native(void *arg)
{
	struct native *n = arg;

	n->result = n->fn(n->arg);
	return NULL;
}

int bench_native(const char *who, int (*fn)(void *arg), void *arg)
{
	struct native n = { .fn = fn, .arg = arg };
	pthread_t thread;
	int err;

	err = pthread_create(&thread, NULL, run_native, &n);
	if (err) {
		complain("%s: cannot start a thread: %s", who, error_text(-err));
		return -err;
	}
	pthread_join(thread, NULL);
	return n.result;
}
