// Node.js: net on libuv, cluster, whose first process hands the connections to its workers. Like echo.c, without files.
'use strict';
const cluster = require('node:cluster');
const net = require('node:net');
const { fork } = require('node:child_process');
const { once } = require('node:events');

const [mode, address] = process.argv.slice(2);

function serve() {
  if (cluster.isPrimary) {
    cluster.fork();
    cluster.fork();
    process.on('SIGTERM', () => cluster.disconnect(() => process.exit(0)));
    return;
  }
  net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('data', (data) => socket.write(data.toString().toUpperCase()));
    socket.on('end', () => socket.end());
  }).listen(address);
}

async function ask(words) {
  const socket = net.connect(address);
  socket.setEncoding('utf8');
  socket.end(words);
  let answer = '';
  for await (const data of socket) answer += data;
  return answer;
}

async function failure(what, where) {
  const [error] = await once(net.connect(where), 'error').then(() => [null], (reason) => [reason]);
  console.log(`${what}: ${error && error.message}`);
}

// A child takes a connection over from its parent (child_process.send with a handle).
async function handOver() {
  const child = fork(__filename, ['take', address]);
  const socket = net.connect(address);
  await once(socket, 'connect');
  socket.pause();
  child.send('socket', socket);
  const [answer] = await once(child, 'message');
  console.log(`handed over: ${answer}`);
  child.disconnect();
  await once(child, 'exit');
}

function take() {
  process.on('message', (_, socket) => {
    socket.on('data', (data) => {
      process.send(data.toString());
      socket.destroy();
    });
    socket.resume();
    socket.write('from the child');
  });
}

async function call() {
  console.log(`said: ${await ask('hello from Node.js')}`);
  console.log(`half-closed: ${(await ask('x'.repeat(300000))).length}`);
  const answers = await Promise.all(Array.from({ length: 50 }, () => ask('many')));
  console.log(`at once: ${answers.filter((answer) => answer === 'MANY').length}`);
  await handOver();
  await failure('no such', 'absent');
  await failure('refused', 'passed');
}

({ serve, call, take })[mode]();
