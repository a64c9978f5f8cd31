/* channel.h - frames in and frames out over one socket, with back-pressure.
 *
 * One owner at a time: the loop thread, or the thread that leases the worker (then
 * with the *_wait functions). The hand-over happens under the pool's lock. The
 * descriptor is closed by the loop only, and only when no lease is out; to end a wait
 * of another thread the loop calls pp_channel_shutdown.
 */
#ifndef PP_EVENT_CHANNEL_H
#define PP_EVENT_CHANNEL_H

#include "base/arena.h"
#include "base/buffer.h"
#include "wire/message.h"

#include <stdbool.h>

struct pp_frame_reader;

struct pp_channel {
    int fd;                         /* owned; the loop closes it */
    size_t limit;                   /* bytes of a body, either way */
    struct pp_frame_reader *reader; /* owned */
    int64_t partial_since;          /* of a frame that is not whole yet; 0: there is none */
    bool unhurried;                 /* a frame may be finished whenever its sender finds time */
    size_t partial_bytes;           /* that came since then */
    struct pp_buffer out;           /* frames not yet sent */
    const int *attached;            /* descriptors that go with the next byte; lent, see put */
    size_t n_attached;
    struct pp_arena arena; /* parts of the message read last */
};

enum {
    PP_CHANNEL_MORE = 1,  /* nothing (more) to be had without waiting */
    PP_CHANNEL_END,       /* the peer closed, or the loop shut it down */
    PP_CHANNEL_BROKEN,    /* the peer broke the protocol; pp_channel_why() */
    PP_CHANNEL_INTERRUPT, /* a signal came, or a second passed: look around, come again */
};

/* Takes `fd`, also on error. Waits of the leasing thread return each second. */
int pp_channel_init(struct pp_channel *channel, int fd, size_t limit);
void pp_channel_deinit(struct pp_channel *channel);
/* Ends every wait on it, from any thread, as long as the descriptor is open. */
void pp_channel_shutdown(struct pp_channel *channel);

/* Appends a frame; nothing is sent yet. 0, -EMSGSIZE, -ENOMEM. */
int pp_channel_put(struct pp_channel *channel, const struct pp_message *message);
/* Right after the put of a call on a channel that has nothing else to send: its descriptors, lent
 * until they are sent, or until pp_channel_detach. */
static inline void pp_channel_attach(struct pp_channel *channel, const int *fds, size_t n)
{
    channel->attached = fds;
    channel->n_attached = n;
}
/* The call is over: what was not sent is not lent any more. */
static inline void pp_channel_detach(struct pp_channel *channel)
{
    pp_channel_attach(channel, NULL, 0);
}

/* Loop: sends what the socket takes: 0 all gone, MORE, END, or negative. */
int pp_channel_flush(struct pp_channel *channel);
/* Loop: reads once: 0 got bytes, MORE, END, BROKEN, or negative. */
int pp_channel_fill(struct pp_channel *channel);
/* The next message among the bytes read, lent until the next call: 0, MORE, BROKEN or
 * -ENOMEM. */
int pp_channel_next(struct pp_channel *channel, struct pp_message *messagep);

/* Whether a frame has begun and goes on so slowly that nobody waits for it: then its rest is not
 * answered, and whoever sends it is to be ended. */
bool pp_channel_is_slow(struct pp_channel *channel);

/* Lease holder: sends everything, reading while the peer's buffer is full, so that two
 * full buffers never wait for each other. 0, END, INTERRUPT (call again), negative. */
int pp_channel_flush_wait(struct pp_channel *channel);
/* Lease holder: the next message. 0, END, BROKEN, INTERRUPT (call again), negative. */
int pp_channel_next_wait(struct pp_channel *channel, struct pp_message *messagep);

/* The rule that the last BROKEN of this thread broke; a fixed sentence. */
const char *pp_channel_why(void);

#endif
