import java.io.BufferedOutputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.util.Collections;
import java.util.HashSet;
import java.util.Set;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipOutputStream;
import org.objectweb.asm.AnnotationVisitor;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.ClassWriter;
import org.objectweb.asm.FieldVisitor;
import org.objectweb.asm.MethodVisitor;
import org.objectweb.asm.Opcodes;
import org.objectweb.asm.RecordComponentVisitor;

/**
 * StubJar OUT IN...: an android.jar as an SDK has it: public and protected members, with bodies that
 * throw, and the resources. IN are jars of the classes; where two have a class, the first counts.
 */
public class StubJar {
    static final int SEEN = Opcodes.ACC_PUBLIC | Opcodes.ACC_PROTECTED;

    public static void main(String[] arguments) throws IOException {
        Set<String> done = new HashSet<>();
        try (ZipOutputStream out = new ZipOutputStream(new BufferedOutputStream(new FileOutputStream(arguments[0])))) {
            for (int i = 1; i < arguments.length; i++) {
                try (ZipFile in = new ZipFile(arguments[i])) {
                    for (ZipEntry entry : Collections.list(in.entries())) copy(in, entry, out, done);
                }
            }
        }
    }

    static void copy(ZipFile in, ZipEntry entry, ZipOutputStream out, Set<String> done) throws IOException {
        String name = entry.getName();
        boolean isClass = name.endsWith(".class") && name.matches("(android|java|javax|dalvik|org/(json|w3c|xml|xmlpull))/.*");
        boolean isResource = name.equals("resources.arsc") || name.equals("AndroidManifest.xml");
        if (!(isClass || isResource) || !done.add(name)) return;
        byte[] bytes = in.getInputStream(entry).readAllBytes();
        if (isClass) bytes = stub(bytes);
        if (bytes == null) return;
        ZipEntry stub = new ZipEntry(name);
        stub.setTime(0);
        if (isResource) { // aapt2 reads them where they lie
            CRC32 crc = new CRC32();
            crc.update(bytes);
            stub.setMethod(ZipEntry.STORED);
            stub.setSize(bytes.length);
            stub.setCrc(crc.getValue());
        }
        out.putNextEntry(stub);
        out.write(bytes);
        out.closeEntry();
    }

    /** A class without its bodies; null where nobody outside sees it. */
    static byte[] stub(byte[] bytes) {
        ClassReader reader = new ClassReader(bytes);
        String name = reader.getClassName();
        boolean isPublic = (reader.getAccess() & Opcodes.ACC_PUBLIC) != 0;
        if (!isPublic && !name.contains("$") && !name.startsWith("java/")) return null;
        ClassWriter writer = new ClassWriter(ClassWriter.COMPUTE_MAXS);
        reader.accept(new Stub(writer), ClassReader.SKIP_CODE);
        return writer.toByteArray();
    }

    /** Records, sealed classes and nests are newer than class files of Java 8, which all tools read. */
    static class Stub extends ClassVisitor {
        private String parent;

        Stub(ClassVisitor out) {
            super(Opcodes.ASM9, out);
        }

        @Override public void visit(int version, int access, String name, String signature, String parent, String[] interfaces) {
            String old = "java/lang/Record".equals(parent) ? "java/lang/Object" : parent;
            this.parent = old;
            super.visit(Opcodes.V1_8, access & ~Opcodes.ACC_RECORD, name, signature, old, interfaces);
        }

        @Override public void visitPermittedSubclass(String name) {}

        @Override public void visitNestHost(String name) {}

        @Override public void visitNestMember(String name) {}

        @Override public RecordComponentVisitor visitRecordComponent(String name, String type, String signature) {
            return null;
        }

        @Override public FieldVisitor visitField(int access, String name, String type, String signature, Object value) {
            boolean shown = (access & SEEN) != 0 && (access & Opcodes.ACC_SYNTHETIC) == 0;
            return shown ? super.visitField(access, name, type, signature, value) : null;
        }

        @Override public MethodVisitor visitMethod(int access, String name, String type, String signature, String[] exceptions) {
            boolean isBridge = (access & Opcodes.ACC_BRIDGE) != 0;
            boolean shown = (access & SEEN) != 0 && ((access & Opcodes.ACC_SYNTHETIC) == 0 || isBridge);
            if (!shown) return null;
            MethodVisitor out = super.visitMethod(access & ~Opcodes.ACC_NATIVE, name, type, signature, exceptions);
            return new Body(out, (access & Opcodes.ACC_ABSTRACT) == 0, name.equals("<init>") ? parent : null);
        }
    }

    static class Body extends MethodVisitor {
        private final MethodVisitor out;
        private final boolean hasBody;
        private final String built;

        /** built: for a constructor the parent's name, else null. */
        Body(MethodVisitor out, boolean hasBody, String built) {
            super(Opcodes.ASM9);
            this.out = out;
            this.hasBody = hasBody;
            this.built = built;
        }

        @Override public AnnotationVisitor visitAnnotation(String type, boolean visible) {
            return out.visitAnnotation(type, visible);
        }

        @Override public AnnotationVisitor visitAnnotationDefault() {
            return out.visitAnnotationDefault();
        }

        @Override public AnnotationVisitor visitParameterAnnotation(int parameter, String type, boolean visible) {
            return out.visitParameterAnnotation(parameter, type, visible);
        }

        @Override public void visitEnd() {
            if (hasBody) {
                String exception = "java/lang/RuntimeException";
                out.visitCode();
                if (built != null) { // Robolectric looks for it where it takes a class from here
                    out.visitVarInsn(Opcodes.ALOAD, 0);
                    out.visitMethodInsn(Opcodes.INVOKESPECIAL, built, "<init>", "()V", false);
                }
                out.visitTypeInsn(Opcodes.NEW, exception);
                out.visitInsn(Opcodes.DUP);
                out.visitLdcInsn("Stub!");
                out.visitMethodInsn(Opcodes.INVOKESPECIAL, exception, "<init>", "(Ljava/lang/String;)V", false);
                out.visitInsn(Opcodes.ATHROW);
                out.visitMaxs(0, 0);
            }
            out.visitEnd();
        }
    }
}
