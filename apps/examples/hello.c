// SPDX-License-Identifier: GPL-2.0-or-later
/* A proclet on each node says hello. */
#include <proclet.h>
#include <stdio.h>
#include <string.h>

/* A method: runs in a proclet, on the node where that is. */
static ssize_t greet(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	return snprintf(out, out_cap, "Hello %.*s, this is node %d.",
			(int)in_len, (const char *)in, lproc_node());
}
PROCLET_METHOD(greet);

/* Runs in one member only. The others serve. */
static int root(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "world";
	struct proclet_attr attr = PROCLET_ATTR_INIT;
	int nodes[32], n = lproc_nodes(nodes, 32);
	char answer[100];
	proclet_t p;
	ssize_t ret;
	int i;

	for (i = 0; i < n; i++) {
		attr.node = nodes[i];
		ret = proclet_create(&p, &attr);
		if (!ret)
			ret = proclet_call(p, greet, name, strlen(name), answer, sizeof(answer));
		if (ret < 0)
			return ret;	/* lproc_main() prints it */
		printf("%.*s\n", (int)ret, answer);
		proclet_destroy(p);
	}
	return 0;
}

int main(int argc, char **argv)
{
	return lproc_main("hello", root, argc, argv);
}
