/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM proclet

#if !defined(_PROCLET_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _PROCLET_TRACE_H

#include <linux/tracepoint.h>

#include "../include/uapi/linux/proclet.h"

#define show_proclet_state(s) __print_symbolic(s,			\
	{ 0, "ABSENT" }, { 1, "INCOMING" }, { 2, "PRESENT" },		\
	{ 3, "FREEZING" }, { 4, "MOVING" }, { 5, "INDOUBT" }, { 6, "DYING" })

TRACE_EVENT(proclet_state,
	TP_PROTO(u32 node, u64 id, int from, int to),
	TP_ARGS(node, id, from, to),
	TP_STRUCT__entry(
		__field(u32, node)
		__field(u64, id)
		__field(int, from)
		__field(int, to)
	),
	TP_fast_assign(
		__entry->node = node;
		__entry->id = id;
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("node=%u proclet=%llx %s -> %s", __entry->node, __entry->id,
		  show_proclet_state(__entry->from), show_proclet_state(__entry->to))
);

/* Phases of a migration, in order; the source traces all but "install" and "tail". */
#define MIGRATE_PHASES							\
	EM(PREPARE, "prepare")						\
	EM(EARLY, "early")						\
	EM(FREEZE, "freeze")						\
	EM(OFFER, "offer")						\
	EM(PULL, "pull")						\
	EM(COMMIT, "commit")						\
	EM(INSTALL, "install")						\
	EM(TAIL, "tail")						\
	EM(ABORT, "abort")						\
	EMe(DONE, "done")

#ifndef _PROCLET_TRACE_ENUMS
#define _PROCLET_TRACE_ENUMS
#define EM(a, b)	MIGRATE_##a,
#define EMe(a, b)	MIGRATE_##a
enum migrate_phase { MIGRATE_PHASES };
#undef EM
#undef EMe
#endif

#define EM(a, b)	TRACE_DEFINE_ENUM(MIGRATE_##a);
#define EMe(a, b)	TRACE_DEFINE_ENUM(MIGRATE_##a);
MIGRATE_PHASES
#undef EM
#undef EMe
#define EM(a, b)	{ MIGRATE_##a, b },
#define EMe(a, b)	{ MIGRATE_##a, b }

TRACE_EVENT(proclet_migrate,
	TP_PROTO(u32 node, u64 id, u64 mig, u32 to, int phase, u64 ns, int err),
	TP_ARGS(node, id, mig, to, phase, ns, err),
	TP_STRUCT__entry(
		__field(u32, node)
		__field(u64, id)
		__field(u64, mig)
		__field(u32, to)
		__field(int, phase)
		__field(u64, ns)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->node = node;
		__entry->id = id;
		__entry->mig = mig;
		__entry->to = to;
		__entry->phase = phase;
		__entry->ns = ns;
		__entry->err = err;
	),
	TP_printk("node=%u proclet=%llx migration=%llx to=%u %s took=%lluns err=%d",
		  __entry->node, __entry->id, __entry->mig, __entry->to,
		  __print_symbolic(__entry->phase, MIGRATE_PHASES),
		  __entry->ns, __entry->err)
);

#define show_move_mode(m) __print_symbolic(m, { 1, "stop" }, { 2, "precopy" }, \
						  { 3, "postcopy" })
#define show_move_why(w) __print_symbolic(w, { 1, "asked" }, { 2, "parameter" },	\
					  { 3, "size" }, { 4, "writes" }, { 5, "durable" })

TRACE_EVENT(proclet_migrate_mode,
	TP_PROTO(u32 node, u64 id, u64 mig, u32 mode, u32 why, u64 pages),
	TP_ARGS(node, id, mig, mode, why, pages),
	TP_STRUCT__entry(
		__field(u32, node)
		__field(u64, id)
		__field(u64, mig)
		__field(u32, mode)
		__field(u32, why)
		__field(u64, pages)
	),
	TP_fast_assign(
		__entry->node = node;
		__entry->id = id;
		__entry->mig = mig;
		__entry->mode = mode;
		__entry->why = why;
		__entry->pages = pages;
	),
	TP_printk("node=%u proclet=%llx migration=%llx mode=%s why=%s pages=%llu",
		  __entry->node, __entry->id, __entry->mig,
		  show_move_mode(__entry->mode),
		  show_move_why(__entry->why),
		  __entry->pages)
);

/* The source's last word of a migration: what the phases do not tell. */
TRACE_EVENT(proclet_migrated,
	TP_PROTO(u32 node, u64 id, u64 mig, u32 to, const struct proclet_move *move, int err),
	TP_ARGS(node, id, mig, to, move, err),
	TP_STRUCT__entry(
		__field(u32, node)
		__field(u64, id)
		__field(u64, mig)
		__field(u32, to)
		__field(u64, bytes)
		__field(u64, late_bytes)
		__field(u64, resume_ns)
		__field(u32, threads)
		__field(u32, rounds)
		__field(u32, registered)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->node = node;
		__entry->id = id;
		__entry->mig = mig;
		__entry->to = to;
		__entry->bytes = move->bytes;
		__entry->late_bytes = move->late_bytes;
		__entry->resume_ns = move->resume_ns;
		__entry->threads = move->threads;
		__entry->rounds = move->rounds;
		__entry->registered = move->registered;
		__entry->err = err;
	),
	TP_printk("node=%u proclet=%llx migration=%llx to=%u bytes=%llu late_bytes=%llu resume=%lluns threads=%u rounds=%u registered=%u err=%d",
		  __entry->node, __entry->id, __entry->mig, __entry->to,
		  __entry->bytes, __entry->late_bytes, __entry->resume_ns,
		  __entry->threads, __entry->rounds, __entry->registered, __entry->err)
);

#undef EM
#undef EMe

#endif /* _PROCLET_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
