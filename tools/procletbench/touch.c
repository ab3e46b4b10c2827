// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The first access to a page that has not come yet, after a move by post-copy: nothing
 * else is read meanwhile, and no page is next to another.
 */
#include <errno.h>
#include <linux/proclet.h>
#include <proclet.h>
#include <string.h>

#include "bench.h"
#include "callee.h"

#define PAGE		4096
#define DISTANCE	3		/* pages from one to the next */
#define TOUCHES		64		/* of each move */
#define PARAMETER	"/sys/module/proclet/parameters/tail_pages"

struct touched {
	volatile __u8 *bytes;
};

static ssize_t allocate(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct touched *t = root;
	size_t size = TOUCHES * DISTANCE * PAGE;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	t->bytes = proclet_malloc(size);
	if (!t->bytes)
		return -ENOMEM;
	memset((void *)t->bytes, 1, size);
	return 0;
}
PROCLET_METHOD(allocate);

static ssize_t touch(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct touched *t = root;
	__u64 times[TOUCHES], before;
	unsigned int i;

	(void)in;
	(void)in_len;
	if (out_cap != sizeof(times))
		return -EINVAL;
	memset(times, 0, sizeof(times));
	for (i = 0; i < TOUCHES; i++) {
		before = now_ns();
		if (t->bytes[i * DISTANCE * PAGE] != 1)
			return -EBADMSG;
		times[i] = now_ns() - before;
	}
	memcpy(out, times, sizeof(times));
	return sizeof(times);
}
PROCLET_METHOD(touch);

/* Set the module's parameter on the node where this runs; the old value. */
static ssize_t stream(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	unsigned int value, old = 0;
	FILE *f;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(value))
		return -EINVAL;
	memcpy(&value, in, sizeof(value));
	f = fopen(PARAMETER, "r+");
	if (!f || fscanf(f, "%u", &old) != 1)
		old = -1;
	if (f) {
		rewind(f);
		fprintf(f, "%u\n", value);
		if (fclose(f))
			old = -1;
	}
	return old == -1U ? -EACCES : (ssize_t)old;
}
PROCLET_METHOD(stream);

static proclet_t touched, setter;
static ssize_t old_stream = -1;
static int here, there;

static int set_stream(unsigned int pages, ssize_t *old)
{
	*old = proclet_call(setter, stream, &pages, sizeof(pages), NULL, 0);
	if (*old < 0)
		complain("touch: %s on node %d: %s", PARAMETER, there, error_text(*old));
	return *old < 0 ? *old : 0;
}

static int touch_begin(const struct options *opt, int node)
{
	ssize_t err;

	(void)opt;
	here = lproc_node();
	there = node;
	old_stream = -1;
	err = bench_proclet("touch", &touched, here, 2 * MIB, sizeof(struct touched), 0);
	if (!err)
		err = bench_proclet("touch", &setter, there, MIB, 8, PROCLET_PINNED);
	if (!err)
		err = proclet_call(touched, allocate, NULL, 0, NULL, 0);
	return err ? err : set_stream(0, &old_stream);
}

static int touch_round(const struct pace *pace, struct results *r)
{
	__u64 start = now_ns(), n = 0, times[TOUCHES];
	unsigned int i;
	ssize_t err;

	while (pace_more(pace, start, n)) {
		err = proclet_migrate(touched, there, PROCLET_MOVE_POSTCOPY);
		if (!err)
			err = proclet_call(touched, touch, NULL, 0, times, sizeof(times));
		if (err == sizeof(times))
			err = proclet_migrate(touched, here, PROCLET_MOVE_STOP);
		if (err) {
			complain("touch: %s", error_text(err));
			return err;
		}
		for (i = 0; i < TOUCHES && !err; i++)
			err = results_add(r, "first_touch", PAGE, UNIT_NS, times[i]);
		if (err)
			return err;
		n += TOUCHES;
	}
	return 0;
}

static void touch_end(void)
{
	ssize_t unused;

	if (old_stream >= 0)
		set_stream(old_stream, &unused);
	bench_destroy(&touched);
	bench_destroy(&setter);
}

const struct subject touch_subject = {
	.name = "touch",
	.bit = BENCH_TOUCH,
	.begin = touch_begin,
	.round = touch_round,
	.end = touch_end,
};
