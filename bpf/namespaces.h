/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The numbers that the current thread and its process have in the target's own PID namespace, by which its logs call
 * them. Everything else goes by the kernel's own numbers, those of the first namespace. */
#ifndef PYLAT_NAMESPACES_H
#define PYLAT_NAMESPACES_H

#include "pylat.h"

static __always_inline void pylat_own_numbers(u32 *tgid, u32 *tid)
{
    u64 pid_tgid = bpf_get_current_pid_tgid();
    *tgid = pid_tgid >> 32;
    *tid = pid_tgid;
#if PYLAT_PIDNS_INO
    struct bpf_pidns_info own = {};
    /* fails in a process of another namespace: a child that made one */
    if (!bpf_get_ns_current_pid_tgid(PYLAT_PIDNS_DEV, PYLAT_PIDNS_INO, &own, sizeof(own))) {
        *tgid = own.tgid;
        *tid = own.pid;
    }
#endif
}

#endif
