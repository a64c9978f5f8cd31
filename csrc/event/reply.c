/* reply.c - one arena a reply, made only when something does not fit inline. */
#include "event/reply.h"

#include "base/arena.h"
#include "ipc/memory.h"

#include <stdlib.h>
#include <string.h>

static const char no_memory[] = "the host is out of memory for the answer";

void pp_reply_init(struct pyproc_reply *reply)
{
    memset(reply, 0, offsetof(struct pyproc_reply, small));
}

PYPROC_API void pyproc_reply_clear(struct pyproc_reply *reply)
{
    for (size_t i = 0; i < reply->n_memories; i++)
        pp_memory_unref(reply->memories[i]);
    if (reply->storage) {
        pp_arena_deinit(reply->storage);
        free(reply->storage);
    }
    pp_reply_init(reply);
}

void *pp_reply_alloc(struct pyproc_reply *reply, size_t n)
{
    if (!reply->storage) {
        struct pp_arena *arena = malloc(sizeof *arena);

        if (!arena)
            return NULL;
        pp_arena_init(arena, SIZE_MAX);
        reply->storage = arena;
    }
    return pp_arena_alloc(reply->storage, n ? n : 1);
}

static void out_of_memory(struct pyproc_reply *reply)
{
    reply->end = PYPROC_END_TOO_LARGE;
    reply->text = no_memory;
    reply->payload = NULL;
    reply->size = 0;
    reply->failure = NULL;
}

void pp_reply_value(struct pyproc_reply *reply, int codec, const void *bytes, size_t n,
                    uint32_t count)
{
    uint8_t *to = reply->small;

    if (n > sizeof reply->small)
        to = pp_reply_alloc(reply, n);
    if (!to) {
        out_of_memory(reply);
        return;
    }
    if (n)
        memcpy(to, bytes, n);
    reply->codec = codec;
    reply->payload = to;
    reply->size = n;
    reply->count = count;
}

void pp_reply_memories(struct pyproc_reply *reply, struct pyproc_memory *const *memories, size_t n)
{
    struct pyproc_memory **mine = n > 0 ? pp_reply_alloc(reply, n * sizeof(void *)) : NULL;

    if (n > 0 && !mine) {
        for (size_t i = 0; i < n; i++)
            pp_memory_unref(memories[i]);
        out_of_memory(reply);
        return;
    }
    for (size_t i = 0; i < n; i++)
        mine[i] = memories[i];
    reply->memories = mine;
    reply->n_memories = n;
}

/* Copies bytes and a final NUL, so that C callers may print them. */
static int copy(struct pyproc_reply *reply, const void *bytes, size_t n, struct pyproc_bytes *to)
{
    char *mine = pp_reply_alloc(reply, n + 1);

    if (!mine)
        return -1;
    if (n)
        memcpy(mine, bytes, n);
    mine[n] = '\0';
    *to = (struct pyproc_bytes){mine, n};
    return 0;
}

static int copy_node(struct pyproc_reply *reply, const struct pyproc_failure_node *node,
                     struct pyproc_failure_node *to)
{
    struct pyproc_bytes *notes = pp_reply_alloc(reply, node->n_notes * sizeof *notes);
    int r = notes ? 0 : -1;

    *to = *node;
    to->notes = notes;
    for (size_t i = 0; i < node->n_notes && r == 0; i++)
        r = copy(reply, node->notes[i].data, node->notes[i].size, &notes[i]);
    if (r == 0)
        r = copy(reply, node->type_name.data, node->type_name.size, &to->type_name);
    if (r == 0)
        r = copy(reply, node->message.data, node->message.size, &to->message);
    if (r == 0)
        r = copy(reply, node->traceback.data, node->traceback.size, &to->traceback);
    if (r == 0)
        r = copy(reply, node->arguments.data, node->arguments.size, &to->arguments);
    if (r == 0)
        r = copy(reply, node->attributes.data, node->attributes.size, &to->attributes);
    return r;
}

static void copy_failure(struct pyproc_reply *reply, const struct pyproc_failure *failure)
{
    struct pyproc_failure *to = pp_reply_alloc(reply, sizeof *to);
    struct pyproc_failure_node *nodes = pp_reply_alloc(reply, failure->n_nodes * sizeof *nodes);
    int r = to && nodes ? 0 : -1;

    for (size_t i = 0; i < failure->n_nodes && r == 0; i++)
        r = copy_node(reply, &failure->nodes[i], &nodes[i]);
    if (r == 0)
        r = copy(reply, failure->path.data, failure->path.size, &to->path);
    if (r != 0) {
        out_of_memory(reply);
        return;
    }
    to->kind = failure->kind;
    to->nodes = nodes;
    to->n_nodes = failure->n_nodes;
    reply->failure = to;
}

static struct pyproc_bytes public_bytes(struct pp_bytes bytes)
{
    return (struct pyproc_bytes){bytes.data, bytes.size};
}

/* The wire's struct seen as the public one; nothing of the message is copied yet. */
static int public_node(struct pyproc_reply *reply, const struct pp_failure_node *node,
                       struct pyproc_failure_node *to)
{
    struct pyproc_bytes *notes = pp_reply_alloc(reply, node->n_notes * sizeof *notes);

    if (!notes)
        return -1;
    for (size_t i = 0; i < node->n_notes; i++)
        notes[i] = public_bytes(node->notes[i]);
    *to = (struct pyproc_failure_node){
        .relation = (int)node->relation,
        .parent = node->parent,
        .type_name = public_bytes(node->type_name),
        .message = public_bytes(node->message),
        .traceback = public_bytes(node->traceback),
        .arguments = public_bytes(node->arguments),
        .attributes = public_bytes(node->attributes),
        .notes = notes,
        .n_notes = node->n_notes,
        .suppress_context = node->suppress_context,
    };
    return 0;
}

void pp_reply_failure(struct pyproc_reply *reply, const struct pp_message_failure *failure)
{
    struct pyproc_failure_node *nodes = pp_reply_alloc(reply, failure->n_nodes * sizeof *nodes);
    int r = nodes ? 0 : -1;

    for (size_t i = 0; i < failure->n_nodes && r == 0; i++)
        r = public_node(reply, &failure->nodes[i], &nodes[i]);
    if (r != 0) {
        out_of_memory(reply);
        return;
    }
    reply->end = failure->kind == PP_FAILURE_START ? PYPROC_END_START : PYPROC_END_FAILURE;
    copy_failure(reply, &(struct pyproc_failure){.kind = (int)failure->kind,
                                                 .nodes = nodes,
                                                 .n_nodes = failure->n_nodes,
                                                 .path = public_bytes(failure->path)});
}

void pp_reply_end(struct pyproc_reply *reply, enum pyproc_end end, const char *text)
{
    struct pyproc_bytes mine = {NULL, 0};

    reply->end = end;
    if (text && copy(reply, text, strlen(text), &mine) == 0)
        reply->text = mine.data;
}

void pp_reply_death(struct pyproc_reply *reply, const struct pyproc_death *death)
{
    struct pyproc_death *to = pp_reply_alloc(reply, sizeof *to);

    if (!to)
        return; /* the end is known all the same */
    *to = *death;
    if (copy(reply, death->python_stack.data, death->python_stack.size, &to->python_stack) < 0)
        to->python_stack = (struct pyproc_bytes){NULL, 0};
    if (copy(reply, death->stderr_tail.data, death->stderr_tail.size, &to->stderr_tail) < 0)
        to->stderr_tail = (struct pyproc_bytes){NULL, 0};
    reply->death = to;
}

__attribute__((nonnull)) void pp_reply_copy(struct pyproc_reply *to,
                                            const struct pyproc_reply *from)
{
    pp_reply_value(to, from->codec, from->payload, from->size, from->count);
    pp_reply_end(to, from->end, from->text);
    to->call_id = from->call_id;
    to->limit = from->limit;
    to->used = from->used;
    to->how = from->how;
    if (from->failure)
        copy_failure(to, from->failure);
    if (from->death)
        pp_reply_death(to, from->death);
}
