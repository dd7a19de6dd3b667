package org.kerasbisenet.demo

import android.content.Context
import android.net.Uri
import org.kerasbisenet.demo.core.Reason
import org.kerasbisenet.demo.core.Unusable
import org.kerasbisenet.demo.core.tensorMemory
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer

/** Where the model comes from: the app's own, or one that the user opened, which is kept until the next. */
class ModelStore(private val context: Context) {
    private val folder get() = context.filesDir
    private val ownModel get() = File(folder, "model.tflite")
    private val ownGolden get() = File(folder, "model.golden.npz")
    private val preferences = context.getSharedPreferences("model", Context.MODE_PRIVATE)

    fun load(): ModelFile {
        if (ownModel.isFile) {
            val name = preferences.getString(NAME, null) ?: ownModel.name
            val golden = if (ownGolden.isFile) read(ownGolden.inputStream()) else null
            return ModelFile(name, read(ownModel.inputStream()), golden, isPackaged = false)
        }
        val golden = try {
            read(context.assets.open("model.golden.npz"))
        } catch (error: IOException) { // the app was built with a model that has none
            null
        }
        return ModelFile("model.tflite", read(context.assets.open("model.tflite")), golden, isPackaged = true)
    }

    /** Keeps the model at [uri], and forgets the golden file of the one before. */
    fun keepModel(uri: Uri, name: String) {
        copy(uri, ownModel)
        ownGolden.delete()
        preferences.edit().putString(NAME, name).apply()
    }

    fun keepGolden(uri: Uri) = copy(uri, ownGolden)

    /** Back to the app's own model. */
    fun forget() {
        ownModel.delete()
        ownGolden.delete()
    }

    private fun copy(uri: Uri, to: File) {
        val part = File(folder, "${to.name}.part")
        val source = context.contentResolver.openInputStream(uri) ?: throw IOException("$uri")
        source.use { input -> part.outputStream().use { input.copyTo(it) } }
        if (!part.renameTo(to)) throw IOException("$to")
    }

    private companion object {
        const val NAME = "name"
        const val MOST_BYTES = 512 shl 20

        fun read(stream: InputStream): ByteBuffer = stream.use { input ->
            val bytes = input.readBytesUpTo(MOST_BYTES)
            tensorMemory(bytes.size).put(bytes).rewind() as ByteBuffer
        }

        private fun InputStream.readBytesUpTo(most: Int): ByteArray {
            if (available() > most) throw Unusable(Reason.TOO_LARGE, most shr 20)
            return readBytes()
        }
    }
}

/**
 * Remembers, across the end of the process, that a backend is being opened. A driver, or a damaged
 * model, may end the process itself, which no catch sees: the next start then finds the mark.
 */
class CrashMark(context: Context) {
    private val preferences = context.getSharedPreferences("crash", Context.MODE_PRIVATE)

    /** The backend whose first inference the last process did not live through; null when all is well. */
    fun found(): Backend? = preferences.getString(MARK, null)?.let { name -> Backend.entries.find { it.name == name } }

    // commit, not apply: the mark must be on disk before the driver is called.
    fun set(backend: Backend) = preferences.edit().putString(MARK, backend.name).commit()

    fun clear() = preferences.edit().remove(MARK).commit()

    private companion object {
        const val MARK = "opening"
    }
}
