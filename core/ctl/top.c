/* runnerctl top */
#include <string.h>
#include <unistd.h>

#include "core/ctl/ctl.h"
#include "core/ctl/interrupt.h"
#include "core/ctl/list.h"
#include "core/ctl/output.h"
#include "core/ctl/table.h"
#include "core/util/num.h"

struct sample { /* one reading of all sandboxes */
    struct client_reply reply;
    struct json *tree;
    const struct json *first;
    int64_t at_ms;
};

static void sample_done(struct sample *s)
{
    client_reply_done(&s->reply);
    json_free(s->tree);
    *s = (struct sample){.tree = NULL};
}

static int take_sample(struct ctl *ctl, struct sample *ret)
{
    int code = list_fetch(ctl, "?stats=true", &ret->reply, &ret->tree, &ret->first);

    ret->at_ms = num_now_ms();
    return code;
}

static const struct json *find(const struct sample *s, const char *id)
{
    for (const struct json *j = s->first; j != NULL; j = j->next)
        if (strcmp(json_text(j, "id", ""), id) == 0)
            return j;
    return NULL;
}

/* Of one CPU; unknown when a reading lacks it, or the VM began anew between the two. */
static void add_cpu(struct table *t, const struct sample *before, const struct sample *now, const struct json *sandbox)
{
    int64_t from = json_int(find(before, json_text(sandbox, "id", "")), "cpuMs", -1);
    int64_t to = json_int(sandbox, "cpuMs", -1), elapsed_ms = now->at_ms - before->at_ms;

    if (from < 0 || to < from || elapsed_ms <= 0)
        table_add(t, NULL);
    else
        table_addf(t, "%.1f", (double)(to - from) * 100 / (double)elapsed_ms);
}

static void add_memory(struct table *t, const struct json *sandbox)
{
    auto_str struct str text = STR_INIT;
    int64_t rss_bytes = json_int(sandbox, "rssBytes", -1);

    if (rss_bytes >= 0)
        output_add_size(&text, rss_bytes);
    table_add(t, str_text(&text));
}

static int draw(struct ctl *ctl, const struct sample *before, const struct sample *now, bool is_screen)
{
    static const struct table_column columns[] = {{"ID", false},  {"STATE", false}, {"CPU %", true},
                                                  {"CPUS", true}, {"MEMORY", true}, {"OF GIB", true}};
    auto_str struct str out = STR_INIT;
    auto_table struct table t;

    table_init(&t, columns, ARRAY_LEN(columns));
    for (const struct json *j = now->first; j != NULL; j = j->next) {
        table_add(&t, json_text(j, "id", NULL));
        table_add_state(&t, json_text(j, "state", NULL));
        add_cpu(&t, before, now, j);
        list_add_number(&t, j, "cpus");
        add_memory(&t, j);
        list_add_number(&t, j, "memoryGiB");
    }
    if (is_screen)
        str_add(&out, "\033[H\033[2J");
    table_print(&t, output_is_colour(), &out);
    return ctl_print(ctl, &out);
}

static int watch(struct ctl *ctl, int64_t interval_ms, bool is_once)
{
    struct sample before = {.tree = NULL}, now = {.tree = NULL};
    bool is_screen = !is_once && !ctl->is_json && isatty(STDOUT_FILENO);
    int code = take_sample(ctl, &before);

    while (code == CTL_OK && interrupt_wait(interval_ms)) {
        code = take_sample(ctl, &now);
        if (code != CTL_OK)
            break;
        code = ctl->is_json ? ctl_print_json(ctl, &now.reply) : draw(ctl, &before, &now, is_screen);
        sample_done(&before);
        before = now;
        now = (struct sample){.tree = NULL};
        if (is_once)
            break;
    }
    sample_done(&before);
    sample_done(&now);
    if (is_once && code == CTL_OK && interrupt_signal() != 0)
        return CTL_SIGNAL + interrupt_signal();
    return code;
}

int top_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words operands = {NULL, 0};
    bool is_once = false;
    int64_t interval_ms = 2000;
    const struct option_spec own[] = {
        {'1', "once", NULL, "measure over one interval, print once", OPTION_FLAG, &is_once, 0, 0},
        {'i', "interval", "TIME", "how long a measurement lasts, like 500ms [2s]", OPTION_MSEC, &interval_ms, 0, 0}};
    int code = ctl_begin(ctl, argc, argv, own, ARRAY_LEN(own), 0, 0, &operands, NULL);

    return code == CTL_GO_ON ? watch(ctl, interval_ms, is_once) : code;
}
