package org.kerasbisenet.demo.core

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** One of NumPy's arrays: [type] as NumPy writes it ("|i1"), [data] in C order, little endian. */
class NpyArray(val type: String, val shape: List<Int>, val data: ByteBuffer) {
    val count get() = shape.fold(1) { product, side -> product * side }

    /** The only value of an array without sides. */
    fun scalar(): Any = when {
        type == "<i8" -> data.getLong(0)
        type == "|b1" -> data.get(0) != 0.toByte()
        type.startsWith("<U") -> buildString {
            for (i in 0 until data.limit() / 4) data.getInt(i * 4).let { if (it != 0) appendCodePoint(it) }
        }
        else -> throw DamagedZip("a scalar of type $type")
    }
}

/** Reads the arrays that a golden file consists of: NumPy's .npz, a ZIP archive of .npy files. */
class Npz(archive: ByteBuffer) {
    private val zip = ZipArchive.open(archive) ?: throw DamagedZip("no archive")

    fun array(name: String): NpyArray {
        val bytes = zip.read("$name.npy", MOST_BYTES) ?: throw DamagedZip("no $name")
        try {
            return parse(ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN))
        } catch (error: RuntimeException) { // an index outside the file, or no number where one belongs
            throw DamagedZip(name)
        }
    }

    private fun parse(file: ByteBuffer): NpyArray {
        require(file.get(1) == 'N'.code.toByte() && file.get(5) == 'Y'.code.toByte())
        val isLong = file.get(6) > 1
        val start = if (isLong) 12 else 10
        val length = if (isLong) file.getInt(8) else file.getShort(8).toInt() and 0xffff
        val header = ByteArray(length).also { file.position(start); file.get(it) }.decodeToString()
        require("'fortran_order': False" in header)
        val type = Regex("'descr': '([^']+)'").find(header)!!.groupValues[1]
        val shape = Regex("'shape': \\(([^)]*)\\)").find(header)!!.groupValues[1]
            .split(',').map { it.trim() }.filter { it.isNotEmpty() }.map { it.toInt() }
        val array = NpyArray(type, shape, file.slice().order(ByteOrder.LITTLE_ENDIAN))
        val size = Regex("[0-9]+$").find(type)!!.value.toInt() * (if (type[1] == 'U') 4 else 1)
        require(shape.all { it >= 0 } && array.count.toLong() * size == array.data.limit().toLong())
        return array
    }

    private companion object {
        const val MOST_BYTES = 1 shl 28
    }
}
