/* SHA-256 of bytes as they come. */
#ifndef OCI_DIGEST_H
#define OCI_DIGEST_H

#include <stddef.h>

struct digest;

struct digest *digest_new(void);
void digest_add(struct digest *digest, const void *data, size_t len);
/* Of all that was added, as 64 hexadecimal digits; it then begins anew. */
void digest_end(struct digest *digest, char ret_hex[65]);
void digest_restart(struct digest *digest);
void digest_free(struct digest *digest); /* takes NULL */

#endif
