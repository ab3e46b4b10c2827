/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Loops that hold known values in registers until told to stop:
 * hold_*(const *want, *got, const __u32 *stop, __u64 *count).
 */
	.text

/* want, got: rax rbx rcx rdx rsi rdi rbp r8-r13; got[13]: flags */
	.globl hold_general
	.type hold_general, @function
hold_general:
	.cfi_startproc
	.irp reg, rbx, rbp, r12, r13, r14, r15
	push %\reg
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset \reg, 0
	.endr
	push %rsi
	.cfi_adjust_cfa_offset 8
	mov %rdx, %r14
	mov %rcx, %r15
	mov (%rdi), %rax
	mov 8(%rdi), %rbx
	mov 16(%rdi), %rcx
	mov 24(%rdi), %rdx
	mov 32(%rdi), %rsi
	mov 48(%rdi), %rbp
	mov 56(%rdi), %r8
	mov 64(%rdi), %r9
	mov 72(%rdi), %r10
	mov 80(%rdi), %r11
	mov 88(%rdi), %r12
	mov 96(%rdi), %r13
	mov 40(%rdi), %rdi
	std
1:	incq (%r15)
	cmpl $0, (%r14)
	je 1b
	pop %r14
	.cfi_adjust_cfa_offset -8
	mov %rax, (%r14)
	mov %rbx, 8(%r14)
	mov %rcx, 16(%r14)
	mov %rdx, 24(%r14)
	mov %rsi, 32(%r14)
	mov %rdi, 40(%r14)
	mov %rbp, 48(%r14)
	mov %r8, 56(%r14)
	mov %r9, 64(%r14)
	mov %r10, 72(%r14)
	mov %r11, 80(%r14)
	mov %r12, 88(%r14)
	mov %r13, 96(%r14)
	pushf
	.cfi_adjust_cfa_offset 8
	pop %rax
	.cfi_adjust_cfa_offset -8
	mov %rax, 104(%r14)
	cld
	.irp reg, r15, r14, r13, r12, rbp, rbx
	pop %\reg
	.cfi_adjust_cfa_offset -8
	.cfi_restore \reg
	.endr
	ret
	.cfi_endproc
	.size hold_general, . - hold_general

/* want, got: struct fpu in move.c: xmm0-15, mxcsr, control word, st0-7 */
	.globl hold_fpu
	.type hold_fpu, @function
hold_fpu:
	.cfi_startproc
	sub $8, %rsp
	.cfi_adjust_cfa_offset 8
	stmxcsr (%rsp)
	fnstcw 4(%rsp)
	fninit
	fldcw 260(%rdi)
	.irp i, 7, 6, 5, 4, 3, 2, 1, 0
	fldt 272+16*\i(%rdi)
	.endr
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movdqu 16*\i(%rdi), %xmm\i
	.endr
	ldmxcsr 256(%rdi)
1:	incq (%rcx)
	cmpl $0, (%rdx)
	je 1b
	stmxcsr 256(%rsi)
	fnstcw 260(%rsi)
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movdqu %xmm\i, 16*\i(%rsi)
	.endr
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7
	fstpt 272+16*\i(%rsi)
	.endr
	fldcw 4(%rsp)
	ldmxcsr (%rsp)
	add $8, %rsp
	.cfi_adjust_cfa_offset -8
	ret
	.cfi_endproc
	.size hold_fpu, . - hold_fpu

/* want, got: ymm0-15 */
	.globl hold_avx
	.type hold_avx, @function
hold_avx:
	.cfi_startproc
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu 32*\i(%rdi), %ymm\i
	.endr
1:	incq (%rcx)
	cmpl $0, (%rdx)
	je 1b
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu %ymm\i, 32*\i(%rsi)
	.endr
	vzeroupper
	ret
	.cfi_endproc
	.size hold_avx, . - hold_avx

	.section .note.GNU-stack, "", @progbits
