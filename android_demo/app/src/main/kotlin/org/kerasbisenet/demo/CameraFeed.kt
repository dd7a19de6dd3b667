package org.kerasbisenet.demo

import android.annotation.SuppressLint
import android.content.Context
import android.graphics.ImageFormat
import android.hardware.camera2.CameraAccessException
import android.hardware.camera2.CameraCaptureSession
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraDevice
import android.hardware.camera2.CameraManager
import android.hardware.camera2.CaptureRequest
import android.media.Image
import android.media.ImageReader
import android.os.Handler
import android.util.Log
import android.util.Range
import org.kerasbisenet.demo.core.Plane
import org.kerasbisenet.demo.core.Size
import org.kerasbisenet.demo.core.YuvFrame

/** Why there is no picture; each has its sentence in the app's strings. */
enum class CameraTrouble(val sentence: Int) {
    NONE_THERE(R.string.camera_none),
    NO_PERMISSION(R.string.camera_no_permission),
    TAKEN(R.string.camera_taken),
    FAILED(R.string.camera_failed),
}

/**
 * The frames of one camera, the newest only: what comes while one is worked on is dropped.
 *
 * Everything happens on [handler]'s thread, [onFrame] included, which has the image until it returns.
 */
class CameraFeed(
    context: Context,
    private val handler: Handler,
    private val onFrame: (YuvFrame) -> Unit,
    private val onTrouble: (CameraTrouble) -> Unit,
) {
    private val manager: CameraManager = context.getSystemService(CameraManager::class.java)
    private var device: CameraDevice? = null
    private var session: CameraCaptureSession? = null
    private var reader: ImageReader? = null
    private var opening = 0

    fun cameras(): List<CameraFacts> = try {
        manager.cameraIdList.map { CameraFacts(it, manager.getCameraCharacteristics(it)) }.sortedBy { it.isFront }
    } catch (error: Exception) { // some devices throw where they have no camera
        emptyList()
    }

    @SuppressLint("MissingPermission") // asked for before; a refusal in between is caught
    fun open(camera: CameraFacts) {
        close()
        val mine = ++opening
        guarded {
            manager.openCamera(camera.id, object : CameraDevice.StateCallback() {
                override fun onOpened(opened: CameraDevice) {
                    if (mine != opening) return opened.close()
                    device = opened
                    guarded { start(opened, camera) }
                }

                override fun onDisconnected(lost: CameraDevice) = lose(lost, CameraTrouble.TAKEN)

                override fun onError(failed: CameraDevice, error: Int) = lose(
                    failed,
                    if (error == ERROR_CAMERA_IN_USE || error == ERROR_MAX_CAMERAS_IN_USE) CameraTrouble.TAKEN
                    else CameraTrouble.FAILED,
                )
            }, handler)
        }
    }

    fun close() {
        opening++
        // A session of a camera that was lost throws when it is closed.
        runCatching { session?.close() }
        runCatching { device?.close() }
        runCatching { reader?.close() }
        session = null
        device = null
        reader = null
    }

    private fun lose(lost: CameraDevice, trouble: CameraTrouble) {
        lost.close()
        if (lost === device || device == null) {
            close()
            onTrouble(trouble)
        }
    }

    private fun start(camera: CameraDevice, facts: CameraFacts) {
        val size = facts.frameSize()
        val images = ImageReader.newInstance(size.width, size.height, ImageFormat.YUV_420_888, IMAGES)
        reader = images
        images.setOnImageAvailableListener({ source -> newest(source)?.use { deliver(it) } }, handler)
        val callback = object : CameraCaptureSession.StateCallback() {
            override fun onConfigured(configured: CameraCaptureSession) {
                if (device !== camera) return
                session = configured
                guarded {
                    val request = camera.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW)
                    request.addTarget(images.surface)
                    request.set(CaptureRequest.CONTROL_AF_MODE, CaptureRequest.CONTROL_AF_MODE_CONTINUOUS_VIDEO)
                    facts.fastestRange()?.let { request.set(CaptureRequest.CONTROL_AE_TARGET_FPS_RANGE, it) }
                    configured.setRepeatingRequest(request.build(), null, handler)
                }
            }

            override fun onConfigureFailed(failed: CameraCaptureSession) = onTrouble(CameraTrouble.FAILED)
        }
        // Its successor came with Android 9; this one works on all.
        @Suppress("DEPRECATION")
        camera.createCaptureSession(listOf(images.surface), callback, handler)
    }

    private fun newest(source: ImageReader): Image? = try {
        source.acquireLatestImage()
    } catch (error: IllegalStateException) { // closed in the meantime
        null
    }

    private fun deliver(image: Image) = onFrame(yuvFrame(image))

    private fun guarded(work: () -> Unit) {
        try {
            work()
        } catch (error: SecurityException) {
            onTrouble(CameraTrouble.NO_PERMISSION)
        } catch (error: CameraAccessException) {
            val taken = error.reason == CameraAccessException.CAMERA_IN_USE || error.reason == CameraAccessException.MAX_CAMERAS_IN_USE
            onTrouble(if (taken) CameraTrouble.TAKEN else CameraTrouble.FAILED)
        } catch (error: RuntimeException) { // closed or lost in the meantime, or a driver's fault
            Log.w("CameraFeed", error)
            onTrouble(CameraTrouble.FAILED)
        }
    }

    private companion object {
        /** One that is worked on, one that waits, one that the camera fills. */
        const val IMAGES = 3
    }
}

/** What the app needs to know of a camera. */
class CameraFacts(val id: String, private val facts: CameraCharacteristics) {
    val isFront get() = facts.get(CameraCharacteristics.LENS_FACING) == CameraCharacteristics.LENS_FACING_FRONT
    val sensorDegrees get() = facts.get(CameraCharacteristics.SENSOR_ORIENTATION) ?: 0

    /** The largest size of at most 1280x720 pixels: networks see less. */
    fun frameSize(): Size {
        val sizes = facts.get(CameraCharacteristics.SCALER_STREAM_CONFIGURATION_MAP)
            ?.getOutputSizes(ImageFormat.YUV_420_888)?.map { Size(it.height, it.width) }.orEmpty()
        return sizes.filter { it.area <= MOST_PIXELS }.maxByOrNull { it.area } ?: sizes.minByOrNull { it.area } ?: COMMON
    }

    /** The range with the highest lower end, so that dim light does not halve the frames. */
    fun fastestRange(): Range<Int>? = facts.get(CameraCharacteristics.CONTROL_AE_AVAILABLE_TARGET_FPS_RANGES)
        ?.filter { it.upper <= 30 }?.maxWithOrNull(compareBy({ it.upper }, { it.lower }))

    private companion object {
        const val MOST_PIXELS = 1280 * 720
        val COMMON = Size(480, 640) // every camera has it
    }
}

fun yuvFrame(image: Image): YuvFrame {
    val planes = image.planes.map { Plane(it.buffer, it.rowStride, it.pixelStride) }
    return YuvFrame(Size(image.height, image.width), planes[0], planes[1], planes[2])
}
