/* output.h - what a worker prints: whole lines go to the event queue, the last bytes
 * are kept for its obituary.
 *
 * Loop thread only. A worker that floods costs the host a bounded queue and one read
 * a turn of the loop; the rest is counted and dropped.
 */
#ifndef PP_SUPERVISOR_OUTPUT_H
#define PP_SUPERVISOR_OUTPUT_H

#include "event/loop.h"
#include "event/queue.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PP_OUTPUT_TAIL = 8 * 1024, PP_OUTPUT_LINE = 8 * 1024 };

struct pp_output {
    int fd;     /* owned; -1 when closed */
    int stream; /* 1 or 2 */
    uint32_t worker_id;
    struct pp_watch *watch;       /* owned */
    struct pyproc_queue *events;  /* lent by the plan; NULL drops */
    uint64_t *droppedp;           /* the pool's counter, lent; atomic access */
    void (*printed)(void *token); /* told after each read; may be NULL */
    void *token;
    pthread_mutex_t lock; /* guards `total`, and `fd` against its being closed */
    uint64_t total;       /* bytes read */
    bool taking;          /* under the lock too: bytes are between the pipe and the queue */
    size_t line_size;     /* bytes of an unfinished line */
    size_t tail_size;
    char line[PP_OUTPUT_LINE];
    char tail[PP_OUTPUT_TAIL];
};

/* Takes `fd` (the reading end, made non-blocking here), also on error. */
int pp_output_init(struct pp_output *output, struct pp_loop *loop, int fd, int stream,
                   uint32_t worker_id, struct pyproc_queue *events, uint64_t *droppedp);
/* Bytes that were ever written, read or not. Any thread, until the deinit. */
uint64_t pp_output_total(struct pp_output *output);
/* Reads what waits, at most 1 MiB. */
void pp_output_read(struct pp_output *output);
/* Whether all that was written is read and sent. Any thread, until the deinit. */
bool pp_output_is_quiet(struct pp_output *output);
/* Reads what is left, without waiting and at most 1 MiB, and sends an unfinished line. */
void pp_output_finish(struct pp_output *output);
void pp_output_deinit(struct pp_output *output);

#endif
