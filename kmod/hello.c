// SPDX-License-Identifier: GPL-2.0
/* With whom a node talks at all, and what it says to the others. */
#ifdef __KERNEL__
#include <linux/kernel.h>
#include <linux/string.h>
#else
#include <stdio.h>
#endif
#include "hello.h"

int hello_check(const struct rdma_hello *hello, u32 len, u32 self)
{
	if (len < offsetof(struct rdma_hello, page_shift) ||
	    le32_to_cpu(hello->magic) != HELLO_MAGIC)
		return REFUSE_MALFORMED;
	/* Before the rest, which may be another one there. */
	if (le16_to_cpu(hello->version) != WIRE_VERSION)
		return REFUSE_VERSION;
	if (len < sizeof(*hello))
		return REFUSE_MALFORMED;
	if (le16_to_cpu(hello->page_shift) != HELLO_PAGE_SHIFT)
		return REFUSE_PAGE_SIZE;
	if (le16_to_cpu(hello->to) != self)
		return REFUSE_WRONG_NODE;
	if (le16_to_cpu(hello->depth) < HELLO_DEPTH_MIN ||
	    le16_to_cpu(hello->depth) > HELLO_DEPTH_MAX)
		return REFUSE_MALFORMED;
	if (hello->qps < HELLO_QPS_MIN || hello->qps > HELLO_QPS_MAX ||
	    hello->qp >= hello->qps)
		return REFUSE_QPS;
	return REFUSE_NONE;
}

const char *hello_text(char text[HELLO_TEXT_MAX], u32 reason, u32 version)
{
	static const char * const texts[REFUSALS] = {
		[REFUSE_NONE]		= "no reason given",
		[REFUSE_MALFORMED]	= "not a proclet node",
		[REFUSE_PAGE_SIZE]	= "another page size",
		[REFUSE_WRONG_NODE]	= "meant for another node",
		[REFUSE_UNKNOWN]	= "no peer with this id is configured",
		[REFUSE_ADDRESS]	= "the peer is configured with another address",
		[REFUSE_DIRECTION]	= "the lower id connects",
		[REFUSE_STOPPED]	= "the peer is not started",
		[REFUSE_BUSY]		= "no resources",
		[REFUSE_QPS]		= "an impossible number of queue pairs",
		[REFUSE_STALE]		= "a queue pair of no connection that is being made",
	};

	if (reason == REFUSE_VERSION)
		snprintf(text, HELLO_TEXT_MAX,
			 "it has version %u of the protocol, this node has version %d",
			 version, WIRE_VERSION);
	else
		snprintf(text, HELLO_TEXT_MAX, "%s",
			 texts[reason < REFUSALS ? reason : REFUSE_NONE]);
	return text;
}
