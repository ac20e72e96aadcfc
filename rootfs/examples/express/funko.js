const express = require('express');
const app = express();

app.use(express.static('public'));
app.use(express.text());
app.get('/hello/:name', (req, res) => res.send(`Hello ${req.params.name}\n`));
app.post('/hello', (req, res) => res.send(`Hello ${String(req.body).trim()}\n`));

module.exports = app; // it is served on $PORT; `app.listen(process.env.PORT)` in its place works too
