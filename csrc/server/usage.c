/* usage.c - what each role has called: counted on the loop, copied there, read elsewhere. */
#include "server/server.h"

#include "base/futex.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 65536 };

struct pp_usage {
    size_t n, room;
    struct pp_usage_row {
        char role[64], function[192]; /* cut */
        uint64_t calls;
        int64_t last;
    } rows[];
};

static void count(void *token, const char *role, const char *function, uint64_t calls, int64_t last)
{
    size_t *np = token;

    (void)role;
    (void)function;
    (void)calls;
    (void)last;
    ++*np;
}

static void copy(void *token, const char *role, const char *function, uint64_t calls, int64_t last)
{
    struct pp_usage *usage = token;
    struct pp_usage_row *row;

    if (usage->n == usage->room)
        return;
    row = &usage->rows[usage->n++];
    (void)snprintf(row->role, sizeof row->role, "%s", role);
    (void)snprintf(row->function, sizeof row->function, "%s", function);
    row->calls = calls;
    row->last = last;
}

void pp_usage_show(struct pyproc_server *server)
{
    struct pp_usage *usage, *before;
    size_t n = 0;

    pp_access_usage(server->rules->access, count, &n);
    n = n < ROWS_MAX ? n : ROWS_MAX;
    usage = calloc(1, sizeof *usage + n * sizeof *usage->rows);
    if (usage) {
        usage->room = n;
        pp_access_usage(server->rules->access, copy, usage);
    }
    (void)pthread_mutex_lock(&server->lock);
    before = server->usage;
    server->usage = usage;
    server->wants_usage = false;
    (void)pthread_mutex_unlock(&server->lock);
    free(before);
    pp_futex_set(&server->shown_usage, atomic_load(&server->shown_usage) + 1);
}

PYPROC_API void pyproc_server_usage(struct pyproc_server *server,
                                    void (*each)(void *token, const char *role,
                                                 const char *function, uint64_t calls,
                                                 int64_t last),
                                    void *token)
{
    uint32_t seen = atomic_load(&server->shown_usage);
    struct pp_usage *usage;

    (void)pthread_mutex_lock(&server->lock);
    server->wants_usage = true;
    (void)pthread_mutex_unlock(&server->lock);
    pp_server_ring(server);
    while (atomic_load(&server->shown_usage) == seen && !atomic_load(&server->gone))
        (void)pp_futex_wait(&server->shown_usage, seen, PP_SECOND);
    (void)pthread_mutex_lock(&server->lock);
    usage = server->usage;
    server->usage = NULL;
    (void)pthread_mutex_unlock(&server->lock);
    for (size_t i = 0; usage && i < usage->n; i++)
        each(token, usage->rows[i].role, usage->rows[i].function, usage->rows[i].calls,
             usage->rows[i].last);
    free(usage);
}
