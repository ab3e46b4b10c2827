// SPDX-License-Identifier: GPL-2.0
/*
 * Print the frequency of the time stamp counter in kHz. An emulated processor's
 * counter is the host's, and a kernel that calibrates it while other programs take
 * the processor away is wrong by far.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

struct moment {
	uint64_t tsc;
	uint64_t ns;
};

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* Both at the same time: nobody came in between in the best of some attempts. */
static struct moment now(void)
{
	struct moment m = { 0, 0 };
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 200; i++) {
		uint64_t before = __rdtsc(), ns = clock_ns(), after = __rdtsc();

		if (after - before >= best)
			continue;
		best = after - before;
		m.tsc = before + best / 2;
		m.ns = ns;
	}
	return m;
}

int main(void)
{
	struct timespec ts = { 0, 100000000 };
	struct moment a = now(), b;

	nanosleep(&ts, NULL);
	b = now();
	printf("%.0f\n", (double)(b.tsc - a.tsc) * 1e6 / (double)(b.ns - a.ns));
	return 0;
}
