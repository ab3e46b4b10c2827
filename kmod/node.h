/* SPDX-License-Identifier: GPL-2.0 */
/* Nodes of this kernel and the peers that each is configured with. */
#ifndef _PROCLET_NODE_H
#define _PROCLET_NODE_H

#include <linux/atomic.h>
#include <linux/device.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/socket.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "hello.h"
#include "xport.h"

#define NODE_NAME_MAX 64

struct auth_keys;
struct key;

/* What a node measures; the migrations are those that it is the source of. */
enum hist_name {
	HIST_PREPARE,
	HIST_EARLY,
	HIST_FREEZE,
	HIST_OFFER,
	HIST_PULL,
	HIST_COMMIT,
	HIST_RESUME,
	HIST_BLACKOUT,
	HIST_TAIL,
	HIST_CALL,
	HISTS
};

#define HIST_BUCKETS 40

/**
 * struct hist - how long something took, and how often; see hist_add()
 * @buckets: how often, by the logarithm of the microseconds
 * @sum_ns: of all times
 * @max_ns: the longest one
 */
struct hist {
	atomic64_t buckets[HIST_BUCKETS];
	atomic64_t sum_ns;
	atomic64_t max_ns;
};

/**
 * struct pnode - a node: this machine's place in the cluster
 * @name: its directory in configfs and sysfs
 * @id: 1..PROCLET_MAX_NODES, 0: not set; does not change while enabled
 * @ops: its transport
 * @addr: where it listens (transport rdma): AF_INET or AF_INET6 with port
 * @incarnation: random, not 0, anew each time the node is enabled
 * @budget: bytes that proclets on it may reserve
 * @reserved: bytes that they have reserved
 * @member_budget: bytes that those of one member may; 0: any
 * @member_proclets: how many a member may have here; 0: any
 * @spin_us: microseconds for which node_spin() polls
 * @spun: how often that was long enough
 * @slept: and how often not
 * @enabled: members can join; written under @lock and @lprocs_lock
 * @ref: configfs, each lproc, each peer
 * @entry: in the list of nodes that use their id, under nodes_lock
 * @lock: protects @id, @ops, @addr and each peer's @started, and all changes of
 *        @enabled and @peers. Held while the transport starts and stops things,
 *        so its callbacks must not take it
 * @peers: struct peer by id (peers without an id are not in it); read under RCU
 *         or @lock
 * @keys_lock: protects @keys; no other is taken under it
 * @keys: by which peers are authenticated, NULL: they are not; see auth.c
 * @lprocs_lock: protects @lprocs
 * @lprocs: struct lproc, members on this node; see node_join()
 * @wq: for what must not run in a transport's callback; there while enabled
 * @move_wq: for migrations, which wait for their peers' answers
 * @tail_wq: for pages that have come, which works of the other two wait for
 * @dev: in /sys/class/proclet, from sysfs_node_add() to sysfs_node_del()
 * @debugfs: its directory there, from debugfs_node_add() to debugfs_node_del()
 * @hists: what that shows
 * @xport: the transport's state
 */
struct pnode {
	char name[NODE_NAME_MAX];
	u32 id;
	const struct xport_ops *ops;
	struct sockaddr_storage addr;
	u64 incarnation;
	atomic64_t budget;
	atomic64_t reserved;
	atomic64_t member_budget;
	atomic64_t member_proclets;
	u32 spin_us;
	atomic64_t spun;
	atomic64_t slept;
	bool enabled;
	struct kref ref;
	struct list_head entry;
	struct mutex lock;		/* configuration, start and stop */
	struct xarray peers;
	spinlock_t keys_lock;		/* of @keys */
	struct auth_keys *keys;
	spinlock_t lprocs_lock;		/* of @lprocs */
	struct list_head lprocs;
	struct workqueue_struct *wq;
	struct workqueue_struct *move_wq;
	struct workqueue_struct *tail_wq;
	struct device *dev;
	struct dentry *debugfs;
	struct hist hists[HISTS];
	void *xport;
};

enum auth_state {
	AUTH_IDLE,		/* not connected */
	AUTH_CHALLENGED,	/* its challenge is to come */
	AUTH_PROVING,		/* its proof is to come */
	AUTH_REFUSED,		/* nothing that comes is listened to */
	AUTH_DONE,
};

/**
 * struct auth - the handshake of a connection; the transport's callbacks one at a time
 * @state: also set by @timer
 * @incarnation: of the peer, as the transport says
 * @keys: of the node when it began; a reference
 * @ours: our challenge
 * @its: the peer's
 * @usable: of @keys, those that @ours names
 * @key: of those, the one that both prove with
 * @timer: the peer has not gone on
 * @logged: AUTH_*, the last one that was logged, not to repeat it
 */
struct auth {
	enum auth_state state;
	u64 incarnation;
	struct auth_keys *keys;
	struct wire_challenge ours;
	struct wire_challenge its;
	struct key *usable[WIRE_KEYS_MAX];
	struct key *key;
	struct delayed_work timer;
	u32 logged;
};

/**
 * struct peer - another node, as this one knows it
 * @node: whose peer it is; a reference
 * @id: its id
 * @name: its directory in configfs
 * @addr: where it listens (transport rdma)
 * @up: connected and authenticated; only then more than the handshake is heard of it
 * @incarnation: of the peer, when last connected
 * @ref: configfs, whoever found it with peer_get()
 * @started: the transport works for it; under the node's lock
 * @error: why the last attempt to connect failed, see peer_set_error()
 * @refusal: AUTH_*: the last attempt came as far as the handshake, and no farther
 * @auth: the handshake
 * @wait: woken when @up changes
 * @msgs_in, @msgs_out, @bytes_in, @bytes_out: counted by the transport
 * @sends: in so many parts the transport sent them; several may have gone together
 * @connects, @disconnects: changes of @up since it was configured
 * @incoming: proclets that it is sending us, of all members
 * @page_ns: what it has taken to read a page from us, on average; a guess, without a lock
 * @xport: the transport's state
 */
struct peer {
	struct pnode *node;
	u32 id;
	char name[NODE_NAME_MAX];
	struct sockaddr_storage addr;
	bool up;
	u64 incarnation;
	struct kref ref;
	bool started;
	int error;
	u32 refusal;
	struct auth auth;
	wait_queue_head_t wait;
	atomic64_t msgs_in;
	atomic64_t msgs_out;
	atomic64_t bytes_in;
	atomic64_t bytes_out;
	atomic64_t sends;
	atomic64_t connects;
	atomic64_t disconnects;
	atomic_t incoming;
	u32 page_ns;
	struct rcu_head rcu;
	void *xport;
};

#define PROCLET_DEFAULT_PORT	7471
#define NODE_SPIN_MAX		1000	/* microseconds */

/* node.c */
struct pnode *node_create(const char *name);	/* disabled, id 0; NULL: no memory */
void node_put(struct pnode *node);
int node_enable(struct pnode *node);	/* -EINVAL no id, -EEXIST id in use, transport's errors */
int node_disable(struct pnode *node);	/* -EBUSY: it has members */
bool node_needs_addr(const struct pnode *node);
struct pnode *node_find(u32 id);	/* enabled; 0: the only one; takes a reference.
					 * ERR_PTR: -ENODEV, -EINVAL several and @id is 0
					 */
struct pnode *node_by_id_local(u32 id);	/* for the loop transport; takes a reference; NULL:
					 * none. From before node_start to after node_stop
					 */
void nodes_for_each(void (*fn)(struct pnode *node, void *arg), void *arg);
int node_join(struct pnode *node, struct list_head *entry);	/* -ENODEV not enabled */
u32 node_peers(struct pnode *node, bool up);	/* with an id; only those that are up */
bool budget_take(atomic64_t *used, const atomic64_t *most, s64 n);	/* false: too much */
void budget_give(atomic64_t *used, s64 n);
void node_spin(struct pnode *node, bool (*ready)(void *arg), void *arg);

struct peer *peer_create(struct pnode *node, const char *name);	/* not started, id 0 */
int peer_set_id(struct peer *peer, u32 id);	/* -EEXIST, -EBUSY started, transport's errors */
int peer_set_addr(struct peer *peer, const struct sockaddr_storage *addr);	/* the same */
void peer_remove(struct peer *peer);	/* stops it, then drops configfs' reference */
struct peer *peer_get(struct pnode *node, u32 id);	/* NULL: unknown */
void peer_put(struct peer *peer);
const char *peer_why_down(struct peer *peer);	/* NULL: it is up */

/* For auth.c: what other parts see of it. */
void peer_set_up(struct peer *peer, u64 incarnation);
void peer_set_down(struct peer *peer);
/*
 * For the transports, optional, in any context: an attempt to connect failed, before
 * the handshake.
 */
void peer_set_error(struct peer *peer, int err);

/* auth.c */
int auth_set_keys(struct pnode *node, const char *text);	/* descriptions; empty: none */
ssize_t auth_show_keys(struct pnode *node, char *page);
u32 auth_count_keys(struct pnode *node);
void auth_free_keys(struct pnode *node);
void auth_init(struct peer *peer);
int auth_recv(struct peer *peer, const void *data, u32 len);	/* while it is not up */

/* config.c, sysfs.c, debugfs.c, steps.c, proc.c */
int config_init(void);
void config_exit(void);
int sysfs_init(void);
void sysfs_exit(void);
int sysfs_node_add(struct pnode *node);
void sysfs_node_del(struct pnode *node);
void sysfs_peers_changed(struct pnode *node);	/* wakes who polls peers_up; sleeps */
void debugfs_init(void);
void debugfs_exit(void);
void debugfs_node_add(struct pnode *node);
void debugfs_node_del(struct pnode *node);
void steps_node_add(struct pnode *node);	/* files in its debugfs directory */
void hist_add(struct pnode *node, enum hist_name name, u64 ns);	/* in any context */
int proc_init(void);
void proc_exit(void);

/* lproc.c */
u32 lproc_count(struct pnode *node);	/* members on it */
u64 node_proclets(struct pnode *node);	/* that are here, of all members */

#endif /* _PROCLET_NODE_H */
