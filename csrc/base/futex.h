/* futex.h - a word that threads wait on, interruptible by signals.
 *
 * pthread condition variables swallow EINTR; a caller in a Python host must see it
 * to answer ^C. FUTEX_WAIT (futex(2)) does not swallow it, and costs nothing when
 * nobody waits. Any thread.
 */
#ifndef PP_BASE_FUTEX_H
#define PP_BASE_FUTEX_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Waits while *word == expected, at most `ns` nanoseconds. 0, -EAGAIN (the word had
 * changed), -ETIMEDOUT or -EINTR; look at the word again in every case. */
static inline int pp_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};

    if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, &t, NULL, 0) == 0)
        return 0;
    return -errno;
}

/* Stores and wakes everybody who waits. */
static inline void pp_futex_set(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store(word, value);
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#endif
