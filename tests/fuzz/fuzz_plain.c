/* fuzz_plain.c - hostile MessagePack: the scanner, the unpacker and the packer agree.
 *
 * Whatever bytes come: what unpacks also scans, with and without kept keys it is the same
 * value, and packed and unpacked again it is the same once more. Python is embedded; the
 * three parts of the binding are in this one file, so that the fuzzer sees their branches.
 */
#include "binding/plain.h"

#include "binding/plain_pack.c"
#include "binding/plain_read.c"
#include "binding/plain_unpack.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    do {                   \
        if (!(condition))  \
            abort();       \
    } while (0)

static struct pp_plain_keys keys;

/* NaN is not itself; repr() is the same for all of them. */
static bool same(PyObject *a, PyObject *b)
{
    PyObject *left = PyObject_Repr(a), *right = PyObject_Repr(b);
    bool equal = left && right && PyUnicode_Compare(left, right) == 0;

    if (!left || !right) { /* nested too deep for repr() */
        PyErr_Clear();
        equal = true;
    }
    Py_XDECREF(left);
    Py_XDECREF(right);
    return equal;
}

static void check_round(PyObject *value)
{
    struct pp_buffer out;
    PyObject *again;
    size_t size = 0;

    pp_buffer_init(&out, (size_t)1 << 30);
    REQUIRE(pp_plain_pack(value, SIZE_MAX, &out, &size) == 0);
    REQUIRE(size == pp_buffer_size(&out));
    REQUIRE(!pp_plain_scan(pp_buffer_bytes(&out), size, 1, 0));
    again = pp_plain_unpack(pp_buffer_bytes(&out), size, NULL, NULL);
    REQUIRE(again && same(value, again));
    Py_DECREF(again);
    pp_buffer_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    PyObject *value, *other;
    const char *why;

    if (!Py_IsInitialized())
        Py_InitializeEx(0);
    (void)pp_plain_scan(data, size, 3, PP_SCAN_RICH | PP_SCAN_FAILURE);
    why = pp_plain_scan(data, size, 1, 0);
    value = pp_plain_unpack(data, size, NULL, NULL);
    if (!value)
        PyErr_Clear();
    other = pp_plain_unpack(data, size, NULL, &keys);
    if (!other)
        PyErr_Clear();
    REQUIRE(!value == !other);
    if (value) {
        REQUIRE(!why && same(value, other));
        check_round(value);
    }
    Py_XDECREF(value);
    Py_XDECREF(other);
    return 0;
}
