/* sandbox_box.c - reads a box: every count and size is checked before it is used. */
#include "security/box.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

/* A string of exactly that size in [*atp, end); NULL for size 0. */
static int take_text(const uint8_t **atp, const uint8_t *end, uint32_t size, const char **textp)
{
    *textp = NULL;
    if (size == 0)
        return 0;
    if (size > (size_t)(end - *atp) || memchr(*atp, 0, size) != *atp + size - 1)
        return -EPROTO;
    *textp = (const char *)*atp;
    *atp += size;
    return 0;
}

static int skip_entries(const uint8_t **atp, const uint8_t *end, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *nul;

        if ((size_t)(end - *atp) <= sizeof(uint64_t))
            return -EPROTO;
        *atp += sizeof(uint64_t);
        nul = memchr(*atp, 0, (size_t)(end - *atp));
        if (nul == NULL || **atp != '/')
            return -EPROTO;
        *atp = nul + 1;
    }
    return 0;
}

static int check_head(const struct pp_box_head *head, size_t n)
{
    if (head->magic != PP_BOX_MAGIC || head->size != n ||
        (head->flags & ~(uint32_t)PP_BOX_ALL_FLAGS) != 0)
        return -EPROTO;
    if (head->n_mounts > PP_BOX_ENTRIES || head->n_rules > PP_BOX_ENTRIES ||
        head->n_filter > PP_BOX_FILTER_MAX || head->label_size > PP_BOX_LABEL_MAX)
        return -EPROTO;
    /* -1 would mean "as it is" to the kernel. */
    return (head->uid == PP_BOX_SAME) == (head->gid == PP_BOX_SAME) ? 0 : -EPROTO;
}

int pp_box_read(const uint8_t *bytes, size_t n, struct pp_box *boxp)
{
    struct pp_box box = {.name = NULL};
    const uint8_t *at = bytes + sizeof(box.head), *end = bytes + n;

    if (n == 0) {
        box.head.uid = box.head.gid = PP_BOX_SAME;
        *boxp = box;
        return 0;
    }
    if (n < sizeof(box.head) || n > PP_BOX_MAX)
        return -EPROTO;
    memcpy(&box.head, bytes, sizeof(box.head));
    if (check_head(&box.head, n) < 0)
        return -EPROTO;
    box.mounts = at;
    if (skip_entries(&at, end, box.head.n_mounts) < 0)
        return -EPROTO;
    box.rules = at;
    if (skip_entries(&at, end, box.head.n_rules) < 0 ||
        take_text(&at, end, box.head.name_size, &box.name) < 0 ||
        take_text(&at, end, box.head.label_size, &box.label) < 0 ||
        take_text(&at, end, box.head.canary_size, &box.canary) < 0)
        return -EPROTO;
    box.filter = at;
    if ((size_t)(end - at) != (size_t)box.head.n_filter * 8)
        return -EPROTO;
    *boxp = box;
    return 0;
}

struct pp_box_entry pp_box_next(const uint8_t **atp)
{
    struct pp_box_entry entry = {.path = (const char *)*atp + sizeof(entry.value)};

    memcpy(&entry.value, *atp, sizeof(entry.value));
    *atp += sizeof(entry.value) + strlen(entry.path) + 1;
    return entry;
}

int pp_box_keeper_namespaces(const struct pp_box *box)
{
    uint32_t wanted = box->head.namespaces;

    if ((wanted & CLONE_NEWPID) == 0)
        return 0;
    return (int)((wanted & (CLONE_NEWPID | CLONE_NEWUSER)) | CLONE_NEWNS);
}
