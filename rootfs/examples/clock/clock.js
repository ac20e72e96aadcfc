// Server-sent events: the time, each second (?every=MS), for ever or ?count=N times. The body of an answer may be a generator: each piece is sent as it comes.
const { setTimeout: sleep } = require('timers/promises');

async function* ticks(every, count) {
    for (let i = 0; i < count; i++) {
        if (i > 0)
            await sleep(every);
        yield `id: ${i}\nevent: tick\ndata: ${new Date().toISOString()}\n\n`;
    }
}

exports.main = (event) => ({
    statusCode: 200,
    headers: { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' },
    body: ticks(Math.max(10, Number(event.query.every ?? 1000)), Number(event.query.count ?? Infinity)),
});
