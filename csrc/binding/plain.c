/* plain.c - the packer, the unpacker and the scanner as Python functions.
 *
 * Both modules put them into their tables; they need no module state.
 */
#include "binding/plain.h"

#include <errno.h>

/* More fits into no frame; the tighter limits are the pool's. */
#define PACKED_MAX ((size_t)0x50590000 - 1)

static bool count_is(Py_ssize_t n, Py_ssize_t least, Py_ssize_t most)
{
    if (n >= least && n <= most)
        return true;
    PyErr_Format(PyExc_TypeError, "expected %zd to %zd arguments, got %zd", least, most, n);
    return false;
}

static PyObject *raise_pack(int r, size_t size)
{
    if (r == PP_PLAIN_TOO_LARGE)
        PyErr_Format(PyExc_OverflowError, "the packed value has %zu bytes, at most %zu can be sent",
                     size, PACKED_MAX);
    else if (!PyErr_Occurred())
        (void)PyErr_NoMemory();
    return NULL;
}

static PyObject *as_bytes(const struct pp_buffer *buffer)
{
    return PyBytes_FromStringAndSize((const char *)pp_buffer_bytes(buffer),
                                     (Py_ssize_t)pp_buffer_size(buffer));
}

/* From which size on bytes are for the hook: None stands for never. 0: a bad number. */
static size_t read_large(PyObject *const *args, Py_ssize_t n_args, Py_ssize_t at)
{
    size_t large;

    if (at >= n_args || args[at] == Py_None)
        return SIZE_MAX;
    large = PyLong_AsSize_t(args[at]);
    if (PyErr_Occurred())
        return 0;
    if (large == 0)
        PyErr_SetString(PyExc_ValueError, "large: 1 byte or more is needed");
    return large;
}

PyObject *pp_plain_py_pack(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    struct pp_buffer buffer;
    PyObject *answer;
    size_t size = 0, large;
    int r;

    (void)module;
    if (!count_is(n_args, 1, 2) || (large = read_large(args, n_args, 1)) == 0)
        return NULL;
    pp_buffer_init(&buffer, PACKED_MAX);
    r = pp_plain_pack(args[0], large, &buffer, &size);
    if (r == PP_PLAIN_NOT)
        answer = Py_NewRef(Py_None);
    else
        answer = r == 0 ? as_bytes(&buffer) : raise_pack(r, size);
    pp_buffer_deinit(&buffer);
    return answer;
}

PyObject *pp_plain_py_pack_rich(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    struct pp_buffer buffer;
    PyObject *bytes, *answer = NULL;
    size_t size = 0, large;
    bool rich;
    int r;

    (void)module;
    if (!count_is(n_args, 2, 3) || (large = read_large(args, n_args, 2)) == 0)
        return NULL;
    pp_buffer_init(&buffer, PACKED_MAX);
    r = pp_plain_pack_rich(args[0], args[1], large, &buffer, &size, &rich);
    bytes = r == 0 ? as_bytes(&buffer) : raise_pack(r, size);
    pp_buffer_deinit(&buffer);
    if (bytes) {
        answer = PyTuple_Pack(2, bytes, rich ? Py_True : Py_False);
        Py_DECREF(bytes);
    }
    return answer;
}

static bool lend_bytes(PyObject *object, const uint8_t **bytesp, size_t *np)
{
    char *data;
    Py_ssize_t n;

    if (PyBytes_AsStringAndSize(object, &data, &n) < 0)
        return false;
    *bytesp = (const uint8_t *)data;
    *np = (size_t)n;
    return true;
}

PyObject *pp_plain_py_unpack(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    const uint8_t *bytes;
    size_t n;
    PyObject *hook;

    (void)module;
    if (!count_is(n_args, 1, 2) || !lend_bytes(args[0], &bytes, &n))
        return NULL;
    hook = n_args == 2 && args[1] != Py_None ? args[1] : NULL;
    return pp_plain_unpack(bytes, n, hook, NULL);
}

PyObject *pp_plain_py_scan(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    const uint8_t *bytes;
    const char *why;
    size_t n, count;
    unsigned long flags;

    (void)module;
    if (!count_is(n_args, 3, 3) || !lend_bytes(args[0], &bytes, &n))
        return NULL;
    count = PyLong_AsSize_t(args[1]);
    flags = PyErr_Occurred() ? 0 : PyLong_AsUnsignedLong(args[2]);
    if (PyErr_Occurred())
        return NULL;
    why = pp_plain_scan(bytes, n, count, (unsigned)flags);
    if (why) {
        PyErr_SetString(PyExc_ValueError, why);
        return NULL;
    }
    Py_RETURN_NONE;
}
