/* fnd_options.h: the command line of fnd. */
#pragma once

#include <stdbool.h>

#define SETS_MAX 64U

struct options {
    const char *config;
    const char *sets[SETS_MAX];
    unsigned nsets;
    bool check, sweep, hold, verbose;
};

/* 0; 2 for a command line that is wrong (said on stderr). --help and --version end the process. */
int fnd_options_parse(int argc, char **argv, struct options *ret);
