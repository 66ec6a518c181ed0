/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The arguments of a USDT marker, read from where its struct pylat_marker_point says that they are. No maps. */
#ifndef PYLAT_MARKER_ARGUMENTS_H
#define PYLAT_MARKER_ARGUMENTS_H

#include <uapi/linux/ptrace.h>

#include "markers.h"

/* bpf_probe_read_user and its like under names of our own: see cpython.h. */
static long (*pylat_read)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_user;
static long (*pylat_read_text)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_user_str;
static long (*pylat_read_kernel)(void *to, u32 size, const void *from) = (void *)BPF_FUNC_probe_read_kernel;

struct hit {
    u64 now_ns;
    struct pt_regs *ctx;
    struct pylat_counters *count;
    const struct pylat_marker_point *point;
    struct pylat_marker_item *item;
};

/* The context is a struct pt_regs, but the verifier lets no program read it at an offset that it cannot know. */
static __always_inline u64 register_at(const struct hit *hit, u8 offset)
{
    u64 value = 0;
    if (offset <= sizeof(struct pt_regs) - sizeof(value))
        pylat_read_kernel(&value, sizeof(value), (char *)hit->ctx + offset);
    return value;
}

static __always_inline int read_argument(const struct hit *hit, const struct pylat_argument *of, u64 *value)
{
    u64 found = of->value + register_at(hit, of->base);
    u32 size = of->size & 15;
    if (of->index != PYLAT_NO_REGISTER)
        found += register_at(hit, of->index) * of->scale;
    if (size < 1 || size > sizeof(found))
        return -1;
    if (of->flags & PYLAT_ARGUMENT_MEMORY) {
        u64 word = 0;
        if (pylat_read(&word, size, (void *)found))
            return -1;
        found = word;
    }
    u32 spare = 64 - 8 * size;
    found = found >> (of->shift & 63) << spare;
    *value = of->flags & PYLAT_ARGUMENT_SIGNED ? (u64)((s64)found >> spare) : found >> spare;
    return 0;
}

/* The name that this hit is counted under: 0 if an argument could not be read. */
static __always_inline int read_name(const struct hit *hit, struct pylat_marker_name *name)
{
    u64 value = 0;
    name->item = hit->point->item;
    if (hit->point->number.flags & PYLAT_ARGUMENT_PRESENT) {
        if (read_argument(hit, &hit->point->number, &value))
            return 0;
        name->number = value;
    }
    if (hit->point->name.flags & PYLAT_ARGUMENT_PRESENT) {
        if (read_argument(hit, &hit->point->name, &value) || !value)
            return 0;
        long size = pylat_read_text(name->text, sizeof(name->text), (void *)value);
        if (size < 0)
            name->address = value; /* not paged in, perhaps: user space can wait for that page */
        u8 beyond = 0;
        if (size == sizeof(name->text))
            pylat_read(&beyond, sizeof(beyond), (void *)(value + sizeof(name->text) - 1));
        name->is_cut = beyond != 0;
    }
    return 1;
}

#endif
