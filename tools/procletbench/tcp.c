// SPDX-License-Identifier: GPL-2.0-or-later
/* TCP connections. */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "callee.h"
#include "tcp.h"

#define WARM_UP		50	/* round trips */

int tcp_addresses(struct tcp_addresses *list)
{
	struct ifaddrs *all, *i;

	memset(list, 0, sizeof(*list));
	if (getifaddrs(&all))
		return -errno;
	for (i = all; i && list->count < TCP_ADDRESSES - 1; i = i->ifa_next) {
		struct sockaddr_in address;

		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET ||
		    (i->ifa_flags & IFF_LOOPBACK) || !(i->ifa_flags & IFF_UP))
			continue;
		memcpy(&address, i->ifa_addr, sizeof(address));
		list->address[list->count++] = address.sin_addr.s_addr;
	}
	freeifaddrs(all);
	list->address[list->count++] = htonl(INADDR_LOOPBACK);
	return 0;
}

int tcp_listen(__u16 *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);
	int fd, err;

	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 4) ||
	    getsockname(fd, (struct sockaddr *)&at, &len)) {
		err = -errno;
		close(fd);
		return err;
	}
	*port = ntohs(at.sin_port);
	return fd;
}

int tcp_connect(__u32 address, __u16 port)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = address,
	};
	/* Also bounds how long it takes to connect. */
	struct timeval limit = { .tv_sec = 5 };
	int fd, one = 1, err;

	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int tcp_write_all(int fd, const void *from, size_t len)
{
	while (len) {
		ssize_t n = send(fd, from, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		from = (const char *)from + n;
		len -= n;
	}
	return 0;
}

int tcp_read_all(int fd, void *to, size_t len)
{
	while (len) {
		ssize_t n = recv(fd, to, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ECONNRESET;
		to = (char *)to + n;
		len -= n;
	}
	return 0;
}

int tcp_find(const struct tcp_addresses *list, __u16 port, int (*knows)(int fd, void *arg),
	     void *arg)
{
	int err = -EHOSTUNREACH, fd;
	__u32 i;

	for (i = 0; i < list->count && i < TCP_ADDRESSES; i++) {
		fd = tcp_connect(list->address[i], port);
		if (fd < 0) {
			err = fd;
			continue;
		}
		err = knows(fd, arg);
		if (!err)
			return fd;
		close(fd);
	}
	return err;
}

struct job {
	const struct tcp_row *row;
	int fd;
	const struct pace *pace;
	struct results *results;
};

static int measure(void *arg)
{
	const struct job *job = arg;
	const struct tcp_row *row = job->row;
	__u64 start, before, i;
	int err = 0;

	for (i = 0; i < WARM_UP && !err; i++)
		err = row->once(job->fd);
	start = now_ns();
	for (i = 0; !err && pace_more(job->pace, start, i); i++) {
		before = now_ns();
		err = row->once(job->fd);
		if (!err)
			err = results_add(job->results, row->metric, row->bytes, UNIT_NS,
					  now_ns() - before);
	}
	if (err)
		complain("%s: %s", row->who, error_text(err));
	return err;
}

int tcp_measure(const struct tcp_row *row, int fd, const struct pace *pace,
		struct results *results)
{
	struct job job = { row, fd, pace, results };

	return bench_native(row->who, measure, &job);
}
