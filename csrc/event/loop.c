/* loop.c - libuv's door. uv.h is included nowhere else. */
#include "event/loop.h"

#include "base/clock.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

struct pp_loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t timer;
    uv_prepare_t prepare;
    void (*turn)(void *token);
    void *turn_token;
    const struct pp_loop_calls *calls;
    void *token;
    pthread_t thread;
    bool started;
    _Atomic bool detached;
};

struct pp_watch {
    uv_poll_t poll; /* freed by libuv's close callback */
    pp_watch_ready *ready;
    void *token;
    int events;
};

static void on_wake(uv_async_t *async)
{
    struct pp_loop *loop = async->data;

    loop->calls->woken(loop->token);
}

static void on_timer(uv_timer_t *timer)
{
    struct pp_loop *loop = timer->data;

    loop->calls->timer(loop->token);
}

/* Every handle's close callback must run before the loop can be closed. */
static void close_loop(struct pp_loop *loop)
{
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->timer, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0)
        ;
    (void)uv_loop_close(&loop->uv);
}

/* A loop whose making failed keeps its epoll descriptor, in libuv 1.44 at least: one that is
 * still an epoll is ours to close. */
static void close_backend(int fd)
{
    static const char epoll[] = "anon_inode:[eventpoll]";
    char path[64], link[sizeof epoll] = "";

    if (fd < 0)
        return;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (readlink(path, link, sizeof link - 1) > 0 && strcmp(link, epoll) == 0)
        (void)close(fd);
}

int pp_loop_new(const struct pp_loop_calls *calls, void *token, struct pp_loop **loopp)
{
    struct pp_loop *loop = calloc(1, sizeof *loop);
    int r;

    if (!loop)
        return -ENOMEM;
    loop->calls = calls;
    loop->token = token;
    loop->uv.backend_fd = -1;
    r = uv_loop_init(&loop->uv);
    if (r < 0) {
        close_backend(loop->uv.backend_fd);
        free(loop);
        return pp_fail(r, "make the event loop");
    }
    r = uv_timer_init(&loop->uv, &loop->timer);
    if (r == 0)
        r = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (r < 0) {
        uv_close((uv_handle_t *)&loop->timer, NULL);
        (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
        (void)uv_loop_close(&loop->uv);
        free(loop);
        return pp_fail(r, "make the event loop's wake-up");
    }
    (void)uv_prepare_init(&loop->uv, &loop->prepare); /* cannot fail */
    loop->prepare.data = loop;
    loop->wake.data = loop;
    loop->timer.data = loop;
    *loopp = loop;
    return 0;
}

struct pp_loop *pp_loop_free(struct pp_loop *loop)
{
    if (!loop)
        return NULL;
    if (!loop->started)
        close_loop(loop);
    free(loop);
    return NULL;
}

static void *run(void *token)
{
    struct pp_loop *loop = token;

    (void)pthread_setname_np(pthread_self(), "pyproc-loop");
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    close_loop(loop);
    /* `ended` may free the pool, never the loop itself. */
    bool detached = atomic_load(&loop->detached);
    loop->calls->ended(loop->token);
    if (detached)
        free(loop);
    return NULL;
}

int pp_loop_start(struct pp_loop *loop)
{
    sigset_t all, before;
    int r;

    /* A thread inherits the mask; signals are the host's threads' business. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&loop->thread, NULL, run, loop);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0)
        return pp_fail(-r, "start the loop thread");
    loop->started = true;
    return 0;
}

void pp_loop_wake(struct pp_loop *loop)
{
    (void)uv_async_send(&loop->wake);
}

void pp_loop_stop(struct pp_loop *loop)
{
    uv_stop(&loop->uv);
}

void pp_loop_join(struct pp_loop *loop)
{
    (void)pthread_join(loop->thread, NULL);
}

void pp_loop_detach(struct pp_loop *loop)
{
    atomic_store(&loop->detached, true);
    (void)pthread_detach(loop->thread);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct pp_loop *loop = prepare->data;

    loop->turn(loop->turn_token);
}

void pp_loop_each_turn(struct pp_loop *loop, void (*turn)(void *token), void *token)
{
    loop->turn = turn;
    loop->turn_token = token;
    if (turn)
        (void)uv_prepare_start(&loop->prepare, on_prepare);
    else
        (void)uv_prepare_stop(&loop->prepare);
}

void pp_loop_timer(struct pp_loop *loop, int64_t at)
{
    int64_t left;

    if (at == PP_NEVER) {
        (void)uv_timer_stop(&loop->timer);
        return;
    }
    /* libuv counts from its cached time, in whole milliseconds: refresh, round up. Never
     * 0: set again from its own callback, such a timer would fire without end before
     * libuv looks at a descriptor again. */
    uv_update_time(&loop->uv);
    left = at - pp_now();
    left = left > 0 ? (left + PP_MS - 1) / PP_MS : 1;
    (void)uv_timer_start(&loop->timer, on_timer, (uint64_t)left, 0);
}

static void on_poll(uv_poll_t *poll, int status, int uv_events)
{
    struct pp_watch *watch = poll->data;
    int events = 0;

    if (status < 0) { /* an error is news for whoever reads */
        watch->ready(watch->token, PP_WATCH_READ | PP_WATCH_WRITE);
        return;
    }
    if (uv_events & UV_READABLE)
        events |= PP_WATCH_READ;
    if (uv_events & UV_DISCONNECT)
        events |= watch->events & PP_WATCH_HANGUP ? PP_WATCH_HANGUP : PP_WATCH_READ;
    if (uv_events & UV_WRITABLE)
        events |= PP_WATCH_WRITE;
    watch->ready(watch->token, events);
}

int pp_watch_new(struct pp_loop *loop, int fd, pp_watch_ready *ready, void *token,
                 struct pp_watch **watchp)
{
    struct pp_watch *watch = calloc(1, sizeof *watch);
    int flags = fcntl(fd, F_GETFL);
    int r;

    if (!watch)
        return -ENOMEM;
    watch->ready = ready;
    watch->token = token;
    r = flags < 0 ? -errno : uv_poll_init(&loop->uv, &watch->poll, fd);
    if (r < 0) {
        free(watch);
        return pp_fail(r, "watch a descriptor");
    }
    /* libuv has made it non-blocking; a leasing thread's recv would spin. */
    (void)fcntl(fd, F_SETFL, flags);
    watch->poll.data = watch;
    *watchp = watch;
    return 0;
}

int pp_watch_set(struct pp_watch *watch, int events)
{
    int uv_events = 0;
    int r;

    if (events == watch->events)
        return 0;
    if (events & PP_WATCH_READ)
        uv_events |= UV_READABLE;
    if (events & PP_WATCH_WRITE)
        uv_events |= UV_WRITABLE;
    if (events & PP_WATCH_HANGUP)
        uv_events |= UV_DISCONNECT;
    r = uv_events ? uv_poll_start(&watch->poll, uv_events, on_poll) : uv_poll_stop(&watch->poll);
    if (r == 0)
        watch->events = events;
    return r;
}

static void free_watch(uv_handle_t *handle)
{
    free(handle->data);
}

struct pp_watch *pp_watch_free(struct pp_watch *watch)
{
    if (watch) {
        (void)uv_poll_stop(&watch->poll);
        uv_close((uv_handle_t *)&watch->poll, free_watch);
    }
    return NULL;
}
