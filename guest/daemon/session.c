#include "guest/daemon/session.h"

void session_init(struct event_base *base, const struct json *entrypoint)
{
    (void)base;
    (void)entrypoint;
}

void session_done(void)
{
}
