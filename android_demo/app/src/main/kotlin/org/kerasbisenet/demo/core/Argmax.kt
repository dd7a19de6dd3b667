package org.kerasbisenet.demo.core

import java.nio.ByteBuffer
import kotlin.math.floor
import kotlin.math.min

/** The id of pixels without a class. */
const val VOID = 255

/** From a network's output to the class id of every pixel, at the image's own size. */
interface ClassIds {
    val fit: Fit

    /** One byte for each pixel, row by row; the same array for every answer. */
    val ids: ByteArray

    fun read(output: ByteBuffer)

    companion object {
        fun of(info: ModelInfo, fit: Fit): ClassIds =
            if (info.kind == OutputKind.LOGITS) LogitsToIds(info.output, fit) else MapToIds(info.output, info.classes.size, fit)
    }
}

/**
 * Bilinear interpolation of logits (half-pixel centers, edges clamped), then argmax; of equal classes
 * the lowest id.
 *
 * A pixel's logits are a weighted mean of four cells', so where one class wins in all four it wins
 * the pixel: only the pixels on the borders between classes are interpolated. Quantized logits need
 * no dequantization: a positive scale changes neither the weights nor the order of classes.
 */
class LogitsToIds(output: TensorFacts, override val fit: Fit) : ClassIds {
    private val rows = output.shape[1]
    private val columns = output.shape[2]
    private val classes = output.shape[3]
    private val reader = NumberReader(output)
    private val logits = FloatArray(output.count)
    private val down = CellTaps(rows, fit.image.height, fit.content.height, fit.network.height)
    private val across = CellTaps(columns, fit.image.width, fit.content.width, fit.network.width)

    // What lies beyond the last cell that a pixel takes is padding.
    private val usedRows = down.second.last() + 1
    private val usedColumns = across.second.last() + 1
    private val winners = ByteArray(rows * columns)

    /** Whether a cell, the one below, the one to its right and the one across from it differ. */
    private val borders = BooleanArray(rows * columns)

    /** One row of pixels' logits, interpolated between two rows of cells; cells off the borders are stale. */
    private val line = FloatArray(columns * classes)
    override val ids = ByteArray(fit.image.area)

    override fun read(output: ByteBuffer) {
        reader.read(output, logits)
        findWinners()
        findBorders()
        for (row in 0 until fit.image.height) finish(row)
    }

    private fun findWinners() {
        for (row in 0 until usedRows) for (column in 0 until usedColumns) {
            val cell = row * columns + column
            winners[cell] = highest(logits, cell * classes).toByte()
        }
    }

    private fun highest(values: FloatArray, start: Int): Int {
        var best = 0
        for (k in 1 until classes) if (values[start + k] > values[start + best]) best = k
        return best
    }

    private fun findBorders() {
        for (row in 0 until usedRows) for (column in 0 until usedColumns) {
            val cell = row * columns + column
            val right = if (column + 1 < usedColumns) 1 else 0
            val below = if (row + 1 < usedRows) columns else 0
            val winner = winners[cell]
            borders[cell] = winner != winners[cell + right] || winner != winners[cell + below] ||
                winner != winners[cell + below + right]
        }
    }

    private fun finish(row: Int) {
        val top = down.first[row] * columns
        interpolate(top, down.second[row] * columns, down.weight[row])
        var at = row * fit.image.width
        for (x in 0 until fit.image.width) {
            val left = across.first[x]
            ids[at++] = if (!borders[top + left]) winners[top + left]
            else mixed(left * classes, across.second[x] * classes, across.weight[x])
        }
    }

    /** The row's [line] in the cells on either side of a border. */
    private fun interpolate(top: Int, bottom: Int, weight: Float) {
        var wasBorder = false
        for (column in 0 until usedColumns) {
            val isBorder = borders[top + column]
            if (isBorder || wasBorder) {
                val low = (top + column) * classes
                val high = (bottom + column) * classes
                val to = column * classes
                for (k in 0 until classes) line[to + k] = logits[low + k] + (logits[high + k] - logits[low + k]) * weight
            }
            wasBorder = isBorder
        }
    }

    private fun mixed(left: Int, right: Int, weight: Float): Byte {
        var best = 0
        var most = Float.NEGATIVE_INFINITY
        for (k in 0 until classes) {
            val value = line[left + k] + (line[right + k] - line[left + k]) * weight
            if (value > most) {
                most = value
                best = k
            }
        }
        return best.toByte()
    }
}

/** The nearest cell's class id for every pixel; ids that the model has no class for become void. */
class MapToIds(output: TensorFacts, private val classes: Int, override val fit: Fit) : ClassIds {
    private val columns = output.shape[2]
    private val reader = NumberReader(output)
    private val cells = FloatArray(output.count)
    private val rowOf = nearest(output.shape[1], fit.image.height, fit.content.height, fit.network.height)
    private val columnOf = nearest(columns, fit.image.width, fit.content.width, fit.network.width)
    override val ids = ByteArray(fit.image.area)

    override fun read(output: ByteBuffer) {
        reader.read(output, cells)
        var at = 0
        for (row in rowOf) for (column in columnOf) {
            val id = cells[row * columns + column]
            ids[at++] = (if (id >= 0 && id < classes) id.toInt() else VOID).toByte()
        }
    }

    private fun nearest(cells: Int, length: Int, content: Int, network: Int) =
        IntArray(length) { floor(centre(it, cells, length, content, network) + 0.5).toInt().coerceIn(0, cells - 1) }
}

/** The cells on either side of each pixel along one axis, and the second one's weight. */
private class CellTaps(cells: Int, length: Int, content: Int, network: Int) {
    private val places = DoubleArray(length) { centre(it, cells, length, content, network).coerceIn(0.0, cells - 1.0) }
    val first = IntArray(length) { places[it].toInt() }
    val second = IntArray(length) { min(first[it] + 1, cells - 1) }
    val weight = FloatArray(length) { (places[it] - first[it]).toFloat() }
}

/** Where a pixel's centre lies, counted in cells that cover the network's whole input; the first one's centre is 0. */
private fun centre(pixel: Int, cells: Int, length: Int, content: Int, network: Int): Double {
    val scale = (content.toDouble() * cells) / (network.toDouble() * length)
    return (pixel + 0.5) * scale - 0.5
}
