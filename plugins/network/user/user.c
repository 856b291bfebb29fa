/* network/user: the VMM's own user-mode network. No privilege, no TAP: the guest's daemon is met at a forwarded port.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "core/util/error.h"
#include "core/util/str.h"

/* What QEMU's user network gives its one guest; every sandbox has a network of its own, so all may have the same. */
#define GUEST_ADDRESS "10.0.2.15"
#define GUEST_GATEWAY "10.0.2.2"
#define GUEST_PREFIX  24

#define BUCKETS    1024
#define PROBES_MAX 1024 /* ports tried that somebody else listens at, before giving up */

static const struct runner_host *host;

struct port { /* of a sandbox */
    struct port *next;
    char *id;
    uint32_t number;
};

struct user {
    uint32_t first, last, guest_port; /* constant, as dns is */
    char dns[46];
    pthread_mutex_t lock;        /* what follows */
    struct port *ports[BUCKETS]; /* by number */
    uint32_t cursor;             /* where the next search begins */
};

static const struct runner_param user_params[] = {
    {.name = "first_port",
     .dflt = "20000",
     .doc = "first of the ports on 127.0.0.1 that are forwarded to guests",
     .type = RUNNER_T_INT,
     .min = 1024,
     .max = 65535},
    {.name = "last_port", .dflt = "29999", .doc = "last of them", .type = RUNNER_T_INT, .min = 1024, .max = 65535},
    {.name = "guest_port",
     .dflt = "2280",
     .doc = "port in the guest that is forwarded: the daemon's",
     .type = RUNNER_T_INT,
     .min = 1,
     .max = 65535},
    {.name = "dns",
     .dflt = "",
     .doc = "name server of the guests; empty: none. QEMU's own is 10.0.2.3",
     .type = RUNNER_T_STRING},
};

/* ---- life ------------------------------------------------------------------------------------------------------- */

static int user_load(const struct runner_host *table, struct runner_error *err)
{
    (void)err;
    host = table;
    return 0;
}

static void port_free(struct port *p)
{
    free(p->id);
    free(p);
}

static void user_destroy(void *self)
{
    struct user *u = self;

    if (u == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (u->ports[i] != NULL) {
            struct port *p = u->ports[i];
            u->ports[i] = p->next;
            port_free(p);
        }
    pthread_mutex_destroy(&u->lock);
    free(u);
}

static int set_dns(struct user *u, const char *text, struct runner_error *err)
{
    struct in_addr address;

    if (text[0] != '\0' && inet_pton(AF_INET, text, &address) != 1)
        return fail(err, RUNNER_E_INVALID, 0, "network.dns: '%s' is no IPv4 address", text);
    (void)snprintf(u->dns, sizeof u->dns, "%s", text);
    return 0;
}

static int set_values(struct user *u, const struct runner_value *values, size_t n, struct runner_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(values[i].name, "first_port") == 0)
            u->first = (uint32_t)values[i].number;
        else if (strcmp(values[i].name, "last_port") == 0)
            u->last = (uint32_t)values[i].number;
        else if (strcmp(values[i].name, "guest_port") == 0)
            u->guest_port = (uint32_t)values[i].number;
        else if (strcmp(values[i].name, "dns") == 0 && set_dns(u, values[i].text, err) < 0)
            return -1;
    }
    if (u->first > u->last)
        return fail(err, RUNNER_E_INVALID, 0, "network.last_port: %u is below first_port %u", u->last, u->first);
    u->cursor = u->first;
    return 0;
}

static int user_create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    struct user *u = mem_alloc(sizeof *u);

    pthread_mutex_init(&u->lock, NULL);
    if (set_values(u, values, n, err) < 0) {
        user_destroy(u);
        return -1;
    }
    *ret_self = u;
    return 0;
}

/* ---- ports ------------------------------------------------------------------------------------------------------ */

/* Called with the lock held: where the port of this number is linked, or the end of its bucket. */
static struct port **link_of(struct user *u, uint32_t number)
{
    struct port **link = &u->ports[number % BUCKETS];

    while (*link != NULL && (*link)->number != number)
        link = &(*link)->next;
    return link;
}

/* Whether this sandbox has it now: it had already, or it was nobody's. */
static bool reserve(struct user *u, const char *id, uint32_t number)
{
    struct port **link, *p;
    bool is_ours;

    pthread_mutex_lock(&u->lock);
    link = link_of(u, number);
    if (*link == NULL) {
        p = mem_alloc(sizeof *p);
        *p = (struct port){.id = mem_dup(id), .number = number};
        *link = p;
    }
    is_ours = strcmp((*link)->id, id) == 0;
    pthread_mutex_unlock(&u->lock);
    return is_ours;
}

/* When it is this sandbox's. */
static void give_back(struct user *u, const char *id, uint32_t number)
{
    struct port **link, *p;

    pthread_mutex_lock(&u->lock);
    link = link_of(u, number);
    p = *link;
    if (p != NULL && strcmp(p->id, id) == 0) {
        *link = p->next;
        port_free(p);
    }
    pthread_mutex_unlock(&u->lock);
}

/* The next of our numbers that is nobody's, reserved; 0: all are taken. */
static uint32_t next_port(struct user *u, const char *id)
{
    uint32_t count = u->last - u->first + 1;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t number;

        pthread_mutex_lock(&u->lock);
        number = u->cursor;
        u->cursor = number == u->last ? u->first : number + 1;
        pthread_mutex_unlock(&u->lock);
        if (reserve(u, id, number))
            return number;
    }
    return 0;
}

/* 1: nobody listens there; 0: somebody does; -1: not known. */
static int probe(struct runner_call *call, uint32_t number, struct runner_error *err)
{
    auto_free char *address = mem_printf("bind:127.0.0.1:%u", number);
    struct runner_error cause = ERROR_INIT;
    int fd = -1;

    if (host->dial(call, address, &fd, &cause) == 0) {
        close(fd);
        return 1;
    }
    if (cause.code == RUNNER_E_BUSY)
        return 0;
    if (err != NULL)
        error_copy(err, &cause);
    return -1;
}

static int find_port(struct user *u, struct runner_call *call, const char *id, uint32_t *ret_number,
                     struct runner_error *err)
{
    uint32_t count = u->last - u->first + 1, n_probes = count < PROBES_MAX ? count : PROBES_MAX;

    for (uint32_t i = 0; i < n_probes; i++) {
        uint32_t number = next_port(u, id);
        int is_free;

        if (number == 0)
            return fail(err, RUNNER_E_NOSPACE, 0, "network/user: all ports from %u to %u are taken", u->first, u->last);
        is_free = probe(call, number, err);
        if (is_free > 0) {
            *ret_number = number;
            return 0;
        }
        give_back(u, id, number); /* a foreign program's: it is asked again when the search comes round */
        if (is_free < 0)
            return -1;
    }
    return fail(err, RUNNER_E_BUSY, 0, "network/user: other programs listen at %u of the ports from %u to %u", n_probes,
                u->first, u->last);
}

/* ---- operations ------------------------------------------------------------------------------------------------- */

static int user_setup(void *self, struct runner_call *call, struct runner_error *err)
{
    (void)self;
    (void)call;
    (void)err;
    return 0; /* nothing is shared */
}

static int user_attach(void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                       struct runner_nic *nic, struct runner_error *err)
{
    struct user *u = self;
    uint32_t number = nic->forward_port;
    int is_free = 0;

    (void)batch; /* the VMM makes the network */
    if (number >= u->first && number <= u->last && reserve(u, id, number))
        is_free = probe(call, number, err);
    if (is_free <= 0)
        give_back(u, id, nic->forward_port); /* that of its last start, another's or out of bounds by now */
    if (is_free < 0 || (is_free == 0 && find_port(u, call, id, &number, err) < 0))
        return -1;
    nic->kind = RUNNER_NIC_USER;
    nic->name[0] = '\0';
    (void)snprintf(nic->address, sizeof nic->address, GUEST_ADDRESS);
    (void)snprintf(nic->gateway, sizeof nic->gateway, GUEST_GATEWAY);
    memcpy(nic->dns, u->dns, sizeof nic->dns);
    nic->prefix_len = GUEST_PREFIX;
    nic->forward_port = number;
    nic->guest_port = u->guest_port;
    return 0;
}

/* The VMM's end is all: its port stays this sandbox's for as long as a record says so. */
static int user_detach(void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                       const struct runner_nic *nic, struct runner_error *err)
{
    (void)self;
    (void)call;
    (void)batch;
    (void)id;
    (void)nic;
    (void)err;
    return 0;
}

static int user_release(void *self, const char *id, struct runner_error *err)
{
    struct user *u = self;

    (void)err;
    pthread_mutex_lock(&u->lock);
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct port **link = &u->ports[i]; *link != NULL;) {
            struct port *p = *link;

            if (strcmp(p->id, id) != 0) {
                link = &p->next;
                continue;
            }
            *link = p->next;
            port_free(p);
        }
    pthread_mutex_unlock(&u->lock);
    return 0;
}

static int user_adopt(void *self, struct runner_call *call, const char *id, const struct runner_nic *nic,
                      struct runner_error *err)
{
    (void)call;
    if (nic->kind != RUNNER_NIC_USER || nic->forward_port == 0)
        return 0;
    if (!reserve(self, id, nic->forward_port))
        return fail(err, RUNNER_E_EXISTS, 0, "port %u is another sandbox's", nic->forward_port);
    return 0;
}

static int user_sweep(void *self, struct runner_call *call, const struct runner_nic *const *owned, size_t n,
                      struct runner_error *err)
{
    (void)self;
    (void)call;
    (void)owned;
    (void)n;
    (void)err;
    return 0; /* a forwarded port ends with its VMM */
}

static int user_address(void *self, const struct runner_nic *nic, uint32_t guest_port, char *ret_address, size_t size,
                        struct runner_error *err)
{
    int n;

    (void)self;
    if (guest_port != nic->guest_port || nic->forward_port == 0)
        return fail(err, RUNNER_E_NOTSUP, 0, "network/user forwards port %u of the guest only, not %u", nic->guest_port,
                    guest_port);
    n = snprintf(ret_address, size, "tcp:127.0.0.1:%u", nic->forward_port);
    if (n < 0 || (size_t)n >= size)
        return fail(err, RUNNER_E_INVALID, 0, "no room for an address in %zu bytes", size);
    return 0;
}

static const struct runner_network_ops user_ops = {
    .setup = user_setup,
    .attach = user_attach,
    .detach = user_detach,
    .adopt = user_adopt,
    .sweep = user_sweep,
    .address = user_address,
    .release = user_release,
};

static const struct runner_plugin user_plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_NETWORK, "user", user_ops),
    .threads = RUNNER_PARALLEL,
    .n_params = ARRAY_LEN(user_params),
    .params = user_params,
    .caps = RUNNER_NETWORK_CAP_OWN_ADDRESS | RUNNER_NETWORK_CAP_USER_NIC,
    .version = "1.0",
    .summary = "the VMM's user-mode network: no privilege, the daemon at a forwarded port of 127.0.0.1",
    .load = user_load,
    .create = user_create,
    .destroy = user_destroy,
};

RUNNER_PLUGIN(user_plugin)
