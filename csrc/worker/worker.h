/* worker.h - the worker itself, shared by the files of this room only.
 *
 * All of it belongs to the worker's main thread, but the event part, which any thread
 * may reach through pp_worker_log and which has its own lock.
 */
#ifndef PP_WORKER_WORKER_H
#define PP_WORKER_WORKER_H

#include "worker/serve.h"

#include "base/fork.h"
#include "ipc/page.h"
#include "wire/frame.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

enum {
    PP_WORKER_END = 1, /* the host has closed or is gone: leave */
};

/* The event channel: what did not fit into the socket waits here, bounded. */
struct pp_worker_events {
    pthread_mutex_t lock;
    int fd; /* -1 once the host has closed it */
    struct pp_arena arena;
    struct pp_buffer out;
    uint64_t sequence; /* of the newest record that was taken */
    uint64_t dropped;
    struct pp_message_progress waiting; /* the newest that did not go; call 0: none */
    char words[PP_PROGRESS_MAX];        /* its message */
};

/* The items of the running chunk that are not sent yet are in the status page's area. */
struct pp_worker_chunk {
    uint64_t id;
    uint32_t items; /* of the whole chunk */
    uint32_t base;  /* first item in the area */
    uint32_t count;
    size_t size;
};

/* The running stream, or the last one. */
struct pp_worker_stream {
    uint64_t id;
    uint64_t items, bytes;                 /* made so far */
    uint64_t granted_items, granted_bytes; /* that the host takes, in all */
    uint64_t served;                       /* the wish of the host that was fulfilled last */
    uint64_t base;                         /* first item in the area */
    uint32_t count;                        /* items in it */
    size_t size;                           /* their bytes */
    enum pp_codec codec;                   /* of them: RICH when one is */
    bool closed;                           /* the host's reader wants no more */
    bool polls;                            /* only credit is waited for */
    bool waits;                            /* and that for as long as it takes */
};

struct pp_worker {
    int call_fd, crash_fd;
    bool no_processes; /* the kernel refuses them already */
    bool forked;       /* by a template: it has no session yet */
    struct pp_fork_mark mark;
    const struct pp_control_page *control; /* mapped, the host writes it */
    struct pp_status_page *status;         /* mapped, read by the host */
    struct pp_frame_reader *reader;
    size_t unread;                    /* bytes received that no message has used yet */
    int attached[PP_ATTACHMENTS_MAX]; /* descriptors that came with the next call; owned */
    size_t n_attached;
    bool attached_lost;      /* this process may have no more descriptors */
    struct pp_arena in;      /* the message being served */
    struct pp_arena scratch; /* packing */
    struct pp_buffer out;
    uint64_t max_frame, max_result;
    uint64_t max_memory, buffer_threshold; /* from Hello; 0: none */
    uint32_t asked;                        /* requests for memory so far */
    const struct pp_worker_calls *calls;   /* lent; set by hello and serve */
    void *token;
    struct pp_worker_events events;
    struct pp_message kept; /* read beside shared calls, to be served after them */
    bool has_kept;
    struct pp_worker_chunk chunk;
    struct pp_worker_stream stream;
    uint8_t *box; /* the sandbox's second stage, from Hello; owned */
    size_t box_size;
};

/* Packs and sends a frame, reading what comes in while it has to wait. 0, PP_WORKER_END,
 * -EMSGSIZE (nothing was sent), or a negative errno. */
int pp_worker_send(struct pp_worker *worker, const struct pp_message *message);

/* The next message from the host, in `worker->in`. 0, PP_WORKER_END, negative errno. */
int pp_worker_next(struct pp_worker *worker, struct pp_message *messagep);

/* The same without waiting: PP_SHARE_QUIET when there is none. */
int pp_worker_next_now(struct pp_worker *worker, struct pp_message *messagep);
/* Marks a call started; true when the host has taken it back before. */
bool pp_worker_starts(struct pp_worker *worker, uint64_t id);
/* Tells the host that a call which it has taken back was not started. */
int pp_worker_give_back(struct pp_worker *worker, uint64_t id);
/* Sends an answer, with what belongs before it. As pp_worker_send. */
int pp_worker_answer(struct pp_worker *worker, struct pp_message *answer, uint64_t id);

/* Leaves, without a word, if this is a forked copy of the worker. */
void pp_worker_leave_if_copy(const struct pp_worker *worker);

/* Waits until the host's bytes are here; records that wait go out meanwhile. 0 or -errno. */
int pp_worker_wait_readable(struct pp_worker *worker);

/* In a forked copy that is to be a worker of its own: gives up everything that the template
 * had and takes the five descriptors (call, event, control, status, crash), which it owns. */
int pp_worker_again(struct pp_worker *worker, const int *fds);

/* Copies the bytes for pp_worker_confine. 0 or -ENOMEM. */
int pp_worker_keep_box(struct pp_worker *worker, const struct pp_bytes *box);

int pp_worker_events_init(struct pp_worker_events *events, int fd);
void pp_worker_events_deinit(struct pp_worker_events *events);
/* Tries to send what waits. */
void pp_worker_events_flush(struct pp_worker_events *events);
/* The descriptor if something waits to be sent, else -1. */
int pp_worker_events_waiting(struct pp_worker_events *events);
uint64_t pp_worker_events_sequence(struct pp_worker_events *events);

#endif
