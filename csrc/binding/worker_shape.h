/* worker_shape.h - annotations that a look is enough for.
 *
 * pyproc/worker/checks.py makes them of a function's annotations, at start, as one bytes
 * object: an array of `struct pp_shape`. A value that fits passes unseen by msgspec;
 * one that does not may still be right, which Python then says.
 */
#ifndef PP_BINDING_WORKER_SHAPE_H
#define PP_BINDING_WORKER_SHAPE_H

#include "binding/clean.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a value may be, a bit for each exact type; the numbers are given to Python as
 * constants of the module. */
enum pp_accept {
    PP_ACCEPT_NONE = 1 << 0,
    PP_ACCEPT_BOOL = 1 << 1,
    PP_ACCEPT_INT = 1 << 2,
    PP_ACCEPT_FLOAT = 1 << 3,
    PP_ACCEPT_STR = 1 << 4,
    PP_ACCEPT_BYTES = 1 << 5,
    PP_ACCEPT_LIST = 1 << 6,
    PP_ACCEPT_DICT = 1 << 7,
    PP_ACCEPT_TUPLE = 1 << 8,
    PP_ACCEPT_OTHER = 1 << 9,
    PP_ACCEPT_WIDEN = 1 << 10, /* an int becomes a float; of an argument itself only */
    PP_ACCEPT_ANY = (1 << 10) - 1,
};

/* The numbers are places in the same array, later than this one's own; 0: anything. */
struct pp_shape {
    uint16_t accept; /* enum pp_accept */
    uint16_t item;   /* of a list */
    uint16_t key;    /* of a dict */
    uint16_t value;
};

/* Places behind those of a function's names. */
enum { PP_SHAPE_REST, PP_SHAPE_KEYWORDS, PP_SHAPE_RESULT, PP_SHAPES_FIXED };

/* The shapes in `bytes`, lent; false when they are fewer than `least` or no such array. */
bool pp_shapes_read(PyObject *bytes, size_t least, const struct pp_shape **shapesp);
/* Whether the value is as `shape`, which is one of `shapes`, says. Raises nothing. */
bool pp_shape_fits(const struct pp_shape *shapes, const struct pp_shape *shape, PyObject *value);

#endif
