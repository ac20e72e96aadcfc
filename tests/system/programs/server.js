// Workers, child processes, files, crypto and sockets of Node, behind its own server.
'use strict';
const { Worker, isMainThread, parentPort } = require('worker_threads');
const { spawn, execFileSync, fork } = require('child_process');
const crypto = require('crypto');
const dns = require('dns').promises;
const fs = require('fs').promises;
const http = require('http');
const net = require('net');
const os = require('os');
const zlib = require('zlib');
const { promisify } = require('util');

if (!isMainThread) {
    parentPort.once('message', (n) => parentPort.postMessage(n * n));
} else if (process.argv[2] === 'child') {
    process.on('message', (m) => { process.send(m + 1); process.disconnect(); });
} else {
    const once = (emitter, event) => new Promise((resolve, reject) => { emitter.once(event, resolve); emitter.once('error', reject); });
    const checks = {
        async workers() {
            const squares = await Promise.all([1, 2, 3, 4].map(async (n) => {
                const w = new Worker(__filename);
                w.postMessage(n);
                return once(w, 'message');
            }));
            return squares.join() === '1,4,9,16';
        },
        async spawn() {
            const p = spawn('/bin/busybox', ['cat']);
            const text = once(p.stdout, 'data');
            p.stdin.end('hello');
            return String(await text) === 'hello' && await once(p, 'exit') === 0;
        },
        async fork() {
            const p = fork(__filename, ['child']);
            p.send(41);
            return await once(p, 'message') === 42;
        },
        async sync() {
            return String(execFileSync('/bin/busybox', ['echo', 'x'])) === 'x\n';
        },
        async files() {
            const watcher = require('fs').watch('/tmp');
            await fs.writeFile('/tmp/a', 'text');
            await fs.cp('/tmp/a', '/tmp/b', { recursive: true });
            await fs.rename('/tmp/b', '/tmp/c');
            watcher.close();
            return String(await fs.readFile('/tmp/c')) === 'text' && (await fs.readdir('/tmp')).includes('c');
        },
        async crypto() {
            return (await promisify(crypto.scrypt)('password', 'salt', 16)).length === 16;
        },
        async zlib() {
            return (await promisify(zlib.gunzip)(await promisify(zlib.gzip)('text'))).toString() === 'text';
        },
        async sockets() {
            const server = net.createServer((c) => c.pipe(c)).listen('/tmp/socket');
            await once(server, 'listening');
            const c = net.connect('/tmp/socket');
            c.write('echo');
            const text = String(await once(c, 'data'));
            c.end();
            server.close();
            return text === 'echo';
        },
        async names() {
            return (await dns.lookup('localhost')).address === '127.0.0.1' && os.cpus().length > 0;
        },
    };
    const interfaces = () => {
        try {
            return os.networkInterfaces().lo[0].address === '127.0.0.1';
        } catch (e) {
            return false;
        }
    };
    http.createServer(async (request, response) => {
        const result = {};
        if (request.url === '/interfaces')
            result.interfaces = interfaces();
        for (const [name, check] of Object.entries(request.url === '/check' ? checks : {}))
            result[name] = await check().catch((e) => String(e));
        response.end(JSON.stringify(result));
    }).listen(3000);
}
