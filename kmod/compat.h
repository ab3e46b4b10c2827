/* SPDX-License-Identifier: GPL-2.0 */
/* Differences between kernel versions: 6.1 to 6.12. Nowhere else. */
#ifndef _PROCLET_COMPAT_H
#define _PROCLET_COMPAT_H

#include <linux/device/class.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/version.h>

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

#endif /* _PROCLET_COMPAT_H */
