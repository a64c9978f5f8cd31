/* convert.c - Python objects to the core's structs. */
#include "binding/core.h"

#include <math.h>
#include <string.h>

int pp_utf8(PyObject *text, struct pyproc_bytes *bytesp)
{
    Py_ssize_t n;
    const char *data = PyUnicode_AsUTF8AndSize(text, &n);

    if (!data)
        return -1;
    *bytesp = (struct pyproc_bytes){data, (size_t)n};
    return 0;
}

PyObject *pp_text(struct pyproc_bytes bytes)
{
    return PyUnicode_DecodeUTF8(bytes.size ? bytes.data : "", (Py_ssize_t)bytes.size, "replace");
}

PyObject *pp_bytes_object(struct pyproc_bytes bytes)
{
    return PyBytes_FromStringAndSize(bytes.data, (Py_ssize_t)bytes.size);
}

int pp_span(PyObject *seconds, int64_t *nsp)
{
    double value;

    if (!seconds) {
        *nsp = 0;
        return 0;
    }
    if (seconds == Py_None) {
        *nsp = PYPROC_FOREVER;
        return 0;
    }
    value = PyFloat_AsDouble(seconds);
    if (value == -1.0 && PyErr_Occurred())
        return -1;
    if (isnan(value) || value < 0) {
        PyErr_SetString(PyExc_ValueError, "a time is a number of seconds, 0 or more, or None");
        return -1;
    }
    if (value >= 9e9) /* 285 years */
        *nsp = PYPROC_FOREVER;
    else
        *nsp = value < 1e-9 ? 1 : (int64_t)(value * 1e9);
    return 0;
}

/* A value of the dict; NULL without an exception when it is missing or None. */
static PyObject *get(PyObject *dict, const char *key)
{
    PyObject *value = PyDict_GetItemString(dict, key);

    return value == Py_None ? NULL : value;
}

static int get_text(PyObject *dict, const char *key, struct pp_config_memory *memory,
                    struct pyproc_bytes *bytesp)
{
    PyObject *value = get(dict, key);

    if (!value)
        return 0;
    if (PyList_Append(memory->keep, value) < 0)
        return -1;
    return pp_utf8(value, bytesp);
}

/* As a C string in the file system's encoding: a path may hold bytes that are no utf-8. */
static int get_path(PyObject *dict, const char *key, struct pp_config_memory *memory,
                    const char **textp)
{
    PyObject *value = get(dict, key);
    PyObject *bytes;
    char *data;
    int r;

    if (!value)
        return 0;
    bytes = PyUnicode_EncodeFSDefault(value);
    if (!bytes)
        return -1;
    r = PyBytes_AsStringAndSize(bytes, &data, NULL); /* refuses NUL inside */
    if (r == 0)
        r = PyList_Append(memory->keep, bytes);
    Py_DECREF(bytes);
    if (r == 0)
        *textp = data;
    return r;
}

static int get_size(PyObject *dict, const char *key, size_t *valuep)
{
    PyObject *value = get(dict, key);

    if (!value)
        return 0;
    *valuep = PyLong_AsSize_t(value);
    return *valuep == (size_t)-1 && PyErr_Occurred() ? -1 : 0;
}

static int get_limit(PyObject *dict, const char *key, uint64_t *valuep)
{
    PyObject *value = get(dict, key);

    if (!value)
        return 0;
    *valuep = PyLong_AsUnsignedLongLong(value);
    return *valuep == (uint64_t)-1 && PyErr_Occurred() ? -1 : 0;
}

static int get_unsigned(PyObject *dict, const char *key, unsigned *valuep)
{
    size_t value = *valuep;

    if (get_size(dict, key, &value) < 0)
        return -1;
    *valuep = value > 1000000 ? 1000000 : (unsigned)value;
    return 0;
}

static int get_span(PyObject *dict, const char *key, int64_t *nsp)
{
    PyObject *value = PyDict_GetItemString(dict, key);

    return value ? pp_span(value, nsp) : 0;
}

/* A list of str as C strings ("NAME=value"), NULL-terminated. */
static int get_strings(PyObject *dict, const char *key, struct pp_config_memory *memory,
                       const char ***stringsp)
{
    PyObject *list = get(dict, key);
    Py_ssize_t n = list ? PyList_Size(list) : 0;

    if (n < 0)
        return -1;
    *stringsp = PyMem_Calloc((size_t)n + 1, sizeof **stringsp);
    if (!*stringsp) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *bytes = PyUnicode_EncodeFSDefault(PyList_GetItem(list, i));
        char *data;
        int r;

        if (!bytes)
            return -1;
        r = PyBytes_AsStringAndSize(bytes, &data, NULL);
        if (r == 0)
            r = PyList_Append(memory->keep, bytes);
        Py_DECREF(bytes);
        if (r < 0)
            return -1;
        (*stringsp)[i] = data;
    }
    return 0;
}

static int get_import_path(PyObject *dict, struct pyproc_config *config,
                           struct pp_config_memory *memory)
{
    PyObject *list = get(dict, "path");
    Py_ssize_t n = list ? PyList_Size(list) : 0;

    if (n < 0)
        return -1;
    memory->path = PyMem_Calloc((size_t)n + 1, sizeof *memory->path);
    if (!memory->path) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *entry = PyList_GetItem(list, i);

        if (!entry || PyList_Append(memory->keep, entry) < 0 ||
            pp_utf8(entry, &memory->path[i]) < 0)
            return -1;
    }
    config->path = memory->path;
    config->n_path = (size_t)n;
    return 0;
}

/* (name, module, qualname, file, pickled): str, str, str, str, bytes. */
static int get_function(PyObject *tuple, struct pp_config_memory *memory,
                        struct pyproc_function *function)
{
    struct pyproc_bytes *texts[] = {&function->name, &function->module, &function->qualname,
                                    &function->file};
    PyObject *pickled = PyTuple_GetItem(tuple, 4);
    Py_ssize_t n;
    char *data;

    if (!pickled || PyList_Append(memory->keep, tuple) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < 4; i++)
        if (pp_utf8(PyTuple_GetItem(tuple, i), texts[i]) < 0)
            return -1;
    if (PyBytes_AsStringAndSize(pickled, &data, &n) < 0)
        return -1;
    function->pickled = (struct pyproc_bytes){data, (size_t)n};
    return 0;
}

static int get_functions(PyObject *dict, struct pyproc_config *config,
                         struct pp_config_memory *memory)
{
    PyObject *list = get(dict, "functions");
    Py_ssize_t n = list ? PyList_Size(list) : 0;

    if (n < 0)
        return -1;
    memory->functions = PyMem_Calloc((size_t)n + 1, sizeof *memory->functions);
    if (!memory->functions) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        if (get_function(PyList_GetItem(list, i), memory, &memory->functions[i]) < 0)
            return -1;
    config->functions = memory->functions;
    config->n_functions = (size_t)n;
    return 0;
}

static int get_target(PyObject *dict, struct pyproc_config *config, struct pp_config_memory *memory)
{
    size_t kind = 0;

    if (get_size(dict, "target_kind", &kind) < 0 ||
        get_text(dict, "target", memory, &config->target) < 0 ||
        get_text(dict, "file", memory, &config->file) < 0 ||
        get_text(dict, "prefix", memory, &config->prefix) < 0 ||
        get_text(dict, "base_prefix", memory, &config->base_prefix) < 0 ||
        get_text(dict, "python_version", memory, &config->python_version) < 0)
        return -1;
    config->target_kind = (enum pyproc_target_kind)kind;
    return 0;
}

/* Bytes of which each bit is a CPU, the lowest first; and how many of them a worker gets. */
static int get_cpus(PyObject *dict, struct pyproc_config *config)
{
    PyObject *value = get(dict, "cpus");
    Py_ssize_t n;
    char *mask;

    if (!value)
        return 0;
    if (PyBytes_AsStringAndSize(value, &mask, &n) < 0)
        return -1;
    for (size_t i = 0; i < (size_t)n && i < sizeof config->cpus; i++)
        config->cpus[i / 8] |= (uint64_t)(uint8_t)mask[i] << (i % 8 * 8);
    return get_unsigned(dict, "cpus_each", &config->cpus_each);
}

static int get_limits(PyObject *dict, struct pyproc_config *config)
{
    unsigned nice = 0, drop_output = 0;

    if (get_unsigned(dict, "min_workers", &config->min_workers) < 0 ||
        get_unsigned(dict, "max_workers", &config->max_workers) < 0 ||
        get_size(dict, "max_queue", &config->max_queue) < 0 ||
        get_size(dict, "max_queue_bytes", &config->max_queue_bytes) < 0 ||
        get_size(dict, "max_frame", &config->max_frame) < 0 ||
        get_size(dict, "max_result", &config->max_result) < 0 ||
        get_size(dict, "max_memory", &config->max_memory) < 0 ||
        get_unsigned(dict, "max_in_flight", &config->max_in_flight) < 0 ||
        get_size(dict, "buffer_threshold", &config->buffer_threshold) < 0 ||
        get_size(dict, "memory_stock", &config->memory_stock) < 0 ||
        get_span(dict, "start_timeout", &config->start_timeout) < 0 ||
        get_span(dict, "queue_timeout", &config->queue_timeout) < 0 ||
        get_span(dict, "task_timeout", &config->task_timeout) < 0 ||
        get_span(dict, "grace", &config->grace) < 0 ||
        get_limit(dict, "limit_address_space", &config->limit_address_space) < 0 ||
        get_limit(dict, "limit_core", &config->limit_core) < 0 ||
        get_limit(dict, "limit_file_size", &config->limit_file_size) < 0 ||
        get_limit(dict, "limit_open_files", &config->limit_open_files) < 0 ||
        get_limit(dict, "limit_stack", &config->limit_stack) < 0 ||
        get_limit(dict, "limit_memory", &config->limit_memory) < 0 ||
        get_span(dict, "limit_cpu", &config->limit_cpu) < 0 ||
        get_limit(dict, "limit_output", &config->limit_output) < 0 ||
        get_limit(dict, "limit_processes", &config->limit_processes) < 0 ||
        get_limit(dict, "limit_threads", &config->limit_threads) < 0 ||
        get_cpus(dict, config) < 0 || get_unsigned(dict, "nice", &nice) < 0 ||
        get_unsigned(dict, "drop_output", &drop_output) < 0)
        return -1;
    config->nice = (int)nice;
    config->drop_output = drop_output != 0;
    return 0;
}

static int get_bytes(PyObject *dict, const char *key, struct pp_config_memory *memory,
                     struct pyproc_bytes *bytesp)
{
    PyObject *value = get(dict, key);
    Py_ssize_t n;
    char *data;

    if (!value)
        return 0;
    if (PyList_Append(memory->keep, value) < 0 || PyBytes_AsStringAndSize(value, &data, &n) < 0)
        return -1;
    *bytesp = (struct pyproc_bytes){data, (size_t)n};
    return 0;
}

static int get_sandbox(PyObject *dict, struct pyproc_config *config,
                       struct pp_config_memory *memory)
{
    if (get_bytes(dict, "sandbox_first", memory, &config->sandbox_first) < 0)
        return -1;
    return get_bytes(dict, "sandbox_second", memory, &config->sandbox_second);
}

static int get_life(PyObject *dict, struct pyproc_config *config)
{
    unsigned jitter = 0;

    if (get_limit(dict, "recycle_tasks", &config->recycle_tasks) < 0 ||
        get_limit(dict, "recycle_memory", &config->recycle_memory) < 0 ||
        get_span(dict, "recycle_age", &config->recycle_age) < 0 ||
        get_unsigned(dict, "recycle_jitter", &jitter) < 0 ||
        get_span(dict, "idle_timeout", &config->idle_timeout) < 0)
        return -1;
    config->recycle_jitter = jitter;
    return get_span(dict, "priority_step", &config->priority_step);
}

static int get_start(PyObject *dict, struct pyproc_config *config, struct pp_config_memory *memory)
{
    unsigned method = config->start_method;

    if (get_unsigned(dict, "start_method", &method) < 0 ||
        get_strings(dict, "preload", memory, &memory->preload) < 0)
        return -1;
    config->start_method = (enum pyproc_start)method;
    config->preload = memory->preload;
    while (memory->preload[config->n_preload])
        config->n_preload++;
    return 0;
}

int pp_convert_config(PyObject *dict, struct pyproc_config *config, struct pp_config_memory *memory)
{
    PyObject *events = get(dict, "events");

    pyproc_config_init(config);
    *memory = (struct pp_config_memory){.keep = PyList_New(0)};
    if (!memory->keep || get_path(dict, "python", memory, &config->python) < 0 ||
        get_path(dict, "package", memory, &config->package) < 0 ||
        get_path(dict, "keeper", memory, &config->keeper) < 0 ||
        get_path(dict, "cwd", memory, &config->cwd) < 0 ||
        get_path(dict, "cgroup", memory, &config->cgroup) < 0 ||
        get_strings(dict, "env", memory, &memory->env) < 0 ||
        get_strings(dict, "env_pass", memory, &memory->env_pass) < 0 ||
        get_target(dict, config, memory) < 0 || get_functions(dict, config, memory) < 0 ||
        get_import_path(dict, config, memory) < 0 || get_limits(dict, config) < 0 ||
        get_life(dict, config) < 0 || get_sandbox(dict, config, memory) < 0 ||
        get_start(dict, config, memory) < 0)
        return -1;
    config->env = memory->env;
    config->env_pass = memory->env_pass;
    if (events) {
        config->events = pp_queue_of(events);
        if (!config->events)
            return -1;
    }
    return 0;
}

void pp_config_memory_free(struct pp_config_memory *memory)
{
    Py_CLEAR(memory->keep);
    PyMem_Free(memory->path);
    PyMem_Free(memory->functions);
    PyMem_Free((void *)memory->env);
    PyMem_Free((void *)memory->env_pass);
    PyMem_Free((void *)memory->preload);
}
