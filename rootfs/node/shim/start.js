/*
 * start.js HANDLER: a server on $PORT in front of the handler of a package in /app, in one process that serves many requests, or in HANDLER_THREADS (1) of them (workers.js).
 *
 * HANDLER is FILE.EXPORT (`handler.main`: the export `main` of handler.js, .cjs, .mjs or handler/index.js), or a file (`server.js`: what it exports by default). What is exported decides:
 *
 *   (req, res)                   a function whose second parameter is called res or response: node's own signature
 *   an application or a server   Express, Connect, Koa, Fastify, http.Server; also a file that exports none and listens on $PORT itself
 *   (event, context, callback)   every other function; what the callback is given, what is returned, or what the promise resolves to is the answer
 *
 * FUNCTION_SIGNATURE_TYPE=http or =event says which of the functions it is, where the names of parameters do not (minified code). HANDLER_CONTRACT=spotinst says event, too, and openfaas-http or openfaas-classic
 * that it is a function of OpenFaaS' templates (openfaas.js).
 * An error of one request is its 500 and a stack in the log. An error that belongs to no request (thrown in a timer, a rejection nobody handles) leaves the process in an unknown state: it ends, and the runner starts another.
 */
'use strict';

const fs = require('fs');
const http = require('http');
const net = require('net');
const path = require('path');
const querystring = require('querystring');
const url = require('url');
const util = require('util');

const APP = process.cwd();
const PORT = Number(process.env.PORT || 3000);
const HEALTH = process.env.FND_HEALTH_PATH ?? '/ping';
const MEMORY = Number(process.env.FND_MEMORY || 134217728);
const BODY_MAX = MEMORY / 8; // of a body that is kept whole: it exists as bytes and as text, and the handler makes something of it
const SUFFIXES = ['.js', '.cjs', '.mjs', '/index.js', '/index.cjs', '/index.mjs'];
const ESM_ERRORS = ['ERR_REQUIRE_ESM', 'ERR_REQUIRE_ASYNC_MODULE'];

const CONTRACT = process.env.HANDLER_CONTRACT || '';

const inflight = new Set(); // answers that have not ended
let where = 'the handler'; // file and export, for messages
let phase = 'loading'; // loading, serving, leaving
let workers = null; // workers.js, in one of several

// ---- ending ----

/* One line that says what, where and the remedy; it is the log's last. */
function die(message, error) {
    phase = 'leaving';
    if (error !== undefined)
        process.stderr.write(`${util.inspect(error)}\n`);
    process.stderr.write(`fnd: ${message}\n`);
    process.exit(1);
}

function answer500(res) {
    inflight.delete(res);
    if (res.headersSent || res.destroyed) {
        res.destroy();
        return;
    }
    for (const name of res.getHeaderNames())
        res.removeHeader(name);
    const text = 'the function failed; its log says why\n';
    res.writeHead(500, { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': text.length });
    res.end(text);
}

process.on('uncaughtException', (error, origin) => {
    if (phase === 'loading')
        return dieOfLoading(error);
    const what = origin === 'unhandledRejection' ? 'a rejected promise that nobody awaits' : 'an error outside of any request';
    for (const res of inflight)
        answer500(res);
    return die(`${where}: ${what} ends this instance; another is started. Await every promise, and handle 'error' of what emits it`, error);
});

/* Nothing is left to wait for. */
process.on('beforeExit', () => {
    if (phase === 'loading')
        die(`${where} never finished loading: an \`await\` outside of any function waits for what never comes`);
});

process.on('exit', (code) => {
    const waiting = [...inflight];
    if (phase !== 'leaving')
        process.exitCode = code || 1;
    if (phase === 'loading')
        process.stderr.write(`fnd: ${where} ended the process with status ${code} while it was loaded: a handler's file exports a function and returns\n`);
    else if (phase === 'serving') {
        waiting.forEach(answer500); // small writes to a socket are made at once
        process.stderr.write(`fnd: ${where} ended the process with status ${code}, ${waiting.length} requests in flight; another instance is started. Return or throw in place of process.exit()\n`);
    }
});

/* One of several, when another has failed: as all requests of one process end with it. */
function endWithOthers() {
    phase = 'leaving';
    inflight.forEach(answer500);
    process.exit(1);
}

// ---- finding the handler ----

function isFile(file) {
    return fs.statSync(file, { throwIfNoEntry: false })?.isFile() ?? false;
}

/* { file, name }; name is null where the file's default export is meant. */
function findFile(handler) {
    const whole = path.resolve(APP, handler), dot = handler.lastIndexOf('.');
    const candidates = [[whole, '', null]];
    if (dot > 0)
        candidates.push(...SUFFIXES.map((s) => [path.resolve(APP, handler.slice(0, dot)), s, handler.slice(dot + 1)]));
    candidates.push(...SUFFIXES.map((s) => [whole, s, null]));
    for (const [base, suffix, name] of candidates)
        if (isFile(base + suffix))
            return { file: base + suffix, name };
    return missingFile(handler, dot);
}

function missingFile(handler, dot) {
    const stem = dot > 0 ? handler.slice(0, dot) : handler;
    if (isFile(path.resolve(APP, `${stem}.ts`)))
        die(`handler = ${handler}: ${stem}.ts is TypeScript, which node does not run: compile it (npx tsc) and package ${stem}.js`);
    const there = fs.readdirSync(APP).filter((f) => /\.[cm]?js$/.test(f)).slice(0, 8);
    die(`handler = ${handler}: the package has no ${stem}.js (nor .cjs, .mjs, ${stem}/index.js)${there.length ? `; it has ${there.join(', ')}` : ''}: \`handler\` in function.ini is FILE.EXPORT`);
}

/* require() first: it is quicker, and import() of CommonJS would guess the names of the exports. */
async function loadModule(file) {
    try {
        return require(file);
    } catch (error) {
        if (!ESM_ERRORS.includes(error?.code))
            throw error;
    }
    return import(url.pathToFileURL(file).href);
}

/* The place that a stack names first in the package, if any: "handler.js:3". */
function placeOf(error) {
    const frame = String(error?.stack ?? '').split('\n').map((line) => /(?:file:\/\/)?(\/[^\s():]+:\d+)/.exec(line)?.[1]).find((at) => at?.startsWith(`${APP}/`) && !at.includes('/node_modules/'));
    return frame ? path.relative(APP, frame) : undefined;
}

function dieOfLoading(error) {
    const place = placeOf(error) ?? where, text = error instanceof Error ? `${error.name}: ${error.message.split('\n')[0]}` : util.inspect(error);
    const module = /^Cannot find (?:module|package) '([^']+)'/.exec(error?.message ?? '')?.[1];
    let remedy = 'correct it and deploy again; `fnctl run DIR` shows it as it is here';
    if (module && /^[@\w]/.test(module))
        remedy = `name it in package.json and let \`fnctl build\` install it, or package node_modules/${module}`;
    else if (module)
        remedy = 'is the file in the package?';
    else if (error instanceof SyntaxError && /import statement|Unexpected token 'export'|await is only valid|import\.meta/.test(error.message))
        remedy = 'name the file .mjs, or put {"type": "module"} into package.json';
    else if (error instanceof ReferenceError && /(require|module|exports|__dirname|__filename) is not defined in ES module/.test(error.message))
        remedy = 'name the file .cjs, or write `import` and `export`';
    die(`${place}: cannot be loaded: ${text}: ${remedy}`, error);
}

function pickExport(module, file, name) {
    const esm = util.types.isModuleNamespaceObject(module);
    const root = esm || module?.__esModule ? module.default : module;
    if (name === null || name === 'default')
        return root;
    return module?.[name] ?? root?.[name];
}

function names(module) {
    const found = new Set([...Object.keys(Object(module)), ...Object.keys(Object(module?.default))]);
    found.delete('default');
    return [...found].slice(0, 8);
}

// ---- what was exported ----

const sourceOf = (fn) => Function.prototype.toString.call(fn).slice(0, 400).replace(/\/\*.*?\*\/|\/\/[^\n]*/gs, '');

const secondOf = (fn) => /^(?:async\b\s*)?(?:function\b\s*\*?\s*)?(?:[\w$]+\s*)?\(\s*[\w$]+\s*,\s*([\w$]+)/.exec(sourceOf(fn))?.[1];

function isNodeSignature(fn) {
    const said = process.env.FUNCTION_SIGNATURE_TYPE ?? (CONTRACT === 'spotinst' ? 'event' : undefined);
    if (said !== undefined && said !== 'http' && said !== 'event')
        die(`FUNCTION_SIGNATURE_TYPE = ${said} in [env] of function.ini is neither http (req, res) nor event (event, context, callback)`);
    if (said)
        return said === 'http';
    return /^_*(res|resp|response)$/i.test(secondOf(fn) ?? '');
}

function openfaasListener(fn) {
    try {
        return require('./openfaas.js').listener(CONTRACT, fn, secondOf(fn), { fail, put, readBody, where: () => where });
    } catch (error) {
        return die(`${where}: ${error.message}`);
    }
}

/* { server } that is served as it is, or { listener } for (req, res). */
async function contractOf(value) {
    if (value instanceof http.Server)
        return { server: value };
    if (typeof value === 'function' && /^class\b/.test(sourceOf(value)))
        die(`${where} is a class: export a function (event, context) or (req, res)`);
    if (typeof value === 'function' && CONTRACT.startsWith('openfaas'))
        return { listener: openfaasListener(value) };
    if (typeof value === 'function')
        return { listener: typeof value.handle === 'function' || isNodeSignature(value) ? value : eventListener(value) };
    if (typeof value?.callback === 'function' && Array.isArray(value.middleware)) // Koa
        return { listener: value.callback() };
    if (typeof value?.ready === 'function' && typeof value.routing === 'function') { // Fastify
        await value.ready();
        return { listener: value.routing };
    }
    return die(`${where} is ${value === null ? 'null' : Array.isArray(value) ? 'an array' : `of type ${typeof value}`}, no function, application or http.Server: export a function (event, context) or (req, res)`);
}

// ---- (event, context, callback) ----

const NO_DOCUMENTS = 'getDoc: there is no store of documents here: put the value into [env] of function.ini, [secrets] (files in /run/secrets) or [volumes]';
const CONTEXT = {
    functionName: process.env.FND_FUNCTION, functionVersion: process.env.FND_VERSION, environment: process.env.FND_ENVIRONMENT, instance: process.env.FND_INSTANCE,
    memoryLimitInMB: String(Math.floor(MEMORY / 1048576)),
    getDoc(key, callback) {
        const error = new Error(NO_DOCUMENTS);
        if (typeof callback !== 'function')
            return Promise.reject(error);
        process.nextTick(callback, error);
        return undefined;
    },
};

/* body is a string, as it was in the systems that functions come from; rawBody has its bytes. */
function makeEvent(req, raw) {
    const mark = req.url.indexOf('?');
    const event = {
        method: req.method, path: mark < 0 ? req.url : req.url.slice(0, mark), query: mark < 0 ? {} : { ...querystring.parse(req.url.slice(mark + 1)) },
        headers: req.headers, body: raw.length ? raw.toString() : '',
    };
    Object.defineProperty(event, 'rawBody', { value: raw });
    return event;
}

function eventListener(fn) {
    const byCallback = fn.length >= 3;

    function call(req, res, raw) {
        let settled = false;
        const settle = (error, value) => {
            if (settled) {
                console.error(`fnd: ${where} answered ${req.method} ${req.url} twice; the first answer holds`);
                return;
            }
            settled = true;
            if (error !== null && error !== undefined)
                fail(req, res, error);
            else
                give(req, res, value);
        };
        try {
            const value = fn(makeEvent(req, raw), { ...CONTEXT }, settle);
            if (typeof value?.then === 'function')
                value.then((v) => (byCallback && v === undefined) || settle(null, v), (e) => settle(e ?? new Error(`rejected with ${e}`)));
            else if (!byCallback || value !== undefined)
                settle(null, value);
        } catch (error) {
            settle(error ?? new Error(`threw ${error}`));
        }
    }

    return (req, res) => readBody(req, res, (raw) => call(req, res, raw));
}

/* call(raw) with the whole body, if it is not too large. */
function readBody(req, res, call) {
    let chunks = [], size = 0;

    if (req.headers['content-length'] === undefined && req.headers['transfer-encoding'] === undefined)
        return call(Buffer.alloc(0));
    req.on('data', (chunk) => {
        size += chunk.length;
        if (size <= BODY_MAX)
            chunks.push(chunk);
        else
            chunks = [];
    });
    req.on('end', () => {
        if (size > BODY_MAX)
            return put(res, 413, { 'Content-Type': 'text/plain; charset=utf-8' }, `the body has ${size} bytes, an event takes ${BODY_MAX}: raise [limits] memory, or read the stream of (req, res)\n`);
        return call(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks));
    });
    return undefined;
}

// ---- answers ----

function fail(req, res, error) {
    console.error(`${req.method} ${req.url}: ${util.inspect(error)}`);
    answer500(res);
}

const isStream = (v) => typeof v?.pipe === 'function' || typeof v?.[Symbol.asyncIterator] === 'function';
const isAnswer = (v) => typeof v === 'object' && v !== null && 'statusCode' in v;

/* What a handler gave, of whatever kind; what cannot be sent is an error of the handler. */
function give(req, res, value) {
    try {
        if (!isAnswer(value))
            return put(res, value === undefined || value === null ? 204 : 200, {}, value, req);
        const status = Number(value.statusCode), headers = {};
        if (!Number.isInteger(status) || status < 200 || status > 599)
            throw new TypeError(`${where}: statusCode is ${util.inspect(value.statusCode)}, no number from 200 to 599`);
        for (const [name, v] of Object.entries(value.headers ?? {}))
            if (v !== undefined && v !== null && !/^(content-length|transfer-encoding|connection)$/i.test(name)) // framing is the server's
                headers[name] = v;
        return put(res, status, headers, value.isBase64Encoded ? Buffer.from(String(value.body), 'base64') : value.body, req);
    } catch (error) {
        return fail(req, res, error);
    }
}

function toJson(value) {
    try {
        return JSON.stringify(value);
    } catch (error) {
        throw new TypeError(`${where} gave an object that JSON cannot hold (${String(error?.message).split('\n', 1)[0]}): return plain objects, arrays, texts, numbers and booleans`, { cause: error });
    }
}

function setHeaders(res, headers) {
    for (const name in headers)
        try {
            res.setHeader(name, headers[name]);
        } catch (error) {
            throw new TypeError(`${where}: the answer's header ${util.inspect(name)} cannot be sent: ${error.message}`, { cause: error });
        }
}

/* [bytes or text, their type] */
function toBody(value) {
    if (value === undefined || value === null)
        return ['', undefined];
    if (typeof value === 'string')
        return [value, 'text/plain; charset=utf-8'];
    if (ArrayBuffer.isView(value))
        return [Buffer.from(value.buffer, value.byteOffset, value.byteLength), 'application/octet-stream'];
    if (value instanceof ArrayBuffer)
        return [Buffer.from(value), 'application/octet-stream'];
    const json = ['function', 'symbol', 'bigint'].includes(typeof value) ? undefined : toJson(value);
    if (json === undefined)
        throw new TypeError(`${where} gave a ${typeof value}: an answer is text, a Buffer, a stream, what JSON can hold, or {statusCode, headers, body}`);
    return [json, 'application/json'];
}

function put(res, status, headers, value, req) {
    if (isStream(value))
        return putStream(res, status, headers, value, req);
    const [body, type] = toBody(value);
    setHeaders(res, headers);
    if (type && !res.hasHeader('Content-Type'))
        res.setHeader('Content-Type', type);
    if (status !== 204 && status !== 304)
        res.setHeader('Content-Length', Buffer.byteLength(body));
    res.writeHead(status);
    return res.end(body);
}

/* The head goes with the first piece: a stream that fails before is still a 500. A client that goes away destroys the stream. */
async function putStream(res, status, headers, value, req) {
    const source = typeof value[Symbol.asyncIterator] === 'function' ? value : new (require('stream').Readable)().wrap(value);
    let gone = false, wake = () => {};
    try {
        setHeaders(res, headers);
        if (!res.hasHeader('Content-Type'))
            res.setHeader('Content-Type', 'application/octet-stream');
        res.statusCode = status;
        if (req.method === 'HEAD' || status === 204 || status === 304) { // nothing of it is sent, and it may be endless
            value.destroy?.();
            return res.end();
        }
        res.on('drain', () => wake());
        res.on('close', () => {
            gone = true;
            value.destroy?.();
            wake();
        });
        for await (const piece of source) {
            if (gone)
                break;
            if (typeof piece !== 'string' && !ArrayBuffer.isView(piece))
                throw new TypeError(`${where} streams pieces of type ${typeof piece}: they must be text or bytes`);
            if (!res.write(piece))
                await new Promise((resolve) => { wake = resolve; });
        }
        res.end();
    } catch (error) {
        if (!gone)
            fail(req, res, error);
    }
}

// ---- the server ----

function isHealth(req) {
    return HEALTH !== '' && (req.url === HEALTH || req.url.startsWith(`${HEALTH}?`)) && (req.method === 'GET' || req.method === 'HEAD');
}

/* Errors of a listener that would be nobody's: thrown, or a rejected promise of an async one. */
function guarded(listener) {
    return function serve(req, res) {
        if (workers) // (workers.js says why)
            res.shouldKeepAlive = false;
        if (isHealth(req)) {
            res.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': 3 });
            res.end('ok\n');
            return;
        }
        inflight.add(res);
        res.on('close', () => inflight.delete(res));
        if (phase === 'leaving')
            res.setHeader('Connection', 'close');
        try {
            const value = listener.call(this, req, res);
            if (typeof value?.catch === 'function')
                value.catch((error) => fail(req, res, error));
        } catch (error) {
            fail(req, res, error);
        }
    };
}

/* Connections are the gateway's: it closes them, and bounds heads, bodies and times. */
function prepare({ server, listener }) {
    const s = server ?? http.createServer({ maxHeaderSize: 65536 });
    const own = server ? server.listeners('request') : [listener];
    s.removeAllListeners('request');
    s.on('request', guarded(own.length === 1 ? own[0] : (req, res) => (own.length ? Promise.all(own.map((l) => l.call(s, req, res))) : put(res, 404, {}, 'nothing is here\n'))));
    Object.assign(s, { keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0, timeout: 0 });
    return s;
}

function stopOn(server) {
    const upgraded = new Set(); // they would last for ever
    if (server.listenerCount('upgrade') > 0)
        server.on('upgrade', (req, socket) => {
            upgraded.add(socket);
            socket.on('close', () => upgraded.delete(socket));
        });
    const stop = () => {
        if (phase === 'leaving')
            return;
        phase = 'leaving';
        server.close(() => process.exit(0));
        // Those too that are open and have not asked yet: node does not count them as idle.
        const closeRest = () => inflight.size === 0 && server.closeAllConnections();
        for (const res of inflight) {
            if (!res.headersSent)
                res.setHeader('Connection', 'close');
            res.on('close', () => setImmediate(closeRest));
        }
        server.closeIdleConnections();
        closeRest();
        for (const socket of upgraded)
            socket.end();
        setTimeout(() => upgraded.forEach((socket) => socket.destroy()), 1000).unref();
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
}

function listen(server, listensItself) {
    return new Promise((resolve) => {
        server.on('error', (error) => die(error.code === 'EADDRINUSE' ? `${where}: the port ${PORT} is taken: something in the package listens on it itself; drop that` : `${where}: cannot listen on port ${PORT}: ${error.message}`));
        if (server.listening)
            resolve();
        else if (listensItself)
            server.once('listening', resolve);
        else
            server.listen(PORT, '0.0.0.0', resolve);
    });
}

/* Servers that the package's code lets listen while it is loaded. */
function watchListeners() {
    const found = [], original = net.Server.prototype.listen;
    net.Server.prototype.listen = function listen(...args) {
        found.push(this);
        workers?.expectAnswer();
        return original.apply(this, args);
    };
    return found;
}

/* Such a server is where the gateway asks, or there will never be an answer. */
function checkAddress(server) {
    const at = server.address();
    if (at?.port !== PORT)
        die(`${where} listens on ${typeof at === 'string' ? at : `port ${at?.port}`}: it must be process.env.PORT (${PORT})`);
    if (!['0.0.0.0', '::'].includes(at.address))
        die(`${where} listens on ${at.address}, where only the function itself can connect: leave the host out of listen()`);
}

function threads() {
    const said = process.env.HANDLER_THREADS || '1';
    if (!/^\d+$/.test(said) || Number(said) < 1 || Number(said) > 256)
        die(`[env] HANDLER_THREADS = ${said}: not a number from 1 to 256`);
    return Number(said);
}

/* True in the process that has the workers, and is none. */
function conducts(count) {
    if (count === 1)
        return false;
    if (CONTRACT === 'openfaas-classic')
        die('[env] HANDLER_THREADS: openfaas-classic makes one call at a time, because the environment and what is printed are the call\'s: leave it out; [scale] max says how many instances there may be');
    const found = require('./workers.js');
    if (found.isWorker) {
        workers = found;
        workers.join(endWithOthers);
        return false;
    }
    phase = 'leaving';
    found.conduct(count);
    return true;
}

async function main(handler) {
    if (conducts(threads()))
        return;
    if (!handler)
        die('there is no handler: `handler = FILE.EXPORT` in function.ini');
    if (!['', 'spotinst', 'openfaas-http', 'openfaas-classic'].includes(CONTRACT))
        die(`HANDLER_CONTRACT = ${CONTRACT} in [env] of function.ini is not known: spotinst, openfaas-http, openfaas-classic`);
    const { file, name } = findFile(handler);
    if (CONTRACT === 'openfaas-classic')
        process.env = { ...process.env }; // clients choose what comes into it, and setenv(3) keeps each value that there ever was; programs that are started have this one
    if (CONTRACT.startsWith('openfaas') && fs.existsSync('/home/app/function') && fs.realpathSync('/home/app/function') === APP)
        process.chdir('/home/app'); // as there, the directory above
    const short = path.relative(APP, file);
    where = short;
    process.argv = [process.argv[0], file];
    const listening = watchListeners();
    const module = await loadModule(file).catch(dieOfLoading);
    let value = pickExport(module, file, name);
    const itself = listening.find((s) => s instanceof http.Server);
    if (itself)
        value = itself;
    if (value === undefined) {
        const there = names(module);
        die(`${short} exports ${name ? `nothing named ${name}` : 'nothing'}${there.length ? `, but ${there.join(', ')}` : ''}: ${name ? `write \`exports.${name} = ...\`` : 'write `module.exports = ...`'}, or change \`handler = ${handler}\` in function.ini`);
    }
    where = name ? `${short}: ${name}` : short;
    const server = prepare(await contractOf(value));
    stopOn(server);
    if (!itself)
        await workers?.allLoaded();
    await listen(server, itself !== undefined);
    if (itself) {
        checkAddress(server);
        await workers?.allLoaded();
    }
    phase = 'serving';
    workers?.serves();
}

main(process.argv[2] ?? process.env.FND_HANDLER);
