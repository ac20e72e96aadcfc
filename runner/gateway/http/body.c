#include "body.h"

#include "trailer.h"

void body_init(struct body *b, enum body_kind kind, uint64_t length)
{
    *b = (struct body){.kind = kind, .left = length};
    b->done = kind == BODY_NONE || (kind == BODY_LENGTH && length == 0);
}

void body_keep_trailer(struct body *b)
{
    b->chunked.keep = b->kind == BODY_CHUNKED;
}

void body_free(struct body *b)
{
    trailer_free(b->chunked.trailer);
    b->chunked.trailer = NULL;
    b->chunked.keep = false;
}

ssize_t body_take(struct body *b, char *data, size_t len, size_t *ret_payload)
{
    ssize_t n = 0;

    *ret_payload = 0;
    if (b->done)
        return 0;
    switch (b->kind) {
    case BODY_NONE:
        break;
    case BODY_LENGTH:
        n = (ssize_t)(len < b->left ? len : b->left);
        b->left -= (uint64_t)n;
        b->done = b->left == 0;
        *ret_payload = (size_t)n;
        break;
    case BODY_CHUNKED:
        n = chunked_decode(&b->chunked, data, len, ret_payload);
        b->done = chunked_done(&b->chunked);
        break;
    case BODY_CLOSE:
        n = (ssize_t)len;
        *ret_payload = len;
        break;
    }
    b->total += *ret_payload;
    return n;
}

uint64_t body_plain(const struct body *b)
{
    if (b->done)
        return 0;
    switch (b->kind) {
    case BODY_LENGTH:
        return b->left;
    case BODY_CHUNKED:
        return chunked_plain(&b->chunked);
    case BODY_CLOSE:
        return UINT64_MAX;
    default:
        return 0;
    }
}

void body_moved(struct body *b, uint64_t n)
{
    b->total += n;
    if (b->kind == BODY_CHUNKED)
        chunked_moved(&b->chunked, n);
    if (b->kind != BODY_LENGTH)
        return;
    b->left -= n;
    b->done = b->left == 0;
}
