/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of the RDMA transport share. See xport_rdma.c for how it works. */
#ifndef _PROCLET_XPORT_RDMA_H
#define _PROCLET_XPORT_RDMA_H

#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>
#include <rdma/rw.h>

#include "hello.h"
#include "node.h"
#include "xport.h"

#define RING_DEPTH		128	/* receive buffers */
#define TX_SLOTS		RING_DEPTH
#define MR_SLOTS		64
/* With so many SENDs under way, messages wait until they fill one or one has ended. */
#define TX_FEW			2
/* How long a message that nobody waits for may wait for others. */
#define TX_LAZY_MS		4

struct rdma_conn;
struct rdma_pair;

/* A receive buffer. */
struct rdma_rx {
	struct ib_cqe cqe;
	struct list_head list;	/* conn.early or conn.rxq */
	struct page *page;
	struct ib_sge sge[2];	/* header, message */
	u32 received;		/* bytes, header included */
	u32 len;		/* of all its messages */
	u32 handled;		/* and of those that have been, padding included */
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
	bool away;		/* its registration is counted in conn.regs_away */
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
	struct list_head list;	/* conn.bulk or conn.small until all is posted */
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
	struct list_head list;	/* conn.chunks or conn.posted */
	struct rdma_read *read;	/* while in conn.posted, under conn.lock */
	struct rdma_pair *pair;	/* in whose send queue it is or shall be */
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

/* Bits of rdma_pair.events. */
enum {
	PAIR_REQUESTED,		/* by the peer */
	PAIR_ADDR_RESOLVED,
	PAIR_ROUTE_RESOLVED,
	PAIR_ESTABLISHED,
	PAIR_QUIET,		/* the peer's adapter does not send any more */
};

/* Bits of rdma_conn.events. */
enum {
	CONN_FAILED,
	CONN_BROKEN,		/* by the peer: what it still sends is dropped */
};

/**
 * struct rdma_pair - a queue pair of a connection, or of the attempt at one
 * @conn: whose it is
 * @index: 0: for messages and registrations; the others: for READs, and on rxe also for
 *         registrations
 * @id: the CM's, NULL if it has not been begun; that of a further one of the peer's is
 *      set under rdma_peer.lock
 * @events: PAIR_*, set by callbacks, handled by the peer's work item
 * @initiator_depth: READs under way from us, as negotiated
 * @responder_resources: READs under way from the peer, as negotiated
 * @send_cq: completions in softirqs
 * @recv_cq: likewise, in order; @send_cq where nothing is received
 * @qp: the queue pair
 * @seen: @ended at the last tick of the keepalive; the work item's
 * @silent: ticks without the end of a chunk; the work item's
 * @posted: chunks that are in its send queue or about to be; under conn.lock
 * @ended: counts those that are not any more; under conn.lock
 */
struct rdma_pair {
	struct rdma_conn *conn;
	u32 index;
	struct rdma_cm_id *id;
	unsigned long events;
	u8 initiator_depth;
	u8 responder_resources;
	struct ib_cq *send_cq;
	struct ib_cq *recv_cq;
	struct ib_qp *qp;
	u32 seen;
	u32 silent;
	u32 posted;
	u32 ended;
};

/**
 * struct rdma_conn - a connection, or the attempt at one
 * @p: its peer; valid as long as no id of @pairs has been destroyed
 * @ref: the peer's work item, each struct rdma_mem
 * @rcu: senders find it under RCU
 * @entry: in rdma_peer.incoming
 * @pairs: the queue pairs, which end together
 * @nr_pairs: how many there are
 * @nonce: of this attempt
 * @passive: the peer connected to us
 * @was_connected: all of @pairs were established
 * @events: CONN_*, set by callbacks, handled by the peer's work item
 * @error: why CONN_FAILED, the first reason
 * @refusal: what the peer said when it refused, REFUSE_*
 * @version: and which version of the protocol it has
 * @deadline: for being established; in jiffies
 * @up_since: in jiffies
 * @incarnation: the peer's
 * @depth: the peer's receive buffers
 * @dev: the adapter
 * @pd: nothing but this connection is in it
 * @mr_pages: capacity of a struct rdma_mr
 * @chunk_pages: capacity of a struct rdma_chunk
 * @pair_chunks: how many of those a queue pair has room for
 * @read_cap: of the queue pairs for READs
 * @regs_alone: nothing may be unacknowledged before a registration, see pair_for_mr()
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
 * @read_work: goes on with @small and @bulk
 * @rx_work: hands over @rxq
 * @lazy_timer: for @msgs_hurry
 * @wait: for @users to become 0, for PAIR_QUIET
 * @lock: protects all below, and posting to all queues; taken in any context,
 *        perhaps under spinlocks of the core; none is taken under it
 * @state: posting is allowed only in CONN_UP (and before, for the first receives)
 * @users: who is in expose, unexpose or read
 * @rx_open: xport_peer_up() has returned and @early is handled
 * @early: struct rdma_rx received too early
 * @rxq: struct rdma_rx for xport_recv()
 * @nr_rxq: those, and the one that is being handed over
 * @msgs: messages that wait for one another, see TX_FEW, for credits, for @tx_free or
 *        for @mrq to be posted
 * @msgs_len: the length of the SEND that they would be together
 * @msgs_hurry: not all of them are lazy, or one has waited for long
 * @tx_free: unused @tx
 * @tx_used: number of the others
 * @credits: receive buffers of the peer that we may use
 * @owed: receive buffers that we have posted again and not yet told the peer
 * @want: RDMA_F_PING, RDMA_F_PONG, WANT_CREDITS: to be sent at the next occasion
 * @mrs: all struct rdma_mr
 * @mr_free: the unused ones
 * @mrq: those that wait to be registered or invalidated
 * @mr_slots: room for them in each send queue
 * @regs_away: registrations under way in other queue pairs than that for messages
 * @mems: struct rdma_mem not yet unexposed
 * @small: struct rdma_read with chunks still to be posted, see next_read()
 * @bulk: likewise
 * @chunks: unused ones
 * @posted: those under way
 */
struct rdma_conn {
	struct rdma_peer *p;
	struct kref ref;
	struct rcu_head rcu;
	struct list_head entry;
	struct rdma_pair pairs[HELLO_QPS_MAX];
	u32 nr_pairs;
	u64 nonce;
	bool passive;
	bool was_connected;
	unsigned long events;
	int error;
	u16 refusal;
	u16 version;
	unsigned long deadline;
	unsigned long up_since;
	u64 incarnation;
	u32 depth;
	struct ib_device *dev;
	struct ib_pd *pd;
	u32 mr_pages;
	u32 chunk_pages;
	u32 pair_chunks;
	struct ib_qp_cap read_cap;
	bool regs_alone;
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
	struct mutex read_mutex;	/* see above */
	struct work_struct read_work;
	struct work_struct rx_work;
	struct timer_list lazy_timer;
	wait_queue_head_t wait;

	spinlock_t lock;	/* see above */
	enum conn_state state;
	u32 users;
	bool rx_open;
	struct list_head early;
	struct list_head rxq;
	u32 nr_rxq;
	struct list_head msgs;
	u32 msgs_len;
	bool msgs_hurry;
	struct list_head tx_free;
	u32 tx_used;
	u32 credits;
	u32 owed;
	u32 want;
	struct list_head mrs;
	struct list_head mr_free;
	struct list_head mrq;
	u32 mr_slots;
	u32 regs_away;
	struct list_head mems;
	struct list_head small;
	struct list_head bulk;
	struct list_head chunks;
	struct list_head posted;
};

/**
 * struct rdma_peer - what peer.xport points to
 * @peer: whose it is
 * @conn: the connection that is up; read under RCU, written by @work
 * @cur: the connection or the attempt at one; @work's, written under @lock
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
	spinlock_t lock;	/* see above */
	bool stopping;
	struct list_head incoming;
	unsigned int nr_incoming;
};

extern struct workqueue_struct *rdma_wq;
extern struct workqueue_struct *rdma_rx_wq;

/* xport_rdma_conn.c: what a connection consists of, who uses it, its end */
struct rdma_conn *conn_alloc(const struct rdma_hello *hello);
void conn_put(struct rdma_conn *conn);
int conn_alloc_pd(struct rdma_conn *conn);
bool conn_established(const struct rdma_conn *conn);
bool conn_is_of(const struct rdma_conn *conn, const struct rdma_hello *hello);
void conn_destroy(struct rdma_conn *conn);
struct rdma_conn *conn_enter(struct peer *peer);
void conn_leave(struct rdma_conn *conn);
void conn_fail(struct rdma_conn *conn, int error);
void conn_break(struct rdma_conn *conn);
void conn_wc_failed(struct rdma_conn *conn, const struct ib_wc *wc, const char *what);

/* xport_rdma_pair.c: making and ending a queue pair */
int hello_parse(const struct rdma_conn_param *param, const struct pnode *node,
		struct rdma_hello *hello);
void pair_request(struct rdma_pair *pair, struct rdma_cm_id *id,
		  const struct rdma_conn_param *param);
int pair_step(struct rdma_pair *pair);
void pair_event(struct rdma_pair *pair, int bit);
bool pair_stalls(struct rdma_pair *pair, u32 ticks);
void pair_drain(struct rdma_pair *pair);
void pair_destroy_qp(struct rdma_pair *pair);

/* xport_rdma_msg.c: messages */
int conn_alloc_msgs(struct rdma_conn *conn);
void conn_free_msgs(struct rdma_conn *conn);
int conn_post_rx(struct rdma_conn *conn);
void conn_open_rx(struct rdma_conn *conn);
void conn_rx_work(struct work_struct *work);
void conn_lazy_timer(struct timer_list *timer);
void conn_pump(struct rdma_conn *conn);
void conn_ping(struct rdma_conn *conn);
int rdma_send(struct peer *peer, struct xport_msg *msg);

/* xport_rdma_mem.c: exposed pages and reads */
int conn_size_mem(struct rdma_conn *conn);
int conn_alloc_mem(struct rdma_conn *conn);
void conn_end_mem(struct rdma_conn *conn);
void conn_free_mem(struct rdma_conn *conn);
int conn_post_mr(struct rdma_pair *pair, struct rdma_mr *mr);
void conn_reads_work(struct work_struct *work);
int rdma_expose(struct peer *peer, struct page **pages, u32 npages, struct xport_mem *mem);
void rdma_unexpose(struct xport_mem *mem);
int rdma_read_begin(struct xport_read *rd);

#endif /* _PROCLET_XPORT_RDMA_H */
