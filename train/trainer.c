#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "comm/device_comm.h"
#include "train/same.h"

/* Whole windows that a validation embeds at a time, beside training on parts: enough for all
 * threads, few enough (230 MB at full width) to lie beside the training encoder. */
enum { MOST_VIEWED = 32 };

static coc_status open_data(coc_trainer *t)
{
    const coc_data_settings *d = &t->settings.data;
    coc_store *valid;
    coc_status status;

    if (d->train[0] == '\0')
        return COC_FAIL(COC_ERR_SETTING,
                        "data.train: no store is named; give --set data.train=STORE (made by "
                        "`cocola preprocess`)");
    COC_TRY(coc_store_open(d->train, &t->store));
    COC_TRY(
        coc_sampler_create(t->store, COC_TRAIN, d, (uint64_t)t->settings.train.seed, &t->sampler));
    if (d->valid[0] != '\0') COC_TRY(coc_store_open(d->valid, &t->valid_store));
    valid = t->valid_store != NULL ? t->valid_store : t->store;
    status = coc_sampler_create(valid, COC_VALIDATION, d, (uint64_t)t->settings.eval.seed,
                                &t->valid_sampler);
    /* no window to validate on is a fault only when the store was named for that */
    return status == COC_ERR_INPUT && d->valid[0] == '\0' ? COC_OK : status;
}

/* Pairs are functions of a store's content: every rank must have the same. */
static coc_status compare_data(const coc_trainer *t)
{
    const coc_data_settings *d = &t->settings.data;

    COC_TRY(coc_same_store(t->comm, t->store));
    if (d->valid[0] == '\0') return COC_OK;
    return coc_same_store(t->comm, t->valid_store);
}

/* Pairs that a validation takes. */
static int64_t validated(const coc_trainer *t)
{
    const int64_t wanted = t->settings.train.valid_pairs;
    int64_t windows;

    if (t->valid_sampler == NULL) return 0;
    windows = coc_sampler_windows(t->valid_sampler);
    return wanted > 0 && wanted < windows ? wanted : windows;
}

static coc_memory_needs memory_needs(const coc_trainer *t, bool views, int places)
{
    return (coc_memory_needs){.settings = &t->settings,
                              .whole = &t->network,
                              .seen = &t->seen,
                              .weights = coc_params_weights(&t->network),
                              .parts = &t->parts,
                              .places = places,
                              .viewed = views ? t->viewed : 0,
                              .validated = validated(t),
                              .stored_bytes = t->backend->stored_bytes,
                              .side = t->backend->device->side};
}

/* Refuse at once what would fail in the middle of a step, or make the machine swap; and find out of
 * how many parts the activations can be kept. */
static coc_status plan_memory(const coc_trainer *t, bool views, int *places)
{
    const coc_device *device = t->backend->device;
    const int64_t wanted = t->settings.train.keep_activations, count = t->parts.count;
    coc_memory_needs needs =
        memory_needs(t, views, (int)(wanted > 0 && wanted < count ? wanted : 1));
    coc_memory_plan plan, host;

    if (wanted >= count) needs.places = (int)count;
    COC_TRY(coc_memory_plan_make(&needs, &plan));
    COC_TRY(coc_memory_plan_check(&plan, device, t->sharers));
    COC_TRY(coc_memory_plan_host(&needs, &host));
    COC_TRY(coc_memory_plan_check(&host, coc_device_host(), t->world->local_size));
    *places = needs.places;
    return wanted > 0 ? COC_OK : coc_memory_places(&needs, device, t->sharers, places);
}

coc_status coc_trainer_plan(const coc_trainer *t, coc_step_plan *plan)
{
    const coc_memory_needs needs = memory_needs(t, t->viewer != NULL, t->passes.places);

    *plan = (coc_step_plan){.whole = t->network,
                            .seen = t->seen,
                            .parts = t->parts,
                            .places = t->passes.places,
                            .weights = needs.weights,
                            .fits = true};
    coc_step_plan_count(&t->settings, plan);
    COC_TRY(coc_memory_plan_make(&needs, &plan->memory));
    return coc_memory_plan_host(&needs, &plan->host);
}

/* The same number on all ranks: parts are embedded again in one order. */
static coc_status agree_on_places(coc_trainer *t, int *places)
{
    const int own = *places;
    int *all;
    coc_status status;

    COC_TRY(coc_alloc(t->comm->size, sizeof *all, &all));
    status = coc_gather_each(t->comm, "kept activations", &own, sizeof own, all);
    for (int r = 0; r < t->comm->size && status == COC_OK; r++)
        if (all[r] < *places) *places = all[r];
    free(all);
    return status;
}

coc_status coc_trainer_networks(const coc_settings *s, coc_network *whole, coc_network *seen)
{
    const coc_profile *profile;

    COC_TRY(coc_profile_find(s->model.profile, coc_feature_channels(s->data.features), &profile));
    if (profile->features != s->data.features)
        return COC_FAIL(COC_ERR_SETTING,
                        "model.profile: %s does not fit data.features: %s; leave it empty",
                        profile->name, coc_feature_name(s->data.features));
    COC_TRY(
        coc_network_build(profile, s->model.width, s->model.depth, COC_BANDS, COC_FRAMES, whole));
    COC_TRY(coc_network_build(profile, s->model.width, s->model.depth, COC_BANDS,
                              coc_crop_frames(&s->data), seen));
    whole->embedding = seen->embedding = (int)s->model.embedding;
    return COC_OK;
}

int64_t coc_trainer_viewed(const coc_parts *parts, bool crops)
{
    const int64_t clips = 2 * parts->most;

    return crops && clips > MOST_VIEWED ? MOST_VIEWED : clips;
}

static coc_status plan_model(coc_trainer *t, bool views, int *places)
{
    COC_TRY(coc_parts_make_for(t->comm, &t->settings, t->settings.train.micro_batch, &t->parts));
    COC_TRY(coc_trainer_networks(&t->settings, &t->network, &t->seen));
    t->viewed = coc_trainer_viewed(&t->parts, views);
    return plan_memory(t, views, places);
}

static coc_status create_model(coc_trainer *t, bool views, int places)
{
    const coc_settings *s = &t->settings;
    const coc_device *device = t->backend->device;
    void *host_now;

    COC_TRY(coc_params_create(&t->network, device, true, &t->params));
    COC_TRY(coc_params_init(t->params, &s->model, (uint64_t)s->train.seed));
    COC_TRY(coc_device_alloc(device, 1, sizeof *t->now, &t->now));
    COC_TRY(device->alloc_host(device, sizeof *t->host_now, &host_now));
    t->host_now = host_now;
    t->passes = (coc_passes){.settings = s,
                             .network = &t->seen,
                             .parts = &t->parts,
                             .comm = t->comm,
                             .backend = t->backend,
                             .params = t->params,
                             .now = t->now};
    COC_TRY(coc_passes_create(&t->passes, places));
    if (!views) return COC_OK;
    return coc_encoder_create(t->backend, &t->network, t->viewed, false, &t->viewer);
}

coc_status coc_trainer_create_model(coc_trainer *t)
{
    const coc_comm_settings comm = coc_comm_settings_of(&t->settings);
    const bool views = coc_crop_frames(&t->settings.data) != COC_FRAMES && t->valid_sampler != NULL;
    int places = 1;

    COC_TRY(coc_comm_for_device(t->world, t->backend->device, &comm, &t->comm));
    COC_TRY(coc_comm_agree(t->comm, "planning the model", plan_model(t, views, &places)));
    COC_TRY(agree_on_places(t, &places));
    COC_TRY(coc_comm_agree(t->comm, "making the model", create_model(t, views, places)));
    COC_TRY(coc_comm_agree(t->comm, "memory of the gradient",
                           coc_params_share_grad(t->params, t->comm)));
    COC_TRY(coc_passes_group(&t->passes));
    return coc_similarity_create(t->backend, t->comm, &t->parts, t->network.embedding,
                                 &t->settings.loss, &t->similarity);
}

/* What a rank can do, or fail to do, by itself. */
static coc_status create_local(coc_trainer *t)
{
    const coc_settings *s = &t->settings;

    COC_TRY(open_data(t));
    COC_TRY(coc_backend_choose_device(s->model.backend, t->comm->local_rank, t->comm->local_size,
                                      s->comm.share_gpu, &t->sharers));
    COC_TRY(coc_clips_create(s->model.backend, s->data.features, COC_FRAMES, s->data.threads,
                             &t->clips));
    return coc_backend_open(&s->model, &t->backend);
}

coc_status coc_trainer_create(const coc_settings *settings, coc_comm *comm, const char *run,
                              coc_trainer **trainer)
{
    coc_status status;
    coc_trainer *t;

    *trainer = NULL;
    COC_TRY(coc_alloc(1, sizeof *t, trainer));
    t = *trainer;
    t->settings = *settings;
    t->world = t->comm = comm;
    t->run = run;
    t->steps = settings->train.steps;
    COC_TRY_GOTO(status, coc_comm_agree(comm, "opening the data", create_local(t)), fail);
    COC_TRY_GOTO(status, compare_data(t), fail);
    COC_TRY_GOTO(status, coc_trainer_create_model(t), fail);
    return COC_OK;

fail:
    coc_trainer_destroy(trainer);
    return status;
}

coc_status coc_trainer_start_loader(coc_trainer *t)
{
    const coc_loader_needs needs = {.parts = &t->parts,
                                    .held = t->passes.places,
                                    .again = t->parts.count - t->passes.places,
                                    .groups = t->passes.group_count,
                                    .step = t->step,
                                    .modes_from = coc_modes_from(&t->settings.data, t->steps),
                                    .given = t->given};

    COC_TRY(coc_loader_create(&t->settings, t->sampler, &needs, &t->loader));
    t->passes.source = coc_loader_source(t->loader);
    return COC_OK;
}

void coc_trainer_destroy(coc_trainer **trainer)
{
    coc_trainer *t = *trainer;

    if (t == NULL) return;
    coc_loader_destroy(&t->loader);
    /* recordings hold work of communicators, and these the device's streams */
    if (t->backend != NULL) coc_replay_free(&t->replay, t->backend->device);
    coc_similarity_destroy(&t->similarity);
    coc_passes_destroy(&t->passes); /* groups have communicators under comm */
    coc_params_destroy(&t->params); /* the gradient is memory of the communicator */
    if (t->comm != t->world) coc_comm_destroy(&t->comm);
    if (t->backend != NULL) {
        const coc_device *device = t->backend->device;

        device->release(device, t->now);
        device->release_host(device, t->host_now);
    }
    coc_clips_destroy(&t->clips);
    coc_encoder_destroy(&t->viewer);
    coc_backend_destroy(&t->backend);
    coc_sampler_destroy(&t->valid_sampler);
    coc_sampler_destroy(&t->sampler);
    coc_store_close(&t->valid_store);
    coc_store_close(&t->store);
    free(t);
    *trainer = NULL;
}
