// Java: UnixDomainSocketAddress on SocketChannel with a Selector, and blocking in threads. Like echo.c, without files.
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

public class Echo {
    static UnixDomainSocketAddress address;

    static void serve() throws IOException {
        Selector selector = Selector.open();
        ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
        server.bind(address);
        server.configureBlocking(false);
        server.register(selector, SelectionKey.OP_ACCEPT);
        while (true) {
            selector.select();
            for (SelectionKey key : selector.selectedKeys()) {
                if (key.isAcceptable()) {
                    SocketChannel accepted = server.accept();
                    accepted.configureBlocking(false);
                    accepted.register(selector, SelectionKey.OP_READ, ByteBuffer.allocate(65536));
                } else {
                    answer(key);
                }
            }
            selector.selectedKeys().clear();
        }
    }

    static void answer(SelectionKey key) throws IOException {
        SocketChannel channel = (SocketChannel) key.channel();
        ByteBuffer room = (ByteBuffer) key.attachment();
        if (key.isReadable()) {
            room.clear();
            if (channel.read(room) < 0) {
                channel.close();
                return;
            }
            room.flip();
            String words = StandardCharsets.ISO_8859_1.decode(room.duplicate()).toString();
            room.duplicate().put(words.toUpperCase().getBytes(StandardCharsets.ISO_8859_1));
        }
        channel.write(room);
        key.interestOps(room.hasRemaining() ? SelectionKey.OP_WRITE : SelectionKey.OP_READ);
    }

    static String ask(String words) throws Exception {
        try (SocketChannel channel = SocketChannel.open(address)) {
            Thread filler = new Thread(() -> {
                try {
                    ByteBuffer data = ByteBuffer.wrap(words.getBytes());
                    while (data.hasRemaining()) {
                        channel.write(data);
                    }
                    channel.shutdownOutput();
                } catch (IOException error) {
                    throw new RuntimeException(error);
                }
            });
            filler.start();
            ByteBuffer answer = ByteBuffer.allocate(words.length() + 1);
            while (channel.read(answer) >= 0) {
            }
            filler.join();
            return new String(answer.array(), 0, answer.position());
        }
    }

    static void failure(String what, String where) {
        try {
            SocketChannel.open(UnixDomainSocketAddress.of(where));
        } catch (IOException error) {
            System.out.println(what + ": " + error);
        }
    }

    /** Interrupting a thread that is blocked in accept closes the channel. */
    static void interrupt() throws Exception {
        ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
        server.bind(null);
        System.out.println("bound by itself: " + server.getLocalAddress().toString().contains("socket"));
        Thread waiting = new Thread(() -> {
            try {
                server.accept();
            } catch (IOException error) {
                System.out.println("interrupted: " + error);
            }
        });
        waiting.start();
        Thread.sleep(100);
        waiting.interrupt();
        waiting.join();
    }

    static void call() throws Exception {
        System.out.println("said: " + ask("hello from Java"));
        System.out.println("half-closed: " + ask("x".repeat(300000)).chars().filter(c -> c == 'X').count());
        ExecutorService pool = Executors.newFixedThreadPool(50);
        List<Callable<String>> tasks = new ArrayList<>();
        for (int number = 0; number < 50; number++) {
            tasks.add(() -> ask("many"));
        }
        int good = 0;
        for (Future<String> answer : pool.invokeAll(tasks)) {
            good += answer.get().equals("MANY") ? 1 : 0;
        }
        pool.shutdown();
        System.out.println("at once: " + good);
        interrupt();
        failure("no such", "absent");
        failure("refused", "passed");
    }

    public static void main(String[] arguments) throws Exception {
        address = UnixDomainSocketAddress.of(arguments[1]);
        if (arguments[0].equals("serve")) {
            serve();
        }
        call();
    }
}
