/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls of 64 bytes each way by io_uring, many at a time. */
#ifndef _PROCLETBENCH_RING_H
#define _PROCLETBENCH_RING_H

#include <liburing.h>
#include <proclet.h>
#include <stdbool.h>

#define RING_PAYLOAD	64

/* A call: @start is its user's. */
struct ring_slot {
	char in[RING_PAYLOAD];
	char out[RING_PAYLOAD];
	__u64 number;
	__u64 start;
	struct ring_slot *next;
};

/**
 * struct call_ring - a ring with calls to one proclet; of one thread
 * @callee: the proclet
 * @free: slots of no call
 * @flying: calls that have not ended
 */
struct call_ring {
	struct io_uring uring;
	proclet_t callee;
	struct ring_slot *slots;
	struct ring_slot *free;
	unsigned int flying;
	__u64 number;
};

int ring_open(struct call_ring *r, proclet_t callee, unsigned int depth);
/* Another call, if a slot is free. It is submitted with the next wait. */
struct ring_slot *ring_call(struct call_ring *r);
/*
 * Submit, and wait for at least one call's end, or @limit_ns (0: no limit). Each that
 * ended is given to @ended, which may be NULL. How many, or a negative errno value.
 */
int ring_wait(struct call_ring *r, __u64 limit_ns,
	      int (*ended)(const struct ring_slot *slot, void *arg), void *arg);
void ring_close(struct call_ring *r);

#endif /* _PROCLETBENCH_RING_H */
