/* yaml_tree.h: a YAML text as a small tree, with the line of everything. Read with the caller's rights, and bounded all the same: the file may come from a stranger's repository. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct diag;

#define YTREE_BYTES_MAX 262144U
#define YTREE_NODES_MAX 20000U /* with every use of an alias counted as what it stands for */
#define YTREE_DEPTH_MAX 32U

enum ykind { YTREE_TEXT, YTREE_MAP, YTREE_LIST };

struct ynode {
    enum ykind kind;
    unsigned line;
    const char *key;  /* in a map */
    const char *text; /* of a text; "" for none */
    bool plain;       /* not quoted: "yes" is a word, 3 a number */
    struct ynode *first, *next;
};

struct ytree;

/* One document whose top is a map. `what` begins every message ("stack.yml:3: ..."). Keys are texts, and come once; << merges. */
int ytree_parse(const char *what, const char *text, size_t len, struct ytree **ret, struct diag *d);
void ytree_free(struct ytree *t);
const struct ynode *ytree_top(const struct ytree *t);
const struct ynode *ytree_get(const struct ynode *map, const char *key); /* NULL: not there, or no map */
