/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The matching rule, in one place: which exit belongs to which entry. No helpers and no maps, so that bcc and a
 * test on any machine compile the same text. docs/matching.md draws it.
 *
 * An open call is kept by thread and depth, and the address of its frame proves the match. Calls normally end
 * innermost first; one that does not (a greenlet was switched, an exit was missed) is found by its frame. */
#ifndef PYLAT_STACK_H
#define PYLAT_STACK_H

#include "pylat.h"

/* Results of pylat_push. */
#define PYLAT_PUSHED 0
#define PYLAT_DUPLICATE 1 /* this very call is open and innermost already */
#define PYLAT_REPLACED 2  /* pushed; the same frame was open: that call's exit was missed */
#define PYLAT_OVERFLOW 3  /* beyond the table: counted, not timed */

/* Results of pylat_pop. */
#define PYLAT_MATCHED 0
#define PYLAT_FROM_OVERFLOW 1 /* one of the calls beyond the table */
#define PYLAT_NOT_OPEN 2

#define PYLAT_MASK (PYLAT_DEPTH - 1)

/* An index into the open calls that the verifier sees the bound of: the compiler, which may know better, must neither
 * drop the mask nor ask another register for the bound (clang 21). */
static __always_inline u32 pylat_place(u64 at)
{
    asm volatile("" : "+r"(at));
    return at & PYLAT_MASK;
}

/* The same value, of which the verifier knows nothing any more: it would follow the search below once for each of the
 * ways that led to it. */
static __always_inline u32 pylat_unlearn(struct pylat_thread *thread, u32 value)
{
    volatile u64 *unlearnt = &thread->unlearnt;
    *unlearnt = value;
    return *unlearnt;
}

#define PYLAT_BLOCK 8
_Static_assert(PYLAT_DEPTH % PYLAT_BLOCK == 0, "the table is whole blocks");

/* Index of this frame among the first `most` of the block that begins there, or PYLAT_BLOCK; the last of several. */
static __always_inline u32 pylat_find_in(const struct pylat_thread *thread, u64 begin, u32 most, u64 frame)
{
    const struct pylat_open *block = &thread->open[pylat_place(begin) & ~(PYLAT_BLOCK - 1)];
    for (u32 i = PYLAT_BLOCK; i-- > 0;) {
        if (i < most && block[i].frame == frame)
            return i;
    }
    return PYLAT_BLOCK;
}

/* Index of the innermost open call with this frame, or PYLAT_DEPTH. By blocks: the verifier follows each round of a
 * loop, and each way out of it. */
static __always_inline u32 pylat_find(struct pylat_thread *thread, u64 frame)
{
    u64 found = PYLAT_DEPTH;
    u64 at = thread->depth;
    u32 most = at & (PYLAT_BLOCK - 1), here;
    asm volatile("" : "+r"(most));
    at -= most;
    here = pylat_find_in(thread, at, most, frame);
    while (here == PYLAT_BLOCK) {
        at -= PYLAT_BLOCK;
        asm volatile("" : "+r"(at)); /* no pointer that moves along: the verifier would see no bound */
        if (at >= PYLAT_DEPTH)       /* below 0, too. Before Linux 6.8 "not 0" would tell it nothing */
            goto none;
        here = pylat_find_in(thread, at, PYLAT_BLOCK, frame);
    }
    found = at + here;
none:
    asm volatile("" : : : "memory"); /* also the depth */
    return pylat_unlearn(thread, found);
}

/* Take one entry out. The order of the others carries no meaning but "innermost last", which only speeds up the
 * search, so the innermost fills the gap. */
static __always_inline void pylat_remove(struct pylat_thread *thread, u32 at)
{
    u32 last = (thread->depth - 1) & PYLAT_MASK;
    at &= PYLAT_MASK;
    if (at != last)
        thread->open[at] = thread->open[last];
    thread->depth = last;
}

/* A call begins (or a suspended one goes on). `may_repeat`: this engine can report one entry twice (CPython 3.12
 * and later run RESUME again after a change of instrumentation). */
static __always_inline int pylat_push(struct pylat_thread *thread, const struct pylat_open *call, int may_repeat)
{
    int result = PYLAT_PUSHED;
    u64 depth = thread->depth;
    if (depth > 0 && depth <= PYLAT_DEPTH) {
        u32 top = pylat_place(depth - 1);
        if (thread->open[top].frame == call->frame) {
            if (may_repeat && thread->open[top].slot == call->slot && thread->open[top].flags == call->flags)
                return PYLAT_DUPLICATE;
            thread->open[top] = *call;
            return PYLAT_REPLACED;
        }
        if (thread->disordered) {
            u32 stale = pylat_find(thread, call->frame);
            if (stale < PYLAT_DEPTH) {
                pylat_remove(thread, stale);
                result = PYLAT_REPLACED;
                depth = thread->depth;
            }
        }
    }
    asm volatile("" : "+r"(depth)); /* else clang asks whether it is the one value that is left, and see pylat_find */
    if (depth >= PYLAT_DEPTH) {
        u32 beyond = call->frame >> 3;
        if (may_repeat && thread->too_deep > 0 && thread->last_beyond == beyond)
            return PYLAT_DUPLICATE;
        thread->last_beyond = beyond;
        thread->too_deep++;
        return PYLAT_OVERFLOW;
    }
    thread->open[depth & PYLAT_MASK] = *call;
    thread->depth = depth + 1;
    return result;
}

static __always_inline int pylat_is_innermost(const struct pylat_thread *thread, u64 frame)
{
    u32 depth = thread->depth;
    return depth > 0 && depth <= PYLAT_DEPTH && thread->open[pylat_place(depth - 1)].frame == frame;
}

/* The frame of the innermost open call; 0 without one. */
static __always_inline u64 pylat_innermost(const struct pylat_thread *thread)
{
    u32 depth = thread->depth;
    return depth > 0 && depth <= PYLAT_DEPTH ? thread->open[pylat_place(depth - 1)].frame : 0;
}

/* Whether the innermost open call is one of a plain function of which it was known at its entry that it is wanted. */
static __always_inline int pylat_is_decided(const struct pylat_thread *thread)
{
    return !(thread->open[pylat_place(thread->depth - 1)].flags & (PYLAT_UNDECIDED | PYLAT_SUSPENDS));
}

/* The innermost open call ends or suspends: take it into `call`. */
static __always_inline void pylat_pop_innermost(struct pylat_thread *thread, struct pylat_open *call)
{
    u32 top = (thread->depth - 1) & PYLAT_MASK;
    *call = thread->open[top];
    thread->depth = top;
    if (top == 0)
        thread->disordered = 0;
}

/* A frame ends or suspends: take its open call into `call`. A call beyond the table has no frame to be known by; any
 * exit that is in no table may be its, if it `may_be_beyond`. */
static __always_inline int pylat_pop(struct pylat_thread *thread, u64 frame, int may_be_beyond, struct pylat_open *call)
{
    if (pylat_is_innermost(thread, frame)) {
        pylat_pop_innermost(thread, call);
        return PYLAT_MATCHED;
    }
    u32 at = pylat_find(thread, frame);
    if (at < PYLAT_DEPTH) {
        *call = thread->open[pylat_place(at)];
        pylat_remove(thread, at);
        thread->disordered = 1;
        return PYLAT_MATCHED;
    }
    if (may_be_beyond && thread->too_deep > 0) {
        thread->too_deep--;
        thread->last_beyond = 0;
        return PYLAT_FROM_OVERFLOW;
    }
    return PYLAT_NOT_OPEN;
}

/* The call leaves the thread, suspended: what must outlive its stay on the stack. `kept` is the record of an
 * earlier suspension (PYLAT_RESUMED calls), or a zeroed one. */
static __always_inline void pylat_suspend(struct pylat_suspended *kept, const struct pylat_open *call, u64 now_ns)
{
    if (!(call->flags & PYLAT_RESUMED)) {
        kept->start_ns = call->start_ns;
        kept->active_ns = 0;
        kept->slot = call->slot;
        kept->active_slot = call->active_slot;
        kept->suspensions = 0;
    }
    if (now_ns > call->start_ns)
        kept->active_ns += now_ns - call->start_ns;
    kept->suspensions++;
    kept->running = 0;
}

/* A suspending call has no place in the table, but a record of its own: from now on it runs. Not too deep, then. */
static __always_inline void pylat_run_beyond(struct pylat_thread *thread, struct pylat_suspended *kept, u64 now_ns)
{
    thread->too_deep--;
    thread->last_beyond = 0; /* its record tells a repeated entry */
    kept->running = 1;
    kept->resumed_ns = now_ns;
}

/* What such a call has run since, at its next exit. */
static __always_inline u64 pylat_ran_beyond(struct pylat_suspended *kept, u64 now_ns)
{
    u64 ran_ns = kept->running && kept->resumed_ns && now_ns > kept->resumed_ns ? now_ns - kept->resumed_ns : 0;
    kept->resumed_ns = 0;
    return ran_ns;
}

/* A suspended call goes on: the open call that stands for this stay on the stack. */
static __always_inline void pylat_resume(struct pylat_suspended *kept, u64 frame, u64 now_ns, struct pylat_open *call)
{
    kept->running = 1;
    call->frame = frame;
    call->start_ns = now_ns;
    call->slot = kept->slot;
    call->active_slot = kept->active_slot;
    call->flags = PYLAT_WANTED | PYLAT_SUSPENDS | PYLAT_RESUMED;
}

#endif
