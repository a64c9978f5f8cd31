/* server_policy.c - a policy out of Python's dict, every part checked.
 *
 * {"roles": [(name, [allow], [deny], rate, burst, max_in_flight, max_payload, tenant)],
 *  "bindings": [(name, role, uid or -1, gid or -1, key or None)],
 *  "keys": [(id, secret or None, file or None)], "uids": [..], "gids": [..], "pids": [..],
 *  "needs_key": bool}
 */
#include "binding/core.h"

#include <string.h>

/* The list under that key, which is at most so long; -1 with an exception. */
static Py_ssize_t list_of(PyObject *dict, const char *key, PyObject **listp)
{
    PyObject *list = PyDict_GetItemString(dict, key); /* borrowed */

    *listp = list;
    if (!list)
        return 0;
    if (!PyList_Check(list) || PyList_Size(list) > 65536) {
        PyErr_Format(PyExc_TypeError, "policy: %s is no list of at most 65536", key);
        return -1;
    }
    return PyList_Size(list);
}

static void *array(struct pp_policy_memory *memory, size_t n, size_t size)
{
    void *bytes = PyMem_Calloc(n + 1, size);
    PyObject *capsule = bytes ? PyCapsule_New(bytes, NULL, pp_policy_free_array) : NULL;

    if (!capsule || PyList_Append(memory->keep, capsule) < 0) {
        if (!capsule)
            PyMem_Free(bytes);
        Py_XDECREF(capsule);
        if (!PyErr_Occurred())
            (void)PyErr_NoMemory();
        return NULL;
    }
    Py_DECREF(capsule);
    return bytes;
}

void pp_policy_free_array(PyObject *capsule)
{
    PyMem_Free(PyCapsule_GetPointer(capsule, NULL));
}

static int numbers(PyObject *dict, const char *key, struct pp_policy_memory *memory,
                   const uint32_t **numbersp, size_t *np)
{
    PyObject *list;
    Py_ssize_t n = list_of(dict, key, &list);
    uint32_t *out = n < 0 ? NULL : array(memory, (size_t)n, sizeof *out);

    if (!out)
        return -1;
    for (Py_ssize_t i = 0; i < n; i++) {
        unsigned long value = PyLong_AsUnsignedLong(PyList_GetItem(list, i));

        if (PyErr_Occurred())
            return -1;
        out[i] = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    }
    *numbersp = out;
    *np = (size_t)n;
    return 0;
}

static int glob_list(PyObject *list, struct pp_policy_memory *memory, const char *const **globsp,
                     size_t *np)
{
    Py_ssize_t n = PyList_Check(list) ? PyList_Size(list) : -1;
    const char **out = n < 0 ? NULL : array(memory, (size_t)n, sizeof *out);

    if (n < 0)
        PyErr_SetString(PyExc_TypeError, "policy: a role's functions are no list");
    for (Py_ssize_t i = 0; out && i < n; i++) {
        out[i] = PyUnicode_AsUTF8AndSize(PyList_GetItem(list, i), NULL);
        if (!out[i])
            return -1;
    }
    *globsp = out;
    *np = n < 0 ? 0 : (size_t)n;
    return out ? 0 : -1;
}

static int convert_roles(PyObject *dict, struct pp_policy_memory *memory)
{
    PyObject *list, *allow, *deny;
    Py_ssize_t n = list_of(dict, "roles", &list);
    struct pyproc_role *roles = n < 0 ? NULL : array(memory, (size_t)n, sizeof *roles);

    if (!roles)
        return -1;
    for (Py_ssize_t i = 0; i < n; i++) {
        struct pyproc_role *role = &roles[i];
        unsigned long long payload;
        unsigned in_flight, tenant;

        if (!PyArg_ParseTuple(PyList_GetItem(list, i), "sOOddIKI", &role->name, &allow, &deny,
                              &role->rate, &role->burst, &in_flight, &payload, &tenant) ||
            glob_list(allow, memory, &role->allow, &role->n_allow) < 0 ||
            glob_list(deny, memory, &role->deny, &role->n_deny) < 0)
            return -1;
        role->max_in_flight = in_flight;
        role->max_payload = payload;
        role->tenant = tenant;
    }
    memory->policy.roles = roles;
    memory->policy.n_roles = (size_t)n;
    return 0;
}

static int convert_bindings(PyObject *dict, struct pp_policy_memory *memory)
{
    PyObject *list;
    Py_ssize_t n = list_of(dict, "bindings", &list);
    struct pyproc_binding *bindings = n < 0 ? NULL : array(memory, (size_t)n, sizeof *bindings);

    if (!bindings)
        return -1;
    for (Py_ssize_t i = 0; i < n; i++) {
        long long uid, gid;
        unsigned role;

        if (!PyArg_ParseTuple(PyList_GetItem(list, i), "sILLz", &bindings[i].name, &role, &uid,
                              &gid, &bindings[i].key))
            return -1;
        bindings[i].role = role;
        bindings[i].uid = uid;
        bindings[i].gid = gid;
    }
    memory->policy.bindings = bindings;
    memory->policy.n_bindings = (size_t)n;
    return 0;
}

static int convert_keys(PyObject *dict, struct pp_policy_memory *memory)
{
    PyObject *list;
    Py_ssize_t n = list_of(dict, "keys", &list);
    struct pyproc_key *keys = n < 0 ? NULL : array(memory, (size_t)n, sizeof *keys);

    if (!keys)
        return -1;
    for (Py_ssize_t i = 0; i < n; i++) {
        const char *secret;
        Py_ssize_t size;

        if (!PyArg_ParseTuple(PyList_GetItem(list, i), "sz#z", &keys[i].id, &secret, &size,
                              &keys[i].file))
            return -1;
        keys[i].secret = (struct pyproc_bytes){secret, (size_t)size};
    }
    memory->policy.keys = keys;
    memory->policy.n_keys = (size_t)n;
    return 0;
}

int pp_policy_convert(PyObject *dict, struct pp_policy_memory *memory)
{
    struct pyproc_policy *policy = &memory->policy;
    PyObject *needs_key;
    const uint32_t *pids;

    memset(memory, 0, sizeof *memory);
    if (!PyDict_Check(dict)) {
        PyErr_SetString(PyExc_TypeError, "policy: a dict is needed");
        return -1;
    }
    memory->keep = PyList_New(0);
    needs_key = PyDict_GetItemString(dict, "needs_key");
    policy->needs_key = needs_key && PyObject_IsTrue(needs_key) > 0;
    if (!memory->keep || convert_roles(dict, memory) < 0 || convert_bindings(dict, memory) < 0 ||
        convert_keys(dict, memory) < 0 ||
        numbers(dict, "uids", memory, &policy->uids, &policy->n_uids) < 0 ||
        numbers(dict, "gids", memory, &policy->gids, &policy->n_gids) < 0 ||
        numbers(dict, "pids", memory, &pids, &policy->n_pids) < 0) {
        pp_policy_release(memory);
        return -1;
    }
    policy->pids = (const int32_t *)pids;
    return 0;
}

void pp_policy_release(struct pp_policy_memory *memory)
{
    Py_CLEAR(memory->keep);
}
