#!/bin/bash
# node: workers with shared memory, files, children, timers, sockets, signals.
# needs: node
# limit: 90
set -eu
cat >m.js <<'END'
const { Worker, isMainThread, parentPort, workerData, threadId } = require('worker_threads');
const fs = require('fs'), cp = require('child_process'), net = require('net'), os = require('os'), zlib = require('zlib');
const crypto = require('crypto'), { once } = require('events');
if (!isMainThread) {
  const cells = new Int32Array(workerData);
  for (let i = 0; i < 10000; i++) Atomics.add(cells, 0, 1);
  Atomics.add(cells, 1, 1); Atomics.notify(cells, 1);
  let hash = 0; for (let i = 0; i < 200000; i++) hash = (hash * 31 + i) | 0;
  parentPort.postMessage(hash);
  return;
}
(async () => {
  const shared = new SharedArrayBuffer(8);
  const workers = Array.from({ length: 4 }, () => new Worker(__filename, { workerData: shared }));
  console.log('workers', (await Promise.all(workers.map(async w => (await once(w, 'message'))[0]))).join());
  await Promise.all(workers.map(w => w.threadId === -1 ? 0 : once(w, 'exit')));
  console.log('shared', new Int32Array(shared).join());

  fs.mkdirSync('d/e', { recursive: true });
  await Promise.all(Array.from({ length: 200 }, (_, i) => fs.promises.writeFile(`d/e/${i}`, String(i).repeat(1000))));
  const names = await fs.promises.readdir('d/e');
  const texts = await Promise.all(names.map(n => fs.promises.readFile(`d/e/${n}`, 'utf8')));
  console.log('files', names.length, texts.reduce((s, t) => s + t.length, 0));
  const events = new Promise(done => { const w = fs.watch('d', (kind, name) => { w.close(); done([kind, name]); }); });
  setTimeout(() => fs.writeFileSync('d/new', 'x'), 50);
  console.log('watch', (await events).join());
  const out = fs.createWriteStream('big'); for (let i = 0; i < 100; i++) out.write(Buffer.alloc(65536, i)); out.end();
  await once(out, 'finish'); const sum = crypto.createHash('sha256');
  for await (const chunk of fs.createReadStream('big')) sum.update(chunk);
  console.log('streams', fs.statSync('big').size, sum.digest('hex').slice(0, 12));
  fs.rmSync('d', { recursive: true }); console.log('gone', fs.existsSync('d'));

  console.log('exec', cp.execSync('echo $((6 * 7))').toString().trim(), cp.spawnSync('sh', ['-c', 'exit 9']).status);
  const cat = cp.spawn('cat'); cat.stdin.end('through a child'); let said = ''; cat.stdout.on('data', d => said += d);
  console.log('spawn', (await once(cat, 'close'))[0], said);
  const sleeper = cp.spawn('sleep', ['100']); setTimeout(() => sleeper.kill('SIGTERM'), 30);
  console.log('killed', (await once(sleeper, 'exit'))[1]);
  const kids = await Promise.all(Array.from({ length: 20 }, (_, i) =>
    new Promise(r => cp.execFile('sh', ['-c', `echo ${i}`], (e, o) => r(+o)))));
  console.log('children', kids.reduce((a, b) => a + b));
  const forked = cp.fork(__dirname + '/f.js'); forked.send({ n: 20 });
  console.log('message', (await once(forked, 'message'))[0]); forked.disconnect(); await once(forked, 'exit');

  const order = []; const at = process.hrtime.bigint();
  setImmediate(() => order.push('immediate')); process.nextTick(() => order.push('tick'));
  await Promise.all([30, 10, 20].map(ms => new Promise(r => setTimeout(() => { order.push(ms); r(); }, ms))));
  console.log('timers', order.join(), process.hrtime.bigint() - at >= 28000000n);
  let ticks = 0; await new Promise(r => { const i = setInterval(() => { if (++ticks === 5) { clearInterval(i); r(); } }, 5); });
  console.log('interval', ticks);

  const server = net.createServer(s => s.pipe(s)).listen('sock'); await once(server, 'listening');
  const echoes = await Promise.all(Array.from({ length: 20 }, async (_, i) => {
    const c = net.connect('sock'); c.end('x'.repeat(10000 + i)); let n = 0;
    for await (const d of c) n += d.length; return n;
  }));
  console.log('sockets', echoes.reduce((a, b) => a + b)); server.close();
  console.log('zlib', zlib.gunzipSync(zlib.gzipSync(Buffer.alloc(100000, 7))).length);
  console.log('threads of the pool', (await Promise.all(Array.from({ length: 8 }, () =>
    new Promise(r => crypto.pbkdf2('p', 's', 2000, 16, 'sha1', (e, k) => r(k.toString('hex'))))))).every((k, i, a) => k === a[0]));
  process.on('SIGUSR2', () => console.log('signal')); process.kill(process.pid, 'SIGUSR2');
  await new Promise(r => setTimeout(r, 50));
  console.log(os.cpus().length > 0, os.totalmem() > 1e6, process.memoryUsage().rss > 1e6);
  process.exitCode = 5;
})();
END
cat >f.js <<'END'
process.on('message', m => { let [a, b] = [0, 1]; for (let i = 0; i < m.n; i++) [a, b] = [b, a + b]; process.send(a); });
END
node m.js || echo "exit $?"
node -e 'throw new Error("thrown")' 2>&1 | grep -c 'Error: thrown'
echo 'process.stdin.on("data", d => process.stdout.write(String(d).toUpperCase()))' >up.js; echo piped | node up.js
node -e 'new (require("worker_threads").Worker)("while (true);", {eval: true}).on("online", function () { this.terminate().then(c => console.log("terminated", c)) })'
