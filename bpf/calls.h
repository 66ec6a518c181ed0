/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What every program does first, the table of a thread's open calls, and what a finished call adds. */
#ifndef PYLAT_CALLS_H
#define PYLAT_CALLS_H

#include "account.h"
#include "count.h"
#include "followed.h"
#include "maps.h"
#include "split.h"
#include "statistics.h"

/* How a frame is left. */
#define LEFT_BY_RETURN 0
#define LEFT_BY_RAISE 1
#define LEFT_BY_YIELD 2
#define LEFT_UNKNOWN 3 /* one site sees them all: ask the frame and the thread state */

/* What every program of a probe does first: nothing at all unless the measurement runs and the process is followed. */
static __always_inline struct pylat_counters *hit(struct pt_regs *ctx, u32 kind, struct account_hit *paid,
                                                  pylat_space *space)
{
    u32 zero = 0;
    struct pylat_config *now = config.lookup(&zero);
    if (!now || !now->enabled) {
        never.call(ctx, 0);
        return NULL;
    }
    *space = 0;
    paid->now = now;
    paid->pid_tgid = bpf_get_current_pid_tgid();
#if PYLAT_MANY_PROCESSES
    u32 tgid = paid->pid_tgid >> 32;
    struct pylat_process *process = followed(tgid);
    if (!process)
        return NULL;
    *space = process->space;
#endif
    paid->clock_ns = now->clock_ns;
    account_begins(paid, kind);
    struct pylat_counters *count = counters.lookup(&zero);
    paid->count = count;
    if (!paid->account || !count)
        return NULL; /* never, but the verifier cannot know */
    PYLAT_COUNT_OFTEN(count->hits);
    return count;
}

/* Something found no room, where a program has no counters at hand. */
static __always_inline void count_table_full(void)
{
    u32 zero = 0;
    struct pylat_counters *count = counters.lookup(&zero);
    if (count)
        PYLAT_COUNT(count->table_full);
}

/* A call found no place: it is lost, and told so once. */
static __always_inline void lose(struct pylat_counters *count)
{
    u32 zero = 0;
    s64 *of = unplaced.lookup(&zero);
    PYLAT_COUNT(count->table_full);
    if (of)
        __sync_fetch_and_add(of, 1);
}

/* The same of one that begins in a thread that has a table: what does not suspend ends there. */
static __always_inline void lose_in(struct pylat_counters *count, struct pylat_thread *thread, int suspends)
{
    if (suspends) {
        lose(count);
        return;
    }
    thread->too_deep++;
    PYLAT_COUNT(count->table_full);
}

/* Whether a call that ends, and of which nothing is known, can be one of those. Else it began before pylat watched. */
static __always_inline int was_lost(void)
{
    u32 zero = 0;
    s64 *of = unplaced.lookup(&zero);
    if (!of || *of <= 0)
        return 0;
    __sync_fetch_and_add(of, -1);
    return 1;
}

static __always_inline struct pylat_thread *this_thread(u32 tid, pylat_space space)
{
    struct pylat_thread *thread = threads.lookup(&tid);
    if (thread)
        return thread;
    u32 zero = 0;
    struct pylat_thread *empty = empty_thread.lookup(&zero);
    if (!empty)
        return NULL;
    threads.update(&tid, empty);
    thread = threads.lookup(&tid);
    if (thread)
        thread->space = space;
    return thread;
}

/* One latency into the statistics of a slot. `of_self`: of its self times. */
static __always_inline void count_latency(struct pylat_counters *count, struct pylat_statistics *of, u32 slot,
                                          int of_self, u64 ns)
{
    ns += !ns; /* as in pylat_count_latency */
    int extreme = pylat_count_latency(of, ns);
#if PYLAT_PARALLEL
    if (!extreme)
        return;
    struct pylat_extremes_key key = {.tid = bpf_get_current_pid_tgid(), .slot = slot | of_self << 16};
    struct pylat_extremes *own = extremes.lookup(&key);
    if (own) {
        own->min_ns = ns < own->min_ns ? ns : own->min_ns;
        own->max_ns = ns > own->max_ns ? ns : own->max_ns;
        return;
    }
    struct pylat_extremes first = {.min_ns = ns, .max_ns = ns};
    if (extremes.update(&key, &first))
        PYLAT_COUNT(count->table_full);
#endif
}

/* A call that ended, put together from its stays on the stack. */
struct ended_call {
    u64 start_ns;
    u64 end_ns;
    u64 taken_ns;  /* by the probes in between, while it ran */
    u64 beside_ns; /* by them while it was suspended, which held it up */
    u64 unsure_ns; /* by them while it was suspended, if they did */
    u64 active_ns; /* without what was taken while it ran */
    u32 suspensions;
    u16 slot;
    u16 active_slot;
#if PYLAT_SPLIT
    struct pylat_share share;
#endif
};

static __always_inline u64 latency_of(const struct ended_call *call)
{
    u64 elapsed_ns = call->end_ns > call->start_ns ? call->end_ns - call->start_ns : 0;
    u64 taken_ns = call->taken_ns + call->beside_ns;
    return elapsed_ns > taken_ns ? elapsed_ns - taken_ns : 0;
}

#if PYLAT_SPLIT
static __always_inline void finish_split(struct pylat_counters *count, u32 slot, const struct ended_call *call)
{
#if PYLAT_OFFCPU
    struct pylat_split *split = splits.lookup(&slot);
    if (split)
        pylat_count_split(split, latency_of(call), call->active_ns, &call->share);
#endif
#if PYLAT_SELF
    struct pylat_statistics *self = self_times.lookup(&slot);
    u64 callees_ns = call->share.callees_ns;
    /* What was taken off is an estimate: a little less than nothing may be left. */
    if (self && pylat_knows_callees(&call->share, call->active_ns + call->taken_ns))
        count_latency(count, self, slot, 1, call->active_ns > callees_ns ? call->active_ns - callees_ns : 0);
#endif
}
#endif

/* Returns whether it has a latency. */
static __always_inline int finish(struct pylat_counters *count, const struct ended_call *call, int raised)
{
    u32 slot = call->slot, active_slot = call->active_slot;
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (!of) {
        PYLAT_COUNT(count->table_full);
        return 0;
    }
    if (call->suspensions)
        __sync_fetch_and_add(&of->suspensions, call->suspensions);
    if (raised == PYLAT_GENERATOR_EXIT && call->suspensions) {
        __sync_fetch_and_add(&of->abandoned, 1);
        PYLAT_COUNT(count->abandoned);
        return 0;
    }
    if (call->end_ns < call->start_ns) {
        PYLAT_COUNT(count->negative);
        return 0;
    }
    __sync_fetch_and_add(raised ? &of->raised : &of->returned, 1);
    count_latency(count, of, slot, 0, latency_of(call));
    __sync_fetch_and_add(&of->taken_ns, call->taken_ns + call->beside_ns);
    if (call->unsure_ns)
        __sync_fetch_and_add(&of->unsure_ns, call->unsure_ns);
    PYLAT_COUNT_OFTEN(count->matched);
#if PYLAT_SPLIT
    finish_split(count, slot, call);
#endif
    if (active_slot == PYLAT_NO_SLOT)
        return 1;
    of = statistics.lookup(&active_slot);
    if (of)
        count_latency(count, of, active_slot, 0, call->active_ns);
    return 1;
}

#endif
