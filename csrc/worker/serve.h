/* serve.h - the worker's loop: read a frame, run the call, send the answer.
 *
 * Knows nothing of Python: user code is reached through the table below, which
 * the binding fills. One thread, the worker's main one, for everything here.
 */
#ifndef PP_WORKER_SERVE_H
#define PP_WORKER_SERVE_H

#include "ipc/page.h"
#include "wire/message.h"

#include <stdbool.h>
#include <stdint.h>

struct pp_worker;

/* What the binding does for the loop. `token` is the binding's. */
struct pp_worker_calls {
    /* Runs one call and fills `answer` (kind RESULT, FAILURE or STREAM_END; the id is set by the
     * loop). What `call` points to is lent until the first pp_worker_chunk_add, and of a stream
     * until the first add or poll; what `answer`
     * points to stays valid until `done`. 0, or what ends the worker: a negative errno, or
     * what pp_worker_chunk_add answered. */
    int (*run)(void *token, const struct pp_message_call *call, struct pp_message *answer);
    /* Begins a call that shares the worker with others, and serves these until none is left: reads
     * them by pp_worker_share_next. 0, or what ends the worker, as above. */
    int (*share)(void *token, const struct pp_message_call *call);
    /* Between run and the sending of the answer: output of the call goes first. */
    void (*before_answer)(void *token);
    void (*done)(void *token);
    /* Around every wait: lets other threads run (the GIL). */
    void (*before_wait)(void *token);
    void (*after_wait)(void *token);
    /* A wait was interrupted by a signal: 0 goes on, negative ends the worker. */
    int (*interrupted)(void *token);
    /* Around the fork of a worker by a template; `child`: 1 in the worker. */
    void (*before_fork)(void *token);
    void (*after_fork)(void *token, int child);
};

enum { PP_WORKER_FORKED = 2, PP_WORKER_CONFINED = 3 };
enum { PP_STREAM_WAIT = 4, PP_STREAM_STOP = 5, PP_SHARE_QUIET = 6 };

/* Takes the descriptors of supervisor/keeper.h's numbers (3 to 7), moves them
 * close-on-exec to numbers out of the user's way and maps the pages. */
int pp_worker_new(struct pp_worker **workerp);
struct pp_worker *pp_worker_free(struct pp_worker *worker);

/* Waits for the host's Hello. `hellop` is lent until the next call here. */
int pp_worker_hello(struct pp_worker *worker, const struct pp_worker_calls *calls, void *token,
                    const struct pp_message_hello **hellop);
/* Sends the answer to Hello: HELLO_REPLY, or FAILURE with PP_FAILURE_START. */
int pp_worker_reply(struct pp_worker *worker, const struct pp_message *reply);

/* Whether that ends the imports: what may be needed later is to be imported before. */
bool pp_worker_closes(const struct pp_worker *worker);
/* Gives up what only imports needed, and proves it: before pp_worker_reply says ready. 0: there is
 * no sandbox; PP_WORKER_CONFINED; or a negative errno: the process must then leave. */
int pp_worker_confine(struct pp_worker *worker);

/* Serves until the host says Goodbye or closes (0), or something breaks
 * (negative errno). A forked copy of the worker that comes back from user code
 * never answers: it leaves by _exit. */
int pp_worker_serve(struct pp_worker *worker, const struct pp_worker_calls *calls, void *token);

/* A template's life: forks a worker whenever the host asks for one, until it closes (0) or
 * something breaks (negative errno). PP_WORKER_FORKED: this process is a new worker, which
 * holds the descriptors of its own and goes on with pp_worker_hello. */
int pp_worker_template(struct pp_worker *worker, const struct pp_worker_calls *calls, void *token);

/* From inside run, for a chunk: adds one item's answer, which the host can read
 * even if the worker dies in the next item. Sends a part when the area is full. 0, a negative
 * errno, or a positive answer when the host is gone: both are for `run` to pass up. */
int pp_worker_chunk_begin(struct pp_worker *worker, uint64_t id, uint32_t items);
int pp_worker_chunk_add(struct pp_worker *worker, const void *bytes, size_t n);
/* Fills `answer` with what is in the area: RESULT with base and count. */
int pp_worker_chunk_end(struct pp_worker *worker, struct pp_message *answer);

/* From inside run, for a stream: begins it with the call's credit. */
void pp_worker_stream_begin(struct pp_worker *worker, const struct pp_message_call *call);
/* Adds an item, of whatever credit: see state. 0, a negative errno, or a positive answer when the
 * host is gone: both are for `run` to pass up. */
int pp_worker_stream_add(struct pp_worker *worker, enum pp_codec codec, const void *bytes,
                         size_t n);
/* 0: the next item may be made; WAIT: not before there is credit; STOP: none is wanted any more, or
 * the call is asked to stop. */
int pp_worker_stream_state(struct pp_worker *worker);
/* The same, after reading what the host has sent, or with `wait` waiting for it: then never WAIT.
 * May also answer as add does. */
int pp_worker_stream_poll(struct pp_worker *worker, bool wait);
/* Sends what is in the area, before a failure for instance. As add. */
int pp_worker_stream_flush(struct pp_worker *worker);
/* Fills `answer`: all items are made. What is in the area is to be flushed before. */
void pp_worker_stream_end(struct pp_worker *worker, struct pp_message *answer);

/* From inside share: the next message without waiting. 0: a shared CALL, which counts as started
 * from now on, or a CANCEL, in `messagep` until the next call here; QUIET: none is here; a positive
 * answer when the host is gone, or a negative errno: both are for `share` to pass up. */
int pp_worker_share_next(struct pp_worker *worker, struct pp_message *messagep);
/* Answers one of them: RESULT or FAILURE, the id is set here. As pp_worker_stream_add. */
int pp_worker_share_answer(struct pp_worker *worker, uint64_t id, struct pp_message *answer);
/* Whether messages are here that the socket does not show any more. */
bool pp_worker_share_ready(const struct pp_worker *worker);

/* From inside run: the descriptors of the call, close-on-exec and above the standard streams,
 * which the caller owns from now on. 0; -EMFILE when this process may have no more and they are
 * lost; -EPROTO when there are not as many as the call says. */
int pp_worker_take_attached(struct pp_worker *worker, const struct pp_message_call *call,
                            int fds[PP_ATTACHMENTS_MAX]);

/* From inside run: a descriptor of `size` bytes for a part of the result, the caller's to fill and
 * close before it answers; `warmp`: its pages are there, so that a mapping is faster than write(2).
 * 0, or a negative errno: the host's own when it has none to give (EFBIG: over the limit). */
int pp_worker_memory(struct pp_worker *worker, uint64_t call, uint64_t size, int *fdp, bool *warmp);
/* Bytes of one result that may go in memory (0: none); from which size on buffers do (0: never). */
uint64_t pp_worker_max_memory(const struct pp_worker *worker);
uint64_t pp_worker_buffer_threshold(const struct pp_worker *worker);

/* Sends a Log on the event channel, never waiting: a full channel drops it and
 * counts. The sequence number is set here and goes with the next answer. */
int pp_worker_log(struct pp_worker *worker, struct pp_message_log *log);

/* Tells the host how far a call is, never waiting: one that could not go is replaced by the next.
 * The message has at most PP_PROGRESS_MAX bytes. Any thread. */
void pp_worker_progress(struct pp_worker *worker, const struct pp_message_progress *progress);

/* Tells the host what a sandbox refused to the call; never waiting, a full channel drops it. */
void pp_worker_refused(struct pp_worker *worker, uint64_t call, struct pp_bytes text);

/* The crash memfd's descriptor, for the fault handler. Lent. */
int pp_worker_crash_fd(const struct pp_worker *worker);
/* The call channel's descriptor, for tests that tear a frame. Lent. */
int pp_worker_call_fd(const struct pp_worker *worker);
/* Bytes that a result's payload may have, from Hello. */
uint64_t pp_worker_max_result(const struct pp_worker *worker);
/* Why the call `id` is asked to stop, enum pp_soft; any thread, also a signal handler. */
unsigned pp_worker_stopping(const struct pp_worker *worker, uint64_t id);

/* Tells the host, from the handler of PP_SIGNAL_DUMP, that the stack it asked for is written:
 * the handler is to run behind the one that writes. 0 or a negative errno. */
int pp_worker_watch_dumps(struct pp_worker *worker);
/* Gives the calling thread a stack for its signal handlers, freed when it ends. Without memory
 * for one it has none. */
void pp_worker_guard_thread(void);

#endif
