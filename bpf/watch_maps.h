/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* All maps of watch.bpf.c. The sizes given here are the smallest. Not preallocated is what may be many calls or none:
 * before Linux 6.1, where a program of a perf event needs it, that is, too (tracing/kernel/allocation.py). */
#ifndef PYLAT_WATCH_MAPS_H
#define PYLAT_WATCH_MAPS_H

#include "watch.h"

BPF_F_TABLE("array", u32, struct pylat_watch_config, config, 1, PYLAT_MMAPABLE);
BPF_F_TABLE("array", u32, struct pylat_statistics, statistics, PYLAT_WATCHED, PYLAT_MMAPABLE);
BPF_F_TABLE("array", u32, struct pylat_watched, watched, PYLAT_WATCHED, PYLAT_MMAPABLE);
BPF_PERCPU_ARRAY(counters, struct pylat_counters, 1);
BPF_TABLE("hash", u32, struct pylat_watch_thread, threads, 1);
BPF_F_TABLE("hash", struct pylat_watch_key, struct pylat_watch_call, frames, 1, PYLAT_NO_PREALLOC);
BPF_TABLE("hash", u64, struct pylat_watch_process, processes, 1);
BPF_ARRAY(unplaced, s64, 1); /* as in maps.h */
#if PYLAT_MANY_PROCESSES
BPF_F_TABLE("hash", struct pylat_extremes_key, struct pylat_extremes, extremes, 1, PYLAT_NO_PREALLOC);
#endif
#ifdef PYLAT_WATCH_HOMES
BPF_TABLE("hash", u64, struct pylat_watch_home, homes, 1);
#endif
BPF_ARRAY(empty_thread, struct pylat_watch_thread, 1);
BPF_PERCPU_ARRAY(runs, u64, 1); /* of pylat_watch, which nothing interrupts */
BPF_PROG_ARRAY(never, 1);       /* empty: see maps.h */

#endif
