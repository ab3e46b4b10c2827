// SPDX-License-Identifier: GPL-2.0
/* procletctl show, lprocs, ps, threads: tables. */
#define _GNU_SOURCE
#include <argp.h>
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
static struct table read_table(const char *name)
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
	free(cells);
	free(line);
	free(path);
	return t;
}

static void table_free(struct table *t)
{
	for (size_t i = 0; i < t->rows * t->columns; i++)
		free(t->cells[i]);
	free(t->cells);
}

/* The cell of a row in a column, by its head; NULL: there is no such column. */
static char **cell(const struct table *t, size_t row, const char *head)
{
	for (size_t col = 0; col < t->columns; col++)
		if (!strcmp(t->cells[col], head))
			return &t->cells[row * t->columns + col];
	return NULL;
}

static bool cell_is(const struct table *t, size_t row, const char *head, const char *value)
{
	char **c = cell(t, row, head);

	return c && !strcmp(*c, value);
}

/* Without the rows whose column @head is something else. */
static void keep_rows(struct table *t, const char *head, const char *value)
{
	size_t row, kept = 1, size = t->columns * sizeof(*t->cells);

	for (row = 1; row < t->rows; row++) {
		if (cell_is(t, row, head, value)) {
			memmove(t->cells + kept++ * t->columns, t->cells + row * t->columns,
				size);
			continue;
		}
		for (size_t col = 0; col < t->columns; col++)
			free(t->cells[row * t->columns + col]);
	}
	t->rows = kept;
}

static const struct argp_option show_options[] = {
	{ "lproc", 'l', "NAME", 0, "Only of this logical process", 0 },
	{ }
};

static error_t show_parse(int key, char *arg, struct argp_state *state)
{
	const char **lproc = state->input;

	if (key != 'l')
		return ARGP_ERR_UNKNOWN;
	*lproc = arg;
	return 0;
}

static const struct argp show_argp = {
	.options = show_options,
	.parser = show_parse,
	.doc = "Shows what is on the nodes of this machine; other machines have their own tables.",
};

static enum status show_file(const char *name, const char *file, const char *head,
			     char **argv, void (*edit)(struct table *t))
{
	const char *lproc = NULL;
	struct table t;

	parse_options(&show_argp, name, argv, &lproc);
	t = read_table(file);
	if (lproc)
		keep_rows(&t, head, lproc);
	if (edit)
		edit(&t);
	table_print(&t);
	return STATUS_OK;
}

enum status show_proclets(char **argv)
{
	return show_file("ps", "proclets", "LPROC", argv, NULL);
}

/* What the library gives the root function instead of a method's number. */
#define METHOD_ROOT	"4294967295"

/* Numbers of methods become names, of the members on @node in @lproc. */
static void name_methods_of(struct table *t, const char *node, const char *lproc, int pid)
{
	struct names names;
	unsigned long n;
	size_t row;

	method_names(pid, &names);
	for (row = 1; row < t->rows; row++) {
		char **method = cell(t, row, "METHOD");

		if (!method || !isdigit((unsigned char)**method) ||
		    !cell_is(t, row, "NODE", node) || !cell_is(t, row, "LPROC", lproc))
			continue;
		n = strtoul(*method, NULL, 10);
		if (n >= names.n || !names.names[n])
			continue;
		free(*method);
		*method = must_alloc(strdup(names.names[n]));
	}
	method_names_free(&names);
}

static void name_methods(struct table *t)
{
	struct table lprocs = read_table("lprocs");
	size_t row;

	for (row = 1; row < t->rows; row++) {
		char **method = cell(t, row, "METHOD");

		if (!method || strcmp(*method, METHOD_ROOT))
			continue;
		free(*method);
		*method = must_alloc(strdup("(root)"));
	}
	for (row = 1; row < lprocs.rows; row++) {
		char **node = cell(&lprocs, row, "NODE"), **name = cell(&lprocs, row, "NAME");
		char **pid = cell(&lprocs, row, "PID");

		if (node && name && pid && atoi(*pid) > 0)
			name_methods_of(t, *node, *name, atoi(*pid));
	}
	table_free(&lprocs);
}

enum status show_threads(char **argv)
{
	return show_file("threads", "threads", "LPROC", argv, name_methods);
}

enum status show_lprocs(char **argv)
{
	return show_file("lprocs", "lprocs", "NAME", argv, NULL);
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
