// SPDX-License-Identifier: GPL-2.0
/*
 * Workers: the member's threads that run proclet threads, what waits for them,
 * and stopping all that run in a proclet.
 *
 * The library enters and leaves proclets without telling the kernel; struct
 * proclet_worker in the ABI header has the protocol that makes the scan in
 * worker_freeze() right.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "lproc.h"
#include "trace.h"

/* How often worker_freeze() looks again, and signals who could not park. */
#define FREEZE_POLL_NS	(200 * NSEC_PER_USEC)

u32 worker_depth(const struct worker *w)
{
	return min_t(u32, READ_ONCE(w->shared->depth), PROCLET_CHAIN_MAX);
}

/* Is the segment in a worker's chain? Its program should know, but may not. */
bool worker_has_stack(struct lproc *lproc, u64 stack)
{
	unsigned long index;
	struct worker *w;
	u32 d, i;

	lockdep_assert_held(&lproc->lock);
	xa_for_each(&lproc->workers, index, w) {
		d = worker_depth(w);
		for (i = 0; i < d; i++)
			if (READ_ONCE(w->shared->chain[i]) == stack)
				return true;
	}
	return false;
}

/* Somebody must come for the first ready item: who is called already, an idle worker, a new one. */
static void call_worker(struct lproc *lproc)
{
	struct worker *w;

	lockdep_assert_held(&lproc->lock);
	if (lproc->called)
		return;
	w = list_first_entry_or_null(&lproc->idle, struct worker, idle);
	if (w) {
		list_del_init(&w->idle);
		lproc->called = w;
		w->woken = true;
		wake_up(&w->wait);
	} else if (!lproc->spawn && lproc->nworkers < PROCLET_MAX_WORKERS) {
		lproc->spawn = 1;
		wake_up(&lproc->manager_wq);
	}
}

/* It looks for work, or does not come: another can be called. */
static void worker_came(struct lproc *lproc, struct worker *w)
{
	lockdep_assert_held(&lproc->lock);
	w->woken = false;
	if (lproc->called == w)
		lproc->called = NULL;
}

void ready_add(struct lproc *lproc, struct work_item *item)
{
	list_add_tail(&item->entry, &lproc->ready);
	call_worker(lproc);
}

static struct worker *worker_register(struct lproc *lproc, u32 index)
{
	struct worker *w, *old;
	struct page *page;

	page = worker_page(lproc, index);
	w = kzalloc(sizeof(*w), GFP_MEMBER);
	if (!page || !w) {
		kfree(w);
		return ERR_PTR(-ENOMEM);
	}
	w->lproc = lproc;
	w->index = index;
	w->task = get_task_struct(current);
	w->page = page;
	w->shared = page_address(page);
	INIT_LIST_HEAD(&w->idle);
	init_waitqueue_head(&w->wait);
	if (xa_reserve_bh(&lproc->workers, index, GFP_MEMBER)) {
		put_task_struct(w->task);
		kfree(w);
		return ERR_PTR(-ENOMEM);
	}
	spin_lock_bh(&lproc->lock);
	old = xa_load(&lproc->workers, index);
	if (!old) {
		xa_store(&lproc->workers, index, w, GFP_ATOMIC);
		lproc->nworkers++;
	}
	spin_unlock_bh(&lproc->lock);
	if (old) {
		put_task_struct(w->task);
		kfree(w);
		return ERR_PTR(-EPERM);
	}
	return w;
}

static struct worker *worker_get(struct lproc *lproc, u32 index)
{
	struct worker *w;

	if (index >= PROCLET_MAX_WORKERS)
		return ERR_PTR(-EINVAL);
	w = xa_load(&lproc->workers, index);
	if (!w)
		return worker_register(lproc, index);
	return w->task == current ? w : ERR_PTR(-EPERM);
}

/* At release: nobody is in an ioctl any more. */
void worker_exit_all(struct lproc *lproc)
{
	unsigned long index;
	struct worker *w;

	xa_for_each(&lproc->workers, index, w) {
		put_task_struct(w->task);
		kfree(w);
	}
	xa_destroy(&lproc->workers);
}

/*
 * The thread at @i of a worker's chain, if the entry is what it should be.
 * The page is the program's to write: nothing there is believed.
 */
struct thread *worker_thread(struct lproc *lproc, const struct worker *w, u32 i)
{
	u64 stack = READ_ONCE(w->shared->chain[i]);
	struct thread *t = stack ? thread_at(lproc, stack) : NULL;

	return t && t->state == THREAD_USER && !t->seg->gone ? t : NULL;
}

/*
 * Can the kernel take a thread of it over? Not when all have been stopped: who
 * comes then was in another proclet, as far as its program had told.
 */
static bool may_hold(const struct proclet *p)
{
	return p && (p->state == PROCLET_PRESENT || p->state == PROCLET_DYING ||
		     (p->state == PROCLET_FREEZING && !p->frozen));
}

/* The proclet that the thread at @i of a worker's chain has called; 0: not known. */
u64 chain_callee(struct lproc *lproc, const struct worker *w, u32 i)
{
	struct thread *t = thread_at(lproc, READ_ONCE(w->shared->chain[i + 1]));
	struct proclet_tcb *tcb = t && !t->seg->gone ? thread_tcb(t) : NULL;

	u64 callee = tcb ? READ_ONCE(tcb->proclet) : 0;

	return wire_id_ok(callee) ? callee : 0;
}

/* A thread in a local call: it now waits for a reply that comes through us. */
static void chain_detach(struct lproc *lproc, struct worker *w, u32 i)
{
	struct thread *t = worker_thread(lproc, w, i);
	struct proclet_tcb *tcb;
	struct proclet *p;

	WRITE_ONCE(w->shared->chain[i], 0);
	tcb = t ? thread_tcb(t) : NULL;
	if (!tcb)
		return;
	p = proclet_here(lproc, READ_ONCE(tcb->proclet));
	if (!may_hold(p))
		return;
	t->seq = READ_ONCE(tcb->seq);
	t->out = READ_ONCE(tcb->out);
	t->out_cap = READ_ONCE(tcb->out_cap);
	thread_hold(t, p, THREAD_WAITING);
	t->waiter.sent_to = lproc->node->id;
	t->waiter.code = PROCLET_OP_CALL;
	t->waiter.target = chain_callee(lproc, w, i);
}

/* Is the worker being given a call to @p? */
static bool starts_in(const struct worker *w, const struct proclet *p)
{
	return w->starting && w->starting->item.proclet == p;
}

static bool chain_has(struct lproc *lproc, struct worker *w, struct proclet *p)
{
	u32 d = worker_depth(w), i;
	struct proclet_tcb *tcb;
	struct thread *t;

	if (starts_in(w, p))
		return true;
	for (i = 0; i < d; i++) {
		t = worker_thread(lproc, w, i);
		tcb = t ? thread_tcb(t) : NULL;
		if (tcb && READ_ONCE(tcb->proclet) == p->id)
			return true;
	}
	return false;
}

static void barrier_ipi(void *unused)
{
	smp_mb();	/* pairs with the compiler barriers of struct proclet_worker */
}

/* What the member's threads have written to their pages, we see; and they us. */
static void worker_barrier(struct lproc *lproc)
{
	smp_mb();	/* before the mask is read: who comes to run it sees ours */
	on_each_cpu_mask(mm_cpumask(lproc->mm), barrier_ipi, NULL, 1);
}

/*
 * Has the last thread left a dying proclet, but for those that wait for one another?
 * Then it is ABSENT now, to be freed.
 */
bool worker_check_dying(struct proclet *p)
{
	struct lproc *lproc = p->lproc;
	unsigned long index;
	struct worker *w;

	lockdep_assert_held(&lproc->lock);
	if (p->state != PROCLET_DYING || !p->drained || p->mig ||
	    !threads_stuck(p))
		return false;
	xa_for_each(&lproc->workers, index, w)
		if (chain_has(lproc, w, p))
			return false;
	proclet_set_state(p, PROCLET_ABSENT);
	return true;
}

/*
 * @p has become DYING; @op, which wanted that, is answered when it is drained.
 * Barriers are dear: all that are destroyed meanwhile share them.
 */
void worker_drain(struct proclet *p, struct op *op)
{
	struct lproc *lproc = p->lproc;

	lockdep_assert_held(&lproc->lock);
	refcount_inc(&p->ref);
	op->item.proclet = p;
	list_add_tail(&op->entry, &lproc->drains);
	queue_work(lproc->node->wq, &lproc->drain_work);
}

/* Is a thread of any dying proclet on the worker? */
static bool chain_has_dying(struct lproc *lproc, struct worker *w)
{
	u32 d = worker_depth(w), i;
	struct proclet_tcb *tcb;
	struct proclet *p;
	struct thread *t;

	if (w->starting && w->starting->item.proclet->state == PROCLET_DYING)
		return true;
	for (i = 0; i < d; i++) {
		t = worker_thread(lproc, w, i);
		tcb = t ? thread_tcb(t) : NULL;
		p = tcb ? proclet_here(lproc, READ_ONCE(tcb->proclet)) : NULL;
		if (p && p->state == PROCLET_DYING)
			return true;
	}
	return false;
}

/*
 * Who has entered a dying proclet must report when leaving, not return directly;
 * the last one's report frees it.
 */
void worker_drain_fn(struct work_struct *work)
{
	struct lproc *lproc = container_of(work, struct lproc, drain_work);
	struct work_item *item, *tmp;
	struct op *op, *next;
	unsigned long index;
	bool entered = false;
	struct proclet *p;
	struct worker *w;
	LIST_HEAD(calls);
	LIST_HEAD(ops);
	bool empty;

	spin_lock_bh(&lproc->lock);
	list_splice_init(&lproc->drains, &ops);
	spin_unlock_bh(&lproc->lock);
	worker_barrier(lproc);
	spin_lock_bh(&lproc->lock);
	/* Calls that no worker has begun find it gone. */
	list_for_each_entry_safe(item, tmp, &lproc->ready, entry) {
		if (item->proclet->state != PROCLET_DYING || !item->is_call)
			continue;
		list_del_init(&item->entry);
		list_add_tail(&container_of(item, struct op, item)->entry, &calls);
	}
	xa_for_each(&lproc->workers, index, w) {
		if (!chain_has_dying(lproc, w))
			continue;
		WRITE_ONCE(w->shared->attn, 1);
		entered = true;
	}
	spin_unlock_bh(&lproc->lock);
	op_flush(lproc, &calls);
	if (entered)
		worker_barrier(lproc);
	list_for_each_entry_safe(op, next, &ops, entry) {
		list_del_init(&op->entry);
		p = op->item.proclet;
		spin_lock_bh(&lproc->lock);
		p->drained = true;
		empty = worker_check_dying(p);
		spin_unlock_bh(&lproc->lock);
		if (empty)
			proclet_free(p);
		proclet_put(p);
		op_reply(op, 0, NULL, 0);
	}
}

static void check_all_dying(struct lproc *lproc)
{
	struct proclet *p, *tmp;

	list_for_each_entry_safe(p, tmp, &lproc->dying_proclets, dying)
		if (worker_check_dying(p))
			queue_work(lproc->node->wq, &p->free_work);
}

/* What @w's innermost thread did, copied from the program before locking. */
struct report {
	u64 stack;
	struct proclet_token caller;
	struct op *op;		/* to route: the new operation, or the reply */
	struct own_op own;	/* the new operation, if it is to be done at once */
	int err;		/* of op_submit(): the operation's result */
};

static int report_prepare(struct lproc *lproc, struct worker *w,
			  struct proclet_work *work, struct report *r)
{
	u32 d = worker_depth(w);
	struct proclet_token token = { .node = lproc->node->id };
	struct proclet_tcb __user *utcb;
	struct proclet_tcb tcb;
	u64 len;

	memset(r, 0, sizeof(*r));
	if (work->done == PROCLET_DONE_NONE)
		return d ? -EINVAL : 0;
	if (work->done > PROCLET_DONE_PARKED || !d)
		return -EINVAL;
	r->stack = READ_ONCE(w->shared->chain[d - 1]);
	if (!wire_stack_ok(r->stack))
		return -EINVAL;
	utcb = u64_to_user_ptr(r->stack);
	if (copy_from_user(&tcb, utcb, sizeof(tcb)))
		return -EFAULT;
	if (work->done == PROCLET_DONE_OP) {
		token.proclet = tcb.proclet;
		token.stack = r->stack;
		token.seq = work->op.seq;
		r->caller = token;
		r->err = op_submit(lproc, &work->op, &token, &r->op);
		if (!r->err && own_op_code(r->op->code)) {
			r->err = own_op_prepare(&r->own, r->op);
			if (r->err)
				op_free(r->op);
			r->op = NULL;
		}
	} else if (work->done == PROCLET_DONE_REPLY) {
		r->caller = tcb.caller;
		/* The thread ends: there is nobody whom an error could be told. */
		r->op = op_alloc(lproc, GFP_KERNEL_ACCOUNT | __GFP_NOFAIL);
		r->op->is_reply = true;
		r->op->token = tcb.caller;
		r->op->result = work->status;
		if (work->status > 0) {
			len = min_t(u64, work->status, tcb.res_cap);
			len = min_t(u64, len, PROCLET_PAYLOAD_MAX);
			if (payload_from_user(&r->op->payload,
					      r->stack + PROCLET_STACK_OUT, len))
				op_lose_bytes(r->op);
		}
	}
	return 0;
}

/*
 * Take over the worker's chain. The innermost thread is free again, waits, or
 * is parked; those below wait for replies.
 */
static int report_accept(struct lproc *lproc, struct worker *w,
			 struct proclet_work *work, struct report *r)
{
	struct proclet *p = NULL;
	struct proclet_tcb *tcb;
	struct thread *t;
	u32 d, i;

	spin_lock_bh(&lproc->lock);
	d = worker_depth(w);
	t = d ? worker_thread(lproc, w, d - 1) : NULL;
	tcb = t && t->seg->start == r->stack ? thread_tcb(t) : NULL;
	if (tcb)
		p = proclet_here(lproc, READ_ONCE(tcb->proclet));
	/*
	 * A method that has returned needs its proclet no more: it was out of
	 * the chain for a moment, and the proclet may have gone meanwhile.
	 */
	if (!tcb || (!may_hold(p) && work->done != PROCLET_DONE_REPLY)) {
		spin_unlock_bh(&lproc->lock);
		return -EINVAL;
	}
	/* First the innermost: if it is in the chain twice, it is held only once. */
	switch (work->done) {
	case PROCLET_DONE_OP:
		t->seq = work->op.seq;
		t->out = work->op.out;
		t->out_cap = work->op.out_cap;
		thread_hold(t, p, THREAD_WAITING);
		lproc->stats.ops++;
		if (r->own.op)
			own_op_run(&r->own, t, p, &work->op);
		else if (r->op)
			waiter_begin(lproc, &t->waiter, &work->op);
		break;
	case PROCLET_DONE_PARKED:
		thread_hold(t, p, THREAD_PARKED);
		/* Too late: the freeze has been given up. */
		if (p->state == PROCLET_PRESENT || p->state == PROCLET_DYING)
			ready_add(lproc, &t->item);
		break;
	default:
		WRITE_ONCE(tcb->proclet, 0);
	}
	for (i = 0; i + 1 < d; i++)
		chain_detach(lproc, w, i);
	WRITE_ONCE(w->shared->chain[d - 1], 0);
	WRITE_ONCE(w->shared->depth, 0);
	WRITE_ONCE(w->shared->park, 0);
	WRITE_ONCE(w->shared->attn, 0);
	lproc->park_seq++;
	check_all_dying(lproc);
	spin_unlock_bh(&lproc->lock);
	wake_up(&lproc->park_wq);
	return 0;
}

static int worker_report(struct lproc *lproc, struct worker *w,
			 struct proclet_work *work)
{
	struct report r;
	bool own;
	int err;

	err = report_prepare(lproc, w, work, &r);
	if (err || work->done == PROCLET_DONE_NONE)
		return err;
	own = r.own.op;
	err = report_accept(lproc, w, work, &r);
	own_op_end(&r.own);
	if (err) {
		if (r.op)
			op_free(r.op);
		return err;
	}
	if (own)
		return 0;
	if (work->done == PROCLET_DONE_OP && !r.op) {
		/* It could not even begin: that is the operation's result. */
		r.op = op_alloc(lproc, GFP_KERNEL | __GFP_NOFAIL);
		r.op->is_reply = true;
		r.op->token = r.caller;
		r.op->result = r.err;
	}
	if (!r.op)
		return 0;
	if (!token_ok(&r.op->token))
		op_free(r.op);
	else
		op_route(r.op);
	return 0;
}

/* Give a call to the worker: its segment @spare becomes the callee's thread. */
static int start_call(struct lproc *lproc, struct worker *w, struct op *op, u64 spare)
{
	struct proclet_tcb tcb = {
		.proclet = op->target,
		.method = op->method,
		.in_len = op->payload.len,
		.res_cap = op->out_cap,
		.caller = op->token,
	};
	struct proclet_tcb __user *utcb = u64_to_user_ptr(spare);
	struct segment *seg;
	int err = 0;

	/* Many bytes at once can be refused; nobody is killed for touching them. */
	seg = op->payload.npages ? segment_get(lproc, spare) : NULL;
	if (seg) {
		down_read(&seg->sem);
		err = segment_populate(seg, PROCLET_STACK_IN, op->payload.len);
		up_read(&seg->sem);
		segment_put(seg);
	}
	/* The caller is not to blame for this worker's memory: it has not been executed. */
	if (!err && (copy_to_user(utcb, &tcb, offsetof(struct proclet_tcb, lib)) ||
		     payload_to_user(&op->payload, spare + PROCLET_STACK_IN, op->payload.len)))
		err = -EHOSTUNREACH;
	spin_lock_bh(&lproc->lock);
	w->starting = NULL;
	if (err) {
		WRITE_ONCE(w->shared->depth, 0);
		WRITE_ONCE(w->shared->chain[0], 0);
		lproc->park_seq++;
		check_all_dying(lproc);
	}
	spin_unlock_bh(&lproc->lock);
	if (err) {
		wake_up(&lproc->park_wq);
		op_reply(op, err, NULL, 0);
		return err;
	}
	op_free(op);
	return 0;
}

/* Take the oldest item, and put its thread on the worker. */
static struct work_item *take_item(struct lproc *lproc, struct worker *w, u64 spare)
{
	struct work_item *item;
	struct thread *t;

	lockdep_assert_held(&lproc->lock);
	item = list_first_entry_or_null(&lproc->ready, struct work_item, entry);
	if (!item)
		return NULL;
	if (item->is_call) {
		t = thread_at(lproc, spare);
		if (!t || t->state != THREAD_USER || t->seg->gone) {
			call_worker(lproc);	/* one with a better segment */
			return ERR_PTR(-EINVAL);
		}
		w->starting = container_of(item, struct op, item);
		WRITE_ONCE(w->shared->chain[0], spare);
	} else {
		t = container_of(item, struct thread, item);
		list_del_init(&t->entry);
		w->resume = (struct resume){
			.stack = t->seg->start,
			.parked = t->state == THREAD_PARKED,
			.out = t->out,
			.out_cap = t->out_cap,
			.reply = t->reply,
		};
		t->reply = NULL;
		t->state = THREAD_USER;
		WRITE_ONCE(w->shared->chain[0], t->seg->start);
	}
	list_del_init(&item->entry);
	if (!list_empty(&lproc->ready))
		call_worker(lproc);	/* we may be busy for long */
	WRITE_ONCE(w->shared->depth, 1);
	if (item->proclet->state == PROCLET_DYING)
		WRITE_ONCE(w->shared->attn, 1);
	return item;
}

/* The worker goes on with the thread that take_item() gave it. */
static void resume_thread(struct worker *w, struct proclet_work *work)
{
	struct resume *r = &w->resume;
	u64 len;

	work->stack = r->stack;
	if (r->parked) {
		work->todo = PROCLET_TODO_SIGRETURN;
		return;
	}
	work->todo = PROCLET_TODO_RESUME;
	work->result = r->reply->result;
	len = min_t(u64, r->out_cap, r->reply->payload.len);
	if (payload_to_user(&r->reply->payload, r->out, len))
		work->result = -EFAULT;
	op_free(r->reply);
	r->reply = NULL;
}

/* Called without lproc.lock: who sets @woken has taken it off the list of idle ones. */
static bool worker_woken(void *arg)
{
	struct worker *w = arg;

	return READ_ONCE(w->woken) || READ_ONCE(w->lproc->ended);
}

static int worker_wait(struct lproc *lproc, struct worker *w)
{
	int err;

	node_spin(lproc->node, worker_woken, w);
	err = wait_event_interruptible(w->wait, worker_woken(w));
	if (!err)
		return 0;
	spin_lock_bh(&lproc->lock);
	list_del_init(&w->idle);
	worker_came(lproc, w);
	/* The item that we were woken for is somebody else's now. */
	if (!list_empty(&lproc->ready))
		call_worker(lproc);
	spin_unlock_bh(&lproc->lock);
	return -EINTR;
}

int worker_ioctl(struct lproc *lproc, struct proclet_work *work)
{
	struct work_item *item;
	struct worker *w;
	bool is_call;
	int err;

	w = worker_get(lproc, work->worker);
	if (IS_ERR(w))
		return PTR_ERR(w);
	err = worker_report(lproc, w, work);
	if (err)
		return err;
	work->todo = 0;
	work->stack = 0;
	work->result = 0;
	for (;;) {
		spin_lock_bh(&lproc->lock);
		worker_came(lproc, w);
		if (lproc->ended || lproc->dying) {
			spin_unlock_bh(&lproc->lock);
			work->todo = PROCLET_TODO_EXIT;
			return 0;
		}
		item = take_item(lproc, w, work->spare);
		is_call = !IS_ERR_OR_NULL(item) && item->is_call;
		if (!item) {
			/* Last in, first out: its caches are warm. */
			list_add(&w->idle, &lproc->idle);
			spin_unlock_bh(&lproc->lock);
			err = worker_wait(lproc, w);
			if (err)
				return err;
			continue;
		}
		spin_unlock_bh(&lproc->lock);
		if (IS_ERR(item))
			return PTR_ERR(item);
		if (!is_call) {
			resume_thread(w, work);
			return 0;
		}
		if (!start_call(lproc, w, container_of(item, struct op, item),
				work->spare)) {
			work->todo = PROCLET_TODO_CALL;
			work->stack = work->spare;
			return 0;
		}
	}
}

static u32 take_segment(struct segment **segs, u32 n, u32 max, struct segment *seg)
{
	if (n < max) {
		if (!refcount_inc_not_zero(&seg->ref))
			return n;
		segs[n] = seg;
	}
	return n + 1;
}

/*
 * The segments of the threads of @p, those that run and those that are held, with a reference
 * each; returns how many, but without room for any (@max 0), how many there are.
 */
u32 worker_segments(struct proclet *p, struct segment **segs, u32 max)
{
	struct lproc *lproc = p->lproc;
	struct proclet_tcb *tcb;
	unsigned long index;
	struct worker *w;
	struct thread *t;
	u32 n = 0, i;

	spin_lock_bh(&lproc->lock);
	list_for_each_entry(t, &p->threads, entry)
		n = take_segment(segs, n, max, t->seg);
	xa_for_each(&lproc->workers, index, w) {
		for (i = 0; i < worker_depth(w); i++) {
			t = worker_thread(lproc, w, i);
			tcb = t ? thread_tcb(t) : NULL;
			if (tcb && READ_ONCE(tcb->proclet) == p->id)
				n = take_segment(segs, n, max, t->seg);
		}
	}
	spin_unlock_bh(&lproc->lock);
	return max ? min(n, max) : n;
}

/* One look at all workers: how many still run in @p? Signals those. */
static int freeze_scan(struct proclet *p, u32 *parked)
{
	struct lproc *lproc = p->lproc;
	struct proclet_tcb *tcb;
	unsigned long index;
	struct worker *w;
	struct thread *t;
	int busy = 0;
	u32 d, i, j;

	lockdep_assert_held(&lproc->lock);
	list_for_each_entry(t, &p->threads, entry) {
		tcb = thread_tcb(t);
		if (tcb && READ_ONCE(tcb->pin))
			return -EBUSY;
	}
	xa_for_each(&lproc->workers, index, w) {
		if (starts_in(w, p)) {
			busy++;
			continue;
		}
		d = worker_depth(w);
		for (i = 0; i < d; i++) {
			t = worker_thread(lproc, w, i);
			tcb = t ? thread_tcb(t) : NULL;
			if (!tcb || READ_ONCE(tcb->proclet) != p->id)
				continue;
			if (READ_ONCE(tcb->pin))
				return -EBUSY;
			if (i + 1 < d) {
				for (j = 0; j <= i; j++)
					chain_detach(lproc, w, j);
				continue;
			}
			busy++;
			if (READ_ONCE(w->shared->park) != t->seg->start) {
				WRITE_ONCE(w->shared->park, t->seg->start);
				++*parked;
			}
			if (READ_ONCE(w->shared->sig_pending))
				continue;
			WRITE_ONCE(w->shared->sig_pending, 1);
			send_sig_info(PROCLET_SIGPARK, SEND_SIG_PRIV, w->task);
		}
	}
	return busy;
}

/*
 * Stop all threads of a FREEZING proclet: afterwards the kernel holds each.
 * -EBUSY: one is pinned, or could not be parked before @deadline.
 */
int worker_freeze(struct proclet *p, ktime_t deadline, u32 *parked)
{
	struct lproc *lproc = p->lproc;
	unsigned long index;
	struct worker *w;
	int busy;
	u32 seq;

	/* Its presence is off. Who does not see that yet, we see in its chain. */
	worker_barrier(lproc);
	for (;;) {
		spin_lock_bh(&lproc->lock);
		if (lproc->dying)
			busy = -ESHUTDOWN;
		else
			busy = freeze_scan(p, parked);
		if (!busy)
			p->frozen = true;
		seq = lproc->park_seq;
		spin_unlock_bh(&lproc->lock);
		if (busy <= 0)
			break;
		if (ktime_after(ktime_get(), deadline)) {
			busy = -EBUSY;
			break;
		}
		wait_event_hrtimeout(lproc->park_wq, READ_ONCE(lproc->park_seq) != seq,
				     ns_to_ktime(FREEZE_POLL_NS));
	}
	if (!busy)
		return 0;
	/* Nobody needs to park any more. */
	spin_lock_bh(&lproc->lock);
	xa_for_each(&lproc->workers, index, w) {
		struct thread *t = thread_at(lproc, READ_ONCE(w->shared->park));
		struct proclet_tcb *tcb = t ? thread_tcb(t) : NULL;

		if (tcb && READ_ONCE(tcb->proclet) == p->id)
			WRITE_ONCE(w->shared->park, 0);
	}
	spin_unlock_bh(&lproc->lock);
	return busy;
}
