/* worker_module.c - pyproc._worker: the worker's end for Python.
 *
 * A module and one type, against the 3.11 limited API whatever Python builds it, so that
 * one file serves every interpreter a pool may start.
 */
#include "binding/worker_type.h"

#include "base/crc32c.h"
#include "base/error.h"

#include <errno.h>

struct module_state {
    PyObject *worker_type, *map_type;
};

static PyObject *raise_errno(int r)
{
    PyObject *args;

    if (PyErr_Occurred())
        return NULL; /* a signal handler's, which ended the loop */
    args = Py_BuildValue("is", -r, pp_fail_text());
    if (args) {
        PyErr_SetObject(PyExc_OSError, args);
        Py_DECREF(args);
    }
    return NULL;
}

static PyObject *text_of(const struct pp_bytes *bytes)
{
    return PyUnicode_DecodeUTF8((const char *)bytes->data, (Py_ssize_t)bytes->size, NULL);
}

int pp_worker_is_ready(const struct pp_worker_object *self)
{
    if (self->worker)
        return 1;
    PyErr_SetString(PyExc_ValueError, "this worker has no descriptors");
    return 0;
}

/* ---- hello ---- */

static PyObject *source_of(const struct pp_function_source *source)
{
    PyObject *parts[] = {text_of(&source->name), text_of(&source->module),
                         text_of(&source->qualname), text_of(&source->file),
                         PyBytes_FromStringAndSize((const char *)source->pickled.data,
                                                   (Py_ssize_t)source->pickled.size)};
    PyObject *tuple = NULL;

    if (parts[0] && parts[1] && parts[2] && parts[3] && parts[4])
        tuple = PyTuple_Pack(5, parts[0], parts[1], parts[2], parts[3], parts[4]);
    for (size_t i = 0; i < 5; i++)
        Py_XDECREF(parts[i]);
    return tuple;
}

static PyObject *sources_of(const struct pp_message_hello *hello)
{
    PyObject *list = PyList_New((Py_ssize_t)hello->n_functions);

    for (size_t i = 0; list && i < hello->n_functions; i++) {
        PyObject *item = source_of(&hello->functions[i]);

        if (!item)
            Py_CLEAR(list);
        else
            (void)PyList_SetItem(list, (Py_ssize_t)i, item);
    }
    return list;
}

static PyObject *path_of(const struct pp_message_hello *hello)
{
    PyObject *list = PyList_New((Py_ssize_t)hello->n_path);

    for (size_t i = 0; list && i < hello->n_path; i++) {
        PyObject *item = text_of(&hello->path[i]);

        if (!item)
            Py_CLEAR(list);
        else
            (void)PyList_SetItem(list, (Py_ssize_t)i, item);
    }
    return list;
}

static PyObject *worker_hello(PyObject *object, PyObject *unused)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    const struct pp_message_hello *hello;
    int r;

    (void)unused;
    if (!pp_worker_is_ready(self))
        return NULL;
    r = pp_worker_hello(self->worker, &pp_worker_python_calls, self, &hello);
    if (r < 0)
        return raise_errno(r);
    self->large = (size_t)pp_worker_buffer_threshold(self->worker);
    if (self->large == 0 || pp_worker_max_memory(self->worker) == 0)
        self->large = SIZE_MAX;
    pp_buffer_deinit(&self->out); /* a forked worker says hello again */
    pp_buffer_init(&self->out, (size_t)pp_worker_max_result(self->worker));
    return Py_BuildValue(
        "IKKiNNNNNNN", (unsigned)hello->version, (unsigned long long)hello->max_frame,
        (unsigned long long)hello->max_result, (int)hello->target_kind, text_of(&hello->target),
        text_of(&hello->file), sources_of(hello), path_of(hello), text_of(&hello->prefix),
        text_of(&hello->base_prefix), text_of(&hello->python_version));
}

/* ---- answers to hello ---- */

static int read_info(PyObject *pair, struct pp_function_info *info)
{
    const char *name, *signature;
    Py_ssize_t n_name, n_signature;
    unsigned long long wait;
    unsigned batch;
    int kind;

    if (!PyArg_ParseTuple(pair, "y#y#iIK", &name, &n_name, &signature, &n_signature, &kind, &batch,
                          &wait))
        return -1;
    info->batch = batch;
    info->batch_wait_us = wait;
    info->kind = (enum pp_function_kind)kind;
    info->name = (struct pp_bytes){(const uint8_t *)name, (size_t)n_name};
    info->signature = (struct pp_bytes){(const uint8_t *)signature, (size_t)n_signature};
    return 0;
}

static int send_ready(struct pp_worker_object *self, struct pp_message_hello_reply *reply,
                      PyObject *functions, struct pp_function_info *infos)
{
    struct pp_message message = {.kind = PP_MESSAGE_HELLO_REPLY};
    int r;

    reply->version = PP_PROTOCOL_VERSION;
    reply->n_functions = (size_t)PyList_Size(functions);
    for (size_t i = 0; i < reply->n_functions; i++) {
        if (read_info(PyList_GetItem(functions, (Py_ssize_t)i), &infos[i]) < 0)
            return -1;
    }
    reply->functions = infos;
    message.hello_reply = *reply;
    r = pp_worker_reply(self->worker, &message);
    if (r < 0)
        (void)raise_errno(r);
    return r;
}

static PyObject *worker_ready(PyObject *object, PyObject *args)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    struct pp_message_hello_reply reply = {0};
    struct pp_bytes *fields[] = {&reply.python_version, &reply.prefix, &reply.base_prefix};
    const char *texts[3];
    Py_ssize_t sizes[3];
    struct pp_function_info *infos;
    PyObject *functions;
    int r;

    if (!pp_worker_is_ready(self) ||
        !PyArg_ParseTuple(args, "O!y#y#y#", &PyList_Type, &functions, &texts[0], &sizes[0],
                          &texts[1], &sizes[1], &texts[2], &sizes[2]))
        return NULL;
    for (size_t i = 0; i < 3; i++)
        *fields[i] = (struct pp_bytes){(const uint8_t *)texts[i], (size_t)sizes[i]};
    infos = PyMem_Calloc((size_t)PyList_Size(functions) + 1, sizeof *infos);
    if (!infos)
        return PyErr_NoMemory();
    r = send_ready(self, &reply, functions, infos);
    PyMem_Free(infos);
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *worker_closes(PyObject *object, PyObject *unused)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;

    (void)unused;
    return pp_worker_is_ready(self) ? PyBool_FromLong(pp_worker_closes(self->worker)) : NULL;
}

static PyObject *worker_confine(PyObject *object, PyObject *unused)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    int r;

    (void)unused;
    if (!pp_worker_is_ready(self))
        return NULL;
    r = pp_worker_confine(self->worker);
    return r < 0 ? raise_errno(r) : PyBool_FromLong(r == PP_WORKER_CONFINED);
}

static PyObject *worker_fail(PyObject *object, PyObject *described)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    struct pp_message message = {0};
    int r;

    if (!pp_worker_is_ready(self) || pp_worker_fill_failure(self, described, &message) < 0)
        return NULL;
    r = pp_worker_reply(self->worker, &message);
    pp_worker_release(self);
    return r < 0 ? raise_errno(r) : Py_NewRef(Py_None);
}

/* ---- serving ---- */

static PyObject *worker_serve(PyObject *object, PyObject *args)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    PyObject *functions, *handlers;
    int r;

    if (!pp_worker_is_ready(self) ||
        !PyArg_ParseTuple(args, "O!O", &PyDict_Type, &functions, &handlers))
        return NULL;
    pp_worker_set(&self->functions, Py_NewRef(functions));
    pp_worker_set(&self->handlers, Py_NewRef(handlers));
    r = pp_worker_serve(self->worker, &pp_worker_python_calls, self);
    return r < 0 ? raise_errno(r) : Py_NewRef(Py_None);
}

/* True in a forked worker, False at the template's own end. */
static PyObject *worker_template(PyObject *object, PyObject *unused)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    int r;

    (void)unused;
    if (!pp_worker_is_ready(self))
        return NULL;
    r = pp_worker_template(self->worker, &pp_worker_python_calls, self);
    return r < 0 ? raise_errno(r) : PyBool_FromLong(r == PP_WORKER_FORKED);
}

static PyObject *worker_crash_fd(PyObject *object, PyObject *unused)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;

    (void)unused;
    return pp_worker_is_ready(self) ? PyLong_FromLong(pp_worker_crash_fd(self->worker)) : NULL;
}

static PyObject *worker_call_fd(PyObject *object, PyObject *unused)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;

    (void)unused;
    return pp_worker_is_ready(self) ? PyLong_FromLong(pp_worker_call_fd(self->worker)) : NULL;
}

static PyObject *worker_watch_dumps(PyObject *object, PyObject *unused)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    int r;

    (void)unused;
    if (!pp_worker_is_ready(self))
        return NULL;
    r = pp_worker_watch_dumps(self->worker);
    return r < 0 ? raise_errno(r) : Py_NewRef(Py_None);
}

static PyObject *worker_call(PyObject *object, PyObject *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((struct pp_worker_object *)object)->call);
}

static PyObject *worker_function(PyObject *object, PyObject *unused)
{
    PyObject *name = ((struct pp_worker_object *)object)->name;

    (void)unused;
    return name ? Py_NewRef(name) : PyUnicode_FromString("");
}

static PyObject *worker_stopping(PyObject *object, PyObject *unused)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;

    (void)unused;
    if (!pp_worker_is_ready(self))
        return NULL;
    return PyLong_FromUnsignedLong(pp_worker_stopping(self->worker, self->call));
}

static PyObject *worker_deadline(PyObject *object, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLongLong(((struct pp_worker_object *)object)->deadline);
}

/* ---- the type ---- */

static PyObject *worker_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    struct pp_worker_object *self;
    int r;

    if (!PyArg_ParseTuple(args, "") || (kwargs && PyDict_Size(kwargs) > 0))
        return NULL;
    self = (struct pp_worker_object *)alloc(type, 0);
    if (!self)
        return NULL;
    r = pp_worker_new(&self->worker);
    if (r < 0) {
        Py_DECREF(self);
        return raise_errno(r);
    }
    return (PyObject *)self;
}

static int worker_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->functions);
    Py_VISIT(self->handlers);
    Py_VISIT(self->held);
    Py_VISIT(self->exposed.tuple);
    for (size_t i = 0; i < PP_FLUSHED; i++) {
        Py_VISIT(self->flushed[i].stream);
        Py_VISIT(self->flushed[i].flush);
    }
    return 0;
}

static int worker_clear(PyObject *object)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;

    Py_CLEAR(self->functions);
    Py_CLEAR(self->handlers);
    Py_CLEAR(self->name);
    Py_CLEAR(self->exposed.tuple);
    for (size_t i = 0; i < PP_FLUSHED; i++) {
        Py_CLEAR(self->flushed[i].stream);
        Py_CLEAR(self->flushed[i].flush);
    }
    pp_plain_keys_clear(&self->keys);
    pp_worker_release(self);
    return 0;
}

static void worker_dealloc(PyObject *object)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    PyObject_GC_UnTrack(object);
    (void)worker_clear(object);
    self->worker = pp_worker_free(self->worker);
    pp_buffer_deinit(&self->out);
    release(object);
    Py_DECREF(type);
}

static PyMethodDef worker_methods[] = {
    {"hello", worker_hello, METH_NOARGS, "Wait for the host's Hello; a tuple of its fields."},
    {"ready", worker_ready, METH_VARARGS, "Tell the host that calls may come."},
    {"closes", worker_closes, METH_NOARGS, "Whether imports end with confine()."},
    {"confine", worker_confine, METH_NOARGS,
     "Give up what only imports needed; whether there is a sandbox."},
    {"fail", worker_fail, METH_O, "Tell the host why no calls may come."},
    {"serve", worker_serve, METH_VARARGS, "Answer calls until the host has no more."},
    {"template", worker_template, METH_NOARGS,
     "Fork workers for the host: True in each of them, False when the host wants no more."},
    {"log", pp_worker_py_log, METH_VARARGS, "Send a log record, or drop it; never waits."},
    {"progress", pp_worker_py_progress, METH_VARARGS,
     "Tell the host how far a call is; never waits."},
    {"refused", pp_worker_py_refused, METH_VARARGS, "Tell the host what the sandbox refused."},
    {"memory", pp_worker_py_memory, METH_O, "A descriptor of the host's for bytes of a result."},
    {"memory_limits", pp_worker_py_memory_limits, METH_NOARGS, "From which size on, and how much."},
    {"crash_fd", worker_crash_fd, METH_NOARGS, "Where a fault handler may write."},
    {"call_fd", worker_call_fd, METH_NOARGS, "The call channel, for tests that tear a frame."},
    {"watch_dumps", worker_watch_dumps, METH_NOARGS, "Tell the host when a stack is written."},
    {"call", worker_call, METH_NOARGS, "Number of the running call; 0: none."},
    {"function", worker_function, METH_NOARGS, "Name of the function called last."},
    {"stopping", worker_stopping, METH_NOARGS, "Why the running call is to stop; 0: it is not."},
    {"deadline", worker_deadline, METH_NOARGS, "Of the running call, CLOCK_MONOTONIC ns."},
    {"share_take", pp_worker_py_share_take, METH_NOARGS,
     "The next call or cancel of those side by side; None: there is none."},
    {"share_answer", pp_worker_py_share_answer, METH_VARARGS,
     "Answer one of them; whether messages are here that the socket does not show."},
    {"share_fail", pp_worker_py_share_fail, METH_VARARGS, "The same with an exception."},
    {"stream_add", pp_worker_py_stream_add, METH_O,
     "Add an item to the running stream; a STREAM_ number, or 0: the next may be made."},
    {"stream_wait", pp_worker_py_stream_wait, METH_O,
     "What stream_add() says, after a look at what the host sent, or when true a wait for it."},
    {"stream_waits", pp_worker_py_stream_waits, METH_NOARGS, "Whether stream_wait(True) waits."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot worker_slots[] = {
    {Py_tp_doc, "The worker's end of the channels it was born with; one per process."},
    {Py_tp_new, worker_new},
    {Py_tp_traverse, worker_traverse},
    {Py_tp_clear, worker_clear},
    {Py_tp_dealloc, worker_dealloc},
    {Py_tp_methods, worker_methods},
    {0, NULL},
};

static PyType_Spec worker_spec = {
    .name = "pyproc._worker.Worker",
    .basicsize = (int)sizeof(struct pp_worker_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = worker_slots,
};

/* ---- the module ---- */

/* A traceback as the interpreter prints it, without importing its traceback module. */
static PyObject *print_traceback(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    (void)module;
    if (n_args != 2) {
        PyErr_SetString(PyExc_TypeError, "expected a traceback and a file");
        return NULL;
    }
    if (PyTraceBack_Print(args[0], args[1]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* A function whose `self` is another one. */
static PyObject *call_guarded(PyObject *function, PyObject *args, PyObject *kwargs)
{
    pp_worker_guard_thread();
    return PyObject_Call(function, args, kwargs);
}

static PyMethodDef guarded_def = {"guarded", (PyCFunction)(void (*)(void))call_guarded,
                                  METH_VARARGS | METH_KEYWORDS,
                                  "The function of a thread, on a stack for its signals."};

static PyObject *guarded(PyObject *module, PyObject *function)
{
    (void)module;
    return PyCFunction_NewEx(&guarded_def, function, NULL);
}

static PyObject *crc32c(PyObject *module, PyObject *bytes)
{
    char *data;
    Py_ssize_t n;

    (void)module;
    if (PyBytes_AsStringAndSize(bytes, &data, &n) < 0)
        return NULL;
    return PyLong_FromUnsignedLong(pp_crc32c(data, (size_t)n));
}

#define FASTCALL(function) (PyCFunction)(void (*)(void))(function)

static PyMethodDef module_methods[] = {
    {"pack_plain", FASTCALL(pp_plain_py_pack), METH_FASTCALL,
     "MessagePack of a plain value; None when something in it is not plain."},
    {"pack_rich", FASTCALL(pp_plain_py_pack_rich), METH_FASTCALL,
     "(bytes, rich): MessagePack with extension types, where the hook knows them."},
    {"unpack", FASTCALL(pp_plain_py_unpack), METH_FASTCALL, "The value of a MessagePack payload."},
    {"scan", FASTCALL(pp_plain_py_scan), METH_FASTCALL,
     "Raise ValueError unless the payload is exactly so many whole values in bounds."},
    {"crc32c", crc32c, METH_O, "The Castagnoli checksum of bytes, as an unsigned 32-bit number."},
    {"guarded", guarded, METH_O,
     "The function, for a thread: it first gets a stack for its signal handlers."},
    {"print_traceback", FASTCALL(print_traceback), METH_FASTCALL,
     "Write a traceback to a text file, as the interpreter does."},
    {NULL, NULL, 0, NULL},
};

static const struct {
    const char *name;
    long value;
} CONSTANTS[] = {
    {"ACCEPT_NONE", PP_ACCEPT_NONE},   {"ACCEPT_BOOL", PP_ACCEPT_BOOL},
    {"ACCEPT_INT", PP_ACCEPT_INT},     {"ACCEPT_FLOAT", PP_ACCEPT_FLOAT},
    {"ACCEPT_STR", PP_ACCEPT_STR},     {"ACCEPT_BYTES", PP_ACCEPT_BYTES},
    {"ACCEPT_LIST", PP_ACCEPT_LIST},   {"ACCEPT_DICT", PP_ACCEPT_DICT},
    {"ACCEPT_TUPLE", PP_ACCEPT_TUPLE}, {"ACCEPT_WIDEN", PP_ACCEPT_WIDEN},
    {"ACCEPT_ANY", PP_ACCEPT_ANY},     {"PROTOCOL_VERSION", PP_PROTOCOL_VERSION},
    {"SCAN_RICH", PP_SCAN_RICH},       {"SCAN_FAILURE", PP_SCAN_FAILURE},
    {"DEPTH", PP_PLAIN_DEPTH},         {"SIGNAL_STOP", PP_SIGNAL_STOP},
    {"SIGNAL_DUMP", PP_SIGNAL_DUMP},   {"STREAM_WAIT", PP_STREAM_WAIT},
    {"STREAM_STOP", PP_STREAM_STOP},
};

static int module_exec(PyObject *module)
{
    struct module_state *state = PyModule_GetState(module);

    state->worker_type = PyType_FromModuleAndSpec(module, &worker_spec, NULL);
    if (!state->worker_type || PyModule_AddType(module, (PyTypeObject *)state->worker_type) < 0)
        return -1;
    state->map_type = PyType_FromModuleAndSpec(module, &pp_map_spec, NULL);
    if (!state->map_type || PyModule_AddType(module, (PyTypeObject *)state->map_type) < 0)
        return -1;
    for (size_t i = 0; i < sizeof CONSTANTS / sizeof *CONSTANTS; i++) {
        if (PyModule_AddIntConstant(module, CONSTANTS[i].name, CONSTANTS[i].value) < 0)
            return -1;
    }
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct module_state *state = PyModule_GetState(module);

    Py_VISIT(state->worker_type);
    Py_VISIT(state->map_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    struct module_state *state = PyModule_GetState(module);

    Py_CLEAR(state->worker_type);
    Py_CLEAR(state->map_type);
    return 0;
}

static void module_free(void *module)
{
    (void)module_clear(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_def = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "pyproc._worker",
    .m_doc = "The worker's side of pyproc in C; for pyproc's own use.",
    .m_size = (Py_ssize_t)sizeof(struct module_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__worker(void);

PyMODINIT_FUNC PyInit__worker(void)
{
    return PyModuleDef_Init(&module_def);
}
