/* What tests/native/test_functions_header.py calls of bpf/functions.h: maps of a few entries, and another thread that
 * runs at a moment of the test's choice: within a claim, before it is made. */
#include <stddef.h>
#include <string.h>
#define BPF_FUNC_probe_read_user native_read
#define BPF_FUNC_probe_read_user_str native_read
#define BPF_FUNC_probe_read_kernel native_read
static long native_read(void *to, unsigned size, const void *from)
{
    memcpy(to, from, size);
    return 0;
}
struct pt_regs;
#include "pylat.h"
typedef int s32;

#define SLOTS 8
#define PYLAT_MAPS_H
static struct pylat_statistics rows[SLOTS];
static u32 free_list[SLOTS], free_count;
static struct pylat_function_key known_key, claimed_key;
static struct pylat_function known, claimed;
static int is_known, is_claimed;
static void (*meanwhile)(void);

static struct pylat_statistics *row(u32 *slot)
{
    return *slot < SLOTS ? &rows[*slot] : NULL;
}
static int pop(u32 *slot)
{
    if (!free_count)
        return -1;
    *slot = free_list[--free_count];
    return 0;
}
static int push(u32 *slot, u64 flags)
{
    (void)flags;
    free_list[free_count++] = *slot;
    return 0;
}
static struct pylat_function *find(const struct pylat_function_key *key)
{
    return is_known && key->code == known_key.code ? &known : NULL;
}
static int insert(const struct pylat_function_key *key, struct pylat_function *value)
{
    if (is_known)
        return -17;
    known_key = *key, known = *value, is_known = 1;
    return 0;
}
static struct pylat_function *find_claim(const struct pylat_function_key *key)
{
    return is_claimed && key->code == claimed_key.code ? &claimed : NULL;
}
static int insert_claim(const struct pylat_function_key *key, struct pylat_function *value)
{
    void (*other)(void) = meanwhile;
    meanwhile = NULL;
    if (other)
        other();
    if (is_claimed)
        return -17;
    claimed_key = *key, claimed = *value, is_claimed = 1;
    return 0;
}
static struct {
    struct pylat_statistics *(*lookup)(u32 *);
} statistics = {row};
static struct {
    int (*pop)(u32 *);
    int (*push)(u32 *, u64);
} free_slots = {pop, push};
static struct {
    struct pylat_function *(*lookup)(const struct pylat_function_key *);
    int (*insert)(const struct pylat_function_key *, struct pylat_function *);
} functions = {find, insert}, claims = {find_claim, insert_claim};
static u64 codes[PYLAT_KNOWN];
static u64 *code_at(u32 *at)
{
    return *at < PYLAT_KNOWN ? &codes[*at] : NULL;
}
static struct {
    u64 *(*lookup)(u32 *);
} known_codes = {code_at};
static struct {
    struct pylat_config *(*lookup)(u32 *);
} config;
static struct {
    void *(*ringbuf_reserve)(unsigned long);
    void (*ringbuf_submit)(void *, u64);
} events;
static struct pylat_code_event told;
static int told_count;
static struct pylat_config now = {.code_type = 1};
static struct pylat_config *the_config(u32 *zero)
{
    (void)zero;
    return &now;
}
static void *reserve(unsigned long size)
{
    return size == sizeof(told) ? &told : NULL;
}
static void submit(void *event, u64 flags)
{
    (void)event, (void)flags;
    told_count++;
}
#include "functions.h"

static u64 object[128]; /* a code object: its type is the one of the config */
static struct pylat_counters count;
static struct pylat_function *met_by_other;

static struct pylat_function *meets(void)
{
    struct pylat_function_key key = {.code = (u64)object};
    return meet_code(&count, 1, &key, (u64)object);
}
static void other_meets(void)
{
    met_by_other = meets();
}
static void other_calls(void)
{
    struct pylat_function_key key = {.code = (u64)object};
    struct pylat_function *function = functions.lookup(&key);
    if (function)
        assign_slots(&key, function);
}

/* Whether it was in the table before. Returns the slot of this thread's calls. */
int meet(int by_other, int suspends)
{
    config.lookup = the_config, events.ringbuf_reserve = reserve, events.ringbuf_submit = submit;
    memset(rows, 0, sizeof(rows)), memset(&count, 0, sizeof(count));
    is_known = is_claimed = told_count = free_count = 0;
    for (u32 slot = 0; slot < SLOTS; slot++)
        push(&slot, 0);
    object[PYLAT_OBJECT_TYPE / 8] = 1;
    memcpy((char *)object + PYLAT_CODE_FLAGS, &(u32){suspends ? PYLAT_CO_SUSPENDS : 0}, 4);
    object[PYLAT_CODE_NAME / 8] = object[PYLAT_CODE_FILENAME / 8] = (u64)object;
    meanwhile = by_other == 1 ? other_meets : by_other == 2 ? other_calls : NULL;
    met_by_other = NULL;
    struct pylat_function *function = meets();
    if (!function || (by_other == 1 && met_by_other != function))
        return -1;
    return function->slot;
}
int meet_again(void)
{
    struct pylat_function *function = meets();
    return function ? function->slot : -1;
}
/* Two threads call a function that was known, and has no slots yet. */
int call(void)
{
    struct pylat_function fresh = {.slot = PYLAT_NO_SLOT, .active_slot = PYLAT_NO_SLOT, .flags = PYLAT_WANTED};
    struct pylat_function_key key = {.code = (u64)object};
    meet(0, 0);
    is_known = is_claimed = free_count = told_count = 0;
    memset(rows, 0, sizeof(rows));
    for (u32 slot = 0; slot < SLOTS; slot++)
        push(&slot, 0);
    insert(&key, &fresh);
    meanwhile = other_calls;
    assign_slots(&key, &known);
    return known.slot;
}
int named(void)
{
    int found = 0;
    for (u32 slot = 0; slot < SLOTS; slot++)
        found += rows[slot].code != 0;
    return found;
}
int active_slot(void)
{
    return known.active_slot;
}
int left(void)
{
    return free_count;
}
int times_told(void)
{
    return told_count;
}
u64 owner(u32 slot)
{
    return rows[slot].code == (u64)object;
}
/* What is remembered of code objects. */
void forget_all(void)
{
    memset(codes, 0, sizeof(codes));
}
void owns(u32 slot, u64 code, u32 flags)
{
    rows[slot].code = code, rows[slot].flags = flags;
}
void remembers(u64 code, u32 slot, u32 flags)
{
    struct pylat_function function = {.slot = slot, .active_slot = PYLAT_NO_SLOT, .flags = flags};
    remember(code, &function);
}
void forgets(u64 code)
{
    forget(code);
}
int slot_of(u64 code)
{
    return known_slot(code);
}
