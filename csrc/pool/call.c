/* call.c - one queued call's life: made, admitted, found, ended exactly once. */
#include "pool/pool.h"

#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    PARTS_MAX = 1024 * 1024 * 1024, /* what a chunk's answers may take however many they are */
    FAILURE_MAX = 2 * 1024 * 1024,  /* what a failed item may take, with room to spare */
};

/* All parts of a chunk together; a worker that answers more is stopped. Each item may have a
 * result of the full size, with a few bytes around it, or a failure. */
static size_t parts_limit(const struct pyproc_pool *pool, uint32_t items)
{
    size_t one = (pool->max_result > FAILURE_MAX ? pool->max_result : FAILURE_MAX) + 64;

    return one > PARTS_MAX / (items ? items : 1) ? PARTS_MAX : one * items;
}

static size_t request_size(const struct pyproc_request *request)
{
    size_t n = request->function.size + request->payload.size + request->baggage.size +
               request->n_keywords * sizeof(struct pp_bytes);

    for (size_t i = 0; i < request->n_keywords; i++)
        n += request->keywords[i].size;
    return n;
}

/* What it takes of the host while it waits: `size` is in its own memory. */
static size_t charge(const struct pyproc_request *request, size_t size)
{
    return request->attached_size < SIZE_MAX / 2 - size ? size + (size_t)request->attached_size
                                                        : SIZE_MAX / 2;
}

static struct pp_bytes copy(uint8_t **top, struct pyproc_bytes bytes)
{
    struct pp_bytes mine = {*top, bytes.size};

    if (bytes.size)
        memcpy(*top, bytes.data, bytes.size);
    *top += bytes.size;
    return mine;
}

static void copy_request(struct pp_call *call, const struct pyproc_request *request)
{
    /* The array comes first: `bytes` is aligned for it. */
    struct pp_bytes *keywords = (struct pp_bytes *)(void *)call->bytes;
    uint8_t *to = call->bytes + request->n_keywords * sizeof *keywords;

    call->message.function = copy(&to, request->function);
    call->message.payload = copy(&to, request->payload);
    call->message.baggage = copy(&to, request->baggage);
    for (size_t i = 0; i < request->n_keywords; i++)
        keywords[i] = copy(&to, request->keywords[i]);
    call->message.keywords = keywords;
    call->message.n_keywords = request->n_keywords;
    call->message.codec = (enum pp_codec)request->codec;
    call->message.items = request->items;
    call->message.attachments = (uint32_t)request->n_attachments;
    if (request->n_attachments)
        memcpy(call->attached, request->attachments, request->n_attachments * sizeof(int));
}

bool pp_call_attaches(const struct pyproc_request *request, struct pyproc_reply *reply)
{
    _Static_assert((int)PYPROC_ATTACHMENTS_MAX == (int)PP_ATTACHMENTS_MAX, "host and wire agree");
    if (request->n_attachments <= PYPROC_ATTACHMENTS_MAX)
        return true;
    pp_reply_end(reply, PYPROC_END_TOO_LARGE, "a call carries at most 16 descriptors");
    return false;
}

/* How much of a function's name its errors show. */
enum { NAME_MAX_SHOWN = 256 };

/* The name goes along in the same memory. */
static struct pyproc_item *item_new(const struct pyproc_request *request, void *token)
{
    size_t n = request->function.size < NAME_MAX_SHOWN ? request->function.size : NAME_MAX_SHOWN;
    struct pyproc_item *item = malloc(sizeof *item + n);

    if (!item)
        return NULL;
    memset(item, 0, sizeof *item);
    if (n > 0)
        memcpy(item + 1, request->function.data, n);
    item->kind = PYPROC_ITEM_CALL;
    item->token = token;
    item->text = (struct pyproc_bytes){(const char *)(item + 1), n};
    pp_reply_init(&item->reply);
    return item;
}

int pp_call_new(struct pyproc_pool *pool, const struct pyproc_request *request,
                struct pyproc_queue *queue, void *token, struct pp_call **callp)
{
    size_t size = request_size(request);
    struct pp_call *call = malloc(sizeof *call + size);
    struct pyproc_item *item = item_new(request, token);

    if (!call || !item) {
        free(call);
        free(item);
        return -ENOMEM;
    }
    memset(call, 0, sizeof *call);
    call->want.kind = PP_WANT_CALL;
    call->want.level = pp_level_of(request->priority);
    pp_list_init(&call->want.link);
    pp_list_init(&call->offered);
    call->heap_index = SIZE_MAX;
    call->queue_deadline = PP_NEVER;
    call->memory_limit = request->memory_limit;
    call->cpu_limit = request->cpu_limit;
    call->output_limit = request->output_limit;
    call->result_limit = request->result_limit;
    call->inline_only = request->inline_only != 0;
    call->wants_progress = request->progress != 0;
    call->deadline = request->deadline ? request->deadline : PP_NEVER;
    call->run_timeout = request->run_timeout ? request->run_timeout : pool->task_timeout;
    if (request->stream_items && !(call->stream = pp_stream_new(request))) {
        free(call);
        free(item);
        return -ENOMEM;
    }
    call->queue = pyproc_queue_ref(queue);
    call->item = item;
    call->size = charge(request, size);
    pp_buffer_init(&call->parts, parts_limit(pool, request->items));
    copy_request(call, request);
    *callp = call;
    return 0;
}

int64_t pp_call_deadline(const struct pp_call *call, int64_t now)
{
    int64_t end = call->run_timeout == PP_NEVER ? PP_NEVER : pp_after(now, call->run_timeout);

    return end < call->deadline ? end : call->deadline;
}

uint64_t pp_call_remaining(const struct pp_call *call, int64_t now)
{
    int64_t end = pp_call_deadline(call, now);

    if (end == PP_NEVER)
        return 0;
    return end > now ? (uint64_t)((end - now) / 1000) + 1 : 1;
}

void pp_call_free(struct pp_call *call)
{
    if (!call)
        return;
    pyproc_item_free(call->item);
    pyproc_queue_unref(call->queue);
    pp_buffer_deinit(&call->parts);
    free(call->stream);
    pyproc_item_free(call->progress);
    for (uint32_t i = 0; i < call->message.attachments; i++)
        (void)pp_close(call->attached[i]);
    free(call);
}

static size_t bucket(const struct pyproc_pool *pool, uint64_t id)
{
    return (size_t)(id & (pool->n_buckets - 1));
}

static int grow(struct pyproc_pool *pool)
{
    size_t n = pool->n_buckets ? pool->n_buckets * 2 : 256;
    struct pp_call **old = pool->buckets;
    struct pp_call **buckets = calloc(n, sizeof(struct pp_call *));
    size_t n_old = pool->n_buckets;

    if (!buckets)
        return old ? 0 : -ENOMEM; /* fuller buckets still work */
    pool->buckets = buckets;
    pool->n_buckets = n;
    for (size_t i = 0; i < n_old; i++) {
        struct pp_call *call = old[i];

        while (call) {
            struct pp_call *next = call->next;
            size_t to = bucket(pool, call->id);

            call->next = buckets[to];
            buckets[to] = call;
            call = next;
        }
    }
    free(old);
    return 0;
}

int pp_call_admit(struct pyproc_pool *pool, struct pp_call *call)
{
    size_t to;

    if (pool->n_calls >= pool->n_buckets) {
        int r = grow(pool);

        if (r < 0)
            return r;
    }
    call->id = atomic_fetch_add(&pool->next_id, 1);
    to = bucket(pool, call->id);
    call->next = pool->buckets[to];
    pool->buckets[to] = call;
    pool->n_calls++;
    return 0;
}

struct pp_call *pp_call_find(struct pyproc_pool *pool, uint64_t id)
{
    struct pp_call *call = pool->n_buckets ? pool->buckets[bucket(pool, id)] : NULL;

    while (call && call->id != id)
        call = call->next;
    return call;
}

static void forget(struct pyproc_pool *pool, struct pp_call *call)
{
    struct pp_call **at = &pool->buckets[bucket(pool, call->id)];

    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    pool->n_calls--;
}

void pp_done_flush(struct pp_done *done)
{
    if (!done->queue)
        return;
    pp_queue_put(done->queue, done->first, done->last);
    pyproc_queue_unref(done->queue);
    *done = (struct pp_done){0};
}

static void done_add(struct pp_done *done, struct pyproc_queue *queue, struct pyproc_item *item)
{
    if (done->queue && done->queue != queue)
        pp_done_flush(done);
    if (!done->queue) {
        done->queue = pyproc_queue_ref(queue);
        done->first = item;
    } else {
        done->last->next = item;
    }
    done->last = item;
}

void pp_count_end(struct pyproc_pool *pool, enum pyproc_end end)
{
    struct pp_metrics *m = &pool->metrics;

    switch (end) {
    case PYPROC_END_VALUE:
        pp_count(&m->calls_ok);
        break;
    case PYPROC_END_CRASHED:
    case PYPROC_END_EXITED:
    case PYPROC_END_KILLED:
    case PYPROC_END_MEMORY:
    case PYPROC_END_CPU:
    case PYPROC_END_OUTPUT:
    case PYPROC_END_PROCESSES:
    case PYPROC_END_THREADS:
    case PYPROC_END_PROTOCOL:
        pp_count(&m->calls_crashed);
        break;
    case PYPROC_END_RUN_TIMEOUT:
    case PYPROC_END_QUEUE_TIMEOUT:
        pp_count(&m->calls_timed_out);
        break;
    case PYPROC_END_TASK_KILLED:
    case PYPROC_END_INTERRUPTED:
        pp_count(&m->calls_cancelled);
        break;
    case PYPROC_END_FAILURE:
    case PYPROC_END_START:
    case PYPROC_END_LOST:
    case PYPROC_END_CLOSED:
    case PYPROC_END_QUEUE_FULL:
    case PYPROC_END_TOO_LARGE:
    case PYPROC_END_NESTED:
    case PYPROC_END_DENIED: /* these five are a named socket's: no pool makes them */
    case PYPROC_END_RATE:
    case PYPROC_END_UNPROVEN:
    case PYPROC_END_INVALID:
    case PYPROC_END_DISCONNECTED:
        pp_count(&m->calls_failed);
        break;
    }
}

/* Its descriptors are not to be sent any more, if they have not been. */
static void detach(const struct pp_call *call)
{
    if (call->slot && call->slot->worker.channel.attached == call->attached)
        pp_channel_detach(&call->slot->worker.channel);
}

void pp_call_end(struct pyproc_pool *pool, struct pp_call *call, struct pp_done *done)
{
    struct pyproc_reply *reply = &call->item->reply;

    if (call->state == PP_CALL_WAITING)
        pp_pool_unwait(pool, &call->want);
    detach(call);
    pp_list_remove(&call->offered);
    pp_call_expires_not(pool, call);
    forget(pool, call);
    call->state = PP_CALL_ENDED;
    pp_sticky_unbond(pool, &call->want);
    reply->call_id = call->wire_id ? call->wire_id : call->id; /* as its worker knows it */
    pp_count_end(pool, reply->end);
    done_add(done, call->queue, call->item);
    call->item = NULL;
    pp_call_free(call);
    pp_pool_active(pool, -1);
}

/* The heap of calls that may not wait for ever, by their time. */

static void heap_set(struct pyproc_pool *pool, size_t i, struct pp_call *call)
{
    pool->expiry[i] = call;
    call->heap_index = i;
}

static void heap_up(struct pyproc_pool *pool, size_t i)
{
    struct pp_call *call = pool->expiry[i];

    while (i > 0 && pool->expiry[(i - 1) / 2]->queue_deadline > call->queue_deadline) {
        heap_set(pool, i, pool->expiry[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_set(pool, i, call);
}

static void heap_down(struct pyproc_pool *pool, size_t i)
{
    struct pp_call *call = pool->expiry[i];

    for (;;) {
        size_t child = 2 * i + 1;

        if (child + 1 < pool->n_expiry &&
            pool->expiry[child + 1]->queue_deadline < pool->expiry[child]->queue_deadline)
            child++;
        if (child >= pool->n_expiry || pool->expiry[child]->queue_deadline >= call->queue_deadline)
            break;
        heap_set(pool, i, pool->expiry[child]);
        i = child;
    }
    heap_set(pool, i, call);
}

void pp_call_expires(struct pyproc_pool *pool, struct pp_call *call)
{
    if (call->queue_deadline == PP_NEVER)
        return;
    if (pool->n_expiry == pool->expiry_capacity) {
        size_t n = pool->expiry_capacity ? pool->expiry_capacity * 2 : 64;
        struct pp_call **expiry = realloc(pool->expiry, n * sizeof(struct pp_call *));

        if (!expiry)
            return; /* it is looked at again when its turn comes */
        pool->expiry = expiry;
        pool->expiry_capacity = n;
    }
    heap_set(pool, pool->n_expiry++, call);
    heap_up(pool, call->heap_index);
    if (call->queue_deadline < pool->armed)
        pp_loop_wake(pool->loop);
}

void pp_call_expires_not(struct pyproc_pool *pool, struct pp_call *call)
{
    size_t i = call->heap_index;

    if (i == SIZE_MAX)
        return;
    call->heap_index = SIZE_MAX;
    pool->n_expiry--;
    if (i == pool->n_expiry)
        return;
    heap_set(pool, i, pool->expiry[pool->n_expiry]);
    heap_up(pool, i);
    heap_down(pool, pool->expiry[i]->heap_index);
}
