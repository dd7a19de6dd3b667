"""toolchain.py FOLDER: what an Android build takes, from Maven Central alone.

For machines that reach no Google Maven, no Gradle download and no Android SDK; wherever those are
at hand, `./gradlew` does all of this by itself. It makes in FOLDER:

- `gradle`: Gradle 8.7, its classes as dev.gradleplugins:gradle-api has them, laid out as a
  distribution;
- `sdk`: an Android SDK of API 34: signatures and resources of Robolectric's android-all, and the
  aapt2 of org.apktool:apktool-lib;
- `native`: TFLite's Android library for x86-64, and a shim for what Android's C library has beyond
  Linux's, so that it loads into a JVM here and the tests run the very library that the app has;
- `robolectric`: Android 8.0 and 14 for Robolectric;
- `maven`: the artifacts that these come from.

Needs JDK 17, Maven and a C compiler. What is there already is kept.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

GRADLE = "8.7"
GROOVY = "3.0.17"
KOTLIN_OF_GRADLE = "1.9.22"
API = "34"
BUILD_TOOLS = "34.0.0"
ANDROID_14 = "14-robolectric-10818077"
ANDROID_8 = "8.0.0_r4-robolectric-r1"
TFLITE = "2.16.1"

GROOVY_MODULES = (
    "groovy groovy-ant groovy-astbuilder groovy-console groovy-datetime groovy-dateutil "
    "groovy-docgenerator groovy-groovydoc groovy-json groovy-nio groovy-sql groovy-swing "
    "groovy-templates groovy-test groovy-xml"
).split()

GRADLE_PARTS = [
    *(f"org.codehaus.groovy:{module}:{GROOVY}" for module in GROOVY_MODULES),
    f"org.jetbrains.kotlin:kotlin-stdlib:{KOTLIN_OF_GRADLE}",
    f"org.jetbrains.kotlin:kotlin-reflect:{KOTLIN_OF_GRADLE}",
    "org.apache.ant:ant:1.10.13",
    "org.apache.ant:ant-launcher:1.10.13",
    "javax.inject:javax.inject:1",
]
GRADLE_API = f"dev.gradleplugins:gradle-api:{GRADLE}"
ASM = "org.ow2.asm:asm:9.8"
ANDROID_ALL = f"org.robolectric:android-all:{ANDROID_14}"
INSTRUMENTED = [f"org.robolectric:android-all-instrumented:{v}-i7" for v in (ANDROID_8, ANDROID_14)]
APKTOOL = "org.apktool:apktool-lib:3.0.3"
APKSIG = "com.android.tools.build:apksig:9.5.1"
TFLITE_AAR = f"org.tensorflow:tensorflow-lite:{TFLITE}:aar"
ARTIFACTS = [
    *GRADLE_PARTS,
    GRADLE_API,
    ASM,
    ANDROID_ALL,
    *INSTRUMENTED,
    APKTOOL,
    APKSIG,
    TFLITE_AAR,
]

CLASSPATH = "-classpath.properties"


class Unavailable(Exception):
    """A download was refused; the text says which."""


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for tool in ("java", "javac", "mvn", "gcc"):
        if not shutil.which(tool):
            raise Unavailable(f"no {tool} here: install JDK 17, Maven and GCC")
    download(folder / "maven", ARTIFACTS)
    made(folder / "gradle", lambda out: make_gradle(out, folder / "maven"))
    made(folder / "sdk", lambda out: make_sdk(out, folder / "maven"))
    made(folder / "native", lambda out: make_native(out, folder / "maven"))
    made(folder / "robolectric", lambda out: make_robolectric(out, folder / "maven"))


def made(out: Path, make_it) -> None:
    """Makes a folder, whole or not at all."""
    if (out / ".made").exists():
        return
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    make_it(out)
    (out / ".made").touch()


# === Maven ===


def jar(maven: Path, artifact: str) -> Path:
    """Where `group:name:version[:type]` lies in a folder that `download` filled."""
    _, name, version, *more = artifact.split(":")
    return maven / f"{name}-{version}.{more[0] if more else 'jar'}"


def download(maven: Path, artifacts: list[str], transitive: bool = False) -> None:
    """Copies artifacts into `maven`, all by one call of Maven."""
    missing = [a for a in artifacts if not jar(maven, a).exists()]
    if not missing:
        return
    maven.mkdir(parents=True, exist_ok=True)
    pom = maven / "pom.xml"
    goal = "copy-dependencies" if transitive else "copy"
    items = "".join(item(a, "dependency" if transitive else "artifactItem") for a in missing)
    where = f"<outputDirectory>{maven}</outputDirectory>"
    if transitive:
        dependencies, settings = f"<dependencies>{items}</dependencies>", where
    else:
        dependencies, settings = "", f"<artifactItems>{items}</artifactItems>{where}"
    pom.write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>ci</groupId><artifactId>ci</artifactId>"
        f"<version>1</version>{dependencies}<build><plugins><plugin>"
        "<groupId>org.apache.maven.plugins</groupId><artifactId>maven-dependency-plugin</artifactId>"
        f"<version>3.6.1</version><configuration>{settings}</configuration>"
        "</plugin></plugins></build></project>"
    )
    command = ["mvn", "-B", "-q", "-f", pom, f"dependency:{goal}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = (
            "Could not find artifact",
            "Could not transfer artifact",
            "Could not resolve",
            "Failure to",
        )
        refused = [line for line in done.stdout.splitlines() if any(word in line for word in words)]
        if refused:
            raise Unavailable(refused[0])
        sys.exit(done.stdout + done.stderr)


def item(artifact: str, tag: str) -> str:
    group, name, version, *more = artifact.split(":")
    kind = f"<type>{more[0]}</type>" if more else ""
    return (
        f"<{tag}><groupId>{group}</groupId><artifactId>{name}</artifactId>"
        f"<version>{version}</version>{kind}</{tag}>"
    )


# === Gradle ===


def make_gradle(out: Path, maven: Path) -> None:
    """A distribution whose modules are empty, but for gradle-core, which has all classes.

    gradle-api is one jar of all of Gradle's classes. A distribution is a folder of modules, each
    with a list of what it needs; the lists are in the jar.
    """
    lib = out / "lib"
    (lib / "plugins").mkdir(parents=True)
    for part in GRADLE_PARTS:
        shutil.copy(jar(maven, part), lib)
    present = {path.name for path in lib.glob("*.jar")}
    with zipfile.ZipFile(jar(maven, GRADLE_API)) as fat:
        lists = {
            name[: -len(CLASSPATH)]: fat.read(name).decode()
            for name in fat.namelist()
            if name.endswith(CLASSPATH) and "/" not in name
        }
        named: set[str] = set()
        edited = {module: edited_list(module, lists, present, named) for module in lists}
        for module, text in edited.items():
            if module != "gradle-core":
                write_jar(lib / f"{module}-{GRADLE}.jar", {module + CLASSPATH: text})
        compiler = "gradle-java-compiler-plugin"
        write_jar(lib / f"{compiler}-{GRADLE}.jar", {compiler + CLASSPATH: "projects=\nruntime=\n"})
        write_core(lib / f"gradle-core-{GRADLE}.jar", fat, edited["gradle-core"])
    for name in named:
        if not (lib / name).exists():
            write_jar(lib / name, {"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\n"})


def edited_list(module: str, lists: dict, present: set[str], named: set[str]) -> str:
    """A module's list, of what is here; `named` gathers the jars that must exist by name."""
    lines = []
    for line in lists[module].splitlines():
        key, _, value = line.partition("=")
        names = [name for name in value.split(",") if name]
        if not line or line.startswith("#"):
            continue
        if key == "runtime":
            named.update(names)
            names = [n for n in names if n in present and not n.startswith(("ant", "javax"))]
            if module == "gradle-core":
                kotlin = [f"kotlin-{part}-{KOTLIN_OF_GRADLE}.jar" for part in ("stdlib", "reflect")]
                names = kotlin + names
        elif key == "projects":
            names = [name for name in names if name in lists]
        lines.append(f"{key}={','.join(names)}\n")
    return "".join(lines)


def write_core(path: Path, fat: zipfile.ZipFile, own_list: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as core:
        core.writestr("gradle-core" + CLASSPATH, own_list)
        for name in dict.fromkeys(fat.namelist()):
            is_list = name.endswith(CLASSPATH) and "/" not in name
            # A service of java.*, or an index, that the renamed classes do not match stops the JVM.
            stops = name.startswith("META-INF/services/java") or name == "META-INF/INDEX.LIST"
            if not (name.endswith("/") or is_list or stops):
                core.writestr(name, fat.read(name))


def write_jar(path: Path, files: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


# === The SDK ===

REPOSITORY = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    '<ns2:repository xmlns:ns2="http://schemas.android.com/repository/android/common/02" '
    'xmlns:p="http://schemas.android.com/{schema}"><localPackage path="{path}" obsolete="false">'
    '<type-details xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="p:{kind}">'
    "{details}</type-details><revision><major>{major}</major><minor>0</minor><micro>0</micro></revision>"
    "<display-name>{name}</display-name></localPackage></ns2:repository>"
)

# The plugin looks for these, and calls none of them.
UNUSED_TOOLS = (
    "aapt aidl dexdump zipalign split-select apksigner bcc_compat llvm-rs-cc lld d8 "
    "i686-linux-android-ld arm-linux-androideabi-ld mipsel-linux-android-ld "
    "x86_64-linux-android-ld aarch64-linux-android-ld"
).split()


def make_sdk(out: Path, maven: Path) -> None:
    platform = out / f"platforms/android-{API}"
    tools = out / f"build-tools/{BUILD_TOOLS}"
    platform.mkdir(parents=True)
    tools.mkdir(parents=True)
    make_platform(platform, maven)
    with zipfile.ZipFile(jar(maven, APKTOOL)) as archive:
        (tools / "aapt2").write_bytes(archive.read("prebuilt/linux/aapt2"))
    for name in UNUSED_TOOLS:
        (tools / name).write_text("#!/bin/sh\necho not in this SDK >&2; exit 1\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    write_jar(tools / "core-lambda-stubs.jar", {"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\n"})
    (tools / "source.properties").write_text(f"Pkg.Desc=Build-Tools\nPkg.Revision={BUILD_TOOLS}\n")
    (tools / "package.xml").write_text(
        REPOSITORY.format(
            schema="repository/android/generic/02",
            path=f"build-tools;{BUILD_TOOLS}",
            kind="genericDetailsType",
            details="",
            major=API,
            name="Build-Tools",
        )
    )


def make_platform(platform: Path, maven: Path) -> None:
    asm = jar(maven, ASM)
    core = platform / "core-for-system-modules.jar"
    with_asm = f"{asm}:{platform}"
    subprocess.run(
        ["javac", "-cp", asm, "-d", platform, HERE / "StubJar.java", HERE / "JdkJar.java"],
        check=True,
    )
    subprocess.run(["java", "-cp", platform, "JdkJar", core], check=True)
    stub = [
        "java",
        "-cp",
        with_asm,
        "StubJar",
        platform / "android.jar",
        jar(maven, ANDROID_ALL),
        core,
    ]
    subprocess.run(stub, check=True)
    for compiled in platform.glob("*.class"):
        compiled.unlink()
    (platform / "framework.aidl").write_text("")
    (platform / "build.prop").write_text(
        f"ro.build.version.sdk={API}\nro.build.version.codename=REL\n"
    )
    (platform / "source.properties").write_text(
        f"Pkg.Desc=Android SDK Platform {API}\nPkg.Revision=1\nAndroidVersion.ApiLevel={API}\n"
        "Platform.Version=14\nLayoutlib.Api=15\nLayoutlib.Revision=1\n"
    )
    (platform / "package.xml").write_text(
        REPOSITORY.format(
            schema="sdk/android/repo/repository2/03",
            path=f"platforms;android-{API}",
            kind="platformDetailsType",
            details=f"<api-level>{API}</api-level><codename></codename>"
            '<base-extension>true</base-extension><layoutlib api="15"/>',
            major=1,
            name=f"Android SDK Platform {API}",
        )
    )


# === TFLite's Android library in a JVM ===


def make_native(out: Path, maven: Path) -> None:
    from unversion import without_symbol_versions

    with zipfile.ZipFile(jar(maven, TFLITE_AAR)) as aar:
        library = aar.read("jni/x86_64/libtensorflowlite_jni.so")
    (out / "libtensorflowlite_jni.so").write_bytes(without_symbol_versions(library))
    compile_library(out / "libshim.so", HERE / "bionic_shim.c", "-O1", "-ldl")
    # The library asks for Android's libc.so and its like by name.
    stub = out / "stub.c"
    stub.write_text("void android_stub(void) {}\n")
    for name in ("libc", "libm", "libdl", "liblog"):
        soname = f"-Wl,-soname,{name}.so"
        needs = ("-Wl,--no-as-needed", f"-L{out}", "-l:libshim.so", "-lm", "-ldl")
        compile_library(out / f"{name}.so", stub, soname, *needs)


def compile_library(to: Path, source: Path, *options: str) -> None:
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", to, source, *options], check=True)


def make_robolectric(out: Path, maven: Path) -> None:
    for artifact in INSTRUMENTED:
        (out / jar(maven, artifact).name).symlink_to(jar(maven, artifact))


if __name__ == "__main__":
    try:
        make(Path(sys.argv[1]).resolve())
    except Unavailable as refused:
        sys.exit(f"Error: {refused}")
