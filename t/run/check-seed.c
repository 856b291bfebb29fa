/* check-seed DIR: writes the documents of two seeds into DIR, for other programs to judge. */
#include <stdio.h>
#include <stdlib.h>

#include "core/seed-text.h"
#include "core/util/cleanup.h"

static void write_document(const char *dir, const char *name, void (*make)(const struct seed *, struct str *),
                           const struct seed *seed)
{
    auto_free char *path = mem_printf("%s/%s", dir, name);
    auto_fclose FILE *file = fopen(path, "w");
    auto_str struct str text = STR_INIT;

    make(seed, &text);
    if (file == NULL || fwrite(text.ptr, 1, text.len, file) != text.len) {
        perror(path);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    static const struct runner_nic nic = {.size = sizeof nic,
                                          .mac = "02:ba:78:16:bf:8f",
                                          .address = "192.0.2.5",
                                          .gateway = "192.0.2.1",
                                          .dns = "192.0.2.1 192.0.2.2",
                                          .prefix_len = 24,
                                          .mtu = 1400};
    static const struct seed_env env[] = {{"PLAIN", "b c"}, {"EVIL", "\"\n- {a: b}\n#\x09\x01'\xe2\x80\xa8%"}};
    static const char *const keys[] = {"ssh-ed25519 AAAA a@b"};
    struct seed seed = {.id = "123e4567-e89b-12d3-a456-426614174000",
                        .hostname = "123e4567-e89",
                        .user = "daytona",
                        .snapshot = "tiny",
                        .env = env,
                        .n_env = ARRAY_LEN(env),
                        .ssh_keys = keys,
                        .n_ssh_keys = 1,
                        .nic = &nic,
                        .daemon_port = 2280,
                        .daemon = "x",
                        .daemon_len = 1};

    if (argc != 2) {
        fprintf(stderr, "usage: check-seed DIR\n");
        return 2;
    }
    write_document(argv[1], "user-data", seed_user_data, &seed);
    write_document(argv[1], "network-config", seed_network_config, &seed);
    seed.user = "root";
    seed.daemon = NULL;
    write_document(argv[1], "user-data-root", seed_user_data, &seed);
    return 0;
}
