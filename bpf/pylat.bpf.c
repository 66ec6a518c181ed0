// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* One program for each kind of probe site. What a site means stands in latency/cpython/sites/, the matching rule in
 * stack.h, the reading of CPython's structs in cpython.h. */
#include "calls.h"
#include "count.h"
#include "cpython.h"
#include "exits.h"
#include "followed.h"
#include "functions.h"
#include "generators.h"
#include "maps.h"
#include "namespaces.h"
#include "processes.h"
#include "replaced.h"
#include "slow_calls.h"
#include "split.h"
#include "stack.h"
#include "trace_events.h"

/* A frame starts, or goes on after a suspension. Returns whether it is one of a function that is measured. */
static __always_inline int enter(struct pt_regs *ctx, struct account_hit *paid)
{
    pylat_space space;
    struct pylat_counters *count = hit(ctx, PYLAT_HIT_ENTRY, paid, &space);
    if (!count)
        return 0;
    u64 frame = PYLAT_PLACE(ctx, ENTRY_FRAME), pid_tgid = paid->pid_tgid;
    struct pylat_function_key key = {.space = space};
    if (paid->account && paid->account->innermost == frame)
        paid->account->innermost = 0; /* whoever's frame that was, it is another's now */
    if (pylat_frame_code(frame, &key.code)) {
        PYLAT_COUNT(count->read_fault);
        return 0;
    }
    struct pylat_function *function = NULL;
    int slot = known_slot(key.code);
    u32 flags = PYLAT_WANTED;
    if (slot == PYLAT_NO_SLOT)
        return 0;
    if (slot < 0) {
        function = functions.lookup(&key);
        if (!function || (function->flags & PYLAT_FREED)) {
            function = meet_code(count, pid_tgid >> 32, &key, frame);
            if (!function)
                return 0;
        }
        flags = function->flags;
        if (!(flags & PYLAT_WANTED)) {
            remember(key.code, function);
            return 0;
        }
    }

    int kind = PYLAT_ENTRY_STARTS;
    /* Of what does not suspend, every RESUME is its first. */
    if (flags & PYLAT_SUSPENDS) {
        kind = pylat_entry_kind(ctx, frame, key.code);
        if (kind == PYLAT_ENTRY_UNREADABLE) {
            PYLAT_COUNT(count->read_fault);
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
            return 1; /* began before pylat watched, or this RESUME has run already */
        pylat_resume(kept, frame, 0, &call);
    }
    struct pylat_thread *thread = this_thread((u32)pid_tgid, space);
    if (!thread) {
        if (!kept) {
            lose(count);
            return 1;
        }
        kept->running = 0; /* the time that it runs now is not known */
        PYLAT_COUNT(count->table_full);
        return 1;
    }
    if (!kept && function) {
        if (assign_slots(&key, function) < 0) {
            lose_in(count, thread, flags & PYLAT_SUSPENDS);
            return 1;
        }
        call.slot = function->slot;
        call.active_slot = function->active_slot;
        call.flags = flags;
        remember(key.code, function);
    } else if (!kept) {
        call.slot = slot;
        call.active_slot = PYLAT_NO_SLOT;
        call.flags = flags;
    }
    call.taken_ns = account_behind(paid, PYLAT_HIT_ENTRY);
    call.start_ns = bpf_ktime_get_ns();
#if PYLAT_SPLIT
    pylat_share_begins(&thread->clock, &call);
#endif
    paid->stamp_ns = call.start_ns;
    if (kept)
        account_comes_back(paid, kept, call.start_ns);
    if (paid->account)
        paid->account->innermost = frame;
    int pushed = pylat_push(thread, &call, PYLAT_ENTRY_MAY_REPEAT);
    asm volatile("" : "+r"(pushed)); /* else clang asks the depth again, and see pylat_find */
    int is_beyond = pushed == PYLAT_OVERFLOW;
#if PYLAT_SELF
    pylat_pushed(thread, pushed);
#endif
    if (is_beyond)
        pushed = run_beyond(thread, &suspended_key, &call, kept);
    if (pushed == PYLAT_DUPLICATE) {
        PYLAT_COUNT(count->duplicates);
        return 1;
    }
    if (pushed == PYLAT_REPLACED)
        PYLAT_COUNT(count->unmatched_entry);
    if (pushed == PYLAT_OVERFLOW) {
        thread->too_deep--;
        lose_in(count, thread, flags & PYLAT_SUSPENDS);
    }
    if (kind == PYLAT_ENTRY_STARTS)
        PYLAT_COUNT_OFTEN(count->entries);
#if PYLAT_TRACE
    account_goes_on(paid, PYLAT_HIT_ENTRY);
    trace_entry(ctx, frame, &key, call.slot, kind, is_beyond, call.start_ns);
#endif
    return 1;
}

int pylat_entry(struct pt_regs *ctx)
{
    struct account_hit paid = {};
    int counts = enter(ctx, &paid);
    account_ends(&paid, PYLAT_HIT_ENTRY, counts);
    return 0;
}

/* One site for each exit: return, exception, and to 3.10 and by 3.15's marker suspension too. */
#ifdef PYLAT_EXIT_FRAME
int pylat_exit(struct pt_regs *ctx)
{
    struct account_hit paid = {};
    int counts =
        leave(ctx, PYLAT_PLACE(ctx, EXIT_FRAME), PYLAT_THREAD_STATE_AT_EXIT(ctx), LEFT_UNKNOWN, PYLAT_HIT_EXIT, &paid);
    account_ends(&paid, PYLAT_HIT_EXIT, counts);
    return 0;
}
#endif

/* Sites that see one kind of exit only. */
#ifdef PYLAT_RETURN_FRAME
int pylat_return(struct pt_regs *ctx)
{
    struct account_hit paid = {};
    int counts = leave(ctx, PYLAT_PLACE(ctx, RETURN_FRAME), 0, LEFT_BY_RETURN, PYLAT_HIT_EXIT, &paid);
    account_ends(&paid, PYLAT_HIT_EXIT, counts);
    return 0;
}
#endif

#ifdef PYLAT_RAISE_FRAME
int pylat_raise(struct pt_regs *ctx)
{
    struct account_hit paid = {};
    int counts = leave(ctx, PYLAT_PLACE(ctx, RAISE_FRAME), PYLAT_PLACE(ctx, RAISE_TSTATE), LEFT_BY_RAISE,
                       PYLAT_HIT_RAISE, &paid);
    account_ends(&paid, PYLAT_HIT_RAISE, counts);
    return 0;
}
#endif

#ifdef PYLAT_YIELD_FRAME
int pylat_yield(struct pt_regs *ctx)
{
    struct account_hit paid = {};
    int counts = leave(ctx, PYLAT_PLACE(ctx, YIELD_FRAME), 0, LEFT_BY_YIELD, PYLAT_HIT_YIELD, &paid);
    account_ends(&paid, PYLAT_HIT_YIELD, counts);
    return 0;
}
#endif

/* tp_dealloc of a generator, coroutine or asynchronous generator: one that is still suspended was abandoned. Returns
 * whether it was. */
static __always_inline int collect(struct pt_regs *ctx, struct account_hit *paid)
{
    pylat_space space;
    struct pylat_counters *count = hit(ctx, PYLAT_HIT_DEALLOC, paid, &space);
    if (!count)
        return 0;
    u64 frame = PYLAT_REGISTER(ctx, PYLAT_ARGUMENT_1) + PYLAT_GENERATOR_FRAME;
    if (PYLAT_GENERATOR_FRAME_IS_POINTER && pylat_read_u64(frame, &frame)) {
        PYLAT_COUNT(count->read_fault);
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
        PYLAT_COUNT(count->abandoned);
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
    if (closing.update(&key, &slot))
        PYLAT_COUNT(count->table_full);
    return 1;
}

int pylat_generator_dealloc(struct pt_regs *ctx)
{
    struct account_hit paid = {};
    int counts = collect(ctx, &paid);
    account_ends(&paid, PYLAT_HIT_DEALLOC, counts);
    return 0;
}

/* tp_dealloc of code objects: from here on the address may belong to another function. Works before the measurement
 * is enabled too, so that what is known of the target stays true in between. */
int pylat_code_dealloc(struct pt_regs *ctx)
{
    struct pylat_function_key key = {.code = PYLAT_REGISTER(ctx, PYLAT_ARGUMENT_1)};
    if (!key.code) {
        never.call(ctx, 0);
        return 0;
    }
#if PYLAT_MANY_PROCESSES
    u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct pylat_process *process = followed(tgid);
    if (!process)
        return 0;
    key.space = process->space;
#endif
#if PYLAT_SLOWER
    told_codes.delete(&key);
#endif
    forget(key.code);
    struct pylat_function *function = functions.lookup(&key);
    u32 slot = function ? function->slot : PYLAT_NO_SLOT;
    struct pylat_statistics *of = statistics.lookup(&slot);
    if (of)
        of->flags |= PYLAT_DEAD;
#if PYLAT_PARALLEL
    claims.delete(&key);
#endif
#if PYLAT_MANY_PROCESSES
    /* A mark, since without it the address would be looked up in the parent's. */
    struct pylat_function freed = {.slot = PYLAT_NO_SLOT, .active_slot = PYLAT_NO_SLOT, .flags = PYLAT_FREED};
    if ((function || inherited(&key)) && functions.update(&key, &freed))
        count_table_full(); /* calls of what comes to lie there would be its parent's */
#else
    if (function)
        functions.delete(&key);
#endif
    return 0;
}

#if PYLAT_MANY_PROCESSES
/* sched_process_fork(parent, child): before the child runs. Offsets of task_struct come from the kernel's BTF. */
static __always_inline int forks(struct bpf_raw_tracepoint_args *ctx, int again)
{
    u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct pylat_process *process = followed(tgid);
    u32 child_tgid = 0;
    if (!process || pylat_read_kernel(&child_tgid, sizeof(child_tgid), (void *)(ctx->args[1] + PYLAT_TASK_TGID)) ||
        child_tgid == tgid)
        return 0; /* not followed, or a thread */
    struct pylat_process *known = processes.lookup(&child_tgid);
    if (again && known && known->told) {
        known->told = 0;
        return 0;
    }
    struct pylat_process child = {.space = new_space(child_tgid), .parent = process->space, .told = !again};
    if (!ancestors.update(&child.space, &child.parent) && !processes.update(&child_tgid, &child)) {
        announce(PYLAT_EVENT_FORK, known_number(child_tgid, ctx->args[1]), child.space, child.parent);
        return 0;
    }
    ancestors.delete(&child.space);
    if (again) /* once, if both find no room */
        count_table_full();
    return 0;
}

int pylat_fork(struct bpf_raw_tracepoint_args *ctx)
{
    return forks(ctx, 0);
}

int pylat_fork_again(struct bpf_raw_tracepoint_args *ctx)
{
    return forks(ctx, 1);
}

/* sched_process_exec: nothing that was known of the process holds any longer. */
static __always_inline int execs(struct bpf_raw_tracepoint_args *ctx, int again)
{
    u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct pylat_process *process = followed(tgid);
    if (!process)
        return 0;
    if (again && process->told) {
        process->told = 0;
        return 0;
    }
    pylat_space before = process->space, now = new_space(tgid);
    process->space = now; /* in its place, where there is always room; no other thread of it is left */
    process->parent = 0;
    process->told = !again;
    announce(PYLAT_EVENT_EXEC, known_number(tgid, bpf_get_current_task()), now, before);
    forget_thread(tgid);
    forget_thread((u32)ctx->args[1]); /* its tid until now, if a thread that was not the first called exec */
    return 0;
}

int pylat_exec(struct bpf_raw_tracepoint_args *ctx)
{
    return execs(ctx, 0);
}

int pylat_exec_again(struct bpf_raw_tracepoint_args *ctx)
{
    return execs(ctx, 1);
}
#else
/* sched_process_exec, of every process of the machine: what the one that is measured does from now on does not count.
 */
static __always_inline int replaces(void)
{
    u32 zero = 0;
    struct pylat_config *now = config.lookup(&zero);
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

int pylat_exec_again(struct bpf_raw_tracepoint_args *ctx)
{
    return replaces();
}
#endif

static __always_inline int thread_ends(void)
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
    if (pylat_is_last_thread())
        unfollow(tgid);
#endif
    return 0;
}

int pylat_thread_exit(struct bpf_raw_tracepoint_args *ctx)
{
    return thread_ends();
}

int pylat_thread_exit_again(struct bpf_raw_tracepoint_args *ctx)
{
    return thread_ends();
}

#if PYLAT_OFFCPU
static __always_inline struct pylat_clock *clock_of(u32 tid)
{
    struct pylat_thread *thread = threads.lookup(&tid);
    return thread ? &thread->clock : NULL;
}

#include "switches.h"

int pylat_switch(struct bpf_raw_tracepoint_args *ctx)
{
    switched(ctx);
    return 0;
}

int pylat_wakeup(struct bpf_raw_tracepoint_args *ctx)
{
    woken(ctx);
    return 0;
}

/* The marker gc__start. A collection may call measured functions (__del__), so the thread is noted in any case. */
int pylat_gc_start(struct pt_regs *ctx)
{
    pylat_space space;
    struct account_hit paid = {};
    if (!hit(ctx, PYLAT_HIT_OTHER, &paid, &space))
        return 0;
    account_ends(&paid, PYLAT_HIT_OTHER, 1);
    struct pylat_thread *thread = this_thread((u32)bpf_get_current_pid_tgid(), space);
    if (thread)
        pylat_gc_begins(&thread->clock);
    else
        count_table_full();
    return 0;
}

/* The marker gc__done. */
int pylat_gc_done(struct pt_regs *ctx)
{
    pylat_space space;
    struct account_hit paid = {};
    if (!hit(ctx, PYLAT_HIT_OTHER, &paid, &space))
        return 0;
    account_ends(&paid, PYLAT_HIT_OTHER, 1);
    u32 tid = bpf_get_current_pid_tgid();
    struct pylat_thread *thread = threads.lookup(&tid);
    if (thread)
        pylat_gc_ends(&thread->clock);
    return 0;
}
#endif

#if PYLAT_SLOWER
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
        caller = told->frame;
        int unread = pylat_caller(&caller);
        pylat_take_stack(told, caller, unread);
        pylat_own_numbers(&told->own_tgid, &told->own_tid);
        bpf_get_current_comm(told->comm, sizeof(told->comm));
        if (told->raised)
            pylat_take_exception(told, pylat_exception_type(pylat_thread_state(work->thread_state)));
#if PYLAT_SLOW_VALUES
        told->taken_at = PYLAT_TAKEN_AT_END;
        pylat_frame_code(told->frame, &told->code);
        pylat_read(told->code_head, sizeof(told->code_head), (void *)told->code);
        pylat_begin_arguments(&work->list, &work->arguments, told->frame, told->code);
#endif
    }
    work->rounds++;
#if PYLAT_SLOW_VALUES
    if (pylat_take_along(&work->list, &work->arguments, now->code_type) && work->rounds < PYLAT_SLOW_ROUNDS)
        slow_programs.call(ctx, 0);
#endif
    u64 bytes = work->arguments.bytes;
    if (bytes > sizeof(work->arguments.stream))
        bytes = sizeof(work->arguments.stream);
    if (slow_events.ringbuf_output(told, sizeof(*told) + PYLAT_SNAPSHOT_HEAD_BYTES + bytes, 0))
        PYLAT_COUNT(count->slow_lost);
    account_told();
    slow_work.delete(&tid);
    return 0;
}
#endif

#if PYLAT_TRACE
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
#endif
