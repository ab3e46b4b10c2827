// SPDX-License-Identifier: GPL-2.0
/*
 * Names of methods: the kernel knows numbers, the program has a table of
 * functions, and its file their names.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../libshim/elf_symbol.h"
#include "procletctl.h"

#define SECTION		"proclet_methods"
#define NAMES_MAX	65536

static int open_proc(int pid, const char *name)
{
	char *path = format("/proc/%d/%s", pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	free(path);
	return fd;
}

/* Where the program's headers are in its memory; 0: not known. */
static uint64_t headers_at(int pid)
{
	int fd = open_proc(pid, "auxv");
	Elf64_auxv_t aux;
	uint64_t at = 0;

	if (fd < 0)
		return 0;
	while (read(fd, &aux, sizeof(aux)) == sizeof(aux))
		if (aux.a_type == AT_PHDR)
			at = aux.a_un.a_val;
	close(fd);
	return at;
}

/* The program's methods, by their addresses in the file. */
static bool find_methods(int exe, const Elf64_Ehdr *eh, Elf64_Shdr *found)
{
	char name[sizeof(SECTION)];
	Elf64_Shdr strings;
	unsigned int i;

	if (!elf_read(exe, &strings, sizeof(strings),
		      eh->e_shoff + eh->e_shstrndx * sizeof(strings)))
		return false;
	for (i = 0; i < eh->e_shnum; i++)
		if (elf_read(exe, found, sizeof(*found), eh->e_shoff + i * sizeof(*found)) &&
		    elf_read(exe, name, sizeof(name), strings.sh_offset + found->sh_name) &&
		    !memcmp(name, SECTION, sizeof(name)))
			return true;
	return false;
}

/* How much higher than in its file the program is in memory. */
static bool find_bias(int exe, const Elf64_Ehdr *eh, int pid, uint64_t *bias)
{
	uint64_t at = headers_at(pid);
	Elf64_Phdr ph;
	unsigned int i;

	for (i = 0; at && i < eh->e_phnum; i++) {
		if (!elf_read(exe, &ph, sizeof(ph), eh->e_phoff + i * sizeof(ph)) ||
		    ph.p_type != PT_PHDR)
			continue;
		*bias = at - ph.p_vaddr;
		return true;
	}
	return false;
}

static void read_methods(int exe, int mem, int pid, struct names *names)
{
	unsigned long off;
	uint64_t bias, fn;
	Elf64_Shdr sh;
	char name[128];
	Elf64_Ehdr eh;
	size_t i, n;

	if (!elf_read(exe, &eh, sizeof(eh), 0) || memcmp(eh.e_ident, ELFMAG, SELFMAG) ||
	    !find_methods(exe, &eh, &sh) || !find_bias(exe, &eh, pid, &bias))
		return;
	n = sh.sh_size / sizeof(fn);
	if (n > NAMES_MAX)
		n = NAMES_MAX;
	names->names = must_alloc(calloc(n + 1, sizeof(*names->names)));
	names->n = n;
	for (i = 0; i < n; i++)
		if (elf_read(mem, &fn, sizeof(fn), bias + sh.sh_addr + i * sizeof(fn)) &&
		    elf_symbol(exe, fn - bias, name, sizeof(name), &off))
			names->names[i] = must_alloc(strdup(name));
}

void method_names(int pid, struct names *names)
{
	int exe = open_proc(pid, "exe"), mem = open_proc(pid, "mem");

	*names = (struct names){ };
	if (exe >= 0 && mem >= 0)
		read_methods(exe, mem, pid, names);
	if (exe >= 0)
		close(exe);
	if (mem >= 0)
		close(mem);
}

void method_names_free(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->names[i]);
	free(names->names);
}
