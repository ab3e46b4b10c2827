// SPDX-License-Identifier: GPL-2.0
/*
 * stress: members are killed, connections and nodes lost, and come back, while all else
 * goes on. An action that a fault overlaps may end with an error, and what it was to do
 * may have been done or not; but what others were told stands, and nothing is wrong. When
 * a fault is over nothing may fail any more, and what was not lost is whole.
 */
#include "stress.h"
#include "command.h"
#include "fault.h"
#include "supervise.h"

#define BOUND 240	/* seconds in which all is well again, also in an emulator */
#define PEACE_MS 3000

/* ---- what actions know of it ---- */

static unsigned int storms;		/* odd: there is one */
static __thread unsigned int storms_before;
static __u64 struck_answers;

bool faults_wanted(void)
{
	return env_number("PROCLET_TEST_FAULTS", 0);
}

void faults_action_begins(void)
{
	storms_before = __atomic_load_n(&storms, __ATOMIC_ACQUIRE);
}

bool stormy(void)
{
	return storms_before % 2 || storms_before != __atomic_load_n(&storms, __ATOMIC_ACQUIRE);
}

bool struck(ssize_t ret)
{
	if ((ret != -ECONNRESET && ret != -EHOSTUNREACH && ret != -ESTALE) || !stormy())
		return false;
	ADD(struck_answers, 1);
	return true;
}

/* ---- observers: a pinned proclet on each node ---- */

static proclet_t observers[ARRAY_SIZE(nodes)];
static time_t end;	/* of the bound */

static bool in_time(const char *what, int node, ssize_t ret)
{
	const struct timespec tick = { 0, 20000000 };

	if (seconds_now() > end) {
		diag("%s node %d: expected in %d s, saw %zd", what, node, BOUND, ret);
		return false;
	}
	nanosleep(&tick, NULL);
	return true;
}

METHOD(present)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return 0;
}
PROCLET_METHOD(present);

METHOD(call_other)
{
	proclet_t p;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(p))
		return -EINVAL;
	memcpy(&p, in, sizeof(p));
	return proclet_call(p, present, NULL, 0, NULL, 0);
}
PROCLET_METHOD(call_other);

METHOD(die)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return kill(getpid(), SIGKILL);
}
PROCLET_METHOD(die);

static int between(int from, int to)
{
	return proclet_call(observers[from], call_other, &observers[to], sizeof(proclet_t),
			    NULL, 0);
}

/* When its node has a member, that is not the one it was. */
static int observer_new(int i)
{
	struct proclet_attr attr = { MIB, nodes[i], PROCLET_PINNED, 8 };
	int err;

	while (observers[i] &&
	       (err = proclet_call(observers[i], present, NULL, 0, NULL, 0)) != -ESTALE)
		CHECK(in_time("another member on", nodes[i], err));
	while ((err = proclet_create(&observers[i], &attr))) {
		CHECK(err == -EHOSTUNREACH || err == -ECONNRESET);
		CHECK(in_time("a member on", nodes[i], err));
	}
	return KSFT_PASS;
}

static int all_reach_all(void)
{
	for (int a = 0; a < node_count; a++) {
		for (int b = 0; b < node_count; b++) {
			int err;

			while ((err = between(a, b)))
				CHECK(in_time("all reach", nodes[b], err));
		}
	}
	return KSFT_PASS;
}

/* The others have noticed that it is gone. */
static int all_miss(int v)
{
	for (int i = 0; i < node_count; i++)
		while (i != v && !between(i, v))
			CHECK(in_time("all miss", nodes[v], 0));
	return KSFT_PASS;
}

/* ---- faults ---- */

static int on_node(int i, const char *format, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	CHECK_EQ(proclet_call(observers[i], command, text, strlen(text) + 1, NULL, 0), 0);
	return KSFT_PASS;
}

/* Of two nodes; the first is not the root's. */
static int member_killed(int v, int other)
{
	(void)other;
	CHECK_EQ(proclet_call(observers[v], die, NULL, 0, NULL, 0), -ECONNRESET);
	return KSFT_PASS;
}

/* By an administrator, who has second thoughts. */
static int peer_removed(int v, int other)
{
	int at = other ? v : other, peer = other ? other : v;
	char text[PEER_ADD_MAX];

	TRY(on_node(at, "procletctl peer del n%d n%d", nodes[at], nodes[peer]));
	return on_node(at, "%s", peer_add(text, nodes[at], nodes[peer]));
}

static int link_cut(int v, int other)
{
	TRY(fault("cut %d %d", nodes[v], nodes[other]));
	while (!between(v, other) || !between(other, v))
		CHECK(in_time("loss of", nodes[other], 0));
	return fault("mend %d %d", nodes[v], nodes[other]);
}

/* Nobody notices but those who wait for an answer. */
static const struct timespec blink = { 0, 300000000 };

static int node_cut_shortly(int v, int other)
{
	(void)other;
	TRY(fault("cut %d", nodes[v]));
	nanosleep(&blink, NULL);
	return fault("mend %d", nodes[v]);
}

static int node_naps(int v, int other)
{
	(void)other;
	TRY(fault("pause %d", nodes[v]));
	nanosleep(&blink, NULL);
	return fault("cont %d", nodes[v]);
}

static int node_cut(int v, int other)
{
	(void)other;
	TRY(fault("cut %d", nodes[v]));
	TRY(all_miss(v));
	return fault("mend %d", nodes[v]);
}

static int node_stands_still(int v, int other)
{
	(void)other;
	TRY(fault("pause %d", nodes[v]));
	TRY(all_miss(v));
	return fault("cont %d", nodes[v]);
}

static int node_rebooted(int v, int other)
{
	(void)other;
	TRY(fault("kill %d", nodes[v]));
	TRY(all_miss(v));
	return fault("boot %d", nodes[v]);
}

/* What is lost: the node's member; only a connection, but a member that loses the root
 * ends, too; or nothing.
 */
enum loss { MEMBER, CONNECTION, NOTHING };

static const struct kind {
	const char *name;
	int (*fn)(int v, int other);
	enum loss loss;
	bool guests;		/* only for a guest of its own */
} kinds[] = {
	{ "member killed", member_killed, MEMBER, false },
	{ "peer removed", peer_removed, CONNECTION, false },
	{ "link cut", link_cut, CONNECTION, true },
	{ "node cut off shortly", node_cut_shortly, NOTHING, true },
	{ "node naps", node_naps, NOTHING, true },
	{ "node cut off", node_cut, MEMBER, true },
	{ "node stands still", node_stands_still, MEMBER, true },
	{ "node rebooted", node_rebooted, MEMBER, true },
};

static struct {
	unsigned int times;
	unsigned int lost;	/* proclets */
} seen[ARRAY_SIZE(kinds)];

static int all_is_well(const struct kind *k, int v, int other)
{
	bool member_lost = k->loss == MEMBER || (k->loss == CONNECTION && !other);
	unsigned int lost;

	end = seconds_now() + BOUND;
	if (member_lost)
		TRY(observer_new(v));
	TRY(all_reach_all());
	TRY(lives_review(observers, BOUND, !member_lost, &lost));
	seen[k - kinds].times++;
	seen[k - kinds].lost += lost;
	return KSFT_PASS;
}

int do_fault(struct stress_worker *w, __u64 *state)
{
	const bool guests = getenv("PROCLET_FAULTS");
	const struct kind *k;
	struct timespec peace = { 0, 0 };
	int v, other;

	(void)w;
	if (!observers[0]) {
		TRY(tap_nodes(2));
		end = seconds_now() + BOUND;
		for (int i = 0; i < node_count; i++)
			TRY(observer_new(i));
	}
	do {
		k = &kinds[next_random(state) % ARRAY_SIZE(kinds)];
	} while (k->guests && !guests);
	v = 1 + next_random(state) % (node_count - 1);
	/* The root's guest cannot be parted from only one. */
	do {
		other = next_random(state) % node_count;
	} while (other == v || (!other && k->fn == link_cut && node_count > 2));

	__atomic_add_fetch(&storms, 1, __ATOMIC_SEQ_CST);
	faults_action_begins();
	end = seconds_now() + BOUND;
	if (k->fn(v, other) != KSFT_PASS || all_is_well(k, v, other) != KSFT_PASS) {
		diag("%s: node %d, or its connection with %d", k->name, nodes[v], nodes[other]);
		return KSFT_FAIL;
	}
	__atomic_add_fetch(&storms, 1, __ATOMIC_SEQ_CST);

	peace.tv_nsec = next_random(state) % PEACE_MS * MS;
	peace.tv_sec = peace.tv_nsec / SECOND;
	peace.tv_nsec %= SECOND;
	nanosleep(&peace, NULL);
	return KSFT_PASS;
}

int faults_went_well(void)
{
	if (!faults_wanted())
		return KSFT_PASS;
	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++)
		if (seen[i].times)
			diag("%-22s %u times, %u proclets lost", kinds[i].name, seen[i].times,
			     seen[i].lost);
	diag("%llu answers were errors meanwhile", struck_answers);
	CHECK_GE(storms, 2);
	return KSFT_PASS;
}

/* ---- members ---- */

/* It was killed, has lost the root, or could not join. */
static bool ended_by_fault(int status)
{
	return WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) > 128;
}

void faults_supervise(void)
{
	lproc_set_flags(LPROC_SURVIVE);
	if (env_number("PROCLET_NODE", 1) != 1)
		go_on_in_child(ended_by_fault);
}
