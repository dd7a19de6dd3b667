package org.kerasbisenet.demo

import android.Manifest
import android.app.Activity
import android.app.AlertDialog
import android.content.ActivityNotFoundException
import android.content.Intent
import android.content.pm.PackageManager
import android.net.Uri
import android.os.Build
import android.os.Bundle
import android.provider.OpenableColumns
import android.view.MenuItem
import android.view.View
import android.view.WindowManager
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.ImageButton
import android.widget.PopupMenu
import android.widget.SeekBar
import android.widget.Spinner
import android.widget.TextView
import android.widget.Toast
import org.kerasbisenet.demo.core.shareText
import java.io.IOException

/** The picture with its overlay, and beside it everything to choose. The work is done by [Live]. */
class MainActivity : Activity(), Watcher {
    private lateinit var live: Live
    private lateinit var settings: Settings
    private lateinit var picture: OverlayView
    private lateinit var legend: LegendView
    private lateinit var message: TextView
    private lateinit var numbers: TextView
    private lateinit var pauseButton: ImageButton
    private lateinit var sources: List<Source>
    private var isPaused = false

    /** The classes that the overlay leaves out. */
    private val hidden = HashSet<Int>()

    /** Where pictures come from: cameras, the samples in the app, and the user's own. */
    private sealed class Source(val name: String) {
        class Camera(name: String, val index: Int) : Source(name)
        class Sample(name: String, val asset: String) : Source(name)
        class Gallery(name: String) : Source(name)
    }

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.main)
        settings = Settings(this)
        picture = findViewById(R.id.picture)
        legend = findViewById(R.id.legend)
        message = findViewById(R.id.message)
        numbers = findViewById(R.id.numbers)
        pauseButton = findViewById(R.id.pause)
        val kept = lastNonConfigurationInstance as? Kept
        live = kept?.live ?: Live(applicationContext)
        live.watcher = this
        picture.screen = live.screen
        isPaused = kept?.isPaused ?: false
        setUpSources(isNew = kept == null)
        setUpBackends()
        setUpOpacity()
        setUpButtons()
        hidden += kept?.hidden.orEmpty()
        legend.onToggle = { id, shown ->
            if (shown) hidden -= id else hidden += id
            live.showClass(id, shown)
        }
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        live.open(settings.backend, settings.threads)
        onStatus()
    }

    private class Kept(val live: Live, val isPaused: Boolean, val hidden: Set<Int>)

    // An activity without a library of its own keeps what outlives a turn so.
    @Deprecated("Deprecated in Java")
    override fun onRetainNonConfigurationInstance(): Any = Kept(live, isPaused, hidden.toSet())

    override fun onStart() {
        super.onStart()
        live.enter()
    }

    override fun onStop() {
        live.leave()
        super.onStop()
    }

    override fun onDestroy() {
        if (isChangingConfigurations) live.watcher = null else live.close()
        super.onDestroy()
    }

    // === What there is to choose ===

    private fun setUpSources(isNew: Boolean) {
        val cameras = live.cameras().mapIndexed { i, camera ->
            Source.Camera(getString(if (camera.isFront) R.string.source_front else R.string.source_back), i)
        }
        val twins = cameras.groupingBy { it.name }.eachCount()
        val named = cameras.map { if (twins[it.name] == 1) it else Source.Camera("${it.name} ${it.index + 1}", it.index) }
        val samples = assets.list("samples").orEmpty().sorted().mapIndexed { i, asset ->
            Source.Sample(getString(R.string.source_sample, i + 1), "samples/$asset")
        }
        sources = named + Source.Gallery(getString(R.string.source_gallery)) + samples
        val spinner = findViewById<Spinner>(R.id.source)
        spinner.adapter = adapter(sources.map { it.name })
        // Whoever has no camera sees a street.
        val chosen = sources.indexOfFirst { it.name == settings.source && it !is Source.Gallery }
        val first = if (chosen >= 0) chosen else sources.indexOfFirst { it !is Source.Gallery }
        spinner.setSelection(first, false)
        if (isNew) show(sources[first])
        spinner.onSelected(first) { show(sources[it]) }
    }

    private fun show(source: Source) {
        if (source !is Source.Gallery) {
            settings.source = source.name
            legend.clear()
        }
        setPaused(false)
        when (source) {
            is Source.Camera -> if (allowed(Manifest.permission.CAMERA)) live.showCamera(source.index)
            else requestPermissions(arrayOf(Manifest.permission.CAMERA), ASK_CAMERA)
            is Source.Sample -> live.showPicture { readPicture(assets.open(source.asset)) }
            is Source.Gallery -> choose("image/*", CHOOSE_PICTURE)
        }
    }

    private fun setUpBackends() {
        val offered = Backend.entries.filter { it.isOffered }
        val threads = findViewById<Spinner>(R.id.threads)
        val counts = (1..Settings.mostThreads).toList()
        threads.adapter = adapter(counts.map { resources.getQuantityString(R.plurals.threads, it, it) })
        threads.setSelection(counts.indexOf(settings.threads.coerceIn(1, counts.last())), false)
        threads.onSelected(threads.selectedItemPosition) {
            settings.threads = counts[it]
            live.open(settings.backend, settings.threads)
        }
        val backends = findViewById<Spinner>(R.id.backend)
        backends.adapter = adapter(offered.map { getString(it.label) })
        backends.setSelection(offered.indexOf(settings.backend), false)
        threads.isEnabled = settings.backend == Backend.CPU
        backends.onSelected(backends.selectedItemPosition) {
            settings.backend = offered[it]
            threads.isEnabled = offered[it] == Backend.CPU
            live.open(settings.backend, settings.threads)
        }
    }

    private fun setUpOpacity() {
        val bar = findViewById<SeekBar>(R.id.opacity)
        bar.progress = settings.opacity
        picture.opacity = settings.opacity
        bar.setOnSeekBarChangeListener(object : SeekBar.OnSeekBarChangeListener {
            override fun onProgressChanged(bar: SeekBar, value: Int, byUser: Boolean) {
                picture.opacity = value
                settings.opacity = value
            }

            override fun onStartTrackingTouch(bar: SeekBar) = Unit
            override fun onStopTrackingTouch(bar: SeekBar) = Unit
        })
    }

    private fun setUpButtons() {
        pauseButton.setOnClickListener { setPaused(!isPaused) }
        setPaused(isPaused)
        findViewById<View>(R.id.snapshot).setOnClickListener { saveSnapshot() }
        findViewById<View>(R.id.more).setOnClickListener { showMenu(it) }
        message.setOnClickListener { live.enter() }
        picture.isFocusable = true
    }

    private fun setPaused(paused: Boolean) {
        isPaused = paused
        live.pause(paused)
        pauseButton.setImageResource(if (paused) R.drawable.ic_play else R.drawable.ic_pause)
        pauseButton.contentDescription = getString(if (paused) R.string.resume else R.string.pause)
    }

    private fun showMenu(anchor: View) {
        val menu = PopupMenu(this, anchor)
        menu.menuInflater.inflate(R.menu.more, menu.menu)
        menu.setOnMenuItemClickListener(::onMenu)
        menu.show()
    }

    private fun onMenu(item: MenuItem): Boolean {
        when (item.itemId) {
            R.id.self_check -> startActivity(Intent(this, SelfCheckActivity::class.java))
            R.id.open_model -> choose("*/*", CHOOSE_MODEL)
            R.id.open_golden -> choose("*/*", CHOOSE_GOLDEN)
            R.id.own_model -> {
                live.store.forget()
                reopen()
            }
            R.id.about -> showAbout()
        }
        return true
    }

    private fun showAbout() {
        val info = live.readStatus { it.info }
        val text = try {
            val file = live.store.load()
            if (info == null) file.name else aboutText(file, info)
        } catch (error: IOException) {
            getString(R.string.failed, Engine.reason(error))
        }
        AlertDialog.Builder(this).setTitle(R.string.about).setMessage(text)
            .setPositiveButton(android.R.string.ok, null).show()
    }

    // === What comes from outside ===

    private fun choose(type: String, request: Int) {
        val intent = Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType(type)
        try {
            startActivityForResult(intent, request)
        } catch (error: ActivityNotFoundException) {
            say(getString(R.string.no_file_chooser))
        }
    }

    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        val uri = data?.data ?: return
        if (result != RESULT_OK) return
        try {
            when (request) {
                CHOOSE_PICTURE -> {
                    legend.clear()
                    live.showPicture { readPicture(contentResolver.openInputStream(uri)) }
                }
                CHOOSE_MODEL -> {
                    live.store.keepModel(uri, nameOf(uri))
                    reopen()
                }
                CHOOSE_GOLDEN -> {
                    live.store.keepGolden(uri)
                    startActivity(Intent(this, SelfCheckActivity::class.java))
                }
            }
        } catch (error: Exception) { // a provider of documents may throw anything
            say(getString(R.string.failed, Engine.reason(error)))
        }
    }

    private fun reopen() {
        legend.clear()
        hidden.clear()
        live.reopen(settings.backend, settings.threads)
    }

    private fun nameOf(uri: Uri): String =
        contentResolver.query(uri, arrayOf(OpenableColumns.DISPLAY_NAME), null, null, null)?.use { row ->
            if (row.moveToFirst()) row.getString(0) else null
        } ?: uri.lastPathSegment ?: "model.tflite"

    private fun allowed(permission: String) = checkSelfPermission(permission) == PackageManager.PERMISSION_GRANTED

    override fun onRequestPermissionsResult(request: Int, permissions: Array<out String>, results: IntArray) {
        val granted = results.firstOrNull() == PackageManager.PERMISSION_GRANTED
        val source = sources[findViewById<Spinner>(R.id.source).selectedItemPosition]
        when {
            request == ASK_STORAGE && granted -> saveSnapshot()
            request == ASK_STORAGE -> say(getString(R.string.snapshot_no_permission))
            // Denied, it is tried all the same: the refusal is shown in the picture's place.
            request == ASK_CAMERA && source is Source.Camera -> live.showCamera(source.index)
        }
    }

    private fun saveSnapshot() {
        if (Build.VERSION.SDK_INT < 29 && !allowed(Manifest.permission.WRITE_EXTERNAL_STORAGE)) {
            return requestPermissions(arrayOf(Manifest.permission.WRITE_EXTERNAL_STORAGE), ASK_STORAGE)
        }
        val shot = picture.snapshot() ?: return say(getString(R.string.snapshot_nothing))
        try {
            saveToGallery(this, shot)
            say(getString(R.string.snapshot_saved))
        } catch (error: Exception) { // full, or a provider of media that throws anything
            say(getString(R.string.failed, Engine.reason(error)))
        }
    }

    // === What the work has to say ===

    override fun onPicture() = picture.invalidate()

    override fun onStatus() = live.readStatus { status ->
        val waiting = if (status.isOpening) getString(R.string.opening) else null
        val text = waiting ?: status.trouble?.let { sentence(it) }
        show(message, text)
        show(numbers, listOfNotNull(numbersLine(status), backendLine(status)).joinToString("\n"))
        showShares(status)
    }

    private fun showShares(status: Status) {
        val info = status.info ?: return
        if (status.pixels == 0) return
        fun share(id: Int) = status.counts[id].toDouble() / status.pixels
        legend.show(info.classes, ::share) { it !in hidden }
        val largest = info.classes.indices.filter { share(it) > 0 }.sortedByDescending { share(it) }.take(3)
        picture.contentDescription =
            getString(R.string.picture_of, largest.joinToString { shareText(info.classes[it].name, share(it)) })
    }

    /** Shows a text; without one, not even its ground. */
    private fun show(view: TextView, text: String?) {
        view.text = text
        view.visibility = if (text.isNullOrEmpty()) View.GONE else View.VISIBLE
    }

    private fun say(text: String) = Toast.makeText(this, text, Toast.LENGTH_LONG).show()

    private fun adapter(names: List<String>) = ArrayAdapter(this, android.R.layout.simple_spinner_item, names).apply {
        setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item)
    }

    /** Calls [chosen] for a choice by the user. Android also calls for the first, which was made here. */
    private fun Spinner.onSelected(first: Int, chosen: (Int) -> Unit) {
        onItemSelectedListener = object : AdapterView.OnItemSelectedListener {
            private var last = first

            override fun onItemSelected(parent: AdapterView<*>?, view: View?, position: Int, id: Long) {
                val isGallery = sources.getOrNull(position) is Source.Gallery && this@onSelected.id == R.id.source
                if (position == last && !isGallery) return
                last = position
                chosen(position)
            }

            override fun onNothingSelected(parent: AdapterView<*>?) = Unit
        }
    }

    private companion object {
        const val ASK_CAMERA = 1
        const val ASK_STORAGE = 2
        const val CHOOSE_PICTURE = 3
        const val CHOOSE_MODEL = 4
        const val CHOOSE_GOLDEN = 5
    }
}
