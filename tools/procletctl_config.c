// SPDX-License-Identifier: GPL-2.0
/* procletctl node and peer: configuration. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "procletctl.h"

/* Arguments of the form key=value. */

/**
 * struct setting - an attribute to write
 * @name: of the attribute and of the argument
 * @required: must be given
 * @value: as given, NULL: not given
 */
struct setting {
	const char *name;
	bool required;
	const char *value;
};

static const char *setting_value(const struct setting *settings,
				 const char *name)
{
	for (; settings->name; settings++)
		if (!strcmp(settings->name, name))
			return settings->value;
	return NULL;
}

static void parse_settings(const char *what, const char *name,
			   struct setting *settings, char **argv)
{
	struct setting *s;

	for (; *argv; argv++) {
		size_t len = strcspn(*argv, "=");

		for (s = settings; s->name; s++)
			if (strlen(s->name) == len &&
			    !strncmp(s->name, *argv, len))
				break;
		if (!s->name || (*argv)[len] != '=')
			die(STATUS_USAGE,
			    "%s %s: do not know '%s'; see 'procletctl --help'",
			    what, name, *argv);
		if (s->value)
			die(STATUS_USAGE, "%s %s: %s= is given twice", what,
			    name, s->name);
		s->value = *argv + len + 1;
	}
	for (s = settings; s->name; s++)
		if (s->required && !s->value)
			die(STATUS_USAGE, "%s %s: %s= is missing", what, name,
			    s->name);
}

/*
 * The kernel looks for keys in the keyrings of who writes their descriptions. Those of
 * the user need not be in the session's, as in a service of systemd.
 */
static int write_setting(const char *dir, const char *name, const char *value)
{
	if (!strcmp(name, "keys"))
		syscall(SYS_keyctl, KEYCTL_LINK, KEY_SPEC_USER_KEYRING,
			KEY_SPEC_PROCESS_KEYRING);
	return write_value(dir, name, value);
}

/* Makes a directory and writes its attributes: all of it, or nothing. */
static enum status create(const char *what, const char *name, const char *dir,
			  const struct setting *settings)
{
	int err;

	if (mkdir(dir, 0755) < 0) {
		if (errno == EEXIST)
			complain("%s %s exists; see 'procletctl show', or remove it with 'procletctl %.4s del'",
				 what, name, what);
		else
			complain("%s %s: cannot be created: %m%s", what, name,
				 advice(errno));
		return STATUS_FAILED;
	}
	for (; settings->name; settings++) {
		if (!settings->value)
			continue;
		err = write_setting(dir, settings->name, settings->value);
		if (!err)
			continue;
		complain("%s %s: %s=%s: %s%s", what, name, settings->name,
			 settings->value, strerror(err), advice(err));
		rmdir(dir);
		return STATUS_FAILED;
	}
	return STATUS_OK;
}

/* node */

enum status node_add(char **argv)
{
	const char *name = argv[0], *transport;
	struct setting settings[] = {	/* in this order they are written */
		{ "transport" },
		{ "port" },
		{ "addr" },
		{ "budget" },
		{ "member_budget" },
		{ "member_proclets" },
		{ "spin_us" },
		{ "keys" },
		{ "id", .required = true },
		{ }
	};

	check_name("node", name);
	parse_settings("node", name, settings, argv + 1);
	transport = setting_value(settings, "transport");
	if ((!transport || strcmp(transport, "loop")) &&
	    !setting_value(settings, "addr"))
		die(STATUS_USAGE,
		    "node %s: addr= is missing (the address of this machine's RDMA device; not needed with transport=loop)",
		    name);
	need_config();
	return create("node", name, format("%s/%s", CONFIG, name), settings);
}

enum status node_enable(char **argv)
{
	char *dir = need_node(argv[0]);
	int err = write_value(dir, "enable", "1");

	if (!err)
		return STATUS_OK;
	if (err == EADDRNOTAVAIL || err == ENODEV)
		complain("node %s: cannot be enabled: no RDMA device has the address %s; see 'rdma link' and 'ip addr'",
			 argv[0], show_value(dir, "addr"));
	else if (err == EADDRINUSE)
		complain("node %s: cannot be enabled: port %s of %s is in use",
			 argv[0], show_value(dir, "port"),
			 show_value(dir, "addr"));
	else if (err == EEXIST)
		complain("node %s: cannot be enabled: another node of this machine has id %s; see 'procletctl show'",
			 argv[0], show_value(dir, "id"));
	else
		complain("node %s: cannot be enabled: %s%s", argv[0],
			 strerror(err), advice(err));
	return STATUS_FAILED;
}

static enum status disable(const char *name, const char *dir)
{
	int err = write_value(dir, "enable", "0");

	if (!err)
		return STATUS_OK;
	if (err == EBUSY)
		complain("node %s: cannot be disabled: programs run on it; end them first ('cat %s/lprocs' lists them)",
			 name, TABLES);
	else
		complain("node %s: cannot be disabled: %s%s", name,
			 strerror(err), advice(err));
	return STATUS_FAILED;
}

enum status node_disable(char **argv)
{
	return disable(argv[0], need_node(argv[0]));
}

static enum status peer_del_one(const char *node, const char *peer)
{
	char *dir = format("%s/%s/peers/%s", CONFIG, node, peer);
	int err = rmdir(dir) < 0 ? errno : 0;

	free(dir);
	if (!err)
		return STATUS_OK;
	if (err == ENOENT)
		complain("node %s: peer %s: no such peer; see 'procletctl show'",
			 node, peer);
	else
		complain("node %s: peer %s: cannot be removed: %s%s", node,
			 peer, strerror(err), advice(err));
	return STATUS_FAILED;
}

enum status node_del(char **argv)
{
	const char *name = argv[0];
	char *dir = need_node(name);
	char **peers, **peer;

	if (disable(name, dir))
		return STATUS_FAILED;
	peers = list_dirs(format("%s/peers", dir));
	for (peer = peers; *peer; peer++)
		if (peer_del_one(name, *peer))
			return STATUS_FAILED;
	free_names(peers);
	if (rmdir(dir) < 0) {
		complain("node %s: cannot be removed: %m%s", name,
			 advice(errno));
		return STATUS_FAILED;
	}
	return STATUS_OK;
}

enum status node_keys(char **argv)
{
	char *dir = need_node(argv[0]), *keys = format("%s", ""), *more;
	int err;

	for (char **key = argv + 1; *key; key++) {
		more = format("%s%s ", keys, *key);
		free(keys);
		keys = more;
	}
	/* Writing nothing would do nothing. */
	err = write_setting(dir, "keys", *keys ? keys : "\n");
	free(keys);
	if (!err)
		return STATUS_OK;
	complain("node %s: its keys cannot be set: %s%s", argv[0], strerror(err), advice(err));
	return STATUS_FAILED;
}

/* key */

#define KEY_BYTES_MAX 32767	/* of the kernel */

enum status key_add(char **argv)
{
	static char bytes[KEY_BYTES_MAX + 1];
	size_t len = fread(bytes, 1, sizeof(bytes), stdin);
	long err;

	if (ferror(stdin))
		die(STATUS_FAILED, "key %s: standard input: %m", argv[0]);
	if (len < 16 || len > KEY_BYTES_MAX)
		die(STATUS_FAILED,
		    "key %s: 16 to %d bytes are needed on standard input, not %zu%s",
		    argv[0], KEY_BYTES_MAX, len, len ? "" : "; see procletctl(8)");
	err = syscall(SYS_add_key, "logon", argv[0], bytes, len, KEY_SPEC_USER_KEYRING);
	explicit_bzero(bytes, sizeof(bytes));
	if (err >= 0)
		return STATUS_OK;
	complain("key %s: cannot be added: %m%s", argv[0],
		 errno == EINVAL ? "; a description begins with 'proclet:' or another prefix" : "");
	return STATUS_FAILED;
}

/* peer */

enum status peer_add(char **argv)
{
	const char *node = argv[0], *name = argv[1];
	char *dir = need_node(node);
	/* The peer starts when it has id and addr, so the port comes first. */
	struct setting settings[] = {
		{ "port" },
		{ "addr" },
		{ "id", .required = true },
		{ }
	};

	check_name("peer", name);
	parse_settings("peer", name, settings, argv + 2);
	if (!setting_value(settings, "addr") &&
	    strcmp(show_value(dir, "transport"), "loop"))
		die(STATUS_USAGE,
		    "peer %s: addr= is missing (where the peer listens)", name);
	return create("peer", name, format("%s/peers/%s", dir, name), settings);
}

enum status peer_del(char **argv)
{
	free(need_node(argv[0]));
	check_name("peer", argv[1]);
	return peer_del_one(argv[0], argv[1]);
}
