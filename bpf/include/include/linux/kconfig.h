/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Stands in for the kernel's own header, so that bcc compiles with no kernel headers installed.
 * bcc includes this file first, before anything else. */
#ifndef PYLAT_KCONFIG_H
#define PYLAT_KCONFIG_H
#define CONFIG_BPF_SYSCALL 1
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#endif
