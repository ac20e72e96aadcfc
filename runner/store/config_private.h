/* config_private.h: one key of the daemon's configuration, between the table (config.c) and the values by their kind (config_value.c). */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct config;
struct diag;

enum key_type {
    KEY_TEXT,
    KEY_PATH,
    KEY_BOOL,
    KEY_U32,
    KEY_SIZE,
    KEY_DURATION,
    KEY_LISTEN,
    KEY_PREFIX,
    KEY_SUBNET,
    KEY_LIMITS,
    KEY_ALLOW,
    KEY_DEVICES,
    KEY_SHARE,
    KEY_CPUS,
    KEY_DNS,
    KEY_URL,
    KEY_LACKS,
    KEY_NETS,
    KEY_THREADS,
    KEY_SOCKMAP
};

struct key {
    const char *section, *name;
    const char *def;
    enum key_type type;
    uint16_t offset, size;
    uint64_t min, max; /* numbers: bounds; texts: lengths */
};

/* Reads a value into its field; *c is unchanged on failure. */
int key_set(struct config *c, const struct key *k, const char *value, struct diag *d);

/* As it would be written in the file. */
void key_format(const struct config *c, const struct key *k, char *buf, size_t size);
