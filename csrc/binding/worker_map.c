/* worker_map.c - _worker.Map: memory of the host's, mapped; for numpy and memoryview a buffer; and
 * Worker.memory(), which asks for some.
 *
 * Not the standard library's mmap: that is a file of its own, which a closed sandbox would not
 * let in any more. It is unmapped when the last array or view is gone.
 */
#include "binding/worker_type.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

struct map_object {
    PyObject_HEAD void *at; /* owned; NULL before */
    Py_ssize_t size;
    int writable;
};

static struct map_object *of(PyObject *object)
{
    return (struct map_object *)(void *)object;
}

/* To be filled: all pages are mapped at once. To be read: as they are touched, since a call may
 * look at a few of very many. */
static void *map(int fd, size_t size, int writable)
{
    void *at;

    Py_BEGIN_ALLOW_THREADS at = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ,
                                     MAP_SHARED | (writable ? MAP_POPULATE : 0), fd, 0);
    Py_END_ALLOW_THREADS return at;
}

/* Map(fd, writable=False): the whole file; the descriptor stays the caller's. */
static PyObject *map_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    struct map_object *self;
    int fd, writable = 0;
    off_t size;
    void *at;

    if (!PyArg_ParseTuple(args, "i|p", &fd, &writable) || (kwargs && PyDict_Size(kwargs) > 0))
        return NULL;
    size = lseek(fd, 0, SEEK_END); /* no stat(2): a closed sandbox has none */
    if (size <= 0) {
        errno = size == 0 ? EINVAL : errno;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    self = of(alloc(type, 0));
    if (!self)
        return NULL;
    at = map(fd, (size_t)size, writable);
    if (at == MAP_FAILED) {
        (void)PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF(self);
        return NULL;
    }
    self->at = at;
    self->size = (Py_ssize_t)size;
    self->writable = writable;
    return (PyObject *)self;
}

static void map_dealloc(PyObject *object)
{
    struct map_object *self = of(object);
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    if (self->at)
        (void)munmap(self->at, (size_t)self->size);
    release(object);
    Py_DECREF(type);
}

static int map_get_buffer(PyObject *object, Py_buffer *view, int flags)
{
    struct map_object *self = of(object);

    return PyBuffer_FillInfo(view, object, self->at, self->size, !self->writable, flags);
}

static PyType_Slot map_slots[] = {
    {Py_tp_doc, "Map(fd, writable=False, /): memory of the host's as a buffer."},
    {Py_tp_new, map_new},
    {Py_tp_dealloc, map_dealloc},
    {Py_bf_getbuffer, map_get_buffer},
    {0, NULL},
};

PyType_Spec pp_map_spec = {
    .name = "pyproc._worker.Map",
    .basicsize = (int)sizeof(struct map_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = map_slots,
};

/* ---- memory for results ---- */

/* (descriptor, whether its pages are there) */
PyObject *pp_worker_py_memory(PyObject *object, PyObject *number)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    uint64_t size = PyLong_AsUnsignedLongLong(number);
    bool warm = false;
    int fd = -1, r;

    if (PyErr_Occurred())
        return NULL;
    if (!self->worker || self->call == 0 || size == 0) {
        PyErr_SetString(PyExc_ValueError, "memory is for the result of a running call");
        return NULL;
    }
    r = pp_worker_memory(self->worker, self->call, size, &fd, &warm);
    if (r < 0) {
        errno = -r;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("(iO)", fd, warm ? Py_True : Py_False);
}

/* (from which size on results' buffers go in memory, how much of it one result may have). */
PyObject *pp_worker_py_memory_limits(PyObject *object, PyObject *unused)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;

    (void)unused;
    if (!self->worker)
        return Py_BuildValue("(ii)", 0, 0);
    return Py_BuildValue("(KK)", (unsigned long long)pp_worker_buffer_threshold(self->worker),
                         (unsigned long long)pp_worker_max_memory(self->worker));
}
