/* Networks: a TAP without a bridge, wrong in one way each. See wrong.h. */
#include <poll.h>

#include "t/plugin/wrong/wrong.h"

static int create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    (void)values, (void)n, (void)err;
    *ret_self = defect; /* no state of its own */
    return 0;
}

static void destroy(void *self)
{
    (void)self;
}

/* ---- operations ---- */

static int ask_once(struct runner_call *call, struct runner_error *err)
{
    static const char *const argv[] = {"ip", "-V", NULL};
    struct runner_step step = {RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = argv, .number = 1000};
    struct runner_batch *batch = host->batch_new(call);
    int status = host->add(batch, &step, err) < 0 ? -1 : host->run(call, batch, err);

    host->batch_free(batch);
    return status;
}

static int setup(void *self, struct runner_call *call, struct runner_error *err)
{
    int status;

    (void)self;
    while ((status = ask_once(call, err)) < 0 && err->code == RUNNER_E_CANCELLED && is_wrong("ignores-cancel"))
        (void)poll(NULL, 0, 10);
    return is_wrong("ignores-host") && err->code == RUNNER_E_IO ? 0 : status;
}

static int attach(void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                  struct runner_nic *nic, struct runner_error *err)
{
    char name[16];
    struct runner_step undo = {RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = name};
    struct runner_step step = {RUNNER_STEP_INIT, .kind = RUNNER_TAP_ADD, .path = name, .undo = &undo};
    unsigned hash = 5381;

    (void)self, (void)call;
    for (const char *p = id; *p != '\0'; p++)
        hash = hash * 33 + (unsigned char)*p;
    (void)snprintf(name, sizeof name, "tap-%08x", hash);
    if (is_wrong("reads-beyond") || RUNNER_HAS(nic, uid))
        step.number = nic->uid;
    if (is_wrong("clashes"))
        (void)snprintf(name, sizeof name, "tap-%.8s", id);
    if (host->add(batch, &step, err) < 0)
        return -1;
    nic->kind = RUNNER_NIC_TAP;
    memcpy(nic->name, name, sizeof name);
    return 0;
}

/* A policy is a file, with nothing in it. */
static int add_policy_step(struct runner_call *call, struct runner_batch *batch, const char *id, bool is_there,
                           struct runner_error *err)
{
    char path[300];
    struct runner_step undo = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};
    struct runner_step step = {RUNNER_STEP_INIT, .kind = RUNNER_WRITE, .path = path, .data = "", .number = 0600};

    (void)snprintf(path, sizeof path, "%s/policy-%.64s", host->root(call), id);
    if (!is_wrong("forgets-policy-undo"))
        step.undo = &undo;
    return host->add(batch, is_there ? &step : &undo, err) < 0 ? -1 : 0;
}

static int apply_policy(void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                        const struct runner_nic *nic, const struct runner_policy *policy, struct runner_error *err)
{
    (void)self, (void)nic;
    if (policy->n_domains > 0 && !is_wrong("takes-domains"))
        return refuse(err, RUNNER_E_NOTSUP, "no domains here");
    return add_policy_step(call, batch, id, true, err);
}

static int counters(void *self, struct runner_call *call, const struct runner_nic *const *nics, size_t n,
                    struct runner_nic_counters *ret, struct runner_error *err)
{
    (void)self, (void)call, (void)nics, (void)err;
    for (size_t i = 0; i < n; i++)
        ret[i] = (struct runner_nic_counters){.size = sizeof ret[i], .rx_bytes = is_wrong("counts-nobody")};
    return 0;
}

static int detach(void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                  const struct runner_nic *nic, struct runner_error *err)
{
    struct runner_step step = {RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = nic->name};

    (void)self;
    if (!is_wrong("leaves-policy") && add_policy_step(call, batch, id, false, err) < 0)
        return -1;
    return nic->name[0] != '\0' && host->add(batch, &step, err) < 0 ? -1 : 0;
}

static int adopt(void *self, struct runner_call *call, const char *id, const struct runner_nic *nic,
                 struct runner_error *err)
{
    (void)self, (void)call, (void)id, (void)nic, (void)err;
    return 0;
}

static int sweep(void *self, struct runner_call *call, const struct runner_nic *const *owned, size_t n,
                 struct runner_error *err)
{
    (void)self, (void)call, (void)owned, (void)n, (void)err;
    return 0;
}

static int address(void *self, const struct runner_nic *nic, uint32_t guest_port, char *ret_address, size_t size,
                   struct runner_error *err)
{
    char text[80];
    int len = snprintf(text, sizeof text, "tcp:%s:%u", nic->address, guest_port);

    (void)self;
    if (len >= (int)size)
        return refuse(err, RUNNER_E_INVALID, "no room for the address");
    memcpy(ret_address, text, (size_t)len + !is_wrong("forgets-end"));
    return 0;
}

static const struct runner_network_ops ops = {.setup = setup,
                                              .attach = attach,
                                              .detach = detach,
                                              .adopt = adopt,
                                              .sweep = sweep,
                                              .address = address,
                                              .apply_policy = apply_policy,
                                              .counters = counters};

static struct runner_plugin plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_NETWORK, NULL, ops),
    .threads = RUNNER_PARALLEL,
    .caps = RUNNER_NETWORK_CAP_POLICY | RUNNER_NETWORK_CAP_COUNTERS,
    .version = "0.1",
    .summary = "TAPs, in a wrong way",
    .load = load,
    .create = create,
    .destroy = destroy,
};

WRONG_PLUGIN(plugin, if (is_wrong("hides-policy")) plugin.caps = 0)
