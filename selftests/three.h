/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Three nodes, with a proclet on each that does there what it is told: keys, commands, what
 * the node says of its peers. Nodes 2 and 3 can be parted, so that node 2's member takes
 * its node's place.
 */
#ifndef PROCLET_SELFTEST_THREE_H
#define PROCLET_SELFTEST_THREE_H

#include <fcntl.h>
#include <linux/keyctl.h>
#include <sys/syscall.h>

#include "command.h"
#include "tap.h"

#define BOUND 30		/* seconds */
#define PORT 7471
#define SECRET "the secret of these tests, 0123456789abcdef"
#define NODES "/sys/kernel/config/proclet"

struct thing {
	__u64 counter;
	unsigned char data[64 << 10];
};

static ssize_t increment(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	((struct thing *)root)->counter++;
	return 0;
}
PROCLET_METHOD(increment);

/* From this node to another. */
static ssize_t relay(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	proclet_t p;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(p))
		return -EINVAL;
	memcpy(&p, in, sizeof(p));
	return proclet_call(p, increment, NULL, 0, NULL, 0);
}
PROCLET_METHOD(relay);

/* What a file says. */
static ssize_t look(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	int fd = open(in, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	(void)root;
	(void)in_len;
	if (fd < 0)
		return -errno;
	n = read(fd, out, out_cap);
	close(fd);
	return n < 0 ? -errno : n;
}
PROCLET_METHOD(look);

/* "file\0text": write it, for the errno. The keys are looked for in our keyrings. */
static ssize_t store(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const char *path = in, *text = path + strlen(path) + 1;
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	(void)root;
	(void)in_len;
	(void)out;
	(void)out_cap;
	if (fd < 0)
		return -errno;
	syscall(SYS_keyctl, KEYCTL_LINK, KEY_SPEC_USER_KEYRING, KEY_SPEC_PROCESS_KEYRING);
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}
PROCLET_METHOD(store);

/* "description\0secret"; no secret: revoke it. */
static ssize_t set_key(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const char *desc = in, *secret = desc + strlen(desc) + 1;
	long key;

	(void)root;
	(void)in_len;
	(void)out;
	(void)out_cap;
	if (*secret) {
		key = syscall(SYS_add_key, "logon", desc, secret, strlen(secret),
			      KEY_SPEC_USER_KEYRING);
		return key < 0 ? -errno : 0;
	}
	key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "logon", desc, 0);
	return key < 0 || syscall(SYS_keyctl, KEYCTL_REVOKE, key) ? -errno : 0;
}
PROCLET_METHOD(set_key);

static proclet_t on[4];		/* pinned, on the node of that number */
static bool rdma;

static inline int run(int node, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return proclet_call(on[node], command, text, strlen(text) + 1, NULL, 0);
}

static inline int call_pair(int node, proclet_method_t method, const char *first,
			    const char *second)
{
	char both[512];
	int n = snprintf(both, sizeof(both), "%s%c%s", first, 0, second);

	return proclet_call(on[node], method, both, n + 1, NULL, 0);
}

static inline int add_key(int node, const char *desc, const char *secret)
{
	return call_pair(node, set_key, desc, secret);
}

static inline int set_keys(int node, const char *keys)
{
	char path[64];

	snprintf(path, sizeof(path), NODES "/n%d/keys", node);
	return call_pair(node, store, path, keys);
}

/*
 * The same by a program of its own: store() gives its thread other credentials, and a
 * queue pair's file is for those that it was opened with.
 */
static inline int use_keys(int node, const char *keys)
{
	return run(node, "procletctl node keys n%d %s", node, keys);
}

/* What @node says of its peer, without the newline. */
static inline const char *status(int node, const char *peer)
{
	static char text[4][256];
	char path[128];
	ssize_t n;

	snprintf(path, sizeof(path), NODES "/n%d/peers/%s/status", node, peer);
	n = proclet_call(on[node], look, path, strlen(path) + 1, text[node],
			 sizeof(text[node]) - 1);
	text[node][n > 0 ? n - 1 : 0] = 0;
	return text[node];
}

static inline double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* Until @node says something of its peer that has @wanted in it. */
static inline int wait_status(int node, const char *peer, const char *wanted)
{
	struct timespec ms = { 0, 20000000 };
	double end = seconds() + BOUND;
	const char *text;

	while (!strstr(text = status(node, peer), wanted) && seconds() < end)
		nanosleep(&ms, NULL);
	if (!strstr(text, wanted))
		diag("n%d of %s: expected \"%s\", saw \"%s\"", node, peer, wanted, text);
	CHECK(strstr(text, wanted));
	return KSFT_PASS;
}

static inline int part(void)
{
	CHECK_EQ(run(2, "procletctl peer del n2 n3"), 0);
	return KSFT_PASS;
}

static inline int meet(void)
{
	CHECK_EQ(run(2, "procletctl peer add n2 n3 id=3 %s", rdma ? "addr=10.77.0.3" : ""), 0);
	return KSFT_PASS;
}

/* Nodes 2 and 3 are connected, and their members know each other. */
static inline int wait_link(void)
{
	struct timespec ms = { 0, 5000000 };
	double end = seconds() + BOUND;

	TRY(wait_status(2, "n3", "up"));
	TRY(wait_status(3, "n2", "up"));
	while (proclet_call(on[2], relay, &on[3], sizeof(on[3]), NULL, 0)) {
		CHECK_GE(end, seconds());
		nanosleep(&ms, NULL);
	}
	return KSFT_PASS;
}

static inline int meet_again(void)
{
	TRY(part());
	TRY(meet());
	return wait_link();
}

static inline int setup(void)
{
	struct proclet_attr attr = { 1 << 20, 0, PROCLET_PINNED, sizeof(struct thing) };
	char text[32] = "";

	TRY(tap_nodes(3));
	for (int i = 0; i < 3; i++) {
		attr.node = nodes[i];
		CHECK_EQ(proclet_create(&on[i + 1], &attr), 0);
		made[made_count++] = on[i + 1];
		CHECK_EQ(nodes[i], i + 1);
	}
	CHECK_GE(proclet_call(on[2], look, "/sys/class/proclet/n2/transport", 32, text,
			      sizeof(text) - 1), 4);
	rdma = !strncmp(text, "rdma", 4);
	for (int i = 1; i <= 3; i++)
		CHECK_EQ(use_keys(i, "proclet:cluster"), 0);
	/* Another test may have ended before its end. */
	if (!*status(2, "n3"))
		TRY(meet());
	return wait_link();
}

static inline long long counter(int node, const char *peer, int column)
{
	static char text[8192];
	char name[8], a[64], b[64];
	long long v[2];
	ssize_t n = proclet_call(on[node], look, "/proc/proclet/peers", 20, text,
				 sizeof(text) - 1);

	snprintf(name, sizeof(name), "n%d", node);
	text[n > 0 ? n : 0] = 0;
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (sscanf(line, "%63s %63s %*d %*s %*x %*d %lld %*d %*d %lld", a, b, &v[0],
			   &v[1]) == 4 && !strcmp(a, name) && !strcmp(b, peer))
			return v[column];
	return -1;
}
#define MSGS_OUT 0
#define CONNECTS 1

/* The impostor is to be node 2, for node 3. */
static inline int take_node2(void)
{
	TRY(setup());
	if (!rdma)
		SKIP("there is no way in from outside");
	for (int i = 1; i <= 3; i++)
		CHECK_EQ(add_key(i, "proclet:tests", SECRET), 0);
	CHECK_EQ(use_keys(3, "proclet:cluster proclet:tests"), 0);
	return part();
}

static inline int give_node2_back(void)
{
	for (int i = 1; i <= 3; i++)
		CHECK_EQ(use_keys(i, "proclet:cluster"), 0);
	TRY(meet());
	return wait_link();
}

#endif /* PROCLET_SELFTEST_THREE_H */
