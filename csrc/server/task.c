/* task.c - calls of clients: judged, kept in order, given to the pool a few at a time.
 *
 * A lane gives its pool only about as many calls as its workers can run; the rest waits here, and
 * connections take turns. So a client with a thousand calls delays another one's call by one
 * call a turn, not by a thousand.
 */
#include "server/server.h"

#include <stdlib.h>
#include <string.h>

/* gcc's analyzer loses a task that leaves one list for another. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

bool pp_task_is_full(const struct pp_conn *conn)
{
    const struct pyproc_server *server = conn->server;

    /* One who keeps to what Welcome said is always heard: it may have a call to take back. */
    if (conn->n_waiting + conn->n_running > server->max_in_flight)
        return true;
    if (server->waiting_bytes < server->max_bytes / 2 || conn->n_waiting == 0)
        return false;
    conn->server->starved = true;
    return true;
}

void pp_task_end(struct pp_task *task)
{
    struct pyproc_server *server = task->server;

    pp_list_remove(&task->link);
    if (task->rules == server->rules_number)
        pp_access_ended(server->rules->access, task->role);
    free(task);
}

static void unwait(struct pp_task *task)
{
    struct pp_conn *conn = task->conn;

    pp_list_remove(&task->link);
    conn->n_waiting--;
    conn->waiting_bytes -= task->size;
    task->server->waiting_bytes -= task->size;
    task->server->stats.calls_waiting--;
}

static void forget_waiting(struct pp_turn *turn)
{
    pp_list_remove(&turn->ring);
    while (!pp_list_empty(&turn->waiting)) {
        struct pp_task *task = pp_container(turn->waiting.next, struct pp_task, link);

        /* It has left the ring before it is freed. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        unwait(task);
        pp_task_end(task);
    }
}

void pp_task_forget(struct pp_conn *conn)
{
    struct pp_list *at;

    for (size_t i = 0; conn->turns && i < conn->server->n_lanes; i++)
        forget_waiting(&conn->turns[i]);
    while ((at = pp_list_pop_front(&conn->running)) != NULL) {
        struct pp_task *task = pp_container(at, struct pp_task, link);

        task->conn = NULL; /* its end comes all the same */
        conn->n_running--;
        if (task->stream_bytes) /* its generator's `finally` runs */
            (void)pyproc_stream_close(task->lane->pool, task->call_id);
        else
            (void)pyproc_cancel(task->lane->pool, task->call_id, 1);
    }
}

static int64_t nanoseconds(uint64_t us)
{
    return us > (uint64_t)(PYPROC_FOREVER / 1000) ? PYPROC_FOREVER : (int64_t)us * 1000;
}

static void add_options(const struct pp_task *task, struct pyproc_request *request)
{
    const struct pp_message_call_options *options = &task->options;
    int most = task->server->max_priority;

    if (!options->id)
        return;
    request->run_timeout = nanoseconds(options->run_us);
    request->queue_timeout = nanoseconds(options->queue_us);
    request->priority = options->priority < most ? options->priority : most;
    request->memory_limit = options->memory;
    request->cpu_limit = nanoseconds(options->cpu_us);
    request->output_limit = options->output;
    request->result_limit = options->result_size;
    request->item_timeout = nanoseconds(options->item_us);
}

/* Gives the call to the pool. It is freed when the pool does not take it. */
static void give(struct pp_task *task, struct pyproc_request *request)
{
    struct pp_conn *conn = task->conn;
    struct pyproc_server *server = task->server;
    struct pyproc_reply reply;
    uint64_t id;
    int end;

    request->codec = task->codec;
    request->items = task->items;
    request->deadline = task->deadline;
    request->stream_items = task->stream_items;
    request->stream_bytes = task->stream_bytes;
    add_options(task, request);
    if (task->lane == server->lanes) {
        server->has_submitted = true;
        end = pp_guest_submit(task->lane->pool, request, server->answers, task, &id, &reply);
    } else {
        end = pyproc_submit(task->lane->pool, request, NULL, server->answers, task, &id, &reply);
    }
    if (end == 0) {
        task->call_id = id;
        task->lane->running++;
        conn->n_running++;
        server->stats.calls_running++;
        pp_list_push_back(&conn->running, &task->link);
        return;
    }
    pp_answer_refuse(conn, task->id, &request->function, (enum pyproc_end)end,
                     reply.text ? reply.text : "the server's pool does not take the call", 0,
                     "call.refused", "the pool refused it");
    pyproc_reply_clear(&reply);
    pp_task_end(task);
}

static void give_waiting(struct pp_task *task)
{
    struct pyproc_request request = {
        .inline_only = 1, /* an answer travels on */
        .function = task->function,
        .payload = task->payload,
        .keywords = task->keywords,
        .n_keywords = task->n_keywords,
    };

    unwait(task);
    give(task, &request);
}

void pp_task_pump(struct pp_lane *lane)
{
    while (lane->running < lane->window) {
        struct pp_list *at = pp_list_pop_front(&lane->ring);
        struct pp_turn *turn;

        if (!at)
            return;
        turn = pp_container(at, struct pp_turn, ring);
        /* Turns live as long as the connection. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        give_waiting(pp_container(turn->waiting.next, struct pp_task, link));
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): likewise */
        if (!pp_list_empty(&turn->waiting))
            pp_list_push_back(&lane->ring, &turn->ring);
    }
}

static const char *sentence_for(enum pp_access_answer answer)
{
    switch (answer) {
    case PP_ACCESS_RATE:
        return "too many calls of this role: come again later";
    case PP_ACCESS_BUSY:
        return "too many calls of this role are under way: come again later";
    case PP_ACCESS_PAYLOAD:
        return "the arguments are larger than this role may send";
    default:
        return "this role may not call that function";
    }
}

/* What the call is must be said in full before anything is done with it. */
static const char *look_at(const struct pp_conn *conn, const struct pp_message_call *call)
{
    const char *wrong;

    if (call->attachments || call->baggage.size)
        return "files and context variables do not travel to a server";
    if (call->shared)
        return "shared calls do not travel to a server";
    if (call->codec != PP_CODEC_MSGPACK && call->codec != PP_CODEC_RICH)
        return "this codec is not for clients";
    if (call->items && !conn->server->sees_all)
        return "chunks are for servers that show everything";
    if (call->n_keywords > 1000 || (call->items && call->n_keywords))
        return "too many keywords";
    wrong = pp_stream_wrong(conn, call);
    if (wrong)
        return wrong;
    return pp_payload_check(call->payload.data, call->payload.size, call->codec == PP_CODEC_RICH,
                            call->items, call->n_keywords);
}

static struct pp_task *find(const struct pp_list *list, uint64_t id)
{
    for (const struct pp_list *at = list->next; at != list; at = at->next) {
        struct pp_task *task = pp_container(at, struct pp_task, link);

        if (task->id == id)
            return task;
    }
    return NULL;
}

static struct pp_task *find_waiting(const struct pp_conn *conn, uint64_t id)
{
    struct pp_task *task = NULL;

    for (size_t i = 0; !task && conn->n_waiting && i < conn->server->n_lanes; i++)
        task = find(&conn->turns[i].waiting, id);
    return task;
}

struct pp_task *pp_task_find(const struct pp_conn *conn, uint64_t id)
{
    struct pp_task *task = find(&conn->running, id);

    return task ? task : find_waiting(conn, id);
}

static void tell_allowed(struct pp_conn *conn, const struct pyproc_bytes *function,
                         const struct pp_access_decision *decision)
{
    struct pyproc_server *server = conn->server;
    struct pp_note note;

    pp_note_begin(&note);
    pp_note_conn(&note, conn);
    pp_note_text(&note, "function", function->data, function->size, 256);
    pp_note_word(&note, "rule", decision->rule);
    pp_note_word(&note, "charged", pp_access_role(server->rules->access, decision->role)->name);
    pp_note_send(server, "access.allowed", &note);
}

/* Asks the policy; a refusal has been answered. */
static bool is_allowed(struct pp_conn *conn, const struct pp_message_call *call, int64_t now,
                       uint32_t *rolep)
{
    struct pyproc_server *server = conn->server;
    const struct pp_access_call asked = {call->function.data, call->function.size,
                                         call->payload.size, call->items ? call->items : 1, now};
    const struct pyproc_bytes function = {call->function.data, call->function.size};
    struct pp_access_decision decision;
    enum pp_access_answer answer =
        pp_access_begin(server->rules->access, conn->profile, &asked, &decision);
    bool is_rate = answer == PP_ACCESS_RATE || answer == PP_ACCESS_BUSY;

    *rolep = decision.role;
    if (answer == PP_ACCESS_ALLOWED) {
        if (server->tells_allowed)
            tell_allowed(conn, &function, &decision);
        return true;
    }
    if (is_rate)
        server->stats.rate_limited++;
    else
        server->stats.denied++;
    pp_answer_refuse(
        conn, call->id, &function, is_rate ? PYPROC_END_RATE : PYPROC_END_DENIED,
        sentence_for(answer), decision.retry, is_rate ? "rate.limited" : "access.denied",
        answer == PP_ACCESS_UNKNOWN || answer == PP_ACCESS_FORBIDDEN ? decision.rule
                                                                     : sentence_for(answer));
    return false;
}

static struct pyproc_bytes keep(uint8_t **at, const void *bytes, size_t n)
{
    struct pyproc_bytes kept = {*at, n};

    if (n)
        memcpy(*at, bytes, n);
    *at += n;
    return kept;
}

static size_t room_for(const struct pp_message_call *call)
{
    size_t n = call->function.size + call->payload.size;

    for (size_t i = 0; i < call->n_keywords; i++)
        n += sizeof(struct pyproc_bytes) + call->keywords[i].size;
    return n;
}

static struct pp_lane *lane_of(struct pyproc_server *server, uint32_t role)
{
    return &server->lanes[pp_access_role(server->rules->access, role)->tenant];
}

static struct pp_task *new_task(struct pp_conn *conn, const struct pp_message_call *call,
                                uint32_t role, size_t room, int64_t now)
{
    struct pyproc_server *server = conn->server;
    struct pp_task *task = malloc(sizeof *task + room);

    if (!task)
        return NULL;
    *task = (struct pp_task){
        .server = server,
        .conn = conn,
        .lane = lane_of(server, role),
        .id = call->id,
        .role = role,
        .rules = server->rules_number,
        .options = conn->options,
        .deadline = call->remaining_us ? pp_after(now, nanoseconds(call->remaining_us)) : 0,
        .codec = (int)call->codec,
        .items = call->items,
        .stream_items = call->stream_items,
        .stream_bytes = call->stream_bytes,
        .size = room,
    };
    pp_list_init(&task->link);
    return task;
}

/* The client's place in the line of that lane; NULL: out of memory. */
static struct pp_turn *turn_of(struct pp_conn *conn, const struct pp_lane *lane)
{
    struct pyproc_server *server = conn->server;

    if (!conn->turns) {
        conn->turns = calloc(server->n_lanes, sizeof *conn->turns);
        for (size_t i = 0; conn->turns && i < server->n_lanes; i++) {
            pp_list_init(&conn->turns[i].ring);
            pp_list_init(&conn->turns[i].waiting);
        }
    }
    return conn->turns ? &conn->turns[lane - server->lanes] : NULL;
}

/* Into the line: the call's bytes are copied. */
static void wait_in_line(struct pp_task *task, struct pp_turn *turn,
                         const struct pp_message_call *call)
{
    struct pp_conn *conn = task->conn;
    uint8_t *at = (uint8_t *)task->bytes;

    task->keywords = (struct pyproc_bytes *)(void *)at;
    task->n_keywords = call->n_keywords;
    at += call->n_keywords * sizeof *task->keywords;
    for (size_t i = 0; i < call->n_keywords; i++)
        task->keywords[i] = keep(&at, call->keywords[i].data, call->keywords[i].size);
    task->function = keep(&at, call->function.data, call->function.size);
    task->payload = keep(&at, call->payload.data, call->payload.size);
    if (pp_list_empty(&turn->waiting))
        pp_list_push_back(&task->lane->ring, &turn->ring);
    pp_list_push_back(&turn->waiting, &task->link);
    conn->n_waiting++;
    conn->waiting_bytes += task->size;
    task->server->waiting_bytes += task->size;
    task->server->stats.calls_waiting++;
}

static void give_now(struct pp_task *task, const struct pp_message_call *call)
{
    struct pyproc_bytes few[8], *keywords = few;
    struct pyproc_request request = {
        .inline_only = 1, /* an answer travels on */
        .function = {call->function.data, call->function.size},
        .payload = {call->payload.data, call->payload.size},
        .n_keywords = call->n_keywords,
    };

    for (size_t i = 0; i < call->n_keywords; i++)
        keywords[i] = (struct pyproc_bytes){call->keywords[i].data, call->keywords[i].size};
    request.keywords = keywords;
    give(task, &request);
}

/* The call is allowed: to the pool at once, or into the line. */
static void start(struct pp_conn *conn, const struct pp_message_call *call, uint32_t role,
                  int64_t now)
{
    struct pyproc_server *server = conn->server;
    struct pp_lane *lane = lane_of(server, role);
    bool at_once =
        lane->running < lane->window && pp_list_empty(&lane->ring) && call->n_keywords <= 8;
    struct pp_turn *turn = at_once ? NULL : turn_of(conn, lane);
    struct pp_task *task = new_task(conn, call, role, at_once ? 0 : room_for(call), now);

    if (task && at_once) {
        give_now(task, call);
    } else if (task && turn) {
        wait_in_line(task, turn, call);
    } else {
        pp_access_ended(server->rules->access, role);
        free(task);
        pp_conn_drop(conn, "out of memory");
    }
    if (!at_once && lane->running < lane->window)
        pp_task_pump(lane);
}

void pp_task_call(struct pp_conn *conn, const struct pp_message_call *call)
{
    struct pyproc_server *server = conn->server;
    const struct pyproc_bytes function = {call->function.data, call->function.size};
    const char *wrong = look_at(conn, call);
    int64_t now = pp_now();
    uint32_t role;

    if ((conn->options.id && conn->options.id != call->id) || pp_task_find(conn, call->id)) {
        pp_conn_deny(conn, PYPROC_END_PROTOCOL, "the call's number does not fit", "request.invalid",
                     "a number that is used, or not that of the options");
        return;
    }
    server->stats.calls++;
    if (server->drains) {
        pp_answer_refuse(conn, call->id, &function, PYPROC_END_CLOSED, "the server is leaving", 0,
                         "call.refused", "the server is leaving");
    } else if (wrong) {
        server->stats.invalid++;
        pp_answer_refuse(conn, call->id, &function, PYPROC_END_INVALID, wrong, 0, "request.invalid",
                         wrong);
    } else if (is_allowed(conn, call, now, &role)) {
        start(conn, call, role, now);
    }
    conn->options.id = 0;
}

void pp_task_take_back(struct pp_task *task, const char *text)
{
    struct pp_conn *conn = task->conn;
    struct pp_turn *turn = turn_of(conn, task->lane);

    unwait(task);
    if (turn && pp_list_empty(&turn->waiting))
        pp_list_remove(&turn->ring);
    pp_answer_refuse(conn, task->id, &task->function, PYPROC_END_TASK_KILLED, text, 0, NULL, NULL);
    pp_task_end(task);
}

void pp_task_revoke(struct pp_conn *conn, const struct pp_message_revoke *revoke)
{
    struct pp_task *task = pp_task_find(conn, revoke->id);

    if (task && !task->call_id)
        pp_task_take_back(task, "the call was cancelled before it started");
    else if (task)
        (void)pyproc_cancel(task->lane->pool, task->call_id, revoke->kill);
}
