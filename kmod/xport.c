// SPDX-License-Identifier: GPL-2.0
/* What all transports have in common. */
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/slab.h>

#include "xport.h"

/**
 * xport_msg_alloc() - allocate a message for xport_ops.send
 * @len: bytes, wire header included: 1..XPORT_MSG_MAX
 * @gfp: how
 *
 * Return: the message, its data not initialised; NULL if there is no memory or
 * @len is out of range.
 */
struct xport_msg *xport_msg_alloc(u32 len, gfp_t gfp)
{
	struct xport_msg *msg;

	if (!len || len > XPORT_MSG_MAX)
		return NULL;
	msg = kmalloc(struct_size(msg, data, len), gfp);
	if (!msg)
		return NULL;
	INIT_LIST_HEAD(&msg->list);
	msg->len = len;
	msg->lazy = false;
	return msg;
}

/**
 * xport_read_valid() - check the lengths of a read, for transports
 * @rd: the read
 *
 * Return: whether each desc is a whole number of pages, none wraps around, and
 * together they are as long as @rd.pages.
 */
bool xport_read_valid(const struct xport_read *rd)
{
	u64 end, npages = 0;
	u32 i, len;

	for (i = 0; i < rd->ndescs; i++) {
		len = le32_to_cpu(rd->descs[i].len);
		if (!len || !PAGE_ALIGNED(len))
			return false;
		if (check_add_overflow(le64_to_cpu(rd->descs[i].addr), (u64)len, &end))
			return false;
		npages += len >> PAGE_SHIFT;
	}
	return npages && npages == rd->npages;
}
