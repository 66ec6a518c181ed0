/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Nanoseconds -> histogram bucket, in integers, exactly.
 *
 * Bucket p covers (2^((p-1)/16), 2^(p/16)] seconds, upper bound inclusive: the exponential
 * histogram of scale 4 of OpenTelemetry, schema 4 of Prometheus. The array of counters holds
 * buckets PYLAT_BUCKET_MIN .. PYLAT_BUCKET_MIN + PYLAT_BUCKETS - 1 (64 ns .. 71 min); what is
 * shorter or longer is counted in the first or the last. latency/histogram.py says the same in Python.
 *
 * No helpers, no maps, no memory, no loop, and one branch that stays: comparisons are made by subtraction
 * and the sign bit, so that the BPF verifier walks one path and not a path for each outcome.
 * Compiled as BPF by bcc, and natively with -DPYLAT_NATIVE by the tests.
 */
#ifndef PYLAT_HISTOGRAM_H
#define PYLAT_HISTOGRAM_H

#ifdef PYLAT_NATIVE
#ifndef PYLAT_NATIVE_TYPES
#define PYLAT_NATIVE_TYPES
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;
#endif
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#endif

#define PYLAT_SCALE 4
#define PYLAT_BUCKETS 576
#define PYLAT_BUCKET_MIN (-382)

/* The longest and shortest values that need telling apart: 64 ns, and just above 2^12 s. */
#define PYLAT_SHORTEST_NS 64ULL
#define PYLAT_LONGEST_NS (4096ULL * 1000000000ULL + 1)

/* 1 if value > limit, else 0; both below 2^63. */
#define PYLAT_ABOVE(value, limit) (((u64)(limit) - (u64)(value)) >> 63)

/* Shift value left by width if that keeps it below 2^63; remember how far. */
#define PYLAT_NORMALISE(value, shift, width)                              \
    do {                                                                  \
        u64 by_ = (((value) - (1ULL << (63 - (width)))) >> 63) * (width); \
        (value) <<= by_;                                                  \
        (shift) += by_;                                                   \
    } while (0)

/* The index, 0 .. PYLAT_BUCKETS - 1, of the counter for a duration of ns nanoseconds. */
static __always_inline u32 pylat_bucket(u64 ns)
{
    u64 shift = 0, index;

    if (ns < PYLAT_SHORTEST_NS)
        ns = PYLAT_SHORTEST_NS;
    if (ns > PYLAT_LONGEST_NS)
        ns = PYLAT_LONGEST_NS;

    /* Bit 62 becomes the highest bit set; then the octave is 62 - shift. */
    PYLAT_NORMALISE(ns, shift, 32);
    PYLAT_NORMALISE(ns, shift, 16);
    PYLAT_NORMALISE(ns, shift, 8);
    PYLAT_NORMALISE(ns, shift, 4);
    PYLAT_NORMALISE(ns, shift, 2);
    PYLAT_NORMALISE(ns, shift, 1);

    /* 64 ns is octave 6 and index 0. */
    index = (62 - 6) * 16 - shift * 16;

    /*
     * The sixteen bucket bounds of one octave, 10^9 * 2^(p/16) brought to [2^62, 2^63), rounded down:
     *   from math import isqrt
     *   [hex(isqrt(isqrt(isqrt(isqrt(10**144 << p + 33 * 16))))) for p in range(-14, 2)]
     */
    index += PYLAT_ABOVE(ns, 0x40ffd3d4aa4e5371ULL);
    index += PYLAT_ABOVE(ns, 0x43e0891ac1b68b51ULL);
    index += PYLAT_ABOVE(ns, 0x46e1dc4b00b253ecULL);
    index += PYLAT_ABOVE(ns, 0x4a053f1412cfd9c1ULL);
    index += PYLAT_ABOVE(ns, 0x4d4c3382a6a891c8ULL);
    index += PYLAT_ABOVE(ns, 0x50b84cbaefd833abULL);
    index += PYLAT_ABOVE(ns, 0x544b2fba5f832838ULL);
    index += PYLAT_ABOVE(ns, 0x58069421f08306e1ULL);
    index += PYLAT_ABOVE(ns, 0x5bec4509686ecf50ULL);
    index += PYLAT_ABOVE(ns, 0x5ffe21dbf3025491ULL);
    index += PYLAT_ABOVE(ns, 0x643e1f3e81e6df61ULL);
    index += PYLAT_ABOVE(ns, 0x68ae48005f908e0fULL);
    index += PYLAT_ABOVE(ns, 0x6d50be1668caaaedULL);
    index += PYLAT_ABOVE(ns, 0x7227bba165ab71eeULL);
    index += PYLAT_ABOVE(ns, 0x7735940000000000ULL);
    index += PYLAT_ABOVE(ns, 0x7c7cb4ecdad5fca4ULL);

    /* Never true; the verifier cannot know. */
    if (index >= PYLAT_BUCKETS)
        index = PYLAT_BUCKETS - 1;
    return (u32)index;
}

#endif
