/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* All maps of watch.bpf.c. The sizes given here are the smallest. All are preallocated, which before Linux 6.1 a
 * program of a perf event needs, but for the extremes, where the kernel lets a table grow
 * (tracing/kernel/allocation.py). */
#ifndef PYLAT_WATCH_MAPS_H
#define PYLAT_WATCH_MAPS_H

#include "watch.h"
#if PYLAT_SLOWER
#include "slow.h"

/* One slow call while it is being told. */
struct pylat_watch_telling {
    u64 caller;    /* the frame that called it */
    u64 unread;    /* 1: which that is could not be read */
    u64 exception; /* what it raised, where that is known already; else 0 */
    u64 intact;    /* 1: its frame still holds the arguments */
    u64 began_ns;  /* since when it is being told */
    struct pylat_slow_code code;
    struct pylat_slow_work work;
};

/* The arguments of an open call, as they were when it began. */
struct pylat_watch_entry {
    u64 start_ns; /* of the call: its frame may have been another's before */
    struct pylat_snapshot arguments;
};

/* The same of a call that has just begun, while they are being taken along. */
struct pylat_watch_taking {
    struct pylat_watch_key key;
    u64 code;
    u64 began_ns; /* since when they are */
    u64 rounds;
    struct pylat_worklist list;
    struct pylat_watch_entry entry;
};
#endif

BPF_F_TABLE("array", u32, struct pylat_watch_config, config, 1, PYLAT_MMAPABLE);
BPF_F_TABLE("array", u32, struct pylat_statistics, statistics, PYLAT_WATCHED, PYLAT_MMAPABLE);
BPF_F_TABLE("array", u32, struct pylat_watched, watched, PYLAT_WATCHED, PYLAT_MMAPABLE);
BPF_PERCPU_ARRAY(counters, struct pylat_counters, 1);
BPF_TABLE("hash", u32, struct pylat_watch_thread, threads, 1);
BPF_TABLE("hash", struct pylat_watch_key, struct pylat_watch_call, frames, 1);
BPF_TABLE("hash", u64, struct pylat_watch_process, processes, 1);
BPF_ARRAY(unplaced, s64, 1); /* as in maps.h */
#if PYLAT_OFFCPU
BPF_F_TABLE("array", u32, struct pylat_split, splits, PYLAT_WATCHED,
            PYLAT_MMAPABLE); /* by the slot of the statistics */
#endif
#if PYLAT_MANY_PROCESSES
BPF_F_TABLE("hash", struct pylat_extremes_key, struct pylat_extremes, extremes, 1, PYLAT_NO_PREALLOC);
#endif
#if PYLAT_WATCH_JIT
BPF_TABLE("hash", u64, u8, makers, 64); /* places of the interpreter at which frames are made */
#endif
#ifdef PYLAT_WATCH_HOMES
BPF_TABLE("hash", u64, struct pylat_watch_home, homes, 1);
#endif
BPF_ARRAY(empty_thread, struct pylat_watch_thread, 1);
BPF_PERCPU_ARRAY(runs, u64, 1); /* of pylat_watch, which nothing interrupts */
BPF_PROG_ARRAY(never, 1);       /* empty: see maps.h */
#if PYLAT_SLOWER
BPF_RINGBUF_OUTPUT(slow_events, 1);
BPF_TABLE("hash", u32, struct pylat_watch_telling, slow_work, 1); /* by thread, while one is told */
BPF_ARRAY(empty_slow_work, struct pylat_watch_telling, 1);
BPF_PROG_ARRAY(slow_programs, 1);  /* of watchpoints */
BPF_PROG_ARRAY(raise_programs, 1); /* of the probe on exceptions */
#if PYLAT_SLOW_VALUES
BPF_TABLE("hash", struct pylat_watch_key, struct pylat_watch_entry, entry_values, 1);
BPF_PERCPU_ARRAY(takings, struct pylat_watch_taking, 1); /* of programs that nothing interrupts, as runs */
BPF_PROG_ARRAY(take_programs, 1);
#endif
#endif

#endif
