// SPDX-License-Identifier: GPL-2.0
/*
 * The fuzz target with inputs from files, without a fuzzer: the corpus next to the
 * program, or the files that are named. A broken promise and a finding of the sanitizers
 * end the program; the input is the last one named.
 */
#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kselftest.h>

#include "wire_fuzz.h"

static unsigned int files;

static bool replay(const char *path)
{
	static uint8_t data[1 << 20];
	FILE *f = fopen(path, "rb");
	uint8_t *input;
	size_t len;

	if (!f) {
		ksft_print_msg("%s: cannot be read\n", path);
		return false;
	}
	len = fread(data, 1, sizeof(data), f);
	fclose(f);
	input = malloc(len ?: 1);
	if (!input)
		return false;
	memcpy(input, data, len);
	/* Should it be the last one. */
	fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(input, len);
	free(input);
	files++;
	return true;
}

static bool replay_corpus(void)
{
	char path[PATH_MAX] = "", name[PATH_MAX + NAME_MAX + 2];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 16);
	struct dirent *entry;
	bool good = true;
	char *end;
	DIR *dir;

	end = len > 0 ? strrchr(path, '/') : NULL;
	if (!end)
		return false;
	strcpy(end, "/corpus");
	dir = opendir(path);
	if (!dir) {
		ksft_print_msg("%s: cannot be read\n", path);
		return false;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		good &= replay(name);
	}
	closedir(dir);
	return good && files;
}

/*
 * A corpus of another version of the protocol finds nothing: everything must still be
 * in it.
 */
static bool corpus_is_good(void)
{
	const struct fuzz_accepted *a = &fuzz_accepted;
	bool good = true;

	for (unsigned int type = 1; type < WIRE_TYPES; type++) {
		if (a->message[type])
			continue;
		ksft_print_msg("no message of type %u is accepted\n", type);
		good = false;
	}
	if (!a->blob || !a->early_blob || !a->hello) {
		ksft_print_msg("accepted: %lu blobs, %lu of them early, %lu hellos\n",
			       a->blob, a->early_blob, a->hello);
		good = false;
	}
	if (!good)
		ksft_print_msg("is it of this version? See 'make fuzz-corpus'\n");
	return good;
}

int main(int argc, char **argv)
{
	bool good = true;

	setvbuf(stdout, NULL, _IOLBF, 0);
	ksft_print_header();
	if (argc > 1) {
		ksft_set_plan(1);
		for (int i = 1; i < argc; i++)
			good &= replay(argv[i]);
		ksft_test_result(good, "files\n");
	} else {
		ksft_set_plan(2);
		good = replay_corpus();
		ksft_print_msg("%u inputs\n", files);
		ksft_test_result(good, "corpus\n");
		ksft_test_result(corpus_is_good(), "everything_is_accepted\n");
	}
	ksft_finished();
}
