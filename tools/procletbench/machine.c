// SPDX-License-Identifier: GPL-2.0-or-later
/* What kind of machine this node is, in general terms. */
#include <cpuid.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define CPUID_HYPERVISOR	0x40000000

static const char *processor_kind(void)
{
	unsigned int a, b, c, d;
	char name[13] = "";

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1U << 31)))
		return "no hypervisor";
	__cpuid(CPUID_HYPERVISOR, a, b, c, d);
	memcpy(name, &b, 4);
	memcpy(name + 4, &c, 4);
	memcpy(name + 8, &d, 4);
	if (!strcmp(name, "TCGTCGTCGTCG"))
		return "a virtual machine, its processors emulated";
	return "a virtual machine";
}

static const char *device_kind(struct ibv_device *device)
{
	const char *name = ibv_get_device_name(device);

	if (!strncmp(name, "rxe", 3))
		return "soft-RoCE";
	if (!strncmp(name, "siw", 3))
		return "soft-iWARP";
	return device->transport_type == IBV_TRANSPORT_IWARP ? "iWARP" : "InfiniBand or RoCE";
}

void machine_text(char *text, size_t size)
{
	struct ibv_device **devices = NULL;
	int count = 0;

	/* Without the verbs' files the library complains. */
	if (!access("/sys/class/infiniband_verbs", F_OK))
		devices = ibv_get_device_list(&count);
	snprintf(text, size, "%ld processors, %s; RDMA device: %s",
		 sysconf(_SC_NPROCESSORS_ONLN), processor_kind(),
		 devices && count ? device_kind(devices[0]) : "none");
	if (devices)
		ibv_free_device_list(devices);
}
