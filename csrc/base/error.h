/* error.h - where an error was born, and its words.
 *
 * Functions of the core answer 0 (done), a negative errno (broken, pass it up
 * unchanged) or a positive outcome named in their own header. The words that
 * belong to a negative answer wait in the calling thread until the next failure.
 * Any thread; each has its own text.
 */
#ifndef PP_BASE_ERROR_H
#define PP_BASE_ERROR_H

/* Remembers what this thread was doing when `code` (negative errno) came up.
 * Answers `code`, so that a caller can `return pp_fail(r, "...")`. */
__attribute__((format(printf, 2, 3))) int pp_fail(int code, const char *what, ...);

/* The words of this thread's last pp_fail, "what: strerror"; "" when none. Lent
 * until the thread's next pp_fail. */
const char *pp_fail_text(void);

#endif
