// SPDX-License-Identifier: GPL-2.0
/*
 * A logical process's clock: each member's CLOCK_MONOTONIC and an offset. Messages
 * carry the sender's clock, and who is behind moves its offset forward, so what
 * one member has seen of the clock lies in the past for all that hear of it.
 *
 * A member that is joining has shown its clock to nobody: it takes over that of
 * the members, even if its own is ahead. So a machine that has been up for longer
 * does not make the others' timeouts expire.
 */
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/time_namespace.h>

#include "compat.h"
#include "lproc.h"

/*
 * No clock is believed to be farther from this machine's. It bounds what a peer
 * can do, once and for all: offsets do not add up.
 */
#define CLOCK_FAR_NS	((s64)10 * 365 * 24 * 3600 * NSEC_PER_SEC)

static unsigned long clock_skew_ms[PROCLET_MAX_NODES];
module_param_array(clock_skew_ms, ulong, NULL, 0644);
MODULE_PARM_DESC(clock_skew_ms, "for tests: by how much the clocks of nodes 1, 2, ... begin ahead of the machine's (ms)");

int clock_setup(struct lproc *lproc)
{
	unsigned long skew = READ_ONCE(clock_skew_ms[lproc->node->id - 1]);
	struct timespec64 ns = {};

	lproc->clock_page = alloc_page(GFP_MEMBER | __GFP_ZERO);
	if (!lproc->clock_page)
		return -ENOMEM;
	spin_lock_init(&lproc->clock_lock);
	/* The program's CLOCK_MONOTONIC may be shifted, for good as it has threads. */
	timens_add_monotonic(&ns);
	lproc->clock_shift = timespec64_to_ns(&ns);
	lproc->clock_offset = min_t(u64, skew, S64_MAX / 4 / NSEC_PER_MSEC) * NSEC_PER_MSEC;
	return 0;
}

void clock_teardown(struct lproc *lproc)
{
	if (lproc->clock_page)
		put_page(lproc->clock_page);
}

u64 lproc_clock(struct lproc *lproc)
{
	return ktime_get_ns() + READ_ONCE(lproc->clock_offset);
}

static void clock_publish(struct lproc *lproc)
{
	struct proclet_clock *shared = page_address(lproc->clock_page);

	lockdep_assert_held(&lproc->clock_lock);
	WRITE_ONCE(shared->offset, lproc->clock_offset - lproc->clock_shift);
}

/* The program is about to see it: from now on it does not go back. */
void clock_settle(struct lproc *lproc)
{
	spin_lock_bh(&lproc->clock_lock);
	WRITE_ONCE(lproc->clock_settled, true);
	clock_publish(lproc);
	spin_unlock_bh(&lproc->clock_lock);
}

/* To be called after what the message tells has happened. */
void clock_stamp(struct lproc *lproc, struct wire_hdr *hdr)
{
	u64 clock = lproc_clock(lproc);

	if (!READ_ONCE(lproc->clock_settled))
		clock |= WIRE_CLOCK_JOINING;
	hdr->clock = cpu_to_le64(clock);
}

/* A message has come: not before it was sent. */
void clock_hear(struct lproc *lproc, const struct wire_hdr *hdr)
{
	u64 clock = le64_to_cpu(hdr->clock);
	bool joining = clock & WIRE_CLOCK_JOINING, warn = false, ahead = false;
	s64 offset;

	clock &= ~WIRE_CLOCK_JOINING;
	if (!clock)
		return;
	offset = clock - ktime_get_ns();
	if (READ_ONCE(lproc->clock_settled) &&
	    (joining || offset <= READ_ONCE(lproc->clock_offset)))
		return;
	spin_lock_bh(&lproc->clock_lock);
	if (offset > CLOCK_FAR_NS || offset < -CLOCK_FAR_NS) {
		warn = !lproc->clock_warned;
		lproc->clock_warned = true;
	} else if (!joining && !lproc->clock_settled) {
		/* The first member that answers; what others say may only add. */
		WRITE_ONCE(lproc->clock_offset, offset);
		WRITE_ONCE(lproc->clock_settled, true);
		clock_publish(lproc);
	} else if (offset > lproc->clock_offset && !(joining && lproc->clock_settled)) {
		WRITE_ONCE(lproc->clock_offset, offset);
		clock_publish(lproc);
		ahead = true;
	}
	spin_unlock_bh(&lproc->clock_lock);
	if (warn)
		pr_warn("proclet: node %u: %s: a peer's clock is more than ten years from ours, ignored\n",
			lproc->node->id, lproc->name);
	if (ahead)
		deadlines_changed(lproc);
}
