/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Code objects and their slots of the statistics: those that are known, and those that are met while they run. */
#ifndef PYLAT_FUNCTIONS_H
#define PYLAT_FUNCTIONS_H

#include "count.h"
#include "cpython.h"
#include "maps.h"
#include "modules.h"

/* Where it stands in `known_codes`. NULL for many processes: at an address each has a code object of its own. */
static __always_inline u64 *known_at(u64 code)
{
#if PYLAT_MANY_PROCESSES
    return NULL;
#else
    u32 at = (u32)(code >> 4) * 0x9e3779b1u >> (32 - PYLAT_KNOWN_BITS);
    return known_codes.lookup(&at);
#endif
}

/* The slot of a plain function that is wanted, PYLAT_NO_SLOT of one that is not; -1: look among the functions. */
static __always_inline int known_slot(u64 code)
{
    u64 *at = known_at(code);
    u64 found = at ? *at : 0;
    return found && found >> 16 == code ? (int)(found & 0xffff) : -1;
}

/* For the next time, if nothing but the end of the code object can change what it is. That of one that is wanted may
 * have come, and user space not know it yet: then its slot says so. */
static __always_inline void remember(u64 code, const struct pylat_function *function)
{
    u64 *at = known_at(code);
    if (!at)
        return;
    u32 slot = function->slot;
    if (!(function->flags & (PYLAT_WANTED | PYLAT_STRUCK_OUT | PYLAT_FREED))) {
        *at = code << 16 | PYLAT_NO_SLOT;
    } else if (function->flags == PYLAT_WANTED && slot != PYLAT_NO_SLOT) {
        struct pylat_statistics *of = statistics.lookup(&slot);
        if (of && of->code == code && !(of->flags & PYLAT_DEAD))
            *at = code << 16 | slot;
    }
}

static __always_inline void forget(u64 code)
{
    u64 *at = known_at(code);
    if (at && *at >> 16 == code)
        *at = 0;
}

/* A free slot of the statistics, which stays nobody's until it is given a name. */
static __always_inline u32 take_slot(void)
{
    u32 slot = PYLAT_NO_SLOT;
    return free_slots.pop(&slot) ? PYLAT_NO_SLOT : slot;
}

static __always_inline void give_slot(u32 slot)
{
    if (slot != PYLAT_NO_SLOT)
        free_slots.push(&slot, 0);
}

static __always_inline void name_slot(u32 slot, const struct pylat_function_key *key, u32 flags)
{
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (!of)
        return;
    of->space = key->space;
    of->flags = flags;
    of->code = key->code;
}

/* 1: the function has slots from now on; 0: it had some; -1: there are none left.
 *
 * In free-threaded builds several threads may come by a function at once, and each takes slots. Those whose claim was
 * first are the function's, and the others are given back. (A compare-and-swap would need Linux 5.12.) */
static __always_inline int assign_slots(const struct pylat_function_key *key, struct pylat_function *function)
{
    if (function->slot != PYLAT_NO_SLOT)
        return 0;
    struct pylat_function made = {.slot = take_slot(), .active_slot = PYLAT_NO_SLOT};
    if (made.slot == PYLAT_NO_SLOT)
        return -1;
    if (function->flags & PYLAT_SUSPENDS) {
        made.active_slot = take_slot();
        if (made.active_slot == PYLAT_NO_SLOT) {
            give_slot(made.slot);
            return -1;
        }
    }
#if PYLAT_PARALLEL
    int is_first = !claims.insert(key, &made);
    if (!is_first) {
        give_slot(made.slot);
        give_slot(made.active_slot);
        struct pylat_function *first = claims.lookup(key);
        if (!first)
            return -1; /* the table is full */
        made = *first;
    }
    function->active_slot = made.active_slot;
    asm volatile("" : : : "memory"); /* whoever sees the one sees the other */
    function->slot = made.slot;
    if (!is_first)
        return 0;
#else
    function->active_slot = made.active_slot;
    function->slot = made.slot;
#endif
    name_slot(made.slot, key, 0);
    if (made.active_slot != PYLAT_NO_SLOT)
        name_slot(made.active_slot, key, PYLAT_ACTIVE);
    return 1;
}

/* What a code object is from now on. Threads that meet it at once say the same. */
static __always_inline void know(const struct pylat_function_key *key, struct pylat_function *fresh)
{
#if PYLAT_PARALLEL
    struct pylat_function *known = functions.lookup(key);
    if (!known) {
        functions.insert(key, fresh);
    } else if (known->flags & PYLAT_FREED) {
        known->active_slot = fresh->active_slot;
        known->slot = fresh->slot;
        asm volatile("" : : : "memory");
        known->flags = fresh->flags;
    }
#else
    functions.update(key, fresh);
#endif
}

#if PYLAT_MANY_PROCESSES
/* What is known of this code object in the address spaces that this one was forked from. */
static __always_inline struct pylat_function *inherited(const struct pylat_function_key *key)
{
    struct pylat_function_key of = *key;
    for (int generation = 0; generation < PYLAT_GENERATIONS; generation++) {
        pylat_space *parent = ancestors.lookup(&of.space);
        if (!parent)
            return NULL;
        of.space = *parent;
        struct pylat_function *function = functions.lookup(&of);
        if (function)
            return function;
    }
    return NULL;
}
#endif

#if PYLAT_BY_MODULE
static __always_inline void announce_module(struct pylat_counters *count, const struct pylat_function_key *key,
                                            u64 frame)
{
    struct pylat_module_event *event = events.ringbuf_reserve(sizeof(*event));
    if (!event) {
        PYLAT_COUNT(count->event_lost);
        return;
    }
    event->kind = PYLAT_EVENT_MODULE;
    event->space = key->space;
    event->code = key->code;
    u64 name = pylat_module_name(frame);
    event->name_bytes = name ? pylat_capture(event->name, sizeof(event->name), name) : 0;
    events.ringbuf_submit(event, 0);
}
#endif

#if PYLAT_FRAME_FUNCTION >= 0 /* 3.11 and later: a frame knows its function */
/* Whether a code object was compiled from a text that is no file: its file is called `<string>` or so, and not
 * `<frozen ...>`. */
static __always_inline int pylat_is_written(u64 code)
{
    u64 filename = 0;
    u32 state = 0;
    u8 text[3] = {};
    return !pylat_read_u64(code + PYLAT_CODE_FILENAME, &filename) &&
           !pylat_read(&state, sizeof(state), (void *)(filename + PYLAT_UNICODE_STATE)) && pylat_is_ascii(state) &&
           !pylat_read(text, sizeof(text), (void *)(filename + PYLAT_UNICODE_ASCII_DATA)) && text[0] == '<' &&
           !(text[1] == 'f' && text[2] == 'r');
}

/* What the function says of itself that holds such code: the code has the name of the text, which is that of many. */
static __always_inline void announce_owner(struct pylat_counters *count, const struct pylat_function_key *key,
                                           u64 frame)
{
    u64 owner = 0, code = 0;
    if (!pylat_is_written(key->code) || pylat_read_u64(frame + PYLAT_FRAME_FUNCTION, &owner))
        return;
    owner &= PYLAT_FRAME_CODE_MASK; /* tagged from 3.14 on, as the code is */
    if (pylat_read_u64(owner + PYLAT_FUNCTION_CODE, &code) || code != key->code)
        return;
    struct pylat_owner_event *event = events.ringbuf_reserve(sizeof(*event));
    if (!event) {
        PYLAT_COUNT(count->event_lost);
        return;
    }
    event->kind = PYLAT_EVENT_OWNER;
    event->space = key->space;
    event->code = key->code;
    event->qualname_bytes = pylat_capture(event->qualname, sizeof(event->qualname), owner + PYLAT_FUNCTION_QUALNAME);
    event->module_bytes = pylat_capture(event->module, sizeof(event->module), owner + PYLAT_FUNCTION_MODULE);
    events.ringbuf_submit(event, 0);
}
#endif

/* A code object that nobody knew when pylat attached. It is measured from its first call; user space learns its
 * name and strikes it out if it is not wanted. */
static __always_inline struct pylat_function *meet_code(struct pylat_counters *count, u32 tgid,
                                                        struct pylat_function_key *key, u64 frame)
{
    struct pylat_function fresh = {.slot = PYLAT_NO_SLOT, .active_slot = PYLAT_NO_SLOT};
    fresh.flags = PYLAT_WANTED | PYLAT_UNDECIDED;
#if PYLAT_MANY_PROCESSES
    struct pylat_function *known = functions.lookup(key) ? NULL : inherited(key);
    if (known && !(known->flags & (PYLAT_FREED | PYLAT_UNDECIDED))) {
        fresh.flags = known->flags;
        know(key, &fresh);
        known = functions.lookup(key);
        if (!known && (fresh.flags & PYLAT_WANTED))
            PYLAT_COUNT(count->table_full);
        return known;
    }
#endif
    u32 zero = 0;
    struct pylat_config *now = config.lookup(&zero);
    int is_code = pylat_is_code(key->code, now ? now->code_type : 0);
    if (is_code <= 0) {
        __sync_fetch_and_add(is_code ? &count->read_fault : &count->bad_frame, 1);
        return NULL;
    }
#if PYLAT_BY_NAME
    struct pylat_name name = {};
    if (!pylat_bare_name(key->code, &name) && !wanted_names.lookup(&name)) {
        fresh.flags = 0;
        know(key, &fresh);
        return functions.lookup(key);
    }
#endif
    u32 co_flags = 0;
    pylat_read(&co_flags, sizeof(co_flags), (void *)(key->code + PYLAT_CODE_FLAGS));
    if (co_flags & PYLAT_CO_SUSPENDS)
        fresh.flags |= PYLAT_SUSPENDS;
#if PYLAT_PARALLEL
    /* Its slots come first: a thread that finds it in the table takes none, and so whose slots they are is who tells.
     */
    int assigned = assign_slots(key, &fresh);
    if (assigned >= 0)
        know(key, &fresh);
    struct pylat_function *function = functions.lookup(key);
    if (assigned < 0 || !function) {
        PYLAT_COUNT(count->table_full);
        return NULL;
    }
    if (!assigned)
        return function;
#else
    know(key, &fresh);
    struct pylat_function *function = functions.lookup(key);
    if (!function || assign_slots(key, function) < 0) {
        PYLAT_COUNT(count->table_full);
        return NULL;
    }
#endif
#if PYLAT_BY_MODULE
    announce_module(count, key, frame);
#endif
#if PYLAT_FRAME_FUNCTION >= 0
    announce_owner(count, key, frame);
#endif
    struct pylat_code_event *event = events.ringbuf_reserve(sizeof(*event));
    if (!event) {
        PYLAT_COUNT(count->event_lost);
        return function;
    }
    event->kind = PYLAT_EVENT_CODE;
    event->tgid = tgid;
    event->space = key->space;
    event->code = key->code;
    event->slot = function->slot;
    event->active_slot = function->active_slot;
    event->co_flags = co_flags;
    event->line = 0;
    pylat_read(&event->line, sizeof(event->line), (void *)(key->code + PYLAT_CODE_LINE));
    event->qualname_bytes = pylat_capture(event->qualname, sizeof(event->qualname), key->code + PYLAT_CODE_NAME);
    event->filename_bytes = pylat_capture(event->filename, sizeof(event->filename), key->code + PYLAT_CODE_FILENAME);
    events.ringbuf_submit(event, 0);
    return function;
}

#endif
