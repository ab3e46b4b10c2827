// SPDX-License-Identifier: GPL-2.0
/* Bytes of operations and replies: inline when short, else in whole pages. */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "lproc.h"

/* For at most WIRE_INLINE_MAX bytes. */
int payload_alloc_short(struct payload *pl, u32 len, gfp_t gfp)
{
	memset(pl, 0, sizeof(*pl));
	if (len > WIRE_INLINE_MAX)
		return -EMSGSIZE;
	if (!len)
		return 0;
	pl->data = kmalloc(len, gfp);
	if (!pl->data)
		return -ENOMEM;
	pl->len = len;
	return 0;
}

int payload_alloc(struct payload *pl, u32 len)
{
	u32 n = DIV_ROUND_UP(len, PAGE_SIZE), i;

	if (len <= WIRE_INLINE_MAX)
		return payload_alloc_short(pl, len, GFP_MEMBER);
	memset(pl, 0, sizeof(*pl));
	pl->pages = kvcalloc(n, sizeof(*pl->pages), GFP_MEMBER);
	if (!pl->pages)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		pl->pages[i] = alloc_page(GFP_MEMBER);
		if (!pl->pages[i])
			goto free;
		pl->npages++;
	}
	/* The peer reads whole pages: nothing old may be in the last one. */
	memset(page_address(pl->pages[n - 1]), 0, PAGE_SIZE);
	pl->len = len;
	return 0;
free:
	payload_free(pl);
	return -ENOMEM;
}

void payload_free(struct payload *pl)
{
	u32 i;

	for (i = 0; i < pl->npages; i++)
		put_page(pl->pages[i]);
	kvfree(pl->pages);
	kfree(pl->data);
	memset(pl, 0, sizeof(*pl));
}

/* Address of byte @off, and how many are there from it on. */
void *payload_at(const struct payload *pl, u32 off, u32 *run)
{
	if (!pl->npages) {
		*run = pl->len - off;
		return pl->data + off;
	}
	*run = min_t(u32, PAGE_SIZE - offset_in_page(off), pl->len - off);
	return page_address(pl->pages[off >> PAGE_SHIFT]) + offset_in_page(off);
}

int payload_from_user(struct payload *pl, u64 addr, u32 len)
{
	u32 off, run;
	void *at;
	int err;

	err = payload_alloc(pl, len);
	if (err)
		return err;
	for (off = 0; off < len; off += run) {
		at = payload_at(pl, off, &run);
		if (copy_from_user(at, u64_to_user_ptr(addr + off), run)) {
			payload_free(pl);
			return -EFAULT;
		}
	}
	return 0;
}

int payload_to_user(const struct payload *pl, u64 addr, u32 len)
{
	u32 off, run;
	void *at;

	for (off = 0; off < len; off += run) {
		at = payload_at(pl, off, &run);
		run = min(run, len - off);
		if (copy_to_user(u64_to_user_ptr(addr + off), at, run))
			return -EFAULT;
	}
	return 0;
}

void payload_fill(struct payload *pl, const void *data, u32 len)
{
	u32 off, run;
	void *at;

	for (off = 0; off < len; off += run) {
		at = payload_at(pl, off, &run);
		run = min(run, len - off);
		memcpy(at, data + off, run);
	}
}

void payload_read(const struct payload *pl, void *data, u32 len)
{
	u32 off, run;
	void *at;

	for (off = 0; off < len; off += run) {
		at = payload_at(pl, off, &run);
		run = min(run, len - off);
		memcpy(data + off, at, run);
	}
}
