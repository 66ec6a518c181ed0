/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Which process replaces its program by exec. What comes after that is another program's, at the same probes where it
 * runs the same interpreter. No maps. */
#ifndef PYLAT_REPLACED_H
#define PYLAT_REPLACED_H

/* bpf_get_ns_current_pid_tgid under a name of our own: see cpython.h. */
static long (*pylat_ids_in)(u64 device, u64 inode, void *ids, u32 size) = (void *)BPF_FUNC_get_ns_current_pid_tgid;

/* struct bpf_pidns_info (linux/bpf.h) */
struct pylat_ids {
    u32 tid;
    u32 tgid;
};

/* Whether the current process has this number in this PID namespace, its own. */
static __always_inline int pylat_is_process(u64 namespace_device, u64 namespace_inode, u32 tgid)
{
    struct pylat_ids ids = {};
    return !pylat_ids_in(namespace_device, namespace_inode, &ids, sizeof(ids)) && ids.tgid == tgid;
}

#endif
