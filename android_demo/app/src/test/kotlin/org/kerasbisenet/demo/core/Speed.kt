package org.kerasbisenet.demo.core

import java.io.File

/**
 * What surrounds the network, for `ci/measure_speed.py`: FOLDER has a frame, RGB of 1280x720, and the
 * logits of the packaged model for it. Prints medians in milliseconds.
 */
fun main(arguments: Array<String>) {
    val (folder, frames) = File(arguments[0]) to arguments[1].toInt()
    val rgb = File(folder, "frame.rgb").readBytes()
    val logits = File(folder, "logits.bin").readBytes()
    val size = Size(720, 1280)
    val info = info(Size(480, 640), output = TensorFacts(listOf(1, 60, 80, 11), "INT8"))
    val output = tensorMemory(logits.size).put(logits).rewind() as java.nio.ByteBuffer
    val input = tensorMemory(info.input.byteCount)
    val frame = planesOf(rgb, size)
    val turn = Turn(0, false)

    val yuv = YuvInput(size, turn, info.size, PixelCode.of(info))
    val colours = OverlayColours(info.classes)
    val full = ClassIds.of(info, Fit.of(size, info.size))
    val seen = ClassIds.of(info, Fit(yuv.fit.content, info.size, yuv.fit.content))
    val picture = YuvPicture(size, turn)
    val pixels = IntArray(size.area)

    fun report(name: String, work: () -> Unit) {
        repeat(WARM_UP) { work() }
        val times = LongArray(frames) {
            val start = System.nanoTime()
            work()
            System.nanoTime() - start
        }
        println("Kotlin, $name\t${times.sorted()[frames / 2] / 1e6}")
    }
    report("at the frame's size") {
        yuv.write(frame, input)
        full.read(output)
        colours.paint(full.ids, pixels)
    }
    report("live") {
        picture.draw(frame)
        yuv.write(frame, input)
        seen.read(output)
        colours.paint(seen.ids, pixels)
    }
    report("planes to input") { yuv.write(frame, input) }
    report("planes to picture") { picture.draw(frame) }
    report("output to ids, frame's size") { full.read(output) }
}

private const val WARM_UP = 40

private fun planesOf(rgb: ByteArray, size: Size): YuvFrame {
    val luma = tensorMemory(size.area)
    val chroma = List(2) { tensorMemory(size.area / 2) }
    for (row in 0 until size.height) for (column in 0 until size.width) {
        val at = (row * size.width + column) * 3
        val (r, g, b) = List(3) { (rgb[at + it].toInt() and 255).toDouble() }
        luma.put(row * size.width + column, (0.299 * r + 0.587 * g + 0.114 * b).toInt().toByte())
        if (row % 2 == 0 && column % 2 == 0) {
            chroma[0].put(row / 2 * size.width + column, (128 - 0.168736 * r - 0.331264 * g + 0.5 * b).toInt().coerceIn(0, 255).toByte())
            chroma[1].put(row / 2 * size.width + column, (128 + 0.5 * r - 0.418688 * g - 0.081312 * b).toInt().coerceIn(0, 255).toByte())
        }
    }
    return YuvFrame(size, Plane(luma, size.width, 1), Plane(chroma[0], size.width, 2), Plane(chroma[1], size.width, 2))
}
