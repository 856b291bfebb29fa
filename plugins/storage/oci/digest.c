#include "plugins/storage/oci/digest.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "core/util/str.h"

struct digest {
    EVP_MD_CTX *context;
};

struct digest *digest_new(void)
{
    struct digest *digest = mem_alloc(sizeof *digest);

    digest->context = EVP_MD_CTX_new();
    digest_restart(digest);
    return digest;
}

void digest_restart(struct digest *digest)
{
    if (digest->context == NULL || EVP_DigestInit_ex(digest->context, EVP_sha256(), NULL) != 1)
        mem_die();
}

void digest_add(struct digest *digest, const void *data, size_t len)
{
    if (EVP_DigestUpdate(digest->context, data, len) != 1)
        mem_die();
}

void digest_end(struct digest *digest, char ret_hex[65])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (EVP_DigestFinal_ex(digest->context, sum, &n) != 1 || n != 32)
        mem_die();
    for (unsigned i = 0; i < n; i++)
        (void)snprintf(ret_hex + 2 * i, 3, "%02x", sum[i]);
    digest_restart(digest);
}

void digest_free(struct digest *digest)
{
    if (digest == NULL)
        return;
    EVP_MD_CTX_free(digest->context);
    free(digest);
}
