package org.kerasbisenet.demo

import org.kerasbisenet.demo.core.ModelInfo
import org.kerasbisenet.demo.core.Network
import org.kerasbisenet.demo.core.Reason
import org.kerasbisenet.demo.core.Record
import org.kerasbisenet.demo.core.Segmenter
import org.kerasbisenet.demo.core.Unusable
import org.kerasbisenet.demo.core.sha256
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Opens a model in a network; [TfliteNetwork.open] outside tests. */
fun interface Opener {
    fun open(model: ByteBuffer, backend: Backend, threads: Int): Network
}

/** What could not be had: the backend that was asked for, and why in the words of who refused. */
class Fallback(val from: Backend, val reason: String)

/** A model that is open, on the backend that was asked for or on the one that it fell back to. */
class Engine private constructor(
    val info: ModelInfo, val network: Network, val backend: Backend, val fallbacks: List<Fallback>,
) : AutoCloseable {
    val segmenter = Segmenter(info, network)

    override fun close() = network.close()

    companion object {
        /**
         * Opens [model] on [wanted], or on the CPU where that fails: by XNNPACK, then by TFLite's own
         * kernels. Drivers fail in every way there is, a missing library and an error of the virtual
         * machine included, so everything thrown counts.
         *
         * A network that opens is tried once before it is trusted: some drivers refuse only then.
         *
         * Throws [Unusable] when the model cannot be used at all.
         */
        fun open(model: ByteBuffer, wanted: Backend, threads: Int, opener: Opener = Opener(TfliteNetwork::open)): Engine {
            if (!isTflite(model)) throw Unusable(Reason.NOT_TFLITE)
            val record = Record.read(model)
            val fallbacks = ArrayList<Fallback>()
            for (backend in listOf(wanted, Backend.XNNPACK, Backend.CPU).distinct()) {
                var network: Network? = null
                try {
                    network = opener.open(model, backend, threads)
                    val info = ModelInfo.of(record, network.inputFacts, network.outputFacts)
                    network.invoke()
                    return Engine(info, network, backend, fallbacks)
                } catch (error: Unusable) {
                    network?.close()
                    throw error
                } catch (error: Throwable) {
                    runCatching { network?.close() }
                    fallbacks += Fallback(backend, reason(error))
                }
            }
            throw Unusable(Reason.CANNOT_RUN, fallbacks.last().reason)
        }

        private fun isTflite(model: ByteBuffer) =
            model.limit() >= 8 && model.duplicate().order(ByteOrder.LITTLE_ENDIAN).getInt(4) == TFL3

        /** The first line of what was thrown, or of what caused it. */
        fun reason(error: Throwable): String {
            val cause = generateSequence(error) { it.cause }.take(8).last()
            val line = cause.message?.lineSequence()?.firstOrNull { it.isNotBlank() }
            return listOfNotNull(cause.javaClass.simpleName, line?.trim()?.take(LONGEST)).joinToString(": ")
        }

        private const val LONGEST = 200
        private const val TFL3 = 0x334c4654
    }
}

/** A model's bytes with the golden file that belongs to them, if there is one. */
class ModelFile(val name: String, val bytes: ByteBuffer, val golden: ByteBuffer?, val isPackaged: Boolean) {
    val sha256 by lazy { sha256(bytes) }
}
