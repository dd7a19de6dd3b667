package org.kerasbisenet.demo.core

import java.nio.ByteBuffer
import java.security.MessageDigest
import kotlin.math.abs

/**
 * The golden file of a model: inputs, and what TFLite's reference kernels and its fast ones answered
 * to them on the machine that made the model (`keras_bisenet/runtime/golden.py` describes it).
 */
class Golden private constructor(npz: Npz) {
    val modelSha256 = npz.array("model_sha256").scalar() as String
    val inputs = npz.array("inputs")
    val reference = npz.array("reference")
    val fast = npz.array("fast")
    val kind = OutputKind.of(npz.array("output_kind").scalar() as String) ?: throw DamagedZip("output_kind")
    val madeWith = "${npz.array("runtime").scalar()} on ${npz.array("machine").scalar()}"
    val count get() = inputs.shape[0]

    companion object {
        private const val FORMAT = 1L

        fun read(file: ByteBuffer, model: ByteBuffer): Golden {
            val golden = try {
                val npz = Npz(file)
                val format = npz.array("format").scalar()
                if (format != FORMAT) throw Unusable(Reason.GOLDEN_NEWER, format)
                Golden(npz)
            } catch (error: DamagedZip) {
                throw Unusable(Reason.GOLDEN_DAMAGED, error.message ?: "")
            } catch (error: ClassCastException) {
                throw Unusable(Reason.GOLDEN_DAMAGED, "")
            }
            if (golden.modelSha256 != sha256(model)) throw Unusable(Reason.GOLDEN_OF_OTHER_MODEL)
            return golden
        }
    }
}

fun sha256(bytes: ByteBuffer): String {
    val whole = bytes.duplicate().apply { rewind() }
    return MessageDigest.getInstance("SHA-256").apply { update(whole) }.digest().joinToString("") { "%02x".format(it) }
}

/** How near a network's answers are to the golden ones. Shares from 0 to 1. */
data class Comparison(
    val differingBytes: Double,
    val largestDifference: Double,
    val sameClass: Double,
    val agreement: Double,
) {
    val sameBytes get() = differingBytes == 0.0

    /** The same bytes, or the class that wins, or one that all but won, in all but a few of the pixels. */
    val passed get() = sameBytes || agreement >= LEAST_AGREEMENT

    companion object {
        /** Share of the output's pixels that must have the golden class, or one that all but won. */
        const val LEAST_AGREEMENT = 0.995
    }
}

/** The rule of `tools/check_tflite.py`: bytes are compared with the fast kernels', classes with the reference kernels'. */
class SelfCheck(private val golden: Golden, private val network: Network) {
    private val perInput = golden.inputs.data.limit() / golden.count
    private val perAnswer = golden.fast.data.limit() / golden.count
    private val reader = NumberReader(network.outputFacts)

    init {
        val fits = golden.inputs.shape.drop(1) == network.inputFacts.shape.drop(1) &&
            golden.fast.shape.drop(1) == network.outputFacts.shape.drop(1) &&
            golden.reference.shape == golden.fast.shape &&
            golden.inputs.type == NUMPY[network.inputFacts.type] && golden.fast.type == NUMPY[network.outputFacts.type]
        if (!fits) throw Unusable(Reason.GOLDEN_OF_OTHER_MODEL)
    }

    /** [progress] is told how many of the golden inputs are answered. */
    fun compare(progress: (Int) -> Unit = {}): Comparison {
        val values = network.outputFacts.count
        val (mine, fast, reference) = List(3) { FloatArray(values) }
        val tie = TIE * (range(golden.reference) ?: 0f)
        var differing = 0L
        var largest = 0.0
        var same = 0L
        var agreeing = 0L
        var pixels = 0L
        val classes = if (golden.kind == OutputKind.LOGITS) network.outputFacts.shape[3] else 1
        for (i in 0 until golden.count) {
            answer(i)
            reader.read(network.output, mine)
            reader.read(part(golden.fast.data, i, perAnswer), fast)
            reader.read(part(golden.reference.data, i, perAnswer), reference)
            for (k in 0 until values) if (mine[k] != fast[k]) {
                differing++
                largest = maxOf(largest, abs(mine[k].toDouble() - fast[k]))
            }
            for (start in 0 until values step classes) {
                pixels++
                val winner = if (classes == 1) mine[start] else highest(mine, start, classes).toFloat()
                val theirs = if (classes == 1) reference[start] else highest(reference, start, classes).toFloat()
                if (winner == theirs) same++
                val behind = if (classes == 1) Float.MAX_VALUE
                else reference[start + theirs.toInt()] - reference[start + winner.toInt()]
                if (winner == theirs || behind <= tie) agreeing++
            }
            progress(i + 1)
        }
        val all = values.toDouble() * golden.count
        return Comparison(differing / all, largest, same / pixels.toDouble(), agreeing / pixels.toDouble())
    }

    /** How long one inference takes, after a warm-up. */
    fun measure(repeat: Int, clock: () -> Long = System::nanoTime, progress: (Int) -> Unit = {}): Latency {
        val times = Latency(repeat)
        for (i in 0 until WARM_UP + repeat) {
            val start = clock()
            answer(0)
            if (i >= WARM_UP) times.add((clock() - start) / 1e6f)
            progress(i + 1)
        }
        return times
    }

    private fun answer(i: Int) {
        network.input.rewind()
        network.input.put(part(golden.inputs.data, i, perInput))
        network.input.rewind()
        network.invoke()
    }

    private fun part(data: ByteBuffer, i: Int, size: Int): ByteBuffer =
        data.duplicate().apply { limit((i + 1) * size); position(i * size) }.slice().order(data.order())

    private fun range(array: NpyArray): Float? {
        val values = FloatArray(network.outputFacts.count)
        var (lowest, highest) = Float.MAX_VALUE to -Float.MAX_VALUE
        for (i in 0 until golden.count) {
            reader.read(part(array.data, i, perAnswer), values)
            lowest = minOf(lowest, values.min())
            highest = maxOf(highest, values.max())
        }
        return highest - lowest
    }

    private fun highest(values: FloatArray, start: Int, classes: Int): Int {
        var best = 0
        for (k in 1 until classes) if (values[start + k] > values[start + best]) best = k
        return best
    }

    companion object {
        /** How far behind the winner, in parts of the answer's range, a class has all but won. */
        private const val TIE = 1 / 64f
        const val WARM_UP = 3
        private val NUMPY = mapOf(
            NumberType.INT8 to "|i1", NumberType.UINT8 to "|u1", NumberType.INT16 to "<i2",
            NumberType.FLOAT32 to "<f4", NumberType.INT32 to "<i4", NumberType.INT64 to "<i8",
        )
    }
}
