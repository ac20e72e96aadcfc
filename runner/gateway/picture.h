/* picture.h: the functions and instances as the runner last told. Knows nothing of sockets: what follows from a change is the business of who is told (picture_events). */
#pragma once

#include "gateway.h"

/*
 * Called after the picture has changed. A function or instance that is gone is not in the picture any more and is freed (a function: when its last request is over) after the call.
 *   heard: the state that the runner named; it differs from inst->rec.state only where the runner does not know yet that we said READY
 */
struct picture_events {
    void (*on_function)(void *owner, struct gw_function *f, bool is_new);
    void (*on_function_gone)(void *owner, struct gw_function *f);
    void (*on_instance)(void *owner, struct gw_instance *inst, uint32_t old_state, uint32_t heard);
    void (*on_instance_gone)(void *owner, struct gw_instance *inst);
};

void picture_init(struct picture *p, const struct picture_events *events, void *owner);
void picture_done(struct picture *p);

/* A checked record: WELCOME, FUNCTION, INSTANCE, SYNCED; others are ignored. -ENOMEM: the record is lost. */
int picture_apply(struct picture *p, const struct record_head *rec);

/* What we found out ourselves; tells as if the runner had said so. */
void picture_set_state(struct picture *p, struct gw_instance *inst, uint32_t state);

/* A request keeps its function in memory. */
unsigned function_requests(const struct gw_function *f); /* under way, of a function that is in the picture */
void function_ref(struct gw_function *f);
void function_unref(struct gw_function *f);
