/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The contract between bpf/markers.bpf.c and latency/tracing/markers/wire.py; the rest of it is in pylat.h, whose rules
 * hold here too. */
#ifndef PYLAT_MARKERS_H
#define PYLAT_MARKERS_H

#include "pylat.h"

/* Open calls of one pair of markers in one thread; what is nested deeper is counted. */
#define PYLAT_MARKER_DEPTH 128
/* Pairs and single markers that are asked for. */
#define PYLAT_MARKER_ITEMS 16
/* Bytes of a name that are kept, with the NUL at its end. */
#define PYLAT_MARKER_NAME_BYTES 192
/* Calls of one pair that may have begun before pylat watched, where a key matches them; more is a pair that never
 * matches. */
#define PYLAT_MARKER_BEFORE 1024

/* Flags of struct pylat_argument. */
#define PYLAT_ARGUMENT_PRESENT 1
#define PYLAT_ARGUMENT_SIGNED 2
#define PYLAT_ARGUMENT_MEMORY 4 /* the sum is an address */
/* No register. */
#define PYLAT_NO_REGISTER 255

/* Flags of struct pylat_marker_point. */
#define PYLAT_MARKER_KEYED 1   /* start and done have the same key, on whatever threads they are */
#define PYLAT_MARKER_OWN 2     /* the time outside of nested calls is counted, too */
#define PYLAT_MARKER_OUTCOME 4 /* the amount is 0 where the call failed */

/* Where an argument is: value + base + index * scale, or what memory holds there. */
struct pylat_argument {
    s64 value;
    u8 flags;
    u8 size;  /* in bytes: 1, 2, 4 or 8 */
    u8 shift; /* where it begins in a register, in bits */
    u8 base;  /* offset in struct pt_regs, in bytes, or PYLAT_NO_REGISTER */
    u8 index;
    u8 scale;
    u8 padding[2];
};

/* One site of a marker in one of its roles. */
struct pylat_marker_point {
    struct pylat_argument name;   /* address of a text: what is counted is counted by it */
    struct pylat_argument number; /* the same by a number */
    struct pylat_argument key;
    struct pylat_argument amount; /* of a done marker: added up */
    u32 item;                     /* which of those that were asked for */
    u32 slot;                     /* of its statistics; PYLAT_NO_SLOT: by name and number */
    u32 flags;
    u32 padding;
};

/* What is counted under a name of its own. */
struct pylat_marker_name {
    u32 item;
    u32 is_cut; /* the text goes on */
    s64 number;
    u64 address; /* of the text, where it could not be read; else 0 */
    u8 text[PYLAT_MARKER_NAME_BYTES];
};

struct pylat_marker_named {
    u64 count; /* of a single marker */
    u32 slot;  /* of the statistics, or PYLAT_NO_SLOT */
    u32 own_slot;
};

/* One open call. */
struct pylat_marker_call {
    u64 start_ns;
    u64 inner_ns; /* time in finished calls that were nested in it */
    u32 slot;     /* PYLAT_NO_SLOT: it was counted as lost when it began */
    u32 own_slot;
};

/* The open calls of one item in one thread, innermost last. */
struct pylat_marker_stack_key {
    u32 tid;
    u32 item;
};

struct pylat_marker_stack {
    u32 depth;
    u32 too_deep; /* open calls beyond the table */
    u32 before;   /* calls that ended here and began before pylat watched */
    u32 padding;
    struct pylat_marker_call open[PYLAT_MARKER_DEPTH];
};

/* An open call that is matched by a key. */
struct pylat_marker_key {
    u64 key;
    u32 item;
    u32 padding;
};

/* Of one item. */
struct pylat_marker_item {
    u64 before;  /* matched by key: calls that ended and began before pylat watched */
    u64 dropped; /* calls that found no place when they began: their ends are theirs, too */
};

/* The shortest and the longest call that a thread saw. Threads that hold no GIL count at the same time, and BPF of old
 * kernels has no compare-and-swap. */
struct pylat_marker_extremes_key {
    u32 tid;
    u32 slot;
};

struct pylat_marker_extremes {
    u64 min_ns;
    u64 max_ns;
};

struct pylat_marker_config {
    u32 enabled;
    u32 replaced; /* these as in struct pylat_config */
    u64 namespace_device;
    u64 namespace_inode;
    u32 tgid;
    u32 padding;
};

#endif
