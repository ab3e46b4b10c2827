// SPDX-License-Identifier: GPL-2.0-or-later
/* Two proclets on two nodes: a method that calls a method that calls ... */
#include <errno.h>
#include <proclet.h>
#include <stdio.h>

struct ball {
	proclet_t to, from;
	int hits_left;
};

/*
 * Write who hit the ball, and let the other one write behind that. Arguments
 * and results are copied by each call: no pointers in them, unless into a
 * proclet that is where they are used.
 */
static ssize_t hit(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct ball *ball = in;
	struct ball next = { ball->from, ball->to, ball->hits_left - 1 };
	int len = snprintf(out, out_cap, "%s, on node %d\n",
			   next.hits_left % 2 ? "ping" : "pong", lproc_node());
	ssize_t ret;

	if (!next.hits_left)
		return len;
	if (len >= (int)out_cap)
		return -ENOSPC;
	ret = proclet_call(next.to, hit, &next, sizeof(next), (char *)out + len, out_cap - len);
	return ret < 0 ? ret : len + ret;
}
PROCLET_METHOD(hit);

static int root(int argc, char **argv)
{
	struct proclet_attr attr = PROCLET_ATTR_INIT;
	int nodes[32], n = lproc_nodes(nodes, 32);
	struct ball ball = { .hits_left = 6 };
	char rally[1000];
	ssize_t ret;

	attr.node = nodes[0];
	ret = proclet_create(&ball.to, &attr);
	attr.node = nodes[n - 1];
	if (!ret)
		ret = proclet_create(&ball.from, &attr);
	if (!ret)
		ret = proclet_call(ball.to, hit, &ball, sizeof(ball), rally, sizeof(rally));
	if (ret < 0)
		return ret;
	printf("%.*s", (int)ret, rally);
	return 0;
}

int main(int argc, char **argv)
{
	return lproc_main("ping_pong", root, argc, argv);
}
