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
 * it. That also serialises xport_peer_up() and xport_peer_down(); xport_recv()
 * is called from the receive queue's completions, which are held back until
 * xport_peer_up() has returned and have ended before xport_peer_down().
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": rdma: " fmt

#include <linux/completion.h>
#include <linux/jiffies.h>
#include <linux/kref.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <rdma/ib_cm.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>
#include <rdma/rw.h>

#include "node.h"
#include "xport.h"

#define RDMA_HELLO_MAGIC	0x4c435250	/* "PRCL" */
#define RDMA_HELLO_VERSION	1

#define RING_DEPTH		128	/* receive buffers */
#define RING_DEPTH_MIN		16	/* what we accept of a peer */
#define RING_DEPTH_MAX		4096
#define CTL_RESERVE		4	/* credits that only control messages use */
#define TX_SLOTS		RING_DEPTH
#define MR_SLOTS		64
#define MR_PREALLOC		8
#define MR_PAGES_MAX		256
#define CHUNKS			8	/* parts of reads under way at a time */
#define CHUNK_PAGES_MAX		64
#define CHUNK_READS_MAX		32	/* READs in one chunk */
#define READ_SGE_MAX		32
#define READ_DEPTH_MAX		16	/* READs that an adapter has under way */
#define INCOMING_MAX		4

#define RESOLVE_TIMEOUT_MS	2000
#define CONNECT_TIMEOUT_MS	10000
#define RETRY_MIN_MS		100
#define RETRY_MAX_MS		2000

static unsigned int keepalive_ms = 1000;
module_param(keepalive_ms, uint, 0644);
MODULE_PARM_DESC(keepalive_ms, "rdma: ask for a sign of life from a peer silent for this long; 0: never");

static unsigned int peer_timeout_ms = 10000;
module_param(peer_timeout_ms, uint, 0644);
MODULE_PARM_DESC(peer_timeout_ms, "rdma: drop the connection to a peer silent for this long");

/*
 * A packet is sent 8 times in all before the connection is given up, so this is
 * both how fast a lost one is noticed and how long a peer may stand still.
 */
static unsigned int ack_timeout = 16;
module_param(ack_timeout, uint, 0644);
MODULE_PARM_DESC(ack_timeout, "rdma: repeat what is not acknowledged after 4.096 us << this (8..24); for new connections");

/**
 * struct rdma_hello - how a node introduces itself, in the CM's private data
 * @magic: RDMA_HELLO_MAGIC
 * @version: RDMA_HELLO_VERSION
 * @page_shift: log2 of the page size, must be the same
 * @from: the sender's id
 * @to: the id of the node that it wants to talk to
 * @depth: receive buffers, the first credits of the other side
 * @reserved: 0
 * @incarnation: the sender's
 */
struct rdma_hello {
	__le32 magic;
	__le16 version;
	__le16 page_shift;
	__le16 from;
	__le16 to;
	__le16 depth;
	__le16 reserved;
	__le64 incarnation;
};
static_assert(sizeof(struct rdma_hello) == 24);

/* Why a connection was refused, in the CM's private data. */
enum rdma_refusal {
	REFUSE_NONE,
	REFUSE_MALFORMED,
	REFUSE_VERSION,
	REFUSE_PAGE_SIZE,
	REFUSE_WRONG_NODE,
	REFUSE_UNKNOWN,
	REFUSE_ADDRESS,
	REFUSE_DIRECTION,
	REFUSE_STOPPED,
	REFUSE_BUSY,
};

static const char * const refusals[] = {
	[REFUSE_NONE]		= "no reason given",
	[REFUSE_MALFORMED]	= "not a proclet node",
	[REFUSE_VERSION]	= "another version of the protocol",
	[REFUSE_PAGE_SIZE]	= "another page size",
	[REFUSE_WRONG_NODE]	= "meant for another node",
	[REFUSE_UNKNOWN]	= "no peer with this id is configured",
	[REFUSE_ADDRESS]	= "the peer is configured with another address",
	[REFUSE_DIRECTION]	= "the lower id connects",
	[REFUSE_STOPPED]	= "the peer is not started",
	[REFUSE_BUSY]		= "no resources",
};

struct rdma_refused {
	__le32 magic;
	__le16 reason;
	__le16 reserved;
};

/**
 * struct rdma_hdr - in front of each message
 * @credits: receive buffers that the sender has posted again
 * @flags: RDMA_F_*
 * @len: bytes that follow; 0 with RDMA_F_CTL, 1..XPORT_MSG_MAX without
 */
struct rdma_hdr {
	__le16 credits;
	__le16 flags;
	__le32 len;
};
static_assert(sizeof(struct rdma_hdr) == 8);

#define RDMA_F_CTL	BIT(0)	/* only a header */
#define RDMA_F_PING	BIT(1)	/* show that you live */
#define RDMA_F_PONG	BIT(2)	/* the answer */
#define RDMA_F_ALL	(RDMA_F_CTL | RDMA_F_PING | RDMA_F_PONG)
#define WANT_CREDITS	BIT(16)	/* not on the wire: half the ring is owed */

struct rdma_conn;

/* A receive buffer. */
struct rdma_rx {
	struct ib_cqe cqe;
	struct list_head list;	/* conn.early */
	struct page *page;
	struct ib_sge sge[2];	/* header, message */
	u32 len;		/* received, header included */
};

/* A place in the send queue for a message. */
struct rdma_tx {
	struct ib_cqe cqe;
	struct list_head list;	/* conn.tx_free */
	struct xport_msg *msg;	/* NULL: control message */
	struct ib_sge sge[2];	/* header, message */
};

enum mr_op {
	MR_IDLE,		/* neither in conn.mrq */
	MR_REG,
	MR_INV,
};

/* A memory region that can be registered for up to conn.mr_pages pages. */
struct rdma_mr {
	struct ib_cqe reg_cqe;
	struct ib_cqe inv_cqe;
	struct list_head all;	/* conn.mrs */
	struct list_head list;	/* conn.mr_free or rdma_mem.mrs */
	struct list_head queue;	/* conn.mrq */
	enum mr_op op;		/* what it waits for in conn.mrq */
	struct rdma_mem *rm;
	struct ib_mr *mr;
	u32 nents;		/* of @sg that are mapped */
	struct scatterlist sg[];
};

/* What xport_mem.priv points to. */
struct rdma_mem {
	struct rdma_conn *conn;
	struct list_head entry;	/* conn.mems */
	struct list_head mrs;
	u32 invalidating;	/* completions to wait for, under conn.lock */
	struct completion gone;	/* the peer cannot read, the pages are unmapped */
};

/* A read that was asked for; it is done in chunks. */
struct rdma_read {
	struct xport_read *rd;
	struct list_head list;	/* conn.reads until all is posted */
	u32 desc;		/* next: which desc, */
	u32 desc_page;		/* where in it */
	u32 page;		/* and which local page */
	u32 pending;		/* chunks under way, under conn.lock */
	bool posted;		/* no more chunks to come, under conn.lock */
	int status;
};

/* A part of a read, within one desc. */
struct rdma_chunk {
	struct ib_cqe cqe;	/* of the last work request */
	struct ib_cqe err_cqe;	/* of the others, which are heard of only if they fail */
	struct list_head list;	/* conn.chunks or conn.unposted */
	struct rdma_read *read;
	struct rdma_rw_ctx rw;
	u32 npages;
	int status;
	struct scatterlist sg[];
};

enum conn_state {
	CONN_STARTING,
	CONN_UP,
	CONN_DOWN,
};

/* Bits of rdma_conn.events. */
enum {
	CONN_ADDR_RESOLVED,
	CONN_ROUTE_RESOLVED,
	CONN_ESTABLISHED,
	CONN_FAILED,
	CONN_BROKEN,		/* by the peer: what it still sends is dropped */
};

/**
 * struct rdma_conn - a connection, or the attempt at one
 * @p: its peer; valid as long as @id has not been destroyed
 * @ref: the peer's work item, each struct rdma_mem
 * @rcu: senders find it under RCU
 * @entry: in rdma_peer.incoming
 * @id: the CM's
 * @passive: the peer connected to us
 * @was_connected: rdma_cm said that it is established
 * @events: CONN_*, set by callbacks, handled by the peer's work item
 * @error: why CONN_FAILED, the first reason
 * @refusal: what the peer said when it refused, REFUSE_*
 * @deadline: for being established; in jiffies
 * @up_since: in jiffies
 * @incarnation: the peer's
 * @depth: the peer's receive buffers
 * @initiator_depth: READs under way from us, as negotiated
 * @responder_resources: READs under way from the peer, as negotiated
 * @dev: the adapter
 * @pd: nothing but this connection is in it
 * @send_cq: completions in process context
 * @recv_cq: likewise, in order
 * @qp: the queue pair
 * @mr_pages: capacity of a struct rdma_mr
 * @chunk_pages: capacity of a struct rdma_chunk
 * @nr_chunks: how many there are
 * @rx: RING_DEPTH receive buffers
 * @rx_hdrs: their headers
 * @rx_hdrs_dma: address of @rx_hdrs
 * @tx: TX_SLOTS places for messages
 * @tx_hdrs: their headers
 * @tx_hdrs_dma: address of @tx_hdrs
 * @rx_seq: counts what was received; written by the receive completions
 * @rx_seen: @rx_seq at the last tick of the keepalive; the work item's
 * @next_tick: of the keepalive, in jiffies; the work item's
 * @silent: ticks without a sign of life; the work item's
 * @read_mutex: one builder of chunks at a time
 * @read_work: goes on with @reads
 * @wait: for @users to become 0
 * @lock: protects all below, and posting to both queues; taken in process
 *        context, perhaps under spinlocks of the core; none is taken under it
 * @state: posting is allowed only in CONN_UP (and before, for the first receives)
 * @users: who is in expose, unexpose or read
 * @rx_open: xport_peer_up() has returned and @early is handled
 * @early: struct rdma_rx received too early
 * @msgs: messages that wait for credits, for @tx_free or for @mrq to be posted
 * @tx_free: unused @tx
 * @credits: receive buffers of the peer that we may use
 * @owed: receive buffers that we have posted again and not yet told the peer
 * @want: RDMA_F_PING, RDMA_F_PONG, WANT_CREDITS: to be sent at the next occasion
 * @mrs: all struct rdma_mr
 * @mr_free: the unused ones
 * @mrq: those that wait to be registered or invalidated
 * @mr_slots: room for them in the send queue
 * @mems: struct rdma_mem not yet unexposed
 * @reads: struct rdma_read with chunks still to be posted
 * @chunks: unused ones
 * @unposted: could not be posted, or only a part; ended when the queue is drained
 */
struct rdma_conn {
	struct rdma_peer *p;
	struct kref ref;
	struct rcu_head rcu;
	struct list_head entry;
	struct rdma_cm_id *id;
	bool passive;
	bool was_connected;
	unsigned long events;
	int error;
	u16 refusal;
	unsigned long deadline;
	unsigned long up_since;
	u64 incarnation;
	u32 depth;
	u8 initiator_depth;
	u8 responder_resources;
	struct ib_device *dev;
	struct ib_pd *pd;
	struct ib_cq *send_cq;
	struct ib_cq *recv_cq;
	struct ib_qp *qp;
	u32 mr_pages;
	u32 chunk_pages;
	u32 nr_chunks;
	struct rdma_rx *rx;
	struct rdma_hdr *rx_hdrs;
	u64 rx_hdrs_dma;
	struct rdma_tx *tx;
	struct rdma_hdr *tx_hdrs;
	u64 tx_hdrs_dma;
	unsigned int rx_seq;
	unsigned int rx_seen;
	unsigned long next_tick;
	unsigned int silent;
	struct mutex read_mutex;
	struct work_struct read_work;
	wait_queue_head_t wait;

	spinlock_t lock;
	enum conn_state state;
	u32 users;
	bool rx_open;
	struct list_head early;
	struct list_head msgs;
	struct list_head tx_free;
	u32 credits;
	u32 owed;
	u32 want;
	struct list_head mrs;
	struct list_head mr_free;
	struct list_head mrq;
	u32 mr_slots;
	struct list_head mems;
	struct list_head reads;
	struct list_head chunks;
	struct list_head unposted;
};

/**
 * struct rdma_peer - what peer.xport points to
 * @peer: whose it is
 * @conn: the connection that is up; read under RCU, written by @work
 * @cur: the connection or the attempt at one; @work's
 * @work: does everything
 * @backoff: failures in a row; @work's
 * @retry_at: not before, in jiffies; @work's
 * @reported: the last failure that was logged, not to repeat it; @work's
 * @stopped: @work has seen @stopping and will not do anything any more
 * @lock: protects all below; none is taken under it
 * @stopping: peer_stop has been called
 * @incoming: struct rdma_conn, the newest is last
 * @nr_incoming: its length
 */
struct rdma_peer {
	struct peer *peer;
	struct rdma_conn *conn;
	struct rdma_conn *cur;
	struct delayed_work work;
	unsigned int backoff;
	unsigned long retry_at;
	int reported;
	struct completion stopped;
	spinlock_t lock;
	bool stopping;
	struct list_head incoming;
	unsigned int nr_incoming;
};

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
	struct mutex lock;
	bool stopping;
	bool lost;
};

static struct workqueue_struct *rdma_wq;

/* Failing and kicking: any context. */

static void peer_wake(struct rdma_peer *p)
{
	mod_delayed_work(rdma_wq, &p->work, 0);
}

static void conn_event(struct rdma_conn *conn, int bit)
{
	if (!test_and_set_bit(bit, &conn->events))
		peer_wake(conn->p);
}

static void conn_fail(struct rdma_conn *conn, int error)
{
	cmpxchg(&conn->error, 0, error);
	conn_event(conn, CONN_FAILED);
}

/* The peer broke the protocol. */
static void conn_break(struct rdma_conn *conn)
{
	set_bit(CONN_BROKEN, &conn->events);
	conn_fail(conn, -EPROTO);
}

static void wc_failed(struct rdma_conn *conn, const struct ib_wc *wc,
		      const char *what)
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

static void conn_put(struct rdma_conn *conn)
{
	kref_put(&conn->ref, conn_free);
}

/*
 * The connection of @peer if it is up. It stays as it is (its resources are not
 * released) until conn_leave().
 */
static struct rdma_conn *conn_enter(struct peer *peer)
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

static void conn_leave(struct rdma_conn *conn)
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

/* Posting messages and memory registration. */

static int conn_post_mr(struct rdma_conn *conn, struct rdma_mr *mr)
{
	struct ib_reg_wr reg = {};
	struct ib_send_wr inv = {};

	lockdep_assert_held(&conn->lock);

	if (mr->op == MR_REG) {
		reg.wr.opcode = IB_WR_REG_MR;
		reg.wr.wr_cqe = &mr->reg_cqe;
		reg.wr.send_flags = IB_SEND_SIGNALED;
		reg.mr = mr->mr;
		reg.key = mr->mr->rkey;
		reg.access = IB_ACCESS_REMOTE_READ;
		return ib_post_send(conn->qp, &reg.wr, NULL);
	}
	inv.opcode = IB_WR_LOCAL_INV;
	inv.wr_cqe = &mr->inv_cqe;
	inv.send_flags = IB_SEND_SIGNALED;
	inv.ex.invalidate_rkey = mr->mr->rkey;
	return ib_post_send(conn->qp, &inv, NULL);
}

/* Send @msg, or a control message if NULL. Owns @msg only if it returns 0. */
static int conn_post_msg(struct rdma_conn *conn, struct xport_msg *msg)
{
	struct rdma_tx *tx = list_first_entry(&conn->tx_free, struct rdma_tx, list);
	struct rdma_hdr *hdr = &conn->tx_hdrs[tx - conn->tx];
	struct ib_send_wr wr = {
		.opcode = IB_WR_SEND,
		.wr_cqe = &tx->cqe,
		.send_flags = IB_SEND_SIGNALED,
		.sg_list = tx->sge,
		.num_sge = msg ? 2 : 1,
	};
	int ret;

	lockdep_assert_held(&conn->lock);

	if (msg) {
		tx->sge[1].addr = ib_dma_map_single(conn->dev, msg->data,
						    msg->len, DMA_TO_DEVICE);
		if (ib_dma_mapping_error(conn->dev, tx->sge[1].addr))
			return -ENOMEM;
		tx->sge[1].length = msg->len;
	}
	ib_dma_sync_single_for_cpu(conn->dev, tx->sge[0].addr, sizeof(*hdr),
				   DMA_TO_DEVICE);
	hdr->credits = cpu_to_le16(conn->owed);
	hdr->flags = cpu_to_le16((conn->want & RDMA_F_ALL) | (msg ? 0 : RDMA_F_CTL));
	hdr->len = cpu_to_le32(msg ? msg->len : 0);
	ib_dma_sync_single_for_device(conn->dev, tx->sge[0].addr, sizeof(*hdr),
				      DMA_TO_DEVICE);
	tx->msg = msg;
	ret = ib_post_send(conn->qp, &wr, NULL);
	if (ret) {
		if (msg)
			ib_dma_unmap_single(conn->dev, tx->sge[1].addr, msg->len,
					    DMA_TO_DEVICE);
		return ret;
	}
	list_del(&tx->list);
	conn->credits--;
	conn->owed = 0;
	conn->want = 0;
	return 0;
}

/*
 * Post what can be posted. Registrations go before messages: a message that was
 * given to us after a registration may tell the peer of it.
 */
static void conn_pump(struct rdma_conn *conn)
{
	struct peer *peer;
	struct xport_msg *msg;
	struct rdma_mr *mr;
	u32 len;

	lockdep_assert_held(&conn->lock);

	if (conn->state != CONN_UP)
		return;
	peer = conn->p->peer;

	while (conn->mr_slots && !list_empty(&conn->mrq)) {
		mr = list_first_entry(&conn->mrq, struct rdma_mr, queue);
		if (conn_post_mr(conn, mr))
			goto fail;
		list_del(&mr->queue);
		mr->op = MR_IDLE;
		conn->mr_slots--;
	}
	while (list_empty(&conn->mrq) && conn->credits > CTL_RESERVE &&
	       !list_empty(&conn->tx_free) && !list_empty(&conn->msgs)) {
		msg = list_first_entry(&conn->msgs, struct xport_msg, list);
		len = msg->len;
		list_del(&msg->list);
		if (conn_post_msg(conn, msg)) {
			list_add(&msg->list, &conn->msgs);
			goto fail;
		}
		atomic64_inc(&peer->msgs_out);
		atomic64_add(len, &peer->bytes_out);
	}
	if (conn->want && conn->credits && !list_empty(&conn->tx_free) &&
	    conn_post_msg(conn, NULL))
		goto fail;
	return;

fail:
	conn_fail(conn, -EIO);
}

static void tx_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rdma_tx *tx = container_of(wc->wr_cqe, struct rdma_tx, cqe);
	struct rdma_conn *conn = cq->cq_context;
	unsigned long flags;

	if (tx->msg) {
		ib_dma_unmap_single(conn->dev, tx->sge[1].addr,
				    tx->sge[1].length, DMA_TO_DEVICE);
		kfree(tx->msg);
		tx->msg = NULL;
	}
	if (wc->status != IB_WC_SUCCESS)
		wc_failed(conn, wc, "SEND");

	spin_lock_irqsave(&conn->lock, flags);
	list_add(&tx->list, &conn->tx_free);
	conn_pump(conn);
	spin_unlock_irqrestore(&conn->lock, flags);
}

static int rdma_send(struct peer *peer, struct xport_msg *msg)
{
	struct rdma_conn *conn = NULL;
	struct rdma_peer *p;
	unsigned long flags;
	int ret = -ENOTCONN;

	if (WARN_ON_ONCE(!msg->len || msg->len > XPORT_MSG_MAX)) {
		kfree(msg);
		return -EINVAL;
	}

	rcu_read_lock();
	p = READ_ONCE(peer->xport);
	if (p)
		conn = READ_ONCE(p->conn);
	if (conn) {
		spin_lock_irqsave(&conn->lock, flags);
		if (conn->state == CONN_UP) {
			list_add_tail(&msg->list, &conn->msgs);
			conn_pump(conn);
			ret = 0;
		}
		spin_unlock_irqrestore(&conn->lock, flags);
	}
	rcu_read_unlock();
	if (ret)
		kfree(msg);
	return ret;
}

/* Receiving. */

static int rx_post(struct rdma_conn *conn, struct rdma_rx *rx)
{
	struct ib_recv_wr wr = {
		.wr_cqe = &rx->cqe,
		.sg_list = rx->sge,
		.num_sge = ARRAY_SIZE(rx->sge),
	};

	ib_dma_sync_single_for_device(conn->dev, rx->sge[0].addr,
				      rx->sge[0].length, DMA_FROM_DEVICE);
	ib_dma_sync_single_for_device(conn->dev, rx->sge[1].addr,
				      rx->sge[1].length, DMA_FROM_DEVICE);
	return ib_post_recv(conn->qp, &wr, NULL);
}

static bool hdr_valid(u32 len, u16 flags, u32 received)
{
	if (len != received - sizeof(struct rdma_hdr) || len > XPORT_MSG_MAX)
		return false;
	if (flags & ~RDMA_F_ALL)
		return false;
	return !len == !!(flags & RDMA_F_CTL);
}

/* Handle one message and post its buffer again. */
static void rx_handle(struct rdma_conn *conn, struct rdma_rx *rx)
{
	struct peer *peer = conn->p->peer;
	const struct rdma_hdr *hdr = &conn->rx_hdrs[rx - conn->rx];
	u32 len, credits;
	u16 flags;

	if (test_bit(CONN_BROKEN, &conn->events))
		return;

	if (rx->len < sizeof(*hdr))
		goto broken;
	ib_dma_sync_single_for_cpu(conn->dev, rx->sge[0].addr,
				   rx->sge[0].length, DMA_FROM_DEVICE);
	len = le32_to_cpu(hdr->len);
	flags = le16_to_cpu(hdr->flags);
	credits = le16_to_cpu(hdr->credits);
	if (!hdr_valid(len, flags, rx->len))
		goto broken;

	spin_lock_irq(&conn->lock);
	if (credits > conn->depth - conn->credits) {
		spin_unlock_irq(&conn->lock);
		goto broken;
	}
	conn->credits += credits;
	if (flags & RDMA_F_PING)
		conn->want |= RDMA_F_PONG;
	conn_pump(conn);
	spin_unlock_irq(&conn->lock);

	if (len) {
		ib_dma_sync_single_for_cpu(conn->dev, rx->sge[1].addr, len,
					   DMA_FROM_DEVICE);
		atomic64_inc(&peer->msgs_in);
		atomic64_add(len, &peer->bytes_in);
		if (xport_recv(peer, page_address(rx->page), len)) {
			conn_break(conn);
			return;
		}
	}

	spin_lock_irq(&conn->lock);
	if (conn->state == CONN_UP) {
		if (rx_post(conn, rx)) {
			conn_fail(conn, -EIO);
		} else {
			conn->owed++;
			if (conn->owed >= RING_DEPTH / 2)
				conn->want |= WANT_CREDITS;
			conn_pump(conn);
		}
	}
	spin_unlock_irq(&conn->lock);
	return;

broken:
	pr_warn_ratelimited("%s: peer %s: malformed message of %u bytes\n",
			    peer->node->name, peer->name, rx->len);
	conn_break(conn);
}

static void rx_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rdma_rx *rx = container_of(wc->wr_cqe, struct rdma_rx, cqe);
	struct rdma_conn *conn = cq->cq_context;
	bool early;

	if (wc->status != IB_WC_SUCCESS) {
		wc_failed(conn, wc, "RECV");
		return;
	}
	if (wc->opcode != IB_WC_RECV || wc->wc_flags & IB_WC_WITH_INVALIDATE) {
		conn_break(conn);
		return;
	}
	WRITE_ONCE(conn->rx_seq, conn->rx_seq + 1);
	rx->len = wc->byte_len;

	spin_lock_irq(&conn->lock);
	early = !conn->rx_open;
	if (early)
		list_add_tail(&rx->list, &conn->early);
	spin_unlock_irq(&conn->lock);
	if (!early)
		rx_handle(conn, rx);
}

/* xport_peer_up() has returned: hand over what came before, then open. */
static void rx_open(struct rdma_conn *conn)
{
	struct rdma_rx *rx;

	for (;;) {
		spin_lock_irq(&conn->lock);
		rx = list_first_entry_or_null(&conn->early, struct rdma_rx, list);
		if (!rx)
			conn->rx_open = true;
		else
			list_del(&rx->list);
		spin_unlock_irq(&conn->lock);
		if (!rx)
			return;
		rx_handle(conn, rx);
	}
}

/* Exposing pages. */

static void mr_unmap(struct rdma_conn *conn, struct rdma_mr *mr)
{
	if (mr->nents)
		ib_dma_unmap_sg(conn->dev, mr->sg, mr->nents, DMA_TO_DEVICE);
	mr->nents = 0;
}

static void mr_slot_free(struct rdma_conn *conn)
{
	spin_lock_irq(&conn->lock);
	conn->mr_slots++;
	conn_pump(conn);
	spin_unlock_irq(&conn->lock);
}

static void mr_reg_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rdma_conn *conn = cq->cq_context;

	if (wc->status != IB_WC_SUCCESS)
		wc_failed(conn, wc, "REG_MR");
	mr_slot_free(conn);
}

/* The peer cannot read @rm any more. */
static void mem_release(struct rdma_conn *conn, struct rdma_mem *rm)
{
	struct rdma_mr *mr;

	list_for_each_entry(mr, &rm->mrs, list) {
		mr_unmap(conn, mr);
		mr->rm = NULL;
	}
	spin_lock_irq(&conn->lock);
	list_del_init(&rm->entry);
	list_splice_init(&rm->mrs, &conn->mr_free);
	spin_unlock_irq(&conn->lock);
	complete(&rm->gone);
}

static void mr_inv_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rdma_mr *mr = container_of(wc->wr_cqe, struct rdma_mr, inv_cqe);
	struct rdma_conn *conn = cq->cq_context;
	struct rdma_mem *rm = mr->rm;
	bool last = false;

	if (wc->status == IB_WC_SUCCESS) {
		spin_lock_irq(&conn->lock);
		last = !--rm->invalidating;
		spin_unlock_irq(&conn->lock);
	} else {
		wc_failed(conn, wc, "LOCAL_INV");
	}
	if (last)
		mem_release(conn, rm);
	mr_slot_free(conn);
}

static struct rdma_mr *mr_alloc(struct rdma_conn *conn)
{
	struct rdma_mr *mr;

	mr = kvzalloc(struct_size(mr, sg, conn->mr_pages), GFP_KERNEL);
	if (!mr)
		return NULL;
	mr->mr = ib_alloc_mr(conn->pd, IB_MR_TYPE_MEM_REG, conn->mr_pages);
	if (IS_ERR(mr->mr)) {
		kvfree(mr);
		return NULL;
	}
	mr->reg_cqe.done = mr_reg_done;
	mr->inv_cqe.done = mr_inv_done;
	spin_lock_irq(&conn->lock);
	list_add(&mr->all, &conn->mrs);
	spin_unlock_irq(&conn->lock);
	return mr;
}

static struct rdma_mr *mr_get(struct rdma_conn *conn)
{
	struct rdma_mr *mr;

	spin_lock_irq(&conn->lock);
	mr = list_first_entry_or_null(&conn->mr_free, struct rdma_mr, list);
	if (mr)
		list_del(&mr->list);
	spin_unlock_irq(&conn->lock);
	return mr ?: mr_alloc(conn);
}

static int mr_map(struct rdma_conn *conn, struct rdma_mr *mr,
		  struct page **pages, u32 npages, struct xport_desc *desc)
{
	int nents, n;
	u32 i;

	sg_init_table(mr->sg, npages);
	for (i = 0; i < npages; i++)
		sg_set_page(&mr->sg[i], pages[i], PAGE_SIZE, 0);
	nents = ib_dma_map_sg(conn->dev, mr->sg, npages, DMA_TO_DEVICE);
	if (!nents)
		return -ENOMEM;
	mr->nents = npages;

	n = ib_map_mr_sg(mr->mr, mr->sg, nents, NULL, PAGE_SIZE);
	if (n != nents || mr->mr->length != (u64)npages << PAGE_SHIFT)
		return n < 0 ? n : -EIO;

	/* A new key each time, and an address that tells nothing. */
	ib_update_fast_reg_key(mr->mr, ib_inc_rkey(mr->mr->rkey));
	mr->mr->iova = ((u64)get_random_u32() + 1) << 31;

	desc->addr = cpu_to_le64(mr->mr->iova);
	desc->rkey = cpu_to_le32(mr->mr->rkey);
	desc->len = cpu_to_le32(npages << PAGE_SHIFT);
	return 0;
}

static int rdma_expose(struct peer *peer, struct page **pages, u32 npages,
		       struct xport_mem *mem)
{
	struct rdma_conn *conn;
	struct rdma_mem *rm;
	struct rdma_mr *mr;
	u32 i, n, ndescs;
	int ret;

	if (!npages)
		return -EINVAL;
	conn = conn_enter(peer);
	if (!conn)
		return -ENOTCONN;

	ret = -ENOMEM;
	ndescs = DIV_ROUND_UP(npages, conn->mr_pages);
	rm = kzalloc(sizeof(*rm), GFP_KERNEL);
	if (!rm)
		goto out_leave;
	rm->conn = conn;
	INIT_LIST_HEAD(&rm->entry);
	INIT_LIST_HEAD(&rm->mrs);
	init_completion(&rm->gone);
	mem->descs = kvmalloc_array(ndescs, sizeof(*mem->descs), GFP_KERNEL);
	if (!mem->descs)
		goto out_free;

	for (i = 0; i < ndescs; i++, pages += n, npages -= n) {
		n = min(npages, conn->mr_pages);
		mr = mr_get(conn);
		if (!mr) {
			ret = -ENOMEM;
			goto out_release;
		}
		mr->rm = rm;
		list_add_tail(&mr->list, &rm->mrs);
		ret = mr_map(conn, mr, pages, n, &mem->descs[i]);
		if (ret)
			goto out_release;
	}

	spin_lock_irq(&conn->lock);
	if (conn->state != CONN_UP) {
		spin_unlock_irq(&conn->lock);
		ret = -ENOTCONN;
		goto out_release;
	}
	kref_get(&conn->ref);
	list_add_tail(&rm->entry, &conn->mems);
	list_for_each_entry(mr, &rm->mrs, list) {
		mr->op = MR_REG;
		list_add_tail(&mr->queue, &conn->mrq);
	}
	conn_pump(conn);
	spin_unlock_irq(&conn->lock);

	mem->peer = peer;
	mem->ndescs = ndescs;
	mem->priv = rm;
	conn_leave(conn);
	return 0;

out_release:
	mem_release(conn, rm);
	kvfree(mem->descs);
	mem->descs = NULL;
out_free:
	kfree(rm);
out_leave:
	conn_leave(conn);
	return ret;
}

static void rdma_unexpose(struct xport_mem *mem)
{
	struct rdma_mem *rm = mem->priv;
	struct rdma_conn *conn;
	struct rdma_mr *mr;
	bool up, last = false;

	if (!rm)
		return;
	conn = rm->conn;

	spin_lock_irq(&conn->lock);
	up = conn->state == CONN_UP;
	if (up) {
		conn->users++;
		/* One more, so that it is not over before all are queued. */
		rm->invalidating = 1;
		list_for_each_entry(mr, &rm->mrs, list) {
			if (mr->op == MR_REG) {
				list_del(&mr->queue);
				mr->op = MR_IDLE;
				continue;
			}
			mr->op = MR_INV;
			list_add_tail(&mr->queue, &conn->mrq);
			rm->invalidating++;
		}
		conn_pump(conn);
		last = !--rm->invalidating;
	}
	spin_unlock_irq(&conn->lock);
	if (last)
		mem_release(conn, rm);
	if (up)
		conn_leave(conn);

	wait_for_completion(&rm->gone);
	kvfree(mem->descs);
	mem->descs = NULL;
	mem->ndescs = 0;
	mem->priv = NULL;
	kfree(rm);
	conn_put(conn);
}

/* Reading. */

static int wc_to_errno(enum ib_wc_status status)
{
	switch (status) {
	case IB_WC_SUCCESS:
		return 0;
	case IB_WC_REM_ACCESS_ERR:
	case IB_WC_REM_INV_REQ_ERR:
	case IB_WC_REM_OP_ERR:
	case IB_WC_REM_ABORT_ERR:
		return -EREMOTEIO;
	default:
		return -ECONNRESET;
	}
}

static void read_end(struct rdma_conn *conn, struct rdma_read *read)
{
	struct xport_read *rd = read->rd;
	int status = read->status;

	kfree(read);
	if (!status)
		atomic64_add((u64)rd->npages << PAGE_SHIFT, &rd->peer->bytes_in);
	rd->done(rd, status);
}

/* @chunk is not in the send queue any more. */
static void chunk_end(struct rdma_conn *conn, struct rdma_chunk *chunk)
{
	struct rdma_read *read = chunk->read;
	bool over, more;

	rdma_rw_ctx_destroy(&chunk->rw, conn->qp, conn->id->port_num, chunk->sg,
			    chunk->npages, DMA_FROM_DEVICE);

	spin_lock_irq(&conn->lock);
	if (chunk->status && !read->status)
		read->status = chunk->status;
	list_add(&chunk->list, &conn->chunks);
	over = !--read->pending && read->posted;
	more = conn->state == CONN_UP && !list_empty(&conn->reads);
	if (more)
		queue_work(rdma_wq, &conn->read_work);
	spin_unlock_irq(&conn->lock);
	if (over)
		read_end(conn, read);
}

static void chunk_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rdma_chunk *chunk = container_of(wc->wr_cqe, struct rdma_chunk, cqe);
	struct rdma_conn *conn = cq->cq_context;

	if (wc->status != IB_WC_SUCCESS) {
		if (!chunk->status)
			chunk->status = wc_to_errno(wc->status);
		wc_failed(conn, wc, "READ");
	}
	chunk_end(conn, chunk);
}

static void chunk_failed(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rdma_chunk *chunk = container_of(wc->wr_cqe, struct rdma_chunk, err_cqe);
	struct rdma_conn *conn = cq->cq_context;

	/* Some adapters complete what was not asked for. */
	if (wc->status == IB_WC_SUCCESS)
		return;
	if (!chunk->status)
		chunk->status = wc_to_errno(wc->status);
	wc_failed(conn, wc, "READ");
}

/* Make @chunk of the next part of @read. Returns 0 or -errno. */
static int chunk_prepare(struct rdma_conn *conn, struct rdma_read *read,
			 struct rdma_chunk *chunk)
{
	const struct xport_read *rd = read->rd;
	const struct xport_desc *desc = &rd->descs[read->desc];
	u32 npages = le32_to_cpu(desc->len) >> PAGE_SHIFT;
	u32 i, n = min(npages - read->desc_page, conn->chunk_pages);
	u64 addr = le64_to_cpu(desc->addr) + ((u64)read->desc_page << PAGE_SHIFT);
	int ret;

	sg_init_table(chunk->sg, n);
	for (i = 0; i < n; i++)
		sg_set_page(&chunk->sg[i], rd->pages[read->page + i], PAGE_SIZE, 0);
	ret = rdma_rw_ctx_init(&chunk->rw, conn->qp, conn->id->port_num, chunk->sg,
			       n, 0, addr, le32_to_cpu(desc->rkey),
			       DMA_FROM_DEVICE);
	if (ret < 0)
		return ret;

	chunk->read = read;
	chunk->npages = n;
	chunk->status = 0;
	read->page += n;
	read->desc_page += n;
	if (read->desc_page == npages) {
		read->desc_page = 0;
		read->desc++;
	}
	return 0;
}

static int chunk_post(struct rdma_conn *conn, struct rdma_chunk *chunk)
{
	struct ib_send_wr *first, *wr;

	lockdep_assert_held(&conn->lock);

	first = rdma_rw_ctx_wrs(&chunk->rw, conn->qp, conn->id->port_num,
				&chunk->cqe, NULL);
	for (wr = first; wr->next; wr = wr->next)
		wr->wr_cqe = &chunk->err_cqe;
	return ib_post_send(conn->qp, first, NULL);
}

/*
 * Post the next chunk. Returns false if there is nothing to do, or nothing to
 * do it with; then the end of a chunk calls again. @ended: a read that is over
 * by this, or NULL.
 */
static bool reads_advance(struct rdma_conn *conn, struct rdma_read **ended)
{
	struct rdma_chunk *chunk;
	struct rdma_read *read;
	bool more = true;
	int ret;

	lockdep_assert_held(&conn->read_mutex);
	*ended = NULL;

	spin_lock_irq(&conn->lock);
	read = list_first_entry_or_null(&conn->reads, struct rdma_read, list);
	chunk = list_first_entry_or_null(&conn->chunks, struct rdma_chunk, list);
	if (conn->state != CONN_UP || !read || !chunk) {
		spin_unlock_irq(&conn->lock);
		return false;
	}
	if (read->status)
		goto posted;
	list_del(&chunk->list);
	read->pending++;
	spin_unlock_irq(&conn->lock);

	ret = chunk_prepare(conn, read, chunk);

	spin_lock_irq(&conn->lock);
	if (ret) {
		list_add(&chunk->list, &conn->chunks);
		read->pending--;
		/* Chunks under way will give back what is missing. */
		if ((ret == -EAGAIN || ret == -ENOMEM) && read->pending) {
			spin_unlock_irq(&conn->lock);
			return false;
		}
		if (!read->status)
			read->status = ret == -EAGAIN ? -ENOMEM : ret;
		goto posted;
	}
	if (conn->state != CONN_UP || chunk_post(conn, chunk)) {
		chunk->status = -ECONNRESET;
		list_add(&chunk->list, &conn->unposted);
		if (conn->state == CONN_UP)
			conn_fail(conn, -EIO);
		more = false;
	}
	if (read->desc < read->rd->ndescs) {
		spin_unlock_irq(&conn->lock);
		return more;
	}

posted:
	list_del_init(&read->list);
	read->posted = true;
	if (!read->pending)
		*ended = read;
	spin_unlock_irq(&conn->lock);
	return more;
}

static void reads_run(struct rdma_conn *conn)
{
	struct rdma_read *ended;
	bool more;

	do {
		mutex_lock(&conn->read_mutex);
		more = reads_advance(conn, &ended);
		mutex_unlock(&conn->read_mutex);
		if (ended)
			read_end(conn, ended);
	} while (more);
}

static void reads_work(struct work_struct *work)
{
	reads_run(container_of(work, struct rdma_conn, read_work));
}

static int rdma_read_begin(struct xport_read *rd)
{
	struct rdma_conn *conn;
	struct rdma_read *read;

	if (!xport_read_valid(rd))
		return -EINVAL;
	conn = conn_enter(rd->peer);
	if (!conn)
		return -ENOTCONN;
	read = kzalloc(sizeof(*read), GFP_KERNEL);
	if (!read) {
		conn_leave(conn);
		return -ENOMEM;
	}
	read->rd = rd;

	spin_lock_irq(&conn->lock);
	list_add_tail(&read->list, &conn->reads);
	spin_unlock_irq(&conn->lock);
	reads_run(conn);
	conn_leave(conn);
	return 0;
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

static int conn_alloc_rx(struct rdma_conn *conn)
{
	struct rdma_rx *rx;
	int i;

	conn->rx = kvcalloc(RING_DEPTH, sizeof(*conn->rx), GFP_KERNEL);
	conn->rx_hdrs = kcalloc(RING_DEPTH, sizeof(*conn->rx_hdrs), GFP_KERNEL);
	if (!conn->rx || !conn->rx_hdrs)
		return -ENOMEM;
	conn->rx_hdrs_dma = ib_dma_map_single(conn->dev, conn->rx_hdrs,
					      RING_DEPTH * sizeof(*conn->rx_hdrs),
					      DMA_FROM_DEVICE);
	if (ib_dma_mapping_error(conn->dev, conn->rx_hdrs_dma)) {
		conn->rx_hdrs_dma = 0;
		return -ENOMEM;
	}

	for (i = 0; i < RING_DEPTH; i++) {
		rx = &conn->rx[i];
		rx->cqe.done = rx_done;
		rx->sge[0].addr = conn->rx_hdrs_dma + i * sizeof(*conn->rx_hdrs);
		rx->sge[0].length = sizeof(*conn->rx_hdrs);
		rx->sge[0].lkey = conn->pd->local_dma_lkey;
		rx->page = alloc_page(GFP_KERNEL);
		if (!rx->page)
			return -ENOMEM;
		rx->sge[1].addr = ib_dma_map_page(conn->dev, rx->page, 0,
						  XPORT_MSG_MAX, DMA_FROM_DEVICE);
		if (ib_dma_mapping_error(conn->dev, rx->sge[1].addr)) {
			__free_page(rx->page);
			rx->page = NULL;
			return -ENOMEM;
		}
		rx->sge[1].length = XPORT_MSG_MAX;
		rx->sge[1].lkey = conn->pd->local_dma_lkey;
	}
	return 0;
}

static void conn_free_rx(struct rdma_conn *conn)
{
	struct rdma_rx *rx;
	int i;

	for (i = 0; conn->rx && i < RING_DEPTH; i++) {
		rx = &conn->rx[i];
		if (!rx->page)
			break;
		ib_dma_unmap_page(conn->dev, rx->sge[1].addr, XPORT_MSG_MAX,
				  DMA_FROM_DEVICE);
		__free_page(rx->page);
	}
	if (conn->rx_hdrs_dma)
		ib_dma_unmap_single(conn->dev, conn->rx_hdrs_dma,
				    RING_DEPTH * sizeof(*conn->rx_hdrs),
				    DMA_FROM_DEVICE);
	kfree(conn->rx_hdrs);
	kvfree(conn->rx);
}

static int conn_alloc_tx(struct rdma_conn *conn)
{
	struct rdma_tx *tx;
	int i;

	conn->tx = kvcalloc(TX_SLOTS, sizeof(*conn->tx), GFP_KERNEL);
	conn->tx_hdrs = kcalloc(TX_SLOTS, sizeof(*conn->tx_hdrs), GFP_KERNEL);
	if (!conn->tx || !conn->tx_hdrs)
		return -ENOMEM;
	conn->tx_hdrs_dma = ib_dma_map_single(conn->dev, conn->tx_hdrs,
					      TX_SLOTS * sizeof(*conn->tx_hdrs),
					      DMA_TO_DEVICE);
	if (ib_dma_mapping_error(conn->dev, conn->tx_hdrs_dma)) {
		conn->tx_hdrs_dma = 0;
		return -ENOMEM;
	}
	for (i = 0; i < TX_SLOTS; i++) {
		tx = &conn->tx[i];
		tx->cqe.done = tx_done;
		tx->sge[0].addr = conn->tx_hdrs_dma + i * sizeof(*conn->tx_hdrs);
		tx->sge[0].length = sizeof(*conn->tx_hdrs);
		tx->sge[0].lkey = conn->pd->local_dma_lkey;
		tx->sge[1].lkey = conn->pd->local_dma_lkey;
		list_add_tail(&tx->list, &conn->tx_free);
	}
	return 0;
}

static void conn_free_tx(struct rdma_conn *conn)
{
	if (conn->tx_hdrs_dma)
		ib_dma_unmap_single(conn->dev, conn->tx_hdrs_dma,
				    TX_SLOTS * sizeof(*conn->tx_hdrs),
				    DMA_TO_DEVICE);
	kfree(conn->tx_hdrs);
	kvfree(conn->tx);
}

static int conn_alloc_chunks(struct rdma_conn *conn)
{
	struct rdma_chunk *chunk;
	u32 i;

	for (i = 0; i < conn->nr_chunks; i++) {
		chunk = kvzalloc(struct_size(chunk, sg, conn->chunk_pages), GFP_KERNEL);
		if (!chunk)
			return -ENOMEM;
		chunk->cqe.done = chunk_done;
		chunk->err_cqe.done = chunk_failed;
		list_add_tail(&chunk->list, &conn->chunks);
	}
	return 0;
}

static int conn_alloc_mrs(struct rdma_conn *conn)
{
	struct rdma_mr *mr;
	int i;

	for (i = 0; i < MR_PREALLOC; i++) {
		mr = mr_alloc(conn);
		if (!mr)
			return -ENOMEM;
		list_add_tail(&mr->list, &conn->mr_free);
	}
	return 0;
}

/*
 * The pages in a chunk, the chunks, and what they need of the send queue, in work
 * requests. A chunk is either READs with as many pages each as the adapter can
 * scatter to, or (always on iWARP, by choice of rdma_rw_ctx_init() elsewhere)
 * one READ for each memory region, with its registration and invalidation.
 */
static int conn_size_chunks(struct rdma_conn *conn, struct ib_qp_init_attr *attr)
{
	const struct ib_device_attr *da = &conn->dev->attrs;
	u32 others = TX_SLOTS + MR_SLOTS + 1;
	u32 sge = clamp_t(u32, min(da->max_send_sge, da->max_sge_rd), 1, READ_SGE_MAX);
	u32 mrs, wrs;

	conn->chunk_pages = CHUNK_PAGES_MAX;
	if (!rdma_protocol_iwarp(conn->dev, conn->id->port_num))
		conn->chunk_pages = min_t(u32, CHUNK_PAGES_MAX, sge * CHUNK_READS_MAX);
	mrs = DIV_ROUND_UP(conn->chunk_pages, conn->mr_pages);
	wrs = max(DIV_ROUND_UP(conn->chunk_pages, sge), 3 * mrs);

	conn->nr_chunks = CHUNKS;
	while (conn->nr_chunks > 1 && others + conn->nr_chunks * wrs > da->max_qp_wr)
		conn->nr_chunks /= 2;
	if (others + conn->nr_chunks * wrs > da->max_qp_wr)
		return -EOPNOTSUPP;

	attr->cap.max_send_sge = max_t(u32, sge, 2);
	attr->cap.max_send_wr = others + conn->nr_chunks * wrs;
	attr->cap.max_rdma_ctxs = conn->nr_chunks * mrs;
	return 0;
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
	int ret, i;

	conn->dev = dev;
	if (!(dev->attrs.device_cap_flags & IB_DEVICE_MEM_MGT_EXTENSIONS) ||
	    !dev->attrs.max_fast_reg_page_list_len || dev->attrs.max_send_sge < 2 ||
	    dev->attrs.max_recv_sge < 2)
		return -EOPNOTSUPP;
	conn->mr_pages = min_t(u32, dev->attrs.max_fast_reg_page_list_len, MR_PAGES_MAX);
	ret = conn_size_chunks(conn, &attr);
	if (ret)
		return ret;

	conn->pd = ib_alloc_pd(dev, 0);
	if (IS_ERR(conn->pd)) {
		ret = PTR_ERR(conn->pd);
		conn->pd = NULL;
		return ret;
	}
	conn->send_cq = ib_alloc_cq_any(dev, conn, attr.cap.max_send_wr,
					IB_POLL_WORKQUEUE);
	if (IS_ERR(conn->send_cq)) {
		ret = PTR_ERR(conn->send_cq);
		conn->send_cq = NULL;
		return ret;
	}
	conn->recv_cq = ib_alloc_cq_any(dev, conn, attr.cap.max_recv_wr,
					IB_POLL_WORKQUEUE);
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

	ret = conn_alloc_rx(conn);
	if (!ret)
		ret = conn_alloc_tx(conn);
	if (!ret)
		ret = conn_alloc_chunks(conn);
	if (!ret)
		ret = conn_alloc_mrs(conn);
	if (ret)
		return ret;
	conn->mr_slots = MR_SLOTS;

	for (i = 0; i < RING_DEPTH; i++) {
		ret = rx_post(conn, &conn->rx[i]);
		if (ret)
			return ret;
	}
	return 0;
}

static void conn_param(struct rdma_conn *conn, struct rdma_conn_param *param,
		       struct rdma_hello *hello)
{
	const struct peer *peer = conn->p->peer;

	*hello = (struct rdma_hello) {
		.magic = cpu_to_le32(RDMA_HELLO_MAGIC),
		.version = cpu_to_le16(RDMA_HELLO_VERSION),
		.page_shift = cpu_to_le16(PAGE_SHIFT),
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

static int hello_check(const struct rdma_hello *hello, const struct pnode *node)
{
	if (le32_to_cpu(hello->magic) != RDMA_HELLO_MAGIC)
		return REFUSE_MALFORMED;
	if (le16_to_cpu(hello->version) != RDMA_HELLO_VERSION)
		return REFUSE_VERSION;
	if (le16_to_cpu(hello->page_shift) != PAGE_SHIFT)
		return REFUSE_PAGE_SIZE;
	if (le16_to_cpu(hello->to) != node->id)
		return REFUSE_WRONG_NODE;
	if (le16_to_cpu(hello->depth) < RING_DEPTH_MIN ||
	    le16_to_cpu(hello->depth) > RING_DEPTH_MAX)
		return REFUSE_MALFORMED;
	return REFUSE_NONE;
}

static int hello_parse(const struct rdma_conn_param *param, const struct pnode *node,
		       struct rdma_hello *hello)
{
	if (!param->private_data || param->private_data_len < sizeof(*hello))
		return REFUSE_MALFORMED;
	memcpy(hello, param->private_data, sizeof(*hello));
	return hello_check(hello, node);
}

/* Taking a connection down. */

static void conn_free_mrs(struct rdma_conn *conn)
{
	struct rdma_mem *rm;
	struct rdma_mr *mr, *next;

	list_for_each_entry_safe(mr, next, &conn->mrs, all) {
		ib_dereg_mr(mr->mr);
		mr_unmap(conn, mr);
		kvfree(mr);
	}
	INIT_LIST_HEAD(&conn->mrs);

	spin_lock_irq(&conn->lock);
	while ((rm = list_first_entry_or_null(&conn->mems, struct rdma_mem, entry))) {
		list_del_init(&rm->entry);
		complete(&rm->gone);
	}
	spin_unlock_irq(&conn->lock);
}

static void conn_end_reads(struct rdma_conn *conn)
{
	struct rdma_chunk *chunk, *next;
	struct rdma_read *read;
	LIST_HEAD(unposted);

	list_splice_init(&conn->unposted, &unposted);
	list_for_each_entry_safe(chunk, next, &unposted, list)
		chunk_end(conn, chunk);

	while ((read = list_first_entry_or_null(&conn->reads, struct rdma_read, list))) {
		list_del(&read->list);
		WARN_ON_ONCE(read->pending);
		if (!read->status)
			read->status = -ECONNRESET;
		read_end(conn, read);
	}
}

/* Ends in xport_peer_down() if there was an xport_peer_up(). */
static void conn_destroy(struct rdma_conn *conn)
{
	struct rdma_peer *p = conn->p;
	struct xport_msg *msg, *next_msg;
	struct rdma_chunk *chunk, *next_chunk;
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

	conn_end_reads(conn);
	list_for_each_entry_safe(msg, next_msg, &conn->msgs, list)
		kfree(msg);
	conn_free_mrs(conn);
	if (up) {
		atomic64_inc(&p->peer->disconnects);
		xport_peer_down(p->peer);
	}

	if (conn->qp)
		rdma_destroy_qp(conn->id);
	if (conn->recv_cq)
		ib_free_cq(conn->recv_cq);
	if (conn->send_cq)
		ib_free_cq(conn->send_cq);
	list_for_each_entry_safe(chunk, next_chunk, &conn->chunks, list)
		kvfree(chunk);
	conn_free_tx(conn);
	conn_free_rx(conn);
	if (conn->pd)
		ib_dealloc_pd(conn->pd);
	if (conn->id)
		rdma_destroy_id(conn->id);
	conn_put(conn);
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
		if (le32_to_cpu(refused.magic) == RDMA_HELLO_MAGIC &&
		    le16_to_cpu(refused.reason) < ARRAY_SIZE(refusals))
			conn->refusal = le16_to_cpu(refused.reason);
	}
	conn_fail(conn, -ECONNREFUSED);
}

static void conn_established(struct rdma_conn *conn, const struct rdma_cm_event *ev)
{
	const struct peer *peer = conn->p->peer;
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
					    peer->name, refusals[reason]);
			conn_fail(conn, -EPROTO);
			return;
		}
		conn->incarnation = le64_to_cpu(hello.incarnation);
		conn->depth = le16_to_cpu(hello.depth);
	}
	conn_event(conn, CONN_ESTABLISHED);
}

static int conn_cm_event(struct rdma_cm_id *id, struct rdma_cm_event *ev)
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
		conn_fail(conn, -ECONNRESET);
		break;
	case RDMA_CM_EVENT_ADDR_CHANGE:
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		/* rdma_cm waits until the work item has destroyed the id. */
		conn_fail(conn, -ENODEV);
		break;
	default:
		break;
	}
	return 0;
}

static struct rdma_conn *conn_alloc(bool passive)
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
	INIT_WORK(&conn->read_work, reads_work);
	init_waitqueue_head(&conn->wait);
	spin_lock_init(&conn->lock);
	INIT_LIST_HEAD(&conn->early);
	INIT_LIST_HEAD(&conn->msgs);
	INIT_LIST_HEAD(&conn->tx_free);
	INIT_LIST_HEAD(&conn->mrs);
	INIT_LIST_HEAD(&conn->mr_free);
	INIT_LIST_HEAD(&conn->mrq);
	INIT_LIST_HEAD(&conn->mems);
	INIT_LIST_HEAD(&conn->reads);
	INIT_LIST_HEAD(&conn->chunks);
	INIT_LIST_HEAD(&conn->unposted);
	return conn;
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

static int conn_connect(struct rdma_conn *conn)
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

static int conn_accept(struct rdma_conn *conn)
{
	struct rdma_conn_param param;
	struct rdma_hello hello;
	struct rdma_refused refused = {
		.magic = cpu_to_le32(RDMA_HELLO_MAGIC),
		.reason = cpu_to_le16(REFUSE_BUSY),
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
	smp_store_release(&p->conn, conn);

	pr_info("%s: connected to peer %s, node %u\n", peer->node->name,
		peer->name, peer->id);
	atomic64_inc(&peer->connects);
	xport_peer_up(peer, conn->incarnation);
	rx_open(conn);
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
	if (conn->silent == 1) {
		spin_lock_irq(&conn->lock);
		conn->want |= RDMA_F_PING;
		conn_pump(conn);
		spin_unlock_irq(&conn->lock);
	}
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
		conn_set_ack_timeout(conn);
		ret = rdma_resolve_route(conn->id, RESOLVE_TIMEOUT_MS);
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
	unsigned int delay;

	if (conn->was_connected)
		pr_info("%s: connection to peer %s lost: %pe\n", peer->node->name,
			peer->name, ERR_PTR(error));
	else if (error != p->reported && conn->refusal)
		pr_warn("%s: peer %s refused the connection: %s\n",
			peer->node->name, peer->name, refusals[conn->refusal]);
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
	smp_store_release(&peer->xport, p);
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
	struct rdma_refused refused = { .magic = cpu_to_le32(RDMA_HELLO_MAGIC) };
	struct rdma_hello hello = {};
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
	conn->initiator_depth = min_t(u8, param->initiator_depth, READ_DEPTH_MAX);
	conn->responder_resources = min_t(u8, param->responder_resources,
					  READ_DEPTH_MAX);
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
			    le16_to_cpu(hello.from), refusals[reason]);
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
	return rdma_wq ? 0 : -ENOMEM;
}

void xport_rdma_exit(void)
{
	destroy_workqueue(rdma_wq);
}
