#include "core/uids.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/num.h"
#include "core/util/str.h"

#define UIDS_MAX 1000000u

struct uids {
    uint32_t first, n;
    pthread_mutex_t mutex; /* guards what follows */
    uint32_t next, n_taken;
    unsigned char *taken; /* a bit each */
};

bool uids_parse(const char *text, uint32_t *ret_first, uint32_t *ret_n)
{
    auto_free char *first_text = mem_dup(text);
    char *dash = strchr(first_text, '-');
    int64_t first, last;

    *ret_first = *ret_n = 0;
    if (strcmp(text, "none") == 0)
        return true;
    if (dash == NULL)
        return false;
    *dash = '\0';
    if (!num_int(first_text, 1, UINT32_MAX - 1, &first) || !num_int(dash + 1, first, UINT32_MAX - 1, &last) ||
        last - first >= UIDS_MAX)
        return false;
    *ret_first = (uint32_t)first;
    *ret_n = (uint32_t)(last - first + 1);
    return true;
}

struct uids *uids_new(uint32_t first, uint32_t n)
{
    struct uids *uids = mem_alloc(sizeof *uids);

    uids->first = first;
    uids->n = n;
    uids->taken = mem_array(n / 8 + 1, 1);
    pthread_mutex_init(&uids->mutex, NULL);
    return uids;
}

void uids_free(struct uids *uids)
{
    if (uids == NULL)
        return;
    pthread_mutex_destroy(&uids->mutex);
    free(uids->taken);
    free(uids);
}

static bool is_taken(const struct uids *uids, uint32_t i)
{
    return uids->taken[i / 8] & 1u << i % 8;
}

static void set(struct uids *uids, uint32_t i, bool is)
{
    if (is_taken(uids, i) == is)
        return;
    uids->taken[i / 8] ^= (unsigned char)(1u << i % 8);
    uids->n_taken += is ? 1 : -1u;
}

int uids_take(struct uids *uids, uint32_t *ret, struct runner_error *err)
{
    int status = 0;

    pthread_mutex_lock(&uids->mutex);
    if (uids->n_taken == uids->n) {
        status = fail(err, RUNNER_E_NOSPACE, 0, "all %" PRIu32 " user ids of the host's uids are in use", uids->n);
    } else {
        while (is_taken(uids, uids->next))
            uids->next = (uids->next + 1) % uids->n;
        set(uids, uids->next, true);
        *ret = uids->first + uids->next;
        uids->next = (uids->next + 1) % uids->n;
    }
    pthread_mutex_unlock(&uids->mutex);
    return status;
}

static void mark(struct uids *uids, uint32_t uid, bool is)
{
    if (uid < uids->first || uid - uids->first >= uids->n)
        return;
    pthread_mutex_lock(&uids->mutex);
    set(uids, uid - uids->first, is);
    pthread_mutex_unlock(&uids->mutex);
}

void uids_adopt(struct uids *uids, uint32_t uid)
{
    mark(uids, uid, true);
}

void uids_release(struct uids *uids, uint32_t uid)
{
    mark(uids, uid, false);
}
