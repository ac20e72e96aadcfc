// A chat over WebSockets (RFC 6455) without a library: what one says, all hear. GET / is a page to try it. All are in one process: [scale] max = 1.
const crypto = require('crypto');
const http = require('http');

const MESSAGE_MAX = 4096;
const everybody = new Set();

function frame(opcode, data) {
    const head = data.length < 126 ? Buffer.from([0x80 | opcode, data.length]) : Buffer.from([0x80 | opcode, 126, data.length >> 8, data.length & 0xff]);
    return Buffer.concat([head, data]);
}

// [opcode, data, bytes that it took], null when it is not whole yet; throws what is no frame of a client
function parse(buffer) {
    if (buffer.length < 2)
        return null;
    const opcode = buffer[0] & 0x0f, short = buffer[1] & 0x7f, at = short === 126 ? 4 : 2;
    if (!(buffer[0] & 0x80) || !(buffer[1] & 0x80) || short === 127)
        throw new Error('in one frame, masked, at most 4096 bytes');
    if (buffer.length < at + 4)
        return null;
    const length = short === 126 ? buffer.readUInt16BE(2) : short, mask = buffer.subarray(at, at + 4);
    if (length > MESSAGE_MAX)
        throw new Error('at most 4096 bytes');
    if (buffer.length < at + 4 + length)
        return null;
    return [opcode, Buffer.from(buffer.subarray(at + 4, at + 4 + length)).map((byte, i) => byte ^ mask[i % 4]), at + 4 + length];
}

function onFrame(socket, opcode, data) {
    if (opcode === 8)
        socket.end(frame(8, data.subarray(0, 2)));
    else if (opcode === 9)
        socket.write(frame(10, data));
    else if (opcode === 1)
        for (const other of everybody)
            other.write(frame(1, data));
}

function onUpgrade(req, socket, head) {
    const key = req.headers['sec-websocket-key'];
    let buffer = head;
    if (!key || !/^websocket$/i.test(req.headers.upgrade ?? '')) {
        socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
        return;
    }
    const accept = crypto.createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    everybody.add(socket);
    socket.on('close', () => everybody.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.on('end', () => socket.end()); // node leaves this half open
    const onData = (piece) => {
        buffer = Buffer.concat([buffer, piece]);
        try {
            for (let found; (found = parse(buffer)); buffer = buffer.subarray(found[2]))
                onFrame(socket, found[0], found[1]);
        } catch (error) {
            socket.end(frame(8, Buffer.from([0x03, 0xea])));
        }
    };
    socket.on('data', onData);
    onData(Buffer.alloc(0));
}

const PAGE = `<!DOCTYPE html>
<title>chat</title>
<form><input name="text" autofocus> <button>say</button></form>
<pre></pre>
<script>
const socket = new WebSocket(location.href.replace(/^http/, 'ws'));
socket.onmessage = (e) => document.querySelector('pre').append(e.data + '\\n');
document.forms[0].onsubmit = (e) => { e.preventDefault(); socket.send(e.target.text.value); e.target.reset(); };
</script>
`;

exports.server = http.createServer((req, res) => {
    res.setHeader('Content-Type', 'text/html; charset=utf-8');
    res.end(PAGE);
});
exports.server.on('upgrade', onUpgrade);
