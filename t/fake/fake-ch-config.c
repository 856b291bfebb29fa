/* The configuration: the rules that it is held against at boot and before a device is added, in the real program's order,
 * and its devices. */
#include <string.h>
#include <unistd.h>

#include "t/fake/fake-ch.h"

#define IDS_MAX 256

struct checker {
    const struct json *config;
    struct cause *c;
    int64_t boot_vcpus, segments;
    const char *ids[IDS_MAX];
    int n_ids;
};

#define INVALID(k, ...) cause_setf((k)->c, NULL, __VA_ARGS__)

static bool is_power_of_two(int64_t n)
{
    return n > 0 && (n & (n - 1)) == 0;
}

static bool has(const struct json *object, const char *key)
{
    const struct json *j = json_get(object, key);

    return j != NULL && j->type != JSON_NULL;
}

static const struct json *first_of(const struct json *object, const char *key)
{
    const struct json *list = json_get(object, key);

    return list != NULL && list->type == JSON_ARRAY ? list->first : NULL;
}

static int check_id(struct checker *k, const struct json *object)
{
    const char *id = json_text(object, "id", NULL);

    if (id == NULL)
        return 0;
    if (strncmp(id, "__", 2) == 0)
        return INVALID(k, "Identifier %s is not invalid", id); /* sic */
    for (int i = 0; i < k->n_ids; i++)
        if (strcmp(k->ids[i], id) == 0)
            return INVALID(k, "Identifier %s is not unique", id);
    if (k->n_ids < IDS_MAX)
        k->ids[k->n_ids++] = id;
    return 0;
}

static int check_pci(struct checker *k, const struct json *device)
{
    int64_t segment = json_int(device, "pci_segment", 0), slot = json_int(device, "pci_device_id", 1);

    if (segment >= k->segments)
        return INVALID(k, "Invalid PCI segment id: %lld", (long long)segment);
    if (slot >= 32)
        return INVALID(k, "Given PCI device ID (%lld) is out of the supported range of 0..32", (long long)slot);
    if (slot == 0)
        return INVALID(k, "Given PCI device ID (0) is reserved");
    return 0;
}

static bool is_shared(const struct json *config)
{
    const struct json *memory = json_get(config, "memory");

    if (json_bool(memory, "shared", false) || json_bool(memory, "hugepages", false))
        return true;
    if (json_int(memory, "size", 0) != 0)
        return false;
    for (const struct json *zone = first_of(memory, "zones"); zone != NULL; zone = zone->next)
        if (!json_bool(zone, "shared", false) && !json_bool(zone, "hugepages", false))
            return false;
    return true;
}

/* used: how many vCPUs the queues would keep busy. */
static int check_queues(struct checker *k, int64_t queues, int64_t used, int64_t size)
{
    if (used > k->boot_vcpus)
        return INVALID(k, "Queue count (%lld) must not exceed boot vCPUs (%lld)", (long long)queues,
                       (long long)k->boot_vcpus);
    if (!is_power_of_two(size))
        return INVALID(k, "Queue size must be a power of 2 no greater than 32768: %lld", (long long)size);
    return 0;
}

static bool has_group(const struct json *config, const char *id)
{
    for (const struct json *group = first_of(config, "rate_limit_groups"); group != NULL; group = group->next)
        if (strcmp(json_text(group, "id", ""), id) == 0)
            return true;
    return false;
}

static int check_vhost_user(struct checker *k, const struct json *device)
{
    if (!json_bool(device, "vhost_user", false))
        return 0;
    if (!is_shared(k->config))
        return INVALID(k, "Using vhost-user requires using shared memory or huge pages");
    if (!has(device, "vhost_socket"))
        return INVALID(k, "No socket provided when using vhost-user");
    if (has(device, "rate_limiter_config") || has(device, "rate_limit_group"))
        return INVALID(k, "Rate limiting is not supported with vhost-user");
    return 0;
}

static int check_disk(struct checker *k, const struct json *disk)
{
    const char *group = json_text(disk, "rate_limit_group", NULL);
    int64_t size = json_int(disk, "queue_size", 128), queues = json_int(disk, "num_queues", 1);

    if (has(disk, "vhost_socket") && has(disk, "path"))
        return INVALID(k, "Disk path and vhost socket both provided");
    if (check_vhost_user(k, disk) < 0)
        return -1;
    if (group != NULL && !has_group(k->config, group))
        return INVALID(k, "Invalid rate-limiter group");
    if (check_pci(k, disk) < 0 || check_queues(k, queues, queues, size) < 0)
        return -1;
    if (size <= 2)
        return INVALID(k, "Block queue size must be greater than 2: %lld", (long long)size);
    if (group != NULL && has(disk, "rate_limiter_config"))
        return INVALID(k, "Invalid rate-limiter group");
    if (strlen(json_text(disk, "serial", "")) > 20)
        return INVALID(k, "Block device serial length (%zu) exceeds maximum allowed length (20)",
                       strlen(json_text(disk, "serial", "")));
    return check_id(k, disk);
}

static int check_net_fds(struct checker *k, const struct json *net, int64_t queues)
{
    const struct json *fds = json_get(net, "fds");
    int64_t n = 0;

    for (const struct json *fd = fds != NULL ? fds->first : NULL; fd != NULL; fd = fd->next)
        n += 2;
    if (n != 0 && n != queues)
        return INVALID(k, "Number of queues (%lld) to virtio_net does not match the number of FDs (%lld)",
                       (long long)queues, (long long)n);
    for (const struct json *fd = fds != NULL ? fds->first : NULL; fd != NULL; fd = fd->next)
        if (fd->number <= 2)
            return INVALID(k, "Reserved fd number (<= 2): %lld", (long long)fd->number);
    return 0;
}

static int check_net(struct checker *k, const struct json *net)
{
    int64_t queues = json_int(net, "num_queues", 2), mtu = json_int(net, "mtu", 1500);

    if (check_vhost_user(k, net) < 0 || check_pci(k, net) < 0)
        return -1;
    if (queues < 2)
        return INVALID(k, "Number of queues (%lld) to virtio_net should be higher than 2", (long long)queues);
    if (check_net_fds(k, net, queues) < 0 || check_queues(k, queues, queues / 2, json_int(net, "queue_size", 256)) < 0)
        return -1;
    if (mtu < 1280)
        return INVALID(k, "Provided MTU %lld is lower than 1280 (expected by VIRTIO specification)", (long long)mtu);
    if (!json_bool(net, "offload_csum", true) &&
        (json_bool(net, "offload_tso", true) || json_bool(net, "offload_ufo", true)))
        return INVALID(k, "\"offload_tso\" and \"offload_ufo\" depend on \"offload_csum\"");
    if (has(net, "mask") && !has(net, "ip"))
        return INVALID(k, "Mask provided without an IP");
    if (has(net, "ip") && !has(net, "mask"))
        return INVALID(k, "IP provided without a mask");
    return check_id(k, net);
}

static int check_plain(struct checker *k, const struct json *device)
{
    return check_pci(k, device) < 0 ? -1 : check_id(k, device);
}

static int check_list(struct checker *k, const char *key, int (*fn)(struct checker *, const struct json *))
{
    for (const struct json *item = first_of(k->config, key); item != NULL; item = item->next)
        if (fn(k, item) < 0)
            return -1;
    return 0;
}

/* ---- parts ------------------------------------------------------------------------------------------------------- */

static int check_payload(struct checker *k)
{
    const struct json *payload = json_get(k->config, "payload");
    bool firmware = has(payload, "firmware"), kernel = has(payload, "kernel");

    if (firmware && kernel)
        return cause_set(k->c, "Payload configuration is not bootable",
                         "Specifying a kernel is not supported when a firmware is provided", NULL);
    if (!firmware && !kernel)
        return cause_set(k->c, "Payload configuration is not bootable",
                         "No bootitem provided: neither firmware nor kernel", NULL);
    return 0;
}

static int check_consoles(struct checker *k)
{
    static const char *const keys[] = {"console", "serial"};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const struct json *console = json_get(k->config, keys[i]);

        if (strcmp(json_text(console, "mode", ""), "File") == 0 && !has(console, "file"))
            return INVALID(k, "Path missing when using file console mode");
    }
    return 0;
}

static int check_vcpus(struct checker *k)
{
    int64_t max = json_int(json_get(k->config, "cpus"), "max_vcpus", 1);

    if (max < k->boot_vcpus)
        return INVALID(k, "Max CPUs (%lld) lower than boot CPUs (%lld)", (long long)max, (long long)k->boot_vcpus);
    if (max > 8192)
        return INVALID(k, "Too many CPUs: specified %lld but 8192 is the limit", (long long)max);
    return 0;
}

static int check_topology(struct checker *k)
{
    const struct json *cpus = json_get(k->config, "cpus"), *t = json_get(cpus, "topology");
    int64_t product = 1;

    if (t == NULL || t->type == JSON_NULL)
        return 0;
    for (const struct json *part = t->first; part != NULL; part = part->next)
        product *= part->number;
    if (product == 0)
        return INVALID(k, "No part of the CPU topology can be zero");
    if (json_int(t, "threads_per_core", 1) > 2)
        return INVALID(k, "CPU topology supports at most 2 threads per core");
    if (product != json_int(cpus, "max_vcpus", 1))
        return INVALID(k, "Product of CPU topology parts does not match maximum vCPU");
    return 0;
}

static int check_memory(struct checker *k)
{
    const struct json *memory = json_get(k->config, "memory");
    bool is_bad = json_bool(memory, "shared", false) && json_bool(memory, "mergeable", false);

    if (has(memory, "hugepage_size") && !json_bool(memory, "hugepages", false))
        return INVALID(k, "Huge page size specified but huge pages not enabled");
    if (has(memory, "hugepage_size") && !is_power_of_two(json_int(memory, "hugepage_size", 0)))
        return INVALID(k, "Huge page size is not power of 2: %lld", (long long)json_int(memory, "hugepage_size", 0));
    for (const struct json *zone = first_of(memory, "zones"); zone != NULL; zone = zone->next)
        is_bad = is_bad || (json_bool(zone, "shared", false) && json_bool(zone, "mergeable", false));
    return is_bad ? INVALID(k, "Invalid to set both 'mergeable' and 'shared' for memory") : 0;
}

static int check_vsock_cid(struct checker *k)
{
    const struct json *vsock = json_get(k->config, "vsock");
    int64_t cid = json_int(vsock, "cid", 3);

    return cid <= 2 || cid == UINT32_MAX ? INVALID(k, "%lld is a special VSOCK CID", (long long)cid) : 0;
}

static int check_balloon(struct checker *k)
{
    const struct json *balloon = json_get(k->config, "balloon");
    int64_t size = json_int(balloon, "size", 0), ram = config_memory(k->config);

    if (!has(k->config, "balloon"))
        return 0;
    if (check_plain(k, balloon) < 0)
        return -1;
    return size >= ram ? INVALID(k, "Balloon size (%lld) greater than RAM (%lld)", (long long)size, (long long)ram) : 0;
}

static int check_zone_id(struct checker *k, const struct json *zone)
{
    return check_id(k, zone);
}

static int check_landlock(struct checker *k, const struct json *rule)
{
    const char *path = json_text(rule, "path", ""), *access_word = json_text(rule, "access", "");

    if (access(path, F_OK) < 0)
        return INVALID(k, "Path \"%s\" provided in landlock-rules does not exist", path);
    if (strcmp(access_word, "r") != 0 && strcmp(access_word, "w") != 0 && strcmp(access_word, "rw") != 0)
        return INVALID(k, "Invalid landlock access: Invalid Landlock access: Invalid access: %s", access_word);
    return 0;
}

static int check_needs_shared(struct checker *k)
{
    if ((first_of(k->config, "fs") != NULL || first_of(k->config, "generic_vhost_user") != NULL) &&
        !is_shared(k->config))
        return INVALID(k, "Using vhost-user requires using shared memory or huge pages");
    return check_list(k, "fs", check_plain) < 0 ? -1 : check_list(k, "generic_vhost_user", check_plain);
}

static int check_user_devices(struct checker *k)
{
    if (first_of(k->config, "user_devices") != NULL && !is_shared(k->config))
        return INVALID(k, "Using user devices requires using shared memory or huge pages");
    return check_list(k, "user_devices", check_plain);
}

static int check_device(struct checker *k, const struct json *device)
{
    if (!has(device, "path") && !has(device, "fd"))
        return INVALID(k, "VFIO device config must specify `path=` or `fd=`");
    for (const struct json *other = first_of(k->config, "devices"); other != device; other = other->next)
        if (strcmp(json_text(other, "path", ""), json_text(device, "path", "-")) == 0)
            return INVALID(k, "Duplicated device path: %s", json_text(device, "path", ""));
    return check_plain(k, device);
}

static int check_one(struct checker *k, const char *key)
{
    const struct json *device = json_get(k->config, key);

    return device == NULL || device->type == JSON_NULL ? 0 : check_plain(k, device);
}

int64_t config_memory(const struct json *config)
{
    const struct json *memory = json_get(config, "memory");
    int64_t sum = json_int(memory, "size", 0);

    for (const struct json *zone = first_of(memory, "zones"); zone != NULL; zone = zone->next)
        sum += json_int(zone, "size", 0);
    return sum;
}

int config_validate(const struct json *config, struct cause *c)
{
    struct checker k = {.config = config,
                        .c = c,
                        .boot_vcpus = json_int(json_get(config, "cpus"), "boot_vcpus", 1),
                        .segments = json_int(json_get(config, "platform"), "num_pci_segments", 1)};
    struct checker zones = k;

    if (check_payload(&k) < 0 || check_consoles(&k) < 0 || check_vcpus(&k) < 0 ||
        check_list(&k, "rate_limit_groups", check_id) < 0 || check_list(&k, "disks", check_disk) < 0 ||
        check_list(&k, "net", check_net) < 0 || check_needs_shared(&k) < 0 || check_list(&k, "pmem", check_plain) < 0 ||
        check_one(&k, "rng") < 0 || check_one(&k, "rtc") < 0 || check_one(&k, "console") < 0 ||
        check_topology(&k) < 0 || check_memory(&k) < 0 || check_user_devices(&k) < 0 ||
        check_list(&k, "vdpa", check_plain) < 0 || check_vsock_cid(&k) < 0 || check_balloon(&k) < 0 ||
        check_list(&k, "devices", check_device) < 0 || check_one(&k, "vsock") < 0)
        return -1;
    memcpy(zones.ids, k.ids, sizeof k.ids);
    zones.n_ids = k.n_ids;
    zones.config = json_get(config, "memory");
    return zones.config != NULL && check_list(&zones, "zones", check_zone_id) < 0
               ? -1
               : check_list(&k, "landlock_rules", check_landlock);
}

/* ---- devices ------------------------------------------------------------------------------------------------------ */

bool config_is_single(const char *key)
{
    return strcmp(key, "vsock") == 0;
}

void config_add(struct json *config, const char *key, struct json *device)
{
    if (!config_is_single(key)) {
        tree_append(config, key, device);
        return;
    }
    json_free(json_take(config, key));
    device->key = mem_dup(key);
    json_append(config, device);
}

bool config_remove(struct json *config, const char *id)
{
    static const char *const lists[] = {"devices", "user_devices", "disks", "fs", "generic_vhost_user",
                                        "net",     "pmem",         "vdpa"};
    struct json *vsock = tree_member(config, "vsock");
    bool is_removed = false;

    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct json *list = tree_member(config, lists[i]), *next;
        struct json kept = {.type = JSON_ARRAY};

        for (struct json *item = list != NULL ? list->first : NULL; item != NULL; item = next) {
            next = item->next;
            item->next = NULL;
            if (strcmp(json_text(item, "id", ""), id) == 0) {
                json_free(item);
                is_removed = true;
                continue;
            }
            json_append(&kept, item);
        }
        if (list != NULL) {
            list->first = kept.first;
            list->last = kept.last;
        }
    }
    if (vsock != NULL && strcmp(json_text(vsock, "id", ""), id) == 0) {
        json_free(json_take(config, "vsock"));
        is_removed = true;
    }
    return is_removed;
}
