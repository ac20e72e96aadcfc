// POST keeps the body as a file of the volume, under a name of nanoseconds; GET /NAME is one of them, GET / their names.
const fs = require('fs/promises');
const path = require('path');

const nanoseconds = () => String(BigInt(Date.now()) * 1000000n + (process.hrtime.bigint() % 1000000n));

exports.main = async (event) => {
    if (event.method === 'POST') {
        const name = `${nanoseconds()}.txt`;
        await fs.writeFile(path.join('/data', name), event.rawBody, { flag: 'wx' });
        return `Stashing request: ${name}\n`;
    }
    const name = event.path.slice(1);
    if (name === '')
        return (await fs.readdir('/data')).filter((n) => n.endsWith('.txt')).sort().join('\n') + '\n';
    if (!/^\d+\.txt$/.test(name))
        return { statusCode: 404, body: 'no such request\n' };
    return fs.readFile(path.join('/data', name)).catch(() => ({ statusCode: 404, body: 'no such request\n' }));
};
