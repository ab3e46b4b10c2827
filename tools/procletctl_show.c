// SPDX-License-Identifier: GPL-2.0
/* procletctl show, lprocs, ps, threads: tables. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "procletctl.h"

static void upper(char *s)
{
	for (; *s; s++)
		*s = toupper((unsigned char)*s);
}

/* A table of the kernel's: columns separated by spaces, the first line names. */
static enum status show_file(const char *name)
{
	char *path = format("%s/%s", TABLES, name), *line = NULL;
	struct table t = { };
	char **cells = NULL;
	size_t cap = 0, col;
	FILE *f;

	need_module();
	f = fopen(path, "re");
	if (!f)
		die(STATUS_FAILED, "%s: %m%s", path, advice(errno));
	while (getline(&line, &cap, f) >= 0) {
		char *save, *word;

		if (!t.columns)
			upper(line);
		word = strtok_r(line, " \t\n", &save);
		for (col = 0; word; word = strtok_r(NULL, " \t\n", &save)) {
			if (t.columns && col == t.columns)
				break;
			if (!t.columns)
				cells = must_alloc(realloc(cells, (col + 1) *
							   sizeof(*cells)));
			cells[col++] = must_alloc(strdup(word));
		}
		if (!t.columns)
			t.columns = col;
		while (col < t.columns)
			cells[col++] = must_alloc(strdup("-"));
		if (t.columns)
			table_row(&t, cells);
	}
	if (ferror(f))
		die(STATUS_FAILED, "%s: %m", path);
	fclose(f);
	table_print(&t);
	free(cells);
	free(line);
	free(path);
	return STATUS_OK;
}

enum status show_proclets(char **argv)
{
	(void)argv;
	return show_file("proclets");
}

enum status show_threads(char **argv)
{
	(void)argv;
	return show_file("threads");
}

enum status show_lprocs(char **argv)
{
	(void)argv;
	return show_file("lprocs");
}

static char *bytes(unsigned long long n)
{
	static const char units[] = "KMGTP";
	double d = n;
	int u = -1;

	while (d >= 1024 && u + 1 < (int)strlen(units)) {
		d /= 1024;
		u++;
	}
	if (u < 0)
		return format("%llu", n);
	return format("%.*f%c", d < 10 ? 1 : 0, d, units[u]);
}

static char *address(const char *dir)
{
	char *addr = read_value(dir, "addr"), *s;

	if (!addr || !*addr)
		s = must_alloc(strdup("-"));
	else
		s = format(strchr(addr, ':') ? "[%s]:%s" : "%s:%s", addr,
			   show_value(dir, "port"));
	free(addr);
	return s;
}

static char *words(const char *s)
{
	return must_alloc(strdup(s));
}

static void show_nodes(char **nodes)
{
	struct table t = { .columns = 9 };

	table_row(&t, (char *[]){ words("NODE"), words("ID"),
				  words("TRANSPORT"), words("ADDRESS"),
				  words("STATE"), words("MEMBERS"),
				  words("PROCLETS"), words("RESERVED"),
				  words("BUDGET") });
	for (; *nodes; nodes++) {
		char *config = format("%s/%s", CONFIG, *nodes);
		char *class = format("%s/%s", CLASS, *nodes);

		table_row(&t, (char *[]){
			words(*nodes), show_value(config, "id"),
			show_value(config, "transport"), address(config),
			words(node_enabled(config) ? "enabled" : "disabled"),
			show_value(class, "members"),
			show_value(class, "proclets"),
			bytes(read_number(class, "reserved")),
			bytes(read_number(class, "budget")) });
		free(class);
		free(config);
	}
	table_print(&t);
}

static void show_peers(char **nodes)
{
	struct table t = { .columns = 5 };

	table_row(&t, (char *[]){ words("NODE"), words("PEER"), words("ID"),
				  words("ADDRESS"), words("STATUS") });
	for (; *nodes; nodes++) {
		char *peers_dir = format("%s/%s/peers", CONFIG, *nodes);
		char **peers = list_dirs(peers_dir), **peer;

		for (peer = peers; *peer; peer++) {
			char *dir = format("%s/%s", peers_dir, *peer);

			table_row(&t, (char *[]){ words(*nodes), words(*peer),
						  show_value(dir, "id"),
						  address(dir),
						  show_value(dir, "status") });
			free(dir);
		}
		free_names(peers);
		free(peers_dir);
	}
	if (t.rows > 1)
		putchar('\n');
	else
		t.rows = 0;
	table_print(&t);
}

enum status show_config(char **argv)
{
	char **nodes;

	(void)argv;
	need_config();
	nodes = list_dirs(CONFIG);
	if (!*nodes) {
		complain("no nodes; create one with 'procletctl node add NAME id=N transport=...'");
	} else {
		show_nodes(nodes);
		show_peers(nodes);
	}
	free_names(nodes);
	return STATUS_OK;
}
