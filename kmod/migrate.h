/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of a migration's source share. */
#ifndef _PROCLET_MIGRATE_H
#define _PROCLET_MIGRATE_H

#include "lproc.h"
#include "steps.h"

/**
 * struct page_set - pages of a proclet that its destination can read
 * @pages: .
 * @n: how many
 * @exposed: @mem is valid
 * @mem: they, in this order
 * @desc: where lookups in @mem.descs have come to,
 * @first: and the page that this one begins with
 */
struct page_set {
	struct page **pages;
	u32 n;
	bool exposed;
	struct xport_mem mem;
	u32 desc;
	u32 first;
};

/**
 * struct mig_room - tables for the offers of one migration, and how much fits
 * @blob: struct wire_blob and what follows it
 * @size: bytes
 * @from: where a page is readable: FROM_*
 * @pages: .
 * @late: struct page_set.pages of the late ones
 * @nlate: .
 */
struct mig_room {
	void *blob;
	u64 size;
	u32 *from;
	u32 pages;
	struct page **late;
	u32 nlate;
};

/**
 * struct mig_offer - a WIRE_OFFER: what is in mig_room.blob
 * @len: bytes
 * @pages: a copy, when it does not fit into the message
 * @exposed: @mem is valid
 * @mem: that, readable for the destination
 */
struct mig_offer {
	u32 len;
	struct payload pages;
	bool exposed;
	struct xport_mem mem;
};

/**
 * struct migration - one at work
 * @work: migrate_fn()
 * @p: what moves; has a reference
 * @op: the request, to answer
 * @token: whose request it is; 0: answered
 * @peer: the destination
 * @incarnation: of the destination, at the beginning
 * @id: number of the migration
 * @events: EV_*, under lproc.lock
 * @status: that came with EV_REFUSE or EV_STATUS
 * @wait: woken when @events changes
 * @early: pages of the heap, exposed before the freeze; with a reference each
 * @index: of these in the heap, ascending
 * @told: they were offered early, too
 * @dirty: those that have been written since they were read, bits; NULL: they are
 *         read after the freeze
 * @written: bits by index in the heap, all clear between two looks
 * @stacks: pages of its threads, exposed before the freeze; with a reference each
 * @stack_at: addresses of these, ascending
 * @late: all others that travel; they belong to the frozen proclet
 * @tail: the destination reads @early after COMMIT (post-copy)
 * @given: COMMIT, or the last offer of a post-copy, may have been sent; under lproc.lock
 * @weigh: pre-copy, if it does not write too much while the destination is asked
 * @donor: in lproc.donors, while it does
 * @room: for its offers
 * @offer: the one that the destination has not read yet
 * @move: how it went
 */
struct migration {
	struct work_struct work;
	struct proclet *p;
	struct op *op;
	struct proclet_token token;
	struct peer *peer;
	u64 incarnation;
	u64 id;
	u32 events;
	s32 status;
	wait_queue_head_t wait;
	struct page_set early;
	u32 *index;
	bool told;
	unsigned long *dirty;
	unsigned long *written;
	struct page_set stacks;
	u64 *stack_at;
	struct page_set late;
	bool tail;
	bool given;
	bool weigh;
	struct list_head donor;
	struct mig_room room;
	struct mig_offer offer;
	struct proclet_move move;
};

#define NOT_THERE	U32_MAX

/* migrate_pages.c: which pages travel */
int mig_early_list(struct migration *m);
int mig_early_expose(struct migration *m);
int mig_early_track(struct migration *m);
void mig_early_untrack(struct migration *m);
u32 mig_early_dirty(struct migration *m);
bool mig_early_written(struct migration *m);
void mig_early_collect(struct migration *m);
u32 mig_early_find(const struct migration *m, unsigned long index, const struct page *page);
int mig_stacks_expose(struct migration *m);
u32 mig_stacks_find(const struct migration *m, u64 addr, const struct page *page);
int mig_expose(struct migration *m, struct page_set *set);
bool mig_pages_pinned(struct migration *m);
bool mig_readable(const struct migration *m);
void mig_pages_taken(struct migration *m);
void mig_pages_end(struct migration *m);

/* migrate_offer.c: how the destination is told */
int mig_offer_early(struct migration *m, bool all);
int mig_offer_reserve(struct migration *m);
int mig_offer_build(struct migration *m);
int mig_offer_send(struct migration *m, u32 flags);
void mig_offer_end(struct migration *m);

#endif /* _PROCLET_MIGRATE_H */
