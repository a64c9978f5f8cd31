/* error.c - the words of a thread's last failure.
 *
 * They live in thread-local memory of a fixed size: a failure must be tellable
 * when memory is out, and two threads must never write each other's words.
 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char words[256];

int pp_fail(int code, const char *what, ...)
{
    char reason[64];
    va_list arguments;
    int n;

    va_start(arguments, what);
    n = vsnprintf(words, sizeof words, what, arguments);
    va_end(arguments);
    if (n < 0)
        words[n = 0] = '\0';
    /* GNU strerror_r: it may answer a constant and leave `reason` alone. */
    if ((size_t)n < sizeof words)
        (void)snprintf(words + n, sizeof words - (size_t)n, ": %s",
                       strerror_r(-code, reason, sizeof reason));
    return code;
}

const char *pp_fail_text(void)
{
    return words;
}
