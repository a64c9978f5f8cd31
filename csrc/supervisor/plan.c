/* plan.c - from the host's configuration to what a worker is started with.
 *
 * The environment is built from an allow-list: secrets live in environments, and a
 * worker's /proc/self/environ keeps what it was born with.
 */
#include "supervisor/plan.h"

#include "base/arena.h"
#include "base/error.h"
#include "security/box.h"
#include "supervisor/cpus.h"
#include "wire/message.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What an interpreter and the libraries it loads need to find themselves, the
 * language and the time zone; nothing that usually carries a credential. */
static const char *const passing[] = {
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TZDIR",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "FONTCONFIG_PATH",
    "MAGICK_HOME",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    NULL,
};

static bool named(const char *entry, const char *name)
{
    size_t n = strlen(name);

    return strncmp(entry, name, n) == 0 && entry[n] == '=';
}

static bool in_list(const char *entry, const char *const *names)
{
    for (; names && *names; names++)
        if (named(entry, *names))
            return true;
    return false;
}

static bool same_name(const char *a, const char *b)
{
    const char *end = strchr(a, '=');

    return end && strncmp(a, b, (size_t)(end - a) + 1) == 0;
}

static bool replaced(const char *entry, const char *const *added)
{
    for (; added && *added; added++)
        if (same_name(*added, entry))
            return true;
    return false;
}

static size_t count(const char *const *list)
{
    size_t n = 0;

    while (list && list[n])
        n++;
    return n;
}

static void free_list(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

/* The list owns the copy; gcc's analyzer does not follow it into free_list(). */
#pragma GCC diagnostic push
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif
static bool copy_to(char **slot, const char *text)
{
    *slot = strdup(text);
    return *slot != NULL;
}

static int build_environment(struct pp_plan *plan, const struct pyproc_config *config)
{
    const char *const *host = (const char *const *)environ;
    size_t n = 0;

    plan->envp = calloc(count(host) + count(config->env) + 1, sizeof *plan->envp);
    if (!plan->envp)
        return -ENOMEM;
    for (; host && *host; host++) {
        bool passes = in_list(*host, passing) || in_list(*host, config->env_pass) ||
                      strncmp(*host, "LC_", 3) == 0;

        if (passes && !replaced(*host, config->env) && !copy_to(&plan->envp[n++], *host))
            return -ENOMEM;
    }
    for (const char *const *added = config->env; added && *added; added++)
        if (!copy_to(&plan->envp[n++], *added))
            return -ENOMEM;
    return 0;
}

/* The package lies around this very library: <package>/_core.so or
 * <package>/lib/libpyproc.so. */
static int find_package(char path[PATH_MAX])
{
    Dl_info info;
    char *slash;

    if (!dladdr((void *)(uintptr_t)&pyproc_config_init, &info) || !info.dli_fname)
        return pp_fail(-ENOENT, "find the pyproc package; set config.package");
    if (!realpath(info.dli_fname, path))
        return pp_fail(-errno, "find the pyproc package at %s", info.dli_fname);
    slash = strrchr(path, '/');
    if (slash && slash - path > 4 && strncmp(slash - 4, "/lib", 4) == 0)
        slash -= 4;
    if (slash)
        *slash = '\0';
    return 0;
}

/* The interpreter, its options, our script, what it is to be, and modules to import first. */
static int build_argv(char ***argvp, const char *package, const char *role,
                      const struct pyproc_config *config)
{
    /* -I: no PYTHON* variables, no user site, no script directory on sys.path;
     * -B: no bytecode is written next to the host's modules. */
    const char *const first[] = {config->python, "-I", "-B", NULL, role};
    size_t n = sizeof first / sizeof *first;
    char **argv = calloc(n + config->n_preload + 1, sizeof *argv);

    if (!argv)
        return -ENOMEM;
    *argvp = argv;
    for (size_t i = 0; i < n; i++) {
        if (first[i] && !copy_to(&argv[i], first[i]))
            return -ENOMEM;
        if (!first[i] && asprintf(&argv[i], "%s/worker/__main__.py", package) < 0) {
            argv[i] = NULL;
            return -ENOMEM;
        }
    }
    for (size_t i = 0; i < config->n_preload; i++)
        if (!copy_to(&argv[n + i], config->preload[i]))
            return -ENOMEM;
    return 0;
}

#pragma GCC diagnostic pop

static int build_command(struct pp_plan *plan, const struct pyproc_config *config)
{
    char package[PATH_MAX];
    int r = 0;

    if (config->package) {
        if (snprintf(package, sizeof package, "%s", config->package) >= (int)sizeof package)
            return pp_fail(-ENAMETOOLONG, "config.package");
    } else {
        r = find_package(package);
    }
    if (r < 0)
        return r;
    if (config->keeper)
        plan->keeper = strdup(config->keeper);
    else if (asprintf(&plan->keeper, "%s/pyproc-keeper", package) < 0)
        plan->keeper = NULL;
    if (!plan->keeper)
        return -ENOMEM;
    r = build_argv(&plan->argv, package, "worker", config);
    return r < 0 ? r : build_argv(&plan->template_argv, package, "template", config);
}

static struct pp_bytes wire_bytes(struct pyproc_bytes bytes)
{
    return (struct pp_bytes){bytes.data, bytes.size};
}

static int write_hello(struct pp_plan *plan, struct pp_arena *arena,
                       const struct pyproc_config *config)
{
    struct pp_function_source *functions =
        pp_arena_alloc(arena, (config->n_functions + 1) * sizeof *functions);
    struct pp_bytes *path = pp_arena_alloc(arena, (config->n_path + 1) * sizeof *path);
    struct pp_message message = {.kind = PP_MESSAGE_HELLO};

    if (!functions || !path)
        return -ENOMEM;
    for (size_t i = 0; i < config->n_functions; i++) {
        const struct pyproc_function *from = &config->functions[i];

        functions[i] = (struct pp_function_source){
            wire_bytes(from->name), wire_bytes(from->module), wire_bytes(from->qualname),
            wire_bytes(from->file), wire_bytes(from->pickled)};
    }
    for (size_t i = 0; i < config->n_path; i++)
        path[i] = wire_bytes(config->path[i]);
    message.hello = (struct pp_message_hello){
        .version = PP_PROTOCOL_VERSION,
        .max_frame = config->max_frame,
        .max_result = config->max_result,
        .max_memory = config->max_memory,
        .buffer_threshold = config->buffer_threshold,
        .target_kind = (enum pp_target_kind)config->target_kind,
        .target = wire_bytes(config->target),
        .file = wire_bytes(config->file),
        .functions = functions,
        .n_functions = config->n_functions,
        .path = path,
        .n_path = config->n_path,
        .prefix = wire_bytes(config->prefix),
        .base_prefix = wire_bytes(config->base_prefix),
        .python_version = wire_bytes(config->python_version),
        .box = wire_bytes(config->sandbox_second),
    };
    return pp_message_write(&plan->hello, arena, config->max_frame, &message);
}

static int build_hello(struct pp_plan *plan, const struct pyproc_config *config)
{
    struct pp_arena arena;
    int r;

    pp_arena_init(&arena, SIZE_MAX);
    r = write_hello(plan, &arena, config);
    pp_arena_deinit(&arena);
    if (r == -EMSGSIZE)
        return pp_fail(r, "the target's functions and path are larger than max_frame");
    return r;
}

static void build_policy(struct pp_policy *policy, const struct pyproc_config *config)
{
    struct pp_cpus cpus;

    pp_policy_init(policy);
    policy->limits.address_space = config->limit_address_space;
    policy->limits.core = config->limit_core;
    policy->limits.file_size = config->limit_file_size;
    policy->limits.open_files = config->limit_open_files;
    policy->limits.stack = config->limit_stack;
    policy->nice = config->nice;
    pp_cpus_init(&cpus, config->cpus, config->cpus_each);
    pp_cpus_group(&cpus, 0, policy->cpus);
}

/* Checked here, so that a bad one is an error before anything starts. */
static int build_boxes(struct pp_plan *plan, const struct pyproc_config *config)
{
    const struct pyproc_bytes *first = &config->sandbox_first, *second = &config->sandbox_second;
    struct pp_box box;

    if (pp_box_read(second->data, second->size, &box) < 0 ||
        pp_box_read(first->data, first->size, &box) < 0)
        return pp_fail(-EINVAL, "the sandbox's description is malformed");
    if (first->size == 0)
        return 0;
    plan->keeper_namespaces = pp_box_keeper_namespaces(&box);
    plan->box = malloc(first->size);
    if (!plan->box)
        return -ENOMEM;
    memcpy(plan->box, first->data, first->size);
    plan->box_size = first->size;
    return 0;
}

static int build_cwd(struct pp_plan *plan, const struct pyproc_config *config)
{
    if (config->cwd)
        plan->cwd = strdup(config->cwd);
    else
        plan->cwd = getcwd(NULL, 0);
    if (!plan->cwd && !config->cwd && errno == ENOENT)
        plan->cwd = strdup("/"); /* the host's own directory was deleted under it */
    return plan->cwd ? 0 : pp_fail(-errno, "find the working directory");
}

static int build_groups(struct pp_plan *plan, const struct pyproc_config *config)
{
    if (!config->cgroup || config->limit_memory == 0)
        return 0;
    plan->groups = strdup(config->cgroup);
    return plan->groups ? 0 : -ENOMEM;
}

int pp_plan_init(struct pp_plan *plan, const struct pyproc_config *config)
{
    int r;

    *plan =
        (struct pp_plan){.max_frame = config->max_frame, .start_timeout = config->start_timeout};
    pp_buffer_init(&plan->hello, SIZE_MAX / 2);
    build_policy(&plan->policy, config);
    r = build_boxes(plan, config);
    if (r == 0)
        r = build_command(plan, config);
    if (r == 0)
        r = build_environment(plan, config);
    if (r == 0)
        r = build_cwd(plan, config);
    if (r == 0)
        r = build_groups(plan, config);
    if (r == 0)
        r = build_hello(plan, config);
    if (r < 0) {
        pp_plan_deinit(plan);
        return r;
    }
    plan->memory_limit = config->limit_memory;
    plan->drop_output = config->drop_output != 0;
    plan->no_processes = config->limit_processes == 0;
    if (config->events)
        plan->events = pyproc_queue_ref(config->events);
    return 0;
}

void pp_plan_deinit(struct pp_plan *plan)
{
    free_list(plan->argv);
    free_list(plan->template_argv);
    free_list(plan->envp);
    free(plan->cwd);
    free(plan->box);
    free(plan->keeper);
    free(plan->groups);
    pp_buffer_deinit(&plan->hello);
    pyproc_queue_unref(plan->events);
    *plan = (struct pp_plan){0};
}
