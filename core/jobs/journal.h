/*
 * Outcomes of jobs on the disk of this machine, so that each is told though the runner was killed (contract 2.4): a
 * file of JSON lines, appended to, and written anew at start-up and when most of it has been told. One thread.
 */
#ifndef JOBS_JOURNAL_H
#define JOBS_JOURNAL_H

#include "core/jobs/job.h"

struct journal;

/* dir is made (0700). found() gets each job that the file has, ENDED or TOLD, in order, and takes it over. A last
 * line that was cut short is dropped, one that is damaged is an error (INVALID, with its number): nothing is
 * overwritten then. */
int journal_open(const char *dir, void (*found)(void *ctx, struct job *job), void *ctx, struct journal **ret,
                 struct runner_error *err);
void journal_close(struct journal *journal); /* takes NULL */

/* Both only put it into memory. */
void journal_add(struct journal *journal, const struct job *job);
void journal_add_told(struct journal *journal, const struct job *job);
/* Writes what was added, durably. -1: it stays in memory, for the next time. */
int journal_sync(struct journal *journal, struct runner_error *err);

/* Whether a rewrite is worth it; the caller adds all jobs that it keeps between begin and end. */
bool journal_is_long(const struct journal *journal);
int journal_rewrite_begin(struct journal *journal, struct runner_error *err);
int journal_rewrite_end(struct journal *journal, struct runner_error *err);

#endif
