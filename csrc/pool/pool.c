/* pool.c - opens and frees a pool, and keeps the line: who waits, who is idle. */
#include "pool/pool.h"

#include "base/error.h"
#include "base/futex.h"
#include "security/cgroup.h"
#include "supervisor/usage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

PYPROC_API const char *pyproc_error_text(void)
{
    return pp_fail_text();
}

PYPROC_API void pyproc_config_init(struct pyproc_config *config)
{
    *config = (struct pyproc_config){
        .start_method = PYPROC_START_AUTO,
        .min_workers = 1,
        .max_workers = 1,
        .priority_step = PP_SECOND,
        .recycle_age = PYPROC_FOREVER,
        .idle_timeout = PYPROC_FOREVER,
        .max_queue_bytes = (size_t)256 << 20,
        .max_frame = (size_t)16 << 20,
        .max_result = (size_t)16 << 20,
        .max_memory = (size_t)256 << 20,
        .max_in_flight = 1,
        .memory_stock = (size_t)256 << 20,
        .start_timeout = 30 * PP_SECOND,
        .queue_timeout = PYPROC_FOREVER,
        .task_timeout = PYPROC_FOREVER,
        .limit_address_space = PYPROC_UNLIMITED,
        .limit_file_size = PYPROC_UNLIMITED,
        .limit_open_files = 1024,
        .limit_stack = PYPROC_UNLIMITED,
        .limit_processes = PYPROC_UNLIMITED,
        .limit_threads = PYPROC_UNLIMITED,
    };
}

bool pp_pool_forked(const struct pyproc_pool *pool)
{
    return pp_is_fork_copy(&pool->mark);
}

void pp_pool_active(struct pyproc_pool *pool, int change)
{
    if (change > 0) {
        pool->active++;
        return;
    }
    pool->active--;
    if (pool->active == 0 && pool->state != PP_POOL_OPEN)
        pp_futex_set(&pool->drained, atomic_load(&pool->drained) + 1);
}

void pp_pool_lease(struct pyproc_pool *pool, struct pp_slot *slot, pthread_t lessee)
{
    pp_limits_started(pool);
    pp_list_remove(&slot->idle);
    slot->owner = PP_OWNER_LEASED;
    slot->lessee = lessee;
    atomic_store_explicit(&slot->worker.state, PP_WORKER_BUSY, memory_order_relaxed);
}

void pp_pool_deadline(struct pyproc_pool *pool, struct pp_slot *slot, int64_t deadline)
{
    slot->deadline = deadline;
    if (deadline < pool->armed)
        pp_loop_wake(pool->loop);
}

void pp_pool_grant(struct pyproc_pool *pool, struct pp_want *want, struct pp_slot *slot)
{
    struct pp_waiter *waiter = pp_container(want, struct pp_waiter, want);

    pp_pool_unwait(pool, want);
    pp_pool_lease(pool, slot, waiter->thread);
    waiter->slot = slot;
    pp_futex_set(&waiter->settled, 1);
}

void pp_pool_give_back(struct pyproc_pool *pool, struct pp_slot *slot)
{
    struct pp_worker *worker = &slot->worker;
    struct pp_want *next = NULL;
    bool suspect =
        slot->health.suspect || slot->soft == PP_SOFT_TIMEOUT || slot->soft == PP_SOFT_CANCEL;

    slot->owner = PP_OWNER_NONE;
    slot->health.suspect = false;
    slot->deadline = PP_NEVER;
    slot->soft = PP_SOFT_NONE;
    slot->memory_limit = 0;
    slot->cpu_limit = 0;
    slot->output_limit = 0;
    slot->share = PP_SHARE_NONE;
    if (atomic_load(&worker->cause) || atomic_load(&worker->state) == PP_WORKER_DEAD) {
        pp_loop_wake(pool->loop); /* it only waited for its last owner */
        return;
    }
    atomic_store_explicit(&worker->state, PP_WORKER_READY, memory_order_relaxed);
    if (slot->leaving || (pp_life_watches(&pool->life) && pp_life_spent(pool, slot))) {
        pp_loop_wake(pool->loop); /* it lets it leave */
        return;
    }
    if (suspect) {
        pp_health_suspect(pool, slot);
        return;
    }
    next = pp_sticky_next(pool, slot);
    if (next && next->kind == PP_WANT_CALL) {
        pp_loop_wake(pool->loop); /* it gives it to this worker, which stays away from the others */
        return;
    }
    if (!next && pp_line_any(pool))
        next = pp_line_first(pool);
    if (next && next->kind == PP_WANT_THREAD) {
        pp_pool_grant(pool, next, slot);
        return;
    }
    if (pool->life.idle_timeout != PP_NEVER)
        slot->idle_since = pp_now_coarse();
    pp_list_push_front(&pool->idle, &slot->idle);
    if (next || pool->state != PP_POOL_OPEN)
        pp_loop_wake(pool->loop);
}

void pp_waiter_end(struct pp_waiter *waiter, enum pyproc_end end, const char *text,
                   const struct pyproc_reply *like)
{
    if (like)
        pp_reply_copy(waiter->reply, like);
    else
        pp_reply_end(waiter->reply, end, text);
    pp_futex_set(&waiter->settled, 1);
}

void pp_pool_end_waiting(struct pyproc_pool *pool, enum pyproc_end end, const char *text,
                         const struct pyproc_reply *like, struct pp_done *done)
{
    struct pp_want *want;

    while ((want = pp_line_first(pool)) != NULL || (want = pp_sticky_any(pool)) != NULL) {
        if (want->kind == PP_WANT_THREAD) {
            pp_pool_unwait(pool, want);
            pp_waiter_end(pp_container(want, struct pp_waiter, want), end, text, like);
            continue;
        }
        struct pp_call *call = pp_container(want, struct pp_call, want);

        if (like)
            pp_reply_copy(&call->item->reply, like);
        else
            pp_reply_end(&call->item->reply, end, text);
        pp_call_end(pool, call, done);
    }
}

struct pp_census pp_pool_census(const struct pyproc_pool *pool)
{
    struct pp_census census = {0};
    const struct pp_list *at;

    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);
        int state = atomic_load(&slot->worker.state);

        if (slot->buried || slot->retired || atomic_load(&slot->worker.cause))
            continue;
        if (slot->leaving) {
            census.leaving++;
            continue;
        }
        census.live++;
        if (state <= PP_WORKER_IMPORTING)
            census.starting++;
        else if (slot->owner == PP_OWNER_NONE)
            census.idle++;
        else
            census.busy++;
    }
    return census;
}

PYPROC_API int pyproc_cgroup_find(const char *wanted, char directory[PYPROC_CGROUP_PATH],
                                  const char **wordsp)
{
    const struct pp_cgroup_kind *kind;
    int r = pp_cgroup_find("", wanted, directory, &kind, wordsp);

    if (r == 0)
        *wordsp = kind->name;
    return r;
}

static int check(const struct pyproc_config *config)
{
    if (!config->python)
        return pp_fail(-EINVAL, "config.python is missing");
    if (config->recycle_jitter >= 1000000)
        return pp_fail(-EINVAL, "config.recycle_jitter is in parts of a million, below 1000000");
    if (config->recycle_age < 1 || config->idle_timeout < 1)
        return pp_fail(-EINVAL, "config.recycle_age and idle_timeout are 1 ns or more");
    if (config->priority_step < 1)
        return pp_fail(-EINVAL, "config.priority_step is below 1 ns");
    if (config->start_method > PYPROC_START_AUTO)
        return pp_fail(-EINVAL, "config.start_method is none of pyproc.h's");
    if (config->min_workers < 1 || config->max_workers < config->min_workers ||
        config->max_workers > PP_WORKERS_MAX)
        return pp_fail(-EINVAL, "config wants 1 <= min_workers <= max_workers <= %d",
                       PP_WORKERS_MAX);
    if (config->max_in_flight < 1 || config->max_in_flight > PYPROC_IN_FLIGHT_MAX)
        return pp_fail(-EINVAL, "config wants 1 <= max_in_flight <= %d", PYPROC_IN_FLIGHT_MAX);
    if (config->max_frame < 4096 || config->max_frame >= 0x50590000U)
        return pp_fail(-EINVAL, "config.max_frame is not between 4096 and 0x50590000");
    return 0;
}

static struct pyproc_pool *pool_new(const struct pyproc_config *config)
{
    struct pyproc_pool *pool = calloc(1, sizeof *pool);

    if (!pool)
        return NULL;
    if (pp_stock_new(config->memory_stock, &pool->stock) < 0 ||
        pp_fork_mark_init(&pool->mark) < 0) {
        pp_stock_unref(pool->stock);
        free(pool);
        return NULL;
    }
    (void)pthread_mutex_init(&pool->lock, NULL);
    pool->queue_timeout = config->queue_timeout;
    pool->task_timeout = config->task_timeout;
    pool->max_queue = config->max_queue;
    pool->max_queue_bytes = config->max_queue_bytes;
    pool->max_result = config->max_result;
    pool->max_memory = config->max_memory;
    pool->max_in_flight = config->max_in_flight;
    pool->min_workers = config->min_workers;
    pool->max_workers = config->max_workers;
    atomic_init(&pool->next_id, 1);
    pp_list_init(&pool->slots);
    pp_list_init(&pool->templates);
    pool->start_method = config->start_method;
    (void)snprintf(pool->start_reason, sizeof pool->start_reason, "it was asked for");
    pp_list_init(&pool->idle);
    pp_list_init(&pool->guests);
    pp_sticky_init(&pool->sticky);
    pool->line.step = config->priority_step;
    pool->grace = config->grace;
    pool->memory_limit = config->limit_memory;
    pool->cpu_limit = config->limit_cpu;
    pool->output_limit = config->limit_output;
    pool->one_each = config->limit_output != 0;
    pool->max_processes = config->limit_processes;
    pool->max_threads = config->limit_threads;
    pp_cpus_init(&pool->cpus, config->cpus, config->cpus_each);
    pool->watches = config->limit_memory != 0 || config->limit_cpu != 0 || pp_limits_count(pool);
    pool->watch_at = pool->stops_at = pool->health_at = PP_NEVER;
    pool->watch_pause = PP_MS;
    pool->armed = pool->progress_at = pool->recall_at = pool->close_at = pool->dumps_at = PP_NEVER;
    pp_life_init(&pool->life, config);
    pool->generation = 1;
    pool->supervisor = (struct pp_supervisor){.calls = &pp_pool_supervisor_calls,
                                              .token = pool,
                                              .plan = &pool->plan,
                                              .find = pp_pool_find_worker,
                                              .find_pid = pp_violation_find};
    return pool;
}

void pp_pool_destroy(struct pyproc_pool *pool)
{
    pp_functions_unref(pool->functions);
    pp_functions_unref(pool->reload.functions);
    pp_sticky_deinit(&pool->sticky);
    free(pool->buckets);
    free(pool->expiry);
    if (pool->start_error) {
        pyproc_reply_clear(&pool->start_error->reply);
        free(pool->start_error);
    }
    pp_stock_close(pool->stock); /* what is still lent is freed by whoever has it */
    pp_stock_unref(pool->stock);
    pp_groups_close(&pool->supervisor.groups); /* the loop has, if it ran */
    pp_plan_deinit(&pool->plan);
    pp_fork_mark_deinit(&pool->mark);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool);
}

static int start(struct pyproc_pool *pool, const struct pyproc_config *config)
{
    int r = pp_plan_init(&pool->plan, config);

    if (r == 0 && pool->plan.groups)
        r = pp_groups_open(&pool->supervisor.groups, pool->plan.groups);
    if (r == 0)
        r = pp_loop_new(&pp_pool_loop_calls, pool, &pool->loop);
    if (r < 0)
        return r;
    pool->supervisor.loop = pool->loop;
    pool->supervisor.oom_kills = pp_usage_oom_kills();
    return pp_loop_start(pool->loop);
}

PYPROC_API int pyproc_pool_open(const struct pyproc_config *config, const struct pyproc_wait *wait,
                                struct pyproc_reply *reply, struct pyproc_pool **poolp)
{
    struct pyproc_pool *pool;
    int r = check(config);

    pp_reply_init(reply);
    if (r < 0)
        return r;
    pool = pool_new(config);
    if (!pool)
        return pp_fail(-ENOMEM, "make a pool");
    r = start(pool, config);
    if (r < 0) {
        pool->loop = pp_loop_free(pool->loop);
        pp_pool_destroy(pool);
        return r;
    }
    pp_pool_await_first(pool, wait, reply);
    if (reply->end != PYPROC_END_VALUE) {
        (void)pyproc_pool_close(pool, 0, NULL);
        pyproc_pool_free(pool);
        return 0;
    }
    *poolp = pool;
    return 0;
}

PYPROC_API void pyproc_pool_free(struct pyproc_pool *pool)
{
    bool closed;

    if (!pool || pp_pool_forked(pool))
        return; /* the parent's memory, copied: nothing in it may be touched */
    (void)pthread_mutex_lock(&pool->lock);
    closed = pool->state == PP_POOL_CLOSED;
    if (!closed) {
        pool->orphan = true;
        pool->state = PP_POOL_CLOSING;
        pp_loop_detach(pool->loop);
        pp_loop_wake(pool->loop);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (!closed)
        return; /* the loop kills, and frees */
    pool->loop = pp_loop_free(pool->loop);
    pp_pool_destroy(pool);
}

static void forget_descriptors(const struct pp_worker *worker)
{
    (void)close(worker->channel.fd);
    (void)close(worker->events.fd);
    (void)close(worker->output[0].fd);
    (void)close(worker->output[1].fd);
    (void)close(worker->pidfd);
    (void)close(worker->crash_fd);
}

PYPROC_API void pyproc_pool_after_fork(struct pyproc_pool *pool)
{
    struct pp_list *at;

    /* No lock: the thread that held it does not exist here. Another thread may have been
     * changing the ring when the fork came, so the walk is bounded. */
    at = pool->slots.next;
    for (unsigned i = 0; at && at != &pool->slots && i < 2 * PP_WORKERS_MAX; i++, at = at->next)
        forget_descriptors(&pp_container(at, struct pp_slot, link)->worker);
    at = pool->templates.next;
    for (unsigned i = 0; at && at != &pool->templates && i < PP_WORKERS_MAX; i++, at = at->next)
        forget_descriptors(&pp_container(at, struct pp_template, link)->worker);
    if (pool->supervisor.groups.kind)
        (void)close(pool->supervisor.groups.directory);
    if (pool->supervisor.keeper)
        (void)close(pp_keeper_fd(pool->supervisor.keeper));
}
