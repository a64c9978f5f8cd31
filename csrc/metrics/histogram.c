/* histogram.c - the buckets. */
#include "metrics/histogram.h"

#define US INT64_C(1000)
#define MS (1000 * US)
#define S (1000 * MS)

const int64_t pp_histogram_bounds[PYPROC_BUCKETS - 1] = {
    25 * US, 50 * US,  100 * US, 250 * US, 500 * US, 1 * MS,    2500 * US, 5 * MS, 10 * MS, 25 * MS,
    50 * MS, 100 * MS, 250 * MS, 500 * MS, 1 * S,    2500 * MS, 5 * S,     10 * S, 30 * S,  60 * S,
};

void pp_histogram_add(struct pp_histogram *histogram, int64_t ns)
{
    unsigned at = 0;

    if (ns < 0)
        ns = 0;
    while (at < PYPROC_BUCKETS - 1 && ns > pp_histogram_bounds[at])
        at++;
    (void)atomic_fetch_add_explicit(&histogram->counts[at], 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&histogram->sum_ns, (uint64_t)ns, memory_order_relaxed);
}

void pp_histogram_read(struct pp_histogram *histogram, struct pyproc_histogram *readp)
{
    for (unsigned i = 0; i < PYPROC_BUCKETS; i++)
        readp->counts[i] = atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
    readp->sum_ns = atomic_load_explicit(&histogram->sum_ns, memory_order_relaxed);
}
