/* raise.c - ends to exceptions. What an exception looks like is pyproc/errors.py's
 * business; here its facts are handed over. */
#include "binding/core.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

PyObject *pp_raise_errno(int code)
{
    const char *text = pyproc_error_text();
    char reason[64];

    if (!*text)
        text = strerror_r(-code, reason, sizeof reason); /* GNU's: answers the words */
    if (code == -ENOMEM)
        return PyErr_NoMemory();
    if (code == -EINVAL) {
        PyErr_SetString(PyExc_ValueError, text);
        return NULL;
    }
    PyObject *args = Py_BuildValue("(is)", -code, text);

    if (args) {
        PyErr_SetObject(PyExc_OSError, args);
        Py_DECREF(args);
    }
    return NULL;
}

/* Takes `value`. */
static int put(PyObject *dict, const char *key, PyObject *value)
{
    int r = value ? PyDict_SetItemString(dict, key, value) : -1;

    Py_XDECREF(value);
    return r;
}

static PyObject *text_or_none(const char *text)
{
    if (!text)
        Py_RETURN_NONE;
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

static PyObject *rusage(const struct pyproc_death *death)
{
    return Py_BuildValue("{s:d,s:d,s:L}", "user", (double)death->user_us / 1e6, "system",
                         (double)death->system_us / 1e6, "max_rss",
                         (long long)death->max_rss_kib * 1024);
}

static int put_refused(PyObject *fields, const struct pyproc_death *death)
{
    const uint64_t *args = death->refused_arguments;

    if (death->refused < 0)
        return 0;
    if (put(fields, "number", PyLong_FromLongLong(death->refused)) < 0)
        return -1;
    return put(fields, "args",
               Py_BuildValue("(KKKKKK)", (unsigned long long)args[0], (unsigned long long)args[1],
                             (unsigned long long)args[2], (unsigned long long)args[3],
                             (unsigned long long)args[4], (unsigned long long)args[5]));
}

static int put_death(PyObject *fields, const struct pyproc_death *death)
{
    if (death->signal && put(fields, "signal", PyLong_FromLong(death->signal)) < 0)
        return -1;
    if (death->exit_code >= 0 && put(fields, "exit_code", PyLong_FromLong(death->exit_code)) < 0)
        return -1;
    if (death->python_stack.size && put(fields, "python_stack", pp_text(death->python_stack)) < 0)
        return -1;
    if (put(fields, "pid", PyLong_FromLong(death->pid)) < 0 ||
        put(fields, "worker_id", PyLong_FromUnsignedLong(death->worker_id)) < 0 ||
        put(fields, "cause", text_or_none(death->cause)) < 0 ||
        put(fields, "age", PyFloat_FromDouble(death->age)) < 0 ||
        put(fields, "tasks_done", PyLong_FromUnsignedLongLong(death->tasks_done)) < 0 ||
        put(fields, "in_flight", PyLong_FromUnsignedLong(death->in_flight)) < 0 ||
        put(fields, "python_stack_missing", text_or_none(death->python_stack_missing)) < 0 ||
        put(fields, "stderr_tail", pp_text(death->stderr_tail)) < 0 ||
        put(fields, "rusage", rusage(death)) < 0 || put_refused(fields, death) < 0)
        return -1;
    return put(fields, "peak_rss", PyLong_FromLongLong((long long)death->max_rss_kib * 1024));
}

static PyObject *notes_tuple(const struct pyproc_failure_node *node)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)node->n_notes);

    for (size_t i = 0; tuple && i < node->n_notes; i++) {
        PyObject *note = pp_text(node->notes[i]);

        if (!note || PyTuple_SetItem(tuple, (Py_ssize_t)i, note) < 0)
            Py_CLEAR(tuple);
    }
    return tuple;
}

static PyObject *node_tuple(const struct pyproc_failure_node *node)
{
    return Py_BuildValue("(iINNNNNNN)", node->relation, (unsigned)node->parent,
                         pp_text(node->type_name), pp_text(node->message), pp_text(node->traceback),
                         pp_bytes_object(node->arguments), pp_bytes_object(node->attributes),
                         notes_tuple(node), PyBool_FromLong(node->suppress_context));
}

static PyObject *node_list(const struct pyproc_failure *failure)
{
    PyObject *list = PyList_New((Py_ssize_t)failure->n_nodes);

    for (size_t i = 0; list && i < failure->n_nodes; i++) {
        PyObject *node = node_tuple(&failure->nodes[i]);

        if (!node || PyList_SetItem(list, (Py_ssize_t)i, node) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *look_up(PyObject **cache, const char *name)
{
    if (!*cache) {
        PyObject *module = PyImport_ImportModule("pyproc.errors");

        if (module) {
            *cache = PyObject_GetAttrString(module, name);
            Py_DECREF(module);
        }
    }
    return *cache;
}

static PyObject *from_failure(struct core_state *state, const struct pyproc_reply *reply,
                              PyObject *function)
{
    PyObject *make = look_up(&state->from_failure, "from_failure");

    if (!make)
        return NULL;
    return PyObject_CallFunction(make, "iNNOK", reply->failure->kind, node_list(reply->failure),
                                 pp_text(reply->failure->path), function,
                                 (unsigned long long)reply->call_id);
}

/* The core's sentence, or what the application raised in one line. */
static PyObject *summary(const struct pyproc_reply *reply)
{
    const struct pyproc_failure *failure = reply->failure;
    PyObject *type, *message, *text = NULL;

    if (reply->text || !failure || failure->n_nodes == 0)
        return text_or_none(reply->text);
    type = pp_text(failure->nodes[0].type_name);
    message = pp_text(failure->nodes[0].message);
    if (type && message)
        text = PyUnicode_FromFormat("%.200U: %.1000U", type, message);
    Py_XDECREF(type);
    Py_XDECREF(message);
    return text;
}

/* Bytes and a word, seconds, or how many. */
static int put_limit(PyObject *fields, const struct pyproc_reply *reply)
{
    bool counts = reply->end == PYPROC_END_OUTPUT || reply->end == PYPROC_END_PROCESSES ||
                  reply->end == PYPROC_END_THREADS;

    if (reply->end == PYPROC_END_CPU)
        return put(fields, "limit", PyFloat_FromDouble((double)reply->limit / 1e9)) < 0
                   ? -1
                   : put(fields, "used", PyFloat_FromDouble((double)reply->used / 1e9));
    if (counts && put(fields, "used", PyLong_FromUnsignedLongLong(reply->used)) < 0)
        return -1;
    if (!counts && reply->end != PYPROC_END_MEMORY && reply->end != PYPROC_END_RATE)
        return reply->how ? put(fields, "how", text_or_none(reply->how)) : 0;
    if (reply->end == PYPROC_END_MEMORY && reply->used &&
        put(fields, "peak", PyLong_FromUnsignedLongLong(reply->used)) < 0)
        return -1;
    if (put(fields, "limit", PyLong_FromUnsignedLongLong(reply->limit)) < 0)
        return -1;
    return put(fields, "how", text_or_none(reply->how));
}

static int fill(PyObject *fields, const struct pyproc_reply *reply, PyObject *function)
{
    if (put(fields, "call_id", PyLong_FromUnsignedLongLong(reply->call_id)) < 0 ||
        put(fields, "text", summary(reply)) < 0)
        return -1;
    if (function && PyDict_SetItemString(fields, "function", function) < 0)
        return -1;
    if (put_limit(fields, reply) < 0)
        return -1;
    return reply->death ? put_death(fields, reply->death) : 0;
}

/* A start that the application itself explained carries both: the failure becomes the
 * cause of the end. */
static PyObject *with_cause(PyObject *exception, PyObject *cause)
{
    if (!cause) {
        Py_XDECREF(exception);
        return NULL;
    }
    if (exception)
        PyException_SetCause(exception, cause);
    else
        Py_DECREF(cause);
    return exception;
}

PyObject *pp_exception(struct core_state *state, const struct pyproc_reply *reply,
                       PyObject *function)
{
    PyObject *name = function ? function : PyUnicode_FromString("");
    PyObject *fields = PyDict_New();
    PyObject *exception = NULL;

    if (function)
        Py_INCREF(function);
    if (reply->end == PYPROC_END_FAILURE) {
        exception = from_failure(state, reply, name);
    } else if (fields && fill(fields, reply, function) == 0) {
        PyObject *make = look_up(&state->from_end, "from_end");

        if (make)
            exception = PyObject_CallFunction(make, "iO", (int)reply->end, fields);
        if (exception && reply->failure)
            exception = with_cause(exception, from_failure(state, reply, name));
    }
    Py_XDECREF(name);
    Py_XDECREF(fields);
    return exception;
}

PyObject *pp_raise(struct core_state *state, const struct pyproc_reply *reply, PyObject *function)
{
    PyObject *exception;

    if (reply->end == PYPROC_END_INTERRUPTED && PyErr_Occurred())
        return NULL; /* what the signal's handler raised */
    exception = pp_exception(state, reply, function);
    if (exception) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    }
    return NULL;
}
