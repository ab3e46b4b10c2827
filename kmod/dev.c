// SPDX-License-Identifier: GPL-2.0
/* /dev/proclet: its file and its ioctls. Its commands of io_uring are in uring.c. */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/uaccess.h>

#include "lproc.h"

static int proclet_open(struct inode *inode, struct file *file)
{
	/* misc_open() left its struct here; ours comes with joining. */
	file->private_data = NULL;
	return 0;
}

/* Also called for copies of the descriptor, in other processes. */
static int proclet_flush(struct file *file, fl_owner_t id)
{
	/* Pairs with lproc_join(). */
	struct lproc *lproc = smp_load_acquire(&file->private_data);

	/* If someone else still looks into its memory, that has not gone. */
	if (lproc && (current->flags & PF_EXITING) && task_tgid(current) == lproc->tgid)
		lproc_process_gone(lproc);
	return 0;
}

static int proclet_release(struct inode *inode, struct file *file)
{
	if (file->private_data)
		lproc_release(file->private_data);
	return 0;
}

union ioctl_arg {
	u32 size;
	struct proclet_join join;
	struct proclet_members members;
	struct proclet_manage manage;
	struct proclet_exit exit;
	struct proclet_native_op op;
	struct proclet_work work;
	struct proclet_brk brk;
	struct proclet_stack stack;
	struct proclet_dying dying;
	struct proclet_extent extent;
};

static int do_join(struct file *file, union ioctl_arg *arg)
{
	return lproc_join(file, &arg->join);
}

static int do_members(struct file *file, union ioctl_arg *arg)
{
	return lproc_members(file->private_data, &arg->members);
}

static int do_manage(struct file *file, union ioctl_arg *arg)
{
	return lproc_manage(file->private_data, &arg->manage);
}

static int do_exit_lproc(struct file *file, union ioctl_arg *arg)
{
	struct lproc *lproc = file->private_data;

	lproc_exit(lproc, PROCLET_EVENT_EXIT, arg->exit.status, lproc->node->id, "");
	return 0;
}

static int do_op(struct file *file, union ioctl_arg *arg)
{
	return op_native(file->private_data, &arg->op);
}

static int do_work(struct file *file, union ioctl_arg *arg)
{
	return worker_ioctl(file->private_data, &arg->work);
}

static int do_brk(struct file *file, union ioctl_arg *arg)
{
	return proclet_brk(file->private_data, &arg->brk);
}

static int do_stack(struct file *file, union ioctl_arg *arg)
{
	return thread_ioctl(file->private_data, &arg->stack);
}

static int do_dying(struct file *file, union ioctl_arg *arg)
{
	return lproc_dying(file->private_data, &arg->dying);
}

static int do_extent(struct file *file, union ioctl_arg *arg)
{
	return region_extent(file->private_data, &arg->extent);
}

/*
 * @size: of the first version's struct, which every caller must give at least
 * @joined: only for members
 * @out_on_error: results are valid also when it fails
 */
static const struct ioctl {
	unsigned int cmd;
	u32 size;
	bool joined;
	bool out_on_error;
	int (*fn)(struct file *file, union ioctl_arg *arg);
} ioctls[] = {
	{ PROCLET_IOC_JOIN, sizeof(struct proclet_join), false, true, do_join },
	{ PROCLET_IOC_MEMBERS, sizeof(struct proclet_members), true, true, do_members },
	{ PROCLET_IOC_MANAGE, sizeof(struct proclet_manage), true, false, do_manage },
	{ PROCLET_IOC_EXIT, sizeof(struct proclet_exit), true, false, do_exit_lproc },
	{ PROCLET_IOC_OP, sizeof(struct proclet_native_op), true, false, do_op },
	{ PROCLET_IOC_WORK, sizeof(struct proclet_work), true, false, do_work },
	{ PROCLET_IOC_BRK, sizeof(struct proclet_brk), true, false, do_brk },
	{ PROCLET_IOC_STACK, sizeof(struct proclet_stack), true, false, do_stack },
	{ PROCLET_IOC_DYING, sizeof(struct proclet_dying), true, false, do_dying },
	{ PROCLET_IOC_EXTENT, sizeof(struct proclet_extent), true, false, do_extent },
};

static long proclet_ioctl(struct file *file, unsigned int cmd, unsigned long uarg)
{
	void __user *user = (void __user *)uarg;
	const struct ioctl *ioc = NULL;
	struct lproc *lproc;
	union ioctl_arg arg;
	u32 size, i;
	int err;

	for (i = 0; i < ARRAY_SIZE(ioctls); i++)
		if (ioctls[i].cmd == cmd)
			ioc = &ioctls[i];
	if (!ioc)
		return -ENOTTY;
	if (get_user(size, (u32 __user *)user))
		return -EFAULT;
	if (size < ioc->size || size > PAGE_SIZE)
		return -EINVAL;
	err = copy_struct_from_user(&arg, ioc->size, user, size);
	if (err)
		return err;
	/* Pairs with lproc_join(). */
	lproc = smp_load_acquire(&file->private_data);
	if (ioc->joined) {
		if (!lproc)
			return -ENOTCONN;
		if (current->mm != lproc->mm)
			return -EPERM;
	}
	err = ioc->fn(file, &arg);
	if (err && !ioc->out_on_error)
		return err;
	arg.size = size;
	if ((_IOC_DIR(cmd) & _IOC_READ) && copy_to_user(user, &arg, ioc->size))
		return -EFAULT;
	return err;
}

static const struct file_operations proclet_fops = {
	.owner = THIS_MODULE,
	.open = proclet_open,
	.flush = proclet_flush,
	.release = proclet_release,
	.unlocked_ioctl = proclet_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = region_mmap,
	.uring_cmd = uring_cmd,
};

static struct miscdevice proclet_dev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "proclet",
	.fops = &proclet_fops,
	.mode = 0660,
};

int dev_init(void)
{
	return misc_register(&proclet_dev);
}

void dev_exit(void)
{
	misc_deregister(&proclet_dev);
}
