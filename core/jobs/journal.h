/*
 * Outcomes of jobs on the disk of this machine, so that each is told though the runner was killed (contract 2.4): a
 * file of JSON lines, appended to, and written anew at start-up and when most of it has been told. One thread.
 */
#ifndef JOBS_JOURNAL_H
#define JOBS_JOURNAL_H

#include "core/jobs/job.h"
#include "core/util/str.h"

struct journal;

/* dir is made (0700). found() gets each job that the file has, ENDED or TOLD, in order, and takes it over. A last line
 * that was cut short is dropped. Damaged lines (a crash of the machine tears what was not durable yet, anywhere in it)
 * are passed over: damage (cleared before) then names the first, and a copy of the file is kept beside it. */
int journal_open(const char *dir, void (*found)(void *ctx, struct job *job), void *ctx, struct journal **ret,
                 struct runner_error *damage, struct runner_error *err);
void journal_close(struct journal *journal); /* takes NULL */

/* Both only put it into memory. */
void journal_add(struct journal *journal, const struct job *job);
void journal_add_told(struct journal *journal, const struct job *job);
/* Writes what was added, durably. -1: it stays in memory, for the next time. */
int journal_sync(struct journal *journal, struct runner_error *err);

/* Whether a rewrite is worth it. */
bool journal_is_long(const struct journal *journal);
/* What was added and not written is forgotten: the caller adds all jobs that it keeps, then ends it. -1: the file is as it
 * was, what was added stays in memory. */
void journal_rewrite_begin(struct journal *journal);
int journal_rewrite_end(struct journal *journal, struct runner_error *err);

/* The same in parts, for the writer (writer.h): what was added is taken out (text is empty before), and may come back in
 * front of what came meanwhile; to append and to replace, on any thread, but one at a time. */
bool journal_has_more(const struct journal *journal);
void journal_take(struct journal *journal, struct str *text);
void journal_put_back(struct journal *journal, struct str *text);
int journal_append(struct journal *journal, const struct str *text, struct runner_error *err);
int journal_replace(struct journal *journal, const struct str *text, struct runner_error *err);

#endif
