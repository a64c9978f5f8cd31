/* pool_call.c - the leased call for Python, and requests out of Python's arguments.
 *
 * call_values() is the whole way in one step: plain arguments are packed here, and a plain
 * answer is unpacked here, with the bounds of plain_unpack.c. Whatever is not plain, or
 * makes no sense, is left to pyproc/codec.py, which says what is wrong.
 */
#include "binding/core.h"

static int convert_keywords(PyObject *tuple, struct pyproc_request *request,
                            struct pp_request_memory *memory)
{
    Py_ssize_t n = PyTuple_Size(tuple);
    struct pyproc_bytes *keywords = memory->few;

    memory->many = NULL;
    if (n < 0)
        return -1;
    if (n > PP_KEYWORDS_FEW) {
        keywords = memory->many = PyMem_Malloc((size_t)n * sizeof *keywords);
        if (!keywords) {
            PyErr_NoMemory();
            return -1;
        }
    }
    for (Py_ssize_t i = 0; i < n; i++)
        if (pp_utf8(PyTuple_GetItem(tuple, i), &keywords[i]) < 0)
            return -1;
    request->keywords = keywords;
    request->n_keywords = (size_t)n;
    return 0;
}

/* Seconds of time.monotonic() as nanoseconds; never 0. -1 with an exception. */
static int convert_deadline(PyObject *value, int64_t *nsp)
{
    double seconds = PyFloat_AsDouble(value);

    if (seconds == -1.0 && PyErr_Occurred())
        return -1;
    if (seconds < 9e9) /* else centuries, infinity, or no number */
        *nsp = seconds > 1e-9 ? (int64_t)(seconds * 1e9) : 1;
    return 0;
}

/* A number of bytes, when it is there. 0, or -1 with an exception. */
static int convert_size(PyObject *dict, const char *name, uint64_t *sizep)
{
    PyObject *value = PyDict_GetItemString(dict, name); /* borrowed */

    if (!value)
        return 0;
    *sizep = PyLong_AsUnsignedLongLong(value);
    return *sizep == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
}

static int convert_bytes(PyObject *value, struct pyproc_bytes *bytesp)
{
    char *data;
    Py_ssize_t n;

    if (PyBytes_AsStringAndSize(value, &data, &n) < 0)
        return -1;
    *bytesp = (struct pyproc_bytes){data, (size_t)n};
    return 0;
}

/* A tuple of descriptors. */
static int convert_attachments(PyObject *tuple, struct pyproc_request *request,
                               struct pp_request_memory *memory)
{
    Py_ssize_t n = PyTuple_Size(tuple);

    if (n < 0)
        return -1;
    request->n_attachments = (size_t)n;
    request->attachments = memory->attached;
    for (Py_ssize_t i = 0; i < n && i < PYPROC_ATTACHMENTS_MAX; i++) {
        memory->attached[i] = (int)PyLong_AsLong(PyTuple_GetItem(tuple, i));
        if (memory->attached[i] == -1 && PyErr_Occurred())
            return -1;
    }
    return 0;
}

/* Options that few calls have. 0, or -1 with an exception. */
static int convert_rare(PyObject *dict, struct pyproc_request *request,
                        struct pp_request_memory *memory)
{
    PyObject *value = PyDict_GetItemString(dict, "attachments"); /* borrowed */

    if (value && convert_attachments(value, request, memory) < 0)
        return -1;
    value = PyDict_GetItemString(dict, "priority");
    if (value) {
        request->priority = (int)PyLong_AsLong(value);
        if (PyErr_Occurred())
            return -1;
    }
    if (convert_size(dict, "memory", &request->memory_limit) < 0 ||
        convert_size(dict, "attached_size", &request->attached_size) < 0 ||
        convert_size(dict, "output", &request->output_limit) < 0 ||
        convert_size(dict, "result_size", &request->result_limit) < 0 ||
        convert_size(dict, "stream_items", &request->stream_items) < 0 ||
        convert_size(dict, "stream_bytes", &request->stream_bytes) < 0)
        return -1;
    if (convert_size(dict, "key", &request->key) < 0)
        return -1;
    value = PyDict_GetItemString(dict, "key_use");
    if (value) {
        request->key_use = (int)PyLong_AsLong(value);
        if (PyErr_Occurred())
            return -1;
    }
    request->progress = PyDict_GetItemString(dict, "progress") != NULL;
    value = PyDict_GetItemString(dict, "item_timeout");
    if (value && pp_span(value, &request->item_timeout) < 0)
        return -1;
    value = PyDict_GetItemString(dict, "baggage");
    if (value && convert_bytes(value, &request->baggage) < 0)
        return -1;
    value = PyDict_GetItemString(dict, "cpu_time");
    if (value && pp_span(value, &request->cpu_limit) < 0)
        return -1;
    value = PyDict_GetItemString(dict, "deadline");
    return value ? convert_deadline(value, &request->deadline) : 0;
}

/* Both timeouts and the dict of the other options, or None, stand side by side. */
static int convert_options(PyObject *const *args, struct pyproc_request *request,
                           struct pp_request_memory *memory)
{
    if (args[0] != Py_False && pp_span(args[0], &request->run_timeout) < 0)
        return -1;
    if (args[1] != Py_False && pp_span(args[1], &request->queue_timeout) < 0)
        return -1;
    return args[2] != Py_None ? convert_rare(args[2], request, memory) : 0;
}

/* function: str, payload: bytes, codec: int, keywords: tuple, run_timeout, queue_timeout
 * (seconds; None: no limit; False: the pool's), options (a dict, or None). */
int pp_convert_request(PyObject *const *args, struct pyproc_request *request,
                       struct pp_request_memory *memory)
{
    char *payload;
    Py_ssize_t n;

    *request = (struct pyproc_request){0};
    memory->many = NULL;
    if (pp_utf8(args[0], &request->function) < 0 ||
        PyBytes_AsStringAndSize(args[1], &payload, &n) < 0)
        return -1;
    request->payload = (struct pyproc_bytes){payload, (size_t)n};
    request->codec = (int)PyLong_AsLong(args[2]);
    if (request->codec == -1 && PyErr_Occurred())
        return -1;
    if (convert_keywords(args[3], request, memory) < 0)
        return -1;
    return convert_options(args + 4, request, memory);
}

int pp_count_is(Py_ssize_t n_args, Py_ssize_t wanted, PyObject *names, const char *function)
{
    if (n_args == wanted && (!names || PyTuple_Size(names) == 0))
        return 1;
    PyErr_Format(PyExc_TypeError, "%s takes %zd positional arguments", function, wanted);
    return 0;
}

/* The answer's value; (codec, payload) when it takes more than the plain unpacker. */
static PyObject *value_of(struct core_state *state, const struct pyproc_reply *reply)
{
    PyObject *payload;

    if (reply->codec == PYPROC_CODEC_MSGPACK) {
        PyObject *value = pp_plain_unpack(reply->payload, reply->size, NULL, &state->keys);

        if (value || PyErr_ExceptionMatches(PyExc_MemoryError))
            return value;
        PyErr_Clear();
    }
    payload = pp_memory_payload(state, reply);
    return payload ? Py_BuildValue("(iN)", reply->codec, payload) : NULL;
}

static PyObject *call(PyObject *self, PyTypeObject *type, const struct pyproc_request *request,
                      PyObject *function)
{
    struct pyproc_reply reply;
    struct pp_gil gil;
    struct pyproc_wait wait = {pp_gil_interrupted, &gil};
    struct core_state *state = PyType_GetModuleState(type);
    PyObject *result;

    gil.thread = PyEval_SaveThread();
    (void)pp_caller_of(self)->caller->call(pp_caller_of(self)->handle, request, &wait, &reply);
    PyEval_RestoreThread(gil.thread);
    if (reply.end == PYPROC_END_VALUE)
        result = value_of(state, &reply);
    else
        result = pp_raise(state, &reply, function);
    pyproc_reply_clear(&reply);
    return result;
}

PyObject *pp_pool_call(PyObject *self, PyTypeObject *type, PyObject *const *args, Py_ssize_t n_args,
                       PyObject *names)
{
    struct pp_request_memory memory;
    struct pyproc_request request;
    PyObject *result = NULL;

    if (!pp_count_is(n_args, 7, names, "call"))
        return NULL;
    if (pp_convert_request(args, &request, &memory) == 0)
        result = call(self, type, &request, args[0]);
    PyMem_Free(memory.many);
    return result;
}

/* Packs the positional values, then the keywords'. 0, PP_PLAIN_NOT, or negative. */
static int pack_values(PyObject *args, PyObject *kwargs, size_t large, struct pp_buffer *out)
{
    Py_ssize_t n = PyTuple_Size(args), at = 0;
    PyObject *name, *value;
    int r = pp_plain_pack_array((size_t)(n + PyDict_Size(kwargs)), out);

    for (Py_ssize_t i = 0; r == 0 && i < n; i++)
        r = pp_plain_pack(PyTuple_GetItem(args, i), large, out, NULL);
    while (r == 0 && PyDict_Next(kwargs, &at, &name, &value))
        r = pp_plain_pack(value, large, out, NULL);
    return r;
}

/* The keywords' names; more than fit into `memory` are left to Python. */
static int borrow_names(PyObject *kwargs, struct pyproc_request *request,
                        struct pp_request_memory *memory)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;

    request->keywords = memory->few;
    if (PyDict_Size(kwargs) > PP_KEYWORDS_FEW)
        return PP_PLAIN_NOT;
    while (PyDict_Next(kwargs, &at, &name, &value))
        if (pp_utf8(name, &memory->few[request->n_keywords++]) < 0)
            return -1;
    return 0;
}

static int convert_values(PyObject *const *args, size_t large, struct pp_buffer *out,
                          struct pyproc_request *request, struct pp_request_memory *memory)
{
    int r;

    if (!PyTuple_CheckExact(args[1]) || !PyDict_CheckExact(args[2])) {
        PyErr_SetString(PyExc_TypeError, "call_values takes a tuple and a dict of values");
        return -1;
    }
    if (pp_utf8(args[0], &request->function) < 0 || convert_options(args + 3, request, memory) < 0)
        return -1;
    r = pack_values(args[1], args[2], large, out);
    if (r == 0)
        r = borrow_names(args[2], request, memory);
    if (r < 0 && !PyErr_Occurred())
        (void)PyErr_NoMemory();
    request->codec = PYPROC_CODEC_MSGPACK;
    request->payload =
        (struct pyproc_bytes){(const char *)pp_buffer_bytes(out), pp_buffer_size(out)};
    return r;
}

PyObject *pp_pool_call_values(PyObject *self, PyTypeObject *type, PyObject *const *args,
                              Py_ssize_t n_args, PyObject *names)
{
    struct pyproc_request request = {0};
    struct pp_request_memory memory;
    struct pp_buffer out;
    PyObject *result = NULL;
    int r;

    if (!pp_count_is(n_args, 6, names, "call_values"))
        return NULL;
    pp_buffer_init(&out, SIZE_MAX / 2);
    r = convert_values(args, pp_pool_large(self), &out, &request, &memory);
    if (r == 0)
        result = call(self, type, &request, args[0]);
    else if (r > 0)
        result = Py_NewRef(Py_NotImplemented);
    pp_buffer_deinit(&out);
    return result;
}
