/* What the fake VMMs share: wishes, the clock, and the guest, a small daemon over HTTP on loopback. */
#ifndef FAKE_H
#define FAKE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_POLL_MAX 128

/* fake-wish.c: what a fake does wrong, on demand, stands in a file, a line each. */
bool fake_wishes_read(const char *path); /* false: there is no such file */
const char *fake_wish(const char *word); /* the value of a line ("" when it has none), NULL without the line */
int64_t fake_wish_ms(const char *word);  /* 0 without */
/* The rest of the wish `word` when its first word is first, else NULL. */
const char *fake_wish_for(const char *word, const char *first);
int64_t fake_now_ms(void);

/* fake-guest.c, which understands the wishes
 *   no-guest               nobody listens in the guest;  guest-ms N: its daemon comes up late
 *   guest-at ID ADDRESS    where the guest of that sandbox, or any, is met, whatever its seed says */
extern bool guest_is_stopped;                       /* then it does nothing: paused, or not booted yet */
bool guest_listen(uint32_t address, uint16_t port); /* host byte order; false: that cannot be listened at */
/* What a seed volume (core/seed.c) tells the guest; a file that is none tells nothing. GET /guest answers
 * {"id":"..","pid":N} with the id and the VMM's process. */
void guest_read_seed(const char *path);
uint32_t guest_address(void); /* by its seed, host byte order; 0: none, or one of loopback (loopback.h) */
void guest_close(void);       /* the guest has ended, its connections with it */
int guest_poll_add(struct pollfd *set, int max); /* entries added */
void guest_poll_done(const struct pollfd *set, int n);

#endif
