// What is returned is the answer: text, a Buffer, a stream, what JSON can hold, or {statusCode, headers, body}.
exports.main = async (event, context) => {
    const name = event.query.name ?? (event.body.trim() || 'world');

    console.log(`greeting ${name}`); // to the log: fnctl logs @NAME@
    return { statusCode: 200, headers: { 'Content-Type': 'text/plain; charset=utf-8' }, body: `Hello ${name}, from ${context.functionName}\n` };
};
