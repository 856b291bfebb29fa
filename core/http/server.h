/* Called by the loops. */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "core/http/http.h"

/* A draining loop has closed its last connection. Loop thread. */
void server_note_quiet(struct http_server *server);

#endif
