// SPDX-License-Identifier: GPL-2.0
/*
 * Nodes of this kernel and their peers: what is configured, what is enabled,
 * who is connected.
 *
 * Locks, the outer ones first:
 *
 *   config_node.lock		config.c: enable and disable, one at a time
 *     pnode.lock		configuration, start and stop
 *       nodes_lock		the list of nodes that use their id
 *       pnode.lprocs_lock	members, and whether they may join
 *       the transport's and sysfs' own
 *
 * The transport is started and stopped under pnode.lock, and stopping waits for
 * its callbacks and for pnode.wq: what runs there takes none of the above but
 * nodes_lock and pnode.lprocs_lock.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "../include/uapi/linux/proclet.h"
#include "node.h"

/* Protects node_list and each node's entry in it. */
static DEFINE_MUTEX(nodes_lock);
static LIST_HEAD(node_list);

struct pnode *node_create(const char *name)
{
	struct pnode *node;

	node = kzalloc(sizeof(*node), GFP_KERNEL);
	if (!node)
		return NULL;
	strscpy(node->name, name, sizeof(node->name));
	node->ops = &xport_rdma_ops;
	atomic64_set(&node->budget, (s64)totalram_pages() << PAGE_SHIFT >> 1);
	atomic64_set(&node->reserved, 0);
	kref_init(&node->ref);
	INIT_LIST_HEAD(&node->entry);
	mutex_init(&node->lock);
	xa_init(&node->peers);
	spin_lock_init(&node->keys_lock);
	spin_lock_init(&node->lprocs_lock);
	INIT_LIST_HEAD(&node->lprocs);
	return node;
}

static void node_free(struct kref *ref)
{
	struct pnode *node = container_of(ref, struct pnode, ref);

	WARN_ON_ONCE(!list_empty(&node->lprocs));
	xa_destroy(&node->peers);
	auth_free_keys(node);
	mutex_destroy(&node->lock);
	kfree(node);
}

void node_put(struct pnode *node)
{
	kref_put(&node->ref, node_free);
}

bool node_needs_addr(const struct pnode *node)
{
	return node->ops != &xport_loop_ops;
}

static struct pnode *node_lookup(u32 id)
{
	struct pnode *node;

	lockdep_assert_held(&nodes_lock);
	list_for_each_entry(node, &node_list, entry)
		if (node->id == id)
			return node;
	return NULL;
}

/* Makes the node findable by its id, which no other node of this kernel has. */
static int node_claim_id(struct pnode *node)
{
	struct pnode *other;

	lockdep_assert_held(&node->lock);
	mutex_lock(&nodes_lock);
	other = node_lookup(node->id);
	if (other)
		pr_err("node %s: id %u is in use by node %s\n", node->name,
		       node->id, other->name);
	else
		list_add_tail(&node->entry, &node_list);
	mutex_unlock(&nodes_lock);
	return other ? -EEXIST : 0;
}

static void node_release_id(struct pnode *node)
{
	mutex_lock(&nodes_lock);
	list_del_init(&node->entry);
	mutex_unlock(&nodes_lock);
}

static bool peer_ready(const struct peer *peer)
{
	return peer->id &&
	       (peer->addr.ss_family || !node_needs_addr(peer->node));
}

static int peer_start(struct peer *peer)
{
	struct pnode *node = peer->node;
	int err;

	lockdep_assert_held(&node->lock);
	if (peer->started || !peer_ready(peer))
		return 0;

	err = node->ops->peer_start(peer);
	if (err) {
		pr_err("node %s: cannot start peer %s: %pe\n", node->name,
		       peer->name, ERR_PTR(err));
		return err;
	}
	WRITE_ONCE(peer->started, true);
	return 0;
}

static void peer_stop(struct peer *peer)
{
	lockdep_assert_held(&peer->node->lock);
	if (!peer->started)
		return;

	peer->node->ops->peer_stop(peer);
	WRITE_ONCE(peer->started, false);
	WRITE_ONCE(peer->error, 0);
	WRITE_ONCE(peer->refusal, AUTH_OK);
	/* The transport must have said so before it returned. */
	WARN_ON_ONCE(peer->up);
}

static void peers_stop(struct pnode *node)
{
	struct peer *peer;
	unsigned long id;

	xa_for_each(&node->peers, id, peer)
		peer_stop(peer);
}

static int node_check(struct pnode *node)
{
	struct peer *self;

	lockdep_assert_held(&node->lock);
	if (!node->id) {
		pr_err("node %s: cannot be enabled: id is not set\n",
		       node->name);
		return -EINVAL;
	}
	if (node_needs_addr(node) && !node->addr.ss_family) {
		pr_err("node %s: cannot be enabled: transport %s needs addr\n",
		       node->name, node->ops->name);
		return -EINVAL;
	}
	self = xa_load(&node->peers, node->id);
	if (self) {
		pr_err("node %s: cannot be enabled: peer %s has the node's own id %u\n",
		       node->name, self->name, node->id);
		return -EINVAL;
	}
	return 0;
}

static void destroy_workqueues(struct pnode *node)
{
	if (node->wq)
		destroy_workqueue(node->wq);
	if (node->move_wq)
		destroy_workqueue(node->move_wq);
	if (node->tail_wq)
		destroy_workqueue(node->tail_wq);
	node->tail_wq = NULL;
	node->wq = NULL;
	node->move_wq = NULL;
}

int node_enable(struct pnode *node)
{
	struct peer *peer;
	unsigned long id;
	int err;

	mutex_lock(&node->lock);
	if (node->enabled) {
		err = 0;
		goto out_unlock;
	}

	err = node_check(node);
	if (err)
		goto out_unlock;

	do {
		node->incarnation = get_random_u64();
	} while (!node->incarnation);

	node->wq = alloc_workqueue("proclet-%u", WQ_UNBOUND | WQ_HIGHPRI, 0, node->id);
	node->move_wq = alloc_workqueue("proclet-move-%u", WQ_UNBOUND | WQ_HIGHPRI,
					WQ_MAX_ACTIVE, node->id);
	node->tail_wq = alloc_workqueue("proclet-tail-%u", WQ_UNBOUND | WQ_HIGHPRI, 0, node->id);
	if (!node->wq || !node->move_wq || !node->tail_wq) {
		err = -ENOMEM;
		goto out_wq;
	}

	err = node_claim_id(node);
	if (err)
		goto out_wq;

	err = node->ops->node_start(node);
	if (err) {
		pr_err("node %s: cannot start transport %s: %pe\n", node->name,
		       node->ops->name, ERR_PTR(err));
		goto out_id;
	}

	xa_for_each(&node->peers, id, peer) {
		err = peer_start(peer);
		if (err)
			goto out_peers;
	}

	spin_lock_bh(&node->lprocs_lock);
	WRITE_ONCE(node->enabled, true);
	spin_unlock_bh(&node->lprocs_lock);
	pr_info("node %s enabled: id %u, transport %s, peers are %s\n", node->name, node->id,
		node->ops->name, auth_count_keys(node) ? "authenticated" :
		"not authenticated, as it has no keys");
	mutex_unlock(&node->lock);
	sysfs_peers_changed(node);
	return 0;

out_peers:
	peers_stop(node);
	node->ops->node_stop(node);
out_id:
	node_release_id(node);
out_wq:
	destroy_workqueues(node);
out_unlock:
	mutex_unlock(&node->lock);
	return err;
}

int node_disable(struct pnode *node)
{
	int err = 0;

	mutex_lock(&node->lock);
	if (!node->enabled)
		goto out_unlock;

	spin_lock_bh(&node->lprocs_lock);
	if (list_empty(&node->lprocs))
		WRITE_ONCE(node->enabled, false);
	else
		err = -EBUSY;
	spin_unlock_bh(&node->lprocs_lock);
	if (err) {
		pr_err("node %s: cannot be disabled: programs have joined a logical process on it\n",
		       node->name);
		goto out_unlock;
	}

	peers_stop(node);
	node->ops->node_stop(node);
	/* Nobody calls back any more, so what is on the queue is the last. */
	destroy_workqueues(node);
	node_release_id(node);
	pr_info("node %s disabled\n", node->name);
	mutex_unlock(&node->lock);
	sysfs_peers_changed(node);
	return 0;

out_unlock:
	mutex_unlock(&node->lock);
	return err;
}

struct pnode *node_find(u32 id)
{
	struct pnode *node, *found = ERR_PTR(-ENODEV);

	mutex_lock(&nodes_lock);
	list_for_each_entry(node, &node_list, entry) {
		if (!READ_ONCE(node->enabled) || (id && node->id != id))
			continue;
		if (!IS_ERR(found)) {
			found = ERR_PTR(-EINVAL);
			break;
		}
		found = node;
	}
	if (!IS_ERR(found))
		kref_get(&found->ref);
	mutex_unlock(&nodes_lock);
	return found;
}

struct pnode *node_by_id_local(u32 id)
{
	struct pnode *node;

	mutex_lock(&nodes_lock);
	node = node_lookup(id);
	if (node)
		kref_get(&node->ref);
	mutex_unlock(&nodes_lock);
	return node;
}

/* Enabled nodes by ascending id; no lock is held while @fn runs. */
void nodes_for_each(void (*fn)(struct pnode *node, void *arg), void *arg)
{
	struct pnode *node;
	u32 id;

	for (id = 1; id <= PROCLET_MAX_NODES; id++) {
		node = node_find(id);
		if (IS_ERR(node))
			continue;
		fn(node, arg);
		node_put(node);
	}
}

/*
 * A node with members cannot be disabled, so what a member finds here when it
 * joins stays: the id, the transport, the queue.
 */
int node_join(struct pnode *node, struct list_head *entry)
{
	int err = -ENODEV;

	spin_lock_bh(&node->lprocs_lock);
	if (node->enabled) {
		list_add_tail(entry, &node->lprocs);
		err = 0;
	}
	spin_unlock_bh(&node->lprocs_lock);
	return err;
}

bool budget_take(atomic64_t *used, const atomic64_t *most, s64 n)
{
	s64 old = atomic64_read(used), limit;

	do {
		limit = atomic64_read(most);
		if (n > (limit ? limit : S64_MAX) - old)
			return false;
	} while (!atomic64_try_cmpxchg(used, &old, old + n));
	return true;
}

void budget_give(atomic64_t *used, s64 n)
{
	WARN_ON_ONCE(atomic64_sub_return(n, used) < 0);
}

/*
 * Before sleeping until @ready(@arg): poll for it, for as long as spin_us says. Who is
 * woken meanwhile need not be: that saves an interrupt and the way through the scheduler.
 */
void node_spin(struct pnode *node, bool (*ready)(void *arg), void *arg)
{
	u32 us = READ_ONCE(node->spin_us);
	ktime_t end;

	if (!us || ready(arg))
		return;
	end = ktime_add_us(ktime_get(), us);
	do {
		if (need_resched() || signal_pending(current) ||
		    ktime_after(ktime_get(), end)) {
			atomic64_inc(&node->slept);
			return;
		}
		cpu_relax();
	} while (!ready(arg));
	atomic64_inc(&node->spun);
}

u32 node_peers(struct pnode *node, bool up)
{
	struct peer *peer;
	unsigned long id;
	u32 n = 0;

	rcu_read_lock();
	xa_for_each(&node->peers, id, peer)
		n += !up || READ_ONCE(peer->up);
	rcu_read_unlock();
	return n;
}

struct peer *peer_create(struct pnode *node, const char *name)
{
	struct peer *peer;

	peer = kzalloc(sizeof(*peer), GFP_KERNEL);
	if (!peer)
		return NULL;
	kref_get(&node->ref);
	peer->node = node;
	strscpy(peer->name, name, sizeof(peer->name));
	kref_init(&peer->ref);
	init_waitqueue_head(&peer->wait);
	auth_init(peer);
	return peer;
}

static void peer_free(struct kref *ref)
{
	struct peer *peer = container_of(ref, struct peer, ref);

	node_put(peer->node);
	kfree_rcu(peer, rcu);
}

void peer_put(struct peer *peer)
{
	kref_put(&peer->ref, peer_free);
}

int peer_set_id(struct peer *peer, u32 id)
{
	struct pnode *node = peer->node;
	struct peer *other;
	int err = 0;

	mutex_lock(&node->lock);
	if (peer->started) {
		err = -EBUSY;
		goto out_unlock;
	}
	if (node->enabled && id == node->id) {
		pr_err("node %s: peer %s: id %u is the node's own\n",
		       node->name, peer->name, id);
		err = -EEXIST;
		goto out_unlock;
	}
	if (id != peer->id) {
		other = xa_load(&node->peers, id);
		if (other) {
			pr_err("node %s: peer %s: peer %s has id %u\n",
			       node->name, peer->name, other->name, id);
			err = -EEXIST;
			goto out_unlock;
		}
		err = xa_err(xa_store(&node->peers, id, peer, GFP_KERNEL));
		if (err)
			goto out_unlock;
		if (peer->id)
			xa_erase(&node->peers, peer->id);
		WRITE_ONCE(peer->id, id);
	}
	if (node->enabled)
		err = peer_start(peer);
out_unlock:
	mutex_unlock(&node->lock);
	sysfs_peers_changed(node);
	return err;
}

int peer_set_addr(struct peer *peer, const struct sockaddr_storage *addr)
{
	struct pnode *node = peer->node;
	int err = 0;

	mutex_lock(&node->lock);
	if (peer->started) {
		err = -EBUSY;
		goto out_unlock;
	}
	peer->addr = *addr;
	if (node->enabled)
		err = peer_start(peer);
out_unlock:
	mutex_unlock(&node->lock);
	return err;
}

void peer_remove(struct peer *peer)
{
	struct pnode *node = peer->node;

	mutex_lock(&node->lock);
	peer_stop(peer);
	if (peer->id)
		xa_erase(&node->peers, peer->id);
	mutex_unlock(&node->lock);
	sysfs_peers_changed(node);
	peer_put(peer);
}

struct peer *peer_get(struct pnode *node, u32 id)
{
	struct peer *peer;

	rcu_read_lock();
	peer = xa_load(&node->peers, id);
	if (peer && !kref_get_unless_zero(&peer->ref))
		peer = NULL;
	rcu_read_unlock();
	return peer;
}

const char *peer_why_down(struct peer *peer)
{
	if (READ_ONCE(peer->up))
		return NULL;
	if (!READ_ONCE(peer->id))
		return "id is not set";
	if (!READ_ONCE(peer->addr.ss_family) && node_needs_addr(peer->node))
		return "addr is not set";
	if (!READ_ONCE(peer->started))
		return READ_ONCE(peer->node->enabled) ? "not started" :
							"node is not enabled";
	if (!atomic64_read(&peer->disconnects))
		return "connecting";
	return "connection lost, connecting again";
}

void peer_set_up(struct peer *peer, u64 incarnation)
{
	WRITE_ONCE(peer->incarnation, incarnation);
	WRITE_ONCE(peer->error, 0);
	WRITE_ONCE(peer->refusal, AUTH_OK);
	atomic64_inc(&peer->connects);
	/* Who sees it up also sees its incarnation. */
	smp_store_release(&peer->up, true);
	wake_up_all(&peer->wait);
	pr_info("node %s: peer %s, node %u, is up%s\n", peer->node->name, peer->name, peer->id,
		peer->auth.key ? "" : ", not authenticated");
	sysfs_peers_changed(peer->node);
}

void peer_set_down(struct peer *peer)
{
	atomic64_inc(&peer->disconnects);
	WRITE_ONCE(peer->up, false);
	wake_up_all(&peer->wait);
	pr_info("node %s: peer %s is down\n", peer->node->name, peer->name);
	sysfs_peers_changed(peer->node);
}

void peer_set_error(struct peer *peer, int err)
{
	WRITE_ONCE(peer->error, err);
	WRITE_ONCE(peer->refusal, AUTH_OK);
}
