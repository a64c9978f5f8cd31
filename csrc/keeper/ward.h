/* ward.h - the workers in the keeper's care, and what the host has yet to hear of them.
 *
 * A ward lives from its launch request until its last report is sent, so no report can
 * be lost however slow the host reads, and the table's size bounds the queue. Nothing
 * is allocated. The keeper's only thread.
 */
#ifndef PP_KEEPER_WARD_H
#define PP_KEEPER_WARD_H

#include "base/list.h"
#include "base/spec.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    PP_WARDS_LIVING = 4096,         /* workers at a time */
    PP_WARDS = 2 * PP_WARDS_LIVING, /* and those whose end the host has not read */
};

enum pp_ward_state {
    PP_WARD_FREE,
    PP_WARD_LAUNCHING, /* forked; the pipe says how its exec went */
    PP_WARD_RUNNING,   /* exec'd, or failed to and not yet reaped */
    PP_WARD_SWEEPING,  /* reaped; something it started may be left */
    PP_WARD_OVER,      /* only `last` is owed */
};

struct pp_ward {
    struct pp_list link; /* in the list of its state */
    struct pp_list owed; /* in the queue of reports, else a ring of its own */
    enum pp_ward_state state;
    uint32_t id;           /* the host's name */
    pid_t pid;             /* valid while not reaped; then only a session's name */
    int pipe;              /* LAUNCHING: the child's report; owned */
    int listener;          /* to its filter of calls, -1: none; owned until LAUNCHED is sent */
    int pidfd;             /* owned until LAUNCHED is sent */
    bool announce;         /* LAUNCHED is owed */
    bool stopped;          /* STOPPED is owed */
    bool killed;           /* the host asked for its end */
    struct pp_report last; /* FAILED or ENDED; kind 0 until known */
};

struct pp_wards {
    struct pp_ward all[PP_WARDS];
    size_t n_touched; /* from here on never used, so that idle memory stays untouched */
    struct pp_list free;
    struct pp_list living;   /* LAUNCHING and RUNNING */
    struct pp_list sweeping; /* SWEEPING */
    struct pp_list owed;     /* of the link `owed`, in the order of the reports */
    size_t n_living;
    size_t n_used;
    size_t n_held; /* wards with a pipe or a pidfd */
};

/* `wards` is all zero bytes. */
void pp_wards_init(struct pp_wards *wards);

/* A ward under this name, or NULL when PP_WARDS are in use. Its state is OVER: the caller
 * makes it live with pp_ward_born or gives it a failure. */
struct pp_ward *pp_ward_new(struct pp_wards *wards, uint32_t id);
/* The child is forked; takes both descriptors. */
void pp_ward_born(struct pp_wards *wards, struct pp_ward *ward, pid_t pid, int pidfd, int pipe);
/* Why there will be no worker; the first reason counts. */
void pp_ward_fail(struct pp_ward *ward, const char *step, int error);
/* Its exec is done or failed: the pipe is closed. */
void pp_ward_launched(struct pp_wards *wards, struct pp_ward *ward);
/* A signal has stopped it. */
void pp_ward_stopped(struct pp_wards *wards, struct pp_ward *ward);
/* Reaped; `last` is filled in. */
void pp_ward_reaped(struct pp_wards *wards, struct pp_ward *ward);
/* Nothing is left of it but its last report, which is owed from now on. */
void pp_ward_over(struct pp_wards *wards, struct pp_ward *ward);

/* The living ward of that name or pid, or NULL. */
struct pp_ward *pp_ward_by_id(struct pp_wards *wards, uint32_t id);
struct pp_ward *pp_ward_by_pid(struct pp_wards *wards, pid_t pid);

/* Sends owed reports until none is left or the socket is full. Answers 0, or a negative
 * errno when the host's end is gone. */
int pp_wards_send(struct pp_wards *wards, int control);

#endif
