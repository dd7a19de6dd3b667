package org.kerasbisenet.demo

import android.annotation.TargetApi
import android.content.ContentResolver
import android.content.ContentValues
import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Matrix
import android.media.ExifInterface
import android.media.MediaScannerConnection
import android.net.Uri
import android.os.Build
import android.os.Environment
import android.provider.MediaStore
import org.kerasbisenet.demo.core.Size
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.io.OutputStream
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import kotlin.math.max

/** A picture in memory, ARGB. */
class Picture(val size: Size, val pixels: IntArray) {
    fun rgb() = ByteArray(pixels.size * 3) { (pixels[it / 3] shr (16 - 8 * (it % 3))).toByte() }
}

/** Reads a picture from [stream], upright by its EXIF, its sides [LONGEST_SIDE] at most. */
fun readPicture(stream: InputStream?): Picture {
    val file = stream?.use { it.readBytes() } ?: throw IOException("nothing to read")
    val options = BitmapFactory.Options().apply { inJustDecodeBounds = true }
    BitmapFactory.decodeByteArray(file, 0, file.size, options)
    options.inSampleSize = 1
    while (max(options.outWidth, options.outHeight) / options.inSampleSize > LONGEST_SIDE) options.inSampleSize *= 2
    options.inJustDecodeBounds = false
    options.inPreferredConfig = Bitmap.Config.ARGB_8888
    val decoded = BitmapFactory.decodeByteArray(file, 0, file.size, options) ?: throw IOException("no picture")
    val upright = uprightBy(orientation(file))
        ?.let { Bitmap.createBitmap(decoded, 0, 0, decoded.width, decoded.height, it, true) } ?: decoded
    val pixels = IntArray(upright.width * upright.height)
    upright.getPixels(pixels, 0, upright.width, 0, 0, upright.width, upright.height)
    return Picture(Size(upright.height, upright.width), pixels)
}

private fun orientation(file: ByteArray) = try {
    ExifInterface(file.inputStream()).getAttributeInt(ExifInterface.TAG_ORIENTATION, ExifInterface.ORIENTATION_NORMAL)
} catch (error: IOException) { // a format without EXIF
    ExifInterface.ORIENTATION_NORMAL
}

private const val LONGEST_SIDE = 2048

private fun uprightBy(exif: Int): Matrix? {
    val degrees = when (exif) {
        ExifInterface.ORIENTATION_ROTATE_180, ExifInterface.ORIENTATION_FLIP_VERTICAL -> 180f
        ExifInterface.ORIENTATION_ROTATE_90, ExifInterface.ORIENTATION_TRANSPOSE -> 90f
        ExifInterface.ORIENTATION_ROTATE_270, ExifInterface.ORIENTATION_TRANSVERSE -> 270f
        else -> 0f
    }
    val mirrored = exif in listOf(
        ExifInterface.ORIENTATION_FLIP_HORIZONTAL, ExifInterface.ORIENTATION_FLIP_VERTICAL,
        ExifInterface.ORIENTATION_TRANSPOSE, ExifInterface.ORIENTATION_TRANSVERSE,
    )
    if (degrees == 0f && !mirrored) return null
    return Matrix().apply {
        setRotate(degrees)
        if (mirrored) postScale(-1f, 1f)
    }
}

/** Puts a picture into the gallery, as JPEG. Before Android 10 it takes the permission to write to storage. */
fun saveToGallery(context: Context, picture: Bitmap) {
    val name = "segmented_" + SimpleDateFormat("yyyyMMdd_HHmmss", Locale.ROOT).format(Date()) + ".jpg"
    if (Build.VERSION.SDK_INT >= 29) {
        saveByMediaStore(context.contentResolver, name, picture)
        return
    }
    @Suppress("DEPRECATION") // its successor is the other branch
    val folder = Environment.getExternalStoragePublicDirectory(Environment.DIRECTORY_PICTURES)
    folder.mkdirs()
    val file = File(folder, name)
    file.outputStream().use { compress(picture, it) }
    MediaScannerConnection.scanFile(context, arrayOf(file.path), null, null)
}

@TargetApi(29)
private fun saveByMediaStore(resolver: ContentResolver, name: String, picture: Bitmap) {
    val values = ContentValues().apply {
        put(MediaStore.MediaColumns.DISPLAY_NAME, name)
        put(MediaStore.MediaColumns.MIME_TYPE, "image/jpeg")
        put(MediaStore.MediaColumns.RELATIVE_PATH, Environment.DIRECTORY_PICTURES)
        put(MediaStore.MediaColumns.IS_PENDING, 1) // until it is whole
    }
    val uri: Uri = resolver.insert(MediaStore.Images.Media.EXTERNAL_CONTENT_URI, values) ?: throw IOException(name)
    try {
        (resolver.openOutputStream(uri) ?: throw IOException(name)).use { compress(picture, it) }
        values.clear()
        values.put(MediaStore.MediaColumns.IS_PENDING, 0)
        resolver.update(uri, values, null, null)
    } catch (error: IOException) {
        resolver.delete(uri, null, null)
        throw error
    }
}

private fun compress(picture: Bitmap, to: OutputStream) {
    if (!picture.compress(Bitmap.CompressFormat.JPEG, 92, to)) throw IOException("JPEG")
}
