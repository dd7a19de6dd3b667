package org.kerasbisenet.demo

import android.Manifest
import android.app.Activity
import android.content.Intent
import android.content.res.Configuration
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraManager
import android.net.Uri
import android.view.View
import android.view.ViewGroup
import android.widget.CheckBox
import android.widget.SeekBar
import android.widget.Spinner
import android.widget.TextView
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.kerasbisenet.demo.core.Json
import org.kerasbisenet.demo.core.fields
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowCameraCharacteristics
import org.robolectric.shadows.ShadowToast

/**
 * The app as its user sees it. [draws]: whether Robolectric draws as Android does, which it does not
 * for Android 8.
 */
abstract class ActivityTests(private val draws: Boolean) {
    private lateinit var controller: ActivityController<MainActivity>
    private val activity get() = controller.get()
    private val picture get() = activity.findViewById<OverlayView>(R.id.picture)
    private val numbers get() = activity.findViewById<TextView>(R.id.numbers).text.toString()
    private val message get() = activity.findViewById<TextView>(R.id.message)
    private val legend get() = activity.findViewById<LegendView>(R.id.legend)
    private fun boxes() = (0 until legend.childCount).map { legend.getChildAt(it) as CheckBox }
    private val sdk get() = android.os.Build.VERSION.SDK_INT

    private fun start() {
        controller = Robolectric.buildActivity(MainActivity::class.java).setup()
    }

    /** Without a camera the app begins with a street. */
    private fun startWithStreet() {
        assumeTflite()
        start()
        await("an answer") {
            val isTrouble = message.visibility == View.VISIBLE && message.text != activity.getString(R.string.opening)
            check(!isTrouble) { "the app says: ${message.text}" }
            legend.childCount > 0 && message.visibility == View.GONE
        }
        layOut()
    }

    private fun end() = controller.pause().stop().destroy()

    /** The legend was filled after the last layout. */
    private fun layOut() {
        val root = activity.window.decorView
        fun exactly(side: Int) = View.MeasureSpec.makeMeasureSpec(side, View.MeasureSpec.EXACTLY)
        root.measure(exactly(root.width), exactly(root.height))
        root.layout(0, 0, root.width, root.height)
    }

    private fun shoot(name: String) {
        if (draws) screenshot(activity, name)
    }

    /** That the picture shows its overlay: what opacity 0 shows is another picture. */
    private fun assertSegmented() {
        if (!draws) return assertTrue(picture.screen!!.overlay != null)
        val with = draw(picture)
        picture.opacity = 0
        val without = draw(picture)
        picture.opacity = 128
        val (x, y) = picture.width / 2 to picture.height / 2
        val changed = (0 until 200).count { with.getPixel(x - 100 + it, y) != without.getPixel(x - 100 + it, y) }
        assertTrue("$changed of 200", changed > 150)
    }

    @Test fun `a street in portrait`() {
        startWithStreet()
        assertSegmented()
        assertTrue(numbers, "network" in numbers && "CPU, XNNPACK" in numbers)
        assertTrue(boxes().any { it.text.matches(Regex("Road [0-9]+%")) })
        assertTrue(picture.contentDescription.startsWith("Segmented picture: "))
        shoot("portrait_light")
        end()
    }

    @Test @Config(qualifiers = "w823dp-h411dp-land-night-420dpi")
    fun `a street in landscape, dark`() {
        startWithStreet()
        assertSegmented()
        shoot("landscape_dark")
        end()
    }

    @Test @Config(qualifiers = "sw800dp-w1280dp-h800dp-land-240dpi")
    fun `a street on a tablet`() {
        startWithStreet()
        shoot("tablet_light")
        end()
    }

    @Test @Config(qualifiers = "de-w411dp-h823dp-port-night-420dpi")
    fun `auf Deutsch, dunkel`() {
        startWithStreet()
        assertTrue(numbers, "Netz" in numbers)
        shoot("german_dark")
        end()
    }

    @Test @Config(qualifiers = "zh-w411dp-h823dp-port-420dpi")
    fun `in Chinese`() {
        startWithStreet()
        assertTrue(numbers, "网络" in numbers)
        shoot("chinese_light")
        end()
    }

    @Test fun `opacity, classes and pause`() {
        startWithStreet()
        val road = boxes().first { it.text.startsWith("Road") }
        activity.findViewById<SeekBar>(R.id.opacity).progress = 255
        assertEquals(255, picture.opacity)
        val overlay = picture.screen!!.overlay!!
        val (x, y) = overlay.width / 2 to overlay.height - 5
        assertTrue(overlay.getPixel(x, y) != 0)
        road.isChecked = false
        await("the overlay without the road") { overlay.getPixel(x, y) == 0 }
        activity.findViewById<View>(R.id.pause).performClick()
        assertEquals("Resume", activity.findViewById<View>(R.id.pause).contentDescription)
        end()
    }

    @Test fun `turned, the app goes on with the same model, and hidden classes stay hidden`() {
        startWithStreet()
        boxes().first { it.text.startsWith("Road") }.isChecked = false
        val screen = picture.screen
        RuntimeEnvironment.setQualifiers("+land")
        controller.configurationChange(Configuration(RuntimeEnvironment.getApplication().resources.configuration))
        await("the legend") { legend.childCount > 0 }
        assertTrue(picture.screen === screen)
        assertFalse(boxes().first { it.text.startsWith("Road") }.isChecked)
        end()
    }

    @Test fun `everything to touch is named and large enough`() {
        startWithStreet()
        fun all(view: View): List<View> =
            listOf(view) + if (view is ViewGroup) (0 until view.childCount).flatMap { all(view.getChildAt(it)) } else emptyList()
        val least = 48 * activity.resources.displayMetrics.density - 1
        val touched = all(activity.findViewById(android.R.id.content)).filter { it.isClickable && it.isShown || it is SeekBar || it is Spinner }
        assertTrue(touched.size >= 10)
        for (view in touched) {
            val name = view.contentDescription ?: (view as? TextView)?.text
            val label = if (view is SeekBar) "its label" else name
            assertFalse("$view has no name", label.isNullOrBlank())
            assertTrue("$name is ${view.height} high", view.height >= least)
        }
        end()
    }

    @Test fun `a camera that is not allowed is asked for, and its refusal shown`() {
        val facts = ShadowCameraCharacteristics.newCameraCharacteristics()
        shadowOf(facts).set(CameraCharacteristics.LENS_FACING, CameraCharacteristics.LENS_FACING_BACK)
        shadowOf(RuntimeEnvironment.getApplication().getSystemService(CameraManager::class.java)).addCamera("0", facts)
        shadowOf(RuntimeEnvironment.getApplication()).denyPermissions(Manifest.permission.CAMERA)
        start()
        assertEquals("Back camera", activity.findViewById<Spinner>(R.id.source).selectedItem)
        val asked = shadowOf(activity).lastRequestedPermission
        assertEquals(listOf(Manifest.permission.CAMERA), asked.requestedPermissions.toList())
        end()
    }

    @Test fun `a file that is no model says so, and the app's own comes back`() {
        assumeTflite()
        startWithStreet()
        val uri = Uri.parse("content://documents/photo.jpg")
        shadowOf(activity.contentResolver).registerInputStream(uri, "no model".byteInputStream())
        shadowOf(activity).receiveResultFor(CHOOSE_MODEL, uri)
        await("the reason") { message.isShown && message.text.startsWith("This file is no TFLite model") }
        assertFalse("an empty box of numbers", activity.findViewById<View>(R.id.numbers).isShown)
        layOut()
        shoot("no_model")
        ModelStore(activity).forget()
        end()
    }

    private fun org.robolectric.shadows.ShadowActivity.receiveResultFor(request: Int, uri: Uri) {
        val method = Activity::class.java.getDeclaredMethod("onActivityResult", Int::class.java, Int::class.java, Intent::class.java)
        method.isAccessible = true
        method.invoke(activity, request, Activity.RESULT_OK, Intent().setData(uri))
    }

    @Test fun `a snapshot goes to the gallery`() {
        startWithStreet()
        if (sdk < 29) shadowOf(RuntimeEnvironment.getApplication()).grantPermissions(Manifest.permission.WRITE_EXTERNAL_STORAGE)
        activity.findViewById<View>(R.id.snapshot).performClick()
        assertTrue(ShadowToast.getTextOfLatestToast(), ShadowToast.getTextOfLatestToast().isNotBlank())
        if (sdk < 29) assertEquals("Saved to the gallery", ShadowToast.getTextOfLatestToast())
        end()
    }

    @Test fun `the self-check passes and its report can be shared`() {
        assumeTflite()
        val few = Intent(RuntimeEnvironment.getApplication(), SelfCheckActivity::class.java).putExtra(SelfCheckActivity.REPEAT, 5)
        val check = Robolectric.buildActivity(SelfCheckActivity::class.java, few).setup()
        val verdict = check.get().findViewById<TextView>(R.id.verdict)
        await("the verdict", 300) { !verdict.text.startsWith("Replaying") }
        assertTrue(verdict.text.toString(), verdict.text.startsWith("Passes"))
        if (draws) screenshot(check.get(), "self_check")
        check.get().findViewById<View>(R.id.share_json).performClick()
        val chooser = shadowOf(check.get()).nextStartedActivity
        @Suppress("DEPRECATION") // its successor is of Android 13
        val sent = chooser.getParcelableExtra<Intent>(Intent.EXTRA_INTENT)!!.getStringExtra(Intent.EXTRA_TEXT)!!
        val report = Json.parse(sent).fields()
        assertEquals(true, report["passed"])
        assertEquals(3.0, report["inputs"])
        check.pause().stop().destroy()
    }

    private companion object {
        const val CHOOSE_MODEL = 4
    }
}
