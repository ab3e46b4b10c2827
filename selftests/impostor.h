/* SPDX-License-Identifier: GPL-2.0 */
/* A program that speaks with a node over RDMA as another node does. */
#ifndef PROCLET_SELFTEST_IMPOSTOR_H
#define PROCLET_SELFTEST_IMPOSTOR_H

#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "hmac.h"
#include "knock.h"

#define IMPOSTOR_RX	24	/* receive buffers */
#define IMPOSTOR_ROOM	(sizeof(struct rdma_hdr) + WIRE_MSG_MAX)
#define IMPOSTOR_READ	16384	/* bytes of a READ */
#define IMPOSTOR_MEMORY	((IMPOSTOR_RX + 1) * IMPOSTOR_ROOM + IMPOSTOR_READ)

struct impostor {
	struct rdma_event_channel *channel;
	struct rdma_cm_id *listener;
	struct rdma_cm_id *ids[HELLO_QPS_MAX];
	__u32 self, other, qps;
	__u64 incarnation;
	unsigned char *memory;	/* receive buffers, one to send, one to READ into */
	struct ibv_mr *mr;
	__u32 owed;		/* credits */
	unsigned char packet[WIRE_MSG_MAX];	/* what has come and not been heard yet */
	__u32 at, end;
	bool lost;
	struct wire_challenge ours, its;
};

static inline unsigned char *impostor_rx(struct impostor *i, int n)
{
	return i->memory + n * IMPOSTOR_ROOM;
}

static inline unsigned char *impostor_tx(struct impostor *i)
{
	return impostor_rx(i, IMPOSTOR_RX);
}

static inline unsigned char *impostor_got(struct impostor *i)
{
	return impostor_rx(i, IMPOSTOR_RX + 1);
}

static inline void impostor_init(struct impostor *i, __u32 self, __u32 other)
{
	memset(i, 0, sizeof(*i));
	i->channel = rdma_create_event_channel();
	i->self = self;
	i->other = other;
	i->incarnation = 4;
	i->memory = malloc(IMPOSTOR_MEMORY);
}

static inline void impostor_end(struct impostor *i)
{
	for (unsigned int n = 0; n < HELLO_QPS_MAX; n++)
		if (i->ids[n])
			rdma_disconnect(i->ids[n]);
	if (i->mr)
		ibv_dereg_mr(i->mr);
	for (unsigned int n = 0; n < HELLO_QPS_MAX; n++)
		knock_end(i->ids[n]);
	if (i->listener)
		rdma_destroy_id(i->listener);
	if (i->channel)
		rdma_destroy_event_channel(i->channel);
	free(i->memory);
	memset(i, 0, sizeof(*i));
}

static inline int impostor_post_rx(struct impostor *i, int n)
{
	struct ibv_sge sge = { (uintptr_t)impostor_rx(i, n), IMPOSTOR_ROOM, i->mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = n, .sg_list = &sge, .num_sge = 1 }, *bad;

	return ibv_post_recv(i->ids[0]->qp, &wr, &bad) ? -EIO : 0;
}

/* The first queue pair has been created. */
static inline int impostor_post_all(struct impostor *i)
{
	int ret = 0;

	i->mr = ibv_reg_mr(i->ids[0]->pd, i->memory, IMPOSTOR_MEMORY,
			   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
	if (!i->mr)
		return -errno;
	for (int n = 0; n < IMPOSTOR_RX && !ret; n++)
		ret = impostor_post_rx(i, n);
	return ret;
}

static inline struct rdma_hello impostor_hello(const struct impostor *i, __u8 qp, __u64 nonce)
{
	return (struct rdma_hello) {
		.magic = htole32(HELLO_MAGIC),
		.version = htole16(WIRE_VERSION),
		.page_shift = htole16(HELLO_PAGE_SHIFT),
		.from = htole16(i->self),
		.to = htole16(i->other),
		.depth = htole16(IMPOSTOR_RX),
		.qp = qp,
		.qps = i->qps,
		.incarnation = htole64(i->incarnation),
		.nonce = nonce,
	};
}

/* Connect to a node with a higher id. */
static inline int impostor_dial(struct impostor *i, struct sockaddr_in *addr)
{
	struct rdma_hello hello;
	int ret = 0;

	i->qps = 2;
	for (unsigned int n = 0; n < i->qps && !ret; n++) {
		hello = impostor_hello(i, n, (uintptr_t)i->memory);
		ret = knock_begin(i->channel, addr, &i->ids[n]);
		if (!ret && !n)
			ret = impostor_post_all(i);
		if (!ret)
			ret = knock_connect(i->channel, &hello, i->ids[n]);
	}
	return ret;
}

/* Node 2 of vcluster goes to node 3. */
static inline int impostor_of_node2(struct impostor *i, __u16 port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(port) };

	addr.sin_addr.s_addr = htonl(0x0a4d0003);
	impostor_init(i, 2, 3);
	return impostor_dial(i, &addr);
}

static inline int impostor_accept(struct impostor *i, struct rdma_cm_event *event)
{
	struct ibv_qp_init_attr attr = { .cap = { 32, 32, 1, 1, 0 }, .qp_type = IBV_QPT_RC };
	struct rdma_conn_param param = { .initiator_depth = 1, .responder_resources = 1 };
	struct rdma_hello hello;

	memcpy(&hello, event->param.conn.private_data, sizeof(hello));
	if (hello.qp >= HELLO_QPS_MAX || i->ids[hello.qp])
		return -EPROTO;
	i->ids[hello.qp] = event->id;
	i->qps = hello.qps;
	if (rdma_create_qp(event->id, NULL, &attr))
		return -errno;
	if (!hello.qp && impostor_post_all(i))
		return -EIO;
	hello = impostor_hello(i, hello.qp, hello.nonce);
	param.private_data = &hello;
	param.private_data_len = sizeof(hello);
	return rdma_accept(event->id, &param) ? -errno : 0;
}

/* Wait until a node with a lower id has connected. */
static inline int impostor_listen(struct impostor *i, struct sockaddr_in *addr)
{
	unsigned int established = 0;
	struct rdma_cm_event *event;
	int ret = 0;

	i->qps = HELLO_QPS_MAX;
	if (rdma_create_id(i->channel, &i->listener, NULL, RDMA_PS_TCP) ||
	    rdma_bind_addr(i->listener, (struct sockaddr *)addr) ||
	    rdma_listen(i->listener, 8))
		return -errno;
	while (established < i->qps && !ret) {
		if (rdma_get_cm_event(i->channel, &event))
			return -errno;
		if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST)
			ret = impostor_accept(i, event);
		else if (event->event == RDMA_CM_EVENT_ESTABLISHED)
			established++;
		else
			ret = -EPROTO;
		rdma_ack_cm_event(event);
	}
	return ret;
}

/* The node has ended the connection. */
static inline bool impostor_is_lost(struct impostor *i, int ms)
{
	struct pollfd pfd = { .fd = i->channel->fd, .events = POLLIN };
	struct rdma_cm_event *event;

	while (!i->lost && poll(&pfd, 1, ms) == 1) {
		if (rdma_get_cm_event(i->channel, &event))
			break;
		i->lost = event->event == RDMA_CM_EVENT_DISCONNECTED;
		rdma_ack_cm_event(event);
	}
	return i->lost;
}

/* The completion of the one work request that is under way. */
static inline int impostor_sent(struct impostor *i, struct rdma_cm_id *id)
{
	struct timespec ms = { 0, 1000000 };
	struct ibv_wc wc;
	int n = 0;

	for (int tries = 0; tries < 10000 && !n; tries++) {
		bool lost = impostor_is_lost(i, 0);

		n = ibv_poll_cq(id->send_cq, 1, &wc);
		if (!n && lost)
			return -ECONNRESET;
		if (!n)
			nanosleep(&ms, NULL);
	}
	if (n != 1)
		return -ETIMEDOUT;
	if (wc.status == IBV_WC_REM_ACCESS_ERR)
		return -EREMOTEIO;
	return wc.status == IBV_WC_SUCCESS ? 0 : -ECONNRESET;
}

/* Send @len bytes from impostor_tx() on, whatever they are. */
static inline int impostor_send(struct impostor *i, __u32 len)
{
	struct ibv_sge sge = { (uintptr_t)impostor_tx(i), len, i->mr->lkey };
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_SEND,
		.send_flags = IBV_SEND_SIGNALED,
	}, *bad;

	if (ibv_post_send(i->ids[0]->qp, &wr, &bad))
		return -EIO;
	return impostor_sent(i, i->ids[0]);
}

/* Say @len bytes. */
static inline int impostor_say(struct impostor *i, const void *msg, __u32 len)
{
	struct rdma_hdr *hdr = (void *)impostor_tx(i);

	hdr->credits = htole16(i->owed);
	hdr->flags = 0;
	hdr->len = htole32(len);
	memcpy(hdr + 1, msg, len);
	i->owed = 0;
	return impostor_send(i, sizeof(*hdr) + len);
}

/* Wait for a packet with messages: 0, or -ECONNRESET, -ETIMEDOUT. */
static inline int impostor_receive(struct impostor *i, int ms)
{
	struct timespec nap = { 0, 1000000 };
	const struct rdma_hdr *hdr;
	struct ibv_wc wc;

	i->at = i->end = 0;
	for (int tries = 0; tries < ms && !i->end; tries++) {
		bool lost = impostor_is_lost(i, 0);

		if (ibv_poll_cq(i->ids[0]->recv_cq, 1, &wc) != 1) {
			if (lost)
				return -ECONNRESET;
			nanosleep(&nap, NULL);
			continue;
		}
		if (wc.status != IBV_WC_SUCCESS)
			return -ECONNRESET;
		hdr = (void *)impostor_rx(i, wc.wr_id);
		i->end = le32toh(hdr->len);
		if (i->end > sizeof(i->packet) || wc.byte_len != sizeof(*hdr) + i->end)
			return -EBADMSG;
		memcpy(i->packet, hdr + 1, i->end);
		if (impostor_post_rx(i, wc.wr_id))
			return -ECONNRESET;
		i->owed++;
	}
	return i->end ? 0 : -ETIMEDOUT;
}

/* Hear a message: its length, or -ECONNRESET, -ETIMEDOUT. */
static inline int impostor_hear(struct impostor *i, void *msg, __u32 room, int ms)
{
	const struct wire_hdr *hdr;
	__u32 len;
	int ret;

	if (i->at >= i->end) {
		ret = impostor_receive(i, ms);
		if (ret)
			return ret;
	}
	hdr = (void *)(i->packet + i->at);
	len = le32toh(hdr->len);
	if (len < sizeof(*hdr) || len > i->end - i->at || len > room)
		return -EMSGSIZE;
	memcpy(msg, hdr, len);
	i->at += (len + WIRE_ALIGN - 1) / WIRE_ALIGN * WIRE_ALIGN;
	return len;
}

/* Hear messages until one is of that type. */
static inline int impostor_await(struct impostor *i, __u32 type, void *msg, __u32 room)
{
	int ret;

	do {
		ret = impostor_hear(i, msg, room, 10000);
	} while (ret > 0 && le16toh(((struct wire_hdr *)msg)->type) != type);
	return ret;
}

/* READ what the node has exposed. */
static inline int impostor_read(struct impostor *i, __u64 addr, __u32 rkey, __u32 len)
{
	struct ibv_sge sge = { (uintptr_t)impostor_got(i), len, i->mr->lkey };
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_RDMA_READ,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = { addr, rkey },
	}, *bad;

	if (ibv_post_send(i->ids[1]->qp, &wr, &bad))
		return -EIO;
	return impostor_sent(i, i->ids[1]);
}

static inline void impostor_challenge(struct impostor *i, const char *key)
{
	struct wire_challenge *c = &i->ours;
	__u8 mac[WIRE_MAC];

	hmac_sha256(key, WIRE_KEY_NAME, strlen(WIRE_KEY_NAME), mac);
	memset(c, 0, sizeof(*c));
	c->hdr.type = htole16(WIRE_CHALLENGE);
	c->hdr.len = htole32(sizeof(*c));
	c->version = htole32(WIRE_VERSION);
	c->flags = htole32(WIRE_AUTHENTICATES);
	c->from = htole32(i->self);
	c->to = htole32(i->other);
	c->incarnation = htole64(i->incarnation);
	memset(c->nonce, 9, sizeof(c->nonce));
	c->nkeys = htole32(1);
	memcpy(c->keys, mac, sizeof(c->keys[0]));
}

static inline void impostor_proof(const struct impostor *i, const char *key, bool of_lower,
				  struct wire_proof *proof)
{
	bool lower = i->self < i->other;
	struct wire_proven p = { .role = "" };

	strcpy(p.role, of_lower ? WIRE_ROLE_LOWER : WIRE_ROLE_HIGHER);
	p.lower = lower ? i->ours : i->its;
	p.higher = lower ? i->its : i->ours;
	memset(proof, 0, sizeof(*proof));
	proof->hdr.type = htole16(WIRE_PROOF);
	proof->hdr.len = htole32(sizeof(*proof));
	hmac_sha256(key, &p, sizeof(p), proof->mac);
}

/* The handshake, as the node with the lower id and as it should be. */
static inline int impostor_shake(struct impostor *i, const char *key)
{
	struct wire_proof proof, expected;
	int ret;

	impostor_challenge(i, key);
	ret = impostor_say(i, &i->ours, sizeof(i->ours));
	if (!ret)
		ret = impostor_hear(i, &i->its, sizeof(i->its), 10000);
	if (ret != sizeof(i->its))
		return ret < 0 ? ret : -EBADMSG;
	impostor_proof(i, key, true, &proof);
	ret = impostor_say(i, &proof, sizeof(proof));
	if (!ret)
		ret = impostor_hear(i, &proof, sizeof(proof), 10000);
	if (ret != sizeof(proof))
		return ret < 0 ? ret : -EBADMSG;
	impostor_proof(i, key, false, &expected);
	return memcmp(&proof, &expected, sizeof(proof)) ? -EBADE : 0;
}

#endif /* PROCLET_SELFTEST_IMPOSTOR_H */
