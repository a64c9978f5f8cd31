/* info.c - what a pool tells about itself, and resizing. Any thread. */
#include "pool/pool.h"

#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a struct holds through a pointer is lost on gcc's analyzer. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

static void fill_counters(struct pyproc_pool *pool, struct pyproc_stats *stats)
{
    struct pp_metrics *m = &pool->metrics;

    stats->workers_started = pp_counted(&m->workers_started);
    stats->templates_started = pp_counted(&m->templates_started);
    stats->workers_died = pp_counted(&m->workers_died);
    stats->workers_recycled = pp_counted(&m->workers_recycled);
    stats->workers_retired_idle = pp_counted(&m->workers_retired_idle);
    stats->workers_pinged = pp_counted(&m->workers_pinged);
    stats->start_failures = pp_counted(&m->start_failures);
    stats->calls_admitted = pp_counted(&m->calls_admitted);
    stats->calls_ok = pp_counted(&m->calls_ok);
    stats->calls_failed = pp_counted(&m->calls_failed);
    stats->calls_crashed = pp_counted(&m->calls_crashed);
    stats->calls_timed_out = pp_counted(&m->calls_timed_out);
    stats->calls_cancelled = pp_counted(&m->calls_cancelled);
    stats->calls_rejected = pp_counted(&m->calls_rejected);
    stats->calls_requeued = pp_counted(&m->calls_requeued);
    stats->calls_recalled = pp_counted(&m->calls_recalled);
    stats->events_dropped = pp_counted(&m->events_dropped);
    stats->protocol_errors = pp_counted(&m->protocol_errors);
    stats->output_dropped_bytes =
        __atomic_load_n(&pool->supervisor.output_dropped, __ATOMIC_RELAXED);
    stats->keeper_restarts = __atomic_load_n(&pool->supervisor.keeper_restarts, __ATOMIC_RELAXED);
}

PYPROC_API void pyproc_stats(struct pyproc_pool *pool, struct pyproc_stats *stats)
{
    struct pp_census census;

    *stats = (struct pyproc_stats){0};
    fill_counters(pool, stats);
    if (pp_pool_forked(pool))
        return;
    (void)pthread_mutex_lock(&pool->lock);
    census = pp_pool_census(pool);
    stats->calls_waiting = pool->n_waiting + pool->sticky.n_own;
    stats->calls_running = pool->active - pool->n_waiting - pool->sticky.n_own;
    stats->keys = pool->sticky.n_keys;
    stats->actors = pool->sticky.n_actors;
    stats->queue_bytes = pool->waiting_bytes;
    stats->generation = pool->generation;
    (void)pthread_mutex_unlock(&pool->lock);
    stats->workers = census.live + census.leaving;
    stats->workers_idle = census.idle;
    stats->workers_busy = census.busy + census.leaving;
    stats->workers_starting = census.starting;
}

PYPROC_API void pyproc_latency(struct pyproc_pool *pool, struct pyproc_latency *latency)
{
    memcpy(latency->bounds_ns, pp_histogram_bounds, sizeof latency->bounds_ns);
    pp_histogram_read(&pool->metrics.wait, &latency->wait);
    pp_histogram_read(&pool->metrics.run, &latency->run);
}

static void describe(const struct pyproc_pool *pool, struct pp_slot *slot,
                     struct pyproc_worker_info *info)
{
    struct pp_worker *worker = &slot->worker;

    info->id = worker->id;
    info->pid = atomic_load(&worker->pid);
    info->state = pp_worker_state_name(atomic_load(&worker->state));
    info->tasks_done = atomic_load(&worker->tasks_done);
    info->age = (double)(pp_now() - worker->born) / 1e9;
    info->generation = slot->generation;
    info->rss = 0;
    info->keys = slot->n_bonds - slot->n_actors;
    info->actors = slot->n_actors;
    info->start_method = worker->template ? "template" : "exec";
    (void)snprintf(info->start_reason, sizeof info->start_reason, "%s", pool->start_reason);
}

PYPROC_API size_t pyproc_workers(struct pyproc_pool *pool, struct pyproc_worker_info *infos,
                                 size_t max)
{
    const struct pp_list *at;
    size_t n = 0;

    if (pp_pool_forked(pool))
        return 0;
    (void)pthread_mutex_lock(&pool->lock);
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if (slot->buried || atomic_load(&slot->worker.state) == PP_WORKER_NEW)
            continue;
        if (n < max)
            describe(pool, slot, &infos[n]);
        n++;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < n && i < max; i++)
        if (infos[i].pid > 0)
            infos[i].rss = pp_life_rss(infos[i].pid);
    return n;
}

struct pp_functions *pp_functions_new(const struct pp_message_hello_reply *reply)
{
    struct pp_functions *functions = calloc(1, sizeof *functions);

    if (!functions)
        return NULL;
    functions->items = calloc(reply->n_functions + 1, sizeof *functions->items);
    functions->facts = calloc(reply->n_functions + 1, sizeof *functions->facts);
    functions->n = functions->items && functions->facts ? reply->n_functions : 0;
    atomic_init(&functions->refs, 1);
    for (size_t i = 0; i < functions->n; i++) {
        const struct pp_function_info *from = &reply->functions[i];
        char *name = strndup((const char *)from->name.data, from->name.size);
        char *signature = strndup((const char *)from->signature.data, from->signature.size);

        functions->facts[i] = (struct pp_function_facts){
            (uint8_t)from->kind,
            from->batch < PYPROC_IN_FLIGHT_MAX ? from->batch : PYPROC_IN_FLIGHT_MAX,
            from->batch_wait_us < 3600000000U ? (int64_t)from->batch_wait_us * 1000
                                              : 3600 * PP_SECOND};
        functions->items[i].name = (struct pyproc_bytes){name, name ? from->name.size : 0};
        functions->items[i].qualname =
            (struct pyproc_bytes){signature, signature ? from->signature.size : 0};
    }
    return functions;
}

void pp_functions_unref(struct pp_functions *functions)
{
    if (!functions || atomic_fetch_sub(&functions->refs, 1) != 1)
        return;
    for (size_t i = 0; i < functions->n; i++) {
        free((void *)(uintptr_t)functions->items[i].name.data);
        free((void *)(uintptr_t)functions->items[i].qualname.data);
    }
    free(functions->items);
    free(functions->facts);
    free(functions);
}

const struct pp_function_facts *pp_function_find(const struct pp_functions *functions,
                                                 struct pp_bytes name)
{
    for (size_t i = 0; functions && i < functions->n; i++)
        if (functions->items[i].name.size == name.size &&
            memcmp(functions->items[i].name.data, name.data, name.size) == 0)
            return &functions->facts[i];
    return NULL;
}

PYPROC_API int pyproc_resize(struct pyproc_pool *pool, unsigned min_workers, unsigned max_workers)
{
    if (min_workers < 1 || max_workers < min_workers || max_workers > PP_WORKERS_MAX)
        return pp_fail(-EINVAL, "resize wants 1 <= min_workers <= max_workers <= %d",
                       PP_WORKERS_MAX);
    if (pp_pool_forked(pool))
        return 0;
    (void)pthread_mutex_lock(&pool->lock);
    pool->min_workers = min_workers;
    pool->max_workers = max_workers;
    if (pool->state < PP_POOL_CLOSING)
        pp_loop_wake(pool->loop);
    (void)pthread_mutex_unlock(&pool->lock);
    return 0;
}

PYPROC_API void pyproc_functions(struct pyproc_pool *pool,
                                 void (*each)(void *token, struct pyproc_bytes name,
                                              struct pyproc_bytes signature),
                                 void *token)
{
    struct pp_functions *functions;

    if (pp_pool_forked(pool))
        return;
    (void)pthread_mutex_lock(&pool->lock);
    functions = pool->functions;
    if (functions)
        (void)atomic_fetch_add(&functions->refs, 1);
    (void)pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; functions && i < functions->n; i++)
        each(token, functions->items[i].name, functions->items[i].qualname);
    pp_functions_unref(functions);
}

PYPROC_API int32_t pyproc_keeper_pid(struct pyproc_pool *pool)
{
    int32_t pid;

    if (pp_pool_forked(pool))
        return 0;
    (void)pthread_mutex_lock(&pool->lock);
    pid = pool->keeper_pid;
    (void)pthread_mutex_unlock(&pool->lock);
    return pid;
}
