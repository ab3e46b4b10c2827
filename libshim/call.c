// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Calls, and how a thread waits for anything. Local calls are proclet_call in
 * switch.S.
 *
 * struct proclet_worker in the ABI header describes how a local call agrees
 * with a kernel that takes proclets away at the same time. Two things are
 * decided there:
 *
 * - A caller is suspended, on another stack, before its callee becomes the
 *   innermost thread. When the callee turns out to be gone then, the caller may
 *   be gone too. So this is not undone but becomes the result of the call,
 *   CALL_AGAIN, which returns to the caller like any other.
 * - On return the presence word is read before the caller's entry in the
 *   chain. A caller that was taken away lost its entry before its
 *   presence could be set again; the other way round both could look right.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

/* The segment is to run @fn in tcb->proclet on this worker. */
void call_prepare(struct proclet_tcb *tcb, proclet_method_t fn)
{
	tcb->lib[LIB_FN] = (__u64)fn;
	tcb->lib[LIB_ROOT] = proclet_root(tcb->proclet);
	tcb->lib[LIB_THREAD] = 0;
	tcb->lib[LIB_RESULTS] = (__u64)seg_out(tcb);
	tcb->pin = 0;
}

static __s64 native_op(const struct proclet_op *op)
{
	struct proclet_native_op n = { .size = sizeof(n), .op = *op };
	int err;

	err = dev_ioctl(PROCLET_IOC_OP, &n);
	return err ? err : n.result;
}

/* As when a comparison function of qsort() calls. */
static bool native_beneath(struct proclet_tcb *tcb)
{
	struct unwind u = { .is_return = true };

	shim_registers(u.reg);
	return text_native_on_stack(tcb, &u);
}

/*
 * Suspend the caller until the kernel has a result. It may go on elsewhere,
 * unless there are native frames beneath.
 */
static __s64 thread_op(struct proclet_tcb *tcb, const struct proclet_op *op)
{
	bool pin = !tcb->pin && native_beneath(tcb);
	struct worker *w = page_worker(tcb_page(tcb));

	if (pin)
		tcb->pin++;
	tcb->out = op->out;
	tcb->out_cap = op->out_cap;
	w->work.op = *op;
	w->work.op.seq = tcb_next_seq(tcb);
	shim_switch(&tcb->sp, w->native_sp, PROCLET_DONE_OP);
	/* another worker, perhaps another process: w is stale */
	if (pin)
		tcb->pin--;
	return tcb->result;
}

__s64 shim_op(const struct proclet_op *op)
{
	struct proclet_tcb *tcb = tcb_self();

	return tcb ? thread_op(tcb, op) : native_op(op);
}

/* The segment is as if its thread had suspended itself just before its method. */
static void suspend_new(struct proclet_tcb *tcb)
{
	__u64 *sp = (__u64 *)((char *)tcb + SEG_TOP) - 8;

	sp[0] = FPU_DEFAULT;
	__builtin_memset(&sp[1], 0, 6 * sizeof(*sp));
	sp[7] = (__u64)shim_method;
	tcb->sp = (__u64)sp;
}

/* A thread that runs @fn with @root, and whose result nobody waits for. */
int shim_spawn(proclet_method_t fn, void *root)
{
	struct proclet_op op = { .op = PROCLET_OP_SPAWN };
	struct proclet_tcb *tcb = tcb_self(), *child;
	int err;

	child = seg_get(page_worker(tcb_page(tcb)));
	if (!child)
		return -ENOMEM;
	memset(child, 0, offsetof(struct proclet_tcb, lib));
	child->proclet = tcb->proclet;
	child->method = METHOD_THREAD;
	call_prepare(child, fn);
	child->lib[LIB_ROOT] = (__u64)root;
	child->lib[LIB_THREAD] = (__u64)root;
	suspend_new(child);
	op.target = (__u64)child;
	err = thread_op(tcb, &op);
	/* Not to the worker: this may be another process than it was taken in. */
	if (err)
		seg_free(child);
	return err;
}

/*
 * The method's caller is not on this worker, or not here any more: the kernel passes the
 * result on.
 */
void shim_report(struct proclet_tcb *tcb, __s64 ret)
{
	struct worker *w = page_worker(tcb_page(tcb));
	void *results = (void *)tcb->lib[LIB_RESULTS];

	if (ret > 0 && results != seg_out(tcb))
		memcpy(seg_out(tcb), results, SHORT_MAX);
	w->done = tcb;
	w->done_dirty = seg_big(tcb->in_len) || seg_big(tcb->res_cap);
	w->work.status = ret;
	shim_jump(w->native_sp, PROCLET_DONE_REPLY);
}

static __s64 call_kernel(struct proclet_tcb *tcb, proclet_t p, __u32 method,
			 const void *in, size_t in_len, void *out, size_t out_cap,
			 __u64 deadline)
{
	struct proclet_op op = {
		.op = PROCLET_OP_CALL,
		.method = method,
		.target = p,
		.in = (__u64)in,
		.in_len = in_len,
		.out = (__u64)out,
		.out_cap = out_cap,
		.deadline = deadline,
	};

	return tcb ? thread_op(tcb, &op) : native_op(&op);
}

static int call_check(proclet_t p, proclet_method_t m, __u32 *method, size_t in_len,
		      size_t out_cap)
{
	if (in_len > PROCLET_PAYLOAD_MAX || out_cap > PROCLET_PAYLOAD_MAX)
		return -EMSGSIZE;
	if (!proclet_valid(p))
		return -ESTALE;
	return method_index(m, method);
}

/* A call that is not local, or not as it should be, or that found its callee gone. */
ssize_t shim_call_slow(proclet_t p, proclet_method_t m, const void *in, size_t in_len,
		       void *out, size_t out_cap)
{
	struct proclet_tcb *tcb = tcb_self(), *spare;
	struct worker *w;
	__u32 method;
	int err;

	err = call_check(p, m, &method, in_len, out_cap);
	if (err)
		return err;
	if (tcb) {
		w = page_worker(tcb_page(tcb));
		spare = w->nsegs ? NULL : seg_get(w);
		if (spare) {
			seg_put(w, spare, false);
			return proclet_call(p, m, in, in_len, out, out_cap);
		}
	}
	return call_kernel(tcb, p, method, in, in_len, out, out_cap, 0);
}

/* Through the kernel also when the callee is here: only that can end the wait. */
PUBLIC ssize_t proclet_call_timeout(proclet_t p, proclet_method_t m, const void *in,
				    size_t in_len, void *out, size_t out_cap,
				    const struct timespec *rel)
{
	__u64 deadline;
	__u32 method;
	__s64 ret;

	if (!rel)
		return proclet_call(p, m, in, in_len, out, out_cap);
	ret = call_check(p, m, &method, in_len, out_cap);
	if (!ret)
		ret = clock_deadline(rel, &deadline);
	if (ret)
		return ret;
	return call_kernel(tcb_self(), p, method, in, in_len, out, out_cap, deadline);
}
