// SPDX-License-Identifier: GPL-2.0
/*
 * The transport between nodes in the same kernel.
 *
 * Two peers that have been started for each other (A's peer B and B's peer A)
 * share a struct loop_link, which is their connection: it has a queue of
 * messages for each side and the table of pages that each has exposed. It is
 * made once and goes only one way, to being broken; then each side's work item
 * says xport_peer_down() and leaves it, and after a while the two find each
 * other again.
 *
 * As with a real adapter, a read with a bad key or range not only fails but
 * breaks the connection.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": loop: " fmt

#include <linux/completion.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "node.h"
#include "xport.h"

#define LOOP_RETRY_MS	100
#define LOOP_REFUSED_MS	2000	/* after a handshake that failed */
#define LOOP_MR_PAGES	256	/* in one desc, as a usual adapter has it */

struct loop_peer;

/* One side of a connection; what is on the way to it. */
struct loop_side {
	struct loop_peer *lp;	/* valid while the link is not broken */
	u64 incarnation;
	struct list_head msgs;	/* struct xport_msg to be received, under link.lock */
	struct list_head reads;	/* struct loop_read of this side, under link.lock */
	struct xarray regions;	/* struct loop_region of this side, by key */
};

/**
 * struct loop_link - a connection
 * @ref: each side's work item, each struct loop_mem
 * @rcu: senders find it under RCU
 * @side: the node with the lower id is the first
 * @wait: for readers of a struct loop_mem to end
 * @lock: protects @broken and the lists and regions of both sides; also taken
 *        under spinlocks of the core; none is taken under it
 * @broken: nothing is put on a list, and no work item is queued any more
 */
struct loop_link {
	struct kref ref;
	struct rcu_head rcu;
	struct loop_side side[2];
	wait_queue_head_t wait;
	spinlock_t lock;	/* see above */
	bool broken;
};

/**
 * struct loop_peer - what peer.xport points to
 * @peer: whose it is
 * @entry: in loop_peers, under loop_mutex
 * @link: the connection; read under RCU, set under loop_mutex, cleared by @work
 * @side: of @link: 0 if our id is the lower one
 * @work: receives; says up and down
 * @read_work: does this side's reads
 * @retry: looks for the other side
 * @up: xport_peer_up() was called and xport_peer_down() was not; @work's
 * @retry_at: no connection before that, in jiffies, under loop_mutex
 * @stopping: peer_stop has been called, under loop_mutex
 * @stopped: @work has seen that
 */
struct loop_peer {
	struct peer *peer;
	struct list_head entry;
	struct loop_link *link;
	int side;
	struct work_struct work;
	struct work_struct read_work;
	struct delayed_work retry;
	bool up;
	unsigned long retry_at;
	bool stopping;
	struct completion stopped;
};

/* What xport_mem.priv points to. */
struct loop_mem {
	struct loop_link *link;
	int side;
	u32 readers;		/* under link.lock */
	u32 nregions;
	struct loop_region *regions;
	struct page *pages[];
};

/* What a struct xport_desc tells of. */
struct loop_region {
	struct loop_mem *mem;
	u64 addr;
	u32 rkey;
	u32 npages;
	struct page **pages;
};

struct loop_read {
	struct xport_read *rd;
	struct list_head list;
};

/* Protects loop_peers and what is said above. Nothing of the core's is under it. */
static DEFINE_MUTEX(loop_mutex);
static LIST_HEAD(loop_peers);

static void link_free(struct kref *ref)
{
	struct loop_link *link = container_of(ref, struct loop_link, ref);

	xa_destroy(&link->side[0].regions);
	xa_destroy(&link->side[1].regions);
	kfree_rcu(link, rcu);
}

static void link_put(struct loop_link *link)
{
	kref_put(&link->ref, link_free);
}

/* Both sides will notice. Any context. */
static void link_break(struct loop_link *link)
{
	unsigned long flags;

	spin_lock_irqsave(&link->lock, flags);
	if (!link->broken) {
		link->broken = true;
		queue_work(system_unbound_wq, &link->side[0].lp->work);
		queue_work(system_unbound_wq, &link->side[1].lp->work);
	}
	spin_unlock_irqrestore(&link->lock, flags);
}

static bool link_broken(struct loop_link *link)
{
	bool broken;

	spin_lock_irq(&link->lock);
	broken = link->broken;
	spin_unlock_irq(&link->lock);
	return broken;
}

/* The link of @peer, under RCU. */
static struct loop_link *peer_link(struct peer *peer, int *side)
{
	struct loop_peer *lp = READ_ONCE(peer->xport);
	struct loop_link *link;

	if (!lp)
		return NULL;
	link = smp_load_acquire(&lp->link);	/* pairs with loop_retry() */
	*side = lp->side;
	return link;
}

/* Likewise, with a reference. */
static struct loop_link *peer_link_get(struct peer *peer, int *side)
{
	struct loop_link *link;

	rcu_read_lock();
	link = peer_link(peer, side);
	if (link && !kref_get_unless_zero(&link->ref))
		link = NULL;
	rcu_read_unlock();
	return link;
}

/* Connecting. */

static bool loop_ready(const struct loop_peer *lp)
{
	return !lp->link && !lp->stopping && lp->peer->node->xport &&
	       time_after_eq(jiffies, lp->retry_at);
}

static struct loop_peer *loop_find_other(const struct loop_peer *lp)
{
	struct loop_peer *other;

	lockdep_assert_held(&loop_mutex);

	list_for_each_entry(other, &loop_peers, entry)
		if (other->peer->node->id == lp->peer->id &&
		    other->peer->id == lp->peer->node->id && other != lp)
			return other;
	return NULL;
}

/*
 * Whichever side becomes ready last finds the other one ready; so nobody has to
 * ask again and again.
 */
static void loop_retry(struct work_struct *work)
{
	struct loop_peer *lp = container_of(to_delayed_work(work),
					    struct loop_peer, retry);
	struct loop_peer *other;
	struct loop_link *link;
	int i;

	link = kzalloc(sizeof(*link), GFP_KERNEL);
	mutex_lock(&loop_mutex);
	if (lp->link || lp->stopping)
		goto out;
	if (!link) {
		queue_delayed_work(system_unbound_wq, &lp->retry,
				   msecs_to_jiffies(LOOP_RETRY_MS));
		goto out;
	}
	other = loop_find_other(lp);
	if (!other || !loop_ready(other) || !loop_ready(lp))
		goto out;

	kref_init(&link->ref);
	kref_get(&link->ref);
	init_waitqueue_head(&link->wait);
	spin_lock_init(&link->lock);
	link->side[lp->side].lp = lp;
	link->side[other->side].lp = other;
	for (i = 0; i < 2; i++) {
		link->side[i].incarnation = link->side[i].lp->peer->node->incarnation;
		INIT_LIST_HEAD(&link->side[i].msgs);
		INIT_LIST_HEAD(&link->side[i].reads);
		xa_init(&link->side[i].regions);
	}
	/* Whoever finds it finds it complete. */
	smp_store_release(&lp->link, link);
	smp_store_release(&other->link, link);	/* likewise */
	queue_work(system_unbound_wq, &lp->work);
	queue_work(system_unbound_wq, &other->work);
	link = NULL;
out:
	mutex_unlock(&loop_mutex);
	kfree(link);
}

/* Receiving, up and down: one work item for each peer. */

static struct xport_msg *loop_next_msg(struct loop_link *link, int side)
{
	struct xport_msg *msg = NULL;

	spin_lock_irq(&link->lock);
	if (!link->broken) {
		msg = list_first_entry_or_null(&link->side[side].msgs,
					       struct xport_msg, list);
		if (msg)
			list_del(&msg->list);
	}
	spin_unlock_irq(&link->lock);
	return msg;
}

static void loop_read_end(struct loop_read *read, int status)
{
	struct xport_read *rd = read->rd;

	kfree(read);
	if (!status)
		atomic64_add((u64)rd->npages << PAGE_SHIFT, &rd->peer->bytes_in);
	rd->done(rd, status);
}

/* @lp leaves its broken link. */
static void loop_down(struct loop_peer *lp, struct loop_link *link)
{
	u32 delay = READ_ONCE(lp->peer->up) ? LOOP_RETRY_MS : LOOP_REFUSED_MS;
	struct loop_side *side = &link->side[lp->side];
	struct loop_read *read, *next_read;
	struct xport_msg *msg, *next_msg;

	cancel_work_sync(&lp->read_work);
	/* It is broken: the lists are ours. */
	list_for_each_entry_safe(read, next_read, &side->reads, list)
		loop_read_end(read, -ECONNRESET);
	INIT_LIST_HEAD(&side->reads);
	list_for_each_entry_safe(msg, next_msg, &side->msgs, list)
		kfree(msg);
	INIT_LIST_HEAD(&side->msgs);

	if (lp->up) {
		lp->up = false;
		xport_peer_down(lp->peer);
	}

	mutex_lock(&loop_mutex);
	WRITE_ONCE(lp->link, NULL);
	lp->retry_at = jiffies + msecs_to_jiffies(delay);
	if (!lp->stopping)
		queue_delayed_work(system_unbound_wq, &lp->retry, msecs_to_jiffies(delay));
	mutex_unlock(&loop_mutex);
	link_put(link);
}

static void loop_up(struct loop_peer *lp, struct loop_link *link)
{
	lp->up = true;
	xport_peer_up(lp->peer, link->side[!lp->side].incarnation);
}

static void loop_work(struct work_struct *work)
{
	struct loop_peer *lp = container_of(work, struct loop_peer, work);
	struct loop_link *link = smp_load_acquire(&lp->link);	/* loop_retry() */
	struct peer *peer = lp->peer;
	struct xport_msg *msg;
	bool stopping;

	if (link && !lp->up && !link_broken(link))
		loop_up(lp, link);
	while (link && (msg = loop_next_msg(link, lp->side))) {
		atomic64_inc(&peer->msgs_in);
		atomic64_add(msg->len, &peer->bytes_in);
		if (xport_recv(peer, msg->data, msg->len))
			link_break(link);
		kfree(msg);
		cond_resched();
	}
	if (link && link_broken(link)) {
		loop_down(lp, link);
		link = NULL;
	}

	mutex_lock(&loop_mutex);
	stopping = lp->stopping && !lp->link;
	mutex_unlock(&loop_mutex);
	if (stopping)
		complete_all(&lp->stopped);
}

static int loop_send(struct peer *peer, struct xport_msg *msg)
{
	struct loop_link *link;
	struct loop_side *to;
	unsigned long flags;
	int ret = -ENOTCONN;
	int side;

	if (WARN_ON_ONCE(!msg->len || msg->len > XPORT_MSG_MAX)) {
		kfree(msg);
		return -EINVAL;
	}

	rcu_read_lock();
	link = peer_link(peer, &side);
	if (link) {
		spin_lock_irqsave(&link->lock, flags);
		if (!link->broken) {
			to = &link->side[!side];
			atomic64_inc(&peer->msgs_out);
			atomic64_add(msg->len, &peer->bytes_out);
			atomic64_inc(&peer->sends);
			list_add_tail(&msg->list, &to->msgs);
			queue_work(system_unbound_wq, &to->lp->work);
			ret = 0;
		}
		spin_unlock_irqrestore(&link->lock, flags);
	}
	rcu_read_unlock();
	if (ret)
		kfree(msg);
	return ret;
}

/* Exposing pages. */

static int region_add(struct loop_link *link, struct loop_region *region)
{
	int ret;

	do {
		region->rkey = get_random_u32();
		ret = xa_insert(&link->side[region->mem->side].regions,
				region->rkey, region, GFP_KERNEL);
	} while (ret == -EBUSY);
	return ret;
}

static bool mem_unused(struct loop_mem *lm)
{
	bool unused;

	spin_lock_irq(&lm->link->lock);
	unused = !lm->readers;
	spin_unlock_irq(&lm->link->lock);
	return unused;
}

static void mem_free(struct loop_mem *lm)
{
	struct loop_link *link = lm->link;
	u32 i;

	for (i = 0; i < lm->nregions; i++)
		xa_erase(&link->side[lm->side].regions, lm->regions[i].rkey);
	/* Whoever found one before that has counted itself. */
	wait_event(link->wait, mem_unused(lm));
	kvfree(lm->regions);
	kvfree(lm);
	link_put(link);
}

static int loop_expose(struct peer *peer, struct page **pages, u32 npages,
		       struct xport_mem *mem)
{
	u32 i, ndescs = DIV_ROUND_UP(npages, LOOP_MR_PAGES);
	struct loop_region *region;
	struct loop_link *link;
	struct loop_mem *lm;
	int ret = -ENOMEM;
	int side;

	if (!npages)
		return -EINVAL;
	link = peer_link_get(peer, &side);
	if (!link)
		return -ENOTCONN;

	lm = kvzalloc(struct_size(lm, pages, npages), GFP_KERNEL);
	if (!lm) {
		link_put(link);
		return -ENOMEM;
	}
	lm->link = link;
	lm->side = side;
	memcpy(lm->pages, pages, array_size(npages, sizeof(*pages)));
	lm->regions = kvcalloc(ndescs, sizeof(*lm->regions), GFP_KERNEL);
	mem->descs = kvmalloc_array(ndescs, sizeof(*mem->descs), GFP_KERNEL);
	if (!lm->regions || !mem->descs)
		goto out_free;

	for (i = 0; i < ndescs; i++) {
		region = &lm->regions[i];
		region->mem = lm;
		region->addr = ((u64)get_random_u32() + 1) << 31;
		region->pages = lm->pages + i * LOOP_MR_PAGES;
		region->npages = min_t(u32, npages - i * LOOP_MR_PAGES, LOOP_MR_PAGES);
		ret = region_add(link, region);
		if (ret)
			goto out_free;
		lm->nregions++;
		mem->descs[i].addr = cpu_to_le64(region->addr);
		mem->descs[i].rkey = cpu_to_le32(region->rkey);
		mem->descs[i].len = cpu_to_le32(region->npages << PAGE_SHIFT);
	}
	ret = -ENOTCONN;
	if (link_broken(link))
		goto out_free;

	mem->peer = peer;
	mem->ndescs = ndescs;
	mem->priv = lm;
	return 0;

out_free:
	mem_free(lm);
	kvfree(mem->descs);
	mem->descs = NULL;
	return ret;
}

static void loop_unexpose(struct xport_mem *mem)
{
	struct loop_mem *lm = mem->priv;

	if (!lm)
		return;
	mem_free(lm);
	kvfree(mem->descs);
	mem->descs = NULL;
	mem->ndescs = 0;
	mem->priv = NULL;
}

/* Reading. */

/* Find what @desc tells of and hold it; the first page of it is @first. */
static int region_hold(struct loop_link *link, int side,
		       const struct xport_desc *desc,
		       struct loop_region **found, u32 *first)
{
	u64 addr = le64_to_cpu(desc->addr);
	struct loop_region *region;
	int ret = -EREMOTEIO;
	u64 size;

	spin_lock_irq(&link->lock);
	if (link->broken) {
		ret = -ECONNRESET;
		goto out;
	}
	region = xa_load(&link->side[side].regions, le32_to_cpu(desc->rkey));
	if (!region || addr < region->addr || !PAGE_ALIGNED(addr))
		goto out;
	size = (u64)region->npages << PAGE_SHIFT;
	if (addr - region->addr >= size ||
	    le32_to_cpu(desc->len) > size - (addr - region->addr))
		goto out;
	region->mem->readers++;
	*first = (addr - region->addr) >> PAGE_SHIFT;
	*found = region;
	ret = 0;
out:
	spin_unlock_irq(&link->lock);
	return ret;
}

static void region_release(struct loop_link *link, struct loop_region *region)
{
	spin_lock_irq(&link->lock);
	if (!--region->mem->readers)
		wake_up_all(&link->wait);
	spin_unlock_irq(&link->lock);
}

static int loop_copy(struct loop_link *link, int from, const struct xport_read *rd)
{
	struct loop_region *region;
	struct page **to = rd->pages;
	u32 i, j, first, npages;
	int ret;

	for (i = 0; i < rd->ndescs; i++) {
		ret = region_hold(link, from, &rd->descs[i], &region, &first);
		if (ret)
			return ret;
		npages = le32_to_cpu(rd->descs[i].len) >> PAGE_SHIFT;
		for (j = 0; j < npages; j++)
			copy_highpage(*to++, region->pages[first + j]);
		region_release(link, region);
		cond_resched();
	}
	return 0;
}

static struct loop_read *loop_next_read(struct loop_link *link, int side)
{
	struct loop_read *read = NULL;

	spin_lock_irq(&link->lock);
	if (!link->broken) {
		read = list_first_entry_or_null(&link->side[side].reads,
						struct loop_read, list);
		if (read)
			list_del(&read->list);
	}
	spin_unlock_irq(&link->lock);
	return read;
}

static void loop_read_work(struct work_struct *work)
{
	struct loop_peer *lp = container_of(work, struct loop_peer, read_work);
	struct loop_link *link = smp_load_acquire(&lp->link);	/* loop_retry() */
	struct loop_read *read;
	int ret;

	while (link && (read = loop_next_read(link, lp->side))) {
		ret = loop_copy(link, !lp->side, read->rd);
		if (ret == -EREMOTEIO)
			link_break(link);
		loop_read_end(read, ret);
	}
}

static int loop_read_begin(struct xport_read *rd)
{
	struct loop_link *link;
	struct loop_read *read;
	int ret = -ENOTCONN;
	int side;

	if (!xport_read_valid(rd))
		return -EINVAL;
	read = kzalloc(sizeof(*read), GFP_KERNEL);
	if (!read)
		return -ENOMEM;
	read->rd = rd;

	rcu_read_lock();
	link = peer_link(rd->peer, &side);
	if (link) {
		spin_lock_irq(&link->lock);
		if (!link->broken) {
			list_add_tail(&read->list, &link->side[side].reads);
			queue_work(system_unbound_wq, &link->side[side].lp->read_work);
			ret = 0;
		}
		spin_unlock_irq(&link->lock);
	}
	rcu_read_unlock();
	if (ret)
		kfree(read);
	return ret;
}

/* Starting and stopping. */

static int loop_peer_start(struct peer *peer)
{
	struct loop_peer *lp;

	if (!peer->id || peer->id == peer->node->id)
		return -EINVAL;
	if (peer->xport)
		return -EALREADY;
	lp = kzalloc(sizeof(*lp), GFP_KERNEL);
	if (!lp)
		return -ENOMEM;
	lp->peer = peer;
	lp->side = peer->node->id > peer->id;
	lp->retry_at = jiffies;
	INIT_WORK(&lp->work, loop_work);
	INIT_WORK(&lp->read_work, loop_read_work);
	INIT_DELAYED_WORK(&lp->retry, loop_retry);
	init_completion(&lp->stopped);
	smp_store_release(&peer->xport, lp);	/* complete for those who find it */

	mutex_lock(&loop_mutex);
	list_add_tail(&lp->entry, &loop_peers);
	queue_delayed_work(system_unbound_wq, &lp->retry, 0);
	mutex_unlock(&loop_mutex);
	return 0;
}

static void loop_peer_stop(struct peer *peer)
{
	struct loop_peer *lp = peer->xport;

	if (!lp)
		return;
	mutex_lock(&loop_mutex);
	lp->stopping = true;
	list_del(&lp->entry);
	if (lp->link)
		link_break(lp->link);
	else
		queue_work(system_unbound_wq, &lp->work);
	mutex_unlock(&loop_mutex);
	wait_for_completion(&lp->stopped);

	/* Then those who found it before. */
	WRITE_ONCE(peer->xport, NULL);
	synchronize_rcu();
	cancel_delayed_work_sync(&lp->retry);
	cancel_work_sync(&lp->read_work);
	cancel_work_sync(&lp->work);
	kfree(lp);
}

static void loop_peer_kick(struct peer *peer)
{
	struct loop_link *link;
	int side;

	rcu_read_lock();
	link = peer_link(peer, &side);
	if (link)
		link_break(link);
	rcu_read_unlock();
}

static int loop_node_start(struct pnode *node)
{
	struct loop_peer *lp;

	if (!node->id)
		return -EINVAL;
	if (node->xport)
		return -EALREADY;

	mutex_lock(&loop_mutex);
	node->xport = &loop_peers;
	list_for_each_entry(lp, &loop_peers, entry)
		if (lp->peer->node == node)
			mod_delayed_work(system_unbound_wq, &lp->retry, 0);
	mutex_unlock(&loop_mutex);
	return 0;
}

static void loop_node_stop(struct pnode *node)
{
	mutex_lock(&loop_mutex);
	node->xport = NULL;
	mutex_unlock(&loop_mutex);
}

const struct xport_ops xport_loop_ops = {
	.name		= "loop",
	.node_start	= loop_node_start,
	.node_stop	= loop_node_stop,
	.peer_start	= loop_peer_start,
	.peer_stop	= loop_peer_stop,
	.peer_kick	= loop_peer_kick,
	.send		= loop_send,
	.expose		= loop_expose,
	.unexpose	= loop_unexpose,
	.read		= loop_read_begin,
};
