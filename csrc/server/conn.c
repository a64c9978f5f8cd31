/* conn.c - one client's bytes, in both directions, within bounds.
 *
 * A client is read from while it has room: calls under way, answers that it has not read, and a
 * grant for a large frame. Whoever reads or writes without progress for STALL is dropped.
 */
#include "server/server.h"

#include "base/error.h"
#include "base/fd.h"
#include "event/loop.h"
#include "ipc/socket.h"
#include "wire/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A frame that has begun goes on at this pace; answers are read at any pace, but read. */
#define PACE_TIME (10 * PP_SECOND)
#define PACE_BYTES ((size_t)64 * 1024)
#define STALL (30 * PP_SECOND)

static bool may_read(struct pp_conn *conn)
{
    if (conn->state >= PP_CONN_LEAVING || pp_buffer_size(&conn->out) > PP_OUT_PAUSE)
        return false;
    return conn->state != PP_CONN_READY || !pp_task_is_full(conn);
}

/* A large frame needs a grant: those who have one are always read to its end, so that a budget
 * that is used up frees itself. */
static bool has_grant(struct pp_conn *conn)
{
    struct pyproc_server *server = conn->server;
    size_t needs = conn->reader ? pp_frame_reader_needs(conn->reader) : 0;

    if (needs <= PP_FRAME_FREE || conn->granted >= needs)
        return true;
    if (server->granted > 0 && server->granted + needs > server->max_bytes / 2) {
        server->starved = true;
        return false;
    }
    server->granted += needs - conn->granted;
    conn->granted = needs;
    return true;
}

static void give_back_grant(struct pp_conn *conn)
{
    conn->server->granted -= conn->granted;
    conn->granted = 0;
}

void pp_conn_watch(struct pp_conn *conn)
{
    int events = 0;

    if (conn->state == PP_CONN_DEAD)
        return;
    if (may_read(conn) && has_grant(conn))
        events |= PP_WATCH_READ;
    else if (conn->state < PP_CONN_LEAVING)
        events |= PP_WATCH_HANGUP;
    if (pp_buffer_size(&conn->out) > 0)
        events |= PP_WATCH_WRITE;
    if (pp_watch_set(conn->watch, events) < 0)
        pp_conn_drop(conn, "it cannot be watched");
    else
        pp_server_time(conn->server);
}

void pp_conn_drop(struct pp_conn *conn, const char *why)
{
    struct pyproc_server *server = conn->server;
    struct pp_note note;

    if (conn->state == PP_CONN_DEAD)
        return;
    if (why) {
        server->stats.clients_dropped++;
        pp_note_begin(&note);
        pp_note_conn(&note, conn);
        pp_note_word(&note, "reason", why);
        pp_note_send(server, "connection.dropped", &note);
    }
    conn->state = PP_CONN_DEAD;
    pp_task_forget(conn);
    give_back_grant(conn);
    conn->watch = pp_watch_free(conn->watch);
    conn->fd = pp_close(conn->fd);
    pp_list_remove(&conn->again);
    pp_list_remove(&conn->link);
    pp_list_push_back(&server->dead, &conn->link);
    server->n_conns--;
}

void pp_conn_free(struct pp_conn *conn)
{
    conn->reader = pp_frame_reader_free(conn->reader);
    pp_buffer_deinit(&conn->out);
    free(conn->turns);
    explicit_bzero(conn->nonces, sizeof conn->nonces);
    free(conn);
}

static void flush(struct pp_conn *conn)
{
    while (pp_buffer_size(&conn->out) > 0) {
        ssize_t n = pp_socket_send(conn->fd, pp_buffer_bytes(&conn->out),
                                   pp_buffer_size(&conn->out), MSG_DONTWAIT);

        if (n == -EINTR)
            continue;
        if (n == -EAGAIN) {
            if (conn->stalled == 0)
                conn->stalled = pp_now_coarse();
            return;
        }
        if (n < 0) {
            conn->server->stats.clients_lost++;
            pp_conn_drop(conn, NULL);
            return;
        }
        pp_buffer_consume(&conn->out, (size_t)n);
        conn->stalled = 0;
    }
    pp_buffer_clear(&conn->out, 0);
    if (conn->state == PP_CONN_LEAVING)
        pp_conn_drop(conn, NULL);
}

void pp_conn_send(struct pp_conn *conn, const struct pp_message *message)
{
    struct pp_arena arena;
    size_t before = pp_buffer_size(&conn->out);
    int r;

    if (conn->state == PP_CONN_DEAD)
        return;
    pp_arena_init(&arena, SIZE_MAX);
    r = pp_message_write(&conn->out, &arena, conn->max_frame, message);
    pp_arena_deinit(&arena);
    if (r < 0) {
        pp_conn_drop(conn, "an answer cannot be written");
        return;
    }
    conn->active = pp_now_coarse();
    if (pp_buffer_size(&conn->out) > conn->server->max_client_bytes + PP_OUT_PAUSE) {
        pp_conn_drop(conn, "it does not read its answers");
        return;
    }
    if (before == 0)
        flush(conn);
    pp_conn_watch(conn);
}

void pp_conn_deny(struct pp_conn *conn, enum pyproc_end end, const char *text, const char *kind,
                  const char *why)
{
    struct pyproc_server *server = conn->server;
    char correlation[PP_CORRELATION];
    struct pp_note note;
    struct pp_message message = {.kind = PP_MESSAGE_DENIED};

    if (conn->state >= PP_CONN_LEAVING)
        return;
    pp_correlation(server, correlation);
    pp_note_begin(&note);
    pp_note_conn(&note, conn);
    pp_note_word(&note, "correlation", correlation);
    pp_note_word(&note, "reason", why);
    pp_note_send(server, kind, &note);
    message.denied = (struct pp_message_denied){
        .end = end,
        .text = {(const uint8_t *)text, strlen(text)},
        .correlation = {(const uint8_t *)correlation, strlen(correlation)},
    };
    pp_task_forget(conn);
    conn->state = PP_CONN_LEAVING;
    conn->born = pp_now(); /* it has as long to read that as a handshake may take */
    pp_conn_send(conn, &message);
}

static void take_message(struct pp_conn *conn, const struct pp_message *message)
{
    struct pp_message pong = {.kind = PP_MESSAGE_PONG};

    if (conn->options.id && message->kind != PP_MESSAGE_CALL) {
        pp_conn_deny(conn, PYPROC_END_PROTOCOL, "options without their call", "request.invalid",
                     "options without their call");
        return;
    }
    switch (message->kind) {
    case PP_MESSAGE_CALL:
        pp_task_call(conn, &message->call);
        break;
    case PP_MESSAGE_CALL_OPTIONS:
        conn->options = message->call_options;
        break;
    case PP_MESSAGE_REVOKE:
        pp_task_revoke(conn, &message->revoke);
        break;
    case PP_MESSAGE_STREAM_CREDIT:
        pp_stream_credit(conn, &message->stream_credit);
        break;
    case PP_MESSAGE_STREAM_END:
        pp_stream_end(conn, message->stream_end.id);
        break;
    case PP_MESSAGE_PING: /* a client may ask so whether its Revoke was in time */
        pp_answers_take(conn->server);
        pong.nonce = message->nonce;
        pp_conn_send(conn, &pong);
        break;
    case PP_MESSAGE_PONG:
        break;
    case PP_MESSAGE_GOODBYE:
        pp_conn_drop(conn, NULL);
        break;
    default:
        pp_conn_deny(conn, PYPROC_END_PROTOCOL, "the message does not belong there",
                     "request.invalid", "a handshake's message after the handshake");
    }
}

static void bad_frame(struct pp_conn *conn, const char *why)
{
    conn->server->stats.invalid++;
    pp_conn_deny(conn, PYPROC_END_INVALID, why, "request.invalid", why);
}

/* Takes the whole messages that are there, as long as the client has room. */
static void take_messages(struct pp_conn *conn)
{
    struct pyproc_server *server = conn->server;

    while (conn->reader && may_read(conn)) {
        struct pp_message message;
        const uint8_t *body;
        size_t n;
        int r = pp_frame_reader_next(conn->reader, &body, &n);

        if (r == PP_FRAME_MORE)
            break;
        if (r != 0) {
            bad_frame(conn, r == PP_FRAME_TOO_LONG ? "a message is longer than the server takes"
                                                   : "a message is empty");
            break;
        }
        pp_arena_reset(&server->arena);
        r = pp_message_read(&server->arena, PP_FROM_CLIENT, body, n, &message);
        if (r == PP_MESSAGE_BAD) {
            bad_frame(conn, pp_message_why());
        } else if (r < 0) {
            pp_conn_drop(conn, "out of memory");
        } else {
            give_back_grant(conn);
            conn->active = pp_now_coarse();
            if (conn->state == PP_CONN_READY)
                take_message(conn, &message);
            else
                pp_hello_message(conn, &message);
        }
    }
}

/* Whoever has nothing unfinished keeps no memory. */
static void put_reader_away(struct pp_conn *conn)
{
    if (!conn->reader || pp_frame_reader_partial(conn->reader) ||
        pp_frame_reader_ready(conn->reader))
        return;
    if (conn->server->spare)
        (void)pp_frame_reader_free(conn->server->spare);
    conn->server->spare = conn->reader;
    conn->reader = NULL;
}

static int receive(struct pp_conn *conn)
{
    struct pyproc_server *server = conn->server;
    uint8_t *space = NULL;
    size_t room = 0;
    ssize_t n;
    int r = 0;

    if (!conn->reader && server->spare) {
        conn->reader = server->spare;
        server->spare = NULL;
    } else if (!conn->reader) {
        r = pp_frame_reader_new(server->max_frame, &conn->reader);
    }
    if (r == 0)
        r = pp_frame_reader_space(conn->reader, &space, &room);
    if (r < 0)
        return r;
    n = pp_socket_receive(conn->fd, space, room < PP_READ_AT_ONCE ? room : PP_READ_AT_ONCE,
                          MSG_DONTWAIT);
    if (n > 0) {
        pp_frame_reader_filled(conn->reader, (size_t)n);
        conn->begun_bytes += (size_t)n;
    }
    return (int)n;
}

static void keep_pace(struct pp_conn *conn)
{
    if (!conn->reader || !pp_frame_reader_partial(conn->reader)) {
        conn->begun = 0;
    } else if (conn->begun == 0) {
        conn->begun = pp_now_coarse();
        conn->begun_bytes = 0;
    }
}

void pp_conn_resume(struct pp_conn *conn)
{
    if (conn->state == PP_CONN_DEAD)
        return;
    take_messages(conn);
    if (conn->state == PP_CONN_DEAD)
        return;
    keep_pace(conn);
    put_reader_away(conn);
    pp_conn_watch(conn);
}

void pp_conn_ready(void *token, int events)
{
    struct pp_conn *conn = token;
    struct pyproc_server *server = conn->server;

    if (conn->state != PP_CONN_DEAD && (events & PP_WATCH_WRITE))
        flush(conn);
    if (conn->state != PP_CONN_DEAD && (events & PP_WATCH_READ) && may_read(conn)) {
        int r = receive(conn);

        if (r == 0 || r == -ECONNRESET || r == -EPIPE) {
            server->stats.clients_lost++;
            pp_conn_drop(conn, NULL);
        } else if (r == -EBADMSG) {
            bad_frame(conn, "a descriptor came, and nobody asked for one");
        } else if (r < 0 && r != -EAGAIN && r != -EINTR) {
            pp_conn_drop(conn, "it cannot be read from");
        }
    } else if (conn->state != PP_CONN_DEAD && (events & PP_WATCH_HANGUP)) {
        server->stats.clients_lost++;
        pp_conn_drop(conn, NULL);
    }
    pp_conn_resume(conn);
    pp_server_settle(server);
}

bool pp_conn_waits(const struct pp_conn *conn)
{
    return conn->state != PP_CONN_READY || conn->begun || conn->stalled ||
           conn->server->idle_timeout != PP_NEVER;
}

/* Time that a client has without progress, by what it is in the middle of. */
bool pp_conn_due(struct pp_conn *conn, int64_t now)
{
    const struct pyproc_server *server = conn->server;

    if (conn->state != PP_CONN_READY && now - conn->born > server->handshake_timeout) {
        pp_conn_drop(conn, conn->state == PP_CONN_LEAVING ? "it did not read why it was refused"
                                                          : "its handshake took too long");
    } else if (conn->begun && may_read(conn) && has_grant(conn) && now - conn->begun > PACE_TIME) {
        if (conn->begun_bytes < PACE_BYTES) {
            pp_conn_drop(conn, "it sends a message too slowly");
            return true;
        }
        conn->begun = now;
        conn->begun_bytes = 0;
    } else if (conn->stalled && now - conn->stalled > STALL) {
        pp_conn_drop(conn, "it does not read its answers");
    } else if (conn->state == PP_CONN_READY && server->idle_timeout != PP_NEVER &&
               conn->n_running + conn->n_waiting == 0 &&
               now - conn->active > server->idle_timeout) {
        pp_conn_drop(conn, "it was idle for too long");
    } else {
        return false;
    }
    return true;
}
