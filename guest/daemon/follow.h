/* A log as it grows: chunked text for plain requests, messages for WebSocket ones. */
#ifndef GUEST_FOLLOW_H
#define GUEST_FOLLOW_H

#include "guest/daemon/log.h"
#include "guest/daemon/server.h"

/* Answers with the whole log and what is added to it, until it ends or the client leaves. A WebSocket always gets
 * marks: the SDK takes the streams apart by them. */
void follow_log(struct exchange *x, struct log *log, bool with_marks);

#endif
