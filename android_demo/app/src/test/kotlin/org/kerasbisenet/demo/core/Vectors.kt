package org.kerasbisenet.demo.core

import org.junit.Assume.assumeTrue
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64
import javax.imageio.ImageIO

/** The vectors that every port must reproduce, and files of the project that tests take. */
object Vectors {
    private val folder = File(System.getProperty("conformance") ?: "../../conformance")
    private val own = File(System.getProperty("vectors") ?: "build/vectors")

    fun json(name: String): Any? {
        assumeTrue("no conformance vectors in ${folder.absolutePath}", folder.isDirectory)
        return Json.parse(File(folder, name).readText())
    }

    /** Those that `ci/make_vectors.py` makes. */
    fun own(name: String): Any? {
        assumeTrue("no $name in ${own.absolutePath}: python android_demo/ci/make_vectors.py", own.isDirectory)
        return Json.parse(File(own, name).readText())
    }

    /** 8-bit RGB, or grey as it is. */
    fun picture(name: String): Pair<Size, ByteArray> {
        val image = ImageIO.read(File(folder, name)).raster
        val bands = if (image.numBands >= 3) 3 else 1
        val pixels = IntArray(image.width * image.height * image.numBands)
        image.getPixels(0, 0, image.width, image.height, pixels)
        val bytes = ByteArray(image.width * image.height * bands) { pixels[it / bands * image.numBands + it % bands].toByte() }
        return Size(image.height, image.width) to bytes
    }

    fun bytes(base64: String): ByteBuffer {
        val data = Base64.getDecoder().decode(base64)
        return tensorMemory(data.size).put(data).rewind() as ByteBuffer
    }

    fun file(property: String): ByteBuffer {
        val file = File(System.getProperty(property) ?: "")
        assumeTrue("no $property named by -D$property=FILE", file.isFile)
        val data = file.readBytes()
        return tensorMemory(data.size).put(data).rewind() as ByteBuffer
    }

    fun file(inProject: File): ByteBuffer = tensorMemory(inProject.length().toInt()).put(inProject.readBytes()).rewind() as ByteBuffer

    fun conformanceFile(name: String) = File(folder, name)

    fun size(json: Any?) = json.items().map { (it as Double).toInt() }.let { Size(it[0], it[1]) }
}

fun ByteArray.differing(other: ByteArray) = indices.count { this[it] != other[it] }

/** A model's facts, for tests that need no file. */
fun info(
    size: Size, type: NumberType = NumberType.INT8, output: TensorFacts = TensorFacts(listOf(1, 8, 8, 11), "INT8"),
    classes: Int = 11, kind: OutputKind = OutputKind.LOGITS,
): ModelInfo {
    val (scale, zero) = when (type) {
        NumberType.INT8 -> 1 / 255f to -128
        NumberType.UINT8 -> 1 / 255f to 0
        else -> 0f to 0
    }
    val input = TensorFacts(listOf(1, size.height, size.width, 3), type.name, scale, zero)
    return ModelInfo(input, output, 1 / 255.0, 0.0, kind, 8, List(classes) { ClassLabel("c$it", it * 0x050301) }, null)
}

fun nativeBuffer(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())
