/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Calls that are suspended and resumed: generators, coroutines, asynchronous generators. */
#ifndef PYLAT_GENERATORS_H
#define PYLAT_GENERATORS_H

#include "maps.h"
#include "split.h"
#include "stack.h"

static __always_inline u64 generator_exit_type(int suspends)
{
    u32 zero = 0;
    struct pylat_config *now = suspends ? config.lookup(&zero) : NULL;
    return now ? now->generator_exit_type : 0;
}

#endif
