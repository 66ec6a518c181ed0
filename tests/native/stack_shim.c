/* What tests/native/test_stack.py calls of bpf/stack.h. With -DSMALL=N the table holds N open calls only, and fills
 * sooner; it stays inside the real one, whose other places are left to show any stray write. */
#include "pylat.h"
#ifdef SMALL
#undef PYLAT_DEPTH
#define PYLAT_DEPTH SMALL
#endif
#include "stack.h"
#include <stddef.h>
#include <string.h>

int push(struct pylat_thread *t, struct pylat_open *c, int may_repeat)
{
    return pylat_push(t, c, may_repeat);
}

int pop(struct pylat_thread *t, u64 frame, struct pylat_open *c)
{
    return 16 + pylat_pop(t, frame, 1, c);
}

int pop_frame(struct pylat_thread *t, u64 frame, struct pylat_open *c)
{
    return 16 + pylat_pop(t, frame, 0, c);
}

void run_beyond(struct pylat_thread *t, struct pylat_suspended *k, u64 now)
{
    pylat_run_beyond(t, k, now);
}

u64 ran_beyond(struct pylat_suspended *k, u64 now)
{
    return pylat_ran_beyond(k, now);
}

void suspend(struct pylat_suspended *k, struct pylat_open *c, u64 now)
{
    pylat_suspend(k, c, now);
}

void resume(struct pylat_suspended *k, u64 frame, u64 now, struct pylat_open *c)
{
    pylat_resume(k, frame, now, c);
}

enum { RESET, ENTER, LEAVE, SUSPEND, RESUME };

struct result {
    u32 code, depth, too_deep, disordered;
    u64 start, wall_start, active, suspensions;
};

static struct pylat_suspended kept[FRAMES];
static char known[FRAMES];

/* A suspending call beyond the table has a record instead; see pylat_entry. */
static void beyond(struct pylat_thread *thread, u64 frame, u64 now)
{
    if (!known[frame])
        kept[frame] = (struct pylat_suspended){.start_ns = now};
    known[frame] = 1;
    pylat_run_beyond(thread, &kept[frame], now);
}

static void leave(struct pylat_thread *thread, int suspending, u64 frame, int suspends, u64 now, struct result *r)
{
    struct pylat_open call = {};
    u64 address = frame << 3; /* frames are aligned */
    int popped = pylat_pop(thread, address, !suspends, &call);
    int beyond = popped == PYLAT_NOT_OPEN && suspends && known[frame];
    u64 ran = beyond ? pylat_ran_beyond(&kept[frame], now) : 0;
    r->code = 16 + popped;
    r->start = call.start_ns;
    if (suspending && beyond) {
        kept[frame].active_ns += ran;
        kept[frame].suspensions++;
        kept[frame].running = 0;
    } else if (suspending && popped == PYLAT_MATCHED) {
        pylat_suspend(&kept[frame], &call, now);
        known[frame] = 1;
    } else if (!suspending) {
        int recorded = beyond || (call.flags & PYLAT_RESUMED);
        r->wall_start = recorded ? kept[frame].start_ns : call.start_ns;
        r->active = (popped == PYLAT_MATCHED ? now - call.start_ns : ran) + (recorded ? kept[frame].active_ns : 0);
        r->suspensions = recorded ? kept[frame].suspensions : 0;
        known[frame] = 0;
    }
}

/* One event for each u64 (see stack_model.Log); its index is its time. */
void replay(struct pylat_thread *threads, const u64 *events, struct result *results, int n)
{
    for (int now = 0; now < n; now++) {
        int op = events[now] & 15, may_repeat = events[now] >> 8 & 1, suspends = events[now] >> 9 & 1;
        struct pylat_thread *thread = &threads[events[now] >> 4 & 15];
        u64 frame = events[now] >> 16;
        struct result *r = &results[now];
        struct pylat_open call = {.frame = frame << 3, .start_ns = now, .flags = suspends ? PYLAT_SUSPENDS : 0};
        r->code = 255;
        if (op == RESET) {
            for (int i = 0; i < THREADS; i++)
                memset(&threads[i], 0, offsetof(struct pylat_thread, open));
            memset(known, 0, sizeof(known));
        } else if (op == ENTER || (op == RESUME && known[frame] && !kept[frame].running)) {
            if (op == RESUME)
                pylat_resume(&kept[frame], frame << 3, now, &call);
            r->code = pylat_push(thread, &call, may_repeat);
            if (op == ENTER && r->code != PYLAT_DUPLICATE)
                known[frame] = 0;
            if (r->code == PYLAT_OVERFLOW && suspends)
                beyond(thread, frame, now);
        } else if (op != RESUME) {
            leave(thread, op == SUSPEND, frame, suspends, now, r);
        }
        r->depth = thread->depth;
        r->too_deep = thread->too_deep;
        r->disordered = thread->disordered;
    }
}
