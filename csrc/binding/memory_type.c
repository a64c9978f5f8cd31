/* memory_type.c - _core.Memory: shared memory as a Python buffer.
 *
 * Writable here when this process made it to be sent, read-only when a worker filled it. All that
 * live stand in a list of the module, guarded by the GIL, so that an array, a slice of one or any
 * other view is known by its address to be in memory that can travel without a copy.
 */
#include "binding/core.h"

#include <errno.h>

struct pp_memory_object {
    PyObject_HEAD struct pyproc_memory *memory; /* a reference */
    uint8_t *map;                               /* lent; NULL: not asked for yet */
    size_t size;                                /* never changes */
    struct pp_memory_object **from, *next;      /* of the module's list, while mapped */
};

static struct pp_memory_object *of(PyObject *object)
{
    return (struct pp_memory_object *)(void *)object;
}

/* Maps it and puts it into the list. 0, or -1 with an exception. */
static int map(struct core_state *state, struct pp_memory_object *self)
{
    void *at;
    int error = 0;

    if (self->map)
        return 0;
    Py_BEGIN_ALLOW_THREADS at = pyproc_memory_map(self->memory);
    error = at ? 0 : errno;
    Py_END_ALLOW_THREADS if (!at)
    {
        (void)pp_raise_errno(-error);
        return -1;
    }
    if (self->map)
        return 0; /* another thread was faster */
    self->map = at;
    self->from = &state->memories;
    self->next = state->memories;
    if (self->next)
        self->next->from = &self->next;
    state->memories = self;
    return 0;
}

/* Takes the reference. */
static PyObject *wrap(struct core_state *state, struct pyproc_memory *memory)
{
    struct pp_memory_object *self =
        (struct pp_memory_object *)(void *)PyType_GenericAlloc(state->memory_type, 0);

    if (!self) {
        pyproc_memory_unref(memory);
        return NULL;
    }
    self->memory = memory;
    self->size = pyproc_memory_size(memory);
    return (PyObject *)self;
}

static PyObject *make(struct core_state *state, struct pyproc_pool *pool, PyObject *number)
{
    struct pyproc_memory *memory;
    size_t size = PyLong_AsSize_t(number);
    int r;

    if (PyErr_Occurred())
        return NULL;
    r = pyproc_memory_new(pool, size, &memory);
    return r < 0 ? pp_raise_errno(r) : wrap(state, memory);
}

static PyObject *memory_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct core_state *state = PyType_GetModuleState(type);
    PyObject *number, *self;

    if (!PyArg_ParseTuple(args, "O", &number) || (kwargs && PyDict_Size(kwargs) > 0))
        return NULL;
    self = make(state, NULL, number);
    if (self && map(state, of(self)) < 0)
        Py_CLEAR(self);
    return self;
}

PyObject *pp_pool_memory(PyObject *self, PyTypeObject *type, PyObject *const *args,
                         Py_ssize_t n_args, PyObject *names)
{
    if (!pp_count_is(n_args, 1, names, "memory"))
        return NULL;
    return make(PyType_GetModuleState(type), pp_pool_of(self), args[0]);
}

PyObject *pp_memory_payload(struct core_state *state, const struct pyproc_reply *reply)
{
    PyObject *bytes =
        PyBytes_FromStringAndSize((const char *)reply->payload, (Py_ssize_t)reply->size);
    PyObject *memories;

    if (!bytes || reply->n_memories == 0)
        return bytes;
    memories = PyTuple_New((Py_ssize_t)reply->n_memories);
    for (size_t i = 0; memories && i < reply->n_memories; i++) {
        PyObject *memory = wrap(state, pyproc_memory_ref(reply->memories[i]));

        if (!memory || map(state, of(memory)) < 0) {
            Py_XDECREF(memory);
            Py_CLEAR(memories);
        } else {
            (void)PyTuple_SetItem(memories, (Py_ssize_t)i, memory);
        }
    }
    if (!memories) {
        Py_DECREF(bytes);
        return NULL;
    }
    return Py_BuildValue("(NN)", bytes, memories);
}

/* ---- methods ---- */

static PyObject *append(struct pp_memory_object *self, const void *bytes, size_t n)
{
    size_t offset = 0;
    int r;

    Py_BEGIN_ALLOW_THREADS r = pyproc_memory_append(self->memory, bytes, n, &offset);
    Py_END_ALLOW_THREADS return r < 0 ? pp_raise_errno(r) : PyLong_FromSize_t(offset);
}

static PyObject *memory_append(PyObject *self, PyObject *data)
{
    Py_buffer view;
    PyObject *offset;

    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    offset = append(of(self), view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return offset;
}

static PyObject *memory_reserve(PyObject *self, PyObject *number)
{
    size_t n = PyLong_AsSize_t(number);

    return PyErr_Occurred() ? NULL : append(of(self), NULL, n);
}

static PyObject *memory_open(PyObject *self, PyObject *unused)
{
    int fd = -1, r;

    (void)unused;
    r = pyproc_memory_open(of(self)->memory, &fd);
    return r < 0 ? pp_raise_errno(r) : PyLong_FromLong(fd);
}

static PyObject *memory_writable(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(pyproc_memory_writable(of(self)->memory));
}

static int memory_get_buffer(PyObject *self, Py_buffer *view, int flags)
{
    struct core_state *state = PyType_GetModuleState(Py_TYPE(self));

    view->obj = NULL;
    if (map(state, of(self)) < 0)
        return -1;
    return PyBuffer_FillInfo(view, self, of(self)->map, (Py_ssize_t)of(self)->size,
                             !pyproc_memory_writable(of(self)->memory), flags);
}

static void memory_dealloc(PyObject *object)
{
    struct pp_memory_object *self = of(object);
    PyTypeObject *type = Py_TYPE(object);

    if (self->from) {
        *self->from = self->next;
        if (self->next)
            self->next->from = self->from;
    }
    pyproc_memory_unref(self->memory);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyMethodDef memory_methods[] = {
    {"append", memory_append, METH_O,
     PyDoc_STR("append(data, /) -> where it is: copies behind what is there")},
    {"reserve", memory_reserve, METH_O,
     PyDoc_STR("reserve(n, /) -> where they are: the caller fills all of these bytes")},
    {"open", memory_open, METH_NOARGS,
     PyDoc_STR("open() -> a read-only descriptor for a call, the caller's to close")},
    {"writable", memory_writable, METH_NOARGS, PyDoc_STR("writable() -> whether it is here")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot memory_slots[] = {
    {Py_tp_new, memory_new},
    {Py_tp_dealloc, memory_dealloc},
    {Py_tp_methods, memory_methods},
    {Py_bf_getbuffer, memory_get_buffer},
    {Py_tp_doc, (void *)PyDoc_STR("Memory(size, /): memory that workers can be shown.")},
    {0, NULL},
};

PyType_Spec pp_memory_spec = {
    .name = "pyproc._core.Memory",
    .basicsize = (int)sizeof(struct pp_memory_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = memory_slots,
};

/* Where an object's bytes are, when they lie in memory that this process can send. */
PyObject *pp_memory_py_find(PyObject *module, PyObject *object)
{
    struct core_state *state = PyModule_GetState(module);
    struct pp_memory_object *at;
    PyObject *found = NULL;
    Py_buffer view;

    if (!state->memories)
        Py_RETURN_NONE;
    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear(); /* in no one piece: it has to be copied */
        Py_RETURN_NONE;
    }
    for (at = state->memories; at && !found; at = at->next) {
        uintptr_t start = (uintptr_t)at->map, byte = (uintptr_t)view.buf;

        if (byte >= start && byte - start <= at->size &&
            (size_t)view.len <= at->size - (byte - start) && pyproc_memory_writable(at->memory))
            found = Py_BuildValue("(On)", (PyObject *)at, (Py_ssize_t)(byte - start));
    }
    PyBuffer_Release(&view);
    if (found || PyErr_Occurred())
        return found;
    Py_RETURN_NONE;
}
