/* serve.c - the loop, and what a worker is made of.
 *
 * A call is marked started before the recall word is read, both sequentially
 * consistent: the host writes that word first and reads `started` after, so that at least
 * one of the two sees the other, and no call is both taken back and run.
 */
#include "worker/worker.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/handoff.h"
#include "security/processes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* The descriptors a worker is born with; the numbers of supervisor/keeper.h. */
enum { FD_CALL = 3, FD_EVENT, FD_CONTROL, FD_STATUS, FD_CRASH };

/* Where our descriptors go, out of the way of programs that use small numbers. */
enum { FD_HIGH = 200 };
#define FD_ROOM ((rlim_t)8)

/* Hosts and workers that have not met yet accept any Hello. */
#define FIRST_MAX_FRAME PP_FRAME_LIMIT
/* What an envelope needs besides the payload: ids, tags and lengths. */
enum { ENVELOPE_ROOM = 256 };
/* Memory for the parts of one message: the fields are counted by the reader. */
#define ARENA_LIMIT ((size_t)64 * 1024 * 1024)

/* Moves a descriptor to a number that user code does not meet. */
static int move_high(int fd, int *movedp)
{
    struct rlimit limit;
    int lowest = FD_HIGH, moved;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < FD_HIGH + FD_ROOM)
        lowest = (int)(limit.rlim_cur > 2 * FD_ROOM ? limit.rlim_cur - FD_ROOM : FD_ROOM);
    moved = fcntl(fd, F_DUPFD_CLOEXEC, lowest);
    if (moved < 0)
        return pp_fail(-errno, "take descriptor %d", fd);
    (void)pp_close(fd);
    *movedp = moved;
    return 0;
}

static int map_pages(struct pp_worker *worker, int control_fd, int status_fd)
{
    PP_AUTO_FD control = control_fd;
    PP_AUTO_FD status = status_fd;
    int r = pp_page_map_control(control, &worker->control);

    return r < 0 ? r : pp_page_map_status(status, &worker->status);
}

/* Call, event, control, status, crash: all are taken. */
static int take_descriptors(struct pp_worker *worker, const int *fds)
{
    int event_fd = -1, r;

    r = move_high(fds[0], &worker->call_fd);
    if (r < 0)
        return r;
    r = move_high(fds[1], &event_fd);
    if (r < 0)
        return r;
    worker->events.fd = event_fd;
    r = move_high(fds[4], &worker->crash_fd);
    return r < 0 ? r : map_pages(worker, fds[2], fds[3]);
}

static int acquire(struct pp_worker *worker, const int *fds)
{
    int r;

    worker->call_fd = worker->crash_fd = -1;
    worker->max_frame = FIRST_MAX_FRAME;
    worker->unread = 0;
    r = pp_worker_events_init(&worker->events, -1);
    if (r == 0)
        r = pp_fork_mark_init(&worker->mark);
    if (r == 0)
        r = take_descriptors(worker, fds);
    return r == 0 ? pp_frame_reader_new(PP_FRAME_LIMIT, &worker->reader) : r;
}

static void close_attached(struct pp_worker *worker)
{
    for (size_t i = 0; i < worker->n_attached; i++)
        (void)pp_close(worker->attached[i]);
    worker->n_attached = 0;
    worker->attached_lost = false;
}

/* What acquire took. */
static void release(struct pp_worker *worker)
{
    pp_worker_events_deinit(&worker->events);
    pp_fork_mark_deinit(&worker->mark);
    worker->reader = pp_frame_reader_free(worker->reader);
    pp_page_unmap(worker->control, PP_CONTROL_SIZE);
    pp_page_unmap(worker->status, PP_STATUS_SIZE);
    worker->control = NULL;
    worker->status = NULL;
    pp_close_at(&worker->call_fd);
    pp_close_at(&worker->crash_fd);
    close_attached(worker);
}

int pp_worker_new(struct pp_worker **workerp)
{
    static const int born_with[] = {FD_CALL, FD_EVENT, FD_CONTROL, FD_STATUS, FD_CRASH};
    struct pp_worker *worker = calloc(1, sizeof *worker);
    int r;

    if (!worker)
        return pp_fail(-ENOMEM, "make the worker");
    pp_arena_init(&worker->in, ARENA_LIMIT);
    pp_arena_init(&worker->scratch, ARENA_LIMIT);
    pp_buffer_init(&worker->out, PP_FRAME_LIMIT + PP_FRAME_HEADER);
    r = acquire(worker, born_with);
    if (r < 0) {
        pp_worker_free(worker);
        return r;
    }
    *workerp = worker;
    return 0;
}

int pp_worker_again(struct pp_worker *worker, const int *fds)
{
    release(worker);
    pp_arena_reset(&worker->in);
    worker->has_kept = false;
    worker->forked = true;
    return acquire(worker, fds);
}

struct pp_worker *pp_worker_free(struct pp_worker *worker)
{
    if (!worker)
        return NULL;
    release(worker);
    pp_arena_deinit(&worker->in);
    pp_arena_deinit(&worker->scratch);
    pp_buffer_deinit(&worker->out);
    free(worker->box);
    free(worker);
    return NULL;
}

static void set_limits(struct pp_worker *worker, const struct pp_message_hello *hello)
{
    uint64_t room = hello->max_frame > ENVELOPE_ROOM ? hello->max_frame - ENVELOPE_ROOM : 1;

    worker->max_frame = hello->max_frame;
    worker->max_memory = hello->max_memory;
    worker->buffer_threshold = hello->buffer_threshold;
    worker->max_result = hello->max_result < room ? hello->max_result : room;
}

int pp_worker_hello(struct pp_worker *worker, const struct pp_worker_calls *calls, void *token,
                    const struct pp_message_hello **hellop)
{
    struct pp_message message;
    struct pp_message_hello *hello;
    int r;

    worker->calls = calls;
    worker->token = token;
    r = pp_worker_next(worker, &message);
    if (r == PP_WORKER_END)
        return pp_fail(-ECONNRESET, "wait for the host's first message");
    if (r < 0)
        return r;
    if (message.kind != PP_MESSAGE_HELLO)
        return pp_fail(-EPROTO, "the host's first message is no Hello");
    hello = pp_arena_alloc(&worker->in, sizeof *hello);
    if (!hello)
        return pp_fail(-ENOMEM, "keep the Hello");
    *hello = message.hello;
    set_limits(worker, hello);
    r = pp_worker_keep_box(worker, &hello->box);
    if (r < 0)
        return r;
    /* Only now: the keeper knows us, and a stranger that leads a session is killed. */
    if (worker->forked && setsid() < 0)
        return pp_fail(-errno, "lead a session");
    *hellop = hello;
    return 0;
}

void pp_worker_leave_if_copy(const struct pp_worker *worker)
{
    if (pp_is_fork_copy(&worker->mark))
        _exit(0);
}

int pp_worker_reply(struct pp_worker *worker, const struct pp_message *reply)
{
    int r;

    pp_worker_leave_if_copy(worker); /* the application may have forked at import */
    if (worker->control->no_processes && !worker->no_processes &&
        reply->kind == PP_MESSAGE_HELLO_REPLY) {
        r = pp_processes_refuse();
        if (r < 0)
            return pp_fail(r, "refuse new processes, for Limits(processes=0): seccomp is needed");
    }
    r = pp_worker_send(worker, reply);
    return r == PP_WORKER_END ? pp_fail(-ECONNRESET, "answer the host") : r;
}

bool pp_worker_starts(struct pp_worker *worker, uint64_t id)
{
    atomic_store_explicit(&worker->status->started, id, memory_order_seq_cst);
    return id >= atomic_load_explicit(&worker->control->recall_from, memory_order_seq_cst);
}

/* For an answer that does not fit into a frame although its payload is within the limit: a
 * failure with very many nodes, or a limit close to the frame's. */
static int send_too_large(struct pp_worker *worker, uint64_t id)
{
    static const uint8_t TYPE[] = "pyproc.ResultTooLarge";
    static const uint8_t TEXT[] = "the answer does not fit into one frame";
    const struct pp_failure_node node = {
        .relation = PP_RELATION_ROOT,
        .type_name = {TYPE, sizeof TYPE - 1},
        .message = {TEXT, sizeof TEXT - 1},
    };
    const struct pp_message answer = {
        .kind = PP_MESSAGE_FAILURE,
        .failure = {.id = id, .kind = PP_FAILURE_RESULT_TOO_LARGE, .nodes = &node, .n_nodes = 1},
    };

    return pp_worker_send(worker, &answer);
}

static void address_answer(struct pp_worker *worker, struct pp_message *answer, uint64_t id)
{
    uint64_t events;

    if (pp_worker_events_waiting(&worker->events) >= 0)
        pp_worker_events_flush(&worker->events);
    events = pp_worker_events_sequence(&worker->events);

    if (answer->kind == PP_MESSAGE_RESULT) {
        answer->result.id = id;
        answer->result.events = events;
    } else if (answer->kind == PP_MESSAGE_STREAM_END) {
        answer->stream_end.id = id;
        answer->stream_end.events = events;
    } else {
        answer->failure.id = id;
        answer->failure.events = events;
    }
}

int pp_worker_take_attached(struct pp_worker *worker, const struct pp_message_call *call,
                            int fds[PP_ATTACHMENTS_MAX])
{
    int r = 0;

    if (worker->attached_lost || worker->n_attached != call->attachments) {
        r = worker->attached_lost ? -EMFILE : -EPROTO;
        close_attached(worker);
        return r;
    }
    for (size_t i = 0; i < worker->n_attached; i++) {
        fds[i] = worker->attached[i] = pp_fd_above_stdio(worker->attached[i]);
        if (fds[i] < 0)
            r = fds[i];
    }
    if (r < 0)
        close_attached(worker); /* pp_close takes those that are none */
    worker->n_attached = 0;
    return r;
}

int pp_worker_give_back(struct pp_worker *worker, uint64_t id)
{
    const struct pp_message returned = {.kind = PP_MESSAGE_RETURNED, .returned = id};

    return pp_worker_send(worker, &returned);
}

int pp_worker_answer(struct pp_worker *worker, struct pp_message *answer, uint64_t id)
{
    int r;

    worker->calls->before_answer(worker->token);
    address_answer(worker, answer, id);
    r = pp_worker_send(worker, answer);
    if (r == -EMSGSIZE)
        r = send_too_large(worker, id);
    worker->calls->done(worker->token);
    return r;
}

static int serve_call(struct pp_worker *worker, const struct pp_message_call *call)
{
    struct pp_message answer = {.kind = PP_MESSAGE_NONE};
    uint64_t id = call->id; /* `call` does not outlive a chunk's first part */
    int r;

    if (pp_worker_starts(worker, id)) {
        close_attached(worker);
        return pp_worker_give_back(worker, id);
    }
    r = worker->calls->run(worker->token, call, &answer);
    pp_worker_leave_if_copy(worker);
    if (r != 0)
        return r;
    close_attached(worker); /* that nobody took */
    return pp_worker_answer(worker, &answer, id);
}

static int serve_message(struct pp_worker *worker, const struct pp_message *message)
{
    struct pp_message pong = {.kind = PP_MESSAGE_PONG};

    switch (message->kind) {
    case PP_MESSAGE_CALL:
        if (message->call.shared)
            return pp_worker_starts(worker, message->call.id)
                       ? pp_worker_give_back(worker, message->call.id)
                       : worker->calls->share(worker->token, &message->call);
        return serve_call(worker, &message->call);
    case PP_MESSAGE_PING:
        pong.nonce = message->nonce;
        return pp_worker_send(worker, &pong);
    case PP_MESSAGE_GOODBYE:
        return PP_WORKER_END;
    case PP_MESSAGE_STREAM_CREDIT:
    case PP_MESSAGE_STREAM_END:
    case PP_MESSAGE_CANCEL:
        return 0; /* of a call that has ended meanwhile */
    default:
        return pp_fail(-EPROTO, "the host sent a message that may not come here");
    }
}

int pp_worker_serve(struct pp_worker *worker, const struct pp_worker_calls *calls, void *token)
{
    struct pp_message message;
    int r;

    worker->calls = calls;
    worker->token = token;
    do {
        r = pp_worker_next(worker, &message);
        if (r == 0)
            r = serve_message(worker, &message);
    } while (r == 0);
    return r == PP_WORKER_END ? 0 : r;
}

int pp_worker_crash_fd(const struct pp_worker *worker)
{
    return worker->crash_fd;
}

int pp_worker_call_fd(const struct pp_worker *worker)
{
    return worker->call_fd;
}

uint64_t pp_worker_max_result(const struct pp_worker *worker)
{
    return worker->max_result;
}

unsigned pp_worker_stopping(const struct pp_worker *worker, uint64_t id)
{
    if (id == 0 || atomic_load(&worker->control->cancelled) != id)
        return PP_SOFT_NONE;
    return atomic_load(&worker->control->soft);
}
