// SPDX-License-Identifier: GPL-2.0-or-later
/* Calls by io_uring: one to a proclet on each node, all under way at once. */
#include <errno.h>
#include <liburing.h>
#include <proclet_uring.h>
#include <stdio.h>

#define NODES	32

static ssize_t where(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	return snprintf(out, out_cap, "sent to node %d: on node %d", *(const int *)in, lproc_node());
}
PROCLET_METHOD(where);

/* Results come in any order; user_data says which it is. */
static int reap(struct io_uring *ring, int n, int *result)
{
	struct io_uring_cqe *cqe;
	int i, err;

	for (i = 0; i < n; i++) {
		err = io_uring_wait_cqe(ring, &cqe);
		if (err)
			return err;
		result[io_uring_cqe_get_data64(cqe)] = cqe->res;
		io_uring_cqe_seen(ring, cqe);
	}
	return 0;
}

/* The ring stays in this process, and so does the root function. */
static int root(int argc, char **argv)
{
	struct proclet_attr attr = PROCLET_ATTR_INIT;
	int nodes[NODES], n = lproc_nodes(nodes, NODES), result[NODES], i, err;
	char answer[NODES][64];
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	proclet_t p = 0;

	err = io_uring_queue_init(NODES, &ring, IORING_SETUP_SQE128);
	if (err)
		return err;
	for (i = 0; i < n && !err; i++) {
		attr.node = nodes[i];
		err = proclet_create(&p, &attr);
		sqe = io_uring_get_sqe(&ring);
		proclet_prep_call(sqe, p, where, &nodes[i], sizeof(nodes[i]),
				  answer[i], sizeof(answer[i]));
		io_uring_sqe_set_data64(sqe, i);
	}
	if (!err)
		err = io_uring_submit(&ring) == n ? reap(&ring, n, result) : -EIO;
	io_uring_queue_exit(&ring);
	for (i = 0; i < n && !err; i++) {
		if (result[i] < 0)
			err = result[i];
		else
			printf("%.*s\n", result[i], answer[i]);
	}
	return err;
}

int main(int argc, char **argv)
{
	return lproc_main("uring", root, argc, argv);
}
