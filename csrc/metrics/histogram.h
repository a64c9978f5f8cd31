/* histogram.h - how long things took, in buckets that any thread adds to.
 *
 * Bounds are fixed, from 25 microseconds to a minute, so that an observation is a short search and
 * two relaxed additions. Readers stop nobody: a sum may be ahead of its counts by what is being
 * added just then.
 */
#ifndef PP_METRICS_HISTOGRAM_H
#define PP_METRICS_HISTOGRAM_H

#include "include/pyproc.h"

#include <stdatomic.h>
#include <stdint.h>

struct pp_histogram {
    _Atomic uint64_t counts[PYPROC_BUCKETS];
    _Atomic uint64_t sum_ns;
};

/* Upper bounds in nanoseconds; what is above the last one is in the last bucket. */
extern const int64_t pp_histogram_bounds[PYPROC_BUCKETS - 1];

void pp_histogram_add(struct pp_histogram *histogram, int64_t ns);
void pp_histogram_read(struct pp_histogram *histogram, struct pyproc_histogram *readp);

#endif
