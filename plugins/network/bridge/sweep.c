/* Removal of what no record owns, after a crash. */
#include <string.h>

#include "core/util/json.h"
#include "core/util/text.h"
#include "plugins/network/bridge/names.h"
#include "plugins/network/bridge/shaper.h"

static bool is_owned(const struct runner_nic *const *owned, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (owned[i]->kind == RUNNER_NIC_TAP && strcmp(owned[i]->name, name) == 0)
            return true;
    return false;
}

enum found { FOUND_KEPT, FOUND_SPARE, FOUND_ORPHAN };

static bool is_up(const struct json *link)
{
    const struct json *flags = json_get(link, "flags");

    for (const struct json *flag = flags != NULL ? flags->first : NULL; flag != NULL; flag = flag->next)
        if (flag->type == JSON_STRING && strcmp(flag->text, "UP") == 0)
            return true;
    return false;
}

/* Ours and nobody's: a port of our bridge with a name we give, or an idle one, which is down, beyond the pool's size. */
static enum found judge(const struct bridge *b, const struct json *link, const char *name,
                        const struct runner_nic *const *owned, size_t n)
{
    const char *master = json_text(link, "master", "");
    const bool is_port = strcmp(master, b->name) == 0, is_idle = !is_up(link) && names_is_number(b->names, name);

    if (text_starts(name, "tapd-", NULL)) /* on its way when the runner was killed */
        return FOUND_SPARE;
    if (!text_starts(name, "tap-", NULL) || (!is_port && (master[0] != '\0' || !is_idle)) || is_owned(owned, n, name) ||
        names_is_reserved(b->names, name))
        return FOUND_KEPT;
    if (!is_idle)
        return FOUND_ORPHAN;
    return names_found_idle(b->names, name) ? FOUND_KEPT : FOUND_SPARE;
}

/* type: "tun", or "veth": the ports of sandboxes in namespaces. */
static int list_ports(struct runner_call *call, const char *type, struct json **ret, struct runner_error *err)
{
    const char *const argv[] = {"ip", "-j", "link", "show", "type", type, NULL};
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = argv};
    struct runner_batch *batch = bridge_host->batch_new(call);
    const struct runner_result *result;
    int index = bridge_host->add(batch, &step, err), r = -1;

    if (index >= 0 && bridge_host->run(call, batch, err) == 0) {
        result = bridge_host->result(batch, index);
        r = result->len > 0 ? json_parse(result->out, result->len, ret, err) : 0; /* none: nothing, or an empty list */
    }
    bridge_host->batch_free(batch);
    return r < 0 ? error_wrap(err, "list of TAPs") : 0;
}

static int add_removal(const struct bridge *b, struct runner_call *call, struct runner_batch *batch, const char *name,
                       enum found found, struct runner_error *err)
{
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = name};
    struct runner_field fields[] = {{"bridge", b->name}, {"interface", name}};

    if (found == FOUND_ORPHAN)
        bridge_host->log(call, RUNNER_LOG_WARN, "network.orphan_removed", fields, ARRAY_LEN(fields));
    return bridge_host->add(batch, &step, err);
}

static int sweep_ports(const struct bridge *b, struct runner_call *call, const char *type,
                       const struct runner_nic *const *owned, size_t n, struct runner_error *err)
{
    auto_json struct json *links = NULL;
    struct runner_batch *batch;
    size_t n_removed = 0;
    int r = 0;

    if (list_ports(call, type, &links, err) < 0)
        return -1;
    batch = bridge_host->batch_new(call);
    for (const struct json *link = links != NULL ? links->first : NULL; link != NULL && r >= 0; link = link->next) {
        const char *name = json_text(link, "ifname", "");
        enum found found = judge(b, link, name, owned, n);

        if (found == FOUND_KEPT)
            continue;
        r = add_removal(b, call, batch, name, found, err);
        n_removed++;
    }
    if (r >= 0)
        r = n_removed > 0 ? bridge_host->run(call, batch, err) : 0;
    bridge_host->batch_free(batch);
    if (r == 0 && links != NULL)
        r = rejoin_run(b, call, links, owned, n, err);
    return r;
}

int sweep_run(const struct bridge *b, struct runner_call *call, const struct runner_nic *const *owned, size_t n,
              struct runner_error *err)
{
    if (sweep_ports(b, call, "tun", owned, n, err) < 0 || sweep_ports(b, call, "veth", owned, n, err) < 0)
        return error_wrap(err, "removal of orphaned TAPs");
    names_swept(b->names);
    if (reconcile_rules(b, call, owned, n, err) < 0)
        return -1;
    if (reconcile_neighbours(b, call, owned, n, err) < 0)
        return -1;
    if (shaper_sweep(b, call, owned, n, err) < 0)
        return -1;
    return allowed_sweep(b, call, owned, n, err);
}
