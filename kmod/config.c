// SPDX-License-Identifier: GPL-2.0
/*
 * configfs: /sys/kernel/config/proclet/<node>/peers/<peer>/.
 *
 * mkdir makes a node, which does nothing until 1 is written to its "enable". An
 * enabled node's directory cannot be removed: enabling makes the item one that
 * something depends on, so rmdir fails with -EBUSY; and disabling fails
 * with -EBUSY while the node has members. Thus, as long as there are members
 * there is a directory, and as long as there is a directory, configfs holds
 * the module: it cannot be unloaded under anybody.
 *
 * A peer can be added and removed at any time; it is started as soon as the
 * node is enabled and the peer's id and, unless the transport is loop, addr are
 * set.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/configfs.h>
#include <linux/ctype.h>
#include <linux/err.h>
#include <linux/inet.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/kernel.h>
#include <linux/kstrtox.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>

#include "../include/uapi/linux/proclet.h"
#include "node.h"

/* Longest address: IPv6 with scope. */
#define ADDR_MAX	(INET6_ADDRSTRLEN + 1 + IFNAMSIZ)

/**
 * struct config_node - directory of a node
 * @group: of its attributes
 * @peers: of its peers' directories
 * @node: what it configures; a reference
 * @port: for @node's addr, also before that is set; under @node's lock
 * @enabled: what the last write to "enable" brought about
 * @lock: protects @enabled
 */
struct config_node {
	struct config_group group;
	struct config_group peers;
	struct pnode *node;
	u16 port;
	bool enabled;
	struct mutex lock;	/* of @enabled */
};

/**
 * struct config_peer - directory of a peer
 * @item: of its attributes
 * @peer: what it configures; a reference
 * @port: for @peer's addr, also before that is set; under the node's lock
 */
struct config_peer {
	struct config_item item;
	struct peer *peer;
	u16 port;
};

static struct configfs_subsystem config_subsys;

static struct config_node *to_config_node(struct config_item *item)
{
	return container_of(to_config_group(item), struct config_node, group);
}

static struct config_peer *to_config_peer(struct config_item *item)
{
	return container_of(item, struct config_peer, item);
}

/* Names appear in tables whose columns are separated by spaces. */
static int check_name(const char *what, const char *name)
{
	const char *c = name;

	if (strlen(name) >= NODE_NAME_MAX)
		return -ENAMETOOLONG;
	while (isalnum(*c) || (c > name && strchr("-_.", *c) && *c))
		c++;
	if (!*c)
		return 0;
	pr_err("%s \"%s\": a name has letters, digits, and after the first also . _ -\n",
	       what, name);
	return -EINVAL;
}

static int parse_id(const char *page, u32 *id)
{
	int err = kstrtou32(page, 0, id);

	if (!err && (*id < 1 || *id > PROCLET_MAX_NODES))
		err = -ERANGE;
	return err;
}

static int parse_port(const char *page, u16 *port)
{
	int err = kstrtou16(page, 0, port);

	if (!err && !*port)
		err = -ERANGE;
	return err;
}

static int parse_addr(const char *page, u16 port, struct sockaddr_storage *addr)
{
	char buf[ADDR_MAX + 2], port_str[8];

	if (strscpy(buf, page, sizeof(buf)) < 0)
		return -EINVAL;
	snprintf(port_str, sizeof(port_str), "%u", port);
	memset(addr, 0, sizeof(*addr));
	return inet_pton_with_scope(&init_net, AF_UNSPEC, strim(buf), port_str,
				    addr);
}

static bool addr_is_any(const struct sockaddr_storage *addr)
{
	if (addr->ss_family == AF_INET)
		return ((const struct sockaddr_in *)addr)->sin_addr.s_addr ==
		       htonl(INADDR_ANY);
	return ipv6_addr_any(&((const struct sockaddr_in6 *)addr)->sin6_addr);
}

static void addr_set_port(struct sockaddr_storage *addr, u16 port)
{
	if (addr->ss_family == AF_INET)
		((struct sockaddr_in *)addr)->sin_port = htons(port);
	else if (addr->ss_family == AF_INET6)
		((struct sockaddr_in6 *)addr)->sin6_port = htons(port);
}

static ssize_t addr_emit(const struct sockaddr_storage *addr, char *page)
{
	if (!addr->ss_family)
		return sysfs_emit(page, "\n");
	return sysfs_emit(page, "%pISc\n", addr);
}

/*
 * An attribute like CONFIGFS_ATTR(); the permissions of its file are not enough to
 * write it.
 */
#define CONFIG_ATTR(_pfx, _name)						\
static ssize_t _pfx##_name##_write(struct config_item *item, const char *page,	\
				   size_t len)					\
{										\
	return capable(CAP_SYS_ADMIN) ? _pfx##_name##_store(item, page, len) : -EPERM; \
}										\
static struct configfs_attribute _pfx##attr_##_name = {			\
	.ca_name	= #_name,						\
	.ca_mode	= 0644,							\
	.ca_owner	= THIS_MODULE,						\
	.show		= _pfx##_name##_show,					\
	.store		= _pfx##_name##_write,					\
}

/* A node's attributes. */

/* Takes the node's lock if @attr may change. */
static int node_config_begin(struct pnode *node, const char *attr)
{
	mutex_lock(&node->lock);
	if (!node->enabled)
		return 0;
	mutex_unlock(&node->lock);
	pr_err("node %s: %s cannot change while the node is enabled\n",
	       node->name, attr);
	return -EBUSY;
}

static void node_config_end(struct pnode *node)
{
	mutex_unlock(&node->lock);
}

static ssize_t config_node_id_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%u\n",
			  READ_ONCE(to_config_node(item)->node->id));
}

static ssize_t config_node_id_store(struct config_item *item, const char *page,
				    size_t len)
{
	struct pnode *node = to_config_node(item)->node;
	u32 id;
	int err;

	if (parse_id(page, &id)) {
		pr_err("node %s: id must be a number from 1 to %u\n",
		       node->name, PROCLET_MAX_NODES);
		return -EINVAL;
	}
	err = node_config_begin(node, "id");
	if (err)
		return err;
	WRITE_ONCE(node->id, id);
	node_config_end(node);
	return len;
}

static const struct xport_ops * const transports[] = {
	&xport_rdma_ops,
	&xport_loop_ops,
};

static ssize_t config_node_transport_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%s\n",
			  READ_ONCE(to_config_node(item)->node->ops)->name);
}

static ssize_t config_node_transport_store(struct config_item *item,
					   const char *page, size_t len)
{
	struct pnode *node = to_config_node(item)->node;
	int i, err;

	for (i = 0; i < ARRAY_SIZE(transports); i++)
		if (sysfs_streq(page, transports[i]->name))
			break;
	if (i == ARRAY_SIZE(transports)) {
		pr_err("node %s: transport must be rdma or loop\n", node->name);
		return -EINVAL;
	}
	err = node_config_begin(node, "transport");
	if (err)
		return err;
	WRITE_ONCE(node->ops, transports[i]);
	node_config_end(node);
	return len;
}

static ssize_t config_node_addr_show(struct config_item *item, char *page)
{
	struct pnode *node = to_config_node(item)->node;
	ssize_t len;

	mutex_lock(&node->lock);
	len = addr_emit(&node->addr, page);
	mutex_unlock(&node->lock);
	return len;
}

static ssize_t config_node_addr_store(struct config_item *item,
				      const char *page, size_t len)
{
	struct config_node *cn = to_config_node(item);
	struct pnode *node = cn->node;
	struct sockaddr_storage addr;
	int err;

	if (parse_addr(page, READ_ONCE(cn->port), &addr)) {
		pr_err("node %s: addr must be an IPv4 or IPv6 address of this machine\n",
		       node->name);
		return -EINVAL;
	}
	err = node_config_begin(node, "addr");
	if (err)
		return err;
	node->addr = addr;
	addr_set_port(&node->addr, cn->port);
	node_config_end(node);
	return len;
}

static ssize_t config_node_port_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%u\n", READ_ONCE(to_config_node(item)->port));
}

static ssize_t config_node_port_store(struct config_item *item,
				      const char *page, size_t len)
{
	struct config_node *cn = to_config_node(item);
	struct pnode *node = cn->node;
	u16 port;
	int err;

	if (parse_port(page, &port)) {
		pr_err("node %s: port must be a number from 1 to 65535\n",
		       node->name);
		return -EINVAL;
	}
	err = node_config_begin(node, "port");
	if (err)
		return err;
	WRITE_ONCE(cn->port, port);
	addr_set_port(&node->addr, port);
	node_config_end(node);
	return len;
}

static ssize_t config_store_limit(struct pnode *node, const char *name, atomic64_t *limit,
				  u64 least, const char *page, size_t len)
{
	unsigned long long value;
	char *end;

	value = memparse(page, &end);
	if (end == page || *skip_spaces(end) || value < least || value > S64_MAX) {
		pr_err("node %s: %s must be a number, K, M, G or T may follow\n",
		       node->name, name);
		return -EINVAL;
	}
	atomic64_set(limit, value);
	return len;
}

/* What may change at any time, and is at least @least. */
#define CONFIG_NODE_LIMIT(name, least)						\
static ssize_t config_node_##name##_show(struct config_item *item, char *page)	\
{										\
	return sysfs_emit(page, "%lld\n",					\
			  atomic64_read(&to_config_node(item)->node->name));	\
}										\
										\
static ssize_t config_node_##name##_store(struct config_item *item,		\
					  const char *page, size_t len)		\
{										\
	struct pnode *node = to_config_node(item)->node;			\
										\
	return config_store_limit(node, #name, &node->name, least, page, len);	\
}

CONFIG_NODE_LIMIT(budget, 1)
CONFIG_NODE_LIMIT(member_budget, 0)
CONFIG_NODE_LIMIT(member_proclets, 0)

static ssize_t config_node_spin_us_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%u\n",
			  READ_ONCE(to_config_node(item)->node->spin_us));
}

static ssize_t config_node_spin_us_store(struct config_item *item,
					 const char *page, size_t len)
{
	struct pnode *node = to_config_node(item)->node;
	u32 us;

	if (kstrtou32(page, 0, &us) || us > NODE_SPIN_MAX) {
		pr_err("node %s: spin_us must be a number from 0 to %u\n",
		       node->name, NODE_SPIN_MAX);
		return -EINVAL;
	}
	WRITE_ONCE(node->spin_us, us);
	return len;
}

static ssize_t config_node_keys_show(struct config_item *item, char *page)
{
	return auth_show_keys(to_config_node(item)->node, page);
}

static ssize_t config_node_keys_store(struct config_item *item, const char *page,
				      size_t len)
{
	return auth_set_keys(to_config_node(item)->node, page) ?: len;
}

static ssize_t config_node_enable_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%d\n",
			  READ_ONCE(to_config_node(item)->enabled));
}

static int config_node_set_enabled(struct config_node *cn, bool on)
{
	struct config_item *item = &cn->group.cg_item;
	int err;

	lockdep_assert_held(&cn->lock);
	if (cn->enabled == on)
		return 0;

	if (on) {
		/* Fails when an rmdir is under way. */
		err = configfs_depend_item_unlocked(&config_subsys, item);
		if (err)
			return err;
		err = node_enable(cn->node);
		if (err) {
			configfs_undepend_item(item);
			return err;
		}
	} else {
		err = node_disable(cn->node);
		if (err)
			return err;
		configfs_undepend_item(item);
	}
	WRITE_ONCE(cn->enabled, on);
	return 0;
}

static ssize_t config_node_enable_store(struct config_item *item,
					const char *page, size_t len)
{
	struct config_node *cn = to_config_node(item);
	bool on;
	int err;

	if (kstrtobool(page, &on)) {
		pr_err("node %s: enable must be 0 or 1\n", cn->node->name);
		return -EINVAL;
	}
	mutex_lock(&cn->lock);
	err = config_node_set_enabled(cn, on);
	mutex_unlock(&cn->lock);
	return err ?: len;
}

CONFIG_ATTR(config_node_, id);
CONFIG_ATTR(config_node_, transport);
CONFIG_ATTR(config_node_, addr);
CONFIG_ATTR(config_node_, port);
CONFIG_ATTR(config_node_, budget);
CONFIG_ATTR(config_node_, member_budget);
CONFIG_ATTR(config_node_, member_proclets);
CONFIG_ATTR(config_node_, spin_us);
CONFIG_ATTR(config_node_, keys);
CONFIG_ATTR(config_node_, enable);

static struct configfs_attribute *config_node_attrs[] = {
	&config_node_attr_id,
	&config_node_attr_transport,
	&config_node_attr_addr,
	&config_node_attr_port,
	&config_node_attr_budget,
	&config_node_attr_member_budget,
	&config_node_attr_member_proclets,
	&config_node_attr_spin_us,
	&config_node_attr_keys,
	&config_node_attr_enable,
	NULL
};

static void config_node_release(struct config_item *item)
{
	struct config_node *cn = to_config_node(item);

	node_put(cn->node);
	mutex_destroy(&cn->lock);
	kfree(cn);
}

static struct configfs_item_operations config_node_item_ops = {
	.release	= config_node_release,
};

static const struct config_item_type config_node_type = {
	.ct_item_ops	= &config_node_item_ops,
	.ct_attrs	= config_node_attrs,
	.ct_owner	= THIS_MODULE,
};

/* A peer's attributes. */

static ssize_t config_peer_id_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%u\n",
			  READ_ONCE(to_config_peer(item)->peer->id));
}

static int peer_config_done(struct peer *peer, const char *attr, int err)
{
	if (err == -EBUSY)
		pr_err("node %s: peer %s: %s cannot change after the peer was started\n",
		       peer->node->name, peer->name, attr);
	return err;
}

static ssize_t config_peer_id_store(struct config_item *item, const char *page,
				    size_t len)
{
	struct peer *peer = to_config_peer(item)->peer;
	u32 id;
	int err;

	if (parse_id(page, &id)) {
		pr_err("node %s: peer %s: id must be a number from 1 to %u\n",
		       peer->node->name, peer->name, PROCLET_MAX_NODES);
		return -EINVAL;
	}
	err = peer_config_done(peer, "id", peer_set_id(peer, id));
	return err ?: len;
}

static ssize_t config_peer_addr_show(struct config_item *item, char *page)
{
	struct peer *peer = to_config_peer(item)->peer;
	ssize_t len;

	mutex_lock(&peer->node->lock);
	len = addr_emit(&peer->addr, page);
	mutex_unlock(&peer->node->lock);
	return len;
}

static ssize_t config_peer_addr_store(struct config_item *item,
				      const char *page, size_t len)
{
	struct config_peer *cp = to_config_peer(item);
	struct peer *peer = cp->peer;
	struct sockaddr_storage addr;
	int err;

	if (parse_addr(page, READ_ONCE(cp->port), &addr) ||
	    addr_is_any(&addr)) {
		pr_err("node %s: peer %s: addr must be the IPv4 or IPv6 address where it listens\n",
		       peer->node->name, peer->name);
		return -EINVAL;
	}
	err = peer_config_done(peer, "addr", peer_set_addr(peer, &addr));
	return err ?: len;
}

static ssize_t config_peer_port_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%u\n", READ_ONCE(to_config_peer(item)->port));
}

static ssize_t config_peer_port_store(struct config_item *item,
				      const char *page, size_t len)
{
	struct config_peer *cp = to_config_peer(item);
	struct peer *peer = cp->peer;
	int err = 0;
	u16 port;

	if (parse_port(page, &port)) {
		pr_err("node %s: peer %s: port must be a number from 1 to 65535\n",
		       peer->node->name, peer->name);
		return -EINVAL;
	}
	mutex_lock(&peer->node->lock);
	if (peer->started) {
		err = -EBUSY;
	} else {
		WRITE_ONCE(cp->port, port);
		addr_set_port(&peer->addr, port);
	}
	mutex_unlock(&peer->node->lock);
	err = peer_config_done(peer, "port", err);
	return err ?: len;
}

static ssize_t config_peer_status_show(struct config_item *item, char *page)
{
	struct peer *peer = to_config_peer(item)->peer;
	const char *why = peer_why_down(peer);
	u32 refusal = READ_ONCE(peer->refusal);
	int err = READ_ONCE(peer->error);

	if (!why)
		return sysfs_emit(page, "up\n");
	if (refusal)
		return sysfs_emit(page, "down: not authenticated: %s\n", auth_text(refusal));
	if (!err)
		return sysfs_emit(page, "down: %s\n", why);
	return sysfs_emit(page, "down: %s (last attempt: %pe)\n", why,
			  ERR_PTR(err));
}

CONFIG_ATTR(config_peer_, id);
CONFIG_ATTR(config_peer_, addr);
CONFIG_ATTR(config_peer_, port);
CONFIGFS_ATTR_RO(config_peer_, status);

static struct configfs_attribute *config_peer_attrs[] = {
	&config_peer_attr_id,
	&config_peer_attr_addr,
	&config_peer_attr_port,
	&config_peer_attr_status,
	NULL
};

static void config_peer_release(struct config_item *item)
{
	kfree(to_config_peer(item));
}

static struct configfs_item_operations config_peer_item_ops = {
	.release	= config_peer_release,
};

static const struct config_item_type config_peer_type = {
	.ct_item_ops	= &config_peer_item_ops,
	.ct_attrs	= config_peer_attrs,
	.ct_owner	= THIS_MODULE,
};

/* mkdir and rmdir. */

static struct config_item *config_peer_make(struct config_group *group,
					    const char *name)
{
	struct config_node *cn = container_of(group, struct config_node, peers);
	struct config_peer *cp;
	int err;

	if (!capable(CAP_SYS_ADMIN))
		return ERR_PTR(-EPERM);
	err = check_name("peer", name);
	if (err)
		return ERR_PTR(err);
	cp = kzalloc(sizeof(*cp), GFP_KERNEL);
	if (!cp)
		return ERR_PTR(-ENOMEM);
	cp->port = PROCLET_DEFAULT_PORT;
	cp->peer = peer_create(cn->node, name);
	if (!cp->peer) {
		kfree(cp);
		return ERR_PTR(-ENOMEM);
	}
	config_item_init_type_name(&cp->item, name, &config_peer_type);
	return &cp->item;
}

static void config_peer_drop(struct config_group *group,
			     struct config_item *item)
{
	peer_remove(to_config_peer(item)->peer);
	config_item_put(item);
}

static struct configfs_group_operations config_peers_ops = {
	.make_item	= config_peer_make,
	.drop_item	= config_peer_drop,
};

static const struct config_item_type config_peers_type = {
	.ct_group_ops	= &config_peers_ops,
	.ct_owner	= THIS_MODULE,
};

static struct config_group *config_node_make(struct config_group *group,
					     const char *name)
{
	struct config_node *cn;
	int err;

	if (!capable(CAP_SYS_ADMIN))
		return ERR_PTR(-EPERM);
	err = check_name("node", name);
	if (err)
		return ERR_PTR(err);
	cn = kzalloc(sizeof(*cn), GFP_KERNEL);
	if (!cn)
		return ERR_PTR(-ENOMEM);
	cn->port = PROCLET_DEFAULT_PORT;
	mutex_init(&cn->lock);
	cn->node = node_create(name);
	if (!cn->node) {
		err = -ENOMEM;
		goto out_free;
	}
	err = sysfs_node_add(cn->node);
	if (err)
		goto out_put;
	debugfs_node_add(cn->node);

	config_group_init_type_name(&cn->group, name, &config_node_type);
	config_group_init_type_name(&cn->peers, "peers", &config_peers_type);
	configfs_add_default_group(&cn->peers, &cn->group);
	return &cn->group;

out_put:
	node_put(cn->node);
out_free:
	mutex_destroy(&cn->lock);
	kfree(cn);
	return ERR_PTR(err);
}

/* The node is disabled and has no peers, else configfs would not come here. */
static void config_node_drop(struct config_group *group,
			     struct config_item *item)
{
	struct config_node *cn = to_config_node(item);

	debugfs_node_del(cn->node);
	sysfs_node_del(cn->node);
	configfs_remove_default_groups(&cn->group);
	config_item_put(item);
}

static struct configfs_group_operations config_root_ops = {
	.make_group	= config_node_make,
	.drop_item	= config_node_drop,
};

static const struct config_item_type config_root_type = {
	.ct_group_ops	= &config_root_ops,
	.ct_owner	= THIS_MODULE,
};

static struct configfs_subsystem config_subsys = {
	.su_group = {
		.cg_item = {
			.ci_namebuf = "proclet",
			.ci_type = &config_root_type,
		},
	},
};

int config_init(void)
{
	config_group_init(&config_subsys.su_group);
	mutex_init(&config_subsys.su_mutex);
	return configfs_register_subsystem(&config_subsys);
}

void config_exit(void)
{
	configfs_unregister_subsystem(&config_subsys);
}
