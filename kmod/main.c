// SPDX-License-Identifier: GPL-2.0
/* Module entry and exit. */
#include <linux/module.h>

#include "lproc.h"
#define CREATE_TRACE_POINTS
#include "trace.h"

static int __init proclet_init(void)
{
	int err;

	err = xport_rdma_init();
	if (err)
		return err;
	err = sysfs_init();
	if (err)
		goto exit_rdma;
	debugfs_init();
	err = proc_init();
	if (err)
		goto exit_debugfs;
	err = dev_init();
	if (err)
		goto exit_proc;
	err = config_init();
	if (err)
		goto exit_dev;
	return 0;

exit_dev:
	dev_exit();
exit_proc:
	proc_exit();
exit_debugfs:
	debugfs_exit();
	sysfs_exit();
exit_rdma:
	xport_rdma_exit();
	return err;
}
module_init(proclet_init);

static void __exit proclet_exit(void)
{
	config_exit();
	dev_exit();
	proc_exit();
	debugfs_exit();
	sysfs_exit();
	xport_rdma_exit();
	rcu_barrier();
}
module_exit(proclet_exit);

MODULE_DESCRIPTION("Proclets: heaps and threads that move between machines");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
MODULE_SOFTDEP("pre: hmac sha256");
