// SPDX-License-Identifier: GPL-2.0-or-later
/* A counter on another node: call it, move it, call it again. */
#include <proclet.h>
#include <stdio.h>
#include <string.h>

static ssize_t hit(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	long *hits = root;

	return snprintf(out, out_cap, "%.*s: hit number %ld, on node %d",
			(int)in_len, (const char *)in, ++*hits, lproc_node());
}
PROCLET_METHOD(hit);

static int root(int argc, char **argv)
{
	struct proclet_attr attr = PROCLET_ATTR_INIT;
	int nodes[32], n = lproc_nodes(nodes, 32);
	const char *name = argv[argc - 1];
	char answer[100];
	proclet_t counter;
	ssize_t ret;
	int i;

	attr.node = nodes[n - 1];
	attr.root_size = sizeof(long);
	ret = proclet_create(&counter, &attr);
	for (i = 0; i < n && ret >= 0; ++i) {
		ret = proclet_call(counter, hit, name, strlen(name), answer, sizeof(answer));
		if (ret >= 0)
			printf("%.*s\n", (int)ret, answer);
		if (ret >= 0)
			ret = proclet_migrate(counter, nodes[i], 0);
	}
	if (ret < 0)
		fprintf(stderr, "hello: %s\n", strerror(-ret));
	return ret < 0;
}

int main(int argc, char **argv)
{
	return lproc_main("hello", root, argc, argv);
}
