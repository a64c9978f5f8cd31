/* hello.c - the first words: versions, proofs, and what the client may do.
 *
 *   ClientHello(nonce, key) -> ServerHello(nonce, proof) -> Authenticate(proof) -> Welcome
 *   ClientHello(nonce)      -> ServerHello(nonce), Welcome
 *
 * Of a key that is not there a proof is made all the same, with a secret that nobody has, so that
 * nobody learns which keys there are. A nonce is ours, and good for one proof within the time
 * that a handshake may take.
 */
#include "server/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void prove(const struct pp_conn *conn, enum pp_auth_role role, uint8_t proof[PP_AUTH_PROOF])
{
    const struct pyproc_server *server = conn->server;
    const struct pp_rules_key *key = pp_rules_key(server->rules, conn->key);
    const struct pp_transcript transcript = {
        .version = PP_PROTOCOL_VERSION,
        .client_nonce = conn->nonces[0],
        .server_nonce = conn->nonces[1],
        .client = conn->peer,
        .server = server->listener.self,
        .key_id = conn->key,
        .key_id_size = strlen(conn->key),
    };

    pp_auth_proof(key ? key->secret : server->nobody, key ? key->size : sizeof server->nobody, role,
                  &transcript, proof);
}

/* The functions that the client may call. */
static const struct pp_function_info *functions_of(const struct pp_conn *conn, size_t *np)
{
    struct pyproc_server *server = conn->server;
    struct pp_function_info *infos = calloc(server->n_names + 1, sizeof *infos);
    size_t n = 0;

    for (size_t i = 0; infos && i < server->n_names; i++)
        if (pp_access_may(server->rules->access, conn->profile, server->names[i].data,
                          server->names[i].size))
            infos[n++] =
                (struct pp_function_info){.name = {server->names[i].data, server->names[i].size}};
    *np = n;
    return infos;
}

static void let_in(struct pp_conn *conn)
{
    struct pyproc_server *server = conn->server;
    const char *role;
    struct pp_message message = {.kind = PP_MESSAGE_WELCOME};
    struct pp_note note;

    if (!pp_rules_bind(server, conn)) {
        server->stats.denied++;
        pp_conn_deny(conn, PYPROC_END_DENIED, "this client may not use the server",
                     "connection.denied",
                     conn->is_proved ? "no binding fits"
                                     : "no binding fits, "
                                       "or a key is needed");
        return;
    }
    role = pp_access_profile_name(server->rules->access, conn->profile);
    message.welcome = (struct pp_message_welcome){
        .role = {(const uint8_t *)role, strlen(role)},
        .max_in_flight = server->max_in_flight,
        .max_payload = conn->max_frame,
        .sees_all = server->sees_all,
    };
    message.welcome.functions = functions_of(conn, &message.welcome.n_functions);
    conn->state = PP_CONN_READY;
    conn->born = pp_now();
    server->stats.authenticated++;
    pp_note_begin(&note);
    pp_note_conn(&note, conn);
    pp_note_send(server, "connection.accepted", &note);
    pp_conn_send(conn, &message);
    free((void *)(uintptr_t)message.welcome.functions);
}

static void greet(struct pp_conn *conn, const struct pp_message_client_hello *hello)
{
    struct pyproc_server *server = conn->server;
    uint8_t proof[PP_AUTH_PROOF];
    struct pp_message message = {.kind = PP_MESSAGE_SERVER_HELLO};

    if (hello->version != PP_PROTOCOL_VERSION) {
        pp_conn_deny(conn, PYPROC_END_PROTOCOL, "the server speaks version 1 of the protocol",
                     "request.invalid", "another protocol version");
        return;
    }
    if (hello->key.size > PP_KEY_ID_MAX || pp_auth_random(conn->nonces[1], PP_AUTH_NONCE) < 0) {
        pp_conn_deny(conn, PYPROC_END_INVALID, "the id of the key is too long", "request.invalid",
                     "the id of a key is too long");
        return;
    }
    if (hello->max_frame < conn->max_frame)
        conn->max_frame = hello->max_frame < 4096 ? 4096 : (size_t)hello->max_frame;
    if (hello->key.size)
        memcpy(conn->key, hello->key.data, hello->key.size);
    memcpy(conn->nonces[0], hello->nonce.data, PP_AUTH_NONCE);
    message.server_hello = (struct pp_message_server_hello){
        .version = PP_PROTOCOL_VERSION,
        .max_frame = server->max_frame,
        .nonce = {conn->nonces[1], PP_AUTH_NONCE},
    };
    if (conn->key[0]) {
        prove(conn, PP_AUTH_SERVER, proof);
        message.server_hello.proof = (struct pp_bytes){proof, PP_AUTH_PROOF};
        conn->state = PP_CONN_PROOF;
    }
    pp_conn_send(conn, &message);
    if (!conn->key[0] && conn->state == PP_CONN_HELLO)
        let_in(conn);
}

static void check_proof(struct pp_conn *conn, struct pp_bytes given)
{
    struct pyproc_server *server = conn->server;
    bool known = pp_rules_key(server->rules, conn->key) != NULL;
    uint8_t proof[PP_AUTH_PROOF];

    prove(conn, PP_AUTH_CLIENT, proof);
    conn->is_proved = pp_auth_same(proof, given.data, PP_AUTH_PROOF) && known;
    explicit_bzero(conn->nonces, sizeof conn->nonces); /* they were good for this once */
    if (conn->is_proved) {
        pp_throttle_passed(&server->throttle, conn->peer.uid);
        let_in(conn);
        return;
    }
    server->stats.authentication_failed++;
    pp_throttle_failed(&server->throttle, conn->peer.uid, pp_now());
    pp_conn_deny(conn, PYPROC_END_UNPROVEN, "the proof is not that of the key",
                 "authentication.failed", known ? "a wrong proof" : "there is no such key");
}

void pp_hello_message(struct pp_conn *conn, const struct pp_message *message)
{
    if (conn->state == PP_CONN_HELLO && message->kind == PP_MESSAGE_CLIENT_HELLO)
        greet(conn, &message->client_hello);
    else if (conn->state == PP_CONN_PROOF && message->kind == PP_MESSAGE_AUTHENTICATE)
        check_proof(conn, message->proof);
    else
        pp_conn_deny(conn, PYPROC_END_PROTOCOL, "the message does not belong there",
                     "request.invalid", "a message at the wrong time");
}
