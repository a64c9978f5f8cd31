/* plain_unpack.c - MessagePack to Python values.
 *
 * The reader of headers has checked every size before anything is allocated, so a
 * value costs memory in proportion to its bytes.
 */
#include "binding/plain.h"

#include "binding/plain_read.h"

#include <string.h>

struct unpacker {
    struct pp_plain_cursor c;
    PyObject *hook;             /* lent; NULL: no extension types */
    struct pp_plain_keys *keys; /* lent; NULL: none are kept */
    int depth;
};

static PyObject *unpack_value(struct unpacker *u);

static PyObject *bad(const char *why)
{
    PyErr_SetString(PyExc_ValueError, why);
    return NULL;
}

static PyObject *unpack_float(const struct pp_plain_head *head)
{
    double v;

    if (head->kind == PP_KIND_FLOAT32) {
        uint32_t bits = (uint32_t)head->number;
        float single;

        memcpy(&single, &bits, sizeof single);
        v = (double)single;
    } else {
        memcpy(&v, &head->number, sizeof v);
    }
    return PyFloat_FromDouble(v);
}

static PyObject *unpack_list(struct unpacker *u, size_t n)
{
    PyObject *list = PyList_New((Py_ssize_t)n);

    for (size_t i = 0; list && i < n; i++) {
        PyObject *item = unpack_value(u);

        if (!item)
            Py_CLEAR(list);
        else
            (void)PyList_SetItem(list, (Py_ssize_t)i, item);
    }
    return list;
}

static PyObject *unpack_tuple(struct unpacker *u, size_t n)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)n);

    for (size_t i = 0; tuple && i < n; i++) {
        PyObject *item = unpack_value(u);

        if (!item)
            Py_CLEAR(tuple);
        else
            (void)PyTuple_SetItem(tuple, (Py_ssize_t)i, item);
    }
    return tuple;
}

void pp_plain_keys_clear(struct pp_plain_keys *keys)
{
    for (size_t i = 0; i < PP_PLAIN_KEYS; i++)
        Py_CLEAR(keys->slots[i].text);
}

static size_t place_of(const uint8_t *bytes, size_t n)
{
    uint32_t hash = (uint32_t)n;

    for (size_t i = 0; i < n; i++)
        hash = (hash ^ bytes[i]) * 0x01000193U;
    return (hash ^ hash >> 15) % PP_PLAIN_KEYS;
}

/* A short key, from among those met before or put there. */
static PyObject *known_key(struct pp_plain_keys *keys, const uint8_t *bytes, size_t n)
{
    size_t at = place_of(bytes, n);
    PyObject *text = keys->slots[at].text, *old = text;

    if (text && keys->slots[at].size == n && memcmp(keys->slots[at].bytes, bytes, n) == 0)
        return Py_NewRef(text);
    text = PyUnicode_DecodeUTF8((const char *)bytes, (Py_ssize_t)n, NULL);
    if (!text)
        return NULL;
    keys->slots[at].text = Py_NewRef(text);
    keys->slots[at].size = (uint8_t)n;
    memcpy(keys->slots[at].bytes, bytes, n);
    Py_XDECREF(old);
    return text;
}

static PyObject *unpack_key(struct unpacker *u)
{
    const uint8_t *at = u->c.at;
    size_t n;

    /* A short str has one byte of header, and its size in it. */
    if (!u->keys || at == u->c.end || (*at & 0xe0) != 0xa0)
        return unpack_value(u);
    n = *at & 0x1f;
    if (n > PP_PLAIN_KEY_MAX || n >= (size_t)(u->c.end - at))
        return unpack_value(u);
    u->c.at = at + 1 + n;
    return known_key(u->keys, at + 1, n);
}

static PyObject *unpack_dict(struct unpacker *u, size_t n)
{
    PyObject *dict = PyDict_New();

    for (size_t i = 0; dict && i < n; i++) {
        PyObject *key = unpack_key(u);
        PyObject *value = key ? unpack_value(u) : NULL;

        if (!value || PyDict_SetItem(dict, key, value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return dict;
}

/* A tuple or set: an array, whole inside the extension's bytes. */
static PyObject *unpack_nested(struct unpacker *u, const struct pp_plain_head *ext)
{
    const uint8_t *outer_end = u->c.end, *end = u->c.at + ext->number;
    PyObject *made = NULL;
    struct pp_plain_head head;
    const char *why;

    u->c.end = end;
    why = pp_plain_read_head(&u->c, &head);
    if (!why && head.kind != PP_KIND_ARRAY)
        why = "a container holds no array";
    if (why)
        return bad(why);
    made = ext->code == PP_EXT_TUPLE ? unpack_tuple(u, (size_t)head.number)
                                     : unpack_list(u, (size_t)head.number);
    if (made && u->c.at != end) {
        Py_DECREF(made);
        return bad("a container has bytes behind its array");
    }
    u->c.end = outer_end;
    if (made && ext->code != PP_EXT_TUPLE) {
        PyObject *set = ext->code == PP_EXT_SET ? PySet_New(made) : PyFrozenSet_New(made);

        Py_DECREF(made);
        return set;
    }
    return made;
}

static PyObject *unpack_ext(struct unpacker *u, const struct pp_plain_head *head)
{
    const char *data = (const char *)u->c.at;

    if (!u->hook)
        return bad("an extension type where none may be");
    if (head->code >= PP_EXT_TUPLE && head->code <= PP_EXT_FROZENSET)
        return unpack_nested(u, head);
    u->c.at += head->number;
    return PyObject_CallFunction(u->hook, "iy#", head->code, data, (Py_ssize_t)head->number);
}

static PyObject *unpack_container(struct unpacker *u, const struct pp_plain_head *head)
{
    PyObject *made;

    if (u->depth >= PP_PLAIN_DEPTH)
        return bad("a value is nested too deep");
    if (Py_EnterRecursiveCall(" while unpacking a value") != 0)
        return NULL;
    u->depth++;
    if (head->kind == PP_KIND_ARRAY)
        made = unpack_list(u, (size_t)head->number);
    else if (head->kind == PP_KIND_MAP)
        made = unpack_dict(u, (size_t)head->number);
    else
        made = unpack_ext(u, head);
    u->depth--;
    Py_LeaveRecursiveCall();
    return made;
}

static PyObject *unpack_value(struct unpacker *u)
{
    struct pp_plain_head head;
    const char *why = pp_plain_read_head(&u->c, &head);
    const char *data = (const char *)u->c.at;

    if (why)
        return bad(why);
    switch (head.kind) {
    case PP_KIND_NIL:
        Py_RETURN_NONE;
    case PP_KIND_FALSE:
        Py_RETURN_FALSE;
    case PP_KIND_TRUE:
        Py_RETURN_TRUE;
    case PP_KIND_UNSIGNED:
        return PyLong_FromUnsignedLongLong(head.number);
    case PP_KIND_SIGNED:
        return PyLong_FromLongLong((int64_t)head.number);
    case PP_KIND_FLOAT32:
    case PP_KIND_FLOAT64:
        return unpack_float(&head);
    case PP_KIND_STR:
        u->c.at += head.number;
        return PyUnicode_DecodeUTF8(data, (Py_ssize_t)head.number, NULL);
    case PP_KIND_BIN:
        u->c.at += head.number;
        return PyBytes_FromStringAndSize(data, (Py_ssize_t)head.number);
    default:
        return unpack_container(u, &head);
    }
}

/* The value, unless bytes are left behind it. */
static PyObject *all_used(const struct unpacker *u, PyObject *value)
{
    if (value && u->c.at != u->c.end) {
        Py_DECREF(value);
        return bad("bytes are left behind the value");
    }
    return value;
}

PyObject *pp_plain_unpack(const uint8_t *bytes, size_t n, PyObject *hook,
                          struct pp_plain_keys *keys)
{
    struct unpacker u = {
        .c = {.at = bytes, .end = bytes + n, .items = n}, .hook = hook, .keys = keys};

    return all_used(&u, unpack_value(&u));
}

PyObject *pp_plain_unpack_tuple(const uint8_t *bytes, size_t n, PyObject *hook,
                                struct pp_plain_keys *keys)
{
    struct unpacker u = {
        .c = {.at = bytes, .end = bytes + n, .items = n}, .hook = hook, .keys = keys, .depth = 1};
    struct pp_plain_head head;
    const char *why = pp_plain_read_head(&u.c, &head);

    if (!why && head.kind != PP_KIND_ARRAY)
        why = "the arguments are no array";
    return why ? bad(why) : all_used(&u, unpack_tuple(&u, (size_t)head.number));
}
