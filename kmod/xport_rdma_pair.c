// SPDX-License-Identifier: GPL-2.0
/*
 * The RDMA transport: making a queue pair of a connection and ending it. Each is
 * a connection to rdma_cm, whose events come here.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": rdma: " fmt

#include <linux/module.h>
#include <linux/moduleparam.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <rdma/ib_cm.h>

#include "xport_rdma.h"

#define RESOLVE_TIMEOUT_MS	2000

/*
 * A packet is sent 8 times in all before the connection is given up, so this is
 * both how fast a lost one is noticed and how long a peer may stand still.
 */
static unsigned int ack_timeout = 15;
module_param(ack_timeout, uint, 0644);
MODULE_PARM_DESC(ack_timeout, "rdma: repeat what is not acknowledged after 4.096 us << this (8..24); for new connections");

/* Have the work item handle PAIR_*. */
void pair_event(struct rdma_pair *pair, int bit)
{
	if (!test_and_set_bit(bit, &pair->events))
		mod_delayed_work(rdma_wq, &pair->conn->p->work, 0);
}

/* Connecting and accepting. */

static void qp_event(struct ib_event *event, void *context)
{
	struct rdma_pair *pair = context;

	switch (event->event) {
	case IB_EVENT_COMM_EST:
		rdma_notify(pair->id, event->event);
		break;
	case IB_EVENT_SQ_DRAINED:
	case IB_EVENT_QP_LAST_WQE_REACHED:
	case IB_EVENT_PATH_MIG:
		break;
	default:
		conn_fail(pair->conn, -EIO);
		break;
	}
}

static struct ib_cq *cq_create(struct rdma_conn *conn, int nr)
{
	return ib_alloc_cq_any(conn->dev, conn, nr, IB_POLL_SOFTIRQ);
}

static int pair_create_qp(struct rdma_pair *pair, const struct ib_qp_cap *cap)
{
	struct rdma_conn *conn = pair->conn;
	struct ib_qp_init_attr attr = {
		.event_handler = qp_event,
		.qp_context = pair,
		.cap = *cap,
		.sq_sig_type = IB_SIGNAL_REQ_WR,
		.qp_type = IB_QPT_RC,
		.port_num = pair->id->port_num,
	};
	struct ib_cq *cq;
	int ret;

	/* What is received by a queue pair for READs is the mark of ib_drain_qp(). */
	cq = cq_create(conn, cap->max_send_wr + (pair->index ? cap->max_recv_wr : 0));
	if (IS_ERR(cq))
		return PTR_ERR(cq);
	pair->send_cq = cq;
	if (!pair->index)
		cq = cq_create(conn, cap->max_recv_wr);
	if (IS_ERR(cq))
		return PTR_ERR(cq);
	pair->recv_cq = cq;

	attr.send_cq = pair->send_cq;
	attr.recv_cq = pair->recv_cq;
	ret = rdma_create_qp(pair->id, conn->pd, &attr);
	if (!ret)
		pair->qp = pair->id->qp;
	return ret;
}

static int pair_create(struct rdma_pair *pair)
{
	static const struct ib_qp_cap msg_cap = {
		.max_send_wr = TX_SLOTS + MR_SLOTS + 1,
		.max_recv_wr = RING_DEPTH + 1,
		.max_send_sge = 2,
		.max_recv_sge = 2,
	};
	struct rdma_conn *conn = pair->conn;
	int ret;

	if (pair->index) {
		/* One protection domain: the keys must be good for all. */
		if (pair->id->device != conn->dev)
			return -EXDEV;
		return pair_create_qp(pair, &conn->read_cap);
	}
	ret = conn_alloc_pd(conn);
	if (!ret)
		ret = pair_create_qp(pair, &msg_cap);
	if (!ret)
		ret = conn_alloc_msgs(conn);
	if (!ret)
		ret = conn_alloc_mem(conn);
	if (!ret)
		ret = conn_post_rx(conn);
	return ret;
}

static void pair_param(struct rdma_pair *pair, struct rdma_conn_param *param,
		       struct rdma_hello *hello)
{
	const struct rdma_conn *conn = pair->conn;
	const struct peer *peer = conn->p->peer;

	*hello = (struct rdma_hello) {
		.magic = cpu_to_le32(HELLO_MAGIC),
		.version = cpu_to_le16(WIRE_VERSION),
		.page_shift = cpu_to_le16(HELLO_PAGE_SHIFT),
		.from = cpu_to_le16(peer->node->id),
		.to = cpu_to_le16(peer->id),
		.depth = cpu_to_le16(RING_DEPTH),
		.qp = pair->index,
		.qps = conn->nr_pairs,
		.incarnation = cpu_to_le64(peer->node->incarnation),
		.nonce = cpu_to_le64(conn->nonce),
	};
	*param = (struct rdma_conn_param) {
		.private_data = hello,
		.private_data_len = sizeof(*hello),
		.initiator_depth = min_t(u32, pair->initiator_depth,
					 conn->dev->attrs.max_qp_init_rd_atom),
		.responder_resources = min_t(u32, pair->responder_resources,
					     conn->dev->attrs.max_qp_rd_atom),
		.flow_control = 1,
		.retry_count = 6,		/* 7 is for ever with soft-RoCE */
		.rnr_retry_count = 6,	/* 7 would be for ever */
	};
}

/* Bounds for what the adapter takes: 5 bits, of which 0 means for ever. */
static void pair_set_ack_timeout(struct rdma_pair *pair)
{
	rdma_set_ack_timeout(pair->id, clamp(READ_ONCE(ack_timeout), 8U, 24U));
}

int hello_parse(const struct rdma_conn_param *param, const struct pnode *node,
		struct rdma_hello *hello)
{
	u32 len = min_t(u32, param->private_data_len, sizeof(*hello));

	BUILD_BUG_ON(PAGE_SHIFT != HELLO_PAGE_SHIFT);
	memset(hello, 0, sizeof(*hello));
	if (!param->private_data)
		return REFUSE_MALFORMED;
	memcpy(hello, param->private_data, len);
	return hello_check(hello, len, node->id);
}

/* The address that our side shall have, or NULL: any. */
static struct sockaddr *pair_source(const struct rdma_pair *pair,
				    struct sockaddr_storage *buf)
{
	const struct rdma_conn *conn = pair->conn;
	const struct peer *peer = conn->p->peer;
	struct sockaddr_in *in = (struct sockaddr_in *)buf;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)buf;

	/* All from one adapter. */
	*buf = pair->index ? conn->pairs[0].id->route.addr.src_addr : peer->node->addr;
	if (buf->ss_family != peer->addr.ss_family)
		return NULL;
	if (buf->ss_family == AF_INET) {
		if (in->sin_addr.s_addr == htonl(INADDR_ANY))
			return NULL;
		in->sin_port = 0;
	} else {
		if (ipv6_addr_any(&in6->sin6_addr))
			return NULL;
		in6->sin6_port = 0;
	}
	return (struct sockaddr *)buf;
}

static int pair_cm_event(struct rdma_cm_id *id, struct rdma_cm_event *ev);

static int pair_resolve_addr(struct rdma_pair *pair)
{
	struct peer *peer = pair->conn->p->peer;
	struct sockaddr_storage src;
	struct rdma_cm_id *id;

	id = rdma_create_id(&init_net, pair_cm_event, pair, RDMA_PS_TCP, IB_QPT_RC);
	if (IS_ERR(id))
		return PTR_ERR(id);
	pair->id = id;
	return rdma_resolve_addr(id, pair_source(pair, &src),
				 (struct sockaddr *)&peer->addr, RESOLVE_TIMEOUT_MS);
}

static int pair_resolve_route(struct rdma_pair *pair)
{
	/* Before, so that the peer is told of it, too. */
	pair_set_ack_timeout(pair);
	return rdma_resolve_route(pair->id, RESOLVE_TIMEOUT_MS);
}

static int pair_connect(struct rdma_pair *pair)
{
	struct rdma_conn_param param;
	struct rdma_hello hello;
	int ret;

	ret = pair_create(pair);
	if (ret)
		return ret;
	pair_param(pair, &param, &hello);
	return rdma_connect(pair->id, &param);
}

static int pair_accept(struct rdma_pair *pair)
{
	struct rdma_conn_param param;
	struct rdma_hello hello;
	struct rdma_refused refused = {
		.magic = cpu_to_le32(HELLO_MAGIC),
		.reason = cpu_to_le16(REFUSE_BUSY),
		.version = cpu_to_le16(WIRE_VERSION),
	};
	int ret;

	pair_set_ack_timeout(pair);
	ret = pair_create(pair);
	if (ret) {
		rdma_reject(pair->id, &refused, sizeof(refused),
			    IB_CM_REJ_CONSUMER_DEFINED);
		return ret;
	}
	pair_param(pair, &param, &hello);
	rdma_lock_handler(pair->id);
	ret = rdma_accept(pair->id, &param);
	rdma_unlock_handler(pair->id);
	return ret;
}

/* The peer asks for @pair, by @id: the work item will accept it. */
void pair_request(struct rdma_pair *pair, struct rdma_cm_id *id,
		  const struct rdma_conn_param *param)
{
	pair->initiator_depth = min(param->initiator_depth, pair->initiator_depth);
	pair->responder_resources = min(param->responder_resources,
					pair->responder_resources);
	pair->id = id;
	/* Before the work item has it; rdma_cm looks at them after we return. */
	id->context = pair;
	id->event_handler = pair_cm_event;
	set_bit(PAIR_REQUESTED, &pair->events);
}

/* Do what is to be done now to have it established. */
int pair_step(struct rdma_pair *pair)
{
	struct rdma_conn *conn = pair->conn;
	int ret = 0;

	/* The first one tells the peer of the connection that the others are of. */
	if (!conn->passive && !pair->id &&
	    (!pair->index || test_bit(PAIR_ESTABLISHED, &conn->pairs[0].events)))
		ret = pair_resolve_addr(pair);
	if (!ret && test_and_clear_bit(PAIR_ADDR_RESOLVED, &pair->events))
		ret = pair_resolve_route(pair);
	if (!ret && test_and_clear_bit(PAIR_ROUTE_RESOLVED, &pair->events))
		ret = pair_connect(pair);
	if (!ret && test_and_clear_bit(PAIR_REQUESTED, &pair->events))
		ret = pair_accept(pair);
	return ret;
}

/* At each tick of the keepalive: READs have been under way for so many and none ended. */
bool pair_stalls(struct rdma_pair *pair, u32 ticks)
{
	struct rdma_conn *conn = pair->conn;

	spin_lock_irq(&conn->lock);
	if (!pair->posted || pair->ended != pair->seen)
		pair->silent = 0;
	else
		pair->silent++;
	pair->seen = pair->ended;
	spin_unlock_irq(&conn->lock);
	return pair->silent >= ticks;
}

/* What rdma_cm tells us. */

static void pair_rejected(struct rdma_pair *pair, struct rdma_cm_event *ev)
{
	struct rdma_conn *conn = pair->conn;
	struct rdma_refused refused;
	const void *data;
	u8 len;

	data = rdma_consumer_reject_data(pair->id, ev, &len);
	if (data && len >= sizeof(refused)) {
		memcpy(&refused, data, sizeof(refused));
		if (le32_to_cpu(refused.magic) == HELLO_MAGIC) {
			conn->refusal = le16_to_cpu(refused.reason);
			conn->version = le16_to_cpu(refused.version);
		}
	}
	conn_fail(conn, -ECONNREFUSED);
}

/* REFUSE_*: whether the answer to our hello is one. */
static int pair_check_answer(struct rdma_pair *pair, const struct rdma_conn_param *param,
			     struct rdma_hello *hello)
{
	struct rdma_conn *conn = pair->conn;
	const struct peer *peer = conn->p->peer;
	int reason;

	reason = hello_parse(param, peer->node, hello);
	if (reason)
		return reason;
	if (le16_to_cpu(hello->from) != peer->id)
		return REFUSE_WRONG_NODE;
	if (!pair->index) {
		conn->incarnation = le64_to_cpu(hello->incarnation);
		conn->depth = le16_to_cpu(hello->depth);
	}
	return conn_is_of(conn, hello) && hello->qp == pair->index ? REFUSE_NONE :
								     REFUSE_STALE;
}

static void pair_established(struct rdma_pair *pair, const struct rdma_cm_event *ev)
{
	const struct peer *peer = pair->conn->p->peer;
	char text[HELLO_TEXT_MAX];
	struct rdma_hello hello;
	int reason;

	if (!pair->conn->passive) {
		reason = pair_check_answer(pair, &ev->param.conn, &hello);
		if (reason) {
			pr_warn_ratelimited("%s: %pISpc is not peer %s: %s\n",
					    peer->node->name,
					    &pair->id->route.addr.dst_addr,
					    peer->name,
					    hello_text(text, reason,
						       le16_to_cpu(hello.version)));
			conn_fail(pair->conn, -EPROTO);
			return;
		}
	}
	pair_event(pair, PAIR_ESTABLISHED);
}

static void pair_quiet(struct rdma_pair *pair, int error)
{
	set_bit(PAIR_QUIET, &pair->events);
	wake_up(&pair->conn->wait);
	conn_fail(pair->conn, error);
}

static int pair_cm_event(struct rdma_cm_id *id, struct rdma_cm_event *ev)
{
	struct rdma_pair *pair = id->context;

	switch (ev->event) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		pair_event(pair, PAIR_ADDR_RESOLVED);
		break;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		pair_event(pair, PAIR_ROUTE_RESOLVED);
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		pair_established(pair, ev);
		break;
	case RDMA_CM_EVENT_REJECTED:
		pair_rejected(pair, ev);
		break;
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
		conn_fail(pair->conn, ev->status < 0 ? ev->status : -EHOSTUNREACH);
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_TIMEWAIT_EXIT:
		pair_quiet(pair, -ECONNRESET);
		break;
	case RDMA_CM_EVENT_ADDR_CHANGE:
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		/* rdma_cm waits until the work item has destroyed the id. */
		pair_quiet(pair, -ENODEV);
		break;
	default:
		break;
	}
	return 0;
}

/* The end: the work item's, when nobody posts any more. */

void pair_drain(struct rdma_pair *pair)
{
	if (!pair->qp)
		return;
	if (test_bit(PAIR_ESTABLISHED, &pair->events))
		rdma_disconnect(pair->id);
	ib_drain_qp(pair->qp);
}

void pair_destroy_qp(struct rdma_pair *pair)
{
	if (pair->qp)
		rdma_destroy_qp(pair->id);
	if (pair->recv_cq && pair->recv_cq != pair->send_cq)
		ib_free_cq(pair->recv_cq);
	if (pair->send_cq)
		ib_free_cq(pair->send_cq);
}
