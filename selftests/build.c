// SPDX-License-Identifier: GPL-2.0
/*
 * Programs of another build, or on another kind of machine, are refused with a
 * reason. Compiled twice: as build, and as build_other with another string in
 * it, which must lie next to it.
 *
 * Node 2 does the joining, node 1 is the member that it does not match; they
 * meet in a logical process of their own, whose exit status carries the
 * results, a bit for each test that failed.
 */
#include "tap.h"
#include "raw.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>

#ifdef OTHER_BUILD
static const char build_name[] __attribute__((used)) = "another build";
#else
static const char build_name[] __attribute__((used)) = "build";
#endif

#define STEPS 60000	/* ms for the other node to do its part */

struct mismatch {
	const char *name;
	void (*alter)(struct proclet_join *join);
	const char *reason;	/* a word that its reason must have */
};

static void alter_build_id(struct proclet_join *join)
{
	join->ident.build_id[7] ^= 1;
}

static void alter_build_id_len(struct proclet_join *join)
{
	join->ident.build_id_len = 8;
	memset(join->ident.build_id + 8, 0, sizeof(join->ident.build_id) - 8);
}

static void alter_text(struct proclet_join *join)
{
	join->ident.text[0] += 4096;
	join->ident.text[1] += 4096;
}

static void alter_text_end(struct proclet_join *join)
{
	join->ident.text[1] += 4096;
}

static void alter_shim(struct proclet_join *join)
{
	join->ident.shim[0] += 4096;
	join->ident.shim[1] += 4096;
}

static void alter_page_size(struct proclet_join *join)
{
	join->ident.page_size = 16384;
}

static void alter_xfeatures(struct proclet_join *join)
{
	join->ident.xfeatures ^= 1ULL << 9;
}

static void alter_policy(struct proclet_join *join)
{
	join->flags ^= PROCLET_JOIN_SURVIVE;
}

static const struct mismatch mismatches[] = {
	{ "other_build_id", alter_build_id, "build" },
	{ "shorter_build_id", alter_build_id_len, "build" },
	{ "text_elsewhere", alter_text, "text" },
	{ "text_longer", alter_text_end, "text" },
	{ "library_elsewhere", alter_shim, "libshim" },
	{ "other_page_size", alter_page_size, "page" },
	{ "other_processor_state", alter_xfeatures, "state" },
	{ "other_policy", alter_policy, "policy" },
};

/* The tests after those. */
enum {
	SAME_BUILD = ARRAY_SIZE(mismatches),
	OTHER_PROGRAM,
	SAME_PROGRAM,
	TESTS,
};

static const char * const last_names[] = { "same_build", "other_program", "same_program" };

static __u64 run_number(void)
{
	const char *run = getenv("PROCLET_RUN");

	return run ? strtoull(run, NULL, 16) : 0;
}

static int join(const char *name, const struct mismatch *m, char *reason)
{
	int fd = raw_open(), ret;
	struct proclet_join j;

	if (fd < 0)
		return fd;
	raw_join_fill(&j, name, run_number());
	if (m)
		m->alter(&j);
	memset(j.reason, 'x', sizeof(j.reason));
	ret = raw_ioctl(fd, PROCLET_IOC_JOIN, &j);
	if (reason)
		memcpy(reason, j.reason, sizeof(j.reason));
	if (ret) {
		close(fd);
		return ret;
	}
	return fd;
}

/* Start a program with stderr in a pipe. */
static pid_t start(const char *program, const char *members, int *err)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		dup2(fds[1], 2);
		setenv("PROCLET_MEMBERS", members, 1);
		execl(program, program, "member", NULL);
		_exit(127);
	}
	close(fds[1]);
	*err = fds[0];
	return pid;
}

/* Its exit status, or -1; what it said in @text. */
static int finish(pid_t pid, int err, char *text, size_t size)
{
	struct pollfd p = { .fd = err, .events = POLLIN };
	size_t len = 0;
	ssize_t n = 1;
	int status;

	while (n > 0 && poll(&p, 1, STEPS) == 1) {
		n = read(err, text + len, size - 1 - len);
		if (n > 0)
			len += n;
		if (len == size - 1)
			break;
	}
	text[len] = 0;
	close(err);
	if (n)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const char *own_path(char *path, const char *suffix)
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 16);

	strcpy(path + (n > 0 ? n : 0), suffix);
	return path;
}

/* Node 2's view. Returns the tests that failed, as bits; what it saw on stderr. */
static int try_to_join(void)
{
	char reason[PROCLET_REASON_MAX], path[PATH_MAX], text[4096];
	int failed = 0, fd, status, err;
	pid_t pid;

	for (size_t i = 0; i < ARRAY_SIZE(mismatches); i++) {
		const struct mismatch *m = &mismatches[i];

		fd = join("build-raw", m, reason);
		if (fd >= 0)
			close(fd);
		if (fd != -EXDEV || strnlen(reason, sizeof(reason)) == sizeof(reason) ||
		    !strcasestr(reason, m->reason)) {
			fprintf(stderr, "%s: expected %d and a reason with \"%s\", saw %d, \"%.*s\"\n",
				m->name, -EXDEV, m->reason, fd, (int)sizeof(reason), reason);
			failed |= 1 << i;
		}
	}
	fd = join("build-raw", NULL, reason);
	if (fd < 0 || reason[0]) {
		fprintf(stderr, "same_build: expected to join, saw %d, \"%.*s\"\n", fd,
			(int)sizeof(reason), reason);
		failed |= 1 << SAME_BUILD;
	} else {
		close(fd);
	}

	pid = start(own_path(path, "_other"), "1", &err);
	status = finish(pid, err, text, sizeof(text));
	if (status == 0 || status == 127 || status == -1 || !strcasestr(text, "build")) {
		fprintf(stderr, "other_program: expected it to be refused for its build, saw status %d, \"%s\"\n",
			status, text);
		failed |= 1 << OTHER_PROGRAM;
	}
	/* This one is let in, and ends with the root. */
	pid = start(own_path(path, ""), "2", &err);
	status = finish(pid, err, text, sizeof(text));
	if (status) {
		fprintf(stderr, "same_program: expected status 0, saw %d, \"%s\"\n", status, text);
		failed |= 1 << SAME_PROGRAM;
	}
	return failed;
}

/* ---- the program that both builds are members with ---- */

static int member_root(int argc, char **argv)
{
	int ids[32];

	(void)argc;
	(void)argv;
	/* Whoever waits for stdin to close knows that the root has begun. */
	puts("begun");
	fflush(stdout);
	while (lproc_nodes(ids, 32) < 2)
		usleep(10000);
	return 0;
}

static int run_member(char **argv)
{
	int ret = lproc_main("build-program", member_root, 2, argv);

	return ret < 0 ? 100 : ret;
}

/* ---- node 1 ---- */

static int wait_for_results(int meeting, int *failed)
{
	struct proclet_manage m;
	int ret;

	do {
		memset(&m, 0, sizeof(m));
		m.size = sizeof(m);
		ret = raw_ioctl(meeting, PROCLET_IOC_MANAGE, &m);
	} while (ret == -EINTR || (!ret && m.event == PROCLET_EVENT_SPAWN));
	if (ret)
		return ret;
	if (m.event != PROCLET_EVENT_EXIT)
		return -ENODATA;
	*failed = m.status;
	return 0;
}

/* Run our program as the root's member; returns when its root has begun. */
static pid_t start_root(int *out)
{
	char path[PATH_MAX], begun[8];
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	own_path(path, "");
	pid = fork();
	if (!pid) {
		dup2(fds[1], 1);
		setenv("PROCLET_MEMBERS", "1", 1);
		execl(path, path, "member", NULL);
		_exit(127);
	}
	close(fds[1]);
	*out = fds[0];
	return read(fds[0], begun, 6) == 6 ? pid : -1;
}

static void report(bool ok, const char *name)
{
	ksft_test_result(ok, "%s\n", name);
}

static void root_node(void)
{
	int failed = 0, out, raw, meeting, ret, status;
	pid_t root;

	ksft_print_header();
	ksft_set_plan(TESTS);
	root = start_root(&out);
	if (root < 0)
		ksft_exit_fail_msg("the program did not start\n");
	raw = join("build-raw", NULL, NULL);
	meeting = join("build-meeting", NULL, NULL);
	if (raw < 0 || meeting < 0)
		ksft_exit_fail_msg("expected to join, saw %d and %d\n", raw, meeting);
	/* Node 2 begins when it sees us there. */
	alarm(2 * STEPS / 1000);
	ret = wait_for_results(meeting, &failed);
	alarm(0);
	if (ret)
		ksft_exit_fail_msg("expected the other node's results, saw %d\n", ret);
	for (size_t i = 0; i < TESTS; i++)
		report(!(failed & 1 << i), i < SAME_BUILD ? mismatches[i].name :
		       last_names[i - SAME_BUILD]);
	waitpid(root, &status, 0);
	if (status)
		ksft_exit_fail_msg("expected the root's status 0, saw %x\n", status);
	ksft_finished();
}

static int other_node(void)
{
	int meeting = join("build-meeting", NULL, NULL), ret;

	if (meeting < 0)
		return 1;
	ret = raw_members(meeting, 2, STEPS, NULL);
	if (ret) {
		fprintf(stderr, "expected node 1 to come, saw %d\n", ret);
		return 1;
	}
	return !!raw_exit(meeting, try_to_join());
}

int main(int argc, char **argv)
{
	const char *root = getenv("PROCLET_ROOT");

	if (argc > 1 && !strcmp(argv[1], "member"))
		return run_member(argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!root || strtoul(root, NULL, 10) == raw_node())
		root_node();
	return raw_node() == 2 ? other_node() : 0;
}
