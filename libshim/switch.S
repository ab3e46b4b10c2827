/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changing stacks.
 *
 * A suspended thread's callee-saved registers are on its own stack, its stack
 * pointer in tcb->sp (a worker's native loop: in worker->native_sp). A method
 * runs on a fresh stack above no frame but shim_method's, which keeps nothing
 * that belongs to the process.
 */
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

	.macro restore_context
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	reg_pop	%r15
	reg_pop	%r14
	reg_pop	%r13
	reg_pop	%r12
	reg_pop	%rbx
	reg_pop	%rbp
	.endm

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
 * void shim_call_local(struct proclet_tcb *caller, struct proclet_tcb *callee)
 *
 * Suspend the caller and run a method on this worker. The calls and returns
 * match, which keeps the processor's return prediction right.
 *
 * The stack changes before shim_push() makes the callee the innermost thread:
 * from then on the kernel may take the caller's stack away.
 */
func shim_call_local
	.cfi_startproc
	save_context
	movq	%rsp, TCB_SP(%rdi)
	movl	(%rsp), %eax
	movzwl	4(%rsp), %ecx
	.cfi_undefined rip
	leaq	SEG_TOP(%rsi), %rsp
	andl	$~MXCSR_STATUS, %eax
	xorl	fpu_default(%rip), %eax
	xorl	4 + fpu_default(%rip), %ecx
	orl	%ecx, %eax
	jnz	2f
1:	movq	%rsi, %rdi
	call	shim_push
	testb	%al, %al
	jnz	shim_method
	movabsq	$0x8000000000000000, %rax	/* CALL_AGAIN */
	jmp	shim_method_ret
2:	ldmxcsr	fpu_default(%rip)
	fldcw	4 + fpu_default(%rip)
	jmp	1b
	.cfi_endproc
	.size	shim_call_local, . - shim_call_local

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

/* The first and only frame beneath a method. */
func shim_method
	.cfi_startproc
	.cfi_undefined rip
	.cfi_def_cfa rsp, 16
	leaq	-SEG_TOP(%rsp), %rax
	movq	TCB_ROOT(%rax), %rdi
	leaq	SEG_IN(%rax), %rsi
	movq	TCB_IN_LEN(%rax), %rdx
	leaq	SEG_OUT(%rax), %rcx
	movq	TCB_RES_CAP(%rax), %r8
	xorl	%ebp, %ebp
	call	*TCB_FN(%rax)
	.globl	shim_method_ret
	.hidden	shim_method_ret
shim_method_ret:
	leaq	-SEG_TOP(%rsp), %rdi
	movq	%rax, %rsi
	call	shim_pop
	/* back to the caller, which is here */
	movq	%rax, %rsp
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
	.size	shim_method, . - shim_method

	.section .note.GNU-stack, "", @progbits
