/* life.c - which workers are due, who takes their place, how many there are.
 *
 *   starting -> spare -> serving (idle <-> busy) -> leaving -> retired -> dead
 *
 * A worker that is due goes on serving until a spare one is ready; then it gets no more calls
 * and leaves when it has none. So a pool has max_workers serving ones at most, and beside them
 * those that come and go. Lock held, but for pp_life_weigh.
 */
#include "pool/pool.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

/* A ring that is not empty has a first slot, which gcc's analyzer does not know. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wanalyzer-null-dereference"
#endif

/* How long a worker that was told to leave may take. */
#define LEAVE_TIME (1 * PP_SECOND)
/* A worker's memory is looked at no more often. */
#define WEIGH_PAUSE (50 * PP_MS)
/* Of the time that a start takes: how long before a worker is due its replacement is started. */
#define START_AHEAD 2
/* A start that may be waited for. */
#define START_SHORT (PP_SECOND / 5)

const char pp_due_idle[] = "idle";

struct crew {
    unsigned starting, spare, serving, idle, due;
};

static struct pp_slot *slot_at(struct pp_list *at)
{
    return pp_container(at, struct pp_slot, link);
}

static struct pp_slot *slot_idle(struct pp_list *at)
{
    return pp_container(at, struct pp_slot, idle);
}

bool pp_slot_serves(const struct pp_slot *slot)
{
    return slot->was_ready && !slot->spare && !slot->leaving && !slot->retired && !slot->buried &&
           !atomic_load(&slot->worker.cause);
}

/* Actors keep their worker: what they hold cannot be made again elsewhere. New code is wanted by
 * somebody, so that goes before. */
static bool is_kept(const struct pp_slot *slot)
{
    return slot->n_actors > 0;
}

/* The one that is idle for longest and may leave; NULL: none. */
static struct pp_slot *idle_longest(const struct pyproc_pool *pool)
{
    const struct pp_list *at;

    for (at = pool->idle.prev; at != &pool->idle; at = at->prev)
        if (!is_kept(pp_container(at, const struct pp_slot, idle)))
            return pp_container(at, struct pp_slot, idle);
    return NULL;
}

static bool is_exact(const struct pp_life *life)
{
    return life->max_tasks > 0 && life->max_tasks <= PP_EXACT_TASKS;
}

/* Each worker serves one call: all that are ready are a stock. */
static bool is_eager(const struct pp_life *life)
{
    return life->max_tasks == 1;
}

void pp_life_init(struct pp_life *life, const struct pyproc_config *config)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    life->max_tasks = config->recycle_tasks;
    life->max_memory = config->recycle_memory;
    life->max_age = config->recycle_age;
    life->jitter = config->recycle_jitter;
    life->idle_timeout = config->idle_timeout;
    life->at_once = cpus > 1 ? 2 * (unsigned)cpus : 2;
    pp_list_init(&life->stock);
    if (getrandom(&life->random, sizeof life->random, GRND_NONBLOCK) < 0)
        life->random = (uint64_t)pp_now();
}

/* splitmix64; nobody's safety hangs on it. */
static uint64_t draw(struct pp_life *life)
{
    uint64_t x = life->random += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* A limit, up to `jitter` earlier: workers that were started together do not end together. */
static uint64_t jittered(struct pp_life *life, uint64_t limit)
{
    uint64_t most = limit / 1000000 * life->jitter + limit % 1000000 * life->jitter / 1000000;

    return limit - (most > 0 ? draw(life) % (most + 1) : 0);
}

/* --- what makes a worker due ------------------------------------------------------ */

static uint64_t tasks_of(const struct pp_slot *slot)
{
    return atomic_load_explicit(&slot->worker.tasks_done, memory_order_relaxed);
}

/* How many tasks it may do at all. Where a start takes long, waiting for one costs more than
 * what a few tasks too many leave behind. */
static uint64_t tasks_cap(const struct pp_life *life)
{
    if (life->max_tasks == 0 || (!is_exact(life) && life->start_time > START_SHORT))
        return UINT64_MAX;
    return is_exact(life) || life->max_tasks > UINT64_MAX / 2 ? life->max_tasks
                                                              : life->max_tasks * 2;
}

size_t pp_life_room(const struct pyproc_pool *pool, const struct pp_slot *slot)
{
    uint64_t cap = tasks_cap(&pool->life), used = tasks_of(slot);
    const struct pp_list *at;

    if (slot->leaving)
        return 0;
    if (cap == UINT64_MAX || is_kept(slot))
        return SIZE_MAX;
    for (at = slot->inflight.next; at != &slot->inflight; at = at->next)
        used += pp_call_tasks(pp_container(at, const struct pp_call, offered));
    return used < cap ? (size_t)(cap - used) : 0;
}

/* Whether its tasks will soon be done: so soon that its replacement had better be started. */
static bool tasks_due(const struct pp_life *life, const struct pp_slot *slot, int64_t now)
{
    uint64_t tasks = tasks_of(slot), left;

    if (life->max_tasks == 0 || is_exact(life) || tasks == 0)
        return false;
    if (tasks >= slot->max_tasks)
        return true;
    left = slot->max_tasks - tasks;
    if (left > slot->max_tasks / 4)
        return false; /* where tasks are much shorter than starts it comes late instead */
    return (double)left * (double)(now - slot->ready_at) / (double)tasks <
           (double)START_AHEAD * (double)life->start_time;
}

/* Bytes resident; 0 when the kernel does not say. */
uint64_t pp_life_rss(int32_t pid)
{
    unsigned long long size, resident;
    char path[32], text[128];
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (sscanf(text, "%llu %llu", &size, &resident) != 2) /* NOLINT(cert-err34-c): the kernel's */
        return 0;
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

void pp_life_weigh(const struct pyproc_pool *pool, struct pp_slot *slot)
{
    int64_t now = pp_now();

    slot->unweighed = now < slot->weigh_at;
    if (slot->unweighed)
        return;
    slot->weigh_at = now + WEIGH_PAUSE;
    if (pp_life_rss(atomic_load(&slot->worker.pid)) >= pool->life.max_memory)
        atomic_store_explicit(&slot->heavy, true, memory_order_relaxed);
}

static void look(struct pyproc_pool *pool, struct pp_slot *slot, int64_t now)
{
    if (slot->unweighed && slot->owner == PP_OWNER_NONE && slot->weigh_at <= now)
        pp_life_weigh(pool, slot); /* its last task came too soon after the one before */
    if (slot->due)
        return;
    if (slot->generation != pool->generation)
        slot->due = "reload";
    else if (is_kept(slot))
        return;
    else if (slot->due_at <= now)
        slot->due = "age";
    else if (atomic_load_explicit(&slot->heavy, memory_order_relaxed))
        slot->due = "memory";
    else if (tasks_due(&pool->life, slot, now))
        slot->due = "tasks";
}

static struct crew count(struct pyproc_pool *pool, int64_t now)
{
    struct crew crew = {0};
    struct pp_list *at;

    pool->life.leaving = 0;
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = slot_at(at);

        if (slot->buried)
            continue;
        pool->life.leaving += slot->leaving && !slot->retired;
        if (!slot->was_ready) {
            crew.starting += !slot->probe; /* doomed ones too: their death says what is next */
        } else if (slot->spare) {
            crew.spare += !atomic_load(&slot->worker.cause);
        } else if (pp_slot_serves(slot)) {
            look(pool, slot, now);
            crew.serving++;
            crew.idle += slot->owner == PP_OWNER_NONE;
            crew.due += slot->due != NULL;
        }
    }
    return crew;
}

/* --- coming and going -------------------------------------------------------------- */

void pp_life_retire(struct pyproc_pool *pool, struct pp_slot *slot)
{
    pp_list_remove(&slot->idle);
    slot->spare = false;
    slot->retired = true;
    if (slot->due)
        pp_count(slot->due == pp_due_idle ? &pool->metrics.workers_retired_idle
                                          : &pool->metrics.workers_recycled);
    pp_worker_goodbye(&slot->worker);
    pp_pool_deadline(pool, slot, pp_after(pp_now(), LEAVE_TIME));
}

static void leave(struct pyproc_pool *pool, struct pp_slot *slot)
{
    slot->leaving = true;
    slot->spare = false;
    pp_list_remove(&slot->idle);
    pool->life.leaving++;
    if (slot->owner == PP_OWNER_LOOP && slot->n_inflight > 1)
        pool->recall_at = 0; /* what waits behind its running call goes to others */
}

/* The spare one that is ready for longest starts to serve. */
static void serve(struct pyproc_pool *pool)
{
    struct pp_slot *slot = slot_idle(pool->life.stock.next);

    pp_list_remove(&slot->idle);
    slot->spare = false;
    pp_pool_give_back(pool, slot);
}

void pp_life_ready(struct pyproc_pool *pool, struct pp_slot *slot)
{
    struct pp_life *life = &pool->life;
    int64_t now = pp_now(), took = now - slot->worker.born;

    life->start_time = life->start_time ? (3 * life->start_time + took) / 4 : took;
    slot->was_ready = true;
    slot->ready_at = now;
    if (life->max_age != PP_NEVER)
        slot->due_at = pp_after(now, (int64_t)jittered(life, (uint64_t)life->max_age));
    slot->max_tasks = is_exact(life) ? life->max_tasks : jittered(life, life->max_tasks);
    slot->owner = PP_OWNER_NONE;
    if (atomic_load(&slot->worker.cause))
        return;
    atomic_store(&slot->worker.state, PP_WORKER_READY);
    if (slot->generation != pool->generation) {
        leave(pool, slot); /* its code is old by now */
        return;
    }
    slot->spare = true;
    pp_list_push_back(&life->stock, &slot->idle);
}

bool pp_life_spent(struct pyproc_pool *pool, struct pp_slot *slot)
{
    const struct pp_life *life = &pool->life;

    if (is_kept(slot))
        return false;
    if (tasks_of(slot) >= tasks_cap(life)) {
        slot->due = "tasks";
        leave(pool, slot);
        if (!pp_list_empty(&pool->life.stock))
            serve(pool);
        return true;
    }
    if (!slot->due && (atomic_load_explicit(&slot->heavy, memory_order_relaxed) ||
                       tasks_due(life, slot, pp_now_coarse()))) {
        slot->due = atomic_load(&slot->heavy) ? "memory" : "tasks";
        pp_loop_wake(pool->loop);
    } else if (slot->unweighed && slot->weigh_at < pool->armed) {
        pp_loop_wake(pool->loop);
    }
    return false;
}

/* --- a turn ------------------------------------------------------------------------ */

/* One that is due, rather an idle one. */
static struct pp_slot *due_one(struct pyproc_pool *pool)
{
    struct pp_slot *busy = NULL;
    struct pp_list *at;

    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = slot_at(at);

        if (!slot->due || !pp_slot_serves(slot))
            continue;
        if (slot->owner == PP_OWNER_NONE)
            return slot;
        busy = busy ? busy : slot;
    }
    return busy;
}

/* How many spare ones may wait for their turn. */
static unsigned stock_size(const struct pyproc_pool *pool)
{
    unsigned tasks = (unsigned)pool->life.max_tasks;

    return is_exact(&pool->life) ? (pool->max_workers + tasks - 1) / tasks : 0;
}

/* Whether a spare worker is to serve beside the others. */
static bool joins(const struct pyproc_pool *pool, const struct crew *crew)
{
    const struct pp_life *life = &pool->life;

    if (crew->serving >= pool->max_workers)
        return false;
    return is_eager(life) || pool->sticky.n_unplaced > 0 || pool->n_waiting > crew->idle ||
           crew->serving < pool->min_workers || (crew->due == 0 && crew->spare > stock_size(pool));
}

static void employ_spare(struct pyproc_pool *pool, struct crew *crew)
{
    while (crew->spare > 0) {
        if (joins(pool, crew)) {
            crew->serving++;
            crew->idle++;
        } else if (crew->due > 0) {
            leave(pool, due_one(pool));
            crew->due--;
        } else {
            break;
        }
        serve(pool);
        crew->spare--;
    }
    for (; crew->spare > stock_size(pool); crew->spare--)
        leave(pool, slot_idle(pool->life.stock.prev));
}

static void leave_surplus(struct pyproc_pool *pool, struct crew *crew, int64_t now)
{
    struct pp_list *at = pool->slots.next;

    for (struct pp_slot *slot; crew->serving > pool->max_workers && (slot = idle_longest(pool));) {
        leave(pool, slot);
        crew->serving--;
    }
    for (; crew->serving > pool->max_workers && at != &pool->slots; at = at->next) {
        if (pp_slot_serves(slot_at(at))) {
            leave(pool, slot_at(at));
            crew->serving--;
        }
    }
    if (pool->life.idle_timeout == PP_NEVER || is_eager(&pool->life))
        return;
    while (crew->serving > pool->min_workers) {
        struct pp_slot *slot = idle_longest(pool);

        if (!slot || pp_after(slot->idle_since, pool->life.idle_timeout) > now)
            return;
        slot->due = pp_due_idle;
        leave(pool, slot);
        crew->serving--;
    }
}

void pp_life_turn(struct pyproc_pool *pool, int64_t now)
{
    struct crew crew = count(pool, now);
    struct pp_list *at;

    if (pool->state < PP_POOL_CLOSING) {
        employ_spare(pool, &crew);
        leave_surplus(pool, &crew, now);
    }
    if (pool->life.leaving == 0)
        return;
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = slot_at(at);

        if (slot->leaving && !slot->retired && !slot->buried && slot->owner == PP_OWNER_NONE &&
            !atomic_load(&slot->worker.cause))
            pp_life_retire(pool, slot);
    }
}

unsigned pp_life_missing(struct pyproc_pool *pool)
{
    struct crew crew = count(pool, pp_now());
    unsigned coming = crew.starting + crew.spare, ahead = 0, free, need, limit;

    if (pool->state >= PP_POOL_CLOSING)
        return 0;
    free = crew.serving < pool->max_workers ? pool->max_workers - crew.serving : 0;
    need = pool->n_waiting < free ? (unsigned)pool->n_waiting : free;
    if (pool->state == PP_POOL_OPEN && crew.serving + need < pool->min_workers)
        need = pool->min_workers - crew.serving;
    if (pool->state == PP_POOL_OPEN || pool->n_waiting > 0) {
        ahead = crew.due;
        if (is_eager(&pool->life)) /* what is idle is as fresh as what is spare */
            ahead +=
                pool->max_workers > crew.idle + need ? pool->max_workers - crew.idle - need : 0;
        else
            ahead += stock_size(pool);
    }
    if (coming >= need + ahead)
        return 0;
    limit = pool->life.at_once > crew.starting ? pool->life.at_once - crew.starting : 0;
    if (coming >= need) {
        ahead -= coming - need;
        return ahead < limit ? ahead : limit;
    }
    need -= coming;
    limit = limit > need ? limit - need : 0;
    return need + (ahead < limit ? ahead : limit);
}

int64_t pp_life_next(const struct pyproc_pool *pool)
{
    const struct pp_life *life = &pool->life;
    bool shrinks = life->idle_timeout != PP_NEVER && !is_eager(life);
    int64_t next = PP_NEVER;
    const struct pp_list *at;
    unsigned serving = 0;

    if (!shrinks && life->max_age == PP_NEVER && life->max_memory == 0)
        return next;
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        const struct pp_slot *slot = pp_container(at, const struct pp_slot, link);

        if (!pp_slot_serves(slot))
            continue;
        serving++;
        if (is_kept(slot))
            continue;
        if (!slot->due && slot->due_at < next)
            next = slot->due_at;
        if (!slot->due && slot->unweighed && slot->owner == PP_OWNER_NONE && slot->weigh_at < next)
            next = slot->weigh_at;
    }
    if (shrinks && serving > pool->min_workers) {
        const struct pp_slot *first = idle_longest(pool);
        int64_t since = first ? first->idle_since : pp_now();

        since = pp_after(since, life->idle_timeout);
        next = since < next ? since : next;
    }
    return next;
}
