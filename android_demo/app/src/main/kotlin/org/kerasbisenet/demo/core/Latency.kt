package org.kerasbisenet.demo.core

/** The latest times of one stage, in milliseconds, in a ring that is allocated once. */
class Latency(size: Int = 100) {
    private val ring = FloatArray(size)
    private val sorted = FloatArray(size)
    var count = 0
        private set
    private var next = 0

    fun add(milliseconds: Float) {
        ring[next] = milliseconds
        next = (next + 1) % ring.size
        if (count < ring.size) count++
    }

    fun clear() {
        count = 0
        next = 0
    }

    val mean get() = if (count == 0) null else (0 until count).fold(0f) { sum, i -> sum + ring[i] } / count

    /** Interpolated between the two nearest times, as NumPy has it; null before the first. */
    fun percentile(percent: Double): Float? {
        if (count == 0) return null
        ring.copyInto(sorted, 0, 0, count)
        sorted.sort(0, count)
        val at = percent / 100 * (count - 1)
        val low = at.toInt()
        val high = minOf(low + 1, count - 1)
        return sorted[low] + (sorted[high] - sorted[low]) * (at - low).toFloat()
    }
}
