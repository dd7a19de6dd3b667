import java.io.IOException;
import java.io.OutputStream;
import java.net.URI;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/** JdkJar OUT: the java and javax classes of this JDK that Android has too, in a jar. */
public class JdkJar {
    static final List<String> MODULES = List.of("java.base", "java.logging", "java.xml", "java.sql");

    public static void main(String[] arguments) throws IOException {
        FileSystem modules = FileSystems.getFileSystem(URI.create("jrt:/"));
        try (OutputStream file = Files.newOutputStream(Path.of(arguments[0])); ZipOutputStream jar = new ZipOutputStream(file)) {
            jar.setLevel(1);
            for (String module : MODULES) {
                Path root = modules.getPath("/modules", module);
                for (String top : List.of("java", "javax")) {
                    if (Files.exists(root.resolve(top))) add(jar, root, root.resolve(top));
                }
            }
        }
    }

    static void add(ZipOutputStream jar, Path root, Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : (Iterable<Path>) files.filter(f -> f.toString().endsWith(".class"))::iterator) {
                jar.putNextEntry(new ZipEntry(root.relativize(file).toString()));
                jar.write(Files.readAllBytes(file));
            }
        }
    }
}
