#include "plugins/vmm/qemu/accel.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "core/util/error.h"
#include "core/util/json.h"
#include "core/util/num.h"
#include "plugins/vmm/qemu/args.h"
#include "plugins/vmm/qemu/kernel.h"
#include "plugins/vmm/qemu/probe-guest.h"

#define VERDICT_SCHEMA 1
#define VERDICT_MAX    (64 * 1024)
#define VERSION_MS     10000
#define TINY_MS        4000  /* takes 50 to 100 ms where KVM works, 3.2 s where it interprets each instruction */
#define KERNEL_MS      10000 /* a kernel is in its init after 0.3 to 0.6 s where KVM works */

/* What the host says before anything is tried: the verdict is kept under these. */
struct scene {
    char boot_id[64];
    bool has_kvm_device;
    int64_t mtime, size; /* of the binary; 0 when it was found by other means */
    struct json *kept;   /* the verdict kept, or NULL */
};

struct verdict {
    bool is_working;
    char reason[400]; /* why not */
    char kernel[512]; /* that was tried, "": only the tiny guest */
};

static void scene_done(struct scene *scene)
{
    json_free(scene->kept);
    scene->kept = NULL;
}

/* ---- looking ---- */

/* Where a name without a slash may lie: the PATH that a transport looks in. */
static const char *const binary_dirs[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                          "/usr/bin",        "/sbin",          "/bin"};

static int add_path(const struct qemu *self, struct runner_batch *batch, uint32_t kind, uint32_t flags, int64_t number,
                    const char *path, struct runner_error *err)
{
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = kind, .flags = flags, .number = number, .path = path};

    return self->host->add(batch, &step, err);
}

static int add_binary(const struct qemu *self, struct runner_batch *batch, struct runner_error *err)
{
    if (strchr(self->binary, '/') != NULL)
        return add_path(self, batch, RUNNER_STAT, 0, 0, self->binary, err);
    for (size_t i = 0; i < ARRAY_LEN(binary_dirs); i++) {
        auto_free char *path = mem_printf("%s/%s", binary_dirs[i], self->binary);

        if (add_path(self, batch, RUNNER_STAT, 0, 0, path, err) < 0)
            return -1;
    }
    return 0;
}

static void scene_read(const struct qemu *self, const struct runner_batch *batch, int first_binary, struct scene *scene)
{
    const struct runner_result *boot = self->host->result(batch, 0), *kept = self->host->result(batch, 1);
    const struct runner_result *stat;

    (void)snprintf(scene->boot_id, sizeof scene->boot_id, "%.*s", (int)strcspn(boot->out ? boot->out : "", "\n"),
                   boot->out ? boot->out : "");
    scene->has_kvm_device = self->host->result(batch, 2)->status == 0;
    for (int i = first_binary; (stat = self->host->result(batch, i)) != NULL; i++)
        if (stat->status == 0) {
            scene->size = stat->number;
            scene->mtime = stat->number2;
            break;
        }
    if (kept->out != NULL)
        (void)json_parse(kept->out, kept->len, &scene->kept, NULL);
}

static char *verdict_path(const struct qemu *self, struct runner_call *call)
{
    return mem_printf("%s/accel-qemu.json", self->host->root(call));
}

static int scene_look(struct qemu *self, struct runner_call *call, struct scene *scene, struct runner_error *err)
{
    struct runner_batch *batch = self->host->batch_new(call);
    auto_free char *kept = verdict_path(self, call);
    int result = -1;

    if (batch == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "batch");
    if (add_path(self, batch, RUNNER_READ, 0, 4096, "/proc/sys/kernel/random/boot_id", err) >= 0 &&
        add_path(self, batch, RUNNER_READ, RUNNER_S_OPTIONAL, VERDICT_MAX, kept, err) >= 0 &&
        add_path(self, batch, RUNNER_STAT, 0, 0, "/dev/kvm", err) >= 0 && add_binary(self, batch, err) >= 0 &&
        self->host->run(call, batch, err) == 0) {
        scene_read(self, batch, 3, scene);
        result = 0;
    }
    self->host->batch_free(batch);
    return result;
}

/* ---- running QEMU ---- */

static int add_run(const struct qemu *self, struct runner_batch *batch, const struct args *args, int64_t limit_ms,
                   struct runner_error *err)
{
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = (const char *const *)args->words, .number = limit_ms};

    return self->host->add(batch, &step, err);
}

static char *result_text(const struct qemu *self, const struct runner_batch *batch, int index)
{
    const struct runner_result *result = self->host->result(batch, index);

    return result->out != NULL ? mem_dup_n(result->out, result->len) : mem_dup("");
}

bool accel_parse_version(const char *text, struct qemu_facts *ret)
{
    static const char head[] = "QEMU emulator version ";
    const char *start = strstr(text, head);
    size_t len;
    int major, minor;

    if (start == NULL)
        return false;
    start += sizeof head - 1;
    len = strspn(start, "0123456789.");
    if (len >= sizeof ret->version || sscanf(start, "%4d.%4d", &major, &minor) != 2)
        return false;
    memcpy(ret->version, start, len);
    ret->version[len] = '\0';
    ret->major = major;
    ret->minor = minor;
    return true;
}

static int ask_version(struct qemu *self, struct runner_call *call, struct qemu_facts *facts, struct runner_error *err)
{
    struct runner_batch *batch = self->host->batch_new(call);
    auto_args struct args args = ARGS_INIT;
    auto_free char *out = NULL;

    if (batch == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "batch");
    args_add(&args, "%s", self->binary);
    args_add(&args, "--version");
    if (add_run(self, batch, &args, VERSION_MS, err) >= 0 && self->host->run(call, batch, err) == 0)
        out = result_text(self, batch, 0);
    self->host->batch_free(batch);
    if (out == NULL)
        return error_wrap(err, "QEMU '%s'", self->binary);
    if (!accel_parse_version(out, facts))
        return fail(err, RUNNER_E_INVALID, 0, "'%s --version' does not answer as QEMU does", self->binary);
    return 0;
}

/* ---- trying KVM ---- */

static void add_probe_words(const struct qemu *self, const struct qemu_facts *facts, const char *kernel,
                            const char *initramfs, struct args *args)
{
    static const char *const words[] = {
        "-nodefaults", "-no-user-config",         "-no-reboot", "-display",   "none", "-m", "256M",
        "-chardev",    "stdio,id=con,signal=off", "-serial",    "chardev:con"};

    args_add(args, "%s", self->binary);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        args_add(args, "%s", words[i]);
    args_add_machine(args, self, facts);
    args_add_accel(args, self, true);
    args_add(args, "-kernel");
    args_add(args, "%s", kernel);
    if (initramfs != NULL) {
        args_add(args, "-initrd");
        args_add(args, "%s", initramfs);
        args_add(args, "-append");
        args_add(args, "console=ttyS0 quiet reboot=t panic=-1 runner.probe");
    }
}

/* Runs the batch, whose step `index` is the RUN: the marker on the first serial port, and an end of its own accord. */
static int expect_marker(struct qemu *self, struct runner_call *call, struct runner_batch *batch, int index,
                         struct runner_error *err)
{
    auto_free char *out = NULL;

    if (index < 0 || self->host->run(call, batch, err) < 0)
        return -1;
    out = result_text(self, batch, index);
    if (strstr(out, PROBE_MARKER) == NULL)
        return fail(err, RUNNER_E_NOTSUP, 0, "the guest ended without a word");
    return 0;
}

static int try_kernel(struct qemu *self, struct runner_call *call, const struct qemu_facts *facts,
                      const struct kernel *kernel, struct runner_error *err)
{
    struct runner_batch *batch = self->host->batch_new(call);
    auto_args struct args args = ARGS_INIT;
    int status;

    if (batch == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "batch");
    add_probe_words(self, facts, kernel->path, kernel->initramfs, &args);
    status = expect_marker(self, call, batch, add_run(self, batch, &args, KERNEL_MS, err), err);
    self->host->batch_free(batch);
    return status;
}

/* A file below the root, which is made when it is missing; gone again when a later step fails, with is_undone. */
static int add_write(const struct qemu *self, struct runner_call *call, struct runner_batch *batch, const char *path,
                     const void *data, size_t len, bool is_undone, struct runner_error *err)
{
    const struct runner_step remove = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};
    const struct runner_step write = {.size = RUNNER_STEP_INIT,
                                      .kind = RUNNER_WRITE,
                                      .path = path,
                                      .data = data,
                                      .len = len,
                                      .number = 0644,
                                      .undo = is_undone ? &remove : NULL};

    if (add_path(self, batch, RUNNER_MKDIR, RUNNER_S_PARENTS, 0755, self->host->root(call), err) < 0)
        return -1;
    return self->host->add(batch, &write, err);
}

/* One batch, so that the file goes whatever happens. */
static int try_tiny(struct qemu *self, struct runner_call *call, const struct qemu_facts *facts,
                    struct runner_error *err)
{
    static atomic_uint counter; /* two instances may probe at once */
    auto_free char *path =
        mem_printf("%s/probe-%ld-%u.bin", self->host->root(call), (long)getpid(), atomic_fetch_add(&counter, 1));
    auto_args struct args args = ARGS_INIT;
    size_t size;
    const void *guest = probe_guest(&size);
    struct runner_batch *batch;
    int index, status = -1;

    if (size == 0)
        return fail(err, RUNNER_E_NOTSUP, 0, "no probe guest for this architecture");
    batch = self->host->batch_new(call);
    if (batch == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "batch");
    add_probe_words(self, facts, path, NULL, &args);
    if (add_write(self, call, batch, path, guest, size, true, err) >= 0 &&
        (index = add_run(self, batch, &args, TINY_MS, err)) >= 0 &&
        add_path(self, batch, RUNNER_REMOVE, 0, 0, path, err) >= 0)
        status = expect_marker(self, call, batch, index, err);
    self->host->batch_free(batch);
    return status;
}

/* Fills the verdict; fails only when the operation itself is over. */
static int try_kvm(struct qemu *self, struct runner_call *call, const struct qemu_facts *facts,
                   const struct kernel *kernel, struct verdict *ret, struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT;
    int over;

    *ret = (struct verdict){0};
    ret->is_working = try_tiny(self, call, facts, &cause) == 0;
    if (ret->is_working && kernel->path != NULL) {
        (void)snprintf(ret->kernel, sizeof ret->kernel, "%s", kernel->path);
        ret->is_working = try_kernel(self, call, facts, kernel, &cause) == 0;
    }
    over = self->host->cancelled(call);
    if (!ret->is_working && over != 0)
        return fail(err, over, 0, "probe of KVM: %s", over == RUNNER_E_CANCELLED ? "cancelled" : "deadline passed");
    if (!ret->is_working)
        (void)snprintf(ret->reason, sizeof ret->reason, "%.*s", (int)sizeof ret->reason - 1, cause.message);
    return 0;
}

/* ---- the verdict kept ---- */

static const char *cpu_name(const struct qemu *self)
{
    return self->cpu != NULL ? self->cpu : "host";
}

/* A KVM that ran the tiny guest only is asked again once there is a kernel; one that did not is not. */
static bool verdict_recall(const struct qemu *self, const struct scene *scene, const struct kernel *kernel,
                           struct qemu_facts *facts, struct verdict *ret)
{
    const struct json *kept = scene->kept;
    const char *version = json_text(kept, "version", "");
    auto_free char *line = mem_printf("QEMU emulator version %s", version);

    *ret = (struct verdict){.is_working = json_bool(kept, "kvmWorks", false)};
    if (kept == NULL || json_int(kept, "schema", 0) != VERDICT_SCHEMA || scene->mtime == 0 ||
        strcmp(json_text(kept, "bootId", ""), scene->boot_id) != 0 ||
        strcmp(json_text(kept, "binary", ""), self->binary) != 0 || json_int(kept, "mtime", -1) != scene->mtime ||
        json_int(kept, "size", -1) != scene->size || strcmp(json_text(kept, "cpu", ""), cpu_name(self)) != 0 ||
        !accel_parse_version(line, facts))
        return false;
    (void)snprintf(ret->reason, sizeof ret->reason, "%s", json_text(kept, "reason", ""));
    return !ret->is_working || kernel->path == NULL || strcmp(json_text(kept, "kernel", ""), kernel->path) == 0;
}

static void verdict_keep(struct qemu *self, struct runner_call *call, const struct scene *scene,
                         const struct qemu_facts *facts, const struct verdict *verdict)
{
    struct runner_error err = ERROR_INIT;
    struct runner_field field = {"error", err.message};
    auto_free char *path = verdict_path(self, call);
    auto_str struct str s = STR_INIT;
    struct runner_batch *batch;

    json_open(&s, NULL, '{');
    json_add_int(&s, "schema", VERDICT_SCHEMA);
    json_add_text(&s, "bootId", scene->boot_id);
    json_add_text(&s, "binary", self->binary);
    json_add_int(&s, "mtime", scene->mtime);
    json_add_int(&s, "size", scene->size);
    json_add_text(&s, "cpu", cpu_name(self));
    json_add_text(&s, "version", facts->version);
    json_add_bool(&s, "kvmWorks", verdict->is_working);
    json_add_text(&s, "reason", verdict->reason);
    json_add_text(&s, "kernel", verdict->kernel);
    json_close(&s, '}');
    str_add_char(&s, '\n');
    batch = self->host->batch_new(call);
    /* Not kept: the next start tries again, and that is all. */
    if (batch == NULL || add_write(self, call, batch, path, s.ptr, s.len, false, &err) < 0 ||
        self->host->run(call, batch, &err) < 0)
        self->host->log(call, RUNNER_LOG_DEBUG, "vmm.accel_not_kept", &field, 1);
    self->host->batch_free(batch);
}

/* ---- choosing ---- */

static int judge(struct qemu *self, struct runner_call *call, struct scene *scene, struct qemu_facts *facts,
                 struct verdict *ret, struct runner_error *err)
{
    CLEANUP(kernel_done) struct kernel kernel = {0};

    if (strcmp(self->accel, "tcg") == 0 || !scene->has_kvm_device) {
        *ret = (struct verdict){0};
        (void)snprintf(ret->reason, sizeof ret->reason, "%s",
                       scene->has_kvm_device ? "the configuration says tcg" : "there is no /dev/kvm");
        return ask_version(self, call, facts, err);
    }
    if (kernel_find(self, call, &kernel, err) < 0)
        return -1;
    if (verdict_recall(self, scene, &kernel, facts, ret))
        return 0;
    if (ask_version(self, call, facts, err) < 0 || try_kvm(self, call, facts, &kernel, ret, err) < 0)
        return -1;
    verdict_keep(self, call, scene, facts, ret);
    return 0;
}

static void log_choice(struct qemu *self, struct runner_call *call, const struct qemu_facts *facts,
                       const struct verdict *verdict)
{
    struct runner_field fields[] = {{"vmm", "qemu"},
                                    {"version", facts->version},
                                    {"accel", facts->has_kvm ? "kvm" : "tcg"},
                                    {"reason", facts->has_kvm ? "it ran a guest" : verdict->reason}};

    self->host->log(call, RUNNER_LOG_INFO, "vmm.accel", fields, ARRAY_LEN(fields));
}

static void facts_set(struct qemu *self, const struct qemu_facts *facts)
{
    pthread_mutex_lock(&self->lock);
    self->facts = *facts;
    pthread_mutex_unlock(&self->lock);
}

static bool facts_get(struct qemu *self, struct qemu_facts *ret)
{
    pthread_mutex_lock(&self->lock);
    *ret = self->facts;
    pthread_mutex_unlock(&self->lock);
    return ret->is_known;
}

int accel_choose(struct qemu *self, struct runner_call *call, bool is_again, struct runner_error *err)
{
    CLEANUP(scene_done) struct scene scene = {0};
    struct qemu_facts facts;
    struct verdict verdict;

    if (facts_get(self, &facts) && !is_again)
        return 0;
    facts = (struct qemu_facts){.is_known = true};
    if (scene_look(self, call, &scene, err) < 0 || judge(self, call, &scene, &facts, &verdict, err) < 0)
        return -1;
    facts.has_kvm = verdict.is_working;
    if (strcmp(self->accel, "kvm") == 0 && !facts.has_kvm)
        return fail(err, RUNNER_E_NOTSUP, 0, "accel: kvm, but KVM runs no guest here: %s", verdict.reason);
    log_choice(self, call, &facts, &verdict);
    facts_set(self, &facts);
    return 0;
}

int accel_facts(struct qemu *self, struct runner_call *call, struct qemu_facts *ret, struct runner_error *err)
{
    if (facts_get(self, ret))
        return 0;
    if (accel_choose(self, call, false, err) < 0)
        return -1;
    (void)facts_get(self, ret);
    return 0;
}
