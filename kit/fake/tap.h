/* TAP, for programs that check. One thread. */
#ifndef KIT_FAKE_TAP_H
#define KIT_FAKE_TAP_H

#include <stdbool.h>

void tap_ok(bool is_ok, const char *format, ...) __attribute__((format(printf, 2, 3)));
void tap_skip(const char *reason, const char *format, ...) __attribute__((format(printf, 2, 3)));
void tap_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void tap_bail_out(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
int tap_done(void); /* prints the plan; the exit status */

#endif
