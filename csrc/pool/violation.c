/* violation.c - what sandboxes met, as events: who, in which call, which system call.
 *
 * Three grades: a call that the kernel refused, by the worker's own word; a system call that no
 * sandbox allows, heard of before it happened; and one whose process the kernel ended. A flood of
 * them is counted and not told one by one. The loop's thread but for what it says otherwise.
 */
#include "pool/pool.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Events of violations of a pool: so many at once, and a second. */
enum { TOLD_BURST = 64, TOLD_RATE = 10 };
/* What one worker may send of its own. Ours send half as many (pyproc/worker/refusals.py). */
enum { SENT_BURST = 64, SENT_RATE = 4 };

static bool take_from(struct pp_bucket *bucket, double burst, double rate)
{
    int64_t now = pp_now();

    if (bucket->at == 0)
        bucket->left = burst;
    else
        bucket->left += rate * (double)(now - bucket->at) / (double)PP_SECOND;
    if (bucket->left > burst)
        bucket->left = burst;
    bucket->at = now;
    if (bucket->left < 1)
        return false;
    bucket->left -= 1;
    return true;
}

static void tell(struct pyproc_pool *pool, const struct pp_worker *worker, const char *detail,
                 struct pyproc_violation *violation)
{
    if (!take_from(&pool->violations, TOLD_BURST, TOLD_RATE)) {
        pool->untold++;
        return;
    }
    violation->before = pool->untold;
    pool->untold = 0;
    pp_notice_violation(pool, "violation", worker, detail, violation);
}

/* ---- which call ---- */

void pp_violation_leased(struct pp_slot *slot, uint64_t id, struct pyproc_bytes function)
{
    struct pp_running *running = &slot->running;
    uint64_t words[PP_RUNNING_WORDS] = {0};

    if (function.size)
        memcpy(words, function.data, function.size < sizeof words ? function.size : sizeof words);
    atomic_store_explicit(&running->id, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (size_t i = 0; i < PP_RUNNING_WORDS; i++)
        atomic_store_explicit(&running->name[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&running->id, id, memory_order_release);
}

/* The name of a leased call; empty when it is another one by now. */
static struct pyproc_bytes leased_name(const struct pp_slot *slot, uint64_t id,
                                       char name[PP_RUNNING_WORDS * 8])
{
    const struct pp_running *running = &slot->running;
    uint64_t words[PP_RUNNING_WORDS];
    size_t size = sizeof words;

    if (id == 0 || atomic_load_explicit(&running->id, memory_order_acquire) != id)
        return (struct pyproc_bytes){"", 0};
    for (size_t i = 0; i < PP_RUNNING_WORDS; i++)
        words[i] = atomic_load_explicit(&running->name[i], memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&running->id, memory_order_relaxed) != id)
        return (struct pyproc_bytes){"", 0};
    memcpy(name, words, size);
    return (struct pyproc_bytes){name, strnlen(name, size)};
}

/* The call `id`, or with 0 the one that runs. `name` is room for what is answered in it. */
static void find_call(const struct pp_slot *slot, uint64_t id, char name[PP_RUNNING_WORDS * 8],
                      struct pyproc_violation *violation)
{
    const struct pp_list *at;

    violation->call_id = id;
    for (at = slot->inflight.next; at != &slot->inflight; at = at->next) {
        const struct pp_call *call = pp_container(at, const struct pp_call, offered);
        size_t n = call->message.function.size, words = (size_t)PP_RUNNING_WORDS * 8;

        if (id != 0 && call->wire_id != id)
            continue;
        violation->call_id = call->wire_id;
        violation->function =
            (struct pyproc_bytes){(const char *)call->message.function.data, n < words ? n : words};
        return;
    }
    if (id == 0)
        violation->call_id = atomic_load(&slot->running.id);
    violation->function = leased_name(slot, violation->call_id, name);
}

/* ---- what happened ---- */

bool pp_violation_event(void *token, struct pp_worker *worker, const struct pp_message_event *event)
{
    struct pyproc_violation violation = {.grade = PYPROC_GRADE_REFUSED, .number = -1};
    char name[PP_RUNNING_WORDS * 8], detail[PP_EVENT_TEXT_MAX + 1];
    struct pp_slot *slot;

    if (worker->role != PP_ROLE_WORKER)
        return false;
    slot = pp_container(worker, struct pp_slot, worker);
    /* More than ours would ever send, or of a call that it does not have: it is not ours. */
    if (!take_from(&slot->events, SENT_BURST, SENT_RATE) ||
        event->call > atomic_load(&worker->control->call_id))
        return false;
    if (event->call != 0)
        find_call(slot, event->call, name, &violation);
    if (event->text.size)
        memcpy(detail, event->text.data, event->text.size);
    detail[event->text.size] = '\0';
    tell(token, worker, detail, &violation);
    return true;
}

void pp_violation_strayed(void *token, const struct pp_violation *stray)
{
    struct pyproc_violation violation = {.grade = PYPROC_GRADE_TRIPWIRE, .number = stray->number};
    char detail[96];

    memcpy(violation.arguments, stray->arguments, sizeof violation.arguments);
    (void)snprintf(detail, sizeof detail, "by process %d, which has left its worker",
                   (int)stray->pid);
    tell(token, NULL, detail, &violation);
}

void pp_violation_death(struct pyproc_pool *pool, const struct pp_slot *slot,
                        const struct pp_worker *worker)
{
    const struct pyproc_death *death = &worker->death;
    struct pyproc_violation violation = {.number = death->refused};
    char name[PP_RUNNING_WORDS * 8], detail[96];

    if (strcmp(death->cause, "sandbox") != 0)
        return;
    violation.grade = death->signal == SIGSYS ? PYPROC_GRADE_SIGNAL : PYPROC_GRADE_TRIPWIRE;
    memcpy(violation.arguments, death->refused_arguments, sizeof violation.arguments);
    if (slot && worker->violation.busy) /* who leased it may be on his way already */
        find_call(slot, 0, name, &violation);
    if (!slot)
        (void)snprintf(detail, sizeof detail, "a template was ended for it");
    else if (death->refused_by && death->refused_by != death->pid)
        (void)snprintf(detail, sizeof detail,
                       "the worker was ended for it; by thread or process %d",
                       (int)death->refused_by);
    else
        (void)snprintf(detail, sizeof detail, "the worker was ended for it");
    tell(pool, worker, detail, &violation);
}

struct pp_worker *pp_violation_find(void *token, int32_t pid)
{
    struct pyproc_pool *pool = token;
    struct pp_list *at;

    for (at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if (!slot->buried && atomic_load(&slot->worker.pid) == pid)
            return &slot->worker;
    }
    for (at = pool->templates.next; at != &pool->templates; at = at->next) {
        struct pp_template *template = pp_container(at, struct pp_template, link);

        if (!template->buried && atomic_load(&template->worker.pid) == pid)
            return &template->worker;
    }
    return NULL;
}
