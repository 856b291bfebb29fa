#include <string.h>

#include "guest/daemon/seed.h"
#include "t/fuzz/fuzz.h"
#include "t/fuzz/seed.h"

void guest_seed_check(const char *text, size_t len, const char *id)
{
    struct runner_error err = ERROR_INIT;
    struct seed seed;

    need(seed_parse(text, len, &seed, &err) == 0);
    need(strcmp(seed.id, id) == 0);
    seed_done(&seed);
}
