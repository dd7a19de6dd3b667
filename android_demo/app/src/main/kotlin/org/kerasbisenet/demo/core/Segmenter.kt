package org.kerasbisenet.demo.core

/** How long the stages of one answer took, in milliseconds. */
class Timings {
    var prepare = 0f
        internal set
    var invoke = 0f
        internal set
    var finish = 0f
        internal set
    val total get() = prepare + invoke + finish
}

/**
 * From a picture or a camera's frame to class ids. Its buffers serve all frames of one size and turn:
 * a frame allocates nothing. For one thread.
 */
class Segmenter(val info: ModelInfo, private val network: Network, private val clock: () -> Long = System::nanoTime) {
    val timings = Timings()
    private val code = PixelCode.of(info)
    private var frames: FrameBuffers? = null

    private class FrameBuffers(val frame: Size, val turn: Turn, val input: YuvInput, val answer: ClassIds)

    /** The class ids of a camera's frame, upright, at the size that the network saw ([Fit.content]). */
    fun segment(frame: YuvFrame, turn: Turn): ClassIds {
        val start = clock()
        val buffers = buffersFor(frame.size, turn)
        buffers.input.write(frame, network.input)
        return answered(start, buffers.answer)
    }

    /** The class ids of an RGB picture, at its own size. */
    fun segment(rgb: ByteArray, size: Size): ClassIds {
        val start = clock()
        val fit = Fit.of(size, info.size)
        code.write(letterbox(rgb, fit), network.input)
        return answered(start, ClassIds.of(info, fit))
    }

    private fun answered(start: Long, answer: ClassIds): ClassIds {
        val prepared = clock()
        network.invoke()
        val invoked = clock()
        answer.read(network.output)
        timings.prepare = (prepared - start) / 1e6f
        timings.invoke = (invoked - prepared) / 1e6f
        timings.finish = (clock() - invoked) / 1e6f
        return answer
    }

    private fun buffersFor(frame: Size, turn: Turn): FrameBuffers {
        frames?.let { if (it.frame == frame && it.turn == turn) return it }
        val input = YuvInput(frame, turn, info.size, code)
        // A live view is drawn at the network's size: finer detail than the network saw is none.
        val seen = input.fit.content
        val answer = ClassIds.of(info, Fit(seen, info.size, seen))
        return FrameBuffers(frame, turn, input, answer).also { frames = it }
    }
}
