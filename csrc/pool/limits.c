/* limits.c - limits of memory, processor time, processes and threads, looked after while calls
 * run.
 *
 * The next look is due when the room that a worker has left could be filled at the speed of
 * memory itself, so one that is far from its limit costs a look every 50 ms, and a pool in which
 * nothing runs costs none. Where a worker has a memory cgroup, that one is a wall a little above
 * the limit, and a look sees who stands at it. RLIMIT_DATA, set when a worker becomes ready, is
 * the net below: it refuses what is asked for in one piece.
 */
#include "pool/pool.h"

#include "supervisor/usage.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>

#define STOPS_PAUSE (400 * PP_MS)
#define LOOK_MIN (1 * PP_MS)
#define LOOK_MAX (50 * PP_MS)
#define LOOK_COUNT (3 * PP_MS) /* where processes or threads are counted */
/* Bytes that can be filled in a nanosecond, at most: 16 GiB a second. */
#define FILL_RATE 17
/* Beyond the limit, for what is mapped and never touched: stacks of threads, arenas. */
#define DATA_SLACK (UINT64_C(1) << 30)

/* The limits of the call that runs on a slot; lock held. */
static void limits_of(const struct pyproc_pool *pool, const struct pp_slot *slot, uint64_t *memoryp,
                      int64_t *cpup)
{
    const struct pp_call *call;

    *memoryp = slot->memory_limit ? slot->memory_limit : pool->memory_limit;
    *cpup = slot->cpu_limit ? slot->cpu_limit : pool->cpu_limit;
    if (slot->owner != PP_OWNER_LOOP || pp_list_empty(&slot->inflight))
        return;
    call = pp_container(slot->inflight.next, const struct pp_call, offered);
    *memoryp = call->memory_limit ? call->memory_limit : pool->memory_limit;
    *cpup = call->cpu_limit ? call->cpu_limit : pool->cpu_limit;
}

/* Of calls that share a worker nobody knows whose time it is: then it is counted from one answer
 * to the next, so that whoever holds the event loop is found. */
static uint64_t call_of(const struct pp_slot *slot)
{
    if (slot->share != PP_SHARE_NONE)
        return UINT64_MAX - slot->share_ends;
    if (slot->owner == PP_OWNER_LOOP && !pp_list_empty(&slot->inflight))
        return pp_container(slot->inflight.next, const struct pp_call, offered)->wire_id;
    return slot->owner == PP_OWNER_LEASED ? atomic_load(&slot->worker.control->call_id) : 0;
}

/* The group of processors that the fewest workers have. */
static unsigned emptiest_group(const struct pyproc_pool *pool)
{
    unsigned best = 0, best_n = UINT_MAX;

    for (unsigned group = 0; group < pool->cpus.groups; group++) {
        const struct pp_list *at;
        unsigned n = 0;

        for (at = pool->slots.next; at != &pool->slots; at = at->next) {
            const struct pp_slot *slot = pp_container(at, struct pp_slot, link);

            n += slot->was_ready && !slot->buried && slot->cpu_group == group;
        }
        if (n < best_n) {
            best = group;
            best_n = n;
        }
    }
    return best;
}

static void choose_cpus(struct pyproc_pool *pool, struct pp_slot *slot, int32_t pid)
{
    uint64_t mask[PP_CPU_WORDS];

    if (pool->cpus.groups < 2)
        return; /* it was started with all that it gets */
    slot->cpu_group = emptiest_group(pool);
    pp_cpus_group(&pool->cpus, slot->cpu_group, mask);
    pp_cpus_move(pid, mask);
}

void pp_limits_ready(struct pyproc_pool *pool, struct pp_slot *slot)
{
    int32_t pid = atomic_load(&slot->worker.pid);
    struct pp_usage usage;
    struct rlimit limit;

    choose_cpus(pool, slot, pid);
    pp_usage_read(pid, pool->keeper_pid, &usage);
    slot->worker.base_memory = usage.memory;
    slot->base_threads = usage.threads;
    if (pool->memory_limit == 0)
        return;
    if (slot->worker.group.groups && pp_group_limit(&slot->worker.group, pool->memory_limit,
                                                    slot->worker.template ? usage.memory : 0) < 0)
        (void)pp_worker_doom(&slot->worker, "host"); /* it would have no limit */
    limit.rlim_cur = usage.data + pool->memory_limit + DATA_SLACK;
    limit.rlim_max = limit.rlim_cur;
    /* It has just spoken, so the number is still its own. */
    (void)prlimit(pid, RLIMIT_DATA, &limit, NULL);
}

void pp_limits_started(struct pyproc_pool *pool)
{
    bool looks = pool->stops_at != PP_NEVER;
    bool watches = !pool->watches || pool->watch_at != PP_NEVER;
    int64_t now;

    if (looks && watches)
        return;
    now = pp_now();
    if (!looks)
        pool->stops_at = pp_after(now, STOPS_PAUSE);
    if (!watches)
        pool->watch_at = pp_after(now, pool->watch_pause);
    pp_loop_wake(pool->loop);
}

static void exceeded(struct pp_slot *slot, const char *cause, uint64_t limit, uint64_t used)
{
    slot->worker.limit = limit;
    slot->worker.used = used;
    (void)pp_worker_doom(&slot->worker, cause);
}

/* When this worker has to be looked at again. */
static int64_t memory_pause(const struct pyproc_pool *pool, struct pp_slot *slot, uint64_t limit,
                            const struct pp_usage *usage)
{
    uint64_t base = slot->worker.base_memory;
    uint64_t held = usage->memory > base ? usage->memory - base : 0;
    uint64_t wall = pool->memory_limit; /* the worker's, whatever this call may use */
    uint64_t room;

    if (limit == 0)
        return LOOK_MAX;
    if (pp_group_stalls(&slot->worker.group, held < wall ? wall - held : 0)) {
        slot->worker.how = "cgroup";
        exceeded(slot, "memory", wall, held);
        return LOOK_MAX;
    }
    if (held > limit) {
        exceeded(slot, "memory", limit, held);
        return LOOK_MAX;
    }
    room = (limit - held) / FILL_RATE;
    return room < (uint64_t)LOOK_MAX ? (int64_t)room : LOOK_MAX;
}

static int64_t cpu_pause(struct pp_slot *slot, int64_t limit, const struct pp_usage *usage)
{
    uint64_t call = call_of(slot);
    int64_t used;

    if (limit == 0)
        return LOOK_MAX;
    if (slot->cpu_call != call) {
        slot->cpu_call = call;
        slot->cpu_base = usage->cpu_ns;
    }
    used = usage->cpu_ns - slot->cpu_base;
    if (used > limit) {
        exceeded(slot, "cpu", (uint64_t)limit, (uint64_t)used);
        return LOOK_MAX;
    }
    return (limit - used) / 4; /* several threads may spend it */
}

/* When there are too many of something, its end; else when to count again. */
static int64_t count_pause(struct pyproc_pool *pool, struct pp_slot *slot,
                           const struct pp_usage *usage)
{
    uint32_t base = slot->base_threads;
    uint64_t threads = usage->threads > base ? usage->threads - base : 0;

    if (!pp_limits_count(pool))
        return LOOK_MAX;
    if (usage->processes > pool->max_processes)
        exceeded(slot, "processes", pool->max_processes, usage->processes);
    else if (threads > pool->max_threads)
        exceeded(slot, "threads", pool->max_threads, threads);
    return LOOK_COUNT;
}

/* Lock held: how long this one may go without a look. */
static int64_t look_at(struct pyproc_pool *pool, struct pp_slot *slot)
{
    struct pp_usage usage;
    uint64_t memory;
    int64_t cpu, pause, other;

    limits_of(pool, slot, &memory, &cpu);
    if (memory == 0 && cpu == 0 && !pp_limits_count(pool))
        return LOOK_MAX;
    pp_usage_read(atomic_load(&slot->worker.pid), pool->keeper_pid, &usage);
    pause = memory_pause(pool, slot, memory, &usage);
    other = cpu_pause(slot, cpu, &usage);
    pause = other < pause ? other : pause;
    other = count_pause(pool, slot, &usage);
    pause = other < pause ? other : pause;
    return pause < LOOK_MIN ? LOOK_MIN : pause;
}

/* Whoever drips an answer is ended. Whoever was stopped stays so, and its call would never end;
 * seen so twice, so that a stop that somebody takes back at once costs nothing. */
static void stops_due(struct pyproc_pool *pool, int64_t now)
{
    bool busy = false;
    struct pp_list *at;

    if (pool->stops_at > now)
        return;
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);
        bool stopped = slot->owner != PP_OWNER_NONE && !slot->buried &&
                       pp_usage_stopped(atomic_load(&slot->worker.pid));

        busy = busy || (slot->owner != PP_OWNER_NONE && !slot->buried);
        if (stopped && slot->seen_stopped)
            (void)pp_worker_doom(&slot->worker, "stopped");
        if (slot->owner == PP_OWNER_LOOP && pp_channel_is_slow(&slot->worker.channel) &&
            pp_worker_doom(&slot->worker, "protocol"))
            pp_count(&pool->metrics.protocol_errors);
        slot->seen_stopped = stopped;
    }
    pool->stops_at = busy ? pp_after(now, STOPS_PAUSE) : PP_NEVER;
}

void pp_limits_due(struct pyproc_pool *pool, int64_t now)
{
    int64_t pause = LOOK_MAX;
    bool busy = false;
    struct pp_list *at;

    stops_due(pool, now);
    pp_health_turn(pool, now);
    if (pool->watch_at > now)
        return;
    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);
        int64_t next;

        if (slot->owner == PP_OWNER_NONE || slot->buried || atomic_load(&slot->worker.cause))
            continue;
        busy = true;
        next = look_at(pool, slot);
        pause = next < pause ? next : pause;
    }
    /* A call that starts meanwhile may have all the room there is at the start. */
    if (pool->memory_limit && (int64_t)(pool->memory_limit / FILL_RATE) < pause)
        pause = (int64_t)(pool->memory_limit / FILL_RATE);
    if (pp_limits_count(pool) && pause > LOOK_COUNT)
        pause = LOOK_COUNT;
    pool->watch_pause = pause < LOOK_MIN ? LOOK_MIN : pause;
    pool->watch_at = busy ? pp_after(now, pool->watch_pause) : PP_NEVER;
}

/* Whether an exception says that the kernel refused memory: MemoryError, a library's kind of it,
 * or OSError(ENOMEM, ...), whose arguments are an array of two that begins with the number. */
static bool refused(const struct pyproc_failure_node *node)
{
    static const char memory[] = "MemoryError", system[] = "OSError";
    const char *type = node->type_name.data;
    const uint8_t *arguments = node->arguments.data;
    size_t n = node->type_name.size, length = sizeof memory - 1;

    if (n >= length && memcmp(type + n - length, memory, length) == 0)
        return true;
    return n == sizeof system - 1 && memcmp(type, system, n) == 0 && node->arguments.size > 2 &&
           arguments[0] == 0x92 && arguments[1] == ENOMEM;
}

void pp_limits_end(const struct pyproc_pool *pool, struct pyproc_reply *reply)
{
    if (pool->memory_limit == 0 || reply->end != PYPROC_END_FAILURE || reply->failure == NULL ||
        !refused(&reply->failure->nodes[0]))
        return;
    pp_reply_end(reply, PYPROC_END_MEMORY, "the kernel refused it more");
    reply->limit = pool->memory_limit;
    reply->how = "rlimit";
}
