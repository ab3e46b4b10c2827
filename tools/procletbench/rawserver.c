// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The passive end of the raw rows: native threads of the other node's member,
 * started by a method of a pinned proclet. One thread takes connections, and
 * each connection has one that sends every message back, or takes them.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "raw.h"

#define RAW_CLIENTS	4	/* connections at a time */

struct client {
	struct raw_conn conn;
	pthread_t thread;
	bool used;
	bool threaded;
};

static struct server {
	struct rdma_event_channel *channel;
	struct rdma_cm_id *listener;
	pthread_t thread;
	__u64 cookie;
	int stop;		/* eventfd */
	bool running;
	struct client clients[RAW_CLIENTS];
} server;

static void *echo(void *arg)
{
	struct client *client = arg;
	struct raw_conn *c = &client->conn;
	struct ibv_wc wc;

	/* The queue pair's requests are flushed when the connection ends. */
	while (!raw_wait(c, &c->recv, &wc))
		if (raw_send(c, wc.byte_len) || raw_recv(c, wc.wr_id))
			break;
	return NULL;
}

static void *take(void *arg)
{
	struct client *client = arg;
	struct raw_conn *c = &client->conn;
	unsigned int taken = 0;
	struct ibv_wc wc;

	while (!raw_wait(c, &c->recv, &wc)) {
		if (raw_recv(c, wc.wr_id))
			break;
		if (++taken % RAW_CREDITS == 0 && raw_send(c, sizeof(__u64)))
			break;
	}
	return NULL;
}

static void client_end(struct client *client)
{
	rdma_disconnect(client->conn.id);
	if (client->threaded)
		pthread_join(client->thread, NULL);
	raw_conn_close(&client->conn);
	memset(client, 0, sizeof(*client));
}

/* Accept @id in the free slot @client, or reject it. */
static void client_begin(struct client *client, struct rdma_cm_id *id,
			 const struct raw_hello *hello)
{
	struct raw_conn *c = &client->conn;
	struct rdma_conn_param param;
	struct raw_memory memory;
	int err;

	client->used = true;
	id->context = client;
	err = raw_conn_open(c, id);
	if (err)
		goto out_reject;
	c->polling = hello->polling;

	memset(&memory, 0, sizeof(memory));
	memory.address = (uintptr_t)c->memory;
	memory.length = RAW_BUFFER;
	memory.rkey = c->mr->rkey;
	raw_conn_params(c, &param);
	param.private_data = &memory;
	param.private_data_len = sizeof(memory);
	err = pthread_create(&client->thread, NULL, hello->sink ? take : echo, client);
	if (err) {
		raw_fail(c->error, err, "cannot start a thread");
		goto out_reject;
	}
	client->threaded = true;
	if (rdma_accept(id, &param)) {
		raw_fail(c->error, errno, "cannot accept");
		goto out_reject;
	}
	return;

out_reject:
	fprintf(stderr, "procletbench: raw server: %s\n", c->error);
	rdma_reject(id, NULL, 0);
	client_end(client);
}

static void connect_request(struct rdma_cm_id *id, const struct raw_hello *hello)
{
	unsigned int i;

	for (i = 0; i < RAW_CLIENTS; i++) {
		if (server.clients[i].used || hello->cookie != server.cookie)
			continue;
		client_begin(&server.clients[i], id, hello);
		return;
	}
	rdma_reject(id, NULL, 0);
	rdma_destroy_id(id);
}

static void *serve(void *arg)
{
	struct pollfd fds[] = {
		{ .fd = server.channel->fd, .events = POLLIN },
		{ .fd = server.stop, .events = POLLIN },
	};
	struct rdma_cm_event *event;
	unsigned int i;

	for (;;) {
		enum rdma_cm_event_type type;
		struct raw_hello hello;
		struct rdma_cm_id *id;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			break;
		if (!fds[0].revents)
			continue;
		if (rdma_get_cm_event(server.channel, &event))
			break;
		type = event->event;
		id = event->id;
		memset(&hello, 0, sizeof(hello));
		if (type == RDMA_CM_EVENT_CONNECT_REQUEST &&
		    event->param.conn.private_data_len >= sizeof(hello))
			memcpy(&hello, event->param.conn.private_data, sizeof(hello));
		/* An id cannot go before its events. */
		rdma_ack_cm_event(event);

		switch (type) {
		case RDMA_CM_EVENT_CONNECT_REQUEST:
			connect_request(id, &hello);
			break;
		case RDMA_CM_EVENT_CONNECT_ERROR:
		case RDMA_CM_EVENT_UNREACHABLE:
		case RDMA_CM_EVENT_REJECTED:
		case RDMA_CM_EVENT_DISCONNECTED:
		case RDMA_CM_EVENT_DEVICE_REMOVAL:
			if (id->context)
				client_end(id->context);
			break;
		default:
			break;
		}
	}
	for (i = 0; i < RAW_CLIENTS; i++)
		if (server.clients[i].used)
			client_end(&server.clients[i]);
	rdma_destroy_id(server.listener);
	rdma_destroy_event_channel(server.channel);
	return arg;
}

/* Listen at a free port of all RDMA devices. No device: no address, no error. */
int raw_server_start(struct raw_endpoint *endpoint)
{
	struct sockaddr_in any = { .sin_family = AF_INET }, *bound;
	int err;

	memset(endpoint, 0, sizeof(*endpoint));
	if (server.running)
		return raw_fail(endpoint->error, EALREADY, "the raw server runs already");
	err = raw_addresses(endpoint);
	if (err || !endpoint->count)
		return err;

	memset(&server, 0, sizeof(server));
	if (getrandom(&server.cookie, sizeof(server.cookie), 0) != sizeof(server.cookie))
		return raw_fail(endpoint->error, errno, "no random number");
	server.stop = eventfd(0, EFD_CLOEXEC);
	if (server.stop < 0)
		return raw_fail(endpoint->error, errno, "no eventfd");
	server.channel = rdma_create_event_channel();
	if (!server.channel) {
		err = raw_fail(endpoint->error, errno, "cannot open the RDMA connection manager");
		goto out_close;
	}
	if (rdma_create_id(server.channel, &server.listener, NULL, RDMA_PS_TCP)) {
		err = raw_fail(endpoint->error, errno, "cannot create a listener");
		goto out_channel;
	}
	if (rdma_bind_addr(server.listener, (struct sockaddr *)&any) ||
	    rdma_listen(server.listener, RAW_CLIENTS)) {
		err = raw_fail(endpoint->error, errno, "cannot listen");
		goto out_listener;
	}
	err = -pthread_create(&server.thread, NULL, serve, NULL);
	if (err) {
		raw_fail(endpoint->error, -err, "cannot start a thread");
		goto out_listener;
	}
	server.running = true;
	endpoint->cookie = server.cookie;
	bound = (struct sockaddr_in *)rdma_get_local_addr(server.listener);
	endpoint->port = ntohs(bound->sin_port);
	return 0;

out_listener:
	rdma_destroy_id(server.listener);
out_channel:
	rdma_destroy_event_channel(server.channel);
out_close:
	close(server.stop);
	return err;
}

void raw_server_stop(void)
{
	__u64 one = 1;

	if (!server.running)
		return;
	if (write(server.stop, &one, sizeof(one)) == sizeof(one))
		pthread_join(server.thread, NULL);
	close(server.stop);
	server.running = false;
}
