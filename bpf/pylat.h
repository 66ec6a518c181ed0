/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The contract between the BPF side and latency/tracing/counted/wire.py: every struct, flag and counter that both
 * sides name. Members have fixed widths, padding is written out, and there are no pointers and no bit-fields.
 * A test compiles this header and compares every offset and size with the numpy dtypes. */
#ifndef PYLAT_H
#define PYLAT_H

#include "histogram.h"

/* Open calls of one thread that the table holds: more than CPython's default recursion limit of 1000. */
#define PYLAT_DEPTH 1024
/* Bytes of a name's string object (header and text) that are taken along when a code object is first seen. */
#define PYLAT_NAME_BYTES 224
/* Bytes of a bare name that are compared in the kernel. */
#define PYLAT_BARE_NAME_BYTES 32
/* Of a slow call: frames above it, bytes of a code object's line table, of a type's name and of a thread's. */
#define PYLAT_STACK_FRAMES 64
#define PYLAT_LINES_BYTES 4096
#define PYLAT_TYPE_NAME_BYTES 64
#define PYLAT_COMM_BYTES 16
#define PYLAT_CODE_HEAD_BYTES 136 /* of a code object: what tells its arguments lies in there in all versions */

/* Flags of struct pylat_function and struct pylat_open. */
#define PYLAT_WANTED 1      /* the filter asks for it */
#define PYLAT_SUSPENDS 2    /* a generator, coroutine or asynchronous generator */
#define PYLAT_FREED 8       /* was freed; the address may hold another one by now */
#define PYLAT_UNDECIDED 16  /* met while running: user space has not said yet whether it is wanted */
#define PYLAT_STRUCK_OUT 32 /* it was measured until user space said that it is not wanted */
#define PYLAT_RESUMED 4     /* an open call that was suspended before: its beginning is in struct pylat_suspended */

/* The split of a function's wall time: five parts, in each of which 145 buckets, a quarter as fine as histogram.h's
 * (scale 2: bucket p covers (2^((p-1)/4), 2^(p/4)] seconds, from -95 on). */
#define PYLAT_RUNNING 0
#define PYLAT_WAITING 1
#define PYLAT_RUNNABLE 2
#define PYLAT_GC 3
#define PYLAT_SUSPENDED_PART 4
#define PYLAT_PARTS 5
#define PYLAT_SPLIT_BUCKETS 145

/* No statistics yet, or none left. Slots fit 16 bits, so that an open call fits 24 bytes. */
#define PYLAT_NO_SLOT 0xffff

/* Flags of struct pylat_statistics. */
#define PYLAT_ACTIVE 1 /* the time that a suspending function ran, not its calls */
#define PYLAT_DEAD 2   /* the code object was freed */

/* One address space: a process from its fork, or from its last exec, to its next exec or its end. User space numbers
 * those that it adds from 1 (0 where a program follows one process only); those met while running get a time stamp and
 * their tgid, so that no two are alike. */
typedef u64 pylat_space;

/* Beside a number that pylat's own PID namespace gave (followed.h); PIDs have 22 bits. */
#define PYLAT_OF_PYLAT 0x40000000

/* A process that is followed. */
struct pylat_process {
    pylat_space space;
    pylat_space parent; /* whose code objects it had at its fork; 0 for none */
    u64 told;           /* by the first of the two programs (processes.h): nothing is left for the second */
};

/* A code object. */
struct pylat_function_key {
    u64 code; /* address of the PyCodeObject */
    pylat_space space;
};

struct pylat_function {
    u16 slot;        /* index into the statistics, or PYLAT_NO_SLOT until the first call */
    u16 active_slot; /* the same for the time that a suspending function really ran */
    u32 flags;
};

/* What is known of the finished calls of one function; all times in nanoseconds, and latencies without what the probes
 * took (account.h). */
struct pylat_statistics {
    u64 code; /* whose: 0 while the slot is free */
    pylat_space space;
    u32 flags;
    u32 padding;
    u64 returned;
    u64 raised;
    u64 abandoned;   /* closed or collected while suspended */
    u64 suspensions; /* yields and awaits, of finished and abandoned calls alike */
    u64 cut;         /* calls that were open when their thread ended */
    u64 sum_ns;
    u64 min_ns;
    u64 max_ns;
    u64 taken_ns;              /* by the probes while these calls ran: what was taken off (account.h) */
    u64 unsure_ns;             /* by them while these were suspended: it may have held them up, and is not taken off */
    u64 slower_ns;             /* calls beyond this are slow; 0: what the config says */
    u64 slow;                  /* how many were */
    u64 unjudged;              /* calls that ended before there was anything to compare them with */
    u64 counts[PYLAT_BUCKETS]; /* see histogram.h */
};

/* The shortest and the longest latency of a slot that a thread saw, where several threads run Python at once
 * (PYLAT_PARALLEL): those in struct pylat_statistics can be overwritten, and BPF of old kernels has no
 * compare-and-swap. */
struct pylat_extremes_key {
    u32 tid;
    u32 slot; /* above 16 bits: 1 of self times */
};

struct pylat_extremes {
    u64 min_ns;
    u64 max_ns;
};

/* What is known of a time beside its length (split.h): of a stay on the stack, of the stays of a suspended call, or of
 * all of a call. While a call is open, the first three are the thread's own at its start. */
struct pylat_share {
    u64 waiting_ns;  /* off the CPU, until it was woken */
    u64 runnable_ns; /* off the CPU, though ready to run */
    u64 gc_ns;       /* on the CPU, in garbage collections */
    u64 callees_ns;  /* PYLAT_UNKNOWN_NS where it is not known */
};

/* How a thread spends its time, since its first measured call. */
struct pylat_clock {
    u64 waiting_ns;
    u64 runnable_ns;
    u64 gc_ns;          /* of finished garbage collections */
    u64 off_since_ns;   /* 0 on the CPU */
    u64 ready_since_ns; /* 0 on the CPU, and until it is woken */
    u64 gc_since_ns;    /* by the thread's own clock, which stands still off the CPU */
    u32 switches;       /* how often it came back */
    u32 in_gc;
};

/* Where the wall time of one function's calls went, by the bucket of the call. */
struct pylat_split {
    u64 calls;
    u64 parts_ns[PYLAT_PARTS * PYLAT_SPLIT_BUCKETS];
};

/* One open call. */
struct pylat_open {
    u64 frame; /* address of the PyFrameObject or _PyInterpreterFrame: it proves the match */
    u64 start_ns;
    u16 slot;
    u16 active_slot;
    u32 flags;
    u64 taken_ns; /* the thread's account behind its entry (account.h) */
#if PYLAT_SPLIT
    struct pylat_share share;
#endif
};

/* The open calls of one thread. */
struct pylat_thread {
    u32 depth;       /* entries of open[] in use */
    u32 too_deep;    /* open calls beyond the table, those aside that have a struct pylat_suspended */
    u32 disordered;  /* not 0 once a call ended that was not the innermost: an exit was missed, or greenlets */
    u32 last_beyond; /* of the frame that was pushed beyond the table last: bits 3 to 34 of its address */
    pylat_space space;
    u64 unlearnt; /* see pylat_unlearn */
#if PYLAT_SPLIT
    struct pylat_clock clock;
#endif
    struct pylat_open open[PYLAT_DEPTH];
};

/* A suspended (or resumed) call of a generator or coroutine, or an open call that has no place in its thread's table,
 * found again by its frame's address. */
struct pylat_frame_key {
    u64 frame;
    pylat_space space;
};

struct pylat_suspended {
    u64 start_ns;   /* first start */
    u64 active_ns;  /* time that it ran until it was suspended last */
    u64 resumed_ns; /* since when it runs, where it has no place in the table of open calls; else 0 */
    u64 taken_ns;   /* by the probes while it ran, until it was suspended last */
    u64 beside_ns;  /* by them while it was suspended: they held it up */
    u64 unsure_ns;  /* the same, but the thread slept meanwhile: perhaps they held nobody up */
    u64 account_ns; /* the thread's account at resumed_ns, and when it was suspended last */
    u64 slept;      /* how often the thread had slept when it was suspended last */
    u16 slot;
    u16 active_slot;
    u32 suspensions;
    u32 running; /* 1 while it runs */
    u32 tid;     /* by which it was suspended last; while it has no place in a table (resumed_ns), in which it runs */
#if PYLAT_SPLIT
    struct pylat_share share;
#endif
};

/* Code objects by a place that their address gives, one at each: its address, and behind it 16 bits: the slot of a
 * plain function that is wanted, or PYLAT_NO_SLOT of one that is not. 0: none. One word, which is read and written at
 * once. */
#define PYLAT_KNOWN_BITS 12
#define PYLAT_KNOWN (1 << PYLAT_KNOWN_BITS)

/* The bare name of a function, zero-padded; longer names are cut. */
struct pylat_name {
    u8 text[PYLAT_BARE_NAME_BYTES];
};

/* The account of a thread (account.h): what the probes took from it. */
#define PYLAT_ACCOUNTS 65536 /* by the low 16 bits of the thread's id */

/* Kinds of hits, by the role of their site. */
#define PYLAT_HIT_ENTRY 0
#define PYLAT_HIT_EXIT 1 /* exits and returns */
#define PYLAT_HIT_RAISE 2
#define PYLAT_HIT_YIELD 3
#define PYLAT_HIT_DEALLOC 4
#define PYLAT_HIT_OTHER 5
#define PYLAT_HIT_KINDS 6

struct pylat_account {
    u64 taken_ns;   /* until now */
    u64 ended_ns;   /* when the program of the hit before ended, where the gap to the next one is measured; else 0 */
    u64 telling_ns; /* since when a call is told, which is beyond the price of its hit */
    u64 innermost;  /* the frame of a thread's innermost open call, while no other call was seen to begin in it */
    u64 began_ns;   /* when the program of this hit began, where it is measured; else 0 */
    u16 left;       /* hits until something is measured again */
    u16 turn;       /* odd: a gap is measured next; even: the time of a program */
    u16 reads;      /* of the clock in this hit, to measure */
    u8 before;      /* the kind of the hit that was measured last */
    u8 gap;         /* what is behind this hit is measured */
};

/* The newest of each measured time, in a ring: they are samples, and what is overwritten is no loss. Of gaps between
 * two hits, by the kinds of both; of programs, by kind and whether the hit counts; of what lies between a call's time
 * stamps and the outer ends of its own programs, by kind; and of the clock itself. */
#define PYLAT_SAMPLES 256
#define PYLAT_GAP_SETS 0
#define PYLAT_PROGRAM_SETS 36
#define PYLAT_OWN_SETS 48
#define PYLAT_CLOCK_SET 54
#define PYLAT_SAMPLE_SETS 55

struct pylat_samples {
    u64 count; /* ever */
    u32 ns[PYLAT_SAMPLES];
};

/* What user space changes while the programs run. */
struct pylat_config {
    u64 code_type;           /* address of PyCode_Type in the target and its forks */
    u64 generator_exit_type; /* of the class GeneratorExit */
    u64 slower_ns;           /* calls beyond this are slow; 0: only where the function's statistics say so */
    u64 floor_ns;            /* slow calls up to this are counted, and no more: longer ones are kept already */
    u32 enabled;
    u32 sliced;                       /* the probes have been away for a time (PYLAT_SLICES) */
    u32 price_ns[PYLAT_HIT_KINDS][2]; /* what a hit takes from the target: one that is rejected, and one that counts */
    u32 own_ns[PYLAT_HIT_KINDS];      /* what of a call's own two hits lies between its time stamps, by its exit */
    u32 clock_ns;                     /* what it takes to read the clock */
    u32 replaced;                     /* 1: the process runs another program since; only where one is followed */
    u64 namespace_device;             /* of the process's PID namespace */
    u64 namespace_inode;
    u32 tgid; /* of the process, as it is numbered in there */
    u32 padding;
};

/* Counters, one set for each CPU. Every event of a wanted function ends as matched or in one of the losses. */
struct pylat_counters {
    u64 hits;             /* probe hits, wanted or not */
    u64 taken_ns;         /* by all of them, from all threads, with what it took to measure and to tell calls */
    u64 entries;          /* calls of wanted functions that began */
    u64 matched;          /* calls that ended, with a latency */
    u64 abandoned;        /* suspended calls that were closed or collected */
    u64 duplicates;       /* entries seen twice by design: CPython runs RESUME again after instrumentation changed */
    u64 began_before;     /* calls that ended here but began before pylat watched */
    u64 slow_lost;        /* slow calls that are counted and measured, but not told: the ring buffer was full */
    u64 unmatched_return; /* losses, from here on: see latency/recording.py for what each means */
    u64 unmatched_entry;
    u64 too_deep;
    u64 table_full;
    u64 read_fault;
    u64 negative;
    u64 bad_frame;
    u64 event_lost;
    u64 thread_ended; /* counted here by the watch engine only; else by function: `cut` */
};

/* What the ring buffer carries: `kind` says which struct. */
#define PYLAT_EVENT_CODE 1    /* a code object that was not known is running */
#define PYLAT_EVENT_FORK 2    /* a process that is followed has a child */
#define PYLAT_EVENT_EXEC 3    /* a process that is followed runs another program */
#define PYLAT_EVENT_MODULE 16 /* in which module a code object runs that is met next */
#define PYLAT_EVENT_OWNER 18  /* which function holds it */

struct pylat_process_event {
    u32 kind;
    u32 tgid;
    pylat_space space;
    pylat_space parent;
};

struct pylat_code_event {
    u32 kind;
    u32 tgid;
    pylat_space space;
    u64 code;
    u16 slot;
    u16 active_slot;
    u16 qualname_bytes; /* how much of each could be read */
    u16 filename_bytes;
    u32 line;
    u32 co_flags;
    u8 qualname[PYLAT_NAME_BYTES]; /* the string objects as they lie in the target, header first */
    u8 filename[PYLAT_NAME_BYTES];
};

struct pylat_module_event {
    u32 kind;
    u32 name_bytes; /* how much of the name could be read */
    pylat_space space;
    u64 code;
    u8 name[PYLAT_NAME_BYTES]; /* its string object, header first */
};

struct pylat_owner_event {
    u32 kind;
    u16 qualname_bytes; /* how much of each could be read */
    u16 module_bytes;
    pylat_space space;
    u64 code;
    u8 qualname[PYLAT_NAME_BYTES]; /* the string objects, header first */
    u8 module[PYLAT_NAME_BYTES];
};

/* What the ring buffer of slow calls carries: `kind` says which struct. */
#define PYLAT_SLOW_CODE 1 /* a code object stands on the stack of a slow call for the first time */
#define PYLAT_SLOW_CALL 2

struct pylat_slow_code {
    u32 kind;
    u32 co_flags;
    u64 code;
    pylat_space space;
    u32 line;
    u32 first_traceable; /* 3.11 and later: index of the first RESUME unit */
    u16 qualname_bytes;  /* how much of each could be read */
    u16 filename_bytes;
    u16 lines_bytes;
    u16 lines_whole; /* 1: the line table is all there */
    u8 qualname[PYLAT_NAME_BYTES];
    u8 filename[PYLAT_NAME_BYTES];
    u8 lines[PYLAT_LINES_BYTES]; /* co_linetable, co_lnotab to 3.9: its first bytes */
};

/* One frame above a call. */
struct pylat_stack_frame {
    u64 code;
    u64 instruction; /* f_lasti, prev_instr or instr_ptr */
    u64 owner;       /* 3.11 and later */
};

#define PYLAT_STACK_WHOLE 1  /* the last frame has no caller */
#define PYLAT_STACK_CUT 2    /* there are more frames than fit */
#define PYLAT_STACK_BROKEN 3 /* the next frame could not be read */

/* When the arguments of a slow call were taken along. */
#define PYLAT_TAKEN_AT_END 1
#define PYLAT_TAKEN_AT_ENTRY 2 /* where a frame holds them no longer when its call is seen to end (watch) */

struct pylat_slow_call {
    u32 kind;
    u32 tgid;
    u32 tid;
    u16 slot;
    u8 raised;
    u8 stack_end;
    pylat_space space;
    u64 frame;
    u64 code;
    u64 start_ns;
    u64 end_ns;
    u64 latency_ns; /* in between, without what was taken off: as in the histogram */
    u64 active_ns;  /* of what suspends; all bits where it is not known */
    u64 threshold_ns;
    u32 suspensions;
    u32 depth; /* entries of stack[] in use, the innermost first: the caller */
    u32 own_tgid;
    u32 own_tid;  /* in the target's PID namespace */
    u32 taken_at; /* 0: no arguments are there */
    u32 padding;
    u8 comm[PYLAT_COMM_BYTES];
    u8 exception[PYLAT_TYPE_NAME_BYTES]; /* tp_name of what it raised */
    u8 code_head[PYLAT_CODE_HEAD_BYTES];
    struct pylat_stack_frame stack[PYLAT_STACK_FRAMES];
};

#endif
