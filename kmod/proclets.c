// SPDX-License-Identifier: GPL-2.0
/*
 * Proclets: creation, destruction, states, and where they are. A proclet's
 * home, the node whose slice its heap lies in, always has a location for it
 * while it lives; other nodes have hints.
 */
#include <linux/capability.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "lproc.h"
#include "trace.h"

/*
 * All transitions. What is not here is a bug of ours, reported once; no peer
 * and no program can cause it.
 */
void proclet_set_state(struct proclet *p, enum proclet_state to)
{
	enum proclet_state from = p->state;
	bool ok = false;

	lockdep_assert_held(&p->lproc->lock);
	switch (from) {
	case PROCLET_ABSENT:
		ok = to == PROCLET_INCOMING || to == PROCLET_PRESENT;
		break;
	case PROCLET_INCOMING:
		ok = to == PROCLET_PRESENT || to == PROCLET_ABSENT;
		break;
	case PROCLET_PRESENT:
		ok = to == PROCLET_FREEZING || to == PROCLET_DYING;
		break;
	case PROCLET_FREEZING:
		ok = to == PROCLET_MOVING || to == PROCLET_PRESENT;
		break;
	case PROCLET_MOVING:
		ok = to == PROCLET_INDOUBT || to == PROCLET_PRESENT ||
		     to == PROCLET_ABSENT;
		break;
	case PROCLET_INDOUBT:
		ok = to == PROCLET_ABSENT || to == PROCLET_PRESENT;
		break;
	case PROCLET_DYING:
		ok = to == PROCLET_ABSENT;
		break;
	default:
		break;
	}
	WARN_ONCE(!ok, "proclet: %llx: state %d -> %d\n", p->id, from, to);
	p->state = to;
	p->frozen = false;
	if (to == PROCLET_PRESENT)
		p->lproc->stats.proclets++;
	else if (from == PROCLET_PRESENT)
		p->lproc->stats.proclets--;
	if (to == PROCLET_DYING)
		list_add_tail(&p->dying, &p->lproc->dying_proclets);
	else if (from == PROCLET_DYING)
		list_del_init(&p->dying);
	presence_set(p->lproc, p->id, to == PROCLET_PRESENT);
	trace_proclet_state(p->lproc->node->id, p->id, from, to);
}

struct proclet *proclet_here(struct lproc *lproc, u64 id)
{
	struct proclet *p;

	lockdep_assert_held(&lproc->lock);
	p = xa_load(&lproc->proclets, PROCLET_ID_GRANULE(id));
	return p && p->id == id && p->state != PROCLET_ABSENT ? p : NULL;
}

/* It has been destroyed here, and is just being freed. */
bool proclet_dead(struct lproc *lproc, u64 id)
{
	struct proclet *p;

	lockdep_assert_held(&lproc->lock);
	p = xa_load(&lproc->proclets, PROCLET_ID_GRANULE(id));
	return p && p->id == id && p->state == PROCLET_ABSENT && p->drained;
}

void proclet_put(struct proclet *p)
{
	if (!refcount_dec_and_test(&p->ref))
		return;
	if (p->heap)
		segment_put(p->heap);
	lproc_reserve(p->lproc, -(s64)p->charged);
	budget_give(&p->lproc->nproclets, 1);
	lproc_put(p->lproc);
	kfree(p);
}

static void proclet_free_fn(struct work_struct *work);

/* ABSENT still, but with its memory and its place in the tables. */
struct proclet *proclet_alloc(struct lproc *lproc, u64 id, u64 capacity, u64 brk)
{
	struct proclet *p;
	int err;

	if (!budget_take(&lproc->nproclets, &lproc->node->member_proclets, 1))
		return ERR_PTR(-ENOMEM);
	p = kzalloc(sizeof(*p), GFP_MEMBER);
	if (!p) {
		budget_give(&lproc->nproclets, 1);
		return ERR_PTR(-ENOMEM);
	}
	p->id = id;
	p->lproc = lproc;
	kref_get(&lproc->ref);
	p->capacity = capacity;
	INIT_LIST_HEAD(&p->threads);
	INIT_LIST_HEAD(&p->inbox);
	INIT_LIST_HEAD(&p->dying);
	INIT_WORK(&p->free_work, proclet_free_fn);
	refcount_set(&p->ref, 1);
	err = lproc_reserve(lproc, brk);
	if (err)
		goto put;
	p->charged = brk;
	err = presence_prepare(lproc, id);
	if (err)
		goto put;
	p->heap = segment_alloc(lproc, PROCLET_ID_HEAP(id), capacity, brk);
	if (!p->heap) {
		err = -ENOMEM;
		goto put;
	}
	refcount_inc(&p->heap->ref);	/* one for the region, one for p */
	err = xa_insert_bh(&lproc->proclets, PROCLET_ID_GRANULE(id), p, GFP_MEMBER);
	if (err) {
		segment_put(p->heap);
		goto put;
	}
	return p;
put:
	proclet_put(p);
	return ERR_PTR(err);
}

/* Take it out of the tables and free its heap; threads are gone already. */
void proclet_discard(struct proclet *p)
{
	struct lproc *lproc = p->lproc;
	LIST_HEAD(inbox);

	if (mtree_load(&lproc->segments, p->heap->start >> PAGE_SHIFT) == p->heap)
		segment_remove(p->heap);
	else
		segment_put(p->heap);	/* was never published */
	tail_detach(p->heap);
	/* Home says so before we forget that it was here: nobody is sent to and fro. */
	if (p->drained && PROCLET_ID_HOME(p->id) != lproc->node->id)
		proclet_announce(lproc, p->id, p->epoch + 1, 0, 0);
	xa_cmpxchg_bh(&lproc->proclets, PROCLET_ID_GRANULE(p->id), p, NULL, GFP_KERNEL);
	/* Under the lock nobody can find it any more: what came late moves on. */
	spin_lock_bh(&lproc->lock);
	list_splice_init(&p->inbox, &inbox);
	spin_unlock_bh(&lproc->lock);
	op_flush(lproc, &inbox);
	proclet_put(p);
}

s64 proclet_create(struct lproc *lproc, const struct proclet_create_args *args, u64 *idp)
{
	u64 capacity, brk, heap, id;
	struct proclet_heap *hdr;
	struct proclet *p;
	struct page *page;
	int err;

	if (args->flags & ~PROCLET_CREATE_FLAGS || args->reserved)
		return -EINVAL;
	if (!args->capacity || args->capacity > PROCLET_CAPACITY_MAX)
		return -EINVAL;
	capacity = max_t(u64, roundup_pow_of_two(args->capacity), PROCLET_CAPACITY_MIN);
	if (args->root_size > capacity - PROCLET_ROOT_OFF)
		return -EINVAL;
	brk = PAGE_ALIGN(PROCLET_ROOT_OFF + args->root_size);

	heap = heap_slot_alloc(lproc, capacity);
	if (!heap)
		return -ENOMEM;
	spin_lock_bh(&lproc->lock);
	if (!++lproc->next_gen)
		lproc->next_gen = 1;
	id = PROCLET_ID((heap - PROCLET_REGION_BASE) >> PROCLET_GRANULE_SHIFT,
			lproc->next_gen);
	spin_unlock_bh(&lproc->lock);

	p = proclet_alloc(lproc, id, capacity, brk);
	if (IS_ERR(p)) {
		heap_slot_free(lproc, heap, capacity);
		return PTR_ERR(p);
	}
	p->flags = args->flags;
	p->refs = 1;
	page = segment_page(p->heap, 0, GFP_MEMBER);
	if (!page) {
		err = -ENOMEM;
		goto discard;
	}
	hdr = page_address(page);
	hdr->id = id;
	hdr->capacity = capacity;
	hdr->root_size = args->root_size;
	err = segment_publish(p->heap);
	if (err)
		goto discard;
	spin_lock_bh(&lproc->lock);
	proclet_set_state(p, PROCLET_PRESENT);
	spin_unlock_bh(&lproc->lock);
	*idp = id;
	return 0;

discard:
	proclet_discard(p);
	heap_slot_free(lproc, heap, capacity);
	return err;
}

/* The last thread has left a DYING proclet; it is ABSENT. */
void proclet_free(struct proclet *p)
{
	u64 id = p->id, start = p->heap->start, size = p->heap->size;
	struct lproc *lproc = p->lproc;

	kref_get(&lproc->ref);
	threads_end(p);
	location_erase(lproc, id);
	proclet_discard(p);
	if (PROCLET_ID_HOME(id) == lproc->node->id)
		heap_slot_free(lproc, start, size);
	lproc_put(lproc);
}

static void proclet_free_fn(struct work_struct *work)
{
	proclet_free(container_of(work, struct proclet, free_work));
}

int proclet_brk(struct lproc *lproc, struct proclet_brk *b)
{
	struct segment *heap;
	struct proclet *p;
	u64 brk, old;
	int err = 0;

	if (b->reserved || !b->brk)
		return -EINVAL;
	if (b->brk > PROCLET_CAPACITY_MAX)
		return -ENOMEM;
	brk = PAGE_ALIGN(b->brk);
	spin_lock_bh(&lproc->lock);
	p = proclet_here(lproc, b->proclet);
	/* While freezing its threads still run, and may need memory to go on. */
	if (!p || (p->state != PROCLET_PRESENT && p->state != PROCLET_FREEZING &&
		   p->state != PROCLET_DYING)) {
		spin_unlock_bh(&lproc->lock);
		return -ESTALE;
	}
	refcount_inc(&p->ref);
	spin_unlock_bh(&lproc->lock);

	heap = p->heap;
	/* Only what is here can be given up. */
	err = tail_need(heap, brk, READ_ONCE(heap->limit));
	if (err) {
		proclet_put(p);
		return err;
	}
	down_write(&heap->sem);
	old = heap->limit;
	if (heap->gone)
		err = -ESTALE;
	else if (brk > p->capacity)
		err = -ENOMEM;
	else if (brk > old)
		err = lproc_reserve(lproc, brk - old);
	if (!err) {
		heap->limit = brk;
		p->charged += brk - old;
	}
	if (!err && brk < old) {
		heap->lowest = min(heap->lowest, brk);
		segment_forget_pages(heap, brk, old);
		lproc_reserve(lproc, -(s64)(old - brk));
	}
	up_write(&heap->sem);
	proclet_put(p);
	return err;
}

/* Node to ask for @id: where it is known to be, else its home. */
u32 location_get(struct lproc *lproc, u64 id, bool *known)
{
	struct location *loc;

	lockdep_assert_held(&lproc->lock);
	loc = xa_load(&lproc->locations, PROCLET_ID_GRANULE(id));
	*known = loc && loc->id == id;
	return *known ? loc->node : PROCLET_ID_HOME(id);
}

/* What we knew of it elsewhere, which is of no use any more: to be freed. */
struct location *location_take(struct lproc *lproc, u64 id)
{
	struct location *loc = xa_load(&lproc->locations, PROCLET_ID_GRANULE(id));

	lockdep_assert_held(&lproc->lock);
	if (!loc || loc->id != id)
		return NULL;
	return xa_erase(&lproc->locations, PROCLET_ID_GRANULE(id));
}

/* It is no more. */
void location_erase(struct lproc *lproc, u64 id)
{
	struct location *loc;

	spin_lock_bh(&lproc->lock);
	loc = location_take(lproc, id);
	spin_unlock_bh(&lproc->lock);
	kfree(loc);
}

/* Was it made by this member, not by one that its node had before? */
static bool made_here(const struct lproc *lproc, u64 id)
{
	return PROCLET_ID_GEN(id) - lproc->first_gen - 1 < lproc->next_gen - lproc->first_gen;
}

/*
 * What its home says of a proclet that it does not know: it is dead, unless it was made by
 * an earlier member and some have not told us yet what they have of those.
 */
int proclet_unknown(const struct lproc *lproc, u64 id)
{
	lockdep_assert_held(&lproc->lock);
	return made_here(lproc, id) || !lproc->join_wait ? -ESTALE : -EHOSTUNREACH;
}

/*
 * News of @id from node @from: it is on @node, 0: it is no more. Older news than
 * we have are ignored. Its home believes of a proclet only the node that has it, which
 * says what its capacity is; @told: that, or 0.
 */
void location_set(struct lproc *lproc, u64 id, u64 epoch, u32 node, u64 told, u32 from)
{
	u32 granule = PROCLET_ID_GRANULE(id), self = lproc->node->id;
	bool home = PROCLET_ID_HOME(id) == self, free_slot = false;
	struct location *loc, *new = NULL, *old = NULL;
	struct proclet *p;
	u64 capacity = 0;

	if (node == self || (home && node && from != self && from != node))
		return;
	if (node) {
		/* A home that forgets would say of a living proclet that it is dead. */
		gfp_t gfp = GFP_KERNEL | (home ? __GFP_NOFAIL : 0);

		new = kmalloc(sizeof(*new), gfp);
		if (!new || xa_reserve_bh(&lproc->locations, granule, gfp)) {
			kfree(new);
			return;
		}
	}
	spin_lock_bh(&lproc->lock);
	loc = xa_load(&lproc->locations, granule);
	p = proclet_here(lproc, id);
	if (p && p->state == PROCLET_INCOMING && !node) {
		/* Destroyed where it was about to leave: we hear of that first. */
		if (loc && loc->id == id && loc->node == from)
			p->ended = true;
		goto unlock;
	}
	/* The news are old; or false, if it has not even been offered to anybody. */
	if (p && (p->epoch >= epoch || p->state == PROCLET_PRESENT ||
		  p->state == PROCLET_FREEZING || p->state == PROCLET_DYING))
		goto unlock;
	if (p)
		migrate_src_news(p);
	if (p && !node) {
		/* Gone from where we have just sent it. */
		if (p->state == PROCLET_MOVING || p->state == PROCLET_INDOUBT)
			p->ended = true;
		goto unlock;
	}
	if (loc && loc->id == id && loc->epoch >= epoch)
		goto unlock;
	if (loc && PROCLET_ID_GEN(loc->id) > PROCLET_ID_GEN(id))
		goto unlock;
	/* At home, who is neither here nor known to be away is dead, or older than we are. */
	if (home && !p && (!loc || loc->id != id)) {
		if (!node || made_here(lproc, id) ||
		    !heap_slot_adopt(lproc, PROCLET_ID_HEAP(id), told))
			goto unlock;
		capacity = told;
	}
	if (home && !node && from != self && from != loc->node)
		goto unlock;
	old = loc;
	/* Home must know how much to give back when it ends elsewhere. */
	if (p)
		capacity = p->capacity;
	else if (old && old->id == id)
		capacity = old->capacity;
	if (new) {
		new->id = id;
		new->epoch = epoch;
		new->node = node;
		new->capacity = capacity;
		if (xa_err(xa_store(&lproc->locations, granule, new, GFP_ATOMIC)))
			old = NULL;	/* then what we had stays */
		else
			new = NULL;
	} else {
		free_slot = home && old;
		xa_erase(&lproc->locations, granule);
	}
unlock:
	spin_unlock_bh(&lproc->lock);
	if (new)
		xa_cmpxchg_bh(&lproc->locations, granule, XA_ZERO_ENTRY, NULL, 0);
	if (free_slot)
		heap_slot_free(lproc, PROCLET_ID_HEAP(id), capacity);
	kfree(old);
	kfree(new);
}

/* A node's member has gone: hints to it are of no use, its proclets are lost. */
void location_lost(struct lproc *lproc, u32 node)
{
	struct location *loc;
	unsigned long index;

	spin_lock_bh(&lproc->lock);
	xa_for_each(&lproc->locations, index, loc) {
		if (loc->node != node || PROCLET_ID_HOME(loc->id) == lproc->node->id)
			continue;
		xa_erase(&lproc->locations, index);
		kfree(loc);
	}
	spin_unlock_bh(&lproc->lock);
}

static void moved_send(struct lproc *lproc, u32 to, u64 id, u64 epoch, u32 node, u64 capacity)
{
	struct wire_moved *m;
	struct xport_msg *msg;

	m = msg_new(&msg, WIRE_MOVED, lproc->key, sizeof(*m));
	m->proclet = cpu_to_le64(id);
	m->epoch = cpu_to_le64(epoch);
	m->node = cpu_to_le32(node);
	m->order = cpu_to_le32(capacity ? ilog2(capacity) : 0);
	msg_send(lproc->node, to, msg);
}

/* Tell the home of @id that it is on @node, and of which @capacity; 0: on none. */
void proclet_announce(struct lproc *lproc, u64 id, u64 epoch, u32 node, u64 capacity)
{
	u32 home = PROCLET_ID_HOME(id);

	if (home == lproc->node->id)
		location_set(lproc, id, epoch, node, capacity, home);
	else
		moved_send(lproc, home, id, epoch, node, capacity);
}

/*
 * A member on node @home is connected: what it might have missed of its proclets that are
 * here, or those of its node's last member.
 */
void proclets_announce(struct lproc *lproc, u32 home)
{
	unsigned long index = 0;
	u64 id = 0, epoch = 0, capacity = 0;
	struct proclet *p;

	do {
		spin_lock_bh(&lproc->lock);
		xa_for_each_start(&lproc->proclets, index, p, index) {
			if (PROCLET_ID_HOME(p->id) != home || p->state == PROCLET_ABSENT ||
			    p->state == PROCLET_INCOMING || p->state == PROCLET_DYING)
				continue;
			id = p->id;
			epoch = p->epoch;
			capacity = p->capacity;
			break;
		}
		spin_unlock_bh(&lproc->lock);
		if (p)
			moved_send(lproc, home, id, epoch, lproc->node->id, capacity);
		cond_resched();
	} while (p && index++ < ULONG_MAX);
}

/* Tell node @to, which asked us, where we believe @id to be. */
void location_hint(struct lproc *lproc, u64 id, u32 to)
{
	struct location *loc;
	u64 epoch = 0;
	u32 node = 0;

	spin_lock_bh(&lproc->lock);
	loc = xa_load(&lproc->locations, PROCLET_ID_GRANULE(id));
	if (loc && loc->id == id) {
		node = loc->node;
		epoch = loc->epoch;
	}
	spin_unlock_bh(&lproc->lock);
	if (node && node != to)
		moved_send(lproc, to, id, epoch, node, 0);
}
