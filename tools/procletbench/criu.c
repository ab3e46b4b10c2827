// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Baseline of migrations: CRIU dumps a process to the other node's page server, and
 * restores it there. The time is from the start of the dump to the end of the restore;
 * the page server has been started before.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "callee.h"
#include "child.h"
#include "criu.h"

#define TIMES		2	/* in a round */
#define FIRST_PID	20000	/* it has to be free on both nodes */
#define IMAGE_MAX	(512 * KIB)	/* they are a few KiB */

static const size_t sizes[] = { 64 * KIB, MIB, 16 * MIB };

static proclet_t agent;
static char address[INET_ADDRSTRLEN];
static bool broken;
static pid_t last_pid;

static int nothing(int fd, void *arg)
{
	(void)fd;
	(void)arg;
	return 0;
}

static int find_node(void *arg)
{
	static const char *const argv[] = { "criu", "--version", NULL };
	struct criu_place *place = arg;
	int fd, err;

	err = child_run(argv);
	if (err)
		return err < 0 ? err : -EIO;
	/* The page server is for one connection only, so this asks another one. */
	for (; place->addresses.count; place->addresses.count--) {
		struct tcp_addresses one = { .count = 1 };

		memcpy(one.address, place->addresses.address, sizeof(one.address[0]));
		fd = tcp_find(&one, place->port, nothing, NULL);
		if (fd >= 0) {
			close(fd);
			inet_ntop(AF_INET, one.address, address, sizeof(address));
			return 0;
		}
		memmove(place->addresses.address, place->addresses.address + 1,
			sizeof(one.address) - sizeof(one.address[0]));
	}
	return -EHOSTUNREACH;
}

static int criu_begin(const struct options *opt, int node)
{
	struct criu_place place;
	ssize_t n;
	int err;

	(void)opt;
	agent = 0;
	broken = false;
	last_pid = FIRST_PID;
	err = bench_proclet("criu", &agent, node, MIB, 0, PROCLET_PINNED);
	if (err)
		return err;
	n = proclet_call(agent, criu_hello, NULL, 0, &place, sizeof(place));
	err = n == sizeof(place) ? bench_native("criu", find_node, &place) :
	      n < 0 ? (int)n : -EPROTO;
	if (err) {
		complain("criu: %s: left out",
			 err == -ENOENT ? "not installed" : error_text(err));
		return -ENODEV;
	}
	return 0;
}

/* A number for the next process. Without the right to do that, any. */
static void choose_pid(void)
{
	FILE *f = fopen("/proc/sys/kernel/ns_last_pid", "w");

	last_pid += 8;
	if (f) {
		fprintf(f, "%d", last_pid);
		fclose(f);
	}
}

/* A process whose heap is written. */
static int start_victim(pid_t *pid, size_t size)
{
	char self[256], size_text[24];
	const char *const argv[] = { self, VICTIM_OPTION, size_text, NULL };
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int status, err;

	if (n < 0)
		return -errno;
	self[n] = 0;
	snprintf(size_text, sizeof(size_text), "%zu", size);
	choose_pid();
	err = child_start(pid, argv);
	if (err)
		return err;
	if (waitpid(*pid, &status, WUNTRACED) < 0)
		return -errno;
	if (!WIFSTOPPED(status))
		return -ECHILD;
	return kill(*pid, SIGCONT) ? -errno : 0;
}

static int dump(pid_t pid, const char *dir, __u16 port)
{
	char pid_text[16], port_text[8];
	const char *const argv[] = {
		"criu", "dump", "--tree", pid_text, "--images-dir", dir, "--page-server",
		"--address", address, "--port", port_text, "--manage-cgroups=ignore",
		"-v1", "-o", "dump.log", NULL,
	};
	int err;

	snprintf(pid_text, sizeof(pid_text), "%d", pid);
	snprintf(port_text, sizeof(port_text), "%u", port);
	err = child_run(argv);
	if (err > 0) {
		criu_complain("dump", dir, "dump.log");
		err = -EIO;
	}
	return err;
}

static int send_file(const char *dir, const char *name)
{
	char path[CRIU_DIR + 256];
	struct criu_file head;
	ssize_t n, err = -ENOMEM;
	char *bytes;
	FILE *f;

	if (strlen(name) >= sizeof(head.name))
		return -ENAMETOOLONG;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	bytes = malloc(sizeof(head) + IMAGE_MAX);
	if (bytes) {
		memset(&head, 0, sizeof(head));
		memcpy(head.name, name, strlen(name));
		memcpy(bytes, &head, sizeof(head));
		n = fread(bytes + sizeof(head), 1, IMAGE_MAX, f);
		err = n == IMAGE_MAX ? -EFBIG :
		      proclet_call(agent, criu_store, bytes, sizeof(head) + n, NULL, 0);
	}
	free(bytes);
	fclose(f);
	return err;
}

static int send_images(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int err = 0;

	if (!d)
		return -errno;
	while (!err && (e = readdir(d))) {
		const char *dot = strrchr(e->d_name, '.');

		if (dot && !strcmp(dot, ".img"))
			err = send_file(dir, e->d_name);
	}
	closedir(d);
	return err;
}

static int move(pid_t pid, const char *dir, size_t size, struct results *r)
{
	struct criu_place place;
	__u64 before, ns;
	ssize_t n;
	int err;

	n = proclet_call(agent, criu_receive, NULL, 0, &place, sizeof(place));
	if (n != sizeof(place))
		return n < 0 ? n : -EPROTO;
	before = now_ns();
	err = dump(pid, dir, place.port);
	if (err)
		return err;
	/* Dumped, it is dead here, and on the same machine its number must be free. */
	child_wait(pid);
	err = send_images(dir);
	if (!err)
		err = proclet_call(agent, criu_restore, NULL, 0, NULL, 0);
	ns = now_ns() - before;
	if (!err)
		err = proclet_call(agent, criu_verify, &pid, sizeof(pid), NULL, 0);
	return err ? err : results_add(r, "criu_blackout", size, UNIT_NS, ns);
}

static int measure_one(size_t size, struct results *r)
{
	char dir[CRIU_DIR];
	pid_t pid;
	int err;

	err = start_victim(&pid, size);
	if (err)
		return err;
	err = criu_make_dir(dir);
	if (!err)
		err = move(pid, dir, size, r);
	if (err && !kill(pid, SIGKILL))
		child_wait(pid);
	proclet_call(agent, criu_forget, NULL, 0, NULL, 0);
	criu_remove_dir(dir);
	return err;
}

static int measure(void *arg)
{
	struct results *r = arg;
	unsigned int i, n;
	int err = 0;

	for (i = 0; i < ARRAY_SIZE(sizes) && !err; i++)
		for (n = 0; n < TIMES && !err; n++)
			err = measure_one(sizes[i], r);
	return err;
}

/* That CRIU does not work here is no reason to do without the other rows. */
static int criu_round(const struct pace *pace, struct results *r)
{
	int err;

	(void)pace;
	if (broken)
		return 0;
	err = bench_native("criu", measure, r);
	if (err) {
		broken = true;
		complain("criu: %s: left out", error_text(err));
	}
	return 0;
}

static void criu_end(void)
{
	if (agent)
		proclet_call(agent, criu_forget, NULL, 0, NULL, 0);
	bench_destroy(&agent);
}

const struct subject criu_subject = {
	.name = "criu",
	.bit = BENCH_CRIU,
	.begin = criu_begin,
	.round = criu_round,
	.end = criu_end,
};
