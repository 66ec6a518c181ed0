/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* bcc's helpers.h compares LINUX_VERSION_CODE; uprobe programs need no exact version. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 8, 0)
