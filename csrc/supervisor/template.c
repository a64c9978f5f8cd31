/* template.c - asks for forks and believes the keeper. */
#include "supervisor/template.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/handoff.h"
#include "ipc/fork.h"
#include "ipc/socket.h"
#include "supervisor/tripwire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A fork takes milliseconds. A template that does not answer for so long is stuck. */
#define FORK_TIME (5 * PP_SECOND)

enum { THREADS_SHOWN = 8 };

int pp_template_start(struct pp_template *template, struct pp_supervisor *supervisor, uint32_t id)
{
    pp_worker_init(&template->worker);
    template->worker.role = PP_ROLE_TEMPLATE;
    pp_list_init(&template->link);
    template->retire_at = template->look_at = PP_NEVER;
    return pp_worker_start(&template->worker, supervisor, id);
}

int pp_template_fork(struct pp_template *template, struct pp_worker *worker,
                     struct pp_supervisor *supervisor, uint32_t id)
{
    struct pp_fork_request request = {.magic = PP_FORK_MAGIC, .worker = id};
    struct pp_births births;
    int fds[PP_FORK_FDS_MAX];
    int r = pp_worker_prepare(worker, supervisor, id, &births);

    if (r == 0) {
        pp_births_order(&births, worker, fds);
        fds[PP_FORK_FDS] = births.group;
        r = pp_handoff_send(template->worker.channel.fd, &request, sizeof request, fds,
                            PP_FORK_FDS + (births.group >= 0 ? 1U : 0U), MSG_DONTWAIT);
        if (r < 0)
            r = pp_fail(r == -EWOULDBLOCK || r == -ETOOMANYREFS ? -EAGAIN : r,
                        "ask the template for a worker");
    }
    pp_births_close(&births);
    if (r < 0) {
        pp_worker_deinit(worker);
        return r;
    }
    worker->template = template->worker.id;
    worker->tripwire = pp_tripwire_ref(template->worker.tripwire);
    worker->fork_deadline = pp_after(worker->born, FORK_TIME);
    return 0;
}

/* The worker that this report may speak of, or NULL. */
static struct pp_worker *expected(const struct pp_worker *template,
                                  const struct pp_fork_report *report)
{
    struct pp_supervisor *supervisor = template->supervisor;
    struct pp_worker *worker = NULL;

    if (report->magic == PP_FORK_MAGIC && report->worker != 0)
        worker = supervisor->find(supervisor->token, report->worker);
    if (!worker || worker->template != template->id || worker->fork_deadline == PP_NEVER)
        return NULL;
    return worker;
}

static bool take_report(struct pp_worker *template, const struct pp_fork_report *report)
{
    struct pp_supervisor *supervisor = template->supervisor;
    struct pp_worker *worker = expected(template, report);
    int r;

    if (!worker)
        return false;
    worker->fork_deadline = PP_NEVER;
    if (report->pid < 0) {
        struct pp_keeper_event event = {
            .kind = PP_KEEPER_FAILED, .worker = worker->id, .step = "fork", .error = -report->pid};

        pp_supervisor_failed(worker, &event);
        return true;
    }
    r = supervisor->keeper ? pp_keeper_adopt(supervisor->keeper, worker->id, report->pid) : -EPIPE;
    if (r != 0) { /* nobody will report its end: it finds its channel closed and leaves */
        struct pp_keeper_event event = {
            .kind = PP_KEEPER_FAILED, .worker = worker->id, .step = "adopt", .error = EAGAIN};

        pp_supervisor_failed(worker, &event);
    }
    return true;
}

void pp_template_readable(struct pp_worker *worker)
{
    struct pp_fork_report report;
    ssize_t n;

    for (;;) {
        n = pp_socket_receive(worker->channel.fd, &report, sizeof report, MSG_DONTWAIT);
        if (n != (ssize_t)sizeof report)
            break;
        if (!take_report(worker, &report)) {
            n = -EPROTO;
            break;
        }
    }
    if (n == -EAGAIN || n == -EINTR)
        return;
    (void)pp_worker_watch(worker, 0);
    /* At its end the keeper's report follows; one that only closed its channel is of no use. */
    (void)pp_worker_doom(worker, n == 0 ? "channel" : "protocol");
}

/* One thread's name, as its process chose it: hostile text. */
static void read_name(int directory, const char *thread, char name[20])
{
    char path[64];
    PP_AUTO_FD fd = -1;
    ssize_t n = -1;

    (void)snprintf(path, sizeof path, "%.16s/comm", thread);
    fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        n = read(fd, name, 16);
    if (n < 0)
        n = 0;
    name[n] = '\0';
    for (char *c = name; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = *c == '\n' ? '\0' : '?';
}

unsigned pp_template_threads(const struct pp_template *template, char *text, size_t n)
{
    int32_t pid = atomic_load(&template->worker.pid);
    char path[32], main_thread[16], names[THREADS_SHOWN * 20] = "", name[20];
    const struct dirent *entry;
    unsigned count = 0;
    DIR *directory;

    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    (void)snprintf(main_thread, sizeof main_thread, "%d", (int)pid);
    directory = opendir(path);
    if (!directory) {
        (void)snprintf(text, n, "its threads cannot be counted: /proc cannot be read");
        return 1;
    }
    /* The stream is ours alone. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, main_thread) == 0)
            continue;
        if (count++ >= THREADS_SHOWN)
            continue;
        read_name(dirfd(directory), entry->d_name, name);
        (void)snprintf(names + strlen(names), sizeof names - strlen(names), "%s%.16s",
                       *names ? ", " : "", name);
    }
    (void)closedir(directory);
    (void)snprintf(text, n, "%u thread%s: %s", count, count == 1 ? "" : "s", names);
    return count;
}
