package org.kerasbisenet.demo.core

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.CRC32
import java.util.zip.DataFormatException
import java.util.zip.Inflater

class DamagedZip(what: String) : Exception(what)

/**
 * A ZIP archive in memory, with whatever lies before it: a `.tflite` file carries one behind the
 * model, which java.util.zip reads from files alone. A golden file (NumPy's .npz) is one too.
 */
class ZipArchive private constructor(private val data: ByteBuffer, private val entries: Map<String, Entry>) {
    private class Entry(val method: Int, val crc: Int, val packed: Int, val size: Int, val offset: Int)

    val names get() = entries.keys

    /** A file's contents, of [most] bytes at most; null where there is no such file. */
    fun read(name: String, most: Int): ByteArray? {
        val entry = entries[name] ?: return null
        if (entry.size !in 0..most) throw DamagedZip("$name: ${entry.size} bytes")
        try {
            val start = entry.offset + LOCAL_SIZE + data.short(entry.offset + 26) + data.short(entry.offset + 28)
            if (entry.packed < 0) throw DamagedZip(name)
            val packed = ByteArray(minOf(entry.packed, data.limit() - start))
            data.duplicate().apply { position(start) }.get(packed)
            val content = when (entry.method) {
                STORED -> packed
                DEFLATED -> inflated(packed, entry.size)
                else -> throw DamagedZip("$name: method ${entry.method}")
            }
            if (content.size != entry.size || CRC32().apply { update(content) }.value.toInt() != entry.crc) throw DamagedZip(name)
            return content
        } catch (error: RuntimeException) { // an index outside the data
            throw DamagedZip(name)
        }
    }

    private fun inflated(packed: ByteArray, size: Int): ByteArray {
        val inflater = Inflater(true)
        try {
            inflater.setInput(packed)
            val out = ByteArray(size)
            var done = 0
            while (done < size) {
                val count = inflater.inflate(out, done, size - done)
                if (count == 0) throw DamagedZip("it is cut short")
                done += count
            }
            return out
        } catch (error: DataFormatException) {
            throw DamagedZip(error.message ?: "")
        } finally {
            inflater.end()
        }
    }

    companion object {
        private const val STORED = 0
        private const val DEFLATED = 8
        private const val END = 0x06054b50
        private const val END_SIZE = 22
        private const val CENTRAL = 0x02014b50
        private const val CENTRAL_SIZE = 46
        private const val LOCAL_SIZE = 30
        private const val LONGEST_COMMENT = 65535

        /** The archive at the end of [source]; null where there is none. */
        fun open(source: ByteBuffer): ZipArchive? {
            val data = source.duplicate().order(ByteOrder.LITTLE_ENDIAN)
            data.rewind()
            val last = data.limit() - END_SIZE
            val end = (last downTo maxOf(0, last - LONGEST_COMMENT)).firstOrNull { data.getInt(it) == END } ?: return null
            try {
                val entries = LinkedHashMap<String, Entry>()
                val listSize = data.getInt(end + 12)
                var at = end - listSize
                // Offsets count from the archive's start, or from the file's where it was appended to one.
                val shift = at - data.getInt(end + 16)
                while (at < end) {
                    if (data.getInt(at) != CENTRAL) throw DamagedZip("its list of files")
                    val name = ByteArray(data.short(at + 28))
                    data.duplicate().apply { position(at + CENTRAL_SIZE) }.get(name)
                    entries[name.decodeToString()] = Entry(
                        data.short(at + 10), data.getInt(at + 16), data.getInt(at + 20), data.getInt(at + 24),
                        data.getInt(at + 42) + shift,
                    )
                    at += CENTRAL_SIZE + name.size + data.short(at + 30) + data.short(at + 32)
                }
                return ZipArchive(data, entries)
            } catch (error: RuntimeException) { // an index outside the data
                throw DamagedZip("its list of files")
            }
        }

        private fun ByteBuffer.short(at: Int) = getShort(at).toInt() and 0xffff
    }
}
