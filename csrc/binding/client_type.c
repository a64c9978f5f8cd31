/* client_type.c - _core.Client: the other end of a named socket, called like a pool. */
#include "binding/core.h"

static struct pyproc_client *client_of(PyObject *self)
{
    return pp_caller_of(self)->handle;
}

static int call(void *client, const struct pyproc_request *request, const struct pyproc_wait *wait,
                struct pyproc_reply *reply)
{
    return pyproc_client_call(client, request, wait, reply);
}

static int submit(void *client, const struct pyproc_request *request,
                  const struct pyproc_wait *wait, struct pyproc_queue *queue, void *token,
                  uint64_t *idp, struct pyproc_reply *reply)
{
    return pyproc_client_submit(client, request, wait, queue, token, idp, reply);
}

static int cancel(void *client, uint64_t id, int kill)
{
    return pyproc_client_cancel(client, id, kill);
}

static int stream_more(void *client, uint64_t id, uint64_t items, uint64_t bytes, int waits)
{
    return pyproc_client_stream_more(client, id, items, bytes, waits);
}

static int stream_close(void *client, uint64_t id)
{
    return pyproc_client_stream_close(client, id);
}

static const struct pp_caller client_caller = {call, submit, cancel, stream_more, stream_close};

static int open_client(struct core_state *state, struct pyproc_client_config *config,
                       struct pyproc_client **clientp)
{
    struct pyproc_reply reply;
    struct pp_gil gil;
    struct pyproc_wait wait = {pp_gil_interrupted, &gil};
    int r;

    gil.thread = PyEval_SaveThread();
    r = pyproc_connect(config, &wait, &reply, clientp);
    PyEval_RestoreThread(gil.thread);
    if (r < 0) {
        pp_raise_errno(r);
    } else if (reply.end != PYPROC_END_VALUE) {
        pp_raise(state, &reply, NULL);
        r = -1;
    }
    pyproc_reply_clear(&reply);
    return r;
}

/* path, key id or None, secret or None, key file or None, server's uid or None, seconds, bytes */
static PyObject *client_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"path",       "key_id",  "secret",    "key_file",
                            "server_uid", "timeout", "max_frame", NULL};
    struct pyproc_client_config config;
    struct pyproc_client *client = NULL;
    struct pp_caller_object *self;
    PyObject *path = NULL, *file = NULL, *uid = Py_None, *timeout = Py_None;
    const char *secret = NULL;
    Py_ssize_t n_secret = 0, max_frame = 16 << 20;
    int r = -1;

    pyproc_client_config_init(&config);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|zz#O&OOn", names, PyUnicode_FSConverter,
                                     &path, &config.key.id, &secret, &n_secret,
                                     PyUnicode_FSConverter, &file, &uid, &timeout, &max_frame)) {
        Py_XDECREF(path);
        Py_XDECREF(file);
        return NULL;
    }
    config.path = PyBytes_AsString(path);
    config.key.secret = (struct pyproc_bytes){secret, (size_t)n_secret};
    config.key.file = file ? PyBytes_AsString(file) : NULL;
    config.max_frame = (size_t)max_frame;
    if (uid != Py_None)
        config.server_uid = (uint32_t)PyLong_AsUnsignedLong(uid);
    if (!PyErr_Occurred() && (timeout == Py_None || pp_span(timeout, &config.timeout) == 0))
        r = open_client(PyType_GetModuleState(type), &config, &client);
    Py_DECREF(path);
    Py_XDECREF(file);
    if (r < 0)
        return NULL;
    self = (struct pp_caller_object *)(void *)PyType_GenericAlloc(type, 0);
    if (!self) {
        pyproc_client_free(client);
        return NULL;
    }
    self->handle = client;
    self->caller = &client_caller;
    return (PyObject *)self;
}

static void client_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct pyproc_client *client = client_of(self);

    Py_BEGIN_ALLOW_THREADS pyproc_client_free(client);
    Py_END_ALLOW_THREADS((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *client_close(PyObject *self, PyObject *seconds)
{
    struct pp_gil gil;
    struct pyproc_wait wait = {pp_gil_interrupted, &gil};
    int64_t timeout;

    if (pp_span(seconds, &timeout) < 0)
        return NULL;
    gil.thread = PyEval_SaveThread();
    pyproc_client_close(client_of(self), timeout, &wait);
    PyEval_RestoreThread(gil.thread);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *client_functions(PyObject *self, PyObject *unused)
{
    PyObject *dict = PyDict_New();

    (void)unused;
    if (dict)
        pyproc_client_functions(client_of(self), pp_pool_add_function, &dict);
    return dict;
}

static PyObject *client_about(PyObject *self, PyObject *unused)
{
    struct pyproc_client_info info;

    (void)unused;
    pyproc_client_about(client_of(self), &info);
    return Py_BuildValue(
        "{s:s,s:I,s:K,s:N,s:N,s:i,s:I}", "role", info.role, "max_in_flight",
        (unsigned)info.max_in_flight, "max_payload", (unsigned long long)info.max_payload,
        "sees_all", PyBool_FromLong(info.sees_all), "connected", PyBool_FromLong(info.connected),
        "server_pid", (int)info.server_pid, "server_uid", (unsigned)info.server_uid);
}

static PyObject *client_after_fork(PyObject *self, PyObject *unused)
{
    (void)unused;
    pyproc_client_after_fork(client_of(self));
    Py_RETURN_NONE;
}

#define FAST(function) (PyCFunction)(void (*)(void))(function)
#define FAST_FLAGS (METH_METHOD | METH_FASTCALL | METH_KEYWORDS)

static PyMethodDef client_methods[] = {
    {"call_values", FAST(pp_pool_call_values), FAST_FLAGS, PyDoc_STR("As Pool.call_values.")},
    {"call", FAST(pp_pool_call), FAST_FLAGS, PyDoc_STR("As Pool.call.")},
    {"submit", FAST(pp_pool_submit), FAST_FLAGS, PyDoc_STR("As Pool.submit.")},
    {"cancel", FAST(pp_pool_cancel), FAST_FLAGS, PyDoc_STR("As Pool.cancel.")},
    {"stream_more", FAST(pp_pool_stream_more), FAST_FLAGS, PyDoc_STR("As Pool.stream_more.")},
    {"stream_close", pp_pool_stream_close, METH_O, PyDoc_STR("As Pool.stream_close.")},
    {"close", client_close, METH_O, PyDoc_STR("close(timeout)")},
    {"functions", client_functions, METH_NOARGS, PyDoc_STR("functions() -> dict")},
    {"about", client_about, METH_NOARGS, PyDoc_STR("about() -> what the server has said")},
    {"after_fork", client_after_fork, METH_NOARGS,
     PyDoc_STR("In a forked child, once: closes the copied descriptor.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot client_slots[] = {
    {Py_tp_new, client_new},
    {Py_tp_dealloc, client_dealloc},
    {Py_tp_methods, client_methods},
    {Py_tp_doc, (void *)PyDoc_STR("A client of a served pool; any thread may use it.")},
    {0, NULL},
};

PyType_Spec pp_client_spec = {
    .name = "pyproc._core.Client",
    .basicsize = (int)sizeof(struct pp_caller_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = client_slots,
};
