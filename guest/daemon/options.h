/* The command line of runner-guestd. */
#ifndef GUEST_OPTIONS_H
#define GUEST_OPTIONS_H

#include <stdbool.h>

#include "core/util/error.h"

struct options {
    const char *address; /* of the listener */
    int port;            /* -1: the seed's daemonPort, else 2280; 0: any */
    const char *seed;    /* path of a runner.json, "auto" for the disk labelled cidata, NULL: none */
    bool wants_help, wants_version;
};

/* INVALID names the argument. The texts point into argv. */
int options_parse(int argc, char **argv, struct options *ret, struct runner_error *err);
void options_usage(void);

#endif
