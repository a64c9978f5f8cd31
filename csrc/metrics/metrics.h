/* metrics.h - counters that any thread adds to and reads without stopping anyone. They
 * live in the host, so a worker's death takes none of them along. */
#ifndef PP_METRICS_METRICS_H
#define PP_METRICS_METRICS_H

#include "metrics/histogram.h"

#include <stdatomic.h>
#include <stdint.h>

struct pp_metrics {
    _Atomic uint64_t workers_started, templates_started, workers_died, start_failures;
    _Atomic uint64_t calls_admitted, calls_ok, calls_failed, calls_crashed, calls_timed_out;
    _Atomic uint64_t calls_cancelled, calls_rejected, calls_requeued, calls_recalled;
    _Atomic uint64_t workers_recycled, workers_retired_idle, workers_pinged;
    _Atomic uint64_t protocol_errors, events_dropped;
    struct pp_histogram wait, run; /* of calls */
};

static inline void pp_count(_Atomic uint64_t *counter)
{
    (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static inline uint64_t pp_counted(_Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
