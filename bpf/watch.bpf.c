// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The programs of the watch engine: hardware watchpoints on memory that one function alone touches. Which memory, and
 * why, stands in latency/cpython/watch_points.py; the rules by which a frame is told from the registers in
 * docs/watch.md. */
#include <uapi/linux/ptrace.h>

#include "count.h"
#include "cpython.h"
#if PYLAT_MANY_PROCESSES
#include "last_thread.h"
#endif
#include "stack.h"
#include "watch_calls.h"
#include "watch_frames.h"
#include "watch_maps.h"
#include "watch_slow.h"

/* struct bpf_perf_event_data (linux/bpf_perf_event.h), of x86-64. */
struct watch_context {
    struct pt_regs registers;
    u64 sample_period;
    u64 address;
};

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
        PYLAT_COUNT(hit->count->table_full);
        return NULL;
    }
    thread = threads.lookup(&tid);
    if (thread)
        thread->calls.space = hit->tgid;
    return thread;
}

#if PYLAT_START == PYLAT_START_BY_LASTI
/* Of the functions that share their units, the one that this frame runs. */
static __always_inline struct pylat_watched *begun_of(const struct hit *hit, struct pylat_watched *begun, u64 frame)
{
    u64 code = 0;
    pylat_frame_code(frame, &code);
    for (u32 i = 0; i < PYLAT_WATCHED; i++) {
        u32 index = i;
        struct pylat_watched *of = code && code == hit->codes[i] ? watched.lookup(&index) : NULL;
        if (of)
            return of;
    }
    return begun;
}
#endif

/* A watchpoint was hit: the memory has been read or written already. */
int pylat_watch(struct watch_context *ctx)
{
    struct hit hit = {.now_ns = bpf_ktime_get_ns()};
    u32 zero = 0;
    u64 *ran = runs.lookup(&zero);
    if (ran)
        (*ran)++;
    if (!prepare(&hit))
        return 0;
    if (hit.config->enabled)
        PYLAT_COUNT_OFTEN(hit.count->hits);
    u64 address = ctx->address;
    hit.registers[0] = PYLAT_PLACE(ctx, ENTRY_FRAME);
#pragma unroll
    for (u32 i = 1; i <= PYLAT_WATCH_REGISTERS; i++)
        hit.registers[i] = PYLAT_REGISTER(ctx, sizeof(u64) * (i - 1));
#ifdef PYLAT_ENTRY_HOME
    hit.registers[REGISTERS - 1] = PYLAT_PLACE(ctx, ENTRY_HOME);
#endif
    hit.place = PYLAT_REGISTER(ctx, PYLAT_WATCH_PLACE);
#ifdef PYLAT_WATCH_HOMES
    struct pylat_watch_home *home = homes.lookup(&hit.place);
    u64 base = ctx->registers.bp, top = ctx->registers.sp;
    asm volatile("" : "+r"(base), "+r"(top)); /* both are read: the context may not be read at a place that varies */
    if (home)
        pylat_read_u64((home->from_base ? base : top) + home->at, &hit.registers[0]);
#endif
    hit.thread = this_thread(&hit);
    if (!hit.thread)
        return 0;
    hit.thread->traps++;
#if PYLAT_OFFCPU
    hit.now_ns = pylat_moment(&hit.thread->calls.clock, &hit.thread->share);
#endif
    struct pylat_watched *counted = NULL, *begun = NULL, *ending = NULL;
    for (u32 i = 0; i < PYLAT_WATCHED; i++) {
        u32 index = i;
        struct pylat_watched *of = watched.lookup(&index);
        if (!of || !of->code || (hit.process->freed >> (of->slot & (PYLAT_WATCH_SLOTS - 1)) & 1))
            continue;
        if (address == of->count)
            counted = of;
        else if (address == of->entry && hit.config->enabled) {
            begun = of;
#if PYLAT_START == PYLAT_START_BY_LASTI
            hit.codes[i] = of->code;
#endif
        } else if (hit.config->enabled && (address == of->raises || address == of->returns[0] ||
                                           address == of->returns[1] || address == of->returns[2]))
            ending = of;
    }
    /* The slot is read from memory: of one that it has not counted itself, the verifier goes one way only. */
    if (counted) {
        count_written(&hit, counted, counted->slot);
    } else if (begun) {
        u64 frame = fresh_frame(&hit, begun); /* 0 if somebody else read it: dis, the specialiser, a debugger */
#if PYLAT_START == PYLAT_START_BY_LASTI
        begun = frame ? begun_of(&hit, begun, frame) : begun;
#endif
        if (frame)
            entered(&hit, begun, begun->slot, frame);
#if PYLAT_START == PYLAT_START_BY_OPARG
        else
            count_unheld(&hit, begun);
#endif
    }
#if PYLAT_START == PYLAT_START_BY_OPARG
    else if (ending)
        ending_fetched(&hit, ending, ending->slot, address - 1);
#endif
#if PYLAT_SLOWER
#if PYLAT_SLOW_VALUES
    if (hit.taking)
        take_programs.call(ctx, 0);
#endif
    if (hit.telling) {
        slow_programs.call(ctx, 0);
        not_told(hit.count);
    }
#endif
    return 0;
}

#if PYLAT_SLOWER
/* Programs of their own, as in pylat.bpf.c, which call themselves while there is more to take along. */
int pylat_watch_slow(struct watch_context *ctx)
{
    if (tell(ctx, 0, 0, PYLAT_START == PYLAT_START_BY_OPARG))
        slow_programs.call(ctx, 0);
    return 0;
}

#if PYLAT_SLOW_VALUES
int pylat_watch_take(struct watch_context *ctx)
{
    if (take_entry())
        take_programs.call(ctx, 0);
    return 0;
}
#endif
#endif

#ifdef PYLAT_RAISE_FRAME
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_OPCODE
/* An exception leaves a frame: 1 if it is one of what suspends. */
static __always_inline int suspending_raised(struct hit *hit, u64 frame, u64 thread_state)
{
    struct pylat_watch_call *call = open_call(hit, frame);
    u64 code = 0, at = 0;
    if (call) {
        u32 place = call->place;
        struct pylat_watched *of = watched.lookup(&place);
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
            not_open(hit);
        return 1;
    }
    return 0;
}
#endif

/* 3.11, and 3.12 for code whose count does not change: an exception leaves a frame. To 3.10 (PyTraceBack_Here): an
 * exception has come up in a frame, from the one that this frame had called or from here. */
int pylat_watch_raise(struct pt_regs *ctx)
{
    struct hit hit = {.now_ns = bpf_ktime_get_ns()};
    u64 frame = PYLAT_PLACE(ctx, RAISE_FRAME);
    u32 tid = bpf_get_current_pid_tgid();
    if (!prepare(&hit) || !hit.config->enabled) {
        never.call(ctx, 0);
        return 0;
    }
    PYLAT_COUNT_OFTEN(hit.count->hits);
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_PLACE
    if (!pylat_raised(PYLAT_PLACE(ctx, RAISE_TSTATE), 0, 0))
        return 0; /* a return that is instrumented: its unit was fetched */
#endif
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_OPCODE
    if (suspending_raised(&hit, frame, PYLAT_PLACE(ctx, RAISE_TSTATE)))
        goto ended;
#endif
    hit.thread = threads.lookup(&tid);
    if (!hit.thread || !(hit.thread->calls.depth || hit.thread->beyond))
        return 0;
#if PYLAT_OFFCPU
    hit.now_ns = pylat_moment(&hit.thread->calls.clock, &hit.thread->share);
#endif
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_STATE
    exception_reached(&hit, frame);
    exception_came_up(&hit, frame);
#else
    struct pylat_open *call = &hit.thread->at_hand;
    struct pylat_watch_call *more = open_call(&hit, frame);
    if (!more || !take_call(&hit, frame, more, call))
        return 0;
    u64 half_traps = 2 * (hit.thread->traps - more->traps) + 1;
    finish(&hit, call, half_traps, 1, 1);
    close_call(&hit, frame);
#endif
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_OPCODE
ended:
#endif
#if PYLAT_SLOWER
    if (hit.telling) {
        raise_programs.call(ctx, 0);
        not_told(hit.count);
    }
#endif
    return 0;
}

#if PYLAT_SLOWER
int pylat_watch_raise_slow(struct pt_regs *ctx)
{
    u64 running = PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_STATE ? PYLAT_PLACE(ctx, RAISE_FRAME) : 0;
    if (tell(ctx, running, 1, PYLAT_START == PYLAT_START_BY_OPARG))
        raise_programs.call(ctx, 0);
    return 0;
}
#endif
#endif

/* A thread ends, or its program is replaced: its open calls end with it, without a latency. */
static __always_inline void forget_thread(u32 tid, struct pylat_counters *count)
{
    struct pylat_watch_thread *thread = threads.lookup(&tid);
    if (!thread)
        return;
    __sync_fetch_and_add(&count->thread_ended, thread->calls.depth + thread->calls.too_deep);
    u64 left = thread->calls.depth;
    asm volatile("" : "+r"(left)); /* as in pylat_find */
    struct pylat_watch_key key = {.process = thread->calls.space};
    while (left > 0 && left <= PYLAT_DEPTH) {
        left--;
        asm volatile("" : "+r"(left));
        key.frame = thread->calls.open[left].frame;
        frames.delete(&key);
#if PYLAT_SLOWER && PYLAT_SLOW_VALUES
        entry_values.delete(&key);
#endif
    }
    threads.delete(&tid);
}

static __always_inline int thread_ends(void)
{
    u64 pid_tgid = bpf_get_current_pid_tgid();
    u32 tid = pid_tgid, zero = 0;
    struct pylat_counters *count = counters.lookup(&zero);
    if (count)
        forget_thread(tid, count);
#if PYLAT_MANY_PROCESSES
    u64 tgid = pid_tgid >> 32;
    struct pylat_watch_process *process = pylat_is_last_thread() ? processes.lookup(&tgid) : NULL;
    if (process && !process->ended)
        process->ended = 1;
#endif
    return 0;
}

int pylat_thread_exit(struct bpf_raw_tracepoint_args *ctx)
{
    return thread_ends();
}

int pylat_thread_exit_again(struct bpf_raw_tracepoint_args *ctx) /* as in processes.h */
{
    return thread_ends();
}

#if PYLAT_OFFCPU
static __always_inline struct pylat_clock *clock_of(u32 tid)
{
    struct pylat_watch_thread *thread = threads.lookup(&tid);
    return thread ? &thread->calls.clock : NULL;
}

#include "switches.h"

int pylat_switch(struct bpf_raw_tracepoint_args *ctx)
{
    switched(ctx);
    return 0;
}

int pylat_wakeup(struct bpf_raw_tracepoint_args *ctx)
{
    woken(ctx);
    return 0;
}

/* The markers gc__start and gc__done. A collection may call watched functions (__del__), so the thread is noted in any
 * case. */
static __always_inline struct pylat_watch_thread *collecting(void)
{
    struct hit hit = {};
    return prepare(&hit) && hit.config->enabled ? this_thread(&hit) : NULL;
}

int pylat_gc_start(struct pt_regs *ctx)
{
    struct pylat_watch_thread *thread = collecting();
    if (thread)
        pylat_gc_begins(&thread->calls.clock);
    return 0;
}

int pylat_gc_done(struct pt_regs *ctx)
{
    struct pylat_watch_thread *thread = collecting();
    if (thread)
        pylat_gc_ends(&thread->calls.clock);
    return 0;
}
#endif

#if PYLAT_MANY_PROCESSES
/* sched_process_fork(parent, child): before the child runs. It has its parent's watchpoints, and its memory as it is.
 */
static __always_inline int forks(struct bpf_raw_tracepoint_args *ctx, int again)
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
    if (processes.update(&child_tgid, &child) && again)
        PYLAT_COUNT(count->table_full);
    return 0;
}

int pylat_fork(struct bpf_raw_tracepoint_args *ctx)
{
    return forks(ctx, 0);
}

int pylat_fork_again(struct bpf_raw_tracepoint_args *ctx)
{
    return forks(ctx, 1);
}

/* sched_process_exec: the kernel has taken the watchpoints away. */
static __always_inline int execs(struct bpf_raw_tracepoint_args *ctx)
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

int pylat_exec(struct bpf_raw_tracepoint_args *ctx)
{
    return execs(ctx);
}

int pylat_exec_again(struct bpf_raw_tracepoint_args *ctx)
{
    return execs(ctx);
}
#endif
