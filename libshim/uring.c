// SPDX-License-Identifier: GPL-2.0-or-later
/* Submission queue entries for operations on proclets. Only fills them in. */
#include <errno.h>
#include <linux/io_uring.h>
#include <proclet_uring.h>
#include <string.h>

#include "internal.h"

/* Bytes of an entry before its command, and the command's in one of 128 bytes. */
#define SQE_CMD		48
#define SQE_CMD_128	80

_Static_assert(offsetof(struct io_uring_sqe, cmd) == SQE_CMD, "sqe");
_Static_assert(sizeof(struct proclet_uring_op) <= sizeof(struct io_uring_sqe) - SQE_CMD, "sqe");
_Static_assert(sizeof(struct proclet_uring_event) == sizeof(struct proclet_uring_op), "sqe");
_Static_assert(sizeof(struct proclet_uring_cancel) == sizeof(struct proclet_uring_op), "sqe");
_Static_assert(sizeof(struct proclet_uring_op128) <= SQE_CMD_128, "sqe");

static void prep(struct io_uring_sqe *sqe, __u32 cmd, const void *args, size_t size)
{
	__u64 user_data = sqe->user_data;

	memset(sqe, 0, SQE_CMD);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = shim.fd;
	sqe->cmd_op = cmd;
	sqe->user_data = user_data;
	memcpy(sqe->cmd, args, size);
}

static void prep128(struct io_uring_sqe *sqe, const struct proclet_uring_op128 *args)
{
	/* Surely one of 64 bytes: the kernel refuses it, its neighbour is spared. */
	bool too_small = (unsigned long)sqe & (SQE_CMD + SQE_CMD_128 - 1);

	prep(sqe, PROCLET_URING_OP128, args,
	     too_small ? sizeof(*sqe) - SQE_CMD : sizeof(*args));
}

PUBLIC int lproc_fd(void)
{
	return shim.fd;
}

/* A method that is not registered leaves it an operation that does not exist. */
static void fill_call(struct proclet_op *op, proclet_t p, proclet_method_t m,
		      const void *in, size_t in_len, void *out, size_t out_cap)
{
	memset(op, 0, sizeof(*op));
	if (!method_index(m, &op->method))
		op->op = PROCLET_OP_CALL;
	op->target = p;
	op->in = (__u64)in;
	op->in_len = in_len;
	op->out = (__u64)out;
	op->out_cap = out_cap;
}

PUBLIC void proclet_prep_call(struct io_uring_sqe *sqe, proclet_t p, proclet_method_t m,
			      const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct proclet_uring_op128 args = {};

	fill_call(&args.op, p, m, in, in_len, out, out_cap);
	prep128(sqe, &args);
}

PUBLIC void proclet_prep_migrate(struct io_uring_sqe *sqe, proclet_t p, int node,
				 unsigned int flags)
{
	const struct proclet_migrate_args where = { .node = node, .flags = flags };
	struct proclet_uring_op128 args = {
		.op.op = PROCLET_OP_MIGRATE,
		.op.target = p,
		.op.in_len = sizeof(where),
		.flags = PROCLET_URING_DATA,
	};

	_Static_assert(sizeof(where) == sizeof(args.data), "migrate");
	memcpy(&args.data, &where, sizeof(where));
	prep128(sqe, &args);
}

PUBLIC int proclet_op_call(struct proclet_native_op *op, proclet_t p, proclet_method_t m,
			   const void *in, size_t in_len, void *out, size_t out_cap)
{
	memset(op, 0, sizeof(*op));
	op->size = sizeof(*op);
	fill_call(&op->op, p, m, in, in_len, out, out_cap);
	return op->op.op ? 0 : -EINVAL;
}

PUBLIC void proclet_prep_op(struct io_uring_sqe *sqe, const struct proclet_native_op *op)
{
	const struct proclet_uring_op args = { .op = (__u64)op };

	prep(sqe, PROCLET_URING_OP, &args, sizeof(args));
}

PUBLIC void proclet_prep_event(struct io_uring_sqe *sqe, __u64 after,
			       struct proclet_event *event)
{
	const struct proclet_uring_event args = { .after = after, .event = (__u64)event };

	prep(sqe, PROCLET_URING_EVENT, &args, sizeof(args));
}

PUBLIC void proclet_prep_cancel(struct io_uring_sqe *sqe, __u64 user_data)
{
	const struct proclet_uring_cancel args = { .user_data = user_data };

	prep(sqe, PROCLET_URING_CANCEL, &args, sizeof(args));
}
