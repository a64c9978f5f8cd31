/* spec.c - the flat encoding of a launch.
 *
 * head | policy | cwd NUL | argv NUL ... | envp NUL ...
 */
#include "base/spec.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static_assert(sizeof(struct pp_request) == 16, "no padding in a request");
static_assert(sizeof(struct pp_report) == 48 + PP_SPEC_STEP, "no padding in a report");

struct head {
    uint32_t magic;
    uint32_t size; /* of the whole */
    uint32_t policy_size;
    uint32_t n_args;
    uint32_t n_vars;
};

/* Adds a list's bytes to *sizep; false over a limit. */
static int measure(const char *const *strings, size_t *np, size_t *sizep)
{
    size_t n = 0;

    for (; strings[n] != NULL; n++) {
        size_t length = strnlen(strings[n], PP_SPEC_MAX);

        if (n >= PP_SPEC_STRINGS || length >= PP_SPEC_MAX - *sizep)
            return -E2BIG;
        *sizep += length + 1;
    }
    *np = n;
    return 0;
}

static int make_head(const struct pp_spec *spec, struct head *headp)
{
    const char *const cwd[] = {spec->cwd != NULL ? spec->cwd : "", NULL};
    size_t size = sizeof(*headp);
    size_t n_cwd, n_args, n_vars;

    if (spec->policy_size >= PP_SPEC_MAX - size)
        return -E2BIG;
    size += spec->policy_size;
    if (measure(cwd, &n_cwd, &size) < 0 || measure(spec->argv, &n_args, &size) < 0 ||
        measure(spec->envp, &n_vars, &size) < 0)
        return -E2BIG;
    if (n_args == 0)
        return -EINVAL;
    *headp = (struct head){
        .magic = PP_SPEC_MAGIC,
        .size = (uint32_t)size,
        .policy_size = (uint32_t)spec->policy_size,
        .n_args = (uint32_t)n_args,
        .n_vars = (uint32_t)n_vars,
    };
    return 0;
}

size_t pp_spec_size(const struct pp_spec *spec)
{
    struct head head;

    return make_head(spec, &head) < 0 ? 0 : head.size;
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t n)
{
    if (n > 0)
        memcpy(at, bytes, n);
    return at + n;
}

static uint8_t *put_strings(uint8_t *at, const char *const *strings)
{
    for (; *strings != NULL; strings++)
        at = put(at, *strings, strlen(*strings) + 1);
    return at;
}

void pp_spec_write(const struct pp_spec *spec, uint8_t *bytes)
{
    const char *const cwd[] = {spec->cwd != NULL ? spec->cwd : "", NULL};
    struct head head;
    int r = make_head(spec, &head);

    assert(r == 0);
    (void)r;
    bytes = put(bytes, &head, sizeof(head));
    bytes = put(bytes, spec->policy, spec->policy_size);
    bytes = put_strings(bytes, cwd);
    bytes = put_strings(bytes, spec->argv);
    (void)put_strings(bytes, spec->envp);
}

/* Points `n` strings out of [*atp, end); the array gets its NULL. */
static int take_strings(const uint8_t **atp, const uint8_t *end, size_t n, const char **strings)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *nul = memchr(*atp, 0, (size_t)(end - *atp));

        if (nul == NULL)
            return -EPROTO;
        strings[i] = (const char *)*atp;
        *atp = nul + 1;
    }
    strings[n] = NULL;
    return 0;
}

static int check_head(const struct head *head, size_t n)
{
    if (head->magic != PP_SPEC_MAGIC || head->size != n)
        return -EPROTO;
    if (head->n_args == 0 || head->n_args > PP_SPEC_STRINGS || head->n_vars > PP_SPEC_STRINGS)
        return -EPROTO;
    return head->policy_size > n - sizeof(*head) ? -EPROTO : 0;
}

int pp_spec_read(const uint8_t *bytes, size_t n, struct pp_spec *specp)
{
    struct head head;
    const uint8_t *at = bytes + sizeof(head);
    const uint8_t *end = bytes + n;
    const char **strings;
    const char *cwd[2];

    if (n < sizeof(head) || n > PP_SPEC_MAX)
        return -EPROTO;
    memcpy(&head, bytes, sizeof(head));
    if (check_head(&head, n) < 0)
        return -EPROTO;
    strings = calloc((size_t)head.n_args + head.n_vars + 2, sizeof(*strings));
    if (strings == NULL)
        return -ENOMEM;
    at += head.policy_size;
    if (take_strings(&at, end, 1, cwd) < 0 || take_strings(&at, end, head.n_args, strings) < 0 ||
        take_strings(&at, end, head.n_vars, strings + head.n_args + 1) < 0 || at != end) {
        free(strings);
        return -EPROTO;
    }
    *specp = (struct pp_spec){
        .argv = strings,
        .envp = strings + head.n_args + 1,
        .cwd = cwd[0],
        .policy = bytes + sizeof(head),
        .policy_size = head.policy_size,
    };
    return 0;
}

void pp_spec_deinit(struct pp_spec *spec)
{
    free((void *)(uintptr_t)spec->argv);
    *spec = (struct pp_spec){.argv = NULL};
}
