"""fnd-gateway by itself: what it finds out about instances with their health path, and that the runner hears of it."""

import threading

import gatewayhost as g
from fndtest import wait_until
from gatewayhost import gateway, runner, serve  # noqa: F401 (fixtures)

OFTEN = 20 * 10**6


class Pings(g.Backend):
    """An instance whose n-th answer to /ping is answers(n), a status; None: it never comes."""

    def __init__(self, answers, **options):
        self.n = 0
        self.answers = answers
        super().__init__(self.handle, ping=False, **options)

    def handle(self, conn, head):
        if not head.startswith(b"GET /ping "):
            return g.answer()
        self.n += 1
        status = self.answers(self.n)
        return g.answer(status=status) if status else (conn.fill(), None)[1]


def unhealthy(runner):
    return [number for what, number, _ in runner.reports if what == "unhealthy"]


def test_failures_count_in_a_row(gateway, runner):
    """Two of three fail, all the time: that is not three of three."""
    backend = Pings(lambda n: "200 OK" if n % 3 == 1 else "500 No")
    number = runner.instance(runner.function("hello", health_interval_ns=OFTEN, health_threshold=3), backend)
    runner.wait_report("ready", number)
    wait_until(lambda: backend.n > 20, what="twenty answers")
    runner.heard()
    assert unhealthy(runner) == []


def test_one_that_was_ready_before_the_gateway_is_asked(gateway, runner):
    number = runner.instance(runner.function("hello", health_interval_ns=OFTEN), Pings(lambda n: "500 No"), state=g.READY_STATE)
    runner.wait_report("unhealthy", number)


def test_no_answer_is_a_failure_but_not_while_it_works(gateway, runner):
    """Whoever answers one request after the other is merely late. What hangs without a request has failed."""
    go = threading.Event()

    class Busy(Pings):
        def handle(self, conn, head):
            return super().handle(conn, head) if head.startswith(b"GET /ping ") else (go.wait(60), g.answer())[1]

    busy, idle = Busy(lambda n: None), Pings(lambda n: None)
    numbers = []
    for name, backend in (("busy", busy), ("idle", idle)):
        f = runner.function(name, health_interval_ns=4 * 10**9 if backend is busy else OFTEN, health_threshold=1, timeout_ns=3600 * 10**9)
        numbers.append(runner.instance(f, backend, state=g.READY_STATE))
        if backend is busy:
            client = threading.Thread(target=gateway.get, args=("/fn/busy/",))
            client.start()
            wait_until(lambda: busy.n > 0, what="the question to the busy one")
    runner.wait_report("unhealthy", numbers[1])  # its question came later
    assert unhealthy(runner) == numbers[1:]
    go.set()
    client.join()


def test_ready_is_used_before_the_runner_has_said_so(gateway, runner):
    backend = g.Backend(listening=False)
    number = runner.instance(runner.function("hello"), backend)
    with runner.cond:
        del runner.instances[number]  # so that it says nothing
    backend.listen()
    runner.wait_report("ready", number)
    assert gateway.get("/fn/hello/")[0] == 200


def test_reports_that_were_lost_are_made_again(gateway, runner):
    """The runner went away with them: the next one knows nothing of them."""
    sick, serving = threading.Event(), Pings(lambda n: "500 No" if sick.is_set() else "200 OK")
    f = runner.function("hello", health_interval_ns=OFTEN)
    number = runner.instance(f, serving)
    runner.wait_report("ready", number)

    def forget(state):
        runner.close()
        with runner.cond:
            runner.reports.clear()
            runner.instances[number].state = state
        runner.open()
        wait_until(lambda: runner.peer, what="the gateway to call again")

    forget(g.STARTING)
    runner.wait_report("ready", number)
    sick.set()
    runner.wait_report("unhealthy", number)
    forget(g.READY_STATE)
    runner.wait_report("unhealthy", number)
    forget(g.DRAINING)
    runner.wait_report("idle", number)
    forget(g.DRAINING)
    runner.wait_report("idle", number)
