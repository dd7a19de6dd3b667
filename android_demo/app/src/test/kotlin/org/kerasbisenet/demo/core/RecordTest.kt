package org.kerasbisenet.demo.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Test
import java.nio.ByteBuffer

class RecordTest {
    private val model = Vectors.file("model")
    private val input = TensorFacts(listOf(1, 480, 640, 3), "INT8", 1 / 255f, -128)
    private val output = TensorFacts(listOf(1, 60, 80, 11), "INT8", 0.1f, 0)

    private fun spoiled(edit: (ByteArray) -> ByteArray): ByteBuffer {
        val bytes = ByteArray(model.limit()).also { model.duplicate().get(it) }
        return ByteBuffer.wrap(edit(bytes))
    }

    private fun edited(from: String, to: String) = spoiled { bytes ->
        require(from.length == to.length)
        val text = bytes.toString(Charsets.ISO_8859_1)
        text.replace(from, to).toByteArray(Charsets.ISO_8859_1)
    }

    private fun reason(of: () -> Any?) = assertThrows(Unusable::class.java) { of() }.reason

    @Test fun `the packaged model says what it is`() {
        val record = Record.read(model)!!
        assertEquals(listOf("bisenetv2", "cpu", "int8", "camvid"), with(record) { listOf(model, target, precision, dataset) })
        assertEquals(Size(480, 640), record.size)
        assertEquals(0.8635, record.miou!!, 0.0001)
        assertEquals(ClassLabel("Sky", 0x80b4dc), record.classes[0])
        assertEquals(11, record.classes.size)
        assertEquals(11, ModelInfo.of(record, input, output).classes.size)
    }

    @Test fun `a file that was cut off, or spoiled behind the model, says so`() {
        assertEquals(Reason.CUT_OFF, reason { Record.read(spoiled { it.copyOf(it.size - 40) }) })
        assertEquals(Reason.RECORD_DAMAGED, reason { Record.read(edited("\"stride\": 8", "\"strode\": 8")) })
        assertNull(Record.read(spoiled { it.copyOf(100) }))
    }

    @Test fun `another model's record is refused`() {
        val record = Record.read(model)!!
        assertEquals(Reason.OTHER_RECORD, reason { ModelInfo.of(record, input, output.copy(shape = listOf(1, 60, 80, 12))) })
        assertEquals(Reason.OTHER_RECORD, reason { ModelInfo.of(record.copy(stride = 4), input, output) })
    }

    @Test fun `what is no segmentation is refused`() {
        assertEquals(Reason.INPUT, reason { ModelInfo.of(null, input.copy(shape = listOf(1, 224, 224, 1)), output) })
        assertEquals(Reason.INPUT_TYPE, reason { ModelInfo.of(null, input.copy(typeName = "STRING"), output) })
        assertEquals(Reason.OUTPUT, reason { ModelInfo.of(null, input, TensorFacts(listOf(1, 1000), "INT8")) })
        assertEquals(Reason.CLASSES, reason { ModelInfo.of(null, input, TensorFacts(listOf(1, 60, 80, 300), "INT8")) })
    }

    @Test fun `a model without a record is guessed as Python guesses it`() {
        val guessed = ModelInfo.of(null, TensorFacts(listOf(1, 64, 96, 3), "UINT8", 0.5f, 3), TensorFacts(listOf(1, 64, 96), "INT32"))
        assertEquals(Triple(OutputKind.CLASS_IDS, 1, VOID), Triple(guessed.kind, guessed.stride, guessed.classes.size))
        assertEquals(listOf(0.5, -1.5), listOf(guessed.inputScale, guessed.inputOffset))
        // keras_bisenet.runtime.model_info._generated_palette(5)
        val colours = listOf(0xdf2020, 0x638ae9, 0x649c16, 0xc639b4, 0x75d7c6)
        assertEquals(colours.map { "%06x".format(it) }, guessed.classes.take(5).map { "%06x".format(it.color) })
    }
}
