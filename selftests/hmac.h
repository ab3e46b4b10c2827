/* SPDX-License-Identifier: GPL-2.0 */
/* HMAC-SHA256 (FIPS 180-4, RFC 2104), as not all kernels give theirs to programs. */
#ifndef PROCLET_SELFTEST_HMAC_H
#define PROCLET_SELFTEST_HMAC_H

#include <endian.h>
#include <linux/types.h>
#include <stdlib.h>
#include <string.h>

#define SHA256_BLOCK 64
#define SHA256_BYTES 32

static inline __u32 sha256_ror(__u32 x, int n)
{
	return x >> n | x << (32 - n);
}

/* The first 32 bits behind the point of the cube roots of the first 64 primes. */
static const __u32 sha256_k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static inline void sha256_block(__u32 h[8], const __u8 *data)
{
	__u32 w[64], v[8], a, b;

	memcpy(w, data, SHA256_BLOCK);
	for (int i = 0; i < 16; i++)
		w[i] = be32toh(w[i]);
	for (int i = 16; i < 64; i++) {
		a = w[i - 15];
		b = w[i - 2];
		w[i] = w[i - 16] + w[i - 7] +
		       (sha256_ror(a, 7) ^ sha256_ror(a, 18) ^ a >> 3) +
		       (sha256_ror(b, 17) ^ sha256_ror(b, 19) ^ b >> 10);
	}
	memcpy(v, h, sizeof(v));
	for (int i = 0; i < 64; i++) {
		a = v[7] + (sha256_ror(v[4], 6) ^ sha256_ror(v[4], 11) ^ sha256_ror(v[4], 25)) +
		    ((v[4] & v[5]) ^ (~v[4] & v[6])) + sha256_k[i] + w[i];
		b = (sha256_ror(v[0], 2) ^ sha256_ror(v[0], 13) ^ sha256_ror(v[0], 22)) +
		    ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
		memmove(v + 1, v, 7 * sizeof(v[0]));
		v[4] += a;
		v[0] = a + b;
	}
	for (int i = 0; i < 8; i++)
		h[i] += v[i];
}

/* Of @first, which is a block, and @data. */
static inline void sha256(const __u8 *first, const void *data, size_t len,
			  __u8 digest[SHA256_BYTES])
{
	__u32 h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
		       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
	__u64 bits = htobe64((SHA256_BLOCK + len) * 8);
	__u8 block[SHA256_BLOCK];
	const __u8 *at = data;

	sha256_block(h, first);
	for (; len >= SHA256_BLOCK; len -= SHA256_BLOCK, at += SHA256_BLOCK)
		sha256_block(h, at);
	memset(block, 0, sizeof(block));
	memcpy(block, at, len);
	block[len] = 0x80;
	if (len >= SHA256_BLOCK - sizeof(bits)) {
		sha256_block(h, block);
		memset(block, 0, sizeof(block));
	}
	memcpy(block + sizeof(block) - sizeof(bits), &bits, sizeof(bits));
	sha256_block(h, block);
	for (int i = 0; i < 8; i++)
		h[i] = htobe32(h[i]);
	memcpy(digest, h, SHA256_BYTES);
}

/* @key: of at most a block. */
static inline void hmac_sha256(const char *key, const void *data, size_t len,
			       __u8 mac[SHA256_BYTES])
{
	__u8 inner[SHA256_BLOCK] = "", outer[SHA256_BLOCK];

	memcpy(inner, key, strnlen(key, SHA256_BLOCK));
	for (int i = 0; i < SHA256_BLOCK; i++) {
		outer[i] = inner[i] ^ 0x5c;
		inner[i] ^= 0x36;
	}
	sha256(inner, data, len, mac);
	sha256(outer, mac, SHA256_BYTES, mac);
}

#endif /* PROCLET_SELFTEST_HMAC_H */
