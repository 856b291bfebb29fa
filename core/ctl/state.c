/* runnerctl start, stop, pause, resume, resize, recover, rm */
#include <string.h>

#include "core/ctl/create.h"
#include "core/ctl/ctl.h"
#include "core/ctl/list.h"
#include "core/ctl/quote.h"

struct state_change {
    const char *method, *suffix; /* of /sandboxes/{id} */
    const char *json;            /* body or NULL */
    bool is_timings;
    int (*allow)(struct ctl *ctl, const char *id); /* asked before; NULL: always */
};

static int change(struct ctl *ctl, const char *id, const void *arg)
{
    const struct state_change *how = arg;
    auto_str struct str path = STR_INIT, out = STR_INIT;
    auto_reply struct client_reply reply = {0};
    auto_json struct json *tree = NULL;
    int code = how->allow != NULL ? how->allow(ctl, id) : CTL_OK;

    if (code != CTL_OK)
        return code;
    str_add(&path, "/sandboxes/");
    quote_url(&path, id);
    str_add(&path, how->suffix);
    code = ctl_request(ctl, how->method, str_text(&path), how->json, &reply, &tree);
    if (code != CTL_OK)
        return code;
    if (ctl->is_json)
        return ctl_print_json(ctl, &reply);
    str_addf(&out, "%s\n", id);
    if (how->is_timings)
        create_add_timings(&out, tree);
    return ctl_print(ctl, &out);
}

static bool is_off(const char *state)
{
    return strcmp(state, "stopped") == 0 || strcmp(state, "destroyed") == 0 || strcmp(state, "error") == 0;
}

/* All sandboxes, or with skip_off those that something is left to stop of. */
static int change_all(struct ctl *ctl, const struct state_change *how, bool skip_off)
{
    auto_words struct words ids = {NULL, 0};
    auto_reply struct client_reply reply = {0};
    auto_json struct json *tree = NULL;
    const struct json *first = NULL;
    int code = list_fetch(ctl, "", &reply, &tree, &first);

    if (code != CTL_OK)
        return code;
    for (const struct json *j = first; j != NULL; j = j->next)
        if (!skip_off || !is_off(json_text(j, "state", "")))
            words_add(&ids, json_text(j, "id", ""));
    if (ctl_check_ids(ctl, &ids) != CTL_OK)
        return CTL_FAILED;
    return ctl_each(ctl, &ids, change, how);
}

static int run(struct ctl *ctl, const struct state_change *how, const struct words *ids, bool is_all, bool skip_off)
{
    if (is_all && ids->n > 0)
        return ctl_fail(ctl, CTL_USAGE, "--all takes no ids");
    if (!is_all && ids->n == 0)
        return ctl_fail(ctl, CTL_USAGE, "an id is needed (see --help)");
    if (is_all)
        return change_all(ctl, how, skip_off);
    return ctl_check_ids(ctl, ids) == CTL_OK ? ctl_each(ctl, ids, change, how) : CTL_USAGE;
}

int start_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words ids = {NULL, 0};
    struct state_change how = {"POST", "/start", "{}", false, NULL};
    const struct option_spec own[] = {
        {'t', "timings", NULL, "print how long each phase took", OPTION_FLAG, &how.is_timings, 0, 0}};
    int code = ctl_begin(ctl, argc, argv, own, ARRAY_LEN(own), 0, SIZE_MAX, &ids, NULL);

    return code == CTL_GO_ON ? run(ctl, &how, &ids, false, false) : code;
}

int stop_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words ids = {NULL, 0};
    bool is_all = false, is_force = false;
    const struct option_spec own[] = {
        {'a', "all", NULL, "all that run", OPTION_FLAG, &is_all, 0, 0},
        {'f', "force", NULL, "pull the plug instead of shutting down", OPTION_FLAG, &is_force, 0, 0}};
    struct state_change how = {"POST", "/stop", "{}", false, NULL};
    int code = ctl_begin(ctl, argc, argv, own, ARRAY_LEN(own), 0, SIZE_MAX, &ids, NULL);

    if (is_force)
        how.json = "{\"force\":true}";
    return code == CTL_GO_ON ? run(ctl, &how, &ids, is_all, true) : code;
}

/* No body: none is defined. */
static int run_plain(struct ctl *ctl, int argc, char **argv, const char *suffix)
{
    auto_words struct words ids = {NULL, 0};
    const struct state_change how = {"POST", suffix, NULL, false, NULL};
    int code = ctl_begin(ctl, argc, argv, NULL, 0, 0, SIZE_MAX, &ids, NULL);

    return code == CTL_GO_ON ? run(ctl, &how, &ids, false, false) : code;
}

int pause_command(struct ctl *ctl, int argc, char **argv)
{
    return run_plain(ctl, argc, argv, "/pause");
}

int resume_command(struct ctl *ctl, int argc, char **argv)
{
    return run_plain(ctl, argc, argv, "/resume");
}

int resize_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words ids = {NULL, 0};
    auto_str struct str body = STR_INIT;
    int64_t cpus = 0, memory_gib = 0, disk_gib = 0;
    const struct option_spec own[] = {
        {'c', "cpus", "N", "virtual CPUs", OPTION_INT, &cpus, 1, 1024},
        {'m', "memory", "GIB", "memory in GiB", OPTION_INT, &memory_gib, 1, 65536},
        {'d', "disk", "GIB", "size of the disk in GiB, which only grows", OPTION_INT, &disk_gib, 1, 1048576}};
    struct state_change how = {"POST", "/resize", NULL, false, NULL};
    int code = ctl_begin(ctl, argc, argv, own, ARRAY_LEN(own), 0, SIZE_MAX, &ids, NULL);

    if (code != CTL_GO_ON)
        return code;
    if (cpus + memory_gib + disk_gib == 0)
        return ctl_fail(ctl, CTL_USAGE, "one of --cpus, --memory and --disk is needed");
    json_open(&body, NULL, '{');
    json_add_int(&body, "cpu", cpus); /* 0: as it is */
    json_add_int(&body, "memory", memory_gib);
    json_add_int(&body, "disk", disk_gib);
    json_close(&body, '}');
    how.json = str_text(&body);
    return run(ctl, &how, &ids, false, false);
}

int recover_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words ids = {NULL, 0};
    bool is_full = false;
    const struct option_spec own[] = {{0, "disk-full", NULL,
                                       "its disk is full: make that a twentieth larger, a tenth at most in all",
                                       OPTION_FLAG, &is_full, 0, 0}};
    struct state_change how = {"POST", "/recover", "{}", false, NULL};
    int code = ctl_begin(ctl, argc, argv, own, ARRAY_LEN(own), 0, SIZE_MAX, &ids, NULL);

    if (is_full) /* the words by which the API says so */
        how.json = "{\"errorReason\":\"no space left on device\"}";
    return code == CTL_GO_ON ? run(ctl, &how, &ids, false, false) : code;
}

/* rm without --force: the runner itself destroys in any state, so people are asked to mean it. */
static int allow_remove(struct ctl *ctl, const char *id)
{
    auto_reply struct client_reply reply = {0};
    auto_json struct json *tree = NULL;
    int code = list_info(ctl, id, &reply, &tree);
    const char *state = json_text(tree, "state", "");

    if (code != CTL_OK)
        return code;
    if (strcmp(state, "destroyed") == 0)
        return ctl_fail(ctl, CTL_FAILED, "there is no sandbox '%s'", id);
    if (!is_off(state))
        return ctl_fail(ctl, CTL_FAILED, "sandbox '%s' is %s; stop it first, or use --force", id, state);
    return CTL_OK;
}

int remove_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words ids = {NULL, 0};
    bool is_all = false, is_force = false;
    const struct option_spec own[] = {
        {'a', "all", NULL, "all sandboxes", OPTION_FLAG, &is_all, 0, 0},
        {'f', "force", NULL, "even when it runs, and no error when it is not there", OPTION_FLAG, &is_force, 0, 0}};
    struct state_change how = {"DELETE", "", NULL, false, allow_remove};
    int code = ctl_begin(ctl, argc, argv, own, ARRAY_LEN(own), 0, SIZE_MAX, &ids, NULL);

    if (is_force)
        how.allow = NULL;
    return code == CTL_GO_ON ? run(ctl, &how, &ids, is_all, false) : code;
}
