/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Where the time of a call went: on the CPU, off it, collecting garbage, suspended; and in its callees. No maps, and
 * of the helpers only the clock, so that a test compiles the same text.
 *
 * Each thread has a clock of its own that runs on (struct pylat_clock). An open call keeps how it stood at its start,
 * and at its end the difference is the call's share. So a call costs nothing while its thread is switched. */
#ifndef PYLAT_SPLIT_H
#define PYLAT_SPLIT_H

#include "stack.h"

#define PYLAT_UNKNOWN_NS (~0ULL)

/* What was so when a frame was left. */
struct pylat_leaving {
    struct pylat_share share; /* of the thread, until this moment */
    u32 disordered;           /* calls of this thread did not end innermost first: callers are not known */
    u32 undecided;            /* it may turn out that the function is not wanted */
};

/* Both may be unknown. */
static __always_inline void pylat_callees_add(u64 *callees_ns, u64 more_ns)
{
    *callees_ns =
        *callees_ns == PYLAT_UNKNOWN_NS || more_ns == PYLAT_UNKNOWN_NS ? PYLAT_UNKNOWN_NS : *callees_ns + more_ns;
}

static __always_inline void pylat_share_add(struct pylat_share *to, const struct pylat_share *more)
{
    to->waiting_ns += more->waiting_ns;
    to->runnable_ns += more->runnable_ns;
    to->gc_ns += more->gc_ns;
    pylat_callees_add(&to->callees_ns, more->callees_ns);
}

#if PYLAT_SPLIT

/* The bucket of struct pylat_split, from the one of histogram.h: -(-p / 4), counted from its own first. */
static __always_inline u32 pylat_split_bucket(u64 wall_ns)
{
    u32 bucket = (pylat_bucket(wall_ns) + 1) >> 2;
    return bucket < PYLAT_SPLIT_BUCKETS ? bucket : PYLAT_SPLIT_BUCKETS - 1;
}

/* The thread loses its CPU; `ready`: it could have gone on. */
static __always_inline void pylat_switched_out(struct pylat_clock *clock, u64 now_ns, int ready)
{
    clock->off_since_ns = now_ns;
    clock->ready_since_ns = ready ? now_ns : 0;
}

/* It is woken. Not if it is on its CPU still: then it goes on, or is switched out as ready. */
static __always_inline void pylat_woken(struct pylat_clock *clock, u64 now_ns)
{
    if (clock->off_since_ns && !clock->ready_since_ns)
        clock->ready_since_ns = now_ns;
}

/* It has a CPU again. A thread whose first call came after it was switched out last was not seen to go. */
static __always_inline void pylat_switched_in(struct pylat_clock *clock, u64 now_ns)
{
    u64 since_ns = clock->off_since_ns, ready_ns = clock->ready_since_ns;
    if (!since_ns)
        return;
    if (now_ns < since_ns)
        now_ns = since_ns;
    if (!ready_ns || ready_ns > now_ns)
        ready_ns = now_ns; /* it was not seen to be woken */
    if (ready_ns < since_ns)
        ready_ns = since_ns;
    clock->waiting_ns += ready_ns - since_ns;
    clock->runnable_ns += now_ns - ready_ns;
    clock->off_since_ns = 0;
    clock->ready_since_ns = 0;
    clock->switches++;
}

/* This moment, and the thread's share until then. A probe's program can lose the CPU: then the clock and the share are
 * of different moments, and both are read again. */
static __always_inline u64 pylat_moment(const struct pylat_clock *clock, struct pylat_share *share)
{
    u64 now_ns = 0;
    for (int attempt = 0; attempt < 4; attempt++) {
        u32 switches = *(const volatile u32 *)&clock->switches;
        now_ns = bpf_ktime_get_ns();
        share->waiting_ns = *(const volatile u64 *)&clock->waiting_ns;
        share->runnable_ns = *(const volatile u64 *)&clock->runnable_ns;
        share->gc_ns = clock->gc_ns;
        if (clock->in_gc)
            share->gc_ns += now_ns - share->waiting_ns - share->runnable_ns - clock->gc_since_ns;
        if (*(const volatile u32 *)&clock->switches == switches)
            break;
    }
    return now_ns;
}

static __always_inline void pylat_gc_begins(struct pylat_clock *clock)
{
    struct pylat_share now = {};
    u64 now_ns = pylat_moment(clock, &now);
    clock->gc_ns = now.gc_ns; /* of one whose end was not seen, too */
    clock->gc_since_ns = now_ns - now.waiting_ns - now.runnable_ns;
    clock->in_gc = 1;
}

static __always_inline void pylat_gc_ends(struct pylat_clock *clock)
{
    struct pylat_share now = {};
    pylat_moment(clock, &now);
    clock->gc_ns = now.gc_ns;
    clock->in_gc = 0;
}

/* A call begins, or goes on: before it is pushed. */
static __always_inline void pylat_share_begins(const struct pylat_clock *clock, struct pylat_open *call)
{
#if PYLAT_OFFCPU
    call->start_ns = pylat_moment(clock, &call->share);
#endif
}

/* The same of a suspending call that has no place in the table (pylat_run_beyond): what it takes off here, the end of
 * the stay adds. Its callees have no place either. */
static __always_inline void pylat_share_begins_beyond(struct pylat_suspended *kept, const struct pylat_open *call)
{
    kept->share.waiting_ns -= call->share.waiting_ns;
    kept->share.runnable_ns -= call->share.runnable_ns;
    kept->share.gc_ns -= call->share.gc_ns;
    kept->share.callees_ns = PYLAT_UNKNOWN_NS;
}

/* Before pylat_ran_beyond. */
static __always_inline void pylat_share_ends_beyond(struct pylat_suspended *kept, const struct pylat_leaving *leaving)
{
    if (kept->running && kept->resumed_ns)
        pylat_share_add(&kept->share, &leaving->share);
}

/* A frame is left: before its call is popped. Returns the moment. */
static __always_inline u64 pylat_leaves(const struct pylat_thread *thread, u64 now_ns, struct pylat_leaving *leaving)
{
    leaving->disordered = thread->disordered;
#if PYLAT_OFFCPU
    now_ns = pylat_moment(&thread->clock, &leaving->share);
#endif
    return now_ns;
}

/* The innermost open call had callees of whom it is not known how long they took. */
static __always_inline void pylat_callees_unknown(struct pylat_thread *thread)
{
    u32 depth = thread->depth;
    if (depth > 0 && depth <= PYLAT_DEPTH)
        thread->open[pylat_place(depth - 1)].share.callees_ns = PYLAT_UNKNOWN_NS;
}

/* After pylat_push. Calls that cannot be timed take of the time of their caller. */
static __always_inline void pylat_pushed(struct pylat_thread *thread, int pushed)
{
    u32 depth = thread->depth;
    if (pushed == PYLAT_OVERFLOW)
        pylat_callees_unknown(thread);
    else if (pushed == PYLAT_REPLACED && depth > 1 && depth <= PYLAT_DEPTH)
        thread->open[pylat_place(depth - 2)].share.callees_ns = PYLAT_UNKNOWN_NS;
}

/* Of a stay that ends, what it was not running: the probes took nothing of that. */
static __always_inline u64 pylat_elsewhere(const struct pylat_share *now, const struct pylat_share *then)
{
    return now->waiting_ns - then->waiting_ns + now->runnable_ns - then->runnable_ns + now->gc_ns - then->gc_ns;
}

/* A stay on the stack is over, and its call was popped: the share of the call becomes the one of this stay, and its
 * caller, the innermost open call now, learns how long it took. */
static __always_inline void pylat_share_ends(struct pylat_thread *thread, struct pylat_open *call, u64 now_ns,
                                             const struct pylat_leaving *leaving)
{
    call->share.waiting_ns = leaving->share.waiting_ns - call->share.waiting_ns;
    call->share.runnable_ns = leaving->share.runnable_ns - call->share.runnable_ns;
    call->share.gc_ns = leaving->share.gc_ns - call->share.gc_ns;
#if PYLAT_SELF
    u32 depth = thread->depth;
    if (leaving->disordered || thread->disordered)
        call->share.callees_ns = PYLAT_UNKNOWN_NS;
    if (depth > 0 && depth <= PYLAT_DEPTH) {
        u64 stay_ns = now_ns > call->start_ns ? now_ns - call->start_ns : 0;
        pylat_callees_add(&thread->open[pylat_place(depth - 1)].share.callees_ns,
                          leaving->undecided ? PYLAT_UNKNOWN_NS : stay_ns);
    }
#endif
}

/* Whether a call's self time is known: what is left of its active time. */
static __always_inline int pylat_knows_callees(const struct pylat_share *share, u64 active_ns)
{
    return share->callees_ns != PYLAT_UNKNOWN_NS && share->callees_ns <= active_ns;
}

/* One finished call. The parts add up to its wall time; one of which that is not so is not counted. */
static __always_inline void pylat_count_split(struct pylat_split *of, u64 wall_ns, u64 active_ns,
                                              const struct pylat_share *share)
{
    u64 elsewhere_ns = share->waiting_ns + share->runnable_ns + share->gc_ns;
    u32 bucket = pylat_split_bucket(wall_ns);
    if (elsewhere_ns > active_ns || active_ns > wall_ns || bucket >= PYLAT_SPLIT_BUCKETS)
        return;
    __sync_fetch_and_add(&of->calls, 1);
    u64 *parts_ns = &of->parts_ns[bucket];
    __sync_fetch_and_add(&parts_ns[PYLAT_RUNNING * PYLAT_SPLIT_BUCKETS], active_ns - elsewhere_ns);
    __sync_fetch_and_add(&parts_ns[PYLAT_WAITING * PYLAT_SPLIT_BUCKETS], share->waiting_ns);
    __sync_fetch_and_add(&parts_ns[PYLAT_RUNNABLE * PYLAT_SPLIT_BUCKETS], share->runnable_ns);
    __sync_fetch_and_add(&parts_ns[PYLAT_GC * PYLAT_SPLIT_BUCKETS], share->gc_ns);
    __sync_fetch_and_add(&parts_ns[PYLAT_SUSPENDED_PART * PYLAT_SPLIT_BUCKETS], wall_ns - active_ns);
}

#endif
#endif
