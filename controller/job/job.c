// SPDX-License-Identifier: LGPL-2.1-or-later
/* The job in memory, to the store and back, and as people see it. Loop thread; see job.h. */
#include "controller/job/job.h"
#include "controller/job/parts.h"
#include "controller/job/recipe.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/random.h"

#include <stdio.h>
#include <string.h>

const struct sm_state job_states[JOB_STATES] = {
        [JOB_QUEUED] = {.name = "queued",
                        .initial = true,
                        .next = SM_TO(JOB_RUNNING) | SM_TO(JOB_CANCELLED) | SM_TO(JOB_FAILED)},
        [JOB_RUNNING] = {.name = "running",
                         .initial = true,
                         .next = SM_TO(JOB_WAITING) | SM_TO(JOB_DONE) | SM_TO(JOB_FAILED) | SM_TO(JOB_CANCELLED) |
                                 SM_TO(JOB_NEEDS_OPERATOR)},
        [JOB_WAITING] = {.name = "waiting", .initial = true, .next = SM_TO(JOB_RUNNING)},
        [JOB_DONE] = {.name = "done", .initial = true, .final = true},
        [JOB_FAILED] = {.name = "failed", .initial = true, .final = true},
        [JOB_CANCELLED] = {.name = "cancelled", .initial = true, .final = true},
        [JOB_NEEDS_OPERATOR] = {.name = "needs-operator", .initial = true, .next = SM_TO(JOB_RUNNING)},
};

static const char *const step_words[STEP_STATES] = {"pending", "running", "done", "failed"};

const char *job_state_word(enum job_state state) {
        return job_states[state].name;
}

const char *step_state_word(enum step_state state) {
        return step_words[state];
}

void job_free(struct job *job) {
        if (!job)
                return;
        for (unsigned i = 0; i < job->n_steps; i++) {
                store_step_fini(&job->steps[i].row);
                buffer_fini(&job->steps[i].ticket);
        }
        free(job->steps);
        free(job->transfers);
        if (job->plan)
                proto_free(&job->plan->base);
        if (job->single)
                proto_free(&job->single->base);
        parts_free(job);
        store_job_fini(&job->row);
        free(job);
}

void job_new_id(char ret_id[33]) {
        static const char alphabet[] = "abcdefghjkmnpqrstuvwxyz23456789"; // none that is read as another
        for (unsigned i = 0; i < 10; i++)
                ret_id[i] = alphabet[random_u32() % (sizeof(alphabet) - 1)];
        ret_id[10] = '\0';
}

struct job_step *job_add_step(struct job *job, const struct recipe_step *kind, unsigned group, unsigned item,
                              bool undo) {
        job->steps = memory_grow(job->steps, job->n_steps + 1, sizeof(*job->steps));
        struct job_step *step = &job->steps[job->n_steps];
        memset(step, 0, sizeof(*step));
        step->kind = kind;
        step->group = group;
        step->item = item;
        step->undo = undo;
        snprintf(step->host_uuid, sizeof(step->host_uuid), "%s", job->recipe->host(job, kind->place));
        snprintf(step->row.job, sizeof(step->row.job), "%s", job->row.id);
        step->row.number = job->n_steps++;
        step->row.attempt = 1;
        recipe_step_label(job, kind, item, step->row.name);
        snprintf(step->row.host, sizeof(step->row.host), "%s",
                 kind->place == AT_CONTROLLER ? "controller"
                 : kind->place == AT_SOURCE   ? job->row.source
                                              : job->row.target);
        return step;
}

struct job_step *job_step_named(struct job *job, const char *name) {
        for (unsigned i = 0; i < job->n_steps; i++)
                if (strcmp(job->steps[i].row.name, name) == 0)
                        return &job->steps[i];
        return NULL;
}

struct job_transfer *job_transfer(struct job *job, const char *disk) {
        for (unsigned i = 0; i < job->n_transfers; i++)
                if (strcmp(job->transfers[i].disk, disk) == 0)
                        return &job->transfers[i];
        job->transfers = memory_grow(job->transfers, job->n_transfers + 1, sizeof(*job->transfers));
        struct job_transfer *transfer = &job->transfers[job->n_transfers++];
        memset(transfer, 0, sizeof(*transfer));
        snprintf(transfer->disk, sizeof(transfer->disk), "%s", disk);
        drover__transfer_state__init(&transfer->state);
        return transfer;
}

static void set_transfer(struct job_transfer *transfer, const Drover__TransferState *state) {
        transfer->state = *state;
        transfer->state.disk = transfer->state.choice = NULL;
        snprintf(transfer->choice, sizeof(transfer->choice), "%s", state->choice);
}

void job_transfer_heard(struct job_transfer *transfer, const Drover__TransferState *state, uint32_t attempt,
                        bool from_sink) {
        Drover__TransferState *all = &transfer->state;
        Drover__TransferState before = *all;
        if (attempt != transfer->counted_attempt) {
                transfer->counted_attempt = attempt;
                transfer->wire_before = all->bytes_wire;
                transfer->resent_before = all->bytes_resent;
        }
        if (state->choice[0]) // on one host the sink has nobody beside it
                snprintf(transfer->choice, sizeof(transfer->choice), "%s", state->choice);
        if (from_sink) {
                *all = *state;
                all->disk = all->choice = NULL;
                all->bytes_wire = before.bytes_wire;
                all->bytes_resent = before.bytes_resent;
                all->compression_level = before.compression_level;
                all->rate_bytes_per_second = before.rate_bytes_per_second;
                return;
        }
        all->bytes_wire = transfer->wire_before + state->bytes_wire;
        all->bytes_resent = transfer->resent_before + state->bytes_resent;
        all->compression_level = state->compression_level;
}

Drover__AgentResult *job_step_result(const struct job_step *step) {
        Drover__AgentResult *result = NULL;
        if (!step || !step->row.result)
                return NULL;
        if (PROTO_UNPACK(agent_result, step->row.result, step->row.result_length, &result, NULL) < 0)
                return NULL;
        return result;
}

static char *join_hints(const struct error *error) {
        struct buffer text;
        buffer_init(&text, 0);
        for (unsigned i = 0; i < error->n_hints; i++)
                buffer_appendf(&text, NULL, "%s%s", i ? "\n" : "", error->hints[i]);
        return buffer_steal_text(&text);
}

static void split_hints(struct error *error, const char *text) {
        while (text && *text) {
                size_t length = strcspn(text, "\n");
                error_hint(error, "%.*s", (int) length, text);
                text += length + (text[length] == '\n');
        }
}

void job_set_spec(struct job *job, const void *bytes, size_t length) {
        free(job->row.spec);
        job->row.spec_length = length;
        job->row.spec = memory_new(length + 1);
        if (length)
                memcpy(job->row.spec, bytes, length);
}

int job_store(struct job *job, struct store *store, struct error *err) {
        free(job->row.error_message);
        free(job->row.error_hints);
        job->row.error_message = job->row.error_hints = NULL;
        job->row.error_code = (unsigned) job->error.code;
        if (job->error.code != ERROR_NONE) {
                job->row.error_message = memory_string(job->error.message);
                job->row.error_hints = join_hints(&job->error);
        }
        snprintf(job->row.state, sizeof(job->row.state), "%s", sm_name(&job->sm));
        return store_job_put(store, &job->row, err);
}

int job_store_step(struct job *job, struct job_step *step, struct store *store, struct error *err) {
        (void) job;
        free(step->row.error_message);
        step->row.error_message = NULL;
        step->row.error_code = (unsigned) step->error.code;
        if (step->error.code != ERROR_NONE)
                step->row.error_message = memory_string(step->error.message);
        snprintf(step->row.state, sizeof(step->row.state), "%s", step_words[step->state]);
        return store_step_put(store, &step->row, err);
}

int job_store_all(struct job *job, struct store *store, struct error *err) {
        if (store_begin(store, err) < 0)
                return -1;
        int r = job_store(job, store, err);
        for (unsigned i = 0; r == 0 && i < job->n_steps; i++)
                r = job_store_step(job, &job->steps[i], store, err);
        if (r < 0) {
                store_rollback(store);
                return -1;
        }
        return store_commit(store, err);
}

static unsigned word_index(const char *word, const char *(*name)(unsigned), unsigned n) {
        for (unsigned i = 0; i < n; i++)
                if (strcmp(word, name(i)) == 0)
                        return i;
        return 0;
}
static const char *nth_job_word(unsigned i) {
        return job_states[i].name;
}
static const char *nth_step_word(unsigned i) {
        return step_words[i];
}

// Steps as they were recorded; which of them belong together follows from the recipe, so that is built first.
static int load_steps(struct store *store, struct job *job, struct error *err) {
        struct store_step *rows = NULL;
        unsigned n = 0;
        if (store_steps(store, job->row.id, &rows, &n, err) < 0)
                return -1;
        job->recipe->steps(job);
        for (unsigned i = 0; i < n; i++) {
                unsigned item = 0;
                if (i >= job->n_steps) {
                        const struct recipe_step *kind = recipe_step_by_name(job->recipe, rows[i].name, job, &item);
                        if (!kind)
                                continue;
                        // An undo step: alone in its group, in the recorded order, which is always safe.
                        job_add_step(job, kind, job->steps[job->n_steps - 1].group + 1, item, true);
                }
                struct job_step *step = &job->steps[i];
                step->row = rows[i];
                rows[i] = (struct store_step){0};
                step->state = word_index(step->row.state, nth_step_word, STEP_STATES);
                if (step->row.error_code)
                        error_set(&step->error, error_from_number(step->row.error_code), "%s",
                                  step->row.error_message ? step->row.error_message : "");
        }
        for (unsigned i = 0; i < n; i++)
                store_step_fini(&rows[i]);
        free(rows);
        return 0;
}

static int load_transfers(struct store *store, struct job *job, struct error *err) {
        struct store_transfer *rows = NULL;
        unsigned n = 0;
        if (store_transfers(store, job->row.id, &rows, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++) {
                struct job_transfer *transfer = job_transfer(job, rows[i].disk);
                Drover__TransferState *state = NULL;
                transfer->attempt = transfer->counted_attempt = rows[i].attempt;
                transfer->resumed = rows[i].resumed;
                if (rows[i].digest)
                        snprintf(transfer->digest, sizeof(transfer->digest), "%s", rows[i].digest);
                if (PROTO_UNPACK(transfer_state, rows[i].state, rows[i].state_length, &state, NULL) == 0) {
                        set_transfer(transfer, state);
                        proto_free(&state->base);
                }
                store_transfer_fini(&rows[i]);
        }
        free(rows);
        return 0;
}

int job_load(struct store *store, struct store_job *row, struct job **ret, struct error *err) {
        struct job *job = new (struct job);
        job->row = *row;
        *row = (struct store_job){0};
        job->recipe = recipe_of(&job->row);
        sm_init(&job->sm, job_states, JOB_STATES, word_index(job->row.state, nth_job_word, JOB_STATES));
        if (job->row.error_code) {
                error_set(&job->error, error_from_number(job->row.error_code), "%s",
                          job->row.error_message ? job->row.error_message : "");
                split_hints(&job->error, job->row.error_hints);
        }
        int r = job->recipe ? 0
                            : error_set(err, ERROR_VERSION, "job %s is of kind %s, which this program does not know",
                                        job->row.id, job->row.kind);
        if (r == 0)
                r = job->recipe->load(job, err);
        if (r == 0)
                r = load_steps(store, job, err);
        if (r == 0)
                r = load_transfers(store, job, err);
        if (r == 0 && job->batch)
                r = parts_load(store, job, err);
        if (r < 0) {
                job_free(job);
                return -1;
        }
        *ret = job;
        return 0;
}

static void set_text(char **field, const char *text) {
        if (*field != protobuf_c_empty_string) // what init() leaves in a member
                free(*field);
        *field = memory_string(text);
}

static int mark_undone(struct store *store, struct job *job, const char *by, struct error *err) {
        struct buffer bytes;
        buffer_init(&bytes, 0);
        set_text(&job->plan->undone_by, by);
        int r = PROTO_PACK(job->plan, &bytes, err);
        if (r == 0) {
                job_set_spec(job, bytes.data, bytes.length);
                r = store_job_put(store, &job->row, err);
        }
        buffer_fini(&bytes);
        return r;
}

int job_mark_undone(struct store *store, const char *id, const char *by, struct error *err) {
        struct store_job row = {0};
        struct job *job = NULL;
        int found = store_job_get(store, id, &row, err);
        if (found <= 0) // a record that is gone needs no mark
                return found;
        int r = job_load(store, &row, &job, err);
        store_job_fini(&row);
        if (r == 0 && job->plan)
                r = mark_undone(store, job, by, err);
        job_free(job);
        return r;
}

static Drover__StepRecord *step_record(const struct job_step *step) {
        Drover__StepRecord *record = new (Drover__StepRecord);
        drover__step_record__init(record);
        record->name = memory_string(step->row.name);
        record->host = memory_string(step->row.host);
        record->state = memory_string(step_words[step->state]);
        record->started_ms = step->row.started_ms;
        record->finished_ms = step->row.finished_ms;
        record->started_at = step->row.started_ms / 1000;
        record->finished_at = step->row.finished_ms / 1000;
        record->attempt = step->row.attempt;
        bool tries_again = step->state == STEP_PENDING || step->state == STEP_RUNNING;
        record->note = memory_string(step->note[0] || !tries_again ? step->note : step->before);
        if (step->error.code != ERROR_NONE)
                record->error = proto_failure(&step->error);
        return record;
}

static Drover__TransferRecord *transfer_record(const struct job_transfer *transfer) {
        Drover__TransferRecord *record = new (Drover__TransferRecord);
        drover__transfer_record__init(record);
        record->state = new (Drover__TransferState);
        *record->state = transfer->state;
        record->state->disk = memory_string(transfer->disk);
        record->state->choice = memory_string(transfer->choice);
        record->attempt = transfer->attempt;
        record->resumed = transfer->resumed;
        record->digest = memory_string(transfer->digest);
        return record;
}

static void record_plan(Drover__JobRecord *record, const Drover__MovePlan *plan) {
        record->undoes = memory_string(plan->undoes);
        record->undone_by = memory_string(plan->undone_by);
        record->n_warnings = plan->n_done_without;
        record->warnings = new_array(char *, plan->n_done_without + 1);
        for (size_t i = 0; i < plan->n_done_without; i++)
                record->warnings[i] = memory_string(plan->done_without[i]);
        if (!plan->clone || !plan->identity)
                return;
        set_text(&record->vm_uuid, plan->vm_uuid); // the job's own is the clone's
        record->clone = memory_format("%s/%s", plan->target_name, plan->new_name);
        record->clone_uuid = memory_string(plan->identity->uuid);
}

Drover__JobRecord *job_record(const struct job *job) {
        Drover__JobRecord *record = new (Drover__JobRecord);
        drover__job_record__init(record);
        record->id = memory_string(job->row.id);
        record->kind = memory_string(job->row.kind);
        record->state = memory_string(sm_name(&job->sm));
        record->vm = memory_string(job->row.vm);
        record->vm_uuid = memory_string(job->row.vm_uuid);
        record->created_at = job->row.created_ms / 1000;
        record->started_at = job->row.started_ms / 1000;
        record->finished_at = job->row.finished_ms / 1000;
        record->started_ms = job->row.started_ms;
        record->finished_ms = job->row.finished_ms;
        record->user = memory_string(job->row.user);
        record->rate_bytes_per_second = job->plan ? job->plan->rate_bytes_per_second : 0;
        record->note = memory_string(job->note);
        record->source = memory_string(job->row.source);
        record->target = memory_string(job->row.target);
        if (job->error.code != ERROR_NONE)
                record->error = proto_failure(&job->error);
        if (job->plan)
                record_plan(record, job->plan);
        if (job->batch)
                parts_record(job, record);
        else
                record->batch = memory_string(job->row.batch);
        record->n_steps = job->n_steps;
        record->steps = new_array(Drover__StepRecord *, job->n_steps + 1);
        for (unsigned i = 0; i < job->n_steps; i++)
                record->steps[i] = step_record(&job->steps[i]);
        record->n_transfers = job->n_transfers;
        record->transfers = new_array(Drover__TransferRecord *, job->n_transfers + 1);
        for (unsigned i = 0; i < job->n_transfers; i++)
                record->transfers[i] = transfer_record(&job->transfers[i]);
        return record;
}
