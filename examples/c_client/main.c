/* main.c - a C program that calls a served pool: no Python here, none of its workers either.
 *
 *     cc main.c $(python -m pyproc --cflags --libs) -o c_client
 *     ./c_client /run/docs/docs.sock [KEY_FILE]
 *
 * Calls double(21) as a call of its own, then eight more at once, and takes their ends.
 */
#include <pyproc_named.h>

#include <stdio.h>
#include <string.h>

/* An array of one small number, 0 to 127. */
static struct pyproc_request request_of(unsigned char payload[2], unsigned number)
{
    payload[0] = 0x91;
    payload[1] = (unsigned char)(number & 0x7f);
    return (struct pyproc_request){
        .function = {"double", 6},
        .payload = {payload, 2},
        .codec = PYPROC_CODEC_MSGPACK,
        .run_timeout = INT64_C(10000000000),
    };
}

static void show(const struct pyproc_reply *reply)
{
    if (reply->end == PYPROC_END_VALUE && reply->size == 1)
        printf("value: %d\n", reply->payload[0]);
    else
        printf("end %d: %s\n", (int)reply->end, reply->text ? reply->text : "");
}

static int run(struct pyproc_client *client)
{
    unsigned char payload[2];
    struct pyproc_request request = request_of(payload, 21);
    struct pyproc_queue *queue;
    struct pyproc_reply reply;
    int left = 0;

    (void)pyproc_client_call(client, &request, NULL, &reply);
    show(&reply);
    pyproc_reply_clear(&reply);
    if (pyproc_queue_new(&queue) < 0)
        return 1;
    for (unsigned i = 0; i < 8; i++) {
        uint64_t id;

        request = request_of(payload, i);
        if (pyproc_client_submit(client, &request, NULL, queue, NULL, &id, &reply) == 0) {
            left++;
        } else {
            show(&reply);
            pyproc_reply_clear(&reply);
        }
    }
    while (left > 0 && pyproc_queue_wait(queue, 30000) == 0) {
        struct pyproc_item *item = pyproc_queue_take(queue);

        while (item) {
            struct pyproc_item *next = item->next;

            show(&item->reply);
            pyproc_item_free(item);
            item = next;
            left--;
        }
    }
    pyproc_queue_unref(queue);
    return left == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct pyproc_client_config config;
    struct pyproc_client *client;
    struct pyproc_reply reply;
    int r;

    if (argc < 2) {
        (void)fprintf(stderr, "usage: %s SOCKET [KEY_FILE]\n", argv[0]);
        return 2;
    }
    pyproc_client_config_init(&config);
    config.path = argv[1];
    if (argc > 2)
        config.key = (struct pyproc_key){.id = "ops", .file = argv[2]};
    r = pyproc_connect(&config, NULL, &reply, &client);
    if (r < 0) {
        (void)fprintf(stderr, "%s\n", pyproc_error_text());
        return 1;
    }
    if (reply.end != PYPROC_END_VALUE) {
        show(&reply);
        pyproc_reply_clear(&reply);
        return 1;
    }
    r = run(client);
    pyproc_client_close(client, PYPROC_FOREVER, NULL);
    pyproc_client_free(client);
    return r;
}
