/* Process 1 of the tiny image: boots the guest, keeps the server running, reaps, powers off. */
#ifndef GUEST_INIT_H
#define GUEST_INIT_H

#include "guest/daemon/options.h"

/* Never returns: a boot that fails says why on the console and powers off. */
_Noreturn void init_main(const struct options *o);

#endif
