/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Which calls are slow, and telling them; what is told stands in slow.h. */
#ifndef PYLAT_SLOW_CALLS_H
#define PYLAT_SLOW_CALLS_H

#include "calls.h"
#include "count.h"
#include "maps.h"

#if PYLAT_SLOWER
/* User space learns the names of all code objects on the stack before it hears of the call: each once, while it is
 * certainly alive. */
static __always_inline void tell_code(u64 code_type, pylat_space space, u64 code)
{
    struct pylat_function_key key = {.code = code, .space = space};
    u8 yes = 1;
    if (told_codes.lookup(&key) || pylat_is_code(code, code_type) <= 0)
        return;
    struct pylat_slow_code *told = slow_events.ringbuf_reserve(sizeof(*told));
    if (!told)
        return; /* an unknown frame, which is seen in its place */
    told->kind = PYLAT_SLOW_CODE;
    told->space = space;
    pylat_take_code(told, code);
    slow_events.ringbuf_submit(told, 0);
    told_codes.update(&key, &yes);
}

/* Whether a call that has ended is to be told; then its place to be put together in. */
static __always_inline struct pylat_slow_work *slow_call(struct pylat_counters *count, const struct ended_call *call)
{
    u32 zero = 0, slot = call->slot;
    struct pylat_statistics *of = statistics.lookup(&slot);
    struct pylat_config *now = config.lookup(&zero);
    if (!of || !now)
        return NULL;
    u64 ns = latency_of(call), threshold_ns = of->slower_ns ? of->slower_ns : now->slower_ns;
    if (!threshold_ns) {
        __sync_fetch_and_add(&of->unjudged, 1);
        return NULL;
    }
    if (ns <= threshold_ns)
        return NULL;
    __sync_fetch_and_add(&of->slow, 1);
    if (ns <= now->floor_ns)
        return NULL;
    u32 tid = bpf_get_current_pid_tgid();
    struct pylat_slow_work *empty = empty_slow_work.lookup(&zero);
    struct pylat_slow_work *work = empty && !slow_work.update(&tid, empty) ? slow_work.lookup(&tid) : NULL;
    if (!work) {
        PYLAT_COUNT(count->slow_lost);
        return NULL;
    }
    work->call.threshold_ns = threshold_ns;
    return work;
}
#endif

#endif
