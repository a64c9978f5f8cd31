/* pool_type.c - _core.Pool: the core's handle for Python. The handle never changes after
 * __new__; all that changes lives in the core under its lock. */
#include "binding/core.h"

static int call(void *pool, const struct pyproc_request *request, const struct pyproc_wait *wait,
                struct pyproc_reply *reply)
{
    return pyproc_call(pool, request, wait, reply);
}

static int submit(void *pool, const struct pyproc_request *request, const struct pyproc_wait *wait,
                  struct pyproc_queue *queue, void *token, uint64_t *idp,
                  struct pyproc_reply *reply)
{
    return pyproc_submit(pool, request, wait, queue, token, idp, reply);
}

static int cancel(void *pool, uint64_t id, int kill)
{
    return pyproc_cancel(pool, id, kill);
}

static int stream_more(void *pool, uint64_t id, uint64_t items, uint64_t bytes, int waits)
{
    return pyproc_stream_more(pool, id, items, bytes, waits);
}

static int stream_close(void *pool, uint64_t id)
{
    return pyproc_stream_close(pool, id);
}

static const struct pp_caller pool_caller = {call, submit, cancel, stream_more, stream_close};

int pp_gil_interrupted(void *token)
{
    struct pp_gil *gil = token;
    int r;

    PyEval_RestoreThread(gil->thread);
    r = PyErr_CheckSignals();
    gil->thread = PyEval_SaveThread();
    return r;
}

struct pyproc_pool *pp_pool_of(PyObject *self)
{
    return pp_caller_of(self)->handle;
}

size_t pp_pool_large(PyObject *self)
{
    size_t large = pp_caller_of(self)->large;

    return large ? large : SIZE_MAX;
}

static struct core_state *state_of(PyTypeObject *type)
{
    return PyType_GetModuleState(type);
}

static int open_pool(struct core_state *state, PyObject *dict, struct pyproc_pool **poolp,
                     size_t *largep)
{
    struct pp_config_memory memory;
    struct pyproc_config config;
    struct pyproc_reply reply;
    struct pp_gil gil;
    struct pyproc_wait wait = {pp_gil_interrupted, &gil};
    int r = pp_convert_config(dict, &config, &memory);

    if (r == 0) {
        *largep = config.buffer_threshold;
        gil.thread = PyEval_SaveThread();
        r = pyproc_pool_open(&config, &wait, &reply, poolp);
        PyEval_RestoreThread(gil.thread);
        if (r < 0) {
            pp_raise_errno(r);
        } else if (reply.end != PYPROC_END_VALUE) {
            pp_raise(state, &reply, NULL);
            r = -1;
        }
        pyproc_reply_clear(&reply);
    }
    pp_config_memory_free(&memory);
    return r < 0 ? -1 : 0;
}

static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct core_state *state = state_of(type);
    struct pyproc_pool *pool = NULL;
    struct pp_caller_object *self;
    size_t large = 0;

    if (PyTuple_Size(args) != 0 || !kwargs) {
        PyErr_SetString(PyExc_TypeError, "Pool() takes the configuration as keywords");
        return NULL;
    }
    if (open_pool(state, kwargs, &pool, &large) < 0)
        return NULL;
    self = (struct pp_caller_object *)(void *)PyType_GenericAlloc(type, 0);
    if (!self) {
        pyproc_pool_free(pool);
        return NULL;
    }
    self->handle = pool;
    self->caller = &pool_caller;
    self->large = large;
    return (PyObject *)self;
}

/* Never blocks: a pool that is still open is killed without waiting. */
static void pool_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    pyproc_pool_free(pp_pool_of(self));
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* How many calls of that function may share a worker. */
static PyObject *pool_shares(PyObject *self, PyObject *name)
{
    struct pyproc_bytes function;

    if (pp_utf8(name, &function) < 0)
        return NULL;
    return PyLong_FromUnsignedLong(pyproc_shares(pp_pool_of(self), function));
}

static PyObject *pool_close(PyObject *self, PyTypeObject *type, PyObject *const *args,
                            Py_ssize_t n_args, PyObject *names)
{
    struct pp_gil gil;
    struct pyproc_wait wait = {pp_gil_interrupted, &gil};
    int64_t timeout;
    int r;

    (void)type;
    if (!pp_count_is(n_args, 1, names, "close"))
        return NULL;
    if (pp_span(args[0], &timeout) < 0)
        return NULL;
    if (timeout == 1) /* the shortest span stands for none */
        timeout = 0;
    gil.thread = PyEval_SaveThread();
    r = pyproc_pool_close(pp_pool_of(self), timeout, &wait);
    PyEval_RestoreThread(gil.thread);
    if (r == PYPROC_END_INTERRUPTED && PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *pool_drain(PyObject *self, PyTypeObject *type, PyObject *const *args,
                            Py_ssize_t n_args, PyObject *names)
{
    struct pp_gil gil;
    struct pyproc_wait wait = {pp_gil_interrupted, &gil};
    int64_t timeout;
    int r;

    (void)type;
    if (!pp_count_is(n_args, 1, names, "drain") || pp_span(args[0], &timeout) < 0)
        return NULL;
    gil.thread = PyEval_SaveThread();
    r = pyproc_drain(pp_pool_of(self), timeout, &wait);
    PyEval_RestoreThread(gil.thread);
    if (r == PYPROC_END_INTERRUPTED && PyErr_Occurred())
        return NULL;
    return PyBool_FromLong(r == 0);
}

/* True when it is done, False when the time was over before. */
static PyObject *pool_reload(PyObject *self, PyTypeObject *type, PyObject *const *args,
                             Py_ssize_t n_args, PyObject *names)
{
    struct pp_gil gil;
    struct pyproc_wait wait = {pp_gil_interrupted, &gil};
    struct pyproc_reply reply;
    PyObject *result;
    int64_t timeout;
    int r;

    if (!pp_count_is(n_args, 1, names, "reload") || pp_span(args[0], &timeout) < 0)
        return NULL;
    gil.thread = PyEval_SaveThread();
    r = pyproc_reload(pp_pool_of(self), timeout, &wait, &reply);
    PyEval_RestoreThread(gil.thread);
    if (r == PYPROC_END_VALUE || r == PYPROC_END_RUN_TIMEOUT)
        result = PyBool_FromLong(r == PYPROC_END_VALUE);
    else
        result = pp_raise(state_of(type), &reply, NULL);
    pyproc_reply_clear(&reply);
    return result;
}

static PyObject *pool_resize(PyObject *self, PyTypeObject *type, PyObject *const *args,
                             Py_ssize_t n_args, PyObject *names)
{
    unsigned long least, most;
    int r;

    (void)type;
    if (!pp_count_is(n_args, 2, names, "resize"))
        return NULL;
    least = PyLong_AsUnsignedLong(args[0]);
    most = PyLong_AsUnsignedLong(args[1]);
    if (PyErr_Occurred())
        return NULL;
    Py_BEGIN_ALLOW_THREADS r =
        pyproc_resize(pp_pool_of(self), least > 1000000 ? 1000000 : (unsigned)least,
                      most > 1000000 ? 1000000 : (unsigned)most);
    Py_END_ALLOW_THREADS if (r < 0) return pp_raise_errno(r);
    Py_RETURN_NONE;
}

static PyObject *pool_hear(PyObject *self, PyTypeObject *type, PyObject *const *args,
                           Py_ssize_t n_args, PyObject *names)
{
    int64_t timeout;

    (void)type;
    if (!pp_count_is(n_args, 1, names, "hear") || pp_span(args[0], &timeout) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS pyproc_hear(pp_pool_of(self), timeout);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyObject *pool_dump(PyObject *self, PyTypeObject *type, PyObject *const *args,
                           Py_ssize_t n_args, PyObject *names)
{
    PyObject *text = NULL;
    int64_t timeout;
    unsigned long worker;
    size_t n = 0;
    char *buffer;
    int r;

    (void)type;
    if (!pp_count_is(n_args, 2, names, "dump") || pp_span(args[1], &timeout) < 0)
        return NULL;
    worker = PyLong_AsUnsignedLong(args[0]);
    if (PyErr_Occurred())
        return NULL;
    buffer = PyMem_Malloc(PYPROC_DUMP_MAX);
    if (!buffer)
        return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS r =
        pyproc_dump(pp_pool_of(self), worker > UINT32_MAX ? UINT32_MAX : (uint32_t)worker, timeout,
                    buffer, PYPROC_DUMP_MAX, &n);
    Py_END_ALLOW_THREADS text =
        r < 0 ? pp_raise_errno(r) : PyUnicode_DecodeUTF8(buffer, (Py_ssize_t)n, "backslashreplace");
    PyMem_Free(buffer);
    return text;
}

static PyObject *pool_stats(PyObject *self, PyObject *unused)
{
    struct pyproc_stats stats;
    PyObject *dict = PyDict_New();

    (void)unused;
    if (!dict)
        return NULL;
    Py_BEGIN_ALLOW_THREADS pyproc_stats(pp_pool_of(self), &stats);
    Py_END_ALLOW_THREADS
#define PUT(name)                                                   \
    if (dict) {                                                     \
        PyObject *value = PyLong_FromUnsignedLongLong(stats.name);  \
        if (!value || PyDict_SetItemString(dict, #name, value) < 0) \
            Py_CLEAR(dict);                                         \
        Py_XDECREF(value);                                          \
    }
        PYPROC_STATS_FIELDS(PUT)
#undef PUT
            return dict;
}

/* (counts, sum in seconds) */
static PyObject *histogram_of(const struct pyproc_histogram *from)
{
    PyObject *counts = PyTuple_New(PYPROC_BUCKETS);

    for (int i = 0; counts && i < PYPROC_BUCKETS; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(from->counts[i]);

        if (!count || PyTuple_SetItem(counts, i, count) < 0)
            Py_CLEAR(counts);
    }
    return counts ? Py_BuildValue("Nd", counts, (double)from->sum_ns / 1e9) : NULL;
}

/* (bounds in seconds, wait, run) */
static PyObject *pool_latency(PyObject *self, PyObject *unused)
{
    struct pyproc_latency latency;
    PyObject *bounds, *wait, *run;

    (void)unused;
    pyproc_latency(pp_pool_of(self), &latency);
    bounds = PyTuple_New(PYPROC_BUCKETS - 1);
    for (int i = 0; bounds && i < PYPROC_BUCKETS - 1; i++) {
        PyObject *bound = PyFloat_FromDouble((double)latency.bounds_ns[i] / 1e9);

        if (!bound || PyTuple_SetItem(bounds, i, bound) < 0)
            Py_CLEAR(bounds);
    }
    wait = bounds ? histogram_of(&latency.wait) : NULL;
    run = wait ? histogram_of(&latency.run) : NULL;
    if (run)
        return Py_BuildValue("NNN", bounds, wait, run);
    Py_XDECREF(bounds);
    Py_XDECREF(wait);
    return NULL;
}

enum { WORKERS_MAX = 8192 };

/* [(id, pid, state, tasks done, age, start method, start reason, generation, rss)] */
static PyObject *pool_workers(PyObject *self, PyObject *unused)
{
    struct pyproc_worker_info *infos = PyMem_Malloc(WORKERS_MAX * sizeof *infos);
    PyObject *list;
    size_t n;

    (void)unused;
    if (!infos)
        return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS n = pyproc_workers(pp_pool_of(self), infos, WORKERS_MAX);
    Py_END_ALLOW_THREADS list = PyList_New(0);
    for (size_t i = 0; list && i < n && i < WORKERS_MAX; i++) {
        PyObject *tuple = Py_BuildValue(
            "(IisKdssIKII)", (unsigned)infos[i].id, (int)infos[i].pid, infos[i].state,
            (unsigned long long)infos[i].tasks_done, infos[i].age, infos[i].start_method,
            infos[i].start_reason, (unsigned)infos[i].generation, (unsigned long long)infos[i].rss,
            (unsigned)infos[i].keys, (unsigned)infos[i].actors);

        if (!tuple || PyList_Append(list, tuple) < 0)
            Py_CLEAR(list);
        Py_XDECREF(tuple);
    }
    PyMem_Free(infos);
    return list;
}

void pp_pool_add_function(void *token, struct pyproc_bytes name, struct pyproc_bytes signature)
{
    PyObject **dictp = token;
    PyObject *key = *dictp ? pp_text(name) : NULL;
    PyObject *value = key ? pp_text(signature) : NULL;

    if (*dictp && (!value || PyDict_SetItem(*dictp, key, value) < 0))
        Py_CLEAR(*dictp);
    Py_XDECREF(key);
    Py_XDECREF(value);
}

static PyObject *pool_functions(PyObject *self, PyObject *unused)
{
    PyObject *dict = PyDict_New();

    (void)unused;
    pyproc_functions(pp_pool_of(self), pp_pool_add_function, &dict);
    return dict;
}

static PyObject *pool_key_drop(PyObject *self, PyObject *key)
{
    unsigned long long number = PyLong_AsUnsignedLongLong(key);

    if (PyErr_Occurred())
        return NULL;
    pyproc_key_drop(pp_pool_of(self), number);
    Py_RETURN_NONE;
}

static PyObject *pool_keeper_pid(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(pyproc_keeper_pid(pp_pool_of(self)));
}

static PyObject *pool_before_fork(PyObject *self, PyObject *unused)
{
    (void)unused;
    pyproc_pool_before_fork(pp_pool_of(self));
    Py_RETURN_NONE;
}

static PyObject *pool_after_fork(PyObject *self, PyObject *unused)
{
    (void)unused;
    pyproc_pool_after_fork(pp_pool_of(self));
    Py_RETURN_NONE;
}

#define FAST(function) (PyCFunction)(void (*)(void))(function)
#define FAST_FLAGS (METH_METHOD | METH_FASTCALL | METH_KEYWORDS)

static PyMethodDef pool_methods[] = {
    {"call_values", FAST(pp_pool_call_values), FAST_FLAGS,
     PyDoc_STR("call_values(function, args, kwargs, run_timeout, queue_timeout, options)\n"
               "-> the value;\n"
               "(codec, bytes) when Python has to decode it; NotImplemented, and nothing done,\n"
               "when Python has to encode the arguments. Timeouts as in call().")},
    {"call", FAST(pp_pool_call), FAST_FLAGS,
     PyDoc_STR("call(function, payload, codec, keywords, run_timeout, queue_timeout, options)\n"
               "-> as call_values(). A timeout is seconds, None for no limit, False for the\n"
               "pool's own. options: a dict (priority, deadline), or None.")},
    {"submit", FAST(pp_pool_submit), FAST_FLAGS,
     PyDoc_STR("submit(function, payload, codec, keywords, run_timeout, queue_timeout, options,\n"
               "queue, token, items, wait_for_room) -> the call's id")},
    {"cancel", FAST(pp_pool_cancel), FAST_FLAGS,
     PyDoc_STR("cancel(id, kill) -> 0 ended or ending, 1 running, 2 unknown")},
    {"stream_more", FAST(pp_pool_stream_more), FAST_FLAGS,
     PyDoc_STR("stream_more(id, items, bytes, waits) -> whether the stream goes on")},
    {"shares", pool_shares, METH_O,
     PyDoc_STR("shares(function) -> how many of its calls may share a worker")},
    {"stream_close", pp_pool_stream_close, METH_O,
     PyDoc_STR("stream_close(id) -> whether the stream was still open")},
    {"close", FAST(pool_close), FAST_FLAGS, PyDoc_STR("close(timeout)")},
    {"drain", FAST(pool_drain), FAST_FLAGS,
     PyDoc_STR("drain(timeout) -> whether all admitted calls have ended")},
    {"reload", FAST(pool_reload), FAST_FLAGS,
     PyDoc_STR("reload(timeout) -> True, or False when the time was over before")},
    {"resize", FAST(pool_resize), FAST_FLAGS, PyDoc_STR("resize(min_workers, max_workers)")},
    {"hear", FAST(pool_hear), FAST_FLAGS,
     PyDoc_STR("hear(timeout): waits until what idle workers wrote is in the queue")},
    {"dump", FAST(pool_dump), FAST_FLAGS,
     PyDoc_STR("dump(worker, timeout) -> the Python stacks of a worker that lives on")},
    {"stats", pool_stats, METH_NOARGS, PyDoc_STR("stats() -> dict of counters")},
    {"latency", pool_latency, METH_NOARGS,
     PyDoc_STR("latency() -> (bounds in seconds, wait, run), each histogram (counts, sum)")},
    {"workers", pool_workers, METH_NOARGS,
     PyDoc_STR("workers() -> list of (id, pid, state, tasks done, age in seconds, start\n"
               "method, start reason, generation, bytes resident, keys, actors)")},
    {"key_drop", pool_key_drop, METH_O,
     PyDoc_STR("key_drop(key, /): nobody will call with this key again.")},
    {"functions", pool_functions, METH_NOARGS,
     PyDoc_STR("functions() -> dict of name to signature")},
    {"keeper_pid", pool_keeper_pid, METH_NOARGS, PyDoc_STR("keeper_pid() -> int")},
    {"memory", FAST(pp_pool_memory), FAST_FLAGS,
     PyDoc_STR("memory(size, /) -> Memory for a call, perhaps used before")},
    {"before_fork", pool_before_fork, METH_NOARGS,
     PyDoc_STR("before_fork(): memory that is in use now is not used again.")},
    {"after_fork", pool_after_fork, METH_NOARGS,
     PyDoc_STR("In a forked child, once: closes the copied descriptors.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot pool_slots[] = {
    {Py_tp_new, pool_new},
    {Py_tp_dealloc, pool_dealloc},
    {Py_tp_methods, pool_methods},
    {Py_tp_doc, (void *)PyDoc_STR("A pool's handle; any thread may use it.")},
    {0, NULL},
};

PyType_Spec pp_pool_spec = {
    .name = "pyproc._core.Pool",
    .basicsize = (int)sizeof(struct pp_caller_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = pool_slots,
};
