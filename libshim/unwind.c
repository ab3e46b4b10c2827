// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Walking up a thread's stack by the call frame information of the program
 * and of libshim, from any instruction.
 *
 * The unwinder of the C runtime is not up to this: it believes what it reads,
 * and where an asm statement has pushed something the frame information is
 * wrong. Here every read from the stack is checked, and what does not fit is
 * "unknown". Nothing is allocated or locked.
 */
#include <elf.h>
#include <link.h>
#include <string.h>

#include "internal.h"

#define OBJECTS		2	/* the program and libshim */
#define REMEMBER_MAX	8
#define EXPR_STACK	16

#define REG_CFA		REGS_SP		/* the caller's stack pointer is the CFA */

enum {
	DW_EH_PE_absptr = 0x00, DW_EH_PE_udata4 = 0x03, DW_EH_PE_udata8 = 0x04,
	DW_EH_PE_sdata4 = 0x0b, DW_EH_PE_sdata8 = 0x0c,
	DW_EH_PE_pcrel = 0x10, DW_EH_PE_datarel = 0x30, DW_EH_PE_indirect = 0x80,

	DW_CFA_advance_loc = 0x40, DW_CFA_offset = 0x80, DW_CFA_restore = 0xc0,
	DW_CFA_nop = 0x00, DW_CFA_set_loc, DW_CFA_advance_loc1,
	DW_CFA_advance_loc2, DW_CFA_advance_loc4, DW_CFA_offset_extended,
	DW_CFA_restore_extended, DW_CFA_undefined, DW_CFA_same_value,
	DW_CFA_register, DW_CFA_remember_state, DW_CFA_restore_state,
	DW_CFA_def_cfa, DW_CFA_def_cfa_register, DW_CFA_def_cfa_offset,
	DW_CFA_def_cfa_expression, DW_CFA_expression, DW_CFA_offset_extended_sf,
	DW_CFA_def_cfa_sf, DW_CFA_def_cfa_offset_sf, DW_CFA_val_offset,
	DW_CFA_val_offset_sf, DW_CFA_val_expression,
	DW_CFA_GNU_args_size = 0x2e,

	DW_OP_deref = 0x06, DW_OP_const1u = 0x08, DW_OP_const1s,
	DW_OP_const2u, DW_OP_const2s, DW_OP_const4u, DW_OP_const4s,
	DW_OP_constu = 0x10, DW_OP_consts, DW_OP_dup,
	DW_OP_and = 0x1a, DW_OP_minus = 0x1c, DW_OP_plus = 0x22,
	DW_OP_plus_uconst, DW_OP_shl, DW_OP_ge = 0x2a,
	DW_OP_lit0 = 0x30, DW_OP_breg0 = 0x70,
};

struct object {
	unsigned long start, end;	/* its text */
	const unsigned char *hdr;	/* .eh_frame_hdr */
};
static struct object objects[OBJECTS];
static unsigned int nobjects;

static int add_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	unsigned long shim = (unsigned long)shim_method_ret;
	unsigned int *seen = arg, i;
	struct object o = { .start = ~0UL };
	const Elf64_Phdr *ph;
	unsigned long start;

	(void)size;
	for (i = 0; i < info->dlpi_phnum; i++) {
		ph = &info->dlpi_phdr[i];
		start = info->dlpi_addr + ph->p_vaddr;
		if (ph->p_type == PT_GNU_EH_FRAME)
			o.hdr = (const unsigned char *)start;
		if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_X))
			continue;
		if (start < o.start)
			o.start = start;
		if (start + ph->p_memsz > o.end)
			o.end = start + ph->p_memsz;
	}
	/* The first is the program. */
	if (!(*seen)++ || (shim >= o.start && shim < o.end))
		objects[nobjects++] = o;
	return nobjects == OBJECTS;
}

void unwind_init(void)
{
	unsigned int seen = 0;

	nobjects = 0;
	dl_iterate_phdr(add_object, &seen);
}

/* Reading of frame information, which the linker made and is believed. */

static unsigned long uleb(const unsigned char **p)
{
	unsigned long v = 0;
	unsigned int shift = 0;

	do {
		if (shift < 64)
			v |= (unsigned long)(**p & 0x7f) << shift;
		shift += 7;
	} while (*(*p)++ & 0x80);
	return v;
}

static long sleb(const unsigned char **p)
{
	unsigned long v = 0;
	unsigned int shift = 0;
	unsigned char c;

	do {
		c = *(*p)++;
		if (shift < 64)
			v |= (unsigned long)(c & 0x7f) << shift;
		shift += 7;
	} while (c & 0x80);
	if (shift < 64 && (c & 0x40))
		v |= ~0UL << shift;
	return v;
}

static unsigned long fixed(const unsigned char **p, unsigned int len, bool sign)
{
	unsigned long v = 0;

	memcpy(&v, *p, len);
	*p += len;
	if (sign && len < 8 && v >> (8 * len - 1))
		v |= ~0UL << 8 * len;
	return v;
}

/* An encoded pointer; only what is in use on this architecture. */
static bool encoded(const unsigned char **p, unsigned int enc,
		    const unsigned char *data, unsigned long *val)
{
	unsigned long base = 0;

	if ((enc & 0x70) == DW_EH_PE_pcrel)
		base = (unsigned long)*p;
	else if ((enc & 0x70) == DW_EH_PE_datarel)
		base = (unsigned long)data;
	else if (enc & 0x70)
		return false;
	if (enc & DW_EH_PE_indirect)
		return false;
	switch (enc & 0x0f) {
	case DW_EH_PE_absptr:
	case DW_EH_PE_udata8:
	case DW_EH_PE_sdata8:
		*val = base + fixed(p, 8, false);
		return true;
	case DW_EH_PE_udata4:
		*val = base + fixed(p, 4, false);
		return true;
	case DW_EH_PE_sdata4:
		*val = base + fixed(p, 4, true);
		return true;
	}
	return false;
}

/* The frame description of @ip's function, by the sorted table. */
static const unsigned char *find_fde(unsigned long ip)
{
	struct entry {
		int ip, fde;
	} __attribute__((packed, may_alias));
	const struct object *o = NULL;
	const unsigned char *p, *hdr;
	const struct entry *table;
	unsigned long n, lo, hi, mid;
	unsigned int i;

	for (i = 0; i < nobjects; i++)
		if (ip >= objects[i].start && ip < objects[i].end)
			o = &objects[i];
	if (!o || !o->hdr)
		return NULL;
	hdr = o->hdr;
	if (hdr[0] != 1 || hdr[3] != (DW_EH_PE_datarel | DW_EH_PE_sdata4))
		return NULL;
	p = hdr + 4;
	if (!encoded(&p, hdr[1], hdr, &n) || !encoded(&p, hdr[2], hdr, &n) || !n)
		return NULL;
	table = (const struct entry *)p;
	for (lo = 0, hi = n; hi - lo > 1;) {
		mid = (lo + hi) / 2;
		if ((unsigned long)hdr + table[mid].ip <= ip)
			lo = mid;
		else
			hi = mid;
	}
	return hdr + table[lo].fde;
}

/* How to find a caller's registers. */
enum rule { SAME, UNDEFINED, OFFSET, VAL_OFFSET, REGISTER, EXPRESSION, VAL_EXPRESSION };

struct row {
	unsigned char rule[NREGS];
	long val[NREGS];		/* offset, register, or address of expression */
	unsigned int cfa_reg;
	long cfa_off;
	const unsigned char *cfa_expr;
};

struct cie {
	unsigned long code_align;
	long data_align;
	const unsigned char *insns, *end;
	unsigned int fde_enc;
	bool aug;
};

static bool read_cie(const unsigned char *p, struct cie *cie)
{
	unsigned int version, per_enc, len;
	const unsigned char *aug, *data;
	unsigned long skip;

	memset(cie, 0, sizeof(*cie));
	len = fixed(&p, 4, false);
	if (len == 0xffffffff)
		return false;
	cie->end = p + len;
	p += 4;
	version = *p++;
	if (version != 1 && version != 3)
		return false;
	aug = p;
	p += strlen((const char *)p) + 1;
	cie->code_align = uleb(&p);
	cie->data_align = sleb(&p);
	if ((version == 1 ? *p++ : uleb(&p)) != REGS_IP)
		return false;
	if (*aug == 'z') {
		cie->aug = true;
		len = uleb(&p);
		data = p;
		p += len;
		while (*++aug) {
			if (*aug == 'R') {
				cie->fde_enc = *data++;
			} else if (*aug == 'L') {
				data++;
			} else if (*aug == 'P') {
				per_enc = *data++ & ~DW_EH_PE_indirect;
				if (!encoded(&data, per_enc, NULL, &skip))
					return false;
			} else {
				return false;	/* 'S': signal frames are libc's */
			}
		}
	} else if (*aug) {
		return false;
	}
	cie->insns = p;
	return true;
}

static bool set_rule(struct row *row, unsigned long reg, enum rule rule, long val)
{
	if (reg < NREGS) {
		row->rule[reg] = rule;
		row->val[reg] = val;
	}
	return true;	/* vector registers are never saved */
}

static bool set_block(struct row *row, unsigned long reg, enum rule rule,
		      const unsigned char **p)
{
	unsigned long len;

	set_rule(row, reg, rule, (long)*p);
	len = uleb(p);
	*p += len;
	return true;
}

/* Run instructions until they are beyond @ip, as @row. @first: of the CIE. */
static bool run_cfa(const struct cie *cie, const unsigned char *p,
		    const unsigned char *end, unsigned long loc, unsigned long ip,
		    const struct row *first, struct row *row)
{
	struct row stack[REMEMBER_MAX];
	unsigned int depth = 0;
	unsigned long reg;
	unsigned char op;

	while (p < end && loc <= ip) {
		op = *p++;
		switch (op & 0xc0) {
		case DW_CFA_advance_loc:
			loc += (op & 0x3f) * cie->code_align;
			continue;
		case DW_CFA_offset:
			set_rule(row, op & 0x3f, OFFSET, uleb(&p) * cie->data_align);
			continue;
		case DW_CFA_restore:
			reg = op & 0x3f;
			goto restore;
		}
		switch (op) {
		case DW_CFA_nop:
			break;
		case DW_CFA_advance_loc1:
			loc += fixed(&p, 1, false) * cie->code_align;
			break;
		case DW_CFA_advance_loc2:
			loc += fixed(&p, 2, false) * cie->code_align;
			break;
		case DW_CFA_advance_loc4:
			loc += fixed(&p, 4, false) * cie->code_align;
			break;
		case DW_CFA_offset_extended:
			reg = uleb(&p);
			set_rule(row, reg, OFFSET, uleb(&p) * cie->data_align);
			break;
		case DW_CFA_offset_extended_sf:
			reg = uleb(&p);
			set_rule(row, reg, OFFSET, sleb(&p) * cie->data_align);
			break;
		case DW_CFA_val_offset:
			reg = uleb(&p);
			set_rule(row, reg, VAL_OFFSET, uleb(&p) * cie->data_align);
			break;
		case DW_CFA_val_offset_sf:
			reg = uleb(&p);
			set_rule(row, reg, VAL_OFFSET, sleb(&p) * cie->data_align);
			break;
		case DW_CFA_restore_extended:
			reg = uleb(&p);
			goto restore;
		case DW_CFA_undefined:
			set_rule(row, uleb(&p), UNDEFINED, 0);
			break;
		case DW_CFA_same_value:
			set_rule(row, uleb(&p), SAME, 0);
			break;
		case DW_CFA_register:
			reg = uleb(&p);
			set_rule(row, reg, REGISTER, uleb(&p));
			break;
		case DW_CFA_remember_state:
			if (depth == REMEMBER_MAX)
				return false;
			stack[depth++] = *row;
			break;
		case DW_CFA_restore_state:
			if (!depth)
				return false;
			*row = stack[--depth];
			break;
		case DW_CFA_def_cfa:
			row->cfa_reg = uleb(&p);
			row->cfa_off = uleb(&p);
			row->cfa_expr = NULL;
			break;
		case DW_CFA_def_cfa_sf:
			row->cfa_reg = uleb(&p);
			row->cfa_off = sleb(&p) * cie->data_align;
			row->cfa_expr = NULL;
			break;
		case DW_CFA_def_cfa_register:
			row->cfa_reg = uleb(&p);
			row->cfa_expr = NULL;
			break;
		case DW_CFA_def_cfa_offset:
			row->cfa_off = uleb(&p);
			break;
		case DW_CFA_def_cfa_offset_sf:
			row->cfa_off = sleb(&p) * cie->data_align;
			break;
		case DW_CFA_def_cfa_expression:
			row->cfa_expr = p;
			reg = uleb(&p);
			p += reg;
			break;
		case DW_CFA_expression:
			set_block(row, uleb(&p), EXPRESSION, &p);
			break;
		case DW_CFA_val_expression:
			set_block(row, uleb(&p), VAL_EXPRESSION, &p);
			break;
		case DW_CFA_GNU_args_size:
			uleb(&p);
			break;
		default:
			return false;
		}
		continue;
restore:
		if (!first)
			return false;
		if (reg < NREGS)
			set_rule(row, reg, first->rule[reg], first->val[reg]);
	}
	return true;
}

static bool find_row(unsigned long ip, struct row *row)
{
	const unsigned char *fde = find_fde(ip), *p = fde, *end;
	unsigned long begin, size, len;
	struct row first;
	struct cie cie;

	if (!fde)
		return false;
	len = fixed(&p, 4, false);
	if (!len || len == 0xffffffff)
		return false;
	end = p + len;
	len = fixed(&p, 4, false);
	if (!len || !read_cie(p - 4 - len, &cie))
		return false;
	if (!encoded(&p, cie.fde_enc, NULL, &begin) ||
	    !encoded(&p, cie.fde_enc & 0x0f, NULL, &size))
		return false;
	if (ip < begin || ip - begin >= size)
		return false;
	if (cie.aug) {
		len = uleb(&p);
		p += len;
	}
	memset(&first, 0, sizeof(first));
	if (!run_cfa(&cie, cie.insns, cie.end, 0, 0, NULL, &first))
		return false;
	*row = first;
	return run_cfa(&cie, p, end, begin, ip, &first, row);
}

/* Reading of the thread's state, which is not believed. */

static bool load(const struct unwind *u, unsigned long addr, unsigned long *val)
{
	if ((addr & 7) || addr < u->low || addr >= u->high)
		return false;
	*val = *(const unsigned long *)addr;
	return true;
}

static bool evaluate(const struct unwind *u, const unsigned char *p, bool push_cfa,
		     unsigned long cfa, unsigned long *val)
{
	unsigned long stack[EXPR_STACK];
	const unsigned char *end;
	unsigned long len;
	unsigned int n = 0;
	unsigned char op;

	len = uleb(&p);
	end = p + len;
	if (push_cfa)
		stack[n++] = cfa;
	while (p < end) {
		op = *p++;
		if (n >= EXPR_STACK - 1)
			return false;
		if (op >= DW_OP_lit0 && op < DW_OP_lit0 + 32) {
			stack[n++] = op - DW_OP_lit0;
			continue;
		}
		if (op >= DW_OP_breg0 && op < DW_OP_breg0 + NREGS) {
			stack[n++] = u->reg[op - DW_OP_breg0] + sleb(&p);
			continue;
		}
		switch (op) {
		case DW_OP_const1u:
		case DW_OP_const2u:
		case DW_OP_const4u:
			stack[n++] = fixed(&p, 1U << (op - DW_OP_const1u) / 2, false);
			continue;
		case DW_OP_const1s:
		case DW_OP_const2s:
		case DW_OP_const4s:
			stack[n++] = fixed(&p, 1U << (op - DW_OP_const1s) / 2, true);
			continue;
		case DW_OP_constu:
			stack[n++] = uleb(&p);
			continue;
		case DW_OP_consts:
			stack[n++] = sleb(&p);
			continue;
		}
		if (!n)
			return false;
		switch (op) {
		case DW_OP_deref:
			if (!load(u, stack[n - 1], &stack[n - 1]))
				return false;
			continue;
		case DW_OP_dup:
			stack[n] = stack[n - 1];
			n++;
			continue;
		case DW_OP_plus_uconst:
			stack[n - 1] += uleb(&p);
			continue;
		}
		if (n < 2)
			return false;
		n--;
		switch (op) {
		case DW_OP_and:
			stack[n - 1] &= stack[n];
			break;
		case DW_OP_minus:
			stack[n - 1] -= stack[n];
			break;
		case DW_OP_plus:
			stack[n - 1] += stack[n];
			break;
		case DW_OP_shl:
			stack[n - 1] = stack[n] < 64 ? stack[n - 1] << stack[n] : 0;
			break;
		case DW_OP_ge:
			stack[n - 1] = (long)stack[n - 1] >= (long)stack[n];
			break;
		default:
			return false;
		}
	}
	if (!n)
		return false;
	*val = stack[n - 1];
	return true;
}

/* To the caller; false: unknown. */
bool unwind_step(struct unwind *u)
{
	unsigned long cfa, addr, reg[NREGS];
	struct row row;
	unsigned int i;

	/* A return address may be behind its function's last instruction. */
	if (!find_row(u->reg[REGS_IP] - u->is_return, &row))
		return false;
	if (row.cfa_expr) {
		if (!evaluate(u, row.cfa_expr, false, 0, &cfa))
			return false;
	} else {
		if (row.cfa_reg >= REGS_IP)
			return false;
		cfa = u->reg[row.cfa_reg] + row.cfa_off;
	}
	/* Stacks grow down, so this ends. */
	if ((cfa & 7) || cfa <= u->reg[REGS_SP] || cfa > u->high)
		return false;
	for (i = 0; i < NREGS; i++) {
		switch (row.rule[i]) {
		case SAME:
			reg[i] = u->reg[i];
			break;
		case UNDEFINED:
			reg[i] = 0;
			break;
		case OFFSET:
			if (!load(u, cfa + row.val[i], &reg[i]))
				return false;
			break;
		case VAL_OFFSET:
			reg[i] = cfa + row.val[i];
			break;
		case REGISTER:
			if (row.val[i] >= NREGS)
				return false;
			reg[i] = u->reg[row.val[i]];
			break;
		case EXPRESSION:
		case VAL_EXPRESSION:
			if (!evaluate(u, (const unsigned char *)row.val[i], true, cfa,
				      &addr))
				return false;
			reg[i] = addr;
			if (row.rule[i] == EXPRESSION && !load(u, addr, &reg[i]))
				return false;
			break;
		}
	}
	/* Without a rule there is no caller; that is for shim_method only. */
	if (row.rule[REGS_IP] == SAME || row.rule[REGS_IP] == UNDEFINED)
		return false;
	memcpy(u->reg, reg, sizeof(reg));
	u->reg[REG_CFA] = cfa;
	u->is_return = true;
	return true;
}
