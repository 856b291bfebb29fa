/* Networks: what policies and counters promise. */
#include <string.h>

#include "kit/general.h"
#include "kit/guard.h"
#include "kit/network.h"
#include "kit/plan.h"

static const char *const cidrs[] = {"192.0.2.0/24", "203.0.113.7/32"};
static const char *const domains[] = {"*.example.com", "example.org"};

/* What core may ask of any network with CAP_POLICY; domains where caps says so. */
static const struct {
    const char *name;
    struct runner_policy policy;
    bool has_domains;
} policies[] = {
    {"open", {.size = sizeof(struct runner_policy)}, false},
    {"block", {.flags = RUNNER_POLICY_BLOCK}, false},
    {"a list", {.flags = RUNNER_POLICY_LISTED, .n_cidrs = ARRAY_LEN(cidrs), .cidrs = cidrs}, false},
    {"an empty list", {.flags = RUNNER_POLICY_LISTED}, false},
    {"block with a list",
     {.flags = RUNNER_POLICY_BLOCK | RUNNER_POLICY_LISTED, .n_cidrs = ARRAY_LEN(cidrs), .cidrs = cidrs},
     false},
    {"restricted", {.flags = RUNNER_POLICY_RESTRICTED}, false},
    {"so many bytes a second", {.rx_bytes_per_s = 1000000, .tx_bytes_per_s = 500000}, false},
    {"domains", {.flags = RUNNER_POLICY_LISTED, .n_domains = ARRAY_LEN(domains), .domains = domains}, true},
};

bool network_has_policy(const struct plugin *plugin)
{
    return (plugin->desc.caps & RUNNER_NETWORK_CAP_POLICY) != 0;
}

bool network_has_counters(const struct plugin *plugin)
{
    return (plugin->desc.caps & RUNNER_NETWORK_CAP_COUNTERS) != 0;
}

static struct runner_policy policy_of(size_t index)
{
    struct runner_policy policy = policies[index].policy;

    policy.size = sizeof policy;
    return policy;
}

/* ---- operations ---- */

void network_op_apply_policy(struct subject *s, struct trial *t)
{
    struct runner_nic made = network_attach(s, "sb1");
    struct runner_policy policy = policy_of(2);
    struct runner_batch *batch = fake_batch();

    guard_reset();
    TRY(t, network_ops(s)->apply_policy(s->self, fake_call(), batch, "sb1",
                                        guard_put(t->layout, &made, sizeof made, NIC_OLDEST),
                                        guard_put(t->layout, &policy, sizeof policy, sizeof policy), &t->err));
    fake_host()->batch_free(batch);
}

void network_op_counters(struct subject *s, struct trial *t)
{
    struct runner_nic made = network_attach(s, "sb1");
    struct runner_nic_counters fresh = {.size = sizeof fresh}, *kept;
    const struct runner_nic *nics[1];

    guard_reset();
    nics[0] = guard_put(t->layout, &made, sizeof made, NIC_OLDEST);
    kept = guard_put(t->layout, &fresh, sizeof fresh, sizeof fresh);
    TRY(t, network_ops(s)->counters(s->self, fake_call(), nics, 1, kept, &t->err));
    if (!guard_take(kept, &fresh, sizeof fresh))
        flaw("counters writes beyond the counters that it knows");
}

/* ---- policies ---- */

/* -1 when it is refused. */
static int plan_policy(struct subject *s, struct runner_batch *batch, const struct runner_nic *nic, size_t index,
                       struct runner_error *err)
{
    struct runner_policy policy = policy_of(index);

    *err = (struct runner_error)ERROR_INIT;
    return network_ops(s)->apply_policy(s->self, fake_call(), batch, "sb1", nic, &policy, err);
}

static void apply_and_run(struct subject *s, const struct runner_nic *nic, size_t index, const char *when)
{
    struct runner_batch *batch = fake_batch();
    struct runner_error err;

    if (plan_policy(s, batch, nic, index, &err) == 0) {
        if (policies[index].has_domains && !network_has(s, RUNNER_NETWORK_CAP_DOMAINS))
            flaw("caps says that it knows no domains, and it takes some");
        (void)plan_run(batch, when);
    } else if (!policies[index].has_domains) {
        flaw("%s: %s is refused: %s", when, policies[index].name, err.message);
    } else if (err.code != RUNNER_E_NOTSUP) { /* a host may lack what caps speaks of */
        flaw("%s: domains are refused with code %s, not notsup: %s", when, error_name(err.code), err.message);
    }
    fake_host()->batch_free(batch);
}

/* Each in the place of each other, and of itself; then nothing is left of it. */
static void point_policy_taken(struct subject *s, const struct point *point)
{
    auto_free char *before = NULL, *after = NULL;
    struct runner_error err = ERROR_INIT;
    struct runner_nic nic;

    (void)point;
    subject_renew(s);
    if (network_ops(s)->setup(s->self, fake_call(), &err) != 0)
        stop_point("setup: %s", err.message);
    before = world_text(s->world, "dfspt");
    nic = network_attach(s, "sb1");
    for (size_t i = 0; i < ARRAY_LEN(policies); i++)
        for (size_t j = 0; j < ARRAY_LEN(policies); j++) {
            apply_and_run(s, &nic, i, "applied");
            apply_and_run(s, &nic, j, "applied after another");
        }
    network_detach(s, "sb1", &nic, "detach");
    after = world_text(s->world, "dfspt");
    if (strcmp(before, after) != 0)
        flaw("detached, there is on the host:\n%sand before there was:\n%s", after, before);
}

/* A create: the policy comes behind the steps of attach, in their batch. */
static struct runner_batch *plan_both(struct subject *s)
{
    struct runner_batch *batch = plan_begin(s);
    struct runner_nic nic;
    struct runner_error err;

    network_plan_attach(s, batch, "sb1", &nic);
    if (plan_policy(s, batch, &nic, 2, &err) != 0)
        stop_point("apply_policy: %s", err.message);
    return batch;
}

static void point_policy_undo(struct subject *s, const struct point *point)
{
    (void)point;
    plan_check_undo(s, plan_both, "dfspt", "dfspt");
}

/* ---- counters ---- */

static bool is_zero(const struct runner_nic_counters *c)
{
    return c->rx_bytes == 0 && c->tx_bytes == 0 && c->rx_packets == 0 && c->tx_packets == 0 && c->refused_packets == 0;
}

static void point_counters_absent(struct subject *s, const struct point *point)
{
    struct runner_nic nic, never;
    struct runner_nic_counters told[2] = {{.size = sizeof *told, .rx_bytes = 1}, {.size = sizeof *told, .rx_bytes = 1}};
    const struct runner_nic *nics[] = {&nic, &never};
    struct runner_error err = ERROR_INIT;

    (void)point;
    subject_renew(s);
    nic = network_attach(s, "sb1");
    never = nic;
    network_detach(s, "sb1", &nic, "detach");
    (void)snprintf(never.name, sizeof never.name, "tap-never");
    if (network_ops(s)->counters(s->self, fake_call(), nics, 0, NULL, &err) != 0)
        flaw("counters of none: %s", err.message);
    if (network_ops(s)->counters(s->self, fake_call(), nics, 2, told, &err) != 0)
        flaw("counters of nics that are not there: %s", err.message);
    else if (!is_zero(&told[0]) || !is_zero(&told[1]))
        flaw("a nic that is not there has counted something");
}

/* ---- caps ---- */

static void point_caps(struct subject *s, const struct point *point)
{
    const struct runner_network_ops *ops = network_ops(s);

    (void)point;
    if ((ops->apply_policy != NULL) != network_has(s, RUNNER_NETWORK_CAP_POLICY))
        flaw("there is apply_policy, or caps says so, and not both");
    if ((ops->counters != NULL) != network_has(s, RUNNER_NETWORK_CAP_COUNTERS))
        flaw("there is counters, or caps says so, and not both");
    if (network_has(s, RUNNER_NETWORK_CAP_DOMAINS) && !network_has(s, RUNNER_NETWORK_CAP_POLICY))
        flaw("caps says that it knows domains, and no policy");
}

void network_add_policy_points(struct checklist *list, const struct plugin *plugin)
{
    checklist_add(list, "caps", "caps says what the operations do", point_caps);
    if (plugin == NULL || network_has_policy(plugin)) {
        checklist_add(list, "policy.taken", "each policy takes another's place; detached, nothing is left",
                      point_policy_taken);
        checklist_add(list, "policy.undo", "undone with its attach, nothing is left", point_policy_undo);
    }
    if (plugin == NULL || network_has_counters(plugin))
        checklist_add(list, "counters.absent", "what is not there has counted nothing", point_counters_absent);
}
