package org.kerasbisenet.demo

import org.kerasbisenet.demo.core.Network
import org.kerasbisenet.demo.core.Reason
import org.kerasbisenet.demo.core.TensorFacts
import org.kerasbisenet.demo.core.Unusable
import org.kerasbisenet.demo.core.tensorMemory
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.Tensor
import org.tensorflow.lite.gpu.CompatibilityList
import org.tensorflow.lite.gpu.GpuDelegate
import org.tensorflow.lite.nnapi.NnApiDelegate
import java.nio.ByteBuffer

/** A model in TFLite's interpreter. [model] is a direct buffer, which must stay as long as this is open. */
class TfliteNetwork private constructor(model: ByteBuffer, backend: Backend, threads: Int) : Network {
    private val delegates = ArrayList<AutoCloseable>()
    private var interpreter: Interpreter? = null
    override val inputFacts: TensorFacts
    override val outputFacts: TensorFacts
    override val input: ByteBuffer
    override val output: ByteBuffer

    init {
        try {
            val opened = Interpreter(model, options(backend, threads))
            interpreter = opened
            if (opened.inputTensorCount != 1 || opened.outputTensorCount != 1) {
                throw Unusable(Reason.TENSORS, opened.inputTensorCount, opened.outputTensorCount)
            }
            inputFacts = facts(opened.getInputTensor(0))
            outputFacts = facts(opened.getOutputTensor(0))
            input = tensorMemory(opened.getInputTensor(0).numBytes())
            output = tensorMemory(opened.getOutputTensor(0).numBytes())
        } catch (error: Throwable) {
            close()
            throw error
        }
    }

    private fun options(backend: Backend, threads: Int): Interpreter.Options {
        val options = Interpreter.Options().setUseXNNPACK(backend == Backend.XNNPACK)
        when (backend) {
            Backend.XNNPACK -> Unit
            Backend.CPU -> options.setNumThreads(threads)
            Backend.GPU -> options.addDelegate(gpu())
            Backend.NNAPI -> {
                // NNAPI's own reference CPU is slower than TFLite's.
                val delegate = NnApiDelegate(NnApiDelegate.Options().setUseNnapiCpu(false))
                delegates += AutoCloseable { delegate.close() }
                options.addDelegate(delegate)
            }
        }
        return options
    }

    private fun gpu(): GpuDelegate = CompatibilityList().use { list ->
        if (!list.isDelegateSupportedOnThisDevice) throw UnsupportedOperationException("TFLite does not list this GPU")
        val delegate = GpuDelegate(list.bestOptionsForThisDevice.setQuantizedModelsAllowed(true))
        delegates += AutoCloseable { delegate.close() }
        delegate
    }

    override fun invoke() {
        input.rewind()
        output.rewind()
        interpreter!!.run(input, output)
    }

    override fun close() {
        interpreter?.close()
        interpreter = null
        delegates.forEach { it.close() }
        delegates.clear()
    }

    companion object {
        fun open(model: ByteBuffer, backend: Backend, threads: Int): Network = TfliteNetwork(model, backend, threads)

        private fun facts(tensor: Tensor): TensorFacts {
            val quantization = tensor.quantizationParams()
            return TensorFacts(tensor.shape().toList(), tensor.dataType().name, quantization.scale, quantization.zeroPoint)
        }
    }
}
