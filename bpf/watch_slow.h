/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Slow calls by watchpoints: which are told, and what is taken along when a call begins and when it ends. What is told
 * stands in slow.h.
 *
 * The end of a plain call is seen when its frame has been cleared: its arguments are taken along when it begins. The
 * callers are those of its end, which wait at the same places. */
#ifndef PYLAT_WATCH_SLOW_H
#define PYLAT_WATCH_SLOW_H

#include "count.h"
#include "watch_frames.h"

#if PYLAT_SLOWER
#include "namespaces.h"

/* Runs of the programs that take some memory along, PYLAT_ROUND_BLOCKS each: of a call that begins, slow or not, and of
 * one that is told. */
#define PYLAT_ENTRY_ROUNDS 12
#define PYLAT_END_ROUNDS 12
#define PYLAT_EXCEPTION_CLASS (1UL << 30) /* Py_TPFLAGS_BASE_EXC_SUBCLASS */
#define PYLAT_SLOW_CODE_HEAD_BYTES (sizeof(struct pylat_slow_code) - PYLAT_LINES_BYTES)
/* To 3.10 one exception can be seen to end two calls at once: that of a frame, and of the one that it had called. Added
 * to a thread's id, which has 22 bits, that is the second one's place. */
#define PYLAT_TWO_AT_ONCE (PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_STATE)
#define PYLAT_SECOND_CALL 0x40000000

/* A call has ended and is in the histogram. `intact`: its frame still holds its arguments. */
static __always_inline void judge(struct hit *hit, struct pylat_statistics *of, const struct pylat_open *call,
                                  u64 latency_ns, int raised, int intact)
{
    u64 threshold_ns = of->slower_ns ? of->slower_ns : hit->config->slower_ns, pid_tgid = bpf_get_current_pid_tgid();
    if (!threshold_ns) {
        __sync_fetch_and_add(&of->unjudged, 1);
        return;
    }
    if (latency_ns <= threshold_ns)
        return;
    __sync_fetch_and_add(&of->slow, 1);
    if (latency_ns <= hit->config->floor_ns)
        return;
    u32 zero = 0, tid = pid_tgid, place = PYLAT_TWO_AT_ONCE && hit->telling ? tid | PYLAT_SECOND_CALL : tid;
    struct pylat_watch_telling *empty = empty_slow_work.lookup(&zero);
    struct pylat_watch_telling *telling = empty && !slow_work.update(&place, empty) ? slow_work.lookup(&place) : NULL;
    if (!telling) {
        PYLAT_COUNT(hit->count->slow_lost);
        return;
    }
    struct pylat_slow_call *told = &telling->work.call;
    told->kind = PYLAT_SLOW_CALL;
    told->tgid = pid_tgid >> 32;
    told->tid = tid;
    told->slot = call->slot;
    told->raised = raised != PYLAT_NOT_RAISED;
    told->space = hit->tgid;
    told->frame = call->frame;
    told->code = of->code;
    told->start_ns = call->start_ns;
    told->end_ns = hit->now_ns;
    told->latency_ns = latency_ns;
    told->active_ns = ~0ULL;
    told->threshold_ns = threshold_ns;
    telling->exception = hit->exception;
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_STATE
    telling->caller = hit->caller; /* the frame itself may be in a list of free ones by now */
#else
    telling->unread = pylat_read_u64(call->frame + PYLAT_FRAME_PREVIOUS, &telling->caller) != 0;
#endif
#if PYLAT_SLOW_VALUES
    struct pylat_watch_key key = {.frame = call->frame, .process = hit->tgid};
    struct pylat_watch_entry *taken = entry_values.lookup(&key);
    u64 bytes = taken ? taken->arguments.bytes : 0;
    if (bytes > sizeof(taken->arguments.stream))
        bytes = sizeof(taken->arguments.stream);
    if (taken && taken->start_ns == call->start_ns) {
        if (!pylat_read_kernel(&telling->work.arguments, PYLAT_SNAPSHOT_HEAD_BYTES + bytes, &taken->arguments))
            told->taken_at = PYLAT_TAKEN_AT_ENTRY;
    } else if (intact) {
        told->taken_at = PYLAT_TAKEN_AT_END;
        telling->intact = 1;
    }
#endif
    hit->telling = telling;
}

/* The type of the exception that is being raised, by what is sure: what is on the frame's stack, or the thread state in
 * a register that is known to hold it, or in any that is seen to: it names the frame that runs now, and an exception. 0
 * where it is not known. `running`: that frame. */
static __always_inline u64 exception_type(void *ctx, const struct pylat_watch_telling *telling, u64 running,
                                          int by_probe)
{
    u64 type = 0;
    if (telling->exception) {
        pylat_read_u64(telling->exception + PYLAT_OBJECT_TYPE, &type);
        return type;
    }
#ifdef PYLAT_RAISE_TSTATE
    if (by_probe)
        return pylat_exception_type(PYLAT_PLACE(ctx, RAISE_TSTATE));
#endif
#pragma unroll
    for (u32 i = 0; i < PYLAT_WATCH_REGISTERS; i++) {
        u64 thread_state = PYLAT_REGISTER(ctx, sizeof(u64) * i), current = 0, flags = 0;
        if (!running || !may_be_address(thread_state) || pylat_read_u64(thread_state + PYLAT_TSTATE_FRAME, &current))
            continue;
#if PYLAT_CFRAME_FRAME >= 0
        if (pylat_read_u64(current + PYLAT_CFRAME_FRAME, &current))
            continue;
#endif
        if (current != running)
            continue;
        u64 found = pylat_exception_type(thread_state);
        pylat_read(&flags, sizeof(flags), (void *)(found + PYLAT_TYPE_FLAGS));
        if (flags & PYLAT_EXCEPTION_CLASS)
            type = found;
    }
    return type;
}

/* The names of the code objects on the stack, each time: nothing tells the watch engine when one is freed, and another
 * is at its address. Of the line table what there is. One that could not be told is unknown. */
static __always_inline void tell_codes(struct pylat_watch_telling *telling, u64 code_type)
{
    struct pylat_slow_call *call = &telling->work.call;
    struct pylat_slow_code *told = &telling->code;
    u64 last = 0;
    for (u32 i = 0; i < PYLAT_STACK_FRAMES; i++) {
        struct pylat_stack_frame *frame = &call->stack[i];
        u64 code = frame->code;
        if (i >= call->depth)
            break;
        if (code == last)
            continue;
        last = 0;
        frame->code = 0;
        if (pylat_is_code(code, code_type) <= 0)
            continue;
        told->kind = PYLAT_SLOW_CODE;
        told->space = call->space;
        pylat_take_code(told, code);
        u64 lines = told->lines_bytes & (PYLAT_LINES_BYTES - 1);
        if (slow_events.ringbuf_output(told, PYLAT_SLOW_CODE_HEAD_BYTES + lines, 0))
            continue;
        frame->code = last = code;
    }
}

/* What it has taken since then is taken off the thread's open calls. */
static __always_inline void account_for(u64 began_ns, struct pylat_counters *count)
{
    u32 tid = bpf_get_current_pid_tgid();
    struct pylat_watch_thread *thread = threads.lookup(&tid);
    u64 took_ns = bpf_ktime_get_ns() - began_ns;
    if (thread)
        thread->told_ns += took_ns;
    __sync_fetch_and_add(&count->taken_ns, took_ns);
}

/* Tell the slow call of this thread. Whether there is more to do, by another run. `running`: the frame that runs now, 0
 * for the caller's. `may_hold`: frames may still hold their arguments. */
static __always_inline int tell(void *ctx, u64 running, int by_probe, int may_hold)
{
    u32 zero = 0, place = bpf_get_current_pid_tgid();
    struct pylat_watch_telling *telling = slow_work.lookup(&place);
    if (PYLAT_TWO_AT_ONCE && !telling) {
        place |= PYLAT_SECOND_CALL;
        telling = slow_work.lookup(&place);
    }
    struct pylat_watch_config *now = config.lookup(&zero);
    struct pylat_counters *count = counters.lookup(&zero);
    if (!telling || !now || !count)
        return 0;
    struct pylat_slow_work *work = &telling->work;
    struct pylat_slow_call *told = &work->call;
    if (!work->rounds) {
        telling->began_ns = bpf_ktime_get_ns();
        pylat_take_stack(told, telling->caller, telling->unread);
        tell_codes(telling, now->code_type);
        pylat_own_numbers(&told->own_tgid, &told->own_tid);
        bpf_get_current_comm(told->comm, sizeof(told->comm));
        if (told->raised) {
            u64 type = exception_type(ctx, telling, running ? running : telling->caller, by_probe);
            if (type)
                pylat_take_exception(told, type);
        }
#if PYLAT_SLOW_VALUES
        pylat_read(told->code_head, sizeof(told->code_head), (void *)told->code);
        if (may_hold && telling->intact)
            pylat_begin_arguments(&work->list, &work->arguments, told->frame, told->code);
#endif
    }
    work->rounds++;
#if PYLAT_SLOW_VALUES
    if (may_hold && telling->intact && pylat_take_along(&work->list, &work->arguments, now->code_type) &&
        work->rounds < PYLAT_END_ROUNDS)
        return 1;
#endif
    u64 bytes = work->arguments.bytes;
    if (bytes > sizeof(work->arguments.stream))
        bytes = sizeof(work->arguments.stream);
    if (slow_events.ringbuf_output(told, sizeof(*told) + PYLAT_SNAPSHOT_HEAD_BYTES + bytes, 0))
        PYLAT_COUNT(count->slow_lost);
    account_for(telling->began_ns, count);
    slow_work.delete(&place);
    return PYLAT_TWO_AT_ONCE && !(place & PYLAT_SECOND_CALL);
}

/* What is to be told cannot be: a call of another program does not come back, unless it failed. */
static __always_inline void not_told(struct pylat_counters *count)
{
    u32 place = bpf_get_current_pid_tgid();
    slow_work.delete(&place);
    PYLAT_COUNT(count->slow_lost);
}

#if PYLAT_SLOW_VALUES
/* A call has begun whose frame will be cleared before its end is seen. */
static __always_inline void begin_taking(struct hit *hit, u64 frame, u64 code, u64 start_ns)
{
    u32 zero = 0;
    struct pylat_watch_taking *taking = takings.lookup(&zero);
    if (!taking)
        return;
    taking->key.frame = frame;
    taking->key.process = hit->tgid;
    taking->code = code;
    taking->rounds = 0;
    taking->entry.start_ns = start_ns;
    hit->taking = 1;
}

/* Take the arguments of that call along. Whether there is more, for another run. */
static __always_inline int take_entry(void)
{
    u32 zero = 0;
    struct pylat_watch_taking *taking = takings.lookup(&zero);
    struct pylat_watch_config *now = config.lookup(&zero);
    struct pylat_counters *count = counters.lookup(&zero);
    if (!taking || !now || !count)
        return 0;
    struct pylat_snapshot *to = &taking->entry.arguments;
    if (!taking->rounds) {
        taking->began_ns = bpf_ktime_get_ns();
        pylat_begin_arguments(&taking->list, to, taking->key.frame, taking->code);
    }
    taking->rounds++;
    if (pylat_take_along(&taking->list, to, now->code_type) && taking->rounds < PYLAT_ENTRY_ROUNDS)
        return 1;
    entry_values.update(&taking->key, &taking->entry);
    account_for(taking->began_ns, count);
    return 0;
}
#endif
#endif

#endif
