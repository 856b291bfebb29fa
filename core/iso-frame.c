#include "core/iso-frame.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    SECTOR = 2048,
    SYSTEM_AREA = 16 * SECTOR, /* a volume's beginning, left to boot loaders: zero here, so frames are kept without */
    FRAMES_MAX = 8,
    CONTENT_MAX = 64 * 1024,
    MARK = 16
};

struct frame {
    struct frame *next;
    char *key;
    char *data; /* from the system area's end on */
    size_t len; /* of the whole volume */
    size_t at[FRAME_FILES_MAX];
};

static pthread_mutex_t frames_lock = PTHREAD_MUTEX_INITIALIZER;
static struct frame *frames; /* the last used first */

bool frame_fits(const struct iso_file *files, size_t n)
{
    size_t total = 0;

    for (size_t i = 0; i < n; i++) {
        if (files[i].len > 0 && files[i].len < MARK)
            return false;
        total += files[i].len;
    }
    return n <= FRAME_FILES_MAX && total > 0 && total <= CONTENT_MAX;
}

/* No name of ours has a newline in it, so no two layouts have the same key. */
static char *key_of(const char *label, const struct iso_file *files, size_t n)
{
    struct str key = STR_INIT;

    str_add(&key, label);
    for (size_t i = 0; i < n; i++)
        str_addf(&key, "\n%zu %s", files[i].len, files[i].name);
    return str_steal(&key);
}

static void fill(const struct frame *frame, const struct iso_file *files, size_t n, char *iso)
{
    for (size_t i = 0; i < n; i++)
        if (files[i].len > 0)
            memcpy(iso + frame->at[i], files[i].data, files[i].len);
}

/* Called with the lock held: the frame, first in the list now, or NULL. */
static struct frame *find(const char *key)
{
    for (struct frame **link = &frames; *link != NULL; link = &(*link)->next) {
        struct frame *frame = *link;
        if (strcmp(frame->key, key) != 0)
            continue;
        *link = frame->next;
        frame->next = frames;
        frames = frame;
        return frame;
    }
    return NULL;
}

bool frame_take(const char *label, const struct iso_file *files, size_t n, struct str *ret_iso)
{
    auto_free char *key = key_of(label, files, n);
    struct str iso = STR_INIT;
    struct frame *frame;

    pthread_mutex_lock(&frames_lock);
    frame = find(key);
    if (frame != NULL) {
        str_reserve(&iso, frame->len);
        memset(iso.ptr, 0, SYSTEM_AREA);
        memcpy(iso.ptr + SYSTEM_AREA, frame->data, frame->len - SYSTEM_AREA);
        iso.len = frame->len;
        iso.ptr[iso.len] = '\0';
        fill(frame, files, n, iso.ptr);
        *ret_iso = iso;
    }
    pthread_mutex_unlock(&frames_lock);
    return frame != NULL;
}

static void mark_of(size_t i, char mark[MARK])
{
    memcpy(mark, "\xf5\xfa frame mark \0\xfa", MARK);
    mark[MARK - 2] = (char)('A' + i);
}

void frame_marks(const struct iso_file *files, size_t n, struct iso_file *ret_marked, struct str *marks)
{
    size_t total = 0;
    char *at;

    for (size_t i = 0; i < n; i++)
        total += files[i].len;
    str_reserve(marks, total);
    memset(marks->ptr, 0, total + 1);
    marks->len = total;
    at = marks->ptr;
    for (size_t i = 0; i < n; i++) {
        ret_marked[i] = (struct iso_file){files[i].name, at, files[i].len};
        if (files[i].len > 0)
            mark_of(i, at);
        at += files[i].len;
    }
}

/* The sector that begins with the mark; 0: none or more than one does, or the file does not fit behind it. */
static size_t find_mark(const struct str *iso, size_t i, size_t len)
{
    char mark[MARK];
    size_t found = 0;

    mark_of(i, mark);
    for (size_t at = SYSTEM_AREA; at + SECTOR <= iso->len; at += SECTOR) {
        if (memcmp(iso->ptr + at, mark, MARK) != 0)
            continue;
        if (found != 0)
            return 0;
        found = at;
    }
    return found != 0 && len <= iso->len - found ? found : 0;
}

static bool is_zero(const char *data, size_t len)
{
    return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

static void frame_free(struct frame *frame)
{
    if (frame == NULL)
        return;
    free(frame->key);
    free(frame->data);
    free(frame);
}

/* Called with the lock held: makes it the first, unless another thread was sooner; what is to be freed. */
static struct frame *insert(struct frame *frame)
{
    struct frame **link = &frames, *old;

    if (find(frame->key) != NULL)
        return frame;
    frame->next = frames;
    frames = frame;
    for (int i = 0; i < FRAMES_MAX && *link != NULL; i++)
        link = &(*link)->next;
    old = *link;
    *link = NULL;
    return old;
}

bool frame_keep(const char *label, const struct iso_file *files, size_t n, struct str *iso)
{
    struct frame *frame;
    size_t at[FRAME_FILES_MAX] = {0};

    if (iso->len <= SYSTEM_AREA || !is_zero(iso->ptr, SYSTEM_AREA))
        return false;
    for (size_t i = 0; i < n; i++)
        if (files[i].len > 0 && (at[i] = find_mark(iso, i, files[i].len)) == 0)
            return false;
    frame = mem_alloc(sizeof *frame);
    memcpy(frame->at, at, sizeof at);
    frame->key = key_of(label, files, n);
    frame->len = iso->len;
    frame->data = mem_dup_n(iso->ptr + SYSTEM_AREA, iso->len - SYSTEM_AREA);
    fill(frame, files, n, iso->ptr);
    pthread_mutex_lock(&frames_lock);
    frame = insert(frame);
    pthread_mutex_unlock(&frames_lock);
    frame_free(frame);
    return true;
}
