#include "guest/daemon/websocket.h"

#include <string.h>

#define FRAME_MAX (1024 * 1024) /* of a client; it has little to say */

/* ---- SHA-1 (FIPS 180-4), which the handshake wants and nothing else may use ---- */

static uint32_t rotate(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static void sha1_block(uint32_t h[5], const unsigned char *block)
{
    uint32_t w[80];
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
               block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 || i >= 60 ? b ^ c ^ d : (b & c) | (b & d) | (c & d);
        uint32_t k = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
        uint32_t t = rotate(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = t;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

/* len < 119: two blocks at most. */
static void sha1_short(const char *data, size_t len, unsigned char ret[20])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    unsigned char blocks[128] = {0};
    size_t total = len + 9 > 64 ? 128 : 64;

    memcpy(blocks, data, len);
    blocks[len] = 0x80;
    blocks[total - 2] = (unsigned char)(len * 8 >> 8);
    blocks[total - 1] = (unsigned char)(len * 8);
    for (size_t at = 0; at < total; at += 64)
        sha1_block(h, blocks + at);
    for (int i = 0; i < 20; i++)
        ret[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
}

void websocket_accept_key(const char *key, char *ret)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    auto_free char *text = mem_printf("%.64s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    unsigned char digest[21] = {0};

    sha1_short(text, strlen(text), digest);
    for (int i = 0; i < 7; i++) {
        uint32_t three = (uint32_t)digest[3 * i] << 16 | (uint32_t)digest[3 * i + 1] << 8 | digest[3 * i + 2];
        for (int j = 0; j < 4; j++)
            ret[4 * i + j] = letters[three >> (18 - 6 * j) & 63];
    }
    ret[27] = '='; /* 20 bytes are 26 letters and two thirds */
    ret[28] = '\0';
}

/* ---- the connection ---- */

bool websocket_is_wanted(const struct exchange *x)
{
    return head_has_word(&x->head, "Upgrade", "websocket") && head_has_word(&x->head, "Connection", "upgrade");
}

bool websocket_accept(struct exchange *x)
{
    const char *key = head_get(&x->head, "Sec-WebSocket-Key");
    const char *protocol = head_get(&x->head, "Sec-WebSocket-Protocol");
    auto_str struct str extra = STR_INIT;
    char accept[29];

    if (key == NULL || strlen(key) != 24) {
        reply_error(x, 400, "BAD_REQUEST", "bad request: Sec-WebSocket-Key is not of 24 characters");
        return false;
    }
    websocket_accept_key(key, accept);
    str_addf(&extra, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n", accept);
    if (protocol != NULL) /* a browser's way to say the version of its SDK; one of those offered must be chosen */
        str_addf(&extra, "Sec-WebSocket-Protocol: %.*s\r\n", (int)strcspn(protocol, ", "), protocol);
    reply_open(x, 101, NULL, -1, str_text(&extra));
    exchange_tunnel(x);
    return true;
}

void websocket_send(struct exchange *x, enum websocket_opcode opcode, const void *data, size_t len)
{
    unsigned char head[10] = {(unsigned char)(0x80 | opcode)};
    size_t n = 2;

    if (len < 126) {
        head[1] = (unsigned char)len;
    } else {
        int bytes = len < 65536 ? 2 : 8;
        head[1] = bytes == 2 ? 126 : 127;
        for (int i = bytes - 1; i >= 0; i--)
            head[n++] = (unsigned char)((uint64_t)len >> (8 * i));
    }
    reply_data(x, head, n);
    reply_data(x, data, len);
}

/* Length of the head of the frame and of its payload; 0 while it is not there. */
static size_t frame_head(struct evbuffer *in, unsigned char head[14], uint64_t *ret_payload)
{
    ev_ssize_t got = evbuffer_copyout(in, head, 14);
    size_t n = 2;
    int bytes = got < 2 ? 0 : (head[1] & 127) == 126 ? 2 : (head[1] & 127) == 127 ? 8 : 0;

    if (got < 2)
        return 0;
    n += (size_t)bytes + ((head[1] & 128) != 0 ? 4 : 0);
    if ((size_t)got < n)
        return 0;
    *ret_payload = bytes == 0 ? head[1] & 127u : 0;
    for (int i = 0; i < bytes; i++)
        *ret_payload = *ret_payload << 8 | head[2 + i];
    return n;
}

static void pong(struct exchange *x, const unsigned char *payload, size_t len, const unsigned char *mask)
{
    unsigned char data[125];

    for (size_t i = 0; i < len; i++)
        data[i] = payload[i] ^ mask[i % 4];
    websocket_send(x, WEBSOCKET_PONG, data, len);
}

bool websocket_take(struct exchange *x)
{
    unsigned char head[14];
    uint64_t payload;
    size_t n;

    while ((n = frame_head(x->body, head, &payload)) > 0) {
        int opcode = head[0] & 15;
        if ((head[1] & 128) == 0 || payload > FRAME_MAX || (opcode >= WEBSOCKET_CLOSE && payload > 125))
            return true; /* clients must mask, control frames are short */
        if (evbuffer_get_length(x->body) < n + payload)
            break;
        if (opcode == WEBSOCKET_CLOSE)
            return true;
        if (opcode == WEBSOCKET_PING)
            pong(x, evbuffer_pullup(x->body, (ev_ssize_t)(n + payload)) + n, (size_t)payload, head + n - 4);
        (void)evbuffer_drain(x->body, n + (size_t)payload);
    }
    return x->intake.is_done;
}
