/* share.c - calls that run side by side: what their event loop reads and sends.
 *
 * The loop is the user's language's; it looks here whenever the call channel is readable, and
 * after each answer, since a send that had to wait has read what came meanwhile. Main thread.
 */
#include "worker/worker.h"

#include "base/error.h"

#include <errno.h>

/* 0: it is the caller's. QUIET: it is done with, there may be more. */
static int sort(struct pp_worker *worker, const struct pp_message *message)
{
    const struct pp_message pong = {.kind = PP_MESSAGE_PONG, .nonce = message->nonce};
    int r = 0;

    switch (message->kind) {
    case PP_MESSAGE_CALL:
        if (!message->call.shared) {
            /* The last answer is out, and the event loop does not know yet that it ends. */
            worker->kept = *message;
            worker->has_kept = true;
            return 0;
        }
        if (!pp_worker_starts(worker, message->call.id))
            return 0;
        r = pp_worker_give_back(worker, message->call.id);
        break;
    case PP_MESSAGE_CANCEL:
        return 0;
    case PP_MESSAGE_PING:
        r = pp_worker_send(worker, &pong);
        break;
    case PP_MESSAGE_GOODBYE:
        return PP_WORKER_END;
    case PP_MESSAGE_STREAM_CREDIT:
    case PP_MESSAGE_STREAM_END: /* of a call that has ended meanwhile */
        break;
    default:
        return pp_fail(-EPROTO, "the host sent a message that may not come here");
    }
    return r == 0 ? PP_SHARE_QUIET : r;
}

int pp_worker_share_next(struct pp_worker *worker, struct pp_message *messagep)
{
    int r;

    pp_worker_leave_if_copy(worker);
    if (pp_worker_events_waiting(&worker->events) >= 0)
        pp_worker_events_flush(&worker->events);
    do {
        if (worker->has_kept)
            return PP_SHARE_QUIET;
        r = pp_worker_next_now(worker, messagep);
        if (r != 0)
            return r;
        r = sort(worker, messagep);
    } while (r == PP_SHARE_QUIET || worker->has_kept);
    return r;
}

int pp_worker_share_answer(struct pp_worker *worker, uint64_t id, struct pp_message *answer)
{
    pp_worker_leave_if_copy(worker);
    if (worker->has_kept) /* it lies where the answer's way could move it */
        return pp_fail(-EPROTO, "the host sent a call of its own beside shared ones");
    return pp_worker_answer(worker, answer, id);
}

bool pp_worker_share_ready(const struct pp_worker *worker)
{
    return pp_frame_reader_ready(worker->reader);
}
