/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two sides of a move by CRIU. */
#ifndef _PROCLETBENCH_CRIU_H
#define _PROCLETBENCH_CRIU_H

#include <linux/types.h>
#include <proclet.h>
#include <stddef.h>

#include "tcp.h"

#define CRIU_DIR	64	/* length of a directory's name */

/* Where the other node listens. */
struct criu_place {
	struct tcp_addresses addresses;
	__u32 port;
};

/* Head of an image file for the other node. All but pages go so. */
struct criu_file {
	char name[64];
};

/* criufiles.c: an empty directory for images, its end, and a log's last error. */
int criu_make_dir(char dir[CRIU_DIR]);
void criu_remove_dir(const char *dir);
void criu_complain(const char *what, const char *dir, const char *log);

/*
 * criuagent.c: methods of a pinned proclet on the other node. criu_hello() listens, so
 * that the node's right address can be found (out: struct criu_place); criu_receive()
 * starts a page server (out: struct criu_place); criu_store() keeps a file (in: struct
 * criu_file and its bytes); criu_restore() lets the process of a number run on
 * (in: pid_t); criu_verify() is 0 if it is unhurt, and ends it; criu_forget() removes
 * what is left.
 */
ssize_t criu_hello(void *root, const void *in, size_t in_len, void *out, size_t out_cap);
ssize_t criu_receive(void *root, const void *in, size_t in_len, void *out, size_t out_cap);
ssize_t criu_store(void *root, const void *in, size_t in_len, void *out, size_t out_cap);
ssize_t criu_restore(void *root, const void *in, size_t in_len, void *out, size_t out_cap);
ssize_t criu_verify(void *root, const void *in, size_t in_len, void *out, size_t out_cap);
ssize_t criu_forget(void *root, const void *in, size_t in_len, void *out, size_t out_cap);

#endif /* _PROCLETBENCH_CRIU_H */
