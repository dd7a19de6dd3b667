package org.kerasbisenet.demo.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import java.nio.ByteBuffer

/** The rule, on answers that are known: a network that replays the golden file, with edits. */
class SelfCheckTest {
    private val model = Vectors.file("model")
    private val file = Vectors.file("golden")
    private val golden = Golden.read(file, model)

    private fun replay(edit: (values: ByteArray) -> Unit = {}) = object : Network {
        override val inputFacts = TensorFacts(listOf(1) + golden.inputs.shape.drop(1), "INT8")
        override val outputFacts = TensorFacts(listOf(1) + golden.fast.shape.drop(1), "INT8")
        override val input: ByteBuffer = tensorMemory(inputFacts.byteCount)
        override val output: ByteBuffer = tensorMemory(outputFacts.byteCount)
        private val inputs = List(golden.count) { part(golden.inputs.data, it, inputFacts.byteCount) }

        override fun invoke() {
            val which = inputs.indexOf(input)
            val values = ByteArray(outputFacts.byteCount).also { part(golden.fast.data, which, it.size).get(it) }
            edit(values)
            output.rewind()
            output.put(values)
            output.rewind()
        }

        private fun part(data: ByteBuffer, i: Int, size: Int) =
            data.duplicate().apply { limit((i + 1) * size); position(i * size) }.slice()

        override fun close() = Unit
    }

    @Test fun `the same bytes pass`() {
        val found = SelfCheck(golden, replay()).compare()
        assertTrue(found.sameBytes && found.passed)
        assertEquals(0.0, found.largestDifference, 0.0)
    }

    @Test fun `steps that change no class pass, and are counted`() {
        val found = SelfCheck(golden, replay { values -> for (i in values.indices) if (values[i] < 126) values[i] = (values[i] + 2).toByte() }).compare()
        assertEquals(2.0, found.largestDifference, 0.0)
        assertEquals(1.0, found.differingBytes, 0.01)
        assertTrue(found.passed)
    }

    @Test fun `another class in one pixel of a hundred falls short`() {
        val classes = golden.fast.shape.last()
        val found = SelfCheck(golden, replay { values ->
            for (pixel in 0 until values.size / classes step 100) {
                val logits = values.copyOfRange(pixel * classes, (pixel + 1) * classes)
                val worst = logits.indices.minBy { logits[it] }
                values[pixel * classes + worst] = 127
            }
        }).compare()
        // The fast kernels, which are replayed, have not all of the reference kernels' classes.
        val unedited = SelfCheck(golden, replay()).compare().agreement
        assertEquals(unedited - 0.01, found.agreement, 0.002)
        assertFalse(found.passed)
    }

    @Test fun `times are of the repeats alone`() {
        var ticks = 0L
        val times = SelfCheck(golden, replay()).measure(5, { ticks += 2_000_000; ticks })
        assertEquals(5, times.count)
        assertEquals(2f, times.percentile(50.0)!!, 1e-6f)
    }

    @Test fun `a spoiled golden file, and another model's, say so`() {
        val bytes = ByteArray(file.limit()).also { file.duplicate().get(it) }
        fun reason(golden: ByteArray, of: ByteBuffer = model) =
            assertThrows(Unusable::class.java) { Golden.read(ByteBuffer.wrap(golden), of) }.reason
        assertEquals(Reason.GOLDEN_DAMAGED, reason(bytes.copyOf(bytes.size / 2)))
        assertEquals(Reason.GOLDEN_DAMAGED, reason(ByteArray(10)))
        for (at in listOf(bytes.size / 3, bytes.size / 2)) {
            assertEquals(Reason.GOLDEN_DAMAGED, reason(bytes.copyOf().also { it[at] = (it[at] + 1).toByte() }))
        }
        assertEquals(Reason.GOLDEN_OF_OTHER_MODEL, reason(bytes, ByteBuffer.wrap(ByteArray(100))))
    }

    @Test fun `a network of another shape says so`() {
        val other = replay().let { real -> object : Network by real { override val inputFacts = TensorFacts(listOf(1, 8, 8, 3), "INT8") } }
        assertEquals(Reason.GOLDEN_OF_OTHER_MODEL, assertThrows(Unusable::class.java) { SelfCheck(golden, other) }.reason)
    }
}
