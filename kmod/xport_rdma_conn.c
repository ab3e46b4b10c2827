// SPDX-License-Identifier: GPL-2.0
/*
 * The RDMA transport: what a connection consists of, who uses it, and its end. Its
 * queue pairs are made in xport_rdma_pair.c; what they do is in xport_rdma_msg.c and
 * xport_rdma_mem.c.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": rdma: " fmt

#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "xport_rdma.h"

#define READ_DEPTH_MAX		16	/* READs that an adapter has under way */
#define CONNECT_TIMEOUT_MS	10000
#define DISCONNECT_TIMEOUT_MS	500

static unsigned int read_qps = 2;
module_param(read_qps, uint, 0644);
MODULE_PARM_DESC(read_qps, "rdma: queue pairs for READs to each peer, of which the last is for small ones (1..4); for new connections that this node makes");

/* Failing and kicking: any context. */

/* Have the work item end it, with all its queue pairs. */
void conn_fail(struct rdma_conn *conn, int error)
{
	cmpxchg(&conn->error, 0, error);
	if (!test_and_set_bit(CONN_FAILED, &conn->events))
		mod_delayed_work(rdma_wq, &conn->p->work, 0);
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

/* @hello: of the peer that connects to us; NULL: we connect */
struct rdma_conn *conn_alloc(const struct rdma_hello *hello)
{
	struct rdma_conn *conn;
	struct rdma_pair *pair;

	conn = kzalloc(sizeof(*conn), GFP_KERNEL);
	if (!conn)
		return NULL;
	kref_init(&conn->ref);
	if (hello) {
		conn->passive = true;
		conn->nr_pairs = hello->qps;
		conn->nonce = le64_to_cpu(hello->nonce);
		conn->incarnation = le64_to_cpu(hello->incarnation);
		conn->depth = le16_to_cpu(hello->depth);
	} else {
		conn->nr_pairs = 1 + clamp_t(u32, READ_ONCE(read_qps), HELLO_QPS_MIN - 1,
					     HELLO_QPS_MAX - 1);
		conn->nonce = get_random_u64();
	}
	for (pair = conn->pairs; pair < conn->pairs + conn->nr_pairs; pair++) {
		pair->conn = conn;
		pair->index = pair - conn->pairs;
		/* The first one has no READs, but not all adapters like 0. */
		pair->initiator_depth = pair->index ? READ_DEPTH_MAX : 1;
		pair->responder_resources = pair->initiator_depth;
	}
	conn->deadline = jiffies + msecs_to_jiffies(CONNECT_TIMEOUT_MS);
	INIT_LIST_HEAD(&conn->entry);
	mutex_init(&conn->read_mutex);
	INIT_WORK(&conn->read_work, conn_reads_work);
	INIT_WORK(&conn->rx_work, conn_rx_work);
	timer_setup(&conn->lazy_timer, conn_lazy_timer, 0);
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
	INIT_LIST_HEAD(&conn->small);
	INIT_LIST_HEAD(&conn->bulk);
	INIT_LIST_HEAD(&conn->chunks);
	INIT_LIST_HEAD(&conn->posted);
	return conn;
}

/* The adapter is known, by the first queue pair. */
int conn_alloc_pd(struct rdma_conn *conn)
{
	int ret;

	conn->dev = conn->pairs[0].id->device;
	ret = conn_size_mem(conn);
	if (ret)
		return ret;
	conn->pd = ib_alloc_pd(conn->dev, 0);
	if (IS_ERR(conn->pd)) {
		ret = PTR_ERR(conn->pd);
		conn->pd = NULL;
	}
	return ret;
}

bool conn_established(const struct rdma_conn *conn)
{
	u32 i;

	for (i = 0; i < conn->nr_pairs; i++)
		if (!test_bit(PAIR_ESTABLISHED, &conn->pairs[i].events))
			return false;
	return true;
}

/* @hello is of this attempt, and of who has made the rest of it. */
bool conn_is_of(const struct rdma_conn *conn, const struct rdma_hello *hello)
{
	return le64_to_cpu(hello->nonce) == conn->nonce && hello->qps == conn->nr_pairs &&
	       le64_to_cpu(hello->incarnation) == conn->incarnation;
}

/* Taking a connection down. */

static bool conn_quiet(const struct rdma_conn *conn)
{
	const struct rdma_pair *pair;

	for (pair = conn->pairs; pair < conn->pairs + conn->nr_pairs; pair++)
		if (test_bit(PAIR_ESTABLISHED, &pair->events) &&
		    !test_bit(PAIR_QUIET, &pair->events))
			return false;
	return true;
}

/* Ends in xport_peer_down() if there was an xport_peer_up(). */
void conn_destroy(struct rdma_conn *conn)
{
	struct rdma_peer *p = conn->p;
	bool up;
	u32 i;

	spin_lock_irq(&conn->lock);
	up = conn->state == CONN_UP;
	conn->state = CONN_DOWN;
	spin_unlock_irq(&conn->lock);
	if (p->conn == conn)
		WRITE_ONCE(p->conn, NULL);

	del_timer_sync(&conn->lazy_timer);
	/* Nobody posts now. Let all that was posted come back. */
	for (i = 0; i < conn->nr_pairs; i++)
		pair_drain(&conn->pairs[i]);
	wait_event(conn->wait, conn_unused(conn));
	cancel_work_sync(&conn->read_work);
	/* What came before the end is still handed over. */
	flush_work(&conn->rx_work);

	conn_end_mem(conn);
	if (up)
		xport_peer_down(p->peer);

	/*
	 * Better not destroy a queue pair that the peer still sends to: it is
	 * legal, but not all adapters (rxe) survive it. The peer's answer to our
	 * rdma_disconnect(), or its own, says that it has stopped.
	 */
	wait_event_timeout(conn->wait, conn_quiet(conn),
			   msecs_to_jiffies(DISCONNECT_TIMEOUT_MS));

	for (i = 0; i < conn->nr_pairs; i++)
		pair_destroy_qp(&conn->pairs[i]);
	conn_free_mem(conn);
	conn_free_msgs(conn);
	if (conn->pd)
		ib_dealloc_pd(conn->pd);
	for (i = 0; i < conn->nr_pairs; i++)
		if (conn->pairs[i].id)
			rdma_destroy_id(conn->pairs[i].id);
	conn_put(conn);
}
