#include "plugins/network/bridge/bridges.h"

#include <string.h>

#include "core/util/json.h"
#include "core/util/num.h"
#include "core/util/text.h"
#include "plugins/network/bridge/names.h"
#include "plugins/network/bridge/setup.h"

#define BASE_MAX 12 /* of a name, so that "-64" fits behind it */

CLEANUP_DEFINE(cleanup_batch, struct runner_batch, bridge_host->batch_free)
#define auto_batch CLEANUP(cleanup_batch)

/* Of a long name its hash: the names of two networks' may begin alike. */
void bridges_name(const struct bridge *b, unsigned bridge, char ret[IFNAME_SIZE])
{
    if (bridge == 0)
        memcpy(ret, b->name, IFNAME_SIZE);
    else if (strlen(b->name) <= BASE_MAX)
        (void)snprintf(ret, IFNAME_SIZE, "%.*s-%u", BASE_MAX, b->name, bridge + 1);
    else
        (void)snprintf(ret, IFNAME_SIZE, "br-%06x-%u", (unsigned)(bridge_hash(b->name) & 0xffffff), bridge + 1);
}

void bridges_list(const struct bridge *b, const char *between, struct str *ret)
{
    uint64_t there = names_bridges(b->names);

    for (unsigned i = 0; i < BRIDGES_MAX; i++) {
        char name[IFNAME_SIZE];

        if (!places_has(there, i))
            continue;
        bridges_name(b, i, name);
        str_addf(ret, "%s%s", i == 0 ? "" : between, name);
    }
}

/* ---- what is there ---------------------------------------------------------------------------------------------- */

/* Made with its group: so whenever a runner is killed, its successor knows it. */
static bool is_ours(const struct bridge *b, const struct json *link)
{
    int64_t group;

    return num_int(json_text(link, "group", ""), 1, UINT32_MAX, &group) && (uint32_t)group == b->group;
}

void bridges_found(const struct bridge *b, const struct json *links)
{
    for (const struct json *link = links != NULL ? links->first : NULL; link != NULL; link = link->next)
        for (unsigned i = 1; i < b->bridges_max; i++) {
            char name[IFNAME_SIZE];

            bridges_name(b, i, name);
            if (strcmp(json_text(link, "ifname", ""), name) == 0 && is_ours(b, link))
                names_add_bridge(b->names, i);
        }
}

void bridges_count(const struct bridge *b, const struct ports *ports)
{
    unsigned others[BRIDGES_MAX] = {0};

    for (size_t i = 0; i < ports->n; i++) {
        const struct port *port = &ports->list[i];

        if (text_starts(port->name, "tap-", NULL))
            names_found_on(b->names, port->name, (unsigned)port->bridge);
        else
            others[port->bridge]++;
    }
    names_set_others(b->names, others);
}

/* ---- one more --------------------------------------------------------------------------------------------------- */

/* Whether an interface of this name is in the way. */
static int is_taken(const struct bridge *b, struct runner_call *call, const char *name, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(call);
    auto_json struct json *links = NULL;
    const char *const argv[] = {"ip", "-j", "link", "show", "dev", name, NULL};
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .flags = RUNNER_S_ANY_STATUS, .argv = argv};
    const struct runner_result *result;
    int at = bridge_host->add(batch, &step, err);

    if (at < 0 || bridge_host->run(call, batch, err) < 0)
        return -1;
    result = bridge_host->result(batch, at);
    if (result->status != 0 || result->len == 0)
        return 0;
    return json_parse(result->out, result->len, &links, err) < 0 ? -1 : !is_ours(b, links->first);
}

/* The first that there can be. */
static int choose(const struct bridge *b, struct runner_call *call, unsigned *ret, struct runner_error *err)
{
    uint64_t there = names_bridges(b->names);

    for (unsigned i = 1; i < b->bridges_max; i++) {
        char name[IFNAME_SIZE];
        int r;

        if (places_has(there, i))
            continue;
        bridges_name(b, i, name);
        r = is_taken(b, call, name, err);
        if (r <= 0) {
            *ret = i;
            return r;
        }
    }
    return fail(err, RUNNER_E_NOSPACE, 0, "each name of one more is another interface's");
}

static int make(struct bridge *b, struct runner_call *call, struct runner_error *err)
{
    unsigned bridge = 0;

    return choose(b, call, &bridge, err) < 0 ? -1 : setup_run(b, call, UINT64_C(1) << bridge, err);
}

int bridges_grow(struct bridge *b, struct runner_call *call, struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT;
    const struct runner_field fields[] = {{"bridge", b->name}, {"error", cause.message}};
    int r = 0;

    if (!names_is_short(b->names, b->bridges_max))
        return 0;
    pthread_mutex_lock(&b->growing);
    if (names_is_short(b->names, b->bridges_max))
        r = make(b, call, &cause);
    pthread_mutex_unlock(&b->growing);
    if (r == 0)
        return 0;
    bridge_host->log(call, RUNNER_LOG_WARN, "network.no_more_bridge", fields, ARRAY_LEN(fields));
    if (names_has_room(b->names))
        return 0;
    error_copy(err, &cause);
    return error_wrap(err, "network/bridge: all ports are taken, and one more bridge cannot be made");
}
