#include <criterion/criterion.h>

#include "core/identity.h"
#include "core/util/cleanup.h"
#include "core/util/text.h"

/* sha256sum says: the first ten digits. */
Test(identity, d10_mac_is_02_and_sha256)
{
    static const struct {
        const char *id, *mac;
    } cases[] = {
        {"abc", "02:ba:78:16:bf:8f"}, /* FIPS 180-4's own example */
        {"", "02:e3:b0:c4:42:98"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char mac[IDENTITY_MAC_SIZE];
        identity_mac(cases[i].id, mac);
        cr_assert_str_eq(mac, cases[i].mac);
    }
}

Test(identity, d10_hostname_is_12_characters)
{
    static const struct {
        const char *id, *hostname;
    } cases[] = {
        {"123e4567-e89b-12d3-a456-426614174000", "123e4567-e89"},
        {"a", "a"},
        {"abcdefghijkl", "abcdefghijkl"},
        {"abcdefghijk-m", "abcdefghijk"},
        {"a----------------------b", "a"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char hostname[IDENTITY_HOSTNAME_SIZE];
        identity_hostname(cases[i].id, hostname);
        cr_assert_str_eq(hostname, cases[i].hostname);
        cr_assert(text_is_id(hostname));
    }
}
