/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Whose frame a hit of a watchpoint is about, told from the registers: the rules stand in docs/watch.md. */
#ifndef PYLAT_WATCH_FRAMES_H
#define PYLAT_WATCH_FRAMES_H

#include <uapi/linux/ptrace.h>

#include "count.h"
#include "cpython.h"
#include "watch_maps.h"

/* How the end of a call is told from other changes of the reference count. */
#define PYLAT_WATCH_LEAVE_BY_STATE 1  /* to 3.10: the frame says that it does not run */
#define PYLAT_WATCH_LEAVE_BY_OPCODE 2 /* 3.11: the frame stands at a return */
#define PYLAT_WATCH_LEAVE_BY_PLACE 3  /* 3.12 and later: one function of the interpreter releases frames */

/* The general registers, which struct pt_regs begins with, and before them the one that usually holds the frame, or the
 * word of the stack from which that one is loaded behind this very fetch (homes); behind them where the interpreter
 * keeps the frame while it uses its register for something else, if that is one word. */
#ifdef PYLAT_ENTRY_HOME
#define REGISTERS (2 + PYLAT_WATCH_REGISTERS)
#else
#define REGISTERS (1 + PYLAT_WATCH_REGISTERS)
#endif

struct hit {
    u64 now_ns;
    u64 registers[REGISTERS];
    u64 place; /* the instruction behind the one that touched the memory */
    u64 tgid;  /* 0 where only one process is followed */
    struct pylat_watch_process *process;
    struct pylat_watch_config *config;
    struct pylat_counters *count;
    struct pylat_watch_thread *thread;
#if PYLAT_SLOWER
    struct pylat_watch_telling *telling; /* the slow call that has ended, or NULL */
    u64 caller;                          /* of the call that ends: to 3.10 its caller's frame */
    u64 told_ns;                         /* and what telling took while it ran */
    u64 exception;                       /* and what it raised, where that has just been read */
    int taking;                          /* a call has begun whose arguments are to be taken along */
#endif
#if PYLAT_START == PYLAT_START_BY_LASTI
    u64 codes[PYLAT_WATCHED]; /* of the functions that may begin: those of equal bytecode can share it; 0 for none */
#endif
};

static __always_inline struct pylat_watch_call *open_call(const struct hit *hit, u64 frame)
{
    struct pylat_watch_key key = {.frame = frame, .process = hit->tgid};
    return frames.lookup(&key);
}

static __always_inline void close_call(const struct hit *hit, u64 frame)
{
    struct pylat_watch_key key = {.frame = frame, .process = hit->tgid};
    frames.delete(&key);
#if PYLAT_SLOWER && PYLAT_SLOW_VALUES
    entry_values.delete(&key);
#endif
}

/* An index below a power of two that the verifier sees the bound of, on old kernels too (pylat_place). */
static __always_inline u64 bound(u64 at, u64 number)
{
    asm volatile("" : "+r"(at));
    return at & (number - 1);
}

/* Whether the instruction before a place lies in one of some stretches of code, in ascending order. The last one is
 * looked for that begins before the place; without a branch, since the verifier would follow both ways of each. */
static __always_inline int lies_in(const u64 *begins, const u64 *ends, u64 number, u64 place)
{
    u64 at = 0;
#pragma unroll
    for (u64 step = number / 2; step; step /= 2)
        at += step * ((begins[bound(at + step, number)] - place) >> 63);
    at = bound(at, number);
    return place > begins[at] && place <= ends[at];
}

/* Whether a frame has not run its first instruction yet. The fetch of that is what an entry is, and it happens in the
 * caller's dispatch, where the frame can be in another register than in all the rest of the interpreter. */
static __always_inline int is_fresh(u64 frame, const struct pylat_watched *of)
{
#if PYLAT_START == PYLAT_START_BY_LASTI
    s32 last = 0;
    return !pylat_read(&last, sizeof(last), (void *)(frame + PYLAT_FRAME_INSTR)) && last <= PYLAT_WATCH_FRESH;
#else
    u64 unit = 0;
    if (pylat_read_u64(frame + PYLAT_FRAME_INSTR, &unit))
        return 0;
    /* 3.13 and later: a frame that stands at its RESUME already runs it once more, or is one that has just been made.
     * The reference count tells which; where that is not watched, something always lies before that RESUME. */
    if (!of->count && unit + 1 >= of->entry)
        return 0;
    /* prev_instr stands one unit before the first one when a frame is made. */
    return unit + 2 >= of->units && unit + PYLAT_WATCH_FRESH < of->entry;
#endif
}

/* Whether a register can hold the address of a struct at all: to find out by a look-up or a failing read costs much
 * more.
 */
static __always_inline int may_be_address(u64 value)
{
    return !(value & 7) && value - 65536 < (1ULL << 47) - 65536;
}

/* What suspends runs in its generator's frame alone. What that was before it was moved there was never run, stands
 * before its RESUME for ever, and can still be in a register. */
static __always_inline int is_left_behind(u64 frame, const struct pylat_watched *of)
{
#if PYLAT_START == PYLAT_START_BY_OPARG
    u8 owner = 0;
    return of->suspends && (pylat_read(&owner, sizeof(owner), (void *)(frame + PYLAT_FRAME_OWNER)) ||
                            owner != PYLAT_FRAME_OF_GENERATOR);
#else
    return 0;
#endif
}

/* Whether a frame's code is that of a function whose first unit was read just now. */
static __always_inline int may_begin(const struct hit *hit, const struct pylat_watched *of, u64 code)
{
#if PYLAT_START == PYLAT_START_BY_LASTI
    for (u32 i = 0; i < PYLAT_WATCHED; i++)
        if (code && code == hit->codes[i])
            return 1;
    return 0;
#else
    return code == of->code;
#endif
}

/* The frame of the call that begins; 0 for none. Of functions that share their units `of` may be another one. */
static __always_inline u64 fresh_frame(const struct hit *hit, const struct pylat_watched *of)
{
    for (u32 i = 0; i < REGISTERS; i++) {
        u64 frame = hit->registers[i], code = 0;
        if (!may_be_address(frame) || pylat_frame_code(frame, &code) || !may_begin(hit, of, code))
            continue;
        if (is_fresh(frame, of) && !is_left_behind(frame, of))
            return frame;
    }
    return 0;
}

#if PYLAT_START == PYLAT_START_BY_OPARG
/* Whether the interpreter itself fetched a unit: others read them too (co_code, the specialiser). */
static __always_inline int is_fetch(const struct hit *hit)
{
    return lies_in(hit->config->begins, hit->config->ends, PYLAT_WATCH_PARTS, hit->place);
}

/* The interpreter fetched a unit that tells of a call, and nothing held its frame: there is one, and it is not told
 * which. A frame stands at a unit of its code: others begin with the address of a code object, too (what a tool's
 * callback is given). */
static __always_inline void count_unheld(const struct hit *hit, const struct pylat_watched *of)
{
    if (!is_fetch(hit))
        return;
    for (u32 i = 0; i < REGISTERS; i++) {
        u64 frame = hit->registers[i], code = 0, at = 0;
        if (may_be_address(frame) && !pylat_frame_code(frame, &code) && code == of->code &&
            !pylat_read_u64(frame + PYLAT_FRAME_INSTR, &at) && at + 2 - of->units < PYLAT_WATCH_UNITS_BYTES &&
            !is_left_behind(frame, of))
            return;
    }
    PYLAT_COUNT(hit->count->bad_frame);
}
#endif

/* Whether a frame is still being run (to 3.10, where frames can outlive their calls). */
static __always_inline int is_running(u64 frame)
{
    signed char state = 0;
#if PYLAT_FRAME_STATE >= 0 /* 3.10: f_state; FRAME_EXECUTING is 0, what has ended is above */
    return !pylat_read(&state, sizeof(state), (void *)(frame + PYLAT_FRAME_STATE)) && state <= 0;
#elif PYLAT_FRAME_EXECUTING >= 0 /* 3.6 to 3.9 */
    return !pylat_read(&state, sizeof(state), (void *)(frame + PYLAT_FRAME_EXECUTING)) && state;
#else
    return 0;
#endif
}

/* The opcode at which a frame stands. */
static __always_inline int last_opcode(u64 frame, const struct pylat_watched *of)
{
    u64 unit = 0;
    u8 opcode = 0;
#if PYLAT_START == PYLAT_START_BY_LASTI
    s32 last = 0;
    pylat_read(&last, sizeof(last), (void *)(frame + PYLAT_FRAME_INSTR));
    unit = of->units + PYLAT_WATCH_LASTI_BYTES * (u64)(u32)last;
#else
    pylat_read_u64(frame + PYLAT_FRAME_INSTR, &unit);
#endif
    pylat_read(&opcode, sizeof(opcode), (void *)unit);
    return opcode;
}

static __always_inline int returns(u64 frame, const struct pylat_watched *of)
{
    int opcode = last_opcode(frame, of);
    return opcode == PYLAT_WATCH_RETURN_1 || opcode == PYLAT_WATCH_RETURN_2 || opcode == PYLAT_WATCH_RETURN_3 ||
           opcode == PYLAT_WATCH_RETURN_4;
}

/* Whether the count fell because this call's frame was released, and not because somebody had looked at the code. */
static __always_inline int is_release(u64 frame, const struct pylat_watched *of)
{
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_PLACE /* 3.12 and later: the place has told it */
    return 1;
#elif PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_OPCODE /* 3.11: exceptions are seen by pylat_watch_raise */
    return returns(frame, of);
#else
    return !is_running(frame);
#endif
}

/* The open call that ends now: of those whose frame is in a register the one that began last; 0 for none. */
static __always_inline u64 released_frame(const struct hit *hit, const struct pylat_watched *of, u32 slot)
{
    u64 found = 0, latest_ns = 0;
#if PYLAT_WATCH_LEAVE == PYLAT_WATCH_LEAVE_BY_PLACE /* one function releases all frames, or its copies */
    if (!lies_in(hit->config->leave_begins, hit->config->leave_ends, PYLAT_WATCH_LEAVES, hit->place))
        return 0;
#endif
    for (u32 i = 0; i < REGISTERS; i++) {
        u64 frame = hit->registers[i];
        const struct pylat_watch_call *call = may_be_address(frame) ? open_call(hit, frame) : NULL;
        if (!call || call->slot != slot || call->start_ns <= latest_ns || !is_release(frame, of))
            continue;
        found = frame;
        latest_ns = call->start_ns;
    }
    return found;
}

#endif
