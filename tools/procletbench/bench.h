/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * procletbench: what a proclet's calls and moves cost beside the raw verbs
 * that they are made of, between the same two nodes in the same run.
 */
#ifndef _PROCLETBENCH_BENCH_H
#define _PROCLETBENCH_BENCH_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#define BENCH_RAW		(1 << 0)
#define BENCH_CALLS		(1 << 1)
#define BENCH_PIPELINE		(1 << 2)
#define BENCH_MOVES		(1 << 3)
#define BENCH_EVACUATE		(1 << 4)
#define BENCH_WORK		(1 << 5)
#define BENCH_MEMORY		(1 << 6)
#define BENCH_TOUCH		(1 << 7)
#define BENCH_TCP		(1 << 8)
#define BENCH_MEMCACHED		(1 << 9)
#define BENCH_CRIU		(1 << 10)
#define BENCH_OPEN_LOOP		(1 << 11)
#define BENCH_BASELINE		(BENCH_TCP | BENCH_MEMCACHED | BENCH_CRIU)
#define BENCH_DEFAULT		(BENCH_TCP - 1)

/* Fewer samples than this are no median, however slow they are. */
#define BENCH_MIN_SAMPLES	10

#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define KIB			1024UL
#define MIB			(1024UL * 1024)

/**
 * struct pace - when a row has been measured for long enough
 * @want: samples; then it is
 * @least: samples; with fewer it is not
 * @limit_ns: time; then, too, if there are @least samples
 */
struct pace {
	__u64 want;
	__u64 least;
	__u64 limit_ns;
};

/**
 * struct options - the command line
 * @csv: file for the CSV, "-": stdout, NULL: none
 * @address: dotted address of the other node's RDMA device, NULL: it is asked
 * @iterations: samples of a row
 * @seconds: time for a row
 * @rounds: in how many parts a row is measured
 * @rate: of the open-loop generator, calls per second
 * @fixed: its calls have fixed distances, not those of a Poisson process
 * @what: BENCH_*
 * @node: the other node, 0: the lowest id that is not the root's
 */
struct options {
	const char *csv;
	const char *address;
	unsigned long iterations;
	double seconds;
	unsigned long rounds;
	double rate;
	bool fixed;
	unsigned int what;
	int node;
};

struct samples {
	double *values;
	size_t count;
	size_t room;
	bool sorted;
};

enum unit {
	UNIT_NS,
	UNIT_PER_SECOND,
	UNIT_BYTES_PER_SECOND,
	UNIT_BYTES,
	UNIT_COUNT,
};

enum met {
	MET_NO_TARGET,
	MET_NOT,
	MET,
};

/**
 * struct row - a line of the results
 * @metric: name
 * @param: bytes
 * @unit: of the samples, and of all values here
 * @samples: of all rounds
 * @min: the smallest sample
 * @median: half of the samples do not exceed it
 * @p90: the value that 90 % of the samples do not exceed
 * @p99: 99 %
 * @p999: 99.9 %
 * @max: the largest sample
 * @raw: what the raw operations that it is compared with take; 0: unknown
 * @base: their names
 * @target: what the median ought not to exceed, or (rates) to reach
 * @met: does it?
 * @aim: the target's formula
 * @note: how it was measured, may be empty
 */
struct row {
	char metric[32];
	size_t param;
	enum unit unit;
	struct samples samples;
	double min;
	double median;
	double p90;
	double p99;
	double p999;
	double max;
	double raw;
	char base[64];
	double target;
	enum met met;
	const char *aim;
	char note[64];
};

#define BENCH_MAX_ROWS		160
struct results {
	size_t count;
	struct row rows[BENCH_MAX_ROWS];
};

static inline __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return (__u64)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* pace_more() - is another sample wanted after @done of them? */
static inline bool pace_more(const struct pace *pace, __u64 start, __u64 done)
{
	if (done >= pace->want)
		return false;
	return done < pace->least || now_ns() - start < pace->limit_ns;
}

/**
 * struct subject - what can be measured, by the root proclet
 * @name: for --only
 * @bit: BENCH_*
 * @begin: get ready, against node @node. -ENODEV: not possible here, go on
 *         without. After an error, too, @end is called.
 * @round: take samples at @pace
 * @end: undo @begin
 *
 * They return 0, or a negative errno value after a message.
 */
struct subject {
	const char *name;
	unsigned int bit;
	int (*begin)(const struct options *opt, int node);
	int (*round)(const struct pace *pace, struct results *r);
	void (*end)(void);
};

extern const struct subject raw_subject, calls_subject, pipeline_subject, moves_subject,
	touch_subject, evacuate_subject, work_subject, memory_subject, tcp_subject, memcached_subject,
	criu_subject, open_loop_subject;

#define complain(format, ...) \
	fprintf(stderr, "procletbench: " format "\n", ##__VA_ARGS__)

/* options.c */
extern const struct subject *const subjects[];
extern const unsigned int subject_count;
extern struct options options;
void parse_options(int argc, char **argv);

/* stats.c */
int samples_add(struct samples *s, double value);
double samples_quantile(struct samples *s, double q);
void samples_free(struct samples *s);
struct row *results_row(struct results *r, const char *metric, size_t param);
int results_add(struct results *r, const char *metric, size_t param, enum unit unit,
		double value);
const struct row *results_find(const struct results *r, const char *metric,
			       size_t param);
double results_bandwidth(const struct results *r, const char *metric);
void results_finish(struct results *r);
void results_free(struct results *r);

/* ratios.c */
void find_ratios(struct results *r);

/* targets.c */
void find_targets(struct results *r);
int report_targets(const struct results *r, FILE *to);

/* report.c */
const char *size_text(char text[24], size_t n);
const char *error_text(long err);
const char *unit_text(enum unit unit, double *scale);
int report_table(const struct results *r, FILE *to);
int report_csv(const struct results *r, FILE *to);

/* machine.c */
void machine_text(char *text, size_t size);

#endif /* _PROCLETBENCH_BENCH_H */
