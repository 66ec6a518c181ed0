/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* How struct pylat_counters is counted in. Each processor has one, but the program of a probe can lose its processor to
 * another task in the midst of `counter++` (docs/kernels.md), and would then overwrite what that one counted. */
#ifndef PYLAT_COUNT_H
#define PYLAT_COUNT_H

/* What is not lost: losses, and whatever is rare. */
#define PYLAT_COUNT(counter) __sync_fetch_and_add(&(counter), 1)

/* What every hit counts, and an atomic addition would lengthen. Of one process, one thread runs Python at a time, and
 * no other comes by a probe until it goes on; but for free-threaded builds (PYLAT_PARALLEL). */
#if PYLAT_MANY_PROCESSES || PYLAT_PARALLEL
#define PYLAT_ADD_OFTEN(counter, more) __sync_fetch_and_add(&(counter), (more))
#else
#define PYLAT_ADD_OFTEN(counter, more) ((counter) += (more))
#endif
#define PYLAT_COUNT_OFTEN(counter) PYLAT_ADD_OFTEN(counter, 1)

#endif
