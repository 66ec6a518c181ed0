// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Maps, and one program for each kind of probe site. What a site means stands in latency/cpython/sites/, the
 * matching rule in stack.h, the reading of CPython's structs in cpython.h. */
#include "cpython.h"
#include "modules.h"
#include "slow.h"
#include "split.h"
#include "stack.h"
#include "statistics.h"
#if PYLAT_TRACE
#include "trace.h"
#endif

/* The sizes given here are the smallest: program.py makes the maps, as large as a measurement needs them. */
BPF_F_TABLE("array", u32, struct pylat_config, config, 1, PYLAT_MMAPABLE);
BPF_F_TABLE("array", u32, struct pylat_statistics, statistics, 1, PYLAT_MMAPABLE);
BPF_PERCPU_ARRAY(counters, struct pylat_counters, 1);
BPF_STACK(free_slots, u32, 1); /* last in, first out: so the statistics in use stay close together */
BPF_TABLE("hash", struct pylat_function_key, struct pylat_function, functions, 1);
/* Not preallocated: threads and suspended calls come and go, and a thread's table is 24 kB. */
BPF_F_TABLE("hash", u32, struct pylat_thread, threads, 1, PYLAT_NO_PREALLOC);
BPF_F_TABLE("hash", struct pylat_frame_key, struct pylat_suspended, suspended, 1, PYLAT_NO_PREALLOC);
/* Generators whose deallocation has begun: what they still do is no call. By age, since many never run again. */
BPF_TABLE("lru_hash", struct pylat_frame_key, u32, closing, 1);
BPF_TABLE("hash", struct pylat_name, u8, wanted_names, 1); /* the bare names that the patterns ask for */
BPF_ARRAY(empty_thread, struct pylat_thread, 1);
BPF_TABLE("hash", u32, struct pylat_process, processes, 1); /* by tgid: who is followed */
BPF_TABLE("hash", pylat_space, pylat_space, ancestors, 1);  /* the address space that each was forked from */
BPF_RINGBUF_OUTPUT(events, 1);
#if PYLAT_OFFCPU
BPF_F_TABLE("array", u32, struct pylat_split, splits, 1, PYLAT_MMAPABLE); /* by the slot of the statistics */
#endif
#if PYLAT_SELF
BPF_F_TABLE("array", u32, struct pylat_statistics, self_times, 1, PYLAT_MMAPABLE); /* of these only the times */
#endif
#if PYLAT_SLOWER
BPF_RINGBUF_OUTPUT(slow_events, 1);
BPF_TABLE("hash", struct pylat_function_key, u8, told_codes, 1); /* whose names user space has for slow calls */
BPF_F_TABLE("hash", u32, struct pylat_slow_work, slow_work, 1, PYLAT_NO_PREALLOC); /* by thread, while one is told */
BPF_ARRAY(empty_slow_work, struct pylat_slow_work, 1);
BPF_TABLE("prog", u32, u32, slow_programs, 1);
#endif

/* A call that ended, put together from its stays on the stack. */
struct ended_call {
    u64 start_ns;
    u64 end_ns;
    u64 active_ns;
    u32 suspensions;
    u16 slot;
    u16 active_slot;
#if PYLAT_SPLIT
    struct pylat_share share;
#endif
};

#if PYLAT_SPLIT
static __always_inline void finish_split(u32 slot, const struct ended_call *call)
{
#if PYLAT_OFFCPU
    struct pylat_split *split = splits.lookup(&slot);
    if (split)
        pylat_count_split(split, call->end_ns - call->start_ns, call->active_ns, &call->share);
#endif
#if PYLAT_SELF
    struct pylat_statistics *self = self_times.lookup(&slot);
    if (self && pylat_knows_callees(&call->share, call->active_ns))
        pylat_count_latency(self, call->active_ns - call->share.callees_ns);
#endif
}
#endif

/* Returns whether it has a latency. */
static __always_inline int finish(struct pylat_counters *count, const struct ended_call *call, int raised)
{
    u32 slot = call->slot, active_slot = call->active_slot;
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (!of) {
        count->table_full++;
        return 0;
    }
    if (call->suspensions)
        __sync_fetch_and_add(&of->suspensions, call->suspensions);
    if (raised == PYLAT_GENERATOR_EXIT && call->suspensions) {
        __sync_fetch_and_add(&of->abandoned, 1);
        count->abandoned++;
        return 0;
    }
    if (call->end_ns < call->start_ns) {
        count->negative++;
        return 0;
    }
    __sync_fetch_and_add(raised ? &of->raised : &of->returned, 1);
    pylat_count_latency(of, call->end_ns - call->start_ns);
    count->matched++;
#if PYLAT_SPLIT
    finish_split(slot, call);
#endif
    if (active_slot == PYLAT_NO_SLOT)
        return 1;
    of = statistics.lookup(&active_slot);
    if (of)
        pylat_count_latency(of, call->active_ns);
    return 1;
}

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
    u64 ns = call->end_ns - call->start_ns, threshold_ns = of->slower_ns ? of->slower_ns : now->slower_ns;
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
    if (empty)
        slow_work.update(&tid, empty);
    struct pylat_slow_work *work = slow_work.lookup(&tid);
    if (!work) {
        count->slow_lost++;
        return NULL;
    }
    work->call.threshold_ns = threshold_ns;
    return work;
}

/* A program of its own, which ends the one that it is called from: what few calls need must not be in the way of all
 * others, nor of the verifier. It calls itself while there is more to take along. */
int pylat_slow(struct pt_regs *ctx)
{
    u32 zero = 0, tid = bpf_get_current_pid_tgid();
    struct pylat_slow_work *work = slow_work.lookup(&tid);
    struct pylat_counters *count = counters.lookup(&zero);
    struct pylat_config *now = config.lookup(&zero);
    if (!work || !count || !now)
        return 0;
    struct pylat_slow_call *told = &work->call;
    if (!work->rounds) {
        u64 caller = told->frame;
        for (u32 i = 0; i < PYLAT_STACK_FRAMES; i++) {
            u64 code = 0;
            if (pylat_caller(&caller) || !caller || pylat_frame_code(caller, &code))
                break;
            tell_code(now->code_type, told->space, code);
        }
        pylat_take_stack(told, told->frame);
        bpf_get_current_comm(told->comm, sizeof(told->comm));
        if (told->raised)
            pylat_take_exception(told, work->thread_state);
        pylat_frame_code(told->frame, &told->code);
        pylat_begin_arguments(work);
    }
    work->rounds++;
    if (pylat_take_along(&work->list, &work->arguments, now->code_type) && work->rounds < PYLAT_SLOW_ROUNDS)
        slow_programs.call(ctx, 0);
    u64 bytes = work->arguments.bytes;
    if (bytes > sizeof(work->arguments.stream))
        bytes = sizeof(work->arguments.stream);
    if (slow_events.ringbuf_output(told, sizeof(*told) + PYLAT_SNAPSHOT_HEAD_BYTES + bytes, 0))
        count->slow_lost++;
    slow_work.delete(&tid);
    return 0;
}
#endif

static __always_inline u32 take_slot(const struct pylat_function_key *key, u32 flags)
{
    u32 slot = PYLAT_NO_SLOT;
    if (free_slots.pop(&slot))
        return PYLAT_NO_SLOT;
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (!of)
        return PYLAT_NO_SLOT;
    of->code = key->code;
    of->space = key->space;
    of->flags = flags;
    return slot;
}

static __always_inline int assign_slots(const struct pylat_function_key *key, struct pylat_function *function)
{
    if (function->slot != PYLAT_NO_SLOT)
        return 0;
    u32 slot = take_slot(key, 0);
    if (slot == PYLAT_NO_SLOT)
        return -1;
    if (function->flags & PYLAT_SUSPENDS) {
        function->active_slot = take_slot(key, PYLAT_ACTIVE);
        if (function->active_slot == PYLAT_NO_SLOT) {
            free_slots.push(&slot, 0);
            return -1;
        }
    }
    function->slot = slot;
    return 0;
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
        count->event_lost++;
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
        functions.update(key, &fresh);
        return functions.lookup(key);
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
        functions.update(key, &fresh);
        return functions.lookup(key);
    }
#endif
    u32 co_flags = 0;
    pylat_read(&co_flags, sizeof(co_flags), (void *)(key->code + PYLAT_CODE_FLAGS));
    if (co_flags & PYLAT_CO_SUSPENDS)
        fresh.flags |= PYLAT_SUSPENDS;
    functions.update(key, &fresh);
    struct pylat_function *function = functions.lookup(key);
    if (!function || assign_slots(key, function)) {
        count->table_full++;
        return NULL;
    }
#if PYLAT_BY_MODULE
    announce_module(count, key, frame);
#endif
    struct pylat_code_event *event = events.ringbuf_reserve(sizeof(*event));
    if (!event) {
        count->event_lost++;
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

static __always_inline struct pylat_thread *this_thread(u32 tid, pylat_space space)
{
    struct pylat_thread *thread = threads.lookup(&tid);
    if (thread)
        return thread;
    u32 zero = 0;
    struct pylat_thread *empty = empty_thread.lookup(&zero);
    if (!empty)
        return NULL;
    threads.update(&tid, empty);
    thread = threads.lookup(&tid);
    if (thread)
        thread->space = space;
    return thread;
}

/* What every program does first: nothing at all unless the measurement runs and the process is followed. */
static __always_inline struct pylat_counters *hit(pylat_space *space)
{
    u32 zero = 0;
    struct pylat_config *now = config.lookup(&zero);
    if (!now || !now->enabled)
        return NULL;
    *space = 0;
#if PYLAT_MANY_PROCESSES
    u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct pylat_process *process = processes.lookup(&tgid);
    if (!process)
        return NULL;
    *space = process->space;
#endif
    struct pylat_counters *count = counters.lookup(&zero);
    if (count)
        count->hits++;
    return count;
}

#define LEFT_BY_RETURN 0
#define LEFT_BY_RAISE 1
#define LEFT_BY_YIELD 2
#define LEFT_UNKNOWN 3 /* one site sees them all: ask the frame and the thread state */

#if PYLAT_TRACE
/* What is told of an exit. */
struct trace_left {
    u64 latency_ns; /* of a suspension: since it was started or resumed */
    u64 active_ns;  /* 0 for a call that was never suspended */
    u32 slot;
    u16 how;   /* LEFT_BY_… */
    u16 timed; /* 0: its beginning is not known */
};

BPF_F_TABLE("hash", u32, struct pylat_trace_thread, trace_threads, 1, PYLAT_NO_PREALLOC);
BPF_ARRAY(trace_empty, struct pylat_trace_thread, 1);
BPF_ARRAY(trace_lost, u64, 1);
BPF_PROG_ARRAY(trace_more, 1);

static __always_inline void trace_count_lost(void)
{
    u32 zero = 0;
    u64 *lost = trace_lost.lookup(&zero);
    if (lost)
        __sync_fetch_and_add(lost, 1);
}

/* An event of this thread, to be filled further and submitted. */
static __always_inline struct pylat_trace_thread *trace_begin(u32 what, pylat_space space, u64 frame, u32 slot)
{
    u64 pid_tgid = bpf_get_current_pid_tgid();
    u32 tid = pid_tgid, zero = 0;
    struct pylat_trace_thread *of = trace_threads.lookup(&tid);
    if (!of) {
        struct pylat_trace_thread *empty = trace_empty.lookup(&zero);
        if (empty)
            trace_threads.update(&tid, empty);
        of = trace_threads.lookup(&tid);
        if (!of) {
            trace_count_lost();
            return NULL;
        }
    }
    struct pylat_thread *thread = threads.lookup(&tid);
    of->event.kind = PYLAT_EVENT_TRACE;
    of->event.tgid = pid_tgid >> 32;
    of->event.tid = tid;
    of->event.what = what;
    of->event.latency_ns = 0;
    of->event.active_ns = 0;
    of->event.frame = frame;
    of->event.code = 0;
    of->event.space = space;
    of->event.value = 0;
    of->event.slot = slot;
    of->event.depth = thread ? thread->depth : 0;
    of->event.value_kind = PYLAT_VALUE_NONE;
    of->event.timed = 1;
    of->event.exception[0] = 0;
    of->event.snapshot.bytes = 0;
    of->event.snapshot.blocks = 0;
    return of;
}

static __always_inline void trace_submit(struct pylat_trace_thread *of)
{
    u32 zero = 0;
    u64 *lost = trace_lost.lookup(&zero);
    if (!lost)
        return;
    u64 bytes = of->event.snapshot.bytes;
    asm volatile("" : "+r"(bytes)); /* the verifier is to see that it has a bound */
    if (bytes > sizeof(of->event.snapshot.stream))
        bytes = 0;
    of->event.lost = *lost;
    u64 size = sizeof(of->event) - sizeof(of->event.snapshot.stream) + bytes;
    if (events.ringbuf_output(&of->event, size, PYLAT_NO_WAKEUP))
        __sync_fetch_and_add(lost, 1);
}

/* Goes on to take along what the event of this thread is about, and submits it. */
int pylat_trace_more(struct pt_regs *ctx)
{
    u32 tid = bpf_get_current_pid_tgid(), zero = 0;
    struct pylat_config *now = config.lookup(&zero);
    struct pylat_trace_thread *of = trace_threads.lookup(&tid);
    if (!of || !now)
        return 0;
    if (pylat_take_along(&of->work, &of->event.snapshot, now->code_type))
        trace_more.call(ctx, 0);
    trace_submit(of);
    return 0;
}

static __always_inline void trace_entry(struct pt_regs *ctx, u64 frame, const struct pylat_function_key *key, u32 slot,
                                        int kind, u64 now_ns)
{
    u32 what = kind == PYLAT_ENTRY_RESUMES ? PYLAT_TRACE_RESUMED : PYLAT_TRACE_STARTED;
    struct pylat_trace_thread *of = trace_begin(what, key->space, frame, slot);
    if (!of)
        return;
    of->event.time_ns = now_ns;
    of->event.code = key->code;
    if (of->event.depth)
        of->event.depth--;
#if PYLAT_TRACE_ARGUMENTS
    if (what == PYLAT_TRACE_STARTED) {
        of->event.value_kind = PYLAT_VALUE_ARGUMENTS;
        of->event.value = frame + PYLAT_FRAME_LOCALSPLUS;
        u32 words = pylat_argument_words(key->code);
        pylat_begin_with_values(&of->work, &of->event.snapshot, of->event.value, words);
        if (words)
            trace_more.call(ctx, 0);
    }
#endif
    trace_submit(of);
}

static __always_inline void trace_exit(struct pt_regs *ctx, u64 frame, u64 thread_state, pylat_space space,
                                       const struct trace_left *left, u64 now_ns)
{
    u32 what = left->how == LEFT_BY_YIELD   ? PYLAT_TRACE_YIELDED
               : left->how == LEFT_BY_RAISE ? PYLAT_TRACE_RAISED
                                            : PYLAT_TRACE_RETURNED;
    struct pylat_trace_thread *of = trace_begin(what, space, frame, left->slot);
    if (!of)
        return;
    of->event.time_ns = now_ns;
    of->event.latency_ns = left->latency_ns;
    of->event.active_ns = left->active_ns;
    of->event.timed = left->timed;
    if (what == PYLAT_TRACE_RAISED)
        pylat_exception(thread_state, &of->event);
#if PYLAT_VALUE_IN
    if (what == PYLAT_TRACE_RETURNED)
        of->event.value_kind = pylat_returned(ctx, frame, &of->event.value);
    if (of->event.value_kind == PYLAT_VALUE_OBJECT || of->event.value_kind == PYLAT_VALUE_RAW) {
        pylat_begin_with_object(&of->work, &of->event.snapshot, of->event.value);
        trace_more.call(ctx, 0);
    }
#endif
    trace_submit(of);
}
#endif

/* A frame starts, or goes on after a suspension. */
int pylat_entry(struct pt_regs *ctx)
{
    pylat_space space;
    struct pylat_counters *count = hit(&space);
    if (!count)
        return 0;
    u64 frame = PYLAT_REGISTER(ctx, PYLAT_ENTRY_FRAME);
    u64 pid_tgid = bpf_get_current_pid_tgid();
    struct pylat_function_key key = {.space = space};
    if (pylat_frame_code(frame, &key.code)) {
        count->read_fault++;
        return 0;
    }
    struct pylat_function *function = functions.lookup(&key);
    if (!function || (function->flags & PYLAT_FREED)) {
        function = meet_code(count, pid_tgid >> 32, &key, frame);
        if (!function)
            return 0;
    }
    if (!(function->flags & PYLAT_WANTED))
        return 0;

    int kind = PYLAT_ENTRY_STARTS;
    if (PYLAT_ALWAYS_ASK_KIND || (function->flags & PYLAT_SUSPENDS)) {
        kind = pylat_entry_kind(ctx, frame, key.code);
        if (kind == PYLAT_ENTRY_UNREADABLE) {
            count->read_fault++;
            return 0;
        }
        if (kind == PYLAT_ENTRY_IGNORED)
            return 0;
    }
    struct pylat_open call = {.frame = frame};
    struct pylat_frame_key suspended_key = {.frame = frame, .space = space};
    struct pylat_suspended *kept = NULL;
    if (kind == PYLAT_ENTRY_RESUMES) {
        kept = suspended.lookup(&suspended_key);
        if (!kept || kept->running)
            return 0; /* began before pylat watched, or this RESUME has run already */
        pylat_resume(kept, frame, 0, &call);
    } else {
        if (assign_slots(&key, function)) {
            count->table_full++;
            return 0;
        }
        call.slot = function->slot;
        call.active_slot = function->active_slot;
        call.flags = function->flags;
    }
    struct pylat_thread *thread = this_thread((u32)pid_tgid, space);
    if (!thread) {
        count->table_full++;
        return 0;
    }
    call.start_ns = bpf_ktime_get_ns();
#if PYLAT_SPLIT
    pylat_share_begins(&thread->clock, &call);
#endif
    int pushed = pylat_push(thread, &call, PYLAT_ENTRY_MAY_REPEAT);
#if PYLAT_SELF
    pylat_pushed(thread, pushed);
#endif
    if (pushed == PYLAT_DUPLICATE) {
        count->duplicates++;
        return 0;
    }
    if (pushed == PYLAT_REPLACED)
        count->unmatched_entry++;
    if (kind == PYLAT_ENTRY_STARTS)
        count->entries++;
#if PYLAT_TRACE
    if (pushed == PYLAT_OVERFLOW)
        trace_count_lost();
    else
        trace_entry(ctx, frame, &key, call.slot, kind, call.start_ns);
#endif
    if (pushed != PYLAT_OVERFLOW)
        return 0;
    if ((function->flags & PYLAT_SUSPENDS) && !kept) {
        struct pylat_suspended fresh = {.start_ns = call.start_ns, .slot = call.slot, .active_slot = call.active_slot};
        suspended.update(&suspended_key, &fresh);
        kept = suspended.lookup(&suspended_key);
    }
    if (kept)
        pylat_run_beyond(thread, kept, call.start_ns);
    else
        count->too_deep++;
#if PYLAT_SPLIT
    if (kept)
        pylat_share_begins_beyond(kept, &call);
#endif
    return 0;
}

static __always_inline u64 generator_exit_type(int suspends)
{
    u32 zero = 0;
    struct pylat_config *now = suspends ? config.lookup(&zero) : NULL;
    return now ? now->generator_exit_type : 0;
}

/* Whether calls may have begun unseen, between two slices, in the middle of a thread's calls (greenlets). */
static __always_inline int probes_were_away(void)
{
#if PYLAT_SLICES
    u32 zero = 0;
    struct pylat_config *now = config.lookup(&zero);
    return now && now->sliced;
#else
    return 0;
#endif
}

/* Where most exits are of calls that are not wanted, these do not pay for the clock. */
#if PYLAT_EVERY_FUNCTION || PYLAT_SPLIT
#define CLOCK_FIRST 1
#else
#define CLOCK_FIRST 0
#endif

static __always_inline void leave(struct pt_regs *ctx, u64 frame, u64 thread_state, int how)
{
    u64 now_ns = CLOCK_FIRST ? bpf_ktime_get_ns() : 0;
    pylat_space space;
    struct pylat_counters *count = hit(&space);
    if (!count)
        return;
    u64 pid_tgid = bpf_get_current_pid_tgid();
    u32 tid = pid_tgid;
    struct pylat_function_key key = {.space = space};
    struct pylat_thread *thread = NULL;
    struct pylat_open call = {};
    int popped = PYLAT_NOT_OPEN;
#if PYLAT_SPLIT
    struct pylat_leaving leaving = {};
    thread = threads.lookup(&tid);
    if (thread)
        now_ns = pylat_leaves(thread, now_ns, &leaving);
#endif

#if PYLAT_EVERY_FUNCTION
    /* Nearly every exit is the innermost open call's: try that before asking whose code it is. */
    thread = threads.lookup(&tid);
    if (thread && pylat_is_innermost(thread, frame)) {
        pylat_pop_innermost(thread, &call);
        popped = PYLAT_MATCHED;
    }
#endif
    if (popped == PYLAT_NOT_OPEN) {
        if (pylat_frame_code(frame, &key.code)) {
            count->read_fault++;
            return;
        }
        struct pylat_function *function = functions.lookup(&key);
        if (!function || !(function->flags & (PYLAT_WANTED | PYLAT_STRUCK_OUT)))
            return; /* not asked for, or the interpreter's own frame (_Py_InitCleanup) that no entry announced */
        if (!CLOCK_FIRST)
            now_ns = bpf_ktime_get_ns();
        thread = threads.lookup(&tid);
        if (thread) /* what suspends has a record of its own, however deep */
            popped = pylat_pop(thread, frame, !(function->flags & PYLAT_SUSPENDS), &call);
        if (function->flags & PYLAT_STRUCK_OUT) {
            if (popped == PYLAT_MATCHED)
                count->entries--;
#if PYLAT_SELF
            if (popped == PYLAT_MATCHED)
                pylat_callees_unknown(thread);
#endif
            return;
        }
#if PYLAT_SELF && !PYLAT_EVERY_FUNCTION
        leaving.undecided = function->flags & PYLAT_UNDECIDED;
#endif
        if (popped == PYLAT_NOT_OPEN)
            call.flags = function->flags;
    }
    if (popped == PYLAT_FROM_OVERFLOW) {
#if PYLAT_TRACE
        trace_count_lost();
#endif
        return; /* counted at its entry */
    }

    int suspends = call.flags & PYLAT_SUSPENDS;
#if PYLAT_TRACE
    struct trace_left left = {.slot = call.slot, .timed = 1};
    if (popped == PYLAT_MATCHED && now_ns > call.start_ns)
        left.latency_ns = now_ns - call.start_ns;
#endif
#if PYLAT_START == PYLAT_START_BY_LASTI
    /* To 3.10 close() and throw() enter even a generator that was not started. */
    if (suspends && popped == PYLAT_MATCHED && !(call.flags & PYLAT_RESUMED) && pylat_never_started(frame, 0)) {
        count->entries--;
#if PYLAT_TRACE
        left.how = LEFT_BY_RAISE;
        goto told;
#endif
        return;
    }
#endif
#if PYLAT_SPLIT
    if (popped == PYLAT_MATCHED)
        pylat_share_ends(thread, &call, now_ns, &leaving);
#endif
    if (how == LEFT_UNKNOWN && suspends && pylat_suspended(frame, thread_state))
        how = LEFT_BY_YIELD;
    int raised = how == LEFT_BY_RAISE;
    if (how == LEFT_UNKNOWN || (suspends && raised))
        raised = pylat_raised(thread_state, suspends, generator_exit_type(suspends));
#if PYLAT_TRACE
    left.how = how == LEFT_BY_YIELD ? LEFT_BY_YIELD : raised ? LEFT_BY_RAISE : LEFT_BY_RETURN;
#endif

    struct pylat_frame_key suspended_key = {.frame = frame, .space = space};
    struct pylat_suspended *kept = NULL;
    /* Resumed calls have a record; throw(), close() and finalisation enter a frame with no RESUME (from 3.11). */
    if (suspends && (popped == PYLAT_NOT_OPEN || (call.flags & PYLAT_RESUMED)))
        kept = suspended.lookup(&suspended_key);
    u64 ran_ns = 0;
#if PYLAT_SPLIT
    if (kept && popped == PYLAT_NOT_OPEN)
        pylat_share_ends_beyond(kept, &leaving);
#endif
    if (kept && popped == PYLAT_NOT_OPEN)
        ran_ns = pylat_ran_beyond(kept, now_ns);
    u32 *closing_slot = NULL;
    if (suspends && popped == PYLAT_NOT_OPEN && !kept)
        closing_slot = closing.lookup(&suspended_key);
    if (how == LEFT_BY_YIELD) {
        if (closing_slot) {
            u32 slot = *closing_slot;
            struct pylat_statistics *of = statistics.lookup(&slot);
            if (of)
                __sync_fetch_and_add(&of->suspensions, 1);
        } else if (kept && popped == PYLAT_NOT_OPEN) {
            kept->active_ns += ran_ns;
            kept->suspensions++;
            kept->running = 0;
        } else if (kept) {
            pylat_suspend(kept, &call, now_ns);
#if PYLAT_SPLIT
            pylat_share_add(&kept->share, &call.share);
#endif
        } else if (popped == PYLAT_MATCHED) {
            struct pylat_suspended fresh = {};
            pylat_suspend(&fresh, &call, now_ns);
#if PYLAT_SPLIT
            fresh.share = call.share;
#endif
            if (suspended.update(&suspended_key, &fresh))
                count->table_full++;
        }
#if PYLAT_TRACE
        if (kept && popped == PYLAT_NOT_OPEN) {
            left.slot = kept->slot;
            left.latency_ns = ran_ns;
            left.timed = ran_ns != 0;
        }
        if (kept || popped == PYLAT_MATCHED)
            goto told;
#endif
        return;
    }
    if (popped == PYLAT_NOT_OPEN && !kept) {
        if (closing_slot) {
            closing.delete(&suspended_key); /* it was counted as abandoned when its deallocation began */
            return;
        }
        if (pylat_never_started(frame, key.code))
            return;
        if (suspends || !thread || thread->depth == 0 || probes_were_away())
            count->began_before++;
        else
            count->unmatched_return++;
        return;
    }
    struct ended_call ended = {.start_ns = call.start_ns, .end_ns = now_ns};
    ended.slot = call.slot;
    ended.active_slot = call.active_slot;
    if (popped == PYLAT_MATCHED && now_ns > call.start_ns)
        ended.active_ns = now_ns - call.start_ns;
    if (kept) {
        ended.start_ns = kept->start_ns;
        ended.active_ns += kept->active_ns + ran_ns;
        ended.suspensions = kept->suspensions;
        ended.slot = kept->slot;
        ended.active_slot = kept->active_slot;
    }
#if PYLAT_SPLIT
    if (popped == PYLAT_MATCHED)
        ended.share = call.share;
    if (kept)
        pylat_share_add(&ended.share, &kept->share);
#endif
    int measured = finish(count, &ended, raised);
#if PYLAT_TRACE
    left.slot = ended.slot;
    left.latency_ns = ended.end_ns > ended.start_ns ? ended.end_ns - ended.start_ns : 0;
    left.active_ns = kept ? ended.active_ns : 0;
#endif
    if (kept)
        suspended.delete(&suspended_key);
#if PYLAT_SLOWER
    struct pylat_slow_work *work = measured ? slow_call(count, &ended) : NULL;
    if (!work)
        return;
    work->thread_state = thread_state;
    work->call.kind = PYLAT_SLOW_CALL;
    work->call.tgid = pid_tgid >> 32;
    work->call.tid = tid;
    work->call.slot = ended.slot;
    work->call.raised = raised != PYLAT_NOT_RAISED;
    work->call.space = space;
    work->call.frame = frame;
    work->call.start_ns = ended.start_ns;
    work->call.end_ns = ended.end_ns;
    work->call.active_ns = ended.active_ns;
    work->call.suspensions = ended.suspensions;
    slow_programs.call(ctx, 0);
    count->slow_lost++; /* the call of another program does not come back, unless it failed */
#endif
#if PYLAT_TRACE
told:
    trace_exit(ctx, frame, thread_state, space, &left, now_ns);
#endif
}

/* One site for each exit: return, exception, and to 3.10 and by 3.15's marker suspension too. */
#ifdef PYLAT_EXIT_FRAME
int pylat_exit(struct pt_regs *ctx)
{
    leave(ctx, PYLAT_REGISTER(ctx, PYLAT_EXIT_FRAME), PYLAT_THREAD_STATE_AT_EXIT(ctx), LEFT_UNKNOWN);
    return 0;
}
#endif

/* Sites that see one kind of exit only. */
#ifdef PYLAT_RETURN_FRAME
int pylat_return(struct pt_regs *ctx)
{
    leave(ctx, PYLAT_REGISTER(ctx, PYLAT_RETURN_FRAME), 0, LEFT_BY_RETURN);
    return 0;
}
#endif

#ifdef PYLAT_RAISE_FRAME
int pylat_raise(struct pt_regs *ctx)
{
    leave(ctx, PYLAT_REGISTER(ctx, PYLAT_RAISE_FRAME), PYLAT_REGISTER(ctx, PYLAT_RAISE_TSTATE), LEFT_BY_RAISE);
    return 0;
}
#endif

#ifdef PYLAT_YIELD_FRAME
int pylat_yield(struct pt_regs *ctx)
{
    leave(ctx, PYLAT_REGISTER(ctx, PYLAT_YIELD_FRAME), 0, LEFT_BY_YIELD);
    return 0;
}
#endif

/* tp_dealloc of a generator, coroutine or asynchronous generator: one that is still suspended was abandoned. */
int pylat_generator_dealloc(struct pt_regs *ctx)
{
    pylat_space space;
    struct pylat_counters *count = hit(&space);
    if (!count)
        return 0;
    u64 frame = PYLAT_REGISTER(ctx, PYLAT_ARGUMENT_1) + PYLAT_GENERATOR_FRAME;
    if (PYLAT_GENERATOR_FRAME_IS_POINTER && pylat_read_u64(frame, &frame)) {
        count->read_fault++;
        return 0;
    }
    struct pylat_frame_key key = {.frame = frame, .space = space};
    struct pylat_suspended *kept = suspended.lookup(&key);
    if (!kept || kept->running)
        return 0;
    u32 slot = kept->slot;
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (of) {
        __sync_fetch_and_add(&of->suspensions, kept->suspensions);
        __sync_fetch_and_add(&of->abandoned, 1);
        count->abandoned++;
    }
#if PYLAT_TRACE
    struct pylat_trace_thread *to = trace_begin(PYLAT_TRACE_ABANDONED, space, frame, slot);
    if (to) {
        to->event.time_ns = bpf_ktime_get_ns();
        to->event.latency_ns = to->event.time_ns - kept->start_ns;
        to->event.active_ns = kept->active_ns;
        trace_submit(to);
    }
#endif
    suspended.delete(&key);
    closing.update(&key, &slot);
    return 0;
}

/* tp_dealloc of code objects: from here on the address may belong to another function. Works before the measurement
 * is enabled too, so that what is known of the target stays true in between. */
int pylat_code_dealloc(struct pt_regs *ctx)
{
    struct pylat_function_key key = {.code = PYLAT_REGISTER(ctx, PYLAT_ARGUMENT_1)};
#if PYLAT_MANY_PROCESSES
    u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct pylat_process *process = processes.lookup(&tgid);
    if (!process)
        return 0;
    key.space = process->space;
#endif
#if PYLAT_SLOWER
    told_codes.delete(&key);
#endif
    struct pylat_function *function = functions.lookup(&key);
    u32 slot = function ? function->slot : PYLAT_NO_SLOT;
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (of)
        of->flags |= PYLAT_DEAD;
#if PYLAT_MANY_PROCESSES
    /* A mark, since without it the address would be looked up in the parent's. */
    struct pylat_function freed = {.slot = PYLAT_NO_SLOT, .active_slot = PYLAT_NO_SLOT, .flags = PYLAT_FREED};
    if (function || inherited(&key))
        functions.update(&key, &freed);
#else
    if (function)
        functions.delete(&key);
#endif
    return 0;
}

/* A thread ends, or its program is replaced: its open calls end with it, without a latency. */
static __always_inline void forget_thread(u32 tid)
{
    struct pylat_thread *thread = threads.lookup(&tid);
    if (!thread)
        return;
    u64 left = thread->depth;
    asm volatile("" : "+r"(left)); /* as in pylat_find */
    while (left > 0 && left <= PYLAT_DEPTH) {
        left--;
        asm volatile("" : "+r"(left));
        u32 slot = thread->open[left].slot;
        struct pylat_statistics *of = statistics.lookup(&slot);
        if (!of)
            break; /* no open call is without: to go on here as well would double the verifier's work each time */
        __sync_fetch_and_add(&of->cut, 1);
    }
    threads.delete(&tid);
}

#if PYLAT_MANY_PROCESSES
static __always_inline void announce(u32 kind, u32 tgid, pylat_space space, pylat_space parent)
{
    struct pylat_process_event *event = events.ringbuf_reserve(sizeof(*event));
    if (!event) {
        u32 zero = 0;
        struct pylat_counters *count = counters.lookup(&zero);
        if (count)
            count->event_lost++;
        return;
    }
    event->kind = kind;
    event->tgid = tgid;
    event->space = space;
    event->parent = parent;
    events.ringbuf_submit(event, 0);
}

static __always_inline pylat_space new_space(u32 tgid)
{
    return bpf_ktime_get_ns() << 22 | (tgid & 0x3fffff); /* pids fit 22 bits (PID_MAX_LIMIT) */
}

/* sched_process_fork(parent, child): before the child runs. Offsets of task_struct come from the kernel's BTF. */
int pylat_fork(struct bpf_raw_tracepoint_args *ctx)
{
    u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct pylat_process *process = processes.lookup(&tgid);
    u32 child_tgid = 0;
    if (!process || pylat_read_kernel(&child_tgid, sizeof(child_tgid), (void *)(ctx->args[1] + PYLAT_TASK_TGID)) ||
        child_tgid == tgid)
        return 0; /* not followed, or a thread */
    struct pylat_process child = {.space = new_space(child_tgid), .parent = process->space};
    ancestors.update(&child.space, &child.parent);
    processes.update(&child_tgid, &child);
    announce(PYLAT_EVENT_FORK, child_tgid, child.space, child.parent);
    return 0;
}

/* sched_process_exec: nothing that was known of the process holds any longer. */
int pylat_exec(struct bpf_raw_tracepoint_args *ctx)
{
    u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct pylat_process *process = processes.lookup(&tgid);
    if (!process)
        return 0;
    struct pylat_process now = {.space = new_space(tgid)};
    pylat_space before = process->space;
    processes.update(&tgid, &now);
    announce(PYLAT_EVENT_EXEC, tgid, now.space, before);
    forget_thread(tgid);
    forget_thread((u32)ctx->args[1]); /* its tid until now, if a thread that was not the first called exec */
    return 0;
}
#endif

int pylat_thread_exit(struct bpf_raw_tracepoint_args *ctx)
{
    u64 pid_tgid = bpf_get_current_pid_tgid();
    u32 tid = pid_tgid, zero = 0;
    struct pylat_config *now = config.lookup(&zero);
    /* After the end of a measurement or slice, its exits are no longer seen: what was open then stays open. */
    if (now && now->enabled)
        forget_thread(tid);
#if PYLAT_TRACE
    trace_threads.delete(&tid);
#endif
#if PYLAT_MANY_PROCESSES
    u32 tgid = pid_tgid >> 32;
    if (tid == tgid)
        processes.delete(&tgid);
#endif
    return 0;
}

#if PYLAT_OFFCPU
/* sched_switch(preempt, prev, next): the current thread is still prev. Of every thread of the machine, so those that
 * have no measured call leave after one look-up each. Offsets of task_struct come from the kernel's BTF. */
int pylat_switch(struct bpf_raw_tracepoint_args *ctx)
{
    u64 now_ns = bpf_ktime_get_ns();
    u32 tid = bpf_get_current_pid_tgid();
    struct pylat_thread *thread = tid ? threads.lookup(&tid) : NULL; /* 0: the idle thread */
    if (thread) {
        u64 state = 0;
        pylat_read_kernel(&state, PYLAT_TASK_STATE_BYTES, (void *)(ctx->args[1] + PYLAT_TASK_STATE));
        pylat_switched_out(&thread->clock, now_ns, (ctx->args[0] & 1) || !state);
    }
    tid = 0;
    pylat_read_kernel(&tid, sizeof(tid), (void *)(ctx->args[2] + PYLAT_TASK_PID));
    thread = tid ? threads.lookup(&tid) : NULL;
    if (thread)
        pylat_switched_in(&thread->clock, now_ns);
    return 0;
}

/* sched_wakeup(task): it is ready to run. */
int pylat_wakeup(struct bpf_raw_tracepoint_args *ctx)
{
    u64 now_ns = bpf_ktime_get_ns();
    u32 tid = 0;
    pylat_read_kernel(&tid, sizeof(tid), (void *)(ctx->args[0] + PYLAT_TASK_PID));
    struct pylat_thread *thread = threads.lookup(&tid);
    if (thread)
        pylat_woken(&thread->clock, now_ns);
    return 0;
}

/* The marker gc__start. A collection may call measured functions (__del__), so the thread is noted in any case. */
int pylat_gc_start(struct pt_regs *ctx)
{
    pylat_space space;
    if (!hit(&space))
        return 0;
    struct pylat_thread *thread = this_thread((u32)bpf_get_current_pid_tgid(), space);
    if (thread)
        pylat_gc_begins(&thread->clock);
    return 0;
}

/* The marker gc__done. */
int pylat_gc_done(struct pt_regs *ctx)
{
    pylat_space space;
    if (!hit(&space))
        return 0;
    u32 tid = bpf_get_current_pid_tgid();
    struct pylat_thread *thread = threads.lookup(&tid);
    if (thread)
        pylat_gc_ends(&thread->clock);
    return 0;
}
#endif
