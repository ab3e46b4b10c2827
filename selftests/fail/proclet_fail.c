// SPDX-License-Identifier: GPL-2.0
/*
 * For the test nomem: allocations on behalf of proclet.ko fail, in whatever context they
 * are: ioctls, work items, completions, softirqs.
 *
 * What is failed is a way: the calls by which the module has come to an allocation. In
 * each run one allocation fails, the first of a way that has not had its turn; when
 * nothing fails any more, all have. No kernel option is needed but kprobes: the probed
 * functions are where the kernel's own fault injection decides, in any configuration.
 */
#include <linux/jhash.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/spinlock.h>
#include <linux/stacktrace.h>

#define DEPTH	48
#define WAYS	4096

static unsigned long start, end;
module_param(start, ulong, 0);
MODULE_PARM_DESC(start, "where proclet.ko is, as /proc/modules says");
module_param(end, ulong, 0);
MODULE_PARM_DESC(end, "and where it ends");

static unsigned int turns = 1;
module_param(turns, uint, 0644);
MODULE_PARM_DESC(turns, "a way's first so many allocations fail, each in a run of its own");

/**
 * struct way - calls by which the module came to an allocation
 * @hash: of the addresses; 0: not used
 * @turns: it has had
 * @run: in which @seen was counted
 * @seen: allocations
 */
struct way {
	u32 hash;
	u32 turns;
	u32 run;
	u32 seen;
};

static DEFINE_RAW_SPINLOCK(lock);	/* of all below */
static struct way ways[WAYS];
static unsigned int nways;
static bool armed;
static u32 run;
static unsigned int failures;		/* in this run */
static unsigned long last[DEPTH];	/* the way of the last one */
static unsigned int nlast;

static bool is_ours(unsigned long at)
{
	return at >= start && at < end;
}

/* Who was interrupted here has nothing to do with what is above. */
static bool is_border(unsigned long at)
{
	static const char * const names[] = {
		"asm_", "__do_softirq", "handle_softirqs", "exc_page_fault",
	};
	char name[KSYM_SYMBOL_LEN];
	unsigned int i;

	sprint_symbol(name, at);
	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (str_has_prefix(name, names[i]))
			return true;
	return false;
}

/* The part of the stack that lies between the module's entry and the allocator. */
static unsigned int find_way(unsigned long *stack, unsigned long probed)
{
	unsigned int n = stack_trace_save(stack, DEPTH, 0), from = 0, first, to, i;

	for (first = 0; first < n && !is_ours(stack[first]); first++)
		;
	if (first == n)
		return 0;
	/* The probe itself. */
	for (i = 0; i < first; i++)
		if (stack[i] >= probed && stack[i] < probed + 16)
			from = i;
	for (i = from; i < first; i++)
		if (is_border(stack[i]))
			return 0;
	for (to = first, i = first; i < n && !is_border(stack[i]); i++)
		if (is_ours(stack[i]))
			to = i;
	n = to + 1 - from;
	memmove(stack, stack + from, n * sizeof(*stack));
	return n;
}

static bool fails(const unsigned long *stack, unsigned int n)
{
	u32 hash = jhash(stack, n * sizeof(*stack), 0) | 1;
	struct way *w = &ways[hash % WAYS];
	unsigned long flags;
	bool ret = false;

	raw_spin_lock_irqsave(&lock, flags);
	if (!armed || failures || nways > WAYS / 2)
		goto out;
	while (w->hash && w->hash != hash)
		w = w == &ways[WAYS - 1] ? ways : w + 1;
	if (!w->hash) {
		w->hash = hash;
		nways++;
	}
	if (w->run != run) {
		w->run = run;
		w->seen = 0;
	}
	if (w->turns < turns && w->seen++ == w->turns) {
		w->turns++;
		failures++;
		memcpy(last, stack, n * sizeof(*stack));
		nlast = n;
		ret = true;
	}
out:
	raw_spin_unlock_irqrestore(&lock, flags);
	return ret;
}

/* What is executed instead of the probed functions. */
static noinline int no_slab(void)
{
	return -ENOMEM;
}

static noinline bool no_pages(void)
{
	return true;
}

static int probe(struct kprobe *kp, struct pt_regs *regs, gfp_t gfp, void *instead)
{
	unsigned long stack[DEPTH];
	unsigned int n;

	if (!READ_ONCE(armed) || gfp & __GFP_NOFAIL)
		return 0;
	n = find_way(stack, (unsigned long)kp->addr);
	if (!n || !fails(stack, n))
		return 0;
	instruction_pointer_set(regs, (unsigned long)instead);
	return 1;
}

static int slab_probe(struct kprobe *kp, struct pt_regs *regs)
{
	return probe(kp, regs, (__force gfp_t)regs_get_kernel_argument(regs, 1), no_slab);
}

static int pages_probe(struct kprobe *kp, struct pt_regs *regs)
{
	return probe(kp, regs, (__force gfp_t)regs_get_kernel_argument(regs, 0), no_pages);
}

/* Without one the probe may be optimized, and then cannot change where it returns to. */
static void after_probe(struct kprobe *kp, struct pt_regs *regs, unsigned long flags)
{
}

static struct kprobe probes[] = {
	{
		.symbol_name = "should_failslab",
		.pre_handler = slab_probe,
		.post_handler = after_probe,
	}, {
		.symbol_name = "should_fail_alloc_page",
		.pre_handler = pages_probe,
		.post_handler = after_probe,
	},
};

/* 1: begin a run; 0: end it. */
static int arm_set(const char *text, const struct kernel_param *param)
{
	unsigned long flags;
	bool on;
	int err = kstrtobool(text, &on);

	if (err)
		return err;
	raw_spin_lock_irqsave(&lock, flags);
	if (on) {
		run++;
		failures = 0;
	}
	WRITE_ONCE(armed, on);
	raw_spin_unlock_irqrestore(&lock, flags);
	return 0;
}

/* Failures in the run, ways known so far, the way of the last failure. */
static int arm_get(char *text, const struct kernel_param *param)
{
	unsigned int i, len;

	len = scnprintf(text, PAGE_SIZE, "%u %u\n", failures, nways);
	for (i = 0; i < nlast; i++)
		len += scnprintf(text + len, PAGE_SIZE - len, "%pS\n", (void *)last[i]);
	return len;
}

static const struct kernel_param_ops arm_ops = {
	.set = arm_set,
	.get = arm_get,
};

module_param_cb(arm, &arm_ops, NULL, 0600);

/* All ways get their turns again. */
static int again_set(const char *text, const struct kernel_param *param)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&lock, flags);
	memset(ways, 0, sizeof(ways));
	nways = 0;
	raw_spin_unlock_irqrestore(&lock, flags);
	return 0;
}

static const struct kernel_param_ops again_ops = {
	.set = again_set,
};

module_param_cb(again, &again_ops, NULL, 0200);

static int __init fail_init(void)
{
	unsigned int i;
	int err;

	if (start >= end)
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		err = register_kprobe(&probes[i]);
		if (err) {
			while (i--)
				unregister_kprobe(&probes[i]);
			return err;
		}
	}
	return 0;
}

static void __exit fail_exit(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++)
		unregister_kprobe(&probes[i]);
}

module_init(fail_init);
module_exit(fail_exit);
MODULE_DESCRIPTION("Allocations of proclet.ko that fail");
MODULE_LICENSE("GPL");
