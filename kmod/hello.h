/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How nodes introduce themselves when they connect over RDMA, in the CM's private
 * data; and what two challenges (struct wire_challenge) bring about. All fields are
 * little endian. Also built in user space, for the unit tests.
 */
#ifndef _PROCLET_HELLO_H
#define _PROCLET_HELLO_H

#include "wire.h"

#define HELLO_MAGIC	0x4c435250	/* "PRCL" */
#define HELLO_PAGE_SHIFT	12	/* of WIRE_PAGE_SIZE */
/* Receive buffers that a peer may have. */
#define HELLO_DEPTH_MIN	16
#define HELLO_DEPTH_MAX	4096
/* Queue pairs of a connection: the one for messages, and those for READs. */
#define HELLO_QPS_MIN	2
#define HELLO_QPS_MAX	5

/**
 * struct rdma_hello - of who connects, and of who accepts that; for each queue pair
 * @magic: HELLO_MAGIC
 * @version: WIRE_VERSION. This and @magic stay where they are for all versions
 * @page_shift: log2 of the page size, must be the same
 * @from: the sender's id
 * @to: the id of the node that it wants to talk to
 * @depth: receive buffers, the first credits of the other side
 * @qp: which queue pair of the connection this is, from 0
 * @qps: how many it has
 * @incarnation: the sender's
 * @nonce: of the attempt, by who connects: what else is of the same one
 */
struct rdma_hello {
	__le32 magic;
	__le16 version;
	__le16 page_shift;
	__le16 from;
	__le16 to;
	__le16 depth;
	__u8 qp;
	__u8 qps;
	__le64 incarnation;
	__le64 nonce;
};

static_assert(sizeof(struct rdma_hello) == 32);

/**
 * struct rdma_hdr - begins each SEND
 * @credits: receive buffers that the sender has posted again
 * @flags: RDMA_F_*
 * @len: bytes that follow; 0 with RDMA_F_CTL, 1..XPORT_MSG_MAX without
 *
 * Messages follow, one or more; each begins at a multiple of WIRE_ALIGN from the first.
 */
struct rdma_hdr {
	__le16 credits;
	__le16 flags;
	__le32 len;
};

static_assert(sizeof(struct rdma_hdr) == 8);

#define RDMA_F_CTL	0x1	/* only a header */
#define RDMA_F_PING	0x2	/* show that you live */
#define RDMA_F_PONG	0x4	/* the answer */
#define RDMA_F_ALL	(RDMA_F_CTL | RDMA_F_PING | RDMA_F_PONG)

enum rdma_refusal {
	REFUSE_NONE,
	REFUSE_MALFORMED,
	REFUSE_VERSION,
	REFUSE_PAGE_SIZE,
	REFUSE_WRONG_NODE,
	REFUSE_UNKNOWN,
	REFUSE_ADDRESS,
	REFUSE_DIRECTION,
	REFUSE_STOPPED,
	REFUSE_BUSY,
	REFUSE_QPS,
	REFUSE_STALE,
	REFUSALS
};

/**
 * struct rdma_refused - why a connection is refused; the same in all versions
 * @magic: HELLO_MAGIC
 * @reason: REFUSE_*
 * @version: the sender's WIRE_VERSION
 */
struct rdma_refused {
	__le32 magic;
	__le16 reason;
	__le16 version;
};

/* REFUSE_*: why node @self does not talk to who sent these @len bytes; 0: it does */
int hello_check(const struct rdma_hello *hello, u32 len, u32 self);

#define HELLO_TEXT_MAX	80

/* A reason in words; @version: of the peer, for REFUSE_VERSION. Returns @text. */
const char *hello_text(char text[HELLO_TEXT_MAX], u32 reason, u32 version);

enum auth_refusal {
	AUTH_OK,
	AUTH_WE_HAVE_NONE,
	AUTH_IT_HAS_NONE,
	AUTH_OURS_ENDED,
	AUTH_ITS_ENDED,
	AUTH_NO_COMMON,
	AUTH_OTHER_NODE,
	AUTH_MESSAGE,
	AUTH_WRONG_PROOF,
	AUTH_NO_HMAC,
	AUTH_SILENT,
	AUTH_LOST,
	AUTH_REFUSALS
};

#define AUTH_NO_KEY	(~0u)

/*
 * AUTH_*: why two nodes do not talk, by their challenges. @lower: ours has the lower id.
 * AUTH_OK: @key is the index in @ours of the key to prove with, or AUTH_NO_KEY.
 */
int auth_judge(const struct wire_challenge *ours, const struct wire_challenge *its,
	       bool lower, u32 *key);

/* AUTH_* in words. */
const char *auth_text(u32 refusal);

#endif /* _PROCLET_HELLO_H */
