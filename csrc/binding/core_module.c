/* core_module.c - pyproc._core, the host's side: three types and the plain codec. */
#include "binding/core.h"

static int core_exec(PyObject *module)
{
    struct core_state *state = PyModule_GetState(module);

    state->pool_type =
        (PyTypeObject *)(void *)PyType_FromModuleAndSpec(module, &pp_pool_spec, NULL);
    if (!state->pool_type || PyModule_AddType(module, state->pool_type) < 0)
        return -1;
    state->queue_type =
        (PyTypeObject *)(void *)PyType_FromModuleAndSpec(module, &pp_queue_spec, NULL);
    if (!state->queue_type || PyModule_AddType(module, state->queue_type) < 0)
        return -1;
    state->client_type =
        (PyTypeObject *)(void *)PyType_FromModuleAndSpec(module, &pp_client_spec, NULL);
    if (!state->client_type || PyModule_AddType(module, state->client_type) < 0)
        return -1;
    state->server_type =
        (PyTypeObject *)(void *)PyType_FromModuleAndSpec(module, &pp_server_spec, NULL);
    if (!state->server_type || PyModule_AddType(module, state->server_type) < 0)
        return -1;
    state->memory_type =
        (PyTypeObject *)(void *)PyType_FromModuleAndSpec(module, &pp_memory_spec, NULL);
    if (!state->memory_type || PyModule_AddType(module, state->memory_type) < 0)
        return -1;
    return 0;
}

static int core_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct core_state *state = PyModule_GetState(module);

    Py_VISIT(state->pool_type);
    Py_VISIT(state->queue_type);
    Py_VISIT(state->client_type);
    Py_VISIT(state->server_type);
    Py_VISIT(state->memory_type);
    Py_VISIT(state->from_failure);
    Py_VISIT(state->from_end);
    return 0;
}

static int core_clear(PyObject *module)
{
    struct core_state *state = PyModule_GetState(module);

    Py_CLEAR(state->pool_type);
    Py_CLEAR(state->queue_type);
    Py_CLEAR(state->client_type);
    Py_CLEAR(state->server_type);
    Py_CLEAR(state->memory_type);
    Py_CLEAR(state->from_failure);
    Py_CLEAR(state->from_end);
    pp_plain_keys_clear(&state->keys);
    return 0;
}

static void core_free(void *module)
{
    (void)core_clear(module);
}

#define FAST(function) (PyCFunction)(void (*)(void))(function)

static PyMethodDef core_methods[] = {
    {"pack_plain", FAST(pp_plain_py_pack), METH_FASTCALL,
     PyDoc_STR(
         "pack_plain(value, large=None, /) -> bytes, or None when something inside is not plain")},
    {"pack_rich", FAST(pp_plain_py_pack_rich), METH_FASTCALL,
     PyDoc_STR("pack_rich(value, hook, large=None, /) -> (bytes, rich)")},
    {"unpack", FAST(pp_plain_py_unpack), METH_FASTCALL,
     PyDoc_STR("unpack(payload, hook=None, /) -> object")},
    {"scan", FAST(pp_plain_py_scan), METH_FASTCALL,
     PyDoc_STR("scan(payload, count, flags, /) -> None, or ValueError")},
    {"find_memory", pp_memory_py_find, METH_O,
     PyDoc_STR("find_memory(buffer, /) -> (Memory, offset) where its bytes are, or None")},
    {"compile_filter", pp_filter_py_compile, METH_VARARGS,
     PyDoc_STR("compile_filter(standard, foreign, newest, architectures, rules, /) -> bytes")},
    {"knows_call", pp_filter_py_knows, METH_O,
     PyDoc_STR("knows_call(name, /) -> whether libseccomp knows the system call")},
    {"call_name", pp_filter_py_name, METH_O,
     PyDoc_STR("call_name(number, /) -> the name of a system call")},
    {"try_tripwire", pp_filter_py_tripwire, METH_NOARGS,
     PyDoc_STR("try_tripwire() -> 0, or a negative errno")},
    {"try_namespaces", pp_filter_py_namespaces, METH_O,
     PyDoc_STR("try_namespaces(flags, /) -> 0, or a negative errno")},
    {"enter_sandbox", pp_filter_py_enter, METH_VARARGS,
     PyDoc_STR("enter_sandbox(box, all_threads, /): gives up what the box says, for good.")},
    {"find_cgroup", pp_filter_py_cgroup, METH_O,
     PyDoc_STR("find_cgroup(directory or None, /) -> (0, kind, directory), or (errno, step, '')")},
    {"landlock_abi", pp_filter_py_landlock, METH_NOARGS,
     PyDoc_STR("landlock_abi() -> what the kernel's Landlock can do; a negative errno: none")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
#if defined(Py_mod_multiple_interpreters) && !defined(Py_LIMITED_API)
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef core_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pyproc._core",
    .m_doc = PyDoc_STR("The native core of pyproc, host side."),
    .m_size = (Py_ssize_t)sizeof(struct core_state),
    .m_methods = core_methods,
    .m_slots = core_slots,
    .m_traverse = core_traverse,
    .m_clear = core_clear,
    .m_free = core_free,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&core_definition);
}
