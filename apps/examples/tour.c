// SPDX-License-Identifier: GPL-2.0-or-later
/* A method moves the proclet that it runs in to each node, and goes on there. */
#include <proclet.h>
#include <stdio.h>

/*
 * Its local variables go with it: they are on the thread's own stack. So does
 * @out, which is part of the thread until the method returns.
 */
static ssize_t tour(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	int nodes[32], n = lproc_nodes(nodes, 32), i, err;
	char *end = (char *)out + out_cap, *pos = out;

	for (i = 0; i < n; i++) {
		err = proclet_migrate(proclet_self(), nodes[i], 0);
		if (err)
			return err;
		pos += snprintf(pos, end - pos, "stop %d: node %d\n", i + 1, lproc_node());
		if (pos >= end)
			break;
	}
	return pos - (char *)out;
}
PROCLET_METHOD(tour);

static int root(int argc, char **argv)
{
	char diary[1000];
	proclet_t p;
	ssize_t ret;

	ret = proclet_create(&p, NULL);
	if (!ret)
		ret = proclet_call(p, tour, NULL, 0, diary, sizeof(diary));
	if (ret < 0)
		return ret;
	printf("%.*snow it is on node %d\n", (int)ret, diary, proclet_locate(p));
	return 0;
}

int main(int argc, char **argv)
{
	return lproc_main("tour", root, argc, argv);
}
