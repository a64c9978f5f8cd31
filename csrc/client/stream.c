/* stream.c - what the reader of a stream says to the server: more, or no more. */
#include "client/client.h"

/* Lock held: NULL when there is no such stream any more. */
static struct pp_asked *find_stream(struct pyproc_client *client, uint64_t id)
{
    struct pp_asked *asked = pp_client_find(client, id);

    return asked && asked->call.stream_items ? asked : NULL;
}

static void send(struct pyproc_client *client, const struct pp_message *message)
{
    if (client->is_connected && pp_client_put(client, message) == 0)
        (void)pp_client_flush(client);
}

PYPROC_API int pyproc_client_stream_more(struct pyproc_client *client, uint64_t id, uint64_t items,
                                         uint64_t bytes, int waits)
{
    struct pp_message credit = {.kind = PP_MESSAGE_STREAM_CREDIT};
    struct pp_asked *asked;
    bool found;

    (void)waits; /* what there is comes at once: words to a server are dear */
    if (pp_is_fork_copy(&client->mark))
        return PYPROC_CANCEL_UNKNOWN;
    (void)pthread_mutex_lock(&client->lock);
    asked = find_stream(client, id);
    found = asked != NULL;
    if (asked) {
        if (items > asked->call.stream_items)
            asked->call.stream_items = items;
        if (bytes > asked->call.stream_bytes)
            asked->call.stream_bytes = bytes;
        credit.stream_credit = (struct pp_message_stream_credit){
            .id = id, .items = asked->call.stream_items, .bytes = asked->call.stream_bytes};
        /* One that was not sent yet goes with all its credit. */
        if (asked->is_sent)
            send(client, &credit);
    }
    (void)pthread_mutex_unlock(&client->lock);
    return found ? 0 : PYPROC_CANCEL_UNKNOWN;
}

PYPROC_API int pyproc_client_stream_close(struct pyproc_client *client, uint64_t id)
{
    struct pp_message end = {.kind = PP_MESSAGE_STREAM_END};
    struct pp_asked *asked;
    bool found;

    if (pp_is_fork_copy(&client->mark))
        return PYPROC_CANCEL_UNKNOWN;
    (void)pthread_mutex_lock(&client->lock);
    asked = find_stream(client, id);
    found = asked != NULL;
    end.stream_end.id = id;
    if (asked && asked->is_sent) {
        send(client, &end);
    } else if (asked) {
        client->line_bytes -= asked->size;
        pp_client_end(client, asked, PYPROC_END_TASK_KILLED,
                      "the stream was closed before it started");
    }
    (void)pthread_mutex_unlock(&client->lock);
    return found ? 0 : PYPROC_CANCEL_UNKNOWN;
}
