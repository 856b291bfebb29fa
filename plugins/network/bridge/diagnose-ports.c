/* Whether ports of a bridge hold back what they should: frames are sent from one to another, on a bridge of the trial's own. */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "core/util/cleanup.h"
#include "core/util/num.h"
#include "plugins/network/bridge/diagnose.h"
#include "plugins/network/bridge/shaper.h"

#define VNET_HDR_BYTES 12
#define FRAME_BYTES    60
#define TYPE           0x88b5 /* IEEE 802, for experiments: no rules of others are about it, and bridges pass it on */
#define ROUND_MS       50
#define PASS_MS        3000 /* a bridge's port passes frames a second after its TAP was opened, at the latest */

enum { BOUND, OTHER, OPEN, N_TAPS }; /* two guests' ports, and one without any flag */

struct trial {
    const struct look *look;
    char bridge[IFNAME_SIZE], taps[N_TAPS][IFNAME_SIZE];
    int fds[N_TAPS];
};

static const char *const macs[N_TAPS] = {"02:72:00:00:00:01", "02:72:00:00:00:02", "02:72:00:00:00:03"};

/* ---- interfaces --------------------------------------------------------------------------------------------------- */

static int add_bridge(const struct trial *t, struct runner_batch *batch, struct runner_error *err)
{
    const char *const add[] = {"ip", "link", "add", "name", t->bridge, "type", "bridge", "forward_delay", "0", NULL};
    const char *const up[] = {"ip", "link", "set", "dev", t->bridge, "up", NULL};
    const char *const drop[] = {"ip", "link", "del", "dev", t->bridge, NULL};
    const struct runner_step undo = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = drop};
    const struct runner_step steps[] = {
        {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = add, .undo = &undo},
        {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = up},
    };

    return bridge_host->add(batch, &steps[0], err) < 0 || bridge_host->add(batch, &steps[1], err) < 0 ? -1 : 0;
}

static int add_tap(const struct trial *t, int i, struct runner_batch *batch, struct runner_error *err)
{
    const struct runner_port port = {.size = sizeof port, .mac = macs[i]};
    const struct runner_step undo = {.size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = t->taps[i]};
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_TAP_ADD,
                                     .flags = i != OPEN ? RUNNER_S_ISOLATED : 0,
                                     .path = t->taps[i],
                                     .to = t->bridge,
                                     .port = i != OPEN ? &port : NULL,
                                     .number = geteuid(),
                                     .undo = &undo};

    return bridge_host->add(batch, &step, err);
}

static int make(const struct trial *t, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(t->look->call);

    if (add_bridge(t, batch, err) < 0)
        return -1;
    for (int i = 0; i < N_TAPS; i++)
        if (add_tap(t, i, batch, err) < 0)
            return -1;
    return bridge_host->run(t->look->call, batch, err);
}

static int drop(const struct trial *t, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(t->look->call);
    const char *const argv[] = {"ip", "link", "del", "dev", t->bridge, NULL};
    const struct runner_step bridge = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = argv};

    for (int i = 0; i < N_TAPS; i++) {
        const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = t->taps[i]};

        if (bridge_host->add(batch, &step, err) < 0)
            return -1;
    }
    if (bridge_host->add(batch, &bridge, err) < 0)
        return -1;
    return bridge_host->run(t->look->call, batch, err);
}

/* ---- frames ------------------------------------------------------------------------------------------------------- */

static void put_mac(uint8_t to[6], int i)
{
    static const uint8_t first[] = {0x02, 0x72, 0, 0, 0};

    memcpy(to, first, sizeof first);
    to[5] = (uint8_t)(i + 1);
}

/* By one port, as the guest of another, to a third one's. The port it went in by is its content. */
static void send_frame(const struct trial *t, int by, int as, int to)
{
    uint8_t frame[VNET_HDR_BYTES + FRAME_BYTES] = {0}, *at = frame + VNET_HDR_BYTES;

    put_mac(at, to);
    put_mac(at + 6, as);
    at[12] = TYPE >> 8;
    at[13] = TYPE & 0xff;
    at[14] = (uint8_t)by;
    (void)!write(t->fds[by], frame, sizeof frame); /* one that is lost is sent again */
}

struct seen { /* frames that came */
    bool is_other_reached,
        is_other_isolated;                /* the second guest, by the open port: as it should; by the first guest's */
    bool is_open_reached, is_open_fooled; /* the open one, by the first guest as itself; as the second */
};

/* All that has come to a port. */
static void take_frames(const struct trial *t, int port, struct seen *ret)
{
    uint8_t frame[2048], *at = frame + VNET_HDR_BYTES;
    ssize_t n;

    while ((n = read(t->fds[port], frame, sizeof frame)) > 0) {
        if (n < VNET_HDR_BYTES + FRAME_BYTES || at[12] != TYPE >> 8 || at[13] != (TYPE & 0xff))
            continue;
        if (port == OTHER) {
            ret->is_other_reached |= at[14] == OPEN;
            ret->is_other_isolated |= at[14] == BOUND;
        } else {
            ret->is_open_reached |= at[11] == BOUND + 1;
            ret->is_open_fooled |= at[11] == OTHER + 1;
        }
    }
}

/* What must not pass goes first: when what may has come, it would have. */
static int try_frames(const struct trial *t, struct seen *ret)
{
    int64_t end = num_now_ms() + PASS_MS;

    *ret = (struct seen){.is_other_reached = false};
    while (!(ret->is_other_reached && ret->is_open_reached) && num_now_ms() < end) {
        send_frame(t, BOUND, BOUND, OTHER);
        send_frame(t, BOUND, OTHER, OPEN);
        send_frame(t, BOUND, BOUND, OPEN);
        send_frame(t, OPEN, OPEN, OTHER);
        if (bridge_host->wait(t->look->call, t->fds[OTHER], POLLIN, ROUND_MS) < 0 ||
            bridge_host->wait(t->look->call, t->fds[OPEN], POLLIN, ROUND_MS) < 0)
            return -1;
        take_frames(t, OTHER, ret);
        take_frames(t, OPEN, ret);
    }
    return 0;
}

/* ---- what is said ------------------------------------------------------------------------------------------------- */

static void say_seen(const struct look *look, const struct seen *seen)
{
    static const char kernel[] = "apt-get install -y linux-image-amd64 && reboot"; /* 6.1 */

    if (!seen->is_other_reached || !seen->is_open_reached)
        finding_say(
            &look->to, RUNNER_FINDING_WARN, "ports", "nft list ruleset",
            "frames do not pass a bridge between ports that may speak to each other: somebody's rules hold them");
    else if (seen->is_other_isolated)
        finding_say(&look->to, RUNNER_FINDING_WARN, "ports", kernel,
                    "a port that is isolated is not (Linux 4.18 does it): rules alone keep guests apart");
    else if (seen->is_open_fooled)
        finding_say(&look->to, RUNNER_FINDING_WARN, "ports", kernel,
                    "a port that is locked is not (Linux 5.16 does it): rules alone keep a guest to its MAC address");
    else
        finding_say(&look->to, RUNNER_FINDING_OK, "ports", NULL,
                    "frames to another isolated port, and those of a foreign MAC address, are held back");
}

static void try_ports(struct trial *t)
{
    struct runner_error err = ERROR_INIT;
    struct seen seen;
    bool is_open = true;

    for (int i = 0; i < N_TAPS && is_open; i++) {
        auto_free char *address = mem_printf("tap:%s", t->taps[i]);

        is_open = bridge_host->dial(t->look->call, address, &t->fds[i], &err) == 0;
    }
    if (!is_open)
        finding_say(&t->look->to, RUNNER_FINDING_SKIP, "ports", NULL, "no frames can be sent from here: %s",
                    err.message);
    else if (try_frames(t, &seen) == 0)
        say_seen(t->look, &seen);
    for (int i = 0; i < N_TAPS; i++)
        cleanup_close(&t->fds[i]);
}

void look_at_ports(const struct look *look)
{
    struct trial t = {.look = look, .fds = {-1, -1, -1}};
    struct runner_error err = ERROR_INIT;
    uint32_t number = ((uint32_t)((uintptr_t)look ^ (uintptr_t)look->call) ^ (uint32_t)getpid()) & 0xfffffff;

    (void)snprintf(t.bridge, sizeof t.bridge, "rdoc%07" PRIx32, number);
    for (int i = 0; i < N_TAPS; i++)
        (void)snprintf(t.taps[i], sizeof t.taps[i], "rdot%07" PRIx32 "%c", number, 'a' + i);
    if (make(&t, &err) < 0) {
        finding_say(&look->to, RUNNER_FINDING_FAIL, "tap", look_fix(&err, NULL, "modprobe -a bridge tun"), "%s",
                    err.message);
        return;
    }
    finding_say(&look->to, RUNNER_FINDING_OK, "tap", NULL, "a bridge and isolated TAPs on it can be made");
    try_ports(&t);
    if (drop(&t, &err) < 0)
        finding_say(&look->to, RUNNER_FINDING_WARN, "tap", NULL, "not all of the trial is gone: %s", err.message);
}

void look_at_limits(const struct look *look)
{
    static const char modules[] = "modprobe -a sch_tbf sch_ingress cls_u32 act_mirred ifb";
    struct runner_error err = ERROR_INIT;
    struct shaper_found found;

    if (shaper_probe(look->call, &found, &err) < 0)
        finding_say(&look->to, RUNNER_FINDING_WARN, "bandwidth", look_fix(&err, NULL, modules), "%s", err.message);
    else if (found.has_tbf && found.has_ifb && found.has_redirect)
        finding_say(&look->to, RUNNER_FINDING_OK, "bandwidth", NULL, "limits are kept by queues both ways");
    else
        finding_say(&look->to, RUNNER_FINDING_WARN, "bandwidth", modules,
                    "this kernel has no %s: packets beyond a limit of what guests %s are dropped, and TCP suffers",
                    !found.has_tbf   ? "tbf"
                    : !found.has_ifb ? "ifb"
                                     : "ingress, u32 or mirred",
                    found.has_tbf ? "send" : "send and receive");
}
