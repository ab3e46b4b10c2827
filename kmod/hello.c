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

int auth_judge(const struct wire_challenge *ours, const struct wire_challenge *its,
	       bool lower, u32 *key)
{
	const struct wire_challenge *first = lower ? ours : its;
	const struct wire_challenge *second = lower ? its : ours;
	u32 i, j;

	*key = AUTH_NO_KEY;
	if (!ours->flags && !its->flags)
		return AUTH_OK;
	if (!ours->flags)
		return AUTH_WE_HAVE_NONE;
	if (!its->flags)
		return AUTH_IT_HAS_NONE;
	if (!ours->nkeys)
		return AUTH_OURS_ENDED;
	if (!its->nkeys)
		return AUTH_ITS_ENDED;
	for (i = 0; i < le32_to_cpu(first->nkeys); i++) {
		for (j = 0; j < le32_to_cpu(second->nkeys); j++) {
			if (first->keys[i] != second->keys[j])
				continue;
			*key = lower ? i : j;
			return AUTH_OK;
		}
	}
	return AUTH_NO_COMMON;
}

const char *auth_text(u32 refusal)
{
	static const char * const texts[AUTH_REFUSALS] = {
		[AUTH_OK]		= "no reason known",
		[AUTH_WE_HAVE_NONE]	= "it authenticates its peers, this node has no keys",
		[AUTH_IT_HAS_NONE]	= "it has no keys, this node authenticates its peers",
		[AUTH_OURS_ENDED]	= "none of this node's keys can be used any more",
		[AUTH_ITS_ENDED]	= "none of its keys can be used any more",
		[AUTH_NO_COMMON]	= "it has none of this node's keys",
		[AUTH_OTHER_NODE]	= "it says that it is another node",
		[AUTH_MESSAGE]		= "a message that is not of the handshake",
		[AUTH_WRONG_PROOF]	= "its proof is wrong",
		[AUTH_NO_HMAC]		= "no HMAC could be computed here",
		[AUTH_SILENT]		= "it did not go on with the handshake",
		[AUTH_LOST]		= "the connection ended during the handshake",
	};

	return texts[refusal < AUTH_REFUSALS ? refusal : AUTH_OK];
}
