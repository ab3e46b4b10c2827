/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of procletctl share. */
#ifndef _PROCLETCTL_H
#define _PROCLETCTL_H

#include <stdbool.h>
#include <stddef.h>

#define __printf(fmt, args)	__attribute__((format(printf, fmt, args)))
#define __noreturn		__attribute__((noreturn))

enum status {
	STATUS_OK	= 0,
	STATUS_FAILED	= 1,	/* the operation failed */
	STATUS_USAGE	= 2,	/* wrong arguments */
	STATUS_NOMODULE	= 3,	/* proclet.ko is not loaded, or no configfs or tracefs */
	STATUS_TIMEOUT	= 4,	/* wait: not all peers came up */
	STATUS_NOEXEC	= 126,	/* run: the program cannot be executed */
	STATUS_NOPROG	= 127,	/* run: there is no such program */
};

#define CONFIGFS	"/sys/kernel/config"
#define CONFIG		CONFIGFS "/proclet"
#define CLASS		"/sys/class/proclet"
#define TABLES		"/proc/proclet"

/* procletctl_output.c: messages on stderr, one line each. */
void complain(const char *fmt, ...) __printf(1, 2);
void die(enum status status, const char *fmt, ...) __printf(2, 3) __noreturn;

/* These do not return without memory. */
void *must_alloc(void *p);
char *format(const char *fmt, ...) __printf(1, 2);

/**
 * struct table - what is printed with its columns aligned
 * @columns: number of them
 * @rows: number of complete ones, the head included
 * @cells: row by row
 */
struct table {
	size_t columns;
	size_t rows;
	char **cells;
};

/* Adds a row; takes the cells over. */
void table_row(struct table *t, char **cells);

/*
 * Prints it, frees the cells. A column with nothing but numbers below its head
 * is aligned at the right.
 */
void table_print(struct table *t);

/* procletctl_files.c */
char *read_value(const char *dir, const char *name);
char *show_value(const char *dir, const char *name);
unsigned long long read_number(const char *dir, const char *name);
int write_value(const char *dir, const char *name, const char *value);
bool exists(const char *path);
char **list_dirs(const char *path);
void free_names(char **names);
void need_module(void);
void need_config(void);
void check_name(const char *what, const char *name);
char *need_node(const char *name);
bool node_enabled(const char *dir);
void need_enabled(const char *dir, const char *name);
const char *advice(int err);

/* procletctl_methods.c: names by number; NULL or too few: not known */
struct names {
	size_t n;
	char **names;
};

void method_names(int pid, struct names *names);
void method_names_free(struct names *names);

/* Commands: they get the words after the command's own. */

/* procletctl_config.c */
enum status node_add(char **argv);
enum status node_enable(char **argv);
enum status node_disable(char **argv);
enum status node_del(char **argv);
enum status node_keys(char **argv);
enum status key_add(char **argv);
enum status peer_add(char **argv);
enum status peer_del(char **argv);

/* procletctl_run.c */
enum status wait_command(char **argv);
enum status run_command(char **argv);
struct argp;
void parse_options(const struct argp *argp, const char *name, char **argv, void *input);

/* procletctl_show.c */
enum status show_config(char **argv);
enum status show_lprocs(char **argv);
enum status show_proclets(char **argv);
enum status show_threads(char **argv);

/* procletctl_trace.c */
enum status trace_command(char **argv);

#endif /* _PROCLETCTL_H */
