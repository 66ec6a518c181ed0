/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The module of a function that is met while it runs: `__name__` among the globals of its frame, at that moment. Only
 * in the kernel is that exact: soon after, the dict of a module that is gone may be another's. Objects/dictobject.c and
 * Include/internal/pycore_dict.h, CPython 3.6 to 3.15; included where patterns name modules. */
#ifndef PYLAT_MODULES_H
#define PYLAT_MODULES_H

#include "cpython.h"

/* Entries that are looked through: a module's own `__name__` is the first one. */
#define PYLAT_MOST_GLOBALS 64

/* "__name__" as it lies in memory, little-endian. */
#define PYLAT_NAME_LENGTH 8
#define PYLAT_NAME_TEXT 0x5f5f656d616e5f5fULL

static __always_inline int pylat_is_name(u64 key)
{
    u64 length = 0, text = 0;
    u32 state = 0;
    return !pylat_read_u64(key + PYLAT_UNICODE_LENGTH, &length) && length == PYLAT_NAME_LENGTH &&
           !pylat_read(&state, sizeof(state), (void *)(key + PYLAT_UNICODE_STATE)) && pylat_is_ascii(state) &&
           !pylat_read_u64(key + PYLAT_UNICODE_ASCII_DATA, &text) && text == PYLAT_NAME_TEXT;
}

/* Bytes of the index table that lies before the entries, and how long an entry is; its value is its last word. */
static __always_inline int pylat_dict_layout(u64 keys, u64 *index_bytes, u32 *entry_bytes)
{
#if PYLAT_KEYS_LOG2_BYTES >= 0 /* 3.11 and later */
    u8 log2_bytes = 0, kind = 0;
    if (pylat_read(&log2_bytes, sizeof(log2_bytes), (void *)(keys + PYLAT_KEYS_LOG2_BYTES)) ||
        pylat_read(&kind, sizeof(kind), (void *)(keys + PYLAT_KEYS_KIND)))
        return -1;
    *index_bytes = 1ULL << (log2_bytes & 63);
    *entry_bytes = kind ? PYLAT_UNICODE_ENTRY_BYTES : PYLAT_ENTRY_BYTES;
#else
    u64 size = 0;
    if (pylat_read_u64(keys + PYLAT_KEYS_SIZE, &size))
        return -1;
    *index_bytes = size <= 0xff ? size : size <= 0xffff ? 2 * size : size <= 0xffffffff ? 4 * size : 8 * size;
    *entry_bytes = PYLAT_ENTRY_BYTES;
#endif
    return 0;
}

/* The address of the pointer to the module's name, or 0. */
static __always_inline u64 pylat_module_name(u64 frame)
{
    u64 globals = 0, keys = 0, values = 0, entries = 0, index_bytes = 0;
    u32 entry_bytes = 0;
    if (pylat_read_u64(frame + PYLAT_FRAME_GLOBALS, &globals) || pylat_read_u64(globals + PYLAT_DICT_KEYS, &keys) ||
        pylat_read_u64(globals + PYLAT_DICT_VALUES, &values) || values ||
        pylat_read_u64(keys + PYLAT_KEYS_NENTRIES, &entries) || pylat_dict_layout(keys, &index_bytes, &entry_bytes))
        return 0;
    u64 entry = keys + PYLAT_KEYS_INDICES + index_bytes;
    for (u32 i = 0; i < PYLAT_MOST_GLOBALS; i++) {
        if (i >= entries)
            break;
        u64 value = entry + entry_bytes - sizeof(u64), key = 0;
        if (!pylat_read_u64(value - sizeof(u64), &key) && pylat_is_name(key))
            return value;
        entry += entry_bytes;
    }
    return 0;
}

#endif
