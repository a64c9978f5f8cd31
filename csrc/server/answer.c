/* answer.c - ends of calls on their way to the client.
 *
 * A value goes as it is. Of everything else a client learns a code, a sentence that is the same for
 * everybody, and a correlation id; what really happened - messages, tracebacks, stacks, what a
 * worker printed - goes to the events under that id. Only a role that sees all gets it too.
 */
#include "server/server.h"

#include "event/queue.h"
#include "event/reply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_MOST = 1024, TRACE_MOST = 2048 };

static struct pp_bytes bytes_of(const char *text)
{
    return (struct pp_bytes){(const uint8_t *)text, text ? strlen(text) : 0};
}

static struct pp_bytes lent(struct pyproc_bytes bytes)
{
    return (struct pp_bytes){bytes.data, bytes.size};
}

static const char *sentence_for(enum pyproc_end end)
{
    switch (end) {
    case PYPROC_END_CRASHED:
        return "the worker crashed";
    case PYPROC_END_EXITED:
        return "the worker left";
    case PYPROC_END_KILLED:
        return "the worker was killed";
    case PYPROC_END_RUN_TIMEOUT:
        return "the call ran longer than its time limit";
    case PYPROC_END_QUEUE_TIMEOUT:
        return "no worker was free in time";
    case PYPROC_END_TASK_KILLED:
        return "the call was stopped on request";
    case PYPROC_END_START:
        return "no worker could be started";
    case PYPROC_END_CLOSED:
        return "the server is leaving";
    case PYPROC_END_QUEUE_FULL:
        return "the server is busy";
    case PYPROC_END_TOO_LARGE:
        return "the request or the answer is larger than the server takes";
    case PYPROC_END_MEMORY:
        return "the call wanted more memory than its limit";
    case PYPROC_END_CPU:
        return "the call used more processor time than its limit";
    case PYPROC_END_OUTPUT:
        return "the call printed more than its limit";
    default:
        return "the call could not be carried out";
    }
}

/* The sentence with the id at its end, so that it reaches a log by whatever way. */
static struct pp_bytes with_id(char *to, size_t room, const char *text, const char *correlation)
{
    (void)snprintf(to, room, "%.400s (correlation id %s)", text, correlation);
    return bytes_of(to);
}

void pp_answer_refuse(struct pp_conn *conn, uint64_t id, const struct pyproc_bytes *function,
                      enum pyproc_end end, const char *text, int64_t retry, const char *kind,
                      const char *why)
{
    char correlation[PP_CORRELATION], words[512];
    struct pp_message message = {.kind = PP_MESSAGE_CALL_END};
    struct pp_note note;

    message.call_end = (struct pp_message_call_end){
        .id = id,
        .end = end,
        .text = bytes_of(text),
        .retry_us = (uint64_t)retry / 1000,
        .limit = (uint64_t)retry,
    };
    if (kind) {
        pp_correlation(conn->server, correlation);
        pp_note_begin(&note);
        pp_note_conn(&note, conn);
        pp_note_word(&note, "correlation", correlation);
        pp_note_text(&note, "function", function->data, function->size, 256);
        pp_note_word(&note, "reason", why);
        pp_note_send(conn->server, kind, &note);
        message.call_end.correlation = bytes_of(correlation);
        message.call_end.text = with_id(words, sizeof words, text, correlation);
    }
    pp_conn_send(conn, &message);
}

static void note_failure(struct pp_note *note, const struct pyproc_failure *failure)
{
    const struct pyproc_failure_node *root = &failure->nodes[0];

    pp_note_number(note, "failure", failure->kind);
    pp_note_text(note, "type", root->type_name.data, root->type_name.size, 256);
    pp_note_text(note, "message", root->message.data, root->message.size, MESSAGE_MOST);
    pp_note_text(note, "path", failure->path.data, failure->path.size, 256);
    pp_note_text(note, "traceback", root->traceback.data, root->traceback.size, TRACE_MOST);
}

static void note_death(struct pp_note *note, const struct pyproc_death *death)
{
    pp_note_number(note, "signal", death->signal);
    pp_note_number(note, "exit_code", death->exit_code);
    pp_note_number(note, "worker_pid", death->pid);
    pp_note_number(note, "worker", death->worker_id);
    if (death->cause)
        pp_note_word(note, "cause", death->cause);
    pp_note_text(note, "stack", death->python_stack.data, death->python_stack.size, TRACE_MOST);
    pp_note_text(note, "stderr", death->stderr_tail.data, death->stderr_tail.size, MESSAGE_MOST);
}

/* The full text, for those who may read the events. */
static void tell(const struct pp_task *task, const struct pyproc_item *item,
                 const char *correlation)
{
    const struct pyproc_reply *reply = &item->reply;
    struct pp_note note;

    pp_note_begin(&note);
    pp_note_conn(&note, task->conn);
    pp_note_word(&note, "correlation", correlation);
    pp_note_text(&note, "function", item->text.data, item->text.size, 256);
    pp_note_number(&note, "end", reply->end);
    if (reply->text)
        pp_note_word(&note, "reason", reply->text);
    if (reply->failure && reply->failure->n_nodes)
        note_failure(&note, reply->failure);
    if (reply->death)
        note_death(&note, reply->death);
    pp_note_send(task->server, "call.failed", &note);
}

static void send_value(const struct pp_task *task, const struct pyproc_reply *reply)
{
    struct pp_message message = {.kind = PP_MESSAGE_RESULT};

    message.result = (struct pp_message_result){
        .id = task->id,
        .payload = {reply->payload, reply->size},
        .codec = (enum pp_codec)reply->codec,
        .count = reply->count,
    };
    pp_conn_send(task->conn, &message);
}

/* All nodes, as the worker sent them. */
static void send_whole_failure(const struct pp_task *task, const struct pyproc_failure *failure)
{
    struct pp_message message = {.kind = PP_MESSAGE_FAILURE};
    struct pp_failure_node *nodes = calloc(failure->n_nodes, sizeof *nodes);

    for (size_t i = 0; nodes && i < failure->n_nodes; i++) {
        const struct pyproc_failure_node *from = &failure->nodes[i];

        nodes[i] = (struct pp_failure_node){
            .relation = (enum pp_relation)from->relation,
            .parent = from->parent,
            .type_name = lent(from->type_name),
            .message = lent(from->message),
            .traceback = lent(from->traceback),
            .arguments = lent(from->arguments),
            .attributes = lent(from->attributes),
            .suppress_context = from->suppress_context != 0,
        };
    }
    message.failure = (struct pp_message_failure){
        .id = task->id,
        .kind = (enum pp_failure_kind)failure->kind,
        .nodes = nodes,
        .n_nodes = nodes ? failure->n_nodes : 0,
        .path = lent(failure->path),
    };
    if (nodes)
        pp_conn_send(task->conn, &message);
    else
        pp_conn_drop(task->conn, "out of memory");
    free(nodes);
}

/* The message as the exception's only argument, so that a builtin can be made again. */
static struct pp_bytes one_argument(uint8_t to[516], struct pp_bytes message)
{
    to[0] = 0x91;
    to[1] = 0xda;
    to[2] = (uint8_t)(message.size >> 8);
    to[3] = (uint8_t)message.size;
    memcpy(to + 4, message.data, message.size);
    return (struct pp_bytes){to, message.size + 4};
}

/* The type of the exception alone. Of a refused argument its name too: that is the client's own. */
static void send_safe_failure(const struct pp_task *task, const struct pyproc_failure *failure,
                              const char *correlation)
{
    char words[512];
    uint8_t arguments[516];
    bool is_argument = failure->kind == PP_FAILURE_VALIDATION && failure->path.size >= 9 &&
                       memcmp(failure->path.data, "argument ", 9) == 0;
    struct pp_failure_node node = {
        .type_name = lent(failure->nodes[0].type_name),
        .message =
            with_id(words, sizeof words,
                    is_argument ? "the arguments do not fit the function"
                    : failure->kind == PP_FAILURE_EXCEPTION ? "the function raised an exception"
                                                            : "the function could not answer",
                    correlation),
        .suppress_context = true,
    };
    struct pp_message message = {.kind = PP_MESSAGE_FAILURE};

    if (failure->kind == PP_FAILURE_EXCEPTION)
        node.arguments = one_argument(arguments, node.message);
    message.failure = (struct pp_message_failure){
        .id = task->id,
        .kind = (enum pp_failure_kind)failure->kind,
        .nodes = &node,
        .n_nodes = 1,
        .path = is_argument ? lent(failure->path) : (struct pp_bytes){NULL, 0},
    };
    pp_conn_send(task->conn, &message);
}

/* Text of a worker as a string of the protocol: bytes that are not plain become '?'. */
static struct pp_bytes plain(struct pyproc_reply *memory, struct pyproc_bytes text)
{
    char *mine = text.size ? pp_reply_alloc(memory, text.size) : NULL;
    const char *from = text.data;

    for (size_t i = 0; mine && i < text.size; i++) {
        bool is_plain = (from[i] >= ' ' && from[i] < 0x7f) || from[i] == '\n';

        mine[i] = '?';
        if (is_plain)
            mine[i] = from[i];
    }
    return (struct pp_bytes){(const uint8_t *)mine, mine ? text.size : 0};
}

static struct pp_message_death death_of(struct pyproc_reply *reply, bool sees_all)
{
    const struct pyproc_death *from = reply->death;
    struct pp_message_death death = {
        .signal = from->signal,
        .exit_code = from->exit_code + 1,
        .cause = bytes_of(from->cause),
    };

    if (!sees_all)
        return death;
    death.python_stack = plain(reply, from->python_stack);
    death.stderr_tail = plain(reply, from->stderr_tail);
    death.pid = from->pid;
    death.worker = from->worker_id;
    death.age = from->age;
    death.tasks_done = from->tasks_done;
    return death;
}

static void send_end(const struct pp_task *task, struct pyproc_reply *reply,
                     const char *correlation)
{
    char words[512];
    bool is_own = task->server->sees_all && reply->text;
    struct pp_message_death death;
    struct pp_message message = {.kind = PP_MESSAGE_CALL_END};

    message.call_end = (struct pp_message_call_end){
        .id = task->id,
        .end = reply->end,
        .text = with_id(words, sizeof words, is_own ? reply->text : sentence_for(reply->end),
                        correlation),
        .correlation = bytes_of(correlation),
        .limit = reply->limit,
        .used = reply->used,
        .how = bytes_of(reply->how),
    };
    if (reply->death) {
        death = death_of(reply, task->server->sees_all);
        message.call_end.death = &death;
    }
    if (reply->count) {
        message.call_end.payload = (struct pp_bytes){reply->payload, reply->size};
        message.call_end.codec = (enum pp_codec)reply->codec;
        message.call_end.count = reply->count;
    }
    pp_conn_send(task->conn, &message);
}

static bool fits(const struct pp_task *task, const struct pyproc_reply *reply)
{
    enum { HEAD = 512 };

    return reply->size + HEAD <= task->conn->max_frame &&
           (reply->codec != PYPROC_CODEC_PICKLE || reply->size == 0);
}

static void answer(struct pp_task *task, struct pyproc_item *item)
{
    struct pyproc_reply *reply = &item->reply;
    char correlation[PP_CORRELATION];

    if (!fits(task, reply)) {
        pyproc_reply_clear(reply);
        pp_reply_end(reply, PYPROC_END_TOO_LARGE, "the answer is larger than the client takes");
    }
    if (reply->end == PYPROC_END_VALUE) {
        if (task->stream_bytes)
            pp_stream_over(task);
        else
            send_value(task, reply);
        return;
    }
    pp_correlation(task->server, correlation);
    if (task->conn->state == PP_CONN_READY)
        tell(task, item, correlation);
    if (reply->end != PYPROC_END_FAILURE)
        send_end(task, reply, correlation);
    else if (task->server->sees_all)
        send_whole_failure(task, reply->failure);
    else
        send_safe_failure(task, reply->failure, correlation);
}

/* The call has left the pool, whatever became of its client. */
static void take(struct pp_task *task, struct pyproc_item *item)
{
    struct pp_conn *conn = task->conn;

    task->lane->running--;
    task->server->stats.calls_running--;
    if (conn) {
        conn->n_running--;
        pp_list_remove(&task->link);
        answer(task, item);
    }
    pp_task_pump(task->lane);
    pp_task_end(task);
    if (conn && conn->state != PP_CONN_DEAD) {
        pp_list_remove(&conn->again);
        pp_list_push_back(&conn->server->again, &conn->again);
    }
}

void pp_answers_take(struct pyproc_server *server)
{
    struct pyproc_item *item = pyproc_queue_take(server->answers);

    while (item) {
        struct pyproc_item *next = item->next;

        if (item->kind == PYPROC_ITEM_STREAM)
            pp_stream_forward(item->token, item);
        else
            take(item->token, item);
        pyproc_item_free(item);
        item = next;
    }
}

void pp_answers_ready(void *server, int events)
{
    (void)events;
    pp_answers_take(server);
    pp_server_settle(server);
}
