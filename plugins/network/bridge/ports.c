/* Which interfaces are on the bridges of a network. Each bridge is asked for its own: of a thousand there is not too much. */
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util/json.h"
#include "plugins/network/bridge/bridges.h"
#include "plugins/network/bridge/names.h"

CLEANUP_DEFINE(cleanup_batch, struct runner_batch, bridge_host->batch_free)
#define auto_batch CLEANUP(cleanup_batch)

#define NO_BRIDGE BRIDGES_MAX

static bool is_up(const struct json *link)
{
    const struct json *flags = json_get(link, "flags");

    for (const struct json *flag = flags != NULL ? flags->first : NULL; flag != NULL; flag = flag->next)
        if (flag->type == JSON_STRING && strcmp(flag->text, "UP") == 0)
            return true;
    return false;
}

static void add_port(struct ports *p, const struct json *link, unsigned bridge)
{
    struct port *port;

    p->list = mem_grow(p->list, p->n + 1, sizeof *p->list);
    port = &p->list[p->n++];
    *port = (struct port){.bridge = bridge == NO_BRIDGE ? -1 : (int)bridge, .is_up = is_up(link)};
    (void)snprintf(port->name, sizeof port->name, "%s", json_text(link, "ifname", ""));
    (void)snprintf(port->mac, sizeof port->mac, "%s", json_text(link, "address", ""));
}

static int ask(const char *bridge, const char *type, struct runner_batch *batch, struct runner_error *err)
{
    const char *argv[10] = {"ip", "-j", "link", "show"};
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .flags = RUNNER_S_ANY_STATUS, .argv = argv};
    size_t n = 4;

    if (bridge != NULL)
        argv[n++] = "master";
    argv[n++] = bridge != NULL ? bridge : "nomaster";
    if (type != NULL) {
        argv[n++] = "type";
        argv[n++] = type;
    }
    return bridge_host->add(batch, &step, err);
}

/* That of a bridge which is gone meanwhile is no answer. What has a master after all was not asked for: older programs. */
static int take(const struct runner_batch *batch, int at, unsigned bridge, struct ports *to, struct runner_error *err)
{
    const struct runner_result *result = bridge_host->result(batch, at);
    auto_json struct json *links = NULL;

    if (result->status != 0 || result->len == 0)
        return 0;
    if (json_parse(result->out, result->len, &links, err) < 0)
        return error_wrap(err, "output of 'ip link'");
    for (const struct json *link = links->first; link != NULL; link = link->next)
        if ((bridge == NO_BRIDGE) == (json_get(link, "master") == NULL))
            add_port(to, link, bridge);
    return 0;
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct port *)a)->name, ((const struct port *)b)->name);
}

int ports_read(const struct bridge *b, struct runner_call *call, const char *type, struct ports *ret,
               struct runner_error *err)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(call);
    uint64_t there = names_bridges(b->names);
    int at[BRIDGES_MAX + 1];
    int r = 0;

    *ret = (struct ports){NULL, 0};
    for (unsigned i = 0; i <= NO_BRIDGE; i++) {
        char name[IFNAME_SIZE] = "";

        at[i] = -1;
        if (i == NO_BRIDGE ? type == NULL : !places_has(there, i))
            continue;
        if (i != NO_BRIDGE)
            bridges_name(b, i, name);
        at[i] = ask(i == NO_BRIDGE ? NULL : name, type, batch, err);
        if (at[i] < 0)
            return -1;
    }
    if (bridge_host->run(call, batch, err) < 0)
        return -1;
    for (unsigned i = 0; i <= NO_BRIDGE && r == 0; i++)
        r = at[i] < 0 ? 0 : take(batch, at[i], i, ret, err);
    if (r < 0)
        ports_done(ret);
    else if (ret->n > 0)
        qsort(ret->list, ret->n, sizeof *ret->list, compare);
    return r;
}

void ports_done(struct ports *p)
{
    free(p->list);
    *p = (struct ports){NULL, 0};
}

const struct port *ports_find(const struct ports *p, const char *name)
{
    struct port wanted = {.bridge = 0};

    if (p->n == 0 || strlen(name) >= sizeof wanted.name)
        return NULL;
    memcpy(wanted.name, name, strlen(name) + 1);
    return bsearch(&wanted, p->list, p->n, sizeof wanted, compare);
}

int ports_ask_for(const char *name, struct runner_batch *batch, struct runner_error *err)
{
    const struct {
        struct nlmsghdr head;
        struct ifinfomsg about;
    } question = {{.nlmsg_len = sizeof question,
                   .nlmsg_type = RTM_GETLINK,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
                   .nlmsg_seq = 1},
                  {.ifi_family = AF_UNSPEC}};
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_NETLINK,
                                     .flags = RUNNER_S_OPTIONAL,
                                     .path = name,
                                     .number = NETLINK_ROUTE,
                                     .data = &question,
                                     .len = sizeof question};

    return bridge_host->add(batch, &step, err);
}
