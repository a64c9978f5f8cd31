/* page.h - the two pieces of memory that a host shares with each worker.
 *
 * The control page is written by the host and sealed against any later writable
 * mapping (F_SEAL_FUTURE_WRITE, Linux 5.1): the worker reads it without a syscall
 * and cannot change it. The status page is written by the worker; the host reads
 * each word once, into a local, and believes it as a hint only. Both are memfds of
 * fixed size that the host made and sealed SHRINK|GROW|SEAL, so that no access can
 * fault, and go away with their last descriptor.
 */
#ifndef PP_IPC_PAGE_H
#define PP_IPC_PAGE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Kernel numbers of real-time signals that a host sends to its workers. Fixed, since the two may
 * have different C libraries. */
enum {
    PP_SIGNAL_STOP = 61, /* the call in `cancelled` is to stop by itself */
    PP_SIGNAL_DUMP = 62, /* leave a stack; then wait for the end, unless `look` is set */
};

/* Why a call is asked to stop. */
enum pp_soft {
    PP_SOFT_NONE,
    PP_SOFT_TIMEOUT,
    PP_SOFT_CANCEL,
    PP_SOFT_CLOSE, /* nobody reads the stream any more: its generator is closed */
};

/* Written by the host: by the lease holder or the loop, whoever owns the channel. */
struct pp_control_page {
    _Atomic uint64_t call_id;     /* wire id of the newest call written to the channel */
    _Atomic uint64_t cancelled;   /* wire id of the call that is asked to stop by itself */
    _Atomic int64_t deadline;     /* of the running call, CLOCK_MONOTONIC ns; PP_NEVER without */
    _Atomic uint64_t recall_from; /* calls with this wire id or a higher one must not start */
    _Atomic uint64_t
        stream_wanted;     /* the running stream is to send when it has made so many items */
    _Atomic uint32_t soft; /* enum pp_soft: why; written before `cancelled` */
    uint32_t no_processes; /* 1: it is to start none once it is ready; never changes after birth */
    _Atomic uint32_t look; /* not 0: the number of a wish for a stack of a worker that lives on */
};

/* Written by the worker. Items of a running chunk are appended to `area`: first the
 * bytes, then size and count (release), so that a reader who sees a count sees its
 * bytes. */
struct pp_status_page {
    _Atomic uint64_t started;    /* wire id of the newest call that user code has seen */
    _Atomic uint64_t area_id;    /* wire id of the chunk the area belongs to; 0: none */
    _Atomic uint32_t area_base;  /* first item in the area */
    _Atomic uint32_t area_count; /* items in the area */
    _Atomic uint64_t area_size;  /* bytes in the area */
    _Atomic uint64_t dumped;     /* 1: the stack that was asked for is in the crash file */
    _Atomic uint32_t refused;    /* 1 + the number of the system call that ended it; 0: none */
    uint64_t refused_arguments[6];
    _Atomic uint32_t looked; /* the newest `look` whose stack is in the crash file */
    /* Items of a running stream that are not sent yet are in the area too, see
     * worker/credit.c: one word holds items << 32 | bytes, so that they always agree. */
    _Atomic uint64_t stream_id;   /* wire id; 0: none */
    _Atomic uint64_t stream_base; /* first item in the area */
    _Atomic uint64_t stream_state;
    uint8_t area[];
};

enum { PP_CONTROL_SIZE = 4096, PP_STATUS_SIZE = 256 * 1024 };
#define PP_AREA_SIZE (PP_STATUS_SIZE - offsetof(struct pp_status_page, area))

/* Host: makes, maps and seals. The caller owns descriptor and mapping. */
int pp_page_make_control(int *fdp, struct pp_control_page **pagep);
int pp_page_make_status(int *fdp, const struct pp_status_page **pagep);
/* Worker: maps what it was given. */
int pp_page_map_control(int fd, const struct pp_control_page **pagep);
int pp_page_map_status(int fd, struct pp_status_page **pagep);
/* Gives a mapping of either kind back. NULL is fine. */
void pp_page_unmap(const void *page, size_t size);

#endif
