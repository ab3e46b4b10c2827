// SPDX-License-Identifier: GPL-2.0
/*
 * Proclet memory that an RDMA device of the program's own uses: it can be
 * registered, and while it is, its proclet stays.
 */
#include "tap.h"

#include <infiniband/verbs.h>

struct holder {
	unsigned char *data;
};

#define BYTES (256 << 10)

/* In: a byte. Memory of the proclet, all of that byte; out: its address. */
static ssize_t prepare(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct holder *h = root;

	if (in_len != 1 || out_cap != sizeof(h->data))
		return -EINVAL;
	if (!h->data)
		h->data = proclet_malloc(BYTES);
	if (!h->data)
		return -ENOMEM;
	for (int i = 0; i < BYTES; i++)
		h->data[i] = *(const unsigned char *)in;
	memcpy(out, &h->data, sizeof(h->data));
	return sizeof(h->data);
}
PROCLET_METHOD(prepare);

/* Bytes that are not what they should be. */
static ssize_t differing(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct holder *h = root;
	ssize_t n = 0;

	(void)out;
	(void)out_cap;
	if (in_len != 1)
		return -EINVAL;
	for (int i = 0; i < BYTES; i++)
		n += h->data[i] != *(const unsigned char *)in;
	return n;
}
PROCLET_METHOD(differing);

/* In a pinned helper: the device, and the registration of memory on its node. */
static struct ibv_context *device;
static struct ibv_pd *pd;
static struct ibv_mr *mr;

static ssize_t open_device(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct ibv_device **list = ibv_get_device_list(NULL);

	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	if (!list || !list[0])
		return -ENODEV;
	device = ibv_open_device(list[0]);
	ibv_free_device_list(list);
	pd = device ? ibv_alloc_pd(device) : NULL;
	return pd ? 0 : -ENODEV;
}
PROCLET_METHOD(open_device);

static ssize_t take(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	void *at;

	(void)root;
	(void)out;
	(void)out_cap;
	if (in_len != sizeof(at))
		return -EINVAL;
	memcpy(&at, in, sizeof(at));
	mr = ibv_reg_mr(pd, at, BYTES, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
	return mr ? 0 : -errno;
}
PROCLET_METHOD(take);

static ssize_t give_back(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)root;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return -ibv_dereg_mr(mr);
}
PROCLET_METHOD(give_back);

static int registered_memory_stays(void)
{
	TRY(tap_nodes(2));
	for (int i = 0; i < 2; i++) {
		struct proclet_attr attr = { 1 << 20, nodes[i], PROCLET_PINNED, 0 };
		unsigned char byte = 0x5a + i;
		proclet_t p, helper;
		void *at;

		CHECK_EQ(proclet_create(&helper, &attr), 0);
		made[made_count++] = helper;
		TRY(make(&p, nodes[i], 1 << 20, sizeof(struct holder)));
		CHECK_EQ(proclet_call(helper, open_device, NULL, 0, NULL, 0), 0);
		CHECK_EQ(proclet_call(p, prepare, &byte, 1, &at, sizeof(at)), sizeof(at));
		for (int n = 0; n < 3; n++) {
			CHECK_EQ(proclet_call(helper, take, &at, sizeof(at), NULL, 0), 0);
			CHECK_EQ(proclet_migrate(p, nodes[!i], 0), -EBUSY);
			CHECK_EQ(proclet_locate(p), nodes[i]);
			CHECK_EQ(proclet_call(p, differing, &byte, 1, NULL, 0), 0);
			CHECK_EQ(proclet_call(helper, give_back, NULL, 0, NULL, 0), 0);
			CHECK_EQ(proclet_migrate(p, nodes[!i], 0), 0);
			CHECK_EQ(proclet_call(p, differing, &byte, 1, NULL, 0), 0);
			CHECK_EQ(proclet_migrate(p, nodes[i], 0), 0);
		}
	}
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	TAP_TEST(registered_memory_stays),
};

static int root(int argc, char **argv)
{
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	return lproc_main("verbs", root, argc, argv);
}
