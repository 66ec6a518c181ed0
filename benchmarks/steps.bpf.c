// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* What a traced call is made of, step by step: PYLAT_STEP says up to which one the programs go. The steps are those of
 * pylat.bpf.c for a plain function that is wanted, with the same structs and the same kinds of maps; see breakdown.py. */
#include "cpython.h"
#include "stack.h"
#include "statistics.h"

#define STEP_CONFIG 1    /* look up the configuration */
#define STEP_COUNT 2     /* count the hit, in a map for each CPU */
#define STEP_CODE 3      /* read the code pointer from the frame */
#define STEP_FUNCTION 4  /* look up the function: here a call that is not wanted ends */
#define STEP_CLOCK 5     /* read the clock */
#define STEP_THREAD 6    /* look up the thread's open calls */
#define STEP_OPEN 7      /* push, or pop */
#define STEP_EXCEPTION 8 /* at the exit: read whether an exception is raised */
#define STEP_LATENCY 9   /* at the exit: count the latency */

BPF_F_TABLE("array", u32, struct pylat_config, config, 1, PYLAT_MMAPABLE);
BPF_F_TABLE("array", u32, struct pylat_statistics, statistics, 1024, PYLAT_MMAPABLE);
BPF_PERCPU_ARRAY(counters, struct pylat_counters, 1);
BPF_TABLE("hash", struct pylat_function_key, struct pylat_function, functions, 65536);
BPF_F_TABLE("hash", u32, struct pylat_thread, threads, 64, PYLAT_NO_PREALLOC);
BPF_ARRAY(empty_thread, struct pylat_thread, 1);

#ifdef PYLAT_EXIT_FRAME
#define LEFT_FRAME PYLAT_EXIT_FRAME
#else
#define LEFT_FRAME PYLAT_RETURN_FRAME
#endif
#ifdef PYLAT_EXIT_TSTATE
#define RAISED(ctx) pylat_raised(PYLAT_REGISTER(ctx, PYLAT_EXIT_TSTATE), 0, 0)
#else
#define RAISED(ctx) 0 /* a site of its own sees exceptions */
#endif

static __always_inline void step(struct pt_regs *ctx, u64 frame, int leaves)
{
    u32 zero = 0;
    struct pylat_function_key key = {};
    struct pylat_function *function = NULL;
    struct pylat_thread *thread = NULL;
    struct pylat_open call = {.frame = frame};
    u64 now_ns = 0;
    int raised = 0;
#if PYLAT_STEP >= STEP_CONFIG
    struct pylat_config *now = config.lookup(&zero);
    if (!now || !now->enabled)
        return;
#endif
#if PYLAT_STEP >= STEP_COUNT
    struct pylat_counters *count = counters.lookup(&zero);
    if (!count)
        return;
    count->hits++;
#endif
#if PYLAT_STEP >= STEP_CODE
    if (pylat_frame_code(frame, &key.code))
        return;
#endif
#if PYLAT_STEP >= STEP_FUNCTION
    function = functions.lookup(&key);
    if (!function || !(function->flags & PYLAT_WANTED))
        return;
    call.slot = function->slot;
    call.flags = function->flags;
#endif
#if PYLAT_STEP >= STEP_CLOCK
    now_ns = bpf_ktime_get_ns();
    call.start_ns = now_ns;
#endif
#if PYLAT_STEP >= STEP_THREAD
    u32 tid = bpf_get_current_pid_tgid();
    thread = threads.lookup(&tid);
    if (!thread) {
        struct pylat_thread *empty = empty_thread.lookup(&zero);
        if (empty)
            threads.update(&tid, empty);
        return;
    }
#endif
#if PYLAT_STEP >= STEP_OPEN
    if (!leaves) {
        pylat_push(thread, &call, PYLAT_ENTRY_MAY_REPEAT);
        count->entries++;
        return;
    }
    if (pylat_pop(thread, frame, 1, &call) != PYLAT_MATCHED)
        return;
#endif
#if PYLAT_STEP >= STEP_EXCEPTION
    if (leaves)
        raised = RAISED(ctx);
#endif
#if PYLAT_STEP >= STEP_LATENCY
    u32 slot = call.slot;
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (!of)
        return;
    __sync_fetch_and_add(raised ? &of->raised : &of->returned, 1);
    pylat_count_latency(of, now_ns - call.start_ns);
    count->matched++;
#endif
}

int step_entry(struct pt_regs *ctx)
{
    step(ctx, PYLAT_REGISTER(ctx, PYLAT_ENTRY_FRAME), 0);
    return 0;
}

int step_exit(struct pt_regs *ctx)
{
    step(ctx, PYLAT_REGISTER(ctx, LEFT_FRAME), 1);
    return 0;
}
