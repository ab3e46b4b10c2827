/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What an input of the fuzz target is: a byte that says what follows, then
 *
 * FUZZ_MESSAGE: a message, as a peer sends it
 * FUZZ_BLOB: struct wire_prepare, struct wire_offer, and the blob that the latter
 *            offers; lengths in the offer are made to fit
 * FUZZ_HELLO: __le32: id of the node that is told it, then struct rdma_hello or what
 *             else came
 */
#ifndef PROCLET_SELFTEST_WIRE_FUZZ_H
#define PROCLET_SELFTEST_WIRE_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "../../kmod/hello.h"

enum fuzz_kind {
	FUZZ_MESSAGE,
	FUZZ_BLOB,
	FUZZ_HELLO,
	FUZZ_KINDS
};

/* Longest input that is worth it: the longest message, or a blob like that. */
#define FUZZ_INPUT_MAX	(1 + WIRE_MSG_MAX + 64)

/* What was accepted since the program began. */
struct fuzz_accepted {
	unsigned long message[WIRE_TYPES];
	unsigned long blob;
	unsigned long early_blob;
	unsigned long hello;
};

extern struct fuzz_accepted fuzz_accepted;

/* Does not return if a promise is broken. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif /* PROCLET_SELFTEST_WIRE_FUZZ_H */
