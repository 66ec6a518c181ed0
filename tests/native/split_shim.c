/* What tests/native/test_split.py calls of bpf/split.h: one thread, whose time is what the test says. */
#include "pylat.h"
static u64 now_ns;
static u64 bpf_ktime_get_ns(void)
{
    return now_ns;
}
#include "split.h"
#include <string.h>

static struct pylat_thread thread;
static struct pylat_suspended kept[FRAMES];

struct ended {
    u64 known, wall_ns, active_ns;
    struct pylat_share share;
};

void reset(void)
{
    memset(&thread, 0, sizeof(thread));
    memset(kept, 0, sizeof(kept));
}

void at(u64 ns)
{
    now_ns = ns;
}

void switched_out(int ready)
{
    pylat_switched_out(&thread.clock, now_ns, ready);
}

void woken(void)
{
    pylat_woken(&thread.clock, now_ns);
}

void switched_in(void)
{
    pylat_switched_in(&thread.clock, now_ns);
}

void gc_begins(void)
{
    pylat_gc_begins(&thread.clock);
}

void gc_ends(void)
{
    pylat_gc_ends(&thread.clock);
}

/* As pylat_entry does it. */
int enter(u64 frame, int resumes)
{
    struct pylat_open call = {.frame = frame << 3, .flags = resumes ? PYLAT_SUSPENDS | PYLAT_RESUMED : 0};
    pylat_share_begins(&thread.clock, &call);
    int pushed = pylat_push(&thread, &call, 0);
    pylat_pushed(&thread, pushed);
    return pushed;
}

/* As leave() does it. */
int leave(u64 frame, int suspending, int undecided, struct ended *ended)
{
    struct pylat_open call = {};
    struct pylat_leaving leaving = {};
    u64 left_ns = pylat_leaves(&thread, now_ns, &leaving);
    int popped = pylat_pop(&thread, frame << 3, 1, &call);
    leaving.undecided = undecided;
    if (popped != PYLAT_MATCHED)
        return popped;
    pylat_share_ends(&thread, &call, left_ns, &leaving);
    if (suspending) {
        pylat_suspend(&kept[frame], &call, left_ns);
        if (call.flags & PYLAT_RESUMED)
            pylat_share_add(&kept[frame].share, &call.share);
        else
            kept[frame].share = call.share;
        return popped;
    }
    u64 start_ns = call.start_ns;
    ended->active_ns = left_ns - call.start_ns;
    ended->share = call.share;
    if (call.flags & PYLAT_RESUMED) {
        start_ns = kept[frame].start_ns;
        ended->active_ns += kept[frame].active_ns;
        pylat_share_add(&ended->share, &kept[frame].share);
    }
    ended->wall_ns = left_ns - start_ns;
    ended->known = pylat_knows_callees(&ended->share, ended->active_ns);
    return popped;
}

void count(struct pylat_split *of, u64 wall_ns, u64 active_ns, const struct pylat_share *share)
{
    pylat_count_split(of, wall_ns, active_ns, share);
}

u32 bucket(u64 wall_ns)
{
    return pylat_split_bucket(wall_ns);
}
