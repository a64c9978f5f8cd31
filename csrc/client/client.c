/* client.c - calls through a named socket, as a pool's own callers make them. */
#include "client/client.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/futex.h"
#include "event/queue.h"
#include "event/reply.h"
#include "wire/frame.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

PYPROC_API void pyproc_client_config_init(struct pyproc_client_config *config)
{
    *config = (struct pyproc_client_config){
        .server_uid = UINT32_MAX,
        .timeout = 5 * PP_SECOND,
        .max_frame = (size_t)16 << 20,
    };
}

static void destroy(struct pyproc_client *client)
{
    client->fd = pp_close(client->fd);
    client->reader = pp_frame_reader_free(client->reader);
    pp_buffer_deinit(&client->out);
    pp_arena_deinit(&client->words);
    pp_arena_deinit(&client->arena);
    pp_arena_deinit(&client->packing);
    if (client->secret)
        explicit_bzero(client->secret, client->secret_size);
    free(client->secret);
    pp_fork_mark_deinit(&client->mark);
    (void)pthread_mutex_destroy(&client->lock);
    (void)pthread_mutex_destroy(&client->connecting);
    free(client);
}

static int take_key(struct pyproc_client *client, const struct pyproc_key *key)
{
    uint8_t secret[PP_KEY_MOST];
    size_t n = key->secret.size;
    int r = 0;

    if (!key->id)
        return 0;
    if (strlen(key->id) < 1 || strlen(key->id) > PP_KEY_ID_MAX)
        return pp_fail(-EINVAL, "use a key whose id has not 1 to %d bytes", PP_KEY_ID_MAX);
    if (n == 0 && key->file)
        r = pp_key_file_read(key->file, secret, &n);
    else if (n < PP_KEY_LEAST || n > PP_KEY_MOST)
        r = pp_fail(-EINVAL, "use a key of %zu bytes: it has %d to %d", n, PP_KEY_LEAST,
                    PP_KEY_MOST);
    else
        memcpy(secret, key->secret.data, n);
    if (r == 0) {
        (void)snprintf(client->key_id, sizeof client->key_id, "%s", key->id);
        client->secret = malloc(n ? n : 1);
        client->secret_size = n;
        if (client->secret)
            memcpy(client->secret, secret, n);
        r = client->secret ? 0 : -ENOMEM;
    }
    explicit_bzero(secret, sizeof secret);
    return r;
}

static struct pyproc_client *client_new(const struct pyproc_client_config *config)
{
    struct pyproc_client *client = calloc(1, sizeof *client);

    if (!client)
        return NULL;
    if (pp_fork_mark_init(&client->mark) < 0) {
        free(client);
        return NULL;
    }
    (void)pthread_mutex_init(&client->lock, NULL);
    (void)pthread_mutex_init(&client->connecting, NULL);
    (void)snprintf(client->path, sizeof client->path, "%s", config->path);
    client->fd = -1;
    client->server_uid = config->server_uid;
    client->timeout = config->timeout;
    client->max_frame = config->max_frame;
    for (unsigned i = 0; i < PP_ASKED_BUCKETS; i++)
        pp_list_init(&client->buckets[i]);
    pp_list_init(&client->line);
    pp_buffer_init(&client->out, SIZE_MAX / 2);
    pp_arena_init(&client->words, SIZE_MAX);
    pp_arena_init(&client->arena, pp_message_arena_limit(config->max_frame));
    pp_arena_init(&client->packing, SIZE_MAX);
    client->next_id = 1;
    return client;
}

PYPROC_API int pyproc_connect(const struct pyproc_client_config *config,
                              const struct pyproc_wait *wait, struct pyproc_reply *reply,
                              struct pyproc_client **clientp)
{
    struct pyproc_client *client;
    int r;

    pp_reply_init(reply);
    if (!config->path || strlen(config->path) >= sizeof client->path)
        return pp_fail(-EINVAL, "connect to a path that has not 1 to 107 bytes");
    if (config->max_frame < 4096 || config->max_frame > PP_FRAME_LIMIT || config->timeout < 1)
        return pp_fail(-EINVAL, "connect with max_frame from 4096 to 0x50590000, and a timeout");
    client = client_new(config);
    if (!client)
        return pp_fail(-ENOMEM, "make a client");
    r = take_key(client, &config->key);
    if (r == 0)
        r = pp_client_connect(client, wait, reply);
    if (r < 0 || reply->end != PYPROC_END_VALUE)
        destroy(client);
    else
        *clientp = client;
    return r;
}

/* Before a call: there is a connection, or a new one is made. False: the reply says why not. */
static bool be_connected(struct pyproc_client *client, const struct pyproc_wait *wait,
                         struct pyproc_reply *reply)
{
    bool fine, busy;
    int r = 0;

    (void)pthread_mutex_lock(&client->lock);
    fine = client->is_connected || client->is_closed;
    (void)pthread_mutex_unlock(&client->lock);
    if (fine)
        return true;
    (void)pthread_mutex_lock(&client->connecting);
    (void)pthread_mutex_lock(&client->lock);
    fine = client->is_connected || client->is_closed;
    busy = client->users > 0; /* still leaving the old connection */
    (void)pthread_mutex_unlock(&client->lock);
    if (!fine && !busy)
        r = pp_client_connect(client, wait, reply);
    (void)pthread_mutex_unlock(&client->connecting);
    if (r < 0)
        pp_reply_end(reply, PYPROC_END_DISCONNECTED, pyproc_error_text());
    else if (!fine && busy)
        pp_reply_end(reply, PYPROC_END_DISCONNECTED, "the connection has just been lost");
    return fine || (!busy && r == 0 && reply->end == PYPROC_END_VALUE);
}

static uint64_t microseconds(int64_t ns)
{
    return ns <= 0 ? 0 : (uint64_t)ns / 1000 + (ns % 1000 != 0);
}

static void fill_options(const struct pyproc_request *request, struct pp_asked *asked)
{
    asked->options = (struct pp_message_call_options){
        .run_us = microseconds(request->run_timeout),
        .queue_us = microseconds(request->queue_timeout),
        .priority = request->priority,
        .memory = request->memory_limit,
        .cpu_us = microseconds(request->cpu_limit),
        .output = request->output_limit,
        .result_size = request->result_limit,
        .item_us = microseconds(request->item_timeout),
    };
    if (request->run_timeout || request->queue_timeout || request->priority ||
        request->memory_limit || request->cpu_limit || request->output_limit ||
        request->result_limit || request->item_timeout)
        asked->options.id = 1; /* the call's number, when it has one */
}

static size_t room_for(const struct pyproc_request *request, bool copies)
{
    size_t n = request->n_keywords * sizeof(struct pp_bytes);

    if (copies)
        n += request->function.size + request->payload.size;
    for (size_t i = 0; copies && i < request->n_keywords; i++)
        n += request->keywords[i].size;
    return n;
}

static struct pp_bytes place(uint8_t **at, struct pyproc_bytes bytes, bool copies)
{
    struct pp_bytes placed = {copies ? *at : bytes.data, bytes.size};

    if (copies && bytes.size) {
        memcpy(*at, bytes.data, bytes.size);
        *at += bytes.size;
    }
    return placed;
}

/* `copies`: the request's bytes are not there until the end of the call. */
static struct pp_asked *asked_new(const struct pyproc_request *request, bool copies)
{
    size_t room = room_for(request, copies);
    struct pp_asked *asked = malloc(sizeof *asked + room);
    struct pp_bytes *keywords;
    uint8_t *at;

    if (!asked)
        return NULL;
    memset(asked, 0, sizeof *asked);
    pp_list_init(&asked->link);
    pp_list_init(&asked->line);
    keywords = (struct pp_bytes *)(void *)asked->bytes;
    at = (uint8_t *)(keywords + request->n_keywords);
    asked->deadline = request->deadline ? request->deadline : PP_NEVER;
    asked->size = room;
    asked->call = (struct pp_message_call){
        .function = place(&at, request->function, copies),
        .payload = place(&at, request->payload, copies),
        .codec = (enum pp_codec)request->codec,
        .keywords = keywords,
        .n_keywords = request->n_keywords,
        .items = request->items,
        .stream_items = request->stream_items,
        .stream_bytes = request->stream_bytes,
    };
    for (size_t i = 0; i < request->n_keywords; i++)
        keywords[i] = place(&at, request->keywords[i], copies);
    fill_options(request, asked);
    return asked;
}

/* Lock held: into the line, and out of it as far as the server takes it. */
static void ask(struct pyproc_client *client, struct pp_asked *asked)
{
    asked->id = asked->call.id = client->next_id++;
    if (asked->options.id)
        asked->options.id = asked->id;
    pp_list_push_back(&client->buckets[asked->id % PP_ASKED_BUCKETS], &asked->link);
    pp_list_push_back(&client->line, &asked->line);
    client->line_bytes += asked->size;
    client->n_asked++;
    if (asked->queue)
        client->n_submitted++;
    pp_client_send_line(client);
}

/* NULL, or why this request does not go to a server. */
static const char *look_at(struct pyproc_client *client, const struct pyproc_request *request)
{
    if (request->n_attachments)
        return "files do not travel to a server: send their content, or a path that it may read";
    if (request->baggage.size)
        return "context variables do not travel to a server";
    if (request->codec == PYPROC_CODEC_PICKLE)
        return "pickles do not travel to a server";
    if (request->function.size + request->payload.size + 512 > client->max_frame)
        return "the arguments are larger than a message may be";
    return NULL;
}

/* False: the reply says why. */
static bool may_ask(struct pyproc_client *client, const struct pyproc_request *request,
                    const struct pyproc_wait *wait, struct pyproc_reply *reply)
{
    const char *wrong;

    pp_reply_init(reply);
    if (pp_is_fork_copy(&client->mark)) {
        pp_reply_end(reply, PYPROC_END_CLOSED, "the client belongs to the process that forked");
        return false;
    }
    wrong = look_at(client, request);
    if (wrong) {
        pp_reply_end(reply, PYPROC_END_INVALID, wrong);
        return false;
    }
    return be_connected(client, wait, reply);
}

/* Lock held: tells the server that nobody wants it any more. */
static void tell_server(struct pyproc_client *client, uint64_t id, bool kill)
{
    struct pp_message message = {.kind = PP_MESSAGE_REVOKE};

    message.revoke = (struct pp_message_revoke){id, kill};
    if (client->is_connected && pp_client_put(client, &message) == 0)
        (void)pp_client_flush(client);
}

/* Lock held: the thread does not wait any longer. */
static void abandon(struct pyproc_client *client, struct pp_asked *asked)
{
    bool was_sent = asked->is_sent;

    if (!was_sent)
        client->line_bytes -= asked->size;
    if (was_sent && pp_buffer_size(&client->out) > 0)
        pp_client_lost(client, "a call was left while it was being sent");
    else if (was_sent)
        tell_server(client, asked->id, true);
    if (!asked->is_over)
        pp_client_end(client, asked, PYPROC_END_INTERRUPTED, NULL);
    else
        asked->reply->end = PYPROC_END_INTERRUPTED;
}

/* Waits for the end of a call of this thread; leads when nobody does. Lock held. */
static void await(struct pyproc_client *client, struct pp_asked *asked,
                  const struct pyproc_wait *wait)
{
    int64_t looked = pp_now_coarse();

    while (!asked->is_over) {
        bool interrupted = false;

        if (!client->leads && client->is_connected) {
            pp_client_lead(client, true);
        } else {
            uint32_t seen = atomic_load(&asked->turn);

            asked->sleeps = true;
            (void)pthread_mutex_unlock(&client->lock);
            (void)pp_futex_wait(&asked->turn, seen, PP_SECOND);
            (void)pthread_mutex_lock(&client->lock);
            asked->sleeps = false;
        }
        if (asked->is_over)
            break;
        /* EINTR shows as a short wait; asking costs the GIL, so not after every message. */
        if (pp_now_coarse() - looked > PP_SECOND / 20) {
            (void)pthread_mutex_unlock(&client->lock);
            interrupted = wait && wait->interrupted && wait->interrupted(wait->token);
            (void)pthread_mutex_lock(&client->lock);
            looked = pp_now_coarse();
        }
        if (interrupted && !asked->is_over)
            abandon(client, asked);
        if (!asked->is_over)
            pp_client_expire(client);
    }
}

PYPROC_API int pyproc_client_call(struct pyproc_client *client,
                                  const struct pyproc_request *request,
                                  const struct pyproc_wait *wait, struct pyproc_reply *reply)
{
    struct pp_asked *asked;

    if (!may_ask(client, request, wait, reply))
        return (int)reply->end;
    asked = asked_new(request, false);
    if (!asked) {
        pp_reply_end(reply, PYPROC_END_TOO_LARGE, "the client is out of memory for the request");
        return (int)reply->end;
    }
    asked->reply = reply;
    asked->call.stream_items = asked->call.stream_bytes = 0; /* streams are submitted */
    (void)pthread_mutex_lock(&client->lock);
    if (client->is_closed || !client->is_connected) {
        pp_reply_end(reply, client->is_closed ? PYPROC_END_CLOSED : PYPROC_END_DISCONNECTED,
                     client->is_closed ? "the client is closed" : "the connection was lost");
    } else {
        ask(client, asked);
        await(client, asked, wait);
        pp_client_pass_on(client);
    }
    (void)pthread_mutex_unlock(&client->lock);
    free(asked);
    return (int)reply->end;
}

static struct pp_asked *submitted_new(const struct pyproc_request *request,
                                      struct pyproc_queue *queue, void *token)
{
    struct pp_asked *asked = asked_new(request, true);
    size_t n = request->function.size < 256 ? request->function.size : 256;
    char *name;

    if (!asked)
        return NULL;
    asked->item = pp_item_new(PYPROC_ITEM_CALL);
    name = asked->item ? pp_reply_alloc(&asked->item->reply, n + 1) : NULL;
    if (!name) {
        pyproc_item_free(asked->item);
        free(asked);
        return NULL;
    }
    memcpy(name, request->function.data, n);
    asked->item->text = (struct pyproc_bytes){name, n};
    asked->item->token = token;
    asked->queue = pyproc_queue_ref(queue);
    return asked;
}

/* Lock held: VALUE, or why it is not taken. */
static enum pyproc_end admit(struct pyproc_client *client, struct pp_asked *asked, uint64_t *idp)
{
    if (client->is_closed)
        return PYPROC_END_CLOSED;
    if (!client->is_connected || pp_client_start_thread(client) < 0)
        return PYPROC_END_DISCONNECTED;
    if (client->line_bytes > 0 && client->line_bytes + asked->size > PP_LINE_MOST)
        return PYPROC_END_QUEUE_FULL;
    *idp = client->next_id;
    ask(client, asked);
    if (!client->leads)
        pp_futex_set(&client->work, atomic_load(&client->work) + 1);
    return PYPROC_END_VALUE;
}

PYPROC_API int pyproc_client_submit(struct pyproc_client *client,
                                    const struct pyproc_request *request,
                                    const struct pyproc_wait *wait, struct pyproc_queue *queue,
                                    void *token, uint64_t *idp, struct pyproc_reply *reply)
{
    struct pp_asked *asked;
    enum pyproc_end end;

    if (!may_ask(client, request, wait, reply))
        return (int)reply->end;
    asked = submitted_new(request, queue, token);
    if (!asked) {
        pp_reply_end(reply, PYPROC_END_TOO_LARGE, "the client is out of memory for the request");
        return (int)reply->end;
    }
    (void)pthread_mutex_lock(&client->lock);
    end = admit(client, asked, idp);
    (void)pthread_mutex_unlock(&client->lock);
    if (end == PYPROC_END_VALUE)
        return 0;
    pyproc_queue_unref(asked->queue);
    pyproc_item_free(asked->item);
    free(asked);
    pp_reply_end(reply, end,
                 end == PYPROC_END_CLOSED       ? "the client is closed"
                 : end == PYPROC_END_QUEUE_FULL ? "too many bytes wait for the server"
                                                : "the connection was lost");
    return (int)end;
}

/* Lock held: asks the server, and waits until it has heard: what it could still stop has then
 * ended, for it answers in order. */
static int cancel_there(struct pyproc_client *client, uint64_t id)
{
    struct pp_message ping = {.kind = PP_MESSAGE_PING};
    int64_t until = pp_now() + client->timeout;
    uint64_t nonce;

    tell_server(client, id, false);
    nonce = ping.nonce = ++client->pings;
    if (!client->is_connected || pp_client_put(client, &ping) < 0 || !pp_client_flush(client))
        return PYPROC_CANCEL_UNKNOWN;
    while (client->is_connected && client->pongs < nonce && pp_client_find(client, id)) {
        uint32_t seen = atomic_load(&client->idle);

        if (pp_now() > until)
            break;
        if (!client->leads) {
            pp_client_lead(client, true);
            continue;
        }
        (void)pthread_mutex_unlock(&client->lock);
        (void)pp_futex_wait(&client->idle, seen, PP_SECOND / 100);
        (void)pthread_mutex_lock(&client->lock);
    }
    pp_client_pass_on(client);
    return pp_client_find(client, id) ? PYPROC_CANCEL_RUNNING : 0;
}

PYPROC_API int pyproc_client_cancel(struct pyproc_client *client, uint64_t id, int kill)
{
    struct pp_asked *asked;
    int r = 0;

    if (pp_is_fork_copy(&client->mark))
        return PYPROC_CANCEL_UNKNOWN;
    (void)pthread_mutex_lock(&client->lock);
    asked = pp_client_find(client, id);
    if (!asked) {
        r = PYPROC_CANCEL_UNKNOWN;
    } else if (!asked->is_sent) {
        client->line_bytes -= asked->size;
        pp_client_end(client, asked, PYPROC_END_TASK_KILLED,
                      "the call was cancelled before it started");
    } else if (kill) {
        tell_server(client, id, true);
    } else {
        r = cancel_there(client, id);
    }
    (void)pthread_mutex_unlock(&client->lock);
    return r;
}

PYPROC_API void pyproc_client_functions(struct pyproc_client *client,
                                        void (*each)(void *token, struct pyproc_bytes name,
                                                     struct pyproc_bytes signature),
                                        void *token)
{
    if (pp_is_fork_copy(&client->mark))
        return;
    (void)pthread_mutex_lock(&client->connecting); /* nobody replaces them meanwhile */
    for (size_t i = 0; i < client->welcome.n_functions; i++) {
        const struct pp_function_info *info = &client->welcome.functions[i];

        each(token, (struct pyproc_bytes){info->name.data, info->name.size},
             (struct pyproc_bytes){info->signature.data, info->signature.size});
    }
    (void)pthread_mutex_unlock(&client->connecting);
}

PYPROC_API void pyproc_client_about(struct pyproc_client *client, struct pyproc_client_info *info)
{
    memset(info, 0, sizeof *info);
    if (pp_is_fork_copy(&client->mark))
        return;
    (void)pthread_mutex_lock(&client->lock);
    *info = client->info;
    (void)pthread_mutex_unlock(&client->lock);
}

PYPROC_API void pyproc_client_close(struct pyproc_client *client, int64_t timeout,
                                    const struct pyproc_wait *wait)
{
    const struct pp_message goodbye = {.kind = PP_MESSAGE_GOODBYE};
    int64_t until = timeout == PYPROC_FOREVER ? PP_NEVER : pp_after(pp_now(), timeout);
    bool joins;

    if (pp_is_fork_copy(&client->mark))
        return;
    (void)pthread_mutex_lock(&client->lock);
    client->is_closed = true;
    while (client->n_asked > 0 && pp_now() < until) {
        uint32_t seen = atomic_load(&client->idle);

        client->idlers++;
        (void)pthread_mutex_unlock(&client->lock);
        (void)pp_futex_wait(&client->idle, seen, PP_SECOND / 10);
        if (wait && wait->interrupted && wait->interrupted(wait->token))
            until = 0;
        (void)pthread_mutex_lock(&client->lock);
        client->idlers--;
    }
    if (client->is_connected && pp_client_put(client, &goodbye) == 0)
        (void)pp_client_flush(client);
    pp_client_lost(client, "the client was closed");
    joins = client->has_thread && !client->ends_thread;
    client->ends_thread = true;
    pp_futex_set(&client->work, atomic_load(&client->work) + 1);
    (void)pthread_mutex_unlock(&client->lock);
    if (joins)
        (void)pthread_join(client->thread, NULL);
    (void)pthread_mutex_lock(&client->lock);
    if (client->users == 0)
        client->fd = pp_close(client->fd);
    (void)pthread_mutex_unlock(&client->lock);
}

PYPROC_API void pyproc_client_free(struct pyproc_client *client)
{
    if (!client || pp_is_fork_copy(&client->mark))
        return; /* the parent's memory, copied: nothing in it may be touched */
    pyproc_client_close(client, 0, NULL);
    destroy(client);
}

PYPROC_API void pyproc_client_after_fork(struct pyproc_client *client)
{
    (void)close(client->fd);
}
