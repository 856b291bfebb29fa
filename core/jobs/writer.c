#include "core/jobs/writer.h"

#include <pthread.h>
#include <signal.h>

#include "core/util/str.h"

enum { IDLE, BUSY, ENDED };

struct writer {
    struct journal *journal;
    void (*wake)(void *ctx);
    void *ctx;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows; while BUSY text and err are the thread's */
    pthread_cond_t changed;
    int state;
    bool is_stopping;
    bool is_rewrite;
    int status;
    struct str text;
    struct runner_error err;
};

static bool wait_for_work(struct writer *writer)
{
    bool is_busy;

    pthread_mutex_lock(&writer->mutex);
    while (writer->state != BUSY && !writer->is_stopping)
        pthread_cond_wait(&writer->changed, &writer->mutex);
    is_busy = writer->state == BUSY;
    pthread_mutex_unlock(&writer->mutex);
    return is_busy;
}

static void *run(void *ctx)
{
    struct writer *writer = ctx;

    (void)pthread_setname_np(pthread_self(), "journal");
    while (wait_for_work(writer)) {
        int status = writer->is_rewrite ? journal_replace(writer->journal, &writer->text, &writer->err)
                                        : journal_append(writer->journal, &writer->text, &writer->err);

        pthread_mutex_lock(&writer->mutex);
        writer->status = status;
        writer->state = ENDED;
        pthread_mutex_unlock(&writer->mutex);
        writer->wake(writer->ctx);
    }
    return NULL;
}

int writer_start(struct journal *journal, void (*wake)(void *ctx), void *ctx, struct writer **ret,
                 struct runner_error *err)
{
    struct writer *writer = mem_alloc(sizeof *writer);
    sigset_t all, old;
    int code;

    writer->journal = journal;
    writer->wake = wake;
    writer->ctx = ctx;
    writer->err.size = sizeof writer->err;
    pthread_mutex_init(&writer->mutex, NULL);
    pthread_cond_init(&writer->changed, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    code = pthread_create(&writer->thread, NULL, run, writer);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (code == 0) {
        *ret = writer;
        return 0;
    }
    pthread_cond_destroy(&writer->changed);
    pthread_mutex_destroy(&writer->mutex);
    free(writer);
    return fail_errno(err, code, "start a thread");
}

void writer_begin(struct writer *writer, bool is_rewrite)
{
    pthread_mutex_lock(&writer->mutex);
    journal_take(writer->journal, &writer->text);
    writer->is_rewrite = is_rewrite;
    writer->state = BUSY;
    pthread_cond_signal(&writer->changed);
    pthread_mutex_unlock(&writer->mutex);
}

int writer_collect(struct writer *writer, bool *ret_ended, struct runner_error *err)
{
    int state, status;

    pthread_mutex_lock(&writer->mutex);
    state = writer->state;
    status = state == ENDED ? writer->status : 0;
    if (state == ENDED)
        writer->state = IDLE;
    pthread_mutex_unlock(&writer->mutex);
    *ret_ended = state == ENDED;
    if (state == BUSY)
        return 1;
    if (status < 0) {
        (void)fail(err, writer->err.code, writer->err.sys_errno, "%s", writer->err.message);
        error_clear(&writer->err);
        if (!writer->is_rewrite)
            journal_put_back(writer->journal, &writer->text);
    }
    str_clear(&writer->text);
    return status;
}

int writer_stop(struct writer *writer, struct runner_error *err)
{
    bool has_ended;
    int status;

    if (writer == NULL)
        return 0;
    pthread_mutex_lock(&writer->mutex);
    writer->is_stopping = true;
    pthread_cond_signal(&writer->changed);
    pthread_mutex_unlock(&writer->mutex);
    pthread_join(writer->thread, NULL);
    status = writer_collect(writer, &has_ended, err);
    str_done(&writer->text);
    pthread_cond_destroy(&writer->changed);
    pthread_mutex_destroy(&writer->mutex);
    free(writer);
    return status;
}
