// SPDX-License-Identifier: GPL-2.0
/* The tables of the core's objects in /proc/proclet. */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/seq_file.h>

#include "lproc.h"

/* To its user, and to those who may see everything. */
static bool may_see(const struct seq_file *m, const struct lproc *lproc)
{
	return uid_eq(m->file->f_cred->euid, lproc->uid) ||
	       file_ns_capable(m->file, &init_user_ns, CAP_SYS_ADMIN);
}

static void show_lproc(struct lproc *lproc, void *arg)
{
	struct seq_file *m = arg;

	if (!may_see(m, lproc))
		return;
	seq_printf(m, "%-4u %-24s %016llx %08x %7u %9llu %10llu %10llu %10llu %8llu %7d %-7s %11lld\n",
		   lproc->node->id, lproc->name, lproc->run,
		   READ_ONCE(lproc->members) | node_bit(lproc->node->id),
		   READ_ONCE(lproc->nworkers), READ_ONCE(lproc->stats.proclets),
		   READ_ONCE(lproc->stats.memory) >> 10, READ_ONCE(lproc->stats.moved_in),
		   READ_ONCE(lproc->stats.moved_out), READ_ONCE(lproc->stats.aborted),
		   pid_vnr(lproc->tgid),
		   lproc->flags & PROCLET_JOIN_SURVIVE ? "survive" : "end",
		   atomic64_read(&lproc->reserved) >> 10);
}

static void lprocs_of(struct pnode *node, void *arg)
{
	lprocs_for_each(node, show_lproc, arg);
}

void lprocs_show(struct seq_file *m)
{
	seq_printf(m, "%-4s %-24s %-16s %-8s %7s %9s %10s %10s %10s %8s %7s %-7s %11s\n", "node",
		   "name", "run", "members", "workers", "proclets", "memory_kb", "moved_in",
		   "moved_out", "aborted", "pid", "policy", "reserved_kb");
	nodes_for_each(lprocs_of, m);
}

static const char *const state_names[PROCLET_STATES] = {
	"absent", "incoming", "present", "freezing", "moving", "indoubt", "dying",
};

static void show_proclets(struct lproc *lproc, void *arg)
{
	struct seq_file *m = arg;
	unsigned long index;
	struct proclet *p;
	struct thread *t;
	u32 threads;

	if (!may_see(m, lproc))
		return;
	spin_lock_bh(&lproc->lock);
	xa_for_each(&lproc->proclets, index, p) {
		threads = 0;
		list_for_each_entry(t, &p->threads, entry)
			threads++;
		seq_printf(m, "%-4u %-24s %016llx %-8s %5llu %4u %7u %10lu %12llu %8lu\n",
			   lproc->node->id, lproc->name, p->id, state_names[p->state],
			   p->epoch, PROCLET_ID_HOME(p->id), threads,
			   atomic_long_read(&p->heap->npages) << (PAGE_SHIFT - 10),
			   p->capacity >> 10,
			   atomic_long_read(&p->heap->nhuge) << (PMD_SHIFT - 10));
	}
	spin_unlock_bh(&lproc->lock);
}

static void proclets_of(struct pnode *node, void *arg)
{
	lprocs_for_each(node, show_proclets, arg);
}

void proclets_show(struct seq_file *m)
{
	seq_printf(m, "%-4s %-24s %-16s %-8s %5s %4s %7s %10s %12s %8s\n", "node", "lproc",
		   "proclet", "state", "moves", "home", "waiting", "memory_kb",
		   "capacity_kb", "huge_kb");
	nodes_for_each(proclets_of, m);
}

static const char *const thread_names[] = { "running", "waiting", "replied", "parked" };

static const char *const op_names[] = {
	[PROCLET_OP_CALL] = "call",
	[PROCLET_OP_CREATE] = "create",
	[PROCLET_OP_DESTROY] = "destroy",
	[PROCLET_OP_LOCATE] = "locate",
	[PROCLET_OP_MIGRATE] = "migrate",
	[PROCLET_OP_STATS] = "stats",
	[PROCLET_OP_WAIT] = "wait",
	[PROCLET_OP_WAKE] = "wake",
	[PROCLET_OP_SLEEP] = "sleep",
	[PROCLET_OP_SPAWN] = "spawn",
	[PROCLET_OP_GET] = "get",
	[PROCLET_OP_PUT] = "put",
	[PROCLET_OP_PUBLISH] = "publish",
	[PROCLET_OP_UNPUBLISH] = "unpublish",
	[PROCLET_OP_LOOKUP] = "lookup",
	[PROCLET_OP_READ] = "read",
	[PROCLET_OP_WRITE] = "write",
};

/* A line of the table; "-" stands for what is 0, or not known. */
struct thread_line {
	u64 stack;
	u64 proclet;
	const char *state;
	pid_t task;
	s64 sent_to;		/* -1: none */
	const struct proclet_tcb *tcb;
	u32 op;
	u64 target;
	ktime_t since;
};

static void show_hex(struct seq_file *m, u64 n, int digits)
{
	if (n)
		seq_printf(m, " %0*llx", digits, n);
	else
		seq_printf(m, " %-*s", digits, "-");
}

static void show_number(struct seq_file *m, bool known, s64 n, int width)
{
	if (known)
		seq_printf(m, " %*lld", width, n);
	else
		seq_printf(m, " %*s", width, "-");
}

static void show_thread(struct seq_file *m, struct lproc *lproc, const struct thread_line *l)
{
	const char *op = l->op < ARRAY_SIZE(op_names) ? op_names[l->op] : "other";

	seq_printf(m, "%-4u %-24s", lproc->node->id, lproc->name);
	show_hex(m, l->stack, 12);
	show_hex(m, l->proclet, 16);
	seq_printf(m, " %-8s", l->state);
	show_number(m, l->task, l->task, 8);
	show_number(m, l->sent_to >= 0, l->sent_to, 7);
	show_number(m, l->tcb, l->tcb ? READ_ONCE(l->tcb->method) : 0, 10);
	seq_printf(m, " %-8s", op ?: "-");
	show_hex(m, l->target, 16);
	show_number(m, l->since, ktime_ms_delta(ktime_get(), l->since), 9);
	seq_putc(m, '\n');
}

static void show_natives(struct seq_file *m, struct lproc *lproc)
{
	struct native_wait *n;
	unsigned long index;

	xa_for_each(&lproc->natives, index, n)
		show_thread(m, lproc, &(struct thread_line){
			.state = n->is_event ? "event" : n->is_uring ? "uring" : "native",
			.task = n->pid, .sent_to = n->waiter.sent_to,
			.op = n->waiter.code, .target = n->waiter.target,
			.since = n->began });
}

static void show_held(struct seq_file *m, struct lproc *lproc)
{
	unsigned long index;
	struct proclet *p;
	struct thread *t;

	xa_for_each(&lproc->proclets, index, p)
		list_for_each_entry(t, &p->threads, entry)
			show_thread(m, lproc, &(struct thread_line){
				.stack = t->seg->start, .proclet = p->id,
				.state = t->wait_addr ? "blocked" : thread_names[t->state],
				.sent_to = t->waiter.sent_to, .tcb = thread_tcb(t),
				.op = t->waiter.code, .target = t->waiter.target,
				.since = t->held });
}

static void show_chain(struct seq_file *m, struct lproc *lproc, struct worker *w)
{
	u32 d = worker_depth(w), i;
	struct proclet_tcb *tcb;
	struct thread *t;

	for (i = 0; i < d; i++) {
		bool calling = i + 1 < d;

		t = worker_thread(lproc, w, i);
		tcb = t ? thread_tcb(t) : NULL;
		if (!tcb)
			continue;
		show_thread(m, lproc, &(struct thread_line){
			.stack = t->seg->start, .proclet = READ_ONCE(tcb->proclet),
			.state = calling ? "calling" : "running",
			.task = w->task->pid, .sent_to = -1, .tcb = tcb,
			.op = calling ? PROCLET_OP_CALL : 0,
			.target = calling ? chain_callee(lproc, w, i) : 0 });
	}
}

static void show_threads(struct lproc *lproc, void *arg)
{
	struct seq_file *m = arg;
	unsigned long index;
	struct worker *w;

	if (!may_see(m, lproc))
		return;
	spin_lock_bh(&lproc->lock);
	show_natives(m, lproc);
	show_held(m, lproc);
	xa_for_each(&lproc->workers, index, w)
		show_chain(m, lproc, w);
	spin_unlock_bh(&lproc->lock);
}

static void threads_of(struct pnode *node, void *arg)
{
	lprocs_for_each(node, show_threads, arg);
}

void threads_show(struct seq_file *m)
{
	seq_printf(m, "%-4s %-24s %-12s %-16s %-8s %8s %7s %10s %-8s %-16s %9s\n", "node",
		   "lproc", "segment", "proclet", "state", "task", "sent_to", "method", "op",
		   "target", "ms");
	nodes_for_each(threads_of, m);
}
