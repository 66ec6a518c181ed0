/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Threads that lose their CPU, are woken, and have one again: their clocks (split.h) run on. Of every thread of the
 * machine, so those that have no measured call leave after one look-up each. Offsets of task_struct come from the
 * kernel's BTF. Whoever includes this says how a thread is found: clock_of(tid), NULL where it is not known. */
#ifndef PYLAT_SWITCHES_H
#define PYLAT_SWITCHES_H

#include "cpython.h"
#include "split.h"

#if PYLAT_OFFCPU
/* sched_switch(preempt, prev, next): the current thread is still prev. */
static __always_inline void switched(struct bpf_raw_tracepoint_args *ctx)
{
    u64 now_ns = bpf_ktime_get_ns();
    u32 tid = bpf_get_current_pid_tgid();
    struct pylat_clock *clock = tid ? clock_of(tid) : NULL; /* 0: the idle thread */
    if (clock) {
        u64 state = 0;
        pylat_read_kernel(&state, PYLAT_TASK_STATE_BYTES, (void *)(ctx->args[1] + PYLAT_TASK_STATE));
        pylat_switched_out(clock, now_ns, (ctx->args[0] & 1) || !state);
    }
    tid = 0;
    pylat_read_kernel(&tid, sizeof(tid), (void *)(ctx->args[2] + PYLAT_TASK_PID));
    clock = tid ? clock_of(tid) : NULL;
    if (clock)
        pylat_switched_in(clock, now_ns);
}

/* sched_wakeup(task): it is ready to run. */
static __always_inline void woken(struct bpf_raw_tracepoint_args *ctx)
{
    u64 now_ns = bpf_ktime_get_ns();
    u32 tid = 0;
    pylat_read_kernel(&tid, sizeof(tid), (void *)(ctx->args[0] + PYLAT_TASK_PID));
    struct pylat_clock *clock = clock_of(tid);
    if (clock)
        pylat_woken(clock, now_ns);
}
#endif

#endif
