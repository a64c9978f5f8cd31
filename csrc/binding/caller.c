/* caller.c - queued calls for Python, of a pool or of a client: what differs between the two stands
 * behind `struct pp_caller`. */
#include "binding/core.h"

static int submit(PyObject *self, PyObject *const *args, struct pyproc_request *request,
                  uint64_t *idp, struct pyproc_reply *reply)
{
    struct pyproc_queue *queue = pp_queue_of(args[7]);
    PyObject *token = args[8];
    struct pp_gil gil;
    struct pyproc_wait wait = {pp_gil_interrupted, &gil};
    int r;

    if (!queue)
        return -1;
    request->items = (uint32_t)PyLong_AsUnsignedLong(args[9]);
    if (PyErr_Occurred())
        return -1;
    request->wait_for_room = PyObject_IsTrue(args[10]);
    Py_INCREF(token); /* the queue's, until it comes back */
    gil.thread = PyEval_SaveThread();
    r = pp_caller_of(self)->caller->submit(pp_caller_of(self)->handle, request, &wait, queue, token,
                                           idp, reply);
    PyEval_RestoreThread(gil.thread);
    if (r == 0)
        pp_queue_expect(args[7]);
    else
        Py_DECREF(token);
    return r;
}

PyObject *pp_pool_submit(PyObject *self, PyTypeObject *type, PyObject *const *args,
                         Py_ssize_t n_args, PyObject *names)
{
    struct pp_request_memory memory;
    struct pyproc_request request;
    struct pyproc_reply reply;
    PyObject *result = NULL;
    uint64_t id;

    if (!pp_count_is(n_args, 11, names, "submit"))
        return NULL;
    if (pp_convert_request(args, &request, &memory) == 0) {
        int r = submit(self, args, &request, &id, &reply);

        if (r == 0) {
            result = PyLong_FromUnsignedLongLong(id);
        } else if (r > 0) {
            (void)pp_raise(PyType_GetModuleState(type), &reply, args[0]);
            pyproc_reply_clear(&reply);
        }
    }
    PyMem_Free(memory.many);
    return result;
}

PyObject *pp_pool_cancel(PyObject *self, PyTypeObject *type, PyObject *const *args,
                         Py_ssize_t n_args, PyObject *names)
{
    const struct pp_caller *caller = pp_caller_of(self)->caller;
    unsigned long long id;
    int kill, r;

    (void)type;
    if (!pp_count_is(n_args, 2, names, "cancel"))
        return NULL;
    id = PyLong_AsUnsignedLongLong(args[0]);
    kill = PyObject_IsTrue(args[1]);
    if (PyErr_Occurred())
        return NULL;
    Py_BEGIN_ALLOW_THREADS r = caller->cancel(pp_caller_of(self)->handle, id, kill);
    Py_END_ALLOW_THREADS return PyLong_FromLong(r);
}

PyObject *pp_pool_stream_more(PyObject *self, PyTypeObject *type, PyObject *const *args,
                              Py_ssize_t n_args, PyObject *names)
{
    const struct pp_caller *caller = pp_caller_of(self)->caller;
    unsigned long long numbers[3];
    int waits, r;

    (void)type;
    if (!pp_count_is(n_args, 4, names, "stream_more"))
        return NULL;
    for (size_t i = 0; i < 3; i++)
        numbers[i] = PyLong_AsUnsignedLongLong(args[i]);
    waits = PyObject_IsTrue(args[3]);
    if (PyErr_Occurred())
        return NULL;
    Py_BEGIN_ALLOW_THREADS r =
        caller->stream_more(pp_caller_of(self)->handle, numbers[0], numbers[1], numbers[2], waits);
    Py_END_ALLOW_THREADS return PyBool_FromLong(r == 0);
}

PyObject *pp_pool_stream_close(PyObject *self, PyObject *id)
{
    const struct pp_caller *caller = pp_caller_of(self)->caller;
    unsigned long long number = PyLong_AsUnsignedLongLong(id);
    int r;

    if (PyErr_Occurred())
        return NULL;
    Py_BEGIN_ALLOW_THREADS r = caller->stream_close(pp_caller_of(self)->handle, number);
    Py_END_ALLOW_THREADS return PyBool_FromLong(r == 0);
}
