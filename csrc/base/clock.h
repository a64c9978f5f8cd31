/* clock.h - points in time on CLOCK_MONOTONIC, in nanoseconds. Any thread. */
#ifndef PP_BASE_CLOCK_H
#define PP_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define PP_NEVER INT64_MAX
#define PP_MS INT64_C(1000000)
#define PP_SECOND INT64_C(1000000000)

static inline int64_t pp_now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * PP_SECOND + t.tv_nsec;
}

/* The same clock at its last tick, some milliseconds ago at most: a fraction of the cost. */
static inline int64_t pp_now_coarse(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (int64_t)t.tv_sec * PP_SECOND + t.tv_nsec;
}

/* The point `span` after `from`; a sum that does not fit is never. */
static inline int64_t pp_after(int64_t from, int64_t span)
{
    return span > PP_NEVER - from ? PP_NEVER : from + span;
}

#endif
