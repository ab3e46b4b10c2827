// SPDX-License-Identifier: GPL-2.0
/*
 * Names of proclets: a table in one of the members, by the library's convention
 * the root's. It only keeps what it is told: whether a proclet lives is known
 * where the proclet is.
 */
#include <linux/jhash.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "lproc.h"

#define NAMES_BUCKETS	4096

struct name {
	struct hlist_node entry;
	struct proclet_name name;
};

/**
 * struct names - the table, made with the first name
 * @lock: protects what follows
 * @seed: of the hash: nobody can choose names that collide
 * @count: of names
 * @buckets: struct name
 */
struct names {
	spinlock_t lock;
	u32 seed;
	u32 count;
	struct hlist_head buckets[NAMES_BUCKETS];
};

static struct names *names_get(struct lproc *lproc, bool create)
{
	/* Pairs with the cmpxchg() below. */
	struct names *names = smp_load_acquire(&lproc->names), *old;

	if (names || !create)
		return names;
	names = kvzalloc(sizeof(*names), GFP_MEMBER);
	if (!names)
		return NULL;
	spin_lock_init(&names->lock);
	names->seed = get_random_u32();
	old = cmpxchg(&lproc->names, NULL, names);
	if (!old)
		return names;
	kvfree(names);
	return old;
}

void names_free(struct lproc *lproc)
{
	struct names *names = lproc->names;
	struct hlist_node *tmp;
	struct name *n;
	u32 i;

	for (i = 0; names && i < NAMES_BUCKETS; i++)
		hlist_for_each_entry_safe(n, tmp, &names->buckets[i], entry)
			kfree(n);
	kvfree(names);
	lproc->names = NULL;
}

static struct hlist_head *bucket_of(struct names *names, const char *name)
{
	return &names->buckets[jhash(name, PROCLET_NAME_MAX, names->seed) % NAMES_BUCKETS];
}

static struct name *name_find(struct hlist_head *bucket, const char *name)
{
	struct name *n;

	hlist_for_each_entry(n, bucket, entry)
		if (!memcmp(n->name.name, name, PROCLET_NAME_MAX))
			return n;
	return NULL;
}

static int name_publish(struct lproc *lproc, const struct proclet_name *name)
{
	struct hlist_head *bucket;
	struct names *names;
	struct name *n;
	int err = 0;

	if (!wire_id_ok(name->id))
		return -ESTALE;
	names = names_get(lproc, true);
	n = kmalloc(sizeof(*n), GFP_MEMBER);
	if (!names || !n) {
		kfree(n);
		return -ENOMEM;
	}
	n->name = *name;
	bucket = bucket_of(names, name->name);
	spin_lock(&names->lock);
	if (name_find(bucket, name->name)) {
		err = -EEXIST;
	} else if (names->count == PROCLET_NAMES_MAX) {
		err = -ENOSPC;
	} else {
		hlist_add_head(&n->entry, bucket);
		names->count++;
	}
	spin_unlock(&names->lock);
	if (err)
		kfree(n);
	return err;
}

static int name_unpublish(struct lproc *lproc, const struct proclet_name *name)
{
	struct names *names = names_get(lproc, false);
	struct name *n;

	if (!names)
		return -ENOENT;
	spin_lock(&names->lock);
	n = name_find(bucket_of(names, name->name), name->name);
	if (n && name->id && n->name.id != name->id)
		n = NULL;
	if (n) {
		hlist_del(&n->entry);
		names->count--;
	}
	spin_unlock(&names->lock);
	kfree(n);
	return n ? 0 : -ENOENT;
}

static int name_lookup(struct lproc *lproc, const struct proclet_name *name, u64 *id)
{
	struct names *names = names_get(lproc, false);
	struct name *n;

	if (name->id)
		return -EINVAL;
	if (!names)
		return -ENOENT;
	spin_lock(&names->lock);
	n = name_find(bucket_of(names, name->name), name->name);
	if (n)
		*id = n->name.id;
	spin_unlock(&names->lock);
	return n ? 0 : -ENOENT;
}

static bool name_ok(const char *name)
{
	size_t len = strnlen(name, PROCLET_NAME_MAX);

	return len && len < PROCLET_NAME_MAX &&
	       !memchr_inv(name + len, 0, PROCLET_NAME_MAX - len);
}

/* PROCLET_OP_PUBLISH, _UNPUBLISH or _LOOKUP has come to its node. */
void names_op(struct op *op)
{
	struct lproc *lproc = op->lproc;
	struct proclet_name name;
	int err = -EINVAL;
	u64 id = 0;

	if (op->payload.len == sizeof(name)) {
		payload_read(&op->payload, &name, sizeof(name));
		if (!name_ok(name.name))
			err = -EINVAL;
		else if (op->code == PROCLET_OP_PUBLISH)
			err = name_publish(lproc, &name);
		else if (op->code == PROCLET_OP_UNPUBLISH)
			err = name_unpublish(lproc, &name);
		else
			err = name_lookup(lproc, &name, &id);
	}
	op_reply(op, err, &id, id ? sizeof(id) : 0);
}
