// SPDX-License-Identifier: GPL-2.0
/* Misuse of every ioctl. */
#include "member.h"
#include "random.h"

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
	m.flags = PROCLET_MEMBERS_LOST << 1;
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
	EXPECT_CREATE(-EINVAL, flags, PROCLET_CREATE_FLAGS + 1);
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
	to.flags = PROCLET_MOVE_POSTCOPY + 1;
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

/*
 * Random structs from several threads: nothing may come of it but errors. What
 * waits for ever meanwhile is ended by kill -9.
 */
static __u64 fuzz_proclets[4];
static int fuzz_fd;

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
		raw_ioctl(fuzz_fd, ioc->cmd, words);
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
	fuzz_fd = raw_open();
	if (raw_join(fuzz_fd, "abi-fuzz", raw_own_run()) || raw_map_region(fuzz_fd))
		_exit(1);
	for (int i = 0; i < 4; i++)
		fuzz_proclets[i] = raw_proclet(fuzz_fd, MIB);
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
