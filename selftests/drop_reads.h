/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Requests for RDMA READs of a certain length are lost on their way to this machine:
 * an XDP program drops RoCE packets. Needs a kernel with bpf().
 */
#ifndef PROCLET_SELFTEST_DROP_READS_H
#define PROCLET_SELFTEST_DROP_READS_H

#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/types.h>

/* What the program shares with us. */
struct drop_reads {
	__u64 from;	/* drop requests for so many bytes, or more */
	__u64 dropped;
};

static inline int drop_bpf(int cmd, union bpf_attr *attr)
{
	int ret = syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return ret < 0 ? -errno : ret;
}

static inline int drop_map(struct drop_reads **shared)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = sizeof(__u32),
		.value_size = sizeof(**shared),
		.max_entries = 1,
		.map_flags = BPF_F_MMAPABLE,
	};
	int map = drop_bpf(BPF_MAP_CREATE, &attr);
	void *p;

	if (map < 0)
		return map;
	p = mmap(NULL, sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	if (p == MAP_FAILED)
		return -errno;
	*shared = p;
	(*shared)->from = ~0ULL;
	return map;
}

#define INSN(op, to, with, at, number)						\
	{ .code = op, .dst_reg = to, .src_reg = with, .off = at, .imm = number }
#define LOAD(size, to, from, at) INSN(BPF_LDX | BPF_MEM | (size), to, from, at, 0)
#define UNLESS(reg, number, skip) INSN(BPF_JMP | BPF_JNE | BPF_K, reg, 0, skip, number)

/* Ethernet, IPv4 without options, UDP, base transport header, RETH, checksum. */
#define AT_ETHERTYPE 12
#define AT_PROTOCOL 23
#define AT_PORT 36
#define AT_OPCODE 42
#define AT_LENGTH 66
#define REQUEST_LEN 74
#define OPCODE_READ_REQUEST 0x0c

static inline int drop_program(int map)
{
	const struct bpf_insn insns[] = {
		LOAD(BPF_W, 2, 1, offsetof(struct xdp_md, data)),
		LOAD(BPF_W, 3, 1, offsetof(struct xdp_md, data_end)),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 4, 2, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 4, 0, 0, REQUEST_LEN),
		INSN(BPF_JMP | BPF_JGT | BPF_X, 4, 3, 19, 0),
		LOAD(BPF_H, 5, 2, AT_ETHERTYPE),
		UNLESS(5, htons(0x0800), 17),
		LOAD(BPF_B, 5, 2, AT_PROTOCOL),
		UNLESS(5, IPPROTO_UDP, 15),
		LOAD(BPF_H, 5, 2, AT_PORT),
		UNLESS(5, htons(4791), 13),
		LOAD(BPF_B, 5, 2, AT_OPCODE),
		UNLESS(5, OPCODE_READ_REQUEST, 11),
		LOAD(BPF_W, 5, 2, AT_LENGTH),
		INSN(BPF_ALU | BPF_END | BPF_TO_BE, 5, 0, 0, 32),
		INSN(BPF_LD | BPF_IMM | BPF_DW, 6, BPF_PSEUDO_MAP_VALUE, 0, map),
		INSN(0, 0, 0, 0, 0),
		LOAD(BPF_DW, 7, 6, offsetof(struct drop_reads, from)),
		INSN(BPF_JMP | BPF_JLT | BPF_X, 5, 7, 5, 0),
		LOAD(BPF_DW, 7, 6, offsetof(struct drop_reads, dropped)),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 7, 0, 0, 1),
		INSN(BPF_STX | BPF_MEM | BPF_DW, 6, 7, offsetof(struct drop_reads, dropped), 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_DROP),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_PASS),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_XDP,
		.insn_cnt = sizeof(insns) / sizeof(insns[0]),
		.insns = (__u64)insns,
		.license = (__u64)"GPL",
	};

	return drop_bpf(BPF_PROG_LOAD, &attr);
}

/* From now to the end of this process, as @shared says, which drops none at first. */
static inline int drop_reads_start(const char *interface, struct drop_reads **shared)
{
	union bpf_attr attr = {
		.link_create.target_ifindex = if_nametoindex(interface),
		.link_create.attach_type = BPF_XDP,
		.link_create.flags = XDP_FLAGS_SKB_MODE,
	};
	int map, program;

	map = drop_map(shared);
	if (map < 0)
		return map;
	program = drop_program(map);
	if (program < 0)
		return program;
	attr.link_create.prog_fd = program;
	program = drop_bpf(BPF_LINK_CREATE, &attr);
	return program < 0 ? program : 0;
}

#endif /* PROCLET_SELFTEST_DROP_READS_H */
