// SPDX-License-Identifier: GPL-2.0
/* Misuse of every ioctl, and the protocol of one worker without the library. */
#include "harness.h"
#include "random.h"
#include "raw.h"

#include <ctype.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#define KERNEL_ADDRESS ((void *)0xffff888000000000ULL)

/* The ioctls, each with an argument that does nothing or little. */
static void fill_nothing(void *arg)
{
	(void)arg;
}

static void fill_join(void *arg)
{
	raw_join_fill(arg, "abi", raw_own_run());
}

static void fill_op(void *arg)
{
	struct proclet_native_op *n = arg;

	n->op.op = PROCLET_OP_LOCATE;
	n->op.target = PROCLET_ID(1, 0x7fffffff);
}

static void fill_work(void *arg)
{
	struct proclet_work *w = arg;

	w->worker = PROCLET_MAX_WORKERS;
}

static void fill_brk(void *arg)
{
	struct proclet_brk *b = arg;

	b->proclet = PROCLET_ID(1, 0x7fffffff);
	b->brk = PAGE;
}

static void fill_stack(void *arg)
{
	struct proclet_stack *s = arg;

	s->op = PROCLET_STACK_ALLOC;
}

static void fill_extent(void *arg)
{
	((struct proclet_extent *)arg)->start = 1ULL << 63;
}

static const struct ioc {
	const char *name;
	unsigned int cmd;
	__u32 size;
	void (*fill)(void *arg);
	int result;	/* of a member's ioctl with @fill; 1: do not try */
} iocs[] = {
	{ "JOIN", PROCLET_IOC_JOIN, sizeof(struct proclet_join), fill_join, -EALREADY },
	{ "MEMBERS", PROCLET_IOC_MEMBERS, sizeof(struct proclet_members), fill_nothing, 0 },
	{ "MANAGE", PROCLET_IOC_MANAGE, sizeof(struct proclet_manage), fill_nothing, 1 },
	{ "OP", PROCLET_IOC_OP, sizeof(struct proclet_native_op), fill_op, 0 },
	{ "WORK", PROCLET_IOC_WORK, sizeof(struct proclet_work), fill_work, -EINVAL },
	{ "BRK", PROCLET_IOC_BRK, sizeof(struct proclet_brk), fill_brk, -ESTALE },
	{ "STACK", PROCLET_IOC_STACK, sizeof(struct proclet_stack), fill_stack, 0 },
	{ "EXTENT", PROCLET_IOC_EXTENT, sizeof(struct proclet_extent), fill_extent, -ENXIO },
	{ "EXIT", PROCLET_IOC_EXIT, sizeof(struct proclet_exit), fill_nothing, 0 },
	{ "DYING", PROCLET_IOC_DYING, sizeof(struct proclet_dying), fill_nothing, 0 },
};

static union {
	__u32 size;
	__u8 bytes[2 * 4096];
	__u64 align;
} arg;

static void *fill_arg(const struct ioc *ioc, __u32 size)
{
	memset(&arg, 0, sizeof(arg));
	ioc->fill(&arg);
	arg.size = size;
	return &arg;
}

/* Wait for the end of a child, boundedly: false when it lives on. */
static bool ends(pid_t pid, int timeout_ms, int *status)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	bool ended = poll(&p, 1, timeout_ms) == 1;

	close(pidfd);
	if (ended)
		waitpid(pid, status, 0);
	return ended;
}

/* Until a process is inside a system call, as seen from outside. */
static bool blocked_in(pid_t pid, long call)
{
	char path[64], text[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	for (int i = 0; i < 100000; i++) {
		fd = open(path, O_RDONLY);
		if (fd < 0)
			return false;
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[n > 0 ? n : 0] = 0;
		if (isdigit(text[0]) && strtol(text, NULL, 10) == call)
			return true;
		sched_yield();
	}
	return false;
}

FIXTURE(file) {
	int fd;
};

FIXTURE_SETUP(file)
{
	self->fd = raw_open();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(file)
{
	close(self->fd);
}

TEST_F(file, not_joined)
{
	for (size_t i = 1; i < ARRAY_SIZE(iocs); i++) {
		EXPECT_EQ(-ENOTCONN, raw_ioctl(self->fd, iocs[i].cmd,
					       fill_arg(&iocs[i], iocs[i].size)))
			TH_LOG("ioctl %s", iocs[i].name);
	}
	EXPECT_GT(0, raw_map_region(self->fd));
	EXPECT_EQ(NULL, raw_map_workers(self->fd));
	EXPECT_EQ(NULL, raw_map_presence(self->fd));
}

TEST_F(file, unknown_ioctls)
{
	EXPECT_EQ(-ENOTTY, raw_ioctl(self->fd, _IO(PROCLET_IOC_MAGIC, 8), &arg));
	EXPECT_EQ(-ENOTTY, raw_ioctl(self->fd, _IO(PROCLET_IOC_MAGIC, 255), &arg));
	EXPECT_EQ(-ENOTTY, raw_ioctl(self->fd, _IO(0xb9, 0), &arg));
	EXPECT_EQ(-ENOTTY, raw_ioctl(self->fd, 0, &arg));
	EXPECT_EQ(-ENOTTY, raw_ioctl(self->fd, 0xffffffff, &arg));
}

TEST_F(file, other_system_calls)
{
	struct pollfd p = { .fd = self->fd, .events = POLLIN };

	EXPECT_EQ(-1, read(self->fd, &arg, 16));
	EXPECT_EQ(-1, write(self->fd, &arg, 16));
	EXPECT_LE(0, poll(&p, 1, 0));
	EXPECT_EQ(-1, ftruncate(self->fd, 4096));
	EXPECT_NE(0, raw_mmap(self->fd, NULL, 4096, PROT_READ, MAP_SHARED, 0));
	EXPECT_NE(0, raw_mmap(self->fd, NULL, 4096, PROT_READ, MAP_PRIVATE, 0));
}

TEST_F(file, join_sizes)
{
	const struct ioc *join = &iocs[0];

	EXPECT_EQ(-EINVAL, raw_ioctl(self->fd, join->cmd, fill_arg(join, 0)));
	EXPECT_EQ(-EINVAL, raw_ioctl(self->fd, join->cmd, fill_arg(join, 4)));
	EXPECT_EQ(-EINVAL, raw_ioctl(self->fd, join->cmd, fill_arg(join, join->size - 1)));
	fill_arg(join, join->size + 8);
	arg.bytes[join->size + 3] = 1;
	EXPECT_EQ(-E2BIG, raw_ioctl(self->fd, join->cmd, &arg));
	EXPECT_GT(0, raw_ioctl(self->fd, join->cmd, fill_arg(join, 0xffffffff)));
	EXPECT_EQ(-EFAULT, raw_ioctl(self->fd, join->cmd, NULL));
	EXPECT_EQ(-EFAULT, raw_ioctl(self->fd, join->cmd, KERNEL_ADDRESS));
	/* From a newer program: the longer struct says nothing new. */
	EXPECT_EQ(0, raw_ioctl(self->fd, join->cmd, fill_arg(join, join->size + 8)));
}

TEST_F(file, join_fields)
{
	struct proclet_join join;

	raw_join_fill(&join, "", raw_own_run());
	EXPECT_EQ(-EINVAL, raw_ioctl(self->fd, PROCLET_IOC_JOIN, &join));

	raw_join_fill(&join, "abi", raw_own_run());
	memset(join.name, 'x', sizeof(join.name));
	EXPECT_EQ(-EINVAL, raw_ioctl(self->fd, PROCLET_IOC_JOIN, &join));

	raw_join_fill(&join, "abi", raw_own_run());
	join.node = 31;
	EXPECT_EQ(-ENODEV, raw_ioctl(self->fd, PROCLET_IOC_JOIN, &join));
	join.node = 33;
	EXPECT_GT(0, raw_ioctl(self->fd, PROCLET_IOC_JOIN, &join));
	join.node = 0xffffffff;
	EXPECT_GT(0, raw_ioctl(self->fd, PROCLET_IOC_JOIN, &join));

	raw_join_fill(&join, "abi", raw_own_run());
	join.ident.build_id_len = 33;
	EXPECT_EQ(-EINVAL, raw_ioctl(self->fd, PROCLET_IOC_JOIN, &join));
	join.ident.build_id_len = 0xffffffff;
	EXPECT_EQ(-EINVAL, raw_ioctl(self->fd, PROCLET_IOC_JOIN, &join));

	/* After all these it still works, with the longest name. */
	raw_join_fill(&join, "abi", raw_own_run());
	join.flags = 2;
	EXPECT_EQ(-EINVAL, raw_ioctl(self->fd, PROCLET_IOC_JOIN, &join));
	raw_join_fill(&join, "abi", raw_own_run());
	join.reserved = 1;
	EXPECT_EQ(-EINVAL, raw_ioctl(self->fd, PROCLET_IOC_JOIN, &join));

	raw_join_fill(&join, "abi", raw_own_run());
	memset(join.name, 'x', sizeof(join.name) - 1);
	memset(join.reason, 'x', sizeof(join.reason));
	EXPECT_EQ(0, raw_ioctl(self->fd, PROCLET_IOC_JOIN, &join));
	EXPECT_EQ(0, join.reason[0]);
}

TEST_F(file, one_member_of_a_run_per_node)
{
	int other = raw_open(), third = raw_open();

	ASSERT_LE(0, other);
	ASSERT_LE(0, third);
	EXPECT_EQ(0, raw_join(self->fd, "abi", raw_own_run()));
	EXPECT_EQ(-EALREADY, raw_join(self->fd, "abi", raw_own_run()));
	EXPECT_EQ(-EALREADY, raw_join(self->fd, "abi2", raw_own_run()));
	EXPECT_EQ(-EEXIST, raw_join(other, "abi", raw_own_run()));
	/* Another run, or another name, is another logical process. */
	EXPECT_EQ(0, raw_join(other, "abi", raw_own_run() + 1));
	EXPECT_EQ(0, raw_join(third, "abi2", raw_own_run()));
	close(third);
	third = raw_open();
	EXPECT_EQ(0, raw_join(third, "abi2", raw_own_run()));
	close(third);
	close(other);
}

FIXTURE(member) {
	int fd;
	__u64 p;
};

FIXTURE_SETUP(member)
{
	self->fd = raw_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, raw_join(self->fd, "abi", raw_own_run()));
	self->p = raw_proclet(self->fd, MIB);
	ASSERT_NE(0, self->p);
}

FIXTURE_TEARDOWN(member)
{
	close(self->fd);
}

TEST_F(member, sizes)
{
	for (size_t i = 0; i < ARRAY_SIZE(iocs); i++) {
		const struct ioc *ioc = &iocs[i];

#define EXPECT_SIZE(result, bytes) \
		EXPECT_EQ(result, raw_ioctl(self->fd, ioc->cmd, fill_arg(ioc, bytes))) \
			TH_LOG("ioctl %s, size " #bytes, ioc->name)

		EXPECT_SIZE(-EINVAL, 0);
		EXPECT_SIZE(-EINVAL, 1);
		EXPECT_SIZE(-EINVAL, 4);
		EXPECT_SIZE(-EINVAL, ioc->size - 1);
		for (__u32 more = 1; more <= 64; more += 7) {
			fill_arg(ioc, ioc->size + more);
			arg.bytes[ioc->size + more - 1] = 1;
			EXPECT_EQ(-E2BIG, raw_ioctl(self->fd, ioc->cmd, &arg))
				TH_LOG("ioctl %s, %u more", ioc->name, more);
		}
		EXPECT_GT(0, raw_ioctl(self->fd, ioc->cmd, fill_arg(ioc, 0x7fffffff)));
		EXPECT_GT(0, raw_ioctl(self->fd, ioc->cmd, fill_arg(ioc, 0xffffffff)));
		if (ioc->result <= 0) {
			EXPECT_SIZE(ioc->result, ioc->size + 16);
			EXPECT_EQ(ioc->size + 16, arg.size)
				TH_LOG("ioctl %s", ioc->name);
		}
	}
}

TEST_F(member, bad_pointers)
{
	__u8 *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, pages);
	ASSERT_EQ(0, munmap(pages + PAGE, PAGE));
	for (size_t i = 0; i < ARRAY_SIZE(iocs); i++) {
		const struct ioc *ioc = &iocs[i];
		void *cut = pages + PAGE - 4;

		EXPECT_EQ(-EFAULT, raw_ioctl(self->fd, ioc->cmd, NULL))
			TH_LOG("ioctl %s", ioc->name);
		EXPECT_EQ(-EFAULT, raw_ioctl(self->fd, ioc->cmd, (void *)8))
			TH_LOG("ioctl %s", ioc->name);
		EXPECT_EQ(-EFAULT, raw_ioctl(self->fd, ioc->cmd, KERNEL_ADDRESS))
			TH_LOG("ioctl %s", ioc->name);
		EXPECT_EQ(-EFAULT, raw_ioctl(self->fd, ioc->cmd, pages + PAGE))
			TH_LOG("ioctl %s", ioc->name);
		/* The size can be read, the rest not. */
		memcpy(cut, &ioc->size, 4);
		EXPECT_EQ(-EFAULT, raw_ioctl(self->fd, ioc->cmd, cut))
			TH_LOG("ioctl %s", ioc->name);
	}
	/* Results cannot be written. */
	for (size_t i = 1; i < ARRAY_SIZE(iocs) - 1; i++) {
		const struct ioc *ioc = &iocs[i];

		if (ioc->result || !(_IOC_DIR(ioc->cmd) & _IOC_READ))
			continue;
		ASSERT_EQ(0, mprotect(pages, PAGE, PROT_READ | PROT_WRITE));
		memcpy(pages, fill_arg(ioc, ioc->size), ioc->size);
		ASSERT_EQ(0, mprotect(pages, PAGE, PROT_READ));
		EXPECT_EQ(-EFAULT, raw_ioctl(self->fd, ioc->cmd, pages))
			TH_LOG("ioctl %s", ioc->name);
	}
}

/* A child has the file, but is not the member. */
TEST_F(member, from_a_child)
{
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		int wrong = 0;

		for (size_t i = 1; i < ARRAY_SIZE(iocs); i++) {
			int ret = raw_ioctl(self->fd, iocs[i].cmd,
					    fill_arg(&iocs[i], iocs[i].size));

			if (ret == -EPERM)
				continue;
			TH_LOG("ioctl %s: expected %d, saw %d", iocs[i].name, -EPERM, ret);
			wrong = 1;
		}
		if (raw_map_region(self->fd) >= 0 || raw_map_workers(self->fd) ||
		    raw_map_presence(self->fd)) {
			TH_LOG("a child could map the member's memory");
			wrong = 1;
		}
		_exit(wrong);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* The child's end is not the member's. */
	EXPECT_EQ(raw_node(), raw_locate(self->fd, self->p));
}

TEST_F(member, members)
{
	struct proclet_members m;

	memset(&m, 0, sizeof(m));
	m.size = sizeof(m);
	m.reserved = 1;
	EXPECT_EQ(-EINVAL, raw_ioctl(self->fd, PROCLET_IOC_MEMBERS, &m));

	EXPECT_EQ(0, raw_members(self->fd, 0, 0, &m));
	EXPECT_EQ(1, m.count);
	EXPECT_EQ(raw_node(), m.node);
	EXPECT_EQ(raw_node(), m.ids[0]);
	EXPECT_EQ(0, raw_members(self->fd, 1, 0, &m));

	EXPECT_EQ(-ETIMEDOUT, raw_members(self->fd, 2, 50, &m));
	EXPECT_EQ(1, m.count);
	/* More than there can be: whatever it says, it must not wait for ever. */
	EXPECT_GT(0, raw_members(self->fd, 33, 50, &m));
	EXPECT_GT(0, raw_members(self->fd, 0xffffffff, 50, &m));
}

/* The operation's result, whichever way it comes. */
#define EXPECT_OP(result, ...) do {					\
	struct proclet_op op_ = { __VA_ARGS__ };			\
	__s64 seen_ = raw_op(self->fd, &op_);				\
									\
	EXPECT_EQ((__s64)(result), seen_)				\
		TH_LOG("operation { %s }", #__VA_ARGS__);		\
} while (0)

/* One of two results that the ABI allows. */
#define EXPECT_OP2(one, two, ...) do {					\
	struct proclet_op op_ = { __VA_ARGS__ };			\
	__s64 seen_ = raw_op(self->fd, &op_);				\
									\
	EXPECT_TRUE(seen_ == (one) || seen_ == (two))			\
		TH_LOG("operation { %s }: expected %d or %d, saw %lld", \
		       #__VA_ARGS__, (int)(one), (int)(two), seen_);	\
} while (0)

TEST_F(member, operations)
{
	struct proclet_native_op n = { .size = sizeof(n), .reserved = 1 };

	n.op.op = PROCLET_OP_LOCATE;
	n.op.target = self->p;
	EXPECT_EQ(-EINVAL, raw_ioctl(self->fd, PROCLET_IOC_OP, &n));

	EXPECT_OP(-EINVAL, .op = 0);
	EXPECT_OP(-EINVAL, .op = 100);
	EXPECT_OP(-EINVAL, .op = 0xffffffff);
	EXPECT_OP(raw_node(), .op = PROCLET_OP_LOCATE, .target = self->p);
	/* For threads of proclets. */
	EXPECT_OP(-EPERM, .op = PROCLET_OP_WAIT);
	EXPECT_OP(-EPERM, .op = PROCLET_OP_WAKE);
	EXPECT_OP(-EPERM, .op = PROCLET_OP_SPAWN);
}

/* Ids that are nobody's, for each operation that takes one. */
TEST_F(member, bad_ids)
{
	const __u32 ops[] = { PROCLET_OP_CALL, PROCLET_OP_DESTROY, PROCLET_OP_LOCATE,
			      PROCLET_OP_MIGRATE, PROCLET_OP_GET, PROCLET_OP_PUT,
			      PROCLET_OP_READ, PROCLET_OP_WRITE };
	__u32 granule = PROCLET_ID_GRANULE(self->p), gen = PROCLET_ID_GEN(self->p);
	struct proclet_migrate_args to = { .node = raw_node() };

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		__u64 in = ops[i] == PROCLET_OP_MIGRATE ? (uintptr_t)&to : 0;
		__u64 len = in ? sizeof(to) : 0;

#define EXPECT_BAD(one, two, id) \
		EXPECT_OP2(one, two, .op = ops[i], .target = (id), .in = in, .in_len = len)

		EXPECT_BAD(-ESTALE, -ESTALE, PROCLET_ID(granule, gen + 1));
		EXPECT_BAD(-ESTALE, -ESTALE, PROCLET_ID(granule + 1, gen));
		EXPECT_BAD(-ESTALE, -ESTALE, PROCLET_ID(granule, 0xffffffff));
		EXPECT_BAD(-ESTALE, -EINVAL, PROCLET_ID(granule, 0));
		EXPECT_BAD(-ESTALE, -EINVAL, 0ULL);
		EXPECT_BAD(-ESTALE, -EINVAL, ~0ULL);
		EXPECT_BAD(-ESTALE, -EINVAL, PROCLET_ID(1U << 26, 1));
		EXPECT_BAD(-ESTALE, -EINVAL, PROCLET_ID(0xffffffff, 1));
		/* Among the thread stacks. */
		EXPECT_BAD(-ESTALE, -EINVAL,
			   PROCLET_ID(PROCLET_STACKS_OFF >> PROCLET_GRANULE_SHIFT, 1));
		/* At home on a node that nobody knows. */
		EXPECT_BAD(-EHOSTUNREACH, -ESTALE, PROCLET_ID(30U << 21, 1));
	}
	EXPECT_EQ(raw_node(), raw_locate(self->fd, self->p));
}

TEST_F(member, references)
{
	char byte = 0;

	EXPECT_OP(-EINVAL, .op = PROCLET_OP_GET, .target = self->p, .in = (uintptr_t)&byte,
		  .in_len = 1);
	EXPECT_OP(-EINVAL, .op = PROCLET_OP_PUT, .target = self->p, .in = (uintptr_t)&byte,
		  .in_len = 1);
	EXPECT_OP(0, .op = PROCLET_OP_GET, .target = self->p);
	EXPECT_OP(0, .op = PROCLET_OP_PUT, .target = self->p);
	EXPECT_EQ(raw_node(), raw_locate(self->fd, self->p));
	EXPECT_OP(0, .op = PROCLET_OP_PUT, .target = self->p);
	EXPECT_EQ(-ESTALE, raw_locate(self->fd, self->p));
}

#define NAME(code) .op = (code), .in = (uintptr_t)&name, .in_len = sizeof(name), \
	.out = (uintptr_t)&id, .out_cap = sizeof(id)

TEST_F(member, names)
{
	const __u32 ops[] = { PROCLET_OP_PUBLISH, PROCLET_OP_UNPUBLISH, PROCLET_OP_LOOKUP };
	struct proclet_name name = { .id = self->p };
	__u64 id = 7;

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		memset(name.name, 0, sizeof(name.name));
		EXPECT_OP(-EINVAL, NAME(ops[i]));
		memset(name.name, 'x', sizeof(name.name));
		EXPECT_OP(-EINVAL, NAME(ops[i]));
		memset(name.name, 0, sizeof(name.name));
		name.name[0] = 'x';
		name.name[PROCLET_NAME_MAX - 1] = 'x';
		EXPECT_OP(-EINVAL, NAME(ops[i]));
		name.name[PROCLET_NAME_MAX - 1] = 0;
		EXPECT_OP(-EINVAL, .op = ops[i]);
		EXPECT_OP(-EINVAL, .op = ops[i], .in = (uintptr_t)&name,
			  .in_len = sizeof(name) - 1);
		EXPECT_OP(-EFAULT, .op = ops[i], .in = 16, .in_len = sizeof(name));
		EXPECT_OP(-EHOSTUNREACH, NAME(ops[i]), .target = 31);
		EXPECT_OP(-EHOSTUNREACH, NAME(ops[i]), .target = 33);
	}
	name.id = 0;
	EXPECT_OP(-ENOENT, NAME(PROCLET_OP_LOOKUP));
	EXPECT_OP(-ENOENT, NAME(PROCLET_OP_UNPUBLISH));
	EXPECT_OP(-ESTALE, NAME(PROCLET_OP_PUBLISH));
	name.id = ~0ULL;
	EXPECT_OP(-ESTALE, NAME(PROCLET_OP_PUBLISH));
	name.id = self->p;
	EXPECT_OP(0, NAME(PROCLET_OP_PUBLISH));
	EXPECT_OP(-EEXIST, NAME(PROCLET_OP_PUBLISH));
	EXPECT_OP(-EINVAL, NAME(PROCLET_OP_LOOKUP));
	EXPECT_EQ(7, id);
	name.id = 0;
	EXPECT_OP(0, NAME(PROCLET_OP_LOOKUP));
	EXPECT_EQ(self->p, id);
	/* Only if it is this one's; then whosever it is. */
	name.id = self->p + 1;
	EXPECT_OP(-ENOENT, NAME(PROCLET_OP_UNPUBLISH));
	name.id = self->p;
	EXPECT_OP(0, NAME(PROCLET_OP_UNPUBLISH));
	EXPECT_OP(0, NAME(PROCLET_OP_PUBLISH));
	name.id = 0;
	EXPECT_OP(0, NAME(PROCLET_OP_UNPUBLISH));
	EXPECT_OP(-ENOENT, NAME(PROCLET_OP_LOOKUP));
	/* What is left goes with the member. */
	name.id = self->p;
	EXPECT_OP(0, NAME(PROCLET_OP_PUBLISH));
}

TEST_F(member, memory)
{
	__u64 word = 5, seen = 0, most = PAGE - PROCLET_ROOT_OFF;

#define READ .op = PROCLET_OP_READ, .target = self->p, .out = (uintptr_t)&seen
#define WRITE .op = PROCLET_OP_WRITE, .target = self->p, .in = (uintptr_t)&word

	EXPECT_OP(8, WRITE, .in_len = 8, .out = 16);
	EXPECT_OP(8, READ, .out_cap = 8, .in = 16);
	EXPECT_EQ(5, seen);
	EXPECT_OP(8, READ, .out_cap = 8, .in = most - 8);
	EXPECT_OP(8, WRITE, .in_len = 8, .out = most - 8);
	EXPECT_OP(-ERANGE, READ, .out_cap = 8, .in = most - 7);
	EXPECT_OP(-ERANGE, WRITE, .in_len = 8, .out = most - 7);
	EXPECT_OP(-ERANGE, READ, .out_cap = 8, .in = ~0ULL);
	EXPECT_OP(-ERANGE, WRITE, .in_len = 8, .out = ~0ULL - 7);
	EXPECT_OP(-ERANGE, READ, .out_cap = 8, .in = PROCLET_CAPACITY_MAX);
	/* Its header. */
	EXPECT_OP(-ERANGE, READ, .out_cap = 8, .in = -8ULL);
	/* Bytes the other way. */
	EXPECT_OP(-EINVAL, READ, .out_cap = 8, .in = 16, .in_len = 8);
	EXPECT_OP(-EINVAL, WRITE, .in_len = 8, .out = 16, .out_cap = 8);
	EXPECT_OP(-EMSGSIZE, READ, .out_cap = PROCLET_PAYLOAD_MAX + 1);
	EXPECT_OP(-EMSGSIZE, WRITE, .in_len = PROCLET_PAYLOAD_MAX + 1);
	EXPECT_OP(-EMSGSIZE, READ, .out_cap = ~0ULL);
	EXPECT_OP(-EFAULT, .op = PROCLET_OP_READ, .target = self->p, .out = 16, .out_cap = 8);
	EXPECT_OP(-EFAULT, .op = PROCLET_OP_WRITE, .target = self->p, .in = 16, .in_len = 8);
	/* With the reserved size. */
	EXPECT_EQ(0, raw_brk(self->fd, self->p, 3 * PAGE));
	EXPECT_OP(8, WRITE, .in_len = 8, .out = most + 2 * PAGE - 8);
	EXPECT_EQ(0, raw_brk(self->fd, self->p, PAGE));
	EXPECT_OP(-ERANGE, READ, .out_cap = 8, .in = most + 2 * PAGE - 8);
	EXPECT_EQ(0, raw_brk(self->fd, self->p, 3 * PAGE));
	EXPECT_OP(8, READ, .out_cap = 8, .in = most + 2 * PAGE - 8);
	EXPECT_EQ(0, seen);
}

TEST_F(member, call)
{
	EXPECT_OP(-EMSGSIZE, .op = PROCLET_OP_CALL, .target = self->p, .in = (uintptr_t)&arg,
		  .in_len = PROCLET_PAYLOAD_MAX + 1);
	EXPECT_OP(-EMSGSIZE, .op = PROCLET_OP_CALL, .target = self->p, .in = (uintptr_t)&arg,
		  .in_len = ~0ULL);
	EXPECT_OP(-EMSGSIZE, .op = PROCLET_OP_CALL, .target = self->p, .out = (uintptr_t)&arg,
		  .out_cap = PROCLET_PAYLOAD_MAX + 1);
	EXPECT_OP(-EMSGSIZE, .op = PROCLET_OP_CALL, .target = self->p, .out = (uintptr_t)&arg,
		  .out_cap = ~0ULL);
	EXPECT_OP(-EFAULT, .op = PROCLET_OP_CALL, .target = self->p, .in = 0, .in_len = 1);
	EXPECT_OP(-EFAULT, .op = PROCLET_OP_CALL, .target = self->p, .in = 8, .in_len = 5000);
	EXPECT_OP(-EFAULT, .op = PROCLET_OP_CALL, .target = self->p,
		  .in = (uintptr_t)KERNEL_ADDRESS, .in_len = 1);
	EXPECT_OP(-EFAULT, .op = PROCLET_OP_CALL, .target = self->p,
		  .in = ~0ULL - 100, .in_len = PROCLET_PAYLOAD_MAX);
}

TEST_F(member, create)
{
	struct proclet_create_args a = { .capacity = MIB };
	__u64 id = 0;

#define CREATE .op = PROCLET_OP_CREATE, .in = (uintptr_t)&a, \
	.out = (uintptr_t)&id, .out_cap = sizeof(id)
#define EXPECT_CREATE(result, field, value) do {			\
	memset(&a, 0, sizeof(a));					\
	a.capacity = MIB;						\
	a.field = (value);						\
	EXPECT_OP(result, CREATE, .in_len = sizeof(a));			\
} while (0)

	EXPECT_OP(-EINVAL, CREATE, .in_len = 0);
	EXPECT_OP(-EINVAL, CREATE, .in_len = sizeof(a) - 1);
	EXPECT_OP(-EINVAL, CREATE, .in_len = sizeof(a) + 1);
	EXPECT_OP(-EFAULT, .op = PROCLET_OP_CREATE, .in = 16, .in_len = sizeof(a),
		  .out = (uintptr_t)&id, .out_cap = sizeof(id));
	EXPECT_CREATE(-EINVAL, flags, 2);
	EXPECT_CREATE(-EINVAL, flags, 0x80000000);
	EXPECT_CREATE(-EINVAL, reserved, 1);
	EXPECT_CREATE(-EINVAL, capacity, 0);
	EXPECT_CREATE(-EINVAL, capacity, PROCLET_CAPACITY_MAX + 1);
	EXPECT_CREATE(-EINVAL, capacity, 1ULL << 63);
	EXPECT_CREATE(-EINVAL, capacity, ~0ULL);
	EXPECT_CREATE(-EINVAL, root_size, MIB);
	EXPECT_CREATE(-EINVAL, root_size, MIB - PROCLET_ROOT_OFF + 1);
	EXPECT_CREATE(-EINVAL, root_size, ~0ULL);
	EXPECT_CREATE(-EINVAL, root_size, ~0ULL - PROCLET_ROOT_OFF);
	a = (struct proclet_create_args) { .capacity = MIB };
	EXPECT_OP2(-EHOSTUNREACH, -EINVAL, CREATE, .in_len = sizeof(a), .target = 33);
	EXPECT_OP2(-EHOSTUNREACH, -EINVAL, CREATE, .in_len = sizeof(a), .target = 31);
	EXPECT_OP2(-EHOSTUNREACH, -EINVAL, CREATE, .in_len = sizeof(a),
		   .target = 1ULL << 32 | raw_node());
	/* The id has nowhere to go: an error, and the member is as before. */
	EXPECT_OP2(-EFAULT, 0, .op = PROCLET_OP_CREATE, .in = (uintptr_t)&a,
		   .in_len = sizeof(a), .out = 8, .out_cap = sizeof(id));
	EXPECT_EQ(0, raw_create(self->fd, &a, 0, &id));
	EXPECT_EQ(raw_node(), PROCLET_ID_HOME(id));
	EXPECT_EQ(0, raw_destroy(self->fd, id));
	EXPECT_EQ(-ESTALE, raw_destroy(self->fd, id));
	/* The largest there can be costs only what it touches. */
	a = (struct proclet_create_args) { .capacity = PROCLET_CAPACITY_MAX };
	EXPECT_EQ(0, raw_create(self->fd, &a, 0, &id));
	EXPECT_EQ(0, raw_destroy(self->fd, id));
}

TEST_F(member, migrate)
{
	struct proclet_create_args pinned = { .capacity = MIB,
					      .flags = PROCLET_CREATE_PINNED };
	struct proclet_migrate_args to = { .node = raw_node() };
	__u64 id;

#define MIGRATE .op = PROCLET_OP_MIGRATE, .target = self->p, .in = (uintptr_t)&to
	EXPECT_OP(-EINVAL, MIGRATE, .in_len = 0);
	EXPECT_OP(-EINVAL, MIGRATE, .in_len = sizeof(to) - 1);
	EXPECT_OP(-EINVAL, MIGRATE, .in_len = sizeof(to) + 1);
	EXPECT_OP(0, MIGRATE, .in_len = sizeof(to));
	to.flags = 1;
	EXPECT_OP(-EINVAL, MIGRATE, .in_len = sizeof(to));
	to.flags = 0;
	to.node = 0;
	EXPECT_OP2(-EHOSTUNREACH, -EINVAL, MIGRATE, .in_len = sizeof(to));
	to.node = 31;
	EXPECT_OP(-EHOSTUNREACH, MIGRATE, .in_len = sizeof(to));
	to.node = 33;
	EXPECT_OP2(-EHOSTUNREACH, -EINVAL, MIGRATE, .in_len = sizeof(to));
	to.node = 0xffffffff;
	EXPECT_OP2(-EHOSTUNREACH, -EINVAL, MIGRATE, .in_len = sizeof(to));
	EXPECT_EQ(raw_node(), raw_locate(self->fd, self->p));

	ASSERT_EQ(0, raw_create(self->fd, &pinned, 0, &id));
	EXPECT_EQ(0, raw_migrate(self->fd, id, raw_node()));
	EXPECT_GT(0, raw_migrate(self->fd, id, 31));
}

TEST_F(member, stats)
{
	struct proclet_stats s[2];

	memset(s, 0xee, sizeof(s));
	EXPECT_OP(0, .op = PROCLET_OP_STATS, .out = (uintptr_t)s,
		  .out_cap = sizeof(s[0]));
	EXPECT_EQ(1, s[0].proclets);
	EXPECT_EQ(0xeeeeeeeeeeeeeeeeULL, s[1].calls_local);
	/* Cut short. */
	memset(s, 0xee, sizeof(s));
	EXPECT_OP(0, .op = PROCLET_OP_STATS, .out = (uintptr_t)s, .out_cap = 12);
	EXPECT_EQ(0xeeeeeeeeU, (__u32)(s[0].calls_kernel >> 32));
	EXPECT_OP2(-EHOSTUNREACH, -EINVAL, .op = PROCLET_OP_STATS, .target = 31);
	EXPECT_OP2(-EHOSTUNREACH, -EINVAL, .op = PROCLET_OP_STATS, .target = 33);
}

TEST_F(member, brk)
{
	struct proclet_brk b = { .size = sizeof(b), .reserved = 1, .proclet = self->p,
				 .brk = PAGE };
	__u64 id;

	EXPECT_EQ(-EINVAL, raw_ioctl(self->fd, PROCLET_IOC_BRK, &b));
	EXPECT_EQ(-ESTALE, raw_brk(self->fd, 0, PAGE));
	EXPECT_EQ(-ESTALE, raw_brk(self->fd, ~0ULL, PAGE));
	EXPECT_EQ(-ESTALE, raw_brk(self->fd, self->p + (1ULL << 32), PAGE));
	EXPECT_EQ(-ENOMEM, raw_brk(self->fd, self->p, MIB + 1));
	EXPECT_EQ(-ENOMEM, raw_brk(self->fd, self->p, 1ULL << 40));
	EXPECT_EQ(-ENOMEM, raw_brk(self->fd, self->p, 1ULL << 63));
	EXPECT_EQ(-ENOMEM, raw_brk(self->fd, self->p, ~0ULL));
	EXPECT_EQ(-ENOMEM, raw_brk(self->fd, self->p, ~0ULL - PAGE + 1));
	EXPECT_EQ(0, raw_brk(self->fd, self->p, MIB));
	EXPECT_EQ(0, raw_brk(self->fd, self->p, MIB - 1));
	EXPECT_EQ(0, raw_brk(self->fd, self->p, 1));
	EXPECT_GE(0, raw_brk(self->fd, self->p, 0));

	id = raw_proclet(self->fd, MIB);
	EXPECT_EQ(0, raw_brk(self->fd, id, MIB));
	EXPECT_EQ(0, raw_destroy(self->fd, id));
	EXPECT_EQ(-ESTALE, raw_brk(self->fd, id, MIB));
}

TEST_F(member, stack)
{
	static __u64 stacks[500];
	__u64 s, bad[] = { 0, 1, PROCLET_REGION_BASE, ~0ULL, 0xffff888000000000ULL,
			   PROCLET_REGION_BASE + PROCLET_STACKS_OFF - PROCLET_STACK_SIZE,
			   PROCLET_REGION_BASE + PROCLET_REGION_SIZE, PROCLET_ID_HEAP(self->p),
			   /* another node's */
			   PROCLET_REGION_BASE + 30 * PROCLET_SLICE_SIZE + PROCLET_STACKS_OFF };

	s = 0;
	EXPECT_EQ(-EINVAL, raw_stack(self->fd, 0, &s));
	EXPECT_EQ(-EINVAL, raw_stack(self->fd, 4, &s));
	EXPECT_EQ(-EINVAL, raw_stack(self->fd, 0xffffffff, &s));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		s = bad[i];
		EXPECT_EQ(-EINVAL, raw_stack(self->fd, PROCLET_STACK_FREE, &s))
			TH_LOG("stack %llx", bad[i]);
		s = bad[i];
		EXPECT_EQ(-EINVAL, raw_stack(self->fd, PROCLET_STACK_TRIM, &s))
			TH_LOG("stack %llx", bad[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(stacks); i++) {
		EXPECT_EQ(0, raw_stack(self->fd, PROCLET_STACK_ALLOC, &stacks[i]));
		EXPECT_EQ(0, stacks[i] % PROCLET_STACK_SIZE);
		for (size_t j = 0; j < i; j++) {
			ASSERT_NE(stacks[i], stacks[j]);
		}
	}
	s = stacks[0] + PAGE;
	EXPECT_EQ(-EINVAL, raw_stack(self->fd, PROCLET_STACK_FREE, &s));
	EXPECT_EQ(0, raw_stack(self->fd, PROCLET_STACK_TRIM, &stacks[0]));
	for (size_t i = 0; i < ARRAY_SIZE(stacks); i++) {
		EXPECT_EQ(0, raw_stack(self->fd, PROCLET_STACK_FREE, &stacks[i]));
	}
	EXPECT_EQ(-EINVAL, raw_stack(self->fd, PROCLET_STACK_FREE, &stacks[0]));
	EXPECT_EQ(-EINVAL, raw_stack(self->fd, PROCLET_STACK_TRIM, &stacks[0]));
}

TEST_F(member, end)
{
	struct proclet_manage m;
	int ret;

	EXPECT_EQ(0, raw_exit(self->fd, 42));
	do {
		m = (struct proclet_manage) { .size = sizeof(m) };
		ret = raw_ioctl(self->fd, PROCLET_IOC_MANAGE, &m);
	} while (ret == -EINTR || (!ret && m.event == PROCLET_EVENT_SPAWN));
	EXPECT_EQ(0, ret);
	EXPECT_EQ(PROCLET_EVENT_EXIT, m.event);
	EXPECT_EQ(42, m.status);
	EXPECT_EQ(raw_node(), m.node);
	EXPECT_OP(-ESHUTDOWN, .op = PROCLET_OP_LOCATE, .target = self->p);
	EXPECT_OP(-ESHUTDOWN, .op = PROCLET_OP_CALL, .target = self->p);
	EXPECT_EQ(-EALREADY, raw_join(self->fd, "abi", raw_own_run()));
	/* The first end is the one that counts. */
	ret = raw_exit(self->fd, 43);
	EXPECT_TRUE(ret == 0 || ret == -ESHUTDOWN)
		TH_LOG("saw %d", ret);
	m = (struct proclet_manage) { .size = sizeof(m) };
	EXPECT_EQ(0, raw_ioctl(self->fd, PROCLET_IOC_MANAGE, &m));
	EXPECT_EQ(42, m.status);
}

static struct {
	int fd;
	struct proclet_worker *pages;
} rig;

static int work(struct proclet_work *w)
{
	w->size = sizeof(*w);
	return raw_ioctl(rig.fd, PROCLET_IOC_WORK, w);
}

/* Many ways to be wrong as a worker: each fails at once and changes nothing. */
TEST_F(member, work)
{
	__u64 stack = 0, other = 0;
	__u64 bad[] = { 0, 1, 0x1000, PROCLET_REGION_BASE, PROCLET_ID_HEAP(self->p), ~0ULL,
			0xffff888000000000ULL, (uintptr_t)&arg,
			PROCLET_REGION_BASE + PROCLET_REGION_SIZE,
			PROCLET_REGION_BASE + 30 * PROCLET_SLICE_SIZE + PROCLET_STACKS_OFF };
	struct proclet_worker *page;

	rig.fd = self->fd;
	ASSERT_EQ(0, raw_map_region(self->fd));
	rig.pages = raw_map_workers(self->fd);
	ASSERT_NE(NULL, rig.pages);
	page = rig.pages;
	ASSERT_EQ(0, raw_stack(self->fd, PROCLET_STACK_ALLOC, &stack));
	ASSERT_EQ(0, raw_stack(self->fd, PROCLET_STACK_ALLOC, &other));

#define EXPECT_WORK(...) do {						\
	struct proclet_work w_ = { .spare = stack, __VA_ARGS__ };	\
									\
	EXPECT_EQ(-EINVAL, work(&w_))					\
		TH_LOG("work { %s }", #__VA_ARGS__);			\
} while (0)

	EXPECT_WORK(.worker = PROCLET_MAX_WORKERS);
	EXPECT_WORK(.worker = 0x7fffffff);
	EXPECT_WORK(.worker = 0xffffffff);
	EXPECT_WORK(.done = 4);
	EXPECT_WORK(.done = 0xffffffff);
	/* Nothing runs, so nothing can have ended. */
	EXPECT_WORK(.done = PROCLET_DONE_REPLY, .status = 1);
	EXPECT_WORK(.done = PROCLET_DONE_OP);
	EXPECT_WORK(.done = PROCLET_DONE_PARKED);
	/* A chain that says otherwise. */
	for (__u32 done = PROCLET_DONE_NONE; done <= PROCLET_DONE_PARKED; done++) {
		static const __u32 depths[] = { 1, 2, PROCLET_CHAIN_MAX, PROCLET_CHAIN_MAX + 1,
						0x7fffffff, 0xffffffff };

		for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
			for (size_t j = 0; j < ARRAY_SIZE(depths); j++) {
				struct proclet_work w = { .done = done, .status = 1 << 20,
							  .spare = other };

				for (size_t k = 0; k < PROCLET_CHAIN_MAX; k++)
					page->chain[k] = bad[i];
				page->depth = depths[j];
				EXPECT_GT(0, work(&w))
					TH_LOG("done %u, depth %u, chain %llx", done,
					       depths[j], bad[i]);
				page->depth = 0;
			}
		}
	}
	/* A thread segment that runs nothing, with a tcb of garbage. */
	for (int round = 0; round < 3; round++) {
		struct proclet_tcb *tcb = (void *)stack;

		memset(tcb, round ? 0xff : 0x5a, sizeof(*tcb));
		if (round == 2)
			tcb->proclet = PROCLET_ID(PROCLET_ID_GRANULE(self->p), 0x7fffffff);
		for (__u32 done = PROCLET_DONE_REPLY; done <= PROCLET_DONE_PARKED; done++) {
			page->chain[0] = stack;
			page->depth = 1;
			if (done == PROCLET_DONE_REPLY)
				continue;	/* allowed: a reply to nobody */
			EXPECT_WORK(.done = done);
		}
		page->depth = 0;
	}
	EXPECT_EQ(raw_node(), raw_locate(self->fd, self->p));
}

/* What a worker of our own does with calls, and what it was told wrongly. */
static struct {
	__u64 p;
	__u64 stack;
	unsigned int wrong;	/* bit per check that failed */
	int ret;
	int told[2];		/* pipes: "in the method", "go on" */
	int go_on[2];
} served;

static int setup_worker(int fd, __u64 p)
{
	int ret = raw_map_region(fd);

	rig.fd = fd;
	rig.pages = raw_map_workers(fd);
	memset(&served, 0, sizeof(served));
	served.p = p;
	if (pipe(served.told) || pipe(served.go_on))
		return -errno;
	return ret ?: rig.pages ? raw_stack(fd, PROCLET_STACK_ALLOC, &served.stack) : -EFAULT;
}

/* Worker 0, which checks all that it is told about a call, and replies. */
static void *serve(void *unused)
{
	struct proclet_worker *page = rig.pages;
	struct proclet_tcb *tcb = (void *)served.stack;
	struct proclet_work w = { .spare = served.stack };

	(void)unused;
	for (;;) {
		served.ret = work(&w);
		if (served.ret)
			return NULL;
		served.wrong |= (w.todo != PROCLET_TODO_CALL) << 0;
		served.wrong |= (w.stack != served.stack) << 1;
		served.wrong |= (page->depth != 1) << 2;
		served.wrong |= (page->chain[0] != served.stack) << 3;
		served.wrong |= (tcb->proclet != served.p) << 4;
		served.wrong |= (tcb->method != 0xabcd) << 5;
		served.wrong |= (tcb->in_len != 5000) << 6;
		served.wrong |= (tcb->res_cap != 6000) << 7;
		served.wrong |= (tcb->caller.node != raw_node()) << 8;
		served.wrong |= (tcb->caller.proclet || tcb->caller.stack) << 9;
		for (int b = 0; b < 5000; b++)
			served.wrong |= (((__u8 *)tcb)[PROCLET_STACK_IN + b] != (__u8)(b * 3))
				<< 10;
		memset((__u8 *)tcb + PROCLET_STACK_OUT, 0x77, 5500);
		w.done = PROCLET_DONE_REPLY;
		w.status = 5500;
	}
}

TEST_F(member, serve_by_hand)
{
	static __u8 in[5000], out[6001];
	pthread_t t;

	ASSERT_EQ(0, setup_worker(self->fd, self->p));
	for (int b = 0; b < 5000; b++)
		in[b] = b * 3;
	ASSERT_EQ(0, pthread_create(&t, NULL, serve, NULL));
	for (int i = 0; i < 3; i++) {
		memset(out, 0xee, sizeof(out));
		EXPECT_EQ(5500, raw_call(self->fd, self->p, 0xabcd, in, 5000, out, 6000));
		for (int b = 0; b < 6001; b++) {
			ASSERT_EQ(b < 5500 ? 0x77 : 0xee, out[b])
				TH_LOG("byte %d", b);
		}
	}
	EXPECT_EQ(0, served.wrong);
	EXPECT_EQ(0, served.ret);
}

/* Worker 0, which stays in its method until told. */
static void *serve_and_hold(void *unused)
{
	struct proclet_work w = { .spare = served.stack };
	char c;

	(void)unused;
	served.ret = work(&w);
	if (!served.ret && write(served.told[1], "x", 1) == 1 &&
	    read(served.go_on[0], &c, 1) == 1) {
		w.done = PROCLET_DONE_REPLY;
		w.status = 0;
		served.ret = work(&w);
	}
	return NULL;
}

static void *call_and_wait(void *result)
{
	*(__s64 *)result = raw_call(rig.fd, served.p, 1, NULL, 0, NULL, 0);
	return NULL;
}

TEST_F(member, worker_in_a_method)
{
	static __s64 result = -1;
	pthread_t t, caller;
	__u64 s, other = 0;
	char c;

	ASSERT_EQ(0, setup_worker(self->fd, self->p));
	ASSERT_EQ(0, raw_stack(self->fd, PROCLET_STACK_ALLOC, &other));
	ASSERT_EQ(0, pthread_create(&t, NULL, serve_and_hold, NULL));
	ASSERT_EQ(0, pthread_create(&caller, NULL, call_and_wait, &result));
	ASSERT_EQ(1, read(served.told[0], &c, 1));
	EXPECT_EQ(1, rig.pages->depth);

	/* The segment is in use. */
	s = served.stack;
	EXPECT_EQ(-EBUSY, raw_stack(self->fd, PROCLET_STACK_FREE, &s));
	s = served.stack;
	EXPECT_EQ(-EBUSY, raw_stack(self->fd, PROCLET_STACK_TRIM, &s));
	/* Worker 0 is another thread. */
	for (__u32 done = PROCLET_DONE_NONE; done <= PROCLET_DONE_PARKED; done++) {
		struct proclet_work w = { .spare = other, .done = done };

		EXPECT_GT(0, work(&w))
			TH_LOG("done %u", done);
	}
	/* Garbage in its page does no harm when others look at it. */
	for (int i = 0; i < 4; i++) {
		static const __u32 depths[] = { 0x7fffffff, 0xffffffff, 129, 128 };

		for (int k = 1; k < PROCLET_CHAIN_MAX; k++)
			rig.pages->chain[k] = i & 1 ? ~0ULL : PROCLET_REGION_BASE;
		rig.pages->depth = depths[i];
		EXPECT_GT(0, raw_migrate(self->fd, self->p, 31));
		EXPECT_EQ(-ESTALE, raw_destroy(self->fd, self->p + (1ULL << 32)));
		EXPECT_EQ(raw_node(), raw_locate(self->fd, self->p));
	}
	rig.pages->depth = 1;
	ASSERT_EQ(1, write(served.go_on[1], "x", 1));
	pthread_join(caller, NULL);
	EXPECT_EQ(0, result);
}

/*
 * Operations of a thread on its own proclet, by a worker that plays the threads: one
 * in a method of served.p, and later another that it makes.
 */
static struct proclet_work own;

static __s64 own_op(const struct proclet_op *op)
{
	own.done = PROCLET_DONE_OP;
	own.op = *op;
	own.result = -EIO;
	served.ret = work(&own);
	if (served.ret)
		return served.ret;
	return own.todo == PROCLET_TODO_RESUME && own.stack == served.stack ?
		own.result : -EPROTO;
}

static __s64 own_wait(__u64 addr, __u32 value)
{
	struct proclet_wait_args args = { .addr = addr, .value = value };
	struct proclet_op op = { .op = PROCLET_OP_WAIT, .in = (uintptr_t)&args,
				 .in_len = sizeof(args) };

	return own_op(&op);
}

static __s64 own_wake(__u64 addr, __u32 count)
{
	struct proclet_wake_args args = { .addr = addr, .count = count };
	struct proclet_op op = { .op = PROCLET_OP_WAKE, .in = (uintptr_t)&args,
				 .in_len = sizeof(args) };

	return own_op(&op);
}

static __s64 own_spawn(__u64 stack)
{
	struct proclet_op op = { .op = PROCLET_OP_SPAWN, .target = stack };

	return own_op(&op);
}

/* The method's caller. In the end nobody waits but the worker: the member ends. */
static volatile struct {
	__s64 result;
	__s64 located;
} served_call;

static void *call_served(void *unused)
{
	(void)unused;
	served_call.result = raw_call(rig.fd, served.p, 1, NULL, 0, NULL, 0);
	served_call.located = raw_locate(rig.fd, served.p);
	raw_exit(rig.fd, 0);
	return NULL;
}

TEST_F(member, wait_wake_spawn)
{
	__u64 spare = 0, child = 0, next, heap = PROCLET_ID_HEAP(self->p);
	struct proclet_wait_args args = { .addr = heap + 64 };
	struct proclet_op op = { .in = (uintptr_t)&args };
	__u32 *word = (__u32 *)(heap + 64);
	struct proclet_tcb *tcb;
	pthread_t caller;

	/* The next proclet's memory, and a thread segment that is nobody's. */
	ASSERT_EQ(0, setup_worker(self->fd, self->p));
	next = raw_proclet(self->fd, MIB);
	ASSERT_NE(0, next);
	ASSERT_EQ(0, raw_stack(self->fd, PROCLET_STACK_ALLOC, &spare));
	ASSERT_EQ(0, raw_stack(self->fd, PROCLET_STACK_ALLOC, &child));
	*(__u32 *)child = 0;
	served_call.result = -1;
	own = (struct proclet_work) { .spare = served.stack };
	ASSERT_EQ(0, pthread_create(&caller, NULL, call_served, NULL));
	ASSERT_EQ(0, work(&own));
	ASSERT_EQ(PROCLET_TODO_CALL, own.todo);
	own.spare = spare;

	__u64 bad[] = { 0, 4, heap + 65, heap + 66, heap - 4, heap + PAGE, heap + MIB,
			PROCLET_ID_HEAP(next) + 64, PROCLET_REGION_BASE - 4, child + 64,
			served.stack + PROCLET_STACK_GUARD, served.stack + 4097,
			PROCLET_REGION_BASE + PROCLET_REGION_SIZE, (uintptr_t)&own,
			0xffff888000000000ULL, ~0ULL, ~3ULL };

	*word = 5;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, own_wait(bad[i], 0))
			TH_LOG("address %llx", bad[i]);
		EXPECT_EQ(-EINVAL, own_wake(bad[i], 1))
			TH_LOG("address %llx", bad[i]);
	}
	for (op.op = PROCLET_OP_WAIT; op.op <= PROCLET_OP_WAKE; op.op++) {
		for (op.in_len = 0; op.in_len < 32; op.in_len++)
			EXPECT_EQ(op.in_len == sizeof(args) ?
				  op.op == PROCLET_OP_WAIT ? -EAGAIN : 0 : -EINVAL, own_op(&op));
		op.in_len = sizeof(args);
		op.in = 8;
		EXPECT_EQ(-EFAULT, own_op(&op));
		op.in = (uintptr_t)&args;
	}
	args.flags = 1;
	op.op = PROCLET_OP_WAIT;
	EXPECT_EQ(-EINVAL, own_op(&op));
	op.op = PROCLET_OP_WAKE;
	EXPECT_EQ(-EINVAL, own_op(&op));

	/* Nothing is changed, or invented. Memory that nobody has touched is 0. */
	EXPECT_EQ(-EAGAIN, own_wait(heap + 64, 4));
	EXPECT_EQ(-EAGAIN, own_wait(served.stack + PROCLET_STACK_SIZE - MIB, 1));
	EXPECT_EQ(0, own_wake(heap + 64, 1));
	EXPECT_EQ(0, own_wake(heap + 64, 0xffffffff));
	EXPECT_EQ(5, *word);

	/* Segments that cannot become a thread. */
	EXPECT_EQ(-EINVAL, own_spawn(0));
	EXPECT_EQ(-EINVAL, own_spawn(heap));
	EXPECT_EQ(-EINVAL, own_spawn(child + 4096));
	EXPECT_EQ(-EINVAL, own_spawn(served.stack));
	EXPECT_EQ(-EINVAL, own_spawn(child));
	EXPECT_EQ(-EINVAL, own_spawn(child + 64 * PROCLET_STACK_SIZE));
	tcb = (struct proclet_tcb *)child;
	tcb->proclet = next;
	EXPECT_EQ(-EINVAL, own_spawn(child));

	/* One that does. It and its maker are ready, then each waits at a word. */
	memset(tcb, 0, sizeof(*tcb));
	tcb->proclet = self->p;
	own.done = PROCLET_DONE_OP;
	own.op = (struct proclet_op) { .op = PROCLET_OP_SPAWN, .target = child };
	ASSERT_EQ(0, work(&own));
	EXPECT_EQ(PROCLET_TODO_RESUME, own.todo);
	EXPECT_EQ(child, own.stack);
	EXPECT_EQ(0, own.result);
	next = child;
	EXPECT_EQ(-EBUSY, raw_stack(self->fd, PROCLET_STACK_FREE, &next));
	args = (struct proclet_wait_args) { .addr = heap + 64, .value = 5 };
	own.op = (struct proclet_op) { .op = PROCLET_OP_WAIT, .in = (uintptr_t)&args,
				       .in_len = sizeof(args) };
	ASSERT_EQ(0, work(&own));
	EXPECT_EQ(PROCLET_TODO_RESUME, own.todo);
	EXPECT_EQ(served.stack, own.stack);
	EXPECT_EQ(0, own.result);
	next = child;
	EXPECT_EQ(-EBUSY, raw_stack(self->fd, PROCLET_STACK_FREE, &next));
	EXPECT_EQ(0, own_wake(heap + 68, 10));
	EXPECT_EQ(0, own_wake(heap + 64, 0));
	/* Woken, it is the first to go on. */
	EXPECT_EQ(-EPROTO, own_wake(heap + 64, 10));
	EXPECT_EQ(PROCLET_TODO_RESUME, own.todo);
	EXPECT_EQ(child, own.stack);
	EXPECT_EQ(0, own.result);
	own.done = PROCLET_DONE_REPLY;		/* to nobody */
	own.status = 0;
	ASSERT_EQ(0, work(&own));
	EXPECT_EQ(PROCLET_TODO_RESUME, own.todo);
	EXPECT_EQ(served.stack, own.stack);
	EXPECT_EQ(1, own.result);
	EXPECT_EQ(0, raw_stack(self->fd, PROCLET_STACK_FREE, &child));

	/* Destroyed, with a thread that nobody can wake: its caller is told. */
	EXPECT_EQ(0, raw_destroy(self->fd, self->p));
	EXPECT_EQ(-1, served_call.result);
	own.done = PROCLET_DONE_OP;
	args = (struct proclet_wait_args) { .addr = heap + 64, .value = 5 };
	own.op = (struct proclet_op) { .op = PROCLET_OP_WAIT, .in = (uintptr_t)&args,
				       .in_len = sizeof(args) };
	EXPECT_EQ(0, work(&own));
	EXPECT_EQ(PROCLET_TODO_EXIT, own.todo);
	pthread_join(caller, NULL);
	EXPECT_EQ(-ECONNRESET, served_call.result);
	EXPECT_EQ(-ESTALE, served_call.located);
}

/* Whatever a member waits in, kill -9 ends it. */
static void wait_in(int what, int fd)
{
	struct proclet_manage m = { .size = sizeof(m) };
	struct proclet_work w = { .size = sizeof(w) };
	__u64 p = raw_proclet(fd, MIB);

	switch (what) {
	case 0:
		raw_members(fd, 2, 0, NULL);
		break;
	case 1:
		for (;;)
			raw_ioctl(fd, PROCLET_IOC_MANAGE, &m);
		break;
	case 2:
		raw_call(fd, p, 0, NULL, 0, NULL, 0);
		break;
	case 3:
		raw_stack(fd, PROCLET_STACK_ALLOC, &w.spare);
		raw_ioctl(fd, PROCLET_IOC_WORK, &w);
		break;
	}
	_exit(1);
}

TEST_F(file, killed_while_waiting)
{
	for (int what = 0; what < 4; what++) {
		int status = 0;
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid) {
			int fd = raw_open();

			if (raw_join(fd, "abi-killed", raw_own_run()))
				_exit(2);
			wait_in(what, fd);
		}
		EXPECT_TRUE(blocked_in(pid, SYS_ioctl))
			TH_LOG("case %d: not in an ioctl", what);
		kill(pid, SIGKILL);
		EXPECT_TRUE(ends(pid, 10000, &status))
			TH_LOG("case %d: does not end when killed", what);
		EXPECT_EQ(SIGKILL, status)
			TH_LOG("case %d", what);
	}
}

static void on_signal(int sig)
{
	(void)sig;
}

/* Without SA_RESTART: an ioctl that waits ends with -EINTR. */
static void catch_signal(int sig)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(sig, &sa, NULL);
}

/* A signal interrupts what is not only killable. */
TEST_F(member, interrupted)
{
	struct proclet_manage m = { .size = sizeof(m) };
	struct proclet_work w = { .size = sizeof(w) };
	timer_t timer;
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec every = { { 0, 20000000 }, { 0, 20000000 } };

	catch_signal(SIGUSR1);
	ASSERT_EQ(0, setup_worker(self->fd, self->p));
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &ev, &timer));
	ASSERT_EQ(0, timer_settime(timer, 0, &every, NULL));
	EXPECT_EQ(-EINTR, raw_ioctl(self->fd, PROCLET_IOC_MANAGE, &m));
	w.spare = served.stack;
	EXPECT_EQ(-EINTR, raw_ioctl(self->fd, PROCLET_IOC_WORK, &w));
	timer_delete(timer);
}

/*
 * Random structs from several threads: nothing may come of it but errors. What
 * waits for ever meanwhile is ended by kill -9.
 */
static __u64 fuzz_proclets[4];

/* Mostly short of what blocks a thread for the rest of the test. */
static void tame(const struct ioc *ioc, void *arg, __u64 random)
{
	struct proclet_members *members = arg;
	struct proclet_native_op *n = arg;

	if (!(random % 64))
		return;
	if (ioc->cmd == PROCLET_IOC_MEMBERS)
		members->timeout_ms = 1;
	else if (ioc->cmd == PROCLET_IOC_OP && n->op.op == PROCLET_OP_CALL)
		n->op.op = PROCLET_OP_LOCATE;
}

static void *fuzz(void *seed)
{
	__u64 state = (uintptr_t)seed;
	unsigned int rounds = env_number("PROCLET_TEST_FUZZ", 3000);
	__u64 words[80];

	for (unsigned int i = 0; i < rounds; i++) {
		const struct ioc *ioc = &iocs[1 + next_random(&state) % (ARRAY_SIZE(iocs) - 2)];

		for (size_t j = 0; j < ARRAY_SIZE(words); j++) {
			switch (next_random(&state) % 8) {
			case 0:
				words[j] = next_random(&state);
				break;
			case 1:
				words[j] = fuzz_proclets[next_random(&state) % 4];
				break;
			case 2:
				words[j] = next_random(&state) & 0x1f0000001fULL;
				break;
			case 3:
				words[j] = PROCLET_REGION_BASE + (next_random(&state) % (1 << 22) << 22);
				break;
			case 4:
				words[j] = (uintptr_t)words;
				break;
			default:
				words[j] = 0;
			}
		}
		if (next_random(&state) % 16)
			memcpy(words, &ioc->size, sizeof(ioc->size));
		tame(ioc, words, next_random(&state));
		raw_ioctl(rig.fd, ioc->cmd, words);
	}
	return NULL;
}

static void *interrupt(void *threads)
{
	struct timespec ms = { 0, 1000000 };
	pthread_t *t = threads;

	/* MANAGE and WORK must not keep the fuzzing threads. */
	for (;;) {
		for (int i = 0; i < 4; i++)
			pthread_kill(t[i], SIGUSR1);
		nanosleep(&ms, NULL);
	}
	return NULL;
}

static void fuzz_process(void)
{
	pthread_t threads[4], other;

	catch_signal(SIGUSR1);
	rig.fd = raw_open();
	if (raw_join(rig.fd, "abi-fuzz", raw_own_run()) || raw_map_region(rig.fd))
		_exit(1);
	for (int i = 0; i < 4; i++)
		fuzz_proclets[i] = raw_proclet(rig.fd, MIB);
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, fuzz, (void *)(i * 7919 + 12345));
	pthread_create(&other, NULL, interrupt, threads);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

TEST_F(member, garbage)
{
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid)
		fuzz_process();
	if (!ends(pid, 20000, &status)) {
		kill(pid, SIGKILL);
		ASSERT_TRUE(ends(pid, 10000, &status))
			TH_LOG("does not end when killed");
	} else {
		EXPECT_EQ(0, status);
	}
	/* It did no harm to another member of the node. */
	EXPECT_EQ(raw_node(), raw_locate(self->fd, self->p));
	EXPECT_NE(0, raw_proclet(self->fd, MIB));
}

TEST_HARNESS_MAIN
