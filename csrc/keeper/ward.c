/* ward.c - the table of wards and the queue of reports. */
#include "keeper/ward.h"

#include "base/fd.h"
#include "base/handoff.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

void pp_wards_init(struct pp_wards *wards)
{
    pp_list_init(&wards->free);
    pp_list_init(&wards->living);
    pp_list_init(&wards->sweeping);
    pp_list_init(&wards->owed);
}

struct pp_ward *pp_ward_new(struct pp_wards *wards, uint32_t id)
{
    struct pp_list *link = pp_list_pop_front(&wards->free);
    struct pp_ward *ward;

    if (link != NULL)
        ward = pp_container(link, struct pp_ward, link);
    else if (wards->n_touched < PP_WARDS)
        ward = &wards->all[wards->n_touched++];
    else
        return NULL;
    *ward =
        (struct pp_ward){.state = PP_WARD_OVER, .id = id, .pipe = -1, .listener = -1, .pidfd = -1};
    pp_list_init(&ward->link);
    pp_list_init(&ward->owed);
    ward->last.magic = PP_SPEC_MAGIC;
    ward->last.worker = id;
    wards->n_used++;
    return ward;
}

void pp_ward_born(struct pp_wards *wards, struct pp_ward *ward, pid_t pid, int pidfd, int pipe)
{
    ward->state = PP_WARD_LAUNCHING;
    ward->pid = pid;
    ward->pidfd = pidfd;
    ward->pipe = pipe;
    ward->last.pid = pid;
    pp_list_push_back(&wards->living, &ward->link);
    wards->n_living++;
    wards->n_held++;
}

void pp_ward_fail(struct pp_ward *ward, const char *step, int error)
{
    if (ward->last.kind == PP_REPORT_FAILED)
        return;
    ward->last.kind = PP_REPORT_FAILED;
    ward->last.error = error;
    (void)snprintf(ward->last.step, sizeof(ward->last.step), "%s", step);
}

static void owe(struct pp_wards *wards, struct pp_ward *ward)
{
    if (pp_list_empty(&ward->owed))
        pp_list_push_back(&wards->owed, &ward->owed);
}

static void announced(struct pp_wards *wards, struct pp_ward *ward)
{
    ward->announce = false;
    ward->pidfd = pp_close(ward->pidfd);
    ward->listener = pp_close(ward->listener);
    wards->n_held--;
}

void pp_ward_launched(struct pp_wards *wards, struct pp_ward *ward)
{
    ward->pipe = pp_close(ward->pipe);
    ward->state = PP_WARD_RUNNING;
    if (ward->last.kind == PP_REPORT_FAILED) {
        announced(wards, ward);
        return;
    }
    ward->announce = true;
    owe(wards, ward);
}

void pp_ward_stopped(struct pp_wards *wards, struct pp_ward *ward)
{
    ward->stopped = true;
    owe(wards, ward);
}

void pp_ward_reaped(struct pp_wards *wards, struct pp_ward *ward)
{
    pp_list_remove(&ward->link);
    wards->n_living--;
    ward->state = PP_WARD_SWEEPING;
    pp_list_push_back(&wards->sweeping, &ward->link);
}

void pp_ward_over(struct pp_wards *wards, struct pp_ward *ward)
{
    pp_list_remove(&ward->link);
    ward->state = PP_WARD_OVER;
    owe(wards, ward);
}

struct pp_ward *pp_ward_by_id(struct pp_wards *wards, uint32_t id)
{
    for (struct pp_list *l = wards->living.next; l != &wards->living; l = l->next) {
        struct pp_ward *ward = pp_container(l, struct pp_ward, link);

        if (ward->id == id)
            return ward;
    }
    return NULL;
}

struct pp_ward *pp_ward_by_pid(struct pp_wards *wards, pid_t pid)
{
    for (struct pp_list *l = wards->living.next; l != &wards->living; l = l->next) {
        struct pp_ward *ward = pp_container(l, struct pp_ward, link);

        if (ward->pid == pid)
            return ward;
    }
    return NULL;
}

/* Sends what one ward owes, in order. 0, or a negative errno with the rest still owed. */
static int send_ward(struct pp_wards *wards, struct pp_ward *ward, int control)
{
    struct pp_report report = {.magic = PP_SPEC_MAGIC, .worker = ward->id, .pid = ward->pid};
    int r;

    if (ward->announce) {
        const int fds[] = {ward->pidfd, ward->listener};

        report.kind = PP_REPORT_LAUNCHED;
        r = pp_handoff_send(control, &report, sizeof(report), fds, ward->listener < 0 ? 1 : 2,
                            MSG_DONTWAIT);
        if (r < 0)
            return r;
        announced(wards, ward);
    }
    if (ward->stopped && ward->state == PP_WARD_RUNNING) {
        report.kind = PP_REPORT_STOPPED;
        r = pp_handoff_send(control, &report, sizeof(report), NULL, 0, MSG_DONTWAIT);
        if (r < 0)
            return r;
    }
    ward->stopped = false;
    if (ward->state == PP_WARD_OVER) {
        r = pp_handoff_send(control, &ward->last, sizeof(ward->last), NULL, 0, MSG_DONTWAIT);
        if (r < 0)
            return r;
        ward->state = PP_WARD_FREE;
    }
    return 0;
}

/* The socket has no room just now; ETOOMANYREFS: too many of our descriptors are in
 * flight, unix(7). */
static bool is_full(int error)
{
    return error == -EAGAIN || error == -ENOBUFS || error == -ENOMEM || error == -ETOOMANYREFS ||
           error == -EINTR;
}

int pp_wards_send(struct pp_wards *wards, int control)
{
    while (!pp_list_empty(&wards->owed)) {
        struct pp_ward *ward = pp_container(wards->owed.next, struct pp_ward, owed);
        int r = send_ward(wards, ward, control);

        if (r < 0)
            return is_full(r) ? 0 : r;
        pp_list_remove(&ward->owed);
        if (ward->state == PP_WARD_FREE) {
            pp_list_push_front(&wards->free, &ward->link);
            wards->n_used--;
        }
    }
    return 0;
}
