// SPDX-License-Identifier: GPL-2.0
/*
 * All of it at once, from a seed: threads do one action after the other on a
 * population of proclets, and whatever can be known about an action's outcome is
 * checked, at once or when the proclet ends. Meanwhile another thread moves all of
 * them about.
 *
 *   stress [SEED] [TEST]...
 *
 * The seed is printed first. The same seed gives every thread the same actions
 * with the same arguments; how the threads interleave is not determined. What
 * failed is told with its thread and the action's number.
 *
 * PROCLET_TEST_SEED: the seed, instead of the argument; PROCLET_TEST_SECONDS: how
 * long (60); PROCLET_TEST_WORKERS: threads (12); PROCLET_TEST_ACTION: only actions of
 * this name; PROCLET_TEST_FAULTS=1: members are killed, links cut, nodes rebooted.
 *
 * A new kind of action is a function in one of the files stress_*.c and a line in
 * actions[].
 */
#include "tap.h"
#include "stress.h"

static struct {
	pthread_mutex_t lock;
	struct life *life;
} slots[SLOTS];

static struct stress_worker workers[WORKERS_MAX];
static __u64 seed;
static unsigned int nworkers;
static bool enough;

unsigned int stress_workers(void)
{
	return nworkers;
}

int any_node(__u64 *state)
{
	return nodes[next_random(state) % node_count];
}

bool is_node(int node)
{
	for (int i = 0; i < node_count; i++)
		if (nodes[i] == node)
			return true;
	return false;
}

struct order *order_new(struct stress_worker *w, __u64 *state)
{
	struct order *o = (struct order *)w->in;

	memset(o, 0, sizeof(*o));
	o->seed = next_random(state);
	o->n = next_random(state) % 1000;
	return o;
}

/* ---- the proclets ---- */

METHOD(account)
{
	(void)in;
	(void)in_len;
	if (out_cap != sizeof(struct inhabitant))
		return -EINVAL;
	memcpy(out, root, sizeof(struct inhabitant));
	return sizeof(struct inhabitant);
}
PROCLET_METHOD(account);

struct life *life_get(unsigned int slot)
{
	struct life *l;

	pthread_mutex_lock(&slots[slot].lock);
	l = slots[slot].life;
	if (l)
		life_hold(l);
	pthread_mutex_unlock(&slots[slot].lock);
	if (l)
		pthread_rwlock_rdlock(&l->in_use);
	return l;
}

time_t seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

struct life *life_any(__u64 *state)
{
	return life_get(next_random(state) % SLOTS);
}

struct life *life_lasting(__u64 *state)
{
	return life_get(next_random(state) % (SLOTS - DOOMED));
}

struct life *life_crowded(__u64 *state)
{
	static const unsigned int crowded[] = { 0, 1, SLOTS - 1 };
	__u64 x = next_random(state);

	return x % 4 ? life_get(crowded[(x >> 8) % ARRAY_SIZE(crowded)]) : life_any(state);
}

void life_hold(struct life *l)
{
	__atomic_add_fetch(&l->refs, 1, __ATOMIC_RELAXED);
}

void life_drop(struct life *l)
{
	if (__atomic_sub_fetch(&l->refs, 1, __ATOMIC_ACQ_REL))
		return;
	pthread_rwlock_destroy(&l->in_use);
	free(l->areas);
	free(l);
}

void life_put(struct life *l)
{
	pthread_rwlock_unlock(&l->in_use);
	life_drop(l);
}

static int new_life(unsigned int slot, __u64 *state)
{
	struct proclet_attr attr = {
		.capacity = (4 * MIB) << next_random(state) % 3,
		.node = any_node(state),
		.flags = slot % 2 && faults_wanted() ? PROCLET_DURABLE_MOVE : 0,
		.root_size = area_offset(nworkers),
	};
	struct life *l = calloc(1, sizeof(*l));

	int err;

	CHECK(l);
	l->areas = calloc(nworkers, AREA);
	CHECK(l->areas);
	/* After a failure here, where there is always a member. */
	while (struck(err = proclet_create(&l->id, &attr) ?: locks_begin(l)))
		attr.node = nodes[0];
	CHECK_EQ(err, 0);
	pthread_rwlock_init(&l->in_use, NULL);
	l->refs = 1;
	pthread_mutex_lock(&slots[slot].lock);
	slots[slot].life = l;
	pthread_mutex_unlock(&slots[slot].lock);
	return KSFT_PASS;
}

/* When the threads that were left behind have ended. */
static int life_account(struct life *l, struct inhabitant *h)
{
	__u64 end = proclet_clock_ns() + ACTION_SECONDS / 2 * SECOND;
	ssize_t n;

	do {
		n = proclet_call(l->id, account, NULL, 0, h, sizeof(*h));
		if (excused(l, n)) {
			*h = (struct inhabitant) { .visits = l->visits };
			break;
		}
		CHECK_EQ(n, sizeof(*h));
	} while (h->left < l->left && !l->unsure && proclet_clock_ns() < end);
	return KSFT_PASS;
}

static int nothing_wrong(struct life *l, const struct inhabitant *h)
{
	if (h->wrong)
		diag("%llx: %.*s:%u was the first to be wrong", l->id,
		     (int)sizeof(h->wrong_file), h->wrong_file, h->wrong_line);
	CHECK_EQ(h->wrong, 0);
	return KSFT_PASS;
}

/* Nobody else uses it. */
static int life_went_well(struct life *l)
{
	struct inhabitant h;

	TRY(heap_went_well(l));
	TRY(life_account(l, &h));
	TRY(nothing_wrong(l, &h));
	CHECK_GE(h.visits, l->visits);
	if (l->unsure)
		return KSFT_PASS;
	CHECK_EQ(h.visits, l->visits);
	CHECK_EQ(h.added, l->added);
	TRY(threads_went_well(l, &h));
	TRY(locks_went_well(l, &h));
	TRY(time_went_well(l, &h));
	return memory_went_well(l);
}

/* In peace: all of it must be right, and then nothing is left. */
static int life_end(struct life *l, __u64 *state)
{
	int ret = life_went_well(l);

	if (ret != KSFT_PASS)
		diag("so it was with %llx", l->id);
	TRY(ret);
	__atomic_store_n(&l->dead, true, __ATOMIC_RELEASE);
	TRY(refs_end(l, state));
	if (!stormy())
		__atomic_store_n(&l->gone, true, __ATOMIC_RELEASE);
	return KSFT_PASS;
}

/* Ended when nobody uses it. Another one follows. */
static int do_end(struct stress_worker *w, __u64 *state)
{
	unsigned int slot = next_random(state) % SLOTS;
	struct life *l;
	int ret;

	(void)w;
	pthread_mutex_lock(&slots[slot].lock);
	l = slots[slot].life;
	if (l && pthread_rwlock_trywrlock(&l->in_use))
		l = NULL;
	else
		slots[slot].life = NULL;
	pthread_mutex_unlock(&slots[slot].lock);
	if (!l)
		return KSFT_PASS;
	ret = life_end(l, state);
	/* Those who came for it while it ended find that it is dead. */
	life_put(l);
	return ret == KSFT_PASS ? new_life(slot, state) : ret;
}

/* Take out what is in it, if that is @expected or nothing is. */
static struct life *slot_empty(unsigned int slot, const struct life *expected)
{
	struct life *l;

	pthread_mutex_lock(&slots[slot].lock);
	l = slots[slot].life;
	if (expected && l != expected)
		l = NULL;
	else
		slots[slot].life = NULL;
	pthread_mutex_unlock(&slots[slot].lock);
	return l;
}

/* Destroyed while others use it; they get the right result or -ESTALE. */
static int do_kill(struct stress_worker *w, __u64 *state)
{
	unsigned int slot = SLOTS - 1 - next_random(state) % DOOMED;
	struct inhabitant h;
	struct life *l;
	ssize_t n;
	int err;

	(void)w;
	l = slot_empty(slot, NULL);
	if (!l)
		return KSFT_PASS;
	n = proclet_read(l->id, 0, &h, sizeof(h));
	if (!struck(n)) {
		CHECK_EQ(n, sizeof(h));
		TRY(nothing_wrong(l, &h));
	}
	__atomic_store_n(&l->dead, true, __ATOMIC_RELEASE);
	err = proclet_destroy(l->id);
	/* A home that is not reached goes on believing that it is there. */
	if (!err && !stormy())
		__atomic_store_n(&l->gone, true, __ATOMIC_RELEASE);
	life_drop(l);
	if (err && !struck(err)) {
		diag("killing: expected 0, saw %d", err);
		return KSFT_FAIL;
	}
	return new_life(slot, state);
}

/* From an observer: -ESTALE, or anything else if it can be called. */
METHOD(observe)
{
	struct inhabitant h;
	proclet_t p;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(p))
		return -EINVAL;
	memcpy(&p, in, sizeof(p));
	return proclet_call(p, account, NULL, 0, &h, sizeof(h));
}
PROCLET_METHOD(observe);

/* Does the observer's node have it, be it in doubt or about to arrive? */
METHOD(has_here)
{
	unsigned long long id;
	char line[256];
	proclet_t p;
	bool has = false;
	FILE *f;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(p))
		return -EINVAL;
	memcpy(&p, in, sizeof(p));
	f = fopen("/proc/proclet/proclets", "r");
	while (f && !has && fgets(line, sizeof(line), f))
		has = sscanf(line, "%*u %*s %llx", &id) == 1 && id == p &&
		      !strstr(line, " absent ");
	if (!f)
		return -ENOENT;
	fclose(f);
	return has;
}
PROCLET_METHOD(has_here);

static bool anywhere(const proclet_t *observers, proclet_t p)
{
	for (int i = 0; i < node_count; i++)
		if (proclet_call(observers[i], has_here, &p, sizeof(p), NULL, 0))
			return true;
	return false;
}

/* From everywhere, when all who are in doubt know. */
static int life_review(struct life *l, const proclet_t *observers, time_t end, bool *lost)
{
	for (int i = 0; i < node_count; i++) {
		unsigned int nowhere = 0;
		ssize_t n;

		do {
			/* Twice, as it can pass from one that we ask later to one that we have. */
			nowhere = anywhere(observers, l->id) ? 0 : nowhere + 1;
			n = proclet_call(observers[i], observe, &l->id, sizeof(l->id), NULL, 0);
			*lost = n == -ESTALE || (n == -EHOSTUNREACH && nowhere > 1);
		} while (!*lost && n < 0 && seconds_now() < end);
		if (*lost)
			return KSFT_PASS;
		if (n != sizeof(struct inhabitant) && (tap_look_everywhere(), true))
			diag("%llx, called from node %d after a fault:", l->id, nodes[i]);
		CHECK_EQ(n, sizeof(struct inhabitant));
	}
	return KSFT_PASS;
}

int lives_review(const proclet_t *observers, int seconds, bool all_live, unsigned int *lost)
{
	__u64 state = mix(seed, seconds_now());
	time_t end = seconds_now() + seconds;

	*lost = 0;
	for (unsigned int i = 0; i < SLOTS; i++) {
		struct life *l = life_get(i);
		bool gone = false;
		int ret;

		if (!l)
			continue;
		ret = life_review(l, observers, end, &gone);
		/* What may move by post-copy needs more than itself. */
		if (gone && all_live && i % 2 && !is_dead(l)) {
			diag("%llx was lost", l->id);
			ret = KSFT_FAIL;
		}
		if (gone && slot_empty(i, l)) {
			++*lost;
			__atomic_store_n(&l->dead, true, __ATOMIC_RELEASE);
			/*
			 * Not gone: for whom its home does not know, it may come again, so
			 * it keeps its names. Some may reach it whom we have not asked.
			 */
			proclet_destroy(l->id);
			life_drop(l);
			ret = new_life(i, &state);
		}
		life_put(l);
		TRY(ret);
	}
	return KSFT_PASS;
}

static const struct action {
	const char *name;
	action_fn fn;
	unsigned int weight;
} actions[] = {
	{ "exchange", do_exchange, 20 },
	{ "chain", do_chain, 15 },
	{ "compute", do_compute, 10 },
	{ "stay", do_stay, 4 },
	{ "go", do_go, 6 },
	{ "migrate", do_migrate, 6 },
	{ "gather", do_gather, 2 },
	{ "locate", do_locate, 4 },
	{ "heap_grow", do_heap_grow, 10 },
	{ "heap_check", do_heap_check, 8 },
	{ "memory", do_memory, 12 },
	{ "threads", do_threads, 12 },
	{ "meet", do_meet, 5 },
	{ "locks", do_locks, 20 },
	{ "give", do_give, 6 },
	{ "take", do_take, 6 },
	{ "sleep", do_sleep, 6 },
	{ "clock", do_clock, 8 },
	{ "deadline", do_deadline, 12 },
	{ "references", do_references, 8 },
	{ "names", do_names, 12 },
	{ "async", do_async, 12 },
	{ "patience", do_patience, 6 },
	{ "events", do_events, 5 },
	{ "end", do_end, 4 },
	{ "kill", do_kill, 3 },
};

static __u64 times[ARRAY_SIZE(actions)];
static const char *only;	/* actions of this name; NULL: all */

/* ---- the run ---- */

static unsigned int weight_of(unsigned int i)
{
	return only && strcmp(only, actions[i].name) ? 0 : actions[i].weight;
}

static unsigned int weights(void)
{
	unsigned int sum = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(actions); i++)
		sum += weight_of(i);
	return sum;
}

static unsigned int choose(__u64 *state)
{
	unsigned int at = next_random(state) % weights(), i = 0;

	while (at >= weight_of(i))
		at -= weight_of(i++);
	return i;
}

static void *work(void *arg)
{
	struct stress_worker *w = arg;

	while (!w->failed && !__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		/* From the seed alone, whatever came of the actions before. */
		__u64 state = mix(mix(seed, w->number + 1), w->done + 1);
		unsigned int i = choose(&state);

		w->action = i;
		faults_action_begins();
		__atomic_store_n(&w->began, seconds_now(), __ATOMIC_RELEASE);
		if (actions[i].fn(w, &state) != KSFT_PASS) {
			diag("seed %llu, thread %u, action %llu: %s", seed, w->number, w->done,
			     actions[i].name);
			__atomic_store_n(&w->failed, true, __ATOMIC_RELAXED);
		}
		__atomic_add_fetch(&times[i], 1, __ATOMIC_RELAXED);
		w->done++;
	}
	if (!w->failed)
		uring_worker_end(w);
	__atomic_store_n(&w->over, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Moves everything about, all the time. */
static void *mover_run(void *arg)
{
	struct stress_worker *w = arg;
	__u64 state = mix(seed, 0);

	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		struct timespec pause = { 0, next_random(&state) % (5 * MS) };

		faults_action_begins();
		if (do_migrate(w, &state) != KSFT_PASS) {
			diag("seed %llu, the mover", seed);
			__atomic_store_n(&w->failed, true, __ATOMIC_RELAXED);
			break;
		}
		w->done++;
		nanosleep(&pause, NULL);
	}
	__atomic_store_n(&w->over, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Another one, who lets what is moved be lost. */
static void *troublemaker_run(void *arg)
{
	struct stress_worker *w = arg;
	__u64 state = mix(seed, ~0ULL);

	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		if (do_fault(w, &state) != KSFT_PASS) {
			diag("seed %llu, fault %llu", seed, w->done);
			__atomic_store_n(&w->failed, true, __ATOMIC_RELAXED);
			break;
		}
		w->done++;
	}
	__atomic_store_n(&w->over, true, __ATOMIC_RELEASE);
	return NULL;
}

static struct stress_worker mover, troublemaker;

/* Until time is up, an action fails, or one does not end. */
static bool watch_workers(unsigned int seconds)
{
	const struct timespec tick_time = { 0, 20000000 };
	time_t end = seconds_now() + seconds, now;
	unsigned int left;
	bool failed = false;

	do {
		nanosleep(&tick_time, NULL);
		now = seconds_now();
		failed |= __atomic_load_n(&mover.failed, __ATOMIC_RELAXED);
		failed |= __atomic_load_n(&troublemaker.failed, __ATOMIC_RELAXED);
		left = !__atomic_load_n(&mover.over, __ATOMIC_ACQUIRE) +
		       !__atomic_load_n(&troublemaker.over, __ATOMIC_ACQUIRE);
		for (unsigned int i = 0; i < nworkers; i++) {
			struct stress_worker *w = &workers[i];
			time_t began = __atomic_load_n(&w->began, __ATOMIC_ACQUIRE);

			failed |= __atomic_load_n(&w->failed, __ATOMIC_RELAXED);
			if (__atomic_load_n(&w->over, __ATOMIC_ACQUIRE))
				continue;
			left++;
			if (!began || now < began + ACTION_SECONDS)
				continue;
			diag("seed %llu, thread %u, action %llu: %s: expected to end in %u s, did not",
			     seed, w->number, w->done, actions[w->action].name, ACTION_SECONDS);
			tap_look_everywhere();
			return false;
		}
		if (failed || now >= end)
			__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	} while (left);
	return !failed;
}

static int start_workers(void)
{
	CHECK_EQ(pthread_create(&mover.thread, NULL, mover_run, &mover), 0);
	troublemaker.over = !faults_wanted();
	if (faults_wanted())
		CHECK_EQ(pthread_create(&troublemaker.thread, NULL, troublemaker_run,
					&troublemaker), 0);
	for (unsigned int i = 0; i < nworkers; i++) {
		struct stress_worker *w = &workers[i];

		w->number = i;
		w->in = malloc(MIB + 4096);
		w->out = malloc(MIB + 4096);
		CHECK(w->in && w->out);
		CHECK_EQ(pthread_create(&w->thread, NULL, work, w), 0);
	}
	return KSFT_PASS;
}

/* Each kind of action has been done, if there was time for it. */
static int all_kinds(__u64 done)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(actions); i++) {
		diag("%-12s %llu", actions[i].name, times[i]);
		if (done * weight_of(i) / weights() >= 20)
			CHECK_GE(times[i], 1);
	}
	return only ? KSFT_PASS : threads_were_created();
}

static int everything(void)
{
	unsigned int seconds = env_number("PROCLET_TEST_SECONDS", 60);
	__u64 state = seed, done = 0;

	diag("seed %llu", seed);
	only = getenv("PROCLET_TEST_ACTION");
	CHECK(weights());
	TRY(tap_nodes(2));
	nworkers = env_number("PROCLET_TEST_WORKERS", 12);
	if (nworkers > WORKERS_MAX)
		nworkers = WORKERS_MAX;
	for (unsigned int i = 0; i < SLOTS; i++) {
		pthread_mutex_init(&slots[i].lock, NULL);
		TRY(new_life(i, &state));
	}
	TRY(start_workers());
	if (!watch_workers(seconds))
		return KSFT_FAIL;
	pthread_join(mover.thread, NULL);
	if (faults_wanted())
		pthread_join(troublemaker.thread, NULL);
	for (unsigned int i = 0; i < nworkers; i++) {
		pthread_join(workers[i].thread, NULL);
		refs_worker_end(&workers[i]);
		done += workers[i].done;
	}
	diag("%llu actions by %u threads, %llu by the mover", done, nworkers, mover.done);
	TRY(faults_went_well());
	faults_action_begins();
	TRY(all_kinds(done));
	for (unsigned int i = 0; i < SLOTS; i++) {
		CHECK(slots[i].life);
		TRY(life_end(slots[i].life, &state));
	}
	return KSFT_PASS;
}

static struct tap_test tests[] = {
	{ "everything", everything, 0 },
};

static int root(int argc, char **argv)
{
	const char *given = getenv("PROCLET_TEST_SEED");
	struct timespec ts;
	char *end;

	if (argc > 1 && *argv[1]) {
		strtoull(argv[1], &end, 0);
		if (!*end) {
			given = argv[1];
			argv++;
			argc--;
		}
	}
	if (given && *given) {
		seed = strtoull(given, NULL, 0);
	} else {
		clock_gettime(CLOCK_REALTIME, &ts);
		seed = mix(ts.tv_sec, ts.tv_nsec) % 1000000000;
	}
	/* Those that hang are told before. */
	tests[0].seconds = env_number("PROCLET_TEST_SECONDS", 60) + 4 * ACTION_SECONDS;
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	if (faults_wanted())
		faults_supervise();
	return lproc_main("stress", root, argc, argv) & 0xff;
}
