/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/proclet without the library. Functions return 0, a value or -errno. */
#ifndef PROCLET_SELFTEST_RAW_H
#define PROCLET_SELFTEST_RAW_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/proclet.h>

#define MIB (1ULL << 20)
#define PAGE 4096ULL

static inline __u32 raw_node(void)
{
	const char *node = getenv("PROCLET_NODE");

	return node ? strtoul(node, NULL, 10) : 0;
}

/* A number of its own for every process, so that runs never meet. */
static inline __u64 raw_own_run(void)
{
	const char *run = getenv("PROCLET_RUN");

	return (run ? strtoull(run, NULL, 16) : 0) ^ ((__u64)getpid() << 32);
}

static inline int raw_ioctl(int fd, unsigned long cmd, void *arg)
{
	int ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

static inline int raw_open(void)
{
	int fd = open("/dev/proclet", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static inline void raw_ident(struct proclet_ident *ident)
{
	__u32 lo, hi;

	asm volatile("xgetbv" : "=a" (lo), "=d" (hi) : "c" (0));
	memset(ident, 0, sizeof(*ident));
	memset(ident->build_id, 0xab, 20);
	ident->build_id_len = 20;
	ident->page_size = PAGE;
	ident->text[0] = 0x400000;
	ident->text[1] = 0x401000;
	ident->shim[0] = 0x7f0000000000;
	ident->shim[1] = 0x7f0000001000;
	ident->xfeatures = (__u64)hi << 32 | lo;
}

static inline void raw_join_fill(struct proclet_join *join, const char *name, __u64 run)
{
	memset(join, 0, sizeof(*join));
	join->size = sizeof(*join);
	join->node = raw_node();
	snprintf(join->name, sizeof(join->name), "%s", name);
	join->run = run;
	join->flags = PROCLET_JOIN_SURVIVE;
	raw_ident(&join->ident);
}

static inline int raw_join(int fd, const char *name, __u64 run)
{
	struct proclet_join join;

	raw_join_fill(&join, name, run);
	return raw_ioctl(fd, PROCLET_IOC_JOIN, &join);
}

static inline int raw_members(int fd, __u32 wait_for, __u32 timeout_ms,
			      struct proclet_members *m)
{
	struct proclet_members mine;
	int ret;

	if (!m)
		m = &mine;
	do {
		memset(m, 0, sizeof(*m));
		m->size = sizeof(*m);
		m->wait_for = wait_for;
		m->timeout_ms = timeout_ms;
		ret = raw_ioctl(fd, PROCLET_IOC_MEMBERS, m);
	} while (ret == -EINTR);
	return ret;
}

static inline int raw_exit(int fd, int status)
{
	struct proclet_exit e = { .size = sizeof(e), .status = status };

	return raw_ioctl(fd, PROCLET_IOC_EXIT, &e);
}

/* The operation's own error, or the ioctl's. */
static inline __s64 raw_op(int fd, const struct proclet_op *op)
{
	struct proclet_native_op n = { .size = sizeof(n), .op = *op };
	int ret = raw_ioctl(fd, PROCLET_IOC_OP, &n);

	return ret ? ret : n.result;
}

static inline __s64 raw_call(int fd, __u64 proclet, __u32 method,
			     const void *in, __u64 in_len, void *out, __u64 out_cap)
{
	struct proclet_op op = {
		.op = PROCLET_OP_CALL,
		.method = method,
		.target = proclet,
		.in = (uintptr_t)in,
		.in_len = in_len,
		.out = (uintptr_t)out,
		.out_cap = out_cap,
	};

	return raw_op(fd, &op);
}

static inline __s64 raw_create(int fd, const struct proclet_create_args *args,
			       __u64 node, __u64 *id)
{
	struct proclet_op op = {
		.op = PROCLET_OP_CREATE,
		.target = node,
		.in = (uintptr_t)args,
		.in_len = sizeof(*args),
		.out = (uintptr_t)id,
		.out_cap = sizeof(*id),
	};

	return raw_op(fd, &op);
}

/* A proclet here; 0: none. */
static inline __u64 raw_proclet(int fd, __u64 capacity)
{
	struct proclet_create_args args = { .capacity = capacity, .root_size = 64 };
	__u64 id = 0;
	__s64 ret = raw_create(fd, &args, 0, &id);

	return ret < 0 ? 0 : id;
}

static inline __s64 raw_destroy(int fd, __u64 proclet)
{
	struct proclet_op op = { .op = PROCLET_OP_DESTROY, .target = proclet };

	return raw_op(fd, &op);
}

static inline __s64 raw_locate(int fd, __u64 proclet)
{
	struct proclet_op op = { .op = PROCLET_OP_LOCATE, .target = proclet };

	return raw_op(fd, &op);
}

static inline __s64 raw_migrate(int fd, __u64 proclet, __u32 node)
{
	struct proclet_migrate_args args = { .node = node };
	struct proclet_move move;
	struct proclet_op op = {
		.op = PROCLET_OP_MIGRATE,
		.target = proclet,
		.in = (uintptr_t)&args,
		.in_len = sizeof(args),
		.out = (uintptr_t)&move,
		.out_cap = sizeof(move),
	};

	return raw_op(fd, &op);
}

static inline int raw_brk(int fd, __u64 proclet, __u64 brk)
{
	struct proclet_brk b = { .size = sizeof(b), .proclet = proclet, .brk = brk };

	return raw_ioctl(fd, PROCLET_IOC_BRK, &b);
}

static inline int raw_stack(int fd, __u32 what, __u64 *stack)
{
	struct proclet_stack s = { .size = sizeof(s), .op = what, .stack = *stack };
	int ret = raw_ioctl(fd, PROCLET_IOC_STACK, &s);

	*stack = s.stack;
	return ret;
}

static inline int raw_mmap(int fd, void *at, size_t len, int prot, int flags, off_t off)
{
	void *p = mmap(at, len, prot, flags, fd, off);

	if (p == MAP_FAILED)
		return -errno;
	return 0;
}

static inline int raw_map_region(int fd)
{
	return raw_mmap(fd, (void *)PROCLET_REGION_BASE, PROCLET_REGION_SIZE,
			PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
			PROCLET_MMAP_REGION);
}

static inline void *raw_map_workers(int fd)
{
	void *p = mmap(NULL, PROCLET_MAX_WORKERS * PROCLET_WORKER_SIZE,
		       PROT_READ | PROT_WRITE, MAP_SHARED, fd, PROCLET_MMAP_WORKERS);

	return p == MAP_FAILED ? NULL : p;
}

static inline const __u32 *raw_map_presence(int fd)
{
	void *p = mmap(NULL, PROCLET_PRESENCE_SIZE, PROT_READ, MAP_SHARED, fd,
		       PROCLET_MMAP_PRESENCE);

	return p == MAP_FAILED ? NULL : p;
}

#define NODES_DIR "/sys/kernel/config/proclet"
#define NODES_CLASS "/sys/class/proclet"

/* Open an attribute of a node of this machine, in one of these directories. */
static inline int node_attr_in(const char *nodes, __u32 node, const char *attr, int flags)
{
	char path[512], text[32];
	struct dirent *d;
	int fd = -ENOENT;
	ssize_t n;
	DIR *dir;

	dir = opendir(nodes);
	if (!dir)
		return -errno;
	while (fd == -ENOENT && (d = readdir(dir))) {
		int idfd;

		snprintf(path, sizeof(path), "%s/%s/id", nodes, d->d_name);
		idfd = open(path, O_RDONLY | O_CLOEXEC);
		if (idfd < 0)
			continue;
		n = read(idfd, text, sizeof(text) - 1);
		close(idfd);
		if (n <= 0)
			continue;
		text[n] = 0;
		if (node && strtoul(text, NULL, 10) != node)
			continue;
		snprintf(path, sizeof(path), "%s/%s/%s", nodes, d->d_name, attr);
		fd = open(path, flags | O_CLOEXEC);
		if (fd < 0)
			fd = -errno;
	}
	closedir(dir);
	return fd;
}

static inline int node_attr(__u32 node, const char *attr, int flags)
{
	return node_attr_in(NODES_DIR, node, attr, flags);
}

/* Room for 32 characters. */
static inline int node_read(const char *nodes, __u32 node, const char *attr, char *text)
{
	int fd = node_attr_in(nodes, node, attr, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = read(fd, text, 31);
	close(fd);
	if (n <= 0)
		return -EIO;
	text[n] = 0;
	return 0;
}

/* What a node has counted; -errno. */
static inline __s64 node_counter(__u32 node, const char *attr)
{
	char text[32];
	int err = node_read(NODES_CLASS, node, attr, text);

	return err ? err : strtoll(text, NULL, 10);
}

/* Write a node's attribute, as text; @old: room for 32 characters of the one before. */
static inline int node_set(__u32 node, const char *attr, const char *value, char *old)
{
	ssize_t n;
	int fd;

	if (old) {
		fd = node_read(NODES_DIR, node, attr, old);
		if (fd < 0)
			return fd;
	}
	fd = node_attr(node, attr, O_WRONLY);
	if (fd < 0)
		return fd;
	n = write(fd, value, strlen(value));
	n = n < 0 ? -errno : 0;
	close(fd);
	return n;
}

#endif /* PROCLET_SELFTEST_RAW_H */
