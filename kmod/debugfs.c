// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/proclet/<node>/: histograms of how long things take. Whoever
 * adds a time takes no lock, and who reads them sees each number as it is just then.
 */
#include <linux/debugfs.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "node.h"

static const char *const hist_names[HISTS] = {
	[HIST_PREPARE] = "prepare",
	[HIST_EARLY] = "early",
	[HIST_FREEZE] = "freeze",
	[HIST_OFFER] = "offer",
	[HIST_PULL] = "pull",
	[HIST_COMMIT] = "commit",
	[HIST_RESUME] = "resume",
	[HIST_BLACKOUT] = "blackout",
	[HIST_TAIL] = "tail",
	[HIST_CALL] = "call",
};

static struct dentry *debugfs_root;

/* Bucket 0: less than 1 us; n: from 2^(n-1) to below 2^n us; the last one: all above. */
static u32 bucket_of(u64 us)
{
	return us ? min_t(u32, ilog2(us) + 1, HIST_BUCKETS - 1) : 0;
}

void hist_add(struct pnode *node, enum hist_name name, u64 ns)
{
	struct hist *h = &node->hists[name];
	s64 max = atomic64_read(&h->max_ns);

	atomic64_inc(&h->buckets[bucket_of(div_u64(ns, NSEC_PER_USEC))]);
	atomic64_add(ns, &h->sum_ns);
	while ((s64)ns > max && !atomic64_try_cmpxchg(&h->max_ns, &max, ns))
		;
}

static int hist_show(struct seq_file *m, void *unused)
{
	struct hist *h = m->private;
	u64 n[HIST_BUCKETS], count = 0;
	u32 i;

	for (i = 0; i < HIST_BUCKETS; i++) {
		n[i] = atomic64_read(&h->buckets[i]);
		count += n[i];
	}
	seq_printf(m, "count %llu\nsum %llu\nmax %llu\n", count,
		   div_u64(atomic64_read(&h->sum_ns), NSEC_PER_USEC),
		   div_u64(atomic64_read(&h->max_ns), NSEC_PER_USEC));
	for (i = 0; i < HIST_BUCKETS; i++)
		if (n[i])
			seq_printf(m, "%llu %llu %llu\n", i ? 1ULL << (i - 1) : 0,
				   1ULL << i, n[i]);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(hist);

static ssize_t reset_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct pnode *node = file->private_data;
	struct hist *h;
	u32 i;

	for (h = node->hists; h < node->hists + HISTS; h++) {
		for (i = 0; i < HIST_BUCKETS; i++)
			atomic64_set(&h->buckets[i], 0);
		atomic64_set(&h->sum_ns, 0);
		atomic64_set(&h->max_ns, 0);
	}
	return len;
}

static const struct file_operations reset_fops = {
	.owner		= THIS_MODULE,
	.open		= simple_open,
	.write		= reset_write,
	.llseek		= noop_llseek,
};

void debugfs_node_add(struct pnode *node)
{
	u32 i;

	node->debugfs = debugfs_create_dir(node->name, debugfs_root);
	for (i = 0; i < HISTS; i++)
		debugfs_create_file(hist_names[i], 0444, node->debugfs, &node->hists[i],
				    &hist_fops);
	debugfs_create_file("reset", 0200, node->debugfs, node, &reset_fops);
	steps_node_add(node);
}

/* Waits until nobody reads or writes a file, so the node may go then. */
void debugfs_node_del(struct pnode *node)
{
	debugfs_remove(node->debugfs);
	node->debugfs = NULL;
}

void debugfs_init(void)
{
	debugfs_root = debugfs_create_dir("proclet", NULL);
}

void debugfs_exit(void)
{
	debugfs_remove(debugfs_root);
}
