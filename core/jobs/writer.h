/*
 * Writes of a journal by a thread of its own, one at a time, since a disk may take seconds for one. All functions are for
 * the one thread that owns the journal, which leaves it alone while a write is under way but for adding to it.
 */
#ifndef JOBS_WRITER_H
#define JOBS_WRITER_H

#include "core/jobs/journal.h"

struct writer;

/* wake(): called by the writer's thread when a write has ended. */
int writer_start(struct journal *journal, void (*wake)(void *ctx), void *ctx, struct writer **ret,
                 struct runner_error *err);
/* Waits for the write that is under way, which is not collected any more when it succeeded: -1 when it failed, and its text
 * is the journal's again. Takes NULL. */
int writer_stop(struct writer *writer, struct runner_error *err);

/* Takes the text that was added, to append it or to make it all there is. There is none under way. */
void writer_begin(struct writer *writer, bool is_rewrite);
/* 1: a write is under way. 0: none is, and *ret_ended says whether one was, until now. -1: it failed: what was to be
 * appended is the journal's again, what was to be all there is must be added again. */
int writer_collect(struct writer *writer, bool *ret_ended, struct runner_error *err);

#endif
