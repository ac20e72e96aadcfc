/*
 * yaml_tree.c: libyaml's events into nodes. The one place that knows libyaml.
 *
 * An alias is a copy of what it names, paid for from the same budget of nodes as everything else, so that a few lines cannot become gigabytes ("billion laughs"); what is still open cannot be named. libyaml's
 * own nesting is bounded by the depth at which we stop asking it for events.
 */
#include "yaml_tree.h"

#include "diag.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define ANCHORS_MAX 256
#define MERGE       "<<"

struct block {
    struct block *next;
    struct ynode node;
    char *text, *key; /* owned */
};

struct ytree {
    const char *what;
    struct block *blocks;
    unsigned count;
    struct ynode *top;
    struct {
        char *name;
        struct ynode *node; /* NULL: still open */
    } anchors[ANCHORS_MAX];
    unsigned nanchors;
    yaml_parser_t parser;
};

static int read_node(struct ytree *t, yaml_event_t *e, unsigned depth, struct ynode **ret, struct diag *d);

void ytree_free(struct ytree *t)
{
    if (!t)
        return;
    while (t->blocks) {
        struct block *b = t->blocks;

        t->blocks = b->next;
        free(b->text);
        free(b->key);
        free(b);
    }
    for (unsigned i = 0; i < t->nanchors; i++)
        free(t->anchors[i].name);
    free(t);
}

const struct ynode *ytree_top(const struct ytree *t)
{
    return t->top;
}

const struct ynode *ytree_get(const struct ynode *map, const char *key)
{
    if (!map || map->kind != YTREE_MAP)
        return NULL;
    for (const struct ynode *n = map->first; n; n = n->next)
        if (strcmp(n->key, key) == 0)
            return n;
    return NULL;
}

static int refuse(const struct ytree *t, size_t line, struct diag *d, const char *why)
{
    return diag_set(d, EINVAL, "%s:%zu: %s", t->what, line, why);
}

static int add_node(struct ytree *t, enum ykind kind, size_t line, const char *text, struct ynode **ret, struct diag *d)
{
    struct block *b;

    if (t->count == YTREE_NODES_MAX)
        return diag_set(d, E2BIG, "%s:%zu: more than %u values (an alias counts as what it stands for)", t->what, line, YTREE_NODES_MAX);
    b = calloc(1, sizeof(*b));
    if (!b || !(b->text = strdup(text ? text : ""))) {
        free(b);
        return diag_set(d, ENOMEM, "out of memory");
    }
    b->next = t->blocks;
    t->blocks = b;
    t->count++;
    b->node = (struct ynode){.kind = kind, .line = (unsigned)line, .text = b->text};
    *ret = &b->node;
    return 0;
}

/* The newest block is the one that the node was just added in, or its children's: found by the node. */
static int set_key(struct ynode *n, const char *key, struct diag *d)
{
    struct block *b = (struct block *)((char *)n - offsetof(struct block, node));

    free(b->key);
    b->key = strdup(key);
    n->key = b->key;
    return b->key ? 0 : diag_set(d, ENOMEM, "out of memory");
}

/* A depth that counts from where the copy hangs. */
static int copy_node(struct ytree *t, const struct ynode *from, unsigned depth, struct ynode **ret, struct diag *d)
{
    struct ynode **tail;
    int r;

    if (depth > YTREE_DEPTH_MAX)
        return refuse(t, from->line, d, "nested too deep");
    r = add_node(t, from->kind, from->line, from->text, ret, d);
    if (r < 0)
        return r;
    (*ret)->plain = from->plain;
    tail = &(*ret)->first;
    for (const struct ynode *n = from->first; n && r == 0; n = n->next) {
        r = copy_node(t, n, depth + 1, tail, d);
        if (r == 0 && n->key)
            r = set_key(*tail, n->key, d);
        if (r == 0)
            tail = &(*tail)->next;
    }
    return r;
}

static int add_anchor(struct ytree *t, const char *name, size_t line, unsigned *ret, struct diag *d)
{
    *ret = ANCHORS_MAX;
    if (!name)
        return 0;
    if (t->nanchors == ANCHORS_MAX)
        return refuse(t, line, d, "too many anchors");
    t->anchors[t->nanchors].name = strdup(name);
    if (!t->anchors[t->nanchors].name)
        return diag_set(d, ENOMEM, "out of memory");
    *ret = t->nanchors++;
    return 0;
}

static int read_alias(struct ytree *t, const char *name, size_t line, unsigned depth, struct ynode **ret, struct diag *d)
{
    for (unsigned i = t->nanchors; i > 0; i--) {
        if (strcmp(t->anchors[i - 1].name, name) != 0)
            continue;
        if (!t->anchors[i - 1].node)
            return refuse(t, line, d, "an alias within what it names");
        return copy_node(t, t->anchors[i - 1].node, depth, ret, d);
    }
    return refuse(t, line, d, "an alias of what was not named before");
}

static int next_event(struct ytree *t, yaml_event_t *e, struct diag *d)
{
    if (yaml_parser_parse(&t->parser, e))
        return 0;
    if (t->parser.error == YAML_MEMORY_ERROR)
        return diag_set(d, ENOMEM, "out of memory");
    return diag_set(d, EINVAL, "%s:%zu: %s", t->what, t->parser.problem_mark.line + 1, t->parser.problem ? t->parser.problem : "is no YAML");
}

/* What << brings along, where the map does not say it itself. */
static int merge(struct ytree *t, struct ynode *map, const struct ynode *from, unsigned depth, struct diag *d)
{
    struct ynode **tail = &map->first;
    int r = 0;

    if (from->kind == YTREE_LIST) {
        for (const struct ynode *n = from->first; n && r == 0; n = n->next)
            r = n->kind == YTREE_LIST ? refuse(t, n->line, d, "<< takes a map, or a list of maps") : merge(t, map, n, depth, d);
        return r;
    }
    if (from->kind != YTREE_MAP)
        return refuse(t, from->line, d, "<< takes a map, or a list of maps");
    while (*tail)
        tail = &(*tail)->next;
    for (const struct ynode *n = from->first; n && r == 0; n = n->next) {
        if (ytree_get(map, n->key))
            continue;
        r = copy_node(t, n, depth + 1, tail, d);
        if (r == 0)
            r = set_key(*tail, n->key, d);
        if (r == 0)
            tail = &(*tail)->next;
    }
    return r;
}

/* Whoever writes it down, in a line of its own or in a message, need not look again. */
static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

static int read_key(struct ytree *t, const struct ynode *map, yaml_event_t *e, char **ret, struct diag *d)
{
    const char *key = (const char *)e->data.scalar.value;

    if (e->type != YAML_SCALAR_EVENT || e->data.scalar.anchor)
        return refuse(t, e->start_mark.line + 1, d, "a key must be a plain text");
    if (strlen(key) != e->data.scalar.length)
        return refuse(t, e->start_mark.line + 1, d, "a NUL byte");
    if (has_control(key))
        return refuse(t, e->start_mark.line + 1, d, "a key has no control characters");
    if (ytree_get(map, key))
        return diag_set(d, EINVAL, "%s:%zu: %.60s is there twice", t->what, e->start_mark.line + 1, key);
    *ret = strdup(key);
    return *ret ? 0 : diag_set(d, ENOMEM, "out of memory");
}

/* One entry of a map: its key is in `e`. The tail stays where it is when the value was merged. */
static int read_pair(struct ytree *t, struct ynode *map, struct ynode ***tail, yaml_event_t *e, unsigned depth, struct ynode **merged, struct diag *d)
{
    struct ynode *value = NULL;
    yaml_event_t v;
    char *key = NULL;
    int r = read_key(t, map, e, &key, d);

    if (r == 0)
        r = next_event(t, &v, d);
    if (r == 0) {
        r = read_node(t, &v, depth + 1, &value, d);
        yaml_event_delete(&v);
    }
    if (r == 0 && strcmp(key, MERGE) == 0) {
        *merged = value;
    } else if (r == 0) {
        r = set_key(value, key, d);
        value->line = (unsigned)e->start_mark.line + 1; /* a person looks for the key */
        **tail = value;
        *tail = &value->next;
    }
    free(key);
    return r;
}

static int read_children(struct ytree *t, struct ynode *n, unsigned depth, struct diag *d)
{
    struct ynode **tail = &n->first, *merged = NULL;
    int r = 0;

    if (depth >= YTREE_DEPTH_MAX)
        return refuse(t, n->line, d, "nested too deep");
    while (r == 0) {
        yaml_event_t e;
        bool end;

        r = next_event(t, &e, d);
        if (r < 0)
            return r;
        end = e.type == YAML_MAPPING_END_EVENT || e.type == YAML_SEQUENCE_END_EVENT;
        if (!end && n->kind == YTREE_MAP) {
            r = read_pair(t, n, &tail, &e, depth, &merged, d);
        } else if (!end) {
            r = read_node(t, &e, depth + 1, tail, d);
            if (r == 0)
                tail = &(*tail)->next;
        }
        yaml_event_delete(&e);
        if (end)
            return merged ? merge(t, n, merged, depth, d) : 0;
    }
    return r;
}

static int read_node(struct ytree *t, yaml_event_t *e, unsigned depth, struct ynode **ret, struct diag *d)
{
    const yaml_char_t *anchor = NULL;
    size_t line = e->start_mark.line + 1;
    unsigned mark;
    int r;

    if (e->type == YAML_ALIAS_EVENT)
        return read_alias(t, (const char *)e->data.alias.anchor, line, depth, ret, d);
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        if (strlen((const char *)e->data.scalar.value) != e->data.scalar.length)
            return refuse(t, line, d, "a NUL byte");
        r = add_node(t, YTREE_TEXT, line, (const char *)e->data.scalar.value, ret, d);
        if (r == 0)
            (*ret)->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    } else if (e->type == YAML_MAPPING_START_EVENT || e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->type == YAML_MAPPING_START_EVENT ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
        r = add_node(t, e->type == YAML_MAPPING_START_EVENT ? YTREE_MAP : YTREE_LIST, line, NULL, ret, d);
    } else {
        return refuse(t, line, d, "a value is missing");
    }
    if (r == 0)
        r = add_anchor(t, (const char *)anchor, line, &mark, d);
    if (r == 0 && (*ret)->kind != YTREE_TEXT)
        r = read_children(t, *ret, depth, d);
    if (r == 0 && mark < ANCHORS_MAX)
        t->anchors[mark].node = *ret;
    return r;
}

/* STREAM-START, DOCUMENT-START, the top, DOCUMENT-END, STREAM-END. */
static int read_document(struct ytree *t, struct diag *d)
{
    yaml_event_t e;
    bool more = true, document = false;
    int r = 0;

    while (r == 0 && more) {
        r = next_event(t, &e, d);
        if (r < 0)
            return r;
        if (e.type == YAML_STREAM_END_EVENT)
            more = false;
        else if (e.type == YAML_DOCUMENT_START_EVENT && document)
            r = refuse(t, e.start_mark.line + 1, d, "a second document: one is read");
        else if (e.type == YAML_DOCUMENT_START_EVENT)
            document = true;
        else if (e.type != YAML_STREAM_START_EVENT && e.type != YAML_DOCUMENT_END_EVENT)
            r = read_node(t, &e, 0, &t->top, d);
        yaml_event_delete(&e);
    }
    if (r == 0 && (!t->top || t->top->kind != YTREE_MAP))
        r = refuse(t, t->top ? t->top->line : 1, d, "KEY: VALUE lines are expected");
    return r;
}

int ytree_parse(const char *what, const char *text, size_t len, struct ytree **ret, struct diag *d)
{
    struct ytree *t;
    int r;

    if (len > YTREE_BYTES_MAX)
        return diag_set(d, EFBIG, "%s: is larger than %u bytes", what, YTREE_BYTES_MAX);
    t = calloc(1, sizeof(*t));
    if (!t || !yaml_parser_initialize(&t->parser)) {
        free(t);
        return diag_set(d, ENOMEM, "out of memory");
    }
    t->what = what;
    yaml_parser_set_encoding(&t->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&t->parser, (const unsigned char *)text, len);
    r = read_document(t, d);
    yaml_parser_delete(&t->parser);
    if (r < 0)
        ytree_free(t);
    else
        *ret = t;
    return r;
}
