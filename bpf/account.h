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

/* Of one hit. */
struct account_hit {
    struct pylat_account *account;
    u64 began_ns; /* 0: its program is not measured */
    u64 stamp_ns; /* of the call that begins or ends */
    u32 gap;      /* what is behind it is measured */
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
    u32 tid = bpf_get_current_pid_tgid(), at = tid & (PYLAT_ACCOUNTS - 1);
    struct pylat_account *account = accounts.lookup(&at);
    hit->account = account;
    if (!account)
        return; /* never, but the verifier cannot know */
    u64 ended_ns = account->ended_ns;
    if (ended_ns) {
        take_sample(PYLAT_GAP_SETS + (account->before & 7) * PYLAT_HIT_KINDS + kind, bpf_ktime_get_ns() - ended_ns);
        account->ended_ns = 0;
        account->taken_ns += hit->clock_ns;
    }
    if (account->left--)
        return;
    u64 now_ns = bpf_ktime_get_ns();
    account->left = 24 + (now_ns & 31); /* not regular: the target has loops of its own */
    account->before = kind;
    account->taken_ns += hit->clock_ns;
    if (account->turn++ & 1) {
        hit->gap = 1;
    } else {
        take_sample(PYLAT_CLOCK_SET, bpf_ktime_get_ns() - now_ns);
        hit->began_ns = bpf_ktime_get_ns();
        account->taken_ns += 2 * hit->clock_ns;
    }
}

/* At the very end of a program. `counts`: the hit was not rejected. */
static __always_inline void account_ends(const struct account_hit *hit, u32 kind, u32 counts)
{
    u32 zero = 0;
    struct pylat_account *account = hit->account;
    struct pylat_config *now = config.lookup(&zero);
    struct pylat_counters *count = counters.lookup(&zero);
    if (!account || !now || !count)
        return;
    u64 price_ns = now->price_ns[kind][counts & 1];
    account->taken_ns += price_ns;
    PYLAT_ADD_OFTEN(count->taken_ns, price_ns);
    if (hit->began_ns) {
        u64 now_ns = bpf_ktime_get_ns();
        take_sample(PYLAT_PROGRAM_SETS + 2 * kind + (counts & 1), now_ns - hit->began_ns);
        if (hit->stamp_ns > hit->began_ns)
            take_sample(PYLAT_OWN_SETS + kind,
                        kind == PYLAT_HIT_ENTRY ? now_ns - hit->stamp_ns : hit->stamp_ns - hit->began_ns);
        account->taken_ns += hit->clock_ns;
    }
    if (hit->gap) {
        account->taken_ns += hit->clock_ns;
        account->ended_ns = bpf_ktime_get_ns();
    }
}

/* What a hit took beside its price, since its call's time stamp: where the program of another goes on. */
static __always_inline void account_more(u64 since_ns)
{
    u32 at = (u32)bpf_get_current_pid_tgid() & (PYLAT_ACCOUNTS - 1), zero = 0;
    struct pylat_account *account = accounts.lookup(&at);
    struct pylat_config *now = config.lookup(&zero);
    u64 now_ns = bpf_ktime_get_ns();
    if (account && now && now->price_ns[PYLAT_HIT_ENTRY][1] && now_ns > since_ns)
        account->taken_ns += now_ns - since_ns;
}

/* What a thread's account says behind the hit that is on its way. */
static __always_inline u64 account_behind(const struct account_hit *hit, u32 kind)
{
    u32 zero = 0;
    struct pylat_config *now = config.lookup(&zero);
    return hit->account && now ? hit->account->taken_ns + now->price_ns[kind][1] : 0;
}

/* What the probes took of a stay on the stack that ends with this hit: never all of it. */
static __always_inline u64 account_since(const struct account_hit *hit, u32 kind, u64 since_ns, u64 stay_ns)
{
    u32 zero = 0;
    struct pylat_config *now = config.lookup(&zero);
    if (!hit->account || !now || !stay_ns)
        return 0;
    u64 taken_ns = hit->account->taken_ns - since_ns + now->own_ns[kind];
    return taken_ns < stay_ns ? taken_ns : stay_ns - 1;
}

#endif
