/* The sandboxes that are on a host: this runner's, and those of an older one. */
#include <inttypes.h>
#include <string.h>

#include "core/batch.h"
#include "core/doctor.h"
#include "core/host.h"
#include "core/look.h"
#include "core/record.h"
#include "core/util/json.h"
#include "core/util/text.h"

#define IDS_A_BATCH 64

struct count {
    size_t n_ours, n_taken_over, n_foreign, n_unreadable;
    char foreign[64]; /* one of them */
};

/* Of a directory without a record: whether another runner has made it. */
static bool is_foreign(struct runner_call *call, const char *id)
{
    static const char *const names[] = {"config.json", "disk.qcow2", "disk.raw"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        auto_free char *path = host_sandbox_path(call->host, id, names[i]);

        if (look_is_there(call, path))
            return true;
    }
    return false;
}

static void count_one(struct runner_call *call, const char *id, const struct runner_result *result, struct count *count)
{
    auto_json struct json *record = NULL;

    if (result->status == 1) {
        if (!is_foreign(call, id))
            return;
        count->n_foreign++;
        (void)snprintf(count->foreign, sizeof count->foreign, "%s", id);
    } else if (json_parse(result->out, result->len, &record, NULL) < 0) {
        count->n_unreadable++;
    } else if (json_int(record, "takenOverMs", 0) != 0) {
        count->n_taken_over++;
    } else {
        count->n_ours++;
    }
}

static void count_some(struct runner_call *call, const char *const *ids, size_t n, struct count *count)
{
    auto_batch struct runner_batch *batch = batch_new(call);

    for (size_t i = 0; i < n; i++) {
        auto_free char *path = host_sandbox_path(call->host, ids[i], "runner.json");
        const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                         .kind = RUNNER_READ,
                                         .flags = RUNNER_S_OPTIONAL | RUNNER_S_HEAD,
                                         .path = path,
                                         .number = RECORD_MAX};
        (void)batch_add(batch, &step, NULL);
    }
    if (batch_run(call, batch, NULL) < 0) {
        count->n_unreadable += n;
        return;
    }
    for (size_t i = 0; i < n; i++)
        count_one(call, ids[i], batch_result(batch, (int)i), count);
}

static void count_all(struct runner_call *call, const struct runner_result *names, struct count *count)
{
    const char *ids[IDS_A_BATCH];
    size_t n = 0;

    for (const char *p = names->out; p != NULL && p < names->out + names->len; p += strlen(p) + 1) {
        if (!text_is_id(p))
            continue;
        ids[n++] = p;
        if (n == ARRAY_LEN(ids)) {
            count_some(call, ids, n, count);
            n = 0;
        }
    }
    count_some(call, ids, n, count);
}

static void say(const struct look *look, const struct count *count)
{
    size_t n = count->n_ours + count->n_taken_over + count->n_foreign + count->n_unreadable;

    if (count->n_unreadable > 0)
        finding_say(&look->to, RUNNER_FINDING_WARN, "sandboxes", NULL,
                    "%zu, of which %zu have a record that cannot be read", n, count->n_unreadable);
    else
        finding_say(&look->to, RUNNER_FINDING_OK, "sandboxes", NULL,
                    "%zu, of which %zu were taken over from another runner", n, count->n_taken_over);
    if (count->n_foreign > 0)
        finding_say(&look->to, RUNNER_FINDING_WARN, "sandboxes-foreign", NULL,
                    "%zu of another runner (such as %s): a start of this one takes them over, or says why it cannot",
                    count->n_foreign, count->foreign);
}

void doctor_sandboxes(const struct look *look)
{
    auto_free char *root = mem_printf("%s/sandboxes", look->host->config->root);
    auto_batch struct runner_batch *batch = batch_new(look->call);
    const struct runner_step list = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_LIST, .flags = RUNNER_S_OPTIONAL, .path = root};
    struct count count = {.n_ours = 0};
    struct runner_error err = ERROR_INIT;

    if (batch_run_step(look->call, batch, &list, &err) < 0) {
        finding_say(&look->to, RUNNER_FINDING_WARN, "sandboxes", NULL, "%s", err.message);
        return;
    }
    count_all(look->call, batch_result(batch, 0), &count);
    say(look, &count);
}
