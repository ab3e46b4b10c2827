// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Names of the program's functions, also of static ones, for messages. Read from
 * the program's file when they are needed, with nothing but system calls: also
 * in the handler of a fatal signal.
 */
#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "internal.h"

#define CHUNK	64

/* What the addresses in the file must be increased by. */
static unsigned long bias;

void symbol_init(void)
{
	const Elf64_Phdr *ph = (const Elf64_Phdr *)getauxval(AT_PHDR);
	unsigned long i, n = getauxval(AT_PHNUM);

	for (i = 0; ph && i < n; i++)
		if (ph[i].p_type == PT_PHDR)
			bias = (unsigned long)ph - ph[i].p_vaddr;
}

static bool read_at(int fd, void *buf, size_t len, unsigned long off)
{
	return pread(fd, buf, len, off) == (ssize_t)len;
}

/* The section of this type; false: there is none. */
static bool find_section(int fd, const Elf64_Ehdr *eh, unsigned int type, Elf64_Shdr *sh)
{
	unsigned int i;

	for (i = 0; i < eh->e_shnum; i++)
		if (read_at(fd, sh, sizeof(*sh), eh->e_shoff + i * sizeof(*sh)) &&
		    sh->sh_type == type)
			return true;
	return false;
}

/* The function that has @addr. */
static bool find_symbol(int fd, const Elf64_Shdr *tab, unsigned long addr, Elf64_Sym *found)
{
	unsigned long i, k, n = tab->sh_size / sizeof(*found), some;
	Elf64_Sym sym[CHUNK];

	for (i = 0; i < n; i += some) {
		some = n - i < CHUNK ? n - i : CHUNK;
		if (!read_at(fd, sym, some * sizeof(*sym), tab->sh_offset + i * sizeof(*sym)))
			return false;
		for (k = 0; k < some; k++) {
			if (ELF64_ST_TYPE(sym[k].st_info) != STT_FUNC || !sym[k].st_shndx ||
			    addr < sym[k].st_value ||
			    addr - sym[k].st_value >= sym[k].st_size)
				continue;
			*found = sym[k];
			return true;
		}
	}
	return false;
}

static bool find_name(int fd, unsigned long addr, char *name, size_t size, unsigned long *off)
{
	static const unsigned int types[] = { SHT_SYMTAB, SHT_DYNSYM };
	Elf64_Shdr tab, strings;
	Elf64_Sym sym;
	Elf64_Ehdr eh;
	ssize_t n;
	size_t i;

	if (!read_at(fd, &eh, sizeof(eh), 0) || memcmp(eh.e_ident, ELFMAG, SELFMAG) ||
	    eh.e_shentsize != sizeof(Elf64_Shdr))
		return false;
	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (!find_section(fd, &eh, types[i], &tab) ||
		    !find_symbol(fd, &tab, addr, &sym) ||
		    !read_at(fd, &strings, sizeof(strings),
			     eh.e_shoff + tab.sh_link * sizeof(strings)))
			continue;
		n = pread(fd, name, size - 1, strings.sh_offset + sym.st_name);
		if (n <= 0)
			continue;
		name[n] = 0;
		*off = addr - sym.st_value;
		return *name;
	}
	return false;
}

/*
 * The function of the program that has @addr, and how far it is from its start.
 * A name that is too long is cut. False: not known.
 */
bool symbol_name(unsigned long addr, char *name, size_t size, unsigned long *off)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	bool found;

	if (fd < 0)
		return false;
	found = find_name(fd, addr - bias, name, size, off);
	close(fd);
	return found;
}
