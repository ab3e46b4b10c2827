// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Producer and consumer: a method fills a queue, a thread of the proclet empties
 * it. They wait for each other, and go on waiting where the proclet moves.
 */
#include <proclet.h>
#include <stdio.h>

#define SLOTS	4

/* The root object is all zeroes: its locks are ready. */
struct queue {
	proclet_mutex_t lock;
	proclet_cond_t filled, emptied;
	unsigned int in, out;
	long item[SLOTS];
};

static void *consume(void *arg)
{
	struct queue *q = arg;
	long item, sum = 0;

	do {
		proclet_mutex_lock(&q->lock);
		while (q->in == q->out)
			proclet_cond_wait(&q->filled, &q->lock);
		item = q->item[q->out++ % SLOTS];
		proclet_cond_signal(&q->emptied);
		proclet_mutex_unlock(&q->lock);
		sum += item;
	} while (item);
	return (void *)sum;
}

static void put(struct queue *q, long item)
{
	proclet_mutex_lock(&q->lock);
	while (q->in - q->out == SLOTS)
		proclet_cond_wait(&q->emptied, &q->lock);
	q->item[q->in++ % SLOTS] = item;
	proclet_cond_signal(&q->filled);
	proclet_mutex_unlock(&q->lock);
}

/* Result: the sum of all numbers from *in down to 0, which is the last item. */
static ssize_t produce(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	int nodes[32], n = lproc_nodes(nodes, 32), err;
	proclet_thread_t consumer;
	long item;

	err = proclet_thread_create(&consumer, consume, root);
	if (err)
		return err;
	for (item = *(const long *)in; item >= 0; item--) {
		if (item % 10 == 0)
			proclet_migrate(proclet_self(), nodes[item / 10 % n], 0);
		put(root, item);
	}
	err = proclet_thread_join(consumer, out);
	return err < 0 ? err : (ssize_t)sizeof(long);
}
PROCLET_METHOD(produce);

static int root(int argc, char **argv)
{
	struct proclet_attr attr = PROCLET_ATTR_INIT;
	long count = 100, sum;
	proclet_t p;
	ssize_t ret;

	attr.root_size = sizeof(struct queue);
	ret = proclet_create(&p, &attr);
	if (!ret)
		ret = proclet_call(p, produce, &count, sizeof(count), &sum, sizeof(sum));
	if (ret < 0)
		return ret;
	printf("sum of all items: %ld\n", sum);
	return 0;
}

int main(int argc, char **argv)
{
	return lproc_main("queue", root, argc, argv);
}
