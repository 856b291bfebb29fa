#include "core/identity.h"

#include <stdio.h>
#include <string.h>

/* SHA256() looks its algorithm up in libcrypto's tables at each call, which takes 30 us where the hash takes 5. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

void identity_mac(const char *id, char ret_mac[IDENTITY_MAC_SIZE])
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    SHA256_CTX sha;

    SHA256_Init(&sha);
    SHA256_Update(&sha, id, strlen(id));
    SHA256_Final(hash, &sha);
    (void)snprintf(ret_mac, IDENTITY_MAC_SIZE, "02:%02x:%02x:%02x:%02x:%02x", hash[0], hash[1], hash[2], hash[3],
                   hash[4]);
}

void identity_hostname(const char *id, char ret_hostname[IDENTITY_HOSTNAME_SIZE])
{
    size_t len = strnlen(id, IDENTITY_HOSTNAME_SIZE - 1);

    while (len > 0 && id[len - 1] == '-') /* RFC 952: a name does not end so */
        len--;
    memcpy(ret_hostname, id, len);
    ret_hostname[len] = '\0';
}
