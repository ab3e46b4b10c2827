// SPDX-License-Identifier: GPL-2.0-or-later
/* Proclets with heaps that are full of known bytes. */
#include <errno.h>
#include <string.h>

#include "bench.h"
#include "callee.h"

/* Root object of a proclet that is moved. */
struct block {
	__u64 *words;
	__u64 count;
	__u64 seed;
};

static ssize_t rewrite(void *root, const void *in, size_t in_len,
		       void *out, size_t out_cap)
{
	struct block *b = root;
	__u64 size, i;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(size))
		return -EINVAL;
	memcpy(&size, in, sizeof(size));
	if (!b->words) {
		b->words = proclet_malloc(size);
		if (!b->words)
			return -ENOMEM;
		b->count = size / sizeof(*b->words);
	} else {
		for (i = 0; i < b->count; i++)
			if (b->words[i] != b->seed + i)
				return -EBADMSG;
	}
	b->seed += 0x9e3779b97f4a7c15ULL;
	for (i = 0; i < b->count; i++)
		b->words[i] = b->seed + i;
	return 0;
}
PROCLET_METHOD(rewrite);

int heap_write(const char *who, proclet_t p, size_t size)
{
	__u64 bytes = size;
	char text[24];
	ssize_t err;

	err = proclet_call(p, rewrite, &bytes, sizeof(bytes), NULL, 0);
	if (err >= 0)
		return 0;
	complain("%s: %s of %s: %s", who,
		 err == -EBADMSG ? "wrong bytes after a move in a heap" : "cannot write a heap",
		 size_text(text, size), error_text(err));
	return err;
}

int heap_create(const char *who, proclet_t *p, int node, size_t size)
{
	int err;

	/* With room for the allocator's own. */
	err = bench_proclet(who, p, node, size < MIB ? MIB : 2 * size, sizeof(struct block), 0);
	return err ? err : heap_write(who, *p, size);
}
