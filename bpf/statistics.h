/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* One finished call goes into the statistics of its function. No helpers and no maps. */
#ifndef PYLAT_STATISTICS_H
#define PYLAT_STATISTICS_H

#include "pylat.h"

/* Returns whether it is shorter or longer than all before. One thread of a process runs Python at a time, so these two
 * need no compare-and-swap. Where that is not so (PYLAT_PARALLEL), they can be overwritten by a thread that saw older
 * ones: whoever is told so keeps them elsewhere, too. 0 stands for "none yet". */
static __always_inline int pylat_count_latency(struct pylat_statistics *of, u64 ns)
{
    ns += !ns; /* of a call from which all was taken off: it took something */
    u32 bucket = pylat_bucket(ns);
    if (bucket < PYLAT_BUCKETS)
        __sync_fetch_and_add(&of->counts[bucket], 1);
    __sync_fetch_and_add(&of->sum_ns, ns);
    int extreme = 0;
    if (of->min_ns == 0 || ns < of->min_ns) {
        of->min_ns = ns;
        extreme = 1;
    }
    if (ns > of->max_ns) {
        of->max_ns = ns;
        extreme = 1;
    }
    return extreme;
}

#endif
