/* worker_type.h - the Worker object, shared by the files of pyproc._worker only.
 *
 * One per process, used by the main thread; `log` may come from any. Guarded by the GIL.
 */
#ifndef PP_BINDING_WORKER_TYPE_H
#define PP_BINDING_WORKER_TYPE_H

#include "binding/plain.h"
#include "binding/worker_shape.h"

#include "worker/serve.h"

#include "binding/clean.h"

/* One exposed function, read from the tuple that Python made of it. */
struct pp_exposed {
    PyObject *tuple; /* owned; all below is lent from it */
    PyObject *function, *names, *plan;
    const struct pp_shape *shapes;    /* of each name, then PP_SHAPE_*, then nested ones */
    Py_ssize_t n_names, n_positional; /* of `names`, the first so many may come by position */
};

/* A stream and its bound flush(); owned. */
struct pp_flushed {
    PyObject *stream, *flush;
};
enum { PP_FLUSHED = 2 };

struct pp_worker_object {
    PyObject_HEAD struct pp_worker *worker; /* owned */
    PyThreadState *saved;                   /* while waiting */
    PyObject *functions;                    /* dict: name -> tuple; NULL before serve */
    PyObject *handlers;                     /* the slow paths, in Python; NULL before serve */
    PyObject *held;                         /* what the answer lends bytes from */
    struct pp_failure_node *nodes;
    struct pp_bytes *notes;
    struct pp_exposed exposed;             /* the function called last */
    struct pp_buffer out;                  /* the packed result */
    struct pp_flushed flushed[PP_FLUSHED]; /* stdout, stderr */
    struct pp_plain_keys keys;
    bool waits;       /* the running stream waits for its reader: nothing is to be raised */
    int broken;       /* how the running stream's channel broke, as pp_worker_stream_add says */
    size_t large;     /* results' bytes of that size go in memory; SIZE_MAX: never */
    uint64_t call;    /* the running call; 0: none */
    int64_t deadline; /* of it; CLOCK_MONOTONIC ns, PP_NEVER: none */
    PyObject *name;   /* of its function; owned; NULL before the first call */
};

extern const struct pp_worker_calls pp_worker_python_calls;
extern PyType_Spec pp_map_spec;

/* Whether it has its descriptors; else with an exception. */
int pp_worker_is_ready(const struct pp_worker_object *self);
/* worker_event.c: methods of Worker. */
PyObject *pp_worker_py_log(PyObject *object, PyObject *args);
PyObject *pp_worker_py_progress(PyObject *object, PyObject *args);
/* worker_map.c: methods of Worker. */
PyObject *pp_worker_py_memory(PyObject *object, PyObject *number);
PyObject *pp_worker_py_memory_limits(PyObject *object, PyObject *unused);

/* worker_failure.c: a method of Worker, refused(call, text); call 0: the running one. */
PyObject *pp_worker_py_refused(PyObject *object, PyObject *args);

/* Fills a failure from what Python's `describe` made: (kind, path, nodes), all text as
 * bytes. Keeps `described` in `held`. 0, or -1 with an exception. */
int pp_worker_fill_failure(struct pp_worker_object *self, PyObject *described,
                           struct pp_message *answer);

/* The pending exception, as an object of its own; none is pending then. */
PyObject *pp_worker_take_exception(void);

/* Makes the pending exception the answer. */
void pp_worker_answer_failure(struct pp_worker_object *self, struct pp_message *answer);

/* Takes `value` into a field and lets go of what was there, in the safe order. */
static inline void pp_worker_set(PyObject **fieldp, PyObject *value)
{
    PyObject *old = *fieldp;

    *fieldp = value;
    Py_XDECREF(old);
}

struct pp_packed {
    struct pp_bytes payload; /* lent from self->out, or from self->held */
    enum pp_codec codec;
};

/* Packs a result or an item. 0, or -1 with an exception. */
int pp_worker_pack(struct pp_worker_object *self, PyObject *value, struct pp_packed *packedp);

/* Runs what a stream's function made (NULL: it has raised) to its end. As pp_worker_calls.run. */
int pp_worker_run_stream(struct pp_worker_object *self, PyObject *made, struct pp_message *answer);
/* The function that a call names, as self->exposed, and its checked arguments: values, of which the
 * last belong to `keywords` (NULL: none do). 0, or -1 with an exception. */
int pp_worker_prepare(struct pp_worker_object *self, const struct pp_message_call *call,
                      PyObject **valuesp, PyObject **keywordsp);
/* Makes `entry` self->exposed, and the result what its annotation wants; a new reference. */
PyObject *pp_worker_check_result(struct pp_worker_object *self, PyObject *entry, PyObject *result);

/* worker_share.c: pp_worker_calls.share, and methods of the Worker. */
int pp_worker_share(void *token, const struct pp_message_call *call);
PyObject *pp_worker_py_share_take(PyObject *object, PyObject *unused);
PyObject *pp_worker_py_share_answer(PyObject *object, PyObject *args);
PyObject *pp_worker_py_share_fail(PyObject *object, PyObject *args);
/* Methods of the Worker. */
PyObject *pp_worker_py_stream_add(PyObject *object, PyObject *value);
PyObject *pp_worker_py_stream_wait(PyObject *object, PyObject *wait);
PyObject *pp_worker_py_stream_waits(PyObject *object, PyObject *unused);

/* Lets go of what the last answer lent. */
void pp_worker_release(struct pp_worker_object *self);

#endif
