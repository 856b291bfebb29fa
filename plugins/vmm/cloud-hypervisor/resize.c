#include "plugins/vmm/cloud-hypervisor/resize.h"

#include <inttypes.h>
#include <string.h>

#include "core/util/error.h"
#include "core/util/json.h"
#include "plugins/vmm/cloud-hypervisor/client.h"
#include "plugins/vmm/cloud-hypervisor/http.h"
#include "plugins/vmm/common/request.h"

#define RESIZE_MS 30000
#define INFO_MS   5000
#define MIB       (INT64_C(1) << 20)

struct size { /* of a machine that runs */
    int64_t cpus, max_cpus;
    int64_t memory_bytes;
    bool has_slots; /* it was started with room to plug memory in */
};

struct on {
    struct ch *ch;
    struct runner_call *call;
    const struct runner_vm *vm;
};

static int read_size(const struct json *info, struct size *ret, struct runner_error *err)
{
    const struct json *config = json_get(info, "config"), *cpus = json_get(config, "cpus"),
                      *memory = json_get(config, "memory");
    const char *state = json_text(info, "state", "");

    if (strcmp(state, "Running") != 0)
        return fail(err, RUNNER_E_BUSY, 0, "the machine is %s, not Running", state);
    ret->cpus = json_int(cpus, "boot_vcpus", 0);
    ret->max_cpus = json_int(cpus, "max_vcpus", 0);
    ret->memory_bytes = json_int(memory, "size", 0);
    ret->has_slots = json_int(memory, "hotplug_size", 0) > 0;
    if (ret->cpus < 1 || ret->memory_bytes < 1)
        return fail(err, RUNNER_E_INVALID, 0, "vm.info: the answer of " CH_NAME " has no size");
    return 0;
}

static int query_size(const struct on *on, struct size *ret, struct runner_error *err)
{
    const struct client_request request = {.action = "vm.info", .is_get = true, .fd = -1, .timeout_ms = INFO_MS};
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    auto_json struct json *info = NULL;

    if (client_call(on->ch, on->call, on->vm, &request, &reply, err) < 0)
        return -1;
    if (http_body_json(str_text(&reply.body), reply.body.len, &info, err) < 0)
        return error_wrap(err, "vm.info");
    return read_size(info, ret, err);
}

/* *ret_status: of HTTP; 0: no answer came. */
static int ask_for(const struct on *on, const char *what, int64_t value, int *ret_status, struct runner_error *err)
{
    auto_free char *body = mem_printf("{\"%s\":%" PRId64 "}", what, value);
    const struct client_request request = {.action = "vm.resize", .body = body, .fd = -1, .timeout_ms = RESIZE_MS};
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    int result = client_call(on->ch, on->call, on->vm, &request, &reply, err);

    *ret_status = reply.status;
    return result;
}

/* Of the cgroup, for a machine with that much memory. */
static int set_limit(const struct on *on, int64_t memory_bytes, struct runner_error *err)
{
    const struct runner_host *host = on->ch->host;
    struct runner_batch *batch;
    struct runner_vm sized = *on->vm;
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_CGROUP_SET, .path = on->vm->cgroup};
    int status;

    if (on->vm->cgroup == NULL)
        return 0;
    sized.memory_bytes = memory_bytes;
    step.number = (int64_t)ch_memory_limit(&sized);
    batch = host->batch_new(on->call);
    status = host->add(batch, &step, err) < 0 ? -1 : host->run(on->call, batch, err);
    host->batch_free(batch);
    return status;
}

/* ---- memory ---- */

/* That what the machine was started with does not do: all else is a fault. */
static bool is_ceiling(const char *message)
{
    static const char *const words[] = {"Not enough space in the hotplug RAM region", "No ACPI slot available"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strstr(message, words[i]) != NULL)
            return true;
    return false;
}

/* *ret_is_open: it may have been plugged in, or may be yet, as no answer came and the machine does not tell. */
static int plug_in(const struct on *on, bool *ret_is_open, struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT, ignored = ERROR_INIT;
    struct size now = {0};
    int status;

    *ret_is_open = false;
    if (ask_for(on, "desired_ram", on->vm->memory_bytes, &status, &cause) == 0)
        return 0;
    if (status == 0)
        *ret_is_open = query_size(on, &now, &ignored) < 0;
    if (now.memory_bytes == on->vm->memory_bytes)
        return 0;
    error_copy(err, &cause);
    if (is_ceiling(cause.message))
        err->code = RUNNER_E_NOTSUP;
    return -1;
}

/* The limit first: what is plugged in may be used at once. It stays where that is not known: a guest that got the memory
 * would be killed of the old one. */
static int grow_memory(const struct on *on, const struct size *has, struct runner_error *err)
{
    struct runner_error ignored = ERROR_INIT;
    bool is_open;

    if (on->vm->memory_bytes == has->memory_bytes)
        return set_limit(on, has->memory_bytes, err);
    if (!has->has_slots)
        return fail(err, RUNNER_E_NOTSUP, 0, "the machine was started without room to plug memory in");
    if (set_limit(on, on->vm->memory_bytes, err) < 0)
        return -1;
    if (plug_in(on, &is_open, err) == 0)
        return 0;
    if (!is_open)
        (void)set_limit(on, has->memory_bytes, &ignored);
    return error_wrap(err, "memory of %" PRId64 " MiB instead of %" PRId64, on->vm->memory_bytes / MIB,
                      has->memory_bytes / MIB);
}

/* ---- processors ---- */

static int grow_cpus(const struct on *on, const struct size *has, struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT, ignored = ERROR_INIT;
    struct size now;
    int status;

    if (on->vm->cpus == has->cpus || ask_for(on, "desired_vcpus", on->vm->cpus, &status, &cause) == 0)
        return 0;
    if (status == 0 && query_size(on, &now, &ignored) == 0 && now.cpus == on->vm->cpus)
        return 0;
    error_copy(err, &cause);
    return error_wrap(err, "%u processors instead of %" PRId64, on->vm->cpus, has->cpus);
}

/* Memory comes first, since of processors it is known beforehand whether they can be had. */
int resize_machine(void *self, struct runner_call *call, const struct runner_vm *given, struct runner_error *err)
{
    const struct runner_vm whole = request_vm(given);
    const struct on on = {.ch = self, .call = call, .vm = &whole};
    struct size has;

    if (query_size(&on, &has, err) < 0)
        return -1;
    if (whole.cpus < has.cpus || whole.memory_bytes < has.memory_bytes)
        return fail(err, RUNNER_E_NOTSUP, 0,
                    "a machine that runs cannot shrink: it has %" PRId64 " processors and %" PRId64 " MiB", has.cpus,
                    has.memory_bytes / MIB);
    if (whole.cpus > has.max_cpus)
        return fail(err, RUNNER_E_NOTSUP, 0, "the machine was started with room for %" PRId64 " processors",
                    has.max_cpus);
    return grow_memory(&on, &has, err) < 0 || grow_cpus(&on, &has, err) < 0 ? -1 : 0;
}
