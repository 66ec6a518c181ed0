/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Calls that are suspended and resumed (generators, coroutines, asynchronous generators), and those beyond the table of
 * open calls. */
#ifndef PYLAT_GENERATORS_H
#define PYLAT_GENERATORS_H

#include "account.h"
#include "calls.h"
#include "count.h"
#include "maps.h"
#include "split.h"
#include "stack.h"

static __always_inline u64 generator_exit_type(int suspends)
{
    u32 zero = 0;
    struct pylat_config *now = suspends ? config.lookup(&zero) : NULL;
    return now ? now->generator_exit_type : 0;
}

/* A call that is open is suspended for the first time. */
static __always_inline void suspend_first(struct pylat_counters *count, const struct pylat_frame_key *key,
                                          const struct pylat_open *call, u64 now_ns, u64 taken_ns,
                                          const struct account_hit *paid, u32 kind)
{
    struct pylat_suspended fresh = {};
    pylat_suspend(&fresh, call, now_ns - taken_ns);
    fresh.taken_ns = taken_ns;
    account_leaves(paid, kind, &fresh);
#if PYLAT_SPLIT
    fresh.share = call->share;
#endif
    if (suspended.update(key, &fresh))
        lose(count);
}

static __always_inline void suspend_again(struct pylat_suspended *kept, const struct pylat_open *call, u64 now_ns,
                                          u64 taken_ns)
{
    pylat_suspend(kept, call, now_ns - taken_ns);
    kept->taken_ns += taken_ns;
#if PYLAT_SPLIT
    pylat_share_add(&kept->share, &call->share);
#endif
}

/* The same of one that has no place in the table of open calls. */
static __always_inline void suspend_beyond(struct pylat_suspended *kept, u64 ran_ns, u64 taken_ns)
{
    kept->active_ns += ran_ns;
    kept->taken_ns += taken_ns;
    kept->suspensions++;
    kept->running = 0;
}

/* What the probes took of such a call since it went on. */
static __always_inline u64 ran_beyond_taken(const struct account_hit *hit, u32 kind, const struct pylat_suspended *kept,
                                            u64 now_ns)
{
    if (!kept->running || !kept->resumed_ns || now_ns <= kept->resumed_ns)
        return 0;
    return account_since(hit, kind, kept->account_ns, now_ns - kept->resumed_ns);
}

/* A generator yields while it is being deallocated: its call was counted as abandoned already. */
static __always_inline void closing_suspends(u32 slot)
{
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (of)
        __sync_fetch_and_add(&of->suspensions, 1);
}

/* A call begins, or goes on, for which its thread's table has no place (pylat_push has said so): it is found by its
 * frame. `kept`: its record, if it was suspended before. Returns PYLAT_OVERFLOW if there is no room, or what else
 * pylat_push would have said. */
static __always_inline int run_beyond(struct pylat_thread *thread, const struct pylat_frame_key *key,
                                      const struct pylat_open *call, struct pylat_suspended *kept)
{
    int result = PYLAT_PUSHED;
    if (!kept) {
        struct pylat_suspended fresh = {.start_ns = call->start_ns, .slot = call->slot};
        fresh.active_slot = call->active_slot;
        kept = suspended.lookup(key);
        if (kept && kept->running) {
            if (PYLAT_ENTRY_MAY_REPEAT && kept->slot == call->slot) {
                thread->too_deep--;
                return PYLAT_DUPLICATE;
            }
            result = PYLAT_REPLACED;
        }
        kept = suspended.update(key, &fresh) ? NULL : suspended.lookup(key);
        if (!kept)
            return PYLAT_OVERFLOW;
    }
    pylat_run_beyond(thread, kept, call->start_ns);
    kept->account_ns = call->taken_ns;
    kept->tid = bpf_get_current_pid_tgid();
#if PYLAT_SPLIT
    pylat_share_begins_beyond(kept, call);
#endif
    return result;
}

#endif
