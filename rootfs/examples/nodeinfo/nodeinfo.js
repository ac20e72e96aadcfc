const os = require('os');

exports.main = () => ({ hostname: os.hostname(), platform: os.platform(), architecture: os.arch(), cpus: os.cpus().length, uptime: Math.round(os.uptime()), node: process.version });
