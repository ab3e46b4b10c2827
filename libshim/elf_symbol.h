/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions in an ELF file, with nothing but system calls. Also for procletctl. */
#ifndef _ELF_SYMBOL_H
#define _ELF_SYMBOL_H

#include <elf.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define ELF_CHUNK	64

static inline bool elf_read(int fd, void *buf, size_t len, unsigned long off)
{
	return pread(fd, buf, len, off) == (ssize_t)len;
}

/* The section of this type; false: there is none. */
static inline bool elf_section(int fd, const Elf64_Ehdr *eh, unsigned int type, Elf64_Shdr *sh)
{
	unsigned int i;

	for (i = 0; i < eh->e_shnum; i++)
		if (elf_read(fd, sh, sizeof(*sh), eh->e_shoff + i * sizeof(*sh)) &&
		    sh->sh_type == type)
			return true;
	return false;
}

/* The function that has @addr. */
static inline bool elf_function(int fd, const Elf64_Shdr *tab, unsigned long addr,
				Elf64_Sym *found)
{
	unsigned long i, k, n = tab->sh_size / sizeof(*found), some;
	Elf64_Sym sym[ELF_CHUNK];

	for (i = 0; i < n; i += some) {
		some = n - i < ELF_CHUNK ? n - i : ELF_CHUNK;
		if (!elf_read(fd, sym, some * sizeof(*sym), tab->sh_offset + i * sizeof(*sym)))
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

/*
 * The function at @addr of the file, and how far that is from its start. A name
 * that is too long is cut. False: not known.
 */
static inline bool elf_symbol(int fd, unsigned long addr, char *name, size_t size,
			      unsigned long *off)
{
	static const unsigned int types[] = { SHT_SYMTAB, SHT_DYNSYM };
	Elf64_Shdr tab, strings;
	Elf64_Sym sym;
	Elf64_Ehdr eh;
	ssize_t n;
	size_t i;

	if (!elf_read(fd, &eh, sizeof(eh), 0) || memcmp(eh.e_ident, ELFMAG, SELFMAG) ||
	    eh.e_shentsize != sizeof(Elf64_Shdr))
		return false;
	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (!elf_section(fd, &eh, types[i], &tab) ||
		    !elf_function(fd, &tab, addr, &sym) ||
		    !elf_read(fd, &strings, sizeof(strings),
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

#endif /* _ELF_SYMBOL_H */
