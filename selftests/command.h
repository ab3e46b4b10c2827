/* SPDX-License-Identifier: GPL-2.0 */
/* Commands of the shell, run on nodes of one's choice; parameters of the module. */
#ifndef PROCLET_SELFTEST_COMMAND_H
#define PROCLET_SELFTEST_COMMAND_H

#include "tap.h"

static ssize_t command(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return system(in) ? -EIO : 0;
}
PROCLET_METHOD(command);

static inline int run_on(int node, const char *text)
{
	struct proclet_attr attr = { 1 << 20, node, PROCLET_PINNED, 8 };
	proclet_t p;

	CHECK_EQ(proclet_create(&p, &attr), 0);
	CHECK_EQ(proclet_call(p, command, text, strlen(text) + 1, NULL, 0), 0);
	CHECK_EQ(proclet_destroy(p), 0);
	return KSFT_PASS;
}

/* On all nodes. */
static inline int set_everywhere(const char *name, unsigned int value)
{
	char text[100];

	snprintf(text, sizeof(text), "echo %u >/sys/module/proclet/parameters/%s", value, name);
	for (int i = 0; i < node_count; i++)
		TRY(run_on(nodes[i], text));
	return KSFT_PASS;
}

#define PEER_ADD_MAX 128

/* The root's: what makes node @peer known to @node again, as vcluster has configured it. */
static inline const char *peer_add(char text[PEER_ADD_MAX], int node, int peer)
{
	char addr[32] = "";

	if (getenv("PROCLET_FAULTS"))	/* transport rdma */
		snprintf(addr, sizeof(addr), "addr=10.77.0.%d", peer);
	snprintf(text, PEER_ADD_MAX, "procletctl peer add n%d n%d id=%d %s", node, peer, peer, addr);
	return text;
}

#endif /* PROCLET_SELFTEST_COMMAND_H */
