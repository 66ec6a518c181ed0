/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The event of each entry and each exit: made, filled and submitted; what is in it stands in trace.h. */
#ifndef PYLAT_TRACE_EVENTS_H
#define PYLAT_TRACE_EVENTS_H

#include "calls.h"
#include "maps.h"
#include "namespaces.h"

#if PYLAT_TRACE
/* What is told of an exit. */
struct trace_left {
    u64 latency_ns; /* of a suspension: since it was started or resumed */
    u64 active_ns;  /* 0 for a call that was never suspended */
    u32 slot;
    u16 how;   /* LEFT_BY_… */
    u16 timed; /* 0: its beginning is not known */
};

/* An event of this thread, to be filled further and submitted. */
static __always_inline struct pylat_trace_thread *trace_begin(u32 what, pylat_space space, u64 frame, u32 slot)
{
    u64 pid_tgid = bpf_get_current_pid_tgid();
    u32 tid = pid_tgid, zero = 0;
    struct pylat_trace_thread *of = trace_threads.lookup(&tid);
    if (!of) {
        struct pylat_trace_thread *empty = trace_empty.lookup(&zero);
        if (empty)
            trace_threads.update(&tid, empty);
        of = trace_threads.lookup(&tid);
        if (!of) {
            count_table_full();
            return NULL;
        }
    }
    struct pylat_thread *thread = threads.lookup(&tid);
    of->event.kind = PYLAT_EVENT_TRACE;
    of->event.tgid = pid_tgid >> 32;
    of->event.tid = tid;
    of->event.what = what;
    of->event.latency_ns = 0;
    of->event.active_ns = 0;
    of->event.frame = frame;
    of->event.code = 0;
    of->event.space = space;
    of->event.value = 0;
    of->event.slot = slot;
    of->event.depth = thread ? thread->depth : 0;
    of->event.value_kind = PYLAT_VALUE_NONE;
    of->event.timed = 1;
    pylat_own_numbers(&of->event.own_tgid, &of->event.own_tid);
    of->event.exception[0] = 0;
    of->event.snapshot.bytes = 0;
    of->event.snapshot.blocks = 0;
    return of;
}

static __always_inline void trace_submit(struct pylat_trace_thread *of)
{
    u32 zero = 0;
    u64 *lost = trace_lost.lookup(&zero);
    if (!lost)
        return;
    u64 bytes = of->event.snapshot.bytes;
    asm volatile("" : "+r"(bytes)); /* the verifier is to see that it has a bound */
    if (bytes > sizeof(of->event.snapshot.stream))
        bytes = 0;
    of->event.lost = *lost;
    u64 size = sizeof(of->event) - sizeof(of->event.snapshot.stream) + bytes;
    if (events.ringbuf_output(&of->event, size, PYLAT_NO_WAKEUP))
        __sync_fetch_and_add(lost, 1);
    account_told();
}

/* `is_beyond`: it has no place in its thread's table. */
static __always_inline void trace_entry(struct pt_regs *ctx, u64 frame, const struct pylat_function_key *key, u32 slot,
                                        int kind, int is_beyond, u64 now_ns)
{
    u32 what = kind == PYLAT_ENTRY_RESUMES ? PYLAT_TRACE_RESUMED : PYLAT_TRACE_STARTED;
    struct pylat_trace_thread *of = trace_begin(what, key->space, frame, slot);
    if (!of)
        return;
    of->event.time_ns = now_ns;
    of->event.code = key->code;
    if (of->event.depth && !is_beyond)
        of->event.depth--;
#if PYLAT_TRACE_ARGUMENTS
    if (what == PYLAT_TRACE_STARTED) {
        of->event.value_kind = PYLAT_VALUE_ARGUMENTS;
        of->event.value = frame + PYLAT_FRAME_LOCALSPLUS;
        u32 words = pylat_argument_words(key->code);
        pylat_begin_with_values(&of->work, &of->event.snapshot, of->event.value, words);
        if (words)
            trace_more.call(ctx, 0);
    }
#endif
    trace_submit(of);
}

static __always_inline void trace_exit(struct pt_regs *ctx, u64 frame, u64 thread_state, pylat_space space,
                                       const struct trace_left *left, u64 now_ns)
{
    u32 what = left->how == LEFT_BY_YIELD   ? PYLAT_TRACE_YIELDED
               : left->how == LEFT_BY_RAISE ? PYLAT_TRACE_RAISED
                                            : PYLAT_TRACE_RETURNED;
    struct pylat_trace_thread *of = trace_begin(what, space, frame, left->slot);
    if (!of)
        return;
    of->event.time_ns = now_ns;
    of->event.latency_ns = left->latency_ns;
    of->event.active_ns = left->active_ns;
    of->event.timed = left->timed;
    if (what == PYLAT_TRACE_RAISED)
        pylat_exception(thread_state, &of->event);
#if PYLAT_VALUE_IN
    if (what == PYLAT_TRACE_RETURNED)
        of->event.value_kind = pylat_returned(ctx, frame, &of->event.value);
    if (of->event.value_kind == PYLAT_VALUE_OBJECT || of->event.value_kind == PYLAT_VALUE_RAW) {
        pylat_begin_with_object(&of->work, &of->event.snapshot, of->event.value);
        trace_more.call(ctx, 0);
    }
#endif
    trace_submit(of);
}
#endif

#endif
