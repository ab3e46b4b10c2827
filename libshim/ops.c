// SPDX-License-Identifier: GPL-2.0-or-later
/* Operations on proclets and the logical process, other than calls. */
#include <errno.h>
#include <string.h>

#include "heap.h"
#include "internal.h"

static int create_at(proclet_t *p, __u32 node, const struct proclet_create_args *args)
{
	struct proclet_op op = {
		.op = PROCLET_OP_CREATE,
		.target = node,
		.in = (__u64)args,
		.in_len = sizeof(*args),
		.out = (__u64)p,
		.out_cap = sizeof(*p),
	};

	return shim_op(&op);
}

/* Nodes in turn; one that cannot is passed over. */
static int create_anywhere(proclet_t *p, const struct proclet_create_args *args)
{
	static unsigned int turn;
	struct proclet_members m;
	unsigned int first, i;
	int err;

	err = dev_members(&m, 0, 0, 0);
	if (err)
		return err;
	first = __atomic_fetch_add(&turn, 1, __ATOMIC_RELAXED);
	for (i = 0; i < m.count; i++) {
		err = create_at(p, m.ids[(first + i) % m.count], args);
		if (err != -EHOSTUNREACH && err != -ENOMEM)
			return err;
	}
	return err;
}

PUBLIC int proclet_create(proclet_t *p, const struct proclet_attr *attr)
{
	static const struct proclet_attr init = PROCLET_ATTR_INIT;
	struct proclet_create_args args = {};
	proclet_t id = 0;
	int err;

	if (!attr)
		attr = &init;
	if (attr->node < 0 || attr->node > PROCLET_MAX_NODES ||
	    (attr->flags & ~PROCLET_CREATE_FLAGS) ||
	    attr->capacity < PROCLET_CAPACITY_MIN ||
	    attr->capacity > PROCLET_CAPACITY_MAX ||
	    attr->root_size > attr->capacity - PROCLET_ROOT_OFF)
		return -EINVAL;
	args.capacity = attr->capacity;
	args.root_size = attr->root_size;
	_Static_assert(PROCLET_PINNED == PROCLET_CREATE_PINNED &&
		       PROCLET_DURABLE_MOVE == PROCLET_CREATE_DURABLE_MOVE, "flags");
	args.flags = attr->flags;
	err = attr->node ? create_at(&id, attr->node, &args) :
		create_anywhere(&id, &args);
	if (!err)
		*p = id;
	return err;
}

PUBLIC int proclet_destroy(proclet_t p)
{
	struct proclet_op op = { .op = PROCLET_OP_DESTROY, .target = p };

	return proclet_valid(p) ? shim_op(&op) : -ESTALE;
}

PUBLIC int proclet_get(proclet_t p)
{
	struct proclet_op op = { .op = PROCLET_OP_GET, .target = p };

	return proclet_valid(p) ? shim_op(&op) : -ESTALE;
}

PUBLIC int proclet_put(proclet_t p)
{
	struct proclet_op op = { .op = PROCLET_OP_PUT, .target = p };

	return proclet_valid(p) ? shim_op(&op) : -ESTALE;
}

PUBLIC int proclet_locate(proclet_t p)
{
	struct proclet_op op = { .op = PROCLET_OP_LOCATE, .target = p };

	if (!proclet_valid(p))
		return -ESTALE;
	return proclet_here(p) ? (int)shim.node : shim_op(&op);
}

PUBLIC int proclet_migrate_stat(proclet_t p, int node, unsigned int flags,
				struct proclet_move *move)
{
	struct proclet_migrate_args args = { .node = node, .flags = flags };
	struct proclet_op op = {
		.op = PROCLET_OP_MIGRATE,
		.target = p,
		.in = (__u64)&args,
		.in_len = sizeof(args),
		.out = (__u64)move,
		.out_cap = move ? sizeof(*move) : 0,
	};

	if (move)
		memset(move, 0, sizeof(*move));
	if (node < 1 || node > PROCLET_MAX_NODES)
		return -EHOSTUNREACH;
	if (flags > PROCLET_MOVE_POSTCOPY)
		return -EINVAL;
	if (!proclet_valid(p))
		return -ESTALE;
	return shim_op(&op);
}

PUBLIC int proclet_migrate(proclet_t p, int node, unsigned int flags)
{
	return proclet_migrate_stat(p, node, flags, NULL);
}

PUBLIC int lproc_stats(int node, struct proclet_stats *stats)
{
	struct proclet_op op = {
		.op = PROCLET_OP_STATS,
		.target = node,
		.out = (__u64)stats,
		.out_cap = sizeof(*stats),
	};

	if (node < 0 || node > PROCLET_MAX_NODES)
		return -EHOSTUNREACH;
	memset(stats, 0, sizeof(*stats));
	return shim_op(&op);
}

PUBLIC int lproc_node(void)
{
	return shim.node;
}

PUBLIC int lproc_nodes(int *ids, int cap)
{
	struct proclet_members m;
	int err, i;

	err = dev_members(&m, 0, 0, 0);
	if (err)
		return err;
	for (i = 0; i < cap && i < (int)m.count; i++)
		ids[i] = m.ids[i];
	return m.count;
}

PUBLIC proclet_t proclet_self(void)
{
	struct proclet_tcb *tcb = tcb_self();

	return tcb ? tcb->proclet : 0;
}

PUBLIC void proclet_pin(void)
{
	struct proclet_tcb *tcb = tcb_self();

	if (tcb)
		WRITE_ONCE(tcb->pin, tcb->pin + 1);
}

PUBLIC void proclet_unpin(void)
{
	struct proclet_tcb *tcb = tcb_self();

	if (tcb && tcb->pin)
		WRITE_ONCE(tcb->pin, tcb->pin - 1);
}

int heap_grow(struct proclet_heap *h, size_t brk)
{
	struct proclet_brk b = { .size = sizeof(b), .proclet = h->id, .brk = brk };
	int err;

	do
		err = dev_ioctl(PROCLET_IOC_BRK, &b);
	while (err == -EINTR);
	return err;
}
