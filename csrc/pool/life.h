/* life.h - how long workers live, and how many: the part of a pool that life.c and reload.c
 * keep. Everything is the pool's lock's unless it says otherwise. */
#ifndef PP_POOL_LIFE_H
#define PP_POOL_LIFE_H

#include "base/list.h"
#include "include/pyproc.h"
#include "supervisor/template.h"

#include <stdbool.h>
#include <stdint.h>

/* Up to so many tasks a worker Recycle(max_tasks=) is exact: who wants a process for so few
 * calls wants it fresh. Above it a worker goes on until its replacement is ready, for at most
 * twice as many. */
enum { PP_EXACT_TASKS = 32 };

struct pp_life {
    /* Never change. */
    uint64_t max_tasks;   /* 0: no limit */
    uint64_t max_memory;  /* bytes; 0: no limit */
    int64_t max_age;      /* PP_NEVER: no limit */
    uint32_t jitter;      /* parts of a million of a limit */
    int64_t idle_timeout; /* PP_NEVER: none */
    unsigned at_once;     /* replacements that may be starting */

    struct pp_list stock; /* ready workers that wait for their turn, by slot->idle */
    int64_t start_time;   /* of a worker, lately */
    uint64_t random;
    unsigned leaving; /* workers that end their last calls, at the last look */
};

/* The functions that workers publish; shared. */
struct pp_functions {
    _Atomic unsigned refs;
    size_t n;
    struct pyproc_function *items; /* bytes are owned */
    struct pp_function_facts {
        uint8_t kind;   /* enum pp_function_kind */
        uint32_t batch; /* calls that it answers in one go; 0: one at a time */
        int64_t wait;   /* ns that the first of them waits for others */
    } * facts;          /* of each */
};

enum pp_reload_state {
    PP_RELOAD_NONE,
    PP_RELOAD_WANTED,   /* nothing of the next generation has been started */
    PP_RELOAD_TEMPLATE, /* its template is starting */
    PP_RELOAD_PROBE,    /* its first worker is starting */
    PP_RELOAD_ROLLING,  /* it is the current one; workers of older ones are being replaced */
};

struct pp_reload {
    enum pp_reload_state state;
    bool given_up;   /* nobody waits for it any more */
    unsigned target; /* the next generation */
    int64_t wanted_at;
    struct pp_reloader *waiter;     /* who waits; NULL: nobody */
    struct pp_template *template;   /* loop: of the next generation */
    const struct pp_slot *probe;    /* loop: its first worker, while that decides */
    unsigned tries;                 /* loop: starts that somebody else ended */
    struct pp_functions *functions; /* of the next generation */
    _Atomic uint32_t ended;         /* futex: counts reloads that have ended */
};

#endif
