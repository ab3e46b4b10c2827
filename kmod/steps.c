// SPDX-License-Identifier: GPL-2.0
/*
 * For tests: a node stops at a step of a migration, as long as a file in debugfs is open.
 * Whoever stops holds no lock; if it is what takes the peer's messages, those wait, too.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "node.h"
#include "steps.h"

static const char *const step_names[STEPS] = {
	[STEP_SRC_PREPARE] = "src_prepare",
	[STEP_SRC_EARLY] = "src_early",
	[STEP_SRC_FREEZE] = "src_freeze",
	[STEP_SRC_MOVING] = "src_moving",
	[STEP_SRC_OFFER] = "src_offer",
	[STEP_SRC_READY] = "src_ready",
	[STEP_SRC_COMMIT] = "src_commit",
	[STEP_SRC_ACTIVE] = "src_active",
	[STEP_SRC_ABSENT] = "src_absent",
	[STEP_SRC_DOUBT] = "src_doubt",
	[STEP_SRC_ABORT] = "src_abort",
	[STEP_DST_PREPARE] = "dst_prepare",
	[STEP_DST_ACCEPT] = "dst_accept",
	[STEP_DST_EARLY] = "dst_early",
	[STEP_DST_COPIED] = "dst_copied",
	[STEP_DST_OFFER] = "dst_offer",
	[STEP_DST_READY] = "dst_ready",
	[STEP_DST_COMMIT] = "dst_commit",
	[STEP_DST_ACTIVE] = "dst_active",
	[STEP_DST_MOVED] = "dst_moved",
	[STEP_DST_TAIL] = "dst_tail",
	[STEP_DST_FETCHED] = "dst_fetched",
	[STEP_DST_DROP] = "dst_drop",
	[STEP_DST_QUERY] = "dst_query",
	[STEP_HOME_MOVED] = "home_moved",
};

/**
 * struct stop - an open file
 * @ref: the file, who stands there
 * @entry: in stops, from when it is armed to when the file is closed
 * @node: that is to stop; a reference
 * @step: where, once armed
 * @armed: .
 * @stands: somebody has come; only the first one stops
 * @released: the file is closed
 */
struct stop {
	refcount_t ref;
	struct list_head entry;
	struct pnode *node;
	enum mig_step step;
	bool armed;
	bool stands;
	bool released;
};

u32 steps_armed __read_mostly;		/* how many are in @stops */
static DEFINE_SPINLOCK(stops_lock);	/* @stops, what is in them, @steps_armed */
static LIST_HEAD(stops);
static DECLARE_WAIT_QUEUE_HEAD(stops_wait);

static void stop_put(struct stop *s)
{
	if (!refcount_dec_and_test(&s->ref))
		return;
	node_put(s->node);
	kfree(s);
}

void step_stop(struct pnode *node, enum mig_step step)
{
	struct stop *s, *here = NULL;

	might_sleep();
	spin_lock(&stops_lock);
	list_for_each_entry(s, &stops, entry) {
		if (s->node != node || s->step != step || s->stands)
			continue;
		s->stands = true;
		refcount_inc(&s->ref);
		here = s;
		break;
	}
	spin_unlock(&stops_lock);
	if (!here)
		return;
	wake_up_all(&stops_wait);
	/* A kernel worker gets no signals; a process that is being killed goes on. */
	wait_event_killable(stops_wait, READ_ONCE(here->released));
	stop_put(here);
}

static int stop_open(struct inode *inode, struct file *file)
{
	struct stop *s = kzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);

	if (!s)
		return -ENOMEM;
	refcount_set(&s->ref, 1);
	INIT_LIST_HEAD(&s->entry);
	s->node = inode->i_private;
	kref_get(&s->node->ref);
	file->private_data = s;
	return nonseekable_open(inode, file);
}

/* The name of a step: the next time that the node comes there, it stops. */
static ssize_t stop_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct stop *s = file->private_data;
	char name[32];
	int step;

	if (len >= sizeof(name))
		return -EINVAL;
	if (copy_from_user(name, buf, len))
		return -EFAULT;
	name[len] = 0;
	step = __sysfs_match_string(step_names, STEPS, name);
	if (step < 0)
		return step;
	spin_lock(&stops_lock);
	if (s->armed) {
		len = -EBUSY;
	} else {
		s->step = step;
		WRITE_ONCE(s->armed, true);
		list_add_tail(&s->entry, &stops);
		WRITE_ONCE(steps_armed, steps_armed + 1);
	}
	spin_unlock(&stops_lock);
	return len;
}

/* Waits until it stands there. */
static ssize_t stop_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	struct stop *s = file->private_data;
	char line[32];
	int n;

	if (!READ_ONCE(s->armed))
		return -EINVAL;
	if (!READ_ONCE(s->stands) && file->f_flags & O_NONBLOCK)
		return -EAGAIN;
	if (wait_event_interruptible(stops_wait, READ_ONCE(s->stands)))
		return -ERESTARTSYS;
	n = scnprintf(line, sizeof(line), "%s\n", step_names[s->step]);
	if (len < n)
		return -EINVAL;
	return copy_to_user(buf, line, n) ? -EFAULT : n;
}

static __poll_t stop_poll(struct file *file, poll_table *wait)
{
	struct stop *s = file->private_data;

	poll_wait(file, &stops_wait, wait);
	return READ_ONCE(s->stands) ? EPOLLIN | EPOLLRDNORM : 0;
}

/* Also when its process was killed: nobody stands there for ever. */
static int stop_release(struct inode *inode, struct file *file)
{
	struct stop *s = file->private_data;

	spin_lock(&stops_lock);
	list_del(&s->entry);
	WRITE_ONCE(steps_armed, steps_armed - s->armed);
	WRITE_ONCE(s->released, true);
	spin_unlock(&stops_lock);
	wake_up_all(&stops_wait);
	stop_put(s);
	return 0;
}

static const struct file_operations stop_fops = {
	.owner		= THIS_MODULE,
	.open		= stop_open,
	.write		= stop_write,
	.read		= stop_read,
	.poll		= stop_poll,
	.release	= stop_release,
};

static int steps_show(struct seq_file *m, void *unused)
{
	u32 i;

	for (i = 0; i < STEPS; i++)
		seq_printf(m, "%s\n", step_names[i]);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(steps);

void steps_node_add(struct pnode *node)
{
	debugfs_create_file("steps", 0400, node->debugfs, NULL, &steps_fops);
	debugfs_create_file("stop", 0600, node->debugfs, node, &stop_fops);
}
