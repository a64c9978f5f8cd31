/* rules.c - who may connect, with which key, in which role: made beside the one in force, and put
 * in its place as a whole. */
#include "server/server.h"

#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What a struct holds through a pointer is lost on gcc's analyzer. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

static void *copy_array(const void *from, size_t n, size_t size)
{
    void *to = calloc(n + 1, size);

    if (to && n)
        memcpy(to, from, n * size);
    return to;
}

static int copy_key(const struct pyproc_key *from, struct pp_rules_key *to)
{
    uint8_t secret[PP_KEY_MOST];
    size_t n = from->secret.size;
    size_t id = from->id ? strlen(from->id) : 0;
    int r = 0;

    if (id == 0 || id > PP_KEY_ID_MAX)
        return pp_fail(-EINVAL, "use a key whose id has not 1 to %d bytes", PP_KEY_ID_MAX);
    if (n == 0 && from->file)
        r = pp_key_file_read(from->file, secret, &n);
    else if (n < PP_KEY_LEAST || n > PP_KEY_MOST)
        r = pp_fail(-EINVAL, "use the key %s: a key has %d to %d bytes", from->id, PP_KEY_LEAST,
                    PP_KEY_MOST);
    else
        memcpy(secret, from->secret.data, n);
    if (r == 0) {
        memcpy(to->id, from->id, id + 1);
        to->secret = copy_array(secret, n, 1);
        to->size = n;
        r = to->secret ? 0 : -ENOMEM;
    }
    explicit_bzero(secret, sizeof secret);
    return r;
}

static int copy_keys(const struct pyproc_policy *plan, struct pp_rules *rules)
{
    rules->keys = calloc(plan->n_keys + 1, sizeof *rules->keys);
    if (!rules->keys)
        return -ENOMEM;
    for (size_t i = 0; i < plan->n_keys; i++) {
        int r = copy_key(&plan->keys[i], &rules->keys[i]);

        if (r < 0)
            return r;
        rules->n_keys++;
        for (size_t k = 0; k < i; k++)
            if (strcmp(rules->keys[k].id, rules->keys[i].id) == 0)
                return pp_fail(-EINVAL, "use two keys of the id %s", rules->keys[i].id);
    }
    return 0;
}

/* A process is held by a pidfd: as long as it lives its number is its own. */
static int open_processes(const struct pyproc_policy *plan, struct pp_rules *rules)
{
    rules->processes = calloc(plan->n_pids + 1, sizeof *rules->processes);
    if (!rules->processes)
        return -ENOMEM;
    for (size_t i = 0; i < plan->n_pids; i++) {
        int fd = pp_peer_open(plan->pids[i]);

        if (fd < 0)
            return fd;
        rules->processes[i] = (struct pp_rules_process){plan->pids[i], fd};
        rules->n_processes++;
    }
    return 0;
}

static int copy_access(const struct pyproc_policy *plan, size_t n_tenants, struct pp_rules *rules)
{
    struct pp_access_role *roles = calloc(plan->n_roles + 1, sizeof *roles);
    struct pp_access_binding *bindings = calloc(plan->n_bindings + 1, sizeof *bindings);
    int r = roles && bindings ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < plan->n_roles; i++) {
        const struct pyproc_role *from = &plan->roles[i];

        if (from->tenant >= n_tenants)
            r = pp_fail(-EINVAL, "use tenant %u of %zu", (unsigned)from->tenant, n_tenants);
        roles[i] = (struct pp_access_role){
            from->name, from->allow, from->deny,          from->n_allow,     from->n_deny,
            from->rate, from->burst, from->max_in_flight, from->max_payload, from->tenant};
    }
    for (size_t i = 0; r == 0 && i < plan->n_bindings; i++) {
        const struct pyproc_binding *from = &plan->bindings[i];

        bindings[i] =
            (struct pp_access_binding){from->name, from->role, from->uid, from->gid, from->key};
    }
    if (r == 0)
        r = pp_access_new(roles, plan->n_roles, bindings, plan->n_bindings, &rules->access);
    free(roles);
    free(bindings);
    return r;
}

int pp_rules_new(const struct pyproc_policy *plan, size_t n_tenants, struct pp_rules **rulesp)
{
    struct pp_rules *rules = calloc(1, sizeof *rules);
    int r;

    if (!rules)
        return -ENOMEM;
    rules->needs_key = plan->needs_key != 0;
    rules->uids = copy_array(plan->uids, plan->n_uids, sizeof *rules->uids);
    rules->gids = copy_array(plan->gids, plan->n_gids, sizeof *rules->gids);
    rules->n_uids = plan->n_uids;
    rules->n_gids = plan->n_gids;
    r = rules->uids && rules->gids ? copy_keys(plan, rules) : -ENOMEM;
    if (r == 0)
        r = open_processes(plan, rules);
    if (r == 0)
        r = copy_access(plan, n_tenants, rules);
    if (r == 0 && rules->needs_key && rules->n_keys == 0)
        r = pp_fail(-EINVAL, "ask for a key where there is none");
    if (r < 0)
        (void)pp_rules_free(rules);
    else
        *rulesp = rules;
    return r;
}

struct pp_rules *pp_rules_free(struct pp_rules *rules)
{
    if (!rules)
        return NULL;
    for (size_t i = 0; i < rules->n_keys; i++) {
        explicit_bzero(rules->keys[i].secret, rules->keys[i].size);
        free(rules->keys[i].secret);
    }
    for (size_t i = 0; i < rules->n_processes; i++)
        (void)pp_close(rules->processes[i].pidfd);
    free(rules->keys);
    free(rules->uids);
    free(rules->gids);
    free(rules->processes);
    (void)pp_access_free(rules->access);
    free(rules);
    return NULL;
}

const struct pp_rules_key *pp_rules_key(const struct pp_rules *rules, const char *id)
{
    for (size_t i = 0; i < rules->n_keys; i++)
        if (strcmp(rules->keys[i].id, id) == 0)
            return &rules->keys[i];
    return NULL;
}

static bool has(const uint32_t *numbers, size_t n, uint32_t number)
{
    for (size_t i = 0; i < n; i++)
        if (numbers[i] == number)
            return true;
    return false;
}

static bool is_listed_process(const struct pp_rules *rules, int32_t pid)
{
    for (size_t i = 0; i < rules->n_processes; i++)
        if (rules->processes[i].pid == pid && pp_peer_lives(rules->processes[i].pidfd))
            return true;
    return false;
}

const char *pp_rules_refuses(const struct pp_rules *rules, const struct pp_peer *peer,
                             const uint32_t *groups, size_t n_groups)
{
    bool in_group = has(rules->gids, rules->n_gids, peer->gid);

    for (size_t i = 0; i < n_groups && !in_group; i++)
        in_group = has(rules->gids, rules->n_gids, groups[i]);
    if (rules->n_uids && !has(rules->uids, rules->n_uids, peer->uid))
        return "its uid is not listed";
    if (rules->n_gids && !in_group)
        return "its gid is not listed";
    if (rules->n_processes && !is_listed_process(rules, peer->pid))
        return "its process is not listed";
    return NULL;
}

enum { GROUPS_MAX = 64 };

bool pp_rules_bind(struct pyproc_server *server, struct pp_conn *conn)
{
    uint32_t groups[GROUPS_MAX];
    size_t n = pp_peer_groups(conn->fd, groups, GROUPS_MAX);

    conn->profile = NULL;
    if (pp_rules_refuses(server->rules, &conn->peer, groups, n))
        return false;
    if (server->rules->needs_key && !conn->is_proved)
        return false;
    if (conn->is_proved && !pp_rules_key(server->rules, conn->key))
        return false; /* the key was taken back */
    conn->profile = pp_access_profile(server->rules->access, &conn->peer, groups, n,
                                      conn->is_proved ? conn->key : "");
    return conn->profile != NULL;
}

static void judge_again(struct pyproc_server *server, struct pp_conn *conn)
{
    conn->profile = NULL; /* it was the old table's */
    if (conn->state == PP_CONN_READY && !pp_rules_bind(server, conn))
        pp_conn_deny(conn, PYPROC_END_DENIED, "the server's policy has changed", "access.revoked",
                     "no binding fits any more");
}

void pp_rules_install(struct pyproc_server *server, struct pp_rules *rules)
{
    struct pp_list *at, *after;

    (void)pp_rules_free(server->rules);
    server->rules = rules;
    server->rules_number++;
    (void)pp_access_know(rules->access, server->names, server->n_names);
    for (at = server->conns.next; at != &server->conns; at = after) {
        after = at->next;
        judge_again(server, pp_container(at, struct pp_conn, link));
    }
}

struct learner {
    struct pp_access_name *names;
    size_t n, room;
    bool failed;
};

static void learn(void *token, struct pyproc_bytes name, struct pyproc_bytes signature)
{
    struct learner *learner = token;
    char *mine;

    (void)signature;
    for (size_t i = 0; i < learner->n; i++)
        if (learner->names[i].size == name.size &&
            memcmp(learner->names[i].data, name.data, name.size) == 0)
            return;
    if (learner->n == learner->room) {
        size_t room = learner->room * 2 + 16;
        struct pp_access_name *more = realloc(learner->names, room * sizeof *more);

        learner->failed = learner->failed || !more;
        if (!more)
            return;
        learner->names = more;
        learner->room = room;
    }
    mine = strndup(name.data, name.size);
    learner->failed = learner->failed || !mine;
    if (mine)
        learner->names[learner->n++] = (struct pp_access_name){mine, name.size};
}

static void forget(struct pp_access_name *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free((void *)(uintptr_t)names[i].data);
    free(names);
}

int pp_rules_learn(struct pyproc_server *server)
{
    struct learner learner = {0};

    for (size_t i = 0; i < server->n_lanes; i++)
        pyproc_functions(server->lanes[i].pool, learn, &learner);
    if (learner.failed) {
        forget(learner.names, learner.n);
        return -ENOMEM;
    }
    forget(server->names, server->n_names);
    server->names = learner.names;
    server->n_names = learner.n;
    return 0;
}
