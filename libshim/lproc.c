// SPDX-License-Identifier: GPL-2.0-or-later
/* Members: how a program becomes one, and what its main thread does then. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <unistd.h>

#include "internal.h"

#define MEMBERS_TIMEOUT_MS	120000
#define ROOT_CAPACITY		(1ULL << 30)

/* Set while the program executes itself again. */
#define ENV_REEXEC		"PROCLET_REEXEC"

struct shim shim __attribute__((aligned(64))) = { .fd = -1 };

/* The root function; called once, in the root member. */
static struct {
	int (*fn)(int argc, char **argv);
	int argc;
	char **argv;
	bool armed;
	bool returned;
	int status;
} root;

void shim_error(const char *fmt, ...)
{
	char msg[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	fprintf(stderr, "libshim: %s\n", msg);
}

/* All members must have the same addresses: turn randomisation off. */
static int fix_addresses(char **argv)
{
	int persona = personality(0xffffffff);
	char path[PATH_MAX];
	ssize_t len;
	int err;

	if (persona != -1 && (persona & ADDR_NO_RANDOMIZE)) {
		/* Only for this program, not for those that it starts. */
		if (getenv(ENV_REEXEC))
			personality(persona & ~ADDR_NO_RANDOMIZE);
		unsetenv(ENV_REEXEC);
		return 0;
	}
	if (persona == -1 || getenv(ENV_REEXEC) ||
	    personality(persona | ADDR_NO_RANDOMIZE) == -1) {
		shim_error("cannot turn address randomisation off; use setarch -R");
		return -EPERM;
	}
	len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (len < 0) {
		err = -errno;
		shim_error("/proc/self/exe: %s", strerror(-err));
		return err;
	}
	path[len] = 0;
	setenv(ENV_REEXEC, "1", 1);
	execv(path, argv);
	err = -errno;
	shim_error("%s: %s", path, strerror(-err));
	return err;
}

static unsigned int default_flags;

PUBLIC void lproc_set_flags(unsigned int flags)
{
	default_flags = flags;
}

/* What the program wants, unless the environment says otherwise. */
static int join_flags(__u32 *flags)
{
	const char *s = getenv("PROCLET_POLICY");

	if (default_flags & ~LPROC_SURVIVE) {
		shim_error("lproc_set_flags: unknown flags %x", default_flags);
		return -EINVAL;
	}
	*flags = default_flags & LPROC_SURVIVE ? PROCLET_JOIN_SURVIVE : 0;
	if (!s || !*s)
		return 0;
	if (!strcmp(s, "survive")) {
		*flags |= PROCLET_JOIN_SURVIVE;
	} else if (!strcmp(s, "end")) {
		*flags &= ~PROCLET_JOIN_SURVIVE;
	} else {
		shim_error("PROCLET_POLICY=%s is not valid: end or survive", s);
		return -EINVAL;
	}
	return 0;
}

static int env_number(const char *name, int base, unsigned long long max,
		      unsigned long long *val)
{
	const char *s = getenv(name);
	char *end;

	if (!s || !*s)
		return 0;
	errno = 0;
	*val = strtoull(s, &end, base);
	if (errno || *end || *s == '-' || *val > max) {
		shim_error("%s=%s is not valid", name, s);
		return -EINVAL;
	}
	return 0;
}

/* FNV-1a. The low byte is 0, so that no string runs over it. */
static unsigned long make_canary(const struct proclet_join *join)
{
	const struct {
		const void *p;
		size_t len;
	} parts[] = {
		{ join->name, strlen(join->name) },
		{ &join->run, sizeof(join->run) },
		{ join->ident.build_id, sizeof(join->ident.build_id) },
	};
	unsigned long h = 0xcbf29ce484222325UL;
	size_t i, k;

	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		for (k = 0; k < parts[i].len; k++)
			h = (h ^ ((const unsigned char *)parts[i].p)[k]) *
				0x100000001b3UL;
	return h & ~0xffUL;
}

static ssize_t run_root(void *obj, const void *in, size_t in_len, void *out,
			size_t out_cap)
{
	(void)obj;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	/* Its proclet is pinned anyway; operations need not look for our frame. */
	proclet_pin();
	root.status = root.fn(root.argc, root.argv);
	root.returned = true;
	return 0;
}

/* Nobody else's message can start the root function, or start it again. */
proclet_method_t lproc_root_method(void)
{
	return __atomic_exchange_n(&root.armed, false, __ATOMIC_ACQ_REL) ?
		run_root : NULL;
}

static int launch(void)
{
	struct proclet_attr attr = {
		.capacity = ROOT_CAPACITY,
		.node = shim.node,
		.flags = PROCLET_PINNED,
	};
	struct proclet_op op = { .op = PROCLET_OP_CALL, .method = METHOD_ROOT };
	proclet_t p;
	__s64 ret;

	ret = proclet_create(&p, &attr);
	if (ret) {
		shim_error("cannot create the root proclet: %s", strerror(-ret));
		return 1;
	}
	op.target = p;
	__atomic_store_n(&root.armed, true, __ATOMIC_RELEASE);
	ret = shim_op(&op);
	if (ret == -ESHUTDOWN)
		return 1;	/* whoever ended it has said why */
	if (ret < 0 || !root.returned) {
		shim_error("the root function did not end: %s", strerror(-ret));
		return 1;
	}
	if (root.status < 0) {
		shim_error("the root function failed: %s", strerror(-root.status));
		return 1;
	}
	return root.status & 0xff;
}

static void *launcher(void *arg)
{
	struct proclet_exit e = { .size = sizeof(e) };

	(void)arg;
	e.status = launch();
	dev_ioctl(PROCLET_IOC_EXIT, &e);
	return NULL;
}

static int start_workers(unsigned int n)
{
	int err = 0;

	while (n-- && !err)
		err = worker_start();
	if (err)
		shim_error("cannot start a worker: %s", strerror(-err));
	return err;
}

/* Members that are not there yet cannot be named, those that are can. */
static int wait_members(unsigned int wait_for, bool is_root)
{
	struct proclet_members m;
	unsigned int i, len = 0;
	char nodes[PROCLET_MAX_NODES * 3 + 1];
	int err;

	/* One that has gone may come again, unless it was the root. */
	err = dev_members(&m, wait_for, MEMBERS_TIMEOUT_MS, is_root ? 0 : PROCLET_MEMBERS_LOST);
	if (!err || err == -ESHUTDOWN || err == -ECONNRESET)
		return 0;	/* over already: PROCLET_IOC_MANAGE says how */
	if (err != -ETIMEDOUT) {
		shim_error("cannot wait for members: %s", strerror(-err));
		return err;
	}
	nodes[0] = 0;
	for (i = 0; i < m.count; i++)
		len += snprintf(nodes + len, sizeof(nodes) - len, " %u", m.ids[i]);
	shim_error("%u of %u members came: nodes%s", m.count, wait_for, nodes);
	return err;
}

/* Returns an error if that is the end. */
static int lost_member(const struct proclet_manage *m, __u32 root_node, bool survive)
{
	struct proclet_dying d = { .size = sizeof(d), .reason = "it has lost the root member" };
	const char *reason = *m->reason ? m->reason : "it does not say why";

	if (m->node == shim.node) {
		crash_wait();
		shim_error("this member has left, or the others have lost it (%s)", reason);
		return -ECONNRESET;
	}
	if (survive && m->node != root_node) {
		shim_error("the member on node %u has gone, and with it its proclets (%s)",
			   m->node, reason);
		return 0;
	}
	shim_error("the %smember on node %u has gone (%s): the logical process ends",
		   m->node == root_node ? "root " : "", m->node, reason);
	/* The root may live, only not for us: that we exit must not end it. */
	if (survive)
		dev_ioctl(PROCLET_IOC_DYING, &d);
	return -ECONNRESET;
}

static int manage(__u32 root_node, bool survive)
{
	struct proclet_manage m;
	int err;

	for (;;) {
		memset(&m, 0, sizeof(m));
		m.size = sizeof(m);
		err = dev_ioctl(PROCLET_IOC_MANAGE, &m);
		if (err == -EINTR)
			continue;
		if (err) {
			shim_error("lost the logical process: %s", strerror(-err));
			return err;
		}
		switch (m.event) {
		case PROCLET_EVENT_SPAWN:
			start_workers(m.status);
			break;
		case PROCLET_EVENT_EXIT:
			return m.status;
		case PROCLET_EVENT_LOST:
			err = lost_member(&m, root_node, survive);
			if (err)
				return err;
		}
	}
}

static int start(struct proclet_join *join, unsigned int members, __u32 root_node)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct proclet_members m;
	bool is_root;
	pthread_t thread;
	int err;

	err = dev_map();
	if (err)
		return err;
	err = dev_members(&m, 0, 0, 0);
	if (err) {
		shim_error("cannot list the members: %s", strerror(-err));
		return err;
	}
	shim.node = m.node;
	shim.root_node = root_node ?: m.node;
	is_root = shim.root_node == shim.node;
	shim.canary = make_canary(join);
	err = park_init();
	if (!err)
		err = crash_init();
	if (!err)
		err = start_workers(cpus < 2 ? 2 : cpus > 64 ? 64 : cpus);
	if (!err)
		err = wait_members(members, is_root);
	if (err || !is_root)
		return err;
	err = -pthread_create(&thread, NULL, launcher, NULL);
	if (err)
		shim_error("cannot start the root function: %s", strerror(-err));
	else
		pthread_detach(thread);
	return err;
}

PUBLIC int lproc_main_methods(const char *name, int (*fn)(int, char **), int argc,
			      char **argv, const proclet_method_t *first,
			      const proclet_method_t *last)
{
	unsigned long long node = 0, members = 1, root_node = 0, run = 0;
	struct proclet_join join = {};
	int err;

	if (shim.fd >= 0)
		return -EALREADY;
	if (!name || !*name || strlen(name) >= sizeof(join.name)) {
		shim_error("the logical process's name must have 1 to %zu characters, no spaces",
			   sizeof(join.name) - 1);
		return -EINVAL;
	}
	if (env_number("PROCLET_NODE", 10, PROCLET_MAX_NODES, &node) ||
	    env_number("PROCLET_MEMBERS", 10, PROCLET_MAX_NODES, &members) ||
	    env_number("PROCLET_ROOT", 10, PROCLET_MAX_NODES, &root_node) ||
	    env_number("PROCLET_RUN", 16, ~0ULL, &run))
		return -EINVAL;
	err = join_flags(&join.flags);
	if (!err)
		err = fix_addresses(argv);
	if (err)
		return err;
	err = text_init(&join.ident);
	if (err)
		return err;
	err = method_init(first, last);
	if (err) {
		shim_error("methods: %s", strerror(-err));
		return err;
	}
	strcpy(join.name, name);
	join.node = node;
	join.run = run;
	root.fn = fn;
	root.argc = argc;
	root.argv = argv;
	err = dev_join(&join);
	if (err)
		return err;
	err = start(&join, members, root_node);
	return err ? err :
		manage(root_node, join.flags & PROCLET_JOIN_SURVIVE);
}
