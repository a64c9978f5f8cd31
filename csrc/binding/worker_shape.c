/* worker_shape.c - values against shapes, without a Python call. */
#include "binding/worker_shape.h"

static unsigned accept_of(PyObject *value)
{
    if (PyUnicode_CheckExact(value))
        return PP_ACCEPT_STR;
    if (PyLong_CheckExact(value))
        return PP_ACCEPT_INT;
    if (PyDict_CheckExact(value))
        return PP_ACCEPT_DICT;
    if (PyList_CheckExact(value))
        return PP_ACCEPT_LIST;
    if (PyFloat_CheckExact(value))
        return PP_ACCEPT_FLOAT;
    if (value == Py_None)
        return PP_ACCEPT_NONE;
    if (PyBytes_CheckExact(value))
        return PP_ACCEPT_BYTES;
    if (PyBool_Check(value))
        return PP_ACCEPT_BOOL;
    return PyTuple_CheckExact(value) ? PP_ACCEPT_TUPLE : PP_ACCEPT_OTHER;
}

/* A nested place is later than the one that names it: so a walk ends. */
static bool is_later(uint16_t place, size_t at, size_t n)
{
    return place == 0 || (place > at && place < n);
}

bool pp_shapes_read(PyObject *bytes, size_t least, const struct pp_shape **shapesp)
{
    const char *data = PyBytes_AsString(bytes);
    const struct pp_shape *shapes = (const struct pp_shape *)(const void *)data;
    size_t size = (size_t)PyBytes_Size(bytes);
    size_t n = size / sizeof *shapes;

    /* The data of a bytes object lies at a multiple of its header's alignment. */
    if (size % sizeof *shapes != 0 || n < least || (uintptr_t)data % _Alignof(struct pp_shape))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_later(shapes[i].item, i, n) || !is_later(shapes[i].key, i, n) ||
            !is_later(shapes[i].value, i, n))
            return false;
    }
    *shapesp = shapes;
    return true;
}

static bool items_fit(const struct pp_shape *shapes, const struct pp_shape *item, PyObject *list)
{
    Py_ssize_t n = PyList_Size(list);

    for (Py_ssize_t i = 0; i < n; i++) {
        if (!pp_shape_fits(shapes, item, PyList_GetItem(list, i)))
            return false;
    }
    return true;
}

static bool pairs_fit(const struct pp_shape *shapes, const struct pp_shape *shape, PyObject *dict)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;

    while (PyDict_Next(dict, &at, &key, &value)) {
        if (shape->key && !pp_shape_fits(shapes, &shapes[shape->key], key))
            return false;
        if (shape->value && !pp_shape_fits(shapes, &shapes[shape->value], value))
            return false;
    }
    return true;
}

bool pp_shape_fits(const struct pp_shape *shapes, const struct pp_shape *shape, PyObject *value)
{
    unsigned accept = accept_of(value);

    if (!(shape->accept & accept))
        return false;
    if (accept == PP_ACCEPT_LIST && shape->item)
        return items_fit(shapes, &shapes[shape->item], value);
    if (accept == PP_ACCEPT_DICT && (shape->key || shape->value))
        return pairs_fit(shapes, shape, value);
    return true;
}
