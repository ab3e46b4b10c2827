// SPDX-License-Identifier: GPL-2.0
/*
 * The RDMA transport: pages that a peer may read, and reading those of a peer.
 *
 * A region of memory goes through conn.mrq twice: to be registered, in front of
 * all messages that are not posted yet, and to be invalidated. A read is cut
 * into chunks; when one ends, its room in a send queue is used for the next.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": rdma: " fmt

#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "xport_rdma.h"

#define MR_PREALLOC		8
#define MR_PAGES_MAX		128	/* at 256, rxe of 6.1 looks behind its table */
#define CHUNKS			8	/* parts of reads under way in a queue pair */
#define CHUNK_PAGES_MAX		64
#define CHUNK_READS_MAX		32	/* READs in one chunk */
#define READ_SGE_MAX		32
#define SMALL_PAGES		16	/* a read of up to so many does not wait for others */

/* Exposing pages. */

static void mr_unmap(struct rdma_conn *conn, struct rdma_mr *mr)
{
	if (mr->nents)
		ib_dma_unmap_sg(conn->dev, mr->sg, mr->nents, DMA_TO_DEVICE);
	mr->nents = 0;
}

int conn_post_mr(struct rdma_pair *pair, struct rdma_mr *mr)
{
	struct rdma_conn *conn = pair->conn;
	struct ib_reg_wr reg = {};
	struct ib_send_wr inv = {};

	lockdep_assert_held(&conn->lock);

	if (mr->op == MR_REG) {
		mr->away = pair->index;
		conn->regs_away += mr->away;
		reg.wr.opcode = IB_WR_REG_MR;
		reg.wr.wr_cqe = &mr->reg_cqe;
		reg.wr.send_flags = IB_SEND_SIGNALED;
		reg.mr = mr->mr;
		reg.key = mr->mr->rkey;
		reg.access = IB_ACCESS_REMOTE_READ;
		return ib_post_send(pair->qp, &reg.wr, NULL);
	}
	inv.opcode = IB_WR_LOCAL_INV;
	inv.wr_cqe = &mr->inv_cqe;
	inv.send_flags = IB_SEND_SIGNALED;
	inv.ex.invalidate_rkey = mr->mr->rkey;
	return ib_post_send(pair->qp, &inv, NULL);
}

static void mr_slot_free(struct rdma_conn *conn, bool away)
{
	spin_lock_irq(&conn->lock);
	conn->mr_slots++;
	conn->regs_away -= away;
	conn_pump(conn);
	spin_unlock_irq(&conn->lock);
}

static void mr_reg_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rdma_mr *mr = container_of(wc->wr_cqe, struct rdma_mr, reg_cqe);
	struct rdma_conn *conn = cq->cq_context;

	/* Messages that tell of it go nowhere any more then. */
	if (wc->status != IB_WC_SUCCESS)
		conn_wc_failed(conn, wc, "REG_MR");
	mr_slot_free(conn, mr->away);
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
		conn_wc_failed(conn, wc, "LOCAL_INV");
	}
	if (last)
		mem_release(conn, rm);
	mr_slot_free(conn, false);
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

int rdma_expose(struct peer *peer, struct page **pages, u32 npages,
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

void rdma_unexpose(struct xport_mem *mem)
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

static void chunk_put(struct rdma_conn *conn, struct rdma_chunk *chunk)
{
	lockdep_assert_held(&conn->lock);
	list_add(&chunk->list, &conn->chunks);
	chunk->pair->posted--;
	chunk->pair->ended++;
}

/* @chunk is not in the send queue any more. */
static void chunk_end(struct rdma_conn *conn, struct rdma_chunk *chunk, int status)
{
	struct rdma_pair *pair = chunk->pair;
	struct rdma_read *read;
	bool over, more;

	spin_lock_irq(&conn->lock);
	read = chunk->read;
	chunk->read = NULL;
	if (read)
		list_del(&chunk->list);
	spin_unlock_irq(&conn->lock);
	if (!read)
		return;		/* conn_end_reads() was faster */

	rdma_rw_ctx_destroy(&chunk->rw, pair->qp, pair->id->port_num, chunk->sg,
			    chunk->npages, DMA_FROM_DEVICE);

	spin_lock_irq(&conn->lock);
	if (status && !read->status)
		read->status = status;
	chunk_put(conn, chunk);
	over = !--read->pending && read->posted;
	/* Perhaps they can go where the chunk was. */
	if (!list_empty(&conn->mrq))
		conn_pump(conn);
	more = conn->state == CONN_UP &&
	       !(list_empty(&conn->small) && list_empty(&conn->bulk));
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
		conn_wc_failed(conn, wc, "READ");
	}
	chunk_end(conn, chunk, chunk->status);
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
	conn_wc_failed(conn, wc, "READ");
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
	ret = rdma_rw_ctx_init(&chunk->rw, chunk->pair->qp, chunk->pair->id->port_num,
			       chunk->sg, n, 0, addr, le32_to_cpu(desc->rkey),
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
	struct rdma_pair *pair = chunk->pair;
	struct ib_send_wr *first, *wr;

	lockdep_assert_held(&conn->lock);

	first = rdma_rw_ctx_wrs(&chunk->rw, pair->qp, pair->id->port_num,
				&chunk->cqe, NULL);
	for (wr = first; wr->next; wr = wr->next)
		wr->wr_cqe = &chunk->err_cqe;
	return ib_post_send(pair->qp, first, NULL);
}

/*
 * The last queue pair is for small reads, if there is another one for the rest. So
 * neither kind waits for the other.
 */
static bool read_is_small(const struct rdma_conn *conn, const struct xport_read *rd)
{
	return conn->nr_pairs > HELLO_QPS_MIN && rd->npages <= SMALL_PAGES;
}

/* Of @nr queue pairs from @pair on, the one with the fewest chunks, if it has room. */
static struct rdma_pair *pair_for_chunk(const struct rdma_conn *conn,
					struct rdma_pair *pair, u32 nr)
{
	struct rdma_pair *best = pair;

	while (--nr)
		if ((++pair)->posted < best->posted)
			best = pair;
	return best->posted < conn->pair_chunks ? best : NULL;
}

/* A read of which a chunk can be posted now, and to where; NULL: none. */
static struct rdma_read *next_read(struct rdma_conn *conn, struct rdma_pair **pair)
{
	u32 reads = conn->nr_pairs - 1;

	lockdep_assert_held(&conn->lock);

	if (!list_empty(&conn->small)) {
		*pair = pair_for_chunk(conn, &conn->pairs[reads], 1);
		if (*pair)
			return list_first_entry(&conn->small, struct rdma_read, list);
	}
	if (!list_empty(&conn->bulk)) {
		*pair = pair_for_chunk(conn, &conn->pairs[1], max(reads - 1, 1U));
		if (*pair)
			return list_first_entry(&conn->bulk, struct rdma_read, list);
	}
	return NULL;
}

/*
 * Post the next chunk. Returns false if there is nothing to do, or nothing to
 * do it with; then the end of a chunk calls again. @ended: a read that is over by
 * this, or NULL.
 */
static bool reads_advance(struct rdma_conn *conn, struct rdma_read **ended)
{
	struct rdma_chunk *chunk;
	struct rdma_read *read;
	struct rdma_pair *pair;
	bool more = true;
	int ret;

	lockdep_assert_held(&conn->read_mutex);
	*ended = NULL;

	spin_lock_irq(&conn->lock);
	read = conn->state == CONN_UP ? next_read(conn, &pair) : NULL;
	if (!read) {
		spin_unlock_irq(&conn->lock);
		return false;
	}
	if (read->status)
		goto posted;
	/* There are as many as all queue pairs have room for. */
	chunk = list_first_entry(&conn->chunks, struct rdma_chunk, list);
	list_del(&chunk->list);
	chunk->pair = pair;
	pair->posted++;
	read->pending++;
	spin_unlock_irq(&conn->lock);

	ret = chunk_prepare(conn, read, chunk);

	spin_lock_irq(&conn->lock);
	if (ret) {
		chunk_put(conn, chunk);
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
	/* Even if it cannot be posted: a part of it may have been. */
	list_add_tail(&chunk->list, &conn->posted);
	if (conn->state != CONN_UP || chunk_post(conn, chunk)) {
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

void conn_reads_work(struct work_struct *work)
{
	reads_run(container_of(work, struct rdma_conn, read_work));
}

int rdma_read_begin(struct xport_read *rd)
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
	list_add_tail(&read->list, read_is_small(conn, rd) ? &conn->small : &conn->bulk);
	spin_unlock_irq(&conn->lock);
	reads_run(conn);
	conn_leave(conn);
	return 0;
}

/* Setting up and taking down. */

/*
 * The pages in a chunk, the chunks, and what they need of a send queue, in work
 * requests. A chunk is either READs with as many pages each as the adapter can
 * scatter to, or (always on iWARP, by choice of rdma_rw_ctx_init() elsewhere)
 * one READ for each memory region, with its registration and invalidation.
 */
int conn_size_mem(struct rdma_conn *conn)
{
	const struct ib_device_attr *da = &conn->dev->attrs;
	u32 sge = clamp_t(u32, min(da->max_send_sge, da->max_sge_rd), 1, READ_SGE_MAX);
	u32 others = MR_SLOTS + 1, mrs, wrs;

	if (da->max_send_sge < 2 || da->max_recv_sge < 2 ||
	    !(da->device_cap_flags & IB_DEVICE_MEM_MGT_EXTENSIONS) ||
	    !da->max_fast_reg_page_list_len)
		return -EOPNOTSUPP;
	conn->mr_pages = min_t(u32, da->max_fast_reg_page_list_len, MR_PAGES_MAX);
	conn->regs_alone = conn->dev->ops.driver_id == RDMA_DRIVER_RXE;

	conn->chunk_pages = CHUNK_PAGES_MAX;
	if (!rdma_protocol_iwarp(conn->dev, conn->pairs[0].id->port_num))
		conn->chunk_pages = min_t(u32, CHUNK_PAGES_MAX, sge * CHUNK_READS_MAX);
	mrs = DIV_ROUND_UP(conn->chunk_pages, conn->mr_pages);
	wrs = max(DIV_ROUND_UP(conn->chunk_pages, sge), 3 * mrs);

	conn->pair_chunks = CHUNKS;
	while (conn->pair_chunks > 1 && others + conn->pair_chunks * wrs > da->max_qp_wr)
		conn->pair_chunks /= 2;
	if (others + conn->pair_chunks * wrs > da->max_qp_wr)
		return -EOPNOTSUPP;

	/* One more in each queue, for ib_drain_qp(). */
	conn->read_cap = (struct ib_qp_cap) {
		.max_send_wr = others + conn->pair_chunks * wrs,
		.max_recv_wr = 1,
		.max_send_sge = sge,
		.max_recv_sge = 1,
		.max_rdma_ctxs = conn->pair_chunks * mrs,
	};
	return 0;
}

static int conn_alloc_chunks(struct rdma_conn *conn)
{
	struct rdma_chunk *chunk;
	u32 i;

	for (i = 0; i < conn->pair_chunks * (conn->nr_pairs - 1); i++) {
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

int conn_alloc_mem(struct rdma_conn *conn)
{
	conn->mr_slots = MR_SLOTS;
	return conn_alloc_chunks(conn) ?: conn_alloc_mrs(conn);
}

/*
 * The send queues are drained, so what is in them still could not be posted, or the
 * adapter has forgotten it (siw does).
 */
static void conn_end_reads(struct rdma_conn *conn)
{
	struct rdma_chunk *chunk;
	struct rdma_read *read;

	for (;;) {
		spin_lock_irq(&conn->lock);
		chunk = list_first_entry_or_null(&conn->posted, struct rdma_chunk, list);
		spin_unlock_irq(&conn->lock);
		if (!chunk)
			break;
		chunk_end(conn, chunk, -ECONNRESET);
	}

	list_splice_init(&conn->small, &conn->bulk);
	while ((read = list_first_entry_or_null(&conn->bulk, struct rdma_read, list))) {
		list_del(&read->list);
		WARN_ON_ONCE(read->pending);
		if (!read->status)
			read->status = -ECONNRESET;
		read_end(conn, read);
	}
}

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

/* The queue pairs are drained: end all reads, and make the peer's keys useless. */
void conn_end_mem(struct rdma_conn *conn)
{
	conn_end_reads(conn);
	conn_free_mrs(conn);
}

void conn_free_mem(struct rdma_conn *conn)
{
	struct rdma_chunk *chunk, *next;

	list_for_each_entry_safe(chunk, next, &conn->chunks, list)
		kvfree(chunk);
}
