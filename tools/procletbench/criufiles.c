// SPDX-License-Identifier: GPL-2.0-or-later
/* Directories with CRIU's images and logs. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "criu.h"

int criu_make_dir(char dir[CRIU_DIR])
{
	strcpy(dir, "/tmp/procletbench.criu.XXXXXX");
	if (mkdtemp(dir))
		return 0;
	*dir = 0;
	return -errno;
}

void criu_remove_dir(const char *dir)
{
	char path[CRIU_DIR + 256];
	struct dirent *e;
	DIR *d;

	d = *dir ? opendir(dir) : NULL;
	if (!d)
		return;
	while ((e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (*e->d_name != '.')
			unlink(path);
	}
	closedir(d);
	rmdir(dir);
}

void criu_complain(const char *what, const char *dir, const char *log)
{
	char path[CRIU_DIR + 64], line[256], last[256] = "it says nothing";
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, log);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (!strstr(line, "Error"))
			continue;
		line[strcspn(line, "\n")] = 0;
		strcpy(last, line);
	}
	if (f)
		fclose(f);
	complain("criu %s: %s", what, last);
}
