/* spec_parts.h: the parts of spec_check(), one file each; called when counts and numbers are within their bounds. -EPROTO for what no honest jail writes, -EINVAL with a text for people. */
#pragma once

#include "spec.h"

struct diag;

int spec_check_volumes(const struct spec *s, struct diag *d);
int spec_check_devices(const struct spec *s, struct diag *d);
