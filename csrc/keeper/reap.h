/* reap.h - ends processes and proves that they are gone.
 *
 * The keeper is the subreaper: whoever loses its parent in a worker's tree becomes the
 * keeper's child. So a dead worker's tree is gone when the keeper has no child left
 * that could be of it. Which child belongs to whom only its session tells: a worker
 * leads its own, and nobody can join another one's (setsid(2)).
 *
 *   an adopted child in the session of    is
 *   a living worker                       left alone: `cmd &` in a shell
 *   a worker that is dead or to be killed killed
 *   nobody we know (it called setsid)     killed as soon as it is seen
 *
 * The last row: it left its worker's session and lost its parent, a daemon; whose it was
 * cannot be told any more. Nothing wakes the keeper when a process is adopted, and an
 * idle keeper sets no timer, so such a process is seen with the next launch, kill or
 * death in the pool, or one second after it, and at the latest when its worker ends.
 * The keeper's only thread.
 */
#ifndef PP_KEEPER_REAP_H
#define PP_KEEPER_REAP_H

#include "keeper/doomed.h"
#include "keeper/proc.h"
#include "keeper/ward.h"

#include <stdbool.h>
#include <stdint.h>

struct pp_reaper {
    struct pp_wards *wards;
    struct pp_proc_walk *walk; /* owned; NULL: /proc cannot be read */
    struct pp_doomed doomed;   /* of the present walk */
    pid_t self;
    bool leaving;   /* the host is gone: every child is to be killed */
    bool signalled; /* children may wait to be reaped */
    bool walking;   /* in the middle of /proc */
    bool again;     /* a walk is due: a child was reaped since the last one began */
    size_t found;   /* children of ours in this walk that had to be killed */
    size_t alive;   /* processes of this walk that were killed and not yet dead */
    int64_t storm;  /* until then the dead are not reaped, see reap.c; 0: no storm */
    int empty;      /* leaving: walks in a row that found no child */
    int64_t look;   /* when to walk next, PP_NEVER: when something happens */
    int64_t pause;  /* until the walk after that, while processes do not die */
};

/* `reaper` is all zero bytes. */
void pp_reaper_init(struct pp_reaper *reaper, struct pp_wards *wards);
void pp_reaper_deinit(struct pp_reaper *reaper);

/* Kills a living ward and its process group. */
void pp_reaper_kill(struct pp_ward *ward);
/* Kills everything; pp_reaper_alone says when it is done. */
void pp_reaper_leave(struct pp_reaper *reaper);
/* Something happened in the pool: look for orphans a second from now. */
void pp_reaper_notice(struct pp_reaper *reaper);

/* One bounded piece of work: reaps some, or walks a part of /proc. */
void pp_reaper_step(struct pp_reaper *reaper);
/* Whether there is a next piece right now. */
bool pp_reaper_busy(const struct pp_reaper *reaper);
/* Whether a leaving keeper has no process left. */
bool pp_reaper_alone(const struct pp_reaper *reaper);

#endif
