// SPDX-License-Identifier: GPL-2.0-or-later
/* An RDMA connection, as both the client and the server of the raw rows use it. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "raw.h"

#define RAW_MEMORY	(RAW_BUFFER + (RAW_RECVS + 1) * RAW_MESSAGE_MAX)
#define RAW_SIGNAL	16	/* one SEND of so many asks for a completion */
#define RAW_SENDS_MAX	(RAW_SENDS - RAW_READS)

/* Note what failed in @text (RAW_ERROR bytes), with errno @err. */
int raw_fail(char *text, int err, const char *what)
{
	if (!err)
		err = EIO;
	snprintf(text, RAW_ERROR, "%s: %s", what, strerror(err));
	return -err;
}

/*
 * The IPv4 addresses of this node that lead to an RDMA device: the connection
 * manager knows a device for each of them.
 */
int raw_addresses(struct raw_endpoint *endpoint)
{
	struct rdma_event_channel *channel;
	struct ibv_device **devices;
	struct ifaddrs *list, *i;
	struct rdma_cm_id *id;
	int count = 0;

	endpoint->count = 0;
	if (access("/sys/class/infiniband_verbs", F_OK))
		return 0;
	devices = ibv_get_device_list(&count);
	if (!devices)
		return raw_fail(endpoint->error, errno, "cannot list the RDMA devices");
	ibv_free_device_list(devices);
	if (!count)
		return 0;

	channel = rdma_create_event_channel();
	if (!channel)
		return raw_fail(endpoint->error, errno, "cannot open the RDMA connection manager");
	if (getifaddrs(&list)) {
		rdma_destroy_event_channel(channel);
		return raw_fail(endpoint->error, errno, "cannot list the network addresses");
	}
	for (i = list; i && endpoint->count < RAW_ADDRESSES; i = i->ifa_next) {
		struct sockaddr_in address;

		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET ||
		    (i->ifa_flags & IFF_LOOPBACK))
			continue;
		if (rdma_create_id(channel, &id, NULL, RDMA_PS_TCP))
			break;
		memcpy(&address, i->ifa_addr, sizeof(address));
		address.sin_port = 0;
		if (!rdma_bind_addr(id, (struct sockaddr *)&address) && id->verbs)
			endpoint->address[endpoint->count++] = address.sin_addr.s_addr;
		rdma_destroy_id(id);
	}
	freeifaddrs(list);
	rdma_destroy_event_channel(channel);
	return 0;
}

static int cq_open(struct raw_cq *q, struct ibv_context *verbs, int entries)
{
	q->channel = ibv_create_comp_channel(verbs);
	if (!q->channel)
		return -errno;
	q->cq = ibv_create_cq(verbs, entries, NULL, q->channel, 0);
	if (!q->cq)
		return -errno;
	return -ibv_req_notify_cq(q->cq, 0);
}

static void cq_close(struct raw_cq *q)
{
	if (q->cq) {
		ibv_ack_cq_events(q->cq, q->events);
		ibv_destroy_cq(q->cq);
	}
	if (q->channel)
		ibv_destroy_comp_channel(q->channel);
}

/*
 * Make the queue pair and the memory of @id, which has a device. The receives
 * are posted. After an error, too, raw_conn_close() is due.
 */
int raw_conn_open(struct raw_conn *c, struct rdma_cm_id *id)
{
	struct ibv_qp_init_attr attr = {
		.cap = {
			.max_send_wr = RAW_SENDS,
			.max_recv_wr = RAW_RECVS,
			.max_send_sge = 1,
			.max_recv_sge = 1,
		},
		.qp_type = IBV_QPT_RC,
	};
	struct ibv_port_attr port;
	unsigned int i;
	int err;

	memset(c, 0, sizeof(*c));
	c->id = id;
	err = ibv_query_port(id->verbs, id->port_num, &port);
	if (err)
		return raw_fail(c->error, err, "cannot query the RDMA port");
	c->chunk_max = port.max_msg_sz;
	c->memory = aligned_alloc(4096, RAW_MEMORY);
	if (!c->memory)
		return raw_fail(c->error, ENOMEM, "no memory for the RDMA buffers");
	/* Written, so that every page is there and is its own. */
	memset(c->memory, 0x5a, RAW_MEMORY);
	c->pd = ibv_alloc_pd(id->verbs);
	if (!c->pd)
		return raw_fail(c->error, errno, "cannot allocate a protection domain");
	c->mr = ibv_reg_mr(c->pd, c->memory, RAW_MEMORY,
			   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
	if (!c->mr)
		return raw_fail(c->error, errno,
				"cannot register memory with the RDMA device (see ulimit -l)");
	err = cq_open(&c->send, id->verbs, RAW_SENDS + 1);
	if (!err)
		err = cq_open(&c->recv, id->verbs, RAW_RECVS + 1);
	if (err)
		return raw_fail(c->error, -err, "cannot create a completion queue");
	attr.send_cq = c->send.cq;
	attr.recv_cq = c->recv.cq;
	if (rdma_create_qp(id, c->pd, &attr))
		return raw_fail(c->error, errno, "cannot create a queue pair");
	for (i = 0; i < RAW_RECVS; i++) {
		err = raw_recv(c, i);
		if (err)
			return err;
	}
	return 0;
}

/* As many READs in flight as the device can do, and finite retries. */
void raw_conn_params(const struct raw_conn *c, struct rdma_conn_param *param)
{
	struct ibv_device_attr attr;

	memset(param, 0, sizeof(*param));
	param->initiator_depth = 1;
	param->responder_resources = 1;
	if (!ibv_query_device(c->id->verbs, &attr)) {
		param->initiator_depth = attr.max_qp_init_rd_atom < 16 ?
					 attr.max_qp_init_rd_atom : 16;
		param->responder_resources = attr.max_qp_rd_atom < 16 ?
					     attr.max_qp_rd_atom : 16;
	}
	param->retry_count = 7;
	param->rnr_retry_count = 6;
}

void raw_conn_close(struct raw_conn *c)
{
	if (c->id && c->id->qp)
		rdma_destroy_qp(c->id);
	cq_close(&c->send);
	cq_close(&c->recv);
	if (c->mr)
		ibv_dereg_mr(c->mr);
	if (c->pd)
		ibv_dealloc_pd(c->pd);
	free(c->memory);
	if (c->id)
		rdma_destroy_id(c->id);
	memset(c, 0, sizeof(*c));
}

/* Post receive buffer @slot. */
int raw_recv(struct raw_conn *c, unsigned int slot)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)c->memory + RAW_BUFFER + slot * RAW_MESSAGE_MAX,
		.length = RAW_MESSAGE_MAX,
		.lkey = c->mr->lkey,
	};
	struct ibv_recv_wr *bad, wr = {
		.wr_id = slot,
		.sg_list = &sge,
		.num_sge = 1,
	};
	int err = ibv_post_recv(c->id->qp, &wr, &bad);

	return err ? raw_fail(c->error, err, "cannot post a receive") : 0;
}

/* A SEND's completion stands for those before it too. True if @wc was one. */
static bool send_done(struct raw_conn *c, const struct ibv_wc *wc)
{
	if (wc->status != IBV_WC_SUCCESS || wc->opcode != IBV_WC_SEND)
		return false;
	c->sends -= RAW_SIGNAL;
	return true;
}

/* Take the completions of SENDs until there is room for another. */
static int reap_sends(struct raw_conn *c)
{
	struct ibv_wc wc;
	int n;

	do {
		n = ibv_poll_cq(c->send.cq, 1, &wc);
		if (n < 0)
			return raw_fail(c->error, -n, "cannot poll for completions");
		if (n && !send_done(c, &wc)) {
			snprintf(c->error, sizeof(c->error), "a SEND failed: %s",
				 ibv_wc_status_str(wc.status));
			return -ECONNRESET;
		}
	} while (n || c->sends >= RAW_SENDS_MAX);
	return 0;
}

/* SEND the first @len bytes of the send buffer. */
int raw_send(struct raw_conn *c, size_t len)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)c->memory + RAW_BUFFER + RAW_RECVS * RAW_MESSAGE_MAX,
		.length = len,
		.lkey = c->mr->lkey,
	};
	struct ibv_send_wr *bad, wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_SEND,
	};
	int err;

	if (c->sends >= 2 * RAW_SIGNAL) {
		err = reap_sends(c);
		if (err)
			return err;
	}
	c->sends++;
	if (++c->sent % RAW_SIGNAL == 0)
		wr.send_flags = IBV_SEND_SIGNALED;
	err = ibv_post_send(c->id->qp, &wr, &bad);
	return err ? raw_fail(c->error, err, "cannot post a SEND") : 0;
}

/* READ @len bytes at @offset of the other end's buffer into this one's. */
int raw_read(struct raw_conn *c, const struct raw_memory *remote, size_t offset,
	     size_t len)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)c->memory + offset,
		.length = len,
		.lkey = c->mr->lkey,
	};
	struct ibv_send_wr *bad, wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_RDMA_READ,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {
			.remote_addr = remote->address + offset,
			.rkey = remote->rkey,
		},
	};
	int err = ibv_post_send(c->id->qp, &wr, &bad);

	return err ? raw_fail(c->error, err, "cannot post an RDMA READ") : 0;
}

/*
 * Wait for a completion, spinning or asleep. It ends with an error when the
 * connection ends, as the queue pair's requests are flushed then.
 */
int raw_wait(struct raw_conn *c, struct raw_cq *q, struct ibv_wc *wc)
{
	struct ibv_cq *cq;
	void *context;
	int n;

	for (;;) {
		n = ibv_poll_cq(q->cq, 1, wc);
		if (n < 0)
			return raw_fail(c->error, -n, "cannot poll for completions");
		if (n && send_done(c, wc))
			continue;
		if (n)
			break;
		if (c->polling)
			continue;
		if (ibv_get_cq_event(q->channel, &cq, &context))
			return raw_fail(c->error, errno, "cannot wait for a completion");
		q->events++;
		/* Armed before the queue is looked at again: none is missed. */
		n = ibv_req_notify_cq(q->cq, 0);
		if (n)
			return raw_fail(c->error, n, "cannot arm a completion queue");
	}
	__atomic_fetch_add(&c->waits, 1, __ATOMIC_RELAXED);
	if (wc->status == IBV_WC_SUCCESS)
		return 0;
	snprintf(c->error, sizeof(c->error), "the connection failed: %s",
		 ibv_wc_status_str(wc->status));
	return -ECONNRESET;
}

/* The connection manager's next event, or -ETIMEDOUT. */
int raw_next_event(struct rdma_event_channel *channel, int timeout_ms,
		   struct rdma_cm_event **event)
{
	struct pollfd fd = { .fd = channel->fd, .events = POLLIN };
	int n;

	do {
		n = poll(&fd, 1, timeout_ms);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (!n)
		return -ETIMEDOUT;
	return rdma_get_cm_event(channel, event) ? -errno : 0;
}
