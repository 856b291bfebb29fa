/*
 * The jobs in hand and those that ended lately, by id, so that each is done once however often it is delivered;
 * outcomes are on disk before they are told. One thread.
 */
#ifndef JOBS_LEDGER_H
#define JOBS_LEDGER_H

#include "core/jobs/job.h"

#define LEDGER_TOLD_MAX 4096 /* jobs that are remembered after they were told */

struct ledger;

/* Reads what an earlier runner left: outcomes that it did not tell are ENDED jobs again. damage: as journal_open(). */
int ledger_open(const char *state_dir, struct ledger **ret, struct runner_error *damage, struct runner_error *err);
void ledger_close(struct ledger *ledger); /* takes NULL; frees all jobs */

struct job *ledger_find(const struct ledger *ledger, const char *id);
/* A job that is RUNNING and whose id is not in it: the ledger's from now on. */
void ledger_add(struct ledger *ledger, struct job *job);
/* It has an outcome: ENDED. */
void ledger_end(struct ledger *ledger, struct job *job);
/* From now on outcomes are written by a thread, which calls wake() when some are durable. */
int ledger_start_writer(struct ledger *ledger, void (*wake)(void *ctx), void *ctx, struct runner_error *err);
/* What it has not written yet is written by the caller; afterwards there is none. Takes NULL. */
void ledger_stop_writer(struct ledger *ledger);
/* The outcomes since the last call become durable, at once or, with a writer, soon: then it is to be called again. -1: the
 * disk fails; they stay in memory, for a later call. */
int ledger_sync(struct ledger *ledger, struct runner_error *err);
/* Whether its outcome is durable, or the disk would not have it: it can be told. */
bool ledger_is_kept(const struct ledger *ledger, const struct job *job);
/* TOLD; the oldest of those may be freed. */
void ledger_tell(struct ledger *ledger, struct job *job);
/* The API asks for a TOLD one again: ENDED again. */
void ledger_untell(struct ledger *ledger, struct job *job);

const struct job_list *ledger_list(const struct ledger *ledger, enum job_state state); /* oldest first */
size_t ledger_count(const struct ledger *ledger, enum job_state state);

#endif
