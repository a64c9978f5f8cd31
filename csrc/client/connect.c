/* connect.c - the handshake, from the client's side; see csrc/server/hello.c for the other one. */
#include "client/client.h"

#include "base/error.h"
#include "base/fd.h"
#include "event/reply.h"
#include "ipc/listener.h"
#include "ipc/socket.h"
#include "wire/frame.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* A handshake that is going on; on the stack. */
struct shake {
    struct pyproc_client *client;
    const struct pyproc_wait *wait;
    struct pyproc_reply *reply;
    int fd;
    int64_t until;
    struct pp_peer self, server;
    uint8_t nonce[PP_AUTH_NONCE];
};

static int end(struct shake *shake, enum pyproc_end how, const char *text)
{
    pp_reply_end(shake->reply, how, text);
    return 1;
}

static int send_message(struct shake *shake, const struct pp_message *message)
{
    struct pp_buffer out;
    struct pp_arena arena;
    int r;

    pp_buffer_init(&out, shake->client->max_frame);
    pp_arena_init(&arena, SIZE_MAX);
    r = pp_message_write(&out, &arena, shake->client->max_frame, message);
    while (r == 0 && pp_buffer_size(&out) > 0) {
        ssize_t n = pp_socket_send(shake->fd, pp_buffer_bytes(&out), pp_buffer_size(&out), 0);

        if (n == -EINTR)
            continue;
        if (n < 0)
            r = end(shake, PYPROC_END_DISCONNECTED, "the server closed the connection");
        else
            pp_buffer_consume(&out, (size_t)n);
    }
    pp_arena_deinit(&arena);
    pp_buffer_deinit(&out);
    return r;
}

static int receive(struct shake *shake)
{
    uint8_t *space;
    size_t room;
    ssize_t n;
    int r = pp_frame_reader_space(shake->client->reader, &space, &room);

    if (r < 0)
        return r;
    n = pp_socket_receive(shake->fd, space, room, 0);
    if (n > 0)
        pp_frame_reader_filled(shake->client->reader, (size_t)n);
    else if (n == 0 || n == -ECONNRESET)
        return end(shake, PYPROC_END_DISCONNECTED,
                   "the server closed the connection: it does not know this process, or it is "
                   "full");
    else if (n != -EAGAIN && n != -EINTR)
        return (int)n;
    if (n == -EAGAIN || n == -EINTR) {
        if (shake->wait && shake->wait->interrupted && shake->wait->interrupted(shake->wait->token))
            return end(shake, PYPROC_END_INTERRUPTED, NULL);
        if (pp_now() > shake->until)
            return end(shake, PYPROC_END_QUEUE_TIMEOUT, "the server did not answer in time");
    }
    return 0;
}

static int refused(struct shake *shake, const struct pp_message_denied *denied)
{
    char text[512];

    (void)snprintf(text, sizeof text, "%.*s (correlation id %.*s)", (int)denied->text.size,
                   (const char *)denied->text.data, (int)denied->correlation.size,
                   (const char *)denied->correlation.data);
    shake->reply->limit = denied->retry_us * 1000;
    return end(shake, (enum pyproc_end)denied->end, text);
}

/* The next message, which must be of this kind. */
static int await(struct shake *shake, enum pp_message_kind kind, struct pp_message *message)
{
    for (;;) {
        const uint8_t *body;
        size_t n;
        int r = pp_frame_reader_next(shake->client->reader, &body, &n);

        if (r == PP_FRAME_MORE) {
            r = receive(shake);
            if (r != 0)
                return r;
            continue;
        }
        if (r == 0) {
            pp_arena_reset(&shake->client->arena);
            r = pp_message_read(&shake->client->arena, PP_FROM_SERVER, body, n, message);
        }
        if (r < 0)
            return r;
        if (r == 0 && message->kind == PP_MESSAGE_DENIED)
            return refused(shake, &message->denied);
        if (r != 0 || message->kind != kind)
            return end(shake, PYPROC_END_PROTOCOL, "the other end speaks another protocol");
        return 0;
    }
}

static int greet(struct shake *shake)
{
    const struct pyproc_client *client = shake->client;
    struct pp_message hello = {.kind = PP_MESSAGE_CLIENT_HELLO};
    int r = pp_auth_random(shake->nonce, sizeof shake->nonce);

    if (r < 0)
        return r;
    hello.client_hello = (struct pp_message_client_hello){
        .version = PP_PROTOCOL_VERSION,
        .max_frame = client->max_frame,
        .nonce = {shake->nonce, sizeof shake->nonce},
        .key = {(const uint8_t *)client->key_id, strlen(client->key_id)},
    };
    return send_message(shake, &hello);
}

/* The server goes first: who cannot prove it gets no proof of ours. */
static int prove(struct shake *shake, const struct pp_message_server_hello *hello)
{
    const struct pyproc_client *client = shake->client;
    const struct pp_transcript transcript = {
        .version = PP_PROTOCOL_VERSION,
        .client_nonce = shake->nonce,
        .server_nonce = hello->nonce.data,
        .client = shake->self,
        .server = shake->server,
        .key_id = client->key_id,
        .key_id_size = strlen(client->key_id),
    };
    uint8_t proof[PP_AUTH_PROOF];
    struct pp_message answer = {.kind = PP_MESSAGE_AUTHENTICATE};

    if (client->key_id[0] == '\0')
        return 0;
    pp_auth_proof(client->secret, client->secret_size, PP_AUTH_SERVER, &transcript, proof);
    if (hello->proof.size != PP_AUTH_PROOF ||
        !pp_auth_same(proof, hello->proof.data, PP_AUTH_PROOF))
        return end(shake, PYPROC_END_UNPROVEN,
                   "the server did not prove to hold the key of that id; nothing was sent to it");
    pp_auth_proof(client->secret, client->secret_size, PP_AUTH_CLIENT, &transcript, proof);
    answer.proof = (struct pp_bytes){proof, sizeof proof};
    return send_message(shake, &answer);
}

static struct pp_bytes keep(struct pp_arena *arena, struct pp_bytes bytes)
{
    uint8_t *mine = bytes.size ? pp_arena_alloc(arena, bytes.size) : NULL;

    if (!mine)
        return (struct pp_bytes){NULL, 0};
    memcpy(mine, bytes.data, bytes.size);
    return (struct pp_bytes){mine, bytes.size};
}

/* Lock held. */
static void keep_welcome(struct pyproc_client *client, const struct pp_message_welcome *welcome)
{
    struct pp_function_info *infos;
    size_t n = welcome->n_functions;

    pp_arena_reset(&client->words);
    infos = pp_arena_alloc(&client->words, (n + 1) * sizeof *infos);
    client->welcome = *welcome;
    client->welcome.n_functions = infos ? n : 0;
    client->welcome.functions = infos;
    for (size_t i = 0; infos && i < n; i++)
        infos[i] = (struct pp_function_info){
            .name = keep(&client->words, welcome->functions[i].name),
            .signature = keep(&client->words, welcome->functions[i].signature)};
    (void)snprintf(client->info.role, sizeof client->info.role, "%.*s", (int)welcome->role.size,
                   (const char *)welcome->role.data);
    client->info.max_in_flight = welcome->max_in_flight;
    client->info.max_payload = welcome->max_payload;
    client->info.sees_all = welcome->sees_all;
}

static int shake_hands(struct shake *shake)
{
    struct pyproc_client *client = shake->client;
    struct pp_message message;
    int r = greet(shake);

    if (r == 0)
        r = await(shake, PP_MESSAGE_SERVER_HELLO, &message);
    if (r == 0 && message.server_hello.version != PP_PROTOCOL_VERSION)
        r = end(shake, PYPROC_END_PROTOCOL, "the server speaks another version of the protocol");
    if (r == 0)
        r = prove(shake, &message.server_hello);
    if (r == 0)
        r = await(shake, PP_MESSAGE_WELCOME, &message);
    if (r != 0)
        return r;
    (void)pthread_mutex_lock(&client->lock);
    keep_welcome(client, &message.welcome);
    client->info.server_pid = shake->server.pid;
    client->info.server_uid = shake->server.uid;
    (void)pthread_mutex_unlock(&client->lock);
    return 0;
}

static int open_socket(struct shake *shake)
{
    const struct pyproc_client *client = shake->client;
    const struct timeval second = {.tv_sec = 1};
    PP_AUTO_FD fd = pp_listener_connect(client->path, client->timeout);

    if (fd < 0)
        return fd;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second) < 0)
        return pp_fail(-errno, "set the socket's receive time");
    if (pp_peer_of(fd, &shake->server) < 0)
        return pp_fail(-errno, "ask who serves at %s", client->path);
    if (client->server_uid != UINT32_MAX && shake->server.uid != client->server_uid)
        return pp_fail(-EPERM, "connect to %s, served by uid %u instead of %u", client->path,
                       (unsigned)shake->server.uid, (unsigned)client->server_uid);
    shake->fd = pp_take_fd(&fd);
    return 0;
}

/* Nobody uses the old descriptor any more; what it still had is of no use. */
static void forget_old(struct pyproc_client *client)
{
    (void)pthread_mutex_lock(&client->lock);
    client->fd = pp_close(client->fd);
    pp_buffer_clear(&client->out, 0);
    (void)pthread_mutex_unlock(&client->lock);
    client->reader = pp_frame_reader_free(client->reader);
}

int pp_client_connect(struct pyproc_client *client, const struct pyproc_wait *wait,
                      struct pyproc_reply *reply)
{
    struct shake shake = {.client = client,
                          .wait = wait,
                          .reply = reply,
                          .fd = -1,
                          .until = pp_after(pp_now(), client->timeout),
                          .self = {getpid(), geteuid(), getegid()}};
    int r;

    forget_old(client);
    r = pp_frame_reader_new(client->max_frame, &client->reader);
    if (r == 0)
        r = open_socket(&shake);
    if (r == 0)
        r = shake_hands(&shake);
    explicit_bzero(shake.nonce, sizeof shake.nonce);
    if (r != 0) {
        (void)pp_close(shake.fd);
        return r < 0 ? r : 0;
    }
    (void)pthread_mutex_lock(&client->lock);
    client->fd = shake.fd;
    client->is_connected = true;
    client->info.connected = 1;
    client->n_sent = 0;
    (void)pthread_mutex_unlock(&client->lock);
    return 0;
}
