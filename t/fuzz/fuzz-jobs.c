/*
 * What the Daytona API delivers, jobs and their payloads; the journal of their outcomes, which a crash may have cut.
 * A job that is taken has an id by which it can be answered, and its outcome is read again from the journal as it was
 * written.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "core/jobs/journal.h"
#include "t/fuzz/fuzz.h"

static char dir[64]; /* in memory where there is such a place; gone at the end */

static void dir_remove(void)
{
    auto_free char *file = mem_printf("%s/jobs.journal", dir), *fresh = mem_printf("%s.new", file);
    auto_free char *damaged = mem_printf("%s.damaged", file);

    (void)unlink(damaged);
    (void)unlink(file);
    (void)unlink(fresh);
    (void)rmdir(dir);
}

static void dir_init(void)
{
    if (dir[0] != '\0')
        return;
    (void)snprintf(dir, sizeof dir, "%s/fuzz-jobs.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    need(mkdtemp(dir) != NULL);
    (void)atexit(dir_remove);
}

static void put_journal(const char *text, size_t len)
{
    auto_free char *path = mem_printf("%s/jobs.journal", dir);
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    need(fd >= 0 && write(fd, text, len) == (ssize_t)len);
}

/* ---- the journal ---- */

struct found {
    struct job *first, *last;
    size_t n;
};

static void on_found(void *ctx, struct job *job)
{
    struct found *found = ctx;

    need(job_is_id(job->id) && (job->state == JOB_ENDED || job->state == JOB_TOLD));
    if (found->last != NULL)
        found->last->next = job;
    else
        found->first = job;
    found->last = job;
    found->n++;
}

static void found_done(struct found *found)
{
    for (struct job *job = found->first, *next; job != NULL; job = next) {
        next = job->next;
        job_free(job);
    }
}

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void need_same(const struct job *a, const struct job *b)
{
    need(strcmp(a->id, b->id) == 0 && a->state == b->state && a->is_failed == b->is_failed);
    need(is_same_text(a->name, b->name) && is_same_text(a->resource, b->resource));
    need(is_same_text(a->error, b->error) && is_same_text(a->result, b->result));
}

/* Written anew, as at start-up, and read again. */
static void need_kept(struct journal *journal, const struct found *found)
{
    struct found again = {NULL, NULL, 0};
    struct runner_error damage = ERROR_INIT, err = ERROR_INIT;

    journal_rewrite_begin(journal);
    for (const struct job *job = found->first; job != NULL; job = job->next)
        if (job->state == JOB_TOLD)
            journal_add_told(journal, job);
        else
            journal_add(journal, job);
    need(journal_rewrite_end(journal, &err) == 0);
    journal_close(journal);
    need(journal_open(dir, on_found, &again, &journal, &damage, &err) == 0 && damage.code == 0 && again.n == found->n);
    for (const struct job *a = found->first, *b = again.first; a != NULL; a = a->next, b = b->next)
        need_same(a, b);
    journal_close(journal);
    found_done(&again);
}

static void read_journal(const char *text, size_t len)
{
    struct found found = {NULL, NULL, 0};
    struct journal *journal = NULL;
    struct runner_error damage = ERROR_INIT, err = ERROR_INIT;

    put_journal(text, len);
    need(journal_open(dir, on_found, &found, &journal, &damage, &err) == 0);
    if (damage.code != 0)
        need_reason(&damage);
    need_kept(journal, &found);
    found_done(&found);
}

/* ---- jobs ---- */

static void read_job(const struct json *from)
{
    struct found found = {NULL, NULL, 0};
    struct runner_error damage = ERROR_INIT, err = ERROR_INIT;
    struct journal *journal = NULL;
    struct job *job = NULL;

    if (job_parse(from, &job, &err) < 0) {
        need_reason(&err);
        return;
    }
    need(job_is_id(job->id) && (job->payload == NULL || job->payload->type == JSON_OBJECT));
    job_fail(job, job->payload_problem != NULL ? job->payload_problem : job->resource);
    job->state = JOB_ENDED;
    put_journal("", 0);
    need(journal_open(dir, on_found, &found, &journal, &damage, &err) == 0 && found.n == 0);
    found = (struct found){job, job, 1};
    need_kept(journal, &found);
    job_free(job);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_json struct json *poll = NULL;
    const struct json *list;

    dir_init();
    read_journal((const char *)data, size);
    if (json_parse((const char *)data, size, &poll, NULL) < 0)
        return 0;
    list = json_get(poll, "jobs");
    for (const struct json *j = list != NULL ? list->first : NULL; j != NULL; j = j->next)
        read_job(j);
    return 0;
}
