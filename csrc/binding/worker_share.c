/* worker_share.c - calls that run side by side on the worker's event loop.
 *
 *   share_take() -> (number, entry, name, values, keywords, deadline, baggage) or (number, timeout)
 *   share_answer(number, entry, result), share_fail(number, exception) -> whether more is here
 *
 * The loop itself is Python's, in pyproc/worker/shared.py. A call whose arguments do not fit is
 * answered here and never seen there. Guarded by the GIL; the main thread's.
 */
#include "binding/worker_type.h"

#include "base/clock.h"

#include <errno.h>

static PyObject *broke(struct pp_worker_object *self, int r)
{
    self->broken = r;
    errno = r < 0 ? -r : ECONNRESET;
    return PyErr_SetFromErrno(PyExc_ConnectionError);
}

/* Sends; 0, or -1 with an exception. */
static int answer(struct pp_worker_object *self, uint64_t id, struct pp_message *message)
{
    int r = pp_worker_share_answer(self->worker, id, message);

    return r == 0 ? 0 : (broke(self, r), -1);
}

/* The pending exception is the answer. */
static int answer_failure(struct pp_worker_object *self, uint64_t id)
{
    struct pp_message message = {.kind = PP_MESSAGE_NONE};

    pp_worker_answer_failure(self, &message);
    return answer(self, id, &message);
}

/* What Python gets of a call; None when it is answered already; NULL with an exception. */
static PyObject *take_call(struct pp_worker_object *self, const struct pp_message_call *call)
{
    PyObject *values, *keywords;
    int64_t deadline = PP_NEVER;

    if (pp_worker_prepare(self, call, &values, &keywords) < 0)
        return answer_failure(self, call->id) < 0 ? NULL : Py_NewRef(Py_None);
    if (call->remaining_us)
        deadline = pp_after(pp_now(), (int64_t)(call->remaining_us * 1000));
    if (!keywords)
        keywords = PyTuple_New(0);
    return Py_BuildValue("KOONNLy#", (unsigned long long)call->id, self->exposed.tuple, self->name,
                         values, keywords, (long long)deadline, (const char *)call->baggage.data,
                         (Py_ssize_t)call->baggage.size);
}

PyObject *pp_worker_py_share_take(PyObject *object, PyObject *unused)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    struct pp_message message;
    PyObject *taken;
    int r;

    (void)unused;
    do {
        r = pp_worker_share_next(self->worker, &message);
        if (r == PP_SHARE_QUIET)
            Py_RETURN_NONE;
        if (r != 0)
            return broke(self, r);
        if (message.kind == PP_MESSAGE_CANCEL)
            return Py_BuildValue("KN", (unsigned long long)message.cancel.id,
                                 PyBool_FromLong(message.cancel.timeout));
        taken = take_call(self, &message.call);
        if (taken == Py_None)
            Py_CLEAR(taken);
        else
            return taken;
    } while (true);
}

PyObject *pp_worker_py_share_answer(PyObject *object, PyObject *args)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    struct pp_message message = {.kind = PP_MESSAGE_RESULT};
    struct pp_packed packed;
    PyObject *entry, *result, *checked;
    unsigned long long id;
    int r;

    if (!PyArg_ParseTuple(args, "KO!O", &id, &PyTuple_Type, &entry, &result))
        return NULL;
    self->call = id; /* memory for the result is asked for in its name */
    checked = pp_worker_check_result(self, entry, result);
    if (checked && pp_worker_pack(self, checked, &packed) == 0) {
        message.result =
            (struct pp_message_result){.payload = packed.payload, .codec = packed.codec};
        r = answer(self, id, &message);
    } else {
        r = answer_failure(self, id);
    }
    self->call = 0;
    Py_XDECREF(checked);
    return r < 0 ? NULL : PyBool_FromLong(pp_worker_share_ready(self->worker));
}

PyObject *pp_worker_py_share_fail(PyObject *object, PyObject *args)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    PyObject *raised;
    unsigned long long id;

    if (!PyArg_ParseTuple(args, "KO", &id, &raised))
        return NULL;
    if (!PyExceptionInstance_Check(raised)) {
        PyErr_SetString(PyExc_TypeError, "share_fail takes an exception");
        return NULL;
    }
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(raised)), Py_NewRef(raised),
                  PyException_GetTraceback(raised));
    if (answer_failure(self, id) < 0)
        return NULL;
    return PyBool_FromLong(pp_worker_share_ready(self->worker));
}

int pp_worker_share(void *token, const struct pp_message_call *call)
{
    struct pp_worker_object *self = token;
    PyObject *first, *done = NULL;

    self->call = 0;
    self->broken = 0;
    first = take_call(self, call);
    if (first && first != Py_None)
        done = PyObject_CallMethod(self->handlers, "share", "(O)", first);
    else if (first)
        done = Py_NewRef(first);
    Py_XDECREF(first);
    Py_XDECREF(done);
    if (self->broken) {
        PyErr_Clear();
        return self->broken;
    }
    return done ? 0 : -ECANCELED; /* the exception says why */
}
