/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Calls one by one: an event for each entry and each exit, with what was passed, returned or raised, taken along at
 * that moment (capture.h). Mirrored by latency/tracing/probes/trace_wire.py. No maps. */
#ifndef PYLAT_TRACE_H
#define PYLAT_TRACE_H

#include "capture.h"

#define PYLAT_EVENT_TRACE 17 /* beside the kinds of pylat.h */
#define PYLAT_TRACE_NAME_BYTES 48
#define PYLAT_NO_WAKEUP 1 /* BPF_RB_NO_WAKEUP: user space looks by itself, the target need not wake it */

/* What an event tells. */
#define PYLAT_TRACE_STARTED 1
#define PYLAT_TRACE_RESUMED 2
#define PYLAT_TRACE_RETURNED 3
#define PYLAT_TRACE_RAISED 4
#define PYLAT_TRACE_YIELDED 5
#define PYLAT_TRACE_ABANDONED 6 /* freed while suspended */

/* What `value` is, and the snapshot. */
#define PYLAT_VALUE_NONE 0
#define PYLAT_VALUE_ARGUMENTS 1 /* where the arguments lie; the first block holds them */
#define PYLAT_VALUE_OBJECT 2    /* the object that was returned, or the exception */
#define PYLAT_VALUE_RAW 3       /* what the exception is to be made of: its argument, or a tuple of them; to 3.11 */
#define PYLAT_VALUE_UNKNOWN 4   /* there is one, and it cannot be told which */

struct pylat_trace_event {
    u32 kind;
    u32 tgid;
    u32 tid;
    u32 what;
    u64 time_ns;    /* CLOCK_MONOTONIC */
    u64 latency_ns; /* of an end: since the first start; of a suspension: since it was started or resumed */
    u64 active_ns;  /* of the end of a call that was suspended: the time that it ran */
    u64 frame;
    u64 code; /* of a start */
    pylat_space space;
    u64 lost; /* events that were lost before this one */
    u64 value;
    u32 slot;
    u32 depth; /* open calls of the thread around this one */
    u32 value_kind;
    u32 timed; /* 0: since when the call runs is not known */
    u32 own_tgid;
    u32 own_tid;                          /* in the target's PID namespace */
    u8 exception[PYLAT_TRACE_NAME_BYTES]; /* tp_name of the exception's class, ended by a zero unless it is cut */
    struct pylat_snapshot snapshot;
};

/* What one thread needs to make an event. A snapshot is too large for the stack, and its size is not known before. */
struct pylat_trace_thread {
    struct pylat_worklist work;
    struct pylat_trace_event event;
};

/* How many words hold the arguments of a code object's calls, with the cells to which some are moved (to 3.10). */
static __always_inline u32 pylat_argument_words(u64 code)
{
    u32 count = 0, keyword_only = 0, flags = 0;
    pylat_read(&count, sizeof(count), (void *)(code + PYLAT_CODE_ARGCOUNT));
    pylat_read(&keyword_only, sizeof(keyword_only), (void *)(code + PYLAT_CODE_KWONLYARGCOUNT));
    pylat_read(&flags, sizeof(flags), (void *)(code + PYLAT_CODE_FLAGS));
    count += keyword_only + (flags >> 2 & 1) + (flags >> 3 & 1); /* CO_VARARGS, CO_VARKEYWORDS */
#if PYLAT_CODE_CELLVARS >= 0
    u64 cells = 0, tuple = 0;
    u32 locals = 0;
    pylat_read_u64(code + PYLAT_CODE_CELLVARS, &tuple);
    pylat_read_u64(tuple + PYLAT_VAR_SIZE, &cells);
    pylat_read(&locals, sizeof(locals), (void *)(code + PYLAT_CODE_NLOCALS));
    if (count && cells)
        count = locals + (u32)cells;
#endif
    return count;
}

/* The value that a frame returns, at its exit. Its place on the stack is free by then, but nothing has been written
 * there since. Returns the kind of the value. */
static __always_inline u32 pylat_returned(struct pt_regs *ctx, u64 frame, u64 *value)
{
#if PYLAT_VALUE_IN == 1 /* to 3.10: in a register, or on the machine's stack */
    *value = PYLAT_PLACE(ctx, VALUE);
    return !PYLAT_VALUE_LOADS || *value ? PYLAT_VALUE_OBJECT : PYLAT_VALUE_UNKNOWN;
#elif PYLAT_VALUE_IN == 2
#if PYLAT_FRAME_STACKPOINTER >= 0
    u64 place = 0;
    pylat_read_u64(frame + PYLAT_FRAME_STACKPOINTER, &place);
#else
    s32 top = 0;
    pylat_read(&top, sizeof(top), (void *)(frame + PYLAT_FRAME_STACKTOP_INDEX));
    u64 place = frame + PYLAT_FRAME_LOCALSPLUS + 8 * (s64)top;
#endif
#if PYLAT_RETURN_CONST >= 0
    /* RETURN_CONST (3.12, 3.13) puts nothing on the stack. */
    u64 unit = 0, code = 0, constants = 0, known = 0;
    u8 at[4] = {}; /* the unit before, and this one: opcode, oparg */
    pylat_read_u64(frame + PYLAT_FRAME_INSTR, &unit);
    if (pylat_read(at, sizeof(at), (void *)(unit - 2)))
        return PYLAT_VALUE_UNKNOWN;
    if (at[2] == PYLAT_RETURN_CONST || at[2] == PYLAT_INSTRUMENTED_RETURN_CONST) {
        pylat_frame_code(frame, &code);
        pylat_read_u64(code + PYLAT_CODE_CONSTS, &constants);
        pylat_read_u64(constants + PYLAT_VAR_SIZE, &known);
        /* The unit before can be a cache, and only look like EXTENDED_ARG. */
        if (known > 256 && at[0] == PYLAT_EXTENDED_ARG)
            return PYLAT_VALUE_UNKNOWN;
        place = constants + PYLAT_TUPLE_ITEMS + 8 * at[3];
    } else if (at[2] != PYLAT_RETURN_VALUE && at[2] != PYLAT_INSTRUMENTED_RETURN_VALUE) {
        return PYLAT_VALUE_UNKNOWN; /* a line event stands there: which of the two it is, is written elsewhere */
    }
#endif
    if (pylat_read_u64(place, value))
        return PYLAT_VALUE_UNKNOWN;
    *value &= PYLAT_FRAME_CODE_MASK;
    return *value ? PYLAT_VALUE_OBJECT : PYLAT_VALUE_UNKNOWN;
#else
    return PYLAT_VALUE_NONE;
#endif
}

/* The exception that is being raised: its class's name, and what there is of it. */
static __always_inline void pylat_exception(u64 thread_state, struct pylat_trace_event *event)
{
    u64 type = 0, value = 0, name = 0;
    thread_state = pylat_thread_state(thread_state);
    pylat_read_u64(thread_state + PYLAT_TSTATE_EXCEPTION, &type);
#if PYLAT_EXCEPTION_IS_VALUE
    value = type;
    pylat_read_u64(value + PYLAT_OBJECT_TYPE, &type);
    event->value_kind = PYLAT_VALUE_OBJECT;
#else
    u64 of_value = 0;
    pylat_read_u64(thread_state + PYLAT_TSTATE_EXCEPTION + 8, &value); /* curexc_value */
    pylat_read_u64(value + PYLAT_OBJECT_TYPE, &of_value);
    event->value_kind = of_value == type ? PYLAT_VALUE_OBJECT : PYLAT_VALUE_RAW;
#endif
    event->value = value;
    pylat_read_u64(type + PYLAT_TYPE_NAME, &name);
    pylat_read_text(event->exception, sizeof(event->exception), (void *)name);
}

#endif
