import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import org.objectweb.asm.AnnotationVisitor;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.FieldVisitor;
import org.objectweb.asm.MethodVisitor;
import org.objectweb.asm.Opcodes;

/**
 * NewerCalls ANDROID.jar CLASSES: what the classes use of android.* that ANDROID has not, outside
 * functions marked @TargetApi. Ends with 1 when there is any.
 */
public class NewerCalls {
    static ZipFile android;
    static final Map<String, Set<String>> MEMBERS = new HashMap<>();

    public static void main(String[] arguments) throws IOException {
        android = new ZipFile(arguments[0]);
        Set<String> found = new HashSet<>();
        List<Path> files;
        try (Stream<Path> walk = Files.walk(Path.of(arguments[1]))) {
            files = walk.filter(f -> f.toString().endsWith(".class")).collect(Collectors.toList());
        }
        if (files.isEmpty()) throw new IOException("no classes in " + arguments[1]);
        for (Path file : files) new ClassReader(Files.readAllBytes(file)).accept(new Calls(found), 0);
        found.stream().sorted().forEach(System.out::println);
        System.exit(found.isEmpty() ? 0 : 1);
    }

    /** The members of an Android class, its parents' included; null where there is no such class. */
    static Set<String> members(String name) {
        if (MEMBERS.containsKey(name)) return MEMBERS.get(name);
        ZipEntry entry = android.getEntry(name + ".class");
        Set<String> members = entry == null ? null : new HashSet<>();
        MEMBERS.put(name, members);
        if (entry == null) return null;
        try (InputStream in = android.getInputStream(entry)) {
            new ClassReader(in.readAllBytes()).accept(new Members(members), ClassReader.SKIP_CODE);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        return members;
    }

    static class Members extends ClassVisitor {
        private final Set<String> members;

        Members(Set<String> members) {
            super(Opcodes.ASM9);
            this.members = members;
        }

        private void inherit(String name) {
            Set<String> inherited = name == null ? null : members(name);
            if (inherited != null) members.addAll(inherited);
            else if (name != null) members.add("*"); // a class of java.*: not looked at
        }

        @Override public void visit(int version, int access, String name, String signature, String parent, String[] interfaces) {
            if (!"java/lang/Object".equals(parent)) inherit(parent);
            for (String each : interfaces) if (each.startsWith("android/")) inherit(each);
        }

        @Override public MethodVisitor visitMethod(int access, String name, String type, String signature, String[] exceptions) {
            members.add(name + type);
            return null;
        }

        @Override public FieldVisitor visitField(int access, String name, String type, String signature, Object value) {
            members.add(name);
            return null;
        }
    }

    static class Calls extends ClassVisitor {
        private final Set<String> found;
        private String className;

        Calls(Set<String> found) {
            super(Opcodes.ASM9);
            this.found = found;
        }

        @Override public void visit(int version, int access, String name, String signature, String parent, String[] interfaces) {
            className = name;
        }

        @Override public MethodVisitor visitMethod(int access, String method, String type, String signature, String[] exceptions) {
            Set<String> here = new HashSet<>();
            return new MethodVisitor(Opcodes.ASM9) {
                private boolean isMarked;

                @Override public AnnotationVisitor visitAnnotation(String annotation, boolean visible) {
                    isMarked |= annotation.equals("Landroid/annotation/TargetApi;");
                    return null;
                }

                private void use(String owner, String member) {
                    if (!owner.startsWith("android/")) return;
                    Set<String> members = members(owner);
                    boolean known = members != null && (members.contains(member) || members.contains("*"));
                    if (known || isOfObject(member)) return;
                    here.add(className + "." + method + " uses " + owner + "." + member + ", which Android 8.0 has not");
                }

                private boolean isOfObject(String member) {
                    return member.matches("(hashCode|toString|getClass|equals|wait|notify|notifyAll)\\(.*");
                }

                @Override public void visitMethodInsn(int code, String owner, String name, String type, boolean isInterface) {
                    use(owner, name + type);
                }

                @Override public void visitFieldInsn(int code, String owner, String name, String type) {
                    use(owner, name);
                }

                @Override public void visitEnd() {
                    if (!isMarked) found.addAll(here);
                }
            };
        }
    }
}
