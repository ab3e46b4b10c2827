// SPDX-License-Identifier: GPL-2.0-or-later
/* Baseline of remote calls: memcached's get of 64 bytes, over TCP. */
#include <errno.h>
#include <proclet.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "callee.h"
#include "child.h"
#include "tcp.h"

#define VALUE		64
#define VALUE_TEXT	"64"
#define START_NS	10000000000ULL	/* to begin to listen */

/* What the server's node says. */
struct place {
	struct tcp_addresses addresses;
	__u32 port;
};

static proclet_t agent;
static pid_t child;	/* on the server's node */
static int connection = -1;
static char value[VALUE];

/* Until it takes connections, or has ended. */
static int await(__u16 port)
{
	const struct timespec pause = { 0, 20000000 };
	__u64 start = now_ns();
	int fd, status;

	while (now_ns() - start < START_NS) {
		fd = tcp_connect(htonl(INADDR_LOOPBACK), port);
		if (fd >= 0) {
			close(fd);
			return 0;
		}
		if (waitpid(child, &status, WNOHANG)) {
			child = 0;
			return -ECHILD;
		}
		nanosleep(&pause, NULL);
	}
	return -ETIMEDOUT;
}

static int server_start(void *arg)
{
	char port_text[8];
	const char *const argv[] = {
		"memcached", "-u", "root", "-l", "0.0.0.0", "-p", port_text, "-U", "0",
		"-t", "1", "-m", "16", NULL,
	};
	struct place *place = arg;
	__u16 port;
	int err, fd;

	err = tcp_addresses(&place->addresses);
	if (err)
		return err;
	/* A port that is free, at least now. */
	fd = tcp_listen(&port);
	if (fd < 0)
		return fd;
	close(fd);
	place->port = port;
	snprintf(port_text, sizeof(port_text), "%u", port);
	err = child_start(&child, argv);
	if (err) {
		child = 0;
		return err;
	}
	err = await(port);
	if (err && child) {
		kill(child, SIGKILL);
		child_wait(child);
		child = 0;
	}
	return err;
}

static ssize_t serve_memcached(void *root, const void *in, size_t in_len,
			       void *out, size_t out_cap)
{
	int err;

	(void)root;
	(void)in;
	if (in_len || out_cap < sizeof(struct place))
		return -EINVAL;
	err = bench_native("memcached", server_start, out);
	return err ? err : (ssize_t)sizeof(struct place);
}
PROCLET_METHOD(serve_memcached);

static ssize_t stop_memcached(void *root, const void *in, size_t in_len,
			      void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	if (child) {
		kill(child, SIGKILL);
		child_wait(child);
		child = 0;
	}
	return 0;
}
PROCLET_METHOD(stop_memcached);

static int expect(int fd, const char *text)
{
	char answer[256];
	size_t len = strlen(text);
	int err;

	err = tcp_read_all(fd, answer, len);
	return err ? err : memcmp(answer, text, len) ? -EPROTO : 0;
}

/* It is memcached if it takes the value that is asked for later. */
static int set(int fd, void *arg)
{
	static const char command[] = "set key 0 0 " VALUE_TEXT "\r\n";
	char text[sizeof(command) + VALUE + 2];
	size_t len = sizeof(command) - 1;

	(void)arg;
	memset(value, 'v', sizeof(value));
	memcpy(text, command, len);
	memcpy(text + len, value, VALUE);
	memcpy(text + len + VALUE, "\r\n", 2);
	return tcp_write_all(fd, text, len + VALUE + 2) ?: expect(fd, "STORED\r\n");
}

static int get(int fd)
{
	static const char command[] = "get key\r\n";
	static const char head[] = "VALUE key 0 " VALUE_TEXT "\r\n", tail[] = "\r\nEND\r\n";
	char text[sizeof(head) - 1 + VALUE + sizeof(tail) - 1];
	int err;

	err = tcp_write_all(fd, command, sizeof(command) - 1);
	if (!err)
		err = tcp_read_all(fd, text, sizeof(text));
	if (err)
		return err;
	return memcmp(text, head, sizeof(head) - 1) ||
	       memcmp(text + sizeof(head) - 1, value, VALUE) ? -EPROTO : 0;
}

static int find_server(void *arg)
{
	const struct place *place = arg;

	connection = tcp_find(&place->addresses, place->port, set, NULL);
	return connection < 0 ? connection : 0;
}

static int memcached_begin(const struct options *opt, int node)
{
	struct place place;
	ssize_t n;
	int err;

	(void)opt;
	agent = 0;
	connection = -1;
	err = bench_proclet("memcached", &agent, node, MIB, 0, PROCLET_PINNED);
	if (err)
		return err;
	n = proclet_call(agent, serve_memcached, NULL, 0, &place, sizeof(place));
	err = n == sizeof(place) ? bench_native("memcached", find_server, &place) :
	      n < 0 ? (int)n : -EPROTO;
	if (err) {
		complain("memcached on node %d: %s: left out", node,
			 err == -ENOENT ? "not installed" : error_text(err));
		return -ENODEV;
	}
	return 0;
}

static int memcached_round(const struct pace *pace, struct results *r)
{
	static const struct tcp_row row = { "memcached", "memcached_get", VALUE, get };

	return tcp_measure(&row, connection, pace, r);
}

static void memcached_end(void)
{
	if (connection >= 0)
		close(connection);
	if (agent)
		proclet_call(agent, stop_memcached, NULL, 0, NULL, 0);
	bench_destroy(&agent);
}

const struct subject memcached_subject = {
	.name = "memcached",
	.bit = BENCH_MEMCACHED,
	.begin = memcached_begin,
	.round = memcached_round,
	.end = memcached_end,
};
