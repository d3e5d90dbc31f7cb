/* train/memory_plan.h - what a rank takes of its device's memory, by part, before it takes any. */
#ifndef COC_TRAIN_MEMORY_PLAN_H
#define COC_TRAIN_MEMORY_PLAN_H

#include "comm/parts.h"
#include "configs/settings.h"
#include "model/encoder.h"

enum { COC_MEMORY_PARTS = 24 };

typedef struct {
    const char *name;
    int64_t bytes;
} coc_memory_part;

typedef struct {
    coc_memory_part part[COC_MEMORY_PARTS];
    int parts;
    int64_t bytes;
    const char *advice; /* what to do where it does not fit */
} coc_memory_plan;

/* What is planned for. */
typedef struct {
    const coc_settings *settings;
    const coc_network *whole, *seen; /* of whole windows; of what training sees of them */
    int64_t weights;                 /* of the model */
    const coc_parts *parts;          /* of the batch */
    int places;                      /* parts whose activations are kept (train/passes.h) */
    int64_t viewed;                  /* clips of the encoder for whole windows; 0: none */
    int64_t validated;               /* pairs of a validation; 0: none */
    size_t stored_bytes;
    coc_side side; /* of the backend's device: page-locked memory counts on the host */
} coc_memory_needs;

/* All but the working memory of other operations of the host than the loss, a few megabytes.
 * Errors: COC_ERR_MEMORY (of the host, for the planning itself), COC_ERR_SETTING (a backend that is
 * not built in). */
coc_status coc_memory_plan_make(const coc_memory_needs *needs, coc_memory_plan *plan);

/* What a rank whose backend is a GPU takes of the host beside that: page-locked memory, which
 * cannot be swapped out, and a checkpoint. Empty for a backend of the host. Errors: COC_ERR_MEMORY.
 */
coc_status coc_memory_plan_host(const coc_memory_needs *needs, coc_memory_plan *plan);

/* "name GB, name GB, ..." into text, without parts of less than half a percent, cut off where there
 * is no room; returns text. */
char *coc_memory_plan_text(const coc_memory_plan *plan, char *text, size_t room);

/* Whether it fits into what the device has left for each of the `sharers` ranks that use it.
 * device: the backend's, or the host for a plan of coc_memory_plan_host. Errors: COC_ERR_MEMORY,
 * one line with the parts and what to change. */
coc_status coc_memory_plan_check(const coc_memory_plan *plan, const coc_device *device,
                                 int sharers);

/* *places: of how many parts the activations fit, with room left for the working memory of
 * operations; at least needs->places, which has been checked. Errors: COC_ERR_MEMORY (of the host),
 * COC_ERR_DEVICE. */
coc_status coc_memory_places(const coc_memory_needs *needs, const coc_device *device, int sharers,
                             int *places);
/* The same for so many bytes. */
coc_status coc_memory_places_in(const coc_memory_needs *needs, int64_t memory, int *places);

#endif
