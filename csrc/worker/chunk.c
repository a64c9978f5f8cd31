/* chunk.c - the answers of a chunk, item by item.
 *
 * They are written to memory that outlives this process, so that what was answered before
 * a crash is kept. When the area is full, its items are sent as a part; only when the
 * kernel has all of that does the area move on. A crash in between leaves some items in both
 * places, never in none: the host tells them apart by their number.
 */
#include "worker/worker.h"

#include "base/error.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Empties the area first: no moment shows old bytes under a new number. */
static void move_area(struct pp_worker *worker, uint32_t base)
{
    struct pp_status_page *page = worker->status;

    atomic_store_explicit(&page->area_count, 0, memory_order_release);
    atomic_store_explicit(&page->area_size, 0, memory_order_release);
    atomic_store_explicit(&page->area_base, base, memory_order_release);
    worker->chunk.base = base;
    worker->chunk.count = 0;
    worker->chunk.size = 0;
}

int pp_worker_chunk_begin(struct pp_worker *worker, uint64_t id, uint32_t items)
{
    worker->chunk.id = id;
    worker->chunk.items = items;
    atomic_store_explicit(&worker->status->area_id, 0, memory_order_release);
    move_area(worker, 0);
    atomic_store_explicit(&worker->status->area_id, id, memory_order_release);
    return 0;
}

static int send_part(struct pp_worker *worker, const void *bytes, size_t n, uint32_t count)
{
    const struct pp_message part = {
        .kind = PP_MESSAGE_CHUNK_PART,
        .chunk_part = {.id = worker->chunk.id,
                       .base = worker->chunk.base,
                       .count = count,
                       .payload = {bytes, n}},
    };
    int r = pp_worker_send(worker, &part);

    if (r == 0)
        move_area(worker, worker->chunk.base + count);
    return r;
}

static int send_area(struct pp_worker *worker)
{
    const struct pp_worker_chunk *chunk = &worker->chunk;

    if (chunk->count == 0)
        return 0;
    return send_part(worker, worker->status->area, chunk->size, chunk->count);
}

static void keep_in_area(struct pp_worker *worker, const void *bytes, size_t n)
{
    struct pp_status_page *page = worker->status;
    struct pp_worker_chunk *chunk = &worker->chunk;

    memcpy(page->area + chunk->size, bytes, n);
    chunk->size += n;
    chunk->count++;
    atomic_store_explicit(&page->area_size, chunk->size, memory_order_release);
    atomic_store_explicit(&page->area_count, chunk->count, memory_order_release);
}

/* A frame may be smaller than the area, if the host wants it so. */
static size_t area_room(const struct pp_worker *worker)
{
    return worker->max_result < PP_AREA_SIZE ? (size_t)worker->max_result : PP_AREA_SIZE;
}

int pp_worker_chunk_add(struct pp_worker *worker, const void *bytes, size_t n)
{
    const struct pp_worker_chunk *chunk = &worker->chunk;
    int r;

    pp_worker_leave_if_copy(worker);
    assert(chunk->base + chunk->count < chunk->items);
    if (n <= area_room(worker) && n > area_room(worker) - chunk->size) {
        r = send_area(worker);
        if (r != 0)
            return r;
    }
    if (n <= area_room(worker)) {
        keep_in_area(worker, bytes, n);
        return 0;
    }
    r = send_area(worker);
    return r != 0 ? r : send_part(worker, bytes, n, 1);
}

int pp_worker_chunk_end(struct pp_worker *worker, struct pp_message *answer)
{
    const struct pp_worker_chunk *chunk = &worker->chunk;

    answer->kind = PP_MESSAGE_RESULT;
    answer->result = (struct pp_message_result){
        .payload = {worker->status->area, chunk->size},
        .codec = PP_CODEC_MSGPACK,
        .base = chunk->base,
        .count = chunk->count,
    };
    return 0;
}
