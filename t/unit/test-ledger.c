/* What ended is told by the next runner too, whatever the crash left of the journal. */
#include "core/jobs/ledger.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[96], kept[112];

static void set_up(void)
{
    (void)snprintf(dir, sizeof dir, "/tmp/test-ledger.XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/jobs.journal", dir);
    (void)snprintf(kept, sizeof kept, "%s.damaged", path);
}

static void tear_down(void)
{
    (void)unlink(path);
    (void)unlink(kept);
    (void)rmdir(dir);
}

static struct ledger *open_damaged(struct runner_error *damage)
{
    struct runner_error err = ERROR_INIT;
    struct ledger *ledger = NULL;

    cr_assert_eq(ledger_open(dir, &ledger, damage, &err), 0, "%s", err.message);
    return ledger;
}

static struct ledger *open_ledger(void)
{
    struct runner_error damage = ERROR_INIT;
    struct ledger *ledger = open_damaged(&damage);

    cr_assert_eq(damage.code, 0, "%s", damage.message);
    return ledger;
}

static struct job *add(struct ledger *ledger, const char *id)
{
    struct job *job = job_new(id);

    job->name = mem_dup("STOP_SANDBOX");
    job->resource = mem_dup("box");
    ledger_add(ledger, job);
    return job;
}

static void sync_ledger(struct ledger *ledger)
{
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(ledger_sync(ledger, &err), 0, "%s", err.message);
}

static void append(const char *text)
{
    FILE *file = fopen(path, "a");

    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
}

TestSuite(ledger, .init = set_up, .fini = tear_down);

Test(ledger, untold_outcomes_come_back_as_they_were)
{
    struct ledger *ledger = open_ledger();
    struct job *failed = add(ledger, "a1"), *completed = add(ledger, "a2"), *told = add(ledger, "a3");
    struct stat status;

    (void)add(ledger, "a4"); /* runs: the API's list will say so */
    job_fail(failed, "no \"room\"\n");
    job_complete(completed, mem_dup("{\"daemonVersion\":\"1\"}"));
    job_complete(told, NULL);
    ledger_end(ledger, failed);
    ledger_end(ledger, completed);
    ledger_end(ledger, told);
    ledger_tell(ledger, told);
    sync_ledger(ledger);
    cr_assert_eq(stat(path, &status), 0);
    cr_assert_eq(status.st_mode & 07777, 0600);
    ledger_close(ledger);

    ledger = open_ledger();
    cr_assert_eq(ledger_count(ledger, JOB_ENDED), 2);
    cr_assert_eq(ledger_count(ledger, JOB_TOLD), 1);
    cr_assert_null(ledger_find(ledger, "a4"));
    failed = ledger_find(ledger, "a1");
    completed = ledger_find(ledger, "a2");
    cr_assert_eq(TAILQ_FIRST(ledger_list(ledger, JOB_ENDED)), failed, "the order is kept");
    cr_assert(failed->is_failed);
    cr_assert_str_eq(failed->error, "no \"room\"\n");
    cr_assert_str_eq(failed->resource, "box");
    cr_assert_not(completed->is_failed);
    cr_assert_str_eq(completed->result, "{\"daemonVersion\":\"1\"}");
    ledger_close(ledger);
}

Test(ledger, a_line_cut_short_is_dropped)
{
    struct ledger *ledger = open_ledger();
    struct job *job = add(ledger, "b1");

    job_complete(job, NULL);
    ledger_end(ledger, job);
    sync_ledger(ledger);
    ledger_close(ledger);
    append("{\"job\":\"b2\",\"type\":\"ST");

    ledger = open_ledger();
    cr_assert_not_null(ledger_find(ledger, "b1"));
    cr_assert_null(ledger_find(ledger, "b2"));
    ledger_close(ledger);
}

static void cr_assert_text_of(const char *file, const char *text)
{
    char found[256] = "";
    FILE *from = fopen(file, "r");

    cr_assert_not_null(from, "%s", file);
    (void)!fread(found, 1, sizeof found - 1, from);
    fclose(from);
    cr_assert_str_eq(found, text);
}

Test(ledger, damaged_lines_are_passed_over_told_and_kept)
{
    static const char text[] = "{\"job\":\"c1\"}\nnonsense\n{\"job\":\"../c2\"}\n{\"job\":\"c3\"}\n";
    struct runner_error damage = ERROR_INIT;
    struct ledger *ledger = open_ledger();

    ledger_close(ledger);
    append(text);
    ledger = open_damaged(&damage);
    cr_assert_eq(damage.code, RUNNER_E_INVALID);
    cr_assert_not_null(strstr(damage.message, "jobs.journal', now 'jobs.journal.damaged': line 2: "), "%s",
                       damage.message);
    cr_assert_eq(ledger_count(ledger, JOB_ENDED), 2);
    cr_assert_not_null(ledger_find(ledger, "c3"), "what follows the damage counts");
    cr_assert_text_of(kept, text);
    ledger_close(ledger);
    ledger_close(open_ledger()); /* it is whole again */
    cr_assert_text_of(kept, text);
}

Test(ledger, a_page_that_never_reached_the_disk_is_passed_over)
{
    struct runner_error damage = ERROR_INIT;
    struct ledger *ledger = open_ledger();
    FILE *file;

    ledger_close(ledger);
    append("{\"job\":\"f1\"}\n");
    file = fopen(path, "a");
    cr_assert_not_null(file);
    for (size_t i = 0; i < 3 * 65536; i++) /* longer than a line may be */
        (void)fputc('\0', file);
    fclose(file);
    append("\n{\"job\":\"f2\"}\n");
    ledger = open_damaged(&damage);
    cr_assert_not_null(strstr(damage.message, "line 2: too long"), "%s", damage.message);
    cr_assert_not_null(ledger_find(ledger, "f1"));
    cr_assert_not_null(ledger_find(ledger, "f2"));
    ledger_close(ledger);
}

Test(ledger, damage_that_can_not_be_kept_is_an_error_and_nothing_is_overwritten)
{
    static const char text[] = "nonsense\n";
    struct runner_error damage = ERROR_INIT, err = ERROR_INIT;
    struct ledger *ledger = open_ledger();

    ledger_close(ledger);
    (void)unlink(path);
    append(text);
    cr_assert_eq(mkdir(kept, 0700), 0);
    cr_assert_eq(ledger_open(dir, &ledger, &damage, &err), -1);
    cr_assert_not_null(strstr(err.message, "keep the damaged"), "%s", err.message);
    cr_assert_text_of(path, text);
    cr_assert_eq(rmdir(kept), 0);
}

Test(ledger, two_runners_do_not_share_it)
{
    struct ledger *ledger = open_ledger(), *other;
    struct runner_error damage = ERROR_INIT, err = ERROR_INIT;

    cr_assert_eq(ledger_open(dir, &other, &damage, &err), -1);
    cr_assert_eq(err.code, RUNNER_E_BUSY);
    ledger_close(ledger);
    ledger_close(open_ledger());
}

Test(ledger, it_stays_small)
{
    struct ledger *ledger = open_ledger();
    struct stat status;

    for (int i = 0; i < 100000; i++) {
        char id[16];
        struct job *job;
        (void)snprintf(id, sizeof id, "%x", i);
        job = add(ledger, id);
        job_complete(job, NULL);
        ledger_end(ledger, job);
        ledger_tell(ledger, job);
        if (i % 1000 == 0)
            sync_ledger(ledger);
    }
    sync_ledger(ledger);
    cr_assert_eq(ledger_count(ledger, JOB_TOLD), LEDGER_TOLD_MAX);
    cr_assert_null(ledger_find(ledger, "0"));
    cr_assert_eq(stat(path, &status), 0);
    cr_assert_lt(status.st_size, 8 << 20);
    ledger_close(ledger);
}

Test(ledger, payloads_go_with_the_work)
{
    static const char payload[] = "{\"authToken\":\"x\"}";
    struct ledger *ledger = open_ledger();
    struct job *job = add(ledger, "d1");
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(json_parse(payload, strlen(payload), &job->payload, &err), 0);
    job_complete(job, NULL);
    ledger_end(ledger, job);
    cr_assert_null(job->payload);
    ledger_close(ledger);
}

Test(ledger, one_that_is_asked_for_again_is_told_again)
{
    struct ledger *ledger = open_ledger();
    struct job *job = add(ledger, "e1");

    job_fail(job, "because");
    ledger_end(ledger, job);
    ledger_tell(ledger, job);
    cr_assert_eq(job->state, JOB_TOLD);
    ledger_untell(ledger, job);
    cr_assert_eq(TAILQ_FIRST(ledger_list(ledger, JOB_ENDED)), job);
    cr_assert_str_eq(job->error, "because");
    ledger_close(ledger);
}
