/* memory.h - memory that the host makes and a worker maps: large values go in it.
 *
 * Two uses. SENT memory is written by the host and sealed (SHRINK, GROW, FUTURE_WRITE, SEAL)
 * before a worker sees it: only the host's own mapping can change it. GRANTED memory is filled by
 * one worker; its size is sealed. A worker never gets our description of the file but one opened
 * for it, so that the kernel can tell whether any worker still has the file open or mapped
 * (a lease, fcntl(2)): only then is granted memory read in place, and memory of either use
 * used again. Everything is a memfd without a name: the kernel frees it with its last holder.
 *
 * The stock keeps memory whose pages are there already, since touching new pages costs several
 * times what copying into old ones does. What it lends is either overwritten as a whole, with
 * zeros behind (SENT), or goes back to the very worker that had filled it (GRANTED).
 *
 * Memory belongs to one thread at a time unless said otherwise; references, and the stock, are
 * any thread's.
 */
#ifndef PP_IPC_MEMORY_H
#define PP_IPC_MEMORY_H

#include "base/list.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pp_stock;

enum pp_memory_use { PP_MEMORY_SENT, PP_MEMORY_GRANTED };

struct pyproc_memory {
    _Atomic unsigned refs;
    enum pp_memory_use use;
    int fd;                 /* owned; our own description of the file */
    size_t room;            /* of the file: whole pages */
    size_t size;            /* asked for this time, at most `room` */
    size_t filled;          /* SENT: bytes written so far */
    uint8_t *map;           /* owned; NULL: not mapped yet */
    bool warm;              /* its pages are there */
    bool sealed;            /* SENT: no worker can write to it */
    bool settled;           /* GRANTED: nobody can change it any more */
    bool lost;              /* it can never be used again */
    uint32_t worker;        /* GRANTED: who fills it */
    struct pp_stock *stock; /* a reference; NULL: it is freed after use */
    unsigned epoch;         /* of the stock, when it was taken */
    struct pp_list link;    /* in the stock, while idle */
};

/* Makes `size` zero bytes (at least 1). The caller has the only reference. */
int pp_memory_new(enum pp_memory_use use, size_t size, struct pyproc_memory **memoryp);
struct pyproc_memory *pp_memory_ref(struct pyproc_memory *memory);
/* NULL is fine. With the last reference it goes back to its stock, or is freed. */
void pp_memory_unref(struct pyproc_memory *memory);

/* SENT, before it is sealed or when it is used again: puts bytes behind those before, at a
 * multiple of PP_MEMORY_ALIGN, with zeros in between. With `bytes` NULL the caller maps the memory
 * and overwrites all `n` itself. 0 and where they are; -EMSGSIZE; another negative errno. */
enum { PP_MEMORY_ALIGN = 64 };
int pp_memory_append(struct pyproc_memory *memory, const void *bytes, size_t n, size_t *offsetp);
/* SENT: maps it writable, for the host, and seals it. 0 or a negative errno. */
int pp_memory_seal(struct pyproc_memory *memory);
/* GRANTED, before it is opened: its pages are ours, so that they do not count for the worker that
 * fills them. 0 or a negative errno. */
int pp_memory_reserve(struct pyproc_memory *memory);
/* A descriptor for a worker: read-only for SENT memory, which is sealed first. The caller owns
 * it. Any thread, once it is sealed. */
int pp_memory_open(struct pyproc_memory *memory, int *fdp);
/* GRANTED: makes sure that nobody changes it any more, and maps it read-only: in place when its
 * worker has let go of it; sealed against writing when it only has it open; a copy when it has
 * it mapped. 0 or a negative errno. */
int pp_memory_settle(struct pyproc_memory *memory);
/* Whether nobody but us has the file open or mapped; false also when the kernel does not say. */
bool pp_memory_alone(const struct pyproc_memory *memory);

/* At most `max` idle bytes are kept; 0: none. */
int pp_stock_new(size_t max, struct pp_stock **stockp);
struct pp_stock *pp_stock_ref(struct pp_stock *stock);
void pp_stock_unref(struct pp_stock *stock);
/* Memory for one value, out of the stock where it has some that fits. */
int pp_stock_take(struct pp_stock *stock, enum pp_memory_use use, uint32_t worker, size_t size,
                  struct pyproc_memory **memoryp);
/* That worker is gone: what it had filled can serve nobody. */
void pp_stock_forget(struct pp_stock *stock, uint32_t worker);
/* Frees all that is idle; from now on nothing is kept. */
void pp_stock_close(struct pp_stock *stock);
/* This process is about to fork: what is lent now is never used again, since the child may keep
 * looking at it. */
void pp_stock_forking(struct pp_stock *stock);
/* Bytes that are idle. */
size_t pp_stock_idle(struct pp_stock *stock);

#endif
