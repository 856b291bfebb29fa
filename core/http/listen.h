/* Listening sockets. */
#ifndef HTTP_LISTEN_H
#define HTTP_LISTEN_H

#include <stdbool.h>
#include <sys/stat.h>

#include "core/util/error.h"

struct listener {
    int fd;
    bool is_unix;
    int port;       /* TCP: the one bound */
    char *path;     /* unix */
    dev_t path_dev; /* which file was made there, so that no other is removed at the end */
    ino_t path_ino;
};

/* Binds "1.2.3.4:80", "[::1]:80" (port 0: any) or "unix:/path". A unix socket that nobody listens on any more is
 * replaced; one that answers is an error (EXISTS). Its mode is 0600 from the first moment. */
int listener_open(const char *address, struct listener *ret, struct runner_error *err);
/* Closes; removes the unix socket, if it is still ours. */
void listener_close(struct listener *listener);

#endif
