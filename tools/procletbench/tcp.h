/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TCP to the other node. */
#ifndef _PROCLETBENCH_TCP_H
#define _PROCLETBENCH_TCP_H

#include <linux/types.h>
#include <netinet/in.h>

#define TCP_ADDRESSES	8

/**
 * struct tcp_addresses - where a node can be reached
 * @count: entries
 * @address: IPv4, in network byte order; the loopback address is the last
 */
struct tcp_addresses {
	__u32 count;
	__u32 address[TCP_ADDRESSES];
};

/* They return a negative errno value after an error. */
int tcp_addresses(struct tcp_addresses *list);
/* A listening socket, on a free port of any address; @port in host byte order. */
int tcp_listen(__u16 *port);
/* A connection without delays. */
int tcp_connect(__u32 address, __u16 port);
int tcp_write_all(int fd, const void *from, size_t len);
int tcp_read_all(int fd, void *to, size_t len);

/* A connection to the first address where @knows(fd, @arg) does not fail. */
int tcp_find(const struct tcp_addresses *list, __u16 port, int (*knows)(int fd, void *arg),
	     void *arg);

/**
 * struct tcp_row - a row of round trips over a connection
 * @who: complains
 * @metric: of the row,
 * @bytes: and its parameter
 * @once: one round trip
 */
struct tcp_row {
	const char *who;
	const char *metric;
	unsigned long bytes;
	int (*once)(int fd);
};

struct pace;
struct results;
int tcp_measure(const struct tcp_row *row, int fd, const struct pace *pace,
		struct results *results);

#endif /* _PROCLETBENCH_TCP_H */
