/* worker_failure.c - what a function raised, as the call's answer.
 *
 * pyproc/worker/failure.py describes the exception as tuples of bytes; here they become the
 * message's nodes, which lend from the description until the answer is out.
 */
#include "binding/worker_type.h"

static int fill_node(PyObject *tuple, struct pp_failure_node *node, struct pp_bytes **notesp)
{
    PyObject *notes;
    Py_ssize_t sizes[5];
    const char *texts[5];
    struct pp_bytes *fields[] = {&node->type_name, &node->message, &node->traceback,
                                 &node->arguments, &node->attributes};
    int relation, suppress;
    unsigned parent;

    if (!PyArg_ParseTuple(tuple, "iIy#y#y#y#y#O!p", &relation, &parent, &texts[0], &sizes[0],
                          &texts[1], &sizes[1], &texts[2], &sizes[2], &texts[3], &sizes[3],
                          &texts[4], &sizes[4], &PyTuple_Type, &notes, &suppress))
        return -1;
    for (size_t i = 0; i < 5; i++)
        *fields[i] = (struct pp_bytes){(const uint8_t *)texts[i], (size_t)sizes[i]};
    node->relation = (enum pp_relation)relation;
    node->parent = parent;
    node->suppress_context = suppress != 0;
    node->notes = *notesp;
    node->n_notes = (size_t)PyTuple_Size(notes);
    for (size_t i = 0; i < node->n_notes; i++) {
        char *text;
        Py_ssize_t size;

        if (PyBytes_AsStringAndSize(PyTuple_GetItem(notes, (Py_ssize_t)i), &text, &size) < 0)
            return -1;
        *(*notesp)++ = (struct pp_bytes){(const uint8_t *)text, (size_t)size};
    }
    return 0;
}

static Py_ssize_t count_notes(PyObject *nodes)
{
    Py_ssize_t n = 0;

    for (Py_ssize_t i = 0; i < PyList_Size(nodes); i++) {
        PyObject *node = PyList_GetItem(nodes, i);
        PyObject *notes =
            PyTuple_Check(node) && PyTuple_Size(node) == 9 ? PyTuple_GetItem(node, 7) : NULL;

        if (!notes || !PyTuple_Check(notes)) {
            PyErr_SetString(PyExc_TypeError, "a failure's node has nine parts");
            return -1;
        }
        n += PyTuple_Size(notes);
    }
    return n;
}

int pp_worker_fill_failure(struct pp_worker_object *self, PyObject *described,
                           struct pp_message *answer)
{
    PyObject *nodes;
    const char *path;
    Py_ssize_t path_size, n, n_notes;
    struct pp_bytes *notes;
    int kind;

    pp_worker_release(self);
    self->held = Py_NewRef(described);
    if (!PyArg_ParseTuple(described, "iy#O!", &kind, &path, &path_size, &PyList_Type, &nodes))
        return -1;
    n = PyList_Size(nodes);
    n_notes = count_notes(nodes);
    if (n_notes < 0)
        return -1;
    self->nodes = PyMem_Calloc((size_t)n + 1, sizeof *self->nodes);
    self->notes = notes = PyMem_Calloc((size_t)n_notes + 1, sizeof *notes);
    if (!self->nodes || !notes) {
        (void)PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        if (fill_node(PyList_GetItem(nodes, i), &self->nodes[i], &notes) < 0)
            return -1;
    }
    answer->kind = PP_MESSAGE_FAILURE;
    answer->failure = (struct pp_message_failure){
        .kind = (enum pp_failure_kind)kind,
        .nodes = self->nodes,
        .n_nodes = (size_t)n,
        .path = {(const uint8_t *)path, (size_t)path_size},
    };
    return 0;
}

void pp_worker_release(struct pp_worker_object *self)
{
    Py_CLEAR(self->held);
    PyMem_Free(self->nodes);
    PyMem_Free(self->notes);
    self->nodes = NULL;
    self->notes = NULL;
}

PyObject *pp_worker_take_exception(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (value && traceback)
        (void)PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* When not even the failure can be described: memory is out, or the stack. */
static void fill_bare_failure(struct pp_worker_object *self, struct pp_message *answer)
{
    static const uint8_t TYPE[] = "RuntimeError";
    static const uint8_t TEXT[] = "the function failed, and its exception could not be described";
    static const struct pp_failure_node NODE = {
        .relation = PP_RELATION_ROOT,
        .type_name = {TYPE, sizeof TYPE - 1},
        .message = {TEXT, sizeof TEXT - 1},
    };

    PyErr_Clear();
    pp_worker_release(self);
    answer->kind = PP_MESSAGE_FAILURE;
    answer->failure =
        (struct pp_message_failure){.kind = PP_FAILURE_EXCEPTION, .nodes = &NODE, .n_nodes = 1};
}

void pp_worker_answer_failure(struct pp_worker_object *self, struct pp_message *answer)
{
    PyObject *raised = pp_worker_take_exception();
    PyObject *described =
        raised ? PyObject_CallMethod(self->handlers, "failure", "(O)", raised) : NULL;

    if (!described || pp_worker_fill_failure(self, described, answer) < 0)
        fill_bare_failure(self, answer);
    Py_XDECREF(described);
    Py_XDECREF(raised);
}

PyObject *pp_worker_py_refused(PyObject *object, PyObject *args)
{
    struct pp_worker_object *self = (struct pp_worker_object *)object;
    unsigned long long call;
    const char *text;
    Py_ssize_t n;

    if (!PyArg_ParseTuple(args, "Ky#", &call, &text, &n))
        return NULL;
    if (!self->worker || n > PP_EVENT_TEXT_MAX) {
        PyErr_SetString(PyExc_ValueError, "what was refused has 512 bytes at most");
        return NULL;
    }
    pp_worker_refused(self->worker, call ? call : self->call,
                      (struct pp_bytes){(const uint8_t *)text, (size_t)n});
    Py_RETURN_NONE;
}
