/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* With which thread a process ends: that need not be the first one, whose number it has. No maps. */
#ifndef PYLAT_LAST_THREAD_H
#define PYLAT_LAST_THREAD_H

/* At sched_process_exit: whether the current thread is the last of its process. The kernel has taken it from the number
 * of those that live by then (kernel/exit.c, do_exit). Offsets of task_struct and signal_struct come from its BTF. */
static __always_inline int pylat_is_last_thread(void)
{
    u64 signals = 0;
    u32 live = 0;
    return !pylat_read_kernel(&signals, sizeof(signals), (void *)(bpf_get_current_task() + PYLAT_TASK_SIGNAL)) &&
           !pylat_read_kernel(&live, sizeof(live), (void *)(signals + PYLAT_SIGNAL_LIVE)) && !live;
}

#endif
