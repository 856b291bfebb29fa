/* runnerctl put, get */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/ctl/ctl.h"
#include "core/ctl/interrupt.h"
#include "core/ctl/output.h"
#include "core/ctl/quote.h"

struct download {
    struct progress progress;
    int fd;           /* where it goes */
    const char *name; /* for messages */
    int64_t size_bytes;
};

static void add_path(struct str *out, const char *id, const char *route, const char *path)
{
    str_add(out, "/sandboxes/");
    quote_url(out, id);
    str_addf(out, "/toolbox/files/%s?path=", route);
    quote_url(out, path);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static void on_upload_tick(void *ctx, int64_t done_bytes, int64_t total_bytes)
{
    progress_tick(ctx, done_bytes, total_bytes);
}

static int run_with_progress(struct ctl *ctl, struct progress *progress, const struct client_request *request)
{
    auto_free char *title = mem_printf("%s %s", ctl->command->name, ctl->subject);
    auto_reply struct client_reply reply = {0};
    int code;

    progress_start(progress, title);
    ctl->progress = progress;
    code = ctl_run(ctl, request, &reply);
    ctl->progress = NULL;
    progress_end(progress);
    return code;
}

static int set_mode(struct ctl *ctl, const char *id, const char *path, const char *mode)
{
    auto_str struct str url = STR_INIT;
    auto_reply struct client_reply reply = {0};
    struct client_request request = {.method = "POST"};

    add_path(&url, id, "permissions", path);
    str_add(&url, "&mode=");
    quote_url(&url, mode);
    request.path = str_text(&url);
    return ctl_run(ctl, &request, &reply);
}

static bool is_mode(const char *text)
{
    size_t len = strlen(text);

    return len >= 3 && len <= 4 && strspn(text, "01234567") == len;
}

static int open_source(struct ctl *ctl, const char *file, int *ret_fd, struct stat *ret_stat)
{
    int fd = strcmp(file, "-") == 0 ? dup(STDIN_FILENO) : open(file, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, ret_stat) < 0) {
        int saved_errno = errno;
        if (fd >= 0)
            close(fd);
        return ctl_fail(ctl, CTL_FAILED, "'%s': %s", file, strerror(saved_errno));
    }
    if (S_ISDIR(ret_stat->st_mode)) {
        close(fd);
        return ctl_fail(ctl, CTL_FAILED, "'%s' is a folder; pack it: tar c '%s' | runnerctl put ID - PATH", file, file);
    }
    *ret_fd = fd;
    return CTL_OK;
}

/* A regular file's size is known beforehand; one that shrinks meanwhile breaks the transfer, it is not padded. */
static int64_t size_left(int fd, const struct stat *st)
{
    off_t at = S_ISREG(st->st_mode) ? lseek(fd, 0, SEEK_CUR) : -1;

    return at < 0 || at > st->st_size ? -1 : (int64_t)(st->st_size - at);
}

static int put(struct ctl *ctl, const char *id, const char *file, const char *path, const char *mode)
{
    auto_free char *full = mem_printf("%s%s", path, path[strlen(path) - 1] == '/' ? base_name(file) : "");
    auto_str struct str url = STR_INIT;
    auto_close int fd = -1;
    struct progress progress;
    struct client_upload upload = {.name = base_name(full)};
    struct client_request request = {.method = "POST", .upload = &upload, .tick = on_upload_tick, .ctx = &progress};
    struct stat st;
    int code = open_source(ctl, file, &fd, &st);

    if (code != CTL_OK)
        return code;
    upload.fd = fd;
    upload.size_bytes = size_left(fd, &st);
    add_path(&url, id, "upload", full);
    request.path = str_text(&url);
    ctl->subject = full;
    code = run_with_progress(ctl, &progress, &request);
    if (code == CTL_OK && mode == NULL && S_ISREG(st.st_mode) && (st.st_mode & 0111) != 0)
        mode = "0755"; /* a program stays one */
    return code == CTL_OK && mode != NULL ? set_mode(ctl, id, full, mode) : code;
}

int put_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words operands = {NULL, 0};
    const char *mode = NULL;
    const struct option_spec own[] = {{'m', "mode", "MODE",
                                       "its permissions, octal [0755 for a program, else the guest's default]",
                                       OPTION_TEXT, &mode, 0, 0}};
    int code = ctl_begin(ctl, argc, argv, own, ARRAY_LEN(own), 3, 3, &operands, NULL);

    if (code != CTL_GO_ON)
        return code;
    if (ctl_check_id(ctl, operands.ptr[0]) != CTL_OK)
        return CTL_USAGE;
    if (mode != NULL && !is_mode(mode))
        return ctl_fail(ctl, CTL_USAGE, "--mode: '%s' is not like 0644", mode);
    if (operands.ptr[2][0] == '\0')
        return ctl_fail(ctl, CTL_USAGE, "PATH is empty");
    if (strcmp(operands.ptr[1], "-") == 0 && operands.ptr[2][strlen(operands.ptr[2]) - 1] == '/')
        return ctl_fail(ctl, CTL_USAGE, "PATH names a folder, and standard input has no name to add");
    return put(ctl, operands.ptr[0], operands.ptr[1], operands.ptr[2], mode);
}

static int on_data(void *ctx, const char *data, size_t len, struct runner_error *err)
{
    struct download *d = ctx;

    d->size_bytes += (int64_t)len;
    if (output_write(d->fd, data, len) < 0)
        return fail(err, RUNNER_E_IO, errno, "write '%s'", d->name);
    return 0;
}

static void on_download_tick(void *ctx, int64_t done_bytes, int64_t total_bytes)
{
    struct download *d = ctx;

    progress_tick(&d->progress, done_bytes, total_bytes);
}

static int fetch(struct ctl *ctl, const char *id, const char *path, struct download *d)
{
    auto_str struct str url = STR_INIT;
    struct client_request request = {.method = "GET", .sink = on_data, .tick = on_download_tick, .ctx = d};

    add_path(&url, id, "download", path);
    request.path = str_text(&url);
    ctl->subject = path;
    return run_with_progress(ctl, &d->progress, &request);
}

/* Into a file beside the target, renamed when complete: a broken transfer never leaves half a file under the name. */
static int get_to_file(struct ctl *ctl, const char *id, const char *path, const char *file)
{
    auto_free char *part = mem_printf("%s.part-XXXXXX", file);
    mode_t mask = umask(0);
    auto_close int fd = mkostemp(part, O_CLOEXEC);
    struct download d = {.fd = fd, .name = file};
    int code;

    (void)umask(mask);
    if (fd < 0)
        return ctl_fail(ctl, CTL_FAILED, "'%s': %s", file, strerror(errno));
    code = fetch(ctl, id, path, &d);
    if (code == CTL_OK && (fchmod(fd, 0666 & ~mask) < 0 || rename(part, file) < 0))
        code = ctl_fail(ctl, CTL_FAILED, "'%s': %s", file, strerror(errno));
    if (code != CTL_OK)
        (void)unlink(part);
    return code;
}

static int get(struct ctl *ctl, const char *id, const char *path, const char *file)
{
    struct download to_stdout = {.fd = STDOUT_FILENO, .name = "standard output"};
    auto_free char *target = NULL;
    struct stat st;

    if (file != NULL && strcmp(file, "-") == 0)
        return fetch(ctl, id, path, &to_stdout);
    if (file != NULL && (stat(file, &st) < 0 || !S_ISDIR(st.st_mode)))
        return get_to_file(ctl, id, path, file);
    if (base_name(path)[0] == '\0' || strcmp(base_name(path), ".") == 0 || strcmp(base_name(path), "..") == 0)
        return ctl_fail(ctl, CTL_USAGE, "'%s' has no file name", path);
    target = file != NULL ? mem_printf("%s/%s", file, base_name(path)) : mem_dup(base_name(path));
    return get_to_file(ctl, id, path, target);
}

int get_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words operands = {NULL, 0};
    int code = ctl_begin(ctl, argc, argv, NULL, 0, 2, 3, &operands, NULL);

    if (code != CTL_GO_ON)
        return code;
    if (ctl_check_id(ctl, operands.ptr[0]) != CTL_OK)
        return CTL_USAGE;
    return get(ctl, operands.ptr[0], operands.ptr[1], operands.n > 2 ? operands.ptr[2] : NULL);
}
