/* filter.c - system call filters and what the kernel can do, for the host's Python. */
#include "binding/core.h"

#include "security/compile.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { FILTER_BYTES_MAX = 64 * 1024 };

/* What was borrowed from Python objects, which the arguments keep alive. */
struct plan_memory {
    struct pp_filter_rule *rules;
    const char **architectures;
};

static void plan_memory_free(struct plan_memory *memory)
{
    PyMem_Free(memory->rules);
    PyMem_Free((void *)memory->architectures);
}

/* (name, action, ((index, op, value, mask), ...)) */
static int read_rule(PyObject *tuple, struct pp_filter_rule *rule)
{
    PyObject *args;
    Py_ssize_t n;

    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "a rule is a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(tuple, "sIO!", &rule->name, &rule->action, &PyTuple_Type, &args))
        return -1;
    n = PyTuple_Size(args);
    if (n > PP_FILTER_ARGS) {
        PyErr_SetString(PyExc_ValueError, "a system call has six arguments");
        return -1;
    }
    rule->n_args = (size_t)n;
    for (Py_ssize_t i = 0; i < n; i++) {
        struct pp_filter_arg *arg = &rule->args[i];
        unsigned long long value, mask;
        int op;

        if (!PyArg_ParseTuple(PyTuple_GetItem(args, i), "IiKK", &arg->index, &op, &value, &mask))
            return -1;
        arg->op = (enum pp_filter_op)op;
        arg->value = value;
        arg->mask = mask;
    }
    return 0;
}

static int read_rules(PyObject *list, struct pp_filter_plan *plan, struct plan_memory *memory)
{
    Py_ssize_t n = PyList_Size(list);

    memory->rules = PyMem_Calloc((size_t)n + 1, sizeof *memory->rules);
    if (!memory->rules) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        if (read_rule(PyList_GetItem(list, i), &memory->rules[i]) < 0)
            return -1;
    plan->rules = memory->rules;
    plan->n_rules = (size_t)n;
    return 0;
}

static int read_architectures(PyObject *list, struct pp_filter_plan *plan,
                              struct plan_memory *memory)
{
    Py_ssize_t n = PyList_Size(list);

    memory->architectures = PyMem_Calloc((size_t)n + 1, sizeof *memory->architectures);
    if (!memory->architectures) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        struct pyproc_bytes text;

        if (pp_utf8(PyList_GetItem(list, i), &text) < 0)
            return -1;
        memory->architectures[i] = text.data; /* CPython ends it with a NUL */
    }
    plan->architectures = memory->architectures;
    plan->n_architectures = (size_t)n;
    return 0;
}

static PyObject *compile_plan(const struct pp_filter_plan *plan)
{
    struct pp_buffer out;
    PyObject *bytes = NULL;
    int r;

    pp_buffer_init(&out, FILTER_BYTES_MAX);
    r = pp_filter_compile(plan, &out);
    if (r == 0)
        bytes = PyBytes_FromStringAndSize((const char *)pp_buffer_bytes(&out),
                                          (Py_ssize_t)pp_buffer_size(&out));
    else if (r == -ENOMEM)
        (void)PyErr_NoMemory();
    else
        PyErr_SetString(PyExc_ValueError, pyproc_error_text());
    pp_buffer_deinit(&out);
    return bytes;
}

PyObject *pp_filter_py_compile(PyObject *module, PyObject *args)
{
    struct pp_filter_plan plan = {0};
    struct plan_memory memory = {0};
    PyObject *architectures, *rules, *bytes = NULL;

    (void)module;
    if (!PyArg_ParseTuple(args, "IIIO!O!", &plan.standard, &plan.foreign, &plan.newest,
                          &PyList_Type, &architectures, &PyList_Type, &rules))
        return NULL;
    if (read_architectures(architectures, &plan, &memory) == 0 &&
        read_rules(rules, &plan, &memory) == 0)
        bytes = compile_plan(&plan);
    plan_memory_free(&memory);
    return bytes;
}

PyObject *pp_filter_py_knows(PyObject *module, PyObject *name)
{
    struct pyproc_bytes text;

    (void)module;
    if (pp_utf8(name, &text) < 0)
        return NULL;
    return PyBool_FromLong(pp_filter_knows(text.data));
}

PyObject *pp_filter_py_name(PyObject *module, PyObject *number)
{
    long wanted = PyLong_AsLong(number);
    PyObject *text;
    char *name;

    (void)module;
    if (wanted == -1 && PyErr_Occurred())
        return NULL;
    name = pp_filter_name(wanted < 0 || wanted > INT_MAX ? -1 : (int)wanted);
    if (!name)
        return PyUnicode_FromFormat("system call %ld", wanted);
    text = PyUnicode_FromString(name);
    free(name);
    return text;
}

PyObject *pp_filter_py_namespaces(PyObject *module, PyObject *flags)
{
    long wanted = PyLong_AsLong(flags);

    (void)module;
    if (wanted == -1 && PyErr_Occurred())
        return NULL;
    return PyLong_FromLong(pp_sandbox_try_namespaces((int)wanted));
}

PyObject *pp_filter_py_tripwire(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromLong(pp_sandbox_try_tripwire());
}

PyObject *pp_filter_py_cgroup(PyObject *module, PyObject *wanted)
{
    const char *words;
    char *path = NULL, *found;
    PyObject *encoded = NULL;
    PyObject *result;
    int r;

    (void)module;
    if (wanted != Py_None) {
        if (!PyUnicode_FSConverter(wanted, &encoded))
            return NULL;
        path = PyBytes_AsString(encoded);
    }
    found = PyMem_Malloc(PYPROC_CGROUP_PATH);
    if (!found || (encoded && !path)) {
        Py_XDECREF(encoded);
        PyMem_Free(found);
        return found ? NULL : PyErr_NoMemory();
    }
    r = pyproc_cgroup_find(path, found, &words);
    Py_XDECREF(encoded);
    if (r == 0)
        result = Py_BuildValue("(isN)", 0, words, PyUnicode_DecodeFSDefault(found));
    else
        result = Py_BuildValue("(iss)", -r, words, "");
    PyMem_Free(found);
    return result;
}

PyObject *pp_filter_py_landlock(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromLong(pp_sandbox_landlock_abi());
}

PyObject *pp_filter_py_enter(PyObject *module, PyObject *args)
{
    const char *step;
    Py_buffer bytes;
    int all_threads, r;

    (void)module;
    if (!PyArg_ParseTuple(args, "y*p", &bytes, &all_threads))
        return NULL;
    r = pp_sandbox_enter(bytes.buf, (size_t)bytes.len, all_threads != 0, &step);
    PyBuffer_Release(&bytes);
    if (r == 0)
        Py_RETURN_NONE;
    errno = -r;
    return PyErr_SetFromErrnoWithFilename(PyExc_OSError, step);
}
