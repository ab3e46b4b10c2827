// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Whose code is an address. Migratable is the program's own text, and the
 * parts of libshim that run in a proclet (section shim_heap). All else is
 * native: libshim (section shim_native), shared libraries, the vDSO. A thread
 * is not parked in native code, nor with native code beneath it on its stack.
 */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define EXE_RANGES	8
#define RED_ZONE	128
#define LOOKUPS_MAX	64

struct range {
	unsigned long start, end;
};

/*
 * Of this library's code; the linker makes them from the sections' names. A
 * program that is linked statically and allocates nothing has no shim_heap.
 */
#pragma GCC visibility push(hidden)
extern const char __start_shim_native[], __stop_shim_native[];
extern const char __start_shim_heap[] __attribute__((weak));
extern const char __stop_shim_heap[] __attribute__((weak));
#pragma GCC visibility pop

static struct range exe[EXE_RANGES];
static unsigned int nexe;

/* The program, and this library if that is not part of it: neither is ever unloaded. */
static struct range own[2];

static bool in(unsigned long ip, const char *start, const char *end)
{
	return ip >= (unsigned long)start && ip < (unsigned long)end;
}

static const struct range *exe_range(unsigned long ip)
{
	unsigned int i;

	for (i = 0; i < nexe; i++)
		if (ip >= exe[i].start && ip < exe[i].end)
			return &exe[i];
	return NULL;
}

bool text_migratable(unsigned long ip)
{
	if (in(ip, __start_shim_heap, __stop_shim_heap))
		return true;
	/* Linked statically, libshim lies in the program's text. */
	return exe_range(ip) && !in(ip, __start_shim_native, __stop_shim_native);
}

/*
 * Before the jump of "push GOT[1]; jmp *GOT[2]", by which the PLT calls the
 * dynamic linker, an address of the dynamic linker's is on the stack.
 */
static bool in_plt0(unsigned long ip)
{
	const struct range *r = exe_range(ip);
	const unsigned char *insn = (const unsigned char *)ip;
	int push, jmp;

	if (!r || ip - r->start < 6 || r->end - ip < 7)
		return false;
	if (insn[-6] != 0xff || insn[-5] != 0x35)
		return false;
	memcpy(&push, insn - 4, sizeof(push));
	if (*insn == 0xf2)
		insn++;
	if (insn[0] != 0xff || insn[1] != 0x25)
		return false;
	memcpy(&jmp, insn + 2, sizeof(jmp));
	return ip + push + 8 == (unsigned long)insn + 6 + jmp;
}

/* May a thread be stopped at this instruction? */
bool text_parkable(unsigned long ip)
{
	return text_migratable(ip) && !in_plt0(ip);
}

/*
 * Refuses to guess: without build ids different programs would look alike, and
 * in a statically linked one libc is part of its text.
 */
static int read_note(const struct dl_phdr_info *info, const Elf64_Phdr *ph,
		     struct proclet_ident *ident)
{
	const char *p = (const char *)info->dlpi_addr + ph->p_vaddr;
	const char *end = p + ph->p_memsz;
	size_t align = ph->p_align == 8 ? 8 : 4;
	const Elf64_Nhdr *note;
	const char *desc;

	while ((size_t)(end - p) >= sizeof(*note)) {
		note = (const Elf64_Nhdr *)p;
		p += sizeof(*note);
		desc = p + ((note->n_namesz + align - 1) & -align);
		if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
		    !memcmp(p, ELF_NOTE_GNU, 4) && note->n_descsz &&
		    note->n_descsz <= sizeof(ident->build_id)) {
			memcpy(ident->build_id, desc, note->n_descsz);
			ident->build_id_len = note->n_descsz;
			return 1;
		}
		p = desc + ((note->n_descsz + align - 1) & -align);
		if (p > end)
			break;
	}
	return 0;
}

struct exe_info {
	struct proclet_ident *ident;
	bool interp;
};

/* The program is the first object. */
static int read_exe(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct exe_info *e = arg;
	const Elf64_Phdr *ph;
	unsigned int i;

	(void)size;
	for (i = 0; i < info->dlpi_phnum; i++) {
		ph = &info->dlpi_phdr[i];
		if (ph->p_type == PT_INTERP)
			e->interp = true;
		else if (ph->p_type == PT_NOTE && !e->ident->build_id_len)
			read_note(info, ph, e->ident);
		if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_X))
			continue;
		if (nexe == EXE_RANGES)
			return -E2BIG;
		exe[nexe].start = info->dlpi_addr + ph->p_vaddr;
		exe[nexe].end = exe[nexe].start + ph->p_memsz;
		nexe++;
	}
	return 1;
}

static void own_init(void)
{
	const void *at[] = { (void *)exe[0].start, __start_shim_native };
	struct dl_find_object found;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		if (_dl_find_object((void *)at[i], &found))
			continue;
		own[i].start = (unsigned long)found.dlfo_map_start;
		own[i].end = (unsigned long)found.dlfo_map_end;
	}
}

/*
 * Could this word be a return address into native code? Data of other libraries is
 * taken for that as well. The C library's table of what is loaded, which knows of
 * dlopen() at once, is read without a lock, but is not so fast that it could be asked
 * for all words of a long stack: @lookups are left.
 */
static bool suspicious(unsigned long w, unsigned int *lookups)
{
	struct dl_find_object found;
	unsigned int i;

	if (w - PROCLET_REGION_BASE < PROCLET_REGION_SIZE || w < 65536 || w >> 47)
		return false;
	if (in(w, __start_shim_native, __stop_shim_native))
		return true;
	for (i = 0; i < 2; i++)
		if (w >= own[i].start && w < own[i].end)
			return false;
	/* Too much is safe: it only costs unwinding. */
	if (!*lookups)
		return true;
	--*lookups;
	return !_dl_find_object((void *)w, &found);
}

/*
 * Address of the last word on the stack that could be a return address into
 * native code, 0: there is none.
 */
static unsigned long last_suspicious(unsigned long sp, unsigned long end)
{
	unsigned int lookups = LOOKUPS_MAX;
	unsigned long at = end;

	while (at > sp) {
		at -= sizeof(long);
		if (suspicious(*(unsigned long *)at, &lookups))
			return at;
	}
	return 0;
}

/*
 * Is native code beneath the program's innermost frame on the stack of @tcb?
 * Mostly no word there looks like it. Otherwise the frames tell, since the word
 * may be a remnant. Where they do not tell, it counts as native.
 */
bool text_native_on_stack(struct proclet_tcb *tcb, struct unwind *u)
{
	bool inside = text_migratable(u->reg[REGS_IP]);
	unsigned long sp = u->reg[REGS_SP], last;

	/* without the return address into shim_method */
	u->high = (unsigned long)tcb + SEG_TOP - sizeof(long);
	if (sp & 7)
		return true;
	last = last_suspicious(sp, u->high);
	/* Before "ret", saved registers are below the stack pointer. */
	u->low = sp - RED_ZONE;
	u->high += sizeof(long);
	while (u->reg[REGS_SP] <= last) {
		if (!unwind_step(u))
			return true;
		if (u->reg[REGS_IP] == (unsigned long)shim_method_ret)
			return false;
		if (text_migratable(u->reg[REGS_IP]))
			inside = true;
		else if (inside)
			return true;
	}
	return false;
}

static unsigned long long xfeatures(void)
{
	unsigned int eax = 1, ebx, ecx = 0, edx;

	__asm__("cpuid" : "+a" (eax), "=b" (ebx), "+c" (ecx), "=d" (edx));
	if (!(ecx & (1U << 27)))	/* OSXSAVE */
		return 3;		/* x87, SSE */
	__asm__("xgetbv" : "=a" (eax), "=d" (edx) : "c" (0));
	return (unsigned long long)edx << 32 | eax;
}

int text_init(struct proclet_ident *ident)
{
	struct exe_info e = { .ident = ident };
	unsigned int i;

	nexe = 0;
	if (dl_iterate_phdr(read_exe, &e) != 1 || !nexe) {
		shim_error("cannot find the program's text");
		return -ENOEXEC;
	}
	if (!e.interp) {
		shim_error("the program is linked statically: only libshim may be");
		return -ENOEXEC;
	}
	if (!ident->build_id_len) {
		shim_error("the program has no build id (link it with -Wl,--build-id)");
		return -ENOEXEC;
	}
	ident->page_size = sysconf(_SC_PAGESIZE);
	ident->text[0] = exe[0].start;
	ident->text[1] = exe[0].end;
	for (i = 1; i < nexe; i++) {
		if (exe[i].start < ident->text[0])
			ident->text[0] = exe[i].start;
		if (exe[i].end > ident->text[1])
			ident->text[1] = exe[i].end;
	}
	ident->shim[0] = (unsigned long)__start_shim_native;
	ident->shim[1] = (unsigned long)__stop_shim_native;
	ident->xfeatures = xfeatures();

	own_init();
	unwind_init();
	return 0;
}
