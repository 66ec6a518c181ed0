/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* A frame is left, by a return, an exception or a suspension: what all programs of exits do. */
#ifndef PYLAT_EXITS_H
#define PYLAT_EXITS_H

#include "calls.h"
#include "count.h"
#include "cpython.h"
#include "functions.h"
#include "generators.h"
#include "slow_calls.h"
#include "stack.h"
#include "trace_events.h"

/* Whether calls may have begun unseen, between two slices, in the middle of a thread's calls (greenlets). */
static __always_inline int probes_were_away(void)
{
#if PYLAT_SLICES
    u32 zero = 0;
    struct pylat_config *now = config.lookup(&zero);
    return now && now->sliced;
#else
    return 0;
#endif
}

/* Where most exits are of calls that are not wanted, these do not pay for the clock. */
#if PYLAT_EVERY_FUNCTION || PYLAT_SPLIT
#define CLOCK_FIRST 1
#else
#define CLOCK_FIRST 0
#endif

/* Returns whether the frame is one of a function that is measured. */
static __always_inline int leave(struct pt_regs *ctx, u64 frame, u64 thread_state, int how, u32 kind,
                                 struct account_hit *paid)
{
    u64 now_ns = CLOCK_FIRST ? bpf_ktime_get_ns() : 0;
    pylat_space space;
    struct pylat_counters *count = hit(ctx, kind, paid, &space);
    if (!count)
        return 0;
    u64 pid_tgid = paid->pid_tgid;
    u32 tid = pid_tgid;
    struct pylat_function_key key = {.space = space};
    struct pylat_thread *thread = NULL;
    struct pylat_open call = {};
    struct pylat_frame_key suspended_key = {.frame = frame, .space = space};
    struct pylat_suspended *kept = NULL;
    int popped = PYLAT_NOT_OPEN;
#if PYLAT_SPLIT
    struct pylat_leaving leaving = {};
    thread = threads.lookup(&tid);
    if (thread)
        now_ns = pylat_leaves(thread, now_ns, &leaving);
#endif

    /* Nearly every exit of a wanted function is that of the innermost open call: then nobody need ask whose code it is.
     * Threads whose ids are alike share an account, so that the thread's own table decides. */
    if (PYLAT_EVERY_FUNCTION || (paid->account && paid->account->innermost == frame)) {
        if (!CLOCK_FIRST)
            now_ns = bpf_ktime_get_ns();
        thread = threads.lookup(&tid);
        if (thread && pylat_is_innermost(thread, frame) && (PYLAT_EVERY_FUNCTION || pylat_is_decided(thread))) {
            pylat_pop_innermost(thread, &call);
            popped = PYLAT_MATCHED;
        }
    }
    if (popped == PYLAT_NOT_OPEN) {
        if (pylat_frame_code(frame, &key.code)) {
            PYLAT_COUNT(count->read_fault);
            return 0;
        }
        int slot = known_slot(key.code);
        u32 flags = PYLAT_WANTED;
        if (slot == PYLAT_NO_SLOT)
            return 0; /* not asked for */
        if (slot < 0) {
            struct pylat_function *function = functions.lookup(&key);
            if (!function)
                return 0; /* the interpreter's own frame (_Py_InitCleanup) that no entry announced */
            remember(key.code, function);
            flags = function->flags;
            slot = function->slot;
            if (!(flags & (PYLAT_WANTED | PYLAT_STRUCK_OUT)))
                return 0;
        }
        if (!CLOCK_FIRST)
            now_ns = bpf_ktime_get_ns();
        thread = threads.lookup(&tid);
        if (thread && pylat_is_innermost(thread, frame)) {
            pylat_pop_innermost(thread, &call);
            popped = PYLAT_MATCHED;
        } else if (thread) {
            int is_plain = !(flags & PYLAT_SUSPENDS); /* else it is asked for its record in any case, below */
            kept = is_plain ? suspended.lookup(&suspended_key) : NULL;
            if (kept && !(kept->resumed_ns && (kept->slot == slot || flags & PYLAT_STRUCK_OUT)))
                kept = NULL;
            if (!kept) {
                slot = pylat_unlearn(thread, slot);
                flags = pylat_unlearn(thread, flags);
                popped = pylat_pop(thread, frame, !(flags & PYLAT_SUSPENDS), &call);
            }
        }
        if (flags & PYLAT_STRUCK_OUT) {
            if (popped == PYLAT_MATCHED || kept)
                __sync_fetch_and_add(&count->entries, -1);
            if (kept)
                suspended.delete(&suspended_key);
#if PYLAT_SELF
            if (popped == PYLAT_MATCHED)
                pylat_callees_unknown(thread);
#endif
            return 0;
        }
#if PYLAT_SELF && !PYLAT_EVERY_FUNCTION
        leaving.undecided = flags & PYLAT_UNDECIDED;
#endif
        if (popped != PYLAT_MATCHED) {
            call.flags = flags;
            call.slot = slot;
        }
    }
    if (paid->account && thread)
        paid->account->innermost = pylat_innermost(thread);
#if !PYLAT_TRACE
    if (popped == PYLAT_FROM_OVERFLOW)
        return 1; /* counted at its entry */
#endif

    int suspends = call.flags & PYLAT_SUSPENDS;
    paid->stamp_ns = now_ns;
    u64 taken_ns = 0;
    if (popped == PYLAT_MATCHED && now_ns > call.start_ns) {
        u64 most_ns = now_ns - call.start_ns;
#if PYLAT_SPLIT
        u64 elsewhere_ns = pylat_elsewhere(&leaving.share, &call.share);
        most_ns = most_ns > elsewhere_ns ? most_ns - elsewhere_ns : 0;
#endif
        taken_ns = account_since(paid, kind, call.taken_ns, most_ns);
    }
#if PYLAT_TRACE
    struct trace_left left = {.slot = call.slot, .timed = popped != PYLAT_FROM_OVERFLOW};
    if (popped == PYLAT_MATCHED && now_ns > call.start_ns)
        left.latency_ns = now_ns - taken_ns - call.start_ns;
#endif
#if PYLAT_START == PYLAT_START_BY_LASTI
    /* To 3.10 close() and throw() enter even a generator that was not started. */
    if (suspends && popped == PYLAT_MATCHED && !(call.flags & PYLAT_RESUMED) && pylat_never_started(frame, 0)) {
        __sync_fetch_and_add(&count->entries, -1);
#if PYLAT_TRACE
        left.how = LEFT_BY_RAISE;
        goto told;
#endif
        return 1;
    }
#endif
#if PYLAT_SPLIT
    if (popped == PYLAT_MATCHED)
        pylat_share_ends(thread, &call, now_ns - taken_ns, &leaving);
#endif
    if (how == LEFT_UNKNOWN && suspends && pylat_suspended(frame, thread_state))
        how = LEFT_BY_YIELD;
    int raised = how == LEFT_BY_RAISE;
    if (how == LEFT_UNKNOWN || (suspends && raised))
        raised = pylat_raised(thread_state, suspends, generator_exit_type(suspends));
#if PYLAT_TRACE
    left.how = how == LEFT_BY_YIELD ? LEFT_BY_YIELD : raised ? LEFT_BY_RAISE : LEFT_BY_RETURN;
    if (popped == PYLAT_FROM_OVERFLOW)
        goto told;
#endif

    /* Resumed calls have a record; throw(), close() and finalisation enter a frame with no RESUME (from 3.11). */
    if (suspends && (popped == PYLAT_NOT_OPEN || (call.flags & PYLAT_RESUMED)))
        kept = suspended.lookup(&suspended_key);
    u64 ran_ns = 0;
#if PYLAT_SPLIT
    if (kept && popped == PYLAT_NOT_OPEN)
        pylat_share_ends_beyond(kept, &leaving);
#endif
    if (kept && popped == PYLAT_NOT_OPEN) {
        if (!kept->running)
            account_comes_back(paid, kept, now_ns);
        taken_ns = ran_beyond_taken(paid, kind, kept, now_ns);
        ran_ns = pylat_ran_beyond(kept, now_ns - taken_ns);
    }
    u32 *closing_slot = NULL;
    if (suspends && popped == PYLAT_NOT_OPEN && !kept)
        closing_slot = closing.lookup(&suspended_key);
    if (how == LEFT_BY_YIELD) {
        if (closing_slot)
            closing_suspends(*closing_slot);
        else if (kept && popped == PYLAT_NOT_OPEN)
            suspend_beyond(kept, ran_ns, taken_ns);
        else if (kept)
            suspend_again(kept, &call, now_ns, taken_ns);
        else if (popped == PYLAT_MATCHED)
            suspend_first(count, &suspended_key, &call, now_ns, taken_ns, paid, kind);
        if (kept)
            account_leaves(paid, kind, kept);
#if PYLAT_TRACE
        if (kept && popped == PYLAT_NOT_OPEN) {
            left.slot = kept->slot;
            left.latency_ns = ran_ns;
            left.timed = ran_ns != 0;
        }
        if (kept || popped == PYLAT_MATCHED)
            goto told;
#endif
        return 1;
    }
    if (popped == PYLAT_NOT_OPEN && !kept) {
        if (closing_slot) {
            closing.delete(&suspended_key); /* it was counted as abandoned when its deallocation began */
            return 1;
        }
        if (pylat_never_started(frame, key.code))
            return 1;
        if (!suspends && thread && thread->depth && !probes_were_away())
            PYLAT_COUNT(count->unmatched_return);
        else if (!was_lost())
            PYLAT_COUNT(count->began_before);
        return 1;
    }
    struct ended_call ended = {.start_ns = call.start_ns, .end_ns = now_ns, .taken_ns = taken_ns};
    ended.slot = call.slot;
    ended.active_slot = call.active_slot;
    if (popped == PYLAT_MATCHED && now_ns > call.start_ns)
        ended.active_ns = now_ns - taken_ns - call.start_ns;
    if (kept) {
        ended.start_ns = kept->start_ns;
        ended.taken_ns += kept->taken_ns;
        ended.beside_ns = kept->beside_ns;
        ended.unsure_ns = kept->unsure_ns;
        ended.active_ns += kept->active_ns + ran_ns;
        ended.suspensions = kept->suspensions;
        ended.slot = kept->slot;
        ended.active_slot = kept->active_slot;
    }
#if PYLAT_SPLIT
    if (popped == PYLAT_MATCHED)
        ended.share = call.share;
    if (kept)
        pylat_share_add(&ended.share, &kept->share);
#endif
    int measured = finish(count, &ended, raised);
#if PYLAT_TRACE
    left.slot = ended.slot;
    left.latency_ns = latency_of(&ended);
    left.active_ns = kept && suspends ? ended.active_ns : 0;
#endif
    if (kept)
        suspended.delete(&suspended_key);
#if PYLAT_SLOWER
    struct pylat_slow_work *work = measured ? slow_call(count, &ended) : NULL;
    if (!work)
        return 1;
    work->thread_state = thread_state;
    work->call.kind = PYLAT_SLOW_CALL;
    work->call.tgid = pid_tgid >> 32;
    work->call.tid = tid;
    work->call.slot = ended.slot;
    work->call.raised = raised != PYLAT_NOT_RAISED;
    work->call.space = space;
    work->call.frame = frame;
    work->call.start_ns = ended.start_ns;
    work->call.end_ns = ended.end_ns;
    work->call.latency_ns = latency_of(&ended);
    work->call.active_ns = ended.active_ns;
    work->call.suspensions = ended.suspensions;
    account_goes_on(paid, kind);
    slow_programs.call(ctx, 0);
    slow_work.delete(&tid);
    PYLAT_COUNT(count->slow_lost); /* the call of another program does not come back, unless it failed */
#endif
#if PYLAT_TRACE
told:
    account_goes_on(paid, kind);
    trace_exit(ctx, frame, thread_state, space, &left, now_ns);
#endif
    return 1;
}

#endif
