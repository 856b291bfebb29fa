#include "core/fit.h"

#include "core/batch.h"
#include "core/guest.h"
#include "core/identity.h"
#include "core/nic.h"
#include "core/util/error.h"

#define TRIAL_ID "00000000-0000-4000-8000-000000000000"

/* Beside an instance that others use: create() of a plugin that takes one call at a time must not run beside one. NULL:
 * there is none, or it cannot be made. */
static struct instance *trial_new(struct instance *of)
{
    struct instance *trial = NULL;
    struct runner_error ignored = ERROR_INIT;

    if (of == NULL)
        return NULL;
    instance_enter(of);
    (void)instances_new(of->section, &trial, &ignored);
    instance_leave(of);
    return trial;
}

static void trial_free(struct instance *of, struct instance *trial)
{
    if (trial == NULL)
        return;
    instance_enter(of);
    instances_free(trial);
    instance_leave(of);
}

/* As a create does it, up to the batch, which is never run. */
static int plan(struct instance *network, struct instance *ipam, struct runner_call *call, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(call);
    struct runner_nic nic = {.size = sizeof nic, .guest_port = GUEST_DAEMON_PORT};
    struct runner_lease lease = {.size = sizeof lease};
    struct runner_error ignored = ERROR_INIT;

    if (INSTANCE_CALL(ipam, ipam, lease, call, TRIAL_ID, &lease, &ignored) < 0)
        return 0; /* what is wrong with it alone, it says itself */
    identity_mac(TRIAL_ID, nic.mac);
    nic_set_lease(&nic, &lease);
    return INSTANCE_CALL(network, network, attach, call, batch, TRIAL_ID, &nic, err);
}

int fit_network(const struct host *host, struct runner_call *call, struct runner_error *err)
{
    struct instance *network = host->instances[RUNNER_NETWORK], *ipam = host->instances[RUNNER_IPAM];
    struct instance *trial_network, *trial_ipam;
    struct runner_error found = ERROR_INIT;
    int status = 0;

    if (network == NULL || ipam == NULL || (network->plugin->desc.caps & RUNNER_NETWORK_CAP_OWN_ADDRESS))
        return 0;
    trial_network = trial_new(network);
    trial_ipam = trial_new(ipam);
    if (trial_network != NULL && trial_ipam != NULL)
        status = plan(trial_network, trial_ipam, call, &found);
    trial_free(ipam, trial_ipam);
    trial_free(network, trial_network);
    if (status == 0 || found.code != RUNNER_E_INVALID) /* others may be for want of setup() */
        return 0;
    error_copy(err, &found);
    return -1;
}
