/* Batches: kept as steps; run by the test's transport, or answered as the test says. */
#include <string.h>

#include "core/util/error.h"
#include "kit/fake/inner.h"

struct runner_batch *fake_batch_new(struct runner_call *call)
{
    (void)call;
    pthread_mutex_lock(&fake.lock);
    fake.live++;
    pthread_mutex_unlock(&fake.lock);
    return mem_alloc(sizeof(struct runner_batch));
}

struct runner_batch *fake_batch(void)
{
    struct runner_batch *batch = fake_batch_new(&fake.call);

    batch->is_callers = true;
    return batch;
}

void fake_batch_free(struct runner_batch *batch)
{
    if (batch == NULL)
        return;
    for (size_t i = 0; i < batch->n; i++) {
        fake_step_free(batch->steps[i]);
        if (batch->results != NULL)
            fake_release(batch->results[i].out);
    }
    free(batch->steps);
    free(batch->results);
    free(batch);
    pthread_mutex_lock(&fake.lock);
    fake.live--;
    pthread_mutex_unlock(&fake.lock);
}

static void keep_added(const struct runner_step *step)
{
    auto_free char *line = fake_step_text(step);

    pthread_mutex_lock(&fake.lock);
    str_addf(&fake.added, "%s\n", line);
    pthread_mutex_unlock(&fake.lock);
}

int fake_add(struct runner_batch *batch, const struct runner_step *step, struct runner_error *err)
{
    int code = fake_gate(batch->is_callers ? FAKE_ADD : FAKE_ADD_OWN, NULL, step);

    if (code != 0)
        return fake_gate_fail(code, "add", err);
    if (step->size < offsetof(struct runner_step, undo))
        return fail(err, RUNNER_E_INVALID, 0, "step of size %u", step->size);
    if (batch->has_run)
        return fail(err, RUNNER_E_BUSY, 0, "a step was added to a batch that ran");
    if (fake.is_keeping_added)
        keep_added(step);
    batch->steps = mem_grow(batch->steps, batch->n + 1, sizeof(struct runner_step *));
    batch->steps[batch->n] = fake_step_copy(step);
    return (int)batch->n++;
}

const struct runner_result *fake_result(const struct runner_batch *batch, int index)
{
    if (!batch->has_run || index < 0 || (size_t)index >= batch->n || batch->results[index].size == 0)
        return NULL;
    return &batch->results[index];
}

size_t fake_batch_len(const struct runner_batch *batch)
{
    return batch->n;
}

const struct runner_step *fake_batch_step(const struct runner_batch *batch, size_t index)
{
    return index < batch->n ? batch->steps[index] : NULL;
}

/* ---- scripted answers ---- */

static int answer_give(struct answer *answer, struct runner_result *result, struct runner_error *err)
{
    answer->is_used = true;
    if (answer->code != 0)
        return fail(err, answer->code, 0, "%s", answer->out);
    result->status = answer->status;
    result->number = answer->number;
    if (answer->out == NULL)
        return 1;
    result->len = strlen(answer->out);
    result->out = fake_alloc_own(result->len + 1);
    memcpy(result->out, answer->out, result->len + 1);
    return 1;
}

static struct answer *answer_find(const struct runner_step *step, const char *line)
{
    for (size_t i = 0; i < fake.n_answers; i++) {
        struct answer *answer = &fake.answers[i];

        if ((answer->is_kept || !answer->is_used) && answer->kind == step->kind && strstr(line, answer->match) != NULL)
            return answer;
    }
    return NULL;
}

int fake_host_scripted(const struct runner_step *step, struct runner_result *result, struct runner_error *err)
{
    auto_free char *line = fake_step_text(step);
    struct answer *answer = answer_find(step, line);

    return answer != NULL ? answer_give(answer, result, err) : 0;
}

static void add_answer(struct answer answer)
{
    fake.answers = mem_grow(fake.answers, fake.n_answers + 1, sizeof answer);
    fake.answers[fake.n_answers++] = answer;
}

void fake_host_answer(uint32_t kind, const char *match, int32_t status, int64_t number, const char *out)
{
    add_answer((struct answer){
        .kind = kind, .match = mem_dup(match), .out = mem_dup(out), .status = status, .number = number});
}

void fake_host_answer_always(uint32_t kind, const char *match, int32_t status, int64_t number, const char *out)
{
    fake_host_answer(kind, match, status, number, out);
    fake.answers[fake.n_answers - 1].is_kept = true;
}

void fake_host_refuse(uint32_t kind, const char *match, int code, const char *message)
{
    add_answer((struct answer){.kind = kind, .match = mem_dup(match), .out = mem_dup(message), .code = code});
}

size_t fake_host_unused(void)
{
    size_t n = 0;

    for (size_t i = 0; i < fake.n_answers; i++)
        n += !fake.answers[i].is_used;
    return n;
}

/* ---- running ---- */

static int step_answer(const struct runner_step *step, struct runner_result *result, struct runner_error *err)
{
    int code = fake_gate(FAKE_STEP, NULL, step), answered;

    if (code != 0)
        return fake_gate_fail(code, "step", err);
    answered = fake_host_scripted(step, result, err);
    if (answered != 0)
        return answered < 0 ? -1 : 0;
    return fake.on_step != NULL ? fake.on_step(fake.on_step_arg, step, result, err) : 0;
}

static int run_scripted(struct runner_batch *batch, struct runner_error *err)
{
    for (size_t i = 0; i < batch->n; i++) {
        auto_free char *line = fake_step_text(batch->steps[i]);

        batch->results[i].size = sizeof batch->results[i];
        if ((batch->steps[i]->flags & RUNNER_S_ELSE) && i > 0 && batch->results[i - 1].status == 0)
            continue;
        str_addf(&fake.ran, "%s\n", line);
        if (step_answer(batch->steps[i], &batch->results[i], err) < 0)
            return -1;
    }
    return 0;
}

int fake_host_run_batch(struct runner_batch *batch, struct runner_error *err)
{
    return fake_run(&fake.call, batch, err);
}

int fake_run(struct runner_call *call, struct runner_batch *batch, struct runner_error *err)
{
    int code = fake_gate(FAKE_RUN, call, batch);

    if (code != 0)
        return fake_gate_fail(code, "run", err);
    if (call->is_cancelled)
        return fail(err, RUNNER_E_CANCELLED, 0, "cancelled");
    if (batch->has_run)
        return fail(err, RUNNER_E_BUSY, 0, "the batch ran already");
    batch->has_run = true;
    batch->results = mem_array(batch->n, sizeof *batch->results);
    if (fake.transport == NULL)
        return run_scripted(batch, err);
    if (batch->n == 0)
        return 0;
    return fake.transport->run(fake.transport_self, call, (const struct runner_step *const *)batch->steps, batch->n,
                               batch->results, err);
}

void fake_host_undo_batch(struct runner_batch *batch, struct str *ret_faults)
{
    for (size_t i = batch->n; i-- > 0;) {
        struct runner_result result = {.size = sizeof result};
        struct runner_error err = ERROR_INIT;

        if (batch->steps[i]->undo != NULL &&
            fake.transport->run(fake.transport_self, &fake.call, &batch->steps[i]->undo, 1, &result, &err) < 0)
            str_addf(ret_faults, "%s\n", err.message);
        fake_release(result.out);
    }
}
