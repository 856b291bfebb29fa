/* Steps as text. */
#include <inttypes.h>

#include "core/util/text.h"
#include "kit/fake/inner.h"

static const char *const kind_names[] = {
    [RUNNER_RUN] = "RUN",         [RUNNER_SPAWN] = "SPAWN",
    [RUNNER_MKDIR] = "MKDIR",     [RUNNER_WRITE] = "WRITE",
    [RUNNER_READ] = "READ",       [RUNNER_CLONE] = "CLONE",
    [RUNNER_GROW] = "GROW",       [RUNNER_RENAME] = "RENAME",
    [RUNNER_REMOVE] = "REMOVE",   [RUNNER_STAT] = "STAT",
    [RUNNER_LIST] = "LIST",       [RUNNER_STATFS] = "STATFS",
    [RUNNER_TAP_ADD] = "TAP_ADD", [RUNNER_TAP_DEL] = "TAP_DEL",
    [RUNNER_KILL] = "KILL",       [RUNNER_ALIVE] = "ALIVE",
    [RUNNER_PATCH] = "PATCH",     [RUNNER_OWN] = "OWN",
    [RUNNER_WAIT] = "WAIT",       [RUNNER_CGROUP_DEL] = "CGROUP_DEL",
    [RUNNER_ADOPT] = "ADOPT",     [RUNNER_CGROUP_SET] = "CGROUP_SET",
    [RUNNER_NETLINK] = "NETLINK", [RUNNER_CONNTRACK_DEL] = "CONNTRACK_DEL",
};

static const char *kind_name(uint32_t kind)
{
    return kind < ARRAY_LEN(kind_names) && kind_names[kind] != NULL ? kind_names[kind] : "UNKNOWN";
}

static void add_number(struct str *s, const struct runner_step *step)
{
    switch (step->kind) {
    case RUNNER_MKDIR:
    case RUNNER_WRITE:
    case RUNNER_CLONE:
        str_addf(s, " mode=%04" PRIo64, (uint64_t)step->number);
        if (step->flags & RUNNER_S_OWNED)
            str_addf(s, " uid=%u gid=%u", step->uid, step->gid);
        break;
    case RUNNER_OWN:
        str_addf(s, " mode=%04" PRIo64 " uid=%u gid=%u", (uint64_t)step->number, step->uid, step->gid);
        break;
    case RUNNER_CGROUP_SET:
        str_addf(s, " memory=%" PRId64, step->number);
        break;
    case RUNNER_WAIT:
        str_addf(s, " above=%" PRId64, step->number);
        break;
    case RUNNER_RUN:
        str_addf(s, " ms=%" PRId64, step->number);
        break;
    case RUNNER_READ:
        str_addf(s, " limit=%" PRId64, step->number);
        break;
    case RUNNER_GROW:
        str_addf(s, " size=%" PRId64, step->number);
        break;
    case RUNNER_TAP_ADD:
        str_addf(s, " owner=%" PRId64, step->number);
        break;
    case RUNNER_NETLINK:
        str_addf(s, " protocol=%" PRId64, step->number);
        break;
    case RUNNER_PATCH:
        str_addf(s, " at=%" PRId64, step->number);
        break;
    case RUNNER_KILL:
        str_addf(s, " signal=%" PRId64, step->number);
        break;
    default:
        break;
    }
}

static void add_flags(struct str *s, uint32_t flags)
{
    static const char *const names[] = {"any-status", "excl",   "sync", "optional", "tree", "parents", "reflink",
                                        "isolated",   "secret", "tail", "owned",    "head", "held",    "else",
                                        "idle"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (flags & (1u << i))
            str_addf(s, " +%s", names[i]);
}

static void add_spawn(struct str *s, const struct runner_spawn *spawn)
{
    static const char *const names[] = {"?", "listen", "append", "readwrite", "read", "fifo", "tap"};

    str_addf(s, " pid=%s output=%s", spawn->pid_path, spawn->output_path);
    if (spawn->uid != 0 || spawn->gid != 0)
        str_addf(s, " uid=%u gid=%u", spawn->uid, spawn->gid);
    for (size_t i = 0; spawn->groups_of != NULL && spawn->groups_of[i] != NULL; i++)
        str_addf(s, "%s%s", i == 0 ? " groups_of=" : ",", spawn->groups_of[i]);
    if (spawn->nofile != 0)
        str_addf(s, " nofile=%" PRIu64, spawn->nofile);
    if (spawn->cgroup != NULL)
        str_addf(s, " cgroup=%s", spawn->cgroup);
    if (spawn->cgroup_memory_bytes != 0)
        str_addf(s, " memory=%" PRIu64, spawn->cgroup_memory_bytes);
    if (spawn->cgroup_tasks != 0)
        str_addf(s, " tasks=%" PRIu64, spawn->cgroup_tasks);
    for (uint32_t i = 0; i < spawn->n_fds; i++)
        str_addf(s, "%s%d:%s:%s", i == 0 ? " fds=" : ",", spawn->fds[i].number,
                 names[spawn->fds[i].kind < ARRAY_LEN(names) ? spawn->fds[i].kind : 0], spawn->fds[i].path);
}

static void add_port(struct str *s, const struct runner_port *port)
{
    str_addf(s, " port=%s", port->mac);
    if (port->address != NULL)
        str_addf(s, ",%s", port->address);
    if (port->group != 0)
        str_addf(s, ",group:%x", port->group);
    if (port->also != NULL)
        str_addf(s, ",also:%s", port->also);
    if (port->is_routed)
        str_add(s, ",routed");
}

static void add_data(struct str *s, const struct runner_step *step)
{
    if (step->kind == RUNNER_TAP_DEL) {
        str_addf(s, " idle=%s", (const char *)step->data);
        return;
    }
    str_addf(s, " len=%zu", step->len);
    if (step->kind == RUNNER_NETLINK) /* not for people */
        return;
    str_add(s, " data=");
    if (step->flags & RUNNER_S_SECRET) {
        str_add(s, "***");
        return;
    }
    str_add_char(s, '"');
    text_add_escaped(s, step->data, step->len < 1000 ? step->len : 1000);
    str_add_char(s, '"');
}

static void add_step(struct str *s, const struct runner_step *step)
{
    str_add(s, kind_name(step->kind));
    if (step->path != NULL)
        str_addf(s, " %s", step->path);
    if (step->to != NULL)
        str_addf(s, " -> %s", step->to);
    if (step->argv != NULL)
        str_add_char(s, ' ');
    for (size_t i = 0; step->argv != NULL && step->argv[i] != NULL; i++)
        str_addf(s, "[%s]", step->argv[i]);
    add_number(s, step);
    if (step->data != NULL)
        add_data(s, step);
    if (step->spawn != NULL)
        add_spawn(s, step->spawn);
    if (step->port != NULL)
        add_port(s, step->port);
    if (step->netns != NULL)
        str_add(s, " netns");
    add_flags(s, step->flags);
    if (step->undo != NULL) {
        str_add(s, " undo: ");
        add_step(s, step->undo);
    }
}

char *fake_step_text(const struct runner_step *step)
{
    struct str s = STR_INIT;

    add_step(&s, step);
    return str_steal(&s);
}

char *fake_batch_text(const struct runner_batch *batch)
{
    struct str s = STR_INIT;

    for (size_t i = 0; i < batch->n; i++) {
        add_step(&s, batch->steps[i]);
        str_add_char(&s, '\n');
    }
    return str_steal(&s);
}
