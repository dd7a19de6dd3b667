package org.kerasbisenet.demo.core

import org.junit.Assert.assertTrue
import org.junit.Test

class AllocationTest {
    /** The network itself, which is TFLite's, does nothing here. */
    private class Idle(info: ModelInfo) : Network {
        override val inputFacts = info.input
        override val outputFacts = info.output
        override val input = tensorMemory(inputFacts.byteCount)
        override val output = tensorMemory(outputFacts.byteCount)

        override fun invoke() = Unit
        override fun close() = Unit
    }

    @Test fun `a frame of 1280x720 allocates next to nothing`() {
        val info = info(Size(480, 640), output = TensorFacts(listOf(1, 60, 80, 11), "INT8"))
        val network = Idle(info)
        for (i in 0 until network.output.limit()) network.output.put(i, (i * 2654435761L shr 13).toByte())
        val segmenter = Segmenter(info, network)
        val turn = Turn(90, false)
        val picture = YuvPicture(frame.size, turn)
        val counts = ClassCounts()
        val colours = OverlayColours(info.classes)
        var pixels = IntArray(0)
        fun answer() {
            picture.draw(frame)
            val answer = segmenter.segment(frame, turn)
            counts.count(answer.ids)
            if (pixels.size != answer.ids.size) pixels = IntArray(answer.ids.size)
            colours.paint(answer.ids, pixels)
        }
        repeat(3) { answer() }
        val before = allocated()
        repeat(FRAMES) { answer() }
        val each = (allocated() - before) / FRAMES
        println("allocated for each frame: $each bytes")
        assertTrue("$each bytes for each frame", each <= 512)
    }

    // By reflection: unit tests of Android are compiled without these classes.
    private val beans = Class.forName("java.lang.management.ManagementFactory").getMethod("getThreadMXBean").invoke(null)
    private val counter = Class.forName("com.sun.management.ThreadMXBean")
        .getMethod("getThreadAllocatedBytes", Long::class.javaPrimitiveType)

    /** What this thread has allocated so far, in bytes. */
    private fun allocated() = counter.invoke(beans, Thread.currentThread().id) as Long

    private val frame = YuvFrame(
        Size(720, 1280),
        Plane(tensorMemory(1280 * 720), 1280, 1),
        Plane(tensorMemory(1280 * 360 - 1), 1280, 2),
        Plane(tensorMemory(1280 * 360 - 1), 1280, 2),
    )

    private companion object {
        const val FRAMES = 5
    }
}
