/* What the points about transports share. Names are relative to the working directory, which is the point's own. */
#ifndef KIT_TRANSPORT_H
#define KIT_TRANSPORT_H

#include "kit/op.h"

const struct runner_transport_ops *transport_of(const struct subject *s);

void place_file(const char *name, const char *text);
void place_nothing(const char *name);
bool is_there(const char *name);
bool file_holds(const char *name, const char *text);

/* The absolute path of a name; valid until 64 more were made. */
char *at(const struct subject *s, const char *name);
/* At most 8 steps at once under the trial's fault; the last one's result, without its out. */
void run_steps(struct subject *s, struct trial *t, const struct runner_step *steps, size_t n,
               struct runner_result *ret);

/* transport-batch.c: batches and processes. */
void transport_add_points(struct checklist *list, const struct plugin *plugin);

#endif
