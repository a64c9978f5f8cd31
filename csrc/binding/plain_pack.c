/* plain_pack.c - Python values to MessagePack.
 *
 * The packer appends to a buffer; once over its limit it goes on counting without
 * storing, so that the error can name the size. Only a hook runs foreign code: it
 * may change the very container being packed, so every item is held while it is
 * packed and the number of items is checked.
 */
#include "binding/plain.h"

#include <errno.h>
#include <string.h>

struct packer {
    struct pp_buffer *out;
    PyObject *hook; /* lent; NULL: plain only */
    size_t large;   /* bytes of that size are for the hook; never 0 */
    size_t total;   /* bytes so far, stored or not */
    int depth;
    bool over; /* the limit is passed: only counting */
    bool rich;
};

enum { INT32_BYTES = 5, INT64_BYTES = 9, EXT32_BYTES = 6 };

static int pack_value(struct packer *p, PyObject *value);
static int pack_bytes(struct packer *p, PyObject *value);

static int put(struct packer *p, const void *bytes, size_t n)
{
    struct pp_buffer *out = p->out;
    int r;

    if (n > SIZE_MAX - p->total)
        return -ENOMEM;
    p->total += n;
    if (p->over)
        return 0;
    if (n <= out->capacity - out->end && n <= out->limit - pp_buffer_size(out)) {
        if (n > 0 && out->data)
            memcpy(out->data + out->end, bytes, n);
        out->end += n;
        return 0;
    }
    r = pp_buffer_append(out, bytes, n);
    if (r == -EMSGSIZE) {
        p->over = true;
        return 0;
    }
    return r;
}

static void store_big(uint8_t *at, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        at[i] = (uint8_t)(value >> (8 * (n - 1 - i)));
}

/* Room for `n` bytes that count as put; NULL when it takes more than a look. */
static inline uint8_t *room(struct packer *p, size_t n)
{
    struct pp_buffer *out = p->out;
    uint8_t *at;

    if (p->over || n > out->capacity - out->end || n > out->limit - pp_buffer_size(out))
        return NULL;
    at = out->data + out->end;
    out->end += n;
    p->total += n;
    return at;
}

static int put_tagged(struct packer *p, uint8_t tag, uint64_t value, size_t n)
{
    uint8_t bytes[INT64_BYTES], *at = room(p, 1 + n);

    if (at) {
        at[0] = tag;
        store_big(at + 1, value, n);
        return 0;
    }
    bytes[0] = tag;
    store_big(bytes + 1, value, n);
    return put(p, bytes, 1 + n);
}

static inline int put_byte(struct packer *p, uint8_t byte)
{
    uint8_t *at = room(p, 1);

    if (!at)
        return put(p, &byte, 1);
    *at = byte;
    return 0;
}

/* The header of a str, array or map: `fix` with the size inside up to `fix_max`, else the
 * 16- or 32-bit form, whose tags follow each other. */
static int put_size(struct packer *p, size_t size, uint8_t fix, size_t fix_max, uint8_t tag16)
{
    if (size <= fix_max)
        return put_byte(p, (uint8_t)(fix | size));
    if (size <= UINT16_MAX)
        return put_tagged(p, tag16, size, 2);
    if (size <= UINT32_MAX)
        return put_tagged(p, (uint8_t)(tag16 + 1), size, 4);
    p->over = true; /* no form for it: too large, whatever the limit */
    p->total += size;
    return 0;
}

static int put_array(struct packer *p, size_t size)
{
    return put_size(p, size, 0x90, 15, 0xdc);
}

static int pack_signed(struct packer *p, int64_t v)
{
    if (v >= 0 && v <= 0x7f)
        return put_byte(p, (uint8_t)v);
    if (v >= -32 && v < 0)
        return put_byte(p, (uint8_t)(0xe0 | (v + 32)));
    if (v >= 0) {
        if (v <= UINT8_MAX)
            return put_tagged(p, 0xcc, (uint64_t)v, 1);
        if (v <= UINT16_MAX)
            return put_tagged(p, 0xcd, (uint64_t)v, 2);
        return v <= UINT32_MAX ? put_tagged(p, 0xce, (uint64_t)v, 4)
                               : put_tagged(p, 0xcf, (uint64_t)v, 8);
    }
    if (v >= INT8_MIN)
        return put_tagged(p, 0xd0, (uint64_t)v, 1);
    if (v >= INT16_MIN)
        return put_tagged(p, 0xd1, (uint64_t)v, 2);
    return v >= INT32_MIN ? put_tagged(p, 0xd2, (uint64_t)v, 4)
                          : put_tagged(p, 0xd3, (uint64_t)v, 8);
}

static int put_ext_header(struct packer *p, long code, size_t size)
{
    uint8_t bytes[EXT32_BYTES] = {0xc9};

    if (size > UINT32_MAX) {
        p->over = true;
        p->total += size;
        return 0;
    }
    store_big(bytes + 1, size, 4);
    bytes[5] = (uint8_t)code;
    p->rich = true;
    return put(p, bytes, sizeof bytes);
}

/* What the hook says of a value: (code, bytes) or (None, another value). */
static int pack_hooked(struct packer *p, PyObject *value)
{
    PyObject *answer, *code, *data;
    int r = -EINVAL;

    if (!p->hook)
        return PP_PLAIN_NOT;
    answer = PyObject_CallFunctionObjArgs(p->hook, value, NULL);
    if (!answer)
        return -EINVAL;
    if (!PyTuple_CheckExact(answer) || PyTuple_Size(answer) != 2) {
        PyErr_SetString(PyExc_TypeError, "a codec hook must answer with a pair");
        Py_DECREF(answer);
        return -EINVAL;
    }
    code = PyTuple_GetItem(answer, 0);
    data = PyTuple_GetItem(answer, 1);
    if (code == Py_None && PyBytes_CheckExact(data)) {
        r = pack_bytes(p, data);
    } else if (code == Py_None) {
        r = pack_value(p, data);
    } else if (PyBytes_CheckExact(data)) {
        long number = PyLong_AsLong(code);

        if (number >= 0 && number <= INT8_MAX) {
            r = put_ext_header(p, number, (size_t)PyBytes_Size(data));
            if (r == 0)
                r = put(p, PyBytes_AsString(data), (size_t)PyBytes_Size(data));
        } else if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "an extension code must be 0 to 127");
        }
    } else {
        PyErr_SetString(PyExc_TypeError, "a codec hook must answer with bytes");
    }
    Py_DECREF(answer);
    return r;
}

static int pack_int(struct packer *p, PyObject *value)
{
    int overflow = 0;
    int64_t v = PyLong_AsLongLongAndOverflow(value, &overflow);

    if (overflow == 0)
        return pack_signed(p, v);
    if (overflow > 0) {
        uint64_t u = PyLong_AsUnsignedLongLong(value);

        if (u != UINT64_MAX || !PyErr_Occurred())
            return put_tagged(p, 0xcf, u, 8);
        PyErr_Clear();
    }
    return pack_hooked(p, value);
}

static int pack_float(struct packer *p, PyObject *value)
{
    double v = PyFloat_AsDouble(value);
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    return put_tagged(p, 0xcb, bits, 8);
}

static int pack_str(struct packer *p, PyObject *value)
{
    Py_ssize_t n;
    const char *utf8 = PyUnicode_AsUTF8AndSize(value, &n);
    int r;

    if (!utf8) {
        bool surrogates = PyErr_ExceptionMatches(PyExc_UnicodeEncodeError);

        PyErr_Clear();
        return surrogates ? pack_hooked(p, value) : -ENOMEM;
    }
    if (n <= 31) {
        uint8_t *at = room(p, 1 + (size_t)n);

        if (at) {
            at[0] = (uint8_t)(0xa0 | n);
            memcpy(at + 1, utf8, (size_t)n);
            return 0;
        }
    }
    if (n > 31 && n <= UINT8_MAX)
        r = put_tagged(p, 0xd9, (uint64_t)n, 1);
    else
        r = put_size(p, (size_t)n, 0xa0, 31, 0xda);
    return r < 0 ? r : put(p, utf8, (size_t)n);
}

static int pack_bytes(struct packer *p, PyObject *value)
{
    size_t n = (size_t)PyBytes_Size(value);
    int r = n <= UINT8_MAX ? put_tagged(p, 0xc4, n, 1) : put_size(p, n, 0, 0, 0xc5);

    return r < 0 ? r : put(p, PyBytes_AsString(value), n);
}

/* Foreign code ran in between and changed the container: there is no right answer. */
static int pack_changed(struct packer *p)
{
    if (!p->hook)
        return PP_PLAIN_NOT;
    PyErr_SetString(PyExc_RuntimeError, "a container changed while it was packed");
    return -EINVAL;
}

static int pack_list(struct packer *p, PyObject *list)
{
    Py_ssize_t n = PyList_Size(list);
    int r = put_array(p, (size_t)n);

    for (Py_ssize_t i = 0; r == 0 && i < n; i++) {
        PyObject *item;

        if (PyList_Size(list) != n)
            return pack_changed(p);
        item = PyList_GetItem(list, i);
        Py_INCREF(item);
        r = pack_value(p, item);
        Py_DECREF(item);
    }
    return r;
}

static int pack_tuple(struct packer *p, PyObject *tuple)
{
    Py_ssize_t n = PyTuple_Size(tuple);
    int r = put_array(p, (size_t)n);

    for (Py_ssize_t i = 0; r == 0 && i < n; i++)
        r = pack_value(p, PyTuple_GetItem(tuple, i));
    return r;
}

static int pack_dict(struct packer *p, PyObject *dict)
{
    Py_ssize_t n = PyDict_Size(dict), at = 0, seen = 0;
    PyObject *key, *value;
    int r = put_size(p, (size_t)n, 0x80, 15, 0xde);

    while (r == 0 && PyDict_Next(dict, &at, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        seen++;
        r = pack_value(p, key);
        if (r == 0)
            r = pack_value(p, value);
        Py_DECREF(key);
        Py_DECREF(value);
        if (r == 0 && PyDict_Size(dict) != n)
            return pack_changed(p);
    }
    return r == 0 && seen != n ? pack_changed(p) : r;
}

/* A copy as a list, so that what a hook does to the set does not matter. */
static int pack_set(struct packer *p, PyObject *set)
{
    PyObject *list = PySequence_List(set);
    int r;

    if (!list)
        return -EINVAL;
    r = pack_list(p, list);
    Py_DECREF(list);
    return r;
}

/* A container as an extension: header first, its size when that is known. */
static int pack_nested(struct packer *p, PyObject *value, enum pp_ext code)
{
    size_t header = pp_buffer_size(p->out), before;
    int r;

    if (!p->hook)
        return PP_PLAIN_NOT;
    r = put_ext_header(p, (long)code, 0);
    before = p->total;
    if (r == 0)
        r = code == PP_EXT_TUPLE ? pack_tuple(p, value) : pack_set(p, value);
    if (r != 0 || p->over)
        return r;
    if (p->total - before > UINT32_MAX) {
        p->over = true;
        return 0;
    }
    store_big(p->out->data + p->out->start + header + 1, p->total - before, 4);
    return 0;
}

static int pack_container(struct packer *p, PyObject *value)
{
    int r;

    if (p->depth >= PP_PLAIN_DEPTH || Py_EnterRecursiveCall(" while packing a value") != 0) {
        if (!p->hook) {
            PyErr_Clear();
            return PP_PLAIN_NOT;
        }
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_RecursionError, "a value is nested too deep");
        return -EINVAL;
    }
    p->depth++;
    if (PyDict_CheckExact(value))
        r = pack_dict(p, value);
    else if (PyList_CheckExact(value))
        r = pack_list(p, value);
    else if (PyTuple_CheckExact(value))
        r = pack_nested(p, value, PP_EXT_TUPLE);
    else if (Py_IS_TYPE(value, &PySet_Type))
        r = pack_nested(p, value, PP_EXT_SET);
    else if (PyFrozenSet_CheckExact(value))
        r = pack_nested(p, value, PP_EXT_FROZENSET);
    else
        r = pack_hooked(p, value);
    p->depth--;
    Py_LeaveRecursiveCall();
    return r;
}

static int pack_value(struct packer *p, PyObject *value)
{
    if (PyUnicode_CheckExact(value))
        return pack_str(p, value);
    if (PyLong_CheckExact(value))
        return pack_int(p, value);
    if (PyFloat_CheckExact(value))
        return pack_float(p, value);
    if (value == Py_None)
        return put_byte(p, 0xc0);
    if (PyBool_Check(value))
        return put_byte(p, value == Py_True ? 0xc3 : 0xc2);
    if (PyBytes_CheckExact(value))
        return (size_t)PyBytes_Size(value) < p->large ? pack_bytes(p, value)
                                                      : pack_hooked(p, value);
    return pack_container(p, value);
}

/* Packs, and leaves `out` as it was unless all of the value is in it. */
static int pack_whole(struct packer *p, PyObject *value, size_t *sizep)
{
    size_t before = pp_buffer_size(p->out);
    int r = pack_value(p, value);

    if (r != 0 || p->over)
        p->out->end = p->out->start + before;
    if (r != 0)
        return r;
    if (sizep)
        *sizep = p->total;
    return p->over ? PP_PLAIN_TOO_LARGE : 0;
}

int pp_plain_pack(PyObject *value, size_t large, struct pp_buffer *out, size_t *sizep)
{
    struct packer p = {.out = out, .large = large};

    return pack_whole(&p, value, sizep);
}

int pp_plain_pack_rich(PyObject *value, PyObject *hook, size_t large, struct pp_buffer *out,
                       size_t *sizep, bool *richp)
{
    struct packer p = {.out = out, .hook = hook, .large = large};
    int r = pack_whole(&p, value, sizep);

    if (r == -ENOMEM && !PyErr_Occurred())
        (void)PyErr_NoMemory();
    if (r >= 0)
        *richp = p.rich;
    return r < 0 ? -EINVAL : r;
}

int pp_plain_pack_array(size_t items, struct pp_buffer *out)
{
    struct packer p = {.out = out};
    size_t before = pp_buffer_size(out);
    int r = put_array(&p, items);

    if (r == 0 && p.over)
        r = -EMSGSIZE;
    if (r < 0)
        out->end = out->start + before;
    return r;
}
