#include "core/record.h"

#include <string.h>

#include "core/util/text.h"

#define BYTES_MAX (INT64_C(1) << 50) /* of memory, of a disk: the most that limits may allow */

static const char *const state_names[] = {
    [SANDBOX_CREATING] = "creating", [SANDBOX_STARTED] = "started",       [SANDBOX_PAUSED] = "paused",
    [SANDBOX_STOPPED] = "stopped",   [SANDBOX_ERROR] = "error",           [SANDBOX_STARTING] = "starting",
    [SANDBOX_STOPPING] = "stopping", [SANDBOX_DESTROYING] = "destroying", [SANDBOX_UNKNOWN] = "unknown"};

const char *sandbox_state_name(enum sandbox_state state)
{
    return state_names[state];
}

struct record *record_new(const char *id)
{
    struct record *record = mem_alloc(sizeof *record);

    record->id = mem_dup(id);
    return record;
}

void record_free(struct record *record)
{
    if (record == NULL)
        return;
    free(record->id);
    free(record->error);
    free(record->daemon_version);
    free(record->job);
    free(record->snapshot);
    json_free(record->request);
    json_free(record->image);
    json_free(record->metadata);
    policy_done(&record->policy);
    free(record->disk.path);
    free(record->disk.format);
    free(record->disk.backing_path);
    free(record->disk.backing_format);
    free(record->boot.kernel);
    free(record->boot.initramfs);
    free(record->boot.cmdline);
    free(record->boot.firmware);
    free(record->vmm.plugin);
    free(record->vmm.cgroup);
    free(record);
}

/* ---- writing ---- */

static void print_nic(const struct runner_nic *nic, struct str *out)
{
    json_open(out, "nic", '{');
    json_add_text(out, "kind", nic->kind == RUNNER_NIC_TAP ? "tap" : nic->kind == RUNNER_NIC_USER ? "user" : "none");
    json_add_text(out, "name", nic->name);
    json_add_text(out, "mac", nic->mac);
    json_add_text(out, "address", nic->address);
    json_add_int(out, "prefix", nic->prefix_len);
    json_add_text(out, "gateway", nic->gateway);
    json_add_text(out, "dns", nic->dns);
    json_add_int(out, "mtu", nic->mtu);
    json_add_int(out, "forwardPort", nic->forward_port);
    json_add_int(out, "guestPort", nic->guest_port);
    if (nic->guest_address[0] != '\0') {
        json_open(out, "guest", '{');
        json_add_text(out, "mac", nic->guest_mac);
        json_add_text(out, "address", nic->guest_address);
        json_add_int(out, "prefix", nic->guest_prefix_len);
        json_add_text(out, "gateway", nic->guest_gateway);
        json_close(out, '}');
    }
    json_close(out, '}');
}

static void print_disk(const struct record *record, struct str *out)
{
    json_open(out, "disk", '{');
    json_add_text(out, "path", record->disk.path);
    json_add_text(out, "format", record->disk.format);
    json_add_text(out, "backingPath", record->disk.backing_path);
    json_add_text(out, "backingFormat", record->disk.backing_format);
    json_add_int(out, "sizeBytes", record->disk.size_bytes);
    json_close(out, '}');
}

static void print_boot(const struct record *record, struct str *out)
{
    json_open(out, "boot", '{');
    json_add_text(out, "kernel", record->boot.kernel);
    json_add_text(out, "initramfs", record->boot.initramfs);
    json_add_text(out, "cmdline", record->boot.cmdline);
    json_add_text(out, "firmware", record->boot.firmware);
    json_add_bool(out, "hasDaemon", record->boot.has_daemon);
    json_add_bool(out, "readyByLog", record->boot.is_ready_by_log);
    json_close(out, '}');
}

void record_print(const struct record *record, struct str *out)
{
    json_open(out, NULL, '{');
    json_add_int(out, "schema", RECORD_SCHEMA);
    json_add_text(out, "id", record->id);
    json_add_text(out, "state", sandbox_state_name(record->state));
    json_add_int(out, "createdMs", record->created_ms);
    if (record->taken_over_ms != 0)
        json_add_int(out, "takenOverMs", record->taken_over_ms);
    json_add_text(out, "error", record->error);
    json_add_text(out, "daemonVersion", record->daemon_version);
    json_add_text(out, "job", record->job);
    json_add_text(out, "snapshot", record->snapshot);
    json_add_int(out, "cpus", record->cpus);
    json_add_int(out, "memoryBytes", record->memory_bytes);
    json_add_int(out, "diskBytes", record->disk_bytes);
    if (record->disk_extra_bytes != 0)
        json_add_int(out, "diskExtraBytes", record->disk_extra_bytes);
    if (record->disk.path != NULL)
        print_disk(record, out);
    if (record->nic.size != 0)
        print_nic(&record->nic, out);
    policy_print(&record->policy, out);
    if (record->boot.kernel != NULL || record->boot.firmware != NULL)
        print_boot(record, out);
    json_open(out, "vmm", '{');
    json_add_text(out, "plugin", record->vmm.plugin);
    json_add_text(out, "cgroup", record->vmm.cgroup);
    json_add_int(out, "uid", record->vmm.uid);
    json_close(out, '}');
    if (record->request != NULL)
        json_add_tree(out, "request", record->request);
    if (record->image != NULL)
        json_add_tree(out, "image", record->image);
    if (record->metadata != NULL)
        json_add_tree(out, "metadata", record->metadata);
    json_close(out, '}');
    str_add_char(out, '\n');
}

/* ---- reading ---- */

static int wrong(struct runner_error *err, const char *member, const char *expected)
{
    return fail(err, RUNNER_E_INVALID, 0, "record: %s: expected %s", member, expected);
}

/* Absent, null and text are fine; anything else is not. */
static int read_text(const struct json *from, const char *key, char **ret, struct runner_error *err)
{
    const struct json *member = json_get(from, key);

    if (member == NULL || member->type == JSON_NULL)
        return 0;
    if (member->type != JSON_STRING)
        return wrong(err, key, "a string");
    *ret = mem_dup(member->text);
    return 0;
}

static int read_path(const struct json *from, const char *key, char **ret, struct runner_error *err)
{
    if (read_text(from, key, ret, err) < 0)
        return -1;
    return *ret != NULL && (*ret)[0] != '/' ? wrong(err, key, "an absolute path") : 0;
}

static int read_int(const struct json *from, const char *key, int64_t min, int64_t max, int64_t *ret,
                    struct runner_error *err)
{
    const struct json *member = json_get(from, key);

    if (member == NULL || member->type != JSON_INT || member->number < min || member->number > max)
        return wrong(err, key, "an integer in its bounds");
    *ret = member->number;
    return 0;
}

static int read_u32(const struct json *from, const char *key, int64_t max, uint32_t *ret, struct runner_error *err)
{
    int64_t value = 0;

    if (read_int(from, key, 0, max, &value, err) < 0)
        return -1;
    *ret = (uint32_t)value;
    return 0;
}

static int read_array(const struct json *from, const char *key, char *ret, size_t size, struct runner_error *err)
{
    const char *text = json_text(from, key, NULL);

    if (text == NULL || strlen(text) >= size)
        return wrong(err, key, "a short string");
    memcpy(ret, text, strlen(text) + 1);
    return 0;
}

static int read_state(const struct json *from, enum sandbox_state *ret, struct runner_error *err)
{
    const char *text = json_text(from, "state", "");

    for (size_t i = 0; i < SANDBOX_UNKNOWN; i++)
        if (strcmp(text, state_names[i]) == 0) {
            *ret = (enum sandbox_state)i;
            return 0;
        }
    return wrong(err, "state", "a state");
}

static int read_guest_nic(const struct json *from, struct runner_nic *nic, struct runner_error *err)
{
    if (read_array(from, "mac", nic->guest_mac, sizeof nic->guest_mac, err) < 0 ||
        read_array(from, "address", nic->guest_address, sizeof nic->guest_address, err) < 0 ||
        read_array(from, "gateway", nic->guest_gateway, sizeof nic->guest_gateway, err) < 0 ||
        read_u32(from, "prefix", 128, &nic->guest_prefix_len, err) < 0)
        return error_wrap(err, "guest");
    return 0;
}

static int read_nic(const struct json *from, struct runner_nic *nic, struct runner_error *err)
{
    const char *kind = json_text(from, "kind", "");
    const struct json *guest = json_get(from, "guest");

    nic->kind = strcmp(kind, "tap") == 0 ? RUNNER_NIC_TAP : strcmp(kind, "user") == 0 ? RUNNER_NIC_USER : 0;
    if (nic->kind == 0 && strcmp(kind, "none") != 0)
        return wrong(err, "nic.kind", "tap, user or none");
    if (read_array(from, "name", nic->name, sizeof nic->name, err) < 0 ||
        read_array(from, "mac", nic->mac, sizeof nic->mac, err) < 0 ||
        read_array(from, "address", nic->address, sizeof nic->address, err) < 0 ||
        read_array(from, "gateway", nic->gateway, sizeof nic->gateway, err) < 0 ||
        read_array(from, "dns", nic->dns, sizeof nic->dns, err) < 0 ||
        read_u32(from, "prefix", 128, &nic->prefix_len, err) < 0 || read_u32(from, "mtu", 65535, &nic->mtu, err) < 0 ||
        read_u32(from, "forwardPort", 65535, &nic->forward_port, err) < 0 ||
        read_u32(from, "guestPort", 65535, &nic->guest_port, err) < 0 ||
        (guest != NULL && read_guest_nic(guest, nic, err) < 0))
        return error_wrap(err, "nic");
    nic->size = sizeof *nic;
    return 0;
}

static int read_disk(const struct json *from, struct record *record, struct runner_error *err)
{
    if (read_path(from, "path", &record->disk.path, err) < 0 ||
        read_text(from, "format", &record->disk.format, err) < 0 ||
        read_path(from, "backingPath", &record->disk.backing_path, err) < 0 ||
        read_text(from, "backingFormat", &record->disk.backing_format, err) < 0 ||
        read_int(from, "sizeBytes", 0, INT64_MAX, &record->disk.size_bytes, err) < 0)
        return error_wrap(err, "disk");
    return record->disk.path == NULL || record->disk.format == NULL ? wrong(err, "disk", "a path and a format") : 0;
}

static int read_boot(const struct json *from, struct record *record, struct runner_error *err)
{
    if (read_path(from, "kernel", &record->boot.kernel, err) < 0 ||
        read_path(from, "initramfs", &record->boot.initramfs, err) < 0 ||
        read_text(from, "cmdline", &record->boot.cmdline, err) < 0)
        return error_wrap(err, "boot");
    if (read_path(from, "firmware", &record->boot.firmware, err) < 0)
        return error_wrap(err, "boot");
    record->boot.has_daemon = json_bool(from, "hasDaemon", true);
    record->boot.is_ready_by_log = json_bool(from, "readyByLog", false);
    if (record->boot.firmware == NULL && (record->boot.kernel == NULL || record->boot.cmdline == NULL))
        return wrong(err, "boot", "a kernel and a cmdline, or firmware");
    return 0;
}

/* As a name of a cgroup goes: it becomes a part of a path. */
static int read_vmm(const struct json *from, struct record *record, struct runner_error *err)
{
    if (read_text(from, "plugin", &record->vmm.plugin, err) < 0 ||
        read_text(from, "cgroup", &record->vmm.cgroup, err) < 0 ||
        read_u32(from, "uid", UINT32_MAX - 1, &record->vmm.uid, err) < 0)
        return error_wrap(err, "vmm");
    if (record->vmm.plugin != NULL && !text_is_plugin_name(record->vmm.plugin))
        return wrong(err, "vmm.plugin", "the name of a plugin");
    if (record->vmm.cgroup != NULL && !text_is_id(record->vmm.cgroup))
        return wrong(err, "vmm.cgroup", "a name");
    return 0;
}

static int read_all(struct json *from, struct record *record, struct runner_error *err)
{
    const struct json *disk = json_get(from, "disk"), *nic = json_get(from, "nic"), *boot = json_get(from, "boot"),
                      *vmm = json_get(from, "vmm");
    int64_t schema = 0, cpus = 0;

    if (read_int(from, "schema", RECORD_SCHEMA, RECORD_SCHEMA, &schema, err) < 0)
        return wrong(err, "schema", "1 (is this record of a newer runner-ch?)");
    if (strcmp(json_text(from, "id", ""), record->id) != 0)
        return wrong(err, "id", "the name of its directory");
    if (read_state(from, &record->state, err) < 0 ||
        read_int(from, "createdMs", 0, INT64_MAX, &record->created_ms, err) < 0 ||
        (json_get(from, "takenOverMs") != NULL &&
         read_int(from, "takenOverMs", 0, INT64_MAX, &record->taken_over_ms, err) < 0) ||
        read_text(from, "error", &record->error, err) < 0 ||
        read_text(from, "daemonVersion", &record->daemon_version, err) < 0 ||
        read_text(from, "job", &record->job, err) < 0 ||
        read_text(from, "snapshot", &record->snapshot, err) < 0 || read_int(from, "cpus", 1, 1024, &cpus, err) < 0 ||
        read_int(from, "memoryBytes", 1, BYTES_MAX, &record->memory_bytes, err) < 0 ||
        read_int(from, "diskBytes", 0, BYTES_MAX, &record->disk_bytes, err) < 0 ||
        (json_get(from, "diskExtraBytes") != NULL &&
         read_int(from, "diskExtraBytes", 0, BYTES_MAX, &record->disk_extra_bytes, err) < 0))
        return -1;
    record->cpus = (uint32_t)cpus;
    if (record->snapshot == NULL || !text_is_ref(record->snapshot))
        return wrong(err, "snapshot", "a snapshot reference");
    if ((disk != NULL && read_disk(disk, record, err) < 0) || (nic != NULL && read_nic(nic, &record->nic, err) < 0) ||
        (boot != NULL && read_boot(boot, record, err) < 0) || (vmm != NULL && read_vmm(vmm, record, err) < 0))
        return -1;
    if (policy_parse(json_get(from, "policy"), &record->policy, err) < 0)
        return error_wrap(err, "record");
    record->nic.uid = record->vmm.uid;
    record->request = json_take(from, "request");
    if (record->request != NULL && record->request->type != JSON_OBJECT)
        return wrong(err, "request", "an object");
    record->image = json_take(from, "image");
    if (record->image != NULL && record->image->type != JSON_OBJECT)
        return wrong(err, "image", "an object");
    record->metadata = json_take(from, "metadata");
    if (record->metadata != NULL && record->metadata->type != JSON_OBJECT)
        return wrong(err, "metadata", "an object");
    return 0;
}

int record_parse(const char *text, size_t len, const char *id, struct record **ret, struct runner_error *err)
{
    auto_record struct record *record = record_new(id);
    auto_json struct json *from = NULL;

    if (json_parse(text, len, &from, err) < 0)
        return error_wrap(err, "record");
    if (from->type != JSON_OBJECT)
        return wrong(err, "top level", "an object");
    if (read_all(from, record, err) < 0)
        return -1;
    *ret = record;
    record = NULL;
    return 0;
}
