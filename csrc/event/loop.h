/* loop.h - the one libuv thread of a pool.
 *
 * Other threads only ever call pp_loop_wake; everything else belongs to the loop
 * thread itself (or to the maker before pp_loop_start). The thread blocks all
 * signals and never touches Python. It sleeps without a time limit when no timer is
 * armed: an idle pool wakes nobody.
 */
#ifndef PP_EVENT_LOOP_H
#define PP_EVENT_LOOP_H

#include <stdint.h>

struct pp_loop;
struct pp_watch;

struct pp_loop_calls {
    void (*woken)(void *token); /* at least once after each pp_loop_wake */
    void (*timer)(void *token); /* the armed time has come */
    void (*ended)(void *token); /* the last thing the thread does; may free the token */
};

/* HANGUP: the other end is gone; who waits for READ hears that as READ. */
enum { PP_WATCH_READ = 1, PP_WATCH_WRITE = 2, PP_WATCH_HANGUP = 4 };

int pp_loop_new(const struct pp_loop_calls *calls, void *token, struct pp_loop **loopp);
/* Frees a loop whose thread was never started or has been joined. */
struct pp_loop *pp_loop_free(struct pp_loop *loop);
int pp_loop_start(struct pp_loop *loop);
/* Any thread. */
void pp_loop_wake(struct pp_loop *loop);
/* Loop thread: leave when this callback returns; no watch may be left. */
void pp_loop_stop(struct pp_loop *loop);
/* Waits for the thread. Not from the loop thread. */
void pp_loop_join(struct pp_loop *loop);
/* Nobody will join: the thread frees the loop itself after `ended`. */
void pp_loop_detach(struct pp_loop *loop);

/* Loop thread: the one timer, absolute (clock.h); PP_NEVER disarms. Late by at most
 * the kernel's slack and 1 ms. */
void pp_loop_timer(struct pp_loop *loop, int64_t at);

/* Loop thread: calls `turn` each time before it waits; NULL: no more. One at a time. */
void pp_loop_each_turn(struct pp_loop *loop, void (*turn)(void *token), void *token);

/* Loop thread: calls `ready` with PP_WATCH_* bits while the descriptor is. */
typedef void pp_watch_ready(void *token, int events);
int pp_watch_new(struct pp_loop *loop, int fd, pp_watch_ready *ready, void *token,
                 struct pp_watch **watchp);
/* What to wait for from now on; 0 pauses. */
int pp_watch_set(struct pp_watch *watch, int events);
/* Ends the watch at once; the descriptor may be closed afterwards. NULL is fine. */
struct pp_watch *pp_watch_free(struct pp_watch *watch);

#endif
