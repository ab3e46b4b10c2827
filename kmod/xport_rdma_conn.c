// SPDX-License-Identifier: GPL-2.0
/*
 * The RDMA transport: making a connection and ending it. What happens in
 * between is in xport_rdma_msg.c and xport_rdma_mem.c.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": rdma: " fmt

#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <rdma/ib_cm.h>

#include "xport_rdma.h"

#define READ_DEPTH_MAX		16	/* READs that an adapter has under way */
#define CONNECT_TIMEOUT_MS	10000
#define DISCONNECT_TIMEOUT_MS	500

/*
 * A packet is sent 8 times in all before the connection is given up, so this is
 * both how fast a lost one is noticed and how long a peer may stand still.
 */
static unsigned int ack_timeout = 16;
module_param(ack_timeout, uint, 0644);
MODULE_PARM_DESC(ack_timeout, "rdma: repeat what is not acknowledged after 4.096 us << this (8..24); for new connections");

/* Failing and kicking: any context. */

/* Have the work item handle CONN_*. */
void conn_event(struct rdma_conn *conn, int bit)
{
	if (!test_and_set_bit(bit, &conn->events))
		mod_delayed_work(rdma_wq, &conn->p->work, 0);
}

void conn_fail(struct rdma_conn *conn, int error)
{
	cmpxchg(&conn->error, 0, error);
	conn_event(conn, CONN_FAILED);
}

/* The peer broke the protocol. */
void conn_break(struct rdma_conn *conn)
{
	set_bit(CONN_BROKEN, &conn->events);
	conn_fail(conn, -EPROTO);
}

void conn_wc_failed(struct rdma_conn *conn, const struct ib_wc *wc, const char *what)
{
	if (wc->status == IB_WC_WR_FLUSH_ERR)
		return;
	pr_warn_ratelimited("%s: peer %s: %s failed: %s (vendor error %#x)\n",
			    conn->p->peer->node->name, conn->p->peer->name,
			    what, ib_wc_status_msg(wc->status), wc->vendor_err);
	conn_fail(conn, -EIO);
}

static void conn_free(struct kref *ref)
{
	struct rdma_conn *conn = container_of(ref, struct rdma_conn, ref);

	kfree_rcu(conn, rcu);
}

void conn_put(struct rdma_conn *conn)
{
	kref_put(&conn->ref, conn_free);
}

/*
 * The connection of @peer if it is up. It stays as it is (its resources are not
 * released) until conn_leave().
 */
struct rdma_conn *conn_enter(struct peer *peer)
{
	struct rdma_conn *conn = NULL;
	struct rdma_peer *p;
	unsigned long flags;

	rcu_read_lock();
	p = READ_ONCE(peer->xport);
	if (p)
		conn = READ_ONCE(p->conn);
	if (conn) {
		spin_lock_irqsave(&conn->lock, flags);
		if (conn->state == CONN_UP) {
			conn->users++;
			spin_unlock_irqrestore(&conn->lock, flags);
		} else {
			spin_unlock_irqrestore(&conn->lock, flags);
			conn = NULL;
		}
	}
	rcu_read_unlock();
	return conn;
}

void conn_leave(struct rdma_conn *conn)
{
	unsigned long flags;

	spin_lock_irqsave(&conn->lock, flags);
	if (!--conn->users)
		wake_up(&conn->wait);
	spin_unlock_irqrestore(&conn->lock, flags);
}

static bool conn_unused(struct rdma_conn *conn)
{
	bool unused;

	spin_lock_irq(&conn->lock);
	unused = !conn->users;
	spin_unlock_irq(&conn->lock);
	return unused;
}

/* Setting a connection up. */

static void qp_event(struct ib_event *event, void *context)
{
	struct rdma_conn *conn = context;

	switch (event->event) {
	case IB_EVENT_COMM_EST:
		rdma_notify(conn->id, event->event);
		break;
	case IB_EVENT_SQ_DRAINED:
	case IB_EVENT_QP_LAST_WQE_REACHED:
	case IB_EVENT_PATH_MIG:
		break;
	default:
		conn_fail(conn, -EIO);
		break;
	}
}

static int conn_create_qp(struct rdma_conn *conn)
{
	struct ib_device *dev = conn->id->device;
	struct ib_qp_init_attr attr = {
		.event_handler = qp_event,
		.qp_context = conn,
		.cap.max_recv_wr = RING_DEPTH + 1,
		.cap.max_recv_sge = 2,
		.sq_sig_type = IB_SIGNAL_REQ_WR,
		.qp_type = IB_QPT_RC,
		.port_num = conn->id->port_num,
	};
	int ret;

	conn->dev = dev;
	if (dev->attrs.max_send_sge < 2 || dev->attrs.max_recv_sge < 2)
		return -EOPNOTSUPP;
	ret = conn_size_mem(conn, &attr);
	if (ret)
		return ret;

	conn->pd = ib_alloc_pd(dev, 0);
	if (IS_ERR(conn->pd)) {
		ret = PTR_ERR(conn->pd);
		conn->pd = NULL;
		return ret;
	}
	conn->send_cq = ib_alloc_cq_any(dev, conn, attr.cap.max_send_wr,
					IB_POLL_SOFTIRQ);
	if (IS_ERR(conn->send_cq)) {
		ret = PTR_ERR(conn->send_cq);
		conn->send_cq = NULL;
		return ret;
	}
	conn->recv_cq = ib_alloc_cq_any(dev, conn, attr.cap.max_recv_wr,
					IB_POLL_SOFTIRQ);
	if (IS_ERR(conn->recv_cq)) {
		ret = PTR_ERR(conn->recv_cq);
		conn->recv_cq = NULL;
		return ret;
	}
	attr.send_cq = conn->send_cq;
	attr.recv_cq = conn->recv_cq;
	ret = rdma_create_qp(conn->id, conn->pd, &attr);
	if (ret)
		return ret;
	conn->qp = conn->id->qp;

	ret = conn_alloc_msgs(conn);
	if (!ret)
		ret = conn_alloc_mem(conn);
	if (!ret)
		ret = conn_post_rx(conn);
	return ret;
}

static void conn_param(struct rdma_conn *conn, struct rdma_conn_param *param,
		       struct rdma_hello *hello)
{
	const struct peer *peer = conn->p->peer;

	*hello = (struct rdma_hello) {
		.magic = cpu_to_le32(HELLO_MAGIC),
		.version = cpu_to_le16(WIRE_VERSION),
		.page_shift = cpu_to_le16(HELLO_PAGE_SHIFT),
		.from = cpu_to_le16(peer->node->id),
		.to = cpu_to_le16(peer->id),
		.depth = cpu_to_le16(RING_DEPTH),
		.incarnation = cpu_to_le64(peer->node->incarnation),
	};
	*param = (struct rdma_conn_param) {
		.private_data = hello,
		.private_data_len = sizeof(*hello),
		.initiator_depth = min_t(u32, conn->initiator_depth,
					 conn->dev->attrs.max_qp_init_rd_atom),
		.responder_resources = min_t(u32, conn->responder_resources,
					     conn->dev->attrs.max_qp_rd_atom),
		.flow_control = 1,
		.retry_count = 7,
		.rnr_retry_count = 6,	/* 7 would be for ever */
	};
}

/* Bounds for what the adapter takes: 5 bits, of which 0 means for ever. */
static void conn_set_ack_timeout(struct rdma_conn *conn)
{
	rdma_set_ack_timeout(conn->id, clamp(READ_ONCE(ack_timeout), 8U, 24U));
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

int conn_resolve_route(struct rdma_conn *conn, unsigned int timeout_ms)
{
	/* Before, so that the peer is told of it, too. */
	conn_set_ack_timeout(conn);
	return rdma_resolve_route(conn->id, timeout_ms);
}

int conn_connect(struct rdma_conn *conn)
{
	struct rdma_conn_param param;
	struct rdma_hello hello;
	int ret;

	ret = conn_create_qp(conn);
	if (ret)
		return ret;
	conn_param(conn, &param, &hello);
	return rdma_connect(conn->id, &param);
}

int conn_accept(struct rdma_conn *conn)
{
	struct rdma_conn_param param;
	struct rdma_hello hello;
	struct rdma_refused refused = {
		.magic = cpu_to_le32(HELLO_MAGIC),
		.reason = cpu_to_le16(REFUSE_BUSY),
		.version = cpu_to_le16(WIRE_VERSION),
	};
	int ret;

	conn_set_ack_timeout(conn);
	ret = conn_create_qp(conn);
	if (ret) {
		rdma_reject(conn->id, &refused, sizeof(refused),
			    IB_CM_REJ_CONSUMER_DEFINED);
		return ret;
	}
	conn_param(conn, &param, &hello);
	rdma_lock_handler(conn->id);
	ret = rdma_accept(conn->id, &param);
	rdma_unlock_handler(conn->id);
	return ret;
}

/* What rdma_cm tells us. */

static void conn_rejected(struct rdma_conn *conn, struct rdma_cm_event *ev)
{
	struct rdma_refused refused;
	const void *data;
	u8 len;

	data = rdma_consumer_reject_data(conn->id, ev, &len);
	if (data && len >= sizeof(refused)) {
		memcpy(&refused, data, sizeof(refused));
		if (le32_to_cpu(refused.magic) == HELLO_MAGIC) {
			conn->refusal = le16_to_cpu(refused.reason);
			conn->version = le16_to_cpu(refused.version);
		}
	}
	conn_fail(conn, -ECONNREFUSED);
}

static void conn_established(struct rdma_conn *conn, const struct rdma_cm_event *ev)
{
	const struct peer *peer = conn->p->peer;
	char text[HELLO_TEXT_MAX];
	struct rdma_hello hello;
	int reason;

	if (!conn->passive) {
		reason = hello_parse(&ev->param.conn, peer->node, &hello);
		if (!reason && le16_to_cpu(hello.from) != peer->id)
			reason = REFUSE_WRONG_NODE;
		if (reason) {
			pr_warn_ratelimited("%s: %pISpc is not peer %s: %s\n",
					    peer->node->name,
					    &conn->id->route.addr.dst_addr,
					    peer->name,
					    hello_text(text, reason,
						       le16_to_cpu(hello.version)));
			conn_fail(conn, -EPROTO);
			return;
		}
		conn->incarnation = le64_to_cpu(hello.incarnation);
		conn->depth = le16_to_cpu(hello.depth);
	}
	conn_event(conn, CONN_ESTABLISHED);
}

int conn_cm_event(struct rdma_cm_id *id, struct rdma_cm_event *ev)
{
	struct rdma_conn *conn = id->context;

	switch (ev->event) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		conn_event(conn, CONN_ADDR_RESOLVED);
		break;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		conn_event(conn, CONN_ROUTE_RESOLVED);
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		conn_established(conn, ev);
		break;
	case RDMA_CM_EVENT_REJECTED:
		conn_rejected(conn, ev);
		break;
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
		conn_fail(conn, ev->status < 0 ? ev->status : -EHOSTUNREACH);
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_TIMEWAIT_EXIT:
		set_bit(CONN_QUIET, &conn->events);
		wake_up(&conn->wait);
		conn_fail(conn, -ECONNRESET);
		break;
	case RDMA_CM_EVENT_ADDR_CHANGE:
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		/* rdma_cm waits until the work item has destroyed the id. */
		set_bit(CONN_QUIET, &conn->events);
		wake_up(&conn->wait);
		conn_fail(conn, -ENODEV);
		break;
	default:
		break;
	}
	return 0;
}

struct rdma_conn *conn_alloc(bool passive)
{
	struct rdma_conn *conn;

	conn = kzalloc(sizeof(*conn), GFP_KERNEL);
	if (!conn)
		return NULL;
	kref_init(&conn->ref);
	conn->passive = passive;
	conn->deadline = jiffies + msecs_to_jiffies(CONNECT_TIMEOUT_MS);
	conn->initiator_depth = READ_DEPTH_MAX;
	conn->responder_resources = READ_DEPTH_MAX;
	INIT_LIST_HEAD(&conn->entry);
	mutex_init(&conn->read_mutex);
	INIT_WORK(&conn->read_work, conn_reads_work);
	INIT_WORK(&conn->rx_work, conn_rx_work);
	init_waitqueue_head(&conn->wait);
	spin_lock_init(&conn->lock);
	INIT_LIST_HEAD(&conn->early);
	INIT_LIST_HEAD(&conn->rxq);
	INIT_LIST_HEAD(&conn->msgs);
	INIT_LIST_HEAD(&conn->tx_free);
	INIT_LIST_HEAD(&conn->mrs);
	INIT_LIST_HEAD(&conn->mr_free);
	INIT_LIST_HEAD(&conn->mrq);
	INIT_LIST_HEAD(&conn->mems);
	INIT_LIST_HEAD(&conn->reads);
	INIT_LIST_HEAD(&conn->chunks);
	INIT_LIST_HEAD(&conn->posted);
	return conn;
}

/* Taking a connection down. */

/* Ends in xport_peer_down() if there was an xport_peer_up(). */
void conn_destroy(struct rdma_conn *conn)
{
	struct rdma_peer *p = conn->p;
	bool up;

	spin_lock_irq(&conn->lock);
	up = conn->state == CONN_UP;
	conn->state = CONN_DOWN;
	spin_unlock_irq(&conn->lock);
	if (p->conn == conn)
		WRITE_ONCE(p->conn, NULL);

	/* Nobody posts now. Let all that was posted come back. */
	if (conn->qp) {
		if (conn->was_connected)
			rdma_disconnect(conn->id);
		ib_drain_qp(conn->qp);
	}
	wait_event(conn->wait, conn_unused(conn));
	cancel_work_sync(&conn->read_work);
	/* What came before the end is still handed over. */
	flush_work(&conn->rx_work);

	conn_end_mem(conn);
	if (up) {
		atomic64_inc(&p->peer->disconnects);
		xport_peer_down(p->peer);
	}

	/*
	 * Better not destroy a queue pair that the peer still sends to: it is
	 * legal, but not all adapters (rxe) survive it. The peer's answer to our
	 * rdma_disconnect(), or its own, says that it has stopped.
	 */
	if (conn->was_connected)
		wait_event_timeout(conn->wait, test_bit(CONN_QUIET, &conn->events),
				   msecs_to_jiffies(DISCONNECT_TIMEOUT_MS));

	if (conn->qp)
		rdma_destroy_qp(conn->id);
	if (conn->recv_cq)
		ib_free_cq(conn->recv_cq);
	if (conn->send_cq)
		ib_free_cq(conn->send_cq);
	conn_free_mem(conn);
	conn_free_msgs(conn);
	if (conn->pd)
		ib_dealloc_pd(conn->pd);
	if (conn->id)
		rdma_destroy_id(conn->id);
	conn_put(conn);
}
