/* Routes, and what each call does in each state (no configuration, created, running, paused). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "t/fake/fake-ch.h"

struct request {
    struct json *body; /* NULL for none; the call may take it */
    struct fds *fds;
};

enum { GET = 1, PUT = 2 };

struct call {
    const char *name;
    int method;
    const struct object *object; /* of the body; NULL: takes none */
    const char *failure;         /* how an error begins, behind "Error from API" */
    int (*fn)(struct request *, struct cause *, struct str *ret);
    const char *key; /* add-*: the list of the configuration; called with it */
};
static const struct call *current;

#define NO_VM     cause_set(c, "VM is not running", NULL)
#define NO_CONFIG cause_404(c, "VM is not created")

static int cause_404(struct cause *c, const char *text)
{
    cause_set(c, text, NULL);
    c->status = 404;
    return -1;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static int do_ping(struct request *q, struct cause *c, struct str *ret)
{
    (void)q;
    (void)c;
    str_addf(ret, "{\"build_version\":\"v%s\",\"version\":\"%s.0\",\"pid\":%d,\"features\":[\"io_uring\",\"kvm\"]}",
             ch.version, ch.version, getpid());
    return 0;
}

static int do_create(struct request *q, struct cause *c, struct str *ret)
{
    (void)ret;
    if (vm.config != NULL)
        return cause_set(c, "VM is already created", NULL);
    for (struct json *net = tree_member(q->body, "net") != NULL ? tree_member(q->body, "net")->first : NULL;
         net != NULL; net = net->next)
        tree_set_text(net, "fds", NULL);          /* numbers in a body mean nothing */
    vm.config = schema_fill(&object_vm, q->body); /* and stays, whatever comes of it */
    return vm_consoles_open(c) < 0 ? -1 : vm_confine(c);
}

static int do_delete(struct request *q, struct cause *c, struct str *ret)
{
    (void)q;
    (void)c;
    (void)ret;
    if (vm.config == NULL)
        return 0;
    if (vm.exists) {
        vm_stop();
        event_say("vm", "shutdown", NULL, NULL);
    }
    json_free(vm.config);
    vm.config = NULL;
    device_drop_fds();
    event_say("vm", "deleted", NULL, NULL);
    return 0;
}

static int do_vmm_shutdown(struct request *q, struct cause *c, struct str *ret)
{
    (void)do_delete(q, c, ret);
    event_say("vmm", "shutdown", NULL, NULL);
    return 0;
}

static int do_boot(struct request *q, struct cause *c, struct str *ret)
{
    (void)q;
    (void)ret;
    if (vm.exists)
        return cause_set(c, "VM is already created", NULL);
    event_say("vm", "booting", NULL, NULL);
    if (vm.config == NULL)
        return cause_404(c, "VM config is missing");
    vm_check_confined();
    if (vm_start(c, false) < 0)
        return -1;
    event_say("vm", "booted", NULL, NULL);
    return 0;
}

static int do_shutdown(struct request *q, struct cause *c, struct str *ret)
{
    (void)q;
    (void)ret;
    if (!vm.exists)
        return NO_VM;
    vm_stop();
    event_say("vm", "shutdown", NULL, NULL);
    return 0;
}

static int do_reboot(struct request *q, struct cause *c, struct str *ret)
{
    (void)q;
    (void)ret;
    return vm_reboot(c);
}

static const char *state_name(void)
{
    static const char *const names[] = {[VM_CREATED] = "Created", [VM_RUNNING] = "Running", [VM_PAUSED] = "Paused"};

    return names[vm.state];
}

static int bad_transition(struct cause *c, const char *first, const char *second, const char *to)
{
    auto_free char *text = mem_printf("Invalid transition: InvalidStateTransition(%s, %s)", state_name(), to);

    return cause_set(c, first, second, text, NULL);
}

static int do_pause(struct request *q, struct cause *c, struct str *ret)
{
    (void)q;
    (void)ret;
    if (!vm.exists)
        return NO_VM;
    event_say("vm", "pausing", NULL, NULL);
    if (vm.state == VM_PAUSED)
        return bad_transition(c, "Cannot pause VM", "Failed to pause migratable component", "Paused");
    vm.state = VM_PAUSED;
    event_say("vm", "paused", NULL, NULL);
    return 0;
}

static int do_resume(struct request *q, struct cause *c, struct str *ret)
{
    (void)q;
    (void)ret;
    if (!vm.exists)
        return NO_VM;
    event_say("vm", "resuming", NULL, NULL);
    if (vm.state == VM_RUNNING)
        return bad_transition(c, "Cannot resume VM", "Failed to resume migratable component", "Running");
    vm.state = VM_RUNNING;
    event_say("vm", "resumed", NULL, NULL);
    return 0;
}

static int do_power_button(struct request *q, struct cause *c, struct str *ret)
{
    (void)q;
    (void)ret;
    if (!vm.exists)
        return NO_VM;
    fguest_power_button();
    return 0;
}

static int do_nmi(struct request *q, struct cause *c, struct str *ret)
{
    (void)q;
    (void)ret;
    return vm.exists ? 0 : NO_VM;
}

static int do_info(struct request *q, struct cause *c, struct str *ret)
{
    (void)q;
    if (vm.config == NULL)
        return NO_CONFIG;
    vm_info(ret);
    return 0;
}

static int do_counters(struct request *q, struct cause *c, struct str *ret)
{
    (void)q;
    if (!vm.exists)
        return NO_VM;
    vm_counters(ret);
    return 0;
}

/* ---- snapshots --------------------------------------------------------------------------------------------------- */

static int do_snapshot(struct request *q, struct cause *c, struct str *ret)
{
    (void)ret;
    if (!vm.exists)
        return NO_VM;
    return snapshot_save(json_text(q->body, "destination_url", ""), c);
}

static int do_restore(struct request *q, struct cause *c, struct str *ret)
{
    (void)ret;
    if (vm.config != NULL)
        return cause_set(c, "VM is already created", NULL);
    return snapshot_restore(q->body, q->fds, c);
}

/* Migration is not built: what can be said without it is. */
static int do_send(struct request *q, struct cause *c, struct str *ret)
{
    (void)ret;
    (void)q;
    if (!vm.exists)
        return cause_set(c, "Failed to send migratable component snapshot", "VM is not running", NULL);
    return cause_set(c, "this fake does not migrate", NULL);
}

static int do_receive(struct request *q, struct cause *c, struct str *ret)
{
    (void)ret;
    (void)q;
    if (vm.exists)
        return cause_set(c, "Failed to receive migratable component snapshot",
                         "Can't receive a migration when a VM is already created", NULL);
    return cause_set(c, "this fake does not migrate", NULL);
}

/* ---- sizes ------------------------------------------------------------------------------------------------------ */

static int do_resize(struct request *q, struct cause *c, struct str *ret)
{
    (void)ret;
    return vm.config == NULL ? NO_CONFIG : size_machine(q->body, c);
}

static int do_resize_zone(struct request *q, struct cause *c, struct str *ret)
{
    (void)ret;
    return vm.config == NULL ? NO_CONFIG : size_zone(q->body, c);
}

static int do_resize_disk(struct request *q, struct cause *c, struct str *ret)
{
    (void)ret;
    return vm.config == NULL ? NO_CONFIG : size_disk(q->body, c);
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static int do_add(struct request *q, struct cause *c, struct str *ret)
{
    const char *key = current->key;
    struct json *device, *tried;
    int r;

    if (vm.config == NULL)
        return NO_CONFIG;
    if (config_is_single(key) && tree_member(vm.config, key) != NULL)
        return cause_set(c, "Too many virtio-vsock devices", NULL);
    device = schema_fill(current->object, q->body);
    tree_set_text(device, "fds", NULL);
    if (strcmp(key, "net") == 0)
        (void)device_take_fds(device, q->fds);
    tried = json_copy(vm.config);
    config_add(tried, key, json_copy(device));
    r = config_validate(tried, c);
    json_free(tried);
    if (r < 0) {
        cause_wrap(c, "Failed to validate config", NULL);
    } else if (vm.exists) {
        r = device_add(key, device, c, ret);
        if (r < 0)
            cause_wrap(c, "Error from device manager", NULL);
    }
    if (r < 0) {
        json_free(device);
        return -1;
    }
    config_add(vm.config, key, device);
    if (vm.exists)
        fguest_plug(true);
    return 0;
}

static int do_remove(struct request *q, struct cause *c, struct str *ret)
{
    const char *id = json_text(q->body, "id", "");

    (void)ret;
    if (vm.config == NULL)
        return NO_CONFIG;
    if (vm.exists) {
        if (device_remove(id, c) < 0) {
            cause_wrap(c, "Error from device manager", NULL);
            return -1;
        }
        (void)config_remove(vm.config, id);
        fguest_plug(false);
        return 0;
    }
    return config_remove(vm.config, id) ? 0 : cause_setf(c, NULL, "No device with id \"%s\" to remove", id);
}

/* ---- routes ------------------------------------------------------------------------------------------------------ */

#define ADD(name, object, failure, key)                                                                                \
    {                                                                                                                  \
        "vm.add-" name, PUT, &(object), "The " failure " could not be added to the VM", do_add, key                    \
    }

static const struct call calls[] = {
    {"vmm.ping", GET, NULL, "", do_ping, NULL},
    {"vmm.shutdown", PUT, NULL, "The VMM could not shutdown", do_vmm_shutdown, NULL},
    {"vm.info", GET, NULL, "The VM info is not available", do_info, NULL},
    {"vm.counters", GET, NULL, "The VM info is not available", do_counters, NULL},
    {"vm.create", PUT, &object_vm, "The VM could not be created", do_create, NULL},
    {"vm.delete", PUT, NULL, "The VM could not be deleted", do_delete, NULL},
    {"vm.boot", PUT, NULL, "The VM could not boot", do_boot, NULL},
    {"vm.shutdown", PUT, NULL, "The VM could not shutdown", do_shutdown, NULL},
    {"vm.reboot", PUT, NULL, "The VM could not reboot", do_reboot, NULL},
    {"vm.pause", PUT, NULL, "The VM could not be paused", do_pause, NULL},
    {"vm.resume", PUT, NULL, "The VM could not resume", do_resume, NULL},
    {"vm.power-button", PUT, NULL, "Error triggering power button", do_power_button, NULL},
    {"vm.nmi", PUT, NULL, "Error triggering NMI", do_nmi, NULL},
    {"vm.resize", PUT, &object_resize, "The VM could not be resized", do_resize, NULL},
    {"vm.resize-zone", PUT, &object_resize_zone, "The memory zone could not be resized", do_resize_zone, NULL},
    {"vm.resize-disk", PUT, &object_resize_disk, "The disk could not be resized", do_resize_disk, NULL},
    ADD("device", object_device, "device", "devices"),
    ADD("user-device", object_user_device, "user device", "user_devices"),
    ADD("disk", object_disk, "disk", "disks"),
    ADD("fs", object_fs, "fs", "fs"),
    ADD("net", object_net, "network device", "net"),
    ADD("pmem", object_pmem, "pmem device", "pmem"),
    ADD("vdpa", object_vdpa, "vDPA device", "vdpa"),
    ADD("vsock", object_vsock, "vsock device", "vsock"),
    ADD("generic-vhost-user", object_vhost_user, "generic vhost-user device", "generic_vhost_user"),
    {"vm.remove-device", PUT, &object_remove, "The device could not be removed from the VM", do_remove, NULL},
    {"vm.snapshot", PUT, &object_snapshot, "The VM could not be snapshotted", do_snapshot, NULL},
    {"vm.restore", PUT, &object_restore, "The VM could not be restored", do_restore, NULL},
    {"vm.send-migration", PUT, &object_send, "Error dispatching the migration worker", do_send, NULL},
    {"vm.receive-migration", PUT, &object_receive, "Error receiving migration", do_receive, NULL},
};

static const struct call *call_of(const char *path)
{
    static const char root[] = "/api/v1/";

    for (size_t i = 0; i < ARRAY_LEN(calls) && strncmp(path, root, sizeof root - 1) == 0; i++)
        if (strcmp(calls[i].name, path + sizeof root - 1) == 0)
            return &calls[i];
    return NULL;
}

static bool is_named(const struct call *call, const char *a, const char *b)
{
    return strcmp(call->name, a) == 0 || strcmp(call->name, b) == 0;
}

/* The four routes that are handled apart in the real program. */
static bool is_apart(const struct call *call)
{
    return is_named(call, "vmm.ping", "vmm.shutdown") || is_named(call, "vm.info", "vm.create");
}

/* false: answered. */
static bool check_method(const struct call *call, const char *method, bool has_body, struct reply *r)
{
    int number = strcmp(method, "GET") == 0 ? GET : strcmp(method, "PUT") == 0 ? PUT : 0;
    bool is_ignored = call->method == GET || strcmp(call->name, "vmm.shutdown") == 0; /* a body is */

    r->status = 400;
    r->has_body = true;
    if (number == 0 && !is_apart(call))
        return false; /* PATCH: an empty body */
    if (number == call->method && strcmp(call->name, "vm.create") == 0 && !has_body)
        return false;
    if (number != call->method || (!is_ignored && has_body != (call->object != NULL))) {
        reply_fail(r, 400, "Bad Request", NULL);
        return false;
    }
    return true;
}

static bool has_fd_count(const struct json *body, const struct fds *fds)
{
    const struct json *nets = json_get(body, "net_fds");
    int64_t wanted = 0;

    if (nets == NULL || nets->type != JSON_ARRAY)
        return true;
    for (const struct json *net = nets->first; net != NULL; net = net->next)
        wanted += json_int(net, "num_fds", 0);
    return wanted == fds->n;
}

static void run(const struct call *call, struct request *q, struct reply *r)
{
    struct cause c = {.json = STR_INIT, .status = 500};
    struct str ret = STR_INIT;

    current = call;
    if (call->fn(q, &c, &ret) < 0 && c.status == 429) {
        reply_fail(r, 429, "Too Many Requests", NULL);
    } else if (c.json.len > 0) {
        reply_fail(r, c.status, "Error from API", call->failure, NULL);
        r->body.ptr[--r->body.len] = '\0';
        str_addf(&r->body, ",%s]", c.json.ptr);
    } else {
        r->status = ret.len > 0 || strcmp(call->name, "vmm.shutdown") == 0 ? 200 : 204;
        r->has_body = ret.len > 0;
        str_add_mem(&r->body, str_text(&ret), ret.len);
    }
    str_done(&c.json);
    str_done(&ret);
}

void call_handle(const char *method, const char *path, const char *body, size_t len, struct fds *fds, struct reply *r)
{
    const struct call *call = call_of(path);
    struct request q = {.fds = fds};
    auto_str struct str error = STR_INIT;

    if (call == NULL) {
        reply_fail(r, 404, "Not Found", NULL);
        return;
    }
    if (!check_method(call, method, body != NULL, r))
        return;
    if (call->object != NULL && schema_read(call->object, body, len, &q.body, &error) < 0) {
        reply_fail(r, 400, "Failed to deserialize JSON", error.ptr, NULL);
        return;
    }
    if (call->object == &object_restore && !has_fd_count(q.body, fds))
        reply_fail(r, 400, "Bad Request", NULL);
    else
        run(call, &q, r);
    json_free(q.body);
}
