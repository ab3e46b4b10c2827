// SPDX-License-Identifier: GPL-2.0
/*
 * Who is at the other end of a connection. Before anything else is heard of a peer
 *
 *	node with the lower id			the other one
 *
 *	CHALLENGE ---------------------------->
 *	<----------------------------- CHALLENGE
 *	PROOF -------------------------------->	if right:
 *	if right: up <-------------------- PROOF, up
 *
 * Without keys on both sides there are no proofs. When two challenges do not fit, the
 * node with the lower id ends the connection, so that both know why. See
 * Documentation/protocol.rst and security.rst.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <crypto/algapi.h>
#include <crypto/hash.h>
#include <keys/user-type.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/key.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "lproc.h"

#define AUTH_TIMEOUT	(10 * HZ)
#define KEY_BYTES_MIN	16

/**
 * struct auth_keys - the keys of a node; not changed
 * @ref: the node, each handshake
 * @nr: number of @keys
 * @keys: the preferred one first; references
 */
struct auth_keys {
	struct kref ref;
	u32 nr;
	struct key *keys[WIRE_KEYS_MAX];
};

static void keys_free(struct kref *ref)
{
	struct auth_keys *keys = container_of(ref, struct auth_keys, ref);
	u32 i;

	for (i = 0; i < keys->nr; i++)
		key_put(keys->keys[i]);
	kfree(keys);
}

static void keys_put(struct auth_keys *keys)
{
	if (keys)
		kref_put(&keys->ref, keys_free);
}

static struct auth_keys *keys_get(struct pnode *node)
{
	struct auth_keys *keys;

	spin_lock(&node->keys_lock);
	keys = node->keys;
	if (keys)
		kref_get(&keys->ref);
	spin_unlock(&node->keys_lock);
	return keys;
}

/* Also tells whether @key can be used at all: it may have been revoked, or expired. */
static int auth_hmac(struct key *key, const void *data, u32 len, u8 mac[WIRE_MAC])
{
	struct crypto_shash *tfm = crypto_alloc_shash("hmac(sha256)", 0, 0);
	const struct user_key_payload *payload;
	int err;

	if (IS_ERR(tfm))
		return PTR_ERR(tfm);
	down_read(&key->sem);
	err = key_validate(key);
	if (!err) {
		payload = user_key_payload_locked(key);
		if (!payload)
			err = -EKEYREVOKED;
		else if (payload->datalen < KEY_BYTES_MIN)
			err = -EINVAL;
		else
			err = crypto_shash_setkey(tfm, payload->data, payload->datalen);
	}
	up_read(&key->sem);
	if (!err)
		err = crypto_shash_tfm_digest(tfm, data, len, mac);
	crypto_free_shash(tfm);
	return err;
}

static int key_name(struct key *key, u64 *name)
{
	u8 mac[WIRE_MAC];
	int err;

	err = auth_hmac(key, WIRE_KEY_NAME, strlen(WIRE_KEY_NAME), mac);
	if (!err)
		memcpy(name, mac, sizeof(*name));
	return err;
}

/* Configuration. */

/* The key of that description in the keyrings of who asks for it. */
static int keys_add(struct pnode *node, struct auth_keys *keys, const char *desc)
{
	struct key *key;
	u64 name;
	int err;

	if (keys->nr == WIRE_KEYS_MAX) {
		pr_err("node %s: keys: at most %d\n", node->name, WIRE_KEYS_MAX);
		return -E2BIG;
	}
	key = request_key(&key_type_logon, desc, NULL);
	if (IS_ERR(key)) {
		pr_err("node %s: no logon key %s: %pe; add it with 'procletctl key add %s' or 'keyctl add logon %s ... @u' (a description begins with 'proclet:' or another prefix)\n",
		       node->name, desc, key, desc, desc);
		return PTR_ERR(key);
	}
	keys->keys[keys->nr++] = key;
	err = key_name(key, &name);
	if (err == -EINVAL)
		pr_err("node %s: key %s has less than %d bytes\n", node->name, desc,
		       KEY_BYTES_MIN);
	else if (err)
		pr_err("node %s: key %s cannot be used: %pe\n", node->name, desc, ERR_PTR(err));
	return err;
}

static int keys_find(struct pnode *node, char *text, struct auth_keys **out)
{
	struct auth_keys *keys;
	char *word;
	int err = 0;

	keys = kzalloc(sizeof(*keys), GFP_KERNEL);
	if (!keys)
		return -ENOMEM;
	kref_init(&keys->ref);
	while (!err && (word = strsep(&text, " \t\n")))
		if (*word)
			err = keys_add(node, keys, word);
	if (err || !keys->nr) {
		keys_put(keys);
		keys = NULL;
	}
	*out = keys;
	return err;
}

/* For connections that begin now; the others go on. */
int auth_set_keys(struct pnode *node, const char *text)
{
	char *copy = kstrdup(text, GFP_KERNEL);
	struct auth_keys *keys, *old;
	int err;

	if (!copy)
		return -ENOMEM;
	err = keys_find(node, copy, &keys);
	kfree(copy);
	if (err)
		return err;
	spin_lock(&node->keys_lock);
	old = node->keys;
	node->keys = keys;
	spin_unlock(&node->keys_lock);
	if (old && !keys)
		pr_warn("node %s: has no keys any more: peers are not authenticated\n",
			node->name);
	keys_put(old);
	return 0;
}

ssize_t auth_show_keys(struct pnode *node, char *page)
{
	struct auth_keys *keys = keys_get(node);
	ssize_t len = 0;
	u32 i;

	for (i = 0; keys && i < keys->nr; i++)
		len += sysfs_emit_at(page, len, "%s%s", i ? " " : "",
				     keys->keys[i]->description);
	len += sysfs_emit_at(page, len, "\n");
	keys_put(keys);
	return len;
}

u32 auth_count_keys(struct pnode *node)
{
	struct auth_keys *keys = keys_get(node);
	u32 nr = keys ? keys->nr : 0;

	keys_put(keys);
	return nr;
}

void auth_free_keys(struct pnode *node)
{
	keys_put(node->keys);
	node->keys = NULL;
}

/* The handshake. */

static bool auth_is_lower(const struct peer *peer)
{
	return peer->node->id < peer->id;
}

static void auth_refuse(struct peer *peer, u32 why)
{
	struct auth *a = &peer->auth;

	WRITE_ONCE(a->state, AUTH_REFUSED);
	WRITE_ONCE(peer->refusal, why);
	if (why != a->logged)
		pr_warn("node %s: peer %s is not authenticated: %s\n", peer->node->name,
			peer->name, auth_text(why));
	a->logged = why;
}

static void auth_timer(struct work_struct *work)
{
	struct peer *peer = container_of(to_delayed_work(work), struct peer, auth.timer);

	if (READ_ONCE(peer->auth.state) != AUTH_REFUSED)
		auth_refuse(peer, AUTH_SILENT);
	peer->node->ops->peer_kick(peer);
}

void auth_init(struct peer *peer)
{
	INIT_DELAYED_WORK(&peer->auth.timer, auth_timer);
}

static void auth_send(struct peer *peer, u32 type, const void *body, u32 len)
{
	struct xport_msg *msg;
	struct wire_hdr *hdr;

	hdr = msg_new(&msg, type, 0, sizeof(*hdr) + len);
	if (!hdr)
		return;
	memcpy(hdr + 1, body, len);
	/* If that fails the connection has ended. */
	peer->node->ops->send(peer, msg);
}

static void auth_challenge(struct peer *peer)
{
	struct wire_challenge *c = &peer->auth.ours;
	struct auth_keys *keys = peer->auth.keys;
	u32 n = 0, i;

	memset(c, 0, sizeof(*c));
	c->hdr.type = cpu_to_le16(WIRE_CHALLENGE);
	c->hdr.len = cpu_to_le32(sizeof(*c));
	c->version = cpu_to_le32(WIRE_VERSION);
	c->flags = cpu_to_le32(keys ? WIRE_AUTHENTICATES : 0);
	c->from = cpu_to_le32(peer->node->id);
	c->to = cpu_to_le32(peer->id);
	c->incarnation = cpu_to_le64(peer->node->incarnation);
	get_random_bytes(c->nonce, sizeof(c->nonce));
	for (i = 0; keys && i < keys->nr; i++)
		if (!key_name(keys->keys[i], &c->keys[n]))
			peer->auth.usable[n++] = keys->keys[i];
	c->nkeys = cpu_to_le32(n);
	auth_send(peer, WIRE_CHALLENGE, &c->hdr + 1, sizeof(*c) - sizeof(c->hdr));
}

/* The proof of the node with the lower id, or of the other one. */
static int auth_prove(const struct peer *peer, bool lower, u8 mac[WIRE_MAC])
{
	const struct auth *a = &peer->auth;
	struct wire_proven p = {};

	strscpy(p.role, lower ? WIRE_ROLE_LOWER : WIRE_ROLE_HIGHER, sizeof(p.role));
	p.lower = auth_is_lower(peer) ? a->ours : a->its;
	p.higher = auth_is_lower(peer) ? a->its : a->ours;
	return auth_hmac(a->key, &p, sizeof(p), mac);
}

static int auth_send_proof(struct peer *peer)
{
	u8 mac[WIRE_MAC];

	if (auth_prove(peer, auth_is_lower(peer), mac)) {
		auth_refuse(peer, AUTH_NO_HMAC);
		return -EPROTO;
	}
	auth_send(peer, WIRE_PROOF, mac, sizeof(mac));
	return 0;
}

static int auth_done(struct peer *peer)
{
	struct auth *a = &peer->auth;

	cancel_delayed_work_sync(&a->timer);
	if (READ_ONCE(a->state) == AUTH_REFUSED)
		return -EPROTO;
	WRITE_ONCE(a->state, AUTH_DONE);
	a->logged = AUTH_OK;
	peer_set_up(peer, a->incarnation);
	lproc_peer_up(peer);
	return 0;
}

static int auth_recv_challenge(struct peer *peer, const struct wire_challenge *m)
{
	struct auth *a = &peer->auth;
	bool lower = auth_is_lower(peer);
	u32 key;
	int why;

	a->its = *m;
	if (le32_to_cpu(m->from) != peer->id || le32_to_cpu(m->to) != peer->node->id ||
	    le64_to_cpu(m->incarnation) != a->incarnation) {
		auth_refuse(peer, AUTH_OTHER_NODE);
		return -EPROTO;
	}
	if (!lower)
		auth_challenge(peer);
	why = auth_judge(&a->ours, m, lower, &key);
	if (why) {
		auth_refuse(peer, why);
		return lower ? -EPROTO : 0;
	}
	if (key == AUTH_NO_KEY)
		return auth_done(peer);
	a->key = a->usable[key];
	WRITE_ONCE(a->state, AUTH_PROVING);
	return lower ? auth_send_proof(peer) : 0;
}

static int auth_recv_proof(struct peer *peer, const struct wire_proof *m)
{
	bool lower = auth_is_lower(peer);
	u8 mac[WIRE_MAC];
	u32 why = AUTH_OK;
	int err;

	if (auth_prove(peer, !lower, mac))
		why = AUTH_NO_HMAC;
	else if (crypto_memneq(mac, m->mac, sizeof(mac)))
		why = AUTH_WRONG_PROOF;
	if (why) {
		auth_refuse(peer, why);
		return -EPROTO;
	}
	err = lower ? 0 : auth_send_proof(peer);
	return err ?: auth_done(peer);
}

/* All that comes from a peer that is not up. */
int auth_recv(struct peer *peer, const void *data, u32 len)
{
	enum auth_state state = READ_ONCE(peer->auth.state);
	const struct wire_hdr *hdr = data;
	u32 want = state == AUTH_PROVING ? WIRE_PROOF : WIRE_CHALLENGE;

	if (state != AUTH_CHALLENGED && state != AUTH_PROVING)
		return -EPROTO;
	if (len < sizeof(*hdr) || le16_to_cpu(hdr->type) != want || wire_check(data, len)) {
		auth_refuse(peer, AUTH_MESSAGE);
		return -EPROTO;
	}
	return want == WIRE_PROOF ? auth_recv_proof(peer, data) :
				    auth_recv_challenge(peer, data);
}

void xport_peer_up(struct peer *peer, u64 incarnation)
{
	struct auth *a = &peer->auth;

	a->incarnation = incarnation;
	a->keys = keys_get(peer->node);
	a->key = NULL;
	WRITE_ONCE(a->state, AUTH_CHALLENGED);
	schedule_delayed_work(&a->timer, AUTH_TIMEOUT);
	if (auth_is_lower(peer))
		auth_challenge(peer);
}

void xport_peer_down(struct peer *peer)
{
	struct auth *a = &peer->auth;

	cancel_delayed_work_sync(&a->timer);
	if (a->state == AUTH_DONE) {
		peer_set_down(peer);
		lproc_peer_down(peer);
	} else if (a->state != AUTH_REFUSED) {
		WRITE_ONCE(peer->refusal, AUTH_LOST);
	}
	WRITE_ONCE(a->state, AUTH_IDLE);
	keys_put(a->keys);
	a->keys = NULL;
}
