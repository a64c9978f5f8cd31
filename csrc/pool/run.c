/* run.c - what the loop thread does in a turn: dooms, deadlines, starts, burials, the
 * line, the steps of closing, and the next time to wake up. */
#include "pool/pool.h"
#include "pool/share.h"

#include "pool/guest.h"

#include "base/error.h"
#include "base/futex.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* gcc's analyzer does not follow a slot into the pool's ring, nor calloc's zeroes out of it. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#pragma GCC diagnostic ignored "-Wanalyzer-use-of-uninitialized-value"
#endif

/* Back-off between failing starts: 0.1 s, doubled, at most 30 s, plus up to a quarter. Up to
 * START_TRIES that were ended by somebody else in a row are tried again after the first pause. */
#define START_PAUSE (PP_SECOND / 10)
#define START_PAUSE_MAX (30 * PP_SECOND)
#define START_TRIES 8

#define EACH_SLOT(pool, at, after)                                                \
    for ((at) = (pool)->slots.next, (after) = (at)->next; (at) != &(pool)->slots; \
         (at) = (after), (after) = (at)->next)

static struct pp_slot *slot_at(struct pp_list *at)
{
    return pp_container(at, struct pp_slot, link);
}

struct pp_worker *pp_pool_find_worker(void *token, uint32_t id)
{
    struct pyproc_pool *pool = token;
    struct pp_template *template = pp_pool_find_template(pool, id);
    struct pp_worker *oldest = template ? &template->worker : NULL;
    struct pp_list *at, *after;

    if (oldest && id != 0)
        return oldest;
    EACH_SLOT(pool, at, after)
    {
        struct pp_slot *slot = slot_at(at);

        if (slot->buried || (id != 0 && slot->worker.id != id))
            continue;
        if (!oldest || slot->worker.born < oldest->born)
            oldest = &slot->worker;
        if (id != 0)
            break;
    }
    return oldest;
}

/* --- starting ------------------------------------------------------------------ */

static void remember_failure(struct pyproc_pool *pool, struct pyproc_reply *from)
{
    if (!pool->start_error)
        pool->start_error = calloc(1, sizeof *pool->start_error);
    if (!pool->start_error)
        return;
    pyproc_reply_clear(&pool->start_error->reply);
    pool->start_error->reply.end = PYPROC_END_START;
    pp_reply_copy(&pool->start_error->reply, from);
    pool->start_error->reply.end = PYPROC_END_START;
}

/* Whether somebody else ended a worker that was being started: by hand, the kernel or the host
 * short of memory, or with its keeper. That says nothing about the application. */
bool pp_pool_was_victim(const struct pp_worker *worker)
{
    const char *cause = worker->death.cause;

    if (strcmp(cause, "host") == 0)
        return true;
    return !worker->start && (strcmp(cause, "keeper") == 0 || strcmp(cause, "template") == 0 ||
                              strcmp(cause, "oom") == 0 ||
                              (strcmp(cause, "signal") == 0 && worker->death.signal == SIGKILL));
}

/* Lock held: nobody gets a worker while none lives and none can be started. Those who wait
 * outlast some starts that failed by no fault of the application, and these come soon again. */
static void start_failed(struct pyproc_pool *pool, struct pyproc_reply *why, int64_t born,
                         bool victim, struct pp_done *done)
{
    int64_t pause = START_PAUSE;

    pp_count(&pool->metrics.start_failures);
    pp_notice(pool, "start_failed", NULL, why->text ? why->text : "the application failed");
    if (born >= pool->failed_at) { /* those that were started together failed together: once */
        pool->failed_at = pp_now();
        if (victim && pool->start_victims < START_TRIES)
            pool->start_victims++;
        else
            pool->start_failures++;
    }
    for (unsigned i = 1; i < pool->start_failures && pause < START_PAUSE_MAX; i++)
        pause *= 2;
    if (pause > START_PAUSE_MAX)
        pause = START_PAUSE_MAX;
    pool->next_start = pp_now() + pause + (pp_now() % (pause / 4));
    remember_failure(pool, why);
    if (victim && pool->start_victims < START_TRIES)
        return;
    if (pp_pool_census(pool).live == 0)
        pp_pool_end_waiting(pool, PYPROC_END_START, "and there is no memory to say why",
                            pool->start_error ? &pool->start_error->reply : NULL, done);
}

static struct pp_slot *slot_new(struct pyproc_pool *pool, unsigned generation)
{
    struct pp_slot *slot = calloc(1, sizeof *slot);

    if (!slot)
        return NULL;
    pp_list_init(&slot->link);
    pp_list_init(&slot->idle);
    pp_list_init(&slot->inflight);
    pp_list_init(&slot->own);
    pp_list_init(&slot->bonds);
    slot->deadline = slot->due_at = slot->health.look_at = PP_NEVER;
    slot->generation = generation;
    pp_worker_init(&slot->worker);
    (void)pthread_mutex_lock(&pool->lock);
    pp_list_push_back(&pool->slots, &slot->link);
    (void)pthread_mutex_unlock(&pool->lock);
    return slot;
}

static void slot_free(struct pyproc_pool *pool, struct pp_slot *slot)
{
    (void)pthread_mutex_lock(&pool->lock);
    pp_list_remove(&slot->link);
    pp_list_remove(&slot->idle);
    (void)pthread_mutex_unlock(&pool->lock);
    pp_memory_drop(slot);
    free(slot);
}

enum { COMING = 1 }; /* something is on its way: more cannot be started now */

int pp_pool_start_slot(struct pyproc_pool *pool, struct pp_template *template, unsigned generation,
                       struct pp_slot **slotp)
{
    struct pp_slot *slot = slot_new(pool, generation);
    int r;

    if (!slot)
        return -ENOMEM;
    pool->next_worker++;
    if (template)
        r = pp_template_fork(template, &slot->worker, &pool->supervisor, pool->next_worker);
    else
        r = pp_worker_start(&slot->worker, &pool->supervisor, pool->next_worker);
    if (r < 0) {
        slot_free(pool, slot);
        return r;
    }
    pp_count(&pool->metrics.workers_started);
    pp_notice(pool, "start", &slot->worker, template ? "template" : "exec");
    *slotp = slot;
    return 0;
}

static int start_worker(struct pyproc_pool *pool)
{
    struct pp_template *template = NULL;
    struct pp_slot *slot;
    int r;

    if (pool->start_method != PYPROC_START_EXEC) {
        template = pool->template;
        if (!template) {
            r = pp_pool_want_template(pool);
            return r < 0 ? r : COMING;
        }
    }
    r = pp_pool_start_slot(pool, template, pool->generation, &slot);
    if (template && (r == -EPIPE || r == -ECONNRESET)) {
        /* It is dead, and the report of that comes: with it the next one is started. */
        (void)pp_worker_doom(&template->worker, "channel");
        return COMING;
    }
    return r;
}

/* Lock not held: what it does in the kernel takes its time. */
static int start_one(struct pyproc_pool *pool, struct pp_done *done)
{
    int r = start_worker(pool);

    if (r < 0) {
        struct pyproc_reply why = {0};

        pp_reply_end(&why, PYPROC_END_START, pp_fail_text());
        (void)pthread_mutex_lock(&pool->lock);
        start_failed(pool, &why, pp_now(), r == -EPIPE || r == -EAGAIN, done);
        (void)pthread_mutex_unlock(&pool->lock);
        pyproc_reply_clear(&why);
        return r;
    }
    if (pool->supervisor.keeper) /* gone with it may be what is still on its way */
        pool->keeper_pid = (int32_t)pp_keeper_pid(pool->supervisor.keeper);
    return r;
}

static void start_missing(struct pyproc_pool *pool, struct pp_done *done)
{
    unsigned n;

    if (pool->next_start > pp_now())
        return;
    (void)pthread_mutex_lock(&pool->lock);
    n = pp_life_missing(pool);
    (void)pthread_mutex_unlock(&pool->lock);
    while (n-- > 0 && start_one(pool, done) == 0)
        ;
}

/* --- the supervisor's news ------------------------------------------------------ */

/* The first worker or template of a generation says what there is to call. */
static void on_hello(void *token, struct pp_worker *worker,
                     const struct pp_message_hello_reply *reply)
{
    struct pyproc_pool *pool = token;
    bool next = worker->role == PP_ROLE_TEMPLATE ? pp_template_of(worker) == pool->reload.template
                                                 : pp_slot_of(worker) == pool->reload.probe;
    struct pp_functions **place = next ? &pool->reload.functions : &pool->functions;

    (void)pthread_mutex_lock(&pool->lock);
    if (!*place)
        *place = pp_functions_new(reply);
    (void)pthread_mutex_unlock(&pool->lock);
}

static void on_ready(void *token, struct pp_worker *worker)
{
    struct pyproc_pool *pool = token;
    struct pp_slot *slot = pp_slot_of(worker);

    if (worker->role == PP_ROLE_TEMPLATE) {
        pp_pool_template_ready(pool, worker);
        pp_pool_turn(pool);
        return;
    }
    (void)pthread_mutex_lock(&pool->lock);
    pp_limits_ready(pool, slot);
    pool->start_failures = pool->start_victims = 0;
    pool->next_start = 0;
    pp_notice(pool, "ready", worker, "");
    if (!slot->probe || pp_reload_probe_ready(pool, slot))
        pp_life_ready(pool, slot);
    (void)pthread_mutex_unlock(&pool->lock);
    pp_pool_turn(pool);
}

void pp_pool_explain_start(const struct pp_worker *worker, struct pyproc_reply *why)
{
    char text[200];

    if (worker->start) {
        pp_reply_copy(why, &worker->start->reply);
        pp_reply_death(why, &worker->death);
        return;
    }
    if (strcmp(worker->death.cause, "start timeout") == 0)
        (void)snprintf(text, sizeof text, "the worker was not ready in time; it was killed");
    else if (worker->death.exit_code >= 0)
        (void)snprintf(text, sizeof text, "the worker left with exit code %d before it was ready",
                       worker->death.exit_code);
    else
        (void)snprintf(text, sizeof text, "the worker died by signal %d before it was ready (%s)",
                       worker->death.signal, worker->death.cause);
    pp_worker_obituary(worker, why);
    pp_reply_end(why, PYPROC_END_START, text);
}

/* Whether a signal ended an application that has started before: it may have come from outside. */
static bool has_worked(const struct pyproc_pool *pool, const struct pp_worker *worker)
{
    return !worker->start && worker->death.signal && pool->functions;
}

/* Lock held: the end of a start that callers wait for. */
static void tell_start_failed(struct pyproc_pool *pool, const struct pp_worker *worker,
                              struct pp_done *done)
{
    struct pyproc_reply why = {0};

    pp_pool_explain_start(worker, &why);
    start_failed(pool, &why, worker->born, pp_pool_was_victim(worker) || has_worked(pool, worker),
                 done);
    pyproc_reply_clear(&why);
}

static void on_template_dead(struct pyproc_pool *pool, struct pp_worker *worker)
{
    struct pp_done done = {0};
    bool failed = pp_pool_template_dead(pool, worker);

    (void)pthread_mutex_lock(&pool->lock);
    if (failed && pool->state < PP_POOL_CLOSING)
        tell_start_failed(pool, worker, &done);
    (void)pthread_mutex_unlock(&pool->lock);
    pp_done_flush(&done);
    pp_pool_turn(pool);
}

static void on_dead(void *token, struct pp_worker *worker)
{
    struct pyproc_pool *pool = token;
    struct pp_slot *slot = pp_slot_of(worker);
    struct pp_done done = {0};

    if (worker->role == PP_ROLE_TEMPLATE) {
        on_template_dead(pool, worker);
        return;
    }
    pp_count(&pool->metrics.workers_died);
    (void)pthread_mutex_lock(&pool->lock);
    slot->buried = true;
    pp_list_remove(&slot->idle);
    pp_notice_death(pool, slot);
    if (slot->owner == PP_OWNER_LOOP)
        pp_answer_dead(pool, slot, &done);
    if (slot->probe)
        pp_reload_probe_dead(pool, slot);
    else if (!slot->was_ready && pool->state < PP_POOL_CLOSING)
        tell_start_failed(pool, worker, &done);
    (void)pthread_mutex_unlock(&pool->lock);
    pp_pool_template_crash(pool, worker);
    pp_done_flush(&done);
    pp_pool_turn(pool);
}

static void on_call_readable(void *token, struct pp_worker *worker)
{
    struct pyproc_pool *pool = token;

    pp_answer_readable(pool, pp_slot_of(worker));
    pp_pool_turn(pool);
}

static void on_printed(void *token, struct pp_worker *worker)
{
    if (worker->role == PP_ROLE_WORKER)
        pp_pool_printed(token, pp_slot_of(worker));
}

static bool on_progress(void *token, struct pp_worker *worker,
                        const struct pp_message_progress *progress)
{
    /* A template runs no calls. */
    return worker->role == PP_ROLE_WORKER && pp_progress_came(token, pp_slot_of(worker), progress);
}

const struct pp_supervisor_calls pp_pool_supervisor_calls = {
    .progress = on_progress,
    .event = pp_violation_event,
    .strayed = pp_violation_strayed,
    .ready = on_ready,
    .readable = on_call_readable,
    .written = pp_share_written,
    .dead = on_dead,
    .hello = on_hello,
    .printed = on_printed,
    .stopped = pp_health_stopped,
};

/* --- a turn; lock held unless said ---------------------------------------------- */

static void carry_out_dooms(struct pyproc_pool *pool)
{
    struct pp_list *at, *after;

    if (!atomic_exchange(&pool->supervisor.doomed, false) && pool->dumps_at == PP_NEVER)
        return;
    pool->dumps_at = PP_NEVER;
    EACH_SLOT(pool, at, after)
    {
        struct pp_slot *slot = slot_at(at);

        if (!slot->buried && atomic_load(&slot->worker.cause)) {
            pp_list_remove(&slot->idle);
            pp_pool_kill(pool, &slot->worker);
        }
    }
    pp_pool_templates_kill(pool);
}

/* Lock held: a slot's time is over. */
static void overdue(struct pyproc_pool *pool, struct pp_slot *slot, int64_t now)
{
    enum pp_soft soft = slot->soft;

    slot->deadline = PP_NEVER;
    if (slot->ending || slot->retired)
        (void)pp_worker_doom(&slot->worker, slot->ending ? "channel" : "retired");
    else if (soft != PP_SOFT_NONE)
        (void)pp_worker_doom(&slot->worker, soft == PP_SOFT_TIMEOUT ? "timeout" : "cancel");
    else
        pp_pool_stop(pool, slot, PP_SOFT_TIMEOUT, now);
}

static void check_deadlines(struct pyproc_pool *pool, int64_t now, struct pp_done *done)
{
    struct pp_list *at, *after;

    EACH_SLOT(pool, at, after)
    {
        struct pp_slot *slot = slot_at(at);

        if (slot->buried)
            continue;
        if (slot->worker.start_deadline <= now && !slot->was_ready) {
            slot->worker.start_deadline = PP_NEVER; /* it has passed: nothing to wake up for */
            (void)pp_worker_doom(&slot->worker, "start timeout");
        }
        if (slot->deadline <= now && slot->share != PP_SHARE_NONE && !slot->ending)
            pp_share_overdue(pool, slot, now);
        else if (slot->deadline <= now && !pp_stream_goes_on(pool, slot, now))
            overdue(pool, slot, now);
    }
    while (pool->n_expiry > 0 && pool->expiry[0]->queue_deadline <= now) {
        struct pp_call *call = pool->expiry[0];

        pp_reply_end(&call->item->reply, PYPROC_END_QUEUE_TIMEOUT, "no worker was free in time");
        pp_call_end(pool, call, done);
    }
}

static void close_workers(struct pyproc_pool *pool, struct pp_done *done)
{
    struct pp_list *at, *after;

    pp_pool_end_waiting(pool, PYPROC_END_CLOSED, "the pool was closed", NULL, done);
    EACH_SLOT(pool, at, after)
    {
        struct pp_slot *slot = slot_at(at);

        if (slot->buried || slot->retired)
            continue;
        if (!pool->hurry && !pp_list_empty(&slot->idle))
            pp_life_retire(pool, slot);
        else
            (void)pp_worker_doom(&slot->worker, "closed");
    }
}

/* Frees the dead that nobody leases. */
static void sweep(struct pyproc_pool *pool)
{
    struct pp_list *at, *after;

    EACH_SLOT(pool, at, after)
    {
        struct pp_slot *slot = slot_at(at);

        if (!slot->buried || slot->owner != PP_OWNER_NONE)
            continue;
        pp_list_remove(&slot->link);
        pp_worker_deinit(&slot->worker);
        pp_memory_drop(slot);
        pp_stock_forget(pool->stock, slot->worker.id);
        free(slot);
    }
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void arm(struct pyproc_pool *pool)
{
    int64_t at = earlier(earlier(pool->recall_at, pool->close_at), pool->dumps_at);
    struct pp_list *link, *after;

    at = earlier(at, earlier(earlier(pool->stops_at, pool->health_at), pool->progress_at));
    at = earlier(at, earlier(pool->watch_at, pp_pool_templates_next(pool)));
    at = earlier(at, pp_life_next(pool));
    if (pool->n_expiry > 0)
        at = earlier(at, pool->expiry[0]->queue_deadline);
    if (pool->next_start > pp_now() && pp_life_missing(pool) > 0)
        at = earlier(at, pool->next_start);
    EACH_SLOT(pool, link, after)
    {
        struct pp_slot *slot = slot_at(link);

        if (slot->buried)
            continue;
        at = earlier(at, slot->deadline);
        if (!slot->was_ready)
            at = earlier(at, earlier(slot->worker.start_deadline, slot->worker.fork_deadline));
    }
    /* A kill that found the keeper's socket full is tried again. */
    if (atomic_load(&pool->supervisor.doomed))
        at = earlier(at, pp_now() + 10 * PP_MS);
    if (at == pool->armed)
        return;
    pool->armed = at;
    pp_loop_timer(pool->loop, at);
}

static void locked_turn(struct pyproc_pool *pool, struct pp_done *done)
{
    int64_t now = pp_now();

    check_deadlines(pool, now, done);
    pp_pool_templates_due(pool, now);
    pp_limits_due(pool, now);
    if (pool->recall_at <= now) {
        pool->recall_at = PP_NEVER;
        pp_recall_all(pool, done);
    }
    if (pool->progress_at <= now)
        pp_progress_turn(pool, now);
    if (pool->streams_due)
        pp_streams_turn(pool, now, done);
    pp_life_turn(pool, now);
    if (pool->state >= PP_POOL_CLOSING)
        close_workers(pool, done);
    carry_out_dooms(pool);
    pp_dispatch(pool, done);
    sweep(pool);
    pp_pool_templates_sweep(pool);
}

void pp_pool_turn(struct pyproc_pool *pool)
{
    struct pp_done done = {0};
    bool over;

    pp_guest_turn(pool);
    (void)pthread_mutex_lock(&pool->lock);
    locked_turn(pool, &done);
    (void)pthread_mutex_unlock(&pool->lock);
    pp_dispatch_send(pool);
    start_missing(pool, &done);
    pp_reload_turn(pool);
    (void)pthread_mutex_lock(&pool->lock);
    carry_out_dooms(pool); /* sending may have doomed one */
    arm(pool);
    over = pool->state == PP_POOL_CLOSING && pp_list_empty(&pool->slots) &&
           pp_list_empty(&pool->templates) && pp_list_empty(&pool->guests);
    (void)pthread_mutex_unlock(&pool->lock);
    pp_done_flush(&done);
    if (over) {
        pp_supervisor_deinit(&pool->supervisor);
        pp_loop_stop(pool->loop);
    }
}

static void woken(void *token)
{
    pp_pool_turn(token);
}

static void timed(void *token)
{
    struct pyproc_pool *pool = token;

    (void)pthread_mutex_lock(&pool->lock);
    pool->armed = PP_NEVER; /* it has fired */
    (void)pthread_mutex_unlock(&pool->lock);
    pp_pool_turn(pool);
}

static void thread_ended(void *token)
{
    struct pyproc_pool *pool = token;
    bool orphan;

    /* Nobody writes to it any more, and a closed pool may be kept for long. */
    pyproc_queue_unref(pool->plan.events);
    pool->plan.events = NULL;
    (void)pthread_mutex_lock(&pool->lock);
    pool->state = PP_POOL_CLOSED;
    orphan = pool->orphan;
    (void)pthread_mutex_unlock(&pool->lock);
    if (orphan)
        pp_pool_destroy(pool);
    else
        pp_futex_set(&pool->closed, 1);
}

const struct pp_loop_calls pp_pool_loop_calls = {
    .woken = woken,
    .timer = timed,
    .ended = thread_ended,
};
