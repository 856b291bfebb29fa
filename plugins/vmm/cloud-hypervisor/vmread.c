#include "plugins/vmm/cloud-hypervisor/vmread.h"

#include <string.h>

#include "core/util/error.h"

#define CPUS_MAX   254
#define MEMORY_MIN (INT64_C(1) << 20)
#define MEMORY_MAX (INT64_C(1) << 44)
#define ZONES_MAX  64
#define TEXT_BYTES 4096 /* of a path, and of a kernel's command line */

struct reading {
    const struct runner_host *host;
    struct runner_machine machine;
};

void vmread_release(const struct runner_host *host, struct runner_machine *machine)
{
    const char *const texts[] = {machine->kernel,   machine->initramfs, machine->cmdline,
                                 machine->firmware, machine->disk_path, machine->extra};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        host->release((void *)(uintptr_t)texts[i]);
    *machine = (struct runner_machine){.size = machine->size};
}

static int wrong(struct runner_error *err, const char *member, const char *expected)
{
    return fail(err, RUNNER_E_INVALID, 0, "%s: expected %s", member, expected);
}

static bool is_set(const struct json *member)
{
    return member != NULL && member->type != JSON_NULL;
}

/* The old text stays when there was one. */
static int keep(struct reading *r, const char *text, const char **ret, struct runner_error *err)
{
    size_t size = strlen(text) + 1;
    char *copy;

    if (*ret != NULL)
        return 0;
    copy = r->host->alloc(size);
    if (copy == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "%zu bytes of a configuration", size);
    *ret = memcpy(copy, text, size);
    return 0;
}

static int keep_extra(struct reading *r, const char *name, long index, struct runner_error *err)
{
    char text[64];

    (void)snprintf(text, sizeof text, index < 0 ? "%s" : "%s[%ld]", name, index);
    return keep(r, text, &r->machine.extra, err);
}

/* ---- numbers ---- */

static int read_cpus(struct reading *r, const struct json *cpus, struct runner_error *err)
{
    const struct json *boot = json_get(cpus, "boot_vcpus");

    if (cpus == NULL || cpus->type != JSON_OBJECT)
        return wrong(err, "cpus", "an object");
    if (boot == NULL || boot->type != JSON_INT || boot->number < 1 || boot->number > CPUS_MAX)
        return wrong(err, "cpus.boot_vcpus", "1 to 254");
    r->machine.cpus = (uint32_t)boot->number;
    return 0;
}

/* Of a memory zone, or what is in none. */
static int read_size(const struct json *from, const char *member, int64_t *sum, struct runner_error *err)
{
    const struct json *size = json_get(from, "size");

    if (from->type != JSON_OBJECT || !is_set(size))
        return wrong(err, member, "an object with a size");
    if (size->type != JSON_INT || size->number < 0 || size->number > MEMORY_MAX)
        return wrong(err, member, "bytes, at most 16 TiB");
    *sum += size->number;
    return 0;
}

static int read_memory(struct reading *r, const struct json *memory, struct runner_error *err)
{
    const struct json *zones = json_get(memory, "zones");
    int64_t sum = 0;
    int n = 0;

    if (memory == NULL || read_size(memory, "memory.size", &sum, err) < 0)
        return memory == NULL ? wrong(err, "memory", "an object") : -1;
    for (const struct json *zone = is_set(zones) ? zones->first : NULL; zone != NULL; zone = zone->next)
        if (n++ == ZONES_MAX || read_size(zone, "memory.zones", &sum, err) < 0)
            return n > ZONES_MAX ? wrong(err, "memory.zones", "fewer zones") : -1;
    if (sum < MEMORY_MIN || sum > MEMORY_MAX)
        return wrong(err, "memory.size", "bytes, 1 MiB to 16 TiB");
    r->machine.memory_bytes = sum;
    return n > 0 ? keep_extra(r, "memory.zones", -1, err) : 0;
}

/* ---- texts ---- */

static int check_text(const char *member, const char *text, struct runner_error *err)
{
    if (strlen(text) >= TEXT_BYTES)
        return wrong(err, member, "less than 4096 bytes");
    for (const char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return wrong(err, member, "text without control characters");
    return 0;
}

static int read_text(struct reading *r, const struct json *from, const char *member, const char *key, const char **ret,
                     struct runner_error *err)
{
    const struct json *value = json_get(from, key);

    if (!is_set(value))
        return 0;
    if (value->type != JSON_STRING)
        return wrong(err, member, "a string");
    return check_text(member, value->text, err) < 0 ? -1 : keep(r, value->text, ret, err);
}

static int read_payload(struct reading *r, const struct json *payload, struct runner_error *err)
{
    if (!is_set(payload))
        return 0;
    if (payload->type != JSON_OBJECT)
        return wrong(err, "payload", "an object");
    if (read_text(r, payload, "payload.kernel", "kernel", &r->machine.kernel, err) < 0 ||
        read_text(r, payload, "payload.initramfs", "initramfs", &r->machine.initramfs, err) < 0 ||
        read_text(r, payload, "payload.cmdline", "cmdline", &r->machine.cmdline, err) < 0)
        return -1;
    return read_text(r, payload, "payload.firmware", "firmware", &r->machine.firmware, err);
}

/* ---- devices ---- */

/* The first disk that can be written to is the sandbox's, the first other one its seed. */
static int read_disk(struct reading *r, const struct json *disk, long i, bool *has_seed, struct runner_error *err)
{
    char member[32];

    (void)snprintf(member, sizeof member, "disks[%ld]", i);
    if (disk->type != JSON_OBJECT)
        return wrong(err, member, "an object");
    if (json_get(disk, "path") == NULL || json_bool(disk, "vhost_user", false))
        return keep_extra(r, "disks", i, err);
    (void)snprintf(member, sizeof member, "disks[%ld].path", i);
    if (json_text(disk, "path", NULL) == NULL)
        return wrong(err, member, "a string");
    if (!json_bool(disk, "readonly", false) && r->machine.disk_path == NULL)
        return read_text(r, disk, member, "path", &r->machine.disk_path, err);
    if (!json_bool(disk, "readonly", false) || *has_seed)
        return keep_extra(r, "disks", i, err);
    *has_seed = true;
    return 0;
}

static int read_disks(struct reading *r, const struct json *disks, struct runner_error *err)
{
    bool has_seed = false;
    long i = 0;

    if (is_set(disks) && disks->type != JSON_ARRAY)
        return wrong(err, "disks", "an array");
    for (const struct json *disk = is_set(disks) ? disks->first : NULL; disk != NULL; disk = disk->next)
        if (read_disk(r, disk, i++, &has_seed, err) < 0)
            return -1;
    return 0;
}

static int read_short(const struct json *from, const char *member, const char *key, char *ret, size_t size,
                      struct runner_error *err)
{
    const struct json *value = json_get(from, key);

    if (!is_set(value))
        return 0;
    if (value->type != JSON_STRING || strlen(value->text) >= size)
        return wrong(err, member, "a short string");
    memcpy(ret, value->text, strlen(value->text) + 1);
    return check_text(member, ret, err);
}

static int read_net(struct reading *r, const struct json *net, struct runner_error *err)
{
    const struct json *first = is_set(net) ? net->first : NULL;

    if (is_set(net) && net->type != JSON_ARRAY)
        return wrong(err, "net", "an array");
    if (first == NULL)
        return 0;
    if (first->type != JSON_OBJECT)
        return wrong(err, "net[0]", "an object");
    if (read_short(first, "net[0].tap", "tap", r->machine.tap, sizeof r->machine.tap, err) < 0 ||
        read_short(first, "net[0].mac", "mac", r->machine.mac, sizeof r->machine.mac, err) < 0)
        return -1;
    if (json_bool(first, "vhost_user", false))
        return keep_extra(r, "net", 0, err);
    return first->next != NULL ? keep_extra(r, "net", 1, err) : 0;
}

/* What a machine of ours never has. */
static int read_extra(struct reading *r, const struct json *config, struct runner_error *err)
{
    static const char *const names[] = {"devices", "user_devices", "fs", "pmem", "vdpa", "generic_vhost_user"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct json *list = json_get(config, names[i]);

        if (is_set(list) && list->first != NULL)
            return keep_extra(r, names[i], -1, err);
    }
    return 0;
}

/* ---- all of it ---- */

int vmread_config(const struct runner_host *host, const struct json *config, struct runner_machine *ret,
                  struct runner_error *err)
{
    struct reading r = {.host = host, .machine = {.size = sizeof r.machine}};

    if (config == NULL || config->type != JSON_OBJECT)
        return wrong(err, "top level", "an object");
    if (read_cpus(&r, json_get(config, "cpus"), err) < 0 || read_memory(&r, json_get(config, "memory"), err) < 0 ||
        read_payload(&r, json_get(config, "payload"), err) < 0 || read_disks(&r, json_get(config, "disks"), err) < 0 ||
        read_net(&r, json_get(config, "net"), err) < 0 || read_extra(&r, config, err) < 0) {
        vmread_release(host, &r.machine);
        return -1;
    }
    r.machine.size = ret->size;
    memcpy(ret, &r.machine, ret->size < sizeof r.machine ? ret->size : sizeof r.machine);
    return 0;
}

int vmread_text(void *self, const char *text, size_t len, struct runner_machine *ret, struct runner_error *err)
{
    const struct ch *ch = self;
    auto_json struct json *config = NULL;

    if (json_parse(text, len, &config, err) < 0)
        return -1;
    return vmread_config(ch->host, config, ret, err);
}
