// SPDX-License-Identifier: GPL-2.0-or-later
/* The active end of the raw rows. Runs in a native thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bench.h"
#include "raw.h"

#define CONNECT_MS	5000
#define STUCK_MS	30000	/* no completion for so long: give up */
#define WARM_UP		50
#define TRIALS_MAX	32
#define FINALISTS	2

/**
 * struct link - a connection with the thread that watches over it
 * @conn: the connection
 * @channel: of its events
 * @remote: memory at the other end
 * @watcher: ends the connection when the other end does, or is stuck, so that
 *           no wait for a completion is for ever
 * @stop: eventfd that ends the watcher
 */
struct link {
	struct raw_conn conn;
	struct rdma_event_channel *channel;
	struct raw_memory remote;
	pthread_t watcher;
	int stop;
};

/* A plan that has been tried. */
struct trial {
	struct raw_plan plan;
	double best;
	struct samples samples;
};

/* The next event has to be @type. Its answer's private data goes to @memory. */
static int expect(struct link *l, enum rdma_cm_event_type type,
		  struct raw_memory *memory, char *error)
{
	struct rdma_cm_event *event;
	int err;

	err = raw_next_event(l->channel, CONNECT_MS, &event);
	if (err)
		return raw_fail(error, -err, "no answer");
	if (event->event != type) {
		err = event->status < 0 ? event->status : -ECONNREFUSED;
		if (event->status < 0)
			snprintf(error, RAW_ERROR, "%s: %s", rdma_event_str(event->event),
				 error_text(event->status));
		else
			snprintf(error, RAW_ERROR, "%s, reason %d",
				 rdma_event_str(event->event), event->status);
	} else if (memory && event->param.conn.private_data_len >= sizeof(*memory)) {
		memcpy(memory, event->param.conn.private_data, sizeof(*memory));
	} else if (memory) {
		err = raw_fail(error, EPROTO, "the answer is too short");
	}
	rdma_ack_cm_event(event);
	return err;
}

static void *watch(void *arg)
{
	struct link *l = arg;
	struct pollfd fds[] = {
		{ .fd = l->stop, .events = POLLIN },
		{ .fd = l->channel->fd, .events = POLLIN },
	};
	struct rdma_cm_event *event;
	unsigned long waits = 0, now;
	int idle_ms = 0, n;

	for (;;) {
		n = poll(fds, 2, 1000);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || fds[0].revents)
			break;
		if (n && !rdma_get_cm_event(l->channel, &event)) {
			enum rdma_cm_event_type type = event->event;

			rdma_ack_cm_event(event);
			if (type == RDMA_CM_EVENT_DISCONNECTED ||
			    type == RDMA_CM_EVENT_DEVICE_REMOVAL)
				rdma_disconnect(l->conn.id);
			continue;
		}
		now = __atomic_load_n(&l->conn.waits, __ATOMIC_RELAXED);
		idle_ms = now == waits ? idle_ms + 1000 : 0;
		waits = now;
		if (idle_ms >= STUCK_MS) {
			rdma_disconnect(l->conn.id);
			break;
		}
	}
	return NULL;
}

static void link_close(struct link *l)
{
	__u64 one = 1;

	if (write(l->stop, &one, sizeof(one)) == sizeof(one))
		pthread_join(l->watcher, NULL);
	rdma_disconnect(l->conn.id);
	raw_conn_close(&l->conn);
	rdma_destroy_event_channel(l->channel);
	close(l->stop);
}

static int link_open(struct link *l, const struct raw_endpoint *endpoint,
		     __u32 address, bool polling, bool sink, char *error)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(endpoint->port),
		.sin_addr.s_addr = address,
	};
	struct raw_hello hello = {
		.cookie = endpoint->cookie,
		.polling = polling,
		.sink = sink,
	};
	struct rdma_conn_param param;
	struct rdma_cm_id *id;
	int err;

	memset(l, 0, sizeof(*l));
	l->stop = eventfd(0, EFD_CLOEXEC);
	if (l->stop < 0)
		return raw_fail(error, errno, "no eventfd");
	l->channel = rdma_create_event_channel();
	if (!l->channel) {
		err = raw_fail(error, errno, "cannot open the RDMA connection manager");
		goto out_stop;
	}
	if (rdma_create_id(l->channel, &id, NULL, RDMA_PS_TCP)) {
		err = raw_fail(error, errno, "cannot create an RDMA connection");
		goto out_channel;
	}
	l->conn.id = id;
	if (rdma_resolve_addr(id, NULL, (struct sockaddr *)&to, CONNECT_MS / 2)) {
		err = raw_fail(error, errno, "no RDMA device leads there");
		goto out_conn;
	}
	err = expect(l, RDMA_CM_EVENT_ADDR_RESOLVED, NULL, error);
	if (err)
		goto out_conn;
	if (rdma_resolve_route(id, CONNECT_MS / 2)) {
		err = raw_fail(error, errno, "no route");
		goto out_conn;
	}
	err = expect(l, RDMA_CM_EVENT_ROUTE_RESOLVED, NULL, error);
	if (err)
		goto out_conn;
	err = raw_conn_open(&l->conn, id);
	if (err) {
		memcpy(error, l->conn.error, RAW_ERROR);
		goto out_conn;
	}
	l->conn.polling = polling;
	raw_conn_params(&l->conn, &param);
	param.private_data = &hello;
	param.private_data_len = sizeof(hello);
	if (rdma_connect(id, &param)) {
		err = raw_fail(error, errno, "cannot connect");
		goto out_conn;
	}
	err = expect(l, RDMA_CM_EVENT_ESTABLISHED, &l->remote, error);
	if (err)
		goto out_conn;
	if (l->remote.length < RAW_BUFFER) {
		err = raw_fail(error, EPROTO, "the server's buffer is too small");
		goto out_disconnect;
	}
	err = -pthread_create(&l->watcher, NULL, watch, l);
	if (err) {
		raw_fail(error, -err, "cannot start a thread");
		goto out_disconnect;
	}
	return 0;

out_disconnect:
	rdma_disconnect(id);
out_conn:
	raw_conn_close(&l->conn);
out_channel:
	rdma_destroy_event_channel(l->channel);
out_stop:
	close(l->stop);
	return err;
}

/* Connect to the first address that answers. */
static int link_open_any(struct link *l, const struct raw_endpoint *endpoint,
			 bool polling, bool sink)
{
	char error[RAW_ERROR] = "it has no address", text[INET_ADDRSTRLEN] = "?";
	int err = -EHOSTUNREACH;
	__u32 i;

	for (i = 0; i < endpoint->count; i++) {
		err = link_open(l, endpoint, endpoint->address[i], polling, sink,
				error);
		if (!err)
			return 0;
		inet_ntop(AF_INET, &endpoint->address[i], text, sizeof(text));
	}
	complain("raw verbs: cannot connect to %s port %u: %s", text, endpoint->port,
		 error);
	return err;
}

/* One message there and back. */
static int round_trip(struct raw_conn *c, size_t len)
{
	struct ibv_wc wc;
	int err;

	err = raw_send(c, len);
	if (!err)
		err = raw_wait(c, &c->recv, &wc);
	if (!err && wc.byte_len != len)
		err = raw_fail(c->error, EPROTO, "the echo has another length");
	if (!err)
		err = raw_recv(c, wc.wr_id);
	return err;
}

static int failed(const struct link *l, const char *metric, size_t len, int err)
{
	char size[24];

	complain("raw verbs: %s of %s: %s", metric, size_text(size, len),
		 *l->conn.error ? l->conn.error : error_text(err));
	return err;
}

static int measure_send(struct link *l, const struct pace *pace, const char *metric,
			size_t len, struct results *r)
{
	struct row *row = results_row(r, metric, len);
	__u64 start, before, after, i;
	int err = row ? 0 : -ENOSPC;

	for (i = 0; i < WARM_UP && !err; i++)
		err = round_trip(&l->conn, len);
	start = now_ns();
	for (i = 0; !err && pace_more(pace, start, i); i++) {
		before = now_ns();
		err = round_trip(&l->conn, len);
		after = now_ns();
		if (!err)
			err = samples_add(&row->samples, (after - before) / 2.0);
	}
	return err ? failed(l, metric, len, err) : 0;
}

/* READ @len bytes as @plan says. */
static int read_all(struct link *l, const struct raw_plan *plan, size_t len, double *ns)
{
	size_t posted = 0, done = 0, n = (len + plan->chunk - 1) / plan->chunk;
	__u64 before = now_ns();
	struct ibv_wc wc;
	int err;

	while (done < n) {
		while (posted < n && posted - done < plan->depth) {
			size_t offset = posted * plan->chunk;
			size_t rest = len - offset;

			err = raw_read(&l->conn, &l->remote, offset,
				       rest < plan->chunk ? rest : plan->chunk);
			if (err)
				return err;
			posted++;
		}
		err = raw_wait(&l->conn, &l->conn.send, &wc);
		if (err)
			return err;
		done++;
	}
	*ns = now_ns() - before;
	return 0;
}

/* The plans worth trying for @len bytes. */
static unsigned int make_trials(struct trial *trials, size_t len, size_t chunk_max)
{
	static const unsigned int depths[] = { 1, 2, 4, RAW_READS };
	size_t chunk = len < chunk_max ? len : chunk_max;
	unsigned int count = 0, i;

	memset(trials, 0, TRIALS_MAX * sizeof(*trials));
	for (;;) {
		for (i = 0; i < ARRAY_SIZE(depths); i++) {
			if (depths[i] > 1 && (len + chunk - 1) / chunk < depths[i])
				break;
			if (count == TRIALS_MAX)
				return count;
			trials[count].plan.chunk = chunk;
			trials[count++].plan.depth = depths[i];
		}
		if (chunk > MIB)
			chunk = MIB;
		else if (chunk >= 64 * KIB)
			chunk /= 4;
		else
			return count;
	}
}

static int compare_trials(const void *a, const void *b)
{
	double x = ((const struct trial *)a)->best, y = ((const struct trial *)b)->best;

	return (x > y) - (x < y);
}

/*
 * Find the best way to READ @len bytes: some trials of each, then the most
 * promising ones in turn. Also warms up.
 */
static int find_plan(struct link *l, const struct pace *pace, size_t len,
		     struct raw_plan *plan)
{
	const struct pace some = { .want = 5, .least = 2, .limit_ns = 200000000 };
	struct trial trials[TRIALS_MAX];
	unsigned int count, finalists, i, best = 0;
	__u64 start, n;
	double ns;
	int err = 0;

	count = make_trials(trials, len, l->conn.chunk_max);
	for (i = 0; i < count; i++) {
		start = now_ns();
		for (n = 0; pace_more(&some, start, n); n++) {
			err = read_all(l, &trials[i].plan, len, &ns);
			if (err)
				goto out;
			if (!n || ns < trials[i].best)
				trials[i].best = ns;
		}
	}
	qsort(trials, count, sizeof(*trials), compare_trials);

	finalists = count < FINALISTS ? count : FINALISTS;
	start = now_ns();
	for (n = 0; finalists > 1 && pace_more(pace, start, n); n++) {
		for (i = 0; i < finalists; i++) {
			err = read_all(l, &trials[i].plan, len, &ns);
			if (!err)
				err = samples_add(&trials[i].samples, ns);
			if (err)
				goto out;
		}
	}
	for (i = 0; i < finalists; i++)
		if (samples_quantile(&trials[i].samples, 0.5) <
		    samples_quantile(&trials[best].samples, 0.5))
			best = i;
	*plan = trials[best].plan;
out:
	for (i = 0; i < count; i++)
		samples_free(&trials[i].samples);
	return err;
}

static int measure_read(struct link *l, const struct pace *pace, const char *metric,
			size_t len, const struct raw_plan *plan, struct results *r)
{
	struct row *row = results_row(r, metric, len);
	int err = row ? 0 : -ENOSPC;
	__u64 start, i;
	char size[24];
	double ns;

	if (!err)
		err = read_all(l, plan, len, &ns);
	start = now_ns();
	for (i = 0; !err && pace_more(pace, start, i); i++) {
		err = read_all(l, plan, len, &ns);
		if (!err)
			err = samples_add(&row->samples, ns);
	}
	if (err)
		return failed(l, metric, len, err);
	snprintf(row->note, sizeof(row->note), "chunks of %s, %u in flight",
		 size_text(size, plan->chunk), plan->depth);
	return 0;
}

static int measure_rate(struct link *l, bool sink, const struct pace *pace,
			struct results *r)
{
	int err = raw_measure_rate(&l->conn, sink, pace, r);

	return err ? failed(l, "rate", 64, err) : 0;
}

/*
 * A round of all raw rows, from this node to the server at @endpoint. @plans is
 * all zero the first time.
 */
int raw_measure(const struct pace *pace, const struct raw_endpoint *endpoint,
		struct raw_plan plans[RAW_PLANS], struct results *r)
{
	static const size_t messages[] = { 64, 4 * KIB };
	static const size_t reads[RAW_PLANS] = { 4 * KIB, 64 * KIB, MIB, 16 * MIB };
	const unsigned int n_messages = ARRAY_SIZE(messages);
	struct link l;
	unsigned int i;
	int err;

	err = link_open_any(&l, endpoint, true, false);
	if (err)
		return err;
	for (i = 0; i < n_messages && !err; i++)
		err = measure_send(&l, pace, "raw_send_poll", messages[i], r);
	link_close(&l);
	if (err)
		return err;

	/* The server sleeps while its memory is read, by polling clients too. */
	err = link_open_any(&l, endpoint, false, false);
	if (err)
		return err;
	for (i = 0; i < n_messages && !err; i++)
		err = measure_send(&l, pace, "raw_send_event", messages[i], r);
	if (!err)
		err = measure_rate(&l, false, pace, r);
	for (i = 0; i < RAW_PLANS && !err; i++) {
		if (plans[i].chunk)
			continue;
		err = find_plan(&l, pace, reads[i], &plans[i]);
		if (err)
			failed(&l, "raw_read", reads[i], err);
	}
	for (i = 0; i < RAW_PLANS && !err; i++)
		err = measure_read(&l, pace, "raw_read", reads[i], &plans[i], r);
	l.conn.polling = true;
	for (i = 0; i < RAW_PLANS && !err; i++)
		err = measure_read(&l, pace, "raw_read_poll", reads[i], &plans[i], r);
	link_close(&l);
	if (err)
		return err;

	err = link_open_any(&l, endpoint, false, true);
	if (err)
		return err;
	err = measure_rate(&l, true, pace, r);
	link_close(&l);
	return err;
}
