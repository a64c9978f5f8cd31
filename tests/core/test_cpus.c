/* test_cpus.c - processors divided among workers. */
#include "check.h"
#include "supervisor/cpus.h"

/* The lowest 64 of a group's processors. */
static uint64_t group(const struct pp_cpus *cpus, unsigned number)
{
    uint64_t mask[PP_CPU_WORDS];

    pp_cpus_group(cpus, number, mask);
    for (size_t i = 1; i < PP_CPU_WORDS; i++)
        CHECK_EQ(mask[i], i == PP_CPU_WORDS - 1 ? mask[i] : 0);
    return mask[0];
}

static void undivided_processors_are_one_group(void)
{
    const uint64_t some[PP_CPU_WORDS] = {0xf0};
    const uint64_t none[PP_CPU_WORDS] = {0};
    struct pp_cpus cpus;

    pp_cpus_init(&cpus, some, 0);
    CHECK_EQ(cpus.groups, 1);
    CHECK_EQ(group(&cpus, 0), 0xf0);
    pp_cpus_init(&cpus, some, 9);
    CHECK_EQ(cpus.groups, 1);
    CHECK_EQ(group(&cpus, 0), 0xf0);
    pp_cpus_init(&cpus, none, 0);
    CHECK_EQ(cpus.groups, 1);
    CHECK_EQ(group(&cpus, 0), 0);
    pp_cpus_init(&cpus, none, 2);
    CHECK_EQ(cpus.groups, 1);
    CHECK_EQ(group(&cpus, 0), 0);
}

static void groups_share_nothing_where_they_fit(void)
{
    const uint64_t some[PP_CPU_WORDS] = {0xc3f};
    struct pp_cpus cpus;

    pp_cpus_init(&cpus, some, 2);
    CHECK_EQ(cpus.groups, 4);
    CHECK_EQ(group(&cpus, 0), 0x003);
    CHECK_EQ(group(&cpus, 1), 0x00c);
    CHECK_EQ(group(&cpus, 2), 0x030);
    CHECK_EQ(group(&cpus, 3), 0xc00);
}

static void the_last_group_begins_anew_where_they_do_not(void)
{
    const uint64_t some[PP_CPU_WORDS] = {0x1f};
    struct pp_cpus cpus;

    pp_cpus_init(&cpus, some, 3);
    CHECK_EQ(cpus.groups, 2);
    CHECK_EQ(group(&cpus, 0), 0x07);
    CHECK_EQ(group(&cpus, 1), 0x19);
}

static void the_highest_processor_counts(void)
{
    const uint64_t some[PP_CPU_WORDS] = {1, [PP_CPU_WORDS - 1] = UINT64_C(1) << 63};
    uint64_t mask[PP_CPU_WORDS];
    struct pp_cpus cpus;

    pp_cpus_init(&cpus, some, 1);
    CHECK_EQ(cpus.groups, 2);
    CHECK_EQ(group(&cpus, 0), 1);
    pp_cpus_group(&cpus, 1, mask);
    CHECK_EQ(mask[0], 0);
    CHECK_EQ(mask[PP_CPU_WORDS - 1], UINT64_C(1) << 63);
}

PP_TESTS(PP_TEST(undivided_processors_are_one_group), PP_TEST(groups_share_nothing_where_they_fit),
         PP_TEST(the_last_group_begins_anew_where_they_do_not),
         PP_TEST(the_highest_processor_counts))
