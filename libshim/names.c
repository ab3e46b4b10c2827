// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Names of proclets. The table is in the root's member, which does not know what
 * proclets live; so a name that turns out to be a dead one's is removed here, by
 * whoever finds it.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

/* Attempts to take a name over from a dead proclet, against others who try. */
#define TRIES	4

static int name_fill(struct proclet_name *to, const char *name, proclet_t p)
{
	size_t len = name ? strnlen(name, sizeof(to->name)) : 0;

	if (!len || len == sizeof(to->name))
		return -EINVAL;
	memset(to, 0, sizeof(*to));
	memcpy(to->name, name, len);
	to->id = p;
	return 0;
}

static int name_op(__u32 code, const struct proclet_name *name, proclet_t *p)
{
	struct proclet_op op = {
		.op = code,
		.target = shim.root_node,
		.in = (__u64)name,
		.in_len = sizeof(*name),
		.out = (__u64)p,
		.out_cap = p ? sizeof(*p) : 0,
	};

	return shim_op(&op);
}

/* Whose is it? -ENOENT: nobody's, now at the latest. */
static int name_owner(struct proclet_name *name, proclet_t *p)
{
	int err;

	name->id = 0;
	err = name_op(PROCLET_OP_LOOKUP, name, p);
	if (err || proclet_locate(*p) != -ESTALE)
		return err;
	name->id = *p;
	err = name_op(PROCLET_OP_UNPUBLISH, name, NULL);
	return err ? err : -ENOENT;
}

PUBLIC int proclet_publish(const char *name, proclet_t p)
{
	struct proclet_name n;
	proclet_t owner;
	int err, i;

	err = name_fill(&n, name, p);
	if (err)
		return err;
	err = proclet_locate(p);
	if (err < 0)
		return err;
	for (i = 0; i < TRIES; i++) {
		n.id = p;
		err = name_op(PROCLET_OP_PUBLISH, &n, NULL);
		if (err != -EEXIST)
			return err;
		err = name_owner(&n, &owner);
		if (err != -ENOENT)
			return err ? err : -EEXIST;
	}
	return -EEXIST;
}

PUBLIC int proclet_lookup(const char *name, proclet_t *p)
{
	struct proclet_name n;
	proclet_t found = 0;
	int err;

	err = name_fill(&n, name, 0);
	if (!err)
		err = name_owner(&n, &found);
	if (!err)
		*p = found;
	return err;
}

PUBLIC int proclet_unpublish(const char *name)
{
	struct proclet_name n;
	int err;

	err = name_fill(&n, name, 0);
	return err ? err : name_op(PROCLET_OP_UNPUBLISH, &n, NULL);
}
