/* template.c - the pool's templates: when one is needed, when it is renewed, what its death
 * means. All of it is the loop thread's; the list and the words are read under the lock.
 *
 *   coming: starting, to be the next one      template: ready, forks workers
 *
 * A template that is replaced or killed takes nobody along: its workers are the keeper's.
 */
#include "pool/pool.h"

#include "supervisor/usage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers that no worker has. */
#define TEMPLATE_IDS UINT32_C(0x80000000)

/* All forks of one template have one address layout: who may crash often enough learns it. */
enum { CRASHES_MAX = 20 };

/* A template's end takes those along that it has forked and that lead no session yet. */
#define RETIRE_TIME (1 * PP_SECOND)

static void say_why(struct pyproc_pool *pool, enum pyproc_start method, const char *why)
{
    (void)pthread_mutex_lock(&pool->lock);
    pool->start_method = method;
    (void)snprintf(pool->start_reason, sizeof pool->start_reason, "%.190s", why);
    (void)pthread_mutex_unlock(&pool->lock);
}

static bool may_start(struct pyproc_pool *pool)
{
    bool open;

    (void)pthread_mutex_lock(&pool->lock);
    open = pool->state == PP_POOL_OPEN;
    (void)pthread_mutex_unlock(&pool->lock);
    return open && pool->next_start <= pp_now();
}

int pp_pool_want_template(struct pyproc_pool *pool)
{
    struct pp_template *template;
    int r;

    if (pool->coming)
        return 0;
    template = calloc(1, sizeof *template);
    if (!template)
        return -ENOMEM;
    r = pp_template_start(template, &pool->supervisor, TEMPLATE_IDS + ++pool->next_template);
    if (r < 0) {
        free(template);
        return r;
    }
    pp_count(&pool->metrics.templates_started);
    pp_notice(pool, "template_start", &template->worker, "");
    pool->coming = template;
    (void)pthread_mutex_lock(&pool->lock);
    pp_list_push_back(&pool->templates, &template->link);
    (void)pthread_mutex_unlock(&pool->lock);
    return 0;
}

/* It said that it is ready; the kernel says whether it may be forked. */
static bool is_safe(struct pyproc_pool *pool, struct pp_template *template)
{
    char threads[128], text[320];

    if (pp_template_threads(template, threads, sizeof threads) == 0)
        return true;
    if (pool->start_method == PYPROC_START_AUTO) {
        (void)snprintf(text, sizeof text, "auto: the template had %s", threads);
        say_why(pool, PYPROC_START_EXEC, text);
        (void)pp_worker_doom(&template->worker, "threads");
        return false;
    }
    template->worker.start = calloc(1, sizeof *template->worker.start);
    (void)snprintf(
        text, sizeof text,
        "start_method 'template' is not safe here: once imported the application has %s; "
        "start them in on_start, or use 'auto' or 'exec'",
        threads);
    if (template->worker.start)
        pp_reply_end(&template->worker.start->reply, PYPROC_END_START, text);
    (void)pp_worker_doom(&template->worker, "start");
    return false;
}

void pp_pool_template_ready(struct pyproc_pool *pool, struct pp_worker *worker)
{
    struct pp_template *template = pp_template_of(worker);
    struct pp_template *old = pool->template;

    if (!is_safe(pool, template))
        return;
    if (pool->start_method == PYPROC_START_AUTO)
        say_why(pool, PYPROC_START_AUTO, "auto: the template has one thread");
    if (pp_reload_template_ready(pool, template))
        return;
    pool->template = template;
    pool->coming = NULL;
    pp_pool_template_retire(old);
}

void pp_pool_template_retire(struct pp_template *template)
{
    if (template)
        template->retire_at = pp_after(pp_now(), RETIRE_TIME);
}

struct pp_template *pp_pool_find_template(struct pyproc_pool *pool, uint32_t id)
{
    struct pp_template *oldest = NULL;
    struct pp_list *at;

    for (at = pool->templates.next; at != &pool->templates; at = at->next) {
        struct pp_template *template = pp_container(at, struct pp_template, link);

        if (template->buried || (id != 0 && template->worker.id != id))
            continue;
        if (!oldest || template->worker.born < oldest->worker.born)
            oldest = template;
    }
    return oldest;
}

void pp_pool_template_crash(struct pyproc_pool *pool, const struct pp_worker *child)
{
    struct pp_template *template;

    if (!child->template || pp_worker_end(child) != PYPROC_END_CRASHED)
        return;
    template = pp_pool_find_template(pool, child->template);
    if (template && ++template->crashes >= CRASHES_MAX && template == pool->template &&
        may_start(pool))
        (void)pp_pool_want_template(pool);
}

/* A worker that it was asked for and has not forked. */
static struct pp_worker *unborn(struct pyproc_pool *pool, uint32_t template)
{
    struct pp_list *at;

    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if (!slot->buried && slot->worker.template == template &&
            slot->worker.fork_deadline != PP_NEVER)
            return &slot->worker;
    }
    return NULL;
}

bool pp_pool_template_dead(struct pyproc_pool *pool, struct pp_worker *worker)
{
    struct pp_template *template = pp_template_of(worker);
    bool was_coming = template == pool->coming;
    uint32_t id = worker->id;
    bool failed = was_coming && !pool->template && strcmp(worker->death.cause, "threads") != 0 &&
                  strcmp(worker->death.cause, "renewed") != 0;

    template->buried = true;
    (void)pthread_mutex_lock(&pool->lock);
    pp_violation_death(pool, NULL, worker);
    (void)pthread_mutex_unlock(&pool->lock);
    pp_notice(pool, "template_end", worker, worker->death.cause);
    if (was_coming)
        pool->coming = NULL;
    if (was_coming && pool->template)
        pool->template->crashes = 0; /* the old one goes on, and this is tried again later */
    if (template == pool->template) {
        pool->template = NULL;
        if (may_start(pool))
            (void)pp_pool_want_template(pool);
    }
    pp_reload_template_dead(pool, template);
    while ((worker = unborn(pool, id)) != NULL)
        pp_supervisor_orphaned(worker); /* a turn comes with it that frees the template */
    return failed;
}

/* A stop that somebody takes back at once costs nothing. */
#define STOP_TIME (100 * PP_MS)

void pp_pool_template_stopped(struct pp_worker *worker)
{
    /* While it imports, its start has a time of its own. */
    if (atomic_load(&worker->state) == PP_WORKER_READY)
        pp_template_of(worker)->look_at = pp_after(pp_now(), STOP_TIME);
}

void pp_pool_templates_due(struct pyproc_pool *pool, int64_t now)
{
    struct pp_list *at;

    for (at = pool->templates.next; at != &pool->templates; at = at->next) {
        struct pp_template *template = pp_container(at, struct pp_template, link);
        struct pp_worker *worker = &template->worker;

        if (template->retire_at <= now) {
            template->retire_at = PP_NEVER;
            (void)pp_worker_doom(worker, "renewed");
        }
        if (worker->start_deadline <= now) {
            worker->start_deadline = PP_NEVER;
            (void)pp_worker_doom(worker, "start timeout");
        }
        if (template->look_at <= now) {
            template->look_at = PP_NEVER;
            if (!template->buried && pp_usage_stopped(atomic_load(&worker->pid)))
                (void)pp_worker_doom(worker, "stopped");
        }
        if (pool->state >= PP_POOL_CLOSING)
            (void)pp_worker_doom(worker, "closed");
    }
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);
        struct pp_template *stuck;

        if (slot->buried || slot->worker.fork_deadline > now)
            continue;
        stuck = pp_pool_find_template(pool, slot->worker.template);
        if (stuck)
            (void)pp_worker_doom(&stuck->worker, "stuck");
    }
}

void pp_pool_templates_kill(struct pyproc_pool *pool)
{
    struct pp_list *at;

    for (at = pool->templates.next; at != &pool->templates; at = at->next) {
        struct pp_template *template = pp_container(at, struct pp_template, link);

        if (!template->buried && atomic_load(&template->worker.cause))
            pp_pool_kill(pool, &template->worker);
    }
}

int64_t pp_pool_templates_next(const struct pyproc_pool *pool)
{
    int64_t next = PP_NEVER;
    const struct pp_list *at;

    for (at = pool->templates.next; at != &pool->templates; at = at->next) {
        const struct pp_template *template = pp_container(at, const struct pp_template, link);

        if (!template->buried && template->worker.start_deadline < next)
            next = template->worker.start_deadline;
        if (!template->buried && template->retire_at < next)
            next = template->retire_at;
        if (!template->buried && template->look_at < next)
            next = template->look_at;
    }
    return next;
}

void pp_pool_templates_sweep(struct pyproc_pool *pool)
{
    struct pp_list *at = pool->templates.next;

    while (at != &pool->templates) {
        struct pp_template *template = pp_container(at, struct pp_template, link);

        at = at->next;
        if (!template->buried)
            continue;
        pp_list_remove(&template->link);
        pp_worker_deinit(&template->worker);
        free(template);
    }
}
