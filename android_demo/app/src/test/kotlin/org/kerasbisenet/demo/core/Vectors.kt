package org.kerasbisenet.demo.core

import org.junit.Assume.assumeTrue
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64
import java.util.zip.Inflater
import kotlin.math.abs

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

    fun picture(name: String): Pair<Size, ByteArray> = readPng(File(folder, name).readBytes())

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

/** The pixels of a PNG file, 8-bit RGB or grey. (Unit tests of Android have no javax.imageio.) */
fun readPng(file: ByteArray): Pair<Size, ByteArray> {
    val data = ByteBuffer.wrap(file)
    val size = Size(data.getInt(20), data.getInt(16))
    val bands = mapOf(0 to 1, 2 to 3).getValue(file[25].toInt())
    check(file[24] == 8.toByte() && file[28] == 0.toByte()) { "not 8 bits, or interlaced" }
    val line = size.width * bands
    val lines = ByteArray(size.height * (line + 1))
    val inflater = Inflater()
    var at = 8
    var done = 0
    while (done < lines.size) {
        val length = data.getInt(at)
        if (String(file, at + 4, 4) == "IDAT") {
            inflater.setInput(file, at + 8, length)
            while (!inflater.needsInput() && done < lines.size) done += inflater.inflate(lines, done, lines.size - done)
        }
        at += 12 + length
    }
    inflater.end()
    return size to unfiltered(lines, size.height, line, bands)
}

/** Undoes PNG's filters: each byte is kept as its difference from a guess by its neighbours. */
private fun unfiltered(lines: ByteArray, height: Int, line: Int, bands: Int): ByteArray {
    val out = ByteArray(height * line)
    fun pixel(row: Int, i: Int) = if (row < 0 || i < 0) 0 else out[row * line + i].toInt() and 255
    for (row in 0 until height) for (i in 0 until line) {
        val left = pixel(row, i - bands)
        val above = pixel(row - 1, i)
        val guess = when (lines[row * (line + 1)].toInt()) {
            0 -> 0
            1 -> left
            2 -> above
            3 -> (left + above) / 2
            else -> paeth(left, above, if (i < bands) 0 else pixel(row - 1, i - bands))
        }
        out[row * line + i] = (lines[row * (line + 1) + 1 + i] + guess).toByte()
    }
    return out
}

private fun paeth(left: Int, above: Int, corner: Int): Int {
    val guess = left + above - corner
    val (toLeft, toAbove, toCorner) = listOf(left, above, corner).map { abs(guess - it) }
    return if (toLeft <= toAbove && toLeft <= toCorner) left else if (toAbove <= toCorner) above else corner
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
