/* peer.h - who is at the other end of a Unix socket, as the kernel saw it when it connected.
 * A value; no thread. */
#ifndef PP_BASE_PEER_H
#define PP_BASE_PEER_H

#include <stdint.h>

struct pp_peer {
    int32_t pid; /* 0: it lives in a pid namespace that we do not see */
    uint32_t uid, gid;
};

#endif
