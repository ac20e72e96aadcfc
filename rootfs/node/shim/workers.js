/*
 * workers.js: HANDLER_THREADS = N over 1. N processes of node share the listening socket (node's `cluster`), and one more starts them, stops them and ends with them; start.js with N = 1 never loads this.
 *
 * Processes and not worker_threads: a thread of node cannot have a listening socket, so that each request and answer would be copied from thread to thread, and streams, (req, res) and upgrades not be themselves.
 *
 * Who is free takes the next connection (SCHED_NONE): dealt out in turns, as node does by default, a connection would also go to a worker whose event loop stands still. For the same reason each connection carries
 * one request: one that is kept belongs to its worker, and the next request on it would wait for what the worker computes, while others have nothing to do.
 *
 * They are loaded one after the other, and listen, one after the other, when all are: what is wrong is said once, by the first, and too little memory for N is found by the deploy, not by a call. When one ends, all end,
 * with its status: what an error leaves behind in a process is the same, however many there are.
 */
'use strict';

const cluster = require('cluster');

const GRACE_MS = 5000; // until a worker that does not hear that it is to end, because it computes, is killed
const patience = Number(process.env.HANDLER_PATIENCE || 10);
const PATIENCE_MS = (patience >= 1 && patience <= 86400 ? patience : 10) * 1000; // until the log names a worker that is not loaded

/* Without workers this would be the process itself: so ends this one. */
function endAs({ code, signal }) {
    if (signal) {
        process.removeAllListeners(signal);
        process.kill(process.pid, signal);
    }
    process.exit(code || 1);
}

/* In the process that has the workers. */
function conduct(count) {
    const running = new Set();
    let loaded = 0, stopping = null, stopped = false, unready = null, failure = null;

    function say(worker, what) {
        process.stderr.write(`fnd: [env] HANDLER_THREADS = ${count}: worker ${worker.id} ${what}: each is a node of its own, with 7 to 11 of [limits] pids and 20 MB of [limits] memory beside what the handler takes: raise them, or have fewer workers\n`);
    }

    function finish() {
        if (running.size > 0)
            return;
        if (failure)
            endAs(failure);
        if (!stopped && unready)
            endAs(unready);
        process.exit(0);
    }

    function fail(how) {
        failure ??= how;
        if (stopping) // the others finish what they have begun
            return;
        for (const worker of running)
            if (worker.process.connected)
                worker.process.disconnect();
        setTimeout(() => running.forEach((worker) => worker.process.kill('SIGKILL')), GRACE_MS).unref();
    }

    function ended(worker, code, signal) {
        if (!running.delete(worker))
            return;
        clearTimeout(worker.late);
        if (stopping && code === 0)
            stopped = true;
        else if (stopping && signal === stopping)
            unready = { code, signal }; // was being loaded
        else {
            if (!failure && signal && loaded > 0 && !worker.loaded)
                say(worker, `was ended by ${signal} while it was loaded`);
            fail({ code, signal });
        }
        finish();
    }

    function start() {
        const worker = cluster.fork();
        running.add(worker);
        if (loaded > 0) // the first has shown how long it takes; a node whose threads cannot be made stands still without a word
            worker.late = setTimeout(say, PATIENCE_MS, worker, `is not loaded after ${PATIENCE_MS / 1000} s`);
        worker.on('exit', (code, signal) => ended(worker, code, signal));
        worker.on('error', (error) => {
            if (running.has(worker) && worker.process.pid === undefined) {
                say(worker, `cannot be started: ${error.message ?? error}`);
                ended(worker, 1, null);
            }
        });
        worker.on('message', (message) => hear(worker, message?.fnd));
    }

    function hear(worker, what) {
        if (what === 'loaded') {
            clearTimeout(worker.late);
            worker.loaded = true;
            loaded++;
        }
        if (stopping || failure || (what !== 'loaded' && what !== 'serves'))
            return;
        if (loaded < count)
            return void start();
        const next = [...running].find((w) => !w.told);
        if (next) {
            next.told = true;
            next.send({ fnd: 'go' });
        }
    }

    for (const signal of ['SIGTERM', 'SIGINT'])
        process.on(signal, () => {
            if (stopping || failure)
                return;
            stopping = signal;
            running.forEach((worker) => worker.process.kill(signal));
        });
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    start();
}

/* In a worker, before it loads the handler. `end` is called when all are to end, or the process that has them is gone: before node's own listener, which ends the process without a word. */
function join(end) {
    process.prependListener('disconnect', end);
    process.on('error', end); // it cannot be told anything: the same, heard earlier
    process.channel.unref(); // a handler that waits for what never comes is to be noticed
}

/* What waits for an answer of the other process is not nothing. */
const expectAnswer = () => process.channel?.ref();

/* In a worker whose handler is loaded; resolves when all are, and it is this one's turn. */
function allLoaded() {
    expectAnswer();
    return new Promise((resolve) => {
        process.on('message', function go(message) {
            if (message?.fnd !== 'go')
                return;
            process.removeListener('message', go);
            resolve();
        });
        process.send({ fnd: 'loaded' });
    });
}

const serves = () => process.send({ fnd: 'serves' });

module.exports = { conduct, join, expectAnswer, allLoaded, serves, isWorker: cluster.isWorker };
