// SPDX-License-Identifier: GPL-2.0
/*
 * stress: heaps read and written from outside. Each worker has an area in each
 * proclet, and knows its bytes; the areas of several share pages.
 */
#include "stress.h"

struct copy_args {
	proclet_t p;
	__u64 off;
	__u64 len;
	__u64 seed;	/* of what is written */
};

/* From inside a proclet: the buffer is on a stack that moves. */
METHOD(write_from)
{
	unsigned char bytes[AREA];
	struct copy_args a;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(a))
		return -EINVAL;
	memcpy(&a, in, sizeof(a));
	pattern(bytes, a.len, a.seed);
	return proclet_write(a.p, a.off, bytes, a.len);
}
PROCLET_METHOD(write_from);

/* Straight to the result. */
METHOD(read_from)
{
	struct copy_args a;

	(void)root;
	if (in_len != sizeof(a))
		return -EINVAL;
	memcpy(&a, in, sizeof(a));
	return out_cap < a.len ? -EINVAL : proclet_read(a.p, a.off, out, a.len);
}
PROCLET_METHOD(read_from);

/* The proclet's own code sees what others have written, and they what it writes. */
METHOD(area_fill)
{
	struct copy_args a;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(a))
		return -EINVAL;
	memcpy(&a, in, sizeof(a));
	pattern((unsigned char *)root + a.off, a.len, a.seed);
	return a.len;
}
PROCLET_METHOD(area_fill);

METHOD(area_look)
{
	struct copy_args a;

	if (in_len != sizeof(a))
		return -EINVAL;
	memcpy(&a, in, sizeof(a));
	if (out_cap < a.len)
		return -EINVAL;
	memcpy(out, (unsigned char *)root + a.off, a.len);
	return a.len;
}
PROCLET_METHOD(area_look);

/* ---- actions ---- */

enum how { WRITE, WRITE_FROM, FILL, READ, READ_FROM, LOOK, HOWS };

static const char *const how_names[HOWS] = {
	"writing", "writing from a proclet", "writing inside",
	"reading", "reading from a proclet", "reading inside",
};

static ssize_t copy(enum how how, const struct copy_args *a, struct life *by, unsigned char *buf)
{
	switch (how) {
	case WRITE:
		pattern(buf, a->len, a->seed);
		return proclet_write(a->p, a->off, buf, a->len);
	case WRITE_FROM:
		return proclet_call(by->id, write_from, a, sizeof(*a), NULL, 0);
	case FILL:
		return proclet_call(a->p, area_fill, a, sizeof(*a), NULL, 0);
	case READ:
		return proclet_read(a->p, a->off, buf, a->len);
	case READ_FROM:
		return proclet_call(by->id, read_from, a, sizeof(*a), buf, a->len);
	default:
		return proclet_call(a->p, area_look, a, sizeof(*a), buf, a->len);
	}
}

/* Nobody else is at the worker's area, so all bytes are known. */
static int copied(enum how how, struct copy_args *a, struct life *l, struct life *by,
		  unsigned char *model, unsigned char *buf)
{
	ssize_t n = copy(how, a, by, buf);

	if (n != (ssize_t)a->len) {
		if (excused(l, n))
			return KSFT_PASS;
		diag("%s %llu bytes at %llu: expected as many, saw %zd", how_names[how], a->len,
		     a->off, n);
		return KSFT_FAIL;
	}
	if (how < READ) {
		pattern(model, a->len, a->seed);
		return KSFT_PASS;
	}
	if (l->unsure)
		return KSFT_PASS;
	for (__u64 i = 0; i < a->len; i++) {
		if (buf[i] != model[i]) {
			diag("%s %llu bytes of %llx at %llu: byte %llu: expected %02x, saw %02x",
			     how_names[how], a->len, a->p, a->off, i, model[i], buf[i]);
			return KSFT_FAIL;
		}
	}
	return KSFT_PASS;
}

/* Far beyond what is reserved. */
static int beyond(struct life *l, struct copy_args *a, unsigned char *buf)
{
	ssize_t n = a->seed % 2 ? proclet_read(l->id, PROCLET_CAPACITY_MAX, buf, 1) :
		proclet_write(l->id, PROCLET_CAPACITY_MAX, buf, 1);

	if (n == -ERANGE || excused(l, n))
		return KSFT_PASS;
	diag("beyond the heap: expected %d, saw %zd", -ERANGE, n);
	return KSFT_FAIL;
}

int do_memory(struct stress_worker *w, __u64 *state)
{
	struct life *l = life_any(state), *by = life_lasting(state);
	unsigned int times = 1 + next_random(state) % 4;
	int ret = KSFT_PASS;

	for (unsigned int i = 0; l && by && ret == KSFT_PASS && i < times; i++) {
		enum how how = next_random(state) % HOWS;
		struct copy_args a = {
			.p = l->id,
			.len = any_size(state, AREA),
			.seed = next_random(state),
		};
		size_t at = next_random(state) % (AREA - a.len + 1);

		a.off = area_offset(w->number) + at;
		ret = copied(how, &a, l, by, l->areas + w->number * AREA + at, w->out);
		if (ret == KSFT_PASS && a.seed % 64 == 0)
			ret = beyond(l, &a, w->out);
	}
	if (by)
		life_put(by);
	if (l)
		life_put(l);
	return ret;
}

/* All areas at once. */
int memory_went_well(struct life *l)
{
	size_t len = stress_workers() * AREA;
	unsigned char *seen = malloc(len);
	int ret = KSFT_PASS;
	ssize_t n;

	CHECK(seen);
	n = proclet_read(l->id, area_offset(0), seen, len);
	if (excused(l, n))
		goto out;
	if (n != (ssize_t)len || memcmp(seen, l->areas, len)) {
		diag("all areas of %llx: expected %zu bytes as written, saw %zd, %s", l->id, len,
		     n, n == (ssize_t)len ? "others" : "an error");
		ret = KSFT_FAIL;
	}
out:
	free(seen);
	return ret;
}
