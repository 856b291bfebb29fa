/*
 * A QEMU for tests: takes the command line of the real one, speaks QMP as it does (texts, order, events), and plays the
 * guest too: a small daemon over HTTP on the forwarded loopback port. One process, one thread, no library.
 *
 * What it does wrong, on demand, stands in a file, a line each (see fake_wish): the one that FAKE_QEMU names, or
 * <argv[0]>.conf.<machine name>, or <argv[0]>.conf.
 */
#ifndef FAKE_QEMU_H
#define FAKE_QEMU_H

#include "t/fake/fake.h"

struct fake {
    const char *name; /* of the machine */
    const char *kernel;
    const char *state;      /* "running", "paused", ...: QMP's words */
    int qmp_listen, serial; /* descriptors, -1: none */
    bool has_kvm, has_tap, is_paused_at_start;
    bool is_powerdown_due; /* pressed while paused */
    int64_t end_at_ms;     /* when the guest's shutdown is over; 0: no shutdown */
};
extern struct fake fake;

/* Wishes, besides those of fake.h:
 *   exit STATUS TEXT       print TEXT on standard error and exit before anything else
 *   late-exit STATUS TEXT  the same, after the greeting
 *   signal N               kill itself at start by that signal
 *   no-greeting            accept and say nothing;  greeting-ms N: greet late
 *   silent CMD             never answer this command
 *   lose CMD               do it, and close without an answer
 *   cut CMD                half a line, then close;  garbage CMD: a line that is no JSON
 *   big CMD                an answer of 1 MiB;       refuse CMD TEXT: an error answer
 *   state WORD             the state after start
 *   noise                  an unrelated event before each answer
 *   ignore-powerdown, powerdown-ms N
 *   kvm work|hang          what a machine with -accel kvm does; without the line it fails
 *   serial TEXT            a line on the serial console */

/* Ends as QEMU does: one line on standard error, status 1. */
_Noreturn void fake_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A clean end: the socket's path is removed. */
_Noreturn void fake_end(int status);

/* fake-qmp.c */
void qmp_event(const char *event, const char *data); /* data: JSON or NULL; nothing without a negotiated client */
int qmp_poll_add(struct pollfd *set);                /* entries added */
void qmp_poll_done(const struct pollfd *set, int n);
int64_t qmp_wake_at_ms(void); /* 0: never */

#endif
