/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A process beside each member that does what it is told over UDP: it stops the node at
 * steps of migrations, and looks at what the module has. It does not use the module to
 * talk, so it answers when that cannot.
 */
#ifndef PROCLET_SELFTEST_AGENT_H
#define PROCLET_SELFTEST_AGENT_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "tap.h"

#define AGENT_PORT	7000
#define AGENT_TRIES	10	/* of a second each */
#define BEATS		512	/* a page of them */

enum agent_what {
	AGENT_ARM,	/* stop at @step */
	AGENT_WAIT,	/* 1: it stands there, 0: not within some time */
	AGENT_LET_GO,	/* go on */
	AGENT_LET_GO_LATER,	/* go on when the members change */
	AGENT_LOOK,	/* at proclet @id */
};

struct agent_ask {
	__u32 seq;
	__u32 what;
	__u64 id;
	__u32 slot;
	char name[28];		/* of a step, or of the logical process */
};

/* struct agent_view - what there is on a node; @seq and @result are of each answer */
struct agent_view {
	__u32 seq;
	__s32 result;
	__u32 state;		/* STATE_*, of the proclet */
	__u32 members;		/* bits */
	__u64 beats;
	__u32 proclets;		/* all that are not ABSENT */
	__u32 reserved;
};

/* As /proc/proclet/proclets names them. */
#define STATE_ABSENT	1
#define STATE_INCOMING	2
#define STATE_PRESENT	4
#define STATE_FREEZING	8
#define STATE_MOVING	16
#define STATE_INDOUBT	32
#define STATE_DYING	64

static const char *const agent_states[] = {
	"absent", "incoming", "present", "freezing", "moving", "indoubt", "dying",
};

/* The member's; it shares them with its agent. */
static volatile __u64 beats[BEATS] __attribute__((aligned(4096)));

static inline void agent_look(const struct agent_ask *a, struct agent_view *v)
{
	char line[512], name[64], state[16];
	unsigned long long id;
	FILE *f;

	v->state = STATE_ABSENT;
	v->beats = beats[a->slot % BEATS];
	f = fopen("/proc/proclet/lprocs", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*u %63s %*x %x", name, &v->members) == 2 &&
		    !strcmp(name, a->name))
			break;
	if (f)
		fclose(f);
	f = fopen("/proc/proclet/proclets", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*u %*s %llx %15s", &id, state) != 2 ||
		    !strcmp(state, "absent"))
			continue;
		v->proclets++;
		for (unsigned int i = 0; id == a->id && i < ARRAY_SIZE(agent_states); i++)
			if (!strcmp(state, agent_states[i]))
				v->state = 1 << i;
	}
	if (f)
		fclose(f);
}

static inline __u32 agent_members(const char *name)
{
	struct agent_view v = { 0 };
	struct agent_ask a = { 0 };

	strncpy(a.name, name, sizeof(a.name) - 1);
	agent_look(&a, &v);
	return v.members;
}

/* Soft-RoCE takes 7 retries for any number, so a loss is noticed by this alone. */
static inline void agent_hurry(void)
{
	FILE *f = fopen("/sys/module/proclet/parameters/peer_timeout_ms", "w");

	if (f) {
		fputs("4000", f);
		fclose(f);
	}
}

static inline void agent_run(const char *lproc)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(AGENT_PORT) };
	int s = socket(AF_INET, SOCK_DGRAM, 0), stop = -1, one = 1;
	__u32 seq = 0, members = 0;
	struct agent_view v = { 0 };
	char path[64];
	bool later = false;

	snprintf(path, sizeof(path), "/sys/kernel/debug/proclet/n%u/stop",
		 env_number("PROCLET_NODE", 1));
	agent_hurry();
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s, (struct sockaddr *)&addr, sizeof(addr)))
		exit(1);
	for (;;) {
		struct pollfd p = { .fd = s, .events = POLLIN };
		socklen_t len = sizeof(addr);
		struct agent_ask a;

		if (later && agent_members(lproc) != members) {
			close(stop);
			stop = -1;
			later = false;
		}
		if (poll(&p, 1, later ? 20 : -1) < 1 ||
		    recvfrom(s, &a, sizeof(a), 0, (struct sockaddr *)&addr, &len) != sizeof(a))
			continue;
		/* Asked once more: the answer was lost. */
		if (a.seq != seq) {
			memset(&v, 0, sizeof(v));
			seq = v.seq = a.seq;
			switch (a.what) {
			case AGENT_ARM:
				if (stop >= 0)
					close(stop);
				stop = open(path, O_RDWR | O_CLOEXEC);
				v.result = stop < 0 ||
					   write(stop, a.name, strlen(a.name)) < 0 ? -errno : 0;
				break;
			case AGENT_WAIT:
				p.fd = stop;
				v.result = poll(&p, 1, 500);
				break;
			case AGENT_LET_GO_LATER:
				later = true;
				members = agent_members(lproc);
				break;
			case AGENT_LET_GO:
				later = false;
				v.result = stop < 0 ? -ENOENT : close(stop);
				stop = -1;
				break;
			case AGENT_LOOK:
				agent_look(&a, &v);
				break;
			}
		}
		sendto(s, &v, sizeof(v), 0, (struct sockaddr *)&addr, len);
	}
}

/* Before lproc_main(), which then need not execute the program again. */
static inline void agent_start(const char *lproc, char **argv)
{
	int persona = personality(0xffffffff);

	if (!(persona & ADDR_NO_RANDOMIZE)) {
		personality(persona | ADDR_NO_RANDOMIZE);
		execv("/proc/self/exe", argv);
		_exit(127);
	}
	if (mmap((void *)beats, sizeof(beats), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		_exit(127);
	if (fork())
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	agent_run(lproc);
}

/* The root's side: 0 and the answer in @v, or -ETIMEDOUT. */
static inline int agent_ask(int node, struct agent_ask *a, struct agent_view *v)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(AGENT_PORT) };
	struct timeval second = { 1, 0 };
	static int s = -1;
	static __u32 seq;

	if (s < 0) {
		s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	}
	to.sin_addr.s_addr = htonl(0x0a4d0000 + node);	/* 10.77.0.x */
	a->seq = ++seq;
	for (int i = 0; i < AGENT_TRIES; i++) {
		sendto(s, a, sizeof(*a), 0, (struct sockaddr *)&to, sizeof(to));
		while (recv(s, v, sizeof(*v), 0) == sizeof(*v))
			if (v->seq == seq)
				return 0;
	}
	return -ETIMEDOUT;
}

#endif /* PROCLET_SELFTEST_AGENT_H */
