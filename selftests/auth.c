// SPDX-License-Identifier: GPL-2.0
/*
 * Nodes authenticate each other: whom they talk to and whom not, with which keys, and
 * why they say it is; how keys are replaced while programs run. And what becomes of
 * one who is no node, or has not proven to be one (transport rdma): that is node 2's
 * member, in the name of its node, to node 3; or as node 9, which node 1 connects to.
 */
#include "impostor.h"
#include "three.h"

#include <linux/proclet.h>

#define FAKE_PORT 7999
#define FAKE 9			/* its id */

/* Lines in the log of @node about its peer. */
static int complaints(int node, const char *peer)
{
	char text[32] = "", file[] = "/tmp/complaints";
	ssize_t n;

	run(node, "dmesg | grep -c 'n%d: peer %s is not authenticated' >%s; true", node, peer,
	    file);
	n = proclet_call(on[node], look, file, sizeof(file), text, sizeof(text) - 1);
	return n > 0 ? atoi(text) : -1;
}

/* Both sides say why, once, and do not try all the time. */
static int stay_apart(const char *why2, const char *why3)
{
	int said2 = complaints(2, "n3"), said3 = complaints(3, "n2");
	struct timespec some = { 5, 0 };
	long long msgs, up;

	TRY(meet());
	TRY(wait_status(2, "n3", why2));
	TRY(wait_status(3, "n2", why3));
	msgs = counter(2, "n3", MSGS_OUT);
	up = counter(2, "n3", CONNECTS) + counter(3, "n2", CONNECTS);
	nanosleep(&some, NULL);
	CHECK_GE(10, counter(2, "n3", MSGS_OUT) - msgs);
	CHECK_EQ(counter(2, "n3", CONNECTS) + counter(3, "n2", CONNECTS), up);
	TRY(wait_status(2, "n3", why2));
	TRY(wait_status(3, "n2", why3));
	CHECK_GE(said2 + 1, complaints(2, "n3"));
	CHECK_GE(said3 + 1, complaints(3, "n2"));
	CHECK(proclet_call(on[2], relay, &on[3], sizeof(on[3]), NULL, 0) < 0);
	return KSFT_PASS;
}

static int other_key_is_refused(void)
{
	TRY(setup());
	CHECK_EQ(add_key(2, "proclet:other", "no other node has this key"), 0);
	CHECK_EQ(set_keys(2, "proclet:other"), 0);
	/* It is for new connections. */
	CHECK_EQ(proclet_call(on[2], relay, &on[3], sizeof(on[3]), NULL, 0), 0);
	TRY(part());
	TRY(stay_apart("down: not authenticated: it has none of this node's keys",
		       "down: not authenticated: it has none of this node's keys"));
	CHECK_EQ(set_keys(2, "proclet:other proclet:cluster"), 0);
	return wait_link();
}

static int no_key_is_refused(void)
{
	TRY(setup());
	CHECK_EQ(set_keys(2, "\n"), 0);
	TRY(part());
	TRY(stay_apart("it authenticates its peers, this node has no keys",
		       "it has no keys, this node authenticates its peers"));
	/* None at all are at peace, too. */
	CHECK_EQ(set_keys(3, "\n"), 0);
	TRY(wait_link());
	CHECK_EQ(set_keys(2, "proclet:cluster"), 0);
	TRY(part());
	TRY(stay_apart("it has no keys, this node authenticates its peers",
		       "it authenticates its peers, this node has no keys"));
	CHECK_EQ(set_keys(3, "proclet:cluster"), 0);
	return wait_link();
}

static int revoked_key_is_refused(void)
{
	TRY(setup());
	for (int i = 1; i <= 3; i++) {
		CHECK_EQ(add_key(i, "proclet:brief", "all nodes have this key"), 0);
		CHECK_EQ(set_keys(i, "proclet:brief"), 0);
	}
	TRY(meet_again());
	CHECK_EQ(add_key(3, "proclet:brief", ""), 0);
	/* What is connected goes on. */
	CHECK_EQ(proclet_call(on[2], relay, &on[3], sizeof(on[3]), NULL, 0), 0);
	TRY(part());
	/* All have one keyring when they are of one machine. */
	TRY(stay_apart(rdma ? "none of its keys can be used" :
			      "none of this node's keys can be used",
		       "none of this node's keys can be used"));
	for (int i = 1; i <= 3; i++)
		CHECK_EQ(set_keys(i, "proclet:cluster"), 0);
	return wait_link();
}

static int bad_settings(void)
{
	char text[64] = "";

	TRY(setup());
	CHECK_EQ(add_key(2, "proclet:short", "fifteen bytes.."), 0);
	CHECK_EQ(add_key(2, "proclet:gone", "this will be revoked soon"), 0);
	CHECK_EQ(add_key(2, "proclet:gone", ""), 0);
	CHECK_EQ(set_keys(2, "proclet:nowhere"), -ENOKEY);
	CHECK_EQ(set_keys(2, "proclet:cluster proclet:nowhere"), -ENOKEY);
	CHECK_EQ(set_keys(2, "nonsense"), -ENOKEY);
	CHECK_EQ(set_keys(2, "proclet:short"), -EINVAL);
	CHECK_EQ(set_keys(2, "proclet:gone"), -EKEYREVOKED);
	CHECK_EQ(add_key(2, "x:y", "a key with a short description"), 0);
	CHECK_EQ(set_keys(2, "x:y x:y x:y x:y x:y"), -E2BIG);
	CHECK_EQ(set_keys(2, " \t"), 0);
	CHECK_EQ(set_keys(2, " x:y\tx:y x:y\nx:y "), 0);
	CHECK_EQ(set_keys(2, "proclet:cluster"), 0);
	CHECK_EQ(set_keys(2, "x:y x:y x:y x:y x:y"), -E2BIG);
	CHECK_EQ(proclet_call(on[2], look, NODES "/n2/keys", sizeof(NODES "/n2/keys"), text,
			      sizeof(text) - 1), 16);
	CHECK_EQ(strcmp(text, "proclet:cluster\n"), 0);
	return meet_again();
}

static bool enough;

static void *keep_calling(void *arg)
{
	proclet_t p = *(proclet_t *)arg;
	ssize_t ret = 0;

	while (!ret && !__atomic_load_n(&enough, __ATOMIC_RELAXED))
		ret = proclet_call(p, increment, NULL, 0, NULL, 0);
	return (void *)ret;
}

/* One node after the other, with new connections all the time. */
static int rotate(void)
{
	static const char *const steps[] = { "proclet:new proclet:cluster", "proclet:new" };

	for (unsigned int s = 0; s < ARRAY_SIZE(steps); s++) {
		for (int i = 1; i <= 3; i++) {
			CHECK_EQ(set_keys(i, steps[s]), 0);
			TRY(meet_again());
		}
	}
	return KSFT_PASS;
}

static int keys_are_replaced_under_calls(void)
{
	long long before[2];
	pthread_t callers[2];
	void *ret[2];
	int result;

	TRY(setup());
	for (int i = 1; i <= 3; i++)
		CHECK_EQ(add_key(i, "proclet:new", "the key that comes after it"), 0);
	enough = false;
	for (int i = 0; i < 2; i++) {
		before[i] = counter(1, i ? "n3" : "n2", CONNECTS);
		CHECK_EQ(pthread_create(&callers[i], NULL, keep_calling, &on[2 + i]), 0);
	}
	result = rotate();
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		pthread_join(callers[i], &ret[i]);
	TRY(result);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ((long)ret[i], 0);
		CHECK_EQ(counter(1, i ? "n3" : "n2", CONNECTS), before[i]);
	}
	return KSFT_PASS;
}

/* What an impostor does; it knows the key, unless it is said otherwise. */
enum deed {
	BEHAVE,			/* all as it should be */
	WRONG_PROOF,		/* it knows the key's name, but not the key */
	NO_CHALLENGE,		/* something else comes first */
	NO_PROOF,		/* instead of the proof */
	TWO_CHALLENGES,
	LONG_CHALLENGE,
	OTHER_SENDER,
	SILENT,
	REPLAY,			/* what was right on another connection */
	LATE_PROOF,		/* another one when it is up */
	OLD_KEY,		/* READ what is not exposed any more */
	OTHER_CONNECTION,	/* READ what was exposed to another connection */
};

struct visit {
	enum deed deed;
	proclet_t victim;
	int result;		/* 0, -ECONNRESET: it was thrown out, or -errno */
	unsigned int reads;	/* that were right */
	double seconds;
};

static struct wire_proof last_proof;
static struct wire_challenge last_challenge;

/* Its own word, and that of the node. */
static int visit_proof(struct impostor *i, const struct visit *v)
{
	struct wire_proof proof, expected;
	int ret;

	impostor_proof(i, v->deed == WRONG_PROOF ? "another one" : SECRET, true, &proof);
	if (v->deed == REPLAY && last_proof.hdr.len)
		proof = last_proof;
	if (v->deed == NO_PROOF)
		proof.hdr.type = htole16(WIRE_JOIN);
	last_proof = proof;
	last_challenge = i->ours;
	ret = v->deed == TWO_CHALLENGES ? impostor_say(i, &i->ours, sizeof(i->ours)) :
					  impostor_say(i, &proof, sizeof(proof));
	if (!ret)
		ret = impostor_hear(i, &proof, sizeof(proof), 10000);
	if (ret != sizeof(proof))
		return ret < 0 ? ret : -EBADMSG;
	impostor_proof(i, SECRET, false, &expected);
	return memcmp(&proof, &expected, sizeof(proof)) ? -EBADE : 0;
}

static int visit_challenge(struct impostor *i, const struct visit *v)
{
	struct { struct wire_challenge c; char more[8]; } m = { .more = "" };
	__u32 len = sizeof(m.c);
	int ret;

	impostor_challenge(i, SECRET);
	if (v->deed == REPLAY && last_proof.hdr.len)
		i->ours = last_challenge;
	if (v->deed == OTHER_SENDER)
		i->ours.from = htole32(1);
	m.c = i->ours;
	if (v->deed == NO_CHALLENGE)
		m.c.hdr.type = htole16(WIRE_LEAVE);
	if (v->deed == LONG_CHALLENGE) {
		len += 8;
		m.c.hdr.len = htole32(len);
	}
	ret = impostor_say(i, &m, len);
	if (!ret)
		ret = impostor_hear(i, &i->its, sizeof(i->its), 10000);
	return ret == sizeof(i->its) ? 0 : ret < 0 ? ret : -EBADMSG;
}

static union {
	struct wire_hdr hdr;
	struct wire_join join;
	struct wire_reply reply;
	char bytes[WIRE_MSG_MAX];
} heard;

/* Become a member of what its member introduces itself as: we are just such a one. */
static int visit_join(struct impostor *i, __u64 *lproc)
{
	int ret = impostor_await(i, WIRE_JOIN, &heard, sizeof(heard));

	if (ret < 0)
		return ret;
	heard.hdr.clock = 0;
	*lproc = heard.hdr.lproc;
	return impostor_say(i, &heard.join, sizeof(heard.join));
}

/* Have 16 KiB of the victim exposed, until @pulled is said. */
static int visit_heap(struct impostor *i, __u64 lproc, proclet_t victim,
		      struct wire_desc *desc, struct wire_pulled *pulled)
{
	struct wire_op op = { .op = htole32(PROCLET_OP_READ) };
	int ret;

	op.hdr.type = htole16(WIRE_OP);
	op.hdr.len = htole32(sizeof(op));
	op.hdr.lproc = lproc;
	op.target = htole64(victim);
	op.token.seq = htole64(1);
	op.token.node = htole32(i->self);
	op.out_cap = htole64(IMPOSTOR_READ);
	op.off = htole64(offsetof(struct thing, data));
	ret = impostor_say(i, &op, sizeof(op));
	if (!ret)
		ret = impostor_await(i, WIRE_REPLY, &heard, sizeof(heard));
	if (ret < 0)
		return ret;
	if (le64toh(heard.reply.result) != IMPOSTOR_READ ||
	    heard.reply.payload.ndescs != htole32(1))
		return -EBADMSG;
	memcpy(desc, &heard.reply + 1, sizeof(*desc));
	memset(pulled, 0, sizeof(*pulled));
	pulled->hdr.type = htole16(WIRE_PULLED);
	pulled->hdr.len = htole32(sizeof(*pulled));
	pulled->hdr.lproc = lproc;
	pulled->pull = heard.reply.payload.pull;
	return 0;
}

static int visit_read(struct impostor *i, struct visit *v, const struct wire_desc *desc)
{
	int ret;

	memset(impostor_got(i), 0, IMPOSTOR_READ);
	ret = impostor_read(i, le64toh(desc->addr), le32toh(desc->rkey), IMPOSTOR_READ);
	for (int n = 0; n < IMPOSTOR_READ && !ret; n++)
		if (impostor_got(i)[n] != 0x77)
			ret = -EIO;
	v->reads += !ret;
	return ret;
}

/*
 * As long as it is exposed, and no longer. That it is not any more is certain when its
 * place (all but the last 8 bits of the key) has been given to something else. Not to READ
 * sooner is for siw, which does not notice that a key becomes invalid meanwhile.
 */
static int visit_old_key(struct impostor *i, struct visit *v, struct wire_desc *desc)
{
	double end = seconds() + 10;
	struct wire_pulled pulled;
	struct wire_desc next;
	__u64 lproc;

	if (visit_join(i, &lproc) || visit_heap(i, lproc, v->victim, desc, &pulled) ||
	    visit_read(i, v, desc) || visit_read(i, v, desc))
		return -EPROTO;
	if (v->deed == OTHER_CONNECTION)
		return 0;
	do {
		if (impostor_say(i, &pulled, sizeof(pulled)) ||
		    visit_heap(i, lproc, v->victim, &next, &pulled))
			return -EPROTO;
	} while (le32toh(next.rkey) >> 8 != le32toh(desc->rkey) >> 8 && seconds() < end);
	return visit_read(i, v, desc);
}

static int visit_once(struct impostor *i, const struct visit *v)
{
	int ret = impostor_of_node2(i, PORT);

	if (!ret && v->deed != SILENT)
		ret = visit_challenge(i, v) ?: visit_proof(i, v);
	return ret;
}

/* Node 2 goes to node 3, or who pretends to be it. */
static ssize_t visit(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	double began = seconds();
	struct wire_desc desc;
	struct visit *v = out;
	struct impostor i;

	(void)root;
	if (in_len != sizeof(*v) || out_cap != sizeof(*v))
		return -EINVAL;
	memcpy(v, in, sizeof(*v));
	memset(&last_proof, 0, sizeof(last_proof));
	v->result = visit_once(&i, v);
	if (!v->result && v->deed == REPLAY) {
		impostor_end(&i);
		v->result = visit_once(&i, v);
	}
	if (!v->result && (v->deed == OLD_KEY || v->deed == OTHER_CONNECTION))
		v->result = visit_old_key(&i, v, &desc);
	if (!v->result && v->deed == OTHER_CONNECTION) {
		impostor_end(&i);
		v->result = visit_once(&i, v) ? -EPROTO : visit_read(&i, v, &desc);
	}
	if (!v->result && v->deed == LATE_PROOF)
		v->result = impostor_say(&i, &last_proof, sizeof(last_proof));
	if (!v->result && (v->deed == SILENT || v->deed == LATE_PROOF))
		v->result = impostor_is_lost(&i, BOUND * 1000) ? -ECONNRESET : -ETIMEDOUT;
	impostor_end(&i);
	v->seconds = seconds() - began;
	return sizeof(*v);
}
PROCLET_METHOD(visit);

static int go(struct visit *v)
{
	CHECK_EQ(proclet_call(on[2], visit, v, sizeof(*v), v, sizeof(*v)), sizeof(*v));
	return KSFT_PASS;
}

static int impostors_are_thrown_out(void)
{
	static const struct {
		enum deed deed;
		const char *why;
	} cases[] = {
		{ WRONG_PROOF, "its proof is wrong" },
		{ NO_CHALLENGE, "a message that is not of the handshake" },
		{ REPLAY, "its proof is wrong" },
		{ NO_PROOF, "a message that is not of the handshake" },
		{ OTHER_SENDER, "it says that it is another node" },
		{ TWO_CHALLENGES, "a message that is not of the handshake" },
		{ WRONG_PROOF, "its proof is wrong" },
		{ LONG_CHALLENGE, "a message that is not of the handshake" },
		{ SILENT, "it did not go on with the handshake" },
	};
	struct visit v = { .deed = BEHAVE };
	long long before;

	TRY(take_node2());
	TRY(go(&v));
	CHECK_EQ(v.result, 0);
	before = counter(3, "n2", CONNECTS);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		v = (struct visit) { .deed = cases[i].deed };
		TRY(go(&v));
		diag("%d: %d after %.1f s", cases[i].deed, v.result, v.seconds);
		CHECK_EQ(v.result, -ECONNRESET);
		TRY(wait_status(3, "n2", cases[i].why));
		/* The first connection of a replay was a good one. */
		before += cases[i].deed == REPLAY;
		CHECK_EQ(counter(3, "n2", CONNECTS), before);
	}
	CHECK(v.seconds > 8 && v.seconds < 20);
	v = (struct visit) { .deed = LATE_PROOF };
	TRY(go(&v));
	CHECK_EQ(v.result, -ECONNRESET);
	return give_node2_back();
}

static int old_keys_read_nothing(void)
{
	static const enum deed deeds[] = { OLD_KEY, OTHER_CONNECTION };
	unsigned char data[64] = "";

	TRY(take_node2());
	for (unsigned int i = 0; i < ARRAY_SIZE(deeds); i++) {
		struct visit v = { .deed = deeds[i], .victim = on[3] };

		memset(data, 0x77, sizeof(data));
		for (int at = 0; at < 64 << 10; at += sizeof(data))
			CHECK_EQ(proclet_write(on[3], offsetof(struct thing, data) + at, data,
					       sizeof(data)), sizeof(data));
		TRY(go(&v));
		/* Not all adapters say why. */
		CHECK(v.result == -EREMOTEIO || v.result == -ECONNRESET);
		CHECK_GE(v.reads, 2);
	}
	return give_node2_back();
}

/* As node 9; node 1 connects to it. In: whether it knows the key, else it reflects. */
static ssize_t lie_in_wait(void *root, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(FAKE_PORT) };
	bool honest = *(const bool *)in;
	struct wire_proof proof;
	struct impostor i;
	int ret;

	(void)root;
	(void)in_len;
	(void)out;
	(void)out_cap;
	addr.sin_addr.s_addr = htonl(0x0a4d0002);
	impostor_init(&i, FAKE, 1);
	ret = impostor_listen(&i, &addr);
	if (!ret)
		ret = impostor_hear(&i, &i.its, sizeof(i.its), 10000);
	if (ret != sizeof(i.its))
		goto end;
	impostor_challenge(&i, SECRET);
	if (!honest) {
		/* All that can be like the other one's. */
		memcpy(i.ours.nonce, i.its.nonce, sizeof(i.ours.nonce));
		i.ours.nkeys = i.its.nkeys;
		memcpy(i.ours.keys, i.its.keys, sizeof(i.ours.keys));
	}
	ret = impostor_say(&i, &i.ours, sizeof(i.ours));
	if (!ret)
		ret = impostor_hear(&i, &proof, sizeof(proof), 10000);
	if (ret != sizeof(proof))
		goto end;
	if (honest)
		impostor_proof(&i, SECRET, false, &proof);
	ret = impostor_say(&i, &proof, sizeof(proof));
	/* Who is taken for a peer hears of members; then we end. */
	if (!ret)
		ret = impostor_hear(&i, i.memory, 0, 10000);
	ret = ret == -EMSGSIZE ? 0 : ret;
end:
	impostor_end(&i);
	return ret > 0 ? -EBADMSG : ret;
}
PROCLET_METHOD(lie_in_wait);

static int reflection_is_refused(void)
{
	bool honest;
	struct caller *c;

	TRY(take_node2());
	TRY(give_node2_back());
	for (int i = 0; i < 2; i++) {
		honest = !i;
		CHECK_EQ(set_keys(1, honest ? "proclet:tests" : "proclet:cluster"), 0);
		c = caller_start(on[2], lie_in_wait, &honest, sizeof(honest), NULL, 0);
		CHECK_EQ(run(1, "procletctl peer add n1 fake id=%d addr=10.77.0.2 port=%d",
			     FAKE, FAKE_PORT), 0);
		CHECK_EQ(caller_wait(c), honest ? 0 : -ECONNRESET);
		if (!honest)
			TRY(wait_status(1, "fake", "its proof is wrong"));
		CHECK_EQ(run(1, "procletctl peer del n1 fake"), 0);
	}
	return KSFT_PASS;
}

static const struct tap_test tests[] = {
	LONG_TEST(other_key_is_refused),
	LONG_TEST(no_key_is_refused),
	LONG_TEST(revoked_key_is_refused),
	LONG_TEST(bad_settings),
	LONG_TEST(keys_are_replaced_under_calls),
	LONG_TEST(impostors_are_thrown_out),
	LONG_TEST(reflection_is_refused),
	LONG_TEST(old_keys_read_nothing),
};

static int root(int argc, char **argv)
{
	return tap_run(tests, ARRAY_SIZE(tests), argc, argv);
}

int main(int argc, char **argv)
{
	lproc_set_flags(LPROC_SURVIVE);
	return lproc_main("auth", root, argc, argv);
}
