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

/* gateway: borrowed; worker: this one's number. */
void picture_init(struct picture *p, struct shared_gateway *gateway, unsigned worker, const struct picture_events *events, void *owner);
void picture_done(struct picture *p);

/* A checked record: WELCOME, FUNCTION, INSTANCE, SYNCED; others are ignored. -ENOMEM: the record is lost. */
int picture_apply(struct picture *p, const struct record_head *rec);

/* The same in another worker than 0: with what worker 0's picture has for the record's function and instance, borrowed; NULL where it has none. */
int picture_apply_shared(struct picture *p, const struct record_head *rec, struct shared_function *function, struct shared_instance *instance);

/* What we found out ourselves; tells as if the runner had said so. */
void picture_set_state(struct picture *p, struct gw_instance *inst, uint32_t state);

/* A request keeps its function in memory. One more, unless the function has `most` in all workers (0: any number); each true needs a leave. */
bool function_enter(struct gw_function *f, unsigned most);
void function_leave(struct gw_function *f);
