/* The daemon as a unit of a systemd that knows nothing of it: all in /run, so that the image stays as it is. */
#ifndef GUEST_UNIT_H
#define GUEST_UNIT_H

#include "core/util/error.h"

/* Copies this program to /run, and a unit for it to where systemd will look. /run is mounted. */
int unit_install(struct runner_error *err);

#endif
