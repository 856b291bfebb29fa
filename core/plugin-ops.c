/* What each kind consists of: tables that follow include/runner-plugin.h. */
#include "core/plugin-check.h"

#include <string.h>

#define SIZE_THROUGH(type, member) (offsetof(type, member) + sizeof(((type *)NULL)->member))
/* clang-format off */
#define OP(kind, op)           {#op, offsetof(struct runner_##kind##_ops, op), 0}
#define OP_IF(kind, op, cap)   {#op, offsetof(struct runner_##kind##_ops, op), cap}
#define OP_MAY(kind, op)       OP_IF(kind, op, UINT64_C(1) << 63) /* which no capability is */
/* clang-format on */

#define SIZES(type, last) SIZE_THROUGH(type, last), sizeof(type)

static const struct plugin_op transport_ops[] = {OP(transport, run), OP(transport, dial), OP(transport, watch),
                                                 OP_MAY(transport, begin), OP_MAY(transport, end)};
static const struct plugin_op vmm_ops[] = {
    OP(vmm, spawn),
    OP(vmm, boot),
    OP(vmm, power_button),
    OP_IF(vmm, pause, RUNNER_VMM_CAP_PAUSE),
    OP_IF(vmm, resume, RUNNER_VMM_CAP_PAUSE),
    OP(vmm, status),
    OP(vmm, describe),
    OP(vmm, cleanup),
    OP_IF(vmm, listen, RUNNER_VMM_CAP_EVENTS),
    OP_IF(vmm, next, RUNNER_VMM_CAP_EVENTS),
    OP_IF(vmm, unlisten, RUNNER_VMM_CAP_EVENTS),
    OP_IF(vmm, counters, RUNNER_VMM_CAP_COUNTERS),
    OP_IF(vmm, read_config, RUNNER_VMM_CAP_ADOPT),
    OP_IF(vmm, adopt, RUNNER_VMM_CAP_ADOPT),
    OP_IF(vmm, resize, RUNNER_VMM_CAP_RESIZE),
};
static const struct plugin_op disk_ops[] = {OP(disk, clone), OP(disk, remove),
                                            OP_IF(disk, inspect, RUNNER_DISK_CAP_INSPECT),
                                            OP_IF(disk, grow, RUNNER_DISK_CAP_GROW)};
static const struct plugin_op network_ops[] = {OP(network, setup), OP(network, attach), OP(network, detach),
                                               OP(network, adopt), OP(network, sweep),  OP(network, address),
                                               OP_IF(network, apply_policy, RUNNER_NETWORK_CAP_POLICY),
                                               OP_IF(network, counters, RUNNER_NETWORK_CAP_COUNTERS),
                                               OP_MAY(network, release)};
static const struct plugin_op ipam_ops[] = {OP(ipam, lease), OP(ipam, adopt), OP(ipam, release), OP(ipam, usage)};
static const struct plugin_op storage_ops[] = {OP(storage, inspect), OP(storage, pull), OP(storage, push),
                                               OP(storage, copy), OP(storage, remove)};

static const struct {
    const struct plugin_op *ops;
    size_t n;
    size_t smallest, today; /* bytes: through the last operation of API 1.0; as the header has it now */
    const char *caps[16];   /* by bit */
} kinds[LOADER_KINDS + 1] = {
    [RUNNER_TRANSPORT] = {transport_ops, ARRAY_LEN(transport_ops), SIZES(struct runner_transport_ops, watch), {NULL}},
    [RUNNER_VMM] = {vmm_ops,
                    ARRAY_LEN(vmm_ops),
                    SIZES(struct runner_vmm_ops, cleanup),
                    {"pause", "user-network", "events", "counters", "firmware", "early", "adopt", "tap-fd", "resize"}},
    [RUNNER_DISK] = {disk_ops, ARRAY_LEN(disk_ops), SIZES(struct runner_disk_ops, remove), {"cow", "inspect", "grow"}},
    [RUNNER_NETWORK] = {network_ops,
                        ARRAY_LEN(network_ops),
                        SIZES(struct runner_network_ops, address),
                        {"isolation", "own-address", "all-ports", "user-nic", "policy", "domains", "counters"}},
    [RUNNER_IPAM] = {ipam_ops, ARRAY_LEN(ipam_ops), SIZES(struct runner_ipam_ops, usage), {NULL}},
    [RUNNER_STORAGE] = {storage_ops, ARRAY_LEN(storage_ops), SIZES(struct runner_storage_ops, remove), {NULL}},
};

const struct plugin_op *plugin_ops_of(uint32_t kind, size_t *ret_n)
{
    *ret_n = kinds[kind].n;
    return kinds[kind].ops;
}

void plugin_ops_sizes(uint32_t kind, size_t *ret_smallest, size_t *ret_today)
{
    *ret_smallest = kinds[kind].smallest;
    *ret_today = kinds[kind].today;
}

const char *plugin_cap_name(uint32_t kind, unsigned bit)
{
    return bit < ARRAY_LEN(kinds[kind].caps) ? kinds[kind].caps[bit] : NULL;
}

bool plugin_has_op(const struct plugin *plugin, const struct plugin_op *op)
{
    void (*function)(void); /* all function pointers have one size and one representation here */

    memcpy(&function, (const char *)&plugin->ops + op->offset, sizeof function);
    return function != NULL;
}
