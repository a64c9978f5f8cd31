/* listener.h - a named socket that nobody but its owner can take over, and who connects to it.
 *
 * Everything happens inside a private directory that is opened once, without following a link, and
 * checked by its descriptor: lock file, binding under a random name, mode and owner, and last the
 * rename that makes it visible, listening and complete. The lock file stays, so that two servers
 * never delete each other's. One thread at a time.
 */
#ifndef PP_IPC_LISTENER_H
#define PP_IPC_LISTENER_H

#include "base/peer.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PP_LISTENER_NAME = 72 }; /* bytes of the socket's own name */
#define PP_LISTENER_SAME UINT32_MAX

struct pp_listener_plan {
    const char *path; /* of the socket; NULL with `given` */
    unsigned mode, directory_mode;
    uint32_t owner, group; /* PP_LISTENER_SAME: as the process has them */
    int given;             /* a listening socket of somebody else (systemd), taken; -1: none */
};

struct pp_listener {
    int fd;              /* owned, non-blocking */
    int directory, lock; /* owned; -1 for a given one */
    dev_t device;        /* of the socket's file, so that only ours is ever unlinked */
    ino_t inode;         /* likewise */
    struct pp_peer self; /* who we are to those who connect */
    char name[PP_LISTENER_NAME];
};

/* 0, or a negative errno with words. -EADDRINUSE: somebody serves there. `given` is taken on
 * success only. */
int pp_listener_open(const struct pp_listener_plan *plan, struct pp_listener *listener);
/* Takes the name away (if it is still ours) and closes. May be repeated. */
void pp_listener_close(struct pp_listener *listener);

/* Takes one connection, non-blocking and close-on-exec: a descriptor or a negative errno. */
int pp_listener_accept(const struct pp_listener *listener);

/* Connects to a named socket within so many nanoseconds: a descriptor, blocking, or a negative
 * errno with words. */
int pp_listener_connect(const char *path, int64_t timeout);

/* Who is at the other end. 0 or a negative errno. */
int pp_peer_of(int fd, struct pp_peer *peer);
/* Its supplementary groups: how many, at most `max`. */
size_t pp_peer_groups(int fd, uint32_t *groups, size_t max);
/* A pidfd of the process with that number. The caller owns it. Negative errno. */
int pp_peer_open(int32_t pid);
/* 1 while the process of a pidfd lives, else 0. As long as it does, its number is its own. */
int pp_peer_lives(int pidfd);

#endif
