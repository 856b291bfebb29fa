/* The forwarder of names: its process, and what it is told of each sandbox, in a file named by the guest's address. */
#include <arpa/inet.h>
#include <signal.h>
#include <string.h>

#include "plugins/network/bridge/names.h"

#define FILE_MAX 65536

char *allowed_path(const struct bridge *b, struct runner_call *call, const char *suffix)
{
    return mem_printf("%s/network/%s%s", bridge_host->root(call), b->name, suffix);
}

static char *folder_of(const struct bridge *b, struct runner_call *call)
{
    return allowed_path(b, call, "");
}

/* NULL: it is no address. The caller frees. */
static char *path_of(const struct bridge *b, struct runner_call *call, const char *address)
{
    auto_free char *folder = folder_of(b, call);
    struct in_addr ignored;

    return inet_pton(AF_INET, address, &ignored) == 1 ? mem_printf("%s/%s", folder, address) : NULL;
}

/* ---- the process ------------------------------------------------------------------------------------------------ */

struct words {
    const char **list; /* ends with NULL */
    char **owned;
    size_t n;
};

static void add_words(struct words *w, const char *option, char *value)
{
    w->list = mem_grow(w->list, w->n + 3, sizeof *w->list);
    w->owned = mem_grow(w->owned, w->n + 3, sizeof *w->owned);
    w->owned[w->n] = NULL;
    w->list[w->n++] = option;
    if (value != NULL) {
        w->owned[w->n] = value;
        w->list[w->n++] = value;
    }
    w->list[w->n] = NULL;
}

static void words_done(struct words *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->owned[i]);
    free(w->owned);
    free(w->list);
}

static void add_never(const struct bridge *b, struct words *w)
{
    for (size_t i = 0; i < b->never.n; i++) {
        struct range left = b->never.list[i];
        bool has_more = true;

        while (has_more) {
            struct in_addr first = {htonl(left.first)};
            char text[INET_ADDRSTRLEN];
            unsigned prefix;

            has_more = ranges_next_network(&left, &prefix);
            add_words(w, "--never", mem_printf("%s/%u", inet_ntop(AF_INET, &first, text, sizeof text), prefix));
        }
    }
}

/* That of before may have been told other things, or be of an older version; it leaves nothing behind. */
static int add_end(struct runner_batch *batch, const char *pid, struct runner_error *err)
{
    const struct runner_step end = {.size = RUNNER_STEP_INIT, .kind = RUNNER_KILL, .path = pid, .number = SIGKILL};

    return bridge_host->add(batch, &end, err) < 0 ? -1 : 0;
}

int allowed_stop(const struct bridge *b, struct runner_call *call, struct runner_batch *batch, struct runner_error *err)
{
    auto_free char *pid = allowed_path(b, call, ".pid");

    return add_end(batch, pid, err);
}

int allowed_start(const struct bridge *b, struct runner_call *call, struct runner_batch *batch,
                  struct runner_error *err)
{
    auto_free char *folder = folder_of(b, call), *pid = mem_printf("%s.pid", folder),
                   *log = mem_printf("%s.log", folder);
    const struct runner_spawn how = {.size = sizeof how, .pid_path = pid, .output_path = log};
    struct words w = {NULL, NULL, 0};
    struct runner_step make = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_MKDIR, .flags = RUNNER_S_PARENTS, .path = folder, .number = 0700};
    struct runner_step start = {.size = RUNNER_STEP_INIT, .kind = RUNNER_SPAWN, .spawn = &how};
    int r = 0;

    add_words(&w, b->dns_program, NULL);
    add_words(&w, "--keep", mem_printf("%s.state", folder));
    add_words(&w, "--listen", mem_dup(b->address));
    add_words(&w, "--policies", mem_dup(folder));
    for (size_t i = 0; i < b->n_upstreams; i++)
        add_words(&w, "--upstream", mem_dup(b->upstreams[i]));
    add_never(b, &w);
    start.argv = w.list;
    if (bridge_host->add(batch, &make, err) < 0 || add_end(batch, pid, err) < 0 ||
        bridge_host->add(batch, &start, err) < 0)
        r = -1;
    words_done(&w);
    return r;
}

/* ---- a sandbox -------------------------------------------------------------------------------------------------- */

static bool is_domain(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len < 256 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-*") == len;
}

static int make_text(const struct bridge *b, const char *port, const struct runner_policy *policy, struct str *ret,
                     struct runner_error *err)
{
    str_add(ret, "set ");
    rules_table(b, ret);
    str_addf(ret, " d_%s\n", port);
    for (uint32_t i = 0; i < policy->n_domains; i++) {
        if (!is_domain(policy->domains[i]))
            return fail(err, RUNNER_E_INVALID, 0, "network/bridge: '%.80s' is no name of a domain", policy->domains[i]);
        str_addf(ret, "%s\n", policy->domains[i]);
    }
    if (ret->len > FILE_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "network/bridge: %u domains are too many", policy->n_domains);
    return 0;
}

static int add_file(struct runner_batch *batch, const char *path, const struct str *text, struct runner_error *err)
{
    const struct runner_step undo = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_WRITE,
                                     .path = path,
                                     .number = 0600,
                                     .data = text->ptr,
                                     .len = text->len,
                                     .undo = &undo};

    return bridge_host->add(batch, &step, err);
}

/* Whether the forwarder is told this already: then the addresses that it found are right. */
static int is_told(struct runner_call *call, const char *path, const struct str *text, bool *ret,
                   struct runner_error *err)
{
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_READ,
                                     .flags = RUNNER_S_OPTIONAL | RUNNER_S_HEAD,
                                     .path = path,
                                     .number = FILE_MAX + 1};
    struct runner_batch *batch = bridge_host->batch_new(call);
    int index = bridge_host->add(batch, &step, err), r = -1;

    if (index >= 0 && bridge_host->run(call, batch, err) == 0) {
        const struct runner_result *result = bridge_host->result(batch, index);

        *ret = result->status == 0 && result->len == text->len &&
               (text->len == 0 || memcmp(result->out, text->ptr, text->len) == 0);
        r = 0;
    }
    bridge_host->batch_free(batch);
    return r;
}

int allowed_forget(const struct bridge *b, struct runner_call *call, struct runner_batch *batch, const char *address,
                   struct runner_error *err)
{
    auto_free char *path = b->has_forwarder ? path_of(b, call, address) : NULL;
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path};

    return path != NULL && bridge_host->add(batch, &step, err) < 0 ? -1 : 0;
}

static int fail_without(const struct bridge *b, struct runner_error *err)
{
    if (b->dns_program == NULL)
        return fail(err, RUNNER_E_NOTSUP, 0,
                    "network/bridge: a list of domains needs its forwarder of names: network: {dns: on}");
    return fail(err, RUNNER_E_NOTSUP, 0,
                "network/bridge: a list of domains needs its forwarder of names, and the host has no %s (dns_program)",
                b->dns_program);
}

int allowed_tell(const struct bridge *b, struct runner_call *call, struct runner_batch *batch,
                 const struct runner_nic *nic, const struct runner_policy *policy, bool *ret_is_same,
                 struct runner_error *err)
{
    auto_free char *path = path_of(b, call, nic->address);
    auto_str struct str text = STR_INIT;
    bool is_blocked = policy->flags & RUNNER_POLICY_BLOCK;

    *ret_is_same = false;
    if (!is_blocked && (policy->n_domains == 0 || !(policy->flags & RUNNER_POLICY_LISTED)))
        return allowed_forget(b, call, batch, nic->address, err);
    if (!b->has_forwarder)
        return is_blocked ? 0 : fail_without(b, err);
    if (is_blocked)
        str_add(&text, "none\n"); /* a question is a way to say something to the outside */
    else if (path != NULL && make_text(b, nic->name, policy, &text, err) < 0)
        return -1;
    if (path == NULL || (!is_blocked && is_told(call, path, &text, ret_is_same, err) < 0))
        return -1;
    if (!is_blocked)
        str_add(&text, "\n"); /* the mark: the set has still what others were found for */
    return *ret_is_same || add_file(batch, path, &text, err) >= 0 ? 0 : -1;
}

int allowed_told(const struct bridge *b, struct runner_call *call, struct runner_batch *batch,
                 const struct runner_nic *nic, const struct runner_policy *policy, struct runner_error *err)
{
    auto_free char *path = path_of(b, call, nic->address);
    auto_str struct str text = STR_INIT;

    if ((policy->flags & RUNNER_POLICY_BLOCK) || policy->n_domains == 0 || !(policy->flags & RUNNER_POLICY_LISTED))
        return 0;
    return path == NULL || make_text(b, nic->name, policy, &text, err) < 0 || add_file(batch, path, &text, err) < 0 ? -1
                                                                                                                    : 0;
}

/* ---- after a crash ---------------------------------------------------------------------------------------------- */

static bool is_kept(const struct bridge *b, const struct runner_nic *const *owned, size_t n, const char *address)
{
    if (names_address(b->names, address) >= 0) /* as good as all */
        return true;
    for (size_t i = 0; i < n; i++)
        if (strcmp(owned[i]->address, address) == 0)
            return true;
    return false;
}

int allowed_sweep(const struct bridge *b, struct runner_call *call, const struct runner_nic *const *owned, size_t n,
                  struct runner_error *err)
{
    auto_free char *folder = folder_of(b, call);
    const struct runner_step list = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_LIST, .flags = RUNNER_S_OPTIONAL, .path = folder};
    struct runner_batch *batch, *removal;
    int index, r = -1;

    if (!b->has_forwarder)
        return 0;
    batch = bridge_host->batch_new(call);
    removal = bridge_host->batch_new(call);
    index = bridge_host->add(batch, &list, err);
    if (index >= 0 && bridge_host->run(call, batch, err) == 0) {
        const struct runner_result *result = bridge_host->result(batch, index);
        const char *name = result->out;

        for (r = 0; r == 0 && name != NULL && name < result->out + result->len; name += strlen(name) + 1)
            if (!is_kept(b, owned, n, name))
                r = allowed_forget(b, call, removal, name, err);
        if (r == 0)
            r = bridge_host->run(call, removal, err);
    }
    bridge_host->batch_free(batch);
    bridge_host->batch_free(removal);
    return r < 0 ? error_wrap(err, "removal of orphaned lists of domains") : 0;
}
