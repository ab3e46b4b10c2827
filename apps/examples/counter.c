// SPDX-License-Identifier: GPL-2.0-or-later
/* A counter on another node: call it, move it, call it again. */
#include <proclet.h>
#include <stdio.h>

/* What the proclet holds: its root object. Zeroed when it is created. */
struct counter {
	long count;
};

struct answer {
	long count;
	int node;
};

static ssize_t add(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct counter *c = root;
	struct answer *answer = out;

	c->count += *(const long *)in;
	answer->count = c->count;
	answer->node = lproc_node();
	return sizeof(*answer);
}
PROCLET_METHOD(add);

static int root(int argc, char **argv)
{
	struct proclet_attr attr = PROCLET_ATTR_INIT;
	int nodes[32], n = lproc_nodes(nodes, 32);
	struct answer answer;
	proclet_t counter;
	ssize_t ret;
	long step;
	int i;

	attr.node = nodes[n - 1];
	attr.root_size = sizeof(struct counter);
	ret = proclet_create(&counter, &attr);
	for (i = 0; i < n && ret >= 0; i++) {
		step = i + 1;
		ret = proclet_call(counter, add, &step, sizeof(step), &answer, sizeof(answer));
		if (ret < 0)
			break;
		printf("added %ld: %ld, on node %d\n", step, answer.count, answer.node);
		ret = proclet_migrate(counter, nodes[i], 0);
	}
	return ret < 0 ? ret : 0;
}

int main(int argc, char **argv)
{
	return lproc_main("counter", root, argc, argv);
}
