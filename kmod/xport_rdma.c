// SPDX-License-Identifier: GPL-2.0
/*
 * The transport over RDMA.
 *
 * One connection for each pair of nodes, of a few reliable queue pairs that rdma_cm
 * makes: the node with the lower id connects, the other one listens. Both introduce
 * themselves in the CM's private data (struct rdma_hello). The first queue pair is for
 * messages and registrations, the others for READs, which so do not hold up the former.
 * They are used when all are established, and the loss of one is the loss of all.
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
 * The first send queue is divided between messages (a struct rdma_tx each) and memory
 * registration (@mr_slots), the others have room for @pair_chunks struct rdma_chunk, so
 * no queue is ever over-posted.
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
#define RETRY_MIN_MS		100
#define RETRY_MAX_MS		2000

static unsigned int keepalive_ms = 300;
module_param(keepalive_ms, uint, 0644);
MODULE_PARM_DESC(keepalive_ms, "rdma: ask for a sign of life from a peer silent for this long; 0: never");

static unsigned int peer_timeout_ms = 1500;
module_param(peer_timeout_ms, uint, 0644);
MODULE_PARM_DESC(peer_timeout_ms, "rdma: drop the connection to a peer silent for this long, or whose pages do not come");

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

/* Nobody gives further queue pairs to a connection that is not it any more. */
static void peer_set_cur(struct rdma_peer *p, struct rdma_conn *conn)
{
	spin_lock_irq(&p->lock);
	p->cur = conn;
	spin_unlock_irq(&p->lock);
}

static void conn_up(struct rdma_conn *conn)
{
	struct rdma_peer *p = conn->p;

	conn->was_connected = true;
	conn->up_since = jiffies;
	conn->next_tick = jiffies;
	spin_lock_irq(&conn->lock);
	conn->state = CONN_UP;
	conn->credits = conn->depth;
	spin_unlock_irq(&conn->lock);
	smp_store_release(&p->conn, conn);	/* complete for those who find it */
	xport_peer_up(p->peer, conn->incarnation);
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
	u32 i, ticks;

	if (period && time_before(jiffies, conn->next_tick))
		return 0;
	conn->next_tick = jiffies + msecs_to_jiffies(period);
	if (!period) {
		conn->silent = 0;
		return 0;
	}
	ticks = max(READ_ONCE(peer_timeout_ms) / period, 1U);
	/* Messages may arrive although READs do not, which rxe repeats for ever. */
	for (i = 1; i < conn->nr_pairs; i++)
		if (pair_stalls(&conn->pairs[i], ticks))
			return -ETIMEDOUT;
	if (seq != conn->rx_seen) {
		conn->rx_seen = seq;
		conn->silent = 0;
		return 0;
	}
	conn->silent++;
	if (conn->silent >= ticks)
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
	u32 i;

	if (test_bit(CONN_FAILED, &conn->events))
		return READ_ONCE(conn->error);

	for (i = 0; i < conn->nr_pairs && !conn->was_connected; i++) {
		ret = pair_step(&conn->pairs[i]);
		if (ret)
			return ret;
	}
	if (!conn->was_connected && conn_established(conn))
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

/* It did not come as far as the handshake; of that auth.c tells. */
static void conn_tell_failure(const struct rdma_conn *conn, int error)
{
	const struct peer *peer = conn->p->peer;
	char text[HELLO_TEXT_MAX];

	if (conn->refusal)
		pr_warn("%s: peer %s refused the connection: %s\n", peer->node->name,
			peer->name, hello_text(text, conn->refusal, conn->version));
	else
		pr_info("%s: cannot connect to peer %s: %pe, will go on trying\n",
			peer->node->name, peer->name, ERR_PTR(error));
}

/* The connection, or the attempt at one, is over: @error. */
static void peer_drop(struct rdma_peer *p, int error)
{
	struct rdma_conn *conn = p->cur;
	const struct peer *peer = p->peer;
	bool up = READ_ONCE(peer->up);
	unsigned int delay;

	if (up)
		pr_info("%s: connection to peer %s lost: %pe\n", peer->node->name,
			peer->name, ERR_PTR(error));
	else if (!conn->was_connected && error != p->reported)
		conn_tell_failure(conn, error);
	p->reported = error;
	if (up || !conn->was_connected)
		peer_set_error(p->peer, error);

	/* One that did not hold for long counts as a failure. */
	if (up &&
	    time_after(jiffies, conn->up_since + msecs_to_jiffies(RETRY_MAX_MS)))
		p->backoff = 0;
	delay = min(RETRY_MIN_MS << p->backoff, RETRY_MAX_MS);
	if (delay < RETRY_MAX_MS)
		p->backoff++;

	peer_set_cur(p, NULL);
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
	struct rdma_conn *conn;
	int ret;

	/* The order matters: after this nothing is added to the list. */
	if (peer_stopping(p)) {
		conn = peer_take_incoming(p);
		if (conn)
			conn_destroy(conn);
		conn = p->cur;
		peer_set_cur(p, NULL);
		if (conn)
			conn_destroy(conn);
		complete_all(&p->stopped);
		return;
	}

	conn = peer_take_incoming(p);
	if (conn) {
		/* A peer that connects has forgotten what it had with us. */
		if (p->cur)
			peer_drop(p, -ECONNRESET);
		peer_set_cur(p, conn);
	} else if (!p->cur && peer_is_active(p->peer) &&
		   time_after_eq(jiffies, p->retry_at)) {
		conn = conn_alloc(NULL);
		if (conn) {
			conn->p = p;
			peer_set_cur(p, conn);
		} else {
			p->retry_at = jiffies + msecs_to_jiffies(RETRY_MAX_MS);
		}
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

/* Give @conn, with its first queue pair, to the work item of its peer. */
static int peer_add_incoming(struct rdma_peer *p, struct rdma_conn *conn)
{
	lockdep_assert_held(&p->lock);

	if (p->stopping)
		return REFUSE_STOPPED;
	if (p->nr_incoming >= INCOMING_MAX)
		return REFUSE_BUSY;
	conn->p = p;
	list_add_tail(&conn->entry, &p->incoming);
	p->nr_incoming++;
	return REFUSE_NONE;
}

/* A further queue pair of the connection that is being made. */
static int peer_add_pair(struct rdma_peer *p, struct rdma_cm_id *id,
			 const struct rdma_hello *hello,
			 const struct rdma_conn_param *param)
{
	struct rdma_conn *conn = p->cur;

	lockdep_assert_held(&p->lock);

	if (!conn || !conn->passive || !conn_is_of(conn, hello) ||
	    conn->pairs[hello->qp].id)
		return REFUSE_STALE;
	pair_request(&conn->pairs[hello->qp], id, param);
	return REFUSE_NONE;
}

/* @id is accepted or refused by the work item of @peer, if it is not refused here. */
static int peer_add_id(struct peer *peer, struct rdma_cm_id *id,
		       const struct rdma_hello *hello,
		       const struct rdma_conn_param *param)
{
	struct rdma_conn *conn = NULL;
	struct rdma_peer *p;
	int reason = REFUSE_STOPPED;

	if (!hello->qp) {
		conn = conn_alloc(hello);
		if (!conn)
			return REFUSE_BUSY;
		pair_request(&conn->pairs[0], id, param);
	}
	rcu_read_lock();
	p = READ_ONCE(peer->xport);
	if (p) {
		spin_lock_irq(&p->lock);
		reason = conn ? peer_add_incoming(p, conn) :
				peer_add_pair(p, id, hello, param);
		if (!reason)
			peer_wake(p);
		spin_unlock_irq(&p->lock);
	}
	rcu_read_unlock();
	if (reason && conn)
		conn_put(conn);
	return reason;
}

/*
 * Someone connects. If it is a peer that should, @id becomes its connection's;
 * otherwise the return value makes rdma_cm destroy @id.
 */
static int node_connect_request(struct pnode *node, struct rdma_cm_id *id,
				struct rdma_cm_event *ev)
{
	const struct rdma_conn_param *param = &ev->param.conn;
	struct rdma_refused refused = {
		.magic = cpu_to_le32(HELLO_MAGIC),
		.version = cpu_to_le16(WIRE_VERSION),
	};
	char text[HELLO_TEXT_MAX];
	struct rdma_hello hello;
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
	reason = peer_add_id(peer, id, &hello, param);
put_peer:
	peer_put(peer);
	if (!reason)
		return 0;
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
		return node_connect_request(rn->node, id, ev);
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
	rdma_rx_wq = alloc_workqueue("proclet_rdma_rx", WQ_HIGHPRI, 0);
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
