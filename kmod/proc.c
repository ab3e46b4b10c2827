// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/proclet/: tables for people and procletctl. A line of column names,
 * then a line for each thing; columns are separated by spaces.
 */
#include <linux/errno.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

#include "lproc.h"
#include "node.h"

static void node_line(struct pnode *node, void *arg)
{
	struct seq_file *m = arg;
	char addr[64] = "-";

	mutex_lock(&node->lock);
	if (node->addr.ss_family)
		snprintf(addr, sizeof(addr), "%pISpc", &node->addr);
	seq_printf(m, "%-16s %2u %-9s %-24s %016llx %5u %5u %7u %8llu %15lld %15lld\n",
		   node->name, node->id, node->ops->name, addr,
		   node->incarnation, node_peers(node, false),
		   node_peers(node, true), lproc_count(node),
		   node_proclets(node), atomic64_read(&node->reserved),
		   atomic64_read(&node->budget));
	mutex_unlock(&node->lock);
}

static int nodes_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%-16s %2s %-9s %-24s %-16s %5s %5s %7s %8s %15s %15s\n",
		   "node", "id", "transport", "address", "incarnation", "peers",
		   "up", "members", "proclets", "reserved", "budget");
	nodes_for_each(node_line, m);
	return 0;
}

static void peer_lines(struct pnode *node, void *arg)
{
	struct seq_file *m = arg;
	struct peer *peer;
	unsigned long id;

	rcu_read_lock();
	xa_for_each(&node->peers, id, peer)
		seq_printf(m, "%-16s %-16s %2lu %-5s %016llx %12lld %12lld %15lld %15lld %8lld %11lld %12lld\n",
			   node->name, peer->name, id,
			   READ_ONCE(peer->up) ? "up" : "down",
			   READ_ONCE(peer->incarnation),
			   atomic64_read(&peer->msgs_in),
			   atomic64_read(&peer->msgs_out),
			   atomic64_read(&peer->bytes_in),
			   atomic64_read(&peer->bytes_out),
			   atomic64_read(&peer->connects),
			   atomic64_read(&peer->disconnects),
			   atomic64_read(&peer->sends));
	rcu_read_unlock();
}

static int peers_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%-16s %-16s %2s %-5s %-16s %12s %12s %15s %15s %8s %11s %12s\n",
		   "node", "peer", "id", "state", "incarnation", "msgs_in",
		   "msgs_out", "bytes_in", "bytes_out", "connects",
		   "disconnects", "sends");
	nodes_for_each(peer_lines, m);
	return 0;
}

static int table_show(struct seq_file *m, void *v)
{
	void (*show)(struct seq_file *m) = m->private;

	show(m);
	return 0;
}

static struct proc_dir_entry *proc_dir;

static bool table_create(const char *name, void (*show)(struct seq_file *m))
{
	return proc_create_single_data(name, 0444, proc_dir, table_show, show);
}

int proc_init(void)
{
	proc_dir = proc_mkdir("proclet", NULL);
	if (!proc_dir)
		return -ENOMEM;
	if (proc_create_single("nodes", 0444, proc_dir, nodes_show) &&
	    proc_create_single("peers", 0444, proc_dir, peers_show) &&
	    table_create("lprocs", lprocs_show) &&
	    table_create("proclets", proclets_show) &&
	    table_create("threads", threads_show))
		return 0;
	proc_exit();
	return -ENOMEM;
}

/* Waits until nobody reads the tables. */
void proc_exit(void)
{
	proc_remove(proc_dir);
}
