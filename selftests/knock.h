/* SPDX-License-Identifier: GPL-2.0 */
/* Queue pairs of a program's own that it introduces to a node as those of another one. */
#ifndef PROCLET_SELFTEST_KNOCK_H
#define PROCLET_SELFTEST_KNOCK_H

#include <errno.h>
#include <rdma/rdma_cma.h>
#include <string.h>

#include "../kmod/hello.h"

#define KNOCK_MS 2000

/* The next event of any id; its id if it is @wanted. Refused: -1000 - REFUSE_*. */
static inline int knock_event(struct rdma_event_channel *channel, enum rdma_cm_event_type wanted)
{
	struct rdma_refused refused;
	struct rdma_cm_event *event;
	int ret;

	if (rdma_get_cm_event(channel, &event))
		return -errno;
	ret = event->event == wanted ? 0 : -EPROTO;
	if (event->event == RDMA_CM_EVENT_REJECTED &&
	    event->param.conn.private_data_len >= sizeof(refused)) {
		memcpy(&refused, event->param.conn.private_data, sizeof(refused));
		if (le32toh(refused.magic) == HELLO_MAGIC)
			ret = -1000 - le16toh(refused.reason);
	}
	rdma_ack_cm_event(event);
	return ret;
}

/* Make one queue pair to @addr, not yet connected. */
static inline int knock_begin(struct rdma_event_channel *channel, struct sockaddr_in *addr,
			      struct rdma_cm_id **id)
{
	struct ibv_qp_init_attr attr = {
		.cap = { 32, 32, 1, 1, 0 },
		.qp_type = IBV_QPT_RC,
	};
	int ret;

	if (rdma_create_id(channel, id, NULL, RDMA_PS_TCP))
		return -errno;
	if (rdma_resolve_addr(*id, NULL, (struct sockaddr *)addr, KNOCK_MS))
		return -errno;
	ret = knock_event(channel, RDMA_CM_EVENT_ADDR_RESOLVED);
	if (ret)
		return ret;
	if (rdma_resolve_route(*id, KNOCK_MS))
		return -errno;
	ret = knock_event(channel, RDMA_CM_EVENT_ROUTE_RESOLVED);
	if (ret)
		return ret;
	return rdma_create_qp(*id, NULL, &attr) ? -errno : 0;
}

/* And connect it with @hello. */
static inline int knock_connect(struct rdma_event_channel *channel,
				const struct rdma_hello *hello, struct rdma_cm_id *id)
{
	struct rdma_conn_param param = {
		.private_data = hello,
		.private_data_len = sizeof(*hello),
		.responder_resources = 1,
		.initiator_depth = 1,
		.retry_count = 7,
	};

	if (rdma_connect(id, &param))
		return -errno;
	return knock_event(channel, RDMA_CM_EVENT_ESTABLISHED);
}

static inline int knock(struct rdma_event_channel *channel, struct sockaddr_in *addr,
			const struct rdma_hello *hello, struct rdma_cm_id **id)
{
	int ret = knock_begin(channel, addr, id);

	return ret ?: knock_connect(channel, hello, *id);
}

static inline void knock_end(struct rdma_cm_id *id)
{
	if (id && id->qp)
		rdma_destroy_qp(id);
	if (id)
		rdma_destroy_id(id);
}

#endif /* PROCLET_SELFTEST_KNOCK_H */
