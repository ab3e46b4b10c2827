/* SPDX-License-Identifier: GPL-2.0 */
/* What wire.h and wire.c take from the kernel, for their build in user space. */
#ifndef _PROCLET_WIRE_USER_H
#define _PROCLET_WIRE_USER_H

#include <assert.h>
#include <endian.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;

#define le16_to_cpu(x)	le16toh(x)
#define le32_to_cpu(x)	le32toh(x)
#define le64_to_cpu(x)	le64toh(x)
#define check_add_overflow(a, b, d)	__builtin_add_overflow(a, b, d)

#endif /* _PROCLET_WIRE_USER_H */
