/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Reading CPython's structs from a probe. Every offset, register and rule comes as -DPYLAT_…=<int> from
 * latency/tracing/counted/parameters.py: this file knows no version. Names are CPython's own. */
#ifndef PYLAT_CPYTHON_H
#define PYLAT_CPYTHON_H

#include "pylat.h"

/* A register at a probe site, by its byte offset in struct pt_regs. */
#define PYLAT_REGISTER(ctx, offset) (*(u64 *)((char *)(ctx) + (offset)))

/* bpf_probe_read_user under a name of our own: where bcc sees the helper's usual name it reads all of
 * /proc/kallsyms to learn whether the kernel has it, 0.3 s for what Linux 5.5 and later always have. */
static long (*pylat_read)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_user;

/* Text up to its end; the same for bpf_probe_read_user_str. */
static long (*pylat_read_text)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_user_str;

static long (*pylat_read_kernel)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_kernel;

static __always_inline int pylat_read_u64(u64 address, u64 *value)
{
    return pylat_read(value, sizeof(*value), (void *)address);
}

/* What a place says: a register, or what lies behind up to two loads from there; 0 where they fail. All but `ctx` is
 * known when this is compiled. */
static __always_inline u64 pylat_read_place(void *ctx, u32 at_register, u32 loads, s64 at, s64 beside)
{
    u64 value = PYLAT_REGISTER(ctx, at_register);
    if (loads > 0)
        pylat_read_u64(value + at, &value);
    if (loads > 1)
        pylat_read_u64(value + beside, &value);
    return value;
}

#define PYLAT_PLACE(ctx, NAME) \
    pylat_read_place(ctx, PYLAT_##NAME, PYLAT_##NAME##_LOADS, PYLAT_##NAME##_AT, PYLAT_##NAME##_BESIDE)

/* The code object of a frame. From 3.14 on f_executable is a tagged _PyStackRef: its low two bits are flags. */
static __always_inline int pylat_frame_code(u64 frame, u64 *code)
{
    int fault = pylat_read_u64(frame + PYLAT_FRAME_CODE, code);
    *code &= PYLAT_FRAME_CODE_MASK;
    return fault;
}

/* Copy a string object, header first: all of `size` bytes, or up to the end of its page. Returns how many. */
static __always_inline u32 pylat_capture(u8 *to, u32 size, u64 holder)
{
    u64 object = 0;
    if (pylat_read_u64(holder, &object))
        return 0;
    if (!pylat_read(to, size, (void *)object))
        return size;
    u32 rest = 4096 - (object & 4095);
    if (rest >= size)
        return 0;
    return pylat_read(to, rest, (void *)object) ? 0 : rest;
}

/* Whether tp_name of a type is this text. Addresses of types differ between processes; the names of CPython's own types
 * do not. */
static __always_inline int pylat_type_is(u64 type, const char *name, u32 size)
{
    char found[16] = {};
    u64 text = 0;
    if (size > sizeof(found) || pylat_read_u64(type + PYLAT_TYPE_NAME, &text) || pylat_read(found, size, (void *)text))
        return 0;
    for (u32 i = 0; i < size; i++)
        if (found[i] != name[i])
            return 0;
    return 1;
}

/* Whether an object is a code object: 1 yes, 0 no, -1 unreadable. The type's name is asked only where its address is
 * not that of the target: in a process that another exec made. (A forked one may not have the page of the name yet.) */
static __always_inline int pylat_is_code(u64 code, u64 code_type)
{
    const char name[] = "code";
    u64 type = 0;
    if (pylat_read_u64(code + PYLAT_OBJECT_TYPE, &type))
        return -1;
    return type == code_type || pylat_type_is(type, name, sizeof(name));
}

/* Whether the state of a string says compact and ASCII: PyASCIIObject.state, of which three bits before that are its
 * kind. */
static __always_inline int pylat_is_ascii(u32 state)
{
    return (state >> (PYLAT_UNICODE_KIND + 3) & 3) == 3;
}

/* Where a frame stands, as if its units lay in the code object: in free-threaded builds from 3.14 on each thread runs a
 * copy of its own (co_tlbc: a size, and the address of each; the first is that in the code object). */
static __always_inline int pylat_own_unit(u64 frame, u64 code, u64 *unit)
{
#if PYLAT_CODE_TLBC >= 0
    u64 copies = 0, count = 0, units = 0;
    s32 index = 0;
    if (pylat_read(&index, sizeof(index), (void *)(frame + PYLAT_FRAME_TLBC_INDEX)) ||
        pylat_read_u64(code + PYLAT_CODE_TLBC, &copies) || pylat_read_u64(copies, &count))
        return -1;
    if (index < 0 || (u64)index >= count || pylat_read_u64(copies + 8 + 8 * (u64)index, &units))
        return -1;
    *unit = *unit - units + code + PYLAT_CODE_UNITS;
#endif
    return 0;
}

#if PYLAT_BY_NAME
/* The bare name of a code object: compact ASCII names only. */
static __always_inline int pylat_bare_name(u64 code, struct pylat_name *name)
{
    u64 object = 0, length = 0;
    u32 state = 0;
    if (pylat_read_u64(code + PYLAT_CODE_BARE_NAME, &object) ||
        pylat_read_u64(object + PYLAT_UNICODE_LENGTH, &length) ||
        pylat_read(&state, sizeof(state), (void *)(object + PYLAT_UNICODE_STATE)) || !pylat_is_ascii(state))
        return -1;
    u32 size = length < sizeof(name->text) ? length : sizeof(name->text);
    return size > 0 && size <= sizeof(name->text)
               ? pylat_read(name->text, size, (void *)(object + PYLAT_UNICODE_ASCII_DATA))
               : -1;
}
#endif

/* How an entry tells a first start from the continuation of a suspended call. */
#define PYLAT_START_BY_LASTI 1 /* to 3.10: f_lasti is -1 before the first instruction */
#define PYLAT_START_BY_OPARG 2 /* 3.11 and later: the oparg of the RESUME unit */
#define PYLAT_START_BY_OWNER 3 /* 3.15, before RESUME: whose frame it is, and where it stands */

#define PYLAT_ENTRY_STARTS 0
#define PYLAT_ENTRY_RESUMES 1
#define PYLAT_ENTRY_IGNORED 2 /* 3.15: the RESUME of a generator expression that runs before its generator is made */
#define PYLAT_ENTRY_UNREADABLE 3

#if PYLAT_START != PYLAT_START_BY_LASTI
/* Whether a frame stands before or at the first RESUME of its code: 1 yes, 0 no, -1 unreadable. */
static __always_inline int pylat_before_start(u64 frame, u64 code)
{
    u64 unit = 0;
    s32 first_resume = 0;
    if (pylat_read_u64(frame + PYLAT_FRAME_INSTR, &unit) || pylat_own_unit(frame, code, &unit) ||
        pylat_read(&first_resume, sizeof(first_resume), (void *)(code + PYLAT_CODE_FIRST_TRACEABLE)))
        return -1;
    return unit <= code + PYLAT_CODE_UNITS + 2 * (u64)(u32)first_resume;
}
#endif

static __always_inline int pylat_entry_kind(struct pt_regs *ctx, u64 frame, u64 code)
{
#if PYLAT_START == PYLAT_START_BY_LASTI
    s32 last = 0;
    if (pylat_read(&last, sizeof(last), (void *)(frame + PYLAT_FRAME_INSTR)))
        return PYLAT_ENTRY_UNREADABLE;
    return last == -1 ? PYLAT_ENTRY_STARTS : PYLAT_ENTRY_RESUMES;
#elif PYLAT_START == PYLAT_START_BY_OWNER
    u8 owner = 0;
    if (pylat_read(&owner, sizeof(owner), (void *)(frame + PYLAT_FRAME_OWNER)))
        return PYLAT_ENTRY_UNREADABLE;
    if (owner != PYLAT_FRAME_OF_GENERATOR)
        return PYLAT_ENTRY_IGNORED; /* up to RETURN_GENERATOR, which moves it into the generator */
    int before = pylat_before_start(frame, code);
    return before < 0 ? PYLAT_ENTRY_UNREADABLE : before ? PYLAT_ENTRY_STARTS : PYLAT_ENTRY_RESUMES;
#else
    u64 unit = 0;
    u8 oparg = 0;
#ifdef PYLAT_ENTRY_NEXT_INSTR
    unit = PYLAT_PLACE(ctx, ENTRY_NEXT_INSTR); /* as at the handler's start */
#else
    /* The site lies behind the handler's store of its own unit into the frame (prev_instr, instr_ptr). */
    if (pylat_read_u64(frame + PYLAT_FRAME_INSTR, &unit))
        return PYLAT_ENTRY_UNREADABLE;
#endif
    if (pylat_read(&oparg, sizeof(oparg), (void *)(unit + 1)))
        return PYLAT_ENTRY_UNREADABLE;
    oparg &= PYLAT_RESUME_MASK;
    if (oparg == 0)
        return PYLAT_ENTRY_STARTS;
    if (oparg == PYLAT_RESUME_CREATOR)
        return PYLAT_ENTRY_IGNORED;
    return PYLAT_ENTRY_RESUMES;
#endif
}

/* Whether a frame that is left has not run its first instruction: a call that was refused at the recursion limit, or a
 * generator that was closed or thrown into before it was started. Such frames are no calls. */
static __always_inline int pylat_never_started(u64 frame, u64 code)
{
#if PYLAT_START == PYLAT_START_BY_LASTI
    s32 last = 0;
    return !pylat_read(&last, sizeof(last), (void *)(frame + PYLAT_FRAME_INSTR)) && last == -1;
#else
    return pylat_before_start(frame, code) > 0;
#endif
}

/* The thread state at an exit site. Most exits do not look at it: where it is in no register, this is the address of
 * where it can be read, up to pylat_thread_state. */
#if PYLAT_EXIT_TSTATE_LOADS
#define PYLAT_THREAD_STATE_AT_EXIT(ctx) (PYLAT_REGISTER(ctx, PYLAT_EXIT_TSTATE) + PYLAT_EXIT_TSTATE_AT)
#ifdef PYLAT_RAISE_TSTATE
#error "exits have two kinds of thread states"
#endif
#else
#define PYLAT_THREAD_STATE_AT_EXIT(ctx) PYLAT_REGISTER(ctx, PYLAT_EXIT_TSTATE)
#endif

static __always_inline u64 pylat_thread_state(u64 at_exit)
{
    u64 thread_state = at_exit;
#if PYLAT_EXIT_TSTATE_LOADS
    pylat_read_u64(at_exit, &thread_state);
#if PYLAT_EXIT_TSTATE_LOADS > 1
    pylat_read_u64(thread_state + PYLAT_EXIT_TSTATE_BESIDE, &thread_state);
#endif
#endif
    return thread_state;
}

/* Whether an exception is being raised, from the thread state: curexc_type (to 3.11), current_exception. The
 * interpreter itself relies on it: a call gives a value or leaves an exception, never both, never neither
 * (_Py_CheckFunctionResult). 0 no, 1 yes, 2 yes and it is GeneratorExit. */
#define PYLAT_NOT_RAISED 0
#define PYLAT_RAISED 1
#define PYLAT_GENERATOR_EXIT 2

static __always_inline int pylat_raised(u64 thread_state, int suspends, u64 generator_exit_type)
{
    const char name[] = "GeneratorExit";
    u64 exception = 0;
    thread_state = pylat_thread_state(thread_state);
    pylat_read_u64(thread_state + PYLAT_TSTATE_EXCEPTION, &exception);
    if (!exception)
        return PYLAT_NOT_RAISED;
    if (!suspends)
        return PYLAT_RAISED;
#if PYLAT_EXCEPTION_IS_VALUE
    pylat_read_u64(exception + PYLAT_OBJECT_TYPE, &exception);
#endif
    if (exception == generator_exit_type || pylat_type_is(exception, name, sizeof(name)))
        return PYLAT_GENERATOR_EXIT;
    return PYLAT_RAISED;
}

/* Whether a frame that is left is only suspended, where one site sees both. */
static __always_inline int pylat_suspended(u64 frame, u64 thread_state)
{
#if PYLAT_START == PYLAT_START_BY_OWNER
    /* YIELD_VALUE lets the frame go on at the RESUME behind it, which no other instruction may hide. A generator that
     * throw() entered raises from there too. */
    u64 unit = 0;
    u8 code[2] = {};
    if (pylat_read_u64(frame + PYLAT_FRAME_INSTR, &unit) || pylat_read(code, sizeof(code), (void *)unit))
        return 0;
    return (code[1] & PYLAT_RESUME_MASK) &&
           (code[0] == PYLAT_RESUME_1 || code[0] == PYLAT_RESUME_2 || code[0] == PYLAT_RESUME_3 ||
            code[0] == PYLAT_RESUME_4) &&
           !pylat_raised(thread_state, 0, 0);
#elif PYLAT_FRAME_STATE >= 0    /* 3.10: f_state is FRAME_SUSPENDED (-1) */
    signed char state = 0;
    pylat_read(&state, sizeof(state), (void *)(frame + PYLAT_FRAME_STATE));
    return state == -1;
#elif PYLAT_FRAME_STACKTOP >= 0 /* 3.6 to 3.9: f_stacktop is kept */
    u64 stacktop = 0;
    pylat_read_u64(frame + PYLAT_FRAME_STACKTOP, &stacktop);
    return stacktop != 0;
#else
    return 0;
#endif
}

#endif
