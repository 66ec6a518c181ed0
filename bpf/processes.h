/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Threads that end, and processes that fork and exec: where the calls and the address space of one end.
 *
 * From Linux 7.0 on a program of a raw tracepoint can lose its processor to another task in the midst of it, and for
 * that one the kernel leaves it out (docs/kernels.md). So each hangs there twice, and the second, NAME_again, does what
 * the first one was not there for. */
#ifndef PYLAT_PROCESSES_H
#define PYLAT_PROCESSES_H

#include "count.h"
#include "maps.h"
#if PYLAT_MANY_PROCESSES
#include "followed.h"
#include "last_thread.h"
#endif

/* A thread ends, or its program is replaced: its open calls end with it, without a latency. */
static __always_inline void forget_thread(u32 tid)
{
    struct pylat_thread *thread = threads.lookup(&tid);
    if (!thread)
        return;
    u64 left = thread->depth;
    asm volatile("" : "+r"(left)); /* as in pylat_find */
    while (left > 0 && left <= PYLAT_DEPTH) {
        left--;
        asm volatile("" : "+r"(left));
        u32 slot = thread->open[left].slot;
        struct pylat_statistics *of = statistics.lookup(&slot);
        if (!of)
            break; /* no open call is without: to go on here as well would double the verifier's work each time */
        __sync_fetch_and_add(&of->cut, 1);
    }
    threads.delete(&tid);
}

#if PYLAT_MANY_PROCESSES
static __always_inline void announce(u32 kind, u32 tgid, pylat_space space, pylat_space parent)
{
    struct pylat_process_event *event = events.ringbuf_reserve(sizeof(*event));
    if (!event) {
        u32 zero = 0;
        struct pylat_counters *count = counters.lookup(&zero);
        if (count)
            PYLAT_COUNT(count->event_lost);
        return;
    }
    event->kind = kind;
    event->tgid = tgid;
    event->space = space;
    event->parent = parent;
    events.ringbuf_submit(event, 0);
}

static __always_inline pylat_space new_space(u32 tgid)
{
    return bpf_ktime_get_ns() << 22 | (tgid & 0x3fffff); /* pids fit 22 bits (PID_MAX_LIMIT) */
}
#endif

#endif
