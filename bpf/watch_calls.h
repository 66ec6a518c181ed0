/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The calls that the hits of watchpoints tell: how one begins, and how one ends. */
#ifndef PYLAT_WATCH_CALLS_H
#define PYLAT_WATCH_CALLS_H

#include "count.h"
#include "split.h"
#include "stack.h"
#include "statistics.h"
#include "watch_frames.h"
#include "watch_slow.h"

#define PLACES (PYLAT_WATCHED - 1)

/* The open call of this frame ends: taken out of its thread's table, unless it had no place there. Whether it is known.
 */
static __always_inline int take_call(struct hit *hit, u64 frame, const struct pylat_watch_call *more,
                                     struct pylat_open *call)
{
    struct pylat_watch_thread *thread = hit->thread;
#if PYLAT_SLOWER
    hit->caller = more->caller;
    hit->told_ns = thread->told_ns - more->told_ns;
#endif
    if (!more->tid)
        return pylat_pop(&thread->calls, frame, 0, call) == PYLAT_MATCHED;
    if (thread->calls.too_deep)
        thread->calls.too_deep--;
    if (thread->beyond == frame)
        thread->beyond = more->outer;
    call->frame = frame;
    call->start_ns = more->start_ns;
    call->slot = more->slot;
    call->active_slot = PYLAT_NO_SLOT;
#if PYLAT_OFFCPU
    call->share.callees_ns = PYLAT_UNKNOWN_NS; /* nor is anything known of its parts */
#endif
    return 1;
}

#if PYLAT_OFFCPU
/* The call's share becomes what came of its thread's while it was open. How long it did not run Python then, which hits
 * took nothing of; 0 where it is not known. */
static __always_inline u64 elsewhere_ns(const struct hit *hit, struct pylat_share *share)
{
    if (share->callees_ns == PYLAT_UNKNOWN_NS)
        return 0;
    share->waiting_ns = hit->thread->share.waiting_ns - share->waiting_ns;
    share->runnable_ns = hit->thread->share.runnable_ns - share->runnable_ns;
    share->gc_ns = hit->thread->share.gc_ns - share->gc_ns;
    return share->waiting_ns + share->runnable_ns + share->gc_ns;
}
#endif

#if PYLAT_MANY_PROCESSES
/* Processes share the statistics, and run at once: each keeps what it has seen go beyond them, as the threads of
 * calls.h do. Of one process, one thread runs Python at a time, and nothing interrupts a program of a watchpoint. */
static __always_inline void keep_extreme(const struct hit *hit, u32 slot, u64 ns)
{
    struct pylat_extremes_key key = {.tid = hit->tgid, .slot = slot};
    struct pylat_extremes *own = extremes.lookup(&key);
    if (own) {
        own->min_ns = ns < own->min_ns ? ns : own->min_ns;
        own->max_ns = ns > own->max_ns ? ns : own->max_ns;
        return;
    }
    struct pylat_extremes first = {.min_ns = ns, .max_ns = ns};
    if (extremes.update(&key, &first))
        PYLAT_COUNT(hit->count->table_full);
}
#endif

/* A call ended. `half_traps`: the watchpoint hits that lie between its two time stamps, in halves. `intact`: its frame
 * still holds its arguments. Before close_call, which drops those that were taken along when it began. */
static __always_inline void finish(struct hit *hit, struct pylat_open *call, u64 half_traps, int raised, int intact)
{
    u32 slot = call->slot;
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (!of)
        return;
    if (hit->now_ns < call->start_ns) {
        PYLAT_COUNT(hit->count->negative);
        return;
    }
    u64 ns = hit->now_ns - call->start_ns, taken_ns = half_traps * hit->config->trap_ns / 2;
#if PYLAT_SLOWER
    taken_ns += hit->told_ns;
#endif
    u64 least_ns = 0;
#if PYLAT_OFFCPU
    least_ns = elsewhere_ns(hit, &call->share);
    least_ns = least_ns < ns ? least_ns : ns;
#endif
    ns = ns > taken_ns + least_ns ? ns - taken_ns : least_ns;
    __sync_fetch_and_add(raised ? &of->raised : &of->returned, 1);
    __sync_fetch_and_add(raised ? &hit->process->raised : &hit->process->returned, 1);
    int extreme = pylat_count_latency(of, ns);
#if PYLAT_MANY_PROCESSES
    if (extreme)
        keep_extreme(hit, slot, ns + !ns); /* as in pylat_count_latency */
#endif
    PYLAT_COUNT_OFTEN(hit->count->matched);
#if PYLAT_OFFCPU
    struct pylat_split *split = splits.lookup(&slot);
    if (split && call->share.callees_ns != PYLAT_UNKNOWN_NS)
        pylat_count_split(split, ns + !ns, ns + !ns, &call->share);
#endif
#if PYLAT_SLOWER
    judge(hit, of, call, ns, raised, intact);
#endif
}

/* A call ends that is not open: it began before pylat watched, or found no place and is lost. */
static __always_inline void not_open(struct hit *hit)
{
    u32 zero = 0;
    s64 *lost = unplaced.lookup(&zero);
    if (lost && *lost > 0)
        __sync_fetch_and_add(lost, -1);
    else
        PYLAT_COUNT(hit->count->began_before);
}

/* Its own watchpoints lengthen a call that can be suspended by two halves: from the first start, and to the end. What
 * others do meanwhile may take place while it waits, so that is not taken off. */
#define OWN_HALF_TRAPS 2

/* The end of a call of what suspends, or (raised: PYLAT_GENERATOR_EXIT) of one that is closed while suspended. */
static __always_inline void finish_suspending(struct hit *hit, u64 frame, const struct pylat_watch_call *call,
                                              u64 half_traps, int raised)
{
    struct pylat_open whole = {.frame = frame, .start_ns = call->start_ns, .slot = call->slot};
#if PYLAT_OFFCPU
    whole.share.callees_ns = PYLAT_UNKNOWN_NS;
#endif
    u32 slot = call->slot;
    if (raised != PYLAT_GENERATOR_EXIT)
        finish(hit, &whole, half_traps, raised, 1);
    close_call(hit, frame);
    if (raised != PYLAT_GENERATOR_EXIT)
        return;
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (of)
        __sync_fetch_and_add(&of->abandoned, 1);
    PYLAT_COUNT(hit->count->abandoned);
}

/* A call begins in a frame that is still open: that one's end was not seen. What suspends can be closed or freed
 * without running a unit, and has no other end that is not seen. Up to 3.11 a plain call's frame can be kept by
 * somebody. */
static __always_inline void replaced(struct hit *hit, u64 frame, const struct pylat_watch_call *before)
{
    u32 place = before->place;
    struct pylat_watched *of = watched.lookup(&place);
    if (of && of->suspends) {
        finish_suspending(hit, frame, before, 0, PYLAT_GENERATOR_EXIT);
        return;
    }
    PYLAT_COUNT(hit->count->unmatched_entry);
    take_call(hit, frame, before, &hit->thread->at_hand);
}

/* 3.11: under a tracer a unit is fetched twice: by a dispatch, and by the handler that calls the tracer. The second
 * time the frame may stand at it already, and a register may hold what a generator's frame was before it was moved into
 * the generator, which never ran it. */
static __always_inline int is_fetched_again(const struct hit *hit)
{
    for (u32 i = 0; i < PYLAT_WATCH_AGAIN; i++)
        if (hit->place == hit->config->again[i])
            return 1;
    return 0;
}

#if PYLAT_WATCH_JIT
/* Code of the JIT fetches no units: of a call that begins in it only the reference count tells, when its frame is made.
 * Which frame that is is not known then. Such calls of one function on one thread end in the opposite order, and each
 * has a number in place of a frame. They become usual ones if their first unit is fetched after all.
 *
 * A frame is made by code of the JIT, or at some places of the interpreter; at others somebody looks at the code. Those
 * are known (makers) of which a unit was fetched right after, or of which a frame was released later. */
#define PYLAT_NUMBERED (1ULL << 63)

static __always_inline u64 frame_of_number(u32 slot, u32 number)
{
    return PYLAT_NUMBERED | (u64)slot << 32 | number;
}

static __always_inline int is_of_interpreter(const struct hit *hit)
{
    return hit->place - hit->config->text_begins < hit->config->text_ends - hit->config->text_begins;
}

/* The reference count of a code object has risen. */
static __always_inline void frame_made(struct hit *hit, u32 place, u32 slot)
{
    struct pylat_watch_thread *thread = hit->thread;
    u32 bit = 1U << place;
    thread->numbered_last &= ~bit;
    thread->loose_last = 0;
    if (!hit->config->enabled)
        return;
    if (is_of_interpreter(hit) && !makers.lookup(&hit->place)) {
        thread->loose[place & PLACES]++;
        thread->loose_last = place + 1;
        thread->loose_at = hit->place;
        thread->loose_traps = thread->traps;
        thread->loose_ns = bpf_ktime_get_ns();
        return;
    }
    struct pylat_open *call = &thread->at_hand;
    u32 number = thread->numbered[place & PLACES] + 1;
    thread->numbered[place & PLACES] = number;
    thread->numbered_last |= bit;
    PYLAT_COUNT_OFTEN(hit->count->entries);
    *call = (struct pylat_open){.frame = frame_of_number(slot, number), .slot = slot};
    call->start_ns = bpf_ktime_get_ns();
    call->active_slot = PYLAT_NO_SLOT;
    call->taken_ns = thread->traps; /* this engine has no account */
#if PYLAT_OFFCPU
    call->share = thread->share;
#endif
    if (pylat_push(&thread->calls, call, 0) == PYLAT_OVERFLOW)
        PYLAT_COUNT(hit->count->too_deep);
}

/* The place where the reference was taken last makes frames. */
static __always_inline void learn_maker(struct hit *hit, u32 place)
{
    u8 yes = 1;
    if (hit->thread->loose[place & PLACES])
        hit->thread->loose[place & PLACES]--;
    hit->thread->loose_last = 0;
    makers.update(&hit->thread->loose_at, &yes); /* what finds no place there is told by frames that are released */
}

/* The innermost call with a number is over: 1 if it had a place in its thread's table, and is at hand. */
static __always_inline int take_numbered(struct hit *hit, u32 place, u32 slot)
{
    struct pylat_watch_thread *thread = hit->thread;
    u32 number = thread->numbered[place & PLACES];
    thread->numbered[place & PLACES] = number - 1;
    thread->numbered_last &= ~(1U << place);
    return pylat_pop(&thread->calls, frame_of_number(slot, number), 1, &thread->at_hand) == PYLAT_MATCHED;
}

/* A call begins whose unit was fetched: whether its frame had a number until now. */
static __always_inline int runs_after_all(struct hit *hit, u32 place, u32 slot)
{
    if (hit->thread->loose_last == place + 1)
        learn_maker(hit, place);
    if (!(hit->thread->numbered_last >> place & 1) || !hit->thread->numbered[place & PLACES])
        return 0;
    take_numbered(hit, place, slot);
    return 1;
}

/* The thread state, while a frame of this function is being released; 0 where no register holds both. The frame stands
 * at a unit of the function, and the thread's current frame is its caller already. */
static __always_inline u64 releasing_thread(const struct hit *hit, const struct pylat_watched *of)
{
    u64 found = 0;
    for (u32 i = 0; i < REGISTERS; i++) {
        u64 frame = hit->registers[i], at = 0, caller = 0;
        if (!may_be_address(frame) || pylat_read_u64(frame + PYLAT_FRAME_INSTR, &at) ||
            at + 2 - of->units >= PYLAT_WATCH_UNITS_BYTES || pylat_read_u64(frame + PYLAT_FRAME_PREVIOUS, &caller))
            continue;
#pragma unroll
        for (u32 j = 1; j < REGISTERS; j++) { /* as a loop it has a back-edge that Linux 6.1 refuses */
            u64 thread_state = hit->registers[j], current = 0;
            if (caller && may_be_address(thread_state) &&
                !pylat_read_u64(thread_state + PYLAT_TSTATE_FRAME, &current) && current == caller)
                found = thread_state;
        }
    }
    return found;
}

/* Whether an exception leaves the frame that is being released; below 0 where that is not known. Code of the JIT does
 * not always write down where a frame stands, so the opcode does not tell it. */
static __always_inline int left_by_exception(const struct hit *hit, const struct pylat_watched *of)
{
    u64 thread_state = releasing_thread(hit, of), exception = 0;
    if (!thread_state || pylat_read_u64(thread_state + PYLAT_TSTATE_EXCEPTION, &exception))
        return -1;
    return exception != 0;
}

/* The count fell, and no call that is known by its frame has ended. */
static __always_inline void numbered_released(struct hit *hit, const struct pylat_watched *of, u32 slot)
{
    struct pylat_watch_thread *thread = hit->thread;
    struct pylat_open *call = &thread->at_hand;
    u32 place = bound(of->place, PYLAT_WATCHED), loose = thread->loose[place & PLACES];
    if (!lies_in(hit->config->leave_begins, hit->config->leave_ends, PYLAT_WATCH_LEAVES, hit->place)) {
        thread->loose[place & PLACES] = loose - !!loose;
        thread->loose_last = 0;
        return;
    }
    if (thread->numbered[place & PLACES]) {
        if (!take_numbered(hit, place, slot))
            return;
    } else if (thread->loose_last == place + 1 && loose == 1) {
        *call = (struct pylat_open){.start_ns = thread->loose_ns, .slot = slot, .taken_ns = thread->loose_traps};
#if PYLAT_OFFCPU
        call->share.callees_ns = PYLAT_UNKNOWN_NS;
#endif
        PYLAT_COUNT_OFTEN(hit->count->entries);
        learn_maker(hit, place);
    } else if (loose) { /* one of them made this frame: when is not known */
        thread->loose[place & PLACES] = loose - 1;
        PYLAT_COUNT(hit->count->unmatched_return);
        return;
    } else { /* it began before pylat watched */
        return;
    }
    int raised = left_by_exception(hit, of);
    if (raised < 0) {
        PYLAT_COUNT(hit->count->bad_frame);
        return;
    }
    finish(hit, call, 2 * (thread->traps - call->taken_ns), raised, 0);
}
#endif

static __always_inline void entered(struct hit *hit, struct pylat_watched *of, u32 slot, u64 frame)
{
    u32 place = of->place;
    struct pylat_thread *calls = &hit->thread->calls;
    struct pylat_open *call = &hit->thread->at_hand;
    struct pylat_watch_call *before = open_call(hit, frame);
    if (before && before->slot == slot && of->count && !hit->process->made[place & PLACES]) {
        PYLAT_COUNT(hit->count->duplicates);
        return;
    }
    if (is_fetched_again(hit)) {
        PYLAT_COUNT(hit->count->duplicates);
        return;
    }
    if (before)
        replaced(hit, frame, before);
    int is_new = 1;
#if PYLAT_WATCH_JIT
    is_new = !runs_after_all(hit, bound(place, PYLAT_WATCHED), slot);
#endif
    hit->process->made[place & PLACES] = 0;
    if (hit->thread->ended == frame)
        hit->thread->ended = 0;
    struct pylat_watch_call more = {.traps = hit->thread->traps, .slot = slot, .place = place};
#if PYLAT_SLOWER
    more.told_ns = hit->thread->told_ns;
#endif
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_STATE
    s32 last = 0;
    pylat_read_u64(frame + PYLAT_WATCH_FRAME_BACK, &more.caller);
    pylat_read(&last, sizeof(last), (void *)(more.caller + PYLAT_FRAME_INSTR));
    more.caller_lasti = (u32)last;
#endif
    if (is_new)
        PYLAT_COUNT_OFTEN(hit->count->entries);
    more.start_ns = bpf_ktime_get_ns();
    *call = (struct pylat_open){.frame = frame, .start_ns = more.start_ns, .slot = slot};
    call->active_slot = PYLAT_NO_SLOT;
#if PYLAT_OFFCPU
    call->share = hit->thread->share;
#endif
    struct pylat_watch_key key = {.frame = frame, .process = hit->tgid};
    /* What suspends may end on another thread: its frame is enough. */
    int is_beyond = !of->suspends && pylat_push(calls, call, 0) == PYLAT_OVERFLOW;
    if (is_beyond) {
        more.tid = bpf_get_current_pid_tgid();
        more.outer = hit->thread->beyond;
    }
    if (frames.update(&key, &more)) {
        u32 zero = 0;
        s64 *lost = unplaced.lookup(&zero);
        PYLAT_COUNT(hit->count->table_full);
        if (lost)
            __sync_fetch_and_add(lost, 1);
        if (!of->suspends)
            pylat_pop(calls, frame, 1, call);
        return;
    }
    if (is_beyond)
        hit->thread->beyond = frame;
#if PYLAT_SLOWER && PYLAT_SLOW_VALUES
    if (of->count && hit->config->floor_ns != ~0ULL)
        begin_taking(hit, frame, of->code, more.start_ns);
#endif
}

#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_STATE
/* To 3.10: a call that handles exceptions, within "finally" or "with", was left by one at some moment since that came
 * up last. That is known as well as a hit resolves if no more time has passed. */
static __always_inline int is_end_known(const struct hit *hit, const struct pylat_watch_call *call)
{
    u64 traps_ns = (hit->thread->traps - call->raised_traps) * hit->config->trap_ns;
    return call->raised_ns && hit->now_ns - call->raised_ns < traps_ns + hit->config->trap_ns;
}

/* The open call of this frame, if it no longer runs and this one had called it. */
static __always_inline struct pylat_watch_call *left_for(const struct hit *hit, u64 frame, u64 caller)
{
    struct pylat_watch_call *call = frame ? open_call(hit, frame) : NULL;
    return call && call->caller == caller && !is_running(frame) ? call : NULL;
}

/* PyTraceBack_Here: the frame that this one had called was left by an exception, if that was open. */
static __always_inline void exception_reached(struct hit *hit, u64 caller)
{
    struct pylat_thread *calls = &hit->thread->calls;
    struct pylat_open *call = &hit->thread->at_hand;
    u64 frame = hit->thread->beyond, depth = calls->depth;
    struct pylat_watch_call *more = left_for(hit, frame, caller);
    if (!more && depth > 0 && depth <= PYLAT_DEPTH) {
        frame = calls->open[pylat_place(depth - 1)].frame;
        more = left_for(hit, frame, caller);
    }
    u32 place = more ? more->place : 0;
    struct pylat_watched *of = watched.lookup(&place);
    if (!more || !of || !take_call(hit, frame, more, call))
        return;
    u64 half_traps = 2 * (hit->thread->traps - more->traps) + 1;
    if (last_opcode(frame, of) == PYLAT_WATCH_RETURN_1)
        PYLAT_COUNT(hit->count->unmatched_entry); /* it had returned, and somebody keeps its frame */
    else
        finish(hit, call, half_traps, 1, 0);
    close_call(hit, frame);
}

/* PyTraceBack_Here: an exception has come up in this frame. Without a block to handle it, it leaves the call now; the
 * frame itself lives as long as the traceback. */
static __always_inline void exception_came_up(struct hit *hit, u64 frame)
{
    struct pylat_watch_call *more = open_call(hit, frame);
    struct pylat_open *call = &hit->thread->at_hand;
    s32 blocks = 0;
    if (!more || pylat_read(&blocks, sizeof(blocks), (void *)(frame + PYLAT_FRAME_BLOCKS)))
        return;
    if (blocks != 0) {
        more->raised_traps = hit->thread->traps;
        more->raised_ns = hit->now_ns;
        return;
    }
    u64 half_traps = 2 * (hit->thread->traps - more->traps) + 1;
    if (!take_call(hit, frame, more, call))
        return;
    finish(hit, call, half_traps, 1, 0);
    close_call(hit, frame);
}
#endif

static __always_inline void count_written(struct hit *hit, const struct pylat_watched *of, u32 slot)
{
    struct pylat_watch_process *process = hit->process;
    u32 place = of->place, before = process->last_count[place & PLACES], now = 0;
    pylat_read(&now, sizeof(now), (void *)of->count);
    process->last_count[place & PLACES] = now;
    if (now == 0)
        process->freed |= 1ULL << (slot & (PYLAT_WATCH_SLOTS - 1));
    if ((s32)(now - before) > 0) {
        process->made[place & PLACES]++;
#if PYLAT_WATCH_JIT
        frame_made(hit, bound(place, PYLAT_WATCHED), slot);
#endif
        return;
    }
    if (!hit->config->enabled)
        return;
    u64 frame = released_frame(hit, of, slot);
    struct pylat_watch_call *more = frame ? open_call(hit, frame) : NULL;
    struct pylat_open *call = &hit->thread->at_hand;
#if PYLAT_WATCH_JIT
    if (!more)
        numbered_released(hit, of, slot);
#endif
    if (!more || !take_call(hit, frame, more, call))
        return;
    u64 half_traps = 2 * (hit->thread->traps - more->traps);
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_STATE
    /* A frame that somebody kept is released later than its call ended: then the caller has gone on. */
    s32 last = 0;
    if (more->caller)
        pylat_read(&last, sizeof(last), (void *)(more->caller + PYLAT_FRAME_INSTR));
    if (more->caller && (u32)last != more->caller_lasti) {
        PYLAT_COUNT(hit->count->unmatched_entry);
        close_call(hit, frame);
        return;
    }
#endif
    int raised = !returns(frame, of);
#if PYLAT_WATCH_JIT
    if (raised)
        raised = left_by_exception(hit, of);
    if (raised < 0) {
        PYLAT_COUNT(hit->count->bad_frame);
        close_call(hit, frame);
        return;
    }
#endif
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_STATE
    /* An exception that reached no other frame was taken by C code, and the frame died with its traceback. To 3.7
     * END_FINALLY goes on with it, or returns. */
    int unclear = more->raised_ns && last_opcode(frame, of) == PYLAT_WATCH_RETURN_2;
    if (unclear || (raised && !is_end_known(hit, more))) {
        PYLAT_COUNT(hit->count->unmatched_entry);
        close_call(hit, frame);
        return;
    }
#endif
    finish(hit, call, half_traps, raised, 0);
    close_call(hit, frame);
}

#if PYLAT_START == PYLAT_START_BY_OPARG
/* How an exception leaves a frame that has just put it on its value stack. */
static __always_inline int raised_by(struct hit *hit, u64 frame, u32 place)
{
    u64 exception = 0, type = 0;
    pylat_read_u64(frame + place, &exception);
    exception &= PYLAT_FRAME_CODE_MASK;
    pylat_read_u64(exception + PYLAT_OBJECT_TYPE, &type);
#if PYLAT_SLOWER
    hit->exception = exception;
#endif
    return type == hit->config->generator_exit_type ? PYLAT_GENERATOR_EXIT : PYLAT_RAISED;
}

/* A unit was fetched that ends the call. Its frame stands at an earlier one: it is told of the new unit by that itself.
 */
static __always_inline void ending_fetched(struct hit *hit, const struct pylat_watched *of, u32 slot, u64 unit)
{
    if (!is_fetch(hit))
        return;
    u64 found = 0;
    for (u32 i = 0; i < REGISTERS; i++) {
        u64 frame = hit->registers[i], code = 0, at = 0;
        const struct pylat_watch_call *call = may_be_address(frame) ? open_call(hit, frame) : NULL;
        if (!call || call->slot != slot || pylat_frame_code(frame, &code) || code != of->code)
            continue;
        if (pylat_read_u64(frame + PYLAT_FRAME_INSTR, &at) || at == unit)
            continue;
        found = frame;
        break;
    }
    struct pylat_watch_call *call = found ? open_call(hit, found) : NULL;
    if (!call) {
        u64 frame = hit->registers[0], code = 0, at = 0;
        if (frame && frame == hit->thread->ended)
            return; /* under a tracer 3.11 fetches it twice */
        if (pylat_frame_code(frame, &code) || code != of->code) {
            count_unheld(hit, of);
            return;
        }
        if (!pylat_read_u64(frame + PYLAT_FRAME_INSTR, &at) && at != unit && at + 1 >= of->entry)
            not_open(hit); /* it was started: nobody closes or throws into one that was not */
        return;
    }
    hit->thread->ended = found;
    int raised = PYLAT_NOT_RAISED;
    if (unit + 1 == of->raises)
        raised = raised_by(hit, found, of->exception);
    if (of->suspends) {
        finish_suspending(hit, found, call, OWN_HALF_TRAPS, raised);
        return;
    }
    struct pylat_open *plain = &hit->thread->at_hand;
    u64 half_traps = 2 * (hit->thread->traps - call->traps);
    if (!take_call(hit, found, call, plain))
        return;
    finish(hit, plain, half_traps, PYLAT_NOT_RAISED, 1);
    close_call(hit, found);
}
#endif

#endif
