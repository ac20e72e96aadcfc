/*
 * openfaas.js: functions of OpenFaaS' templates, called as the template's own index does; start.js takes them by HANDLER_CONTRACT. Facts: their documentation and their templates' behaviour.
 *
 *   openfaas-http      (event, context, callback), lang: node10-express, node12 and later: what context.succeed() or the callback is given, what is returned, or what the promise resolves to, sent as Express does it;
 *                      event.body is parsed by its Content-Type: text, an object of JSON or of a form, {} for others; with RAW_BODY=true a Buffer
 *   openfaas-classic   (context, callback), lang: node: context is the body as text. There it is one process a call: what is printed is the answer, then what the callback is given, and the request is also in the
 *                      environment (Http_Method, Http_Query, Http_X_Name ...). Here the process stays, so calls are made one after the other
 */
'use strict';

const { AsyncLocalStorage } = require('async_hooks');
const querystring = require('querystring');

const UNITS = { b: 1, kb: 1024, mb: 1 << 20, gb: 1 << 30 };

const isPlain = (v) => Array.isArray(v) || (v !== null && typeof v === 'object' && v.constructor === Object);

/* "5mb"; what is not said is no limit of its own. */
function sizeOf(name) {
    const said = process.env[name], m = /^\s*(\d+(?:\.\d+)?)\s*(b|kb|mb|gb)?\s*$/i.exec(said ?? '');
    if (said && !m)
        throw new RangeError(`${name} = ${said} in [env]: a size such as 512kb or 5mb is meant`);
    return m ? Number(m[1]) * UNITS[(m[2] ?? 'b').toLowerCase()] : Infinity;
}

// ---- (event, context) ----

class FunctionEvent {
    constructor(req, body) {
        const [path, query] = [req.url.replace(/\?.*/s, ''), /\?(.*)/s.exec(req.url)?.[1]];
        Object.assign(this, { body, headers: req.headers, method: req.method, query: { ...querystring.parse(query ?? '') }, path });
    }
}

class FunctionContext {
    constructor(answer) {
        this.statusCode = 200;
        this.headerValues = {};
        this.cb = answer;
        this.cbCalled = 0;
    }

    status(statusCode) {
        if (!statusCode)
            return this.statusCode;
        this.statusCode = statusCode;
        return this;
    }

    headers(value) {
        if (!value)
            return this.headerValues;
        this.headerValues = value;
        return this;
    }

    succeed(value) {
        this.cbCalled++;
        this.cb(undefined, value);
    }

    fail(value) {
        this.cbCalled++;
        this.cb(value ?? 'failed');
    }
}

/* What the body is to the function, or { status, text } of its refusal. */
function parseBody(req, raw, limits) {
    const type = req.headers['content-type'].split(';')[0].trim().toLowerCase(), there = req.headers['content-length'] !== undefined || req.headers['transfer-encoding'] !== undefined;
    const most = limits.raw ? limits.rawMax : type === 'application/json' ? limits.jsonMax : Infinity;
    if (raw.length > most)
        return { status: 413, text: `the body has ${raw.length} bytes, ${limits.raw ? 'MAX_RAW_SIZE' : 'MAX_JSON_SIZE'} says ${most}\n` };
    if (!there)
        return { body: {} };
    if (limits.raw || type === 'application/octet-stream')
        return { body: raw };
    if (type.startsWith('text/'))
        return { body: raw.toString() };
    if (type === 'application/x-www-form-urlencoded')
        return { body: { ...querystring.parse(raw.toString()) } };
    if (type !== 'application/json' || raw.length === 0)
        return { body: {} };
    try {
        const body = JSON.parse(raw.toString());
        return typeof body === 'object' && body !== null ? { body } : { status: 400, text: 'the body is JSON, but no object and no array\n' };
    } catch (error) {
        return { status: 400, text: `the body is not JSON: ${error.message}\n` };
    }
}

/* As Express sends: a text is HTML unless it is said otherwise, and in UTF-8. */
function send(tools, req, res, status, said, value) {
    const headers = {}, code = Number(status);
    if (!Number.isInteger(code) || code < 200 || code > 599)
        throw new TypeError(`${tools.where()}: context.status(${String(status)}): a number from 200 to 599 is meant`);
    for (const [name, v] of Object.entries(said ?? {}))
        if (v !== undefined && v !== null && !/^(content-length|transfer-encoding|connection)$/i.test(name)) // framing is the server's
            headers[name] = v;
    const body = isPlain(value) ? JSON.stringify(value) : value;
    if (typeof body === 'string') {
        const name = Object.keys(headers).find((n) => n.toLowerCase() === 'content-type') ?? 'Content-Type', kind = String(headers[name] ?? 'text/html');
        headers[name] = /;\s*charset=/i.test(kind) ? kind : `${kind}; charset=utf-8`;
    }
    tools.put(res, code, headers, body, req);
}

function http(fn, tools) {
    const limits = { raw: process.env.RAW_BODY === 'true', rawMax: sizeOf('MAX_RAW_SIZE'), jsonMax: sizeOf('MAX_JSON_SIZE') };

    function call(req, res, raw) {
        req.headers['content-type'] ||= 'text/plain';
        const { body, status, text } = parseBody(req, raw, limits);
        if (status)
            return tools.put(res, status, { 'Content-Type': 'text/plain; charset=utf-8' }, text, req);
        let settled = false;
        const context = new FunctionContext(answer);
        function answer(error, value) {
            if (settled) {
                console.error(`fnd: ${tools.where()} answered ${req.method} ${req.url} twice; the first answer holds`);
                return;
            }
            settled = true;
            try {
                if (!error)
                    return void send(tools, req, res, context.status(), context.headers(), value);
                console.error(error);
                send(tools, req, res, Number(context.status()) === 200 ? 500 : context.status(), {}, String(error));
            } catch (wrong) {
                tools.fail(req, res, wrong);
            }
        }
        const threw = (error) => {
            if (settled)
                return void console.error(`fnd: ${tools.where()} failed after its answer: ${error?.stack ?? error}`);
            settled = true;
            return tools.fail(req, res, error ?? new Error(`threw ${error}`));
        };
        try {
            const value = fn(new FunctionEvent(req, body), context, answer);
            if (typeof value?.then === 'function')
                value.then((v) => settled || answer(undefined, v), threw);
            else if (!settled && (value !== undefined || fn.length < 2))
                answer(undefined, value);
        } catch (error) {
            threw(error);
        }
        return undefined;
    }

    return (req, res) => tools.readBody(req, res, (raw) => call(req, res, raw));
}

// ---- (context, callback) ----

const canonical = (name) => name.split('-').map((w) => w.charAt(0).toUpperCase() + w.slice(1)).join('_');

/* What the classic watchdog tells of a request. */
function variables(req, length) {
    const found = {}, mark = req.url.indexOf('?');
    for (const [name, value] of Object.entries(req.headersDistinct))
        if (name !== 'proxy') // no client names the proxy that a program is to use (https://httpoxy.org)
            found[`Http_${canonical(name)}`] = Buffer.from(value[0], 'latin1').toString();
    found.Http_Method = req.method;
    found.Http_ContentLength = found.Http_Content_Length = String(req.headers['transfer-encoding'] === undefined ? length : -1);
    found.Http_Path = (mark < 0 ? req.url : req.url.slice(0, mark)) || '/';
    if (mark >= 0 && mark + 1 < req.url.length)
        found.Http_Query = req.url.slice(mark + 1);
    return found;
}

function toPrint(value) {
    if (!value)
        return '';
    if (isPlain(value))
        return `${JSON.stringify(value)}\n`;
    if (typeof value === 'string' || ArrayBuffer.isView(value))
        return typeof value === 'string' ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    throw new TypeError(`the callback was given a ${typeof value}: text, a Buffer, an array or an object is meant`);
}

const callOf = new AsyncLocalStorage(); // so that what goes on after a call is in nobody else's answer

/* What a call prints is its answer; before and after, and elsewhere, it is the log. */
function divertOutput() {
    const write = process.stdout.write;

    process.stdout.write = function print(chunk, encoding, done) {
        const parts = callOf.getStore()?.parts, after = typeof encoding === 'function' ? encoding : done;
        if (!parts)
            return write.apply(process.stdout, arguments);
        parts.push(typeof chunk === 'string' ? Buffer.from(chunk, typeof encoding === 'string' ? encoding : 'utf8') : Buffer.from(chunk));
        if (typeof after === 'function')
            process.nextTick(after);
        return true;
    };
}

function one(fn, tools, req, res, raw) {
    return new Promise((resolve) => {
        const call = { parts: [] }, told = variables(req, raw.length);
        let open = true;

        function end() {
            open = false;
            call.parts = null;
            for (const name in told)
                delete process.env[name];
            resolve();
        }
        function settle(error, value) {
            if (!open)
                return;
            try {
                if (error)
                    throw error;
                const answer = Buffer.concat([...call.parts, Buffer.from(toPrint(value))]);
                const type = process.env.content_type || req.headers['content-type'] || 'text/plain; charset=utf-8';
                tools.put(res, 200, { 'Content-Type': type }, answer, req);
            } catch (wrong) {
                process.stderr.write(Buffer.concat(call.parts)); // of an answer that is none the log has what was printed
                tools.fail(req, res, wrong);
            }
            end();
        }
        if (res.destroyed)
            return resolve();
        res.on('close', () => open && end()); // nobody waits for it: the next one goes on
        Object.assign(process.env, told);
        try {
            const value = callOf.run(call, fn, raw.toString(), settle);
            if (typeof value?.then === 'function')
                value.then((v) => settle(undefined, v), (e) => settle(e ?? new Error(`rejected with ${e}`)));
            else if (fn.length < 2)
                settle();
        } catch (error) {
            settle(error ?? new Error(`threw ${error}`));
        }
        return undefined;
    });
}

function classic(fn, tools) {
    let last = Promise.resolve();

    divertOutput();
    return (req, res) => tools.readBody(req, res, (raw) => {
        last = last.then(() => one(fn, tools, req, res, raw));
    });
}

// ---- which ----

const FORMS = {
    'openfaas-http': { listener: http, calls: '(event, context)', not: /^_*(callback|cb|done)$/i, other: 'openfaas-classic (lang: node)' },
    'openfaas-classic': { listener: classic, calls: '(context, callback)', not: /^_*context$/i, other: 'openfaas-http (lang: node12 and later)' },
};

/* `second`: the name of the function's second parameter, where it has one. Throws what is to be said of a function of another form. */
function listener(contract, fn, second, tools) {
    const form = FORMS[contract];

    if (form.not.test(second ?? ''))
        throw new TypeError(`its second parameter is ${second}, and ${contract} calls ${form.calls}: [env] HANDLER_CONTRACT is to be ${form.other} for this one`);
    return form.listener(fn, tools);
}

module.exports = { listener };
