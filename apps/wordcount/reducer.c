// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include "reducer.h"
#include "words.h"

/* Words are only ever added, at the head of a bucket: no lock is needed. */
struct node {
	struct node *next;
	struct word word;
};

struct reducer {
	struct node **buckets;
	__u32 count;
	__u32 reserved;
};

_Static_assert(sizeof(struct reducer) == REDUCER_ROOT_SIZE, "reducer.h is wrong");

ssize_t reducer_init(void *root, const void *in, size_t in_len, void *out,
		     size_t out_cap)
{
	struct reducer *r = root;
	__u32 count;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(count) || r->buckets)
		return -EINVAL;
	memcpy(&count, in, sizeof(count));
	if (count < REDUCER_BUCKETS_MIN || count > REDUCER_BUCKETS_MAX ||
	    count & (count - 1))
		return -EINVAL;
	r->count = count;
	r->buckets = proclet_calloc(count, sizeof(*r->buckets));
	return r->buckets ? 0 : -ENOMEM;
}
PROCLET_METHOD(reducer_init);

static struct node *find(struct node *from, struct node *to,
			 const struct word *w)
{
	for (; from != to; from = from->next)
		if (from->word.hash == w->hash && from->word.len == w->len &&
		    !memcmp(from->word.text, w->text, w->len))
			return from;
	return NULL;
}

static int add(struct node **bucket, const struct word *w)
{
	struct node *head = __atomic_load_n(bucket, __ATOMIC_ACQUIRE);
	struct node *seen = NULL;
	struct node *new = NULL;
	struct node *n;

	for (;;) {
		n = find(head, seen, w);
		if (n) {
			__atomic_fetch_add(&n->word.count, w->count,
					   __ATOMIC_RELAXED);
			proclet_free(new);
			return 0;
		}
		if (!new) {
			size_t size = word_size(w->len);

			new = proclet_malloc(offsetof(struct node, word) + size);
			if (!new)
				return -ENOMEM;
			memcpy(&new->word, w, size);
		}
		/* Others may have put words before what was searched. */
		seen = head;
		new->next = head;
		if (__atomic_compare_exchange_n(bucket, &head, new, false,
						__ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			return 0;
	}
}

ssize_t reducer_add(void *root, const void *in, size_t in_len, void *out,
		    size_t out_cap)
{
	struct reducer *r = root;
	const char *p = in;
	const char *end = p + in_len;

	(void)out;
	(void)out_cap;
	while (p < end) {
		const struct word *w = word_at(p, end - p);
		int err;

		if (!w)
			return -EBADMSG;
		err = add(&r->buckets[w->hash & (r->count - 1)], w);
		if (err)
			return err;
		p += word_size(w->len);
	}
	return 0;
}
PROCLET_METHOD(reducer_add);

/*
 * Put the words of a bucket from the @skip-th on to @p, and count @skip up.
 * False: there was no room for all.
 */
static bool put_bucket(const struct node *n, __u32 *skip, char **p, char *end)
{
	__u32 i;

	for (i = 0; n && i < *skip; ++i)
		n = n->next;
	for (; n; n = n->next) {
		size_t size = word_size(n->word.len);

		if (size > (size_t)(end - *p))
			return false;
		memcpy(*p, &n->word, size);
		*p += size;
		++*skip;
	}
	*skip = 0;
	return true;
}

ssize_t reducer_get(void *root, const void *in, size_t in_len, void *out,
		    size_t out_cap)
{
	struct reducer *r = root;
	struct reducer_cursor c;
	char *p = out;
	char *end = p + out_cap;

	if (in_len != sizeof(c) || out_cap < sizeof(c))
		return -EINVAL;
	memcpy(&c, in, sizeof(c));
	p += sizeof(c);
	while (c.bucket < r->count &&
	       put_bucket(r->buckets[c.bucket], &c.skip, &p, end))
		++c.bucket;
	c.end = c.bucket >= r->count;
	memcpy(out, &c, sizeof(c));
	return p - (char *)out;
}
PROCLET_METHOD(reducer_get);
