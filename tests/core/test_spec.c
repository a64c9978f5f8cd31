/* test_spec.c - the encoding of a launch, and that nothing but an encoding is read as one. */
#include "base/spec.h"
#include "check.h"

#include <errno.h>

static const char *const args[] = {"/bin/program", "", "two words", NULL};
static const char *const vars[] = {"A=1", "EMPTY=", NULL};
static const struct pp_spec sample = {
    .argv = args, .envp = vars, .cwd = "/srv", .policy = "policy", .policy_size = 6};

/* The sample in memory of exactly its size, so that a sanitizer sees a step too far. */
static uint8_t *encode(size_t *np)
{
    uint8_t *bytes;

    *np = pp_spec_size(&sample);
    bytes = malloc(*np);
    if (bytes != NULL)
        pp_spec_write(&sample, bytes);
    return bytes;
}

static void a_spec_comes_back_as_it_was(void)
{
    struct pp_spec spec;
    size_t n;
    uint8_t *bytes = encode(&n);

    if (CHECK_EQ(pp_spec_read(bytes, n, &spec), 0)) {
        for (int i = 0; i < 4; i++)
            CHECK(args[i] == NULL ? spec.argv[i] == NULL : strcmp(spec.argv[i], args[i]) == 0);
        for (int i = 0; i < 3; i++)
            CHECK(vars[i] == NULL ? spec.envp[i] == NULL : strcmp(spec.envp[i], vars[i]) == 0);
        CHECK(strcmp(spec.cwd, "/srv") == 0);
        CHECK_BYTES(spec.policy, spec.policy_size, "policy", 6);
        pp_spec_deinit(&spec);
    }
    free(bytes);
}

static void every_cut_and_every_extra_byte_is_refused(void)
{
    size_t n;
    uint8_t *bytes = encode(&n);
    struct pp_spec spec;

    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *some = malloc(cut + 1);
        uint32_t size = (uint32_t)cut;

        memcpy(some, bytes, cut);
        CHECK_EQ(pp_spec_read(some, cut, &spec), -EPROTO);
        if (cut >= 8) { /* the same with a head that tells the shorter size */
            memcpy(some + 4, &size, sizeof(size));
            some = realloc(some, cut);
            CHECK_EQ(pp_spec_read(some, cut, &spec), -EPROTO);
        }
        free(some);
    }
    bytes = realloc(bytes, n + 1);
    bytes[n] = 0;
    CHECK_EQ(pp_spec_read(bytes, n + 1, &spec), -EPROTO);
    free(bytes);
}

static void no_flipped_bit_leads_outside_the_bytes(void)
{
    size_t n;
    uint8_t *bytes = encode(&n);
    size_t refused = 0;

    for (size_t bit = 0; bit < n * 8; bit++) {
        struct pp_spec spec;

        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        if (pp_spec_read(bytes, n, &spec) == 0) {
            CHECK((const uint8_t *)spec.policy + spec.policy_size <= bytes + n);
            CHECK(spec.argv[0] != NULL);
            pp_spec_deinit(&spec);
        } else {
            refused++;
        }
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    CHECK(refused >= 5 * 32 - 8); /* nearly every bit of the head counts */
    free(bytes);
}

static void what_is_over_a_limit_or_has_no_program_has_no_size(void)
{
    static const char *const none[] = {NULL};
    struct pp_spec spec = sample;
    char *long_text = malloc(PP_SPEC_MAX + 1);
    const char *const too_long[] = {long_text, NULL};

    memset(long_text, 'x', PP_SPEC_MAX);
    long_text[PP_SPEC_MAX] = '\0';
    spec.argv = none;
    CHECK_EQ(pp_spec_size(&spec), 0);
    spec.argv = too_long;
    CHECK_EQ(pp_spec_size(&spec), 0);
    spec = sample;
    spec.policy_size = PP_SPEC_MAX;
    CHECK_EQ(pp_spec_size(&spec), 0);
    free(long_text);
}

PP_TESTS(PP_TEST(a_spec_comes_back_as_it_was), PP_TEST(every_cut_and_every_extra_byte_is_refused),
         PP_TEST(no_flipped_bit_leads_outside_the_bytes),
         PP_TEST(what_is_over_a_limit_or_has_no_program_has_no_size))
