/* dump.c - the stacks of a worker that lives on. Any thread.
 *
 * A signal has the worker's fault handler write into the crash file, which the host made; the
 * worker then says so in its status page and goes on. What it wrote is hostile text.
 */
#include "pool/pool.h"

#include "base/clock.h"
#include "base/error.h"

#include <errno.h>
#include <time.h>

static struct pp_slot *find(struct pyproc_pool *pool, uint32_t id)
{
    for (struct pp_list *at = pool->slots.next; at != &pool->slots; at = at->next) {
        struct pp_slot *slot = pp_container(at, struct pp_slot, link);

        if (slot->worker.id == id && !slot->buried &&
            atomic_load(&slot->worker.state) != PP_WORKER_DEAD)
            return slot;
    }
    return NULL;
}

/* Whether it has come to an end: with text, or *whyp says why not. */
static bool look_once(struct pyproc_pool *pool, uint32_t id, uint32_t *numberp, char *text,
                      size_t size, size_t *np, const char **whyp)
{
    struct pp_slot *slot;
    bool over = true;

    (void)pthread_mutex_lock(&pool->lock);
    slot = find(pool, id);
    *whyp = slot ? NULL : "there is no such worker, or it has ended";
    if (slot && *numberp == 0) {
        pool->looks = pool->looks == UINT32_MAX ? 1 : pool->looks + 1;
        *numberp = pool->looks;
        *whyp = pp_worker_look(&slot->worker, *numberp);
        over = *whyp != NULL;
    } else if (slot) {
        over = pp_worker_looked(&slot->worker, *numberp, text, size, np);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return over;
}

PYPROC_API int pyproc_dump(struct pyproc_pool *pool, uint32_t worker, int64_t timeout, char *text,
                           size_t size, size_t *np)
{
    const struct timespec pause = {.tv_nsec = PP_MS};
    int64_t until = pp_after(pp_now(), timeout);
    const char *why = NULL;
    uint32_t number = 0;

    if (pp_pool_forked(pool))
        return pp_fail(-ESRCH,
                       "the pool belongs to the process that forked: open one in this process");
    while (!look_once(pool, worker, &number, text, size, np, &why)) {
        if (pp_now() >= until)
            return pp_fail(-ETIMEDOUT, "the worker did not write its stacks in time");
        (void)nanosleep(&pause, NULL);
    }
    return why ? pp_fail(-ESRCH, "%s", why) : 0;
}
