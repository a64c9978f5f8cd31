/* access.c - the table of roles and bindings, and its decisions. */
#include "security/access.h"

#include "base/clock.h"
#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What a struct holds through a pointer is lost on gcc's analyzer. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

enum { ROLES_MAX = 4096, BINDINGS_MAX = 65536, PROFILES_MAX = 4096 };

struct role {
    struct pp_access_role plan; /* its strings are owned */
    double tokens;
    int64_t filled; /* when `tokens` was right */
    uint32_t in_flight;
};

struct usage {
    uint64_t calls;
    int64_t last;
};

struct pp_access_profile {
    struct pp_access_profile *next;
    int32_t *decided; /* for each function: the binding that allows it; -1: none, -2: denied */
    size_t n_held;
    uint32_t held[]; /* bindings, in their order */
};

struct pp_access {
    struct role *roles; /* owned, as all below */
    size_t n_roles;
    struct pp_access_binding *bindings;
    size_t n_bindings;
    struct pp_access_profile *profiles;
    size_t n_profiles;
    char **names; /* of the application's functions */
    size_t n_names;
    uint32_t *slots;     /* hash table: 1 + the number of a name; 0: free */
    size_t n_slots;      /* a power of two */
    struct usage *usage; /* n_roles rows of n_names */
};

static const char *const *copy_globs(const char *const *from, size_t n, bool *wholep)
{
    char **globs = calloc(n + 1, sizeof *globs);

    *wholep = *wholep && globs;
    for (size_t i = 0; *wholep && i < n; i++)
        *wholep = (globs[i] = strdup(from[i])) != NULL;
    return (const char *const *)globs;
}

static int copy_role(const struct pp_access_role *from, struct role *to)
{
    bool whole = true;

    to->plan = *from;
    to->plan.name = strdup(from->name);
    to->plan.allow = copy_globs(from->allow, from->n_allow, &whole);
    to->plan.deny = copy_globs(from->deny, from->n_deny, &whole);
    to->tokens = from->burst;
    to->filled = pp_now();
    return whole && to->plan.name ? 0 : -ENOMEM;
}

static int copy_binding(const struct pp_access_binding *from, struct pp_access_binding *to)
{
    *to = *from;
    to->key = strdup(from->key ? from->key : "");
    to->name = strdup(from->name ? from->name : "");
    return to->key && to->name ? 0 : -ENOMEM;
}

int pp_access_new(const struct pp_access_role *roles, size_t n_roles,
                  const struct pp_access_binding *bindings, size_t n_bindings,
                  struct pp_access **accessp)
{
    struct pp_access *access;
    int r = 0;

    if (n_roles > ROLES_MAX || n_bindings > BINDINGS_MAX)
        return pp_fail(-EINVAL,
                       "make an access table of %zu roles and %zu bindings (at most %d, %d)",
                       n_roles, n_bindings, ROLES_MAX, BINDINGS_MAX);
    access = calloc(1, sizeof *access);
    if (!access)
        return -ENOMEM;
    access->roles = calloc(n_roles + 1, sizeof *access->roles);
    access->bindings = calloc(n_bindings + 1, sizeof *access->bindings);
    if (!access->roles || !access->bindings)
        r = -ENOMEM;
    for (size_t i = 0; r == 0 && i < n_roles; i++) {
        access->n_roles++;
        r = copy_role(&roles[i], &access->roles[i]);
    }
    for (size_t i = 0; r == 0 && i < n_bindings; i++) {
        access->n_bindings++;
        r = copy_binding(&bindings[i], &access->bindings[i]);
        if (bindings[i].role >= n_roles)
            r = pp_fail(-EINVAL, "bind to role %u of %zu", (unsigned)bindings[i].role, n_roles);
    }
    if (r < 0) {
        (void)pp_access_free(access);
        return r;
    }
    *accessp = access;
    return 0;
}

static void forget_names(struct pp_access *access)
{
    for (size_t i = 0; i < access->n_names; i++)
        free(access->names[i]);
    free(access->names);
    free(access->slots);
    free(access->usage);
    access->names = NULL;
    access->slots = NULL;
    access->usage = NULL;
    access->n_names = access->n_slots = 0;
}

static void free_globs(const char *const *globs, size_t n)
{
    for (size_t i = 0; globs && i < n; i++)
        free((char *)globs[i]);
    free((void *)globs);
}

static void free_profiles(struct pp_access *access)
{
    while (access->profiles) {
        struct pp_access_profile *profile = access->profiles;

        access->profiles = profile->next;
        free(profile->decided);
        free(profile);
    }
}

struct pp_access *pp_access_free(struct pp_access *access)
{
    if (!access)
        return NULL;
    for (size_t i = 0; access->roles && i < access->n_roles; i++) {
        const struct pp_access_role *plan = &access->roles[i].plan;

        free_globs(plan->allow, plan->n_allow);
        free_globs(plan->deny, plan->n_deny);
        free((char *)plan->name);
    }
    for (size_t i = 0; access->bindings && i < access->n_bindings; i++) {
        free((char *)access->bindings[i].key);
        free((char *)access->bindings[i].name);
    }
    free_profiles(access);
    free(access->roles);
    free(access->bindings);
    forget_names(access);
    free(access);
    return NULL;
}

/* FNV-1a. Names are the application's own: nobody else can make them collide. */
static size_t hash(const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < n; i++)
        h = (h ^ at[i]) * UINT64_C(0x100000001b3);
    return (size_t)(h ^ h >> 29);
}

/* The number of a name; -1: it is none. */
static int64_t look_up(const struct pp_access *access, const void *name, size_t n)
{
    size_t at = hash(name, n);

    if (access->n_slots == 0)
        return -1;
    for (;; at++) {
        uint32_t slot = access->slots[at & (access->n_slots - 1)];

        if (slot == 0)
            return -1;
        if (strlen(access->names[slot - 1]) == n && memcmp(access->names[slot - 1], name, n) == 0)
            return slot - 1;
    }
}

/* Of several stars only the last is tried again: a name is walked once for each. */
bool pp_access_fits(const char *glob, const char *name)
{
    const char *star = NULL, *mark = NULL;

    while (*name) {
        if (*glob == '*') {
            star = glob++;
            mark = name;
        } else if (*glob && (*glob == '?' || *glob == *name)) {
            glob++;
            name++;
        } else if (star) {
            glob = star + 1;
            name = ++mark;
        } else {
            return false;
        }
    }
    while (*glob == '*')
        glob++;
    return *glob == '\0';
}

static bool any_fits(const char *const *globs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (pp_access_fits(globs[i], name))
            return true;
    return false;
}

static int32_t decide(const struct pp_access *access, const struct pp_access_profile *profile,
                      const char *name)
{
    for (size_t i = 0; i < profile->n_held; i++) {
        const struct pp_access_role *role =
            &access->roles[access->bindings[profile->held[i]].role].plan;

        if (any_fits(role->deny, role->n_deny, name))
            return -2;
    }
    for (size_t i = 0; i < profile->n_held; i++) {
        const struct pp_access_role *role =
            &access->roles[access->bindings[profile->held[i]].role].plan;

        if (any_fits(role->allow, role->n_allow, name))
            return (int32_t)profile->held[i];
    }
    return -1;
}

/* On the way out of memory nothing is allowed. */
static int decide_all(const struct pp_access *access, struct pp_access_profile *profile)
{
    free(profile->decided);
    profile->decided = calloc(access->n_names + 1, sizeof *profile->decided);
    for (size_t i = 0; profile->decided && i < access->n_names; i++)
        profile->decided[i] = decide(access, profile, access->names[i]);
    return profile->decided ? 0 : -ENOMEM;
}

static void insert_names(struct pp_access *access)
{
    for (size_t i = 0; i < access->n_names; i++) {
        size_t at = hash(access->names[i], strlen(access->names[i]));

        while (access->slots[at & (access->n_slots - 1)] != 0)
            at++;
        access->slots[at & (access->n_slots - 1)] = (uint32_t)i + 1;
    }
}

int pp_access_know(struct pp_access *access, const struct pp_access_name *names, size_t n)
{
    size_t n_slots = 16;

    forget_names(access);
    while (n_slots < 2 * n)
        n_slots *= 2;
    access->names = calloc(n + 1, sizeof *access->names);
    access->slots = calloc(n_slots, sizeof *access->slots);
    access->usage = calloc(access->n_roles * n + 1, sizeof *access->usage);
    if (!access->names || !access->slots || !access->usage)
        goto no_memory;
    for (size_t i = 0; i < n; i++) {
        access->names[i] = strndup(names[i].data, names[i].size);
        if (!access->names[i])
            goto no_memory;
        access->n_names++;
    }
    access->n_slots = n_slots;
    insert_names(access);
    for (struct pp_access_profile *at = access->profiles; at; at = at->next)
        if (decide_all(access, at) < 0)
            goto no_memory;
    return 0;

no_memory:
    forget_names(access); /* knows nothing, so allows nothing */
    return -ENOMEM;
}

static bool has_group(const struct pp_peer *peer, const uint32_t *groups, size_t n, uint32_t group)
{
    if (peer->gid == group)
        return true;
    for (size_t i = 0; i < n; i++)
        if (groups[i] == group)
            return true;
    return false;
}

static bool holds(const struct pp_access_binding *binding, const struct pp_peer *peer,
                  const uint32_t *groups, size_t n, const char *key)
{
    if (binding->uid >= 0 && binding->uid != peer->uid)
        return false;
    if (binding->gid >= 0 && !has_group(peer, groups, n, (uint32_t)binding->gid))
        return false;
    return binding->key[0] == '\0' || strcmp(binding->key, key) == 0;
}

/* One of the same bindings; NULL: there is none yet. */
static struct pp_access_profile *same(const struct pp_access *access,
                                      const struct pp_access_profile *like)
{
    for (struct pp_access_profile *at = access->profiles; at; at = at->next)
        if (at->n_held == like->n_held &&
            memcmp(at->held, like->held, like->n_held * sizeof *like->held) == 0)
            return at;
    return NULL;
}

struct pp_access_profile *pp_access_profile(struct pp_access *access, const struct pp_peer *peer,
                                            const uint32_t *groups, size_t n_groups,
                                            const char *key)
{
    struct pp_access_profile *profile =
        calloc(1, sizeof *profile + access->n_bindings * sizeof *profile->held);
    struct pp_access_profile *known;

    if (!profile)
        return NULL;
    for (size_t i = 0; i < access->n_bindings; i++)
        if (holds(&access->bindings[i], peer, groups, n_groups, key))
            profile->held[profile->n_held++] = (uint32_t)i;
    known = profile->n_held ? same(access, profile) : NULL;
    if (known || profile->n_held == 0 || access->n_profiles == PROFILES_MAX ||
        decide_all(access, profile) < 0) {
        free(profile);
        return known;
    }
    profile->next = access->profiles;
    access->profiles = profile;
    access->n_profiles++;
    return profile;
}

const char *pp_access_profile_name(const struct pp_access *access,
                                   const struct pp_access_profile *profile)
{
    return access->roles[access->bindings[profile->held[0]].role].plan.name;
}

const struct pp_access_role *pp_access_role(const struct pp_access *access, uint32_t role)
{
    return &access->roles[role].plan;
}

/* Takes tokens out of the bucket; else answers when there will be enough. */
static bool take_tokens(struct role *role, uint32_t calls, int64_t now, int64_t *retryp)
{
    double wanted = calls, passed = (double)(now - role->filled) / 1e9;

    if (role->plan.rate <= 0)
        return true;
    if (passed > 0) {
        role->tokens += passed * role->plan.rate;
        role->filled = now;
    }
    if (role->tokens > role->plan.burst)
        role->tokens = role->plan.burst;
    /* More than the bucket ever holds waits for a full one, and then leaves a debt. */
    if (role->tokens < (wanted < role->plan.burst ? wanted : role->plan.burst)) {
        double lacking = (wanted < role->plan.burst ? wanted : role->plan.burst) - role->tokens;

        *retryp = (int64_t)(lacking / role->plan.rate * 1e9) + 1;
        return false;
    }
    role->tokens -= wanted;
    return true;
}

bool pp_access_may(const struct pp_access *access, const struct pp_access_profile *profile,
                   const void *function, size_t size)
{
    int64_t at = look_up(access, function, size);

    return at >= 0 && profile->decided && profile->decided[at] >= 0;
}

static enum pp_access_answer charge(struct role *role, const struct pp_access_call *call,
                                    int64_t *retryp)
{
    if (role->plan.max_payload && call->payload > role->plan.max_payload)
        return PP_ACCESS_PAYLOAD;
    if (role->plan.max_in_flight && role->in_flight >= role->plan.max_in_flight)
        return PP_ACCESS_BUSY;
    if (!take_tokens(role, call->calls, call->now, retryp))
        return PP_ACCESS_RATE;
    role->in_flight++;
    return PP_ACCESS_ALLOWED;
}

enum pp_access_answer pp_access_begin(struct pp_access *access,
                                      const struct pp_access_profile *profile,
                                      const struct pp_access_call *call,
                                      struct pp_access_decision *decision)
{
    int64_t at = look_up(access, call->function, call->function_size);
    const struct pp_access_binding *binding;
    enum pp_access_answer answer;
    struct timespec today;
    struct usage *usage;

    *decision = (struct pp_access_decision){.rule = "there is no such function"};
    if (at < 0 || !profile->decided)
        return PP_ACCESS_UNKNOWN;
    decision->rule = profile->decided[at] == -2 ? "a role of the caller denies it"
                                                : "no role of the caller allows it";
    if (profile->decided[at] < 0)
        return PP_ACCESS_FORBIDDEN;
    binding = &access->bindings[profile->decided[at]];
    decision->rule = binding->name;
    decision->role = binding->role;
    answer = charge(&access->roles[binding->role], call, &decision->retry);
    if (answer != PP_ACCESS_ALLOWED)
        return answer;
    usage = &access->usage[binding->role * access->n_names + (size_t)at];
    usage->calls += call->calls;
    (void)clock_gettime(CLOCK_REALTIME_COARSE, &today);
    usage->last = today.tv_sec;
    return answer;
}

void pp_access_ended(struct pp_access *access, uint32_t role)
{
    access->roles[role].in_flight--;
}

void pp_access_usage(const struct pp_access *access, pp_access_each *each, void *token)
{
    for (size_t role = 0; role < access->n_roles; role++)
        for (size_t i = 0; i < access->n_names; i++) {
            const struct usage *usage = &access->usage[role * access->n_names + i];

            if (usage->calls)
                each(token, access->roles[role].plan.name, access->names[i], usage->calls,
                     usage->last);
        }
}
