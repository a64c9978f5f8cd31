/* worker_run.c - one call, from bytes to bytes.
 *
 * The common case stays in C: plain arguments, a look at their types, the call, a plain
 * result. Everything else - rich values, other annotations, failures - goes through the
 * `handlers` object of pyproc/worker/run.py. Whatever Python code raises becomes a
 * failure of the call; nothing here ends the worker but a broken channel.
 */
#include "binding/worker_type.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <string.h>

/* Memory that the result's buffer keeps between calls. */
enum { KEEP = 256 * 1024 };

/* ---- the function ---- */

static int read_exposed(struct pp_exposed *f)
{
    PyObject *shapes;

    if (!PyArg_ParseTuple(f->tuple, "OO!O!nO", &f->function, &PyTuple_Type, &f->names,
                          &PyBytes_Type, &shapes, &f->n_positional, &f->plan))
        return -1;
    f->n_names = PyTuple_Size(f->names);
    if (f->n_positional >= 0 && f->n_positional <= f->n_names &&
        pp_shapes_read(shapes, (size_t)f->n_names + PP_SHAPES_FIXED, &f->shapes))
        return 0;
    PyErr_SetString(PyExc_ValueError, "a function's names and shapes do not agree");
    return -1;
}

/* The function of that name, as self->exposed. -1 with an exception. */
static int find_function(struct pp_worker_object *self, const struct pp_bytes *name)
{
    PyObject *key = PyUnicode_DecodeUTF8((const char *)name->data, (Py_ssize_t)name->size, NULL);
    PyObject *found = key ? PyDict_GetItemWithError(self->functions, key) : NULL;

    if (key && !found && !PyErr_Occurred())
        Py_XDECREF(PyObject_CallMethod(self->handlers, "unknown", "(O)", key));
    pp_worker_set(&self->name, key);
    if (!found)
        return -1;
    if (found == self->exposed.tuple)
        return 0;
    pp_worker_set(&self->exposed.tuple, Py_NewRef(found));
    if (read_exposed(&self->exposed) == 0)
        return 0;
    Py_CLEAR(self->exposed.tuple);
    return -1;
}

/* ---- arguments ---- */

static PyObject *read_keywords(const struct pp_message_call *call)
{
    PyObject *keywords = PyTuple_New((Py_ssize_t)call->n_keywords);

    for (size_t i = 0; keywords && i < call->n_keywords; i++) {
        const struct pp_bytes *name = &call->keywords[i];
        PyObject *key =
            PyUnicode_DecodeUTF8((const char *)name->data, (Py_ssize_t)name->size, NULL);

        if (!key)
            Py_CLEAR(keywords);
        else
            (void)PyTuple_SetItem(keywords, (Py_ssize_t)i, key);
    }
    return keywords;
}

/* All values of the payload as a new tuple. Only Python explains bad bytes. */
static PyObject *read_values(struct pp_worker_object *self, const struct pp_message_call *call)
{
    const struct pp_bytes *payload = &call->payload;
    PyObject *values = NULL;

    if (call->codec == PP_CODEC_MSGPACK)
        values = pp_plain_unpack_tuple(payload->data, payload->size, NULL, &self->keys);
    if (values)
        return values;
    PyErr_Clear();
    values = PyObject_CallMethod(self->handlers, "decode", "y#i", (const char *)payload->data,
                                 (Py_ssize_t)payload->size, (int)call->codec);
    if (values && !PyTuple_CheckExact(values)) {
        PyErr_SetString(PyExc_TypeError, "decode must answer with a tuple");
        Py_CLEAR(values);
    }
    return values;
}

static const struct pp_shape *shape_of_keyword(const struct pp_exposed *f, PyObject *name)
{
    for (Py_ssize_t i = 0; i < f->n_names; i++) {
        if (PyUnicode_Compare(PyTuple_GetItem(f->names, i), name) == 0)
            return &f->shapes[i];
    }
    return &f->shapes[f->n_names + PP_SHAPE_KEYWORDS];
}

/* Whether the value passes, perhaps as a float. `values` is ours alone. */
static bool passes(const struct pp_exposed *f, PyObject *values, Py_ssize_t at,
                   const struct pp_shape *shape)
{
    PyObject *value = PyTuple_GetItem(values, at), *wide;

    if (pp_shape_fits(f->shapes, shape, value))
        return true;
    if (!(shape->accept & PP_ACCEPT_WIDEN) || !PyLong_CheckExact(value))
        return false;
    wide = PyNumber_Float(value);
    if (!wide) {
        PyErr_Clear();
        return false;
    }
    return PyTuple_SetItem(values, at, wide) == 0;
}

static bool all_pass(const struct pp_exposed *f, PyObject *values, PyObject *keywords)
{
    const struct pp_shape *rest = &f->shapes[f->n_names + PP_SHAPE_REST];
    Py_ssize_t n = PyTuple_Size(values), n_positional = n;

    if (keywords)
        n_positional -= PyTuple_Size(keywords);
    for (Py_ssize_t i = 0; i < n_positional; i++) {
        if (!passes(f, values, i, i < f->n_positional ? &f->shapes[i] : rest))
            return false;
    }
    for (Py_ssize_t i = n_positional; i < n; i++) {
        PyObject *name = PyTuple_GetItem(keywords, i - n_positional);

        if (!passes(f, values, i, shape_of_keyword(f, name)))
            return false;
    }
    return true;
}

/* Checks `values` (taken) and answers with what the function gets. */
static PyObject *check_values(const struct pp_exposed *f, PyObject *values, PyObject *keywords)
{
    PyObject *checked;

    if (all_pass(f, values, keywords))
        return values;
    checked =
        PyObject_CallMethod(f->plan, "arguments", "OO", values, keywords ? keywords : Py_None);
    Py_DECREF(values);
    if (checked && !PyTuple_CheckExact(checked)) {
        PyErr_SetString(PyExc_TypeError, "arguments must answer with a tuple");
        Py_CLEAR(checked);
    }
    return checked;
}

/* ---- the call ---- */

static PyObject *call_with_keywords(PyObject *function, PyObject *values, PyObject *keywords)
{
    Py_ssize_t n = PyTuple_Size(values), n_keywords = PyTuple_Size(keywords);
    PyObject *positional, *named = PyDict_New(), *result = NULL;
    bool ok = named != NULL;

    if (n < n_keywords) {
        Py_XDECREF(named);
        PyErr_SetString(PyExc_ValueError, "there are more keywords than values");
        return NULL;
    }
    positional = PyTuple_GetSlice(values, 0, n - n_keywords);
    for (Py_ssize_t i = 0; ok && i < n_keywords; i++)
        ok = PyDict_SetItem(named, PyTuple_GetItem(keywords, i),
                            PyTuple_GetItem(values, n - n_keywords + i)) == 0;
    if (ok && positional)
        result = PyObject_Call(function, positional, named);
    Py_XDECREF(named);
    Py_XDECREF(positional);
    return result;
}

int pp_worker_prepare(struct pp_worker_object *self, const struct pp_message_call *call,
                      PyObject **valuesp, PyObject **keywordsp)
{
    PyObject *keywords = NULL, *values = NULL;

    if (find_function(self, &call->function) < 0)
        return -1;
    if (!call->n_keywords || (keywords = read_keywords(call)) != NULL)
        values = read_values(self, call);
    values = values ? check_values(&self->exposed, values, keywords) : NULL;
    if (!values) {
        Py_XDECREF(keywords);
        return -1;
    }
    *valuesp = values;
    *keywordsp = keywords;
    return 0;
}

PyObject *pp_worker_check_result(struct pp_worker_object *self, PyObject *entry, PyObject *result)
{
    const struct pp_exposed *f = &self->exposed;

    if (entry != f->tuple) {
        pp_worker_set(&self->exposed.tuple, Py_NewRef(entry));
        if (read_exposed(&self->exposed) < 0) {
            Py_CLEAR(self->exposed.tuple);
            return NULL;
        }
    }
    if (pp_shape_fits(f->shapes, &f->shapes[f->n_names + PP_SHAPE_RESULT], result))
        return Py_NewRef(result);
    return PyObject_CallMethod(f->plan, "result", "(O)", result);
}

/* Checks `values` (taken; NULL passes an error on) and calls. */
static PyObject *invoke(const struct pp_exposed *f, PyObject *values, PyObject *keywords)
{
    PyObject *result;

    values = values ? check_values(f, values, keywords) : NULL;
    if (!values)
        return NULL;
    result = keywords ? call_with_keywords(f->function, values, keywords)
                      : PyObject_Call(f->function, values, NULL);
    Py_DECREF(values);
    return result;
}

/* The same, and checks the result. */
static PyObject *call_function(const struct pp_exposed *f, PyObject *values, PyObject *keywords)
{
    PyObject *result = invoke(f, values, keywords), *checked;

    if (!result || pp_shape_fits(f->shapes, &f->shapes[f->n_names + PP_SHAPE_RESULT], result))
        return result;
    checked = PyObject_CallMethod(f->plan, "result", "(O)", result);
    Py_DECREF(result);
    return checked;
}

/* ---- results ---- */

static int refuse_size(struct pp_worker_object *self, size_t size)
{
    Py_XDECREF(PyObject_CallMethod(self->handlers, "too_large", "KK", (unsigned long long)size,
                                   (unsigned long long)pp_worker_max_result(self->worker)));
    return -1;
}

static int pack_slowly(struct pp_worker_object *self, PyObject *value, struct pp_packed *packedp)
{
    PyObject *pair = PyObject_CallMethod(self->handlers, "encode", "OO", self->exposed.plan, value);
    PyObject *bytes;
    int codec;

    if (!pair)
        return -1;
    pp_worker_set(&self->held, pair);
    if (!PyArg_ParseTuple(pair, "Si", &bytes, &codec))
        return -1;
    packedp->payload.data = (const uint8_t *)PyBytes_AsString(bytes);
    packedp->payload.size = (size_t)PyBytes_Size(bytes);
    packedp->codec = codec == PP_CODEC_RICH ? PP_CODEC_RICH : PP_CODEC_MSGPACK;
    if (packedp->payload.size > pp_worker_max_result(self->worker))
        return refuse_size(self, packedp->payload.size);
    return 0;
}

int pp_worker_pack(struct pp_worker_object *self, PyObject *value, struct pp_packed *packedp)
{
    size_t size = 0;
    int r;

    pp_buffer_clear(&self->out, KEEP);
    r = pp_plain_pack(value, self->large, &self->out, &size);
    if (r == PP_PLAIN_NOT)
        return pack_slowly(self, value, packedp);
    if (r == PP_PLAIN_TOO_LARGE)
        return refuse_size(self, size);
    if (r < 0) {
        (void)PyErr_NoMemory();
        return -1;
    }
    packedp->payload.data = pp_buffer_bytes(&self->out);
    packedp->payload.size = size;
    packedp->codec = PP_CODEC_MSGPACK;
    return 0;
}

/* ---- chunks ---- */

/* The pending exception as an item. An item that cannot even be described ends the
 * worker, which the host sees as this item's death. */
static int add_failure(struct pp_worker_object *self)
{
    PyObject *raised = pp_worker_take_exception();
    PyObject *item = raised ? PyObject_CallMethod(self->handlers, "item", "(O)", raised) : NULL;
    char *bytes;
    Py_ssize_t n;
    int r = -ENOMEM;

    if (item && PyBytes_AsStringAndSize(item, &bytes, &n) == 0)
        r = pp_worker_chunk_add(self->worker, bytes, (size_t)n);
    PyErr_Clear();
    Py_XDECREF(item);
    Py_XDECREF(raised);
    return r;
}

static int run_item(struct pp_worker_object *self, PyObject *item, bool *richp)
{
    PyObject *result = call_function(&self->exposed, PyTuple_Pack(1, item), NULL);
    struct pp_packed packed;
    int r;

    if (!result || pp_worker_pack(self, result, &packed) < 0) {
        *richp = true;
        Py_XDECREF(result);
        return add_failure(self);
    }
    Py_DECREF(result);
    *richp |= packed.codec == PP_CODEC_RICH;
    r = pp_worker_chunk_add(self->worker, packed.payload.data, packed.payload.size);
    Py_CLEAR(self->held);
    return r;
}

static int run_chunk(struct pp_worker_object *self, PyObject *items, uint32_t n,
                     struct pp_message *answer)
{
    bool rich = false;
    int r;

    if (!items || (size_t)PyTuple_Size(items) != n) {
        if (items)
            Py_XDECREF(
                PyObject_CallMethod(self->handlers, "bad_chunk", "nI", PyTuple_Size(items), n));
        pp_worker_answer_failure(self, answer);
        return 0;
    }
    r = pp_worker_chunk_begin(self->worker, self->call, n);
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        r = run_item(self, PyTuple_GetItem(items, (Py_ssize_t)i), &rich);
        if (r == 0 && i + 1 < n && pp_worker_stopping(self->worker, self->call)) {
            Py_XDECREF(PyObject_CallMethod(self->handlers, "stopped", NULL));
            pp_worker_answer_failure(self, answer);
            return 0;
        }
    }
    if (r == 0)
        r = pp_worker_chunk_end(self->worker, answer);
    if (r == 0 && rich)
        answer->result.codec = PP_CODEC_RICH;
    return r;
}

/* ---- the table ---- */

static void run_once(struct pp_worker_object *self, const struct pp_message_call *call,
                     struct pp_message *answer)
{
    PyObject *keywords = call->n_keywords ? read_keywords(call) : NULL;
    PyObject *values = call->n_keywords && !keywords ? NULL : read_values(self, call);
    PyObject *result = call_function(&self->exposed, values, keywords);
    struct pp_packed packed;

    if (result && pp_worker_pack(self, result, &packed) == 0) {
        answer->kind = PP_MESSAGE_RESULT;
        answer->result =
            (struct pp_message_result){.payload = packed.payload, .codec = packed.codec};
    } else {
        pp_worker_answer_failure(self, answer);
    }
    Py_XDECREF(result);
    Py_XDECREF(keywords);
}

/* The function makes the generator; the rest is the stream's. */
static int run_stream(struct pp_worker_object *self, const struct pp_message_call *call,
                      struct pp_message *answer)
{
    PyObject *keywords = call->n_keywords ? read_keywords(call) : NULL;
    PyObject *values = call->n_keywords && !keywords ? NULL : read_values(self, call);
    PyObject *made;
    int r;

    pp_worker_stream_begin(self->worker, call);
    made = invoke(&self->exposed, values, keywords);
    Py_XDECREF(keywords);
    r = pp_worker_run_stream(self, made, answer);
    Py_XDECREF(made);
    return r;
}

/* The caller's context variables are set before the call and set back after it, by Python: few
 * calls bring any. 0, or -1 with an exception. */
static int enter_context(struct pp_worker_object *self, const struct pp_bytes *baggage)
{
    PyObject *done_ = PyObject_CallMethod(self->handlers, "enter_context", "y#",
                                          (const char *)baggage->data, (Py_ssize_t)baggage->size);

    Py_XDECREF(done_);
    return done_ ? 0 : -1;
}

static void leave_context(struct pp_worker_object *self)
{
    PyObject *done_ = PyObject_CallMethod(self->handlers, "leave_context", NULL);

    if (!done_)
        PyErr_WriteUnraisable(self->handlers);
    Py_XDECREF(done_);
}

/* The descriptors that came with the call go to Python, which makes files of them. 0, or -1 with an
 * exception. */
static int enter_files(struct pp_worker_object *self, const struct pp_message_call *call)
{
    int fds[PP_ATTACHMENTS_MAX];
    PyObject *numbers, *done_;
    int r = pp_worker_take_attached(self->worker, call, fds);

    if (r < 0) {
        errno = -r;
        (void)PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    numbers = PyTuple_New((Py_ssize_t)call->attachments);
    for (uint32_t i = 0; numbers && i < call->attachments; i++)
        (void)PyTuple_SetItem(numbers, (Py_ssize_t)i, PyLong_FromLong(fds[i]));
    done_ = numbers ? PyObject_CallMethod(self->handlers, "enter_files", "(O)", numbers) : NULL;
    if (!numbers)
        for (uint32_t i = 0; i < call->attachments; i++)
            (void)pp_close(fds[i]);
    Py_XDECREF(numbers);
    Py_XDECREF(done_);
    return done_ ? 0 : -1;
}

/* Closes them. What cannot be written at the last moment is a failure of the call. */
static void leave_files(struct pp_worker_object *self, struct pp_message *answer)
{
    PyObject *done_ = PyObject_CallMethod(self->handlers, "leave_files", NULL);

    if (!done_ && answer->kind == PP_MESSAGE_RESULT)
        pp_worker_answer_failure(self, answer);
    PyErr_Clear();
    Py_XDECREF(done_);
}

static int run_call(struct pp_worker_object *self, const struct pp_message_call *call,
                    struct pp_message *answer)
{
    PyObject *items;
    int r;

    if (call->stream_items)
        return run_stream(self, call, answer);
    if (call->items == 0) {
        run_once(self, call, answer);
        return 0;
    }
    items = read_values(self, call);
    r = run_chunk(self, items, call->items, answer);
    Py_XDECREF(items);
    return r;
}

static int run_in_context(struct pp_worker_object *self, const struct pp_message_call *call,
                          struct pp_message *answer)
{
    bool baggage = call->baggage.size > 0;
    int r;

    if (baggage && enter_context(self, &call->baggage) < 0) {
        pp_worker_answer_failure(self, answer);
        return 0;
    }
    r = run_call(self, call, answer);
    if (baggage)
        leave_context(self);
    return r;
}

static int run(void *token, const struct pp_message_call *call, struct pp_message *answer)
{
    struct pp_worker_object *self = token;
    bool attachments = call->attachments > 0;
    int r;

    self->call = call->id;
    self->deadline = PP_NEVER;
    if (call->remaining_us)
        self->deadline = pp_after(pp_now(), (int64_t)(call->remaining_us * 1000));
    if (find_function(self, &call->function) < 0 || (attachments && enter_files(self, call) < 0)) {
        pp_worker_answer_failure(self, answer);
        return 0;
    }
    r = run_in_context(self, call, answer);
    if (attachments)
        leave_files(self, answer);
    return r;
}

static void done(void *token)
{
    struct pp_worker_object *self = token;

    self->call = 0;
    if (self->held)
        pp_worker_release(self);
    pp_buffer_clear(&self->out, KEEP);
}

/* What was printed without a newline goes out before the answer. Streams that the user
 * broke or closed are the user's. Usually they are those of the call before. */
static void flush(const char *name, struct pp_flushed *last)
{
    PyObject *stream = PySys_GetObject(name); /* lent */
    PyObject *done_;

    if (!stream || stream == Py_None)
        return;
    if (stream != last->stream) {
        pp_worker_set(&last->flush, PyObject_GetAttrString(stream, "flush"));
        pp_worker_set(&last->stream, Py_NewRef(stream));
    }
    done_ = last->flush ? PyObject_CallNoArgs(last->flush) : NULL;
    if (!done_)
        PyErr_Clear();
    Py_XDECREF(done_);
}

static void before_answer(void *token)
{
    struct pp_worker_object *self = token;

    flush("stdout", &self->flushed[0]);
    flush("stderr", &self->flushed[1]);
}

static void before_wait(void *token)
{
    struct pp_worker_object *self = token;

    self->saved = PyEval_SaveThread();
}

static void after_wait(void *token)
{
    struct pp_worker_object *self = token;

    PyEval_RestoreThread(self->saved);
}

/* A user's own handler may raise while no call runs: only sys.exit() means to leave. */
static int interrupted(void *token)
{
    (void)token;
    if (PyErr_CheckSignals() == 0)
        return 0;
    if (PyErr_ExceptionMatches(PyExc_SystemExit))
        return -ECANCELED;
    PyErr_WriteUnraisable(NULL);
    return 0;
}

static void before_fork(void *token)
{
    (void)token;
    PyOS_BeforeFork();
}

static void after_fork(void *token, int child)
{
    (void)token;
    if (child)
        PyOS_AfterFork_Child();
    else
        PyOS_AfterFork_Parent();
}

const struct pp_worker_calls pp_worker_python_calls = {
    .run = run,
    .share = pp_worker_share,
    .before_answer = before_answer,
    .done = done,
    .before_wait = before_wait,
    .after_wait = after_wait,
    .interrupted = interrupted,
    .before_fork = before_fork,
    .after_fork = after_fork,
};
