/* SPDX-License-Identifier: GPL-2.0 */
/* Differences between kernel versions: 6.1 to 6.12. Nowhere else. */
#ifndef _PROCLET_COMPAT_H
#define _PROCLET_COMPAT_H

#include <linux/version.h>

#include <linux/device/class.h>
#include <linux/io_uring_types.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/percpu-refcount.h>
#include <linux/pfn_t.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#include <linux/io_uring.h>
#else
#include <linux/io_uring/cmd.h>
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}

static inline void vm_flags_clear(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags &= ~flags;
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
#define compat_class_create(name)	class_create(THIS_MODULE, name)
#else
#define compat_class_create(name)	class_create(name)
#endif

/* The memory control group of @task, with a reference; NULL: none. Under RCU. */
static inline struct mem_cgroup *compat_task_memcg(struct task_struct *task)
{
#ifdef CONFIG_MEMCG
	struct mem_cgroup *memcg = mem_cgroup_disabled() ? NULL : mem_cgroup_from_task(task);

	if (memcg && css_tryget(&memcg->css))
		return memcg;
#endif
	return NULL;
}

/* The part of the SQE that is the command's own. */
static inline const void *compat_uring_sqe_cmd(const struct io_uring_cmd *cmd)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
	return cmd->cmd;
#else
	return cmd->sqe->cmd;
#endif
}

/* Only to be compared. */
static inline const void *compat_uring_ring(struct io_uring_cmd *cmd)
{
	return ((struct io_kiocb *)cmd_to_io_kiocb(cmd))->ctx;
}

static inline u64 compat_uring_user_data(struct io_uring_cmd *cmd)
{
	return ((struct io_kiocb *)cmd_to_io_kiocb(cmd))->cqe.user_data;
}

/*
 * Map @head, a page of PMD_SIZE, at once. VM_FAULT_FALLBACK: there is a page table, or
 * get_user_pages() would not know such an entry (since 6.12, where it is special).
 */
static inline vm_fault_t compat_map_huge(struct vm_fault *vmf, struct page *head)
{
#if defined(CONFIG_TRANSPARENT_HUGEPAGE) && LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
	pmd_t pmd = READ_ONCE(*vmf->pmd);

	if (pmd_none(pmd))
		return vmf_insert_pfn_pmd(vmf, page_to_pfn_t(head),
					  vmf->flags & FAULT_FLAG_WRITE);
	if (pmd_trans_huge(pmd))
		return VM_FAULT_NOPAGE;	/* another thread's fault was faster */
#endif
	return VM_FAULT_FALLBACK;
}

/*
 * Add to @bitmap which of @n pages from @first on were written by way of the page tables,
 * and make them clean there. false: the kernel was built without what does that.
 */
static inline bool compat_take_dirty(struct address_space *mapping, pgoff_t first,
				     unsigned long n, unsigned long *bitmap)
{
#ifdef CONFIG_MAPPING_DIRTY_HELPERS
	pgoff_t start = 0, end = 0;

	clean_record_shared_mapping_range(mapping, first, n, first, bitmap, &start, &end);
	return true;
#else
	return false;
#endif
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
/*
 * io_uring does not tell who has a command that its ring is closed, or that who
 * submitted it is killed or executes another program. It waits for the command
 * then. So we look.
 */
#define IO_URING_F_CANCEL	0
static inline void compat_uring_mark_cancelable(struct io_uring_cmd *cmd,
						unsigned int issue_flags)
{
}

static inline bool compat_uring_gone(struct io_uring_cmd *cmd)
{
	struct io_kiocb *req = cmd_to_io_kiocb(cmd);
	struct task_struct *task = req->task;
	struct signal_struct *sig = task->signal;

	if (percpu_ref_is_dying(&req->ctx->refs))
		return true;
	/*
	 * execve() waits after all other threads of the process have gone. A stale
	 * value is good for one more look.
	 */
	return READ_ONCE(sig->flags) & SIGNAL_GROUP_EXIT || READ_ONCE(sig->group_exec_task) ||
	       (task->in_execve && READ_ONCE(sig->nr_threads) == 1);
}
#else
static inline void compat_uring_mark_cancelable(struct io_uring_cmd *cmd,
						unsigned int issue_flags)
{
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
}

static inline bool compat_uring_gone(struct io_uring_cmd *cmd)
{
	return false;
}
#endif

#endif /* _PROCLET_COMPAT_H */
