/*
 * storage/oci: images in registries as Docker and OCI have them. The work is done by runner-oci, a program on the host; see
 * README.md.
 */
#include <dlfcn.h>
#include <string.h>

#include "core/util/error.h"
#include "core/util/finding.h"
#include "plugins/storage/oci/convert.h"
#include "plugins/storage/oci/task.h"

#define PROGRAM "runner-oci"

#define TEXT_OF_(x) #x
#define TEXT_OF(x)  TEXT_OF_(x)

const struct runner_host *oci_host;
static char *own_dir; /* where this object is */

static const struct runner_param params[] = {
    {"insecure", NULL, "servers (host or host:port) that may be spoken to without TLS; loopback always may",
     RUNNER_T_STRING, RUNNER_P_REPEAT, 0, 0, NULL},
    {"ca_file", NULL, "certificates, PEM, of those who vouch for servers; default: the system's", RUNNER_T_PATH, 0, 0,
     0, NULL},
    {"mirror", NULL, "server (host or host:port) that is asked in place of docker.io, without credentials",
     RUNNER_T_STRING, 0, 0, 0, NULL},
    {"parallel", "4", "blobs that a pull fetches at once", RUNNER_T_INT, 0, 1, 16, NULL},
    {"max_image", "64G", "bytes of an image as it is kept in a registry; larger ones are refused", RUNNER_T_BYTES, 0,
     1 << 20, INT64_C(1) << 50, NULL},
    {"max_layers", "256", "layers of an image", RUNNER_T_INT, 0, 1, 4096, NULL},
    {"cache", "10G", "bytes of blobs that are kept below the host's root for the next pull", RUNNER_T_BYTES, 0, 0,
     INT64_C(1) << 50, NULL},
    {"stall", "30s", "time after which a transfer that moves nothing is broken off and tried again", RUNNER_T_MSEC, 0,
     1000, 600000, NULL},
    {"memory", "512M", "bytes of memory that the program of one operation may use, its page cache included",
     RUNNER_T_BYTES, 0, 64 << 20, INT64_C(1) << 40, NULL},
    {"uid", "1900065536", "user and group that the program runs as when root is the runner; 0: the runner's",
     RUNNER_T_INT, 0, 0, UINT32_MAX - 1, NULL},
    {"program", NULL, "the program " PROGRAM " on the host; default: the one beside the plugin", RUNNER_T_PATH, 0, 0, 0,
     NULL},
};

/* ---- an instance ---- */

static int oci_load(const struct runner_host *host, struct runner_error *err)
{
    auto_free char *path = NULL;
    Dl_info info;

    oci_host = host;
    if (dladdr((void *)(uintptr_t)&params, &info) == 0 || (path = realpath(info.dli_fname, NULL)) == NULL)
        return fail(err, RUNNER_E_IO, 0, "where the plugin lies is not known");
    *strrchr(path, '/') = '\0';
    free(own_dir); /* of another loader in the same process */
    own_dir = path;
    path = NULL;
    return 0;
}

static void oci_destroy(void *arg)
{
    struct oci *self = arg;

    if (self == NULL)
        return;
    for (size_t i = 0; i < self->n_insecure; i++)
        free(self->insecure[i]);
    free(self->insecure);
    free(self->program);
    free(self->ca_file);
    free(self->mirror);
    free(self);
}

static void take_value(struct oci *self, const struct runner_value *value)
{
    const struct {
        const char *name;
        int64_t *number;
        char **text;
    } members[] = {
        {"ca_file", NULL, &self->ca_file},           {"mirror", NULL, &self->mirror},
        {"program", NULL, &self->program},           {"parallel", &self->parallel, NULL},
        {"max_image", &self->max_image_bytes, NULL}, {"max_layers", &self->max_layers, NULL},
        {"cache", &self->cache_bytes, NULL},         {"stall", &self->stall_ms, NULL},
        {"memory", &self->memory_bytes, NULL},       {"uid", &self->uid, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (strcmp(value->name, members[i].name) == 0 && members[i].number != NULL)
            *members[i].number = value->number;
        else if (strcmp(value->name, members[i].name) == 0 && *members[i].text == NULL)
            *members[i].text = mem_dup(value->text);
}

/* "host" or "host:port"; what else is wrong with it shows when it is used. */
static bool is_server(const char *text)
{
    size_t len = strlen(text);

    return len > 0 && len <= 260 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-_:[]") == len;
}

static int oci_create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    struct oci *self = mem_alloc(sizeof *self);

    for (size_t i = 0; i < n; i++) {
        bool is_insecure = strcmp(values[i].name, "insecure") == 0;

        if ((is_insecure || strcmp(values[i].name, "mirror") == 0) && !is_server(values[i].text)) {
            oci_destroy(self);
            return fail(err, RUNNER_E_INVALID, 0, "%s: expected host or host:port in lower case, found '%.100s'",
                        values[i].name, values[i].text);
        }
        if (is_insecure) {
            self->insecure = mem_grow(self->insecure, self->n_insecure + 1, sizeof *self->insecure);
            self->insecure[self->n_insecure++] = mem_dup(values[i].text);
        }
        take_value(self, &values[i]);
    }
    if (self->program == NULL)
        self->program = mem_printf("%s/" PROGRAM, own_dir);
    *ret_self = self;
    return 0;
}

/* *ret_text: what the program says to an option of its; the caller frees. */
static int ask(struct runner_call *call, const char *const *argv, char **ret_text, struct runner_error *err)
{
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = argv, .number = 10000};
    struct runner_batch *batch = oci_host->batch_new(call);
    const struct runner_result *result;
    int status, index;

    if (batch == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "out of memory");
    index = oci_host->add(batch, &step, err);
    status = index < 0 ? -1 : oci_host->run(call, batch, err);
    result = status == 0 ? oci_host->result(batch, index) : NULL;
    if (result != NULL)
        *ret_text = mem_dup(result->out != NULL ? result->out : "");
    oci_host->batch_free(batch);
    return status;
}

static int ask_version(const struct oci *self, struct runner_call *call, char **ret_text, struct runner_error *err)
{
    const char *const argv[] = {self->program, "--version", NULL};

    if (ask(call, argv, ret_text, err) < 0)
        return error_wrap(err, "images cannot be pulled");
    (*ret_text)[strcspn(*ret_text, "\r\n")] = '\0';
    return 0;
}

/* Tries to confine the program: each line that it prints is something that this host cannot do. -1: cancelled. */
static int diagnose_confinement(const struct oci *self, struct runner_call *call, const struct finding_sink *to,
                                struct runner_error *err)
{
    auto_free char *uid = mem_printf("%lld", (long long)self->uid), *gaps = NULL;
    const char *const argv[] = {self->program, "--try", uid, NULL};
    struct runner_error cause = ERROR_INIT;
    char *save = NULL;

    if (ask(call, argv, &gaps, &cause) < 0) {
        if (oci_host->cancelled(call) != 0) {
            error_copy(err, &cause);
            return -1;
        }
        finding_say(to, RUNNER_FINDING_FAIL, "registry-client-confined", NULL, "%s", cause.message);
        return 0;
    }
    if (gaps[0] == '\0')
        finding_say(to, RUNNER_FINDING_OK, "registry-client-confined", NULL,
                    "user %s, its own view of files, landlock, seccomp", uid);
    for (char *line = strtok_r(gaps, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save))
        finding_say(to, RUNNER_FINDING_WARN, "registry-client-confined", NULL, "%s", line);
    return 0;
}

static int oci_check(void *self, struct runner_call *call, struct runner_error *err)
{
    auto_free char *text = NULL;

    return ask_version(self, call, &text, err);
}

static int oci_diagnose(void *arg, struct runner_call *call, void (*say)(void *ctx, const struct runner_finding *),
                        void *ctx, struct runner_error *err)
{
    const struct finding_sink to = {say, ctx};
    const struct oci *self = arg;
    auto_free char *text = NULL;
    struct runner_error cause = ERROR_INIT;

    if (ask_version(self, call, &text, &cause) == 0) {
        finding_say(&to, RUNNER_FINDING_OK, "registry-client", NULL, "%s", text[0] != '\0' ? text : self->program);
        return diagnose_confinement(self, call, &to, err);
    }
    if (oci_host->cancelled(call) != 0) {
        error_copy(err, &cause);
        return -1;
    }
    finding_say(&to, RUNNER_FINDING_FAIL, "registry-client", NULL, "%s", cause.message);
    return 0;
}

/* ---- operations ---- */

static int read_info(const struct json *result, struct runner_object_info *ret, struct runner_error *err)
{
    const char *digest = json_text(result, "digest", "");
    int64_t size = json_int(result, "size", -1);

    if (strlen(digest) != 64 || strspn(digest, "0123456789abcdef") != 64 || size < 0)
        return fail(err, RUNNER_E_IO, 0, "runner-oci does not say what the image is");
    memcpy(ret->digest, digest, sizeof ret->digest);
    ret->size_bytes = size;
    return 0;
}

static int run_for_info(const struct oci *self, struct runner_call *call, const struct task *task,
                        struct runner_object_info *ret, struct runner_error *err)
{
    auto_json struct json *result = NULL;

    return task_run(self, call, task, &result, err) < 0 ? -1 : read_info(result, ret, err);
}

static int oci_inspect(void *self, struct runner_call *call, const struct runner_object *object,
                       struct runner_object_info *ret, struct runner_error *err)
{
    const struct task task = {.operation = "inspect", .from = object};

    return run_for_info(self, call, &task, ret, err);
}

static char *host_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = oci_host->alloc(size);

    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

static int read_base(const struct json *result, struct runner_base *ret, struct runner_error *err)
{
    struct runner_base base = {.size_bytes = json_int(result, "disk_bytes", 0),
                               .content_bytes = json_int(result, "content_bytes", 0)};
    const char *disk = json_text(result, "disk", ""), *format = json_text(result, "format", "");

    if (disk[0] == '\0' || strchr(disk, '/') != NULL || format[0] == '\0' || base.size_bytes <= 0)
        return fail(err, RUNNER_E_IO, 0, "runner-oci does not say what disk it made");
    if (read_info(result, &base.info, err) < 0)
        return -1;
    base.disk = host_text(disk);
    base.format = host_text(format);
    base.image_json = host_text(json_text(result, "image", "{}"));
    if (base.disk == NULL || base.format == NULL || base.image_json == NULL) {
        oci_host->release((void *)(uintptr_t)base.disk);
        oci_host->release((void *)(uintptr_t)base.format);
        oci_host->release((void *)(uintptr_t)base.image_json);
        return fail(err, RUNNER_E_NOMEM, 0, "out of memory");
    }
    ret->disk = base.disk;
    ret->format = base.format;
    ret->size_bytes = base.size_bytes;
    ret->content_bytes = base.content_bytes;
    ret->image_json = base.image_json;
    memcpy(ret->info.digest, base.info.digest, sizeof ret->info.digest);
    ret->info.size_bytes = base.info.size_bytes;
    return 0;
}

static int oci_pull(void *self, struct runner_call *call, const struct runner_object *object,
                    const struct runner_object *also, const char *dir, runner_progress_fn *progress, void *ctx,
                    struct runner_base *ret, struct runner_error *err)
{
    const struct task task = {
        .operation = "pull", .from = object, .to = also, .dir = dir, .progress = progress, .ctx = ctx};
    auto_json struct json *result = NULL;

    return task_run(self, call, &task, &result, err) < 0 ? -1 : read_base(result, ret, err);
}

static int oci_push(void *self, struct runner_call *call, const char *path, const char *format, const char *image_json,
                    const struct runner_object *to, runner_progress_fn *progress, void *ctx,
                    struct runner_object_info *ret, struct runner_error *err)
{
    const struct task task = {.operation = "push",
                              .to = to,
                              .path = path,
                              .format = format,
                              .image_json = image_json,
                              .progress = progress,
                              .ctx = ctx};

    return run_for_info(self, call, &task, ret, err);
}

static int oci_copy(void *self, struct runner_call *call, const struct runner_object *from,
                    const struct runner_object *to, runner_progress_fn *progress, void *ctx,
                    struct runner_object_info *ret, struct runner_error *err)
{
    const struct task task = {.operation = "copy", .from = from, .to = to, .progress = progress, .ctx = ctx};

    return run_for_info(self, call, &task, ret, err);
}

static int oci_remove(void *self, struct runner_call *call, const struct runner_object *object,
                      struct runner_error *err)
{
    const struct task task = {.operation = "remove", .from = object};
    auto_json struct json *result = NULL;

    return task_run(self, call, &task, &result, err);
}

static const struct runner_storage_ops ops = {oci_inspect, oci_pull, oci_push, oci_copy, oci_remove};

static const struct runner_plugin plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_STORAGE, "oci", ops),
    .threads = RUNNER_PARALLEL,
    .version = VERSION_TEXT "-" TEXT_OF(CONVERT_VERSION), /* other disks of the same image: another version */
    .summary = "images in registries (Docker, OCI)",
    .params = params,
    .n_params = ARRAY_LEN(params),
    .load = oci_load,
    .create = oci_create,
    .check = oci_check,
    .diagnose = oci_diagnose,
    .destroy = oci_destroy,
};

RUNNER_PLUGIN(plugin)
