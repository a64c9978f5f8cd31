/* crash.c - what a dying worker needs: a word that its stack is written, and room to write it. */
#include "worker/worker.h"

#include "base/error.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* The handler knows no arguments; one worker a process. */
static struct pp_status_page *_Atomic watched;
static const struct pp_control_page *_Atomic ordered;

enum { STACK_SIZE = 64 * 1024 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t stack_key;
static bool has_key;

static void dumped(int number)
{
    struct pp_status_page *page = atomic_load(&watched);
    const struct pp_control_page *control = atomic_load(&ordered);
    uint32_t look = control ? atomic_load(&control->look) : 0;

    (void)number;
    if (page && look) { /* somebody only looks: the call goes on */
        atomic_store(&page->looked, look);
        return;
    }
    if (page)
        atomic_store(&page->dumped, 1);
    /* The host kills next. A call that the signal has interrupted must not go on as if it had
     * come to its end. */
    for (;;)
        (void)pause();
}

int pp_worker_watch_dumps(struct pp_worker *worker)
{
    struct sigaction action = {.sa_handler = dumped, .sa_flags = SA_RESTART | SA_ONSTACK};

    atomic_store(&watched, worker->status);
    atomic_store(&ordered, worker->control);
    (void)sigemptyset(&action.sa_mask);
    if (sigaction(PP_SIGNAL_DUMP, &action, NULL) < 0)
        return pp_fail(-errno, "watch for the host's wish for a stack");
    return 0;
}

/* Runs at the end of its thread, on the thread's own stack. */
static void free_stack(void *stack)
{
    const stack_t none = {.ss_flags = SS_DISABLE};

    if (sigaltstack(&none, NULL) == 0)
        (void)munmap(stack, STACK_SIZE);
}

static void make_key(void)
{
    has_key = pthread_key_create(&stack_key, free_stack) == 0;
}

void pp_worker_guard_thread(void)
{
    stack_t now, mine = {.ss_size = STACK_SIZE};

    (void)pthread_once(&once, make_key);
    if (!has_key || sigaltstack(NULL, &now) < 0 || !(now.ss_flags & SS_DISABLE))
        return;
    mine.ss_sp = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (mine.ss_sp == MAP_FAILED)
        return;
    if (sigaltstack(&mine, NULL) < 0 || pthread_setspecific(stack_key, mine.ss_sp) != 0)
        free_stack(mine.ss_sp);
}
