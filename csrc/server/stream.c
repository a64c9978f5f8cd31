/* stream.c - streams of clients: their credit to the pool, its items to the client.
 *
 *   client: Call with credit, StreamCredit, StreamEnd -> task -> pool -> worker
 *   pool's items on the answers queue -> StreamItem -> client; its end -> StreamEnd or an error
 *
 * The server keeps no items: what the client allowed goes into its buffer as it comes, so the
 * credit, which may run ahead by PP_STREAM_AHEAD, is what bounds memory here. A client that does
 * not read gets no credit through either, since its words are not read then. When it leaves, the
 * generator is closed, so that its `finally` runs.
 */
#include "server/server.h"

#include "event/queue.h"
#include "ipc/page.h"

enum { HEAD = 512 };

const char *pp_stream_wrong(const struct pp_conn *conn, const struct pp_message_call *call)
{
    if (!call->stream_items)
        return NULL;
    if (call->stream_bytes > PP_STREAM_AHEAD)
        return "the credit of the stream is more than the server gives";
    /* A batch of small items is not cut again. */
    if (conn->max_frame < PP_AREA_SIZE + HEAD)
        return "the client's messages are too small for streams";
    return NULL;
}

static struct pp_task *find_stream(struct pp_conn *conn, uint64_t id)
{
    struct pp_task *task = pp_task_find(conn, id);

    return task && task->stream_bytes ? task : NULL;
}

void pp_stream_credit(struct pp_conn *conn, const struct pp_message_stream_credit *credit)
{
    struct pp_task *task = find_stream(conn, credit->id);

    if (!task)
        return; /* it has ended meanwhile */
    if (credit->bytes > task->sent_bytes + PP_STREAM_AHEAD) {
        pp_conn_deny(conn, PYPROC_END_PROTOCOL, "more credit than the server gives",
                     "request.invalid", "the credit of a stream is out of range");
        return;
    }
    if (credit->items > task->stream_items)
        task->stream_items = credit->items;
    if (credit->bytes > task->stream_bytes)
        task->stream_bytes = credit->bytes;
    if (!task->call_id)
        return; /* the pool learns it with the call */
    (void)pyproc_stream_more(task->lane->pool, task->call_id, task->stream_items,
                             task->stream_bytes, 1);
    conn->server->has_submitted = true;
}

void pp_stream_end(struct pp_conn *conn, uint64_t id)
{
    static const char text[] = "the stream was closed before it started";
    struct pp_task *task = find_stream(conn, id);

    if (task && !task->call_id) {
        pp_task_take_back(task, text);
    } else if (task) {
        (void)pyproc_stream_close(task->lane->pool, task->call_id);
        conn->server->has_submitted = true;
    }
}

/* The client learns why, and nothing more of it; the pool's own end comes later. */
static void give_up(struct pp_task *task)
{
    struct pp_conn *conn = task->conn;
    const struct pyproc_bytes unnamed = {"", 0};

    pp_list_remove(&task->link);
    conn->n_running--;
    task->conn = NULL;
    (void)pyproc_stream_close(task->lane->pool, task->call_id);
    pp_answer_refuse(conn, task->id, &unnamed, PYPROC_END_TOO_LARGE,
                     "an item is larger than the client takes", 0, "call.failed",
                     "an item of a stream is larger than a message may be");
}

void pp_stream_forward(struct pp_task *task, const struct pyproc_item *item)
{
    const struct pyproc_reply *reply = &item->reply;
    struct pp_message message = {.kind = PP_MESSAGE_STREAM_ITEM};

    if (!task->conn)
        return;
    if (reply->size + HEAD > task->conn->max_frame) {
        give_up(task);
        return;
    }
    message.stream_item = (struct pp_message_stream_item){
        .id = task->id,
        .payload = {reply->payload, reply->size},
        .codec = (enum pp_codec)reply->codec,
        .first = task->sent_items,
        .count = reply->count,
    };
    task->sent_items += reply->count;
    task->sent_bytes += reply->size;
    pp_conn_send(task->conn, &message);
}

void pp_stream_over(const struct pp_task *task)
{
    struct pp_message message = {.kind = PP_MESSAGE_STREAM_END};

    message.stream_end = (struct pp_message_stream_end){.id = task->id, .items = task->sent_items};
    pp_conn_send(task->conn, &message);
}
