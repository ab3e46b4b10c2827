// SPDX-License-Identifier: GPL-2.0-or-later
/* A thread takes the proclet that it runs in to each node, and goes on there. */
#include <proclet.h>
#include <stdio.h>

struct trip {
	proclet_thread_t guide;
	char diary[1000];
};

/* Its local variables go with it: they are on the thread's own stack. */
static void *tour(void *arg)
{
	struct trip *trip = arg;
	int nodes[32], n = lproc_nodes(nodes, 32), i;
	long err;
	char *pos = trip->diary;

	for (i = 0; i < n; i++) {
		err = proclet_migrate(proclet_self(), nodes[i], 0);
		if (err)
			return (void *)err;
		pos += sprintf(pos, "stop %d: node %d\n", i + 1, lproc_node());
	}
	return NULL;
}

/* The thread goes on when the method has returned. */
static ssize_t leave(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct trip *trip = root;

	return proclet_thread_create(&trip->guide, tour, trip);
}
PROCLET_METHOD(leave);

static ssize_t tell(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct trip *trip = root;
	void *err;
	int ret = proclet_thread_join(trip->guide, &err);

	if (ret || err)
		return ret ? ret : (long)err;
	return snprintf(out, out_cap, "%snow on node %d\n", trip->diary, lproc_node());
}
PROCLET_METHOD(tell);

static int root(int argc, char **argv)
{
	struct proclet_attr attr = PROCLET_ATTR_INIT;
	char diary[1000];
	proclet_t p;
	ssize_t ret;

	attr.root_size = sizeof(struct trip);
	ret = proclet_create(&p, &attr);
	if (!ret)
		ret = proclet_call(p, leave, NULL, 0, NULL, 0);
	if (!ret)
		ret = proclet_call(p, tell, NULL, 0, diary, sizeof(diary));
	if (ret < 0)
		return ret;
	printf("%.*s", (int)ret, diary);
	return 0;
}

int main(int argc, char **argv)
{
	return lproc_main("tour", root, argc, argv);
}
