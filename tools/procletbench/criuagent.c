// SPDX-License-Identifier: GPL-2.0-or-later
/* Moves by CRIU: what the destination does. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "callee.h"
#include "child.h"
#include "criu.h"

static char dir[CRIU_DIR];
static int listener = -1;
static pid_t page_server;	/* until it has had its connection, and ends */

static void stop_listening(void)
{
	if (listener >= 0)
		close(listener);
	listener = -1;
}

static int hello(void *arg)
{
	struct criu_place *place = arg;
	__u16 port;
	int err;

	err = tcp_addresses(&place->addresses);
	if (err)
		return err;
	listener = tcp_listen(&port);
	place->port = port;
	return listener < 0 ? listener : 0;
}

ssize_t criu_hello(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	int err;

	(void)root;
	(void)in;
	if (in_len || out_cap < sizeof(struct criu_place))
		return -EINVAL;
	err = bench_native("criu", hello, out);
	return err ? err : (ssize_t)sizeof(struct criu_place);
}
PROCLET_METHOD(criu_hello);

static pid_t read_pid(const char *path)
{
	FILE *f = fopen(path, "r");
	int pid = 0;

	if (f) {
		if (fscanf(f, "%d", &pid) != 1)
			pid = 0;
		fclose(f);
	}
	return pid;
}

static int receive(void *arg)
{
	char port_text[8], pid_file[CRIU_DIR + 8];
	const char *const argv[] = {
		"criu", "page-server", "-d", "--images-dir", dir, "--port", port_text,
		"-o", "page-server.log", "--pidfile", pid_file, NULL,
	};
	struct criu_place *place = arg;
	int err, fd;
	__u16 port;

	stop_listening();
	err = criu_make_dir(dir);
	if (err)
		return err;
	/* A port that is free, at least now. */
	fd = tcp_listen(&port);
	if (fd < 0)
		return fd;
	close(fd);
	place->port = port;
	snprintf(port_text, sizeof(port_text), "%u", port);
	snprintf(pid_file, sizeof(pid_file), "%s/pid", dir);
	/* It goes on by itself when it listens. */
	err = child_run(argv);
	if (err > 0) {
		criu_complain("page-server", dir, "page-server.log");
		err = -EIO;
	}
	if (!err)
		page_server = read_pid(pid_file);
	return err;
}

ssize_t criu_receive(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	int err;

	(void)root;
	(void)in;
	if (in_len || out_cap < sizeof(struct criu_place))
		return -EINVAL;
	err = bench_native("criu", receive, out);
	return err ? err : (ssize_t)sizeof(struct criu_place);
}
PROCLET_METHOD(criu_receive);

struct bytes {
	const char *from;
	size_t len;
};

static int store(void *arg)
{
	const struct bytes *b = arg;
	struct criu_file head;
	char path[CRIU_DIR + sizeof(head.name)];
	size_t len = b->len - sizeof(head);
	FILE *f;

	memcpy(&head, b->from, sizeof(head));
	head.name[sizeof(head.name) - 1] = 0;
	if (strchr(head.name, '/'))
		return -EINVAL;
	snprintf(path, sizeof(path), "%s/%s", dir, head.name);
	f = fopen(path, "w");
	if (!f)
		return -errno;
	if (fwrite(b->from + sizeof(head), 1, len, f) != len) {
		fclose(f);
		return -EIO;
	}
	return fclose(f) ? -errno : 0;
}

ssize_t criu_store(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct bytes b = { in, in_len };

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len < sizeof(struct criu_file) || !*dir)
		return -EINVAL;
	return bench_native("criu", store, &b);
}
PROCLET_METHOD(criu_store);

static int restore(void *arg)
{
	/* As our child, so that we can wait for it. */
	const char *const argv[] = {
		"criu", "restore", "-d", "--restore-sibling", "--images-dir", dir,
		"--manage-cgroups=ignore", "-v1", "-o", "restore.log", NULL,
	};
	int err = child_run(argv);

	(void)arg;
	if (err > 0) {
		criu_complain("restore", dir, "restore.log");
		err = -EIO;
	}
	return err;
}

ssize_t criu_restore(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)out;
	(void)out_cap;
	if (in_len || !*dir)
		return -EINVAL;
	page_server = 0;
	return bench_native("criu", restore, NULL);
}
PROCLET_METHOD(criu_restore);

static int verify(void *arg)
{
	pid_t pid = *(pid_t *)arg;
	int status;

	if (kill(pid, SIGUSR1))
		return -errno;
	status = child_wait(pid);
	return status > 0 ? -EBADMSG : status;
}

ssize_t criu_verify(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	pid_t pid;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(pid))
		return -EINVAL;
	memcpy(&pid, in, sizeof(pid));
	return bench_native("criu", verify, &pid);
}
PROCLET_METHOD(criu_verify);

ssize_t criu_forget(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	stop_listening();
	if (page_server > 0)
		kill(page_server, SIGTERM);
	page_server = 0;
	criu_remove_dir(dir);
	*dir = 0;
	return 0;
}
PROCLET_METHOD(criu_forget);
