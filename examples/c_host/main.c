/* main.c - a C program that calls Python functions, with no Python inside.
 *
 *     cc main.c $(python -m pyproc --cflags --libs) -o c_host
 *     ./c_host /path/to/python app.py
 *
 * Values travel as MessagePack. The few lines below write what this program needs; a
 * library such as msgpack-c or mpack does the rest of the format.
 */
#include <pyproc.h>

#include <stdio.h>
#include <string.h>

/* An array of one short text: 0x91, then the text with its size (at most 31). */
static size_t pack_text(unsigned char *to, const char *text)
{
    size_t n = strlen(text) & 31;

    to[0] = 0x91;
    to[1] = (unsigned char)(0xa0 | n);
    memcpy(to + 2, text, n);
    return n + 2;
}

/* Whatever became of a call, in one line. What a worker wrote is printed as it is here;
 * a program with a terminal would escape it first. */
static void show(const struct pyproc_reply *reply)
{
    switch (reply->end) {
    case PYPROC_END_VALUE:
        /* A short text again, or a double: enough for these functions. */
        if (reply->size > 0 && (reply->payload[0] & 0xe0) == 0xa0)
            printf("value: %.*s\n", (int)(reply->payload[0] & 31), reply->payload + 1);
        else
            printf("value: %zu bytes of MessagePack\n", reply->size);
        break;
    case PYPROC_END_FAILURE: {
        const struct pyproc_failure_node *node = &reply->failure->nodes[0];

        printf("raised: %.*s: %.*s\n", (int)node->type_name.size,
               (const char *)node->type_name.data, (int)node->message.size,
               (const char *)node->message.data);
        break;
    }
    case PYPROC_END_CRASHED:
        printf("crashed: signal %d\n", reply->death->signal);
        break;
    default:
        printf("end %d: %s\n", (int)reply->end, reply->text ? reply->text : "");
    }
}

static void call(struct pyproc_pool *pool, const char *function, const unsigned char *payload,
                 size_t size)
{
    struct pyproc_request request = {
        .function = {function, strlen(function)},
        .payload = {payload, size},
        .codec = PYPROC_CODEC_MSGPACK,
    };
    struct pyproc_reply reply;

    (void)pyproc_call(pool, &request, NULL, &reply);
    show(&reply);
    pyproc_reply_clear(&reply);
}

/* Reads a stream of small numbers, which are a byte each, until it has enough of them. The worker
 * is never further ahead than the credit: at most AHEAD items wait here. */
static void stream(struct pyproc_pool *pool, const char *function, unsigned enough)
{
    enum { AHEAD = 8 };
    static const unsigned char none[] = {0x90};
    struct pyproc_request request = {
        .function = {function, strlen(function)},
        .payload = {none, sizeof none},
        .codec = PYPROC_CODEC_MSGPACK,
        .stream_items = AHEAD,
        .stream_bytes = 1 << 20,
    };
    struct pyproc_queue *queue;
    struct pyproc_reply reply;
    unsigned got = 0;
    uint64_t id;
    int over = 0;

    if (pyproc_queue_new(&queue) < 0)
        return;
    if (pyproc_submit(pool, &request, NULL, queue, NULL, &id, &reply) != 0) {
        show(&reply);
        pyproc_reply_clear(&reply);
        over = 1;
    }
    while (!over) {
        struct pyproc_item *item = pyproc_queue_take(queue);

        if (!item) {
            (void)pyproc_stream_more(pool, id, got + AHEAD, 1 << 20, 1);
            (void)pyproc_queue_wait(queue, 1000);
        }
        while (item) {
            struct pyproc_item *next = item->next;

            if (item->kind == PYPROC_ITEM_CALL) {
                printf("the stream ended after %s\n", got < enough ? "too few items" : "enough");
                over = 1;
            }
            for (uint32_t i = 0; item->kind == PYPROC_ITEM_STREAM && i < item->reply.count; i++)
                if (got++ < enough)
                    printf("item: %d\n", item->reply.payload[i]);
            pyproc_item_free(item);
            item = next;
        }
        if (got >= enough)
            (void)pyproc_stream_close(pool, id);
    }
    pyproc_queue_unref(queue);
}

/* The pool, or NULL after saying why not. */
static struct pyproc_pool *open_pool(const char *python, const char *app)
{
    struct pyproc_config config;
    struct pyproc_reply reply;
    struct pyproc_pool *pool = NULL;

    pyproc_config_init(&config);
    config.python = python;
    config.target_kind = PYPROC_TARGET_FILE;
    config.target = config.file = (struct pyproc_bytes){app, strlen(app)};
    config.max_workers = 2;
    config.task_timeout = (int64_t)5 * 1000 * 1000 * 1000;
    if (pyproc_pool_open(&config, NULL, &reply, &pool) < 0) {
        fprintf(stderr, "c_host: %s\n", pyproc_error_text());
        return NULL;
    }
    if (!pool)
        show(&reply);
    pyproc_reply_clear(&reply);
    return pool;
}

int main(int argc, char **argv)
{
    static const unsigned char none[] = {0x90}, one_and_zero[] = {0x92, 1, 0};
    unsigned char text[64];
    struct pyproc_pool *pool;

    if (argc != 3) {
        fprintf(stderr, "usage: c_host PYTHON APP.py\n");
        return 2;
    }
    pool = open_pool(argv[1], argv[2]);
    if (!pool)
        return 1;
    call(pool, "greet", text, pack_text(text, "C"));
    call(pool, "divide", one_and_zero, sizeof one_and_zero);
    call(pool, "crash", none, sizeof none);
    call(pool, "greet", text, pack_text(text, "the next worker"));
    call(pool, "missing", none, sizeof none);
    stream(pool, "digits", 12);
    (void)pyproc_pool_close(pool, PYPROC_FOREVER, NULL);
    pyproc_pool_free(pool);
    return 0;
}
