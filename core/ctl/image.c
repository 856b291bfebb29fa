/* runnerctl pull, images, rmi */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/ctl/ctl.h"
#include "core/ctl/interrupt.h"
#include "core/ctl/output.h"
#include "core/ctl/quote.h"
#include "core/ctl/table.h"
#include "core/util/text.h"

#define LOOK_MS      200 /* between two looks at how far a pull is: the runner tells nobody by itself */
#define PASSWORD_MAX 16384

static int check_ref(const struct ctl *ctl, const char *ref)
{
    return text_is_ref(ref) ? CTL_OK : ctl_fail(ctl, CTL_USAGE, "'%s' is not a snapshot reference", ref);
}

/* ---- pull ---- */

struct pull_options {
    const char *server, *username, *password_file, *tag;
};

/* The first line of a file, "-": standard input. The caller wipes and frees. */
static char *read_password(const char *path, struct runner_error *err)
{
    auto_close int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    char *text = mem_alloc(PASSWORD_MAX + 1);
    size_t len = 0;
    ssize_t n = -1;

    while (fd >= 0 && len < PASSWORD_MAX && (n = read(fd, text + len, PASSWORD_MAX - len)) > 0)
        len += (size_t)n;
    if (n != 0) {
        (void)fail(err, RUNNER_E_IO, n < 0 ? errno : 0, "--password-file: '%s'%s", path,
                   n > 0 ? " is too long for a password" : "");
        explicit_bzero(text, PASSWORD_MAX);
        free(text);
        return NULL;
    }
    text[strcspn(text, "\r\n")] = '\0';
    return text;
}

static int build_body(const struct pull_options *o, const char *ref, struct str *out, struct runner_error *err)
{
    char *password = o->password_file != NULL ? read_password(o->password_file, err) : NULL;

    if (o->password_file != NULL && password == NULL)
        return -1;
    json_open(out, NULL, '{');
    json_add_text(out, "snapshot", ref);
    if (o->tag != NULL)
        json_add_text(out, "newTag", o->tag);
    json_open(out, "registry", '{');
    if (o->server != NULL)
        json_add_text(out, "url", o->server);
    if (o->username != NULL)
        json_add_text(out, "username", o->username);
    if (password != NULL)
        json_add_text(out, "password", password);
    json_close(out, '}');
    json_close(out, '}');
    if (password != NULL)
        explicit_bzero(password, strlen(password));
    free(password);
    return 0;
}

/* The one that is on the way or failed goes before the one that is here. */
static const struct json *find(const struct json *tree, const char *ref)
{
    const struct json *list = json_get(tree, "snapshots"), *found = NULL;

    for (const struct json *j = list != NULL ? list->first : NULL; j != NULL; j = j->next)
        if (strcmp(json_text(j, "name", ""), ref) == 0 && (found == NULL || json_get(j, "state") != NULL))
            found = j;
    return found;
}

/* What is done now, and how far that is. *what, "REF: PHASE", is the caller's to free. */
static void show(struct progress *progress, const char *ref, const struct json *image, char **what)
{
    const char *phase = json_text(image, "phase", "");
    auto_free char *now = mem_printf("%s: %s", ref, phase);

    if (phase[0] != '\0' && (*what == NULL || strcmp(*what, now) != 0)) {
        free(*what);
        *what = now;
        now = NULL;
        progress_next(progress, *what);
    }
    progress_tick(progress, json_int(image, "doneBytes", 0), json_int(image, "totalBytes", 0));
}

static int await_pull(struct ctl *ctl, const char *ref)
{
    const struct client_request request = {.method = "GET", .path = "/snapshots"};
    auto_free char *what = NULL;
    struct progress progress;
    int code = CTL_OK;

    progress_start(&progress, ref);
    ctl->progress = &progress;
    for (bool is_over = false; !is_over && code == CTL_OK;) {
        auto_reply struct client_reply reply = {0};
        auto_json struct json *tree = NULL;
        struct runner_error err = ERROR_INIT;
        const struct json *image;
        const char *state;

        code = ctl_run(ctl, &request, &reply);
        if (code != CTL_OK)
            break;
        if (json_parse(str_text(&reply.body), reply.body.len, &tree, &err) < 0) {
            code = ctl_fail(ctl, CTL_FAILED, "the runner's reply makes no sense: %s", err.message);
            break;
        }
        image = find(tree, ref);
        state = json_text(image, "state", "");
        if (image == NULL)
            code = ctl_fail(ctl, CTL_FAILED, "'%s' is gone again", ref);
        else if (strcmp(state, "error") == 0)
            code = ctl_fail(ctl, CTL_FAILED, "%s", json_text(image, "message", "it failed"));
        is_over = strcmp(state, "pulling") != 0;
        if (is_over || code != CTL_OK)
            break;
        show(&progress, ref, image, &what);
        if (!interrupt_wait(LOOK_MS))
            code = CTL_SIGNAL + interrupt_signal(); /* the runner goes on with it */
    }
    progress_end(&progress);
    ctl->progress = NULL;
    return code;
}

int pull_command(struct ctl *ctl, int argc, char **argv)
{
    struct pull_options o = {NULL, NULL, NULL, NULL};
    auto_words struct words operands = {NULL, 0};
    auto_reply struct client_reply reply = {0};
    auto_json struct json *tree = NULL;
    auto_str struct str body = STR_INIT, out = STR_INIT;
    struct runner_error err = ERROR_INIT;
    const struct option_spec own[] = {
        {0, "server", "HOST[:PORT]", "whom the account is of; by default REF's", OPTION_TEXT, &o.server, 0, 0},
        {'u', "username", "NAME", "account at the registry", OPTION_TEXT, &o.username, 0, 0},
        {0, "password-file", "FILE", "its password is the first line of FILE, '-': of standard input", OPTION_TEXT,
         &o.password_file, 0, 0},
        {'t', "tag", "REF", "another name for it here", OPTION_TEXT, &o.tag, 0, 0}};
    int code = ctl_begin(ctl, argc, argv, own, ARRAY_LEN(own), 1, 1, &operands, NULL);

    if (code == CTL_GO_ON)
        code = check_ref(ctl, operands.ptr[0]);
    if (code == CTL_OK && o.tag != NULL)
        code = check_ref(ctl, o.tag);
    if (code == CTL_OK && (o.username == NULL) != (o.password_file == NULL))
        code = ctl_fail(ctl, CTL_USAGE, "--username and --password-file go together");
    if (code != CTL_OK)
        return code;
    if (build_body(&o, operands.ptr[0], &body, &err) < 0)
        return ctl_fail_err(ctl, &err);
    code = ctl_request(ctl, "POST", "/snapshots/pull", str_text(&body), &reply, &tree);
    if (body.ptr != NULL)
        explicit_bzero(body.ptr, body.len);
    if (code == CTL_OK)
        code = await_pull(ctl, operands.ptr[0]);
    if (code != CTL_OK)
        return code;
    str_addf(&out, "%s\n", operands.ptr[0]);
    return ctl_print(ctl, &out);
}

/* ---- images ---- */

/* "fetch, 50 %, 12 s" */
static void add_progress(struct str *out, const struct json *image)
{
    int64_t done = json_int(image, "doneBytes", 0), total = json_int(image, "totalBytes", 0);

    str_add(out, json_text(image, "phase", ""));
    if (total > 0)
        str_addf(out, ", %d %% of ", (int)((double)done * 100 / (double)total));
    if (total > 0)
        output_add_size(out, total);
    str_addf(out, ", %lld s", (long long)json_int(image, "seconds", 0));
}

static void add_row(struct table *t, const struct json *image)
{
    const char *state = json_text(image, "state", "ready");
    const char *hash = json_text(image, "hash", NULL);
    const struct json *size = json_get(image, "sizeGB");
    auto_str struct str bytes = STR_INIT, note = STR_INIT;
    auto_free char *digest = hash != NULL ? mem_dup_n(hash, strnlen(hash, 12)) : NULL;

    table_add(t, json_text(image, "name", NULL));
    table_add(t, state);
    table_add(t, digest);
    if (size != NULL)
        output_add_size(&bytes, (int64_t)(size->real * (double)(INT64_C(1) << 30)));
    table_add(t, str_text(&bytes));
    if (strcmp(state, "pulling") == 0)
        add_progress(&note, image);
    table_add(t, note.len > 0 ? str_text(&note) : json_text(image, "message", NULL));
}

int images_command(struct ctl *ctl, int argc, char **argv)
{
    static const struct table_column columns[] = {
        {"NAME", false}, {"STATE", false}, {"DIGEST", false}, {"SIZE", true}, {"NOTE", false}};
    auto_words struct words operands = {NULL, 0};
    auto_reply struct client_reply reply = {0};
    auto_json struct json *tree = NULL;
    auto_str struct str out = STR_INIT;
    auto_table struct table t;
    const struct json *list;
    int code = ctl_begin(ctl, argc, argv, NULL, 0, 0, 0, &operands, NULL);

    table_init(&t, columns, ARRAY_LEN(columns));
    if (code != CTL_GO_ON)
        return code;
    code = ctl_request(ctl, "GET", "/snapshots", NULL, &reply, &tree);
    if (code != CTL_OK)
        return code;
    if (ctl->is_json)
        return ctl_print_json(ctl, &reply);
    list = json_get(tree, "snapshots");
    for (const struct json *j = list != NULL ? list->first : NULL; j != NULL; j = j->next)
        add_row(&t, j);
    table_print(&t, output_is_colour(), &out);
    return ctl_print(ctl, &out);
}

/* ---- rmi ---- */

static int remove_image(struct ctl *ctl, const char *ref, const void *arg)
{
    auto_reply struct client_reply reply = {0};
    auto_json struct json *tree = NULL;
    auto_str struct str path = STR_INIT;
    int code;

    (void)arg;
    str_add(&path, "/snapshots/remove?snapshot=");
    quote_url(&path, ref);
    code = ctl_request(ctl, "POST", str_text(&path), NULL, &reply, &tree);
    if (code == CTL_OK && tree->type == JSON_STRING && strstr(tree->text, "stays") != NULL)
        code = ctl_fail(ctl, CTL_FAILED, "'%s' is in use, and stays", ref);
    return code;
}

int rmi_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words operands = {NULL, 0};
    int code = ctl_begin(ctl, argc, argv, NULL, 0, 1, SIZE_MAX, &operands, NULL);

    if (code != CTL_GO_ON)
        return code;
    for (size_t i = 0; i < operands.n; i++)
        if (check_ref(ctl, operands.ptr[i]) != CTL_OK)
            return CTL_USAGE;
    return ctl_each(ctl, &operands, remove_image, NULL);
}
