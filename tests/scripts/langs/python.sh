#!/bin/bash
# python3: threads, subprocesses, sqlite3, asyncio, mmap, multiprocessing.
# needs: /usr/bin/python3
# limit: 120
set -eu
export PYTHONDONTWRITEBYTECODE=1
py=/usr/bin/python3
$py - <<'EOF'
import threading, queue, subprocess, sqlite3, os, mmap, tempfile, json, hashlib, socket, select, signal, time, asyncio, sys
q, out = queue.Queue(), []
lock = threading.Lock()
def work():
    while (n := q.get()) is not None:
        with lock: out.append(n * n)
ts = [threading.Thread(target=work) for _ in range(16)]
[t.start() for t in ts]; [q.put(i) for i in range(2000)]; [q.put(None) for _ in ts]; [t.join() for t in ts]
print(len(out), sum(out))
print(subprocess.run(["tr", "a-z", "A-Z"], input="shout", text=True, capture_output=True).stdout)
print(subprocess.run("exit 5", shell=True).returncode, subprocess.run(["kill", "-9", "$$"], shell=False, stderr=subprocess.DEVNULL).returncode)
ps = [subprocess.Popen(["sleep", "0.1"]) for _ in range(20)]; print({p.wait() for p in ps})
try: subprocess.run(["sleep", "5"], timeout=0.2)
except subprocess.TimeoutExpired: print("timed out")
try: subprocess.run(["/no/such/program"])
except FileNotFoundError as e: print(e.errno)
db = sqlite3.connect("t.db"); db.execute("create table t (a integer primary key, b text)")
with db: db.executemany("insert into t values (?, ?)", ((i, str(i * 7)) for i in range(5000)))
print(db.execute("select count(*), sum(a), max(length(b)) from t").fetchone())
db.execute("pragma journal_mode=wal"); db.execute("delete from t where a % 2"); db.commit()
print(db.execute("pragma integrity_check").fetchone(), sqlite3.connect("t.db").execute("select count(*) from t").fetchone())
with tempfile.TemporaryFile() as f:
    f.write(b"x" * 8192); f.flush()
    with mmap.mmap(f.fileno(), 0) as m: m[100:105] = b"hello"; m.flush()
    f.seek(98); print(f.read(9))
print(hashlib.sha256(b"a" * 1000000).hexdigest()[:16])
a, b = socket.socketpair(); a.send(b"ping"); print(select.select([b], [], [], 1)[0] == [b], b.recv(10))
signal.signal(signal.SIGALRM, lambda *x: print("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.05); time.sleep(0.2)
async def main():
    p = await asyncio.create_subprocess_shell("cat", stdin=-1, stdout=-1)
    o, _ = await p.communicate(b"async"); print(o, p.returncode)
    print(await asyncio.gather(*(asyncio.sleep(0.01 * i, i) for i in range(5))))
    srv = await asyncio.start_unix_server(lambda r, w: asyncio.ensure_future(echo(r, w)), "sock")
    r, w = await asyncio.open_unix_connection("sock"); w.write(b"over unix\n"); print(await r.readline()); w.close(); srv.close()
async def echo(r, w): w.write(await r.readline()); await w.drain(); w.close()
asyncio.run(main())
pid = os.fork()
if pid == 0: os._exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
r, w = os.pipe(); os.set_blocking(r, False)
try: os.read(r, 1)
except BlockingIOError: print("would block")
print(os.listdir("/proc/self/task") == [str(os.getpid())], sys.version_info.major, json.dumps(os.uname().sysname))
EOF
cat >mp.py <<'EOF'
import multiprocessing as m
def f(x): return x ** 3
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        m.set_start_method(method, force=True)
        with m.Pool(4) as p: print(method, sum(p.map(f, range(200))))
    q = m.Queue(); p = m.Process(target=q.put, args=("queued",)); p.start(); print(q.get()); p.join()
EOF
$py mp.py
$py -c 'import http.client, ctypes, decimal, zlib, ssl; print(decimal.Decimal(2).sqrt(), zlib.crc32(b"x"))'
$py -m compileall -q -d x mp.py >/dev/null; $py -m json.tool <<<'{"a":1}'; $py -m timeit -n 1 -r 1 pass >/dev/null
