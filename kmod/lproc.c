// SPDX-License-Identifier: GPL-2.0
/*
 * Logical processes: joining, knowing the other members, leaving. A struct
 * lproc is one member: what this node has of a logical process.
 */
#include <linux/cred.h>
#include <linux/ctype.h>
#include <linux/fs.h>
#include <linux/jhash.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "compat.h"
#include "lproc.h"

/* Longest wait for the answers of the connected nodes. */
#define JOIN_TIMEOUT	(30 * HZ)

/* One at a time, so that a name is not taken twice on a node. */
static DEFINE_MUTEX(join_lock);

static u64 lproc_hash(const char *name, u64 run)
{
	u32 len = strlen(name);
	u32 high = jhash(name, len, upper_32_bits(run) ^ 0x70726f63);
	u32 low = jhash(name, len, lower_32_bits(run) ^ high);

	return (u64)high << 32 | low;
}

static void lproc_free(struct kref *ref)
{
	struct lproc *lproc = container_of(ref, struct lproc, ref);

	clock_teardown(lproc);
	if (lproc->mm)
		mmdrop(lproc->mm);
	put_pid(lproc->tgid);
	node_put(lproc->node);
	kvfree(lproc->events);
	kfree(lproc);
}

void lproc_put(struct lproc *lproc)
{
	kref_put(&lproc->ref, lproc_free);
}

/* Something that release waits for has ended. */
void lproc_moves_put(struct lproc *lproc)
{
	if (atomic_dec_and_test(&lproc->moves))
		wake_up_all(&lproc->moves_wq);
	lproc_put(lproc);
}

/*
 * Takes a use, given back by lproc_done(): release waits for it. @dying: also a
 * member that is going, for the answers that its migrations wait for.
 */
struct lproc *lproc_find(struct pnode *node, u64 key, bool dying)
{
	struct lproc *lproc, *found = NULL;

	spin_lock_bh(&node->lprocs_lock);
	list_for_each_entry(lproc, &node->lprocs, entry) {
		if (lproc->key == key && (dying || !lproc->dying)) {
			lproc->users++;
			found = lproc;
			break;
		}
	}
	spin_unlock_bh(&node->lprocs_lock);
	return found;
}

void lproc_done(struct lproc *lproc)
{
	struct pnode *node = lproc->node;

	spin_lock_bh(&node->lprocs_lock);
	if (!--lproc->users)
		wake_up_all(&lproc->users_wq);
	spin_unlock_bh(&node->lprocs_lock);
}

/* The budgets of a heap: its member's and the node's. */
int lproc_reserve(struct lproc *lproc, s64 bytes)
{
	struct pnode *node = lproc->node;

	if (bytes <= 0) {
		budget_give(&lproc->reserved, -bytes);
		budget_give(&node->reserved, -bytes);
		return 0;
	}
	if (!budget_take(&lproc->reserved, &node->member_budget, bytes))
		return -ENOMEM;
	if (budget_take(&node->reserved, &node->budget, bytes))
		return 0;
	budget_give(&lproc->reserved, bytes);
	return -ENOMEM;
}

void charge_begin(struct charge *c, struct lproc *lproc)
{
	struct task_struct *task;

	rcu_read_lock();
	task = pid_task(lproc->tgid, PIDTYPE_TGID);
	c->memcg = task ? compat_task_memcg(task) : NULL;
	rcu_read_unlock();
	c->before = set_active_memcg(c->memcg);
}

void charge_end(struct charge *c)
{
	set_active_memcg(c->before);
	mem_cgroup_put(c->memcg);
}

/* Call @fn for each member on @node. */
void lprocs_for_each(struct pnode *node, void (*fn)(struct lproc *lproc, void *arg),
		     void *arg)
{
	struct lproc *lproc, *prev = NULL;

	spin_lock_bh(&node->lprocs_lock);
	list_for_each_entry(lproc, &node->lprocs, entry) {
		lproc->users++;	/* keeps it in the list */
		spin_unlock_bh(&node->lprocs_lock);
		if (prev)
			lproc_done(prev);
		fn(lproc, arg);
		prev = lproc;
		spin_lock_bh(&node->lprocs_lock);
	}
	spin_unlock_bh(&node->lprocs_lock);
	if (prev)
		lproc_done(prev);
}

static void ident_to_wire(struct wire_ident *w, const struct proclet_ident *id)
{
	memcpy(w->build_id, id->build_id, sizeof(w->build_id));
	w->build_id_len = cpu_to_le32(id->build_id_len);
	w->page_size = cpu_to_le32(id->page_size);
	w->text[0] = cpu_to_le64(id->text[0]);
	w->text[1] = cpu_to_le64(id->text[1]);
	w->shim[0] = cpu_to_le64(id->shim[0]);
	w->shim[1] = cpu_to_le64(id->shim[1]);
	w->xfeatures = cpu_to_le64(id->xfeatures);
}

static void send_join(struct lproc *lproc, struct peer *peer)
{
	struct xport_msg *msg;
	struct wire_join *m;

	m = msg_new(&msg, WIRE_JOIN, lproc->key, sizeof(*m));
	if (!m)
		return;
	m->run = cpu_to_le64(lproc->run);
	memcpy(m->name, lproc->name, sizeof(m->name));
	ident_to_wire(&m->ident, &lproc->ident);
	clock_stamp(lproc, &m->hdr);
	m->flags = cpu_to_le32(lproc->flags);
	m->uid = cpu_to_le32(from_kuid(&init_user_ns, lproc->uid));
	msg_send(peer->node, peer->id, msg);
}

static const char *policy_name(u32 flags)
{
	return flags & PROCLET_JOIN_SURVIVE ? "survive" : "end";
}

/* Say in @why what differs; false: nothing. */
static bool join_differs(struct lproc *lproc, const struct wire_join *join, u32 peer,
			 char *why, size_t size)
{
	const struct proclet_ident *id = &lproc->ident;
	const struct wire_ident *w = &join->ident;
	u32 self = lproc->node->id;

	if (le32_to_cpu(w->build_id_len) != id->build_id_len ||
	    memcmp(w->build_id, id->build_id, id->build_id_len))
		snprintf(why, size, "another program: build id %*phN on node %u, %*phN on node %u",
			 min_t(int, le32_to_cpu(w->build_id_len), 20), w->build_id, peer,
			 min_t(int, id->build_id_len, 20), id->build_id, self);
	else if (le64_to_cpu(w->text[0]) != id->text[0] ||
		 le64_to_cpu(w->text[1]) != id->text[1])
		snprintf(why, size, "program text at %llx on node %u, at %llx on node %u",
			 le64_to_cpu(w->text[0]), peer, id->text[0], self);
	else if (le64_to_cpu(w->shim[0]) != id->shim[0] ||
		 le64_to_cpu(w->shim[1]) != id->shim[1])
		snprintf(why, size, "libshim at %llx on node %u, at %llx on node %u",
			 le64_to_cpu(w->shim[0]), peer, id->shim[0], self);
	else if (le64_to_cpu(w->xfeatures) != id->xfeatures)
		snprintf(why, size, "CPU state features %llx on node %u, %llx on node %u",
			 le64_to_cpu(w->xfeatures), peer, id->xfeatures, self);
	else if (le32_to_cpu(w->page_size) != id->page_size)
		snprintf(why, size, "page size %u on node %u, %u on node %u",
			 le32_to_cpu(w->page_size), peer, id->page_size, self);
	else if (le32_to_cpu(join->uid) != from_kuid(&init_user_ns, lproc->uid))
		snprintf(why, size, "it belongs to uid %u on node %u, to uid %u on node %u",
			 le32_to_cpu(join->uid), peer, from_kuid(&init_user_ns, lproc->uid), self);
	else if (le32_to_cpu(join->flags) != lproc->flags)
		snprintf(why, size, "policy '%s' on node %u, '%s' on node %u",
			 policy_name(le32_to_cpu(join->flags)), peer,
			 policy_name(lproc->flags), self);
	else
		return false;
	return true;
}

static void member_add(struct lproc *lproc, u32 node)
{
	lockdep_assert_held(&lproc->lock);
	if (!(lproc->members & node_bit(node)))
		event_add(lproc, PROCLET_EVENT_JOINED, node, 0);
	lproc->members |= node_bit(node);
}

void lproc_handle_join(struct peer *peer, const struct wire_join *m)
{
	struct lproc *lproc = lproc_find(peer->node, le64_to_cpu(m->hdr.lproc), false);
	char reason[PROCLET_REASON_MAX] = "";
	struct wire_join_ack *ack;
	struct xport_msg *msg;
	int status = -ENOENT;

	ack = msg_new(&msg, WIRE_JOIN_ACK, le64_to_cpu(m->hdr.lproc), sizeof(*ack));
	if (lproc && (strcmp(lproc->name, m->name) ||
		      le64_to_cpu(m->run) != lproc->run)) {
		snprintf(reason, sizeof(reason), "the name hashes as '%s', take another",
			 lproc->name);
		status = -EXDEV;
	} else if (lproc && join_differs(lproc, m, peer->id, reason, sizeof(reason))) {
		/* Both are joining: the lower node id stays. */
		if (!READ_ONCE(lproc->joining) || lproc->node->id < peer->id)
			status = -EXDEV;
		else
			reason[0] = 0;
	} else if (lproc) {
		status = 0;
		clock_hear(lproc, &m->hdr);
	}
	ack->status = cpu_to_le32(status);
	strscpy(ack->reason, reason, sizeof(ack->reason));
	if (!status) {
		/* It knows what we have of its proclets before it can be asked for them. */
		proclets_announce(lproc, peer->id);
		/* What we send it as a member must not overtake this. */
		spin_lock_bh(&lproc->lock);
		member_add(lproc, peer->id);
		clock_stamp(lproc, &ack->hdr);
		peer->node->ops->send(peer, msg);
		spin_unlock_bh(&lproc->lock);
		wake_up_all(&lproc->members_wq);
	} else {
		peer->node->ops->send(peer, msg);
	}
	if (lproc)
		lproc_done(lproc);
}

void lproc_handle_join_ack(struct peer *peer, const struct wire_join_ack *m)
{
	struct lproc *lproc = lproc_find(peer->node, le64_to_cpu(m->hdr.lproc), false);
	int status = (s32)le32_to_cpu(m->status);

	if (!lproc)
		return;
	/* Before the wait for it ends. */
	if (!status)
		clock_hear(lproc, &m->hdr);
	spin_lock_bh(&lproc->lock);
	lproc->join_wait &= ~node_bit(peer->id);
	if (!status) {
		member_add(lproc, peer->id);
	} else if (status == -EXDEV && !lproc->refused) {
		strscpy(lproc->reason, m->reason, sizeof(lproc->reason));
		/* After @reason; pairs with lproc_join(). */
		smp_store_release(&lproc->refused, true);
	}
	spin_unlock_bh(&lproc->lock);
	wake_up_all(&lproc->members_wq);
	if (status == -EXDEV && !READ_ONCE(lproc->joining))
		pr_err_ratelimited("proclet: node %s: %s on node %s does not match ours: %s\n",
				   peer->node->name, lproc->name, peer->name, m->reason);
	lproc_done(lproc);
}

static void announce_join(struct lproc *lproc, void *arg)
{
	struct peer *peer = arg;

	if (lproc->dying)
		return;
	send_join(lproc, peer);
	migrate_peer_up(lproc, peer);
}

void lproc_peer_up(struct peer *peer)
{
	lprocs_for_each(peer->node, announce_join, peer);
}

static void lost_peer(struct lproc *lproc, void *arg)
{
	struct peer *peer = arg;

	pulls_lost(lproc, peer->id);
	migrate_peer_down(lproc, peer);
	tails_check(lproc);
	lproc_lost_member(lproc, peer->id, false, "its node is not connected any more");
}

void lproc_peer_down(struct peer *peer)
{
	lprocs_for_each(peer->node, lost_peer, peer);
}

static void send_leave(struct lproc *lproc, struct peer *peer)
{
	struct wire_leave *m;
	struct xport_msg *msg;

	m = msg_new(&msg, WIRE_LEAVE, lproc->key, sizeof(*m));
	if (!m)
		return;
	m->refused = cpu_to_le32(READ_ONCE(lproc->joining));
	strscpy(m->reason, lproc->exit_reason, sizeof(m->reason));
	msg_send(peer->node, peer->id, msg);
}

static void send_exit(struct lproc *lproc, struct peer *peer)
{
	struct wire_exit *m;
	struct xport_msg *msg;

	m = msg_new(&msg, WIRE_EXIT, lproc->key, sizeof(*m));
	if (!m)
		return;
	m->event = cpu_to_le32(lproc->exit_event);
	m->status = cpu_to_le32(lproc->exit_status);
	m->node = cpu_to_le32(lproc->exit_node);
	strscpy(m->reason, lproc->exit_reason, sizeof(m->reason));
	msg_send(peer->node, peer->id, msg);
}

/* Tell every connected peer. */
static void tell_peers(struct lproc *lproc, void (*send)(struct lproc *lproc, struct peer *peer))
{
	struct peer *peer;
	u32 id;

	for (id = 1; id <= PROCLET_MAX_NODES; id++) {
		peer = peer_get(lproc->node, id);
		if (!peer)
			continue;
		if (READ_ONCE(peer->up))
			send(lproc, peer);
		peer_put(peer);
	}
}

/* The same, and expect its answer. */
static void ask_to_join(struct lproc *lproc, struct peer *peer)
{
	spin_lock_bh(&lproc->lock);
	lproc->join_wait |= node_bit(peer->id);
	spin_unlock_bh(&lproc->lock);
	send_join(lproc, peer);
	/* It may have gone down before its bit was set. */
	if (!READ_ONCE(peer->up)) {
		spin_lock_bh(&lproc->lock);
		lproc->join_wait &= ~node_bit(peer->id);
		spin_unlock_bh(&lproc->lock);
	}
}

static struct lproc *lproc_alloc(struct pnode *node, const struct proclet_join *join)
{
	struct lproc *lproc = kzalloc(sizeof(*lproc), GFP_MEMBER);

	if (!lproc)
		return NULL;
	lproc->events = kvcalloc(PROCLET_EVENTS, sizeof(*lproc->events), GFP_MEMBER);
	if (!lproc->events) {
		kfree(lproc);
		return NULL;
	}
	lproc->last_event = 1;	/* 0 is no number */
	memcpy(lproc->name, join->name, sizeof(lproc->name));
	lproc->run = join->run;
	lproc->key = lproc_hash(lproc->name, lproc->run);
	lproc->node = node;
	lproc->ident = join->ident;
	lproc->flags = join->flags;
	lproc->uid = current_euid();
	lproc->joining = true;
	kref_init(&lproc->ref);
	INIT_LIST_HEAD(&lproc->entry);
	spin_lock_init(&lproc->lock);
	init_waitqueue_head(&lproc->users_wq);
	init_waitqueue_head(&lproc->members_wq);
	init_waitqueue_head(&lproc->manager_wq);
	init_waitqueue_head(&lproc->park_wq);
	init_waitqueue_head(&lproc->moves_wq);
	/* Those that are used under @lock, which is for softirqs too. */
	xa_init_flags(&lproc->proclets, XA_FLAGS_LOCK_BH);
	xa_init_flags(&lproc->locations, XA_FLAGS_LOCK_BH);
	xa_init_flags(&lproc->workers, XA_FLAGS_LOCK_BH);
	xa_init_flags(&lproc->natives, XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_BH);
	xa_init_flags(&lproc->pulls, XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_BH);
	xa_init_flags(&lproc->dropped, XA_FLAGS_LOCK_BH);
	/* A member that comes back must not give out its forerunner's numbers. */
	lproc->first_gen = get_random_u32();
	lproc->next_gen = lproc->first_gen;
	lproc->next_native = get_random_u32() >> 1;
	INIT_LIST_HEAD(&lproc->dying_proclets);
	INIT_LIST_HEAD(&lproc->drains);
	INIT_WORK(&lproc->drain_work, worker_drain_fn);
	INIT_LIST_HEAD(&lproc->incoming);
	INIT_LIST_HEAD(&lproc->donors);
	INIT_LIST_HEAD(&lproc->tails);
	futex_init(lproc);
	INIT_DELAYED_WORK(&lproc->waiters_work, waiters_tick);
	INIT_LIST_HEAD(&lproc->ready);
	INIT_LIST_HEAD(&lproc->idle);
	deadlines_init(lproc);
	return lproc;
}

/* Into the node's list, unless there is one of this run already. */
static int lproc_add(struct lproc *lproc)
{
	struct lproc *other;
	int err = 0;

	mutex_lock(&join_lock);
	/* Also one that is leaving: its peers must know before they hear of us. */
	spin_lock_bh(&lproc->node->lprocs_lock);
	list_for_each_entry(other, &lproc->node->lprocs, entry)
		if (other->key == lproc->key)
			err = -EEXIST;
	spin_unlock_bh(&lproc->node->lprocs_lock);
	if (!err)
		err = node_join(lproc->node, &lproc->entry);
	mutex_unlock(&join_lock);
	return err;
}

/* It appears in tables whose columns are separated by spaces. */
static bool name_ok(const char *name)
{
	size_t i;

	for (i = 0; i < PROCLET_NAME_MAX && name[i]; i++)
		if (!isascii(name[i]) || !isgraph(name[i]))
			return false;
	return i && i < PROCLET_NAME_MAX;
}

int lproc_join(struct file *file, struct proclet_join *join)
{
	struct pnode *node;
	struct lproc *lproc;
	long left;
	int err;

	memset(join->reason, 0, sizeof(join->reason));
	/* Pairs with the end of this function. */
	if (smp_load_acquire(&file->private_data))
		return -EALREADY;
	if (!name_ok(join->name) ||
	    join->ident.build_id_len > sizeof(join->ident.build_id) ||
	    join->node > PROCLET_MAX_NODES || join->reserved ||
	    join->flags & ~PROCLET_JOIN_SURVIVE)
		return -EINVAL;
	node = node_find(join->node);
	if (IS_ERR(node))
		return PTR_ERR(node);
	lproc = lproc_alloc(node, join);
	if (!lproc) {
		node_put(node);
		return -ENOMEM;
	}
	lproc->mm = current->mm;
	mmgrab(lproc->mm);
	lproc->tgid = get_pid(task_tgid(current));
	err = clock_setup(lproc);
	if (!err)
		err = region_setup(lproc);
	if (err)
		goto put;
	err = lproc_add(lproc);
	if (err) {
		region_teardown(lproc);
		goto put;
	}
	tell_peers(lproc, ask_to_join);
	left = wait_event_killable_timeout(lproc->members_wq,
					   READ_ONCE(lproc->refused) ||
					   !READ_ONCE(lproc->join_wait), JOIN_TIMEOUT);
	if (left <= 0)
		err = left ? -EINTR : -ETIMEDOUT;
	/* Pairs with lproc_handle_join_ack(). */
	if (smp_load_acquire(&lproc->refused)) {
		memcpy(join->reason, lproc->reason, sizeof(join->reason));
		err = -EXDEV;
	}
	if (!err) {
		WRITE_ONCE(lproc->joining, false);
		clock_settle(lproc);
		waiters_tick(&lproc->waiters_work.work);
		mutex_lock(&join_lock);
		if (file->private_data) {
			err = -EALREADY;
		} else {
			file->f_mapping = lproc->mapping;
			/* Whoever sees it sees all of it. */
			smp_store_release(&file->private_data, lproc);
		}
		mutex_unlock(&join_lock);
	}
	if (err)
		lproc_release(lproc);
	return err;
put:
	lproc_put(lproc);
	return err;
}

int lproc_members(struct lproc *lproc, struct proclet_members *m)
{
	long timeout = m->timeout_ms ? msecs_to_jiffies(m->timeout_ms) :
				       MAX_SCHEDULE_TIMEOUT, left = 1;
	u32 members, i;

	bool lost = m->flags & PROCLET_MEMBERS_LOST;

	if (m->flags & ~PROCLET_MEMBERS_LOST || m->wait_for > PROCLET_MAX_NODES)
		return -EINVAL;
	if (m->wait_for)
		left = wait_event_killable_timeout(lproc->members_wq,
				hweight32(READ_ONCE(lproc->members)) + 1 >= m->wait_for ||
				READ_ONCE(lproc->ended) ||
				(lost && READ_ONCE(lproc->lost)), timeout);
	if (left < 0)
		return -EINTR;
	members = READ_ONCE(lproc->members) | node_bit(lproc->node->id);
	m->node = lproc->node->id;
	m->count = 0;
	memset(m->ids, 0, sizeof(m->ids));
	for (i = 1; i <= PROCLET_MAX_NODES; i++)
		if (members & node_bit(i))
			m->ids[m->count++] = i;
	if (m->wait_for && READ_ONCE(lproc->ended))
		return -ESHUTDOWN;
	if (m->wait_for > m->count && left)
		return -ECONNRESET;
	return left ? 0 : -ETIMEDOUT;
}

int lproc_manage(struct lproc *lproc, struct proclet_manage *m)
{
	u32 node;

	if (wait_event_interruptible(lproc->manager_wq, READ_ONCE(lproc->ended) ||
				     READ_ONCE(lproc->lost) || READ_ONCE(lproc->spawn)))
		return -EINTR;
	m->node = 0;
	memset(m->reason, 0, sizeof(m->reason));
	spin_lock_bh(&lproc->lock);
	if (lproc->lost) {
		node = ffs(lproc->lost);
		lproc->lost &= ~node_bit(node);
		m->event = PROCLET_EVENT_LOST;
		m->status = 0;
		m->node = node;
		strscpy(m->reason, lproc->lost_reason[node - 1], sizeof(m->reason));
	} else if (lproc->ended) {
		m->event = lproc->exit_event;
		m->status = lproc->exit_status;
		m->node = lproc->exit_node;
		strscpy(m->reason, lproc->exit_reason, sizeof(m->reason));
	} else {
		m->event = PROCLET_EVENT_SPAWN;
		m->status = lproc->spawn;
		lproc->spawn = 0;
	}
	spin_unlock_bh(&lproc->lock);
	return 0;
}

/* It is over here: all that wait learn it. Returns false if it was before. */
static bool lproc_end(struct lproc *lproc, u32 event, s32 status, u32 node,
		      const char *reason)
{
	struct native_wait *n;
	unsigned long index;
	struct worker *w;
	bool first;

	lockdep_assert_held(&lproc->lock);
	first = !lproc->ended;
	if (first) {
		lproc->exit_event = event;
		lproc->exit_status = status;
		lproc->exit_node = node;
		strscpy(lproc->exit_reason, reason, sizeof(lproc->exit_reason));
		WRITE_ONCE(lproc->ended, true);
	}
	list_for_each_entry(w, &lproc->idle, idle)
		wake_up(&w->wait);
	xa_for_each(&lproc->natives, index, n)
		native_end(lproc, n, -ESHUTDOWN);
	wake_up_all(&lproc->manager_wq);
	wake_up_all(&lproc->members_wq);
	return first;
}

/* End it here; if that is our own decision, everywhere. */
void lproc_exit(struct lproc *lproc, u32 event, s32 status, u32 node, const char *reason)
{
	bool first;

	spin_lock_bh(&lproc->lock);
	first = lproc_end(lproc, event, status, node, reason);
	spin_unlock_bh(&lproc->lock);
	if (first && node == lproc->node->id && event == PROCLET_EVENT_EXIT)
		tell_peers(lproc, send_exit);
}

/*
 * The member on @node has gone; @refused: it had not become one. That is the end
 * for all, if not joined with PROCLET_JOIN_SURVIVE. The others hear why from
 * whoever knows first: else they might hear before that we have gone, too.
 */
void lproc_lost_member(struct lproc *lproc, u32 node, bool refused, const char *reason)
{
	bool first = false;

	spin_lock_bh(&lproc->lock);
	if ((lproc->members & node_bit(node)) && !lproc->ended && !refused) {
		if (lproc->flags & PROCLET_JOIN_SURVIVE) {
			lproc->lost |= node_bit(node);
			strscpy(lproc->lost_reason[node - 1], reason,
				sizeof(lproc->lost_reason[node - 1]));
		} else {
			first = lproc_end(lproc, PROCLET_EVENT_LOST, 0, node, reason);
		}
	}
	if (lproc->members & node_bit(node))
		event_add(lproc, PROCLET_EVENT_LEFT, node, 0);
	lproc->members &= ~node_bit(node);
	lproc->join_wait &= ~node_bit(node);
	spin_unlock_bh(&lproc->lock);
	wake_up_all(&lproc->members_wq);
	wake_up_all(&lproc->manager_wq);
	location_lost(lproc, node);
	migrate_src_lost(lproc, node);
	migrate_dst_lost(lproc, node);
	waiters_lost_node(lproc, node);
	if (first)
		tell_peers(lproc, send_exit);
}

/* Everything of a member that has gone, when nobody else uses it any more. */
static void lproc_purge(struct lproc *lproc)
{
	struct location *loc;
	struct op *op, *tmp;
	unsigned long index;
	struct proclet *p;
	struct thread *t;
	struct work_item *item, *next;

	list_for_each_entry_safe(item, next, &lproc->ready, entry) {
		list_del_init(&item->entry);
		if (item->is_call)
			op_free(container_of(item, struct op, item));
	}
	xa_for_each(&lproc->proclets, index, p) {
		list_for_each_entry(t, &p->threads, entry)
			if (t->reply)
				op_free(t->reply);
		list_for_each_entry_safe(op, tmp, &p->inbox, entry)
			op_free(op);
		INIT_LIST_HEAD(&p->inbox);
		proclet_discard(p);
	}
	xa_destroy(&lproc->proclets);
	xa_for_each(&lproc->locations, index, loc)
		kfree(loc);
	xa_destroy(&lproc->locations);
	worker_exit_all(lproc);
	xa_destroy(&lproc->natives);
	xa_destroy(&lproc->dropped);
	names_free(lproc);
}

/*
 * The member ends: nothing finds it any more, the others are told, and what it
 * has under way comes to an end. The rest follows when its file is closed.
 * @exited: its process has, with @status: that ends the logical process.
 */
static void lproc_leave(struct lproc *lproc, const char *reason, bool exited, s32 status)
{
	struct pnode *node = lproc->node;
	bool first, ended;

	spin_lock_bh(&node->lprocs_lock);
	spin_lock_bh(&lproc->lock);
	first = !lproc->dying;
	WRITE_ONCE(lproc->dying, true);
	if (exited && first && !lproc->joining)
		lproc_end(lproc, PROCLET_EVENT_EXIT, status, node->id, "");
	ended = lproc->ended;
	lproc_end(lproc, PROCLET_EVENT_LOST, 0, node->id, reason);
	spin_unlock_bh(&lproc->lock);
	spin_unlock_bh(&node->lprocs_lock);
	if (!first)
		return;
	/*
	 * Who has not heard yet that it is over hears it before: we have left
	 * because of that, and are not lost.
	 */
	if (ended)
		tell_peers(lproc, send_exit);
	tell_peers(lproc, send_leave);
	migrate_src_lost(lproc, 0);
	migrate_dst_lost(lproc, 0);
	tails_check(lproc);
}

int lproc_dying(struct lproc *lproc, struct proclet_dying *d)
{
	size_t i;

	for (i = 0; i < sizeof(d->reason) && d->reason[i]; i++)
		if (!isascii(d->reason[i]) || !isprint(d->reason[i]))
			return -EINVAL;
	if (d->reserved || i == sizeof(d->reason))
		return -EINVAL;
	/* A child that shares the memory for a moment is not the member. */
	if (task_tgid(current) != lproc->tgid)
		return -EPERM;
	WRITE_ONCE(lproc->dumping, true);
	lproc_leave(lproc, d->reason, false, 0);
	return 0;
}

/*
 * The member's memory goes, or its file, with its process's last thread. Who has
 * no last words (lproc_dying()) has an exit code.
 */
void lproc_process_gone(struct lproc *lproc)
{
	struct signal_struct *sig = current->signal;
	char reason[PROCLET_REASON_MAX] = "";
	bool exited = false;
	int code = 0;

	if (task_tgid(current) != lproc->tgid) {
		/* The last one that looked into its memory. */
	} else if (!(current->flags & PF_EXITING)) {
		strscpy(reason, "executed another program", sizeof(reason));
	} else {
		code = READ_ONCE(sig->flags) & SIGNAL_GROUP_EXIT ?
			READ_ONCE(sig->group_exit_code) : current->exit_code;
		exited = !(code & 0x7f);
		if (!exited)
			snprintf(reason, sizeof(reason), "killed by signal %d", code & 0x7f);
	}
	lproc_leave(lproc, reason, exited, code >> 8 & 0xff);
}

/* The member's file has been closed, so no thread of it is in here. */
void lproc_release(struct lproc *lproc)
{
	struct pnode *node = lproc->node;
	u32 used;

	lproc_leave(lproc, "", false, 0);
	/* Nobody finds it by name any more; who has found it before, ends now. */
	wait_event(lproc->users_wq, !READ_ONCE(lproc->users));
	cancel_delayed_work_sync(&lproc->waiters_work);
	deadlines_stop(lproc);
	/* A message may have begun one just before. */
	migrate_src_lost(lproc, 0);
	migrate_dst_lost(lproc, 0);
	tails_check(lproc);
	wait_event(lproc->moves_wq, !atomic_read(&lproc->moves));
	pulls_lost(lproc, 0);
	flush_workqueue(node->wq);
	/* It was listed until now so that the node, and its queue, stay. */
	for (;;) {
		spin_lock_bh(&node->lprocs_lock);
		used = lproc->users;
		if (!used)
			list_del_init(&lproc->entry);
		spin_unlock_bh(&node->lprocs_lock);
		if (!used)
			break;
		wait_event(lproc->users_wq, !READ_ONCE(lproc->users));
	}
	lproc_purge(lproc);
	xa_destroy(&lproc->pulls);
	region_teardown(lproc);
	lproc_put(lproc);
}

struct count {
	u32 lprocs;
	u64 proclets;
};

static void count_one(struct lproc *lproc, void *arg)
{
	struct count *c = arg;

	c->lprocs++;
	c->proclets += READ_ONCE(lproc->stats.proclets);
}

u32 lproc_count(struct pnode *node)
{
	struct count c = {};

	lprocs_for_each(node, count_one, &c);
	return c.lprocs;
}

u64 node_proclets(struct pnode *node)
{
	struct count c = {};

	lprocs_for_each(node, count_one, &c);
	return c.proclets;
}
