/*
 * Notices the end of VMM processes: one thread that waits on a descriptor a process (a pidfd, for a local host). For
 * each end it submits the operation OP_EXITED in the sandbox's lane. What cannot be watched, or dealt with, is looked
 * at again later.
 */
#ifndef CORE_REAPER_H
#define CORE_REAPER_H

#include "core/engine.h"

struct reaper *reaper_new(struct engine *engine); /* NULL: out of descriptors or threads */
void reaper_stop(struct reaper *reaper);          /* joins the thread: no end is noticed any more; once */
void reaper_free(struct reaper *reaper);          /* after reaper_stop(), when no operation runs any more; takes NULL */

/* From the sandbox's lane. Watching twice is fine; a process that ended already is noticed at once. */
void reaper_watch(struct reaper *reaper, struct sandbox *sandbox);
/* From the sandbox's lane: its process is about to be ended on purpose. */
void reaper_forget(struct reaper *reaper, struct sandbox *sandbox);

/* From the sandbox's lane. Something of it is as it should not stay, and nobody will ask: it is recovered, as at
 * start-up, in a quarter of a second, then in half of one, at last every minute. */
void reaper_again(struct reaper *reaper, struct sandbox *sandbox);
/* All is as its record says. */
void reaper_settled(struct reaper *reaper, struct sandbox *sandbox);

#endif
