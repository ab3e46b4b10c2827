// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Baseline of remote calls: 64 bytes there and back over TCP. The server is a native
 * thread of the other node's member.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <proclet.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "callee.h"
#include "tcp.h"

#define MESSAGE		64

/* What the server's node says. @cookie: what it sends first, so that it is known */
struct place {
	struct tcp_addresses addresses;
	__u64 cookie;
	__u32 port;
};

static struct {
	pthread_t thread;
	__u64 cookie;
	int listener;
	int stop;
	bool running;
} server;

static proclet_t agent;
static int connection = -1;

/* Until the client closes it, or we are to stop. */
static void echo(int fd)
{
	struct pollfd fds[] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = server.stop, .events = POLLIN },
	};
	char message[MESSAGE];
	ssize_t n;
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (tcp_write_all(fd, &server.cookie, sizeof(server.cookie)))
		return;
	for (;;) {
		/* What is there already costs no poll(). */
		n = recv(fd, message, sizeof(message), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN) {
			if (poll(fds, 2, -1) < 0 && errno != EINTR)
				return;
			if (fds[1].revents)
				return;
			continue;
		}
		if (n <= 0 || tcp_write_all(fd, message, n))
			return;
	}
}

static void *serve(void *arg)
{
	struct pollfd fds[] = {
		{ .fd = server.listener, .events = POLLIN },
		{ .fd = server.stop, .events = POLLIN },
	};

	while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
		int fd;

		if (fds[1].revents)
			break;
		fd = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		echo(fd);
		close(fd);
	}
	return arg;
}

static int server_start(void *arg)
{
	struct place *place = arg;
	__u16 port;
	int err;

	err = tcp_addresses(&place->addresses);
	if (err || server.running)
		return err ? err : -EALREADY;
	if (getrandom(&server.cookie, sizeof(server.cookie), 0) != sizeof(server.cookie))
		return -errno;
	server.stop = eventfd(0, EFD_CLOEXEC);
	if (server.stop < 0)
		return -errno;
	server.listener = tcp_listen(&port);
	err = server.listener < 0 ? server.listener : 0;
	if (!err) {
		err = -pthread_create(&server.thread, NULL, serve, NULL);
		if (err)
			close(server.listener);
	}
	if (err) {
		close(server.stop);
		return err;
	}
	server.running = true;
	place->cookie = server.cookie;
	place->port = port;
	return 0;
}

static ssize_t serve_tcp(void *root, const void *in, size_t in_len,
			 void *out, size_t out_cap)
{
	int err;

	(void)root;
	(void)in;
	if (in_len || out_cap < sizeof(struct place))
		return -EINVAL;
	err = bench_native("tcp", server_start, out);
	return err ? err : (ssize_t)sizeof(struct place);
}
PROCLET_METHOD(serve_tcp);

static ssize_t stop_tcp(void *root, const void *in, size_t in_len,
			void *out, size_t out_cap)
{
	__u64 one = 1;

	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	if (!server.running)
		return 0;
	if (write(server.stop, &one, sizeof(one)) == sizeof(one))
		pthread_join(server.thread, NULL);
	close(server.listener);
	close(server.stop);
	server.running = false;
	return 0;
}
PROCLET_METHOD(stop_tcp);

static int is_server(int fd, void *arg)
{
	const struct place *place = arg;
	__u64 cookie;
	int err;

	err = tcp_read_all(fd, &cookie, sizeof(cookie));
	return err ? err : cookie == place->cookie ? 0 : -EHOSTUNREACH;
}

static int find_server(void *arg)
{
	struct place *place = arg;

	connection = tcp_find(&place->addresses, place->port, is_server, place);
	return connection < 0 ? connection : 0;
}

static int tcp_begin(const struct options *opt, int node)
{
	struct place place;
	ssize_t n;
	int err;

	(void)opt;
	agent = 0;
	connection = -1;
	err = bench_proclet("tcp", &agent, node, MIB, 0, PROCLET_PINNED);
	if (err)
		return err;
	n = proclet_call(agent, serve_tcp, NULL, 0, &place, sizeof(place));
	if (n != sizeof(place)) {
		complain("tcp: cannot start the server on node %d: %s", node, error_text(n));
		return n < 0 ? n : -EPROTO;
	}
	err = bench_native("tcp", find_server, &place);
	if (!err)
		return 0;
	complain("tcp: cannot connect to node %d: %s: left out", node, error_text(err));
	return -ENODEV;
}

static int round_trip(int fd)
{
	static char message[MESSAGE];
	int err;

	err = tcp_write_all(fd, message, sizeof(message));
	return err ? err : tcp_read_all(fd, message, sizeof(message));
}

static int tcp_round(const struct pace *pace, struct results *r)
{
	static const struct tcp_row row = { "tcp", "tcp_echo", MESSAGE, round_trip };

	return tcp_measure(&row, connection, pace, r);
}

static void tcp_end(void)
{
	if (connection >= 0)
		close(connection);
	if (agent)
		proclet_call(agent, stop_tcp, NULL, 0, NULL, 0);
	bench_destroy(&agent);
}

const struct subject tcp_subject = {
	.name = "tcp",
	.bit = BENCH_TCP,
	.begin = tcp_begin,
	.round = tcp_round,
	.end = tcp_end,
};
