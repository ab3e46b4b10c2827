// SPDX-License-Identifier: GPL-2.0
/* The RDMA transport: messages and their flow control. */
#define pr_fmt(fmt) KBUILD_MODNAME ": rdma: " fmt

#include <linux/mm.h>
#include <linux/slab.h>

#include "xport_rdma.h"

#define CTL_RESERVE	4	/* credits that only control messages use */

#define WANT_CREDITS	BIT(16)	/* not RDMA_F_*: half the ring is owed */

/* Sending. */

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
	ret = ib_post_send(conn->pairs[0].qp, &wr, NULL);
	if (ret) {
		tx->msg = NULL;
		if (msg)
			ib_dma_unmap_single(conn->dev, tx->sge[1].addr, msg->len,
					    DMA_TO_DEVICE);
		return ret;
	}
	list_del(&tx->list);
	conn->tx_used++;
	conn->credits--;
	conn->owed = 0;
	conn->want = 0;
	return 0;
}

static void msgs_add(struct rdma_conn *conn, struct xport_msg *msg)
{
	list_add_tail(&msg->list, &conn->msgs);
	conn->msgs_len += ALIGN(msg->len, WIRE_ALIGN);
	if (!msg->lazy)
		conn->msgs_hurry = true;
	else if (!conn->msgs_hurry && !timer_pending(&conn->lazy_timer))
		mod_timer(&conn->lazy_timer, jiffies + msecs_to_jiffies(TX_LAZY_MS));
}

static void msgs_del(struct rdma_conn *conn, struct xport_msg *msg)
{
	list_del(&msg->list);
	conn->msgs_len -= ALIGN(msg->len, WIRE_ALIGN);
	if (list_empty(&conn->msgs))
		conn->msgs_hurry = false;
}

/* Of the messages that wait, the first @n become one of @len bytes. NULL: no memory. */
static struct xport_msg *msgs_join(struct rdma_conn *conn, u32 n, u32 len)
{
	struct xport_msg *all = xport_msg_alloc(len, GFP_ATOMIC | __GFP_NOWARN);
	struct xport_msg *msg;
	u32 at = 0, pad;

	while (all && n--) {
		msg = list_first_entry(&conn->msgs, struct xport_msg, list);
		pad = ALIGN(at, WIRE_ALIGN) - at;
		memset(all->data + at, 0, pad);
		memcpy(all->data + at + pad, msg->data, msg->len);
		at += pad + msg->len;
		msgs_del(conn, msg);
		kfree(msg);
	}
	return all;
}

/* What the next SEND has: as many messages as it has room for. @n: so many. */
static struct xport_msg *msgs_next(struct rdma_conn *conn, u32 *n)
{
	struct xport_msg *msg, *all = NULL;
	u32 len = 0, end;

	*n = 0;
	list_for_each_entry(msg, &conn->msgs, list) {
		end = ALIGN(len, WIRE_ALIGN) + msg->len;
		if (end > XPORT_MSG_MAX)
			break;
		len = end;
		++*n;
	}
	if (*n > 1)
		all = msgs_join(conn, *n, len);
	if (!all) {
		*n = 1;
		all = list_first_entry(&conn->msgs, struct xport_msg, list);
		msgs_del(conn, all);
	}
	return all;
}

/* May the next SEND be posted? */
static bool msgs_ready(const struct rdma_conn *conn)
{
	if (!conn->msgs_hurry || list_empty(&conn->tx_free) || conn->credits <= CTL_RESERVE)
		return false;
	if (!list_empty(&conn->mrq) || conn->regs_away)
		return false;
	return conn->tx_used < TX_FEW || conn->msgs_len >= XPORT_MSG_MAX;
}

/*
 * When rxe sends something again, it also executes again the registrations that were
 * posted after it, and finds their keys in use: the connection is lost. So there
 * they go to a queue pair where all before them has been acknowledged; NULL: none now.
 */
static struct rdma_pair *pair_for_mr(struct rdma_conn *conn)
{
	u32 i;

	if (!conn->regs_alone || !conn->tx_used)
		return &conn->pairs[0];
	for (i = 1; i < conn->nr_pairs; i++)
		if (!conn->pairs[i].posted)
			return &conn->pairs[i];
	return NULL;
}

/*
 * Post what can be posted. Registrations go before messages: a message that was
 * given to us after a registration may tell the peer of it. One that is in another
 * queue pair must have ended before.
 */
void conn_pump(struct rdma_conn *conn)
{
	struct peer *peer;
	struct xport_msg *msg;
	struct rdma_pair *pair;
	struct rdma_mr *mr;
	u32 len, n;

	lockdep_assert_held(&conn->lock);

	if (conn->state != CONN_UP)
		return;
	peer = conn->p->peer;

	while (conn->mr_slots && !list_empty(&conn->mrq)) {
		mr = list_first_entry(&conn->mrq, struct rdma_mr, queue);
		pair = pair_for_mr(conn);
		if (!pair)
			return;
		if (conn_post_mr(pair, mr))
			goto fail;
		list_del(&mr->queue);
		mr->op = MR_IDLE;
		conn->mr_slots--;
	}
	while (msgs_ready(conn)) {
		msg = msgs_next(conn, &n);
		len = msg->len;
		if (conn_post_msg(conn, msg)) {
			kfree(msg);
			goto fail;
		}
		atomic64_inc(&peer->sends);
		atomic64_add(n, &peer->msgs_out);
		atomic64_add(len, &peer->bytes_out);
	}
	if (conn->want && conn->credits && !list_empty(&conn->tx_free) &&
	    conn_post_msg(conn, NULL))
		goto fail;
	return;

fail:
	conn_fail(conn, -EIO);
}

void conn_lazy_timer(struct timer_list *timer)
{
	struct rdma_conn *conn = from_timer(conn, timer, lazy_timer);
	unsigned long flags;

	spin_lock_irqsave(&conn->lock, flags);
	conn->msgs_hurry = !list_empty(&conn->msgs);
	conn_pump(conn);
	spin_unlock_irqrestore(&conn->lock, flags);
}

/* Have the peer give a sign of life. */
void conn_ping(struct rdma_conn *conn)
{
	spin_lock_irq(&conn->lock);
	conn->want |= RDMA_F_PING;
	conn_pump(conn);
	spin_unlock_irq(&conn->lock);
}

static void tx_free_msg(struct rdma_conn *conn, struct rdma_tx *tx)
{
	if (!tx->msg)
		return;
	ib_dma_unmap_single(conn->dev, tx->sge[1].addr, tx->sge[1].length,
			    DMA_TO_DEVICE);
	kfree(tx->msg);
	tx->msg = NULL;
}

static void tx_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rdma_tx *tx = container_of(wc->wr_cqe, struct rdma_tx, cqe);
	struct rdma_conn *conn = cq->cq_context;
	unsigned long flags;

	if (wc->status != IB_WC_SUCCESS) {
		/*
		 * The queue pair is done for, and the message is freed with it: rxe
		 * may be about to send what it has just flushed.
		 */
		conn_wc_failed(conn, wc, "SEND");
		return;
	}
	tx_free_msg(conn, tx);

	spin_lock_irqsave(&conn->lock, flags);
	list_add(&tx->list, &conn->tx_free);
	conn->tx_used--;
	conn_pump(conn);
	spin_unlock_irqrestore(&conn->lock, flags);
}

int rdma_send(struct peer *peer, struct xport_msg *msg)
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
			msgs_add(conn, msg);
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
	return ib_post_recv(conn->pairs[0].qp, &wr, NULL);
}

static bool hdr_valid(u32 len, u16 flags, u32 received)
{
	if (len != received - sizeof(struct rdma_hdr) || len > XPORT_MSG_MAX)
		return false;
	if (flags & ~RDMA_F_ALL)
		return false;
	return !len == !!(flags & RDMA_F_CTL);
}

/* Take what the header says; false: it is not valid. */
static bool rx_header(struct rdma_conn *conn, struct rdma_rx *rx)
{
	const struct rdma_hdr *hdr = &conn->rx_hdrs[rx - conn->rx];
	u32 credits;
	u16 flags;
	bool ok;

	if (rx->received < sizeof(*hdr))
		return false;
	ib_dma_sync_single_for_cpu(conn->dev, rx->sge[0].addr,
				   rx->sge[0].length, DMA_FROM_DEVICE);
	rx->len = le32_to_cpu(hdr->len);
	flags = le16_to_cpu(hdr->flags);
	credits = le16_to_cpu(hdr->credits);
	if (!hdr_valid(rx->len, flags, rx->received))
		return false;

	spin_lock_irq(&conn->lock);
	ok = credits <= conn->depth - conn->credits;
	if (ok) {
		conn->credits += credits;
		if (flags & RDMA_F_PING)
			conn->want |= RDMA_F_PONG;
		conn_pump(conn);
	}
	spin_unlock_irq(&conn->lock);
	return ok;
}

/* It has been handled. */
static void rx_repost(struct rdma_conn *conn, struct rdma_rx *rx)
{
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
}

/* The next one for xport_recv(); @done: the last one is no longer in work. */
static struct rdma_rx *rx_next(struct rdma_conn *conn, bool done)
{
	struct rdma_rx *rx;

	spin_lock_irq(&conn->lock);
	if (done)
		conn->nr_rxq--;
	rx = list_first_entry_or_null(&conn->rxq, struct rdma_rx, list);
	if (rx)
		list_del(&rx->list);
	spin_unlock_irq(&conn->lock);
	return rx;
}

/*
 * The next of the messages in @rx; false: there is none. What does not even have a
 * header is left to wire_check() to refuse.
 */
static bool rx_next_msg(struct rdma_rx *rx, const void **data, u32 *len)
{
	if (rx->handled >= rx->len)
		return false;
	*data = page_address(rx->page) + rx->handled;
	*len = wire_first(*data, rx->len - rx->handled);
	return true;
}

static void rx_msg_handled(struct rdma_conn *conn, struct rdma_rx *rx, u32 len)
{
	rx->handled += ALIGN(len, WIRE_ALIGN);
	atomic64_inc(&conn->p->peer->msgs_in);
}

/* By xport_recv(); returns 0 if all are. */
static int rx_handle_rest(struct rdma_conn *conn, struct rdma_rx *rx)
{
	const void *data;
	u32 len;
	int err;

	while (rx_next_msg(rx, &data, &len)) {
		rx_msg_handled(conn, rx, len);
		err = xport_recv(conn->p->peer, data, len);
		if (err)
			return err;
	}
	return 0;
}

void conn_rx_work(struct work_struct *work)
{
	struct rdma_conn *conn = container_of(work, struct rdma_conn, rx_work);
	struct rdma_rx *rx;

	for (rx = rx_next(conn, false); rx; rx = rx_next(conn, true)) {
		if (test_bit(CONN_BROKEN, &conn->events))
			continue;
		if (rx_handle_rest(conn, rx))
			conn_break(conn);
		else
			rx_repost(conn, rx);
	}
}

/*
 * Most messages are handled at once. One that cannot be, and all behind it, are left
 * to the work item, in order.
 */
static void rx_message(struct rdma_conn *conn, struct rdma_rx *rx)
{
	struct peer *peer = conn->p->peer;
	const void *data;
	bool now;
	u32 len;

	rx->handled = 0;
	ib_dma_sync_single_for_cpu(conn->dev, rx->sge[1].addr, rx->len, DMA_FROM_DEVICE);
	atomic64_add(rx->len, &peer->bytes_in);
	spin_lock_irq(&conn->lock);
	now = conn->rx_open && !conn->nr_rxq;
	spin_unlock_irq(&conn->lock);
	while (now && rx_next_msg(rx, &data, &len)) {
		now = xport_recv_now(peer, data, len);
		if (now)
			rx_msg_handled(conn, rx, len);
	}
	if (now) {
		rx_repost(conn, rx);
		return;
	}
	spin_lock_irq(&conn->lock);
	list_add_tail(&rx->list, &conn->rxq);
	conn->nr_rxq++;
	spin_unlock_irq(&conn->lock);
	queue_work(rdma_rx_wq, &conn->rx_work);
}

static void rx_handle(struct rdma_conn *conn, struct rdma_rx *rx)
{
	const struct peer *peer = conn->p->peer;

	if (test_bit(CONN_BROKEN, &conn->events))
		return;
	if (!rx_header(conn, rx)) {
		pr_warn_ratelimited("%s: peer %s: malformed message of %u bytes\n",
				    peer->node->name, peer->name, rx->received);
		conn_break(conn);
	} else if (rx->len) {
		rx_message(conn, rx);
	} else {
		rx_repost(conn, rx);
	}
}

static void rx_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rdma_rx *rx = container_of(wc->wr_cqe, struct rdma_rx, cqe);
	struct rdma_conn *conn = cq->cq_context;
	bool early;

	if (wc->status != IB_WC_SUCCESS) {
		conn_wc_failed(conn, wc, "RECV");
		return;
	}
	if (wc->opcode != IB_WC_RECV || wc->wc_flags & IB_WC_WITH_INVALIDATE) {
		conn_break(conn);
		return;
	}
	WRITE_ONCE(conn->rx_seq, conn->rx_seq + 1);
	rx->received = wc->byte_len;

	spin_lock_irq(&conn->lock);
	early = !conn->rx_open;
	if (early)
		list_add_tail(&rx->list, &conn->early);
	spin_unlock_irq(&conn->lock);
	if (!early)
		rx_handle(conn, rx);
	else if (conn->passive)
		/* The last step of the CM's handshake has been overtaken or lost. */
		pair_event(&conn->pairs[0], PAIR_ESTABLISHED);
}

/* xport_peer_up() has returned: hand over what came before, then open. */
void conn_open_rx(struct rdma_conn *conn)
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

/* Setting up and taking down. */

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
	int i;

	for (i = 0; conn->tx && i < TX_SLOTS; i++)
		tx_free_msg(conn, &conn->tx[i]);
	if (conn->tx_hdrs_dma)
		ib_dma_unmap_single(conn->dev, conn->tx_hdrs_dma,
				    TX_SLOTS * sizeof(*conn->tx_hdrs),
				    DMA_TO_DEVICE);
	kfree(conn->tx_hdrs);
	kvfree(conn->tx);
}

int conn_alloc_msgs(struct rdma_conn *conn)
{
	return conn_alloc_rx(conn) ?: conn_alloc_tx(conn);
}

void conn_free_msgs(struct rdma_conn *conn)
{
	struct xport_msg *msg, *next;

	list_for_each_entry_safe(msg, next, &conn->msgs, list)
		kfree(msg);
	conn_free_tx(conn);
	conn_free_rx(conn);
}

/* The peer may send RING_DEPTH messages as soon as it is connected. */
int conn_post_rx(struct rdma_conn *conn)
{
	int ret, i;

	for (i = 0; i < RING_DEPTH; i++) {
		ret = rx_post(conn, &conn->rx[i]);
		if (ret)
			return ret;
	}
	return 0;
}
