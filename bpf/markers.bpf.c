// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* USDT markers: pairs that are timed, single ones that are counted. What a site means, and where its arguments are,
 * says its struct pylat_marker_point; docs/markers.md tells the rules. */
#include <uapi/linux/ptrace.h>

#include "marker_arguments.h"
#include "markers.h"
#include "replaced.h"

/* The sizes given here are the smallest: program.py makes the maps as large as a measurement needs them. */
BPF_F_TABLE("array", u32, struct pylat_marker_config, config, 1, PYLAT_MMAPABLE);
BPF_F_TABLE("array", u32, struct pylat_statistics, statistics, 1, PYLAT_MMAPABLE);
BPF_PERCPU_ARRAY(counters, struct pylat_counters, 1);
BPF_STACK(free_slots, u32, 1);
BPF_ARRAY(points, struct pylat_marker_point, 1);
BPF_ARRAY(items, struct pylat_marker_item, PYLAT_MARKER_ITEMS);
BPF_F_TABLE("hash", struct pylat_marker_name, struct pylat_marker_named, names, 1, PYLAT_NO_PREALLOC);
BPF_F_TABLE("hash", struct pylat_marker_stack_key, struct pylat_marker_stack, stacks, 1, PYLAT_NO_PREALLOC);
BPF_F_TABLE("hash", struct pylat_marker_key, struct pylat_marker_call, keys, 1, PYLAT_NO_PREALLOC);
BPF_F_TABLE("hash", struct pylat_marker_extremes_key, struct pylat_marker_extremes, extremes, 1, PYLAT_NO_PREALLOC);
BPF_ARRAY(empty_stack, struct pylat_marker_stack, 1);
BPF_PROG_ARRAY(never, 1); /* empty: see maps.h */

#if PYLAT_COOKIES
static u64 (*pylat_cookie)(void *ctx) = (void *)BPF_FUNC_get_attach_cookie;
#endif

/* Threads that hold no GIL can be in here at the same time, also on one processor: every sum is atomic. */
#define ADD(to, value) __sync_fetch_and_add(&(to), (value))

/* What every program does first: 0 where nothing is to be counted. */
static __always_inline int prepare(struct hit *hit, struct pt_regs *ctx)
{
    u32 zero = 0, at = 0;
    const struct pylat_marker_config *configured = config.lookup(&zero);
    hit->now_ns = bpf_ktime_get_ns();
    hit->ctx = ctx;
    if (!configured || !configured->enabled) {
        never.call(ctx, 0);
        return 0;
    }
#if PYLAT_COOKIES /* else each site has a program, and a map, of its own */
    at = pylat_cookie(ctx);
#endif
    hit->count = counters.lookup(&zero);
    hit->point = points.lookup(&at);
    if (!hit->count || !hit->point)
        return 0;
    u32 item = hit->point->item;
    hit->item = items.lookup(&item);
    if (!hit->item)
        return 0;
    ADD(hit->count->hits, 1);
    return 1;
}

static __always_inline u32 take_slot(u32 flags)
{
    u32 slot = PYLAT_NO_SLOT;
    if (free_slots.pop(&slot))
        return PYLAT_NO_SLOT;
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (!of)
        return PYLAT_NO_SLOT;
    of->code = 1;
    of->flags = flags;
    return slot;
}

static __always_inline void give_slot(u32 slot)
{
    if (slot == PYLAT_NO_SLOT)
        return;
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (of)
        of->code = 0;
    free_slots.push(&slot, 0);
}

/* The record of a name, made where it is new; `timed`: with statistics. NULL if the table is full. */
static __always_inline struct pylat_marker_named *named(const struct hit *hit, struct pylat_marker_name *name,
                                                        int timed)
{
    struct pylat_marker_named *known = names.lookup(name);
    if (known)
        return known;
    struct pylat_marker_named made = {.slot = PYLAT_NO_SLOT, .own_slot = PYLAT_NO_SLOT};
    if (timed) {
        made.slot = take_slot(0);
        if (hit->point->flags & PYLAT_MARKER_OWN)
            made.own_slot = take_slot(PYLAT_ACTIVE);
        if (hit->point->flags & PYLAT_MARKER_OWN && made.own_slot == PYLAT_NO_SLOT) { /* both or none */
            give_slot(made.slot);
            made.slot = PYLAT_NO_SLOT;
        }
    }
    if (names.insert(name, &made)) { /* another thread was first, or the table is full */
        give_slot(made.slot);
        give_slot(made.own_slot);
    }
    return names.lookup(name);
}

static __always_inline void count_latency(const struct hit *hit, struct pylat_statistics *of, u32 slot, u64 ns)
{
    u32 bucket = pylat_bucket(ns);
    if (bucket < PYLAT_BUCKETS)
        ADD(of->counts[bucket], 1);
    ADD(of->sum_ns, ns);
    u64 least = of->min_ns, most = of->max_ns;
    if (least && ns >= least && ns <= most)
        return;
    /* These two can be overwritten by a thread that saw older ones. So whoever goes beyond what stands there says it
     * in a record of its own, too. 0 stands for "none yet". */
    if (!least || ns < least)
        of->min_ns = ns ? ns : 1;
    if (ns > most)
        of->max_ns = ns;
    struct pylat_marker_extremes_key key = {.tid = bpf_get_current_pid_tgid(), .slot = slot};
    struct pylat_marker_extremes *own = extremes.lookup(&key);
    if (own) {
        own->min_ns = ns < own->min_ns ? ns : own->min_ns;
        own->max_ns = ns > own->max_ns ? ns : own->max_ns;
    } else {
        struct pylat_marker_extremes first = {.min_ns = ns, .max_ns = ns};
        if (extremes.update(&key, &first))
            ADD(hit->count->table_full, 1);
    }
}

/* A call ended. Returns how long it took. */
static __always_inline u64 finish(struct hit *hit, const struct pylat_marker_call *call)
{
    u64 amount = 0, ns = hit->now_ns - call->start_ns;
    u32 slot = call->slot, own_slot = call->own_slot;
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (!of) /* counted as lost when it began */
        return ns;
    if (hit->now_ns < call->start_ns) {
        ADD(hit->count->negative, 1);
        return 0;
    }
    int failed = 0;
    if (hit->point->amount.flags & PYLAT_ARGUMENT_PRESENT) {
        if (read_argument(hit, &hit->point->amount, &amount)) {
            ADD(hit->count->read_fault, 1);
            return ns;
        }
        failed = hit->point->flags & PYLAT_MARKER_OUTCOME && !amount;
        if (!(hit->point->flags & PYLAT_MARKER_OUTCOME))
            ADD(of->suspensions, amount); /* there the sum of the amounts stands */
    }
    if (failed)
        ADD(of->raised, 1);
    else
        ADD(of->returned, 1);
    count_latency(hit, of, slot, ns);
    ADD(hit->count->matched, 1);
    if (own_slot != PYLAT_NO_SLOT) {
        of = statistics.lookup(&own_slot);
        if (of)
            count_latency(hit, of, own_slot, ns > call->inner_ns ? ns - call->inner_ns : 0);
    }
    return ns;
}

/* An end that no beginning was seen of: `may_be_older` if it can have been before pylat watched. */
static __always_inline void unmatched_end(struct hit *hit, int may_be_older)
{
    if (hit->item->dropped) {
        ADD(hit->item->dropped, -1);
    } else if (may_be_older) {
        ADD(hit->count->began_before, 1);
    } else {
        ADD(hit->count->unmatched_return, 1);
    }
}

static __always_inline struct pylat_marker_stack *this_stack(const struct hit *hit)
{
    struct pylat_marker_stack_key key = {.tid = bpf_get_current_pid_tgid(), .item = hit->point->item};
    u32 zero = 0;
    struct pylat_marker_stack *stack = stacks.lookup(&key);
    if (stack)
        return stack;
    struct pylat_marker_stack *empty = empty_stack.lookup(&zero);
    if (!empty || stacks.update(&key, empty))
        return NULL;
    return stacks.lookup(&key);
}

/* An index that the verifier sees the bound of: the compiler, which knows better, must not drop the mask. */
static __always_inline u32 place_of(u32 depth)
{
    asm volatile("" : "+r"(depth));
    return depth & (PYLAT_MARKER_DEPTH - 1);
}

static __always_inline void push(struct hit *hit, struct pylat_marker_call *call)
{
    struct pylat_marker_stack *stack = this_stack(hit);
    int counted = call->slot == PYLAT_NO_SLOT; /* as lost, already */
    if (!stack) {
        ADD(hit->count->table_full, !counted);
        ADD(hit->item->dropped, 1);
        return;
    }
    u32 depth = stack->depth;
    if (depth >= PYLAT_MARKER_DEPTH) {
        stack->too_deep++;
        ADD(hit->count->too_deep, !counted);
        return;
    }
    call->start_ns = bpf_ktime_get_ns();
    stack->open[place_of(depth)] = *call;
    stack->depth = depth + 1;
}

static __always_inline void pop(struct hit *hit)
{
    struct pylat_marker_stack *stack = this_stack(hit);
    if (!stack) {
        unmatched_end(hit, 0);
        return;
    }
    if (stack->too_deep) {
        stack->too_deep--;
        return;
    }
    u32 depth = stack->depth;
    if (depth == 0 || depth > PYLAT_MARKER_DEPTH) {
        unmatched_end(hit, stack->before++ < PYLAT_MARKER_DEPTH);
        return;
    }
    depth--;
    struct pylat_marker_call call = stack->open[place_of(depth)];
    stack->depth = depth;
    u64 ns = finish(hit, &call);
    if (depth > 0)
        stack->open[place_of(depth - 1)].inner_ns += ns;
}

static __always_inline void open_key(struct hit *hit, struct pylat_marker_key *key, struct pylat_marker_call *call)
{
    if (keys.lookup(key))
        ADD(hit->count->unmatched_entry, 1); /* the earlier call of this key never ended */
    call->start_ns = bpf_ktime_get_ns();
    if (keys.update(key, call)) {
        ADD(hit->count->table_full, call->slot != PYLAT_NO_SLOT);
        ADD(hit->item->dropped, 1);
    }
}

static __always_inline void close_key(struct hit *hit, struct pylat_marker_key *key)
{
    struct pylat_marker_call *open = keys.lookup(key), call = {};
    if (open)
        call = *open;
    if (open && !keys.delete(key)) {
        finish(hit, &call);
        return;
    }
    int may_be_older = hit->item->before < PYLAT_MARKER_BEFORE;
    ADD(hit->item->before, 1);
    unmatched_end(hit, may_be_older);
}

/* A call begins. */
int pylat_marker_start(struct pt_regs *ctx)
{
    struct hit hit = {};
    struct pylat_marker_call call = {.own_slot = PYLAT_NO_SLOT};
    if (!prepare(&hit, ctx))
        return 0;
    ADD(hit.count->entries, 1);
    call.slot = hit.point->slot;
    if (call.slot == PYLAT_NO_SLOT) {
        struct pylat_marker_name name = {};
        struct pylat_marker_named *of = NULL;
        if (!read_name(&hit, &name)) {
            ADD(hit.count->read_fault, 1);
        } else {
            of = named(&hit, &name, 1);
            if (!of || of->slot == PYLAT_NO_SLOT)
                ADD(hit.count->table_full, 1);
        }
        if (of) {
            call.slot = of->slot;
            call.own_slot = of->own_slot;
        }
    }
    if (!(hit.point->flags & PYLAT_MARKER_KEYED)) {
        push(&hit, &call); /* also where it is lost: its end must find it */
        return 0;
    }
    struct pylat_marker_key key = {.item = hit.point->item};
    if (read_argument(&hit, &hit.point->key, &key.key)) {
        ADD(hit.count->read_fault, 1);
        return 0;
    }
    open_key(&hit, &key, &call);
    return 0;
}

/* A call ends. */
int pylat_marker_done(struct pt_regs *ctx)
{
    struct hit hit = {};
    if (!prepare(&hit, ctx))
        return 0;
    if (!(hit.point->flags & PYLAT_MARKER_KEYED)) {
        pop(&hit);
        return 0;
    }
    struct pylat_marker_key key = {.item = hit.point->item};
    if (read_argument(&hit, &hit.point->key, &key.key)) {
        ADD(hit.count->read_fault, 1);
        return 0;
    }
    close_key(&hit, &key);
    return 0;
}

/* A single marker. */
int pylat_marker_count(struct pt_regs *ctx)
{
    struct hit hit = {};
    if (!prepare(&hit, ctx))
        return 0;
    u32 slot = hit.point->slot;
    if (slot != PYLAT_NO_SLOT) {
        struct pylat_statistics *of = statistics.lookup(&slot);
        if (of)
            ADD(of->returned, 1);
        return 0;
    }
    struct pylat_marker_name name = {};
    if (!read_name(&hit, &name)) {
        ADD(hit.count->read_fault, 1);
        return 0;
    }
    struct pylat_marker_named *of = named(&hit, &name, 0);
    if (of)
        ADD(of->count, 1);
    else
        ADD(hit.count->table_full, 1);
    return 0;
}

/* sched_process_exec, of every process of the machine: what the one that is measured does from now on does not count.
 */
static __always_inline int replaces(void)
{
    u32 zero = 0;
    struct pylat_marker_config *now = config.lookup(&zero);
    if (!now || !pylat_is_process(now->namespace_device, now->namespace_inode, now->tgid))
        return 0;
    now->replaced = 1;
    now->enabled = 0;
    return 0;
}

int pylat_exec(struct bpf_raw_tracepoint_args *ctx)
{
    return replaces();
}

int pylat_exec_again(struct bpf_raw_tracepoint_args *ctx) /* as in processes.h */
{
    return replaces();
}

/* A thread ends: its open calls end with it, without a latency; those with a key may be ended by another. */
static __always_inline int thread_ends(void)
{
    u32 zero = 0;
    struct pylat_counters *count = counters.lookup(&zero);
    if (!count)
        return 0;
    for (u32 i = 0; i < PYLAT_MARKER_ITEMS; i++) {
        struct pylat_marker_stack_key key = {.tid = bpf_get_current_pid_tgid(), .item = i};
        struct pylat_marker_stack *stack = stacks.lookup(&key);
        if (!stack)
            continue;
        u32 lost = 0; /* those beyond the table, or without a slot, were counted when they began */
        for (u32 at = 0; at < PYLAT_MARKER_DEPTH; at++) {
            if (at >= stack->depth)
                break;
            lost += stack->open[place_of(at)].slot != PYLAT_NO_SLOT;
        }
        ADD(count->thread_ended, lost);
        stacks.delete(&key);
    }
    return 0;
}

int pylat_thread_exit(struct bpf_raw_tracepoint_args *ctx)
{
    return thread_ends();
}

int pylat_thread_exit_again(struct bpf_raw_tracepoint_args *ctx) /* as in processes.h */
{
    return thread_ends();
}
