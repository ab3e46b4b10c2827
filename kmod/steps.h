/* SPDX-License-Identifier: GPL-2.0 */
/* Steps of a migration at which a test can stop a node; steps.c has their names. */
#ifndef _PROCLET_STEPS_H
#define _PROCLET_STEPS_H

#include <linux/compiler.h>
#include <linux/types.h>

struct pnode;

enum mig_step {
	STEP_SRC_PREPARE,	/* PREPARE has been sent */
	STEP_SRC_EARLY,		/* an early OFFER has been sent */
	STEP_SRC_FREEZE,	/* FREEZING */
	STEP_SRC_MOVING,	/* MOVING, the last OFFER not sent yet */
	STEP_SRC_OFFER,		/* it has been sent: by post-copy the point of no return */
	STEP_SRC_READY,		/* READY has come, COMMIT not been sent */
	STEP_SRC_COMMIT,	/* it has been sent */
	STEP_SRC_ACTIVE,	/* ACTIVE has come */
	STEP_SRC_ABSENT,	/* it has forgotten the proclet, the request is not answered */
	STEP_SRC_DOUBT,		/* INDOUBT, QUERY not sent */
	STEP_SRC_ABORT,		/* it gives up, ABORT not sent */
	STEP_DST_PREPARE,	/* PREPARE has come */
	STEP_DST_ACCEPT,	/* INCOMING, ACCEPT not sent */
	STEP_DST_EARLY,		/* an early OFFER has come */
	STEP_DST_COPIED,	/* and been read, COPIED not sent */
	STEP_DST_OFFER,		/* the last OFFER has come */
	STEP_DST_READY,		/* and all been read, READY not sent */
	STEP_DST_COMMIT,	/* COMMIT has come (post-copy: all been read), INCOMING */
	STEP_DST_ACTIVE,	/* PRESENT, ACTIVE not sent */
	STEP_DST_MOVED,		/* it has been sent, MOVED not */
	STEP_DST_TAIL,		/* post-copy: pages have been read, the heap does not have them */
	STEP_DST_FETCHED,	/* post-copy: it has all, FETCHED not sent */
	STEP_DST_DROP,		/* it drops the proclet, REFUSE not sent */
	STEP_DST_QUERY,		/* QUERY has come, STATUS not sent */
	STEP_HOME_MOVED,	/* MOVED has come to the proclet's home */
	STEPS
};

extern u32 steps_armed;
void step_stop(struct pnode *node, enum mig_step step);

/*
 * @node comes to @step. It may sleep, and nobody waits for it but by messages. No static
 * key: emulated processors do not always see that the code has changed.
 */
static inline void step_reach(struct pnode *node, enum mig_step step)
{
	if (unlikely(READ_ONCE(steps_armed)))
		step_stop(node, step);
}

#endif /* _PROCLET_STEPS_H */
