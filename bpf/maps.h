/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* All maps of pylat.bpf.c. The sizes given here are the smallest: program.py makes the maps, as large as a measurement
 * needs them. */
#ifndef PYLAT_MAPS_H
#define PYLAT_MAPS_H

#include "cpython.h"
#if PYLAT_SLOWER || PYLAT_TRACE
#include "capture.h"
#endif
#if PYLAT_SLOWER
#include "slow.h"
#endif
#if PYLAT_TRACE
#include "trace.h"
#endif

BPF_F_TABLE("array", u32, struct pylat_config, config, 1, PYLAT_MMAPABLE);
BPF_F_TABLE("array", u32, struct pylat_statistics, statistics, 1, PYLAT_MMAPABLE);
BPF_PERCPU_ARRAY(counters, struct pylat_counters, 1);
BPF_ARRAY(accounts, struct pylat_account, PYLAT_ACCOUNTS);
BPF_F_TABLE("array", u32, struct pylat_samples, samples, PYLAT_SAMPLE_SETS, PYLAT_MMAPABLE);
BPF_STACK(free_slots, u32, 1); /* last in, first out: so the statistics in use stay close together */
/* Not preallocated: how many code objects, threads and suspended calls there will be is not known, and a thread's table
 * is 24 kB. */
BPF_F_TABLE("hash", struct pylat_function_key, struct pylat_function, functions, 1, PYLAT_NO_PREALLOC);
BPF_F_TABLE("array", u32, u64, known_codes, PYLAT_KNOWN, PYLAT_MMAPABLE); /* some of them, found many times as fast */
BPF_F_TABLE("hash", u32, struct pylat_thread, threads, 1, PYLAT_NO_PREALLOC);
BPF_F_TABLE("hash", struct pylat_frame_key, struct pylat_suspended, suspended, 1, PYLAT_NO_PREALLOC);
/* Generators whose deallocation has begun: what they still do is no call. By age, since many never run again. */
BPF_TABLE("lru_hash", struct pylat_frame_key, u32, closing, 1);
BPF_ARRAY(unplaced, s64, 1); /* calls that found no place when they began or were suspended, and have not ended yet */
BPF_TABLE("hash", struct pylat_name, u8, wanted_names, 1); /* the bare names that the patterns ask for */
BPF_ARRAY(empty_thread, struct pylat_thread, 1);
BPF_TABLE("hash", u32, struct pylat_process, processes, 1); /* by tgid: who is followed */
BPF_TABLE("hash", pylat_space, pylat_space, ancestors, 1);  /* the address space that each was forked from */
BPF_RINGBUF_OUTPUT(events, 1);
/* Empty. A program that calls another one has an ordinary stack: without, from Linux 6.13 on, programs of probes that
 * interrupt each other would write into one and the same (docs/kernels.md). So each of them has a call that goes
 * nowhere, at a place where it costs nothing. */
BPF_PROG_ARRAY(never, 1);
#if PYLAT_PARALLEL
BPF_F_TABLE("hash", struct pylat_extremes_key, struct pylat_extremes, extremes, 1, PYLAT_NO_PREALLOC);
/* The slots of a function, by the thread that was first to take some for it. */
BPF_F_TABLE("hash", struct pylat_function_key, struct pylat_function, claims, 1, PYLAT_NO_PREALLOC);
#endif
#if PYLAT_OFFCPU
BPF_F_TABLE("array", u32, struct pylat_split, splits, 1, PYLAT_MMAPABLE); /* by the slot of the statistics */
#endif
#if PYLAT_SELF
BPF_F_TABLE("array", u32, struct pylat_statistics, self_times, 1, PYLAT_MMAPABLE); /* of these only the times */
#endif
#if PYLAT_SLOWER
BPF_RINGBUF_OUTPUT(slow_events, 1);
BPF_TABLE("hash", struct pylat_function_key, u8, told_codes, 1); /* whose names user space has for slow calls */
BPF_F_TABLE("hash", u32, struct pylat_slow_work, slow_work, 1, PYLAT_NO_PREALLOC); /* by thread, while one is told */
BPF_ARRAY(empty_slow_work, struct pylat_slow_work, 1);
BPF_TABLE("prog", u32, u32, slow_programs, 1);
#endif
#if PYLAT_TRACE
BPF_F_TABLE("hash", u32, struct pylat_trace_thread, trace_threads, 1, PYLAT_NO_PREALLOC);
BPF_ARRAY(trace_empty, struct pylat_trace_thread, 1);
BPF_ARRAY(trace_lost, u64, 1);
BPF_PROG_ARRAY(trace_more, 1);
#endif

#endif
