/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The contract between bpf/watch.bpf.c and latency/tracing/watch/wire.py; the rest of it is in pylat.h, whose rules
 * hold here too. */
#ifndef PYLAT_WATCH_H
#define PYLAT_WATCH_H

#include "pylat.h"

/* Functions that are watched at one time at most: x86-64 has four debug registers, and a function takes two, or fewer
 * where it shares one. More than that are watched in turns. */
#define PYLAT_WATCHED 4
#define PYLAT_WATCH_SLOTS 64 /* functions in all, a power of two */
/* Units that return, of a function whose ends are not told by its reference count. */
#define PYLAT_WATCH_RETURNS 3
/* Stretches of the interpreter's code that fetch units, a power of two: two are usual, and of a build with tail calls
 * each opcode's handler is a function. */
#define PYLAT_WATCH_PARTS 1024
#define PYLAT_WATCH_NO_PART (1ULL << 62) /* where one would begin that is not there: behind all addresses */
/* Instructions that fetch a unit once more under a tracer (3.11). */
#define PYLAT_WATCH_AGAIN 8
#define PYLAT_WATCH_UNITS_BYTES (2 << 20) /* of one code object at most */
#define PYLAT_WATCH_LEAVES 64             /* stretches of code in which frames are released, a power of two */

/* One function that is watched now; `code` is 0 where there is none, or no longer one. */
struct pylat_watched {
    u64 code;                         /* address of the PyCodeObject */
    u64 count;                        /* watched: address of its reference count; 0 where units tell its ends */
    u64 entry;                        /* watched: address of the oparg byte of its first unit */
    u64 units;                        /* where its units begin */
    u64 returns[PYLAT_WATCH_RETURNS]; /* watched: of the oparg bytes of its units that return; 0 for none */
    u64 raises;                       /* watched: of the unit that each exception runs which leaves it; 0 for none */
    u32 exception;                    /* where a frame has the exception then: bytes from its beginning */
    u32 suspends;                     /* 1: a generator, coroutine or asynchronous generator */
    u32 slot;                         /* of its statistics */
    u32 place;                        /* its own, among those that are watched now */
};

/* A process that is followed; found by its tgid, or by 0 where only one is. */
struct pylat_watch_process {
    u64 returned;
    u64 raised;
    u32 last_count[PYLAT_WATCHED]; /* the reference counts after the last hit, by place */
    u32 made[PYLAT_WATCHED];       /* how often each rose since the last entry: a frame was made */
    u64 freed;                     /* a bit for each slot whose code object is gone: its memory may be another's */
    u32 ended;                     /* 1: it ended; 2: it runs another program */
    u32 padding;
};

/* An open call is found by its frame: addresses differ between processes only by luck. */
struct pylat_watch_key {
    u64 frame;
    u64 process; /* its tgid, or 0 */
};

/* What an open call has beside its struct pylat_open; found by its frame. */
struct pylat_watch_call {
    u64 caller;       /* to 3.10: the frame that called it, 0 for none */
    u64 caller_lasti; /* to 3.10: where that one stood */
    u64 traps;        /* of the thread, when the call began */
    u64 start_ns;     /* as in the struct pylat_open */
    u64 raised_ns;    /* to 3.10: when an exception came up last that it may handle, 0 for none */
    u64 raised_traps; /* of the thread, then */
    u64 outer;        /* where it has a tid: the thread's `beyond` before it */
    u64 told_ns;      /* of the thread, when the call began */
    u16 slot;
    u16 place;
    u32 tid; /* of its thread, where that one's table had no place for it; else 0 */
};

/* Where the frame lies while a unit is fetched and its register holds something else: a word of the machine's stack.
 * Found by the place behind the instruction that fetches. Only of builds with tail calls, whose handlers have stack
 * frames of their own. */
struct pylat_watch_home {
    s64 at;        /* how far from the register, in bytes */
    u64 from_base; /* 1: from rbp; 0: from rsp */
};

struct pylat_watch_thread {
    struct pylat_thread calls;
    u64 traps;   /* watchpoint hits on this thread */
    u64 ended;   /* the frame whose last unit it fetched last */
    u64 beyond;  /* the frame of the call that began last without a place in the table, 0 for none */
    u64 told_ns; /* what it took on this thread to take arguments along and to tell slow calls */
    /* A program's stack has no room for these. */
    struct pylat_open at_hand; /* the call that begins or ends at this hit */
    /* With the JIT: see frame_made. By place: */
    u32 numbered[PYLAT_WATCHED]; /* open calls of which no unit was fetched */
    u32 loose[PYLAT_WATCHED];    /* references taken where no frame is known to be made, and not dropped since */
    u32 numbered_last;           /* a bit for each: what was counted last is such a call */
    u32 loose_last;              /* which place was the last of them, plus 1; 0 for none */
    u64 loose_at;                /* the instruction behind the one that took it, and when that was */
    u64 loose_ns;
    u64 loose_traps;
#if PYLAT_SPLIT
    struct pylat_share share; /* of the thread, until this hit */
#endif
};

struct pylat_watch_config {
    u64 leave_begins[PYLAT_WATCH_LEAVES]; /* 3.12 and later: where frames are released, as below */
    u64 leave_ends[PYLAT_WATCH_LEAVES];
    u64 generator_exit_type; /* of the class GeneratorExit */
    u64 trap_ns;             /* what one hit takes */
    u64 code_type;           /* address of PyCode_Type */
    u64 slower_ns;           /* as in struct pylat_config, and the next one, too */
    u64 floor_ns;
    u64 text_begins; /* where the interpreter's code lies: that of the JIT lies elsewhere */
    u64 text_ends;
    u64 begins[PYLAT_WATCH_PARTS]; /* 3.11 and later: where each begins, ascending; PYLAT_WATCH_NO_PART for none */
    u64 ends[PYLAT_WATCH_PARTS];   /* and where it ends */
    u64 again[PYLAT_WATCH_AGAIN];  /* 3.11: behind each instruction of these; 0 for none */
    u32 enabled;
    u32 padding;
};

#endif
