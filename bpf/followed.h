/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Whether a process is followed. The programs go by the kernel's own numbers. Where pylat runs in a PID namespace of
 * its own, a container, it knows none of them: a process is there by the number that it has for pylat until it is met,
 * and is told by that one, too. */
#ifndef PYLAT_FOLLOWED_H
#define PYLAT_FOLLOWED_H

#include "maps.h"

#if PYLAT_INSIDE
#define PYLAT_MOST_LEVELS 32 /* of PID namespaces, one in the other (MAX_PID_NS_LEVEL) */

/* struct upid (linux/pid.h) */
struct pylat_number {
    u32 number;
    u32 padding;
    u64 namespace;
};

/* Of the process of a task, in pylat's namespace, whose inode PYLAT_INSIDE is; 0 for one that is not in there. Offsets
 * of the kernel's structs come from its BTF. */
static __always_inline u32 number_for_pylat(u64 task)
{
    u64 signals = 0, pid = 0;
    u32 level = 0;
    if (pylat_read_kernel(&signals, sizeof(signals), (void *)(task + PYLAT_TASK_SIGNAL)) ||
        pylat_read_kernel(&pid, sizeof(pid), (void *)(signals + PYLAT_SIGNAL_TGID)) ||
        pylat_read_kernel(&level, sizeof(level), (void *)(pid + PYLAT_PID_LEVEL)))
        return 0;
    for (u32 each = 0; each < PYLAT_MOST_LEVELS; each++) {
        struct pylat_number it = {};
        u32 inode = 0;
        if (each > level || pylat_read_kernel(&it, sizeof(it), (void *)(pid + PYLAT_PID_NUMBERS + each * sizeof(it))) ||
            pylat_read_kernel(&inode, sizeof(inode), (void *)(it.namespace + PYLAT_NAMESPACE_INODE)))
            return 0;
        if (inode == PYLAT_INSIDE)
            return it.number;
    }
    return 0;
}
#else
#define number_for_pylat(task) (0)
#endif

#if PYLAT_MANY_PROCESSES
/* The current process, if it is followed. */
static __always_inline struct pylat_process *followed(u32 tgid)
{
    struct pylat_process *process = processes.lookup(&tgid);
    if (!PYLAT_INSIDE || process)
        return process;
    u32 number = number_for_pylat(bpf_get_current_task()) | PYLAT_OF_PYLAT;
    struct pylat_process *met = processes.lookup(&number);
    if (!met)
        return NULL;
    struct pylat_process same = *met;
    if (processes.update(&tgid, &same))
        return met; /* no room: it stays where it is */
    processes.delete(&number);
    return processes.lookup(&tgid);
}

/* The current process ends. */
static __always_inline void unfollow(u32 tgid)
{
    processes.delete(&tgid);
    if (PYLAT_INSIDE) {
        u32 number = number_for_pylat(bpf_get_current_task()) | PYLAT_OF_PYLAT;
        processes.delete(&number);
    }
}

/* By which number pylat knows the process of a task. */
static __always_inline u32 known_number(u32 tgid, u64 task)
{
    return PYLAT_INSIDE ? number_for_pylat(task) : tgid;
}
#endif

#endif
