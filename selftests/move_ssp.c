// SPDX-License-Identifier: GPL-2.0
/*
 * Compiled with -fstack-protector-strong: frames that are entered on one node
 * and left on another check a canary that comes from thread-local storage.
 */
#include "move.h"

static __attribute__((noinline)) int protected_frame(struct mover *m, unsigned int depth)
{
	char text[64];
	unsigned int i;
	int wrong;

	for (i = 0; i < sizeof(text); i++)
		text[i] = depth + i;
	keep(text);
	if (depth)
		wrong = protected_frame(m, depth - 1);
	else
		wrong = spin(m) < 0;
	keep(text);
	for (i = 0; i < sizeof(text); i++)
		wrong += text[i] != (char)(depth + i);
	return wrong;
}

ssize_t spin_protected(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mover *m = root;
	int wrong = 0;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	wrong += protected_frame(m, 100);
	/* And many short ones, entered and left anywhere. */
	while (m->stop < 2) {
		wrong += protected_frame(m, 20);
		m->started = 2;
	}
	return wrong;
}
PROCLET_METHOD(spin_protected);
