// SPDX-License-Identifier: GPL-2.0
/*
 * The transport over RDMA.
 *
 * One reliable connection for each pair of nodes, made by rdma_cm: the node with
 * the lower id connects, the other one listens. Both introduce themselves in the
 * CM's private data (struct rdma_hello).
 *
 * Messages are SENDs into a ring of receive buffers. A node never has more SENDs
 * under way than the peer has buffers: each message carries a header with the
 * number of buffers that were posted again (credits), and when half of the ring
 * is owed and nothing else is to be sent, a message with only the header goes
 * out. CTL_RESERVE credits are kept for such control messages. An adapter's
 * "receiver not ready" is therefore never seen between correct nodes.
 *
 * Pages are exposed by fast registration, for remote reading only. Each
 * connection has a protection domain of its own: a key given to one peer is of
 * no use to another. Reads go through rdma_rw_ctx_*(), which knows what the
 * adapter wants for the local side.
 *
 * The send queue is divided between messages (a struct rdma_tx each), memory
 * registration (@mr_slots) and reads (a struct rdma_chunk each), so whoever has
 * one of these has room in the queue, and it is never over-posted.
 *
 * All that happens to a connection's state is done by its peer's work item:
 * the callbacks of rdma_cm and of the completion queues only set bits and queue
 * it. That also serialises xport_peer_up() and xport_peer_down().
 *
 * Completions are softirqs. A message that the core cannot handle there
 * (xport_recv_now()) and all behind it go to a work item, which calls xport_recv().
 * They are held back until xport_peer_up() has returned and have ended before
 * xport_peer_down().
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": rdma: " fmt

#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <rdma/ib_cm.h>

#include "xport_rdma.h"

#define INCOMING_MAX		4
#define RESOLVE_TIMEOUT_MS	2000
#define RETRY_MIN_MS		100
#define RETRY_MAX_MS		2000

static unsigned int keepalive_ms = 1000;
module_param(keepalive_ms, uint, 0644);
MODULE_PARM_DESC(keepalive_ms, "rdma: ask for a sign of life from a peer silent for this long; 0: never");

static unsigned int peer_timeout_ms = 10000;
module_param(peer_timeout_ms, uint, 0644);
MODULE_PARM_DESC(peer_timeout_ms, "rdma: drop the connection to a peer silent for this long");

/**
 * struct rdma_node - what pnode.xport points to
 * @node: whose it is
 * @id: the listener, NULL after its adapter went away
 * @work: listens again then
 * @lock: protects @id and @stopping
 * @stopping: node_stop has been called
 * @lost: the adapter went away
 */
struct rdma_node {
	struct pnode *node;
	struct rdma_cm_id *id;
	struct delayed_work work;
	struct mutex lock;	/* see above */
	bool stopping;
	bool lost;
};

struct workqueue_struct *rdma_wq;
struct workqueue_struct *rdma_rx_wq;

static void peer_wake(struct rdma_peer *p)
{
	mod_delayed_work(rdma_wq, &p->work, 0);
}

/* The work item of a peer. */

/* The address that our side of a connection shall have, or NULL: any. */
static struct sockaddr *node_source(const struct pnode *node, int family,
				    struct sockaddr_storage *buf)
{
	struct sockaddr_in *in = (struct sockaddr_in *)buf;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)buf;

	if (node->addr.ss_family != family)
		return NULL;
	*buf = node->addr;
	if (family == AF_INET) {
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

static int peer_connect(struct rdma_peer *p)
{
	struct peer *peer = p->peer;
	struct sockaddr_storage src;
	struct rdma_conn *conn;
	struct rdma_cm_id *id;
	int ret;

	conn = conn_alloc(false);
	if (!conn)
		return -ENOMEM;
	conn->p = p;
	id = rdma_create_id(&init_net, conn_cm_event, conn, RDMA_PS_TCP, IB_QPT_RC);
	if (IS_ERR(id)) {
		conn_put(conn);
		return PTR_ERR(id);
	}
	conn->id = id;
	p->cur = conn;
	ret = rdma_resolve_addr(id, node_source(peer->node, peer->addr.ss_family, &src),
				(struct sockaddr *)&peer->addr, RESOLVE_TIMEOUT_MS);
	if (ret)
		conn_fail(conn, ret);
	return 0;
}

static void conn_up(struct rdma_conn *conn)
{
	struct rdma_peer *p = conn->p;
	struct peer *peer = p->peer;

	conn->was_connected = true;
	conn->up_since = jiffies;
	conn->next_tick = jiffies;
	spin_lock_irq(&conn->lock);
	conn->state = CONN_UP;
	conn->credits = conn->depth;
	spin_unlock_irq(&conn->lock);
	p->reported = 0;
	smp_store_release(&p->conn, conn);	/* complete for those who find it */

	pr_info("%s: connected to peer %s, node %u\n", peer->node->name,
		peer->name, peer->id);
	atomic64_inc(&peer->connects);
	xport_peer_up(peer, conn->incarnation);
	conn_open_rx(conn);
}

/*
 * Counts ticks rather than looking at the clock: a machine that stood still for
 * a while has not heard anything, but that says nothing about its peers.
 */
static int conn_keepalive(struct rdma_conn *conn)
{
	unsigned int seq = READ_ONCE(conn->rx_seq);
	unsigned int period = READ_ONCE(keepalive_ms);

	if (period && time_before(jiffies, conn->next_tick))
		return 0;
	conn->next_tick = jiffies + msecs_to_jiffies(period);
	if (seq != conn->rx_seen || !period) {
		conn->rx_seen = seq;
		conn->silent = 0;
		return 0;
	}
	conn->silent++;
	if (conn->silent > max(READ_ONCE(peer_timeout_ms) / period, 1U))
		return -ETIMEDOUT;
	if (conn->silent == 1)
		conn_ping(conn);
	return 0;
}

/*
 * Do what is to be done now. Returns 0, or why the connection must go; then it
 * has not been destroyed yet.
 */
static int conn_step(struct rdma_conn *conn)
{
	int ret;

	if (test_bit(CONN_FAILED, &conn->events))
		return READ_ONCE(conn->error);

	if (test_and_clear_bit(CONN_ADDR_RESOLVED, &conn->events)) {
		ret = conn_resolve_route(conn, RESOLVE_TIMEOUT_MS);
		if (ret)
			return ret;
	}
	if (test_and_clear_bit(CONN_ROUTE_RESOLVED, &conn->events)) {
		ret = conn_connect(conn);
		if (ret)
			return ret;
	}
	/* Only once: the bit stays, so that a second event is not one. */
	if (!conn->was_connected && test_bit(CONN_ESTABLISHED, &conn->events))
		conn_up(conn);

	if (conn->was_connected)
		return conn_keepalive(conn);
	return time_after(jiffies, conn->deadline) ? -ETIMEDOUT : 0;
}

static unsigned long conn_next_step(const struct rdma_conn *conn)
{
	unsigned long at = conn->deadline;

	if (conn->was_connected) {
		if (!READ_ONCE(keepalive_ms))
			return msecs_to_jiffies(RETRY_MAX_MS);
		at = conn->next_tick;
	}
	return time_before(jiffies, at) ? at - jiffies : 1;
}

/* The connection, or the attempt at one, is over: @error. */
static void peer_drop(struct rdma_peer *p, int error)
{
	struct rdma_conn *conn = p->cur;
	const struct peer *peer = p->peer;
	char text[HELLO_TEXT_MAX];
	unsigned int delay;

	if (conn->was_connected)
		pr_info("%s: connection to peer %s lost: %pe\n", peer->node->name,
			peer->name, ERR_PTR(error));
	else if (error != p->reported && conn->refusal)
		pr_warn("%s: peer %s refused the connection: %s\n",
			peer->node->name, peer->name,
			hello_text(text, conn->refusal, conn->version));
	else if (error != p->reported)
		pr_info("%s: cannot connect to peer %s: %pe, will go on trying\n",
			peer->node->name, peer->name, ERR_PTR(error));
	p->reported = error;
	peer_set_error(p->peer, error);

	/* One that did not hold for long counts as a failure. */
	if (conn->was_connected &&
	    time_after(jiffies, conn->up_since + msecs_to_jiffies(RETRY_MAX_MS)))
		p->backoff = 0;
	delay = min(RETRY_MIN_MS << p->backoff, RETRY_MAX_MS);
	if (delay < RETRY_MAX_MS)
		p->backoff++;

	p->cur = NULL;
	conn_destroy(conn);
	p->retry_at = jiffies + msecs_to_jiffies(delay);
}

/* The newest connection that the peer has made to us; older ones are stale. */
static struct rdma_conn *peer_take_incoming(struct rdma_peer *p)
{
	struct rdma_conn *conn, *next, *newest = NULL;
	LIST_HEAD(incoming);

	spin_lock_irq(&p->lock);
	list_splice_init(&p->incoming, &incoming);
	p->nr_incoming = 0;
	spin_unlock_irq(&p->lock);

	list_for_each_entry_safe(conn, next, &incoming, entry) {
		list_del_init(&conn->entry);
		if (newest)
			conn_destroy(newest);
		newest = conn;
	}
	return newest;
}

static bool peer_stopping(struct rdma_peer *p)
{
	bool stopping;

	spin_lock_irq(&p->lock);
	stopping = p->stopping;
	spin_unlock_irq(&p->lock);
	return stopping;
}

static bool peer_is_active(const struct peer *peer)
{
	return peer->node->id < peer->id;
}

static void peer_work(struct work_struct *work)
{
	struct rdma_peer *p = container_of(to_delayed_work(work),
					   struct rdma_peer, work);
	struct rdma_conn *incoming;
	int ret;

	/* The order matters: after this nothing is added to the list. */
	if (peer_stopping(p)) {
		incoming = peer_take_incoming(p);
		if (incoming)
			conn_destroy(incoming);
		if (p->cur)
			conn_destroy(p->cur);
		p->cur = NULL;
		complete_all(&p->stopped);
		return;
	}

	incoming = peer_take_incoming(p);
	if (incoming) {
		/* A peer that connects has forgotten what it had with us. */
		if (p->cur)
			peer_drop(p, -ECONNRESET);
		p->cur = incoming;
		ret = conn_accept(incoming);
		if (ret)
			peer_drop(p, ret);
	} else if (!p->cur && peer_is_active(p->peer) &&
		   time_after_eq(jiffies, p->retry_at)) {
		ret = peer_connect(p);
		if (ret)
			p->retry_at = jiffies + msecs_to_jiffies(RETRY_MAX_MS);
	}

	if (p->cur) {
		ret = conn_step(p->cur);
		if (ret)
			peer_drop(p, ret);
	}

	if (p->cur)
		queue_delayed_work(rdma_wq, &p->work, conn_next_step(p->cur));
	else if (peer_is_active(p->peer))
		queue_delayed_work(rdma_wq, &p->work,
				   time_before(jiffies, p->retry_at) ?
				   p->retry_at - jiffies : 0);
}

static int rdma_peer_start(struct peer *peer)
{
	struct rdma_peer *p;

	if (!peer->id || peer->id > U16_MAX || peer->id == peer->node->id)
		return -EINVAL;
	if (peer_is_active(peer) && peer->addr.ss_family != AF_INET &&
	    peer->addr.ss_family != AF_INET6)
		return -EDESTADDRREQ;
	if (peer->xport)
		return -EALREADY;
	p = kzalloc(sizeof(*p), GFP_KERNEL);
	if (!p)
		return -ENOMEM;
	p->peer = peer;
	INIT_DELAYED_WORK(&p->work, peer_work);
	p->retry_at = jiffies;
	init_completion(&p->stopped);
	spin_lock_init(&p->lock);
	INIT_LIST_HEAD(&p->incoming);
	smp_store_release(&peer->xport, p);	/* complete for those who find it */
	peer_wake(p);
	return 0;
}

static void rdma_peer_stop(struct peer *peer)
{
	struct rdma_peer *p = peer->xport;

	if (!p)
		return;
	spin_lock_irq(&p->lock);
	p->stopping = true;
	spin_unlock_irq(&p->lock);
	peer_wake(p);
	wait_for_completion(&p->stopped);

	/* Then those who found it before (senders, kickers, the listener). */
	WRITE_ONCE(peer->xport, NULL);
	synchronize_rcu();
	cancel_delayed_work_sync(&p->work);
	kfree(p);
}

static void rdma_peer_kick(struct peer *peer)
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
		if (conn->state == CONN_UP)
			conn_break(conn);
		spin_unlock_irqrestore(&conn->lock, flags);
	}
	rcu_read_unlock();
}

/* Listening. */

static bool same_host(const struct sockaddr_storage *a,
		      const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	return ipv6_addr_equal(&((const struct sockaddr_in6 *)a)->sin6_addr,
			       &((const struct sockaddr_in6 *)b)->sin6_addr);
}

/* Give @conn to the work item of its peer. */
static int peer_add_incoming(struct peer *peer, struct rdma_conn *conn)
{
	struct rdma_peer *p;
	int reason = REFUSE_NONE;

	rcu_read_lock();
	p = READ_ONCE(peer->xport);
	if (!p) {
		rcu_read_unlock();
		return REFUSE_STOPPED;
	}
	spin_lock_irq(&p->lock);
	if (p->stopping) {
		reason = REFUSE_STOPPED;
	} else if (p->nr_incoming >= INCOMING_MAX) {
		reason = REFUSE_BUSY;
	} else {
		conn->p = p;
		list_add_tail(&conn->entry, &p->incoming);
		p->nr_incoming++;
		peer_wake(p);
	}
	spin_unlock_irq(&p->lock);
	rcu_read_unlock();
	return reason;
}

/*
 * Someone connects. If it is a peer that should, @id becomes its connection's,
 * otherwise the return value makes rdma_cm destroy @id.
 */
static int node_connect_request(struct rdma_node *rn, struct rdma_cm_id *id,
				struct rdma_cm_event *ev)
{
	struct pnode *node = rn->node;
	const struct rdma_conn_param *param = &ev->param.conn;
	struct rdma_refused refused = {
		.magic = cpu_to_le32(HELLO_MAGIC),
		.version = cpu_to_le16(WIRE_VERSION),
	};
	char text[HELLO_TEXT_MAX];
	struct rdma_hello hello;
	struct rdma_conn *conn;
	struct peer *peer;
	int reason;

	reason = hello_parse(param, node, &hello);
	if (reason)
		goto refuse;
	peer = peer_get(node, le16_to_cpu(hello.from));
	reason = REFUSE_UNKNOWN;
	if (!peer)
		goto refuse;
	reason = REFUSE_DIRECTION;
	if (peer_is_active(peer))
		goto put_peer;
	reason = REFUSE_ADDRESS;
	if (peer->addr.ss_family != AF_UNSPEC &&
	    !same_host(&id->route.addr.dst_addr, &peer->addr))
		goto put_peer;
	reason = REFUSE_BUSY;
	conn = conn_alloc(true);
	if (!conn)
		goto put_peer;

	conn->id = id;
	conn->incarnation = le64_to_cpu(hello.incarnation);
	conn->depth = le16_to_cpu(hello.depth);
	conn->initiator_depth = min(param->initiator_depth, conn->initiator_depth);
	conn->responder_resources = min(param->responder_resources,
					conn->responder_resources);
	/* Before the work item has it; rdma_cm looks at them after we return. */
	id->context = conn;
	id->event_handler = conn_cm_event;
	reason = peer_add_incoming(peer, conn);
	if (!reason) {
		peer_put(peer);
		return 0;
	}
	id->context = rn;
	conn_put(conn);
put_peer:
	peer_put(peer);
refuse:
	pr_warn_ratelimited("%s: refused %pISpc, which says that it is node %u: %s\n",
			    node->name, &id->route.addr.dst_addr,
			    le16_to_cpu(hello.from),
			    hello_text(text, reason, le16_to_cpu(hello.version)));
	refused.reason = cpu_to_le16(reason);
	rdma_reject(id, &refused, sizeof(refused), IB_CM_REJ_CONSUMER_DEFINED);
	return -ECONNREFUSED;
}

static int node_cm_event(struct rdma_cm_id *id, struct rdma_cm_event *ev)
{
	struct rdma_node *rn = id->context;

	switch (ev->event) {
	case RDMA_CM_EVENT_CONNECT_REQUEST:
		return node_connect_request(rn, id, ev);
	case RDMA_CM_EVENT_ADDR_CHANGE:
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		WRITE_ONCE(rn->lost, true);
		mod_delayed_work(rdma_wq, &rn->work, 0);
		break;
	default:
		break;
	}
	return 0;
}

static int node_listen(struct rdma_node *rn)
{
	struct sockaddr *addr = (struct sockaddr *)&rn->node->addr;
	struct rdma_cm_id *id;
	int ret;

	id = rdma_create_id(&init_net, node_cm_event, rn, RDMA_PS_TCP, IB_QPT_RC);
	if (IS_ERR(id))
		return PTR_ERR(id);
	/* A node each for IPv4 and IPv6 may have the same port. */
	ret = rdma_set_afonly(id, 1);
	if (!ret)
		ret = rdma_bind_addr(id, addr);
	if (!ret)
		ret = rdma_listen(id, RING_DEPTH);
	if (ret) {
		rdma_destroy_id(id);
		return ret;
	}
	rn->id = id;
	return 0;
}

/* The adapter went away: listen again as soon as there is one with our address. */
static void node_work(struct work_struct *work)
{
	struct rdma_node *rn = container_of(to_delayed_work(work),
					    struct rdma_node, work);

	mutex_lock(&rn->lock);
	if (rn->stopping)
		goto out;
	if (READ_ONCE(rn->lost)) {
		if (rn->id)
			rdma_destroy_id(rn->id);
		rn->id = NULL;
		WRITE_ONCE(rn->lost, false);
	}
	if (!rn->id && node_listen(rn))
		queue_delayed_work(rdma_wq, &rn->work,
				   msecs_to_jiffies(RETRY_MAX_MS));
out:
	mutex_unlock(&rn->lock);
}

static int rdma_node_start(struct pnode *node)
{
	struct rdma_node *rn;
	int ret;

	if (node->addr.ss_family != AF_INET && node->addr.ss_family != AF_INET6)
		return -EDESTADDRREQ;
	if (!node->id || node->id > U16_MAX)
		return -EINVAL;
	if (node->xport)
		return -EALREADY;
	rn = kzalloc(sizeof(*rn), GFP_KERNEL);
	if (!rn)
		return -ENOMEM;
	rn->node = node;
	INIT_DELAYED_WORK(&rn->work, node_work);
	mutex_init(&rn->lock);
	ret = node_listen(rn);
	if (ret) {
		pr_warn("%s: cannot listen on %pISpc: %pe\n", node->name,
			&node->addr, ERR_PTR(ret));
		kfree(rn);
		return ret;
	}
	node->xport = rn;
	return 0;
}

static void rdma_node_stop(struct pnode *node)
{
	struct rdma_node *rn = node->xport;

	if (!rn)
		return;
	mutex_lock(&rn->lock);
	rn->stopping = true;
	mutex_unlock(&rn->lock);
	/* An event may queue the work until the id is gone. */
	if (rn->id)
		rdma_destroy_id(rn->id);
	cancel_delayed_work_sync(&rn->work);
	node->xport = NULL;
	kfree(rn);
}

const struct xport_ops xport_rdma_ops = {
	.name		= "rdma",
	.node_start	= rdma_node_start,
	.node_stop	= rdma_node_stop,
	.peer_start	= rdma_peer_start,
	.peer_stop	= rdma_peer_stop,
	.peer_kick	= rdma_peer_kick,
	.send		= rdma_send,
	.expose		= rdma_expose,
	.unexpose	= rdma_unexpose,
	.read		= rdma_read_begin,
};

int xport_rdma_init(void)
{
	rdma_wq = alloc_workqueue("proclet_rdma", WQ_UNBOUND, 0);
	rdma_rx_wq = alloc_workqueue("proclet_rdma_rx", WQ_UNBOUND | WQ_HIGHPRI, 0);
	if (rdma_wq && rdma_rx_wq)
		return 0;
	xport_rdma_exit();
	return -ENOMEM;
}

void xport_rdma_exit(void)
{
	if (rdma_rx_wq)
		destroy_workqueue(rdma_rx_wq);
	if (rdma_wq)
		destroy_workqueue(rdma_wq);
}
