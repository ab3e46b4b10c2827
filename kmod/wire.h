/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Messages between nodes. All fields are little endian. A message is one
 * struct below, begun by struct wire_hdr, perhaps with an array after it.
 * wire_check() has approved of every message before a handler sees it: its
 * length is exact and its counts and addresses are in range.
 *
 * Also built in user space, for the unit tests.
 */
#ifndef _PROCLET_WIRE_H
#define _PROCLET_WIRE_H

#ifdef __KERNEL__
#include <linux/types.h>
#include <linux/build_bug.h>
#else
#include "wire_user.h"
#endif
#include "../include/uapi/linux/proclet.h"

/* Nodes of different versions do not connect: to be changed with any message. */
#define WIRE_VERSION		7
#define WIRE_MSG_MAX		4096	/* XPORT_MSG_MAX */
#define WIRE_ALIGN		8	/* of messages, where several are sent together */
#define WIRE_HOPS_MAX		16	/* times a message may be passed on */
#define WIRE_EPOCH_MAX		(1ULL << 62)	/* moves of a proclet */
#define WIRE_PAGE_SIZE		4096
/* Descriptors that a payload of PROCLET_PAYLOAD_MAX can need at most. */
#define WIRE_DESCS_MAX		160
#define WIRE_BLOB_MAX		(8u << 20)

enum wire_type {
	WIRE_JOIN = 1,
	WIRE_JOIN_ACK,
	WIRE_LEAVE,
	WIRE_EXIT,
	WIRE_OP,
	WIRE_REPLY,
	WIRE_PULLED,
	WIRE_CALL_AT,
	WIRE_PROBE,
	WIRE_PROBED,
	WIRE_CANCEL,
	WIRE_MOVED,
	WIRE_STACK_FREE,
	WIRE_PREPARE,
	WIRE_ACCEPT,
	WIRE_REFUSE,
	WIRE_OFFER,
	WIRE_COPIED,
	WIRE_READY,
	WIRE_COMMIT,
	WIRE_ACTIVE,
	WIRE_FETCHED,
	WIRE_ABORT,
	WIRE_QUERY,
	WIRE_STATUS,
	WIRE_CHALLENGE,
	WIRE_PROOF,
	WIRE_TYPES
};

/**
 * struct wire_hdr - begins every message
 * @type: enum wire_type
 * @reserved: 0
 * @len: bytes of the whole message
 * @lproc: which logical process (hash of its name and run)
 * @clock: that logical process's clock when it was sent, in ns, perhaps with
 *         WIRE_CLOCK_JOINING; 0: it does not say
 */
struct wire_hdr {
	__le16 type;
	__le16 reserved;
	__le32 len;
	__le64 lproc;
	__le64 clock;
};

/* The sender's program has not seen its clock yet. */
#define WIRE_CLOCK_JOINING	(1ULL << 63)

/* Keys that a node has at most. */
#define WIRE_KEYS_MAX		4
#define WIRE_MAC		32	/* bytes of HMAC-SHA256 */

/* HMAC-SHA256 with a key of this string begins with the key's name. */
#define WIRE_KEY_NAME		"proclet key name"

/**
 * struct wire_challenge - each side's first message on a connection
 * @hdr: its lproc and clock are 0
 * @version: WIRE_VERSION
 * @flags: WIRE_AUTHENTICATES
 * @from: the sender's id
 * @to: the receiver's
 * @incarnation: the sender's
 * @nonce: random, for this connection
 * @nkeys: number of @keys that can be used
 * @reserved: 0
 * @keys: their names, see WIRE_KEY_NAME, the preferred one first; then 0
 *
 * The node with the lower id begins, the other one answers.
 */
struct wire_challenge {
	struct wire_hdr hdr;
	__le32 version;
	__le32 flags;
	__le32 from;
	__le32 to;
	__le64 incarnation;
	__u8 nonce[32];
	__le32 nkeys;
	__le32 reserved;
	__u64 keys[WIRE_KEYS_MAX];
};

/* The sender talks to none that does not, even if it has no key that can be used. */
#define WIRE_AUTHENTICATES	0x1

/**
 * struct wire_proven - what a proof is made of; not sent
 * @role: WIRE_ROLE_* of who proves, then 0
 * @lower: the challenge of the node with the lower id
 * @higher: and of the other one
 */
struct wire_proven {
	char role[16];
	struct wire_challenge lower;
	struct wire_challenge higher;
};
#define WIRE_ROLE_LOWER		"proclet lower"
#define WIRE_ROLE_HIGHER	"proclet higher"

/**
 * struct wire_proof - I know the key
 * @hdr: its lproc and clock are 0
 * @mac: HMAC-SHA256 of struct wire_proven, with the first key of the node with the
 *       lower id that the other one has, too
 *
 * The node with the lower id begins; the other one answers if that was right.
 */
struct wire_proof {
	struct wire_hdr hdr;
	__u8 mac[WIRE_MAC];
};

/* struct xport_desc, see there */
struct wire_desc {
	__le64 addr;
	__le32 rkey;
	__le32 len;
};

/**
 * struct wire_token - who waits for an operation
 * @proclet: whose thread does; 0: a native thread of @node's member
 * @stack: that thread's segment; 0 with a native one
 * @seq: its number of the operation
 * @node: where it began to wait
 * @held: WIRE_PROBED: 1: the sender has the operation or its reply; else 0
 */
struct wire_token {
	__le64 proclet;
	__le64 stack;
	__le64 seq;
	__le32 node;
	__le32 held;
};

/**
 * struct wire_payload - bytes that go with an operation or a reply
 * @len: how many, at most PROCLET_PAYLOAD_MAX
 * @ndescs: 0: they follow inline; else so many wire_desc follow, of whole
 *          pages that hold them
 * @pull: with descs: number to send back in WIRE_PULLED after reading them
 */
struct wire_payload {
	__le32 len;
	__le32 ndescs;
	__le64 pull;
};

/* What struct proclet_ident says, for comparison by the receiver. */
struct wire_ident {
	__u8 build_id[32];
	__le32 build_id_len;
	__le32 page_size;
	__le64 text[2];
	__le64 shim[2];
	__le64 xfeatures;
};

/**
 * struct wire_join - a member joins, or its node has just connected
 * @hdr: .
 * @run: number of the run
 * @name: of the logical process
 * @ident: what must be equal
 * @flags: PROCLET_JOIN_*, which must be equal too
 * @uid: of the user whose it is, likewise
 *
 * Answered by WIRE_JOIN_ACK.
 */
struct wire_join {
	struct wire_hdr hdr;
	__le64 run;
	char name[PROCLET_NAME_MAX];
	struct wire_ident ident;
	__le32 flags;
	__le32 uid;
};

/**
 * struct wire_join_ack - the answer
 * @hdr: .
 * @status: 0: we have a member and it matches; -ENOENT: no member; -EXDEV: it
 *          does not match
 * @reserved: 0
 * @reason: a sentence for -EXDEV: printable, 0-terminated
 */
struct wire_join_ack {
	struct wire_hdr hdr;
	__le32 status;
	__le32 reserved;
	char reason[PROCLET_REASON_MAX];
};

/**
 * struct wire_leave - the sender's member has gone, with all its proclets
 * @hdr: .
 * @refused: 1: it had not become one, nothing is lost; else 0
 * @reserved: 0
 * @reason: what became of it: printable, 0-terminated; empty: not known
 */
struct wire_leave {
	struct wire_hdr hdr;
	__le32 refused;
	__le32 reserved;
	char reason[PROCLET_REASON_MAX];
};

/**
 * struct wire_exit - the logical process ends
 * @hdr: .
 * @status: its exit status
 * @node: of the member that ended it, or (PROCLET_EVENT_LOST) whose loss did
 * @event: PROCLET_EVENT_EXIT or PROCLET_EVENT_LOST
 * @reserved: 0
 * @reason: as in struct wire_leave
 */
struct wire_exit {
	struct wire_hdr hdr;
	__le32 status;
	__le32 node;
	__le32 event;
	__le32 reserved;
	char reason[PROCLET_REASON_MAX];
};

/**
 * struct wire_op - an operation on a proclet or node; answered by WIRE_REPLY
 * @hdr: .
 * @op: enum proclet_op_code
 * @method: index
 * @target: proclet, or node
 * @token: who waits
 * @out_cap: most bytes of result
 * @off: PROCLET_OP_READ, _WRITE: where in the heap, from the root object on; else 0
 * @hops: how often it was passed on
 * @reserved: 0
 * @payload: argument bytes
 *
 * Whoever receives it owns it: runs it, passes it on, or answers with an error.
 */
struct wire_op {
	struct wire_hdr hdr;
	__le32 op;
	__le32 method;
	__le64 target;
	struct wire_token token;
	__le64 out_cap;
	__le64 off;
	__le32 hops;
	__le32 reserved;
	struct wire_payload payload;
};

/**
 * struct wire_reply - the result of an operation
 * @hdr: .
 * @token: of the operation
 * @result: >= 0 or -errno
 * @hops: how often it was passed on
 * @from: node that made it
 * @payload: result bytes
 */
struct wire_reply {
	struct wire_hdr hdr;
	struct wire_token token;
	__le64 result;
	__le32 hops;
	__le32 from;
	struct wire_payload payload;
};

/* struct wire_pulled - the pages of a payload have been read */
struct wire_pulled {
	struct wire_hdr hdr;
	__le64 pull;
};

/**
 * struct wire_call_at - an operation is now with another node
 * @hdr: .
 * @token: of the operation
 * @node: whose loss would mean that no reply comes
 * @hops: how often this was passed on
 */
struct wire_call_at {
	struct wire_hdr hdr;
	struct wire_token token;
	__le32 node;
	__le32 hops;
};

/* Most tokens in a struct wire_probe. */
#define WIRE_PROBE_MAX		126

/**
 * struct wire_probe - which of these operations, or their replies, have you?
 * @hdr: WIRE_PROBE, or the answer WIRE_PROBED with the same tokens in any order
 * @count: number of @tokens, 1 to WIRE_PROBE_MAX
 * @reserved: 0
 * @tokens: of the operations
 */
struct wire_probe {
	struct wire_hdr hdr;
	__le32 count;
	__le32 reserved;
	struct wire_token tokens[];
};

/**
 * struct wire_cancel - the caller waits no longer
 * @hdr: .
 * @token: of the operation
 * @target: of the operation
 * @hops: how often this was passed on
 * @reserved: 0
 *
 * Goes after the operation. Who has it and has not begun to execute it drops it
 * and answers it with -ETIMEDOUT. Where it should be and is not, it has perhaps
 * been executed: -ECONNRESET.
 */
struct wire_cancel {
	struct wire_hdr hdr;
	struct wire_token token;
	__le64 target;
	__le32 hops;
	__le32 reserved;
};

/**
 * struct wire_moved - where a proclet is; for its home, and as a hint to others
 * @hdr: .
 * @proclet: .
 * @epoch: number of moves it has made; older news are ignored
 * @node: 0: it is no more
 * @order: its capacity is 1 << @order bytes, says who has it: its home may have lost its
 *         member since it was created, and another one takes it in; 0: not told
 */
struct wire_moved {
	struct wire_hdr hdr;
	__le64 proclet;
	__le64 epoch;
	__le32 node;
	__le32 order;
};

/* struct wire_stack_free - a thread segment of the receiver's slice is free */
struct wire_stack_free {
	struct wire_hdr hdr;
	__le64 stack;
};

/**
 * struct wire_prepare - source to destination: may I send you a proclet?
 * @hdr: .
 * @proclet: .
 * @mig: number of the migration, of the source's choice
 * @epoch: the one it will have at the destination, 1 to WIRE_EPOCH_MAX
 * @capacity: bytes of its segment
 * @brk: bytes reserved of it
 * @npages: pages that it has now, those of its threads included
 * @flags: PROCLET_CREATE_*
 * @nthreads: threads it has now
 *
 * Answered by WIRE_ACCEPT, after the memory is there, or WIRE_REFUSE.
 */
struct wire_prepare {
	struct wire_hdr hdr;
	__le64 proclet;
	__le64 mig;
	__le64 epoch;
	__le64 capacity;
	__le64 brk;
	__le64 npages;
	__le32 flags;
	__le32 nthreads;
};

/**
 * struct wire_mig - the messages of a migration that say nothing else
 * @hdr: WIRE_ACCEPT, WIRE_REFUSE, WIRE_COPIED, WIRE_READY, WIRE_COMMIT, WIRE_ACTIVE,
 *       WIRE_FETCHED, WIRE_ABORT, WIRE_QUERY or WIRE_STATUS
 * @proclet: .
 * @mig: number of the migration
 * @epoch: WIRE_QUERY: which move is asked about
 * @status: WIRE_REFUSE, WIRE_ABORT: -errno. WIRE_STATUS: 1: it became active
 *          here, 0: it did not and never will
 * @reserved: 0
 * @ns: WIRE_ACTIVE: time from the decision that it lives here until its threads could run
 */
struct wire_mig {
	struct wire_hdr hdr;
	__le64 proclet;
	__le64 mig;
	__le64 epoch;
	__le32 status;
	__le32 reserved;
	__le64 ns;
};

/**
 * struct wire_offer - the proclet, ready to be read
 * @hdr: .
 * @proclet: .
 * @mig: .
 * @keep: bytes of the heap: what was offered before of those above is void
 * @blob_len: bytes of the blob (struct wire_blob), at most WIRE_BLOB_MAX
 * @ndescs: 0: the blob follows inline; else so many wire_desc of its pages
 * @refs: references to the proclet, 1 to PROCLET_REFS_MAX; 0 in an early offer
 * @flags: WIRE_OFFER_*
 *
 * Early offers are of pages of the heap while the proclet runs at the source, each
 * answered by WIRE_COPIED; the first one comes before all others, of all pages. The
 * last offer is of the frozen proclet: its threads, and those pages of its heap that
 * were not offered early or have to be read again. It is answered by WIRE_READY, when
 * all has been read. With WIRE_OFFER_TAIL, which both or none have, the last offer gives
 * the proclet away, and is answered by WIRE_ACTIVE or WIRE_REFUSE: what was offered early
 * is read when it is ACTIVE, and WIRE_FETCHED ends that.
 */
struct wire_offer {
	struct wire_hdr hdr;
	__le64 proclet;
	__le64 mig;
	__le64 keep;
	__le32 blob_len;
	__le32 ndescs;
	__le32 refs;
	__le32 flags;
};
#define WIRE_OFFER_EARLY	0x1
#define WIRE_OFFER_READ		0x2	/* with that: read them now; else with the last */
#define WIRE_OFFER_TAIL		0x4	/* not with that: read them after ACTIVE */

/**
 * struct wire_blob - what an offered proclet consists of
 * @nsegs: wire_seg, the heap first, then the threads' by ascending address;
 *         they follow this struct
 * @nextents: wire_extent, after them: runs of pages in segment order
 * @nthreads: wire_thread, after them; one for each segment but the first
 * @ndescs: wire_desc, after them: the pages of all extents in order
 */
struct wire_blob {
	__le32 nsegs;
	__le32 nextents;
	__le32 nthreads;
	__le32 ndescs;
};

/* @start: address; @limit: bytes that may be touched; @nextents: of it */
struct wire_seg {
	__le64 start;
	__le64 limit;
	__le32 nextents;
	__le32 reserved;
};

/* @first: index of a page in the segment; @count: pages */
struct wire_extent {
	__le32 first;
	__le32 count;
};

/**
 * struct wire_thread - a thread that goes along
 * @stack: its segment
 * @seq: of the operation it waits for
 * @out: where to put the result
 * @out_cap: most bytes of it
 * @deadline: of the operation, by the logical process's clock; 0: none
 * @target: of the operation; 0: not needed, for it is never sent
 * @state: WIRE_THREAD_*
 * @sent_to: node that has the operation; 0: not known
 * @op: enum proclet_op_code
 * @cancelled: 1: @deadline is that of the answer to WIRE_CANCEL; else 0
 * @wait_addr: WIRE_THREAD_WAITING: address of the word that it waits at; 0: it
 *             waits for a reply
 * @wait_no: of those that wait at words, the one with the lowest number has waited
 *           longest
 * @result: WIRE_THREAD_REPLIED: of its operation, a reply without bytes
 */
struct wire_thread {
	__le64 stack;
	__le64 seq;
	__le64 out;
	__le64 out_cap;
	__le64 deadline;
	__le64 target;
	__le32 state;
	__le32 sent_to;
	__le32 op;
	__le32 cancelled;
	__le64 wait_addr;
	__le64 wait_no;
	__le64 result;
};
#define WIRE_THREAD_WAITING	0	/* for the reply to an operation, or at a word */
#define WIRE_THREAD_PARKED	1	/* goes on by rt_sigreturn */
#define WIRE_THREAD_REPLIED	2	/* goes on with @result */

static_assert(sizeof(struct wire_hdr) == 24);
static_assert(sizeof(struct wire_challenge) == 120);
static_assert(sizeof(struct wire_proven) == 256);
static_assert(sizeof(struct wire_proof) == 56);
static_assert(sizeof(struct wire_token) == 32);
static_assert(sizeof(struct wire_op) == 112);
static_assert(sizeof(struct wire_reply) == 88);
static_assert(sizeof(struct wire_cancel) == 72);
static_assert(sizeof(struct wire_prepare) == 80);
static_assert(sizeof(struct wire_mig) == 64);
static_assert(sizeof(struct wire_offer) == 64);
static_assert(sizeof(struct wire_seg) == 24);
static_assert(sizeof(struct wire_thread) == 88);

#define WIRE_INLINE_MAX		(WIRE_MSG_MAX - sizeof(struct wire_op))

/* wire_type_len() - bytes of a message at least; @exact: and at most. 0: no such type */
__u32 wire_type_len(__u32 type, bool *exact);

/*
 * wire_first() - length of the first of several messages, each of which begins at a multiple
 * of WIRE_ALIGN. @len: of all, and what is returned if they cannot be messages
 */
__u32 wire_first(const void *data, __u32 len);

/* wire_check() - 0 if the message is well formed, else what is wrong */
const char *wire_check(const void *data, __u32 len);

/*
 * wire_check_blob() - the same for an offer's blob. @npages: out: pages that
 * it speaks of. The heap must be that of @proclet and no larger than @capacity.
 */
const char *wire_check_blob(const void *blob, __u32 len, __u64 proclet,
			    __u64 capacity, __u64 *npages);

/* wire_id_ok() - @id can be a proclet's */
int wire_id_ok(__u64 id);
/* wire_range_ok() - @len bytes from @off on can be in a proclet's heap */
int wire_range_ok(__u64 off, __u64 len);
/* wire_stack_ok() - @stack can be a thread segment's address */
int wire_stack_ok(__u64 stack);

#endif /* _PROCLET_WIRE_H */
