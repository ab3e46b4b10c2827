// SPDX-License-Identifier: GPL-2.0
/*
 * A machine dies, stands still or loses its link when a migration has come to a step:
 * each step of the protocol, each mode, each role. What is left is compared with what
 * Documentation/model/ and failure-model.rst allow. Only for guests, which
 * vcluster kills.
 *
 * The usual run has each step once, with mode, role and fault in turn.
 * PROCLET_TEST_STEPS=all has all of them; a step's name there, all of that step.
 */
#include "agent.h"
#include "fault.h"
#include "supervise.h"
#include "tap.h"

#include <linux/proclet.h>

#define LPROC "steps"
#define BOUND 60		/* seconds in which all must be as it should */
#define BYTES (512 << 10)	/* more than what is not worth an early offer */
#define BEAT_NS 2000000

struct traveller {
	__u64 counter;
	volatile __u32 stop;
	__u64 *data;
	__u64 words;
};

/* ---- methods ---- */

static ssize_t increment(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct traveller *t = root;

	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	__atomic_add_fetch(&t->counter, 1, __ATOMIC_RELAXED);
	return 0;
}
PROCLET_METHOD(increment);

static ssize_t counted(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return ((struct traveller *)root)->counter;
}
PROCLET_METHOD(counted);

static ssize_t fill(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct traveller *t = root;
	__u64 state = 7, sum;

	if (in_len != sizeof(__u64) || out_cap != sizeof(sum))
		return -EINVAL;
	t->words = *(const __u64 *)in / 8;
	t->data = proclet_malloc(t->words * 8);
	if (!t->data)
		return -ENOMEM;
	for (__u64 i = 0; i < t->words; i++)
		t->data[i] = next_random(&state);
	return answer_checksum(t->data, t->words * 8, out, out_cap);
}
PROCLET_METHOD(fill);

static ssize_t check(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct traveller *t = root;

	(void)in;
	(void)in_len;
	return answer_checksum(t->data, t->words * 8, out, out_cap);
}
PROCLET_METHOD(check);

/* Its member's page shows where it runs. */
static ssize_t beat(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct traveller *t = root;
	__u32 slot;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(slot))
		return -EINVAL;
	memcpy(&slot, in, sizeof(slot));
	while (!t->stop) {
		beats[slot % BEATS]++;
		proclet_sleep_until(proclet_clock_ns() + BEAT_NS);
	}
	return 77;
}
PROCLET_METHOD(beat);

static ssize_t stop(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	((struct traveller *)root)->stop = 1;
	return 0;
}
PROCLET_METHOD(stop);

/* What to do from another node. */
struct errand {
	proclet_t p;
	proclet_method_t method;	/* NULL: move it */
	int node;			/* there; 0: destroy it */
};

static ssize_t run_errand(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct errand e;

	(void)root;
	if (in_len != sizeof(e))
		return -EINVAL;
	memcpy(&e, in, sizeof(e));
	if (e.method)
		return proclet_call(e.p, e.method, NULL, 0, out, out_cap);
	return e.node ? proclet_migrate(e.p, e.node, PROCLET_MOVE_STOP) : proclet_destroy(e.p);
}
PROCLET_METHOD(run_errand);

/* ---- steps, and what there may be ---- */

enum role { SOURCE, DESTINATION, HOME, ROLES };
static const char *const role_names[] = { "source", "destination", "home" };

#define STOP	BIT(PROCLET_MOVE_STOP)
#define PRE	BIT(PROCLET_MOVE_PRECOPY)
#define POST	BIT(PROCLET_MOVE_POSTCOPY)
#define BIT(n)	(1U << (n))
static const char *const mode_names[] = { "", "stop", "precopy", "postcopy" };

/* How far it is: whose the proclet is. */
enum phase {
	BEFORE,		/* the source's */
	READY,		/* likewise, but it will give it away without a further look */
	GIVEN,		/* the destination's, if that knows */
	TAKEN,		/* it does */
	ACTIVE,		/* it runs there */
	FETCHED,	/* post-copy: with all of its memory */
};

static const struct step {
	const char *name;
	enum role at;
	unsigned int modes;
	enum phase phase, postcopy;
	bool in_recv;		/* it keeps the messages of the other one waiting */
	__u32 source, destination;
} steps[] = {
#define ANY	(STOP | PRE | POST)
#define AWAY	(STATE_MOVING | STATE_ABSENT)
	{ "src_prepare", SOURCE, ANY, BEFORE, BEFORE, false, STATE_PRESENT,
	  STATE_ABSENT | STATE_INCOMING },
	{ "src_early", SOURCE, ANY, BEFORE, BEFORE, false, STATE_PRESENT, STATE_INCOMING },
	{ "src_freeze", SOURCE, ANY, BEFORE, BEFORE, false, STATE_FREEZING, STATE_INCOMING },
	{ "src_moving", SOURCE, ANY, BEFORE, BEFORE, false, STATE_MOVING, STATE_INCOMING },
	{ "src_offer", SOURCE, ANY, BEFORE, GIVEN, false, STATE_MOVING,
	  STATE_INCOMING | STATE_PRESENT },
	{ "src_ready", SOURCE, STOP | PRE, READY, READY, false, STATE_MOVING, STATE_INCOMING },
	{ "src_commit", SOURCE, STOP | PRE, GIVEN, GIVEN, false, STATE_MOVING,
	  STATE_INCOMING | STATE_PRESENT },
	{ "src_active", SOURCE, ANY, ACTIVE, ACTIVE, false, STATE_MOVING, STATE_PRESENT },
	{ "src_absent", SOURCE, ANY, ACTIVE, ACTIVE, false, STATE_ABSENT, STATE_PRESENT },
	{ "dst_prepare", DESTINATION, ANY, BEFORE, BEFORE, false, STATE_PRESENT, STATE_ABSENT },
	{ "dst_accept", DESTINATION, ANY, BEFORE, BEFORE, false, STATE_PRESENT, STATE_INCOMING },
	{ "dst_early", DESTINATION, ANY, BEFORE, BEFORE, false, STATE_PRESENT, STATE_INCOMING },
	{ "dst_copied", DESTINATION, ANY, BEFORE, BEFORE, false, STATE_PRESENT, STATE_INCOMING },
	{ "dst_offer", DESTINATION, ANY, BEFORE, GIVEN, true, STATE_MOVING, STATE_INCOMING },
	{ "dst_ready", DESTINATION, STOP | PRE, BEFORE, BEFORE, false, STATE_MOVING,
	  STATE_INCOMING },
	{ "dst_commit", DESTINATION, ANY, TAKEN, TAKEN, true, STATE_MOVING, STATE_INCOMING },
	{ "dst_active", DESTINATION, ANY, ACTIVE, ACTIVE, true, STATE_MOVING, STATE_PRESENT },
	{ "dst_moved", DESTINATION, ANY, ACTIVE, ACTIVE, true, AWAY, STATE_PRESENT },
	{ "dst_tail", DESTINATION, POST, ACTIVE, ACTIVE, false, AWAY, STATE_PRESENT },
	{ "dst_fetched", DESTINATION, POST, ACTIVE, FETCHED, false, AWAY, STATE_PRESENT },
	{ "home_moved", HOME, ANY, ACTIVE, ACTIVE, true, AWAY, STATE_PRESENT },
};

/*
 * NAP: it stands still, but nobody notices. PAUSE, CUT: when it is back it finds that
 * the root was lost, and its member ends. SPLIT: the two others lose each other.
 */
enum fault_kind { KILL, NAP, PAUSE, CUT, SPLIT, FAULTS };
static const char *const fault_names[] = {
	"is killed", "naps", "stands still", "is cut off", "sees the others split",
};

/* One of the many. */
static struct {
	const struct step *step;
	unsigned int mode;
	enum role victim;
	enum fault_kind fault;
	bool variant;		/* of where the home is */
	bool late;		/* it goes on when the fault has been noticed */
	bool leaves_home;	/* the home is the source */
	int node[ROLES];
	int at, v;		/* nodes: that stops, that has the fault */
	__u32 slot;
	proclet_t p;
	__u64 sum;
	struct timespec began;
	__u64 beats;		/* of the source, since the destination runs it */
	bool left;
} c;

static bool is(const char *name)
{
	return !strcmp(c.step->name, name);
}

static enum phase phase(void)
{
	bool post = c.mode == PROCLET_MOVE_POSTCOPY;

	/*
	 * What the destination has had to say before it gives the proclet away, the
	 * source may have heard before the fault.
	 */
	if (!c.late && (post ? is("src_early") || is("src_freeze") || is("src_moving") :
			       is("src_offer")))
		return READY;
	return post ? c.step->postcopy : c.step->phase;
}

#define AT_SOURCE	1
#define AT_DESTINATION	2
#define LOST		4

/* It goes on, or is none of the two that matter. */
static bool harmless(void)
{
	return c.fault == NAP || (c.fault == SPLIT) == (c.victim != HOME);
}

static int allowed(void)
{
	/* Until all memory is there a proclet that has left it behind needs the source. */
	bool post = c.mode == PROCLET_MOVE_POSTCOPY;
	int tail = post && phase() < FETCHED ? LOST : 0;

	if (harmless())
		return AT_DESTINATION;
	if (c.fault != SPLIT && c.victim == DESTINATION)
		return phase() == BEFORE ? AT_SOURCE :
		       phase() == READY ? AT_SOURCE | LOST :
		       phase() == GIVEN && c.fault != KILL ? AT_SOURCE | LOST : LOST;
	if (c.fault != SPLIT)
		return phase() <= READY ? LOST :
		       phase() == GIVEN ? AT_DESTINATION | LOST : AT_DESTINATION | tail;
	return phase() <= READY ? AT_SOURCE :
	       phase() == GIVEN ? AT_SOURCE | AT_DESTINATION | tail : AT_DESTINATION | tail;
}

/* ---- what goes on meanwhile ---- */

static struct {
	pthread_t thread;
	int ret;
	bool ended;
} mover;

static void *move(void *unused)
{
	struct proclet_move move;

	(void)unused;
	/* On a busy machine a thread is not always stopped in time. */
	do
		mover.ret = proclet_migrate_stat(c.p, c.node[DESTINATION], c.mode, &move);
	while (mover.ret == -EBUSY);
	__atomic_store_n(&mover.ended, true, __ATOMIC_RELEASE);
	return NULL;
}

static struct {
	pthread_t thread;
	__u64 calls, perhaps;
	int wrong;
	bool enough;
} caller;

static void *call(void *unused)
{
	struct timespec ms = { 0, 2000000 };

	(void)unused;
	while (!__atomic_load_n(&caller.enough, __ATOMIC_RELAXED)) {
		ssize_t ret = proclet_call(c.p, increment, NULL, 0, NULL, 0);

		if (!ret)
			caller.calls++;
		else if (ret == -ECONNRESET)
			caller.perhaps++;
		else if (ret != -EHOSTUNREACH && ret != -ESTALE)
			caller.wrong = ret;
		nanosleep(&ms, NULL);
	}
	return NULL;
}

static int in_time(void)
{
	const struct timespec tick = { 0, 5000000 };
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	CHECK_GE(BOUND, now.tv_sec - c.began.tv_sec);
	nanosleep(&tick, NULL);
	return KSFT_PASS;
}

static int tell(int node, enum agent_what what, const char *name, struct agent_view *v)
{
	struct agent_ask a = { .what = what, .id = c.p, .slot = c.slot };

	strncpy(a.name, name, sizeof(a.name) - 1);
	CHECK_EQ(agent_ask(node, &a, v), 0);
	return KSFT_PASS;
}

static int look(int node, struct agent_view *v)
{
	return tell(node, AGENT_LOOK, LPROC, v);
}

/* That has stopped there, and does not hear of the other any more. */
static bool deaf(void)
{
	int peer = c.node[c.step->at == HOME ? DESTINATION : SOURCE];
	bool peer_is_v = c.fault == SPLIT ? c.v != peer && c.v != c.at : c.v == peer;
	/* By post-copy it reads before, and another one does that. */
	bool in_recv = c.step->in_recv && (c.mode != PROCLET_MOVE_POSTCOPY ||
		       is("dst_offer") || c.step->at == HOME);

	return in_recv && peer_is_v;
}

/*
 * No two run it, as the kernels say and as the method shows. The destination is asked
 * first: what it has, the source must have given away.
 */
static int one_runs(__u32 *source, __u32 *destination, int gone)
{
	struct agent_view d = { .state = STATE_ABSENT }, s = { .state = STATE_ABSENT };

	if (gone != c.node[DESTINATION])
		TRY(look(c.node[DESTINATION], &d));
	if (gone != c.node[SOURCE])
		TRY(look(c.node[SOURCE], &s));
	if (gone != c.node[SOURCE] &&
	    (d.state & (STATE_PRESENT | STATE_FREEZING) || d.beats)) {
		CHECK(!(s.state & (STATE_PRESENT | STATE_FREEZING)));
		if (c.left)
			CHECK_GE(c.beats, s.beats);
		c.beats = s.beats;
		c.left = true;
	}
	*source = s.state;
	*destination = d.state;
	return KSFT_PASS;
}

/* ---- a case ---- */

static int begin(void)
{
	static const int layouts[][2][ROLES] = {
		[SOURCE] = { { 2, 3, 1 }, { 2, 3, 2 } },
		[DESTINATION] = { { 2, 3, 1 }, { 2, 3, 3 } },
		[HOME] = { { 3, 1, 2 }, { 1, 3, 2 } },
	};
	/* The root cannot be cut off from one, without being lost for it. */
	static const int split[][2][ROLES] = {
		[SOURCE] = { { 1, 2, 3 }, { 1, 3, 2 } },
		[DESTINATION] = { { 2, 1, 3 }, { 3, 1, 2 } },
		[HOME] = { { 2, 3, 1 }, { 3, 2, 1 } },
	};
	__u64 bytes = BYTES;

	memcpy(c.node, (c.fault == SPLIT ? split : layouts)[c.victim][c.variant],
	       sizeof(c.node));
	/* At home nobody has to tell. */
	if (c.step->at == HOME && c.node[HOME] == c.node[DESTINATION])
		c.node[HOME] = 1;
	c.at = c.node[c.step->at];
	c.v = c.node[c.victim];
	if (c.leaves_home)
		c.node[HOME] = c.node[SOURCE];
	c.slot++;
	c.left = false;
	c.beats = 0;
	diag("%s, %s, the %s %s%s: source %d, destination %d, home %d", c.step->name,
	     mode_names[c.mode], role_names[c.victim], fault_names[c.fault],
	     c.late ? ", noticed first" : "", c.node[SOURCE], c.node[DESTINATION],
	     c.node[HOME]);
	clock_gettime(CLOCK_MONOTONIC, &c.began);
	TRY(make(&c.p, c.node[HOME], 16 << 20, sizeof(struct traveller)));
	CHECK_EQ(proclet_call(c.p, fill, &bytes, sizeof(bytes), &c.sum, sizeof(c.sum)),
		 sizeof(c.sum));
	if (c.node[SOURCE] != c.node[HOME])
		CHECK_EQ(proclet_migrate(c.p, c.node[SOURCE], PROCLET_MOVE_STOP), 0);
	return KSFT_PASS;
}

static struct caller *beater;

static int come_to_step(void)
{
	struct agent_view v;
	__u32 s, d;

	TRY(tell(c.at, AGENT_ARM, c.step->name, &v));
	CHECK_EQ(v.result, 0);
	beater = caller_start(c.p, beat, &c.slot, sizeof(c.slot), NULL, 0);
	do {
		TRY(look(c.node[SOURCE], &v));
		TRY(in_time());
	} while (!v.beats);
	memset(&caller, 0, sizeof(caller));
	mover.ended = false;
	CHECK_EQ(pthread_create(&caller.thread, NULL, call, NULL), 0);
	CHECK_EQ(pthread_create(&mover.thread, NULL, move, NULL), 0);
	do {
		TRY(tell(c.at, AGENT_WAIT, "", &v));
		TRY(in_time());
		if (!v.result && __atomic_load_n(&mover.ended, __ATOMIC_ACQUIRE))
			CHECK_EQ(mover.ret, 1);
	} while (!v.result);
	TRY(one_runs(&s, &d, 0));
	CHECK(s & c.step->source);
	CHECK(d & c.step->destination);
	return KSFT_PASS;
}

static int strike(void)
{
	switch (c.fault) {
	case KILL:
		return fault("kill %d", c.v);
	case NAP:
	case PAUSE:
		return fault("pause %d", c.v);
	case CUT:
		return fault("cut %d", c.v);
	default:
		return fault("cut 2 3");
	}
}

static int repair(void)
{
	switch (c.fault) {
	case KILL:
		return fault("boot %d", c.v);
	case NAP:
	case PAUSE:
		return fault("cont %d", c.v);
	case CUT:
		return fault("mend %d", c.v);
	default:
		return fault("mend 2 3");
	}
}

static int wait_members(int node, __u32 mask, __u32 wanted)
{
	struct agent_view v;

	do {
		TRY(look(node, &v));
		TRY(in_time());
	} while ((v.members & mask) != wanted);
	return KSFT_PASS;
}

static __u32 bit(int node)
{
	return 1U << (node - 1);
}

/* All that can have. */
static int wait_noticed(void)
{
	if (c.fault == SPLIT) {
		for (int n = 2; n <= 3; n++)
			if (!(n == c.at && c.late && deaf()))
				TRY(wait_members(n, bit(5 - n), 0));
		return KSFT_PASS;
	}
	for (int n = 1; n <= 3; n++)
		if (n != c.v && !(n == c.at && c.late && deaf()))
			TRY(wait_members(n, bit(c.v), 0));
	return KSFT_PASS;
}

#define SETTLED (STATE_ABSENT | STATE_PRESENT)

/* What those who are left come to, before anything is repaired. */
static int without_it(void)
{
	int gone = c.fault == SPLIT ? 0 : c.v;
	/* What the victim has not been able to tell. */
	bool doubt = !harmless() && phase() >= READY &&
		     (c.fault == SPLIT || c.victim == DESTINATION);
	__u32 s, d;

	do {
		TRY(one_runs(&s, &d, gone));
		TRY(in_time());
	} while (!(s & (SETTLED | (doubt ? STATE_INDOUBT : 0))) || !(d & SETTLED) ||
		 (harmless() && d != STATE_PRESENT));
	if (!harmless() && phase() <= READY)
		CHECK_EQ(d, STATE_ABSENT);
	if (!harmless() && phase() == BEFORE && (c.fault == SPLIT || c.victim == DESTINATION))
		CHECK_EQ(s, STATE_PRESENT);
	if (phase() >= TAKEN)
		CHECK(s != STATE_PRESENT);
	return KSFT_PASS;
}

static int let_go(void)
{
	struct agent_view v;

	TRY(tell(c.at, AGENT_LET_GO, "", &v));
	CHECK_EQ(v.result, 0);
	return KSFT_PASS;
}

/* What the request to move it is answered. */
static int right_answer(int place)
{
	int ret = mover.ret;

	if (ret && ret != -EHOSTUNREACH)
		CHECK_EQ(ret, -ECONNRESET);
	if (!ret)
		CHECK(place != AT_SOURCE);
	if (ret == -EHOSTUNREACH)
		CHECK(place != AT_DESTINATION);
	if (harmless())
		CHECK_EQ(ret, 0);
	else if (phase() == BEFORE && (c.victim == DESTINATION || c.fault == SPLIT))
		CHECK_EQ(ret, -EHOSTUNREACH);
	return KSFT_PASS;
}

static int send_from(int node, const struct errand *e, void *out, size_t out_cap, ssize_t *ret)
{
	struct proclet_attr attr = { 1 << 20, node, PROCLET_PINNED, 8 };
	proclet_t p;

	CHECK_EQ(proclet_create(&p, &attr), 0);
	*ret = proclet_call(p, run_errand, e, sizeof(*e), out, out_cap);
	CHECK_EQ(proclet_destroy(p), 0);
	return KSFT_PASS;
}

static int from(int node, proclet_method_t method, void *out, size_t out_cap, ssize_t *ret)
{
	return send_from(node, &(struct errand){ c.p, method, 0 }, out, out_cap, ret);
}

/* From each node, also when its home has another member than when it was made. */
static int all_reach_it(ssize_t n)
{
	for (int i = 0; i < node_count; i++) {
		ssize_t ret;

		TRY(from(nodes[i], counted, NULL, 0, &ret));
		CHECK_EQ(ret, n);
	}
	return KSFT_PASS;
}

static int is_whole(int there)
{
	ssize_t n, ret;
	__u64 sum;

	TRY(from(there, check, &sum, sizeof(sum), &ret));
	CHECK_EQ(ret, sizeof(sum));
	CHECK_EQ(sum, c.sum);
	TRY(from(there, counted, NULL, 0, &n));
	CHECK_GE(n, caller.calls);
	CHECK_GE(caller.calls + caller.perhaps, n);
	TRY(all_reach_it(n));
	TRY(from(there, stop, NULL, 0, &ret));
	CHECK_EQ(ret, 0);
	return KSFT_PASS;
}

static int none_left(void)
{
	struct agent_view v;

	made_count = 0;
	for (int i = 0; i < node_count; i++) {
		/* The root's own remains. */
		do {
			TRY(look(nodes[i], &v));
			TRY(in_time());
		} while (v.proclets != !i);
	}
	return KSFT_PASS;
}

static int decided(int *place)
{
	ssize_t ret = 0;
	__u32 s, d;

	do {
		TRY(one_runs(&s, &d, 0));
		TRY(in_time());
		/* One that lacks memory may be about to end. */
		if (d == STATE_PRESENT && allowed() & LOST)
			TRY(from(c.node[DESTINATION], counted, NULL, 0, &ret));
	} while (!(s & SETTLED) || !(d & SETTLED) || (d == STATE_PRESENT && ret < 0));
	*place = s == STATE_PRESENT ? AT_SOURCE : d == STATE_PRESENT ? AT_DESTINATION : LOST;
	return KSFT_PASS;
}

static int all_are_members(void)
{
	for (int n = 1; n <= 3; n++)
		TRY(wait_members(n, ~0U, bit(1) | bit(2) | bit(3)));
	return tap_nodes(3);
}

static int end(void)
{
	ssize_t ret;
	int place;

	TRY(all_are_members());
	pthread_join(mover.thread, NULL);
	TRY(decided(&place));
	__atomic_store_n(&caller.enough, true, __ATOMIC_RELAXED);
	pthread_join(caller.thread, NULL);
	diag("answer %d, at the %s, %llu calls, perhaps %llu more", mover.ret,
	     place == LOST ? "end of its life" : role_names[place - 1], caller.calls,
	     caller.perhaps);
	CHECK(place & allowed());
	CHECK_EQ(caller.wrong, 0);
	TRY(right_answer(place));
	if (place != LOST)
		TRY(is_whole(c.node[place - 1]));
	ret = caller_wait(beater);
	if (place == LOST || ret != 77)
		CHECK_EQ(ret, -ECONNRESET);
	if (place != LOST) {
		TRY(from(c.node[place - 1], NULL, NULL, 0, &ret));
		CHECK_EQ(ret, 0);
	}
	return none_left();
}

static int run_case(void)
{
	const struct timespec nap = { 0, 500000000 };
	struct agent_view v;
	bool stuck;	/* nobody can tell it to go on */

	TRY(begin());
	TRY(come_to_step());
	stuck = c.at == c.v && c.fault != SPLIT;
	if (stuck && c.fault == CUT)
		TRY(tell(c.at, AGENT_LET_GO_LATER, LPROC, &v));
	TRY(strike());
	if (c.fault == NAP) {
		nanosleep(&nap, NULL);
		TRY(repair());
		TRY(let_go());
		return end();
	}
	if (!stuck && !c.late)
		TRY(let_go());
	TRY(wait_noticed());
	if (!stuck && c.late)
		TRY(let_go());
	TRY(without_it());
	TRY(repair());
	clock_gettime(CLOCK_MONOTONIC, &c.began);	/* it may have booted */
	if (stuck && c.fault == PAUSE)
		TRY(let_go());
	return end();
}

/* ---- which cases ---- */

static bool wanted(unsigned int i, unsigned int turn)
{
	const char *which = getenv("PROCLET_TEST_STEPS");

	if (which)
		return !strcmp(which, "all") || !strcmp(which, steps[i].name);
	return !turn;
}

/* For who has to find out why. */
static void look_everywhere(void)
{
	struct agent_view v;

	for (int n = 1; n <= 3; n++)
		if (look(n, &v) == KSFT_PASS)
			diag("node %d: %s, members %x, %u proclets, %llu beats", n,
			     agent_states[__builtin_ctz(v.state)], v.members, v.proclets,
			     v.beats);
}

/* Of all cases of a step with this fault those that are wanted. */
static int run_step(unsigned int i)
{
	unsigned int n = 0;

	c.step = &steps[i];
	for (unsigned int k = 0; k < 3 * ROLES; k++) {
		c.mode = 1 + (i + k) % 3;
		c.victim = (i / 2 + k / 3 + k) % ROLES;
		c.variant = (i + k) % 2;
		c.late = (i + k + c.fault) / 2 % 2;
		if (!(c.step->modes & BIT(c.mode)))
			continue;
		if (!wanted(i, n))
			continue;
		n++;
		TRY(run_case());
	}
	return KSFT_PASS;
}

/* In the usual run the faults share the steps. */
static int run_fault(enum fault_kind fault)
{
	if (!getenv("PROCLET_FAULTS"))
		SKIP("there are no guests to be killed");
	TRY(tap_nodes(3));
	c.fault = fault;
	for (unsigned int i = 0; i < ARRAY_SIZE(steps); i++) {
		if (!getenv("PROCLET_TEST_STEPS") && i % FAULTS != fault)
			continue;
		if (run_step(i) == KSFT_PASS)
			continue;
		/* Nobody knows what still works. */
		printf("Bail out! %s, %s, the %s %s\n", c.step->name, mode_names[c.mode],
		       role_names[c.victim], fault_names[c.fault]);
		look_everywhere();
		_exit(KSFT_FAIL);
	}
	return KSFT_PASS;
}

static int killed(void)
{
	return run_fault(KILL);
}

static int napping(void)
{
	return run_fault(NAP);
}

static int paused(void)
{
	return run_fault(PAUSE);
}

static int cut(void)
{
	return run_fault(CUT);
}

static int split(void)
{
	return run_fault(SPLIT);
}

/* Destination and home have lost each other when the proclet moves between them. */
static int split_at(const char *step, enum role victim)
{
	if (!getenv("PROCLET_FAULTS"))
		SKIP("there are no guests to be killed");
	TRY(tap_nodes(3));
	for (unsigned int i = 0; i < ARRAY_SIZE(steps); i++)
		if (!strcmp(steps[i].name, step))
			c.step = &steps[i];
	c.mode = PROCLET_MOVE_STOP;
	c.victim = victim;
	c.fault = SPLIT;
	c.late = true;
	c.variant = false;
	TRY(begin());
	TRY(come_to_step());
	TRY(strike());
	TRY(wait_noticed());
	TRY(let_go());
	return without_it();
}

/* The home is told again when it is back: it does not need the source any more. */
static int home_missed_it(void)
{
	struct proclet_stats before, after;
	ssize_t ret;

	TRY(split_at("dst_moved", SOURCE));
	TRY(repair());
	TRY(all_are_members());
	do {
		CHECK_EQ(lproc_stats(c.node[SOURCE], &before), 0);
		TRY(from(c.node[HOME], counted, NULL, 0, &ret));
		CHECK_GE(ret, 0);
		CHECK_EQ(lproc_stats(c.node[SOURCE], &after), 0);
		TRY(in_time());
	} while (after.forwarded != before.forwarded);
	return end();
}

/* In doubt about where it went, the source hears that it has gone on from there. */
static int news_end_doubt(void)
{
	struct errand e = { .node = 1 };
	struct agent_view v;
	ssize_t ret;

	c.leaves_home = true;
	TRY(split_at("dst_active", HOME));
	c.leaves_home = false;
	TRY(look(c.node[SOURCE], &v));
	CHECK_EQ(v.state, STATE_INDOUBT);
	e.p = c.p;
	TRY(send_from(c.node[DESTINATION], &e, NULL, 0, &ret));
	CHECK_EQ(ret, 0);
	do {
		TRY(look(c.node[SOURCE], &v));
		TRY(in_time());
	} while (v.state != STATE_ABSENT);
	TRY(from(c.node[SOURCE], counted, NULL, 0, &ret));
	CHECK_GE(ret, 0);
	c.node[DESTINATION] = e.node;
	TRY(repair());
	return end();
}

/* That is done when all nodes are connected again. */
static void *boot(void *node)
{
	return (void *)(long)fault("boot %d", *(int *)node);
}

/*
 * It goes on from where the source, its home, is in doubt about it, and that node dies,
 * before the news come. The home must not believe it dead.
 */
static int news_after_doubt(void)
{
	static struct errand onward;
	proclet_t errands, other[4];
	struct caller *sender;
	struct agent_view v;
	pthread_t booter;
	void *booted;

	c.leaves_home = true;
	TRY(split_at("dst_active", HOME));
	c.leaves_home = false;
	TRY(make(&errands, c.node[DESTINATION], 1 << 20, 8));
	onward = (struct errand){ .p = c.p, .node = 1 };
	TRY(tell(1, AGENT_ARM, "dst_moved", &v));
	CHECK_EQ(v.result, 0);
	sender = caller_start(errands, run_errand, &onward, sizeof(onward), NULL, 0);
	do {
		TRY(tell(1, AGENT_WAIT, "", &v));
		TRY(in_time());
	} while (!v.result);
	TRY(fault("kill %d", c.node[DESTINATION]));
	TRY(repair());
	CHECK_EQ(pthread_create(&booter, NULL, boot, &c.node[DESTINATION]), 0);
	clock_gettime(CLOCK_MONOTONIC, &c.began);
	do {
		TRY(look(c.node[SOURCE], &v));
		TRY(in_time());
	} while (v.state != STATE_ABSENT);
	for (unsigned int i = 0; i < ARRAY_SIZE(other); i++) {
		TRY(make(&other[i], c.node[SOURCE], 16 << 20, 8));
		CHECK(PROCLET_ID_GRANULE(other[i]) != PROCLET_ID_GRANULE(c.p));
	}
	TRY(tell(1, AGENT_LET_GO, "", &v));
	CHECK_EQ(v.result, 0);
	caller_wait(sender);		/* lost with the node that it was called on */
	pthread_join(booter, &booted);
	CHECK_EQ((long)booted, KSFT_PASS);
	for (unsigned int i = 0; i < ARRAY_SIZE(other); i++)
		CHECK_EQ(proclet_destroy(other[i]), 0);
	c.node[DESTINATION] = 1;
	return end();
}

static const struct tap_test tests[] = {
	{ "home_missed_it", home_missed_it, 120 },
	{ "news_end_doubt", news_end_doubt, 120 },
	{ "news_after_doubt", news_after_doubt, 300 },

	{ "killed", killed, 7200 },
	{ "napping", napping, 7200 },
	{ "paused", paused, 7200 },
	{ "cut", cut, 7200 },
	{ "split", split, 7200 },
};

static int root(int argc, char **argv)
{
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

/* Where the root was lost for a while, there is a new member then. */
static bool lost_root(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == (-ECONNRESET & 0xff);
}

int main(int argc, char **argv)
{
	agent_start(LPROC, argv);
	if (env_number("PROCLET_NODE", 1) != 1)
		go_on_in_child(lost_root);
	lproc_set_flags(LPROC_SURVIVE);
	return lproc_main(LPROC, root, argc, argv) & 0xff;
}
