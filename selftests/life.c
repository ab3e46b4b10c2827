// SPDX-License-Identifier: GPL-2.0
/*
 * How members end, and what that means for the others: crashes, signals, exit,
 * exec, fork.
 *
 * On every node, the program is a supervisor that runs one member after another
 * in processes of their own, a logical process for each scenario. Each supervisor
 * looks at how its member ended and what that said on stderr; it tells the root's
 * in a logical process of their own, whose exit status is the result.
 */
#include "raw.h"
#include "supervise.h"
#include "tap.h"

#include <elf.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/resource.h>

#undef MIB
#define MIB ((size_t)1 << 20)
#define LIMIT 60	/* seconds for a scenario */
#define LOST (-ECONNRESET & 0xff)	/* what main() makes of it */
#define MARK 0x70726f636c6574ULL	/* times two it is in the core dump */

extern char **environ;

/* ---- methods ---- */

#define METHOD(name)								\
static ssize_t name(void *root __attribute__((unused)),			\
		    const void *in __attribute__((unused)),			\
		    size_t in_len __attribute__((unused)),			\
		    void *out __attribute__((unused)),				\
		    size_t out_cap __attribute__((unused)));			\
PROCLET_METHOD(name);								\
static ssize_t name(void *root __attribute__((unused)),			\
		    const void *in __attribute__((unused)),			\
		    size_t in_len __attribute__((unused)),			\
		    void *out __attribute__((unused)),				\
		    size_t out_cap __attribute__((unused)))

static __attribute__((noinline)) void fault(void)
{
	volatile int *nowhere = (int *)16;

	__asm__("" : "+r" (nowhere));
	*nowhere = 1;
}

METHOD(where)
{
	return lproc_node();
}

METHOD(members)
{
	int ids[PROCLET_MAX_NODES];

	return lproc_nodes(ids, PROCLET_MAX_NODES);
}

METHOD(die_of_fault)
{
	fault();
	return 0;
}

METHOD(die_of_abort)
{
	abort();
	return 0;
}

METHOD(die_of_kill)
{
	return kill(getpid(), SIGKILL);
}

static __attribute__((noinline)) size_t descend(size_t depth)
{
	volatile char frame[1024];

	frame[depth % sizeof(frame)] = 1;
	return depth > (64 << 20) ? 0 : descend(depth + 1) + frame[1];
}

METHOD(die_of_recursion)
{
	return descend(0);
}

METHOD(end_by_exit)
{
	exit(7);
	return 0;
}

static void *exit_native(void *unused)
{
	(void)unused;
	_exit(9);
}

static void *fault_native(void *unused)
{
	fault();
	return unused;
}

static void *exec_native(void *unused)
{
	char *const argv[] = { "life", "executed", NULL };

	execve("/proc/self/exe", argv, environ);
	return unused;
}

/* What a native thread does is not done before the method has returned. */
static ssize_t start_native(void *(*fn)(void *))
{
	pthread_t t;

	return pthread_create(&t, NULL, fn, NULL) ? -EAGAIN : 0;
}

METHOD(end_by_native_exit)
{
	return start_native(exit_native);
}

METHOD(die_of_native_fault)
{
	return start_native(fault_native);
}

METHOD(end_by_exec)
{
	return start_native(exec_native);
}

static int result_of(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

/* What a child may do: nothing with proclets. */
static int child_of_member(proclet_t p)
{
	struct proclet_attr attr = PROCLET_ATTR_INIT;
	struct proclet_stats stats;
	proclet_t q;
	int ids[4];

	if (proclet_call(p, where, NULL, 0, NULL, 0) != -EPERM)
		return 1;
	if (proclet_locate(p) != -EPERM || proclet_destroy(p) != -EPERM)
		return 2;
	if (proclet_create(&q, &attr) != -EPERM || proclet_migrate(p, 1, 0) != -EPERM)
		return 3;
	if (lproc_nodes(ids, 4) != -EPERM || lproc_stats(0, &stats) != -EPERM)
		return 4;
	if (proclet_self() || proclet_malloc(8))
		return 5;
	return 42;
}

struct forked {
	proclet_t p;
	int own, executed, crashed;
};

/* A thread of the C library forks. */
static void *fork_native(void *arg)
{
	struct forked *f = arg;
	pid_t pid = fork();

	if (!pid)
		exit(child_of_member(f->p));
	f->own = result_of(pid);
	pid = fork();
	if (!pid) {
		execl("/proc/self/exe", "life", "executed", NULL);
		_exit(1);
	}
	f->executed = result_of(pid);
	pid = fork();
	if (!pid) {
		struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		fault();
		_exit(1);
	}
	f->crashed = result_of(pid);
	return NULL;
}

METHOD(fork_in_thread)
{
	struct forked f = { .p = *(const proclet_t *)in };
	pthread_t t;
	void *heap;

	/* Native memory, as the thread is native. */
	heap = malloc(sizeof(f));
	memcpy(heap, &f, sizeof(f));
	if (pthread_create(&t, NULL, fork_native, heap))
		return -EAGAIN;
	pthread_join(t, NULL);
	memcpy(&f, heap, sizeof(f));
	free(heap);
	if (!WIFEXITED(f.own) || WEXITSTATUS(f.own) != 42)
		return 1000 + f.own;
	if (!WIFEXITED(f.executed) || WEXITSTATUS(f.executed) != 42)
		return 100000 + f.executed;
	return WIFSIGNALED(f.crashed) && WTERMSIG(f.crashed) == SIGSEGV ? 0 : 200000 + f.crashed;
}

METHOD(fork_in_method)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	return result_of(pid);
}

METHOD(spawn_in_method)
{
	char *const argv[] = { "life", "executed", NULL };
	pid_t pid;

	if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ))
		return -EAGAIN;
	return result_of(pid);
}

/* A fault with something on the heap to find, and a thread that waits. */
METHOD(sleep_forever)
{
	*(volatile __u32 *)root = 1;
	for (;;)
		pause();
	return 0;
}

METHOD(wait_forever)
{
	volatile __u64 mark[8];

	for (int i = 0; i < 8; i++)
		mark[i] = 2 * (MARK + 1);
	fprintf(stderr, "mark 1 at %lx\n", (long)&mark[1]);
	proclet_call(*(const proclet_t *)in, sleep_forever, NULL, 0, NULL, 0);
	return mark[0];
}

METHOD(is_waiting)
{
	return *(volatile __u32 *)root;
}

METHOD(die_with_mark)
{
	__u64 *mark = proclet_malloc(8 * MIB);

	if (!mark)
		return -ENOMEM;
	/* With a hole in between. */
	mark[1] = 2 * MARK;
	mark[MIB - 1] = 2 * (MARK + 2);
	fprintf(stderr, "mark 0 at %lx\nmark 2 at %lx\n", (long)&mark[1], (long)&mark[MIB - 1]);
	fault();
	return 0;
}

/* A line of a command's output that has all these words, in this order. */
static bool command_says(const char *command, const char *const *words)
{
	FILE *f = popen(command, "r");
	bool found = false;
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		const char *const *w = words;
		char *save, *word;

		fputs(line, stderr);
		for (word = strtok_r(line, "\n ", &save); word && *w;
		     word = strtok_r(NULL, "\n ", &save))
			if (!strcmp(word, *w))
				w++;
		found |= !*w;
	}
	return f && !pclose(f) && found;
}

/* What procletctl shows here of two proclets: the second waits for the first. */
METHOD(shown)
{
	const proclet_t *p = in;
	char far[20], here[20], self[20], node[12];

	snprintf(far, sizeof(far), "%016llx", (unsigned long long)p[0]);
	snprintf(here, sizeof(here), "%016llx", (unsigned long long)p[1]);
	snprintf(self, sizeof(self), "%016llx", (unsigned long long)proclet_self());
	snprintf(node, sizeof(node), "%d", lproc_node());
	if (!command_says("procletctl ps -l life", (const char *[]){
		node, "life", here, "present", NULL }))
		return 1;
	if (!command_says("procletctl threads -l life", (const char *[]){
		node, "life", here, "waiting", "-", "3", "wait_forever", "call", far, NULL }))
		return 2;
	if (!command_says("procletctl threads -l life", (const char *[]){
		node, "life", self, "running", "shown", NULL }))
		return 3;
	if (!command_says("procletctl lprocs -l life", (const char *[]){
		node, "life", "survive", NULL }))
		return 4;
	return command_says("procletctl ps -l elsewhere", (const char *[]){ "life", NULL }) ? 5 : 0;
}

/* ---- scenarios, run by the root ---- */

static int victim_node(void)
{
	return nodes[1];
}

static int made_at(proclet_t *p, int node)
{
	struct proclet_attr attr = { 16 * MIB, node, 0, 64 };

	CHECK_EQ(proclet_create(p, &attr), 0);
	fprintf(stderr, "expect proclet %016llx\n", (unsigned long long)*p);
	return KSFT_PASS;
}

/* Until something ends this member. */
static int wait_for_the_end(void)
{
	for (;;)
		pause();
	return KSFT_FAIL;
}

static int call_victim(proclet_method_t m)
{
	proclet_t p;

	TRY(made_at(&p, victim_node()));
	proclet_call(p, m, NULL, 0, NULL, 0);
	return wait_for_the_end();
}

static int crash(void)
{
	return call_victim(die_of_fault);
}

static int aborted(void)
{
	return call_victim(die_of_abort);
}

static int killed(void)
{
	return call_victim(die_of_kill);
}

static int recursion(void)
{
	return call_victim(die_of_recursion);
}

static int native_crash(void)
{
	return call_victim(die_of_native_fault);
}

static int exits(void)
{
	return call_victim(end_by_exit);
}

static int native_exits(void)
{
	return call_victim(end_by_native_exit);
}

static int executes(void)
{
	return call_victim(end_by_exec);
}

static int root_crash(void)
{
	proclet_t p;

	TRY(made_at(&p, victim_node()));
	fault();
	return KSFT_FAIL;
}

static int crash_survived(void)
{
	proclet_t p, q;

	TRY(made_at(&p, victim_node()));
	CHECK_EQ(proclet_create(&q, &(struct proclet_attr){ MIB, nodes[2], 0, 0 }), 0);
	CHECK_EQ(proclet_call(p, die_of_fault, NULL, 0, NULL, 0), -ECONNRESET);
	CHECK_EQ(proclet_call(p, where, NULL, 0, NULL, 0), -EHOSTUNREACH);
	CHECK_EQ(proclet_call(q, where, NULL, 0, NULL, 0), nodes[2]);
	/* It may hear of that later than we do. */
	while (proclet_call(q, members, NULL, 0, NULL, 0) == node_count)
		;
	CHECK_EQ(proclet_call(q, members, NULL, 0, NULL, 0), node_count - 1);
	return KSFT_PASS;
}

static int forks(void)
{
	proclet_t p;

	TRY(made_at(&p, victim_node()));
	CHECK_EQ(proclet_call(p, fork_in_thread, &p, sizeof(p), NULL, 0), 0);
	/* The member does not notice. */
	CHECK_EQ(proclet_call(p, where, NULL, 0, NULL, 0), victim_node());
	return KSFT_PASS;
}

static int forks_in_method(void)
{
	proclet_t p;
	ssize_t ret;

	TRY(made_at(&p, victim_node()));
	ret = proclet_call(p, fork_in_method, NULL, 0, NULL, 0);
	CHECK(ret > 0 && WIFSIGNALED(ret) && WTERMSIG(ret) == SIGSEGV);
	CHECK_EQ(proclet_call(p, spawn_in_method, NULL, 0, NULL, 0), 42 << 8);
	CHECK_EQ(proclet_call(p, where, NULL, 0, NULL, 0), victim_node());
	return KSFT_PASS;
}

static int own_handler(void)
{
	return call_victim(die_of_fault);
}

static int core(void)
{
	proclet_t p, q, far;

	TRY(made_at(&far, nodes[2]));
	TRY(made_at(&q, victim_node()));
	TRY(made_at(&p, victim_node()));
	/* A thread that no worker has. */
	caller_start(q, wait_forever, &far, sizeof(far), NULL, 0);
	while (proclet_call(far, is_waiting, NULL, 0, NULL, 0) != 1)
		;
	proclet_call(p, die_with_mark, NULL, 0, NULL, 0);
	return wait_for_the_end();
}

static int tables(void)
{
	proclet_t q, p, both[2];

	TRY(made_at(&both[0], nodes[2]));
	TRY(made_at(&both[1], victim_node()));
	TRY(made_at(&p, victim_node()));
	q = both[1];
	caller_start(q, wait_forever, both, sizeof(both[0]), NULL, 0);
	/* Then it has suspended itself. */
	while (proclet_call(both[0], is_waiting, NULL, 0, NULL, 0) != 1)
		;
	CHECK_EQ(proclet_call(p, shown, both, sizeof(both), NULL, 0), 0);
	/* What is known of a thread moves with it. */
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(proclet_migrate(q, nodes[i], 0), 0);
		CHECK_EQ(proclet_migrate(p, nodes[i], 0), 0);
		CHECK_EQ(proclet_call(p, shown, both, sizeof(both), NULL, 0), 0);
	}
	return KSFT_PASS;
}

static int errors_have_names(void)
{
	/* All that the public headers name. */
	static const int own[] = {
#define NAMED(error) error,
#include "errors.h"
	};

	CHECK_GE(ARRAY_SIZE(own), 29);
	for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
		const char *s = proclet_strerror(-own[i]);

		if (!strcmp(s, strerror(own[i])))
			diag("%s", s);
		CHECK(strcmp(s, strerror(own[i])) && strlen(s) > 8);
		CHECK(s == proclet_strerror(-own[i]));
		for (size_t k = 0; k < i; k++)
			CHECK(strcmp(s, proclet_strerror(-own[k])));
	}
	CHECK(!strcmp(proclet_strerror(-EACCES), strerror(EACCES)));
	CHECK(!strcmp(proclet_strerror(0), "no error"));
	CHECK(!strcmp(proclet_strerror(17), "no error"));
	CHECK(!strcmp(proclet_strerror(-4000), "unknown error"));
	CHECK(!strcmp(proclet_strerror(-0x7fffffff - 1), "unknown error"));
	return KSFT_PASS;
}

/* How a member ends: a wait status, and what it says, '@' is the root's proclet. */
struct ending {
	int status;
	const char *says;
};
#define EXITED(n) ((n) << 8)

/* What the others say of the victim. */
#define GONE(reason) "the member on node 2 has gone (" reason

static const struct scenario {
	const char *name;
	int (*fn)(void);
	unsigned int flags;
	const char *policy;	/* PROCLET_POLICY */
	struct ending root, victim, other;
	void (*prepare)(void);	/* in each member */
	bool (*look)(const char *text, pid_t pid);	/* at what the victim left */
} scenarios[];

static const struct scenario *chosen;

/* ---- the core dump ---- */

static void want_core(void)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	FILE *f = fopen("/proc/sys/kernel/core_pattern", "w");

	setrlimit(RLIMIT_CORE, &unlimited);
	if (f) {
		fputs("/tmp/life-core.%p", f);
		fclose(f);
	}
}

/* Does the core dump have this value at this address? */
static bool core_has(FILE *f, unsigned long addr, __u64 want)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	__u64 seen;

	rewind(f);
	if (fread(&eh, sizeof(eh), 1, f) != 1 || eh.e_type != ET_CORE)
		return false;
	for (int i = 0; i < eh.e_phnum; i++) {
		fseek(f, eh.e_phoff + i * sizeof(ph), SEEK_SET);
		if (fread(&ph, sizeof(ph), 1, f) != 1)
			return false;
		if (ph.p_type != PT_LOAD || addr < ph.p_vaddr ||
		    addr - ph.p_vaddr >= ph.p_filesz)
			continue;
		fseek(f, ph.p_offset + (addr - ph.p_vaddr), SEEK_SET);
		return fread(&seen, sizeof(seen), 1, f) == 1 && seen == want;
	}
	return false;
}

static bool look_at_core(const char *text, pid_t pid)
{
	char path[64], word[16];
	bool ok = true;
	FILE *f;

	snprintf(path, sizeof(path), "/tmp/life-core.%d", pid);
	f = fopen(path, "r");
	if (!f) {
		fprintf(stderr, "%s: %m\n", path);
		return false;
	}
	for (int i = 0; i < 3; i++) {
		const char *at;

		snprintf(word, sizeof(word), "mark %d at ", i);
		at = strstr(text, word);
		if (!at || !core_has(f, strtoul(at + strlen(word), NULL, 16), 2 * (MARK + i))) {
			fprintf(stderr, "mark %d is not in the core dump\n", i);
			ok = false;
		}
	}
	fseek(f, 0, SEEK_END);
	fprintf(stderr, "the core dump has %ld MiB\n", ftell(f) >> 20);
	fclose(f);
	if (!getenv("PROCLET_TEST_KEEP_CORE"))
		unlink(path);
	return ok;
}

static void on_fault(int sig)
{
	(void)sig;
	_exit(33);
}

static void handle_faults(void)
{
	signal(SIGSEGV, on_fault);
}

/* The others wait for a member that does not come. */
static void await_one_more(void)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", env_number("PROCLET_MEMBERS", 1) + 1);
	if (raw_node() != env_number("PROCLET_ROOT", raw_node()))
		setenv("PROCLET_MEMBERS", text, 1);
}

#define VICTIM_SAYS "killed by SIGSEGV in method die_of_fault of proclet @, at fault+0x"

static const struct scenario scenarios[] = {
	{ "crash_ends_all", crash, 0, NULL,
	  .root = { EXITED(LOST), GONE(VICTIM_SAYS) },
	  .victim = { SIGSEGV, "node 2: " VICTIM_SAYS },
	  .other = { EXITED(LOST), GONE(VICTIM_SAYS) } },
	{ "crash_survived", crash_survived, LPROC_SURVIVE, NULL,
	  .root = { 0, "the member on node 2 has gone, and with it its proclets (" VICTIM_SAYS },
	  .victim = { SIGSEGV, "node 2: " VICTIM_SAYS },
	  .other = { 0, "the member on node 2 has gone, and with it its proclets (" VICTIM_SAYS } },
	{ "environment_says_end", crash, LPROC_SURVIVE, "end",
	  .root = { EXITED(LOST), GONE(VICTIM_SAYS) },
	  .victim = { SIGSEGV, "node 2: " VICTIM_SAYS },
	  .other = { EXITED(LOST), GONE(VICTIM_SAYS) } },
	{ "environment_says_survive", crash_survived, 0, "survive",
	  .root = { 0, "its proclets (" VICTIM_SAYS },
	  .victim = { SIGSEGV, "node 2: " VICTIM_SAYS },
	  .other = { 0, "its proclets (" VICTIM_SAYS } },
	{ "abort_ends_all", aborted, 0, NULL,
	  .root = { EXITED(LOST), GONE("killed by SIGABRT in method die_of_abort of proclet @") },
	  .victim = { SIGABRT, "node 2: killed by SIGABRT in method die_of_abort of proclet @" },
	  .other = { EXITED(LOST), GONE("killed by SIGABRT in method die_of_abort of proclet @") } },
	{ "kill_ends_all", killed, 0, NULL,
	  .root = { EXITED(LOST), GONE("killed by signal 9") },
	  .victim = { SIGKILL, "" },
	  .other = { EXITED(LOST), GONE("killed by signal 9") } },
	{ "recursion_ends_all", recursion, 0, NULL,
	  .root = { EXITED(LOST), GONE("killed by SIGSEGV in method die_of_recursion of proclet @") },
	  .victim = { SIGSEGV, "its stack is full" },
	  .other = { EXITED(LOST), GONE("killed by SIGSEGV in method die_of_recursion of proclet @") } },
	{ "native_crash_ends_all", native_crash, 0, NULL,
	  .root = { EXITED(LOST), GONE("killed by SIGSEGV outside of proclets, at fault+0x") },
	  .victim = { SIGSEGV, "node 2: killed by SIGSEGV outside of proclets, at fault+0x" },
	  .other = { EXITED(LOST), GONE("killed by SIGSEGV outside of proclets, at fault+0x") } },
	{ "root_crash_ends_all", root_crash, LPROC_SURVIVE, NULL,
	  .root = { SIGSEGV, "node 1: killed by SIGSEGV in the root function of proclet " },
	  .victim = { EXITED(LOST), "the root member on node 1 has gone (killed by SIGSEGV in the root" },
	  .other = { EXITED(LOST), "the root member on node 1 has gone (killed by SIGSEGV in the root" } },
	{ "root_crash_ends_who_waits", root_crash, LPROC_SURVIVE, NULL,
	  .root = { SIGSEGV, "" },
	  .victim = { EXITED(LOST), "the root member on node 1 has gone (killed by SIGSEGV in the root" },
	  .other = { EXITED(LOST), "the root member on node 1 has gone (killed by SIGSEGV in the root" },
	  .prepare = await_one_more },
	{ "exit_ends_all", exits, 0, NULL,
	  .root = { EXITED(7), "" }, .victim = { EXITED(7), "" }, .other = { EXITED(7), "" } },
	{ "native_exit_ends_all", native_exits, LPROC_SURVIVE, NULL,
	  .root = { EXITED(9), "" }, .victim = { EXITED(9), "" }, .other = { EXITED(9), "" } },
	{ "exec_ends_all", executes, 0, NULL,
	  .root = { EXITED(LOST), GONE("executed another program") },
	  .victim = { EXITED(42), "" },
	  .other = { EXITED(LOST), GONE("executed another program") } },
	{ "own_handler_is_left_alone", own_handler, 0, NULL,
	  .root = { EXITED(33), "" }, .victim = { EXITED(33), "" }, .other = { EXITED(33), "" },
	  .prepare = handle_faults },
	{ "child_has_no_proclets", forks, 0, NULL, .root = { 0, "" }, .victim = { 0, "" }, .other = { 0, "" } },
	{ "fork_in_method_is_told", forks_in_method, 0, NULL,
	  .root = { 0, "" }, .victim = { 0, "fork() in a method: the child has no stack" }, .other = { 0, "" } },
	{ "core_has_proclets", core, 0, NULL,
	  .root = { EXITED(LOST), GONE("killed by SIGSEGV in method die_with_mark of proclet @") },
	  .victim = { SIGSEGV | WCOREFLAG, "" },
	  .other = { EXITED(LOST), GONE("killed by SIGSEGV in method die_with_mark of proclet @") },
	  .prepare = want_core, .look = look_at_core },
	{ "tables", tables, LPROC_SURVIVE, NULL, .root = { 0, "" }, .victim = { 0, "" },
	  .other = { 0, "" } },
	{ "errors_have_names", errors_have_names, 0, NULL, .root = { 0, "" }, .victim = { 0, "" }, .other = { 0, "" } },
};

/* ---- members and their supervisors ---- */

static int root(int argc, char **argv)
{
	int ret;

	(void)argc;
	(void)argv;
	setvbuf(stdout, NULL, _IOLBF, 0);
	ret = tap_nodes(3);
	if (ret == KSFT_PASS)
		ret = chosen->fn();
	fflush(stdout);
	return ret;
}

static pid_t start_member(const char *program, const struct scenario *s, __u64 run, FILE *err)
{
	struct rlimit none = { 0, 0 };
	char text[32];
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid)
		return pid;
	dup2(fileno(err), 2);
	setrlimit(RLIMIT_CORE, &none);
	if (s->prepare == want_core)
		want_core();
	snprintf(text, sizeof(text), "%016llx", (unsigned long long)run);
	setenv("PROCLET_RUN", text, 1);
	unsetenv("PROCLET_POLICY");
	if (s->policy)
		setenv("PROCLET_POLICY", s->policy, 1);
	execl(program, program, "member", s->name, NULL);
	_exit(127);
}

/* What the member said, which goes to our own stderr too. */
static char *said(FILE *err)
{
	long len = (fseek(err, 0, SEEK_END), ftell(err));
	char *text = calloc(1, len + 1);

	rewind(err);
	if (!text || fread(text, 1, len, err) != (size_t)len)
		ksft_exit_fail_msg("cannot read what the member said\n");
	fputs(text, stderr);
	return text;
}

/* Is there a line with @want in @text? '@' in it is any proclet. */
static bool says(const char *text, const char *want)
{
	const char *at = strchr(want, '@');
	size_t len = at ? (size_t)(at - want) : strlen(want);

	for (const char *p = text; *p; p++) {
		if (strncmp(p, want, len))
			continue;
		if (!at)
			return true;
		if (strspn(p + len, "0123456789abcdef") == 16 &&
		    !strncmp(p + len + 16, at + 1, strlen(at + 1)))
			return true;
	}
	return !*want;
}

/* The root says which proclet it made last: the messages must name that one. */
static bool names_proclet(const char *text)
{
	static const char expect[] = "expect proclet ";
	const char *p = NULL, *next = text;
	char id[40];

	while ((next = strstr(next, expect)))
		p = next++;
	if (!p || !strstr(text, "has gone"))
		return true;
	snprintf(id, sizeof(id), "of proclet %.16s", p + strlen(expect));
	return !strstr(text, " of proclet ") || strstr(text, id);
}

/* Run the member of a scenario on this node. */
static bool run_member(const char *program, const struct scenario *s, __u64 run, bool is_root)
{
	const struct ending *e = is_root ? &s->root : raw_node() == 2 ? &s->victim : &s->other;
	FILE *err = tmpfile();
	bool ok = true;
	pid_t pid;
	char *text;
	int status;

	if (!err)
		ksft_exit_fail_msg("no temporary file\n");
	pid = start_member(program, s, run, err);
	status = supervise(pid, LIMIT);
	text = said(err);
	fclose(err);
	if (status == -2)
		ksft_exit_fail_msg("%s: the member cannot be killed\n", s->name);
	if (status != e->status && is_root && status == EXITED(KSFT_SKIP)) {
		/* told by tap_nodes() */
	} else if (status != e->status) {
		fprintf(stderr, "%s: expected wait status %x, saw %x\n", s->name, e->status,
			status);
		ok = false;
	}
	if (!says(text, e->says)) {
		fprintf(stderr, "%s: expected it to say '%s'\n", s->name, e->says);
		ok = false;
	}
	if (is_root && !names_proclet(text)) {
		fprintf(stderr, "%s: expected the proclet's id in the message\n", s->name);
		ok = false;
	}
	if (s->look && raw_node() == 2 && !s->look(text, pid))
		ok = false;
	free(text);
	return ok;
}

/* The supervisors' logical processes: one for each node and scenario. */
static int report_open(unsigned int node, __u64 run)
{
	int fd = raw_open(), ret;
	char name[32];

	if (fd < 0)
		return fd;
	snprintf(name, sizeof(name), "life-report-%u", node);
	ret = raw_join(fd, name, run);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

static bool report_wait(int fd)
{
	struct proclet_manage m;
	int ret;

	do {
		memset(&m, 0, sizeof(m));
		m.size = sizeof(m);
		ret = raw_ioctl(fd, PROCLET_IOC_MANAGE, &m);
	} while (ret == -EINTR || (!ret && m.event == PROCLET_EVENT_SPAWN));
	return !ret && m.event == PROCLET_EVENT_EXIT && !m.status;
}

static bool run_as_root(const char *program, const struct scenario *s, __u64 run)
{
	unsigned int members = env_number("PROCLET_MEMBERS", 1), node;
	int fds[PROCLET_MAX_NODES + 1];
	bool ok;

	for (node = 1; node <= members; node++) {
		fds[node] = node == raw_node() ? -1 : report_open(node, run);
		if (node != raw_node() && fds[node] < 0)
			ksft_exit_fail_msg("expected to join, saw %d\n", fds[node]);
	}
	ok = run_member(program, s, run, true);
	alarm(2 * LIMIT);
	for (node = 1; node <= members; node++) {
		if (fds[node] < 0)
			continue;
		if (!report_wait(fds[node])) {
			diag("%s: node %u has another opinion, see its log", s->name, node);
			ok = false;
		}
		close(fds[node]);
	}
	alarm(0);
	return ok;
}

static bool run_as_other(const char *program, const struct scenario *s, __u64 run)
{
	int fd = report_open(raw_node(), run);
	bool ok;

	if (fd < 0 || raw_members(fd, 2, LIMIT * 1000, NULL)) {
		fprintf(stderr, "%s: the root's supervisor does not come\n", s->name);
		return false;
	}
	ok = run_member(program, s, run, false);
	raw_exit(fd, !ok);
	close(fd);
	return ok;
}

static const char *scenario_name(size_t i)
{
	return scenarios[i].name;
}

static int run_scenario(const char *program, size_t i, __u64 run, bool is_root)
{
	const struct scenario *s = &scenarios[i];

	if (is_root)
		ksft_test_result(run_as_root(program, s, run), "%s\n", s->name);
	else
		run_as_other(program, s, run);
	return 0;
}

static int member(const char *name, int argc, char **argv)
{
	for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++)
		if (!strcmp(name, scenarios[i].name))
			chosen = &scenarios[i];
	if (!chosen)
		return KSFT_FAIL;
	if (chosen->prepare)
		chosen->prepare();
	lproc_set_flags(chosen->flags);
	return lproc_main("life", root, argc, argv) & 0xff;
}

int main(int argc, char **argv)
{
	static const struct supervised all = {
		scenario_name, run_scenario, ARRAY_SIZE(scenarios)
	};

	if (argc > 1 && !strcmp(argv[1], "executed"))
		return 42;
	if (argc > 2 && !strcmp(argv[1], "member"))
		return member(argv[2], argc, argv);
	return supervise_all(&all, raw_node() == env_number("PROCLET_ROOT", raw_node()), argc, argv);
}
