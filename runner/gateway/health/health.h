/*
 * health.h: is an instance ready, and does it stay so? One probe an instance. It says what it finds to the runner (READY, UNHEALTHY) and, at once, to the own picture.
 */
#pragma once

#include "../gateway.h"

struct worker;

int health_instance_new(struct worker *w, struct gw_instance *inst);
void health_instance_changed(struct gw_instance *inst, uint32_t old_state, uint32_t heard);
void health_instance_gone(struct gw_instance *inst);
