/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changing stacks.
 *
 * A suspended thread's callee-saved registers are on its own stack, its stack
 * pointer in tcb->sp (a worker's native loop: in worker->native_sp). A method
 * runs on a fresh stack above no frame but shim_method's, which keeps nothing
 * that belongs to the process.
 */
#include <asm/errno.h>

#include "internal.h"

	.section shim_native, "ax", @progbits

/* Control words of a method's first instruction: the ABI's initial ones. */
	.align 8
fpu_default:
	.quad	FPU_DEFAULT
#define MXCSR_STATUS	0x3f

	.macro reg_push reg
	pushq	\reg
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset \reg, 0
	.endm

	.macro reg_pop reg
	popq	\reg
	.cfi_adjust_cfa_offset -8
	.cfi_restore \reg
	.endm

	.macro save_context
	reg_push %rbp
	reg_push %rbx
	reg_push %r12
	reg_push %r13
	reg_push %r14
	reg_push %r15
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	.endm

	/* all of it but the control words, which have not changed */
	.macro drop_context
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	reg_pop	%r15
	reg_pop	%r14
	reg_pop	%r13
	reg_pop	%r12
	reg_pop	%rbx
	reg_pop	%rbp
	.endm

	.macro restore_context
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	drop_context
	.endm

#define CONTEXT	56		/* bytes of it */

	.macro func name
	.globl	\name
	.hidden	\name
	.type	\name, @function
	.align	16
\name:
	.endm

/*
 * u64 shim_switch(u64 *save, u64 to, u64 val)
 *
 * Suspend the caller, go on with the context at @to. Returns the @val of
 * whoever comes back.
 */
func shim_switch
	.cfi_startproc
	save_context
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	movq	%rdx, %rax
	restore_context
	ret
	.cfi_endproc
	.size	shim_switch, . - shim_switch

/* void shim_jump(u64 to, u64 val): the same, for good */
func shim_jump
	.cfi_startproc
	.cfi_undefined rip
	movq	%rdi, %rsp
	movq	%rsi, %rax
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	addq	$8, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
	.cfi_endproc
	.size	shim_jump, . - shim_jump

/*
 * u64 shim_sigreturn(u64 *save, u64 frame)
 *
 * Suspend the caller, go on where a signal stopped the thread with the ucontext
 * at @frame: the kernel expects the stack pointer there.
 */
func shim_sigreturn
	.cfi_startproc
	save_context
	movq	%rsp, (%rdi)
	.cfi_undefined rip
	movq	%rsi, %rsp
	movl	$15, %eax		/* __NR_rt_sigreturn */
	syscall
	ud2
	.cfi_endproc
	.size	shim_sigreturn, . - shim_sigreturn

/*
 * u64 shim_run(u64 *save, struct proclet_tcb *tcb)
 *
 * Suspend the caller, run a method on an empty stack.
 */
func shim_run
	.cfi_startproc
	save_context
	movq	%rsp, (%rdi)
	.cfi_undefined rip
	ldmxcsr	fpu_default(%rip)
	fldcw	4 + fpu_default(%rip)
	leaq	SEG_TOP(%rsi), %rsp
	jmp	shim_method
	.cfi_endproc
	.size	shim_run, . - shim_run

/*
 * ssize_t proclet_call(proclet_t p, proclet_method_t m, const void *in, size_t in_len,
 *			void *out, size_t out_cap)
 *
 * What can be done without the kernel is done here: suspend the caller, and run the
 * method on this worker. shim_call_slow() says what is wrong with a call, or takes
 * it through the kernel.
 *
 * What is suspended goes on at call_resumed; a callee that returns on this worker returns
 * in its place. So calls and returns match, which keeps the processor's return prediction
 * right.
 *
 * The stack changes before the callee becomes the innermost thread: from then on the
 * kernel may take the caller's stack away. All of the caller's tcb comes before all of the
 * callee's, and likewise on return: equal offsets in segments are in each other's way in
 * caches and TLBs.
 */
#define ARGS		32	/* bytes of arguments, kept for CALL_AGAIN */

	/* All of the way there and back in one page. */
	.p2align 10
	.globl	proclet_call
	.type	proclet_call, @function
proclet_call:
	.cfi_startproc
	/* as in tcb_of(): a native thread? */
	movq	%rsp, %rax
	shrq	$QUARTER_SHIFT, %rax
	subl	$FIRST_STACKS, %eax
	rorl	$2, %eax
	cmpl	$MAX_NODES, %eax
	jae	shim_call_slow

	/* the context, for call_resumed */
	reg_push %rdi
	reg_push %rsi
	reg_push %rdx
	reg_push %rcx
	leaq	call_resumed(%rip), %rax
	pushq	%rax
	.cfi_adjust_cfa_offset 8
	save_context

	cmpq	$PAYLOAD_MAX, %rcx
	ja	call_refused
	cmpq	$PAYLOAD_MAX, %r9
	ja	call_refused
	/* is it here? */
	movl	%edi, %eax
	cmpl	$GRANULES - 1, %eax
	ja	call_refused
	movq	SHIM_PRESENCE + shim(%rip), %r13
	leaq	(%r13, %rax, 4), %r13
	movq	%rdi, %r14
	shrq	$32, %r14
	jz	call_refused
	cmpl	%r14d, (%r13)
	jne	call_refused
	/* as in method_slot() */
	imulq	$METHOD_HASH, %rsi, %rax
	shrq	$METHOD_SHIFT, %rax
	movq	SHIM_SLOTS + shim(%rip), %r10
1:	andq	SHIM_MASK + shim(%rip), %rax
	cmpq	%rsi, (%r10, %rax)
	jne	call_probe
	movl	8(%r10, %rax), %r15d
	/* few bytes are copied by way of %rbx and %rbp */
	leaq	-8(%rcx), %rax
	cmpq	$8, %rax
	ja	2f
	movq	(%rdx), %rbx
	movq	-8(%rdx, %rcx), %rbp

	/* the caller's tcb */
2:	movq	%rsp, %r10
	andq	$SEG_MASK, %r10
	movq	TCB_WORKER(%r10), %r11
	movq	%rsp, TCB_SP(%r10)
	movq	%r8, TCB_OUT(%r10)
	movq	%r9, TCB_OUT_CAP(%r10)
	movq	TCB_PROCLET(%r10), %r12
	movq	TCB_LAST_SEQ(%r10), %r8
	addq	$1, %r8
	movq	%r8, TCB_LAST_SEQ(%r10)
	movq	%r8, TCB_SEQ(%r10)

	/* a segment of the worker's, if the kernel does not want that */
	cmpl	$CHAIN_MAX, PAGE_DEPTH(%r11)
	jae	call_refused_late
	cmpl	$0, PAGE_ATTN(%r11)
	jne	call_refused_late
	cmpq	$0, PAGE_PARK(%r11)
	jne	call_refused_late
	movl	WORKER_NSEGS(%r11), %edx
	subl	$1, %edx
	jb	call_refused_late
	movl	%edx, WORKER_NSEGS(%r11)
	movq	WORKER_SEGS(%r11, %rdx, 8), %rdx
	andq	$~SEG_DIRTY, %rdx

	/* the callee's tcb */
	movq	%rdi, TCB_PROCLET(%rdx)
	movq	%r11, TCB_WORKER(%rdx)
	shlq	$32, %r15
	movq	%r15, TCB_PIN(%rdx)		/* 0, and the method */
	movq	%rcx, TCB_IN_LEN(%rdx)
	movq	%r9, TCB_RES_CAP(%rdx)
	movq	%r12, TCB_CALLER(%rdx)
	movq	%r10, TCB_CALLER + 8(%rdx)
	movq	%r8, TCB_CALLER + 16(%rdx)
	movl	SHIM_NODE + shim(%rip), %eax
	movq	%rax, TCB_CALLER + 24(%rdx)
	movq	%rsi, TCB_FN(%rdx)
	movq	$0, TCB_THREAD(%rdx)
	leaq	SHORT_OUT(%rdx), %r12
	cmpq	$SHORT_MAX, %r9
	ja	7f
3:	movq	%r12, TCB_RESULTS(%rdx)
	leaq	-8(%rcx), %rax
	cmpq	$8, %rax
	ja	call_long
	movq	%rbx, SHORT_IN(%rdx)
	movq	%rbp, SHORT_IN - 8(%rdx, %rcx)
	leaq	SHORT_IN(%rdx), %rbx
call_entered:
	movl	(%rsp), %eax
	movzwl	4(%rsp), %r8d
	andl	$~MXCSR_STATUS, %eax
	xorl	$FPU_DEFAULT & 0xffffffff, %eax
	xorl	$FPU_DEFAULT >> 32, %r8d
	.cfi_remember_state
	.cfi_undefined rip
	leaq	SEG_TOP(%rdx), %rsp
	orl	%r8d, %eax
	jnz	6f

	/* E1 to E3 in Documentation/locking.rst */
4:	movl	PAGE_DEPTH(%r11), %eax
	movq	%rdx, PAGE_CHAIN(%r11, %rax, 8)
	addl	$1, %eax
	movl	%eax, PAGE_DEPTH(%r11)
	cmpl	%r14d, (%r13)
	jne	5f
	addq	$1, PAGE_CALLS(%r11)
	movl	%edi, %edi
	shlq	$GRANULE_SHIFT, %rdi
	movabsq	$FIRST_ROOT, %rax
	addq	%rax, %rdi
	movq	%rsi, %rax
	movq	%rbx, %rsi
	movq	%rcx, %rdx
	movq	%r12, %rcx
	movq	%r9, %r8
	jmp	method_run

5:	movabsq	$CALL_AGAIN_BITS, %rax
	jmp	shim_method_ret
6:	ldmxcsr	fpu_default(%rip)
	fldcw	4 + fpu_default(%rip)
	jmp	4b
	.cfi_restore_state
7:	leaq	SEG_OUT(%rdx), %r12
	jmp	3b
call_probe:
	testq	%rsi, %rsi		/* would be found in an empty slot */
	jz	call_refused
	cmpq	$0, (%r10, %rax)
	je	call_refused
	addq	$METHOD_SLOT, %rax
	jmp	1b
	.cfi_endproc
	.size	proclet_call, . - proclet_call

/* The first and only frame beneath a method. */
	.globl	shim_method
	.hidden	shim_method
	.type	shim_method, @function
shim_method:
	.cfi_startproc
	.cfi_undefined rip
	.cfi_def_cfa rsp, 16
	leaq	-SEG_TOP(%rsp), %r9
	movq	TCB_ROOT(%r9), %rdi
	leaq	SEG_IN(%r9), %rsi
	movq	TCB_IN_LEN(%r9), %rdx
	leaq	SEG_OUT(%r9), %rcx
	movq	TCB_RES_CAP(%r9), %r8
	movq	TCB_FN(%r9), %rax
method_run:
	xorl	%ebp, %ebp
	call	*%rax
	.globl	shim_method_ret
	.hidden	shim_method_ret
shim_method_ret:
	leaq	-SEG_TOP(%rsp), %rdi
	testq	%rax, %rax
	js	9f

	/* R1 to R4 */
1:	movq	TCB_WORKER(%rdi), %rsi
	movl	PAGE_DEPTH(%rsi), %ecx
	leal	-1(%rcx), %edx
	testl	%edx, %edx
	jle	8f
	movl	%edx, PAGE_DEPTH(%rsi)
	cmpl	$0, PAGE_ATTN(%rsi)	/* who waits for the callee's proclet to be left */
	jne	7f
	cmpq	$0, PAGE_PARK(%rsi)
	jne	7f
	movl	TCB_CALLER(%rdi), %edx
	movq	SHIM_PRESENCE + shim(%rip), %r8
	movl	(%r8, %rdx, 4), %edx
	cmpl	%edx, TCB_CALLER + 4(%rdi)
	jne	7f
	movq	PAGE_CHAIN - 16(%rsi, %rcx, 8), %r8
	testq	%r8, %r8
	jz	7f

	/* The caller counts as running now, and cannot be taken away. */
	movq	TCB_RESULTS(%rdi), %r10
	movq	TCB_RES_CAP(%rdi), %rdx
	movq	$0, TCB_PROCLET(%rdi)
	cmpq	$SEG_BIG, TCB_IN_LEN(%rdi)
	ja	6f
	cmpq	$SEG_BIG, %rdx
	ja	6f
2:	movl	WORKER_NSEGS(%rsi), %ecx
	movq	%rdi, WORKER_SEGS(%rsi, %rcx, 8)
	addl	$1, %ecx
	movl	%ecx, WORKER_NSEGS(%rsi)
	cmpq	%rax, %rdx
	cmovg	%rax, %rdx
	movq	TCB_OUT(%r8), %rcx
	movq	TCB_SP(%r8), %r12
	leaq	-8(%rdx), %r9
	cmpq	$8, %r9
	ja	5f
	movq	(%r10), %r9
	movq	-8(%r10, %rdx), %r11
	movq	%r9, (%rcx)
	movq	%r11, -8(%rcx, %rdx)

3:	movq	%r12, %rsp
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	movq	8(%rsp), %r15
	movq	16(%rsp), %r14
	movq	24(%rsp), %r13
	movq	32(%rsp), %r12
	movq	40(%rsp), %rbx
	movq	48(%rsp), %rbp
	testq	%rax, %rax
	js	4f
	addq	$CONTEXT + 8 + ARGS, %rsp
	ret

4:	addq	$CONTEXT + 8, %rsp
	jmp	call_result
5:	testq	%rdx, %rdx
	jle	3b
	movq	%rax, %rbx
	movq	%rcx, %rdi
	movq	%r10, %rsi
	call	memcpy@PLT
	movq	%rbx, %rax
	jmp	3b
6:	orq	$SEG_DIRTY, %rdi
	jmp	2b
7:	movl	%ecx, PAGE_DEPTH(%rsi)
8:	movq	%rax, %rsi
	call	shim_report
	/* neither an error nor a length */
9:	cmpq	$-METHOD_ERRNO_MAX, %rax
	jae	1b
	movabsq	$CALL_AGAIN_BITS, %rdx
	cmpq	%rdx, %rax
	je	1b
	movq	$-EINVAL, %rax
	jmp	1b
	.cfi_endproc
	.size	shim_method, . - shim_method

/* What proclet_call does less often, with its registers and frame. */
call_cold:
	.cfi_startproc
	.cfi_def_cfa_offset CONTEXT + 8 + ARGS + 8
	.cfi_offset %rbp, -56
	.cfi_offset %rbx, -64
	.cfi_offset %r12, -72
	.cfi_offset %r13, -80
	.cfi_offset %r14, -88
	.cfi_offset %r15, -96
call_long:
	leaq	SHORT_IN(%rdx), %rbx
	testq	%rcx, %rcx
	jz	call_entered
	leaq	SEG_IN(%rdx), %rax
	cmpq	$SHORT_MAX, %rcx
	cmova	%rax, %rbx
	movq	%rdx, %rbp
	movq	%rbx, %rdi
	movq	CONTEXT + 16(%rsp), %rsi
	movq	%rcx, %rdx
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	call	memcpy@PLT
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	movq	%rbp, %rdx
	movq	TCB_PROCLET(%rdx), %rdi
	movq	TCB_FN(%rdx), %rsi
	movq	TCB_IN_LEN(%rdx), %rcx
	movq	TCB_RES_CAP(%rdx), %r9
	movq	TCB_WORKER(%rdx), %r11
	jmp	call_entered

	/* nothing was done */
call_refused_late:
	movq	TCB_OUT(%r10), %r8
call_refused:
	drop_context
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	jmp	1f

	/* Suspended, it has got its result in tcb->result, perhaps elsewhere. */
call_resumed:
	movq	%rsp, %rax
	andq	$SEG_MASK, %rax
	movq	TCB_RESULT(%rax), %rax
call_result:
	movabsq	$CALL_AGAIN_BITS, %rdx
	cmpq	%rdx, %rax
	je	2f
	.cfi_remember_state
	addq	$ARGS, %rsp
	.cfi_adjust_cfa_offset -ARGS
	ret
	.cfi_restore_state
2:	movq	%rsp, %r10
	andq	$SEG_MASK, %r10
	movq	TCB_OUT_CAP(%r10), %r9
	movq	TCB_OUT(%r10), %r8
1:	popq	%rcx
	popq	%rdx
	popq	%rsi
	popq	%rdi
	.cfi_adjust_cfa_offset -ARGS
	jmp	shim_call_slow
	.cfi_endproc
	.size	call_cold, . - call_cold

/* void shim_thread_exit(struct proclet_tcb *tcb): as if its method returned 0 */
func shim_thread_exit
	.cfi_startproc
	.cfi_undefined rip
	leaq	SEG_TOP(%rdi), %rsp
	movl	$0, TCB_PIN(%rdi)
	xorl	%eax, %eax
	jmp	shim_method_ret
	.cfi_endproc
	.size	shim_thread_exit, . - shim_thread_exit

/* void shim_registers(unsigned long reg[]): as they are when it has returned */
func shim_registers
	.cfi_startproc
	movq	(%rsp), %rax
	leaq	8(%rsp), %rdx
	movq	%rbx, 3*8(%rdi)
	movq	%rbp, 6*8(%rdi)
	movq	%rdx, 7*8(%rdi)
	movq	%r12, 12*8(%rdi)
	movq	%r13, 13*8(%rdi)
	movq	%r14, 14*8(%rdi)
	movq	%r15, 15*8(%rdi)
	movq	%rax, 16*8(%rdi)
	ret
	.cfi_endproc
	.size	shim_registers, . - shim_registers

	.section .note.GNU-stack, "", @progbits
