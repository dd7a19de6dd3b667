package org.kerasbisenet.demo.core

import java.math.BigDecimal
import java.math.RoundingMode

const val OPAQUE = 0xff shl 24

/** How many pixels each class id has. */
class ClassCounts {
    val counts = IntArray(256)
    private var total = 0

    fun count(ids: ByteArray) {
        counts.fill(0)
        for (id in ids) counts[id.toInt() and 255]++
        total = ids.size
    }

    fun share(id: Int) = counts[id].toDouble() / total

    /** The ids that a mask holds, the largest share first, of equal ones the lowest id. */
    fun largestFirst() = (0..VOID).filter { counts[it] > 0 }.sortedByDescending { counts[it] }
}

/** A class's entry in a legend: `Road 21%`, or its name alone where the share is null. */
fun shareText(name: String, share: Double?): String {
    val shown = if (name.codePointCount(0, name.length) <= LONGEST) name
    else name.substring(0, name.offsetByCodePoints(0, LONGEST - 1)) + "…"
    if (share == null) return shown
    val percent = 100 * share
    // Halves to the even digit of the number as it is in memory, as Python's formatting has it.
    val number = BigDecimal(percent).setScale(if (percent >= 1) 0 else 1, RoundingMode.HALF_EVEN)
    return "$shown $number%"
}

private const val LONGEST = 28

/** Which classes an overlay shows, and in which colours: 0xAARRGGBB by class id, 0 for none. */
class OverlayColours(classes: List<ClassLabel>) {
    private val all = IntArray(256) { id -> classes.getOrNull(id)?.let { OPAQUE or it.color } ?: 0 }
    val table = all.copyOf()

    fun show(id: Int, shown: Boolean) {
        table[id] = if (shown) all[id] else 0
    }

    fun shows(id: Int) = table[id] != 0

    fun paint(ids: ByteArray, pixels: IntArray) {
        for (i in ids.indices) pixels[i] = table[ids[i].toInt() and 255]
    }
}
