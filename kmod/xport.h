/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Transports: how nodes exchange messages and read each other's pages. The
 * core calls the ops below and is called back through xport_peer_up(),
 * xport_peer_down(), xport_recv() and xport_recv_now(); it knows nothing of verbs.
 */
#ifndef _PROCLET_XPORT_H
#define _PROCLET_XPORT_H

#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/types.h>

struct peer;
struct pnode;

/* Largest message, wire header included. */
#define XPORT_MSG_MAX		4096

/**
 * struct xport_msg - a message to send
 * @list: the owner's
 * @len: bytes in @data
 * @lazy: nobody waits for it: it may be delayed a little, to go with the next one
 * @data: wire header and body; from kmalloc, so it can be mapped for DMA
 *
 * xport_ops.send takes it over and frees it with kfree().
 */
struct xport_msg {
	struct list_head list;
	u32 len;
	bool lazy;
	u8 data[] __aligned(8);
};

/**
 * struct xport_desc - pages that the peer may read, as it goes on the wire
 * @addr: address to read from
 * @rkey: and the key for it
 * @len: bytes, a multiple of PAGE_SIZE
 */
struct xport_desc {
	__le64 addr;
	__le32 rkey;
	__le32 len;
};

/**
 * struct xport_mem - pages of ours that one peer may read
 * @peer: which
 * @ndescs: number of @descs
 * @descs: what to tell the peer; from kvmalloc, freed by unexpose
 * @priv: the transport's
 */
struct xport_mem {
	struct peer *peer;
	u32 ndescs;
	struct xport_desc *descs;
	void *priv;
};

/**
 * struct xport_read - reading a peer's exposed pages
 * @peer: which
 * @pages: local pages, filled in order; the array stays until @done
 * @npages: number of @pages; the lengths of @descs must add up to as many
 * @descs: what the peer told us; not trusted, only lengths are checked; stays
 *         until @done
 * @ndescs: number of @descs
 * @done: called once, in process or softirq context, with 0 or -errno (-EINVAL:
 *        lengths do not fit, -ECONNRESET: connection lost, -EREMOTEIO: refused by
 *        the peer's adapter, which also ends the connection; -ENOMEM). Perhaps
 *        before the op has returned. Does not sleep.
 * @priv: the transport's
 */
struct xport_read {
	struct peer *peer;
	struct page **pages;
	u32 npages;
	const struct xport_desc *descs;
	u32 ndescs;
	void (*done)(struct xport_read *rd, int status);
	void *priv;
};

/**
 * struct xport_ops - a transport
 * @name: as in configfs
 * @node_start: listen for peers on the node's address
 * @node_stop: stop listening; all peers are stopped already
 * @peer_start: connect to a peer, or wait for it (the lower id connects), in
 *              the background, and again after each loss, until @peer_stop
 * @peer_stop: disconnect; sleeps; no callback for this peer after it returns
 * @peer_kick: drop the connection (the peer broke the protocol); does not sleep
 * @send: send a message; does not sleep, keeps order, takes @msg over in any
 *        case; queued if the peer has no room. -ENOTCONN: not connected.
 *        Messages not delivered when a connection is lost are dropped.
 * @expose: make pages readable for the peer and fill @mem. May sleep for
 *          memory, not for the network. Valid for the peer by the time it
 *          receives a message sent afterwards. -ENOTCONN, -ENOMEM.
 * @unexpose: sleeps until the peer can no longer read the pages (also when the
 *            connection is lost meanwhile). A read that the peer has not finished
 *            fails and takes the connection along. Not from a callback.
 * @read: begin a read; @rd.done is called unless it returns an error. May sleep
 *        for memory.
 */
struct xport_ops {
	const char *name;
	int (*node_start)(struct pnode *node);
	void (*node_stop)(struct pnode *node);
	int (*peer_start)(struct peer *peer);
	void (*peer_stop)(struct peer *peer);
	void (*peer_kick)(struct peer *peer);
	int (*send)(struct peer *peer, struct xport_msg *msg);
	int (*expose)(struct peer *peer, struct page **pages, u32 npages,
		      struct xport_mem *mem);
	void (*unexpose)(struct xport_mem *mem);
	int (*read)(struct xport_read *rd);
};

extern const struct xport_ops xport_rdma_ops;
extern const struct xport_ops xport_loop_ops;

int xport_rdma_init(void);
void xport_rdma_exit(void);

struct xport_msg *xport_msg_alloc(u32 len, gfp_t gfp);
bool xport_read_valid(const struct xport_read *rd);

/*
 * Called by the transports, in process context, one at a time for a peer:
 * up (it is connected; now the handshake of auth.c begins), then recv any number of times, then down; then perhaps up again. @data is
 * the transport's, valid until xport_recv() returns. A return value other
 * than 0 means the peer broke the protocol: the transport drops the connection.
 *
 * xport_recv_now() is for a transport that has received a message in a softirq, with
 * none before it that is not handled. It returns whether it has handled the message,
 * which else goes to xport_recv().
 */
void xport_peer_up(struct peer *peer, u64 incarnation);
void xport_peer_down(struct peer *peer);
int xport_recv(struct peer *peer, const void *data, u32 len);
bool xport_recv_now(struct peer *peer, const void *data, u32 len);

#endif /* _PROCLET_XPORT_H */
