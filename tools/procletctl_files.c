// SPDX-License-Identifier: GPL-2.0
/* Reading and writing the kernel's files of one value; saying what is missing. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "procletctl.h"

#define NAME_MAX_LEN	63

/* The first line of a file without its end, or NULL with errno. */
char *read_value(const char *dir, const char *name)
{
	char *path = format("%s/%s", dir, name), *line = NULL;
	size_t cap = 0;
	ssize_t len;
	FILE *f = fopen(path, "re");

	free(path);
	if (!f)
		return NULL;
	errno = 0;
	len = getline(&line, &cap, f);
	if (len < 0) {
		if (errno) {
			free(line);
			line = NULL;
		} else {
			line = must_alloc(realloc(line, 1));
			line[0] = '\0';
		}
	} else {
		line[strcspn(line, "\n")] = '\0';
	}
	fclose(f);
	return line;
}

/* A value that only a race with removal can take away; then it is "?". */
char *show_value(const char *dir, const char *name)
{
	char *value = read_value(dir, name);

	return value ?: must_alloc(strdup("?"));
}

unsigned long long read_number(const char *dir, const char *name)
{
	char *value = read_value(dir, name);
	unsigned long long n = value ? strtoull(value, NULL, 10) : 0;

	free(value);
	return n;
}

/* 0 or errno */
int write_value(const char *dir, const char *name, const char *value)
{
	char *path = format("%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	free(path);
	if (fd < 0)
		return errno;
	if (write(fd, value, strlen(value)) < 0)
		err = errno;
	if (close(fd) < 0 && !err)
		err = errno;
	return err;
}

bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

/*
 * Names of the directories in one, sorted; the array ends with NULL. Nodes and
 * peers are named without a leading dot.
 */
char **list_dirs(const char *path)
{
	struct dirent **entries;
	char **names;
	int i, n, out = 0;

	n = scandir(path, &entries, NULL, versionsort);
	if (n < 0)
		n = 0;
	names = must_alloc(calloc(n + 1, sizeof(*names)));
	for (i = 0; i < n; i++) {
		bool dir = entries[i]->d_type == DT_DIR ||
			   entries[i]->d_type == DT_LNK;

		if (dir && entries[i]->d_name[0] != '.')
			names[out++] = must_alloc(strdup(entries[i]->d_name));
		free(entries[i]);
	}
	if (n)
		free(entries);
	return names;
}

void free_names(char **names)
{
	for (char **name = names; *name; name++)
		free(*name);
	free(names);
}

void need_module(void)
{
	if (exists(CLASS))
		return;
	die(STATUS_NOMODULE,
	    "proclet.ko is not loaded: %s is missing; run 'modprobe proclet'",
	    exists("/sys/kernel") ? CLASS : "/sys (sysfs)");
}

void need_config(void)
{
	if (exists(CONFIG))
		return;
	if (!exists("/sys/module/proclet") && !exists(CLASS))
		die(STATUS_NOMODULE,
		    "proclet.ko is not loaded: %s is missing; run 'modprobe proclet'",
		    CONFIG);
	if (mount("configfs", CONFIGFS, "configfs",
		  MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0 && exists(CONFIG))
		return;
	die(STATUS_NOMODULE,
	    "configfs is not mounted: %s is missing; run 'mount -t configfs none %s' as root",
	    CONFIG, CONFIGFS);
}

void check_name(const char *what, const char *name)
{
	const char *c = name;

	if (strlen(name) > NAME_MAX_LEN)
		die(STATUS_USAGE, "%s %s: a name has at most %d characters",
		    what, name, NAME_MAX_LEN);
	while (*c && strchr("-_.", *c) ? c > name : isalnum((unsigned char)*c))
		c++;
	if (*c || c == name)
		die(STATUS_USAGE,
		    "%s '%s': a name has letters, digits, and after the first also . _ -",
		    what, name);
}

char *need_node(const char *name)
{
	char *dir;

	check_name("node", name);
	need_config();
	dir = format("%s/%s", CONFIG, name);
	if (!exists(dir))
		die(STATUS_FAILED,
		    "node %s: no such node; create it with 'procletctl node add %s ...'",
		    name, name);
	return dir;
}

bool node_enabled(const char *dir)
{
	return read_number(dir, "enable") != 0;
}

void need_enabled(const char *dir, const char *name)
{
	if (!node_enabled(dir))
		die(STATUS_FAILED,
		    "node %s is not enabled; run 'procletctl node enable %s'",
		    name, name);
}

/* What to do about an error, for the end of a message. */
const char *advice(int err)
{
	switch (err) {
	case EACCES:
	case EPERM:
		return "; run it as root";
	case EINVAL:
	case EEXIST:
	case ENOKEY:
	case EKEYEXPIRED:
	case EKEYREVOKED:
	case E2BIG:
		return "; the kernel's log (dmesg) says why";
	default:
		return "";
	}
}
