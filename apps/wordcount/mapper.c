// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include "mapper.h"
#include "reducer.h"
#include "words.h"

/* At most a third of the slots are in use: a struct word has 24 bytes or more. */
#define SLOTS		(BATCH_MAX / 8)

_Static_assert((SLOTS & (SLOTS - 1)) == 0, "slots are masked");

/**
 * struct shard - the words for one reducer
 * @reducer: the reducer
 * @used: bytes of @batch in use
 * @cap: bytes of @batch
 * @error: of the last call to the reducer
 * @reserved: 0
 * @batch: struct word after struct word, counted where they are sent from
 * @slots: hash table: offset in @batch of a word, plus one; 0: free
 */
struct shard {
	proclet_t reducer;
	__u32 used;
	__u32 cap;
	__s32 error;
	__u32 reserved;
	char *batch;
	__u32 *slots;
};

struct mapper {
	struct shard *shard;
	__u32 shards;
};

_Static_assert(sizeof(struct mapper) == MAPPER_ROOT_SIZE, "mapper.h is wrong");

ssize_t mapper_init(void *root, const void *in, size_t in_len, void *out,
		    size_t out_cap)
{
	struct mapper *m = root;
	const proclet_t *reducers = in;
	__u32 i;

	(void)out;
	(void)out_cap;
	if (!in_len || in_len % sizeof(*reducers) || m->shard)
		return -EINVAL;
	m->shards = in_len / sizeof(*reducers);
	m->shard = proclet_calloc(m->shards, sizeof(*m->shard));
	if (!m->shard)
		return -ENOMEM;
	for (i = 0; i < m->shards; ++i) {
		struct shard *s = &m->shard[i];

		s->reducer = reducers[i];
		s->cap = BATCH_MAX;
		s->batch = proclet_malloc(s->cap);
		s->slots = proclet_calloc(SLOTS, sizeof(*s->slots));
		if (!s->batch || !s->slots)
			return -ENOMEM;
	}
	return 0;
}
PROCLET_METHOD(mapper_init);

/* Never sent twice: the reducer adds it exactly once, or the run fails. */
static int shard_flush(struct shard *s)
{
	ssize_t ret;

	if (!s->used)
		return 0;
	ret = proclet_call(s->reducer, reducer_add, s->batch, s->used, NULL, 0);
	s->error = ret < 0 ? ret : 0;
	s->used = 0;
	memset(s->slots, 0, SLOTS * sizeof(*s->slots));
	return s->error;
}

static bool same_word(const struct word *w, __u32 hash, const char *text,
		      size_t len)
{
	size_t i;

	if (w->hash != hash || w->len != len)
		return false;
	for (i = 0; i < len; ++i)
		if (w->text[i] != (text[i] | 0x20))
			return false;
	return true;
}

/* A struct word for @text at the end of the batch; the slot is free. */
static int shard_append(struct shard *s, __u32 slot, __u32 hash,
			const char *text, size_t len)
{
	size_t size = word_size(len);
	struct word *w;
	size_t i;

	if (size > s->cap) {
		char *batch = proclet_realloc(s->batch, size);

		if (!batch)
			return -ENOMEM;
		s->batch = batch;
		s->cap = size;
	}
	w = (struct word *)(s->batch + s->used);
	w->count = 1;
	w->hash = hash;
	w->len = len;
	for (i = 0; i < len; ++i)
		w->text[i] = text[i] | 0x20;
	for (; i < size - sizeof(*w); ++i)
		w->text[i] = 0;
	s->slots[slot] = s->used + 1;
	s->used += size;
	return 0;
}

static int shard_count(struct shard *s, __u32 hash, const char *text, size_t len)
{
	__u32 slot = hash & (SLOTS - 1);
	int err;

	for (; s->slots[slot]; slot = (slot + 1) & (SLOTS - 1)) {
		struct word *w = (struct word *)(s->batch + s->slots[slot] - 1);

		if (same_word(w, hash, text, len)) {
			++w->count;
			return 0;
		}
	}
	if (s->used && s->used + word_size(len) > BATCH_MAX) {
		err = shard_flush(s);
		if (err)
			return err;
		slot = hash & (SLOTS - 1);
	}
	return shard_append(s, slot, hash, text, len);
}

static ssize_t report(int error, int shard, void *out, size_t out_cap)
{
	struct mapper_report r = { .error = error, .shard = shard };

	if (out_cap < sizeof(r))
		return -EINVAL;
	memcpy(out, &r, sizeof(r));
	return sizeof(r);
}

ssize_t mapper_count(void *root, const void *in, size_t in_len, void *out,
		     size_t out_cap)
{
	struct mapper *m = root;
	const char *text = in;
	const char *end = text + in_len;
	const char *word;

	while (text < end) {
		__u64 hash = HASH_INIT;
		struct shard *s;
		int err;

		if (!is_letter(*text)) {
			++text;
			continue;
		}
		for (word = text; text < end && is_letter(*text); ++text)
			hash = hash_add(hash, *text | 0x20);
		s = &m->shard[hash_shard(hash_end(hash), m->shards)];
		err = shard_count(s, hash_end(hash), word, text - word);
		if (err)
			return report(err, s->error ? s - m->shard : -1, out,
				      out_cap);
	}
	return report(0, -1, out, out_cap);
}
PROCLET_METHOD(mapper_count);

ssize_t mapper_finish(void *root, const void *in, size_t in_len, void *out,
		      size_t out_cap)
{
	struct mapper *m = root;
	__u32 i;

	(void)in;
	(void)in_len;
	for (i = 0; i < m->shards; ++i) {
		int err = shard_flush(&m->shard[i]);

		if (err)
			return report(err, i, out, out_cap);
	}
	return report(0, -1, out, out_cap);
}
PROCLET_METHOD(mapper_finish);
