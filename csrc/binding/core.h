/* core.h - what the files of the host's binding share: module state, conversion,
 * exceptions.
 *
 * A binding function converts, calls the core, converts back; it holds no rule. The
 * GIL is held everywhere here except around calls of the core that can wait or lock.
 */
#ifndef PP_BINDING_CORE_H
#define PP_BINDING_CORE_H

#include "binding/plain.h"
#include "include/pyproc_named.h"

#include "binding/clean.h"

struct core_state {
    PyTypeObject *pool_type;
    PyTypeObject *queue_type;
    PyTypeObject *client_type;
    PyTypeObject *server_type;
    PyTypeObject *memory_type;
    struct pp_memory_object *memories; /* those that are mapped; lent */
    PyObject *from_failure;            /* pyproc.errors.from_failure, looked up at first use */
    PyObject *from_end;                /* pyproc.errors.from_end, likewise */
    struct pp_plain_keys keys;
};

extern PyType_Spec pp_pool_spec;
extern PyType_Spec pp_queue_spec;
extern PyType_Spec pp_client_spec;
extern PyType_Spec pp_server_spec;
extern PyType_Spec pp_memory_spec;

/* raise.c: the one place that turns an end into an exception. */

/* A new exception object for a reply that is no value; NULL with an exception set when even
 * that fails. `function` is a str or NULL. */
PyObject *pp_exception(struct core_state *state, const struct pyproc_reply *reply,
                       PyObject *function);
/* Raises it. Always answers NULL. */
PyObject *pp_raise(struct core_state *state, const struct pyproc_reply *reply, PyObject *function);
/* Raises what a negative answer of the core means (OSError with its words). NULL. */
PyObject *pp_raise_errno(int code);

/* convert.c */

/* A str's utf-8, lent as long as the object lives. 0, or -1 with an exception. */
int pp_utf8(PyObject *text, struct pyproc_bytes *bytesp);
/* Bytes to a str; what is not utf-8 is replaced. */
PyObject *pp_text(struct pyproc_bytes bytes);
PyObject *pp_bytes_object(struct pyproc_bytes bytes);
/* Seconds (float; None: for ever) to nanoseconds; 0 for NULL. -1 with an exception for a
 * value that is no number. */
int pp_span(PyObject *seconds, int64_t *nsp);

/* A Python configuration (a dict of the keys named in convert.c) as the core wants it.
 * Strings stay borrowed from `keep`, a list that the caller owns. */
struct pp_config_memory {
    PyObject *keep;                          /* list of objects whose bytes are borrowed */
    struct pyproc_bytes *path;               /* owned */
    struct pyproc_function *functions;       /* owned */
    const char **env, **env_pass, **preload; /* owned arrays */
};
int pp_convert_config(PyObject *dict, struct pyproc_config *config,
                      struct pp_config_memory *memory);
void pp_config_memory_free(struct pp_config_memory *memory);

/* What is called the same way: a pool, or a client of one. The handle is owned, and never changes
 * after __new__. */
struct pp_caller {
    int (*call)(void *handle, const struct pyproc_request *request, const struct pyproc_wait *wait,
                struct pyproc_reply *reply);
    int (*submit)(void *handle, const struct pyproc_request *request,
                  const struct pyproc_wait *wait, struct pyproc_queue *queue, void *token,
                  uint64_t *idp, struct pyproc_reply *reply);
    int (*cancel)(void *handle, uint64_t id, int kill);
    int (*stream_more)(void *handle, uint64_t id, uint64_t items, uint64_t bytes, int waits);
    int (*stream_close)(void *handle, uint64_t id);
};
struct pp_caller_object {
    PyObject_HEAD void *handle;
    const struct pp_caller *caller;
    size_t large; /* from which size on bytes go in memory; 0: never */
};
static inline struct pp_caller_object *pp_caller_of(PyObject *self)
{
    return (struct pp_caller_object *)(void *)self;
}

/* pool_type.c: the core's pool, lent as long as the object lives. */
struct pyproc_pool *pp_pool_of(PyObject *self);
void pp_pool_add_function(void *token, struct pyproc_bytes name, struct pyproc_bytes signature);
/* From which size on bytes go in memory; SIZE_MAX: never. */
size_t pp_pool_large(PyObject *self);

/* caller.c */
PyObject *pp_pool_submit(PyObject *self, PyTypeObject *type, PyObject *const *args,
                         Py_ssize_t n_args, PyObject *names);
PyObject *pp_pool_cancel(PyObject *self, PyTypeObject *type, PyObject *const *args,
                         Py_ssize_t n_args, PyObject *names);
PyObject *pp_pool_stream_more(PyObject *self, PyTypeObject *type, PyObject *const *args,
                              Py_ssize_t n_args, PyObject *names);
PyObject *pp_pool_stream_close(PyObject *self, PyObject *id);

/* pool_call.c */

enum { PP_KEYWORDS_FEW = 8 };

/* A request, its bytes borrowed from the arguments. */
struct pp_request_memory {
    struct pyproc_bytes few[PP_KEYWORDS_FEW];
    int attached[PYPROC_ATTACHMENTS_MAX];
    struct pyproc_bytes *many; /* owned, when there are more keywords than that */
};

/* function: str, payload: bytes, codec: int, keywords: tuple, run_timeout, queue_timeout
 * (seconds; None: no limit; False: the pool's), options (a dict, or None). 0, or -1 with an
 * exception; `many` is the caller's to free either way. */
int pp_convert_request(PyObject *const *args, struct pyproc_request *request,
                       struct pp_request_memory *memory);
int pp_count_is(Py_ssize_t n_args, Py_ssize_t wanted, PyObject *names, const char *function);
PyObject *pp_pool_call(PyObject *self, PyTypeObject *type, PyObject *const *args, Py_ssize_t n_args,
                       PyObject *names);
PyObject *pp_pool_call_values(PyObject *self, PyTypeObject *type, PyObject *const *args,
                              Py_ssize_t n_args, PyObject *names);

/* server_policy.c: a policy, its bytes borrowed from the dict; arrays are held by `keep`. */
enum { PP_TENANTS_MAX = 1024 };
struct pp_policy_memory {
    struct pyproc_policy policy;
    PyObject *keep;
};
int pp_policy_convert(PyObject *dict, struct pp_policy_memory *memory);
void pp_policy_release(struct pp_policy_memory *memory);
void pp_policy_free_array(PyObject *capsule);

/* memory_type.c */
PyObject *pp_pool_memory(PyObject *self, PyTypeObject *type, PyObject *const *args,
                         Py_ssize_t n_args, PyObject *names);
/* A value's payload: bytes, or (bytes, tuple of Memory) when some of it is in memory. */
PyObject *pp_memory_payload(struct core_state *state, const struct pyproc_reply *reply);
PyObject *pp_memory_py_find(PyObject *module, PyObject *object);

/* filter.c */
PyObject *pp_filter_py_compile(PyObject *module, PyObject *args);
PyObject *pp_filter_py_knows(PyObject *module, PyObject *name);
PyObject *pp_filter_py_namespaces(PyObject *module, PyObject *flags);
PyObject *pp_filter_py_tripwire(PyObject *module, PyObject *unused);
PyObject *pp_filter_py_name(PyObject *module, PyObject *number);
PyObject *pp_filter_py_cgroup(PyObject *module, PyObject *wanted);
PyObject *pp_filter_py_landlock(PyObject *module, PyObject *unused);
PyObject *pp_filter_py_enter(PyObject *module, PyObject *args);

/* queue_type.c */
struct pyproc_queue *pp_queue_of(PyObject *object);
/* One more call is to end there. */
void pp_queue_expect(PyObject *object);

/* pool_type.c: lets a waiting call answer ^C: takes the GIL and looks at signals. */
struct pp_gil {
    PyThreadState *thread;
};
int pp_gil_interrupted(void *token);

#endif
