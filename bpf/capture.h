/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What objects held at the moment of an event: copies of the memory of some objects and of what they hold, nearest
 * first, within fixed bounds. User space lays them over the process as it is later
 * (latency/tracing/counted/capture.py), and decodes there. Of CPython's objects only their extent is known here, from
 * their types: to decode them needs more than a BPF program may do. What is not taken along (too far, too large, paged
 * out) user space reads later, and says so.
 *
 * Classes, and the code of functions, are not taken along: they hardly change. */
#ifndef PYLAT_CAPTURE_H
#define PYLAT_CAPTURE_H

#include "cpython.h"

#ifndef PYLAT_SNAPSHOT_BYTES
#define PYLAT_SNAPSHOT_BYTES 16384 /* of one snapshot's stream, at most */
#endif
/* Blocks that one run of pylat_take_along takes along, and words of one block that are followed, at most: a multiple
 * of 8. */
#if PYLAT_TRACE
#define PYLAT_ROUND_BLOCKS 8 /* PYLAT_QUEUED of them take 32 programs, one after the other: the kernel allows 33 */
#define PYLAT_FOLLOWED 104
#else
#ifndef PYLAT_ROUND_BLOCKS
#define PYLAT_ROUND_BLOCKS 16
#endif
#ifndef PYLAT_FOLLOWED
#define PYLAT_FOLLOWED 64
#endif
#endif
#define PYLAT_BLOCK_BYTES 1024 /* of one block, at most */

#define PYLAT_QUEUED 256 /* places of one capture, at most; a power of two */
#define PYLAT_ROOTS 64   /* words of the array that it begins with, at most */

/* One stretch of memory in the stream of a snapshot; its bytes follow, padded to a multiple of 8. */
struct pylat_block {
    u64 address;
    u32 size;
    u32 object; /* not 0: how far into the block an object lies, plus 1, and all of that object is in it */
};

struct pylat_snapshot {
    u32 bytes; /* of the stream in use: nothing behind them need be sent */
    u32 blocks;
    u8 stream[PYLAT_SNAPSHOT_BYTES + PYLAT_BLOCK_BYTES + 16]; /* the last block may stand out */
};

/* What a place holds: how much to take, from where, and whether its words are to be followed. */
struct pylat_extent {
    u64 start;
    u64 size;
    u64 object; /* as in struct pylat_block */
    u64 follow; /* 1 or 0 */
    u64 mask;   /* of its words: the low bits of a _PyStackRef are flags */
    u64 array;  /* what belongs to it, and lies elsewhere: an array, and its words */
    u64 array_words;
    u64 keys;   /* of a dictionary, or of the instances of a class */
    u64 values; /* of an instance without a dictionary */
};

/* Where a capture has got to. One for each thread, kept from one capture to the next: it need not be cleared. */
struct pylat_worklist {
    u64 queue[PYLAT_QUEUED]; /* addresses; in the upper 16 bits the words of an array, 0 where an object may be */
    u64 seen[PYLAT_QUEUED];  /* by hash: an address (of an array plus 1), the number of the capture in the upper 16 */
    u64 head;                /* of the queue: what comes next */
    u64 tail;
    u64 number;                 /* of the capture: 16 bits */
    struct pylat_extent extent; /* kept here and not on the stack, so that the verifier knows nothing of it: whichever
                                 * way a loop is left, it is in one state then, and need not be looked at again */
};

#ifndef barrier
#define barrier() asm volatile("" : : : "memory")
#endif

#define PYLAT_FLAG_MANAGED_DICT (1UL << 4)

#define PYLAT_FLAG_READY (1UL << 12)
#define PYLAT_FLAG_LONG (1UL << 24)
#define PYLAT_FLAG_LIST (1UL << 25)
#define PYLAT_FLAG_BYTES (1UL << 27)
#define PYLAT_FLAG_UNICODE (1UL << 28)
#define PYLAT_FLAG_DICT (1UL << 29)
#define PYLAT_FLAG_TYPE (1UL << 31)

#define PYLAT_ADDRESS_MASK 0xffffffffffffUL
#define PYLAT_LEAST_ADDRESS 0x10000
#define PYLAT_LARGEST_REFCNT (1UL << 40) /* what is larger is a pointer */
#define PYLAT_CLASS_BYTES 32             /* of a class: what makes it an object */
#define PYLAT_UNKNOWN_BYTES 256          /* taken of a place at which no object lies */
#define PYLAT_BEFORE_BYTES 32            /* taken before an object whose attributes may lie there, or values */
#define PYLAT_ARRAY_WORDS (PYLAT_BLOCK_BYTES / 8)
#define PYLAT_SHOWN_ENTRIES 32 /* of a dictionary */

/* 1 if any bit is set, else 0, and 1 if it is negative, else 0: without a branch, of which a BPF program may have some
 * thousand on one path, with those of each round of a loop counted. */
static __always_inline u64 pylat_any(u64 value)
{
    value |= -value;
    asm volatile("" : "+r"(value)); /* or the compiler makes a branch of it again */
    value >>= 63;
    asm volatile("" : "+r"(value));
    return value;
}

static __always_inline u64 pylat_negative(u64 value)
{
    asm volatile("" : "+r"(value));
    value >>= 63;
    asm volatile("" : "+r"(value));
    return value;
}

/* Let a place wait to be taken along, if `wanted` is 1, and it can be one, and did not yet: 1 if it does, else 0.
 * `number` is that of the capture, in the upper 16 bits. */
static __always_inline u64 pylat_enqueue_one(struct pylat_worklist *work, u64 tail, u64 number, u64 address, u64 words,
                                             u64 wanted)
{
    u64 *seen = &work->seen[(address >> 4 ^ address >> 12) & (PYLAT_QUEUED - 1)];
    u64 bad = address >> 47 | (address & 7) | pylat_negative(address - PYLAT_LEAST_ADDRESS);
    u64 difference = *seen ^ (address | number | pylat_any(words)); /* an array may begin where an object lies */
    wanted &= pylat_negative(bad - 1) & pylat_any(difference) & pylat_negative(tail - PYLAT_QUEUED);
    *seen ^= difference & -wanted;
    work->queue[tail & (PYLAT_QUEUED - 1)] = address | words << 48; /* the tail stays where it is, or it was read */
    return wanted;
}

static __always_inline void pylat_enqueue(struct pylat_worklist *work, u64 address, u64 words, u64 wanted)
{
    u64 tail = work->tail;
    work->tail = tail + pylat_enqueue_one(work, tail, work->number << 48, address, words, wanted);
}

/* What an object is: the extent of its own memory, and where the rest of it lies. Not 0 if it is not to be taken. */
static __always_inline int pylat_extent_of(struct pylat_worklist *work, u64 address, u64 code_type)
{
    struct pylat_extent *extent = &work->extent;
    u64 head[5 + PYLAT_OBJECT_TYPE / 8] = {}; /* of a list, a dictionary or a set: all that matters */
    u64 sizes[2] = {};
    u64 flags = 0;
    if (pylat_read(head, sizeof(head), (void *)address) && pylat_read(head, PYLAT_OBJECT_TYPE + 8, (void *)address))
        return -1;
    u64 type = head[PYLAT_OBJECT_TYPE / 8];
    /* Where no object lies: its bytes may be wanted, its words lead astray (of memory that is free: from each place to
     * the next one, until nothing is left for what is held). */
    extent->size = PYLAT_UNKNOWN_BYTES;
    extent->follow = 0;
    if (type == code_type && code_type)
        return -1;
    if (PYLAT_REFCNT_BYTES == 8 && head[0] >= PYLAT_LARGEST_REFCNT)
        return 0;
    /* What cannot be read is 0 then. */
    pylat_read(&flags, sizeof(flags), (void *)(type + PYLAT_TYPE_FLAGS));
    pylat_read(sizes, sizeof(sizes), (void *)(type + PYLAT_TYPE_BASICSIZE));
    if (!(flags & PYLAT_FLAG_READY) || flags >> 32 || (type & 7) || sizes[0] - 16 > 0x10000 || sizes[1] > 0x10000)
        return 0;
    if (flags & PYLAT_FLAG_TYPE) { /* a class: what it is called is read later */
        extent->size = PYLAT_CLASS_BYTES;
        extent->object = 1;
        return 0;
    }
    extent->follow = 1;
    u64 size = sizes[0];
    if (sizes[1]) {
        u64 items = head[PYLAT_BYTES_SIZE / 8];
        if (PYLAT_LONG_HAS_TAG && (flags & PYLAT_FLAG_LONG))
            items >>= 3;
        else if ((s64)items < 0)
            items = -items;
        size += sizes[1] * (items < PYLAT_BLOCK_BYTES ? items : PYLAT_BLOCK_BYTES);
    }
    if (flags & (PYLAT_FLAG_LONG | PYLAT_FLAG_BYTES)) {
        extent->follow = flags >> 9 & 1; /* only those of classes have attributes */
    } else if (flags & PYLAT_FLAG_UNICODE) {
        u32 state = (u32)head[PYLAT_UNICODE_STATE / 8] >> PYLAT_UNICODE_KIND; /* kind:3, compact:1, ascii:1 */
        u64 text = head[PYLAT_UNICODE_LENGTH / 8];
        text = (text < PYLAT_BLOCK_BYTES ? text + 1 : PYLAT_BLOCK_BYTES) * (state & 7);
        if (state >> 3 & 1) { /* compact: the text lies behind the head */
            size = (state >> 4 & 1 ? PYLAT_UNICODE_ASCII_DATA : PYLAT_UNICODE_COMPACT_DATA) + text;
            extent->follow = 0;
        } else {
            pylat_read_u64(address + PYLAT_UNICODE_DATA, &extent->array);
            extent->array_words = (text + 7) / 8;
        }
    } else if (flags & PYLAT_FLAG_LIST) {
        extent->follow = flags >> 9 & 1; /* its array is followed, and the same of a dictionary */
        extent->array = head[PYLAT_LIST_ITEMS / 8];
        extent->array_words = head[PYLAT_BYTES_SIZE / 8];
    } else if (flags & PYLAT_FLAG_DICT) {
        extent->follow = flags >> 9 & 1;
        extent->keys = head[PYLAT_DICT_KEYS / 8];
        extent->values = head[PYLAT_DICT_VALUES / 8];
    } else if (sizes[0] == PYLAT_SET_BYTES && !sizes[1]) { /* a set, or something as large */
        extent->array = head[PYLAT_SET_TABLE / 8];
        extent->array_words = 2 * (head[PYLAT_SET_MASK / 8] + 1);
    }
#if PYLAT_MANAGED_DICT < 0
    if (flags & PYLAT_FLAG_MANAGED_DICT) {
        pylat_read_u64(type + PYLAT_TYPE_CACHED_KEYS, &extent->keys);
#if PYLAT_MANAGED_VALUES < 0
        pylat_read_u64(address + PYLAT_MANAGED_VALUES, &extent->values);
#elif PYLAT_VALUES_CAPACITY < 0 /* a tagged pointer (3.12) */
        u64 values = 0;
        pylat_read_u64(address + PYLAT_MANAGED_DICT, &values);
        extent->values = (values + 1) & -(values & 1);
#else
        u8 capacity = 0;
        pylat_read(&capacity, sizeof(capacity), (void *)(address + sizes[0] + PYLAT_VALUES_CAPACITY));
        size += (PYLAT_VALUES_ITEMS + 9UL * capacity) * (flags >> 2 & 1); /* one byte of order to each */
#endif
        extent->start = address - PYLAT_BEFORE_BYTES;
        size += PYLAT_BEFORE_BYTES;
        extent->follow = 1;
    }
#endif
    extent->size = (size + 7) & ~7UL;
    extent->object = address - extent->start + 1;
    return 0;
}

/* Let the parts of an object that lie elsewhere wait. Of the keys these are their head, and the entries, between which
 * lies the hash table; before the values of an instance lies their order (3.11, 3.12), or behind them. */
static __always_inline void pylat_enqueue_parts(struct pylat_worklist *work)
{
    u64 words = work->extent.array_words, keys = work->extent.keys, values = work->extent.values;
    pylat_enqueue(work, work->extent.array, words < PYLAT_ARRAY_WORDS ? words : PYLAT_ARRAY_WORDS, pylat_any(words));
    if (!keys)
        return;
    u64 entries = 0, index_bytes = 0;
    pylat_read(&entries, sizeof(entries), (void *)(keys + PYLAT_KEYS_NENTRIES));
#if PYLAT_KEYS_SIZE >= 0
    pylat_read(&index_bytes, sizeof(index_bytes), (void *)(keys + PYLAT_KEYS_SIZE));
    index_bytes <<= pylat_any(index_bytes >> 8) + pylat_any(index_bytes >> 16); /* DK_IXSIZE */
#else
    u8 log2 = 0;
    pylat_read(&log2, sizeof(log2), (void *)(keys + PYLAT_KEYS_LOG2_INDEX_BYTES));
    index_bytes = 1UL << (log2 & 31);
#endif
    entries = entries < PYLAT_SHOWN_ENTRIES ? entries : PYLAT_SHOWN_ENTRIES;
    pylat_enqueue(work, keys, PYLAT_KEYS_INDICES / 8, 1);
    pylat_enqueue(work, keys + PYLAT_KEYS_INDICES + index_bytes, entries * PYLAT_ENTRY_BYTES / 8, pylat_any(entries));
    pylat_enqueue(work, values - PYLAT_BEFORE_BYTES, PYLAT_SHOWN_ENTRIES + 8, pylat_any(values));
}

/* Take one place along: into the stream, and what it holds into the queue. */
static __always_inline void pylat_take(struct pylat_worklist *work, struct pylat_snapshot *to, u64 entry, u64 code_type)
{
    struct pylat_extent *extent = &work->extent;
    u64 address = entry & PYLAT_ADDRESS_MASK;
    extent->start = address;
    extent->size = (entry >> 48) * 8;
    extent->object = 0;
    extent->follow = 1;
    extent->array_words = 0;
    extent->keys = 0;
    extent->values = 0;
    if (extent->size == 0 && pylat_extent_of(work, address, code_type))
        return;
    barrier();
    pylat_enqueue_parts(work);
    barrier();
    u32 at = to->bytes;
    if (at >= PYLAT_SNAPSHOT_BYTES)
        return;
    u64 size = extent->size < PYLAT_BLOCK_BYTES ? extent->size : PYLAT_BLOCK_BYTES;
    struct pylat_block *block = (struct pylat_block *)&to->stream[at];
    u8 *bytes = &to->stream[at + sizeof(struct pylat_block)];
    asm volatile("" : "+r"(size)); /* the verifier is to see the comparison that the compiler would drop */
    if (size > PYLAT_BLOCK_BYTES)
        return;
    if (pylat_read(bytes, size, (void *)extent->start)) {
        /* up to the end of its page */
        u64 rest = 4096 - (extent->start & 4095);
        if (rest >= size || rest > PYLAT_BLOCK_BYTES || pylat_read(bytes, rest, (void *)extent->start))
            return;
        size = rest & ~7UL;
    }
    extent->object &= -pylat_negative(extent->size - size - 1); /* only if that is all of it */
    extent->size = size;
    barrier();
    size = extent->size;
    block->address = extent->start;
    block->size = size;
    block->object = extent->object;
    to->blocks++;
    to->bytes = at + sizeof(struct pylat_block) + size;
    u64 words = size / 8 * extent->follow, tail = work->tail, number = work->number << 48;
    u64 mask = extent->mask;
    u64 *follow = (u64 *)bytes;
#if PYLAT_OBJECT_TYPE > 8
    /* In free-threaded builds the head of an object begins with the address of its thread, and a count that looks like
     * one. An array has no head. */
    u64 head_words = (1 - pylat_any(entry >> 48)) * (PYLAT_OBJECT_TYPE / 8);
    asm volatile("" : "+r"(head_words));
    head_words &= 3;
    follow += head_words;
    words -= head_words;
#endif
    for (u32 i = 0; i < PYLAT_FOLLOWED; i += 8) {
        asm volatile("" : "+r"(i)); /* as in pylat_find */
        if (i >= words)
            break;
#pragma unroll
        for (u32 j = 0; j < 8; j++)
            tail += pylat_enqueue_one(work, tail, number, follow[i + j] & mask, 0, pylat_negative(i + j - words));
    }
    work->tail = tail;
}

/* Begin with an array of `count` values (PyObject *, or _PyStackRef from 3.14 on): the first block of the snapshot is
 * this array. */
static __always_inline void pylat_begin_with_values(struct pylat_worklist *work, struct pylat_snapshot *to, u64 array,
                                                    u32 count)
{
    work->number = (work->number + 1) & 0xffff;
    work->head = 0;
    work->tail = 0;
    work->extent.mask = PYLAT_FRAME_CODE_MASK;
    to->bytes = 0;
    to->blocks = 0;
    pylat_enqueue(work, array, count < PYLAT_ROOTS ? count : PYLAT_ROOTS, pylat_any(count));
}

/* Begin with one object. */
static __always_inline void pylat_begin_with_object(struct pylat_worklist *work, struct pylat_snapshot *to, u64 object)
{
    pylat_begin_with_values(work, to, 0, 0);
    pylat_enqueue(work, object, 0, 1);
}

/* Take along up to PYLAT_ROUND_BLOCKS places, nearest first. Whether there are more, for another run.
 *
 * `code_type` is the address of PyCode_Type, 0 if it is not known. */
static __always_inline int pylat_take_along(struct pylat_worklist *work, struct pylat_snapshot *to, u64 code_type)
{
    for (u32 i = 0; i < PYLAT_ROUND_BLOCKS; i++) {
        asm volatile("" : "+r"(i)); /* as in pylat_find */
        u64 head = work->head;
        if (head >= work->tail)
            return 0;
        work->head = head + 1;
        pylat_take(work, to, work->queue[head & (PYLAT_QUEUED - 1)], code_type);
        work->extent.mask = ~0UL;
    }
    return work->head < work->tail && to->bytes < PYLAT_SNAPSHOT_BYTES;
}

#endif
