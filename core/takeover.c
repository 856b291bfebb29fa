#include "core/takeover.h"

#include <string.h>

#include "core/batch.h"
#include "core/guest.h"
#include "core/identity.h"
#include "core/nic.h"
#include "core/snapshot.h"
#include "core/util/error.h"

#define MEMORY_STEP (INT64_C(128) << 20)

/* ---- its files -------------------------------------------------------------------------------------------------- */

static bool is_named(const struct runner_result *names, const char *name)
{
    for (const char *p = names->out; p != NULL && p < names->out + names->len; p += strlen(p) + 1)
        if (strcmp(p, name) == 0)
            return true;
    return false;
}

/* By the VMM that understands it. */
static int read_config(struct host *host, const char *text, size_t len, struct foreign *ret, struct runner_error *err)
{
    for (struct instance *vmm = host->instances[RUNNER_VMM]; vmm != NULL; vmm = vmm->next) {
        struct runner_machine machine = {.size = sizeof machine};
        int status;

        if (!(vmm->plugin->desc.caps & RUNNER_VMM_CAP_ADOPT))
            continue;
        if (INSTANCE_CALL(vmm, vmm, read_config, text, len, &machine, err) < 0)
            return error_wrap(err, "config.json");
        status = foreign_take_machine(ret, &machine, err);
        foreign_release(&machine);
        return status;
    }
    return fail(err, RUNNER_E_NOTSUP, 0, "config.json: no VMM of this host understands it");
}

static int read_files(struct runner_call *call, const char *id, const struct runner_result *config,
                      const struct runner_result *ip, struct foreign *ret, struct runner_error *err)
{
    enum foreign_form form;

    if (config->status == 0) {
        if (foreign_form(config->out, config->len, &form, err) < 0)
            return -1;
        if ((form == FOREIGN_RECORD ? foreign_read_record(config->out, config->len, id, ret, err)
                                    : read_config(call->host, config->out, config->len, ret, err)) < 0)
            return -1;
    }
    return ip->status == 0 ? foreign_read_ip(ip->out, ip->len, ret, err) : 0;
}

/* A disk that a configuration names counts more than one that is there. */
static int find_disk(const char *dir, const struct runner_result *names, struct foreign *ret, struct runner_error *err)
{
    bool has_qcow2 = is_named(names, "disk.qcow2"), has_raw = is_named(names, "disk.raw");

    if (ret->disk_path != NULL || (!has_qcow2 && !has_raw))
        return 0;
    if (has_qcow2 && has_raw)
        return fail(err, RUNNER_E_INVALID, 0, "there are disk.qcow2 and disk.raw, and config.json does not say which");
    ret->disk_path = mem_printf("%s/%s", dir, has_qcow2 ? "disk.qcow2" : "disk.raw");
    return 0;
}

int takeover_read(struct runner_call *call, const char *id, struct foreign *ret, struct runner_error *err)
{
    auto_free char *dir = host_sandbox_dir(call->host, id);
    auto_free char *config = host_sandbox_path(call->host, id, "config.json");
    auto_free char *ip = host_sandbox_path(call->host, id, "ip");
    auto_batch struct runner_batch *batch = batch_new(call);
    const uint32_t head = RUNNER_S_HEAD | RUNNER_S_OPTIONAL;
    const struct runner_step steps[] = {
        {.size = RUNNER_STEP_INIT, .kind = RUNNER_LIST, .path = dir},
        {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = dir},
        {.size = RUNNER_STEP_INIT,
         .kind = RUNNER_READ,
         .flags = head,
         .path = config,
         .number = FOREIGN_CONFIG_MAX + 1},
        {.size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = head, .path = ip, .number = FOREIGN_IP_MAX + 1},
    };

    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        if (batch_add(batch, &steps[i], err) < 0)
            return -1;
    if (batch_run(call, batch, err) < 0)
        return -1;
    if (read_files(call, id, batch_result(batch, 2), batch_result(batch, 3), ret, err) < 0 ||
        find_disk(dir, batch_result(batch, 0), ret, err) < 0)
        return -1;
    if (ret->created_ms == 0)
        ret->created_ms = batch_result(batch, 1)->number2 * 1000;
    return batch_result(batch, 2)->status != 0 && ret->disk_path == NULL ? 1 : 0;
}

/* ---- its network ------------------------------------------------------------------------------------------------- */

void takeover_tap(const char *id, char ret_name[16])
{
    (void)snprintf(ret_name, 16, "tap-%.11s", id);
}

static int lease(struct runner_call *call, const char *id, struct runner_nic *nic, struct runner_error *err)
{
    struct runner_lease got = {.size = sizeof got};

    if (HOST_CALL(call->host, RUNNER_IPAM, ipam, adopt, id, nic->address, err) < 0 ||
        HOST_CALL(call->host, RUNNER_IPAM, ipam, lease, call, id, &got, err) < 0)
        return error_wrap(err, "address");
    if (strcmp(got.address, nic->address) != 0)
        return fail(err, RUNNER_E_EXISTS, 0, "address: it has %s already, and is to have %s", got.address,
                    nic->address);
    nic_set_lease(nic, &got);
    return 0;
}

int takeover_lease(struct runner_call *call, const char *id, const struct foreign *foreign, struct runner_nic *ret,
                   struct runner_error *err)
{
    struct runner_nic nic = {.size = sizeof nic, .kind = RUNNER_NIC_TAP, .guest_port = GUEST_DAEMON_PORT};

    memcpy(nic.address, foreign->address, sizeof nic.address);
    memcpy(nic.name, foreign->tap, sizeof nic.name);
    if (foreign->mac[0] != '\0')
        memcpy(nic.mac, foreign->mac, sizeof nic.mac);
    else
        identity_mac(id, nic.mac);
    if (host_plugin(call->host, RUNNER_IPAM) != NULL) {
        if (nic.address[0] == '\0')
            return fail(err, RUNNER_E_INVALID, 0, "ip: missing, and config.json names no address");
        if (lease(call, id, &nic, err) < 0)
            return -1;
    }
    *ret = nic;
    return 0;
}

/* ---- its disk ---------------------------------------------------------------------------------------------------- */

static bool has_suffix(const char *text, const char *suffix)
{
    size_t len = strlen(text), suffix_len = strlen(suffix);

    return len > suffix_len && strcmp(text + len - suffix_len, suffix) == 0;
}

/* A guest writes the first bytes of a raw disk: what looks like another format there may be its doing, and name files
 * of the host that it is not to read. */
static int check_format(const struct runner_image *image, struct runner_error *err)
{
    if (has_suffix(image->path, ".qcow2") ? strcmp(image->format, "qcow2") == 0 : strcmp(image->format, "raw") == 0)
        return 0;
    return fail(err, RUNNER_E_INVALID, 0, "disk '%s': it begins like a %s image; rename it if it is one", image->path,
                image->format);
}

static int check_there(struct runner_call *call, const char *member, const char *path, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = path};

    if (batch_run_step(call, batch, &step, err) < 0)
        return -1;
    return batch_result(batch, 0)->status == 0 ? 0
                                               : fail(err, RUNNER_E_NOTFOUND, 0, "%s: '%s' is missing", member, path);
}

static int plan_disk(struct runner_call *call, const struct foreign *foreign, struct record *record,
                     struct runner_error *err)
{
    const char *root = call->host->config->root;
    struct runner_image image = {.size = sizeof image};

    if (!(host_plugin(call->host, RUNNER_DISK)->desc.caps & RUNNER_DISK_CAP_INSPECT))
        return fail(err, RUNNER_E_NOTSUP, 0, "the disk plugin of this host does not look at images of others");
    if (foreign->disk_path == NULL)
        return fail(err, RUNNER_E_NOTFOUND, 0, "there is neither disk.qcow2 nor disk.raw");
    if (foreign_check_path(root, record->id, "config.json: its disk", foreign->disk_path, true, err) < 0 ||
        HOST_CALL(call->host, RUNNER_DISK, disk, inspect, call, foreign->disk_path, &image, err) < 0)
        return -1;
    record->disk.path = (char *)image.path;
    record->disk.format = (char *)image.format;
    record->disk.backing_path = (char *)image.backing_path;
    record->disk.backing_format = (char *)image.backing_format;
    record->disk.size_bytes = record->disk_bytes = image.size_bytes;
    if (check_format(&image, err) < 0)
        return -1;
    if (image.backing_path == NULL)
        return 0;
    if (foreign_check_path(root, record->id, "the image below its disk", image.backing_path, false, err) < 0)
        return -1;
    return check_there(call, "the image below its disk", image.backing_path, err);
}

/* ---- what it boots ----------------------------------------------------------------------------------------------- */

static void boot_snapshot(struct record *record, const struct snapshot *snapshot)
{
    record->boot.kernel = mem_dup(snapshot->kernel);
    record->boot.initramfs = mem_dup(snapshot->initramfs);
    record->boot.cmdline = mem_dup(snapshot->cmdline);
    record->boot.firmware = mem_dup(snapshot->firmware);
}

static int check_part(struct runner_call *call, const char *id, const char *member, const char *path,
                      struct runner_error *err)
{
    if (path == NULL)
        return 0;
    if (foreign_check_path(call->host->config->root, id, member, path, false, err) < 0)
        return -1;
    return check_there(call, member, path, err);
}

static int boot_config(struct runner_call *call, const struct foreign *foreign, struct record *record,
                       struct runner_error *err)
{
    if (foreign->kernel == NULL) {
        if (check_part(call, record->id, "config.json: its firmware", foreign->firmware, err) < 0)
            return -1;
        record->boot.firmware = mem_dup(foreign->firmware);
        return 0;
    }
    if (check_part(call, record->id, "config.json: its kernel", foreign->kernel, err) < 0 ||
        check_part(call, record->id, "config.json: its initramfs", foreign->initramfs, err) < 0)
        return -1;
    record->boot.kernel = mem_dup(foreign->kernel);
    record->boot.initramfs = mem_dup(foreign->initramfs);
    record->boot.cmdline = mem_dup(foreign->cmdline != NULL ? foreign->cmdline : "");
    return 0;
}

/* As the older runner started what had no configuration of its own. */
static int boot_host_kernel(struct runner_call *call, struct record *record, struct runner_error *err)
{
    static const char *const names[] = {"vmlinux", "vmlinuz"};
    const char *root = call->host->config->root;
    auto_free char *initramfs = mem_printf("%s/kernels/initrd.img", root);
    bool has_initramfs = check_there(call, "", initramfs, NULL) == 0;

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        auto_free char *kernel = mem_printf("%s/kernels/%s", root, names[i]);

        if (check_there(call, "", kernel, NULL) < 0)
            continue;
        record->boot.kernel = mem_dup(kernel);
        record->boot.initramfs = has_initramfs ? mem_dup(initramfs) : NULL;
        record->boot.cmdline =
            mem_dup(has_initramfs ? "console=ttyS0 root=LABEL=cloudimg-rootfs rw" : "console=ttyS0 root=/dev/vda1 rw");
        return 0;
    }
    return fail(err, RUNNER_E_NOTFOUND, 0,
                "nothing is known that it boots: config.json names neither a kernel nor firmware, snapshot '%s' has no "
                "manifest.json, the host has no default snapshot, and there is no %s/kernels/vmlinux",
                record->snapshot, root);
}

/* Its own snapshot says too whether a daemon will answer, whatever it boots. */
static int plan_boot(struct runner_call *call, const struct foreign *foreign, struct record *record,
                     struct runner_error *err)
{
    const struct config_host *config = call->host->config;
    auto_snapshot struct snapshot *own = NULL, *common = NULL;

    record->boot.has_daemon = true;
    if (snapshot_open(call, config->root, record->snapshot, &own, NULL) == 0) {
        record->boot.has_daemon = own->has_daemon;
        record->boot.is_ready_by_log = own->is_ready_by_log;
    }
    if (foreign->extra != NULL)
        return fail(err, RUNNER_E_NOTSUP, 0, "config.json: %s: a sandbox has no place for it", foreign->extra);
    if (foreign->kernel != NULL || foreign->firmware != NULL)
        return boot_config(call, foreign, record, err);
    if (own != NULL) {
        boot_snapshot(record, own);
        return 0;
    }
    if (config->snapshot != NULL && snapshot_open(call, config->root, config->snapshot, &common, NULL) == 0) {
        boot_snapshot(record, common);
        return 0;
    }
    return boot_host_kernel(call, record, err);
}

int takeover_plan(struct runner_call *call, const struct foreign *foreign, bool is_running, struct record *record,
                  struct runner_error *err)
{
    struct runner_error ignored = ERROR_INIT;

    if (foreign->cpus == 0 || foreign->memory_bytes == 0)
        return fail(err, RUNNER_E_NOTFOUND, 0, "config.json: missing, and no VMM says how large it is");
    record->cpus = foreign->cpus;
    record->memory_bytes = (foreign->memory_bytes + MEMORY_STEP - 1) / MEMORY_STEP * MEMORY_STEP;
    record->created_ms = foreign->created_ms;
    if (plan_disk(call, foreign, record, err) < 0)
        return -1;
    record->snapshot = foreign->snapshot != NULL
                           ? mem_dup(foreign->snapshot)
                           : foreign_snapshot_of(call->host->config->root, record->disk.backing_path);
    if (record->snapshot == NULL)
        record->snapshot = mem_dup("unknown");
    return plan_boot(call, foreign, record, is_running ? &ignored : err) < 0 && !is_running ? -1 : 0;
}
