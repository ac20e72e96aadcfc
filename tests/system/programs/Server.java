// Threads, processes, files and channels of Java's library, behind its own server.
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.channels.FileChannel;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.StandardWatchEventKinds;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;

public class Server {
    static boolean threads() throws Exception {
        var pool = Executors.newFixedThreadPool(8);
        var futures = IntStream.range(0, 100).mapToObj(n -> pool.submit(() -> n)).toList();
        int sum = 0;
        for (var f : futures)
            sum += f.get(10, TimeUnit.SECONDS);
        pool.shutdown();
        return sum == 4950 && IntStream.range(0, 1000).parallel().sum() == 499500;
    }

    static boolean processes() throws Exception {
        var p = new ProcessBuilder("/bin/busybox", "cat").start();
        try (var in = p.getOutputStream()) {
            in.write("hello".getBytes());
        }
        return new String(p.getInputStream().readAllBytes()).equals("hello") && p.waitFor() == 0;
    }

    static boolean files() throws Exception {
        try (var watch = FileSystems.getDefault().newWatchService()) {
            Path.of("/tmp").register(watch, StandardWatchEventKinds.ENTRY_CREATE);
            Path a = Files.writeString(Path.of("/tmp/a"), "text");
            if (watch.poll(10, TimeUnit.SECONDS) == null)
                return false;
            Files.copy(a, Path.of("/tmp/b"));
            try (var channel = FileChannel.open(a, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
                var map = channel.map(FileChannel.MapMode.READ_WRITE, 0, 4);
                map.put(0, (byte) 'T');
                map.force();
            }
            return Files.readString(a).equals("Text") && Files.getFileStore(a).getTotalSpace() > 0;
        }
    }

    static boolean client() throws Exception {
        var request = HttpRequest.newBuilder(URI.create("http://localhost:3000/")).build();
        return HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).statusCode() == 200;
    }

    static boolean memory() {
        for (int i = 0; i < 64; i++)
            if (new byte[1 << 20].length != 1 << 20)
                return false;
        System.gc();
        return true;
    }

    static String check(String name, Callable<Boolean> f) {
        String result;
        try {
            result = f.call().toString();
        } catch (Exception e) {
            result = "\"" + e + "\"";
        }
        return "\"" + name + "\": " + result;
    }

    public static void main(String[] args) throws IOException {
        var server = HttpServer.create(new InetSocketAddress(3000), 16);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            String body = !exchange.getRequestURI().getPath().equals("/check") ? "{}" :
                "{" + String.join(", ", check("threads", Server::threads), check("processes", Server::processes), check("files", Server::files),
                                  check("client", Server::client), check("memory", Server::memory)) + "}";
            exchange.sendResponseHeaders(200, body.length());
            try (var out = exchange.getResponseBody()) {
                out.write(body.getBytes());
            }
        });
        server.start();
    }
}
