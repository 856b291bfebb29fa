/* SIGINT and SIGTERM end what the program waits for, so that it can tidy up. */
#ifndef CTL_INTERRUPT_H
#define CTL_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

/* Installs the handlers; once, at start. -1 with errno. */
int interrupt_init(void);

/* Readable once a signal came, for poll(2). */
int interrupt_fd(void);

/* The signal that came, or 0. */
int interrupt_signal(void);

/* Waits; false when a signal ended it. */
bool interrupt_wait(int64_t ms);

#endif
