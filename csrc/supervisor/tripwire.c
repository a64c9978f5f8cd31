/* tripwire.c - reads what the kernel says of a forbidden call, and dooms the worker it came
 * from. */
#include "supervisor/tripwire.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "security/compile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    TURN_MAX = 16,    /* notifications that are read in one go */
    PARENTS_MAX = 64, /* how deep in a worker's tree a process is looked for */
};

/* What belongs to no worker is told so often at most. */
#define STRAY_PAUSE PP_SECOND

struct pp_tripwire {
    struct pp_supervisor *supervisor; /* outlives it */
    struct pp_watch *watch;
    int fd; /* owned */
    unsigned refs;
    uint32_t only;   /* the id of the one worker that it hears; 0: a template's forks */
    int64_t told_at; /* of a stray; 0: never */
};

/* The kernel's struct may be longer than the header's. */
union notice {
    struct seccomp_notif known;
    uint8_t bytes[PP_NOTICE_MAX];
};

/* ---- whose it is ---- */

/* A field of /proc/<pid>/status; 0 when it cannot be read. */
static int32_t number_of(int32_t pid, const char *name)
{
    char path[32], text[2048];
    PP_AUTO_FD fd = -1;
    const char *at;
    ssize_t n;

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    at = strstr(text, name);
    return at ? (int32_t)strtol(at + strlen(name), NULL, 10) : 0;
}

/* Session's leaders are workers: for what has left its parent. Behind the name, which may hold
 * anything, stand state, parent, group and session, proc(5). */
static int32_t session_of(int32_t pid)
{
    char path[32], text[1024];
    PP_AUTO_FD fd = -1;
    const char *at;
    int session = 0;
    ssize_t n;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    at = strrchr(text, ')');
    /* The kernel's own text. NOLINTNEXTLINE(cert-err34-c) */
    return at && sscanf(at + 1, " %*c %*d %*d %d", &session) == 1 ? session : 0;
}

static struct pp_worker *owner_of(const struct pp_tripwire *tripwire, int32_t thread)
{
    struct pp_supervisor *supervisor = tripwire->supervisor;
    struct pp_worker *worker = NULL;
    int32_t pid;

    if (tripwire->only)
        return supervisor->find(supervisor->token, tripwire->only);
    pid = number_of(thread, "\nTgid:\t");
    for (int i = 0; !worker && pid > 1 && i < PARENTS_MAX; i++) {
        worker = supervisor->find_pid(supervisor->token, pid);
        pid = worker ? pid : number_of(pid, "\nPPid:\t");
    }
    if (!worker && (pid = session_of(thread)) > 1)
        worker = supervisor->find_pid(supervisor->token, pid);
    return worker && worker->tripwire == tripwire ? worker : NULL;
}

/* ---- what is done ---- */

/* Of a daemon that has left its worker: it alone is ended. The number is that of a thread that
 * stands still in the kernel, so it is nobody else's. */
static void end_stray(struct pp_tripwire *tripwire, const struct pp_violation *violation)
{
    struct pp_supervisor *supervisor = tripwire->supervisor;
    int64_t now = pp_now();

    if (violation->pid > 1)
        (void)kill(violation->pid, SIGKILL);
    if (tripwire->told_at && now < pp_after(tripwire->told_at, STRAY_PAUSE))
        return;
    tripwire->told_at = now;
    supervisor->calls->strayed(supervisor->token, violation);
}

static void take(struct pp_tripwire *tripwire, const struct seccomp_notif *notice)
{
    struct pp_violation violation = {
        .seen = true, .pid = (int32_t)notice->pid, .number = notice->data.nr};
    struct pp_worker *worker = owner_of(tripwire, violation.pid);
    uint64_t id = notice->id;

    memcpy(violation.arguments, notice->data.args, sizeof violation.arguments);
    /* It may have been given up meanwhile, and its number be another's. */
    if (!tripwire->only && ioctl(tripwire->fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) < 0)
        return;
    if (!worker) {
        if (!tripwire->only) /* else it is dead already */
            end_stray(tripwire, &violation);
        return;
    }
    if (pp_worker_doom(worker, "sandbox"))
        worker->violation = violation;
}

/* A signal came before us: that it was there is enough, where it is clear whose it was. */
static void taken_back(const struct pp_tripwire *tripwire)
{
    struct pp_supervisor *supervisor = tripwire->supervisor;
    struct pp_worker *worker =
        tripwire->only ? supervisor->find(supervisor->token, tripwire->only) : NULL;

    if (worker)
        (void)pp_worker_doom(worker, "sandbox");
}

/* Only what poll has seen is asked for: the wait for a notification cannot be cut short. */
static int is_waiting(const struct pp_tripwire *tripwire)
{
    struct pollfd polled = {.fd = tripwire->fd, .events = POLLIN};

    if (poll(&polled, 1, 0) <= 0)
        return 0;
    return (polled.revents & POLLIN) != 0 ? 1 : -1; /* all who had the filter are gone */
}

static void on_listener(void *token, int events)
{
    struct pp_tripwire *tripwire = token;
    int more = 1;

    (void)events;
    for (int i = 0; i < TURN_MAX && (more = is_waiting(tripwire)) > 0; i++) {
        union notice notice = {.bytes = {0}}; /* the kernel wants it empty */

        if (ioctl(tripwire->fd, SECCOMP_IOCTL_NOTIF_RECV, &notice) == 0)
            take(tripwire, &notice.known);
        else if (errno == ENOENT)
            taken_back(tripwire);
    }
    if (more < 0)
        tripwire->watch = pp_watch_free(tripwire->watch);
}

/* ---- its life ---- */

int pp_tripwire_new(struct pp_worker *worker, int listener)
{
    struct pp_tripwire *tripwire = calloc(1, sizeof *tripwire);
    int r;

    if (!tripwire) {
        (void)pp_close(listener);
        return pp_fail(-ENOMEM, "listen to a sandbox");
    }
    *tripwire = (struct pp_tripwire){
        .supervisor = worker->supervisor,
        .fd = listener,
        .refs = 1,
        .only = worker->role == PP_ROLE_WORKER ? worker->id : 0,
    };
    r = pp_watch_new(worker->supervisor->loop, listener, on_listener, tripwire, &tripwire->watch);
    if (r == 0)
        r = pp_watch_set(tripwire->watch, PP_WATCH_READ);
    if (r < 0) {
        (void)pp_tripwire_unref(tripwire);
        return r;
    }
    worker->tripwire = tripwire;
    return 0;
}

struct pp_tripwire *pp_tripwire_ref(struct pp_tripwire *tripwire)
{
    if (tripwire)
        tripwire->refs++;
    return tripwire;
}

struct pp_tripwire *pp_tripwire_unref(struct pp_tripwire *tripwire)
{
    if (tripwire && --tripwire->refs == 0) {
        tripwire->watch = pp_watch_free(tripwire->watch);
        (void)pp_close(tripwire->fd);
        free(tripwire);
    }
    return NULL;
}
