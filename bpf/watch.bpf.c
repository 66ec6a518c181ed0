// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The watch engine: hardware watchpoints on memory that one function alone touches. Which memory, and why, stands in
 * latency/cpython/watch_points.py; the rules by which a frame is told from the registers in docs/watch.md. */
#include <uapi/linux/ptrace.h>

#include "cpython.h"
#include "stack.h"
#include "statistics.h"
#include "watch.h"

/* How the end of a call is told from other changes of the reference count. */
#define PYLAT_WATCH_LEAVE_BY_STATE 1  /* to 3.10: the frame says that it does not run */
#define PYLAT_WATCH_LEAVE_BY_OPCODE 2 /* 3.11: the frame stands at a return */
#define PYLAT_WATCH_LEAVE_BY_PLACE 3  /* 3.12 and later: one function of the interpreter releases frames */

/* The sizes given here are the smallest. All are preallocated: before Linux 6.1 a program of a perf event needs that.
 */
BPF_F_TABLE("array", u32, struct pylat_watch_config, config, 1, PYLAT_MMAPABLE);
BPF_F_TABLE("array", u32, struct pylat_statistics, statistics, PYLAT_WATCHED, PYLAT_MMAPABLE);
BPF_F_TABLE("array", u32, struct pylat_watched, watched, PYLAT_WATCHED, PYLAT_MMAPABLE);
BPF_PERCPU_ARRAY(counters, struct pylat_counters, 1);
BPF_TABLE("hash", u32, struct pylat_watch_thread, threads, 1);
BPF_TABLE("hash", struct pylat_watch_key, struct pylat_watch_call, frames, 1);
BPF_TABLE("hash", u64, struct pylat_watch_process, processes, 1);
BPF_ARRAY(empty_thread, struct pylat_watch_thread, 1);

/* struct bpf_perf_event_data (linux/bpf_perf_event.h), of x86-64. */
struct watch_context {
    struct pt_regs registers;
    u64 sample_period;
    u64 address;
};

#define SLOTS (PYLAT_WATCHED - 1)

/* The general registers, which struct pt_regs begins with, and before them the one that usually holds the frame. */
#define REGISTERS (1 + PYLAT_WATCH_REGISTERS)

struct hit {
    u64 now_ns;
    u64 registers[REGISTERS];
    u64 place; /* the instruction behind the one that touched the memory */
    u64 tgid;  /* 0 where only one process is followed */
    struct pylat_watch_process *process;
    struct pylat_watch_config *config;
    struct pylat_counters *count;
    struct pylat_watch_thread *thread;
};

static __always_inline struct pylat_watch_call *open_call(const struct hit *hit, u64 frame)
{
    struct pylat_watch_key key = {.frame = frame, .process = hit->tgid};
    return frames.lookup(&key);
}

static __always_inline void close_call(const struct hit *hit, u64 frame)
{
    struct pylat_watch_key key = {.frame = frame, .process = hit->tgid};
    frames.delete(&key);
}

/* Whether a frame has not run its first instruction yet. The fetch of that is what an entry is, and it happens in the
 * caller's dispatch, where the frame can be in another register than in all the rest of the interpreter. */
static __always_inline int is_fresh(u64 frame, const struct pylat_watched *of)
{
#if PYLAT_START == PYLAT_START_BY_LASTI
    s32 last = 0;
    return !pylat_read(&last, sizeof(last), (void *)(frame + PYLAT_FRAME_INSTR)) && last <= PYLAT_WATCH_FRESH;
#else
    u64 unit = 0;
    if (pylat_read_u64(frame + PYLAT_FRAME_INSTR, &unit))
        return 0;
    /* 3.13 and later: a frame that stands at its RESUME already runs it once more, or is one that has just been made.
     * The reference count tells which; where that is not watched, something always lies before that RESUME. */
    if (!of->count && unit + 1 >= of->entry)
        return 0;
    /* prev_instr stands one unit before the first one when a frame is made. */
    return unit + 2 >= of->units && unit + PYLAT_WATCH_FRESH < of->entry;
#endif
}

/* Whether a register can hold the address of a struct at all: to find out by a look-up or a failing read costs much
 * more.
 */
static __always_inline int may_be_address(u64 value)
{
    return !(value & 7) && value - 65536 < (1ULL << 47) - 65536;
}

static __always_inline u64 fresh_frame(const struct hit *hit, const struct pylat_watched *of)
{
    for (u32 i = 0; i < REGISTERS; i++) {
        u64 frame = hit->registers[i], code = 0;
        if (!may_be_address(frame) || pylat_frame_code(frame, &code) || code != of->code)
            continue;
        if (is_fresh(frame, of))
            return frame;
    }
    return 0;
}

/* Whether a frame is still being run (to 3.10, where frames can outlive their calls). */
static __always_inline int is_running(u64 frame)
{
    signed char state = 0;
#if PYLAT_FRAME_STATE >= 0 /* 3.10: f_state; FRAME_EXECUTING is 0, what has ended is above */
    return !pylat_read(&state, sizeof(state), (void *)(frame + PYLAT_FRAME_STATE)) && state <= 0;
#elif PYLAT_FRAME_EXECUTING >= 0 /* 3.6 to 3.9 */
    return !pylat_read(&state, sizeof(state), (void *)(frame + PYLAT_FRAME_EXECUTING)) && state;
#else
    return 0;
#endif
}

/* The opcode at which a frame stands. */
static __always_inline int last_opcode(u64 frame, const struct pylat_watched *of)
{
    u64 unit = 0;
    u8 opcode = 0;
#if PYLAT_START == PYLAT_START_BY_LASTI
    s32 last = 0;
    pylat_read(&last, sizeof(last), (void *)(frame + PYLAT_FRAME_INSTR));
    unit = of->units + PYLAT_WATCH_LASTI_BYTES * (u64)(u32)last;
#else
    pylat_read_u64(frame + PYLAT_FRAME_INSTR, &unit);
#endif
    pylat_read(&opcode, sizeof(opcode), (void *)unit);
    return opcode;
}

static __always_inline int returns(u64 frame, const struct pylat_watched *of)
{
    int opcode = last_opcode(frame, of);
    return opcode == PYLAT_WATCH_RETURN_1 || opcode == PYLAT_WATCH_RETURN_2 || opcode == PYLAT_WATCH_RETURN_3 ||
           opcode == PYLAT_WATCH_RETURN_4;
}

/* Whether the count fell because this call's frame was released, and not because somebody had looked at the code. */
static __always_inline int is_release(const struct hit *hit, u64 frame, const struct pylat_watched *of)
{
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_PLACE /* 3.12 and later: one function releases all frames */
    return hit->place > hit->config->leave_low && hit->place <= hit->config->leave_high;
#elif PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_OPCODE /* 3.11: exceptions are seen by pylat_watch_raise */
    return returns(frame, of);
#else
    return !is_running(frame);
#endif
}

/* The open call that ends now: of those whose frame is in a register the one that began last; 0 for none. */
static __always_inline u64 released_frame(const struct hit *hit, const struct pylat_watched *of, u32 slot)
{
    u64 found = 0, latest_ns = 0;
    for (u32 i = 0; i < REGISTERS; i++) {
        u64 frame = hit->registers[i];
        const struct pylat_watch_call *call = may_be_address(frame) ? open_call(hit, frame) : NULL;
        if (!call || call->slot != slot || call->start_ns <= latest_ns || !is_release(hit, frame, of))
            continue;
        found = frame;
        latest_ns = call->start_ns;
    }
    return found;
}

/* A call ended. `traps`: the watchpoint hits that lie between its two time stamps, in halves. */
static __always_inline void finish(struct hit *hit, const struct pylat_open *call, u64 half_traps, int raised)
{
    u32 slot = call->slot;
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (!of)
        return;
    if (hit->now_ns < call->start_ns) {
        hit->count->negative++;
        return;
    }
    u64 ns = hit->now_ns - call->start_ns, traps_ns = half_traps * hit->config->trap_ns / 2;
    __sync_fetch_and_add(raised ? &of->raised : &of->returned, 1);
    __sync_fetch_and_add(raised ? &hit->process->raised : &hit->process->returned, 1);
    pylat_count_latency(of, ns > traps_ns ? ns - traps_ns : 0);
    hit->count->matched++;
}

/* Its own watchpoints lengthen a call that can be suspended by two halves: from the first start, and to the end. What
 * others do meanwhile may take place while it waits, so that is not taken off. */
#define OWN_HALF_TRAPS 2

/* The end of a call of what suspends, or (raised: PYLAT_GENERATOR_EXIT) of one that is closed while suspended. */
static __always_inline void finish_suspending(struct hit *hit, u64 frame, const struct pylat_watch_call *call,
                                              u64 half_traps, int raised)
{
    struct pylat_open whole = {.frame = frame, .start_ns = call->start_ns, .slot = call->slot};
    u32 slot = call->slot;
    close_call(hit, frame);
    if (raised != PYLAT_GENERATOR_EXIT) {
        finish(hit, &whole, half_traps, raised);
        return;
    }
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (of)
        __sync_fetch_and_add(&of->abandoned, 1);
    hit->count->abandoned++;
}

/* A call begins in a frame that is still open: that one's end was not seen. What suspends can be closed or freed
 * without running a unit, and has no other end that is not seen. Up to 3.11 a plain call's frame can be kept by
 * somebody. */
static __always_inline void replaced(struct hit *hit, u64 frame, const struct pylat_watch_call *before)
{
    u32 slot = before->slot;
    struct pylat_watched *of = watched.lookup(&slot);
    struct pylat_open call = {};
    if (of && of->suspends) {
        finish_suspending(hit, frame, before, 0, PYLAT_GENERATOR_EXIT);
        return;
    }
    hit->count->unmatched_entry++;
    pylat_pop(&hit->thread->calls, frame, 1, &call);
}

/* 3.11: under a tracer a unit is fetched twice, both times before the frame stands at it. */
static __always_inline int is_fetched_again(const struct hit *hit)
{
    for (u32 i = 0; i < PYLAT_WATCH_AGAIN; i++)
        if (hit->place == hit->config->again[i])
            return 1;
    return 0;
}

static __always_inline void entered(struct hit *hit, struct pylat_watched *of, u32 slot, u64 frame)
{
    struct pylat_thread *calls = &hit->thread->calls;
    struct pylat_open call = {};
    struct pylat_watch_call *before = open_call(hit, frame);
    if (before && before->slot == slot && of->count && !hit->process->made[slot & SLOTS]) {
        hit->count->duplicates++;
        return;
    }
    if (before && is_fetched_again(hit)) {
        hit->count->duplicates++;
        return;
    }
    if (before)
        replaced(hit, frame, before);
    hit->process->made[slot & SLOTS] = 0;
    if (hit->thread->ended == frame)
        hit->thread->ended = 0;
    struct pylat_watch_call more = {.traps = hit->thread->traps, .slot = slot};
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_STATE
    s32 last = 0;
    pylat_read_u64(frame + PYLAT_WATCH_FRAME_BACK, &more.caller);
    pylat_read(&last, sizeof(last), (void *)(more.caller + PYLAT_FRAME_INSTR));
    more.caller_lasti = (u32)last;
#endif
    hit->count->entries++;
    more.start_ns = bpf_ktime_get_ns();
    call = (struct pylat_open){.frame = frame, .start_ns = more.start_ns, .slot = slot};
    call.active_slot = PYLAT_NO_SLOT;
    struct pylat_watch_key key = {.frame = frame, .process = hit->tgid};
    if (frames.update(&key, &more)) {
        hit->count->table_full++;
    } else if (of->suspends) {
        return; /* it may end on another thread: its frame is enough */
    } else if (pylat_push(calls, &call, 0) == PYLAT_OVERFLOW) {
        hit->count->too_deep++;
        close_call(hit, frame);
    }
}

static __always_inline void count_written(struct hit *hit, const struct pylat_watched *of, u32 slot)
{
    struct pylat_watch_process *process = hit->process;
    u32 before = process->last_count[slot & SLOTS], now = 0;
    pylat_read(&now, sizeof(now), (void *)of->count);
    process->last_count[slot & SLOTS] = now;
    if (now == 0)
        process->freed |= 1 << slot;
    if ((s32)(now - before) > 0) {
        process->made[slot & SLOTS]++;
        return;
    }
    if (!hit->config->enabled)
        return;
    u64 frame = released_frame(hit, of, slot);
    struct pylat_watch_call *more = frame ? open_call(hit, frame) : NULL;
    struct pylat_open call = {};
    if (!more || pylat_pop(&hit->thread->calls, frame, 1, &call) != PYLAT_MATCHED)
        return;
    u64 half_traps = 2 * (hit->thread->traps - more->traps);
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_STATE
    /* A frame that somebody kept is released later than its call ended: then the caller has gone on. */
    s32 last = 0;
    if (more->caller)
        pylat_read(&last, sizeof(last), (void *)(more->caller + PYLAT_FRAME_INSTR));
    if (more->caller && (u32)last != more->caller_lasti) {
        hit->count->unmatched_entry++;
        close_call(hit, frame);
        return;
    }
#endif
    close_call(hit, frame);
    finish(hit, &call, half_traps, !returns(frame, of));
}

#if PYLAT_START == PYLAT_START_BY_OPARG
/* Whether the interpreter itself fetched a unit: others read them too (co_code, the specialiser). */
static __always_inline int is_fetch(const struct hit *hit)
{
    for (u32 i = 0; i < PYLAT_WATCH_PARTS; i++)
        if (hit->place > hit->config->parts[2 * i] && hit->place <= hit->config->parts[2 * i + 1])
            return 1;
    return 0;
}

/* How an exception leaves a frame that has just put it on its value stack. */
static __always_inline int raised_by(u64 frame, u32 place, u64 generator_exit_type)
{
    u64 exception = 0, type = 0;
    pylat_read_u64(frame + place, &exception);
    pylat_read_u64((exception & PYLAT_FRAME_CODE_MASK) + PYLAT_OBJECT_TYPE, &type);
    return type == generator_exit_type ? PYLAT_GENERATOR_EXIT : PYLAT_RAISED;
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
        if (frame == hit->thread->ended || pylat_frame_code(frame, &code) || code != of->code)
            return; /* under a tracer 3.11 fetches it twice */
        if (!pylat_read_u64(frame + PYLAT_FRAME_INSTR, &at) && at != unit && at + 1 >= of->entry)
            hit->count->began_before++; /* it was started: nobody closes or throws into one that was not */
        return;
    }
    hit->thread->ended = found;
    int raised = PYLAT_NOT_RAISED;
    if (unit + 1 == of->raises)
        raised = raised_by(found, of->exception, hit->config->generator_exit_type);
    if (of->suspends) {
        finish_suspending(hit, found, call, OWN_HALF_TRAPS, raised);
        return;
    }
    struct pylat_open plain = {};
    u64 half_traps = 2 * (hit->thread->traps - call->traps);
    if (pylat_pop(&hit->thread->calls, found, 1, &plain) != PYLAT_MATCHED)
        return;
    close_call(hit, found);
    finish(hit, &plain, half_traps, PYLAT_NOT_RAISED);
}
#endif

/* What every program does first. */
static __always_inline int prepare(struct hit *hit)
{
    u32 zero = 0;
    hit->config = config.lookup(&zero);
    hit->count = counters.lookup(&zero);
#if PYLAT_MANY_PROCESSES
    hit->tgid = bpf_get_current_pid_tgid() >> 32;
#endif
    hit->process = processes.lookup(&hit->tgid);
    return hit->config && hit->count && hit->process;
}

static __always_inline struct pylat_watch_thread *this_thread(const struct hit *hit)
{
    u32 tid = bpf_get_current_pid_tgid(), zero = 0;
    struct pylat_watch_thread *thread = threads.lookup(&tid);
    if (thread)
        return thread;
    struct pylat_watch_thread *empty = empty_thread.lookup(&zero);
    if (!empty || threads.update(&tid, empty)) {
        hit->count->table_full++;
        return NULL;
    }
    thread = threads.lookup(&tid);
    if (thread)
        thread->calls.space = hit->tgid;
    return thread;
}

/* A watchpoint was hit: the memory has been read or written already. */
int pylat_watch(struct watch_context *ctx)
{
    struct hit hit = {.now_ns = bpf_ktime_get_ns()};
    if (!prepare(&hit))
        return 0;
    hit.count->hits += hit.config->enabled;
    u64 address = ctx->address;
    hit.registers[0] = PYLAT_REGISTER(ctx, PYLAT_ENTRY_FRAME);
#pragma unroll
    for (u32 i = 1; i < REGISTERS; i++)
        hit.registers[i] = PYLAT_REGISTER(ctx, sizeof(u64) * (i - 1));
    hit.place = PYLAT_REGISTER(ctx, PYLAT_WATCH_PLACE);
    hit.thread = this_thread(&hit);
    if (!hit.thread)
        return 0;
    hit.thread->traps++;
    struct pylat_watched *counted = NULL, *begun = NULL, *ending = NULL;
    for (u32 i = 0; i < PYLAT_WATCHED; i++) {
        u32 index = i;
        struct pylat_watched *of = watched.lookup(&index);
        if (!of || !of->code || (hit.process->freed >> i & 1))
            continue;
        if (address == of->count)
            counted = of;
        else if (address == of->entry && hit.config->enabled)
            begun = of;
        else if (hit.config->enabled && (address == of->raises || address == of->returns[0] ||
                                         address == of->returns[1] || address == of->returns[2]))
            ending = of;
    }
    /* The slot is read from memory: of one that it has not counted itself, the verifier goes one way only. */
    if (counted) {
        count_written(&hit, counted, counted->slot);
    } else if (begun) {
        u64 frame = fresh_frame(&hit, begun); /* 0 if somebody else read it: dis, the specialiser, a debugger */
        if (frame)
            entered(&hit, begun, begun->slot, frame);
    }
#if PYLAT_START == PYLAT_START_BY_OPARG
    else if (ending)
        ending_fetched(&hit, ending, ending->slot, address - 1);
#endif
    return 0;
}

#ifdef PYLAT_RAISE_FRAME
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_OPCODE
/* An exception leaves a frame: 1 if it is one of what suspends. */
static __always_inline int suspending_raised(struct hit *hit, u64 frame, u64 thread_state)
{
    struct pylat_watch_call *call = open_call(hit, frame);
    u64 code = 0, at = 0;
    if (call) {
        u32 slot = call->slot;
        struct pylat_watched *of = watched.lookup(&slot);
        if (!of || !of->suspends)
            return 0;
        int raised = pylat_raised(thread_state, 1, hit->config->generator_exit_type);
        finish_suspending(hit, frame, call, OWN_HALF_TRAPS / 2, raised);
        return 1;
    }
    if (pylat_frame_code(frame, &code))
        return 0;
    for (u32 i = 0; i < PYLAT_WATCHED; i++) {
        u32 index = i;
        struct pylat_watched *of = watched.lookup(&index);
        if (!of || !of->suspends || of->code != code)
            continue;
        if (!pylat_read_u64(frame + PYLAT_FRAME_INSTR, &at) && at + 1 >= of->entry)
            hit->count->began_before++;
        return 1;
    }
    return 0;
}
#endif

/* 3.11, and 3.12 for code whose count does not change: an exception leaves a frame. To 3.10 (PyTraceBack_Here): an
 * exception has reached a frame, so it has left the one that this frame had called. */
int pylat_watch_raise(struct pt_regs *ctx)
{
    struct hit hit = {.now_ns = bpf_ktime_get_ns()};
    u64 frame = PYLAT_REGISTER(ctx, PYLAT_RAISE_FRAME);
    u32 tid = bpf_get_current_pid_tgid();
    if (!prepare(&hit) || !hit.config->enabled)
        return 0;
    hit.count->hits++;
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_PLACE
    if (!pylat_raised(PYLAT_REGISTER(ctx, PYLAT_RAISE_TSTATE), 0, 0))
        return 0; /* a return that is instrumented: its unit was fetched */
#endif
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_OPCODE
    if (suspending_raised(&hit, frame, PYLAT_REGISTER(ctx, PYLAT_RAISE_TSTATE)))
        return 0;
#endif
    hit.thread = threads.lookup(&tid);
    if (!hit.thread || hit.thread->calls.depth == 0)
        return 0;
    struct pylat_thread *calls = &hit.thread->calls;
    struct pylat_open call = {};
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_STATE
    u32 top = (calls->depth - 1) & PYLAT_MASK, slot = calls->open[top].slot;
    frame = calls->open[top].frame;
    struct pylat_watch_call *more = open_call(&hit, frame);
    struct pylat_watched *of = watched.lookup(&slot);
    if (!more || !of || more->caller != PYLAT_REGISTER(ctx, PYLAT_RAISE_FRAME) || is_running(frame))
        return 0;
    if (pylat_pop(calls, frame, 1, &call) != PYLAT_MATCHED)
        return 0;
    if (last_opcode(frame, of) == PYLAT_WATCH_RETURN_1) {
        hit.count->unmatched_entry++; /* it had returned, and somebody keeps its frame */
        close_call(&hit, frame);
        return 0;
    }
#else
    struct pylat_watch_call *more = open_call(&hit, frame);
    if (!more || pylat_pop(calls, frame, 1, &call) != PYLAT_MATCHED)
        return 0;
#endif
    u64 half_traps = 2 * (hit.thread->traps - more->traps) + 1;
    close_call(&hit, frame);
    finish(&hit, &call, half_traps, 1);
    return 0;
}
#endif

/* A thread ends, or its program is replaced: its open calls end with it, without a latency. */
static __always_inline void forget_thread(u32 tid, struct pylat_counters *count)
{
    struct pylat_watch_thread *thread = threads.lookup(&tid);
    if (!thread)
        return;
    count->thread_ended += thread->calls.depth + thread->calls.too_deep;
    u64 left = thread->calls.depth;
    asm volatile("" : "+r"(left)); /* as in pylat_find */
    struct pylat_watch_key key = {.process = thread->calls.space};
    while (left > 0 && left <= PYLAT_DEPTH) {
        left--;
        asm volatile("" : "+r"(left));
        key.frame = thread->calls.open[left].frame;
        frames.delete(&key);
    }
    threads.delete(&tid);
}

int pylat_thread_exit(struct bpf_raw_tracepoint_args *ctx)
{
    u64 pid_tgid = bpf_get_current_pid_tgid();
    u32 tid = pid_tgid, zero = 0;
    struct pylat_counters *count = counters.lookup(&zero);
    if (count)
        forget_thread(tid, count);
#if PYLAT_MANY_PROCESSES
    u64 tgid = pid_tgid >> 32;
    struct pylat_watch_process *process = tid == tgid ? processes.lookup(&tgid) : NULL;
    if (process && !process->ended)
        process->ended = 1;
#endif
    return 0;
}

#if PYLAT_MANY_PROCESSES
/* sched_process_fork(parent, child): before the child runs. It has its parent's watchpoints, and its memory as it is.
 */
int pylat_fork(struct bpf_raw_tracepoint_args *ctx)
{
    u64 tgid = bpf_get_current_pid_tgid() >> 32, child_tgid = 0;
    struct pylat_watch_process *process = processes.lookup(&tgid);
    u32 zero = 0;
    struct pylat_counters *count = counters.lookup(&zero);
    if (!process || !count || process->ended ||
        pylat_read_kernel(&child_tgid, sizeof(u32), (void *)(ctx->args[1] + PYLAT_TASK_TGID)) || child_tgid == tgid)
        return 0; /* not followed, or a thread */
    struct pylat_watch_process child = *process;
    child.returned = child.raised = 0;
    if (processes.update(&child_tgid, &child))
        count->table_full++;
    return 0;
}

/* sched_process_exec: the kernel has taken the watchpoints away. */
int pylat_exec(struct bpf_raw_tracepoint_args *ctx)
{
    u64 tgid = bpf_get_current_pid_tgid() >> 32;
    struct pylat_watch_process *process = processes.lookup(&tgid);
    u32 zero = 0;
    struct pylat_counters *count = counters.lookup(&zero);
    if (!process || !count)
        return 0;
    process->ended = 2;
    forget_thread(tgid, count);
    forget_thread((u32)ctx->args[1], count); /* its tid until now, if a thread that was not the first called exec */
    return 0;
}
#endif
