/* A library with USDT markers, as <sys/sdt.h> writes them, without that header and without libc. */

#define MARKER(name, arguments, ...)                                                             \
    __asm__ volatile("990: nop\n"                                                                \
                     ".pushsection .note.stapsdt, \"\", \"note\"\n"                              \
                     ".balign 4\n.4byte 992f - 991f, 994f - 993f, 3\n"                           \
                     "991: .asciz \"stapsdt\"\n992: .balign 4\n"                                 \
                     "993: .8byte 990b, _.stapsdt.base, myapp_" #name "_semaphore\n"             \
                     ".asciz \"myapp\"\n.asciz \"" #name "\"\n.asciz \"" arguments "\"\n"        \
                     "994: .balign 4\n.popsection\n"                                             \
                     ".ifndef _.stapsdt.base\n"                                                  \
                     ".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n" \
                     ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n"  \
                     ".size _.stapsdt.base, 1\n.popsection\n.endif\n"                            \
                     :                                                                           \
                     : __VA_ARGS__)

#define SEMAPHORE(name)                                                         \
    __attribute__((section(".probes"), used, visibility("hidden"))) volatile unsigned short \
        myapp_##name##_semaphore

SEMAPHORE(request__start);
SEMAPHORE(request__done);
SEMAPHORE(event);
SEMAPHORE(places);
SEMAPHORE(odd);

void start(long id, int kind)
{
    MARKER(request__start, "8@%[id] -4@%[kind]", [id] "nor"(id), [kind] "nor"(kind));
}

/* Two sites, with the arguments in other places. */
void done(int status, long id)
{
    if (status)
        MARKER(request__done, "-4@%[status] 8@%[id]", [status] "i"(7), [id] "nor"(id));
    else
        MARKER(request__done, "-4@%[status] 8@%[id]", [status] "r"(status), [id] "m"(id));
}

void event(void)
{
    MARKER(event, "");
}

/* Each value of a known one in another form: start and done agree on a key only if all are read right. */
static const struct {
    signed char small;
    unsigned short medium;
    int wide;
    long all;
} values[2] = {{1, 1, 1, 1}, {-5, 65000, -70000, -5000000000}};

void places(long index)
{
    MARKER(places, "-1@%[a] 2@%[b] -4@%[c] 8@%[d] -1@%[e] 2@%[f]", [a] "m"(values[index].small),
           [b] "m"(values[index].medium), [c] "r"(values[index].wide), [d] "r"(values[index].all),
           [e] "r"(values[index].small), [f] "r"(values[index].medium));
}

void odd(double value)
{
    MARKER(odd, "8f@%[value]", [value] "x"(value));
}

/* How many want each of the first three markers: bits 0 to 15, 16 to 31, 32 to 47. */
long semaphores(void)
{
    return myapp_request__start_semaphore | (long)myapp_request__done_semaphore << 16 |
           (long)myapp_event_semaphore << 32;
}
