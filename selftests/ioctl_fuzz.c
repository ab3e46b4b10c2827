// SPDX-License-Identifier: GPL-2.0
/*
 * Users of /dev/proclet who do anything with it, right and wrong, at random: ioctls,
 * io_uring, mappings, what the kernel shares with them, forks, descriptors closed at any
 * time, threads and processes killed. They are nobody in particular, but in the group of
 * the device. The kernel must neither complain nor keep one of them from ending; each
 * logical process has a member on this node and one on the next if that is here, too.
 *
 * What is done once is made from a row of random words. If the kernel has KCOV for the
 * module (vcluster's debug kernel), rows that have reached something new are kept and
 * done again with other words in some places.
 *
 * PROCLET_TEST_SECONDS (15), PROCLET_TEST_SEED
 */
#include "harness.h"
#include "random.h"
#include "raw.h"

#include <grp.h>
#include <liburing.h>
#include <linux/kcov.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/* It goes on as long as it is told to. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 7200

#define ALICE 1000
#define GROUP 900
#define MEMBERS 2		/* of a logical process, each with */
#define THREADS 3
#define ALL (MEMBERS * THREADS)
#define WORDS 48		/* of a row */
#define ROWS 4096
#define POINTS (1 << 14)	/* that KCOV tells of one deed */
#define SEEN_BITS 16
#define BOUND 30		/* seconds in which who was killed has to be gone */

struct row {
	__u64 words[WORDS];
};

/* Of all processes. */
static struct shared {
	struct row rows[ROWS];
	__u32 nrows;
	__u64 ids[32];		/* of proclets made */
	__u64 stacks[32];
	__u64 deeds, points;
	__u32 seen[1 << SEEN_BITS];
} *shared;

static struct {
	int fd;
	__u64 *cover;
} kcov[ALL];

/* Of this process. */
static int file = -1;
static struct proclet_worker *pages;
static void *clock_page, *presence;

/* Of a thread. */
static __thread struct row row;
static __thread unsigned int at;
static __thread __u64 state;
static __thread sigjmp_buf back;
static __thread bool careful;		/* it can go back */
static __thread unsigned int self;	/* 0 to ALL - 1 */
static __thread struct io_uring ring;
static __thread bool have_ring;
static __thread unsigned char *room;	/* 2 MiB */

#define ROOM (2 * MIB)

static __u64 draw(void)
{
	return at < WORDS ? row.words[at++] : next_random(&state);
}

static __u64 below(__u64 n)
{
	return draw() % n;
}

static bool one_in(__u64 n)
{
	return !below(n);
}

static __u64 pick(const __u64 *from, unsigned int n)
{
	return from[below(n)];
}

#define PICK(...) pick((const __u64[]){ __VA_ARGS__ },			\
		       sizeof((const __u64[]){ __VA_ARGS__ }) / sizeof(__u64))

static __u64 any_number(void)
{
	switch (below(4)) {
	case 0:
		return below(16);
	case 1:
		return 1ULL << below(64);
	case 2:
		return PICK(~0ULL, ~0ULL >> 1, 1ULL << 63, 0xffffffff, 0x7fffffff, 0x80000000,
			    4095, 4096, 4097);
	default:
		return draw();
	}
}

static __u64 any_id(void)
{
	__u64 id = shared->ids[below(ARRAY_SIZE(shared->ids))];

	return one_in(16) ? any_number() : one_in(16) ? id ^ 1ULL << below(64) : id;
}

static __u64 any_stack(void)
{
	__u64 stack = shared->stacks[below(ARRAY_SIZE(shared->stacks))];

	return one_in(16) ? any_number() : one_in(16) ? stack + below(PROCLET_STACK_SIZE) : stack;
}

/* An address of which not all can be used. */
static __u64 any_address(void)
{
	switch (below(10)) {
	case 0:
		return PICK(0, 1, 4096, 0xffff888000000000ULL, ~0ULL, 1ULL << 47,
			    (1ULL << 47) - 4096);
	case 1:
		return PROCLET_ID_HEAP(any_id()) + below(MIB);
	case 2:
		return any_stack() + below(PROCLET_STACK_SIZE);
	case 3:
		return (uintptr_t)PICK((uintptr_t)pages, (uintptr_t)clock_page,
				       (uintptr_t)presence) + below(8192);
	case 4:
		return (uintptr_t)room + ROOM - below(4096);
	default:
		return (uintptr_t)room + below(4096) * 8;
	}
}

static __u64 any_length(void)
{
	return PICK(0, 1, 8, 16, 24, 72, 64, 4096, 3984, 3985, 5000, 65536, MIB, MIB + 1,
		    any_number());
}

static __u64 soon(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec + below(20000000);
}

/* An operation that makes sense, mostly. */
static void make_op(struct proclet_op *op)
{
	union {
		struct proclet_create_args create;
		struct proclet_migrate_args migrate;
		struct proclet_name name;
		struct proclet_wait_args wait;
		struct proclet_wake_args wake;
	} *args = (void *)(room + below(16) * 128);

	memset(op, 0, sizeof(*op));
	op->op = one_in(32) ? any_number() : 1 + below(PROCLET_OP_WRITE);
	op->method = any_number();
	op->target = any_id();
	op->in = (uintptr_t)args;
	op->out = (uintptr_t)room + MIB;
	op->out_cap = any_length();
	op->deadline = one_in(8) ? 0 : one_in(8) ? any_number() : soon();
	switch (op->op) {
	case PROCLET_OP_CREATE:
		args->create.capacity = PICK(MIB, MIB, 4 * MIB, 1ULL << 30, any_number());
		args->create.root_size = PICK(0, 64, 4096, any_number());
		args->create.flags = PICK(0, 0, PROCLET_CREATE_PINNED, any_number());
		args->create.reserved = 0;
		op->in_len = sizeof(args->create);
		op->target = below(4);
		break;
	case PROCLET_OP_MIGRATE:
		args->migrate.node = one_in(8) ? any_number() : 1 + below(MEMBERS);
		args->migrate.flags = below(5);
		op->in_len = sizeof(args->migrate);
		break;
	case PROCLET_OP_WAIT:
		args->wait.addr = any_address();
		args->wait.value = below(2);
		args->wait.flags = one_in(16);
		op->in_len = sizeof(args->wait);
		break;
	case PROCLET_OP_WAKE:
		args->wake.addr = any_address();
		args->wake.count = any_number();
		args->wake.reserved = one_in(16);
		op->in_len = sizeof(args->wake);
		break;
	case PROCLET_OP_PUBLISH:
	case PROCLET_OP_UNPUBLISH:
	case PROCLET_OP_LOOKUP:
		memset(&args->name, 0, sizeof(args->name));
		args->name.id = one_in(2) ? 0 : any_id();
		args->name.name[0] = 'a' + below(8);
		args->name.name[below(PROCLET_NAME_MAX)] = draw();
		op->in_len = sizeof(args->name);
		op->target = below(4);
		break;
	case PROCLET_OP_READ:
		op->in = PICK(0, 8, 4096, MIB - 256, any_number());
		break;
	case PROCLET_OP_WRITE:
		op->out = PICK(0, 8, 4096, MIB - 256, any_number());
		op->out_cap = 0;
		op->in_len = any_length();
		break;
	case PROCLET_OP_CALL:
		op->in_len = any_length();
		break;
	case PROCLET_OP_SPAWN:
		op->target = any_stack();
		op->out_cap = 0;
		break;
	case PROCLET_OP_SLEEP:
		op->target = 0;
		op->out_cap = 0;
		break;
	case PROCLET_OP_STATS:
		op->target = below(4);
		break;
	}
	if (one_in(8))
		op->in = any_address();
	if (one_in(8))
		op->out = any_address();
	if (one_in(16))
		op->in_len = any_length();
}

union arg {
	__u32 size;
	struct proclet_join join;
	struct proclet_members members;
	struct proclet_manage manage;
	struct proclet_exit exit;
	struct proclet_native_op op;
	struct proclet_work work;
	struct proclet_brk brk;
	struct proclet_stack stack;
	struct proclet_dying dying;
	struct proclet_extent extent;
	unsigned char bytes[512];
};

static const struct {
	unsigned long cmd;
	__u32 size;
	unsigned int weight;
} ioctls[] = {
	{ PROCLET_IOC_JOIN, sizeof(struct proclet_join), 1 },
	{ PROCLET_IOC_MEMBERS, sizeof(struct proclet_members), 2 },
	{ PROCLET_IOC_MANAGE, sizeof(struct proclet_manage), 2 },
	{ PROCLET_IOC_OP, sizeof(struct proclet_native_op), 24 },
	{ PROCLET_IOC_WORK, sizeof(struct proclet_work), 16 },
	{ PROCLET_IOC_BRK, sizeof(struct proclet_brk), 4 },
	{ PROCLET_IOC_STACK, sizeof(struct proclet_stack), 6 },
	{ PROCLET_IOC_EXTENT, sizeof(struct proclet_extent), 2 },
};

/* A worker: often it does what it was told before. */
static __thread __u32 todo;
static __thread __u64 working;		/* segment */

static void make_work(struct proclet_work *w)
{
	static const __u32 dones[] = { PROCLET_DONE_NONE, PROCLET_DONE_REPLY, PROCLET_DONE_OP,
				       PROCLET_DONE_PARKED };
	struct proclet_tcb *tcb = (void *)working;
	__u32 index = one_in(16) ? any_number() : self % THREADS;

	w->worker = index;
	w->done = one_in(32) ? any_number() : !todo ? PROCLET_DONE_NONE : dones[below(4)];
	w->status = PICK(0, 0, 8, 4096, MIB, -EIO, any_number());
	w->spare = any_stack();
	make_op(&w->op);
	if (w->op.op == PROCLET_OP_WAIT || w->op.op == PROCLET_OP_WAKE) {
		struct proclet_wait_args *args = (void *)(uintptr_t)w->op.in;

		if (todo && (unsigned char *)args >= room &&
		    (unsigned char *)args < room + ROOM - sizeof(*args))
			args->addr = PROCLET_ID_HEAP(tcb->proclet) + 4096 + 4 * below(4);
	}
	if (todo && w->done == PROCLET_DONE_OP)
		w->op.seq = tcb->seq = below(4);
	if (todo && one_in(16))
		tcb->pin = below(2);
}

static void make_arg(unsigned int which, union arg *arg)
{
	memset(arg, 0, sizeof(*arg));
	arg->size = ioctls[which].size;
	switch (ioctls[which].cmd) {
	case PROCLET_IOC_JOIN:
		raw_join_fill(&arg->join, "fuzz", below(4));
		arg->join.node = below(4);
		break;
	case PROCLET_IOC_MEMBERS:
		arg->members.wait_for = below(4);
		arg->members.timeout_ms = 1 + below(10);
		arg->members.flags = below(3);
		break;
	case PROCLET_IOC_OP:
		make_op(&arg->op.op);
		break;
	case PROCLET_IOC_WORK:
		make_work(&arg->work);
		break;
	case PROCLET_IOC_BRK:
		arg->brk.proclet = any_id();
		arg->brk.brk = PICK(4096, 65536, MIB, MIB + 1, any_number());
		break;
	case PROCLET_IOC_STACK:
		arg->stack.op = 1 + below(4);
		arg->stack.stack = arg->stack.op == PROCLET_STACK_ALLOC ? 0 : any_stack();
		break;
	case PROCLET_IOC_EXTENT:
		arg->extent.start = any_address();
		break;
	}
	if (one_in(16))
		arg->bytes[below(ioctls[which].size)] = draw();
	if (one_in(64))
		arg->size = any_number();
}

/* What can be told of later. */
static void learn(unsigned int which, const union arg *arg)
{
	if (ioctls[which].cmd == PROCLET_IOC_STACK && arg->stack.op == PROCLET_STACK_ALLOC)
		shared->stacks[below(ARRAY_SIZE(shared->stacks))] = arg->stack.stack;
	if (ioctls[which].cmd == PROCLET_IOC_OP && arg->op.op.op == PROCLET_OP_CREATE &&
	    !arg->op.result && arg->op.op.out == (uintptr_t)room + MIB)
		shared->ids[below(ARRAY_SIZE(shared->ids))] = *(__u64 *)(room + MIB);
	if (ioctls[which].cmd == PROCLET_IOC_WORK) {
		todo = arg->work.todo == PROCLET_TODO_EXIT ? 0 : arg->work.todo;
		working = arg->work.stack;
	}
}

static void do_ioctl(void)
{
	unsigned int which = 0, sum = 0, n;
	union arg arg;

	for (unsigned int i = 0; i < ARRAY_SIZE(ioctls); i++)
		sum += ioctls[i].weight;
	for (n = below(sum); n >= ioctls[which].weight; which++)
		n -= ioctls[which].weight;
	make_arg(which, &arg);
	if (one_in(64)) {
		ioctl(file, one_in(2) ? ioctls[which].cmd : any_number(), any_address());
		return;
	}
	if (!ioctl(file, ioctls[which].cmd, &arg))
		learn(which, &arg);
}

/* The end of it all, so not often. */
static void do_end(void)
{
	union arg arg;

	memset(&arg, 0, sizeof(arg));
	if (!one_in(20))
		return;
	if (one_in(2)) {
		arg.size = sizeof(arg.exit);
		ioctl(file, PROCLET_IOC_EXIT, &arg);
	} else {
		arg.size = sizeof(arg.dying);
		arg.dying.reason[0] = 'x';
		ioctl(file, PROCLET_IOC_DYING, &arg);
	}
}

static void do_map(void)
{
	__u64 off = PICK(0, PROCLET_MMAP_PRESENCE, PROCLET_MMAP_WORKERS, PROCLET_MMAP_CLOCK,
			 any_number());
	__u64 len = PICK(4096, MIB, PROCLET_STACK_SIZE, PROCLET_REGION_SIZE, 1ULL << 32);
	void *where = one_in(2) ? (void *)(any_address() & ~4095ULL) : NULL, *p;
	int prot = below(8), flags = one_in(4) ? MAP_PRIVATE : MAP_SHARED;

	if (one_in(4)) {
		off = 0;
		where = (void *)PROCLET_REGION_BASE;
		len = PROCLET_REGION_SIZE;
	}
	p = mmap(where, len, prot, flags | MAP_NORESERVE | (where ? MAP_FIXED_NOREPLACE : 0),
		 file, off);
	if (p != MAP_FAILED && p != (void *)PROCLET_REGION_BASE)
		munmap(p, len);
}

/* Only in the region: the rest is ours. */
static void do_memory(void)
{
	__u64 where = one_in(2) ? PROCLET_ID_HEAP(any_id()) + below(256) * 4096 : any_stack();
	__u64 len = PICK(4096, 65536, MIB, PROCLET_STACK_SIZE, 2 * MIB);
	void *p = (void *)(where & ~4095ULL);
	void *q;

	if (where < PROCLET_REGION_BASE || where >= PROCLET_REGION_BASE + PROCLET_REGION_SIZE)
		return;
	switch (below(8)) {
	case 0:
		munmap(p, len);
		break;
	case 1:
		mprotect(p, len, below(8));
		break;
	case 2:
		q = mremap(p, len, PICK(4096, len, 2 * len), below(2));
		if (q != MAP_FAILED && q != p)
			munmap(q, len);
		break;
	case 3:
		madvise(p, len, PICK(MADV_DONTNEED, MADV_FREE, MADV_WILLNEED, MADV_HUGEPAGE,
				     MADV_REMOVE, MADV_COLD, MADV_PAGEOUT, MADV_DONTFORK,
				     MADV_DOFORK, MADV_POPULATE_READ, MADV_POPULATE_WRITE));
		break;
	case 4:
		mlock(p, len);
		munlock(p, len);
		break;
	case 5:
		msync(p, len, MS_SYNC);
		break;
	default:
		/* So that there is something to touch again. */
		mmap((void *)PROCLET_REGION_BASE, PROCLET_REGION_SIZE, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_FIXED | MAP_NORESERVE, file, PROCLET_MMAP_REGION);
	}
}

static void do_touch(void)
{
	volatile __u64 *word = (void *)(any_address() & ~7ULL);

	if (one_in(2))
		(void)*word;
	else if ((uintptr_t)word >= PROCLET_REGION_BASE &&
		 (uintptr_t)word < PROCLET_REGION_BASE + PROCLET_REGION_SIZE)
		*word = any_number();
}

/* What is shared with the kernel. */
static void do_scribble(void)
{
	struct proclet_worker *page = &pages[below(THREADS)];
	struct proclet_tcb *tcb = (void *)(any_stack() & PROCLET_STACK_MASK);

	if (one_in(2)) {
		page->depth = one_in(4) ? any_number() : below(3);
		page->chain[below(4)] = any_stack();
		if (one_in(8))
			page->park = any_number();
		if (one_in(8))
			page->attn = any_number();
		return;
	}
	if ((uintptr_t)tcb < PROCLET_REGION_BASE ||
	    (uintptr_t)tcb >= PROCLET_REGION_BASE + PROCLET_REGION_SIZE)
		return;
	tcb->proclet = any_id();
	tcb->seq = below(4);
	tcb->caller.proclet = one_in(2) ? 0 : any_id();
	tcb->caller.stack = one_in(2) ? 0 : any_stack();
	tcb->caller.seq = below(4);
	tcb->caller.node = one_in(4) ? any_number() : below(4);
	tcb->out = any_address();
	tcb->out_cap = any_length();
}

static void do_uring(void)
{
	static const __u32 flags[] = { 0, IORING_SETUP_SQE128, IORING_SETUP_CQE32,
				       IORING_SETUP_SQE128 | IORING_SETUP_CQE32,
				       IORING_SETUP_IOPOLL, IORING_SETUP_SINGLE_ISSUER |
				       IORING_SETUP_DEFER_TASKRUN };
	struct proclet_uring_op128 big;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	union arg *arg = (void *)(room + 65536 + below(16) * 1024);
	__u64 small[2] = { (uintptr_t)arg, 0 };
	__u32 cmd = PICK(PROCLET_URING_OP, PROCLET_URING_OP, PROCLET_URING_OP128,
			 PROCLET_URING_EVENT, PROCLET_URING_CANCEL, any_number());

	if (have_ring && one_in(64)) {
		io_uring_queue_exit(&ring);
		have_ring = false;
	}
	if (!have_ring) {
		memset(&ring, 0, sizeof(ring));
		have_ring = !io_uring_queue_init(8, &ring, flags[below(ARRAY_SIZE(flags))]);
		if (!have_ring)
			return;
	}
	while (!io_uring_peek_cqe(&ring, &cqe))
		io_uring_cqe_seen(&ring, cqe);
	sqe = io_uring_get_sqe(&ring);
	if (!sqe)
		return;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = file;
	sqe->flags = one_in(8) ? draw() & (IOSQE_ASYNC | IOSQE_IO_LINK | IOSQE_IO_DRAIN) : 0;
	sqe->user_data = below(4);
	sqe->off = cmd;			/* cmd_op and what must be 0 */
	memset(&big, 0, sizeof(big));
	if (cmd == PROCLET_URING_OP) {
		memset(arg, 0, sizeof(*arg));
		arg->op.size = sizeof(arg->op);
		make_op(&arg->op.op);
	} else if (cmd == PROCLET_URING_OP128) {
		make_op(&big.op);
		big.flags = below(3);
	} else if (cmd == PROCLET_URING_EVENT) {
		small[0] = PICK(0, 1, 2, 10, any_number());
		small[1] = any_address();
	} else if (cmd == PROCLET_URING_CANCEL) {
		small[0] = below(4);
	}
	if (one_in(16))
		small[below(2)] = any_number();
	if (cmd == PROCLET_URING_OP128 && ring.flags & IORING_SETUP_SQE128)
		memcpy(&sqe->addr3, &big, sizeof(big));
	else
		memcpy(&sqe->addr3, small, sizeof(small));
	io_uring_submit(&ring);
	if (one_in(4))
		io_uring_get_events(&ring);
}

/* Somebody else with the same file. */
static void do_fork(void)
{
	pid_t pid;

	if (!one_in(8))
		return;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		careful = false;
		for (int i = 0; i < 8; i++)
			do_ioctl();
		do_touch();
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		kill(pid, SIGKILL);
}

/* Closed under those who use it; it may be another one after that. */
static void do_close(void)
{
	int fd;

	if (!one_in(100))
		return;
	fd = dup(file);
	if (fd < 0)
		return;
	if (one_in(2)) {
		close(fd);
		return;
	}
	close(__atomic_exchange_n(&file, fd, __ATOMIC_RELAXED));
}

static void do_look(void)
{
	static const char *const names[] = { "lprocs", "proclets", "threads", "peers", "nodes" };
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/proclet/%s", names[below(ARRAY_SIZE(names))]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)!read(fd, room, below(65536));
	close(fd);
}

static void do_one(void)
{
	static void (*const deeds[])(void) = {
		do_ioctl, do_ioctl, do_ioctl, do_ioctl, do_ioctl, do_ioctl, do_ioctl, do_ioctl,
		do_uring, do_uring, do_uring, do_map, do_memory, do_touch, do_touch,
		do_scribble, do_fork, do_close, do_look, do_end,
	};

	deeds[below(ARRAY_SIZE(deeds))]();
}

/* ---- rows of words ---- */

static void next_row(void)
{
	__u32 n = __atomic_load_n(&shared->nrows, __ATOMIC_RELAXED);

	at = 0;
	if (n && next_random(&state) % 2) {
		row = shared->rows[next_random(&state) % (n < ROWS ? n : ROWS)];
		for (__u64 i = next_random(&state) % 4; i; i--)
			row.words[next_random(&state) % WORDS] = next_random(&state);
		return;
	}
	for (int i = 0; i < WORDS; i++)
		row.words[i] = next_random(&state);
}

/* Where has the module been? */
static void take_cover(void)
{
	__u64 *cover = kcov[self].cover, n;
	bool news = false;

	if (!cover)
		return;
	n = __atomic_load_n(&cover[0], __ATOMIC_RELAXED);
	for (__u64 i = 1; i <= n && i < POINTS; i++) {
		__u32 pc = cover[i], slot = pc * 0x9e3779b1U >> (32 - SEEN_BITS);

		if (__atomic_load_n(&shared->seen[slot], __ATOMIC_RELAXED))
			continue;
		__atomic_store_n(&shared->seen[slot], pc, __ATOMIC_RELAXED);
		__atomic_fetch_add(&shared->points, 1, __ATOMIC_RELAXED);
		news = true;
	}
	if (news)
		shared->rows[__atomic_fetch_add(&shared->nrows, 1, __ATOMIC_RELAXED) % ROWS] =
			row;
}

/* ---- a member ---- */

static void on_fault(int sig)
{
	if (careful)
		siglongjmp(back, sig);
	_exit(2);
}

static void on_poke(int sig)
{
	(void)sig;
}

static void *fuzz(void *arg)
{
	__u64 seed = *(__u64 *)arg;

	self = (seed >> 8) % ALL;
	state = seed * 0x9e3779b97f4a7c15ULL;
	room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED)
		return NULL;
	if (kcov[self].cover)
		ioctl(kcov[self].fd, KCOV_ENABLE, KCOV_TRACE_PC);
	for (;;) {
		next_row();
		if (kcov[self].cover)
			__atomic_store_n(&kcov[self].cover[0], 0, __ATOMIC_RELAXED);
		/* Saves the mask: the signal is not to stay blocked. */
		if (!sigsetjmp(back, 1)) {
			careful = true;
			do_one();
		} else {
			todo = 0;
		}
		careful = false;
		take_cover();
		__atomic_fetch_add(&shared->deeds, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void member(unsigned int m, __u64 run, __u64 seed)
{
	static const int faults[] = { SIGSEGV, SIGBUS }, pokes[] = { SIGUSR1, PROCLET_SIGPARK };
	struct sigaction sa = { .sa_handler = on_fault };
	struct timespec tick = { 0, 5000000 };
	struct proclet_join join;
	pthread_t threads[THREADS];
	__u64 seeds[THREADS];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned int i = 0; i < ARRAY_SIZE(faults); i++)
		sigaction(faults[i], &sa, NULL);
	sa.sa_handler = on_poke;
	for (unsigned int i = 0; i < ARRAY_SIZE(pokes); i++)
		sigaction(pokes[i], &sa, NULL);
	if (setgroups(0, NULL) || setresgid(GROUP, GROUP, GROUP) ||
	    setresuid(ALICE, ALICE, ALICE))
		_exit(3);
	file = raw_open();
	if (file < 0)
		_exit(4);
	raw_join_fill(&join, "fuzz", run);
	join.node = raw_node() + m;
	join.flags = run & 1 ? PROCLET_JOIN_SURVIVE : 0;
	/* Only node 1 is here, or the other one has ended it already. */
	if (raw_ioctl(file, PROCLET_IOC_JOIN, &join))
		_exit(0);
	raw_map_region(file);
	pages = raw_map_workers(file);
	presence = (void *)raw_map_presence(file);
	clock_page = mmap(NULL, PROCLET_CLOCK_SIZE, PROT_READ, MAP_SHARED, file,
			  PROCLET_MMAP_CLOCK);
	if (!pages)
		_exit(5);
	for (unsigned int i = 0; i < THREADS; i++) {
		seeds[i] = (seed & ~0xffffULL) | (m * THREADS + i) << 8 | 1;
		if (pthread_create(&threads[i], NULL, fuzz, &seeds[i]))
			_exit(6);
	}
	/* Who waits for something waits no longer. */
	for (unsigned int i = 0;; i++) {
		nanosleep(&tick, NULL);
		pthread_kill(threads[i % THREADS], SIGUSR1);
	}
}

/* ---- who starts and kills them ---- */

static bool open_kcov(void)
{
	for (int i = 0; i < ALL; i++) {
		void *p;

		kcov[i].fd = open("/sys/kernel/debug/kcov", O_RDWR);
		if (kcov[i].fd < 0 || ioctl(kcov[i].fd, KCOV_INIT_TRACE, POINTS))
			return false;
		p = mmap(NULL, POINTS * sizeof(__u64), PROT_READ | PROT_WRITE, MAP_SHARED,
			 kcov[i].fd, 0);
		if (p == MAP_FAILED)
			return false;
		kcov[i].cover = p;
	}
	return true;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* It has ended within a time; else something in the kernel holds it. */
static int reaped(pid_t pid)
{
	struct timespec ms = { 0, 2000000 };
	double end = seconds() + BOUND;
	int status;

	while (seconds() < end) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
		nanosleep(&ms, NULL);
	}
	return -ETIMEDOUT;
}

static const char where_they_are[] =
	"cat /proc/proclet/lprocs /proc/proclet/threads\n"
	"for p in /proc/[0-9]*/task/*; do\n"
	"	grep -q -e proclet -e io_ring $p/stack && cat $p/comm $p/stack\n"
	"	ls -l $p/fd | grep -q /dev/proclet && cat $p/status $p/stack\n"
	"done 2>/dev/null";

/* No member is left, whoever had its file; else who is there, and where. */
static bool all_gone(void)
{
	struct timespec ms = { 0, 50000000 };
	double end = seconds() + BOUND;
	char line[256];
	int lines;
	FILE *f;

	do {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		f = fopen("/proc/proclet/lprocs", "r");
		for (lines = 0; f && fgets(line, sizeof(line), f); lines++)
			;
		if (f)
			fclose(f);
		nanosleep(&ms, NULL);
	} while (lines > 1 && seconds() < end);
	if (lines <= 1)
		return true;
	(void)!system(where_they_are);
	return false;
}

TEST(anything)
{
	__u64 seed = env_number("PROCLET_TEST_SEED", time(NULL)), at_random, lives = 0;
	double end = seconds() + env_number("PROCLET_TEST_SECONDS", 15);
	bool cover = open_kcov();
	pid_t pids[MEMBERS];
	int ret;

	TH_LOG("PROCLET_TEST_SEED=%llu", (unsigned long long)seed);
	ASSERT_EQ(0, chown("/dev/proclet", 0, GROUP));
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	ASSERT_NE(MAP_FAILED, shared);
	at_random = seed;
	/* Its members' children are ours when those have been killed. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	while (seconds() < end) {
		__u64 run = next_random(&at_random), its = next_random(&at_random);
		struct timespec life = { 0, 0 };

		for (unsigned int m = 0; m < MEMBERS; m++) {
			pids[m] = fork();
			ASSERT_LE(0, pids[m]);
			if (!pids[m])
				member(m, run, its);
		}
		/* Short lives and longer ones. */
		life.tv_sec = next_random(&at_random) % 3;
		life.tv_nsec = next_random(&at_random) % 1000000000;
		nanosleep(&life, NULL);
		for (unsigned int m = 0; m < MEMBERS; m++) {
			kill(pids[m], SIGKILL);
			if (next_random(&at_random) % 2) {
				life = (struct timespec){ 0, next_random(&at_random) % 300000000 };
				nanosleep(&life, NULL);
			}
		}
		for (unsigned int m = 0; m < MEMBERS; m++) {
			ret = reaped(pids[m]);
			EXPECT_EQ(0, ret & ~2)
				TH_LOG("member %u of seed %llu, number %llu", m,
				       (unsigned long long)seed, (unsigned long long)lives);
			if (ret == -ETIMEDOUT)
				return;
			lives++;
		}
		memset(shared->ids, 0, sizeof(shared->ids));
		memset(shared->stacks, 0, sizeof(shared->stacks));
	}
	TH_LOG("%llu deeds of %llu processes; %llu points of the module%s, %u rows kept",
	       (unsigned long long)shared->deeds, (unsigned long long)lives,
	       (unsigned long long)shared->points, cover ? "" : " (no KCOV)", shared->nrows);
	EXPECT_LT(100, shared->deeds);
	EXPECT_TRUE(all_gone());
}

TEST_HARNESS_MAIN
