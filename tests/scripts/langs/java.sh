#!/bin/bash
# A JVM as it comes, without any setting: threads, locks, files, memory, children, sockets.
# needs: java javac
# limit: 120
set -eu
java -version 2>&1 | grep -c 'version "'
cat >Main.java <<'END'
import java.io.*;
import java.net.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.stream.*;

public class Main {
    static int shared;
    public static void main(String[] args) throws Exception {
        Thread[] threads = new Thread[8];
        Object lock = new Object();
        for (int i = 0; i < threads.length; i++) {
            threads[i] = new Thread(() -> { for (int j = 0; j < 10000; j++) synchronized (lock) { shared++; } });
            threads[i].start();
        }
        for (Thread t : threads) t.join();
        System.out.println("threads " + shared);

        ExecutorService pool = Executors.newFixedThreadPool(16);
        List<Future<Long>> parts = new ArrayList<>();
        for (int i = 0; i < 200; i++) { long n = i; parts.add(pool.submit(() -> LongStream.rangeClosed(1, n * 100).sum())); }
        long sum = 0; for (Future<Long> part : parts) sum += part.get();
        pool.shutdown(); System.out.println("pool " + sum + " " + pool.awaitTermination(5, TimeUnit.SECONDS));
        System.out.println("parallel " + IntStream.range(0, 1000000).parallel().filter(x -> x % 7 == 0).count());
        SynchronousQueue<Integer> queue = new SynchronousQueue<>();
        Thread taker = new Thread(() -> { try { for (int i = 0; i < 1000; i++) shared += queue.take(); } catch (InterruptedException e) { } });
        taker.start(); for (int i = 0; i < 1000; i++) queue.put(i); taker.join(); System.out.println("queue " + shared);
        Thread sleeper = new Thread(() -> { try { Thread.sleep(100000); } catch (InterruptedException e) { System.out.println("interrupted"); } });
        sleeper.start(); Thread.sleep(20); sleeper.interrupt(); sleeper.join();

        Path dir = Files.createDirectory(Path.of("d"));
        for (int i = 0; i < 200; i++) Files.writeString(dir.resolve("f" + i), "line\n".repeat(i));
        try (Stream<Path> files = Files.walk(dir)) {
            System.out.println("files " + files.filter(Files::isRegularFile).mapToLong(p -> p.toFile().length()).sum());
        }
        try (RandomAccessFile file = new RandomAccessFile("mapped", "rw"); FileChannel channel = file.getChannel()) {
            MappedByteBuffer map = channel.map(FileChannel.MapMode.READ_WRITE, 0, 1 << 20);
            for (int i = 0; i < map.capacity(); i += 4096) map.put(i, (byte) (i >> 12));
            map.force(); file.seek(77 * 4096); System.out.println("mapped " + file.read() + " " + file.length());
            try (FileLock held = channel.lock()) { System.out.println("locked " + held.isValid()); }
        }
        WatchService watch = FileSystems.getDefault().newWatchService();
        dir.register(watch, StandardWatchEventKinds.ENTRY_CREATE);
        Files.createFile(dir.resolve("fresh"));
        System.out.println("watched " + watch.poll(20, TimeUnit.SECONDS).pollEvents().get(0).context());

        Process child = new ProcessBuilder("sh", "-c", "read x; echo got $x; exit 4").start();
        try (Writer to = child.outputWriter()) { to.write("words\n"); }
        System.out.println(child.inputReader().readLine() + " " + child.waitFor());

        UnixDomainSocketAddress address = UnixDomainSocketAddress.of("sock");
        try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(address);
            Thread echo = new Thread(() -> {
                try (SocketChannel c = server.accept()) {
                    ByteBuffer b = ByteBuffer.allocate(100); c.read(b); b.flip(); c.write(b);
                } catch (IOException e) { e.printStackTrace(); }
            });
            echo.start();
            try (SocketChannel c = SocketChannel.open(address)) {
                c.write(ByteBuffer.wrap("over unix".getBytes()));
                ByteBuffer b = ByteBuffer.allocate(100); c.read(b); b.flip();
                System.out.println("socket " + new String(b.array(), 0, b.limit()));
            }
            echo.join();
        }
        // Garbage enough for collections, nulls enough for the signal behind NullPointerException, depth enough for the guard pages.
        long kept = 0; List<byte[]> some = new ArrayList<>();
        for (int i = 0; i < 20000; i++) { byte[] b = new byte[10000]; b[i % 10000] = 1; if (i % 1000 == 0) some.add(b); kept += b.length; }
        System.gc(); System.out.println("garbage " + kept + " " + some.size());
        int nulls = 0; String none = args.length > 9 ? "" : null;
        for (int i = 0; i < 20000; i++) try { none.length(); } catch (NullPointerException e) { nulls++; }
        System.out.println("nulls " + nulls);
        try { deep(0); } catch (StackOverflowError e) { System.out.println("deep"); }
        if (args.length > 0) try { long[][] all = new long[1 << 20][]; for (int i = 0; ; i++) all[i] = new long[1 << 20]; }
        catch (OutOfMemoryError e) { System.out.println("full"); }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
        System.exit(6);
    }
    static int deep(int n) { return n < 0 ? n : deep(n + 1) + 1; }
}
END
java Main.java || echo "exit $?"
rm -r d mapped sock; java -Xmx100m Main.java until-full || echo "exit $?"
cat >Loop.java <<'END'
public class Loop { public static void main(String[] a) throws Exception {
    Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook"))); System.out.println("ready"); Thread.sleep(100000); } }
END
mkfifo ready; java Loop.java >ready & p=$!
{ read -r line; echo "$line"; kill -TERM $p; cat; } <ready; wait $p || echo "ended $?"
