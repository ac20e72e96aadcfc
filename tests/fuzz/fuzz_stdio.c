/* What fn-init reads of a request in mode stdio: a head is the same whatever came before it was whole; its body is the same at once and in pieces; variables and document are well formed whatever stands in it. */
#include "fuzz_http.h"

#include "../../runner/init/stdio_vars.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct text {
    char *data;
    size_t len, room;
};

static int append(void *arg, const char *data, size_t len)
{
    struct text *t = arg;

    if (t->len + len + 1 > t->room) {
        t->room = 2 * (t->len + len + 1);
        t->data = realloc(t->data, t->room);
        if (!t->data)
            abort();
    }
    memcpy(t->data + t->len, data, len);
    t->len += len;
    t->data[t->len] = '\0';
    return 0;
}

static struct text take_body(const struct stdio_request *r, const char *data, size_t size, size_t step, bool *ret_broken)
{
    struct text out = {0};
    struct stdio_body b;
    size_t at = 0;

    append(&out, "", 0);
    stdio_body_init(&b, r);
    *ret_broken = false;
    while (at < size && !b.done && !*ret_broken) {
        const size_t n = size - at < step ? size - at : step;
        char *piece = exact_copy((const uint8_t *)data + at, n);
        size_t payload = 0;
        const int64_t used = stdio_body_take(&b, piece, n, &payload);

        assert(payload <= n && used <= (int64_t)n && (used == (int64_t)n || used < 0 || b.done));
        *ret_broken = used < 0;
        if (used >= 0) {
            append(&out, piece, payload);
            at += (size_t)used;
        }
        free(piece);
    }
    assert(*ret_broken || b.taken == out.len);
    return out;
}

/* No variable is there twice, none has a line of its own, the server's come first. */
static void check_vars(const struct stdio_request *r)
{
    static char text[2 * STDIO_HEAD_MAX];
    static char *list[STDIO_FIELDS_MAX + 16];
    struct stdio_vars v = {.list = list, .max = STDIO_FIELDS_MAX + 16, .text = text, .size = sizeof(text)};

    assert(stdio_vars_make(&v, r) == 0);
    assert(strncmp(list[0], "Http_Method=", 12) == 0 && list[v.count] == NULL);
    for (size_t i = 0; i < v.count; i++) {
        const size_t n = strcspn(list[i], "=");

        assert(strncmp(list[i], "Http_", 5) == 0 && list[i][n] == '=');
        for (size_t k = 0; k < i; k++)
            assert(strncmp(list[k], list[i], n + 1) != 0);
    }
}

/* Every quote is one that opens or closes, and nothing in it would end the document early. */
static void check_document(const struct stdio_request *r, const char *body, size_t len)
{
    struct text out = {0};
    struct stdio_marshal m = {.sink = append, .arg = &out};
    unsigned quotes = 0;
    int depth = 0;

    assert(stdio_marshal_begin(&m, r) == 0 && stdio_marshal_body(&m, body, len) == 0 && stdio_marshal_end(&m) == 0);
    for (const char *p = out.data; *p; p++) {
        assert((unsigned char)*p >= 0x20);
        if (quotes & 1 && *p == '\\')
            p++;
        else if (*p == '"')
            quotes++;
        else if (!(quotes & 1))
            depth += *p == '{' || *p == '[' ? 1 : *p == '}' || *p == ']' ? -1 : 0;
        assert(depth > 0 || p + 1 == out.data + out.len);
    }
    assert(quotes % 2 == 0 && depth == 0);
    free(out.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct stdio_request r, again;
    char *whole = exact_copy(data, size);
    const int n = stdio_head_parse(whole, size, &r);

    assert(n <= (int)size);
    for (size_t len = 0; len < size && len < 600; len++) {
        char *prefix = exact_copy(data, len);
        const int p = stdio_head_parse(prefix, len, &again);

        assert(p == 0 || p == n);
        free(prefix);
    }
    if (n > 0) {
        bool broken, broken_too;
        struct text body = take_body(&r, whole + n, size - (size_t)n, size, &broken);
        struct text pieces = take_body(&r, whole + n, size - (size_t)n, 3, &broken_too);

        assert(broken == broken_too && (broken || (body.len == pieces.len && memcmp(body.data, pieces.data, body.len) == 0)));
        check_vars(&r);
        check_document(&r, body.data, body.len);
        free(body.data);
        free(pieces.data);
    }
    free(whole);
    return 0;
}
