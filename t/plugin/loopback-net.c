/*
 * network/loopback, for tests with the fake Cloud Hypervisor: no interface is made. The guest that the fake plays
 * listens at an address of loopback that follows from its MAC address (t/fake/loopback.h). With `taps: true` there is
 * a TAP all the same, on no bridge, so that descriptors of it go the way they go in earnest; that needs root. With
 * `policies:` the policy of each sandbox is a file there, named by its id: "closed" until there is one. What a file there
 * that is named by the MAC address says are its counters: five numbers, in the order of the structure.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/util/error.h"
#include "core/util/str.h"
#include "t/fake/loopback.h"

static const struct runner_host *host;

struct loopback {
    bool has_taps;
    int port;
    const char *policies; /* or NULL */
    bool has_names;
};

static const struct runner_param loopback_params[] = {
    {.name = "taps", .dflt = "false", .doc = "whether a TAP is made that nothing uses", .type = RUNNER_T_BOOL},
    {.name = "port", .dflt = "2280", .doc = "of all guests", .type = RUNNER_T_INT, .min = 1024, .max = 65535},
    {.name = "names", .dflt = "true", .doc = "whether policies may name domains", .type = RUNNER_T_BOOL},
    {.name = "policies", .doc = "a directory for the policies of sandboxes", .type = RUNNER_T_PATH},
};

static int loopback_load(const struct runner_host *table, struct runner_error *err)
{
    (void)err;
    host = table;
    return 0;
}

static int loopback_create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    struct loopback *l = mem_alloc(sizeof *l);

    (void)err;
    for (size_t i = 0; i < n; i++)
        if (strcmp(values[i].name, "taps") == 0)
            l->has_taps = values[i].number != 0;
        else if (strcmp(values[i].name, "port") == 0)
            l->port = (int)values[i].number;
        else if (strcmp(values[i].name, "names") == 0)
            l->has_names = values[i].number != 0;
        else if (strcmp(values[i].name, "policies") == 0)
            l->policies = values[i].text;
    *ret_self = l;
    return 0;
}

static void loopback_destroy(void *self)
{
    free(self);
}

static int loopback_setup(void *self, struct runner_call *call, struct runner_error *err)
{
    (void)self;
    (void)call;
    (void)err;
    return 0;
}

static int add_tap(struct runner_batch *batch, const struct runner_nic *nic, uint32_t kind, struct runner_error *err)
{
    const struct runner_step undo = {.size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = nic->name};
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = kind,
                                     .path = nic->name,
                                     .number = nic->uid,
                                     .undo = kind == RUNNER_TAP_ADD ? &undo : NULL};

    return host->add(batch, &step, err) < 0 ? -1 : 0;
}

static int write_policy(const struct loopback *l, struct runner_batch *batch, const char *id, const char *text,
                        struct runner_error *err)
{
    auto_free char *path = l->policies != NULL ? mem_printf("%s/%s", l->policies, id) : NULL;
    const struct runner_step undo = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};
    const bool is_first = strcmp(text, "closed\n") == 0;
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_WRITE,
                                     .path = path,
                                     .data = text,
                                     .len = strlen(text),
                                     .number = 0600,
                                     .undo = is_first ? &undo : NULL};

    return path != NULL && host->add(batch, &step, err) < 0 ? -1 : 0;
}

static int loopback_attach(void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                           struct runner_nic *nic, struct runner_error *err)
{
    const struct loopback *l = self;
    struct in_addr address = {.s_addr = htonl(loopback_address(nic->mac))};

    (void)call;
    if (address.s_addr == 0)
        return fail(err, RUNNER_E_INVALID, 0, "network/loopback: '%s' is no MAC address", nic->mac);
    nic->kind = RUNNER_NIC_TAP;
    (void)inet_ntop(AF_INET, &address, nic->address, sizeof nic->address);
    (void)snprintf(nic->gateway, sizeof nic->gateway, "127.0.0.1");
    nic->dns[0] = '\0';
    nic->prefix_len = 8;
    nic->guest_port = LOOPBACK_PORT;
    if (write_policy(l, batch, id, "closed\n", err) < 0)
        return -1;
    if (!l->has_taps) {
        nic->name[0] = '\0';
        return 0;
    }
    (void)snprintf(nic->name, sizeof nic->name, "lt%08x", ntohl(address.s_addr));
    return add_tap(batch, nic, RUNNER_TAP_ADD, err);
}

static int loopback_detach(void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                           const struct runner_nic *nic, struct runner_error *err)
{
    const struct loopback *l = self;
    auto_free char *path = l->policies != NULL ? mem_printf("%s/%s", l->policies, id) : NULL;
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};

    (void)call;
    if (path != NULL && host->add(batch, &step, err) < 0)
        return -1;
    return nic->name[0] != '\0' ? add_tap(batch, nic, RUNNER_TAP_DEL, err) : 0;
}

static int loopback_adopt(void *self, struct runner_call *call, const char *id, const struct runner_nic *nic,
                          struct runner_error *err)
{
    (void)self;
    (void)call;
    (void)id;
    (void)nic;
    (void)err;
    return 0;
}

static int loopback_sweep(void *self, struct runner_call *call, const struct runner_nic *const *owned, size_t n,
                          struct runner_error *err)
{
    (void)self;
    (void)call;
    (void)owned;
    (void)n;
    (void)err;
    return 0;
}

static int loopback_address_of(void *self, const struct runner_nic *nic, uint32_t guest_port, char *ret_address,
                               size_t size, struct runner_error *err)
{
    const struct loopback *l = self;

    if (guest_port != LOOPBACK_PORT)
        return fail(err, RUNNER_E_NOTSUP, 0, "network/loopback reaches port %d of the guest only", LOOPBACK_PORT);
    (void)snprintf(ret_address, size, "tcp:%s:%d", nic->address, l->port);
    return 0;
}

static int loopback_apply_policy(void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                                 const struct runner_nic *nic, const struct runner_policy *policy,
                                 struct runner_error *err)
{
    const struct loopback *l = self;
    auto_str struct str text = STR_INIT;

    (void)call;
    (void)nic;
    if (policy->n_domains > 0 && !l->has_names)
        return fail(err, RUNNER_E_NOTSUP, 0, "network/loopback: no names");
    str_add(&text, policy->flags & RUNNER_POLICY_BLOCK    ? "block"
                   : policy->flags & RUNNER_POLICY_LISTED ? "list"
                                                          : "open");
    str_add(&text, policy->flags & RUNNER_POLICY_RESTRICTED ? " restricted" : "");
    for (uint32_t i = 0; i < policy->n_cidrs; i++)
        str_addf(&text, " %s", policy->cidrs[i]);
    for (uint32_t i = 0; i < policy->n_domains; i++)
        str_addf(&text, " %s", policy->domains[i]);
    str_add_char(&text, '\n');
    return write_policy(self, batch, id, str_text(&text), err);
}

static void read_counters(const char *text, struct runner_nic_counters *ret)
{
    uint64_t *const fields[] = {&ret->rx_bytes, &ret->tx_bytes, &ret->rx_packets, &ret->tx_packets,
                                &ret->refused_packets};
    char *end;

    for (size_t i = 0; text != NULL && i < ARRAY_LEN(fields); i++, text = end)
        *fields[i] = strtoull(text, &end, 10);
}

static int loopback_counters(void *self, struct runner_call *call, const struct runner_nic *const *nics, size_t n,
                             struct runner_nic_counters *ret, struct runner_error *err)
{
    const struct loopback *l = self;
    struct runner_batch *batch = host->batch_new(call);
    int status = 0;

    for (size_t i = 0; i < n && status == 0; i++) {
        auto_free char *path = mem_printf("%s/%s", l->policies != NULL ? l->policies : "", nics[i]->mac);
        const struct runner_step step = {
            .size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = RUNNER_S_OPTIONAL, .path = path, .number = 4096};
        status = host->add(batch, &step, err) < 0 ? -1 : 0;
        ret[i] = (struct runner_nic_counters){.size = ret[i].size};
    }
    if (status == 0)
        status = host->run(call, batch, err);
    for (size_t i = 0; i < n && status == 0; i++)
        read_counters(host->result(batch, (int)i)->out, &ret[i]);
    host->batch_free(batch);
    return status;
}

static const struct runner_network_ops loopback_ops = {
    .setup = loopback_setup,
    .attach = loopback_attach,
    .detach = loopback_detach,
    .adopt = loopback_adopt,
    .sweep = loopback_sweep,
    .address = loopback_address_of,
    .apply_policy = loopback_apply_policy,
    .counters = loopback_counters,
};

static const struct runner_plugin loopback_plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_NETWORK, "loopback", loopback_ops),
    .threads = RUNNER_PARALLEL,
    .n_params = ARRAY_LEN(loopback_params),
    .params = loopback_params,
    .caps = RUNNER_NETWORK_CAP_OWN_ADDRESS | RUNNER_NETWORK_CAP_POLICY | RUNNER_NETWORK_CAP_DOMAINS |
            RUNNER_NETWORK_CAP_COUNTERS,
    .version = "1.0",
    .summary = "for tests: guests of a fake VMM at addresses of loopback",
    .load = loopback_load,
    .create = loopback_create,
    .destroy = loopback_destroy,
};

RUNNER_PLUGIN(loopback_plugin)
