/* server_type.c - _core.Server: a named socket in front of pools. */
#include "binding/core.h"

struct server_object {
    PyObject_HEAD struct pyproc_server *server; /* owned; NULL once closed */
    PyObject *pools;                            /* a tuple: they outlive the server */
};

static struct server_object *object_of(PyObject *self)
{
    return (struct server_object *)(void *)self;
}

/* The server; NULL with an exception once it is closed. */
static struct pyproc_server *server_of(PyObject *self)
{
    struct pyproc_server *server = object_of(self)->server;

    if (!server)
        PyErr_SetString(PyExc_ValueError, "the server is closed");
    return server;
}

/* A number of the configuration, when it is there. */
static int number(PyObject *dict, const char *key, uint64_t *valuep)
{
    PyObject *value = PyDict_GetItemString(dict, key); /* borrowed */

    if (!value || value == Py_None)
        return 0;
    *valuep = PyLong_AsUnsignedLongLong(value);
    return *valuep == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
}

static int span(PyObject *dict, const char *key, int64_t *nsp)
{
    PyObject *value = PyDict_GetItemString(dict, key);

    return value ? pp_span(value, nsp) : 0;
}

static int convert_numbers(PyObject *dict, struct pyproc_server_config *config)
{
    uint64_t mode = config->mode, directory_mode = config->directory_mode, owner = UINT32_MAX,
             group = UINT32_MAX, clients = config->max_clients, in_flight = config->max_in_flight,
             frame = config->max_frame, client_bytes = config->max_client_bytes,
             bytes = config->max_bytes, listening = UINT64_MAX, tells = 0, shows = 0, priority = 0;

    if (number(dict, "mode", &mode) < 0 || number(dict, "directory_mode", &directory_mode) < 0 ||
        number(dict, "owner", &owner) < 0 || number(dict, "group", &group) < 0 ||
        number(dict, "max_clients", &clients) < 0 ||
        number(dict, "max_in_flight", &in_flight) < 0 || number(dict, "max_frame", &frame) < 0 ||
        number(dict, "max_client_bytes", &client_bytes) < 0 ||
        number(dict, "max_bytes", &bytes) < 0 || number(dict, "listening", &listening) < 0 ||
        number(dict, "tells_allowed", &tells) < 0 || number(dict, "sees_all", &shows) < 0 ||
        number(dict, "max_priority", &priority) < 0 ||
        span(dict, "handshake_timeout", &config->handshake_timeout) < 0 ||
        span(dict, "idle_timeout", &config->idle_timeout) < 0)
        return -1;
    config->mode = (unsigned)mode;
    config->directory_mode = (unsigned)directory_mode;
    config->owner = (uint32_t)owner;
    config->group = (uint32_t)group;
    config->max_clients = clients > 1000000 ? 1000000 : (unsigned)clients;
    config->max_in_flight = in_flight > 1000000 ? 1000000 : (unsigned)in_flight;
    config->max_frame = (size_t)frame;
    config->max_client_bytes = (size_t)client_bytes;
    config->max_bytes = (size_t)bytes;
    config->listening = listening > INT32_MAX ? -1 : (int)listening;
    config->tells_allowed = tells != 0;
    config->sees_all = shows != 0;
    config->max_priority = priority > PYPROC_PRIORITY_MAX ? PYPROC_PRIORITY_MAX : (int)priority;
    return 0;
}

static int start(struct pyproc_server_config *config, PyObject *dict, PyObject *pools,
                 PyObject *policy, struct pyproc_server **serverp)
{
    struct pyproc_pool *handles[PP_TENANTS_MAX];
    PyObject *path = PyDict_GetItemString(dict, "path");
    PyObject *events = PyDict_GetItemString(dict, "events"), *bytes = NULL;
    struct pp_policy_memory memory;
    Py_ssize_t n = PyTuple_Size(pools);
    int r = -1;

    if (n < 1 || n > PP_TENANTS_MAX) {
        PyErr_Format(PyExc_ValueError, "pools: from 1 to %d are possible", PP_TENANTS_MAX);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        handles[i] = pp_pool_of(PyTuple_GetItem(pools, i));
    if (path && path != Py_None && !PyUnicode_FSConverter(path, &bytes))
        return -1;
    config->pools = handles;
    config->n_pools = (size_t)n;
    config->path = bytes ? PyBytes_AsString(bytes) : NULL;
    if (events && events != Py_None)
        config->events = pp_queue_of(events);
    if (!PyErr_Occurred() && pp_policy_convert(policy, &memory) == 0) {
        config->policy = &memory.policy;
        Py_BEGIN_ALLOW_THREADS r = pyproc_serve(config, serverp);
        Py_END_ALLOW_THREADS if (r < 0) pp_raise_errno(r);
        pp_policy_release(&memory);
    }
    /* What was lent from this frame. */
    config->pools = NULL;
    config->policy = NULL;
    Py_XDECREF(bytes);
    return r;
}

static int check_pools(PyObject *pools, PyTypeObject *type)
{
    struct core_state *state = PyType_GetModuleState(type);

    if (!pools || !PyTuple_Check(pools)) {
        PyErr_SetString(PyExc_TypeError, "pools: a tuple is needed");
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyTuple_Size(pools); i++)
        if (!PyObject_TypeCheck(PyTuple_GetItem(pools, i), state->pool_type)) {
            PyErr_SetString(PyExc_TypeError, "pools: a tuple of _core.Pool is needed");
            return -1;
        }
    return 0;
}

static PyObject *server_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *pools = kwargs ? PyDict_GetItemString(kwargs, "pools") : NULL;
    PyObject *policy = kwargs ? PyDict_GetItemString(kwargs, "policy") : NULL;
    struct pyproc_server_config config;
    struct pyproc_server *server = NULL;
    struct server_object *self;

    pyproc_server_config_init(&config);
    if (PyTuple_Size(args) != 0 || !policy) {
        PyErr_SetString(PyExc_TypeError, "Server() takes the configuration as keywords");
        return NULL;
    }
    if (check_pools(pools, type) < 0 || convert_numbers(kwargs, &config) < 0 ||
        start(&config, kwargs, pools, policy, &server) < 0)
        return NULL;
    self = (struct server_object *)(void *)PyType_GenericAlloc(type, 0);
    if (!self) {
        Py_BEGIN_ALLOW_THREADS pyproc_server_free(server);
        Py_END_ALLOW_THREADS return NULL;
    }
    self->server = server;
    self->pools = Py_NewRef(pools);
    return (PyObject *)self;
}

/* Its pools are freed after it; the loop thread never wants the GIL. */
static void let_go(struct server_object *self)
{
    struct pyproc_server *server = self->server;

    self->server = NULL;
    Py_BEGIN_ALLOW_THREADS pyproc_server_free(server);
    Py_END_ALLOW_THREADS Py_CLEAR(self->pools);
}

static void server_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    let_go(object_of(self));
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *server_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    let_go(object_of(self));
    Py_RETURN_NONE;
}

static PyObject *server_update(PyObject *self, PyObject *policy)
{
    struct pyproc_server *server = server_of(self);
    struct pp_policy_memory memory;
    int r;

    if (!server || pp_policy_convert(policy, &memory) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS r = pyproc_server_update(server, &memory.policy);
    Py_END_ALLOW_THREADS pp_policy_release(&memory);
    if (r < 0)
        return pp_raise_errno(r);
    Py_RETURN_NONE;
}

static PyObject *server_drain(PyObject *self, PyObject *seconds)
{
    struct pyproc_server *server = server_of(self);
    struct pp_gil gil;
    struct pyproc_wait wait = {pp_gil_interrupted, &gil};
    int64_t timeout;
    int r;

    if (!server || pp_span(seconds, &timeout) < 0)
        return NULL;
    gil.thread = PyEval_SaveThread();
    r = pyproc_server_drain(server, timeout, &wait);
    PyEval_RestoreThread(gil.thread);
    if (r == PYPROC_END_INTERRUPTED && PyErr_Occurred())
        return NULL;
    return PyBool_FromLong(r == 0);
}

static PyObject *server_stats(PyObject *self, PyObject *unused)
{
    struct pyproc_server *server = server_of(self);
    struct pyproc_server_stats stats;
    PyObject *dict = server ? PyDict_New() : NULL;

    (void)unused;
    if (!dict)
        return NULL;
    pyproc_server_stats(server, &stats);
#define PUT(name)                                                   \
    if (dict) {                                                     \
        PyObject *value = PyLong_FromUnsignedLongLong(stats.name);  \
        if (!value || PyDict_SetItemString(dict, #name, value) < 0) \
            Py_CLEAR(dict);                                         \
        Py_XDECREF(value);                                          \
    }
    PYPROC_SERVER_FIELDS(PUT)
#undef PUT
    return dict;
}

static void add_usage(void *token, const char *role, const char *function, uint64_t calls,
                      int64_t last)
{
    PyObject **listp = token;
    PyObject *tuple =
        *listp ? Py_BuildValue("(ssKL)", role, function, (unsigned long long)calls, (long long)last)
               : NULL;

    if (*listp && (!tuple || PyList_Append(*listp, tuple) < 0))
        Py_CLEAR(*listp);
    Py_XDECREF(tuple);
}

static PyObject *server_usage(PyObject *self, PyObject *unused)
{
    struct pyproc_server *server = server_of(self);
    PyObject *list = server ? PyList_New(0) : NULL;

    (void)unused;
    if (list)
        pyproc_server_usage(server, add_usage, &list);
    return list;
}

static PyObject *server_after_fork(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (object_of(self)->server)
        pyproc_server_after_fork(object_of(self)->server);
    Py_RETURN_NONE;
}

static PyMethodDef server_methods[] = {
    {"update", server_update, METH_O,
     PyDoc_STR("update(policy): puts another policy in force, all at once")},
    {"drain", server_drain, METH_O,
     PyDoc_STR("drain(timeout) -> whether all calls under way have ended")},
    {"close", server_close, METH_NOARGS, PyDoc_STR("close(): drops whoever is connected")},
    {"stats", server_stats, METH_NOARGS, PyDoc_STR("stats() -> dict of counters")},
    {"usage", server_usage, METH_NOARGS,
     PyDoc_STR("usage() -> list of (role, function, calls, last), seconds since the epoch")},
    {"after_fork", server_after_fork, METH_NOARGS,
     PyDoc_STR("In a forked child, once: closes the copied descriptors.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot server_slots[] = {
    {Py_tp_new, server_new},
    {Py_tp_dealloc, server_dealloc},
    {Py_tp_methods, server_methods},
    {Py_tp_doc, (void *)PyDoc_STR("A named socket that serves pools; any thread may use it.")},
    {0, NULL},
};

PyType_Spec pp_server_spec = {
    .name = "pyproc._core.Server",
    .basicsize = (int)sizeof(struct server_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = server_slots,
};
