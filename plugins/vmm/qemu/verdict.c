#include "plugins/vmm/qemu/verdict.h"

#include <stdio.h>
#include <string.h>

#include "core/util/error.h"
#include "core/util/json.h"
#include "plugins/vmm/qemu/host.h"
#include "plugins/vmm/qemu/probe.h"

#define VERDICT_SCHEMA 1
#define VERDICT_MAX    (64 * 1024)

void scene_done(struct scene *scene)
{
    json_free(scene->kept);
    scene->kept = NULL;
}

/* ---- looking ---- */

/* Where a name without a slash may lie: the PATH that a transport looks in. */
static const char *const binary_dirs[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                          "/usr/bin",        "/sbin",          "/bin"};

static int add_binary(const struct qemu *self, struct runner_batch *batch, struct runner_error *err)
{
    if (strchr(self->binary, '/') != NULL)
        return host_add_path(self, batch, RUNNER_STAT, 0, 0, self->binary, err);
    for (size_t i = 0; i < ARRAY_LEN(binary_dirs); i++) {
        auto_free char *path = mem_printf("%s/%s", binary_dirs[i], self->binary);

        if (host_add_path(self, batch, RUNNER_STAT, 0, 0, path, err) < 0)
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
    scene->has_root = self->host->result(batch, 3)->status == 0;
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

int scene_look(struct qemu *self, struct runner_call *call, struct scene *ret, struct runner_error *err)
{
    struct runner_batch *batch = self->host->batch_new(call);
    auto_free char *kept = verdict_path(self, call);
    int result = -1;

    if (batch == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "batch");
    if (host_add_path(self, batch, RUNNER_READ, 0, 4096, "/proc/sys/kernel/random/boot_id", err) >= 0 &&
        host_add_path(self, batch, RUNNER_READ, RUNNER_S_OPTIONAL, VERDICT_MAX, kept, err) >= 0 &&
        host_add_path(self, batch, RUNNER_STAT, 0, 0, "/dev/kvm", err) >= 0 &&
        host_add_path(self, batch, RUNNER_STAT, 0, 0, self->host->root(call), err) >= 0 &&
        add_binary(self, batch, err) >= 0 && self->host->run(call, batch, err) == 0) {
        scene_read(self, batch, 4, ret);
        result = 0;
    }
    self->host->batch_free(batch);
    return result;
}

/* ---- keeping ---- */

static const char *cpu_name(const struct qemu *self)
{
    return self->cpu != NULL ? self->cpu : "host";
}

bool verdict_recall(const struct qemu *self, const struct scene *scene, const struct kernel *kernel,
                    struct verdict *ret)
{
    const struct json *kept = scene->kept;
    auto_free char *line = mem_printf("QEMU emulator version %s", json_text(kept, "version", ""));
    struct verdict verdict = {.facts = {.is_known = true}};

    if (kept == NULL || json_int(kept, "schema", 0) != VERDICT_SCHEMA || scene->mtime == 0 ||
        strcmp(json_text(kept, "bootId", ""), scene->boot_id) != 0 ||
        strcmp(json_text(kept, "binary", ""), self->binary) != 0 || json_int(kept, "mtime", -1) != scene->mtime ||
        json_int(kept, "size", -1) != scene->size || strcmp(json_text(kept, "cpu", ""), cpu_name(self)) != 0 ||
        strcmp(json_text(kept, "accel", ""), self->accel) != 0 ||
        strcmp(json_text(kept, "firmware", ""), self->firmware) != 0 ||
        json_bool(kept, "kvmDevice", false) != scene->has_kvm_device || !probe_parse_version(line, &verdict.facts))
        return false;
    verdict.facts.has_kvm = json_bool(kept, "kvmWorks", false);
    verdict.facts.has_qboot = json_bool(kept, "qbootWorks", false);
    if (verdict.facts.has_kvm && kernel->path != NULL && strcmp(json_text(kept, "kernel", ""), kernel->path) != 0)
        return false;
    (void)snprintf(verdict.reason, sizeof verdict.reason, "%s", json_text(kept, "reason", ""));
    *ret = verdict;
    return true;
}

static void verdict_print(const struct qemu *self, const struct scene *scene, const struct verdict *verdict,
                          struct str *s)
{
    json_open(s, NULL, '{');
    json_add_int(s, "schema", VERDICT_SCHEMA);
    json_add_text(s, "bootId", scene->boot_id);
    json_add_text(s, "binary", self->binary);
    json_add_int(s, "mtime", scene->mtime);
    json_add_int(s, "size", scene->size);
    json_add_text(s, "cpu", cpu_name(self));
    json_add_text(s, "accel", self->accel);
    json_add_text(s, "firmware", self->firmware);
    json_add_bool(s, "kvmDevice", scene->has_kvm_device);
    json_add_text(s, "version", verdict->facts.version);
    json_add_bool(s, "kvmWorks", verdict->facts.has_kvm);
    json_add_text(s, "reason", verdict->reason);
    json_add_text(s, "kernel", verdict->kernel);
    json_add_bool(s, "qbootWorks", verdict->facts.has_qboot);
    json_close(s, '}');
    str_add_char(s, '\n');
}

void verdict_keep(struct qemu *self, struct runner_call *call, const struct scene *scene, const struct verdict *verdict)
{
    struct runner_error err = ERROR_INIT;
    struct runner_field field = {"error", err.message};
    struct runner_batch *batch;
    auto_free char *path = verdict_path(self, call);
    auto_str struct str s = STR_INIT;

    if (!scene->has_root)
        return;
    batch = self->host->batch_new(call);
    verdict_print(self, scene, verdict, &s);
    if (batch == NULL || host_add_write(self, batch, path, s.ptr, s.len, false, &err) < 0 ||
        self->host->run(call, batch, &err) < 0)
        self->host->log(call, RUNNER_LOG_DEBUG, "vmm.accel_not_kept", &field, 1);
    self->host->batch_free(batch);
}
