/* send.c - from the line to the socket: no more under way than the server takes. */
#include "client/client.h"

#include "base/error.h"
#include "ipc/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

struct pp_asked *pp_client_find(struct pyproc_client *client, uint64_t id)
{
    struct pp_list *bucket = &client->buckets[id % PP_ASKED_BUCKETS];

    for (struct pp_list *at = bucket->next; at != bucket; at = at->next) {
        struct pp_asked *asked = pp_container(at, struct pp_asked, link);

        if (asked->id == id)
            return asked;
    }
    return NULL;
}

int pp_client_put(struct pyproc_client *client, const struct pp_message *message)
{
    int r = pp_message_write(&client->out, &client->packing, client->max_frame, message);

    pp_arena_reset(&client->packing);
    return r;
}

bool pp_client_flush(struct pyproc_client *client)
{
    while (pp_buffer_size(&client->out) > 0) {
        ssize_t n = pp_socket_send(client->fd, pp_buffer_bytes(&client->out),
                                   pp_buffer_size(&client->out), MSG_DONTWAIT);

        if (n == -EINTR)
            continue;
        if (n == -EAGAIN)
            return true;
        if (n < 0) {
            pp_client_lost(client, "the server closed the connection");
            return false;
        }
        pp_buffer_consume(&client->out, (size_t)n);
    }
    pp_buffer_clear(&client->out, (size_t)64 << 10);
    return true;
}

static int put_call(struct pyproc_client *client, struct pp_asked *asked, int64_t now)
{
    struct pp_message message = {.kind = PP_MESSAGE_CALL_OPTIONS};
    int r = 0;

    if (asked->options.id) {
        message.call_options = asked->options;
        r = pp_client_put(client, &message);
    }
    message.kind = PP_MESSAGE_CALL;
    message.call = asked->call;
    if (asked->deadline != PP_NEVER)
        message.call.remaining_us = (uint64_t)((asked->deadline - now) / 1000) + 1;
    return r == 0 ? pp_client_put(client, &message) : r;
}

void pp_client_send_line(struct pyproc_client *client)
{
    int64_t now = pp_now();

    while (client->is_connected && client->n_sent < client->info.max_in_flight) {
        struct pp_list *at = pp_list_pop_front(&client->line);
        struct pp_asked *asked;
        int r;

        if (!at)
            break;
        asked = pp_container(at, struct pp_asked, line);
        client->line_bytes -= asked->size;
        if (asked->deadline <= now) {
            pp_client_end(client, asked, PYPROC_END_QUEUE_TIMEOUT,
                          "its time was over before it could be sent");
            continue;
        }
        r = put_call(client, asked, now);
        if (r < 0) {
            pp_client_end(client, asked, PYPROC_END_TOO_LARGE,
                          r == -EINVAL ? "its names are not text"
                                       : "it is larger than a message "
                                         "may be");
            continue;
        }
        asked->is_sent = true;
        client->n_sent++;
    }
    if (client->is_connected)
        (void)pp_client_flush(client);
}
