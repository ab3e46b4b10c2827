// SPDX-License-Identifier: GPL-2.0
/*
 * A word count under migration: text goes to mappers, which send what they
 * count to reducers in batches, while a mover moves all of them about. No count
 * is lost or made twice.
 */
#include "tap.h"

#include <stdint.h>

#define MAPPERS 4
#define REDUCERS 4
#define WORDS 500		/* different ones */
#define PIECE 3000		/* bytes of text */
#define BUCKETS 64
#define BATCH 60		/* words to a reducer at once */
#define WORD_MAX 12

/* ---- reducers: a hash table in the heap ---- */

struct entry {
	struct entry *next;
	__u64 count;
	char word[WORD_MAX];
};

struct reducer {
	struct entry *buckets[BUCKETS];
	__u64 entries;
};

struct batch {
	__u32 n;
	char words[BATCH][WORD_MAX];
};

static unsigned int hash(const char *word)
{
	unsigned int h = 5381;

	while (*word)
		h = h * 33 + (unsigned char)*word++;
	return h;
}

/* No function of the C library, so that it can be stopped anywhere. */
static bool same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static ssize_t reduce(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct reducer *r = root;
	const struct batch *b = in;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(*b) || b->n > BATCH)
		return -EINVAL;
	for (__u32 i = 0; i < b->n; i++) {
		unsigned int at = hash(b->words[i]) / REDUCERS % BUCKETS;
		struct entry *e, *seen = __atomic_load_n(&r->buckets[at], __ATOMIC_ACQUIRE);
		struct entry *new = NULL;
		struct entry *end = NULL;

		for (;;) {
			for (e = seen; e != end; e = e->next)
				if (same(e->word, b->words[i]))
					break;
			if (e != end)
				break;
			/* Not there, as far as we looked: another caller may add it too. */
			if (!new) {
				new = proclet_malloc(sizeof(*new));
				if (!new)
					return -ENOMEM;
				new->count = 0;
				for (int c = 0; c < WORD_MAX; c++)
					new->word[c] = b->words[i][c];
			}
			new->next = seen;
			end = seen;
			if (__atomic_compare_exchange_n(&r->buckets[at], &seen, new, false,
							__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
				e = new;
				new = NULL;
				__atomic_add_fetch(&r->entries, 1, __ATOMIC_RELAXED);
				break;
			}
		}
		proclet_free(new);
		__atomic_add_fetch(&e->count, 1, __ATOMIC_RELAXED);
	}
	return 0;
}
PROCLET_METHOD(reduce);

/* In: a word, out: its count. */
static ssize_t lookup(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct reducer *r = root;
	__u64 n = 0;

	if (in_len != WORD_MAX || out_cap != sizeof(n))
		return -EINVAL;
	for (struct entry *e = r->buckets[hash(in) / REDUCERS % BUCKETS]; e; e = e->next)
		if (same(e->word, in))
			n += e->count;
	memcpy(out, &n, sizeof(n));
	return sizeof(n);
}
PROCLET_METHOD(lookup);

static ssize_t entries(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return ((struct reducer *)root)->entries;
}
PROCLET_METHOD(entries);

/* ---- mappers ---- */

struct mapper {
	proclet_t reducers[REDUCERS];
	__u64 words;
};

static ssize_t set_reducers(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mapper *m = root;

	(void)out;
	(void)out_cap;
	if (in_len != sizeof(m->reducers))
		return -EINVAL;
	memcpy(m->reducers, in, in_len);
	return 0;
}
PROCLET_METHOD(set_reducers);

/* Calls reducers from within; several callers at once, each with its batches. */
static ssize_t map(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mapper *m = root;
	struct batch *batches = proclet_calloc(REDUCERS, sizeof(*batches));
	const char *text = in;
	ssize_t words = 0, ret;
	size_t at = 0;

	(void)out;
	(void)out_cap;
	if (!batches)
		return -ENOMEM;
	while (at < in_len) {
		char word[WORD_MAX] = "";
		struct batch *b;
		int n = 0, to;

		while (at < in_len && text[at] == ' ')
			at++;
		while (at < in_len && text[at] != ' ' && n < WORD_MAX - 1)
			word[n++] = text[at++];
		if (!n)
			break;
		words++;
		to = hash(word) % REDUCERS;
		b = &batches[to];
		for (int c = 0; c < WORD_MAX; c++)
			b->words[b->n][c] = word[c];
		if (++b->n < BATCH)
			continue;
		ret = proclet_call(m->reducers[to], reduce, b, sizeof(*b), NULL, 0);
		if (ret)
			goto out_free;
		b->n = 0;
	}
	for (int to = 0; to < REDUCERS; to++) {
		if (!batches[to].n)
			continue;
		ret = proclet_call(m->reducers[to], reduce, &batches[to], sizeof(*batches),
				   NULL, 0);
		if (ret)
			goto out_free;
	}
	__atomic_add_fetch(&m->words, words, __ATOMIC_RELAXED);
	ret = words;
out_free:
	proclet_free(batches);
	return ret;
}
PROCLET_METHOD(map);

static ssize_t mapped(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mapper *m = root;

	(void)in;
	(void)in_len;
	if (out_cap != sizeof(m->words))
		return -EINVAL;
	memcpy(out, &m->words, sizeof(m->words));
	return sizeof(m->words);
}
PROCLET_METHOD(mapped);

/* ---- the root's part ---- */

static proclet_t mappers[MAPPERS], reducers[REDUCERS];
static __u64 expected[WORDS];
static __u64 expected_words;
static __u64 pieces;
static bool enough;

/* Word number @w; different letters for different numbers. */
static int spell(char *to, unsigned int w)
{
	int n = 0;

	do {
		to[n++] = 'a' + w % 26;
		w /= 26;
	} while (w);
	to[n++] = 'x';
	to[n] = 0;
	return n;
}

/* A piece of text; @counts: how often which word is in it. */
static size_t compose(__u64 piece, char *text, __u32 *counts)
{
	__u64 state = piece * 0x9e3779b97f4a7c15ULL + 1;
	size_t len = 0;

	memset(counts, 0, WORDS * sizeof(*counts));
	while (len < PIECE - WORD_MAX) {
		__u64 r = next_random(&state);
		/* Some words are frequent. */
		unsigned int w = r % 3 ? r / 3 % 20 : r / 3 % WORDS;

		counts[w]++;
		len += spell(text + len, w);
		text[len++] = ' ';
	}
	return len;
}

struct feeder {
	pthread_t thread;
	int number;
	__u64 pieces;
	ssize_t error;
};

static void *feed(void *arg)
{
	struct feeder *f = arg;
	static char texts[8][PIECE];
	static __u32 counts[8][WORDS];
	char *text = texts[f->number];
	__u32 *count = counts[f->number];

	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		__u64 piece = __atomic_add_fetch(&pieces, 1, __ATOMIC_RELAXED);
		size_t len = compose(piece, text, count);
		ssize_t words = 0, ret;

		ret = proclet_call(mappers[piece % MAPPERS], map, text, len, NULL, 0);
		for (unsigned int w = 0; w < WORDS; w++) {
			__atomic_add_fetch(&expected[w], count[w], __ATOMIC_RELAXED);
			words += count[w];
		}
		__atomic_add_fetch(&expected_words, words, __ATOMIC_RELAXED);
		if (ret != words) {
			f->error = ret;
			break;
		}
		f->pieces++;
	}
	return NULL;
}

static int nothing_lost_or_doubled(void)
{
	unsigned int wanted = env_number("PROCLET_TEST_MOVES", 1000);
	unsigned int moved = 0, busy = 0, tries = 0;
	static struct feeder feeders[8];
	__u64 state = 11, total = 0, all = 0;
	proclet_t both[MAPPERS + REDUCERS];
	int ret;

	TRY(tap_nodes(2));
	for (int i = 0; i < REDUCERS; i++)
		TRY(make(&reducers[i], nodes[i % node_count], 16 << 20, sizeof(struct reducer)));
	for (int i = 0; i < MAPPERS; i++) {
		TRY(make(&mappers[i], nodes[(i + 1) % node_count], 16 << 20,
			 sizeof(struct mapper)));
		CHECK_EQ(proclet_call(mappers[i], set_reducers, reducers, sizeof(reducers),
				      NULL, 0), 0);
	}
	memcpy(both, mappers, sizeof(mappers));
	memcpy(both + MAPPERS, reducers, sizeof(reducers));
	for (int i = 0; i < 8; i++) {
		feeders[i].number = i;
		CHECK_EQ(pthread_create(&feeders[i].thread, NULL, feed, &feeders[i]), 0);
	}
	do {
		proclet_t p = both[next_random(&state) % ARRAY_SIZE(both)];
		int from = proclet_locate(p), to;

		do {
			to = nodes[next_random(&state) % node_count];
		} while (to == from);
		ret = proclet_migrate(p, to, 0);
		moved += !ret;
		busy += ret == -EBUSY;
	} while ((!ret || ret == -EBUSY) && moved < wanted && ++tries < 3 * wanted);
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 8; i++)
		pthread_join(feeders[i].thread, NULL);
	diag("%llu pieces, %llu words, %u moves, %u busy", pieces, expected_words, moved, busy);
	if (ret != -EBUSY)
		CHECK_EQ(ret, 0);
	CHECK_EQ(moved, wanted);
	for (int i = 0; i < 8; i++) {
		CHECK_EQ(feeders[i].error, 0);
		CHECK_GE(feeders[i].pieces, 1);
	}
	for (int i = 0; i < MAPPERS; i++) {
		__u64 n;

		CHECK_EQ(proclet_call(mappers[i], mapped, NULL, 0, &n, sizeof(n)), sizeof(n));
		all += n;
	}
	CHECK_EQ(all, expected_words);
	for (unsigned int w = 0; w < WORDS; w++) {
		char word[WORD_MAX] = "";
		__u64 n;

		spell(word, w);
		CHECK_EQ(proclet_call(reducers[hash(word) % REDUCERS], lookup, word, WORD_MAX,
				      &n, sizeof(n)), sizeof(n));
		if (n != expected[w])
			diag("word %s:", word);
		CHECK_EQ(n, expected[w]);
		total += n;
	}
	CHECK_EQ(total, expected_words);
	all = 0;
	for (int i = 0; i < REDUCERS; i++)
		all += proclet_call(reducers[i], entries, NULL, 0, NULL, 0);
	CHECK_GE(WORDS, all);
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	{ "nothing_lost_or_doubled", nothing_lost_or_doubled, 600 },
};

static int root(int argc, char **argv)
{
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("count", root, argc, argv);
}
