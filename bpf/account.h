/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the probes take from a thread, so that it can be taken off the latencies of the calls that are open meanwhile.
 *
 * Each hit adds what its kind takes here (config.price_ns) to the account of its thread, and an open call keeps how the
 * account stood behind its entry. Now and then a hit is measured: how long its program ran, or how long it was from its
 * end to the next hit of the thread, which is a trap and little Python where the two are close. User space makes prices
 * of that (latency/tracing/probes/prices.py).
 *
 * Two threads of the target whose ids agree in their low 16 bits share an account. */
#ifndef PYLAT_ACCOUNT_H
#define PYLAT_ACCOUNT_H

#include "count.h"
#include "maps.h"

/* Of one hit. What is measured of it stands in the account: of values here the verifier would know which of seven ways
 * led to them, and follow all that comes behind once for each. */
struct account_hit {
    struct pylat_account *account;
    struct pylat_config *now;
    struct pylat_counters *count;
    u64 pid_tgid;
    u64 stamp_ns; /* of the call that begins or ends */
    u32 clock_ns; /* what it takes to read the clock */
};

static __always_inline void take_sample(u32 set, u64 ns)
{
    struct pylat_samples *to = samples.lookup(&set);
    if (to)
        to->ns[to->count++ & (PYLAT_SAMPLES - 1)] = ns < 0xffffffff ? ns : 0xffffffff;
}

/* As soon as a program knows that the measurement runs. */
static __always_inline void account_begins(struct account_hit *hit, u32 kind)
{
    u32 at = (u32)hit->pid_tgid & (PYLAT_ACCOUNTS - 1);
    struct pylat_account *account = accounts.lookup(&at);
    hit->account = account;
    if (!account)
        return; /* never, but the verifier cannot know */
    account->began_ns = 0;
    account->gap = 0;
    account->reads = 0;
    u64 ended_ns = account->ended_ns;
    if (ended_ns) {
        take_sample(PYLAT_GAP_SETS + (account->before & 7) * PYLAT_HIT_KINDS + kind, bpf_ktime_get_ns() - ended_ns);
        account->ended_ns = 0;
        account->taken_ns += hit->clock_ns;
        account->reads = 1;
    }
    if (account->left--)
        return;
    u64 now_ns = bpf_ktime_get_ns();
    account->left = 24 + (now_ns & 31); /* not regular: the target has loops of its own */
    account->before = kind;
    u32 reads = 1;
    if (account->turn++ & 1) {
        account->gap = 1;
    } else {
        take_sample(PYLAT_CLOCK_SET, bpf_ktime_get_ns() - now_ns);
        account->began_ns = bpf_ktime_get_ns();
        reads = 3;
    }
    account->taken_ns += reads * hit->clock_ns;
    account->reads += reads;
}

/* At the very end of a program. `counts`: the hit was not rejected. */
static __always_inline void account_ends(const struct account_hit *hit, u32 kind, u32 counts)
{
    struct pylat_account *account = hit->account;
    struct pylat_config *now = hit->now;
    struct pylat_counters *count = hit->count;
    if (!account || !now || !count)
        return;
    u64 price_ns = now->price_ns[kind][counts & 1];
    account->taken_ns += price_ns;
    u64 began_ns = account->began_ns;
    u32 last_read = began_ns || account->gap;
    PYLAT_ADD_OFTEN(count->taken_ns, price_ns + (account->reads + last_read) * hit->clock_ns);
    if (began_ns) {
        u64 now_ns = bpf_ktime_get_ns();
        take_sample(PYLAT_PROGRAM_SETS + 2 * kind + (counts & 1), now_ns - began_ns);
        if (hit->stamp_ns > began_ns)
            take_sample(PYLAT_OWN_SETS + kind,
                        kind == PYLAT_HIT_ENTRY ? now_ns - hit->stamp_ns : hit->stamp_ns - began_ns);
        account->taken_ns += hit->clock_ns;
    }
    if (account->gap) {
        account->taken_ns += hit->clock_ns;
        account->ended_ns = bpf_ktime_get_ns();
    }
}

/* A hit's program ends as others do, but another goes on, which takes longer than a price says. */
static __always_inline void account_goes_on(struct account_hit *hit, u32 kind)
{
    if (!hit->account)
        return;
    hit->account->gap = 0; /* what is behind it is no gap */
    account_ends(hit, kind, 1);
    hit->account->telling_ns = bpf_ktime_get_ns();
    hit->account = NULL;
}

/* What it took since then. */
static __always_inline void account_told(void)
{
    u32 at = (u32)bpf_get_current_pid_tgid() & (PYLAT_ACCOUNTS - 1), zero = 0;
    struct pylat_account *account = accounts.lookup(&at);
    struct pylat_config *now = config.lookup(&zero);
    struct pylat_counters *count = counters.lookup(&zero);
    u64 now_ns = bpf_ktime_get_ns();
    if (!account || !now || !count || !now->price_ns[PYLAT_HIT_ENTRY][1] || !account->telling_ns)
        return;
    u64 more_ns = now_ns > account->telling_ns ? now_ns - account->telling_ns : 0;
    account->telling_ns = 0;
    account->taken_ns += more_ns;
    PYLAT_ADD_OFTEN(count->taken_ns, more_ns);
}

/* What a thread's account says behind the hit that is on its way. */
static __always_inline u64 account_behind(const struct account_hit *hit, u32 kind)
{
    return hit->account && hit->now ? hit->account->taken_ns + hit->now->price_ns[kind][1] : 0;
}

/* What the probes took of a stay on the stack that ends with this hit: never all of it. */
static __always_inline u64 account_since(const struct account_hit *hit, u32 kind, u64 since_ns, u64 stay_ns)
{
    if (!hit->account || !hit->now || !stay_ns)
        return 0;
    u64 taken_ns = hit->account->taken_ns - since_ns + hit->now->own_ns[kind];
    return taken_ns < stay_ns ? taken_ns : stay_ns - 1;
}

/* How often the thread has slept, that is, has left its processor to wait for something. */
static __always_inline u64 times_slept(void)
{
    u64 count = 0;
#if PYLAT_TASK_SLEPT >= 0
    pylat_read_kernel(&count, sizeof(count), (void *)(bpf_get_current_task() + PYLAT_TASK_SLEPT));
#endif
    return count;
}

/* A call is suspended by this hit. Of its exit and of the entry by which it goes on, what lies between the stays on the
 * stack is what both take without what lies within. */
static __always_inline void account_leaves(const struct account_hit *hit, u32 kind, struct pylat_suspended *kept)
{
    kept->tid = 0;
    if (!hit->account || !hit->now)
        return;
    kept->tid = hit->pid_tgid;
    kept->account_ns = hit->account->taken_ns + hit->now->own_ns[kind] - hit->now->price_ns[PYLAT_HIT_ENTRY][1];
    kept->slept = times_slept();
}

/* It goes on. What the probes took of its thread meanwhile held it up if the thread had something to do all the time.
 * If it slept, the probes before that held nobody up, and those behind it did; how many were which is not known. */
static __always_inline void account_comes_back(const struct account_hit *hit, struct pylat_suspended *kept, u64 now_ns)
{
    if (!hit->account || !kept->tid || kept->tid != (u32)hit->pid_tgid)
        return;
    u64 known_ns = kept->active_ns + kept->taken_ns + kept->beside_ns, since_ns = now_ns - kept->start_ns;
    s64 taken_ns = hit->account->taken_ns - kept->account_ns, most_ns = since_ns - known_ns;
    if (taken_ns > most_ns)
        taken_ns = most_ns;
    if (taken_ns <= 0)
        return;
    if (PYLAT_TASK_SLEPT >= 0 && kept->slept == times_slept())
        kept->beside_ns += taken_ns;
    else
        kept->unsure_ns += taken_ns;
}

#endif
