// SPDX-License-Identifier: GPL-2.0
/* /sys/class/proclet/<node>/: what there is to see of a configured node. */
#include <linux/device.h>
#include <linux/err.h>
#include <linux/kdev_t.h>
#include <linux/sysfs.h>

#include "node.h"

static struct pnode *to_node(struct device *dev)
{
	return dev_get_drvdata(dev);
}

static ssize_t id_show(struct device *dev, struct device_attribute *attr,
		       char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(to_node(dev)->id));
}
static DEVICE_ATTR_RO(id);

static ssize_t transport_show(struct device *dev, struct device_attribute *attr,
			      char *buf)
{
	return sysfs_emit(buf, "%s\n", READ_ONCE(to_node(dev)->ops)->name);
}
static DEVICE_ATTR_RO(transport);

static ssize_t enabled_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%d\n", READ_ONCE(to_node(dev)->enabled));
}
static DEVICE_ATTR_RO(enabled);

static ssize_t incarnation_show(struct device *dev,
				struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%016llx\n",
			  READ_ONCE(to_node(dev)->incarnation));
}
static DEVICE_ATTR_RO(incarnation);

/* A number that struct pnode has under the same name. */
#define NODE_NUMBER(name)						\
static ssize_t name##_show(struct device *dev, struct device_attribute *attr, \
			   char *buf)					\
{									\
	return sysfs_emit(buf, "%lld\n", atomic64_read(&to_node(dev)->name)); \
}									\
static DEVICE_ATTR_RO(name)

NODE_NUMBER(budget);
NODE_NUMBER(reserved);
NODE_NUMBER(spun);
NODE_NUMBER(slept);

static ssize_t members_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%u\n", lproc_count(to_node(dev)));
}
static DEVICE_ATTR_RO(members);

static ssize_t proclet_count_show(struct device *dev,
				  struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", node_proclets(to_node(dev)));
}

static struct device_attribute dev_attr_proclets =
	__ATTR(proclets, 0444, proclet_count_show, NULL);

static ssize_t peers_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	return sysfs_emit(buf, "%u\n", node_peers(to_node(dev), false));
}
static DEVICE_ATTR_RO(peers);

static ssize_t peers_up_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	return sysfs_emit(buf, "%u\n", node_peers(to_node(dev), true));
}
static DEVICE_ATTR_RO(peers_up);

static struct attribute *node_attrs[] = {
	&dev_attr_id.attr,
	&dev_attr_transport.attr,
	&dev_attr_enabled.attr,
	&dev_attr_incarnation.attr,
	&dev_attr_budget.attr,
	&dev_attr_reserved.attr,
	&dev_attr_spun.attr,
	&dev_attr_slept.attr,
	&dev_attr_members.attr,
	&dev_attr_proclets.attr,
	&dev_attr_peers.attr,
	&dev_attr_peers_up.attr,
	NULL
};
ATTRIBUTE_GROUPS(node);

static struct class node_class = {
	.name		= "proclet",
	.dev_groups	= node_groups,
};

int sysfs_node_add(struct pnode *node)
{
	struct device *dev;

	dev = device_create(&node_class, NULL, MKDEV(0, 0), node, "%s",
			    node->name);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	node->dev = dev;
	return 0;
}

/* Waits until nobody reads an attribute, so the node may go then. */
void sysfs_node_del(struct pnode *node)
{
	device_unregister(node->dev);
	node->dev = NULL;
}

void sysfs_peers_changed(struct pnode *node)
{
	sysfs_notify(&node->dev->kobj, NULL, "peers_up");
}

int sysfs_init(void)
{
	return class_register(&node_class);
}

void sysfs_exit(void)
{
	class_unregister(&node_class);
}
