// SPDX-License-Identifier: GPL-2.0
/* The tables of the core's objects in /proc/proclet. */
#include <linux/mm.h>
#include <linux/seq_file.h>

#include "lproc.h"

static void show_lproc(struct lproc *lproc, void *arg)
{
	struct seq_file *m = arg;

	seq_printf(m, "%-4u %-24s %016llx %08x %7u %9llu %10llu %10llu %10llu %8llu\n",
		   lproc->node->id, lproc->name, lproc->run,
		   READ_ONCE(lproc->members) | node_bit(lproc->node->id),
		   READ_ONCE(lproc->nworkers), READ_ONCE(lproc->stats.proclets),
		   READ_ONCE(lproc->stats.memory) >> 10, READ_ONCE(lproc->stats.moved_in),
		   READ_ONCE(lproc->stats.moved_out), READ_ONCE(lproc->stats.aborted));
}

static void lprocs_of(struct pnode *node, void *arg)
{
	lprocs_for_each(node, show_lproc, arg);
}

void lprocs_show(struct seq_file *m)
{
	seq_printf(m, "%-4s %-24s %-16s %-8s %7s %9s %10s %10s %10s %8s\n", "node", "name",
		   "run", "members", "workers", "proclets", "memory_kb", "moved_in",
		   "moved_out", "aborted");
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

	spin_lock(&lproc->lock);
	xa_for_each(&lproc->proclets, index, p) {
		threads = 0;
		list_for_each_entry(t, &p->threads, entry)
			threads++;
		seq_printf(m, "%-4u %-24s %016llx %-8s %5llu %4u %7u %10lu %12llu\n",
			   lproc->node->id, lproc->name, p->id, state_names[p->state],
			   p->epoch, PROCLET_ID_HOME(p->id), threads,
			   atomic_long_read(&p->heap->npages) << (PAGE_SHIFT - 10),
			   p->capacity >> 10);
	}
	spin_unlock(&lproc->lock);
}

static void proclets_of(struct pnode *node, void *arg)
{
	lprocs_for_each(node, show_proclets, arg);
}

void proclets_show(struct seq_file *m)
{
	seq_printf(m, "%-4s %-24s %-16s %-8s %5s %4s %7s %10s %12s\n", "node", "lproc",
		   "proclet", "state", "moves", "home", "waiting", "memory_kb",
		   "capacity_kb");
	nodes_for_each(proclets_of, m);
}

static const char *const thread_names[] = { "running", "waiting", "replied", "parked" };

static void show_threads(struct lproc *lproc, void *arg)
{
	struct seq_file *m = arg;
	unsigned long index;
	struct native_wait *n;
	struct proclet *p;
	struct thread *t;
	struct worker *w;
	u32 d, i;

	spin_lock(&lproc->lock);
	xa_for_each(&lproc->natives, index, n)
		seq_printf(m, "%-4u %-24s %-12s %-16s %-8s %8d %7u\n", lproc->node->id,
			   lproc->name, "-", "-", "native", n->pid, n->waiter.sent_to);
	xa_for_each(&lproc->proclets, index, p)
		list_for_each_entry(t, &p->threads, entry)
			seq_printf(m, "%-4u %-24s %012llx %016llx %-8s %8s %7u\n",
				   lproc->node->id, lproc->name, t->seg->start, p->id,
				   t->wait_addr ? "blocked" : thread_names[t->state], "-", t->waiter.sent_to);
	xa_for_each(&lproc->workers, index, w) {
		d = min_t(u32, READ_ONCE(w->shared->depth), PROCLET_CHAIN_MAX);
		for (i = 0; i < d; i++) {
			struct proclet_tcb *tcb;

			t = thread_at(lproc, READ_ONCE(w->shared->chain[i]));
			tcb = t && t->state == THREAD_USER ? thread_tcb(t) : NULL;
			if (tcb)
				seq_printf(m, "%-4u %-24s %012llx %016llx %-8s %8d %7s\n",
					   lproc->node->id, lproc->name, t->seg->start,
					   READ_ONCE(tcb->proclet),
					   i + 1 < d ? "calling" : "running",
					   w->task->pid, "-");
		}
	}
	spin_unlock(&lproc->lock);
}

static void threads_of(struct pnode *node, void *arg)
{
	lprocs_for_each(node, show_threads, arg);
}

void threads_show(struct seq_file *m)
{
	seq_printf(m, "%-4s %-24s %-12s %-16s %-8s %8s %7s\n", "node", "lproc", "segment",
		   "proclet", "state", "task", "sent_to");
	nodes_for_each(threads_of, m);
}
