// SPDX-License-Identifier: GPL-2.0
/* The region: what can be mapped and touched, and what cannot. */
#include "harness.h"
#include "raw.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define REGION ((__u8 *)PROCLET_REGION_BASE)

/* Touch memory that may not be there: 0, or the signal. */
static __thread sigjmp_buf touch_env;

static void on_fault(int sig)
{
	siglongjmp(touch_env, sig);
}

static void catch_faults(void)
{
	struct sigaction sa = { .sa_handler = on_fault };

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

static int touch_read(const void *p)
{
	int sig = sigsetjmp(touch_env, 1);

	if (!sig)
		(void)*(const volatile __u8 *)p;
	return sig;
}

static int touch_write(void *p, __u8 value)
{
	int sig = sigsetjmp(touch_env, 1);

	if (!sig)
		*(volatile __u8 *)p = value;
	return sig;
}

/*
 * Destruction may go on for a moment after it was reported: until the memory is
 * gone. Returns what touching it gave at last.
 */
static int touch_destroyed(const void *p)
{
	int sig = 0;

	for (int i = 0; i < 1000 && !sig; i++) {
		struct timespec ms = { 0, 5000000 };

		sig = touch_read(p);
		if (!sig)
			nanosleep(&ms, NULL);
	}
	return sig;
}

static __u8 *heap_of(__u64 p)
{
	return (__u8 *)PROCLET_ID_HEAP(p);
}

static __u8 pattern(size_t i)
{
	return i * 31 + (i >> 12) * 7 + 3;
}

static void fill_pattern(__u8 *p, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		p[i] = pattern(i);
}

static size_t pattern_differs(const __u8 *p, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		if (p[i] != pattern(i))
			return i;
	return 0;
}

FIXTURE(mapping) {
	int fd;
};

FIXTURE_SETUP(mapping)
{
	self->fd = raw_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, raw_join(self->fd, "region", raw_own_run()));
	catch_faults();
}

FIXTURE_TEARDOWN(mapping)
{
	close(self->fd);
}

#define EXPECT_MAP(result, at, len, prot, flags, off)			\
	EXPECT_EQ(result, raw_mmap(self->fd, (void *)(at), len, prot, flags, off))

TEST_F(mapping, in_its_place_only)
{
	const int rw = PROT_READ | PROT_WRITE, fixed = MAP_SHARED | MAP_FIXED_NOREPLACE;

	EXPECT_MAP(-EINVAL, NULL, PROCLET_REGION_SIZE, rw, MAP_SHARED, 0);
	EXPECT_MAP(-EINVAL, NULL, PAGE, rw, MAP_SHARED, 0);
	EXPECT_MAP(-EINVAL, PROCLET_REGION_BASE - MIB, PROCLET_REGION_SIZE, rw, fixed, 0);
	EXPECT_MAP(-EINVAL, PROCLET_REGION_BASE + MIB, PROCLET_REGION_SIZE, rw, fixed, 0);
	/* A part of it, at the right place. */
	EXPECT_MAP(-EINVAL, PROCLET_REGION_BASE, PAGE, rw, fixed, 0);
	EXPECT_MAP(-EINVAL, PROCLET_REGION_BASE, PROCLET_SLICE_SIZE, rw, fixed, 0);
	EXPECT_MAP(-EINVAL, PROCLET_REGION_BASE, PROCLET_REGION_SIZE - PAGE, rw, fixed, 0);
	EXPECT_MAP(-EINVAL, PROCLET_REGION_BASE + MIB, PROCLET_REGION_SIZE - MIB, rw, fixed, MIB);
	EXPECT_GT(0, raw_mmap(self->fd, REGION, PROCLET_REGION_SIZE + PAGE, rw, fixed, 0));
	/* Private copies of it make no sense. */
	EXPECT_MAP(-EINVAL, PROCLET_REGION_BASE, PROCLET_REGION_SIZE, rw,
		   MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED_NOREPLACE, 0);
	/* Offsets of nothing. */
	EXPECT_MAP(-EINVAL, NULL, PAGE, PROT_READ, MAP_SHARED, PROCLET_MMAP_PRESENCE - PAGE);
	EXPECT_MAP(-EINVAL, NULL, PAGE, PROT_READ, MAP_SHARED,
		   PROCLET_MMAP_PRESENCE + PROCLET_PRESENCE_SIZE);
	EXPECT_MAP(-EINVAL, NULL, PAGE, rw, MAP_SHARED,
		   PROCLET_MMAP_WORKERS + PROCLET_MAX_WORKERS * PROCLET_WORKER_SIZE);
	EXPECT_GT(0, raw_mmap(self->fd, NULL, PAGE, rw, MAP_SHARED, 1LL << 62));

	EXPECT_EQ(0, raw_map_region(self->fd));
	EXPECT_EQ(-EEXIST, raw_map_region(self->fd));
}

TEST_F(mapping, place_is_taken)
{
	void *taken = mmap(REGION + 5 * PROCLET_SLICE_SIZE, PAGE, PROT_READ,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	ASSERT_EQ(REGION + 5 * PROCLET_SLICE_SIZE, taken);
	EXPECT_EQ(-EEXIST, raw_map_region(self->fd));
	ASSERT_EQ(0, munmap(taken, PAGE));
	EXPECT_EQ(0, raw_map_region(self->fd));
	/* And nothing else gets in there now. */
	EXPECT_EQ(MAP_FAILED, mmap(taken, PAGE, PROT_READ,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
}

TEST_F(mapping, tables)
{
	const int rw = PROT_READ | PROT_WRITE;
	const __u32 *presence;
	__u64 p = raw_proclet(self->fd, MIB);

	EXPECT_GT(0, raw_mmap(self->fd, NULL, PROCLET_PRESENCE_SIZE, rw, MAP_SHARED,
			      PROCLET_MMAP_PRESENCE));
	EXPECT_GT(0, raw_mmap(self->fd, NULL, PROCLET_PRESENCE_SIZE, PROT_WRITE, MAP_SHARED,
			      PROCLET_MMAP_PRESENCE));
	EXPECT_GT(0, raw_mmap(self->fd, NULL, 2 * PROCLET_PRESENCE_SIZE, PROT_READ, MAP_SHARED,
			      PROCLET_MMAP_PRESENCE));
	EXPECT_GT(0, raw_mmap(self->fd, NULL, (PROCLET_MAX_WORKERS + 1) * PROCLET_WORKER_SIZE,
			      rw, MAP_SHARED, PROCLET_MMAP_WORKERS));

	presence = raw_map_presence(self->fd);
	ASSERT_NE(NULL, presence);
	EXPECT_EQ(PROCLET_ID_GEN(p), presence[PROCLET_ID_GRANULE(p)]);
	EXPECT_EQ(0, presence[PROCLET_ID_GRANULE(p) + 1]);
	EXPECT_EQ(0, presence[PROCLET_PRESENCE_SIZE / 4 - 1]);
	EXPECT_EQ(SIGSEGV, touch_write((void *)&presence[PROCLET_ID_GRANULE(p)], 1));
	EXPECT_EQ(-1, mprotect((void *)presence, PROCLET_PRESENCE_SIZE, rw));
	EXPECT_EQ(-1, mprotect((void *)presence, PAGE, rw));
	EXPECT_EQ(SIGSEGV, touch_write((void *)presence, 1));
	EXPECT_EQ(PROCLET_ID_GEN(p), presence[PROCLET_ID_GRANULE(p)]);
	/* Also not by way of /proc/self/mem. */
	{
		int mem = open("/proc/self/mem", O_RDWR);
		__u32 word = 7;

		ASSERT_LE(0, mem);
		pwrite(mem, &word, 4, (uintptr_t)&presence[PROCLET_ID_GRANULE(p)]);
		close(mem);
	}
	EXPECT_EQ(PROCLET_ID_GEN(p), presence[PROCLET_ID_GRANULE(p)]);
	EXPECT_EQ(0, raw_destroy(self->fd, p));
	EXPECT_EQ(0, presence[PROCLET_ID_GRANULE(p)]);
}

FIXTURE(region) {
	int fd;
	__u64 p;
	__u8 *heap;
};

FIXTURE_SETUP(region)
{
	self->fd = raw_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, raw_join(self->fd, "region", raw_own_run()));
	ASSERT_EQ(0, raw_map_region(self->fd));
	self->p = raw_proclet(self->fd, 4 * MIB);
	ASSERT_NE(0, self->p);
	self->heap = heap_of(self->p);
	catch_faults();
}

FIXTURE_TEARDOWN(region)
{
	close(self->fd);
}

TEST_F(region, header)
{
	const struct proclet_heap *h = (void *)self->heap;

	ASSERT_EQ(0, touch_read(h));
	EXPECT_EQ(self->p, h->id);
	EXPECT_EQ(4 * MIB, h->capacity);
	EXPECT_EQ(64, h->root_size);
	EXPECT_EQ(0, h->alloc);
	for (size_t i = sizeof(*h); i < PAGE; i++) {
		ASSERT_EQ(0, self->heap[i]);
	}
}

TEST_F(region, reserved_part_only)
{
	EXPECT_EQ(SIGSEGV, touch_read(self->heap + PAGE));
	EXPECT_EQ(SIGSEGV, touch_write(self->heap + PAGE, 1));
	ASSERT_EQ(0, raw_brk(self->fd, self->p, MIB));
	for (size_t i = PAGE; i < MIB; i += PAGE) {
		ASSERT_EQ(0, self->heap[i]);
	}
	fill_pattern(self->heap, PAGE, MIB);
	EXPECT_EQ(0, pattern_differs(self->heap, PAGE, MIB));
	EXPECT_EQ(SIGSEGV, touch_read(self->heap + MIB));
	EXPECT_EQ(SIGSEGV, touch_write(self->heap + MIB, 1));
	EXPECT_EQ(SIGSEGV, touch_read(self->heap + 4 * MIB - 1));
	EXPECT_EQ(SIGSEGV, touch_read(self->heap + 4 * MIB));
	/* Rounded up to whole pages. */
	ASSERT_EQ(0, raw_brk(self->fd, self->p, MIB + 1));
	EXPECT_EQ(0, touch_write(self->heap + MIB + PAGE - 1, 1));
	EXPECT_EQ(SIGSEGV, touch_write(self->heap + MIB + PAGE, 1));
	ASSERT_EQ(0, raw_brk(self->fd, self->p, 4 * MIB));
	EXPECT_EQ(0, touch_write(self->heap + 4 * MIB - 1, 1));
	EXPECT_EQ(SIGSEGV, touch_write(self->heap + 4 * MIB, 1));
	EXPECT_EQ(0, pattern_differs(self->heap, PAGE, MIB));
}

TEST_F(region, lowering_frees)
{
	ASSERT_EQ(0, raw_brk(self->fd, self->p, 2 * MIB));
	fill_pattern(self->heap, PAGE, 2 * MIB);
	ASSERT_EQ(0, raw_brk(self->fd, self->p, MIB));
	EXPECT_EQ(SIGSEGV, touch_read(self->heap + MIB));
	ASSERT_EQ(0, raw_brk(self->fd, self->p, 2 * MIB));
	for (size_t i = MIB; i < 2 * MIB; i++) {
		ASSERT_EQ(0, self->heap[i]);
	}
	EXPECT_EQ(0, pattern_differs(self->heap, PAGE, MIB));
}

TEST_F(region, where_nothing_is)
{
	const __u64 offs[] = { PROCLET_REGION_SIZE - 1, PROCLET_SLICE_SIZE * 20,
			       PROCLET_STACKS_OFF - 1, PROCLET_STACKS_OFF,
			       PROCLET_SLICE_SIZE * 31 + PROCLET_STACKS_OFF };

	for (size_t i = 0; i < ARRAY_SIZE(offs); i++) {
		EXPECT_EQ(SIGSEGV, touch_read(REGION + offs[i]));
		EXPECT_EQ(SIGSEGV, touch_write(REGION + offs[i], 1));
	}
}

TEST_F(region, use_after_destroy)
{
	__u64 q;

	ASSERT_EQ(0, raw_brk(self->fd, self->p, MIB));
	fill_pattern(self->heap, PAGE, MIB);
	ASSERT_EQ(0, raw_destroy(self->fd, self->p));
	EXPECT_EQ(SIGSEGV, touch_destroyed(self->heap));
	EXPECT_EQ(SIGSEGV, touch_write(self->heap + PAGE, 1));
	/* What comes next in that place sees none of it. */
	q = raw_proclet(self->fd, 4 * MIB);
	ASSERT_NE(0, q);
	EXPECT_NE(q, self->p);
	ASSERT_EQ(0, raw_brk(self->fd, q, MIB));
	for (size_t i = PAGE; i < MIB; i++) {
		ASSERT_EQ(0, heap_of(q)[i]);
	}
}

TEST_F(region, stack_segment)
{
	__u64 stack = 0;
	__u8 *s;

	ASSERT_EQ(0, raw_stack(self->fd, PROCLET_STACK_ALLOC, &stack));
	s = (__u8 *)stack;
	EXPECT_EQ(0, touch_write(s, 0));
	EXPECT_EQ(0, touch_write(s + PROCLET_STACK_IN, 1));
	EXPECT_EQ(0, touch_write(s + PROCLET_STACK_OUT + PROCLET_PAYLOAD_MAX - 1, 1));
	EXPECT_EQ(SIGSEGV, touch_read(s + PROCLET_STACK_GUARD));
	EXPECT_EQ(SIGSEGV, touch_write(s + PROCLET_STACK_GUARD + PAGE - 1, 1));
	EXPECT_EQ(0, touch_write(s + PROCLET_STACK_GUARD + PAGE, 1));
	EXPECT_EQ(0, touch_write(s + PROCLET_STACK_SIZE - 1, 1));
	EXPECT_EQ(SIGSEGV, touch_read(s + PROCLET_STACK_SIZE));
	EXPECT_EQ(0, raw_stack(self->fd, PROCLET_STACK_TRIM, &stack));
	EXPECT_EQ(0, touch_write(s + PROCLET_STACK_SIZE - 1, 1));
	EXPECT_EQ(0, raw_stack(self->fd, PROCLET_STACK_FREE, &stack));
	EXPECT_EQ(SIGSEGV, touch_read(s));
}

/* The VMA is not inherited. */
TEST_F(region, child_has_no_region)
{
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		(void)*(volatile __u8 *)self->heap;
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(SIGSEGV, status);
	EXPECT_EQ(0, touch_read(self->heap));
}

/*
 * Not even when it asks for it: by MADV_DOFORK a child may get the VMA, but it
 * must not become a way to memory that is gone.
 */
TEST_F(region, madvise_dofork)
{
	int status, go[2], ready[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, raw_brk(self->fd, self->p, MIB));
	fill_pattern(self->heap, PAGE, MIB);
	madvise(REGION, PROCLET_REGION_SIZE, MADV_DOFORK);
	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int before = touch_read(self->heap + PAGE), after;

		touch_write(self->heap + 2 * PAGE, 99);
		if (write(ready[1], "x", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(100);
		after = touch_read(self->heap + PAGE);
		touch_write(self->heap + 3 * PAGE, 99);
		_exit((before && before != SIGSEGV) || after != SIGSEGV);
	}
	ASSERT_EQ(1, read(ready[0], &c, 1));
	EXPECT_EQ(0, pattern_differs(self->heap, PAGE, 2 * PAGE));
	EXPECT_EQ(0, raw_destroy(self->fd, self->p));
	EXPECT_EQ(SIGSEGV, touch_destroyed(self->heap + PAGE));
	ASSERT_EQ(1, write(go[1], "x", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* munmap() and the like are refused, or do no more than their name says. */
TEST_F(region, unmapped_in_part)
{
	int ret, sig;

	ASSERT_EQ(0, raw_brk(self->fd, self->p, MIB));
	fill_pattern(self->heap, PAGE, MIB);

	ret = munmap(self->heap + 4 * PAGE, PAGE);
	sig = touch_read(self->heap + 4 * PAGE);
	EXPECT_EQ(ret ? 0 : SIGSEGV, sig);
	EXPECT_EQ(0, pattern_differs(self->heap, PAGE, 4 * PAGE));
	EXPECT_EQ(0, pattern_differs(self->heap, 5 * PAGE, MIB));

	EXPECT_EQ(MAP_FAILED, mremap(self->heap, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(MAP_FAILED, mremap(self->heap, 2 * PAGE, 2 * PAGE,
				     MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0x10000000));
	EXPECT_EQ(MAP_FAILED, mremap(REGION, PROCLET_REGION_SIZE, PROCLET_REGION_SIZE + PAGE, 0));
	EXPECT_EQ(MAP_FAILED, mremap(self->heap, 0, PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(0, pattern_differs(self->heap, 5 * PAGE, MIB));

	mprotect(self->heap + 8 * PAGE, PAGE, PROT_READ);
	EXPECT_EQ(0, touch_read(self->heap + 8 * PAGE));
	mprotect(self->heap + 8 * PAGE, PAGE, PROT_READ | PROT_WRITE);
	EXPECT_EQ(-1, mprotect(REGION, PROCLET_REGION_SIZE, PROT_READ | PROT_EXEC));

	madvise(self->heap, MIB, MADV_DONTNEED);
	EXPECT_EQ(0, pattern_differs(self->heap, 9 * PAGE, MIB));
	madvise(self->heap, MIB, MADV_REMOVE);
	madvise(self->heap, MIB, MADV_HUGEPAGE);
	madvise(self->heap, MIB, MADV_FREE);
	madvise(self->heap, MIB, MADV_COLD);
	madvise(self->heap, MIB, MADV_PAGEOUT);
	madvise(self->heap, MIB, MADV_WILLNEED);
	madvise(self->heap, MIB, MADV_MERGEABLE);
	msync(self->heap, MIB, MS_SYNC);
	mlock(self->heap, MIB);
	munlock(self->heap, MIB);
	EXPECT_EQ(0, pattern_differs(self->heap, 9 * PAGE, MIB));

	EXPECT_EQ(0, raw_destroy(self->fd, self->p));
	EXPECT_EQ(SIGSEGV, touch_destroyed(self->heap + PAGE));
	EXPECT_EQ(SIGSEGV, touch_read(self->heap + 9 * PAGE));
}

TEST_F(region, unmapped_as_a_whole)
{
	ASSERT_EQ(0, raw_brk(self->fd, self->p, MIB));
	fill_pattern(self->heap, PAGE, MIB);
	EXPECT_EQ(0, munmap(REGION, PROCLET_REGION_SIZE));
	EXPECT_EQ(SIGSEGV, touch_read(self->heap));
	/* The proclet does not depend on who maps it. */
	EXPECT_EQ(raw_node(), raw_locate(self->fd, self->p));
	EXPECT_EQ(0, raw_map_region(self->fd));
	EXPECT_EQ(0, pattern_differs(self->heap, PAGE, MIB));
	EXPECT_EQ(0, raw_destroy(self->fd, self->p));
}

/* The file is closed, but the mapping still holds it. */
TEST_F(region, mapped_after_close)
{
	ASSERT_EQ(0, raw_brk(self->fd, self->p, MIB));
	fill_pattern(self->heap, PAGE, MIB);
	close(self->fd);
	EXPECT_EQ(0, pattern_differs(self->heap, PAGE, MIB));
	EXPECT_EQ(0, munmap(REGION, PROCLET_REGION_SIZE));
	EXPECT_EQ(SIGSEGV, touch_read(self->heap));
	/* That was the last reference: the node is free for another. */
	self->fd = raw_open();
	EXPECT_EQ(0, raw_join(self->fd, "region", raw_own_run()));
}

/* System calls read and write it like any memory. */
TEST_F(region, read_and_write_calls)
{
	static __u8 buf[65536];
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, raw_brk(self->fd, self->p, MIB));
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = pattern(i);
	/* Into pages that nobody has touched, and across them. */
	ASSERT_EQ(65536, write(fds[1], buf, 65536));
	EXPECT_EQ(65536, read(fds[0], self->heap + PAGE + 100, 65536));
	EXPECT_EQ(0, memcmp(self->heap + PAGE + 100, buf, 65536));
	EXPECT_EQ(65536, write(fds[1], self->heap + PAGE + 100, 65536));
	memset(buf, 0, sizeof(buf));
	EXPECT_EQ(65536, read(fds[0], buf, 65536));
	EXPECT_EQ(0, pattern_differs(buf, 0, 65536));
	/* Beyond the reserved part. */
	ASSERT_EQ(8, write(fds[1], buf, 8));
	EXPECT_EQ(-1, read(fds[0], self->heap + MIB, 8));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, write(fds[1], self->heap + 2 * MIB, 8));
	EXPECT_EQ(EFAULT, errno);
}

/* By get_user_pages(), which device drivers use too. */
TEST_F(region, pages_taken_by_others)
{
	static __u8 buf[3 * 4096];
	struct iovec here = { buf, sizeof(buf) }, there = { self->heap + PAGE, sizeof(buf) };
	int mem;

	ASSERT_EQ(0, raw_brk(self->fd, self->p, MIB));
	fill_pattern(self->heap, PAGE, 2 * PAGE);
	/* One page is there, two are not yet. */
	EXPECT_EQ(sizeof(buf), process_vm_readv(getpid(), &here, 1, &there, 1, 0));
	EXPECT_EQ(0, memcmp(buf, self->heap + PAGE, sizeof(buf)));
	memset(buf, 0x42, sizeof(buf));
	there.iov_base = self->heap + 8 * PAGE;
	EXPECT_EQ(sizeof(buf), process_vm_writev(getpid(), &here, 1, &there, 1, 0));
	EXPECT_EQ(0, memcmp(buf, self->heap + 8 * PAGE, sizeof(buf)));
	there.iov_base = self->heap + MIB;
	EXPECT_EQ(-1, process_vm_readv(getpid(), &here, 1, &there, 1, 0));
	EXPECT_EQ(EFAULT, errno);

	mem = open("/proc/self/mem", O_RDWR);
	ASSERT_LE(0, mem);
	EXPECT_EQ(PAGE, pread(mem, buf, PAGE, (uintptr_t)self->heap + PAGE));
	EXPECT_EQ(0, memcmp(buf, self->heap + PAGE, PAGE));
	EXPECT_EQ(PAGE, pwrite(mem, buf, PAGE, (uintptr_t)self->heap + 20 * PAGE));
	EXPECT_EQ(0, memcmp(buf, self->heap + 20 * PAGE, PAGE));
	EXPECT_EQ(-1, pread(mem, buf, PAGE, (uintptr_t)self->heap + MIB));
	close(mem);
}

/* A page in a pipe outlives its proclet. */
TEST_F(region, page_held_by_a_pipe)
{
	struct iovec iov = { self->heap + PAGE, PAGE };
	static __u8 buf[4096];
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, raw_brk(self->fd, self->p, MIB));
	fill_pattern(self->heap, PAGE, 2 * PAGE);
	ASSERT_EQ(PAGE, vmsplice(fds[1], &iov, 1, 0));
	EXPECT_EQ(0, raw_destroy(self->fd, self->p));
	EXPECT_EQ(SIGSEGV, touch_destroyed(self->heap + PAGE));
	EXPECT_EQ(PAGE, read(fds[0], buf, PAGE));
	for (size_t i = 0; i < PAGE; i++) {
		ASSERT_EQ(pattern(PAGE + i), buf[i]);
	}
}

TEST_F(region, proc_files)
{
	static const char * const files[] = { "maps", "smaps", "smaps_rollup", "numa_maps",
					      "status", "stat", "statm" };
	static char buf[65536];
	char path[64];

	ASSERT_EQ(0, raw_brk(self->fd, self->p, MIB));
	fill_pattern(self->heap, PAGE, MIB);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		int fd;

		snprintf(path, sizeof(path), "/proc/self/%s", files[i]);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
	}
}

/* A dump of a member's memory does not go through 64 TiB. */
TEST_F(region, core_dump_ends)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	struct pollfd p = { .events = POLLIN };
	char dir[] = "/tmp/core.XXXXXX";
	int status, fd;
	pid_t pid;

	ASSERT_NE(NULL, mkdtemp(dir));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		__u64 q;

		fd = raw_open();
		if (fd < 0 || chdir(dir) || setrlimit(RLIMIT_CORE, &unlimited) ||
		    raw_join(fd, "region-core", raw_own_run()) || raw_map_region(fd))
			_exit(1);
		q = raw_proclet(fd, MIB);
		if (!q || raw_brk(fd, q, MIB))
			_exit(1);
		fill_pattern(heap_of(q), PAGE, MIB);
		fd = open("/proc/self/coredump_filter", O_WRONLY);
		if (fd < 0 || write(fd, "0x7f", 4) != 4)
			_exit(1);
		signal(SIGSEGV, SIG_DFL);
		abort();
	}
	p.fd = syscall(SYS_pidfd_open, pid, 0);
	EXPECT_EQ(1, poll(&p, 1, 30000))
		TH_LOG("the dump goes on for ever");
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(SIGABRT, WTERMSIG(status));
	ASSERT_EQ(0, chdir(dir));
	unlink("core");
	ASSERT_EQ(0, chdir("/"));
	rmdir(dir);
}

/* The node's budget: refused when it is used up, as before when it is given back. */
TEST_F(region, budget)
{
	struct proclet_create_args a = { .capacity = MIB, .root_size = 100000 };
	char old[32];
	__u64 q;

	if (node_attr(raw_node(), "budget", O_RDWR) < 0)
		SKIP(return, "the node's budget cannot be set here");
	ASSERT_EQ(0, raw_brk(self->fd, self->p, MIB));
	fill_pattern(self->heap, PAGE, MIB);
	ASSERT_EQ(0, node_set(raw_node(), "budget", "1048576", old));
	EXPECT_EQ(-ENOMEM, raw_brk(self->fd, self->p, 2 * MIB));
	EXPECT_EQ(-ENOMEM, raw_create(self->fd, &a, 0, &q));
	EXPECT_EQ(0, pattern_differs(self->heap, PAGE, MIB));
	EXPECT_EQ(SIGSEGV, touch_read(self->heap + MIB));
	/* Lowering gives back. */
	EXPECT_EQ(0, raw_brk(self->fd, self->p, PAGE));
	EXPECT_EQ(0, raw_brk(self->fd, self->p, MIB / 2));
	EXPECT_EQ(0, node_set(raw_node(), "budget", old, NULL));
	EXPECT_EQ(0, raw_brk(self->fd, self->p, 2 * MIB));
	EXPECT_EQ(0, raw_create(self->fd, &a, 0, &q));
}

/* Likewise that of a member, and how many proclets it may have. */
TEST_F(region, member_budget)
{
	struct proclet_create_args a = { .capacity = MIB, .root_size = 100000 };
	__u64 q;

	if (node_attr(raw_node(), "member_budget", O_RDWR) < 0)
		SKIP(return, "the member's budget cannot be set here");
	ASSERT_EQ(0, raw_brk(self->fd, self->p, MIB));
	ASSERT_EQ(0, node_set(raw_node(), "member_budget", "1M", NULL));
	EXPECT_EQ(-ENOMEM, raw_brk(self->fd, self->p, 2 * MIB));
	EXPECT_EQ(-ENOMEM, raw_create(self->fd, &a, 0, &q));
	EXPECT_EQ(0, raw_brk(self->fd, self->p, MIB / 2));
	EXPECT_EQ(0, raw_create(self->fd, &a, 0, &q));
	EXPECT_EQ(0, node_set(raw_node(), "member_budget", "0", NULL));
	EXPECT_EQ(0, raw_brk(self->fd, self->p, 2 * MIB));

	ASSERT_EQ(0, node_set(raw_node(), "member_proclets", "2", NULL));
	EXPECT_EQ(-ENOMEM, raw_create(self->fd, &a, 0, &q));
	ASSERT_EQ(0, node_set(raw_node(), "member_proclets", "3", NULL));
	EXPECT_EQ(0, raw_create(self->fd, &a, 0, &q));
	EXPECT_EQ(-ENOMEM, raw_create(self->fd, &a, 0, &q));
	EXPECT_EQ(0, node_set(raw_node(), "member_proclets", "0", NULL));
	EXPECT_EQ(0, raw_create(self->fd, &a, 0, &q));
	EXPECT_EQ(-EINVAL, node_set(raw_node(), "member_proclets", "many", NULL));
	EXPECT_EQ(-EINVAL, node_set(raw_node(), "budget", "0", NULL));
}

TEST_F(region, many_proclets)
{
	static __u64 ids[400];

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		ids[i] = raw_proclet(self->fd, MIB << i % 4);
		ASSERT_NE(0, ids[i]);
		ASSERT_EQ(0, PROCLET_ID_HEAP(ids[i]) % (MIB << i % 4));
		*(__u64 *)(heap_of(ids[i]) + PROCLET_ROOT_OFF) = i;
	}
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		EXPECT_EQ(i, *(__u64 *)(heap_of(ids[i]) + PROCLET_ROOT_OFF));
	}
	for (size_t i = 0; i < ARRAY_SIZE(ids); i += 2) {
		EXPECT_EQ(0, raw_destroy(self->fd, ids[i]));
	}
	for (size_t i = 0; i < ARRAY_SIZE(ids); i += 2) {
		__u64 q = raw_proclet(self->fd, MIB << i % 4);

		ASSERT_NE(0, q);
		for (size_t j = 0; j < ARRAY_SIZE(ids); j += 2) {
			ASSERT_NE(q, ids[j]);
		}
		ASSERT_EQ(0, *(__u64 *)(heap_of(q) + PROCLET_ROOT_OFF));
	}
	for (size_t i = 1; i < ARRAY_SIZE(ids); i += 2) {
		EXPECT_EQ(i, *(__u64 *)(heap_of(ids[i]) + PROCLET_ROOT_OFF));
	}
}

/* Faults race with each other, with growing and shrinking, and with the end. */
static struct {
	int fd;
	__u64 p;
	bool stop;
} race;

static void *toucher(void *seed)
{
	__u64 state = (uintptr_t)seed;

	while (!__atomic_load_n(&race.stop, __ATOMIC_RELAXED)) {
		__u64 p = __atomic_load_n(&race.p, __ATOMIC_RELAXED);

		state = state * 6364136223846793005ULL + 1442695040888963407ULL;
		touch_write(heap_of(p) + PAGE + (state >> 33) % (MIB - PAGE), 7);
	}
	return NULL;
}

static void *taker(void *unused)
{
	static __u8 buf[16 * 4096];

	(void)unused;
	while (!__atomic_load_n(&race.stop, __ATOMIC_RELAXED)) {
		__u64 p = __atomic_load_n(&race.p, __ATOMIC_RELAXED);
		struct iovec here = { buf, sizeof(buf) };
		struct iovec there = { heap_of(p) + PAGE, sizeof(buf) };

		process_vm_readv(getpid(), &here, 1, &there, 1, 0);
	}
	return NULL;
}

TEST_F(region, races)
{
	unsigned int rounds = env_number("PROCLET_TEST_RACES", 500);
	pthread_t t[4];

	race.fd = self->fd;
	race.p = self->p;
	for (uintptr_t i = 0; i < 4; i++) {
		ASSERT_EQ(0, pthread_create(&t[i], NULL, i < 3 ? toucher : taker,
					    (void *)(i + 1)));
	}
	for (unsigned int i = 0; i < rounds; i++) {
		__u64 p = race.p;

		ASSERT_EQ(0, raw_brk(self->fd, p, MIB));
		ASSERT_EQ(0, raw_brk(self->fd, p, PAGE));
		ASSERT_EQ(0, raw_brk(self->fd, p, MIB / 2));
		if (i % 4 == 3) {
			ASSERT_EQ(0, raw_destroy(self->fd, p));
			p = raw_proclet(self->fd, 4 * MIB);
			ASSERT_NE(0, p);
			__atomic_store_n(&race.p, p, __ATOMIC_RELAXED);
		}
	}
	race.stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

TEST_HARNESS_MAIN
