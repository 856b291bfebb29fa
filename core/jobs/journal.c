#include "core/jobs/journal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define LINE_MAX  (64 * 1024) /* an error of 10 000 characters, each escaped, fits */
#define GROWTH    (4 << 20)   /* bytes since the last rewrite that make another worth it */
#define FILE_NAME "jobs.journal"
#define DAMAGED   ".damaged"

struct journal {
    char *path, *fresh_path;
    int dir_fd, fd;
    int64_t size, rewritten_size; /* bytes: now, and after the last rewrite */
    struct str pending;
};

/* ---- lines ---- */

static void add_line(struct journal *journal, const struct str *line)
{
    str_add_mem(&journal->pending, line->ptr, line->len);
    str_add_char(&journal->pending, '\n');
}

void journal_add(struct journal *journal, const struct job *job)
{
    auto_str struct str line = STR_INIT;

    json_open(&line, NULL, '{');
    json_add_text(&line, "job", job->id);
    json_add_text(&line, "type", job->name);
    json_add_text(&line, "resource", job->resource);
    json_add_bool(&line, "failed", job->is_failed);
    json_add_text(&line, "error", job->error);
    json_add_text(&line, "result", job->result);
    json_close(&line, '}');
    add_line(journal, &line);
}

void journal_add_told(struct journal *journal, const struct job *job)
{
    auto_str struct str line = STR_INIT;

    json_open(&line, NULL, '{');
    json_add_text(&line, "told", job->id);
    json_close(&line, '}');
    add_line(journal, &line);
}

static struct job *parse_outcome(const struct json *from)
{
    struct job *job = job_new(json_text(from, "job", ""));

    job->state = JOB_ENDED;
    job->name = mem_dup(json_text(from, "type", ""));
    job->resource = mem_dup(json_text(from, "resource", ""));
    job->is_failed = json_bool(from, "failed", false);
    job->error = mem_dup(json_text(from, "error", NULL));
    job->result = mem_dup(json_text(from, "result", NULL));
    return job;
}

static int parse_line(const char *line, size_t len, struct job **ret, struct runner_error *err)
{
    auto_json struct json *from = NULL;
    const char *told;

    if (json_parse(line, len, &from, err) < 0)
        return -1;
    told = json_text(from, "told", NULL);
    if (!job_is_id(told != NULL ? told : json_text(from, "job", "")))
        return fail(err, RUNNER_E_INVALID, 0, "expected the id of a job in \"job\" or \"told\"");
    if (told == NULL) {
        *ret = parse_outcome(from);
        return 0;
    }
    *ret = job_new(told);
    (*ret)->state = JOB_TOLD;
    return 0;
}

/* The first that is damaged is told; jobs behind it count. */
static void read_line(const char *line, size_t len, size_t number, void (*found)(void *, struct job *), void *ctx,
                      struct runner_error *damage)
{
    struct runner_error err = ERROR_INIT;
    struct job *job = NULL;

    if (len > LINE_MAX)
        (void)fail(&err, RUNNER_E_INVALID, 0, "too long");
    else if (parse_line(line, len, &job, &err) == 0)
        found(ctx, job);
    if (err.code != 0 && damage->code == 0) {
        (void)error_wrap(&err, "line %zu", number);
        error_copy(damage, &err);
    }
}

static int read_lines(struct journal *journal, void (*found)(void *, struct job *), void *ctx,
                      struct runner_error *damage, struct runner_error *err)
{
    auto_fclose FILE *file = fopen(journal->path, "re");
    auto_free char *line = NULL;
    size_t size = 0, number = 0;
    ssize_t len;

    if (file == NULL)
        return errno == ENOENT ? 0 : fail_errno(err, errno, "open '%s'", journal->path);
    while ((len = getline(&line, &size, file)) > 0) {
        if (line[len - 1] != '\n')
            break; /* cut short by a crash: it was not told either */
        read_line(line, (size_t)len, ++number, found, ctx, damage);
    }
    return ferror(file) ? fail_errno(err, EIO, "read '%s'", journal->path) : 0;
}

/* What will be replaced keeps a name, the last of its kind: somebody may want to look at it. */
static int keep_damaged(const struct journal *journal, struct runner_error *damage, struct runner_error *err)
{
    auto_free char *kept = mem_printf("%s" DAMAGED, journal->path);

    if ((unlink(kept) < 0 && errno != ENOENT) || link(journal->path, kept) < 0)
        return fail_errno(err, errno, "keep the damaged '%s' as '%s'", journal->path, kept);
    (void)error_wrap(damage, "'%s', now '" FILE_NAME DAMAGED "'", journal->path);
    return 0;
}

static int read_file(struct journal *journal, void (*found)(void *, struct job *), void *ctx,
                     struct runner_error *damage, struct runner_error *err)
{
    if (read_lines(journal, found, ctx, damage, err) < 0)
        return -1;
    return damage->code == 0 ? 0 : keep_damaged(journal, damage, err);
}

/* ---- the file ---- */

int journal_open(const char *dir, void (*found)(void *ctx, struct job *job), void *ctx, struct journal **ret,
                 struct runner_error *damage, struct runner_error *err)
{
    struct journal *journal;

    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return fail_errno(err, errno, "make directory '%s'", dir);
    journal = mem_alloc(sizeof *journal);
    journal->path = mem_printf("%s/" FILE_NAME, dir);
    journal->fresh_path = mem_printf("%s/" FILE_NAME ".new", dir);
    journal->fd = -1;
    journal->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (journal->dir_fd < 0) {
        (void)fail_errno(err, errno, "open directory '%s'", dir);
    } else if (flock(journal->dir_fd, LOCK_EX | LOCK_NB) < 0) {
        (void)fail(err, RUNNER_E_BUSY, errno == EWOULDBLOCK ? 0 : errno, "directory '%s' is in use by another runner",
                   dir);
    } else if (read_file(journal, found, ctx, damage, err) == 0) {
        *ret = journal;
        return 0;
    }
    journal_close(journal);
    return -1;
}

void journal_close(struct journal *journal)
{
    if (journal == NULL)
        return;
    if (journal->fd >= 0)
        close(journal->fd);
    if (journal->dir_fd >= 0)
        close(journal->dir_fd);
    str_done(&journal->pending);
    free(journal->path);
    free(journal->fresh_path);
    free(journal);
}

/* All or nothing: a line that was written in part is cut off again. */
static int append(int fd, const struct str *text, int64_t *size, struct runner_error *err)
{
    size_t done = 0;

    while (done < text->len) {
        ssize_t n = pwrite(fd, text->ptr + done, text->len - done, *size + (int64_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int code = n < 0 ? errno : ENOSPC;
            (void)!ftruncate(fd, *size);
            return fail_errno(err, code, "write");
        }
        done += (size_t)n;
    }
    if (fdatasync(fd) < 0)
        return fail_errno(err, errno, "fdatasync");
    *size += (int64_t)done;
    return 0;
}

int journal_append(struct journal *journal, const struct str *text, struct runner_error *err)
{
    return append(journal->fd, text, &journal->size, err) < 0 ? error_wrap(err, "'%s'", journal->path) : 0;
}

int journal_sync(struct journal *journal, struct runner_error *err)
{
    if (journal->pending.len == 0)
        return 0;
    if (journal_append(journal, &journal->pending, err) < 0)
        return -1;
    str_clear(&journal->pending);
    return 0;
}

bool journal_has_more(const struct journal *journal)
{
    return journal->pending.len > 0;
}

void journal_take(struct journal *journal, struct str *text)
{
    struct str empty = *text;

    *text = journal->pending;
    journal->pending = empty;
}

void journal_put_back(struct journal *journal, struct str *text)
{
    str_add_mem(text, journal->pending.ptr, journal->pending.len);
    str_clear(&journal->pending);
    journal_take(journal, text);
}

bool journal_is_long(const struct journal *journal)
{
    return journal->size > 2 * journal->rewritten_size + GROWTH;
}

void journal_rewrite_begin(struct journal *journal)
{
    str_clear(&journal->pending);
}

/* What is in the fresh file is durable, and then the journal. */
static int replace_by(struct journal *journal, int fd, const struct str *text, struct runner_error *err)
{
    int64_t size = 0;

    if (append(fd, text, &size, err) < 0)
        return -1;
    if (rename(journal->fresh_path, journal->path) < 0 || fsync(journal->dir_fd) < 0)
        return fail_errno(err, errno, "rename to '%s'", journal->path);
    if (journal->fd >= 0)
        close(journal->fd);
    journal->fd = fd;
    journal->size = journal->rewritten_size = size;
    return 0;
}

int journal_replace(struct journal *journal, const struct str *text, struct runner_error *err)
{
    int fd = open(journal->fresh_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return fail_errno(err, errno, "open '%s'", journal->fresh_path);
    if (replace_by(journal, fd, text, err) == 0)
        return 0;
    close(fd);
    return error_wrap(err, "'%s'", journal->fresh_path);
}

int journal_rewrite_end(struct journal *journal, struct runner_error *err)
{
    if (journal_replace(journal, &journal->pending, err) < 0)
        return -1;
    str_clear(&journal->pending);
    return 0;
}
