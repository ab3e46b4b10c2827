// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Parking: the kernel wants a thread out of its proclet, and has interrupted its
 * worker. The signal frame on the thread's stack is all of the thread's state;
 * the handler leaves it there and goes on with the worker's native loop.
 *
 * Whenever that is not possible now, the handler just returns: the kernel
 * signals again until it gives up. That covers every moment at which stack, chain and
 * tcb do not fit together, because all of them are in native code:
 *
 * - on the native stack, before and after PROCLET_IOC_WORK: not a thread's;
 * - on a callee's stack before it is in the chain, and after that has been
 *   shortened: not the innermost thread's;
 * - on the caller's stack before it is left: native code.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "internal.h"

/* For signals on the worker's native stack. No call behind this access. */
__thread struct proclet_worker *park_self
	__attribute__((tls_model("initial-exec")));

static bool park_wanted(struct proclet_worker *page, struct proclet_tcb *tcb)
{
	__u32 depth = READ_ONCE(page->depth);

	return READ_ONCE(page->park) == (__u64)tcb && depth &&
		depth <= PROCLET_CHAIN_MAX &&
		READ_ONCE(page->chain[depth - 1]) == (__u64)tcb;
}

static const unsigned char greg[NREGS] = {
	[REGS_AX] = REG_RAX, [REGS_DX] = REG_RDX, [REGS_CX] = REG_RCX,
	[REGS_BX] = REG_RBX, [REGS_SI] = REG_RSI, [REGS_DI] = REG_RDI,
	[REGS_BP] = REG_RBP, [REGS_SP] = REG_RSP, [REGS_R8] = REG_R8,
	[REGS_R9] = REG_R9, [REGS_R10] = REG_R10, [REGS_R11] = REG_R11,
	[REGS_R12] = REG_R12, [REGS_R13] = REG_R13, [REGS_R14] = REG_R14,
	[REGS_R15] = REG_R15, [REGS_IP] = REG_RIP,
};

static bool native_beneath(struct proclet_tcb *tcb, const ucontext_t *uc)
{
	struct unwind u = {};
	int i;

	for (i = 0; i < NREGS; i++)
		u.reg[i] = uc->uc_mcontext.gregs[greg[i]];
	return text_native_on_stack(tcb, &u);
}

static void park(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	unsigned long sp = uc->uc_mcontext.gregs[REG_RSP];
	unsigned long ip = uc->uc_mcontext.gregs[REG_RIP];
	struct proclet_tcb *tcb = tcb_of(sp);
	struct proclet_worker *page;

	(void)sig;
	(void)info;
	page = tcb ? tcb_page(tcb) : park_self;
	if (!page)
		return;
	WRITE_ONCE(page->sig_pending, 0);
	if (!tcb || !park_wanted(page, tcb) || !text_parkable(ip) || tcb->pin ||
	    native_beneath(tcb, uc))
		return;
	tcb->frame = (__u64)uc;
	shim_jump(page_worker(page)->native_sp, PROCLET_DONE_PARKED);
}

int park_init(void)
{
	/*
	 * No signal stack: the frame belongs on the thread's. Nothing is blocked
	 * meanwhile: a handler that is left would leave it blocked.
	 */
	struct sigaction sa = {
		.sa_sigaction = park,
		.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER,
	};

	sigemptyset(&sa.sa_mask);
	if (!sigaction(PROCLET_SIGPARK, &sa, NULL))
		return 0;
	shim_error("sigaction: %s", strerror(errno));
	return -errno;
}
