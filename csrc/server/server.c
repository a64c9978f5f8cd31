/* server.c - the server's life, seen from the threads that own it, and its turns on the loop.
 *
 * Callers leave what they want under the lock and ring the bell; the loop carries it out and
 * wakes them by a futex. The server is gone when its last watch is.
 */
#include "server/server.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/futex.h"
#include "event/loop.h"
#include "event/queue.h"
#include "pool/pool.h"
#include "wire/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

PYPROC_API void pyproc_server_config_init(struct pyproc_server_config *config)
{
    *config = (struct pyproc_server_config){
        .listening = -1,
        .mode = 0600,
        .directory_mode = 0700,
        .owner = UINT32_MAX,
        .group = UINT32_MAX,
        .max_clients = 10000,
        .max_in_flight = 64,
        .max_frame = (size_t)16 << 20,
        .max_client_bytes = (size_t)32 << 20,
        .max_bytes = (size_t)256 << 20,
        .handshake_timeout = 5 * PP_SECOND,
        .idle_timeout = PYPROC_FOREVER,
    };
}

/* ---- the loop's side ---- */

void pp_server_time(struct pyproc_server *server)
{
    const struct itimerspec second = {{1, 0}, {1, 0}};

    if (server->is_timing)
        return;
    server->is_timing = true;
    (void)timerfd_settime(server->timer_fd, 0, &second, NULL);
}

static void on_time(void *token, int events)
{
    static const struct itimerspec never;
    struct pyproc_server *server = token;
    struct pp_list *at, *after;
    int64_t now = pp_now();
    bool waits = false;
    uint64_t times;

    (void)events;
    (void)!read(server->timer_fd, &times, sizeof times);
    for (at = server->conns.next; at != &server->conns; at = after) {
        struct pp_conn *conn = pp_container(at, struct pp_conn, link);

        after = at->next;
        (void)pp_conn_due(conn, now);
        waits = waits || (conn->state != PP_CONN_DEAD && pp_conn_waits(conn));
    }
    if (server->accept_again) {
        waits = true;
        if (server->accept_again <= now) {
            server->accept_again = 0;
            (void)pp_watch_set(server->accepts, PP_WATCH_READ);
        }
    }
    if (!waits && !server->starved) {
        server->is_timing = false;
        (void)timerfd_settime(server->timer_fd, 0, &never, NULL);
    }
    pp_server_settle(server);
}

/* Whoever was not read from for want of room has another try. */
static void feed_the_starved(struct pyproc_server *server)
{
    struct pp_list *at, *after;

    server->starved = false;
    for (at = server->conns.next; at != &server->conns; at = after) {
        after = at->next;
        pp_conn_resume(pp_container(at, struct pp_conn, link));
    }
}

static bool is_idle(const struct pyproc_server *server)
{
    return server->stats.calls_running == 0 && server->stats.calls_waiting == 0;
}

static void leave(struct pyproc_server *server)
{
    pp_loop_each_turn(pp_guest_loop(server->lanes[0].pool), NULL, NULL);
    server->ends = pp_watch_free(server->ends);
    server->bell = pp_watch_free(server->bell);
    server->timer = pp_watch_free(server->timer);
    pp_guest_leave(server->lanes[0].pool, &server->guest);
    pp_futex_set(&server->drained, 1);
    pp_futex_set(&server->updated, atomic_load(&server->updated) + 1);
    pp_futex_set(&server->gone, 1); /* from here on it may be freed */
}

/* The last thing that every callback does. */
void pp_server_settle(struct pyproc_server *server)
{
    struct pp_list *at;

    if (server->starved && server->granted < server->max_bytes / 4 &&
        server->waiting_bytes < server->max_bytes / 4)
        feed_the_starved(server);
    while ((at = pp_list_pop_front(&server->again)) != NULL)
        pp_conn_resume(pp_container(at, struct pp_conn, again));
    while ((at = pp_list_pop_front(&server->dead)) != NULL)
        pp_conn_free(pp_container(at, struct pp_conn, link));
    if (server->accept_again && server->n_conns < server->max_clients / 2) {
        server->accept_again = 0;
        (void)pp_watch_set(server->accepts, PP_WATCH_READ);
    }
    server->stats.clients = server->n_conns;
    server->stats.held_bytes = server->granted + server->waiting_bytes;
    (void)pthread_mutex_lock(&server->lock);
    server->shown = server->stats;
    (void)pthread_mutex_unlock(&server->lock);
    if (server->drains && is_idle(server) && atomic_load(&server->drained) == 0)
        pp_futex_set(&server->drained, 1);
    if (server->stops && server->stats.calls_running == 0)
        leave(server);
}

static void start_draining(struct pyproc_server *server)
{
    const struct pp_message goodbye = {.kind = PP_MESSAGE_GOODBYE};
    struct pp_list *at, *after;

    pp_accept_stop(server);
    for (at = server->conns.next; at != &server->conns; at = after) {
        struct pp_conn *conn = pp_container(at, struct pp_conn, link);

        after = at->next;
        if (conn->state == PP_CONN_READY)
            pp_conn_send(conn, &goodbye);
    }
}

/* The pools' last ends are awaited: their tasks are ours to free. */
static void start_stopping(struct pyproc_server *server)
{
    server->drains = server->stops = true;
    pp_accept_stop(server);
    while (!pp_list_empty(&server->conns))
        pp_conn_drop(pp_container(server->conns.next, struct pp_conn, link), NULL);
}

/* Enough that no worker waits for the loop, and no more: what waits there keeps no order. */
static void set_window(struct pp_lane *lane)
{
    (void)pthread_mutex_lock(&lane->pool->lock);
    lane->window = 2 * lane->pool->max_workers + 2;
    (void)pthread_mutex_unlock(&lane->pool->lock);
}

static void update(struct pyproc_server *server, struct pp_rules *rules)
{
    (void)pp_rules_learn(server);
    pp_rules_install(server, rules);
    for (size_t i = 0; i < server->n_lanes; i++)
        set_window(&server->lanes[i]);
    pp_futex_set(&server->updated, atomic_load(&server->updated) + 1);
}

static void on_bell(void *token, int events)
{
    struct pyproc_server *server = token;
    struct pp_rules *rules;
    eventfd_t count;
    bool drains, stops, usage;

    (void)events;
    (void)eventfd_read(server->bell_fd, &count);
    (void)pthread_mutex_lock(&server->lock);
    rules = server->next_rules;
    server->next_rules = NULL;
    usage = server->wants_usage;
    drains = server->wants_drain && !server->drains;
    stops = server->wants_stop;
    (void)pthread_mutex_unlock(&server->lock);
    if (rules)
        update(server, rules);
    if (usage)
        pp_usage_show(server);
    if (drains) {
        server->drains = true;
        start_draining(server);
    }
    if (stops && !server->stops)
        start_stopping(server);
    pp_server_settle(server);
}

static int watch(struct pyproc_server *server, int fd, pp_watch_ready *ready,
                 struct pp_watch **watchp)
{
    int r = pp_watch_new(pp_guest_loop(server->lanes[0].pool), fd, ready, server, watchp);

    return r < 0 ? r : pp_watch_set(*watchp, PP_WATCH_READ);
}

/* Before the loop waits: what the pool has ended without a bell, and what it has not begun. Either
 * may lead to the other. */
static void on_turn(void *token)
{
    struct pyproc_server *server = token;

    if (server->has_submitted) {
        server->has_submitted = false;
        pp_guest_dispatch(server->lanes[0].pool);
    }
    while (pp_queue_has(server->answers)) {
        pp_answers_take(server);
        if (!server->has_submitted)
            continue;
        server->has_submitted = false;
        pp_guest_dispatch(server->lanes[0].pool);
    }
    pp_server_settle(server);
}

static void on_arrive(struct pp_guest *guest)
{
    struct pyproc_server *server = pp_container(guest, struct pyproc_server, guest);
    int r = watch(server, pyproc_queue_fd(server->answers), pp_answers_ready, &server->ends);

    if (r == 0)
        r = watch(server, server->bell_fd, on_bell, &server->bell);
    if (r == 0)
        r = watch(server, server->timer_fd, on_time, &server->timer);
    if (r == 0)
        r = watch(server, server->listener.fd, pp_accept_ready, &server->accepts);
    pp_queue_read_here(server->answers);
    pp_loop_each_turn(pp_guest_loop(server->lanes[0].pool), on_turn, server);
    if (r == 0)
        r = pp_rules_learn(server);
    if (r == 0)
        r = pp_access_know(server->rules->access, server->names, server->n_names);
    if (r < 0) {
        server->arrived_error = r;
        start_stopping(server);
        pp_server_settle(server);
    }
    pp_futex_set(&server->arrived, 1);
}

static void on_close(struct pp_guest *guest)
{
    struct pyproc_server *server = pp_container(guest, struct pyproc_server, guest);

    if (!server->stops)
        start_stopping(server);
    pp_futex_set(&server->arrived, 1);
    pp_server_settle(server);
}

/* ---- the callers' side ---- */

static void destroy(struct pyproc_server *server)
{
    struct pyproc_item *item = server->answers ? pyproc_queue_take(server->answers) : NULL;

    while (item) { /* ends that came after the loop had gone */
        struct pyproc_item *next = item->next;

        if (item->kind == PYPROC_ITEM_CALL) /* a stream's items share the token of its end */
            free(item->token);
        pyproc_item_free(item);
        item = next;
    }
    pyproc_queue_unref(server->answers);
    pyproc_queue_unref(server->events);
    pp_listener_close(&server->listener);
    server->bell_fd = pp_close(server->bell_fd);
    server->timer_fd = pp_close(server->timer_fd);
    for (size_t i = 0; i < server->n_names; i++)
        free((void *)(uintptr_t)server->names[i].data);
    free(server->names);
    free(server->lanes);
    (void)pp_rules_free(server->rules);
    (void)pp_rules_free(server->next_rules);
    free(server->usage);
    server->spare = pp_frame_reader_free(server->spare);
    pp_arena_deinit(&server->arena);
    (void)pthread_mutex_destroy(&server->lock);
    explicit_bzero(server->nobody, sizeof server->nobody);
    free(server);
}

static int check(const struct pyproc_server_config *config)
{
    if (config->n_pools < 1 || !config->pools)
        return pp_fail(-EINVAL, "serve without a pool");
    if (!config->path && config->listening < 0)
        return pp_fail(-EINVAL, "serve without a path or a listening socket");
    if (!config->policy)
        return pp_fail(-EINVAL, "serve without a policy");
    if (config->mode & ~0777U || config->directory_mode & ~0777U)
        return pp_fail(-EINVAL, "serve with a mode that is not between 0 and 0777");
    if (config->max_clients < 1 || config->max_in_flight < 1)
        return pp_fail(-EINVAL, "serve with max_clients and max_in_flight of 1 or more");
    if (config->max_frame < 4096 || config->max_frame > PP_FRAME_LIMIT)
        return pp_fail(-EINVAL, "serve with max_frame from 4096 to 0x50590000");
    if (config->max_bytes < config->max_frame)
        return pp_fail(-EINVAL, "serve with max_bytes below max_frame");
    if (config->handshake_timeout < 1 || config->idle_timeout < 1)
        return pp_fail(-EINVAL, "serve with times of 1 ns or more");
    return 0;
}

static int make_lanes(struct pyproc_server *server, const struct pyproc_server_config *config)
{
    server->lanes = calloc(config->n_pools, sizeof *server->lanes);
    if (!server->lanes)
        return -ENOMEM;
    for (size_t i = 0; i < config->n_pools; i++) {
        struct pyproc_pool *pool = config->pools[i];

        server->lanes[i].pool = pool;
        set_window(&server->lanes[i]);
        pp_list_init(&server->lanes[i].ring);
        if (config->max_frame > pool->plan.max_frame)
            return pp_fail(-EINVAL, "serve with max_frame above the pool's %zu",
                           pool->plan.max_frame);
    }
    server->n_lanes = config->n_pools;
    return 0;
}

static void copy_limits(struct pyproc_server *server, const struct pyproc_server_config *config)
{
    server->max_clients = config->max_clients;
    server->max_in_flight = config->max_in_flight;
    server->max_frame = config->max_frame;
    server->max_client_bytes = config->max_client_bytes;
    server->max_bytes = config->max_bytes;
    server->handshake_timeout = config->handshake_timeout;
    server->idle_timeout = config->idle_timeout;
    server->tells_allowed = config->tells_allowed != 0;
    server->sees_all = config->sees_all != 0;
    server->max_priority = config->max_priority;
}

static int prepare(struct pyproc_server *server, const struct pyproc_server_config *config)
{
    int r = make_lanes(server, config);

    if (r == 0)
        r = pp_rules_new(config->policy, config->n_pools, &server->rules);
    if (r == 0)
        r = pp_auth_random(server->nobody, sizeof server->nobody);
    if (r == 0)
        r = pp_auth_random(&server->run, sizeof server->run);
    if (r == 0)
        r = pyproc_queue_new(&server->answers);
    if (r < 0)
        return r;
    server->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (server->bell_fd < 0 || server->timer_fd < 0)
        return pp_fail(-errno, "make the server's bell");
    return pp_listener_open(&(struct pp_listener_plan){.path = config->path,
                                                       .mode = config->mode,
                                                       .directory_mode = config->directory_mode,
                                                       .owner = config->owner,
                                                       .group = config->group,
                                                       .given = config->listening},
                            &server->listener);
}

static struct pyproc_server *server_new(const struct pyproc_server_config *config)
{
    struct pyproc_server *server = calloc(1, sizeof *server);

    if (!server)
        return NULL;
    (void)pthread_mutex_init(&server->lock, NULL);
    server->bell_fd = server->timer_fd = -1;
    server->listener = (struct pp_listener){.fd = -1, .directory = -1, .lock = -1};
    pp_list_init(&server->conns);
    pp_list_init(&server->dead);
    pp_list_init(&server->again);
    pp_arena_init(&server->arena, pp_message_arena_limit(config->max_frame));
    copy_limits(server, config);
    server->guest.arrive = on_arrive;
    server->guest.close = on_close;
    if (config->events)
        server->events = pyproc_queue_ref(config->events);
    return server;
}

PYPROC_API int pyproc_serve(const struct pyproc_server_config *config,
                            struct pyproc_server **serverp)
{
    struct pyproc_server *server;
    int r = check(config);

    if (r < 0)
        return r;
    server = server_new(config);
    if (!server)
        return pp_fail(-ENOMEM, "make a server");
    r = prepare(server, config);
    if (r == 0)
        r = pp_guest_enter(server->lanes[0].pool, &server->guest);
    if (r < 0) {
        destroy(server);
        return r;
    }
    while (!atomic_load(&server->arrived))
        (void)pp_futex_wait(&server->arrived, 0, PP_SECOND);
    if (atomic_load(&server->gone)) {
        r = server->arrived_error ? server->arrived_error : -ESHUTDOWN;
        destroy(server);
        return pp_fail(r, "serve on the pool's loop");
    }
    *serverp = server;
    return 0;
}

void pp_server_ring(struct pyproc_server *server)
{
    (void)eventfd_write(server->bell_fd, 1);
}

PYPROC_API int pyproc_server_update(struct pyproc_server *server, const struct pyproc_policy *plan)
{
    uint32_t seen = atomic_load(&server->updated);
    struct pp_rules *rules, *before;
    int r = pp_rules_new(plan, server->n_lanes, &rules);

    if (r < 0)
        return r;
    (void)pthread_mutex_lock(&server->lock);
    before = server->next_rules; /* of another thread, not yet in force: ours is newer */
    server->next_rules = rules;
    (void)pthread_mutex_unlock(&server->lock);
    (void)pp_rules_free(before);
    pp_server_ring(server);
    while (atomic_load(&server->updated) == seen && !atomic_load(&server->gone))
        (void)pp_futex_wait(&server->updated, seen, PP_SECOND);
    return atomic_load(&server->gone) ? pp_fail(-ESHUTDOWN, "update a server that is gone") : 0;
}

PYPROC_API int pyproc_server_drain(struct pyproc_server *server, int64_t timeout,
                                   const struct pyproc_wait *wait)
{
    int64_t until = timeout == PYPROC_FOREVER ? PP_NEVER : pp_after(pp_now(), timeout);

    (void)pthread_mutex_lock(&server->lock);
    server->wants_drain = true;
    (void)pthread_mutex_unlock(&server->lock);
    pp_server_ring(server);
    while (!atomic_load(&server->drained)) {
        int64_t left = until == PP_NEVER ? PP_SECOND : until - pp_now();

        if (left <= 0)
            return PYPROC_DRAIN_LEFT;
        (void)pp_futex_wait(&server->drained, 0, left < PP_SECOND ? left : PP_SECOND);
        if (wait && wait->interrupted && wait->interrupted(wait->token))
            return PYPROC_END_INTERRUPTED;
    }
    return 0;
}

PYPROC_API void pyproc_server_free(struct pyproc_server *server)
{
    if (!server || pp_pool_forked(server->lanes[0].pool))
        return; /* a copy: nothing in it may be touched */
    (void)pthread_mutex_lock(&server->lock);
    server->wants_stop = true;
    (void)pthread_mutex_unlock(&server->lock);
    pp_server_ring(server);
    while (!atomic_load(&server->gone))
        (void)pp_futex_wait(&server->gone, 0, PP_SECOND);
    destroy(server);
}

PYPROC_API void pyproc_server_after_fork(struct pyproc_server *server)
{
    struct pp_list *at = server->conns.next;

    /* No lock, and bounded: the loop may have been changing the ring when the fork came. */
    for (unsigned i = 0; at && at != &server->conns && i < 1U << 20; i++, at = at->next)
        (void)close(pp_container(at, struct pp_conn, link)->fd);
    (void)close(server->listener.fd);
    (void)close(server->listener.lock);
    (void)close(server->listener.directory);
    (void)close(server->bell_fd);
    (void)close(server->timer_fd);
}

PYPROC_API void pyproc_server_stats(struct pyproc_server *server, struct pyproc_server_stats *stats)
{
    (void)pthread_mutex_lock(&server->lock);
    *stats = server->shown;
    (void)pthread_mutex_unlock(&server->lock);
}
