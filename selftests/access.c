// SPDX-License-Identifier: GPL-2.0
/*
 * Who may do what: the device, other users' logical processes, the tables, the
 * configuration.
 */
#include "harness.h"
#include "raw.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ALICE 1000
#define BOB 1001
#define GROUP 900		/* that of /dev/proclet, as 80-proclet.rules has it */

static __u64 run;		/* the same for all in a test */
static int passed_fd;		/* of another one's */
static pid_t passed_pid;

static int become(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		return -errno;
	return 0;
}

/* Root, but without CAP_SYS_ADMIN. */
static int drop_admin(void)
{
	struct __user_cap_header_struct hdr = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &hdr, data))
		return -errno;
	data[0].effective &= ~(1u << CAP_SYS_ADMIN);
	data[0].permitted &= ~(1u << CAP_SYS_ADMIN);
	return syscall(SYS_capset, &hdr, data) ? -errno : 0;
}

#define NO_ADMIN ((uid_t)-1)

/* What @fn returns to that user: 0 to 99, or an error. */
static int as(uid_t uid, gid_t gid, int (*fn)(void))
{
	pid_t pid = fork();
	int status, ret;

	if (!pid) {
		ret = uid == NO_ADMIN ? drop_admin() : become(uid, gid);
		ret = ret ?: fn();
		_exit(ret < 0 ? 100 - ret : ret);
	}
	waitpid(pid, &status, 0);
	if (!WIFEXITED(status))
		return -EINTR;
	ret = WEXITSTATUS(status);
	return ret >= 100 ? 100 - ret : ret;
}

static int do_open(void)
{
	int fd = raw_open();

	return fd < 0 ? fd : 0;
}

static int join_on(__u32 node)
{
	struct proclet_join join;
	int fd = raw_open();

	if (fd < 0)
		return fd;
	raw_join_fill(&join, "access", run);
	join.node = node;
	return raw_ioctl(fd, PROCLET_IOC_JOIN, &join) ?: fd;
}

static int do_join(void)
{
	int fd = join_on(raw_node());

	return fd < 0 ? fd : 0;
}

static int do_join_other(void)
{
	int fd = join_on(raw_node() + 1);

	return fd < 0 ? fd : 0;
}

static int do_work(void)
{
	int fd = join_on(raw_node());
	__u64 p;

	if (fd < 0)
		return fd;
	p = raw_proclet(fd, MIB);
	return p ? raw_destroy(fd, p) : -ENOMEM;
}

/* A member of that user with a proclet, until its end is closed. */
struct guest {
	pid_t pid;
	int end;		/* of a pipe that it reads */
	int fd;			/* its device file */
};

static int start_guest(struct guest *g, uid_t uid)
{
	int up[2], down[2], fd = raw_open(), ret;
	struct proclet_join join;

	if (fd < 0 || pipe(up) || pipe(down))
		return -errno;
	g->pid = fork();
	if (!g->pid) {
		close(up[0]);
		close(down[1]);
		raw_join_fill(&join, "access", run);
		ret = become(uid, GROUP) ?: raw_ioctl(fd, PROCLET_IOC_JOIN, &join);
		if (!ret && !raw_proclet(fd, MIB))
			ret = -ENOMEM;
		if (write(up[1], &ret, sizeof(ret)) == sizeof(ret))
			while (read(down[0], &ret, 1) > 0)
				;
		_exit(0);
	}
	close(up[1]);
	close(down[0]);
	if (read(up[0], &ret, sizeof(ret)) != sizeof(ret))
		ret = -EIO;
	close(up[0]);
	g->end = down[1];
	g->fd = fd;
	return ret;
}

static void end_guest(struct guest *g)
{
	close(g->end);
	waitpid(g->pid, NULL, 0);
	close(g->fd);
}

FIXTURE(access) {
	struct guest alice;
};

FIXTURE_SETUP(access)
{
	run = raw_own_run();
	ASSERT_EQ(0, chown("/dev/proclet", 0, GROUP));
	ASSERT_EQ(0, start_guest(&self->alice, ALICE));
}

FIXTURE_TEARDOWN(access)
{
	end_guest(&self->alice);
	EXPECT_EQ(0, chown("/dev/proclet", 0, 0));
}

TEST_F(access, device_is_for_its_group)
{
	struct stat st;

	ASSERT_EQ(0, stat("/dev/proclet", &st));
	EXPECT_EQ(0660, st.st_mode & 07777);
	EXPECT_EQ(0, st.st_uid);
	EXPECT_EQ(-EACCES, as(BOB, BOB, do_open));
	EXPECT_EQ(0, as(BOB, GROUP, do_open));
	run++;
	EXPECT_EQ(0, as(BOB, GROUP, do_work));
	/* No capability is needed for that. */
	EXPECT_EQ(0, as(NO_ADMIN, 0, do_work));
}

/* The same name and number of run, on the same node and on another one. */
TEST_F(access, others_cannot_join)
{
	EXPECT_EQ(-EEXIST, as(BOB, GROUP, do_join));
	EXPECT_EQ(-EEXIST, as(ALICE, GROUP, do_join));
	if (as(ALICE, GROUP, do_join_other) == -ENODEV)
		SKIP(return, "node 2 is on another machine");
	EXPECT_EQ(-EXDEV, as(BOB, GROUP, do_join_other));
	EXPECT_EQ(-EXDEV, as(0, 0, do_join_other));
	EXPECT_EQ(0, as(ALICE, GROUP, do_join_other));
}

static int reason_names_users(void)
{
	struct proclet_join join;
	int fd = raw_open(), ret;

	raw_join_fill(&join, "access", run);
	join.node = raw_node() + 1;
	ret = raw_ioctl(fd, PROCLET_IOC_JOIN, &join);
	if (ret != -EXDEV)
		return ret;
	return strstr(join.reason, "uid 1000") && strstr(join.reason, "uid 1001") ? 0 : 1;
}

TEST_F(access, reason_is_told)
{
	int ret = as(BOB, GROUP, reason_names_users);

	if (ret == -ENODEV)
		SKIP(return, "node 2 is on another machine");
	EXPECT_EQ(0, ret);
}

static int use_passed(void)
{
	struct proclet_members m = { .size = sizeof(m) };
	int ret = raw_ioctl(passed_fd, PROCLET_IOC_MEMBERS, &m);

	if (ret != -EPERM)
		return ret;
	ret = raw_map_region(passed_fd);
	if (ret != -EPERM)
		return ret;
	return raw_proclet(passed_fd, MIB) ? 1 : -EPERM;
}

static int open_memory(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", passed_pid);
	return open(path, O_RDONLY) < 0 ? -errno : 0;
}

/* Not even with the member's own file. */
TEST_F(access, others_cannot_look_into_it)
{
	passed_fd = self->alice.fd;
	passed_pid = self->alice.pid;
	EXPECT_EQ(-EPERM, as(BOB, GROUP, use_passed));
	EXPECT_EQ(-EPERM, as(ALICE, GROUP, use_passed));
	EXPECT_EQ(-EPERM, as(0, 0, use_passed));
	EXPECT_EQ(-EACCES, as(BOB, GROUP, open_memory));
}

/* Lines of a table behind its head. */
static int lines(const char *name)
{
	char path[64], line[512];
	int n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/proclet/%s", name);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f))
		n++;
	fclose(f);
	return n;
}

static int see_lprocs(void)
{
	return lines("lprocs");
}

static int see_proclets(void)
{
	return lines("proclets");
}

static int see_threads(void)
{
	return lines("threads");
}

TEST_F(access, tables_show_own)
{
	int lprocs = see_lprocs(), proclets = see_proclets(), fd;
	struct guest bob;

	EXPECT_LE(1, lprocs);
	EXPECT_LE(1, proclets);
	EXPECT_EQ(1, as(ALICE, ALICE, see_lprocs));
	EXPECT_EQ(1, as(ALICE, ALICE, see_proclets));
	EXPECT_EQ(0, as(BOB, GROUP, see_lprocs));
	EXPECT_EQ(0, as(BOB, GROUP, see_proclets));
	EXPECT_EQ(0, as(BOB, GROUP, see_threads));
	EXPECT_EQ(lprocs - 1, as(NO_ADMIN, 0, see_lprocs));
	run++;
	ASSERT_EQ(0, start_guest(&bob, BOB));
	EXPECT_EQ(1, as(ALICE, GROUP, see_lprocs));
	EXPECT_EQ(1, as(BOB, GROUP, see_lprocs));
	EXPECT_EQ(lprocs + 1, see_lprocs());
	EXPECT_EQ(proclets + 1, see_proclets());
	end_guest(&bob);
	fd = node_attr(raw_node(), "keys", O_RDONLY);
	EXPECT_LE(0, fd);
	close(fd);
}

static int do_mkdir(void)
{
	int ret = mkdir(NODES_DIR "/access", 0755) ? -errno : 0;

	if (!ret)
		rmdir(NODES_DIR "/access");
	return ret;
}

static int do_configure(void)
{
	char old[32];

	return node_set(raw_node(), "spin_us", "0", old);
}

static int do_keys(void)
{
	return node_set(raw_node(), "keys", "\n", NULL);
}

static int do_debugfs(void)
{
	int fd = open("/sys/kernel/debug/proclet", O_RDONLY | O_DIRECTORY);

	return fd < 0 ? -errno : 0;
}

TEST_F(access, configuration_is_the_admins)
{
	EXPECT_EQ(-EACCES, as(ALICE, GROUP, do_mkdir));
	EXPECT_EQ(-EACCES, as(ALICE, GROUP, do_configure));
	EXPECT_EQ(-EACCES, as(ALICE, GROUP, do_keys));
	EXPECT_EQ(-EACCES, as(ALICE, GROUP, do_debugfs));
	EXPECT_EQ(-EPERM, as(NO_ADMIN, 0, do_mkdir));
	EXPECT_EQ(-EPERM, as(NO_ADMIN, 0, do_configure));
	EXPECT_EQ(-EPERM, as(NO_ADMIN, 0, do_keys));
	EXPECT_EQ(0, as(0, 0, do_mkdir));
	EXPECT_EQ(0, as(0, 0, do_configure));
}

TEST_HARNESS_MAIN
