/* worker_event.c - records and progress for the host, which nobody waits for.
 *
 * Guarded by the GIL; any thread.
 */
#include "binding/worker_type.h"

PyObject *pp_worker_py_log(PyObject *object, PyObject *args)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    struct pp_message_log log = {0};
    struct pp_bytes *fields[] = {&log.logger, &log.message, &log.exception, &log.extra};
    const char *texts[4];
    Py_ssize_t sizes[4];
    unsigned long long call;
    int level;

    if (!pp_worker_is_ready(self) ||
        !PyArg_ParseTuple(args, "idy#y#y#y#K", &level, &log.created, &texts[0], &sizes[0],
                          &texts[1], &sizes[1], &texts[2], &sizes[2], &texts[3], &sizes[3], &call))
        return NULL;
    log.level = level;
    log.call = call ? call : self->call;
    for (size_t i = 0; i < 4; i++)
        *fields[i] = (struct pp_bytes){(const uint8_t *)texts[i], (size_t)sizes[i]};
    (void)pp_worker_log(self->worker, &log);
    Py_RETURN_NONE;
}

/* progress(call, done, total, message): total below 0: it is not known. */
PyObject *pp_worker_py_progress(PyObject *object, PyObject *args)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    struct pp_message_progress progress = {0};
    unsigned long long call;
    const char *text;
    Py_ssize_t n;

    if (!pp_worker_is_ready(self) ||
        !PyArg_ParseTuple(args, "Kddy#", &call, &progress.done, &progress.total, &text, &n))
        return NULL;
    if (n > PP_PROGRESS_MAX) {
        PyErr_SetString(PyExc_ValueError, "a progress message has 4096 bytes at most");
        return NULL;
    }
    progress.call = call;
    progress.has_total = progress.total >= 0;
    progress.total = progress.has_total ? progress.total : 0;
    progress.message = (struct pp_bytes){(const uint8_t *)text, (size_t)n};
    pp_worker_progress(self->worker, &progress);
    Py_RETURN_NONE;
}
