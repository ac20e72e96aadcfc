/* The gateway's end of the runner protocol, against a runner on a real socket. */
#include "gateway_fakes.h"

struct seen {
    struct loop *loop;
    struct link *link;
    struct runner runner;
    unsigned pushed, downs, texts, replies, descriptors;
    uint32_t last_pushed;
    int last_err, last_fd;
    char order[64]; /* types of what a request was answered with: T text, R reply */
    unsigned want;
    uint64_t not_before_ns;
};

static void on_record(void *owner, const struct record_head *rec)
{
    struct seen *s = owner;

    s->pushed++;
    s->last_pushed = rec->type;
}

static void on_down(void *owner)
{
    ((struct seen *)owner)->downs++;
}

static void on_descriptor(void *owner, const struct record_head *rec, int fd)
{
    struct seen *s = owner;

    assert_true(fd >= 0);
    if (rec->type == RECORD_LISTENER)
        assert_int_equal(((const struct record_listener *)rec)->port, 53);
    else
        assert_string_equal(((const struct record_file *)rec)->name, "example.org");
    fd_close(fd);
    s->descriptors++;
}

static const struct link_events events = {.on_record = on_record, .on_descriptor = on_descriptor, .on_down = on_down};

static void on_answer(void *arg, const struct record_head *rec, int fd)
{
    struct seen *s = arg;
    size_t len = strlen(s->order);

    if (len + 1 < sizeof(s->order))
        s->order[len] = rec->type == RECORD_REPLY ? 'R' : 'T';
    if (rec->type != RECORD_REPLY) {
        s->texts++;
        return;
    }
    s->replies++;
    s->last_err = ((const struct record_reply *)rec)->diag.err;
    if (s->last_fd >= 0)
        fd_close(s->last_fd);
    s->last_fd = fd;
}

static bool is_up(void *arg)
{
    return link_is_up(((struct seen *)arg)->link);
}

static bool is_down(void *arg)
{
    return ((struct seen *)arg)->downs >= 1;
}

static bool has_replies(void *arg)
{
    return ((struct seen *)arg)->replies >= ((struct seen *)arg)->want;
}

static bool has_records(void *arg)
{
    return ((struct seen *)arg)->runner.records >= ((struct seen *)arg)->want;
}

static bool has_pushed(void *arg)
{
    return ((struct seen *)arg)->pushed >= ((struct seen *)arg)->want;
}

static bool has_accepted(void *arg)
{
    return ((struct seen *)arg)->runner.accepted >= ((struct seen *)arg)->want;
}

static int setup(void **state)
{
    struct seen *s = calloc(1, sizeof(*s));

    log_set_level(LOG_ERR);
    assert_non_null(s);
    s->last_fd = -1;
    assert_int_equal(loop_new(&s->loop), 0);
    runner_init(&s->runner, s->loop);
    assert_int_equal(link_open(s->loop, s->runner.path, &events, s, &s->link), 0);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct seen *s = *state;

    link_free(s->link);
    runner_done(&s->runner);
    fd_close(s->last_fd);
    loop_free(s->loop);
    free(s);
    return 0;
}

static void go_up(struct seen *s)
{
    runner_listen(&s->runner);
    run_until(s->loop, is_up, s);
}

static int ask(struct seen *s, uint64_t *ret_id)
{
    struct record_empty rec = {.head = RECORD_INIT(RECORD_CONFIG_GET, 0)};

    return link_request(s->link, &rec.head, -1, on_answer, s, ret_id);
}

static void connects_when_the_runner_comes(void **state)
{
    struct seen *s = *state;
    uint64_t id;

    assert_false(link_is_up(s->link));
    assert_int_equal(ask(s, &id), -ENOTCONN);
    go_up(s);
    assert_int_equal(s->last_pushed, RECORD_WELCOME);
    assert_int_equal(s->downs, 0);
}

static void answer_with_texts_and_fd(struct runner *r, const struct record_head *rec, int fd)
{
    static struct record_text text;
    cleanup_fd int memfd = fd_sealed_memfd("test", "abc", 3, 0);

    text = (struct record_text){.head = RECORD_INIT(RECORD_TEXT, rec->id), .len = 1};
    runner_send(r, &text);
    runner_send(r, &text);
    runner_reply(r, rec->id, 0, NULL, memfd);
}

static void answers_come_by_id_with_descriptor(void **state)
{
    struct seen *s = *state;
    char buf[4] = "";

    s->runner.on_record = answer_with_texts_and_fd;
    go_up(s);
    assert_int_equal(ask(s, NULL), 0);
    s->want = 1;
    run_until(s->loop, has_replies, s);
    assert_string_equal(s->order, "TTR");
    assert_int_equal(s->last_err, 0);
    assert_true(s->last_fd >= 0);
    assert_int_equal(pread(s->last_fd, buf, 3, 0), 3);
    assert_string_equal(buf, "abc");
}

static bool has_descriptors(void *arg)
{
    return ((struct seen *)arg)->descriptors >= ((struct seen *)arg)->want;
}

static void listeners_and_files_come_with_their_descriptor(void **state)
{
    struct record_listener rec = {.head = RECORD_INIT(RECORD_LISTENER, 0), .kind = RECORD_LISTENER_DNS_UDP, .port = 53};
    struct record_file file = {.head = RECORD_INIT(RECORD_FILE, 0), .kind = RECORD_FILE_KEY, .name = "example.org"};
    cleanup_fd int memfd = fd_sealed_memfd("test", "abc", 3, 0);
    struct seen *s = *state;

    go_up(s);
    s->pushed = 0;
    s->want = 2;
    assert_int_equal(runner_send_fd(&s->runner, &rec, memfd), 0);
    assert_int_equal(runner_send_fd(&s->runner, &file, memfd), 0);
    run_until(s->loop, has_descriptors, s);
    assert_int_equal(s->pushed, 0);
    runner_send(&s->runner, &file); /* without one: the protocol is broken */
    run_until(s->loop, is_down, s);
    assert_int_equal(s->descriptors, 2);
}

static void forgotten_requests_stay_quiet(void **state)
{
    struct seen *s = *state;
    uint64_t first, second;

    s->runner.on_record = answer_with_texts_and_fd;
    go_up(s);
    assert_int_equal(ask(s, &first), 0);
    assert_int_equal(ask(s, &second), 0);
    assert_int_not_equal(first, second);
    link_forget(s->link, first);
    link_forget(s->link, 4711);
    s->want = 1;
    run_until(s->loop, has_replies, s);
    assert_int_equal(s->replies, 1);
    assert_int_equal(s->texts, 2);
}

static void lost_connection_answers_everybody(void **state)
{
    struct seen *s = *state;

    go_up(s);
    for (int i = 0; i < 10; i++)
        assert_int_equal(ask(s, NULL), 0);
    s->want = 11; /* and HELLO */
    run_until(s->loop, has_records, s);
    runner_hang_up(&s->runner);
    run_until(s->loop, is_down, s);
    assert_int_equal(s->replies, 10);
    assert_int_equal(s->last_err, ECONNRESET);
    assert_int_equal(s->last_fd, -1);
    run_until(s->loop, is_up, s); /* by itself */
    assert_int_equal(s->runner.accepted, 2);
}

static bool retry_is_over(void *arg)
{
    const struct seen *s = arg;

    return clock_mono_ns() > s->not_before_ns;
}

/* A gateway that ends would take the place of the next one, which the runner has started by then. */
static void a_last_connection_is_not_followed_by_another(void **state)
{
    struct seen *s = *state;

    go_up(s);
    link_stay_down(s->link);
    assert_int_equal(ask(s, NULL), 0); /* what is there goes on */
    runner_hang_up(&s->runner);
    run_until(s->loop, is_down, s);
    s->not_before_ns = clock_mono_ns() + 300 * NS_PER_MS; /* three times the time after which a link tries again */
    run_until(s->loop, retry_is_over, s);
    assert_int_equal(s->runner.accepted, 1);
}

static void expect_refused(struct seen *s, const void *rec, size_t len)
{
    go_up(s);
    assert_int_equal(fd_send(s->runner.fd, rec, len, NULL, 0, 0), 0);
    run_until(s->loop, is_down, s);
}

static void wrong_size_ends_the_connection(void **state)
{
    struct record_empty rec = {.head = {.type = RECORD_FUNCTION, .size = sizeof(rec)}};

    expect_refused(*state, &rec, sizeof(rec));
}

static void gateways_own_type_ends_the_connection(void **state)
{
    struct record_empty rec = {.head = RECORD_INIT(RECORD_STATS_GET, 1)};

    expect_refused(*state, &rec, sizeof(rec));
}

static void open_text_ends_the_connection(void **state)
{
    struct record_instance rec = {.head = RECORD_INIT(RECORD_INSTANCE, 0)};

    memset(rec.name, 'x', sizeof(rec.name));
    expect_refused(*state, &rec, sizeof(rec));
    assert_int_equal(((struct seen *)*state)->pushed, 1); /* WELCOME */
}

static void accept_and_push_early(struct watch *w, uint32_t ev)
{
    struct runner *r = w->owner;
    struct record_empty rec = {.head = RECORD_INIT(RECORD_SYNCED, 0)};

    r->silent = true;
    runner_accept(w, ev);
    runner_send(r, &rec);
}

static void nothing_counts_before_welcome(void **state)
{
    struct seen *s = *state;

    runner_listen(&s->runner);
    loop_unwatch(&s->runner.listen_watch);
    assert_int_equal(loop_watch(s->loop, &s->runner.listen_watch, s->runner.listen_fd, EPOLLIN, accept_and_push_early, &s->runner), 0);
    s->want = 3; /* it keeps trying */
    run_until(s->loop, has_accepted, s);
    assert_int_equal(s->pushed, 0);
    assert_int_equal(s->downs, 0);
    assert_false(link_is_up(s->link));
}

static void accept_and_welcome_wrongly(struct watch *w, uint32_t ev)
{
    struct runner *r = w->owner;

    r->silent = true;
    runner_accept(w, ev);
    runner_welcome(r, RECORD_PROTOCOL + 1);
}

static void other_protocol_is_refused(void **state)
{
    struct seen *s = *state;

    runner_listen(&s->runner);
    loop_unwatch(&s->runner.listen_watch);
    assert_int_equal(loop_watch(s->loop, &s->runner.listen_watch, s->runner.listen_fd, EPOLLIN, accept_and_welcome_wrongly, &s->runner), 0);
    s->want = 2;
    run_until(s->loop, has_accepted, s);
    assert_false(link_is_up(s->link));
    assert_int_equal(s->pushed, 0);
}

static void snapshot_of_many_arrives_whole(void **state)
{
    struct seen *s = *state;
    struct record_instance rec = {.head = RECORD_INIT(RECORD_INSTANCE, 0)};

    go_up(s);
    s->pushed = 0;
    for (unsigned i = 0; i < 150; i++) /* more than one batch, less than the socket holds */
        runner_send(&s->runner, &rec);
    s->want = 150;
    run_until(s->loop, has_pushed, s);
    assert_int_equal(s->pushed, 150);
}

/* The runner does not read: requests are refused at a bound, reports wait, and all arrive in order once it reads. */
static void full_socket_is_bounded_and_recovers(void **state)
{
    struct seen *s = *state;
    struct record_deploy *rec = calloc(1, sizeof(*rec));
    cleanup_fd int fd = fd_sealed_memfd("test", "x", 1, 0);
    unsigned sent = 0;
    int r;

    assert_non_null(rec);
    go_up(s);
    loop_unwatch(&s->runner.watch);
    rec->head = (struct record_head)RECORD_INIT(RECORD_DEPLOY, 0);
    while ((r = link_request(s->link, &rec->head, fd, on_answer, s, NULL)) == 0) {
        sent++;
        assert_true(sent < 10000);
    }
    assert_int_equal(r, -ENOBUFS);
    assert_true(sent > 200);
    link_report(s->link, RECORD_READY, 7, NULL);
    s->want = 1 + sent + 1;
    assert_int_equal(loop_watch(s->loop, &s->runner.watch, s->runner.fd, EPOLLIN, runner_readable, &s->runner), 0);
    run_until(s->loop, has_records, s);
    assert_int_equal(s->runner.records, 1 + sent + 1);
    assert_int_equal(s->runner.last_type, RECORD_READY);
    assert_true(link_is_up(s->link));
    free(rec);
}

/* Reports must not get lost on a living connection: when even their room is full, the connection ends. */
static void runner_that_never_reads_is_hung_up_on(void **state)
{
    struct seen *s = *state;

    go_up(s);
    loop_unwatch(&s->runner.watch);
    for (unsigned i = 0; i < 20000; i++)
        link_report(s->link, RECORD_IDLE, i, "text");
    run_until(s->loop, is_down, s);
    assert_false(link_is_up(s->link));
}

static void request_again(void *arg, const struct record_head *rec, int fd)
{
    struct seen *s = arg;
    struct record_empty again = {.head = RECORD_INIT(RECORD_CONFIG_GET, 0)};

    on_answer(arg, rec, fd);
    if (s->replies == 1)
        assert_int_equal(link_request(s->link, &again.head, -1, on_answer, s, NULL), -ENOTCONN);
}

static void callbacks_may_use_the_link_that_breaks(void **state)
{
    struct seen *s = *state;
    struct record_empty rec = {.head = RECORD_INIT(RECORD_CONFIG_GET, 0)};

    go_up(s);
    assert_int_equal(link_request(s->link, &rec.head, -1, request_again, s, NULL), 0);
    runner_hang_up(&s->runner);
    run_until(s->loop, is_down, s);
    assert_int_equal(s->replies, 1);
}

static void wrong_records_are_not_sent(void **state)
{
    struct seen *s = *state;
    struct record_empty rec = {.head = RECORD_INIT(RECORD_SYNCED, 0)};

    go_up(s);
    assert_int_equal(link_request(s->link, &rec.head, -1, on_answer, s, NULL), -EPROTO);
    assert_true(link_is_up(s->link));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(connects_when_the_runner_comes),
        TEST(answers_come_by_id_with_descriptor),
        TEST(listeners_and_files_come_with_their_descriptor),
        TEST(forgotten_requests_stay_quiet),
        TEST(lost_connection_answers_everybody),
        TEST(wrong_size_ends_the_connection),
        TEST(gateways_own_type_ends_the_connection),
        TEST(open_text_ends_the_connection),
        TEST(nothing_counts_before_welcome),
        TEST(other_protocol_is_refused),
        TEST(snapshot_of_many_arrives_whole),
        TEST(full_socket_is_bounded_and_recovers),
        TEST(runner_that_never_reads_is_hung_up_on),
        TEST(callbacks_may_use_the_link_that_breaks),
        TEST(wrong_records_are_not_sent),
        TEST(a_last_connection_is_not_followed_by_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
