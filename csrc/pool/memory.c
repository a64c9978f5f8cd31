/* memory.c - memory for large results: asked for on the call channel, given on the event channel.
 *
 *   worker: MemoryRequest --call channel--> owner of the slot: out of the stock, or new
 *   worker: fills it, closes it, answers  <--event channel-- MemoryGrant and one descriptor
 *
 * The grant takes the other channel since calls may have been written ahead on the first one, and
 * because any thread can put a message there that fits its socket whole. What the worker
 * did with the memory is looked at by whoever takes the reply, not here: the loop has no time
 * for it.
 */
#include "pool/pool.h"

#include "base/error.h"
#include "base/fd.h"
#include "ipc/socket.h"

#include <errno.h>
#include <sys/socket.h>

uint64_t pp_memory_given(const struct pp_slot *slot, uint64_t id)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < slot->grants.n; i++)
        if (slot->grants.given[i].id == id)
            bytes += slot->grants.given[i].memory->size;
    return bytes;
}

/* Makes or finds it. 0, or an errno for the worker: it is told, and may do without. */
static int give(struct pyproc_pool *pool, struct pp_slot *slot, uint64_t id, uint64_t size,
                uint64_t limit, int *fdp)
{
    struct pyproc_memory *memory;
    uint64_t given = pp_memory_given(slot, id);
    int r;

    if (limit == PP_MEMORY_NONE)
        return ENOTSUP;
    if (limit == 0 || limit > pool->max_memory)
        limit = pool->max_memory;
    if (size > limit || given > limit - size)
        return EFBIG;
    r = pp_stock_take(pool->stock, PP_MEMORY_GRANTED, slot->worker.id, (size_t)size, &memory);
    if (r < 0)
        return -r;
    /* In its cgroup it would be the worker's for as long as the host keeps the result. */
    r = pool->supervisor.groups.kind ? pp_memory_reserve(memory) : 0;
    if (r == 0)
        r = pp_memory_open(memory, fdp);
    if (r < 0) {
        pp_memory_unref(memory);
        return -r;
    }
    slot->grants.given[slot->grants.n].id = id;
    slot->grants.given[slot->grants.n++].memory = memory;
    return 0;
}

/* 0, or a negative errno: the socket takes the whole frame, or none of it. */
static int send_grant(struct pp_slot *slot, const struct pp_message *grant, int fd)
{
    struct pp_arena arena;
    struct pp_buffer out;
    ssize_t sent;
    int r;

    pp_arena_init(&arena, pp_message_arena_limit(256));
    pp_buffer_init(&out, 256);
    r = pp_message_write(&out, &arena, 256, grant);
    if (r == 0) {
        sent = pp_socket_send_attached(slot->worker.events.fd, pp_buffer_bytes(&out),
                                       pp_buffer_size(&out), &fd, fd >= 0, MSG_DONTWAIT);
        if (sent < 0)
            r = (int)sent;
        else if ((size_t)sent != pp_buffer_size(&out))
            r = -EAGAIN;
    }
    pp_buffer_deinit(&out);
    pp_arena_deinit(&arena);
    return r;
}

const char *pp_memory_asked(struct pyproc_pool *pool, struct pp_slot *slot,
                            const struct pp_message_memory_request *request, uint64_t limit)
{
    struct pp_message grant = {
        .kind = PP_MESSAGE_MEMORY_GRANT,
        .memory_grant = {.id = request->id, .size = request->size, .number = request->number}};
    PP_AUTO_FD fd = -1;
    int r;

    if (slot->grants.asked >= PP_GRANTS_MAX)
        return "the worker asked for memory too often";
    slot->grants.asked++;
    r = give(pool, slot, request->id, request->size, limit, &fd);
    grant.memory_grant.error = (uint32_t)r;
    grant.memory_grant.warm = r == 0 && slot->grants.given[slot->grants.n - 1].memory->warm;
    r = send_grant(slot, &grant, fd);
    if (r == -EPIPE || r == -ECONNRESET)
        return NULL; /* it is dying; the call channel says so */
    return r < 0 ? "the worker does not take the memory that it asked for" : NULL;
}

static void take_off(struct pp_slot *slot, unsigned at)
{
    struct pp_grants *grants = &slot->grants;

    for (unsigned i = at; i + 1 < grants->n; i++)
        grants->given[i] = grants->given[i + 1];
    grants->n--;
    if (grants->n == 0)
        grants->asked = 0;
}

void pp_memory_ends(struct pp_slot *slot, uint64_t id, struct pyproc_reply *reply)
{
    struct pyproc_memory *kept[PP_GRANTS_MAX];
    size_t n = 0;

    if (slot->grants.n == 0) {
        slot->grants.asked = 0;
        return;
    }
    for (unsigned i = 0; i < slot->grants.n;) {
        if (slot->grants.given[i].id != id) {
            i++;
            continue;
        }
        kept[n++] = slot->grants.given[i].memory;
        take_off(slot, i);
    }
    if (reply)
        pp_reply_memories(reply, kept, n);
    else
        for (size_t i = 0; i < n; i++)
            pp_memory_unref(kept[i]);
}

void pp_memory_drop(struct pp_slot *slot)
{
    while (slot->grants.n > 0)
        pp_memory_unref(slot->grants.given[--slot->grants.n].memory);
    slot->grants.asked = 0;
}

/* ---- the public face ---- */

PYPROC_API int pyproc_memory_new(struct pyproc_pool *pool, size_t size,
                                 struct pyproc_memory **memoryp)
{
    if (!pool || pp_pool_forked(pool))
        return pp_memory_new(PP_MEMORY_SENT, size, memoryp);
    return pp_stock_take(pool->stock, PP_MEMORY_SENT, 0, size, memoryp);
}

PYPROC_API int pyproc_memory_append(struct pyproc_memory *memory, const void *bytes, size_t n,
                                    size_t *offsetp)
{
    if (memory->use != PP_MEMORY_SENT)
        return -EPERM;
    return pp_memory_append(memory, bytes, n, offsetp);
}

PYPROC_API void *pyproc_memory_map(struct pyproc_memory *memory)
{
    int r = memory->use == PP_MEMORY_SENT ? pp_memory_seal(memory) : pp_memory_settle(memory);

    if (r < 0)
        errno = -r;
    return r < 0 ? NULL : memory->map;
}

PYPROC_API size_t pyproc_memory_size(const struct pyproc_memory *memory)
{
    return memory->size;
}

PYPROC_API int pyproc_memory_writable(const struct pyproc_memory *memory)
{
    return memory->use == PP_MEMORY_SENT;
}

PYPROC_API int pyproc_memory_open(struct pyproc_memory *memory, int *fdp)
{
    return memory->use == PP_MEMORY_SENT ? pp_memory_open(memory, fdp) : -EPERM;
}

PYPROC_API struct pyproc_memory *pyproc_memory_ref(struct pyproc_memory *memory)
{
    return pp_memory_ref(memory);
}

PYPROC_API void pyproc_memory_unref(struct pyproc_memory *memory)
{
    pp_memory_unref(memory);
}

PYPROC_API void pyproc_pool_before_fork(struct pyproc_pool *pool)
{
    if (!pp_pool_forked(pool))
        pp_stock_forking(pool->stock);
}
