/* clean.h - Python.h, with lengths that are Py_ssize_t in every version.
 *
 * Up to 3.12 the macro PY_SSIZE_T_CLEAN made calls with a `#` in their format go to other
 * functions. The headers of 3.13 dropped that; a limited-API module that they build would
 * then call the old ones of a 3.11 or 3.12 interpreter, which refuse. The other functions
 * are part of the stable ABI for good (Misc/stable_abi.toml), so they are named here.
 */
#ifndef PP_BINDING_CLEAN_H
#define PP_BINDING_CLEAN_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(Py_LIMITED_API) && PY_VERSION_HEX >= 0x030d0000

PyAPI_FUNC(int) _PyArg_ParseTuple_SizeT(PyObject *, const char *, ...);
PyAPI_FUNC(PyObject *) _Py_BuildValue_SizeT(const char *, ...);
PyAPI_FUNC(PyObject *) _PyObject_CallFunction_SizeT(PyObject *, const char *, ...);
PyAPI_FUNC(PyObject *) _PyObject_CallMethod_SizeT(PyObject *, const char *, const char *, ...);

#define PyArg_ParseTuple _PyArg_ParseTuple_SizeT
#define Py_BuildValue _Py_BuildValue_SizeT
#define PyObject_CallFunction _PyObject_CallFunction_SizeT
#define PyObject_CallMethod _PyObject_CallMethod_SizeT

#endif

#endif
