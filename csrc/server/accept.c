/* accept.c - new connections: who it is, and whether there is room.
 *
 * What the kernel says about the peer decides before a byte of it is read. When this process has
 * no descriptor left, nothing is accepted for a moment; clients wait in the kernel's queue.
 */
#include "server/server.h"

#include "base/fd.h"
#include "event/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 64, GROUPS_MAX = 64 };
#define ACCEPT_PAUSE (PP_SECOND / 10)

static void refuse(struct pyproc_server *server, const struct pp_peer *peer, const char *why)
{
    struct pp_note note;

    server->stats.clients_refused++;
    pp_note_begin(&note);
    pp_note_number(&note, "uid", peer->uid);
    pp_note_number(&note, "gid", peer->gid);
    pp_note_number(&note, "pid", peer->pid);
    pp_note_word(&note, "reason", why);
    pp_note_send(server, "connection.refused", &note);
}

static const char *judge(struct pyproc_server *server, int fd, struct pp_peer *peer)
{
    uint32_t groups[GROUPS_MAX];

    if (pp_peer_of(fd, peer) < 0)
        return "the kernel does not say who it is";
    if (pp_throttle_left(&server->throttle, peer->uid, pp_now()) > 0)
        return "too many failed proofs of its uid";
    if (server->n_conns >= server->max_clients)
        return "too many clients";
    return pp_rules_refuses(server->rules, peer, groups, pp_peer_groups(fd, groups, GROUPS_MAX));
}

static void welcome(struct pyproc_server *server, int fd, const struct pp_peer *peer)
{
    struct pp_conn *conn = calloc(1, sizeof *conn);

    if (!conn || pp_watch_new(pp_guest_loop(server->lanes[0].pool), fd, pp_conn_ready, conn,
                              &conn->watch) < 0) {
        refuse(server, peer, "out of memory");
        free(conn);
        (void)pp_close(fd);
        return;
    }
    conn->server = server;
    conn->fd = fd;
    conn->number = ++server->next_conn;
    conn->peer = *peer;
    conn->max_frame = server->max_frame;
    conn->born = conn->active = pp_now();
    pp_list_init(&conn->again);
    pp_list_init(&conn->running);
    pp_buffer_init(&conn->out, SIZE_MAX / 2);
    pp_list_push_back(&server->conns, &conn->link);
    server->n_conns++;
    server->stats.clients_ever++;
    pp_conn_watch(conn);
}

void pp_accept_ready(void *token, int events)
{
    struct pyproc_server *server = token;
    struct pp_peer peer = {0};

    (void)events;
    for (unsigned i = 0; i < AT_ONCE; i++) {
        int fd = pp_listener_accept(&server->listener);
        const char *why;

        if (fd == -EAGAIN)
            break;
        if (fd == -EINTR || fd == -ECONNABORTED)
            continue;
        if (fd < 0) {
            server->stats.accept_errors++;
            server->accept_again = pp_now() + ACCEPT_PAUSE;
            (void)pp_watch_set(server->accepts, 0);
            break;
        }
        why = judge(server, fd, &peer);
        if (!why) {
            welcome(server, fd, &peer);
            continue;
        }
        refuse(server, &peer, why);
        (void)pp_close(fd);
    }
    pp_server_settle(server);
}

void pp_accept_stop(struct pyproc_server *server)
{
    server->accepts = pp_watch_free(server->accepts);
    server->accept_again = 0;
    pp_listener_close(&server->listener);
}
