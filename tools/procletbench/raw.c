// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Raw verbs between the two members. Both ends are native threads, as they own
 * file descriptors: the server belongs to a pinned proclet on the other node.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <proclet.h>
#include <string.h>

#include "bench.h"
#include "callee.h"
#include "raw.h"

static proclet_t server;
static struct raw_endpoint endpoint;
static struct raw_plan plans[RAW_PLANS];

/* What a native thread shall measure. */
struct job {
	const struct pace *pace;
	struct results *results;
};

static ssize_t serve_raw(void *root, const void *in, size_t in_len,
			 void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	if (in_len || out_cap < sizeof(struct raw_endpoint))
		return -EINVAL;
	raw_server_start(out);
	return sizeof(struct raw_endpoint);
}
PROCLET_METHOD(serve_raw);

static ssize_t stop_raw(void *root, const void *in, size_t in_len,
			void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	raw_server_stop();
	return 0;
}
PROCLET_METHOD(stop_raw);

static int no_device(int node)
{
	complain("node %d: no RDMA device: ratios not available", node);
	return -ENODEV;
}

static int raw_begin(const struct options *opt, int node)
{
	struct raw_endpoint here;
	ssize_t err;

	memset(&here, 0, sizeof(here));
	memset(plans, 0, sizeof(plans));
	server = 0;
	err = raw_addresses(&here);
	if (err) {
		complain("raw verbs: %s", here.error);
		return err;
	}
	if (!here.count)
		return no_device(lproc_node());

	err = bench_proclet("raw verbs", &server, node, MIB, 0, PROCLET_PINNED);
	if (err)
		return err;
	err = proclet_call(server, serve_raw, NULL, 0, &endpoint, sizeof(endpoint));
	if (err >= 0 && err != sizeof(endpoint))
		err = -EPROTO;
	if (err < 0) {
		complain("raw verbs: cannot start the server on node %d: %s", node,
			 error_text(err));
		return err;
	}
	endpoint.error[RAW_ERROR - 1] = 0;
	if (*endpoint.error) {
		complain("raw verbs: node %d: %s", node, endpoint.error);
		return -EIO;
	}
	if (!endpoint.count)
		return no_device(node);
	if (opt->address) {
		endpoint.count = 1;
		if (inet_pton(AF_INET, opt->address, &endpoint.address[0]) != 1) {
			complain("%s is not an IPv4 address", opt->address);
			return -EINVAL;
		}
	}
	return 0;
}

static int measure(void *arg)
{
	struct job *job = arg;

	return raw_measure(job->pace, &endpoint, plans, job->results);
}

static int raw_round(const struct pace *pace, struct results *r)
{
	struct job job = { .pace = pace, .results = r };

	return bench_native("raw verbs", measure, &job);
}

static void raw_end(void)
{
	if (!server)
		return;
	proclet_call(server, stop_raw, NULL, 0, NULL, 0);
	bench_destroy(&server);
}

const struct subject raw_subject = {
	.name = "raw",
	.bit = BENCH_RAW,
	.begin = raw_begin,
	.round = raw_round,
	.end = raw_end,
};
