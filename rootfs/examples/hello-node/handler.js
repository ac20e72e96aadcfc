exports.main = (event, context, callback) => {
    callback(null, { statusCode: 200, body: `${process.env.GREETING} ${event.query.name ?? 'world'}, from Node\n` });
};
