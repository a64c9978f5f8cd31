/* test_access.c - the table of roles: who may call what, by which rule, how often. */
#include "check.h"
#include "security/access.h"

#include <string.h>

static const char *const pages[] = {"extract", "pages.*"};
static const char *const all[] = {"*"};
static const char *const removal[] = {"pages.remove"};
static const struct pp_access_role roles[] = {
    {.name = "reader", .allow = pages, .n_allow = 2, .rate = 10, .burst = 2, .max_in_flight = 3},
    {.name = "admin", .allow = all, .n_allow = 1, .max_payload = 100},
    {.name = "careful", .deny = removal, .n_deny = 1},
};
static const struct pp_access_binding bindings[] = {
    {.name = "b0", .role = 0, .uid = 1000, .gid = -1, .key = ""},
    {.name = "b1", .role = 1, .uid = -1, .gid = 50, .key = ""},
    {.name = "b2", .role = 1, .uid = 1000, .gid = -1, .key = "ops"},
    {.name = "b3", .role = 2, .uid = 2000, .gid = -1, .key = ""},
};
static const struct pp_access_name names[] = {
    {"extract", 7}, {"pages.list", 10}, {"pages.remove", 12}, {"reset", 5}};

static struct pp_access *make(void)
{
    struct pp_access *access = NULL;

    CHECK_EQ(pp_access_new(roles, 3, bindings, 4, &access), 0);
    CHECK_EQ(pp_access_know(access, names, 4), 0);
    return access;
}

static bool may(struct pp_access *access, uint32_t uid, uint32_t gid, const char *key,
                const char *function)
{
    const struct pp_peer peer = {1, uid, gid};
    const struct pp_access_profile *profile = pp_access_profile(access, &peer, NULL, 0, key);

    return profile && pp_access_may(access, profile, function, strlen(function));
}

static void nobody_may_anything_without_a_binding(void)
{
    struct pp_access *access = make();
    const struct pp_peer stranger = {1, 7, 7};
    const uint32_t groups[] = {9, 50};

    CHECK(pp_access_profile(access, &stranger, NULL, 0, "") == NULL);
    CHECK(pp_access_profile(access, &stranger, NULL, 0, "ops") == NULL);
    CHECK(pp_access_profile(access, &stranger, groups, 2, "") != NULL);
    CHECK(may(access, 1000, 1, "", "extract"));
    CHECK(may(access, 1000, 1, "", "pages.remove"));
    CHECK(!may(access, 1000, 1, "", "reset"));
    CHECK(!may(access, 1000, 1, "", "pages"));
    CHECK(may(access, 1000, 1, "ops", "reset"));
    CHECK(!may(access, 1000, 1, "ops", "no such function"));
    CHECK(may(access, 2000, 50, "", "reset"));
    CHECK(!may(access, 2000, 50, "", "pages.remove")); /* a deny of any role wins */
    CHECK(!may(access, 2000, 1, "", "extract"));
    (void)pp_access_free(access);
}

static enum pp_access_answer begin(struct pp_access *access, const char *function, size_t payload,
                                   uint32_t calls, int64_t now, struct pp_access_decision *decision)
{
    const struct pp_peer peer = {1, 1000, 1};
    const struct pp_access_call call = {function, strlen(function), payload, calls, now};

    return pp_access_begin(access, pp_access_profile(access, &peer, NULL, 0, ""), &call, decision);
}

static void a_role_has_a_rate_and_a_number_of_calls(void)
{
    struct pp_access *access = make();
    struct pp_access_decision decision;
    int64_t second = 1000000000, now = INT64_C(1) << 60;

    CHECK_EQ(begin(access, "extract", 1, 1, now, &decision), PP_ACCESS_ALLOWED);
    CHECK(strcmp(decision.rule, "b0") == 0);
    CHECK_EQ(begin(access, "extract", 1, 1, now, &decision), PP_ACCESS_ALLOWED);
    CHECK_EQ(begin(access, "extract", 1, 1, now, &decision), PP_ACCESS_RATE);
    CHECK(decision.retry > second / 20 && decision.retry <= second / 5);
    CHECK_EQ(begin(access, "extract", 1, 1, now + decision.retry, &decision), PP_ACCESS_ALLOWED);
    CHECK_EQ(begin(access, "extract", 1, 1, now + second, &decision), PP_ACCESS_BUSY);
    pp_access_ended(access, decision.role);
    CHECK_EQ(begin(access, "reset", 1, 1, now + second, &decision), PP_ACCESS_FORBIDDEN);
    CHECK_EQ(begin(access, "nothing", 1, 1, now + second, &decision), PP_ACCESS_UNKNOWN);
    /* A chunk larger than the bucket waits for a full one, and leaves a debt. */
    CHECK_EQ(begin(access, "extract", 1, 50, now + 2 * second, &decision), PP_ACCESS_ALLOWED);
    pp_access_ended(access, decision.role);
    CHECK_EQ(begin(access, "extract", 1, 1, now + 3 * second, &decision), PP_ACCESS_RATE);
    CHECK(decision.retry > 3 * second);
    (void)pp_access_free(access);
}

static void globs_fit_whole_names(void)
{
    CHECK(pp_access_fits("*", ""));
    CHECK(pp_access_fits("a*b*c", "axxbxbyc"));
    CHECK(!pp_access_fits("a*b*c", "axxbxbycd"));
    CHECK(pp_access_fits("p?ge", "page"));
    CHECK(!pp_access_fits("p?ge", "pge"));
    CHECK(!pp_access_fits("", "a"));
    CHECK(!pp_access_fits("a[b]", "ab"));
    CHECK(
        !pp_access_fits("*a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

struct seen {
    unsigned rows;
    uint64_t calls;
};

static void count(void *token, const char *role, const char *function, uint64_t calls, int64_t last)
{
    struct seen *seen = token;

    seen->rows++;
    seen->calls += calls;
    CHECK(strcmp(role, "reader") == 0);
    CHECK(strcmp(function, "extract") == 0);
    CHECK(last > 0);
}

static void what_was_called_is_counted_until_the_functions_change(void)
{
    struct pp_access *access = make();
    struct pp_access_decision decision;
    struct seen seen = {0};

    CHECK_EQ(begin(access, "extract", 1, 1, INT64_C(1) << 60, &decision), PP_ACCESS_ALLOWED);
    pp_access_usage(access, count, &seen);
    CHECK_EQ(seen.rows, 1);
    CHECK_EQ(seen.calls, 1);
    CHECK_EQ(pp_access_know(access, names + 1, 3), 0);
    CHECK(!may(access, 1000, 1, "", "extract"));
    CHECK(may(access, 1000, 1, "", "pages.list"));
    (void)pp_access_free(access);
}

static void a_binding_of_no_role_is_refused(void)
{
    const struct pp_access_binding wrong = {.name = "w", .role = 3, .uid = -1, .gid = -1};
    struct pp_access *access = NULL;

    CHECK(pp_access_new(roles, 3, &wrong, 1, &access) < 0);
    CHECK(access == NULL);
}

PP_TESTS(PP_TEST(nobody_may_anything_without_a_binding),
         PP_TEST(a_role_has_a_rate_and_a_number_of_calls), PP_TEST(globs_fit_whole_names),
         PP_TEST(what_was_called_is_counted_until_the_functions_change),
         PP_TEST(a_binding_of_no_role_is_refused))
