/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The migration protocol: one proclet, its source, destination and home, a network
 * that loses connections, nodes that crash, members that end. README.rst says what
 * is modelled and what not, and names the invariants (in capitals here).
 *
 * Messages, states and functions have the kernel's names. Each atomic step is what
 * the kernel does under one hold of lproc.lock, or what nobody can see parts of.
 *
 * -DNODES=2|3 -DHOME=n -DCALLER=n, and the bounds: -DMOVES -DBREAKS -DCRASHES
 * -DKILLS -DDESTROYS -DCALLS; -DPOSTCOPY: moves by post-copy. The switches that break
 * the protocol are in README.rst.
 */
#ifndef NODES
#define NODES		2
#endif
#ifndef HOME
#define HOME		1
#endif
#ifndef CALLER
#define CALLER		1
#endif
#ifndef MOVES		/* migrations begun */
#define MOVES		2
#endif
#ifndef BREAKS		/* connections broken */
#define BREAKS		2
#endif
#ifndef CRASHES		/* nodes restarted, with a new incarnation */
#define CRASHES		0
#endif
#ifndef KILLS		/* members ended; their nodes live on */
#define KILLS		0
#endif
#ifndef DESTROYS	/* operations that destroy the proclet */
#define DESTROYS	0
#endif
#ifndef CALLS		/* calls of the proclet by a native thread at CALLER, 0 or 1 */
#define CALLS		0
#endif
#define HOPS_MAX	5	/* WIRE_HOPS_MAX is larger: enough to go round twice */
#define FLIGHT		10	/* messages in one direction of a connection */

#define SIZE		(NODES + 1)	/* nodes are counted from 1, as in the kernel */
#define P(a, b)		(((a) - 1) * NODES + (b) - 1)
#define BIT(n)		(1 << (n))

/* enum wire_type, as far as it matters */
mtype = { PREPARE, ACCEPT, REFUSE, OFFER_EARLY, COPIED, OFFER, OFFER_TAIL, READY, COMMIT,
	  ACTIVE, ABORT, QUERY, STATUS, MOVED, JOIN, JOIN_ACK, LEAVE, OP, REPLY };

/* enum proclet_state */
#define ABSENT		0
#define INCOMING	1
#define PRESENT		2
#define FREEZING	3
#define MOVING		4
#define INDOUBT		5
#define DYING		6

/* Threads of the proclet may run: all but the first of them until they are parked. */
#define RUNS(s)		((s) == PRESENT || (s) == FREEZING || (s) == DYING)

/* Where migrate_fn() is */
#define M_NONE		0
#define M_PREPARE	1	/* mig_prepare() waits for ACCEPT */
#define M_EARLY		2	/* mig_early_round() waits for COPIED */
#define M_FREEZE	3	/* mig_freeze() */
#define M_PULL		4	/* mig_run() waits for READY */
#define M_READY		5	/* it is about to send COMMIT */
#define M_COMMIT	6	/* it waits for ACTIVE */
#define M_DOUBT		7	/* mig_in_doubt() */
#define M_ABORT		8	/* given up; waits until the destination reads no more */
#define M_GIVEN		9	/* post-copy: offered for good, it waits for ACTIVE */

/* migration.events */
#define EV_ACCEPT	1
#define EV_REFUSE	2
#define EV_READY	4
#define EV_ACTIVE	8
#define EV_STATUS	16
#define EV_LOST		32
#define EV_UP		64
#define EV_COPIED	128
#define EV_DOWN		256
#define EV_DYING	512

/* migration.status with EV_STATUS */
#define OFF		0
#define ON		1
#define ENOENT		2

/* One end of a connection */
#define DOWN		0
#define UP		1
#define BROKEN		2	/* it is no more, and this end has not noticed yet */

/* A connection is FIFO in each direction, and what is under way dies with it. */
chan q[NODES * NODES] = [FLIGHT] of { mtype, byte, byte, byte };
byte conn[NODES * NODES];	/* peer.up and the transport's state */
byte peerinc[NODES * NODES];	/* peer.incarnation */
byte inc[SIZE];			/* pnode.incarnation */
bool mem[SIZE];			/* the node has a member */
byte members[SIZE];		/* lproc.members, bits */

byte st[SIZE];			/* proclet.state */
byte epoch[SIZE];		/* proclet.epoch */
bool data[SIZE];		/* what the call has written */
bool ended[SIZE];		/* proclet.ended */
byte loc[SIZE];			/* location.node, 0: not known */
byte locep[SIZE];		/* location.epoch */

byte mph[SIZE];			/* proclet.mig, M_* */
byte mdst[SIZE];		/* migration.peer */
byte minc[SIZE];		/* .incarnation */
byte mid[SIZE];			/* .id */
short mev[SIZE];		/* .events */
byte mstatus[SIZE];		/* .status */

byte insrc[SIZE];		/* proclet.in: incoming.peer, 0: none */
byte inid[SIZE];		/* .mig */
byte inep[SIZE];		/* .epoch */
bool indata[SIZE];		/* what has been read: */
byte inop[SIZE];
mtype instep[SIZE];		/* .busy: what the step under way is answered with */
bool inready[SIZE];		/* .ready */
bool inwas[SIZE];		/* .may_ask */
bool inabort[SIZE];		/* .aborted */
byte dropped[SIZE];		/* lproc.dropped, bits */

/* The call: where it is, and what its caller knows. */
#define IDLE		0
#define INBOX		1	/* proclet.inbox */
#define QUEUED		2	/* lproc.ready */
#define RUNNING		3	/* it has a thread */
byte op[SIZE];
byte ophops[SIZE];
byte opfrom[SIZE];
#define NOT_YET		0
#define WAITING		1
#define DONE		2
#define FAILED		3
byte call;

/* What only the model knows. */
byte nmig;			/* migrations begun */
byte breaks;
byte crashes;
byte kills;
byte destroys;
byte executed;			/* how often the call was */
bool oplost;			/* it, or its reply, went with a connection or node */
bool gone;			/* the proclet went with a node or member, or may have */
bool dead;			/* it was destroyed */
bool homegone;			/* so did what its home knew */
bool calm;			/* from here on nothing breaks any more */

/* Scratch: only valid in one step. */
hidden byte i;
hidden byte j;
hidden byte k;
hidden byte node;
hidden byte hops;
hidden byte from;
hidden short e;
hidden mtype type;
hidden byte a1;
hidden byte a2;
hidden byte a3;
hidden byte found;

/* xport_ops.send: what is sent when the connection is no more is lost */
inline send(src, dst, ty, w1, w2, w3)
{
	if
	:: conn[P(src, dst)] == UP ->
		assert(len(q[P(src, dst)]) < FLIGHT);
		q[P(src, dst)]!ty(w1, w2, w3)
	:: else ->
		oplost = oplost || ty == OP || ty == REPLY
	fi
}

/* ONE: nobody else may run it when @n begins to. ACK: what was acknowledged is there. */
inline runs_here(n)
{
	i = 1;
	do
	:: i <= NODES ->
		assert(i == n || !RUNS(st[i]));	/* ONE */
		i++
	:: else -> break
	od;
	assert(call != DONE || data[n]);	/* ACK */
	st[n] = PRESENT
}

/* heap_slot_free(): SLOT: the home gives away addresses that nobody uses */
inline slot_free()
{
	i = 1;
	do
	:: i <= NODES ->
		assert(!RUNS(st[i]));	/* SLOT */
		i++
	:: else -> break
	od;
	i = 0
}

/* ---- proclets.c: locations ---- */

#define HERE(n)		(st[n] != ABSENT)	/* proclet_here() */

inline location_erase(n)
{
	loc[n] = 0;
	locep[n] = 0
}

/* location_set(); @w 0: it is no more */
inline location_set(at, ep, w, f)
{
	if
	:: w == at || (at == HOME && w && f != at && f != w)
	:: else ->
		if
		:: HERE(at) && epoch[at] >= ep && st[at] != INCOMING
		:: HERE(at) && st[at] == INCOMING && inep[at] >= ep
		:: HERE(at) && !w && st[at] != INCOMING && epoch[at] < ep ->
			ended[at] = ended[at] || st[at] == MOVING || st[at] == INDOUBT;
			mig_news(at)
		:: HERE(at) && !w && st[at] == INCOMING && inep[at] < ep
		:: else ->
			if
			:: HERE(at) -> mig_news(at)
			:: else
			fi;
			if
			:: loc[at] && locep[at] >= ep
			:: at == HOME && !HERE(at) && !loc[at]
			:: at == HOME && !w && f != at && f != loc[at]
			:: else ->
				if
				:: w == 0 && at == HOME && loc[at] -> slot_free()
				:: else
				fi;
				loc[at] = w;
				locep[at] = (w -> ep : 0)
			fi
		fi
	fi
}

/* It has moved on from where we sent it: so that is where it went. */
inline mig_news(at)
{
#ifndef DOUBT_DEAF
	if
	:: mph[at] == M_COMMIT || mph[at] == M_GIVEN || mph[at] == M_DOUBT -> mev[at] = mev[at] | EV_ACTIVE
	:: else
	fi
#else
	skip
#endif
}

inline proclet_announce(at, ep, w)
{
	if
	:: at == HOME -> location_set(at, ep, w, at)
	:: else -> send(at, HOME, MOVED, 0, ep, w)
	fi
}

/* What the home of our proclet might have missed. */
inline announce_again(u, v)
{
#ifndef MOVED_ONCE
	if
	:: v == HOME && HERE(u) && st[u] != INCOMING && st[u] != DYING ->
		send(u, v, MOVED, 0, epoch[u], u)
	:: else
	fi
#else
	skip
#endif
}

/* ---- op.c ---- */

/* op_reply(): to the native thread at CALLER */
inline op_reply(n, ok)
{
	if
	:: n == CALLER ->
		if
		:: call == WAITING -> call = (ok -> DONE : FAILED)
		:: else
		fi
	:: n != CALLER && !(members[n] & BIT(CALLER)) -> oplost = true
	:: else -> send(n, CALLER, REPLY, ok, 0, 0)
	fi
}

inline op_send(n, to)
{
	if
	:: from != n -> hops++
	:: else
	fi;
	if
	:: hops >= HOPS_MAX || !(members[n] & BIT(to)) || conn[P(n, to)] == DOWN ->
		op_reply(n, false)
	:: else ->
		send(n, to, OP, hops, 0, 0)
	fi
}

/* op_route() of the call, with @hops and @from */
inline op_route(n)
{
	node = (loc[n] -> loc[n] : HOME);
	if
	:: st[n] == PRESENT ->
		assert(op[n] == IDLE);
		op[n] = QUEUED
	:: st[n] == DYING || st[n] == INDOUBT -> op_reply(n, false)
	:: st[n] == ABSENT && node == n -> op_reply(n, false)
	:: st[n] == ABSENT && node != n ->
		if
		:: loc[n] && from != n && loc[n] != from ->
			send(n, from, MOVED, 0, locep[n], loc[n])	/* location_hint() */
		:: else
		fi;
		op_send(n, node)
	:: st[n] == INCOMING && loc[n] && node != from -> op_send(n, node)
	:: else ->
		assert(op[n] == IDLE);
		op[n] = INBOX;
		ophops[n] = (st[n] == INCOMING -> hops : 0);
		opfrom[n] = from
	fi
}

/* op_flush() of the inbox */
inline op_flush(n)
{
	if
	:: op[n] == INBOX ->
		hops = ophops[n];
		from = opfrom[n];
		op[n] = IDLE;
		ophops[n] = 0;
		opfrom[n] = 0;
		op_route(n)
	:: else
	fi
}

/* ---- migrate_src.c ---- */

inline mig_end(n)
{
	mph[n] = M_NONE;
	mdst[n] = 0;
	minc[n] = 0;
	mid[n] = 0;
	mev[n] = 0;
	mstatus[n] = 0
}

/* The proclet runs on here. */
inline mig_undo(n)
{
	if
	:: st[n] == FREEZING || st[n] == MOVING || st[n] == INDOUBT ->
		st[n] = ABSENT;		/* not counted against itself */
		runs_here(n);
		op_flush(n)
	:: else
	fi;
	mig_end(n)
}

/* It runs at the destination, or perhaps nowhere (@lost): then its home keeps its addresses. */
inline mig_forget(n, lost)
{
#ifdef LOST_IS_DEAD
	ended[n] = ended[n] || lost;
#endif
	found = n == HOME && ended[n];
	if
	:: (!lost || n == HOME) && !ended[n] -> location_set(n, epoch[n] + 1, mdst[n], n)
	:: else
	fi;
	/* The thread that came along is the destination's. */
	if
	:: op[n] == RUNNING ->
		op[n] = IDLE;
		oplost = oplost || lost
	:: else
	fi;
	st[n] = ABSENT;
	j = epoch[n] + 1;
	epoch[n] = 0;
	data[n] = false;
	k = ended[n];
	if
	:: k -> location_erase(n)
	:: else
	fi;
	ended[n] = false;
	mig_end(n);
	op_flush(n);
	if
	:: found -> slot_free()
	:: !found && k -> proclet_announce(n, j, 0)
	:: else
	fi
}

/* migrate_fn(): it is given up before COMMIT */
inline mig_fail(n)
{
	send(n, mdst[n], ABORT, mid[n], 0, 0);
	if
	:: mph[n] == M_PREPARE -> mig_undo(n)
	:: else -> mph[n] = M_ABORT
	fi
}

inline mig_in_doubt(n)
{
	st[n] = INDOUBT;
	mev[n] = mev[n] & (EV_UP | EV_ACTIVE | EV_REFUSE | EV_DOWN);
	op_flush(n);
	mph[n] = M_DOUBT;
	if
	:: conn[P(n, mdst[n])] != DOWN && peerinc[P(n, mdst[n])] == minc[n] ->
		send(n, mdst[n], QUERY, mid[n], 0, 0)
	:: else
	fi
}

/* The loop in mig_in_doubt(), woken */
inline mig_doubt_step(n)
{
	e = mev[n];
	mev[n] = mev[n] & ~(EV_UP | EV_LOST);
	if
	:: e & EV_ACTIVE -> mig_forget(n, false)
	:: !(e & EV_ACTIVE) && (e & EV_REFUSE) -> mig_undo(n)
	:: !(e & (EV_ACTIVE | EV_REFUSE)) && (e & EV_STATUS) ->
		if
		:: mstatus[n] == ON -> mig_forget(n, false)
		:: mstatus[n] == OFF -> mig_undo(n)
		:: else -> mig_forget(n, true)
		fi
	:: !(e & (EV_ACTIVE | EV_REFUSE | EV_STATUS)) && peerinc[P(n, mdst[n])] != minc[n] ->
#ifdef UNKNOWN_IS_OFF
		mig_undo(n)
#else
		mig_forget(n, true)
#endif
	:: else ->
		send(n, mdst[n], QUERY, mid[n], 0, 0)
	fi
}

/* ---- migrate_dst.c ---- */

inline in_free(n)
{
	insrc[n] = 0;
	inid[n] = 0;
	inep[n] = 0;
	indata[n] = false;
	inop[n] = IDLE;
	instep[n] = 0;
	inready[n] = false;
	inwas[n] = false;
	inabort[n] = false
}

inline in_drop(n)
{
	if
	:: inwas[n] -> dropped[n] = dropped[n] | BIT(inid[n])
	:: else
	fi;
	j = insrc[n];
	k = inid[n];
	found = st[n] == INCOMING;
	if
	:: found -> st[n] = ABSENT
	:: else
	fi;
	in_free(n);
	if
	:: found -> op_flush(n)
	:: else
	fi;
	send(n, j, REFUSE, k, 0, 0)
}

/* Drop it now if it is idle, else when the step is over. */
inline in_abort(n)
{
	inabort[n] = true;
	if
	:: !instep[n] -> in_drop(n)
	:: else
	fi
}

/* The point of no return. */
inline in_commit(n)
{
	data[n] = indata[n];
	epoch[n] = inep[n];
	if
	:: inop[n] == RUNNING -> a2 = RUNNING
	:: else -> a2 = IDLE
	fi;
	st[n] = ABSENT;
	runs_here(n);
	j = insrc[n];
	k = inid[n];
	in_free(n);
	send(n, j, ACTIVE, k, 0, 0);
	location_erase(n);
	proclet_announce(n, epoch[n], n);
	op_flush(n);
	if
	:: a2 == RUNNING ->
		assert(op[n] == IDLE);
		op[n] = RUNNING
	:: else
	fi
}

inline in_query(n, b, m)
{
	found = insrc[n] == b && inid[n] == m;
	if
	:: dropped[n] & BIT(m) ->
		found = true;
#ifdef QUERY_FORGETS
		dropped[n] = dropped[n] & ~BIT(m)
#endif
	:: else
	fi;
	send(n, b, STATUS, m, 0, (found -> OFF : ON))
}

/* ---- lproc.c ---- */

/* lproc_lost_member(): at @n, that on @b; @ev: what a migration there hears */
inline lost_member(n, b, ev)
{
	if
	:: mem[n] ->
		members[n] = members[n] & ~BIT(b);
		if
		:: loc[n] == b && n != HOME -> location_erase(n)
		:: else
		fi;
		if
		:: mph[n] && mdst[n] == b -> mev[n] = mev[n] | ev
		:: else
		fi;
		if
		:: insrc[n] == b && !inabort[n] -> in_abort(n)
		:: else
		fi
	:: else
	fi
}

/* Everything that the member on @n had is gone. */
inline member_gone(n)
{
	i = 1;
	found = false;
	e = 0;
	do
	:: i <= NODES ->
		found = found || (i != n && RUNS(st[i]));
		/* Its destination: it may have been there alone. */
		e = e || (mdst[i] == n && (mph[i] == M_COMMIT || mph[i] == M_GIVEN || mph[i] == M_DOUBT));
		i++
	:: else -> break
	od;
	/* Nor can the source know whether one that was READY had COMMIT before, or one by
	   post-copy its last offer. */
	gone = gone || RUNS(st[n]) || e || inwas[n] || dropped[n] || ((st[n] == MOVING || st[n] == INDOUBT) && !found);
	homegone = homegone || n == HOME;
	oplost = oplost || op[n];
	if
	:: n == CALLER && call == WAITING -> call = FAILED
	:: else
	fi;
	st[n] = ABSENT;
	epoch[n] = 0;
	data[n] = false;
	ended[n] = false;
	location_erase(n);
	mig_end(n);
	in_free(n);
	dropped[n] = 0;
	op[n] = IDLE;
	ophops[n] = 0;
	opfrom[n] = 0;
	members[n] = 0;
	mem[n] = false
}

/* ---- msg.c ---- */

/* msg_no_member() */
inline no_member(n, b)
{
	if
	:: type == PREPARE || type == OFFER_EARLY || type == OFFER || type == OFFER_TAIL ->
		send(n, b, REFUSE, a1, 0, 0)
	:: type == QUERY -> send(n, b, STATUS, a1, 0, ENOENT)
	:: type == OP || type == ACCEPT || type == COPIED || type == READY || type == COMMIT ->
		oplost = oplost || type == OP;
		send(n, b, LEAVE, 0, 0, 0)
	:: else -> oplost = oplost || type == REPLY
	fi
}

/* migrate_src_recv() */
inline src_recv(n, b, ev)
{
	if
	:: mph[n] && mdst[n] == b && mid[n] == a1 ->
		mev[n] = mev[n] | ev;
		if
		:: type == STATUS -> mstatus[n] = a3
		:: else
		fi
	:: !(mph[n] && mdst[n] == b && mid[n] == a1) &&
	   (type == ACCEPT || type == COPIED || type == READY) ->
		send(n, b, ABORT, a1, 0, 0)
	:: else
	fi
}

#define IN_IS(n, b, m)	(insrc[n] == b && inid[n] == m)

/* msg_dispatch() of @type, @a1 (number of the migration), @a2 (epoch), @a3 */
inline dispatch(n, b)
{
	if
	:: type == PREPARE ->
		if
		:: insrc[n] || !(members[n] & BIT(b)) || (n == HOME && !loc[n]) ->
			send(n, b, REFUSE, a1, 0, 0)
		:: else ->
			dropped[n] = dropped[n] & ~BIT(a1);
			insrc[n] = b;
			inid[n] = a1;
			inep[n] = a2;
			instep[n] = ACCEPT
		fi
	:: type == OFFER_EARLY || type == OFFER || type == OFFER_TAIL ->
		if
		:: IN_IS(n, b, a1) && !instep[n] && !inready[n] && !inabort[n] ->
			instep[n] = (type == OFFER_EARLY -> COPIED : (type == OFFER -> READY : ACTIVE));
#ifdef POSTCOPY
			inwas[n] = true;	/* early offers tell what it is, too */
#endif
#ifdef EARLY_IS_ALL
			if
			:: type != OFFER_EARLY
			:: else -> indata[n] = a3
			fi;
#else
			indata[n] = a3;
#endif
			inop[n] = a2
		:: !IN_IS(n, b, a1) -> send(n, b, REFUSE, a1, 0, 0)
		:: else
		fi
	:: type == COMMIT ->
		if
		:: IN_IS(n, b, a1) && inready[n] && !inabort[n] -> in_commit(n)
		:: else
		fi
	:: type == ABORT ->
		if
		:: IN_IS(n, b, a1) && !inabort[n] -> in_abort(n)
		:: else
		fi
	:: type == QUERY -> in_query(n, b, a1)
	:: type == ACCEPT -> src_recv(n, b, EV_ACCEPT)
	:: type == REFUSE -> src_recv(n, b, EV_REFUSE)
	:: type == COPIED -> src_recv(n, b, EV_COPIED)
	:: type == READY -> src_recv(n, b, EV_READY)
	:: type == ACTIVE -> src_recv(n, b, EV_ACTIVE)
	:: type == STATUS -> src_recv(n, b, EV_STATUS)
	:: type == MOVED -> location_set(n, a2, a3, b)
	:: type == LEAVE -> lost_member(n, b, EV_LOST)
	:: type == OP ->
		hops = a1;
		from = b;
		op_route(n)
	:: type == REPLY -> op_reply(n, a1)
	:: type == JOIN ->
		members[n] = members[n] | BIT(b);
		send(n, b, JOIN_ACK, 0, 0, 0);
		announce_again(n, b)
	:: type == JOIN_ACK ->
		members[n] = members[n] | BIT(b);
		announce_again(n, b)
	:: else
	fi;
	type = 0
}

/* ---- the processes ---- */

/* xport_peer_up(): of JOIN and JOIN_ACK, the first messages, only the outcome */
inline peer_up(u, v)
{
	conn[P(u, v)] = UP;
	peerinc[P(u, v)] = inc[v];
	if
	:: mem[u] && mem[v] ->
		members[u] = members[u] | BIT(v);
	:: else
	fi;
	if
	:: mph[u] && mdst[u] == v -> mev[u] = mev[u] | EV_UP
	:: else
	fi
}

inline drain(u, v)
{
	do
	:: len(q[P(u, v)]) > 0 ->
		q[P(u, v)]?type(a1, a2, a3);
		oplost = oplost || type == OP || type == REPLY
	:: else -> break
	od;
	type = 0
}

/* What node @n does because of node @b, and what becomes of their connection. */
proctype peer(byte n; byte b)
{
end:	do
	/* xport_recv() */
	:: d_step { conn[P(n, b)] != DOWN && len(q[P(b, n)]) > 0 ->
		q[P(b, n)]?type(a1, a2, a3);
		if
		:: mem[n] -> dispatch(n, b)
		:: else -> no_member(n, b)
		fi;
		type = 0 }
	/* xport_peer_down(): the rest of what was under way is lost */
	:: d_step { conn[P(n, b)] == BROKEN ->
		drain(b, n);
		conn[P(n, b)] = DOWN;
		lost_member(n, b, EV_LOST | EV_DOWN) }
	/* Connected (again) */
	:: d_step { n < b && conn[P(n, b)] == DOWN && conn[P(b, n)] == DOWN ->
		peer_up(n, b);
		peer_up(b, n);
		if
		:: mem[n] && mem[b] ->
			announce_again(n, b);
			announce_again(b, n)
		:: else
		fi }
	:: d_step { !calm && breaks < BREAKS && n < b &&
		    conn[P(n, b)] == UP && conn[P(b, n)] == UP ->
		breaks++;
		conn[P(n, b)] = BROKEN;
		conn[P(b, n)] = BROKEN }
	/* migrate_begin(), mig_prepare() */
	:: d_step { !calm && nmig < MOVES && st[n] == PRESENT && !mph[n] &&
		    (members[n] & BIT(b)) ->
		nmig++;
		mph[n] = M_PREPARE;
		mdst[n] = b;
		minc[n] = peerinc[P(n, b)];
		mid[n] = nmig;
		send(n, b, PREPARE, nmig, epoch[n] + 1, 0) }
	od
}

#define FAIL_EVENTS	(EV_REFUSE | EV_LOST | EV_DYING)

/* What node @n does by itself. */
proctype self(byte n)
{
end:	do
	/* migrate_fn() */
	:: d_step { mph[n] == M_PREPARE && (mev[n] & EV_ACCEPT) && !(mev[n] & FAIL_EVENTS) ->
		send(n, mdst[n], OFFER_EARLY, mid[n], 0, data[n]);
		mph[n] = M_EARLY }
	:: d_step { mph[n] == M_EARLY && (mev[n] & EV_COPIED) && !(mev[n] & FAIL_EVENTS) ->
		if
		:: st[n] == PRESENT ->
			st[n] = FREEZING;
			mph[n] = M_FREEZE;
			if	/* unqueue_items() */
			:: op[n] == QUEUED ->
				op[n] = INBOX;
				opfrom[n] = n
			:: else
			fi
		:: else -> mig_fail(n)
		fi }
	:: d_step { mph[n] == M_FREEZE && !(mev[n] & FAIL_EVENTS) ->
		st[n] = MOVING;
#ifdef POSTCOPY
		send(n, mdst[n], OFFER_TAIL, mid[n], (op[n] == RUNNING -> RUNNING : IDLE), data[n]);
		mph[n] = M_GIVEN }
#else
		send(n, mdst[n], OFFER, mid[n], (op[n] == RUNNING -> RUNNING : IDLE), data[n]);
		mph[n] = M_PULL }
#endif
	:: d_step { mph[n] == M_PULL && (mev[n] & EV_READY) && !(mev[n] & FAIL_EVENTS) ->
		mph[n] = M_READY }
	:: d_step { mph[n] == M_READY ->
		send(n, mdst[n], COMMIT, mid[n], 0, 0);
		mph[n] = M_COMMIT }
	:: d_step { (mph[n] == M_COMMIT || mph[n] == M_GIVEN) &&
		    (mev[n] & (EV_ACTIVE | EV_REFUSE | EV_LOST)) ->	/* mig_given() */
		if
		:: mev[n] & EV_ACTIVE -> mig_forget(n, false)
		:: !(mev[n] & EV_ACTIVE) && (mev[n] & EV_REFUSE) -> mig_undo(n)
#ifdef UNDO_AFTER_COMMIT
		:: else -> mig_undo(n)
#else
		:: else -> mig_in_doubt(n)
#endif
		fi }
	:: d_step { mph[n] == M_DOUBT && (mev[n] & (EV_UP | EV_STATUS | EV_ACTIVE | EV_REFUSE)) ->
		mig_doubt_step(n) }
	/* It fails: refused, lost, or (mig_wait(), worker_freeze()) too slow. */
	:: d_step { mph[n] == M_PREPARE || mph[n] == M_EARLY || mph[n] == M_FREEZE ||
#ifdef TAKE_BACK
		    mph[n] == M_GIVEN ||
#endif
		    mph[n] == M_PULL ->
		mig_fail(n) }
	:: d_step { mph[n] == M_ABORT && (mev[n] & (EV_REFUSE | EV_READY | EV_DOWN)) ->
		mig_undo(n) }

	/* in_prepare() */
	:: d_step { instep[n] == ACCEPT ->
		if
		:: st[n] != ABSENT || inabort[n] -> in_drop(n)
		:: else ->
			st[n] = INCOMING;
			instep[n] = 0;
			send(n, insrc[n], ACCEPT, inid[n], 0, 0)
		fi }
	/* in_arrived(), in_step_done() */
	:: d_step { instep[n] == COPIED || instep[n] == READY ->
		if
		:: inabort[n] -> in_drop(n)
		:: else ->
			inready[n] = instep[n] == READY;
			inwas[n] = inwas[n] || inready[n];
			send(n, insrc[n], instep[n], inid[n], 0, 0);
			instep[n] = 0;
#ifdef ACTIVE_ON_READY
			if
			:: inready[n] -> in_commit(n)
			:: else
			fi
#endif
		fi }
	/* in_take() */
	:: d_step { instep[n] == ACTIVE ->
		if
		:: inabort[n] -> in_drop(n)
		:: else -> in_commit(n)
		fi }
	/* No memory, or a read that fails */
	:: d_step { instep[n] != 0 -> in_drop(n) }

	/* A worker takes the call, and ends it; that also while FREEZING. */
	:: d_step { op[n] == QUEUED ->
		op[n] = RUNNING }
	:: d_step { op[n] == RUNNING && RUNS(st[n]) ->
		executed++;
		assert(executed <= 1);	/* ONCE */
		data[n] = true;
		op[n] = IDLE;
		op_reply(n, true) }
	:: d_step { CALLS && n == CALLER && call == NOT_YET && mem[n] && !calm ->
		call = WAITING;
		hops = 0;
		from = n;
		op_route(n) }

	/* op_deliver() of PROCLET_OP_DESTROY; queued calls find it DYING */
	:: d_step { !calm && destroys < DESTROYS && st[n] == PRESENT ->
		destroys++;
		dead = true;
		st[n] = DYING;
		if
		:: mph[n] -> mev[n] = mev[n] | EV_DYING
		:: else
		fi;
		if
		:: op[n] == QUEUED ->
			op[n] = IDLE;
			op_reply(n, false)
		:: else
		fi }
	/* proclet_free() */
	:: d_step { st[n] == DYING && !mph[n] && op[n] != RUNNING ->
		st[n] = ABSENT;
		j = epoch[n] + 1;
		epoch[n] = 0;
		data[n] = false;
		location_erase(n);
		if
		:: n == HOME -> slot_free()
		:: else -> send(n, HOME, MOVED, 0, j, 0)
		fi }

	/* The node crashes and is there again: its peers have yet to notice. */
	:: d_step { !calm && crashes < CRASHES ->
		crashes++;
		member_gone(n);
		inc[n]++;
		k = 1;
		do
		:: k <= NODES ->
			if
			:: k != n ->
				drain(k, n);
				conn[P(n, k)] = DOWN;
				if
				:: conn[P(k, n)] == UP -> conn[P(k, n)] = BROKEN
				:: else
				fi
			:: else
			fi;
			k++
		:: else -> break
		od;
		k = 0 }
	/* lproc_leave(); what is incoming is dropped, and its source told */
	:: d_step { !calm && kills < KILLS && mem[n] ->
		kills++;
		j = insrc[n];
		a1 = inid[n];
		member_gone(n);
		k = 1;
		do
		:: k <= NODES ->
			if
			:: k != n -> send(n, k, LEAVE, 0, 0, 0)
			:: else
			fi;
			k++
		:: else -> break
		od;
		if
		:: j -> send(n, j, REFUSE, a1, 0, 0)
		:: else
		fi }
	/* lproc_join() */
	:: d_step { !calm && !mem[n] ->
		mem[n] = true;
		k = 1;
		do
		:: k <= NODES ->
			if
			:: k != n -> send(n, k, JOIN, 0, 0, 0)
			:: else
			fi;
			k++
		:: else -> break
		od;
		k = 0 }
	od
}

/* REACH: from each member the way leads to @at. */
inline way_from(n, at)
{
	node = n;
	hops = 0;
	do
	:: node != at ->
		j = (loc[node] -> loc[node] : HOME);
		assert(j != node);		/* REACH: the home does not know it */
		assert(members[node] & BIT(j));	/* REACH: nobody there */
		hops++;
		assert(hops <= HOPS_MAX);	/* REACH: in circles */
		node = j
	:: else -> break
	od
}

/* Nothing breaks any more, all that was under way has come to an end. */
inline check_end()
{
	i = 1;
	a1 = 0;
	a2 = 0;
	do
	:: i <= NODES ->
		/* END: in doubt, or on its way, for ever */
		assert(st[i] == ABSENT || st[i] == PRESENT);
		assert(mph[i] == M_NONE && !insrc[i]);
		if
		:: st[i] == PRESENT ->
			a1++;
			a2 = i
		:: else
		fi;
		i++
	:: else -> break
	od;
	assert(a1 <= 1);
	assert(a1 == 1 || gone || dead);	/* KEPT */
	assert(!dead || !a1 || gone);
	assert(!a1 || call != DONE || data[a2]);	/* ACK */
	assert(call != WAITING || oplost || gone);	/* ANSWERED */
	if
	:: a1 && !homegone ->
		i = 1;
		do
		:: i <= NODES ->
			if
			:: mem[i] -> way_from(i, a2)
			:: else
			fi;
			i++
		:: else -> break
		od
	:: else
	fi
}

init
{
	d_step {
		i = 1;
		do
		:: i <= NODES ->
			mem[i] = true;
			inc[i] = 1;
			k = 1;
			do
			:: k <= NODES ->
				if
				:: k != i ->
					conn[P(i, k)] = UP;
					peerinc[P(i, k)] = 1;
					members[i] = members[i] | BIT(k)
				:: else
				fi;
				k++
			:: else -> break
			od;
			i++
		:: else -> break
		od;
		st[HOME] = PRESENT;
	}
	atomic {
		run self(1);
		run self(2);
		run peer(1, 2);
		run peer(2, 1);
#if NODES > 2
		run self(3);
		run peer(1, 3);
		run peer(3, 1);
		run peer(2, 3);
		run peer(3, 2);
#endif
	}
	calm = true;
	atomic { timeout -> d_step { check_end() } }
}
