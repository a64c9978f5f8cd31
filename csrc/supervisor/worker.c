/* worker.c - starts a worker, hears it, ends it. */
#include "supervisor/worker.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/futex.h"
#include "ipc/socket.h"
#include "supervisor/obituary.h"
#include "supervisor/template.h"
#include "supervisor/tripwire.h"
#include "supervisor/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A log record is never longer. */
enum { EVENT_FRAME_MAX = 1024 * 1024 };
/* How long a process that was seen without its cgroup may take to end. */
enum { ENDING_MS = 100 };

const char *pp_worker_state_name(int state)
{
    static const char *const names[] = {"new",  "launching", "importing", "ready",
                                        "busy", "draining",  "dead"};

    return names[state];
}

void pp_worker_send_on(struct pp_worker *worker)
{
    int r = pp_channel_flush(&worker->channel);

    /* The kernel has no memory for it: nobody would wake us when it has. */
    if (r < 0)
        (void)pp_worker_doom(worker, "host");
    (void)pp_worker_watch(worker,
                          r == PP_CHANNEL_MORE ? PP_WATCH_READ | PP_WATCH_WRITE : PP_WATCH_READ);
}

static void on_call_channel(void *token, int events)
{
    struct pp_worker *worker = token;

    if (events & PP_WATCH_WRITE)
        pp_worker_send_on(worker);
    if (!(events & PP_WATCH_READ)) {
        worker->supervisor->calls->written(worker->supervisor->token, worker);
        return;
    }
    if (atomic_load(&worker->state) == PP_WORKER_IMPORTING)
        pp_worker_import_readable(worker);
    else if (worker->role == PP_ROLE_TEMPLATE)
        pp_template_readable(worker);
    else
        worker->supervisor->calls->readable(worker->supervisor->token, worker);
}

void pp_worker_deliver_log(struct pp_worker *worker, const struct pp_message_log *log)
{
    struct pyproc_item *item = pp_item_new(PYPROC_ITEM_LOG);
    const struct pp_bytes *parts[] = {&log->message, &log->logger, &log->exception, &log->extra};
    struct pyproc_bytes *to[4];

    if (!item)
        return;
    to[0] = &item->text;
    to[1] = &item->logger;
    to[2] = &item->exception;
    to[3] = &item->extra;
    for (size_t i = 0; i < 4; i++) {
        char *bytes = pp_reply_alloc(&item->reply, parts[i]->size);

        if (!bytes) {
            pyproc_item_free(item);
            return;
        }
        if (parts[i]->size)
            memcpy(bytes, parts[i]->data, parts[i]->size);
        *to[i] = (struct pyproc_bytes){bytes, parts[i]->size};
    }
    item->worker_id = worker->id;
    item->level = log->level;
    item->created = log->created;
    item->call_id = log->call;
    item->dropped = log->dropped;
    (void)pp_queue_put_record(worker->supervisor->plan->events, item);
}

static void on_event_channel(void *token, int events)
{
    (void)events;
    (void)pp_worker_read_events(token);
}

/* What is dying has left its cgroup already, and shows that first. Asked after a hole only, which
 * no living worker has, so the loop may wait a moment. */
static bool is_ending(const struct pp_worker *worker)
{
    struct pollfd end = {.fd = worker->pidfd, .events = POLLIN};

    return worker->pidfd >= 0 && poll(&end, 1, ENDING_MS) > 0;
}

/* A worker is ready only when the kernel says that it is closed in. */
static bool is_confined(struct pp_worker *worker)
{
    const struct pp_plan *plan = worker->supervisor->plan;
    int32_t pid = atomic_load(&worker->pid);
    const char *hole = plan->box ? pp_verify(pid, plan->box, plan->box_size) : NULL;
    char text[160];

    if (!hole && worker->group.groups && !pp_group_has(&worker->group, pid))
        hole = "it is not in its memory cgroup";
    if (!hole || is_ending(worker))
        return true; /* the dead do nothing; its end is told like any other */
    (void)snprintf(text, sizeof text, "the sandbox does not hold: %s", hole);
    worker->start = calloc(1, sizeof *worker->start);
    if (worker->start)
        pp_reply_end(&worker->start->reply, PYPROC_END_START, text);
    (void)pp_worker_doom(worker, "start");
    return false;
}

static void hear_hello(struct pp_worker *worker, const struct pp_message *message)
{
    struct pp_supervisor *supervisor = worker->supervisor;

    if (message->kind == PP_MESSAGE_HELLO_REPLY &&
        message->hello_reply.version == PP_PROTOCOL_VERSION) {
        worker->start_deadline = PP_NEVER;
        if (!is_confined(worker))
            return;
        if (worker->role == PP_ROLE_TEMPLATE)
            atomic_store(&worker->state, PP_WORKER_READY);
        else
            (void)pp_watch_set(worker->call_watch, 0);
        supervisor->calls->hello(supervisor->token, worker, &message->hello_reply);
        supervisor->calls->ready(supervisor->token, worker);
        return;
    }
    if (message->kind == PP_MESSAGE_FAILURE && message->failure.kind == PP_FAILURE_START) {
        worker->start = calloc(1, sizeof *worker->start);
        if (worker->start)
            pp_reply_failure(&worker->start->reply, &message->failure);
        (void)pp_worker_doom(worker, "start");
        return;
    }
    (void)pp_worker_doom(worker, "protocol");
}

void pp_worker_import_readable(struct pp_worker *worker)
{
    struct pp_message message;
    int r = pp_channel_fill(&worker->channel);

    if (r == 0)
        r = pp_channel_next(&worker->channel, &message);
    if (r == 0)
        hear_hello(worker, &message);
    else if (r == PP_CHANNEL_END)
        (void)pp_watch_set(worker->call_watch, 0); /* its end is reported by the keeper */
    else if (r != PP_CHANNEL_MORE)
        (void)pp_worker_doom(worker, r < 0 ? "host" : "protocol");
}

void pp_births_close(struct pp_births *births)
{
    births->call = pp_close(births->call);
    births->event = pp_close(births->event);
    births->stdout_end = pp_close(births->stdout_end);
    births->stderr_end = pp_close(births->stderr_end);
    births->control = pp_close(births->control);
    births->status = pp_close(births->status);
    births->group = pp_close(births->group);
}

void pp_births_order(const struct pp_births *births, const struct pp_worker *worker, int fds[7])
{
    const int ordered[] = {births->stdout_end, births->stderr_end, births->call,    births->event,
                           births->control,    births->status,     worker->crash_fd};

    memcpy(fds, ordered, sizeof ordered);
}

static int make_channel(struct pp_worker *worker, struct pp_channel *channel,
                        struct pp_watch **watchp, pp_watch_ready *ready, size_t limit, int *otherp)
{
    int mine;
    int r = pp_socket_pair(SOCK_STREAM, &mine, otherp);

    if (r < 0)
        return r;
    r = pp_channel_init(channel, mine, limit);
    if (r < 0)
        return r;
    return pp_watch_new(worker->supervisor->loop, mine, ready, worker, watchp);
}

static void on_printed(void *token)
{
    struct pp_worker *worker = token;

    worker->supervisor->calls->printed(worker->supervisor->token, worker);
}

static int make_output(struct pp_worker *worker, int stream, int *otherp)
{
    struct pp_supervisor *supervisor = worker->supervisor;
    const struct pp_plan *plan = supervisor->plan;
    struct pyproc_queue *events = plan->drop_output ? NULL : plan->events;
    struct pp_output *output = &worker->output[stream - 1];
    int ends[2], r;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return pp_fail(-errno, "make the worker's output pipe");
    *otherp = ends[1];
    r = pp_output_init(output, supervisor->loop, ends[0], stream, worker->id, events,
                       &supervisor->output_dropped);
    if (r == 0 && supervisor->calls->printed) {
        output->printed = on_printed;
        output->token = worker;
    }
    return r;
}

static int make_ends(struct pp_worker *worker, struct pp_births *births)
{
    int r = make_channel(worker, &worker->channel, &worker->call_watch, on_call_channel,
                         worker->supervisor->plan->max_frame, &births->call);

    if (r == 0)
        r = make_channel(worker, &worker->events, &worker->event_watch, on_event_channel,
                         EVENT_FRAME_MAX, &births->event);
    worker->events.unhurried = true; /* a record that a full socket cut is finished with the next */
    if (r == 0)
        r = make_output(worker, 1, &births->stdout_end);
    if (r == 0)
        r = make_output(worker, 2, &births->stderr_end);
    if (r == 0)
        r = pp_page_make_control(&births->control, &worker->control);
    if (r == 0) /* a template has to fork */
        worker->control->no_processes =
            worker->role == PP_ROLE_WORKER && worker->supervisor->plan->no_processes;
    if (r == 0)
        r = pp_page_make_status(&births->status, &worker->status);
    if (r == 0)
        r = pp_crash_make(&worker->crash_fd);
    return r;
}

static int launch(struct pp_worker *worker, const struct pp_births *births)
{
    struct pp_supervisor *supervisor = worker->supervisor;
    const struct pp_plan *plan = supervisor->plan;
    char **argv = worker->role == PP_ROLE_TEMPLATE ? plan->template_argv : plan->argv;
    struct pp_launch spec = {
        .worker = worker->id,
        .argv = (const char *const *)argv,
        .envp = (const char *const *)plan->envp,
        .cwd = plan->cwd,
        .policy = plan->policy,
        .box = plan->box,
        .box_size = plan->box_size,
        .fds = {-1},
        .group = births->group > 0 ? births->group : 0,
    };
    int r = pp_supervisor_ensure_keeper(supervisor);

    pp_births_order(births, worker, spec.fds + 1);
    if (r == 0)
        r = pp_keeper_launch(supervisor->keeper, &spec);
    return r > 0 ? pp_fail(-EPIPE, "the keeper is gone") : r;
}

void pp_worker_init(struct pp_worker *worker)
{
    worker->channel.fd = worker->events.fd = -1;
    worker->output[0].fd = worker->output[1].fd = -1;
    worker->pidfd = worker->crash_fd = -1;
    worker->start_deadline = worker->fork_deadline = worker->dump_until = PP_NEVER;
}

int pp_worker_prepare(struct pp_worker *worker, struct pp_supervisor *supervisor, uint32_t id,
                      struct pp_births *births)
{
    const struct pp_plan *plan = supervisor->plan;
    int r;

    *births = (struct pp_births){-1, -1, -1, -1, -1, -1, -1};
    worker->id = id;
    worker->supervisor = supervisor;
    worker->born = pp_now();
    r = make_ends(worker, births);
    if (r == 0 && supervisor->groups.kind && worker->role == PP_ROLE_WORKER)
        r = pp_group_make(&worker->group, &supervisor->groups, id, &births->group);
    if (r == 0)
        r = pp_buffer_append(&worker->channel.out, pp_buffer_bytes(&plan->hello),
                             pp_buffer_size(&plan->hello));
    if (r == 0)
        r = pp_watch_set(worker->event_watch, PP_WATCH_READ);
    if (r < 0)
        return r;
    worker->start_deadline = pp_after(worker->born, plan->start_timeout);
    atomic_store(&worker->state, PP_WORKER_LAUNCHING);
    return 0;
}

int pp_worker_start(struct pp_worker *worker, struct pp_supervisor *supervisor, uint32_t id)
{
    struct pp_births births;
    int r = pp_worker_prepare(worker, supervisor, id, &births);

    if (r == 0)
        r = launch(worker, &births);
    pp_births_close(&births);
    if (r < 0)
        pp_worker_deinit(worker);
    return r;
}

void pp_worker_deinit(struct pp_worker *worker)
{
    worker->call_watch = pp_watch_free(worker->call_watch);
    worker->event_watch = pp_watch_free(worker->event_watch);
    pp_output_deinit(&worker->output[0]);
    pp_output_deinit(&worker->output[1]);
    pp_channel_deinit(&worker->channel);
    pp_channel_deinit(&worker->events);
    pp_page_unmap(worker->control, PP_CONTROL_SIZE);
    pp_page_unmap(worker->status, PP_STATUS_SIZE);
    worker->control = NULL;
    worker->status = NULL;
    worker->pidfd = pp_close(worker->pidfd);
    worker->crash_fd = pp_close(worker->crash_fd);
    worker->tripwire = pp_tripwire_unref(worker->tripwire);
    pp_group_remove(&worker->group);
    free(worker->python_stack);
    worker->python_stack = NULL;
    if (worker->start) {
        pyproc_reply_clear(&worker->start->reply);
        free(worker->start);
        worker->start = NULL;
    }
}

bool pp_worker_doom(struct pp_worker *worker, const char *cause)
{
    const char *none = NULL;
    bool mine = atomic_compare_exchange_strong(&worker->cause, &none, cause);

    if (mine) {
        atomic_store(&worker->supervisor->doomed, true);
        pp_loop_wake(worker->supervisor->loop);
    }
    return mine;
}

void pp_worker_goodbye(struct pp_worker *worker)
{
    atomic_store(&worker->state, PP_WORKER_DRAINING);
    (void)shutdown(worker->channel.fd, SHUT_WR);
}

int pp_worker_watch(struct pp_worker *worker, int events)
{
    return pp_watch_set(worker->call_watch, events);
}
