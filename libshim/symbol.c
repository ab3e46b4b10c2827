// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Names of the program's functions, also of static ones, for messages. Read from
 * the program's file when they are needed, with nothing but system calls: also
 * in the handler of a fatal signal.
 */
#include <fcntl.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "elf_symbol.h"
#include "internal.h"

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

/* As elf_symbol(), with an address in memory. */
bool symbol_name(unsigned long addr, char *name, size_t size, unsigned long *off)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	bool found;

	if (fd < 0)
		return false;
	found = elf_symbol(fd, addr - bias, name, size, off);
	close(fd);
	return found;
}
