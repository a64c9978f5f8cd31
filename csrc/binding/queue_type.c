/* queue_type.c - _core.Queue: where the ends of queued calls, output and logs arrive. */
#include "binding/core.h"

struct queue_object {
    PyObject_HEAD struct pyproc_queue *queue; /* a reference; never changes after __new__ */
    long pending; /* calls that are to end here and have not been delivered; atomic access */
    int handing;  /* what was taken last may not be delivered yet; atomic access */
    long taken;   /* those that the last take() has given away; atomic access */
};

void pp_queue_expect(PyObject *object)
{
    struct queue_object *self = (struct queue_object *)(void *)object;

    (void)__atomic_fetch_add(&self->pending, 1, __ATOMIC_RELAXED);
}

/* Whoever comes for more has delivered what it had. */
static void delivered(struct queue_object *self)
{
    long taken = __atomic_exchange_n(&self->taken, 0, __ATOMIC_RELAXED);

    (void)__atomic_fetch_sub(&self->pending, taken, __ATOMIC_RELAXED);
    __atomic_store_n(&self->handing, 0, __ATOMIC_RELEASE);
}

struct pyproc_queue *pp_queue_of(PyObject *object)
{
    PyObject *name = PyType_GetName(Py_TYPE(object));
    int is_queue = name && PyUnicode_CompareWithASCIIString(name, "Queue") == 0;

    Py_XDECREF(name);
    if (!is_queue) {
        PyErr_SetString(PyExc_TypeError, "events: a _core.Queue is needed");
        return NULL;
    }
    return ((struct queue_object *)(void *)object)->queue;
}

static PyObject *queue_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct queue_object *self;
    int r;

    (void)args;
    (void)kwargs;
    self = (struct queue_object *)(void *)PyType_GenericAlloc(type, 0);
    if (!self)
        return NULL;
    r = pyproc_queue_new(&self->queue);
    if (r < 0) {
        Py_DECREF(self);
        return pp_raise_errno(r);
    }
    return (PyObject *)self;
}

/* (0, token, exception or None, codec, payload, count) */
static PyObject *call_tuple(struct core_state *state, struct pyproc_item *item)
{
    const struct pyproc_reply *reply = &item->reply;
    PyObject *exception = NULL;
    PyObject *payload;

    if (reply->end != PYPROC_END_VALUE) {
        PyObject *function = pp_text(item->text);

        exception = function ? pp_exception(state, reply, function) : NULL;
        Py_XDECREF(function);
        if (!exception) { /* the end must arrive all the same */
            PyObject *type, *traceback;

            PyErr_Fetch(&type, &exception, &traceback);
            PyErr_NormalizeException(&type, &exception, &traceback);
            Py_XDECREF(type);
            Py_XDECREF(traceback);
        }
    }
    payload = pp_memory_payload(state, reply);
    if (!payload && !exception) { /* no room for it here: that is how the call ends */
        PyObject *type, *traceback;

        PyErr_Fetch(&type, &exception, &traceback);
        PyErr_NormalizeException(&type, &exception, &traceback);
        Py_XDECREF(type);
        Py_XDECREF(traceback);
    }
    if (!payload) {
        PyErr_Clear();
        payload = PyBytes_FromStringAndSize("", 0);
    }
    if (!payload) {
        Py_XDECREF(exception);
        return NULL;
    }
    if (!exception) {
        exception = Py_None;
        Py_INCREF(exception);
    }
    return Py_BuildValue("(iONiNI)", (int)item->kind, (PyObject *)item->token, exception,
                         reply->codec, payload, (unsigned)reply->count);
}

/* (1, worker id, stream, text) */
static PyObject *output_tuple(const struct pyproc_item *item)
{
    return Py_BuildValue("(iIiN)", (int)item->kind, (unsigned)item->worker_id, item->stream,
                         pp_text(item->text));
}

/* (2, worker id, call id, level, created, logger, message, exception, extra, dropped) */
static PyObject *log_tuple(const struct pyproc_item *item)
{
    return Py_BuildValue("(iIKidNNNNK)", (int)item->kind, (unsigned)item->worker_id,
                         (unsigned long long)item->call_id, item->level, item->created,
                         pp_text(item->logger), pp_text(item->text), pp_text(item->exception),
                         pp_bytes_object(item->extra), (unsigned long long)item->dropped);
}

/* (grade, call id, function, number, arguments, how many before), or None */
static PyObject *violation_tuple(const struct pyproc_violation *violation)
{
    const uint64_t *args = violation->arguments;

    if (violation->grade == PYPROC_GRADE_NONE)
        Py_RETURN_NONE;
    return Py_BuildValue("(iKNL(KKKKKK)K)", (int)violation->grade,
                         (unsigned long long)violation->call_id, pp_text(violation->function),
                         (long long)violation->number, (unsigned long long)args[0],
                         (unsigned long long)args[1], (unsigned long long)args[2],
                         (unsigned long long)args[3], (unsigned long long)args[4],
                         (unsigned long long)args[5], (unsigned long long)violation->before);
}

/* (3, kind, worker id, pid, created, detail, violation) */
static PyObject *event_tuple(const struct pyproc_item *item)
{
    return Py_BuildValue("(iNIidNN)", (int)item->kind, pp_text(item->text),
                         (unsigned)item->worker_id, (int)item->pid, item->created,
                         pp_text(item->extra), violation_tuple(&item->violation));
}

/* (4, token, codec, payload, count) */
static PyObject *stream_tuple(const struct pyproc_item *item)
{
    return Py_BuildValue("(iOiy#I)", (int)item->kind, (PyObject *)item->token, item->reply.codec,
                         (const char *)item->reply.payload, (Py_ssize_t)item->reply.size,
                         (unsigned)item->reply.count);
}

/* (5, token, done, total or None, message) */
static PyObject *progress_tuple(const struct pyproc_item *item)
{
    PyObject *total = item->has_total ? PyFloat_FromDouble(item->total) : Py_None;

    if (!item->has_total)
        Py_INCREF(total);
    return Py_BuildValue("(iOdNN)", (int)item->kind, (PyObject *)item->token, item->done, total,
                         pp_text(item->text));
}

static PyObject *item_tuple(struct core_state *state, struct pyproc_item *item)
{
    if (item->kind == PYPROC_ITEM_STREAM)
        return stream_tuple(item);
    if (item->kind == PYPROC_ITEM_PROGRESS)
        return progress_tuple(item);
    if (item->kind == PYPROC_ITEM_CALL)
        return call_tuple(state, item);
    if (item->kind == PYPROC_ITEM_EVENT)
        return event_tuple(item);
    return item->kind == PYPROC_ITEM_OUTPUT ? output_tuple(item) : log_tuple(item);
}

static PyObject *items_list(struct core_state *state, struct queue_object *self,
                            struct pyproc_item *item)
{
    PyObject *list = PyList_New(0);
    long calls = 0;

    while (item) {
        struct pyproc_item *next = item->next;
        PyObject *tuple = list ? item_tuple(state, item) : NULL;

        if (!tuple || PyList_Append(list, tuple) < 0)
            Py_CLEAR(list);
        Py_XDECREF(tuple);
        calls += item->kind == PYPROC_ITEM_CALL;
        if (item->kind == PYPROC_ITEM_CALL)
            Py_XDECREF((PyObject *)item->token);
        pyproc_item_free(item);
        item = next;
    }
    (void)__atomic_fetch_add(&self->taken, calls, __ATOMIC_RELAXED);
    return list;
}

static PyObject *queue_take(PyObject *self, PyTypeObject *type, PyObject *const *args,
                            Py_ssize_t n_args, PyObject *names)
{
    struct core_state *state = PyType_GetModuleState(type);
    struct queue_object *queue = (struct queue_object *)(void *)self;

    (void)args;
    (void)names;
    if (n_args != 0) {
        PyErr_SetString(PyExc_TypeError, "take() takes no arguments");
        return NULL;
    }
    delivered(queue);
    __atomic_store_n(&queue->handing, 1, __ATOMIC_SEQ_CST);
    return items_list(state, queue, pyproc_queue_take(queue->queue));
}

static PyObject *queue_wait(PyObject *self, PyTypeObject *type, PyObject *const *args,
                            Py_ssize_t n_args, PyObject *names)
{
    struct queue_object *queue = (struct queue_object *)(void *)self;
    int r;

    (void)args;
    (void)names;
    if (n_args != 0) {
        PyErr_SetString(PyExc_TypeError, "wait() takes no arguments");
        return NULL;
    }
    delivered(queue);
    do {
        Py_BEGIN_ALLOW_THREADS r = pyproc_queue_wait(queue->queue, -1);
        Py_END_ALLOW_THREADS if (r == 2 && PyErr_CheckSignals() < 0) return NULL;
    } while (r == 2);
    if (r == 1)
        Py_RETURN_NONE;
    return queue_take(self, type, NULL, 0, NULL);
}

static PyObject *queue_poll(PyObject *self, PyTypeObject *type, PyObject *const *args,
                            Py_ssize_t n_args, PyObject *names)
{
    struct queue_object *queue = (struct queue_object *)(void *)self;
    long milliseconds;

    (void)names;
    if (n_args != 1) {
        PyErr_SetString(PyExc_TypeError, "poll() takes a number of milliseconds");
        return NULL;
    }
    milliseconds = PyLong_AsLong(args[0]);
    if (milliseconds == -1 && PyErr_Occurred())
        return NULL;
    Py_BEGIN_ALLOW_THREADS(void) pyproc_queue_wait(queue->queue, (int)milliseconds);
    Py_END_ALLOW_THREADS if (PyErr_CheckSignals() < 0) return NULL;
    return queue_take(self, type, NULL, 0, NULL);
}

static PyObject *queue_fileno(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(pyproc_queue_fd(((struct queue_object *)(void *)self)->queue));
}

static PyObject *queue_pending(PyObject *self, PyObject *unused)
{
    struct queue_object *queue = (struct queue_object *)(void *)self;

    (void)unused;
    return PyLong_FromLong(__atomic_load_n(&queue->pending, __ATOMIC_RELAXED));
}

/* In this order: what no longer waits was taken after `handing` was set. */
static PyObject *queue_is_idle(PyObject *self, PyObject *unused)
{
    struct queue_object *queue = (struct queue_object *)(void *)self;

    (void)unused;
    return PyBool_FromLong(pyproc_queue_wait(queue->queue, 0) != 0 &&
                           !__atomic_load_n(&queue->handing, __ATOMIC_SEQ_CST));
}

static PyObject *queue_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    pyproc_queue_close(((struct queue_object *)(void *)self)->queue);
    Py_RETURN_NONE;
}

static void drop_tokens(struct pyproc_queue *queue)
{
    struct pyproc_item *item = pyproc_queue_take(queue);

    while (item) {
        struct pyproc_item *next = item->next;

        if (item->kind == PYPROC_ITEM_CALL)
            Py_XDECREF((PyObject *)item->token);
        pyproc_item_free(item);
        item = next;
    }
}

static void queue_dealloc(PyObject *self)
{
    struct queue_object *queue = (struct queue_object *)(void *)self;
    PyTypeObject *type = Py_TYPE(self);

    if (queue->queue) {
        drop_tokens(queue->queue);
        pyproc_queue_unref(queue->queue);
    }
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMethodDef queue_methods[] = {
    {"take", (PyCFunction)(void (*)(void))queue_take, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("take() -> list of items that wait, oldest first, without waiting.")},
    {"wait", (PyCFunction)(void (*)(void))queue_wait, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("wait() -> list of items, or None when the queue is closed and empty.")},
    {"poll", (PyCFunction)(void (*)(void))queue_poll, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("poll(milliseconds) -> list of items, perhaps empty when a signal came or the\n"
               "time is over.")},
    {"fileno", queue_fileno, METH_NOARGS, PyDoc_STR("Readable when items wait.")},
    {"pending", queue_pending, METH_NOARGS,
     PyDoc_STR("pending() -> calls that are to end here and have not been delivered; what was\n"
               "taken counts as delivered when somebody comes for more.")},
    {"is_idle", queue_is_idle, METH_NOARGS,
     PyDoc_STR("is_idle() -> whether all that was put has been taken and delivered")},
    {"close", queue_close, METH_NOARGS, PyDoc_STR("Wakes every waiter, for good.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_new, queue_new},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_methods, queue_methods},
    {Py_tp_doc, (void *)PyDoc_STR("A completion queue; any thread may use it.")},
    {0, NULL},
};

PyType_Spec pp_queue_spec = {
    .name = "pyproc._core.Queue",
    .basicsize = (int)sizeof(struct queue_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = queue_slots,
};
