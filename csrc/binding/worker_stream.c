/* worker_stream.c - the items of a stream, from Python's objects to the area.
 *
 * `handlers.stream` drives the generator, of either kind, and gives each item to stream_add().
 * A broken channel raises there and is remembered: the generator is closed like after any
 * exception, and then the worker leaves. Guarded by the GIL; the main thread's.
 */
#include "binding/worker_type.h"

#include <errno.h>

/* What the core said: a number of the state, or an exception. */
static PyObject *answer_state(struct pp_worker_object *self, int r)
{
    if (r == 0 || r == PP_STREAM_WAIT || r == PP_STREAM_STOP)
        return PyLong_FromLong(r);
    self->broken = r;
    errno = r < 0 ? -r : ECONNRESET;
    return PyErr_SetFromErrno(PyExc_ConnectionError);
}

/* The item as its annotation wants it; a new reference. */
static PyObject *check_item(struct pp_worker_object *self, PyObject *value)
{
    const struct pp_exposed *f = &self->exposed;

    if (pp_shape_fits(f->shapes, &f->shapes[f->n_names + PP_SHAPE_RESULT], value))
        return Py_NewRef(value);
    return PyObject_CallMethod(f->plan, "item", "(O)", value);
}

PyObject *pp_worker_py_stream_add(PyObject *object, PyObject *value)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    PyObject *checked = check_item(self, value);
    struct pp_packed packed;
    int r;

    if (!checked)
        return NULL;
    r = pp_worker_pack(self, checked, &packed);
    Py_DECREF(checked);
    if (r < 0)
        return NULL;
    r = pp_worker_stream_add(self->worker, packed.codec, packed.payload.data, packed.payload.size);
    if (self->held)
        pp_worker_release(self);
    return answer_state(self, r ? r : pp_worker_stream_state(self->worker));
}

PyObject *pp_worker_py_stream_wait(PyObject *object, PyObject *wait)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    int waits = PyObject_IsTrue(wait), r;

    if (waits < 0)
        return NULL;
    self->waits = waits;
    r = pp_worker_stream_poll(self->worker, waits);
    self->waits = false;
    return answer_state(self, r);
}

PyObject *pp_worker_py_stream_waits(PyObject *object, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct pp_worker_object *)object)->waits);
}

int pp_worker_run_stream(struct pp_worker_object *self, PyObject *made, struct pp_message *answer)
{
    PyObject *done = NULL;
    int r;

    self->broken = 0;
    if (made)
        done = PyObject_CallMethod(self->handlers, "stream", "OO", self->exposed.plan, made);
    if (self->broken) {
        PyErr_Clear();
        Py_XDECREF(done);
        return self->broken;
    }
    if (!done) {
        pp_worker_answer_failure(self, answer);
    } else {
        pp_worker_stream_end(self->worker, answer);
        Py_DECREF(done);
    }
    r = pp_worker_stream_flush(self->worker);
    return r;
}
