/* Sessions: a shell that lives on between the commands that are given to it, one after the other. */
#ifndef GUEST_SESSION_H
#define GUEST_SESSION_H

#include <event2/event.h>

#include "core/util/json.h"

/* entrypoint: argv of the sandbox's own program, run in session "entrypoint", or NULL. */
void session_init(struct event_base *base, const struct json *entrypoint);
void session_done(void);

#endif
