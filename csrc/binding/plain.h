/* plain.h - Python values to MessagePack and back, without an import.
 *
 * Plain values (None, bool, 64-bit int, float, str, bytes, list, dict; exact types) are
 * packed and unpacked here alone. The extension types of pyproc/codec.py are packed
 * with the help of a Python `hook`; tuple, set and frozenset are known here, since
 * they nest. All bytes are taken as hostile: every length is held against what is
 * left, depth is bounded, nothing is allocated for what a header merely claims.
 *
 * Serves _worker and _core. The GIL is held throughout; no state.
 */
#ifndef PP_BINDING_PLAIN_H
#define PP_BINDING_PLAIN_H

#include "base/buffer.h"

#include "binding/clean.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PP_PLAIN_NOT = 1,   /* something inside is not plain: nothing was appended */
    PP_PLAIN_TOO_LARGE, /* over the buffer's limit: nothing was appended, the size is told */
};

enum { PP_PLAIN_DEPTH = 500 };

/* Extension types that hold values; the others are scalars, known to codec.py only. */
enum pp_ext { PP_EXT_TUPLE = 1, PP_EXT_SET, PP_EXT_FROZENSET, PP_EXT_FAILURE };

/* Appends `value`; bytes of `large` and more are not plain. 0, an outcome above, or -ENOMEM; never
 * leaves a Python exception. `sizep`
 * (may be NULL) gets the packed size with 0 and with TOO_LARGE. */
int pp_plain_pack(PyObject *value, size_t large, struct pp_buffer *out, size_t *sizep);

/* The same with extension types; `*richp` becomes true if one was needed.
 * `hook(value)` answers for what is unknown here, and for bytes of `large` and more: (code, bytes),
 * or (None, a value to pack in its place). 0, TOO_LARGE, or -EINVAL with a Python exception set. */
int pp_plain_pack_rich(PyObject *value, PyObject *hook, size_t large, struct pp_buffer *out,
                       size_t *sizep, bool *richp);

/* Appends the header of an array of `items` values (at most UINT32_MAX). 0, -EMSGSIZE, -ENOMEM. */
int pp_plain_pack_array(size_t items, struct pp_buffer *out);

/* Short keys of dicts met before, so that the usual ones are made and hashed once. Zeroed
 * at birth; whoever embeds it clears it. */
enum { PP_PLAIN_KEYS = 128, PP_PLAIN_KEY_MAX = 23 };
struct pp_plain_keys {
    struct {
        PyObject *text; /* owned; NULL: empty */
        uint8_t size;
        uint8_t bytes[PP_PLAIN_KEY_MAX];
    } slots[PP_PLAIN_KEYS];
};
void pp_plain_keys_clear(struct pp_plain_keys *keys);

/* Unpacks exactly one value of `n` bytes. NULL with an exception (ValueError for
 * bad bytes). `hook(code, bytes)` makes the values of extension types; NULL: none may come.
 * `keys` may be NULL. */
PyObject *pp_plain_unpack(const uint8_t *bytes, size_t n, PyObject *hook,
                          struct pp_plain_keys *keys);

/* Unpacks exactly one array as a tuple. */
PyObject *pp_plain_unpack_tuple(const uint8_t *bytes, size_t n, PyObject *hook,
                                struct pp_plain_keys *keys);

enum {
    PP_SCAN_RICH = 1,    /* extension types may come */
    PP_SCAN_FAILURE = 2, /* at the top, a value may be a failure */
};
/* Whether `n` bytes are exactly `count` whole values in bounds, without making any. NULL
 * when they are, else what is wrong (a fixed sentence). Does not need the GIL. */
const char *pp_plain_scan(const uint8_t *bytes, size_t n, size_t count, unsigned flags);

/* The same for Python, ready for a module's table: METH_FASTCALL.
 * pack_plain(value, large=None, /) -> bytes | None
 * pack_rich(value, hook, large=None, /) -> (bytes, rich)
 * unpack(payload, hook=None, /) -> object
 * scan(payload, count, flags, /) -> None, or ValueError */
PyObject *pp_plain_py_pack(PyObject *module, PyObject *const *args, Py_ssize_t n_args);
PyObject *pp_plain_py_pack_rich(PyObject *module, PyObject *const *args, Py_ssize_t n_args);
PyObject *pp_plain_py_unpack(PyObject *module, PyObject *const *args, Py_ssize_t n_args);
PyObject *pp_plain_py_scan(PyObject *module, PyObject *const *args, Py_ssize_t n_args);

#endif
