/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raw verbs: connections, the server, and what the two tell each other. */
#ifndef _PROCLETBENCH_RAW_H
#define _PROCLETBENCH_RAW_H

#include <linux/types.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stddef.h>

#define RAW_BUFFER		(16UL << 20)	/* memory to read from or into */
#define RAW_MESSAGE_MAX		4096		/* bytes of a SEND */
#define RAW_DEPTH		64	/* SENDs in flight, of the rows with rates */
#define RAW_RECVS		(2 * RAW_DEPTH)
#define RAW_CREDITS		16	/* SENDs that a sink confirms at a time */
#define RAW_SENDS		160	/* slots of the send queue, */
#define RAW_READS		16	/* of them for READs */
#define RAW_ADDRESSES		8
#define RAW_ERROR		160

/**
 * struct raw_endpoint - where the server listens
 * @cookie: a client has to show it
 * @port: in host byte order
 * @count: addresses; 0 and no @error: the node has no RDMA device
 * @address: IPv4 addresses of the node's RDMA devices, in network byte order
 * @error: what failed, else empty
 */
struct raw_endpoint {
	__u64 cookie;
	__u32 port;
	__u32 count;
	__u32 address[RAW_ADDRESSES];
	char error[RAW_ERROR];
};

/* Private data of the connection request. Both ends run the same binary. */
struct raw_hello {
	__u64 cookie;
	__u32 polling;		/* how the server shall wait for messages */
	__u32 sink;		/* it confirms RAW_CREDITS SENDs at a time, with one */
};

/* Private data of the answer: the memory that can be read. */
struct raw_memory {
	__u64 address;
	__u64 length;
	__u32 rkey;
	__u32 reserved;
};

/* A completion queue with a channel of its own, so that one can sleep on it. */
struct raw_cq {
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	unsigned int events;	/* not yet acknowledged */
};

/**
 * struct raw_conn - a connection, either end
 * @id: the connection manager's, with the queue pair
 * @memory: the read buffer, then RAW_RECVS receive buffers, then a send buffer
 * @polling: spin for completions rather than sleep
 * @sent: SENDs posted
 * @sends: of them, those not known to have ended
 * @chunk_max: longest message of the port
 * @waits: finished waits, for a watchdog
 */
struct raw_conn {
	struct rdma_cm_id *id;
	struct ibv_pd *pd;
	struct ibv_mr *mr;
	struct raw_cq send;
	struct raw_cq recv;
	char *memory;
	bool polling;
	unsigned int sent;
	unsigned int sends;
	size_t chunk_max;
	unsigned long waits;
	char error[RAW_ERROR];
};

/* rawconn.c */
int raw_addresses(struct raw_endpoint *endpoint);
int raw_conn_open(struct raw_conn *c, struct rdma_cm_id *id);
void raw_conn_params(const struct raw_conn *c, struct rdma_conn_param *param);
void raw_conn_close(struct raw_conn *c);
int raw_recv(struct raw_conn *c, unsigned int slot);
int raw_send(struct raw_conn *c, size_t len);
int raw_read(struct raw_conn *c, const struct raw_memory *remote, size_t offset,
	     size_t len);
int raw_wait(struct raw_conn *c, struct raw_cq *q, struct ibv_wc *wc);
int raw_next_event(struct rdma_event_channel *channel, int timeout_ms,
		   struct rdma_cm_event **event);
int raw_fail(char *text, int err, const char *what);

/* rawpipe.c */
struct pace;
struct results;

int raw_measure_rate(struct raw_conn *c, bool sink, const struct pace *pace,
		     struct results *r);

/* rawserver.c */
int raw_server_start(struct raw_endpoint *endpoint);
void raw_server_stop(void);

/* rawclient.c */

/* A way to READ: in chunks of so many bytes, so many in flight. */
struct raw_plan {
	size_t chunk;		/* 0: not known yet */
	unsigned int depth;
};

#define RAW_PLANS	4	/* sizes that are read */
int raw_measure(const struct pace *pace, const struct raw_endpoint *endpoint,
		struct raw_plan plans[RAW_PLANS], struct results *r);

#endif /* _PROCLETBENCH_RAW_H */
