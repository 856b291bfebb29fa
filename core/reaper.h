/*
 * Notices the end of VMM processes: one thread that waits on a descriptor a process (a pidfd, for a local host). For each
 * end it submits the operation OP_EXITED in the sandbox's lane.
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

#endif
