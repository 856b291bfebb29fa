/* Numbers in text. Each parser takes the whole text or refuses it: no junk, blanks, stray signs or overflow. */
#ifndef UTIL_NUM_H
#define UTIL_NUM_H

#include <stdbool.h>
#include <stdint.h>

bool num_int(const char *text, int64_t min, int64_t max, int64_t *ret);
bool num_bool(const char *text, int64_t *ret);  /* true|false|yes|no|on|off */
bool num_bytes(const char *text, int64_t *ret); /* 4096, 512K, 512M, 20G, 20GiB, 1T: powers of 1024 */
bool num_factor(const char *text, int64_t *ret); /* 4, 0.25, 1.5: thousandths, at most three digits behind the point */
bool num_msec(const char *text, int64_t *ret);  /* 250ms, 30s, 5m, 2h; a bare number is refused except 0 */
int64_t num_now_ms(void);                       /* monotonic clock */
int64_t num_now_us(void);                       /* monotonic clock */
int64_t num_wall_ms(void);                      /* since 1970 */
int64_t num_wall_us(void);                      /* since 1970 */

#endif
