#include "plugins/storage/oci/program/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "core/util/text.h"
#include "plugins/storage/oci/program/ref.h"

#define BLOBS_MAX  100000
#define READ_BYTES (1 << 20)
#define PART       ".part"
#define NEW        "sha256-new-" /* and a number: what is being made here */

/* ---- the directory ---- */

int store_open(const char *path, struct store *ret, struct runner_error *err)
{
    auto_free char *dir = mem_printf("%s/blobs", path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return fail_errno(err, errno, "directory '%s'", dir);
    *ret = (struct store){.dir = dir, .fd = fd};
    dir = NULL;
    return 0;
}

void store_close(struct store *store)
{
    if (store->dir == NULL)
        return;
    close(store->fd);
    free(store->dir);
    store->dir = NULL;
}

struct kept {
    char *name;
    struct timespec used;
    int64_t bytes;
};

static int compare_used(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;

    if (x->used.tv_sec != y->used.tv_sec)
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

static size_t list_kept(const struct store *store, struct kept **ret, int64_t *ret_total)
{
    auto_dir DIR *dir = fdopendir(openat(store->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct kept *list = NULL;
    struct dirent *entry;
    struct stat st;
    size_t n = 0;

    *ret_total = 0;
    while (dir != NULL && n < BLOBS_MAX && (entry = readdir(dir)) != NULL) {
        if (!text_starts(entry->d_name, "sha256-", NULL) ||
            fstatat(store->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
            continue;
        list = mem_grow(list, n + 1, sizeof *list);
        list[n++] = (struct kept){mem_dup(entry->d_name), st.st_mtim, (int64_t)st.st_blocks * 512};
        *ret_total += (int64_t)st.st_blocks * 512;
    }
    *ret = list;
    return n;
}

static bool remove_unused(const struct store *store, const char *name)
{
    auto_close int fd = openat(store->fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && unlinkat(store->fd, name, 0) == 0;
}

int64_t store_trim(const struct store *store, int64_t bytes)
{
    struct kept *list;
    int64_t total, gone = 0;
    size_t n = list_kept(store, &list, &total);

    if (n > 0)
        qsort(list, n, sizeof *list, compare_used);
    for (size_t i = 0; i < n; i++) {
        if ((total - gone > bytes || text_starts(list[i].name, NEW, NULL)) && remove_unused(store, list[i].name))
            gone += list[i].bytes;
        free(list[i].name);
    }
    free(list);
    return gone;
}

/* ---- made here ---- */

int store_begin(const struct store *store, struct store_new *ret, struct runner_error *err)
{
    struct store_new made = {.fd = -1};

    made.digest = digest_new();
    (void)snprintf(made.name, sizeof made.name, NEW "%d", (int)getpid());
    (void)unlinkat(store->fd, made.name, 0); /* of a process that had our number */
    made.fd = openat(store->fd, made.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (made.fd < 0 || flock(made.fd, LOCK_EX | LOCK_NB) < 0) {
        (void)fail_errno(err, errno, "new blob '%s/%s'", store->dir, made.name);
        (void)store_end(store, &made, false, NULL, NULL);
        return -1;
    }
    *ret = made;
    return 0;
}

static int keep_new(const struct store *store, const struct store_new *made, struct descriptor *ret,
                    struct runner_error *err)
{
    char digest[72] = "sha256:", name[72];
    struct stat st;

    digest_end(made->digest, digest + strlen(digest));
    (void)snprintf(name, sizeof name, "sha256-%.64s", REF_HEX(digest));
    if (fsync(made->fd) < 0 || fstat(made->fd, &st) < 0 || renameat(store->fd, made->name, store->fd, name) < 0 ||
        fsync(store->fd) < 0)
        return fail_errno(err, errno, "new blob '%s/%s'", store->dir, made->name);
    *ret = (struct descriptor){.digest = mem_dup(digest), .size_bytes = st.st_size};
    return 0;
}

int store_end(const struct store *store, struct store_new *made, bool is_good, struct descriptor *ret,
              struct runner_error *err)
{
    int status = is_good ? keep_new(store, made, ret, err) : 0;

    if (!is_good || status < 0)
        (void)unlinkat(store->fd, made->name, 0);
    digest_free(made->digest);
    cleanup_close(&made->fd);
    made->fd = -1;
    made->digest = NULL;
    return status;
}

/* ---- small ones ---- */

char *store_read(const struct store *store, const struct descriptor *d)
{
    auto_free char *name = mem_printf("sha256-%s", REF_HEX(d->digest)), *text = NULL;
    auto_close int fd = store->dir != NULL ? openat(store->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    size_t size = (size_t)d->size_bytes, len = 0;
    struct stat st;
    char hex[65], *whole;
    ssize_t n;

    if (fd < 0 || d->size_bytes > MANIFEST_MAX || fstat(fd, &st) < 0 || st.st_size != d->size_bytes)
        return NULL;
    text = mem_alloc(size + 1);
    while (len < size && (n = read(fd, text + len, size - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    manifest_hash(text, len, hex);
    if (strcmp(hex, REF_HEX(d->digest)) != 0)
        return NULL;
    (void)futimens(fd, NULL); /* it was used now */
    whole = text;
    text = NULL;
    return whole;
}

void store_keep(const struct store *store, const char *text, size_t len)
{
    struct descriptor made = {.digest = NULL};
    struct store_new new;
    bool is_whole;

    if (store->dir == NULL || store->is_only_read || store_begin(store, &new, NULL) < 0)
        return;
    digest_add(new.digest, text, len);
    is_whole = write(new.fd, text, len) == (ssize_t)len;
    (void)store_end(store, &new, is_whole, &made, NULL);
    free(made.digest);
}

/* ---- one ---- */

void blob_init(struct blob *b, const struct store *store, const struct descriptor *d)
{
    *b = (struct blob){.store = store, .d = d, .fd = -1, .fault = ERROR_INIT};
    b->path = mem_printf("%s/sha256-%s", store->dir, REF_HEX(d->digest));
}

void blob_close(struct blob *b)
{
    cleanup_close(&b->fd);
    b->fd = -1;
    digest_free(b->digest);
    b->digest = NULL;
    free(b->path);
    b->path = NULL;
    b->is_whole = false;
}

static void hash_restart(struct blob *b)
{
    if (b->digest == NULL)
        b->digest = digest_new();
    digest_restart(b->digest);
}

int blob_restart(struct blob *b, struct runner_error *err)
{
    if (ftruncate(b->fd, 0) < 0)
        return fail_errno(err, errno, "blob '%s'", b->path);
    b->have = 0;
    b->is_resumed = false;
    hash_restart(b);
    return 0;
}

/* The hash of what an earlier process left. */
static int take_up(struct blob *b, struct runner_error *err)
{
    auto_free char *buffer = mem_alloc(READ_BYTES);
    struct stat st;
    ssize_t n;

    hash_restart(b);
    if (fstat(b->fd, &st) < 0)
        return fail_errno(err, errno, "blob '%s'", b->path);
    if (st.st_size > b->d->size_bytes)
        return blob_restart(b, err);
    for (b->have = 0; b->have < st.st_size; b->have += n) {
        n = pread(b->fd, buffer, READ_BYTES, b->have);
        if (n <= 0)
            return fail_errno(err, n < 0 ? errno : EIO, "blob '%s'", b->path);
        digest_add(b->digest, buffer, (size_t)n);
    }
    b->is_resumed = b->have > 0;
    return 0;
}

/* Whether the file that has its name is what the name says. */
static bool is_genuine(const struct blob *b)
{
    auto_close int fd = open(b->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    auto_free char *buffer = mem_alloc(READ_BYTES);
    struct digest *digest = digest_new();
    char hex[65];
    ssize_t n = -1;

    while (fd >= 0 && (n = read(fd, buffer, READ_BYTES)) > 0)
        digest_add(digest, buffer, (size_t)n);
    digest_end(digest, hex);
    digest_free(digest);
    return n == 0 && strcmp(hex, REF_HEX(b->d->digest)) == 0;
}

bool blob_drop_false(const struct blob *b)
{
    return !is_genuine(b) && unlink(b->path) == 0;
}

/* One that is another user's, for whom this program worked before, is of no use: it goes. */
static int open_own(const char *path, int flags)
{
    int fd = open(path, flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd >= 0 || errno != EACCES || unlink(path) < 0)
        return fd;
    return open(path, flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* A whole one: 1, and it stays. */
static int take_whole(struct blob *b)
{
    auto_close int fd = open_own(b->path, 0);
    struct stat st;

    if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) < 0 || fstat(fd, &st) < 0 || st.st_nlink == 0 || !S_ISREG(st.st_mode) ||
        st.st_size != b->d->size_bytes)
        return 0;
    (void)futimens(fd, NULL); /* it was used now */
    b->have = st.st_size;
    b->is_whole = true;
    b->fd = fd;
    fd = -1;
    return 1;
}

int blob_begin(struct blob *b, struct runner_error *err)
{
    auto_free char *part = mem_printf("%s" PART, b->path);
    auto_close int fd = -1;
    struct stat st = {.st_nlink = 0};

    if (take_whole(b) > 0)
        return 1;
    fd = open_own(part, O_CREAT);
    if (fd < 0)
        return fail_errno(err, errno, "blob '%s'", part);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? 0 : fail_errno(err, errno, "blob '%s'", part);
    if (fstat(fd, &st) < 0 || st.st_nlink == 0 || access(b->path, F_OK) == 0) { /* another finished it meanwhile */
        if (st.st_nlink > 0 && st.st_size == 0)
            (void)unlink(part);
        if (take_whole(b) > 0)
            return 1;
        if (stat(b->path, &st) == 0 && st.st_size != b->d->size_bytes) {
            if (is_genuine(b)) /* others use it */
                return fail(err, RUNNER_E_INVALID, 0, "blob %s: its manifest says %lld bytes, it has %lld",
                            b->d->digest, (long long)b->d->size_bytes, (long long)st.st_size);
            (void)unlink(b->path);
        }
        return 0;
    }
    b->fd = fd;
    fd = -1;
    return take_up(b, err) < 0 ? -1 : 1;
}

bool blob_add(struct blob *b, const void *data, size_t len)
{
    if ((int64_t)len > b->d->size_bytes - b->have) {
        (void)fail(&b->fault, RUNNER_E_INVALID, 0, "blob %s: more than the %lld bytes that its manifest says",
                   b->d->digest, (long long)b->d->size_bytes);
        return false;
    }
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(b->fd, (const char *)data + done, len - done, b->have + (int64_t)done);

        if (n < 0 && errno != EINTR) {
            (void)fail_errno(&b->fault, errno, "blob '%s'", b->path);
            (void)ftruncate(b->fd, 0); /* a full disk is not helped by what nobody can use */
            return false;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    digest_add(b->digest, data, len);
    b->have += (int64_t)len;
    return true;
}

int blob_commit(struct blob *b, struct runner_error *err)
{
    auto_free char *part = mem_printf("%s" PART, b->path);
    char hex[65];

    digest_end(b->digest, hex);
    if (strcmp(hex, REF_HEX(b->d->digest)) != 0) {
        (void)unlink(part);
        return fail(err, RUNNER_E_INVALID, 0, "blob %s: what came has the digest sha256:%s", b->d->digest, hex);
    }
    if (fsync(b->fd) < 0 || rename(part, b->path) < 0 || fsync(b->store->fd) < 0)
        return fail_errno(err, errno, "blob '%s'", b->path);
    (void)flock(b->fd, LOCK_SH | LOCK_NB);
    b->is_whole = true;
    return 0;
}
