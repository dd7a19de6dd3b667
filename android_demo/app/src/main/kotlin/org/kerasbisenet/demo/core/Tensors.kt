package org.kerasbisenet.demo.core

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** The types of a tensor that the app reads or writes. */
enum class NumberType(val bytes: Int, val lowest: Int = 0, val highest: Int = 0) {
    INT8(1, -128, 127), UINT8(1, 0, 255), INT16(2, -32768, 32767), FLOAT32(4), INT32(4), INT64(8)
}

/**
 * A tensor's shape, type and quantization: `real = (value - zeroPoint) * scale`, scale 0 where it has
 * none. A type that the app does not know is null.
 */
data class TensorFacts(
    val shape: List<Int>, val typeName: String, val scale: Float = 0f, val zeroPoint: Int = 0,
) {
    private val known = NumberType.entries.find { it.name == typeName }
    val type get() = known ?: throw Unusable(Reason.OUTPUT, shape.joinToString("x"), typeName)
    val isKnown get() = known != null
    val count get() = shape.fold(1) { product, side -> product * side }
    val byteCount get() = count * type.bytes
}

/** Reads a tensor's values as floats, with nothing allocated for each reading. */
class NumberReader(private val facts: TensorFacts) {
    private val bytes = ByteArray(if (facts.type.bytes == 1) facts.count else 0)
    private val ofByte = FloatArray(256) { if (facts.type == NumberType.INT8) it.toByte().toFloat() else it.toFloat() }

    fun read(from: ByteBuffer, into: FloatArray) {
        from.rewind()
        when (facts.type) {
            NumberType.INT8, NumberType.UINT8 -> {
                from.get(bytes, 0, facts.count)
                for (i in 0 until facts.count) into[i] = ofByte[bytes[i].toInt() and 255]
            }
            NumberType.FLOAT32 -> for (i in 0 until facts.count) into[i] = from.getFloat(i * 4)
            NumberType.INT16 -> for (i in 0 until facts.count) into[i] = from.getShort(i * 2).toFloat()
            NumberType.INT32 -> for (i in 0 until facts.count) into[i] = from.getInt(i * 4).toFloat()
            NumberType.INT64 -> for (i in 0 until facts.count) into[i] = from.getLong(i * 8).toFloat()
        }
        from.rewind()
    }
}

/** Memory that TFLite reads and writes in place. */
fun tensorMemory(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

/** A network that is ready to run: [input] is filled, [invoke] called, [output] read. */
interface Network : AutoCloseable {
    val inputFacts: TensorFacts
    val outputFacts: TensorFacts
    val input: ByteBuffer
    val output: ByteBuffer

    fun invoke()
}
