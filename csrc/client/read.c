/* read.c - answers to whoever waits for them. What a server sends is checked like what a worker
 * sends: it may be anybody's. */
#include "client/client.h"

#include "base/error.h"
#include "base/futex.h"
#include "event/queue.h"
#include "event/reply.h"
#include "ipc/socket.h"
#include "wire/frame.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct pyproc_reply *reply_of(struct pp_asked *asked)
{
    return asked->item ? &asked->item->reply : asked->reply;
}

/* Lock held: its reply is filled; it leaves every list. */
static void hand_over(struct pyproc_client *client, struct pp_asked *asked)
{
    pp_list_remove(&asked->link);
    pp_list_remove(&asked->line);
    client->n_asked--;
    if (asked->is_sent)
        client->n_sent--;
    reply_of(asked)->call_id = asked->id;
    if (!asked->queue) {
        asked->is_over = true;
        if (asked->sleeps)
            pp_futex_set(&asked->turn, atomic_load(&asked->turn) + 1);
    } else {
        client->n_submitted--;
        pp_queue_put(asked->queue, asked->item, asked->item);
        pyproc_queue_unref(asked->queue);
        free(asked);
    }
    if (client->n_asked == 0 && client->idlers)
        pp_futex_set(&client->idle, atomic_load(&client->idle) + 1);
}

void pp_client_end(struct pyproc_client *client, struct pp_asked *asked, enum pyproc_end end,
                   const char *text)
{
    pp_reply_end(reply_of(asked), end, text);
    hand_over(client, asked);
}

static void end_all(struct pyproc_client *client, enum pyproc_end end, const char *text)
{
    for (unsigned i = 0; i < PP_ASKED_BUCKETS; i++) {
        struct pp_list *bucket = &client->buckets[i], *at, *after;

        for (at = bucket->next; at != bucket; at = after) {
            struct pp_asked *asked = pp_container(at, struct pp_asked, link);

            after = at->next;
            pp_client_end(client, asked, end, text);
        }
    }
}

void pp_client_lost(struct pyproc_client *client, const char *why)
{
    if (!client->is_connected)
        return;
    client->is_connected = false;
    client->info.connected = 0;
    (void)shutdown(client->fd, SHUT_RDWR);
    pp_buffer_clear(&client->out, 0);
    client->line_bytes = 0;
    pp_list_init(&client->line); /* each is unlinked by its end */
    end_all(client, client->is_closed ? PYPROC_END_CLOSED : PYPROC_END_DISCONNECTED, why);
    client->n_sent = 0;
}

void pp_client_expire(struct pyproc_client *client)
{
    int64_t now = pp_now();

    for (unsigned i = 0; i < PP_ASKED_BUCKETS; i++) {
        struct pp_list *bucket = &client->buckets[i], *at, *after;

        for (at = bucket->next; at != bucket; at = after) {
            struct pp_asked *asked = pp_container(at, struct pp_asked, link);

            after = at->next;
            if (asked->deadline > now)
                continue;
            if (!asked->is_sent) {
                client->line_bytes -= asked->size;
                pp_client_end(client, asked, PYPROC_END_QUEUE_TIMEOUT,
                              "its time was over before it could be sent");
            } else if (now - asked->deadline > PP_ANSWER_GRACE) {
                pp_client_end(client, asked, PYPROC_END_RUN_TIMEOUT,
                              "the server did not end it in time");
            }
        }
    }
}

static struct pyproc_bytes public_bytes(struct pp_bytes bytes)
{
    return (struct pyproc_bytes){bytes.data, bytes.size};
}

/* A string that ends with NUL, of the reply; NULL when there is none. */
static const char *word(struct pyproc_reply *reply, struct pp_bytes text)
{
    char *mine = text.size ? pp_reply_alloc(reply, text.size + 1) : NULL;

    if (!mine)
        return NULL;
    memcpy(mine, text.data, text.size);
    mine[text.size] = '\0';
    return mine;
}

static void take_end(struct pyproc_reply *reply, const struct pp_message_call_end *end)
{
    const struct pp_message_death *death = end->death;

    if (end->count)
        pp_reply_value(reply, (int)end->codec, end->payload.data, end->payload.size, end->count);
    pp_reply_end(reply, (enum pyproc_end)end->end, NULL);
    reply->text = word(reply, end->text);
    reply->limit = end->limit;
    reply->used = end->used;
    reply->how = word(reply, end->how);
    if (death) {
        const struct pyproc_death facts = {
            .signal = death->signal,
            .exit_code = death->exit_code - 1,
            .pid = death->pid,
            .worker_id = death->worker,
            .cause = word(reply, death->cause),
            .age = death->age,
            .tasks_done = death->tasks_done,
            .python_stack = public_bytes(death->python_stack),
            .stderr_tail = public_bytes(death->stderr_tail),
            .refused = -1,
        };

        pp_reply_death(reply, &facts);
    }
}

static bool is_end(uint32_t end)
{
    return (end > PYPROC_END_FAILURE && end <= PYPROC_END_THREADS) ||
           (end >= PYPROC_END_DENIED && end <= PYPROC_END_DISCONNECTED);
}

/* Lock held. NULL, or what is wrong with it. */
static const char *take_items(struct pp_asked *asked, const struct pp_message_stream_item *from)
{
    struct pyproc_item *item;

    if (from->first != asked->came_items)
        return "the server sent items of a stream out of order";
    if (from->count > asked->call.stream_items - asked->came_items ||
        asked->came_bytes >= asked->call.stream_bytes)
        return "the server sent more items than it was asked for";
    item = pp_item_new(PYPROC_ITEM_STREAM);
    if (item)
        pp_reply_value(&item->reply, (int)from->codec, from->payload.data, from->payload.size,
                       from->count);
    if (!item || item->reply.end != PYPROC_END_VALUE) {
        pyproc_item_free(item);
        return "the client is out of memory";
    }
    item->token = asked->item->token;
    item->reply.call_id = asked->id;
    asked->came_items += from->count;
    asked->came_bytes += from->payload.size;
    pp_queue_put(asked->queue, item, item);
    return NULL;
}

static uint64_t id_of(const struct pp_message *message)
{
    switch (message->kind) {
    case PP_MESSAGE_RESULT:
        return message->result.id;
    case PP_MESSAGE_FAILURE:
        return message->failure.id;
    case PP_MESSAGE_STREAM_ITEM:
        return message->stream_item.id;
    case PP_MESSAGE_STREAM_END:
        return message->stream_end.id;
    case PP_MESSAGE_CALL_END:
        return message->call_end.id;
    default:
        return 0;
    }
}

/* Lock held: what came for a call. NULL, or what is wrong with it. */
static const char *answer(struct pyproc_client *client, struct pp_asked *asked,
                          const struct pp_message *message)
{
    bool is_stream = asked->call.stream_items != 0;
    bool for_stream =
        message->kind == PP_MESSAGE_STREAM_ITEM || message->kind == PP_MESSAGE_STREAM_END;

    if (for_stream ? !is_stream : is_stream && message->kind == PP_MESSAGE_RESULT)
        return "the server took a stream for a call, or a call for a stream";
    if (message->kind == PP_MESSAGE_STREAM_ITEM)
        return take_items(asked, &message->stream_item);
    if (message->kind == PP_MESSAGE_STREAM_END && message->stream_end.items != asked->came_items)
        return "the end of a stream does not fit its items";
    if (message->kind == PP_MESSAGE_STREAM_END)
        pp_reply_value(reply_of(asked), PYPROC_CODEC_MSGPACK, "", 0, 0);
    else if (message->kind == PP_MESSAGE_RESULT)
        pp_reply_value(reply_of(asked), (int)message->result.codec, message->result.payload.data,
                       message->result.payload.size, message->result.count);
    else if (message->kind == PP_MESSAGE_FAILURE)
        pp_reply_failure(reply_of(asked), &message->failure);
    else
        take_end(reply_of(asked), &message->call_end);
    hand_over(client, asked);
    return NULL;
}

/* Lock held: one message of the server. NULL, or what is wrong with it. */
static const char *take(struct pyproc_client *client, const struct pp_message *message)
{
    struct pp_asked *asked;
    uint64_t id = id_of(message);

    if (message->kind == PP_MESSAGE_PONG) {
        client->pongs = message->nonce;
        pp_futex_set(&client->idle, atomic_load(&client->idle) + 1);
        return NULL;
    }
    if (message->kind == PP_MESSAGE_PING || message->kind == PP_MESSAGE_GOODBYE)
        return NULL;
    if (message->kind == PP_MESSAGE_DENIED) {
        pp_client_lost(client, "the server ended the connection");
        return NULL;
    }
    if (id == 0)
        return "the server sent a message of the handshake";
    if (message->kind == PP_MESSAGE_CALL_END && !is_end(message->call_end.end))
        return "the server sent an end that there is not";
    if (message->kind == PP_MESSAGE_FAILURE && message->failure.kind == PP_FAILURE_START)
        return "the server sent the failure of a start";
    asked = pp_client_find(client, id);
    if (!asked || !asked->is_sent)
        return NULL; /* somebody has stopped waiting for it */
    return answer(client, asked, message);
}

/* The leader: whole messages out of what was read. */
static void take_all(struct pyproc_client *client)
{
    for (;;) {
        struct pp_message message;
        const char *wrong = NULL;
        const uint8_t *body;
        size_t n;
        int r = pp_frame_reader_next(client->reader, &body, &n);

        if (r == PP_FRAME_MORE)
            return;
        if (r == 0) {
            pp_arena_reset(&client->arena);
            r = pp_message_read(&client->arena, PP_FROM_SERVER, body, n, &message);
        }
        if (r != 0)
            wrong = r < 0 ? "the client is out of memory" : "the server broke the protocol";
        (void)pthread_mutex_lock(&client->lock);
        if (!wrong)
            wrong = take(client, &message);
        if (wrong)
            pp_client_lost(client, wrong);
        (void)pthread_mutex_unlock(&client->lock);
        if (wrong)
            return;
    }
}

/* Reads once. False: the connection is at its end. */
static bool receive(struct pyproc_client *client, int fd, int flags)
{
    uint8_t *space;
    size_t room;
    ssize_t n;

    if (pp_frame_reader_space(client->reader, &space, &room) < 0)
        return false;
    n = pp_socket_receive(fd, space, room, flags);
    if (n > 0)
        pp_frame_reader_filled(client->reader, (size_t)n);
    return n > 0 || n == -EAGAIN || n == -EINTR;
}

void pp_client_lead(struct pyproc_client *client, bool waits)
{
    bool unsent = pp_buffer_size(&client->out) > 0;
    int fd = client->fd;
    bool is_there;

    client->leads = true;
    client->users++;
    (void)pthread_mutex_unlock(&client->lock);
    if (unsent && waits) { /* neither end ever writes without reading */
        struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};

        (void)poll(&p, 1, 1000);
        waits = false;
    }
    is_there = receive(client, fd, waits ? 0 : MSG_DONTWAIT);
    if (is_there)
        take_all(client);
    (void)pthread_mutex_lock(&client->lock);
    client->users--;
    client->leads = false;
    if (!is_there)
        pp_client_lost(client, "the server closed the connection");
    if (client->is_connected)
        pp_client_send_line(client);
    pp_client_expire(client);
}

void pp_client_pass_on(struct pyproc_client *client)
{
    if (client->leads || client->n_asked == 0)
        return;
    if (client->n_submitted && client->has_thread) {
        pp_futex_set(&client->work, atomic_load(&client->work) + 1);
        return;
    }
    for (unsigned i = 0; i < PP_ASKED_BUCKETS; i++) {
        struct pp_list *bucket = &client->buckets[i];

        for (struct pp_list *at = bucket->next; at != bucket; at = at->next) {
            struct pp_asked *asked = pp_container(at, struct pp_asked, link);

            if (asked->queue)
                continue;
            pp_futex_set(&asked->turn, atomic_load(&asked->turn) + 1);
            return;
        }
    }
}

static void *run(void *token)
{
    struct pyproc_client *client = token;

    (void)pthread_setname_np(pthread_self(), "pyproc-client");
    (void)pthread_mutex_lock(&client->lock);
    while (!client->ends_thread) {
        if (client->is_connected && client->n_submitted && !client->leads) {
            pp_client_lead(client, true);
            pp_client_pass_on(client);
        } else {
            uint32_t seen = atomic_load(&client->work);

            (void)pthread_mutex_unlock(&client->lock);
            (void)pp_futex_wait(&client->work, seen, 3600 * PP_SECOND);
            (void)pthread_mutex_lock(&client->lock);
        }
    }
    (void)pthread_mutex_unlock(&client->lock);
    return NULL;
}

int pp_client_start_thread(struct pyproc_client *client)
{
    sigset_t all, before;
    int r;

    if (client->has_thread)
        return 0;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&client->thread, NULL, run, client);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0)
        return pp_fail(-r, "start the client's reader thread");
    client->has_thread = true;
    return 0;
}
