/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What is told of one slow call: filled in at the moment it ends, from the frames that wait for it. No maps.
 *
 * At the exit site the frames above a call are those that called it (of a generator: that resumed it last), each at the
 * instruction of the call, since none can go on before. Included where slow calls are asked for. */
#ifndef PYLAT_SLOW_H
#define PYLAT_SLOW_H

#include "capture.h"
#include "cpython.h"

#define PYLAT_SNAPSHOT_HEAD_BYTES (sizeof(struct pylat_snapshot) - sizeof(((struct pylat_snapshot *)0)->stream))
#define PYLAT_SLOW_ROUNDS 6 /* runs of pylat_slow for one call, each of which takes some memory along */

/* One slow call while it is being told: what user space gets, and memory to work in. */
struct pylat_slow_work {
    struct pylat_worklist list;
    u64 thread_state;
    u64 rounds;
    struct pylat_slow_call call;
    struct pylat_snapshot arguments; /* right behind the call: they are sent together */
};

/* The Python frame that called this one: f_back, previous. 0 for none. */
static __always_inline int pylat_caller(u64 *frame)
{
    return pylat_read_u64(*frame + PYLAT_FRAME_PREVIOUS, frame);
}

/* From the frame on that called this one; `unread`: which that is could not be read. */
static __always_inline void pylat_take_stack(struct pylat_slow_call *told, u64 frame, int unread)
{
    told->depth = 0;
    for (u32 i = 0; i < PYLAT_STACK_FRAMES; i++) {
        struct pylat_stack_frame *to = &told->stack[i];
        told->stack_end = unread ? PYLAT_STACK_BROKEN : PYLAT_STACK_WHOLE;
        if (unread || !frame)
            return;
        told->stack_end = PYLAT_STACK_BROKEN;
        to->instruction = to->owner = 0;
        if (pylat_frame_code(frame, &to->code) ||
            pylat_read(&to->instruction, PYLAT_FRAME_INSTR_BYTES, (void *)(frame + PYLAT_FRAME_INSTR)))
            return;
        pylat_own_unit(frame, to->code, &to->instruction);
#if PYLAT_FRAME_OWNER >= 0
        if (pylat_read(&to->owner, 1, (void *)(frame + PYLAT_FRAME_OWNER)))
            return;
#endif
        told->depth = i + 1;
        unread = pylat_caller(&frame);
    }
    told->stack_end = unread ? PYLAT_STACK_BROKEN : frame ? PYLAT_STACK_CUT : PYLAT_STACK_WHOLE;
}

/* The type of the exception that is being raised in a thread. */
static __always_inline u64 pylat_exception_type(u64 thread_state)
{
    u64 type = 0;
    pylat_read_u64(thread_state + PYLAT_TSTATE_EXCEPTION, &type);
#if PYLAT_EXCEPTION_IS_VALUE
    pylat_read_u64(type + PYLAT_OBJECT_TYPE, &type);
#endif
    return type;
}

/* The name of the type of what it raised. */
static __always_inline void pylat_take_exception(struct pylat_slow_call *told, u64 type)
{
    u64 name = 0;
    told->exception[0] = 0;
    if (!pylat_read_u64(type + PYLAT_TYPE_NAME, &name))
        pylat_read_text(told->exception, sizeof(told->exception), (void *)name);
}

static __always_inline void pylat_take_code(struct pylat_slow_code *told, u64 code)
{
    u64 lines = 0, size = 0;
    told->code = code;
    told->co_flags = told->line = told->first_traceable = told->lines_bytes = told->lines_whole = 0;
    pylat_read(&told->co_flags, sizeof(told->co_flags), (void *)(code + PYLAT_CODE_FLAGS));
    pylat_read(&told->line, sizeof(told->line), (void *)(code + PYLAT_CODE_LINE));
#if PYLAT_CODE_FIRST_TRACEABLE >= 0
    pylat_read(&told->first_traceable, sizeof(told->first_traceable), (void *)(code + PYLAT_CODE_FIRST_TRACEABLE));
#endif
    told->qualname_bytes = pylat_capture(told->qualname, sizeof(told->qualname), code + PYLAT_CODE_NAME);
    told->filename_bytes = pylat_capture(told->filename, sizeof(told->filename), code + PYLAT_CODE_FILENAME);
    if (pylat_read_u64(code + PYLAT_CODE_LINES, &lines) || pylat_read_u64(lines + PYLAT_BYTES_SIZE, &size))
        return;
    u64 taken = size < PYLAT_LINES_BYTES - 1 ? size : PYLAT_LINES_BYTES - 1;
    taken &= PYLAT_LINES_BYTES - 1;
    if (pylat_read(told->lines, taken, (void *)(lines + PYLAT_BYTES_DATA)))
        return;
    told->lines_bytes = taken;
    told->lines_whole = taken == size;
}

/* Begin with the arguments as the frame holds them, and with what tells their names. */
static __always_inline void pylat_begin_arguments(struct pylat_worklist *list, struct pylat_snapshot *to, u64 frame,
                                                  u64 code)
{
    u32 positional = 0, keyword_only = 0, co_flags = 0;
    u64 names = 0, locals = frame + PYLAT_FRAME_LOCALS;
    pylat_read(&positional, sizeof(positional), (void *)(code + PYLAT_CODE_ARGCOUNT));
    pylat_read(&keyword_only, sizeof(keyword_only), (void *)(code + PYLAT_CODE_KWONLYARGCOUNT));
    pylat_read(&co_flags, sizeof(co_flags), (void *)(code + PYLAT_CODE_FLAGS));
    u32 count = positional + keyword_only + (co_flags >> 2 & 1) + (co_flags >> 3 & 1); /* CO_VARARGS, CO_VARKEYWORDS */
    pylat_begin_with_values(list, to, locals, count);
    pylat_read_u64(code + PYLAT_CODE_ARGUMENT_NAMES, &names);
    pylat_enqueue(list, names, 0, 1);
#if PYLAT_CODE_LOCAL_KINDS >= 0
    u64 kinds = 0;
    pylat_read_u64(code + PYLAT_CODE_LOCAL_KINDS, &kinds);
    pylat_enqueue(list, kinds, 0, 1);
#else
    /* To 3.10 an argument that inner functions use is in a cell behind the locals. */
    u32 locals_count = 0;
    u64 cells = 0, cell_count = 0;
    pylat_read(&locals_count, sizeof(locals_count), (void *)(code + PYLAT_CODE_NLOCALS));
    pylat_read_u64(code + PYLAT_CODE_CELLVARS, &cells);
    pylat_read_u64(cells + PYLAT_BYTES_SIZE, &cell_count);
    pylat_enqueue(list, cells, 0, 1);
    cell_count = cell_count < PYLAT_ROOTS ? cell_count : PYLAT_ROOTS;
    pylat_enqueue(list, locals + 8 * (u64)locals_count, cell_count, pylat_any(cell_count));
#endif
}

#endif
